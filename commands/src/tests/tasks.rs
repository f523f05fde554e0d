use super::{World, context};
use crate::{
    clock::Clock,
    error::CommandError,
    execute::Commands,
    tasks::{
        EndedTask, Hosting, NewTask, TaskFailure, TaskHandle, TaskHandler, TaskOptions, TaskRun, TaskService,
    },
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::task::{Task, TaskCommand, TaskEvent, TaskStatus},
    envelope::{AggregateKey, AggregateType},
    ids::{TaskId, TenantId},
};
use autonomos_log::{
    database::Database,
    events::open_event,
    lease::Leases,
    port::{Delivery, EventLog, Filter},
    postgres_server::Postgres,
};
use chrono::{DateTime, TimeDelta};
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, mpsc};

/// Does what the payload says.
#[derive(Default)]
struct Worker {
    runs: Mutex<Vec<(TenantId, Value, u32)>>,
    ended: Mutex<Vec<(TaskId, TaskStatus, String)>>,
    running: AtomicUsize,
    most_running: AtomicUsize,
    running_by_group: Mutex<HashMap<String, usize>>,
    started: Mutex<Option<mpsc::UnboundedSender<TaskId>>>,
    gate: Semaphores,
}

struct Semaphores(Semaphore);

impl Default for Semaphores {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[async_trait]
impl TaskHandler for Worker {
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure> {
        self.runs.lock().push((task.tenant, task.payload.clone(), task.attempt));
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(running, Ordering::SeqCst);
        let group = self.group(&task.payload);
        if let Some(group) = &group {
            let mut groups = self.running_by_group.lock();
            let in_group = groups.entry(group.clone()).or_default();
            *in_group += 1;
            assert_eq!(*in_group, 1, "two of one group at a time");
        }
        if let Some(started) = &*self.started.lock() {
            let _ = started.send(task.task_id);
        }
        let result = self.act(&task).await;
        if let Some(group) = group {
            *self.running_by_group.lock().entry(group).or_default() -= 1;
        }
        self.running.fetch_sub(1, Ordering::SeqCst);
        result
    }

    async fn ended(&self, task: EndedTask) -> Result<(), CommandError> {
        self.ended.lock().push((task.task_id, task.status, task.code));
        Ok(())
    }
}

impl Worker {
    async fn act(&self, task: &TaskRun) -> Result<Value, TaskFailure> {
        let failure =
            |retryable| TaskFailure { retryable, ..TaskFailure::lasting("AOS-9999", "as told".to_owned()) };
        match task.payload["do"].as_str().unwrap_or("succeed") {
            "fail" => Err(failure(false)),
            "fail_first" if task.attempt == 1 => Err(failure(true)),
            "panic_first" if task.attempt == 1 => panic!("as told"),
            "wait" => {
                tokio::select! {
                    () = task.cancel.cancelled() => Err(failure(true)),
                    permit = self.gate.0.acquire() => {
                        permit.unwrap().forget();
                        Ok(json!("waited"))
                    }
                }
            }
            "ignore_cancel" => std::future::pending().await,
            "large" => Ok(json!("x".repeat(100_000))),
            _ => {
                task.progress.report(10, Some(10), "rows");
                Ok(json!({ "done": true }))
            }
        }
    }
}

struct Node {
    worker: Arc<Worker>,
    tasks: TaskHandle,
    started: mpsc::UnboundedReceiver<TaskId>,
}

fn start(world: &World) -> Node {
    start_with(world, 4)
}

fn start_with(world: &World, concurrency: usize) -> Node {
    let worker = Arc::new(Worker::default());
    let (sender, started) = mpsc::unbounded_channel();
    *worker.started.lock() = Some(sender);
    let options = TaskOptions {
        concurrency,
        cancel_grace: Duration::from_millis(50),
        ..TaskOptions::new(world.path().join("tasks.sqlite"))
    };
    let tasks = TaskService::new(options, world.commands.clone())
        .register("work", Arc::clone(&worker) as _)
        .start()
        .unwrap();
    Node { worker, tasks, started }
}

/// One of several nodes on the same log: with a cache and leases of its own.
async fn start_shared(commands: Commands, url: &str, name: &str) -> Node {
    let worker = Arc::new(Worker::default());
    let (sender, started) = mpsc::unbounded_channel();
    *worker.started.lock() = Some(sender);
    let database = Database::connect(url, Duration::from_secs(10)).await.unwrap();
    let leases = Leases::open(&database, name, "").await.unwrap();
    let leases = leases.with_times(Duration::from_millis(500), Duration::from_millis(50));
    let options = TaskOptions { hosting: Hosting::Shared { database, leases }, ..TaskOptions::default() };
    let tasks =
        TaskService::new(options, commands).register("work", Arc::clone(&worker) as _).start().unwrap();
    Node { worker, tasks, started }
}

impl Node {
    async fn queue(&self, tenant: TenantId, payload: Value) -> TaskId {
        self.tasks.task_enqueue(&context(tenant), NewTask::new("work", payload)).await.unwrap().0
    }

    async fn begun(&mut self) -> TaskId {
        self.started.recv().await.unwrap()
    }
}

/// Follows the task's events until one of them is `wanted`.
async fn until(
    world: &World,
    tenant: TenantId,
    id: TaskId,
    wanted: impl Fn(&TaskEvent) -> bool,
) -> TaskEvent {
    let filter = Filter { tenant: Some(tenant), aggregate_types: vec![AggregateType::Task] };
    let mut deliveries = world.log.subscribe(0, 0, filter);
    let search = async {
        while let Some(delivery) = deliveries.next().await {
            let Delivery::Commit(commit) = delivery.unwrap() else { continue };
            if commit.header.key.aggregate_id != id.0 {
                continue;
            }
            for index in 0..commit.events.len() {
                let event = open_event::<TaskEvent>(&*world.keys, &commit, index).unwrap();
                if wanted(&event) {
                    return event;
                }
            }
        }
        panic!("the log ended")
    };
    tokio::time::timeout(Duration::from_mins(1), search).await.expect("the event never came")
}

async fn succeeded(world: &World, tenant: TenantId, id: TaskId) -> TaskEvent {
    until(world, tenant, id, |event| matches!(event, TaskEvent::TaskSucceeded { .. })).await
}

async fn events(world: &World, tenant: TenantId, id: TaskId) -> Vec<TaskEvent> {
    let key = AggregateKey { tenant, aggregate_type: AggregateType::Task, aggregate_id: id.0 };
    let commits = world.log.load(&key, 0).await.unwrap();
    commits
        .iter()
        .flat_map(|commit| {
            (0..commit.events.len()).map(move |index| open_event(&*world.keys, commit, index).unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_runs_with_progress_and_result() {
    let world = World::new();
    let node = start(&world);
    let tenant = world.tenant().await;
    let id = node.queue(tenant, json!({})).await;
    let done = succeeded(&world, tenant, id).await;
    assert_eq!(done, TaskEvent::TaskSucceeded { result: json!({ "done": true }) });
    let progressed = events(&world, tenant, id)
        .await
        .iter()
        .any(|event| matches!(event, TaskEvent::TaskProgressed { done: 10, total: Some(10), .. }));
    assert!(progressed);
    let unknown =
        node.tasks.task_enqueue(&context(tenant), NewTask::new("unheard_of", json!({}))).await.unwrap_err();
    assert_eq!(unknown.code(), "AOS-0350");
    node.tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_are_final_retried_or_survived() {
    let clock = Clock::fixed(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
    let world = World::with_clock(clock.clone());
    let node = start(&world);
    let tenant = world.tenant().await;
    let failing = node.queue(tenant, json!({ "do": "fail" })).await;
    until(&world, tenant, failing, |event| matches!(event, TaskEvent::TaskFailed { .. })).await;
    let large = node.queue(tenant, json!({ "do": "large" })).await;
    until(&world, tenant, large, |event| matches!(event, TaskEvent::TaskFailed { .. })).await;

    for payload in [json!({ "do": "fail_first" }), json!({ "do": "panic_first" })] {
        let id = node.queue(tenant, payload).await;
        until(&world, tenant, id, |event| matches!(event, TaskEvent::TaskRetryScheduled { attempt: 2, .. }))
            .await;
        clock.advance(TimeDelta::minutes(1));
        node.tasks.wake();
        succeeded(&world, tenant, id).await;
    }
    node.tasks.shutdown().await;
    assert!(node.worker.ended.lock().iter().any(|(id, status, code)| {
        (*id, *status, code.as_str()) == (failing, TaskStatus::Failed, "AOS-9999")
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancel_stops_a_task_that_waits_runs_or_will_not_listen() {
    let world = World::new();
    let mut node = start_with(&world, 1);
    let tenant = world.tenant().await;
    let cancelled = |event: &TaskEvent| matches!(event, TaskEvent::TaskCancelled {});

    let running = node.queue(tenant, json!({ "do": "wait" })).await;
    assert_eq!(node.begun().await, running);
    let waiting = node.queue(tenant, json!({ "do": "wait" })).await;
    node.tasks.task_cancel(&context(tenant), waiting).await.unwrap();
    until(&world, tenant, waiting, cancelled).await;
    node.tasks.task_cancel(&context(tenant), running).await.unwrap();
    until(&world, tenant, running, cancelled).await;

    let deaf = node.queue(tenant, json!({ "do": "ignore_cancel" })).await;
    assert_eq!(node.begun().await, deaf);
    node.tasks.task_cancel(&context(tenant), deaf).await.unwrap();
    until(&world, tenant, deaf, cancelled).await;

    let stranger = world.tenant().await;
    let refused = node.tasks.task_cancel(&context(stranger), deaf).await.unwrap_err();
    assert_eq!(refused.kind(), crate::error::Kind::NotFound);

    node.tasks.task_retry(&context(tenant), waiting).await.unwrap();
    assert_eq!(node.begun().await, waiting);
    node.worker.gate.0.add_permits(1);
    succeeded(&world, tenant, waiting).await;
    assert_eq!(node.worker.runs.lock().len(), 3);
    node.tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_past_its_time_out_is_retried() {
    let world = World::new();
    let node = start(&world);
    let tenant = world.tenant().await;
    let task = NewTask { timeout_seconds: 1, ..NewTask::new("work", json!({ "do": "ignore_cancel" })) };
    let (id, _) = node.tasks.task_enqueue(&context(tenant), task).await.unwrap();
    let event =
        until(&world, tenant, id, |event| matches!(event, TaskEvent::TaskRetryScheduled { .. })).await;
    assert!(matches!(event, TaskEvent::TaskRetryScheduled { code, .. } if code == "AOS-0354"));
    node.tasks.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_nothing_is_lost_and_nothing_runs_that_is_over() {
    let mut world = World::new();
    let tenant = world.tenant().await;
    let mut node = start_with(&world, 2);
    let over = node.queue(tenant, json!({})).await;
    succeeded(&world, tenant, over).await;
    assert_eq!(node.begun().await, over);
    let running = node.queue(tenant, json!({ "do": "wait" })).await;
    assert_eq!(node.begun().await, running);
    let other = node.queue(tenant, json!({ "do": "wait" })).await;
    assert_eq!(node.begun().await, other);
    let waiting = node.queue(tenant, json!({ "do": "wait", "late": true })).await;
    node.tasks.kill().await;
    drop(node);

    // Again, this time with a crash before the runner saw anything, and without its table.
    for (round, lost_table) in [(1, false), (2, true)] {
        world = world.restart().await;
        if lost_table {
            for ending in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(world.path().join(format!("tasks.sqlite{ending}")));
            }
        }
        let mut node = start_with(&world, 3);
        let mut begun = [node.begun().await, node.begun().await, node.begun().await];
        begun.sort_unstable();
        let mut expected = [running, other, waiting];
        expected.sort_unstable();
        assert_eq!(begun, expected);
        if lost_table {
            node.worker.gate.0.add_permits(3);
            for id in [running, other, waiting] {
                succeeded(&world, tenant, id).await;
            }
            let runs = node.worker.runs.lock().clone();
            assert_eq!(runs.len(), 3);
            assert!(runs.iter().all(|(_, payload, attempt)| {
                *attempt == if payload["late"] == json!(true) { round } else { round + 1 }
            }));
        }
        node.tasks.kill().await;
        drop(node);
    }
    let state = world.commands.load::<Task>(tenant, waiting.0).await.unwrap().state;
    assert_eq!(state.status, TaskStatus::Succeeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutting_down_puts_running_tasks_back() {
    let mut world = World::new();
    let tenant = world.tenant().await;
    let mut node = start(&world);
    let task = NewTask { max_retries: 0, ..NewTask::new("work", json!({ "do": "wait" })) };
    let (id, _) = node.tasks.task_enqueue(&context(tenant), task).await.unwrap();
    assert_eq!(node.begun().await, id);
    node.tasks.shutdown().await;
    drop(node);
    let state = world.commands.load::<Task>(tenant, id.0).await.unwrap().state;
    assert_eq!(state.status, TaskStatus::Retrying);

    world = world.restart().await;
    let node = start(&world);
    node.worker.gate.0.add_permits(1);
    succeeded(&world, tenant, id).await;
    node.tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_task_of_a_connection_at_a_time_and_no_more_than_allowed() {
    let world = World::new();
    let node = start_with(&world, 3);
    let tenant = world.tenant().await;
    let mut ids = Vec::new();
    for number in 0..12 {
        let payload = json!({ "do": "wait", "connection_id": format!("c{}", number % 2) });
        ids.push(node.queue(tenant, payload).await);
    }
    node.worker.gate.0.add_permits(12);
    for id in ids {
        succeeded(&world, tenant, id).await;
    }
    assert!(node.worker.most_running.load(Ordering::SeqCst) <= 2);
    node.tasks.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_tenant_does_not_keep_others_waiting() {
    let world = World::new();
    let mut node = start_with(&world, 1);
    let (busy, quiet) = (world.tenant().await, world.tenant().await);
    let first = node.queue(busy, json!({ "do": "wait" })).await;
    assert_eq!(node.begun().await, first);
    let mut waiting = Vec::new();
    for _ in 0..10 {
        waiting.push(node.queue(busy, json!({})).await);
    }
    let urgent = NewTask { priority: 5, ..NewTask::new("work", json!({})) };
    let (urgent, _) = node.tasks.task_enqueue(&context(busy), urgent).await.unwrap();
    let other = node.queue(quiet, json!({})).await;
    node.worker.gate.0.add_permits(1);
    succeeded(&world, quiet, other).await;
    for id in waiting {
        succeeded(&world, busy, id).await;
    }
    let mut order = Vec::new();
    for _ in 0..12 {
        order.push(node.begun().await);
    }
    let place = |id| order.iter().position(|begun| *begun == id).unwrap();
    assert!(place(other) <= 2, "the quiet tenant came at {}", place(other));
    assert!(place(urgent) <= 2, "the urgent task came at {}", place(urgent));
    node.tasks.shutdown().await;
}

/// The node that holds the lease runs a task; when it dies, the next one begins it again, and what
/// the first still wants to say of it is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_is_run_by_one_node_and_taken_over_when_it_dies() {
    let server = Postgres::shared();
    let url = server.database();
    let world = World::new();
    let tenant = world.tenant().await;
    let mut first = start_shared(world.commands.clone(), &url, "one").await;
    let id = first.queue(tenant, json!({ "do": "wait" })).await;
    assert_eq!(first.begun().await, id);

    let others = world.other_node();
    let _watch = others.watch().await.unwrap();
    let mut second = start_shared(others.clone(), &url, "two").await;
    let quick = second.queue(tenant, json!({})).await;
    succeeded(&world, tenant, quick).await;
    assert!(second.worker.runs.lock().is_empty(), "a node without the lease runs nothing");

    first.tasks.kill().await;
    assert_eq!(second.begun().await, id);
    let late = TaskCommand::SucceedTask { result: json!("from the dead") };
    let late = TaskCommand::InTerm { term: 1, command: Box::new(late) };
    let refused = world.commands.execute::<Task>(&context(tenant), id.0, late).await.unwrap_err();
    assert_eq!(refused.kind(), crate::error::Kind::Conflict, "{refused}");
    second.worker.gate.0.add_permits(1);
    let done = succeeded(&world, tenant, id).await;
    assert_eq!(done, TaskEvent::TaskSucceeded { result: json!("waited") });
    let attempts: Vec<_> = second.worker.runs.lock().iter().map(|(.., attempt)| *attempt).collect();
    assert_eq!(attempts, [2]);
    second.tasks.shutdown().await;
}
