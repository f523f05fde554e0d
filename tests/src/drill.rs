//! An installation of two nodes under load, for tests that break parts of it and measure how long
//! clients are without service.

use crate::{
    client::Client,
    cluster::Cluster,
    load::{Caller, LIMIT, Load},
    node::Node,
    server::run_in,
};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Clients at each gateway.
const CLIENTS: usize = 12;
const AGAIN: Duration = Duration::from_millis(20);

/// How long one gateway was without service, in milliseconds since a fault or its end.
struct Row {
    event: String,
    gateway: String,
    /// To the first acknowledged command.
    write: u128,
    /// To a read that shows it.
    read: u128,
    /// To the unified views that show it.
    views: u128,
}

/// The installation, its load and what was measured.
pub struct Drill {
    pub nodes: Vec<Node>,
    pub load: Load,
    rows: Vec<Row>,
    probes: usize,
    /// Last: the nodes end before their servers.
    pub cluster: Cluster,
}

impl Drill {
    /// Starts two nodes, the first with settings of its own, registers an organisation and lets clients
    /// work.
    pub async fn start(cluster: Cluster, own: &[(&str, String)]) -> Self {
        let nodes = vec![Node::start(&cluster, "one", own).await, Node::start(&cluster, "two", &[]).await];
        let owner = Client::registered(&nodes[0].url(), "Northwind", "owner@northwind.example").await;
        let file = cluster.inbox().join("accounts.csv");
        std::fs::write(&file, "account_id,name\nA1,One\n").expect("writes");
        // A key, not a session: no clock ends it.
        let key = owner.post("/api-keys", json!({ "name": "drill", "role": "owner" })).await.expect(201);
        let urls: Vec<String> = nodes.iter().map(Node::url).collect();
        let key = key["key"].as_str().expect("a key");
        let load = Load::start(Caller::new(&urls, key, &file.display().to_string()), CLIENTS);
        let drill = Self { nodes, load, rows: Vec::new(), probes: 0, cluster };
        drill.load.flow(100).await;
        drill
    }

    /// Waits until commands are acknowledged at these gateways again, and shown, and notes how long
    /// that took from now.
    pub async fn returned(&mut self, event: &str, gateways: &[usize]) {
        self.probes += 1;
        let began = Instant::now();
        let caller = &self.load.caller;
        let probe = self.probes;
        let measured = join_all(gateways.iter().map(|gateway| async move {
            let made = caller.create(&format!("probe {probe} {gateway}"), &[*gateway], false).await;
            let (id, position) = made.unwrap_or_else(|| panic!("{event}: no command is acknowledged"));
            let write = began.elapsed().as_millis();
            let client = &caller.gateways[*gateway];
            let shown = async |path: String| {
                until_shown(client, &path).await;
                began.elapsed().as_millis()
            };
            let read = shown(format!("/aam/connections/{id}?min_position={position}")).await;
            let views = shown(format!("/dcl/views?min_position={position}")).await;
            (*gateway, write, read, views)
        }));
        for (gateway, write, read, views) in measured.await {
            let gateway = self.nodes[gateway].name.clone();
            println!("{event:<44} {gateway:<4} {write:>7} {read:>7} {views:>7}");
            self.rows.push(Row { event: event.to_owned(), gateway, write, read, views });
        }
    }

    /// Some work that nothing disturbs.
    pub async fn flow(&self) {
        self.load.flow(60).await;
    }

    /// Ends the work and compares what was acknowledged with the log and with what is shown; then the
    /// nodes, and lets one that never saw the log check all of it.
    pub async fn end(self) {
        let Self { nodes, load, rows, cluster, .. } = self;
        let caller = load.stop().await;
        println!(
            "\n{:<44} {:<4} {:>7} {:>7} {:>7}",
            "milliseconds without", "node", "write", "read", "views"
        );
        for Row { event, gateway, write, read, views } in &rows {
            println!("{event:<44} {gateway:<4} {write:>7} {read:>7} {views:>7}");
        }
        println!("{} commands acknowledged; not at once: {:?}", caller.ledger.count(), caller.refusals());
        caller.check().await;
        drop(nodes);
        verified(&cluster, caller.ledger.count());
    }
}

async fn until_shown(client: &Client, path: &str) {
    let began = Instant::now();
    let mut last = None;
    while began.elapsed() < LIMIT {
        match client.try_send(client.request(reqwest::Method::GET, path)).await {
            Some(answer) if answer.status == 200 => return,
            answer => last = answer,
        }
        tokio::time::sleep(AGAIN).await;
    }
    panic!("`{path}` is not shown: {last:?}");
}

/// What the log says at the end, from a node of its own that never saw it before.
pub fn verified(cluster: &Cluster, at_least: usize) {
    let data_dir = cluster.data_dir("verifier").display().to_string();
    let (code, said, complaint) =
        run_in(&["verify", "--json", "--data-dir", &data_dir], cluster.environment());
    assert_eq!(code, 0, "{said}{complaint}");
    let report: Value = serde_json::from_str(said.trim()).expect("JSON");
    assert_eq!(report["ok"], true, "{report}");
    assert!(report["commits_checked"].as_u64().is_some_and(|count| count as usize > at_least), "{report}");
    println!("{} commits verified", report["commits_checked"]);
}
