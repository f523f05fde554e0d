//! The whole platform of one process: log, keys, commands, tasks and projections, opened in the
//! order in which they need each other and closed in the other. Embedded, all of it is in one folder;
//! scaled, log and databases are shared with other nodes.

mod storage;

pub(crate) use storage::{Storage, jetstream_open};

use crate::{
    config::{Config, Mode, Roles, Scaled},
    connectors::{Connectors, FileRoots},
    error::GatewayError,
    intelligence::{language_model, suggester},
};
use autonomos_commands::{
    auth::AuthService,
    clock::Clock,
    connections::{CLOSE_CONNECTION_ACTION, ConnectionService},
    execute::{CommandOptions, Commands, Watch},
    intelligence::llm::{ASK_MODEL_ACTION, ModelAdvisor, ModelClient},
    keys::KeyStore,
    processes,
    repairs::{EXPIRE_REPAIR_ACTION, RepairExpiry},
    schedules::{RUN_SCHEDULE_ACTION, ScheduleService},
    sync::{SYNC_ACTION, SyncRunner},
    tasks::{Hosting, TaskHandle, TaskOptions, TaskService},
    tickets::Tickets,
    uploads::{UploadOptions, UploadService},
};
use autonomos_connectors::NetworkScope;
use autonomos_domain::ids::LogId;
use autonomos_log::{
    control::ControlStore, database::Database, lease::Leases, port::EventLog, seal::KeyRing,
};
use autonomos_projections::{SnapshotOptions, runtime};
use std::{path::PathBuf, sync::Arc, time::Duration};

/// What a crash left in a folder that several nodes write to is not younger than this.
const LEFT_BEHIND: Duration = Duration::from_hours(24);

/// Everything a request or a command of an operator may need.
pub(crate) struct Platform {
    pub log: Arc<dyn EventLog>,
    pub keys: Arc<KeyStore>,
    pub commands: Commands,
    pub auth: AuthService,
    pub connections: ConnectionService,
    pub schedules: ScheduleService,
    pub connectors: Arc<Connectors>,
    pub uploads: UploadService,
    pub tasks: TaskHandle,
    pub tickets: Tickets,
    /// The operator's language model, if there is one.
    pub model: Option<Arc<ModelClient>>,
    pub projections: runtime::Handle,
    pub roles: Roles,
    /// The other nodes, where there may be any.
    pub nodes: Option<Nodes>,
    processes: Option<processes::Handle>,
    /// Looks at what other nodes append.
    _watch: Option<Watch>,
}

/// This node among others.
pub(crate) struct Nodes {
    pub leases: Leases,
    /// What the nodes of an installation know each other by.
    pub secret: String,
}

/// What several nodes share, opened.
struct Sharing {
    database: Database,
    leases: Leases,
}

impl Platform {
    /// `address` is where this node listens.
    pub(crate) async fn open(config: &Config, address: &str) -> Result<Self, GatewayError> {
        let roles = config.roles()?;
        let mode = config.mode()?;
        let model = language_model(config)?;
        let Storage { log, control, database } = Storage::open(config, &mode).await?;
        let keys = Arc::new(keys_open(config, &mode, database.as_ref()).await?);
        let sharing = match database {
            Some(database) => {
                let address = config.advertise_url.as_deref().unwrap_or(address);
                // All that is done under a lease reads the log or writes to it.
                let reached = Arc::downgrade(&log);
                let able = move || reached.upgrade().is_some_and(|log| log.is_following());
                let leases = Leases::open(&database, &config.node_id, address).await?.while_able(able);
                Some(Sharing { database, leases })
            }
            None => None,
        };
        let ring: Arc<dyn KeyRing> = keys.clone();
        let commands =
            Commands::new(Arc::clone(&log), Arc::clone(&ring), Clock::System, CommandOptions::default());
        // Before anything is read: what another node appends from here on is noticed.
        let watch = match &sharing {
            Some(_) => Some(commands.watch().await?),
            None => None,
        };
        let auth = AuthService::new(commands.clone(), Arc::clone(&keys))?;
        let uploads = uploads(config, &mode, &commands).await?;
        // A damaged log must not keep its readers out: without an owner the plain roots serve nobody.
        let owner = auth.first_organization().await.unwrap_or_else(|error| {
            tracing::error!(%error, "the first organisation cannot be read");
            None
        });
        let roots = FileRoots::new(config, owner);
        let connectors = Arc::new(Connectors::new(
            roots,
            NetworkScope { private: config.allow_private_sources },
            uploads.clone(),
            auth.clone(),
        ));
        let connections = ConnectionService::new(commands.clone(), Arc::clone(&keys), connectors.clone());
        let schedules = ScheduleService::new(commands.clone());
        let tickets = match &sharing {
            Some(sharing) => Tickets::shared(&sharing.database).await?,
            None => Tickets::default(),
        };
        let options = projection_options(config, &mode, sharing.as_ref(), roles).await?;
        let projections = runtime::Service::start(options, Arc::clone(&log), Arc::clone(&ring)).await?;

        let runner =
            SyncRunner::new(commands.clone(), connectors.clone(), suggester(config), Arc::clone(&ring));
        let processes = roles.worker.then(|| start_processes(&commands, &control, sharing.as_ref()));
        let tasks = TaskService::new(task_options(config, sharing.as_ref(), roles), commands.clone())
            .register(SYNC_ACTION, Arc::new(runner))
            .register(EXPIRE_REPAIR_ACTION, Arc::new(RepairExpiry::new(commands.clone())))
            .register(RUN_SCHEDULE_ACTION, Arc::new(schedules.clone()))
            .register(ASK_MODEL_ACTION, Arc::new(ModelAdvisor::new(commands.clone(), model.clone())))
            .register(CLOSE_CONNECTION_ACTION, Arc::new(connections.clone()))
            .start()?;
        let nodes = match sharing {
            Some(sharing) => Some(Nodes { secret: node_secret(&keys)?, leases: sharing.leases }),
            None => None,
        };
        Ok(Self {
            log,
            keys,
            commands,
            auth,
            connections,
            schedules,
            connectors,
            uploads,
            tasks,
            tickets,
            model,
            projections,
            roles,
            nodes,
            processes,
            _watch: watch,
        })
    }

    pub(crate) fn log_id(&self) -> LogId {
        self.log.log_id()
    }

    /// Ends what runs: tasks first, for they write; then what follows the log.
    pub(crate) async fn shutdown(&self) {
        self.tasks.shutdown().await;
        if let Some(processes) = &self.processes {
            processes.shutdown().await;
        }
        self.projections.shutdown().await;
    }
}

async fn uploads(config: &Config, mode: &Mode, commands: &Commands) -> Result<UploadService, GatewayError> {
    let (folder, left_behind): (PathBuf, _) = match mode {
        Mode::Embedded => (config.data_dir.join("uploads"), Duration::ZERO),
        Mode::Scaled(scaled) => (scaled.shared_dir.join("uploads"), LEFT_BEHIND),
    };
    let options = UploadOptions { limit: config.upload_max_bytes, ..UploadOptions::new(folder) };
    let uploads = UploadService::new(commands.clone(), options);
    uploads.sweep(left_behind).await?;
    Ok(uploads)
}

fn start_processes(
    commands: &Commands,
    control: &Arc<ControlStore>,
    sharing: Option<&Sharing>,
) -> processes::Handle {
    processes::Service::start(commands, control, sharing.map(|sharing| &sharing.leases))
}

fn task_options(config: &Config, sharing: Option<&Sharing>, roles: Roles) -> TaskOptions {
    let hosting = match sharing {
        None => Hosting::Alone { table: config.data_dir.join("tasks.sqlite") },
        Some(sharing) if roles.worker => {
            Hosting::Shared { database: sharing.database.clone(), leases: sharing.leases.clone() }
        }
        Some(_) => Hosting::Elsewhere,
    };
    TaskOptions { hosting, concurrency: config.task_concurrency, ..TaskOptions::default() }
}

/// How the projections of a configuration run, for a node among others or for one alone.
async fn projection_options(
    config: &Config,
    mode: &Mode,
    sharing: Option<&Sharing>,
    roles: Roles,
) -> Result<runtime::Options, GatewayError> {
    let mut options = projection_places(config, mode)?;
    if let (Some(sharing), Mode::Scaled(scaled)) = (sharing, mode) {
        options.part = runtime::Part::Shared { leases: sharing.leases.clone(), keeps: roles.projector };
        if config.unified_tables && roles.projector {
            options.unified_tables = Some(shared_postgres(scaled)?);
        }
    }
    if let Mode::Scaled(scaled) = mode
        && roles.projector
    {
        options.snapshots = snapshots_open(scaled).await?;
    }
    Ok(options)
}

/// The store of snapshots, which answered.
pub(crate) async fn snapshots_open(scaled: &Scaled) -> Result<Option<SnapshotOptions>, GatewayError> {
    let Some(place) = &scaled.snapshots else { return Ok(None) };
    let store = place.open()?;
    autonomos_objects::check(place, &*store).await?;
    Ok(Some(SnapshotOptions::new(store)))
}

/// Where the projections of a configuration live.
pub(crate) fn projection_places(config: &Config, mode: &Mode) -> Result<runtime::Options, GatewayError> {
    let mut options = runtime::Options::new(&config.data_dir);
    options.dcl.memory_mb = config.dcl_memory_mb as u64;
    options.dcl.open_files = config.dcl_open_tenants;
    if let Mode::Scaled(scaled) = mode {
        options.read_models = runtime::Location::Postgres(shared_postgres(scaled)?);
    }
    Ok(options)
}

/// The database of the read models and of what is copied for BI tools.
pub(crate) fn shared_postgres(scaled: &Scaled) -> Result<runtime::PostgresOptions, GatewayError> {
    Ok(runtime::PostgresOptions::new(runtime::Address::parse(scaled.database.reveal())?))
}

/// Keys of a configuration, for commands of operators.
pub(crate) async fn keys_open(
    config: &Config,
    mode: &Mode,
    database: Option<&Database>,
) -> Result<KeyStore, GatewayError> {
    Ok(match (mode, database) {
        (Mode::Scaled(scaled), Some(database)) => KeyStore::shared(database, &scaled.master_key_file).await?,
        _ => KeyStore::open(&config.data_dir.join("keys"))?,
    })
}

fn node_secret(keys: &KeyStore) -> Result<String, GatewayError> {
    let secret = keys.secret("nodes", || rand::random::<[u8; 32]>().to_vec());
    let secret = secret.map_err(autonomos_commands::error::CommandError::from)?;
    Ok(hex::encode(blake3::hash(&secret).as_bytes()))
}
