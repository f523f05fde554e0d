//! How one entity's unified view picks its values, when it differs from the default: the field that
//! changed last wins, ties go to the stream's priority. The aggregate's id is derived from the tenant
//! and the entity.

use super::{domain_event, stored_aggregate};
use crate::{
    error::Error,
    ids::{ConnectionId, TenantId},
    limits::{self, quoted},
    ontology::Entity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// How a field is picked from the records of a cluster. Nulls never win.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FieldRule {
    /// By when the field last changed, then by the source's rank.
    #[default]
    Latest,
    /// By the source's rank, whenever it changed.
    SourceRank,
}

/// The survivorship rules of one unified view.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ViewRules {
    /// Connections, the most trusted first. One that is not named ranks after all that are, by its
    /// streams' priority.
    pub source_rank: Vec<ConnectionId>,
    /// Fields that are not picked by `latest`.
    pub fields: BTreeMap<String, FieldRule>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum UnifiedViewEvent {
    /// From this position on the view's values are picked by these rules.
    UnifiedViewRevised { entity: String, version: u32, rules: ViewRules },
}
domain_event!(UnifiedViewEvent { UnifiedViewRevised });

#[derive(Debug, Clone)]
pub enum UnifiedViewCommand {
    /// Refused unless it names the version it was edited from, and fields that the entity has.
    ReviseUnifiedView { based_on: u32, entity: Box<Entity>, rules: ViewRules },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct UnifiedView {
    /// 0: the default rules are in force.
    pub version: u32,
    pub rules: ViewRules,
}
stored_aggregate!(UnifiedView, UnifiedView, UnifiedViewCommand, UnifiedViewEvent);

impl UnifiedView {
    /// The aggregate's id.
    pub fn id_of(tenant: TenantId, entity: &str) -> Uuid {
        Uuid::new_v5(&tenant.0, format!("unified-view/{entity}").as_bytes())
    }

    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: UnifiedViewCommand) -> Result<Vec<UnifiedViewEvent>, Error> {
        let UnifiedViewCommand::ReviseUnifiedView { based_on, entity, mut rules } = command;
        if based_on != self.version {
            let message = format!("edited from version `{based_on}`, but `{}` is in force", self.version);
            return Err(Error::conflict(message));
        }
        limits::count("ranked connections of a view", rules.source_rank.len(), limits::RANKED_CONNECTIONS)?;
        let mut seen = BTreeSet::new();
        for (index, connection) in rules.source_rank.iter().enumerate() {
            if !seen.insert(connection) {
                let message = format!("`{connection}` is there twice");
                return Err(Error::invalid(format!("/source_rank/{index}"), message));
            }
        }
        for name in rules.fields.keys() {
            if entity.field(name).is_none() {
                let message = format!("entity {} has no field {}", quoted(&entity.name), quoted(name));
                return Err(Error::invalid("/fields", message));
            }
        }
        // The default needs no saying: equal rules are equal however they are written.
        rules.fields.retain(|_, rule| *rule != FieldRule::default());
        if rules == self.rules {
            return Ok(Vec::new());
        }
        Ok(vec![UnifiedViewEvent::UnifiedViewRevised {
            entity: entity.name,
            version: self.version + 1,
            rules,
        }])
    }

    fn evolve(&mut self, event: UnifiedViewEvent) {
        let UnifiedViewEvent::UnifiedViewRevised { version, rules, .. } = event;
        self.version = version;
        self.rules = rules;
    }
}
