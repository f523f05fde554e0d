//! A real server of S3's protocol for tests, moto: on a free port of the loopback, with a temporary
//! folder of its own, ended by its own process id. A missing server fails the test. Here and not
//! among the tests, because the tests of every room that keeps objects need it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use crate::s3::S3Settings;
use std::{
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// One server; its objects are in its memory and go with it.
pub struct Moto {
    pub port: u16,
    scheme: &'static str,
    folder: PathBuf,
    buckets: AtomicUsize,
    child: Mutex<Option<Child>>,
}

/// Where `scripts/setup.sh` puts the server's packages.
fn installed() -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let installed = folder("AOS_CACHE_DIR").unwrap_or_else(home).join("tools/moto-5.2.5");
    assert!(installed.join("moto").exists(), "`{}` is missing: run scripts/setup.sh", installed.display());
    installed
}

impl Moto {
    /// A server of one's own.
    pub fn start() -> Arc<Self> {
        Self::start_with("http", &[])
    }

    /// One that encrypts, with a certificate that nobody trusts.
    pub fn start_encrypted() -> Arc<Self> {
        Self::start_with("https", &["--ssl"])
    }

    fn start_with(scheme: &'static str, arguments: &[&str]) -> Arc<Self> {
        let folder = std::env::temp_dir().join(format!("aos-moto-{}", Uuid::now_v7()));
        std::fs::create_dir_all(&folder).unwrap();
        let log = std::fs::File::create(folder.join("server.log")).unwrap();
        let child = Command::new("python3")
            // Port 0: it says which one it took.
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .args(arguments)
            .envs([("PYTHONPATH", installed()), ("TMPDIR", folder.clone())])
            .envs([("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let port = wait_for_port(&folder);
        Arc::new(Self { port, scheme, folder, buckets: AtomicUsize::new(0), child: Mutex::new(Some(child)) })
    }

    /// A server that tests which run at the same time share; it ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Moto>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return server;
        }
        let server = Self::start();
        *shared = Arc::downgrade(&server);
        server
    }

    /// Makes a bucket that nobody else uses: its name.
    pub fn bucket(&self) -> String {
        let name = format!("bucket-{}", self.buckets.fetch_add(1, Ordering::AcqRel));
        let answer = self.request("PUT", &format!("/{name}"), b"").expect("the server answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        name
    }

    /// Asks the server behind the product's back; none: it is gone.
    pub fn request(&self, method: &str, path: &str, body: &[u8]) -> Option<String> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).ok()?;
        connection.write_all(body).ok()?;
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Uploads to a bucket that were begun and neither completed nor given up.
    pub fn unfinished(&self, bucket: &str) -> usize {
        let answer = self.request("GET", &format!("/{bucket}?uploads"), b"").expect("the server answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer.matches("<UploadId>").count()
    }

    /// What its buckets need beside their names.
    pub fn settings(&self) -> S3Settings {
        S3Settings {
            endpoint: Some(self.endpoint()),
            access_key_id: Some("autonomos".to_owned()),
            secret_access_key: Some("s3cret".to_owned().into()),
            ..S3Settings::default()
        }
    }

    /// Where it is.
    pub fn endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.port)
    }

    /// Ends it, with all its objects.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.kill();
        // What is left behind is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn wait_for_port(folder: &Path) -> u16 {
    let deadline = Instant::now() + Duration::from_mins(2);
    loop {
        let log = std::fs::read_to_string(folder.join("server.log")).unwrap_or_default();
        let said = log.split_once("Running on ").and_then(|(_, said)| said.split_once('\n'));
        if let Some(port) = said.and_then(|(address, _)| address.rsplit(':').next()?.trim().parse().ok()) {
            return port;
        }
        assert!(Instant::now() < deadline && !log.contains("Traceback"), "moto does not start:\n{log}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
