//! The whole way over HTTP: connect, snapshot by a job, a rename in the middle of a job, increments,
//! deletes, and the server killed during the job and during the increment.

use crate::kit::{ACCOUNT, accounts, config, insert, with};
use autonomos_tests::{
    client::Client,
    salesforce::{CLIENT_SECRET, Change, Salesforce},
    server::{Server, Start},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};

const ROWS: u32 = 6_000;

fn start(data: &Path) -> Server {
    Start::serve(data).with("AOS_ALLOW_PRIVATE_SOURCES", "true").run().expect("the server starts")
}

/// What a record should show: its fields by the key in the source.
type Records = BTreeMap<String, BTreeMap<&'static str, Value>>;

/// The view's records.
async fn view(client: &Client) -> Records {
    let rows = client.rows("accounts", "").await;
    let count = rows.len();
    let shown: Records = rows
        .into_iter()
        .map(|row| {
            let fields = ["name", "employee_count", "billing_city"];
            let fields = fields.map(|field| (field, row[field].clone()));
            let key = row["_sources"][0]["source_id"].as_str().expect("a key").to_owned();
            (key, fields.into())
        })
        .collect();
    assert_eq!(shown.len(), count, "each record once");
    shown
}

/// The organisation's records; `staff` is the field that was renamed.
fn source(salesforce: &Salesforce, staff: &str) -> Records {
    let org = salesforce.org();
    let record = |record: &autonomos_tests::salesforce::Record| {
        let fields = [
            ("name", record["Name"].clone()),
            ("employee_count", record[staff].clone()),
            ("billing_city", record["BillingCity"].clone()),
        ];
        (record["Id"].as_str().expect("an id").to_owned(), fields.into())
    };
    org.live(ACCOUNT).map(record).collect()
}

#[track_caller]
fn same(shown: &Records, expected: &Records) {
    assert_eq!(shown.len(), expected.len(), "records");
    for (key, record) in expected {
        assert_eq!(shown.get(key), Some(record), "`{key}`");
    }
}

/// Starts a sync and kills the server once its first rows are on the log; the server on the same data.
async fn killed(server: Server, client: &mut Client, connection: &str, data: &Path) -> Server {
    let started = client.post(&format!("/aam/connections/{connection}/syncs"), json!({})).await;
    let position = started.position().unwrap_or_default();
    started.expect(202);
    let mut batches = 0;
    client
        .events_until(&position, |event| {
            batches += u32::from(event["type"] == "RecordsIngested");
            // The first may be the one that holds the job's id alone.
            batches == 2
        })
        .await;
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

/// Changes, deletes and adds accounts: enough for several batches.
fn work(salesforce: &Salesforce, staff: &str, round: u32) {
    let mut org = salesforce.org();
    for (number, id) in org.ids(ACCOUNT).iter().enumerate() {
        match number % 50 {
            7 => org.delete(ACCOUNT, id),
            10 | 20 | 30 => org.update(ACCOUNT, id, json!({ staff: number as u64 % 800 + u64::from(round) })),
            // Saved again as it was: it comes again, and is the same.
            place if place % 2 == 0 => org.update(ACCOUNT, id, json!({})),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_an_organisation_through_renames_deletes_and_kills() {
    let salesforce = accounts(ROWS).await;
    salesforce.org().knobs.job_page = Some(1_000);
    salesforce.org().knobs.polls = 1;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = start(&data);
    let mut client = Client::registered(&server.url, "Sellers", "sell@example.com").await;
    let config = with(config(&salesforce), &json!({ "bulk_rows": 4_000, "overlap_minutes": 1 }));
    let body = json!({ "name": "crm", "connector": "salesforce", "config": config });
    let made = client.post("/aam/connections", body).await.expect(201);
    assert_eq!(made["config"]["auth"]["client_secret"], "***");
    let connection = made["id"].as_str().expect("an id").to_owned();
    let tested = client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    let streams = format!("/aam/connections/{connection}/streams");
    let found = client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    assert_eq!(found["streams"][0]["primary_key"], json!(["Id"]));
    let choose = |mode: &str| {
        let field = (mode == "incremental").then_some("SystemModstamp");
        let stream =
            json!({ "name": ACCOUNT, "sync_mode": mode, "cursor_field": field, "entity": "account" });
        json!({ "streams": [stream] })
    };
    client.put(&streams, choose("incremental")).await.expect(200);

    // Killed in the middle of the job's results.
    server = killed(server, &mut client, &connection, &data).await;
    let jobs = salesforce.org().calls.iter().filter(|path| path.ends_with("/jobs/query")).count();
    assert!(jobs >= 1);
    same(&view(&client).await, &source(&salesforce, "NumberOfEmployees"));

    // Killed in the middle of an increment.
    work(&salesforce, "NumberOfEmployees", 1);
    for number in 1..=30 {
        insert(&mut salesforce.org(), ROWS + number);
    }
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &source(&salesforce, "NumberOfEmployees"));

    // Renamed while the results of a job are fetched: the pages that follow have the new name.
    client.put(&streams, choose("full")).await.expect(200);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    same(&view(&client).await, &source(&salesforce, "NumberOfEmployees"));
    salesforce.org().knobs.late_names = true;
    let rename = Change::Rename {
        object: ACCOUNT.to_owned(),
        from: "NumberOfEmployees".to_owned(),
        to: "Staff_Total__c".to_owned(),
    };
    salesforce.org().knobs.drift = vec![("/results".to_owned(), 2, rename)];
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    assert!(salesforce.org().knobs.drift.is_empty(), "it was renamed");
    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let found = drift["data"].as_array().expect("a list").iter();
    let mut renamed =
        found.filter(|item| item["kind"] == "field_renamed" && item["field"] == "NumberOfEmployees");
    assert!(renamed.next().is_some(), "{drift}");
    client.approve_all(&connection).await;
    same(&view(&client).await, &source(&salesforce, "Staff_Total__c"));

    // And what changes from there on, deletes included.
    client.put(&streams, choose("incremental")).await.expect(200);
    work(&salesforce, "Staff_Total__c", 2);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    same(&view(&client).await, &source(&salesforce, "Staff_Total__c"));

    for path in ["/history?limit=200", "/aam/connections", &format!("/aam/connections/{connection}")] {
        let told = client.get(path).await.expect(200).to_string();
        assert!(!told.contains(CLIENT_SECRET), "`{path}` tells the secret");
    }
    server.stop();
    let log = std::fs::read_to_string(data.with_extension("log")).expect("the server's log");
    assert!(!log.contains(CLIENT_SECRET) && !log.contains("!session-"), "the log tells a secret");
}
