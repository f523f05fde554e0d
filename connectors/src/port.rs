//! The `Connector` port: what every source must offer.

use crate::error::ConnectorError;
use arrow_array::RecordBatch;
use async_trait::async_trait;
use autonomos_domain::schema::{DiscoveredStream, StreamSelection, StreamShape, SyncMode};
use futures::stream::BoxStream;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

/// One step of a check.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct CheckStep {
    pub name: String,
    pub passed: bool,
    /// What was found; if it failed, how to mend it.
    pub message: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Capabilities {
    pub full: bool,
    pub incremental: bool,
    pub cdc: bool,
    pub deletes: bool,
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

/// What a read yields, in order: `Began`, then batches, then `Completed`.
#[derive(Debug, Clone)]
pub enum ReadEvent {
    /// The shape of what comes, from head, middle and tail of the source. `snapshot`: every current
    /// row follows, so that rows absent from it are gone. `preview` is a sample of its rows from
    /// head, middle and tail (same columns, all Utf8), at most a few thousand, for drift to be
    /// judged before the first row is taken in. `resumed`: it continues the cursor's snapshot.
    Began { shape: StreamShape, snapshot: bool, resumed: bool, preview: RecordBatch, total_rows: Option<u64> },
    /// All columns Utf8 with the source's names; nested values as JSON text. At most
    /// [`MAX_BATCH_ROWS`] rows and about [`MAX_BATCH_BYTES`] bytes. `cursor` is where to go on
    /// after this batch is durable.
    Batch { records: RecordBatch, rejected: Vec<RejectedRow>, cursor: Value },
    /// The source is read to its end.
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
}
