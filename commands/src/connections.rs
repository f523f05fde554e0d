//! Connections: made under a unique name, tested against the real source, discovered, selected,
//! deleted. A connection's name is reserved within its tenant before the connection exists.

mod names;

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands, Outcome, derive_id},
    keys::KeyStore,
    schedules::ScheduleService,
    secrets,
    sync::Listing,
    tasks::{NewTask, TaskFailure, TaskHandle, TaskHandler, TaskRun},
};
use async_trait::async_trait;
use autonomos_connectors::{
    error::ConnectorError,
    port::{CheckStep, Connector, ConnectorInfo},
    requests::Requests,
};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionCommand, ConnectionEvent, ConnectionStatus},
        feed::FeedEvent,
    },
    envelope::{Actor, AggregateKey, AggregateType},
    health::{ConnectionLimits, RequestCount},
    ids::{CommandId, ConnectionId, FeedId, TaskId, TenantId},
    schema::{DiscoveredStream, StreamSelection},
};
use autonomos_log::events::open_event;
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use names::reserved;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// A source that says nothing for this long counts as failed.
const TEST_TIMEOUT: Duration = Duration::from_secs(30);
const DISCOVER_TIMEOUT: Duration = Duration::from_mins(2);
/// Tries to close a feed that a sync still appends to.
const CLOSE_TRIES: u32 = 100;

/// The action of the task that finishes a deletion.
pub const CLOSE_CONNECTION_ACTION: &str = "close_connection";

/// Makes connectors; the gateway has one that knows all kinds.
pub trait ConnectorFactory: Send + Sync + 'static {
    /// A configured source. Checks the configuration, opens nothing.
    fn connect(
        &self,
        tenant: TenantId,
        connection: ConnectionId,
        connector: &str,
        config: &Value,
        requests: &Requests,
    ) -> Result<Arc<dyn Connector>, ConnectorError>;

    /// The kinds of source there are.
    fn catalogue(&self) -> Vec<ConnectorInfo>;
}

/// What a test found.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct TestReport {
    pub ok: bool,
    pub latency_ms: u64,
    pub message: String,
    pub steps: Vec<CheckStep>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClosePayload {
    connection_id: ConnectionId,
}

/// The use cases of connections. Cheap to clone.
#[derive(Clone)]
pub struct ConnectionService {
    commands: Commands,
    keys: Arc<KeyStore>,
    connectors: Arc<dyn ConnectorFactory>,
}

impl ConnectionService {
    pub fn new(commands: Commands, keys: Arc<KeyStore>, connectors: Arc<dyn ConnectorFactory>) -> Self {
        Self { commands, keys, connectors }
    }

    /// The kinds of source there are.
    pub fn catalogue(&self) -> Vec<ConnectorInfo> {
        self.connectors.catalogue()
    }

    /// The configuration with its secrets masked, as it may be shown.
    pub fn config_shown(&self, connector: &str, config: &Value) -> Value {
        match self.config_schema(connector) {
            Ok(schema) => secrets::mask(&schema, config),
            // Of a connector this build does not know, nothing is known to be harmless.
            Err(_) => Value::Object(serde_json::Map::new()),
        }
    }

    /// Makes a connection. Its id follows from the command's, so that a retry makes no second one.
    pub async fn connection_create(
        &self,
        context: &CommandContext,
        name: &str,
        connector: &str,
        config: Value,
    ) -> Result<(ConnectionId, Outcome), CommandError> {
        self.config_schema(connector)?;
        let id = ConnectionId(derive_id(context.tenant, context.command_id, "connection"));
        self.connectors.connect(context.tenant, id, connector, &config, &Requests::default())?;
        let name = name.trim();
        self.name_hold_unless_repeated(context, name, id).await?;
        let command = ConnectionCommand::CreateConnection {
            name: name.to_owned(),
            connector: connector.to_owned(),
            config,
        };
        match self.commands.create::<Connection>(context, id.0, command).await {
            Ok(outcome) if outcome.replayed => {
                self.names_settle(context, id).await?;
                Ok((id, outcome))
            }
            Ok(outcome) => {
                self.name_confirm(context, name, id).await?;
                Ok((id, outcome))
            }
            Err(error) => {
                self.name_release_after(&error, context, name, id).await;
                Err(error)
            }
        }
    }

    /// Changes a connection's name, its configuration, or both. A masked secret keeps its value.
    pub async fn connection_update(
        &self,
        context: &CommandContext,
        id: ConnectionId,
        name: Option<&str>,
        config: Option<Value>,
    ) -> Result<Outcome, CommandError> {
        let connection = self.connection_load(context.tenant, id).await?;
        let config = match config {
            Some(new) => {
                let schema = self.config_schema(&connection.connector)?;
                let merged = secrets::unmask(&schema, &connection.config, &new);
                let unasked = Requests::default();
                self.connectors.connect(context.tenant, id, &connection.connector, &merged, &unasked)?;
                Some(merged)
            }
            None => None,
        };
        let name = name.map(str::trim);
        let renamed = name.filter(|name| reserved(name) != reserved(&connection.name));
        if let Some(name) = renamed {
            self.name_hold_unless_repeated(context, name, id).await?;
        }
        let command = ConnectionCommand::UpdateConnection { name: name.map(str::to_owned), config };
        let outcome = match self.commands.execute::<Connection>(context, id.0, command).await {
            Ok(outcome) => outcome,
            Err(error) => {
                if let Some(name) = renamed {
                    self.name_release_after(&error, context, name, id).await;
                }
                return Err(error);
            }
        };
        // A repetition does not know how far the first one came, nor what happened since.
        if renamed.is_some() || (name.is_some() && outcome.replayed) {
            self.names_settle(context, id).await?;
        }
        Ok(outcome)
    }

    /// Talks to the source and records how it went.
    pub async fn connection_test(
        &self,
        context: &CommandContext,
        id: ConnectionId,
    ) -> Result<(TestReport, Outcome), CommandError> {
        let connection = self.connection_load(context.tenant, id).await?;
        let began = Instant::now();
        let requests = self.requests_of(&connection);
        let checked = match self.connect(context.tenant, id, &connection, &requests) {
            Ok(connector) => tokio::time::timeout(TEST_TIMEOUT, connector.check())
                .await
                .unwrap_or_else(|_| Err(unanswered(TEST_TIMEOUT))),
            Err(error) => Err(error),
        };
        self.requests_count(&context.step("requests"), id, &requests).await?;
        let latency_ms = began.elapsed().as_millis() as u64;
        let report = match checked {
            Ok(steps) => {
                let failed = steps.iter().find(|step| !step.passed);
                let message = failed.or(steps.last()).map_or_else(String::new, |step| step.message.clone());
                TestReport { ok: failed.is_none(), latency_ms, message, steps }
            }
            Err(error) => TestReport { ok: false, latency_ms, message: error.to_string(), steps: Vec::new() },
        };
        let command =
            ConnectionCommand::RecordTest { ok: report.ok, message: report.message.clone(), latency_ms };
        let outcome = self.commands.execute::<Connection>(context, id.0, command).await?;
        Ok((report, outcome))
    }

    /// Asks the source for its streams and records them.
    pub async fn connection_discover(
        &self,
        context: &CommandContext,
        id: ConnectionId,
    ) -> Result<(Vec<DiscoveredStream>, Outcome), CommandError> {
        let connection = self.connection_load(context.tenant, id).await?;
        let requests = self.requests_of(&connection);
        let connector = self.connect(context.tenant, id, &connection, &requests)?;
        let cancel = CancellationToken::new();
        let cancel_on_drop = cancel.clone().drop_guard();
        let streams = tokio::time::timeout(DISCOVER_TIMEOUT, connector.discover(cancel))
            .await
            .unwrap_or_else(|_| Err(unanswered(DISCOVER_TIMEOUT)));
        drop(cancel_on_drop);
        self.requests_count(&context.step("requests"), id, &requests).await?;
        let streams = streams?;
        // What a person lists is judged as what a sync lists: the next one will know it already.
        let listing = Listing {
            commands: &self.commands,
            tenant: context.tenant,
            connection_id: id,
            connection: &connection,
            connector: connector.as_ref(),
            context: &|parts: &[&str]| context.step(&parts.join("/")),
        };
        listing.judge(&streams).await?;
        let command = ConnectionCommand::RecordDiscovery { streams: streams.clone() };
        let outcome = self.commands.execute::<Connection>(context, id.0, command).await?;
        Ok((streams, outcome))
    }

    /// Chooses which streams are read, and how. Discovers first if that was never done.
    pub async fn connection_select(
        &self,
        context: &CommandContext,
        id: ConnectionId,
        streams: Vec<StreamSelection>,
    ) -> Result<Outcome, CommandError> {
        let connection = self.connection_load(context.tenant, id).await?;
        if connection.discovered.is_none() {
            self.connection_discover(&context.step("discover"), id).await?;
        }
        let command = ConnectionCommand::SelectStreams { streams };
        self.commands.execute::<Connection>(context, id.0, command).await
    }

    /// Deletes a connection: nothing reads it any more, its records close, its name is free. A task
    /// queued first does the same, so that a crash in between leaves nothing half done.
    pub async fn connection_delete(
        &self,
        context: &CommandContext,
        id: ConnectionId,
        tasks: &TaskHandle,
    ) -> Result<Outcome, CommandError> {
        let loaded = self.commands.load::<Connection>(context.tenant, id.0).await?;
        if loaded.version == 0 {
            return Err(CommandError::NotFound { what: "connection", id: id.to_string() });
        }
        let step = context.step("close");
        let task = NewTask {
            task_id: Some(TaskId(derive_id(context.tenant, step.command_id, "task"))),
            max_retries: 20,
            timeout_seconds: 3_600,
            ..NewTask::new(CLOSE_CONNECTION_ACTION, serde_json::json!({ "connection_id": id }))
        };
        tasks.task_enqueue(&step, task).await?;
        self.commands.execute::<Connection>(context, id.0, ConnectionCommand::DeleteConnection).await
    }

    /// Carries a deletion through; may be repeated.
    async fn close(&self, context: &CommandContext, id: ConnectionId) -> Result<(), CommandError> {
        let connection = self.commands.load::<Connection>(context.tenant, id.0).await?.state;
        if connection.status != ConnectionStatus::Deleted {
            self.commands
                .execute::<Connection>(&context.step("delete"), id.0, ConnectionCommand::DeleteConnection)
                .await?;
        }
        let schedules = ScheduleService::new(self.commands.clone());
        for schedule in connection.schedules.iter().copied() {
            match schedules.schedule_delete(&context.step(&schedule.to_string()), schedule).await {
                // A request that was cut off counted it and made none.
                Ok(_) | Err(CommandError::NotFound { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for stream in self.streams_ever(context.tenant, id).await? {
            self.feed_close(context, FeedId::of(id, &stream)).await?;
        }
        self.name_release(context, &connection.name, id).await?;
        self.source_release(context.tenant, id, &connection).await
    }

    /// Takes back what the connection made in its source. Last, and tried again only while that may
    /// help: a source that is gone for good must not keep a connection from being deleted.
    async fn source_release(
        &self,
        tenant: TenantId,
        id: ConnectionId,
        connection: &Connection,
    ) -> Result<(), CommandError> {
        // What was made is taken back, whatever is left of the day's requests.
        let released = match self.connect(tenant, id, connection, &Requests::default()) {
            Ok(connector) => tokio::time::timeout(TEST_TIMEOUT, connector.release())
                .await
                .unwrap_or_else(|_| Err(unanswered(TEST_TIMEOUT))),
            Err(error) => Err(error),
        };
        match released {
            Err(error) if !error.retryable() => {
                tracing::warn!(connection = %id, code = error.code(), "the source keeps what the connection made in it: {error}");
                Ok(())
            }
            released => Ok(released?),
        }
    }

    /// The deleted connection's feed ends, whoever appends to it: after this they are fenced off.
    async fn feed_close(&self, context: &CommandContext, feed_id: FeedId) -> Result<(), CommandError> {
        for _ in 0..CLOSE_TRIES {
            let handle = self.commands.feed_open(context.tenant, feed_id).await?;
            let Some(mut state) = handle.state.clone().filter(|_| !handle.closed) else { return Ok(()) };
            state.snapshot = None;
            let step = context.step(&format!("close-{feed_id}-{}", handle.version));
            match self
                .commands
                .feed_append(&step, feed_id, &handle, FeedEvent::FeedClosed { state }, None)
                .await
            {
                Err(CommandError::Fenced { .. }) => {}
                other => return other.map(|_| ()),
            }
        }
        Err(CommandError::Contended {
            key: AggregateKey {
                tenant: context.tenant,
                aggregate_type: AggregateType::Feed,
                aggregate_id: feed_id.0,
            },
            tries: CLOSE_TRIES,
        })
    }

    /// Every stream the connection ever offered or read: its whole history, not its last state.
    async fn streams_ever(
        &self,
        tenant: TenantId,
        id: ConnectionId,
    ) -> Result<BTreeSet<String>, CommandError> {
        let key = AggregateKey { tenant, aggregate_type: AggregateType::Connection, aggregate_id: id.0 };
        let mut streams = BTreeSet::new();
        for commit in self.commands.log().load(&key, 0).await? {
            for index in 0..commit.events.len() {
                match open_event::<ConnectionEvent>(&**self.commands.ring(), &commit, index)? {
                    ConnectionEvent::StreamsDiscovered { streams: found } => {
                        streams.extend(found.into_iter().map(|stream| stream.name));
                    }
                    ConnectionEvent::StreamsSelected { streams: chosen } => {
                        streams.extend(chosen.into_iter().map(|stream| stream.name));
                    }
                    _ => {}
                }
            }
        }
        Ok(streams)
    }

    async fn connection_load(
        &self,
        tenant: TenantId,
        id: ConnectionId,
    ) -> Result<Arc<Connection>, CommandError> {
        let loaded = self.commands.load::<Connection>(tenant, id.0).await?;
        if loaded.version == 0 || loaded.state.status == ConnectionStatus::Deleted {
            return Err(CommandError::NotFound { what: "connection", id: id.to_string() });
        }
        Ok(loaded.state)
    }

    /// Sets what the connection's owner allows.
    pub async fn connection_limit(
        &self,
        context: &CommandContext,
        id: ConnectionId,
        limits: ConnectionLimits,
    ) -> Result<Outcome, CommandError> {
        let connection = self.connection_load(context.tenant, id).await?;
        if limits.requests_per_day.is_some() {
            self.requests_must_count(&connection.connector)?;
        }
        self.commands.execute::<Connection>(context, id.0, ConnectionCommand::SetLimits { limits }).await
    }

    fn requests_must_count(&self, connector: &str) -> Result<(), CommandError> {
        let catalogue = self.connectors.catalogue();
        if catalogue.iter().any(|info| info.id == connector && info.capabilities.counts_requests) {
            return Ok(());
        }
        Err(CommandError::Invalid {
            field: "/limits/requests_per_day",
            message: format!("requests of connector `{connector}` are not counted: leave it out"),
        })
    }

    /// Nothing is synced by itself from now on, or again.
    pub async fn connection_pause(
        &self,
        context: &CommandContext,
        id: ConnectionId,
        paused: bool,
    ) -> Result<Outcome, CommandError> {
        self.connection_load(context.tenant, id).await?;
        let now = self.commands.clock().now();
        let command = if paused { ConnectionCommand::Pause { now } } else { ConnectionCommand::Resume };
        self.commands.execute::<Connection>(context, id.0, command).await
    }

    fn connect(
        &self,
        tenant: TenantId,
        id: ConnectionId,
        connection: &Connection,
        requests: &Requests,
    ) -> Result<Arc<dyn Connector>, ConnectorError> {
        self.connectors.connect(tenant, id, &connection.connector, &connection.config, requests)
    }

    fn requests_of(&self, connection: &Connection) -> Requests {
        requests_of(connection, self.commands.clock().now())
    }

    async fn requests_count(
        &self,
        context: &CommandContext,
        id: ConnectionId,
        requests: &Requests,
    ) -> Result<(), CommandError> {
        requests_count(&self.commands, context, id, requests).await
    }

    fn config_schema(&self, connector: &str) -> Result<Value, CommandError> {
        self.connectors
            .catalogue()
            .into_iter()
            .find(|info| info.id == connector)
            .map(|info| info.config_schema)
            .ok_or_else(|| CommandError::UnknownConnector { connector: connector.to_owned() })
    }
}

/// What is left of the day's requests.
pub(crate) fn requests_of(connection: &Connection, now: DateTime<Utc>) -> Requests {
    let Some(a_day) = connection.limits.requests_per_day else { return Requests::default() };
    let tomorrow = now.date_naive().and_time(NaiveTime::MIN).and_utc() + TimeDelta::days(1);
    let renewed_in = (tomorrow - now).to_std().unwrap_or_default();
    Requests::limited(a_day, connection.health.requests_on(now), renewed_in)
}

/// Adds what was asked of the source to the day's requests.
pub(crate) async fn requests_count(
    commands: &Commands,
    context: &CommandContext,
    id: ConnectionId,
    requests: &Requests,
) -> Result<(), CommandError> {
    if requests.made() == 0 {
        return Ok(());
    }
    let count = RequestCount { day: commands.clock().now().date_naive(), requests: requests.made() };
    commands.execute::<Connection>(context, id.0, ConnectionCommand::CountRequests { count }).await?;
    Ok(())
}

fn unanswered(limit: Duration) -> ConnectorError {
    ConnectorError::Transient {
        code: "AOS-0342",
        message: format!("the source did not answer within {} s", limit.as_secs()),
    }
}

#[async_trait]
impl TaskHandler for ConnectionService {
    /// Finishes deletions: register it under [`CLOSE_CONNECTION_ACTION`].
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure> {
        let payload: ClosePayload = serde_json::from_value(task.payload.clone()).map_err(|error| {
            TaskFailure::lasting("AOS-0317", format!("the task's payload is not a deletion's: {error}"))
        })?;
        let context = CommandContext {
            causation_id: Some(task.task_id.0),
            ..CommandContext::new(
                task.tenant,
                Actor::System(CLOSE_CONNECTION_ACTION.to_owned()),
                CommandId(task.task_id.0),
            )
        };
        self.close(&context, payload.connection_id).await?;
        Ok(Value::Null)
    }
}
