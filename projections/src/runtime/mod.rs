//! The projector runtime: feeds projectors from the log, keeps their checkpoints, parks a tenant
//! whose commit cannot be applied, rebuilds beside the live generation, and lets readers wait for a
//! position.

mod checkpoint;
mod dcl;
mod follower;
mod generations;
mod keeper;
mod live;
mod location;
mod opened;
mod postgres;
mod projector;
mod rebuild;
mod remote;
mod runner;
mod seat;
mod spread;
pub mod sql;
mod sqlite;
mod window;

pub use live::{Live, LivePool};
pub use location::{Address, Location, PostgresOptions};
pub use opened::{Event, Opened};
pub(crate) use postgres::access;
pub use postgres::{LiveSchema, PostgresProjector};
pub use projector::{ApplyError, CellCheckpoint, Projector, Store, Tables, TenantMark, Turn};
pub use seat::{lease_name, lease_prefix};
pub use sqlite::SqliteProjector;

use crate::{
    dcl::{Dcl, DclOptions, read::DclReads, tables::PROJECTOR_VERSION},
    error::ProjectionError,
    read_models::{ReadModelTables, query::ReadModels},
    snapshots::{SnapshotOptions, Snapshots},
    unified::Unified,
};
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{
    lease::Leases,
    port::{EventLog, cell_of},
    seal::KeyRing,
};
use follower::Order;
use rebuild::Rebuild;
use runner::{Runner, Source};
use schemars::JsonSchema;
use seat::{Seat, Seats};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinHandle;

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
    /// Of several, in each cell the one that holds the lease of projection and cell; a node that
    /// `keeps` none looks at what the others keep, as far as it is shared.
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
    /// Its owner alone can tell, and does not.
    Unknown,
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
    pub cell: u16,
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
    /// The rebuild stands still.
    pub rebuild_paused: bool,
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
    seats: Vec<Seats>,
    read_models: ReadModels,
    dcl: DclReads,
    unified: Option<Unified>,
}

/// Where the schemas of the read models begin, in Postgres.
const READ_MODELS_SCHEMA: &str = "aos_models";

/// A projector's instances, one a cell.
type Cells = Vec<Arc<dyn Projector>>;

struct Parts {
    read_models: Cells,
    reads: ReadModels,
    dcl_projectors: Cells,
    dcl: Arc<Dcl>,
    snapshots: Option<Arc<Snapshots>>,
}

async fn parts(
    options: &Options,
    log: &dyn EventLog,
    ring: &Arc<dyn KeyRing>,
) -> Result<Parts, ProjectionError> {
    let cells = log.cells();
    let tables: Arc<dyn Tables> = Arc::new(ReadModelTables);
    let mut read_models: Cells = Vec::new();
    let mut reads: Vec<Live> = Vec::new();
    match &options.read_models {
        Location::Folder => {
            for cell in 0..cells {
                let folder = cell_folder(&options.data_dir.join("read"), cell);
                let projector = SqliteProjector::new(folder, "models", Arc::clone(&tables), Arc::clone(ring));
                reads.push(projector.reads());
                read_models.push(Arc::new(projector));
            }
        }
        Location::Postgres(postgres) => {
            let schema = READ_MODELS_SCHEMA;
            for projector in PostgresProjector::connect_cells(postgres, schema, &tables, ring, cells).await? {
                reads.push(projector.reads());
                read_models.push(Arc::new(projector));
            }
        }
    }
    let folder = options.data_dir.join("dcl");
    let dcl = Arc::new(Dcl::open(&folder, options.dcl.clone())?);
    let snapshots = match &options.snapshots {
        Some(to) => {
            let transfer = folder.join("transfer");
            Some(Arc::new(Snapshots::open(to.clone(), log.log_id(), PROJECTOR_VERSION, transfer)?))
        }
        None => None,
    };
    let mut dcl_projectors: Cells = Vec::new();
    for cell in 0..cells {
        let (dcl, ring) = (Arc::clone(&dcl), Arc::clone(ring));
        let of_cell = dcl::DclProjector::new(folder.clone(), (cell, cells), dcl, ring, snapshots.clone());
        dcl_projectors.push(Arc::new(of_cell));
    }
    Ok(Parts {
        read_models,
        reads: ReadModels::new(Live::Cells(reads.into())),
        dcl_projectors,
        dcl,
        snapshots,
    })
}

/// Where a cell keeps what is its own: the first one in the folder itself.
fn cell_folder(folder: &Path, cell: u16) -> PathBuf {
    if cell == 0 { folder.to_owned() } else { folder.join(format!("cell{cell}")) }
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
        let projectors = vec![parts.read_models, parts.dcl_projectors];
        let dcl = DclReads::new(parts.dcl);
        let seats = seats(options, log, projectors).await?;
        Ok(Handle { inner: Arc::new(Inner { seats, read_models: parts.reads, dcl, unified }) })
    }

    /// The same with projectors of one's own, each with an instance a cell.
    pub async fn start_with(
        options: Options,
        log: Arc<dyn EventLog>,
        projectors: Vec<Vec<Arc<dyn Projector>>>,
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
    projectors: Vec<Cells>,
) -> Result<Vec<Seats>, ProjectionError> {
    match options.part.clone() {
        Part::Alone => {
            let starting = projectors.into_iter().map(|cells| Seats::alone(cells, &log, &options));
            futures::future::try_join_all(starting).await
        }
        Part::Shared { leases, keeps } => {
            let placed = projectors
                .into_iter()
                .map(|cells| Seats::shared(cells, &log, &options, leases.clone(), keeps));
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

    fn seats(&self, name: &str) -> Result<&Seats, ProjectionError> {
        self.inner.seats.iter().find(|seats| seats.name() == name).ok_or_else(|| {
            let known: Vec<_> = self.inner.seats.iter().map(|seats| format!("`{}`", seats.name())).collect();
            ProjectionError::UnknownProjector { name: name.to_owned(), known: known.join(", ") }
        })
    }

    fn seat(&self, name: &str, cell: u16) -> Result<&Seat, ProjectionError> {
        self.seats(name)?.seat(cell).ok_or(ProjectionError::Stopped)
    }

    /// The runner in the cell of a tenant. Who keeps other cells alone has it parked in none.
    fn runner_of(&self, name: &str, tenant: TenantId) -> Result<Arc<Runner>, ProjectionError> {
        let seats = self.seats(name)?;
        let here = seats.runners()?;
        let cell = cell_of(tenant, seats.all().len() as u16);
        let of_cell = here.into_iter().find(|runner| runner.cell() == cell);
        of_cell.ok_or_else(|| ProjectionError::NotParked { projector: name.to_owned() })
    }

    /// Whether there is such a projector, and another node keeps it in this cell, or will.
    pub fn is_elsewhere(&self, name: &str, cell: u16) -> bool {
        self.seat(name, cell).is_ok_and(Seat::is_elsewhere)
    }

    /// The cells in which another node keeps a projector, or will.
    pub fn elsewhere(&self, name: &str) -> Vec<u16> {
        let cells = self.seats(name).map(Seats::all).unwrap_or_default();
        (0..).zip(cells).filter(|(_, seat)| seat.is_elsewhere()).map(|(cell, _)| cell).collect()
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
            let seat = self.seat(name, position.cell)?;
            tokio::time::timeout_at(until, seat.reach(tenant, position.sequence))
                .await
                .map_err(|_| ProjectionError::WaitTimeout { projector: (*name).to_owned() })??;
        }
        Ok(())
    }

    /// Up to where the slowest of the projectors shows the tenant, in `cell`.
    pub fn position(&self, tenant: TenantId, cell: u16, projectors: &[&str]) -> Position {
        let seats = projectors.iter().filter_map(|name| self.seat(name, cell).ok());
        let positions = seats.map(|seat| seat.position(tenant));
        Position { cell, sequence: positions.min().unwrap_or(0) }
    }

    /// How every projector stands in every cell, as far as this node can tell: what another node keeps
    /// in files of its own, that node alone knows.
    pub async fn status(&self) -> Result<Vec<ProjectionState>, ProjectionError> {
        let seats = self.inner.seats.iter().flat_map(Seats::all);
        futures::future::try_join_all(seats.map(Seat::status)).await
    }

    /// Lets a projector stand still in the cells that are kept here.
    pub async fn pause(&self, projector: &str) -> Result<(), ProjectionError> {
        for runner in self.seats(projector)?.runners()? {
            runner.pause().await;
        }
        Ok(())
    }

    /// Lets it go on in the cells that are kept here.
    pub async fn resume(&self, projector: &str) -> Result<(), ProjectionError> {
        for runner in self.seats(projector)?.runners()? {
            runner.resume().await;
        }
        Ok(())
    }

    /// Starts to fill new generations beside the live ones of the cells that are kept here; each is
    /// swapped in when it has caught up. A cell that is being rebuilt already goes on with that; an
    /// error if all are.
    pub fn rebuild(&self, projector: &str) -> Result<(), ProjectionError> {
        self.rebuilds(projector).map(drop)
    }

    /// The same, and waits for the swaps.
    pub async fn rebuild_and_wait(&self, projector: &str) -> Result<(), ProjectionError> {
        for rebuild in self.rebuilds(projector)? {
            rebuild.await.map_err(|_| ProjectionError::Stopped)??;
        }
        Ok(())
    }

    fn rebuilds(
        &self,
        projector: &str,
    ) -> Result<Vec<JoinHandle<Result<(), ProjectionError>>>, ProjectionError> {
        let mut begun = Vec::new();
        for runner in self.seats(projector)?.runners()? {
            begun.extend(runner.rebuild());
        }
        if begun.is_empty() {
            return Err(ProjectionError::AlreadyRebuilding { projector: projector.to_owned() });
        }
        Ok(begun)
    }

    /// Lets rebuilds of the cells that are kept here stand still; an error if there are none.
    pub fn rebuild_pause(&self, projector: &str) -> Result<(), ProjectionError> {
        self.to_rebuilds(projector, |rebuild| rebuild.pause(true))
    }

    /// Lets them go on.
    pub fn rebuild_resume(&self, projector: &str) -> Result<(), ProjectionError> {
        self.to_rebuilds(projector, |rebuild| rebuild.pause(false))
    }

    /// Gives them up: what was filled is removed, the live generations stay.
    pub fn rebuild_abort(&self, projector: &str) -> Result<(), ProjectionError> {
        self.to_rebuilds(projector, Rebuild::abort)
    }

    /// Tells every rebuild that is under way here; an error if none takes it.
    fn to_rebuilds(
        &self,
        projector: &str,
        tell: impl Fn(&Rebuild) -> Result<(), ProjectionError>,
    ) -> Result<(), ProjectionError> {
        let told = self.seats(projector)?.runners()?.into_iter();
        let told: Vec<_> =
            told.map(|runner| runner.rebuilding().and_then(|rebuild| tell(&rebuild))).collect();
        if told.iter().any(Result::is_ok) {
            return Ok(());
        }
        told.into_iter().collect()
    }

    /// Leaves out the commit a tenant is parked at and goes on behind it, in the cells kept here.
    pub async fn skip(&self, projector: &str, tenant: TenantId) -> Result<(), ProjectionError> {
        self.runner_of(projector, tenant)?.unpark(|answer| Order::Skip(tenant, answer)).await
    }

    /// Tries the commit a tenant is parked at again.
    pub async fn retry(&self, projector: &str, tenant: TenantId) -> Result<(), ProjectionError> {
        self.runner_of(projector, tenant)?.unpark(|answer| Order::Retry(tenant, answer)).await
    }

    /// Stops at the next transaction's end.
    pub async fn shutdown(&self) {
        futures::future::join_all(self.inner.seats.iter().map(Seats::stop)).await;
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
    let chosen = match projector {
        READ_MODELS => parts.read_models,
        DCL => parts.dcl_projectors,
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
    let mut totals = Vec::new();
    for cell in 0..log.cells() {
        totals.push(log.head(cell).await?.sequence);
    }
    let (total, mut before) = (totals.iter().sum(), 0);
    for ((cell, projector), of_cell) in (0..).zip(chosen).zip(totals) {
        let source = Source { log: Arc::clone(&log), cell, options: options.clone() };
        runner::build_offline(&*projector, &source, &|done, _| progress(before + done.min(of_cell), total))
            .await?;
        before += of_cell;
    }
    Ok(())
}
