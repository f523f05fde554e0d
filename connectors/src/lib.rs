//! Connectors: the port and the sources behind it. A connector knows nothing of the log.

pub mod error;
pub mod file;
pub mod mongodb;
pub mod network;
mod pem;
pub mod port;
pub mod postgres;
pub mod registry;
pub mod requests;
mod retry;
mod rows;
pub mod salesforce;
pub mod supabase;

pub use error::ConnectorError;
pub use file::{FileConnector, FileScope};
pub use mongodb::MongoConnector;
pub use network::NetworkScope;
pub use port::{Connector, ConnectorInfo, ReadEvent};
pub use postgres::PostgresConnector;
pub use registry::{ConnectScope, Registry};
pub use requests::Requests;
pub use salesforce::SalesforceConnector;
pub use supabase::SupabaseConnector;
