//! The projections as the rest of the product sees them: over a real log, through the handle.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod access;
mod cells;
mod error_pages;
mod nodes;
mod owners;
mod parity;
mod read_models;
mod runtime;
mod snapshots;
mod unified_tables;
mod views;
mod views_from_log;
mod world;
