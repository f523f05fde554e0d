//! The control store of an installation of one node: a SQLite file beside the log's.

use super::{Anchor, Store};
use crate::{error::LogError, port::Head};
use autonomos_domain::ids::LogId;
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{path::Path, time::Duration};
use uuid::Uuid;

pub(super) struct SqliteControl {
    connection: Mutex<Connection>,
}

impl SqliteControl {
    pub(super) fn open(path: &Path) -> Result<Self, LogError> {
        let damaged = |error: rusqlite::Error| LogError::Damaged {
            place: path.display().to_string(),
            reason: error.to_string(),
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| LogError::Store(error.to_string()))?;
        }
        let connection = Connection::open(path).map_err(damaged)?;
        connection.busy_timeout(Duration::from_secs(10)).map_err(damaged)?;
        // A checkpoint lost in a power cut only makes a process manager look again.
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL;
                 PRAGMA synchronous = NORMAL;
                 CREATE TABLE IF NOT EXISTS heads (
                     cell INTEGER PRIMARY KEY, log_id BLOB NOT NULL,
                     sequence INTEGER NOT NULL, running_hash BLOB NOT NULL);
                 CREATE TABLE IF NOT EXISTS anchors (
                     cell INTEGER NOT NULL, sequence INTEGER NOT NULL,
                     merkle_root BLOB NOT NULL, running_hash BLOB NOT NULL,
                     PRIMARY KEY (cell, sequence)) WITHOUT ROWID;
                 CREATE TABLE IF NOT EXISTS process_checkpoints (
                     name TEXT NOT NULL, cell INTEGER NOT NULL, sequence INTEGER NOT NULL,
                     PRIMARY KEY (name, cell)) WITHOUT ROWID;",
            )
            .map_err(damaged)?;
        Ok(Self { connection: Mutex::new(connection) })
    }
}

impl Store for SqliteControl {
    fn head(&self, cell: u16) -> Result<Option<(LogId, Head)>, LogError> {
        let connection = self.connection.lock();
        let head = connection
            .query_row("SELECT log_id, sequence, running_hash FROM heads WHERE cell = ?1", [cell], |row| {
                let head = Head { sequence: row.get(1)?, running_hash: row.get(2)? };
                Ok((LogId(Uuid::from_bytes(row.get(0)?)), head))
            })
            .optional()?;
        Ok(head)
    }

    fn progress_put(&self, log_id: LogId, cell: u16, head: Head, anchors: &[Anchor]) -> Result<(), LogError> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        anchors_insert(&transaction, anchors)?;
        transaction.execute(
            "INSERT INTO heads (cell, log_id, sequence, running_hash) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (cell) DO UPDATE SET
                 log_id = excluded.log_id, sequence = excluded.sequence, running_hash = excluded.running_hash
             WHERE heads.log_id <> excluded.log_id OR heads.sequence <= excluded.sequence",
            params![cell, log_id.0.as_bytes(), head.sequence, head.running_hash],
        )?;
        transaction.commit()?;
        Ok(())
    }

    fn anchors(&self, cell: u16) -> Result<Vec<Anchor>, LogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "SELECT cell, sequence, merkle_root, running_hash FROM anchors WHERE cell = ?1 ORDER BY sequence",
        )?;
        let anchor = |row: &Row<'_>| {
            Ok(Anchor {
                cell: row.get(0)?,
                sequence: row.get(1)?,
                merkle_root: row.get(2)?,
                running_hash: row.get(3)?,
            })
        };
        let anchors = statement.query_map([cell], anchor)?.collect::<Result<_, _>>()?;
        Ok(anchors)
    }

    fn anchors_put(&self, anchors: &[Anchor]) -> Result<(), LogError> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        anchors_insert(&transaction, anchors)?;
        transaction.commit()?;
        Ok(())
    }

    fn process_checkpoint(&self, name: &str, cell: u16) -> Result<u64, LogError> {
        let connection = self.connection.lock();
        let mut statement = connection
            .prepare_cached("SELECT sequence FROM process_checkpoints WHERE name = ?1 AND cell = ?2")?;
        let sequence = statement.query_row(params![name, cell], |row| row.get(0)).optional()?;
        Ok(sequence.unwrap_or(0))
    }

    fn process_checkpoint_put(&self, name: &str, cell: u16, sequence: u64) -> Result<(), LogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "INSERT INTO process_checkpoints (name, cell, sequence) VALUES (?1, ?2, ?3)
             ON CONFLICT (name, cell) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
        )?;
        statement.execute(params![name, cell, sequence])?;
        Ok(())
    }
}

fn anchors_insert(connection: &Connection, anchors: &[Anchor]) -> Result<(), LogError> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO anchors (cell, sequence, merkle_root, running_hash) VALUES (?1, ?2, ?3, ?4)",
    )?;
    for anchor in anchors {
        statement.execute(params![anchor.cell, anchor.sequence, anchor.merkle_root, anchor.running_hash])?;
    }
    Ok(())
}
