//! The judgement of a stream that arrives, without the log: which columns are its key, what drifted,
//! and what the mapping is asked to do about it. A sync and `DriftBench` run the same functions.

use super::batch::{Column, text_columns};
use arrow::array::RecordBatch;
use autonomos_domain::{
    aggregates::{
        mapping::MappingCommand,
        stream_schema::StreamSchema,
        tenant::{AutonomyMode, RepairPolicy},
    },
    drift::{
        ArrivingStream, DriftFinding, KnownStream, OverlapCheck, detect, overlap_check,
        profile::{StreamProfile, StreamProfiler, find_key},
    },
    ids::{FeedId, RepairId},
    mapping::MappingContent,
    ontology::Entity,
    policy::{PolicyInForce, RepairRules},
    repair::{
        calibration::TenantCalibration,
        impacts_on,
        precedent::{self, Precedent},
    },
    schema::StreamShape,
};
use std::collections::BTreeSet;

/// A stream as it arrives: its shape and a profile of it.
#[derive(Debug, Clone)]
pub struct Arriving {
    pub shape: StreamShape,
    pub profile: StreamProfile,
    /// The profile covers every row.
    pub complete: bool,
    /// Rows the stream is known to have: those of its last snapshot that counts.
    pub known_rows: u64,
}

/// The profile of a preview, or of any rows, under the shape's own key.
pub fn profile_of(shape: &StreamShape, batches: &[RecordBatch]) -> StreamProfile {
    let names: Vec<String> = shape.fields.iter().map(|field| field.name.clone()).collect();
    let mut profiler = StreamProfiler::new(names.clone(), &shape.primary_key);
    for batch in batches {
        let columns = text_columns(batch, &names);
        let columns: Vec<Column<'_>> = columns.iter().map(Column).collect();
        profiler.push_batch(&columns.iter().collect::<Vec<_>>());
    }
    profiler.finish()
}

/// The key: chosen by a person, else as it was while its columns are there, else the column that
/// holds the known keys under another name, else as discovered.
pub fn key_of(
    chosen: Option<&Vec<String>>,
    known: &StreamSchema,
    shape: &StreamShape,
    preview: &RecordBatch,
) -> Vec<String> {
    let present = |key: &Vec<String>| key.iter().all(|name| shape.field(name).is_some());
    if let Some(chosen) = chosen.filter(|key| present(key)) {
        return chosen.clone();
    }
    let before = known.shape().map(|shape| &shape.primary_key).filter(|key| !key.is_empty());
    if let Some(before) = before.filter(|key| present(key)) {
        return before.clone();
    }
    if before.is_some()
        && let Some(profile) = &known.profile
    {
        let names: Vec<String> = shape.fields.iter().map(|field| field.name.clone()).collect();
        let columns = text_columns(preview, &names);
        let columns: Vec<Column<'_>> = columns.iter().map(Column).collect();
        let renamed = find_key(&profile.sample, &names, &columns.iter().collect::<Vec<_>>());
        if let Some(renamed) = renamed {
            return vec![renamed];
        }
    }
    shape.primary_key.clone()
}

/// What drifted between the stream as it is known and as it arrives; none for a stream's first sight.
pub fn findings(
    feed: FeedId,
    known: &StreamSchema,
    content: Option<&MappingContent>,
    arriving: &Arriving,
) -> Vec<DriftFinding> {
    let Some(current) = known.versions.get(&known.current) else { return Vec::new() };
    let mapped = mapped_columns(content);
    let mut profile = known.profile.clone().unwrap_or_default();
    profile.rows = arriving.known_rows;
    detect(
        &KnownStream { feed, shape: &current.shape, profile: &profile, mapped: &mapped },
        &ArrivingStream { shape: &arriving.shape, profile: &arriving.profile, complete: arriving.complete },
    )
}

/// Who decides about repairs, and from where on.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// The entity that the mapping leads to.
    pub entity: Option<&'a Entity>,
    pub policy: RepairPolicy,
    pub mode: AutonomyMode,
}

/// The command that moves a mapping from one schema version to another. `step` makes the ids of its
/// proposals: the same step proposes the same.
pub fn follow(
    feed: FeedId,
    step: &str,
    (from_version, schema_version): (u32, u32),
    content: &MappingContent,
    findings: &[DriftFinding],
    rules: Rules<'_>,
) -> MappingCommand {
    let policies = RepairRules::default().in_force(rules.policy, None, rules.entity);
    let own = Own { policies, calibration: TenantCalibration::default(), precedents: &[], editions: None };
    follow_under(feed, step, (from_version, schema_version), content, findings, (rules, own))
}

/// What a tenant's rules and past decisions add.
pub(super) struct Own<'a> {
    pub(super) policies: PolicyInForce,
    pub(super) calibration: TenantCalibration,
    pub(super) precedents: &'a [Precedent],
    /// The stream as it was known and as it arrives, for what the past proposes; none: not at hand.
    pub(super) editions: Option<(&'a StreamProfile, &'a StreamProfile)>,
}

/// The same, under the policies that the tenant's own rules put in force, and by probabilities as its
/// decisions have bent them; with the changes that it decided about elsewhere.
pub(super) fn follow_under(
    feed: FeedId,
    step: &str,
    (from_version, schema_version): (u32, u32),
    content: &MappingContent,
    findings: &[DriftFinding],
    (rules, Own { policies, calibration, precedents, editions }): (Rules<'_>, Own<'_>),
) -> MappingCommand {
    let mut impacts = impacts_on(rules.entity, content, findings);
    for change in impacts.iter_mut().filter_map(|impact| impact.change.as_mut()) {
        calibration.correct(change);
    }
    precedent::recall(precedents, findings, &mut impacts, |old, new| match editions {
        Some((known, arriving)) => overlap_check(known, arriving, old, new),
        None => OverlapCheck::Unknown { compared: 0 },
    });
    let feed = feed.0.to_string();
    MappingCommand::FollowSchema {
        schema_version,
        from_version,
        impacts,
        policies,
        mode: rules.mode,
        automatic_id: RepairId::derive(&[&feed, step, "automatic"]),
        waiting_id: RepairId::derive(&[&feed, step, "waiting"]),
    }
}

/// Columns that the mapping reads, its key among them.
fn mapped_columns(content: Option<&MappingContent>) -> BTreeSet<String> {
    let Some(content) = content else {
        return BTreeSet::new();
    };
    let sources = content.fields.iter().flat_map(|line| line.sources().map(str::to_owned));
    sources.chain(content.key.iter().cloned()).collect()
}
