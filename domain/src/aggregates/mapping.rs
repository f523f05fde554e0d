//! How one stream maps to an entity: versions, their binding to schema versions, and repairs.
//! The aggregate's id equals the stream's feed id.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    drift::RepairChange,
    ids::{ConnectionId, DriftId, RepairId, UserId},
    mapping::{MappingContent, MappingOrigin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepairStatus {
    AutoApplied,
    PendingReview,
    /// Too unsure to ask: cells stay held until a person maps them or the source goes back.
    Held,
    Approved,
    Rejected,
    RolledBack,
    Expired,
}

/// A mapping version bound to a schema version: batches of that schema version are projected under
/// the latest binding for it in force, and under no other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Binding {
    pub schema_version: u32,
    pub mapping_version: u32,
    /// Target fields whose cells keep their last good value while a repair waits.
    pub held: Vec<String>,
    /// The key drifted: whole batches wait.
    pub hold_rows: bool,
    /// Value drift proven late: rows of this schema version from this batch number of the feed on
    /// (the feed state's `batches`) are the suspect ones. None: all.
    pub suspect_from: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum MappingEvent {
    MappingCreated {
        connection_id: ConnectionId,
        stream: String,
        version: u32,
        content: MappingContent,
        origin: MappingOrigin,
    },
    /// A later version: a person's edit, or a repair's result.
    MappingRevised {
        version: u32,
        content: MappingContent,
        origin: MappingOrigin,
        /// The version it was made from.
        #[serde(default)]
        based_on: u32,
        /// The repair it came from; none: a person's edit.
        #[serde(default)]
        repair_id: Option<RepairId>,
    },
    MappingBound {
        binding: Binding,
    },
    RepairProposed {
        repair_id: RepairId,
        schema_version: u32,
        changes: Vec<RepairChange>,
        /// The mapping as it would be.
        proposed: MappingContent,
        /// Least probability of the changes.
        confidence: f64,
        /// Decided at once: `pending_review`, `held` or `auto_applied`.
        status: RepairStatus,
    },
    RepairApproved {
        repair_id: RepairId,
        by: UserId,
        edited: bool,
    },
    RepairRejected {
        repair_id: RepairId,
        by: UserId,
    },
    RepairRolledBack {
        repair_id: RepairId,
        by: UserId,
    },
    RepairExpired {
        repair_id: RepairId,
    },
}
domain_event!(MappingEvent {
    MappingCreated,
    MappingRevised,
    MappingBound,
    RepairProposed,
    RepairApproved,
    RepairRejected,
    RepairRolledBack,
    RepairExpired,
});

/// What the drift means for the mapping in force, decided before the first batch of the new schema.
#[derive(Debug, Clone)]
pub struct DriftImpact {
    pub drift_id: DriftId,
    /// Source columns that can no longer be trusted as they are.
    pub columns: Vec<String>,
    /// What would put it right, if anything is known.
    pub change: Option<RepairChange>,
    /// A record's key is concerned.
    pub key: bool,
}

#[derive(Debug, Clone)]
pub enum MappingCommand {
    CreateMapping {
        connection_id: ConnectionId,
        stream: String,
        schema_version: u32,
        content: MappingContent,
        origin: MappingOrigin,
    },
    /// The stream moved to `schema_version`. Untouched: the binding carries over. Touched: repairs
    /// that are sure enough apply alone (under policy and mode), others wait with their cells held.
    FollowSchema {
        schema_version: u32,
        /// The schema version the impacts were found against: its binding is what carries over.
        from_version: u32,
        impacts: Vec<DriftImpact>,
        policy: super::tenant::RepairPolicy,
        mode: super::tenant::AutonomyMode,
        /// Target fields that are never repaired without a person.
        protected_targets: Vec<String>,
        /// One id for what applies alone and one for what waits: a proposal is decided whole.
        automatic_id: RepairId,
        waiting_id: RepairId,
    },
    /// A person's mapping, nothing held. Bound to `schema_version` and to the later ones that had
    /// the same mapping; pending repairs that it overtakes expire.
    ReviseMapping {
        content: MappingContent,
        /// The schema version it is made for; none: the newest that was followed.
        schema_version: Option<u32>,
        /// Earlier schema versions whose shapes have every column it reads: where they had the same
        /// mapping as `schema_version`, their batches are projected again under it too.
        also_for: Vec<u32>,
    },
    ApproveRepair {
        repair_id: RepairId,
        edited: Option<MappingContent>,
        by: UserId,
    },
    RejectRepair {
        repair_id: RepairId,
        by: UserId,
    },
    /// Back to the mapping before it; the repaired fields are held again.
    RollBackRepair {
        repair_id: RepairId,
        by: UserId,
    },
    ExpireRepair {
        repair_id: RepairId,
    },
}

/// A proposal and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Repair {
    pub schema_version: u32,
    pub changes: Vec<RepairChange>,
    pub status: RepairStatus,
    /// Target fields whose lines the changes touch.
    pub targets: Vec<String>,
    /// The mapping version that was in force before it, and the one it made.
    pub before: u32,
    pub applied: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    pub connection_id: Option<ConnectionId>,
    pub stream: String,
    /// The newest version; 0 before the first.
    pub version: u32,
    /// Contents by mapping version, as far as a binding or an undecided or applied repair needs them.
    pub contents: BTreeMap<u32, MappingContent>,
    /// The binding in force by schema version.
    pub bindings: BTreeMap<u32, Binding>,
    pub repairs: BTreeMap<RepairId, Repair>,
}
stored_aggregate!(Mapping, Mapping, MappingCommand, MappingEvent);

impl Mapping {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: MappingCommand) -> Result<Vec<MappingEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: MappingEvent) {}
}
