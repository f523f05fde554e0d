//! `postgres-es URL CALLERS CONNECTIONS SECONDS`: commands of the task aggregate through cqrs-es on
//! postgres-es; prints the acknowledged commands a second. Each caller sends one after another to an
//! aggregate of its own, as the bench of our own commands does.

use autonomos_domain::{
    aggregates::task::{Task, TaskCommand},
    ids::TaskId,
};
use sqlx::postgres::PgPoolOptions;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use uuid::Uuid;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, callers, connections, seconds] = &arguments[..] else {
        panic!("usage: postgres-es URL CALLERS CONNECTIONS SECONDS");
    };
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let run = Duration::from_secs(number(seconds).into());
    let pool = PgPoolOptions::new().max_connections(number(connections)).connect(url).await;
    let pool = pool.expect("Postgres answers");
    let framework = Arc::new(postgres_es::postgres_cqrs::<Task>(pool, Vec::new(), ()));
    let started = Instant::now();
    let callers = (0..number(callers)).map(|caller| {
        let framework = Arc::clone(&framework);
        tokio::spawn(async move {
            let task = Uuid::from_u128(u128::from(caller) + 1);
            let id = task.to_string();
            let queue = TaskCommand::QueueTask {
                task_id: TaskId(task),
                action: "sync".to_owned(),
                payload: serde_json::json!({ "connection": task }),
                max_retries: 3,
                timeout_seconds: 60,
                run_at: None,
                priority: 0,
            };
            framework.execute(&id, queue).await.expect("queues");
            let start = TaskCommand::StartTask { worker: "bench".to_owned() };
            framework.execute(&id, start).await.expect("starts");
            let mut done = 0_u64;
            while started.elapsed() < run {
                done += 1;
                let note = "a step of the work".to_owned();
                let progress = TaskCommand::ReportProgress { done, total: None, note };
                framework.execute(&id, progress).await.expect("appends");
            }
            done
        })
    });
    let mut total = 0;
    for caller in callers.collect::<Vec<_>>() {
        total += caller.await.expect("ends");
    }
    println!("{}", total as f64 / started.elapsed().as_secs_f64());
}
