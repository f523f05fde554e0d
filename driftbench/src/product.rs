//! A sync by the product's own functions, with the log left out: the file connector reads the editions,
//! the judgement of `commands` finds drift, the aggregates decide, and the engine of the views projects.

use crate::{BenchError, scenario::Scenario, table::Table};
use arrow::{array::RecordBatch, compute::concat_batches};
use autonomos_commands::sync::judge::{self, Arriving, Rules};
use autonomos_connectors::file::{TableOptions, read_table};
use autonomos_domain::{
    aggregates::{
        mapping::{Binding, Mapping, MappingCommand, MappingEvent, RepairStatus},
        stream_schema::{StreamSchema, StreamSchemaCommand},
        tenant::{AutonomyMode, RepairPolicy},
    },
    drift::{DriftFinding, RepairChange, fingerprint},
    ids::{ConnectionId, FeedId},
    mapping::{MappingContent, MappingOrigin},
    schema::StreamShape,
};
use autonomos_projections::dcl::{CanonicalCell, TableProjection};
use cqrs_es::Aggregate;
use std::{collections::BTreeMap, path::PathBuf, time::Instant};

/// Canonical cells by field, row by row.
pub(crate) type Cells = BTreeMap<String, Vec<CanonicalCell>>;

/// Where one thread reads and projects.
pub(crate) struct Bench {
    folder: tempfile::TempDir,
    engine: TableProjection,
}

/// An edition as the connector gives it.
pub(crate) struct Edition {
    pub(crate) shape: StreamShape,
    pub(crate) records: RecordBatch,
}

/// A proposal and the mapping it would make.
pub(crate) struct Proposal {
    pub(crate) changes: Vec<RepairChange>,
    pub(crate) status: RepairStatus,
    pub(crate) proposed: MappingContent,
}

/// What the product made of a sync.
pub(crate) struct Decided {
    pub(crate) findings: Vec<DriftFinding>,
    pub(crate) proposals: Vec<Proposal>,
    pub(crate) binding: Binding,
    pub(crate) content: MappingContent,
    /// Columns that tell the arriving records apart.
    pub(crate) key: Vec<String>,
    /// Detection and decision.
    pub(crate) micros: u64,
}

impl Bench {
    pub(crate) fn open() -> Result<Self, BenchError> {
        Ok(Self { folder: tempfile::tempdir().map_err(BenchError::Files)?, engine: TableProjection::open()? })
    }

    pub(crate) fn read(&self, table: &Table) -> Result<Edition, BenchError> {
        let path: PathBuf = self.folder.path().join(table.file_name());
        table.write(&path).map_err(BenchError::Files)?;
        let (shape, batches) = read_table(&path, &TableOptions::default(), None)?;
        let first = batches.first().ok_or(BenchError::Empty)?;
        let records = concat_batches(&first.schema(), &batches)
            .map_err(|error| BenchError::Arrow(error.to_string()))?;
        Ok(Edition { shape, records })
    }

    pub(crate) fn project(
        &self,
        scenario: &Scenario,
        content: &MappingContent,
        edition: &Edition,
    ) -> Result<Cells, BenchError> {
        Ok(self.engine.project(&scenario.entity, content, &edition.records)?)
    }

    /// The first sight of the stream, its profile, and then the edition that arrives.
    pub(crate) fn decide(
        scenario: &Scenario,
        before: &Edition,
        after: &Edition,
    ) -> Result<Decided, BenchError> {
        let connection_id = ConnectionId::derive(&["driftbench"]);
        let stream = scenario.before.base.clone();
        let feed = FeedId::of(connection_id, &stream);
        let record = |shape: &StreamShape, findings: Vec<DriftFinding>| StreamSchemaCommand::RecordSchema {
            connection_id,
            stream: stream.clone(),
            fingerprint: fingerprint(shape),
            shape: shape.clone(),
            findings,
        };
        let mut schema = StreamSchema::default();
        let mut mapping = Mapping::default();
        let mut first = before.shape.clone();
        // The key is chosen, as a person would where the connector's guess is another one.
        first.primary_key = vec![scenario.before.key.clone()];
        schema_do(&mut schema, record(&first, Vec::new()))?;
        let profile = judge::profile_of(&first, std::slice::from_ref(&before.records));
        schema_do(&mut schema, StreamSchemaCommand::RecordProfile { profile })?;
        mapping_do(
            &mut mapping,
            MappingCommand::CreateMapping {
                connection_id,
                stream: stream.clone(),
                schema_version: 1,
                content: scenario.content.clone(),
                origin: MappingOrigin::Human,
            },
        )?;

        let started = Instant::now();
        let mut shape = after.shape.clone();
        shape.primary_key = judge::key_of(None, &schema, &shape, &after.records);
        let arriving = Arriving {
            profile: judge::profile_of(&shape, std::slice::from_ref(&after.records)),
            shape,
            complete: scenario.complete,
            known_rows: before.records.num_rows() as u64,
        };
        let findings = judge::findings(feed, &schema, Some(&scenario.content), &arriving);
        schema_do(&mut schema, record(&arriving.shape, findings.clone()))?;
        let mut proposals = Vec::new();
        if schema.current != 1 {
            let rules = Rules {
                entity: Some(&scenario.entity),
                policy: RepairPolicy::default(),
                mode: AutonomyMode::Auto,
            };
            let versions = (1, schema.current);
            let command = judge::follow(feed, "2", versions, &scenario.content, &findings, rules);
            for event in mapping_do(&mut mapping, command)? {
                if let MappingEvent::RepairProposed { changes, proposed, status, .. } = event {
                    proposals.push(Proposal { changes, status, proposed });
                }
            }
        }
        let micros = started.elapsed().as_micros() as u64;
        let (binding, content) = mapping.bound(schema.current).ok_or(BenchError::Unbound)?;
        let (binding, content) = (binding.clone(), content.clone());
        Ok(Decided { findings, proposals, binding, content, key: arriving.shape.primary_key, micros })
    }
}

fn schema_do(schema: &mut StreamSchema, command: StreamSchemaCommand) -> Result<(), BenchError> {
    for event in schema.decide(command)? {
        schema.apply(event);
    }
    Ok(())
}

fn mapping_do(mapping: &mut Mapping, command: MappingCommand) -> Result<Vec<MappingEvent>, BenchError> {
    let events = mapping.decide(command)?;
    for event in &events {
        mapping.apply(event.clone());
    }
    Ok(events)
}
