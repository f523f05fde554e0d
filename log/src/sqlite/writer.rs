//! The writer: one thread, one connection, one transaction for all that waits. A commit that
//! conflicts is refused alone and takes no sequence, so that a cell's sequences stay dense.

use super::{CELL, Shared, archive::Plan, check};
use crate::{
    codec,
    columns::type_code,
    control::{ANCHOR_COMMITS, Anchor, ControlStore, merkle_root},
    error::{AppendError, LogError},
    port::{Appended, Head, StoredCommit},
    recent::Recent,
};
use autonomos_domain::envelope::{AggregateKey, Hash, Position};
use rusqlite::{CachedStatement, Connection, ErrorCode, OptionalExtension, params};
use std::{
    sync::{Arc, atomic::Ordering, mpsc as thread_mpsc},
    thread::JoinHandle,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Commits in one transaction, at most.
const GROUP_COMMITS: usize = 1024;
/// Stored bytes in one transaction, about, at most.
const GROUP_BYTES: usize = 32 << 20;

const INSERT: &str = "INSERT INTO commits (sequence, tenant, aggregate_type, aggregate_id, first_version,
    last_version, recorded_max, hash, running_hash, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
const LAST_OF_AGGREGATE: &str = "SELECT last_version, hash FROM commits
    WHERE tenant = ?1 AND aggregate_type = ?2 AND aggregate_id = ?3 ORDER BY first_version DESC LIMIT 1";
const LAST_ARCHIVED_OF_AGGREGATE: &str = "SELECT last_version, hash FROM archived
    WHERE tenant = ?1 AND aggregate_type = ?2 AND aggregate_id = ?3 ORDER BY first_version DESC LIMIT 1";

/// A commit on its way, and who waits for it.
pub(super) struct Append {
    /// Position and running hash are not set yet.
    pub(super) commit: Arc<StoredCommit>,
    pub(super) prev_hash: Option<Hash>,
    /// The aggregate's actual version, once the commit was found to conflict.
    pub(super) conflict: Option<u64>,
    pub(super) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(super) enum Request {
    Append(Append),
    Archive(Plan),
}

/// An aggregate's last commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AggregateHead {
    version: u64,
    hash: Hash,
}

/// Where the cell stands; changed only after a transaction is durable.
#[derive(Debug, Clone)]
struct CellState {
    head: Head,
    recorded_max: i64,
    /// Content hashes since the last anchor.
    leaves: Vec<Hash>,
}

pub(super) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    heads: watch::Sender<Head>,
    aggregates: Recent<AggregateHead>,
    state: CellState,
    /// Set when a transaction failed: what is in memory may not be what is stored.
    uncertain: bool,
    anchors: Option<thread_mpsc::Sender<Anchor>>,
    keeper: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(
        connection: Connection,
        shared: Arc<Shared>,
        heads: watch::Sender<Head>,
        control: Arc<ControlStore>,
    ) -> Result<Self, LogError> {
        let state = match load_state(&connection) {
            Ok(state) => state,
            Err(error) => {
                // What can still be read shall be: only writing needs to know the end.
                shared.stop(format!("the end of the log can't be read: {error}"));
                let seen = control.head(CELL)?.map_or(0, |(_, head)| head.sequence);
                CellState {
                    head: Head {
                        sequence: check::last_sequence(&connection).unwrap_or(seen),
                        running_hash: [0; 32],
                    },
                    recorded_max: i64::MAX,
                    leaves: Vec::new(),
                }
            }
        };
        heads.send_replace(state.head);
        let archived: bool =
            connection.query_row("SELECT EXISTS (SELECT 1 FROM archived)", [], |row| row.get(0))?;
        shared.has_archived.store(archived, Ordering::Release);
        let (anchors, notes) = thread_mpsc::channel();
        let keeper = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name("log-keeper".to_owned())
                .spawn(move || keep_progress(&shared, &control, &notes))
                .map_err(|error| LogError::Store(error.to_string()))?
        };
        Ok(Self {
            connection,
            shared,
            heads,
            aggregates: Recent::default(),
            state,
            uncertain: false,
            anchors: Some(anchors),
            keeper: Some(keeper),
        })
    }

    /// Serves until every sender is gone.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut waiting = Vec::with_capacity(GROUP_COMMITS);
        let mut group = Vec::with_capacity(GROUP_COMMITS);
        while requests.blocking_recv_many(&mut waiting, GROUP_COMMITS) > 0 {
            let mut bytes = 0;
            for request in waiting.drain(..) {
                match request {
                    Request::Append(append) => {
                        bytes += append.commit.bytes.len();
                        group.push(append);
                    }
                    Request::Archive(plan) => {
                        self.group_write(&mut group);
                        self.archive_file(plan);
                    }
                }
                if bytes > GROUP_BYTES {
                    self.group_write(&mut group);
                    bytes = 0;
                }
            }
            self.group_write(&mut group);
        }
        self.anchors = None;
        if let Some(keeper) = self.keeper.take() {
            // The keeper only fails to write what the next start writes again.
            let _ = keeper.join();
        }
    }

    fn archive_file(&mut self, plan: Plan) {
        // Readers must look in both places before a commit moves.
        self.shared.has_archived.store(true, Ordering::Release);
        let result = plan.file(&mut self.connection);
        if result.is_err() && !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
        let _ = plan.reply.send(result);
    }

    fn group_write(&mut self, group: &mut Vec<Append>) {
        if group.is_empty() {
            return;
        }
        if self.shared.is_stopped.load(Ordering::Acquire) {
            let reason = self.shared.stopped().unwrap_or_default();
            for append in group.drain(..) {
                let reason = reason.clone();
                let _ = append.reply.send(Err(AppendError::Stopped { reason }));
            }
            return;
        }
        match self.group_store(group) {
            Ok(state) => self.group_publish(group, state),
            Err(error) => {
                let reason = error.to_string();
                tracing::error!(%reason, commits = group.len(), "a group of commits could not be stored");
                if !self.connection.is_autocommit() {
                    let _ = self.connection.execute_batch("ROLLBACK");
                }
                self.uncertain = true;
                if matches!(error, LogError::Damaged { .. }) {
                    self.shared.stop(reason.clone());
                }
                for append in group.drain(..) {
                    let _ = append.reply.send(Err(LogError::Store(reason.clone()).into()));
                }
            }
        }
    }

    /// Stores a group durably, but for the commits that conflict: those are marked.
    fn group_store(&mut self, group: &mut [Append]) -> Result<CellState, LogError> {
        if self.uncertain {
            self.aggregates.clear();
            self.state = load_state(&self.connection)?;
            self.heads.send_replace(self.state.head);
            self.uncertain = false;
        }
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let has_archived = self.shared.has_archived.load(Ordering::Acquire);
        let mut head = self.state.head;
        let mut recorded_max = self.state.recorded_max;
        {
            let mut insert = self.connection.prepare_cached(INSERT)?;
            for append in group {
                let Some(commit) = Arc::get_mut(&mut append.commit) else {
                    return Err(LogError::Store("a commit was shared before it was stored".to_owned()));
                };
                commit.position = position(head.sequence + 1);
                commit.running_hash = codec::running_hash(&head.running_hash, &commit.hash);
                let recorded = commit.header.recorded_at.timestamp_micros().max(recorded_max);
                let known = self.aggregates.get(&commit.header.key);
                append.conflict = commit_store(
                    &self.connection,
                    &mut insert,
                    commit,
                    append.prev_hash,
                    recorded,
                    known,
                    has_archived,
                )?;
                if append.conflict.is_none() {
                    let last = AggregateHead { version: commit.last_version(), hash: commit.hash };
                    self.aggregates.put(commit.header.key, last);
                    head = Head { sequence: commit.position.sequence, running_hash: commit.running_hash };
                    recorded_max = recorded;
                }
            }
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(CellState { head, recorded_max, leaves: std::mem::take(&mut self.state.leaves) })
    }

    /// Tells everyone of a durable group: subscribers, the keeper of anchors, who waits.
    fn group_publish(&mut self, group: &mut Vec<Append>, state: CellState) {
        let state_commits = state.head.sequence - self.state.head.sequence;
        self.state = state;
        for append in group.iter().filter(|append| append.conflict.is_none()) {
            self.state.leaves.push(append.commit.hash);
            let sequence = append.commit.position.sequence;
            if sequence.is_multiple_of(ANCHOR_COMMITS) {
                let anchor = Anchor {
                    cell: CELL,
                    sequence,
                    merkle_root: merkle_root(&self.state.leaves),
                    running_hash: append.commit.running_hash,
                };
                self.state.leaves.clear();
                if let Some(anchors) = &self.anchors {
                    let _ = anchors.send(anchor);
                }
            }
        }
        metrics::counter!("aos_log_commits_total").increment(state_commits);
        metrics::histogram!("aos_log_group_commits").record(state_commits as f64);
        let stored = group.iter().filter(|append| append.conflict.is_none());
        self.shared.tail.extend(stored.map(|append| &append.commit));
        if self.heads.borrow().sequence != self.state.head.sequence {
            self.heads.send_replace(self.state.head);
        }
        // Conflicts are answered last too: who reloads must find what won.
        for append in group.drain(..) {
            let header = &append.commit.header;
            let answer = match append.conflict {
                None => Ok(Appended { position: append.commit.position, hash: append.commit.hash }),
                Some(actual) => {
                    Err(AppendError::Conflict { key: header.key, expected: header.first_version - 1, actual })
                }
            };
            let _ = append.reply.send(answer);
        }
    }
}

/// Stores one commit within the open transaction, or answers the aggregate's actual version if the
/// commit conflicts. An error fails the whole transaction.
fn commit_store(
    connection: &Connection,
    insert: &mut CachedStatement<'_>,
    commit: &StoredCommit,
    prev_hash: Option<Hash>,
    recorded_max: i64,
    known: Option<AggregateHead>,
    has_archived: bool,
) -> Result<Option<u64>, LogError> {
    let header = &commit.header;
    let first = header.first_version == 1;
    // An aggregate nobody knows is most likely new: the unique index will say if it is not.
    let head = match known {
        Some(head) => Some(head),
        None if first && !has_archived => None,
        None => aggregate_head(connection, &header.key, has_archived)?,
    };
    let follows = match head {
        None => first,
        Some(head) => header.first_version == head.version + 1 && prev_hash == Some(head.hash),
    };
    if !follows {
        return Ok(Some(head.map_or(0, |head| head.version)));
    }
    let inserted = insert.execute(params![
        commit.position.sequence,
        header.key.tenant.0.as_bytes(),
        type_code(header.key.aggregate_type),
        header.key.aggregate_id.as_bytes(),
        header.first_version,
        commit.last_version(),
        recorded_max,
        commit.hash,
        commit.running_hash,
        &commit.bytes[..],
    ]);
    match inserted {
        Ok(_) => Ok(None),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            let head = aggregate_head(connection, &header.key, has_archived)?;
            match head {
                Some(head) if first => Ok(Some(head.version)),
                // The sequence is taken: another process writes this file.
                _ => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}

fn aggregate_head(
    connection: &Connection,
    key: &AggregateKey,
    has_archived: bool,
) -> Result<Option<AggregateHead>, LogError> {
    let query = |sql: &str| {
        connection
            .prepare_cached(sql)?
            .query_row(
                params![key.tenant.0.as_bytes(), type_code(key.aggregate_type), key.aggregate_id.as_bytes()],
                |row| Ok(AggregateHead { version: row.get(0)?, hash: row.get(1)? }),
            )
            .optional()
    };
    let found = query(LAST_OF_AGGREGATE)?;
    if found.is_some() || !has_archived {
        return Ok(found);
    }
    Ok(query(LAST_ARCHIVED_OF_AGGREGATE)?)
}

/// The cell's state as stored.
fn load_state(connection: &Connection) -> Result<CellState, LogError> {
    let both = "SELECT sequence, running_hash, recorded_max FROM commits
        UNION ALL SELECT sequence, running_hash, recorded_max FROM archived ORDER BY sequence DESC LIMIT 1";
    let last = connection
        .query_row(both, [], |row| {
            let head = Head { sequence: row.get(0)?, running_hash: row.get(1)? };
            Ok((head, row.get(2)?))
        })
        .optional()?;
    let (head, recorded_max) = last.unwrap_or((Head { sequence: 0, running_hash: [0; 32] }, i64::MIN));
    let anchored = head.sequence - head.sequence % ANCHOR_COMMITS;
    let mut statement = connection.prepare(
        "SELECT sequence, hash FROM commits WHERE sequence > ?1
         UNION ALL SELECT sequence, hash FROM archived WHERE sequence > ?1 ORDER BY sequence",
    )?;
    let leaves = statement.query_map([anchored], |row| row.get(1))?.collect::<Result<_, _>>()?;
    Ok(CellState { head, recorded_max, leaves })
}

/// Writes anchors as they come and the head at most once a second, always behind what is durable.
fn keep_progress(shared: &Shared, control: &ControlStore, notes: &thread_mpsc::Receiver<Anchor>) {
    let mut anchors: Vec<Anchor> = Vec::new();
    let mut written = None;
    let mut open = true;
    while open {
        match notes.recv_timeout(Duration::from_secs(1)) {
            Ok(anchor) => {
                anchors.push(anchor);
                anchors.extend(notes.try_iter());
            }
            Err(thread_mpsc::RecvTimeoutError::Timeout) => {}
            Err(thread_mpsc::RecvTimeoutError::Disconnected) => open = false,
        }
        let head = *shared.head.borrow();
        // A log that was found damaged must not talk its witness round.
        if shared.is_stopped.load(Ordering::Acquire) || (anchors.is_empty() && written == Some(head)) {
            continue;
        }
        match control.progress_put(shared.log_id, CELL, head, &anchors) {
            Ok(()) => {
                anchors.clear();
                written = Some(head);
            }
            Err(error) => tracing::warn!(%error, "the log's head and anchors could not be written"),
        }
    }
}

/// A position in the only cell.
pub(super) const fn position(sequence: u64) -> Position {
    Position { cell: CELL, sequence }
}
