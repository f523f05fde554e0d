//! Streams that came, went, or have another name now: a finding each, wherever streams are listed. Nothing
//! follows by itself from another name: what was mapped under the old one stays there.

use super::{
    batch::{Column, text_columns},
    feed_uuid,
};
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
};
use arrow::array::RecordBatch;
use autonomos_connectors::port::{Connector, ReadEvent};
use autonomos_domain::{
    aggregates::{
        connection::Connection,
        stream_schema::{DriftStatus, StreamSchema, StreamSchemaCommand},
    },
    drift::{DriftFinding, DriftKind, DriftSide, Severity, fingerprint, profile::find_key},
    ids::{ConnectionId, DriftId, TenantId},
    mapping::Evidence,
    schema::{DiscoveredStream, StreamShape, SyncMode},
};
use futures::StreamExt;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Share of columns in common, of all that either has, from which on two streams may be one.
const ALIKE: f64 = 0.75;
/// How long the first rows of a stream may take, which say whether it holds the old one's keys.
const PREVIEW_IN: Duration = Duration::from_secs(30);

/// What lists a connection's streams.
pub(crate) struct Listing<'a> {
    pub(crate) commands: &'a Commands,
    pub(crate) tenant: TenantId,
    pub(crate) connection_id: ConnectionId,
    /// As it was before this listing.
    pub(crate) connection: &'a Connection,
    pub(crate) connector: &'a dyn Connector,
    /// The context of each step, by what tells it from the others.
    pub(crate) context: &'a (dyn Fn(&[&str]) -> CommandContext + Sync),
}

/// A stream that was read and is not offered any more.
struct Gone {
    name: String,
    schema: Arc<StreamSchema>,
    shape: StreamShape,
}

impl Listing<'_> {
    /// Compares what is offered with what was, and records what is found. The first listing finds nothing.
    pub(crate) async fn judge(&self, discovered: &[DiscoveredStream]) -> Result<(), CommandError> {
        let Some(known) = &self.connection.discovered else { return Ok(()) };
        let names = |streams: &[DiscoveredStream]| -> BTreeSet<String> {
            streams.iter().map(|stream| stream.name.clone()).collect()
        };
        let (before, now) = (names(known), names(discovered));
        let mut added: Vec<&DiscoveredStream> =
            discovered.iter().filter(|stream| !before.contains(&stream.name)).collect();
        for name in before.difference(&now) {
            let feed = feed_uuid(self.connection_id, name);
            let schema = self.commands.load::<StreamSchema>(self.tenant, feed).await?.state;
            // One that was never read is nobody's loss.
            let Some(shape) = schema.shape().cloned() else { continue };
            let gone = Gone { name: name.clone(), schema, shape };
            let finding = match self.renamed(&gone, &added).await {
                Some((place, finding)) => {
                    added.remove(place);
                    finding
                }
                None => removed(&gone, feed),
            };
            let shape = gone.shape;
            self.record(name, shape, vec![finding]).await?;
        }
        for stream in added {
            self.added(stream).await?;
        }
        Ok(())
    }

    /// The stream that has most in common with the one that is gone, if it may be the same.
    async fn renamed(&self, gone: &Gone, added: &[&DiscoveredStream]) -> Option<(usize, DriftFinding)> {
        let alike =
            added.iter().enumerate().map(|(place, stream)| (place, alike(&gone.shape, &stream.shape)));
        let (place, columns) =
            alike.filter(|(_, alike)| *alike >= ALIKE).max_by(|a, b| a.1.total_cmp(&b.1))?;
        let stream = added[place];
        let keys = self.holds_keys(gone, stream).await;
        if keys == Some(false) {
            return None;
        }
        Some((place, renamed(gone, feed_uuid(self.connection_id, &gone.name), stream, columns, keys)))
    }

    /// Whether the first rows of a stream hold keys of the one that is gone; none: it cannot be told.
    async fn holds_keys(&self, gone: &Gone, stream: &DiscoveredStream) -> Option<bool> {
        let sample = &gone.schema.profile.as_ref()?.sample;
        let [key] = gone.shape.primary_key.as_slice() else { return None };
        let preview = self.preview(stream).await?;
        let names: Vec<String> = stream.shape.fields.iter().map(|field| field.name.clone()).collect();
        let columns = text_columns(&preview, &names);
        let columns: Vec<Column<'_>> = columns.iter().map(Column).collect();
        let found = find_key(sample, &names, &columns.iter().collect::<Vec<_>>());
        Some(found.as_ref() == Some(key))
    }

    async fn preview(&self, stream: &DiscoveredStream) -> Option<RecordBatch> {
        let cancel = CancellationToken::new();
        let cancel_on_drop = cancel.clone().drop_guard();
        let selection = stream.selection();
        let mut events = self.connector.read(&selection, SyncMode::Full, None, cancel);
        let first = tokio::time::timeout(PREVIEW_IN, events.next()).await.ok()??;
        drop(cancel_on_drop);
        match first {
            Ok(ReadEvent::Began { preview, .. }) => Some(preview),
            _ => None,
        }
    }

    /// A stream that is new. A connection without a choice takes it; one with a choice waits for a person.
    async fn added(&self, stream: &DiscoveredStream) -> Result<(), CommandError> {
        let feed = feed_uuid(self.connection_id, &stream.name);
        if self.commands.load::<StreamSchema>(self.tenant, feed).await?.state.current > 0 {
            // It was there before, and is back.
            return Ok(());
        }
        let taken = self.connection.selected.is_empty();
        let detail = if taken {
            "the connection reads all its streams, so it reads this one too"
        } else {
            "the connection reads the streams that were chosen: choose it, or leave it"
        };
        let finding = DriftFinding {
            after: Some(side(&stream.name, &stream.shape)),
            severity: Severity::Info,
            evidence: vec![evidence("discovery", 1.0, detail.to_owned())],
            ..of(feed, DriftKind::StreamAdded, "stream_added", &stream.name)
        };
        let drift_id = finding.id;
        self.record(&stream.name, stream.shape.clone(), Vec::new()).await?;
        self.record(&stream.name, stream.shape.clone(), vec![finding]).await?;
        if taken {
            let accept = StreamSchemaCommand::ResolveDrift { drift_id, status: DriftStatus::Accepted };
            let context = (self.context)(&["added-taken", &stream.name]);
            self.commands.execute::<StreamSchema>(&context, feed, accept).await?;
        }
        Ok(())
    }

    async fn record(
        &self,
        stream: &str,
        shape: StreamShape,
        findings: Vec<DriftFinding>,
    ) -> Result<(), CommandError> {
        let feed = feed_uuid(self.connection_id, stream);
        let known = self.commands.load::<StreamSchema>(self.tenant, feed).await?;
        let fingerprint = match known.state.versions.get(&known.state.current) {
            Some(current) => current.fingerprint.clone(),
            None => fingerprint(&shape),
        };
        let command = StreamSchemaCommand::RecordSchema {
            connection_id: self.connection_id,
            stream: stream.to_owned(),
            fingerprint,
            shape,
            findings,
        };
        let context = (self.context)(&["listed", stream, &known.version.to_string()]);
        self.commands.execute::<StreamSchema>(&context, feed, command).await?;
        Ok(())
    }
}

/// Share of columns that both have, of the same name and type, of all that either has.
fn alike(left: &StreamShape, right: &StreamShape) -> f64 {
    let same = |name: &str| {
        let (left, right) = (left.field(name), right.field(name));
        left.zip(right).is_some_and(|(left, right)| left.logical_type == right.logical_type)
    };
    let common = left.fields.iter().filter(|field| same(&field.name)).count();
    let all = left.fields.len() + right.fields.len() - common;
    if all == 0 { 0.0 } else { common as f64 / all as f64 }
}

fn of(feed: uuid::Uuid, kind: DriftKind, name: &str, change: &str) -> DriftFinding {
    DriftFinding {
        id: DriftId::derive(&[&feed.to_string(), name, change]),
        kind,
        field: None,
        before: None,
        after: None,
        severity: Severity::Critical,
        confidence: 1.0,
        evidence: Vec::new(),
        repair: None,
    }
}

fn side(name: &str, shape: &StreamShape) -> DriftSide {
    DriftSide { fields: shape.fields.clone(), samples: Vec::new(), summary: Some(format!("stream `{name}`")) }
}

fn evidence(signal: &str, score: f64, detail: String) -> Evidence {
    Evidence { signal: signal.to_owned(), score, detail }
}

fn removed(gone: &Gone, feed: uuid::Uuid) -> DriftFinding {
    of(feed, DriftKind::StreamRemoved, "stream_removed", &fingerprint(&gone.shape))
}

/// What is not known of its keys is worth less than that they are there.
fn renamed(
    gone: &Gone,
    feed: uuid::Uuid,
    stream: &DiscoveredStream,
    columns: f64,
    keys: Option<bool>,
) -> DriftFinding {
    let mut shown = vec![evidence(
        "columns",
        columns,
        format!("{:.0} % of all columns are there under both names, with the same types", columns * 100.0),
    )];
    if keys.is_some() {
        shown.push(evidence("keys", 1.0, format!("`{}` holds keys that `{}` held", stream.name, gone.name)));
    }
    DriftFinding {
        before: Some(side(&gone.name, &gone.shape)),
        after: Some(side(&stream.name, &stream.shape)),
        confidence: if keys.is_some() { 0.5 + columns / 2.0 } else { columns * 0.7 },
        evidence: shown,
        ..of(feed, DriftKind::StreamRenamed, "stream_renamed", &stream.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_domain::schema::{Field, LogicalType};

    fn shape(columns: &[(&str, LogicalType)]) -> StreamShape {
        let field = |(name, logical_type): &(&str, LogicalType)| Field {
            name: (*name).to_owned(),
            logical_type: *logical_type,
            nullable: true,
            format: None,
        };
        StreamShape { fields: columns.iter().map(field).collect(), primary_key: Vec::new() }
    }

    #[test]
    fn streams_are_alike_by_columns_of_the_same_name_and_type() {
        use LogicalType::{Integer, Text};
        let accounts = shape(&[("id", Integer), ("name", Text), ("city", Text)]);
        assert!((alike(&accounts, &accounts) - 1.0).abs() < 1e-9);
        let one_less = shape(&[("id", Integer), ("name", Text)]);
        assert!((alike(&accounts, &one_less) - 2.0 / 3.0).abs() < 1e-9);
        let other_type = shape(&[("id", Text), ("name", Text), ("city", Text)]);
        assert!((alike(&accounts, &other_type) - 0.5).abs() < 1e-9);
        assert!(alike(&shape(&[]), &shape(&[])) < ALIKE);
    }
}
