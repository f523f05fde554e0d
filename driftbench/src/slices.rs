//! Slices of real history: an ERP's renames between releases, a public API's payloads over the years.

use crate::{BenchError, bases::published};
use autonomos_domain::{
    drift::{ArrivingStream, DriftFinding, DriftKind, KnownStream, detect, profile::StreamProfile},
    ids::{ConnectionId, FeedId},
    schema::{Field, LogicalType, StreamShape},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

/// What `detect` says of two shapes without any values.
fn by_shape(before: &StreamShape, after: &StreamShape) -> Vec<DriftFinding> {
    let mapped: BTreeSet<String> = before.fields.iter().map(|field| field.name.clone()).collect();
    let profile = StreamProfile::default();
    detect(
        &KnownStream {
            feed: FeedId::of(ConnectionId::derive(&["driftbench"]), "slice"),
            shape: before,
            profile: &profile,
            mapped: &mapped,
        },
        &ArrivingStream { shape: after, profile: &profile, complete: false },
    )
}

/// One decision: a dropped field, its best partner and how probable, and whether that is the true one.
struct Decision {
    probability: f64,
    right: bool,
    /// The field was renamed.
    renamed: bool,
}

/// Odoo 14 to 17, names and types alone: is a dropped field a rename, and of what? The threshold of a
/// release is the best one of the others.
pub(crate) fn odoo(folder: &Path) -> Result<Vec<Value>, BenchError> {
    let path = folder.join("drift/odoo-renames/rename_task_clean.jsonl");
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(&path).map_err(BenchError::Files)?;
    let mut releases: BTreeMap<i64, Vec<Decision>> = BTreeMap::new();
    for task in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let series = task["series"].as_i64().unwrap_or_default();
        releases.entry(series).or_default().extend(decisions(&task));
    }
    let mut lines = Vec::new();
    let mut pooled = [0_u64; 3];
    for held_out in releases.keys() {
        let others: Vec<&Decision> =
            releases.iter().filter(|(series, _)| *series != held_out).flat_map(|(_, all)| all).collect();
        let threshold = best_threshold(&others);
        let own: Vec<&Decision> = releases[held_out].iter().collect();
        let counts = counts(&own, threshold);
        for (sum, count) in pooled.iter_mut().zip(counts) {
            *sum += count;
        }
        lines.push(json!({
            "measurement": "odoo_renames", "release": held_out, "threshold": threshold, "f1": f1(counts),
        }));
    }
    let all: Vec<&Decision> = releases.values().flatten().collect();
    lines.push(json!({
        "measurement": "odoo_renames", "release": "all", "decisions": all.len(), "f1": f1(pooled),
        "recall_at_precision_98": recall_at(&all, 0.98),
    }));
    Ok(lines)
}

fn decisions(task: &Value) -> Vec<Decision> {
    let shape = |part: &str| StreamShape {
        fields: task[part]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, kind)| Field {
                name: name.clone(),
                logical_type: odoo_type(kind.as_str().unwrap_or_default()),
                nullable: true,
                format: None,
            })
            .collect(),
        primary_key: Vec::new(),
    };
    let (before, after) = (shape("dropped"), shape("added"));
    let truth: BTreeMap<&str, &str> = task["renames"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|pair| Some((pair[0].as_str()?, pair[1].as_str()?)))
        .collect();
    let findings = by_shape(&before, &after);
    before
        .fields
        .iter()
        .map(|field| {
            let change = findings
                .iter()
                .filter(|finding| finding.field.as_deref() == Some(field.name.as_str()))
                .find_map(|finding| finding.repair.as_ref());
            let partner = change.and_then(|change| change.new_sources.first());
            let true_partner = truth.get(field.name.as_str());
            Decision {
                probability: change.map_or(0.0, |change| change.probability),
                right: partner.is_some() && partner.map(String::as_str) == true_partner.copied(),
                renamed: true_partner.is_some(),
            }
        })
        .collect()
}

fn odoo_type(kind: &str) -> LogicalType {
    match kind {
        "boolean" => LogicalType::Boolean,
        "integer" | "many2one" => LogicalType::Integer,
        "float" | "monetary" => LogicalType::Decimal,
        "date" => LogicalType::Date,
        "datetime" => LogicalType::Timestamp,
        "one2many" | "many2many" => LogicalType::Array,
        "binary" => LogicalType::Binary,
        _ => LogicalType::Text,
    }
}

/// Right ones, said ones, true ones.
fn counts(decisions: &[&Decision], threshold: f64) -> [u64; 3] {
    let said = || decisions.iter().filter(|one| one.probability >= threshold && one.probability > 0.0);
    [
        said().filter(|one| one.right).count() as u64,
        said().count() as u64,
        decisions.iter().filter(|one| one.renamed).count() as u64,
    ]
}

fn f1([right, said, truly]: [u64; 3]) -> f64 {
    if right == 0 { 0.0 } else { (2e6 * right as f64 / (said + truly) as f64).round() / 1e6 }
}

fn thresholds(decisions: &[&Decision]) -> Vec<f64> {
    let mut all: Vec<f64> = decisions.iter().map(|one| one.probability).filter(|one| *one > 0.0).collect();
    all.sort_by(f64::total_cmp);
    all.dedup();
    all
}

fn best_threshold(decisions: &[&Decision]) -> f64 {
    let mut best = (0.0, 0.5);
    for threshold in thresholds(decisions) {
        let score = f1(counts(decisions, threshold));
        if score > best.0 {
            best = (score, threshold);
        }
    }
    best.1
}

fn recall_at(decisions: &[&Decision], precision: f64) -> f64 {
    let mut best = 0.0_f64;
    for threshold in thresholds(decisions) {
        let [right, said, truly] = counts(decisions, threshold);
        if truly > 0 && right as f64 >= precision * said as f64 {
            best = best.max(right as f64 / truly as f64);
        }
    }
    (best * 1e6).round() / 1e6
}

/// Stripe's payloads, release by release: members that came, went or changed their type are exact by
/// comparison; is each found?
pub(crate) fn stripe(folder: &Path) -> Result<Vec<Value>, BenchError> {
    let releases = published::stripe(folder)?;
    let (mut truly, mut found, mut said, mut explained) = (0_u64, 0_u64, 0_u64, 0_u64);
    for pair in releases.windows(2) {
        let [(_, old), (_, new)] = pair else { continue };
        for (resource, before) in old {
            let (Some(before), Some(after)) =
                (before.as_object(), new.get(resource).and_then(Value::as_object))
            else {
                continue;
            };
            let (before, after) = (payload(before), payload(after));
            let findings = by_shape(&before, &after);
            let about = |name: &str| {
                findings.iter().any(|finding| {
                    let sides = [&finding.before, &finding.after].into_iter().flatten();
                    finding.field.as_deref() == Some(name)
                        || sides.flat_map(|side| &side.fields).any(|field| field.name == name)
                })
            };
            let changed = changes(&before, &after);
            truly += changed.len() as u64;
            found += changed.iter().filter(|name| about(name)).count() as u64;
            said += findings.len() as u64;
            explained += findings
                .iter()
                .filter(|finding| finding.kind != DriftKind::NullabilityChanged)
                .filter(|finding| finding.field.as_ref().is_some_and(|name| changed.contains(name)))
                .count() as u64;
        }
    }
    if truly == 0 {
        return Ok(Vec::new());
    }
    Ok(vec![json!({
        "measurement": "stripe_payloads", "releases": releases.len(), "changes": truly,
        "recall": found as f64 / truly as f64,
        "precision": if said == 0 { Value::Null } else { json!(explained as f64 / said as f64) },
    })])
}

fn payload(members: &Map<String, Value>) -> StreamShape {
    let fields = members.iter().map(|(name, value)| Field {
        name: name.clone(),
        logical_type: match value {
            Value::Null => LogicalType::Unknown,
            Value::Bool(_) => LogicalType::Boolean,
            Value::Number(number) if number.is_f64() => LogicalType::Decimal,
            Value::Number(_) => LogicalType::Integer,
            Value::String(_) => LogicalType::Text,
            Value::Array(_) => LogicalType::Array,
            Value::Object(_) => LogicalType::Object,
        },
        nullable: true,
        format: None,
    });
    StreamShape { fields: fields.collect(), primary_key: Vec::new() }
}

/// Members that are on one side alone, or of another type; a null has none.
fn changes(before: &StreamShape, after: &StreamShape) -> BTreeSet<String> {
    let names: BTreeSet<&String> =
        before.fields.iter().chain(&after.fields).map(|field| &field.name).collect();
    names
        .into_iter()
        .filter(|name| match (before.field(name), after.field(name)) {
            (Some(old), Some(new)) => {
                let unknown = [old, new].iter().any(|field| field.logical_type == LogicalType::Unknown);
                !unknown && old.logical_type != new.logical_type
            }
            _ => true,
        })
        .cloned()
        .collect()
}
