//! Tenants' files as wholes: copied while nobody writes them, and put in the place of others.

use super::{
    engine::{Dcl, broken},
    sql::Result,
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Hash, ids::TenantId};
use duckdb::{AccessMode, Config, Connection};
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) version: Option<u32>,
    /// The last commit in it, and the running hash of the cell there.
    pub(crate) sequence: u64,
    pub(crate) running_hash: Hash,
}

impl Facts {
    /// Of a file that nobody has open.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        let config = Config::default()
            .access_mode(AccessMode::ReadOnly)?
            .max_memory("64MB")?
            .threads(1)?
            .enable_external_access(false)?;
        Self::read(&Connection::open_with_flags(path, config)?)
    }
}

impl Dcl {
    /// Copies a generation of a tenant's views while its writer is held: all of the write-ahead log is
    /// in the file then. Readers go on. Blocking.
    ///
    /// A second process is kept out of the folder by the log's own lock: DuckDB's goes when a file of
    /// this process's is closed, as the copy does.
    pub(crate) fn copy(&self, tenant: TenantId, generation: u64, to: &Path) -> Result<Facts> {
        let path = self.file(tenant, generation);
        if !path.exists() {
            // Opened, it would be made, and taken for all there is.
            return Err(ProjectionError::Views(format!("`{}` is gone", path.display())));
        }
        let instance = self.instance(tenant, generation)?;
        let writer = instance.writer();
        let facts = instance.noted(writer.settle())?;
        let ahead = wal(&path);
        if fs::metadata(&ahead).is_ok_and(|log| log.len() > 0) {
            return Err(ProjectionError::Views(format!("`{}` cannot be emptied now", ahead.display())));
        }
        fs::copy(&path, to).map_err(|error| broken(to, &error))?;
        Ok(facts)
    }

    /// Moves a file to where a generation of a tenant's views is; false: somebody has that one open.
    pub(crate) fn place(&self, tenant: TenantId, generation: u64, from: &Path) -> Result<bool> {
        let path = self.file(tenant, generation);
        self.with_closed(&path, || {
            let dir = self.tenant_dir(tenant);
            fs::create_dir_all(&dir).map_err(|error| broken(&dir, &error))?;
            // The file first: without it, it is missed at the next start; without its write-ahead log
            // it would be older than it is said to be.
            for old in [path.clone(), wal(&path)] {
                remove(&old)?;
            }
            fs::rename(from, &path).map_err(|error| broken(&path, &error))
        })
    }
}

pub(super) fn wal(path: &Path) -> PathBuf {
    path.with_extension("duckdb.wal")
}

pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(broken(path, &error)),
        _ => Ok(()),
    }
}
