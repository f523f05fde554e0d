//! Commands as a company's use of the platform makes them: tasks, syncs and reservations, most of them
//! short, of many tenants by turns.

use super::store::Store;
use crate::bench::{SEED, histogram};
use autonomos_commands::{
    execute::{CommandContext, Commands, Outcome, derive_id},
    keys::KeyStore,
};
use autonomos_domain::{
    aggregates::{
        reservation::{Holder, Reservation, ReservationCommand},
        sync::{Sync, SyncCommand},
        task::{Task, TaskCommand},
    },
    ids::{CommandId, ConnectionId, SyncId, TaskId, TenantId},
};
use autonomos_log::seal::KeyRing;
use chrono::{TimeDelta, Utc};
use hdrhistogram::Histogram;
use rand::{SeedableRng, seq::index::sample};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};
use uuid::{NoContext, Timestamp, Uuid};

/// Who ask at the same time while it is measured.
pub(super) const CALLERS: usize = 64;
/// Who ask at the same time while the log is filled.
const FILLERS: usize = 512;
/// Aggregates that are in memory, and commands to them in a round.
const HOT: u64 = 1_024;
const HOT_COMMANDS: u64 = 8_192;
/// Aggregates that are read from the log in a round, each once.
const COLD: u64 = 1_000;
/// Aggregates made in a round.
const NEW: u64 = 6_000;
/// From one unit to the next, by the ids.
const NANOS_OF_UNIT: u64 = 100_000;
/// Where numbers of aggregates begin that were made while it was measured.
const MADE: u64 = 1 << 36;

/// What so many commands cost.
pub(super) struct Measured {
    commands: u64,
    seconds: f64,
    processor: f64,
    /// Microseconds.
    pub(super) histogram: Histogram<u64>,
}

impl Measured {
    pub(super) fn new() -> Self {
        Self { commands: 0, seconds: 0.0, processor: 0.0, histogram: histogram() }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.commands += other.commands;
        self.seconds += other.seconds;
        self.processor += other.processor;
        self.histogram.add(&other.histogram).expect("same bounds");
    }

    /// Microseconds of processor time a command.
    pub(super) fn cost(&self) -> f64 {
        self.processor * 1e6 / self.commands as f64
    }

    /// Commands a second.
    pub(super) fn rate(&self) -> f64 {
        self.commands as f64 / self.seconds
    }
}

/// A log, and what was put into it.
pub(super) struct Load {
    store: Store,
    tenants: u64,
    /// Units of work in the log, and the events they made.
    units: u64,
    events: u64,
    rounds: u64,
    /// Tasks that were not touched since they were filled in, in no order.
    cold: Vec<u64>,
}

/// One command to a task.
#[derive(Clone, Copy)]
enum Step {
    Queue(u64),
    Progress(u64, u64),
}

impl Load {
    pub(super) fn new(store: Store, tenants: u64) -> Self {
        Self { store, tenants, units: 0, events: 0, rounds: 0, cold: Vec::new() }
    }

    /// Adds work until the log has so many events.
    pub(super) async fn fill(&mut self, events: u64) {
        let next = Arc::new(AtomicU64::new(self.units));
        let made = Arc::new(AtomicU64::new(self.events));
        let fillers: Vec<_> = (0..FILLERS)
            .map(|_| {
                let (commands, keys) = (self.store.commands.clone(), Arc::clone(&self.store.keys));
                let (next, made, tenants) = (Arc::clone(&next), Arc::clone(&made), self.tenants);
                tokio::spawn(async move {
                    while made.load(Ordering::Relaxed) < events {
                        let unit = next.fetch_add(1, Ordering::Relaxed);
                        made.fetch_add(unit_do(&commands, &keys, tenants, unit).await, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for filler in fillers {
            filler.await.expect("a filler ends");
        }
        self.units = next.load(Ordering::Relaxed);
        self.events = made.load(Ordering::Relaxed);
    }

    /// The same log, with nothing of it in memory.
    pub(super) async fn reopened(self) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(SEED);
        let eligible = self.units.saturating_sub(HOT) as usize;
        let count = eligible.min(COLD as usize * super::ROUNDS);
        let cold = sample(&mut random, eligible, count).into_iter().map(|unit| unit as u64).collect();
        Self { store: self.store.reopened().await, cold, ..self }
    }

    /// Measures one kind of commands.
    pub(super) async fn measure(&mut self, kind: &str) -> Measured {
        self.rounds += 1;
        let done = MADE + self.rounds * HOT_COMMANDS;
        let units = self.units;
        let hot = |number: u64| Step::Progress(units - number % HOT - 1, done + number / HOT + 1);
        let steps: Vec<Step> = match kind {
            "cold" => {
                let left = self.cold.len().saturating_sub(COLD as usize);
                self.cold.drain(left..).map(|unit| Step::Progress(unit, done)).collect()
            }
            "hot" => {
                // Once each, unmeasured: read from the log if they must be.
                self.drive((0..HOT).map(|number| Step::Progress(units - number - 1, done)).collect()).await;
                (0..HOT_COMMANDS).map(hot).collect()
            }
            _ => (0..NEW).map(|number| Step::Queue(MADE + self.rounds * NEW + number)).collect(),
        };
        self.drive(steps).await
    }

    async fn drive(&self, steps: Vec<Step>) -> Measured {
        let (steps, next) = (Arc::new(steps), Arc::new(AtomicU64::new(0)));
        let (started, processor) = (Instant::now(), self.store.cpu());
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                let (commands, tenants) = (self.store.commands.clone(), self.tenants);
                let (steps, next) = (Arc::clone(&steps), Arc::clone(&next));
                tokio::spawn(async move {
                    let (mut histogram, mut last) = (histogram(), 0);
                    while let Some(step) = steps.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
                        let asked = Instant::now();
                        let outcome = step_do(&commands, tenants, *step).await;
                        histogram.saturating_record(asked.elapsed().as_micros() as u64);
                        let position = outcome.position.expect("something changed");
                        last = last.max(position.sequence);
                    }
                    (histogram, last)
                })
            })
            .collect();
        let mut measured = Measured { commands: steps.len() as u64, ..Measured::new() };
        let mut last = 0;
        for caller in callers {
            let (histogram, sequence) = caller.await.expect("a caller ends");
            measured.histogram.add(histogram).expect("same bounds");
            last = last.max(sequence);
        }
        measured.seconds = started.elapsed().as_secs_f64();
        self.store.settled(last).await;
        measured.processor = self.store.cpu() - processor;
        measured
    }

    /// Microseconds until a tenant's key can be used that is not in memory.
    pub(super) fn keys_first_used(&self) -> f64 {
        let keys = KeyStore::open(&self.store.folder.path().join("keys")).expect("opens");
        let count = self.tenants.min(HOT);
        let started = Instant::now();
        for number in 0..count {
            let tenant = tenant(self.tenants, number);
            let key = keys.payload_key(tenant).expect("a key");
            keys.seal(tenant, key, b"bench", b"clear").expect("seals");
        }
        started.elapsed().as_secs_f64() * 1e6 / count as f64
    }
}

fn tenant(tenants: u64, unit: u64) -> TenantId {
    TenantId::derive(&["flat", &(unit % tenants).to_string()])
}

/// The id of what a unit makes, as [`derive_id`] makes it from a command of its time.
fn real_id(tenant: TenantId, unit: u64, what: &str) -> Uuid {
    let nanos = unit * NANOS_OF_UNIT;
    let time = Timestamp::from_unix(NoContext, nanos / 1_000_000_000, (nanos % 1_000_000_000) as u32);
    let random = TenantId::derive(&["flat", what, &unit.to_string()]).0;
    let mut command = Uuid::new_v7(time).into_bytes();
    command[6..].copy_from_slice(&random.as_bytes()[6..]);
    derive_id(tenant, CommandId(Uuid::from_bytes(command)), what)
}

fn task(tenants: u64, unit: u64) -> TaskId {
    TaskId(real_id(tenant(tenants, unit), unit, "task"))
}

fn queue(task_id: TaskId) -> TaskCommand {
    TaskCommand::QueueTask {
        task_id,
        action: "sync".to_owned(),
        payload: json!({ "connection": task_id }),
        max_retries: 3,
        timeout_seconds: 60,
        run_at: None,
        priority: 0,
    }
}

fn progress(done: u64) -> TaskCommand {
    TaskCommand::ReportProgress { done, total: None, note: "a step of the work".to_owned() }
}

async fn step_do(commands: &Commands, tenants: u64, step: Step) -> Outcome {
    let (unit, command) = match step {
        Step::Queue(unit) => (unit, queue(task(tenants, unit))),
        Step::Progress(unit, done) => (unit, progress(done)),
    };
    let context = CommandContext::system(tenant(tenants, unit), "bench");
    let id = task(tenants, unit).0;
    let outcome = match step {
        Step::Queue(_) => commands.create::<Task>(&context, id, command).await,
        Step::Progress(..) => commands.execute::<Task>(&context, id, command).await,
    };
    outcome.expect("appends")
}

/// Does a unit of work; how many events it made.
async fn unit_do(commands: &Commands, keys: &KeyStore, tenants: u64, unit: u64) -> u64 {
    let tenant = tenant(tenants, unit);
    let context = || CommandContext::system(tenant, "bench");
    let id = task(tenants, unit);
    commands.create::<Task>(&context(), id.0, queue(id)).await.expect("queues");
    let start = TaskCommand::StartTask { worker: "bench".to_owned() };
    commands.execute::<Task>(&context(), id.0, start).await.expect("starts");
    commands.execute::<Task>(&context(), id.0, progress(1)).await.expect("goes on");
    let mut made = 3;
    if unit.is_multiple_of(3) {
        let sync = SyncId(real_id(tenant, unit, "sync"));
        let request = SyncCommand::RequestSync { connection_id: ConnectionId(id.0), task_id: id };
        commands.create::<Sync>(&context(), sync.0, request).await.expect("requests");
        let start = SyncCommand::StartSync { attempt: 1, streams: vec!["accounts".to_owned()] };
        commands.execute::<Sync>(&context(), sync.0, start).await.expect("starts");
        made += 2;
    }
    if unit.is_multiple_of(5) {
        let text = format!("sync {unit}");
        let reservation = keys.reservation_id("bench", &text);
        let (holder, now) = (Holder { tenant, id: id.0 }, Utc::now());
        let hold = ReservationCommand::Hold {
            purpose: "bench".to_owned(),
            holder,
            deadline: now + TimeDelta::minutes(1),
            now,
        };
        commands.create::<Reservation>(&context(), reservation, hold).await.expect("holds");
        let confirm = ReservationCommand::Confirm { holder };
        commands.execute::<Reservation>(&context(), reservation, confirm).await.expect("confirms");
        made += 2;
    }
    made
}
