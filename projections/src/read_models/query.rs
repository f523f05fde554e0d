//! Queries over the read models. Every one binds the tenant first.

use super::{
    activity,
    documents::{Model, decode},
    models::{ConnectionModel, MappingModel, StreamModel, SyncModel, word},
    rows::{
        ActivityRow, ApiKeyRow, ConnectionRow, DriftRow, LlmUsageRow, MappingRow, MappingVersionRow,
        OntologyRow, Overview, Page, PageRequest, RepairRow, ScheduleRow, SchemaVersionRow, SealedConfig,
        StreamRow, SyncRow, SyncStatus, TaskLogRow, TaskRow, TenantRow, UploadRow, UserRow,
    },
};
use crate::{
    error::ProjectionError,
    runtime::{
        Live,
        sql::{Row, Statement, chunks},
    },
};
use autonomos_domain::{
    aggregates::{mapping::RepairStatus, stream_schema::DriftStatus, task::TaskStatus},
    drift::{DriftKind, Severity},
    envelope::{Actor, Position},
    ids::{ConnectionId, FeedId, TenantId},
};
use autonomos_log::seal::{KeyRing, SealError, seal_context};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

type Result<T> = std::result::Result<T, ProjectionError>;

/// The read models of the live generation. Cheap to clone; follows a rebuild's swap by itself.
#[derive(Clone)]
pub struct ReadModels {
    live: Live,
}

/// Tasks that wait for a time to come are no work that is under way.
const WAIT_FOR_A_TIME: &str = "'run_schedule', 'expire_repair'";
const PAGE_DEFAULT: usize = 100;
const PAGE_MOST: usize = 1000;

#[derive(Debug, Clone, Default)]
pub struct SyncFilter {
    pub connection_id: Option<Uuid>,
    pub status: Option<SyncStatus>,
}

#[derive(Debug, Clone, Default)]
pub struct DriftFilter {
    pub connection_id: Option<Uuid>,
    pub stream: Option<String>,
    pub kind: Option<DriftKind>,
    pub severity: Option<Severity>,
    pub status: Option<DriftStatus>,
}

#[derive(Debug, Clone, Default)]
pub struct RepairFilter {
    pub connection_id: Option<Uuid>,
    pub stream: Option<String>,
    pub status: Option<RepairStatus>,
}

#[derive(Debug, Clone, Default)]
pub struct MappingFilter {
    pub connection_id: Option<Uuid>,
    pub stream: Option<String>,
    pub entity: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct TaskFilter {
    pub status: Option<TaskStatus>,
    pub action: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct ActivityFilter {
    pub aggregate_type: Option<String>,
    pub aggregate_id: Option<Uuid>,
    /// Event types; empty: all.
    pub types: Vec<String>,
    /// The id of a user or key, or a system actor's name.
    pub actor: Option<String>,
    pub correlation_id: Option<Uuid>,
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    /// Oldest first; default newest first.
    pub ascending: bool,
}

impl SealedConfig {
    /// The configuration in clear, secrets and all: mask it before it goes out.
    pub fn open(
        &self,
        ring: &dyn KeyRing,
        tenant: TenantId,
        connection: Uuid,
    ) -> std::result::Result<Value, SealError> {
        let context = seal_context(connection, self.version, 0);
        let clear = ring.open(tenant, self.key_id, &context, &self.payload)?;
        let payload: Value =
            serde_json::from_slice(&clear).map_err(|_| SealError::Altered { tenant, key_id: self.key_id })?;
        // `{"ConnectionCreated": {"config": …}}`
        let content = payload.as_object().and_then(|tagged| tagged.values().next());
        Ok(content.and_then(|content| content.get("config")).cloned().unwrap_or(Value::Null))
    }
}

type Filters = Vec<(&'static str, Option<String>)>;

impl ReadModels {
    pub const fn new(live: Live) -> Self {
        Self { live }
    }

    async fn one<M: Model>(&self, tenant: TenantId, id: impl ToString) -> Result<Option<M>> {
        let sql = format!("SELECT document FROM {} WHERE tenant = $1 AND id = $2", M::TABLE);
        let query = Statement::new(sql).bind(tenant.to_string()).bind(id.to_string());
        let rows = self.live.fetch(tenant, query).await?;
        rows.first().map(|row| decode(row, 0)).transpose()
    }

    /// A page, in the table's order; filters that are none count for nothing.
    async fn page<M: Model>(
        &self,
        tenant: TenantId,
        filters: Filters,
        request: &PageRequest,
    ) -> Result<Page<M>> {
        let limit = limit_of(request);
        let (order, past) = if M::NEWEST_FIRST { ("DESC", "<") } else { ("ASC", ">") };
        let mut conditions = vec!["tenant = $1".to_owned()];
        let mut values = Vec::new();
        for (column, value) in filters {
            if let Some(value) = value {
                values.push(value);
                conditions.push(format!("{column} = ${}", values.len() + 1));
            }
        }
        let cursor = request.cursor.as_deref().map(cursor_decode).transpose()?;
        if cursor.is_some() {
            let (first, second) = (values.len() + 2, values.len() + 3);
            conditions
                .push(format!("(created {past} ${first} OR (created = ${first} AND id {past} ${second}))"));
        }
        let sql = format!(
            "SELECT id, created, document FROM {} WHERE {} ORDER BY created {order}, id {order} LIMIT {}",
            M::TABLE,
            conditions.join(" AND "),
            limit + 1
        );
        let mut query = Statement::new(sql).bind(tenant.to_string()).bind_all(values);
        if let Some((created, id)) = cursor {
            query = query.bind(created).bind(id);
        }
        let rows = self.live.fetch(tenant, query).await?;
        let next_cursor = match rows.get(limit - 1) {
            Some(last) if rows.len() > limit => {
                Some(cursor_encode(last.get::<i64>(1)?, last.get::<&str>(0)?))
            }
            _ => None,
        };
        let data = rows.iter().take(limit).map(|row| decode(row, 2)).collect::<Result<_>>()?;
        Ok(Page { data, next_cursor })
    }

    async fn all<M: Model>(&self, tenant: TenantId, filters: Filters) -> Result<Vec<M>> {
        let mut request = PageRequest { limit: PAGE_MOST, cursor: None };
        let mut all = Vec::new();
        loop {
            let page = self.page(tenant, filters.clone(), &request).await?;
            all.extend(page.data);
            match page.next_cursor {
                None => return Ok(all),
                cursor => request.cursor = cursor,
            }
        }
    }

    pub async fn tenant_get(&self, tenant: TenantId) -> Result<Option<TenantRow>> {
        self.one(tenant, tenant).await
    }

    /// Counts for a tenant's first page.
    pub async fn overview(&self, tenant: TenantId) -> Result<Overview> {
        let connections = self.all::<ConnectionModel>(tenant, vec![]).await?;
        let streams = self.all::<StreamModel>(tenant, vec![]).await?;
        let repairs = self.counts(tenant, "repairs WHERE").await?;
        let tasks =
            self.counts(tenant, &format!("tasks WHERE action NOT IN ({WAIT_FOR_A_TIME}) AND")).await?;
        let syncs = self.counts(tenant, "syncs WHERE").await?;
        let drifts = self.counts(tenant, "drifts WHERE").await?;
        let count = |of: &BTreeMap<String, u64>, names: &[&str]| {
            names.iter().filter_map(|name| of.get(*name)).sum::<u64>()
        };
        let open: Vec<_> = streams.iter().filter(|stream| !stream.closed).collect();
        Ok(Overview {
            connections: connections.len() as u64,
            connections_failing: connections
                .iter()
                .filter(|model| ["failing", "paused"].contains(&word(&model.row.status).as_str()))
                .count() as u64,
            streams: open.len() as u64,
            rows: open.iter().map(|stream| stream.rows).sum(),
            bytes: open.iter().map(|stream| stream.bytes).sum(),
            drifts_open: count(&drifts, &["open"]),
            repairs_pending: count(&repairs, &["pending_review"]),
            repairs_held: count(&repairs, &["held"]),
            repairs_auto_applied: count(&repairs, &["auto_applied"]),
            repairs_approved: count(&repairs, &["approved"]),
            repairs_rejected: count(&repairs, &["rejected"]),
            syncs_running: count(&syncs, &["queued", "running"]),
            tasks_active: count(&tasks, &["queued", "running", "retrying"]),
        })
    }

    /// Rows of a table by status.
    async fn counts(&self, tenant: TenantId, from: &str) -> Result<BTreeMap<String, u64>> {
        let sql = format!("SELECT status, COUNT(*) FROM {from} tenant = $1 GROUP BY status");
        let query = Statement::new(sql).bind(tenant.to_string());
        let rows = self.live.fetch(tenant, query).await?;
        let mut counts = BTreeMap::new();
        for row in rows {
            counts.insert(row.get(0)?, row.get::<i64>(1)? as u64);
        }
        Ok(counts)
    }

    /// What language models were asked and cost since a day, newest first.
    pub async fn llm_usage_list(&self, tenant: TenantId, since: NaiveDate) -> Result<Vec<LlmUsageRow>> {
        let mut rows = self.all::<LlmUsageRow>(tenant, vec![]).await?;
        rows.retain(|row| row.day >= since);
        Ok(rows)
    }

    pub async fn user_list(&self, tenant: TenantId, page: &PageRequest) -> Result<Page<UserRow>> {
        self.page(tenant, vec![], page).await
    }

    pub async fn user_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<UserRow>> {
        self.one(tenant, id).await
    }

    pub async fn api_key_list(&self, tenant: TenantId, page: &PageRequest) -> Result<Page<ApiKeyRow>> {
        self.page(tenant, vec![], page).await
    }

    pub async fn api_key_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<ApiKeyRow>> {
        self.one(tenant, id).await
    }

    /// The ontology, if the tenant revised the default one.
    pub async fn ontology_get(&self, tenant: TenantId) -> Result<Option<OntologyRow>> {
        self.one(tenant, tenant).await
    }

    pub async fn connection_list(&self, tenant: TenantId, page: &PageRequest) -> Result<Page<ConnectionRow>> {
        let page = self.page::<ConnectionModel>(tenant, vec![], page).await?;
        let data = page.data.into_iter().map(connection_row).collect::<Result<_>>()?;
        Ok(Page { data, next_cursor: page.next_cursor })
    }

    pub async fn connection_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<ConnectionRow>> {
        self.one::<ConnectionModel>(tenant, id).await?.map(connection_row).transpose()
    }

    /// Streams of one connection, or of all: found, selected or read.
    pub async fn stream_list(&self, tenant: TenantId, connection: Option<Uuid>) -> Result<Vec<StreamRow>> {
        let connections = match connection {
            Some(id) => self.one::<ConnectionModel>(tenant, id).await?.into_iter().collect(),
            None => self.all::<ConnectionModel>(tenant, vec![]).await?,
        };
        let filter = vec![("connection_id", connection.map(|id| id.to_string()))];
        let mut read: BTreeMap<(Uuid, String), StreamModel> = self
            .all::<StreamModel>(tenant, filter)
            .await?
            .into_iter()
            .map(|model| ((model.connection_id, model.stream.clone()), model))
            .collect();
        let mut rows = Vec::new();
        for model in connections {
            let id = model.row.id;
            let mut names: Vec<String> = model.discovered.iter().map(|stream| stream.name.clone()).collect();
            names.extend(model.selected.iter().map(|stream| stream.name.clone()));
            names.extend(read.keys().filter(|(of, _)| *of == id).map(|(_, name)| name.clone()));
            names.sort();
            names.dedup();
            for name in names {
                let stream = read.remove(&(id, name.clone()));
                let discovered = model.discovered.iter().find(|stream| stream.name == name).cloned();
                let selection = model.selected.iter().find(|stream| stream.name == name).cloned();
                rows.push(StreamRow {
                    connection_id: id,
                    feed_id: FeedId::of(ConnectionId(id), &name).0,
                    name,
                    discovered,
                    selection,
                    entity: stream.as_ref().and_then(|stream| stream.entity.clone()),
                    schema_version: stream.as_ref().and_then(|stream| stream.schema_version),
                    mapping_version: stream.as_ref().and_then(|stream| stream.mapping_version),
                    batches: stream.as_ref().map_or(0, |stream| stream.batches),
                    rows: stream.as_ref().map_or(0, |stream| stream.rows),
                    bytes: stream.as_ref().map_or(0, |stream| stream.bytes),
                    last_batch_at: stream.as_ref().and_then(|stream| stream.last_batch_at),
                    closed: stream.as_ref().is_some_and(|stream| stream.closed),
                    cursor: stream.and_then(|stream| stream.cursor),
                });
            }
        }
        Ok(rows)
    }

    pub async fn sync_list(
        &self,
        tenant: TenantId,
        filter: &SyncFilter,
        page: &PageRequest,
    ) -> Result<Page<SyncRow>> {
        let filters = vec![
            ("connection_id", filter.connection_id.map(|id| id.to_string())),
            ("status", filter.status.as_ref().map(word)),
        ];
        let page = self.page::<SyncModel>(tenant, filters, page).await?;
        Ok(Page { data: page.data.into_iter().map(sync_row).collect(), next_cursor: page.next_cursor })
    }

    pub async fn sync_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<SyncRow>> {
        Ok(self.one::<SyncModel>(tenant, id).await?.map(sync_row))
    }

    /// Schema versions, oldest first.
    pub async fn schema_list(
        &self,
        tenant: TenantId,
        connection: Uuid,
        stream: Option<&str>,
    ) -> Result<Vec<SchemaVersionRow>> {
        let filters =
            vec![("connection_id", Some(connection.to_string())), ("stream", stream.map(ToOwned::to_owned))];
        self.all(tenant, filters).await
    }

    pub async fn drift_list(
        &self,
        tenant: TenantId,
        filter: &DriftFilter,
        page: &PageRequest,
    ) -> Result<Page<DriftRow>> {
        let filters = vec![
            ("connection_id", filter.connection_id.map(|id| id.to_string())),
            ("stream", filter.stream.clone()),
            ("kind", filter.kind.as_ref().map(word)),
            ("severity", filter.severity.as_ref().map(word)),
            ("status", filter.status.as_ref().map(word)),
        ];
        self.page(tenant, filters, page).await
    }

    pub async fn drift_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<DriftRow>> {
        self.one(tenant, id).await
    }

    /// Those of `ids` that are there, by id: one query for many.
    pub async fn drifts_by_id(&self, tenant: TenantId, ids: &[Uuid]) -> Result<BTreeMap<Uuid, DriftRow>> {
        let mut found = BTreeMap::new();
        for some in chunks(ids) {
            let places: Vec<String> = (0..some.len()).map(|index| format!("${}", index + 2)).collect();
            let sql = format!(
                "SELECT document FROM {} WHERE tenant = $1 AND id IN ({})",
                DriftRow::TABLE,
                places.join(", ")
            );
            let query =
                Statement::new(sql).bind(tenant.to_string()).bind_all(some.iter().map(Uuid::to_string));
            for row in self.live.fetch(tenant, query).await? {
                let drift: DriftRow = decode(&row, 0)?;
                found.insert(drift.id, drift);
            }
        }
        Ok(found)
    }

    pub async fn mapping_list(&self, tenant: TenantId, filter: &MappingFilter) -> Result<Vec<MappingRow>> {
        let filters = vec![
            ("connection_id", filter.connection_id.map(|id| id.to_string())),
            ("stream", filter.stream.clone()),
            ("entity", filter.entity.clone()),
        ];
        Ok(self.all::<MappingModel>(tenant, filters).await?.into_iter().map(|model| model.row).collect())
    }

    pub async fn mapping_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<MappingRow>> {
        Ok(self.one::<MappingModel>(tenant, id).await?.map(|model| model.row))
    }

    /// All versions of a mapping, oldest first.
    pub async fn mapping_version_list(&self, tenant: TenantId, id: Uuid) -> Result<Vec<MappingVersionRow>> {
        self.all(tenant, vec![("mapping_id", Some(id.to_string()))]).await
    }

    pub async fn repair_list(
        &self,
        tenant: TenantId,
        filter: &RepairFilter,
        page: &PageRequest,
    ) -> Result<Page<RepairRow>> {
        let filters = vec![
            ("connection_id", filter.connection_id.map(|id| id.to_string())),
            ("stream", filter.stream.clone()),
            ("status", filter.status.as_ref().map(word)),
        ];
        self.page(tenant, filters, page).await
    }

    pub async fn repair_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<RepairRow>> {
        self.one(tenant, id).await
    }

    pub async fn task_list(
        &self,
        tenant: TenantId,
        filter: &TaskFilter,
        page: &PageRequest,
    ) -> Result<Page<TaskRow>> {
        let filters = vec![("status", filter.status.as_ref().map(word)), ("action", filter.action.clone())];
        self.page(tenant, filters, page).await
    }

    pub async fn task_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<TaskRow>> {
        self.one(tenant, id).await
    }

    /// Schedules, of one connection or of all.
    pub async fn schedule_list(
        &self,
        tenant: TenantId,
        connection: Option<Uuid>,
        page: &PageRequest,
    ) -> Result<Page<ScheduleRow>> {
        self.page(tenant, vec![("connection_id", connection.map(|id| id.to_string()))], page).await
    }

    pub async fn schedule_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<ScheduleRow>> {
        self.one(tenant, id).await
    }

    /// What happened to a task, oldest first, at most 1000 lines.
    pub async fn task_log(&self, tenant: TenantId, id: Uuid) -> Result<Vec<TaskLogRow>> {
        let filter = ActivityFilter {
            aggregate_type: Some("task".to_owned()),
            aggregate_id: Some(id),
            ascending: true,
            ..ActivityFilter::default()
        };
        let page =
            self.activity_list(tenant, &filter, &PageRequest { limit: PAGE_MOST, cursor: None }).await?;
        Ok(page
            .data
            .into_iter()
            .map(|row| TaskLogRow { at: row.recorded_at, event: row.event_type, detail: row.data })
            .collect())
    }

    pub async fn upload_list(&self, tenant: TenantId, page: &PageRequest) -> Result<Page<UploadRow>> {
        self.page(tenant, vec![], page).await
    }

    pub async fn upload_get(&self, tenant: TenantId, id: Uuid) -> Result<Option<UploadRow>> {
        self.one(tenant, id).await
    }

    /// The audit trail, newest first unless the filter says otherwise.
    pub async fn activity_list(
        &self,
        tenant: TenantId,
        filter: &ActivityFilter,
        request: &PageRequest,
    ) -> Result<Page<ActivityRow>> {
        let limit = limit_of(request);
        let (order, past) = if filter.ascending { ("ASC", ">") } else { ("DESC", "<") };
        let mut texts: Vec<String> = vec![tenant.to_string()];
        let mut conditions = vec!["tenant = $1".to_owned()];
        let equal = [
            ("aggregate_type", filter.aggregate_type.clone()),
            ("aggregate_id", filter.aggregate_id.map(|id| id.to_string())),
            ("actor", filter.actor.clone()),
            ("correlation_id", filter.correlation_id.map(|id| id.to_string())),
        ];
        for (column, value) in equal {
            if let Some(value) = value {
                texts.push(value);
                conditions.push(format!("{column} = ${}", texts.len()));
            }
        }
        if !filter.types.is_empty() {
            let mut places = Vec::new();
            for name in &filter.types {
                texts.push(name.clone());
                places.push(format!("${}", texts.len()));
            }
            conditions.push(format!("event_type IN ({})", places.join(", ")));
        }
        let mut numbers: Vec<i64> = Vec::new();
        for (compare, time) in [(">=", filter.from), ("<=", filter.to)] {
            if let Some(time) = time {
                numbers.push(time.timestamp_micros());
                conditions.push(format!("recorded_at {compare} ${}", texts.len() + numbers.len()));
            }
        }
        if let Some(cursor) = &request.cursor {
            let (sequence, index) = cursor_decode(cursor)?;
            numbers.push(sequence);
            numbers.push(index.parse().map_err(|_| ProjectionError::BadCursor)?);
            let (first, second) = (texts.len() + numbers.len() - 1, texts.len() + numbers.len());
            conditions.push(format!(
                "(sequence {past} ${first} OR (sequence = ${first} AND event_index {past} ${second}))"
            ));
        }
        let sql = format!(
            "SELECT {} FROM activity WHERE {} ORDER BY sequence {order}, event_index {order} LIMIT {}",
            activity::COLUMNS,
            conditions.join(" AND "),
            limit + 1
        );
        let query = Statement::new(sql).bind_all(texts).bind_all(numbers);
        let rows = self.live.fetch(tenant, query).await?;
        let data: Vec<ActivityRow> = rows.iter().take(limit).map(activity_row).collect::<Result<_>>()?;
        let next_cursor = data
            .last()
            .filter(|_| rows.len() > limit)
            .map(|last| cursor_encode(last.position.sequence as i64, &last.event_index.to_string()));
        Ok(Page { data, next_cursor })
    }
}

fn limit_of(request: &PageRequest) -> usize {
    if request.limit == 0 { PAGE_DEFAULT } else { request.limit.min(PAGE_MOST) }
}

fn cursor_encode(created: i64, id: &str) -> String {
    hex::encode(format!("{created}:{id}"))
}

fn cursor_decode(cursor: &str) -> Result<(i64, String)> {
    let text = hex::decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.ok_or(ProjectionError::BadCursor)?;
    let (created, id) = text.split_once(':').ok_or(ProjectionError::BadCursor)?;
    Ok((created.parse().map_err(|_| ProjectionError::BadCursor)?, id.to_owned()))
}

fn connection_row(model: ConnectionModel) -> Result<ConnectionRow> {
    let payload = hex::decode(&model.payload).map_err(|error| {
        ProjectionError::Store(format!("a connection's configuration is damaged: {error}"))
    })?;
    let config = SealedConfig { key_id: model.key_id, version: model.version, payload: Bytes::from(payload) };
    Ok(ConnectionRow { config, ..model.row })
}

fn sync_row(model: SyncModel) -> SyncRow {
    let SyncModel { mut row, sequences } = model;
    for stream in &mut row.streams {
        stream.sequences = sequences.get(&stream.name).copied();
    }
    row
}

fn activity_row(row: &Row) -> Result<ActivityRow> {
    let damaged = |what: &str| ProjectionError::Store(format!("a row of `activity` is damaged: {what}"));
    let id = |index: usize, what: &str| -> Result<Uuid> {
        Uuid::parse_str(row.get::<&str>(index)?).map_err(|_| damaged(what))
    };
    let actor: String = row.get(6)?;
    let actor = match row.get::<&str>(5)? {
        "user" => Actor::User(Uuid::parse_str(&actor).map_err(|_| damaged("actor"))?),
        "api_key" => Actor::ApiKey(Uuid::parse_str(&actor).map_err(|_| damaged("actor"))?),
        _ => Actor::System(actor),
    };
    Ok(ActivityRow {
        position: Position { cell: row.get::<i64>(3)? as u16, sequence: row.get::<i64>(1)? as u64 },
        event_index: row.get::<i64>(2)? as u32,
        recorded_at: DateTime::from_timestamp_micros(row.get(4)?).ok_or_else(|| damaged("recorded_at"))?,
        actor,
        aggregate_type: row.get(7)?,
        aggregate_id: id(8, "aggregate_id")?,
        version: row.get::<i64>(9)? as u64,
        event_type: row.get(10)?,
        command_id: id(11, "command_id")?,
        correlation_id: id(12, "correlation_id")?,
        causation_id: match row.get::<Option<&str>>(13)? {
            Some(text) => Some(Uuid::parse_str(text).map_err(|_| damaged("causation_id"))?),
            None => None,
        },
        summary: row.get(14)?,
        data: serde_json::from_str(row.get(15)?).map_err(|_| damaged("data"))?,
    })
}
