//! How far a projector is in a cell that another node keeps, by what its store says: the store is
//! shared, and its checkpoint moves with its rows.

use super::{
    projector::{CellCheckpoint, Projector, Store, TenantMark},
    runner::Source,
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Position, ids::TenantId};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How often it is looked at while somebody waits, and while nobody does.
const WAITED_FOR: Duration = Duration::from_millis(15);
const IDLE: Duration = Duration::from_millis(500);
/// More cells than this are looked at less often, so that looking costs no more.
const OFTEN: u16 = 8;
/// How long the first look may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// The live generation, as its store said last.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) generation: u64,
    pub(crate) checkpoint: CellCheckpoint,
}

impl Shown {
    fn position(&self, tenant: TenantId) -> u64 {
        match self.checkpoint.tenants.get(&tenant) {
            Some(TenantMark::Parked { sequence, .. }) => sequence - 1,
            Some(TenantMark::Behind { sequence }) => *sequence,
            Some(TenantMark::Ahead { sequence }) => self.checkpoint.sequence.max(*sequence),
            None => self.checkpoint.sequence,
        }
    }
}

pub(crate) struct Remote {
    projector: &'static str,
    cell: u16,
    shown: watch::Receiver<Option<Shown>>,
    waiting: Arc<Waiting>,
    _looking: AbortOnDropHandle<()>,
}

/// Who waits: while there is anybody, the store is looked at often.
#[derive(Default)]
struct Waiting {
    count: AtomicUsize,
    came: Notify,
}

impl Remote {
    pub(crate) fn start(projector: &Arc<dyn Projector>, source: &Source, stop: CancellationToken) -> Self {
        let (sender, shown) = watch::channel(None);
        let waiting = Arc::<Waiting>::default();
        let looking = look(Arc::clone(projector), source.clone(), sender, Arc::clone(&waiting), stop);
        let (projector, cell) = (projector.name(), source.cell);
        Self { projector, cell, shown, waiting, _looking: AbortOnDropHandle::new(tokio::spawn(looking)) }
    }

    /// What the store said last; right after the start, what it says first.
    pub(crate) async fn shown(&self) -> Option<Shown> {
        let mut shown = self.shown.clone();
        match tokio::time::timeout(FIRST_LOOK, shown.wait_for(Option::is_some)).await {
            Ok(Ok(shown)) => shown.clone(),
            _ => None,
        }
    }

    pub(crate) fn position(&self, tenant: TenantId) -> u64 {
        self.shown.borrow().as_ref().map_or(0, |shown| shown.position(tenant))
    }

    /// Waits, without a bound, until the tenant is shown up to `sequence`.
    pub(crate) async fn reach(&self, tenant: TenantId, sequence: u64) -> Result<(), ProjectionError> {
        let mut shown = self.shown.clone();
        let _waiting = self.waiting.enter();
        loop {
            if let Some(shown) = &*shown.borrow_and_update() {
                if shown.position(tenant) >= sequence {
                    return Ok(());
                }
                let mark = shown.checkpoint.tenants.get(&tenant);
                if let Some(TenantMark::Parked { sequence, message, .. }) = mark {
                    return Err(ProjectionError::Parked {
                        projector: self.projector.to_owned(),
                        tenant,
                        position: Position { cell: self.cell, sequence: *sequence },
                        message: message.clone(),
                    });
                }
            }
            shown.changed().await.map_err(|_| ProjectionError::Stopped)?;
        }
    }
}

impl Waiting {
    fn enter(self: &Arc<Self>) -> Entered {
        self.count.fetch_add(1, Ordering::AcqRel);
        self.came.notify_one();
        Entered(Arc::clone(self))
    }
}

struct Entered(Arc<Waiting>);

impl Drop for Entered {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
    }
}

async fn look(
    projector: Arc<dyn Projector>,
    source: Source,
    sender: watch::Sender<Option<Shown>>,
    waiting: Arc<Waiting>,
    stop: CancellationToken,
) {
    let mut open: Option<(u64, Arc<dyn Store>)> = None;
    let idle = IDLE * u32::from(source.log.cells().div_ceil(OFTEN));
    while !stop.is_cancelled() {
        match looked(&*projector, source.cell, &mut open).await {
            Ok(shown) => {
                sender.send_replace(shown);
            }
            Err(error) => {
                tracing::debug!(projector = projector.name(), %error, "the shared checkpoint cannot be read");
                if let Some((_, store)) = open.take() {
                    store.close().await;
                }
            }
        }
        let pause = if waiting.count.load(Ordering::Acquire) > 0 { WAITED_FOR } else { idle };
        tokio::select! {
            () = stop.cancelled() => break,
            () = tokio::time::sleep(pause) => {}
            () = waiting.came.notified() => {}
        }
    }
    if let Some((_, store)) = open {
        store.close().await;
    }
}

/// The live generation's checkpoint; its store stays open until another one is live.
async fn looked(
    projector: &dyn Projector,
    cell: u16,
    open: &mut Option<(u64, Arc<dyn Store>)>,
) -> Result<Option<Shown>, ProjectionError> {
    let Some(live) = projector.live().await? else { return Ok(None) };
    if open.as_ref().is_some_and(|(generation, _)| *generation != live)
        && let Some((_, store)) = open.take()
    {
        store.close().await;
    }
    let store = match open {
        Some((_, store)) => Arc::clone(store),
        None => {
            let store = projector.open(live).await?;
            *open = Some((live, Arc::clone(&store)));
            store
        }
    };
    let checkpoint = store.checkpoint(cell).await?;
    Ok(Some(Shown { generation: live, checkpoint }))
}
