//! What the benches share.

pub mod commands;
pub mod connectors;
pub mod flat;
pub mod ingest;
pub mod matching;
pub mod rebuild;
pub mod scaled;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The seed of every bench.
pub const SEED: u64 = 20_261_123;

/// One measurement.
#[derive(Debug, Clone, Serialize)]
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

impl Measurement {
    /// A measurement by itself: nothing was timed one by one, and there is no baseline.
    pub fn new(
        bench: &'static str,
        backend: &'static str,
        unit: &'static str,
        value: f64,
        rows: u64,
        case: impl Into<String>,
    ) -> Self {
        Self {
            bench,
            backend,
            unit,
            value,
            p50: None,
            p99: None,
            baseline: None,
            ratio: None,
            rows,
            seed: SEED,
            case: case.into(),
        }
    }

    /// The same, beside the baseline's value.
    #[must_use]
    pub fn beside(self, baseline: f64) -> Self {
        Self { ratio: Some(self.value / baseline), baseline: Some(baseline), ..self }
    }

    /// The same, with how long single operations took, in microseconds.
    #[must_use]
    pub fn timed(self, histogram: &Histogram<u64>) -> Self {
        let milliseconds = |quantile| Some(histogram.value_at_quantile(quantile) as f64 / 1e3);
        Self { p50: milliseconds(0.5), p99: milliseconds(0.99), ..self }
    }
}

/// A number from the environment, where a bench is to be larger or smaller than usual.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// How long single operations took, in microseconds.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000, 3).expect("the bounds are sensible")
}
