//! A server process of one's own. It ends by its own process id, or by `kill -9` where a test asks.

use serde_json::Value;
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The binary under test: built beside this test, or named by `AOS_BINARY`.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("AOS_BINARY") {
        return PathBuf::from(path);
    }
    let mut folder = std::env::current_exe().expect("a test has a path");
    folder.pop();
    if folder.ends_with("deps") {
        folder.pop();
    }
    let path = folder.join("autonomos");
    assert!(
        path.exists(),
        "`{}` is missing: build it with `cargo build -p autonomos-gateway`",
        path.display()
    );
    path
}

/// A running server.
pub struct Server {
    child: Option<Child>,
    pub url: String,
    pub data_dir: PathBuf,
    /// The line it printed when it was ready.
    pub ready: Value,
}

/// How a server is started.
pub struct Start<'a> {
    pub command: &'a str,
    pub data_dir: &'a Path,
    pub environment: Vec<(String, String)>,
}

impl<'a> Start<'a> {
    pub fn serve(data_dir: &'a Path) -> Self {
        Self { command: "serve", data_dir, environment: Vec::new() }
    }

    #[must_use]
    pub fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.environment.push((key.to_owned(), value.into()));
        self
    }

    /// The demo as `make run` starts it: no folder is named, so that its data go below `folder`, where
    /// it runs.
    pub fn demo(folder: &'a Path) -> Self {
        Self { command: "demo", data_dir: folder, environment: Vec::new() }
    }

    /// Starts it and waits until it says that it is ready; its own words if it ends before.
    pub fn run(self) -> Result<Server, String> {
        let log = self.data_dir.with_extension("log");
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let mut command = Command::new(binary());
        command.env_remove("AOS_BINARY").arg(self.command).arg("--json");
        if self.command == "demo" {
            command.current_dir(self.data_dir);
        } else {
            command.arg("--data-dir").arg(self.data_dir);
        }
        command
            .args(["--listen", "127.0.0.1:0"])
            .env("NO_COLOR", "1")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log_file.map_or_else(|_| Stdio::null(), Stdio::from));
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|error| error.to_string())?;
            if let Ok(event) = serde_json::from_str::<Value>(&line)
                && event["event"] == "ready"
            {
                let url = event["url"].as_str().unwrap_or_default().to_owned();
                return Ok(Server {
                    child: Some(child),
                    url,
                    data_dir: self.data_dir.to_owned(),
                    ready: event,
                });
            }
        }
        let status = child.wait().map_err(|error| error.to_string())?;
        let said = std::fs::read_to_string(&log).unwrap_or_default();
        Err(format!("the server ended with {status} before it was ready:\n{said}"))
    }
}

impl Server {
    pub fn serve(data_dir: &Path) -> Self {
        Start::serve(data_dir).run().expect("the server starts")
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// `kill -9`: what a crash or a pulled plug of the process is.
    pub fn kill(mut self) -> PathBuf {
        self.end();
        self.data_dir.clone()
    }

    /// Makes it stand still, as a machine does that swaps or is moved.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid().to_string()]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the server runs");
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(mut self) -> PathBuf {
        if let Some(mut child) = self.child.take() {
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let _ = child.wait();
        }
        self.data_dir.clone()
    }

    fn end(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs the binary to its end: status code, standard output, standard error.
pub fn run(arguments: &[&str]) -> (i32, String, String) {
    run_in(arguments, Vec::new())
}

/// The same, with settings.
pub fn run_in(arguments: &[&str], environment: Vec<(String, String)>) -> (i32, String, String) {
    let mut command = Command::new(binary());
    command.env_remove("AOS_BINARY").args(arguments).envs(environment);
    let output = command.output().expect("the binary runs");
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}
