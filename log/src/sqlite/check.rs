//! Checking the file: a quick pass at every start, on two connections at once, and the full one of
//! `verify`. A page that can't be read is stepped over and named, so that one bad page doesn't hide
//! what else is lost.

use super::{CELL, FILE, Shared, archive, reader, schema};
use crate::{
    columns::{key_of, type_code},
    control::{ANCHOR_COMMITS, Anchor, ControlStore, merkle_root},
    error::LogError,
    integrity::{Broken, BrokenKind, Checker, Depth, Row, VerifyReport, witness_check},
    port::Head,
};
use autonomos_domain::{envelope::AggregateKey, ids::LogId};
use rusqlite::{Connection, OptionalExtension, types::ValueRef};
use std::{path::Path, sync::atomic::Ordering};

/// Findings after which a check of a range gives up: the rest says nothing new.
const FINDINGS: usize = 1000;

/// What the control store knows, read before the log is, so that it can only be behind.
pub(super) struct Witness {
    head: Option<(LogId, Head)>,
    anchors: Vec<Anchor>,
}

impl Witness {
    pub(super) fn of(control: &ControlStore) -> Result<Self, LogError> {
        Ok(Self { head: control.head(CELL)?, anchors: control.anchors(CELL)? })
    }

    /// Whether the control store has never seen a log.
    pub(super) const fn is_new(&self) -> bool {
        self.head.is_none()
    }

    /// Whether the log is the one the control store saw, and still reaches as far.
    fn compare(&self, connection: &Connection, log_id: LogId, head: u64) -> Vec<Broken> {
        let Some((seen_id, seen)) = self.head else {
            return Vec::new();
        };
        if seen_id != log_id {
            let reason = format!("the log was `{seen_id}` and is now `{log_id}`: it was replaced");
            return vec![Broken::range(BrokenKind::Replaced, CELL, 1, seen.sequence.max(1), reason)];
        }
        let found = reader::running_hash_at(connection, seen.sequence).ok().flatten();
        let mut broken: Vec<Broken> =
            witness_check(CELL, head, found, seen, "the control store").into_iter().collect();
        if broken.is_empty() {
            let last = self
                .anchors
                .last()
                .map(|anchor| Head { sequence: anchor.sequence, running_hash: anchor.running_hash });
            // A wrong hash at an anchor is found by the scan; here it is the end alone.
            broken.extend(last.and_then(|seen| witness_check(CELL, head, None, seen, "an anchor")));
        }
        broken
    }
}

/// Anchors of the past of a log whose control store is new: from here on at least it is witnessed.
/// Only after a start that found nothing.
pub(super) fn anchors_backfill(folder: &Path, head: u64, control: &ControlStore) -> Result<(), LogError> {
    let connection = schema::open_reader(&folder.join(FILE))?;
    let mut statement = connection.prepare(
        "SELECT sequence, hash, running_hash FROM commits WHERE sequence <= ?1
         UNION ALL SELECT sequence, hash, running_hash FROM archived WHERE sequence <= ?1 ORDER BY sequence",
    )?;
    let mut rows = statement.query([head - head % ANCHOR_COMMITS])?;
    let mut leaves = Vec::with_capacity(ANCHOR_COMMITS as usize);
    let mut anchors = Vec::new();
    while let Some(row) = rows.next()? {
        leaves.push(row.get(1)?);
        let sequence: u64 = row.get(0)?;
        if sequence.is_multiple_of(ANCHOR_COMMITS) {
            let merkle_root = merkle_root(&leaves);
            anchors.push(Anchor { cell: CELL, sequence, merkle_root, running_hash: row.get(2)? });
            leaves.clear();
        }
    }
    control.anchors_put(&anchors)
}

/// The last sequence, as far as the file can be read.
pub(super) fn last_sequence(connection: &Connection) -> Result<u64, LogError> {
    let last = connection.query_row(
        "SELECT max(coalesce((SELECT max(sequence) FROM commits), 0), coalesce((SELECT max(sequence) FROM archived), 0))",
        [],
        |row| row.get(0),
    )?;
    Ok(last)
}

/// The last sequence ever given out: SQLite keeps it in another table than the commits.
fn last_given(connection: &Connection) -> u64 {
    connection
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'commits'", [], |row| row.get(0))
        .optional()
        .ok()
        .flatten()
        .unwrap_or(0)
}

/// What is checked before the first append of a start: where the log ends, against all that saw it
/// further, and the commits after `from`.
pub(super) fn start_check(
    folder: &Path,
    log_id: LogId,
    from: u64,
    head: u64,
    witness: &Witness,
) -> Result<VerifyReport, LogError> {
    let path = folder.join(FILE);
    let connection = schema::open_reader(&path)?;
    let mut report = VerifyReport::default();
    report.broken.extend(witness.compare(&connection, log_id, head));
    let given = last_given(&connection);
    if given > head && report.broken.is_empty() {
        let reason = format!("the log ends at {head}, but gave out sequences up to {given}: its end is lost");
        report.broken.push(Broken::range(BrokenKind::Tail, CELL, head + 1, given, reason));
    }
    let middle = from + (head - from) / 2;
    let panicked = |_| LogError::Store("a check of the log panicked".to_owned());
    let (halves, index) = std::thread::scope(|scope| {
        let second = scope.spawn(|| -> Result<_, LogError> {
            let connection = schema::open_reader(&path)?;
            Ok(range_check(&connection, folder, Depth::Start, middle, head, witness))
        });
        let first = range_check(&connection, folder, Depth::Start, from, middle, witness);
        // Of a part of the log the index can't be compared: `verify` does.
        let index = (from == 0).then(|| index_sum(&connection));
        let second = second.join().map_err(panicked)??;
        Ok::<_, LogError>(([first, second], index))
    })?;
    let mut table = RowSum::default();
    for (checker, sum) in halves {
        report.commits_checked += checker.commits;
        report.broken.extend(checker.broken);
        table.rows += sum.rows;
        table.sum = table.sum.wrapping_add(sum.sum);
    }
    let index_reason = match index {
        Some(Err(error)) => Some(format!("the index of aggregates can't be read: {error}")),
        Some(Ok(index)) if index != table => {
            Some("the index of aggregates disagrees with the commits".to_owned())
        }
        _ => None,
    };
    if let Some(reason) = index_reason.filter(|_| report.broken.is_empty()) {
        report.broken.push(Broken::range(BrokenKind::Store, CELL, 1, head, reason));
    }
    report.ok = report.broken.is_empty();
    Ok(report)
}

/// A sum over rows in any order: the same of the table and of its index, or one of them is damaged.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowSum {
    rows: u64,
    sum: u128,
}

impl RowSum {
    fn add(&mut self, key: Option<&AggregateKey>, version: i64, sequence: u64) {
        // Odd constants; nobody here tries to fool it, bits flip at random.
        const K: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;
        let (tenant, code, id) = key.map_or((0, 0, 0), |key| {
            (key.tenant.0.as_u128(), type_code(key.aggregate_type), key.aggregate_id.as_u128())
        });
        let small = u128::from(version as u64) << 64 | u128::from(sequence);
        let mut mixed = small.wrapping_mul(K) ^ u128::from(code);
        for part in [tenant, id] {
            mixed = (mixed.rotate_left(41) ^ part).wrapping_mul(K);
        }
        self.rows += 1;
        self.sum = self.sum.wrapping_add(mixed ^ (mixed >> 64));
    }
}

/// The sum of what the index of aggregates holds, read from the index alone.
fn index_sum(connection: &Connection) -> Result<RowSum, LogError> {
    let mut statement = connection.prepare(
        "SELECT tenant, aggregate_type, aggregate_id, first_version, sequence
         FROM commits INDEXED BY commits_of_aggregate
         ORDER BY aggregate_id, tenant, aggregate_type, first_version",
    )?;
    let mut rows = statement.query([])?;
    let mut sum = RowSum::default();
    while let Some(row) = rows.next()? {
        let version = row.get_ref(3)?.as_i64().unwrap_or(0);
        sum.add(key_of(row, 0)?.as_ref(), version, row.get_ref(4)?.as_i64().unwrap_or(0) as u64);
    }
    Ok(sum)
}

/// Checks what the start left out, in pieces, until the log closes.
pub(super) fn older_check(shared: &Shared, folder: &Path, to: u64, witness: &Witness) {
    const PIECE: u64 = 65_536;
    let connection = match schema::open_reader(&folder.join(FILE)) {
        Ok(connection) => connection,
        Err(error) => return shared.stop(format!("the log could not be checked: {error}")),
    };
    let mut after = 0;
    while after < to && !shared.closing.load(Ordering::Acquire) {
        let end = to.min(after + PIECE);
        // One snapshot for a piece: commits may be archived meanwhile.
        let (begun, (checker, _)) = (
            connection.execute_batch("BEGIN"),
            range_check(&connection, folder, Depth::Start, after, end, witness),
        );
        let ended = connection.execute_batch("COMMIT");
        if let Err(error) = begun.and(ended) {
            return shared.stop(format!("the log could not be checked: {error}"));
        }
        shared.damage_add(checker.broken);
        after = end;
    }
}

/// Checks the rows after `after` up to `to`.
pub(super) fn range_check(
    connection: &Connection,
    folder: &Path,
    depth: Depth,
    after: u64,
    to: u64,
    witness: &Witness,
) -> (Checker, RowSum) {
    let running_hash =
        if after == 0 { Some([0; 32]) } else { reader::running_hash_at(connection, after).ok().flatten() };
    let anchors =
        witness.anchors.iter().copied().filter(|anchor| anchor.sequence > after && anchor.sequence <= to);
    let mut sum = RowSum::default();
    let mut checker = Checker::new(CELL, depth, after, running_hash, anchors);
    while checker.next() <= to && checker.broken.len() < FINDINGS {
        let from = checker.next() - 1;
        let error = match rows_check(connection, folder, from, to, depth, &mut checker, &mut sum) {
            Ok(()) => break,
            Err(error) => error.to_string(),
        };
        // Step over what can't be read, further with each try.
        let last_good = checker.next() - 1;
        let mut step = 1;
        let readable = loop {
            if last_good + step >= to {
                break None;
            }
            match next_sequence(connection, last_good + step) {
                Ok(found) => break found,
                Err(_) => step *= 2,
            }
        };
        let last = readable.map_or(to, |sequence| sequence - 1).max(checker.next());
        checker.unreadable(last, &format!("the commits can't be read: {error}"));
    }
    if checker.next() <= to && checker.broken.len() < FINDINGS {
        let first = checker.next();
        let reason = "the commits are gone without an archive receipt";
        checker.broken.push(Broken::range(BrokenKind::Missing, CELL, first, to, reason));
    }
    (checker, sum)
}

/// The first sequence after one whose row can be read whole.
fn next_sequence(connection: &Connection, after: u64) -> Result<Option<u64>, rusqlite::Error> {
    connection
        .prepare_cached("SELECT sequence, length(hash), length(bytes) FROM commits WHERE sequence > ?1 ORDER BY sequence LIMIT 1")?
        .query_row([after], |row| row.get(0))
        .optional()
}

fn rows_check(
    connection: &Connection,
    folder: &Path,
    after: u64,
    to: u64,
    depth: Depth,
    checker: &mut Checker,
    sum: &mut RowSum,
) -> Result<(), LogError> {
    let archived: bool =
        connection.query_row("SELECT EXISTS (SELECT 1 FROM archived)", [], |row| row.get(0))?;
    let columns = "sequence, tenant, aggregate_type, aggregate_id, first_version, last_version, hash, running_hash, recorded_max";
    let mut sql = format!(
        "SELECT {columns}, bytes, 0, 0, 0 FROM commits NOT INDEXED WHERE sequence > ?1 AND sequence <= ?2"
    );
    if archived {
        sql.push_str(&format!(
            " UNION ALL SELECT {columns}, NULL, receipt, offset, length FROM archived NOT INDEXED
              WHERE sequence > ?1 AND sequence <= ?2"
        ));
    }
    sql.push_str(" ORDER BY sequence");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([after, to])?;
    let archive_folder = folder.join("archive");
    let mut frames = archive::Frames::new(connection, &archive_folder);
    while let Some(row) = rows.next()? {
        if checker.broken.len() >= FINDINGS {
            break;
        }
        let sequence: u64 = row.get(0)?;
        let key = key_of(row, 1)?;
        // A hash of another length can't be right: zeros are found to be wrong.
        let hash = |index: usize| row.get(index).unwrap_or([0; 32]);
        let archived_bytes;
        let bytes = match row.get_ref(9)? {
            ValueRef::Blob(bytes) => {
                let version = row.get_ref(4)?.as_i64().unwrap_or(0);
                sum.add(key.as_ref(), version, sequence);
                Some(bytes)
            }
            ValueRef::Null if row.get::<_, i64>(10).unwrap_or(0) != 0 => match depth {
                Depth::Start => None,
                Depth::Full => match frames.commit_bytes(row.get(10)?, row.get(11)?, row.get(12)?) {
                    Ok(bytes) => {
                        archived_bytes = bytes;
                        Some(&archived_bytes[..])
                    }
                    Err(error) => {
                        let reason = error.to_string();
                        let range = Broken::range(BrokenKind::Archive, CELL, sequence, sequence, reason);
                        checker.broken.push(range);
                        None
                    }
                },
            },
            _ => Some(&[][..]),
        };
        checker.row(&Row {
            sequence,
            key,
            first_version: row.get(4).unwrap_or(0),
            last_version: row.get(5).unwrap_or(0),
            recorded_max: row.get(8).unwrap_or(i64::MIN),
            hash: hash(6),
            running_hash: hash(7),
            bytes,
        });
    }
    Ok(())
}

/// Everything: pages, indexes, each commit, each chain, each anchor, each archived frame.
pub(super) fn full_check(folder: &Path, control: &ControlStore) -> VerifyReport {
    let mut report = VerifyReport::default();
    if let Err(error) = full_check_into(folder, control, &mut report) {
        let reason = format!("the log file can't be read: {error}");
        report.broken.push(Broken::range(BrokenKind::Store, CELL, 0, 0, reason));
    }
    report.ok = report.broken.is_empty();
    report
}

fn full_check_into(folder: &Path, control: &ControlStore, report: &mut VerifyReport) -> Result<(), LogError> {
    let witness = Witness::of(control)?;
    let path = folder.join(FILE);
    if !path.exists() {
        if let Some((_, head)) = witness.head.filter(|(_, head)| head.sequence > 0) {
            let reason = "the log file is gone";
            report.broken.push(Broken::range(BrokenKind::Tail, CELL, 1, head.sequence, reason));
        }
        return Ok(());
    }
    let connection = schema::open_reader(&path)?;
    connection.execute_batch("BEGIN")?;
    let mut pages = connection.prepare("PRAGMA integrity_check(100)")?;
    let mut lines = pages.query([])?;
    loop {
        let reason = match lines.next() {
            Ok(None) => break,
            Ok(Some(row)) => {
                let line: String = row.get(0)?;
                if line == "ok" {
                    continue;
                }
                format!("the file's pages disagree: {line}")
            }
            Err(error) => format!("the file's pages can't be checked: {error}"),
        };
        report.broken.push(Broken::range(BrokenKind::Store, CELL, 0, 0, reason));
        if report.broken.len() >= 100 {
            break;
        }
    }
    let log_id = schema::log_id(&connection)?;
    let head = last_sequence(&connection).unwrap_or(0);
    report.broken.extend(witness.compare(&connection, log_id, head));
    let given = last_given(&connection);
    if given > head && report.broken.is_empty() {
        let reason = format!("the log ends at {head}, but gave out sequences up to {given}: its end is lost");
        report.broken.push(Broken::range(BrokenKind::Tail, CELL, head + 1, given, reason));
    }
    let (checker, _) = range_check(&connection, folder, Depth::Full, 0, head, &witness);
    report.commits_checked = checker.commits;
    report.broken.extend(checker.broken);
    report.broken.extend(archive::receipts_check(&connection, &folder.join("archive"))?);
    Ok(())
}
