//! What a first mapping is made from. The matcher is behind a trait, so that this part knows no model.

use autonomos_domain::{
    drift::profile::StreamProfile, mapping::MappingContent, ontology::Ontology, schema::StreamShape,
};

/// A stream that has no mapping yet.
pub struct SuggestInput<'a> {
    pub stream: &'a str,
    pub shape: &'a StreamShape,
    pub profile: &'a StreamProfile,
    pub ontology: &'a Ontology,
    /// The entity a person chose; `none` keeps the stream raw.
    pub entity: Option<&'a str>,
}

/// Finds the entity and the fields a stream maps to. Blocking; may run a local model.
pub trait MappingSuggester: Send + Sync + 'static {
    /// Fields below the band for asking stay raw; with no entity above it the stream stays raw.
    fn suggest(&self, input: &SuggestInput<'_>) -> MappingContent;
}
