//! A log of either kind in a folder of its own, with keys and commands, as an installation has them.

use crate::process::cpu_seconds;
use autonomos_commands::{
    clock::Clock,
    execute::{CommandOptions, Commands},
    keys::KeyStore,
};
use autonomos_log::{
    control::ControlStore,
    jetstream::{Credentials, JetStreamLog},
    nats_server::Nats,
    port::EventLog,
    sqlite::{Options, SqliteLog},
};
use std::sync::Arc;
use tempfile::TempDir;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backend {
    Sqlite,
    JetStream,
}

impl Backend {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::JetStream => "jetstream",
        }
    }
}

pub(super) struct Store {
    pub(super) commands: Commands,
    pub(super) keys: Arc<KeyStore>,
    log: Arc<dyn EventLog>,
    nats: Option<(Arc<Nats>, Credentials)>,
    pub(super) folder: TempDir,
}

impl Store {
    pub(super) async fn open(backend: Backend) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let keys = Arc::new(KeyStore::open(&folder.path().join("keys")).expect("opens"));
        let nats = (backend == Backend::JetStream).then(|| {
            // A server to itself: what it does for other logs is not this one's cost.
            let nats = Nats::start(1);
            let account = nats.account();
            (nats, account)
        });
        Self::on(folder, keys, nats).await
    }

    /// The same files, opened again: of the log, nothing is in memory. The keys stay.
    pub(super) async fn reopened(self) -> Self {
        let Self { commands, keys, log, nats, folder } = self;
        drop(commands);
        drop(log);
        Self::on(folder, keys, nats).await
    }

    async fn on(folder: TempDir, keys: Arc<KeyStore>, nats: Option<(Arc<Nats>, Credentials)>) -> Self {
        let control = Arc::new(ControlStore::open(&folder.path().join("control.sqlite")).expect("opens"));
        let place = folder.path().join("log");
        // All is checked before the first command, not beside it.
        let log: Arc<dyn EventLog> = match &nats {
            None => {
                let options = Options { start_check_bytes: u64::MAX, ..Options::new(place) };
                SqliteLog::open(options, control).expect("opens")
            }
            Some((nats, account)) => {
                let mut options = nats.options(account.clone(), &place);
                options.start_check_bytes = u64::MAX;
                JetStreamLog::open(options, control).await.expect("opens")
            }
        };
        let commands = Commands::new(log.clone(), keys.clone(), Clock::default(), CommandOptions::default());
        Self { commands, keys, log, nats, folder }
    }

    /// Seconds of processor time so far, of this process and of the log's server.
    pub(super) fn cpu(&self) -> f64 {
        let server = self.nats.as_ref().map_or(0.0, |(nats, _)| cpu_seconds(nats.servers[0].pid()));
        cpu_seconds(std::process::id()) + server
    }

    /// Waits until this node has read what it wrote.
    pub(super) async fn settled(&self, sequence: u64) {
        while self.log.head(0).await.expect("a head").sequence < sequence {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}
