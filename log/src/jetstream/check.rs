//! Checking a cell: where the stream ends, and each commit in it, against this node's index, against
//! the control store and against itself.

use super::{
    Cell, Options, Shared, archive,
    index::{self, Entry},
};
use crate::{
    codec,
    control::{ANCHOR_COMMITS, Anchor, ControlStore, merkle_root},
    error::LogError,
    integrity::{Broken, BrokenKind, Checker, Depth, Row, VerifyReport, witness_check},
    port::{Filter, Head},
};
use autonomos_domain::ids::LogId;
use bytes::Bytes;
use std::{collections::HashMap, sync::Arc};

/// Findings after which a check of a range gives up: the rest says nothing new.
const FINDINGS: usize = 1000;
/// Commits read and checked at once.
const PIECE: usize = 2048;

/// What the control store knows of a cell, read before the log is, so that it can only be behind.
#[derive(Debug, Clone)]
pub(super) struct Witness {
    head: Option<(LogId, Head)>,
    anchors: Vec<Anchor>,
}

impl Witness {
    pub(super) fn of(control: &ControlStore, cell: u16) -> Result<Self, LogError> {
        Ok(Self { head: control.head(cell)?, anchors: control.anchors(cell)? })
    }

    /// Whether the control store has never seen a log.
    pub(super) const fn is_new(&self) -> bool {
        self.head.is_none()
    }

    /// How far the control store saw the cell.
    pub(super) fn reach(&self) -> u64 {
        let by_head = self.head.map_or(0, |(_, head)| head.sequence);
        self.anchors.last().map_or(by_head, |anchor| anchor.sequence.max(by_head))
    }

    pub(super) fn anchors_after(&self, sequence: u64) -> HashMap<u64, Anchor> {
        let later = self.anchors.iter().filter(|anchor| anchor.sequence > sequence);
        later.map(|anchor| (anchor.sequence, *anchor)).collect()
    }

    /// Whether the log is the one the control store saw, and the stream reaches as far as anyone saw.
    pub(super) fn tail_check(&self, shared: &Shared, cell: &Cell, last: u64, indexed: u64) -> Vec<Broken> {
        if let Some((seen_id, seen)) = self.head
            && seen_id != shared.log_id
        {
            let reason = format!("the log was `{seen_id}` and is now `{}`: it was replaced", shared.log_id);
            return vec![Broken::range(BrokenKind::Replaced, cell.number, 1, seen.sequence.max(1), reason)];
        }
        let seen = self.reach().max(indexed);
        let who = if seen > indexed { "the control store" } else { "this node" };
        if seen > last { vec![tail(cell.number, last, seen, who)] } else { Vec::new() }
    }

    /// Whether the history up to where the control store saw it is the same.
    pub(super) async fn history_check(&self, cell: &Cell, last: u64) -> Result<Vec<Broken>, LogError> {
        let Some((_, seen)) = self.head.filter(|(_, seen)| seen.sequence <= last) else {
            return Ok(Vec::new());
        };
        let found = cell.index.read(move |connection| index::at(connection, seen.sequence)).await?;
        let found = found.map(|entry| entry.running_hash);
        Ok(witness_check(cell.number, last, found, seen, "the control store").into_iter().collect())
    }
}

/// The end of a cell is gone.
pub(super) fn tail(cell: u16, last: u64, seen: u64, who: &str) -> Broken {
    let reason = format!("the log ends at {last}, {who} saw it at {seen}: its end is lost");
    Broken::range(BrokenKind::Tail, cell, last + 1, seen, reason)
}

/// Where the check of a start begins: of a large cell, the newest part of what may be looked at.
pub(super) fn start_from(options: &Options, bytes: u64, head: u64) -> u64 {
    if bytes <= options.start_check_bytes {
        return 0;
    }
    let share = options.start_check_bytes as f64 / 2.0 / bytes as f64;
    head - ((head as f64 * share) as u64).min(head)
}

/// Anchors of the past of a log whose control store is new: from here on at least it is witnessed.
pub(super) async fn anchors_of(cell: &Cell) -> Result<Vec<Anchor>, LogError> {
    let head = cell.head.borrow().sequence;
    let number = cell.number;
    let mut anchors = Vec::new();
    let mut after = 0;
    while after + ANCHOR_COMMITS <= head {
        let to = after + ANCHOR_COMMITS;
        let entries = entries_between(cell, after, to).await?;
        let leaves: Vec<_> = entries.iter().map(|entry| entry.hash).collect();
        if let Some(last) = entries.last() {
            let (merkle_root, running_hash) = (merkle_root(&leaves), last.running_hash);
            anchors.push(Anchor { cell: number, sequence: to, merkle_root, running_hash });
        }
        after = to;
    }
    Ok(anchors)
}

async fn entries_between(cell: &Cell, after: u64, to: u64) -> Result<Vec<Entry>, LogError> {
    cell.index
        .read(move |connection| {
            index::between(connection, after, to, &Filter::default(), (to - after) as usize)
        })
        .await
}

/// Whether the stream still has at a sequence what this node indexed there.
pub(super) async fn entry_check(
    shared: &Shared,
    cell: &Cell,
    sequence: u64,
) -> Result<Vec<Broken>, LogError> {
    archive::receipts_refresh(shared, cell).await?;
    let entry = cell.index.read(move |connection| index::at(connection, sequence)).await?;
    let Some(entry) = entry.filter(|entry| entry.archived.is_none()) else {
        return Ok(Vec::new());
    };
    let message = shared.wire.leader_at_surely(&cell.stream, sequence).await?;
    let (kind, reason) = match message {
        Some(message) if codec::content_hash(&message.bytes) == entry.hash => return Ok(Vec::new()),
        Some(_) => (
            BrokenKind::History,
            "another commit stands here than this node saw: the log was rolled back and written on",
        ),
        None => (BrokenKind::Missing, "the commits are gone without an archive receipt"),
    };
    Ok(vec![Broken::range(kind, cell.number, sequence, sequence, reason)])
}

/// Checks the indexed commits after `after` up to `to` against the stream.
pub(super) async fn range_check(
    shared: &Arc<Shared>,
    cell: &Arc<Cell>,
    depth: Depth,
    after: u64,
    to: u64,
    witness: &Witness,
) -> Result<Checker, LogError> {
    let running_hash = if after == 0 {
        Some([0; 32])
    } else {
        let entry = cell.index.read(move |connection| index::at(connection, after)).await?;
        entry.map(|entry| entry.running_hash)
    };
    let anchors =
        witness.anchors.iter().copied().filter(|anchor| anchor.sequence > after && anchor.sequence <= to);
    let mut checker = Checker::new(cell.number, depth, after, running_hash, anchors);
    let mut from = after;
    while from < to && checker.broken.len() < FINDINGS {
        let end = to.min(from + PIECE as u64);
        let entries = entries_between(cell, from, end).await?;
        let (entries, bytes, unreadable) = piece_read(shared, cell, depth, entries, end).await?;
        checker.broken.extend(unreadable);
        let checked = tokio::task::spawn_blocking(move || {
            for entry in &entries {
                let bytes = bytes.get(&entry.sequence);
                // What is neither in the stream nor archived leaves a hole, which the checker names.
                if bytes.is_none() && entry.archived.is_none() {
                    continue;
                }
                checker.row(&Row {
                    sequence: entry.sequence,
                    key: entry.key,
                    first_version: entry.first_version,
                    last_version: entry.last_version,
                    recorded_max: entry.recorded_max,
                    hash: entry.hash,
                    running_hash: entry.running_hash,
                    bytes: bytes.map(|bytes| &bytes[..]),
                });
            }
            checker
        });
        checker = checked.await.map_err(|_| LogError::Store("a check of the log panicked".to_owned()))?;
        from = end;
    }
    if checker.next() <= to && checker.broken.len() < FINDINGS {
        let first = checker.next();
        let reason = "the commits are gone without an archive receipt";
        checker.broken.push(Broken::range(BrokenKind::Missing, cell.number, first, to, reason));
    }
    Ok(checker)
}

type Piece = (Vec<Entry>, HashMap<u64, Bytes>, Vec<Broken>);

/// The bytes of entries, from any replica and then from the leader; in full depth also from the
/// archive. Entries that were archived meanwhile come back as such.
async fn piece_read(
    shared: &Arc<Shared>,
    cell: &Arc<Cell>,
    depth: Depth,
    mut entries: Vec<Entry>,
    end: u64,
) -> Result<Piece, LogError> {
    let mut bytes: HashMap<u64, Bytes> = HashMap::new();
    let mut broken = Vec::new();
    let (Some(first), count) = (entries.first().map(|entry| entry.sequence), entries.len()) else {
        return Ok((entries, bytes, broken));
    };
    let pattern = format!("ev.{}.>", cell.number);
    let mut next = first;
    while next <= end {
        let messages = shared.wire.batch_read(&cell.stream, &pattern, next, count).await?;
        let Some(last) = messages.last().map(|message| message.sequence) else {
            break;
        };
        next = last + 1;
        bytes.extend(messages.into_iter().map(|message| (message.sequence, message.bytes)));
    }
    let lacks = |entry: &Entry, bytes: &HashMap<u64, Bytes>| {
        entry.archived.is_none() && !bytes.contains_key(&entry.sequence)
    };
    if entries.iter().any(|entry| lacks(entry, &bytes)) {
        archive::receipts_refresh(shared, cell).await?;
        entries = entries_between(cell, first - 1, end).await?;
        // A replica that is behind lacks the newest alone, so the newest are asked for.
        let mut asked = 0;
        for entry in entries.iter().rev() {
            if asked < 64 && lacks(entry, &bytes) {
                asked += 1;
                let message = if asked == 1 {
                    shared.wire.leader_at_surely(&cell.stream, entry.sequence).await?
                } else {
                    shared.wire.leader_at(&cell.stream, entry.sequence).await?
                };
                if let Some(message) = message {
                    bytes.insert(entry.sequence, message.bytes);
                }
            }
        }
    }
    // Commits are checked where they belong: what is archived, in the archive.
    bytes.retain(|sequence, _| {
        entries
            .binary_search_by_key(sequence, |entry| entry.sequence)
            .is_ok_and(|index| entries[index].archived.is_none())
    });
    if depth == Depth::Full {
        let mut frames = archive::Frames::new(shared, cell);
        for entry in &entries {
            let Some((receipt, at)) = entry.archived else {
                continue;
            };
            match frames.commit_bytes(receipt, at, entry.length).await {
                Ok(found) => bytes.extend(found.map(|found| (entry.sequence, found))),
                Err(error) => {
                    let sequence = entry.sequence;
                    let kind = BrokenKind::Archive;
                    broken.push(Broken::range(kind, cell.number, sequence, sequence, error.to_string()));
                }
            }
        }
    }
    Ok((entries, bytes, broken))
}

/// Checks what the start left out, in pieces, until the log closes.
pub(super) async fn older_check(shared: Arc<Shared>, cell: Arc<Cell>, to: u64, witness: Witness) {
    const STRETCH: u64 = 65_536;
    let mut after = 0;
    while after < to {
        let end = to.min(after + STRETCH);
        let checked = tokio::select! {
            () = shared.closing.cancelled() => return,
            checked = range_check(&shared, &cell, Depth::Start, after, end, &witness) => checked,
        };
        match checked {
            Ok(checker) => {
                cell.damage_add(checker.broken);
                after = end;
            }
            Err(error @ LogError::Unreachable(_)) => {
                tracing::warn!(%error, "the check of the older part of the log waits");
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            }
            Err(error) => return cell.stop(format!("the log could not be checked: {error}")),
        }
    }
}

/// Everything: each commit, each chain, each anchor, each archived frame.
pub(super) async fn full_check(
    shared: &Arc<Shared>,
    cell: &Arc<Cell>,
    control: &ControlStore,
) -> Result<VerifyReport, LogError> {
    let witness = Witness::of(control, cell.number)?;
    let seen = witness.reach().max(cell.head.borrow().sequence);
    let last = shared.wire.last_sequence(&cell.stream, seen).await?;
    let head = cell.indexed(last).await?.sequence;
    let mut report = VerifyReport::default();
    report.broken.extend(witness.tail_check(shared, cell, last, head));
    let to = head.min(last);
    let checker = range_check(shared, cell, Depth::Full, 0, to, &witness).await?;
    report.commits_checked = checker.commits;
    report.broken.extend(checker.broken);
    report.broken.extend(witness.history_check(cell, to).await?);
    let places = cell.index.read(index::receipts).await?;
    let (folder, number) = (shared.options.archive.clone(), cell.number);
    let frames = tokio::task::spawn_blocking(move || archive::receipts_check(&folder, number, &places));
    report.broken.extend(frames.await.map_err(|_| LogError::Closed)?);
    // A hole at the end of what this node has indexed was found by its follower.
    for finding in cell.damage.lock().iter() {
        if !report.broken.contains(finding) {
            report.broken.push(finding.clone());
        }
    }
    report.ok = report.broken.is_empty();
    Ok(report)
}
