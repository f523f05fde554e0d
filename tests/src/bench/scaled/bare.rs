//! The servers alone: what the benches of the scaled mode are measured beside.

use crate::bench::commands::RUN;
use async_nats::{
    Client, ConnectOptions, HeaderMap, Request,
    jetstream::{self, consumer::pull::OrderedConfig},
};
use autonomos_log::{jetstream::Credentials, nats_server::Nats};
use bytes::Bytes;
use futures::StreamExt;
use serde_json::Value;
use sqlx::{Connection, PgConnection};
use std::time::Instant;

const STREAM: &str = "aos-cell-0";

pub(super) async fn client(nats: &Nats, credentials: &Credentials) -> Client {
    let Credentials::User { user, password } = credentials else { panic!("an account has a user") };
    let servers: Vec<String> =
        nats.servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.port)).collect();
    let options = ConnectOptions::new().user_and_password(user.clone(), password.clone());
    options.connect(servers).await.expect("connects")
}

/// Bytes of a stored message, on average.
pub(super) async fn message_size(client: Client) -> usize {
    let stream = jetstream::new(client).get_stream(STREAM).await.expect("a stream");
    let state = &stream.cached_info().state;
    (state.bytes / state.messages.max(1)) as usize
}

/// Atomic batches, one after another, each with as many messages as there are callers; messages a
/// second.
pub(super) async fn batches(client: Client, callers: usize, size: usize) -> f64 {
    let subjects: Vec<String> = (0..callers).map(|caller| format!("ev.0.bare.task.{caller}")).collect();
    let body = bytes(size);
    let mut expected = vec![0_u64; callers];
    let (started, mut sent, mut batch) = (Instant::now(), 0, 0);
    while started.elapsed() < RUN {
        batch += 1;
        for (index, subject) in subjects.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected[index].to_string());
            headers.insert("Nats-Batch-Id", format!("bare-{batch}"));
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            if index + 1 < callers {
                client.publish_with_headers(subject.clone(), headers, body.clone()).await.expect("sends");
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let request = Request::new().headers(headers).payload(body.clone());
            let answer = client.send_request(subject.clone(), request).await.expect("an answer");
            let answer: Value = serde_json::from_slice(&answer.payload).expect("JSON");
            let last = answer["seq"].as_u64().unwrap_or_else(|| panic!("refused: {answer}"));
            for (offset, expected) in expected.iter_mut().rev().enumerate() {
                *expected = last - offset as u64;
            }
        }
        sent += callers;
    }
    sent as f64 / started.elapsed().as_secs_f64()
}

/// A payload so long that the stored message, with its subject and headers, has about `size` bytes.
fn bytes(size: usize) -> Bytes {
    const AROUND: usize = 150;
    vec![7; size.saturating_sub(AROUND).max(1)].into()
}

/// Messages a second of an ordered consumer that does nothing with them.
pub(super) async fn consumed(client: Client, messages: u64) -> f64 {
    let stream = jetstream::new(client).get_stream(STREAM).await.expect("a stream");
    let started = Instant::now();
    let consumer = stream.create_consumer(OrderedConfig::default()).await.expect("a consumer");
    let mut delivered = consumer.messages().await.expect("messages");
    for _ in 0..messages {
        delivered.next().await.expect("goes on").expect("a message");
    }
    messages as f64 / started.elapsed().as_secs_f64()
}

async fn events_table(url: &str) {
    let mut connection = PgConnection::connect(url).await.expect("connects");
    sqlx::raw_sql(
        "CREATE TABLE events (aggregate_type text NOT NULL, aggregate_id text NOT NULL,
             sequence bigint CHECK (sequence >= 0) NOT NULL, event_type text NOT NULL,
             event_version text NOT NULL, payload json NOT NULL, metadata json NOT NULL,
             PRIMARY KEY (aggregate_type, aggregate_id, sequence));
         CREATE TABLE view (view_id text PRIMARY KEY, version bigint NOT NULL, payload json NOT NULL)",
    )
    .execute(&mut connection)
    .await
    .expect("tables");
}

/// The same commands to the same aggregates as ours, by cqrs-es on postgres-es, which is a program
/// apart (`tests/beside`); commands a second.
pub(super) async fn cqrs_commands(url: &str, callers: usize, connections: u32) -> f64 {
    events_table(url).await;
    let program = std::env::var("BENCH_POSTGRES_ES").expect("`make bench` says where it is");
    let mut run = tokio::process::Command::new(program);
    run.args([url, &callers.to_string(), &connections.to_string(), &RUN.as_secs().to_string()]);
    let said = run.output().await.expect("it runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    String::from_utf8_lossy(&said.stdout).trim().parse().expect("a number")
}

/// What a replay of cqrs-es asks of Postgres: for each event the view, then the view again as it is
/// then. Events a second.
pub(super) async fn postgres_views(url: &str, events: u64) -> f64 {
    events_table(url).await;
    let mut connection = PgConnection::connect(url).await.expect("connects");
    let started = Instant::now();
    for event in 0..events {
        let id = format!("{}", event / 100);
        let known: Option<i64> = sqlx::query_scalar("SELECT version FROM view WHERE view_id = $1")
            .bind(&id)
            .fetch_optional(&mut connection)
            .await
            .expect("reads");
        let write = if known.is_some() {
            "UPDATE view SET payload = $2::text::json, version = $3 WHERE view_id = $1 AND version = $3 - 1"
        } else {
            "INSERT INTO view (view_id, payload, version) VALUES ($1, $2::text::json, $3)"
        };
        sqlx::query(write)
            .bind(&id)
            .bind(format!("{{\"done\":{event},\"status\":\"running\",\"note\":\"rows\"}}"))
            .bind(known.unwrap_or(0) + 1)
            .execute(&mut connection)
            .await
            .expect("writes");
    }
    events as f64 / started.elapsed().as_secs_f64()
}
