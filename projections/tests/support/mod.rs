//! A log written by hand: the commits of one tenant, and the tables that follow from them.

#![allow(dead_code, reason = "each test file uses its part")]

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use autonomos_domain::{
    aggregates::{
        connection::ConnectionEvent,
        feed::{BatchHeader, FeedEvent, FeedState, OpenSnapshot},
        identity::IdentityEvent,
        mapping::{Binding, MappingEvent},
        ontology::OntologyEvent,
        unified_view::{FieldRule, UnifiedViewEvent, ViewRules},
    },
    envelope::Position,
    ids::{ConnectionId, FeedId, SnapshotId, SyncId, TenantId, source_record_id},
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
    ontology::{Entity, Ontology},
    schema::StreamSelection,
};
use autonomos_projections::{
    dcl::{
        BatchBody, Dcl, DclOptions, FeedFact, Instance, OpenedCommit, OpenedEvents,
        read::DclReads,
        tables::{self, value_column},
    },
    error::ProjectionError,
};
use chrono::{DateTime, TimeDelta, Utc};
use std::{collections::BTreeMap, path::Path, sync::Arc};
use uuid::Uuid;

pub(crate) const TENANT: TenantId = TenantId(Uuid::from_u128(7));

pub(crate) fn line(source: &str, target: &str) -> MappingField {
    line_with(source, target, Transform::Copy)
}

pub(crate) fn line_with(source: &str, target: &str, transform: Transform) -> MappingField {
    MappingField {
        source: source.to_owned(),
        also: vec![],
        target: target.to_owned(),
        transform,
        confidence: 1.0,
        origin: MappingOrigin::Human,
        evidence: vec![],
    }
}

pub(crate) fn content(entity: Option<&str>, fields: Vec<MappingField>) -> MappingContent {
    MappingContent { entity: entity.map(str::to_owned), key: vec!["id".to_owned()], fields }
}

pub(crate) fn bound(schema_version: u32, mapping_version: u32) -> Binding {
    Binding { schema_version, mapping_version, held: vec![], hold_rows: false, suspect_from: None }
}

pub(crate) fn held(schema_version: u32, mapping_version: u32, fields: &[&str]) -> Binding {
    Binding {
        held: fields.iter().map(|&name| name.to_owned()).collect(),
        ..bound(schema_version, mapping_version)
    }
}

/// One stream and its state as the log has it.
#[derive(Clone)]
pub(crate) struct Stream {
    pub connection: ConnectionId,
    pub name: String,
    state: FeedState,
}

impl Stream {
    pub(crate) fn id(&self) -> FeedId {
        FeedId::of(self.connection, &self.name)
    }

    /// The record's id of a one-column key.
    pub(crate) fn sid(&self, key: &str) -> Uuid {
        source_record_id(self.id(), key)
    }
}

#[derive(Default)]
pub(crate) struct Log {
    pub commits: Vec<OpenedCommit>,
}

impl Log {
    pub(crate) fn time(seq: u64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).unwrap() + TimeDelta::seconds(seq as i64)
    }

    pub(crate) fn push(&mut self, aggregate_id: Uuid, events: OpenedEvents) -> u64 {
        let sequence = self.commits.len() as u64 + 1;
        let mut running_hash = [0; 32];
        running_hash[..8].copy_from_slice(&sequence.to_be_bytes());
        self.commits.push(OpenedCommit {
            position: Position { cell: 0, sequence },
            recorded_at: Self::time(sequence),
            aggregate_id,
            running_hash,
            events,
        });
        sequence
    }

    #[expect(clippy::unused_self, reason = "a stream reads as one of its log's")]
    pub(crate) fn stream(&self, connection: u128, name: &str) -> Stream {
        let connection = ConnectionId(Uuid::from_u128(connection));
        Stream {
            connection,
            name: name.to_owned(),
            state: FeedState {
                connection_id: connection,
                stream: name.to_owned(),
                cursor: None,
                schema_version: 0,
                snapshot: None,
                batches: 0,
                rows: 0,
                bytes: 0,
                completed_rows: None,
            },
        }
    }

    /// A mapping with its first version, bound to schema version 1.
    pub(crate) fn map(&mut self, stream: &Stream, content: MappingContent) -> u64 {
        let created = MappingEvent::MappingCreated {
            connection_id: stream.connection,
            stream: stream.name.clone(),
            version: 1,
            content,
            origin: MappingOrigin::Human,
        };
        self.mapping(stream, vec![created, MappingEvent::MappingBound { binding: bound(1, 1) }])
    }

    pub(crate) fn mapping(&mut self, stream: &Stream, events: Vec<MappingEvent>) -> u64 {
        self.push(stream.id().0, OpenedEvents::Mapping(events))
    }

    pub(crate) fn bind(&mut self, stream: &Stream, binding: Binding) -> u64 {
        self.mapping(stream, vec![MappingEvent::MappingBound { binding }])
    }

    pub(crate) fn revise(
        &mut self,
        stream: &Stream,
        version: u32,
        content: MappingContent,
        bindings: Vec<Binding>,
    ) -> u64 {
        let revised = MappingEvent::MappingRevised {
            version,
            content,
            origin: MappingOrigin::Human,
            based_on: version - 1,
            repair_id: None,
        };
        let bound = bindings.into_iter().map(|binding| MappingEvent::MappingBound { binding });
        self.mapping(stream, std::iter::once(revised).chain(bound).collect())
    }

    pub(crate) fn ingested(
        stream: &mut Stream,
        schema_version: u32,
        key: &[&str],
        columns: &[&str],
        rows: &[Vec<Option<String>>],
    ) -> FeedFact {
        stream.state.schema_version = schema_version;
        stream.state.batches += 1;
        stream.state.rows += rows.len() as u64;
        let arrays: Vec<ArrayRef> = (0..columns.len())
            .map(|index| {
                Arc::new(rows.iter().map(|row| row[index].as_deref()).collect::<StringArray>()) as ArrayRef
            })
            .collect();
        let fields: Vec<Field> = columns.iter().map(|name| Field::new(*name, DataType::Utf8, true)).collect();
        let body = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
        let batch = BatchHeader {
            rows: rows.len() as u64,
            schema_version,
            checksum: String::new(),
            key: key.iter().map(|&name| name.to_owned()).collect(),
            sync_id: SyncId(Uuid::nil()),
            rejected: vec![],
            rejected_total: 0,
        };
        FeedFact {
            event: FeedEvent::RecordsIngested { batch, state: stream.state.clone() },
            body: BatchBody::Rows(body),
        }
    }

    /// A batch with key `id`; `-` stands for null.
    pub(crate) fn batch(
        &mut self,
        stream: &mut Stream,
        schema_version: u32,
        columns: &str,
        rows: &[&str],
    ) -> u64 {
        let columns: Vec<&str> = columns.split(',').collect();
        let rows = split(rows);
        let fact = Self::ingested(stream, schema_version, &["id"], &columns, &rows);
        self.push(stream.id().0, OpenedEvents::Feed(vec![fact]))
    }

    /// A batch whose rows have no key.
    pub(crate) fn keyless(&mut self, stream: &mut Stream, columns: &str, rows: &[&str]) -> u64 {
        let columns: Vec<&str> = columns.split(',').collect();
        let fact = Self::ingested(stream, 1, &[], &columns, &split(rows));
        self.push(stream.id().0, OpenedEvents::Feed(vec![fact]))
    }

    fn feed_event(&mut self, stream: &Stream, event: FeedEvent) -> u64 {
        self.push(stream.id().0, OpenedEvents::Feed(vec![FeedFact { event, body: BatchBody::None }]))
    }

    pub(crate) fn snapshot_start(&mut self, stream: &mut Stream) -> u64 {
        let snapshot_id = SnapshotId(Uuid::from_u128(u128::from(stream.state.batches)));
        let sync_id = SyncId(Uuid::nil());
        stream.state.snapshot =
            Some(OpenSnapshot { id: snapshot_id, rows: 0, opened_by: sync_id, held: None });
        self.feed_event(
            stream,
            FeedEvent::SnapshotStarted { snapshot_id, sync_id, state: stream.state.clone() },
        )
    }

    pub(crate) fn snapshot_complete(&mut self, stream: &mut Stream) -> u64 {
        let snapshot_id = stream.state.snapshot.take().unwrap().id;
        self.feed_event(
            stream,
            FeedEvent::SnapshotCompleted { snapshot_id, rows: 0, state: stream.state.clone() },
        )
    }

    pub(crate) fn snapshot_abandon(&mut self, stream: &mut Stream) -> u64 {
        let snapshot_id = stream.state.snapshot.take().unwrap().id;
        let reason = "stopped".to_owned();
        self.feed_event(
            stream,
            FeedEvent::SnapshotAbandoned { snapshot_id, reason, state: stream.state.clone() },
        )
    }

    pub(crate) fn snapshot(
        &mut self,
        stream: &mut Stream,
        schema_version: u32,
        columns: &str,
        rows: &[&str],
    ) -> u64 {
        self.snapshot_start(stream);
        self.batch(stream, schema_version, columns, rows);
        self.snapshot_complete(stream)
    }

    pub(crate) fn close(&mut self, stream: &mut Stream) -> u64 {
        stream.state.snapshot = None;
        self.feed_event(stream, FeedEvent::FeedClosed { state: stream.state.clone() })
    }

    pub(crate) fn delete_connection(&mut self, stream: &Stream) -> u64 {
        self.push(stream.connection.0, OpenedEvents::Connection(vec![ConnectionEvent::ConnectionDeleted {}]))
    }

    pub(crate) fn prioritise(&mut self, stream: &Stream, priority: i32) -> u64 {
        let selection = StreamSelection {
            name: stream.name.clone(),
            sync_mode: None,
            cursor_field: None,
            primary_key: None,
            entity: None,
            priority,
        };
        let event = ConnectionEvent::StreamsSelected { streams: vec![selection] };
        self.push(stream.connection.0, OpenedEvents::Connection(vec![event]))
    }

    pub(crate) fn merge(&mut self, entity: &str, left: Uuid, right: Uuid) -> u64 {
        let event = IdentityEvent::RecordsMerged { entity: entity.to_owned(), left, right };
        self.push(Uuid::nil(), OpenedEvents::Identity(vec![event]))
    }

    pub(crate) fn unmerge(&mut self, entity: &str, left: Uuid, right: Uuid) -> u64 {
        let event = IdentityEvent::RecordsUnmerged { entity: entity.to_owned(), left, right };
        self.push(Uuid::nil(), OpenedEvents::Identity(vec![event]))
    }

    /// Streams' connections by trust; fields that go by it.
    pub(crate) fn rules(&mut self, entity: &str, rank: &[&Stream], fields: &[&str]) -> u64 {
        let rules = ViewRules {
            source_rank: rank.iter().map(|stream| stream.connection).collect(),
            fields: fields.iter().map(|name| ((*name).to_owned(), FieldRule::SourceRank)).collect(),
        };
        let event = UnifiedViewEvent::UnifiedViewRevised { entity: entity.to_owned(), version: 1, rules };
        self.push(Uuid::nil(), OpenedEvents::UnifiedView(vec![event]))
    }

    pub(crate) fn ontology(&mut self, ontology: Ontology) -> u64 {
        self.push(TENANT.0, OpenedEvents::Ontology(vec![OntologyEvent::OntologyRevised { ontology }]))
    }
}

fn split(rows: &[&str]) -> Vec<Vec<Option<String>>> {
    rows.iter()
        .map(|row| row.split(',').map(|cell| (cell != "-").then(|| cell.to_owned())).collect())
        .collect()
}

/// A file with all commits applied, cut into the given transactions.
pub(crate) struct Views {
    dcl: Arc<Dcl>,
    pub instance: Arc<Instance>,
    connection: duckdb::Connection,
    applied: usize,
}

impl Views {
    pub(crate) fn new(dir: &Path) -> Self {
        Self::with(dir, DclOptions::default())
    }

    pub(crate) fn with(dir: &Path, options: DclOptions) -> Self {
        let dcl = Arc::new(Dcl::open(dir, options).unwrap());
        let instance = dcl.live(TENANT).unwrap();
        let connection = instance.reader().unwrap();
        Self { dcl, instance, connection, applied: 0 }
    }

    pub(crate) fn reads(&self) -> DclReads {
        DclReads::new(Arc::clone(&self.dcl))
    }

    /// How many commits are in.
    pub(crate) fn applied(&self) -> usize {
        self.applied
    }

    /// Applies what the log has more, in one transaction.
    pub(crate) fn follow(&mut self, log: &Log) -> &mut Self {
        let commits = &log.commits[self.applied..];
        self.instance.writer().apply(commits).unwrap();
        self.applied = log.commits.len();
        self
    }

    /// Applies the next `count` commits.
    pub(crate) fn step(&mut self, log: &Log, count: usize) {
        let end = (self.applied + count).min(log.commits.len());
        self.instance.writer().apply(&log.commits[self.applied..end]).unwrap();
        self.applied = end;
    }

    /// The next `count` commits, the last of which fails: goes on from what the checkpoint then says.
    pub(crate) fn stumble(&mut self, log: &Log, count: usize) {
        let end = (self.applied + count).min(log.commits.len());
        let fails = || ProjectionError::Payload("as the test wants it".to_owned());
        let commits = log.commits[self.applied..end - 1].iter().cloned().map(Ok);
        let mut writer = self.instance.writer();
        assert!(writer.apply_each(commits.chain([Err(fails())])).is_err());
        let (checkpoint, _) = writer.checkpoint().unwrap();
        self.applied = log.commits.partition_point(|commit| commit.position.sequence <= checkpoint);
    }

    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        let mut statement = self.connection.prepare(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
        let mut rows = statement.query([]).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            all.push(row.get::<_, Option<String>>(0).unwrap().unwrap_or_default());
        }
        all
    }

    /// Unified rows now: the fields joined by `|`, null empty; in order.
    pub(crate) fn rows(&self, entity: &str, fields: &[&str]) -> Vec<String> {
        self.rows_at(entity, fields, u64::MAX >> 1)
    }

    /// Unified rows as of a position.
    pub(crate) fn rows_at(&self, entity: &str, fields: &[&str], at: u64) -> Vec<String> {
        if self
            .query("SELECT table_name FROM duckdb_tables()")
            .iter()
            .all(|name| *name != format!("uni_{entity}"))
        {
            return vec![];
        }
        let fields: Vec<String> = fields
            .iter()
            .map(|name| format!("coalesce(CAST({} AS VARCHAR), '')", value_column(name)))
            .collect();
        let fields = fields.join(" || '|' || ");
        let version = |current: String, history: String, solo: &str| {
            format!(
                "SELECT {fields} AS v FROM {current} WHERE \"from\" <= {at}{solo} \
                 UNION ALL SELECT {fields} FROM {history} WHERE \"from\" <= {at} AND \"to\" > {at}{solo}"
            )
        };
        self.query(&format!(
            "SELECT v FROM ({} UNION ALL {}) ORDER BY v",
            version(tables::records(entity), tables::records_history(entity), " AND solo"),
            version(tables::unified(entity), tables::unified_history(entity), ""),
        ))
    }

    /// Ids of the unified rows now.
    pub(crate) fn ids(&self, entity: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT DISTINCT CAST(uid AS VARCHAR) FROM {} ORDER BY 1",
            tables::records(entity)
        ))
    }

    /// What waits in quarantine: key, field, value, code.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.query(
            "SELECT concat_ws('|', coalesce(target, ''), coalesce(value, ''), code) FROM quarantine WHERE \"to\" IS NULL ORDER BY 1",
        )
    }

    pub(crate) fn versions(&self, entity: &str) -> Vec<String> {
        self.query(&format!(
            "SELECT source_id || '|' || \"from\" || '|' || coalesce(CAST(\"to\" AS VARCHAR), '') FROM (\
             SELECT source_id, \"from\", NULL AS \"to\" FROM {} UNION ALL SELECT source_id, \"from\", \"to\" FROM {}) ORDER BY source_id, \"from\"",
            tables::records(entity),
            tables::records_history(entity)
        ))
    }

    /// Every table, every row, in order.
    pub(crate) fn dump(&self) -> BTreeMap<String, Vec<String>> {
        self.query("SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1")
            .into_iter()
            .map(|table| {
                let name = tables::ident(&table);
                let rows = self.query(&format!("SELECT CAST(t AS VARCHAR) FROM {name} t ORDER BY 1"));
                (table, rows)
            })
            .collect()
    }
}

pub(crate) fn entity_of(ontology: &Ontology, name: &str) -> Entity {
    ontology.entity(name).unwrap().clone()
}
