//! The follower of a cell: reads the stream in order into this node's index, so that readers,
//! subscribers and the running hash have what the stream has. It looks at where the stream ends at
//! every start and after every reconnect: a stream that ends before what was seen was rolled back.

use super::{
    Cell, Shared, archive, check,
    index::{self, ArchivedCommit, Entry, State},
    wire::Message,
};
use crate::{
    codec,
    control::{ANCHOR_COMMITS, Anchor, ControlStore, merkle_root},
    error::LogError,
    integrity::{Broken, BrokenKind},
    port::{Head, StoredCommit},
    recent::Recent,
};
use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use autonomos_domain::{
    envelope::{AggregateKey, AggregateType, Hash, Position},
    ids::TenantId,
};
use futures::{FutureExt, StreamExt};
use rusqlite::Connection;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

/// Messages indexed in one transaction, at most.
const GROUP_MESSAGES: usize = 2048;
/// Time between two transactions of the index while messages keep coming: one that holds a few dozen
/// costs little more than one that holds a few. What comes after a pause is indexed at once.
const PACE: Duration = Duration::from_millis(8);
/// How often progress is written down and the stream's end is looked at when nothing comes.
const TICK: Duration = Duration::from_secs(1);

/// The next of a cell's history: in the stream, or archived before this node saw it.
enum Item {
    Stored(Message),
    Archived(ArchivedCommit),
}

/// What indexing a group of items brought.
struct Indexed {
    state: State,
    ends: Recent<(u64, Hash)>,
    /// Empty unless all of them are in the stream: what is kept must be contiguous.
    commits: Vec<Arc<StoredCommit>>,
    anchors: Vec<Anchor>,
    broken: Vec<Broken>,
}

pub(super) struct Follower {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    heads: watch::Sender<Head>,
    control: Arc<ControlStore>,
    connects: watch::Receiver<u64>,
    state: State,
    /// Version and hash of the aggregates seen last.
    ends: Recent<(u64, Hash)>,
    /// Of commits this node has not indexed yet.
    known_anchors: HashMap<u64, Anchor>,
    anchors: Vec<Anchor>,
    written: Option<Head>,
    written_at: Instant,
    /// Keeps a second process out as long as this one writes the index.
    _lock: Arc<std::fs::File>,
}

impl Follower {
    pub(super) async fn new(
        shared: Arc<Shared>,
        cell: Arc<Cell>,
        heads: watch::Sender<Head>,
        control: Arc<ControlStore>,
        connects: watch::Receiver<u64>,
        lock: Arc<std::fs::File>,
    ) -> Result<Self, LogError> {
        let state = cell.index.read(index::state).await?;
        heads.send_replace(state.head);
        Ok(Self {
            shared,
            cell,
            heads,
            control,
            connects,
            state,
            ends: Recent::default(),
            known_anchors: HashMap::new(),
            anchors: Vec::new(),
            written: None,
            written_at: Instant::now(),
            _lock: lock,
        })
    }

    /// What happens before the first append of a start: the stream is checked against all that saw
    /// it, and what this node has not seen is read.
    pub(super) async fn start(&mut self) -> Result<(), LogError> {
        let witness = check::Witness::of(&self.control, self.cell.number)?;
        let indexed = self.state.head.sequence;
        self.known_anchors = witness.anchors_after(indexed);
        let last = self.shared.wire.last_sequence(&self.cell.stream, witness.reach().max(indexed)).await?;
        let info = self.shared.wire.stream_info(&self.cell.stream).await?;
        self.cell.seen(last);
        let mut broken = witness.tail_check(&self.shared, &self.cell, last, indexed);
        let from = check::start_from(&self.shared.options, info.state.bytes, indexed.min(last));
        let checker = check::range_check(
            &self.shared,
            &self.cell,
            crate::integrity::Depth::Start,
            from,
            indexed.min(last),
            &witness,
        );
        broken.extend(checker.await?.broken);
        // What is wrong in one place leaves what comes after it to be read.
        let local = |finding: &Broken| {
            !matches!(finding.kind, BrokenKind::Tail | BrokenKind::History | BrokenKind::Replaced)
        };
        if broken.iter().all(local) {
            self.catch_up(last).await?;
            broken.extend(witness.history_check(&self.cell, last).await?);
        }
        if !broken.iter().all(local) {
            self.cell.halted.send_replace(true);
        }
        if witness.is_new() && last > 0 {
            tracing::warn!(
                cell = self.cell.number,
                last,
                "the control store has not seen this log: loss before this start can't be told"
            );
            if broken.is_empty() {
                self.control.anchors_put(&check::anchors_of(&self.cell).await?)?;
            }
        }
        self.cell.damage_add(broken);
        if from > 0 {
            tokio::spawn(check::older_check(Arc::clone(&self.shared), Arc::clone(&self.cell), from, witness));
        }
        Ok(())
    }

    /// Follows until the log is closed.
    pub(super) async fn run(mut self) {
        let closing = self.shared.closing.clone();
        while !closing.is_cancelled() {
            let ended = tokio::select! {
                () = closing.cancelled() => break,
                ended = self.session() => ended,
            };
            if let Err(error) = ended {
                self.cell.failing.store(true, Ordering::Release);
                tracing::warn!(cell = self.cell.number, %error, "following the log begins again");
                tokio::select! {
                    () = closing.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(200)) => {}
                }
            }
        }
        self.progress_put().await;
    }

    /// Compares, catches up, then indexes what comes, until the connection was a new one.
    async fn session(&mut self) -> Result<(), LogError> {
        self.connects.mark_unchanged();
        self.compare().await?;
        if self.cell.is_halted() {
            std::future::pending::<()>().await;
        }
        let stream_failed = |error: &dyn std::fmt::Display| LogError::Unreachable(error.to_string());
        let context = jetstream::new(self.shared.wire.client.clone());
        let stream =
            context.get_stream_no_info(&self.cell.stream).await.map_err(|error| stream_failed(&error))?;
        let consumer = stream
            .create_consumer(OrderedConfig {
                deliver_policy: DeliverPolicy::ByStartSequence {
                    start_sequence: self.state.head.sequence + 1,
                },
                ..OrderedConfig::default()
            })
            .await
            .map_err(|error| stream_failed(&error))?;
        let mut messages = consumer.messages().await.map_err(|error| stream_failed(&error))?;
        let mut tick = tokio::time::interval(TICK);
        let mut group = Vec::new();
        let mut quiet = false;
        let mut indexed = Instant::now();
        loop {
            tokio::select! {
                changed = self.connects.changed() => {
                    changed.map_err(|_| LogError::Closed)?;
                    return Err(LogError::Unreachable("the connection was lost and is back".to_owned()));
                }
                _ = tick.tick() => {
                    if quiet && self.cell.seen.load(Ordering::Acquire) > self.state.head.sequence {
                        // The end of the stream may have been archived: no message tells of it.
                        let last = self.shared.wire.stream_info(&self.cell.stream).await?.state.last_sequence;
                        self.catch_up(last).await?;
                    }
                    if quiet {
                        self.cell.failing.store(false, Ordering::Release);
                    }
                    quiet = true;
                    self.progress_tick().await;
                }
                message = messages.next() => {
                    let mut next = message;
                    let until = indexed + PACE;
                    while let Some(message) = next.take() {
                        let message = message.map_err(|error| stream_failed(&error))?;
                        group.push(message_of(&message)?);
                        if group.len() < GROUP_MESSAGES {
                            next = match messages.next().now_or_never() {
                                Some(next) => next,
                                None => timeout_at(until, messages.next()).await.ok().flatten(),
                            };
                        }
                    }
                    if group.is_empty() {
                        return Err(LogError::Unreachable("the consumer ended".to_owned()));
                    }
                    quiet = false;
                    self.extend(std::mem::take(&mut group)).await?;
                    indexed = Instant::now();
                    self.cell.failing.store(false, Ordering::Release);
                    if self.cell.is_halted() {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
    }

    /// Whether the stream is still the one this node has followed, and reaches as far.
    async fn compare(&mut self) -> Result<(), LogError> {
        // First what was seen, then where the stream ends: it grows meanwhile.
        let seen = self.state.head.sequence.max(self.cell.seen.load(Ordering::Acquire));
        let last = self.shared.wire.last_sequence(&self.cell.stream, seen).await?;
        if last < seen {
            self.halt(vec![check::tail(self.cell.number, last, seen, "this node")]);
            return Ok(());
        }
        let head = self.state.head.sequence;
        if head > 0 {
            self.halt(check::entry_check(&self.shared, &self.cell, head).await?);
        }
        self.cell.seen(last);
        Ok(())
    }

    /// Takes findings after which nothing more is indexed: what follows can't be told from what
    /// stood there before.
    fn halt(&self, broken: Vec<Broken>) {
        if !broken.is_empty() {
            self.cell.damage_add(broken);
            self.cell.halted.send_replace(true);
            // What the store has lost is not given out from memory as if it were there.
            self.cell.tail.clear();
        }
    }

    /// Reads the stream in batches up to a sequence, and fills what left it from the receipts.
    async fn catch_up(&mut self, last: u64) -> Result<(), LogError> {
        let pattern = format!("ev.{}.>", self.cell.number);
        while self.state.head.sequence < last && !self.cell.is_halted() {
            let from = self.state.head.sequence + 1;
            let stream = &self.cell.stream;
            let mut messages = self.shared.wire.batch_read(stream, &pattern, from, GROUP_MESSAGES).await?;
            if messages.is_empty() {
                // A replica that is behind, or nothing is left up to the end.
                messages.extend(self.shared.wire.leader_next(stream, &pattern, from).await?);
            }
            if messages.is_empty() {
                let items = self.gap(from, last).await?.into_iter().map(Item::Archived).collect();
                self.items_index(items).await?;
            } else {
                self.extend(messages).await?;
            }
        }
        Ok(())
    }

    /// Indexes messages that come next, with what was archived between them.
    async fn extend(&mut self, messages: Vec<Message>) -> Result<(), LogError> {
        let mut items = Vec::with_capacity(messages.len());
        let mut next = self.state.head.sequence + 1;
        for message in messages {
            if message.sequence < next {
                continue;
            }
            if message.sequence > next {
                let archived = self.gap(next, message.sequence - 1).await?;
                let complete = archived.len() as u64 == message.sequence - next;
                items.extend(archived.into_iter().map(Item::Archived));
                if !complete {
                    break;
                }
            }
            next = message.sequence + 1;
            items.push(Item::Stored(message));
        }
        self.items_index(items).await
    }

    /// What was archived of a range that the stream does not have. What has no receipt is lost: it is
    /// reported, and only what comes before it is answered.
    async fn gap(&self, first: u64, last: u64) -> Result<Vec<ArchivedCommit>, LogError> {
        archive::receipts_refresh(&self.shared, &self.cell).await?;
        let mut archived =
            self.cell.index.read(move |connection| index::archived_between(connection, first, last)).await?;
        let dense =
            archived.iter().zip(first..).take_while(|(commit, place)| commit.sequence == *place).count();
        if dense as u64 == last - first + 1 {
            return Ok(archived);
        }
        let lost_from = first + dense as u64;
        let lost_to = archived.get(dense).map_or(last, |commit| commit.sequence - 1);
        archived.truncate(dense);
        // Not lost, if it is only this replica that lacks it.
        if self.shared.wire.leader_at_surely(&self.cell.stream, lost_from).await?.is_some() {
            return Err(LogError::Unreachable(format!("a replica is behind at sequence {lost_from}")));
        }
        let reason = "the commits are gone without an archive receipt";
        let lost = Broken::range(BrokenKind::Missing, self.cell.number, lost_from, lost_to, reason);
        self.halt(vec![lost]);
        Ok(archived)
    }

    async fn items_index(&mut self, items: Vec<Item>) -> Result<(), LogError> {
        if items.is_empty() {
            return Ok(());
        }
        let cell = self.cell.number;
        let state = self.state.clone();
        let ends = std::mem::take(&mut self.ends);
        let known = self.known_anchors.clone();
        let work = move |connection: &Connection| indexed(connection, cell, items, state, ends, &known);
        let Indexed { state, ends, commits, anchors, broken } = self.cell.index.write(work).await?;
        self.state = state;
        self.ends = ends;
        self.known_anchors.retain(|sequence, _| *sequence > self.state.head.sequence);
        self.anchors.extend(anchors);
        self.cell.damage_add(broken);
        if commits.is_empty() {
            self.cell.tail.clear();
        } else {
            self.cell.tail.extend(commits.iter());
        }
        self.heads.send_replace(self.state.head);
        self.cell.seen(self.state.head.sequence);
        if !self.anchors.is_empty() {
            self.progress_tick().await;
        }
        Ok(())
    }

    async fn progress_tick(&mut self) {
        if !self.anchors.is_empty() || self.written_at.elapsed() >= TICK {
            self.progress_put().await;
        }
    }

    /// Writes head and anchors to the control store.
    async fn progress_put(&mut self) {
        let head = self.state.head;
        // A log that was found damaged must not talk its witness round.
        if self.cell.is_stopped() || (self.anchors.is_empty() && self.written == Some(head)) {
            return;
        }
        let (control, log_id, cell) = (Arc::clone(&self.control), self.shared.log_id, self.cell.number);
        let anchors = self.anchors.clone();
        let put = tokio::task::spawn_blocking(move || control.progress_put(log_id, cell, head, &anchors));
        match put.await {
            Ok(Ok(())) => {
                self.anchors.clear();
                self.written = Some(head);
                self.written_at = Instant::now();
            }
            Ok(Err(error)) => tracing::warn!(%error, "the log's head and anchors could not be written"),
            Err(error) => tracing::warn!(%error, "the log's head and anchors could not be written"),
        }
    }
}

fn message_of(message: &jetstream::Message) -> Result<Message, LogError> {
    let info = message.info().map_err(|error| LogError::Unreachable(error.to_string()))?;
    Ok(Message {
        sequence: info.stream_sequence,
        subject: message.subject.to_string(),
        bytes: message.payload.clone(),
    })
}

/// The aggregate a subject names.
pub(super) fn key_of_subject(cell: u16, subject: &str) -> Option<AggregateKey> {
    let mut tokens = subject.split('.');
    let uuid = |text: &str| Uuid::parse_str(text).ok();
    if tokens.next() != Some("ev") || tokens.next()?.parse() != Ok(cell) {
        return None;
    }
    let key = AggregateKey {
        tenant: TenantId(uuid(tokens.next()?)?),
        aggregate_type: AggregateType::parse(tokens.next()?)?,
        aggregate_id: uuid(tokens.next()?)?,
    };
    tokens.next().is_none().then_some(key)
}

/// Indexes items in order. Blocking.
fn indexed(
    connection: &Connection,
    cell: u16,
    items: Vec<Item>,
    mut state: State,
    mut ends: Recent<(u64, Hash)>,
    known: &HashMap<u64, Anchor>,
) -> Result<Indexed, LogError> {
    let mut entries = Vec::with_capacity(items.len());
    let mut commits = Vec::with_capacity(items.len());
    let mut anchors = Vec::new();
    let mut broken = Vec::new();
    let mut contiguous = true;
    for item in items {
        let mut entry = match &item {
            Item::Archived(commit) => archived_entry(commit),
            Item::Stored(message) => Entry {
                sequence: message.sequence,
                key: key_of_subject(cell, &message.subject),
                first_version: 0,
                last_version: 0,
                recorded_max: i64::MIN,
                hash: codec::content_hash(&message.bytes),
                running_hash: [0; 32],
                length: message.bytes.len(),
                archived: None,
            },
        };
        entry.running_hash = codec::running_hash(&state.head.running_hash, &entry.hash);
        match item {
            Item::Archived(commit) => {
                ends.put(commit.key, (commit.last_version, commit.hash));
                contiguous = false;
            }
            Item::Stored(message) => match commit_of(connection, cell, &entry, &message, &mut ends)? {
                Ok(commit) => {
                    entry.first_version = commit.header.first_version;
                    entry.last_version = commit.last_version();
                    entry.recorded_max = commit.header.recorded_at.timestamp_micros();
                    commits.push(Arc::new(commit));
                }
                Err(finding) => {
                    broken.push(finding);
                    contiguous = false;
                }
            },
        }
        entry.recorded_max = entry.recorded_max.max(state.recorded_max);
        state.recorded_max = entry.recorded_max;
        state.head = Head { sequence: entry.sequence, running_hash: entry.running_hash };
        state.leaves.push(entry.hash);
        if entry.sequence.is_multiple_of(ANCHOR_COMMITS) {
            let anchor = Anchor {
                cell,
                sequence: entry.sequence,
                merkle_root: merkle_root(&state.leaves),
                running_hash: entry.running_hash,
            };
            state.leaves.clear();
            if known.get(&entry.sequence).is_some_and(|known| *known != anchor) {
                let first = entry.sequence - ANCHOR_COMMITS + 1;
                let reason = "the commits are not those an anchor was made of: the log was rolled back or written anew";
                broken.push(Broken::range(BrokenKind::History, cell, first, entry.sequence, reason));
            }
            anchors.push(anchor);
        }
        entries.push(entry);
    }
    index::entries_insert(connection, &entries)?;
    if !contiguous {
        commits.clear();
    }
    Ok(Indexed { state, ends, commits, anchors, broken })
}

fn archived_entry(commit: &ArchivedCommit) -> Entry {
    Entry {
        sequence: commit.sequence,
        key: Some(commit.key),
        first_version: commit.first_version,
        last_version: commit.last_version,
        recorded_max: commit.recorded_at,
        hash: commit.hash,
        running_hash: [0; 32],
        length: commit.length,
        archived: None,
    }
}

/// The commit of a message, or what is wrong with it: unreadable, under another subject than its
/// own, or not following what its aggregate had before.
fn commit_of(
    connection: &Connection,
    cell: u16,
    entry: &Entry,
    message: &Message,
    ends: &mut Recent<(u64, Hash)>,
) -> Result<Result<StoredCommit, Broken>, LogError> {
    let sequence = message.sequence;
    let found = |kind, reason: String| Ok(Err(Broken::range(kind, cell, sequence, sequence, reason)));
    let (header, events) = match codec::decode(&message.bytes) {
        Ok((_, events)) if events.is_empty() => {
            return found(BrokenKind::Content, "the commit has no events".to_owned());
        }
        Ok(decoded) => decoded,
        Err(error) => return found(BrokenKind::Content, error.to_string()),
    };
    let key = header.key;
    if entry.key != Some(key) {
        return found(
            BrokenKind::Misfiled,
            format!("the commit of `{key}` stands under `{}`", message.subject),
        );
    }
    let before = match ends.get(&key) {
        Some(end) => Some(end),
        // An aggregate's first commit is most likely right: the check of the full depth looks again.
        None if header.first_version == 1 => None,
        None => index::last_of_aggregate(connection, &key)?.map(|last| (last.last_version, last.hash)),
    };
    let links = match before {
        None => header.first_version == 1 && header.prev_hash.is_none(),
        Some((version, hash)) => {
            header.first_version == version + 1 && header.prev_hash == Some(hex::encode(hash))
        }
    };
    if !links {
        let before = before.map_or(0, |(version, _)| version);
        return found(
            BrokenKind::Chain,
            format!("version {} of `{key}` does not follow version {before}", header.first_version),
        );
    }
    let commit = StoredCommit {
        position: Position { cell, sequence },
        header,
        events,
        hash: entry.hash,
        running_hash: entry.running_hash,
        bytes: message.bytes.clone(),
    };
    ends.put(key, (commit.last_version(), commit.hash));
    Ok(Ok(commit))
}
