//! Answers about unified views, as the contract names them.

use autonomos_projections::dcl::read as dcl;
use chrono::{DateTime, Utc};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use uuid::Uuid;

/// A view and its counts.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct ViewSummary {
    /// The plural, as the path takes it.
    pub(super) name: String,
    pub(super) description: String,
    /// Connections that feed it.
    pub(super) sources: usize,
    entity: String,
    plural: String,
    /// Unified rows now.
    rows: u64,
    /// Source records now.
    records: u64,
    /// Unified rows with records of more than one source.
    merged: u64,
    held: u64,
    quarantined: u64,
    updated_at: Option<DateTime<Utc>>,
}

impl ViewSummary {
    pub(super) fn of(summary: dcl::EntitySummary, description: String, sources: usize) -> Self {
        let dcl::EntitySummary { entity, plural, rows, records, merged, held, quarantined, updated_at } =
            summary;
        Self {
            name: plural.clone(),
            description,
            sources,
            entity,
            plural,
            rows,
            records,
            merged,
            held,
            quarantined,
            updated_at,
        }
    }
}

/// A unified row: its entity's fields, whatever they are, and where they come from. It is made as a
/// whole in the store; this only says its shape.
pub(in crate::http) struct UnifiedRow;

/// Where one record of a unified row comes from.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a part of a shape that is made elsewhere")]
struct RowSource {
    connection_id: Uuid,
    stream: String,
    source_id: String,
}

impl JsonSchema for UnifiedRow {
    fn schema_name() -> Cow<'static, str> {
        "UnifiedRow".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "a row of a view: the entity's fields by name, and what is known of them",
            "required": ["id", "_sources", "_updated_at", "_held", "_extra"],
            "properties": {
                "id": { "type": "string", "format": "uuid" },
                "_sources": { "type": "array", "items": generator.subschema_for::<RowSource>() },
                "_updated_at": { "type": ["string", "null"], "format": "date-time" },
                "_held": {
                    "type": "array", "items": { "type": "string" },
                    "description": "fields that wait for a repair at their last good values",
                },
                "_extra": { "type": "object", "description": "columns that no field is mapped to" },
            },
            "additionalProperties": true,
        })
    }
}

/// Where each value of a row comes from.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct RowLineage {
    pub(super) id: Uuid,
    pub(super) entity: String,
    pub(super) fields: Vec<FieldLineage>,
}

/// Where one field's value comes from.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct FieldLineage {
    field: String,
    value: Value,
    connection_id: Uuid,
    stream: String,
    source_id: String,
    record_id: Uuid,
    /// Row within the batch, from 0.
    row: u32,
    schema_version: u32,
    mapping_version: u32,
    source_columns: Vec<String>,
    transform: Option<Value>,
    /// `only_source`, `latest`, `earliest` (of a creation time), `priority` or `tie_break`.
    rule: &'static str,
    /// When the field last changed.
    changed_at: Option<DateTime<Utc>>,
    held: bool,
    /// What the other records of the row have for it.
    others: Vec<OtherValue>,
    /// The batch, as its place in the log.
    batch: String,
    position: String,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OtherValue {
    connection_id: Uuid,
    stream: String,
    source_id: String,
    value: Value,
    changed_at: Option<DateTime<Utc>>,
}

impl FieldLineage {
    pub(super) fn of(lineage: dcl::FieldLineage, batch: String) -> Self {
        let other = |other: dcl::OtherValue| {
            let dcl::OtherValue { connection_id, stream, source_id, value, changed_at } = other;
            OtherValue { connection_id, stream, source_id, value, changed_at }
        };
        Self {
            field: lineage.field,
            value: lineage.value,
            connection_id: lineage.connection_id,
            stream: lineage.stream,
            source_id: lineage.source_id,
            record_id: lineage.record_id,
            row: lineage.row,
            schema_version: lineage.schema_version,
            mapping_version: lineage.mapping_version,
            source_columns: lineage.source_columns,
            transform: lineage.transform,
            rule: lineage.rule,
            changed_at: lineage.changed_at,
            held: lineage.held,
            others: lineage.others.into_iter().map(other).collect(),
            position: batch.clone(),
            batch,
        }
    }
}

/// A page of an entity's change feed.
#[derive(Debug, Serialize, JsonSchema)]
pub(in crate::http) struct ChangePage {
    pub(super) data: Vec<ChangeView>,
    pub(super) meta: ChangeMeta,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ChangeMeta {
    /// Resumes behind this page.
    pub(super) next: String,
    /// Absent where the feed has been read to its end.
    pub(super) next_cursor: Option<String>,
    pub(super) more: bool,
    pub(super) position: String,
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ChangeView {
    /// Resumes behind this change.
    position: String,
    kind: ChangeKind,
    id: Uuid,
    /// The row as it became; none when it was closed.
    row: Option<Value>,
}

#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ChangeKind {
    /// A row, or a new version of it, begins.
    Opened,
    /// A row ends and no new version follows.
    Closed,
}

impl ChangeView {
    pub(super) fn of(change: dcl::Change, position: String) -> Self {
        let kind = match change.kind {
            dcl::ChangeKind::Opened => ChangeKind::Opened,
            dcl::ChangeKind::Closed => ChangeKind::Closed,
        };
        Self { position, kind, id: change.id, row: change.row }
    }
}
