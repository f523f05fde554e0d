//! Schedules and the health of connections, by a clock that the test moves and a source that does what it
//! is told.

use super::{World, context, next};
use crate::{
    clock::Clock,
    connections::{CLOSE_CONNECTION_ACTION, ConnectionService, ConnectorFactory},
    error::CommandError,
    processes,
    schedules::{NewSchedule, RUN_SCHEDULE_ACTION, ScheduleChange, ScheduleService},
    sync::{MappingSuggester, SYNC_ACTION, SuggestInput, SyncCause, SyncRequest, SyncRunner, sync_request},
    tasks::{Progress, TaskHandle, TaskHandler, TaskOptions, TaskRun, TaskService},
};
use async_trait::async_trait;
use autonomos_connectors::{
    error::ConnectorError,
    port::{Capabilities, CheckStep, Connector, ConnectorInfo, ReadEvent},
    requests::Requests,
};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionEvent, ConnectionStatus},
        schedule::{RunOutcome, Schedule, ScheduleAction, ScheduleEvent, SkipReason, Timing},
        task::{Task, TaskEvent, TaskStatus},
    },
    error::Error,
    health::{ConnectionLimits, FailureKind, PauseReason},
    ids::{ConnectionId, ScheduleId, TaskId, TenantId},
    mapping::MappingContent,
    schema::{DiscoveredStream, StreamSelection, StreamShape, SyncMode},
};
use autonomos_log::{
    control::ControlStore,
    events::open_event,
    port::{Delivery, EventLog, Filter},
};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::DomainEvent;
use futures::{StreamExt, stream::BoxStream};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Up,
    Down,
    Refusing,
    /// It answers once there is a permit.
    Slow,
    /// The same, and then it takes the new secret alone.
    Rotated,
}

struct Source {
    mood: Mutex<Mood>,
    asked: AtomicUsize,
    gate: Semaphore,
}

#[derive(Clone)]
struct Sources(Arc<Source>, Value);

impl ConnectorFactory for Sources {
    fn connect(
        &self,
        _tenant: TenantId,
        _connection: ConnectionId,
        _connector: &str,
        config: &Value,
        _requests: &Requests,
    ) -> Result<Arc<dyn Connector>, ConnectorError> {
        Ok(Arc::new(Self(Arc::clone(&self.0), config.clone())))
    }

    fn catalogue(&self) -> Vec<ConnectorInfo> {
        vec![ConnectorInfo {
            id: "told",
            name: "Told",
            config_schema: json!({}),
            capabilities: Capabilities { full: true, ..Capabilities::default() },
        }]
    }
}

#[async_trait]
impl Connector for Sources {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        Ok(vec![CheckStep { name: "open".to_owned(), passed: true, message: "it answers".to_owned() }])
    }

    async fn discover(&self, _cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        let mood = *self.0.mood.lock();
        match mood {
            Mood::Up => {}
            Mood::Slow => self.0.gate.acquire().await.expect("open").forget(),
            Mood::Rotated if self.1["secret"] == "new" => {}
            Mood::Rotated => {
                self.0.gate.acquire().await.expect("open").forget();
                let message = "the secret is not the one of today".to_owned();
                return Err(ConnectorError::Authentication { code: "AOS-0272", message });
            }
            Mood::Down => {
                return Err(ConnectorError::Transient { code: "AOS-0262", message: "it is down".to_owned() });
            }
            Mood::Refusing => {
                let message = "the password is wrong".to_owned();
                return Err(ConnectorError::Authentication { code: "AOS-0272", message });
            }
        }
        Ok(vec![DiscoveredStream {
            name: "accounts".to_owned(),
            shape: StreamShape::default(),
            cursor_fields: Vec::new(),
            sync_modes: vec![SyncMode::Full],
            estimated_rows: None,
            sampled: None,
        }])
    }

    fn read(
        &self,
        _stream: &StreamSelection,
        _mode: SyncMode,
        _cursor: Option<Value>,
        _cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>> {
        futures::stream::iter([Ok(ReadEvent::Unchanged)]).boxed()
    }
}

struct Raw;

impl MappingSuggester for Raw {
    fn suggest(&self, _input: &SuggestInput<'_>) -> MappingContent {
        MappingContent { entity: None, key: Vec::new(), fields: Vec::new() }
    }
}

/// An installation with a connection, whose clock stands at half past ten.
struct Stage {
    world: World,
    clock: Clock,
    source: Sources,
    schedules: ScheduleService,
    connections: ConnectionService,
    tenant: TenantId,
    connection: ConnectionId,
    running: Option<(TaskHandle, processes::Handle)>,
    /// Up to which commit was waited.
    seen: u64,
}

fn at(time: &str) -> DateTime<Utc> {
    DateTime::parse_from_rfc3339(&format!("2026-03-02T{time}Z")).unwrap().with_timezone(&Utc)
}

impl Stage {
    async fn new() -> Self {
        let clock = Clock::fixed(at("10:30:00"));
        let world = World::with_clock(clock.clone());
        let source = Sources(
            Arc::new(Source {
                mood: Mutex::new(Mood::Up),
                asked: AtomicUsize::new(0),
                gate: Semaphore::new(0),
            }),
            Value::Null,
        );
        let tenant = world.tenant().await;
        let connections =
            ConnectionService::new(world.commands.clone(), world.keys.clone(), Arc::new(source.clone()));
        let (connection, _) =
            connections.connection_create(&context(tenant), "CRM", "told", json!({})).await.unwrap();
        let schedules = ScheduleService::new(world.commands.clone());
        let mut stage =
            Self { world, clock, source, schedules, connections, tenant, connection, running: None, seen: 0 };
        stage.start();
        stage
    }

    fn start(&mut self) {
        let commands = &self.world.commands;
        let runner = SyncRunner::new(
            commands.clone(),
            Arc::new(self.source.clone()),
            Arc::new(Raw),
            self.world.keys.clone() as _,
        );
        let tasks =
            TaskService::new(TaskOptions::new(self.world.path().join("tasks.sqlite")), commands.clone())
                .register(SYNC_ACTION, Arc::new(runner))
                .register(RUN_SCHEDULE_ACTION, Arc::new(self.schedules.clone()))
                .register(CLOSE_CONNECTION_ACTION, Arc::new(self.connections.clone()))
                .start()
                .unwrap();
        let control = Arc::new(ControlStore::open(&self.world.path().join("processes.sqlite")).unwrap());
        self.running = Some((tasks, processes::Service::start(commands, &control, None)));
    }

    async fn stop(&mut self) {
        let (tasks, managers) = self.running.take().unwrap();
        tasks.shutdown().await;
        managers.shutdown().await;
    }

    fn tasks(&self) -> &TaskHandle {
        &self.running.as_ref().unwrap().0
    }

    fn to(&self, mood: Mood) {
        *self.source.0.mood.lock() = mood;
    }

    fn pass(&self, time: TimeDelta) {
        self.clock.advance(time);
        if let Some((tasks, _)) = &self.running {
            tasks.wake();
        }
    }

    /// The next event of that type, and what it is of.
    async fn event<E: DomainEvent + DeserializeOwned>(&mut self, event_type: &str) -> (uuid::Uuid, E) {
        let filter = Filter { tenant: Some(self.tenant), aggregate_types: vec![] };
        let mut deliveries = self.world.log.subscribe(0, self.seen, filter);
        let commit = next(&mut deliveries, event_type).await;
        self.seen = commit.position.sequence;
        let index = commit.events.iter().position(|event| event.event_type == event_type).unwrap();
        let event = open_event(&**self.world.commands.ring(), &commit, index).unwrap();
        (commit.header.key.aggregate_id, event)
    }

    /// What became of the next time of a schedule.
    async fn ran(&mut self) -> (DateTime<Utc>, RunOutcome) {
        let (_, event) = self.event::<ScheduleEvent>("ScheduleRan").await;
        let ScheduleEvent::ScheduleRan { slot, outcome, .. } = event else { panic!("{event:?}") };
        (slot, outcome)
    }

    async fn schedule(&self, cron: &str) -> Result<ScheduleId, CommandError> {
        let timing = Timing { cron: cron.to_owned(), time_zone: "UTC".to_owned() };
        let new = NewSchedule {
            name: "hourly".to_owned(),
            timing,
            action: ScheduleAction::Sync,
            connection_id: self.connection,
            enabled: true,
        };
        Ok(self.schedules.schedule_create(&context(self.tenant), new).await?.0)
    }

    async fn schedule_now(&self, id: ScheduleId) -> Arc<Schedule> {
        self.world.commands.load::<Schedule>(self.tenant, id.0).await.unwrap().state
    }

    async fn connection_now(&self) -> Arc<Connection> {
        self.world.commands.load::<Connection>(self.tenant, self.connection.0).await.unwrap().state
    }

    /// A sync by hand, once the one before has let go of its slot.
    async fn sync(&self) -> TaskId {
        loop {
            let asked = context(self.tenant);
            let cause = SyncCause::default();
            match sync_request(&self.world.commands, &asked, self.connection, cause).await.unwrap() {
                SyncRequest::Granted(sync) => return sync.task_id,
                SyncRequest::Busy(_) => tokio::task::yield_now().await,
            }
        }
    }

    /// Waits until a task is over.
    async fn finished(&self, task: TaskId) {
        while !self.world.commands.load::<Task>(self.tenant, task.0).await.unwrap().state.status.is_final() {
            tokio::task::yield_now().await;
        }
    }

    /// The next time began a sync, which is over.
    async fn ran_to_its_end(&mut self) -> (DateTime<Utc>, TaskId) {
        let (slot, outcome) = self.ran().await;
        let RunOutcome::Started { task_id, .. } = outcome else { panic!("{outcome:?}") };
        self.finished(task_id).await;
        (slot, task_id)
    }

    /// How many events of a type there are so far.
    async fn count(&self, event_type: &str) -> usize {
        let filter = Filter { tenant: Some(self.tenant), aggregate_types: vec![] };
        let mut deliveries = self.world.log.subscribe(0, 0, filter);
        let head = self.world.log.head(0).await.unwrap().sequence;
        let mut count = 0;
        while let Some(delivery) = deliveries.next().await {
            let sequence = match delivery.unwrap() {
                Delivery::Commit(commit) => {
                    count += commit.events.iter().filter(|event| event.event_type == event_type).count();
                    commit.position.sequence
                }
                Delivery::CaughtUp(sequence) => sequence,
            };
            if sequence >= head {
                break;
            }
        }
        count
    }
}

fn skipped(reason: SkipReason) -> RunOutcome {
    RunOutcome::Skipped { reason, task_id: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_time_is_taken_once_and_those_missed_count_as_one() {
    let mut stage = Stage::new().await;
    let id = stage.schedule("0 * * * *").await.unwrap();
    assert_eq!(stage.schedule_now(id).await.next_run_at, Some(at("11:00:00")));
    stage.pass(TimeDelta::minutes(31));
    let (slot, task_id) = stage.ran_to_its_end().await;
    assert_eq!(slot, at("11:00:00"));
    let task = stage.world.commands.load::<Task>(stage.tenant, task_id.0).await.unwrap().state;
    assert_eq!(task.payload["schedule_id"], id.to_string(), "the task says what caused it");

    // Nobody is there for a day and a half, and then somebody else.
    stage.stop().await;
    stage.pass(TimeDelta::hours(36));
    stage.start();
    assert_eq!(stage.ran_to_its_end().await.0, at("12:00:00"), "the first that was missed");
    let next = stage.schedule_now(id).await.next_run_at;
    assert_eq!(next, Some(at("00:00:00") + TimeDelta::days(2)), "the next is ahead");
    assert_eq!((stage.count("ScheduleRan").await, stage.count("SyncRequested").await), (2, 2));

    // Two who take the same time: one sync.
    stage.stop().await;
    stage.pass(TimeDelta::hours(1));
    let due = stage.schedule_now(id).await.due().unwrap();
    let mut payload = serde_json::to_value(due).unwrap();
    payload["schedule_id"] = json!(id);
    let (tenant, task_id) = (stage.tenant, TaskId::random());
    let run = || TaskRun {
        tenant,
        task_id,
        payload: payload.clone(),
        attempt: 1,
        max_retries: 3,
        cancel: CancellationToken::new(),
        progress: Progress::default(),
    };
    let other = ScheduleService::new(stage.world.other_node());
    let (first, second) = tokio::join!(stage.schedules.run(run()), other.run(run()));
    assert!(first.is_ok() || second.is_ok(), "{first:?} {second:?}");
    assert_eq!((stage.count("ScheduleRan").await, stage.count("SyncRequested").await), (3, 3));
    assert_eq!(stage.schedules.run(run()).await.unwrap()["outcome"], Value::Null, "it is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_passes_while_a_sync_runs_and_a_change_leaves_old_times_to_nobody() {
    let mut stage = Stage::new().await;
    stage.to(Mood::Slow);
    let running = stage.sync().await;
    let id = stage.schedule("0 * * * *").await.unwrap();
    // The sync is under way, and its slot is its own.
    stage.event::<TaskEvent>("TaskStarted").await;
    while stage.source.0.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    stage.pass(TimeDelta::minutes(31));
    let (_, outcome) = stage.ran().await;
    assert_eq!(outcome, RunOutcome::Skipped { reason: SkipReason::Busy, task_id: Some(running) });
    stage.to(Mood::Up);
    stage.source.0.gate.add_permits(1);
    stage.finished(running).await;

    let change = ScheduleChange { cron: Some("30 * * * *".to_owned()), ..ScheduleChange::default() };
    stage.schedules.schedule_update(&context(stage.tenant), id, change).await.unwrap();
    stage.pass(TimeDelta::minutes(90));
    assert_eq!(stage.ran_to_its_end().await.0, at("11:30:00"), "the noon of the earlier timing is nobody's");
    let off = ScheduleChange { enabled: Some(false), ..ScheduleChange::default() };
    stage.schedules.schedule_update(&context(stage.tenant), id, off).await.unwrap();
    assert_eq!(stage.schedule_now(id).await.next_run_at, None);
    let on = ScheduleChange { enabled: Some(true), ..ScheduleChange::default() };
    stage.schedules.schedule_update(&context(stage.tenant), id, on).await.unwrap();
    stage.pass(TimeDelta::minutes(60));
    assert_eq!(stage.ran().await.0, at("12:30:00") + TimeDelta::minutes(60));

    // The connection goes, and its schedules with it.
    let tenant = stage.tenant;
    stage.connections.connection_delete(&context(tenant), stage.connection, stage.tasks()).await.unwrap();
    stage.event::<ScheduleEvent>("ScheduleDeleted").await;
    assert!(stage.schedule_now(id).await.deleted);
    let gone = stage.schedule("0 * * * *").await.unwrap_err();
    assert_eq!(gone.code(), "AOS-0318");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_kept_is_refused_and_counts_for_nothing() {
    let mut stage = Stage::new().await;
    let refused = stage.schedule("* * * * *").await.unwrap_err();
    assert!(
        matches!(&refused, CommandError::Refused(Error::Invalid { field, .. }) if field == "/cron"),
        "{refused}"
    );
    for _ in 0..20 {
        stage.schedule("0 6 * * *").await.unwrap();
    }
    let refused = stage.schedule("0 6 * * *").await.unwrap_err();
    assert_eq!(refused.code(), "AOS-0007");
    let first = *stage.connection_now().await.schedules.first().unwrap();
    stage.schedules.schedule_delete(&context(stage.tenant), first).await.unwrap();
    stage.schedule("0 6 * * *").await.unwrap();
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_refuses_is_paused_soon_and_a_sync_that_goes_well_ends_the_pause() {
    let mut stage = Stage::new().await;
    stage.to(Mood::Refusing);
    for _ in 0..2 {
        stage.sync().await;
        stage.event::<ConnectionEvent>("SyncWentWrong").await;
    }
    let paused = stage.connection_now().await;
    assert_eq!(paused.status, ConnectionStatus::Paused);
    let pause = paused.health.paused.clone().unwrap();
    let kind = pause.failure.as_ref().map(|failure| failure.kind);
    assert_eq!((pause.reason, kind), (PauseReason::Refused, Some(FailureKind::Authentication)));

    let asked = stage.source.0.asked.load(Ordering::SeqCst);
    stage.schedule("0 * * * *").await.unwrap();
    stage.pass(TimeDelta::hours(1));
    assert_eq!(stage.ran().await.1, skipped(SkipReason::Paused));
    assert_eq!(stage.source.0.asked.load(Ordering::SeqCst), asked, "it is not asked");

    stage.to(Mood::Up);
    let sync = stage.sync().await;
    stage.finished(sync).await;
    let health = stage.connection_now().await;
    assert_eq!((health.status, health.health.consecutive_failures), (ConnectionStatus::Healthy, 0));
    stage.pass(TimeDelta::hours(1));
    stage.ran_to_its_end().await;

    let tenant = stage.tenant;
    stage.connections.connection_pause(&context(tenant), stage.connection, true).await.unwrap();
    stage.pass(TimeDelta::hours(1));
    assert_eq!(stage.ran().await.1, skipped(SkipReason::Paused));
    stage.connections.connection_pause(&context(tenant), stage.connection, false).await.unwrap();
    stage.pass(TimeDelta::hours(1));
    stage.ran_to_its_end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_down_is_left_alone_for_longer_each_time_and_then_warned_of() {
    let mut stage = Stage::new().await;
    let limits = ConnectionLimits { warn_after: Some(1), ..ConnectionLimits::default() };
    let tenant = stage.tenant;
    stage.connections.connection_limit(&context(tenant), stage.connection, limits).await.unwrap();
    let uncounted = ConnectionLimits { requests_per_day: Some(5), ..ConnectionLimits::default() };
    let refused = stage.connections.connection_limit(&context(tenant), stage.connection, uncounted).await;
    assert_eq!(refused.unwrap_err().code(), "AOS-0317");

    stage.to(Mood::Down);
    let task = stage.sync().await;
    let mut waits = Vec::new();
    loop {
        stage.event::<ConnectionEvent>("AttemptFailed").await;
        let now = stage.clock.now();
        // The task's own end of the attempt follows.
        let state = loop {
            let state = stage.world.commands.load::<Task>(tenant, task.0).await.unwrap().state;
            if state.status != TaskStatus::Running {
                break state;
            }
            tokio::task::yield_now().await;
        };
        let circuit = stage.connection_now().await.health.circuit;
        let Some(run_at) = state.run_at.filter(|_| state.status == TaskStatus::Retrying) else { break };
        if let Some(circuit) = circuit {
            assert!(run_at >= circuit.until, "no attempt while it is left alone");
        }
        waits.push((run_at - now).num_seconds());
        stage.pass(run_at - now);
    }
    assert_eq!(stage.source.0.asked.load(Ordering::SeqCst), 6, "as many as the sync has attempts");
    assert!(waits[0] < 10 && waits[1] < 10 && waits[2] >= 60 && waits[4] >= 240, "{waits:?}");
    stage.event::<ConnectionEvent>("ConnectionWarned").await;
    let health = stage.connection_now().await.health.clone();
    assert_eq!((health.consecutive_failures, health.warned, health.paused), (1, true, None));
    let until = health.circuit.unwrap().until;
    assert!(until > stage.clock.now());

    // A time that comes while it is left alone is let pass; a person may try at once.
    let minutes = (until - stage.clock.now()).num_minutes();
    assert!(minutes >= 5, "{minutes}");
    stage.schedule("*/5 * * * *").await.unwrap();
    stage.pass(TimeDelta::minutes(5));
    assert_eq!(stage.ran().await.1, skipped(SkipReason::CircuitOpen));
    stage.to(Mood::Up);
    let sync = stage.sync().await;
    stage.finished(sync).await;
    let health = stage.connection_now().await.health.clone();
    assert_eq!((health.circuit, health.consecutive_failures, health.warned), (None, 0, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_changes_while_a_sync_runs_stops_nothing() {
    let stage = Stage::new().await;
    stage.to(Mood::Rotated);
    let sync = stage.sync().await;
    while stage.source.0.asked.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let tenant = stage.tenant;
    let new = json!({ "secret": "new" });
    stage.connections.connection_update(&context(tenant), stage.connection, None, Some(new)).await.unwrap();
    stage.source.0.gate.add_permits(1);
    // The attempt that began with the old one is refused, which would end the sync if nothing had changed.
    loop {
        let task = stage.world.commands.load::<Task>(tenant, sync.0).await.unwrap().state;
        if task.status == TaskStatus::Retrying {
            break;
        }
        assert!(!task.status.is_final(), "{task:?}");
        tokio::task::yield_now().await;
    }
    stage.pass(TimeDelta::minutes(1));
    stage.finished(sync).await;
    let task = stage.world.commands.load::<Task>(tenant, sync.0).await.unwrap().state;
    assert_eq!(task.status, TaskStatus::Succeeded);
    let health = stage.connection_now().await.health.clone();
    assert_eq!((health.consecutive_failures, health.last_failure), (0, None), "it was nobody's failure");
}
