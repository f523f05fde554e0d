//! The MongoDB connector against a real server: what it reads, and how the whole platform takes it.

mod changes;
mod journey;
mod kit;
mod snapshot;
mod source;
