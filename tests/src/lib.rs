//! What the end-to-end tests and the benches share: a real server process on a free loopback port
//! in a temporary folder, and a client of its HTTP contract.

pub mod bench;
pub mod client;
pub mod cluster;
pub mod journey;
pub mod schemas;
pub mod server;
