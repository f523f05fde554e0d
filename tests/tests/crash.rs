//! `kill -9` at twenty random moments during syncs and commands: the log verifies clean each time,
//! no acknowledged command is lost, no row is there twice, and the views end as in a run that
//! nothing disturbed.

use autonomos_tests::{
    client::Client,
    server::{Server, Start, run},
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use reqwest::Method;
use serde_json::json;
use std::{collections::BTreeSet, fmt::Write as _, path::Path, sync::Arc, time::Duration};
use tokio::sync::Mutex;

const ROWS: u32 = 60_000;
const KILLS: usize = 20;

/// Two editions of two systems that know the same companies.
fn deliver(inbox: &Path, edition: u32) {
    for (system, offset) in [("alpha", 0), ("beta", ROWS / 2)] {
        let mut text = String::from("account_id,name,domain,annual_revenue,employee_count,billing_city\n");
        for number in offset..offset + ROWS {
            let revenue = u64::from(number) * 31 + u64::from(edition * u32::from(number % 3 == 0)) * 1_000;
            let _ = writeln!(
                text,
                "{system}-{number},Company {number},company{number}.example.com,{revenue},{},Leeds",
                number % 5_000 + 1
            );
        }
        std::fs::write(inbox.join(format!("{system}_accounts.part")), text).expect("writes");
        std::fs::rename(
            inbox.join(format!("{system}_accounts.part")),
            inbox.join(format!("{system}_accounts.csv")),
        )
        .expect("renames");
    }
}

fn start(data: &Path, inbox: &Path) -> Server {
    Start::serve(data).with("AOS_FILE_ROOTS", inbox.display().to_string()).run().expect("the server starts")
}

/// The view's values, without what is new in each run: ids, which follow from the connection's, and
/// when the platform learnt of them.
async fn view(client: &Client) -> Vec<String> {
    let rows = client.rows("accounts", "").await;
    let mut shown: Vec<String> = rows
        .into_iter()
        .map(|mut row| {
            let fields = row.as_object_mut().expect("a row is an object");
            for changing in ["id", "_sources", "_updated_at"] {
                fields.remove(changing);
            }
            row.to_string()
        })
        .collect();
    shown.sort();
    shown
}

async fn undisturbed(folder: &Path, inbox: &Path) -> Vec<Vec<String>> {
    let server = start(&folder.join("calm"), inbox);
    let client = Client::registered(&server.url, "Calm", "calm@example.com").await;
    let connection = client.file_connection("all", &format!("{}/*.csv", inbox.display())).await;
    let mut views = Vec::new();
    for edition in 0..2 {
        deliver(inbox, edition);
        assert_eq!(client.sync(&connection).await["status"], "succeeded");
        views.push(view(&client).await);
    }
    views
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost_and_nothing_is_applied_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let expected = undisturbed(folder.path(), &inbox).await;

    let data = folder.path().join("data");
    let mut random = ChaCha8Rng::seed_from_u64(7);
    deliver(&inbox, 0);
    let mut server = start(&data, &inbox);
    let mut client = Client::registered(&server.url, "Stormy", "stormy@example.com").await;
    let token = client.token.clone();
    let connection = client.file_connection("all", &format!("{}/*.csv", inbox.display())).await;
    let acknowledged: Arc<Mutex<BTreeSet<String>>> = Arc::default();

    for round in 0..KILLS {
        if round == KILLS / 2 {
            // The first edition is in by now, or comes in: let it, then deliver the second.
            assert_eq!(settle(&client, &connection).await["status"], "succeeded");
            assert_eq!(view(&client).await, expected[0], "after the first edition");
            deliver(&inbox, 1);
        }
        let _ = client
            .try_send(
                client
                    .request(Method::POST, &format!("/aam/connections/{connection}/syncs"))
                    .json(&json!({})),
            )
            .await;
        let writer = {
            let (client, acknowledged) = (client.clone(), Arc::clone(&acknowledged));
            let path = inbox.join("alpha_accounts.csv").display().to_string();
            tokio::spawn(async move {
                for number in 0.. {
                    let body = json!({ "name": format!("c{round}-{number}"), "connector": "file",
                                       "config": { "path": path } });
                    match client.try_send(client.request(Method::POST, "/aam/connections").json(&body)).await
                    {
                        Some(answer) if answer.status == 201 => {
                            let id = answer.body["id"].as_str().unwrap_or_default().to_owned();
                            acknowledged.lock().await.insert(id);
                        }
                        Some(answer) => {
                            assert!(answer.status.is_server_error() || answer.status == 429, "{answer:?}");
                        }
                        None => break,
                    }
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(random.random_range(5..900))).await;
        server.kill();
        writer.await.expect("the writer ends");

        let (code, said, complained) = run(&["verify", "--json", "--data-dir", &data.display().to_string()]);
        assert_eq!(code, 0, "round {round}: {said}{complained}");
        server = start(&data, &inbox);
        client = Client::new(&server.url);
        client.token.clone_from(&token);
    }

    assert_eq!(settle(&client, &connection).await["status"], "succeeded");
    let position = client.get("/dcl/views/accounts?limit=1").await.position();
    assert!(position.is_some());
    let mut there = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("/aam/connections?limit=1000{cursor}")).await.expect(200);
        there.extend(
            page["data"]
                .as_array()
                .expect("a list")
                .iter()
                .filter_map(|row| row["id"].as_str().map(str::to_owned)),
        );
        match page["meta"]["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    let lost: Vec<_> = acknowledged.lock().await.difference(&there).cloned().collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    assert_eq!(view(&client).await, expected[1], "after the second edition");
}

/// Waits for whatever runs, then syncs once more: what is there is all in.
async fn settle(client: &Client, connection: &str) -> serde_json::Value {
    loop {
        let started = client.post(&format!("/aam/connections/{connection}/syncs"), json!({})).await;
        match started.status.as_u16() {
            202 => {
                let id = started.body["sync_id"].as_str().expect("an id").to_owned();
                return client.sync_ended(&id, started.position()).await;
            }
            // One sync at a time: wait for the one that a crash left behind.
            409 => {
                let task = started.body["task_id"].as_str().expect("the task in the way").to_owned();
                client.task_ended(&task).await;
            }
            other => panic!("{other}: {}", started.body),
        }
    }
}
