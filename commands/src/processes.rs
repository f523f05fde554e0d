//! Process managers: each follows the log from a checkpoint of its own and issues commands whose ids
//! follow from what it saw, so that seeing it twice does nothing twice. One file each, all listed here.

mod drift_status;
mod model_questions;
mod precedents;
mod repair_calibration;
mod repair_expiry;
mod schedule_slots;
mod snapshot_release;

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
};
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{Actor, AggregateType},
    ids::CommandId,
};
use autonomos_log::{
    control::ControlStore,
    events::open_event,
    lease::Leases,
    port::{Delivery, Filter, StoredCommit},
};
use cqrs_es::DomainEvent;
use futures::{FutureExt, StreamExt};
use std::{sync::Arc, time::Duration};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Tries again after a failure that passes, at most this long apart.
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// What a process manager does with what it follows.
#[async_trait]
trait ProcessManager: Send + Sync + 'static {
    /// Names its checkpoint; never changed.
    fn name(&self) -> &'static str;
    fn follows(&self) -> Vec<AggregateType>;
    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError>;
}

/// What a commit says, each event with its place in it; without what can no longer be read.
fn events<E: DomainEvent>(
    commands: &Commands,
    commit: &StoredCommit,
) -> Result<Vec<(usize, E)>, CommandError> {
    let mut said = Vec::new();
    for place in 0..commit.events.len() {
        match open_event(&**commands.ring(), commit, place) {
            Ok(event) => said.push((place, event)),
            Err(error) if error.is_shredded() => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(said)
}

/// The context of a command that a process manager issues because of a commit; `of` tells it from the
/// manager's others.
fn follow_up(commit: &StoredCommit, manager: &str, of: &[&str]) -> CommandContext {
    let command = CommandId::derive(&[&[manager], of].concat());
    CommandContext {
        correlation_id: commit.header.correlation_id,
        causation_id: Some(commit.header.command_id.0),
        ..CommandContext::new(commit.header.key.tenant, Actor::System(manager.to_owned()), command)
    }
}

/// Every process manager there is.
fn all() -> Vec<Arc<dyn ProcessManager>> {
    vec![
        Arc::new(drift_status::DriftStatusManager),
        Arc::new(model_questions::ModelQuestionManager),
        Arc::new(precedents::PrecedentManager),
        Arc::new(repair_calibration::RepairCalibrationManager),
        Arc::new(repair_expiry::RepairExpiryManager),
        Arc::new(schedule_slots::ScheduleSlotsManager),
        Arc::new(snapshot_release::SnapshotReleaseManager),
    ]
}

/// Starts them.
pub struct Service;

/// How they are ended.
pub struct Handle {
    cancel: CancellationToken,
    running: parking_lot::Mutex<Vec<JoinHandle<()>>>,
}

impl Service {
    /// Each follows its cells on a task of its own: to be called within a Tokio runtime. With leases,
    /// those of a cell run on the node that holds the cell's.
    pub fn start(commands: &Commands, control: &Arc<ControlStore>, leases: Option<&Leases>) -> Handle {
        let cancel = CancellationToken::new();
        let mut running = Vec::new();
        for cell in 0..commands.log().cells() {
            let cell = CellProcesses { commands: commands.clone(), control: Arc::clone(control), cell };
            running.push(tokio::spawn(match leases {
                None => cell.run(cancel.clone()).boxed(),
                Some(leases) => cell.run_leased(leases.clone(), cancel.clone()).boxed(),
            }));
        }
        Handle { cancel, running: parking_lot::Mutex::new(running) }
    }
}

/// The process managers of one cell.
struct CellProcesses {
    commands: Commands,
    control: Arc<ControlStore>,
    cell: u16,
}

impl CellProcesses {
    async fn run(self, cancel: CancellationToken) {
        self.follow_all(&cancel).await;
    }

    async fn run_leased(self, leases: Leases, cancel: CancellationToken) {
        let name = format!("processes/{}", self.cell);
        while !cancel.is_cancelled() {
            let lease = tokio::select! {
                () = cancel.cancelled() => return,
                lease = leases.acquire(&name) => lease,
            };
            // What one does that does not know yet that it was replaced is recognised: its commands'
            // ids follow from what it saw, and a checkpoint never goes back.
            let tenure = cancel.child_token();
            tokio::select! {
                () = self.follow_all(&tenure) => {}
                () = lease.lost() => {}
            }
            lease.release().await;
            // The log may have closed: then this ends in a moment.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(MAX_BACKOFF) => {}
            }
        }
    }

    async fn follow_all(&self, cancel: &CancellationToken) {
        let managers = all();
        let following = managers.iter().map(|manager| self.follow_on(&**manager, cancel));
        futures::future::join_all(following).await;
    }

    /// Follows until it is told to end, whatever fails.
    async fn follow_on(&self, manager: &dyn ProcessManager, cancel: &CancellationToken) {
        let mut wait = Duration::from_millis(50);
        while let Err(error) = follow(manager, &self.commands, &self.control, self.cell, cancel).await {
            tracing::warn!(manager = manager.name(), %error, "a process manager failed; it tries again");
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            wait = (wait * 2).min(MAX_BACKOFF);
        }
    }
}

impl Handle {
    /// Ends them after what they are doing.
    pub async fn shutdown(&self) {
        self.cancel.cancel();
        let running = std::mem::take(&mut *self.running.lock());
        for task in running {
            let _ = task.await;
        }
    }
}

async fn follow(
    manager: &dyn ProcessManager,
    commands: &Commands,
    control: &ControlStore,
    cell: u16,
    cancel: &CancellationToken,
) -> Result<(), CommandError> {
    let after = control.process_checkpoint(manager.name(), cell)?;
    let filter = Filter { tenant: None, aggregate_types: manager.follows() };
    let mut commits = commands.log().subscribe(cell, after, filter);
    loop {
        let delivery = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            delivery = commits.next() => delivery,
        };
        let sequence = match delivery {
            None => return Ok(()),
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(Delivery::CaughtUp(sequence))) => sequence,
            Some(Ok(Delivery::Commit(commit))) => {
                match manager.handle(commands, &commit).await {
                    Ok(()) => {}
                    Err(error) if error.retryable() => return Err(error),
                    // What is refused once is refused for ever: it must not block what follows.
                    Err(error) => {
                        tracing::warn!(manager = manager.name(), key = %commit.header.key, %error, "passed over");
                    }
                }
                commit.position.sequence
            }
        };
        control.process_checkpoint_put(manager.name(), cell, sequence)?;
    }
}
