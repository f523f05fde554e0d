//! Finding loss and damage. Three layers, because each is blind to something: the chain of an
//! aggregate can't see that its end is gone; dense sequences can't see that the cell's end is gone;
//! the running hash, held against heads and anchors kept elsewhere, sees both. Adapters feed their
//! rows to a [`Checker`]; what it finds names the commit, the range and the tenant.

use crate::{
    codec,
    control::{ANCHOR_COMMITS, Anchor, merkle_root},
    port::Head,
};
use autonomos_domain::{
    envelope::{AggregateKey, AggregateType, Hash},
    ids::TenantId,
};
use bytes::Bytes;
use serde::Serialize;
use std::collections::HashMap;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BrokenKind {
    /// The bytes of a commit are not those that were hashed when it was written.
    Content,
    /// A commit is filed under another aggregate or version than it says itself.
    Misfiled,
    /// A hole in a cell's sequences without an archive receipt.
    Missing,
    /// The end of a cell is gone.
    Tail,
    /// An aggregate's versions or previous hashes don't link up.
    Chain,
    /// The running hash does not follow from the commits: some were exchanged or written anew.
    History,
    /// The log is another one than the control store belongs to.
    Replaced,
    /// A file or a page of the store can't be read.
    Store,
    /// An archived commit can't be read back.
    Archive,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broken {
    pub kind: BrokenKind,
    pub tenant: Option<TenantId>,
    pub aggregate: Option<AggregateName>,
    pub cell: u16,
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub reason: String,
}

/// An aggregate as a report names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct AggregateName {
    pub aggregate_type: AggregateType,
    pub aggregate_id: uuid::Uuid,
}

impl Broken {
    /// A finding about a range of a cell.
    pub fn range(kind: BrokenKind, cell: u16, first: u64, last: u64, reason: impl Into<String>) -> Self {
        Self {
            kind,
            tenant: None,
            aggregate: None,
            cell,
            first_sequence: first,
            last_sequence: last,
            reason: reason.into(),
        }
    }

    fn of(mut self, key: Option<AggregateKey>) -> Self {
        self.tenant = key.map(|key| key.tenant);
        self.aggregate = key
            .map(|key| AggregateName { aggregate_type: key.aggregate_type, aggregate_id: key.aggregate_id });
        self
    }
}

impl std::fmt::Display for Broken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.first_sequence == self.last_sequence {
            write!(formatter, "cell {}, sequence {}", self.cell, self.first_sequence)?;
        } else {
            write!(
                formatter,
                "cell {}, sequences {} to {}",
                self.cell, self.first_sequence, self.last_sequence
            )?;
        }
        if let (Some(tenant), Some(aggregate)) = (self.tenant, self.aggregate) {
            let AggregateName { aggregate_type, aggregate_id } = aggregate;
            write!(formatter, " ({tenant}/{aggregate_type}/{aggregate_id})")?;
        }
        write!(formatter, ": {}", self.reason)
    }
}

/// What a check found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct VerifyReport {
    pub ok: bool,
    pub commits_checked: u64,
    pub broken: Vec<Broken>,
}

impl VerifyReport {
    /// One line for people: the first findings and how many more there are.
    pub fn summary(&self) -> String {
        summary(&self.broken)
    }
}

/// One line for people: the first findings and how many more there are.
pub fn summary(broken: &[Broken]) -> String {
    let mut text: Vec<String> = broken.iter().take(3).map(ToString::to_string).collect();
    if broken.len() > text.len() {
        text.push(format!("and {} more", broken.len() - text.len()));
    }
    text.join("; ")
}

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Content, filing, density, running hash: what every start does.
    Start,
    /// Also decodes every commit, follows every aggregate's chain and every anchor's Merkle root.
    Full,
}

/// A stored commit as the store has it, believed in nothing.
#[derive(Debug)]
pub struct Row<'a> {
    pub sequence: u64,
    /// `None`: the columns hold no key.
    pub key: Option<AggregateKey>,
    pub first_version: u64,
    pub last_version: u64,
    /// Running maximum of `recorded_at`, microseconds.
    pub recorded_max: i64,
    pub hash: Hash,
    pub running_hash: Hash,
    /// `None`: archived, and not looked at in this depth.
    pub bytes: Option<&'a [u8]>,
}

/// Checks a cell's rows in the order of their sequences.
pub struct Checker {
    cell: u16,
    depth: Depth,
    next: u64,
    /// What the previous running hash may be: as computed and as stored; empty after a hole.
    previous: Vec<Hash>,
    recorded_max: i64,
    anchors: HashMap<u64, Anchor>,
    leaves: Vec<Hash>,
    aggregates: HashMap<AggregateKey, (u64, Hash)>,
    pub commits: u64,
    pub broken: Vec<Broken>,
}

impl Checker {
    /// A check of everything after `after`, where the running hash was `running_hash` (`None`: not
    /// known). [`Depth::Full`] must begin at 0.
    pub fn new(
        cell: u16,
        depth: Depth,
        after: u64,
        running_hash: Option<Hash>,
        anchors: impl IntoIterator<Item = Anchor>,
    ) -> Self {
        Self {
            cell,
            depth,
            next: after + 1,
            previous: running_hash.into_iter().collect(),
            recorded_max: i64::MIN,
            anchors: anchors.into_iter().map(|anchor| (anchor.sequence, anchor)).collect(),
            leaves: Vec::new(),
            aggregates: HashMap::new(),
            commits: 0,
            broken: Vec::new(),
        }
    }

    /// The sequence that is expected next.
    pub const fn next(&self) -> u64 {
        self.next
    }

    fn find(&mut self, kind: BrokenKind, sequence: u64, key: Option<AggregateKey>, reason: &str) {
        self.broken.push(Broken::range(kind, self.cell, sequence, sequence, reason).of(key));
    }

    /// A stretch the store can't read, already looked at as such.
    pub fn unreadable(&mut self, last: u64, reason: &str) {
        let range = Broken::range(BrokenKind::Store, self.cell, self.next, last, reason);
        self.broken.push(range);
        self.skip_to(last + 1);
    }

    fn skip_to(&mut self, next: u64) {
        self.next = next;
        self.previous.clear();
        self.leaves.clear();
    }

    /// Looks at the next row.
    pub fn row(&mut self, row: &Row<'_>) {
        self.commits += 1;
        if row.sequence < self.next {
            self.find(BrokenKind::Store, row.sequence, row.key, "the sequence is there twice");
            return;
        }
        if row.sequence > self.next {
            let hole = Broken::range(
                BrokenKind::Missing,
                self.cell,
                self.next,
                row.sequence - 1,
                "the commits are gone without an archive receipt",
            );
            self.broken.push(hole);
            self.skip_to(row.sequence);
        }
        self.next = row.sequence + 1;
        if row.recorded_max < self.recorded_max {
            self.find(BrokenKind::Misfiled, row.sequence, row.key, "the time is filed wrong");
        }
        self.recorded_max = row.recorded_max;
        let content = self.content_check(row);
        self.history_check(row, content);
        if self.depth == Depth::Full {
            self.chain_check(row, content);
        }
    }

    /// The content hash the history is followed with.
    fn content_check(&mut self, row: &Row<'_>) -> Hash {
        let Some(bytes) = row.bytes else {
            return row.hash;
        };
        let content = codec::content_hash(bytes);
        if content != row.hash {
            let reason = "the stored bytes are not those that were written: their hash differs";
            self.find(BrokenKind::Content, row.sequence, row.key, reason);
            return row.hash;
        }
        let filed_right =
            row.key.is_some_and(|key| codec::is_commit_of(bytes, &key, row.first_version, row.last_version));
        if !filed_right {
            let own = codec::decode_header(&Bytes::copy_from_slice(bytes)).ok().map(|header| header.key);
            let reason = "the commit is filed under another aggregate or version than its own";
            self.find(BrokenKind::Misfiled, row.sequence, own, reason);
        }
        content
    }

    fn history_check(&mut self, row: &Row<'_>, content: Hash) {
        let expected: Vec<Hash> =
            self.previous.iter().map(|previous| codec::running_hash(previous, &content)).collect();
        if !expected.is_empty() && !expected.contains(&row.running_hash) {
            let reason = "the running hash does not follow: another commit stood here, or before it";
            self.find(BrokenKind::History, row.sequence, row.key, reason);
        }
        self.previous.clear();
        self.previous.push(row.running_hash);
        self.previous.extend(expected.first().filter(|hash| **hash != row.running_hash));
        self.leaves.push(content);
        if !row.sequence.is_multiple_of(ANCHOR_COMMITS) {
            return;
        }
        if let Some(anchor) = self.anchors.get(&row.sequence).copied() {
            let complete = self.leaves.len() as u64 == ANCHOR_COMMITS;
            let first = row.sequence - ANCHOR_COMMITS + 1;
            if anchor.running_hash != row.running_hash
                || (complete && anchor.merkle_root != merkle_root(&self.leaves))
            {
                let reason = "the commits are not those an anchor was made of: the log was rolled back or written anew";
                let range = Broken::range(BrokenKind::History, self.cell, first, row.sequence, reason);
                self.broken.push(range);
            }
        }
        self.leaves.clear();
    }

    fn chain_check(&mut self, row: &Row<'_>, content: Hash) {
        let Some(bytes) = row.bytes else {
            return;
        };
        let (header, events) = match codec::decode(&Bytes::copy_from_slice(bytes)) {
            Ok(decoded) => decoded,
            Err(error) => {
                // Damaged bytes are named already.
                if content == codec::content_hash(bytes) {
                    self.find(BrokenKind::Content, row.sequence, row.key, &error.to_string());
                }
                return;
            }
        };
        let key = header.key;
        let last = header.first_version + events.len() as u64 - 1;
        let recorded = header.recorded_at.timestamp_micros();
        if recorded > row.recorded_max {
            self.find(BrokenKind::Misfiled, row.sequence, Some(key), "the time is filed wrong");
        }
        let previous = self.aggregates.insert(key, (last, content));
        let links = match previous {
            None => header.first_version == 1 && header.prev_hash.is_none(),
            Some((version, hash)) => {
                header.first_version == version + 1 && header.prev_hash == Some(hex::encode(hash))
            }
        };
        if !links {
            let reason = match previous {
                None => format!("the aggregate begins with version {}", header.first_version),
                Some((version, _)) => {
                    format!("version {} does not follow version {version}", header.first_version)
                }
            };
            self.find(BrokenKind::Chain, row.sequence, Some(key), &reason);
        }
    }
}

/// Whether a cell is what a witness saw: at `seen.sequence` the running hash must be the same.
pub fn witness_check(cell: u16, head: u64, found: Option<Hash>, seen: Head, who: &str) -> Option<Broken> {
    if seen.sequence == 0 {
        return None;
    }
    if seen.sequence > head {
        let reason = format!("the log ends at {head}, {who} saw it at {}: its end is lost", seen.sequence);
        return Some(Broken::range(BrokenKind::Tail, cell, head + 1, seen.sequence, reason));
    }
    if found.is_some_and(|found| found != seen.running_hash) {
        let reason = format!("{who} saw another history up to here: the log was rolled back and written on");
        return Some(Broken::range(BrokenKind::History, cell, seen.sequence, seen.sequence, reason));
    }
    None
}
