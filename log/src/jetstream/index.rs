//! What a node keeps of a cell beside the stream: for each commit its place, its hashes and whose it
//! is, but not its bytes. It is a cache, built by reading the stream in order, and it is a witness:
//! a stream that no longer is what the index saw was damaged or rolled back. It also answers what a
//! stream can't: the running hash at a sequence, the sequence at a time, where an archived commit is.

use crate::{
    columns::{key_of, type_code},
    control::ANCHOR_COMMITS,
    error::LogError,
    port::{Filter, Head},
};
use autonomos_domain::envelope::{AggregateKey, Hash};
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, ToSql, params};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::Semaphore;

/// A receipt is there once, however many commits it covers; `segment` is empty for a purged tenant.
const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS commits (
        sequence INTEGER PRIMARY KEY,
        tenant BLOB NOT NULL,
        aggregate_type INTEGER NOT NULL,
        aggregate_id BLOB NOT NULL,
        first_version INTEGER NOT NULL,
        last_version INTEGER NOT NULL,
        recorded_max INTEGER NOT NULL,
        hash BLOB NOT NULL,
        running_hash BLOB NOT NULL,
        length INTEGER NOT NULL);
    DROP INDEX IF EXISTS commits_by_aggregate;
    CREATE INDEX IF NOT EXISTS commits_of_aggregate
        ON commits (aggregate_id, tenant, aggregate_type, first_version);
    CREATE TABLE IF NOT EXISTS receipts (
        id INTEGER PRIMARY KEY,
        segment TEXT NOT NULL,
        offset INTEGER NOT NULL,
        length INTEGER NOT NULL,
        raw_length INTEGER NOT NULL,
        hash BLOB NOT NULL,
        first_sequence INTEGER NOT NULL,
        last_sequence INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS archived (
        sequence INTEGER PRIMARY KEY,
        tenant BLOB NOT NULL,
        aggregate_type INTEGER NOT NULL,
        aggregate_id BLOB NOT NULL,
        first_version INTEGER NOT NULL,
        last_version INTEGER NOT NULL,
        recorded_at INTEGER NOT NULL,
        hash BLOB NOT NULL,
        length INTEGER NOT NULL,
        receipt INTEGER NOT NULL,
        at INTEGER NOT NULL);
";

const ENTRY: &str = "c.sequence, c.tenant, c.aggregate_type, c.aggregate_id, c.first_version, c.last_version,
    c.recorded_max, c.hash, c.running_hash, c.length, a.receipt, a.at";
const FROM: &str = "commits AS c LEFT JOIN archived AS a ON a.sequence = c.sequence";
const OF_AGGREGATE: &str = "c.tenant = ?1 AND c.aggregate_type = ?2 AND c.aggregate_id = ?3";

/// All that is known of a commit but its bytes.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) sequence: u64,
    /// `None`: the columns hold no key.
    pub(super) key: Option<AggregateKey>,
    pub(super) first_version: u64,
    pub(super) last_version: u64,
    /// Running maximum of `recorded_at`, microseconds.
    pub(super) recorded_max: i64,
    pub(super) hash: Hash,
    pub(super) running_hash: Hash,
    pub(super) length: usize,
    /// Receipt and offset in its frame, if it left the stream.
    pub(super) archived: Option<(i64, usize)>,
}

/// A commit that left the stream, as its receipt has it.
#[derive(Debug, Clone)]
pub(super) struct ArchivedCommit {
    pub(super) sequence: u64,
    pub(super) key: AggregateKey,
    pub(super) first_version: u64,
    pub(super) last_version: u64,
    pub(super) recorded_at: i64,
    pub(super) hash: Hash,
    pub(super) length: usize,
    pub(super) at: usize,
}

/// Where archived commits are.
#[derive(Debug, Clone)]
pub(super) struct ReceiptPlace {
    pub(super) id: i64,
    /// Empty: they were purged, and nothing holds their bytes any more.
    pub(super) segment: String,
    pub(super) offset: u64,
    pub(super) length: usize,
    pub(super) raw_length: usize,
    pub(super) hash: Hash,
    pub(super) first_sequence: u64,
    pub(super) last_sequence: u64,
}

/// Where a cell stands, as indexed.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) head: Head,
    pub(super) recorded_max: i64,
    /// Content hashes since the last anchor.
    pub(super) leaves: Vec<Hash>,
}

pub(super) struct Index {
    path: PathBuf,
    writer: Mutex<Connection>,
    idle: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Index {
    /// Opens or makes it. Blocking.
    pub(super) fn open(path: &Path, readers: usize) -> Result<Arc<Self>, LogError> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(32);
        // What a power cut takes from it is read from the stream again.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             PRAGMA wal_autocheckpoint = 8192;
             PRAGMA journal_size_limit = 67108864;
             PRAGMA cache_size = -16384;",
        )?;
        connection.execute_batch(TABLES)?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            writer: Mutex::new(connection),
            idle: Mutex::new(Vec::new()),
            permits: Semaphore::new(readers.max(1)),
        }))
    }

    /// Runs a query on a blocking thread.
    pub(super) async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let _permit = self.permits.acquire().await.map_err(|_| LogError::Closed)?;
        let index = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let idle = index.idle.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => {
                    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                    let connection = Connection::open_with_flags(&index.path, flags)?;
                    connection.busy_timeout(Duration::from_secs(10))?;
                    connection.set_prepared_statement_cache_capacity(32);
                    connection
                }
            };
            let result = work(&connection);
            if result.is_ok() {
                index.idle.lock().push(connection);
            }
            result
        });
        task.await.map_err(|_| LogError::Closed)?
    }

    /// Runs a change in one transaction on a blocking thread.
    pub(super) async fn write<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Connection) -> Result<T, LogError> + Send + 'static,
    ) -> Result<T, LogError> {
        let index = Arc::clone(self);
        let task = tokio::task::spawn_blocking(move || {
            let mut connection = index.writer.lock();
            let transaction = connection.transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        });
        task.await.map_err(|_| LogError::Closed)?
    }
}

pub(super) fn entries_insert(connection: &Connection, entries: &[Entry]) -> Result<(), LogError> {
    let mut insert = connection.prepare_cached(
        "INSERT INTO commits (sequence, tenant, aggregate_type, aggregate_id, first_version, last_version,
             recorded_max, hash, running_hash, length) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for entry in entries {
        let (tenant, code, id) = entry.key.map_or(([0; 16], 0, [0; 16]), |key| {
            (*key.tenant.0.as_bytes(), type_code(key.aggregate_type), *key.aggregate_id.as_bytes())
        });
        insert.execute(params![
            entry.sequence,
            tenant,
            code,
            id,
            entry.first_version,
            entry.last_version,
            entry.recorded_max,
            entry.hash,
            entry.running_hash,
            entry.length,
        ])?;
    }
    Ok(())
}

/// Files a receipt; again, if it is there already.
pub(super) fn receipt_insert(
    connection: &Connection,
    place: &ReceiptPlace,
    commits: &[ArchivedCommit],
) -> Result<(), LogError> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO receipts
                 (id, segment, offset, length, raw_length, hash, first_sequence, last_sequence)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            place.id,
            place.segment,
            place.offset,
            place.length,
            place.raw_length,
            place.hash,
            place.first_sequence,
            place.last_sequence
        ])?;
    // A purge comes after an archive of the same commits and takes their bytes away.
    let sql = if place.segment.is_empty() { "REPLACE" } else { "IGNORE" };
    let mut insert = connection.prepare_cached(&format!(
        "INSERT OR {sql} INTO archived (sequence, tenant, aggregate_type, aggregate_id, first_version,
             last_version, recorded_at, hash, length, receipt, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
    ))?;
    for commit in commits {
        insert.execute(params![
            commit.sequence,
            commit.key.tenant.0.as_bytes(),
            type_code(commit.key.aggregate_type),
            commit.key.aggregate_id.as_bytes(),
            commit.first_version,
            commit.last_version,
            commit.recorded_at,
            commit.hash,
            commit.length,
            place.id,
            commit.at,
        ])?;
    }
    Ok(())
}

/// The last receipt that was filed.
pub(super) fn last_receipt(connection: &Connection) -> Result<u64, LogError> {
    let last = connection.query_row("SELECT coalesce(max(id), 0) FROM receipts", [], |row| row.get(0))?;
    Ok(last)
}

pub(super) fn receipts(connection: &Connection) -> Result<Vec<ReceiptPlace>, LogError> {
    let mut statement = connection.prepare(
        "SELECT id, segment, offset, length, raw_length, hash, first_sequence, last_sequence FROM receipts
         ORDER BY id",
    )?;
    let places = statement.query_map([], receipt_of)?.collect::<Result<_, _>>()?;
    Ok(places)
}

pub(super) fn receipt(connection: &Connection, id: i64) -> Result<Option<ReceiptPlace>, LogError> {
    let place = connection
        .prepare_cached(
            "SELECT id, segment, offset, length, raw_length, hash, first_sequence, last_sequence
             FROM receipts WHERE id = ?1",
        )?
        .query_row([id], receipt_of)
        .optional()?;
    Ok(place)
}

fn receipt_of(row: &Row<'_>) -> rusqlite::Result<ReceiptPlace> {
    Ok(ReceiptPlace {
        id: row.get(0)?,
        segment: row.get(1)?,
        offset: row.get(2)?,
        length: row.get(3)?,
        raw_length: row.get(4)?,
        hash: row.get(5)?,
        first_sequence: row.get(6)?,
        last_sequence: row.get(7)?,
    })
}

/// Archived commits of a range, oldest first.
pub(super) fn archived_between(
    connection: &Connection,
    first: u64,
    last: u64,
) -> Result<Vec<ArchivedCommit>, LogError> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, tenant, aggregate_type, aggregate_id, first_version, last_version, recorded_at,
             hash, length, at FROM archived WHERE sequence BETWEEN ?1 AND ?2 ORDER BY sequence",
    )?;
    let mut rows = statement.query([first, last])?;
    let mut commits = Vec::new();
    while let Some(row) = rows.next()? {
        let sequence = row.get(0)?;
        let key = key_of(row, 1)?.ok_or_else(|| LogError::Damaged {
            place: format!("sequence {sequence}"),
            reason: "the receipt names no aggregate".to_owned(),
        })?;
        commits.push(ArchivedCommit {
            sequence,
            key,
            first_version: row.get(4)?,
            last_version: row.get(5)?,
            recorded_at: row.get(6)?,
            hash: row.get(7)?,
            length: row.get(8)?,
            at: row.get(9)?,
        });
    }
    Ok(commits)
}

fn entry_of(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let receipt: Option<i64> = row.get(10)?;
    let at: Option<usize> = row.get(11)?;
    Ok(Entry {
        sequence: row.get(0)?,
        key: key_of(row, 1)?,
        first_version: row.get(4)?,
        last_version: row.get(5)?,
        recorded_max: row.get(6)?,
        hash: row.get(7)?,
        running_hash: row.get(8)?,
        length: row.get(9)?,
        archived: receipt.zip(at),
    })
}

/// Commits of an aggregate with events after a version, oldest first.
pub(super) fn of_aggregate(
    connection: &Connection,
    key: &AggregateKey,
    after_version: u64,
) -> Result<Vec<Entry>, LogError> {
    let sql = format!(
        "SELECT {ENTRY} FROM {FROM} WHERE {OF_AGGREGATE} AND c.last_version > ?4 ORDER BY c.first_version"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let values = params![
        key.tenant.0.as_bytes(),
        type_code(key.aggregate_type),
        key.aggregate_id.as_bytes(),
        after_version
    ];
    let entries = statement.query_map(values, entry_of)?.collect::<Result<_, _>>()?;
    Ok(entries)
}

pub(super) fn last_of_aggregate(
    connection: &Connection,
    key: &AggregateKey,
) -> Result<Option<Entry>, LogError> {
    let sql = format!(
        "SELECT {ENTRY} FROM {FROM} WHERE {OF_AGGREGATE} ORDER BY c.first_version DESC, c.sequence DESC LIMIT 1"
    );
    let values = params![key.tenant.0.as_bytes(), type_code(key.aggregate_type), key.aggregate_id.as_bytes()];
    let entry = connection.prepare_cached(&sql)?.query_row(values, entry_of).optional()?;
    Ok(entry)
}

pub(super) fn at(connection: &Connection, sequence: u64) -> Result<Option<Entry>, LogError> {
    let sql = format!("SELECT {ENTRY} FROM {FROM} WHERE c.sequence = ?1");
    let entry = connection.prepare_cached(&sql)?.query_row([sequence], entry_of).optional()?;
    Ok(entry)
}

/// Entries of a range that match, oldest first, at most `limit`.
pub(super) fn between(
    connection: &Connection,
    after: u64,
    to: u64,
    filter: &Filter,
    limit: usize,
) -> Result<Vec<Entry>, LogError> {
    let mut condition = "c.sequence > ?1 AND c.sequence <= ?2".to_owned();
    if filter.tenant.is_some() {
        condition.push_str(" AND c.tenant = ?4");
    }
    if !filter.aggregate_types.is_empty() {
        let codes: Vec<String> =
            filter.aggregate_types.iter().map(|kind| type_code(*kind).to_string()).collect();
        let _ = write!(condition, " AND c.aggregate_type IN ({})", codes.join(","));
    }
    // NOT INDEXED: the order wanted is the table's own; an index by tenant would be sorted.
    let sql = format!(
        "SELECT {ENTRY} FROM commits AS c NOT INDEXED LEFT JOIN archived AS a ON a.sequence = c.sequence
         WHERE {condition} ORDER BY c.sequence LIMIT ?3"
    );
    let tenant = filter.tenant.map(|tenant| *tenant.0.as_bytes());
    let mut values: Vec<&dyn ToSql> = vec![&after, &to, &limit];
    if let Some(tenant) = &tenant {
        values.push(tenant);
    }
    let mut statement = connection.prepare_cached(&sql)?;
    let entries = statement.query_map(&values[..], entry_of)?.collect::<Result<_, _>>()?;
    Ok(entries)
}

/// The last sequence whose running maximum of `recorded_at` is not after a time: a binary search,
/// for the maximum only grows.
pub(super) fn sequence_at(connection: &Connection, head: u64, time: DateTime<Utc>) -> Result<u64, LogError> {
    let micros = time.timestamp_micros();
    let mut statement = connection.prepare_cached("SELECT recorded_max FROM commits WHERE sequence = ?1")?;
    let (mut low, mut high) = (0, head);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        let recorded: i64 = statement.query_row([middle], |row| row.get(0))?;
        if recorded > micros {
            high = middle - 1;
        } else {
            low = middle;
        }
    }
    Ok(low)
}

/// Where the cell stands.
pub(super) fn state(connection: &Connection) -> Result<State, LogError> {
    let last = connection
        .query_row(
            "SELECT sequence, running_hash, recorded_max FROM commits ORDER BY sequence DESC LIMIT 1",
            [],
            |row| Ok((Head { sequence: row.get(0)?, running_hash: row.get(1)? }, row.get(2)?)),
        )
        .optional()?;
    let (head, recorded_max) = last.unwrap_or((Head { sequence: 0, running_hash: [0; 32] }, i64::MIN));
    let anchored = head.sequence - head.sequence % ANCHOR_COMMITS;
    let mut statement =
        connection.prepare("SELECT hash FROM commits WHERE sequence > ?1 ORDER BY sequence")?;
    let leaves = statement.query_map([anchored], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok(State { head, recorded_max, leaves })
}
