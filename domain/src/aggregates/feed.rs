//! The batches of one connection stream. Appended straight through the log with the expected last
//! version, so that there is one reader at a time; loading a feed is reading its last commit, for
//! every event carries the whole state.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::ids::{ConnectionId, DriftId, SnapshotId, SyncId};
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
    /// Rows of the last snapshot that was completed: what the next one's volume is measured by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_rows: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenSnapshot {
    pub id: SnapshotId,
    pub rows: u64,
    /// The run that began it.
    pub opened_by: SyncId,
    /// The finding a person must accept before what is absent from the snapshot closes; none while
    /// it is being read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<DriftId>,
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
    /// Rows the connector could not make a record of, at most [`BatchHeader::MAX_REJECTED`] of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected: Vec<RejectedRecord>,
    /// How many there were in all.
    #[serde(default)]
    pub rejected_total: u64,
}

impl BatchHeader {
    pub const MAX_REJECTED: usize = 100;
}

/// A row that is no record; it waits in quarantine as it stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RejectedRecord {
    /// Where it stood in the source: `line 17`.
    pub place: String,
    pub code: String,
    pub reason: String,
    pub raw: String,
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
    /// All rows are in, but far fewer than before: what is absent stays until a person accepts it.
    SnapshotHeld {
        snapshot_id: SnapshotId,
        drift_id: DriftId,
        reason: String,
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
    SnapshotHeld,
    SnapshotAbandoned,
    FeedClosed,
});

impl FeedEvent {
    pub fn state(&self) -> &FeedState {
        match self {
            Self::SnapshotStarted { state, .. }
            | Self::RecordsIngested { state, .. }
            | Self::SnapshotCompleted { state, .. }
            | Self::SnapshotHeld { state, .. }
            | Self::SnapshotAbandoned { state, .. }
            | Self::FeedClosed { state } => state,
        }
    }
}

/// Feeds take no commands: their events go straight to the log, made by the functions of [`Feed`].
#[derive(Debug, Clone)]
pub enum FeedCommand {}

/// The state of the last event; none before the first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    pub state: Option<FeedState>,
    pub closed: bool,
}
stored_aggregate!(Feed, Feed, FeedCommand, FeedEvent);

/// What one read brought, to be appended as a batch.
#[derive(Debug, Clone)]
pub struct IngestedBatch {
    pub header: BatchHeader,
    /// Where the source is read up to with this batch; none keeps the cursor.
    pub cursor: Option<Value>,
    /// Stored bytes of the body, as sealed.
    pub bytes: u64,
}

impl Feed {
    /// The state of a feed nothing was read from yet.
    pub fn initial(connection_id: ConnectionId, stream: &str) -> FeedState {
        FeedState {
            connection_id,
            stream: stream.to_owned(),
            cursor: None,
            schema_version: 0,
            snapshot: None,
            batches: 0,
            rows: 0,
            bytes: 0,
            completed_rows: None,
        }
    }

    /// The feed as its last event (if there is one) left it.
    pub fn after(last: Option<&FeedEvent>) -> Self {
        let mut feed = Self::default();
        if let Some(event) = last {
            feed.evolve(event.clone());
        }
        feed
    }

    pub fn decide(&self, command: FeedCommand) -> Result<Vec<FeedEvent>, Error> {
        match command {}
    }

    fn evolve(&mut self, event: FeedEvent) {
        self.closed = matches!(event, FeedEvent::FeedClosed { .. });
        self.state = Some(event.state().clone());
    }

    fn open(&self, connection_id: ConnectionId, stream: &str) -> Result<FeedState, Error> {
        match &self.state {
            _ if self.closed => {
                Err(Error::WrongState { what: "feed", status: "closed".to_owned(), action: "read it" })
            }
            None => Ok(Self::initial(connection_id, stream)),
            Some(state) if state.connection_id == connection_id && state.stream == stream => {
                Ok(state.clone())
            }
            Some(state) => Err(Error::conflict(format!(
                "the feed belongs to stream `{}` of connection `{}`",
                state.stream, state.connection_id
            ))),
        }
    }

    fn known(&self, action: &'static str) -> Result<FeedState, Error> {
        match &self.state {
            Some(state) if !self.closed => Ok(state.clone()),
            Some(_) => Err(Error::WrongState { what: "feed", status: "closed".to_owned(), action }),
            None => Err(Error::WrongState { what: "feed", status: "empty".to_owned(), action }),
        }
    }

    fn snapshot_of(&self, snapshot_id: SnapshotId, action: &'static str) -> Result<(FeedState, u64), Error> {
        let mut state = self.known(action)?;
        match state.snapshot.take() {
            Some(open) if open.id == snapshot_id => Ok((state, open.rows)),
            Some(open) => {
                Err(Error::conflict(format!("snapshot `{}` is open, not `{snapshot_id}`", open.id)))
            }
            None => Err(Error::WrongState { what: "feed", status: "without a snapshot".to_owned(), action }),
        }
    }

    /// Begins a full read or a new edition. Refused while one is open: abandon it first.
    pub fn start_snapshot(
        &self,
        connection_id: ConnectionId,
        stream: &str,
        snapshot_id: SnapshotId,
        sync_id: SyncId,
    ) -> Result<FeedEvent, Error> {
        let mut state = self.open(connection_id, stream)?;
        if let Some(open) = &state.snapshot {
            return Err(Error::conflict(format!("snapshot `{}` is still open", open.id)));
        }
        state.snapshot = Some(OpenSnapshot { id: snapshot_id, rows: 0, opened_by: sync_id, held: None });
        Ok(FeedEvent::SnapshotStarted { snapshot_id, sync_id, state })
    }

    /// Appends a batch; its rows count for the open snapshot, if one is open.
    pub fn ingest(
        &self,
        connection_id: ConnectionId,
        stream: &str,
        batch: IngestedBatch,
    ) -> Result<FeedEvent, Error> {
        let mut state = self.open(connection_id, stream)?;
        if batch.header.schema_version == 0 {
            return Err(Error::invalid("/batch/schema_version", "versions start at 1, not `0`"));
        }
        state.schema_version = batch.header.schema_version;
        state.batches += 1;
        state.rows += batch.header.rows;
        state.bytes += batch.bytes;
        if batch.cursor.is_some() {
            state.cursor = batch.cursor;
        }
        if let Some(snapshot) = &mut state.snapshot {
            snapshot.rows += batch.header.rows;
        }
        Ok(FeedEvent::RecordsIngested { batch: batch.header, state })
    }

    /// All rows of the snapshot are in. `cursor`: where the next read starts; none keeps it.
    pub fn complete_snapshot(
        &self,
        snapshot_id: SnapshotId,
        cursor: Option<Value>,
    ) -> Result<FeedEvent, Error> {
        let (mut state, rows) = self.snapshot_of(snapshot_id, "complete the snapshot")?;
        if cursor.is_some() {
            state.cursor = cursor;
        }
        state.completed_rows = Some(rows);
        Ok(FeedEvent::SnapshotCompleted { snapshot_id, rows, state })
    }

    /// All rows of the snapshot are in, and a person must accept `drift_id` before it counts as
    /// complete. `cursor`: where the next read starts, as in [`Feed::complete_snapshot`].
    pub fn hold_snapshot(
        &self,
        snapshot_id: SnapshotId,
        drift_id: DriftId,
        cursor: Option<Value>,
        reason: &str,
    ) -> Result<FeedEvent, Error> {
        const ACTION: &str = "hold the snapshot";
        self.snapshot_of(snapshot_id, ACTION)?;
        let mut state = self.known(ACTION)?;
        if let Some(open) = &mut state.snapshot {
            open.held = Some(drift_id);
        }
        if cursor.is_some() {
            state.cursor = cursor;
        }
        Ok(FeedEvent::SnapshotHeld { snapshot_id, drift_id, reason: reason.to_owned(), state })
    }

    /// Completes the snapshot that waits for `drift_id`; nothing if none does.
    pub fn release_snapshot(&self, drift_id: DriftId) -> Result<Option<FeedEvent>, Error> {
        let open = self.state.as_ref().filter(|_| !self.closed).and_then(|state| state.snapshot.as_ref());
        match open {
            Some(open) if open.held == Some(drift_id) => self.complete_snapshot(open.id, None).map(Some),
            _ => Ok(None),
        }
    }

    /// Gives the open snapshot up: what came stays, nothing closes.
    pub fn abandon(&self, snapshot_id: SnapshotId, reason: &str) -> Result<FeedEvent, Error> {
        let (state, _) = self.snapshot_of(snapshot_id, "abandon the snapshot")?;
        Ok(FeedEvent::SnapshotAbandoned { snapshot_id, reason: reason.to_owned(), state })
    }

    /// Ends the feed: its records close here, an open snapshot with them.
    pub fn close(&self) -> Result<FeedEvent, Error> {
        let mut state = self.known("close it")?;
        state.snapshot = None;
        Ok(FeedEvent::FeedClosed { state })
    }
}
