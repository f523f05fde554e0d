//! A small ranker: boosted trees over the signals of a pair, then a logistic curve over how the pair
//! stands among its rivals. Learning is deterministic (no sampling, total tie-breaks), so that the
//! committed weights can be made again from the same data.

use serde::{Deserialize, Serialize};

/// One tree of depth two or three in heap order: node `n` has children `2n+1` and `2n+2`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tree {
    /// Feature and threshold of each inner node: a value at or below goes left.
    pub splits: Vec<(u16, f32)>,
    pub leaves: Vec<f32>,
}

impl Tree {
    fn leaf(&self, features: &[f32]) -> usize {
        let mut node = 0;
        while let Some((feature, threshold)) = self.splits.get(node) {
            node = 2 * node + if features[usize::from(*feature)] <= *threshold { 1 } else { 2 };
        }
        node - self.splits.len()
    }

    fn value(&self, features: &[f32]) -> f64 {
        f64::from(self.leaves[self.leaf(features)])
    }
}

/// Boosted trees; their sum is a log-odds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    pub base: f32,
    pub trees: Vec<Tree>,
}

impl Trees {
    pub fn log_odds(&self, features: &[f32]) -> f64 {
        f64::from(self.base) + self.trees.iter().map(|tree| tree.value(features)).sum::<f64>()
    }
}

/// How trees are grown.
#[derive(Debug, Clone, Copy)]
pub struct Growth {
    pub trees: usize,
    pub depth: u32,
    pub rate: f64,
    /// Pulls leaves to nought.
    pub ridge: f64,
    /// Least sum of second derivatives in a leaf.
    pub least: f64,
}

impl Default for Growth {
    fn default() -> Self {
        Self { trees: 120, depth: 3, rate: 0.12, ridge: 4.0, least: 2.0 }
    }
}

const BINS: usize = 48;

/// Grows trees that tell `labels` apart (logistic loss, second order, histograms).
pub fn grow(rows: &[Vec<f32>], labels: &[bool], growth: Growth) -> Trees {
    let positive = labels.iter().filter(|label| **label).count().max(1) as f64;
    let negative = (labels.len() as f64 - positive).max(1.0);
    let base = (positive / negative).ln();
    let width = rows.first().map_or(0, Vec::len);
    let edges: Vec<Vec<f32>> = (0..width).map(|feature| bin_edges(rows, feature)).collect();
    let bins: Vec<Vec<u8>> = (0..width)
        .map(|feature| {
            let edges = &edges[feature];
            rows.iter().map(|row| edges.partition_point(|edge| *edge < row[feature]) as u8).collect()
        })
        .collect();
    let mut odds = vec![base; rows.len()];
    let mut made = Trees { base: base as f32, trees: Vec::with_capacity(growth.trees) };
    for _ in 0..growth.trees {
        let gradients: Vec<(f64, f64)> = odds
            .iter()
            .zip(labels)
            .map(|(odds, label)| {
                let p = logistic(*odds);
                (p - f64::from(u8::from(*label)), (p * (1.0 - p)).max(1e-6))
            })
            .collect();
        let tree = grow_one(&bins, &edges, &gradients, growth);
        for (row, odds) in rows.iter().zip(&mut odds) {
            *odds += tree.value(row);
        }
        made.trees.push(tree);
    }
    made
}

/// Values between which a feature is cut: at most [`BINS`] - 1, by equal counts.
fn bin_edges(rows: &[Vec<f32>], feature: usize) -> Vec<f32> {
    let mut values: Vec<f32> = rows.iter().map(|row| row[feature]).collect();
    values.sort_by(f32::total_cmp);
    let mut distinct = values.clone();
    distinct.dedup();
    if distinct.len() <= BINS {
        distinct.pop();
        return distinct;
    }
    let mut edges: Vec<f32> = (1..BINS).map(|bin| values[bin * (values.len() - 1) / BINS]).collect();
    edges.dedup();
    edges
}

fn grow_one(bins: &[Vec<u8>], edges: &[Vec<f32>], gradients: &[(f64, f64)], growth: Growth) -> Tree {
    let inner = (1_usize << growth.depth) - 1;
    let mut splits = vec![(0_u16, f32::INFINITY); inner];
    let mut node_of: Vec<usize> = vec![0; gradients.len()];
    for level in 0..growth.depth {
        let first = (1_usize << level) - 1;
        let count = 1_usize << level;
        let mut best: Vec<(f64, u16, u8)> = vec![(1e-9, 0, u8::MAX); count];
        for (feature, column) in bins.iter().enumerate() {
            let mut sums = vec![[(0.0_f64, 0.0_f64); BINS + 1]; count];
            for ((bin, node), (gradient, second)) in column.iter().zip(&node_of).zip(gradients) {
                let cell = &mut sums[node - first][usize::from(*bin)];
                cell.0 += gradient;
                cell.1 += second;
            }
            for (node, histogram) in sums.iter().enumerate() {
                let total = histogram.iter().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.0, sum.1 + cell.1));
                let score = |(gradient, second): (f64, f64)| gradient * gradient / (second + growth.ridge);
                let mut left = (0.0, 0.0);
                for (bin, cell) in histogram.iter().enumerate().take(edges[feature].len()) {
                    left = (left.0 + cell.0, left.1 + cell.1);
                    let right = (total.0 - left.0, total.1 - left.1);
                    if left.1 < growth.least || right.1 < growth.least {
                        continue;
                    }
                    let gain = score(left) + score(right) - score(total);
                    if gain > best[node].0 + 1e-9 {
                        best[node] = (gain, feature as u16, bin as u8);
                    }
                }
            }
        }
        for (node, (_, feature, bin)) in best.iter().enumerate() {
            if *bin != u8::MAX {
                splits[first + node] = (*feature, edges[usize::from(*feature)][usize::from(*bin)]);
            }
        }
        for (row, node) in node_of.iter_mut().enumerate() {
            let (_, feature, bin) = best[*node - first];
            // A node without a good cut sends all its rows left, as its infinite threshold does.
            let right = bin != u8::MAX && bins[usize::from(feature)][row] > bin;
            *node = 2 * *node + 1 + usize::from(right);
        }
    }
    let mut sums = vec![(0.0_f64, 0.0_f64); inner + 1];
    for (node, (gradient, second)) in node_of.iter().zip(gradients) {
        sums[node - inner].0 += gradient;
        sums[node - inner].1 += second;
    }
    let leaves =
        sums.iter().map(|(gradient, second)| (-growth.rate * gradient / (second + growth.ridge)) as f32);
    // JSON knows no infinity.
    for split in &mut splits {
        if split.1.is_infinite() {
            split.1 = f32::MAX;
        }
    }
    Tree { splits, leaves: leaves.collect() }
}

/// A logistic curve over a few inputs; the last weight stands alone.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    pub weights: Vec<f64>,
}

impl Curve {
    pub fn probability(&self, inputs: &[f64]) -> f64 {
        let alone = self.weights.last().copied().unwrap_or_default();
        logistic(inputs.iter().zip(&self.weights).map(|(input, weight)| input * weight).sum::<f64>() + alone)
    }

    /// Fits by Newton's method with a small ridge.
    pub fn fit(rows: &[Vec<f64>], labels: &[bool]) -> Self {
        let width = rows.first().map_or(0, Vec::len) + 1;
        let mut curve = Self { weights: vec![0.0; width] };
        for _ in 0..25 {
            let mut hessian = vec![vec![0.0; width]; width];
            let mut gradient = vec![0.0; width];
            for (row, label) in rows.iter().zip(labels) {
                let p = curve.probability(row);
                let error = p - f64::from(u8::from(*label));
                let second = (p * (1.0 - p)).max(1e-9);
                let input = |index: usize| row.get(index).copied().unwrap_or(1.0);
                for (one, line) in hessian.iter_mut().enumerate() {
                    gradient[one] += error * input(one);
                    for (other, cell) in line.iter_mut().enumerate().take(one + 1) {
                        *cell += second * input(one) * input(other);
                    }
                }
            }
            for one in 0..width {
                gradient[one] += 1.0 * curve.weights[one];
                hessian[one][one] += 1.0;
                let (above, rest) = hessian.split_at_mut(one);
                for (line, mirrored) in above.iter_mut().zip(&rest[0]) {
                    line[one] = *mirrored;
                }
            }
            let step = solve(hessian, gradient);
            let mut largest = 0.0_f64;
            for (weight, change) in curve.weights.iter_mut().zip(&step) {
                *weight -= change.clamp(-2.0, 2.0);
                largest = largest.max(change.abs());
            }
            if largest < 1e-8 {
                break;
            }
        }
        curve
    }
}

/// Gauss elimination with pivoting.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let size = right.len();
    for column in 0..size {
        let pivot = (column..size)
            .max_by(|one, other| matrix[*one][column].abs().total_cmp(&matrix[*other][column].abs()))
            .unwrap_or(column);
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        let (above, below) = matrix.split_at_mut(column + 1);
        let pivot = &above[column];
        for (row, line) in below.iter_mut().enumerate() {
            let factor = line[column] / pivot[column];
            for (value, taken) in line.iter_mut().zip(pivot).skip(column) {
                *value -= factor * taken;
            }
            right[column + 1 + row] -= factor * right[column];
        }
    }
    for row in (0..size).rev() {
        let known: f64 = (row + 1..size).map(|index| matrix[row][index] * right[index]).sum();
        right[row] = (right[row] - known) / matrix[row][row];
    }
    right
}

pub fn logistic(value: f64) -> f64 {
    1.0 / (1.0 + (-value).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_learn_what_no_line_can_and_the_same_every_time() {
        let rows: Vec<Vec<f32>> =
            (0..400).map(|row| vec![(row % 20) as f32 / 20.0, (row / 20) as f32 / 20.0]).collect();
        let labels: Vec<bool> = rows.iter().map(|row| (row[0] > 0.5) != (row[1] > 0.5)).collect();
        let growth = Growth { trees: 40, depth: 3, rate: 0.3, ridge: 1.0, least: 0.5 };
        let trees = grow(&rows, &labels, growth);
        let wrong =
            rows.iter().zip(&labels).filter(|(row, label)| (trees.log_odds(row) > 0.0) != **label).count();
        assert!(wrong < 8, "{wrong}");
        assert_eq!(trees, grow(&rows, &labels, growth));
    }

    #[test]
    fn a_curve_finds_the_odds() {
        let rows: Vec<Vec<f64>> = (0..1000).map(|row| vec![f64::from(row % 2)]).collect();
        let labels: Vec<bool> =
            (0..1000).map(|row| if row % 2 == 0 { row % 10 == 0 } else { row % 10 != 1 }).collect();
        let curve = Curve::fit(&rows, &labels);
        assert!((curve.probability(&[0.0]) - 0.2).abs() < 0.02);
        assert!((curve.probability(&[1.0]) - 0.8).abs() < 0.02);
    }
}
