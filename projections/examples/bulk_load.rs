//! How fast batches land in the views: `cargo run --release -p autonomos-projections --example
//! bulk_load -- [rows] [sources]`.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on fails where it stands")]
#![expect(clippy::print_stdout, reason = "its figures are its output")]

#[path = "../tests/support/mod.rs"]
mod support;

use autonomos_domain::mapping::Transform;
use std::{fmt::Write as _, time::Instant};
use support::{Log, Views, content, line, line_with};

const COLUMNS: [&str; 10] =
    ["id", "name", "website", "industry", "revenue", "staff", "phone", "city", "country", "changed"];

fn argument(index: usize, default: u64) -> u64 {
    std::env::args().nth(index).and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn resident_mb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// Processor seconds used so far, by all threads.
fn busy() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

#[expect(clippy::unnecessary_wraps, reason = "a generator of nullable cells")]
fn value(row: u64, column: usize, source: u64) -> Option<String> {
    let mut text = String::new();
    match column {
        0 => write!(text, "{source}-{row}"),
        1 => write!(text, "Company {} of the North", row % 400_000),
        2 => write!(text, "https://www.company-{row}.example/"),
        3 => write!(text, "{}", ["Retail", "Energy", "Software", "Health"][(row % 4) as usize]),
        4 => write!(text, "{}.{:02}", row * 37 % 1_000_000, row % 100),
        5 => write!(text, "{}", row * 7 % 10_000),
        6 => write!(text, "+49 {}", 100_000_000 + row),
        7 => write!(text, "City {}", row % 5_000),
        8 => write!(text, "{}", ["DE", "FR", "US"][(row % 3) as usize]),
        _ => write!(text, "2024-{:02}-{:02}T10:00:00Z", row % 12 + 1, row % 28 + 1),
    }
    .unwrap();
    Some(text)
}

fn main() {
    let (rows, sources) = (argument(1, 1_000_000), argument(2, 1));
    let batch = 16_384;
    let dir = tempfile::tempdir().unwrap();
    let mut views = Views::new(dir.path());
    let mut log = Log::default();
    let mut working = 0.0;
    for source in 1..=sources {
        let mut stream = log.stream(u128::from(source), "accounts");
        let mapping = content(
            Some("account"),
            vec![
                line("name", "name"),
                line("website", "website"),
                line_with("website", "domain", Transform::ExtractDomain),
                line("industry", "industry"),
                line("revenue", "annual_revenue"),
                line("staff", "employee_count"),
                line("phone", "phone"),
                line("city", "billing_city"),
                line("country", "billing_country"),
                line("changed", "updated_at"),
            ],
        );
        log.map(&stream, mapping);
        log.snapshot_start(&mut stream);
        views.follow(&log);
        let mut next = 0;
        let (mut this, mut processor) = (0.0, 0.0);
        while next < rows {
            let mut commits = Vec::new();
            while next < rows && commits.len() < 32 {
                let end = (next + batch).min(rows);
                let content: Vec<Vec<Option<String>>> = (next..end)
                    .map(|row| (0..10).map(|column| value(row, column, source)).collect())
                    .collect();
                commits.push(Log::ingested(&mut stream, 1, &["id"], &COLUMNS, &content));
                next = end;
            }
            for fact in commits {
                log.push(stream.id().0, autonomos_projections::dcl::OpenedEvents::Feed(vec![fact]));
            }
            let (started, before) = (Instant::now(), busy());
            views.follow(&log);
            this += started.elapsed().as_secs_f64();
            processor += busy() - before;
            for commit in &mut log.commits {
                commit.events = autonomos_projections::dcl::OpenedEvents::Erased;
            }
        }
        log.snapshot_complete(&mut stream);
        let started = Instant::now();
        views.follow(&log);
        this += started.elapsed().as_secs_f64();
        working += this;
        println!(
            "source {source}: {:.0} rows/s, {this:.1} s, {processor:.1} processor s, peak {} MB",
            rows as f64 / this,
            resident_mb()
        );
    }
    println!(
        "{:.0} rows/s over all, {} rows",
        (rows * sources) as f64 / working,
        views.query("SELECT count(DISTINCT uid)::VARCHAR FROM rec_account")[0]
    );
}
