//! `driftbench`: how the product follows streams that drift, scored; without a server or a network.

use super::output;
use crate::error::GatewayError;
use autonomos_driftbench::{Options, run as measure};
use clap::Args;
use serde_json::Value;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct DriftbenchArguments {
    /// Draws the tables, the changes and what they hit.
    #[arg(long)]
    seed: u64,
    /// The number of the first sync. With `--syncs 1 --notes`: all that was done and found in it.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many syncs.
    #[arg(long, default_value_t = 1000)]
    syncs: u64,
    /// A folder of published data: FEBRL, pyJedAI, Valentine, Stripe, Odoo. Without it, a CRM of our own.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Threads; 0 takes as many as there are processors.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Say of each sync what went wrong.
    #[arg(long)]
    notes: bool,
}

/// Whether the safety limits held: no cell silently wrong, no false alarm, no structural change missed.
pub(super) fn run(arguments: DriftbenchArguments, json_lines: bool) -> Result<bool, GatewayError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let report = measure(&Options {
        seed: arguments.seed,
        from: arguments.from,
        syncs: arguments.syncs,
        data: arguments.data,
        threads: if arguments.threads == 0 { processors } else { arguments.threads },
        notes: arguments.notes,
    })?;
    for line in &report.lines {
        if json_lines { output::line(line) } else { output::say(&plain(line)) }
    }
    Ok(report.summary.is_safe())
}

/// `coverage: repairable 12, repaired_alone 9, share 0.75`
fn plain(line: &Value) -> String {
    let Some(members) = line.as_object() else { return line.to_string() };
    let name = members.get("measurement").and_then(Value::as_str).unwrap_or_default();
    let rest: Vec<String> = members
        .iter()
        .filter(|(key, _)| *key != "measurement")
        .map(|(key, value)| match value {
            Value::String(text) => format!("{key} {text}"),
            other => format!("{key} {other}"),
        })
        .collect();
    format!("{name}: {}", rest.join(", "))
}
