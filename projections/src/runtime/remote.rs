//! How far a projector is that another node runs, by what its store says: the store is shared, and
//! its checkpoint moves with its rows.

use super::projector::{CellCheckpoint, Projector, Store, TenantMark};
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
/// How long the first look may take.
const FIRST_LOOK: Duration = Duration::from_secs(2);
const IDLE: Duration = Duration::from_millis(500);

/// The live generation, as its store said last.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) generation: u64,
    /// By cell.
    pub(crate) checkpoints: Vec<CellCheckpoint>,
}

impl Shown {
    fn position(&self, tenant: TenantId, cell: u16) -> u64 {
        let Some(checkpoint) = self.checkpoints.get(usize::from(cell)) else { return 0 };
        match checkpoint.tenants.get(&tenant) {
            Some(TenantMark::Parked { sequence, .. }) => sequence - 1,
            Some(TenantMark::Behind { sequence }) => *sequence,
            Some(TenantMark::Ahead { sequence }) => checkpoint.sequence.max(*sequence),
            None => checkpoint.sequence,
        }
    }
}

pub(crate) struct Remote {
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
    pub(crate) fn start(projector: &Arc<dyn Projector>, cells: u16, stop: CancellationToken) -> Self {
        let (sender, shown) = watch::channel(None);
        let waiting = Arc::<Waiting>::default();
        let looking = look(Arc::clone(projector), cells, sender, Arc::clone(&waiting), stop);
        Self { shown, waiting, _looking: AbortOnDropHandle::new(tokio::spawn(looking)) }
    }

    /// What the store said last; right after the start, what it says first.
    pub(crate) async fn shown(&self) -> Option<Shown> {
        let mut shown = self.shown.clone();
        match tokio::time::timeout(FIRST_LOOK, shown.wait_for(Option::is_some)).await {
            Ok(Ok(shown)) => shown.clone(),
            _ => None,
        }
    }

    pub(crate) fn position(&self, tenant: TenantId, cell: u16) -> u64 {
        self.shown.borrow().as_ref().map_or(0, |shown| shown.position(tenant, cell))
    }

    /// Waits, without a bound, until the tenant is shown up to `position`.
    pub(crate) async fn reach(
        &self,
        projector: &str,
        tenant: TenantId,
        position: Position,
    ) -> Result<(), ProjectionError> {
        let mut shown = self.shown.clone();
        let _waiting = self.waiting.enter();
        loop {
            if let Some(shown) = &*shown.borrow_and_update() {
                if shown.position(tenant, position.cell) >= position.sequence {
                    return Ok(());
                }
                let checkpoint = shown.checkpoints.get(usize::from(position.cell));
                let mark = checkpoint.and_then(|checkpoint| checkpoint.tenants.get(&tenant));
                if let Some(TenantMark::Parked { sequence, message, .. }) = mark {
                    return Err(ProjectionError::Parked {
                        projector: projector.to_owned(),
                        tenant,
                        position: Position { cell: position.cell, sequence: *sequence },
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
    cells: u16,
    sender: watch::Sender<Option<Shown>>,
    waiting: Arc<Waiting>,
    stop: CancellationToken,
) {
    let mut open: Option<(u64, Arc<dyn Store>)> = None;
    while !stop.is_cancelled() {
        match looked(&*projector, cells, &mut open).await {
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
        let pause = if waiting.count.load(Ordering::Acquire) > 0 { WAITED_FOR } else { IDLE };
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

/// The live generation's checkpoints; its store stays open until another one is live.
async fn looked(
    projector: &dyn Projector,
    cells: u16,
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
    let mut checkpoints = Vec::with_capacity(usize::from(cells));
    for cell in 0..cells {
        checkpoints.push(store.checkpoint(cell).await?);
    }
    Ok(Some(Shown { generation: live, checkpoints }))
}
