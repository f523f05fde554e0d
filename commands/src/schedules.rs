//! Schedules: what is done by itself, when, and what became of each time.
//!
//! No timer holds the time that comes next. It is in the schedule's state; a process manager queues a task
//! for it (`processes/schedule_slots.rs`), not before its time, whose id follows from schedule, revision and
//! time. The task takes the time by one command that the schedule takes once, and with that command the
//! next time is set, which the process manager sees in turn. So a time is taken once, whatever node takes
//! it and however often it is tried; those that passed while nobody was there count as one.

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands, Outcome, derive_id},
    sync::{SyncCause, SyncRequest, sync_request},
    tasks::{EndedTask, TaskFailure, TaskHandler, TaskRun},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionCommand, ConnectionStatus},
        schedule::{Due, RunOutcome, Schedule, ScheduleAction, ScheduleCommand, SkipReason, Timing},
        task::TaskStatus,
    },
    envelope::Actor,
    ids::{CommandId, ConnectionId, ScheduleId, TaskId, TenantId},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// The action of the task that takes a time of a schedule.
pub const RUN_SCHEDULE_ACTION: &str = "run_schedule";

/// Which time of which schedule. It names no connection: a task that does would wait for the sync that is
/// under way, and is to find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunPayload {
    pub(crate) schedule_id: ScheduleId,
    #[serde(flatten)]
    pub(crate) due: Due,
}

impl RunPayload {
    /// What the command that queues the task for it is known by.
    pub(crate) fn command(&self) -> CommandId {
        let RunPayload { schedule_id, due } = self;
        let (revision, slot) = (due.revision.to_string(), due.slot.timestamp().to_string());
        CommandId::derive(&["schedule", &schedule_id.to_string(), &revision, &slot])
    }
}

/// A schedule to be made.
#[derive(Debug, Clone)]
pub struct NewSchedule {
    pub name: String,
    pub timing: Timing,
    pub action: ScheduleAction,
    pub connection_id: ConnectionId,
    pub enabled: bool,
}

/// What is to be another of a schedule.
#[derive(Debug, Clone, Default)]
pub struct ScheduleChange {
    pub name: Option<String>,
    pub cron: Option<String>,
    pub time_zone: Option<String>,
    pub enabled: Option<bool>,
}

/// The use cases of schedules, and what runs their tasks. Cheap to clone.
#[derive(Clone)]
pub struct ScheduleService {
    commands: Commands,
}

impl ScheduleService {
    pub const fn new(commands: Commands) -> Self {
        Self { commands }
    }

    /// Makes a schedule. Its id follows from the command's, so that a retry makes no second one. Its
    /// connection counts it first: who deletes the connection knows what to end.
    pub async fn schedule_create(
        &self,
        context: &CommandContext,
        new: NewSchedule,
    ) -> Result<(ScheduleId, Outcome), CommandError> {
        let NewSchedule { name, timing, action, connection_id, enabled } = new;
        let connection = self.commands.load::<Connection>(context.tenant, connection_id.0).await?;
        if connection.version == 0 || connection.state.status == ConnectionStatus::Deleted {
            return Err(CommandError::NotFound { what: "connection", id: connection_id.to_string() });
        }
        let id = ScheduleId(derive_id(context.tenant, context.command_id, "schedule"));
        let attach = ConnectionCommand::AttachSchedule { schedule_id: id };
        self.commands.execute::<Connection>(&context.step("attach"), connection_id.0, attach).await?;
        let now = self.commands.clock().now();
        let name = name.trim().to_owned();
        let create = ScheduleCommand::CreateSchedule { name, timing, action, connection_id, enabled, now };
        match self.commands.create::<Schedule>(context, id.0, create).await {
            Ok(outcome) => Ok((id, outcome)),
            Err(error) => {
                if matches!(error, CommandError::Refused(_)) {
                    self.detach(&context.step("detach"), connection_id, id).await?;
                }
                Err(error)
            }
        }
    }

    /// Changes a schedule. What was set up for its earlier times does nothing any more.
    pub async fn schedule_update(
        &self,
        context: &CommandContext,
        id: ScheduleId,
        change: ScheduleChange,
    ) -> Result<Outcome, CommandError> {
        self.schedule_load(context.tenant, id).await?;
        let ScheduleChange { name, cron, time_zone, enabled } = change;
        let name = name.map(|name| name.trim().to_owned());
        let now = self.commands.clock().now();
        let change = ScheduleCommand::ChangeSchedule { name, cron, time_zone, enabled, now };
        self.commands.execute::<Schedule>(context, id.0, change).await
    }

    /// Ends a schedule; again, the same.
    pub async fn schedule_delete(
        &self,
        context: &CommandContext,
        id: ScheduleId,
    ) -> Result<Outcome, CommandError> {
        let loaded = self.commands.load::<Schedule>(context.tenant, id.0).await?;
        let Some(connection_id) = loaded.state.connection_id else {
            return Err(CommandError::NotFound { what: "schedule", id: id.to_string() });
        };
        let outcome =
            self.commands.execute::<Schedule>(context, id.0, ScheduleCommand::DeleteSchedule).await?;
        self.detach(&context.step("detach"), connection_id, id).await?;
        Ok(outcome)
    }

    /// A schedule as it stands; deleted ones are not there.
    pub async fn schedule_load(
        &self,
        tenant: TenantId,
        id: ScheduleId,
    ) -> Result<Arc<Schedule>, CommandError> {
        let loaded = self.commands.load::<Schedule>(tenant, id.0).await?;
        if loaded.version == 0 || loaded.state.deleted {
            return Err(CommandError::NotFound { what: "schedule", id: id.to_string() });
        }
        Ok(loaded.state)
    }

    async fn detach(
        &self,
        context: &CommandContext,
        connection_id: ConnectionId,
        schedule_id: ScheduleId,
    ) -> Result<(), CommandError> {
        let detach = ConnectionCommand::DetachSchedule { schedule_id };
        self.commands.execute::<Connection>(context, connection_id.0, detach).await?;
        Ok(())
    }

    /// Takes a time, if it is still due; none: somebody else did, or nobody wants it any more.
    async fn take(
        &self,
        tenant: TenantId,
        task: TaskId,
        payload: RunPayload,
    ) -> Result<Option<RunOutcome>, CommandError> {
        let RunPayload { schedule_id, due } = payload;
        let schedule = self.commands.load_newest::<Schedule>(tenant, schedule_id.0).await?.state;
        let Some(connection_id) = schedule.connection_id.filter(|_| schedule.is_due(due)) else {
            return Ok(None);
        };
        let context = context_of(tenant, task, &payload);
        let connection = self.commands.load::<Connection>(tenant, connection_id.0).await?;
        if connection.state.status == ConnectionStatus::Deleted {
            self.schedule_delete(&context.step("end"), schedule_id).await?;
            return Ok(None);
        }
        let now = self.commands.clock().now();
        let skipped = |reason, task_id| RunOutcome::Skipped { reason, task_id };
        let outcome = if connection.state.health.paused.is_some() {
            skipped(SkipReason::Paused, None)
        } else if connection.state.health.open_until(now).is_some() {
            skipped(SkipReason::CircuitOpen, None)
        } else {
            let cause = SyncCause { schedule_id: Some(schedule_id), ..SyncCause::default() };
            match sync_request(&self.commands, &context, connection_id, cause).await? {
                SyncRequest::Granted(sync) => {
                    RunOutcome::Started { task_id: sync.task_id, sync_id: sync.sync_id }
                }
                SyncRequest::Busy(other) => skipped(SkipReason::Busy, Some(other)),
            }
        };
        self.record(&context, payload, outcome.clone()).await?;
        Ok(Some(outcome))
    }

    async fn record(
        &self,
        context: &CommandContext,
        RunPayload { schedule_id, due }: RunPayload,
        outcome: RunOutcome,
    ) -> Result<(), CommandError> {
        let now = self.commands.clock().now();
        let record = ScheduleCommand::RecordRun { due, outcome, now };
        self.commands.execute::<Schedule>(&context.step("record"), schedule_id.0, record).await?;
        Ok(())
    }
}

fn context_of(tenant: TenantId, task: TaskId, payload: &RunPayload) -> CommandContext {
    let command_id = CommandId::derive(&[&payload.command().to_string(), "run"]);
    CommandContext {
        causation_id: Some(task.0),
        ..CommandContext::new(tenant, Actor::System("schedule".to_owned()), command_id)
    }
}

fn payload_of(payload: &Value) -> Result<RunPayload, TaskFailure> {
    serde_json::from_value(payload.clone()).map_err(|error| {
        TaskFailure::lasting("AOS-0390", format!("the task's payload is not a schedule's: {error}"))
    })
}

#[async_trait]
impl TaskHandler for ScheduleService {
    /// Register it under [`RUN_SCHEDULE_ACTION`].
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure> {
        let payload = payload_of(&task.payload)?;
        let outcome = self.take(task.tenant, task.task_id, payload).await?;
        Ok(json!({ "schedule_id": payload.schedule_id, "outcome": outcome }))
    }

    /// A time that could not be taken, or that a person cancelled, is let pass: the next one comes.
    async fn ended(&self, task: EndedTask) -> Result<(), CommandError> {
        let Ok(payload) = payload_of(&task.payload) else { return Ok(()) };
        let cancelled = task.status == TaskStatus::Cancelled;
        let reason = if cancelled { SkipReason::Cancelled } else { SkipReason::Failed };
        let context = context_of(task.tenant, task.task_id, &payload).step("ended");
        match self.record(&context, payload, RunOutcome::Skipped { reason, task_id: None }).await {
            // It was taken after all, or nobody wants it any more.
            Ok(()) | Err(CommandError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}
