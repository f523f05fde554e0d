//! The projector runtime: feeds projectors from the log, keeps their checkpoints, parks a tenant
//! whose commit cannot be applied, rebuilds beside the live generation, and lets readers wait for a
//! position.

use crate::{dcl::read::DclReads, error::ProjectionError, read_models::query::ReadModels};
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{port::EventLog, seal::KeyRing};
use serde::Serialize;
use std::{path::PathBuf, sync::Arc, time::Duration};

/// Names of the projectors there are.
pub const READ_MODELS: &str = "read_models";
pub const DCL: &str = "dcl";

/// How the projections run.
#[derive(Debug, Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    /// Commits of one tenant in one turn, while others wait.
    pub turn_commits: usize,
    /// Length of one turn, while others wait.
    pub turn_time: Duration,
    /// Commits in one transaction when catching up.
    pub bulk_commits: usize,
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            turn_commits: 64,
            turn_time: Duration::from_millis(50),
            bulk_commits: 2048,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProjectorStatus {
    /// Follows the log.
    Live,
    CatchingUp,
    Rebuilding,
    Paused,
    /// At least one tenant is parked.
    Poisoned,
    /// The log was found rolled back below the checkpoint.
    RolledBack,
    /// Its store failed: it tries again with back-off.
    Failing,
}

/// A tenant parked at a commit that could not be applied.
#[derive(Debug, Clone, Serialize)]
pub struct Poisoned {
    pub tenant: TenantId,
    #[serde(skip)]
    pub position: Position,
    pub code: String,
    pub message: String,
}

/// How a projector stands in one cell.
#[derive(Debug, Clone, Serialize)]
pub struct ProjectionState {
    pub name: String,
    pub version: u32,
    pub generation: u64,
    /// Inside form; the gateway turns it into an opaque token.
    #[serde(skip)]
    pub position: Position,
    /// Commits of the cell behind its head.
    pub lag: u64,
    pub status: ProjectorStatus,
    /// 0 to 1 while rebuilding.
    pub rebuild_progress: Option<f64>,
    pub message: Option<String>,
    pub poisoned: Vec<Poisoned>,
}

/// Starts the projections and hands out the [`Handle`].
pub struct Service;

/// How others talk to the projections. Cheap to clone.
#[derive(Clone)]
pub struct Handle {}

impl Service {
    /// Opens the stores (rebuilding what another projector version wrote), compares checkpoints
    /// with the log, and starts to follow it.
    pub async fn start(
        options: Options,
        log: Arc<dyn EventLog>,
        ring: Arc<dyn KeyRing>,
    ) -> Result<Handle, ProjectionError> {
        let _ = (options, log, ring);
        Ok(Handle {})
    }
}

impl Handle {
    /// The queries over the read models.
    pub fn read_models(&self) -> ReadModels {
        ReadModels {}
    }

    /// The queries over the unified views.
    pub fn dcl(&self) -> DclReads {
        DclReads {}
    }

    /// Waits until the projectors have applied everything of `tenant` up to `position`.
    pub async fn wait_for(
        &self,
        tenant: TenantId,
        position: Position,
        projectors: &[&str],
        timeout: Duration,
    ) -> Result<(), ProjectionError> {
        let _ = (tenant, position, projectors, timeout);
        Ok(())
    }

    /// Up to where the slowest of the projectors shows the tenant.
    pub fn position(&self, tenant: TenantId, projectors: &[&str]) -> Position {
        let _ = (tenant, projectors);
        Position { cell: 0, sequence: 0 }
    }

    pub async fn status(&self) -> Result<Vec<ProjectionState>, ProjectionError> {
        Ok(vec![])
    }

    pub async fn pause(&self, projector: &str) -> Result<(), ProjectionError> {
        let _ = projector;
        Ok(())
    }

    pub async fn resume(&self, projector: &str) -> Result<(), ProjectionError> {
        let _ = projector;
        Ok(())
    }

    /// Starts to fill a new generation beside the live one; it is swapped in when it has caught up.
    pub async fn rebuild(&self, projector: &str) -> Result<(), ProjectionError> {
        let _ = projector;
        Ok(())
    }

    /// Leaves out the commit a tenant is parked at and goes on behind it.
    pub async fn skip(&self, projector: &str, tenant: TenantId) -> Result<(), ProjectionError> {
        let _ = (projector, tenant);
        Ok(())
    }

    /// Tries the commit a tenant is parked at again.
    pub async fn retry(&self, projector: &str, tenant: TenantId) -> Result<(), ProjectionError> {
        let _ = (projector, tenant);
        Ok(())
    }

    /// Stops at the next transaction's end.
    pub async fn shutdown(&self) {}
}

/// Rebuilds a projector offline (no server running), reporting progress as (done, total) commits.
pub async fn rebuild_offline(
    options: Options,
    log: Arc<dyn EventLog>,
    ring: Arc<dyn KeyRing>,
    projector: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), ProjectionError> {
    let _ = (options, log, ring, projector, progress);
    Ok(())
}
