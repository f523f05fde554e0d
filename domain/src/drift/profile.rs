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
}

/// The profile of a stream: of the whole of the last complete read, or of all reads so far.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamProfile {
    pub rows: u64,
    pub fields: BTreeMap<String, FieldProfile>,
    pub sample: KeyedSample,
}
