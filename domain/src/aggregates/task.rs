//! Work in the background, with progress, retry and cancel.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::ids::TaskId;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    #[default]
    Queued,
    Running,
    Retrying,
    Succeeded,
    Failed,
    /// Failed as often as it may.
    Dead,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum TaskEvent {
    TaskQueued {
        task_id: TaskId,
        /// What to do: `sync`, …
        action: String,
        payload: Value,
        max_retries: u32,
        timeout_seconds: u64,
        run_at: Option<DateTime<Utc>>,
        priority: i32,
    },
    TaskStarted {
        attempt: u32,
        worker: String,
    },
    TaskProgressed {
        done: u64,
        total: Option<u64>,
        note: String,
    },
    TaskRetryScheduled {
        attempt: u32,
        at: DateTime<Utc>,
        code: String,
        message: String,
    },
    TaskSucceeded {
        result: Value,
    },
    /// Not worth another try.
    TaskFailed {
        code: String,
        message: String,
    },
    TaskDied {
        code: String,
        message: String,
    },
    TaskCancelRequested {},
    TaskCancelled {},
}
domain_event!(TaskEvent {
    TaskQueued,
    TaskStarted,
    TaskProgressed,
    TaskRetryScheduled,
    TaskSucceeded,
    TaskFailed,
    TaskDied,
    TaskCancelRequested,
    TaskCancelled,
});

#[derive(Debug, Clone)]
pub enum TaskCommand {
    QueueTask {
        /// The aggregate's own id: it spreads the retries of many tasks over time.
        task_id: TaskId,
        action: String,
        payload: Value,
        max_retries: u32,
        timeout_seconds: u64,
        run_at: Option<DateTime<Utc>>,
        priority: i32,
    },
    StartTask {
        worker: String,
    },
    ReportProgress {
        done: u64,
        total: Option<u64>,
        note: String,
    },
    SucceedTask {
        result: Value,
    },
    /// Retries with back-off while `retryable` and tries are left; else fails or dies.
    FailTask {
        code: String,
        message: String,
        retryable: bool,
        now: DateTime<Utc>,
    },
    RequestCancel,
    ConfirmCancel,
    /// By a person: a failed, dead or cancelled task runs again.
    RetryTask {
        now: DateTime<Utc>,
    },
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Task {
    pub task_id: Option<TaskId>,
    pub action: String,
    pub payload: Value,
    pub status: TaskStatus,
    /// Tries begun so far, since a person last asked for it.
    pub attempt: u32,
    pub max_retries: u32,
    pub timeout_seconds: u64,
    /// Not before.
    pub run_at: Option<DateTime<Utc>>,
    pub priority: i32,
    pub cancel_requested: bool,
    pub done: u64,
    pub total: Option<u64>,
}
stored_aggregate!(Task, Task, TaskCommand, TaskEvent);

impl Task {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: TaskCommand) -> Result<Vec<TaskEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: TaskEvent) {}
}
