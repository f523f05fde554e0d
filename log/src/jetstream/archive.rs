//! Commits that left the stream. Their bytes go to segments that every node can read, then a receipt
//! goes to a stream of its own, then the subject is purged up to the last archived sequence, so that
//! what is appended meanwhile stays. A crash between two steps leaves a commit in both places.

use super::{
    Cell, Shared,
    index::{self, ArchivedCommit, ReceiptPlace},
    setup,
    wire::Message,
};
use crate::{
    codec,
    error::LogError,
    integrity::{Broken, BrokenKind},
    port::{Filter, StoredCommit},
    segments::{self, Frame},
};
use autonomos_domain::{
    envelope::{AggregateKey, AggregateType, Hash},
    ids::TenantId,
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};
use uuid::Uuid;

/// Commits in one frame and receipt: a receipt is one message of at most about 200 kB.
const RECEIPT_COMMITS: usize = 1000;

/// What is left in the log of commits of one aggregate that are not in the stream any more.
#[derive(Debug, Serialize, Deserialize)]
struct Receipt {
    tenant: TenantId,
    aggregate_type: AggregateType,
    aggregate_id: Uuid,
    /// `None`: purged, the bytes are nowhere.
    frame: Option<FramePlace>,
    commits: Vec<CommitPlace>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FramePlace {
    segment: String,
    offset: u64,
    length: usize,
    raw_length: usize,
    hash: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct CommitPlace {
    sequence: u64,
    first_version: u64,
    last_version: u64,
    /// Microseconds.
    recorded_at: i64,
    hash: String,
    at: usize,
    length: usize,
}

/// Archives an aggregate's commits.
pub(super) async fn archive(
    shared: &Arc<Shared>,
    key: &AggregateKey,
    keep_last: bool,
) -> Result<u64, LogError> {
    let _one_at_a_time = shared.archiving.lock().await;
    let cell = shared.cell_of(key.tenant);
    receipts_refresh(shared, cell).await?;
    let mut commits = shared.load(key, 0).await?;
    if keep_last {
        commits.pop();
    }
    let sequences: Vec<u64> = commits.iter().map(|commit| commit.position.sequence).collect();
    let (Some(first), Some(last)) = (sequences.first().copied(), sequences.last().copied()) else {
        return Ok(0);
    };
    let before = cell.index.read(move |connection| index::archived_between(connection, first, last)).await?;
    let archived: std::collections::HashSet<u64> = before.iter().map(|commit| commit.sequence).collect();
    commits.retain(|commit| !archived.contains(&commit.position.sequence));
    let moved = commits.len() as u64;
    if moved > 0 {
        let (folder, prefix) = (shared.options.archive.clone(), shared.segment_prefix.clone());
        let written = tokio::task::spawn_blocking(move || {
            let frames = segments::frames_write(&folder, &prefix, RECEIPT_COMMITS, &commits)?;
            Ok::<_, LogError>((frames, commits))
        });
        let (frames, commits) = written.await.map_err(|_| LogError::Closed)??;
        let mut rest = &commits[..];
        for frame in &frames {
            let (now, later) = rest.split_at(frame.commits.len());
            receipt_publish(shared, cell, &receipt_of(key, frame, now)).await?;
            rest = later;
        }
        receipts_refresh(shared, cell).await?;
    }
    // Also when all was archived before: the purge may have been cut off.
    purge(shared, cell, &cell.subject(key), last + 1).await?;
    tracing::info!(cell = cell.number, aggregate = %key, commits = moved, "commits were archived");
    Ok(moved)
}

/// Removes a tenant's commits but for its reservations.
pub(super) async fn tenant_purge(shared: &Arc<Shared>, tenant: TenantId) -> Result<u64, LogError> {
    let _one_at_a_time = shared.archiving.lock().await;
    let cell = shared.cell_of(tenant);
    receipts_refresh(shared, cell).await?;
    let last = shared.wire.stream_info(&cell.stream).await?.state.last_sequence;
    let head = cell.indexed(last).await?.sequence;
    let kinds: Vec<AggregateType> =
        AggregateType::ALL.into_iter().filter(|kind| *kind != AggregateType::Reservation).collect();
    let filter = Filter { tenant: Some(tenant), aggregate_types: kinds.clone() };
    let entries = cell
        .index
        .read(move |connection| index::between(connection, 0, head, &filter, usize::MAX >> 1))
        .await?;
    let purged = entries.len() as u64;
    let mut by_aggregate: BTreeMap<AggregateKey, Vec<CommitPlace>> = BTreeMap::new();
    for entry in entries {
        if let Some(key) = entry.key {
            by_aggregate.entry(key).or_default().push(CommitPlace {
                sequence: entry.sequence,
                first_version: entry.first_version,
                last_version: entry.last_version,
                recorded_at: entry.recorded_max,
                hash: hex::encode(entry.hash),
                at: 0,
                length: entry.length,
            });
        }
    }
    for (key, mut places) in by_aggregate {
        while !places.is_empty() {
            let rest = places.split_off(places.len().min(RECEIPT_COMMITS));
            let AggregateKey { tenant, aggregate_type, aggregate_id } = key;
            let receipt = Receipt { tenant, aggregate_type, aggregate_id, frame: None, commits: places };
            receipt_publish(shared, cell, &receipt).await?;
            places = rest;
        }
    }
    receipts_refresh(shared, cell).await?;
    for kind in kinds {
        purge(shared, cell, &format!("ev.{}.{tenant}.{kind}.*", cell.number), head + 1).await?;
    }
    cell.tail.clear();
    Ok(purged)
}

fn receipt_of(key: &AggregateKey, frame: &Frame, commits: &[StoredCommit]) -> Receipt {
    let places = commits.iter().zip(&frame.commits).map(|(commit, (sequence, at, length))| CommitPlace {
        sequence: *sequence,
        first_version: commit.header.first_version,
        last_version: commit.last_version(),
        recorded_at: commit.header.recorded_at.timestamp_micros(),
        hash: hex::encode(commit.hash),
        at: *at,
        length: *length,
    });
    Receipt {
        tenant: key.tenant,
        aggregate_type: key.aggregate_type,
        aggregate_id: key.aggregate_id,
        commits: places.collect(),
        frame: Some(FramePlace {
            segment: frame.segment.clone(),
            offset: frame.offset,
            length: frame.length,
            raw_length: frame.raw_length,
            hash: hex::encode(frame.hash),
        }),
    }
}

fn receipt_subject(shared: &Shared, cell: &Cell) -> String {
    format!("{}.{}", setup::receipts_stream(&shared.options.name), cell.number)
}

async fn receipt_publish(shared: &Shared, cell: &Cell, receipt: &Receipt) -> Result<(), LogError> {
    let bytes = serde_json::to_vec(receipt).map_err(|error| LogError::Store(error.to_string()))?;
    let stream = setup::receipts_stream(&shared.options.name);
    shared.wire.publish_plain(&stream, &receipt_subject(shared, cell), bytes.into()).await
}

async fn purge(shared: &Shared, cell: &Cell, filter: &str, before: u64) -> Result<(), LogError> {
    let request = json!({ "filter": filter, "seq": before });
    let _: Value = shared.wire.api(&format!("STREAM.PURGE.{}", cell.stream), &request).await??;
    Ok(())
}

/// Files the receipts of a cell that this node has not seen yet.
pub(super) async fn receipts_refresh(shared: &Shared, cell: &Cell) -> Result<(), LogError> {
    let (stream, subject) = (setup::receipts_stream(&shared.options.name), receipt_subject(shared, cell));
    let Some(last) = shared.wire.leader_last(&stream, &subject).await? else {
        return Ok(());
    };
    let mut filed = cell.index.read(index::last_receipt).await?;
    while filed < last.sequence {
        let mut messages = shared.wire.batch_read(&stream, &subject, filed + 1, RECEIPT_COMMITS).await?;
        if messages.is_empty() {
            // A replica that is behind: the leader has it.
            messages.extend(shared.wire.leader_next(&stream, &subject, filed + 1).await?);
        }
        let Some(newest) = messages.last().map(|message| message.sequence) else {
            return Ok(());
        };
        let receipts = messages.iter().map(receipt_parse).collect::<Result<Vec<_>, LogError>>()?;
        cell.index
            .write(move |connection| {
                receipts
                    .iter()
                    .try_for_each(|(place, commits)| index::receipt_insert(connection, place, commits))
            })
            .await?;
        filed = newest;
    }
    Ok(())
}

fn receipt_parse(message: &Message) -> Result<(ReceiptPlace, Vec<ArchivedCommit>), LogError> {
    let damaged =
        |reason: String| LogError::Damaged { place: format!("receipt {}", message.sequence), reason };
    let hash = |text: &str| -> Result<Hash, LogError> {
        codec::hash_from_hex(text).ok_or_else(|| damaged(format!("`{text}` is not a hash")))
    };
    let receipt: Receipt =
        serde_json::from_slice(&message.bytes).map_err(|error| damaged(error.to_string()))?;
    let Receipt { tenant, aggregate_type, aggregate_id, frame, commits } = receipt;
    let key = AggregateKey { tenant, aggregate_type, aggregate_id };
    let place = ReceiptPlace {
        id: message.sequence as i64,
        segment: frame.as_ref().map_or_else(String::new, |frame| frame.segment.clone()),
        offset: frame.as_ref().map_or(0, |frame| frame.offset),
        length: frame.as_ref().map_or(0, |frame| frame.length),
        raw_length: frame.as_ref().map_or(0, |frame| frame.raw_length),
        hash: frame.as_ref().map_or(Ok([0; 32]), |frame| hash(&frame.hash))?,
        first_sequence: commits.first().map_or(0, |commit| commit.sequence),
        last_sequence: commits.last().map_or(0, |commit| commit.sequence),
    };
    let commits = commits
        .into_iter()
        .map(|commit| {
            Ok(ArchivedCommit {
                sequence: commit.sequence,
                key,
                first_version: commit.first_version,
                last_version: commit.last_version,
                recorded_at: commit.recorded_at,
                hash: hash(&commit.hash)?,
                length: commit.length,
                at: commit.at,
            })
        })
        .collect::<Result<_, LogError>>()?;
    Ok((place, commits))
}

/// Reads commits out of frames, keeping the last frame read.
pub(super) struct Frames<'a> {
    shared: &'a Shared,
    cell: &'a Cell,
    last: Option<(i64, Bytes)>,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(shared: &'a Shared, cell: &'a Cell) -> Self {
        Self { shared, cell, last: None }
    }

    /// The exact bytes of a commit of a receipt's frame; `None` if it was purged.
    pub(super) async fn commit_bytes(
        &mut self,
        receipt: i64,
        at: usize,
        length: usize,
    ) -> Result<Option<Bytes>, LogError> {
        let damaged =
            |reason: String| LogError::Damaged { place: format!("archive receipt {receipt}"), reason };
        let frame = match &self.last {
            Some((last, frame)) if *last == receipt => frame.clone(),
            _ => {
                let place =
                    self.cell.index.read(move |connection| index::receipt(connection, receipt)).await?;
                let place = place.ok_or_else(|| damaged("the receipt is missing".to_owned()))?;
                if place.segment.is_empty() {
                    return Ok(None);
                }
                let folder = self.shared.options.archive.clone();
                let opened = tokio::task::spawn_blocking(move || {
                    segments::frame_open(
                        &folder,
                        &place.segment,
                        place.offset,
                        place.length,
                        place.raw_length,
                    )
                    .map_err(|error| format!("segment `{}`: {error}", place.segment))
                });
                let frame = opened.await.map_err(|_| LogError::Closed)?.map_err(damaged)?;
                self.last = Some((receipt, frame.clone()));
                frame
            }
        };
        let end = at.saturating_add(length);
        if end > frame.len() {
            return Err(damaged("a commit lies outside its frame".to_owned()));
        }
        Ok(Some(frame.slice(at..end)))
    }
}

/// Whether each receipt's frame is what was written. Blocking.
pub(super) fn receipts_check(folder: &std::path::Path, cell: u16, places: &[ReceiptPlace]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for place in places.iter().filter(|place| !place.segment.is_empty()) {
        let segment = &place.segment;
        let reason = match segments::frame_read(folder, segment, place.offset, place.length) {
            Ok(stored) if codec::content_hash(&stored) == place.hash => continue,
            Ok(_) => format!("a frame of segment `{segment}` is not what was written"),
            Err(error) => format!("a frame of segment `{segment}` can't be read: {error}"),
        };
        broken.push(Broken::range(
            BrokenKind::Archive,
            cell,
            place.first_sequence,
            place.last_sequence,
            reason,
        ));
    }
    broken
}
