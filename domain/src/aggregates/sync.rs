//! One run of a connection: its life cycle and what each stream did.

use super::domain_event;
use crate::ids::{ConnectionId, TaskId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
