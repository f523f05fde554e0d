//! What became of one sync, beside its truth.

use crate::{
    BenchError,
    baselines::{self, Baseline},
    mutate::Operation,
    product::{Bench, Cells, Decided, Edition, Proposal},
    scenario::Scenario,
    table::Cell,
};
use autonomos_domain::{
    aggregates::mapping::RepairStatus,
    drift::{DriftFinding, DriftKind, RepairChange},
    mapping::MappingContent,
};
use autonomos_projections::dcl::CanonicalCell;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Cells of one way to follow a sync.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) written: u64,
    /// Tally, not held and not quarantined, and not what the record has.
    pub(crate) wrong: u64,
    pub(crate) quarantined: u64,
    pub(crate) held: u64,
}

/// What became of one operation.
#[derive(Debug, Clone)]
pub(crate) struct OperationOutcome {
    pub(crate) operation: Operation,
    /// Something was found of its columns.
    pub(crate) noticed: bool,
    /// Its kind was, or one that says the same.
    pub(crate) named: bool,
    /// The mapping reads its columns.
    pub(crate) mapped: bool,
    /// Its fields are written, all of them right, without a person.
    pub(crate) repaired: bool,
    /// Rows of the view, and those whose fields of this operation are as they ought to be.
    pub(crate) rows: u64,
    pub(crate) rows_right: u64,
}

/// A proposed change, and whether it was right.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) probability: f64,
    pub(crate) right: bool,
    pub(crate) status: RepairStatus,
}

/// One sync.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) number: u64,
    pub(crate) base: String,
    pub(crate) control: bool,
    /// Next to no record was known before.
    pub(crate) apart: bool,
    pub(crate) operations: Vec<OperationOutcome>,
    /// Kinds found, and whether an operation explains each.
    pub(crate) findings: Vec<(DriftKind, bool)>,
    pub(crate) cells: Tally,
    pub(crate) changes: Vec<Judged>,
    /// Fields held that nothing had happened to.
    pub(crate) needless_holds: u64,
    /// Repairs applied alone, or fields written through, with a wrong cell.
    pub(crate) wrong_fields: u64,
    pub(crate) baselines: BTreeMap<&'static str, Tally>,
    pub(crate) micros: u64,
    /// For a person: what went wrong, one line each.
    pub(crate) notes: Vec<String>,
    /// What was done, found and decided, whether right or wrong.
    pub(crate) story: Vec<String>,
}

/// Everything one sync is scored by.
pub(crate) fn outcome(bench: &Bench, scenario: &Scenario, number: u64) -> Result<Outcome, BenchError> {
    let before = bench.read(&scenario.before)?;
    let truth = bench.read(&scenario.truth)?;
    let after = bench.read(&scenario.after)?;
    let decided = Bench::decide(scenario, &before, &after)?;
    let expected = bench.project(scenario, &scenario.content, &truth)?;
    let view_before = bench.project(scenario, &scenario.content, &before)?;
    let got = bench.project(scenario, &decided.content, &after)?;
    let keys_right = keys_right(scenario, &decided.key);

    let mut notes = Vec::new();
    let mut cells = Tally::default();
    let mut wrong_fields = 0;
    let mut needless_holds = 0;
    let concerned = concerned(scenario);
    for line in &scenario.content.fields {
        let field = &line.target;
        let held = decided.binding.hold_rows || decided.binding.held.contains(field);
        let one = compare(&expected[field], &got[field], &keys_right, held);
        if one.wrong > 0 {
            wrong_fields += 1;
            notes.push(note(
                scenario,
                &decided,
                field,
                &line.source,
                &expected[field],
                &got[field],
                one.wrong,
            ));
        }
        let touched = line.sources().any(|source| concerned.contains(source));
        if held && !touched && !decided.binding.hold_rows {
            needless_holds += 1;
            notes.push(format!("`{}` is held and nothing happened to it", line.source));
        }
        cells.add(one);
    }
    let lasting = last_good(scenario, &view_before);
    let operations: Vec<OperationOutcome> = scenario
        .operations
        .iter()
        .map(|operation| {
            operation_outcome(scenario, operation, &decided, &expected, &got, &lasting, &keys_right)
        })
        .collect();
    let findings: Vec<(DriftKind, bool)> = decided
        .findings
        .iter()
        .map(|finding| {
            (finding.kind, scenario.operations.iter().any(|operation| explains(operation, finding)))
        })
        .collect();
    for (finding, (_, explained)) in decided.findings.iter().zip(&findings) {
        if !explained {
            let detail = finding.evidence.first().map(|line| line.detail.clone()).unwrap_or_default();
            notes.push(format!("false: {:?} of {:?}: {detail}", finding.kind, finding.field));
        }
    }
    for one in operations.iter().filter(|one| !one.noticed) {
        let operation = &one.operation;
        notes.push(format!(
            "missed: {}{} {:?}>{:?} of {} and {} rows",
            operation.label,
            operation.severity,
            operation.fields,
            operation.news,
            scenario.before.rows(),
            scenario.after.rows()
        ));
    }
    let mut changes = Vec::new();
    for proposal in &decided.proposals {
        judge_proposal(bench, scenario, proposal, &expected, &after, &mut changes, &mut notes)?;
    }
    let mut baselines = BTreeMap::new();
    for baseline in [Baseline::ExactNames, Baseline::JaroWinkler] {
        let content = baselines::follow(baseline, &scenario.content, &before.shape, &after.shape);
        let got = bench.project(scenario, &content, &after)?;
        let key_is_there = keys_right_by(scenario, &content.key);
        let mut all = Tally::default();
        for line in &scenario.content.fields {
            all.add(compare(&expected[&line.target], &got[&line.target], &key_is_there, false));
        }
        baselines.insert(baseline.name(), all);
    }
    Ok(Outcome {
        number,
        base: scenario.before.base.clone(),
        control: scenario.control(),
        apart: scenario.apart,
        operations,
        findings,
        cells,
        changes,
        needless_holds,
        wrong_fields,
        baselines,
        micros: decided.micros,
        notes,
        story: story(scenario, &decided),
    })
}

fn story(scenario: &Scenario, decided: &Decided) -> Vec<String> {
    let rows = (scenario.before.rows(), scenario.after.rows());
    let mut lines = vec![format!(
        "rows {rows:?}, complete {}, apart {}, reads {:?}",
        scenario.complete,
        scenario.apart,
        scenario.content.fields.iter().map(|line| line.source.as_str()).collect::<Vec<_>>()
    )];
    lines.extend(
        scenario
            .operations
            .iter()
            .map(|one| format!("done: {}{} {:?} to {:?}", one.label, one.severity, one.fields, one.news)),
    );
    lines.extend(decided.findings.iter().map(|finding| {
        let change = finding.repair.as_ref();
        format!(
            "found: {:?} of {:?}: {}; {:?}",
            finding.kind,
            finding.field,
            finding.evidence.iter().map(|one| one.detail.as_str()).collect::<Vec<_>>().join("; "),
            change.map(|change| (&change.new_sources, &change.adapt, change.probability, &change.overlap))
        )
    }));
    lines.extend(decided.proposals.iter().map(|proposal| {
        let of: Vec<&str> = proposal.changes.iter().map(|change| change.old_source.as_str()).collect();
        format!("proposed: {:?} of {of:?}", proposal.status)
    }));
    lines.push(format!("held: {:?}, all rows {}", decided.binding.held, decided.binding.hold_rows));
    lines
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.wrong += other.wrong;
        self.quarantined += other.quarantined;
        self.held += other.held;
    }
}

/// Columns that an operation concerns; all, if it concerns the records as such.
fn concerned(scenario: &Scenario) -> BTreeSet<&str> {
    scenario.operations.iter().flat_map(|operation| operation.fields.iter().map(String::as_str)).collect()
}

/// Row by row: do the key's columns name the record that the row is of?
fn keys_right(scenario: &Scenario, key: &[String]) -> Vec<bool> {
    let rows = scenario.after.rows();
    let truth = scenario.truth.column(&scenario.truth.key);
    let [only] = key else { return vec![false; rows] };
    let (Some(truth), Some(now)) = (truth, scenario.after.column(only)) else { return vec![false; rows] };
    truth.cells.iter().zip(&now.cells).map(|(expected, got)| expected == got).collect()
}

fn keys_right_by(scenario: &Scenario, key: &[String]) -> Vec<bool> {
    keys_right(scenario, key)
}

fn equal(left: &CanonicalCell, right: &CanonicalCell) -> bool {
    match (left, right) {
        (CanonicalCell::Value(left), CanonicalCell::Value(right)) => {
            left == right
                || (left.starts_with(['{', '['])
                    && match (serde_json::from_str::<Value>(left), serde_json::from_str::<Value>(right)) {
                        (Ok(left), Ok(right)) => left == right,
                        _ => false,
                    })
        }
        (left, right) => left == right,
    }
}

fn compare(expected: &[CanonicalCell], got: &[CanonicalCell], keys: &[bool], held: bool) -> Tally {
    let mut one = Tally::default();
    for ((expected, got), key) in expected.iter().zip(got).zip(keys) {
        // What never fitted says nothing.
        if *expected == CanonicalCell::Misfit {
            continue;
        }
        if held {
            one.held += 1;
        } else if *got == CanonicalCell::Misfit {
            one.quarantined += 1;
        } else {
            one.written += 1;
            one.wrong += u64::from(!*key || !equal(expected, got));
        }
    }
    one
}

/// The view's cells of the arriving rows as they were before: what a held field goes on showing.
fn last_good(scenario: &Scenario, before: &Cells) -> Cells {
    let places: BTreeMap<&Cell, usize> = scenario
        .before
        .column(&scenario.before.key)
        .map(|key| key.cells.iter().enumerate().map(|(row, cell)| (cell, row)).collect())
        .unwrap_or_default();
    let keys: Vec<Option<usize>> = scenario
        .truth
        .column(&scenario.truth.key)
        .map(|key| key.cells.iter().map(|cell| places.get(cell).copied()).collect())
        .unwrap_or_default();
    before
        .iter()
        .map(|(field, cells)| {
            let last = |place: &Option<usize>| place.map_or(CanonicalCell::Empty, |row| cells[row].clone());
            (field.clone(), keys.iter().map(last).collect())
        })
        .collect()
}

/// Does the operation account for the finding?
fn explains(operation: &Operation, finding: &DriftFinding) -> bool {
    if operation.fields.is_empty() && operation.news.is_empty() {
        return finding.field.is_none() && finding.kind == operation.kind;
    }
    let concerns = |name: &str| operation.fields.iter().chain(&operation.news).any(|field| field == name);
    let sides = [&finding.before, &finding.after];
    finding.field.as_deref().is_some_and(concerns)
        || sides.into_iter().flatten().flat_map(|side| &side.fields).any(|field| concerns(&field.name))
}

fn operation_outcome(
    scenario: &Scenario,
    operation: &Operation,
    decided: &Decided,
    expected: &Cells,
    got: &Cells,
    lasting: &Cells,
    keys_right: &[bool],
) -> OperationOutcome {
    let about: Vec<&DriftFinding> =
        decided.findings.iter().filter(|finding| explains(operation, finding)).collect();
    let lines: Vec<_> = scenario
        .content
        .fields
        .iter()
        .filter(|line| line.sources().any(|source| operation.fields.iter().any(|field| field == source)))
        .collect();
    let of_key = operation.fields.contains(&scenario.truth.key);
    let targets: Vec<&str> = if of_key {
        scenario.content.fields.iter().map(|line| line.target.as_str()).collect()
    } else {
        lines.iter().map(|line| line.target.as_str()).collect()
    };
    let held =
        |target: &str| decided.binding.hold_rows || decided.binding.held.iter().any(|name| name == target);
    let clean = |target: &str| {
        let one = compare(&expected[target], &got[target], keys_right, held(target));
        one.wrong == 0 && one.quarantined * 20 <= one.written + one.quarantined && one.held == 0
    };
    let rows = keys_right.len();
    let rows_right = (0..rows)
        .filter(|row| {
            targets.iter().all(|target| {
                let expected = &expected[*target][*row];
                let shown = if held(target) {
                    &lasting[*target][*row]
                } else if !keys_right[*row] {
                    return false;
                } else {
                    &got[*target][*row]
                };
                *expected == CanonicalCell::Misfit || equal(expected, shown)
            })
        })
        .count();
    // A key's repair is that the records are still told apart; what else befell their fields is others'.
    let repaired = if of_key {
        !decided.binding.hold_rows && keys_right.iter().all(|right| *right)
    } else {
        targets.iter().all(|target| clean(target))
    };
    OperationOutcome {
        operation: operation.clone(),
        noticed: !about.is_empty(),
        named: about
            .iter()
            .any(|finding| finding.kind == operation.kind || operation.also.contains(&finding.kind)),
        mapped: of_key || !lines.is_empty(),
        repaired,
        rows: rows as u64,
        rows_right: rows_right as u64,
    }
}

/// Each change of a proposal: would it write what the records have?
fn judge_proposal(
    bench: &Bench,
    scenario: &Scenario,
    proposal: &Proposal,
    expected: &Cells,
    after: &Edition,
    changes: &mut Vec<Judged>,
    notes: &mut Vec<String>,
) -> Result<(), BenchError> {
    let got = bench.project(scenario, &proposal.proposed, after)?;
    for change in &proposal.changes {
        let right = change_is_right(scenario, change, &proposal.proposed, expected, &got);
        if !right && proposal.status == RepairStatus::AutoApplied {
            notes.push(format!(
                "wrong repair of `{}`: {:?} {:?} p={:.4} {:?} after {:?}",
                change.old_source,
                change.new_sources,
                change.adapt,
                change.probability,
                change.overlap,
                scenario.operations.iter().map(|one| (one.label, &one.fields, &one.news)).collect::<Vec<_>>()
            ));
        }
        changes.push(Judged { probability: change.probability, right, status: proposal.status });
    }
    Ok(())
}

fn change_is_right(
    scenario: &Scenario,
    change: &RepairChange,
    proposed: &MappingContent,
    expected: &Cells,
    got: &Cells,
) -> bool {
    if scenario.content.key.contains(&change.old_source) {
        return keys_right(scenario, &proposed.key).iter().all(|right| *right);
    }
    let every_row = vec![true; scenario.after.rows()];
    scenario
        .content
        .fields
        .iter()
        .filter(|line| line.sources().any(|source| source == change.old_source))
        .all(|line| {
            let one = compare(&expected[&line.target], &got[&line.target], &every_row, false);
            one.wrong == 0 && one.quarantined * 20 <= one.written + one.quarantined
        })
}

/// One line on a field with wrong cells.
fn note(
    scenario: &Scenario,
    decided: &Decided,
    field: &str,
    source: &str,
    expected: &[CanonicalCell],
    got: &[CanonicalCell],
    wrong: u64,
) -> String {
    let example = expected.iter().zip(got).find(|(expected, got)| !equal(expected, got));
    let operations: Vec<String> = scenario
        .operations
        .iter()
        .map(|one| format!("{}{} {:?}>{:?}", one.label, one.severity, one.fields, one.news))
        .collect();
    let line = decided.content.fields.iter().find(|line| line.target == field);
    let reads = line.map(|line| format!("{:?} {:?}", line.sources().collect::<Vec<_>>(), line.transform));
    let changed: Vec<String> = decided
        .proposals
        .iter()
        .flat_map(|proposal| proposal.changes.iter().map(move |change| (change, proposal.status)))
        .filter(|(change, _)| change.old_source == source)
        .map(|(change, status)| format!("{status:?} p={:.4} {:?}", change.probability, change.overlap))
        .collect();
    format!(
        "wrong: `{source}` {wrong} of {} cells, as {example:?}; {operations:?}; reads {reads:?}; {changed:?}",
        expected.len()
    )
}
