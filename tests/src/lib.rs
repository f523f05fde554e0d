//! What the end-to-end tests and the benches share: a real server process on a free loopback port
//! in a temporary folder, and a client of its HTTP contract.

#![expect(clippy::print_stdout, reason = "what a drill measures is for whoever reads the tests' output")]

pub mod bench;
pub mod client;
pub mod clock;
pub mod cluster;
pub mod connectors;
pub mod disk;
pub mod drill;
pub mod follow;
pub mod journey;
pub mod llm;
pub mod load;
pub mod mongo;
pub mod node;
pub mod postgrest;
pub mod process;
pub mod proxy;
pub mod salesforce;
pub mod schemas;
pub mod server;
