//! Real nats-servers for tests: on free ports of the loopback, in a temporary folder, synced before
//! each acknowledgement, ended by their own process ids. A missing server fails the test. Here and
//! not among the tests, because the tests of every room that runs on the log need them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use crate::jetstream::{Credentials, Options};
use std::{
    fmt::Write as _,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Accounts of one set of servers: each fixture has one to itself.
const ACCOUNTS: usize = 64;

/// The server's program, where `scripts/setup.sh` puts it.
pub fn program() -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let cache = folder("AOS_CACHE_DIR").unwrap_or_else(home);
    let program = cache.join("nats-2.15.1/nats-server");
    assert!(program.exists(), "`{}` is missing: run scripts/setup.sh", program.display());
    program
}

fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// One server: its program may be ended and started again on the same folder.
pub struct Server {
    name: String,
    folder: PathBuf,
    pub port: u16,
    pub monitoring: u16,
    child: Mutex<Option<Child>>,
}

impl Server {
    fn start(&self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("server.log"))
            .unwrap();
        let child = Command::new(program())
            .arg("-c")
            .arg(self.folder.join("server.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
    }

    /// Ends the server as a power cut would, but for what the kernel has taken already.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Ends the server as an operator would.
    pub fn stop(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let id = child.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
            child.wait().unwrap();
        }
    }

    /// Starts it again and waits until it serves.
    pub fn start_again(&self) {
        self.start();
        self.wait_healthy();
    }

    /// Its process's id; 0 while it does not run.
    pub fn pid(&self) -> u32 {
        self.child.lock().unwrap().as_ref().map_or(0, Child::id)
    }

    /// The server's name among the others.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the server keeps its streams.
    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn wait_healthy(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while get(self.monitoring, "/healthz").is_none_or(|page| !page.contains("200 OK")) {
            let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "server `{}` does not get healthy:\n{log}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).ok()?;
    connection.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    connection.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).ok()?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// One server, or three that form a cluster.
pub struct Nats {
    pub servers: Vec<Server>,
    accounts: AtomicUsize,
    folder: PathBuf,
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.servers.clear();
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Nats {
    /// Servers of one's own.
    pub fn start(count: usize) -> Arc<Self> {
        Self::start_with(count, "always")
    }

    /// Servers with another `sync_interval`.
    pub fn start_with(count: usize, sync_interval: &str) -> Arc<Self> {
        let folder = std::env::temp_dir().join(format!("aos-nats-{}", Uuid::now_v7()));
        let ports = free_ports(count * 3);
        let routes: Vec<String> =
            (0..count).map(|index| format!("\"nats://127.0.0.1:{}\"", ports[index * 3 + 2])).collect();
        let mut accounts = String::new();
        for account in 0..ACCOUNTS {
            let _ = writeln!(
                accounts,
                "  T{account}: {{ jetstream: enabled, users: [{{ user: t{account}, password: p }}] }}"
            );
        }
        let server = |index: usize| {
            let [port, monitoring, route] = [0, 1, 2].map(|offset| ports[index * 3 + offset]);
            let name = format!("n{index}");
            let own = folder.join(&name);
            std::fs::create_dir_all(&own).unwrap();
            let cluster = if count > 1 {
                format!(
                    "cluster {{ name: c, listen: \"127.0.0.1:{route}\", no_advertise: true, routes: [{}] }}",
                    routes.join(",")
                )
            } else {
                String::new()
            };
            let store = own.join("store");
            let config = format!(
                "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring}\"\n\
                 jetstream {{ store_dir: \"{}\", sync_interval: \"{sync_interval}\", max_mem: 64M, max_file: 20G }}\n\
                 {cluster}\naccounts {{\n{accounts}}}\n",
                store.display()
            );
            std::fs::write(own.join("server.conf"), config).unwrap();
            Server { name, folder: own, port, monitoring, child: Mutex::new(None) }
        };
        let servers: Vec<Server> = (0..count).map(server).collect();
        for server in &servers {
            server.start();
        }
        for server in &servers {
            server.wait_healthy();
        }
        Arc::new(Self { servers, accounts: AtomicUsize::new(0), folder })
    }

    /// Servers that tests which run at the same time share; they end with the last of them.
    pub fn shared(count: usize) -> Arc<Self> {
        static SHARED: Mutex<Weak<Nats>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let left = |nats: &Arc<Self>| nats.accounts.load(Ordering::Acquire) + 1 < ACCOUNTS;
        if let Some(nats) = shared.upgrade().filter(left) {
            return nats;
        }
        let nats = Self::start(count);
        *shared = Arc::downgrade(&nats);
        nats
    }

    /// An account nobody else uses.
    pub fn account(&self) -> Credentials {
        let account = self.accounts.fetch_add(1, Ordering::AcqRel);
        assert!(account < ACCOUNTS, "all accounts are taken");
        Credentials::User { user: format!("t{account}"), password: "p".to_owned() }
    }

    /// Starts all of them again and waits until they serve: none of several does alone.
    pub fn start_again(&self) {
        for server in &self.servers {
            server.start();
        }
        for server in &self.servers {
            server.wait_healthy();
        }
    }

    /// The server that leads a stream right now, by its number, as the others see it.
    pub fn leader(&self, stream: &str) -> Option<usize> {
        let of_server = |server: &Server| {
            let page = get(server.monitoring, "/jsz?accounts=1&streams=1")?;
            let page: serde_json::Value = serde_json::from_str(page.split_once("\r\n\r\n")?.1).ok()?;
            let accounts = page["account_details"].as_array()?.iter();
            let mut streams = accounts.filter_map(|account| account["stream_detail"].as_array()).flatten();
            let leader =
                streams.find(|found| found["name"] == stream)?["cluster"]["leader"].as_str()?.to_owned();
            self.servers.iter().position(|server| server.name == leader)
        };
        self.servers.iter().find_map(of_server)
    }

    /// Options of a log in an account.
    pub fn options(&self, credentials: Credentials, folder: &Path) -> Options {
        let addresses: Vec<String> =
            self.servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.port)).collect();
        let monitoring = self.servers.iter().map(|server| format!("http://127.0.0.1:{}", server.monitoring));
        Options {
            credentials,
            replicas: self.servers.len(),
            monitoring: monitoring.collect(),
            ..Options::new(addresses.join(","), folder)
        }
    }
}
