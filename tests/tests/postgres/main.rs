//! The Postgres connector against a real server: what it reads, and how the whole platform takes it.

mod backfill;
mod journey;
mod kit;
mod source;
