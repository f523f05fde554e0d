//! Where the bytes of a file are: on a disk, or in a bucket. An object is read in ranges of the one
//! edition that was listed, so that memory stays flat and no read mixes two editions.

use super::error;
use crate::error::ConnectorError;
use bytes::Bytes;
use object_store::{Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt};
use parquet::file::reader::{ChunkReader, Length};
use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::PathBuf,
    sync::Arc,
    time::UNIX_EPOCH,
};
use tokio::runtime::Handle;

/// Bytes asked for at once.
const RANGE: u64 = 4 << 20;

/// Bytes that can be read from anywhere.
pub(crate) trait Content: Read + Seek + Send {}

impl<T: Read + Seek + Send> Content for T {}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    File(PathBuf),
    Object(Object),
}

/// One edition of an object.
#[derive(Clone)]
pub(crate) struct Object {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// The bucket's name, for people.
    pub(crate) bucket: Arc<str>,
    pub(crate) meta: Arc<ObjectMeta>,
}

impl fmt::Debug for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Object {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "s3://{}/{}", self.bucket, self.meta.location)
    }
}

/// Waits on a thread that may block.
pub(crate) fn waited<T>(work: impl Future<Output = object_store::Result<T>>) -> object_store::Result<T> {
    Handle::current().block_on(work)
}

/// What a store's refusal means to who reads `name`.
pub(crate) fn refused(name: &str, cause: &Error) -> ConnectorError {
    match cause {
        Error::NotFound { .. } | Error::Precondition { .. } => error::changed(name),
        Error::PermissionDenied { .. } => error::bucket_permission(name, cause),
        Error::Unauthenticated { .. } => error::bucket_keys(name, cause),
        // What follows the first line is the store's page.
        _ => {
            error::io(name, io::Error::other(cause.to_string().lines().next().unwrap_or_default().to_owned()))
        }
    }
}

impl Body {
    pub(crate) fn open(&self) -> io::Result<Box<dyn Content>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Object(object) => Box::new(object.reader(0)),
        })
    }

    /// Size and time of change (ns), cheap enough to be asked for every batch: of an object as it was
    /// listed, for every range that is read is of that edition.
    pub(crate) fn stamp(&self) -> io::Result<(u64, u64)> {
        match self {
            Self::File(path) => {
                let metadata = std::fs::metadata(path)?;
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                Ok((metadata.len(), modified.map_or(0, |since| since.as_nanos() as u64)))
            }
            Self::Object(object) => Ok(object.stamp()),
        }
    }

    /// The name that a cursor knows it by.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::File(path) => path.to_string_lossy().into_owned(),
            Self::Object(object) => object.to_string(),
        }
    }
}

impl Object {
    /// Without the time of change, which stores tell in other units when they list: `edition` tells more.
    pub(crate) fn stamp(&self) -> (u64, u64) {
        (self.meta.size, 0)
    }

    pub(crate) fn reader(&self, position: u64) -> ObjectReader {
        ObjectReader { object: self.clone(), position, range: Bytes::new(), start: 0 }
    }

    /// The object as it is now.
    pub(crate) fn now(&self) -> object_store::Result<Self> {
        let meta = waited(self.store.head(&self.meta.location))?;
        Ok(Self { meta: Arc::new(meta), ..self.clone() })
    }

    /// What tells this edition from another.
    pub(crate) fn edition(&self) -> String {
        let meta = &self.meta;
        meta.e_tag.clone().unwrap_or_else(|| format!("{}-{}", meta.last_modified.timestamp(), meta.size))
    }

    fn bytes(&self, from: u64, to: u64) -> io::Result<Bytes> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(from..to)),
            if_match: self.meta.e_tag.clone(),
            ..GetOptions::default()
        };
        waited(async { self.store.get_opts(&self.meta.location, options).await?.bytes().await })
            .map_err(|cause| io::Error::other(refused(self.name(), &cause)))
    }

    fn name(&self) -> &str {
        self.meta.location.filename().unwrap_or_default()
    }
}

/// Reads an object from a position on, a range at a time.
pub(crate) struct ObjectReader {
    object: Object,
    position: u64,
    range: Bytes,
    /// Where `range` starts.
    start: u64,
}

impl Read for ObjectReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let size = self.object.meta.size;
        if self.position >= size || into.is_empty() {
            return Ok(0);
        }
        if !(self.start..self.start + self.range.len() as u64).contains(&self.position) {
            self.range = self.object.bytes(self.position, size.min(self.position + RANGE))?;
            self.start = self.position;
        }
        let at = (self.position - self.start) as usize;
        let length = into.len().min(self.range.len().saturating_sub(at));
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        into[..length].copy_from_slice(&self.range[at..at + length]);
        self.position += length as u64;
        Ok(length)
    }
}

impl Seek for ObjectReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let place = match to {
            SeekFrom::Start(place) => Some(place),
            SeekFrom::End(offset) => self.object.meta.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = place.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

impl Length for Object {
    fn len(&self) -> u64 {
        self.meta.size
    }
}

impl ChunkReader for Object {
    type T = ObjectReader;

    fn get_read(&self, start: u64) -> parquet::errors::Result<Self::T> {
        Ok(self.reader(start))
    }

    fn get_bytes(&self, start: u64, length: usize) -> parquet::errors::Result<Bytes> {
        Ok(self.bytes(start, start + length as u64)?)
    }
}
