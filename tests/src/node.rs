//! A node among others that reaches its servers, and is reached, over links a test can disturb.

use crate::{
    cluster::Cluster,
    proxy::{Link, Proxy},
    server::{Server, Start},
};
use std::{path::PathBuf, time::Duration};

/// How long a start may take, until a test gives up.
const START: Duration = Duration::from_mins(3);
const ROLES: &str = "gateway,worker,projector";

/// The node's process and its links.
pub struct Node {
    pub name: String,
    server: Option<Server>,
    data_dir: PathBuf,
    environment: Vec<(String, String)>,
    /// To each of the log's servers.
    nats: Vec<Proxy>,
    postgres: Proxy,
    /// By which the other nodes reach it.
    peers: Proxy,
    /// By which clients do: the same address after a restart.
    front: Proxy,
}

impl Node {
    /// Starts a node of a cluster, with settings of its own.
    pub async fn start(cluster: &Cluster, name: &str, own: &[(&str, String)]) -> Self {
        let mut nats = Vec::new();
        for server in &cluster.nats.servers {
            nats.push(Proxy::of(server.port).await);
        }
        let postgres = Proxy::of(cluster.postgres.port).await;
        let (peers, front) = (Proxy::start().await, Proxy::start().await);
        let ports: Vec<u16> = nats.iter().map(|proxy| proxy.port).collect();
        let mut environment = cluster.environment();
        environment.extend(
            [
                ("AOS_NATS_URL", cluster.nats_url(&ports)),
                ("AOS_DATABASE_URL", cluster.database_url(postgres.port)),
                ("AOS_ADVERTISE_URL", format!("http://127.0.0.1:{}", peers.port)),
                ("AOS_NODE_ID", name.to_owned()),
                ("AOS_ROLES", ROLES.to_owned()),
                // The clients of a drill are one tenant's.
                ("AOS_RATE_LIMIT_PER_MINUTE", "1000000".to_owned()),
            ]
            .iter()
            .chain(own)
            .map(|(key, value)| ((*key).to_owned(), value.clone())),
        );
        let data_dir = cluster.data_dir(name);
        let mut node =
            Self { name: name.to_owned(), server: None, data_dir, environment, nats, postgres, peers, front };
        node.start_again().await;
        node
    }

    /// Where clients reach it.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.front.port)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        drop(self.server.take().map(Server::kill));
    }

    /// Starts it again and waits until it is ready.
    pub async fn start_again(&mut self) {
        let (data_dir, environment) = (self.data_dir.clone(), self.environment.clone());
        let starting = tokio::task::spawn_blocking(move || {
            let mut start = Start::serve(&data_dir);
            start.environment = environment;
            start.run()
        });
        let started = tokio::time::timeout(START, starting).await.expect("a node starts in time");
        let server = started.expect("a start ends").unwrap_or_else(|said| panic!("`{}`: {said}", self.name));
        let port = server.url.rsplit(':').next().and_then(|port| port.trim_end_matches('/').parse().ok());
        let port = port.expect("a node says where it listens");
        self.peers.lead_to(port);
        self.front.lead_to(port);
        self.server = Some(server);
    }

    /// The links to the log's servers.
    pub fn nats(&self, link: Link) {
        for proxy in &self.nats {
            proxy.set(link);
        }
    }

    /// The link to Postgres.
    pub fn postgres(&self, link: Link) {
        self.postgres.set(link);
    }

    /// The link by which the other nodes reach it.
    pub fn peers(&self, link: Link) {
        self.peers.set(link);
    }

    /// All links to its servers and of its peers; not its clients'.
    pub fn all(&self, link: Link) {
        self.nats(link);
        self.postgres(link);
        self.peers(link);
    }
}
