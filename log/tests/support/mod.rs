//! A JetStream account of its own on shared servers, as the suite's fixture.

use async_trait::async_trait;
use autonomos_log::{
    conformance::Fixture,
    control::ControlStore,
    jetstream::{JetStreamLog, Options},
    nats_server::Nats,
    port::EventLog,
};
use std::sync::Arc;

pub(crate) struct Account {
    folder: tempfile::TempDir,
    options: Options,
    _nats: Arc<Nats>,
}

impl Account {
    pub(crate) fn of(servers: usize) -> Self {
        let nats = Nats::shared(servers);
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
