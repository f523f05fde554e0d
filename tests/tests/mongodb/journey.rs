//! The whole way over HTTP: connect, snapshot, live changes, a nested field renamed in the middle of
//! them, deletes, and the server killed during the snapshot and during the changes.

use super::copy::{collection, insert, set};
use autonomos_tests::{
    client::Client,
    mongo::Source,
    server::{Server, Start},
};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

const DOCUMENTS: i32 = 12_000;
const CITIES: [&str; 5] = ["Leeds", "Oslo", "Lyon", "Porto", "Graz"];

fn start(data: &Path) -> Server {
    Start::serve(data).with("AOS_ALLOW_PRIVATE_SOURCES", "true").run().expect("the server starts")
}

/// What a record should show: its fields by the key in the source.
type Records = BTreeMap<String, BTreeMap<&'static str, Value>>;

fn accounts(range: std::ops::Range<i32>) -> impl Iterator<Item = Document> {
    range.map(|number| {
        let city = CITIES[number as usize % CITIES.len()];
        doc! {
            "_id": format!("A{number}"),
            "name": format!("Company {number} Ltd"),
            "domain": format!("company{number}.example.com"),
            "employee_count": number * 13 % 977 + 1,
            "billing": { "city": city },
            "remarks": format!("{number:024x}").repeat(16),
        }
    })
}

/// The view's records.
async fn view(client: &Client) -> Records {
    let rows = client.rows("accounts", "").await;
    let count = rows.len();
    let shown: Records = rows
        .into_iter()
        .map(|row| {
            let fields = ["name", "domain", "employee_count", "billing_city"];
            let fields = fields.map(|field| (field, row[field].clone()));
            let key = row["_sources"][0]["source_id"].as_str().expect("a key").to_owned();
            (key, fields.into())
        })
        .collect();
    assert_eq!(shown.len(), count, "each record once");
    shown
}

/// The source's documents; `city` is the nested field that was renamed.
async fn documents(source: &Source, city: &str) -> Records {
    let found = collection(source).find(doc! {}).await.expect("finds");
    let found: Vec<Document> = found.try_collect().await.expect("documents");
    let record = |one: Document| {
        let text = |name: &str| json!(one.get_str(name).ok());
        let fields = [
            ("name", text("name")),
            ("domain", text("domain")),
            ("employee_count", json!(one.get_i32("employee_count").ok())),
            ("billing_city", json!(one.get_document("billing").ok().and_then(|at| at.get_str(city).ok()))),
        ];
        (one.get_str("_id").expect("a key").to_owned(), fields.into())
    };
    found.into_iter().map(record).collect()
}

#[track_caller]
fn same(shown: &Records, expected: &Records) {
    assert_eq!(shown.len(), expected.len(), "records");
    for (key, record) in expected {
        assert_eq!(shown.get(key), Some(record), "`{key}`");
    }
}

/// Starts a sync and kills the server once its first batch is on the log; the server on the same data.
async fn killed(server: Server, client: &mut Client, connection: &str, data: &Path) -> Server {
    let started = client.post(&format!("/aam/connections/{connection}/syncs"), json!({})).await;
    let position = started.position().unwrap_or_default();
    started.expect(202);
    client.events_until(&position, |event| event["type"] == "RecordsIngested").await;
    server.kill();
    let server = start(data);
    let token = client.token.clone();
    *client = Client::new(&server.url);
    client.token = token;
    settle(client, connection).await;
    server
}

/// Waits for the sync that a crash left behind, then syncs once more.
async fn settle(client: &Client, connection: &str) {
    loop {
        let started = client.post(&format!("/aam/connections/{connection}/syncs"), json!({})).await;
        match started.status.as_u16() {
            202 => {
                let id = started.body["sync_id"].as_str().expect("an id").to_owned();
                let ended = client.sync_ended(&id, started.position()).await;
                assert_eq!(ended["status"], "succeeded", "{ended}");
                return;
            }
            409 => {
                let task = started.body["task_id"].as_str().expect("the task in the way").to_owned();
                client.task_ended(&task).await;
            }
            other => panic!("{other}: {}", started.body),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_documents_through_new_shapes_deletes_and_kills() {
    let source = Source::any().await;
    insert(&source, accounts(1..DOCUMENTS + 1)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = start(&data);
    let mut client = Client::registered(&server.url, "Followers", "follow@example.com").await;
    let body = json!({ "name": "crm", "connector": "mongodb", "config": source.config });
    let made = client.post("/aam/connections", body).await.expect(201);
    let connection = made["id"].as_str().expect("an id").to_owned();
    let tested = client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    let found = client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    let sampled = &found["streams"][0]["sampled"];
    assert!(sampled["documents"].as_u64() >= Some(1_000), "{found}");
    assert_eq!(sampled["paths"]["billing.city"]["string"], sampled["documents"], "{found}");
    let chosen = json!({ "streams": [{ "name": "t", "sync_mode": "cdc", "entity": "account" }] });
    client.put(&format!("/aam/connections/{connection}/streams"), chosen).await.expect(200);

    // Killed in the middle of the snapshot.
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &documents(&source, "city").await);

    // Live changes: deletes close rows, their history stays.
    let before = client.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
    let accounts_of = collection(&source);
    accounts_of.delete_many(doc! { "_id": { "$in": ["A7", "A8"] } }).await.expect("deletes");
    set(&source, doc! { "_id": "A9" }, doc! { "billing.city": "Turin" }).await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let shown = view(&client).await;
    same(&shown, &documents(&source, "city").await);
    assert!(!shown.contains_key("A7"));
    let past = client.rows("accounts", &format!("&as_of={before}")).await;
    assert_eq!(past.len(), DOCUMENTS as usize, "deleted records are still there in the past");

    // Killed in the middle of the changes.
    let grown = doc! { "$inc": { "employee_count": 1 }, "$set": { "remarks": "r".repeat(400) } };
    accounts_of.update_many(doc! {}, grown).await.expect("updates");
    accounts_of.delete_many(doc! { "_id": { "$regex": "3$" } }).await.expect("deletes");
    insert(&source, accounts(DOCUMENTS + 1..DOCUMENTS + 3_001)).await;
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &documents(&source, "city").await);

    // A nested field renamed between two changes is found, and repaired or asked about.
    set(&source, doc! { "_id": "A20" }, doc! { "billing.city": "Bath" }).await;
    let rename = doc! { "$rename": { "billing.city": "billing.town" } };
    accounts_of.update_many(doc! {}, rename).await.expect("renames");
    accounts_of
        .update_many(doc! { "_id": { "$regex": "^A2" } }, doc! { "$inc": { "employee_count": 1 } })
        .await
        .expect("updates");
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let renamed = drift["data"].as_array().expect("a list").iter();
    let mut renamed =
        renamed.filter(|item| item["kind"] == "field_renamed" && item["field"] == "billing.city");
    assert!(renamed.next().is_some(), "{drift}");
    client.approve_all(&connection).await;
    same(&view(&client).await, &documents(&source, "town").await);
    server.stop();
    source.end().await;
}
