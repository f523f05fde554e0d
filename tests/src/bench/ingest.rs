//! File → durable log → queryable view, in rows a second, beside DuckDB's own `read_csv` into a table
//! of the same file; and the most memory the server had meanwhile.

use super::{Measurement, SEED, number};
use crate::{client::Client, process::peak_memory, server::Start};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
    time::Instant,
};

/// Rows of the file, unless `BENCH_ROWS` says otherwise.
const ROWS: u64 = 5_000_000;

pub async fn run() -> Vec<Measurement> {
    let rows = number("BENCH_ROWS", ROWS);
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let file = inbox.join("accounts.csv");
    write_file(&file, rows);
    let baseline = read_csv(folder.path(), &file, rows);

    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .with("AOS_LOG", "warn")
        .run()
        .expect("the server starts");
    let client = Client::registered(&server.url, "Bench", "bench@example.com").await;
    let connection = client.file_connection("bench", &file.display().to_string()).await;
    let started = Instant::now();
    let sync = client.sync(&connection).await;
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!(sync["status"], "succeeded", "{sync}");
    assert_eq!(sync["streams"][0]["rows_canonical"].as_u64(), Some(rows), "{sync}");
    let peak = peak_memory(server.pid());
    let measured = |unit, value, case| Measurement::new("ingest", "sqlite+duckdb", unit, value, rows, case);
    vec![
        measured("rows/s", rows as f64 / seconds, "baseline=duckdb read_csv into a table").beside(baseline),
        measured("MB", peak, "peak memory of the server; at most 600 is allowed"),
    ]
}

/// Ten columns as a CRM writes them.
pub(super) fn write_file(path: &Path, rows: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file"));
    let cities = ["Leeds", "Oslo", "Lyon", "Porto", "Graz", "Boston", "Austin"];
    let industries = ["Energy", "Finance", "Retail", "Media", "Technology"];
    writeln!(out, "account_id,name,domain,industry,annual_revenue,employee_count,phone,billing_city,created_at,updated_at")
        .expect("writes");
    for row in 0..rows {
        writeln!(
            out,
            "A{row:08},Company {row} Ltd,company{row}.example.com,{},{},{},+1 555 {:07},{},2023-{:02}-{:02}T08:00:00Z,2024-{:02}-{:02}T09:30:00Z",
            industries[random.random_range(0..industries.len())],
            random.random_range(10_000..900_000_000_u64),
            random.random_range(1..50_000_u32),
            row % 10_000_000,
            cities[random.random_range(0..cities.len())],
            random.random_range(1..13),
            random.random_range(1..29),
            random.random_range(1..13),
            random.random_range(1..29),
        )
        .expect("writes");
    }
    out.flush().expect("writes");
}

fn read_csv(folder: &Path, file: &Path, rows: u64) -> f64 {
    let connection = duckdb::Connection::open(folder.join("bare.duckdb")).expect("opens");
    connection.execute_batch("SET threads TO 2").expect("sets");
    let started = Instant::now();
    let sql = format!("CREATE TABLE accounts AS SELECT * FROM read_csv('{}'); CHECKPOINT;", file.display());
    connection.execute_batch(&sql).expect("reads");
    rows as f64 / started.elapsed().as_secs_f64()
}
