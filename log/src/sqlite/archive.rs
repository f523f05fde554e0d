//! Segments: commits that were moved out of the log file, in zstd frames. The log file keeps a
//! receipt for each frame and all but the bytes of each commit in it.

use crate::error::LogError;
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};
use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

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
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(self.folder.join(&segment))?;
            file.seek(SeekFrom::Start(offset))?;
            let mut stored = vec![0; length];
            file.read_exact(&mut stored)?;
            zstd::bulk::decompress(&stored, raw_length)
        };
        read().map(Bytes::from).map_err(|error| damaged(format!("segment `{segment}`: {error}")))
    }
}
