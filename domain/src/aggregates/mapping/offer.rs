//! Changes that come after the drift was followed: a language model that was asked meanwhile. They are
//! for what waits, and they always wait themselves.

use super::{
    Mapping, MappingEvent, Repair, RepairStatus,
    follow::{judged, propose},
    lines::{expressible, repaired},
};
use crate::{
    aggregates::tenant::{AutonomyMode, RepairPolicy},
    drift::{OverlapCheck, RepairChange},
    error::Error,
    ids::RepairId,
    mapping::MappingField,
    policy::PolicyInForce,
};
use std::collections::BTreeSet;

pub(super) struct Offer {
    pub(super) schema_version: u32,
    pub(super) changes: Vec<RepairChange>,
    pub(super) policies: PolicyInForce,
    pub(super) mode: AutonomyMode,
    pub(super) repair_id: RepairId,
}

impl Mapping {
    /// Columns of a schema version that waiting fields are read from, and that no proposal which waits
    /// for a person answers.
    pub fn uncovered(&self, schema_version: u32) -> BTreeSet<String> {
        let Some((binding, content)) = self.bound(schema_version) else { return BTreeSet::new() };
        let asked: BTreeSet<&String> = self
            .repairs
            .values()
            .filter(|repair| repair.status == RepairStatus::PendingReview)
            .flat_map(|repair| repair.changes.iter().map(|change| &change.old_source))
            .collect();
        let held = content.fields.iter().filter(|line| binding.held.contains(&line.target));
        let columns = held.flat_map(|line| line.sources().map(str::to_owned));
        columns.filter(|column| !asked.contains(column)).collect()
    }

    pub(super) fn offer(&self, offer: Offer) -> Result<Vec<MappingEvent>, Error> {
        let held_id = RepairId::derive(&[&offer.repair_id.to_string(), "held"]);
        let known = [offer.repair_id, held_id].iter().any(|id| self.repairs.contains_key(id));
        if known || offer.mode == AutonomyMode::Observe {
            return Ok(Vec::new());
        }
        let uncovered = self.uncovered(offer.schema_version);
        let Some((_, content)) = self.bound(offer.schema_version) else {
            return Err(Error::not_found("schema version with a mapping", offer.schema_version));
        };
        let untouched: BTreeSet<&str> = content
            .fields
            .iter()
            .flat_map(MappingField::sources)
            .chain(content.key.iter().map(String::as_str))
            .filter(|column| !uncovered.contains(*column))
            .collect();
        let mut taken = BTreeSet::new();
        let mut ask = Vec::new();
        let mut hold = Vec::new();
        for mut change in offer.changes {
            let fits = uncovered.contains(&change.old_source)
                && !content.key.contains(&change.old_source)
                && change.probability.is_finite()
                && expressible(content, &change)
                && !change.new_sources.iter().any(|new| untouched.contains(new.as_str()));
            if !fits || !change.new_sources.iter().all(|new| taken.insert(new.clone())) {
                continue;
            }
            // Whoever offers it, nothing that comes this way applies alone.
            change.probability = change.probability.clamp(0.0, RepairPolicy::AUTOMATIC_FLOOR - 0.001);
            if let OverlapCheck::Agrees { compared, .. } = change.overlap {
                change.overlap = OverlapCheck::Unknown { compared };
            }
            match judged(&offer.policies, offer.mode, content, &change) {
                RepairStatus::PendingReview => ask.push(change),
                _ => hold.push(change),
            }
        }
        let mut events = Vec::new();
        for (changes, id, status) in
            [(ask, offer.repair_id, RepairStatus::PendingReview), (hold, held_id, RepairStatus::Held)]
        {
            if changes.is_empty() {
                continue;
            }
            let answers = |column: &str| changes.iter().any(|change| change.old_source == column);
            // What was too unsure to ask about gives way to what is asked.
            let overtaken = self
                .repairs
                .iter()
                .filter(|(_, repair)| status == RepairStatus::PendingReview && outdone(repair, answers));
            events.extend(overtaken.map(|(id, _)| MappingEvent::RepairExpired { repair_id: *id }));
            let proposed = repaired(content, &changes);
            events.push(propose(offer.schema_version, id, content, changes, proposed, status));
        }
        Ok(events)
    }
}

/// A proposal nobody was asked about, all of whose columns others answer.
fn outdone(repair: &Repair, answers: impl Fn(&str) -> bool) -> bool {
    repair.status == RepairStatus::Held && repair.changes.iter().all(|change| answers(&change.old_source))
}
