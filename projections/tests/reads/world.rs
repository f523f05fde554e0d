//! A log in a folder of its own, read models in that folder or in a Postgres database of their own,
//! and short ways to append.

use autonomos_domain::{
    envelope::{Actor, AggregateKey, AggregateType, CommitHeader, Hash, Position, StoredBody},
    ids::{CommandId, TenantId},
};
use autonomos_log::{
    control::ControlStore,
    events::{seal_body, seal_event},
    jetstream::{JetStreamLog, Options as JetStreamOptions},
    nats_server::Nats,
    port::{EventLog, NewCommit},
    postgres_server::Postgres,
    seal::{KeyRing, SealError},
    sqlite::{Options as LogOptions, SqliteLog},
};
use autonomos_projections::runtime::{Address, Handle, Location, Options, PostgresOptions, Service};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Seals by turning bits and checking the context.
pub(crate) struct TestRing;

impl KeyRing for TestRing {
    fn payload_key(&self, _: TenantId) -> Result<u64, SealError> {
        Ok(1)
    }

    fn batch_keys(&self, _: TenantId, count: usize) -> Result<Vec<u64>, SealError> {
        Ok((2..2 + count as u64).collect())
    }

    fn seal(&self, _: TenantId, _: u64, context: &[u8], clear: &[u8]) -> Result<Bytes, SealError> {
        let turned = clear.iter().map(|byte| byte ^ 0x5a);
        Ok(context.iter().copied().chain(turned).collect::<Vec<u8>>().into())
    }

    fn open(&self, tenant: TenantId, key_id: u64, context: &[u8], sealed: &[u8]) -> Result<Bytes, SealError> {
        match sealed.strip_prefix(context) {
            Some(rest) => Ok(rest.iter().map(|byte| byte ^ 0x5a).collect::<Vec<u8>>().into()),
            None => Err(SealError::Altered { tenant, key_id }),
        }
    }

    fn destroy(&self, _: TenantId, _: Option<u64>) -> Result<(), SealError> {
        Ok(())
    }
}

/// A database of a test's own.
pub(crate) struct Database {
    pub(crate) server: Arc<Postgres>,
    pub(crate) url: String,
}

impl Database {
    pub(crate) fn on(server: Arc<Postgres>) -> Self {
        let url = server.database();
        Self { server, url }
    }

    pub(crate) fn name(&self) -> &str {
        self.url.rsplit('/').next().unwrap()
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions::new(Address::parse(&self.url).unwrap())
    }

    /// A session of the login that owns the read models.
    pub(crate) async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.unwrap()
    }

    /// Generations that are there, by their schemas' numbers.
    pub(crate) async fn generations(&self, schema: &str) -> Vec<u64> {
        let names = sqlx::query("SELECT nspname::text FROM pg_namespace ORDER BY oid")
            .fetch_all(&mut self.owner().await)
            .await
            .unwrap();
        let number = |name: &str| name.strip_prefix(schema)?.strip_prefix('_')?.parse().ok();
        names.iter().filter_map(|row| number(row.get(0))).collect()
    }

    /// Everything in the tables of a schema, as its owner sees it.
    async fn contents(&self, schema: &str) -> String {
        let mut owner = self.owner().await;
        let tables =
            sqlx::query("SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1")
                .bind(schema)
                .fetch_all(&mut owner)
                .await
                .unwrap();
        let mut all = String::new();
        for table in tables {
            let select = format!("SELECT t::text FROM {schema}.{} AS t", table.get::<&str, _>(0));
            for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut owner).await.unwrap() {
                all.push_str(row.get(0));
            }
        }
        all
    }
}

/// Runs a test once on each store.
macro_rules! on_both_stores {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn in_sqlite() {
                super::$name($crate::world::World::new()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn in_postgres() {
                super::$name($crate::world::World::on_postgres()).await;
            }
        }
    )+};
}
pub(crate) use on_both_stores;

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) log: Arc<dyn EventLog>,
    /// Where the log is, if not in the folder: it ends with the last use.
    pub(crate) _nats: Option<Arc<Nats>>,
    pub(crate) ring: Arc<dyn KeyRing>,
    /// Where the read models are, if not in the folder.
    pub(crate) database: Option<Database>,
    pub(crate) versions: Mutex<HashMap<AggregateKey, (u64, Hash)>>,
    pub(crate) commits: Mutex<i64>,
}

pub(crate) fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap()
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Arc::new(ControlStore::open(&folder.path().join("control.sqlite")).unwrap());
        let log = SqliteLog::open(LogOptions::new(folder.path().join("log")), control).unwrap();
        Self::over(folder, log)
    }

    fn over(folder: tempfile::TempDir, log: Arc<dyn EventLog>) -> Self {
        Self {
            folder,
            log,
            _nats: None,
            ring: Arc::new(TestRing),
            database: None,
            versions: Mutex::default(),
            commits: Mutex::default(),
        }
    }

    /// A log of several cells, with read models in Postgres.
    pub(crate) async fn of_cells(cells: u16) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = Arc::new(ControlStore::open(&folder.path().join("control.sqlite")).unwrap());
        let nats = Nats::shared(1);
        let options = JetStreamOptions { cells, ..nats.options(nats.account(), &folder.path().join("log")) };
        let log = JetStreamLog::open(options, control).await.unwrap();
        let database = Some(Database::on(Postgres::shared()));
        Self { _nats: Some(nats), database, ..Self::over(folder, log) }
    }

    /// A tenant of each cell.
    pub(crate) fn tenants(&self) -> Vec<TenantId> {
        let of_cell = |cell| (1..=u128::MAX).map(tenant).find(|of| self.log.cell_of(*of) == cell).unwrap();
        (0..self.log.cells()).map(of_cell).collect()
    }

    /// The same with read models in Postgres.
    pub(crate) fn on_postgres() -> Self {
        Self::on(Database::on(Postgres::shared()))
    }

    pub(crate) fn on(database: Database) -> Self {
        Self { database: Some(database), ..Self::new() }
    }

    pub(crate) fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log)
    }

    pub(crate) fn options(&self) -> Options {
        let read_models = match &self.database {
            None => Location::Folder,
            Some(database) => Location::Postgres(database.options()),
        };
        Options { read_models, ..Options::new(self.folder.path()) }
    }

    /// Takes the read models away, as a lost disk would.
    pub(crate) async fn lose_read_models(&self) {
        let Some(database) = &self.database else {
            return std::fs::remove_dir_all(self.folder.path().join("read")).unwrap();
        };
        let mut schemas = vec!["aos_models".to_owned()];
        schemas.extend(database.generations("aos_models").await.iter().map(|n| format!("aos_models_{n}")));
        for schema in schemas {
            let drop = format!("DROP SCHEMA {schema} CASCADE");
            database.server.execute(database.name(), &drop).unwrap();
        }
    }

    /// The bytes the read models are kept in.
    pub(crate) async fn kept_read_models(&self) -> Vec<u8> {
        let mut kept = Vec::new();
        if let Some(database) = &self.database {
            for generation in database.generations("aos_models").await {
                kept.extend(database.contents(&format!("aos_models_{generation}")).await.into_bytes());
            }
        } else {
            for entry in std::fs::read_dir(self.folder.path().join("read")).unwrap() {
                kept.extend(std::fs::read(entry.unwrap().path()).unwrap());
            }
        }
        kept
    }

    /// The same projections over another log.
    pub(crate) fn with_log(self, log: Arc<dyn EventLog>) -> Self {
        Self { log, ..self }
    }

    pub(crate) async fn start(&self) -> Handle {
        Service::start(self.options(), self.log(), Arc::clone(&self.ring)).await.unwrap()
    }

    /// Appends one commit; every commit is a second later than the one before.
    pub(crate) async fn append<E: serde::Serialize + cqrs_es::DomainEvent>(
        &self,
        tenant: TenantId,
        aggregate_type: AggregateType,
        aggregate_id: Uuid,
        events: &[E],
    ) -> Position {
        self.append_with(tenant, aggregate_type, aggregate_id, events, None).await
    }

    /// The same; the first event has a body.
    pub(crate) async fn append_with<E: serde::Serialize + cqrs_es::DomainEvent>(
        &self,
        tenant: TenantId,
        aggregate_type: AggregateType,
        aggregate_id: Uuid,
        events: &[E],
        body: Option<&[u8]>,
    ) -> Position {
        let key = AggregateKey { tenant, aggregate_type, aggregate_id };
        let (version, prev_hash) = match self.versions.lock().get(&key) {
            Some((version, hash)) => (*version, Some(hex::encode(hash))),
            None => (0, None),
        };
        let mut stored: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(index, event)| {
                seal_event(&*self.ring, tenant, aggregate_id, 1, version + 1 + index as u64, event).unwrap()
            })
            .collect();
        if let Some(body) = body {
            let sealed: StoredBody =
                seal_body(&*self.ring, tenant, aggregate_id, 2, version + 1, body).unwrap();
            stored[0].body = Some(sealed);
        }
        let number = {
            let mut commits = self.commits.lock();
            *commits += 1;
            *commits
        };
        let header = CommitHeader {
            key,
            first_version: version + 1,
            command_id: CommandId(Uuid::from_u128(number as u128)),
            request_hash: None,
            actor: Actor::User(Uuid::from_u128(77)),
            correlation_id: Uuid::from_u128(number as u128),
            causation_id: None,
            recorded_at: epoch() + TimeDelta::seconds(number),
            key_id: 1,
            prev_hash,
            origin: None,
        };
        let appended = self.log.append(NewCommit { header, events: stored }).await.unwrap();
        self.versions.lock().insert(key, (version + events.len() as u64, appended.hash));
        appended.position
    }
}

pub(crate) fn tenant(number: u128) -> TenantId {
    TenantId(Uuid::from_u128(0x7e00 + number))
}
