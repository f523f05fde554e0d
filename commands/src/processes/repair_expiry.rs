//! A proposal that waits is given an end, where the organisation set one: a task that runs once its
//! days are over. Undo: none is needed, for a task that finds the proposal decided does nothing.

use super::{ProcessManager, events, follow_up};
use crate::{
    error::CommandError,
    execute::Commands,
    repairs::{EXPIRE_REPAIR_ACTION, ExpiryPayload},
    tasks::{NewTask, task_queue},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{mapping::MappingEvent, tenant::Tenant},
    envelope::AggregateType,
    ids::RepairId,
};
use autonomos_log::port::StoredCommit;
use chrono::TimeDelta;
use serde_json::json;

pub(super) struct RepairExpiryManager;

#[async_trait]
impl ProcessManager for RepairExpiryManager {
    fn name(&self) -> &'static str {
        "repair-expiry"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::Mapping]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        for (_, event) in events::<MappingEvent>(commands, commit)? {
            if let MappingEvent::RepairProposed { repair_id, status, .. } = event
                && status.is_waiting()
            {
                limit(commands, commit, repair_id).await?;
            }
        }
        Ok(())
    }
}

async fn limit(commands: &Commands, commit: &StoredCommit, repair_id: RepairId) -> Result<(), CommandError> {
    let key = commit.header.key;
    let tenant = commands.load::<Tenant>(key.tenant, key.tenant.0).await?.state;
    let Some(days) = tenant.rules.expire_after_days else { return Ok(()) };
    let context = follow_up(commit, "repair-expiry", &[&repair_id.to_string()]);
    let payload = ExpiryPayload { mapping_id: key.aggregate_id, repair_id };
    let task = NewTask {
        timeout_seconds: 60,
        run_at: Some(commit.header.recorded_at + TimeDelta::days(i64::from(days))),
        ..NewTask::new(EXPIRE_REPAIR_ACTION, json!(payload))
    };
    match task_queue(commands, &context, task).await {
        Ok(_) | Err(CommandError::Refused(autonomos_domain::error::Error::AlreadyExists { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}
