//! Sources through log and view, in rows a second, beside a bare client that reads the same rows from the
//! same server in the same run; and the most memory the product had for so many rows and for four times as
//! many.
//!
//! The servers are the tests' own: Postgres is a real one, MongoDB is SecantusDB, S3 is moto, and Salesforce
//! the simulator, in this process. `BENCH_SOURCE` takes one of them, `BENCH_ROWS` another number of rows.

mod databases;
mod files;
mod salesforce;

use super::{Measurement, number};
use crate::{follow::Follower, process::peak_memory};
use serde_json::Value;
use std::time::Instant;

/// How many times as many rows memory is compared at.
const MORE: u64 = 4;

/// A source with rows, as it is connected.
struct Source {
    connector: &'static str,
    config: Value,
    stream: &'static str,
    mode: &'static str,
    settings: Vec<(&'static str, String)>,
}

/// What a source came to.
struct Measured {
    /// Rows a second, and those of each bare client by what it is.
    rate: f64,
    bare: Vec<(&'static str, f64)>,
    /// MB.
    peak: f64,
}

impl Source {
    async fn connect(&self) -> Follower {
        let mut settings = self.settings.clone();
        settings.push(("AOS_LOG", "warn".to_owned()));
        let follower = Follower::connect_on(self.connector, &self.config, &[], settings).await;
        follower.choose(self.stream, self.mode, None).await;
        follower
    }

    /// Syncs all of it, until the view shows it.
    async fn measure(&self, rows: u64, bare: Vec<(&'static str, f64)>) -> Measured {
        let follower = self.connect().await;
        synced(&follower, rows, bare).await
    }
}

async fn synced(follower: &Follower, rows: u64, bare: Vec<(&'static str, f64)>) -> Measured {
    let started = Instant::now();
    let sync = follower.sync().await;
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    assert_eq!(sync["streams"][0]["rows_read"].as_u64(), Some(rows), "{sync}");
    Measured { rate, bare, peak: peak_memory(follower.pid()) }
}

/// Rows a second of a bare client that read so many.
fn rate(started: Instant, read: u64, rows: u64) -> f64 {
    assert_eq!(read, rows, "a bare client reads every row");
    rows as f64 / started.elapsed().as_secs_f64()
}

/// Each measurement is told as soon as it is there.
pub async fn run(tell: &mut impl FnMut(Measurement)) {
    let chosen = std::env::var("BENCH_SOURCE").unwrap_or_default();
    for (name, usual) in [
        ("file", 250_000),
        ("s3", 250_000),
        ("postgres", 250_000),
        ("postgres changes", 100_000),
        ("mongodb", 25_000),
        ("salesforce", 20_000),
    ] {
        if !chosen.is_empty() && !name.starts_with(&chosen) {
            continue;
        }
        let rows = number("BENCH_ROWS", usual);
        let few = measure(name, rows).await;
        let many = measure(name, MORE * rows).await;
        for (rows, measured) in [(rows, &few), (MORE * rows, &many)] {
            for (client, bare) in &measured.bare {
                let case = format!("baseline={client}");
                tell(Measurement::new("connectors", name, "rows/s", measured.rate, rows, case).beside(*bare));
            }
        }
        let case = format!("peak memory of the server, baseline=its peak with {rows} rows");
        tell(Measurement::new("connectors", name, "MB", many.peak, MORE * rows, case).beside(few.peak));
    }
}

async fn measure(name: &str, rows: u64) -> Measured {
    match name {
        "file" => files::on_disk(rows).await,
        "s3" => files::in_bucket(rows).await,
        "postgres" => databases::postgres(rows).await,
        "postgres changes" => databases::postgres_changes(rows).await,
        "mongodb" => databases::mongodb(rows).await,
        _ => salesforce::measure(rows).await,
    }
}
