//! The whole way over HTTP: connect, snapshot, live changes, a rename in the middle of replication,
//! deletes, and the server killed during the snapshot and during the changes.

use autonomos_log::postgres_server::Postgres;
use autonomos_tests::{
    client::Client,
    server::{Server, Start},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection, Row};
use std::{collections::BTreeMap, path::Path};

const ROWS: u32 = 12_000;

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
async fn table(source: &mut PgConnection, staff: &str) -> Records {
    let sql = format!("SELECT account_id, name, domain, {staff}, billing_city FROM accounts");
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(source).await.expect("rows");
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

async fn run(source: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(source).await.expect("runs");
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
async fn a_view_follows_a_table_through_renames_deletes_and_kills() {
    let postgres = Postgres::logical();
    let address = postgres.database();
    let database = address.rsplit('/').next().expect("a database").to_owned();
    postgres.execute("postgres", &format!("ALTER ROLE {database} REPLICATION")).expect("the right");
    let mut source = PgConnection::connect(&address).await.expect("the source");
    let insert = |from: u32, to: u32| {
        format!(
            "INSERT INTO accounts SELECT 'A' || n, 'Company ' || n || ' Ltd', 'company' || n || '.example.com', \
             n * 13 % 977 + 1, (ARRAY['Leeds', 'Oslo', 'Lyon', 'Porto', 'Graz'])[n % 5 + 1], repeat(md5(n::text), 16) \
             FROM generate_series({from}, {to}) n"
        )
    };
    run(
        &mut source,
        "CREATE TABLE accounts (account_id text PRIMARY KEY, name text NOT NULL, domain text, employee_count int, \
         billing_city text, remarks text)",
    )
    .await;
    run(&mut source, &insert(1, ROWS)).await;

    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let mut server = start(&data);
    let mut client = Client::registered(&server.url, "Followers", "follow@example.com").await;
    let body = json!({ "name": "crm", "connector": "postgres", "config": {
        "host": "127.0.0.1", "port": postgres.port, "database": database, "user": database,
        "password": format!("p-{database}"), "ssl_mode": "disable", "capture_changes": true,
    }});
    let made = client.post("/aam/connections", body).await.expect(201);
    assert_eq!(made["config"]["password"], "***");
    let connection = made["id"].as_str().expect("an id").to_owned();
    let tested = client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    let streams = format!("/aam/connections/{connection}/streams");
    client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    let chosen = json!({ "streams": [{ "name": "accounts", "sync_mode": "cdc", "entity": "account" }] });
    client.put(&streams, chosen).await.expect(200);

    // Killed in the middle of the snapshot.
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &table(&mut source, "employee_count").await);

    // Live changes: deletes close rows, their history stays.
    let before = client.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
    run(&mut source, "DELETE FROM accounts WHERE account_id IN ('A7', 'A8')").await;
    run(&mut source, "UPDATE accounts SET billing_city = 'Turin' WHERE account_id = 'A9'").await;
    run(&mut source, "UPDATE accounts SET account_id = 'B10' WHERE account_id = 'A10'").await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let shown = view(&client).await;
    same(&shown, &table(&mut source, "employee_count").await);
    assert!(!shown.contains_key("A7") && shown.contains_key("B10"));
    let past = client.rows("accounts", &format!("&as_of={before}")).await;
    assert_eq!(past.len(), ROWS as usize, "deleted records are still there in the past");

    // Killed in the middle of the changes.
    run(&mut source, "UPDATE accounts SET employee_count = employee_count + 1, remarks = remarks || 'x'")
        .await;
    run(&mut source, "DELETE FROM accounts WHERE right(account_id, 1) = '3'").await;
    run(&mut source, &insert(ROWS + 1, ROWS + 3_000)).await;
    server = killed(server, &mut client, &connection, &data).await;
    same(&view(&client).await, &table(&mut source, "employee_count").await);

    // A rename between two changes is found where it was, and repaired or asked about.
    run(&mut source, "UPDATE accounts SET billing_city = 'Bath' WHERE account_id = 'A20'").await;
    run(&mut source, "ALTER TABLE accounts RENAME COLUMN employee_count TO staff_total").await;
    run(&mut source, "UPDATE accounts SET staff_total = staff_total + 1 WHERE account_id LIKE 'A2%'").await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let renamed = drift["data"].as_array().expect("a list").iter();
    let mut renamed =
        renamed.filter(|item| item["kind"] == "field_renamed" && item["field"] == "employee_count");
    assert!(renamed.next().is_some(), "{drift}");
    client.approve_all(&connection).await;
    same(&view(&client).await, &table(&mut source, "staff_total").await);

    // What the connection made in the source goes with it.
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'aos_%'";
    let made: i64 = sqlx::query_scalar(slots).fetch_one(&mut source).await.expect("a count");
    assert_eq!(made, 1);
    let mut from = client.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
    let deleted = client.delete(&format!("/aam/connections/{connection}")).await;
    assert!(deleted.status.is_success(), "{deleted:?}");
    loop {
        // The task that carries the deletion through is one of those that succeed.
        let ended = client.events_until(&from, |event| event["type"] == "TaskSucceeded").await;
        ended["position"].as_str().expect("a position").clone_into(&mut from);
        let left: i64 = sqlx::query_scalar(slots).fetch_one(&mut source).await.expect("a count");
        if left == 0 {
            break;
        }
    }
    client.shown(&from).await;
    assert!(client.rows("accounts", "").await.is_empty());
    server.stop();
}
