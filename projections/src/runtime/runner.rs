//! One projector with its live generation, and the next one while it is rebuilt.

use super::{
    Options, ProjectionState, ProjectorStatus,
    follower::{Follower, Order, Progress, Setup},
    projector::{Projector, Store, TenantMark},
    window::TurnLimits,
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::port::{EventLog, Filter};
use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::task::AbortOnDropHandle;

/// Followers of every cell for one generation.
pub(crate) struct Generation {
    pub(crate) number: u64,
    store: Arc<dyn Store>,
    cells: Vec<CellFollower>,
}

struct CellFollower {
    progress: watch::Receiver<Progress>,
    orders: mpsc::Sender<Order>,
    /// Ends with the generation: who is built and given up half way must not go on writing.
    task: Mutex<Option<AbortOnDropHandle<()>>>,
}

impl Generation {
    async fn start(
        projector: &dyn Projector,
        number: u64,
        log: &Arc<dyn EventLog>,
        options: &Options,
        begin: Begin,
    ) -> Result<Arc<Self>, ProjectionError> {
        let store = projector.open(number).await?;
        let mut cells = Vec::new();
        for cell in 0..log.cells() {
            if begin == Begin::TakeOver {
                store.take_over(&**log, cell).await?;
            }
            let setup = Setup {
                name: projector.name(),
                log: Arc::clone(log),
                store: Arc::clone(&store),
                cell,
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
            cells.push(CellFollower { progress, orders, task });
        }
        Ok(Arc::new(Self { number, store, cells }))
    }

    fn cell(&self, cell: u16) -> Option<&CellFollower> {
        self.cells.get(usize::from(cell))
    }

    async fn order_all(&self, order: impl Fn() -> Order) {
        for cell in &self.cells {
            // A follower that is gone needs no order.
            let _ = cell.orders.send(order()).await;
        }
    }

    /// Stops the followers at the end of what they are doing, and lets go of the files.
    async fn stop(&self) {
        self.order_all(|| Order::Stop).await;
        for cell in &self.cells {
            let task = cell.task.lock().take();
            if let Some(task) = task
                && let Err(error) = task.await
            {
                tracing::error!(%error, "a follower failed");
            }
        }
        self.store.close().await;
    }

    /// Waits until every cell has everything up to its target; an error if it cannot get there.
    async fn reach(
        &self,
        targets: &[u64],
        tell: &(dyn Fn(u64, u64) + Send + Sync),
    ) -> Result<(), ProjectionError> {
        for (cell, target) in self.cells.iter().zip(targets) {
            let mut progress = cell.progress.clone();
            loop {
                let now = progress.borrow_and_update().clone();
                tell(now.low_water, *target);
                if now.status == ProjectorStatus::RolledBack {
                    return Err(ProjectionError::RolledBack {
                        cell: 0,
                        reason: now.message.unwrap_or_default(),
                    });
                }
                if now.reached(*target) {
                    break;
                }
                progress.changed().await.map_err(|_| ProjectionError::Stopped)?;
            }
        }
        Ok(())
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
    log: Arc<dyn EventLog>,
    options: Options,
    live: watch::Sender<Arc<Generation>>,
    rebuilding: AtomicBool,
    next: Mutex<Option<Arc<Generation>>>,
    rebuild_failure: Mutex<Option<String>>,
}

impl Runner {
    /// Opens the live generation. Without one of this version, one is built first: readers never
    /// see a half-built state.
    pub(crate) async fn start(
        projector: Arc<dyn Projector>,
        log: Arc<dyn EventLog>,
        options: Options,
    ) -> Result<Arc<Self>, ProjectionError> {
        let live = match projector.live().await? {
            Some(number) => {
                let generation =
                    Generation::start(&*projector, number, &log, &options, Begin::TakeOver).await?;
                projector.activate(number).await?;
                projector.keep_only(number).await?;
                generation
            }
            None => build(&*projector, &log, &options, Begin::TakeOver, &|_, _| {}).await?,
        };
        Ok(Arc::new(Self {
            projector,
            log,
            options,
            live: watch::channel(live).0,
            rebuilding: AtomicBool::new(false),
            next: Mutex::default(),
            rebuild_failure: Mutex::default(),
        }))
    }

    pub(crate) fn name(&self) -> &'static str {
        self.projector.name()
    }

    pub(crate) fn position(&self, tenant: TenantId, cell: u16) -> u64 {
        let live = self.live.borrow().clone();
        live.cell(cell).map_or(0, |follower| follower.progress.borrow().position(tenant))
    }

    /// Waits, without a bound, until the tenant is shown up to `position`.
    pub(crate) async fn reach(&self, tenant: TenantId, position: Position) -> Result<(), ProjectionError> {
        let mut live = self.live.subscribe();
        loop {
            let generation = live.borrow_and_update().clone();
            let follower = generation.cell(position.cell).ok_or(ProjectionError::Stopped)?;
            let mut progress = follower.progress.clone();
            let reached = async {
                loop {
                    {
                        let now = progress.borrow_and_update();
                        if now.position(tenant) >= position.sequence {
                            return Ok(true);
                        }
                        if let Some(TenantMark::Parked { sequence, message, .. }) = now.marks.get(&tenant) {
                            return Err(ProjectionError::Parked {
                                projector: self.name().to_owned(),
                                tenant,
                                position: Position { cell: position.cell, sequence: *sequence },
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
        let mut targets = Vec::new();
        for cell in 0..self.log.cells() {
            targets.push(self.log.head(cell).await?.sequence);
        }
        let live = self.live.borrow().clone();
        live.reach(&targets, &|_, _| {}).await
    }

    /// Waits until another owner has taken the live generation's checkpoint over.
    pub(crate) async fn fenced(&self) {
        let mut live = self.live.subscribe();
        loop {
            let generation = live.borrow_and_update().clone();
            let cells = generation.cells.iter().map(|cell| {
                let mut progress = cell.progress.clone();
                Box::pin(async move {
                    if progress.wait_for(|progress| progress.fenced).await.is_err() {
                        // It was told to stop.
                        std::future::pending::<()>().await;
                    }
                })
            });
            tokio::select! {
                _ = futures::future::select_all(cells) => return,
                changed = live.changed() => if changed.is_err() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    pub(crate) async fn status(&self) -> Result<Vec<ProjectionState>, ProjectionError> {
        let live = self.live.borrow().clone();
        let next = self.next.lock().clone();
        let failure = self.rebuild_failure.lock().clone();
        let mut states = Vec::new();
        for (cell, follower) in live.cells.iter().enumerate() {
            let cell = cell as u16;
            let head = self.log.head(cell).await?.sequence;
            let now = follower.progress.borrow().clone();
            let rebuild_progress = next.as_ref().and_then(|next| next.cell(cell)).map(|follower| {
                let done = follower.progress.borrow().low_water as f64;
                (done / head.max(1) as f64).min(1.0)
            });
            let status = if rebuild_progress.is_some() { ProjectorStatus::Rebuilding } else { now.status };
            states.push(ProjectionState {
                name: self.name().to_owned(),
                version: self.projector.version(),
                generation: live.number,
                position: Position { cell, sequence: now.low_water },
                lag: head.saturating_sub(now.low_water),
                status,
                rebuild_progress,
                message: now.message.clone().or_else(|| failure.clone()),
                poisoned: super::poisoned(cell, &now.marks),
            });
        }
        Ok(states)
    }

    pub(crate) async fn pause(&self) {
        let live = self.live.borrow().clone();
        live.order_all(|| Order::Pause).await;
    }

    pub(crate) async fn resume(&self) {
        let live = self.live.borrow().clone();
        live.order_all(|| Order::Resume).await;
    }

    /// Skips or retries where the tenant is parked; cells it is not in say so.
    pub(crate) async fn unpark(
        &self,
        order: impl Fn(oneshot::Sender<Result<(), ProjectionError>>) -> Order,
    ) -> Result<(), ProjectionError> {
        let live = self.live.borrow().clone();
        let mut answer = Err(ProjectionError::NotParked { projector: self.name().to_owned() });
        for cell in &live.cells {
            let (sender, receiver) = oneshot::channel();
            cell.orders.send(order(sender)).await.map_err(|_| ProjectionError::Stopped)?;
            answer = receiver.await.map_err(|_| ProjectionError::Stopped)?;
            if answer.is_ok() {
                break;
            }
        }
        answer
    }

    /// Fills a new generation beside the live one and swaps it in, in the background.
    pub(crate) fn rebuild(
        self: &Arc<Self>,
    ) -> Result<JoinHandle<Result<(), ProjectionError>>, ProjectionError> {
        if self.rebuilding.swap(true, Ordering::SeqCst) {
            return Err(ProjectionError::AlreadyRebuilding { projector: self.name().to_owned() });
        }
        let runner = Arc::clone(self);
        Ok(tokio::spawn(async move {
            let result = runner.rebuild_now().await;
            *runner.next.lock() = None;
            *runner.rebuild_failure.lock() =
                result.as_ref().err().map(|error| format!("the rebuild failed: {error}"));
            runner.rebuilding.store(false, Ordering::SeqCst);
            if let Err(error) = &result {
                tracing::error!(projector = runner.name(), %error, "the rebuild failed; the live generation stays");
            }
            result
        }))
    }

    async fn rebuild_now(&self) -> Result<(), ProjectionError> {
        let number = self.projector.next_generation().await?;
        let next = Generation::start(&*self.projector, number, &self.log, &self.options, Begin::Own).await?;
        *self.next.lock() = Some(Arc::clone(&next));
        let live = self.live.borrow().clone();
        let shown = |generation: &Generation| -> Vec<u64> {
            generation.cells.iter().map(|cell| cell.progress.borrow().scanned_to).collect()
        };
        if let Err(error) = next.reach(&shown(&live), &|_, _| {}).await {
            next.stop().await;
            return Err(error);
        }
        // The old one stands still while the new one takes the last steps: positions never go back.
        live.order_all(|| Order::Stop).await;
        for cell in &live.cells {
            let task = cell.task.lock().take();
            if let Some(task) = task {
                let _ = task.await;
            }
        }
        let swapped = async {
            next.reach(&shown(&live), &|_, _| {}).await?;
            self.projector.activate(number).await
        };
        if let Err(error) = swapped.await {
            next.stop().await;
            live.store.close().await;
            let again =
                Generation::start(&*self.projector, live.number, &self.log, &self.options, Begin::Own)
                    .await?;
            self.live.send_replace(again);
            return Err(error);
        }
        self.live.send_replace(next);
        live.store.close().await;
        self.projector.keep_only(number).await
    }

    pub(crate) async fn stop(&self) {
        let next = self.next.lock().take();
        if let Some(next) = next {
            next.stop().await;
        }
        let live = self.live.borrow().clone();
        live.stop().await;
    }
}

/// Builds a generation up to the log's present end, makes it the live one, and drops the others.
pub(crate) async fn build(
    projector: &dyn Projector,
    log: &Arc<dyn EventLog>,
    options: &Options,
    begin: Begin,
    tell: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<Arc<Generation>, ProjectionError> {
    let number = projector.next_generation().await?;
    let mut targets = Vec::new();
    for cell in 0..log.cells() {
        targets.push(log.head(cell).await?.sequence);
    }
    let generation = Generation::start(projector, number, log, options, begin).await?;
    if let Err(error) = generation.reach(&targets, tell).await {
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
    log: &Arc<dyn EventLog>,
    options: &Options,
    tell: &(dyn Fn(u64, u64) + Send + Sync),
) -> Result<(), ProjectionError> {
    build(projector, log, options, Begin::Own, tell).await?.stop().await;
    Ok(())
}
