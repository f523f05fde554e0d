//! Files on their way to the object store and back.

use super::failed;
use crate::error::ProjectionError;
use autonomos_domain::envelope::Hash;
use futures::StreamExt;
use object_store::{ObjectStore, ObjectStoreExt, buffered::BufWriter};
use std::{
    fs::File,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

/// Views compress to a third at this level, faster than a disk reads them.
const LEVEL: i32 = 3;

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

/// Uploads a file: it is there once this returns, or not at all.
pub(super) async fn upload(
    store: &Arc<dyn ObjectStore>,
    object: object_store::path::Path,
    file: &Path,
) -> Result<(), ProjectionError> {
    let mut from = tokio::fs::File::open(file).await.map_err(|error| failed(file, &error))?;
    let mut writer = BufWriter::new(Arc::clone(store), object.clone());
    let sent = async {
        tokio::io::copy(&mut from, &mut writer).await?;
        writer.shutdown().await
    };
    if let Err(error) = sent.await {
        // Its parts may stay behind, unseen; the store's owner may let them expire.
        if let Err(error) = writer.abort().await {
            tracing::debug!(%object, %error, "an upload could not be given up");
        }
        return Err(ProjectionError::Snapshot(format!("`{object}`: {error}")));
    }
    Ok(())
}

/// Downloads an object: the hash of its bytes.
pub(super) async fn download(
    store: &Arc<dyn ObjectStore>,
    object: &object_store::path::Path,
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
