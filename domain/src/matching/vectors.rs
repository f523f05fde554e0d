//! Weighted sets made ready to be compared with many others: each word a number, each set in order
//! of the numbers, its length known.

use std::collections::{BTreeMap, BTreeSet};

/// A weight for each word.
pub(super) type Weights = BTreeMap<String, f64>;

/// A set of words: what each weighs, and the square of how rare it is.
pub(super) struct Vector {
    entries: Vec<Entry>,
    length: f64,
}

struct Entry {
    word: u32,
    weight: f64,
    rarity: f64,
}

impl Vector {
    /// Cosine of two sets of one [`vectors`] call.
    pub(super) fn cosine(&self, other: &Self) -> f64 {
        let (mut left, mut right) = (self.entries.as_slice(), other.entries.as_slice());
        let mut dot = 0.0;
        while let ([one, rest @ ..], [two, others @ ..]) = (left, right) {
            match one.word.cmp(&two.word) {
                std::cmp::Ordering::Less => left = rest,
                std::cmp::Ordering::Greater => right = others,
                std::cmp::Ordering::Equal => {
                    dot += one.weight * two.weight * one.rarity;
                    (left, right) = (rest, others);
                }
            }
        }
        if dot == 0.0 { 0.0 } else { dot / (self.length * other.length) }
    }
}

/// The sets of all columns of both tables, each word by its rarity; one without is as rare as any.
pub(super) fn vectors<C>(
    sides: [&[C]; 2],
    of: impl Fn(&C) -> &Weights,
    rarity: &Weights,
) -> [Vec<Vector>; 2] {
    let words: BTreeSet<&String> =
        sides.iter().flat_map(|side| side.iter()).flat_map(|one| of(one).keys()).collect();
    let numbers: BTreeMap<&String, u32> = words.into_iter().zip(0..).collect();
    let vector = |weights: &Weights| {
        let entries: Vec<Entry> = weights
            .iter()
            .map(|(word, &weight)| Entry {
                word: numbers[word],
                weight,
                rarity: rarity.get(word).copied().unwrap_or(1.0).powi(2),
            })
            .collect();
        let length = weights
            .iter()
            .map(|(word, weight)| (weight * rarity.get(word).copied().unwrap_or(1.0)).powi(2))
            .sum::<f64>()
            .sqrt();
        Vector { entries, length }
    };
    sides.map(|side| side.iter().map(|one| vector(of(one))).collect())
}
