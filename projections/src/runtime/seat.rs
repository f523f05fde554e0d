//! A projector's place on this node. Where there is one node, its runner is always here; of several,
//! it is here while this node holds the projector's lease, and what others write is looked at else.

use super::{
    Options, ProjectionState, ProjectorStatus, projector::Projector, remote::Remote, runner::Runner,
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{
    lease::{Lease, Leases},
    port::EventLog,
};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::{CancellationToken, DropGuard};

const TRY_AGAIN: Duration = Duration::from_secs(1);

/// The name of a projector's lease.
pub fn lease_name(projector: &str) -> String {
    format!("projector/{projector}")
}

pub(crate) struct Seat {
    projector: Arc<dyn Projector>,
    log: Arc<dyn EventLog>,
    /// The runner, while it is here.
    local: watch::Receiver<Option<Arc<Runner>>>,
    /// How far the runner of another node is, where its store can be looked at.
    remote: Option<Remote>,
    stop: CancellationToken,
    keeping: Keeping,
}

/// Who runs the runner.
enum Keeping {
    /// This node alone; the sender keeps the runner in its place.
    Alone {
        runner: Arc<Runner>,
        _place: watch::Sender<Option<Arc<Runner>>>,
    },
    Shared {
        task: Mutex<Option<JoinHandle<()>>>,
        _stop: DropGuard,
    },
}

impl Seat {
    /// A runner of this node's own.
    pub(crate) async fn alone(
        projector: Arc<dyn Projector>,
        log: Arc<dyn EventLog>,
        options: Options,
    ) -> Result<Self, ProjectionError> {
        let runner = Runner::start(Arc::clone(&projector), Arc::clone(&log), options).await?;
        let (place, local) = watch::channel(Some(Arc::clone(&runner)));
        let keeping = Keeping::Alone { runner, _place: place };
        Ok(Self { projector, log, local, remote: None, stop: CancellationToken::new(), keeping })
    }

    /// A place among nodes; the runner is here while the lease is, if this node `keeps` projections.
    pub(crate) fn shared(
        projector: Arc<dyn Projector>,
        log: Arc<dyn EventLog>,
        options: Options,
        leases: Leases,
        keeps: bool,
    ) -> Self {
        let (sender, local) = watch::channel(None);
        let stop = CancellationToken::new();
        let remote = projector.is_shared().then(|| Remote::start(&projector, log.cells(), stop.clone()));
        let keeper =
            Keeper { projector: Arc::clone(&projector), log: Arc::clone(&log), options, local: sender };
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            if keeps {
                keeper.run(leases, stopping).await;
            } else {
                // Holds the empty place.
                stopping.cancelled().await;
                drop(keeper);
            }
        });
        let keeping = Keeping::Shared { task: Mutex::new(Some(task)), _stop: stop.clone().drop_guard() };
        Self { projector, log, local, remote, stop, keeping }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projector.name()
    }

    /// The runner, if it is here.
    pub(crate) fn runner(&self) -> Result<Arc<Runner>, ProjectionError> {
        let local = self.local.borrow().clone();
        local.ok_or_else(|| ProjectionError::Elsewhere { projector: self.name().to_owned() })
    }

    pub(crate) fn is_elsewhere(&self) -> bool {
        self.local.borrow().is_none()
    }

    /// Up to where the tenant is shown.
    pub(crate) fn position(&self, tenant: TenantId, cell: u16) -> u64 {
        if let Some(runner) = &*self.local.borrow() {
            return runner.position(tenant, cell);
        }
        self.remote.as_ref().map_or(0, |remote| remote.position(tenant, cell))
    }

    /// Waits, without a bound, until the tenant is shown up to `position`, whichever node shows it.
    pub(crate) async fn reach(&self, tenant: TenantId, position: Position) -> Result<(), ProjectionError> {
        let mut local = self.local.clone();
        loop {
            let runner = local.borrow_and_update().clone();
            let changed = local.changed();
            let reached = async {
                match (&runner, &self.remote) {
                    (Some(runner), _) => runner.reach(tenant, position).await,
                    (None, Some(remote)) => remote.reach(self.name(), tenant, position).await,
                    (None, None) => Err(ProjectionError::Elsewhere { projector: self.name().to_owned() }),
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

    /// How the projector stands; nothing of one that another node alone can tell of.
    pub(crate) async fn status(&self) -> Result<Vec<ProjectionState>, ProjectionError> {
        let local = self.local.borrow().clone();
        if let Some(runner) = local {
            return runner.status().await;
        }
        let Some(remote) = &self.remote else { return Ok(Vec::new()) };
        let Some(shown) = remote.shown().await else { return Ok(Vec::new()) };
        let mut states = Vec::new();
        for (cell, checkpoint) in shown.checkpoints.iter().enumerate() {
            let cell = cell as u16;
            let lag = self.log.head(cell).await?.sequence.saturating_sub(checkpoint.sequence);
            let poisoned = super::poisoned(cell, &checkpoint.tenants);
            let status = match (poisoned.is_empty(), lag) {
                (false, _) => ProjectorStatus::Poisoned,
                (true, 0) => ProjectorStatus::Live,
                (true, _) => ProjectorStatus::CatchingUp,
            };
            states.push(ProjectionState {
                name: self.name().to_owned(),
                version: self.projector.version(),
                generation: shown.generation,
                position: Position { cell, sequence: checkpoint.sequence },
                lag,
                status,
                rebuild_progress: None,
                message: None,
                poisoned,
            });
        }
        Ok(states)
    }

    pub(crate) async fn stop(&self) {
        self.stop.cancel();
        match &self.keeping {
            Keeping::Alone { runner, .. } => runner.stop().await,
            Keeping::Shared { task, .. } => {
                let task = task.lock().take();
                if let Some(task) = task
                    && let Err(error) = task.await
                {
                    tracing::error!(projector = self.name(), %error, "a projector ended badly");
                }
            }
        }
    }
}

/// Holds a projector's lease when it can, and runs the projector for as long as it does.
struct Keeper {
    projector: Arc<dyn Projector>,
    log: Arc<dyn EventLog>,
    options: Options,
    local: watch::Sender<Option<Arc<Runner>>>,
}

impl Keeper {
    async fn run(self, leases: Leases, stop: CancellationToken) {
        let name = lease_name(self.projector.name());
        while !stop.is_cancelled() {
            let lease = tokio::select! {
                () = stop.cancelled() => return,
                lease = leases.acquire(&name) => lease,
            };
            let tenure = self.tenure(&lease, &stop).await;
            lease.release().await;
            if let Err(error) = tenure {
                tracing::error!(lease = name, %error, "the projection cannot be kept here, trying again");
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(TRY_AGAIN) => {}
                }
            }
        }
    }

    /// Runs until the lease is lost or the node ends. What is written meanwhile is fenced by the
    /// checkpoint's compare-and-swap: a lease that ran out unnoticed does no harm.
    async fn tenure(&self, lease: &Lease, stop: &CancellationToken) -> Result<(), ProjectionError> {
        let starting =
            Runner::start(Arc::clone(&self.projector), Arc::clone(&self.log), self.options.clone());
        let runner = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = lease.lost() => return Ok(()),
            runner = starting => runner?,
        };
        let running = async {
            match runner.catch_up().await {
                // It cannot: what it has is shown, as of a log that was not rolled back yet.
                Ok(()) | Err(ProjectionError::RolledBack { .. }) => {}
                Err(error) => return Err(error),
            }
            // Not before: a reader must not be shown less than the owner before showed.
            self.local.send_replace(Some(Arc::clone(&runner)));
            runner.fenced().await;
            Err(ProjectionError::Fenced { projector: self.projector.name().to_owned() })
        };
        let ended = tokio::select! {
            () = stop.cancelled() => Ok(()),
            () = lease.lost() => Ok(()),
            ended = running => ended,
        };
        self.local.send_replace(None);
        runner.stop().await;
        ended
    }
}
