//! How many values a second one core profiles and guards. Run with `--release`.

use autonomos_domain::{
    drift::{
        guard::TypeGuard,
        profile::{FieldProfiler, StreamProfiler},
    },
    schema::{Field, LogicalType},
};
use std::{io::Write, time::Instant};

fn main() -> std::io::Result<()> {
    let rows = 400_000_u64;
    let columns: Vec<(&str, LogicalType, Vec<Option<String>>)> = vec![
        ("id", LogicalType::Integer, (0..rows).map(|row| Some((row * 7919).to_string())).collect()),
        ("name", LogicalType::Text, (0..rows).map(|row| Some(format!("Company {row} Ltd"))).collect()),
        (
            "amount",
            LogicalType::Decimal,
            (0..rows).map(|row| Some(format!("{}.{:02}", row * 31 % 99_991, row % 100))).collect(),
        ),
        (
            "date",
            LogicalType::Date,
            (0..rows)
                .map(|row| Some(format!("20{:02}-{:02}-{:02}", row % 25, row % 12 + 1, row % 28 + 1)))
                .collect(),
        ),
        (
            "stage",
            LogicalType::Text,
            (0..rows).map(|row| Some(["open", "closed", "lost"][row as usize % 3].to_owned())).collect(),
        ),
    ];
    let mut out = std::io::stdout();
    let rate = |values: u64, start: Instant| values as f64 / start.elapsed().as_secs_f64() / 1e6;
    for (name, logical_type, cells) in &columns {
        let start = Instant::now();
        let mut profiler = FieldProfiler::new();
        for cell in cells {
            profiler.push(cell.as_deref());
        }
        let full = rate(rows, start);
        let start = Instant::now();
        let mut guard = TypeGuard::new(&Field {
            name: (*name).to_owned(),
            logical_type: *logical_type,
            nullable: true,
            format: None,
        });
        guard.check(cells);
        writeln!(out, "{name}: profiled {full:.1} M/s, guarded {:.1} M/s", rate(rows, start))?;
    }
    let start = Instant::now();
    let names = columns.iter().map(|(name, ..)| (*name).to_owned()).collect();
    let mut profiler = StreamProfiler::new(names, &["id".to_owned()]);
    let batch: Vec<&Vec<Option<String>>> = columns.iter().map(|(.., cells)| cells).collect();
    profiler.push_batch(&batch);
    writeln!(out, "stream, sampled: {:.1} M values/s", rate(rows * columns.len() as u64, start))
}
