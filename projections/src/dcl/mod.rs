//! The unified views: one DuckDB file per tenant.

pub mod read;
