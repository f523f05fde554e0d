//! The `Connector` port: what every source must offer.

use crate::error::ConnectorError;
use arrow_array::RecordBatch;
use async_trait::async_trait;
use autonomos_domain::schema::{DiscoveredStream, StreamSelection, StreamShape, SyncMode};
use futures::{Stream, StreamExt, stream::BoxStream};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio::{sync::mpsc, task::JoinError};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// One step of a check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckStep {
    pub name: String,
    pub passed: bool,
    /// What was found; if it failed, how to mend it.
    pub message: String,
}

impl CheckStep {
    pub(crate) fn passed(name: &str, message: impl Into<String>) -> Self {
        Self { name: name.to_owned(), passed: true, message: message.into() }
    }

    pub(crate) fn failed(name: &str, cause: &ConnectorError) -> Self {
        Self { name: name.to_owned(), passed: false, message: format!("{} {cause}", cause.code()) }
    }
}

/// What a kind of source can do.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct Capabilities {
    pub full: bool,
    pub incremental: bool,
    /// An incremental read brings rows again by their key, and each is there once.
    pub incremental_dedup: bool,
    pub cdc: bool,
    /// Rows that are gone from the source close in the views.
    pub deletes: bool,
    /// Requests to it are counted, so that a ceiling of a day can be set.
    pub counts_requests: bool,
}

/// A kind of source, as the catalogue shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct ConnectorInfo {
    /// `file`, `salesforce`, …
    pub id: &'static str,
    pub name: &'static str,
    pub config_schema: Value,
    pub capabilities: Capabilities,
}

/// A row the connector could not make a record of.
#[derive(Debug, Clone, Serialize)]
pub struct RejectedRow {
    /// Where: `line 17`, `sheet Data row 9`.
    pub place: String,
    /// Stable code, `AOS-…`.
    pub code: &'static str,
    pub reason: String,
    /// The bytes as they stood, cut at 4 kB, lossy.
    pub raw: String,
}

/// The column by which a row of a batch says what became of its record: `delete`, or null for a row
/// that is there. A deleted row needs its key's columns alone.
pub const OPERATION: &str = "_aos_op";

/// What a read yields, in order: `Began`, then batches, then `Completed`. A read that takes a snapshot
/// and then goes on with what changed meanwhile yields that sequence twice. Between batches a stream's
/// shape may change (`Reshaped`), and all its rows may go (`Cleared`).
#[derive(Debug, Clone)]
pub enum ReadEvent {
    /// The shape of what comes, from head, middle and tail of the source. `snapshot`: every current
    /// row follows, so that rows absent from it are gone. `preview` is a sample of its rows from
    /// head, middle and tail (same columns, all Utf8), at most a few thousand, for drift to be
    /// judged before the first row is taken in. `resumed`: it goes on from the cursor, in the shape
    /// that was known there; the preview may then be empty, or what the rows are like by now.
    Began { shape: StreamShape, snapshot: bool, resumed: bool, preview: RecordBatch, total_rows: Option<u64> },
    /// All columns Utf8 with the source's names; nested values as JSON text. At most
    /// [`MAX_BATCH_ROWS`] rows and about [`MAX_BATCH_BYTES`] bytes, in the order of change: of two
    /// rows of one key the later counts. [`OPERATION`] may be among the columns. `cursor` is where to go
    /// on after this batch is durable; a batch without rows moves it alone.
    Batch { records: RecordBatch, rejected: Vec<RejectedRow>, cursor: Value },
    /// The source said, in the middle of its changes, that rows have another shape from here on:
    /// drift is judged as at the beginning of a read. `preview` is as in `Began`.
    Reshaped { shape: StreamShape, preview: RecordBatch },
    /// The source said that every row is gone.
    Cleared { cursor: Value },
    /// The source is read to its end, or its snapshot is.
    Completed { cursor: Value },
    /// Nothing is new since the cursor.
    Unchanged,
}

pub const MAX_BATCH_ROWS: usize = 16_384;
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;

/// A configured source. Dropping the stream of a `read` or cancelling the token ends it within a second.
#[async_trait]
pub trait Connector: Send + Sync + 'static {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError>;

    async fn discover(&self, cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError>;

    /// Reads a stream from a cursor, with back-pressure: nothing is read ahead beyond a few batches.
    fn read(
        &self,
        stream: &StreamSelection,
        mode: SyncMode,
        cursor: Option<Value>,
        cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>>;

    /// How a stream is read unless a person chose.
    fn default_mode(&self, stream: &DiscoveredStream) -> SyncMode {
        let preferred = [SyncMode::Cdc, SyncMode::Incremental];
        preferred.into_iter().find(|mode| stream.sync_modes.contains(mode)).unwrap_or(SyncMode::Full)
    }

    /// Told after a sync that read every stream of the connection that captures changes: up to these
    /// cursors all is durable, so that the source may forget what it kept for us.
    async fn confirm(&self, _streams: &[(String, Value)]) -> Result<(), ConnectorError> {
        Ok(())
    }

    /// Told when the connection is deleted: takes back what it made in the source. May be repeated.
    async fn release(&self) -> Result<(), ConnectorError> {
        Ok(())
    }
}

/// Batches that are read ahead.
pub(crate) const CHANNEL: usize = 2;

/// Where a worker sends what it reads.
pub(crate) type Events = mpsc::Sender<Result<ReadEvent, ConnectorError>>;

/// The events of a reader that works beside whoever takes them, a few batches ahead. It is dropped with
/// the stream, so that a request under way is cut at once. `broken`: see [`events_of`].
pub(crate) fn read_ahead<W>(
    cancel: CancellationToken,
    broken: fn(JoinError) -> ConnectorError,
    work: impl FnOnce(Events) -> W + Send + 'static,
) -> BoxStream<'static, Result<ReadEvent, ConnectorError>>
where
    W: Future<Output = Result<(), ConnectorError>> + Send + 'static,
{
    let begin = async move {
        let (sender, receiver) = mpsc::channel(CHANNEL);
        let work = work(sender.clone());
        let worker = tokio::spawn(async move {
            if let Err(cause) = work.await {
                // Nobody listens any more: there is nobody to tell.
                let _ = sender.send(Err(cause)).await;
            }
        });
        events_of(receiver, AbortOnDropHandle::new(worker), cancel, broken)
    };
    futures::stream::once(begin).flatten().boxed()
}

/// The events that a worker sends, to its end; over at once when they are cancelled. `broken`: what a
/// worker that panicked is told as, for it must not look like an end.
pub(crate) fn events_of(
    receiver: mpsc::Receiver<Result<ReadEvent, ConnectorError>>,
    worker: impl Future<Output = Result<(), JoinError>> + Send,
    cancel: CancellationToken,
    broken: fn(JoinError) -> ConnectorError,
) -> impl Stream<Item = Result<ReadEvent, ConnectorError>> + Send {
    futures::stream::unfold(Some((receiver, Box::pin(worker), cancel)), move |state| async move {
        let (mut receiver, worker, cancel) = state?;
        let received = tokio::select! {
            biased;
            () = cancel.cancelled() => return Some((Err(ConnectorError::Cancelled), None)),
            received = receiver.recv() => received,
        };
        match received {
            Some(Ok(event)) => Some((Ok(event), Some((receiver, worker, cancel)))),
            Some(Err(cause)) => Some((Err(cause), None)),
            None => worker.await.err().map(|cause| (Err(broken(cause)), None)),
        }
    })
}
