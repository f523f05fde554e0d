//! Durable commands a second in process, beside a bare writer that commits groups of the same size.

use super::Measurement;
use autonomos_commands::{
    clock::Clock,
    execute::{CommandContext, CommandOptions, Commands},
    keys::KeyStore,
};
use autonomos_domain::{
    aggregates::task::{Task, TaskCommand},
    ids::{TaskId, TenantId},
};
use autonomos_log::{
    control::ControlStore,
    sqlite::{Options, SqliteLog},
};
use hdrhistogram::Histogram;
use rusqlite::{Connection, params};
use serde_json::json;
use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

pub(super) const RUN: Duration = Duration::from_secs(4);

pub async fn run() -> Vec<Measurement> {
    let mut results = Vec::new();
    for callers in [1_usize, 16, 64, 256] {
        let folder = tempfile::tempdir().expect("a folder");
        let bare = bare_writer(folder.path(), callers);
        let (rate, histogram, total) = ours(folder.path(), callers).await;
        let case = format!("callers={callers}, baseline=rusqlite groups of {callers}");
        let measured = Measurement::new("commands", "sqlite", "commands/s", rate, total, case);
        results.push(measured.beside(bare).timed(&histogram));
    }
    results
}

/// 300-byte events with a unique index, in groups, each group one durable transaction.
fn bare_writer(folder: &Path, group: usize) -> f64 {
    let mut connection = Connection::open(folder.join("bare.sqlite")).expect("opens");
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;
             CREATE TABLE events(sequence INTEGER PRIMARY KEY AUTOINCREMENT, aggregate BLOB, version INTEGER, body BLOB,
                                 UNIQUE(aggregate, version));",
        )
        .expect("a schema");
    let body = [7_u8; 300];
    let ids: Vec<Uuid> = (0..group).map(|index| Uuid::from_u128(index as u128 + 1)).collect();
    let started = Instant::now();
    let mut version = 0_i64;
    while started.elapsed() < RUN / 2 {
        version += 1;
        let transaction = connection.transaction().expect("begins");
        {
            let mut insert = transaction
                .prepare_cached("INSERT INTO events(aggregate, version, body) VALUES (?1, ?2, ?3)")
                .expect("prepares");
            for id in &ids {
                insert.execute(params![id.as_bytes().as_slice(), version, body.as_slice()]).expect("inserts");
            }
        }
        transaction.commit().expect("commits");
    }
    version as f64 * group as f64 / started.elapsed().as_secs_f64()
}

async fn ours(folder: &Path, callers: usize) -> (f64, Histogram<u64>, u64) {
    let control = Arc::new(ControlStore::open(&folder.join("control.sqlite")).expect("opens"));
    let log = SqliteLog::open(Options::new(folder.join("log")), control).expect("opens");
    let keys = Arc::new(KeyStore::open(&folder.join("keys")).expect("opens"));
    driven(&Commands::new(log, keys, Clock::default(), CommandOptions::default()), callers).await
}

/// Commands a second, how long each took in microseconds, and how many there were: each caller sends
/// one after another to an aggregate of its own.
pub(super) async fn driven(commands: &Commands, callers: usize) -> (f64, Histogram<u64>, u64) {
    let tenant = TenantId::random();
    let mut workers = Vec::new();
    let started = Instant::now();
    for caller in 0..callers {
        let commands = commands.clone();
        workers.push(tokio::spawn(async move {
            let task = Uuid::from_u128(caller as u128 + 1);
            let context = || CommandContext::system(tenant, "bench");
            let queue = TaskCommand::QueueTask {
                task_id: TaskId(task),
                action: "sync".to_owned(),
                payload: json!({ "connection": task }),
                max_retries: 3,
                timeout_seconds: 60,
                run_at: None,
                priority: 0,
            };
            commands.execute::<Task>(&context(), task, queue).await.expect("queues");
            let start = TaskCommand::StartTask { worker: "bench".to_owned() };
            commands.execute::<Task>(&context(), task, start).await.expect("starts");
            let mut histogram = super::histogram();
            let mut done = 0;
            while started.elapsed() < RUN {
                done += 1;
                let progress =
                    TaskCommand::ReportProgress { done, total: None, note: "a step of the work".to_owned() };
                let asked = Instant::now();
                commands.execute::<Task>(&context(), task, progress).await.expect("appends");
                histogram.saturating_record(asked.elapsed().as_micros() as u64);
            }
            (histogram, done)
        }));
    }
    let mut all = super::histogram();
    let mut total = 0;
    for worker in workers {
        let (histogram, done) = worker.await.expect("a worker ends");
        all.add(histogram).expect("same bounds");
        total += done;
    }
    (total as f64 / started.elapsed().as_secs_f64(), all, total)
}
