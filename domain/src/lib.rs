//! The pure core: ids, events, aggregates, schema fingerprints, drift, match scoring, the ontology.
//! Nothing here does I/O, reads a clock, or starts a task.

pub mod aggregates;
pub mod cadence;
pub mod drift;
pub mod envelope;
pub mod error;
pub mod health;
pub mod ids;
pub mod limits;
pub mod mapping;
pub mod matching;
pub mod ontology;
pub mod policy;
pub mod repair;
pub mod schema;
