//! The read models of the API: SQLite tables computed from the log, and the queries over them.

pub mod query;
pub mod rows;
