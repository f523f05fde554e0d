//! One projector in one cell, with its live generation, and the next one while it is rebuilt.

use super::{
    Options, ProjectionState, ProjectorStatus,
    follower::{Follower, Order, Progress, Setup},
    projector::{Projector, Store, TenantMark},
    rebuild::Rebuild,
    window::TurnLimits,
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::port::{EventLog, Filter};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

/// One generation with what fills it.
pub(crate) struct Generation {
    pub(crate) number: u64,
    store: Arc<dyn Store>,
    progress: watch::Receiver<Progress>,
    orders: mpsc::Sender<Order>,
    /// Ends with the generation: who is built and given up half way must not go on writing.
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// Where a runner finds what it applies, and how it applies it.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) cell: u16,
    pub(crate) options: Options,
}

impl Source {
    pub(crate) async fn head(&self) -> Result<u64, ProjectionError> {
        Ok(self.log.head(self.cell).await?.sequence)
    }
}

impl Generation {
    async fn start(
        projector: &dyn Projector,
        number: u64,
        source: &Source,
        begin: Begin,
    ) -> Result<Arc<Self>, ProjectionError> {
        let Source { log, cell, options } = source;
        let store = projector.open(number).await?;
        if begin == Begin::TakeOver {
            store.take_over(&**log, *cell).await?;
        }
        let setup = Setup {
            name: projector.name(),
            log: Arc::clone(log),
            store: Arc::clone(&store),
            cell: *cell,
            filter: Filter { tenant: None, aggregate_types: projector.aggregate_types() },
            limits: TurnLimits {
                fair_commits: options.turn_commits,
                commits: options.bulk_commits,
                bytes: options.turn_bytes,
            },
            turn_time: options.turn_time,
            read_ahead_bytes: options.read_ahead_bytes,
            idle_checkpoint: options.idle_checkpoint(),
        };
        let (follower, progress, orders) = Follower::open(setup).await?;
        let task = Mutex::new(Some(AbortOnDropHandle::new(tokio::spawn(follower.run()))));
        Ok(Arc::new(Self { number, store, progress, orders, task }))
    }

    async fn order(&self, order: Order) {
        // A follower that is gone needs no order.
        let _ = self.orders.send(order).await;
    }

    /// The same without waiting: fails for a follower that is gone, or that has not followed dozens of
    /// orders yet.
    pub(crate) fn order_now(&self, order: Order) -> Result<(), ProjectionError> {
        self.orders.try_send(order).map_err(|_| ProjectionError::Stopped)
    }

    /// Stops the follower at the end of what it is doing.
    async fn halt(&self) {
        self.order(Order::Stop).await;
        let task = self.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "a follower failed");
        }
    }

    /// The same, and lets go of the files.
    async fn stop(&self) {
        self.halt().await;
        self.store.close().await;
    }

    fn scanned_to(&self) -> u64 {
        self.progress.borrow().scanned_to
    }

    /// Waits until it has everything up to the target; an error if it cannot get there.
    async fn reach(
        &self,
        cell: u16,
        target: u64,
        tell: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), ProjectionError> {
        let mut progress = self.progress.clone();
        loop {
            let now = progress.borrow_and_update().clone();
            tell(now.low_water, target);
            if now.status == ProjectorStatus::RolledBack {
                return Err(ProjectionError::RolledBack { cell, reason: now.message.unwrap_or_default() });
            }
            if now.reached(target) {
                return Ok(());
            }
            progress.changed().await.map_err(|_| ProjectionError::Stopped)?;
        }
    }
}

/// What a generation begins with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// What there is: its own, and what an earlier owner left.
    TakeOver,
    /// Its own alone, which is nothing when it is new.
    Own,
}

pub(crate) struct Runner {
    pub(crate) projector: Arc<dyn Projector>,
    source: Source,
    live: watch::Sender<Arc<Generation>>,
    rebuild: Mutex<Option<Arc<Rebuild>>>,
    rebuild_failure: Mutex<Option<String>>,
}

impl Runner {
    /// Opens the live generation. Without one of this version, one is built first: readers never
    /// see a half-built state.
    pub(crate) async fn start(
        projector: Arc<dyn Projector>,
        source: Source,
    ) -> Result<Arc<Self>, ProjectionError> {
        let live = match projector.live().await? {
            Some(number) => {
                let generation = Generation::start(&*projector, number, &source, Begin::TakeOver).await?;
                projector.activate(number).await?;
                projector.keep_only(number).await?;
                generation
            }
            None => build(&*projector, &source, Begin::TakeOver, &|_, _| {}).await?,
        };
        Ok(Arc::new(Self {
            projector,
            source,
            live: watch::channel(live).0,
            rebuild: Mutex::default(),
            rebuild_failure: Mutex::default(),
        }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projector.name()
    }

    pub(crate) const fn cell(&self) -> u16 {
        self.source.cell
    }

    pub(crate) fn position(&self, tenant: TenantId) -> u64 {
        self.live.borrow().progress.borrow().position(tenant)
    }

    /// Waits, without a bound, until the tenant is shown up to `sequence`.
    pub(crate) async fn reach(&self, tenant: TenantId, sequence: u64) -> Result<(), ProjectionError> {
        let mut live = self.live.subscribe();
        loop {
            let generation = live.borrow_and_update().clone();
            let mut progress = generation.progress.clone();
            let reached = async {
                loop {
                    {
                        let now = progress.borrow_and_update();
                        if now.position(tenant) >= sequence {
                            return Ok(true);
                        }
                        if let Some(TenantMark::Parked { sequence, message, .. }) = now.marks.get(&tenant) {
                            return Err(ProjectionError::Parked {
                                projector: self.name().to_owned(),
                                tenant,
                                position: Position { cell: self.source.cell, sequence: *sequence },
                                message: message.clone(),
                            });
                        }
                    }
                    if progress.changed().await.is_err() {
                        // This generation ended; the next one is on its way.
                        return Ok(false);
                    }
                }
            };
            tokio::select! {
                result = reached => match result {
                    Ok(true) => return Ok(()),
                    Ok(false) => live.changed().await.map_err(|_| ProjectionError::Stopped)?,
                    Err(error) => return Err(error),
                },
                changed = live.changed() => changed.map_err(|_| ProjectionError::Stopped)?,
            }
        }
    }

    /// Waits until the live generation has everything the log has now.
    pub(crate) async fn catch_up(&self) -> Result<(), ProjectionError> {
        let target = self.source.head().await?;
        let live = self.live.borrow().clone();
        live.reach(self.source.cell, target, &|_, _| {}).await
    }

    /// Waits until another owner has taken the live generation's checkpoint over.
    pub(crate) async fn fenced(&self) {
        let mut live = self.live.subscribe();
        loop {
            let mut progress = live.borrow_and_update().progress.clone();
            let fenced = async {
                if progress.wait_for(|progress| progress.fenced).await.is_err() {
                    // It was told to stop.
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = fenced => return,
                changed = live.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    pub(crate) fn is_rebuilding(&self) -> bool {
        self.rebuild.lock().is_some()
    }

    pub(crate) async fn status(&self) -> Result<ProjectionState, ProjectionError> {
        let live = self.live.borrow().clone();
        let rebuild = self.rebuild.lock().clone();
        let failure = self.rebuild_failure.lock().clone();
        let cell = self.source.cell;
        let head = self.source.head().await?;
        let now = live.progress.borrow().clone();
        let next = rebuild.as_ref().and_then(|rebuild| rebuild.next());
        let rebuild_progress = next.map(|next| {
            let done = next.progress.borrow().low_water as f64;
            (done / head.max(1) as f64).min(1.0)
        });
        let status = if rebuild_progress.is_some() { ProjectorStatus::Rebuilding } else { now.status };
        Ok(ProjectionState {
            name: self.name().to_owned(),
            cell,
            version: self.projector.version(),
            generation: live.number,
            position: Position { cell, sequence: now.low_water },
            lag: head.saturating_sub(now.low_water),
            status,
            rebuild_progress,
            rebuild_paused: rebuild.is_some_and(|rebuild| rebuild.is_paused()),
            message: now.message.or(failure),
            poisoned: super::poisoned(cell, &now.marks),
        })
    }

    pub(crate) async fn pause(&self) {
        let live = self.live.borrow().clone();
        live.order(Order::Pause).await;
    }

    pub(crate) async fn resume(&self) {
        let live = self.live.borrow().clone();
        live.order(Order::Resume).await;
    }

    /// Skips or retries where the tenant is parked.
    pub(crate) async fn unpark(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<(), ProjectionError>>) -> Order,
    ) -> Result<(), ProjectionError> {
        let live = self.live.borrow().clone();
        let (sender, receiver) = oneshot::channel();
        live.orders.send(order(sender)).await.map_err(|_| ProjectionError::Stopped)?;
        receiver.await.map_err(|_| ProjectionError::Stopped)?
    }

    /// Fills a new generation beside the live one and swaps it in, in the background.
    pub(crate) fn rebuild(
        self: &Arc<Self>,
    ) -> Result<JoinHandle<Result<(), ProjectionError>>, ProjectionError> {
        let rebuild = Arc::new(Rebuild::new(self.name()));
        {
            let mut running = self.rebuild.lock();
            if running.is_some() {
                return Err(ProjectionError::AlreadyRebuilding { projector: self.name().to_owned() });
            }
            *running = Some(Arc::clone(&rebuild));
        }
        let runner = Arc::clone(self);
        Ok(tokio::spawn(async move {
            let result = runner.rebuild_now(&rebuild).await;
            let (projector, cell) = (runner.name(), runner.source.cell);
            let failure = match &result {
                Ok(()) => None,
                Err(ProjectionError::RebuildAborted { .. }) => {
                    tracing::info!(projector, cell, "the rebuild was aborted; the live generation stays");
                    None
                }
                Err(error) => {
                    tracing::error!(projector, cell, %error, "the rebuild failed; the live generation stays");
                    Some(format!("the rebuild failed: {error}"))
                }
            };
            *runner.rebuild_failure.lock() = failure;
            *runner.rebuild.lock() = None;
            result
        }))
    }

    /// The rebuild that is under way.
    pub(crate) fn rebuilding(&self) -> Result<Arc<Rebuild>, ProjectionError> {
        let running = self.rebuild.lock().clone();
        running.ok_or_else(|| ProjectionError::NotRebuilding { projector: self.name().to_owned() })
    }

    async fn rebuild_now(&self, rebuild: &Rebuild) -> Result<(), ProjectionError> {
        let number = self.projector.next_generation().await?;
        let next = Generation::start(&*self.projector, number, &self.source, Begin::Own).await?;
        let live = self.live.borrow().clone();
        let cell = self.source.cell;
        let filled = async {
            rebuild.begin(&next)?;
            loop {
                next.reach(cell, live.scanned_to(), &|_, _| {}).await?;
                if rebuild.may_swap().await? {
                    return Ok(());
                }
            }
        };
        let filled = tokio::select! {
            filled = filled => filled,
            aborted = rebuild.aborted() => Err(aborted),
        };
        if let Err(error) = filled {
            next.stop().await;
            if matches!(error, ProjectionError::RebuildAborted { .. }) {
                self.projector.discard(number).await?;
            }
            return Err(error);
        }
        // The old one stands still while the new one takes the last steps: positions never go back.
        live.halt().await;
        let swapped = async {
            next.reach(cell, live.scanned_to(), &|_, _| {}).await?;
            self.projector.activate(number).await
        };
        if let Err(error) = swapped.await {
            next.stop().await;
            live.store.close().await;
            let again = Generation::start(&*self.projector, live.number, &self.source, Begin::Own).await?;
            self.live.send_replace(again);
            return Err(error);
        }
        self.live.send_replace(next);
        live.store.close().await;
        self.projector.keep_only(number).await
    }

    /// Prepares for another node to go on.
    pub(crate) async fn hand_over(&self) {
        let live = self.live.borrow().clone();
        live.store.hand_over().await;
    }

    pub(crate) async fn stop(&self) {
        let next = self.rebuild.lock().as_ref().and_then(|rebuild| rebuild.next());
        if let Some(next) = next {
            next.stop().await;
        }
        let live = self.live.borrow().clone();
        live.stop().await;
    }
}

/// Builds a generation up to the log's present end, makes it the live one, and drops the others.
async fn build(
    projector: &dyn Projector,
    source: &Source,
    begin: Begin,
    tell: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Arc<Generation>, ProjectionError> {
    let number = projector.next_generation().await?;
    let target = source.head().await?;
    let generation = Generation::start(projector, number, source, begin).await?;
    if let Err(error) = generation.reach(source.cell, target, tell).await {
        generation.stop().await;
        return Err(error);
    }
    projector.activate(number).await?;
    projector.keep_only(number).await?;
    Ok(generation)
}

/// Builds a new generation with no server running.
pub(crate) async fn build_offline(
    projector: &dyn Projector,
    source: &Source,
    tell: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), ProjectionError> {
    build(projector, source, Begin::Own, tell).await?.stop().await;
    Ok(())
}
