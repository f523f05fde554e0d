//! Copies of the log, taken beside a running server, and logs made from them.
//!
//! A restored log has a new id: what its original went on to write after the copy has positions that
//! mean something else here, so a token of the original must be told apart.

use super::{FILE, schema};
use crate::{control::ControlStore, error::LogError, integrity::VerifyReport};
use autonomos_domain::ids::LogId;
use rusqlite::{Connection, params};
use std::{fs, path::Path};

const ARCHIVE: &str = "archive";

fn store(error: std::io::Error) -> LogError {
    LogError::Store(error.to_string())
}

/// Copies the log in `folder` into the empty folder `target`: one consistent state, acknowledged
/// commits included. Blocking; writers go on meanwhile.
pub fn backup(folder: &Path, target: &Path) -> Result<(), LogError> {
    fs::create_dir_all(target.join(ARCHIVE)).map_err(store)?;
    let copy = target.join(FILE);
    if copy.exists() {
        return Err(LogError::Store(format!("`{}` holds a backup already", target.display())));
    }
    let connection = schema::open_reader(&folder.join(FILE))?;
    connection.execute("VACUUM INTO ?1", params![copy.to_string_lossy()])?;
    // Segments are appended to and never rewritten: a copy taken after the table has at least what
    // the table's receipts name.
    for segment in fs::read_dir(folder.join(ARCHIVE)).map_err(store)? {
        let segment = segment.map_err(store)?;
        fs::copy(segment.path(), target.join(ARCHIVE).join(segment.file_name())).map_err(store)?;
    }
    Ok(())
}

/// Makes the log in the empty folder `folder` from the backup in `source`; the new log's id and
/// what the check of it said. Nothing is made from a damaged backup.
pub fn restore(source: &Path, folder: &Path) -> Result<(Option<LogId>, VerifyReport), LogError> {
    if folder.join(FILE).exists() {
        return Err(LogError::Store(format!("`{}` holds a log already", folder.display())));
    }
    // A backup is checked against itself: the control store beside the original is not part of it.
    let scratch = source.join(".control-of-restore.sqlite");
    let report = super::verify_folder(source, &ControlStore::open(&scratch)?);
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(source.join(format!(".control-of-restore.sqlite{suffix}")));
    }
    if !report.ok {
        return Ok((None, report));
    }
    fs::create_dir_all(folder.join(ARCHIVE)).map_err(store)?;
    for segment in fs::read_dir(source.join(ARCHIVE)).map_err(store)? {
        let segment = segment.map_err(store)?;
        fs::copy(segment.path(), folder.join(ARCHIVE).join(segment.file_name())).map_err(store)?;
    }
    let aside = folder.join("events.restoring");
    fs::copy(source.join(FILE), &aside).map_err(store)?;
    let id = LogId::random();
    {
        let connection = Connection::open(&aside)?;
        let original = schema::log_id(&connection)?;
        let transaction = connection.unchecked_transaction()?;
        transaction.execute("UPDATE meta SET value = ?1 WHERE key = 'log_id'", params![id.to_string()])?;
        transaction.execute(
            "INSERT INTO meta (key, value) VALUES ('restored_from', ?1)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            params![original.to_string()],
        )?;
        transaction.commit()?;
    }
    fs::rename(&aside, folder.join(FILE)).map_err(store)?;
    Ok((Some(id), report))
}
