//! Where the values of a column went that is gone, or holds other values now: to one new column,
//! to several, into a nested one, or nowhere.

use super::{
    DriftKind,
    adapt::{adapt, json_at, json_text},
    calibrate::{BLIND_MOST, BlindFeatures, MOST, blind_logit, most_of, overlap_logit, shared, sigmoid},
    classify::{Context, Draft, DraftRepair, evidence},
    columns::{describe, most_written},
    compare::{How, LEAST_OVERLAP, Relation, measure},
    names,
    sketch::resemblance,
    stranger::Turnover,
};
use crate::{
    drift::OverlapCheck,
    mapping::Transform,
    schema::{Field, LogicalType},
};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A column's move.
pub(crate) struct Move {
    pub old: String,
    pub news: Vec<String>,
    pub draft: Draft,
    /// Probable enough to be what happened; else only a candidate to show.
    pub certain: bool,
    /// Common records prove it.
    pub proved: bool,
}

struct Candidate<'a> {
    old: &'a Field,
    news: Vec<&'a Field>,
    adapt: Option<Transform>,
    relation: Option<Relation>,
    name: f64,
    opposed: bool,
    /// On its own, before rivals.
    alone: f64,
    probability: f64,
}

impl Candidate<'_> {
    /// Several old columns may go into one new one, each to a place of its own.
    fn shares(&self) -> bool {
        matches!(self.relation.as_ref().map(|relation| relation.how), Some(How::Part | How::Json))
    }

    fn names(&self) -> Vec<&str> {
        self.news.iter().map(|field| field.name.as_str()).collect()
    }
}

/// Widest set of columns that is searched for partners.
const WIDEST: usize = 250;
/// From here on a move is reported as what happened.
const CERTAIN: f64 = 0.5;
/// The most that is said of the move of a column which still has some of its values.
const THINNED: f64 = 0.7;
/// Below it a candidate is not worth showing.
const SHOWN: f64 = 0.2;

/// Finds for each of `olds` where its values are among `news`; at most one place each.
/// `steady` are columns that are still themselves: a new column may be a copy of one of them.
pub(crate) fn find<'a>(
    context: &Context<'_>,
    olds: &[&'a Field],
    news: &[&'a Field],
    steady: &[&str],
) -> Vec<Move> {
    let mut olds = olds.to_vec();
    // Mapped columns first, should there be too many.
    olds.sort_by_key(|field| !context.before.mapped.contains(&field.name));
    olds.truncate(WIDEST);
    let news = &news[..news.len().min(WIDEST)];
    let mut candidates: Vec<Candidate<'a>> = Vec::new();
    let only = olds.len() == 1 && news.len() == 1;
    for old in &olds {
        for new in news.iter().filter(|new| new.name != old.name) {
            candidates.extend(one_to_one(context, old, new, only));
            candidates.extend(nested(context, old, new));
        }
        candidates.extend(split(context, old, news));
        candidates.extend(flattened(context, old, news));
    }
    for candidate in &mut candidates {
        // Emptied cells beside others that stayed: it may be moving, or be filled less and have a copy.
        let name = &candidate.old.name;
        let thinned = context.after.shape.field(name).is_some()
            && context.overlap.pairs(name, name).is_some_and(|pairs| Turnover::of(&pairs).thinned());
        if thinned {
            candidate.alone = candidate.alone.min(THINNED);
        }
    }
    candidates.retain(|candidate| candidate.alone >= 0.02);
    compete(context, &mut candidates, steady);
    choose(context, candidates)
}

fn score(relation: &Relation, background: f64, name: f64, opposed: bool) -> f64 {
    let values = overlap_logit(&relation.features(background));
    let named = name - 0.2 + if name >= 1.0 { 2.5 } else { 0.0 };
    // A name makes up for few values, never for values that disagree.
    let mut logit = values
        + named.min((MOST - values).max(0.0)).min(if relation.disagreement() > 0.01 { 0.0 } else { named });
    if opposed {
        logit -= 3.0;
    }
    logit += match relation.how {
        How::Ratio(true) => -0.5,
        How::Ratio(false) => -4.0,
        How::Codes | How::CodesCase => -2.0,
        How::TimeCut | How::Case | How::Zeros | How::Shift => -3.0,
        How::Together => 0.5,
        How::Differs => -8.0,
        _ => 0.0,
    };
    if relation.agreement() < 0.7 {
        logit -= 4.0;
    }
    if relation.ruled {
        logit -= 4.0;
    }
    let probability = sigmoid(logit.min(most_of(relation.compared)));
    if relation.ambiguous { probability / 2.0 } else { probability }
}

fn one_to_one<'a>(
    context: &Context<'_>,
    old: &'a Field,
    new: &'a Field,
    only: bool,
) -> Option<Candidate<'a>> {
    let name = names::similarity(&old.name, &new.name);
    let opposed = names::opposed(&old.name, &new.name);
    let relation = context.relation(&old.name, &new.name);
    let alone = match &relation {
        Some(relation) => {
            // Lost zeros and moved times cannot be written back.
            if relation.how == How::Differs {
                return None;
            }
            score(relation, context.background, name, opposed)
        }
        None => {
            let (before, after) = (context.old_profile(&old.name), context.new_profile(&new.name));
            let enough = |profile: &super::profile::FieldProfile| profile.distinct >= 10;
            let shared_values = match (before, after) {
                (Some(before), Some(after)) if enough(before) && enough(after) => {
                    Some(resemblance(&before.sketch, &after.sketch))
                }
                _ => None,
            };
            let features = BlindFeatures {
                name,
                opposed,
                types: types_fit(old, new),
                shared_values,
                only_candidate: only,
            };
            sigmoid(blind_logit(&features)).min(BLIND_MOST)
        }
    };
    let adapt = relation.as_ref().and_then(|relation| relation.adapt.clone());
    Some(Candidate { old, news: vec![new], adapt, relation, name, opposed, alone, probability: 0.0 })
}

/// 1: the same type; 0: values of one are never those of the other.
pub fn types_fit(old: &Field, new: &Field) -> f64 {
    use LogicalType::{Date, Decimal, Integer, Text, Timestamp, Unknown};
    match (old.logical_type, new.logical_type) {
        (left, right) if left == right => 1.0,
        (Unknown, _) | (_, Unknown | Text) | (Integer, Decimal) | (Decimal, Integer) => 0.5,
        (Date, Timestamp) | (Timestamp, Date) => 0.7,
        _ => 0.0,
    }
}

/// The old value at one path of a new JSON column.
fn nested<'a>(context: &Context<'_>, old: &'a Field, new: &'a Field) -> Option<Candidate<'a>> {
    if !context.has_overlap() || !is_object(context.new_profile(&new.name), new) {
        return None;
    }
    let pairs = context.overlap.pairs(&old.name, &new.name)?;
    let documents: Vec<(Option<&str>, Option<Value>)> =
        pairs.iter().map(|(old, new)| (*old, new.and_then(|text| serde_json::from_str(text).ok()))).collect();
    let mut paths: BTreeSet<String> = BTreeSet::new();
    for document in documents.iter().filter_map(|(_, document)| document.as_ref()).take(50) {
        leaves(document, "$", 0, &mut paths);
    }
    let mut best: Option<(f64, f64, String, Relation)> = None;
    for path in paths.into_iter().take(200) {
        let values: Vec<Option<String>> = documents
            .iter()
            .map(|(_, document)| {
                document
                    .as_ref()
                    .and_then(|document| json_at(document, &path))
                    .and_then(json_text)
                    .filter(|text| !text.is_empty())
            })
            .collect();
        let leaf_pairs: Vec<_> =
            documents.iter().zip(&values).map(|((old, _), new)| (*old, new.as_deref())).collect();
        let transform = Transform::JsonPath { path: path.clone() };
        let relation = measure(&leaf_pairs, How::Json, Some(transform), same_text);
        if (relation.compared as usize) < LEAST_OVERLAP || relation.agreement() < 0.7 {
            continue;
        }
        let leaf = path.rsplit('.').next().unwrap_or_default();
        let name = names::similarity(&old.name, leaf)
            .max(names::similarity(&old.name, &format!("{}_{leaf}", new.name)));
        let opposed = names::opposed(&old.name, &format!("{}_{leaf}", new.name));
        let alone = score(&relation, context.background, name, opposed);
        if best.as_ref().is_none_or(|(most, ..)| alone > *most) {
            let rival = best.as_ref().map_or(0.0, |(most, ..)| *most);
            best = Some((alone, rival, path, relation));
        } else if let Some((_, rival, ..)) = best.as_mut() {
            *rival = rival.max(alone);
        }
    }
    let (alone, rival, path, relation) = best?;
    let alone = shared(alone, [rival]);
    let name = names::similarity(&old.name, path.rsplit('.').next().unwrap_or_default());
    let adapt = Some(Transform::JsonPath { path });
    Some(Candidate {
        old,
        news: vec![new],
        adapt,
        relation: Some(relation),
        name,
        opposed: false,
        alone,
        probability: 0.0,
    })
}

fn same_text(old: &str, new: &str) -> bool {
    old.trim() == new.trim()
        || matches!((super::adapt::Decimal::read(old), super::adapt::Decimal::read(new)), (Some(old), Some(new)) if old.equals(new))
}

fn is_object(profile: Option<&super::profile::FieldProfile>, field: &Field) -> bool {
    field.logical_type == LogicalType::Object
        || profile.is_some_and(|profile| profile.share(|shape| shape == "object") >= 0.9)
}

fn leaves(value: &Value, path: &str, depth: usize, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) if depth < 4 => {
            for (name, member) in members {
                if !name.contains(['.', '[', ']']) {
                    leaves(member, &format!("{path}.{name}"), depth + 1, found);
                }
            }
        }
        Value::Array(elements) if depth < 4 && elements.len() == 1 => {
            leaves(&elements[0], &format!("{path}[0]"), depth + 1, found);
        }
        Value::Object(_) | Value::Array(_) | Value::Null => {}
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// The members of an old JSON column, each in a column of its own now.
fn flattened<'a>(context: &Context<'_>, old: &'a Field, news: &[&'a Field]) -> Option<Candidate<'a>> {
    if !context.has_overlap() || !is_object(context.old_profile(&old.name), old) {
        return None;
    }
    let documents: Vec<Option<Value>> = context
        .overlap
        .old(&old.name)?
        .into_iter()
        .map(|text| text.and_then(|text| serde_json::from_str(text).ok()))
        .collect();
    let keys: BTreeSet<String> = documents
        .iter()
        .flatten()
        .filter_map(Value::as_object)
        .flat_map(|members| {
            members.iter().filter(|(_, value)| !value.is_null()).map(|(name, _)| name.clone())
        })
        .collect();
    let mut chosen: Vec<(String, &Field, Relation, f64)> = Vec::new();
    let key_count = keys.len();
    for key in keys {
        let values: Vec<Option<String>> = documents
            .iter()
            .map(|document| {
                document
                    .as_ref()
                    .and_then(|document| document.get(&key))
                    .and_then(json_text)
                    .filter(|text| !text.is_empty())
            })
            .collect();
        let mut found: Vec<(&Field, Relation, f64)> = news
            .iter()
            .filter(|new| new.name != old.name && !chosen.iter().any(|(_, taken, ..)| taken.name == new.name))
            .filter_map(|new| {
                let pairs: Vec<_> =
                    values.iter().map(Option::as_deref).zip(context.overlap.new_values(&new.name)?).collect();
                let relation = measure(&pairs, How::Together, None, same_text);
                let name = names::similarity(&key, &new.name)
                    .max(names::similarity(&format!("{}_{key}", old.name), &new.name));
                let score = score(&relation, context.background, name, false);
                (relation.compared as usize >= LEAST_OVERLAP && relation.agreement() >= 0.7)
                    .then_some((*new, relation, score))
            })
            .collect();
        found.sort_by(|left, right| right.2.total_cmp(&left.2));
        let rivals: Vec<f64> = found.iter().skip(1).map(|(.., score)| *score).collect();
        if let Some((new, relation, score)) = found.into_iter().next() {
            chosen.push((key, new, relation, shared(score, rivals)));
        }
    }
    let least = chosen.iter().map(|(.., score)| *score).fold(f64::INFINITY, f64::min);
    let worst = chosen
        .iter()
        .max_by(|left, right| left.2.disagreement().total_cmp(&right.2.disagreement()))?
        .2
        .clone();
    // The line may read a member that was not found.
    let alone = if chosen.len() == key_count { least } else { least.min(0.8) };
    let keys: Vec<String> = chosen.iter().map(|(key, ..)| key.clone()).collect();
    let news = chosen.iter().map(|(_, new, ..)| *new).collect();
    let relation = Relation { how: How::Together, ..worst };
    let adapt = Some(Transform::JsonObject { keys });
    Some(Candidate {
        old,
        news,
        adapt,
        relation: Some(relation),
        name: 0.0,
        opposed: false,
        alone,
        probability: 0.0,
    })
}

/// The old value joined from two or three new columns.
fn split<'a>(context: &Context<'_>, old: &'a Field, news: &[&'a Field]) -> Option<Candidate<'a>> {
    if !context.has_overlap() || news.len() < 2 {
        return None;
    }
    let olds = context.overlap.old(&old.name)?;
    let columns: Vec<(&Field, Vec<Option<&str>>)> = news
        .iter()
        .filter(|new| new.name != old.name || context.before.shape.field(&new.name).is_some())
        .filter_map(|new| Some((*new, context.overlap.new_values(&new.name)?)))
        .take(40)
        .collect();
    let mut best: Option<(Relation, Vec<&Field>, String)> = None;
    for (first, firsts) in &columns {
        if !holds(&olds, firsts, |old, part| old.len() > part.len() && old.starts_with(part)) {
            continue;
        }
        for (last, lasts) in &columns {
            if first.name == last.name
                || !holds(&olds, lasts, |old, part| old.len() > part.len() && old.ends_with(part))
            {
                continue;
            }
            let Some(between) = usual_between(&olds, firsts, lasts) else { continue };
            // The parts, their values, what stands between them.
            let mut tries: Vec<(Vec<&Field>, _, _)> = Vec::new();
            if between.chars().all(|letter| !letter.is_alphanumeric()) {
                tries.push((vec![first, last], vec![firsts, lasts], between));
            } else if columns.len() <= 12 {
                for (middle, middles) in &columns {
                    if middle.name == first.name || middle.name == last.name {
                        continue;
                    }
                    for separator in super::compare::SEPARATORS {
                        tries.push((
                            vec![first, middle, last],
                            vec![firsts, middles, lasts],
                            separator.to_owned(),
                        ));
                    }
                }
            }
            for (fields, parts, separator) in tries {
                let transform = Transform::Join { separator: separator.clone() };
                let joined: Vec<Option<String>> = (0..olds.len())
                    .map(|row| {
                        let inputs: Vec<Option<&str>> = parts.iter().map(|part| part[row]).collect();
                        adapt(&transform, &inputs).ok().flatten()
                    })
                    .collect();
                let pairs: Vec<_> = olds.iter().copied().zip(joined.iter().map(Option::as_deref)).collect();
                let relation = measure(&pairs, How::Together, Some(transform), same_text);
                if relation.compared as usize >= LEAST_OVERLAP
                    && relation.agreement() >= 0.8
                    && best.as_ref().is_none_or(|(other, ..)| relation.agreement() > other.agreement())
                {
                    best = Some((relation, fields, separator));
                }
            }
        }
    }
    let (relation, news, separator) = best?;
    let alone = score(&relation, context.background, 0.2, false);
    let adapt = Some(Transform::Join { separator });
    Some(Candidate {
        old,
        news,
        adapt,
        relation: Some(relation),
        name: 0.0,
        opposed: false,
        alone,
        probability: 0.0,
    })
}

/// Does it hold for most of the first records that have both?
fn holds(olds: &[Option<&str>], parts: &[Option<&str>], test: impl Fn(&str, &str) -> bool) -> bool {
    let both = olds.iter().zip(parts).filter_map(|(old, part)| Some(((*old)?, (*part)?))).take(40);
    let (mut seen, mut held) = (0, 0);
    for (old, part) in both {
        seen += 1;
        held += usize::from(test(old, part));
    }
    seen >= LEAST_OVERLAP && held * 10 >= seen * 7
}

fn usual_between(olds: &[Option<&str>], firsts: &[Option<&str>], lasts: &[Option<&str>]) -> Option<String> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for ((old, first), last) in olds.iter().zip(firsts).zip(lasts) {
        let (Some(old), Some(first), Some(last)) = (old, first, last) else { continue };
        if old.len() >= first.len() + last.len() && old.starts_with(first) && old.ends_with(last) {
            *seen.entry(&old[first.len()..old.len() - last.len()]).or_default() += 1;
        }
    }
    seen.into_iter()
        .max_by_key(|(between, count)| (*count, std::cmp::Reverse(between.len())))
        .map(|(between, _)| between.to_owned())
}

/// Lets the candidates share: of one old column, and for one new column.
fn compete(context: &Context<'_>, candidates: &mut [Candidate<'_>], steady: &[&str]) {
    let probabilities: Vec<f64> = (0..candidates.len())
        .map(|index| {
            let own = &candidates[index];
            let mut rivals: Vec<f64> = Vec::new();
            for (other_index, other) in candidates.iter().enumerate() {
                if other_index == index {
                    continue;
                }
                let same_old = other.old.name == own.old.name;
                let same_new = other.news.iter().any(|field| own.names().contains(&field.name.as_str()));
                let rival = if same_old {
                    // The same columns put together otherwise are no other place.
                    other.names() != own.names() || other.adapt != own.adapt
                } else if own.shares() && other.shares() {
                    same_new && other.adapt == own.adapt
                } else {
                    same_new
                };
                if rival {
                    rivals.push(other.alone);
                }
            }
            if let ([new], Some(relation)) = (own.news.as_slice(), own.relation.as_ref())
                && own.alone >= SHOWN
                && relation.how == How::Same
            {
                rivals.extend(steady.iter().filter_map(|name| copy_of(context, name, &new.name, relation)));
            }
            shared(own.alone, rivals)
        })
        .collect();
    for (candidate, probability) in candidates.iter_mut().zip(probabilities) {
        candidate.probability = probability;
    }
}

/// How probable it is that the new column only repeats a steady one.
fn copy_of(context: &Context<'_>, steady: &str, new: &str, relation: &Relation) -> Option<f64> {
    let pairs = context.overlap.pairs(steady, new)?;
    let copy = measure(&pairs, How::Same, None, |old, new| old == new);
    (copy.compared as usize >= LEAST_OVERLAP
        && copy.disagreement() <= relation.disagreement()
        && copy.informative > 0)
        .then(|| sigmoid(overlap_logit(&copy.features(context.background))))
}

fn choose(context: &Context<'_>, mut candidates: Vec<Candidate<'_>>) -> Vec<Move> {
    candidates.sort_by(|left, right| {
        right
            .probability
            .total_cmp(&left.probability)
            .then_with(|| left.old.name.cmp(&right.old.name))
            .then_with(|| left.names().cmp(&right.names()))
    });
    let mut taken_old: BTreeSet<String> = BTreeSet::new();
    let mut taken_new: BTreeMap<String, bool> = BTreeMap::new();
    let mut chosen: Vec<Candidate<'_>> = Vec::new();
    for candidate in candidates {
        let free = candidate
            .news
            .iter()
            .all(|new| taken_new.get(&new.name).is_none_or(|shares| *shares && candidate.shares()));
        if candidate.probability < SHOWN || taken_old.contains(&candidate.old.name) || !free {
            continue;
        }
        // A suspect column is explained by values or not at all.
        let suspect = context.after.shape.field(&candidate.old.name).is_some();
        if suspect && candidate.probability < CERTAIN {
            continue;
        }
        taken_old.insert(candidate.old.name.clone());
        if candidate.probability >= CERTAIN {
            for new in &candidate.news {
                taken_new.insert(new.name.clone(), candidate.shares());
            }
        }
        chosen.push(candidate);
    }
    let went: BTreeMap<String, Vec<String>> = chosen
        .iter()
        .filter(|candidate| candidate.probability >= CERTAIN)
        .map(|candidate| {
            (candidate.old.name.clone(), candidate.news.iter().map(|new| new.name.clone()).collect())
        })
        .collect();
    let parts_of = |new: &str| {
        chosen
            .iter()
            .filter(|other| other.shares() && other.news[0].name == new && other.probability >= CERTAIN)
            .count()
    };
    let kinds: Vec<DriftKind> =
        chosen.iter().map(|candidate| kind(context, candidate, &went, &parts_of)).collect();
    chosen.into_iter().zip(kinds).map(|(candidate, kind)| into_move(candidate, kind)).collect()
}

fn kind(
    context: &Context<'_>,
    candidate: &Candidate<'_>,
    went: &BTreeMap<String, Vec<String>>,
    parts_of: &impl Fn(&str) -> usize,
) -> DriftKind {
    let how = candidate.relation.as_ref().map(|relation| relation.how);
    let object = matches!(candidate.adapt, Some(Transform::JsonObject { .. }));
    match how {
        Some(How::Together) if object => return DriftKind::FieldFlattened,
        Some(How::Together) => return DriftKind::FieldSplit,
        Some(How::Json) => return DriftKind::FieldNested,
        Some(How::Part) if parts_of(&candidate.news[0].name) > 1 => return DriftKind::FieldsMerged,
        _ => {}
    }
    if context.after.shape.field(&candidate.old.name).is_none() {
        return DriftKind::FieldRenamed;
    }
    // The name is still there with other values: names swapped (in a ring of any length), or the
    // name was given to something else.
    let mut at = candidate.news[0].name.clone();
    for _ in 0..went.len() {
        if at == candidate.old.name {
            return DriftKind::FieldsSwapped;
        }
        match went.get(&at).and_then(|news| news.first()) {
            Some(next) => at.clone_from(next),
            None => break,
        }
    }
    if at == candidate.old.name { DriftKind::FieldsSwapped } else { DriftKind::MeaningChanged }
}

fn into_move(candidate: Candidate<'_>, kind: DriftKind) -> Move {
    let certain = candidate.probability >= CERTAIN;
    let list: Vec<String> = candidate.news.iter().map(|new| format!("`{}`", new.name)).collect();
    let list = list.join(" and ");
    let old = &candidate.old.name;
    let mut lines = Vec::new();
    let overlap = match &candidate.relation {
        Some(relation) => {
            let same = relation.compared - relation.disagreeing;
            lines.push(evidence(
                "overlap",
                relation.agreement(),
                format!(
                    "on {same} of {} common records {list} holds what `{old}` held ({} different values)",
                    relation.compared, relation.informative
                ),
            ));
            relation.check(names::volatile(old))
        }
        None => {
            lines.push(evidence("overlap", 0.0, "too few common records to compare".to_owned()));
            OverlapCheck::Unknown { compared: 0 }
        }
    };
    lines.extend(describe(candidate.adapt.as_ref(), "format"));
    if candidate.news.len() == 1 {
        lines.push(evidence(
            "name",
            candidate.name,
            format!("`{old}` and {list} are alike by name to {:.0} %", candidate.name * 100.0),
        ));
    }
    if candidate.opposed {
        lines.push(evidence("name", 0.0, format!("`{old}` and {list} name opposite things")));
    }
    if candidate.alone - candidate.probability > 0.02 {
        lines.push(evidence("rivals", candidate.probability, "other columns fit nearly as well".to_owned()));
    }
    if candidate.relation.as_ref().is_some_and(|relation| relation.ambiguous) {
        lines.push(evidence("format", 0.5, "day and month may be either way round".to_owned()));
    }
    let unwritable = candidate.adapt.is_none()
        && candidate
            .relation
            .as_ref()
            .is_some_and(|relation| matches!(relation.how, How::Zeros | How::Shift | How::DecimalForm));
    let most = candidate.relation.as_ref().map_or(1.0, |relation| most_written(relation.how));
    if most < 1.0 {
        lines.push(evidence(
            "lost",
            0.0,
            "the new values say less: the old ones cannot be written back".into(),
        ));
    }
    let repair = (!unwritable).then(|| DraftRepair {
        new_sources: candidate.news.iter().map(|new| new.name.clone()).collect(),
        adapt: candidate.adapt.clone(),
        probability: candidate.probability.min(most),
        evidence: lines.clone(),
        overlap,
    });
    let draft = Draft {
        kind,
        field: Some(old.clone()),
        before: vec![candidate.old.clone()],
        after: candidate.news.iter().map(|new| (*new).clone()).collect(),
        confidence: candidate.probability,
        evidence: lines,
        repair,
        only_added: false,
    };
    Move {
        old: old.clone(),
        news: candidate.news.iter().map(|new| new.name.clone()).collect(),
        draft,
        certain,
        proved: candidate
            .relation
            .is_some_and(|relation| relation.agreement() >= 0.8 && relation.informative >= 3),
    }
}
