//! All projections are built anew while clients write, a source delivers and readers of both nodes
//! look: no read fails, none is wrong, and what is swapped in is what was there.

#![expect(clippy::print_stdout, reason = "what was measured is for whoever reads the output")]

use autonomos_tests::{
    client::{Answer, Client},
    cluster::Cluster,
    drill::Drill,
    load::{LIMIT, list},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    fmt::Write as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const PROJECTIONS: [&str; 2] = ["read_models", "dcl"];
const ROWS: u64 = 1_000;

/// An edition in which every account has a thousand a head: a row of two editions would show.
fn deliver(folder: &Path, edition: u64) {
    let mut text = String::from("account_id,name,domain,annual_revenue,employee_count\n");
    for number in 0..ROWS {
        let heads = number % 97 + edition + 1;
        let revenue = heads * 1_000;
        let _ = writeln!(text, "A{number:04},Company {number},c{number}.example.com,{revenue},{heads}");
    }
    std::fs::write(folder.join("heads.part"), text).expect("writes");
    std::fs::rename(folder.join("heads.part"), folder.join("heads.csv")).expect("renames");
}

/// What a reader saw.
#[derive(Default)]
struct Seen {
    reads: AtomicUsize,
    /// 503 with `Retry-After`.
    later: AtomicUsize,
}

impl Seen {
    /// The answer to a read, unless it is to be asked for again.
    fn take(&self, answer: Option<Answer>) -> Option<Value> {
        let answer = answer.expect("a read is answered");
        if answer.status == 503 && answer.headers.contains_key("retry-after") {
            println!("come again: {}", answer.body);
            self.later.fetch_add(1, Ordering::AcqRel);
            return None;
        }
        self.reads.fetch_add(1, Ordering::AcqRel);
        Some(answer.expect(200))
    }
}

async fn get(client: &Client, path: &str) -> Option<Answer> {
    client.try_send(client.request(Method::GET, path)).await
}

fn rows(page: &Value) -> &[Value] {
    page["data"].as_array().expect("a page has data")
}

/// Reads the views: every account is there, once, of one edition.
async fn read_views(client: Client, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Acquire) {
        let Some(page) = seen.take(get(&client, "/dcl/views/accounts?limit=1000").await) else { continue };
        assert_eq!(rows(&page).len() as u64, ROWS);
        for row in rows(&page) {
            let (revenue, heads) = (row["annual_revenue"].as_f64(), row["employee_count"].as_f64());
            assert!(heads.is_some() && revenue == heads.map(|heads| heads * 1_000.0), "{row}");
        }
    }
}

/// Reads the read models: what was shown once is shown again.
async fn read_models(client: Client, seen: Arc<Seen>, stop: Arc<AtomicBool>) {
    let mut known: BTreeSet<String> = BTreeSet::new();
    while !stop.load(Ordering::Acquire) {
        let (mut now, mut cursor) = (BTreeSet::new(), String::new());
        let whole = loop {
            let path = format!("/aam/connections?limit=1000{cursor}");
            let Some(page) = seen.take(get(&client, &path).await) else { break false };
            now.extend(rows(&page).iter().filter_map(|row| row["id"].as_str().map(str::to_owned)));
            match page["meta"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break true,
            }
        };
        if whole {
            assert!(known.is_subset(&now), "{} were shown, now {}", known.len(), now.len());
            known = now;
        }
    }
}

/// The source delivers, again and again.
async fn sync_on(
    client: Client,
    folder: std::path::PathBuf,
    connection: String,
    stop: Arc<AtomicBool>,
) -> u64 {
    let mut editions = 0;
    while !stop.load(Ordering::Acquire) {
        editions += 1;
        deliver(&folder, editions);
        assert_eq!(client.sync(&connection).await["status"], "succeeded");
    }
    editions
}

/// The generation of a projection that is live, as far as any node tells.
async fn generation(clients: &[Client], name: &str) -> u64 {
    let mut generation = 0;
    for client in clients {
        let states = client.get("/ops/projections").await.expect(200);
        let of_name = rows(&states).iter().filter(|state| state["name"] == name);
        let numbers = of_name.filter_map(|state| state["generation"].as_u64());
        generation = numbers.chain([generation]).max().unwrap_or(generation);
    }
    generation
}

/// Builds every projection anew, asked for at either node, and waits for the swaps.
async fn rebuild_all(clients: &[Client]) {
    let mut before = Vec::new();
    for (name, client) in PROJECTIONS.into_iter().zip(clients.iter().rev()) {
        before.push((name, generation(clients, name).await));
        client.post(&format!("/ops/projections/{name}/rebuild"), json!({})).await.expect(202);
    }
    let began = Instant::now();
    for (name, before) in before {
        while generation(clients, name).await <= before {
            assert!(began.elapsed() < LIMIT, "`{name}` is rebuilt");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        println!("{name}: rebuilt after {} ms", began.elapsed().as_millis());
    }
}

/// The views as of a position, in every format.
async fn exports(client: &Client, position: &str) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for format in ["csv", "ndjson", "parquet", "arrow"] {
        let path = format!("/dcl/views/accounts/export?format={format}&as_of={position}");
        let answer = client.get(&path).await;
        assert_eq!(answer.status, 200, "{path}");
        all.push(answer.bytes);
    }
    all
}

/// Everything the read models show.
async fn shown(client: &Client, position: &str) -> Vec<Vec<Value>> {
    let mut all = Vec::new();
    for path in
        ["/aam/connections", "/users", "/api-keys", "/tasks", "/history", "/aam/drift", "/aam/repairs"]
    {
        all.push(list(client, path, position).await);
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_are_rebuilt_under_load() {
    let drill = Drill::start(Cluster::start(), &[]).await;
    let patient = |client: &Client| client.at(&client.url);
    let clients: Vec<Client> = drill.load.caller.gateways.iter().map(patient).collect();
    let folder = drill.cluster.inbox();
    deliver(&folder, 0);
    let path = folder.join("heads.csv").display().to_string();
    let spread = clients[0].clone().spread(&[&clients[0].url, &clients[1].url]);
    let connection = spread.file_connection("heads", &path).await;
    assert_eq!(spread.sync(&connection).await["status"], "succeeded");
    let position = spread.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
    let before = exports(&clients[0], &position).await;

    let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
    let mut readers = Vec::new();
    for client in &clients {
        readers.push(tokio::spawn(read_views(client.clone(), Arc::clone(&seen), Arc::clone(&stop))));
        readers.push(tokio::spawn(read_models(client.clone(), Arc::clone(&seen), Arc::clone(&stop))));
    }
    let source = tokio::spawn(sync_on(spread.clone(), folder, connection, Arc::clone(&stop)));
    for _ in 0..2 {
        rebuild_all(&clients).await;
        drill.flow().await;
        for client in &clients {
            assert!(exports(client, &position).await == before, "as of {position} nothing changed");
        }
    }
    stop.store(true, Ordering::Release);
    for reader in readers {
        reader.await.expect("no read was wrong");
    }
    let editions = source.await.expect("every sync succeeded");
    println!(
        "{} reads, {} told to come again, {editions} editions",
        seen.reads.load(Ordering::Acquire),
        seen.later.load(Ordering::Acquire)
    );

    // Quiet: all that is shown is the same after another one, too.
    let caller = drill.load.stop().await;
    let (_, position) = caller.create("quiet", &[0], false).await.expect("it is made");
    clients[0].shown(&position).await;
    let (views, models) = (exports(&clients[0], &position).await, shown(&clients[0], &position).await);
    rebuild_all(&clients).await;
    for client in &clients {
        assert!(exports(client, &position).await == views, "the views are what they were");
        for (now, before) in shown(client, &position).await.iter().zip(&models) {
            assert!(now == before, "the read models are what they were");
        }
    }
    drop(drill.nodes);
    autonomos_tests::drill::verified(&drill.cluster, caller.ledger.count());
}
