//! Segment files of archives: commits that left the log, in zstd frames. A frame is on disk before
//! its receipt is anywhere; what a crash leaves without a receipt is never read.

use crate::{codec, error::LogError, port::StoredCommit};
use autonomos_domain::envelope::Hash;
use bytes::Bytes;
use std::{
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

/// Bytes in one frame before compression, about: what reading one archived commit costs at most.
const FRAME_BYTES: usize = 4 << 20;
/// A segment file that is larger gets no more frames.
const SEGMENT_BYTES: u64 = 256 << 20;
const COMPRESSION_LEVEL: i32 = 3;

/// A frame that is on disk.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) segment: String,
    pub(crate) offset: u64,
    pub(crate) length: usize,
    pub(crate) raw_length: usize,
    pub(crate) hash: Hash,
    /// Sequence, offset in the frame, length.
    pub(crate) commits: Vec<(u64, usize, usize)>,
}

/// Writes commits to the newest segment of a folder whose name begins with `prefix`, at most
/// `commits_limit` in one frame.
pub(crate) fn frames_write(
    folder: &Path,
    prefix: &str,
    commits_limit: usize,
    commits: &[StoredCommit],
) -> Result<Vec<Frame>, LogError> {
    let mut frames = Vec::new();
    let mut rest = commits;
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest
            .iter()
            .take(commits_limit)
            .take_while(|commit| {
                let fits = bytes < FRAME_BYTES;
                bytes += commit.bytes.len();
                fits
            })
            .count();
        let (now, later) = rest.split_at(count);
        frames.push(frame_write(folder, prefix, now).map_err(|error| {
            LogError::Store(format!("the archive in `{}` could not be written: {error}", folder.display()))
        })?);
        rest = later;
    }
    Ok(frames)
}

fn frame_write(folder: &Path, prefix: &str, commits: &[StoredCommit]) -> std::io::Result<Frame> {
    let mut raw = Vec::with_capacity(commits.iter().map(|commit| commit.bytes.len()).sum());
    let mut index = Vec::with_capacity(commits.len());
    for commit in commits {
        index.push((commit.position.sequence, raw.len(), commit.bytes.len()));
        raw.extend_from_slice(&commit.bytes);
    }
    let stored = zstd::bulk::compress(&raw, COMPRESSION_LEVEL)?;
    let (segment, mut file) = segment_open(folder, prefix)?;
    let offset = file.seek(SeekFrom::End(0))?;
    file.write_all(&stored)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()?;
    Ok(Frame {
        segment,
        offset,
        length: stored.len(),
        raw_length: raw.len(),
        hash: codec::content_hash(&stored),
        commits: index,
    })
}

/// The segment that takes the next frame: the newest, or a new one if that is full.
fn segment_open(folder: &Path, prefix: &str) -> std::io::Result<(String, File)> {
    let mut newest = 0_u64;
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        let number =
            name.to_str().and_then(|name| name.strip_prefix(prefix)?.strip_suffix(".zst")?.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    loop {
        let name = format!("{prefix}{newest:08}.zst");
        let file = OpenOptions::new().create(newest > 0).append(true).open(folder.join(&name));
        match file {
            Ok(file) if file.metadata()?.len() < SEGMENT_BYTES => return Ok((name, file)),
            Ok(_) => {}
            Err(error) if newest > 0 => return Err(error),
            Err(_) => {}
        }
        newest += 1;
    }
}

/// The commits of a frame, one after another.
pub(crate) fn frame_open(
    folder: &Path,
    segment: &str,
    offset: u64,
    length: usize,
    raw_length: usize,
) -> std::io::Result<Bytes> {
    let stored = frame_read(folder, segment, offset, length)?;
    zstd::bulk::decompress(&stored, raw_length).map(Bytes::from)
}

/// A frame as stored.
pub(crate) fn frame_read(
    folder: &Path,
    segment: &str,
    offset: u64,
    length: usize,
) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(folder.join(segment))?;
    // A damaged length must not ask for more memory than the file has bytes.
    if offset.saturating_add(length as u64) > file.metadata()?.len() {
        return Err(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            "the segment ends within a frame",
        ));
    }
    file.seek(SeekFrom::Start(offset))?;
    let mut stored = vec![0; length];
    file.read_exact(&mut stored)?;
    Ok(stored)
}
