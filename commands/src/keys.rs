//! The key store behind [`KeyRing`]: `keys.sqlite` holds every key wrapped, `master.key` beside it
//! unwraps them. A tenant's key is wrapped by the master key, its payload and batch keys by the
//! tenant's, so that dropping one row shreds a tenant. Destroyed keys leave a tombstone: what they
//! sealed is told apart from what was never known.

use autonomos_domain::ids::TenantId;
use autonomos_log::seal::{KeyRing, SealError};
use bytes::{Bytes, BytesMut};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305, XNonce,
    aead::{AeadInOut, inout::InOutBuf},
};
use parking_lot::Mutex;
use rand::RngCore;
use rusqlite::{Connection, OptionalExtension, params};
use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use uuid::Uuid;
use zeroize::{Zeroize, Zeroizing};

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// Unwrapped keys kept at most.
const CACHED_KEYS: u64 = 16_384;
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

/// Why the key store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    #[error("`{path}` may be read by others (mode {mode:o}); it must be readable by its owner alone")]
    Permissions { path: PathBuf, mode: u32 },
    #[error("`{path}` is missing, but keys wrapped by it exist: put it back from its backup")]
    MasterMissing { path: PathBuf },
    #[error("`{path}` is not the key that the key store was made with")]
    MasterWrong { path: PathBuf },
    #[error("cannot read or write `{path}`: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the key store failed: {0}")]
    Store(String),
}

impl KeyStoreError {
    /// Stable code of the error.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Permissions { .. } => "AOS-0320",
            Self::MasterMissing { .. } | Self::MasterWrong { .. } => "AOS-0321",
            Self::Io { .. } | Self::Store(_) => "AOS-0322",
        }
    }
}

impl From<rusqlite::Error> for KeyStoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// The keys of an installation.
pub struct KeyStore {
    connection: Mutex<Connection>,
    master: XChaCha20Poly1305,
    ciphers: moka::sync::Cache<(TenantId, u64), Arc<XChaCha20Poly1305>>,
    payload_keys: moka::sync::Cache<TenantId, u64>,
    reservation_key: Zeroizing<[u8; KEY_BYTES]>,
}

impl KeyStore {
    /// Opens the key store in `directory`, making it with a new master key if there is none.
    pub fn open(directory: &Path) -> Result<Self, KeyStoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyStoreError::Io { path, source }
        };
        fs::create_dir_all(directory).map_err(at(directory))?;
        let database = directory.join("keys.sqlite");
        let known = database.exists();
        let master_path = directory.join("master.key");
        let master_key = match read_master(&master_path)? {
            Some(key) => key,
            None if known && has_keys(&database)? => {
                return Err(KeyStoreError::MasterMissing { path: master_path });
            }
            None => make_master(&master_path).map_err(at(&master_path))?,
        };
        let connection = Connection::open(&database)?;
        restrict(&database).map_err(at(&database))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "secure_delete", true)?;
        connection.execute_batch(SCHEMA)?;

        let mut store = Self {
            connection: Mutex::new(connection),
            master: cipher(&master_key),
            ciphers: moka::sync::Cache::new(CACHED_KEYS),
            payload_keys: moka::sync::Cache::new(CACHED_KEYS),
            reservation_key: Zeroizing::new([0; KEY_BYTES]),
        };
        let reservation = store
            .secret("reservations", || random_key().to_vec())
            .map_err(|_| KeyStoreError::MasterWrong { path: master_path })?;
        store.reservation_key.copy_from_slice(&reservation);
        Ok(store)
    }

    /// Copies the keys in `directory` into the new or empty folder `target`, beside a running server.
    /// Keep the copy apart from a backup of the log: together they open everything.
    pub fn backup(directory: &Path, target: &Path) -> Result<(), KeyStoreError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| KeyStoreError::Io { path, source }
        };
        fs::create_dir_all(target).map_err(at(target))?;
        let copy = target.join("keys.sqlite");
        if copy.exists() {
            return Err(KeyStoreError::Store(format!("`{}` holds keys already", target.display())));
        }
        let connection = Connection::open(directory.join("keys.sqlite"))?;
        connection.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        restrict(&copy).map_err(at(&copy))?;
        let master = target.join("master.key");
        // Copying keeps the file mode: its owner's alone.
        fs::copy(directory.join("master.key"), &master).map_err(at(&master))?;
        Ok(())
    }

    /// A secret of the installation, sealed with the master key; `make` gives it its first value.
    pub fn secret(
        &self,
        name: &str,
        make: impl FnOnce() -> Vec<u8>,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let connection = self.connection.lock();
        let wrapped: Option<Vec<u8>> = connection
            .query_row("SELECT wrapped FROM secret WHERE name = ?1", [name], |row| row.get(0))
            .optional()
            .map_err(store)?;
        if let Some(wrapped) = wrapped {
            return unwrap(&self.master, name.as_bytes(), &wrapped)
                .ok_or(SealError::Altered { tenant: TenantId::SYSTEM, key_id: 0 });
        }
        let clear = Zeroizing::new(make());
        connection
            .execute(
                "INSERT INTO secret(name, wrapped) VALUES (?1, ?2)",
                params![name, wrap(&self.master, name.as_bytes(), &clear)],
            )
            .map_err(store)?;
        Ok(clear)
    }

    /// The aggregate id of the reservation of `text`: a keyed hash, so that the log does not tell
    /// which texts are taken. `purpose` keeps the kinds of text apart.
    pub fn reservation_id(&self, purpose: &str, text: &str) -> Uuid {
        let mut hasher = blake3::Hasher::new_keyed(&self.reservation_key);
        hasher.update(&(purpose.len() as u64).to_be_bytes());
        hasher.update(purpose.as_bytes());
        hasher.update(text.as_bytes());
        let mut id = [0_u8; 16];
        id.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        uuid::Builder::from_random_bytes(id).into_uuid()
    }

    /// The tenant's own key, which wraps its data keys; made on first use.
    fn tenant_cipher(
        &self,
        connection: &Connection,
        tenant: TenantId,
    ) -> Result<XChaCha20Poly1305, SealError> {
        let row: Option<Option<Vec<u8>>> = connection
            .query_row("SELECT wrapped FROM tenant_key WHERE tenant = ?1", [tenant.0.as_bytes()], |row| {
                row.get(0)
            })
            .optional()
            .map_err(store)?;
        match row {
            Some(Some(wrapped)) => unwrap_key(&self.master, tenant.0.as_bytes(), &wrapped)
                .map(|key| cipher(&key))
                .ok_or(SealError::Altered { tenant, key_id: 0 }),
            Some(None) => Err(SealError::Shredded { tenant, key_id: 0 }),
            None => {
                let key = random_key();
                connection
                    .execute(
                        "INSERT INTO tenant_key(tenant, wrapped, next_key, payload_key) VALUES (?1, ?2, 1, 0)",
                        params![
                            tenant.0.as_bytes(),
                            wrap(&self.master, tenant.0.as_bytes(), key.as_slice())
                        ],
                    )
                    .map_err(store)?;
                Ok(cipher(&key))
            }
        }
    }

    /// Makes `count` data keys inside the caller's transaction.
    fn make_keys(
        &self,
        connection: &Connection,
        tenant: TenantId,
        count: usize,
    ) -> Result<Vec<(u64, XChaCha20Poly1305)>, SealError> {
        let wrapping = self.tenant_cipher(connection, tenant)?;
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
        let mut keys = Vec::with_capacity(count);
        for key_id in first..first + count as i64 {
            let key = random_key();
            let wrapped = wrap(&wrapping, &key_context(tenant, key_id as u64), key.as_slice());
            insert.execute(params![tenant.0.as_bytes(), key_id, wrapped]).map_err(store)?;
            keys.push((key_id as u64, cipher(&key)));
        }
        Ok(keys)
    }

    fn cipher(&self, tenant: TenantId, key_id: u64) -> Result<Arc<XChaCha20Poly1305>, SealError> {
        if let Some(found) = self.ciphers.get(&(tenant, key_id)) {
            return Ok(found);
        }
        let connection = self.connection.lock();
        let tenant_row: Option<Option<Vec<u8>>> = connection
            .prepare_cached("SELECT wrapped FROM tenant_key WHERE tenant = ?1")
            .and_then(|mut query| query.query_row([tenant.0.as_bytes()], |row| row.get(0)).optional())
            .map_err(store)?;
        let wrapping = match tenant_row {
            None => return Err(SealError::Missing { tenant, key_id }),
            Some(None) => return Err(SealError::Shredded { tenant, key_id }),
            Some(Some(wrapped)) => unwrap_key(&self.master, tenant.0.as_bytes(), &wrapped)
                .ok_or(SealError::Altered { tenant, key_id })?,
        };
        let key_row: Option<Option<Vec<u8>>> = connection
            .prepare_cached("SELECT wrapped FROM data_key WHERE tenant = ?1 AND key_id = ?2")
            .and_then(|mut query| {
                query.query_row(params![tenant.0.as_bytes(), key_id as i64], |row| row.get(0)).optional()
            })
            .map_err(store)?;
        let key = match key_row {
            None => return Err(SealError::Missing { tenant, key_id }),
            Some(None) => return Err(SealError::Shredded { tenant, key_id }),
            Some(Some(wrapped)) => unwrap_key(&cipher(&wrapping), &key_context(tenant, key_id), &wrapped)
                .ok_or(SealError::Altered { tenant, key_id })?,
        };
        // Still under the connection's lock: a key destroyed meanwhile must not come back into the cache.
        let found = Arc::new(cipher(&key));
        self.ciphers.insert((tenant, key_id), Arc::clone(&found));
        Ok(found)
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

impl KeyRing for KeyStore {
    fn payload_key(&self, tenant: TenantId) -> Result<u64, SealError> {
        if let Some(key_id) = self.payload_keys.get(&tenant) {
            return Ok(key_id);
        }
        let key_id = self.transaction(|connection| {
            self.tenant_cipher(connection, tenant)?;
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
            let (key_id, _) = self.make_keys(connection, tenant, 1)?.remove(0);
            connection
                .execute(
                    "UPDATE tenant_key SET payload_key = ?2 WHERE tenant = ?1",
                    params![tenant.0.as_bytes(), key_id as i64],
                )
                .map_err(store)?;
            Ok(key_id)
        })?;
        self.payload_keys.insert(tenant, key_id);
        Ok(key_id)
    }

    fn batch_keys(&self, tenant: TenantId, count: usize) -> Result<Vec<u64>, SealError> {
        let keys = self.transaction(|connection| self.make_keys(connection, tenant, count))?;
        Ok(keys
            .into_iter()
            .map(|(key_id, cipher)| {
                self.ciphers.insert((tenant, key_id), Arc::new(cipher));
                key_id
            })
            .collect())
    }

    fn seal(&self, tenant: TenantId, key_id: u64, context: &[u8], clear: &[u8]) -> Result<Bytes, SealError> {
        if key_id == 0 {
            return Ok(Bytes::copy_from_slice(clear));
        }
        Ok(encrypt(&*self.cipher(tenant, key_id)?, context, clear).freeze())
    }

    fn open(&self, tenant: TenantId, key_id: u64, context: &[u8], sealed: &[u8]) -> Result<Bytes, SealError> {
        if key_id == 0 {
            return Ok(Bytes::copy_from_slice(sealed));
        }
        decrypt(&*self.cipher(tenant, key_id)?, context, sealed)
            .map(BytesMut::freeze)
            .ok_or(SealError::Altered { tenant, key_id })
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
        connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(store)?;
        match key_id {
            Some(key_id) => self.ciphers.invalidate(&(tenant, key_id)),
            None => {
                self.payload_keys.invalidate(&tenant);
                let cached: Vec<_> =
                    self.ciphers.iter().map(|(key, _)| *key).filter(|(owner, _)| *owner == tenant).collect();
                for key in cached {
                    self.ciphers.invalidate(&key);
                }
            }
        }
        Ok(())
    }
}

fn store(error: rusqlite::Error) -> SealError {
    SealError::Store(error.to_string())
}

/// What is authenticated with a wrapped data key: it cannot be passed off as another.
fn key_context(tenant: TenantId, key_id: u64) -> [u8; 24] {
    let mut context = [0_u8; 24];
    context[..16].copy_from_slice(tenant.0.as_bytes());
    context[16..].copy_from_slice(&key_id.to_be_bytes());
    context
}

fn cipher(key: &[u8; KEY_BYTES]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn random_key() -> Zeroizing<[u8; KEY_BYTES]> {
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    rand::rng().fill_bytes(key.as_mut_slice());
    key
}

/// Nonce ‖ ciphertext ‖ tag, in one allocation.
fn encrypt(cipher: &XChaCha20Poly1305, context: &[u8], clear: &[u8]) -> BytesMut {
    let mut sealed = BytesMut::zeroed(NONCE_BYTES + clear.len() + TAG_BYTES);
    let (nonce_bytes, rest) = sealed.split_at_mut(NONCE_BYTES);
    rand::rng().fill_bytes(nonce_bytes);
    let (text, tag_bytes) = rest.split_at_mut(clear.len());
    text.copy_from_slice(clear);
    let nonce = XNonce::try_from(&*nonce_bytes).expect("the nonce has its length by construction");
    let tag = cipher
        .encrypt_inout_detached(&nonce, context, InOutBuf::from(text))
        .expect("XChaCha20 takes 256 GiB, more than fits in a commit");
    tag_bytes.copy_from_slice(&tag);
    sealed
}

fn decrypt(cipher: &XChaCha20Poly1305, context: &[u8], sealed: &[u8]) -> Option<BytesMut> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_BYTES)?;
    let (text, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_BYTES)?)?;
    let mut clear = BytesMut::from(text);
    cipher
        .decrypt_inout_detached(
            &XNonce::try_from(nonce).ok()?,
            context,
            InOutBuf::from(clear.as_mut()),
            &tag.try_into().ok()?,
        )
        .ok()?;
    Some(clear)
}

fn wrap(cipher: &XChaCha20Poly1305, context: &[u8], clear: &[u8]) -> Vec<u8> {
    encrypt(cipher, context, clear).to_vec()
}

fn unwrap(cipher: &XChaCha20Poly1305, context: &[u8], wrapped: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut clear = decrypt(cipher, context, wrapped)?;
    let kept = Zeroizing::new(clear.to_vec());
    clear.zeroize();
    Some(kept)
}

fn unwrap_key(
    cipher: &XChaCha20Poly1305,
    context: &[u8],
    wrapped: &[u8],
) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let clear = unwrap(cipher, context, wrapped)?;
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    if clear.len() != KEY_BYTES {
        return None;
    }
    key.copy_from_slice(&clear);
    Some(key)
}

fn has_keys(database: &Path) -> Result<bool, KeyStoreError> {
    let connection = Connection::open(database)?;
    let tables: i64 =
        connection
            .query_row("SELECT count(*) FROM sqlite_master WHERE name = 'secret'", [], |row| row.get(0))?;
    if tables == 0 {
        return Ok(false);
    }
    Ok(connection.query_row("SELECT EXISTS(SELECT 1 FROM secret)", [], |row| row.get(0))?)
}

fn read_master(path: &Path) -> Result<Option<Zeroizing<[u8; KEY_BYTES]>>, KeyStoreError> {
    let io = |source| KeyStoreError::Io { path: path.to_owned(), source };
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyStoreError::Permissions { path: path.to_owned(), mode });
        }
    }
    let mut key = Zeroizing::new([0_u8; KEY_BYTES]);
    file.read_exact(key.as_mut_slice()).map_err(io)?;
    Ok(Some(key))
}

/// Written under another name first: a crash leaves no half key.
fn make_master(path: &Path) -> std::io::Result<Zeroizing<[u8; KEY_BYTES]>> {
    let key = random_key();
    let partial = path.with_extension("partial");
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let mut file = options.open(&partial)?;
    file.write_all(key.as_slice())?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    if let Some(directory) = path.parent() {
        fs::File::open(directory)?.sync_all()?;
    }
    Ok(key)
}

fn restrict(path: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_bytes_open_again_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let tenant = TenantId::random();
        let (key_id, batch, sealed, reservation) = {
            let store = KeyStore::open(folder.path()).unwrap();
            let key_id = store.payload_key(tenant).unwrap();
            let batch = store.batch_keys(tenant, 3).unwrap();
            let sealed = store.seal(tenant, batch[1], b"place", b"clear").unwrap();
            (key_id, batch, sealed, store.reservation_id("email", "a@b.c"))
        };
        let store = KeyStore::open(folder.path()).unwrap();
        assert_eq!(store.payload_key(tenant).unwrap(), key_id);
        assert_eq!(batch.len(), 3);
        assert!(!batch.contains(&key_id));
        assert_eq!(&store.open(tenant, batch[1], b"place", &sealed).unwrap()[..], b"clear");
        assert_eq!(store.reservation_id("email", "a@b.c"), reservation);
        assert_ne!(store.reservation_id("emaila", "@b.c"), reservation);
    }

    #[test]
    fn what_was_moved_or_altered_does_not_open() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(folder.path()).unwrap();
        let tenant = TenantId::random();
        let key_id = store.payload_key(tenant).unwrap();
        let sealed = store.seal(tenant, key_id, b"here", b"clear").unwrap();
        assert!(matches!(store.open(tenant, key_id, b"there", &sealed), Err(SealError::Altered { .. })));
        let mut altered = sealed.to_vec();
        altered[30] ^= 1;
        assert!(matches!(store.open(tenant, key_id, b"here", &altered), Err(SealError::Altered { .. })));
        assert!(matches!(store.open(tenant, key_id, b"here", b"short"), Err(SealError::Altered { .. })));
        let other = TenantId::random();
        assert!(matches!(store.open(other, key_id, b"here", &sealed), Err(SealError::Missing { .. })));
    }

    #[test]
    fn a_destroyed_key_opens_nothing_and_never_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let tenant = TenantId::random();
        let other = TenantId::random();
        let store = KeyStore::open(folder.path()).unwrap();
        let keys = store.batch_keys(tenant, 2).unwrap();
        let kept = store.batch_keys(other, 1).unwrap()[0];
        let sealed: Vec<_> =
            keys.iter().map(|key| store.seal(tenant, *key, b"", b"clear").unwrap()).collect();
        let kept_sealed = store.seal(other, kept, b"", b"clear").unwrap();

        store.destroy(tenant, Some(keys[0])).unwrap();
        assert!(matches!(store.open(tenant, keys[0], b"", &sealed[0]), Err(SealError::Shredded { .. })));
        assert!(store.open(tenant, keys[1], b"", &sealed[1]).is_ok());

        store.destroy(tenant, None).unwrap();
        assert!(matches!(store.open(tenant, keys[1], b"", &sealed[1]), Err(SealError::Shredded { .. })));
        assert!(matches!(store.payload_key(tenant), Err(SealError::Shredded { .. })));
        assert!(store.open(other, kept, b"", &kept_sealed).is_ok());
    }

    #[cfg(unix)]
    #[test]
    fn a_master_key_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        drop(KeyStore::open(folder.path()).unwrap());
        let master = folder.path().join("master.key");
        assert_eq!(fs::metadata(&master).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&master, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(KeyStore::open(folder.path()), Err(KeyStoreError::Permissions { .. })));
    }

    #[test]
    fn a_lost_or_foreign_master_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        drop(KeyStore::open(folder.path()).unwrap());
        let master = folder.path().join("master.key");
        fs::remove_file(&master).unwrap();
        assert!(matches!(KeyStore::open(folder.path()), Err(KeyStoreError::MasterMissing { .. })));
        make_master(&master).unwrap();
        assert!(matches!(KeyStore::open(folder.path()), Err(KeyStoreError::MasterWrong { .. })));
    }
}
