//! The tenant's ontology, when it differs from the default. The aggregate's id is the tenant's.

use super::domain_event;
use crate::ontology::Ontology;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum OntologyEvent {
    OntologyRevised { ontology: Ontology },
}
domain_event!(OntologyEvent { OntologyRevised });

#[derive(Debug, Clone)]
pub enum OntologyCommand {
    /// Refused unless it names the version it was edited from, and fields keep their types.
    ReviseOntology { based_on: u32, ontology: Ontology },
}
