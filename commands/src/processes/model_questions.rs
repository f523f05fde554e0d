//! Fields that wait for columns which are gone, and for which neither the matcher nor past decisions had
//! an answer, are asked about: one task for each schema version, where the organisation allows language
//! models. Undo: none is needed, for a task that finds nothing left to ask does nothing.

use super::ProcessManager;
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands, derive_id},
    intelligence::llm::{ASK_MODEL_ACTION, AskPayload, open_questions},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        llm_account::LlmAccount,
        mapping::{Mapping, MappingEvent},
        stream_schema::StreamSchema,
        task::{Task, TaskCommand},
    },
    envelope::{Actor, AggregateType},
    ids::{CommandId, TaskId},
};
use autonomos_log::{events::open_event, port::StoredCommit};
use serde_json::json;

pub(super) struct ModelQuestionManager;

#[async_trait]
impl ProcessManager for ModelQuestionManager {
    fn name(&self) -> &'static str {
        "model-questions"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::Mapping]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        for index in 0..commit.events.len() {
            let event: MappingEvent = match open_event(&**commands.ring(), commit, index) {
                Ok(event) => event,
                Err(error) if error.is_shredded() => continue,
                Err(error) => return Err(error.into()),
            };
            if let MappingEvent::MappingBound { binding } = event
                && !binding.held.is_empty()
            {
                ask(commands, commit, binding.schema_version).await?;
            }
        }
        Ok(())
    }
}

async fn ask(commands: &Commands, commit: &StoredCommit, schema_version: u32) -> Result<(), CommandError> {
    let key = commit.header.key;
    let account = commands.load::<LlmAccount>(key.tenant, key.tenant.0).await?.state;
    if !account.settings.allowed {
        return Ok(());
    }
    let mapping = commands.load::<Mapping>(key.tenant, key.aggregate_id).await?.state;
    let schema = commands.load::<StreamSchema>(key.tenant, key.aggregate_id).await?.state;
    // Also when the log is followed late: what is over is not asked about.
    if schema.current != schema_version || open_questions(&mapping, &schema, schema_version).is_empty() {
        return Ok(());
    }
    let context = CommandContext {
        correlation_id: commit.header.correlation_id,
        causation_id: Some(commit.header.command_id.0),
        ..CommandContext::new(
            key.tenant,
            Actor::System("model-questions".to_owned()),
            CommandId::derive(&[
                "model-questions",
                &key.aggregate_id.to_string(),
                &schema_version.to_string(),
            ]),
        )
    };
    let task_id = TaskId(derive_id(key.tenant, context.command_id, "task"));
    let payload = AskPayload { mapping_id: key.aggregate_id, schema_version };
    let queue = TaskCommand::QueueTask {
        task_id,
        action: ASK_MODEL_ACTION.to_owned(),
        payload: json!(payload),
        max_retries: 3,
        timeout_seconds: 3_600,
        run_at: None,
        priority: 0,
    };
    match commands.execute::<Task>(&context, task_id.0, queue).await {
        Ok(_) | Err(CommandError::Refused(autonomos_domain::error::Error::AlreadyExists { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}
