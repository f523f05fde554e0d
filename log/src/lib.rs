//! The event log: the port, its adapters, and what it takes to trust them.

pub mod error;
pub mod port;
pub mod seal;
