//! Reading: connections of their own on blocking threads, archived commits out of their segments as
//! if they had never moved. Every commit's hash is checked before it is handed out, so that a
//! damaged one is an error and never a wrong fact.

use super::{Shared, archive, schema, writer::position};
use crate::{
    codec,
    columns::type_code,
    error::LogError,
    port::{Filter, Page, ReadLimit, StoredCommit},
};
use autonomos_domain::envelope::{AggregateKey, Hash};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Row, ToSql, params};
use std::{
    collections::VecDeque,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};
use tokio::sync::{Semaphore, oneshot};

/// Reads an aggregate's commits from the one on that holds the version after `after_version`.
fn aggregate_read(
    connection: &Connection,
    shared: &Shared,
    key: &AggregateKey,
    after_version: u64,
) -> Result<Vec<StoredCommit>, LogError> {
    let one = |columns: &str, table: &str| {
        let all = format!("SELECT {columns} FROM {table} WHERE {OF_AGGREGATE} AND last_version > ?4");
        if after_version == 0 {
            return all;
        }
        // It may lie within a commit.
        format!(
            "{all} AND first_version >=
             coalesce((SELECT max(first_version) FROM {table} WHERE {OF_AGGREGATE} AND first_version <= ?4 + 1), 0)"
        )
    };
    let mut sql = one(COMMITS_COLUMNS, "commits");
    if shared.has_archived.load(Ordering::Acquire) {
        let _ = write!(sql, " UNION ALL {}", one(ARCHIVED_COLUMNS, "archived"));
    }
    sql.push_str(" ORDER BY first_version");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        key.tenant.0.as_bytes(),
        type_code(key.aggregate_type),
        key.aggregate_id.as_bytes(),
        after_version,
    ])?;
    let mut frames = archive::Frames::new(connection, &shared.readers.archive);
    let mut commits = Vec::new();
    while let Some(row) = rows.next()? {
        let commit = commit_of(row, &mut frames)?;
        if commit.header.key != *key {
            return Err(misfiled(&commit));
        }
        commits.push(commit);
    }
    Ok(commits)
}

/// Sequences looked at in one query when a filter leaves few.
const SCAN_SEQUENCES: u64 = 100_000;

/// What a row of `commits` and of `archived` have in common for a reader.
const COMMITS_COLUMNS: &str =
    "sequence, running_hash, hash, bytes, 0 AS receipt, 0 AS at, 0 AS length, first_version";
const ARCHIVED_COLUMNS: &str =
    "sequence, running_hash, hash, NULL AS bytes, receipt, offset AS at, length, first_version";
const OF_AGGREGATE: &str = "tenant = ?1 AND aggregate_type = ?2 AND aggregate_id = ?3";

/// A bounded pool of connections that only read.
pub(super) struct Readers {
    path: PathBuf,
    pub(super) archive: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    /// Aggregates that are waited for.
    loads: Mutex<VecDeque<Load>>,
}

/// An aggregate that somebody waits for.
struct Load {
    key: AggregateKey,
    after_version: u64,
    reply: oneshot::Sender<Result<Vec<StoredCommit>, LogError>>,
}

/// Aggregates read in one transaction, at most. Every commit voids the pages that a connection has in
/// memory: what leads to all of them is read once for all.
const LOADS: usize = 16;

impl Readers {
    pub(super) fn new(path: &Path, archive: &Path, count: usize) -> Self {
        Self {
            path: path.to_owned(),
            archive: archive.to_owned(),
            idle: Mutex::new(Vec::new()),
            permits: Arc::new(Semaphore::new(count.max(1))),
            loads: Mutex::default(),
        }
    }
}

impl Shared {
    /// Runs a query on a blocking thread.
    pub(super) async fn query<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl Fn(&Connection, &Shared) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let permits = Arc::clone(&self.readers.permits);
        let permit = permits.acquire_owned().await.map_err(|_| LogError::Closed)?;
        let shared = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            shared.with_connection(work)
        });
        task.await.map_err(|_| LogError::Closed)?
    }

    /// Runs a query on this thread, for whoever has a permit.
    fn with_connection<T>(
        &self,
        mut work: impl FnMut(&Connection, &Self) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let idle = self.readers.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => schema::open_reader(&self.readers.path)?,
        };
        let had_archived = self.has_archived.load(Ordering::Acquire);
        let mut result = work(&connection, self);
        if !had_archived && self.has_archived.load(Ordering::Acquire) {
            // The first commits ever archived may have moved before the query looked.
            result = work(&connection, self);
        }
        match &result {
            Ok(_) => self.readers.idle.lock().push(connection),
            // A connection that saw an error is not trusted with the next query.
            Err(LogError::Damaged { place, reason }) => {
                self.stop(format!("the log is damaged at `{place}`: {reason}"));
            }
            Err(_) => {}
        }
        result
    }

    pub(super) async fn load(
        self: &Arc<Self>,
        key: AggregateKey,
        after_version: u64,
    ) -> Result<Vec<StoredCommit>, LogError> {
        let (reply, mut answer) = oneshot::channel();
        self.readers.loads.lock().push_back(Load { key, after_version, reply });
        loop {
            let permit = tokio::select! {
                biased;
                // Another one's turn served this one too.
                answer = &mut answer => return answer.map_err(|_| LogError::Closed)?,
                permit = Arc::clone(&self.readers.permits).acquire_owned() => permit,
            };
            let (permit, shared) = (permit.map_err(|_| LogError::Closed)?, Arc::clone(self));
            // A turn may serve others alone, whose own turns went with them: then there is another one.
            let turn = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                shared.loads_serve();
            });
            turn.await.map_err(|_| LogError::Closed)?;
        }
    }

    /// Reads aggregates that are waited for. Blocking.
    fn loads_serve(&self) {
        let mut loads: Vec<Load> = {
            let mut waiting = self.readers.loads.lock();
            let count = waiting.len().min(LOADS);
            waiting.drain(..count).collect()
        };
        loads.retain(|load| !load.reply.is_closed());
        let mut found = Vec::new();
        let served = if loads.is_empty() {
            Ok(())
        } else {
            self.with_connection(|connection, shared| {
                let transaction = connection.unchecked_transaction()?;
                found.clear();
                for load in &loads {
                    found.push(aggregate_read(connection, shared, &load.key, load.after_version));
                }
                // A failed read is the answer to who asked for it; here it tells of the connection.
                let failed = found.iter().find_map(|found| found.as_ref().err());
                failed.map_or(Ok(()), |error| Err(error.clone()))?;
                Ok(transaction.commit()?)
            })
        };
        for (index, load) in loads.into_iter().enumerate() {
            let found = found.get_mut(index).map(|found| std::mem::replace(found, Ok(Vec::new())));
            let answer = found.unwrap_or_else(|| served.clone().map(|()| Vec::new()));
            // Who asked may have gone.
            let _ = load.reply.send(answer);
        }
    }

    pub(super) async fn load_last(
        self: &Arc<Self>,
        key: AggregateKey,
    ) -> Result<Option<StoredCommit>, LogError> {
        self.query(move |connection, shared| {
            let mut frames = archive::Frames::new(connection, &shared.readers.archive);
            for (columns, table) in [(COMMITS_COLUMNS, "commits"), (ARCHIVED_COLUMNS, "archived")] {
                let sql = format!(
                    "SELECT {columns} FROM {table} WHERE {OF_AGGREGATE} ORDER BY first_version DESC LIMIT 1"
                );
                let mut statement = connection.prepare_cached(&sql)?;
                let mut rows = statement.query(params![
                    key.tenant.0.as_bytes(),
                    type_code(key.aggregate_type),
                    key.aggregate_id.as_bytes(),
                ])?;
                if let Some(row) = rows.next()? {
                    let commit = commit_of(row, &mut frames)?;
                    if commit.header.key != key {
                        return Err(misfiled(&commit));
                    }
                    return Ok(Some(commit));
                }
                if !shared.has_archived.load(Ordering::Acquire) {
                    break;
                }
            }
            Ok(None)
        })
        .await
    }

    pub(super) async fn read(
        self: &Arc<Self>,
        after: u64,
        filter: Filter,
        limit: ReadLimit,
    ) -> Result<Page, LogError> {
        let head = self.head.borrow().sequence;
        if after >= head {
            return Ok(Page { commits: Vec::new(), scanned_to: after });
        }
        self.query(move |connection, shared| {
            let mut from = after;
            loop {
                let to = head.min(from.saturating_add(SCAN_SEQUENCES));
                let page = page_read(connection, shared, from, to, &filter, limit)?;
                if !page.commits.is_empty() || page.scanned_to >= head {
                    return Ok(page);
                }
                from = page.scanned_to;
            }
        })
        .await
    }

    pub(super) async fn running_hash(self: &Arc<Self>, sequence: u64) -> Result<Option<Hash>, LogError> {
        if sequence == 0 {
            return Ok(Some([0; 32]));
        }
        self.query(move |connection, _| running_hash_at(connection, sequence)).await
    }

    pub(super) async fn sequence_at(self: &Arc<Self>, time: DateTime<Utc>) -> Result<u64, LogError> {
        let micros = time.timestamp_micros();
        let head = self.head.borrow().sequence;
        self.query(move |connection, _| {
            let in_commits = last_recorded_by(connection, "commits", head, micros)?;
            let in_archive = last_recorded_by(connection, "archived", head, micros)?;
            Ok(in_commits.max(in_archive))
        })
        .await
    }
}

/// The commits of an aggregate that are not archived, oldest first.
pub(super) fn live_commits(
    connection: &Connection,
    key: &AggregateKey,
) -> Result<Vec<StoredCommit>, LogError> {
    let sql = format!("SELECT {COMMITS_COLUMNS} FROM commits WHERE {OF_AGGREGATE} ORDER BY first_version");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![
        key.tenant.0.as_bytes(),
        type_code(key.aggregate_type),
        key.aggregate_id.as_bytes(),
    ])?;
    let mut frames = archive::Frames::new(connection, Path::new(""));
    let mut commits = Vec::new();
    while let Some(row) = rows.next()? {
        commits.push(commit_of(row, &mut frames)?);
    }
    Ok(commits)
}

/// The cell's running hash at a sequence.
pub(super) fn running_hash_at(connection: &Connection, sequence: u64) -> Result<Option<Hash>, LogError> {
    for table in ["commits", "archived"] {
        let sql = format!("SELECT running_hash FROM {table} WHERE sequence = ?1");
        let hash = connection.prepare_cached(&sql)?.query_row([sequence], |row| row.get(0)).optional()?;
        if hash.is_some() {
            return Ok(hash);
        }
    }
    Ok(None)
}

/// The last sequence of a table whose running maximum of `recorded_at` is not after `micros`: a
/// binary search, for the maximum only grows.
fn last_recorded_by(connection: &Connection, table: &str, head: u64, micros: i64) -> Result<u64, LogError> {
    let sql = format!(
        "SELECT sequence, recorded_max FROM {table} WHERE sequence <= ?1 ORDER BY sequence DESC LIMIT 1"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let (mut low, mut high) = (0, head);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let found: Option<(u64, i64)> =
            statement.query_row([middle], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((sequence, recorded)) if recorded > micros => high = sequence - 1,
            Some(_) => low = middle,
            None => return Ok(0),
        }
    }
    let last = statement.query_row([low], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

fn page_read(
    connection: &Connection,
    shared: &Shared,
    after: u64,
    to: u64,
    filter: &Filter,
    limit: ReadLimit,
) -> Result<Page, LogError> {
    let mut condition = "sequence > ?1 AND sequence <= ?2".to_owned();
    if filter.tenant.is_some() {
        condition.push_str(" AND tenant = ?4");
    }
    if !filter.aggregate_types.is_empty() {
        let codes: Vec<String> =
            filter.aggregate_types.iter().map(|kind| type_code(*kind).to_string()).collect();
        let _ = write!(condition, " AND aggregate_type IN ({})", codes.join(","));
    }
    // NOT INDEXED: the order wanted is the table's own; an index by tenant would be sorted.
    let mut sql = format!("SELECT {COMMITS_COLUMNS} FROM commits NOT INDEXED WHERE {condition}");
    if shared.has_archived.load(Ordering::Acquire) {
        let _ =
            write!(sql, " UNION ALL SELECT {ARCHIVED_COLUMNS} FROM archived NOT INDEXED WHERE {condition}");
    }
    sql.push_str(" ORDER BY sequence LIMIT ?3");
    let commits_limit = limit.commits.clamp(1, 1 << 20);
    let tenant = filter.tenant.map(|tenant| *tenant.0.as_bytes());
    let mut values: Vec<&dyn ToSql> = vec![&after, &to, &commits_limit];
    if let Some(tenant) = &tenant {
        values.push(tenant);
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(&values[..])?;
    let mut frames = archive::Frames::new(connection, &shared.readers.archive);
    let mut commits = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let commit = commit_of(row, &mut frames)?;
        let matches = filter.tenant.is_none_or(|tenant| tenant == commit.header.key.tenant);
        if !matches {
            return Err(misfiled(&commit));
        }
        bytes += commit.bytes.len();
        commits.push(Arc::new(commit));
        if bytes >= limit.bytes || commits.len() >= commits_limit {
            break;
        }
    }
    let full = bytes >= limit.bytes || commits.len() >= commits_limit;
    let scanned_to = match commits.last() {
        Some(last) if full => last.position.sequence,
        _ => to,
    };
    Ok(Page { commits, scanned_to })
}

fn misfiled(commit: &StoredCommit) -> LogError {
    LogError::Damaged {
        place: format!("sequence {}", commit.position.sequence),
        reason: format!("the commit of `{}` is filed under another aggregate", commit.header.key),
    }
}

/// The commit of a row; its bytes are checked against its hash.
fn commit_of(row: &Row<'_>, frames: &mut archive::Frames<'_>) -> Result<StoredCommit, LogError> {
    let sequence: u64 = row.get(0)?;
    let damaged = |reason: String| LogError::Damaged { place: format!("sequence {sequence}"), reason };
    let bytes = match row.get_ref(3)? {
        rusqlite::types::ValueRef::Null => frames.commit_bytes(row.get(4)?, row.get(5)?, row.get(6)?)?,
        value => Bytes::copy_from_slice(value.as_blob().map_err(|error| damaged(error.to_string()))?),
    };
    let hash: Hash = row.get(2).map_err(|error| damaged(error.to_string()))?;
    let running_hash = row.get(1).map_err(|error| damaged(error.to_string()))?;
    if codec::content_hash(&bytes) != hash {
        return Err(damaged("the stored bytes do not have the stored hash".to_owned()));
    }
    let (header, events) = codec::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
    if events.is_empty() {
        return Err(damaged("the commit has no events".to_owned()));
    }
    Ok(StoredCommit { position: position(sequence), header, events, hash, running_hash, bytes })
}
