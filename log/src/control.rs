//! What is kept beside the log, so that the log's own loss can be seen: the last durable head and
//! anchors over its history. A log file that lost its tail or was rolled back is consistent in
//! itself; only a second file can tell. Process managers keep their checkpoints here too.

mod postgres;
mod sqlite;

use crate::{database::Database, error::LogError, port::Head};
use autonomos_domain::{envelope::Hash, ids::LogId};
use std::path::Path;

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

/// The database beside the log: a file of its own, or tables that all nodes share. Blocking.
pub struct ControlStore {
    store: Box<dyn Store>,
}

/// What both databases do.
trait Store: Send + Sync {
    fn head(&self, cell: u16) -> Result<Option<(LogId, Head)>, LogError>;
    fn progress_put(&self, log_id: LogId, cell: u16, head: Head, anchors: &[Anchor]) -> Result<(), LogError>;
    fn anchors(&self, cell: u16) -> Result<Vec<Anchor>, LogError>;
    fn anchors_put(&self, anchors: &[Anchor]) -> Result<(), LogError>;
    fn process_checkpoint(&self, name: &str, cell: u16) -> Result<u64, LogError>;
    fn process_checkpoint_put(&self, name: &str, cell: u16, sequence: u64) -> Result<(), LogError>;
}

impl std::fmt::Debug for ControlStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ControlStore").finish_non_exhaustive()
    }
}

impl ControlStore {
    /// Opens or makes the file of an installation of one node.
    pub fn open(path: &Path) -> Result<Self, LogError> {
        Ok(Self { store: Box::new(sqlite::SqliteControl::open(path)?) })
    }

    /// Opens or makes the tables that all nodes of an installation share.
    pub async fn shared(database: &Database) -> Result<Self, LogError> {
        Ok(Self { store: Box::new(postgres::PostgresControl::open(database).await?) })
    }

    /// The last head written for a cell, and of which log.
    pub fn head(&self, cell: u16) -> Result<Option<(LogId, Head)>, LogError> {
        self.store.head(cell)
    }

    /// Writes a cell's head and new anchors in one transaction. A head further back than the one that
    /// is there stays away: who is behind must not make the others' witness forget.
    pub fn progress_put(
        &self,
        log_id: LogId,
        cell: u16,
        head: Head,
        anchors: &[Anchor],
    ) -> Result<(), LogError> {
        self.store.progress_put(log_id, cell, head, anchors)
    }

    /// A cell's anchors, oldest first.
    pub fn anchors(&self, cell: u16) -> Result<Vec<Anchor>, LogError> {
        self.store.anchors(cell)
    }

    /// Forgets nothing, adds anchors: for a log that has a past from before this store was made.
    pub fn anchors_put(&self, anchors: &[Anchor]) -> Result<(), LogError> {
        self.store.anchors_put(anchors)
    }

    /// How far a process manager has come in a cell; 0 before its first commit.
    pub fn process_checkpoint(&self, name: &str, cell: u16) -> Result<u64, LogError> {
        self.store.process_checkpoint(name, cell)
    }

    /// Moves a process manager's checkpoint, never back.
    pub fn process_checkpoint_put(&self, name: &str, cell: u16, sequence: u64) -> Result<(), LogError> {
        self.store.process_checkpoint_put(name, cell, sequence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_server::Postgres;
    use std::time::Duration;
    use uuid::Uuid;

    /// What every control store does, whatever it is kept in; `open` opens the same one again.
    async fn conformance(open: impl AsyncFn() -> ControlStore) {
        let log_id = LogId(Uuid::from_u128(1));
        let head = Head { sequence: 2048, running_hash: [7; 32] };
        let anchor = |sequence| Anchor { cell: 0, sequence, merkle_root: [1; 32], running_hash: [2; 32] };
        let control = open().await;
        assert_eq!(control.head(0).unwrap(), None);
        assert_eq!(control.process_checkpoint("sync", 0).unwrap(), 0);
        control.progress_put(log_id, 0, head, &[anchor(2048)]).unwrap();
        control.anchors_put(&[anchor(1024)]).unwrap();
        control.process_checkpoint_put("sync", 0, 5).unwrap();
        control.process_checkpoint_put("sync", 0, 9).unwrap();
        drop(control);

        let control = open().await;
        assert_eq!(control.head(0).unwrap(), Some((log_id, head)));
        assert_eq!(control.head(1).unwrap(), None);
        assert_eq!(control.anchors(0).unwrap(), [anchor(1024), anchor(2048)]);
        assert_eq!(control.process_checkpoint("sync", 0).unwrap(), 9);
        assert_eq!(control.process_checkpoint("sync", 1).unwrap(), 0);
        assert_eq!(control.process_checkpoint("other", 0).unwrap(), 0);

        // One that is behind takes nothing back, and what it adds is kept.
        let behind = Head { sequence: 1000, running_hash: [6; 32] };
        control.progress_put(log_id, 0, behind, &[anchor(512)]).unwrap();
        control.process_checkpoint_put("sync", 0, 8).unwrap();
        assert_eq!(control.head(0).unwrap(), Some((log_id, head)));
        assert_eq!(control.process_checkpoint("sync", 0).unwrap(), 9);
        assert_eq!(control.anchors(0).unwrap(), [anchor(512), anchor(1024), anchor(2048)]);
    }

    #[tokio::test]
    async fn what_was_put_in_a_file_is_there_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sqlite");
        conformance(async || ControlStore::open(&path).unwrap()).await;
    }

    #[tokio::test]
    async fn what_was_put_in_postgres_is_there_for_the_next_node() {
        let server = Postgres::shared();
        let url = server.database();
        conformance(async || {
            let database = Database::connect(&url, Duration::from_secs(10)).await.unwrap();
            ControlStore::shared(&database).await.unwrap()
        })
        .await;
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
