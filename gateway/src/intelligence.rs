//! The matcher of a first mapping, with the embedding model where its files are; and the language model
//! that the operator set up.

use crate::{config::Config, error::GatewayError};
use autonomos_commands::{
    intelligence::{Meaning, llm::ModelClient},
    sync::{MappingSuggester, SuggestInput},
};
use autonomos_domain::{
    mapping::MappingContent,
    matching::{Similarity, suggest},
};
use std::sync::Arc;

struct LocalMatcher {
    meaning: Meaning,
}

impl MappingSuggester for LocalMatcher {
    fn suggest(&self, input: &SuggestInput<'_>) -> MappingContent {
        suggest(input.stream, input.shape, input.profile, input.ontology, input.entity, Some(&self.meaning))
    }
}

/// The matcher that this configuration asks for; its model is loaded when a stream first needs it.
pub(crate) fn suggester(config: &Config) -> Arc<dyn MappingSuggester> {
    Arc::new(LocalMatcher { meaning: Meaning::new(config.model_dir.as_deref()) })
}

/// Likeness by meaning, for tables compared on the command line.
pub(crate) fn similarity(config: &Config) -> Box<dyn Similarity> {
    Box::new(Meaning::new(config.model_dir.as_deref()))
}

/// The language model that this configuration sets up, if it does.
pub(crate) fn language_model(config: &Config) -> Result<Option<Arc<ModelClient>>, GatewayError> {
    let Some(options) = config.model()? else { return Ok(None) };
    let model = ModelClient::new(options);
    let model = model.map_err(|error| GatewayError::Configuration(format!("the language model: {error}")))?;
    Ok(Some(Arc::new(model)))
}
