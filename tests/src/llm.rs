//! Real servers of language models for tests: llmock, which speaks OpenAI's and Gemini's protocols and
//! fails by order, and fakellm, which knows no schemas. Each on a free port of the loopback, in a
//! temporary folder, ended by its own process id. A missing server fails the test.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use serde_json::{Value, json};
use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// A running server.
pub struct ModelServer {
    pub port: u16,
    child: Child,
    folder: tempfile::TempDir,
    http: reqwest::Client,
}

/// Where `scripts/setup.sh` puts a server's packages.
fn installed(name: &str) -> PathBuf {
    let folder = |name: &str| std::env::var(name).ok().map(PathBuf::from);
    let home = || folder("HOME").expect("`HOME` is set").join(".cache/autonomos");
    let installed = folder("AOS_CACHE_DIR").unwrap_or_else(home).join("tools").join(name);
    assert!(installed.exists(), "`{}` is missing: run scripts/setup.sh", installed.display());
    installed
}

impl ModelServer {
    pub async fn llmock() -> Self {
        Self::start("llmock-0.2.2", "from llmock.cli import app; app()", None).await
    }

    /// With its rules, in YAML.
    pub async fn fakellm(rules: &str) -> Self {
        Self::start("fakellm-0.3.5", "from fakellm.cli import main; main()", Some(rules)).await
    }

    async fn start(tool: &str, program: &str, rules: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        if let Some(rules) = rules {
            std::fs::write(folder.path().join("fakellm.yaml"), rules).unwrap();
        }
        let log = std::fs::File::create(folder.path().join("server.log")).unwrap();
        let child = Command::new("python3")
            .args(["-c", program, "serve", "--port", "0"])
            .env("PYTHONPATH", installed(tool))
            .env("TMPDIR", folder.path())
            .envs([("PYTHONUNBUFFERED", "1"), ("PYTHONDONTWRITEBYTECODE", "1"), ("NO_COLOR", "1")])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        autonomos_objects::provider_install();
        let mut server = Self { port: 0, child, folder, http: reqwest::Client::new() };
        server.port = server.wait_ready().await;
        server
    }

    async fn wait_ready(&self) -> u16 {
        let deadline = Instant::now() + Duration::from_mins(2);
        loop {
            let log = std::fs::read_to_string(self.folder.path().join("server.log")).unwrap_or_default();
            let said = log.split_once("Uvicorn running on http://127.0.0.1:").map(|(_, rest)| rest);
            let port = said.and_then(|rest| rest.split(|letter: char| !letter.is_ascii_digit()).next());
            if let Some(port) = port.and_then(|port| port.parse().ok()) {
                return port;
            }
            assert!(
                Instant::now() < deadline && !log.contains("Traceback"),
                "the server of language models does not start:\n{log}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The base address of a protocol: `v1`, `gemini`.
    pub fn url(&self, protocol: &str) -> String {
        format!("http://127.0.0.1:{}/{protocol}", self.port)
    }

    /// Orders llmock's next answers.
    pub async fn behave(&self, behaviors: Value) {
        let body = json!({ "behaviors": behaviors });
        let answer = self.http.post(self.url("_llmock/scenario")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 201, "{body}");
    }

    /// The requests that llmock answered, with their bodies.
    pub async fn requests(&self) -> Vec<Value> {
        let answer = self.http.get(self.url("_llmock/requests")).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["requests"].as_array().unwrap().clone()
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
