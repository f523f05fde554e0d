//! A log of several cells on two nodes: each keeps some of the cells of every projection, any gateway
//! answers any tenant, and what a killed node kept the other goes on with, until it returns.

use autonomos_log::port::cell_of;
use autonomos_tests::{client::Client, cluster::Cluster, node::Node};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Duration,
};

const CELLS: u16 = 4;
const LIMIT: Duration = Duration::from_mins(2);
const PROJECTIONS: [&str; 2] = ["read_models", "dcl"];

/// An organisation with a connection to a file of its own.
struct Organization {
    client: Client,
    name: String,
    file: PathBuf,
    connection: String,
}

impl Organization {
    async fn register(cluster: &Cluster, urls: &[&str], number: usize) -> (u16, Self) {
        let (name, email) = (format!("Organisation {number}"), format!("owner@o{number}.example"));
        let client = Client::new(urls[0]).spread(urls).register(&name, &email).await;
        let me = client.get("/auth/me").await.expect(200);
        let id = me["tenant"]["id"].as_str().expect("an organisation has an id");
        let folder = cluster.tenants().join(id);
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("accounts.csv");
        let cell = cell_of(id.parse().expect("an id"), CELLS);
        (cell, Self { client, name, file, connection: String::new() })
    }

    /// Delivers an edition of its file, and waits until it is shown.
    async fn deliver(&mut self, edition: &str) {
        let rows = format!("account_id,name\nA1,{} {edition}\nA2,Other {edition}\n", self.name);
        std::fs::write(&self.file, rows).expect("writes");
        if self.connection.is_empty() {
            let path = self.file.display().to_string();
            self.connection = self.client.file_connection("accounts", &path).await;
        }
        let sync = self.client.sync(&self.connection).await;
        assert_eq!(sync["status"], "succeeded", "{sync}");
    }

    /// Both projections answer, of this organisation alone, at a gateway.
    async fn check(&self, url: &str, edition: &str) {
        let client = self.client.clone().spread(&[url]);
        let mut names: Vec<String> = client
            .rows("accounts", "")
            .await
            .iter()
            .map(|row| row["name"].as_str().expect("a name").to_owned())
            .collect();
        names.sort();
        assert_eq!(names, [format!("{} {edition}", self.name), format!("Other {edition}")]);
        let connections = client.get("/aam/connections").await.expect(200);
        let ids: Vec<&Value> = rows(&connections).iter().map(|row| &row["id"]).collect();
        assert_eq!(ids, [&json!(self.connection)]);
    }
}

fn rows(page: &Value) -> &[Value] {
    page["data"].as_array().expect("a page has data")
}

/// How every projection stands in every cell, as this gateway tells.
async fn states(client: &Client) -> BTreeMap<(String, u64), Value> {
    let page = client.get("/ops/projections").await.expect(200);
    let key = |row: &Value| {
        (row["name"].as_str().expect("a name").to_owned(), row["cell"].as_u64().expect("a cell"))
    };
    let states: BTreeMap<_, _> = rows(&page).iter().map(|row| (key(row), row.clone())).collect();
    assert_eq!(states.len(), PROJECTIONS.len() * usize::from(CELLS), "{page}");
    states
}

/// Asks until what every gateway tells is as it should be.
async fn told(clients: &[Client], what: &str, is_so: impl Fn(&BTreeMap<(String, u64), Value>) -> bool) {
    let asked = async {
        for client in clients {
            while !is_so(&states(client).await) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    };
    if tokio::time::timeout(LIMIT, asked).await.is_err() {
        let mut last = Vec::new();
        for client in clients {
            last.push((&client.url, states(client).await));
        }
        panic!("{what}: not in time: {last:?}");
    }
}

/// The cells of each projection, counted by the node that keeps them and shows them.
fn counts(states: &BTreeMap<(String, u64), Value>) -> BTreeMap<(String, String), usize> {
    let mut counts = BTreeMap::new();
    for ((name, _), state) in states {
        let node = state["node"].as_str().and_then(|owner| Some(owner.rsplit_once('-')?.0));
        if let Some(node) = node.filter(|_| state["status"] == "live") {
            *counts.entry((name.clone(), node.to_owned())).or_default() += 1;
        }
    }
    counts
}

/// Waits until the nodes keep so many cells of each projection.
async fn spread(clients: &[Client], nodes: &[(&str, usize)]) {
    let mut expected = BTreeMap::new();
    for name in PROJECTIONS {
        expected.extend(nodes.iter().map(|(node, count)| ((name.to_owned(), (*node).to_owned()), *count)));
    }
    told(clients, "the cells spread", |states| counts(states) == expected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_spread_over_nodes_and_outlive_each_of_them() {
    let cluster = Cluster::start();
    let own = [("AOS_CELLS", CELLS.to_string())];
    let mut one = Node::start(&cluster, "one", &own).await;
    let two = Node::start(&cluster, "two", &own).await;
    let urls = [one.url(), two.url()];
    let both: Vec<&str> = urls.iter().map(String::as_str).collect();

    // The first one is the operators'.
    let mut organizations = Vec::new();
    let mut cells = BTreeSet::new();
    for number in 1.. {
        let (cell, organization) = Organization::register(&cluster, &both, number).await;
        if cells.insert(cell) || number == 1 {
            organizations.push(organization);
        }
        if cells.len() == usize::from(CELLS) {
            break;
        }
    }
    let operators: Vec<Client> =
        both.iter().map(|url| organizations[0].client.clone().spread(&[*url])).collect();
    spread(&operators, &[("one", 2), ("two", 2)]).await;
    let deliver = async |organizations: &mut Vec<Organization>, edition: &str, urls: &[&str]| {
        for organization in organizations.iter_mut() {
            organization.client = organization.client.clone().spread(urls);
            organization.deliver(edition).await;
        }
        for organization in &*organizations {
            for url in urls {
                organization.check(url, edition).await;
            }
        }
    };
    deliver(&mut organizations, "first", &both).await;
    orders_reach_all_owners(&operators).await;
    deliver(&mut organizations, "second", &both).await;

    // Killed: the other one takes all cells, also beyond its share.
    one.kill();
    deliver(&mut organizations, "third", &both[1..]).await;
    spread(&operators[1..], &[("two", 4)]).await;

    // Back: it gets its share again.
    one.start_again().await;
    spread(&operators, &[("one", 2), ("two", 2)]).await;
    deliver(&mut organizations, "fourth", &both).await;
    drop((one, two));
}

/// Orders of an operator at either gateway act on the cells of both nodes.
async fn orders_reach_all_owners(operators: &[Client]) {
    for (name, client) in PROJECTIONS.into_iter().zip(operators.iter().rev()) {
        let are = |status: &'static str| {
            move |states: &BTreeMap<(String, u64), Value>| {
                states.iter().all(|((of, _), state)| of != name || state["status"] == status)
            }
        };
        let order = async |order: &str, status: u16| {
            client.post(&format!("/ops/projections/{name}/{order}"), json!({})).await.expect(status)
        };
        // Of a projection that other nodes look at in the store, the store does not say that it stands still:
        // its owner does.
        order("pause", 202).await;
        told(operators, "all cells stand still", are("paused")).await;
        order("resume", 202).await;
        told(operators, "all cells go on", are("live")).await;
        let generations = |states: &BTreeMap<(String, u64), Value>| -> Vec<u64> {
            let of_name = states.iter().filter(|((of, _), _)| of == name);
            of_name.map(|(_, state)| state["generation"].as_u64().expect("a number")).collect()
        };
        let before = generations(&states(client).await);
        let begun = order("rebuild", 202).await;
        assert_eq!(begun, json!({ "name": name, "status": "rebuilding" }));
        told(operators, "all cells are rebuilt", |states| {
            let now = generations(states);
            are("live")(states) && now.iter().zip(&before).all(|(now, before)| now > before)
        })
        .await;
        let of_name = |states: &BTreeMap<(String, u64), Value>, is: fn(&Value) -> bool| {
            states.iter().filter(|((of, _), _)| of == name).any(|(_, state)| is(state))
        };
        // One that was over everywhere before it could be told is begun again.
        while client.post(&format!("/ops/projections/{name}/rebuild/pause"), json!({})).await.status != 202 {
            client.post(&format!("/ops/projections/{name}/rebuild"), json!({})).await;
        }
        told(operators, "a rebuild stands still", |states| {
            of_name(states, |state| state["rebuild_paused"] == true)
        })
        .await;
        order("rebuild/resume", 202).await;
        told(operators, "no rebuild is left", |states| {
            are("live")(states) && !of_name(states, |state| state["rebuild_progress"].is_number())
        })
        .await;
        let aborted = client.delete(&format!("/ops/projections/{name}/rebuild")).await;
        assert_eq!(aborted.status, 409, "{}", aborted.body);
        // Nobody is parked, in no cell.
        order("skip", 409).await;
    }
    let unknown = operators[0].post("/ops/projections/none/pause", json!({})).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
}
