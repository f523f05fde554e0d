//! Runs syncs: reads a connection's streams and lands them on their feeds.
//!
//! The order is what keeps views right. Before a row is appended, its stream's shape is known to
//! `StreamSchema` (with the drift, if it changed) and a mapping is bound to that schema version;
//! only then do batches follow. Every step is acknowledged before the next, so a kill at any
//! moment leaves a prefix from which the next attempt goes on.

mod batch;
mod failure;
mod health;
pub mod judge;
mod request;
mod schema;
mod stream;
mod streams;
mod suggest;

pub use request::{RequestedSync, SyncRequest, sync_request};
pub(crate) use streams::Listing;
pub use suggest::{MappingSuggester, SuggestInput};

use crate::{
    connections::{ConnectorFactory, requests_count, requests_of},
    error::CommandError,
    execute::{CommandContext, Commands},
    tasks::{EndedTask, TaskFailure, TaskHandler, TaskRun},
};
use async_trait::async_trait;
use autonomos_connectors::{port::Connector, requests::Requests};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionCommand, ConnectionStatus},
        sync::{Sync, SyncCommand, SyncStatus},
        task::TaskStatus,
    },
    envelope::Actor,
    ids::{CommandId, ConnectionId, FeedId, ScheduleId, SyncId, TenantId},
    schema::{DiscoveredStream, StreamSelection, SyncMode},
};
use autonomos_log::seal::KeyRing;
use failure::SyncError;
use request::{slot_free, slot_take};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use stream::StreamOutcome;
use uuid::Uuid;

/// The action of a task that runs a sync.
pub const SYNC_ACTION: &str = "sync";

/// What such a task carries.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SyncPayload {
    pub sync_id: SyncId,
    pub connection_id: ConnectionId,
    #[serde(flatten)]
    pub cause: SyncCause,
}

/// What a sync was asked for by, and for what.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCause {
    /// None: a person's, or a program's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule_id: Option<ScheduleId>,
    /// That stream alone, as a new snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<String>,
}

/// Runs the tasks of [`SYNC_ACTION`].
pub struct SyncRunner {
    commands: Commands,
    connectors: Arc<dyn ConnectorFactory>,
    suggester: Arc<dyn MappingSuggester>,
    keys: Arc<dyn KeyRing>,
}

/// One run of one sync: what every step of it needs.
#[derive(Clone)]
struct Run {
    commands: Commands,
    suggester: Arc<dyn MappingSuggester>,
    keys: Arc<dyn KeyRing>,
    tenant: TenantId,
    sync_id: SyncId,
    connection_id: ConnectionId,
    attempt: u32,
    cause: SyncCause,
    task: TaskRun,
}

impl Run {
    /// The context of a step. A step repeated by a later attempt carries the same command id, and
    /// is recognised, wherever its outcome is the same; `parts` tell such steps apart.
    fn context(&self, parts: &[&str]) -> CommandContext {
        let sync = self.sync_id.to_string();
        let mut all = vec![sync.as_str()];
        all.extend_from_slice(parts);
        CommandContext {
            tenant: self.tenant,
            actor: Actor::System("sync".to_owned()),
            command_id: CommandId::derive(&all),
            request_hash: None,
            correlation_id: self.sync_id.0,
            causation_id: Some(self.task.task_id.0),
        }
    }

    async fn sync(&self, parts: &[&str], command: SyncCommand) -> Result<(), CommandError> {
        let attempt = self.attempt.to_string();
        let mut all = vec![attempt.as_str()];
        all.extend_from_slice(parts);
        let command = SyncCommand::InAttempt { attempt: self.attempt, command: Box::new(command) };
        self.commands.execute::<Sync>(&self.context(&all), self.sync_id.0, command).await?;
        Ok(())
    }
}

impl SyncRunner {
    pub fn new(
        commands: Commands,
        connectors: Arc<dyn ConnectorFactory>,
        suggester: Arc<dyn MappingSuggester>,
        keys: Arc<dyn KeyRing>,
    ) -> Self {
        Self { commands, connectors, suggester, keys }
    }

    async fn run_sync(&self, run: &Run) -> Result<Value, SyncError> {
        let connection = self.commands.load::<Connection>(run.tenant, run.connection_id.0).await?.state;
        if connection.name.is_empty() || connection.status == ConnectionStatus::Deleted {
            return Err(SyncError::Command(CommandError::NotFound {
                what: "connection",
                id: run.connection_id.to_string(),
            }));
        }
        self.circuit_closed(run, &connection)?;
        let requests = requests_of(&connection, self.commands.clock().now());
        let ended = self.run_counted(run, &connection, &requests).await;
        let context = run.context(&["requests", &run.attempt.to_string()]);
        requests_count(&self.commands, &context, run.connection_id, &requests).await?;
        ended
    }

    async fn run_counted(
        &self,
        run: &Run,
        connection: &Connection,
        requests: &Requests,
    ) -> Result<Value, SyncError> {
        let connector = self.connectors.connect(
            run.tenant,
            run.connection_id,
            &connection.connector,
            &connection.config,
            requests,
        )?;
        let discovered = connector.discover(run.task.cancel.clone()).await?;
        let mut selections = selections(&connection.selected, &discovered);
        if let Some(stream) = &run.cause.backfill {
            selections.retain(|selection| selection.name == *stream);
            if selections.is_empty() {
                return Err(SyncError::NotRead { stream: stream.clone() });
            }
        }
        let listing = Listing {
            commands: &self.commands,
            tenant: run.tenant,
            connection_id: run.connection_id,
            connection,
            connector: connector.as_ref(),
            context: &|parts: &[&str]| run.context(parts),
        };
        listing.judge(&discovered).await?;
        let version = self.commands.load::<Connection>(run.tenant, run.connection_id.0).await?.version;
        self.commands
            .execute::<Connection>(
                &run.context(&["discovered", &version.to_string()]),
                run.connection_id.0,
                ConnectionCommand::RecordDiscovery { streams: discovered.clone() },
            )
            .await?;
        let names = selections.iter().map(|selection| selection.name.clone()).collect();
        run.sync(&["start"], SyncCommand::StartSync { attempt: run.attempt, streams: names }).await?;

        let mut rows = 0;
        let mut captured = Vec::new();
        let mut failed: Option<SyncError> = None;
        for selection in &selections {
            match self.run_stream(run, connector.as_ref(), selection, &discovered).await {
                Ok(outcome) => {
                    rows += outcome.progress.rows_read;
                    captured.extend(outcome.captured.map(|cursor| (selection.name.clone(), cursor)));
                }
                Err(error) if error.cancelled() => return Err(error),
                Err(error) => {
                    // One stream's failure does not keep the others from their data.
                    run.sync(
                        &["fail-stream", &selection.name],
                        SyncCommand::FailStream {
                            stream: selection.name.clone(),
                            code: error.code().to_owned(),
                            message: error.to_string(),
                        },
                    )
                    .await?;
                    failed.get_or_insert(error);
                }
            }
        }
        match failed {
            Some(error) => Err(error),
            None => {
                // A stream that failed, or was not read now, still needs what the source keeps.
                if !captured.is_empty() && run.cause.backfill.is_none() {
                    connector.confirm(&captured).await?;
                }
                run.sync(&["succeed"], SyncCommand::SucceedSync).await?;
                Ok(json!({ "sync_id": run.sync_id, "rows_read": rows }))
            }
        }
    }

    async fn run_stream(
        &self,
        run: &Run,
        connector: &dyn Connector,
        selection: &StreamSelection,
        discovered: &[DiscoveredStream],
    ) -> Result<StreamOutcome, SyncError> {
        let name = selection.name.as_str();
        run.sync(&["stream", name], SyncCommand::StartStream { stream: name.to_owned() }).await?;
        let offered = discovered.iter().find(|stream| stream.name == name);
        let usual = || offered.map_or(SyncMode::Full, |stream| connector.default_mode(stream));
        let mode = selection.sync_mode.unwrap_or_else(usual);
        let outcome = stream::run(run, connector, selection, mode).await?;
        run.sync(
            &["stream-done", name],
            SyncCommand::CompleteStream { stream: name.to_owned(), progress: outcome.progress.clone() },
        )
        .await?;
        Ok(outcome)
    }
}

/// The streams to read: those selected, or all there are.
fn selections(selected: &[StreamSelection], discovered: &[DiscoveredStream]) -> Vec<StreamSelection> {
    if !selected.is_empty() {
        return selected.to_vec();
    }
    discovered.iter().map(DiscoveredStream::selection).collect()
}

impl SyncRunner {
    fn start(&self, task: &TaskRun) -> Result<Run, TaskFailure> {
        let payload = payload_of(&task.payload)?;
        Ok(Run {
            commands: self.commands.clone(),
            suggester: Arc::clone(&self.suggester),
            keys: Arc::clone(&self.keys),
            tenant: task.tenant,
            sync_id: payload.sync_id,
            connection_id: payload.connection_id,
            attempt: task.attempt,
            cause: payload.cause,
            task: task.clone(),
        })
    }

    async fn attempt(&self, run: &Run) -> Result<Value, SyncError> {
        let (connection, task) = (run.connection_id, run.task.task_id);
        let attempt = run.attempt.to_string();
        let state = self.commands.load::<Sync>(run.tenant, run.sync_id.0).await?.state;
        let result = if state.status.is_final() {
            // A crash came between the sync's end and the task's.
            json!({ "sync_id": run.sync_id })
        } else {
            let context = run.context(&["slot", &attempt]);
            if let Some(other) = slot_take(&self.commands, &context, connection, task, true).await? {
                return Err(SyncError::Busy(other));
            }
            self.run_sync(run).await?
        };
        if state.status != SyncStatus::Failed && state.status != SyncStatus::Cancelled {
            self.sync_went_well(run).await?;
        }
        slot_free(&self.commands, &run.context(&["free", &attempt]), connection, task).await?;
        Ok(result)
    }
}

fn payload_of(payload: &Value) -> Result<SyncPayload, TaskFailure> {
    serde_json::from_value(payload.clone()).map_err(|error| {
        TaskFailure::lasting("AOS-0361", format!("the task's payload is not a sync's: {error}"))
    })
}

#[async_trait]
impl TaskHandler for SyncRunner {
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure> {
        let run = self.start(&task)?;
        let begun_with = self.commands.load::<Connection>(run.tenant, run.connection_id.0).await?.state;
        match self.attempt(&run).await {
            Ok(done) => Ok(done),
            Err(error) => Err(self.attempt_failed(&run, error, &begun_with).await),
        }
    }

    async fn ended(&self, task: EndedTask) -> Result<(), CommandError> {
        let Ok(payload) = payload_of(&task.payload) else {
            return Ok(());
        };
        let sync_id = payload.sync_id;
        let context = CommandContext {
            correlation_id: sync_id.0,
            causation_id: Some(task.task_id.0),
            ..CommandContext::system(task.tenant, "sync")
        };
        let state = self.commands.load::<Sync>(task.tenant, sync_id.0).await?;
        let succeeded = state.state.status == SyncStatus::Succeeded;
        if state.version > 0 && !state.state.status.is_final() {
            let command = if task.status == TaskStatus::Cancelled {
                SyncCommand::CancelSync
            } else {
                let (code, message) = (task.code.clone(), task.message.clone());
                SyncCommand::FailSync { code, message }
            };
            self.commands.execute::<Sync>(&context, sync_id.0, command).await?;
        }
        if task.status != TaskStatus::Cancelled && state.version > 0 && !succeeded {
            let context = context.step("went-wrong");
            self.sync_went_wrong(&context, payload.connection_id, sync_id, &task).await?;
        }
        slot_free(&self.commands, &context.step("free"), payload.connection_id, task.task_id).await
    }
}

/// The feed's uuid, which its schema and its mapping share.
fn feed_uuid(connection: ConnectionId, stream: &str) -> Uuid {
    FeedId::of(connection, stream).0
}
