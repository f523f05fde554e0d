//! The scaled mode beside the servers it stands on, in the same run: durable commands through
//! JetStream beside a bare publisher of atomic batches and beside cqrs-es on postgres-es; replay
//! beside a bare ordered consumer; read models in Postgres beside a view that is read and written
//! event by event.

mod bare;

use super::{Measurement, commands, number, rebuild};
use autonomos_commands::{
    clock::Clock,
    execute::{CommandOptions, Commands},
    keys::KeyStore,
};
use autonomos_log::{
    control::ControlStore,
    jetstream::{Credentials, JetStreamLog},
    nats_server::Nats,
    port::{Delivery, EventLog, Filter},
    postgres_server::{Durability, Postgres},
};
use autonomos_projections::runtime::{Address, Location, Options, PostgresOptions, READ_MODELS, Service};
use futures::StreamExt;
use std::{path::Path, sync::Arc, time::Instant};

/// Turns of a measurement and its baselines; an odd number.
const TURNS: usize = 3;
/// Events in the log that is replayed and projected.
const EVENTS: u64 = 100_000;

struct Node {
    log: Arc<JetStreamLog>,
    keys: Arc<KeyStore>,
    commands: Commands,
    credentials: Credentials,
}

async fn node(nats: &Nats, folder: &Path) -> Node {
    let control = Arc::new(ControlStore::open(&folder.join("control.sqlite")).expect("opens"));
    let credentials = nats.account();
    let options = nats.options(credentials.clone(), folder);
    let log = JetStreamLog::open(options, control).await.expect("opens");
    let keys = Arc::new(KeyStore::open(&folder.join("keys")).expect("opens"));
    let commands = Commands::new(log.clone(), keys.clone(), Clock::default(), CommandOptions::default());
    Node { log, keys, commands, credentials }
}

fn measured(bench: &'static str, unit: &'static str, value: f64, rows: u64, case: String) -> Measurement {
    Measurement::new(bench, "jetstream+postgres", unit, value, rows, case)
}

/// `BENCH_PART` takes one part: `bare`, `postgres` or `replay`.
pub async fn run() -> Vec<Measurement> {
    let chosen = |name: &str| std::env::var("BENCH_PART").map_or(true, |part| part == name);
    let mut results = Vec::new();
    let folder = tempfile::tempdir().expect("a folder");
    for servers in [1, 3].into_iter().filter(|_| chosen("bare")) {
        let nats = Nats::start(servers);
        for callers in [1, 64, 256] {
            results.push(appended(&nats, servers, callers, folder.path()).await);
        }
    }
    let postgres = Postgres::start(Durability::Synced);
    if chosen("postgres") {
        results.extend(beside_postgres(&postgres, folder.path()).await);
    }
    if chosen("replay") {
        results.extend(replayed(&postgres, folder.path()).await);
    }
    results
}

/// Commands beside cqrs-es on postgres-es: of the same number of callers, with the connections that it
/// is shipped with and with as many as it is fastest with. By turns, and of each the middle one.
async fn beside_postgres(postgres: &Postgres, folder: &Path) -> Vec<Measurement> {
    let connections = [10, 64];
    let mut results = Vec::new();
    for callers in [256, 1024] {
        let (mut ours, mut theirs) = (Vec::new(), connections.map(|_| Vec::new()));
        for turn in 0..TURNS {
            let nats = Nats::start(1);
            let node = node(&nats, &folder.join(format!("{callers}-{turn}-beside-postgres"))).await;
            ours.push(commands::driven(&node.commands, callers).await);
            drop((node, nats));
            for (connections, theirs) in connections.into_iter().zip(&mut theirs) {
                theirs.push(bare::cqrs_commands(&postgres.database(), callers, connections).await);
            }
        }
        ours.sort_by(|one, other| one.0.total_cmp(&other.0));
        let (rate, histogram, total) = ours.swap_remove(TURNS / 2);
        for (connections, mut theirs) in connections.into_iter().zip(theirs) {
            theirs.sort_by(f64::total_cmp);
            let case = format!(
                "callers={callers}, one server, baseline=cqrs-es on postgres-es with {connections} connections, fsync on"
            );
            let measured = measured("commands", "commands/s", rate, total, case);
            results.push(measured.beside(theirs[TURNS / 2]).timed(&histogram));
        }
    }
    results
}

/// Commands, then as many outstanding messages of the same size by a bare publisher.
async fn appended(nats: &Nats, servers: usize, callers: usize, folder: &Path) -> Measurement {
    let node = node(nats, &folder.join(format!("{servers}-{callers}"))).await;
    let (rate, histogram, total) = commands::driven(&node.commands, callers).await;
    let client = bare::client(nats, &node.credentials).await;
    let size = bare::message_size(client).await;
    // An account of its own, with a stream of the same settings.
    let other = self::node(nats, &folder.join(format!("{servers}-{callers}-bare"))).await;
    let client = bare::client(nats, &other.credentials).await;
    let theirs = bare::batches(client, callers, size).await;
    let case = format!(
        "callers={callers}, R{servers}, sync_interval=always, baseline=bare atomic batches of {callers} messages of {size} bytes"
    );
    measured("commands", "commands/s", rate, total, case).beside(theirs).timed(&histogram)
}

async fn replayed(postgres: &Postgres, folder: &Path) -> Vec<Measurement> {
    let nats = Nats::start(1);
    let node = node(&nats, &folder.join("replay")).await;
    let events = number("BENCH_EVENTS", EVENTS);
    rebuild::filled(&node.commands, events).await;
    let head = node.log.head(0).await.expect("a head").sequence;

    // Twice each, by turns; the better one counts: the first to read fills the server's cache.
    let (mut ours, mut theirs) = (0.0_f64, 0.0_f64);
    for _ in 0..2 {
        let started = Instant::now();
        let mut deliveries = node.log.subscribe(0, 0, Filter::default());
        let mut seen = 0;
        while seen < head {
            if let Delivery::Commit(commit) = deliveries.next().await.expect("goes on").expect("reads") {
                seen = commit.position.sequence;
            }
        }
        ours = ours.max(head as f64 / started.elapsed().as_secs_f64());
        let client = bare::client(&nats, &node.credentials).await;
        theirs = theirs.max(bare::consumed(client, head).await);
    }
    let case = "baseline=bare ordered consumer".to_owned();
    let replay = measured("replay", "commits/s", ours, head, case).beside(theirs);

    let mut options = Options::new(folder.join("projected"));
    let address = Address::parse(&postgres.database()).expect("an address");
    options.read_models = Location::Postgres(PostgresOptions::new(address));
    let started = Instant::now();
    let projections = Service::start(options, node.log.clone(), node.keys.clone()).await.expect("starts");
    loop {
        let states = projections.status().await.expect("a status");
        if states.iter().all(|state| state.name != READ_MODELS || state.position.sequence >= head) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let ours = head as f64 / started.elapsed().as_secs_f64();
    projections.shutdown().await;
    let theirs = bare::postgres_views(&postgres.database(), 5_000).await;
    let case = "baseline=a view read and written event by event, as cqrs-es replays".to_owned();
    let projected = measured("rebuild", "events/s", ours, head, case).beside(theirs);
    vec![replay, projected]
}
