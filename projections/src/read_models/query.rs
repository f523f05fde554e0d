//! Queries over the read models. Every one binds the tenant first.

use super::rows::{
    ActivityRow, ApiKeyRow, ConnectionRow, DriftRow, MappingRow, MappingVersionRow, Overview, Page,
    PageRequest, RepairRow, SchemaVersionRow, SealedConfig, StreamRow, SyncRow, SyncStatus, TaskLogRow,
    TaskRow, TenantRow, UploadRow, UserRow,
};
use crate::error::ProjectionError;
use autonomos_domain::{
    aggregates::{mapping::RepairStatus, stream_schema::DriftStatus, task::TaskStatus},
    drift::{DriftKind, Severity},
    ids::TenantId,
};
use autonomos_log::seal::{KeyRing, SealError, seal_context};
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

type Result<T> = std::result::Result<T, ProjectionError>;

/// The read models of the live generation. Cheap to clone; follows a rebuild's swap by itself.
#[derive(Clone)]
pub struct ReadModels {}

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
        let mut payload: Value =
            serde_json::from_slice(&clear).map_err(|_| SealError::Altered { tenant, key_id: self.key_id })?;
        Ok(payload.get_mut("config").map_or(Value::Null, Value::take))
    }
}

macro_rules! skeleton {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty = $value:expr;)+) => {
        impl ReadModels {$(
            pub async fn $name(&self, tenant: TenantId, $($argument: $type),*) -> Result<$answer> {
                let _ = (tenant, $($argument),*);
                Ok($value)
            }
        )+}
    };
}
skeleton! {
    tenant_get() -> Option<TenantRow> = None;
    overview() -> Overview = Overview::default();
    user_list(page: &PageRequest) -> Page<UserRow> = Page { data: vec![], next_cursor: None };
    user_get(id: Uuid) -> Option<UserRow> = None;
    api_key_list(page: &PageRequest) -> Page<ApiKeyRow> = Page { data: vec![], next_cursor: None };
    connection_list(page: &PageRequest) -> Page<ConnectionRow> = Page { data: vec![], next_cursor: None };
    connection_get(id: Uuid) -> Option<ConnectionRow> = None;
    stream_list(connection: Option<Uuid>) -> Vec<StreamRow> = vec![];
    sync_list(filter: &SyncFilter, page: &PageRequest) -> Page<SyncRow> = Page { data: vec![], next_cursor: None };
    sync_get(id: Uuid) -> Option<SyncRow> = None;
    schema_list(connection: Uuid, stream: Option<&str>) -> Vec<SchemaVersionRow> = vec![];
    drift_list(filter: &DriftFilter, page: &PageRequest) -> Page<DriftRow> = Page { data: vec![], next_cursor: None };
    drift_get(id: Uuid) -> Option<DriftRow> = None;
    mapping_list(filter: &MappingFilter) -> Vec<MappingRow> = vec![];
    mapping_get(id: Uuid) -> Option<MappingRow> = None;
    mapping_version_list(id: Uuid) -> Vec<MappingVersionRow> = vec![];
    repair_list(filter: &RepairFilter, page: &PageRequest) -> Page<RepairRow> = Page { data: vec![], next_cursor: None };
    repair_get(id: Uuid) -> Option<RepairRow> = None;
    task_list(filter: &TaskFilter, page: &PageRequest) -> Page<TaskRow> = Page { data: vec![], next_cursor: None };
    task_get(id: Uuid) -> Option<TaskRow> = None;
    task_log(id: Uuid) -> Vec<TaskLogRow> = vec![];
    upload_list(page: &PageRequest) -> Page<UploadRow> = Page { data: vec![], next_cursor: None };
    upload_get(id: Uuid) -> Option<UploadRow> = None;
    activity_list(filter: &ActivityFilter, page: &PageRequest) -> Page<ActivityRow> = Page { data: vec![], next_cursor: None };
}
