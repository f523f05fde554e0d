//! What the read models answer with: plain rows, named as the HTTP contract names them.

use autonomos_domain::{
    aggregates::{
        connection::ConnectionStatus,
        llm_account::LlmPurpose,
        mapping::{Binding, RepairStatus},
        schedule::{RunOutcome, ScheduleAction},
        stream_schema::DriftStatus,
        task::TaskStatus,
        tenant::{AutonomyMode, RepairPolicy},
        user::Role,
    },
    drift::{DriftKind, DriftSide, RepairChange, Severity},
    envelope::{Actor, Position},
    health::{ConnectionLimits, Health},
    mapping::{Evidence, MappingContent, MappingField, MappingOrigin},
    ontology::Ontology,
    schema::{DiscoveredStream, Field, StreamSelection},
};
use bytes::Bytes;
use chrono::{DateTime, NaiveDate, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// One page of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Page<T> {
    pub data: Vec<T>,
    /// Opaque; none: this was the last page.
    pub next_cursor: Option<String>,
}

/// How much of a list is asked for.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// 1 to 1000; 0: the default, 100.
    pub limit: usize,
    pub cursor: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TenantRow {
    pub id: Uuid,
    pub name: String,
    pub cell: u16,
    pub owner_id: Uuid,
    pub autonomy_mode: AutonomyMode,
    pub repair_policy: RepairPolicy,
    /// None: the installation's default.
    pub upload_quota_bytes: Option<u64>,
    pub uploaded_bytes: u64,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UserRow {
    pub id: Uuid,
    pub email: String,
    pub role: Role,
    pub created_at: DateTime<Utc>,
    pub last_login_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyRow {
    pub id: Uuid,
    pub name: String,
    pub prefix: String,
    pub role: Role,
    pub created_by: Uuid,
    pub created_at: DateTime<Utc>,
    pub expires_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
}

/// A connection's configuration as the log holds it: sealed, secrets and all. Open it with
/// [`SealedConfig::open`] and mask it by the connector's schema before it goes out.
#[derive(Debug, Clone, Default)]
pub struct SealedConfig {
    pub key_id: u64,
    /// The version of the event that set it: part of what is authenticated.
    pub version: u64,
    pub payload: Bytes,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionRow {
    pub id: Uuid,
    pub name: String,
    pub connector: String,
    #[serde(skip)]
    pub config: SealedConfig,
    pub status: ConnectionStatus,
    /// What the last test or failed sync said.
    pub message: Option<String>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub last_tested_at: Option<DateTime<Utc>>,
    pub last_synced_at: Option<DateTime<Utc>>,
    pub health: Health,
    pub limits: ConnectionLimits,
}

/// When a connection is synced by itself.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ScheduleRow {
    pub id: Uuid,
    pub name: String,
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// IANA.
    pub time_zone: String,
    pub action: ScheduleAction,
    pub connection_id: Uuid,
    pub enabled: bool,
    /// None while it is not enabled.
    pub next_run_at: Option<DateTime<Utc>>,
    /// When it last began something.
    pub last_run_at: Option<DateTime<Utc>>,
    /// The task of that.
    pub last_task_id: Option<Uuid>,
    /// The time that came last, and what became of it.
    pub last_slot: Option<DateTime<Utc>>,
    pub last_outcome: Option<RunOutcome>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// A stream of a connection: what discovery found, what was selected, what was read.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct StreamRow {
    pub connection_id: Uuid,
    pub name: String,
    pub feed_id: Uuid,
    pub discovered: Option<DiscoveredStream>,
    pub selection: Option<StreamSelection>,
    /// The entity of the mapping in force.
    pub entity: Option<String>,
    pub schema_version: Option<u32>,
    pub mapping_version: Option<u32>,
    pub batches: u64,
    pub rows: u64,
    pub bytes: u64,
    pub cursor: Option<Value>,
    pub last_batch_at: Option<DateTime<Utc>>,
    pub closed: bool,
}

/// An error as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    pub code: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncStatus {
    Queued,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SyncRow {
    pub id: Uuid,
    pub connection_id: Uuid,
    pub task_id: Uuid,
    pub status: SyncStatus,
    pub attempt: u32,
    pub streams: Vec<SyncStreamRow>,
    pub requested_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
    pub error: Option<Failure>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SyncStreamRow {
    pub name: String,
    pub feed_id: Uuid,
    pub status: SyncStatus,
    pub rows_read: u64,
    pub rows_rejected: u64,
    /// 0 here, as `rows_quarantined`: the views count them, see `DclReads::batch_counts` over `sequences`.
    pub rows_canonical: u64,
    pub rows_quarantined: u64,
    pub batches: u64,
    pub bytes: u64,
    pub total_rows: Option<u64>,
    pub cursor: Option<Value>,
    pub error: Option<Failure>,
    /// Log sequences of this run's first and last batch of the stream.
    #[serde(skip)]
    pub sequences: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SchemaVersionRow {
    pub connection_id: Uuid,
    pub stream: String,
    pub version: u32,
    pub fingerprint: String,
    pub fields: Vec<Field>,
    pub primary_key: Vec<String>,
    pub first_seen_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct DriftRow {
    pub id: Uuid,
    pub connection_id: Uuid,
    pub stream: String,
    pub kind: DriftKind,
    pub field: Option<String>,
    pub before: Option<DriftSide>,
    pub after: Option<DriftSide>,
    pub severity: Severity,
    pub confidence: f64,
    pub evidence: Vec<Evidence>,
    pub status: DriftStatus,
    pub occurrences: u64,
    pub from_version: u32,
    pub to_version: u32,
    pub repair: Option<RepairChange>,
    pub detected_at: DateTime<Utc>,
    pub resolved_at: Option<DateTime<Utc>>,
}

/// A mapping as it is in force: the version that the newest schema version is read with.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MappingRow {
    /// Equals the feed's id.
    pub id: Uuid,
    pub connection_id: Uuid,
    pub stream: String,
    pub entity: Option<String>,
    pub version: u32,
    pub key: Vec<String>,
    pub fields: Vec<MappingField>,
    pub origin: MappingOrigin,
    /// The latest binding of each schema version.
    pub bindings: Vec<Binding>,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// One version of a mapping.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MappingVersionRow {
    pub id: Uuid,
    pub version: u32,
    pub content: MappingContent,
    pub origin: MappingOrigin,
    pub created_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct RepairRow {
    pub id: Uuid,
    pub mapping_id: Uuid,
    pub connection_id: Uuid,
    pub stream: String,
    pub entity: Option<String>,
    /// The first drift it answers; all are in `drift_ids`.
    pub drift_id: Option<Uuid>,
    pub drift_ids: Vec<Uuid>,
    pub schema_version: u32,
    pub proposal: Vec<RepairChange>,
    /// Target fields whose lines it changes.
    pub targets: Vec<String>,
    /// It changes what tells records apart.
    pub key_touched: bool,
    pub confidence: f64,
    pub evidence: Vec<Evidence>,
    pub status: RepairStatus,
    pub edited: bool,
    /// The mapping in force when it was proposed.
    pub before: Option<MappingContent>,
    /// The mapping as it would be, or became.
    pub after: MappingContent,
    pub proposed_at: DateTime<Utc>,
    pub decided_at: Option<DateTime<Utc>>,
    pub decided_by: Option<Uuid>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TaskProgress {
    pub done: u64,
    pub total: Option<u64>,
    pub note: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TaskRow {
    pub id: Uuid,
    pub action: String,
    pub payload: Value,
    pub status: TaskStatus,
    pub attempt: u32,
    pub max_retries: u32,
    pub timeout_seconds: u64,
    pub priority: i32,
    pub run_at: Option<DateTime<Utc>>,
    pub progress: Option<TaskProgress>,
    pub cancel_requested: bool,
    pub result: Option<Value>,
    pub error: Option<Failure>,
    pub worker: Option<String>,
    pub created_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub finished_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct TaskLogRow {
    pub at: DateTime<Utc>,
    pub event: String,
    pub detail: Value,
}

/// The ontology in force, where the tenant revised it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct OntologyRow {
    pub ontology: Ontology,
    pub revised_at: DateTime<Utc>,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct UploadRow {
    pub id: Uuid,
    pub file_name: String,
    pub bytes: u64,
    pub content_hash: String,
    pub uploaded_at: DateTime<Utc>,
}

/// One line of the audit trail.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ActivityRow {
    /// Inside form; the gateway turns it (with `event_index`) into an opaque token.
    #[serde(skip)]
    pub position: Position,
    #[serde(skip)]
    pub event_index: u32,
    pub recorded_at: DateTime<Utc>,
    pub actor: Actor,
    pub aggregate_type: String,
    pub aggregate_id: Uuid,
    pub version: u64,
    pub event_type: String,
    pub command_id: Uuid,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    /// One line for people.
    pub summary: String,
    /// The event's content without secrets and without bulk.
    pub data: Value,
}

/// What one model was asked for one purpose on one day (UTC), by when calls ended.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct LlmUsageRow {
    pub day: NaiveDate,
    /// None: no model was asked, for past decisions had the answer.
    pub model: Option<String>,
    pub purpose: LlmPurpose,
    pub calls: u64,
    /// Calls without an answer that holds.
    pub failed: u64,
    /// Requests made: a call makes a second one where its first answer does not hold.
    pub requests: u64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// Millionths of the operator's currency.
    pub cost_micros: u64,
    /// Of all calls together.
    pub latency_ms: u64,
    /// Proposals that past decisions made, without a call.
    pub saved_by_retrieval: u64,
}

/// Counts for a tenant's first page.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Overview {
    pub connections: u64,
    pub connections_failing: u64,
    pub streams: u64,
    pub rows: u64,
    pub bytes: u64,
    pub drifts_open: u64,
    pub repairs_pending: u64,
    pub repairs_held: u64,
    pub repairs_auto_applied: u64,
    pub repairs_approved: u64,
    pub repairs_rejected: u64,
    pub syncs_running: u64,
    pub tasks_active: u64,
}
