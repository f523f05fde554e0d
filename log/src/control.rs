//! What is kept beside the log, so that the log's own loss can be seen: the last durable head and
//! anchors over its history. A log file that lost its tail or was rolled back is consistent in
//! itself; only a second file can tell. Process managers keep their checkpoints here too.

use crate::{error::LogError, port::Head};
use autonomos_domain::{envelope::Hash, ids::LogId};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::{path::Path, time::Duration};
use uuid::Uuid;

/// Commits per anchor.
pub const ANCHOR_COMMITS: u64 = 1024;

/// One commitment to a stretch of a cell's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anchor {
    pub cell: u16,
    /// The last commit it covers, a multiple of [`ANCHOR_COMMITS`].
    pub sequence: u64,
    /// Merkle root of the content hashes of the commits it covers.
    pub merkle_root: Hash,
    /// The cell's running hash at `sequence`.
    pub running_hash: Hash,
}

/// Merkle root of content hashes: pairs are hashed with BLAKE3, an odd one moves up as it is.
pub fn merkle_root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => crate::codec::running_hash(left, right),
                [single] => *single,
                _ => [0; 32],
            })
            .collect();
    }
    level.first().copied().unwrap_or_default()
}

/// The database beside the log.
#[derive(Debug)]
pub struct ControlStore {
    connection: Mutex<Connection>,
}

impl ControlStore {
    /// Opens or makes it. Blocking.
    pub fn open(path: &Path) -> Result<Self, LogError> {
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

    /// The last head written for a cell, and of which log.
    pub fn head(&self, cell: u16) -> Result<Option<(LogId, Head)>, LogError> {
        let connection = self.connection.lock();
        let head = connection
            .query_row("SELECT log_id, sequence, running_hash FROM heads WHERE cell = ?1", [cell], |row| {
                let head = Head { sequence: row.get(1)?, running_hash: row.get(2)? };
                Ok((LogId(Uuid::from_bytes(row.get(0)?)), head))
            })
            .optional()?;
        Ok(head)
    }

    /// Writes a cell's head and new anchors in one transaction.
    pub fn progress_put(
        &self,
        log_id: LogId,
        cell: u16,
        head: Head,
        anchors: &[Anchor],
    ) -> Result<(), LogError> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        anchors_insert(&transaction, anchors)?;
        transaction.execute(
            "INSERT OR REPLACE INTO heads (cell, log_id, sequence, running_hash) VALUES (?1, ?2, ?3, ?4)",
            params![cell, log_id.0.as_bytes(), head.sequence, head.running_hash],
        )?;
        transaction.commit()?;
        Ok(())
    }

    /// A cell's anchors, oldest first.
    pub fn anchors(&self, cell: u16) -> Result<Vec<Anchor>, LogError> {
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

    /// Forgets nothing, adds anchors: for a log that has a past from before this store was made.
    pub fn anchors_put(&self, anchors: &[Anchor]) -> Result<(), LogError> {
        let mut connection = self.connection.lock();
        let transaction = connection.transaction()?;
        anchors_insert(&transaction, anchors)?;
        transaction.commit()?;
        Ok(())
    }

    /// How far a process manager has come in a cell; 0 before its first commit.
    pub fn process_checkpoint(&self, name: &str, cell: u16) -> Result<u64, LogError> {
        let connection = self.connection.lock();
        let mut statement = connection
            .prepare_cached("SELECT sequence FROM process_checkpoints WHERE name = ?1 AND cell = ?2")?;
        let sequence = statement.query_row(params![name, cell], |row| row.get(0)).optional()?;
        Ok(sequence.unwrap_or(0))
    }

    /// Moves a process manager's checkpoint.
    pub fn process_checkpoint_put(&self, name: &str, cell: u16, sequence: u64) -> Result<(), LogError> {
        let connection = self.connection.lock();
        let mut statement = connection.prepare_cached(
            "INSERT OR REPLACE INTO process_checkpoints (name, cell, sequence) VALUES (?1, ?2, ?3)",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sqlite");
        let log_id = LogId(Uuid::from_u128(1));
        let head = Head { sequence: 2048, running_hash: [7; 32] };
        let anchor = |sequence| Anchor { cell: 0, sequence, merkle_root: [1; 32], running_hash: [2; 32] };
        let control = ControlStore::open(&path).unwrap();
        assert_eq!(control.head(0).unwrap(), None);
        assert_eq!(control.process_checkpoint("sync", 0).unwrap(), 0);
        control.progress_put(log_id, 0, head, &[anchor(2048)]).unwrap();
        control.anchors_put(&[anchor(1024)]).unwrap();
        control.process_checkpoint_put("sync", 0, 5).unwrap();
        control.process_checkpoint_put("sync", 0, 9).unwrap();
        drop(control);
        let control = ControlStore::open(&path).unwrap();
        assert_eq!(control.head(0).unwrap(), Some((log_id, head)));
        assert_eq!(control.head(1).unwrap(), None);
        assert_eq!(control.anchors(0).unwrap(), [anchor(1024), anchor(2048)]);
        assert_eq!(control.process_checkpoint("sync", 0).unwrap(), 9);
        assert_eq!(control.process_checkpoint("sync", 1).unwrap(), 0);
        assert_eq!(control.process_checkpoint("other", 0).unwrap(), 0);
    }

    #[test]
    fn merkle_root_depends_on_each_leaf_and_its_place() {
        let leaves: Vec<Hash> = (0..5).map(|leaf| [leaf; 32]).collect();
        let root = merkle_root(&leaves);
        assert_eq!(merkle_root(&[]), [0; 32]);
        assert_eq!(merkle_root(&leaves[..1]), leaves[0]);
        for leaf in 0..5 {
            let mut other = leaves.clone();
            other[leaf][0] ^= 1;
            assert_ne!(merkle_root(&other), root);
        }
        let mut swapped = leaves;
        swapped.swap(1, 2);
        assert_ne!(merkle_root(&swapped), root);
    }
}
