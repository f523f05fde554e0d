//! Wrapped keys in the database that all nodes share. The master key that opens them never goes
//! there: whoever reads the database alone opens nothing.

use super::{KeyRow, Rows, Wrap};
use autonomos_domain::ids::TenantId;
use autonomos_log::{database::Database, error::LogError, seal::SealError};
use sqlx::PgConnection;
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS autonomos.secret (name TEXT PRIMARY KEY, wrapped BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS autonomos.tenant_key (
         tenant BYTEA PRIMARY KEY, wrapped BYTEA,
         next_key BIGINT NOT NULL, payload_key BIGINT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS autonomos.data_key (
         tenant BYTEA NOT NULL, key_id BIGINT NOT NULL, wrapped BYTEA,
         PRIMARY KEY (tenant, key_id))",
    "CREATE SEQUENCE IF NOT EXISTS autonomos.keys_destroyed",
];
/// How often a node looks whether another one destroyed a key.
const LOOK: Duration = Duration::from_millis(500);

pub(super) struct PostgresRows {
    database: Database,
    /// The watch ends with it.
    alive: Arc<()>,
}

impl PostgresRows {
    pub(super) async fn open(database: &Database) -> Result<Self, LogError> {
        database.define(TABLES).await?;
        Ok(Self { database: database.clone(), alive: Arc::new(()) })
    }

    pub(super) async fn has_keys(&self) -> Result<bool, LogError> {
        self.database
            .run(|pool| async move {
                sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM autonomos.secret)").fetch_one(&pool).await
            })
            .await
    }

    /// Calls `forget` whenever keys were destroyed, here or on another node, for as long as these rows
    /// are in use. While the database does not answer, everything is forgotten too: what is not known
    /// to be still there is asked for again.
    pub(super) fn watch(&self, forget: impl Fn() + Send + 'static) -> Result<(), LogError> {
        let alive = Arc::downgrade(&self.alive);
        // Weak, or the task would keep alive what it runs on.
        let database = self.database.downgrade();
        self.database.spawn(async move {
            let mut seen = None;
            while Weak::strong_count(&alive) > 0 {
                let Some(database) = database.upgrade() else { return };
                let looked = database
                    .run(|pool| async move {
                        sqlx::query_scalar::<_, i64>(
                            "SELECT CASE WHEN is_called THEN last_value ELSE 0 END
                             FROM autonomos.keys_destroyed",
                        )
                        .fetch_one(&pool)
                        .await
                    })
                    .await
                    .ok();
                drop(database);
                if looked.is_none() || seen != looked {
                    forget();
                }
                seen = looked;
                tokio::time::sleep(LOOK).await;
            }
        })
    }
}

impl Rows for PostgresRows {
    fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, SealError> {
        let name = name.to_owned();
        self.database
            .wait(move |pool| async move {
                sqlx::query_scalar("SELECT wrapped FROM autonomos.secret WHERE name = $1")
                    .bind(name)
                    .fetch_optional(&pool)
                    .await
            })
            .map_err(failed)
    }

    fn secret_put(&self, name: &str, wrapped: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let name = name.to_owned();
        self.database
            .wait(move |pool| async move {
                sqlx::query(
                    "INSERT INTO autonomos.secret (name, wrapped) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING",
                )
                .bind(&name)
                .bind(wrapped)
                .execute(&pool)
                .await?;
                sqlx::query_scalar("SELECT wrapped FROM autonomos.secret WHERE name = $1")
                    .bind(&name)
                    .fetch_one(&pool)
                    .await
            })
            .map_err(failed)
    }

    fn tenant_key(&self, tenant: TenantId) -> Result<KeyRow, SealError> {
        self.database
            .wait(move |pool| async move {
                sqlx::query_scalar::<_, Option<Vec<u8>>>(
                    "SELECT wrapped FROM autonomos.tenant_key WHERE tenant = $1",
                )
                .bind(bytes(tenant))
                .fetch_optional(&pool)
                .await
            })
            .map(KeyRow::from)
            .map_err(failed)
    }

    fn tenant_key_put(&self, tenant: TenantId, wrapped: Vec<u8>) -> Result<KeyRow, SealError> {
        self.database
            .wait(move |pool| async move {
                sqlx::query(
                    "INSERT INTO autonomos.tenant_key (tenant, wrapped, next_key, payload_key)
                     VALUES ($1, $2, 1, 0) ON CONFLICT (tenant) DO NOTHING",
                )
                .bind(bytes(tenant))
                .bind(wrapped)
                .execute(&pool)
                .await
            })
            .map_err(failed)?;
        self.tenant_key(tenant)
    }

    fn payload_key(&self, tenant: TenantId, wrap: Wrap) -> Result<u64, SealError> {
        let key_id = self
            .database
            .wait(move |pool| async move {
                let mut transaction = pool.begin().await?;
                // Locked: of two nodes that make the first payload key, one does.
                let current: i64 = sqlx::query_scalar(
                    "SELECT payload_key FROM autonomos.tenant_key WHERE tenant = $1 FOR UPDATE",
                )
                .bind(bytes(tenant))
                .fetch_one(&mut *transaction)
                .await?;
                if current != 0 {
                    return Ok(current);
                }
                let key_id = keys_make(&mut transaction, tenant, 1, &wrap).await?;
                sqlx::query("UPDATE autonomos.tenant_key SET payload_key = $2 WHERE tenant = $1")
                    .bind(bytes(tenant))
                    .bind(key_id)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
                Ok(key_id)
            })
            .map_err(failed)?;
        Ok(key_id as u64)
    }

    fn data_keys_make(&self, tenant: TenantId, count: usize, wrap: Wrap) -> Result<u64, SealError> {
        let first = self
            .database
            .wait(move |pool| async move {
                let mut transaction = pool.begin().await?;
                let first = keys_make(&mut transaction, tenant, count, &wrap).await?;
                transaction.commit().await?;
                Ok(first)
            })
            .map_err(failed)?;
        Ok(first as u64)
    }

    fn data_key(&self, tenant: TenantId, key_id: u64) -> Result<KeyRow, SealError> {
        self.database
            .wait(move |pool| async move {
                sqlx::query_scalar::<_, Option<Vec<u8>>>(
                    "SELECT wrapped FROM autonomos.data_key WHERE tenant = $1 AND key_id = $2",
                )
                .bind(bytes(tenant))
                .bind(key_id as i64)
                .fetch_optional(&pool)
                .await
            })
            .map(KeyRow::from)
            .map_err(failed)
    }

    fn destroy(&self, tenant: TenantId, key_id: Option<u64>) -> Result<(), SealError> {
        self.database
            .wait(move |pool| async move {
                let mut transaction = pool.begin().await?;
                sqlx::query(
                    "UPDATE autonomos.data_key SET wrapped = NULL
                     WHERE tenant = $1 AND ($2::bigint IS NULL OR key_id = $2)",
                )
                .bind(bytes(tenant))
                .bind(key_id.map(|key_id| key_id as i64))
                .execute(&mut *transaction)
                .await?;
                if key_id.is_none() {
                    sqlx::query("UPDATE autonomos.tenant_key SET wrapped = NULL WHERE tenant = $1")
                        .bind(bytes(tenant))
                        .execute(&mut *transaction)
                        .await?;
                }
                transaction.commit().await?;
                // After it: who sees the count has moved sees the keys gone.
                sqlx::query("SELECT nextval('autonomos.keys_destroyed')").execute(&pool).await?;
                // The old rows' bytes stay in their pages until those are vacuumed.
                let tables = if key_id.is_none() {
                    "VACUUM autonomos.data_key, autonomos.tenant_key"
                } else {
                    "VACUUM autonomos.data_key"
                };
                sqlx::query(tables).execute(&pool).await.map(|_| ())
            })
            .map_err(failed)
    }
}

/// Makes `count` data keys inside the caller's transaction; the first one's id.
async fn keys_make(
    connection: &mut PgConnection,
    tenant: TenantId,
    count: usize,
    wrap: &Wrap,
) -> Result<i64, sqlx::Error> {
    let first: i64 = sqlx::query_scalar(
        "UPDATE autonomos.tenant_key SET next_key = next_key + $2 WHERE tenant = $1 RETURNING next_key - $2",
    )
    .bind(bytes(tenant))
    .bind(count as i64)
    .fetch_one(&mut *connection)
    .await?;
    let ids: Vec<i64> = (first..first + count as i64).collect();
    let wrapped: Vec<Vec<u8>> =
        ids.iter().enumerate().map(|(index, key_id)| wrap(index, *key_id as u64)).collect();
    sqlx::query(
        "INSERT INTO autonomos.data_key (tenant, key_id, wrapped)
         SELECT $1, made.key_id, made.wrapped FROM unnest($2::bigint[], $3::bytea[]) AS made (key_id, wrapped)",
    )
    .bind(bytes(tenant))
    .bind(ids)
    .bind(wrapped)
    .execute(&mut *connection)
    .await?;
    Ok(first)
}

fn bytes(tenant: TenantId) -> Vec<u8> {
    tenant.0.as_bytes().to_vec()
}

fn failed(error: LogError) -> SealError {
    match error {
        LogError::Unreachable(reason) => SealError::Unreachable(reason),
        other => SealError::Store(other.to_string()),
    }
}
