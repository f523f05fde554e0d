//! Whether a command costs the same however much was done before: while the log grows, while the same
//! load is spread over more tenants, and what a tenant costs that does nothing.
//!
//! A point of a curve is measured by turns with a small log of the same minute, its baseline: a
//! machine that is shared gets slower and faster, and what is asked for is the ratio. Of the figures,
//! processor time per command is the steady one.
//!
//! `BENCH_CURVE` takes one curve (`events`, `tenants` or `idle`) and `BENCH_BACKEND` one log
//! (`sqlite` or `jetstream`); `BENCH_EVENTS` and `BENCH_TENANTS` end the curves earlier.

mod idle;
mod load;
mod store;

use super::{Measurement, number};
use load::{Load, Measured};
use store::{Backend, Store};

/// Sizes of the log; the first one is the baseline of the others.
const EVENTS: [u64; 6] = [10_000, 100_000, 500_000, 1_000_000, 2_000_000, 5_000_000];
/// Tenants that the same log is spread over; the first one is the baseline of the others.
const TENANTS: [u64; 5] = [1, 10, 100, 1_000, 10_000];
/// Of the logs that grow.
const TENANTS_OF_EVENTS: u64 = 64;
/// Of the logs that are spread over tenants.
const EVENTS_OF_TENANTS: u64 = 50_000;
/// Turns of a point and its baseline.
const ROUNDS: usize = 3;

/// What is measured at a point.
const KINDS: [&str; 3] = ["cold", "hot", "new"];

/// Each measurement is told as soon as it is there: the last points take minutes.
pub async fn run(tell: &mut impl FnMut(Measurement)) {
    let chosen = |variable: &str, name: &str| std::env::var(variable).is_ok_and(|value| value != name);
    for backend in [Backend::Sqlite, Backend::JetStream] {
        if chosen("BENCH_BACKEND", backend.name()) {
            continue;
        }
        if !chosen("BENCH_CURVE", "events") {
            events(backend, tell).await;
        }
        if !chosen("BENCH_CURVE", "tenants") {
            tenants(backend, tell).await;
        }
    }
    if !chosen("BENCH_CURVE", "idle") {
        idle::run(tell).await;
    }
}

/// One log that grows.
async fn events(backend: Backend, tell: &mut impl FnMut(Measurement)) {
    let most = number("BENCH_EVENTS", EVENTS[EVENTS.len() - 1]);
    let mut grown = Load::new(Store::open(backend).await, TENANTS_OF_EVENTS);
    for size in EVENTS.into_iter().filter(|size| *size <= most) {
        let small = async || filled(backend, TENANTS_OF_EVENTS, EVENTS[0]).await;
        grown.fill(size).await;
        let (point, baseline);
        (grown, point, baseline) = by_turns(grown, small).await;
        lines(backend, size, &format!("events={size}, baseline=10000 events"), &point, &baseline, tell);
    }
}

/// Logs of the same size, each spread over more tenants.
async fn tenants(backend: Backend, tell: &mut impl FnMut(Measurement)) {
    let most = number("BENCH_TENANTS", TENANTS[TENANTS.len() - 1]);
    for count in TENANTS.into_iter().filter(|count| *count <= most) {
        let one = async || filled(backend, TENANTS[0], EVENTS_OF_TENANTS).await;
        let spread = filled(backend, count, EVENTS_OF_TENANTS).await;
        let (spread, point, baseline) = by_turns(spread, one).await;
        lines(backend, count, &format!("tenants={count}, baseline=1 tenant"), &point, &baseline, tell);
        let first_use = spread.keys_first_used();
        let case = format!("tenants={count}, a tenant's key is read and unwrapped");
        tell(Measurement::new("flat", backend.name(), "us", first_use, count, case));
    }
}

async fn filled(backend: Backend, tenants: u64, events: u64) -> Load {
    let mut load = Load::new(Store::open(backend).await, tenants);
    load.fill(events).await;
    load
}

/// Measures a log and, each time beside it, a new one of the baseline; each of both from a fresh
/// start, so that nothing is in memory that was not used since.
async fn by_turns(load: Load, baseline: impl AsyncFn() -> Load) -> (Load, [Measured; 3], [Measured; 3]) {
    let mut load = load.reopened().await;
    let (mut point, mut beside) = ([(); 3].map(|()| Measured::new()), [(); 3].map(|()| Measured::new()));
    for _ in 0..ROUNDS {
        let mut small = baseline().await.reopened().await;
        for (load, sums) in [(&mut small, &mut beside), (&mut load, &mut point)] {
            for (kind, sum) in KINDS.into_iter().zip(sums) {
                sum.add(&load.measure(kind).await);
            }
        }
    }
    (load, point, beside)
}

fn lines(
    backend: Backend,
    rows: u64,
    case: &str,
    point: &[Measured; 3],
    baseline: &[Measured; 3],
    tell: &mut impl FnMut(Measurement),
) {
    for ((kind, point), baseline) in KINDS.into_iter().zip(point).zip(baseline) {
        let case = format!("{case}, commands on {kind} aggregates, callers={}", load::CALLERS);
        let line = |unit, value| Measurement::new("flat", backend.name(), unit, value, rows, case.clone());
        let cost = line("us of processor/command", point.cost());
        tell(cost.beside(baseline.cost()));
        tell(line("commands/s", point.rate()).beside(baseline.rate()).timed(&point.histogram));
    }
}
