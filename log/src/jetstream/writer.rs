//! The writer of a cell: what waits goes to the server as one atomic batch, so that one sync serves
//! everyone. An expectation that this node knows to be stale never leaves it; of a batch the server
//! refuses nobody is told which message was wrong, so it is halved until only the guilty fail.

use super::{
    Cell, Shared, index, reader,
    wire::{Outgoing, Refusal},
};
use crate::{
    codec,
    error::{AppendError, LogError},
    port::{Appended, StoredCommit},
    recent::Recent,
};
use autonomos_domain::envelope::{AggregateKey, Hash, Position};
use futures::{StreamExt, stream::FuturesUnordered};
use parking_lot::Mutex;
use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

/// Messages in one batch, at most: the server's limit.
const BATCH_COMMITS: usize = 1000;
/// Stored bytes in one batch, about, at most.
const BATCH_BYTES: usize = 8 << 20;
/// Batches with the server at once: it allows fifty of all nodes together.
const BATCHES: usize = 4;
/// What makes another batch worth sending while one is with the server, at least: a batch costs the
/// server a store of its own and one sync whatever its size (measured: as much as a hundred commits), so
/// that small halves take longer than one whole. Large ones don't: commands are decided and sealed for
/// one while the other is stored.
const WORTH_COMMITS: usize = 128;
/// How long a batch waits for callers that were just answered and are about to come back.
const GATHER: Duration = Duration::from_millis(1);
/// How often a commit is sent again because something of another node was in flight on its subject.
const ATTEMPTS: u32 = 20;

/// A commit on its way, and who waits for it.
pub(super) struct Append {
    commit: StoredCommit,
    prev_hash: Option<Hash>,
    /// The last sequence on its subject, once that is known.
    expected: u64,
    attempts: u32,
    /// It was sent and no answer came: it may be stored.
    uncertain: bool,
    reply: oneshot::Sender<Result<Appended, AppendError>>,
}

impl Append {
    pub(super) const fn new(
        commit: StoredCommit,
        prev_hash: Option<Hash>,
        reply: oneshot::Sender<Result<Appended, AppendError>>,
    ) -> Self {
        Self { commit, prev_hash, expected: 0, attempts: 0, uncertain: false, reply }
    }

    fn answer(self, answer: Result<Appended, AppendError>) {
        // Who asked may have gone.
        let _ = self.reply.send(answer);
    }

    fn conflict(self, actual: u64) {
        let header = &self.commit.header;
        let error = AppendError::Conflict { key: header.key, expected: header.first_version - 1, actual };
        self.answer(Err(error));
    }

    fn follows(&self, end: Option<End>) -> bool {
        match end {
            None => self.commit.header.first_version == 1,
            Some(end) => {
                self.commit.header.first_version == end.version + 1 && self.prev_hash == Some(end.hash)
            }
        }
    }
}

/// An aggregate's last commit.
#[derive(Debug, Clone, Copy)]
struct End {
    /// In the stream; 0: all of it was archived.
    sequence: u64,
    version: u64,
    hash: Hash,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    cell: Arc<Cell>,
    ends: Mutex<Recent<End>>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, cell: Arc<Cell>) -> Self {
        Self { shared, cell, ends: Mutex::new(Recent::default()) }
    }

    /// Serves until every sender is gone. While batches are with the server the next one gathers;
    /// an aggregate is in one of them at most.
    pub(super) async fn run(self, mut requests: mpsc::Receiver<Append>) {
        let mut waiting: VecDeque<Append> = VecDeque::new();
        let mut arrived = Vec::with_capacity(BATCH_COMMITS);
        let mut busy: HashSet<AggregateKey> = HashSet::new();
        let mut sent = FuturesUnordered::new();
        let mut open = true;
        // How many were answered last, and how many commits there were at once of late.
        let mut answered = 0;
        let mut lately = 0;
        while open || !sent.is_empty() {
            tokio::select! {
                Some(done) = sent.next(), if !sent.is_empty() => {
                    let done: Vec<AggregateKey> = done;
                    answered = done.len();
                    for key in done {
                        busy.remove(&key);
                    }
                }
                count = requests.recv_many(&mut arrived, BATCH_COMMITS), if open && waiting.len() < BATCH_COMMITS => {
                    open = count > 0;
                }
            }
            waiting.extend(arrived.drain(..));
            if sent.is_empty() && open {
                let half = if answered >= 2 * WORTH_COMMITS { answered / 2 } else { answered };
                let gathered = async {
                    while waiting.len() + arrived.len() < half.min(BATCH_COMMITS) {
                        if requests.recv_many(&mut arrived, BATCH_COMMITS).await == 0 {
                            return;
                        }
                    }
                };
                // Whether all came or not, what is here goes.
                let _ = tokio::time::timeout(GATHER, gathered).await;
            }
            while waiting.len() + arrived.len() < BATCH_COMMITS
                && let Ok(append) = requests.try_recv()
            {
                arrived.push(append);
            }
            waiting.extend(arrived.drain(..));
            // Nearly half of all there are: while one half is stored, the other is decided.
            let worth = WORTH_COMMITS.max(lately * 7 / 16);
            while sent.is_empty() || (sent.len() < BATCHES && waiting.len() >= worth) {
                lately = (waiting.len() + busy.len()).max(lately - lately / 8);
                let batch = batch_take(&mut waiting, &busy);
                if batch.is_empty() {
                    break;
                }
                let keys: Vec<AggregateKey> = batch.iter().map(|append| append.commit.header.key).collect();
                busy.extend(&keys);
                let writer = &self;
                sent.push(async move {
                    writer.batch_serve(batch).await;
                    keys
                });
            }
        }
    }

    async fn batch_serve(&self, batch: Vec<Append>) {
        if let Some(reason) = self.stopped() {
            for append in batch {
                append.answer(Err(AppendError::Stopped { reason: reason.clone() }));
            }
            return;
        }
        match self.admit(batch).await {
            Ok(batch) => self.batch_store(batch).await,
            Err((batch, error)) => {
                tracing::warn!(%error, commits = batch.len(), "commits could not be stored");
                for append in batch {
                    append.answer(Err(error.clone().into()));
                }
            }
        }
    }

    fn stopped(&self) -> Option<String> {
        self.cell.stopped.borrow().clone()
    }

    /// Refuses what can't be right and gives the rest its expectation.
    async fn admit(&self, batch: Vec<Append>) -> Result<Vec<Append>, (Vec<Append>, LogError)> {
        let unknown: Vec<AggregateKey> = batch
            .iter()
            .map(|append| append.commit.header.key)
            .filter(|key| self.ends.lock().get(key).is_none())
            .collect();
        if !unknown.is_empty() {
            let found = self.cell.index.read(move |connection| {
                let mut found = Vec::with_capacity(unknown.len());
                for key in unknown {
                    found.extend(
                        index::last_of_aggregate(connection, &key)?.map(|entry| (key, end_of(&entry))),
                    );
                }
                Ok(found)
            });
            match found.await {
                Ok(found) => found.into_iter().for_each(|(key, end)| self.ends.lock().put(key, end)),
                Err(error) => return Err((batch, error)),
            }
        }
        let mut admitted = Vec::with_capacity(batch.len());
        for mut append in batch {
            let key = append.commit.header.key;
            let mut end = self.ends.lock().get(&key);
            // The commit knows more than this node: another one wrote meanwhile.
            let ahead = append.commit.header.first_version > end.map_or(0, |end| end.version) + 1;
            let other = end.is_some_and(|end| append.commit.header.first_version == end.version + 1);
            if !append.follows(end) && (ahead || other) {
                end = match self.leader_end(&key).await {
                    Ok(end) => end,
                    Err(error) => {
                        append.answer(Err(error.into()));
                        continue;
                    }
                };
            }
            if append.follows(end) {
                append.expected = end.map_or(0, |end| end.sequence);
                admitted.push(append);
            } else {
                append.conflict(end.map_or(0, |end| end.version));
            }
        }
        Ok(admitted)
    }

    /// Stores a batch but for the commits that conflict, and answers everyone.
    async fn batch_store(&self, batch: Vec<Append>) {
        let mut deadline = None;
        let mut pieces = vec![batch];
        while let Some(mut piece) = pieces.pop() {
            if piece.is_empty() {
                continue;
            }
            let messages: Vec<Outgoing> = piece.iter().map(|append| outgoing(&self.cell, append)).collect();
            let mut connected = self.shared.connected.clone();
            connected.mark_unchanged();
            let outcome = tokio::select! {
                outcome = self.shared.wire.publish(&self.cell.stream, &messages) => outcome,
                // An answer to the connection before can't come any more.
                _ = connected.changed() => Err(Refusal::Unknown("the connection was lost".to_owned())),
            };
            match outcome {
                Ok(first) => self.stored(piece, first),
                Err(Refusal::Conflict) => {
                    if piece[0].uncertain {
                        match self.stored_before(&piece[0]).await {
                            Ok(Some(first)) => {
                                self.stored(piece, first);
                                continue;
                            }
                            Ok(None) => {}
                            Err(error) => {
                                self.give_up(piece, &error);
                                continue;
                            }
                        }
                    }
                    if piece.len() > 1 {
                        metrics::counter!("aos_log_batches_halved_total").increment(1);
                        let second = piece.split_off(piece.len() / 2);
                        pieces.push(second);
                        pieces.push(piece);
                    } else if let Some(append) = piece.pop() {
                        pieces.extend(self.conflicting(append).await.map(|again| vec![again]));
                    }
                }
                Err(Refusal::Other(reason)) => {
                    tracing::error!(%reason, commits = piece.len(), "a batch of commits was refused");
                    for append in piece {
                        append.answer(Err(LogError::Store(reason.clone()).into()));
                    }
                }
                Err(Refusal::Unknown(reason)) => {
                    let now = Instant::now();
                    let deadline = *deadline.get_or_insert(now + self.shared.options.append_timeout);
                    for append in &mut piece {
                        append.uncertain = true;
                    }
                    if now >= deadline || self.cell.is_stopped() {
                        self.give_up(piece, &LogError::Unreachable(reason));
                        continue;
                    }
                    tracing::warn!(%reason, commits = piece.len(), "no answer to a batch of commits: sending it again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    // Sent again it can't be stored twice: the first one changed what is expected.
                    pieces.push(piece);
                }
            }
        }
    }

    /// Answers that nobody knows whether commits were stored.
    fn give_up(&self, piece: Vec<Append>, error: &LogError) {
        for append in piece {
            // What this node knows of it may be wrong now.
            self.ends.lock().remove(&append.commit.header.key);
            append.answer(Err(error.clone().into()));
        }
    }

    /// Where a commit stands that was sent before without an answer, if it was stored. A batch is
    /// stored whole and in one stretch: its first commit tells of all.
    async fn stored_before(&self, append: &Append) -> Result<Option<u64>, LogError> {
        let subject = self.cell.subject(&append.commit.header.key);
        let next = self.shared.wire.leader_next(&self.cell.stream, &subject, append.expected + 1).await?;
        // What came first after the expected sequence is this very commit, if it was stored.
        let stored = next.filter(|message| codec::content_hash(&message.bytes) == append.commit.hash);
        Ok(stored.map(|message| message.sequence))
    }

    fn stored(&self, piece: Vec<Append>, first: u64) {
        let count = piece.len() as u64;
        metrics::counter!("aos_log_commits_total").increment(count);
        metrics::histogram!("aos_log_group_commits").record(count as f64);
        self.cell.seen(first + count - 1);
        for (append, sequence) in piece.into_iter().zip(first..) {
            self.stored_at(append, sequence);
        }
    }

    fn stored_at(&self, append: Append, sequence: u64) {
        let commit = &append.commit;
        let end = End { sequence, version: commit.last_version(), hash: commit.hash };
        self.ends.lock().put(commit.header.key, end);
        let appended =
            Appended { position: Position { cell: self.cell.number, sequence }, hash: commit.hash };
        append.answer(Ok(appended));
    }

    /// Looks at the leader why a commit was refused: it conflicts, or is to be sent again with what
    /// this node knows now.
    async fn conflicting(&self, mut append: Append) -> Option<Append> {
        let key = append.commit.header.key;
        let end = match self.leader_end(&key).await {
            Ok(end) => end,
            Err(error) => {
                append.answer(Err(error.into()));
                return None;
            }
        };
        if append.follows(end) && append.attempts < ATTEMPTS {
            // Something of another node is in flight on the subject, or this node's sequence was old.
            append.attempts += 1;
            append.expected = end.map_or(0, |end| end.sequence);
            if append.attempts > 1 {
                tokio::time::sleep(Duration::from_millis(u64::from(append.attempts) * 5)).await;
            }
            return Some(append);
        }
        append.conflict(end.map_or(0, |end| end.version));
        None
    }

    /// Where an aggregate ends, from the leader, or from the receipts if it left the stream.
    async fn leader_end(&self, key: &AggregateKey) -> Result<Option<End>, LogError> {
        let subject = self.cell.subject(key);
        let last = self.shared.wire.leader_last(&self.cell.stream, &subject).await?;
        let end = match last {
            Some(message) => {
                self.cell.seen(message.sequence);
                let (version, hash) = reader::last_version(&message)?;
                Some(End { sequence: message.sequence, version, hash })
            }
            None => self.archived_end(key).await?,
        };
        match end {
            Some(end) => self.ends.lock().put(*key, end),
            None => self.ends.lock().remove(key),
        }
        Ok(end)
    }

    async fn archived_end(&self, key: &AggregateKey) -> Result<Option<End>, LogError> {
        super::archive::receipts_refresh(&self.shared, &self.cell).await?;
        let key = *key;
        let last = self.cell.index.read(move |connection| index::last_of_aggregate(connection, &key)).await?;
        match last {
            Some(entry) if entry.archived.is_none() => {
                let message = self.shared.wire.leader_at_surely(&self.cell.stream, entry.sequence).await?;
                if message.is_some() {
                    return Ok(Some(end_of(&entry)));
                }
                let error = LogError::Damaged {
                    place: format!("sequence {}", entry.sequence),
                    reason: format!("the last commit of `{key}` is gone without an archive receipt"),
                };
                self.cell.stop(error.to_string());
                Err(error)
            }
            found => Ok(found.map(|entry| end_of(&entry))),
        }
    }
}

fn end_of(entry: &index::Entry) -> End {
    let sequence = if entry.archived.is_some() { 0 } else { entry.sequence };
    End { sequence, version: entry.last_version, hash: entry.hash }
}

/// What goes out next: at most one commit of each aggregate, for two of one subject in a batch are
/// refused however often it is sent.
fn batch_take(waiting: &mut VecDeque<Append>, busy: &HashSet<AggregateKey>) -> Vec<Append> {
    let mut subjects = HashSet::new();
    let mut batch = Vec::new();
    let mut later = VecDeque::new();
    let mut bytes = 0;
    while let Some(append) = waiting.pop_front() {
        let full = batch.len() >= BATCH_COMMITS || bytes >= BATCH_BYTES;
        let key = append.commit.header.key;
        if full || busy.contains(&key) || !subjects.insert(key) {
            later.push_back(append);
            if full {
                break;
            }
        } else {
            bytes += append.commit.bytes.len();
            batch.push(append);
        }
    }
    later.append(waiting);
    *waiting = later;
    batch
}

fn outgoing(cell: &Cell, append: &Append) -> Outgoing {
    const TYPES: usize = 8;
    let commit = &append.commit;
    let mut types: Vec<&str> = Vec::new();
    for event in &commit.events {
        let plain = event.event_type.bytes().all(|byte| byte.is_ascii_graphic());
        if plain && types.len() < TYPES && !types.contains(&event.event_type.as_str()) {
            types.push(&event.event_type);
        }
    }
    Outgoing {
        subject: cell.subject(&commit.header.key),
        expected: append.expected,
        event_types: types.join(","),
        bytes: commit.bytes.clone(),
    }
}
