//! What people decided about which records are the same. The aggregate's id is derived from the
//! tenant and the entity.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
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
    pub fn decide(&self, _command: IdentityCommand) -> Result<Vec<IdentityEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: IdentityEvent) {}
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
