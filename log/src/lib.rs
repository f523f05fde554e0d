//! The event log: the port, its adapters, and what it takes to trust them.

pub mod codec;
mod columns;
pub mod conformance;
pub mod control;
pub mod database;
pub mod error;
pub mod events;
pub mod integrity;
pub mod jetstream;
pub mod lease;
mod live;
mod memory_keys;
pub mod nats_server;
pub mod port;
pub mod postgres_server;
mod prepare;
mod recent;
pub mod seal;
mod segments;
pub mod sqlite;
pub mod token;
