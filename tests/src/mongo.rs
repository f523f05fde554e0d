//! Real servers of MongoDB's protocol for tests: SecantusDB, on a free port of the loopback, in a
//! temporary folder, ended by its own process id. A missing server fails the test.
//!
//! With `AOS_TEST_MONGODB_URL` in the environment (a connection string without a password, of a replica
//! set), `AOS_TEST_MONGODB_USER` and `AOS_TEST_MONGODB_PASSWORD`, and `AOS_TEST_MONGODB_TLS` as in the
//! connector's configuration, tests that neither kill the server nor set it up in a way of their own run
//! against that one, each in a database of its own, which it drops.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use mongodb::{Client, Database, bson::doc, options::ClientOptions};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};
use uuid::Uuid;

/// One server: its program may be ended and started again on the same folder.
pub struct Mongo {
    pub port: u16,
    folder: PathBuf,
    arguments: Vec<&'static str>,
    child: Mutex<Option<Child>>,
}

/// Where `scripts/setup.sh` puts the server's packages.
fn installed() -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let installed = folder("AOS_CACHE_DIR").unwrap_or_else(home).join("tools/secantus-0.7.0b3");
    assert!(
        installed.join("secantus").exists(),
        "`{}` is missing: run scripts/setup.sh",
        installed.display()
    );
    installed
}

impl Mongo {
    /// A server of one's own.
    pub fn start() -> Arc<Self> {
        Self::start_with(&[])
    }

    /// A server of one's own, started with these arguments too.
    pub fn start_with(arguments: &[&'static str]) -> Arc<Self> {
        let folder = std::env::temp_dir().join(format!("aos-mongo-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut server = Self { port: 0, folder, arguments: arguments.to_vec(), child: Mutex::new(None) };
        server.spawn(arguments);
        server.port = server.wait_ready();
        Arc::new(server)
    }

    /// A server that tests which run at the same time share; it ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Mongo>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Self::start();
        *shared = Arc::downgrade(&server);
        server
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn spawn(&self, arguments: &[&str]) {
        let log = std::fs::File::create(self.log()).unwrap();
        // Port 0 at first: it says which one it took, and keeps it.
        let child = Command::new("python3")
            .args(["-m", "secantus", "--host", "127.0.0.1", "--port", &self.port.to_string()])
            .arg("--storage-path")
            .arg(self.folder.join("data"))
            .args(arguments)
            .envs([("PYTHONPATH", installed()), ("TMPDIR", self.folder.clone())])
            .envs([("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
    }

    fn wait_ready(&self) -> u16 {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            let said = log.split_once("listening on ").and_then(|(_, said)| said.split_once('\n'));
            if let Some(port) = said.and_then(|(address, _)| address.rsplit(':').next()?.trim().parse().ok())
            {
                return port;
            }
            assert!(
                Instant::now() < deadline && !log.contains("Traceback"),
                "SecantusDB does not start:\n{log}"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server as `kill -9` does.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again, with what it was started with, and waits until it serves.
    pub fn start_again(&self) {
        self.start_again_with(&self.arguments);
    }

    /// Starts it again, with other arguments.
    pub fn start_again_with(&self, arguments: &[&str]) {
        self.spawn(arguments);
        self.wait_ready();
    }

    /// A database of one's own on it.
    pub async fn database(self: &Arc<Self>) -> Source {
        let uri = format!("mongodb://127.0.0.1:{}", self.port);
        Source::open(Some(Arc::clone(self)), uri, "", "", "disable").await
    }
}

impl Drop for Mongo {
    fn drop(&mut self) {
        self.kill();
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A database nobody else uses: how the connector is told of it, and a client behind the product's back.
pub struct Source {
    pub config: Value,
    pub database: Database,
    /// Held as long as it is used.
    _server: Option<Arc<Mongo>>,
    foreign: bool,
}

impl Source {
    /// On the server that the environment names, else on the shared one.
    pub async fn any() -> Self {
        let given = |name: &str| std::env::var(format!("AOS_TEST_MONGODB_{name}")).unwrap_or_default();
        let uri = given("URL");
        if uri.is_empty() {
            return Mongo::shared().database().await;
        }
        let tls = if given("TLS").is_empty() { "verify-full".to_owned() } else { given("TLS") };
        Self::open(None, uri, &given("USER"), &given("PASSWORD"), &tls).await
    }

    async fn open(server: Option<Arc<Mongo>>, uri: String, user: &str, password: &str, tls: &str) -> Self {
        let name = format!("t{}", Uuid::now_v7().simple());
        let mut config = json!({ "uri": uri, "database": name, "tls": tls });
        let mut options = ClientOptions::parse(&uri).await.unwrap();
        if !user.is_empty() {
            config["user"] = json!(user);
            config["password"] = json!(password);
            let mut credential = options.credential.take().unwrap_or_default();
            credential.username = Some(user.to_owned());
            credential.password = Some(password.to_owned());
            options.credential = Some(credential);
        }
        options.tls = match tls {
            "disable" => Some(mongodb::options::Tls::Disabled),
            _ => Some(mongodb::options::Tls::Enabled(
                mongodb::options::TlsOptions::builder()
                    .allow_invalid_certificates((tls == "require").then_some(true))
                    .build(),
            )),
        };
        let foreign = server.is_none();
        let client = Client::with_options(options).unwrap();
        let database = client.database(&name);
        database.run_command(doc! { "ping": 1 }).await.unwrap();
        Self { config, database, _server: server, foreign }
    }

    /// Drops what it made on a server that stays.
    pub async fn end(self) {
        if self.foreign {
            self.database.drop().await.unwrap();
        }
    }
}
