//! A projector's places on this node, one a cell. Where there is one node, the runner of each cell is
//! always here; of several, it is here while this node holds the lease of that cell, and what others
//! write is looked at else.

use super::{
    Options, ProjectionState, ProjectorStatus,
    keeper::Keeper,
    projector::Projector,
    remote::Remote,
    runner::{Runner, Source},
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{lease::Leases, port::EventLog};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// The name below which a projector's leases are.
pub fn lease_prefix(projector: &str) -> String {
    format!("projector/{projector}/")
}

/// The name of a projector's lease in a cell.
pub fn lease_name(projector: &str, cell: u16) -> String {
    format!("{}{cell}", lease_prefix(projector))
}

/// Where a runner is put for those who look for it.
pub(crate) type Place = watch::Sender<Option<Arc<Runner>>>;

/// The places of one projector.
pub(crate) struct Seats {
    name: &'static str,
    /// By cell.
    cells: Vec<Seat>,
    stop: CancellationToken,
    keeping: Keeping,
}

/// Who runs the runners.
enum Keeping {
    /// This node alone; the senders keep the runners in their places.
    Alone(Vec<(Arc<Runner>, Place)>),
    Shared {
        task: Mutex<Option<JoinHandle<()>>>,
        _stop: DropGuard,
    },
}

/// A projector's place in one cell.
pub(crate) struct Seat {
    projector: Arc<dyn Projector>,
    source: Source,
    /// The runner, while it is here.
    local: watch::Receiver<Option<Arc<Runner>>>,
    /// How far the runner of another node is, where its store can be looked at.
    remote: Option<Remote>,
    stop: CancellationToken,
}

impl Seats {
    /// Runners of this node's own, for projectors by cell.
    pub(crate) async fn alone(
        projectors: Vec<Arc<dyn Projector>>,
        log: &Arc<dyn EventLog>,
        options: &Options,
    ) -> Result<Self, ProjectionError> {
        let stop = CancellationToken::new();
        let sources = sources(projectors, log, options);
        let starting = sources.iter().map(|(projector, source)| {
            let (projector, source) = (Arc::clone(projector), source.clone());
            Runner::start(projector, source)
        });
        let runners = futures::future::try_join_all(starting).await?;
        let (mut seats, mut kept) = (Vec::new(), Vec::new());
        for ((projector, source), runner) in sources.into_iter().zip(runners) {
            let (place, local) = watch::channel(Some(Arc::clone(&runner)));
            kept.push((runner, place));
            seats.push(Seat { projector, source, local, remote: None, stop: stop.clone() });
        }
        Ok(Self { name: name(&seats), cells: seats, stop, keeping: Keeping::Alone(kept) })
    }

    /// Places among nodes; a runner is here while its lease is, if this node `keeps` projections.
    pub(crate) fn shared(
        projectors: Vec<Arc<dyn Projector>>,
        log: &Arc<dyn EventLog>,
        options: &Options,
        leases: Leases,
        keeps: bool,
    ) -> Self {
        let stop = CancellationToken::new();
        let (mut seats, mut places) = (Vec::new(), Vec::new());
        for (projector, source) in sources(projectors, log, options) {
            let (place, local) = watch::channel(None);
            let remote = projector.is_shared().then(|| Remote::start(&projector, &source, stop.clone()));
            places.push((Arc::clone(&projector), source.clone(), place));
            seats.push(Seat { projector, source, local, remote, stop: stop.clone() });
        }
        let name = name(&seats);
        let keeper = Keeper::new(name, places, leases);
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            if keeps {
                keeper.run(stopping).await;
            } else {
                // Holds the empty places.
                stopping.cancelled().await;
                drop(keeper);
            }
        });
        let keeping = Keeping::Shared { task: Mutex::new(Some(task)), _stop: stop.clone().drop_guard() };
        Self { name, cells: seats, stop, keeping }
    }

    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    pub(crate) fn seat(&self, cell: u16) -> Option<&Seat> {
        self.cells.get(usize::from(cell))
    }

    pub(crate) fn all(&self) -> &[Seat] {
        &self.cells
    }

    /// The runners that are here.
    pub(crate) fn runners(&self) -> Result<Vec<Arc<Runner>>, ProjectionError> {
        let here: Vec<_> = self.cells.iter().filter_map(|seat| seat.local.borrow().clone()).collect();
        if here.is_empty() {
            return Err(ProjectionError::Elsewhere { projector: self.name.to_owned() });
        }
        Ok(here)
    }

    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        match &self.keeping {
            Keeping::Alone(runners) => {
                futures::future::join_all(runners.iter().map(|(runner, _)| runner.stop())).await;
            }
            Keeping::Shared { task, .. } => {
                let task = task.lock().take();
                if let Some(task) = task
                    && let Err(error) = task.await
                {
                    tracing::error!(projector = self.name, %error, "a projector ended badly");
                }
            }
        }
    }
}

fn name(seats: &[Seat]) -> &'static str {
    seats.first().map_or("", |seat| seat.projector.name())
}

fn sources(
    projectors: Vec<Arc<dyn Projector>>,
    log: &Arc<dyn EventLog>,
    options: &Options,
) -> Vec<(Arc<dyn Projector>, Source)> {
    let cells = 0..log.cells();
    let source = |cell| Source { log: Arc::clone(log), cell, options: options.clone() };
    projectors.into_iter().zip(cells.map(source)).collect()
}

impl Seat {
    fn name(&self) -> &'static str {
        self.projector.name()
    }

    fn elsewhere(&self) -> ProjectionError {
        ProjectionError::Elsewhere { projector: self.name().to_owned() }
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        self.local.borrow().is_none()
    }

    /// Up to where the tenant is shown.
    pub(crate) fn position(&self, tenant: TenantId) -> u64 {
        if let Some(runner) = &*self.local.borrow() {
            return runner.position(tenant);
        }
        self.remote.as_ref().map_or(0, |remote| remote.position(tenant))
    }

    /// Waits, without a bound, until the tenant is shown up to `sequence`, whichever node shows it.
    pub(crate) async fn reach(&self, tenant: TenantId, sequence: u64) -> Result<(), ProjectionError> {
        let mut local = self.local.clone();
        loop {
            let runner = local.borrow_and_update().clone();
            let changed = local.changed();
            let reached = async {
                match (&runner, &self.remote) {
                    (Some(runner), _) => runner.reach(tenant, sequence).await,
                    (None, Some(remote)) => remote.reach(tenant, sequence).await,
                    (None, None) => Err(self.elsewhere()),
                }
            };
            tokio::select! {
                reached = reached => match reached {
                    // The runner went while it was waited for: another node goes on.
                    Err(ProjectionError::Stopped) if self.remote.is_some() && !self.stop.is_cancelled() => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    reached => return reached,
                },
                changed = changed => changed.map_err(|_| ProjectionError::Stopped)?,
            }
        }
    }

    /// How the projector stands here, as far as this node can tell.
    pub(crate) async fn status(&self) -> Result<ProjectionState, ProjectionError> {
        let local = self.local.borrow().clone();
        if let Some(runner) = local {
            return runner.status().await;
        }
        let cell = self.source.cell;
        let shown = match &self.remote {
            Some(remote) => remote.shown().await,
            None => None,
        };
        let Some(shown) = shown else {
            return Ok(ProjectionState {
                name: self.name().to_owned(),
                cell,
                version: self.projector.version(),
                generation: 0,
                position: Position { cell, sequence: 0 },
                lag: 0,
                status: ProjectorStatus::Unknown,
                rebuild_progress: None,
                rebuild_paused: false,
                message: None,
                poisoned: Vec::new(),
            });
        };
        let checkpoint = shown.checkpoint;
        let lag = self.source.head().await?.saturating_sub(checkpoint.sequence);
        let poisoned = super::poisoned(cell, &checkpoint.tenants);
        let status = match (poisoned.is_empty(), lag) {
            (false, _) => ProjectorStatus::Poisoned,
            (true, 0) => ProjectorStatus::Live,
            (true, _) => ProjectorStatus::CatchingUp,
        };
        Ok(ProjectionState {
            name: self.name().to_owned(),
            cell,
            version: self.projector.version(),
            generation: shown.generation,
            position: Position { cell, sequence: checkpoint.sequence },
            lag,
            status,
            rebuild_progress: None,
            rebuild_paused: false,
            message: None,
            poisoned,
        })
    }
}
