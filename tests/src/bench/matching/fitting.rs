//! Learning a ranker from pairs of tables. Deterministic: the same data gives the same weights.

use super::cases::Case;
use autonomos_domain::matching::{
    Similarity,
    features::PairSignals,
    learn::{Curve, Growth, Trees, grow},
    table::{Ranker, curve_inputs, table_signals, tree_inputs},
};
use std::collections::BTreeSet;

/// Shallow and slow: what holds for one family of tables is to hold for the next.
const GROWTH: Growth = Growth { trees: 150, depth: 2, rate: 0.15, ridge: 20.0, least: 8.0 };

/// The signals of a case, and the inputs made of them.
pub struct Rows {
    pub signals: Vec<Vec<PairSignals>>,
    inputs: Vec<Vec<Vec<f32>>>,
}

pub fn signals(case: &Case, meaning: Option<&dyn Similarity>) -> Rows {
    let (source, target) = (&case.source, &case.target);
    let signals = table_signals((&source.shape, &source.profile), (&target.shape, &target.profile), meaning);
    let inputs = tree_inputs(&signals);
    Rows { signals, inputs }
}

/// Learns trees from all cases, and a curve from what trees say of families they were not learnt
/// from, so that its probabilities hold where the data is new.
pub fn fit(cases: &[(&Case, &Rows)], meaning: &str) -> Ranker {
    let families: BTreeSet<&str> = cases.iter().map(|(case, _)| case.family.as_str()).collect();
    let mut inputs: Vec<Vec<f64>> = Vec::new();
    let mut labels: Vec<bool> = Vec::new();
    for family in &families {
        let others: Vec<(&Case, &Rows)> =
            cases.iter().filter(|(case, _)| case.family != *family).copied().collect();
        if others.is_empty() {
            continue;
        }
        let trees = trees(&others);
        for (case, rows) in cases.iter().filter(|(case, _)| case.family == *family) {
            let odds: Vec<Vec<f64>> = rows
                .inputs
                .iter()
                .map(|row| row.iter().map(|features| trees.log_odds(features)).collect())
                .collect();
            for (source, row) in curve_inputs(&odds).into_iter().enumerate() {
                for (target, pair) in row.into_iter().enumerate() {
                    inputs.push(pair);
                    labels.push(case.truth.contains(&(source, target)));
                }
            }
        }
    }
    let provenance = format!(
        "{} pairs of tables of {}; trees on all, the curve on trees learnt without its family",
        cases.len(),
        families.iter().copied().collect::<Vec<_>>().join(", ")
    );
    Ranker {
        meaning: meaning.to_owned(),
        provenance,
        trees: trees(cases),
        curve: Curve::fit(&inputs, &labels),
    }
}

/// Negatives that nothing speaks for are all alike: one in four is enough.
fn trees(cases: &[(&Case, &Rows)]) -> Trees {
    let (mut rows, mut labels) = (Vec::new(), Vec::new());
    let mut number = 0_usize;
    for (case, table) in cases {
        for (source, row) in table.inputs.iter().enumerate() {
            for (target, features) in row.iter().enumerate() {
                let label = case.truth.contains(&(source, target));
                number += 1;
                let telling = features.iter().take(30).filter(|signal| **signal > 0.6).count() > 8;
                if label || telling || number.is_multiple_of(4) {
                    rows.push(features.clone());
                    labels.push(label);
                }
            }
        }
    }
    grow(&rows, &labels, GROWTH)
}
