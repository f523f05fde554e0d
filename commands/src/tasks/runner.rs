//! The runner's loop: follows the tasks' events, keeps the table, picks what runs next.
//!
//! Tenants take turns; within one, priority, then the order of queueing. A task whose group is
//! busy steps aside and comes back when the group is free, so it holds up nobody else.

use super::{
    EndedTask, Shared,
    attempt::{self, AttemptEnd},
    table::{Row, Stage, Table, TaskKey},
};
use crate::error::CommandError;
use autonomos_domain::{
    aggregates::task::{Task, TaskEvent, TaskStatus},
    envelope::{AggregateKey, AggregateType},
    ids::{TaskId, TenantId},
};
use autonomos_log::{
    error::LogError,
    events::{EventError, open_event},
    port::{Delivery, Filter, StoredCommit},
    seal::SealError,
};
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

const FOLLOW_BUFFER: usize = 256;
/// Deliveries without a change before the checkpoint is moved.
const CHECKPOINT_EVERY: u64 = 4_096;
/// A fixed clock moves without telling: look again at least this often while something is delayed.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
const TRY_AGAIN: TimeDelta = TimeDelta::seconds(2);
const SHUTDOWN: Duration = Duration::from_secs(10);

type Turn = (Reverse<i32>, u64, TaskId);
type Group = (TenantId, String);

struct Running {
    cancel: CancellationToken,
    group: Option<Group>,
    /// Its start came back from the log: whatever is seen after that is about what follows.
    start_seen: bool,
}

enum Done {
    Attempt(TaskKey, AttemptEnd),
    Lost(TaskKey, AttemptEnd),
    /// The handler was told of the end, or could not be.
    Told(TaskKey, bool),
}

pub(super) struct Runner {
    shared: Arc<Shared>,
    table: Box<dyn Table>,
    /// The cells whose tasks run here.
    cells: Vec<u16>,
    open: HashMap<TaskKey, Row>,
    ready: HashMap<TenantId, BTreeSet<Turn>>,
    rotation: VecDeque<TenantId>,
    delayed: BTreeSet<(DateTime<Utc>, TaskKey)>,
    running: HashMap<TaskKey, Running>,
    busy: HashSet<Group>,
    aside: HashMap<Group, BTreeSet<TaskKey>>,
    work: JoinSet<Done>,
    /// Sequence up to which each cell was read, and written down.
    seen: Vec<u64>,
    written: Vec<u64>,
    /// Changes the table would not take, by cell, the last of each task: they go with the next ones.
    unwritten: Vec<HashMap<TaskKey, Option<Row>>>,
    /// Cells whose history as of the start is not read yet, with its end.
    behind: HashMap<u16, u64>,
}

impl Runner {
    pub(super) fn new(
        shared: Arc<Shared>,
        table: Box<dyn Table>,
        cells: Vec<u16>,
    ) -> Result<Self, CommandError> {
        let all = shared.commands.log().cells();
        let checkpoint = |cell| if cells.contains(&cell) { table.checkpoint(cell) } else { Ok(0) };
        let seen = (0..all).map(checkpoint).collect::<Result<Vec<_>, _>>()?;
        let open = table.rows()?.into_iter().collect();
        Ok(Self {
            shared,
            table,
            cells,
            open,
            ready: HashMap::new(),
            rotation: VecDeque::new(),
            delayed: BTreeSet::new(),
            running: HashMap::new(),
            busy: HashSet::new(),
            aside: HashMap::new(),
            work: JoinSet::new(),
            written: seen.clone(),
            unwritten: vec![HashMap::new(); seen.len()],
            seen,
            behind: HashMap::new(),
        })
    }

    pub(super) async fn run(mut self) {
        let (sender, mut deliveries) = mpsc::channel(FOLLOW_BUFFER);
        let mut followers = Vec::new();
        for cell in self.cells.clone() {
            let after = self.seen[usize::from(cell)];
            match self.shared.commands.log().head(cell).await {
                Ok(head) if head.sequence > after => {
                    self.behind.insert(cell, head.sequence);
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, cell, "the log's head cannot be read"),
            }
            let follower = follow(Arc::clone(&self.shared), cell, after, sender.clone());
            followers.push(AbortOnDropHandle::new(tokio::spawn(follower)));
        }
        if self.behind.is_empty() {
            self.begin();
        }
        let stop = self.shared.stop.clone();
        let shared = Arc::clone(&self.shared);
        loop {
            if self.behind.is_empty() {
                self.promote();
                self.start_ready().await;
            }
            let pause = self.pause();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.work.join_next(), if !self.work.is_empty() => match done {
                    Ok(done) => self.finished(done),
                    Err(error) => tracing::error!(%error, "a task's attempt broke down"),
                },
                Some((cell, delivery)) = deliveries.recv() => self.deliver(cell, delivery),
                () = shared.wake.notified() => {}
                () = sleep(pause.unwrap_or_default()), if pause.is_some() => {}
            }
        }
        // Attempts see the stop themselves; what is not written down by then, the next start finds.
        let _ = timeout(SHUTDOWN, async { while self.work.join_next().await.is_some() {} }).await;
        for cell in self.cells.clone() {
            self.write(cell, &[]);
        }
    }

    fn now(&self) -> DateTime<Utc> {
        self.shared.commands.clock().now()
    }

    /// History is read: what was running has lost its worker, the rest takes its turn.
    fn begin(&mut self) {
        let rows: Vec<_> = self.open.iter().map(|(key, row)| (*key, *row)).collect();
        for (key, row) in rows {
            match row.stage {
                Stage::Waiting => self.index(key, row),
                Stage::Running => self.recover(key),
                Stage::Ending => self.tell(key),
            }
        }
    }

    fn recover(&mut self, key: TaskKey) {
        tracing::info!(task = %key.id, "a task lost its worker");
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move { Done::Lost(key, attempt::lose_worker(shared, key).await) });
    }

    fn deliver(&mut self, cell: u16, delivery: Delivery) {
        let sequence = match delivery {
            Delivery::Commit(commit) => {
                let sequence = commit.position.sequence;
                let changes = self.apply(&commit);
                self.seen[usize::from(cell)] = sequence;
                if !changes.is_empty() {
                    self.write(cell, &changes);
                }
                sequence
            }
            Delivery::CaughtUp(sequence) => {
                let seen = &mut self.seen[usize::from(cell)];
                *seen = sequence.max(*seen);
                sequence
            }
        };
        if sequence - self.written[usize::from(cell)].min(sequence) >= CHECKPOINT_EVERY {
            self.write(cell, &[]);
        }
        if self.behind.get(&cell).is_some_and(|end| sequence >= *end) {
            self.behind.remove(&cell);
            if self.behind.is_empty() {
                self.begin();
            }
        }
    }

    fn write(&mut self, cell: u16, changes: &[(TaskKey, Option<Row>)]) {
        let sequence = self.seen[usize::from(cell)];
        let unwritten = &mut self.unwritten[usize::from(cell)];
        unwritten.extend(changes.iter().copied());
        let changes: Vec<_> = unwritten.iter().map(|(key, row)| (*key, *row)).collect();
        match self.table.write(cell, sequence, &changes) {
            Ok(()) => {
                unwritten.clear();
                self.written[usize::from(cell)] = sequence;
            }
            // The log is read again from the last checkpoint at the next start: nothing is lost.
            Err(error) => tracing::error!(%error, "the table of open tasks cannot be written"),
        }
    }

    fn apply(&mut self, commit: &StoredCommit) -> Vec<(TaskKey, Option<Row>)> {
        let key = TaskKey { tenant: commit.header.key.tenant, id: TaskId(commit.header.key.aggregate_id) };
        let before = self.open.get(&key).copied();
        let mut row = before;
        for index in 0..commit.events.len() {
            let event = match open_event::<TaskEvent>(&**self.shared.commands.ring(), commit, index) {
                Ok(event) => event,
                Err(error) => {
                    if !error.is_shredded() {
                        tracing::error!(task = %key.id, %error, "a task's event cannot be read");
                    }
                    row = None;
                    continue;
                }
            };
            match event {
                TaskEvent::TaskQueued { run_at, priority, .. } => {
                    let sequence = commit.position.sequence;
                    row = Some(Row { stage: Stage::Waiting, run_at, priority, sequence });
                }
                TaskEvent::TaskStarted { term, .. } => {
                    if let Some(running) = self.running.get_mut(&key) {
                        running.start_seen = true;
                    } else if term < self.shared.term && self.behind.is_empty() {
                        // By a worker that does not know yet that it was replaced.
                        self.recover(key);
                    }
                    row = row.map(|row| Row { stage: Stage::Running, ..row });
                }
                TaskEvent::TaskRetryScheduled { at, .. } => {
                    let kept = row.unwrap_or(Row {
                        stage: Stage::Waiting,
                        run_at: None,
                        priority: 0,
                        sequence: commit.position.sequence,
                    });
                    row = Some(Row { stage: Stage::Waiting, run_at: Some(at), ..kept });
                }
                TaskEvent::TaskSucceeded { .. } => row = None,
                TaskEvent::TaskFailed { .. } | TaskEvent::TaskDied { .. } | TaskEvent::TaskCancelled {} => {
                    row = row.map(|row| Row { stage: Stage::Ending, ..row });
                }
                TaskEvent::TaskCancelRequested {} => {
                    if let Some(running) = self.running.get(&key) {
                        running.cancel.cancel();
                    }
                }
                TaskEvent::TaskProgressed { .. } => {}
            }
        }
        if row == before {
            return Vec::new();
        }
        if let Some(before) = before {
            self.unindex(key, before);
        }
        match row {
            Some(row) => {
                self.open.insert(key, row);
                // Until then nothing is started: what follows in the log may still change it.
                if self.behind.is_empty() {
                    match row.stage {
                        Stage::Waiting if !self.running.contains_key(&key) => self.index(key, row),
                        Stage::Ending => self.tell(key),
                        Stage::Waiting | Stage::Running => {}
                    }
                }
            }
            None => {
                self.open.remove(&key);
            }
        }
        vec![(key, row)]
    }

    fn index(&mut self, key: TaskKey, row: Row) {
        match row.run_at {
            Some(at) if at > self.now() => {
                self.delayed.insert((at, key));
            }
            _ => {
                let turns = self.ready.entry(key.tenant).or_default();
                if turns.is_empty() {
                    self.rotation.push_back(key.tenant);
                }
                turns.insert((Reverse(row.priority), row.sequence, key.id));
            }
        }
    }

    fn unindex(&mut self, key: TaskKey, row: Row) {
        if let Some(at) = row.run_at {
            self.delayed.remove(&(at, key));
        }
        // An empty set stays until its tenant's turn: the rotation names it exactly once.
        if let Some(turns) = self.ready.get_mut(&key.tenant) {
            turns.remove(&(Reverse(row.priority), row.sequence, key.id));
        }
        for waiting in self.aside.values_mut() {
            waiting.remove(&key);
        }
    }

    /// Delayed tasks whose time has come take their turn.
    fn promote(&mut self) {
        let now = self.now();
        while let Some((at, key)) = self.delayed.first().copied().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, key));
            match self.open.get(&key).copied() {
                Some(row) if row.stage == Stage::Waiting => self.index(key, Row { run_at: None, ..row }),
                // Its start was thought to have failed, and did not.
                Some(row) if row.stage == Stage::Running && !self.running.contains_key(&key) => {
                    self.recover(key);
                }
                _ => {}
            }
        }
    }

    fn pause(&self) -> Option<Duration> {
        let (at, _) = self.delayed.first()?;
        Some((*at - self.now()).to_std().unwrap_or_default().min(LONGEST_SLEEP))
    }

    async fn start_ready(&mut self) {
        while self.running.len() < self.shared.options.concurrency {
            let Some(key) = self.next_turn() else { return };
            let task = match self.shared.commands.load::<Task>(key.tenant, key.id.0).await {
                Ok(loaded) => loaded.state,
                Err(error) => {
                    tracing::warn!(task = %key.id, %error, "a task cannot be read");
                    self.delayed.insert((self.now() + TRY_AGAIN, key));
                    continue;
                }
            };
            let group = self
                .shared
                .handlers
                .get(&task.action)
                .and_then(|handler| handler.group(&task.payload))
                .map(|group| (key.tenant, group));
            if let Some(group) = &group
                && !self.busy.insert(group.clone())
            {
                self.aside.entry(group.clone()).or_default().insert(key);
                continue;
            }
            let cancel = CancellationToken::new();
            self.running.insert(key, Running { cancel: cancel.clone(), group, start_seen: false });
            let shared = Arc::clone(&self.shared);
            self.work.spawn(async move { Done::Attempt(key, attempt::run(shared, key, cancel).await) });
        }
    }

    /// The next tenant's first task.
    fn next_turn(&mut self) -> Option<TaskKey> {
        while let Some(tenant) = self.rotation.pop_front() {
            let Some(turns) = self.ready.get_mut(&tenant) else { continue };
            let first = turns.pop_first();
            if turns.is_empty() {
                self.ready.remove(&tenant);
            } else {
                self.rotation.push_back(tenant);
            }
            if let Some((_, _, id)) = first {
                return Some(TaskKey { tenant, id });
            }
        }
        None
    }

    fn finished(&mut self, done: Done) {
        match done {
            Done::Attempt(key, end) => {
                let Some(Running { group, start_seen, .. }) = self.running.remove(&key) else { return };
                if let Some(group) = group {
                    self.busy.remove(&group);
                    for waiting in self.aside.remove(&group).unwrap_or_default() {
                        self.requeue(waiting);
                    }
                }
                match end {
                    // A retry may have been scheduled before the attempt was wound up. If not even its
                    // start was seen, its events are on their way and queue it when they come.
                    AttemptEnd::Recorded if start_seen => self.requeue(key),
                    AttemptEnd::Recorded => {}
                    AttemptEnd::NotStarted => {
                        self.delayed.insert((self.now() + TRY_AGAIN, key));
                    }
                }
            }
            Done::Lost(key, AttemptEnd::NotStarted) => self.recover(key),
            Done::Lost(_, AttemptEnd::Recorded) => {}
            Done::Told(key, true) => {
                if self.open.get(&key).is_some_and(|row| row.stage == Stage::Ending) {
                    self.open.remove(&key);
                    if let Err(error) = self.table.remove(key) {
                        tracing::error!(%error, "the table of open tasks cannot be written");
                        let cell = self.shared.commands.log().cell_of(key.tenant);
                        self.unwritten[usize::from(cell)].insert(key, None);
                    }
                }
            }
            // Told again at the next start.
            Done::Told(_, false) => {}
        }
    }

    fn requeue(&mut self, key: TaskKey) {
        if let Some(row) = self.open.get(&key).copied().filter(|row| row.stage == Stage::Waiting) {
            self.index(key, row);
        }
    }

    /// Lets the handler end what the task stood for.
    fn tell(&mut self, key: TaskKey) {
        let shared = Arc::clone(&self.shared);
        self.work.spawn(async move {
            let told = tell(&shared, key).await;
            if let Err(error) = &told {
                tracing::warn!(task = %key.id, %error, "a task's end could not be passed on");
            }
            Done::Told(key, told.is_ok())
        });
    }
}

async fn tell(shared: &Shared, key: TaskKey) -> Result<(), CommandError> {
    let commands = &shared.commands;
    let task = commands.load::<Task>(key.tenant, key.id.0).await?.state;
    let Some(handler) = shared.handlers.get(&task.action) else { return Ok(()) };
    let aggregate =
        AggregateKey { tenant: key.tenant, aggregate_type: AggregateType::Task, aggregate_id: key.id.0 };
    let Some(commit) = commands.log().load_last(&aggregate).await? else { return Ok(()) };
    let last = open_event::<TaskEvent>(&**commands.ring(), &commit, commit.events.len() - 1)?;
    let (status, code, message) = match last {
        TaskEvent::TaskFailed { code, message } => (TaskStatus::Failed, code, message),
        TaskEvent::TaskDied { code, message } => (TaskStatus::Dead, code, message),
        TaskEvent::TaskCancelled {} => (TaskStatus::Cancelled, String::new(), String::new()),
        // A person had it run again meanwhile.
        _ => return Ok(()),
    };
    let payload = task.payload.clone();
    handler.ended(EndedTask { tenant: key.tenant, task_id: key.id, payload, status, code, message }).await
}

/// Follows a cell's tasks for ever; a broken subscription goes on where it broke.
async fn follow(shared: Arc<Shared>, cell: u16, mut after: u64, sender: mpsc::Sender<(u16, Delivery)>) {
    let filter = Filter { tenant: None, aggregate_types: vec![AggregateType::Task] };
    loop {
        let mut deliveries = shared.commands.log().subscribe(cell, after, filter.clone());
        while let Some(delivery) = deliveries.next().await {
            let delivery = match delivery {
                Ok(delivery) => delivery,
                Err(LogError::Closed) => return,
                Err(error) => {
                    tracing::error!(%error, cell, "the log cannot be followed, trying again");
                    break;
                }
            };
            if let Delivery::Commit(commit) = &delivery
                && let Err(error) = readable(&shared, commit)
            {
                tracing::warn!(%error, cell, "the keys of tasks cannot be reached, trying again");
                break;
            }
            after = match &delivery {
                Delivery::Commit(commit) => commit.position.sequence,
                Delivery::CaughtUp(sequence) => after.max(*sequence),
            };
            if sender.send((cell, delivery)).await.is_err() {
                return;
            }
        }
        sleep(LONGEST_SLEEP).await;
    }
}

/// An error while a commit's key can't be had: it would be taken for a commit that can't be read.
fn readable(shared: &Shared, commit: &StoredCommit) -> Result<(), SealError> {
    for index in 0..commit.events.len() {
        let opened = open_event::<TaskEvent>(&**shared.commands.ring(), commit, index);
        if let Err(EventError::Seal(error @ SealError::Unreachable(_))) = opened {
            return Err(error);
        }
    }
    Ok(())
}
