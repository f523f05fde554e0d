//! A projector's store in a SQLite file of its own per generation.

use super::{
    checkpoint::{self, checkpoint_load, checkpoint_swap},
    generations::{Pointer, failed, remove_database},
    live::{Live, LivePool},
    opened::open_turns,
    projector::{ApplyError, CellCheckpoint, Projector, Store, Tables, Turn},
    sql::{Dialect, Session},
};
use crate::error::ProjectionError;
use async_trait::async_trait;
use autonomos_domain::envelope::AggregateType;
use autonomos_log::seal::KeyRing;
use sqlx::{
    Connection, SqliteConnection,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

/// A projector over SQLite files `<folder>/<prefix>-<generation>.sqlite`.
pub struct SqliteProjector {
    tables: Arc<dyn Tables>,
    pointer: Pointer,
    prefix: &'static str,
    ring: Arc<dyn KeyRing>,
    live: LivePool,
}

impl SqliteProjector {
    pub fn new(
        folder: impl Into<PathBuf>,
        prefix: &'static str,
        tables: Arc<dyn Tables>,
        ring: Arc<dyn KeyRing>,
    ) -> Self {
        Self { tables, pointer: Pointer::new(folder), prefix, ring, live: LivePool::default() }
    }

    /// Where readers find the live generation.
    pub fn reads(&self) -> Live {
        Live::Sqlite(self.live.clone())
    }

    fn path(&self, generation: u64) -> PathBuf {
        self.pointer.folder().join(format!("{}-{generation}.sqlite", self.prefix))
    }

    fn generations(&self) -> Result<Vec<u64>, ProjectionError> {
        let folder = self.pointer.folder();
        if !folder.exists() {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder).map_err(|error| failed(folder, &error))? {
            let entry = entry.map_err(|error| failed(folder, &error))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let number = name
                .strip_prefix(self.prefix)
                .and_then(|rest| rest.strip_prefix('-'))
                .and_then(|rest| rest.strip_suffix(".sqlite"));
            found.extend(number.and_then(|text| text.parse::<u64>().ok()));
        }
        found.sort_unstable();
        Ok(found)
    }
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    // NORMAL: after a power cut the last transactions may be gone, rows and checkpoint together;
    // the log still has them.
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(256)
        .pragma("cache_size", "-8000")
        .pragma("temp_store", "memory")
}

async fn stored_version(path: &Path) -> Result<Option<u32>, ProjectionError> {
    if !path.exists() {
        return Ok(None);
    }
    let mut connection = SqliteConnection::connect_with(&connect_options(path)).await?;
    let version = sqlx::query_scalar::<_, String>("SELECT value FROM meta WHERE name = 'version'")
        .fetch_optional(&mut connection)
        .await;
    connection.close().await?;
    // A file without the table was never completed.
    Ok(version.ok().flatten().and_then(|text| text.parse().ok()))
}

#[async_trait]
impl Projector for SqliteProjector {
    fn name(&self) -> &'static str {
        self.tables.name()
    }

    fn version(&self) -> u32 {
        self.tables.version()
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        self.tables.aggregate_types()
    }

    async fn live(&self) -> Result<Option<u64>, ProjectionError> {
        let Some(generation) = self.pointer.read()? else { return Ok(None) };
        let version = stored_version(&self.path(generation)).await?;
        Ok((version == Some(self.version())).then_some(generation))
    }

    async fn next_generation(&self) -> Result<u64, ProjectionError> {
        let pointed = self.pointer.read()?.unwrap_or(0);
        Ok(self.generations()?.last().copied().unwrap_or(0).max(pointed) + 1)
    }

    async fn open(&self, generation: u64) -> Result<Arc<dyn Store>, ProjectionError> {
        Ok(Arc::new(SqliteStore {
            tables: Arc::clone(&self.tables),
            ring: Arc::clone(&self.ring),
            connection: Mutex::new(Some(self.connect(generation).await?)),
        }))
    }

    async fn activate(&self, generation: u64) -> Result<(), ProjectionError> {
        let options = connect_options(&self.path(generation)).pragma("query_only", "on");
        let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await?;
        self.pointer.write(generation)?;
        if let Some(old) = self.live.replace(Some(pool)) {
            old.close().await;
        }
        Ok(())
    }

    async fn keep_only(&self, generation: u64) -> Result<(), ProjectionError> {
        for other in self.generations()?.into_iter().filter(|other| *other != generation) {
            remove_database(&self.path(other))?;
        }
        Ok(())
    }

    async fn discard(&self, generation: u64) -> Result<(), ProjectionError> {
        remove_database(&self.path(generation))
    }
}

impl SqliteProjector {
    /// Opens a generation's file for writing; makes it, with its tables, if it is new.
    pub(crate) async fn connect(&self, generation: u64) -> Result<SqliteConnection, ProjectionError> {
        let folder = self.pointer.folder();
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        let options = connect_options(&self.path(generation)).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let mut transaction = connection.begin().await?;
        for table in checkpoint::tables().into_iter().chain(self.tables.definitions()) {
            for statement in table.definition(Dialect::Sqlite) {
                sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *transaction).await?;
            }
        }
        sqlx::query("INSERT INTO meta (name, value) VALUES ('version', $1) ON CONFLICT (name) DO NOTHING")
            .bind(self.version().to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(connection)
    }
}

struct SqliteStore {
    tables: Arc<dyn Tables>,
    ring: Arc<dyn KeyRing>,
    /// The one writer; gone once closed.
    connection: Mutex<Option<SqliteConnection>>,
}

#[async_trait]
impl Store for SqliteStore {
    async fn checkpoint(&self, cell: u16) -> Result<CellCheckpoint, ProjectionError> {
        let mut guard = self.connection.lock().await;
        let connection = guard.as_mut().ok_or(ProjectionError::Stopped)?;
        checkpoint_load(&mut Session::Sqlite(connection), cell).await
    }

    async fn apply(
        &self,
        cell: u16,
        turns: &[Turn],
        from: &CellCheckpoint,
        to: &CellCheckpoint,
    ) -> Result<(), ApplyError> {
        let opened = open_turns(Arc::clone(&self.ring), turns).await?;
        let mut guard = self.connection.lock().await;
        let connection = guard.as_mut().ok_or(ProjectionError::Stopped)?;
        let mut transaction = connection.begin().await?;
        let mut session = Session::Sqlite(&mut transaction);
        checkpoint_swap(&mut session, self.tables.name(), cell, from, to).await?;
        self.tables.apply(&mut session, &opened).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(projector = self.tables.name(), %error, "closing the store failed");
        }
    }
}
