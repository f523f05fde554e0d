//! How well columns find their partners, on pairs of tables whose matches are known. Each family of
//! pairs is scored by weights learnt without it.

pub mod cases;
mod fitting;

pub use fitting::{Rows, fit, signals};

use super::Measurement;
use autonomos_commands::intelligence::Meaning;
use autonomos_domain::{
    drift::profile::StreamProfile,
    matching::{
        Similarity,
        table::{PairScore, score_table, table_candidates},
    },
    schema::StreamShape,
};
use cases::{Case, Table};
use std::time::Instant;

/// Families that weights may be learnt from; the others are only ever scored.
pub const LEARNT_FROM: [&str; 4] = ["chembl", "magellan", "tpch", "synthetic"];

/// Runs the scorer; says so and measures nothing when the data is absent.
pub fn run() -> Vec<Measurement> {
    let Some(folder) = cases::folder() else {
        report("match: `../shared/data/schema-matching` is absent (or set AOS_DATA): nothing was scored");
        return Vec::new();
    };
    let meaning = Meaning::new(None);
    let name: &'static str = if meaning.available() { "minilm" } else { "hashed" };
    let cases = cases::load(&folder);
    let rows: Vec<Rows> = cases.iter().map(|case| signals(case, Some(&meaning))).collect();
    let mut lines = score_families(&cases, &rows, meaning.name(), name);
    lines.push(latency(&cases, name));
    lines
}

#[expect(clippy::print_stderr, reason = "a bench that cannot run must say so")]
fn report(text: &str) {
    eprintln!("{text}");
}

/// Scores every family with a ranker learnt from the others.
pub fn score_families(
    cases: &[Case],
    rows: &[Rows],
    meaning: &str,
    backend: &'static str,
) -> Vec<Measurement> {
    let mut lines = Vec::new();
    let mut sampled: Vec<(&Case, Vec<PairScore>)> = Vec::new();
    for family in ["chembl", "tpch", "magellan", "wikidata", "synthetic"] {
        let of_family = |case: &Case| case.family == family;
        let learnt: Vec<(&Case, &Rows)> = cases
            .iter()
            .zip(rows)
            .filter(|(case, _)| !of_family(case) && LEARNT_FROM.contains(&case.family.as_str()))
            .collect();
        let ranker = fit(&learnt, meaning);
        let scored: Vec<(&Case, Vec<PairScore>)> = cases
            .iter()
            .zip(rows)
            .filter(|(case, _)| of_family(case))
            .map(|(case, rows)| (case, score_table(&rows.signals, &ranker)))
            .collect();
        let count = scored.len() as u64;
        let line = |unit, value, case: String| measurement(backend, unit, value, count, case);
        let mean = |of: fn(&Case, &[PairScore]) -> Option<f64>| {
            let values: Vec<f64> = scored.iter().filter_map(|(case, scores)| of(case, scores)).collect();
            values.iter().sum::<f64>() / values.len().max(1) as f64
        };
        lines.push(line("mrr", mean(reciprocal_rank), format!("family={family}")));
        lines.push(line("recall@truth", mean(recall_at_truth), format!("family={family}")));
        if ["chembl", "tpch", "magellan"].contains(&family) {
            sampled.extend(scored);
        } else {
            lines.extend(decisions(&scored, backend, &format!("family={family}")));
        }
    }
    lines.extend(decisions(&sampled, backend, "pairs=57"));
    lines
}

fn measurement(
    backend: &'static str,
    unit: &'static str,
    value: f64,
    rows: u64,
    case: String,
) -> Measurement {
    Measurement::new("match", backend, unit, value, rows, case)
}

/// Mean over the true source columns of one over the rank of the first true partner.
fn reciprocal_rank(case: &Case, scores: &[PairScore]) -> Option<f64> {
    let sources: std::collections::BTreeSet<usize> = case.truth.iter().map(|pair| pair.0).collect();
    if sources.is_empty() {
        return None;
    }
    let of_source = |source: usize| -> f64 {
        let mut row: Vec<&PairScore> = scores.iter().filter(|score| score.source == source).collect();
        row.sort_by(|left, right| {
            right.probability.total_cmp(&left.probability).then_with(|| left.target.cmp(&right.target))
        });
        let rank = row.iter().position(|score| case.truth.contains(&(source, score.target)));
        rank.map_or(0.0, |rank| 1.0 / (rank + 1) as f64)
    };
    Some(sources.iter().map(|source| of_source(*source)).sum::<f64>() / sources.len() as f64)
}

/// Share of the true pairs among the |truth| most probable of all pairs.
fn recall_at_truth(case: &Case, scores: &[PairScore]) -> Option<f64> {
    if case.truth.is_empty() {
        return None;
    }
    let mut all: Vec<&PairScore> = scores.iter().collect();
    all.sort_by(|left, right| {
        right
            .probability
            .total_cmp(&left.probability)
            .then_with(|| (left.source, left.target).cmp(&(right.source, right.target)))
    });
    let top = all.iter().take(case.truth.len());
    let hits = top.filter(|score| case.truth.contains(&(score.source, score.target))).count();
    Some(hits as f64 / case.truth.len() as f64)
}

/// What is decided one to one: F1 with abstention below a half, calibration, and how much is
/// accepted at 99 % precision.
fn decisions(scored: &[(&Case, Vec<PairScore>)], backend: &'static str, name: &str) -> Vec<Measurement> {
    let mut made: Vec<(f64, bool)> = Vec::new();
    let truth: usize = scored.iter().map(|(case, _)| case.truth.len()).sum();
    for (case, scores) in scored {
        let assigned = scores.iter().filter(|score| score.assigned);
        made.extend(
            assigned.map(|score| (score.probability, case.truth.contains(&(score.source, score.target)))),
        );
    }
    let accepted: Vec<&(f64, bool)> = made.iter().filter(|(p, _)| *p >= 0.5).collect();
    let right = accepted.iter().filter(|(_, right)| *right).count() as f64;
    let precision = right / accepted.len().max(1) as f64;
    let recall = right / truth.max(1) as f64;
    let f1 = if right == 0.0 { 0.0 } else { 2.0 * precision * recall / (precision + recall) };
    made.sort_by(|left, right| right.0.total_cmp(&left.0));
    let (mut hits, mut sure) = (0_usize, 0_usize);
    for (index, (_, right)) in made.iter().enumerate() {
        hits += usize::from(*right);
        if hits as f64 >= 0.99 * (index + 1) as f64 {
            sure = hits;
        }
    }
    let alone: Vec<&(f64, bool)> = made.iter().filter(|(p, _)| *p >= 0.99).collect();
    let alone_right = alone.iter().filter(|(_, right)| *right).count() as f64 / alone.len().max(1) as f64;
    let count = scored.len() as u64;
    let line = |unit, value| measurement(backend, unit, value, count, name.to_owned());
    vec![
        line("f1", f1),
        line("precision", precision),
        line("recall", recall),
        line("ece", calibration_error(&made)),
        line("recall at 0.99 precision", sure as f64 / truth.max(1) as f64),
        line("precision at p >= 0.99", alone_right),
    ]
}

/// Expected calibration error, 15 bins of equal width.
fn calibration_error(made: &[(f64, bool)]) -> f64 {
    let mut bins = [(0.0, 0.0, 0.0); 15];
    for (p, right) in made {
        let bin = &mut bins[((p * 15.0) as usize).min(14)];
        *bin = (bin.0 + 1.0, bin.1 + p, bin.2 + f64::from(u8::from(*right)));
    }
    bins.iter().map(|(_, p, right)| (p - right).abs()).sum::<f64>() / made.len().max(1) as f64
}

/// A table of 57 columns against 736 targets that were embedded before.
fn latency(cases: &[Case], backend: &'static str) -> Measurement {
    let source = wide(cases, 57, 0);
    let targets = wide(cases, 736, 57);
    // A model of its own: the first one has seen these columns.
    let warm = Meaning::new(None);
    let small = wide(cases, 1, 0);
    table_candidates((&small.shape, &small.profile), (&targets.shape, &targets.profile), Some(&warm));
    let start = Instant::now();
    let found =
        table_candidates((&source.shape, &source.profile), (&targets.shape, &targets.profile), Some(&warm));
    let spent = start.elapsed().as_secs_f64() * 1e3;
    measurement(backend, "ms", spent, found.len() as u64, "columns=57 targets=736".to_owned())
}

/// Columns of all the cases in one table, each under a name of its own.
fn wide(cases: &[Case], count: usize, skip: usize) -> Table {
    let mut table = Table { shape: StreamShape::default(), profile: StreamProfile::default() };
    let tables = cases.iter().flat_map(|case| [&case.source, &case.target]);
    let columns = tables.flat_map(|table| table.shape.fields.iter().map(move |field| (field, table)));
    for (number, (field, from)) in columns.cycle().skip(skip).take(count).enumerate() {
        let mut named = field.clone();
        named.name = format!("{} {number}", field.name);
        if let Some(values) = from.profile.fields.get(&field.name) {
            table.profile.fields.insert(named.name.clone(), values.clone());
        }
        table.profile.rows = table.profile.rows.max(from.profile.rows);
        table.shape.fields.push(named);
    }
    table
}
