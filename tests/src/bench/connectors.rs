//! Sources through log and view, in rows a second, beside a bare client that reads the same rows from the
//! same server in the same run; the connector alone, without log and view; and the most memory the product had
//! for so many rows and for four times as many. What a first sync costs once, whatever its rows (the mapping is
//! suggested), is not in the rate of each further row.
//!
//! The servers are the tests' own: Postgres is a real one, MongoDB is SecantusDB, S3 is moto, and Salesforce
//! the simulator, in this process. `BENCH_SOURCE` takes one of them, `BENCH_ROWS` another number of rows.

mod databases;
mod files;
mod salesforce;

use super::{Measurement, number};
use crate::{connectors::selection, follow::Follower, process::peak_memory};
use autonomos_connectors::{ConnectScope, FileScope, NetworkScope, ReadEvent, Registry};
use autonomos_domain::{ids::ConnectionId, schema::SyncMode};
use futures::StreamExt;
use serde_json::{Value, json};
use std::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

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
    /// Rows a second through log and view, of the connector alone, and of each bare client by what it is.
    rate: f64,
    alone: Option<f64>,
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
        let alone = Some(self.read_alone(rows).await);
        let follower = self.connect().await;
        Measured { alone, ..synced(&follower, rows, bare).await }
    }

    /// Rows a second that the connector yields to somebody who does nothing with them.
    async fn read_alone(&self, rows: u64) -> f64 {
        let roots = self.settings.iter().map(|(_, folder)| folder.into()).collect();
        let scope = ConnectScope {
            connection: Some(ConnectionId(Uuid::new_v4())),
            file: FileScope { roots, uploads: None },
            network: NetworkScope { private: true },
            ..ConnectScope::default()
        };
        let connector = Registry::new().connect(self.connector, &self.config, &scope);
        let connector = connector.expect("a configuration");
        let mode: SyncMode = serde_json::from_value(json!(self.mode)).expect("a mode");
        let stream = selection(self.stream, mode);
        let started = Instant::now();
        let mut events = connector.read(&stream, mode, None, CancellationToken::new());
        let mut read = 0;
        while let Some(event) = events.next().await {
            if let ReadEvent::Batch { records, .. } = event.expect("reads") {
                read += records.num_rows() as u64;
            }
        }
        rate(started, read, rows)
    }
}

async fn synced(follower: &Follower, rows: u64, bare: Vec<(&'static str, f64)>) -> Measured {
    let started = Instant::now();
    let sync = follower.sync().await;
    let rate = rows as f64 / started.elapsed().as_secs_f64();
    assert_eq!(sync["streams"][0]["rows_read"].as_u64(), Some(rows), "{sync}");
    Measured { rate, alone: None, bare, peak: peak_memory(follower.pid()) }
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
        ("mongodb", 5_000),
        ("salesforce", 20_000),
    ] {
        if !chosen.is_empty() && !name.starts_with(&chosen) {
            continue;
        }
        let rows = number("BENCH_ROWS", usual);
        let few = measure(name, rows).await;
        let many = measure(name, MORE * rows).await;
        let measured = |value, rows, case| Measurement::new("connectors", name, "rows/s", value, rows, case);
        for (place, (client, bare)) in many.bare.iter().enumerate() {
            let before = few.bare[place].1;
            tell(measured(few.rate, rows, format!("baseline={client}")).beside(before));
            tell(measured(many.rate, MORE * rows, format!("baseline={client}")).beside(*bare));
            let ours = further(rows, few.rate, many.rate);
            let case = format!("each further row, baseline={client}");
            tell(measured(ours, MORE * rows, case).beside(further(rows, before, *bare)));
            if let Some(alone) = many.alone {
                let case = format!("the connector alone, baseline={client}");
                tell(measured(alone, MORE * rows, case).beside(*bare));
            }
        }
        let case = format!("peak memory of the server, baseline=its peak with {rows} rows");
        tell(Measurement::new("connectors", name, "MB", many.peak, MORE * rows, case).beside(few.peak));
    }
}

/// Rows a second of those that four times as many rows are more, from the rates of both.
fn further(rows: u64, few: f64, many: f64) -> f64 {
    let (rows, more) = (rows as f64, (MORE * rows) as f64);
    (more - rows) / (more / many - rows / few)
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
