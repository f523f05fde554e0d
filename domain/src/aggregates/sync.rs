//! One run of a connection: its life cycle and what each stream did.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::ids::{ConnectionId, TaskId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Counts of one stream in one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StreamProgress {
    pub rows_read: u64,
    pub batches: u64,
    /// Bytes appended to the log.
    pub bytes: u64,
    /// Rows the connector itself could not read (ragged, undecodable), kept as quarantine.
    pub rows_rejected: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum SyncEvent {
    SyncRequested {
        connection_id: ConnectionId,
        task_id: TaskId,
    },
    SyncStarted {
        attempt: u32,
        streams: Vec<String>,
    },
    StreamSyncStarted {
        stream: String,
    },
    /// Now and then, for people who watch: counts so far.
    StreamSyncProgressed {
        stream: String,
        progress: StreamProgress,
        total_rows: Option<u64>,
    },
    StreamSyncCompleted {
        stream: String,
        progress: StreamProgress,
    },
    StreamSyncFailed {
        stream: String,
        code: String,
        message: String,
    },
    SyncSucceeded {},
    SyncFailed {
        code: String,
        message: String,
    },
    SyncCancelled {},
}
domain_event!(SyncEvent {
    SyncRequested,
    SyncStarted,
    StreamSyncStarted,
    StreamSyncProgressed,
    StreamSyncCompleted,
    StreamSyncFailed,
    SyncSucceeded,
    SyncFailed,
    SyncCancelled,
});

#[derive(Debug, Clone)]
pub enum SyncCommand {
    RequestSync { connection_id: ConnectionId, task_id: TaskId },
    StartSync { attempt: u32, streams: Vec<String> },
    StartStream { stream: String },
    ReportProgress { stream: String, progress: StreamProgress, total_rows: Option<u64> },
    CompleteStream { stream: String, progress: StreamProgress },
    FailStream { stream: String, code: String, message: String },
    SucceedSync,
    FailSync { code: String, message: String },
    CancelSync,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SyncStatus {
    #[default]
    Requested,
    Running,
    Succeeded,
    Failed,
    Cancelled,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamStatus {
    #[default]
    Waiting,
    Running,
    Completed,
    Failed,
}

/// One stream's part of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamRun {
    pub status: StreamStatus,
    pub progress: StreamProgress,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sync {
    pub connection_id: Option<ConnectionId>,
    pub task_id: Option<TaskId>,
    pub status: SyncStatus,
    pub attempt: u32,
    pub streams: BTreeMap<String, StreamRun>,
}
stored_aggregate!(Sync, Sync, SyncCommand, SyncEvent);

impl Sync {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: SyncCommand) -> Result<Vec<SyncEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: SyncEvent) {}
}
