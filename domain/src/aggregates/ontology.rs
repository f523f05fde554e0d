//! The tenant's ontology, when it differs from the default. The aggregate's id is the tenant's.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
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

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TenantOntology {
    /// None: the default ontology is in force.
    pub current: Option<Ontology>,
}
stored_aggregate!(TenantOntology, Ontology, OntologyCommand, OntologyEvent);

impl TenantOntology {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: OntologyCommand) -> Result<Vec<OntologyEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: OntologyEvent) {}
}
