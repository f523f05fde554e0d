//! Proposals that nobody decides about expire: a task that was queued with the proposal, not before its
//! time. What was decided meanwhile stays as it is.

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
    tasks::{TaskFailure, TaskHandler, TaskRun},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::mapping::{Mapping, MappingCommand},
    envelope::Actor,
    ids::{CommandId, RepairId, TenantId},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

/// The action of the task that lets a proposal expire.
pub const EXPIRE_REPAIR_ACTION: &str = "expire_repair";

/// Which proposal.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ExpiryPayload {
    pub(crate) mapping_id: Uuid,
    pub(crate) repair_id: RepairId,
}

/// Carries expiries out.
pub struct RepairExpiry {
    commands: Commands,
}

impl RepairExpiry {
    pub const fn new(commands: Commands) -> Self {
        Self { commands }
    }

    /// Lets a proposal expire that waits still; false: it does not.
    async fn expire(
        &self,
        tenant: TenantId,
        task: Uuid,
        ExpiryPayload { mapping_id, repair_id }: ExpiryPayload,
    ) -> Result<bool, CommandError> {
        let mapping = self.commands.load::<Mapping>(tenant, mapping_id).await?.state;
        if !mapping.repairs.get(&repair_id).is_some_and(|repair| repair.status.is_waiting()) {
            return Ok(false);
        }
        let context = CommandContext {
            causation_id: Some(task),
            ..CommandContext::new(
                tenant,
                Actor::System("repair-expiry".to_owned()),
                CommandId::derive(&["repair-expiry", &repair_id.to_string(), "expire"]),
            )
        };
        let expire = MappingCommand::ExpireRepair { repair_id };
        self.commands.execute::<Mapping>(&context, mapping_id, expire).await?;
        Ok(true)
    }
}

#[async_trait]
impl TaskHandler for RepairExpiry {
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure> {
        let payload = serde_json::from_value(task.payload.clone()).map_err(|error| {
            TaskFailure::lasting("AOS-0365", format!("the task's payload is not an expiry's: {error}"))
        })?;
        let expired = self.expire(task.tenant, task.task_id.0, payload).await?;
        Ok(json!({ "expired": expired }))
    }
}
