//! Generations of a projector's store: which one is live is said by a small pointer file, replaced
//! by rename, so that a half-built generation is never taken for the live one.

use crate::error::ProjectionError;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

/// The pointer of one folder.
#[derive(Debug, Clone)]
pub(crate) struct Pointer {
    folder: PathBuf,
}

impl Pointer {
    pub(crate) fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The live generation, if there is one.
    pub(crate) fn read(&self) -> Result<Option<u64>, ProjectionError> {
        match fs::read_to_string(self.folder.join("current")) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| {
                ProjectionError::Store(format!(
                    "`{}` does not name a generation",
                    self.folder.join("current").display()
                ))
            }),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&self.folder, &error)),
        }
    }

    /// Makes a generation the live one: durable when this returns.
    pub(crate) fn write(&self, generation: u64) -> Result<(), ProjectionError> {
        let write = || -> std::io::Result<()> {
            fs::create_dir_all(&self.folder)?;
            let partial = self.folder.join("current.partial");
            let mut file = File::create(&partial)?;
            writeln!(file, "{generation}")?;
            file.sync_all()?;
            fs::rename(&partial, self.folder.join("current"))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(|error| failed(&self.folder, &error))
    }
}

/// Removes a database file and what SQLite or DuckDB keep beside it.
pub(crate) fn remove_database(path: &Path) -> Result<(), ProjectionError> {
    for suffix in ["", "-wal", "-shm", ".wal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(failed(path, &error)),
            _ => {}
        }
    }
    Ok(())
}

pub(crate) fn failed(path: &Path, error: &std::io::Error) -> ProjectionError {
    ProjectionError::Store(format!("`{}`: {error}", path.display()))
}
