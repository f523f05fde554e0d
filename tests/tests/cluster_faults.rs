//! Faults, one after another, on real processes under load: three nats-servers, Postgres, two nodes.
//! Nothing acknowledged is lost, nothing is applied twice, and service returns by itself. How long
//! that took is printed, never asserted.

use autonomos_tests::{clock::Clock, cluster::Cluster, disk::Disk, drill::Drill, proxy::Link};
use std::time::Duration;
use tokio::sync::Mutex;

/// One installation at a time: they would measure each other.
static TURN: Mutex<()> = Mutex::const_new(());

const STREAM: &str = "aos-cell-0";
const BOTH: &[usize] = &[0, 1];

fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

/// The number of the server that leads the cell's stream, once there is one.
async fn leader(cluster: &Cluster) -> usize {
    loop {
        if let Some(leader) = blocking(|| cluster.nats.leader(STREAM)) {
            return leader;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn processes_are_killed() {
    let _turn = TURN.lock().await;
    let mut drill = Drill::start(Cluster::start(), &[]).await;
    drill.returned("nothing", BOTH).await;

    let leader = leader(&drill.cluster).await;
    blocking(|| drill.cluster.nats.servers[leader].kill());
    drill.returned("the stream's leader is killed", BOTH).await;
    blocking(|| drill.cluster.nats.servers[leader].start_again());
    drill.returned("it is back", BOTH).await;
    drill.flow().await;

    // The first to start holds all leases: its death is the hardest one.
    drill.nodes[0].kill();
    drill.returned("a node is killed", &[1]).await;
    drill.nodes[0].start_again().await;
    drill.returned("it is back", BOTH).await;
    drill.flow().await;

    blocking(|| drill.cluster.postgres.kill());
    blocking(|| drill.cluster.postgres.start_again());
    drill.returned("Postgres was killed and is back", BOTH).await;
    drill.flow().await;

    blocking(|| drill.cluster.nats.servers.iter().for_each(autonomos_log::nats_server::Server::kill));
    blocking(|| drill.cluster.nats.start_again());
    drill.returned("all nats-servers were killed and are back", BOTH).await;
    drill.flow().await;
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_cut_slow_and_stalled() {
    let _turn = TURN.lock().await;
    let mut drill = Drill::start(Cluster::start(), &[]).await;

    drill.nodes[0].nats(Link::Cut);
    drill.returned("a node is cut off from the log", &[1]).await;
    drill.nodes[0].nats(Link::Open);
    drill.returned("it is reached again", BOTH).await;
    drill.flow().await;

    drill.nodes[1].postgres(Link::Cut);
    drill.returned("a node is cut off from Postgres", &[0]).await;
    drill.nodes[1].postgres(Link::Open);
    drill.returned("it is reached again", BOTH).await;
    drill.flow().await;

    drill.nodes.iter().for_each(|node| node.peers(Link::Cut));
    drill.load.flow(100).await;
    drill.nodes.iter().for_each(|node| node.peers(Link::Open));
    drill.returned("the nodes were cut off from each other", BOTH).await;
    drill.flow().await;

    drill.nodes[0].all(Link::Cut);
    drill.returned("a node is cut off from everything", &[1]).await;
    drill.nodes[0].all(Link::Open);
    drill.returned("it is reached again", BOTH).await;
    drill.flow().await;

    drill.nodes.iter().for_each(|node| node.all(Link::Slow(Duration::from_millis(50))));
    drill.returned("every link takes 50 ms each way", BOTH).await;
    drill.flow().await;
    drill.nodes.iter().for_each(|node| node.all(Link::Open));
    drill.returned("and no more", BOTH).await;

    for node in 0..2 {
        drill.nodes[node].all(Link::Stalled);
        drill.load.flow(40).await;
        drill.nodes[node].all(Link::Open);
        drill.returned("a node's links were stalled, all comes late", BOTH).await;
    }
    drill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disks_fill_up_and_clocks_jump() {
    let _turn = TURN.lock().await;
    let cluster = Cluster::start();
    // Before anything is stored: small disks in the place of the servers' stores.
    blocking(|| cluster.nats.servers.iter().for_each(autonomos_log::nats_server::Server::kill));
    let disks: Vec<Disk> = cluster
        .nats
        .servers
        .iter()
        .map(|server| {
            let _ = std::fs::remove_dir_all(server.store());
            Disk::mount(&server.store(), 160)
        })
        .collect();
    blocking(|| cluster.nats.start_again());
    let node_disk = Disk::mount(&cluster.data_dir("one"), 160);
    let clocks = tempfile::tempdir().expect("a folder");
    let clock = Clock::new(clocks.path());
    let mut drill = Drill::start(cluster, &clock.environment()).await;

    let leader = leader(&drill.cluster).await;
    disks[leader].fill();
    drill.returned("the disk of the stream's leader is full", BOTH).await;
    drill.flow().await;
    disks[leader].free();
    // What a server does whose disk was full: an operator frees it and starts the server again.
    blocking(|| drill.cluster.nats.servers[leader].kill());
    blocking(|| drill.cluster.nats.servers[leader].start_again());
    drill.returned("it has room again", BOTH).await;
    drill.flow().await;

    node_disk.fill();
    drill.returned("the disk of a node is full", &[1]).await;
    node_disk.free();
    drill.returned("it has room again", BOTH).await;
    drill.flow().await;

    for (event, seconds) in [
        ("a node's clock jumps three days ahead", 3 * 86_400),
        ("it jumps to an hour behind", -3_600),
        ("it is right again", 0),
    ] {
        clock.set(seconds);
        drill.returned(event, BOTH).await;
        drill.flow().await;
    }

    // What is left in the database when its clock jumps: leases that ran out, or that end in an hour.
    let database = drill.cluster.database_name().to_owned();
    for (event, change) in
        [("the database's clock jumps an hour ahead", "-"), ("the database's clock jumps an hour back", "+")]
    {
        let jump = format!("UPDATE autonomos.leases SET expires_at = expires_at {change} interval '1 hour'");
        blocking(|| drill.cluster.postgres.execute(&database, &jump)).expect("the database answers");
        drill.returned(event, BOTH).await;
        drill.flow().await;
    }
    drill.nodes[0].kill();
    let jump = "UPDATE autonomos.leases SET expires_at = expires_at + interval '1 hour'";
    blocking(|| drill.cluster.postgres.execute(&database, jump)).expect("the database answers");
    drill.returned("it jumps back as a node is killed", &[1]).await;
    drill.nodes[0].start_again().await;
    drill.returned("the node is back", BOTH).await;
    drill.end().await;
}
