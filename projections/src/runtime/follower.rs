//! Follows one cell of the log for one generation of one projector: reads ahead, lets tenants take
//! turns, moves the checkpoint, parks a tenant whose commit cannot be applied.

use super::{
    ProjectorStatus,
    projector::{ApplyError, CellCheckpoint, Store, TenantMark, Turn},
    window::{TurnLimits, Window},
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Hash, ids::TenantId};
use autonomos_log::{
    error::LogError,
    port::{Delivery, EventLog, Filter, ReadLimit},
};
use futures::{FutureExt, StreamExt, stream::BoxStream};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, oneshot, watch};

/// How far a follower is, as others see it.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// Everything up to here was read.
    pub(crate) scanned_to: u64,
    pub(crate) low_water: u64,
    /// First commit of each tenant that was read and is not applied.
    pub(crate) waiting: HashMap<TenantId, u64>,
    pub(crate) marks: BTreeMap<TenantId, TenantMark>,
    pub(crate) status: ProjectorStatus,
    pub(crate) message: Option<String>,
    /// Another owner moved the checkpoint: nothing more is written.
    pub(crate) fenced: bool,
}

impl Progress {
    /// Up to where everything of the tenant is applied.
    pub(crate) fn position(&self, tenant: TenantId) -> u64 {
        match self.marks.get(&tenant) {
            Some(TenantMark::Parked { sequence, .. }) => sequence - 1,
            Some(TenantMark::Behind { sequence }) => *sequence,
            Some(TenantMark::Ahead { .. }) | None => {
                self.waiting.get(&tenant).map_or(self.scanned_to, |first| first - 1)
            }
        }
    }

    /// Whether everything up to `sequence` is applied, parked tenants aside.
    pub(crate) fn reached(&self, sequence: u64) -> bool {
        // One that catches up on its own while its tenant goes on writing may never join the others.
        let is_short =
            |mark: &TenantMark| matches!(mark, TenantMark::Behind { sequence: at } if *at < sequence);
        self.low_water >= sequence && !self.marks.values().any(is_short)
    }
}

type Answer = oneshot::Sender<Result<(), ProjectionError>>;

pub(crate) enum Order {
    Pause,
    Resume,
    /// Leaves out the commit the tenant is parked at.
    Skip(TenantId, Answer),
    /// Tries it again.
    Retry(TenantId, Answer),
    Stop,
}

/// What a follower needs.
pub(crate) struct Setup {
    pub(crate) name: &'static str,
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) cell: u16,
    pub(crate) filter: Filter,
    pub(crate) limits: TurnLimits,
    pub(crate) turn_time: Duration,
    pub(crate) read_ahead_bytes: usize,
    /// Commits not subscribed to that may pass before the checkpoint alone is written.
    pub(crate) idle_checkpoint: u64,
}

pub(crate) struct Follower {
    setup: Setup,
    checkpoint: CellCheckpoint,
    window: Window,
    scanned_to: u64,
    /// The latest running hash seen, for the checkpoint.
    hashes: std::collections::VecDeque<(u64, Hash)>,
    /// Measured: how long one commit takes, in seconds.
    cost: f64,
    paused: bool,
    trouble: Option<(ProjectorStatus, String)>,
    fenced: bool,
    /// What was written when the store failed: it may be there all the same.
    in_doubt: Option<(CellCheckpoint, Vec<Turn>)>,
    progress: watch::Sender<Progress>,
    orders: mpsc::Receiver<Order>,
}

const LANE_PAGE: ReadLimit = ReadLimit { commits: 512, bytes: 8 << 20 };

enum Next {
    Order(Option<Order>),
    Delivery(Option<Result<Delivery, LogError>>),
}

impl Follower {
    /// Reads the checkpoint and compares it with the log: a log below it, or with another hash at
    /// the same place, was rolled back; its writers are stopped.
    pub(crate) async fn open(
        setup: Setup,
    ) -> Result<(Self, watch::Receiver<Progress>, mpsc::Sender<Order>), ProjectionError> {
        let checkpoint = setup.store.checkpoint(setup.cell).await?;
        let trouble = rolled_back(&*setup.log, setup.cell, &checkpoint).await?.map(|reason| {
            tracing::error!(projector = setup.name, cell = setup.cell, reason, "the log was rolled back");
            setup.log.stop_writers(setup.cell, reason.clone());
            (ProjectorStatus::RolledBack, reason)
        });
        let (orders_sender, orders) = mpsc::channel(64);
        let scanned_to = checkpoint.sequence;
        let (progress, receiver) = watch::channel(Progress {
            scanned_to,
            low_water: scanned_to,
            waiting: HashMap::new(),
            marks: checkpoint.tenants.clone(),
            status: ProjectorStatus::CatchingUp,
            message: None,
            fenced: false,
        });
        let follower = Self {
            setup,
            scanned_to,
            checkpoint,
            window: Window::default(),
            hashes: std::collections::VecDeque::new(),
            cost: 0.0,
            paused: false,
            trouble,
            fenced: false,
            in_doubt: None,
            progress,
            orders,
        };
        follower.publish();
        Ok((follower, receiver, orders_sender))
    }

    /// Runs until told to stop, or fenced by another owner.
    pub(crate) async fn run(mut self) {
        if matches!(self.trouble, Some((ProjectorStatus::RolledBack, _))) {
            // What it shows is ahead of the log: nothing may be added until an operator looked.
            while !matches!(self.orders.recv().await, None | Some(Order::Stop)) {}
            return;
        }
        let mut stream = self.subscribe();
        let mut backoff = Duration::from_millis(100);
        loop {
            match self.step(&mut stream).await {
                Ok(true) => {
                    backoff = Duration::from_millis(100);
                    self.publish();
                }
                Ok(false) => break,
                Err(ProjectionError::Fenced { projector }) => {
                    tracing::error!(projector, "another owner moved the checkpoint: this one stops");
                    self.trouble =
                        Some((ProjectorStatus::Failing, ProjectionError::Fenced { projector }.to_string()));
                    self.fenced = true;
                    self.publish();
                    return;
                }
                Err(error) => {
                    tracing::warn!(projector = self.setup.name, %error, "projecting failed, it is tried again");
                    self.trouble = Some((ProjectorStatus::Failing, error.to_string()));
                    self.publish();
                    if !self.wait_or_stop(backoff).await {
                        break;
                    }
                    backoff = (backoff * 2).min(Duration::from_secs(5));
                    self.trouble = None;
                    stream = self.subscribe();
                }
            }
        }
        if let Err(error) = self.save_idle(1).await {
            tracing::warn!(projector = self.setup.name, %error, "the last checkpoint could not be written");
        }
    }

    fn subscribe(&self) -> BoxStream<'static, Result<Delivery, LogError>> {
        self.setup.log.subscribe(self.setup.cell, self.scanned_to, self.setup.filter.clone())
    }

    /// One round; false: stop.
    async fn step(
        &mut self,
        stream: &mut BoxStream<'static, Result<Delivery, LogError>>,
    ) -> Result<bool, ProjectionError> {
        self.doubt_settle().await?;
        while let Ok(order) = self.orders.try_recv() {
            if !self.obey(Some(order)).await? {
                return Ok(false);
            }
        }
        let lane = self.lane();
        if self.paused || (self.window.is_empty() && lane.is_none()) {
            let next = if self.paused {
                Next::Order(self.orders.recv().await)
            } else {
                tokio::select! {
                    biased;
                    order = self.orders.recv() => Next::Order(order),
                    delivery = stream.next() => Next::Delivery(delivery),
                }
            };
            match next {
                Next::Order(order) => return self.obey(order).await,
                Next::Delivery(None) => return Err(ProjectionError::from(LogError::Closed)),
                Next::Delivery(Some(delivery)) => self.take(delivery?),
            }
        }
        while self.window.commits() < self.setup.limits.commits
            && self.window.bytes() < self.setup.read_ahead_bytes
        {
            match stream.next().now_or_never() {
                Some(Some(delivery)) => self.take(delivery?),
                Some(None) => return Err(ProjectionError::from(LogError::Closed)),
                None => break,
            }
        }
        if let Some((tenant, after)) = lane {
            self.catch_up(tenant, after).await?;
        }
        if self.window.is_empty() {
            self.save_idle(self.setup.idle_checkpoint).await?;
        } else {
            self.round().await?;
        }
        Ok(true)
    }

    fn take(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::CaughtUp(sequence) => self.scanned_to = self.scanned_to.max(sequence),
            Delivery::Commit(commit) => {
                let sequence = commit.position.sequence;
                self.scanned_to = self.scanned_to.max(sequence);
                self.hashes.push_back((sequence, commit.running_hash));
                let tenant = commit.header.key.tenant;
                let wanted = match self.checkpoint.tenants.get(&tenant) {
                    None => true,
                    Some(TenantMark::Ahead { sequence: applied }) => sequence > *applied,
                    // Its lane reads it, or it waits for an operator.
                    Some(TenantMark::Behind { .. } | TenantMark::Parked { .. }) => false,
                };
                if wanted {
                    self.window.push(commit);
                }
            }
        }
    }

    /// Applies one batch of turns.
    async fn round(&mut self) -> Result<(), ProjectionError> {
        let turns = self.window.turns(self.turn_limits());
        let started = Instant::now();
        match self.apply(&turns, |_| {}).await {
            Ok(()) => {
                let commits: usize = turns.iter().map(|turn| turn.commits.len()).sum();
                let each = started.elapsed().as_secs_f64() / commits.max(1) as f64;
                self.cost = if self.cost == 0.0 { each } else { self.cost.mul_add(0.8, each * 0.2) };
                metrics::counter!("aos_projected_commits_total", "projector" => self.setup.name)
                    .increment(commits as u64);
                Ok(())
            }
            Err(ApplyError::Store(error)) => Err(error),
            Err(ApplyError::Poison { tenant, sequence, code, message }) => {
                self.park(&turns, tenant, sequence, code, message).await
            }
        }
    }

    /// Keeps what comes before the bad commit and stops the tenant there; the others go on.
    async fn park(
        &mut self,
        turns: &[Turn],
        tenant: TenantId,
        sequence: u64,
        code: String,
        message: String,
    ) -> Result<(), ProjectionError> {
        tracing::error!(projector = self.setup.name, %tenant, sequence, code, message, "a tenant is parked");
        let before: Vec<_> = turns
            .iter()
            .filter(|turn| turn.tenant == tenant)
            .map(|turn| Turn {
                tenant,
                commits: turn.commits.iter().filter(|c| c.position.sequence < sequence).cloned().collect(),
            })
            .filter(|turn| !turn.commits.is_empty())
            .collect();
        let mark = TenantMark::Parked { sequence, code, message };
        let parked = |checkpoint: &mut CellCheckpoint| {
            checkpoint.tenants.insert(tenant, mark.clone());
        };
        match self.apply(&before, parked).await {
            Ok(()) => {}
            Err(ApplyError::Store(error)) => return Err(error),
            // An earlier one is bad too: park there.
            Err(ApplyError::Poison { sequence, code, message, .. }) => {
                return Box::pin(self.park(&before, tenant, sequence, code, message)).await;
            }
        }
        Ok(())
    }

    /// Applies turns with the checkpoint they lead to; `adjust` may change that one.
    async fn apply(
        &mut self,
        turns: &[Turn],
        adjust: impl FnOnce(&mut CellCheckpoint),
    ) -> Result<(), ApplyError> {
        let mut to = self.checkpoint_after(turns);
        adjust(&mut to);
        if let Some((tenant, _)) = to.tenants.iter().find(|(tenant, mark)| {
            matches!(mark, TenantMark::Parked { .. }) && self.checkpoint.tenants.get(tenant) != Some(*mark)
        }) {
            // A tenant that parks no longer holds the cell's mark back.
            let others = self.window.firsts().filter(|(other, _)| other != tenant && !self.is_behind(*other));
            let least = others.map(|(_, first)| first).min();
            to.sequence = to.sequence.max(least.map_or(self.scanned_to, |first| first - 1));
        }
        self.hash_for(&mut to).await?;
        to.revision = self.checkpoint.revision + 1;
        let applied = self.setup.store.apply(self.setup.cell, turns, &self.checkpoint, &to).await;
        match applied {
            Ok(()) => self.applied(to, turns),
            Err(ApplyError::Store(_)) => self.in_doubt = Some((to, turns.to_vec())),
            Err(ApplyError::Poison { .. }) => {}
        }
        applied
    }

    fn applied(&mut self, to: CellCheckpoint, turns: &[Turn]) {
        self.hashes.retain(|(sequence, _)| *sequence > to.hash_sequence);
        self.checkpoint = to;
        self.window.remove(turns);
        for (tenant, mark) in &self.checkpoint.tenants {
            if matches!(mark, TenantMark::Parked { .. }) {
                self.window.forget(*tenant);
            }
        }
    }

    /// Asks the store whether what it failed at was written: the answer to a commit may be lost, and
    /// the commit not.
    async fn doubt_settle(&mut self) -> Result<(), ProjectionError> {
        let Some((to, turns)) = self.in_doubt.take() else { return Ok(()) };
        let stored = match self.setup.store.checkpoint(self.setup.cell).await {
            Ok(stored) => stored,
            Err(error) => {
                self.in_doubt = Some((to, turns));
                return Err(error);
            }
        };
        if stored == to {
            self.applied(to, &turns);
        } else if stored.revision != self.checkpoint.revision {
            return Err(ProjectionError::Fenced { projector: self.setup.name.to_owned() });
        }
        Ok(())
    }

    fn checkpoint_after(&self, turns: &[Turn]) -> CellCheckpoint {
        let mut to = self.checkpoint.clone();
        let taken: HashMap<TenantId, usize> =
            turns.iter().map(|turn| (turn.tenant, turn.commits.len())).collect();
        let low_water = self
            .window
            .firsts_after(&taken)
            .filter(|(tenant, _)| !self.is_behind(*tenant))
            .map(|(_, first)| first - 1)
            .min()
            .unwrap_or(self.scanned_to);
        to.sequence = to.sequence.max(low_water);
        for turn in turns {
            let Some(last) = turn.commits.last() else { continue };
            let sequence = last.position.sequence;
            match to.tenants.get(&turn.tenant) {
                Some(TenantMark::Behind { .. }) => {
                    to.tenants.insert(turn.tenant, TenantMark::Behind { sequence });
                }
                _ => {
                    to.tenants.insert(turn.tenant, TenantMark::Ahead { sequence });
                }
            }
        }
        let low_water = to.sequence;
        to.tenants
            .retain(|_, mark| !matches!(mark, TenantMark::Ahead { sequence } if *sequence <= low_water));
        to
    }

    fn is_behind(&self, tenant: TenantId) -> bool {
        matches!(self.checkpoint.tenants.get(&tenant), Some(TenantMark::Behind { .. }))
    }

    /// The latest known running hash at or below the mark.
    async fn hash_for(&mut self, to: &mut CellCheckpoint) -> Result<(), ProjectionError> {
        if to.sequence == to.hash_sequence {
            return Ok(());
        }
        let known = self.hashes.iter().rev().find(|(sequence, _)| *sequence <= to.sequence).copied();
        if let Some((sequence, hash)) = known {
            to.hash_sequence = sequence;
            to.hash = Some(hash);
        }
        if to.hash_sequence < to.sequence && self.window.is_empty() {
            let hash = self.setup.log.running_hash(self.setup.cell, to.sequence).await?;
            if hash.is_some() {
                to.hash_sequence = to.sequence;
                to.hash = hash;
            }
        }
        Ok(())
    }

    /// While others wait, a turn is as many commits as fit into the turn's time.
    fn turn_limits(&self) -> TurnLimits {
        let mut limits = self.setup.limits;
        if self.cost > 0.0 {
            let fitting = (self.setup.turn_time.as_secs_f64() / self.cost) as usize;
            limits.fair_commits = limits.fair_commits.min(fitting.max(1));
        }
        limits
    }

    /// A tenant that catches up on its own and has nothing waiting.
    fn lane(&self) -> Option<(TenantId, u64)> {
        self.checkpoint.tenants.iter().find_map(|(tenant, mark)| match mark {
            TenantMark::Behind { sequence } if !self.window.holds(*tenant) => Some((*tenant, *sequence)),
            _ => None,
        })
    }

    /// Reads the next page of a tenant that is behind; joins it with the rest when it is not any more.
    async fn catch_up(&mut self, tenant: TenantId, after: u64) -> Result<(), ProjectionError> {
        let filter = Filter { tenant: Some(tenant), ..self.setup.filter.clone() };
        let page = self.setup.log.read(self.setup.cell, after, &filter, LANE_PAGE).await?;
        if !page.commits.is_empty() {
            for commit in page.commits {
                self.window.push(commit);
            }
            return Ok(());
        }
        let joined = page.scanned_to >= self.scanned_to;
        let set = |checkpoint: &mut CellCheckpoint| {
            if joined {
                checkpoint.tenants.insert(tenant, TenantMark::Ahead { sequence: page.scanned_to });
            } else {
                checkpoint.tenants.insert(tenant, TenantMark::Behind { sequence: page.scanned_to });
            }
        };
        self.mark(set).await
    }

    /// Writes a change of tenants' marks alone.
    async fn mark(&mut self, change: impl FnOnce(&mut CellCheckpoint)) -> Result<(), ProjectionError> {
        self.apply(&[], change).await.map_err(|error| match error {
            ApplyError::Store(error) => error,
            ApplyError::Poison { message, .. } => ProjectionError::Store(message),
        })
    }

    /// Writes the checkpoint when nothing but commits of others passed for long enough.
    async fn save_idle(&mut self, at_least: u64) -> Result<(), ProjectionError> {
        let rolled_back = matches!(self.trouble, Some((ProjectorStatus::RolledBack, _)));
        if rolled_back || !self.window.is_empty() || self.scanned_to < self.checkpoint.sequence + at_least {
            return Ok(());
        }
        self.mark(|_| {}).await
    }

    /// False: stop.
    async fn obey(&mut self, order: Option<Order>) -> Result<bool, ProjectionError> {
        match order {
            None | Some(Order::Stop) => return Ok(false),
            Some(Order::Pause) => self.paused = true,
            Some(Order::Resume) => self.paused = false,
            Some(Order::Skip(tenant, answer)) => {
                let done = self.unpark(tenant, |sequence| sequence).await;
                // Shown before it is answered: who asks next sees it.
                self.publish();
                let _ = answer.send(done);
            }
            Some(Order::Retry(tenant, answer)) => {
                let done = self.unpark(tenant, |sequence| sequence - 1).await;
                self.publish();
                let _ = answer.send(done);
            }
        }
        self.publish();
        Ok(true)
    }

    async fn unpark(
        &mut self,
        tenant: TenantId,
        resume_after: impl Fn(u64) -> u64,
    ) -> Result<(), ProjectionError> {
        let Some(TenantMark::Parked { sequence, .. }) = self.checkpoint.tenants.get(&tenant) else {
            return Err(ProjectionError::NotParked { projector: self.setup.name.to_owned() });
        };
        let mark = TenantMark::Behind { sequence: resume_after(*sequence) };
        self.mark(|checkpoint| {
            checkpoint.tenants.insert(tenant, mark);
        })
        .await
    }

    /// Waits before another try; false: told to stop meanwhile.
    async fn wait_or_stop(&mut self, time: Duration) -> bool {
        let until = tokio::time::Instant::now() + time;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(until) => return true,
                order = self.orders.recv() => match order {
                    None | Some(Order::Stop) => return false,
                    Some(Order::Pause) => self.paused = true,
                    Some(Order::Resume) => self.paused = false,
                    Some(Order::Skip(_, answer) | Order::Retry(_, answer)) => {
                        let _ = answer.send(Err(ProjectionError::Store("it is failing; try again later".to_owned())));
                    }
                },
            }
        }
    }

    fn publish(&self) {
        let parked = self.checkpoint.tenants.values().any(|mark| matches!(mark, TenantMark::Parked { .. }));
        let status = match &self.trouble {
            Some((status, _)) => *status,
            None if self.paused => ProjectorStatus::Paused,
            None if parked => ProjectorStatus::Poisoned,
            None if !self.window.is_empty() => ProjectorStatus::CatchingUp,
            None => ProjectorStatus::Live,
        };
        let waiting: HashMap<_, _> = self.window.firsts().collect();
        let low_water = waiting
            .iter()
            .filter(|(tenant, _)| !self.is_behind(**tenant))
            .map(|(_, first)| first - 1)
            .min()
            .unwrap_or(self.scanned_to);
        self.progress.send_replace(Progress {
            scanned_to: self.scanned_to,
            low_water: low_water.max(self.checkpoint.sequence),
            waiting,
            marks: self.checkpoint.tenants.clone(),
            status,
            message: self.trouble.as_ref().map(|(_, message)| message.clone()),
            fenced: self.fenced,
        });
    }
}

/// Why the log cannot be the one the checkpoint was made from.
async fn rolled_back(
    log: &dyn EventLog,
    cell: u16,
    checkpoint: &CellCheckpoint,
) -> Result<Option<String>, ProjectionError> {
    let head = log.head(cell).await?;
    let highest = checkpoint.highest();
    if head.sequence < highest {
        return Ok(Some(format!(
            "the log ends at sequence {} and the projections have seen {highest}: commits {} to {highest} are lost",
            head.sequence,
            head.sequence + 1,
        )));
    }
    let Some(expected) = checkpoint.hash else { return Ok(None) };
    match log.running_hash(cell, checkpoint.hash_sequence).await? {
        Some(found) if found != expected => Ok(Some(format!(
            "the log's running hash at sequence {} is not the one the projections have seen: the log was replaced or altered at or before it",
            checkpoint.hash_sequence,
        ))),
        _ => Ok(None),
    }
}
