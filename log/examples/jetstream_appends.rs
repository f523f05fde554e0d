//! Durable appends through the JetStream log, next to a publisher that only sends atomic batches of
//! the same bytes, on the same real servers, in the same run:
//! `cargo run --release -p autonomos-log --example jetstream_appends -- [servers] [callers] [seconds]`.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use async_nats::{HeaderMap, Request};
use autonomos_domain::envelope::AggregateType;
use autonomos_log::{
    codec,
    conformance::Chain,
    control::ControlStore,
    jetstream::{Credentials, JetStreamLog},
    nats_server::Nats,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

const PAYLOAD: [u8; 100] = [b'x'; 100];

/// Callers that each append to aggregates of their own, one after another.
async fn appends(log: Arc<JetStreamLog>, callers: usize, time: Duration) -> (f64, Duration) {
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut chain = Chain::new(AggregateType::Task);
                let mut took = Vec::new();
                while begun.elapsed() < time {
                    let now = Instant::now();
                    chain.append(&*log, &[&PAYLOAD]).await;
                    took.push(now.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.unwrap());
    }
    took.sort();
    (took.len() as f64 / begun.elapsed().as_secs_f64(), took[took.len() * 99 / 100])
}

/// The same bytes in batches, by nothing but the client.
async fn bare(client: async_nats::Client, callers: usize, time: Duration) -> f64 {
    let commit = Chain::new(AggregateType::Task).next(&[&PAYLOAD]);
    let bytes = codec::encode(&commit.header, &commit.events).unwrap();
    let subjects: Vec<String> = (0..callers).map(|caller| format!("ev.0.bare.task.{caller}")).collect();
    let mut expected = vec![0_u64; callers];
    let begun = Instant::now();
    let mut sent = 0;
    let mut batch = 0;
    while begun.elapsed() < time {
        batch += 1;
        for (index, subject) in subjects.iter().enumerate() {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Expected-Last-Subject-Sequence", expected[index].to_string());
            headers.insert("Nats-Batch-Id", format!("bare-{batch}"));
            headers.insert("Nats-Batch-Sequence", (index + 1).to_string());
            if index + 1 < callers {
                client.publish_with_headers(subject.clone(), headers, bytes.clone()).await.unwrap();
                continue;
            }
            headers.insert("Nats-Batch-Commit", "1");
            let request = Request::new().headers(headers).payload(bytes.clone());
            let answer = client.send_request(subject.clone(), request).await.unwrap();
            let ack: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap();
            let last = ack["seq"].as_u64().unwrap_or_else(|| panic!("{ack}"));
            for (offset, expected) in expected.iter_mut().rev().enumerate() {
                *expected = last - offset as u64;
            }
        }
        sent += callers;
    }
    sent as f64 / begun.elapsed().as_secs_f64()
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().unwrap());
    let servers = arguments.next().unwrap_or(1);
    let callers = arguments.next().unwrap_or(256);
    let time = Duration::from_secs(arguments.next().unwrap_or(5) as u64);
    let nats = Nats::start(servers);
    let folder = tempfile::tempdir().unwrap();
    println!("{servers} server(s), sync_interval always, {callers} callers, 100-byte events");
    for round in 1..=3 {
        let node = folder.path().join(round.to_string());
        let credentials = nats.account();
        let control = Arc::new(ControlStore::open(&node.join("control.sqlite")).unwrap());
        let log = JetStreamLog::open(nats.options(credentials, &node), control).await.unwrap();
        let (rate, slow) = appends(log, callers, time).await;
        let Credentials::User { user, password } = nats.account() else {
            return;
        };
        // A log of its own, so that both write to streams with the same settings.
        let own = Credentials::User { user: user.clone(), password: password.clone() };
        let other = folder.path().join(format!("{round}-bare"));
        let control = Arc::new(ControlStore::open(&other.join("control.sqlite")).unwrap());
        drop(JetStreamLog::open(nats.options(own, &other), control).await.unwrap());
        let address = format!("nats://127.0.0.1:{}", nats.servers[0].port);
        let connect = async_nats::ConnectOptions::new().user_and_password(user, password);
        let bare = bare(connect.connect(address).await.unwrap(), callers, time).await;
        println!(
            "round {round}: log {rate:.0} appends/s (p99 {slow:?}), bare batches {bare:.0}/s: {:.2}",
            rate / bare
        );
    }
}
