//! Columns of few values: which new value stands for which old one.

use super::{
    DriftKind,
    calibrate::logit,
    calibrate::{most_of, sigmoid},
    classify::{Context, Draft, DraftRepair, evidence},
    columns::{blind_draft, describe, rewriting_probability, type_kind},
    compare::{How, LEAST_OVERLAP, Relation, measure_adapt, time_formats},
    names,
    profile::FieldProfile,
};
use crate::{mapping::Transform, schema::Field};
use std::collections::{BTreeMap, BTreeSet};

/// Records that must have gone from one value to another together.
const TOGETHER: u32 = 3;
/// Each value of an enumeration comes at least this often, on the whole.
const USUAL: usize = 6;

/// One value of few was given another name: the records that had it have one and the same new value.
pub(crate) fn one_renamed(
    context: &Context<'_>,
    old: &Field,
    new: &Field,
    relation: Option<&Relation>,
) -> Option<Draft> {
    relation.filter(|relation| relation.how == How::Same)?;
    let pairs = context.overlap.pairs(&old.name, &new.name)?;
    let both: Vec<(&str, &str)> = pairs.iter().filter_map(|(old, new)| Some(((*old)?, (*new)?))).collect();
    let mut went: BTreeMap<&str, BTreeMap<&str, u32>> = BTreeMap::new();
    for (old, new) in &both {
        *went.entry(old).or_default().entry(new).or_default() += 1;
    }
    if went.len() < 2 || went.len() * USUAL > both.len() {
        return None;
    }
    let mut known: BTreeSet<&str> = went.keys().copied().collect();
    let before = context.old_profile(&old.name);
    known.extend(before.into_iter().flat_map(|profile| &profile.frequent).map(|(value, _)| value.as_str()));
    let still: BTreeSet<&str> = context
        .new_profile(&new.name)
        .into_iter()
        .flat_map(|profile| &profile.frequent)
        .map(|(value, _)| value.as_str())
        .collect();
    let renamed: BTreeMap<&str, (&str, u32)> = went
        .iter()
        .filter(|(old, _)| !still.contains(*old))
        .filter_map(|(old, news)| {
            // One or the other may have been edited besides; none kept the value.
            let (new, count) = news.iter().max_by_key(|(_, count)| **count)?;
            let most = count * 4 >= news.values().sum::<u32>() * 3;
            let gone = !news.contains_key(old) && !known.contains(new);
            (*count >= TOGETHER && most && gone).then_some((*new, (*old, *count)))
        })
        .collect();
    let fewest = renamed.values().map(|(_, count)| *count).min()?;
    let values = renamed.iter().map(|(new, (old, _))| ((*new).to_owned(), (*old).to_owned())).collect();
    let adapt = Transform::MapValues { values, keep_others: true };
    let relation = measure_adapt(&pairs, How::Codes, adapt.clone());
    // The others agree anyway: what is proved is proved by those that went.
    let proof = (2.0 + 1.4 * f64::from(fewest + 1).ln()).min(if (fewest as usize) < LEAST_OVERLAP {
        most_of(fewest)
    } else {
        f64::MAX
    });
    let probability = sigmoid(logit(rewriting_probability(&relation, context.background)).min(proof));
    let list: Vec<String> = renamed
        .iter()
        .map(|(new, (old, count))| {
            format!("no record has `{old}` any more: {count} that had it have `{new}`")
        })
        .collect();
    let mut lines = vec![evidence("overlap", relation.agreement(), list.join("; "))];
    lines.extend(describe(Some(&adapt), "values"));
    let mut draft = Draft::new(DriftKind::EnumChanged, old, new, probability.max(0.5));
    draft.evidence.clone_from(&lines);
    draft.repair = Some(DraftRepair {
        new_sources: vec![new.name.clone()],
        adapt: Some(adapt),
        probability,
        evidence: lines,
        overlap: relation.check(false),
    });
    Some(draft)
}

/// Without common records: codes that differ in case and punctuation alone.
pub(crate) fn renamed_codes(
    old: &Field,
    new: &Field,
    before: &FieldProfile,
    after: &FieldProfile,
) -> Option<Draft> {
    if !enumeration(before) || !enumeration(after) {
        return None;
    }
    let known = |value: &str| before.frequent.iter().any(|(old, _)| old == value);
    if after.frequent.iter().any(|(value, _)| known(value)) {
        return None;
    }
    let bare = |text: &str| names::words(text).concat();
    let mut values = BTreeMap::new();
    for (value, _) in &after.frequent {
        let partners: Vec<&String> =
            before.frequent.iter().map(|(old, _)| old).filter(|old| bare(old) == bare(value)).collect();
        if let [only] = partners.as_slice() {
            values.insert(value.clone(), (*only).clone());
        }
    }
    let all = values.len() == after.frequent.len() && !values.is_empty();
    let adapt = all.then_some(Transform::MapValues { values, keep_others: false });
    let kind = if old.logical_type == new.logical_type {
        DriftKind::EnumChanged
    } else {
        type_kind(old.logical_type, new.logical_type)
    };
    let detail = format!("none of the values was known: {} became {}", before.summary(), after.summary());
    Some(blind_draft(kind, old, new, adapt, if all { 0.9 } else { 0.7 }, detail))
}

fn enumeration(profile: &FieldProfile) -> bool {
    profile.complete
        && (2..=25).contains(&profile.frequent.len())
        && profile.filled() >= 30
        && profile.filled() >= 8 * profile.frequent.len() as u64
}

/// New values of an enumeration that would have been seen before, had they been there.
pub(crate) fn new_codes(
    old: &Field,
    new: &Field,
    before: Option<&FieldProfile>,
    after: Option<&FieldProfile>,
) -> Option<Draft> {
    let (before, after) = (before?, after?);
    if !enumeration(before) || !after.complete || before.frequent.iter().any(|(_, count)| *count < 3) {
        return None;
    }
    if before.boolean_like() && after.boolean_like() {
        return None;
    }
    if !time_formats(Some(before)).is_empty() {
        return None;
    }
    let filled = after.filled() as f64;
    let added: Vec<&(String, u64)> = after
        .frequent
        .iter()
        .filter(|(value, count)| {
            let share = *count as f64 / filled;
            let missed = before.filled() as f64 * (1.0 - share).max(1e-12).ln();
            *count >= 3 && !before.frequent.iter().any(|(known, _)| known == value) && missed < -14.0
        })
        .collect();
    if added.is_empty() {
        return None;
    }
    let list: Vec<String> =
        added.iter().take(8).map(|(value, count)| format!("`{value}` ({count} rows)")).collect();
    let mut draft = Draft::new(DriftKind::EnumChanged, old, new, 0.95);
    draft.only_added = true;
    draft.evidence.push(evidence("values", 0.95, format!("new values: {}", list.join(", "))));
    Some(draft)
}
