//! Commands: deciding on aggregates and appending what was decided, keys, sign-in, background tasks,
//! uploads and connections. Knows no HTTP and reads no projection.

mod cache;
pub mod clock;
pub mod error;
pub mod execute;
pub mod feeds;
pub mod keys;
