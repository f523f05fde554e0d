//! `DriftBench`: streams that change as sources change them, and how the product follows, scored by the
//! cells it writes. Seeded and offline: no server, no network, no model.
//!
//! It is a room of its own because the binary runs it (`autonomos driftbench`), and the tests' room sits
//! above the binary. Nothing in it judges drift or applies a mapping: that is done by the functions that
//! a sync runs ([`autonomos_commands::sync::judge`], the aggregates, the engine of the views).

mod baselines;
mod bases;
mod mutate;
mod outcome;
mod product;
mod random;
mod scenario;
mod score;
mod slices;
mod table;

pub use score::Summary;

use autonomos_connectors::error::ConnectorError;
use autonomos_projections::ProjectionError;
use bases::{Bases, published};
use outcome::{Outcome, outcome};
use product::Bench;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// Syncs that are run twice, to see that they come out the same.
const REPLAYED: u64 = 20;

/// What is measured.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    /// The number of the first sync: with one sync, that one alone, and all that was found in it.
    pub from: u64,
    pub syncs: u64,
    /// A folder of published data; none: the CRM alone.
    pub data: Option<PathBuf>,
    pub threads: usize,
    /// Say of each sync that went wrong what did.
    pub notes: bool,
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Report {
    /// One JSON object a measurement.
    pub lines: Vec<Value>,
    pub summary: Summary,
    /// BLAKE3 of every decision: equal for equal seeds and equal code.
    pub digest: String,
}

#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    #[error("`{}` holds none of the data that DriftBench reads", .0.display())]
    Data(PathBuf),
    #[error("DriftBench could not write or read its files: {0}")]
    Files(std::io::Error),
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error(transparent)]
    Domain(#[from] autonomos_domain::error::Error),
    #[error("batches could not be joined: {0}")]
    Arrow(String),
    #[error("an edition came without rows")]
    Empty,
    #[error("no mapping is bound to the schema version of the sync")]
    Unbound,
}

impl BenchError {
    /// Stable code, `AOS-…`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Data(_) => "AOS-0531",
            Self::Files(_) => "AOS-0532",
            Self::Connector(error) => error.code(),
            Self::Projection(error) => error.code(),
            Self::Domain(error) => error.code(),
            Self::Arrow(_) | Self::Empty | Self::Unbound => "AOS-0533",
        }
    }
}

/// Runs the syncs of a seed and scores them.
pub fn run(options: &Options) -> Result<Report, BenchError> {
    let tables = options.data.as_deref().map(published::load).transpose()?.unwrap_or_default();
    let bases = Bases::new(tables);
    let outcomes = run_syncs(options, &bases, options.syncs)?;
    let digest = digest_of(&outcomes);
    let again = run_syncs(options, &bases, options.syncs.min(REPLAYED))?;
    let replayed = digest_of(&again) == digest_of(&outcomes[..again.len()]);
    let summary = Summary::of(&outcomes, replayed);
    let mut lines = score::lines(options.seed, &summary, &outcomes, &digest);
    if let Some(folder) = options.data.as_deref() {
        lines.extend(slices(folder)?);
    }
    if options.notes {
        for one in outcomes.iter().filter(|one| !one.notes.is_empty()) {
            lines.push(serde_json::json!({
                "measurement": "note", "sync": one.number, "base": one.base, "notes": one.notes,
            }));
        }
    }
    if let ([only], true) = (outcomes.as_slice(), options.notes) {
        lines.push(serde_json::json!({ "measurement": "sync", "sync": only.number, "story": only.story }));
    }
    Ok(Report { lines, summary, digest })
}

fn slices(folder: &Path) -> Result<Vec<Value>, BenchError> {
    let mut lines = slices::odoo(folder)?;
    lines.extend(slices::stripe(folder)?);
    Ok(lines)
}

/// All outcomes in the order of their numbers, whichever thread made them.
fn run_syncs(options: &Options, bases: &Bases, syncs: u64) -> Result<Vec<Outcome>, BenchError> {
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(syncs);
    let work = || -> Result<Vec<Outcome>, BenchError> {
        let bench = Bench::open()?;
        let mut made = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= end {
                return Ok(made);
            }
            let scenario = scenario::scenario(bases, options.seed, number);
            made.push(outcome(&bench, &scenario, number)?);
        }
    };
    let parts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads.max(1)).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut all: Vec<Outcome> = parts.into_iter().flatten().collect();
    all.sort_by_key(|one| one.number);
    Ok(all)
}

/// The hash of everything but time.
fn digest_of(outcomes: &[Outcome]) -> String {
    let mut hasher = blake3::Hasher::new();
    for one in outcomes {
        let text = format!(
            "{} {} {:?} {:?} {:?} {:?} {:?}\n",
            one.number, one.base, one.operations, one.findings, one.cells, one.changes, one.baselines
        );
        hasher.update(text.as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
