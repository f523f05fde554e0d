//! One attempt of a task, from its start to its recorded end.

use super::{Progress, Report, Shared, TaskFailure, TaskRun, table::TaskKey};
use crate::{error::CommandError, execute::CommandContext};
use autonomos_domain::{
    aggregates::task::{Task, TaskCommand, TaskStatus},
    envelope::Actor,
    ids::CommandId,
};
use serde_json::Value;
use std::{pin::pin, sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How an attempt left its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AttemptEnd {
    /// What follows is in the log.
    Recorded,
    /// It could not be started: to be tried again soon.
    NotStarted,
}

/// How the handler came to its end.
enum Finish {
    Returned(Result<Value, TaskFailure>),
    TimedOut,
    /// Asked to stop, it did not within its grace.
    Overran,
    ShuttingDown,
}

/// Starts the task, runs its handler, records the end.
pub(super) async fn run(shared: Arc<Shared>, key: TaskKey, cancel: CancellationToken) -> AttemptEnd {
    match start(&shared, key).await {
        Ok(Some((task, version))) => {
            let finish = handle(&shared, key, &task, version, cancel).await;
            record(&shared, key, version, finish).await;
            AttemptEnd::Recorded
        }
        // Cancelled or finished meanwhile.
        Ok(None) => AttemptEnd::Recorded,
        Err(error) => {
            tracing::warn!(task = %key.id, %error, "a task could not be started");
            AttemptEnd::NotStarted
        }
    }
}

/// A running task whose worker is gone goes back into the queue.
pub(super) async fn lose_worker(shared: Arc<Shared>, key: TaskKey) -> AttemptEnd {
    let version = match shared.commands.load::<Task>(key.tenant, key.id.0).await {
        Ok(loaded) => loaded.version,
        Err(error) => {
            tracing::warn!(task = %key.id, %error, "a task without a worker could not be read");
            return AttemptEnd::NotStarted;
        }
    };
    let command = shared.in_term(TaskCommand::LoseWorker { now: shared.commands.clock().now() });
    match insist(&shared, &context(key, version, "lost"), key, command).await {
        Ok(()) | Err(CommandError::Refused(_)) => AttemptEnd::Recorded,
        Err(_) => AttemptEnd::NotStarted,
    }
}

async fn start(shared: &Shared, key: TaskKey) -> Result<Option<(Arc<Task>, u64)>, CommandError> {
    let before = shared.commands.load::<Task>(key.tenant, key.id.0).await?.version;
    let command = shared.in_term(TaskCommand::StartTask { worker: shared.options.worker.clone() });
    match shared.commands.execute::<Task>(&context(key, before, "start"), key.id.0, command).await {
        Ok(_) => {}
        Err(CommandError::Refused(_)) => {
            let state = shared.commands.load::<Task>(key.tenant, key.id.0).await?.state;
            if state.status == TaskStatus::Running && state.term <= shared.term {
                // An earlier start that seemed to fail had been appended.
                let lost = shared.in_term(TaskCommand::LoseWorker { now: shared.commands.clock().now() });
                shared.commands.execute::<Task>(&context(key, before, "lost"), key.id.0, lost).await?;
            }
            return Ok(None);
        }
        Err(error) => return Err(error),
    }
    let loaded = shared.commands.load::<Task>(key.tenant, key.id.0).await?;
    Ok(Some((loaded.state, loaded.version)))
}

async fn handle(
    shared: &Shared,
    key: TaskKey,
    task: &Task,
    version: u64,
    cancel: CancellationToken,
) -> Finish {
    let Some(handler) = shared.handlers.get(&task.action).cloned() else {
        let error = CommandError::UnknownAction { action: task.action.clone() };
        return Finish::Returned(Err(error.into()));
    };
    let progress = Progress::default();
    let run = TaskRun {
        tenant: key.tenant,
        task_id: key.id,
        payload: task.payload.clone(),
        attempt: task.attempt,
        max_retries: task.max_retries,
        cancel: cancel.clone(),
        progress: progress.clone(),
    };
    // A task of its own: a panic ends the attempt, not the runner, and dropping this stops it.
    let mut work = AbortOnDropHandle::new(tokio::spawn(async move { handler.run(run).await }));
    let mut deadline = pin!(sleep(Duration::from_secs(task.timeout_seconds)));
    let mut grace = pin!(sleep(Duration::MAX / 4));
    let mut asked_to_stop = false;
    let every = shared.options.progress_every;
    let mut ticks = interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            done = &mut work => {
                if let Some(report) = progress.take() {
                    report_progress(shared, key, version, report).await;
                }
                return match done {
                    Ok(result) => Finish::Returned(result),
                    Err(error) => {
                        tracing::error!(task = %key.id, %error, "a task's handler panicked");
                        let message = "the task's handler broke down".to_owned();
                        Finish::Returned(Err(TaskFailure::passing("AOS-0355", message)))
                    }
                };
            }
            () = shared.stop.cancelled() => return Finish::ShuttingDown,
            () = cancel.cancelled(), if !asked_to_stop => {
                asked_to_stop = true;
                grace.as_mut().reset(Instant::now() + shared.options.cancel_grace);
            }
            () = &mut grace, if asked_to_stop => return Finish::Overran,
            () = &mut deadline, if !asked_to_stop => return Finish::TimedOut,
            _ = ticks.tick() => {
                if let Some(report) = progress.take() {
                    report_progress(shared, key, version, report).await;
                }
            }
        }
    }
}

async fn report_progress(shared: &Shared, key: TaskKey, version: u64, report: Report) {
    let step = format!("progress-{}-{:?}", report.done, report.total);
    let Report { done, total, note } = report;
    let command = shared.in_term(TaskCommand::ReportProgress { done, total, note });
    // Progress is for people who watch: one lost report matters to nobody.
    if let Err(error) =
        shared.commands.execute::<Task>(&context(key, version, &step), key.id.0, command).await
    {
        tracing::debug!(task = %key.id, %error, "progress was not recorded");
    }
}

async fn record(shared: &Shared, key: TaskKey, version: u64, finish: Finish) {
    let now = shared.commands.clock().now();
    let fail = |failure: TaskFailure| TaskCommand::FailTask {
        code: failure.code,
        message: failure.message,
        retryable: failure.retryable,
        wait_seconds: failure.wait.map(|wait| wait.as_secs()),
        now,
    };
    let command = match finish {
        Finish::Returned(Ok(result)) => TaskCommand::SucceedTask { result },
        Finish::Returned(Err(failure)) => fail(failure),
        Finish::TimedOut => {
            fail(TaskFailure::passing("AOS-0354", "it took longer than its time-out".to_owned()))
        }
        Finish::Overran => TaskCommand::ConfirmCancel,
        Finish::ShuttingDown => TaskCommand::LoseWorker { now },
    };
    let command = shared.in_term(command);
    let refused = match insist(shared, &context(key, version, "end"), key, command).await {
        Err(CommandError::Refused(refused)) => refused,
        Ok(()) => return,
        Err(error) => {
            tracing::warn!(task = %key.id, %error, "the end of a task's attempt could not be recorded");
            return;
        }
    };
    // Such as a result that is too large: the task has an end all the same.
    let failure = TaskFailure::lasting(refused.code(), refused.to_string());
    let command = shared.in_term(fail(failure));
    if let Err(error) = insist(shared, &context(key, version, "refused"), key, command).await {
        tracing::warn!(task = %key.id, %error, "the end of a task's attempt was refused");
    }
}

/// Tries until the log takes it, is asked to stop, or the aggregate refuses.
async fn insist(
    shared: &Shared,
    context: &CommandContext,
    key: TaskKey,
    command: TaskCommand,
) -> Result<(), CommandError> {
    let mut wait = FIRST_WAIT;
    loop {
        match shared.commands.execute::<Task>(context, key.id.0, command.clone()).await {
            Ok(_) => return Ok(()),
            Err(error @ CommandError::Refused(_)) => return Err(error),
            // On the way down there is one try: what is left unsaid, the next start finds.
            Err(error) if shared.stop.is_cancelled() => return Err(error),
            Err(error) => {
                tracing::warn!(task = %key.id, %error, "a task's event could not be appended, trying again");
                tokio::select! {
                    () = sleep(wait) => {}
                    () = shared.stop.cancelled() => return Err(error),
                }
                wait = (wait * 2).min(LONGEST_WAIT);
            }
        }
    }
}

/// `version` is the task's when the attempt began: the same step of another attempt is another command.
fn context(key: TaskKey, version: u64, step: &str) -> CommandContext {
    let command_id = CommandId::derive(&["task-runner", &key.id.to_string(), &version.to_string(), step]);
    CommandContext {
        correlation_id: key.id.0,
        causation_id: Some(key.id.0),
        ..CommandContext::new(key.tenant, Actor::System("tasks".to_owned()), command_id)
    }
}
