//! The log of an installation and what it is checked against.

use crate::{
    config::{Config, Mode, Scaled},
    error::GatewayError,
};
use autonomos_log::{
    control::ControlStore,
    database::Database,
    jetstream::{self, JetStreamLog},
    port::EventLog,
    sqlite::{self, SqliteLog},
};
use std::{path::Path, sync::Arc, time::Duration};

/// How long a start waits for the servers it needs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The log, its witness, and the database that nodes share, where they do.
pub(crate) struct Storage {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) control: Arc<ControlStore>,
    pub(crate) database: Option<Database>,
}

impl Storage {
    pub(crate) async fn open(config: &Config, mode: &Mode) -> Result<Self, GatewayError> {
        match mode {
            Mode::Embedded => {
                let (log, control) = sqlite_open(&config.data_dir)?;
                Ok(Self { log, control, database: None })
            }
            Mode::Scaled(scaled) => {
                let (log, control, database) = jetstream_open(config, scaled).await?;
                Ok(Self { log, control, database: Some(database) })
            }
        }
    }
}

/// Opens the log of a data folder.
fn sqlite_open(data_dir: &Path) -> Result<(Arc<SqliteLog>, Arc<ControlStore>), GatewayError> {
    folder_make(data_dir)?;
    let control = Arc::new(ControlStore::open(&data_dir.join("control.sqlite"))?);
    let log = SqliteLog::open(sqlite::Options::new(data_dir.join("log")), Arc::clone(&control))?;
    Ok((log, control))
}

/// Opens the log that nodes share; this node's index of it is in its data folder.
pub(crate) async fn jetstream_open(
    config: &Config,
    scaled: &Scaled,
) -> Result<(Arc<JetStreamLog>, Arc<ControlStore>, Database), GatewayError> {
    folder_make(&config.data_dir)?;
    let database = Database::connect(scaled.database.reveal(), PATIENCE).await?;
    let control = Arc::new(ControlStore::shared(&database).await?);
    let options = jetstream::Options {
        credentials: scaled.nats_credentials.clone(),
        cells: config.cells,
        replicas: config.nats_replicas,
        archive: scaled.shared_dir.join("archive"),
        monitoring: scaled.nats_monitoring.clone(),
        start_timeout: PATIENCE,
        ..jetstream::Options::new(&scaled.nats_servers, config.data_dir.join("log"))
    };
    let log = JetStreamLog::open(options, Arc::clone(&control)).await?;
    Ok((log, control, database))
}

fn folder_make(folder: &Path) -> Result<(), GatewayError> {
    std::fs::create_dir_all(folder).map_err(|source| GatewayError::Folder { path: folder.to_owned(), source })
}
