//! The whole platform of one process: log, keys, commands, tasks and projections, opened in the
//! order in which they need each other and closed in the other.

use crate::{
    config::Config,
    connectors::{Connectors, FileRoots},
    error::GatewayError,
    intelligence::suggester,
};
use autonomos_commands::{
    auth::AuthService,
    clock::Clock,
    connections::{CLOSE_CONNECTION_ACTION, ConnectionService},
    execute::{CommandOptions, Commands},
    keys::KeyStore,
    processes,
    sync::{SYNC_ACTION, SyncRunner},
    tasks::{TaskHandle, TaskOptions, TaskService},
    uploads::{UploadOptions, UploadService},
};
use autonomos_domain::ids::LogId;
use autonomos_log::{control::ControlStore, port::EventLog, seal::KeyRing, sqlite::SqliteLog};
use autonomos_projections::runtime;
use std::{path::Path, sync::Arc};

/// Everything a request or a command of an operator may need.
pub(crate) struct Platform {
    pub log: Arc<SqliteLog>,
    pub keys: Arc<KeyStore>,
    pub commands: Commands,
    pub auth: AuthService,
    pub connections: ConnectionService,
    pub connectors: Arc<Connectors>,
    pub uploads: UploadService,
    pub tasks: TaskHandle,
    pub projections: runtime::Handle,
    processes: processes::Handle,
}

/// Opens the log of a data folder, and what it is checked against.
pub(crate) fn open_log(data_dir: &Path) -> Result<(Arc<SqliteLog>, Arc<ControlStore>), GatewayError> {
    std::fs::create_dir_all(data_dir)
        .map_err(|source| GatewayError::Folder { path: data_dir.to_owned(), source })?;
    let control = Arc::new(ControlStore::open(&data_dir.join("control.sqlite"))?);
    let log =
        SqliteLog::open(autonomos_log::sqlite::Options::new(data_dir.join("log")), Arc::clone(&control))?;
    Ok((log, control))
}

impl Platform {
    pub(crate) async fn open(config: &Config) -> Result<Self, GatewayError> {
        let data_dir = config.data_dir.as_path();
        let (log, control) = open_log(data_dir)?;
        let keys = Arc::new(KeyStore::open(&data_dir.join("keys"))?);
        let port: Arc<dyn EventLog> = log.clone();
        let ring: Arc<dyn KeyRing> = keys.clone();
        let commands =
            Commands::new(Arc::clone(&port), Arc::clone(&ring), Clock::System, CommandOptions::default());
        let auth = AuthService::new(commands.clone(), Arc::clone(&keys))?;
        let uploads = UploadService::new(
            commands.clone(),
            UploadOptions { limit: config.upload_max_bytes, ..UploadOptions::new(data_dir.join("uploads")) },
        );
        uploads.sweep().await?;
        // A damaged log must not keep its readers out: without an owner the plain roots serve nobody.
        let owner = auth.first_organization().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the first organisation cannot be read");
            None
        });
        let roots = FileRoots::new(config, owner);
        let connectors = Arc::new(Connectors::new(roots, uploads.clone()));
        let connections = ConnectionService::new(commands.clone(), Arc::clone(&keys), connectors.clone());

        let mut options = runtime::Options::new(data_dir);
        options.dcl.memory_mb = config.dcl_memory_mb as u64;
        options.dcl.open_files = config.dcl_open_tenants;
        let projections = runtime::Service::start(options, Arc::clone(&port), Arc::clone(&ring)).await?;

        let runner =
            SyncRunner::new(commands.clone(), connectors.clone(), suggester(config), Arc::clone(&ring));
        let processes = processes::Service::start(&commands, &control);
        let options = TaskOptions {
            concurrency: config.task_concurrency,
            ..TaskOptions::new(data_dir.join("tasks.sqlite"))
        };
        let tasks = TaskService::new(options, commands.clone())
            .register(SYNC_ACTION, Arc::new(runner))
            .register(CLOSE_CONNECTION_ACTION, Arc::new(connections.clone()))
            .start()?;
        Ok(Self {
            log,
            keys,
            commands,
            auth,
            connections,
            connectors,
            uploads,
            tasks,
            projections,
            processes,
        })
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    /// Ends what runs: tasks first, for they write; then what follows the log.
    pub(crate) async fn shutdown(&self) {
        self.tasks.shutdown().await;
        self.processes.shutdown().await;
        self.projections.shutdown().await;
    }
}
