//! Everything that is computed from the log and can be thrown away: the runtime that feeds
//! projectors, the read models in SQLite, and the unified views in DuckDB.

pub mod dcl;
pub mod error;
pub mod read_models;
pub mod runtime;

pub use error::ProjectionError;
