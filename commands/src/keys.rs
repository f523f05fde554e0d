//! The key store behind [`KeyRing`]: a database holds every key wrapped, a file (`master.key`) apart
//! from it unwraps them. A tenant's key is wrapped by the master key, its payload and batch keys by
//! the tenant's, so that dropping one row shreds a tenant. Destroyed keys leave a tombstone: what they
//! sealed is told apart from what was never known. The database is a file beside the master key, or
//! the one that all nodes share.

mod crypto;
mod master;
mod postgres;
mod sqlite;
#[cfg(test)]
mod tests;

use autonomos_domain::ids::TenantId;
use autonomos_log::{
    database::Database,
    error::LogError,
    seal::{KeyRing, SealError},
};
use bytes::{Bytes, BytesMut};
use chacha20poly1305::XChaCha20Poly1305;
use crypto::{cipher, decrypt, encrypt, key_context, random_key, unwrap, unwrap_key, wrap};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use uuid::Uuid;
use zeroize::Zeroizing;

const KEY_BYTES: usize = 32;
/// Unwrapped keys kept at most.
const CACHED_KEYS: u64 = 16_384;

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

impl From<LogError> for KeyStoreError {
    fn from(error: LogError) -> Self {
        Self::Store(error.to_string())
    }
}

/// A wrapped key as the database has it.
enum KeyRow {
    Unknown,
    Destroyed,
    Wrapped(Vec<u8>),
}

impl From<Option<Option<Vec<u8>>>> for KeyRow {
    fn from(row: Option<Option<Vec<u8>>>) -> Self {
        match row {
            None => Self::Unknown,
            Some(None) => Self::Destroyed,
            Some(Some(wrapped)) => Self::Wrapped(wrapped),
        }
    }
}

/// Wraps a new data key, by its place among those made together and by its id.
type Wrap = Box<dyn Fn(usize, u64) -> Vec<u8> + Send + Sync>;

/// What is kept of keys, and that only wrapped. Blocking; durable on return.
trait Rows: Send + Sync {
    fn secret(&self, name: &str) -> Result<Option<Vec<u8>>, SealError>;
    /// Keeps a secret unless there is one; what is there then.
    fn secret_put(&self, name: &str, wrapped: Vec<u8>) -> Result<Vec<u8>, SealError>;
    fn tenant_key(&self, tenant: TenantId) -> Result<KeyRow, SealError>;
    /// Keeps a tenant's key unless there is or was one; what is there then.
    fn tenant_key_put(&self, tenant: TenantId, wrapped: Vec<u8>) -> Result<KeyRow, SealError>;
    /// The id of the tenant's payload key; made if there is none. The tenant has a key.
    fn payload_key(&self, tenant: TenantId, wrap: Wrap) -> Result<u64, SealError>;
    /// Makes data keys with ids in a row; the first one's. The tenant has a key.
    fn data_keys_make(&self, tenant: TenantId, count: usize, wrap: Wrap) -> Result<u64, SealError>;
    fn data_key(&self, tenant: TenantId, key_id: u64) -> Result<KeyRow, SealError>;
    fn destroy(&self, tenant: TenantId, key_id: Option<u64>) -> Result<(), SealError>;
}

/// The keys of an installation.
pub struct KeyStore {
    rows: Box<dyn Rows>,
    master: XChaCha20Poly1305,
    unwrapped: Arc<Unwrapped>,
    reservation_key: Zeroizing<[u8; KEY_BYTES]>,
}

/// Keys in memory, ready for use.
struct Unwrapped {
    ciphers: moka::sync::Cache<(TenantId, u64), Arc<XChaCha20Poly1305>>,
    payload_keys: moka::sync::Cache<TenantId, u64>,
    /// Counts what was forgotten: who read a key before must not keep it after.
    forgotten: AtomicU64,
}

impl Unwrapped {
    fn new() -> Self {
        Self {
            ciphers: moka::sync::Cache::new(CACHED_KEYS),
            payload_keys: moka::sync::Cache::new(CACHED_KEYS),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Keeps a key that was read when `seen` had been forgotten.
    fn keep(&self, key: (TenantId, u64), cipher: &Arc<XChaCha20Poly1305>, seen: u64) {
        self.ciphers.insert(key, Arc::clone(cipher));
        if self.forgotten.load(Ordering::SeqCst) != seen {
            self.ciphers.invalidate(&key);
        }
    }

    fn seen(&self) -> u64 {
        self.forgotten.load(Ordering::SeqCst)
    }

    fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.payload_keys.invalidate_all();
        self.ciphers.invalidate_all();
    }

    fn forget(&self, tenant: TenantId, key_id: Option<u64>) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        if let Some(key_id) = key_id {
            self.ciphers.invalidate(&(tenant, key_id));
            return;
        }
        self.payload_keys.invalidate(&tenant);
        let cached: Vec<_> =
            self.ciphers.iter().map(|(key, _)| *key).filter(|(owner, _)| *owner == tenant).collect();
        for key in cached {
            self.ciphers.invalidate(&key);
        }
    }
}

impl KeyStore {
    /// Opens the key store in `directory`, making it with a new master key if there is none.
    pub fn open(directory: &Path) -> Result<Self, KeyStoreError> {
        let at = |source| KeyStoreError::Io { path: directory.to_owned(), source };
        fs::create_dir_all(directory).map_err(at)?;
        let database = directory.join("keys.sqlite");
        let master_path = directory.join("master.key");
        let master_key = master::open(&master_path, sqlite::has_keys(&database)?)?;
        let rows = sqlite::SqliteRows::open(&database)?;
        Self::with(Box::new(rows), &master_key, Arc::new(Unwrapped::new()), master_path)
    }

    /// Opens the key store that all nodes share. Each of them has the same file at `master_path`;
    /// the first one of an installation makes it. What one node destroys, no other opens a second
    /// later.
    pub async fn shared(database: &Database, master_path: &Path) -> Result<Self, KeyStoreError> {
        let rows = postgres::PostgresRows::open(database).await?;
        let master_key = master::open(master_path, rows.has_keys().await?)?;
        let unwrapped = Arc::new(Unwrapped::new());
        let watched = Arc::downgrade(&unwrapped);
        rows.watch(move || {
            if let Some(unwrapped) = watched.upgrade() {
                unwrapped.forget_all();
            }
        })?;
        Self::with(Box::new(rows), &master_key, unwrapped, master_path.to_owned())
    }

    fn with(
        rows: Box<dyn Rows>,
        master_key: &[u8; KEY_BYTES],
        unwrapped: Arc<Unwrapped>,
        master_path: PathBuf,
    ) -> Result<Self, KeyStoreError> {
        let master = cipher(master_key);
        let mut store = Self { rows, master, unwrapped, reservation_key: Zeroizing::new([0; KEY_BYTES]) };
        let reservation =
            store.secret("reservations", || random_key().to_vec()).map_err(|error| match error {
                SealError::Altered { .. } => KeyStoreError::MasterWrong { path: master_path },
                other => KeyStoreError::Store(other.to_string()),
            })?;
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
        sqlite::copy(&directory.join("keys.sqlite"), &copy)?;
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
        let wrapped = match self.rows.secret(name)? {
            Some(wrapped) => wrapped,
            // Of two nodes that make it, both take the one that was first.
            None => {
                let clear = Zeroizing::new(make());
                self.rows.secret_put(name, wrap(&self.master, name.as_bytes(), &clear))?
            }
        };
        unwrap(&self.master, name.as_bytes(), &wrapped)
            .ok_or(SealError::Altered { tenant: TenantId::SYSTEM, key_id: 0 })
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
    fn tenant_cipher(&self, tenant: TenantId) -> Result<XChaCha20Poly1305, SealError> {
        let row = match self.rows.tenant_key(tenant)? {
            KeyRow::Unknown => {
                let key = random_key();
                let wrapped = wrap(&self.master, tenant.0.as_bytes(), key.as_slice());
                self.rows.tenant_key_put(tenant, wrapped)?
            }
            known => known,
        };
        Self::unwrap_row(&self.master, tenant, 0, tenant.0.as_bytes(), row)
    }

    fn unwrap_row(
        wrapping: &XChaCha20Poly1305,
        tenant: TenantId,
        key_id: u64,
        context: &[u8],
        row: KeyRow,
    ) -> Result<XChaCha20Poly1305, SealError> {
        match row {
            KeyRow::Unknown => Err(SealError::Missing { tenant, key_id }),
            KeyRow::Destroyed => Err(SealError::Shredded { tenant, key_id }),
            KeyRow::Wrapped(wrapped) => unwrap_key(wrapping, context, &wrapped)
                .map(|key| cipher(&key))
                .ok_or(SealError::Altered { tenant, key_id }),
        }
    }

    fn cipher(&self, tenant: TenantId, key_id: u64) -> Result<Arc<XChaCha20Poly1305>, SealError> {
        if let Some(found) = self.unwrapped.ciphers.get(&(tenant, key_id)) {
            return Ok(found);
        }
        let seen = self.unwrapped.seen();
        let tenant_row = self.rows.tenant_key(tenant)?;
        let wrapping = Self::unwrap_row(&self.master, tenant, key_id, tenant.0.as_bytes(), tenant_row)?;
        let row = self.rows.data_key(tenant, key_id)?;
        let key = Self::unwrap_row(&wrapping, tenant, key_id, &key_context(tenant, key_id), row)?;
        let found = Arc::new(key);
        self.unwrapped.keep((tenant, key_id), &found, seen);
        Ok(found)
    }
}

/// New data keys and how they are wrapped.
fn new_keys(tenant: TenantId, count: usize, wrapping: XChaCha20Poly1305) -> (Arc<Vec<DataKey>>, Wrap) {
    let keys: Arc<Vec<DataKey>> = Arc::new((0..count).map(|_| random_key()).collect());
    let wrapped = Arc::clone(&keys);
    let wrap_one = move |index: usize, key_id: u64| {
        wrap(&wrapping, &key_context(tenant, key_id), wrapped[index].as_slice())
    };
    (keys, Box::new(wrap_one))
}

type DataKey = Zeroizing<[u8; KEY_BYTES]>;

impl KeyRing for KeyStore {
    fn payload_key(&self, tenant: TenantId) -> Result<u64, SealError> {
        if let Some(key_id) = self.unwrapped.payload_keys.get(&tenant) {
            return Ok(key_id);
        }
        let seen = self.unwrapped.seen();
        let (_, wrap) = new_keys(tenant, 1, self.tenant_cipher(tenant)?);
        let key_id = self.rows.payload_key(tenant, wrap)?;
        self.unwrapped.payload_keys.insert(tenant, key_id);
        if self.unwrapped.seen() != seen {
            self.unwrapped.payload_keys.invalidate(&tenant);
        }
        Ok(key_id)
    }

    fn batch_keys(&self, tenant: TenantId, count: usize) -> Result<Vec<u64>, SealError> {
        let seen = self.unwrapped.seen();
        let (keys, wrap) = new_keys(tenant, count, self.tenant_cipher(tenant)?);
        let first = self.rows.data_keys_make(tenant, count, wrap)?;
        let ids = keys.iter().zip(first..).map(|(key, key_id)| {
            self.unwrapped.keep((tenant, key_id), &Arc::new(cipher(key)), seen);
            key_id
        });
        Ok(ids.collect())
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
        let destroyed = self.rows.destroy(tenant, key_id);
        // Also if it failed half way: what is left is read again.
        self.unwrapped.forget(tenant, key_id);
        destroyed
    }
}
