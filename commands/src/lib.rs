//! Commands: deciding on aggregates and appending what was decided, keys, sign-in, background tasks,
//! uploads and connections. Knows no HTTP and reads no projection.

pub mod auth;
mod cache;
pub mod clock;
pub mod connections;
pub mod error;
pub mod execute;
mod feeds;
pub mod intelligence;
pub mod keys;
pub mod processes;
pub mod repairs;
pub mod schedules;
pub mod secrets;
pub mod sync;
pub mod tasks;
pub mod tickets;
pub mod uploads;

#[cfg(test)]
mod tests;
