//! Wrapped keys in a file: an installation of one node.

use super::{KeyRow, KeyStoreError, Rows, Wrap};
use autonomos_domain::ids::TenantId;
use autonomos_log::seal::SealError;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};
use std::{fs, path::Path};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS secret(
    name TEXT PRIMARY KEY,
    wrapped BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tenant_key(
    tenant BLOB PRIMARY KEY,
    wrapped BLOB,
    next_key INTEGER NOT NULL,
    payload_key INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS data_key(
    tenant BLOB NOT NULL,
    key_id INTEGER NOT NULL,
    wrapped BLOB,
    PRIMARY KEY (tenant, key_id)
) WITHOUT ROWID;
";

pub(super) struct SqliteRows {
    connection: Mutex<Connection>,
}

impl SqliteRows {
    pub(super) fn open(database: &Path) -> Result<Self, KeyStoreError> {
        let connection = Connection::open(database)?;
        restrict(database).map_err(|source| KeyStoreError::Io { path: database.to_owned(), source })?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", true)?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Mutex::new(connection) })
    }

    fn transaction<T>(&self, work: impl FnOnce(&Connection) -> Result<T, SealError>) -> Result<T, SealError> {
        let mut connection = self.connection.lock();
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate).map_err(store)?;
        let done = work(&transaction)?;
        transaction.commit().map_err(store)?;
        Ok(done)
    }
}

impl Rows for SqliteRows {
    fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, SealError> {
        self.connection
            .lock()
            .query_row("SELECT wrapped FROM secret WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(store)
    }

    fn secret_put(&self, name: &str, wrapped: Vec<u8>) -> Result<Vec<u8>, SealError> {
        self.transaction(|connection| {
            connection
                .execute(
                    "INSERT INTO secret(name, wrapped) VALUES (?1, ?2) ON CONFLICT (name) DO NOTHING",
                    params![name, wrapped],
                )
                .map_err(store)?;
            connection
                .query_row("SELECT wrapped FROM secret WHERE name = ?1", [name], |row| row.get(0))
                .map_err(store)
        })
    }

    fn tenant_key(&self, tenant: TenantId) -> Result<KeyRow, SealError> {
        let connection = self.connection.lock();
        let row: Option<Option<Vec<u8>>> = connection
            .prepare_cached("SELECT wrapped FROM tenant_key WHERE tenant = ?1")
            .and_then(|mut query| query.query_row([tenant.0.as_bytes()], |row| row.get(0)).optional())
            .map_err(store)?;
        Ok(row.into())
    }

    fn tenant_key_put(&self, tenant: TenantId, wrapped: Vec<u8>) -> Result<KeyRow, SealError> {
        self.connection
            .lock()
            .execute(
                "INSERT INTO tenant_key(tenant, wrapped, next_key, payload_key) VALUES (?1, ?2, 1, 0)
                 ON CONFLICT (tenant) DO NOTHING",
                params![tenant.0.as_bytes(), wrapped],
            )
            .map_err(store)?;
        self.tenant_key(tenant)
    }

    fn payload_key(&self, tenant: TenantId, wrap: Wrap) -> Result<u64, SealError> {
        self.transaction(|connection| {
            let current: i64 = connection
                .query_row(
                    "SELECT payload_key FROM tenant_key WHERE tenant = ?1",
                    [tenant.0.as_bytes()],
                    |row| row.get(0),
                )
                .map_err(store)?;
            if current != 0 {
                return Ok(current as u64);
            }
            let key_id = keys_make(connection, tenant, 1, &wrap)?;
            connection
                .execute(
                    "UPDATE tenant_key SET payload_key = ?2 WHERE tenant = ?1",
                    params![tenant.0.as_bytes(), key_id as i64],
                )
                .map_err(store)?;
            Ok(key_id)
        })
    }

    fn data_keys_make(&self, tenant: TenantId, count: usize, wrap: Wrap) -> Result<u64, SealError> {
        self.transaction(|connection| keys_make(connection, tenant, count, &wrap))
    }

    fn data_key(&self, tenant: TenantId, key_id: u64) -> Result<KeyRow, SealError> {
        let connection = self.connection.lock();
        let row: Option<Option<Vec<u8>>> = connection
            .prepare_cached("SELECT wrapped FROM data_key WHERE tenant = ?1 AND key_id = ?2")
            .and_then(|mut query| {
                query.query_row(params![tenant.0.as_bytes(), key_id as i64], |row| row.get(0)).optional()
            })
            .map_err(store)?;
        Ok(row.into())
    }

    fn destroy(&self, tenant: TenantId, key_id: Option<u64>) -> Result<(), SealError> {
        // Overwritten first, then emptied: `secure_delete` zeroes what is freed, and the truncated
        // WAL keeps no older page.
        let connection = self.connection.lock();
        let destroy = |condition: &str, table: &str| {
            connection.execute_batch(&format!(
                "BEGIN IMMEDIATE;
                 UPDATE {table} SET wrapped = zeroblob(length(wrapped)) WHERE wrapped IS NOT NULL AND {condition};
                 UPDATE {table} SET wrapped = NULL WHERE {condition};
                 COMMIT;"
            ))
        };
        let of_tenant = format!("tenant = x'{}'", hex::encode(tenant.0.as_bytes()));
        match key_id {
            Some(key_id) => destroy(&format!("{of_tenant} AND key_id = {key_id}"), "data_key"),
            None => destroy(&of_tenant, "data_key").and_then(|()| destroy(&of_tenant, "tenant_key")),
        }
        .map_err(store)?;
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(store)
    }
}

/// Makes `count` data keys inside the caller's transaction; the first one's id.
fn keys_make(connection: &Connection, tenant: TenantId, count: usize, wrap: &Wrap) -> Result<u64, SealError> {
    let first: i64 = connection
        .query_row(
            "UPDATE tenant_key SET next_key = next_key + ?2 WHERE tenant = ?1 RETURNING next_key - ?2",
            params![tenant.0.as_bytes(), count as i64],
            |row| row.get(0),
        )
        .map_err(store)?;
    let mut insert = connection
        .prepare_cached("INSERT INTO data_key(tenant, key_id, wrapped) VALUES (?1, ?2, ?3)")
        .map_err(store)?;
    for (index, key_id) in (first..first + count as i64).enumerate() {
        insert.execute(params![tenant.0.as_bytes(), key_id, wrap(index, key_id as u64)]).map_err(store)?;
    }
    Ok(first as u64)
}

/// Copies the file beside a running server.
pub(super) fn copy(from: &Path, to: &Path) -> Result<(), KeyStoreError> {
    let connection = Connection::open(from)?;
    connection.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    restrict(to).map_err(|source| KeyStoreError::Io { path: to.to_owned(), source })
}

/// Whether a file holds keys.
pub(super) fn has_keys(database: &Path) -> Result<bool, KeyStoreError> {
    if !database.exists() {
        return Ok(false);
    }
    let connection = Connection::open(database)?;
    let tables: i64 =
        connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'secret'", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(false);
    }
    Ok(connection.query_row("SELECT EXISTS(SELECT 1 FROM secret)", [], |row| row.get(0))?)
}

fn restrict(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn store(error: rusqlite::Error) -> SealError {
    SealError::Store(error.to_string())
}
