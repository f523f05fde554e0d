//! `fingerprint`, `match` and `drift`: tables compared on the command line, without a server, a
//! network or a language model.

use super::output;
use crate::{config::Config, error::GatewayError};
use arrow::array::{Array, AsArray, RecordBatch};
use autonomos_connectors::file::{TableOptions, read_table};
use autonomos_domain::{
    drift::{
        ArrivingStream, KnownStream, detect, fingerprint as fingerprint_of,
        profile::{StreamProfile, StreamProfiler, TextColumn},
    },
    ids::{ConnectionId, FeedId},
    matching::{candidates, table_candidates},
    ontology::{Ontology, default_ontology},
    schema::StreamShape,
};
use clap::Args;
use serde_json::json;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// Rows of a table that are looked at.
const ROWS: usize = 200_000;

#[derive(Debug, Args)]
pub(super) struct FingerprintArguments {
    /// CSV, TSV, NDJSON, JSON, Parquet or Excel; plain, gz or zst.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct MatchArguments {
    /// The table whose columns are matched.
    #[arg(long)]
    source: PathBuf,
    /// The table they are matched to.
    #[arg(long, required_unless_present = "ontology", conflicts_with = "ontology")]
    target: Option<PathBuf>,
    /// An ontology they are matched to: `default`, or a JSON file.
    #[arg(long)]
    ontology: Option<String>,
    /// Each column at most once.
    #[arg(long)]
    one_to_one: bool,
    /// At most this many candidates a column.
    #[arg(long, default_value_t = 0)]
    top: usize,
}

#[derive(Debug, Args)]
pub(super) struct DriftArguments {
    /// The edition that is known.
    #[arg(long)]
    before: PathBuf,
    /// The edition that arrives.
    #[arg(long)]
    after: PathBuf,
}

/// A table as the comparisons need it.
struct Table {
    shape: StreamShape,
    profile: StreamProfile,
}

/// A column of a batch of text.
struct Column<'a>(&'a arrow::array::StringArray);

impl TextColumn for Column<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, row: usize) -> Option<&str> {
        (!self.0.is_null(row)).then(|| self.0.value(row))
    }
}

fn table(path: &Path) -> Result<Table, GatewayError> {
    let (shape, batches) = read_table(path, &TableOptions::default(), Some(ROWS))?;
    let names: Vec<String> = shape.fields.iter().map(|field| field.name.clone()).collect();
    let mut profiler = StreamProfiler::new(names, &shape.primary_key);
    for batch in &batches {
        let columns = text_columns(batch)?;
        profiler.push_batch(&columns.iter().collect::<Vec<_>>());
    }
    Ok(Table { shape, profile: profiler.finish() })
}

fn text_columns(batch: &RecordBatch) -> Result<Vec<Column<'_>>, GatewayError> {
    let text = |column: &'_ std::sync::Arc<dyn Array>| column.as_string_opt::<i32>().is_some();
    if !batch.columns().iter().all(text) {
        return Err(GatewayError::Input("a column of the table is not text".to_owned()));
    }
    Ok(batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>().map(Column)).collect())
}

pub(super) fn fingerprint(arguments: FingerprintArguments) -> Result<bool, GatewayError> {
    let table = table(&arguments.file)?;
    output::line(&json!({
        "fingerprint": fingerprint_of(&table.shape),
        "rows": table.profile.rows,
        "primary_key": table.shape.primary_key,
        "fields": table.shape.fields.iter().map(|field| json!({
            "name": field.name,
            "type": field.logical_type,
            "nullable": field.nullable,
            "format": field.format,
            "profile": table.profile.fields.get(&field.name),
        })).collect::<Vec<_>>(),
    }));
    Ok(true)
}

pub(super) fn matches(arguments: MatchArguments, config: &Config) -> Result<bool, GatewayError> {
    let source = table(&arguments.source)?;
    let meaning = crate::intelligence::similarity(config);
    let mut found = if let Some(path) = &arguments.target {
        let target = table(path)?;
        table_candidates((&source.shape, &source.profile), (&target.shape, &target.profile), Some(&*meaning))
    } else {
        let ontology = ontology(arguments.ontology.as_deref().unwrap_or("default"))?;
        let stream = arguments.source.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        candidates(&stream.unwrap_or_default(), &source.shape, &source.profile, &ontology, Some(&*meaning))
    };
    found.sort_by(|left, right| {
        right
            .probability
            .total_cmp(&left.probability)
            .then_with(|| left.source.cmp(&right.source))
            .then_with(|| left.target.cmp(&right.target))
    });
    let (mut sources, mut targets) = (BTreeSet::new(), BTreeSet::new());
    let mut counts: std::collections::BTreeMap<String, usize> = std::collections::BTreeMap::new();
    for line in found {
        if arguments.one_to_one && (sources.contains(&line.source) || targets.contains(&line.target)) {
            continue;
        }
        let count = counts.entry(line.source.clone()).or_default();
        if arguments.top > 0 && *count >= arguments.top {
            continue;
        }
        *count += 1;
        output::line(&json!({
            "source": line.source,
            "target": line.target,
            "confidence": line.probability,
            "evidence": line.evidence,
        }));
        sources.insert(line.source);
        targets.insert(line.target);
    }
    Ok(true)
}

fn ontology(name: &str) -> Result<Ontology, GatewayError> {
    if name == "default" {
        return Ok(default_ontology());
    }
    let text = std::fs::read_to_string(name)
        .map_err(|source| GatewayError::Folder { path: PathBuf::from(name), source })?;
    serde_json::from_str(&text)
        .map_err(|error| GatewayError::Input(format!("`{name}` is no ontology: {error}")))
}

pub(super) fn drift(arguments: DriftArguments) -> Result<bool, GatewayError> {
    let before = table(&arguments.before)?;
    let after = table(&arguments.after)?;
    // Every column counts as mapped: nothing is known of what reads the table.
    let mapped = before.shape.fields.iter().map(|field| field.name.clone()).collect();
    let findings = detect(
        &KnownStream {
            feed: FeedId::of(ConnectionId::derive(&["command line"]), "table"),
            shape: &before.shape,
            profile: &before.profile,
            mapped: &mapped,
        },
        &ArrivingStream { shape: &after.shape, profile: &after.profile, complete: true },
    );
    for finding in findings {
        output::line(&json!({
            "kind": finding.kind,
            "field": finding.field,
            "before": finding.before,
            "after": finding.after,
            "severity": finding.severity,
            "confidence": finding.confidence,
            "evidence": finding.evidence,
            "repair": finding.repair.map(|repair| json!({
                "old_source": repair.old_source,
                "new_sources": repair.new_sources,
                "adapt": repair.adapt,
                "confidence": repair.probability,
                "evidence": repair.evidence,
                "overlap": repair.overlap,
            })),
        }));
    }
    Ok(true)
}
