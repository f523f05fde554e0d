//! Measurements, one JSON line each, with the baseline measured in the same run. Seeded.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its lines are the result")]

use autonomos_tests::bench;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let which = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    let known = ["commands", "rebuild", "ingest", "connectors", "match", "scaled", "flat"];
    let chosen: Vec<&str> = known.into_iter().filter(|name| which == "all" || which == *name).collect();
    if chosen.is_empty() {
        eprintln!("no bench `{which}`; there are: {}, all", known.join(", "));
        return std::process::ExitCode::from(2);
    }
    let mut tell = |line| println!("{}", serde_json::to_string(&line).unwrap_or_default());
    for name in chosen {
        let results = match name {
            "commands" => bench::commands::run().await,
            "rebuild" => bench::rebuild::run().await,
            "ingest" => bench::ingest::run().await,
            "scaled" => bench::scaled::run().await,
            "connectors" => {
                bench::connectors::run(&mut tell).await;
                Vec::new()
            }
            "flat" => {
                bench::flat::run(&mut tell).await;
                Vec::new()
            }
            _ => bench::matching::run(),
        };
        results.into_iter().for_each(&mut tell);
    }
    std::process::ExitCode::SUCCESS
}
