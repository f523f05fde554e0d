//! Decisions on a mapping: pure, from the state and the command alone.

use super::{
    Binding, Mapping, MappingCommand, MappingEvent, Repair, RepairStatus,
    follow::Follow,
    lines::{check, repaired},
    offer::Offer,
    parts::RepairPart,
};
use crate::{
    error::Error,
    ids::{RepairId, UserId},
    limits,
    mapping::{MappingContent, MappingOrigin},
};
use std::collections::{BTreeMap, BTreeSet};

impl Mapping {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, command: MappingCommand) -> Result<Vec<MappingEvent>, Error> {
        if let MappingCommand::CreateMapping { connection_id, stream, schema_version, content, origin } =
            command
        {
            if self.version != 0 {
                return Err(Error::AlreadyExists { what: "mapping", id: self.stream.clone() });
            }
            limits::source_name("/stream", &stream)?;
            check(&content)?;
            check_version(schema_version)?;
            let created = MappingEvent::MappingCreated { connection_id, stream, version: 1, content, origin };
            return Ok(vec![created, bound(schema_version, 1, Vec::new(), false)]);
        }
        if self.version == 0 {
            return Err(Error::Missing { what: "mapping" });
        }
        match command {
            MappingCommand::CreateMapping { .. } => unreachable!("answered above"),
            MappingCommand::FollowSchema {
                schema_version,
                from_version,
                impacts,
                policies,
                mode,
                automatic_id,
                waiting_id,
            } => {
                check_version(schema_version)?;
                self.follow(&Follow {
                    schema_version,
                    from_version,
                    impacts,
                    policies,
                    mode,
                    automatic_id,
                    waiting_id,
                })
            }
            MappingCommand::OfferRepair { schema_version, changes, policies, mode, repair_id } => {
                self.offer(Offer { schema_version, changes, policies, mode, repair_id })
            }
            MappingCommand::ReviseMapping { content, schema_version, also_for } => {
                self.revise(content, schema_version, &also_for)
            }
            MappingCommand::ApproveRepair { repair_id, edited, part, by } => {
                self.repair_approve(repair_id, edited, part.as_ref(), by)
            }
            MappingCommand::RejectRepair { repair_id, part, by } => {
                let event = MappingEvent::RepairRejected { repair_id, by };
                self.repair_end(repair_id, RepairStatus::Rejected, "reject it", part.as_ref(), event)
            }
            MappingCommand::ExpireRepair { repair_id } => {
                let event = MappingEvent::RepairExpired { repair_id };
                self.repair_end(repair_id, RepairStatus::Expired, "expire it", None, event)
            }
            MappingCommand::RollBackRepair { repair_id, by } => self.repair_roll_back(repair_id, by),
        }
    }

    fn repair(&self, repair_id: RepairId) -> Result<&Repair, Error> {
        self.repairs.get(&repair_id).ok_or_else(|| Error::not_found("repair", repair_id))
    }

    fn revise(
        &self,
        content: MappingContent,
        schema_version: Option<u32>,
        also_for: &[u32],
    ) -> Result<Vec<MappingEvent>, Error> {
        check(&content)?;
        let newest = self.bindings.keys().next_back().copied().unwrap_or_default();
        let anchor = schema_version.unwrap_or(newest);
        let Some((base, known)) = self.bound(anchor) else {
            return Err(Error::not_found("schema version with a mapping", anchor));
        };
        if *known == content && base.held.is_empty() && !base.hold_rows {
            return Ok(Vec::new());
        }
        let version = self.version + 1;
        let mut events = vec![MappingEvent::MappingRevised {
            version,
            content,
            origin: MappingOrigin::Human,
            based_on: base.mapping_version,
            repair_id: None,
        }];
        let mut after = self.bindings.clone();
        for binding in after.values_mut() {
            let place = binding.schema_version;
            let same_mapping = binding.mapping_version == base.mapping_version;
            if place == anchor || (same_mapping && (place > anchor || also_for.contains(&place))) {
                *binding = Binding { held: Vec::new(), hold_rows: false, ..binding.clone() };
                binding.mapping_version = version;
                binding.suspect_from = None;
                events.push(MappingEvent::MappingBound { binding: binding.clone() });
            }
        }
        let waiting = self.repairs.iter().filter(|(_, repair)| repair.status.is_waiting());
        let overtaken = waiting.filter(|(_, repair)| holding(&after, repair).next().is_none());
        events.extend(overtaken.map(|(id, _)| MappingEvent::RepairExpired { repair_id: *id }));
        Ok(events)
    }

    /// One new version per version in force where the repair's fields are held: later schema
    /// versions may have been repaired otherwise meanwhile.
    fn repair_approve(
        &self,
        repair_id: RepairId,
        edited: Option<MappingContent>,
        part: Option<&RepairPart>,
        by: UserId,
    ) -> Result<Vec<MappingEvent>, Error> {
        let whole = self.repair(repair_id)?;
        if whole.status == RepairStatus::Approved {
            return Ok(Vec::new());
        }
        if !whole.status.is_waiting() {
            return Err(wrong_state(whole, "approve it"));
        }
        if let Some(edited) = &edited {
            check(edited)?;
            if part.is_some() {
                let message = "an edited mapping decides about the whole repair: leave one of the two out";
                return Err(Error::invalid("/drift_ids", message));
            }
        }
        let parted = part.map(|part| self.parted(whole, part)).transpose()?.flatten();
        let repair = parted.as_ref().map_or(whole, |parted| &parted.taken);
        let mut groups: BTreeMap<u32, Vec<&Binding>> = BTreeMap::new();
        for binding in holding(&self.bindings, repair) {
            groups.entry(binding.mapping_version).or_default().push(binding);
        }
        if groups.is_empty() {
            return Err(Error::conflict(format!("repair `{repair_id}` is overtaken: nothing waits for it")));
        }
        let proposed_on = self.bindings.get(&repair.schema_version).map(|binding| binding.mapping_version);
        let is_edited = edited.is_some();
        let mut events: Vec<MappingEvent> =
            parted.iter().map(|parted| self.narrowed(repair_id, parted)).collect::<Result<_, _>>()?;
        events.push(MappingEvent::RepairApproved { repair_id, by, edited: is_edited });
        let mut version = self.version;
        for (based_on, bindings) in groups {
            let Some(known) = self.contents.get(&based_on) else {
                continue;
            };
            let content = match &edited {
                Some(edited) if proposed_on == Some(based_on) => edited.clone(),
                Some(edited) => transplanted(known, edited, repair),
                None => repaired(known, &repair.changes),
            };
            let mapped: BTreeSet<String> = content.fields.iter().map(|line| line.target.clone()).collect();
            version += 1;
            events.push(MappingEvent::MappingRevised {
                version,
                content,
                origin: if is_edited { MappingOrigin::Human } else { MappingOrigin::Matcher },
                based_on,
                repair_id: Some(repair_id),
            });
            for binding in bindings {
                // An edit may have dropped other lines that waited.
                let waits = |target: &&String| mapped.contains(*target) && !repair.targets.contains(*target);
                let still_held = binding.held.iter().filter(waits).cloned().collect();
                let hold_rows = binding.hold_rows && !repair.key;
                events.push(bound(binding.schema_version, version, still_held, hold_rows));
            }
        }
        if let Some(parted) = parted {
            events.push(self.rest_proposed(parted, &events)?);
        }
        Ok(events)
    }

    /// Rejecting or expiring: what is held stays held.
    fn repair_end(
        &self,
        repair_id: RepairId,
        status: RepairStatus,
        action: &'static str,
        part: Option<&RepairPart>,
        event: MappingEvent,
    ) -> Result<Vec<MappingEvent>, Error> {
        let whole = self.repair(repair_id)?;
        if whole.status == status {
            return Ok(Vec::new());
        }
        if !whole.status.is_waiting() {
            return Err(wrong_state(whole, action));
        }
        let Some(parted) = part.map(|part| self.parted(whole, part)).transpose()?.flatten() else {
            return Ok(vec![event]);
        };
        let mut events = vec![self.narrowed(repair_id, &parted)?, event];
        events.push(self.rest_proposed(parted, &events)?);
        Ok(events)
    }

    fn repair_roll_back(&self, repair_id: RepairId, by: UserId) -> Result<Vec<MappingEvent>, Error> {
        let repair = self.repair(repair_id)?;
        if repair.status == RepairStatus::RolledBack {
            return Ok(Vec::new());
        }
        if !repair.status.is_applied() {
            return Err(wrong_state(repair, "roll it back"));
        }
        let on_top = self.bindings.values().map(|binding| binding.mapping_version).find(|version| {
            !repair.made.contains_key(version)
                && self.ancestors(*version).iter().any(|ancestor| repair.made.contains_key(ancestor))
        });
        if let Some(version) = on_top {
            let message =
                format!("mapping version `{version}` was made from this repair's: roll that back first");
            return Err(Error::conflict(message));
        }
        // The repair's own event comes last: until then it keeps the contents it replaced.
        let mut events = Vec::new();
        for binding in self.bindings.values() {
            let Some(before) = repair.made.get(&binding.mapping_version) else {
                continue;
            };
            let mapped = |target: &&String| {
                self.contents
                    .get(before)
                    .is_some_and(|content| content.fields.iter().any(|line| line.target == **target))
            };
            let held: BTreeSet<String> =
                binding.held.iter().chain(&repair.targets).filter(mapped).cloned().collect();
            let hold_rows = binding.hold_rows || repair.key;
            events.push(bound(binding.schema_version, *before, held.into_iter().collect(), hold_rows));
        }
        events.push(MappingEvent::RepairRolledBack { repair_id, by });
        Ok(events)
    }

    fn ancestors(&self, version: u32) -> BTreeSet<u32> {
        let mut ancestors = BTreeSet::new();
        let mut next = self.based_on.get(&version);
        while let Some(version) = next {
            if !ancestors.insert(*version) {
                break;
            }
            next = self.based_on.get(version);
        }
        ancestors
    }
}

/// The bindings in which the repair's fields (or its key) wait.
fn holding<'a>(
    bindings: &'a BTreeMap<u32, Binding>,
    repair: &'a Repair,
) -> impl Iterator<Item = &'a Binding> {
    bindings.range(repair.schema_version..).map(|(_, binding)| binding).filter(|binding| {
        repair.targets.iter().any(|target| binding.held.contains(target)) || (repair.key && binding.hold_rows)
    })
}

/// A person's lines for the repair's fields, put into another version of the mapping.
fn transplanted(known: &MappingContent, edited: &MappingContent, repair: &Repair) -> MappingContent {
    let mut content = known.clone();
    content.fields.retain(|line| !repair.targets.contains(&line.target));
    content.fields.extend(edited.fields.iter().filter(|line| repair.targets.contains(&line.target)).cloned());
    if repair.key {
        content.key.clone_from(&edited.key);
    }
    content
}

fn bound(schema_version: u32, mapping_version: u32, held: Vec<String>, hold_rows: bool) -> MappingEvent {
    let binding = Binding { schema_version, mapping_version, held, hold_rows, suspect_from: None };
    MappingEvent::MappingBound { binding }
}

fn wrong_state(repair: &Repair, action: &'static str) -> Error {
    Error::WrongState { what: "repair", status: repair.status.as_str().to_owned(), action }
}

fn check_version(schema_version: u32) -> Result<(), Error> {
    if schema_version == 0 {
        return Err(Error::invalid("/schema_version", "versions start at 1, not `0`"));
    }
    Ok(())
}
