//! One run of a connection: its life cycle and what each stream did.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    ids::{ConnectionId, TaskId},
    limits::{self, quoted},
};
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
    RequestSync {
        connection_id: ConnectionId,
        task_id: TaskId,
    },
    StartSync {
        attempt: u32,
        streams: Vec<String>,
    },
    StartStream {
        stream: String,
    },
    ReportProgress {
        stream: String,
        progress: StreamProgress,
        total_rows: Option<u64>,
    },
    CompleteStream {
        stream: String,
        progress: StreamProgress,
    },
    FailStream {
        stream: String,
        code: String,
        message: String,
    },
    SucceedSync,
    FailSync {
        code: String,
        message: String,
    },
    CancelSync,
    /// An attempt's command, refused once a later attempt has begun: who was paused while another
    /// took over has no say any more.
    InAttempt {
        attempt: u32,
        command: Box<SyncCommand>,
    },
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
    pub fn decide(&self, command: SyncCommand) -> Result<Vec<SyncEvent>, Error> {
        use SyncCommand as Command;
        use SyncEvent as Event;
        use SyncStatus as Status;
        if let Command::RequestSync { connection_id, task_id } = command {
            if let Some(existing) = self.task_id {
                return Err(Error::AlreadyExists { what: "sync", id: existing.to_string() });
            }
            return Ok(vec![Event::SyncRequested { connection_id, task_id }]);
        }
        if self.connection_id.is_none() {
            return Err(Error::Missing { what: "sync" });
        }
        if let Command::InAttempt { attempt, command } = command {
            if self.attempt > attempt {
                return Err(Error::conflict(format!("attempt `{}` has taken over", self.attempt)));
            }
            return self.decide(*command);
        }
        match (command, self.status) {
            (Command::StartSync { attempt, streams }, Status::Requested | Status::Running) => {
                self.start(attempt, streams)
            }
            (Command::StartStream { stream }, Status::Running) => match self.run(&stream)?.status {
                StreamStatus::Running => Ok(Vec::new()),
                StreamStatus::Completed => Err(stream_state(StreamStatus::Completed, "start it")),
                StreamStatus::Waiting | StreamStatus::Failed => Ok(vec![Event::StreamSyncStarted { stream }]),
            },
            (Command::ReportProgress { stream, progress, total_rows }, Status::Running) => {
                let run = self.run(&stream)?;
                if run.status != StreamStatus::Running {
                    return Err(stream_state(run.status, "report progress"));
                }
                if run.progress == progress {
                    return Ok(Vec::new());
                }
                Ok(vec![Event::StreamSyncProgressed { stream, progress, total_rows }])
            }
            (Command::CompleteStream { stream, progress }, Status::Running) => {
                let run = self.run(&stream)?;
                match run.status {
                    StreamStatus::Running => Ok(vec![Event::StreamSyncCompleted { stream, progress }]),
                    StreamStatus::Completed if run.progress == progress => Ok(Vec::new()),
                    other => Err(stream_state(other, "complete it")),
                }
            }
            (Command::FailStream { stream, code, message }, Status::Running) => {
                match self.run(&stream)?.status {
                    StreamStatus::Waiting | StreamStatus::Running => {
                        let (code, message) = (limits::cut(code), limits::cut(message));
                        Ok(vec![Event::StreamSyncFailed { stream, code, message }])
                    }
                    StreamStatus::Failed => Ok(Vec::new()),
                    StreamStatus::Completed => Err(stream_state(StreamStatus::Completed, "fail it")),
                }
            }
            (Command::SucceedSync, Status::Running) => {
                let unfinished = self.streams.iter().find(|(_, run)| run.status != StreamStatus::Completed);
                if let Some((stream, run)) = unfinished {
                    let message =
                        format!("stream {} is `{}`, not completed", quoted(stream), run.status.as_str());
                    return Err(Error::conflict(message));
                }
                Ok(vec![Event::SyncSucceeded {}])
            }
            (Command::FailSync { code, message }, Status::Requested | Status::Running) => {
                Ok(vec![Event::SyncFailed { code: limits::cut(code), message: limits::cut(message) }])
            }
            (Command::CancelSync, Status::Requested | Status::Running) => Ok(vec![Event::SyncCancelled {}]),
            (Command::SucceedSync, Status::Succeeded)
            | (Command::FailSync { .. }, Status::Failed)
            | (Command::CancelSync, Status::Cancelled) => Ok(Vec::new()),
            (command, status) => Err(Error::WrongState {
                what: "sync",
                status: status.as_str().to_owned(),
                action: command.action(),
            }),
        }
    }

    /// A later attempt takes a run over whose worker was lost: its streams begin again.
    fn start(&self, attempt: u32, streams: Vec<String>) -> Result<Vec<SyncEvent>, Error> {
        if streams.is_empty() {
            return Err(Error::invalid("/streams", "at least one stream is needed"));
        }
        limits::count("streams of a sync", streams.len(), limits::STREAMS_PER_CONNECTION)?;
        limits::unique("/streams", streams.iter().map(String::as_str), "")?;
        if attempt == 0 {
            return Err(Error::invalid("/attempt", "attempts start at 1, not `0`"));
        }
        if self.status == SyncStatus::Running && attempt <= self.attempt {
            let same = attempt == self.attempt
                && streams.len() == self.streams.len()
                && streams.iter().all(|stream| self.streams.contains_key(stream));
            return if same {
                Ok(Vec::new())
            } else {
                Err(Error::conflict(format!("attempt `{}` is running", self.attempt)))
            };
        }
        Ok(vec![SyncEvent::SyncStarted { attempt, streams }])
    }

    fn run(&self, stream: &str) -> Result<&StreamRun, Error> {
        self.streams.get(stream).ok_or_else(|| Error::not_found("stream in this sync", stream))
    }

    fn evolve(&mut self, event: SyncEvent) {
        match event {
            SyncEvent::SyncRequested { connection_id, task_id } => {
                *self =
                    Self { connection_id: Some(connection_id), task_id: Some(task_id), ..Self::default() };
            }
            SyncEvent::SyncStarted { attempt, streams } => {
                self.status = SyncStatus::Running;
                self.attempt = attempt;
                self.streams = streams.into_iter().map(|stream| (stream, StreamRun::default())).collect();
            }
            SyncEvent::StreamSyncStarted { stream } => {
                let run = StreamRun { status: StreamStatus::Running, ..StreamRun::default() };
                self.streams.insert(stream, run);
            }
            SyncEvent::StreamSyncProgressed { stream, progress, .. } => {
                self.streams.entry(stream).or_default().progress = progress;
            }
            SyncEvent::StreamSyncCompleted { stream, progress } => {
                self.streams.insert(stream, StreamRun { status: StreamStatus::Completed, progress });
            }
            SyncEvent::StreamSyncFailed { stream, .. } => {
                self.streams.entry(stream).or_default().status = StreamStatus::Failed;
            }
            SyncEvent::SyncSucceeded {} => self.status = SyncStatus::Succeeded,
            SyncEvent::SyncFailed { .. } => self.status = SyncStatus::Failed,
            SyncEvent::SyncCancelled {} => self.status = SyncStatus::Cancelled,
        }
    }
}

fn stream_state(status: StreamStatus, action: &'static str) -> Error {
    Error::WrongState { what: "stream", status: status.as_str().to_owned(), action }
}

impl SyncStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }
}

impl StreamStatus {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl SyncCommand {
    fn action(&self) -> &'static str {
        match self {
            Self::RequestSync { .. } => "request it",
            Self::StartSync { .. } => "start it",
            Self::StartStream { .. } => "start a stream",
            Self::ReportProgress { .. } => "report progress",
            Self::CompleteStream { .. } => "complete a stream",
            Self::FailStream { .. } => "fail a stream",
            Self::SucceedSync => "complete it",
            Self::FailSync { .. } => "fail it",
            Self::CancelSync => "cancel it",
            Self::InAttempt { command, .. } => command.action(),
        }
    }
}
