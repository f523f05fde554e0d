//! Finds what changed between the known and the arriving state of a stream.
//!
//! Structure is compared by schema, values by profile, and both are proved on the records that the
//! two editions have in common. Columns in another order, new rows, wider ranges, new free text and
//! modest edits are no drift.

use super::{
    DriftFinding, DriftKind, DriftSide, OverlapCheck, RepairChange, Severity,
    columns::{column_drift, is_broken, is_other_too, is_suspect, of_type},
    compare::{How, LEAST_OVERLAP, Overlap, Relation, measure, relate},
    fingerprint, names, partners,
    profile::{FieldProfile, KeyedSample, StreamProfile},
    sketch::hash64,
    stranger::{Turnover, same_records},
};
use crate::{
    ids::{DriftId, FeedId},
    mapping::{Evidence, MappingOrigin, Transform},
    schema::{Field, LogicalType, StreamShape},
};
use std::collections::{BTreeMap, BTreeSet};

/// The stream as it is known: its last accepted shape and the profile recorded with it.
#[derive(Debug, Clone, Copy)]
pub struct KnownStream<'a> {
    pub feed: FeedId,
    pub shape: &'a StreamShape,
    pub profile: &'a StreamProfile,
    /// Columns that the mapping in force reads; the key's columns count as mapped too.
    pub mapped: &'a BTreeSet<String>,
}

/// The stream as it arrives, before anything of it is appended.
#[derive(Debug, Clone, Copy)]
pub struct ArrivingStream<'a> {
    pub shape: &'a StreamShape,
    /// Of the whole edition, or of as much as was looked at. Its keyed sample should be made with
    /// the known key's columns (or where [`super::profile::find_key`] finds them).
    pub profile: &'a StreamProfile,
    /// The profile covers a complete read, so that counts and missing values can be compared.
    pub complete: bool,
}

/// A finding before it has its id and severity.
#[derive(Debug)]
pub(crate) struct Draft {
    pub kind: DriftKind,
    pub field: Option<String>,
    pub before: Vec<Field>,
    pub after: Vec<Field>,
    pub confidence: f64,
    pub evidence: Vec<Evidence>,
    pub repair: Option<DraftRepair>,
    /// An enumeration only grew: known values stay right.
    pub only_added: bool,
}

#[derive(Debug)]
pub(crate) struct DraftRepair {
    pub new_sources: Vec<String>,
    pub adapt: Option<Transform>,
    pub probability: f64,
    pub evidence: Vec<Evidence>,
    pub overlap: OverlapCheck,
}

impl Draft {
    /// A draft about a field of both sides.
    pub(crate) fn new(kind: DriftKind, old: &Field, new: &Field, confidence: f64) -> Self {
        Self {
            kind,
            field: Some(old.name.clone()),
            before: vec![old.clone()],
            after: vec![new.clone()],
            confidence,
            evidence: Vec::new(),
            repair: None,
            only_added: false,
        }
    }
}

pub(crate) fn evidence(signal: &str, score: f64, detail: String) -> Evidence {
    Evidence { signal: signal.to_owned(), score: score.clamp(0.0, 1.0), detail }
}

/// What all parts of the comparison look at.
pub(crate) struct Context<'a> {
    pub before: &'a KnownStream<'a>,
    pub after: &'a ArrivingStream<'a>,
    pub overlap: Overlap<'a>,
    /// The overlap names the same records on both sides.
    pub trusted: bool,
    /// Share by which unchanged columns disagree.
    pub background: f64,
}

impl<'a> Context<'a> {
    pub(crate) fn old_profile(&self, name: &str) -> Option<&'a FieldProfile> {
        self.before.profile.fields.get(name)
    }

    pub(crate) fn new_profile(&self, name: &str) -> Option<&'a FieldProfile> {
        self.after.profile.fields.get(name)
    }

    pub(crate) fn complete(&self) -> bool {
        self.after.complete
    }

    pub(crate) fn has_overlap(&self) -> bool {
        self.trusted && self.overlap.len() >= LEAST_OVERLAP
    }

    /// How the new column follows from the old one on common records; none: too few of them.
    pub(crate) fn relation(&self, old: &str, new: &str) -> Option<Relation> {
        if !self.has_overlap() {
            return None;
        }
        let pairs = self.overlap.pairs(old, new)?;
        let relation = relate(&pairs, self.old_profile(old), self.new_profile(new));
        (relation.compared as usize >= LEAST_OVERLAP).then_some(relation)
    }
}

/// All drift between `before` and `after`, in a fixed order. Empty when nothing but rows changed.
///
/// One finding per field and kind. A field that moved (renamed, swapped, split, …) is reported
/// under its old name, and the columns it moved to are not reported as added.
pub fn detect(before: &KnownStream<'_>, after: &ArrivingStream<'_>) -> Vec<DriftFinding> {
    let sample = with_known_key(&before.profile.sample, &after.profile.sample);
    let mut context = Context {
        before,
        after,
        overlap: Overlap::new(&before.profile.sample, &sample),
        trusted: true,
        background: 0.0,
    };
    let kept: Vec<(&Field, &Field)> = before
        .shape
        .fields
        .iter()
        .filter_map(|old| after.shape.field(&old.name).map(|new| (old, new)))
        .collect();
    let removed: Vec<&Field> =
        before.shape.fields.iter().filter(|field| after.shape.field(&field.name).is_none()).collect();
    let added: Vec<&Field> =
        after.shape.fields.iter().filter(|field| before.shape.field(&field.name).is_none()).collect();
    let key: BTreeSet<&str> = before.shape.primary_key.iter().map(String::as_str).collect();

    let mut relations: BTreeMap<&str, Relation> = kept
        .iter()
        .filter(|(old, _)| !key.contains(old.name.as_str()))
        .filter_map(|(old, _)| Some((old.name.as_str(), context.relation(&old.name, &old.name)?)))
        .collect();
    context.background = background(&relations);
    let broken_by = |context: &Context<'_>, relation: &Relation, name: &str| {
        context.overlap.pairs(name, name).is_some_and(|pairs| is_broken(name, relation, &pairs))
    };
    let mut broken: BTreeSet<&str> = relations
        .iter()
        .filter(|(name, relation)| broken_by(&context, relation, name))
        .map(|(name, _)| *name)
        .collect();
    let mut suspects: BTreeSet<&str> =
        relations.iter().filter(|(_, relation)| is_suspect(relation)).map(|(name, _)| *name).collect();
    if !suspects.is_empty() {
        suspects
            .extend(relations.iter().filter(|(_, relation)| is_other_too(relation)).map(|(name, _)| *name));
    }

    for (old, _) in kept.iter().filter(|(old, _)| !key.contains(old.name.as_str())) {
        let name = old.name.as_str();
        let pairs = if context.has_overlap() { context.overlap.pairs(name, name) } else { None };
        let turnover = pairs.map(|pairs| Turnover::of(&pairs)).unwrap_or_default();
        let text = old.logical_type == LogicalType::Text && !names::volatile(name);
        let is_broken = turnover.is_move() || (text && turnover.none_stayed());
        if is_broken {
            broken.insert(name);
        }
        if is_broken || turnover.is_suspect() {
            suspects.insert(name);
        }
    }
    let mut olds: Vec<&Field> = removed.clone();
    olds.extend(kept.iter().map(|(old, _)| *old).filter(|old| suspects.contains(old.name.as_str())));
    let mut news: Vec<&Field> = added.clone();
    news.extend(kept.iter().map(|(_, new)| *new).filter(|new| suspects.contains(new.name.as_str())));
    let steady: Vec<&str> =
        kept.iter().map(|(old, _)| old.name.as_str()).filter(|name| !suspects.contains(name)).collect();

    let agreeing = relations.iter().filter(|(name, relation)| agrees(&context, name, relation)).count();
    let mut drafts = Vec::new();
    let mut moves = partners::find(&context, &olds, &news, &steady);
    let moved = moves.iter().filter(|moved| moved.proved).count();
    let none_agrees = agreeing == 0 && broken.len() >= 2 && moved == 0;
    // A burst of changes leaves some columns as they were, and what moved is found again elsewhere.
    let hardly_any = broken.len() >= 4 && broken.len() >= 3 * (agreeing + moved);
    if none_agrees || hardly_any {
        // No column of any record is what it was: the keys name other records now.
        context.trusted = false;
        drafts.push(keys_reused(before.shape, after.shape, context.overlap.len()));
        relations.clear();
        broken.clear();
        suspects.clear();
        moves = partners::find(&context, &removed, &added, &[]);
    } else if let Some(draft) = keys_replaced(&context, &kept) {
        drafts.push(draft);
    }

    let moved_from: BTreeSet<String> =
        moves.iter().filter(|moved| moved.certain).map(|moved| moved.old.clone()).collect();
    let moved_to: BTreeSet<String> =
        moves.iter().filter(|moved| moved.certain).flat_map(|moved| moved.news.iter().cloned()).collect();
    for (old, new) in &kept {
        let name = old.name.as_str();
        if moved_from.contains(name) {
            continue;
        }
        if broken.contains(name) || (suspects.contains(name) && moved_to.contains(name)) {
            drafts.push(meaning_changed(old, new, relations.get(name)));
        } else if moved_to.contains(name) {
            // Its own values went nowhere, and another column's are in its place.
            drafts.push(meaning_changed(old, new, relations.get(name)));
        } else {
            drafts.extend(column_drift(&context, old, new, relations.get(name)));
        }
    }
    let mut key_lost: Vec<&str> = Vec::new();
    for field in &removed {
        if moved_from.contains(&field.name) {
            continue;
        }
        if key.contains(field.name.as_str()) {
            key_lost.push(&field.name);
            continue;
        }
        let mut draft = Draft {
            after: Vec::new(),
            evidence: vec![evidence("name", 1.0, format!("no column is called `{}` any more", field.name))],
            ..Draft::new(DriftKind::FieldRemoved, field, field, 1.0)
        };
        if let Some(unsure) = moves.iter_mut().find(|moved| !moved.certain && moved.old == field.name) {
            draft.repair = unsure.draft.repair.take();
            draft.evidence.append(&mut unsure.draft.evidence);
        }
        drafts.push(draft);
    }
    for field in &added {
        if moved_to.contains(&field.name) {
            continue;
        }
        drafts.push(Draft {
            before: Vec::new(),
            evidence: vec![evidence("name", 1.0, format!("`{}` was not there before", field.name))],
            ..Draft::new(DriftKind::FieldAdded, field, field, 1.0)
        });
    }
    drafts.extend(moves.into_iter().filter(|moved| moved.certain).map(|moved| moved.draft));
    drafts.extend(key_drift(&context, &key_lost));
    drafts.extend(volume(before.profile, after));

    let mut findings: Vec<DriftFinding> = finish(&context, &key, drafts);
    findings.sort_by(|left, right| {
        right
            .severity
            .cmp(&left.severity)
            .then_with(|| left.field.cmp(&right.field))
            .then_with(|| left.kind.cmp(&right.kind))
    });
    findings
}

/// What the records that both editions have say of a change of a column's name and of nothing else.
pub fn overlap_check(known: &StreamProfile, arriving: &StreamProfile, old: &str, new: &str) -> OverlapCheck {
    let sample = with_known_key(&known.sample, &arriving.sample);
    let overlap = Overlap::new(&known.sample, &sample);
    match overlap.pairs(old, new) {
        Some(pairs) => measure(&pairs, How::Same, None, |old, new| old == new).check(names::volatile(old)),
        None => OverlapCheck::Unknown { compared: 0 },
    }
}

/// The disagreement of columns that still are themselves: three in four have no more.
fn background(relations: &BTreeMap<&str, Relation>) -> f64 {
    let mut rates: Vec<f64> = relations
        .values()
        .filter(|relation| relation.informative >= 3 && relation.agreement() >= 0.7)
        .map(Relation::disagreement)
        .collect();
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() * 3 / 4).copied().unwrap_or_default()
}

/// The arriving sample under the known key: as it is if the keys meet; else by the one column that
/// holds the known keys under whatever name.
fn with_known_key<'a>(known: &KeyedSample, arriving: &'a KeyedSample) -> std::borrow::Cow<'a, KeyedSample> {
    use std::borrow::Cow;
    let common = known.rows.keys().filter(|key| arriving.rows.contains_key(key)).count();
    // Counting numbers are found in many a column: while the key's own is there, no other is one.
    let present = known.key.iter().all(|name| arriving.columns.contains(name));
    if common >= LEAST_OVERLAP || known.key.len() != 1 || present {
        return Cow::Borrowed(arriving);
    }
    let mut best = (common.max(LEAST_OVERLAP - 1), None);
    for index in 0..arriving.columns.len() {
        let mut hashes = BTreeSet::new();
        let mut filled = 0;
        for row in arriving.rows.values() {
            if let Some(Some(text)) = row.get(index) {
                filled += 1;
                hashes.insert(hash64(text.as_bytes()));
            }
        }
        let hits = hashes.iter().filter(|hash| known.rows.contains_key(hash)).count();
        if hashes.len() == filled && hits > best.0 {
            best = (hits, Some(index));
        }
    }
    let Some(index) = best.1 else { return Cow::Borrowed(arriving) };
    let rows = arriving
        .rows
        .values()
        .filter_map(|row| Some((hash64(row.get(index)?.as_deref()?.as_bytes()), row.clone())))
        .collect();
    Cow::Owned(KeyedSample {
        columns: arriving.columns.clone(),
        key: vec![arriving.columns[index].clone()],
        rows,
        repeated: 0,
    })
}

fn meaning_changed(old: &Field, new: &Field, relation: Option<&Relation>) -> Draft {
    let mut draft = Draft::new(DriftKind::MeaningChanged, old, new, 0.9);
    let detail = relation.map_or_else(
        || format!("`{}` holds another column's values now", old.name),
        |relation| {
            format!(
                "on {} of {} common records `{}` holds something unrelated to what it held",
                relation.disagreeing, relation.compared, old.name
            )
        },
    );
    draft.evidence.push(evidence("overlap", 0.9, detail));
    draft
}

/// Do the column's values on common records agree, and more than those of strangers would?
fn agrees(context: &Context<'_>, name: &str, relation: &Relation) -> bool {
    // Codes may seem to stand for others by chance.
    let chance = matches!(relation.how, How::Differs | How::Codes | How::CodesCase);
    if chance || relation.agreement() < 0.5 || relation.informative < 3 {
        return false;
    }
    let Some(olds) = context.overlap.old(name) else { return false };
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for old in olds.into_iter().flatten() {
        *counts.entry(old).or_default() += 1;
    }
    let all = f64::from(counts.values().sum::<u32>().max(1));
    let chance: f64 = counts.values().map(|count| (f64::from(*count) / all).powi(2)).sum();
    relation.agreement() > chance + 0.3 * (1.0 - chance)
}

/// The known keys are gone, and the records are still there under others, as the values say that most
/// records have for themselves.
fn keys_replaced(context: &Context<'_>, kept: &[(&Field, &Field)]) -> Option<Draft> {
    let (before, after) = (context.before, context.after);
    let key = &before.shape.primary_key;
    let (known, arriving) = (&before.profile.sample.rows, &after.profile.sample.rows);
    let few = known.len().min(arriving.len());
    let present = !key.is_empty() && key.iter().all(|name| after.shape.field(name).is_some());
    if !present || few < 20 || context.overlap.len() * 20 > few {
        return None;
    }
    if let Some(detail) = rewritten(context, key) {
        return Some(keys_lost(context, 0.95, detail));
    }
    let same = kept
        .iter()
        .filter(|(old, _)| !key.contains(&old.name))
        .filter_map(|(old, new)| Some((context.old_profile(&old.name)?, context.new_profile(&new.name)?)))
        .filter(|(old, new)| same_records(old, new))
        .count();
    if same == 0 {
        return None;
    }
    let detail =
        format!("the keys are others, and {same} columns hold the values of the same records as before");
    Some(keys_lost(context, 0.95, detail))
}

/// The key's values are of another type now, and none was known.
fn rewritten(context: &Context<'_>, key: &[String]) -> Option<String> {
    let [only] = key else { return None };
    let (old, new) = (context.before.shape.field(only)?, context.after.shape.field(only)?);
    let fitting = context.new_profile(only)?.share(|shape| of_type(old.logical_type, shape));
    let typed = matches!(old.logical_type, LogicalType::Integer | LogicalType::Decimal);
    (typed && old.logical_type != new.logical_type && fitting < 0.05).then(|| {
        let (was, is) = (old.logical_type.as_str(), new.logical_type.as_str());
        format!("`{only}` was {was} and is {is}, and hardly a key of those that come was known")
    })
}

fn keys_lost(context: &Context<'_>, confidence: f64, detail: String) -> Draft {
    let key = &context.before.shape.primary_key;
    let fields = |shape: &StreamShape| key.iter().filter_map(|name| shape.field(name).cloned()).collect();
    Draft {
        kind: DriftKind::KeyChanged,
        field: key.first().cloned(),
        before: fields(context.before.shape),
        after: fields(context.after.shape),
        confidence,
        evidence: vec![evidence("key", confidence, detail)],
        repair: None,
        only_added: false,
    }
}

fn keys_reused(before: &StreamShape, after: &StreamShape, common: usize) -> Draft {
    let of = |shape: &StreamShape| {
        before.primary_key.iter().filter_map(|name| shape.field(name).cloned()).collect()
    };
    Draft {
        kind: DriftKind::KeyChanged,
        field: before.primary_key.first().cloned(),
        before: of(before),
        after: of(after),
        confidence: 0.9,
        evidence: vec![evidence(
            "overlap",
            0.9,
            format!(
                "{common} keys are known, and no column of theirs holds what it held: they name other records now"
            ),
        )],
        repair: None,
        only_added: false,
    }
}

fn key_drift(context: &Context<'_>, lost: &[&str]) -> Option<Draft> {
    let (before, after) = (context.before.shape, context.after.shape);
    let fields = |shape: &StreamShape, names: &[String]| {
        names.iter().filter_map(|name| shape.field(name).cloned()).collect()
    };
    let draft = |confidence: f64, detail: String| Draft {
        kind: DriftKind::KeyChanged,
        field: lost.first().map(|name| (*name).to_owned()).or_else(|| before.primary_key.first().cloned()),
        before: fields(before, &before.primary_key),
        after: fields(after, &after.primary_key),
        confidence,
        evidence: vec![evidence("key", confidence, detail)],
        repair: None,
        only_added: false,
    };
    if !lost.is_empty() {
        return Some(draft(1.0, format!("the key's column `{}` is gone", lost.join("`, `"))));
    }
    let [only] = before.primary_key.as_slice() else { return None };
    let profile = context.new_profile(only)?;
    let known = context.old_profile(only)?;
    if known.rows < 8 || profile.rows < 8 || known.empty_rate() > 0.0 {
        return None;
    }
    if profile.empty_rate() > 0.0 {
        return Some(draft(1.0, format!("{:.1} % of `{only}` are empty", profile.empty_rate() * 100.0)));
    }
    let sample = &context.after.profile.sample;
    let repeats =
        sample.key.first() == Some(only) && sample.repeated as usize * 20 > sample.rows.len().max(20);
    let few = (profile.distinct as f64) < 0.8 * profile.rows as f64;
    let was_unique = (known.distinct as f64) > 0.9 * known.rows as f64;
    (context.complete() && was_unique && (repeats || few)).then(|| {
        draft(
            0.95,
            format!(
                "`{only}` no longer tells records apart: {} values in {} rows",
                profile.distinct, profile.rows
            ),
        )
    })
}

fn volume(before: &StreamProfile, after: &ArrivingStream<'_>) -> Option<Draft> {
    let (was, is) = (before.rows, after.profile.rows);
    let shrunk = was >= 20 && is * 2 < was && was - is >= 10;
    let swollen = was >= 100 && is > 20 * was;
    (after.complete && (shrunk || swollen)).then(|| Draft {
        kind: DriftKind::VolumeAnomaly,
        field: None,
        before: Vec::new(),
        after: Vec::new(),
        confidence: 1.0,
        evidence: vec![evidence("volume", 1.0, format!("{is} rows, where there were {was}"))],
        repair: None,
        only_added: false,
    })
}

fn severity(context: &Context<'_>, key: &BTreeSet<&str>, draft: &Draft) -> Severity {
    use DriftKind::{
        EnumChanged, FieldAdded, FieldsSwapped, FormatChanged, KeyChanged, MeaningChanged, TypeChanged,
        UnitChanged, VolumeAnomaly,
    };
    let touches = |wanted: &dyn Fn(&str) -> bool| {
        draft.field.as_deref().is_some_and(wanted) || draft.before.iter().any(|field| wanted(&field.name))
    };
    let keyed = touches(&|name| key.contains(name));
    let mapped = touches(&|name| context.before.mapped.contains(name));
    match draft.kind {
        FieldAdded => Severity::Info,
        KeyChanged => Severity::Critical,
        VolumeAnomaly => Severity::Warning,
        _ if keyed => Severity::Critical,
        EnumChanged if mapped && draft.only_added => Severity::Warning,
        FieldsSwapped | UnitChanged | EnumChanged | FormatChanged | MeaningChanged | TypeChanged
            if mapped =>
        {
            Severity::Critical
        }
        _ if mapped => Severity::Warning,
        _ => Severity::Info,
    }
}

fn finish(context: &Context<'_>, key: &BTreeSet<&str>, drafts: Vec<Draft>) -> Vec<DriftFinding> {
    let (from, to) = (fingerprint(context.before.shape), fingerprint(context.after.shape));
    let feed = context.before.feed.to_string();
    drafts
        .into_iter()
        .map(|draft| {
            let kind = serde_json::to_string(&draft.kind).unwrap_or_default();
            let field = draft.field.clone().unwrap_or_default();
            let adapt = draft.repair.as_ref().and_then(|repair| repair.adapt.as_ref());
            let mut parts =
                vec![feed.as_str(), kind.trim_matches('"'), field.as_str(), from.as_str(), to.as_str()];
            // The shape is the same on both sides: tell one change of the values from the next.
            let change = adapt.and_then(|adapt| serde_json::to_string(adapt).ok()).unwrap_or_default();
            if from == to {
                parts.push(&change);
            }
            let id = DriftId::derive(&parts);
            let severity = severity(context, key, &draft);
            let repair = draft.repair.map(|repair| RepairChange {
                drift_id: id,
                old_source: field.clone(),
                new_sources: repair.new_sources,
                adapt: repair.adapt,
                probability: repair.probability.clamp(0.0, 1.0),
                evidence: repair.evidence,
                overlap: repair.overlap,
                origin: MappingOrigin::Matcher,
            });
            DriftFinding {
                id,
                kind: draft.kind,
                field: draft.field,
                before: side(&draft.before, context.before.profile),
                after: side(&draft.after, context.after.profile),
                severity,
                confidence: draft.confidence.clamp(0.0, 1.0),
                evidence: draft.evidence,
                repair,
            }
        })
        .collect()
}

fn side(fields: &[Field], profile: &StreamProfile) -> Option<DriftSide> {
    let described = profile.fields.get(&fields.first()?.name);
    Some(DriftSide {
        fields: fields.to_vec(),
        samples: described
            .map(|profile| profile.samples.iter().take(5).cloned().collect())
            .unwrap_or_default(),
        summary: described.map(FieldProfile::summary),
    })
}
