//! Reading: the index says which commits there are, the stream or the archive has their bytes. Any
//! replica may serve them, for every commit is checked against its hash and what a replica misses is
//! asked of the leader; a damaged commit is an error and never a wrong fact.

use super::{
    Cell, Shared, archive,
    index::{self, Entry},
    wire::Message,
};
use crate::{
    codec,
    error::LogError,
    port::{Filter, Page, ReadLimit, StoredCommit},
};
use autonomos_domain::envelope::{AggregateKey, AggregateType, Hash, Position};
use bytes::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

/// Sequences looked at in one query when a filter leaves few.
const SCAN_SEQUENCES: u64 = 100_000;
/// So few commits are asked for one by one: for the next of a subject the server looks through what
/// lies between, which grows with what all others wrote.
const ONE_BY_ONE: usize = 16;

/// Commits that one pattern of subjects covers, by sequence.
struct Wanted {
    pattern: String,
    sequences: Vec<u64>,
}

impl Shared {
    pub(super) async fn load(
        self: &Arc<Self>,
        key: &AggregateKey,
        after_version: u64,
    ) -> Result<Vec<StoredCommit>, LogError> {
        let (cell, key) = (self.cell_of(key.tenant), *key);
        let mut bytes = self.catch_up_with(cell, &key).await?;
        let entries = cell
            .index
            .read(move |connection| {
                // `after_version` may lie within a commit: the query begins at the one that holds it.
                index::of_aggregate(connection, &key, after_version)
            })
            .await?;
        let subject = cell.subject(&key);
        let commits = self.fetch(cell, entries, &mut bytes, |_| subject.clone()).await?;
        Ok(commits.into_iter().map(Arc::unwrap_or_clone).collect())
    }

    pub(super) async fn load_last(
        self: &Arc<Self>,
        key: &AggregateKey,
    ) -> Result<Option<StoredCommit>, LogError> {
        let (cell, key) = (self.cell_of(key.tenant), *key);
        let mut bytes = self.catch_up_with(cell, &key).await?;
        let last = cell.index.read(move |connection| index::last_of_aggregate(connection, &key)).await?;
        let subject = cell.subject(&key);
        let commits = self.fetch(cell, last.into_iter().collect(), &mut bytes, |_| subject.clone()).await?;
        Ok(commits.into_iter().next_back().map(Arc::unwrap_or_clone))
    }

    /// Waits until the index has what the leader has of an aggregate: who lost a conflict must find
    /// what won it, also when another node wrote it. The bytes that came with the answer, by sequence.
    async fn catch_up_with(&self, cell: &Cell, key: &AggregateKey) -> Result<HashMap<u64, Bytes>, LogError> {
        if cell.is_halted() {
            return Ok(HashMap::new());
        }
        let Some(last) = self.wire.leader_last(&cell.stream, &cell.subject(key)).await? else {
            return Ok(HashMap::new());
        };
        cell.indexed(last.sequence).await?;
        Ok(HashMap::from([(last.sequence, last.bytes)]))
    }

    pub(super) async fn read(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        after: u64,
        filter: &Filter,
        limit: ReadLimit,
    ) -> Result<Page, LogError> {
        // What this node was told is stored is there for its readers.
        let head = cell.indexed(cell.seen.load(Ordering::Acquire)).await?.sequence;
        let mut from = after;
        while from < head {
            let to = head.min(from.saturating_add(SCAN_SEQUENCES));
            let commits_limit = limit.commits.clamp(1, 1 << 20);
            let query = filter.clone();
            let mut entries = cell
                .index
                .read(move |connection| index::between(connection, from, to, &query, commits_limit))
                .await?;
            let mut bytes = 0;
            let fitting = entries
                .iter()
                .take_while(|entry| {
                    let fits = bytes == 0 || bytes < limit.bytes;
                    bytes += entry.length.max(1);
                    fits
                })
                .count();
            let full = fitting < entries.len() || entries.len() >= commits_limit || bytes >= limit.bytes;
            entries.truncate(fitting);
            let scanned_to = match entries.last() {
                Some(last) if full => last.sequence,
                _ => to,
            };
            let subjects = |kind| pattern(cell.number, filter, kind);
            let commits = self.fetch(cell, entries, &mut HashMap::new(), subjects).await?;
            if !commits.is_empty() || scanned_to >= head {
                return Ok(Page { commits, scanned_to });
            }
            from = scanned_to;
        }
        Ok(Page { commits: Vec::new(), scanned_to: after.max(from) })
    }

    /// The commits of entries, whose `bytes` are asked for where they are not there yet. `pattern`
    /// gives, for an aggregate type, the subjects to ask for.
    pub(super) async fn fetch(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        entries: Vec<Entry>,
        bytes: &mut HashMap<u64, Bytes>,
        pattern: impl Fn(AggregateType) -> String,
    ) -> Result<Vec<Arc<StoredCommit>>, LogError> {
        let mut kept: HashMap<u64, Arc<StoredCommit>> = HashMap::new();
        let mut wanted: Vec<Wanted> = Vec::new();
        for entry in &entries {
            if bytes.contains_key(&entry.sequence) {
                continue;
            }
            if let Some(commit) = cell.tail.get(entry.sequence).filter(|commit| commit.hash == entry.hash) {
                kept.insert(entry.sequence, commit);
            } else if entry.archived.is_none() {
                let kind = entry.key.map_or(AggregateType::Tenant, |key| key.aggregate_type);
                let pattern = pattern(kind);
                match wanted.iter_mut().find(|wanted| wanted.pattern == pattern) {
                    Some(wanted) => wanted.sequences.push(entry.sequence),
                    None => wanted.push(Wanted { pattern, sequences: vec![entry.sequence] }),
                }
            }
        }
        for wanted in wanted {
            self.collect(cell, &wanted, bytes).await?;
        }
        let mut frames = archive::Frames::new(self, cell);
        let mut commits = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(commit) = kept.remove(&entry.sequence) {
                commits.push(commit);
                continue;
            }
            let bytes = match bytes.remove(&entry.sequence) {
                Some(bytes) => Some(bytes),
                None => self.missing(cell, &entry, &mut frames).await?,
            };
            // Nothing is left of a purged tenant's commits.
            let Some(bytes) = bytes else {
                continue;
            };
            match commit_of(cell.number, &entry, bytes) {
                Ok(commit) => commits.push(Arc::new(commit)),
                Err(error) => {
                    cell.stop(error.to_string());
                    return Err(error);
                }
            }
        }
        Ok(commits)
    }

    /// Reads what a pattern covers from any replica, as far as that has it.
    async fn collect(
        &self,
        cell: &Cell,
        wanted: &Wanted,
        bytes: &mut HashMap<u64, Bytes>,
    ) -> Result<(), LogError> {
        if wanted.sequences.len() <= ONE_BY_ONE {
            let messages = self.wire.messages_at(&cell.stream, &wanted.sequences).await?;
            bytes.extend(messages.into_iter().map(|message| (message.sequence, message.bytes)));
            return Ok(());
        }
        let mut rest = &wanted.sequences[..];
        while let Some(first) = rest.first() {
            let messages = self.wire.batch_read(&cell.stream, &wanted.pattern, *first, rest.len()).await?;
            let Some(last) = messages.last().map(|message| message.sequence) else {
                return Ok(());
            };
            bytes.extend(messages.into_iter().map(|message| (message.sequence, message.bytes)));
            let done = rest.iter().take_while(|sequence| **sequence <= last).count();
            if done == 0 {
                return Ok(());
            }
            rest = &rest[done..];
        }
        Ok(())
    }

    /// The bytes of a commit no replica gave: archived, or known to the leader alone, or lost.
    async fn missing(
        self: &Arc<Self>,
        cell: &Arc<Cell>,
        entry: &Entry,
        frames: &mut archive::Frames<'_>,
    ) -> Result<Option<Bytes>, LogError> {
        if let Some((receipt, at)) = entry.archived {
            return frames.commit_bytes(receipt, at, entry.length).await;
        }
        if let Some(message) = self.wire.leader_at(&cell.stream, entry.sequence).await? {
            return Ok(Some(message.bytes));
        }
        // Another node may have archived it a moment ago.
        archive::receipts_refresh(self, cell).await?;
        let sequence = entry.sequence;
        let again = cell.index.read(move |connection| index::at(connection, sequence)).await?;
        if let Some((receipt, at)) = again.and_then(|entry| entry.archived) {
            return frames.commit_bytes(receipt, at, entry.length).await;
        }
        if let Some(message) = self.wire.leader_at_surely(&cell.stream, entry.sequence).await? {
            return Ok(Some(message.bytes));
        }
        let error = LogError::Damaged {
            place: format!("sequence {sequence}"),
            reason: "the commit is gone without an archive receipt".to_owned(),
        };
        cell.stop(error.to_string());
        Err(error)
    }
}

/// The subjects of what a filter asks for, of one aggregate type if it names any.
pub(super) fn pattern(cell: u16, filter: &Filter, kind: AggregateType) -> String {
    let tenant = filter.tenant.map_or_else(|| "*".to_owned(), |tenant| tenant.to_string());
    if filter.aggregate_types.is_empty() {
        format!("ev.{cell}.{tenant}.>")
    } else {
        format!("ev.{cell}.{tenant}.{kind}.*")
    }
}

/// The commit of an entry; its bytes are checked against its hash.
fn commit_of(cell: u16, entry: &Entry, bytes: Bytes) -> Result<StoredCommit, LogError> {
    let damaged =
        |reason: String| LogError::Damaged { place: format!("sequence {}", entry.sequence), reason };
    if codec::content_hash(&bytes) != entry.hash {
        return Err(damaged(
            "the stored bytes do not have the hash they had when they were read first".to_owned(),
        ));
    }
    let (header, events) = codec::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
    if events.is_empty() {
        return Err(damaged("the commit has no events".to_owned()));
    }
    if entry.key != Some(header.key) {
        return Err(damaged(format!("the commit of `{}` is filed under another aggregate", header.key)));
    }
    Ok(StoredCommit {
        position: Position { cell, sequence: entry.sequence },
        header,
        events,
        hash: entry.hash,
        running_hash: entry.running_hash,
        bytes,
    })
}

/// The last version and the hash of a message of an aggregate.
pub(super) fn last_version(message: &Message) -> Result<(u64, Hash), LogError> {
    let (header, events) = codec::decode(&message.bytes).map_err(|error| LogError::Damaged {
        place: format!("sequence {}", message.sequence),
        reason: error.to_string(),
    })?;
    Ok((header.first_version + events.len() as u64 - 1, codec::content_hash(&message.bytes)))
}
