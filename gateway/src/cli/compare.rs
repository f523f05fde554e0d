//! `fingerprint`, `match` and `drift`: tables compared on the command line, without a server or a network;
//! `match --llm` alone asks the configured language model about what stays uncovered.

use super::output;
use crate::{config::Config, error::GatewayError, intelligence::language_model};
use arrow::array::{Array, AsArray, RecordBatch};
use autonomos_commands::intelligence::llm::{Column, MATCH_PROMPT_VERSION, MatchQuestion, ModelClient};
use autonomos_connectors::file::{TableOptions, read_table};
use autonomos_domain::{
    drift::{
        ArrivingStream, KnownStream, detect, fingerprint as fingerprint_of,
        profile::{StreamProfile, StreamProfiler, TextColumn},
    },
    ids::{ConnectionId, FeedId},
    mapping::Transform,
    matching::{Suggestion, candidates, table_candidates},
    ontology::{CanonicalType, Ontology, default_ontology},
    schema::{Field, LogicalType, StreamShape},
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
    /// Ask the configured language model (`llm_provider`) about columns without a probable match: it sees
    /// names, types and the forms of values.
    #[arg(long)]
    llm: bool,
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
struct TextValues<'a>(&'a arrow::array::StringArray);

impl TextColumn for TextValues<'_> {
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

fn text_columns(batch: &RecordBatch) -> Result<Vec<TextValues<'_>>, GatewayError> {
    let text = |column: &'_ std::sync::Arc<dyn Array>| column.as_string_opt::<i32>().is_some();
    if !batch.columns().iter().all(text) {
        return Err(GatewayError::Input("a column of the table is not text".to_owned()));
    }
    Ok(batch.columns().iter().filter_map(|column| column.as_string_opt::<i32>().map(TextValues)).collect())
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

/// What columns are matched to: fields of tables or of an ontology, by the names that candidates have.
enum Targets {
    Table(Table),
    Ontology(Ontology),
}

impl Targets {
    fn fields(&self) -> Vec<(Field, Column)> {
        match self {
            Self::Table(table) => {
                let fields = table.shape.fields.iter();
                fields.map(|field| (field.clone(), shown(field, &table.profile))).collect()
            }
            Self::Ontology(ontology) => {
                let all = ontology.entities.iter().flat_map(|entity| {
                    entity.fields.iter().map(move |field| (format!("{}.{}", entity.name, field.name), field))
                });
                all.map(|(name, known)| {
                    let logical_type = match known.canonical_type {
                        CanonicalType::Text => LogicalType::Text,
                        CanonicalType::Integer => LogicalType::Integer,
                        CanonicalType::Decimal => LogicalType::Decimal,
                        CanonicalType::Boolean => LogicalType::Boolean,
                        CanonicalType::Date => LogicalType::Date,
                        CanonicalType::Timestamp => LogicalType::Timestamp,
                    };
                    let field = Field { name, logical_type, nullable: true, format: None };
                    let about = Some(known.description.clone()).filter(|text| !text.is_empty());
                    let column = Column { about, ..Column::of(&field, &[], false) };
                    (field, column)
                })
                .collect()
            }
        }
    }
}

/// As a model sees it: never with its values.
fn shown(field: &Field, profile: &StreamProfile) -> Column {
    let samples = profile.fields.get(&field.name).map_or(&[][..], |profile| profile.samples.as_slice());
    Column::of(field, samples, false)
}

/// Below it a column has no match worth the name.
const COVERED: f64 = 0.60;

/// What the configured model says of source columns without a probable match.
async fn asked(
    model: &ModelClient,
    name: &str,
    source: &Table,
    targets: &Targets,
    found: &[Suggestion],
) -> Result<Vec<Suggestion>, GatewayError> {
    let sure = || found.iter().filter(|line| line.probability >= COVERED);
    let (sources, taken): (BTreeSet<&str>, BTreeSet<&str>) = (
        sure().map(|line| line.source.as_str()).collect(),
        sure().map(|line| line.target.as_str()).collect(),
    );
    let known = targets.fields();
    let free: Vec<&(Field, Column)> =
        known.iter().filter(|(field, _)| !taken.contains(field.name.as_str())).collect();
    let open = source.shape.fields.iter().filter(|field| !sources.contains(field.name.as_str()));
    let question = MatchQuestion {
        table: name.to_owned(),
        source: open.map(|field| shown(field, &source.profile)).collect(),
        target: free.iter().map(|(_, column)| column.clone()).collect(),
    }
    .bounded();
    if question.source.is_empty() || question.target.is_empty() {
        return Ok(Vec::new());
    }
    let consulted = model.consult(&question.question(), |text| question.read(text)).await;
    let pairs = consulted.result.map_err(GatewayError::Model)?;
    let prompt = format!("match {MATCH_PROMPT_VERSION}");
    let suggestions = pairs.iter().filter_map(|pair| {
        let from = source.shape.field(&pair.from)?;
        let (to, _) = free.iter().find(|(field, _)| field.name == pair.to)?;
        let (probability, evidence) = pair.weighed(from, to, model.name(), &prompt);
        Some(Suggestion {
            source: pair.from.clone(),
            target: pair.to.clone(),
            transform: Transform::Copy,
            probability,
            evidence,
        })
    });
    Ok(suggestions.collect())
}

pub(super) async fn matches(arguments: MatchArguments, config: &Config) -> Result<bool, GatewayError> {
    let model = match (arguments.llm, language_model(config)?) {
        (true, None) => {
            let message = "`--llm` needs a language model: set `llm_provider` and `llm_model`";
            return Err(GatewayError::Configuration(message.to_owned()));
        }
        (true, model) => model,
        (false, _) => None,
    };
    let source = table(&arguments.source)?;
    let stream = arguments.source.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let stream = stream.unwrap_or_default();
    let meaning = crate::intelligence::similarity(config);
    let targets = match &arguments.target {
        Some(path) => Targets::Table(table(path)?),
        None => Targets::Ontology(ontology(arguments.ontology.as_deref().unwrap_or("default"))?),
    };
    let mut found = match &targets {
        Targets::Table(target) => table_candidates(
            (&source.shape, &source.profile),
            (&target.shape, &target.profile),
            Some(&*meaning),
        ),
        Targets::Ontology(ontology) => {
            candidates(&stream, &source.shape, &source.profile, ontology, Some(&*meaning))
        }
    };
    let mut by_model = BTreeSet::new();
    if let Some(model) = model {
        for line in asked(&model, &stream, &source, &targets, &found).await? {
            found.retain(|known| known.source != line.source || known.target != line.target);
            by_model.insert((line.source.clone(), line.target.clone()));
            found.push(line);
        }
    }
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
            "origin": if by_model.contains(&(line.source.clone(), line.target.clone())) { "llm" } else { "matcher" },
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
