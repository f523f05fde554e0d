//! The frame of a journey with a source that changes: it is connected, its stream chosen, synced, the server
//! killed in the middle, its drift found, and what its view shows is what the source holds.

use crate::{
    client::Client,
    connectors::keeps_secrets,
    server::{Server, Start},
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// What a view of accounts should show: its fields by the key in the source.
pub type Records = BTreeMap<String, BTreeMap<&'static str, Value>>;

/// A connection of a tenant of its own on a server of its own, and what it brings into the view of accounts.
pub struct Follower {
    server: Option<Server>,
    pub client: Client,
    pub connection: String,
    /// As the connection was made, and its streams when they were looked for.
    pub made: Value,
    pub discovered: Value,
    fields: Vec<&'static str>,
    settings: Vec<(&'static str, String)>,
    data: PathBuf,
    _folder: TempDir,
}

fn start(data: &Path, settings: &[(&str, String)]) -> Server {
    let mut start = Start::serve(data).with("AOS_ALLOW_PRIVATE_SOURCES", "true");
    for (name, value) in settings {
        start = start.with(name, value);
    }
    start.run().expect("the server starts")
}

impl Follower {
    /// Connects a source that passes its check; `fields` of its accounts are followed.
    pub async fn connect(connector: &str, config: &Value, fields: &[&'static str]) -> Self {
        Self::connect_on(connector, config, fields, Vec::new()).await
    }

    /// The same, on a server with settings of its own.
    pub async fn connect_on(
        connector: &str,
        config: &Value,
        fields: &[&'static str],
        settings: Vec<(&'static str, String)>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let server = start(&data, &settings);
        let client = Client::registered(&server.url, "Followers", "follow@example.com").await;
        let body = json!({ "name": "crm", "connector": connector, "config": config });
        let made = client.post("/aam/connections", body).await.expect(201);
        let connection = made["id"].as_str().expect("an id").to_owned();
        let path = format!("/aam/connections/{connection}");
        let tested = client.post(&format!("{path}/test"), json!({})).await.expect(200);
        assert_eq!(tested["ok"], true, "{tested}");
        let discovered = client.post(&format!("{path}/discover"), json!({})).await.expect(200);
        let (server, fields) = (Some(server), fields.to_vec());
        Self { server, client, connection, made, discovered, fields, settings, data, _folder: folder }
    }

    /// Reads one stream into the accounts.
    pub async fn choose(&self, stream: &str, mode: &str, cursor_field: Option<&str>) {
        let stream =
            json!({ "name": stream, "sync_mode": mode, "cursor_field": cursor_field, "entity": "account" });
        let path = format!("/aam/connections/{}/streams", self.connection);
        self.client.put(&path, json!({ "streams": [stream] })).await.expect(200);
    }

    /// Syncs to the end; the sync.
    pub async fn sync(&self) -> Value {
        let sync = self.client.sync(&self.connection).await;
        assert_eq!(sync["status"], "succeeded", "{sync}");
        sync
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Server::pid)
    }

    async fn sync_start(&self) -> crate::client::Answer {
        self.client.post(&format!("/aam/connections/{}/syncs", self.connection), json!({})).await
    }

    /// Starts a sync and kills the server once so many of its batches are on the log; then it is started on
    /// the same data, and the connection synced to its end.
    pub async fn sync_killed(&mut self, batches: usize) {
        let started = self.sync_start().await;
        let position = started.position().unwrap_or_default();
        started.expect(202);
        let mut seen = 0;
        let ingested = |event: &Value| {
            seen += usize::from(event["type"] == "RecordsIngested");
            seen == batches
        };
        self.client.events_until(&position, ingested).await;
        self.server.take().expect("the server runs").kill();
        let server = start(&self.data, &self.settings);
        self.client = self.client.at(&server.url);
        self.server = Some(server);
        self.settle().await;
    }

    /// Waits for the sync that a crash left behind, then syncs once more.
    async fn settle(&self) {
        loop {
            let started = self.sync_start().await;
            match started.status.as_u16() {
                202 => {
                    let id = started.body["sync_id"].as_str().expect("an id").to_owned();
                    let ended = self.client.sync_ended(&id, started.position()).await;
                    assert_eq!(ended["status"], "succeeded", "{ended}");
                    return;
                }
                409 => {
                    let task = started.body["task_id"].as_str().expect("the task in the way").to_owned();
                    self.client.task_ended(&task).await;
                }
                other => panic!("{other}: {}", started.body),
            }
        }
    }

    /// The view's records.
    pub async fn view(&self) -> Records {
        let rows = self.client.rows("accounts", "").await;
        let count = rows.len();
        let record = |row: Value| {
            let fields = self.fields.iter().map(|field| (*field, row[*field].clone())).collect();
            (row["_sources"][0]["source_id"].as_str().expect("a key").to_owned(), fields)
        };
        let shown: Records = rows.into_iter().map(record).collect();
        assert_eq!(shown.len(), count, "each record once");
        shown
    }

    /// The view has these records, and no others; the view.
    pub async fn shows(&self, expected: &Records) -> Records {
        let shown = self.view().await;
        assert_eq!(shown.len(), expected.len(), "records");
        for (key, record) in expected {
            assert_eq!(shown.get(key), Some(record), "`{key}`");
        }
        shown
    }

    /// Where the view stands.
    pub async fn position(&self) -> String {
        self.client.get("/dcl/views/accounts?limit=1").await.position().expect("a position")
    }

    /// A field's new name was found, and what asks is approved.
    pub async fn accept_renamed(&self, field: &str) {
        let path = format!("/aam/drift?connection_id={}", self.connection);
        let drift = self.client.get(&path).await.expect(200);
        let found = drift["data"].as_array().expect("a list").iter();
        let mut renamed = found.filter(|item| item["kind"] == "field_renamed" && item["field"] == field);
        assert!(renamed.next().is_some(), "{drift}");
        self.client.approve_all(&self.connection).await;
    }

    /// Ends the server; neither what it answers and keeps as events nor its log tells a secret.
    pub async fn end(mut self, secrets: &[&str]) {
        let connection = format!("/aam/connections/{}", self.connection);
        for path in ["/history?limit=200", "/aam/connections", &connection] {
            let told = self.client.get(path).await;
            keeps_secrets([String::from_utf8_lossy(&told.bytes).as_ref()], secrets);
        }
        self.server.take().expect("the server runs").stop();
        let log = std::fs::read_to_string(self.data.with_extension("log")).expect("the server's log");
        keeps_secrets([log.as_str()], secrets);
    }
}
