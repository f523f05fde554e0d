//! What people decided about which records are the same. The aggregate's id is derived from the
//! tenant and the entity.

use super::domain_event;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
