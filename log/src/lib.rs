//! The event log: the port, its adapters, and what it takes to trust them.

pub mod codec;
pub mod conformance;
pub mod control;
pub mod error;
pub mod events;
pub mod integrity;
mod memory_keys;
pub mod port;
pub mod seal;
pub mod sqlite;
pub mod token;
