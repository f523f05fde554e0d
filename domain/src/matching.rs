//! Matching columns to fields: what a stream is, and which of its columns are which of the entity's
//! fields. Scores come from names, types and values; an embedding of the texts may be added by the
//! caller. No model's own confidence is believed: probabilities are computed here.

pub mod names;
mod suggest;
mod values;

pub use suggest::{Similarity, Suggestion, suggest};
