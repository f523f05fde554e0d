//! The main job on several nodes: three nats-servers, Postgres, two nodes, requests spread over both;
//! then with a node killed, and with one paused, in the middle of it.

use autonomos_tests::{
    client::Client,
    cluster::Cluster,
    drill::verified,
    journey::main_job,
    server::{Server, run_in},
};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use std::{collections::BTreeSet, path::Path, time::Duration};

const ALL: &str = "gateway,worker,projector";
/// Commits that the main job makes, at least.
const COMMITS: usize = 20;

async fn owner(cluster_urls: &[&str]) -> Client {
    let client = Client::new(cluster_urls[0]).register("Northwind", "owner@northwind.example").await;
    client.spread(cluster_urls)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_on_two_nodes() {
    let cluster = Cluster::start();
    let (one, two) = (cluster.node("one", ALL), cluster.node("two", ALL));
    let client = owner(&[&one.url, &two.url]).await;
    main_job(&client, &cluster.inbox(), async || {}).await;
    what_one_node_decides_the_other_knows(&client, &one, &two, &cluster.inbox()).await;
    tools_of_a_tenant_see_its_rows(&cluster, &client).await;
    // The owner leaves the views' snapshots behind, as far as its time allows; the other one goes on from
    // what there is.
    let before = client.rows("accounts", "").await;
    one.stop();
    assert_eq!(client.clone().spread(&[&two.url]).rows("accounts", "").await, before);
    drop(two);
    verified(&cluster, COMMITS);
}

/// The unified views as tables, by the role of one tenant.
async fn tools_of_a_tenant_see_its_rows(cluster: &Cluster, client: &Client) {
    let me = client.get("/auth/me").await.expect(200);
    let tenant = me["tenant"]["id"].as_str().unwrap_or_else(|| panic!("{me}"));
    let data_dir = cluster.data_dir("operator").display().to_string();
    let arguments = ["projections", "role", tenant, "--json", "--data-dir", &data_dir];
    let (code, said, complaint) = run_in(&arguments, cluster.environment());
    assert_eq!(code, 0, "{said}{complaint}");
    let made: Value = serde_json::from_str(said.trim()).expect("JSON");
    let role = made["role"].as_str().expect("a role");
    let allow = format!("ALTER ROLE {role} LOGIN PASSWORD 'tool'");
    cluster.postgres.execute("postgres", &allow).expect("the operator may");
    let database = cluster.database_name();
    let url = format!("postgres://{role}:tool@127.0.0.1:{}/{database}", cluster.postgres.port);
    let mut tool = PgConnection::connect(&url).await.expect("the tool signs in");
    let mut shown: Vec<String> = client
        .rows("accounts", "")
        .await
        .iter()
        .map(|row| row["id"].as_str().expect("an id").to_owned())
        .collect();
    shown.sort();
    let followed = async {
        loop {
            let select = "SELECT id::text FROM aos_unified.accounts ORDER BY id::text COLLATE \"C\"";
            let rows: Vec<String> = sqlx::query_scalar(select).fetch_all(&mut tool).await.expect("reads");
            if rows == shown {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), followed).await.expect("the tables follow the views");
}

/// What lives beside the log is shared: tickets, revocation, remembered requests.
async fn what_one_node_decides_the_other_knows(client: &Client, one: &Server, two: &Server, inbox: &Path) {
    let (at_one, at_two) = (client.at(&one.url), client.at(&two.url));
    // A ticket of one node opens a stream at the other, once.
    let ticket = at_one.post("/events/ticket", json!({})).await.expect(201)["ticket"].clone();
    let ticket = ticket.as_str().expect("a ticket").to_owned();
    let path = format!("/events/stream?from=now&ticket={ticket}");
    let nobody = Client::new(&two.url);
    let opened = nobody.request(reqwest::Method::GET, &path).send().await.expect("an answer");
    assert_eq!(opened.status(), 200);
    let again = nobody.request(reqwest::Method::GET, &path).send().await.expect("an answer");
    assert_eq!(again.status(), 401);
    drop(opened);

    // A request repeated at another node is recognised there.
    let config = json!({ "path": inbox.join("accounts.csv").display().to_string() });
    let body = json!({ "name": "twice", "connector": "file", "config": config });
    let repeat = async |client: &Client| {
        let request = client.request(reqwest::Method::POST, "/aam/connections").json(&body);
        client.try_send(request.header("idempotency-key", "the-same")).await.expect("an answer")
    };
    let (first, second) = (repeat(&at_one).await, repeat(&at_two).await);
    let replayed = second.headers.get("idempotency-replayed").cloned();
    let (first, second) = (first.expect(201), second.expect(201));
    assert_eq!((first["id"].clone(), replayed.is_some()), (second["id"].clone(), true));

    // What is written at one is read at the other, from its position on.
    for (writer, reader) in [(&at_one, &at_two), (&at_two, &at_one)] {
        let body = json!({ "email": format!("{}@northwind.example", uuid()), "password": "correct-horse-battery", "role": "viewer" });
        let made = writer.post("/users", body).await;
        let position = made.position().expect("a write says where it stands");
        let id = made.expect(201)["id"].clone();
        let users = reader.get(&format!("/users?limit=1000&min_position={position}")).await.expect(200);
        let ids: BTreeSet<String> = users["data"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|user| user["id"].as_str().map(str::to_owned))
            .collect();
        assert!(ids.contains(id.as_str().expect("an id")), "{users}");
    }

    // Signed out at one, refused at the other.
    let login = json!({ "email": "owner@northwind.example", "password": "correct-horse-battery" });
    let session = at_one.post("/auth/login", login).await.expect(200);
    let token = session["access_token"].as_str().expect("a token").to_owned();
    let signed_in = |server: &Server| Client { token: Some(token.clone()), ..Client::new(&server.url) };
    signed_in(two).get("/auth/me").await.expect(200);
    signed_in(one).post("/auth/logout", json!({})).await;
    let refused = async {
        while signed_in(two).get("/auth/me").await.status != 401 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), refused).await.expect("the other node refuses it too");
}

fn uuid() -> String {
    format!("{:x}", rand::random::<u64>())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_while_a_node_is_killed() {
    let cluster = Cluster::start();
    // The first to start holds all leases: its death is the hardest one.
    let one = cluster.node("one", ALL);
    let two = cluster.node("two", ALL);
    let client = owner(&[&one.url, &two.url]).await;
    let mut doomed = Some(one);
    main_job(&client, &cluster.inbox(), async || {
        doomed.take().expect("it runs").kill();
    })
    .await;
    drop(two);
    verified(&cluster, COMMITS);
}

/// The node that keeps the views leaves a snapshot when it is stopped, goes on behind it when it is
/// started again, and is killed: the other one has nothing but that snapshot and the log.
async fn views_are_taken_over_from_a_snapshot_and_the_tail(cluster: Cluster) {
    let one = cluster.node("one", ALL);
    let client = owner(&[&one.url]).await;
    let file = cluster.inbox().join("accounts.csv");
    let deliver = |last: usize| {
        let row = |number| format!("A{number},Company {number} Ltd,{}\n", number * 1000);
        let rows: String = (1..=last).map(row).collect();
        let part = file.with_extension("part");
        std::fs::write(&part, format!("account_id,name,annual_revenue\n{rows}")).expect("writes");
        std::fs::rename(&part, &file).expect("renames");
    };
    deliver(20);
    let connection = client.file_connection("inbox", &file.display().to_string()).await;
    let chosen =
        json!({ "streams": [{ "name": "accounts", "sync_mode": "incremental", "entity": "account" }] });
    client.put(&format!("/aam/connections/{connection}/streams"), chosen).await.expect(200);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    assert_eq!(client.rows("accounts", "").await.len(), 20);
    assert_eq!(cluster.snapshots(), 0);
    one.stop();
    let taken = cluster.snapshots();
    assert!(taken >= 2, "of the tenant, and of the cell: {taken}");

    let one = cluster.node("one", ALL);
    let client = client.spread(&[&one.url]);
    deliver(25);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let position =
        client.get("/dcl/views/accounts?limit=1").await.position().expect("a read says what it shows");
    let before = client.rows("accounts", "").await;
    assert_eq!(before.len(), 25);
    assert_eq!(cluster.snapshots(), taken, "the tail is in the log alone");
    let two = cluster.node("two", ALL);
    one.kill();
    let client = client.spread(&[&two.url]);
    client.shown(&position).await;
    assert_eq!(client.rows("accounts", "").await, before);
    let metrics = client.http.get(format!("{}/metrics", two.url)).send().await.expect("an answer");
    let metrics = metrics.text().await.expect("text");
    assert!(metrics.lines().any(|line| line == "aos_snapshots_restored_total 1"), "{metrics}");
    drop(two);
    verified(&cluster, COMMITS);
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_taken_over_by_a_shared_folder() {
    views_are_taken_over_from_a_snapshot_and_the_tail(Cluster::start()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_are_taken_over_by_a_bucket() {
    views_are_taken_over_from_a_snapshot_and_the_tail(Cluster::start_with_bucket()).await;
}

/// A node that stands still loses its leases; when it wakes up, it changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_while_a_node_is_paused() {
    let cluster = Cluster::start();
    let one = cluster.node("one", ALL);
    let two = cluster.node("two", ALL);
    let client = owner(&[&two.url]).await;
    main_job(&client, &cluster.inbox(), async || one.pause()).await;
    let before = client.rows("accounts", "").await;
    one.resume();
    // It goes on as one that holds nothing, and answers what the others keep.
    let woken = client.clone().spread(&[&one.url]);
    assert_eq!(woken.rows("accounts", "").await, before);
    assert_eq!(client.rows("accounts", "").await, before);
    drop((one, two));
    verified(&cluster, COMMITS);
}

/// Each role on a node of its own; only one of them answers clients.
#[tokio::test(flavor = "multi_thread")]
async fn the_main_job_with_roles_apart() {
    let cluster = Cluster::start();
    let gateway = cluster.node("gateway", "gateway");
    let worker = cluster.node("worker", "worker");
    let projector = cluster.node("projector", "projector");
    let client = owner(&[&gateway.url]).await;
    main_job(&client, &cluster.inbox(), async || {}).await;
    for server in [&worker, &projector] {
        let other = client.at(&server.url);
        assert_eq!(other.get("/healthz").await.status, 200);
        let answer = other.get("/aam/connections").await;
        assert_eq!((answer.status.as_u16(), answer.body["code"].as_str()), (503, Some("AOS-0523")));
    }
}
