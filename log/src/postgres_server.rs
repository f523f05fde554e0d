//! Real Postgres servers for tests: on a free port of the loopback, in a temporary folder, ended by
//! their own process ids. A missing server fails the test. Here and not among the tests, because the
//! tests of several rooms need them, as they need [`crate::nats_server`].
//!
//! The server sorts text by language, as many an operator's does, so that a query that relies on the
//! order of bytes is found out. Nobody but the superuser comes in without a password.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// `nobody`: who runs the server where the tests are run by root, whom Postgres refuses.
const UNPRIVILEGED: u32 = 65_534;
const SETTINGS: &str = "listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 200
shared_buffers = 32MB
io_method = sync
jit = off
scram_iterations = 64
";
/// What a server writes to its log: no more than it needs for itself, or what tells its changes to others.
const PLAIN: &str = "wal_level = minimal\nmax_wal_senders = 0\n";
const LOGICAL: &str = "wal_level = logical\nmax_replication_slots = 40\n";
/// The superuser is trusted, for what the tests look at behind the product's back.
const ACCESS: &str = "host all postgres 127.0.0.1/32 trust
host all all 127.0.0.1/32 scram-sha-256
";

/// What a commit of the server waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The disk: what was acknowledged survives a power cut.
    Synced,
    /// Nothing: enough where the server's process alone is killed.
    Unsynced,
}

/// One server: its program may be ended and started again on the same folder.
pub struct Postgres {
    pub port: u16,
    folder: PathBuf,
    programs: PathBuf,
    as_nobody: bool,
    databases: AtomicUsize,
    child: Mutex<Option<Child>>,
}

/// The server's programs, where `scripts/setup.sh` puts them.
fn installed() -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let installed = folder("AOS_CACHE_DIR").unwrap_or_else(home).join("postgres-18.4");
    let program = installed.join("bin/postgres");
    assert!(program.exists(), "`{}` is missing: run scripts/setup.sh", program.display());
    installed
}

/// Gives a folder's files a second name: root's home, where they may be, is closed to the others.
fn link(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            link(&path, &name);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(std::fs::read_link(&path).unwrap(), &name).unwrap();
        } else if std::fs::hard_link(&path, &name).is_err() {
            // Another file system.
            std::fs::copy(&path, &name).unwrap();
        }
    }
}

impl Postgres {
    /// A server of one's own.
    pub fn start(durability: Durability) -> Arc<Self> {
        Self::start_with(durability, PLAIN)
    }

    /// A server of one's own whose changes can be followed.
    pub fn logical() -> Arc<Self> {
        Self::start_with(Durability::Unsynced, LOGICAL)
    }

    fn start_with(durability: Durability, log: &str) -> Arc<Self> {
        let folder = std::env::temp_dir().join(format!("aos-postgres-{}", Uuid::now_v7()));
        let data = folder.join("data");
        std::fs::create_dir_all(&data).unwrap();
        let as_nobody = folder.metadata().unwrap().uid() == 0;
        let programs = if as_nobody { folder.join("programs") } else { installed() };
        if as_nobody {
            link(&installed(), &programs);
            chown(&data, Some(UNPRIVILEGED), Some(UNPRIVILEGED)).unwrap();
        }
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self {
            port,
            folder,
            programs,
            as_nobody,
            databases: AtomicUsize::new(0),
            child: Mutex::new(None),
        };
        let made = server
            .program("initdb")
            .args(["--username=postgres", "--encoding=UTF8", "--locale=C", "--locale-provider=icu"])
            .args(["--icu-locale=en-US", "--auth=trust", "--no-sync", "--no-instructions", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb failed:\n{}", String::from_utf8_lossy(&made.stderr));
        let fsync = if durability == Durability::Synced { "on" } else { "off" };
        let settings = format!("port = {port}\nfsync = {fsync}\nfull_page_writes = {fsync}\n{SETTINGS}{log}");
        std::fs::write(data.join("postgresql.conf"), settings).unwrap();
        std::fs::write(data.join("pg_hba.conf"), ACCESS).unwrap();
        server.spawn();
        server.wait_ready();
        Arc::new(server)
    }

    /// A server that tests which run at the same time share; it ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Postgres>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Self::start(Durability::Unsynced);
        *shared = Arc::downgrade(&server);
        server
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join("bin").join(name));
        // Neither the user's settings of a client nor a language of the machine's.
        command.env_clear().current_dir("/").stdin(Stdio::null());
        if self.as_nobody {
            command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
        }
        command
    }

    fn spawn(&self) {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("server.log"))
            .unwrap();
        let child = self
            .program("postgres")
            .arg("-D")
            .arg(self.folder.join("data"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *self.child.lock().unwrap() = Some(child);
    }

    fn wait_ready(&self) {
        let deadline = Instant::now() + Duration::from_mins(1);
        while Session::open(self.port, "postgres").is_err() {
            let log = std::fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "Postgres does not get ready:\n{log}");
            let ended = {
                let mut child = self.child.lock().unwrap();
                child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
            };
            if ended {
                // What a killed server leaves behind holds its memory until it notices.
                self.spawn();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(&self, signal: &str) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            let id = child.id().to_string();
            assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
            child.wait().unwrap();
        }
    }

    /// Ends the server as `kill -9` does.
    pub fn kill(&self) {
        self.end("-KILL");
    }

    /// Ends the server as an operator would: sessions are cut, what was committed is kept.
    pub fn stop(&self) {
        self.end("-INT");
    }

    /// Starts it again and waits until it serves.
    pub fn start_again(&self) {
        self.spawn();
        self.wait_ready();
    }

    /// The address of a new database nobody else uses, of an owner who is not the superuser and may
    /// make roles.
    pub fn database(&self) -> String {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::AcqRel));
        for statement in [
            format!("CREATE ROLE {name} LOGIN CREATEROLE PASSWORD 'p-{name}'"),
            format!("CREATE DATABASE {name} OWNER {name}"),
        ] {
            self.execute("postgres", &statement).unwrap();
        }
        format!("postgres://{name}:p-{name}@127.0.0.1:{}/{name}", self.port)
    }

    /// Runs a statement as the superuser; what it answers with is not looked at.
    pub fn execute(&self, database: &str, statement: &str) -> Result<(), String> {
        Session::open(self.port, database)?.execute(statement)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // At once, and nothing of it stays: its workers end with it.
        self.end("-QUIT");
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The superuser's session by the simple query protocol (version 3.0 of the frontend/backend
/// protocol): enough to see that a server serves, and to make databases.
struct Session(TcpStream);

impl Session {
    fn open(port: u16, database: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(Duration::from_mins(1))).map_err(|error| error.to_string())?;
        let mut session = Self(stream);
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend(format!("user\0postgres\0database\0{database}\0\0").as_bytes());
        session.send(&[], &body)?;
        session.until_ready()?;
        Ok(session)
    }

    fn execute(&mut self, statement: &str) -> Result<(), String> {
        self.send(b"Q", &[statement.as_bytes(), b"\0"].concat())?;
        self.until_ready()
    }

    fn send(&mut self, kind: &[u8], body: &[u8]) -> Result<(), String> {
        let length = u32::try_from(body.len() + 4).map_err(|error| error.to_string())?;
        let message = [kind, &length.to_be_bytes(), body].concat();
        self.0.write_all(&message).map_err(|error| error.to_string())
    }

    /// Reads until the server waits for the next statement; the error it sent meanwhile, if any.
    fn until_ready(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        loop {
            let mut head = [0; 5];
            self.0
                .read_exact(&mut head)
                .map_err(|error| outcome.clone().err().unwrap_or_else(|| error.to_string()))?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length.saturating_sub(4)];
            self.0.read_exact(&mut body).map_err(|error| error.to_string())?;
            match head[0] {
                b'E' => outcome = Err(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => return outcome,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_there_after_the_server_was_killed() {
        let server = Postgres::start(Durability::Synced);
        let address = server.database();
        let name = address.rsplit('/').next().unwrap();
        server.execute(name, "CREATE TABLE kept (id int)").unwrap();
        server.kill();
        server.start_again();
        server.execute(name, "INSERT INTO kept VALUES (1)").unwrap();
        server.stop();
        server.start_again();
        server.execute(name, "SELECT 1 / count(*) FROM kept").unwrap();
        let error = server.execute(name, "SELECT * FROM missing").unwrap_err();
        assert!(error.contains("does not exist"), "{error}");
    }
}
