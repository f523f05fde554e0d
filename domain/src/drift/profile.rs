//! What the values of a stream look like, kept small: enough to prove a change, no copy of the data.

pub use super::profiler::{FieldProfiler, StreamProfiler, TextColumn, find_key, key_text};

use super::value::is_boolean;
use crate::schema::{Field, LogicalType};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The profile of one column. It quotes values, so it is sealed wherever it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldProfile {
    /// Rows looked at: all of a short stream, a sample of a long one.
    pub rows: u64,
    pub nulls: u64,
    /// Estimated number of different values.
    pub distinct: u64,
    /// Values by what they parse as: `integer`, `decimal`, `boolean`, `date:%Y-%m-%d`, `text`, …
    /// A form that may be read two ways names both: `date:%d/%m/%Y|%m/%d/%Y`.
    pub shapes: BTreeMap<String, u64>,
    /// Numeric range and quantiles (0, 5, 25, 50, 75, 95, 100 %), of values that are numbers;
    /// of dates and times, in seconds since 1970.
    pub quantiles: Vec<f64>,
    /// Length of the text: least, mean, most.
    pub length: [f64; 3],
    /// The most frequent values with their counts, at most 50; all of them when `complete`.
    pub frequent: Vec<(String, u64)>,
    /// `frequent` holds every value there is: an enumeration.
    pub complete: bool,
    /// A few values, for people and for embeddings, at most 10.
    pub samples: Vec<String>,
    /// The smallest hashes of its different values, at most 128: two columns' values can be
    /// compared as sets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sketch: Vec<u64>,
}

impl FieldProfile {
    pub(crate) const FREQUENT: usize = 50;
    pub(crate) const SAMPLES: usize = 10;
    pub(crate) const SKETCH: usize = 128;

    /// Values that are neither null nor blank.
    pub fn filled(&self) -> u64 {
        self.shapes.iter().filter(|(name, _)| *name != "blank").map(|(_, count)| count).sum()
    }

    /// Share of rows without a value.
    pub fn empty_rate(&self) -> f64 {
        if self.rows == 0 { 0.0 } else { 1.0 - self.filled() as f64 / self.rows as f64 }
    }

    /// Share of the values that are of a shape for which `belongs` holds.
    pub fn share(&self, belongs: impl Fn(&str) -> bool) -> f64 {
        let filled = self.filled();
        if filled == 0 {
            return 0.0;
        }
        let count: u64 = self
            .shapes
            .iter()
            .filter(|(name, _)| *name != "blank" && belongs(name))
            .map(|(_, count)| count)
            .sum();
        count as f64 / filled as f64
    }

    /// The field these values make: the narrowest type that all of them fit.
    pub fn field(&self, name: &str) -> Field {
        let (logical_type, format) = self.narrowest();
        Field { name: name.to_owned(), logical_type, nullable: self.filled() < self.rows, format }
    }

    fn narrowest(&self) -> (LogicalType, Option<String>) {
        let all = |belongs: fn(&str) -> bool| self.share(belongs) >= 1.0;
        if self.filled() == 0 {
            return (LogicalType::Unknown, None);
        }
        if all(|shape| shape == "boolean") {
            return (LogicalType::Boolean, None);
        }
        if all(|shape| shape == "integer") {
            return (LogicalType::Integer, None);
        }
        if all(|shape| matches!(shape, "integer" | "decimal")) {
            return (LogicalType::Decimal, None);
        }
        if all(|shape| matches!(shape, "integer" | "decimal" | "decimal_comma" | "decimal_grouped")) {
            let comma = self.shapes.contains_key("decimal_comma");
            let grouped = self.shapes.contains_key("decimal_grouped");
            return match (comma, grouped) {
                (true, false) => (LogicalType::Decimal, Some("decimal_comma".into())),
                (false, true) => (LogicalType::Decimal, Some("decimal_grouped".into())),
                _ => (LogicalType::Text, None),
            };
        }
        for (prefix, logical_type) in [("date:", LogicalType::Date), ("timestamp:", LogicalType::Timestamp)] {
            if self.share(|shape| shape.starts_with(prefix)) >= 1.0 {
                let formats: BTreeSet<&str> = self
                    .shapes
                    .keys()
                    .filter(|name| *name != "blank")
                    .filter_map(|name| name.strip_prefix(prefix))
                    .collect();
                let iso = formats.iter().all(|format| format.starts_with("%Y-%m-%d"));
                let single = formats.first().filter(|format| formats.len() == 1 && !format.contains('|'));
                return match single {
                    Some(_) if iso => (logical_type, None),
                    Some(format) => (logical_type, Some((*format).to_owned())),
                    None if iso => (logical_type, None),
                    None => (LogicalType::Text, None),
                };
            }
        }
        if all(|shape| shape == "object") {
            return (LogicalType::Object, None);
        }
        if all(|shape| shape == "array") {
            return (LogicalType::Array, None);
        }
        (LogicalType::Text, None)
    }

    /// Adds the profile of later rows of the same column.
    pub fn merge(&mut self, other: &Self) {
        if other.rows == 0 {
            return;
        }
        if self.rows == 0 {
            self.clone_from(other);
            return;
        }
        let (left, right) = (self.filled() as f64, other.filled() as f64);
        let total = (left + right).max(1.0);
        self.quantiles = merge_quantiles(&self.quantiles, left, &other.quantiles, right);
        if right > 0.0 {
            self.length = if left > 0.0 {
                [
                    self.length[0].min(other.length[0]),
                    (self.length[1] * left + other.length[1] * right) / total,
                    self.length[2].max(other.length[2]),
                ]
            } else {
                other.length
            };
        }
        self.rows += other.rows;
        self.nulls += other.nulls;
        for (name, count) in &other.shapes {
            *self.shapes.entry(name.clone()).or_default() += count;
        }
        let mut frequent: BTreeMap<&str, u64> = BTreeMap::new();
        for (value, count) in self.frequent.iter().chain(&other.frequent) {
            *frequent.entry(value).or_default() += count;
        }
        let complete = self.complete && other.complete && frequent.len() <= Self::FREQUENT;
        let mut frequent: Vec<(String, u64)> =
            frequent.into_iter().map(|(value, count)| (value.to_owned(), count)).collect();
        frequent.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        frequent.truncate(Self::FREQUENT);
        let alike = super::sketch::resemblance(&self.sketch, &other.sketch);
        self.distinct = if complete {
            frequent.len() as u64
        } else {
            // |A ∪ B| = (|A| + |B|) / (1 + J)
            let both = (self.distinct + other.distinct) as f64 / (1.0 + alike);
            (both.round() as u64).max(self.distinct).max(other.distinct)
        };
        self.frequent = frequent;
        self.complete = complete;
        let sketch: BTreeSet<u64> = self.sketch.iter().chain(&other.sketch).copied().collect();
        self.sketch = sketch.into_iter().take(Self::SKETCH).collect();
        for sample in &other.samples {
            if self.samples.len() < Self::SAMPLES && !self.samples.contains(sample) {
                self.samples.push(sample.clone());
            }
        }
    }

    /// One line for a person: `integer, 12 to 980000`, `enum {closed, open}`, …
    pub fn summary(&self) -> String {
        if self.filled() == 0 {
            return "no values".to_owned();
        }
        let dominant = self
            .shapes
            .iter()
            .filter(|(name, _)| *name != "blank")
            .max_by_key(|(name, count)| (**count, std::cmp::Reverse(name.as_str())));
        let shape = dominant.map_or("text", |(name, _)| name.as_str());
        let empty = self.empty_rate();
        let mut text = if self.complete && self.frequent.len() <= 12 && self.filled() > 2 * self.distinct {
            let mut values: Vec<&str> = self.frequent.iter().map(|(value, _)| value.as_str()).collect();
            values.sort_unstable();
            format!("one of {{{}}}", values.join(", "))
        } else if let (false, [least, .., most]) = (shape.contains(':'), self.quantiles.as_slice()) {
            format!("{shape}, {least} to {most}")
        } else {
            shape.replacen(':', " written ", 1)
        };
        if empty > 0.0 {
            text.push_str(&format!(", {:.1} % empty", empty * 100.0));
        }
        text
    }

    /// Do the words of this column mean true and false?
    pub(crate) fn boolean_like(&self) -> bool {
        self.complete
            && (1..=2).contains(&self.frequent.len())
            && self.frequent.iter().all(|(value, _)| is_boolean(value) || value == "0" || value == "1")
    }
}

/// Quantiles of two parts together, by weight; the ends are exact.
fn merge_quantiles(left: &[f64], left_weight: f64, right: &[f64], right_weight: f64) -> Vec<f64> {
    if left.len() != right.len() || left.is_empty() {
        return if left.is_empty() { right.to_vec() } else { left.to_vec() };
    }
    let total = (left_weight + right_weight).max(1.0);
    let last = left.len() - 1;
    (0..left.len())
        .map(|index| match index {
            0 => left[0].min(right[0]),
            index if index == last => left[last].max(right[last]),
            index => (left[index] * left_weight + right[index] * right_weight) / total,
        })
        .collect()
}

/// Rows kept by the smallest hashes of their keys: two editions keep the same records, so their
/// values can be compared. At most [`KeyedSample::CAPACITY`] rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyedSample {
    pub columns: Vec<String>,
    /// The columns whose values make the key; empty: the whole row does, and nothing can be proved.
    #[serde(default)]
    pub key: Vec<String>,
    /// Hash of the key → the row's raw values in the order of `columns`.
    pub rows: BTreeMap<u64, Vec<Option<String>>>,
    /// Rows seen whose key was in the sample already: more than a few, and the key is none.
    #[serde(default)]
    pub repeated: u64,
}

impl KeyedSample {
    pub const CAPACITY: usize = 512;

    /// Rows kept of a stream this wide, so that a sample stays small.
    pub fn capacity(columns: usize) -> usize {
        Self::CAPACITY.min((200_000 / columns.max(1)).max(16))
    }

    /// Adds the rows of a later batch or edition: the newer row of a key wins. Samples of other
    /// columns or another key replace this one.
    pub fn merge(&mut self, newer: &Self) {
        if newer.rows.is_empty() {
            return;
        }
        if self.columns != newer.columns || self.key != newer.key {
            self.clone_from(newer);
            return;
        }
        for (key, row) in &newer.rows {
            self.rows.insert(*key, row.clone());
        }
        let capacity = Self::capacity(self.columns.len());
        while self.rows.len() > capacity {
            self.rows.pop_last();
        }
    }
}

/// The profile of a stream: of the whole of the last complete read, or of all reads so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamProfile {
    pub rows: u64,
    pub fields: BTreeMap<String, FieldProfile>,
    pub sample: KeyedSample,
}

impl StreamProfile {
    /// Adds the profile of later rows of the same stream (an incremental read).
    pub fn merge(&mut self, newer: &Self) {
        self.rows += newer.rows;
        for (name, profile) in &newer.fields {
            self.fields.entry(name.clone()).or_default().merge(profile);
        }
        self.sample.merge(&newer.sample);
    }
}
