//! A projector's store in a SQLite file of its own per generation. The SQL is the subset that
//! Postgres reads too.

use super::{
    generations::{Pointer, failed, remove_database},
    opened::{Opened, open_turns},
    projector::{ApplyError, CellCheckpoint, Projector, Store, TenantMark, Turn},
};
use crate::error::ProjectionError;
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{AggregateType, Hash},
    ids::TenantId,
};
use autonomos_log::seal::KeyRing;
use parking_lot::RwLock;
use sqlx::{
    Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Mutex;

const CHECKPOINT_TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS meta (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (cell BIGINT NOT NULL PRIMARY KEY, revision BIGINT NOT NULL, \
     sequence BIGINT NOT NULL, hash_sequence BIGINT NOT NULL, hash TEXT)",
    "CREATE TABLE IF NOT EXISTS tenant_checkpoints (cell BIGINT NOT NULL, tenant TEXT NOT NULL, \
     mark TEXT NOT NULL, sequence BIGINT NOT NULL, code TEXT, message TEXT, PRIMARY KEY (cell, tenant))",
];

/// The tables of a projector and how commits change them.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    fn aggregate_types(&self) -> Vec<AggregateType>;
    /// Statements that make the tables of a new generation; each may be repeated.
    fn definitions(&self) -> Vec<String>;
    /// Applies commits (of several tenants, each tenant's in order) inside the open transaction.
    async fn apply(&self, connection: &mut SqliteConnection, commits: &[Opened]) -> Result<(), ApplyError>;
}

/// The pool of the live generation; readers clone the pool for each query.
#[derive(Clone, Default)]
pub struct LivePool(Arc<RwLock<Option<SqlitePool>>>);

impl LivePool {
    pub fn get(&self) -> Result<SqlitePool, ProjectionError> {
        self.0.read().clone().ok_or(ProjectionError::Stopped)
    }

    fn replace(&self, pool: Option<SqlitePool>) -> Option<SqlitePool> {
        std::mem::replace(&mut *self.0.write(), pool)
    }
}

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

    pub fn live_pool(&self) -> LivePool {
        self.live.clone()
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
}

impl SqliteProjector {
    /// Opens a generation's file for writing; makes it, with its tables, if it is new.
    pub(crate) async fn connect(&self, generation: u64) -> Result<SqliteConnection, ProjectionError> {
        let folder = self.pointer.folder();
        std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
        let options = connect_options(&self.path(generation)).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await?;
        let mut transaction = connection.begin().await?;
        for statement in CHECKPOINT_TABLES {
            sqlx::query(*statement).execute(&mut *transaction).await?;
        }
        for statement in self.tables.definitions() {
            sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *transaction).await?;
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
        checkpoint_load(connection, cell).await
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
        checkpoint_swap(&mut transaction, self.tables.name(), cell, from, to).await?;
        self.tables.apply(&mut transaction, &opened).await?;
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

/// Reads a cell's checkpoint; a cell never seen stands at 0.
pub(crate) async fn checkpoint_load(
    connection: &mut SqliteConnection,
    cell: u16,
) -> Result<CellCheckpoint, ProjectionError> {
    let cell = i64::from(cell);
    let mut checkpoint = CellCheckpoint::default();
    let row = sqlx::query("SELECT revision, sequence, hash_sequence, hash FROM checkpoints WHERE cell = $1")
        .bind(cell)
        .fetch_optional(&mut *connection)
        .await?;
    if let Some(row) = row {
        checkpoint.revision = row.try_get::<i64, _>(0)? as u64;
        checkpoint.sequence = row.try_get::<i64, _>(1)? as u64;
        checkpoint.hash_sequence = row.try_get::<i64, _>(2)? as u64;
        checkpoint.hash = row.try_get::<Option<String>, _>(3)?.and_then(hash_parse);
    }
    let rows = sqlx::query(
        "SELECT tenant, mark, sequence, code, message FROM tenant_checkpoints WHERE cell = $1 ORDER BY tenant",
    )
    .bind(cell)
    .fetch_all(&mut *connection)
    .await?;
    for row in rows {
        let tenant: TenantId = row
            .try_get::<String, _>(0)?
            .parse()
            .map_err(|_| ProjectionError::Store("a tenant's checkpoint has no tenant".to_owned()))?;
        let sequence = row.try_get::<i64, _>(2)? as u64;
        let mark = match row.try_get::<String, _>(1)?.as_str() {
            "ahead" => TenantMark::Ahead { sequence },
            "behind" => TenantMark::Behind { sequence },
            _ => TenantMark::Parked {
                sequence,
                code: row.try_get::<Option<String>, _>(3)?.unwrap_or_default(),
                message: row.try_get::<Option<String>, _>(4)?.unwrap_or_default(),
            },
        };
        checkpoint.tenants.insert(tenant, mark);
    }
    Ok(checkpoint)
}

/// Moves a cell's checkpoint inside the open transaction, if it still is what its owner believes.
pub(crate) async fn checkpoint_swap(
    connection: &mut SqliteConnection,
    projector: &str,
    cell: u16,
    from: &CellCheckpoint,
    to: &CellCheckpoint,
) -> Result<(), ProjectionError> {
    let moved = if from.revision == 0 {
        sqlx::query(
            "INSERT INTO checkpoints (cell, revision, sequence, hash_sequence, hash) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (cell) DO NOTHING",
        )
        .bind(i64::from(cell))
        .bind(to.revision as i64)
        .bind(to.sequence as i64)
        .bind(to.hash_sequence as i64)
        .bind(to.hash.map(hex::encode))
        .execute(&mut *connection)
        .await?
    } else {
        sqlx::query(
            "UPDATE checkpoints SET revision = $2, sequence = $3, hash_sequence = $4, hash = $5 \
             WHERE cell = $1 AND revision = $6",
        )
        .bind(i64::from(cell))
        .bind(to.revision as i64)
        .bind(to.sequence as i64)
        .bind(to.hash_sequence as i64)
        .bind(to.hash.map(hex::encode))
        .bind(from.revision as i64)
        .execute(&mut *connection)
        .await?
    };
    if moved.rows_affected() != 1 {
        return Err(ProjectionError::Fenced { projector: projector.to_owned() });
    }
    for tenant in from.tenants.keys().filter(|tenant| !to.tenants.contains_key(tenant)) {
        sqlx::query("DELETE FROM tenant_checkpoints WHERE cell = $1 AND tenant = $2")
            .bind(i64::from(cell))
            .bind(tenant.to_string())
            .execute(&mut *connection)
            .await?;
    }
    for (tenant, mark) in &to.tenants {
        if from.tenants.get(tenant) == Some(mark) {
            continue;
        }
        let (name, sequence, code, message) = match mark {
            TenantMark::Ahead { sequence } => ("ahead", sequence, None, None),
            TenantMark::Behind { sequence } => ("behind", sequence, None, None),
            TenantMark::Parked { sequence, code, message } => {
                ("parked", sequence, Some(code.as_str()), Some(message.as_str()))
            }
        };
        sqlx::query(
            "INSERT INTO tenant_checkpoints (cell, tenant, mark, sequence, code, message) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (cell, tenant) DO UPDATE SET \
             mark = excluded.mark, sequence = excluded.sequence, code = excluded.code, message = excluded.message",
        )
        .bind(i64::from(cell))
        .bind(tenant.to_string())
        .bind(name)
        .bind(*sequence as i64)
        .bind(code)
        .bind(message)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

fn hash_parse(text: String) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}
