//! The commands on a real log in a temporary folder.

mod auth;
mod connections;
mod execute;
mod repairs;
mod schedules;
mod tasks;
mod uploads;

use crate::{
    clock::Clock,
    execute::{CommandContext, CommandOptions, Commands},
    keys::KeyStore,
};
use autonomos_domain::{
    aggregates::tenant::{Tenant, TenantCommand},
    envelope::Actor,
    ids::{CommandId, TenantId, UserId},
};
use autonomos_log::{
    control::ControlStore,
    error::LogError,
    port::{Delivery, EventLog, StoredCommit},
    sqlite::{Options, SqliteLog},
};
use futures::{Stream, StreamExt};
use std::{path::Path, sync::Arc};
use tempfile::TempDir;

/// An installation; dropped and opened again, it is the same one after a restart.
pub(crate) struct World {
    pub(crate) log: Arc<SqliteLog>,
    pub(crate) keys: Arc<KeyStore>,
    pub(crate) commands: Commands,
    pub(crate) clock: Clock,
    pub(crate) folder: Arc<TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), Clock::System)
    }

    pub(crate) fn with_clock(clock: Clock) -> Self {
        Self::open(Arc::new(tempfile::tempdir().unwrap()), clock)
    }

    pub(crate) fn open(folder: Arc<TempDir>, clock: Clock) -> Self {
        let path = folder.path();
        let control = Arc::new(ControlStore::open(&path.join("control.sqlite")).unwrap());
        let log = SqliteLog::open(Options::new(path.join("log")), control).unwrap();
        let keys = Arc::new(KeyStore::open(&path.join("keys")).unwrap());
        let commands = Commands::new(
            Arc::clone(&log) as Arc<dyn EventLog>,
            Arc::clone(&keys) as _,
            clock.clone(),
            CommandOptions::default(),
        );
        Self { log, keys, commands, clock, folder }
    }

    /// Closes everything and opens it again.
    pub(crate) async fn restart(self) -> Self {
        let Self { log, keys, commands, clock, folder } = self;
        drop(commands);
        drop(keys);
        // What was aborted lets go when the runtime comes to it.
        while Arc::strong_count(&log) > 1 {
            tokio::task::yield_now().await;
        }
        drop(log);
        Self::open(folder, clock)
    }

    /// More commands on the same log, with a cache of their own: another node.
    pub(crate) fn other_node(&self) -> Commands {
        Commands::new(
            Arc::clone(&self.log) as Arc<dyn EventLog>,
            Arc::clone(&self.keys) as _,
            self.clock.clone(),
            CommandOptions::default(),
        )
    }

    pub(crate) async fn tenant(&self) -> TenantId {
        let tenant = TenantId::random();
        let register =
            TenantCommand::RegisterTenant { name: "Meyer AG".to_owned(), cell: 0, owner: UserId::random() };
        self.commands.create::<Tenant>(&context(tenant), tenant.0, register).await.unwrap();
        tenant
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn context(tenant: TenantId) -> CommandContext {
    CommandContext::new(tenant, Actor::System("test".to_owned()), CommandId::random())
}

/// The next commit with an event of that type.
pub(crate) async fn next(
    deliveries: &mut (impl Stream<Item = Result<Delivery, LogError>> + Unpin),
    event_type: &str,
) -> Arc<StoredCommit> {
    loop {
        let Delivery::Commit(commit) = deliveries.next().await.unwrap().unwrap() else { continue };
        if commit.events.iter().any(|event| event.event_type == event_type) {
            return commit;
        }
    }
}
