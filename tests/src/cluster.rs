//! An installation of several nodes: three nats-servers, Postgres, and what the nodes share: a folder,
//! and where a test asks for it a bucket.

use crate::server::{Server, Start};
use autonomos_log::{
    jetstream::Credentials,
    nats_server::Nats,
    postgres_server::{Durability, Postgres},
};
use autonomos_objects::moto::Moto;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What all nodes need; it ends with the last use.
pub struct Cluster {
    pub nats: Arc<Nats>,
    pub postgres: Arc<Postgres>,
    account: (String, String),
    database: String,
    folder: tempfile::TempDir,
    /// Where snapshots go, if not to the shared folder.
    bucket: Option<Bucket>,
}

/// A bucket, its server, and the file with the secret of its key.
struct Bucket {
    moto: Arc<Moto>,
    name: String,
    secret: PathBuf,
}

/// Lines of a node's log that a failed test shows.
const COMPLAINTS: usize = 60;

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.complaints());
        }
    }
}

impl Cluster {
    /// Starts the servers.
    pub fn start() -> Self {
        let nats = Nats::start(3);
        let Credentials::User { user, password } = nats.account() else { panic!("an account has a user") };
        let postgres = Postgres::start(Durability::Unsynced);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("inbox")).expect("a folder");
        let database = postgres.database();
        Self { account: (user, password), database, nats, postgres, folder, bucket: None }
    }

    /// The same, with snapshots in a bucket.
    pub fn start_with_bucket() -> Self {
        let mut cluster = Self::start();
        let moto = Moto::start();
        let secret = cluster.folder.path().join("bucket.key");
        std::fs::write(&secret, "s3cret\n").expect("writes");
        cluster.bucket = Some(Bucket { name: moto.bucket(), moto, secret });
        cluster
    }

    /// The log's servers, reached at these ports.
    pub fn nats_url(&self, ports: &[u16]) -> String {
        let (user, password) = &self.account;
        let address = |port: &u16| format!("nats://{user}:{password}@127.0.0.1:{port}");
        ports.iter().map(address).collect::<Vec<String>>().join(",")
    }

    /// Postgres, reached at this port.
    pub fn database_url(&self, port: u16) -> String {
        self.database.replace(&format!(":{}/", self.postgres.port), &format!(":{port}/"))
    }

    /// The database's name, for what a test does in it as the superuser.
    pub fn database_name(&self) -> &str {
        self.database.rsplit('/').next().unwrap_or_default()
    }

    /// A folder the nodes' file connections may read.
    pub fn inbox(&self) -> PathBuf {
        self.folder.path().join("inbox")
    }

    /// The folder below which each tenant has one that its file connections alone may read.
    pub fn tenants(&self) -> PathBuf {
        self.folder.path().join("tenants")
    }

    /// A node's own folder.
    pub fn data_dir(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The settings every node has.
    pub fn environment(&self) -> Vec<(String, String)> {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        let monitoring = |port: u16| format!("http://127.0.0.1:{port}");
        let pages: Vec<String> =
            self.nats.servers.iter().map(|server| monitoring(server.monitoring)).collect();
        let ports: Vec<u16> = self.nats.servers.iter().map(|server| server.port).collect();
        let settings = [
            ("AOS_NATS_URL", self.nats_url(&ports)),
            ("AOS_NATS_REPLICAS", self.nats.servers.len().to_string()),
            ("AOS_NATS_MONITORING", pages.join(",")),
            ("AOS_DATABASE_URL", self.database.clone()),
            ("AOS_SHARED_DIR", at("shared")),
            ("AOS_MASTER_KEY_FILE", at("master.key")),
            ("AOS_FILE_ROOTS", format!("{}:{}/{{tenant}}", at("inbox"), at("tenants"))),
            ("AOS_UNIFIED_TABLES", "true".to_owned()),
        ];
        let bucket = self.bucket.iter().flat_map(|bucket| {
            [
                ("AOS_SNAPSHOTS", format!("s3://{}/cluster", bucket.name)),
                ("AOS_S3_ENDPOINT", bucket.moto.endpoint()),
                ("AOS_S3_ACCESS_KEY_ID", "autonomos".to_owned()),
                ("AOS_S3_SECRET_ACCESS_KEY_FILE", bucket.secret.display().to_string()),
            ]
        });
        settings.into_iter().chain(bucket).map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Files and objects that snapshots lie in.
    pub fn snapshots(&self) -> usize {
        let Some(bucket) = &self.bucket else {
            return count(&self.folder.path().join("shared/snapshots"));
        };
        let list = format!("/{}?list-type=2&prefix=cluster/views/", bucket.name);
        let listed = bucket.moto.request("GET", &list, b"").expect("the server answers");
        listed.matches("<Key>").count()
    }

    /// Starts a node and waits until it is ready.
    pub fn node(&self, name: &str, roles: &str) -> Server {
        let data_dir = self.data_dir(name);
        self.start_node(&data_dir, name, roles).unwrap_or_else(|said| panic!("node `{name}`: {said}"))
    }

    /// What the nodes complained about last.
    fn complaints(&self) -> String {
        let mut said = String::new();
        for file in std::fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if file.path().extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let text = std::fs::read_to_string(file.path()).unwrap_or_default();
            // Requests that failed are the test's to tell.
            let is_complaint = |line: &&str| !line.contains("INFO") && !line.contains("http::");
            let complaints: Vec<&str> = text.lines().filter(is_complaint).collect();
            let last = complaints[complaints.len().saturating_sub(COMPLAINTS)..].join("\n");
            said = format!("{said}\n{}:\n{last}\n", file.file_name().display());
        }
        said
    }

    fn start_node(&self, data_dir: &Path, name: &str, roles: &str) -> Result<Server, String> {
        let mut start = Start::serve(data_dir).with("AOS_NODE_ID", name).with("AOS_ROLES", roles);
        start.environment.extend(self.environment());
        start.run()
    }
}

/// Files below a folder.
fn count(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.map(|path| if path.is_dir() { count(&path) } else { 1 }).sum()
}
