//! The JetStream adapter on a cluster of three servers against the suite every adapter must pass.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use async_trait::async_trait;
use autonomos_log::{
    conformance::Fixture,
    conformance_tests,
    control::ControlStore,
    jetstream::{JetStreamLog, Options},
    nats_server::Nats,
    port::EventLog,
};
use std::sync::Arc;

struct Account {
    folder: tempfile::TempDir,
    options: Options,
    _nats: Arc<Nats>,
}

impl Account {
    fn new() -> Self {
        let nats = Nats::shared(3);
        let folder = tempfile::tempdir().unwrap();
        let options = nats.options(nats.account(), &folder.path().join("log"));
        Self { folder, options, _nats: nats }
    }
}

#[async_trait]
impl Fixture for Account {
    async fn open(&self) -> Arc<dyn EventLog> {
        let control = Arc::new(ControlStore::open(&self.folder.path().join("control.sqlite")).unwrap());
        JetStreamLog::open(self.options.clone(), control).await.unwrap()
    }
}

conformance_tests!(Account::new());
