//! One stream of one run, from the connector to its feed.

use super::{
    Run, SyncError,
    batch::{Column, encode, text_columns},
    judge::{Arriving, key_of, profile_of},
    schema::{go_on, record, settle},
};
use crate::execute::FeedHandle;
use arrow::array::RecordBatch;
use autonomos_connectors::{
    error::ConnectorError,
    port::{Connector, OPERATION, ReadEvent, RejectedRow},
};
use autonomos_domain::{
    aggregates::{
        feed::{BatchHeader, Feed, FeedEvent, FeedState, IngestedBatch, RejectedRecord},
        stream_schema::{StreamSchema, StreamSchemaCommand},
        sync::{StreamProgress, SyncCommand},
    },
    drift::{
        DriftFinding, DriftKind, DriftSide, Severity,
        guard::TypeGuard,
        profile::{StreamProfile, StreamProfiler},
    },
    ids::{DriftId, FeedId, SnapshotId},
    mapping::Evidence,
    schema::{Field, LogicalType, StreamSelection, StreamShape, SyncMode},
};
use bytes::Bytes;
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(700);
/// Batch keys made at a time: one durable write for many batches.
const KEYS_AT_ONCE: usize = 32;
/// A snapshot with fewer rows than this share of the last one closes nothing by itself.
const VOLUME_FLOOR: f64 = 0.5;
/// Streams with fewer rows than this may shrink as they like.
const VOLUME_ROWS: u64 = 50;

pub(super) struct StreamOutcome {
    pub(super) progress: StreamProgress,
    /// Up to where the changes of a stream that is captured are durable.
    pub(super) captured: Option<Value>,
}

/// Reads a stream to its end and lands it.
pub(super) async fn run(
    run: &Run,
    connector: &dyn Connector,
    selection: &StreamSelection,
    mode: SyncMode,
) -> Result<StreamOutcome, SyncError> {
    let feed_id = FeedId::of(run.connection_id, &selection.name);
    let handle = run.commands.feed_open(run.tenant, feed_id).await?;
    let place = if starts_anew(run, handle.state.as_ref()) {
        Place::default()
    } else {
        Place::of(handle.state.as_ref().and_then(|state| state.cursor.clone()), mode)?
    };
    let cursor = place.source.clone();
    let mut reader = Reader {
        place,
        run,
        selection,
        feed_id,
        handle,
        keys: Vec::new(),
        shape: StreamShape::default(),
        schema_version: 0,
        snapshot: false,
        guards: Vec::new(),
        profiler: None,
        resumed: false,
        known_rows: 0,
        progress: StreamProgress::default(),
        total_rows: None,
        reported: Instant::now(),
    };
    let mut events = connector.read(selection, mode, cursor, run.task.cancel.clone());
    while let Some(event) = events.next().await {
        if run.task.cancel.is_cancelled() {
            return Err(ConnectorError::Cancelled.into());
        }
        match event? {
            ReadEvent::Began { shape, snapshot, resumed, preview, total_rows } => {
                reader.total_rows = total_rows;
                reader.begin(shape, snapshot, resumed, preview).await?;
            }
            ReadEvent::Batch { records, rejected, cursor } => reader.batch(records, rejected, cursor).await?,
            ReadEvent::Reshaped { shape, preview } => reader.reshape(shape, preview).await?,
            ReadEvent::Cleared { cursor } => reader.clear(cursor).await?,
            ReadEvent::Completed { cursor } => reader.complete(cursor).await?,
            ReadEvent::Unchanged => {}
        }
    }
    if run.task.cancel.is_cancelled() {
        return Err(ConnectorError::Cancelled.into());
    }
    let captured = reader.place.source.filter(|_| mode == SyncMode::Cdc);
    Ok(StreamOutcome { progress: reader.progress, captured })
}

/// A back-fill reads from the beginning, unless an earlier attempt of it has begun: then its cursor is
/// within the new snapshot.
fn starts_anew(run: &Run, feed: Option<&FeedState>) -> bool {
    let open = feed.and_then(|state| state.snapshot.as_ref());
    let begun = open.is_some_and(|open| open.opened_by == run.sync_id && open.rows > 0);
    run.cause.backfill.is_some() && !begun
}

/// Where a feed stands in its source: the connector's cursor, and how many rows after it are on the
/// feed already, when a batch had to be split and not all its parts came through.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    /// Written even when there is none: what lacks it was not written here.
    #[serde(deserialize_with = "Option::deserialize")]
    source: Option<Value>,
    #[serde(default)]
    skip: u64,
}

impl Place {
    /// What cannot be read must not pass for a feed that nothing was read into yet: an incremental
    /// read would begin anew, and close what its source no longer repeats. A full read needs no place.
    fn of(cursor: Option<Value>, mode: SyncMode) -> Result<Self, SyncError> {
        let Some(cursor) = cursor else {
            return Ok(Self::default());
        };
        match serde_json::from_value(cursor.clone()) {
            Ok(place) => Ok(place),
            Err(_) if mode == SyncMode::Full => Ok(Self::default()),
            Err(error) => Err(SyncError::Cursor {
                cursor: cursor.to_string().chars().take(200).collect(),
                reason: error.to_string(),
            }),
        }
    }

    fn to_value(&self) -> Result<Value, SyncError> {
        serde_json::to_value(self).map_err(|error| SyncError::Encode(error.to_string()))
    }
}

struct Reader<'a> {
    place: Place,
    run: &'a Run,
    selection: &'a StreamSelection,
    feed_id: FeedId,
    handle: FeedHandle,
    keys: Vec<u64>,
    shape: StreamShape,
    schema_version: u32,
    snapshot: bool,
    guards: Vec<TypeGuard>,
    profiler: Option<StreamProfiler>,
    resumed: bool,
    /// Rows of the last complete read, for the volume check.
    known_rows: u64,
    progress: StreamProgress,
    total_rows: Option<u64>,
    reported: Instant,
}

impl Reader<'_> {
    async fn begin(
        &mut self,
        mut shape: StreamShape,
        snapshot: bool,
        resumed: bool,
        preview: RecordBatch,
    ) -> Result<(), SyncError> {
        let known = self.run.commands.load::<StreamSchema>(self.run.tenant, self.feed_id.0).await?.state;
        shape.primary_key = key_of(self.selection.primary_key.as_ref(), &known, &shape, &preview);
        let completed = self.handle.state.as_ref().and_then(|state| state.completed_rows);
        self.known_rows = completed.or(known.profile.as_ref().map(|profile| profile.rows)).unwrap_or(0);
        self.snapshot = snapshot;
        self.resumed = resumed;
        let names: Vec<String> = shape.fields.iter().map(|field| field.name.clone()).collect();
        self.schema_version = if resumed && known.current > 0 {
            if !snapshot && preview.num_rows() > 0 {
                // Changes move values away from what the last snapshot had: a later drift is judged by
                // how they are now.
                let mut profile = profile_of(&shape, std::slice::from_ref(&preview));
                profile.rows = profile.rows.max(self.known_rows);
                self.profile_store(profile).await?;
            }
            known.current
        } else {
            self.settled(&shape, profile_of(&shape, std::slice::from_ref(&preview)), preview.num_rows())
                .await?
        };
        // What is read after a snapshot is a part, not the population: it says nothing about the rest.
        self.profiler = snapshot.then(|| StreamProfiler::new(names, &shape.primary_key));
        self.guards = shape.fields.iter().map(TypeGuard::new).collect();
        self.shape = shape;
        if !resumed {
            self.place.skip = 0;
        }
        if snapshot && !resumed {
            self.start_snapshot().await?;
        }
        Ok(())
    }

    /// The schema version of rows of this shape, with its drift and its mapping settled.
    async fn settled(
        &self,
        shape: &StreamShape,
        profile: StreamProfile,
        previewed: usize,
    ) -> Result<u32, SyncError> {
        let complete = self.total_rows.is_some_and(|rows| rows <= previewed as u64);
        let arriving = Arriving { shape: shape.clone(), profile, complete, known_rows: self.known_rows };
        settle(self.run, self.selection, arriving).await
    }

    /// The rows that follow have another shape.
    async fn reshape(&mut self, mut shape: StreamShape, preview: RecordBatch) -> Result<(), SyncError> {
        let known = self.run.commands.load::<StreamSchema>(self.run.tenant, self.feed_id.0).await?.state;
        let declared = shape.primary_key.clone();
        shape.primary_key = key_of(self.selection.primary_key.as_ref(), &known, &shape, &preview);
        let kept = known.shape().is_some_and(|known| known.primary_key == shape.primary_key);
        if !kept && !declared.is_empty() {
            // The source names the key by which its changes come.
            shape.primary_key = declared;
        }
        let mut profile = profile_of(&shape, std::slice::from_ref(&preview));
        self.schema_version = self.settled(&shape, profile.clone(), preview.num_rows()).await?;
        self.guards = shape.fields.iter().map(TypeGuard::new).collect();
        if self.profiler.is_some() {
            let names = shape.fields.iter().map(|field| field.name.clone()).collect();
            self.profiler = Some(StreamProfiler::new(names, &shape.primary_key));
        }
        self.shape = shape;
        // The next change is compared with values under the names they have now.
        profile.rows = profile.rows.max(self.known_rows);
        self.profile_store(profile).await
    }

    /// Every row is gone: the source said so, so that no volume is suspicious.
    async fn clear(&mut self, cursor: Value) -> Result<(), SyncError> {
        self.start_snapshot().await?;
        let open = self.handle.state.as_ref().and_then(|state| state.snapshot.as_ref()).map(|open| open.id);
        if let Some(open) = open {
            self.place = Place { source: Some(cursor), skip: 0 };
            let event = self.feed().complete_snapshot(open, Some(self.place.to_value()?))?;
            self.append(event, None, "cleared").await?;
        }
        Ok(())
    }

    async fn start_snapshot(&mut self) -> Result<(), SyncError> {
        let feed = self.feed();
        if let Some(open) = self.handle.state.as_ref().and_then(|state| state.snapshot.clone()) {
            let event = feed.abandon(open.id, "a newer edition took its place")?;
            self.append(event, None, "abandon").await?;
        }
        let snapshot_id = SnapshotId::derive(&[&self.feed_id.to_string(), &self.handle.version.to_string()]);
        let event = self.feed().start_snapshot(
            self.run.connection_id,
            &self.selection.name,
            snapshot_id,
            self.run.sync_id,
        )?;
        self.append(event, None, "snapshot").await
    }

    fn feed(&self) -> Feed {
        Feed { state: self.handle.state.clone(), closed: self.handle.closed }
    }

    async fn batch(
        &mut self,
        records: RecordBatch,
        rejected: Vec<RejectedRow>,
        cursor: Value,
    ) -> Result<(), SyncError> {
        let rows = records.num_rows() as u64;
        if self.place.skip >= rows && rows > 0 {
            self.place = Place { source: Some(cursor), skip: self.place.skip - rows };
            return Ok(());
        }
        let skip = self.place.skip;
        let records = records.slice(skip as usize, records.num_rows() - skip as usize);
        self.watch(&records).await?;
        let parts = tokio::task::spawn_blocking(move || encode(&records))
            .await
            .map_err(|error| SyncError::Encode(error.to_string()))?
            .map_err(SyncError::Encode)?;
        let last = parts.len() - 1;
        let mut rejected = Some(rejected);
        for (index, (part, body)) in parts.into_iter().enumerate() {
            // Only the last part moves the connector's cursor: a kill between parts must neither lose
            // the rest nor bring a row twice.
            self.place = if index == last {
                Place { source: Some(cursor.clone()), skip: 0 }
            } else {
                Place { skip: self.place.skip + part.num_rows() as u64, ..self.place.clone() }
            };
            self.ingest(&part, body, rejected.take().unwrap_or_default()).await?;
        }
        self.report().await
    }

    async fn ingest(
        &mut self,
        part: &RecordBatch,
        body: Bytes,
        rejected: Vec<RejectedRow>,
    ) -> Result<(), SyncError> {
        let rows = part.num_rows() as u64;
        let rejected_total = rejected.len() as u64;
        let header = BatchHeader {
            rows,
            schema_version: self.schema_version,
            checksum: blake3::hash(&body).to_hex().to_string(),
            key: self.shape.primary_key.clone(),
            sync_id: self.run.sync_id,
            rejected: rejected.into_iter().take(BatchHeader::MAX_REJECTED).map(rejected_record).collect(),
            rejected_total,
        };
        let cursor = Some(self.place.to_value()?);
        let bytes = body.len() as u64;
        let batch = IngestedBatch { header, cursor, bytes };
        let event = self.feed().ingest(self.run.connection_id, &self.selection.name, batch)?;
        let key = self.batch_key()?;
        self.append(event, Some((key, body)), "batch").await?;
        self.progress.rows_read += rows;
        self.progress.rows_rejected += rejected_total;
        self.progress.batches += 1;
        self.progress.bytes += bytes;
        Ok(())
    }

    fn batch_key(&mut self) -> Result<u64, SyncError> {
        if self.keys.is_empty() {
            let fresh = self.run.keys.batch_keys(self.run.tenant, KEYS_AT_ONCE);
            self.keys = fresh.map_err(crate::error::CommandError::from)?;
        }
        self.keys.pop().ok_or_else(|| SyncError::Encode("the key store made no batch key".to_owned()))
    }

    /// Profiles the batch and looks for values that no longer fit what the stream was taken for.
    async fn watch(&mut self, records: &RecordBatch) -> Result<(), SyncError> {
        let schema = records.schema();
        let unknown: Vec<Field> = schema
            .fields()
            .iter()
            .filter(|column| self.shape.field(column.name()).is_none() && column.name() != OPERATION)
            .map(|column| Field {
                name: column.name().clone(),
                logical_type: LogicalType::Text,
                nullable: true,
                format: None,
            })
            .collect();
        let names: Vec<String> = self.shape.fields.iter().map(|field| field.name.clone()).collect();
        let arrays = text_columns(records, &names);
        let columns: Vec<Column<'_>> = arrays.iter().map(Column).collect();
        if let Some(profiler) = &mut self.profiler {
            profiler.push_batch(&columns.iter().collect::<Vec<_>>());
        }
        let mut shape = self.shape.clone();
        let mut findings = Vec::new();
        for (index, guard) in self.guards.iter_mut().enumerate() {
            guard.check(&columns[index]);
            let report = guard.report();
            if report.misfits > 0 {
                let before = shape.fields[index].clone();
                shape.fields[index].logical_type = LogicalType::Text;
                shape.fields[index].format = None;
                let after = shape.fields[index].clone();
                let first = report.first.iter().map(|(_, text)| text.clone()).collect();
                findings.push(widened(self.feed_id, before, after, first));
            }
        }
        for field in unknown {
            findings.push(appeared(self.feed_id, &field));
            shape.fields.push(field);
        }
        if findings.is_empty() {
            return Ok(());
        }
        self.schema_version = record(self.run, self.selection, shape.clone(), findings).await?;
        go_on(self.run, self.selection, self.schema_version).await?;
        let names: Vec<String> = shape.fields.iter().map(|field| field.name.clone()).collect();
        if self.profiler.is_some() && names.len() != self.shape.fields.len() {
            self.profiler = Some(StreamProfiler::new(names, &shape.primary_key));
        }
        self.guards = shape.fields.iter().map(TypeGuard::new).collect();
        self.shape = shape;
        Ok(())
    }

    async fn complete(&mut self, cursor: Value) -> Result<(), SyncError> {
        let open = self.handle.state.as_ref().and_then(|state| state.snapshot.clone());
        if self.snapshot
            && let Some(open) = open
        {
            let floor = (self.known_rows as f64 * VOLUME_FLOOR) as u64;
            if self.known_rows >= VOLUME_ROWS && open.rows < floor {
                // The finding first: a hold that nobody was told of could never be lifted.
                let finding = shrunk(self.feed_id, self.known_rows, open.rows);
                let own = finding.id;
                record(self.run, self.selection, self.shape.clone(), vec![finding]).await?;
                // One open drift a stream and kind: the first reads may have found it already.
                let schema = self.run.commands.load::<StreamSchema>(self.run.tenant, self.feed_id.0).await?;
                let mut open_drifts = schema.state.open.iter();
                let known = open_drifts.find(|(_, drift)| drift.finding.kind == DriftKind::VolumeAnomaly);
                let drift_id = known.map_or(own, |(id, _)| *id);
                let reason = format!("{} rows where {} were before", open.rows, self.known_rows);
                self.place = Place { source: Some(cursor), skip: 0 };
                let place = Some(self.place.to_value()?);
                let event = self.feed().hold_snapshot(open.id, drift_id, place, &reason)?;
                self.append(event, None, "held").await?;
                return self.finish_report().await;
            }
            self.place = Place { source: Some(cursor), skip: 0 };
            let event = self.feed().complete_snapshot(open.id, Some(self.place.to_value()?))?;
            self.append(event, None, "complete").await?;
        }
        self.record_profile().await?;
        self.finish_report().await
    }

    async fn record_profile(&mut self) -> Result<(), SyncError> {
        let Some(mut profile) = self.profiler.take().map(|profiler| profiler.finish()) else {
            return Ok(());
        };
        let known = self.run.commands.load::<StreamSchema>(self.run.tenant, self.feed_id.0).await?;
        if self.resumed
            && let Some(earlier) = &known.state.profile
        {
            profile = joined(earlier.clone(), profile);
        }
        let step = known.version.to_string();
        self.profile_append(&step, profile).await
    }

    async fn profile_store(&self, profile: StreamProfile) -> Result<(), SyncError> {
        let known = self.run.commands.load::<StreamSchema>(self.run.tenant, self.feed_id.0).await?;
        self.profile_append(&known.version.to_string(), profile).await
    }

    async fn profile_append(&self, step: &str, profile: StreamProfile) -> Result<(), SyncError> {
        self.run
            .commands
            .execute::<StreamSchema>(
                &self.run.context(&["profile", &self.selection.name, step]),
                self.feed_id.0,
                StreamSchemaCommand::RecordProfile { profile },
            )
            .await?;
        Ok(())
    }

    async fn append(
        &mut self,
        event: FeedEvent,
        body: Option<(u64, Bytes)>,
        step: &str,
    ) -> Result<(), SyncError> {
        let version = self.handle.version.to_string();
        let context = self.run.context(&["feed", &self.selection.name, &version, step]);
        self.handle =
            self.run.commands.feed_append(&context, self.feed_id, &self.handle, event, body).await?;
        Ok(())
    }

    async fn report(&mut self) -> Result<(), SyncError> {
        if self.reported.elapsed() < REPORT_EVERY {
            return Ok(());
        }
        self.reported = Instant::now();
        self.finish_report().await
    }

    async fn finish_report(&mut self) -> Result<(), SyncError> {
        let rows = self.progress.rows_read;
        self.run.task.progress.report(rows, self.total_rows, &self.selection.name);
        self.run
            .sync(
                &["progress", &self.selection.name, &self.handle.version.to_string()],
                SyncCommand::ReportProgress {
                    stream: self.selection.name.clone(),
                    progress: self.progress.clone(),
                    total_rows: self.total_rows,
                },
            )
            .await?;
        Ok(())
    }
}

fn rejected_record(row: RejectedRow) -> RejectedRecord {
    RejectedRecord { place: row.place, code: row.code.to_owned(), reason: row.reason, raw: row.raw }
}

/// A read that was resumed saw a part; what the earlier part showed still holds.
fn joined(earlier: StreamProfile, mut later: StreamProfile) -> StreamProfile {
    let mut sample = earlier.sample;
    if sample.columns == later.sample.columns {
        sample.merge(&later.sample);
        later.sample = sample;
    }
    later.rows = later.rows.max(earlier.rows);
    later
}

fn finding(feed: FeedId, kind: DriftKind, name: &str, field: Option<&str>, change: &str) -> DriftFinding {
    DriftFinding {
        id: DriftId::derive(&[&feed.to_string(), name, field.unwrap_or_default(), change]),
        kind,
        field: field.map(str::to_owned),
        before: None,
        after: None,
        severity: Severity::Warning,
        confidence: 1.0,
        evidence: Vec::new(),
        repair: None,
    }
}

/// Values beyond the sampled ones that do not fit the type: it is text from this batch on.
fn widened(feed: FeedId, before: Field, after: Field, samples: Vec<String>) -> DriftFinding {
    let change = format!("{}>{}", before.logical_type.as_str(), after.logical_type.as_str());
    let base = finding(feed, DriftKind::TypeWidened, "type_widened", Some(&before.name), &change);
    DriftFinding {
        evidence: vec![Evidence {
            signal: "values".to_owned(),
            score: 1.0,
            detail: format!("values that are no {} came late in the read", before.logical_type.as_str()),
        }],
        before: Some(DriftSide { fields: vec![before], ..DriftSide::default() }),
        after: Some(DriftSide { fields: vec![after], samples, summary: None }),
        ..base
    }
}

fn appeared(feed: FeedId, field: &Field) -> DriftFinding {
    DriftFinding {
        severity: Severity::Info,
        after: Some(DriftSide { fields: vec![field.clone()], ..DriftSide::default() }),
        ..finding(feed, DriftKind::FieldAdded, "field_added", Some(&field.name), "late")
    }
}

fn shrunk(feed: FeedId, before: u64, after: u64) -> DriftFinding {
    let side = |rows: u64| Some(DriftSide { summary: Some(format!("{rows} rows")), ..DriftSide::default() });
    DriftFinding {
        severity: Severity::Critical,
        before: side(before),
        after: side(after),
        evidence: vec![Evidence {
            signal: "volume".to_owned(),
            score: 1.0,
            detail: format!(
                "the read brought {after} rows where the last one had {before}: nothing absent from it was closed"
            ),
        }],
        ..finding(feed, DriftKind::VolumeAnomaly, "volume_anomaly", None, &format!("{before}>{after}"))
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, SyncMode};
    use serde_json::{Value, json};

    /// The connector's cursor and the rows to skip; or the code of what was refused.
    fn check(cursor: Option<Value>, mode: SyncMode, expect: Result<(Option<Value>, u64), &str>) {
        let place = Place::of(cursor.clone(), mode).map_err(|error| error.code());
        assert_eq!(place.map(|place| (place.source, place.skip)), expect, "{cursor:?} {mode:?}");
    }

    #[test]
    fn a_feed_goes_on_where_it_was_or_says_that_it_cannot() {
        use SyncMode::{Full, Incremental};
        let offset = || Some(json!({ "offset": 7 }));
        let none = || Ok((None, 0));
        check(None, Incremental, none());
        check(Some(json!({ "source": null, "skip": 0 })), Incremental, none());
        check(Some(json!({ "source": { "offset": 7 } })), Incremental, Ok((offset(), 0)));
        check(Some(json!({ "source": { "offset": 7 }, "skip": 3 })), Incremental, Ok((offset(), 3)));
        check(Some(json!({ "source": { "offset": 7 }, "skip": 3 })), Full, Ok((offset(), 3)));
        let unreadable = [
            json!({}),
            json!({ "offset": 7 }),
            json!({ "source": null, "skip": -1 }),
            json!({ "source": null, "skip": 0, "shard": 2 }),
            json!("7"),
        ];
        for cursor in unreadable {
            check(Some(cursor.clone()), Incremental, Err("AOS-0363"));
            check(Some(cursor), Full, none());
        }
    }
}
