//! Keeps a projector's cells on this node: asks for the leases that are its share, runs the projector
//! in a cell for as long as it holds that cell's lease, and gives cells up to nodes that have fewer.

use super::{
    projector::Projector,
    runner::{Runner, Source},
    seat::{Place, lease_name, lease_prefix},
    spread::{Look, Spread},
};
use crate::error::ProjectionError;
use autonomos_log::{
    error::LogError,
    lease::{Lease, Leases},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    task::{Id, JoinSet},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

/// How long a cell that could not be kept is not asked for.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// How long a node that could not keep a cell leaves free cells to others.
const STAND_BACK: Duration = Duration::from_secs(30);

/// Below a projector's leases, those by which nodes say that they can keep cells.
const ABLE: &str = "able/";

pub(crate) struct Keeper {
    name: &'static str,
    /// By cell.
    seats: Vec<Arc<Kept>>,
    leases: Leases,
}

/// What is kept in one cell.
struct Kept {
    projector: Arc<dyn Projector>,
    source: Source,
    place: Place,
}

/// Cells this node keeps, and what it remembers of those it could not.
struct Keeping {
    tenures: JoinSet<Result<(), ProjectionError>>,
    cells: BTreeMap<u16, Tenure>,
    failed: BTreeMap<u16, Instant>,
    /// Says that this node can keep cells.
    able: Option<Lease>,
    spread: Spread,
}

struct Tenure {
    task: Id,
    /// Cancelled: the cell is given up.
    over: CancellationToken,
}

impl Keeper {
    /// `seats` are by cell.
    pub(crate) fn new(
        name: &'static str,
        seats: Vec<(Arc<dyn Projector>, Source, Place)>,
        leases: Leases,
    ) -> Self {
        let kept = |(projector, source, place)| Arc::new(Kept { projector, source, place });
        Self { name, seats: seats.into_iter().map(kept).collect(), leases }
    }

    /// Runs until told to stop; then every cell is given up at once.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let mut keeping = Keeping {
            tenures: JoinSet::new(),
            cells: BTreeMap::new(),
            failed: BTreeMap::new(),
            able: None,
            spread: Spread::new(self.leases.owner()),
        };
        let mut next = Instant::now();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = keeping.tenures.join_next_with_id() => self.ended(&mut keeping, ended),
                () = tokio::time::sleep_until(next) => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        looked = self.look(&mut keeping, &stop) => if let Err(error) = looked {
                            tracing::warn!(projector = self.name, %error, "leases cannot be asked for");
                        },
                    }
                    next = Instant::now() + self.leases.every();
                }
            }
        }
        if let Some(able) = keeping.able.take() {
            able.release().await;
        }
        while let Some(ended) = keeping.tenures.join_next_with_id().await {
            self.ended(&mut keeping, ended);
        }
    }

    /// Takes note of a tenure's end.
    fn ended(
        &self,
        keeping: &mut Keeping,
        ended: Result<(Id, Result<(), ProjectionError>), tokio::task::JoinError>,
    ) {
        let (task, result) = match ended {
            Ok((task, result)) => (task, result),
            Err(error) => (error.id(), Err(ProjectionError::Store(error.to_string()))),
        };
        let Some(cell) = keeping.cells.iter().find(|(_, kept)| kept.task == task).map(|(cell, _)| *cell)
        else {
            return;
        };
        keeping.cells.remove(&cell);
        // Whatever ended it: nobody is to find it here.
        self.seats[usize::from(cell)].place.send_replace(None);
        match result {
            Ok(()) => {
                keeping.failed.remove(&cell);
            }
            // It was not this node's any more: no fault of its own.
            Err(ProjectionError::Fenced { .. }) => {
                tracing::warn!(projector = self.name, cell, "another node moved the checkpoint");
            }
            Err(error) => {
                tracing::error!(projector = self.name, cell, %error, "the cell cannot be kept here, trying again");
                keeping.failed.insert(cell, Instant::now());
            }
        }
    }

    /// Looks at the leases, asks for cells and gives some up.
    async fn look(&self, keeping: &mut Keeping, stop: &CancellationToken) -> Result<(), LogError> {
        let now = Instant::now();
        keeping.failed.retain(|_, failed| *failed + STAND_BACK > now);
        self.show_able(keeping).await?;
        if !self.leases.is_able() {
            return Ok(());
        }
        let mut look = Look { holders: vec![None; self.seats.len()], ..Look::default() };
        for (name, holder) in self.leases.held(&lease_prefix(self.name)).await? {
            if name.starts_with(ABLE) {
                look.able.insert(holder.owner);
            } else if let Some(held) = name.parse().ok().and_then(|cell: usize| look.holders.get_mut(cell)) {
                *held = Some(holder.owner);
            }
        }
        // What it is about to let go is nobody else's yet, and not free either.
        let is_over = |kept: &Tenure| kept.over.is_cancelled();
        let leaving = keeping.cells.values().any(is_over);
        let mine: BTreeSet<u16> = keeping.cells.keys().copied().collect();
        let wish = keeping.spread.decide(&look, &mine);
        if !leaving {
            self.give(keeping, wish.give);
        }
        for cell in wish.ask {
            if keeping.failed.get(&cell).is_some_and(|failed| *failed + TRY_AGAIN > now) {
                continue;
            }
            if let Some(lease) = self.leases.try_acquire(&lease_name(self.name, cell)).await? {
                self.begin(keeping, cell, lease, stop);
            }
        }
        Ok(())
    }

    /// Says to the others whether this node can keep cells.
    async fn show_able(&self, keeping: &mut Keeping) -> Result<(), LogError> {
        if keeping.able.as_ref().is_some_and(|able| *able.watch().borrow()) {
            keeping.able = None;
        }
        if !keeping.failed.is_empty() {
            if let Some(able) = keeping.able.take() {
                able.release().await;
            }
        } else if keeping.able.is_none() && self.leases.is_able() {
            let prefix = format!("{}{ABLE}", lease_prefix(self.name));
            keeping.able = self.leases.try_acquire(&format!("{prefix}{}", self.leases.owner())).await?;
            self.leases.sweep(&prefix).await?;
        }
        Ok(())
    }

    /// Gives cells up, those that are not being rebuilt first of all, and of these the last ones.
    fn give(&self, keeping: &Keeping, count: usize) {
        let is_rebuilding = |cell: u16| {
            let runner = self.seats[usize::from(cell)].place.borrow().clone();
            runner.is_some_and(|runner| runner.is_rebuilding())
        };
        let givable = keeping.cells.iter().rev().filter(|(cell, _)| !is_rebuilding(**cell));
        for (cell, tenure) in givable.take(count) {
            tracing::info!(projector = self.name, cell, "the cell is given up: another node has fewer");
            tenure.over.cancel();
        }
    }

    fn begin(&self, keeping: &mut Keeping, cell: u16, lease: Lease, stop: &CancellationToken) {
        let kept = Arc::clone(&self.seats[usize::from(cell)]);
        let end = End { node: stop.clone(), given_up: CancellationToken::new() };
        let over = end.given_up.clone();
        let task = keeping.tenures.spawn(async move {
            let ended = kept.tenure(&lease, &end).await;
            lease.release().await;
            ended
        });
        keeping.cells.insert(cell, Tenure { task: task.id(), over });
    }
}

/// What ends a tenure, but for its lease.
struct End {
    node: CancellationToken,
    given_up: CancellationToken,
}

impl End {
    async fn comes(&self) {
        tokio::select! {
            () = self.node.cancelled() => {}
            () = self.given_up.cancelled() => {}
        }
    }
}

impl Kept {
    /// Runs until the lease is lost, the cell is given up or the node ends. What is written meanwhile
    /// is fenced by the checkpoint's compare-and-swap: a lease that ran out unnoticed does no harm.
    async fn tenure(&self, lease: &Lease, end: &End) -> Result<(), ProjectionError> {
        let starting = Runner::start(Arc::clone(&self.projector), self.source.clone());
        let runner = tokio::select! {
            () = end.comes() => return Ok(()),
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
            self.place.send_replace(Some(Arc::clone(&runner)));
            runner.fenced().await;
            Err(ProjectionError::Fenced { projector: self.projector.name().to_owned() })
        };
        let given_up = async {
            end.given_up.cancelled().await;
            // Readers are answered meanwhile.
            runner.hand_over().await;
        };
        let ended = tokio::select! {
            () = end.node.cancelled() => Ok(()),
            () = given_up => Ok(()),
            () = lease.lost() => Ok(()),
            ended = running => ended,
        };
        self.place.send_replace(None);
        runner.stop().await;
        ended
    }
}
