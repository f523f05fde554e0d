//! The time of a schedule that comes next is given a task, not before that time. Undo: none is needed, for
//! a task that finds its time taken, or the schedule changed, does nothing.

use super::{ProcessManager, events};
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
    schedules::{RUN_SCHEDULE_ACTION, RunPayload},
    tasks::{NewTask, task_queue},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::schedule::{Due, Schedule, ScheduleEvent},
    envelope::{Actor, AggregateType},
    ids::ScheduleId,
};
use autonomos_log::port::StoredCommit;
use serde_json::json;

/// A time that cannot be taken for so long is let pass.
const RETRIES: u32 = 10;
const TIMEOUT_SECONDS: u64 = 60;

pub(super) struct ScheduleSlotsManager;

#[async_trait]
impl ProcessManager for ScheduleSlotsManager {
    fn name(&self) -> &'static str {
        "schedule-slots"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::Schedule]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        for (_, event) in events::<ScheduleEvent>(commands, commit)? {
            if !matches!(event, ScheduleEvent::ScheduleDeleted {}) {
                // As it stands by now: times that were passed over meanwhile need no task.
                let key = commit.header.key;
                let schedule = commands.load_newest::<Schedule>(key.tenant, key.aggregate_id).await?.state;
                if let Some(due) = schedule.due() {
                    queue(commands, commit, due).await?;
                }
            }
        }
        Ok(())
    }
}

async fn queue(commands: &Commands, commit: &StoredCommit, due: Due) -> Result<(), CommandError> {
    let key = commit.header.key;
    let payload = RunPayload { schedule_id: ScheduleId(key.aggregate_id), due };
    let context = CommandContext {
        correlation_id: commit.header.correlation_id,
        causation_id: Some(commit.header.command_id.0),
        ..CommandContext::new(key.tenant, Actor::System("schedule-slots".to_owned()), payload.command())
    };
    let task = NewTask {
        max_retries: RETRIES,
        timeout_seconds: TIMEOUT_SECONDS,
        run_at: Some(due.slot),
        ..NewTask::new(RUN_SCHEDULE_ACTION, json!(payload))
    };
    match task_queue(commands, &context, task).await {
        Ok(_) | Err(CommandError::Refused(autonomos_domain::error::Error::AlreadyExists { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}
