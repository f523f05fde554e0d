//! What a projector is, and what its store must promise: rows and checkpoint move in one transaction.

use super::{
    opened::Opened,
    sql::{Session, Table},
};
use crate::error::ProjectionError;
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{AggregateType, Hash},
    ids::TenantId,
};
use autonomos_log::port::{EventLog, StoredCommit};
use std::{collections::BTreeMap, sync::Arc};

/// Where one tenant stands, when that is not the cell's low-water mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantMark {
    /// Everything up to here is applied, although the cell's mark is lower.
    Ahead { sequence: u64 },
    /// Catches up on its own from here: a skip, a retry or a lost file left it behind.
    Behind { sequence: u64 },
    /// Stands before the commit at this sequence, which could not be applied.
    Parked { sequence: u64, code: String, message: String },
}

/// How far a projector is in a cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CellCheckpoint {
    /// Counts writes: the compare-and-swap that fences a second owner.
    pub revision: u64,
    /// Low-water mark: every tenant not in `tenants` has everything up to here.
    pub sequence: u64,
    /// The running hash of the cell at `hash_sequence` (at or below `sequence`), hex of 32 bytes.
    pub hash_sequence: u64,
    pub hash: Option<Hash>,
    pub tenants: BTreeMap<TenantId, TenantMark>,
}

impl CellCheckpoint {
    /// The highest sequence this checkpoint says is applied: the log must reach it.
    pub fn highest(&self) -> u64 {
        let ahead = self.tenants.values().filter_map(|mark| match mark {
            TenantMark::Ahead { sequence } => Some(*sequence),
            TenantMark::Behind { .. } | TenantMark::Parked { .. } => None,
        });
        ahead.fold(self.sequence, u64::max)
    }
}

/// Commits of one tenant, in order.
#[derive(Debug, Clone)]
pub struct Turn {
    pub tenant: TenantId,
    pub commits: Vec<Arc<StoredCommit>>,
}

/// Why a batch was not applied. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// This commit can never be applied as things are; its tenant is parked before it.
    #[error("the commit at sequence {sequence} cannot be applied: {message}")]
    Poison { tenant: TenantId, sequence: u64, code: String, message: String },
    /// The store failed; the same batch is tried again.
    #[error(transparent)]
    Store(#[from] ProjectionError),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

/// The tables of a projector, in whichever database, and how commits change them.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    fn name(&self) -> &'static str;
    fn version(&self) -> u32;
    fn aggregate_types(&self) -> Vec<AggregateType>;
    /// The tables of a new generation. Each has a column `tenant`, by which Postgres keeps tenants
    /// apart.
    fn definitions(&self) -> Vec<Table>;
    /// Applies commits (of several tenants, each tenant's in order) inside the open transaction.
    async fn apply(&self, session: &mut Session<'_>, commits: &[Opened]) -> Result<(), ApplyError>;
}

/// One generation's tables.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Before the checkpoint is followed from: takes what an earlier owner left for the next one, so
    /// that less of the log is to be applied. Not asked of a generation that is built to replace
    /// another.
    async fn take_over(&self, _log: &dyn EventLog, _cell: u16) -> Result<(), ProjectionError> {
        Ok(())
    }

    async fn checkpoint(&self, cell: u16) -> Result<CellCheckpoint, ProjectionError>;

    /// Applies the turns and moves the checkpoint from `from` to `to`, all or nothing. Fails with
    /// [`ProjectionError::Fenced`] if the checkpoint is not `from` any more.
    async fn apply(
        &self,
        cell: u16,
        turns: &[Turn],
        from: &CellCheckpoint,
        to: &CellCheckpoint,
    ) -> Result<(), ApplyError>;

    /// Before the owner gives the generation up to another node, while it still shows it: leaves behind
    /// what shortens the other one's start. What is not done in time is done without.
    async fn hand_over(&self) {}

    /// Lets go of files and connections.
    async fn close(&self);
}

/// A projector: its name, its version, what it listens to, and where its generations live.
#[async_trait]
pub trait Projector: Send + Sync + 'static {
    fn name(&self) -> &'static str;

    /// Raised whenever the same log would give other rows or tables: the next start rebuilds.
    fn version(&self) -> u32;

    /// Aggregates it listens to.
    fn aggregate_types(&self) -> Vec<AggregateType>;

    /// Whether other nodes see the same store: they wait for its checkpoint, whoever moves it.
    fn is_shared(&self) -> bool {
        false
    }

    /// The live generation, if one was ever completed by this version of the projector.
    async fn live(&self) -> Result<Option<u64>, ProjectionError>;

    /// A number no generation has had.
    async fn next_generation(&self) -> Result<u64, ProjectionError>;

    /// Opens a generation for writing; makes it if it is new.
    async fn open(&self, generation: u64) -> Result<Arc<dyn Store>, ProjectionError>;

    /// Points readers to a generation, at once and for good.
    async fn activate(&self, generation: u64) -> Result<(), ProjectionError>;

    /// Removes every generation but this one.
    async fn keep_only(&self, generation: u64) -> Result<(), ProjectionError>;

    /// Removes a generation that was given up before it was ever live.
    async fn discard(&self, generation: u64) -> Result<(), ProjectionError>;
}
