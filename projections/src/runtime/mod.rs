//! The projector runtime: feeds projectors from the log, keeps their checkpoints, parks a tenant
//! whose commit cannot be applied, rebuilds beside the live generation, and lets readers wait for a
//! position.

mod checkpoint;
mod dcl;
mod follower;
mod generations;
mod live;
mod location;
mod opened;
mod postgres;
mod projector;
mod remote;
mod runner;
mod seat;
pub mod sql;
mod sqlite;
mod window;

pub use live::{Live, LivePool};
pub use location::{Address, Location, PostgresOptions};
pub use opened::{Event, Opened};
pub(crate) use postgres::access;
pub use postgres::{LiveSchema, PostgresProjector};
pub use projector::{ApplyError, CellCheckpoint, Projector, Store, Tables, TenantMark, Turn};
pub use seat::lease_name;
pub use sqlite::SqliteProjector;

use crate::{
    dcl::{Dcl, DclOptions, read::DclReads, tables::PROJECTOR_VERSION},
    error::ProjectionError,
    read_models::{ReadModelTables, query::ReadModels},
    snapshots::{SnapshotOptions, Snapshots},
    unified::Unified,
};
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{lease::Leases, port::EventLog, seal::KeyRing};
use follower::Order;
use runner::Runner;
use schemars::JsonSchema;
use seat::Seat;
use serde::Serialize;
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

/// Names of the projectors there are.
pub const READ_MODELS: &str = "read_models";
pub const DCL: &str = "dcl";

/// How the projections run.
#[derive(Clone)]
pub struct Options {
    pub data_dir: PathBuf,
    pub read_models: Location,
    /// Where the unified views are copied to, if anywhere.
    pub unified_tables: Option<PostgresOptions>,
    /// Commits of one tenant in one turn, while others wait.
    pub turn_commits: usize,
    /// Length of one turn, while others wait.
    pub turn_time: Duration,
    /// Commits in one transaction when catching up.
    pub bulk_commits: usize,
    /// Stored bytes in one transaction.
    pub turn_bytes: usize,
    /// Stored bytes read ahead of what is applied.
    pub read_ahead_bytes: usize,
    pub dcl: DclOptions,
    /// Where snapshots of the unified views go, if anywhere.
    pub snapshots: Option<SnapshotOptions>,
    pub part: Part,
}

/// Which node keeps the projections.
#[derive(Clone, Default)]
pub enum Part {
    /// There is one.
    #[default]
    Alone,
    /// Of several, the one that holds a projection's lease; a node that `keeps` none looks at what
    /// the others keep, as far as it is shared.
    Shared { leases: Leases, keeps: bool },
}

impl Options {
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            read_models: Location::default(),
            unified_tables: None,
            turn_commits: 64,
            turn_time: Duration::from_millis(50),
            bulk_commits: 2048,
            turn_bytes: 20 << 20,
            read_ahead_bytes: 20 << 20,
            dcl: DclOptions::default(),
            snapshots: None,
            part: Part::default(),
        }
    }

    /// Commits not subscribed to that may pass before the checkpoint alone is written. Where other
    /// nodes wait for it, none may: they see nothing else.
    const fn idle_checkpoint(&self) -> u64 {
        match self.part {
            Part::Alone => 1024,
            Part::Shared { .. } => 1,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Poisoned {
    pub tenant: TenantId,
    #[serde(skip)]
    pub position: Position,
    pub code: String,
    pub message: String,
}

/// How a projector stands in one cell.
#[derive(Debug, Clone, Serialize, JsonSchema)]
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
pub struct Handle {
    inner: Arc<Inner>,
}

struct Inner {
    seats: Vec<Seat>,
    read_models: ReadModels,
    dcl: DclReads,
    unified: Option<Unified>,
}

/// Where the schemas of the read models begin, in Postgres.
const READ_MODELS_SCHEMA: &str = "aos_models";

struct Parts {
    read_models: Arc<dyn Projector>,
    reads: ReadModels,
    dcl_projector: Arc<dcl::DclProjector>,
    dcl: Arc<Dcl>,
    snapshots: Option<Arc<Snapshots>>,
}

async fn parts(
    options: &Options,
    log: &dyn EventLog,
    ring: &Arc<dyn KeyRing>,
) -> Result<Parts, ProjectionError> {
    let (tables, keys) = (Arc::new(ReadModelTables), Arc::clone(ring));
    let (read_models, reads): (Arc<dyn Projector>, Live) = match &options.read_models {
        Location::Folder => {
            let projector = SqliteProjector::new(options.data_dir.join("read"), "models", tables, keys);
            let reads = projector.reads();
            (Arc::new(projector), reads)
        }
        Location::Postgres(postgres) => {
            let projector =
                PostgresProjector::connect(postgres.clone(), READ_MODELS_SCHEMA, tables, keys).await?;
            let reads = projector.reads();
            (Arc::new(projector), reads)
        }
    };
    let folder = options.data_dir.join("dcl");
    let dcl = Arc::new(Dcl::open(&folder, options.dcl.clone())?);
    let snapshots = match &options.snapshots {
        Some(to) => {
            let transfer = folder.join("transfer");
            Some(Arc::new(Snapshots::open(to.clone(), log.log_id(), PROJECTOR_VERSION, transfer)?))
        }
        None => None,
    };
    let dcl_projector =
        Arc::new(dcl::DclProjector::new(folder, Arc::clone(&dcl), Arc::clone(ring), snapshots.clone()));
    Ok(Parts { read_models, reads: ReadModels::new(reads), dcl_projector, dcl, snapshots })
}

impl Service {
    /// Opens the stores (building what is missing or what another projector version wrote), compares
    /// checkpoints with the log, and starts to follow it.
    pub async fn start(
        options: Options,
        log: Arc<dyn EventLog>,
        ring: Arc<dyn KeyRing>,
    ) -> Result<Handle, ProjectionError> {
        let parts = parts(&options, &*log, &ring).await?;
        let unified = match &options.unified_tables {
            Some(postgres) => Some(Unified::start(postgres, Arc::clone(&parts.dcl)).await?),
            None => None,
        };
        let projectors: Vec<Arc<dyn Projector>> = vec![parts.read_models, parts.dcl_projector];
        let dcl = DclReads::new(parts.dcl);
        let seats = seats(options, log, projectors).await?;
        Ok(Handle { inner: Arc::new(Inner { seats, read_models: parts.reads, dcl, unified }) })
    }

    /// The same with projectors of one's own.
    pub async fn start_with(
        options: Options,
        log: Arc<dyn EventLog>,
        projectors: Vec<Arc<dyn Projector>>,
        read_models: ReadModels,
        dcl: DclReads,
    ) -> Result<Handle, ProjectionError> {
        let seats = seats(options, log, projectors).await?;
        Ok(Handle { inner: Arc::new(Inner { seats, read_models, dcl, unified: None }) })
    }
}

/// The projectors' places on this node.
async fn seats(
    options: Options,
    log: Arc<dyn EventLog>,
    projectors: Vec<Arc<dyn Projector>>,
) -> Result<Vec<Seat>, ProjectionError> {
    match options.part.clone() {
        Part::Alone => {
            let starting = projectors
                .into_iter()
                .map(|projector| Seat::alone(projector, Arc::clone(&log), options.clone()));
            futures::future::try_join_all(starting).await
        }
        Part::Shared { leases, keeps } => {
            let placed = projectors.into_iter().map(|projector| {
                Seat::shared(projector, Arc::clone(&log), options.clone(), leases.clone(), keeps)
            });
            Ok(placed.collect())
        }
    }
}

/// The tenants among marks that are parked.
fn poisoned(cell: u16, marks: &BTreeMap<TenantId, TenantMark>) -> Vec<Poisoned> {
    let parked = marks.iter().filter_map(|(tenant, mark)| match mark {
        TenantMark::Parked { sequence, code, message } => Some(Poisoned {
            tenant: *tenant,
            position: Position { cell, sequence: *sequence },
            code: code.clone(),
            message: message.clone(),
        }),
        TenantMark::Ahead { .. } | TenantMark::Behind { .. } => None,
    });
    parked.collect()
}

impl Handle {
    /// The queries over the read models.
    pub fn read_models(&self) -> ReadModels {
        self.inner.read_models.clone()
    }

    /// The queries over the unified views.
    pub fn dcl(&self) -> DclReads {
        self.inner.dcl.clone()
    }

    /// The unified views' tables in Postgres, if they are kept.
    pub fn unified(&self) -> Option<Unified> {
        self.inner.unified.clone()
    }

    fn seat(&self, name: &str) -> Result<&Seat, ProjectionError> {
        self.inner.seats.iter().find(|seat| seat.name() == name).ok_or_else(|| {
            let known: Vec<_> = self.inner.seats.iter().map(|seat| format!("`{}`", seat.name())).collect();
            ProjectionError::UnknownProjector { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// Whether there is such a projector, and another node keeps it, or will.
    pub fn is_elsewhere(&self, name: &str) -> bool {
        self.seat(name).is_ok_and(Seat::is_elsewhere)
    }

    fn runner(&self, name: &str) -> Result<Arc<Runner>, ProjectionError> {
        self.seat(name)?.runner()
    }

    /// Waits until the projectors have applied everything of `tenant` up to `position`.
    pub async fn wait_for(
        &self,
        tenant: TenantId,
        position: Position,
        projectors: &[&str],
        timeout: Duration,
    ) -> Result<(), ProjectionError> {
        let until = tokio::time::Instant::now() + timeout;
        for name in projectors {
            let seat = self.seat(name)?;
            tokio::time::timeout_at(until, seat.reach(tenant, position))
                .await
                .map_err(|_| ProjectionError::WaitTimeout { projector: (*name).to_owned() })??;
        }
        Ok(())
    }

    /// Up to where the slowest of the projectors shows the tenant, in `cell`.
    pub fn position(&self, tenant: TenantId, cell: u16, projectors: &[&str]) -> Position {
        let positions =
            projectors.iter().filter_map(|name| self.seat(name).ok()).map(|seat| seat.position(tenant, cell));
        Position { cell, sequence: positions.min().unwrap_or(0) }
    }

    /// How every projector stands in every cell; but of one that another node keeps in files of its
    /// own, that node alone can tell.
    pub async fn status(&self) -> Result<Vec<ProjectionState>, ProjectionError> {
        let mut states = Vec::new();
        for seat in &self.inner.seats {
            states.extend(seat.status().await?);
        }
        Ok(states)
    }

    pub async fn pause(&self, projector: &str) -> Result<(), ProjectionError> {
        self.runner(projector)?.pause().await;
        Ok(())
    }

    pub async fn resume(&self, projector: &str) -> Result<(), ProjectionError> {
        self.runner(projector)?.resume().await;
        Ok(())
    }

    /// Starts to fill a new generation beside the live one; it is swapped in when it has caught up.
    pub fn rebuild(&self, projector: &str) -> Result<(), ProjectionError> {
        self.runner(projector)?.rebuild().map(drop)
    }

    /// The same, and waits for the swap.
    pub async fn rebuild_and_wait(&self, projector: &str) -> Result<(), ProjectionError> {
        self.runner(projector)?.rebuild()?.await.map_err(|_| ProjectionError::Stopped)?
    }

    /// Leaves out the commit a tenant is parked at and goes on behind it.
    pub async fn skip(&self, projector: &str, tenant: TenantId) -> Result<(), ProjectionError> {
        self.runner(projector)?.unpark(|answer| Order::Skip(tenant, answer)).await
    }

    /// Tries the commit a tenant is parked at again.
    pub async fn retry(&self, projector: &str, tenant: TenantId) -> Result<(), ProjectionError> {
        self.runner(projector)?.unpark(|answer| Order::Retry(tenant, answer)).await
    }

    /// Stops at the next transaction's end.
    pub async fn shutdown(&self) {
        for seat in &self.inner.seats {
            seat.stop().await;
        }
        if let Some(unified) = &self.inner.unified {
            unified.stop().await;
        }
    }
}

/// Rebuilds a projector offline (no server running), reporting progress as (done, total) commits.
/// Snapshots of what it replaces are removed.
pub async fn rebuild_offline(
    options: Options,
    log: Arc<dyn EventLog>,
    ring: Arc<dyn KeyRing>,
    projector: &str,
    progress: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), ProjectionError> {
    let parts = parts(&options, &*log, &ring).await?;
    let chosen: Arc<dyn Projector> = match projector {
        READ_MODELS => parts.read_models,
        DCL => parts.dcl_projector,
        _ => {
            return Err(ProjectionError::UnknownProjector {
                name: projector.to_owned(),
                known: format!("`{READ_MODELS}`, `{DCL}`"),
            });
        }
    };
    if projector == DCL
        && let Some(snapshots) = &parts.snapshots
    {
        // First: the end of the build takes new ones.
        snapshots.clear().await?;
    }
    runner::build_offline(&*chosen, &log, &options, progress).await
}
