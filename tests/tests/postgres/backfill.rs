//! One table of two is read anew, in the middle of following both: its changes go on after the snapshot
//! without a gap, and the other's are where they were.

use autonomos_log::postgres_server::Postgres;
use autonomos_tests::{client::Client, server::Start};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

async fn run(source: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(source).await.expect("runs");
}

/// The names shown, in order.
async fn names(client: &Client) -> Vec<String> {
    let rows = client.rows("accounts", "").await;
    let mut names: Vec<String> =
        rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect();
    names.sort();
    names
}

fn of(sync: &Value, stream: &str) -> u64 {
    let streams = sync["streams"].as_array().expect("streams");
    let found = streams.iter().find(|one| one["name"] == stream).unwrap_or_else(|| panic!("{sync}"));
    found["rows_read"].as_u64().expect("a count")
}

#[tokio::test(flavor = "multi_thread")]
async fn one_captured_table_is_read_anew_and_followed_on_without_a_gap() {
    let postgres = Postgres::logical();
    let address = postgres.database();
    let database = address.rsplit('/').next().expect("a database").to_owned();
    postgres.execute("postgres", &format!("ALTER ROLE {database} REPLICATION")).expect("the right");
    let mut source = PgConnection::connect(&address).await.expect("the source");
    for table in ["accounts", "others"] {
        run(
            &mut source,
            &format!(
                "CREATE TABLE {table} (account_id text PRIMARY KEY, name text NOT NULL, domain text);
                 INSERT INTO {table} SELECT '{table}' || n, 'Company ' || n || ' {table}', \
                 '{table}' || n || '.example.com' FROM generate_series(1, 300) n"
            ),
        )
        .await;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_ALLOW_PRIVATE_SOURCES", "true")
        .run()
        .expect("the server starts");
    let client = Client::registered(&server.url, "Back-fill", "owner@backfill.example").await;
    let config = json!({
        "host": "127.0.0.1", "port": postgres.port, "database": database, "user": database,
        "password": format!("p-{database}"), "ssl_mode": "disable", "capture_changes": true,
    });
    let body = json!({ "name": "followed", "connector": "postgres", "config": config });
    let made = client.post("/aam/connections", body).await.expect(201);
    let connection = made["id"].as_str().expect("an id").to_owned();
    let found = client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    let stream = |table: &str| {
        let streams = found["streams"].as_array().expect("streams").iter();
        let mut named = streams.filter_map(|stream| stream["name"].as_str());
        named.find(|name| name.ends_with(table)).unwrap_or_else(|| panic!("{found}")).to_owned()
    };
    let (accounts, others) = (stream("accounts"), stream("others"));
    let chosen =
        [&accounts, &others].map(|name| json!({ "name": name, "sync_mode": "cdc", "entity": "account" }));
    client
        .put(&format!("/aam/connections/{connection}/streams"), json!({ "streams": chosen }))
        .await
        .expect(200);
    let sync = client.sync(&connection).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    assert_eq!((of(&sync, &accounts), of(&sync, &others)), (300, 300));

    // Both change before, and between, and after.
    let change = async |source: &mut PgConnection, number: u32, name: &str| {
        for table in ["accounts", "others"] {
            let sql =
                format!("UPDATE {table} SET name = '{name} {table}' WHERE account_id = '{table}{number}'");
            run(source, &sql).await;
        }
    };
    change(&mut source, 1, "Before").await;
    let path = format!("/aam/connections/{connection}/streams/{accounts}/backfill");
    let started = client.post(&path, json!({})).await;
    let position = started.position();
    let started = started.expect(202);
    change(&mut source, 2, "Between").await;
    let sync = client.sync_ended(started["sync_id"].as_str().expect("an id"), position).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    assert_eq!(sync["streams"].as_array().map(Vec::len), Some(1), "{sync}");
    assert!(of(&sync, &accounts) >= 300, "whole: {sync}");
    change(&mut source, 3, "After").await;
    let deleted = "DELETE FROM accounts WHERE account_id = 'accounts4'; DELETE FROM others WHERE account_id = 'others4'";
    run(&mut source, deleted).await;

    let sync = client.sync(&connection).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    let (of_accounts, of_others) = (of(&sync, &accounts), of(&sync, &others));
    assert!(of_accounts < 10, "it is followed on, not read anew: {sync}");
    assert_eq!(of_others, 4, "all that changed since it was left: {sync}");
    let mut expected = Vec::new();
    for table in ["accounts", "others"] {
        for number in (1..=300).filter(|number| *number != 4) {
            let word = match number {
                1 => "Before".to_owned(),
                2 => "Between".to_owned(),
                3 => "After".to_owned(),
                other => format!("Company {other}"),
            };
            expected.push(format!("{word} {table}"));
        }
    }
    expected.sort();
    assert_eq!(names(&client).await, expected);
}
