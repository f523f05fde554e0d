//! How one stream maps to an entity: versions, their binding to schema versions, and repairs.
//! The aggregate's id equals the stream's feed id.

mod decide;
mod follow;
mod lines;
mod offer;
mod parts;
#[cfg(test)]
mod tests;

pub use follow::judged;
pub use parts::{RepairPart, decided_together};

use super::{domain_event, stored_aggregate};
use crate::{
    drift::RepairChange,
    ids::{ConnectionId, DriftId, RepairId, UserId},
    mapping::{MappingContent, MappingOrigin},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
        /// Target fields whose lines the changes touch.
        #[serde(default)]
        targets: Vec<String>,
        /// The record's key is touched.
        #[serde(default)]
        key: bool,
        /// Least probability of the changes.
        confidence: f64,
        /// Decided at once: `pending_review`, `held` or `auto_applied`.
        status: RepairStatus,
    },
    /// It is decided about a part: the proposal is this from here on, and its rest is proposed again in
    /// the same commit, under an id of its own.
    RepairNarrowed {
        repair_id: RepairId,
        changes: Vec<RepairChange>,
        proposed: MappingContent,
        targets: Vec<String>,
        key: bool,
        confidence: f64,
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
    RepairNarrowed,
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
        policies: crate::policy::PolicyInForce,
        mode: super::tenant::AutonomyMode,
        /// One id for what applies alone and one for what waits: a proposal is decided whole.
        automatic_id: RepairId,
        waiting_id: RepairId,
    },
    /// Changes for what waits under a schema version, found after it was followed. They wait for a
    /// person, or are held; none applies alone.
    OfferRepair {
        schema_version: u32,
        changes: Vec<RepairChange>,
        policies: crate::policy::PolicyInForce,
        mode: super::tenant::AutonomyMode,
        repair_id: RepairId,
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
        /// None: all of it.
        part: Option<RepairPart>,
        by: UserId,
    },
    RejectRepair {
        repair_id: RepairId,
        /// None: all of it.
        part: Option<RepairPart>,
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
    /// Counts the proposals of this mapping.
    pub number: u64,
    pub schema_version: u32,
    pub changes: Vec<RepairChange>,
    pub status: RepairStatus,
    /// Target fields whose lines the changes touch.
    pub targets: Vec<String>,
    pub key: bool,
    /// The mapping versions it made, each with the one it replaced.
    pub made: BTreeMap<u32, u32>,
}

/// Decided repairs are remembered up to this many, the oldest go first.
const REPAIRS_REMEMBERED: usize = 100;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Mapping {
    pub connection_id: Option<ConnectionId>,
    pub stream: String,
    /// The newest version; 0 before the first.
    pub version: u32,
    /// Contents by mapping version, as far as a binding or an applied repair needs them.
    pub contents: BTreeMap<u32, MappingContent>,
    /// The version each was made from.
    pub based_on: BTreeMap<u32, u32>,
    /// The binding in force by schema version.
    pub bindings: BTreeMap<u32, Binding>,
    pub repairs: BTreeMap<RepairId, Repair>,
    pub repairs_proposed: u64,
}
stored_aggregate!(Mapping, Mapping, MappingCommand, MappingEvent);

impl Mapping {
    /// The binding of a schema version with the content it projects under.
    pub fn bound(&self, schema_version: u32) -> Option<(&Binding, &MappingContent)> {
        let binding = self.bindings.get(&schema_version)?;
        Some((binding, self.contents.get(&binding.mapping_version)?))
    }

    fn evolve(&mut self, event: MappingEvent) {
        match event {
            MappingEvent::MappingCreated { connection_id, stream, version, content, .. } => {
                *self = Self { connection_id: Some(connection_id), stream, version, ..Self::default() };
                self.contents.insert(version, content);
            }
            MappingEvent::MappingRevised { version, content, based_on, repair_id, .. } => {
                self.version = version;
                self.contents.insert(version, content);
                self.based_on.insert(version, based_on);
                if let Some(repair) = repair_id.and_then(|id| self.repairs.get_mut(&id)) {
                    repair.made.insert(version, based_on);
                }
            }
            MappingEvent::MappingBound { binding } => {
                self.bindings.insert(binding.schema_version, binding);
                self.forget_contents();
            }
            MappingEvent::RepairProposed {
                repair_id, schema_version, changes, status, targets, key, ..
            } => {
                self.repairs_proposed += 1;
                let number = self.repairs_proposed;
                let made = BTreeMap::new();
                let repair = Repair { number, schema_version, changes, status, targets, key, made };
                self.repairs.insert(repair_id, repair);
                self.forget_repairs();
            }
            MappingEvent::RepairNarrowed { repair_id, changes, targets, key, .. } => {
                if let Some(repair) = self.repairs.get_mut(&repair_id) {
                    repair.changes = changes;
                    repair.targets = targets;
                    repair.key = key;
                }
            }
            MappingEvent::RepairApproved { repair_id, .. } => {
                self.set_status(repair_id, RepairStatus::Approved);
            }
            MappingEvent::RepairRejected { repair_id, .. } => {
                self.set_status(repair_id, RepairStatus::Rejected);
            }
            MappingEvent::RepairRolledBack { repair_id, .. } => {
                self.set_status(repair_id, RepairStatus::RolledBack);
            }
            MappingEvent::RepairExpired { repair_id } => self.set_status(repair_id, RepairStatus::Expired),
        }
    }

    fn set_status(&mut self, repair_id: RepairId, status: RepairStatus) {
        if let Some(repair) = self.repairs.get_mut(&repair_id) {
            repair.status = status;
        }
    }

    /// The newest stays: it may be bound only by the next event.
    fn forget_contents(&mut self) {
        let applied = self.repairs.values().filter(|repair| repair.status.is_applied());
        let made = applied.flat_map(|repair| repair.made.iter().flat_map(|(made, from)| [*made, *from]));
        let bound = self.bindings.values().map(|binding| binding.mapping_version);
        let needed: BTreeSet<u32> = made.chain(bound).chain([self.version]).collect();
        self.contents.retain(|version, _| needed.contains(version));
    }

    fn forget_repairs(&mut self) {
        let mut decided: Vec<_> = self
            .repairs
            .iter()
            .filter(|(_, repair)| !repair.status.is_waiting())
            .map(|(id, repair)| (repair.number, *id))
            .collect();
        decided.sort_unstable();
        let excess = decided.len().saturating_sub(REPAIRS_REMEMBERED);
        for (_, id) in decided.into_iter().take(excess) {
            self.repairs.remove(&id);
        }
    }
}

impl RepairStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AutoApplied => "auto_applied",
            Self::PendingReview => "pending_review",
            Self::Held => "held",
            Self::Approved => "approved",
            Self::Rejected => "rejected",
            Self::RolledBack => "rolled_back",
            Self::Expired => "expired",
        }
    }

    /// A person can still approve or reject it.
    pub const fn is_waiting(self) -> bool {
        matches!(self, Self::PendingReview | Self::Held)
    }

    pub const fn is_applied(self) -> bool {
        matches!(self, Self::AutoApplied | Self::Approved)
    }
}
