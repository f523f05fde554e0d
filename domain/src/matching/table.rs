//! The columns of one table against those of another.

use super::{
    Similarity, Suggestion,
    features::{PairSignals, at, pairs},
    learn::{Curve, Trees},
    meaning::column_text,
    names::tokens,
};
use crate::{
    drift::profile::{FieldProfile, StreamProfile},
    mapping::{Evidence, Transform},
    schema::StreamShape,
};
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// What `tests/examples/fit_matching.rs` learnt, by the name of what answers for meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ranker {
    /// What answers for meaning: the probabilities hold with it alone.
    pub meaning: String,
    /// What it was learnt from.
    pub provenance: String,
    pub trees: Trees,
    pub curve: Curve,
}

/// The rankers that are part of the program.
fn rankers() -> &'static [Ranker] {
    static RANKERS: OnceLock<Vec<Ranker>> = OnceLock::new();
    RANKERS.get_or_init(|| {
        let text = include_str!("rankers.json");
        serde_json::from_str(text).expect("the committed weights are well-formed: a test reads them")
    })
}

/// The ranker learnt with this measure of meaning; one learnt without, if there is none.
pub fn ranker_for(meaning: Option<&str>) -> &'static Ranker {
    let rankers = rankers();
    let named = meaning.and_then(|name| rankers.iter().find(|ranker| ranker.meaning == name));
    named.unwrap_or(&rankers[0])
}

/// A pair's signals, how it stands among its rivals, and what comes out.
#[derive(Debug, Clone)]
pub struct PairScore {
    pub source: usize,
    pub target: usize,
    pub signals: PairSignals,
    pub probability: f64,
    /// It is part of the best assignment of columns to columns.
    pub assigned: bool,
}

/// The signals of all pairs, with the likeness by meaning where there is one.
pub fn table_signals(
    source: (&StreamShape, &StreamProfile),
    target: (&StreamShape, &StreamProfile),
    meaning: Option<&dyn Similarity>,
) -> Vec<Vec<PairSignals>> {
    let empty = FieldProfile::default();
    let names = |shape: &StreamShape| -> Vec<String> {
        shape.fields.iter().map(|field| tokens(&field.name).join(" ")).collect()
    };
    let texts = |(shape, profile): (&StreamShape, &StreamProfile)| -> Vec<String> {
        let values = |name: &String| profile.fields.get(name).unwrap_or(&empty);
        shape.fields.iter().map(|field| column_text(field, values(&field.name))).collect()
    };
    let by_name = meaning.and_then(|meaning| meaning.matrix(&names(source.0), &names(target.0)));
    let by_text = meaning.and_then(|meaning| meaning.matrix(&texts(source), &texts(target)));
    pairs(source, target, by_name.as_deref(), by_text.as_deref())
}

/// The inputs of the trees: the signals, and how far the chief ones lie below the best of their row
/// and of their column.
pub fn tree_inputs(signals: &[Vec<PairSignals>]) -> Vec<Vec<Vec<f32>>> {
    let width = signals.first().map_or(0, Vec::len);
    let best_of_row =
        |row: &[PairSignals], signal: usize| row.iter().map(|pair| pair[signal]).fold(0.0_f32, f32::max);
    let columns: Vec<Vec<f32>> = at::RIVALLED
        .iter()
        .map(|&signal| {
            (0..width)
                .map(|target| signals.iter().map(|row| row[target][signal]).fold(0.0_f32, f32::max))
                .collect()
        })
        .collect();
    signals
        .iter()
        .map(|row| {
            let rows: Vec<f32> = at::RIVALLED.iter().map(|&signal| best_of_row(row, signal)).collect();
            row.iter()
                .enumerate()
                .map(|(target, pair)| {
                    let mut inputs = pair.to_vec();
                    for (index, &signal) in at::RIVALLED.iter().enumerate() {
                        inputs.push(pair[signal] - rows[index]);
                        inputs.push(pair[signal] - columns[index][target]);
                    }
                    inputs
                })
                .collect()
        })
        .collect()
}

/// The inputs of the curve, `[row][target]`: the log-odds, how far they are above the best rival in
/// the row and in the column, and whether the assignment has the pair. Second: the assignment.
pub fn curve_inputs(odds: &[Vec<f64>]) -> Vec<Vec<Vec<f64>>> {
    let assigned = assignment(odds);
    let margin = |value: f64, rival: f64| {
        // To be worse than a rival tells much; to be the best of the unlikely tells little.
        (value - rival).clamp(-4.0, 0.5)
    };
    let rows: Vec<Best> = odds.iter().map(|line| line.iter().copied().collect()).collect();
    let width = odds.first().map_or(0, Vec::len);
    let columns: Vec<Best> =
        (0..width).map(|target| odds.iter().map(|line| line[target]).collect()).collect();
    odds.iter()
        .enumerate()
        .map(|(row, line)| {
            line.iter()
                .enumerate()
                .map(|(target, &value)| {
                    let in_row = margin(value, rows[row].but(target));
                    let in_column = margin(value, columns[target].but(row));
                    let has = assigned[row] == Some(target);
                    vec![value.clamp(-9.0, 9.0), in_row, in_column, f64::from(u8::from(has))]
                })
                .collect()
        })
        .collect()
}

/// The two greatest of a list, and where the greatest stands; no rival counts below -8.
struct Best {
    at: usize,
    first: f64,
    second: f64,
}

impl Best {
    /// The greatest of the others.
    const fn but(&self, at: usize) -> f64 {
        if at == self.at { self.second } else { self.first }
    }
}

impl FromIterator<f64> for Best {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut best = Self { at: usize::MAX, first: -8.0, second: -8.0 };
        for (at, value) in values.into_iter().enumerate() {
            if value > best.first {
                best = Self { at, first: value, second: best.first };
            } else {
                best.second = best.second.max(value);
            }
        }
        best
    }
}

/// One to one, the greatest log-odds first; a column whose best is unlikelier than not stays alone.
fn assignment(odds: &[Vec<f64>]) -> Vec<Option<usize>> {
    const ALONE: f64 = -1.5;
    let mut all: Vec<(f64, usize, usize)> = Vec::new();
    for (row, line) in odds.iter().enumerate() {
        all.extend(
            line.iter().enumerate().filter(|(_, odds)| **odds > ALONE).map(|(at, odds)| (*odds, row, at)),
        );
    }
    all.sort_by(|left, right| {
        right.0.total_cmp(&left.0).then_with(|| (left.1, left.2).cmp(&(right.1, right.2)))
    });
    let mut of_row = vec![None; odds.len()];
    let mut taken = vec![false; odds.first().map_or(0, Vec::len)];
    for (_, row, target) in all {
        if of_row[row].is_none() && !taken[target] {
            of_row[row] = Some(target);
            taken[target] = true;
        }
    }
    of_row
}

/// All pairs of two tables, scored by a ranker.
pub fn score_table(signals: &[Vec<PairSignals>], ranker: &Ranker) -> Vec<PairScore> {
    let inputs = tree_inputs(signals);
    let odds: Vec<Vec<f64>> = inputs
        .iter()
        .map(|row| row.iter().map(|features| ranker.trees.log_odds(features)).collect())
        .collect();
    let curves = curve_inputs(&odds);
    let mut scores = Vec::with_capacity(signals.len() * signals.first().map_or(0, Vec::len));
    for (source, row) in curves.iter().enumerate() {
        for (target, inputs) in row.iter().enumerate() {
            scores.push(PairScore {
                source,
                target,
                signals: signals[source][target],
                probability: ranker.curve.probability(inputs),
                assigned: inputs[3] > 0.5,
            });
        }
    }
    scores
}

/// Candidates kept of a column, however unlikely: a ranking wants them.
const KEPT: usize = 20;

/// Columns of the first table that may be columns of the second, most probable first.
pub fn table_candidates(
    source: (&StreamShape, &StreamProfile),
    target: (&StreamShape, &StreamProfile),
    meaning: Option<&dyn Similarity>,
) -> Vec<Suggestion> {
    let signals = table_signals(source, target, meaning);
    let model = meaning.map(Similarity::name);
    let mut scores = score_table(&signals, ranker_for(model));
    scores.sort_by(|left, right| {
        right
            .probability
            .total_cmp(&left.probability)
            .then_with(|| (left.source, left.target).cmp(&(right.source, right.target)))
    });
    let mut kept = vec![0_usize; source.0.fields.len()];
    scores.retain(|score| {
        kept[score.source] += 1;
        kept[score.source] <= KEPT || score.probability >= 0.01
    });
    scores
        .into_iter()
        .map(|score| Suggestion {
            source: source.0.fields[score.source].name.clone(),
            target: target.0.fields[score.target].name.clone(),
            transform: Transform::Copy,
            probability: score.probability,
            evidence: evidence(&score, source.0, target.0, model),
        })
        .collect()
}

fn evidence(
    score: &PairScore,
    source: &StreamShape,
    target: &StreamShape,
    model: Option<&str>,
) -> Vec<Evidence> {
    let signal = |index: usize| f64::from(score.signals[index]);
    let line = |name: &str, score: f64, detail: String| Evidence { signal: name.to_owned(), score, detail };
    let (one, other) = (&source.fields[score.source], &target.fields[score.target]);
    let mut list = vec![
        line(
            "name",
            signal(at::NAME_BEST).max(signal(at::NAME_WORDS)),
            format!("`{}` against `{}`", one.name, other.name),
        ),
        line(
            "type",
            signal(at::TYPE_EQUAL),
            format!("{} against {}", one.logical_type.as_str(), other.logical_type.as_str()),
        ),
        line(
            "values",
            signal(at::VALUES_BEST).max(signal(at::VALUES_WEIGHTED)),
            "values and their words that both have".to_owned(),
        ),
        line("format", signal(at::VALUE_FORM), "how the values are written".to_owned()),
    ];
    if let Some(model) = model {
        let best = signal(at::EMBEDDING).max(signal(at::EMBEDDING_NAME));
        list.push(line("embedding", best, format!("likeness by meaning, by {model}")));
    }
    if !score.assigned {
        list.push(line("rival", 0.0, "another pair is a better use of one of the two".to_owned()));
    }
    list
}
