//! Asking for a sync: one at a time a connection. The slot is a reservation that the task holds
//! from the request to its end; a crash in between frees it by its deadline, or the task takes it
//! again when it goes on.

use super::{SYNC_ACTION, SyncCause, SyncPayload};
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands, Outcome, derive_id},
    tasks::{NewTask, task_queue},
};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionStatus},
        reservation::{Holder, Reservation, ReservationCommand},
        sync::{Sync, SyncCommand},
    },
    error::Error,
    ids::{ConnectionId, SyncId, TaskId, TenantId},
};
use chrono::TimeDelta;
use uuid::Uuid;

const PURPOSE: &str = "sync";
/// How long a request may take to become a task.
const HOLD: TimeDelta = TimeDelta::minutes(1);
const MAX_RETRIES: u32 = 5;
const TIMEOUT_SECONDS: u64 = 24 * 3_600;

/// A sync that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct RequestedSync {
    pub sync_id: SyncId,
    pub task_id: TaskId,
    pub outcome: Outcome,
}

/// Whether a request was granted.
#[derive(Debug, Clone, Copy)]
pub enum SyncRequest {
    Granted(RequestedSync),
    /// Another one is under way: its task.
    Busy(TaskId),
}

/// Asks for a sync of a connection.
pub async fn sync_request(
    commands: &Commands,
    context: &CommandContext,
    connection_id: ConnectionId,
    cause: SyncCause,
) -> Result<SyncRequest, CommandError> {
    let connection = commands.load::<Connection>(context.tenant, connection_id.0).await?;
    if connection.version == 0 || connection.state.status == ConnectionStatus::Deleted {
        return Err(CommandError::NotFound { what: "connection", id: connection_id.to_string() });
    }
    if let Some(stream) = &cause.backfill {
        must_read(&connection.state, stream)?;
    }
    let sync_id = SyncId(derive_id(context.tenant, context.command_id, "sync"));
    let task_id = TaskId(derive_id(context.tenant, context.command_id, "sync-task"));
    if commands.load::<Sync>(context.tenant, sync_id.0).await?.version == 0
        && let Some(busy) = slot_take(commands, &context.step("slot"), connection_id, task_id, false).await?
    {
        return Ok(SyncRequest::Busy(busy));
    }
    commands
        .create::<Sync>(&context.step("sync"), sync_id.0, SyncCommand::RequestSync { connection_id, task_id })
        .await?;
    let payload = serde_json::to_value(SyncPayload { sync_id, connection_id, cause }).unwrap_or_default();
    let task = NewTask {
        task_id: Some(task_id),
        max_retries: MAX_RETRIES,
        timeout_seconds: TIMEOUT_SECONDS,
        ..NewTask::new(SYNC_ACTION, payload)
    };
    let (_, outcome) = task_queue(commands, context, task).await?;
    Ok(SyncRequest::Granted(RequestedSync { sync_id, task_id, outcome }))
}

/// A stream that the connection reads: chosen or, without a choice, found.
fn must_read(connection: &Connection, stream: &str) -> Result<(), CommandError> {
    let chosen = connection.selected.iter().any(|selection| selection.name == stream);
    let offered = || connection.discovered.iter().flatten().any(|offered| offered.name == stream);
    if chosen || (connection.selected.is_empty() && offered()) {
        return Ok(());
    }
    Err(CommandError::NotFound { what: "stream that this connection reads", id: stream.to_owned() })
}

/// Takes the connection's slot for a task, for good if it runs; the task that has it, if another does.
pub(super) async fn slot_take(
    commands: &Commands,
    context: &CommandContext,
    connection: ConnectionId,
    task: TaskId,
    for_good: bool,
) -> Result<Option<TaskId>, CommandError> {
    let id = slot(context.tenant, connection);
    let holder = Holder { tenant: context.tenant, id: task.0 };
    let now = commands.clock().now();
    let hold = ReservationCommand::Hold { purpose: PURPOSE.to_owned(), holder, deadline: now + HOLD, now };
    match commands.execute::<Reservation>(context, id, hold).await {
        Ok(_) => {}
        Err(CommandError::Refused(Error::Reserved { .. })) => {
            let held = commands.load::<Reservation>(context.tenant, id).await?.state.holder_at(now);
            return Ok(held.map(|holder| TaskId(holder.id)));
        }
        Err(error) => return Err(error),
    }
    if for_good {
        let confirm = ReservationCommand::Confirm { holder };
        commands.execute::<Reservation>(&context.step("confirm"), id, confirm).await?;
    }
    Ok(None)
}

/// Frees the slot if this task has it.
pub(super) async fn slot_free(
    commands: &Commands,
    context: &CommandContext,
    connection: ConnectionId,
    task: TaskId,
) -> Result<(), CommandError> {
    let holder = Holder { tenant: context.tenant, id: task.0 };
    let release = ReservationCommand::Release { holder };
    match commands.execute::<Reservation>(context, slot(context.tenant, connection), release).await {
        // Never taken: there is nothing to free.
        Ok(_) | Err(CommandError::Refused(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The slot's id: made of ids alone, so that it needs no keyed hash.
fn slot(tenant: TenantId, connection: ConnectionId) -> Uuid {
    Uuid::new_v5(&tenant.0, format!("sync-slot/{connection}").as_bytes())
}
