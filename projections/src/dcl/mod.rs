//! The unified views: one DuckDB file per tenant. The write side turns commits into versioned
//! source records, clusters and unified rows; every table is a pure function of the log's prefix.
//! The tables, and what they mean, are in [`tables`].

pub mod commit;
pub mod engine;
pub mod read;
pub mod tables;

pub use commit::{BatchBody, FeedFact, OpenedCommit, OpenedEvents};
pub use engine::{Applied, Dcl, DclOptions, Instance, TenantDcl};
