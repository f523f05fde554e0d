//! Work in the background, with progress, retry and cancel.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{ids::TaskId, limits};
use chrono::{DateTime, TimeDelta, Utc};
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
        /// The worker's term as the one that runs tasks; 0 where there is one node.
        #[serde(default, skip_serializing_if = "is_zero")]
        term: u64,
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
    /// Retries with back-off while `retryable` and tries are left; else fails or dies. `wait_seconds`:
    /// no sooner than that, as a source asked; at most a day.
    FailTask {
        code: String,
        message: String,
        retryable: bool,
        wait_seconds: Option<u64>,
        now: DateTime<Utc>,
    },
    /// Its worker is gone (crash or shutdown): tried again at once, even if its retries are used up,
    /// but not for ever, for it may be what stopped the worker.
    LoseWorker {
        now: DateTime<Utc>,
    },
    RequestCancel,
    ConfirmCancel,
    /// By a person: a failed, dead or cancelled task runs again.
    RetryTask {
        now: DateTime<Utc>,
    },
    /// A worker's command, refused once the task was begun in a later term than the worker's: who was
    /// paused while another took over finds that it has no say any more.
    InTerm {
        term: u64,
        command: Box<TaskCommand>,
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
    /// The term of the worker that began it last.
    pub term: u64,
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
    pub fn decide(&self, command: TaskCommand) -> Result<Vec<TaskEvent>, Error> {
        use TaskCommand as Command;
        use TaskStatus as Status;
        if let Command::QueueTask {
            task_id,
            action,
            payload,
            max_retries,
            timeout_seconds,
            run_at,
            priority,
        } = command
        {
            if self.task_id.is_some() {
                return Err(Error::AlreadyExists { what: "task", id: task_id.to_string() });
            }
            limits::identifier("/action", &action)?;
            limits::json("bytes of payload", &payload)?;
            check_range("/max_retries", i64::from(max_retries), 0, i64::from(limits::TASK_RETRIES))?;
            check_range("/timeout_seconds", timeout_seconds as i64, 1, limits::TASK_SECONDS as i64)?;
            let priorities = i64::from(limits::TASK_PRIORITY);
            check_range("/priority", i64::from(priority), -priorities, priorities)?;
            return Ok(vec![TaskEvent::TaskQueued {
                task_id,
                action,
                payload,
                max_retries,
                timeout_seconds,
                run_at,
                priority,
            }]);
        }
        let Some(task_id) = self.task_id else {
            return Err(Error::Missing { what: "task" });
        };
        if let Command::InTerm { term, command } = command {
            return self.decide_in(term, *command);
        }
        match (command, self.status) {
            (Command::StartTask { worker }, Status::Queued | Status::Retrying) => {
                limits::name("/worker", &worker)?;
                Ok(vec![TaskEvent::TaskStarted { attempt: self.attempt + 1, worker, term: 0 }])
            }
            (Command::ReportProgress { done, total, note }, Status::Running) => {
                let behind = done < self.done || (done == self.done && total == self.total);
                if behind {
                    return Ok(Vec::new());
                }
                Ok(vec![TaskEvent::TaskProgressed { done, total, note: limits::cut(note) }])
            }
            (Command::SucceedTask { result }, Status::Running) => {
                limits::json("bytes of result", &result)?;
                Ok(vec![TaskEvent::TaskSucceeded { result }])
            }
            // It ended, and nobody wants another try.
            (Command::FailTask { .. }, Status::Running) if self.cancel_requested => {
                Ok(vec![TaskEvent::TaskCancelled {}])
            }
            (Command::FailTask { code, message, retryable, wait_seconds, now }, Status::Running) => {
                let (code, message) = (limits::cut(code), limits::cut(message));
                Ok(vec![if !retryable {
                    TaskEvent::TaskFailed { code, message }
                } else if self.attempt <= self.max_retries {
                    let asked = wait_seconds.map_or(TimeDelta::zero(), |seconds| {
                        TimeDelta::seconds(seconds.min(LONGEST_WAIT_SECONDS) as i64)
                    });
                    let at = now + asked.max(back_off(task_id, self.attempt));
                    TaskEvent::TaskRetryScheduled { attempt: self.attempt + 1, at, code, message }
                } else {
                    TaskEvent::TaskDied { code, message }
                }])
            }
            (Command::LoseWorker { .. }, Status::Running) if self.cancel_requested => {
                Ok(vec![TaskEvent::TaskCancelled {}])
            }
            (Command::LoseWorker { now }, Status::Running) => {
                let (code, message) =
                    (WORKER_LOST.to_owned(), "its worker stopped before it was done".to_owned());
                Ok(vec![if self.attempt <= self.max_retries.max(LOST_WORKERS) {
                    TaskEvent::TaskRetryScheduled { attempt: self.attempt + 1, at: now, code, message }
                } else {
                    TaskEvent::TaskDied { code, message }
                }])
            }
            (Command::RequestCancel, Status::Queued | Status::Retrying) => {
                Ok(vec![TaskEvent::TaskCancelled {}])
            }
            (Command::RequestCancel, Status::Running) if self.cancel_requested => Ok(Vec::new()),
            (Command::RequestCancel, Status::Running) => Ok(vec![TaskEvent::TaskCancelRequested {}]),
            (Command::ConfirmCancel, Status::Running) if self.cancel_requested => {
                Ok(vec![TaskEvent::TaskCancelled {}])
            }
            (Command::RequestCancel | Command::ConfirmCancel, Status::Cancelled) => Ok(Vec::new()),
            (Command::RetryTask { now }, Status::Failed | Status::Dead | Status::Cancelled) => {
                Ok(vec![TaskEvent::TaskRetryScheduled {
                    attempt: 1,
                    at: now,
                    code: REQUESTED.to_owned(),
                    message: "a person asked for another try".to_owned(),
                }])
            }
            (command, status) => Err(Error::WrongState {
                what: "task",
                status: status.as_str().to_owned(),
                action: command.action(),
            }),
        }
    }

    fn decide_in(&self, own: u64, command: TaskCommand) -> Result<Vec<TaskEvent>, Error> {
        // An earlier worker's attempt may be taken from it, and nothing else be said of it.
        let ends_another = matches!(command, TaskCommand::StartTask { .. } | TaskCommand::LoseWorker { .. });
        if self.term > own || (self.term < own && self.status == TaskStatus::Running && !ends_another) {
            let action = command.action();
            return Err(Error::WrongState { what: "task", status: "another worker's".to_owned(), action });
        }
        let mut events = self.decide(command)?;
        for event in &mut events {
            if let TaskEvent::TaskStarted { term, .. } = event {
                *term = own;
            }
        }
        Ok(events)
    }

    fn evolve(&mut self, event: TaskEvent) {
        match event {
            TaskEvent::TaskQueued {
                task_id,
                action,
                payload,
                max_retries,
                timeout_seconds,
                run_at,
                priority,
            } => {
                *self = Self {
                    task_id: Some(task_id),
                    action,
                    payload,
                    max_retries,
                    timeout_seconds,
                    run_at,
                    priority,
                    ..Self::default()
                };
            }
            TaskEvent::TaskStarted { attempt, term, .. } => {
                self.term = term;
                self.status = TaskStatus::Running;
                self.attempt = attempt;
                self.run_at = None;
                self.done = 0;
                self.total = None;
            }
            TaskEvent::TaskProgressed { done, total, .. } => {
                self.done = done;
                self.total = total;
            }
            TaskEvent::TaskRetryScheduled { attempt, at, .. } => {
                self.status = TaskStatus::Retrying;
                self.attempt = attempt.saturating_sub(1);
                self.run_at = Some(at);
                self.cancel_requested = false;
            }
            TaskEvent::TaskSucceeded { .. } => self.status = TaskStatus::Succeeded,
            TaskEvent::TaskFailed { .. } => self.status = TaskStatus::Failed,
            TaskEvent::TaskDied { .. } => self.status = TaskStatus::Dead,
            TaskEvent::TaskCancelRequested {} => self.cancel_requested = true,
            TaskEvent::TaskCancelled {} => self.status = TaskStatus::Cancelled,
        }
    }
}

/// The code of a retry that a person asked for.
pub const REQUESTED: &str = "requested";
/// The code of a retry after its worker stopped.
pub const WORKER_LOST: &str = "AOS-0353";
/// What a source may ask for: most quotas begin anew within a day.
const LONGEST_WAIT_SECONDS: u64 = 86_400;
/// Workers a task may lose, however few retries it has.
const LOST_WORKERS: u32 = 30;
const BACK_OFF_BASE_MILLISECONDS: u64 = 2_000;
const BACK_OFF_CAP_MILLISECONDS: u64 = 15 * 60 * 1_000;

/// Exponential, half of it jitter ("equal jitter", Brooker, AWS Architecture Blog 2015), drawn from
/// the id: the same on every node, spread over many tasks.
fn back_off(task_id: TaskId, attempt: u32) -> TimeDelta {
    let exponent = attempt.saturating_sub(1).min(20);
    let full = (BACK_OFF_BASE_MILLISECONDS << exponent).min(BACK_OFF_CAP_MILLISECONDS);
    let mut hasher = blake3::Hasher::new();
    hasher.update(task_id.0.as_bytes());
    hasher.update(&attempt.to_be_bytes());
    let mut draw = [0; 8];
    hasher.finalize_xof().fill(&mut draw);
    let jitter = u64::from_be_bytes(draw) % (full / 2 + 1);
    TimeDelta::milliseconds((full / 2 + jitter) as i64)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn check_range(field: &str, value: i64, least: i64, most: i64) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(field, format!("`{value}` is not within {least} and {most}")))
}

impl TaskStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing follows but a person's retry (of those that did not succeed).
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Dead | Self::Cancelled)
    }
}

impl TaskCommand {
    fn action(&self) -> &'static str {
        match self {
            Self::QueueTask { .. } => "queue it",
            Self::StartTask { .. } => "start it",
            Self::ReportProgress { .. } => "report progress",
            Self::SucceedTask { .. } => "complete it",
            Self::FailTask { .. } => "fail it",
            Self::LoseWorker { .. } => "lose its worker",
            Self::RequestCancel => "cancel it",
            Self::ConfirmCancel => "confirm that it stopped",
            Self::RetryTask { .. } => "retry it",
            Self::InTerm { command, .. } => command.action(),
        }
    }
}
