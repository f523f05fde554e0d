//! Commits that were moved out of the log file to segments. The log file keeps a receipt for each
//! frame and all but the bytes of each commit in it.

use super::{CELL, Shared, reader};
use crate::{
    codec,
    columns::type_code,
    error::LogError,
    integrity::{Broken, BrokenKind},
    segments::{self, Frame},
};
use autonomos_domain::envelope::{AggregateKey, AggregateType, Hash};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};
use std::{path::Path, sync::Arc};
use tokio::sync::{mpsc, oneshot};

/// Segments of this adapter, by name.
const SEGMENT_PREFIX: &str = "segment-";

/// What the writer has to do: file the frames and drop the rows, all at once.
pub(super) struct Plan {
    key: AggregateKey,
    keep_last: bool,
    frames: Vec<Frame>,
    pub(super) reply: oneshot::Sender<Result<u64, LogError>>,
}

/// Archives an aggregate's commits. Runs beside the writer but for the last step.
pub(super) async fn archive(
    shared: &Arc<Shared>,
    writer: &mpsc::Sender<super::writer::Request>,
    key: AggregateKey,
    keep_last: bool,
) -> Result<u64, LogError> {
    let refused = |reason: &str| LogError::NotArchivable { key, reason: reason.to_owned() };
    if key.aggregate_type == AggregateType::Reservation {
        return Err(refused("a reservation must stay, or what it holds could be taken again"));
    }
    if let Some(reason) = shared.stopped() {
        return Err(refused(&format!("writing is stopped: {reason}")));
    }
    let _one_at_a_time = shared.archiving.lock().await;
    let frames = shared
        .query(move |connection, shared| {
            let mut commits = reader::live_commits(connection, &key)?;
            if keep_last {
                commits.pop();
            }
            segments::frames_write(&shared.readers.archive, SEGMENT_PREFIX, usize::MAX, &commits)
        })
        .await?;
    if frames.is_empty() {
        return Ok(0);
    }
    let (reply, answer) = oneshot::channel();
    let plan = Plan { key, keep_last, frames, reply };
    writer.send(super::writer::Request::Archive(plan)).await.map_err(|_| LogError::Closed)?;
    answer.await.map_err(|_| LogError::Closed)?
}

impl Plan {
    /// The writer's step, in one transaction: receipts in, rows out.
    pub(super) fn file(&self, connection: &mut Connection) -> Result<u64, LogError> {
        let key = &self.key;
        let transaction = connection.transaction()?;
        if !self.keep_last {
            let last: u64 = transaction.query_row(
                "SELECT max(sequence) FROM commits WHERE tenant = ?1 AND aggregate_type = ?2 AND aggregate_id = ?3",
                params![key.tenant.0.as_bytes(), type_code(key.aggregate_type), key.aggregate_id.as_bytes()],
                |row| row.get(0),
            )?;
            let planned = self.frames.iter().flat_map(|frame| &frame.commits).map(|(sequence, ..)| *sequence);
            if planned.max() != Some(last) {
                return Err(LogError::NotArchivable {
                    key: *key,
                    reason: "it was appended to meanwhile".to_owned(),
                });
            }
        }
        let mut moved = 0;
        for frame in &self.frames {
            let first = frame.commits.first().map_or(0, |(sequence, ..)| *sequence);
            let last = frame.commits.last().map_or(0, |(sequence, ..)| *sequence);
            transaction.execute(
                "INSERT INTO receipts (first_sequence, last_sequence, commits, segment, offset, length, raw_length, hash, archived_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    first,
                    last,
                    frame.commits.len(),
                    frame.segment,
                    frame.offset,
                    frame.length,
                    frame.raw_length,
                    frame.hash,
                    chrono::Utc::now().timestamp_micros(),
                ],
            )?;
            let receipt = transaction.last_insert_rowid();
            let mut file = transaction.prepare_cached(
                "INSERT INTO archived (sequence, tenant, aggregate_type, aggregate_id, first_version, last_version,
                     recorded_max, hash, running_hash, receipt, offset, length)
                 SELECT sequence, tenant, aggregate_type, aggregate_id, first_version, last_version,
                     recorded_max, hash, running_hash, ?2, ?3, ?4 FROM commits WHERE sequence = ?1",
            )?;
            let mut drop = transaction.prepare_cached("DELETE FROM commits WHERE sequence = ?1")?;
            for (sequence, offset, length) in &frame.commits {
                if file.execute(params![sequence, receipt, offset, length])? != 1 {
                    return Err(LogError::Damaged {
                        place: format!("sequence {sequence}"),
                        reason: "the commit vanished while it was archived".to_owned(),
                    });
                }
                drop.execute([sequence])?;
                moved += 1;
            }
        }
        transaction.commit()?;
        tracing::info!(cell = CELL, aggregate = %key, commits = moved, "commits were archived");
        Ok(moved)
    }
}

/// Reads commits out of frames, keeping the last frame read.
pub(super) struct Frames<'a> {
    connection: &'a Connection,
    folder: &'a Path,
    last: Option<(i64, Bytes)>,
}

impl<'a> Frames<'a> {
    pub(super) const fn new(connection: &'a Connection, folder: &'a Path) -> Self {
        Self { connection, folder, last: None }
    }

    /// The exact bytes of a commit of a receipt's frame.
    pub(super) fn commit_bytes(
        &mut self,
        receipt: i64,
        offset: usize,
        length: usize,
    ) -> Result<Bytes, LogError> {
        let frame = match &self.last {
            Some((last, frame)) if *last == receipt => frame.clone(),
            _ => {
                let frame = self.frame(receipt)?;
                self.last = Some((receipt, frame.clone()));
                frame
            }
        };
        let end = offset.saturating_add(length);
        if end > frame.len() {
            return Err(LogError::Damaged {
                place: format!("archive receipt {receipt}"),
                reason: "a commit lies outside its frame".to_owned(),
            });
        }
        Ok(frame.slice(offset..end))
    }

    fn frame(&self, receipt: i64) -> Result<Bytes, LogError> {
        let found: Option<(String, u64, usize, usize)> = self
            .connection
            .prepare_cached("SELECT segment, offset, length, raw_length FROM receipts WHERE id = ?1")?
            .query_row([receipt], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
            .optional()?;
        let damaged =
            |reason: String| LogError::Damaged { place: format!("archive receipt {receipt}"), reason };
        let (segment, offset, length, raw_length) =
            found.ok_or_else(|| damaged("the receipt is missing".to_owned()))?;
        segments::frame_open(self.folder, &segment, offset, length, raw_length)
            .map_err(|error| damaged(format!("segment `{segment}`: {error}")))
    }
}

/// Whether each receipt's frame is what was written.
pub(super) fn receipts_check(connection: &Connection, folder: &Path) -> Result<Vec<Broken>, LogError> {
    let mut broken = Vec::new();
    let mut statement = connection.prepare(
        "SELECT first_sequence, last_sequence, segment, offset, length, hash FROM receipts ORDER BY id",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (first, last, hash): (u64, u64, Hash) = (row.get(0)?, row.get(1)?, row.get(5)?);
        let segment: String = row.get(2)?;
        let reason = match segments::frame_read(folder, &segment, row.get(3)?, row.get(4)?) {
            Ok(stored) if codec::content_hash(&stored) == hash => continue,
            Ok(_) => format!("a frame of segment `{segment}` is not what was written"),
            Err(error) => format!("a frame of segment `{segment}` can't be read: {error}"),
        };
        broken.push(Broken::range(BrokenKind::Archive, CELL, first, last, reason));
    }
    Ok(broken)
}
