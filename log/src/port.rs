//! The `EventLog` port: what every log adapter must do. The conformance suite is its meaning.

use crate::{
    error::{AppendError, LogError},
    integrity::Broken,
};
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{AggregateKey, AggregateType, CommitHeader, Hash, Position, StoredEvent},
    ids::{LogId, TenantId},
};
use bytes::Bytes;
use futures::stream::BoxStream;
use std::sync::Arc;

/// A commit ready to be appended. `header.prev_hash` and `header.first_version` state what the
/// writer believes; the log refuses the commit with [`AppendError::Conflict`] if it is not so.
#[derive(Debug, Clone)]
pub struct NewCommit {
    pub header: CommitHeader,
    pub events: Vec<StoredEvent>,
}

/// A commit as the log has it.
#[derive(Debug, Clone)]
pub struct StoredCommit {
    pub position: Position,
    pub header: CommitHeader,
    pub events: Vec<StoredEvent>,
    /// BLAKE3 of `bytes`.
    pub hash: Hash,
    /// Running hash of the cell up to and with this commit: BLAKE3(previous running hash ‖ hash).
    pub running_hash: Hash,
    /// Exactly what is stored; archives keep it verbatim.
    pub bytes: Bytes,
}

impl StoredCommit {
    /// Version of the last event.
    pub fn last_version(&self) -> u64 {
        self.header.first_version + self.events.len() as u64 - 1
    }
}

/// What an append answers.
#[derive(Debug, Clone, Copy)]
pub struct Appended {
    pub position: Position,
    pub hash: Hash,
}

/// Which commits a reader wants. The log filters, not the reader.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub tenant: Option<TenantId>,
    /// Empty: all.
    pub aggregate_types: Vec<AggregateType>,
}

/// A piece of a cell's history.
#[derive(Debug, Clone)]
pub struct Page {
    pub commits: Vec<Arc<StoredCommit>>,
    /// Everything up to here was looked at, matching or not.
    pub scanned_to: u64,
}

/// How much to read at most, whichever is reached first; at least one commit is returned if there is one.
#[derive(Debug, Clone, Copy)]
pub struct ReadLimit {
    pub commits: usize,
    pub bytes: usize,
}

/// The end of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// 0: empty.
    pub sequence: u64,
    pub running_hash: Hash,
}

/// What a live subscription yields.
#[derive(Debug, Clone)]
pub enum Delivery {
    Commit(Arc<StoredCommit>),
    /// Nothing that matches up to this sequence: a checkpoint may move there.
    CaughtUp(u64),
}

/// The cell a tenant lives in, in a log of that many.
pub fn cell_of(tenant: TenantId, cells: u16) -> u16 {
    let mut first = [0; 8];
    first.copy_from_slice(&blake3::hash(tenant.0.as_bytes()).as_bytes()[..8]);
    (u64::from_le_bytes(first) % u64::from(cells.max(1))) as u16
}

#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    fn log_id(&self) -> LogId;

    /// Number of cells, fixed when the log was made.
    fn cells(&self) -> u16;

    /// Whether other nodes append too: what this one remembers may then be out of date.
    fn has_other_writers(&self) -> bool {
        false
    }

    /// Whether this node sees what is appended, as far as it knows: it reaches the servers that hold the
    /// log and can write down what they send.
    fn is_following(&self) -> bool {
        true
    }

    /// The cell a tenant lives in.
    fn cell_of(&self, tenant: TenantId) -> u16 {
        cell_of(tenant, self.cells())
    }

    /// Appends one commit atomically and durably: when this returns, it survives a power cut.
    async fn append(&self, commit: NewCommit) -> Result<Appended, AppendError>;

    /// Commits of one aggregate with events after `after_version`, oldest first.
    async fn load(&self, key: &AggregateKey, after_version: u64) -> Result<Vec<StoredCommit>, LogError>;

    /// The aggregate's last commit.
    async fn load_last(&self, key: &AggregateKey) -> Result<Option<StoredCommit>, LogError>;

    /// Commits of a cell after `after`, oldest first.
    async fn read(&self, cell: u16, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError>;

    /// The end of a cell, as durable.
    async fn head(&self, cell: u16) -> Result<Head, LogError>;

    /// The running hash at a sequence, if the log has it.
    async fn running_hash(&self, cell: u16, sequence: u64) -> Result<Option<Hash>, LogError>;

    /// The last commit recorded at or before a moment, by the running maximum of `recorded_at`.
    async fn sequence_at(&self, cell: u16, time: chrono::DateTime<chrono::Utc>) -> Result<u64, LogError>;

    /// Everything after `after`, then live, without a gap or a repeat. Bounded: a slow reader
    /// reads from the store again instead of piling commits up.
    fn subscribe(
        &self,
        cell: u16,
        after: u64,
        filter: Filter,
    ) -> BoxStream<'static, Result<Delivery, LogError>>;

    /// Archives and removes commits of an aggregate: all of an ended one (`keep_last` false), else
    /// all but the last. Leaves a receipt, so that the holes are told from loss; `load`, `read` and
    /// `subscribe` go on yielding what was archived. Reservations are refused.
    async fn archive(&self, key: &AggregateKey, keep_last: bool) -> Result<u64, LogError>;

    /// What checks have found since the log was opened. Not empty: writers are stopped.
    fn damage(&self) -> Vec<Broken>;

    /// Why writers of a cell are stopped (the log was found damaged or rolled back), if they are.
    fn stopped(&self, cell: u16) -> Option<String>;

    /// Stops writers of a cell: appends fail with [`AppendError::Stopped`], reads go on.
    fn stop_writers(&self, cell: u16, reason: String);
}
