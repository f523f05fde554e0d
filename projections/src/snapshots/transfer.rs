//! Files on their way to the object store and back.

use super::failed;
use crate::error::ProjectionError;
use autonomos_domain::envelope::Hash;
use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, path::Path as Name};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Views compress to a third at this level, faster than a disk reads them.
const LEVEL: i32 = 3;

/// Bytes that are sent at once; a larger file is sent in parts of as many, or more where there would be
/// too many of them (S3 takes 10,000).
const PART: u64 = 10 << 20;
const PARTS: u64 = 9_000;
/// Parts on their way, and in memory, at a time.
const AT_A_TIME: usize = 2;

/// A file that is removed with its name.
pub(crate) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn new(folder: &Path) -> Self {
        Self(folder.join(Uuid::now_v7().to_string()))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may have been moved away, or never made.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Hashes what is written through it.
struct Hashed<W> {
    inner: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Blocking: the hash of what it writes.
pub(super) fn compress(from: &Path, to: &Path, hasher: blake3::Hasher) -> io::Result<Hash> {
    let mut encoder = zstd::Encoder::new(Hashed { inner: File::create(to)?, hasher }, LEVEL)?;
    io::copy(&mut File::open(from)?, &mut encoder)?;
    Ok(encoder.finish()?.hasher.finalize().into())
}

/// Blocking.
pub(super) fn expand(from: &Path, to: &Path) -> io::Result<()> {
    let file = File::create(to)?;
    zstd::stream::copy_decode(File::open(from)?, &file)?;
    file.sync_all()
}

/// Uploads a file: it is there once this returns, or not at all. One that is given up on its way leaves
/// no parts behind, for a store bills them and shows them to nobody; those of a process that was killed
/// are the store's to let expire.
pub(super) async fn upload(
    store: &dyn ObjectStore,
    object: &Name,
    file: &Path,
    give_up: &CancellationToken,
) -> Result<(), ProjectionError> {
    let unread = |error: io::Error| failed(file, &error);
    let mut from = tokio::fs::File::open(file).await.map_err(unread)?;
    let size = from.metadata().await.map_err(unread)?.len();
    if size <= PART {
        let mut bytes = Vec::with_capacity(size as usize);
        from.read_to_end(&mut bytes).await.map_err(unread)?;
        let put = give_up.run_until_cancelled(store.put(object, bytes.into())).await;
        return put.ok_or_else(|| given_up(object))?.map(drop).map_err(Into::into);
    }
    let mut upload = store.put_multipart(object).await?;
    let sent = match give_up.run_until_cancelled(parts_put(&mut *upload, from, size)).await {
        Some(sent) => sent.map_err(|error| ProjectionError::Snapshot(format!("`{object}`: {error}"))),
        None => Err(given_up(object)),
    };
    let done = match sent {
        Ok(()) => upload.complete().await.map(drop).map_err(Into::into),
        Err(error) => Err(error),
    };
    if done.is_err()
        && let Err(error) = upload.abort().await
    {
        tracing::warn!(%object, %error, "parts of an upload that was given up may be left in the store");
    }
    done
}

fn given_up(object: &Name) -> ProjectionError {
    ProjectionError::Snapshot(format!("the upload of `{object}` was given up"))
}

async fn parts_put(
    upload: &mut dyn MultipartUpload,
    mut from: tokio::fs::File,
    size: u64,
) -> Result<(), object_store::Error> {
    let part = PART.max(size.div_ceil(PARTS));
    let mut sending = FuturesUnordered::new();
    loop {
        let mut bytes = Vec::with_capacity(part as usize);
        let read = (&mut from).take(part).read_to_end(&mut bytes).await;
        let unread = |error| object_store::Error::Generic { store: "file", source: Box::new(error) };
        if read.map_err(unread)? == 0 {
            break;
        }
        if sending.len() == AT_A_TIME {
            sending.try_next().await?;
        }
        sending.push(upload.put_part(bytes.into()));
    }
    sending.try_collect().await
}

/// Downloads an object: the hash of its bytes.
pub(super) async fn download(
    store: &dyn ObjectStore,
    object: &Name,
    to: &Path,
    mut hasher: blake3::Hasher,
) -> Result<Hash, ProjectionError> {
    let mut pieces = store.get(object).await?.into_stream();
    let mut file = tokio::fs::File::create(to).await.map_err(|error| failed(to, &error))?;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        hasher.update(&piece);
        file.write_all(&piece).await.map_err(|error| failed(to, &error))?;
    }
    file.flush().await.map_err(|error| failed(to, &error))?;
    Ok(hasher.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_objects::{Place, moto::Moto};
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use std::{sync::Arc, time::Duration};

    fn file(folder: &Path, size: usize) -> PathBuf {
        let path = folder.join("file");
        let bytes: Vec<u8> = (0..size).map(|index| (index * 31 % 251) as u8).collect();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    #[tokio::test]
    async fn a_file_of_several_parts_arrives_as_it_was() {
        let (moto, folder) = (Moto::shared(), tempfile::tempdir().unwrap());
        let bucket = moto.bucket();
        let place = Place::parse(&format!("s3://{bucket}/x"), &moto.settings()).unwrap();
        let store = place.open().unwrap();
        let (object, hasher) = (Name::from("a/b"), blake3::Hasher::new());
        for size in [0, PART as usize, PART as usize * 2 + 7] {
            let from = file(folder.path(), size);
            upload(&*store, &object, &from, &CancellationToken::new()).await.unwrap();
            let hash = download(&*store, &object, &folder.path().join("back"), hasher.clone()).await.unwrap();
            assert_eq!(hash, *blake3::hash(&std::fs::read(&from).unwrap()).as_bytes(), "{size}");
        }
        assert_eq!(moto.unfinished(&bucket), 0);
    }

    #[tokio::test]
    async fn an_upload_that_is_given_up_leaves_no_parts_behind() {
        let (moto, folder) = (Moto::shared(), tempfile::tempdir().unwrap());
        let bucket = moto.bucket();
        let place = Place::parse(&format!("s3://{bucket}"), &moto.settings()).unwrap();
        // Its parts never arrive.
        let never =
            ThrottleConfig { wait_put_per_call: Duration::from_hours(1), ..ThrottleConfig::default() };
        let store = Arc::new(ThrottledStore::new(place.open().unwrap(), never));
        let (from, give_up) = (file(folder.path(), PART as usize + 1), CancellationToken::new());
        let sending = tokio::spawn({
            let (store, give_up) = (Arc::clone(&store), give_up.clone());
            async move { upload(&*store, &Name::from("a"), &from, &give_up).await }
        });
        while moto.unfinished(&bucket) == 0 {
            tokio::task::yield_now().await;
        }
        give_up.cancel();
        let error = sending.await.unwrap().unwrap_err();
        assert!(error.to_string().contains("given up"), "{error}");
        assert_eq!(moto.unfinished(&bucket), 0);
        assert!(store.get(&Name::from("a")).await.is_err());
    }
}
