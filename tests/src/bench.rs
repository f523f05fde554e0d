//! What the benches share.

pub mod commands;
pub mod ingest;
pub mod matching;
pub mod rebuild;
pub mod scaled;

use serde::Serialize;

/// The seed of every bench.
pub const SEED: u64 = 20_261_123;

/// One measurement.
#[derive(Debug, Serialize)]
pub struct Measurement {
    pub bench: &'static str,
    pub backend: &'static str,
    pub unit: &'static str,
    pub value: f64,
    /// Milliseconds, where single operations were timed.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    /// The baseline's value, of the same run.
    pub baseline: Option<f64>,
    pub ratio: Option<f64>,
    pub rows: u64,
    pub seed: u64,
    /// What was varied: `callers=64`, `baseline=read_csv`, …
    pub case: String,
}
