//! Tables and collections.

use super::{Measured, Source, rate, synced};
use crate::mongo::Mongo;
use autonomos_log::postgres_server::Postgres;
use futures::{StreamExt, TryStreamExt};
use mongodb::bson::{Document, doc};
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::{sync::Arc, time::Instant};

/// What ten columns of a CRM are like.
const TABLE: &str = "CREATE TABLE accounts (account_id text PRIMARY KEY, name text, domain text, industry text, \
    annual_revenue bigint, employee_count int, phone text, billing_city text, created_at timestamptz, \
    updated_at timestamptz)";

fn fill(rows: u64) -> String {
    format!(
        "INSERT INTO accounts SELECT 'A' || lpad(n::text, 8, '0'), 'Company ' || n || ' Ltd', \
         'company' || n || '.example.com', (ARRAY['Energy', 'Finance', 'Retail', 'Media'])[n % 4 + 1], \
         n * 7919 % 900000000 + 10000, n * 13 % 50000 + 1, '+1 555 ' || n, \
         (ARRAY['Leeds', 'Oslo', 'Lyon', 'Porto', 'Graz'])[n % 5 + 1], \
         '2023-01-01'::timestamptz + n % 500 * interval '1 day', \
         '2024-01-01'::timestamptz + n % 500 * interval '1 day' FROM generate_series(1, {rows}::bigint) n"
    )
}

/// A server with a table of accounts, a connection to it, and how the product connects.
async fn table(rows: u64, mode: &'static str) -> (Arc<Postgres>, PgConnection, Source) {
    let server = Postgres::logical();
    let address = server.database();
    let database = address.rsplit('/').next().expect("a database").to_owned();
    server.execute("postgres", &format!("ALTER ROLE {database} REPLICATION")).expect("the right");
    let mut client = PgConnection::connect(&address).await.expect("connects");
    run(&mut client, TABLE).await;
    run(&mut client, &fill(rows)).await;
    run(&mut client, "ANALYZE accounts").await;
    let config = json!({
        "host": "127.0.0.1", "port": server.port, "database": database, "user": database,
        "password": format!("p-{database}"), "ssl_mode": "disable", "capture_changes": true,
    });
    let source = Source { connector: "postgres", config, stream: "accounts", mode, settings: Vec::new() };
    (server, client, source)
}

async fn run(client: &mut PgConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(client).await.expect("runs");
}

pub(super) async fn postgres(rows: u64) -> Measured {
    let (_server, mut client, source) = table(rows, "full").await;
    let started = Instant::now();
    let mut found = sqlx::raw_sql("SELECT * FROM accounts").fetch(&mut client);
    let (mut read, mut bytes) = (0, 0);
    while let Some(row) = found.try_next().await.expect("reads") {
        read += 1;
        for place in 0..row.len() {
            let value = row.try_get_raw(place).expect("a value");
            bytes += value.as_str().map_or(0, |text| std::hint::black_box(text.to_owned()).len());
        }
    }
    drop(found);
    assert!(bytes > 0);
    let selected = rate(started, read, rows);

    let started = Instant::now();
    let mut copied = client.copy_out_raw("COPY accounts TO STDOUT").await.expect("copies");
    let mut read = 0;
    while let Some(piece) = copied.next().await {
        read += piece.expect("reads").split(|byte| *byte == b'\n').count() as u64 - 1;
    }
    drop(copied);
    let copied = rate(started, read, rows);
    let bare =
        vec![("sqlx, SELECT of every value as text", selected), ("COPY TO STDOUT, lines counted", copied)];
    source.measure(rows, bare).await
}

pub(super) async fn postgres_changes(rows: u64) -> Measured {
    let (_server, mut client, source) = table(rows, "cdc").await;
    run(&mut client, "CREATE PUBLICATION bench FOR TABLE accounts").await;
    run(&mut client, "SELECT pg_create_logical_replication_slot('bench', 'pgoutput')").await;
    let follower = source.connect().await;
    follower.sync().await;
    run(&mut client, "UPDATE accounts SET employee_count = employee_count + 1").await;

    let started = Instant::now();
    let changes = "SELECT data FROM pg_logical_slot_get_binary_changes('bench', NULL, NULL, \
                   'proto_version', '1', 'publication_names', 'bench')";
    let mut found = sqlx::query(changes).fetch(&mut client);
    let mut read = 0;
    while let Some(row) = found.try_next().await.expect("reads") {
        // An update; beside them are where transactions begin and end, and the table's shape.
        read += u64::from(row.get::<Vec<u8>, _>(0).first() == Some(&b'U'));
    }
    drop(found);
    let bare = vec![("sqlx, the messages of a slot", rate(started, read, rows))];
    synced(&follower, rows, bare).await
}

/// Documents of one insert.
const AT_ONCE: u64 = 5_000;

pub(super) async fn mongodb(rows: u64) -> Measured {
    let server = Mongo::start();
    let kept = server.database().await;
    let accounts = kept.database.collection::<Document>("accounts");
    for from in (0..rows).step_by(AT_ONCE as usize) {
        let document = |row: u64| {
            let industry = ["Energy", "Finance", "Retail", "Media"][row as usize % 4];
            let city = ["Leeds", "Oslo", "Lyon", "Porto", "Graz"][row as usize % 5];
            doc! {
                "_id": format!("A{row:08}"), "name": format!("Company {row} Ltd"),
                "domain": format!("company{row}.example.com"), "industry": industry,
                "annual_revenue": (row * 7_919 % 900_000_000 + 10_000) as i64,
                "employee_count": (row * 13 % 50_000 + 1) as i32, "phone": format!("+1 555 {row:07}"),
                "billing": { "city": city }, "created_at": "2023-05-05T08:00:00Z",
                "updated_at": "2024-05-05T09:30:00Z",
            }
        };
        accounts.insert_many((from..rows.min(from + AT_ONCE)).map(document)).await.expect("inserts");
    }
    let started = Instant::now();
    let mut found = accounts.find(doc! {}).batch_size(2_000).await.expect("finds");
    let mut read = 0;
    while found.try_next().await.expect("reads").is_some() {
        read += 1;
    }
    let bare = vec![("the driver's cursor, against SecantusDB", rate(started, read, rows))];
    let config = kept.config.clone();
    let source =
        Source { connector: "mongodb", config, stream: "accounts", mode: "full", settings: Vec::new() };
    source.measure(rows, bare).await
}
