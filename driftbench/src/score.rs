//! Many outcomes as figures: one JSON object a measurement.

use crate::outcome::{OperationOutcome, Outcome, Tally};
use autonomos_domain::{aggregates::mapping::RepairStatus, drift::DriftKind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A wrong automatic repair weighs a hundred needless questions; a missed drift ten.
const COSTS: [f64; 3] = [100.0, 10.0, 1.0];
const BINS: usize = 15;
/// Operations whose rows must come out right.
const ROWS_OF: [&str; 9] = [
    "rename",
    "type_widened",
    "type_changed",
    "nest",
    "flatten",
    "enum_renamed",
    "enum_recoded",
    "unit",
    "array",
];

/// What must hold, and whether it did.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub syncs: u64,
    pub mutated: u64,
    pub controls: u64,
    pub cells_written: u64,
    pub cells_wrong: u64,
    pub false_alarms: u64,
    /// Structural operations, and those of which nothing was found.
    pub structural: u64,
    pub structural_missed: u64,
    /// Operations that a repair could answer, and those that one did, without a person.
    pub repairable: u64,
    pub repaired: u64,
    /// Rows of the operations of [`ROWS_OF`], and the right ones.
    pub rows: u64,
    pub rows_right: u64,
    /// The same, of syncs that have known records in common with what arrives.
    pub rows_known: u64,
    pub rows_known_right: u64,
    /// The first syncs, run once more, gave the same bytes.
    pub replayed: bool,
}

impl Summary {
    /// The safety limits, which hold for every seed.
    pub fn is_safe(&self) -> bool {
        self.cells_wrong == 0 && self.false_alarms == 0 && self.structural_missed == 0 && self.replayed
    }

    pub(crate) fn of(outcomes: &[Outcome], replayed: bool) -> Self {
        let operations = || outcomes.iter().flat_map(|one| &one.operations);
        let structural = || operations().filter(|one| one.operation.structural);
        let repairable = || operations().filter(|one| one.operation.recoverable && one.mapped);
        let in_rows = |one: &&OperationOutcome| {
            one.mapped && one.operation.recoverable && ROWS_OF.contains(&one.operation.label)
        };
        let of_rows = || operations().filter(in_rows);
        let of_known =
            || outcomes.iter().filter(|one| !one.apart).flat_map(|one| &one.operations).filter(in_rows);
        let count = |number: usize| number as u64;
        Self {
            syncs: count(outcomes.len()),
            mutated: count(outcomes.iter().filter(|one| !one.control).count()),
            controls: count(outcomes.iter().filter(|one| one.control).count()),
            cells_written: outcomes.iter().map(|one| one.cells.written).sum(),
            cells_wrong: outcomes.iter().map(|one| one.cells.wrong).sum(),
            false_alarms: count(
                outcomes.iter().filter(|one| one.control && !one.findings.is_empty()).count(),
            ),
            structural: count(structural().count()),
            structural_missed: count(structural().filter(|one| !one.noticed).count()),
            repairable: count(repairable().count()),
            repaired: count(repairable().filter(|one| one.repaired).count()),
            rows: of_rows().map(|one| one.rows).sum(),
            rows_right: of_rows().map(|one| one.rows_right).sum(),
            rows_known: of_known().map(|one| one.rows).sum(),
            rows_known_right: of_known().map(|one| one.rows_right).sum(),
            replayed,
        }
    }
}

fn ratio(part: u64, whole: u64) -> Value {
    if whole == 0 { Value::Null } else { json!(rounded(part as f64 / whole as f64)) }
}

fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// All measurements, in a fixed order.
pub(crate) fn lines(seed: u64, summary: &Summary, outcomes: &[Outcome], digest: &str) -> Vec<Value> {
    let mut lines = vec![json!({
        "measurement": "driftbench", "seed": seed, "syncs": summary.syncs, "mutated": summary.mutated,
        "controls": summary.controls, "digest": digest, "safe": summary.is_safe(),
    })];
    lines.extend(detection(outcomes));
    lines.push(json!({
        "measurement": "structural_recall", "operations": summary.structural,
        "recall": ratio(summary.structural - summary.structural_missed, summary.structural),
    }));
    let cells = outcomes.iter().fold(Tally::default(), |sum, one| sum.plus(one.cells));
    lines.push(json!({
        "measurement": "cells", "written": cells.written, "silently_wrong": cells.wrong,
        "share": ratio(cells.wrong, cells.written), "quarantined": cells.quarantined, "held": cells.held,
    }));
    lines.extend(coverage(outcomes));
    lines.push(json!({
        "measurement": "coverage", "repairable": summary.repairable, "repaired_alone": summary.repaired,
        "share": ratio(summary.repaired, summary.repairable),
    }));
    lines.push(json!({
        "measurement": "rows_right", "of": ROWS_OF, "rows": summary.rows, "share": ratio(summary.rows_right, summary.rows),
        "share_where_records_are_known": ratio(summary.rows_known_right, summary.rows_known),
    }));
    lines.push(json!({ "measurement": "replay", "same": summary.replayed }));
    lines.push(exactness(outcomes));
    lines.push(json!({
        "measurement": "false_alarms", "unchanged_syncs": summary.controls, "alarms": summary.false_alarms,
        "per_1000": if summary.controls == 0 { Value::Null } else {
            json!(rounded(1000.0 * summary.false_alarms as f64 / summary.controls as f64))
        },
    }));
    lines.push(cost(outcomes));
    lines.extend(calibration(outcomes));
    lines.push(latency(outcomes));
    for name in ["exact_names", "jaro_winkler"] {
        let all = outcomes
            .iter()
            .filter_map(|one| one.baselines.get(name))
            .fold(Tally::default(), |sum, one| sum.plus(*one));
        lines.push(json!({
            "measurement": "baseline", "name": name, "written": all.written, "silently_wrong": all.wrong,
            "share": ratio(all.wrong, all.written), "quarantined": all.quarantined,
        }));
    }
    lines
}

impl Tally {
    fn plus(self, other: Self) -> Self {
        Self {
            written: self.written + other.written,
            wrong: self.wrong + other.wrong,
            quarantined: self.quarantined + other.quarantined,
            held: self.held + other.held,
        }
    }
}

/// By kind: of its operations, how many were noticed and how many named; of its findings, how many an
/// operation explains.
fn detection(outcomes: &[Outcome]) -> Vec<Value> {
    #[derive(Default)]
    struct Kind {
        operations: u64,
        noticed: u64,
        named: u64,
        findings: u64,
        explained: u64,
    }
    let mut kinds: BTreeMap<DriftKind, Kind> = BTreeMap::new();
    for one in outcomes.iter().flat_map(|outcome| &outcome.operations) {
        let kind = kinds.entry(one.operation.kind).or_default();
        kind.operations += 1;
        kind.noticed += u64::from(one.noticed);
        kind.named += u64::from(one.named);
    }
    for (found, explained) in outcomes.iter().flat_map(|outcome| &outcome.findings) {
        let kind = kinds.entry(*found).or_default();
        kind.findings += 1;
        kind.explained += u64::from(*explained);
    }
    kinds
        .into_iter()
        .map(|(name, kind)| {
            json!({
                "measurement": "detection", "kind": name, "operations": kind.operations,
                "recall": ratio(kind.noticed, kind.operations), "named": ratio(kind.named, kind.operations),
                "findings": kind.findings, "precision": ratio(kind.explained, kind.findings),
            })
        })
        .collect()
}

fn coverage(outcomes: &[Outcome]) -> Vec<Value> {
    let mut labels: BTreeMap<(&str, u8), [u64; 4]> = BTreeMap::new();
    for one in outcomes.iter().flat_map(|outcome| &outcome.operations).filter(|one| one.mapped) {
        let counts = labels.entry((one.operation.label, one.operation.severity)).or_default();
        counts[0] += u64::from(one.operation.recoverable);
        counts[1] += u64::from(one.operation.recoverable && one.repaired);
        counts[2] += one.rows;
        counts[3] += one.rows_right;
    }
    labels
        .into_iter()
        .map(|((label, severity), [repairable, repaired, rows, right])| {
            json!({
                "measurement": "operation", "operation": label, "severity": severity, "repairable": repairable,
                "repaired_alone": ratio(repaired, repairable), "rows_right": ratio(right, rows),
            })
        })
        .collect()
}

fn exactness(outcomes: &[Outcome]) -> Value {
    let changes = || outcomes.iter().flat_map(|one| &one.changes);
    let counted = |status: RepairStatus| {
        let all = changes().filter(|change| change.status == status).count() as u64;
        let right = changes().filter(|change| change.status == status && change.right).count() as u64;
        json!({ "changes": all, "exact": ratio(right, all) })
    };
    json!({
        "measurement": "repairs", "alone": counted(RepairStatus::AutoApplied),
        "asked": counted(RepairStatus::PendingReview), "held": counted(RepairStatus::Held),
    })
}

fn cost(outcomes: &[Outcome]) -> Value {
    let wrong: u64 = outcomes.iter().map(|one| one.wrong_fields).sum();
    let missed =
        outcomes.iter().flat_map(|one| &one.operations).filter(|one| one.mapped && !one.noticed).count()
            as u64;
    let asked = outcomes
        .iter()
        .flat_map(|one| &one.changes)
        .filter(|change| change.status == RepairStatus::PendingReview && change.right)
        .count() as u64;
    let needless = asked + outcomes.iter().map(|one| one.needless_holds).sum::<u64>();
    let total = [wrong, missed, needless]
        .iter()
        .zip(COSTS)
        .map(|(count, weight)| *count as f64 * weight)
        .sum::<f64>();
    json!({
        "measurement": "cost", "wrong_automatic": wrong, "missed": missed, "needless_questions": needless,
        "total": total, "per_sync": rounded(total / outcomes.len().max(1) as f64),
    })
}

/// Expected calibration error and Brier score of all proposed changes, and what stands in each bin.
fn calibration(outcomes: &[Outcome]) -> Vec<Value> {
    let mut bins = [(0_u64, 0.0, 0.0); BINS];
    let mut brier = 0.0;
    let mut all = 0_u64;
    for change in outcomes.iter().flat_map(|one| &one.changes) {
        let bin = &mut bins[((change.probability * BINS as f64) as usize).min(BINS - 1)];
        let right = f64::from(u8::from(change.right));
        *bin = (bin.0 + 1, bin.1 + change.probability, bin.2 + right);
        brier += (change.probability - right).powi(2);
        all += 1;
    }
    let error: f64 = bins.iter().map(|(_, probabilities, rights)| (probabilities - rights).abs()).sum();
    let mean =
        |sum: f64, count: u64| if count == 0 { Value::Null } else { json!(rounded(sum / count as f64)) };
    let mut lines = vec![json!({
        "measurement": "calibration", "changes": all, "ece_15": mean(error, all), "brier": mean(brier, all),
    })];
    lines.extend(bins.iter().filter(|(changes, ..)| *changes > 0).map(|(changes, probabilities, rights)| {
        json!({
            "measurement": "calibration_bin", "changes": changes, "said": mean(*probabilities, *changes),
            "right": mean(*rights, *changes),
        })
    }));
    lines
}

/// Detection and decision of a sync, reading not counted.
fn latency(outcomes: &[Outcome]) -> Value {
    let mut micros: Vec<u64> = outcomes.iter().map(|one| one.micros).collect();
    micros.sort_unstable();
    let at =
        |share: f64| micros.get(((micros.len() as f64 - 1.0) * share).round().max(0.0) as usize).copied();
    json!({ "measurement": "latency_us", "p50": at(0.5), "p99": at(0.99) })
}
