//! The audit trail: one line for every event of a tenant, without secrets and without bulk.

use super::models::word;
use crate::{
    error::ProjectionError,
    runtime::{
        Event,
        sql::{Column, Existing, Index, Kind, Session, Table, Value},
    },
};
use autonomos_domain::{
    aggregates::{connection::ConnectionEvent, feed::FeedEvent},
    envelope::Actor,
};
use autonomos_log::port::StoredCommit;
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

pub(crate) fn table() -> Table {
    let integer = |name| Column::new(name, Kind::Integer);
    let word = |name| Column::new(name, Kind::Word);
    let text = |name| Column::new(name, Kind::Text);
    Table {
        name: "activity",
        columns: vec![
            word("tenant"),
            integer("sequence"),
            integer("event_index"),
            integer("cell"),
            integer("recorded_at"),
            word("actor_kind"),
            text("actor"),
            word("aggregate_type"),
            word("aggregate_id"),
            integer("version"),
            word("event_type"),
            word("command_id"),
            word("correlation_id"),
            word("causation_id").nullable(),
            text("summary"),
            text("data"),
        ],
        key: vec!["tenant", "sequence", "event_index"],
        indexes: vec![Index {
            name: "aggregate",
            columns: vec!["tenant", "aggregate_id", "sequence", "event_index"],
        }],
    }
}

/// The table's columns, as queries name them.
pub(crate) const COLUMNS: &str = "tenant, sequence, event_index, cell, recorded_at, actor_kind, actor, aggregate_type, \
     aggregate_id, version, event_type, command_id, correlation_id, causation_id, summary, data";

pub(crate) struct ActivityInsert {
    tenant: String,
    sequence: i64,
    event_index: i64,
    cell: i64,
    recorded_at: i64,
    actor_kind: &'static str,
    actor: String,
    aggregate_type: &'static str,
    aggregate_id: String,
    version: i64,
    event_type: String,
    command_id: String,
    correlation_id: String,
    causation_id: Option<String>,
    summary: String,
    data: String,
}

impl ActivityInsert {
    pub(crate) fn of(commit: &StoredCommit, index: usize, event: &Event) -> Result<Self, ProjectionError> {
        let header = &commit.header;
        let (actor_kind, actor) = match &header.actor {
            Actor::User(id) => ("user", id.to_string()),
            Actor::ApiKey(id) => ("api_key", id.to_string()),
            Actor::System(name) => ("system", name.clone()),
        };
        let data = content(event)?;
        let event_type = commit.events[index].event_type.clone();
        Ok(Self {
            tenant: header.key.tenant.to_string(),
            sequence: commit.position.sequence as i64,
            event_index: index as i64,
            cell: i64::from(commit.position.cell),
            recorded_at: header.recorded_at.timestamp_micros(),
            actor_kind,
            actor,
            aggregate_type: header.key.aggregate_type.as_str(),
            aggregate_id: header.key.aggregate_id.to_string(),
            version: (header.first_version + index as u64) as i64,
            summary: summary(&event_type, &data),
            event_type,
            command_id: header.command_id.to_string(),
            correlation_id: header.correlation_id.to_string(),
            causation_id: header.causation_id.map(|id| id.to_string()),
            data: data.to_string(),
        })
    }

    pub(crate) async fn flush(rows: Vec<Self>, session: &mut Session<'_>) -> Result<(), ProjectionError> {
        let rows = rows.into_iter().map(Self::values).collect();
        Ok(session.insert(&table(), rows, Existing::Never).await?)
    }

    /// A value for each column.
    fn values(self) -> Vec<Value> {
        vec![
            self.tenant.into(),
            self.sequence.into(),
            self.event_index.into(),
            self.cell.into(),
            self.recorded_at.into(),
            self.actor_kind.into(),
            self.actor.into(),
            self.aggregate_type.into(),
            self.aggregate_id.into(),
            self.version.into(),
            self.event_type.into(),
            self.command_id.into(),
            self.correlation_id.into(),
            self.causation_id.into(),
            self.summary.into(),
            self.data.into(),
        ]
    }
}

/// What an event says, fit to be shown to the tenant's own people.
fn content(event: &Event) -> Result<Json, ProjectionError> {
    let value = match event {
        Event::Tenant(event) => inner(event)?,
        Event::User(event) => without(inner(event)?, &["password_hash", "refresh_hash"]),
        Event::ApiKey(event) => without(inner(event)?, &["secret_hash"]),
        Event::Connection(ConnectionEvent::StreamsDiscovered { streams }) => {
            json!({ "streams": streams.iter().map(|stream| &stream.name).collect::<Vec<_>>() })
        }
        Event::Connection(event) => without(inner(event)?, &["config"]),
        Event::Feed(event) => feed(event),
        Event::Sync(event) => inner(event)?,
        Event::StreamSchema(event) => without(inner(event)?, &["profile"]),
        Event::Mapping(event) => inner(event)?,
        Event::Ontology(event) => inner(event)?,
        Event::UnifiedView(event) => inner(event)?,
        Event::Identity(event) => inner(event)?,
        Event::Task(event) => inner(event)?,
        Event::Schedule(event) => inner(event)?,
        Event::LlmAccount(event) => inner(event)?,
        Event::Erased => json!({ "erased": true }),
        Event::Unknown => json!({}),
    };
    Ok(value)
}

fn feed(event: &FeedEvent) -> Json {
    let state = event.state();
    let mut data = json!({ "connection_id": state.connection_id, "stream": state.stream });
    let more = match event {
        FeedEvent::SnapshotStarted { snapshot_id, sync_id, .. } => {
            json!({ "snapshot_id": snapshot_id, "sync_id": sync_id })
        }
        FeedEvent::RecordsIngested { batch, .. } => json!({
            "rows": batch.rows, "rejected": batch.rejected_total, "schema_version": batch.schema_version,
            "sync_id": batch.sync_id,
        }),
        FeedEvent::SnapshotCompleted { snapshot_id, rows, .. } => {
            json!({ "snapshot_id": snapshot_id, "rows": rows })
        }
        FeedEvent::SnapshotHeld { snapshot_id, drift_id, reason, .. } => {
            json!({ "snapshot_id": snapshot_id, "drift_id": drift_id, "reason": reason })
        }
        FeedEvent::SnapshotAbandoned { snapshot_id, reason, .. } => {
            json!({ "snapshot_id": snapshot_id, "reason": reason })
        }
        FeedEvent::FeedClosed { .. } => json!({}),
    };
    if let (Json::Object(data), Json::Object(more)) = (&mut data, more) {
        data.extend(more);
    }
    data
}

/// The content of an externally tagged event.
fn inner<E: Serialize>(event: &E) -> Result<Json, ProjectionError> {
    let value = serde_json::to_value(event).map_err(|error| ProjectionError::Payload(error.to_string()))?;
    Ok(match value {
        Json::Object(tagged) => {
            tagged.into_iter().next().map_or(Json::Object(Map::new()), |(_, content)| content)
        }
        other => other,
    })
}

fn without(mut value: Json, secret: &[&str]) -> Json {
    if let Json::Object(content) = &mut value {
        for name in secret {
            content.remove(*name);
        }
    }
    value
}

/// One line for people: the event's name in words, and what it is about.
fn summary(event_type: &str, data: &Json) -> String {
    let mut text = String::new();
    for (index, letter) in event_type.char_indices() {
        if letter.is_uppercase() && index > 0 {
            text.push(' ');
        }
        if index == 0 {
            text.push(letter);
        } else {
            text.extend(letter.to_lowercase());
        }
    }
    let field = |name: &str| data.get(name).and_then(Json::as_str);
    if let Some(name) =
        field("name").or_else(|| field("email")).or_else(|| field("stream")).or_else(|| field("action"))
    {
        text.push_str(&format!(": {name}"));
    } else if let Some(finding) = data.get("finding") {
        let kind = finding.get("kind").map(word).unwrap_or_default();
        let of = finding.get("field").and_then(Json::as_str).unwrap_or_default();
        text.push_str(&format!(": {kind} {of}"));
    } else if let Some(message) = field("message") {
        text.push_str(&format!(": {message}"));
    }
    if let Some(rows) = data.get("rows").and_then(Json::as_u64) {
        text.push_str(&format!(", {rows} rows"));
    }
    text
}
