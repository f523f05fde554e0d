//! Everything that is computed from the log and can be thrown away: the runtime that feeds
//! projectors, the read models in SQLite or Postgres, the unified views in DuckDB, and their copy in
//! Postgres.

pub mod dcl;
pub mod error;
pub mod read_models;
pub mod runtime;
mod snapshots;
pub mod unified;

pub use error::ProjectionError;
pub use snapshots::SnapshotOptions;
