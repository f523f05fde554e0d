//! Matching columns to fields: what a stream is, and which of its columns are which of the entity's
//! fields; and the columns of one table to those of another. Scores come from names, types, values
//! and, where the caller has one, a model of meaning. No model's own confidence is believed:
//! probabilities are computed here.

pub mod features;
pub mod learn;
mod meaning;
pub mod names;
mod suggest;
pub mod table;
mod values;
mod vectors;
mod words;

pub use meaning::{Similarity, column_text, field_text};
pub use suggest::{Suggestion, candidates, suggest};
pub use table::table_candidates;
