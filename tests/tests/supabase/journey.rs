//! The whole way over HTTP: connect, whole reads page by page with the server killed in their middle, a
//! column renamed, deletes, increments, and the same stream by the database itself.

use crate::kit::project;
use autonomos_tests::{
    client::Client,
    postgrest::Postgrest,
    server::{Server, Start},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use std::{collections::BTreeMap, path::Path};

const ROWS: u32 = 9_000;

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
            let fields = ["name", "domain", "employee_count", "billing_city"];
            let fields = fields.map(|field| (field, row[field].clone()));
            let key = row["_sources"][0]["source_id"].as_str().expect("a key").to_owned();
            (key, fields.into())
        })
        .collect();
    assert_eq!(shown.len(), count, "each record once");
    shown
}

/// The source's rows; `staff` is the column that was renamed.
async fn table(project: &Postgrest, staff: &str) -> Records {
    let database = &project.database;
    let address = format!("postgres://postgres@127.0.0.1:{}/{database}", project.postgres.port);
    let mut source = PgConnection::connect(&address).await.expect("the source");
    let sql = format!("SELECT account_id, name, domain, {staff}, billing_city FROM accounts");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut source).await.expect("rows");
    rows.iter()
        .map(|row| {
            let text = |index: usize| json!(row.get::<Option<String>, _>(index));
            let fields = [
                ("name", text(1)),
                ("domain", text(2)),
                ("employee_count", json!(row.get::<Option<i32>, _>(3))),
                ("billing_city", text(4)),
            ];
            (row.get::<String, _>(0), fields.into())
        })
        .collect()
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
async fn a_view_follows_a_project_through_renames_deletes_and_kills() {
    let insert = |from: u32, to: u32| {
        format!(
            "INSERT INTO accounts SELECT 'A' || n, 'Company ' || n || ' Ltd', 'company' || n || '.example.com', \
             n * 13 % 977 + 1, (ARRAY['Leeds', 'Oslo', 'Lyon', 'Porto', 'Graz'])[n % 5 + 1], repeat(md5(n::text), 16), \
             '2026-01-01'::timestamptz + n * interval '1 minute' FROM generate_series({from}, {to}) n"
        )
    };
    let sql = format!(
        "CREATE TABLE accounts (account_id text PRIMARY KEY, name text NOT NULL, domain text, employee_count int, \
         billing_city text, remarks text, changed_at timestamptz NOT NULL); {}",
        insert(1, ROWS)
    );
    let project = project(&sql, 500);
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = start(&data);
    let mut client = Client::registered(&server.url, "Followers", "follow@example.com").await;
    let config = project.config();
    let key = config["access"]["api_key"].as_str().expect("a key").to_owned();
    let body = json!({ "name": "app", "connector": "supabase", "config": config });
    let made = client.post("/aam/connections", body).await.expect(201);
    assert_eq!(made["config"]["access"]["api_key"], "***");
    let connection = made["id"].as_str().expect("an id").to_owned();
    let tested = client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    let streams = format!("/aam/connections/{connection}/streams");
    let found = client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    assert_eq!(found["streams"][0]["primary_key"], json!(["account_id"]));
    let choose = |mode: &str| {
        let field = (mode == "incremental").then_some("changed_at");
        let stream =
            json!({ "name": "accounts", "sync_mode": mode, "cursor_field": field, "entity": "account" });
        json!({ "streams": [stream] })
    };
    client.put(&streams, choose("full")).await.expect(200);

    // Killed in the middle of the snapshot.
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &table(&project, "employee_count").await);

    // What is gone closes, and its history stays.
    let before = client.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
    project.run(
        "DELETE FROM accounts WHERE account_id IN ('A7', 'A8'); \
         UPDATE accounts SET billing_city = 'Turin' WHERE account_id = 'A9'; \
         UPDATE accounts SET account_id = 'B10' WHERE account_id = 'A10'",
    );
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let shown = view(&client).await;
    same(&shown, &table(&project, "employee_count").await);
    assert!(!shown.contains_key("A7") && shown.contains_key("B10"));
    let past = client.rows("accounts", &format!("&as_of={before}")).await;
    assert_eq!(past.len(), ROWS as usize, "deleted records are still there in the past");

    // A column that is renamed is found before its rows, and repaired or asked about.
    project.run("ALTER TABLE accounts RENAME COLUMN employee_count TO staff_total");
    project.run("UPDATE accounts SET staff_total = staff_total + 1 WHERE account_id LIKE 'A2%'");
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let renamed = drift["data"].as_array().expect("a list").iter();
    let mut renamed =
        renamed.filter(|item| item["kind"] == "field_renamed" && item["field"] == "employee_count");
    assert!(renamed.next().is_some(), "{drift}");
    client.approve_all(&connection).await;
    same(&view(&client).await, &table(&project, "staff_total").await);

    // What changes from there on, killed in the middle of it.
    client.put(&streams, choose("incremental")).await.expect(200);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    project.run(&insert(ROWS + 1, ROWS + 3_000));
    project.run(
        "UPDATE accounts SET billing_city = 'Bath', changed_at = '2027-01-01' WHERE account_id LIKE 'A3%'",
    );
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &table(&project, "staff_total").await);

    // The same stream by the database itself: the same rows, and nothing drifts.
    let known = drift_count(&client, &connection).await;
    let body = json!({ "config": project.direct() });
    client.patch(&format!("/aam/connections/{connection}"), body).await.expect(200);
    client.put(&streams, choose("full")).await.expect(200);
    project.run("DELETE FROM accounts WHERE account_id = 'A11'");
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    same(&view(&client).await, &table(&project, "staff_total").await);
    assert_eq!(drift_count(&client, &connection).await, known, "no drift by another way to the same table");

    for path in ["/history?limit=200", "/aam/connections", &format!("/aam/connections/{connection}")] {
        let told = client.get(path).await.expect(200).to_string();
        assert!(!told.contains(&key), "`{path}` tells the key");
    }
    server.stop();
    let log = std::fs::read_to_string(data.with_extension("log")).expect("the server's log");
    assert!(!log.contains(&key), "the log tells the key");
}

async fn drift_count(client: &Client, connection: &str) -> usize {
    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    drift["data"].as_array().expect("a list").len()
}
