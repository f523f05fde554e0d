//! Following a stream to a new schema version: each change is judged alone, then the lines that
//! hang together get the worst judgement among them, so that nothing is half repaired.

use super::{
    Binding, DriftImpact, Mapping, MappingEvent, RepairStatus,
    lines::{expressible, reads, repaired},
};
use crate::{
    aggregates::tenant::{AutonomyMode, RepairPolicy},
    drift::{OverlapCheck, RepairChange},
    error::Error,
    ids::RepairId,
    mapping::{MappingContent, MappingField, MappingOrigin},
    policy::{DriftPolicy, PolicyInForce},
};
use std::collections::{BTreeMap, BTreeSet};

pub(super) struct Follow {
    pub(super) schema_version: u32,
    pub(super) from_version: u32,
    pub(super) impacts: Vec<DriftImpact>,
    pub(super) policies: PolicyInForce,
    pub(super) mode: AutonomyMode,
    pub(super) automatic_id: RepairId,
    pub(super) waiting_id: RepairId,
}

/// What becomes of a drifted column, best first: a greater one overrules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Automatic,
    Ask,
    /// Proposed, too unsure to ask.
    Hold,
    /// Nothing is known that would help.
    Unknown,
}

struct Column {
    fate: Fate,
    change: Option<RepairChange>,
}

type Columns = BTreeMap<String, Column>;

impl Mapping {
    pub(super) fn follow(&self, follow: &Follow) -> Result<Vec<MappingEvent>, Error> {
        // Back at a version that was followed before: its binding is in force.
        if self.bindings.contains_key(&follow.schema_version) {
            return Ok(Vec::new());
        }
        follow.policies.policy.check()?;
        for field in follow.policies.fields.values() {
            field.policy.check()?;
        }
        let newest = self.bindings.keys().next_back().copied().unwrap_or_default();
        let Some((base, content)) = self.bound(follow.from_version).or_else(|| self.bound(newest)) else {
            return Err(Error::Missing { what: "mapping" });
        };
        let passing = follow.mode == AutonomyMode::Auto && follow.policies.on_drift == DriftPolicy::Propagate;
        let columns = judge(follow, content, passing);
        Ok(self.bind(follow, base, content, &columns))
    }

    fn bind(
        &self,
        follow: &Follow,
        base: &Binding,
        content: &MappingContent,
        columns: &Columns,
    ) -> Vec<MappingEvent> {
        let mut events: Vec<MappingEvent> = self.overtaken(follow, base).collect();
        let with_fate = |fate: Fate| -> Vec<RepairChange> {
            columns
                .values()
                .filter(|column| column.fate == fate)
                .filter_map(|column| column.change.clone())
                .collect()
        };
        let automatic = with_fate(Fate::Automatic);
        let mut in_force = content.clone();
        let mut mapping_version = base.mapping_version;
        if !automatic.is_empty() {
            in_force = repaired(content, &automatic);
            let status = RepairStatus::AutoApplied;
            let proposed = in_force.clone();
            events.push(propose(
                follow.schema_version,
                follow.automatic_id,
                content,
                automatic,
                proposed,
                status,
            ));
            mapping_version = self.version + 1;
            events.push(MappingEvent::MappingRevised {
                version: mapping_version,
                content: in_force.clone(),
                origin: MappingOrigin::Matcher,
                based_on: base.mapping_version,
                repair_id: Some(follow.automatic_id),
            });
        }
        // What is too unsure to ask is a proposal of its own: each is decided whole.
        let held_id = RepairId::derive(&[&follow.waiting_id.to_string(), "held"]);
        for (fate, id, status) in [
            (Fate::Ask, follow.waiting_id, RepairStatus::PendingReview),
            (Fate::Hold, held_id, RepairStatus::Held),
        ] {
            let changes = with_fate(fate);
            if !changes.is_empty() {
                let proposed = repaired(&in_force, &changes);
                events.push(propose(follow.schema_version, id, content, changes, proposed, status));
            }
        }
        let fate = |column: &str| columns.get(column).map(|column| column.fate);
        let mended = |column: &str| fate(column) == Some(Fate::Automatic);
        let broken = |column: &str| fate(column).is_some_and(|fate| fate != Fate::Automatic);
        let held = content.fields.iter().filter(|line| {
            let held_before = base.held.contains(&line.target) && !line.sources().all(mended);
            held_before || line.sources().any(broken)
        });
        let key_mended = !content.key.is_empty() && content.key.iter().all(|column| mended(column));
        let key_broken = content.key.iter().any(|column| broken(column))
            || follow.impacts.iter().any(|impact| impact.key && !impact_mended(impact, columns));
        events.push(MappingEvent::MappingBound {
            binding: Binding {
                schema_version: follow.schema_version,
                mapping_version,
                held: held.map(|line| line.target.clone()).collect(),
                hold_rows: (base.hold_rows && !key_mended) || key_broken,
                suspect_from: None,
            },
        });
        events
    }

    /// Waiting repairs that would read columns which have drifted themselves.
    fn overtaken(&self, follow: &Follow, base: &Binding) -> impl Iterator<Item = MappingEvent> {
        let drifted: BTreeSet<&String> = follow.impacts.iter().flat_map(|impact| &impact.columns).collect();
        let concerned = move |targets: &[String]| targets.iter().any(|target| base.held.contains(target));
        self.repairs
            .iter()
            .filter(move |(_, repair)| {
                repair.status.is_waiting()
                    && (concerned(&repair.targets) || (repair.key && base.hold_rows))
                    && repair
                        .changes
                        .iter()
                        .flat_map(|change| &change.new_sources)
                        .any(|new| drifted.contains(new))
            })
            .map(|(id, _)| MappingEvent::RepairExpired { repair_id: *id })
    }
}

/// An impact on the key that names no column of it is never mended by a change to a line.
fn impact_mended(impact: &DriftImpact, columns: &Columns) -> bool {
    !impact.columns.is_empty()
        && impact
            .columns
            .iter()
            .all(|column| columns.get(column).is_some_and(|column| column.fate == Fate::Automatic))
}

pub(super) fn propose(
    schema_version: u32,
    repair_id: RepairId,
    content: &MappingContent,
    changes: Vec<RepairChange>,
    proposed: MappingContent,
    status: RepairStatus,
) -> MappingEvent {
    let touches = |column: &str| changes.iter().any(|change| change.old_source == column);
    let touched = content.fields.iter().filter(|line| line.sources().any(touches));
    let targets = touched.map(|line| line.target.clone()).collect();
    let key = content.key.iter().any(|column| touches(column));
    let confidence = changes.iter().map(|change| change.probability).fold(1.0, f64::min);
    MappingEvent::RepairProposed {
        repair_id,
        schema_version,
        changes,
        proposed,
        targets,
        key,
        confidence,
        status,
    }
}

/// The fate of every drifted column that the mapping reads. Where drift is `passing`, only columns that
/// the key or a protected field is made of have one: all others are read as they come.
fn judge(follow: &Follow, content: &MappingContent, passing: bool) -> Columns {
    let mut columns = candidates(follow, content);
    if passing {
        columns.retain(|name, _| {
            let protects =
                |line: &MappingField| reads(line, name) && follow.policies.is_protected(&line.target);
            content.key.contains(name) || content.fields.iter().any(protects)
        });
        for column in columns.values_mut() {
            column.fate = column.fate.max(Fate::Ask);
        }
    }
    settle_contests(follow, content, &mut columns);
    let mut together: Vec<Vec<&str>> = content.fields.iter().map(|line| line.sources().collect()).collect();
    together.push(content.key.iter().map(String::as_str).collect());
    // Each round only worsens fates, so this ends.
    loop {
        let mut settled = true;
        for group in &together {
            let worst = group.iter().filter_map(|name| columns.get(*name)).map(|column| column.fate).max();
            for name in group {
                if let (Some(column), Some(worst)) = (columns.get_mut(*name), worst)
                    && column.fate < worst
                {
                    column.fate = worst;
                    settled = false;
                }
            }
        }
        if settled {
            return columns;
        }
    }
}

fn candidates(follow: &Follow, content: &MappingContent) -> Columns {
    let is_read = |name: &str| {
        content.key.iter().any(|column| column == name) || content.fields.iter().any(|line| reads(line, name))
    };
    let mut columns = Columns::new();
    for impact in &follow.impacts {
        let own = impact.change.as_ref().map(|change| &change.old_source);
        for name in impact.columns.iter().chain(own) {
            if is_read(name) {
                columns.entry(name.clone()).or_insert(Column { fate: Fate::Unknown, change: None });
            }
        }
    }
    let grade_of = |change: &RepairChange| grade(&follow.policies, follow.mode, content, change);
    for (name, column) in &mut columns {
        let changes: Vec<&RepairChange> = follow
            .impacts
            .iter()
            .filter_map(|impact| impact.change.as_ref())
            .filter(|change| change.old_source == *name && change.probability.is_finite())
            .collect();
        let best = changes.iter().max_by(|a, b| a.probability.total_cmp(&b.probability));
        let Some(best) = best.filter(|change| expressible(content, change)) else {
            continue;
        };
        let same = |other: &RepairChange| other.new_sources == best.new_sources && other.adapt == best.adapt;
        let unanswered =
            follow.impacts.iter().any(|impact| impact.change.is_none() && impact.columns.contains(name));
        let mut fate = changes.iter().map(|change| grade_of(change)).max().unwrap_or(Fate::Unknown);
        if !changes.iter().all(|change| same(change)) || unanswered {
            // Not one clear answer: the best one is a person's to judge.
            fate = grade_of(best).max(Fate::Ask);
        }
        column.fate = fate;
        column.change = (fate != Fate::Unknown).then(|| (*best).clone());
    }
    columns
}

/// What policies make of one change by itself, before lines that hang together get the worst of it:
/// `auto_applied`, `pending_review` or `held`.
pub fn judged(
    policies: &PolicyInForce,
    mode: AutonomyMode,
    content: &MappingContent,
    change: &RepairChange,
) -> RepairStatus {
    match grade(policies, mode, content, change) {
        Fate::Automatic => RepairStatus::AutoApplied,
        Fate::Ask => RepairStatus::PendingReview,
        Fate::Hold | Fate::Unknown => RepairStatus::Held,
    }
}

fn grade(
    policies: &PolicyInForce,
    mode: AutonomyMode,
    content: &MappingContent,
    change: &RepairChange,
) -> Fate {
    let mut touched = content.fields.iter().filter(|line| reads(line, &change.old_source));
    let policy = policy_of(policies, content, change);
    let sure_from = policy.automatic_from.max(RepairPolicy::AUTOMATIC_FLOOR);
    let touches_protected = touched.any(|line| policies.is_protected(&line.target));
    let agrees = matches!(change.overlap, OverlapCheck::Agrees { .. });
    let is_sure = change.probability >= sure_from && agrees && !touches_protected;
    let may_apply = mode == AutonomyMode::Auto && policies.on_drift != DriftPolicy::Pause;
    if mode == AutonomyMode::Observe {
        Fate::Unknown
    } else if policies.on_drift == DriftPolicy::Hold {
        Fate::Hold
    } else if may_apply && is_sure {
        Fate::Automatic
    } else if change.probability >= policy.ask_from {
        Fate::Ask
    } else {
        Fate::Hold
    }
}

/// The strictest policy of what a change touches.
fn policy_of(policies: &PolicyInForce, content: &MappingContent, change: &RepairChange) -> RepairPolicy {
    let touched = content.fields.iter().filter(|line| reads(line, &change.old_source));
    let key = content.key.contains(&change.old_source);
    policies.strictest(touched.map(|line| line.target.as_str()), key)
}

/// Two old columns never become the same new one. The likelier keeps it, and a person is asked if
/// the other was likely too; parts cut out of one column by their own transforms do not contest.
fn settle_contests(follow: &Follow, content: &MappingContent, columns: &mut Columns) {
    let mut order: Vec<(f64, String)> = columns
        .iter()
        .filter_map(|(name, column)| Some((column.change.as_ref()?.probability, name.clone())))
        .collect();
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    let untouched: BTreeSet<String> = content
        .fields
        .iter()
        .flat_map(MappingField::sources)
        .chain(content.key.iter().map(String::as_str))
        .filter(|name| !columns.contains_key(*name))
        .map(str::to_owned)
        .collect();
    let mut kept: Vec<RepairChange> = Vec::new();
    for (probability, name) in order {
        let Some(change) = columns.get(&name).and_then(|column| column.change.clone()) else {
            continue;
        };
        let rival = kept.iter().find(|other| contest(other, &change)).map(|other| other.old_source.clone());
        if let Some(rival) = rival {
            if let Some(lost) = columns.get_mut(&name) {
                *lost = Column { fate: Fate::Unknown, change: None };
            }
            if probability >= policy_of(&follow.policies, content, &change).ask_from
                && let Some(winner) = columns.get_mut(&rival)
            {
                winner.fate = winner.fate.max(Fate::Ask);
            }
            continue;
        }
        if change.new_sources.iter().any(|new| untouched.contains(new))
            && let Some(column) = columns.get_mut(&name)
        {
            column.fate = column.fate.max(Fate::Ask);
        }
        kept.push(change);
    }
}

fn contest(one: &RepairChange, other: &RepairChange) -> bool {
    let parts = one.adapt.is_some() && other.adapt.is_some() && one.adapt != other.adapt;
    !parts && one.new_sources.iter().any(|new| other.new_sources.contains(new))
}
