//! The tenant's ontology, when it differs from the default. The aggregate's id is the tenant's.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    limits::{self, quoted},
    ontology::{Entity, Ontology, default_ontology},
};
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
    pub fn decide(&self, command: OntologyCommand) -> Result<Vec<OntologyEvent>, Error> {
        let OntologyCommand::ReviseOntology { based_on, mut ontology } = command;
        let known = self.current.clone().unwrap_or_else(default_ontology);
        if based_on != known.version {
            let message = format!("edited from version `{based_on}`, but `{}` is in force", known.version);
            return Err(Error::conflict(message));
        }
        ontology.version = known.version;
        if ontology == known {
            return Ok(Vec::new());
        }
        check(&ontology)?;
        check_kept(&known, &ontology)?;
        ontology.version = known.version + 1;
        Ok(vec![OntologyEvent::OntologyRevised { ontology }])
    }

    /// The ontology in force: the tenant's own, or the default.
    pub fn in_force(&self) -> Ontology {
        self.current.clone().unwrap_or_else(default_ontology)
    }

    fn evolve(&mut self, event: OntologyEvent) {
        let OntologyEvent::OntologyRevised { ontology } = event;
        self.current = Some(ontology);
    }
}

fn check(ontology: &Ontology) -> Result<(), Error> {
    limits::count("entities of an ontology", ontology.entities.len(), limits::ENTITIES)?;
    let names = || ontology.entities.iter().map(|entity| entity.name.as_str());
    limits::unique("/entities", names(), "/name")?;
    limits::unique("/entities", ontology.entities.iter().map(|entity| entity.plural.as_str()), "/plural")?;
    for (index, entity) in ontology.entities.iter().enumerate() {
        let at = format!("/entities/{index}");
        limits::identifier(&format!("{at}/name"), &entity.name)?;
        limits::identifier(&format!("{at}/plural"), &entity.plural)?;
        if names().any(|name| name == entity.plural && name != entity.name) {
            let message = format!("{} is another entity's name", quoted(&entity.plural));
            return Err(Error::invalid(format!("{at}/plural"), message));
        }
        check_entity(&at, entity, ontology)?;
    }
    Ok(())
}

fn check_entity(at: &str, entity: &Entity, ontology: &Ontology) -> Result<(), Error> {
    limits::count("fields of an entity", entity.fields.len(), limits::FIELDS_PER_ENTITY)?;
    limits::count("match rules of an entity", entity.match_rules.len(), limits::RULES_PER_ENTITY)?;
    limits::unique(&format!("{at}/fields"), entity.fields.iter().map(|field| field.name.as_str()), "/name")?;
    for (index, field) in entity.fields.iter().enumerate() {
        limits::identifier(&format!("{at}/fields/{index}/name"), &field.name)?;
        if let Some(reference) = &field.references
            && !ontology.entities.iter().any(|entity| entity.name == *reference)
        {
            let message = format!("no entity {}", quoted(reference));
            return Err(Error::invalid(format!("{at}/fields/{index}/references"), message));
        }
    }
    let rules = format!("{at}/match_rules");
    limits::unique(&rules, entity.match_rules.iter().map(|rule| rule.name.as_str()), "/name")?;
    for (index, rule) in entity.match_rules.iter().enumerate() {
        limits::name(&format!("{rules}/{index}/name"), &rule.name)?;
        if rule.all_equal.is_empty() {
            let message = "a rule without fields would merge everything";
            return Err(Error::invalid(format!("{rules}/{index}/all_equal"), message));
        }
        for (list, fields) in [("all_equal", &rule.all_equal), ("unless_different", &rule.unless_different)] {
            for (place, name) in fields.iter().enumerate() {
                if entity.field(name).is_none() {
                    let message = format!("entity {} has no field {}", quoted(&entity.name), quoted(name));
                    return Err(Error::invalid(format!("{rules}/{index}/{list}/{place}"), message));
                }
            }
        }
    }
    Ok(())
}

/// Views of every past position must stay readable: entities and fields stay, with their types.
fn check_kept(known: &Ontology, revised: &Ontology) -> Result<(), Error> {
    for entity in &known.entities {
        let Some(place) = revised.entities.iter().position(|other| other.name == entity.name) else {
            let message = format!("entity {} cannot be removed", quoted(&entity.name));
            return Err(Error::invalid("/entities", message));
        };
        let at = format!("/entities/{place}");
        if revised.entities[place].plural != entity.plural {
            let message =
                format!("entity {} keeps its plural {}", quoted(&entity.name), quoted(&entity.plural));
            return Err(Error::invalid(format!("{at}/plural"), message));
        }
        for field in &entity.fields {
            let fields = &revised.entities[place].fields;
            let Some(index) = fields.iter().position(|other| other.name == field.name) else {
                let message = format!("field {} cannot be removed", quoted(&field.name));
                return Err(Error::invalid(format!("{at}/fields"), message));
            };
            if fields[index].canonical_type != field.canonical_type {
                let message = format!("field {} keeps its type", quoted(&field.name));
                return Err(Error::invalid(format!("{at}/fields/{index}/type"), message));
            }
        }
    }
    Ok(())
}
