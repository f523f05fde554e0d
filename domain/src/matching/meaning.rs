//! Likeness by meaning: asked of the caller in one go, for all columns against all fields.

use crate::{
    drift::profile::FieldProfile,
    matching::names::tokens,
    ontology::{Entity, OntologyField},
    schema::Field,
};

/// Likeness of texts by meaning, such as an embedding model gives it.
pub trait Similarity: Send + Sync {
    /// Which model or table answers; named in the evidence.
    fn name(&self) -> &str;

    /// How far its likeness may be trusted, 0 to 1: 1 for a model of language.
    fn trust(&self) -> f64 {
        1.0
    }

    /// Of each text on the left with each on the right, 0 to 1. None: there is no answer, and
    /// names and values decide alone.
    fn matrix(&self, left: &[String], right: &[String]) -> Option<Vec<Vec<f64>>>;
}

/// Values quoted to the model, and characters of each.
const VALUES: usize = 10;
const LETTERS: usize = 24;

/// `name; type; up to ten values`.
pub fn column_text(column: &Field, profile: &FieldProfile) -> String {
    let mut text = format!("{}; {}", tokens(&column.name).join(" "), column.logical_type.as_str());
    for value in profile.samples.iter().take(VALUES) {
        text.push_str(if text.ends_with(column.logical_type.as_str()) { "; " } else { ", " });
        text.extend(value.chars().take(LETTERS));
    }
    text
}

/// `entity field; description; synonyms`.
pub fn field_text(entity: &Entity, field: &OntologyField) -> String {
    format!(
        "{} {}; {}; {}",
        entity.name.replace('_', " "),
        field.name.replace('_', " "),
        field.description,
        field.synonyms.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ")
    )
}
