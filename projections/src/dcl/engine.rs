//! Opens tenants' files, keeps a bounded number of them open, and hands out the writer and readers.

use super::{commit::OpenedCommit, tables};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Hash, ids::TenantId};
use duckdb::{Config, Connection};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Weak},
};

type Result<T> = std::result::Result<T, ProjectionError>;

/// How much the unified views may take.
#[derive(Debug, Clone)]
pub struct DclOptions {
    /// DuckDB's memory limit of one open file.
    pub memory_mb: u64,
    pub threads: i64,
    /// Files kept open though nobody uses them.
    pub open_files: usize,
}

impl Default for DclOptions {
    fn default() -> Self {
        Self { memory_mb: 192, threads: 2, open_files: 4 }
    }
}

/// The unified views of all tenants: `<dir>/<tenant>/<generation>.duckdb`, the live generation named
/// by `<dir>/<tenant>/current`.
pub struct Dcl {
    dir: PathBuf,
    options: DclOptions,
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// Every file that someone holds open: DuckDB does not open a file twice.
    alive: HashMap<PathBuf, Weak<Instance>>,
    /// The latest used, newest last.
    recent: Vec<Arc<Instance>>,
}

/// One open file: one writer, any number of readers.
pub struct Instance {
    path: PathBuf,
    root: Mutex<Connection>,
    writer: Mutex<TenantDcl>,
}

impl Instance {
    /// A connection of its own for a reader: it sees the last committed state and blocks nobody.
    pub fn reader(&self) -> Result<Connection> {
        Ok(self.root.lock().try_clone()?)
    }

    /// The writer; one at a time.
    pub fn writer(&self) -> MutexGuard<'_, TenantDcl> {
        self.writer.lock()
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Dcl {
    pub fn open(dir: impl Into<PathBuf>, options: DclOptions) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(|error| broken(&dir, &error))?;
        Ok(Self { dir, options, files: Mutex::default() })
    }

    fn tenant_dir(&self, tenant: TenantId) -> PathBuf {
        self.dir.join(tenant.to_string())
    }

    fn file(&self, tenant: TenantId, generation: u64) -> PathBuf {
        self.tenant_dir(tenant).join(format!("{generation}.duckdb"))
    }

    /// The live generation, if the tenant has one.
    pub fn generation(&self, tenant: TenantId) -> Result<Option<u64>> {
        let pointer = self.tenant_dir(tenant).join("current");
        match fs::read_to_string(&pointer) {
            Ok(text) => Ok(text.trim().parse().ok()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(broken(&pointer, &error)),
        }
    }

    /// The tenant's live file, if it has one.
    pub fn existing(&self, tenant: TenantId) -> Result<Option<Arc<Instance>>> {
        self.generation(tenant)?.map(|generation| self.instance(tenant, generation)).transpose()
    }

    /// The tenant's live file, made if there is none.
    pub fn live(&self, tenant: TenantId) -> Result<Arc<Instance>> {
        if let Some(instance) = self.existing(tenant)? {
            return Ok(instance);
        }
        let instance = self.instance(tenant, 1)?;
        self.publish(tenant, 1)?;
        Ok(instance)
    }

    /// Opens one generation of a tenant's file, made if it is not there: a rebuild fills the next
    /// one beside the live one and then calls [`Self::publish`].
    pub fn instance(&self, tenant: TenantId, generation: u64) -> Result<Arc<Instance>> {
        let path = self.file(tenant, generation);
        let mut files = self.files.lock();
        let instance = match files.alive.get(&path).and_then(Weak::upgrade) {
            Some(instance) => instance,
            None => {
                let dir = self.tenant_dir(tenant);
                fs::create_dir_all(&dir).map_err(|error| broken(&dir, &error))?;
                let instance = Arc::new(open_file(&path, &self.options)?);
                files.alive.insert(path.clone(), Arc::downgrade(&instance));
                instance
            }
        };
        files.recent.retain(|other| other.path != path);
        files.recent.push(instance.clone());
        while files.recent.len() > self.options.open_files.max(1) {
            files.recent.remove(0);
        }
        files.alive.retain(|_, weak| weak.strong_count() > 0);
        Ok(instance)
    }

    /// Makes a generation the live one; others are removed once nobody reads them.
    pub fn publish(&self, tenant: TenantId, generation: u64) -> Result<()> {
        let dir = self.tenant_dir(tenant);
        let (partial, pointer) = (dir.join("current.partial"), dir.join("current"));
        fs::write(&partial, generation.to_string()).map_err(|error| broken(&partial, &error))?;
        fs::rename(&partial, &pointer).map_err(|error| broken(&pointer, &error))?;
        self.sweep(tenant, generation)
    }

    /// Removes files of other generations that nobody holds open.
    pub fn sweep(&self, tenant: TenantId, keep: u64) -> Result<()> {
        let dir = self.tenant_dir(tenant);
        let mut files = self.files.lock();
        let kept = self.file(tenant, keep);
        files
            .recent
            .retain(|instance| instance.path == kept || instance.path.parent() != Some(dir.as_path()));
        for entry in fs::read_dir(&dir).map_err(|error| broken(&dir, &error))?.flatten() {
            let path = entry.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some((generation, _)) = name.split_once(".duckdb") else { continue };
            if generation == keep.to_string() {
                continue;
            }
            let held = files
                .alive
                .get(&dir.join(format!("{generation}.duckdb")))
                .is_some_and(|weak| weak.strong_count() > 0);
            if held {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| broken(&path, &error))?;
        }
        Ok(())
    }
}

fn broken(path: &Path, error: &std::io::Error) -> ProjectionError {
    ProjectionError::Views(format!("`{}`: {error}", path.display()))
}

fn open_file(path: &Path, options: &DclOptions) -> Result<Instance> {
    let config = Config::default()
        .max_memory(&format!("{}MB", options.memory_mb))?
        .threads(options.threads)?
        .enable_external_access(false)?
        .with("temp_directory", path.with_extension("duckdb.tmp").to_string_lossy())?
        .with("preserve_insertion_order", "false")?;
    let connection = Connection::open_with_flags(path, config)?;
    connection.execute_batch("SET TimeZone = 'UTC'")?;
    connection.execute_batch(tables::BASE)?;
    let writer = TenantDcl { connection: connection.try_clone()? };
    writer.connection.execute_batch("SET TimeZone = 'UTC'")?;
    Ok(Instance { path: path.to_owned(), root: Mutex::new(connection), writer: Mutex::new(writer) })
}

/// What an [`TenantDcl::apply`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    pub commits: u64,
    pub rows: u64,
}

/// The writer of one tenant's file. Blocking: call it off the async threads.
pub struct TenantDcl {
    connection: Connection,
}

impl TenantDcl {
    /// Up to where the file is, and the running hash of the cell there; 0 before the first commit.
    pub fn checkpoint(&self) -> Result<(u64, Hash)> {
        let sequence: Option<String> = self.meta("checkpoint")?;
        let hash: Option<String> = self.meta("running_hash")?;
        let sequence = sequence.and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut bytes = Hash::default();
        if let Some(text) = hash {
            hex::decode_to_slice(text, &mut bytes).map_err(|error| {
                ProjectionError::Views(format!("the checkpoint's hash is damaged: {error}"))
            })?;
        }
        Ok((sequence, bytes))
    }

    fn meta(&self, key: &str) -> Result<Option<String>> {
        let mut statement = self.connection.prepare("SELECT value FROM meta WHERE key = ?")?;
        let mut rows = statement.query([key])?;
        Ok(match rows.next()? {
            Some(row) => row.get(0)?,
            None => None,
        })
    }

    fn set_meta(&self, key: &str, value: &str) -> Result<()> {
        self.connection.execute("DELETE FROM meta WHERE key = ?", [key])?;
        self.connection.execute("INSERT INTO meta VALUES (?, ?)", [key, value])?;
        Ok(())
    }

    /// Moves the checkpoint past commits that do not concern the views.
    pub fn advance_checkpoint(&mut self, sequence: u64, running_hash: &Hash) -> Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        self.set_meta("checkpoint", &sequence.to_string())?;
        self.set_meta("running_hash", &hex::encode(running_hash))?;
        transaction.commit()?;
        Ok(())
    }

    /// Applies commits in order, in one transaction with the checkpoint.
    pub fn apply(&mut self, commits: &[OpenedCommit]) -> Result<Applied> {
        let Some(last) = commits.last() else { return Ok(Applied::default()) };
        let transaction = self.connection.unchecked_transaction()?;
        self.set_meta("checkpoint", &last.position.sequence.to_string())?;
        self.set_meta("running_hash", &hex::encode(last.running_hash))?;
        transaction.commit()?;
        Ok(Applied { commits: commits.len() as u64, rows: 0 })
    }
}
