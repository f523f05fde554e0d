//! Background tasks: queued as events, run here with progress, retry, time-out and cancel.
//!
//! The log is the queue. A process manager follows the `Task` aggregates from its own checkpoint and
//! keeps the open ones in a small table, written in one transaction with the checkpoint; nothing is
//! ever started, retried or given up without an event of it. After a crash the table and what
//! follows its checkpoint say which tasks were running: their worker is recorded as lost, which puts
//! them back into the queue. So every task ends in a recorded state, whatever happens in between.
//!
//! Among several nodes, the one that holds the lease of a cell runs the cell's tasks; when it dies,
//! the next one begins as after a crash. A worker's commands carry the lease's term, and the log
//! refuses those of an earlier one.

mod attempt;
mod host;
mod runner;
mod table;

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands, Outcome, derive_id},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::task::{Task, TaskCommand, TaskStatus},
    ids::{TaskId, TenantId},
};
use autonomos_log::{database::Database, lease::Leases};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use serde_json::Value;
use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

/// Which node runs tasks, and where the open ones are kept.
#[derive(Clone)]
pub enum Hosting {
    /// There is one node. The table of open tasks is a file of its own, so that it never waits for
    /// the log's writer.
    Alone { table: PathBuf },
    /// The node that holds a cell's lease runs the cell's tasks; the table is shared.
    Shared { database: Database, leases: Leases },
    /// Other nodes do: this one queues and cancels.
    Elsewhere,
}

/// How tasks are run on this node.
#[derive(Clone)]
pub struct TaskOptions {
    pub hosting: Hosting,
    /// Tasks that run at the same time.
    pub concurrency: usize,
    /// Least time between two progress events of one task.
    pub progress_every: Duration,
    /// How long a cancelled task may take to stop before it is stopped.
    pub cancel_grace: Duration,
    /// This node's name in `TaskStarted`; of nodes that share, their leases name them.
    pub worker: String,
}

impl TaskOptions {
    /// One node's, with its table.
    pub fn new(table: impl Into<PathBuf>) -> Self {
        Self { hosting: Hosting::Alone { table: table.into() }, ..Self::default() }
    }
}

impl Default for TaskOptions {
    /// Four at a time, progress once a second; run by other nodes.
    fn default() -> Self {
        Self {
            hosting: Hosting::Elsewhere,
            concurrency: 4,
            progress_every: Duration::from_secs(1),
            cancel_grace: Duration::from_secs(10),
            worker: format!("worker-{}", std::process::id()),
        }
    }
}

/// A task to be queued.
#[derive(Debug, Clone)]
pub struct NewTask {
    /// None: it follows from the command's id.
    pub task_id: Option<TaskId>,
    pub action: String,
    pub payload: Value,
    pub max_retries: u32,
    pub timeout_seconds: u64,
    pub run_at: Option<DateTime<Utc>>,
    /// Higher runs first among a tenant's tasks.
    pub priority: i32,
}

impl NewTask {
    /// Three retries, an hour each.
    pub fn new(action: &str, payload: Value) -> Self {
        Self {
            task_id: None,
            action: action.to_owned(),
            payload,
            max_retries: 3,
            timeout_seconds: 3_600,
            run_at: None,
            priority: 0,
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFailure {
    /// Stable code, `AOS-…`.
    pub code: String,
    pub message: String,
    /// Worth another attempt.
    pub retryable: bool,
    /// No sooner than that: a source asked for it.
    pub wait: Option<Duration>,
}

impl TaskFailure {
    /// One that another attempt would not mend.
    pub fn lasting(code: &str, message: String) -> Self {
        Self { code: code.to_owned(), message, retryable: false, wait: None }
    }

    /// One that another attempt may mend.
    pub fn passing(code: &str, message: String) -> Self {
        Self { retryable: true, ..Self::lasting(code, message) }
    }
}

impl From<CommandError> for TaskFailure {
    fn from(error: CommandError) -> Self {
        let wait = error.wait();
        Self { code: error.code().to_owned(), message: error.to_string(), retryable: error.retryable(), wait }
    }
}

/// Where a handler says how far it is. The latest report wins; events of it are rare.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    latest: Arc<Mutex<Option<Report>>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    done: u64,
    total: Option<u64>,
    note: String,
}

impl Progress {
    /// `done` of `total`, in whatever the task counts.
    pub fn report(&self, done: u64, total: Option<u64>, note: &str) {
        *self.latest.lock() = Some(Report { done, total, note: note.to_owned() });
    }

    fn take(&self) -> Option<Report> {
        self.latest.lock().take()
    }
}

/// One attempt of a task, as its handler gets it.
#[derive(Debug, Clone)]
pub struct TaskRun {
    pub tenant: TenantId,
    pub task_id: TaskId,
    pub payload: Value,
    /// From 1.
    pub attempt: u32,
    pub max_retries: u32,
    /// Cancelled when somebody asked for it: stop soon, and return whatever error.
    pub cancel: CancellationToken,
    pub progress: Progress,
}

impl TaskRun {
    /// A retryable failure now is the task's last.
    pub const fn is_last_attempt(&self) -> bool {
        self.attempt > self.max_retries
    }
}

/// A task that ended without success.
#[derive(Debug, Clone)]
pub struct EndedTask {
    pub tenant: TenantId,
    pub task_id: TaskId,
    pub payload: Value,
    /// Failed, dead or cancelled.
    pub status: TaskStatus,
    pub code: String,
    pub message: String,
}

/// Runs the tasks of one action. An attempt may be dropped at any await (time-out, shutdown) and
/// may be repeated after a crash.
#[async_trait]
pub trait TaskHandler: Send + Sync + 'static {
    async fn run(&self, task: TaskRun) -> Result<Value, TaskFailure>;

    /// Tasks of a tenant in the same group run one at a time. By default those of one connection.
    fn group(&self, payload: &Value) -> Option<String> {
        payload.get("connection_id").and_then(Value::as_str).map(str::to_owned)
    }

    /// Called once or more when a task ended without success, also if it never ran: the place to
    /// end what it stood for.
    async fn ended(&self, _task: EndedTask) -> Result<(), CommandError> {
        Ok(())
    }
}

/// Queues a task, of an action that a handler is known for; durable on return.
pub(crate) async fn task_queue(
    commands: &Commands,
    context: &CommandContext,
    task: NewTask,
) -> Result<(TaskId, Outcome), CommandError> {
    let task_id =
        task.task_id.unwrap_or_else(|| TaskId(derive_id(context.tenant, context.command_id, "task")));
    let command = TaskCommand::QueueTask {
        task_id,
        action: task.action,
        payload: task.payload,
        max_retries: task.max_retries,
        timeout_seconds: task.timeout_seconds,
        run_at: task.run_at,
        priority: task.priority,
    };
    let outcome = commands.create::<Task>(context, task_id.0, command).await?;
    Ok((task_id, outcome))
}

type Handlers = HashMap<String, Arc<dyn TaskHandler>>;

/// Runs tasks; made with its handlers, then started.
pub struct TaskService {
    options: TaskOptions,
    commands: Commands,
    handlers: Handlers,
}

impl TaskService {
    pub fn new(options: TaskOptions, commands: Commands) -> Self {
        Self { options, commands, handlers: HashMap::new() }
    }

    /// Names who runs the tasks of an action.
    #[must_use]
    pub fn register(mut self, action: &str, handler: Arc<dyn TaskHandler>) -> Self {
        self.handlers.insert(action.to_owned(), handler);
        self
    }

    /// Opens the table and begins: what was open goes on as soon as the log was read to its end.
    /// Where nodes share, a cell's tasks begin when its lease is this node's.
    pub fn start(self) -> Result<TaskHandle, CommandError> {
        let hosting = self.options.hosting.clone();
        let mut shared = Shared {
            commands: self.commands,
            handlers: Arc::new(self.handlers),
            options: self.options,
            stop: CancellationToken::new(),
            wake: Arc::new(Notify::new()),
            term: 0,
        };
        let services = match hosting {
            Hosting::Alone { table } => {
                let table = table::SqliteTable::open(&table, shared.commands.log().log_id())?;
                let cells = (0..shared.commands.log().cells()).collect();
                let runner = runner::Runner::new(Arc::new(shared.clone()), Box::new(table), cells)?;
                vec![tokio::spawn(runner.run())]
            }
            Hosting::Shared { database, leases } => {
                leases.owner().clone_into(&mut shared.options.worker);
                let hosts = (0..shared.commands.log().cells()).map(|cell| {
                    let host = host::Host { shared: shared.clone(), database: database.clone(), cell };
                    tokio::spawn(host.run(leases.clone()))
                });
                hosts.collect()
            }
            Hosting::Elsewhere => Vec::new(),
        };
        Ok(TaskHandle { shared: Arc::new(shared), services: Arc::new(Mutex::new(services)) })
    }
}

#[derive(Clone)]
struct Shared {
    commands: Commands,
    handlers: Arc<Handlers>,
    options: TaskOptions,
    stop: CancellationToken,
    wake: Arc<Notify>,
    /// The lease's, under which the worker's commands are; 0 where there is one node.
    term: u64,
}

impl Shared {
    /// A worker's command, refused where a later worker has taken over.
    fn in_term(&self, command: TaskCommand) -> TaskCommand {
        TaskCommand::InTerm { term: self.term, command: Box::new(command) }
    }
}

/// Queues, cancels and retries tasks. Cheap to clone.
#[derive(Clone)]
pub struct TaskHandle {
    shared: Arc<Shared>,
    services: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl TaskHandle {
    /// Queues a task; durable on return.
    pub async fn task_enqueue(
        &self,
        context: &CommandContext,
        task: NewTask,
    ) -> Result<(TaskId, Outcome), CommandError> {
        if !self.shared.handlers.contains_key(&task.action) {
            return Err(CommandError::UnknownAction { action: task.action });
        }
        task_queue(&self.shared.commands, context, task).await
    }

    /// Asks for a task's end: at once if it waits, when its handler has stopped if it runs.
    pub async fn task_cancel(&self, context: &CommandContext, id: TaskId) -> Result<Outcome, CommandError> {
        self.known(context, id).await?;
        self.shared.commands.execute::<Task>(context, id.0, TaskCommand::RequestCancel).await
    }

    /// Runs a failed, dead or cancelled task again.
    pub async fn task_retry(&self, context: &CommandContext, id: TaskId) -> Result<Outcome, CommandError> {
        self.known(context, id).await?;
        let command = TaskCommand::RetryTask { now: self.shared.commands.clock().now() };
        self.shared.commands.execute::<Task>(context, id.0, command).await
    }

    async fn known(&self, context: &CommandContext, id: TaskId) -> Result<(), CommandError> {
        match self.shared.commands.load::<Task>(context.tenant, id.0).await?.version {
            0 => Err(CommandError::NotFound { what: "task", id: id.to_string() }),
            _ => Ok(()),
        }
    }

    /// Looks at once whether a delayed task is due, after a fixed clock was moved.
    pub fn wake(&self) {
        self.shared.wake.notify_one();
    }

    /// Stops: running attempts are dropped and go back into the queue for the next start.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        let services = std::mem::take(&mut *self.services.lock());
        for service in services {
            if let Err(error) = service.await {
                tracing::error!(%error, "the task runner ended badly");
            }
        }
    }

    /// Stops at once and records nothing, as a crash would; for tests of recovery.
    pub async fn kill(&self) {
        let services = std::mem::take(&mut *self.services.lock());
        for service in services {
            service.abort();
            let _ = service.await;
        }
    }
}
