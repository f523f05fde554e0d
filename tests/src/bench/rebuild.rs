//! How fast projections are built anew: events a second into the read models, rows a second into the
//! views. And how long a start takes on a log of a million events that is checkpointed.

use super::{Measurement, number};
use crate::{
    client::Client,
    server::{Start, run as run_binary},
};
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
use serde_json::json;
use std::{fmt::Write as _, path::Path, sync::Arc, time::Instant};

const EVENTS: u64 = 1_000_000;
const ROWS: u64 = 500_000;

pub async fn run() -> Vec<Measurement> {
    let events = number("BENCH_EVENTS", EVENTS);
    let mut results = Vec::new();
    let measured =
        |unit, value, rows, case| Measurement::new("rebuild", "sqlite+duckdb", unit, value, rows, case);

    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("events");
    fill(&data, events).await;
    let arguments = ["projections", "rebuild", "read_models", "--json", "--data-dir"];
    let started = Instant::now();
    let (code, said, complained) = run_binary(&[&arguments[..], &[&data.display().to_string()]].concat());
    assert_eq!(code, 0, "{said}{complained}");
    results.push(measured(
        "events/s",
        events as f64 / started.elapsed().as_secs_f64(),
        events,
        "read models",
    ));

    // The first start builds the views' checkpoints; the second is the one a restart is like.
    Start::serve(&data).run().expect("starts").stop();
    let started = Instant::now();
    let server = Start::serve(&data).run().expect("starts");
    results.push(measured(
        "s",
        started.elapsed().as_secs_f64(),
        events,
        "start to ready; at most 3 is allowed",
    ));
    server.stop();

    let data = folder.path().join("rows");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let mut text = String::from("account_id,name,domain,annual_revenue,employee_count,billing_city\n");
    for row in 0..ROWS {
        let _ = writeln!(
            text,
            "A{row},Company {row},company{row}.example.com,{},{},Oslo",
            row * 7,
            row % 900 + 1
        );
    }
    std::fs::write(inbox.join("accounts.csv"), text).expect("writes");
    let server =
        Start::serve(&data).with("AOS_FILE_ROOTS", inbox.display().to_string()).run().expect("starts");
    let client = Client::registered(&server.url, "Bench", "bench@example.com").await;
    let connection = client.file_connection("bench", &inbox.join("accounts.csv").display().to_string()).await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    server.stop();
    let arguments = ["projections", "rebuild", "dcl", "--json", "--data-dir"];
    let started = Instant::now();
    let (code, said, complained) = run_binary(&[&arguments[..], &[&data.display().to_string()]].concat());
    assert_eq!(code, 0, "{said}{complained}");
    results.push(measured("rows/s", ROWS as f64 / started.elapsed().as_secs_f64(), ROWS, "unified views"));
    results
}

/// A log of so many events, of many tasks of many tenants.
async fn fill(data: &Path, events: u64) {
    std::fs::create_dir_all(data).expect("a folder");
    let control = Arc::new(ControlStore::open(&data.join("control.sqlite")).expect("opens"));
    let log = SqliteLog::open(Options::new(data.join("log")), control).expect("opens");
    let keys = Arc::new(KeyStore::open(&data.join("keys")).expect("opens"));
    filled(&Commands::new(log, keys, Clock::default(), CommandOptions::default()), events).await;
}

/// Appends so many events, of many tasks of many tenants.
pub(super) async fn filled(commands: &Commands, events: u64) {
    let callers = 256;
    let mut workers = Vec::new();
    for caller in 0..callers {
        let commands = commands.clone();
        workers.push(tokio::spawn(async move {
            let tenant = TenantId::derive(&["bench", &(caller % 16).to_string()]);
            let mut left = events / callers;
            while left > 0 {
                let id = TaskId::random();
                let queue = TaskCommand::QueueTask {
                    task_id: id,
                    action: "sync".to_owned(),
                    payload: json!({}),
                    max_retries: 3,
                    timeout_seconds: 60,
                    run_at: None,
                    priority: 0,
                };
                let steps = [queue, TaskCommand::StartTask { worker: "bench".to_owned() }];
                for step in steps {
                    commands
                        .execute::<Task>(&CommandContext::system(tenant, "bench"), id.0, step)
                        .await
                        .expect("appends");
                }
                let progress = left.saturating_sub(3).min(96);
                for done in 1..=progress {
                    let step = TaskCommand::ReportProgress { done, total: Some(96), note: "rows".to_owned() };
                    commands
                        .execute::<Task>(&CommandContext::system(tenant, "bench"), id.0, step)
                        .await
                        .expect("appends");
                }
                let end = TaskCommand::SucceedTask { result: json!({ "rows": progress }) };
                commands
                    .execute::<Task>(&CommandContext::system(tenant, "bench"), id.0, end)
                    .await
                    .expect("appends");
                left = left.saturating_sub(progress + 3);
            }
        }));
    }
    for worker in workers {
        worker.await.expect("a worker ends");
    }
}
