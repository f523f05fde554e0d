//! Opens tenants' files, keeps a bounded number of them open, and hands out the writer and readers.

use super::{files, sql::Result, tables, tenant::TenantDcl};
use crate::error::ProjectionError;
use autonomos_domain::ids::TenantId;
use duckdb::{Config, Connection};
use parking_lot::{Mutex, MutexGuard};
use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, Semaphore};

/// How much the unified views may take.
#[derive(Debug, Clone)]
pub struct DclOptions {
    /// DuckDB's memory limit of one open file.
    pub memory_mb: u64,
    pub threads: i64,
    /// Files kept open though nobody uses them.
    pub open_files: usize,
    pub runs: Runs,
}

impl Default for DclOptions {
    fn default() -> Self {
        Self { memory_mb: 192, threads: 2, open_files: 4, runs: Runs::default() }
    }
}

/// How batches are gathered to be applied together. The tables come out the same whatever it says.
#[derive(Debug, Clone, Copy)]
pub struct Runs {
    /// Rows of a run at most, as long as memory holds them.
    pub rows: usize,
    /// Runs get no smaller than this when memory does not hold them.
    pub least_rows: usize,
    /// A run of so many rows is brought into its temporary tables before its transaction: rows of the
    /// transaction itself are read by one thread only.
    pub apart_rows: usize,
}

impl Default for Runs {
    /// Enough rows to pay for a run's statements, few enough to fit in memory. Two row groups of
    /// DuckDB, one for each of its threads: whole ones are written once, with the insert; parts of one
    /// go through its write-ahead log and are written again at the checkpoint, at twice the time and
    /// size (measured: 26 s and 263 MB at 160,000 rows, 13 s and 141 MB at two groups).
    fn default() -> Self {
        Self { rows: 245_760, least_rows: 1_024, apart_rows: 60_000 }
    }
}

/// The unified views of all tenants: `<dir>/<tenant>/<generation>.duckdb`, the live generation named
/// by `<dir>/<tenant>/current`.
pub struct Dcl {
    dir: PathBuf,
    options: DclOptions,
    files: Mutex<Files>,
    touched: Touched,
    /// Turns of those who compute a projection without writing it.
    dry_runs: Semaphore,
}

/// Tenants whose live views changed since somebody who keeps a copy of them last asked.
#[derive(Default)]
pub(crate) struct Touched {
    /// Somebody keeps a copy.
    wanted: AtomicBool,
    tenants: Mutex<BTreeSet<TenantId>>,
    some: Notify,
}

impl Touched {
    pub(crate) fn mark(&self, tenant: TenantId) {
        if self.wanted.load(Ordering::SeqCst) {
            self.tenants.lock().insert(tenant);
            self.some.notify_one();
        }
    }

    /// From now on tenants are noted; what was there before is not.
    pub(crate) fn want(&self) {
        self.wanted.store(true, Ordering::SeqCst);
    }

    /// Waits for a tenant. One asker at a time.
    pub(crate) async fn next(&self) -> TenantId {
        loop {
            let first = self.tenants.lock().pop_first();
            match first {
                Some(tenant) => return tenant,
                None => self.some.notified().await,
            }
        }
    }
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
    /// DuckDB gave it up: it is to be opened again once nobody holds it.
    lost: AtomicBool,
}

impl Instance {
    /// A connection of its own for a reader: it sees the last committed state and blocks nobody.
    pub fn reader(&self) -> Result<Connection> {
        let connected = || {
            let connection = self.root.lock().try_clone()?;
            connection.execute_batch("SET TimeZone = 'UTC'")?;
            Ok(connection)
        };
        self.noted(connected())
    }

    /// Remembers if an error says that the file is lost. Every use begins with a statement whose error
    /// comes here, so that whoever comes next opens the file again.
    pub(crate) fn note(&self, error: &ProjectionError) {
        if error.is_file_lost() && !self.lost.swap(true, Ordering::SeqCst) {
            tracing::warn!(path = %self.path.display(), %error, "a file of the unified views is opened again");
        }
    }

    /// The same, of a result.
    pub(crate) fn noted<T>(&self, result: Result<T>) -> Result<T> {
        result.inspect_err(|error| self.note(error))
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
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
        Ok(Self {
            dir,
            options,
            files: Mutex::default(),
            touched: Touched::default(),
            dry_runs: Semaphore::new(1),
        })
    }

    pub(super) const fn dry_runs(&self) -> &Semaphore {
        &self.dry_runs
    }

    pub(crate) const fn touched(&self) -> &Touched {
        &self.touched
    }

    pub(super) fn tenant_dir(&self, tenant: TenantId) -> PathBuf {
        self.dir.join(tenant.to_string())
    }

    pub(super) fn file(&self, tenant: TenantId, generation: u64) -> PathBuf {
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
        files.recent.retain(|instance| !instance.is_lost());
        let instance = match files.alive.get(&path).and_then(Weak::upgrade) {
            Some(instance) if instance.is_lost() => {
                let reason = "IO Error: it failed and is still in use: it is opened again in a moment";
                return Err(ProjectionError::Views(format!("`{}`: {reason}", path.display())));
            }
            Some(instance) => instance,
            None => {
                let dir = self.tenant_dir(tenant);
                fs::create_dir_all(&dir).map_err(|error| broken(&dir, &error))?;
                if !path.exists() {
                    // It is of a file that was taken away.
                    files::remove(&files::wal(&path))?;
                }
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

    /// Does something to a file while nobody can open it; false: somebody has it open.
    pub(super) fn with_closed(&self, path: &Path, act: impl FnOnce() -> Result<()>) -> Result<bool> {
        let mut files = self.files.lock();
        files.recent.retain(|instance| instance.path != path);
        if files.alive.get(path).is_some_and(|weak| weak.strong_count() > 0) {
            return Ok(false);
        }
        act().map(|()| true)
    }

    /// Makes a generation the live one; others are removed once nobody reads them.
    pub fn publish(&self, tenant: TenantId, generation: u64) -> Result<()> {
        let dir = self.tenant_dir(tenant);
        let (partial, pointer) = (dir.join("current.partial"), dir.join("current"));
        fs::write(&partial, generation.to_string()).map_err(|error| broken(&partial, &error))?;
        fs::rename(&partial, &pointer).map_err(|error| broken(&pointer, &error))?;
        self.touched.mark(tenant);
        self.sweep(tenant, generation)
    }

    /// Removes files of other generations that nobody holds open.
    pub fn sweep(&self, tenant: TenantId, keep: u64) -> Result<()> {
        let kept = keep.to_string();
        self.remove(tenant, |generation| generation != kept)
    }

    /// Removes the files of a generation that nobody holds open.
    pub fn discard(&self, tenant: TenantId, generation: u64) -> Result<()> {
        let given_up = generation.to_string();
        self.remove(tenant, |generation| generation == given_up)
    }

    fn remove(&self, tenant: TenantId, is_to_go: impl Fn(&str) -> bool) -> Result<()> {
        let dir = self.tenant_dir(tenant);
        let mut files = self.files.lock();
        files.recent.retain(|instance| {
            let generation = instance.path.file_stem().and_then(|name| name.to_str());
            instance.path.parent() != Some(dir.as_path()) || !generation.is_some_and(&is_to_go)
        });
        for entry in fs::read_dir(&dir).map_err(|error| broken(&dir, &error))?.flatten() {
            let path = entry.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
            let Some((generation, _)) = name.split_once(".duckdb") else { continue };
            if !is_to_go(generation) {
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

pub(super) fn broken(path: &Path, error: &std::io::Error) -> ProjectionError {
    ProjectionError::Views(format!("`{}`: {error}", path.display()))
}

fn open_file(path: &Path, options: &DclOptions) -> Result<Instance> {
    let config = Config::default()
        .max_memory(&format!("{}MB", options.memory_mb))?
        .threads(options.threads)?
        .with("temp_directory", path.with_extension("duckdb.tmp").to_string_lossy())?
        .with("preserve_insertion_order", "false")?
        .enable_external_access(false)?;
    let connection = Connection::open_with_flags(path, config)?;
    connection.execute_batch("SET TimeZone = 'UTC'")?;
    connection.execute_batch(tables::BASE)?;
    let writer = connection.try_clone()?;
    writer.execute_batch("SET TimeZone = 'UTC'")?;
    let writer = Mutex::new(TenantDcl::new(writer, options.runs));
    let root = Mutex::new(connection);
    Ok(Instance { path: path.to_owned(), root, writer, lost: AtomicBool::new(false) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_given_up_is_opened_again_once_nobody_holds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let dcl = Dcl::open(folder.path(), DclOptions::default()).expect("opens");
        let tenant = TenantId::random();
        let first = dcl.instance(tenant, 1).expect("opens");
        first.writer().note_set("kept", "yes").expect("writes");
        let reader = dcl.instance(tenant, 1).expect("the same file");
        assert!(first.noted::<()>(Err(ProjectionError::Views("Binder Error: no".to_owned()))).is_err());
        assert!(!first.is_lost(), "a statement that fails loses nothing");
        let fatal = "FATAL Error: Failed: database has been invalidated because of a previous fatal error";
        reader.note(&ProjectionError::Views(fatal.to_owned()));

        let refused = dcl.instance(tenant, 1).err().expect("it is not opened twice");
        assert!(refused.to_string().contains("IO Error"), "{refused}: another try can help");
        drop((first, reader));
        let again = dcl.instance(tenant, 1).expect("opens again");
        assert!(!again.is_lost());
        assert_eq!(again.writer().note("kept").expect("reads").as_deref(), Some("yes"));
    }
}
