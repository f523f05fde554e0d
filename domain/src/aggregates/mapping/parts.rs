//! Deciding about a part of a proposal: what hangs together is decided together, and the rest becomes a
//! proposal of its own.

use super::{
    Mapping, MappingEvent, Repair,
    lines::{reads, repaired},
};
use crate::{
    drift::RepairChange,
    error::Error,
    ids::{DriftId, RepairId},
    mapping::MappingContent,
};
use std::collections::BTreeSet;

/// The changes of a proposal that are decided about, by the drifts that they answer.
#[derive(Debug, Clone)]
pub struct RepairPart {
    pub drifts: Vec<DriftId>,
    /// What the rest of the proposal is called from then on.
    pub rest_id: RepairId,
}

/// A proposal, parted: what is decided about, and what goes on waiting.
pub(super) struct Parted {
    pub(super) taken: Repair,
    rest_id: RepairId,
    rest: Repair,
}

/// The drifts of a proposal by what is decided together: changes of one drift, changes that one line or
/// the key reads, and changes of which one takes the column that another leaves.
pub fn decided_together(content: &MappingContent, changes: &[RepairChange]) -> Vec<Vec<DriftId>> {
    let mut groups: Vec<(Vec<&RepairChange>, BTreeSet<DriftId>)> = Vec::new();
    for change in changes {
        let (hanging, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(members, drifts)| {
            drifts.contains(&change.drift_id) || members.iter().any(|other| linked(content, change, other))
        });
        groups = apart;
        let mut joined = (vec![change], BTreeSet::from([change.drift_id]));
        for (members, drifts) in hanging {
            joined.0.extend(members);
            joined.1.extend(drifts);
        }
        groups.push(joined);
    }
    // In the order in which the changes are told.
    let place = |drift: &DriftId| changes.iter().position(|change| change.drift_id == *drift);
    let mut told: Vec<Vec<DriftId>> =
        groups.into_iter().map(|(_, drifts)| drifts.into_iter().collect()).collect();
    for group in &mut told {
        group.sort_by_key(place);
    }
    told.sort_by_key(|group| group.first().and_then(place));
    told
}

fn linked(content: &MappingContent, one: &RepairChange, other: &RepairChange) -> bool {
    let (old, others) = (&one.old_source, &other.old_source);
    one.new_sources.contains(others)
        || other.new_sources.contains(old)
        || (content.key.contains(old) && content.key.contains(others))
        || content.fields.iter().any(|line| reads(line, old) && reads(line, others))
}

impl Mapping {
    /// Parts a proposal; none where the part is all of it.
    pub(super) fn parted(&self, whole: &Repair, part: &RepairPart) -> Result<Option<Parted>, Error> {
        let wanted: BTreeSet<DriftId> = part.drifts.iter().copied().collect();
        if wanted.is_empty() {
            return Err(Error::invalid("/drift_ids", "name at least one drift, or leave it out for all"));
        }
        let answered: BTreeSet<DriftId> = whole.changes.iter().map(|change| change.drift_id).collect();
        if let Some(index) = part.drifts.iter().position(|drift| !answered.contains(drift)) {
            let message = format!("the repair does not answer the drift `{}`", part.drifts[index]);
            return Err(Error::invalid(format!("/drift_ids/{index}"), message));
        }
        let content = self.in_force(whole.schema_version)?;
        for group in decided_together(content, &whole.changes) {
            let (taken, left): (Vec<DriftId>, Vec<DriftId>) =
                group.into_iter().partition(|drift| wanted.contains(drift));
            if let (Some(taken), Some(left)) = (taken.first(), left.first()) {
                let message =
                    format!("the drifts `{taken}` and `{left}` hang together: decide about both at once");
                return Err(Error::invalid("/drift_ids", message));
            }
        }
        let (taken, rest): (Vec<RepairChange>, Vec<RepairChange>) =
            whole.changes.iter().cloned().partition(|change| wanted.contains(&change.drift_id));
        if rest.is_empty() {
            return Ok(None);
        }
        let touched = |target: &String| {
            let line = content.fields.iter().find(|line| line.target == *target);
            line.is_some_and(|line| taken.iter().any(|change| reads(line, &change.old_source)))
        };
        let (targets, others) = whole.targets.iter().cloned().partition(touched);
        let key = whole.key
            && content.key.iter().any(|column| taken.iter().any(|change| change.old_source == *column));
        let rest = Repair { changes: rest, targets: others, key: whole.key && !key, ..whole.clone() };
        let taken = Repair { changes: taken, targets, key, ..whole.clone() };
        Ok(Some(Parted { taken, rest_id: part.rest_id, rest }))
    }

    /// That the proposal is only a part of what it was, on the mapping as it is.
    pub(super) fn narrowed(&self, repair_id: RepairId, parted: &Parted) -> Result<MappingEvent, Error> {
        let Repair { changes, targets, key, schema_version, .. } = parted.taken.clone();
        let proposed = repaired(self.in_force(schema_version)?, &changes);
        let confidence = least(&changes);
        Ok(MappingEvent::RepairNarrowed { repair_id, changes, proposed, targets, key, confidence })
    }

    /// That the rest is proposed, on the mapping as the decision about the part leaves it.
    pub(super) fn rest_proposed(
        &self,
        parted: Parted,
        decided: &[MappingEvent],
    ) -> Result<MappingEvent, Error> {
        let mut after = self.clone();
        for event in decided {
            after.evolve(event.clone());
        }
        let Repair { changes, targets, key, schema_version, status, .. } = parted.rest;
        Ok(MappingEvent::RepairProposed {
            repair_id: parted.rest_id,
            schema_version,
            proposed: repaired(after.in_force(schema_version)?, &changes),
            confidence: least(&changes),
            changes,
            targets,
            key,
            status,
        })
    }

    fn in_force(&self, schema_version: u32) -> Result<&MappingContent, Error> {
        self.bound(schema_version).map(|(_, content)| content).ok_or_else(|| {
            Error::conflict(format!("nothing maps schema version `{schema_version}` any more"))
        })
    }
}

fn least(changes: &[RepairChange]) -> f64 {
    changes.iter().map(|change| change.probability).fold(1.0, f64::min)
}

#[cfg(test)]
pub(super) mod tests {
    use super::{
        super::{
            MappingCommand,
            tests::{
                AGREES, approve, check, content, drift_of, follow, history, impact, reject, repair_id,
                sources,
            },
        },
        *,
    };
    use crate::ids::UserId;
    use uuid::Uuid;

    /// Approves or rejects what a proposal says of these columns; the rest is `100` and its number.
    pub(in super::super) fn decide(number: u128, columns: &[&str], approves: bool) -> MappingCommand {
        let drifts = columns.iter().map(|column| drift_of(column)).collect();
        let part = Some(RepairPart { drifts, rest_id: repair_id(100 + number) });
        let (repair_id, by) = (repair_id(number), UserId(Uuid::nil()));
        if approves {
            MappingCommand::ApproveRepair { repair_id, edited: None, part, by }
        } else {
            MappingCommand::RejectRepair { repair_id, part, by }
        }
    }

    fn drifted() -> MappingCommand {
        let likely = |old, new| impact(old, new, 0.8, AGREES);
        follow(2, vec![likely("nm", "title"), likely("web", "site"), likely("rev", "turnover")])
    }

    #[test]
    fn a_part_is_approved_and_the_rest_waits_by_itself() {
        let asked = "1:m1[] 2:m1[name,domain,annual_revenue] pending_review(name,domain,annual_revenue)";
        check(vec![drifted()], asked);
        let mapping = check(
            vec![drifted(), decide(21, &["web"], true)],
            "1:m1[] 2:m2[name,annual_revenue] approved(domain) pending_review(name,annual_revenue)",
        );
        assert_eq!(sources(&mapping, 2), "id,nm,site,rev");
        let mapping = check(
            vec![drifted(), decide(21, &["web"], true), decide(121, &["nm"], false)],
            "1:m1[] 2:m2[name,annual_revenue] approved(domain) rejected(name) pending_review(annual_revenue)",
        );
        assert_eq!(sources(&mapping, 2), "id,nm,site,rev");
        // The rest is like any other proposal.
        let mapping = check(
            vec![drifted(), decide(21, &["web"], false), approve(121, None)],
            "1:m1[] 2:m2[domain] rejected(domain) approved(name,annual_revenue)",
        );
        assert_eq!(sources(&mapping, 2), "id,title,web,turnover");
        // So is what it would make of the mapping.
        let proposed = |commands: Vec<MappingCommand>, last: MappingCommand| {
            let events = history(commands).decide(last).unwrap();
            let rest = events.iter().rev().find_map(|event| match event {
                MappingEvent::RepairProposed { proposed, .. } => Some(proposed.clone()),
                _ => None,
            });
            rest.unwrap().fields.iter().map(|line| line.source.clone()).collect::<Vec<_>>().join(",")
        };
        assert_eq!(proposed(vec![drifted()], decide(21, &["web"], true)), "id,title,site,turnover");
        assert_eq!(proposed(vec![drifted()], decide(21, &["web"], false)), "id,title,web,turnover");
    }

    #[test]
    fn all_of_it_is_no_part() {
        let all = ["nm", "web", "rev"];
        let whole =
            check(vec![drifted(), approve(21, None)], "1:m1[] 2:m2[] approved(name,domain,annual_revenue)");
        assert_eq!(history(vec![drifted(), decide(21, &all, true)]), whole);
        assert_eq!(history(vec![drifted(), decide(21, &all, false)]), history(vec![drifted(), reject(21)]));
    }

    #[test]
    fn what_hangs_together_is_decided_together() {
        let swapped = vec![impact("nm", "web", 0.8, AGREES), impact("web", "nm", 0.8, AGREES)];
        let mapping =
            history(vec![follow(2, [swapped, vec![impact("rev", "turnover", 0.8, AGREES)]].concat())]);
        let changes = &mapping.repairs[&repair_id(21)].changes;
        let groups = decided_together(mapping.bound(2).unwrap().1, changes);
        assert_eq!(groups, [vec![drift_of("nm"), drift_of("web")], vec![drift_of("rev")]]);
        for (columns, field) in
            [(&["web"][..], "/drift_ids"), (&[], "/drift_ids"), (&["rev", "other"], "/drift_ids/1")]
        {
            match mapping.decide(decide(21, columns, true)) {
                Err(Error::Invalid { field: told, .. }) => assert_eq!(told, field),
                other => panic!("{columns:?}: {other:?}"),
            }
        }
        assert!(mapping.decide(decide(21, &["nm", "web"], true)).is_ok());
        let edited = MappingCommand::ApproveRepair {
            repair_id: repair_id(21),
            edited: Some(content(&[("e", "name")])),
            part: Some(RepairPart { drifts: vec![drift_of("rev")], rest_id: repair_id(121) }),
            by: UserId(Uuid::nil()),
        };
        assert!(matches!(mapping.decide(edited), Err(Error::Invalid { .. })));
    }
}
