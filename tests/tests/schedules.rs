//! What is done by itself, when, and to one stream alone: on real processes, by a clock that the test moves.

use autonomos_tests::{
    client::Client,
    clock::Clock,
    server::{Server, Start},
};
use chrono::{DateTime, TimeDelta, Timelike, Utc};
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path};

fn deliver(folder: &Path, file: &str, rows: std::ops::Range<u32>) {
    let mut text = String::from("account_id,name,domain,billing_city\n");
    for row in rows {
        let _ = writeln!(text, "A{row:04},Company {row:04} Ltd,company{row}.example.com,Oslo");
    }
    std::fs::write(folder.join(file), text).expect("writes");
}

fn time(value: &Value) -> DateTime<Utc> {
    let text = value.as_str().unwrap_or_else(|| panic!("no time: {value}"));
    DateTime::parse_from_rfc3339(text).expect("a time").with_timezone(&Utc)
}

fn start(data: &Path, inbox: &Path, clock: &Clock) -> Server {
    let mut start = Start::serve(data).with("AOS_FILE_ROOTS", inbox.display().to_string());
    for (name, value) in clock.environment() {
        start = start.with(name, value);
    }
    start.run().expect("the server starts")
}

/// The outcome of the next time after a position, and where that stands.
async fn ran(client: &Client, from: &str) -> (Value, String) {
    let event = client.events_until(from, |event| event["type"] == "ScheduleRan").await;
    (event["payload"].clone(), event["position"].as_str().expect("a position").to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_synced_by_itself_once_a_time_through_kills_and_missed_times() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    deliver(&inbox, "accounts.csv", 0..50);
    let clock = Clock::new(folder.path());
    let data = folder.path().join("data");
    let server = start(&data, &inbox, &clock);
    let mut client = Client::registered(&server.url, "Schedules", "owner@schedules.example").await;
    let connection = client.file_connection("inbox", &inbox.join("accounts.csv").display().to_string()).await;

    let wrong = json!({ "name": "x", "cron": "* * * * *", "connection_id": connection });
    let refused = client.post("/schedules", wrong).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/cron", "{refused}");
    let wrong = json!({ "name": "x", "cron": "0 6 * * *", "time_zone": "Mars", "connection_id": connection });
    let refused = client.post("/schedules", wrong).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/time_zone", "{refused}");

    // Twelve hours ahead, whatever the time of day.
    let then = Utc::now() + TimeDelta::hours(12);
    let cron = format!("{} {} * * *", then.minute(), then.hour());
    let made =
        client.post("/schedules", json!({ "name": "daily", "cron": cron, "connection_id": connection }));
    let made = made.await;
    let position = made.position().expect("a position");
    let schedule = made.expect(201);
    let next = time(&schedule["next_run_at"]);
    assert!((next - then).abs() < TimeDelta::minutes(2), "{schedule}");
    let path = format!("/schedules/{}", schedule["id"].as_str().expect("an id"));

    clock.set((TimeDelta::hours(12) + TimeDelta::minutes(2)).num_seconds());
    let (first, position) = ran(&client, &position).await;
    assert_eq!((time(&first["slot"]), &first["outcome"]["result"]), (next, &json!("started")), "{first}");
    let sync = first["outcome"]["sync_id"].as_str().expect("a sync").to_owned();
    let well = client.events_until("", |event| event["type"] == "SyncWentWell").await;
    let over = well["position"].as_str().expect("a position");
    let sync = client.get(&format!("/aam/syncs/{sync}?min_position={over}")).await.expect(200);
    assert_eq!((&sync["status"], &sync["streams"][0]["rows_read"]), (&json!("succeeded"), &json!(50)));
    let task = first["outcome"]["task_id"].as_str().expect("a task");
    let task = client.get(&format!("/tasks/{task}?min_position={position}")).await.expect(200);
    assert_eq!(task["payload"]["schedule_id"], schedule["id"], "the task says what caused it");
    let shown = client.get(&format!("{path}?min_position={position}")).await.expect(200);
    assert_eq!(shown["last_task_id"], task["id"]);
    assert_eq!(time(&shown["next_run_at"]), next + TimeDelta::days(1));

    // Three days pass while nobody is there.
    server.kill();
    clock.set((TimeDelta::hours(12) + TimeDelta::days(3)).num_seconds());
    let server = start(&data, &inbox, &clock);
    client.url.clone_from(&server.url);
    let (second, position) = ran(&client, &position).await;
    assert_eq!(time(&second["slot"]), next + TimeDelta::days(1), "the first that was missed");
    let shown = client.get(&format!("{path}?min_position={position}")).await.expect(200);
    assert!(time(&shown["next_run_at"]) >= next + TimeDelta::days(3), "the rest count with it: {shown}");
    let second_sync = second["outcome"]["sync_id"].clone();
    let well = client.events_until(&position, |event| {
        event["type"] == "SyncWentWell" && event["payload"]["sync_id"] == second_sync
    });
    let well = well.await;
    let over = well["position"].as_str().expect("a position");
    let requested =
        client.get(&format!("/history?types=SyncRequested&min_position={over}")).await.expect(200);
    assert_eq!(requested["data"].as_array().map(Vec::len), Some(2), "{requested}");

    // Paused, a time passes; resumed, the next one is taken.
    let connection_path = format!("/aam/connections/{connection}");
    let paused = client.post(&format!("{connection_path}/pause"), json!({})).await.expect(200);
    assert_eq!(
        (&paused["status"], &paused["health"]["paused"]["reason"]),
        (&json!("paused"), &json!("asked"))
    );
    clock.set((TimeDelta::hours(12) + TimeDelta::days(4)).num_seconds());
    let (third, _) = ran(&client, &position).await;
    assert_eq!(third["outcome"], json!({ "result": "skipped", "reason": "paused" }));
    let resumed = client.post(&format!("{connection_path}/resume"), json!({})).await.expect(200);
    assert_eq!(resumed["status"], "healthy");
    assert!(resumed["health"]["last_success_at"].is_string(), "{resumed}");

    // Its connection goes, and it with it.
    client.delete(&connection_path).await;
    let ended = client.events_until("", |event| event["type"] == "ScheduleDeleted").await;
    let position = ended["position"].as_str().expect("a position");
    let left = client.get(&format!("/schedules?min_position={position}")).await.expect(200);
    assert_eq!(left["data"], json!([]));
    assert_eq!(client.get(&path).await.status, 404);
}

async fn streams(client: &Client, connection: &str) -> Vec<Value> {
    let listed = client.get(&format!("/aam/connections/{connection}/streams")).await.expect(200);
    listed["data"].as_array().expect("a list").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_is_read_anew_and_streams_that_come_and_go_are_told_of() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    deliver(&inbox, "accounts.csv", 0..100);
    deliver(&inbox, "partners.csv", 500..560);
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .run()
        .expect("starts");
    let client = Client::registered(&server.url, "Streams", "owner@streams.example").await;
    let connection = client.file_connection("files", &format!("{}/*.csv", inbox.display())).await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let before = streams(&client, &connection).await;
    let rows_before = client.rows("accounts", "").await.len();

    let unknown =
        client.post(&format!("/aam/connections/{connection}/streams/none/backfill"), json!({})).await;
    assert_eq!(unknown.expect(404)["code"], "AOS-0318");
    let backfill = format!("/aam/connections/{connection}/streams/accounts/backfill");
    let started = client.post(&backfill, json!({})).await;
    let position = started.position();
    let started = started.expect(202);
    let sync = client.sync_ended(started["sync_id"].as_str().expect("an id"), position).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    assert_eq!(sync["streams"].as_array().map(Vec::len), Some(1), "that stream alone");
    assert_eq!(sync["streams"][0]["rows_read"], 100, "whole, though nothing changed");
    let after = streams(&client, &connection).await;
    let of = |streams: &[Value], name: &str| {
        streams.iter().find(|stream| stream["name"] == name).expect(name).clone()
    };
    assert_eq!(of(&before, "partners"), of(&after, "partners"), "the others are left alone");
    assert_eq!(client.rows("accounts", "").await.len(), rows_before, "each record once");

    // One file has another name now, and one is new.
    std::fs::rename(inbox.join("accounts.csv"), inbox.join("customers.csv")).expect("renames");
    std::fs::write(inbox.join("orders.csv"), "order_id,total\n1,10\n2,20\n").expect("writes");
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let found = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let kinds = |kind: &str| {
        let found = found["data"].as_array().expect("findings").iter().filter(|one| one["kind"] == kind);
        found.cloned().collect::<Vec<_>>()
    };
    let [renamed] = kinds("stream_renamed").try_into().unwrap_or_else(|_| panic!("one renamed: {found}"));
    assert_eq!((&renamed["stream"], &renamed["status"]), (&json!("accounts"), &json!("open")));
    assert_eq!(renamed["after"]["summary"], "stream `customers`");
    assert!(renamed["evidence"].as_array().is_some_and(|all| all.iter().any(|one| one["signal"] == "keys")));
    let [added] = kinds("stream_added").try_into().unwrap_or_else(|_| panic!("one added: {found}"));
    // A connection without a choice takes it.
    assert_eq!((&added["stream"], &added["status"]), (&json!("orders"), &json!("accepted")));
    assert_eq!(of(&streams(&client, &connection).await, "orders")["rows"], 2);

    // One that goes, with none in its place.
    std::fs::remove_file(inbox.join("orders.csv")).expect("removes");
    let listed = client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await;
    let position = listed.position().expect("a position");
    let found =
        client.get(&format!("/aam/drift?kind=stream_removed&min_position={position}")).await.expect(200);
    assert_eq!(found["data"][0]["stream"], "orders", "a person's discovery tells it, too: {found}");
}
