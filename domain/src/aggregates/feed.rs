//! The batches of one connection stream. Appended straight through the log with the expected last
//! version, so that there is one reader at a time; loading a feed is reading its last commit, for
//! every event carries the whole state.

use super::domain_event;
use crate::ids::{ConnectionId, SnapshotId, SyncId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Everything the next reader must know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FeedState {
    pub connection_id: ConnectionId,
    pub stream: String,
    /// Where the source was read up to; the connector's own.
    pub cursor: Option<Value>,
    /// The `StreamSchema` version of the latest batch.
    pub schema_version: u32,
    /// The snapshot being read, if one is open, and rows it has so far.
    pub snapshot: Option<OpenSnapshot>,
    pub batches: u64,
    pub rows: u64,
    /// Stored bytes of all batches, as sealed.
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenSnapshot {
    pub id: SnapshotId,
    pub rows: u64,
    /// Cursor the source had when the snapshot began: the next incremental read starts there.
    pub opened_by: SyncId,
}

/// The header of a batch; the rows are in the event's sealed body, as an Arrow IPC stream with
/// zstd buffers. All columns are Utf8 with the source's own names; nested values are JSON text;
/// null is null. A column `_aos_op` may say `delete` for a row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BatchHeader {
    pub rows: u64,
    pub schema_version: u32,
    /// BLAKE3 of the body before it was sealed, hex.
    pub checksum: String,
    /// Columns that make the record's key in this batch, in order; empty: the whole row.
    pub key: Vec<String>,
    pub sync_id: SyncId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum FeedEvent {
    /// A full read, or a new edition of a file, begins.
    SnapshotStarted {
        snapshot_id: SnapshotId,
        sync_id: SyncId,
        state: FeedState,
    },
    RecordsIngested {
        batch: BatchHeader,
        state: FeedState,
    },
    /// All rows of the snapshot are in; records absent from it are gone.
    SnapshotCompleted {
        snapshot_id: SnapshotId,
        rows: u64,
        state: FeedState,
    },
    /// The read was given up: what came stays, nothing is closed.
    SnapshotAbandoned {
        snapshot_id: SnapshotId,
        reason: String,
        state: FeedState,
    },
    /// The connection is gone: all its records close here.
    FeedClosed {
        state: FeedState,
    },
}
domain_event!(FeedEvent {
    SnapshotStarted,
    RecordsIngested,
    SnapshotCompleted,
    SnapshotAbandoned,
    FeedClosed,
});

impl FeedEvent {
    pub fn state(&self) -> &FeedState {
        match self {
            Self::SnapshotStarted { state, .. }
            | Self::RecordsIngested { state, .. }
            | Self::SnapshotCompleted { state, .. }
            | Self::SnapshotAbandoned { state, .. }
            | Self::FeedClosed { state } => state,
        }
    }
}
