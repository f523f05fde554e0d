//! Carrying out commands: load, decide on a copy, append, keep.
//!
//! A command costs one append and no read while its aggregate is hot. The state is decided on as a
//! copy and takes the cached one's place only after the append was acknowledged, so a failed append
//! leaves nothing behind. A conflict (another writer of the same log) reloads and decides again.
//! A command id seen in the last 24 hours gives its first answer again.
//!
//! An append that was handed to the log is seen through even if its caller goes away (a closed
//! connection drops the future): what the log then has, the cache has too.

use crate::{
    cache::{Cache, Done, Hot, Recent, Remembered, Slot},
    clock::Clock,
    error::CommandError,
};
use autonomos_domain::{
    aggregates::StoredAggregate,
    envelope::{Actor, AggregateKey, AggregateType, CommitHeader, Hash, Position},
    ids::{CommandId, TenantId},
};
use autonomos_log::{
    error::{AppendError, LogError},
    events::{open_event, seal_event},
    port::{Delivery, EventLog, Filter, NewCommit, StoredCommit},
    seal::KeyRing,
};
use cqrs_es::event_sink::EventSink;
use futures::{StreamExt, future::BoxFuture};
use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

pub use crate::feeds::FeedHandle;

/// How long a watch of the log that broke waits before it goes on.
const WATCH_AGAIN: Duration = Duration::from_millis(200);
/// How often a command is decided again after a conflict.
const MAX_TRIES: u32 = 8;

/// Bounds of the command executor.
#[derive(Debug, Clone, Copy)]
pub struct CommandOptions {
    /// Hot aggregates kept at most.
    pub cached_aggregates: usize,
    /// About how many bytes they may weigh together.
    pub cached_bytes: usize,
    /// Commands of one aggregate that may wait at a time.
    pub queue_per_aggregate: usize,
}

impl Default for CommandOptions {
    fn default() -> Self {
        Self { cached_aggregates: 65_536, cached_bytes: 64 * 1024 * 1024, queue_per_aggregate: 4_096 }
    }
}

/// Who asks for a command, and which one it is.
#[derive(Debug, Clone)]
pub struct CommandContext {
    pub tenant: TenantId,
    pub actor: Actor,
    /// A retry carries the same one.
    pub command_id: CommandId,
    /// BLAKE3 of the request, where there was one; a retry with another body is refused.
    pub request_hash: Option<String>,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
}

impl CommandContext {
    /// A context that begins a correlation of its own.
    pub const fn new(tenant: TenantId, actor: Actor, command_id: CommandId) -> Self {
        Self {
            tenant,
            actor,
            command_id,
            request_hash: None,
            correlation_id: command_id.0,
            causation_id: None,
        }
    }

    /// A command of the platform itself, under a new id.
    pub fn system(tenant: TenantId, name: &str) -> Self {
        Self::new(tenant, Actor::System(name.to_owned()), CommandId::random())
    }

    /// The context of one step of a use case of several commands: its command id follows from this
    /// one's and the step's name, so that a retry of the whole repeats each step as itself.
    #[must_use]
    pub fn step(&self, name: &str) -> Self {
        Self {
            command_id: CommandId(with_time_of(
                self.command_id,
                Uuid::new_v5(&self.command_id.0, name.as_bytes()),
            )),
            causation_id: Some(self.command_id.0),
            ..self.clone()
        }
    }

    /// The same, in another tenant.
    #[must_use]
    pub fn in_tenant(&self, tenant: TenantId) -> Self {
        Self { tenant, ..self.clone() }
    }
}

/// The id of what a command makes: a retry on any node makes the same, and so is recognised.
pub fn derive_id(tenant: TenantId, command_id: CommandId, what: &str) -> Uuid {
    let mut name = Vec::with_capacity(16 + what.len());
    name.extend_from_slice(command_id.0.as_bytes());
    name.extend_from_slice(what.as_bytes());
    with_time_of(command_id, Uuid::new_v5(&tenant.0, &name))
}

/// A hash as an id (UUIDv8) that begins as the command's does, which by default is with its time: what
/// is made one after another stands side by side in the indexes of the log and of the read models,
/// however long they are. The 74 bits left of the hash keep ids apart.
fn with_time_of(command_id: CommandId, hash: Uuid) -> Uuid {
    const TIME: usize = 6;
    let mut bytes = hash.into_bytes();
    bytes[..TIME].copy_from_slice(&command_id.0.as_bytes()[..TIME]);
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

/// What a command did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Where its commit stands; none if it changed nothing.
    pub position: Option<Position>,
    /// The aggregate's version after it.
    pub version: u64,
    /// It had been carried out before; this is its first answer again.
    pub replayed: bool,
}

/// An aggregate's state.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    pub state: Arc<A>,
    /// 0: it does not exist.
    pub version: u64,
}

/// Carries out commands on aggregates. Cheap to clone.
#[derive(Clone)]
pub struct Commands {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) ring: Arc<dyn KeyRing>,
    pub(crate) clock: Clock,
    cache: Cache,
    options: CommandOptions,
}

impl Commands {
    pub fn new(
        log: Arc<dyn EventLog>,
        ring: Arc<dyn KeyRing>,
        clock: Clock,
        options: CommandOptions,
    ) -> Self {
        let cache = Cache::new(options.cached_aggregates, options.cached_bytes);
        Self { inner: Arc::new(Inner { log, ring, clock, cache, options }) }
    }

    /// The log that commands are appended to.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.inner.log
    }

    /// The keys that payloads are sealed with.
    pub fn ring(&self) -> &Arc<dyn KeyRing> {
        &self.inner.ring
    }

    /// Where commands have their time from.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Carries a command out.
    pub async fn execute<A>(
        &self,
        context: &CommandContext,
        id: Uuid,
        command: A::Command,
    ) -> Result<Outcome, CommandError>
    where
        A: StoredAggregate + 'static,
        A::Command: Clone + Send,
    {
        self.run::<A>(context, id, command, false).await
    }

    /// Carries out a command that makes a new aggregate: saves looking whether there is one, for
    /// the log refuses the commit if there is. Decides as usual after that.
    pub async fn create<A>(
        &self,
        context: &CommandContext,
        id: Uuid,
        command: A::Command,
    ) -> Result<Outcome, CommandError>
    where
        A: StoredAggregate + 'static,
        A::Command: Clone + Send,
    {
        self.run::<A>(context, id, command, true).await
    }

    /// An aggregate as of its last commit, as far as this process wrote or read it; commands that are
    /// on their way are waited for.
    pub async fn load<A>(&self, tenant: TenantId, id: Uuid) -> Result<Loaded<A>, CommandError>
    where
        A: StoredAggregate + 'static,
    {
        let key = AggregateKey { tenant, aggregate_type: A::KIND, aggregate_id: id };
        let slot = self.inner.cache.slot(&key);
        // A commit can be seen in the log before its command is over: who saw it must find its state,
        // so a command on its way is waited for.
        if slot.waiting.load(Ordering::Acquire) == 0
            && let Some(loaded) = cached::<A>(&slot)
        {
            return Ok(loaded);
        }
        let _turn = slot.queue.lock().await;
        if let Some(loaded) = cached::<A>(&slot) {
            return Ok(loaded);
        }
        let hot = self.inner.read::<A>(&key).await?;
        let loaded = Loaded { state: downcast::<A>(&hot.state), version: hot.version };
        // What does not exist is not kept: asking for made-up ids must not push the rest out.
        if hot.version > 0 {
            self.inner.keep(&key, &slot, hot);
        }
        Ok(loaded)
    }

    /// The same, whatever other nodes have appended by now.
    pub async fn load_newest<A>(&self, tenant: TenantId, id: Uuid) -> Result<Loaded<A>, CommandError>
    where
        A: StoredAggregate + 'static,
    {
        if self.inner.log.has_other_writers() {
            let key = AggregateKey { tenant, aggregate_type: A::KIND, aggregate_id: id };
            let slot = self.inner.cache.slot(&key);
            let _turn = slot.queue.lock().await;
            slot.forget();
        }
        self.load(tenant, id).await
    }

    async fn run<A>(
        &self,
        context: &CommandContext,
        id: Uuid,
        command: A::Command,
        fresh: bool,
    ) -> Result<Outcome, CommandError>
    where
        A: StoredAggregate + 'static,
        A::Command: Clone + Send,
    {
        let inner = &self.inner;
        let key = AggregateKey { tenant: context.tenant, aggregate_type: A::KIND, aggregate_id: id };
        let slot = inner.cache.slot(&key);
        let mut turn = Turn::take(&slot, inner.options.queue_per_aggregate, &key).await?;

        for attempt in 0..MAX_TRIES {
            let known = slot.hot.read().as_ref().is_some_and(|hot| !slot.is_outdated(hot));
            if !known {
                let hot = if fresh && attempt == 0 { empty::<A>() } else { inner.read::<A>(&key).await? };
                inner.keep(&key, &slot, hot);
            }
            let (state, version, last_hash, remembered) = {
                let hot = slot.hot.read();
                let hot = hot.as_ref().expect("filled above, and only the holder of the turn empties it");
                (downcast::<A>(&hot.state), hot.version, hot.last_hash, hot.recent.find(context.command_id))
            };
            let done = match remembered {
                Remembered::Done(done) => Some(done),
                Remembered::InLog => inner.find_command(&key, context.command_id).await?,
                Remembered::Unknown => None,
            };
            if let Some(done) = done {
                return replay(context, &done);
            }

            let mut candidate = A::clone(&state);
            let sink = EventSink::<A>::default();
            let decided = match candidate.handle(command.clone(), &(), &sink).await {
                Ok(()) => Ok(sink.collect().await),
                Err(error) => Err(error),
            };
            // What would be appended is checked by the log; what is not must be right by itself.
            let appends = decided.as_ref().is_ok_and(|events| !events.is_empty());
            if !appends && known && inner.log.has_other_writers() {
                slot.forget();
                continue;
            }
            let events = match decided {
                Ok(events) => events,
                Err(error) => {
                    turn.forget_nothing(version);
                    return Err(error.into());
                }
            };
            if events.is_empty() {
                turn.forget_nothing(version);
                return Ok(Outcome { position: None, version, replayed: false });
            }

            let commit = inner.seal_commit(context, key, version, last_hash, &events)?;
            let next = Next {
                state: Arc::new(candidate),
                version: version + events.len() as u64,
                weight: commit.events.iter().map(|event| event.payload.len()).sum(),
            };
            let (turn_back, result) = Landing::new(land(Arc::clone(inner), turn, key, commit, next)).await;
            turn = turn_back;
            match result {
                Ok(outcome) => return Ok(outcome),
                Err(AppendError::Conflict { .. }) => {
                    metrics::counter!("commands_conflicts_total").increment(1);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(CommandError::Contended { key, tries: MAX_TRIES })
    }
}

impl Inner {
    fn keep(&self, key: &AggregateKey, slot: &Slot, hot: Hot) {
        let weight = hot.weight;
        *slot.hot.write() = Some(hot);
        self.cache.weigh(key, slot, weight);
    }

    /// Reads an aggregate from the log.
    async fn read<A: StoredAggregate + 'static>(&self, key: &AggregateKey) -> Result<Hot, CommandError> {
        let commits = self.log.load(key, 0).await?;
        let mut state = A::default();
        let mut recent = Recent::default();
        let mut version = 0;
        let mut weight = 0;
        let mut last_hash = None;
        for commit in &commits {
            for index in 0..commit.events.len() {
                state.apply(open_event::<A::Event>(&*self.ring, commit, index)?);
                weight += commit.events[index].payload.len();
            }
            version = commit.last_version();
            last_hash = Some(commit.hash);
            recent.remember(commit.header.command_id, done_of(commit), commit.header.recorded_at);
        }
        Ok(Hot { state: Arc::new(state), version, last_hash, recent, weight })
    }

    async fn find_command(
        &self,
        key: &AggregateKey,
        command_id: CommandId,
    ) -> Result<Option<Done>, CommandError> {
        let commits = self.log.load(key, 0).await?;
        Ok(commits.iter().rev().find(|commit| commit.header.command_id == command_id).map(done_of))
    }

    pub(crate) fn seal_commit<E: cqrs_es::DomainEvent>(
        &self,
        context: &CommandContext,
        key: AggregateKey,
        version: u64,
        last_hash: Option<Hash>,
        events: &[E],
    ) -> Result<NewCommit, CommandError> {
        let key_id = self.ring.payload_key(key.tenant)?;
        let events = events
            .iter()
            .zip(version + 1..)
            .map(|(event, version)| {
                seal_event(&*self.ring, key.tenant, key.aggregate_id, key_id, version, event)
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(NewCommit {
            header: CommitHeader {
                key,
                first_version: version + 1,
                command_id: context.command_id,
                request_hash: context.request_hash.clone(),
                actor: context.actor.clone(),
                correlation_id: context.correlation_id,
                causation_id: context.causation_id,
                recorded_at: self.clock.now(),
                key_id,
                prev_hash: last_hash.map(hex::encode),
                origin: None,
            },
            events,
        })
    }
}

impl Commands {
    /// Takes note of a commit seen in the log: no state from before it is taken from memory any more.
    pub fn commit_seen(&self, commit: &StoredCommit) {
        self.inner.cache.seen(&commit.header.key, commit.last_version());
    }
}

/// Watches the log for as long as it is kept.
pub struct Watch {
    _cells: Vec<AbortOnDropHandle<()>>,
}

impl Commands {
    /// Watches what other nodes append, so that no state they have changed is taken from memory any
    /// more: what is revoked on one node is refused by the others as soon as they have read of it.
    pub async fn watch(&self) -> Result<Watch, LogError> {
        let mut cells = Vec::new();
        for cell in 0..self.log().cells() {
            let after = self.log().head(cell).await?.sequence;
            let watching = watch_cell(Arc::clone(&self.inner), cell, after);
            cells.push(AbortOnDropHandle::new(tokio::spawn(watching)));
        }
        Ok(Watch { _cells: cells })
    }
}

async fn watch_cell(inner: Arc<Inner>, cell: u16, mut after: u64) {
    // No feed is ever kept here, and its batches are most of what a log carries.
    let kept = AggregateType::ALL.into_iter().filter(|kind| *kind != AggregateType::Feed);
    let filter = Filter { tenant: None, aggregate_types: kept.collect() };
    loop {
        let mut commits = inner.log.subscribe(cell, after, filter.clone());
        while let Some(delivery) = commits.next().await {
            match delivery {
                Ok(Delivery::Commit(commit)) => {
                    after = commit.position.sequence;
                    inner.cache.seen(&commit.header.key, commit.last_version());
                }
                Ok(Delivery::CaughtUp(sequence)) => after = after.max(sequence),
                Err(error) => {
                    tracing::warn!(%error, cell, "the log cannot be watched, trying again");
                    break;
                }
            }
        }
        tokio::time::sleep(WATCH_AGAIN).await;
    }
}

impl Commands {
    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }
}

fn done_of(commit: &StoredCommit) -> Done {
    Done {
        position: commit.position,
        version: commit.last_version(),
        request_hash: commit.header.request_hash.clone(),
    }
}

fn replay(context: &CommandContext, done: &Done) -> Result<Outcome, CommandError> {
    if done.request_hash != context.request_hash {
        return Err(CommandError::IdempotencyMismatch);
    }
    Ok(Outcome { position: Some(done.position), version: done.version, replayed: true })
}

fn empty<A: StoredAggregate + 'static>() -> Hot {
    Hot { state: Arc::new(A::default()), version: 0, last_hash: None, recent: Recent::default(), weight: 0 }
}

fn cached<A: StoredAggregate + 'static>(slot: &Slot) -> Option<Loaded<A>> {
    let hot = slot.hot.read();
    let hot = hot.as_ref().filter(|hot| !slot.is_outdated(hot))?;
    Some(Loaded { state: downcast::<A>(&hot.state), version: hot.version })
}

fn downcast<A: StoredAggregate + 'static>(state: &Arc<dyn std::any::Any + Send + Sync>) -> Arc<A> {
    Arc::clone(state).downcast::<A>().expect("the key names the aggregate's type, so the entry has it")
}

/// What an aggregate is once its commit is in the log.
struct Next {
    state: Arc<dyn std::any::Any + Send + Sync>,
    version: u64,
    weight: usize,
}

/// Appends, then keeps what was decided, or forgets what may no longer be so.
async fn land(
    inner: Arc<Inner>,
    turn: Turn,
    key: AggregateKey,
    commit: NewCommit,
    next: Next,
) -> (Turn, Result<Outcome, AppendError>) {
    let (command_id, recorded_at) = (commit.header.command_id, commit.header.recorded_at);
    let request_hash = commit.header.request_hash.clone();
    let appended = match inner.log.append(commit).await {
        Ok(appended) => appended,
        Err(error) => {
            // Someone was first, or it may or may not be in the log: the next look is at the log.
            turn.slot.hot.write().take();
            return (turn, Err(error));
        }
    };
    let done = Done { position: appended.position, version: next.version, request_hash };
    let total = {
        let mut hot = turn.slot.hot.write();
        let hot = hot.as_mut().expect("only the holder of the turn empties it");
        hot.state = next.state;
        hot.version = next.version;
        hot.last_hash = Some(appended.hash);
        hot.recent.remember(command_id, done, recorded_at);
        hot.weight += next.weight;
        hot.weight
    };
    inner.cache.weigh(&key, &turn.slot, total);
    let outcome = Outcome { position: Some(appended.position), version: next.version, replayed: false };
    (turn, Ok(outcome))
}

/// Awaits a future, and lets the runtime see it through if it is dropped before its end.
struct Landing<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> Landing<T> {
    fn new(future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)) }
    }
}

impl<T: Send + 'static> Future for Landing<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let future = self.future.as_mut().expect("not polled after its end");
        let done = std::task::ready!(future.as_mut().poll(context));
        self.future = None;
        Poll::Ready(done)
    }
}

impl<T: Send + 'static> Drop for Landing<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(future);
        }
    }
}

/// A command's turn on its aggregate.
struct Turn {
    slot: Arc<Slot>,
    _queue: tokio::sync::OwnedMutexGuard<()>,
    // After the guard: the count falls when the turn is over.
    _waiting: Waiting,
}

impl Turn {
    async fn take(slot: &Arc<Slot>, limit: usize, key: &AggregateKey) -> Result<Self, CommandError> {
        let before = slot.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(Arc::clone(slot));
        if before >= limit {
            return Err(CommandError::Busy { key: *key });
        }
        let queue = Arc::clone(&slot.queue).lock_owned().await;
        Ok(Self { slot: Arc::clone(slot), _queue: queue, _waiting: waiting })
    }

    /// What does not exist (or was only taken not to) leaves no entry behind.
    fn forget_nothing(&self, version: u64) {
        if version == 0 {
            self.slot.hot.write().take();
        }
    }
}

/// Counts one waiter less when its turn is over, or when it went away before.
struct Waiting(Arc<Slot>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
