//! What people decided about which records are the same. The aggregate's id is derived from the
//! tenant and the entity.

use super::{domain_event, stored_aggregate};
use crate::{error::Error, limits};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum IdentityEvent {
    /// These two source records are one, whatever the rules say.
    RecordsMerged { entity: String, left: Uuid, right: Uuid },
    /// These two are not, whatever the rules say.
    RecordsUnmerged { entity: String, left: Uuid, right: Uuid },
}
domain_event!(IdentityEvent { RecordsMerged, RecordsUnmerged });

#[derive(Debug, Clone)]
pub enum IdentityCommand {
    MergeRecords { entity: String, left: Uuid, right: Uuid },
    UnmergeRecords { entity: String, left: Uuid, right: Uuid },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// The last word on each pair, the smaller id first; true: merged.
    #[serde(with = "pairs")]
    pub decisions: BTreeMap<(Uuid, Uuid), bool>,
}
stored_aggregate!(Identity, Identity, IdentityCommand, IdentityEvent);

impl Identity {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: IdentityCommand) -> Result<Vec<IdentityEvent>, Error> {
        let (entity, left, right, merged) = match command {
            IdentityCommand::MergeRecords { entity, left, right } => (entity, left, right, true),
            IdentityCommand::UnmergeRecords { entity, left, right } => (entity, left, right, false),
        };
        limits::identifier("/entity", &entity)?;
        if left == right {
            return Err(Error::invalid("/right", format!("`{right}` is the same record as `left`")));
        }
        match self.decisions.get(&pair(left, right)) {
            Some(last_word) if *last_word == merged => return Ok(Vec::new()),
            Some(_) => {}
            None => limits::count(
                "decisions on one entity's records",
                self.decisions.len() + 1,
                limits::IDENTITY_DECISIONS,
            )?,
        }
        Ok(vec![if merged {
            IdentityEvent::RecordsMerged { entity, left, right }
        } else {
            IdentityEvent::RecordsUnmerged { entity, left, right }
        }])
    }

    fn evolve(&mut self, event: IdentityEvent) {
        match event {
            IdentityEvent::RecordsMerged { left, right, .. } => {
                self.decisions.insert(pair(left, right), true);
            }
            IdentityEvent::RecordsUnmerged { left, right, .. } => {
                self.decisions.insert(pair(left, right), false);
            }
        }
    }
}

fn pair(left: Uuid, right: Uuid) -> (Uuid, Uuid) {
    (left.min(right), left.max(right))
}

/// JSON keys are text, so pairs are written as a list.
mod pairs {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::collections::BTreeMap;
    use uuid::Uuid;

    type Pairs = BTreeMap<(Uuid, Uuid), bool>;

    pub(super) fn serialize<S: Serializer>(pairs: &Pairs, serializer: S) -> Result<S::Ok, S::Error> {
        pairs.iter().collect::<Vec<_>>().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pairs, D::Error> {
        Ok(Vec::<((Uuid, Uuid), bool)>::deserialize(deserializer)?.into_iter().collect())
    }
}
