//! The unified views: one DuckDB file per tenant. The write side turns commits into versioned
//! source records, clusters and unified rows; every table is a pure function of the log's prefix.
//! The tables, and what they mean, are in [`tables`].

mod canon;
mod cluster;
pub mod commit;
pub mod engine;
mod files;
mod ingest;
mod normalise;
mod program;
mod quarantine;
pub mod read;
mod reproject;
mod solve;
mod sql;
mod stage;
mod state;
mod survive;
mod table;
pub mod tables;
pub mod tenant;
mod transform;
mod versions;

pub use commit::{BatchBody, FeedFact, OpenedCommit, OpenedEvents};
pub use engine::{Dcl, DclOptions, Instance, Runs};
pub(crate) use files::Facts;
pub use table::{CanonicalCell, TableProjection};
pub use tenant::{Applied, TenantDcl};
