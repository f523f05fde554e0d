//! The whole way over HTTP: connect, snapshot, live changes, a rename in the middle of replication,
//! deletes, and the server killed during the snapshot and during the changes.

use autonomos_log::postgres_server::Postgres;
use autonomos_tests::follow::{Follower, Records};
use serde_json::json;
use sqlx::{Connection, PgConnection, Row};

const ROWS: u32 = 12_000;
const FIELDS: [&str; 4] = ["name", "domain", "employee_count", "billing_city"];

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

async fn run(source: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(source).await.expect("runs");
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

    let password = format!("p-{database}");
    let config = json!({
        "host": "127.0.0.1", "port": postgres.port, "database": database, "user": database,
        "password": password, "ssl_mode": "disable", "capture_changes": true,
    });
    let mut follower = Follower::connect("postgres", &config, &FIELDS).await;
    assert_eq!(follower.made["config"]["password"], "***");
    follower.choose("accounts", "cdc", None).await;

    // Killed in the middle of the snapshot.
    follower.sync_killed(1).await;
    follower.shows(&table(&mut source, "employee_count").await).await;

    // Live changes: deletes close rows, their history stays.
    let before = follower.position().await;
    run(&mut source, "DELETE FROM accounts WHERE account_id IN ('A7', 'A8')").await;
    run(&mut source, "UPDATE accounts SET billing_city = 'Turin' WHERE account_id = 'A9'").await;
    run(&mut source, "UPDATE accounts SET account_id = 'B10' WHERE account_id = 'A10'").await;
    follower.sync().await;
    let shown = follower.shows(&table(&mut source, "employee_count").await).await;
    assert!(!shown.contains_key("A7") && shown.contains_key("B10"));
    let past = follower.client.rows("accounts", &format!("&as_of={before}")).await;
    assert_eq!(past.len(), ROWS as usize, "deleted records are still there in the past");

    // Killed in the middle of the changes.
    run(&mut source, "UPDATE accounts SET employee_count = employee_count + 1, remarks = remarks || 'x'")
        .await;
    run(&mut source, "DELETE FROM accounts WHERE right(account_id, 1) = '3'").await;
    run(&mut source, &insert(ROWS + 1, ROWS + 3_000)).await;
    follower.sync_killed(1).await;
    follower.shows(&table(&mut source, "employee_count").await).await;

    // A rename between two changes is found where it was, and repaired or asked about.
    run(&mut source, "UPDATE accounts SET billing_city = 'Bath' WHERE account_id = 'A20'").await;
    run(&mut source, "ALTER TABLE accounts RENAME COLUMN employee_count TO staff_total").await;
    run(&mut source, "UPDATE accounts SET staff_total = staff_total + 1 WHERE account_id LIKE 'A2%'").await;
    follower.sync().await;
    follower.accept_renamed("employee_count").await;
    follower.shows(&table(&mut source, "staff_total").await).await;

    // What the connection made in the source goes with it.
    let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name LIKE 'aos_%'";
    let made: i64 = sqlx::query_scalar(slots).fetch_one(&mut source).await.expect("a count");
    assert_eq!(made, 1);
    let (client, mut from) = (&follower.client, follower.position().await);
    let deleted = client.delete(&format!("/aam/connections/{}", follower.connection)).await;
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
    follower.end(&[&password]).await;
}
