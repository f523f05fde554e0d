//! A client of the HTTP contract, thin enough that a test reads like the contract.

use futures::StreamExt;
use reqwest::{Method, RequestBuilder, Response, StatusCode, header::HeaderMap};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// How often a client of several nodes asks again, at the next one: what a load balancer's clients do.
const TRIES: usize = 400;

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The body of an answer that must have this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.bytes));
        self.body
    }

    /// Where the write stands, to be waited for by a read.
    pub fn position(&self) -> Option<String> {
        self.headers.get("x-position").and_then(|value| value.to_str().ok()).map(str::to_owned)
    }
}

/// One tenant's view of a server.
#[derive(Clone)]
pub struct Client {
    pub http: reqwest::Client,
    pub url: String,
    pub token: Option<String>,
    /// Of several nodes, each request goes to the next; one that is not answered goes to another.
    pub nodes: Option<Arc<Nodes>>,
}

/// Where a client's requests go in turn.
pub struct Nodes {
    urls: Vec<String>,
    next: AtomicUsize,
}

impl Nodes {
    fn next(&self) -> &str {
        &self.urls[self.next.fetch_add(1, Ordering::Relaxed) % self.urls.len()]
    }
}

impl Client {
    pub fn new(url: &str) -> Self {
        autonomos_objects::provider_install();
        Self { http: reqwest::Client::new(), url: url.to_owned(), token: None, nodes: None }
    }

    /// A client that spreads its requests over nodes, and keeps the token it has.
    #[must_use]
    pub fn spread(mut self, urls: &[&str]) -> Self {
        let urls = urls.iter().map(|url| (*url).to_owned()).collect();
        self.nodes = Some(Arc::new(Nodes { urls, next: AtomicUsize::new(0) }));
        self
    }

    /// The same caller at one node.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { token: self.token.clone(), ..Self::new(url) }
    }

    /// Registers an organisation and signs in as its owner.
    pub async fn registered(url: &str, organization: &str, email: &str) -> Self {
        Self::new(url).register(organization, email).await
    }

    /// The same, as this client.
    #[must_use]
    pub async fn register(self, organization: &str, email: &str) -> Self {
        let mut client = self;
        let body =
            json!({ "organization": organization, "email": email, "password": "correct-horse-battery" });
        let answer = client.post("/auth/register", body).await.expect(201);
        client.token = answer["access_token"].as_str().map(str::to_owned);
        client
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let base = self.nodes.as_ref().map_or(self.url.as_str(), |nodes| nodes.next());
        let whole = ["/api/", "/.well", "/health", "/readyz"].iter().any(|start| path.starts_with(start));
        let url = if whole { format!("{base}{path}") } else { format!("{base}/api/v1{path}") };
        let request = self.http.request(method, url);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Asks, at one node; of several, until one answers. A write carries a key, so that asking again
    /// does not do it twice.
    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let ready = |body: &Option<Value>| {
            let request = self.request(method.clone(), path);
            match body {
                Some(body) => request.json(body),
                None => request,
            }
        };
        if self.nodes.is_none() {
            return read(ready(&body).send().await.expect("the server answers")).await;
        }
        let key = uuid::Uuid::new_v4().to_string();
        let mut last = None;
        for _ in 0..TRIES {
            let mut request = ready(&body);
            if method != Method::GET {
                request = request.header("idempotency-key", &key);
            }
            match self.try_send(request).await {
                Some(answer) if answer.status != 503 => return answer,
                answer => last = answer,
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("no node answers `{method} {path}`: {last:?}");
    }

    /// An answer, or none when the connection broke.
    pub async fn try_send(&self, request: RequestBuilder) -> Option<Answer> {
        let response = request.send().await.ok()?;
        let (status, headers) = (response.status(), response.headers().clone());
        let bytes = response.bytes().await.ok()?.to_vec();
        Some(Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default(), bytes })
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Approves every repair of a connection that waits for a person, and waits until the views follow.
    pub async fn approve_all(&self, connection: &str) {
        let repairs = self.get(&format!("/aam/repairs?connection_id={connection}")).await.expect(200);
        for repair in repairs["data"].as_array().expect("a list") {
            if repair["status"] == "pending_review" || repair["status"] == "held" {
                let path = format!("/aam/repairs/{}/approve", repair["id"].as_str().expect("an id"));
                let approved = self.post(&path, json!({})).await;
                let position = approved.position().expect("a position");
                approved.expect(200);
                self.shown(&position).await;
            }
        }
    }

    /// A file connection to a path.
    pub async fn file_connection(&self, name: &str, path: &str) -> String {
        let body = json!({ "name": name, "connector": "file", "config": { "path": path } });
        let answer = self.post("/aam/connections", body).await.expect(201);
        answer["id"].as_str().expect("a connection has an id").to_owned()
    }

    /// Starts a sync and waits until it has ended and its rows are shown.
    pub async fn sync(&self, connection: &str) -> Value {
        let started = self.post(&format!("/aam/connections/{connection}/syncs"), json!({})).await;
        let position = started.position();
        let sync = started.expect(202);
        self.sync_ended(sync["sync_id"].as_str().expect("a sync has an id"), position).await
    }

    /// Waits, on the event stream, until a sync has ended and its rows are shown; the sync.
    pub async fn sync_ended(&self, id: &str, position: Option<String>) -> Value {
        let mut from = position.unwrap_or_default();
        loop {
            let ended = self.events_until(&from, |event| {
                let kind = event["type"].as_str().unwrap_or_default();
                event["aggregate_id"] == id
                    && ["SyncSucceeded", "SyncFailed", "SyncCancelled"].contains(&kind)
            });
            ended.await["position"].as_str().unwrap_or_default().clone_into(&mut from);
            self.shown(&from).await;
            let answer = self.get(&format!("/aam/syncs/{id}?min_position={from}")).await.expect(200);
            let status = answer["status"].as_str().unwrap_or_default();
            if ["succeeded", "failed", "cancelled"].contains(&status) {
                return answer;
            }
        }
    }

    /// Waits until the views show a position: a read that waits in vain is told to come again.
    pub async fn shown(&self, position: &str) {
        for _ in 0..60 {
            match self.get(&format!("/dcl/views?min_position={position}")).await {
                answer if answer.status == 503 => {}
                answer => {
                    answer.expect(200);
                    return;
                }
            }
        }
        panic!("the views did not reach the position in five minutes");
    }

    /// Waits until a task has ended.
    pub async fn task_ended(&self, id: &str) {
        let done = |status: &str| ["succeeded", "failed", "dead", "cancelled"].contains(&status);
        if done(self.get(&format!("/tasks/{id}")).await.body["status"].as_str().unwrap_or_default()) {
            return;
        }
        self.events_until("", |event| {
            let kind = event["type"].as_str().unwrap_or_default();
            event["aggregate_id"] == id
                && ["TaskSucceeded", "TaskFailed", "TaskDied", "TaskCancelled"].contains(&kind)
        })
        .await;
    }

    /// Reads the event stream from a position until one satisfies `done`; that one. Of several nodes,
    /// another one goes on where a stream broke.
    pub async fn events_until(&self, from: &str, mut done: impl FnMut(&Value) -> bool) -> Value {
        let limit = tokio::time::Instant::now() + Duration::from_mins(3);
        let mut from = from.to_owned();
        loop {
            if let Some(found) = self.events_read(&mut from, &mut done, limit).await {
                return found;
            }
            assert!(self.nodes.is_some(), "the stream goes on");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// One stream's events; none if it broke, and then `from` is where it did.
    async fn events_read(
        &self,
        from: &mut String,
        done: &mut impl FnMut(&Value) -> bool,
        limit: tokio::time::Instant,
    ) -> Option<Value> {
        let path =
            if from.is_empty() { "/events/stream".to_owned() } else { format!("/events/stream?from={from}") };
        let response = match self.request(Method::GET, &path).send().await {
            Ok(response) if response.status() == 503 && self.nodes.is_some() => return None,
            Ok(response) => response,
            Err(error) => {
                assert!(self.nodes.is_some(), "the event stream opens: {error}");
                return None;
            }
        };
        assert_eq!(response.status(), 200);
        let mut body = response.bytes_stream();
        let mut text = String::new();
        loop {
            let chunk = tokio::time::timeout_at(limit, body.next()).await.expect("the event comes");
            text.push_str(&String::from_utf8_lossy(&chunk?.ok()?));
            while let Some(end) = text.find("\n\n") {
                let frame: String = text.drain(..end + 2).collect();
                let data: String = frame.lines().filter_map(|line| line.strip_prefix("data:")).collect();
                if let Ok(event) = serde_json::from_str::<Value>(data.trim()) {
                    event["position"].as_str().unwrap_or_default().clone_into(from);
                    if done(&event) {
                        return Some(event);
                    }
                }
            }
        }
    }

    /// All rows of a view, page by page.
    pub async fn rows(&self, view: &str, query: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/dcl/views/{view}?limit=1000{query}{cursor}");
            let page = self.get(&path).await.expect(200);
            rows.extend(page["data"].as_array().expect("a page has data").iter().cloned());
            match page["meta"]["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return rows,
            }
        }
    }
}

async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status(), response.headers().clone());
    let bytes = response.bytes().await.expect("the answer is whole").to_vec();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Answer { status, headers, body, bytes }
}
