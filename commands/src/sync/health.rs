//! What a run tells of its connection's health.

use super::{
    Run, SyncRunner,
    failure::{BUSY, SyncError, kind_of_code},
};
use crate::{
    error::CommandError,
    execute::CommandContext,
    tasks::{EndedTask, TaskFailure},
};
use autonomos_domain::{
    aggregates::connection::{Connection, ConnectionCommand},
    health::Failure,
    ids::{ConnectionId, SyncId},
};
use std::time::Duration;

impl SyncRunner {
    /// Refuses to ask a source that failed several times in a row, while it is left alone. A person's sync
    /// may try once whatever there was.
    pub(super) fn circuit_closed(&self, run: &Run, connection: &Connection) -> Result<(), SyncError> {
        let now = self.commands.clock().now();
        let Some(until) = connection.health.open_until(now) else { return Ok(()) };
        if run.attempt == 1 && run.cause.schedule_id.is_none() {
            return Ok(());
        }
        Err(SyncError::CircuitOpen { until, wait: whole_seconds(until - now) })
    }

    /// An attempt that failed: what the connection makes of it says when the next may come.
    pub(super) async fn attempt_failed(
        &self,
        run: &Run,
        error: SyncError,
        begun_with: &Connection,
    ) -> TaskFailure {
        let mut failure = TaskFailure {
            code: error.code().to_owned(),
            message: error.to_string(),
            retryable: error.retryable(),
            wait: error.wait(),
        };
        let Some(kind) = error.kind() else { return failure };
        if kind.needs_a_person() && self.changed_since(run, begun_with).await {
            // The source refused what the connection no longer says: it is asked again by what it says now.
            failure.retryable = true;
            return failure;
        }
        let met = Failure { kind, code: failure.code.clone(), message: failure.message.clone() };
        let now = self.commands.clock().now();
        let record = ConnectionCommand::RecordAttempt {
            sync_id: run.sync_id,
            attempt: run.attempt,
            failure: met,
            wait_seconds: failure.wait.map(|wait| wait.as_secs()),
            now,
        };
        let context = run.context(&["attempt-failed", &run.attempt.to_string()]);
        let connection = run.connection_id;
        if let Err(error) = self.commands.execute::<Connection>(&context, connection.0, record).await {
            tracing::warn!(%connection, %error, "a failed attempt is not on the connection's record");
            return failure;
        }
        if let Ok(loaded) = self.commands.load::<Connection>(run.tenant, connection.0).await
            && let Some(until) = loaded.state.health.open_until(now)
        {
            failure.wait = failure.wait.max(Some(whole_seconds(until - now)));
        }
        failure
    }

    /// Whether the connection's configuration was changed while the attempt ran.
    async fn changed_since(&self, run: &Run, begun_with: &Connection) -> bool {
        let now = self.commands.load_newest::<Connection>(run.tenant, run.connection_id.0).await;
        now.is_ok_and(|now| now.state.config != begun_with.config)
    }

    pub(super) async fn sync_went_well(&self, run: &Run) -> Result<(), CommandError> {
        let now = self.commands.clock().now();
        let record = ConnectionCommand::RecordSync { sync_id: run.sync_id, failure: None, now };
        let context = run.context(&["went-well"]);
        self.commands.execute::<Connection>(&context, run.connection_id.0, record).await?;
        Ok(())
    }

    pub(super) async fn sync_went_wrong(
        &self,
        context: &CommandContext,
        connection: ConnectionId,
        sync_id: SyncId,
        ended: &EndedTask,
    ) -> Result<(), CommandError> {
        if ended.code == BUSY {
            return Ok(());
        }
        let health = &self.commands.load::<Connection>(ended.tenant, connection.0).await?.state.health;
        let last = health.last_attempt.filter(|(of, _)| *of == sync_id).and(health.last_failure.as_ref());
        let kind = last.filter(|last| last.code == ended.code).map(|last| last.kind);
        let failure = Failure {
            kind: kind.unwrap_or_else(|| kind_of_code(&ended.code)),
            code: ended.code.clone(),
            message: ended.message.clone(),
        };
        let now = self.commands.clock().now();
        let record = ConnectionCommand::RecordSync { sync_id, failure: Some(failure), now };
        match self.commands.execute::<Connection>(context, connection.0, record).await {
            // It is not there: there is nobody to tell.
            Ok(_) | Err(CommandError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Not before, for tasks wait whole seconds.
fn whole_seconds(wait: chrono::TimeDelta) -> Duration {
    Duration::from_secs(wait.num_seconds().max(0) as u64 + 1)
}
