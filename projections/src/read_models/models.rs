//! What each table of the read models holds.

use super::{
    documents::{Model, table},
    rows::{
        ApiKeyRow, ConnectionRow, DriftRow, LlmUsageRow, MappingRow, MappingVersionRow, OntologyRow,
        RepairRow, ScheduleRow, SchemaVersionRow, SyncRow, TaskRow, TenantRow, UploadRow, UserRow,
    },
};
use crate::runtime::sql::{Kind, Table};
use autonomos_domain::{
    mapping::MappingContent,
    schema::{DiscoveredStream, StreamSelection},
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How serde writes a plain enum.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

macro_rules! model {
    ($model:ty, $table:literal $(; newest_first = $newest:literal)? $(, $kind:ident $column:ident = |$row:ident| $value:expr)*) => {
        impl Model for $model {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [(&'static str, Kind)] = &[$((stringify!($column), Kind::$kind)),*];
            $(const NEWEST_FIRST: bool = $newest;)?

            fn columns(&self) -> Vec<Option<String>> {
                vec![$({ let $row = self; $value }),*]
            }
        }
    };
}

model!(TenantRow, "tenants");
model!(UserRow, "users", Text email = |row| Some(row.email.clone()));
model!(ApiKeyRow, "api_keys");
model!(UploadRow, "uploads");
model!(OntologyRow, "ontologies");
model!(
    TaskRow,
    "tasks";newest_first = true,
    Word status = |row| Some(word(&row.status)),
    Text action = |row| Some(row.action.clone())
);
model!(ScheduleRow, "schedules", Word connection_id = |row| Some(row.connection_id.to_string()));
model!(
    DriftRow,
    "drifts";newest_first = true,
    Word connection_id = |row| Some(row.connection_id.to_string()),
    Text stream = |row| Some(row.stream.clone()),
    Word kind = |row| Some(word(&row.kind)),
    Word severity = |row| Some(word(&row.severity)),
    Word status = |row| Some(word(&row.status))
);
model!(
    RepairRow,
    "repairs";newest_first = true,
    Word connection_id = |row| Some(row.connection_id.to_string()),
    Text stream = |row| Some(row.stream.clone()),
    Word status = |row| Some(word(&row.status))
);
model!(
    SchemaVersionRow,
    "schema_versions",
    Word connection_id = |row| Some(row.connection_id.to_string()),
    Text stream = |row| Some(row.stream.clone())
);
model!(LlmUsageRow, "llm_usage"; newest_first = true);
model!(MappingVersionRow, "mapping_versions", Word mapping_id = |row| Some(row.id.to_string()));

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ConnectionModel {
    pub(crate) row: ConnectionRow,
    pub(crate) key_id: u64,
    /// Version of the event that holds the configuration.
    pub(crate) version: u64,
    /// That event's payload as sealed, hex.
    pub(crate) payload: String,
    pub(crate) discovered: Vec<DiscoveredStream>,
    pub(crate) selected: Vec<StreamSelection>,
}
model!(ConnectionModel, "connections", Text name = |model| Some(model.row.name.clone()));

/// A stream as its batches, schema and mapping have it so far.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct StreamModel {
    pub(crate) connection_id: Uuid,
    pub(crate) stream: String,
    pub(crate) schema_version: Option<u32>,
    pub(crate) mapping_version: Option<u32>,
    pub(crate) entity: Option<String>,
    pub(crate) batches: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) cursor: Option<Value>,
    pub(crate) last_batch_at: Option<DateTime<Utc>>,
    pub(crate) closed: bool,
}
model!(StreamModel, "streams", Word connection_id = |model| Some(model.connection_id.to_string()));

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SyncModel {
    pub(crate) row: SyncRow,
    /// Log sequences of the run's first and last batch of each stream.
    pub(crate) sequences: BTreeMap<String, (u64, u64)>,
}
model!(
    SyncModel,
    "syncs";newest_first = true,
    Word connection_id = |model| Some(model.row.connection_id.to_string()),
    Word status = |model| Some(word(&model.row.status))
);

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MappingModel {
    pub(crate) row: MappingRow,
    /// What is in force, for what a repair starts from.
    pub(crate) content: MappingContent,
}
model!(
    MappingModel,
    "mappings",
    Word connection_id = |model| Some(model.row.connection_id.to_string()),
    Text stream = |model| Some(model.row.stream.clone()),
    Text entity = |model| model.row.entity.clone()
);

/// All document tables.
pub(crate) fn tables() -> Vec<Table> {
    vec![
        table::<TenantRow>(),
        table::<UserRow>(),
        table::<ApiKeyRow>(),
        table::<UploadRow>(),
        table::<OntologyRow>(),
        table::<ConnectionModel>(),
        table::<StreamModel>(),
        table::<SyncModel>(),
        table::<SchemaVersionRow>(),
        table::<DriftRow>(),
        table::<MappingModel>(),
        table::<MappingVersionRow>(),
        table::<RepairRow>(),
        table::<TaskRow>(),
        table::<ScheduleRow>(),
        table::<LlmUsageRow>(),
    ]
}
