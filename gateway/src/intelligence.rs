//! The matcher of a first mapping, with the embedding model where its files are.

use crate::config::Config;
use autonomos_commands::sync::{MappingSuggester, SuggestInput};
use autonomos_domain::{
    mapping::MappingContent,
    matching::{Similarity, suggest},
};
use std::sync::Arc;

struct LocalMatcher;

impl MappingSuggester for LocalMatcher {
    fn suggest(&self, input: &SuggestInput<'_>) -> MappingContent {
        suggest(input.stream, input.shape, input.profile, input.ontology, input.entity, None)
    }
}

/// The matcher that this configuration asks for.
pub fn suggester(_config: &Config) -> Arc<dyn MappingSuggester> {
    Arc::new(LocalMatcher)
}

/// Likeness by meaning, for tables compared on the command line.
pub(crate) fn similarity(_config: &Config) -> Option<Box<dyn Similarity>> {
    None
}
