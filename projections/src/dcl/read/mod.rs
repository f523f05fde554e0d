//! Reads over one tenant's unified views. Each runs on its own DuckDB connection, off the async
//! threads, so that readers never block the writer.

mod clusters;
pub(crate) mod copy;
mod dry_run;
mod export;
mod overview;
mod query;
mod rows;
mod view;

pub use dry_run::{DryRun, DryRunCells, DryRunExample, DryRunField, DryRunKind, DryRunQuery, DryRunRows};

use super::Dcl;
use crate::error::ProjectionError;
use autonomos_domain::ids::TenantId;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;
use view::Reader;

type Result<T> = std::result::Result<T, ProjectionError>;

/// How often a read whose time is over is told again to stop.
const INTERRUPT_AGAIN: Duration = Duration::from_millis(20);

/// The queries over the unified views. Cheap to clone.
#[derive(Clone)]
pub struct DclReads {
    dcl: Arc<Dcl>,
}

impl DclReads {
    pub const fn new(dcl: Arc<Dcl>) -> Self {
        Self { dcl }
    }
}

/// A moment of the view's past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsOf {
    /// After the commit with this log sequence.
    Sequence(u64),
    /// By the running maximum of the commits' times.
    Time(DateTime<Utc>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compare {
    Equal,
    NotEqual,
    Less,
    AtMost,
    More,
    AtLeast,
    /// Case-insensitive substring; text fields only.
    Contains,
    /// The value is `true` or `false`.
    IsNull,
}

impl Compare {
    /// `eq ne lt lte gt gte contains is_null`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "eq" => Self::Equal,
            "ne" => Self::NotEqual,
            "lt" => Self::Less,
            "lte" => Self::AtMost,
            "gt" => Self::More,
            "gte" => Self::AtLeast,
            "contains" => Self::Contains,
            "is_null" => Self::IsNull,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone)]
pub struct RowFilter {
    pub field: String,
    pub compare: Compare,
    pub value: String,
}

#[derive(Debug, Clone)]
pub struct Sort {
    pub field: String,
    pub descending: bool,
}

/// Which rows of an entity, and in what order: by `sort`, ties and default by id.
#[derive(Debug, Clone, Default)]
pub struct RowsQuery {
    pub filters: Vec<RowFilter>,
    pub sort: Vec<Sort>,
    /// Case-insensitive substring over all text fields.
    pub q: Option<String>,
    /// 1 to 1000; 0: 100.
    pub limit: usize,
    pub cursor: Option<String>,
    pub as_of: Option<AsOf>,
    /// Count all matching rows too.
    pub count: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct RowsPage {
    /// `{id, <fields>, _sources, _updated_at, _held, _extra}`.
    pub data: Vec<Value>,
    pub next_cursor: Option<String>,
    pub total: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct EntitySummary {
    pub entity: String,
    pub plural: String,
    /// Unified rows now.
    pub rows: u64,
    /// Source records now.
    pub records: u64,
    /// Unified rows with records of more than one source.
    pub merged: u64,
    pub held: u64,
    pub quarantined: u64,
    pub updated_at: Option<DateTime<Utc>>,
}

/// Where one record of a unified row comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SourceRef {
    pub connection_id: Uuid,
    pub stream: String,
    pub source_id: String,
}

/// Where one field's value comes from.
#[derive(Debug, Clone, Serialize)]
pub struct FieldLineage {
    pub field: String,
    pub value: Value,
    pub connection_id: Uuid,
    pub stream: String,
    pub source_id: String,
    pub record_id: Uuid,
    /// Log sequence of the batch; the gateway turns it into an opaque token.
    #[serde(skip)]
    pub sequence: u64,
    /// Row within the batch, from 0.
    pub row: u32,
    pub schema_version: u32,
    pub mapping_version: u32,
    pub source_columns: Vec<String>,
    pub transform: Option<Value>,
    /// `only_source`, `latest`, `earliest` (of a creation time), `priority` or `tie_break`.
    pub rule: &'static str,
    /// When the field last changed.
    pub changed_at: Option<DateTime<Utc>>,
    pub held: bool,
    /// What the other records of the row have for it.
    pub others: Vec<OtherValue>,
}

#[derive(Debug, Clone, Serialize)]
pub struct OtherValue {
    pub connection_id: Uuid,
    pub stream: String,
    pub source_id: String,
    pub value: Value,
    pub changed_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct Lineage {
    pub id: Uuid,
    pub entity: String,
    pub fields: Vec<FieldLineage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    Csv,
    Ndjson,
    Parquet,
    Arrow,
}

impl ExportFormat {
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "csv" => Self::Csv,
            "ndjson" => Self::Ndjson,
            "parquet" => Self::Parquet,
            "arrow" => Self::Arrow,
            _ => return None,
        })
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8",
            Self::Ndjson => "application/x-ndjson",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

pub type ByteStream = BoxStream<'static, Result<Bytes>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A row (or a new version of it) begins.
    Opened,
    /// A row ends and no new version follows.
    Closed,
}

/// One line of an entity's change feed.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    #[serde(skip)]
    pub sequence: u64,
    /// Order within the commit.
    #[serde(skip)]
    pub index: u32,
    pub kind: ChangeKind,
    pub id: Uuid,
    /// The row as it became; none when it was closed.
    pub row: Option<Value>,
}

#[derive(Debug, Clone, Serialize)]
pub struct ChangesPage {
    pub data: Vec<Change>,
    /// Resume after this (sequence, index).
    #[serde(skip)]
    pub next: (u64, u32),
    pub more: bool,
}

#[derive(Debug, Clone, Serialize)]
pub struct MatchMember {
    pub record_id: Uuid,
    #[serde(flatten)]
    pub source: SourceRef,
    pub fields: Value,
}

/// A unified row made of two or more source records, with the reasons.
#[derive(Debug, Clone, Serialize)]
pub struct MatchRow {
    /// The unified id.
    pub id: Uuid,
    pub entity: String,
    pub members: Vec<MatchMember>,
    pub links: Vec<MatchLink>,
}

#[derive(Debug, Clone, Serialize)]
pub struct MatchLink {
    pub left: Uuid,
    pub right: Uuid,
    /// Match rules that hold between the two, or `human`.
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct GraphNode {
    pub id: String,
    /// `source`, `stream` or `entity`.
    pub kind: &'static str,
    pub label: String,
    pub rows: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
pub struct GraphEdge {
    pub from: String,
    pub to: String,
    pub kind: &'static str,
    pub fields: Vec<String>,
    pub confidence: Option<f64>,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Graph {
    pub nodes: Vec<GraphNode>,
    pub edges: Vec<GraphEdge>,
}

#[derive(Debug, Clone, Default)]
pub struct QuarantineFilter {
    pub entity: Option<String>,
    pub connection_id: Option<Uuid>,
    pub stream: Option<String>,
    pub code: Option<String>,
    pub limit: usize,
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub struct QuarantineRow {
    pub entity: Option<String>,
    pub connection_id: Uuid,
    pub stream: String,
    pub record_id: Option<Uuid>,
    #[serde(skip)]
    pub sequence: u64,
    pub row: u32,
    pub field: Option<String>,
    pub source_column: Option<String>,
    pub value: Option<String>,
    pub code: String,
    pub reason: String,
    pub mapping_version: Option<u32>,
    pub since: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Serialize)]
pub struct QuarantinePage {
    pub data: Vec<QuarantineRow>,
    pub next_cursor: Option<String>,
    pub total: u64,
}

#[derive(Debug, Clone, Copy)]
pub struct QueryLimits {
    pub timeout: Duration,
    pub rows: usize,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(5), rows: 10_000 }
    }
}

/// What a tenant's own SQL answered.
pub struct QueryAnswer {
    pub schema: arrow_schema::SchemaRef,
    pub batches: Vec<arrow::record_batch::RecordBatch>,
    /// There were more rows than the cap.
    pub truncated: bool,
}

/// A feed's batches between two log sequences, inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchRange {
    pub feed_id: Uuid,
    pub first: u64,
    pub last: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct BatchCounts {
    /// The stream feeds an entity; else its rows stay raw.
    pub mapped: bool,
    /// Rows with a cell in quarantine, then or now.
    pub rows_quarantined: u64,
    /// Rows that wait whole: they are not in the view.
    pub rows_held: u64,
}

impl BatchCounts {
    /// How many of the rows read are in the view.
    pub const fn rows_canonical(&self, rows_read: u64) -> u64 {
        if self.mapped { rows_read.saturating_sub(self.rows_held) } else { 0 }
    }
}

impl DclReads {
    /// Runs a read on a connection of its own, off the async threads; none: the tenant has no views yet.
    async fn read<T: Send + 'static>(
        &self,
        tenant: TenantId,
        read: impl FnOnce(Reader) -> Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        let dcl = Arc::clone(&self.dcl);
        let run = move || {
            let Some(instance) = dcl.existing(tenant)? else { return Ok(None) };
            read(Reader::begin(instance.reader()?)?).map(Some)
        };
        tokio::task::spawn_blocking(run).await.map_err(|error| ProjectionError::Views(error.to_string()))?
    }

    /// A tenant without views has the default ontology: names are checked all the same.
    fn check_entity(entity: &str) -> Result<()> {
        view::entity_of(&autonomos_domain::ontology::default_ontology(), entity).map(drop)
    }

    pub async fn entities(&self, tenant: TenantId) -> Result<Vec<EntitySummary>> {
        let found = self.read(tenant, |reader| overview::entities(&reader)).await?;
        Ok(found.unwrap_or_else(|| {
            let ontology = autonomos_domain::ontology::default_ontology();
            ontology.entities.into_iter().map(EntitySummary::empty).collect()
        }))
    }

    pub async fn rows(&self, tenant: TenantId, entity: &str, query: &RowsQuery) -> Result<RowsPage> {
        let (name, query) = (entity.to_owned(), query.clone());
        match self.read(tenant, move |reader| rows::list(&reader, &name, &query)).await? {
            Some(page) => Ok(page),
            None => {
                Self::check_entity(entity)?;
                Ok(RowsPage { data: Vec::new(), next_cursor: None, total: None })
            }
        }
    }

    pub async fn row(
        &self,
        tenant: TenantId,
        entity: &str,
        id: Uuid,
        as_of: Option<AsOf>,
    ) -> Result<Option<Value>> {
        let name = entity.to_owned();
        Ok(self.read(tenant, move |reader| rows::one(&reader, &name, id, as_of)).await?.flatten())
    }

    pub async fn lineage(&self, tenant: TenantId, entity: &str, id: Uuid) -> Result<Option<Lineage>> {
        let name = entity.to_owned();
        Ok(self.read(tenant, move |reader| rows::lineage(&reader, &name, id)).await?.flatten())
    }

    /// The whole view in one format, streamed; by id unless `sort` says otherwise.
    pub async fn export(
        &self,
        tenant: TenantId,
        entity: &str,
        format: ExportFormat,
        sort: &[Sort],
        as_of: Option<AsOf>,
    ) -> Result<ByteStream> {
        let (name, sort) = (entity.to_owned(), sort.to_vec());
        let dcl = Arc::clone(&self.dcl);
        let start = move || {
            let Some(instance) = dcl.existing(tenant)? else { return Ok::<_, ProjectionError>(None) };
            let reader = Reader::begin(instance.reader()?)?;
            let view = reader.view(&name, reader.resolve(as_of)?)?;
            let plan = export::Plan::new(&view, format, &sort)?;
            Ok(Some((instance, reader, plan)))
        };
        let started = tokio::task::spawn_blocking(start)
            .await
            .map_err(|error| ProjectionError::Views(error.to_string()))??;
        match started {
            Some((instance, reader, plan)) => Ok(export::stream(instance, reader, plan)),
            None => {
                Self::check_entity(entity)?;
                Ok(Box::pin(futures::stream::empty()))
            }
        }
    }

    /// Versions opened and closed after (sequence, index), in order. All of the log's start: `(0, 0)`.
    pub async fn changes(
        &self,
        tenant: TenantId,
        entity: &str,
        after: (u64, u32),
        limit: usize,
    ) -> Result<ChangesPage> {
        let name = entity.to_owned();
        let found = self.read(tenant, move |reader| clusters::changes(&reader, &name, after, limit)).await?;
        match found {
            Some(page) => Ok(page),
            None => {
                Self::check_entity(entity)?;
                Ok(ChangesPage { data: Vec::new(), next: after, more: false })
            }
        }
    }

    /// Unified rows of two or more records, with the next page's cursor.
    pub async fn matches(
        &self,
        tenant: TenantId,
        entity: Option<&str>,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<(Vec<MatchRow>, Option<String>)> {
        let (entity, cursor) = (entity.map(ToOwned::to_owned), cursor.map(ToOwned::to_owned));
        let read =
            move |reader: Reader| clusters::matches(&reader, entity.as_deref(), limit, cursor.as_deref());
        Ok(self.read(tenant, read).await?.unwrap_or_default())
    }

    pub async fn match_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<MatchRow>> {
        Ok(self.read(tenant, move |reader| clusters::match_get(&reader, id)).await?.flatten())
    }

    pub async fn graph(&self, tenant: TenantId) -> Result<Graph> {
        Ok(self.read(tenant, |reader| overview::graph(&reader)).await?.unwrap_or_default())
    }

    pub async fn quarantine(&self, tenant: TenantId, filter: &QuarantineFilter) -> Result<QuarantinePage> {
        let filter = filter.clone();
        let found = self.read(tenant, move |reader| overview::quarantine(&reader, &filter)).await?;
        Ok(found.unwrap_or(QuarantinePage { data: Vec::new(), next_cursor: None, total: 0 }))
    }

    /// Trouble in the batches of each range, in the order of the ranges; none where the views do not
    /// know the feed.
    pub async fn batch_counts(
        &self,
        tenant: TenantId,
        ranges: Vec<BatchRange>,
    ) -> Result<Vec<Option<BatchCounts>>> {
        let asked = ranges.len();
        let counts = self.read(tenant, move |reader| overview::batch_counts(&reader, &ranges)).await?;
        Ok(counts.unwrap_or_else(|| vec![None; asked]))
    }

    /// Runs one SELECT over the tenant's views, named by their plural (`accounts`) or singular names.
    pub async fn query(&self, tenant: TenantId, sql: &str, limits: QueryLimits) -> Result<QueryAnswer> {
        let sql = sql.to_owned();
        let work = move |reader: Reader| query::run(&reader, &sql, limits);
        let answer = self.read_within(tenant, limits.timeout, work).await?;
        let answer = answer.ok_or(ProjectionError::QueryTimeout { seconds: limits.timeout.as_secs() })?;
        answer.ok_or_else(|| {
            ProjectionError::QueryFailed("there are no views yet: sync a connection first".to_owned())
        })
    }
}

impl DclReads {
    /// The same as [`Self::read`], stopped when its time is over: none then.
    async fn read_within<T: Send + 'static>(
        &self,
        tenant: TenantId,
        timeout: Duration,
        read: impl FnOnce(Reader) -> Result<T> + Send + 'static,
    ) -> Result<Option<Option<T>>> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let work = self.read(tenant, move |reader| {
            // The one who waits may be gone already.
            let _ = sender.send(reader.connection.interrupt_handle());
            read(reader)
        });
        tokio::pin!(work);
        tokio::select! {
            answer = &mut work => return answer.map(Some),
            () = tokio::time::sleep(timeout) => {}
        }
        let handle = receiver.await.ok();
        loop {
            // An interrupt stops the statement under way; there may be more of them.
            if let Some(handle) = &handle {
                handle.interrupt();
            }
            tokio::select! {
                // It may have ended all the same.
                answer = &mut work => return Ok(answer.ok()),
                () = tokio::time::sleep(INTERRUPT_AGAIN) => {}
            }
        }
    }
}

impl EntitySummary {
    fn empty(entity: autonomos_domain::ontology::Entity) -> Self {
        Self {
            entity: entity.name,
            plural: entity.plural,
            rows: 0,
            records: 0,
            merged: 0,
            held: 0,
            quarantined: 0,
            updated_at: None,
        }
    }
}
