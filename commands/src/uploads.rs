//! Uploads: streamed to disk under their id, never under their name, within the tenant's quota.
//!
//! A file is complete when it has its name: it is written under another, synced, then renamed, and
//! only then does the tenant's aggregate take it in (which decides on the quota). What a crash leaves
//! is swept up at the next start: half files, and whole ones that no event knows.

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands, Outcome, derive_id},
};
use autonomos_domain::{
    aggregates::tenant::{Tenant, TenantCommand, Upload},
    error::Error as DomainError,
    ids::{TenantId, UploadId},
};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    fmt::Display,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::io::AsyncWriteExt;
use uuid::Uuid;

const PARTIAL: &str = ".partial";
const DEFAULT_LIMIT: u64 = 2 * 1024 * 1024 * 1024;

/// How uploads are kept.
#[derive(Debug, Clone)]
pub struct UploadOptions {
    pub folder: PathBuf,
    /// Bytes one upload may have.
    pub limit: u64,
}

impl UploadOptions {
    /// Uploads under `folder`, up to 2 GiB each.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), limit: DEFAULT_LIMIT }
    }
}

/// Stores, finds and removes uploads. Cheap to clone.
#[derive(Clone)]
pub struct UploadService {
    inner: Arc<Inner>,
}

struct Inner {
    commands: Commands,
    options: UploadOptions,
    /// Bytes on their way per tenant: uploads at the same time share what is left of the quota.
    arriving: Mutex<HashMap<TenantId, u64>>,
}

/// A stored upload and where it lies.
#[derive(Debug, Clone)]
pub struct StoredUpload {
    pub upload: Upload,
    pub path: PathBuf,
}

impl UploadService {
    pub fn new(commands: Commands, options: UploadOptions) -> Self {
        Self { inner: Arc::new(Inner { commands, options, arriving: Mutex::default() }) }
    }

    /// Stores what `content` yields. Holds one chunk at a time in memory.
    pub async fn upload_store<S, E>(
        &self,
        context: &CommandContext,
        file_name: &str,
        content: S,
    ) -> Result<(Upload, Outcome), CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        let inner = &*self.inner;
        let id = UploadId(derive_id(context.tenant, context.command_id, "upload"));
        let folder = inner.folder(context.tenant);
        tokio::fs::create_dir_all(&folder).await.map_err(|source| io(&folder, source))?;
        let mut partial = Partial::new(folder.join(format!("{}{PARTIAL}", Uuid::new_v4().simple())));
        let (bytes, content_hash) = inner.receive(context.tenant, &partial.path, content).await?;

        let tenant = inner.commands.load::<Tenant>(context.tenant, context.tenant.0).await?;
        let path = folder.join(id.0.to_string());
        let upload = match tenant.state.uploads.get(&id) {
            // The same request again.
            Some(known) if known.content_hash == content_hash && known.file_name == file_name => {
                known.clone()
            }
            Some(_) => return Err(CommandError::IdempotencyMismatch),
            None => {
                partial.rename(&path).await?;
                sync_folder(&folder).await?;
                Upload {
                    id,
                    file_name: file_name.to_owned(),
                    bytes,
                    content_hash,
                    uploaded_at: inner.commands.clock().now(),
                }
            }
        };
        let command = TenantCommand::StoreUpload { upload: upload.clone() };
        match inner.commands.execute::<Tenant>(context, context.tenant.0, command).await {
            Ok(outcome) => Ok((upload, outcome)),
            Err(error) => {
                // Refused, not merely unanswered: then the file belongs to nobody.
                if matches!(error, CommandError::Refused(_)) {
                    remove_file(&path).await?;
                }
                Err(error)
            }
        }
    }

    /// Removes an upload and its file.
    pub async fn upload_remove(
        &self,
        context: &CommandContext,
        id: UploadId,
    ) -> Result<Outcome, CommandError> {
        let command = TenantCommand::RemoveUpload { upload_id: id };
        let outcome = self.inner.commands.execute::<Tenant>(context, context.tenant.0, command).await?;
        remove_file(&self.inner.folder(context.tenant).join(id.0.to_string())).await?;
        Ok(outcome)
    }

    /// A tenant's uploads.
    pub async fn upload_list(&self, tenant: TenantId) -> Result<Vec<Upload>, CommandError> {
        let loaded = self.inner.commands.load::<Tenant>(tenant, tenant.0).await?;
        Ok(loaded.state.uploads.values().cloned().collect())
    }

    /// One of the tenant's own uploads.
    pub async fn upload_find(&self, tenant: TenantId, id: UploadId) -> Result<StoredUpload, CommandError> {
        let loaded = self.inner.commands.load::<Tenant>(tenant, tenant.0).await?;
        let upload = loaded
            .state
            .uploads
            .get(&id)
            .cloned()
            .ok_or_else(|| CommandError::NotFound { what: "upload", id: id.to_string() })?;
        Ok(StoredUpload { upload, path: self.upload_path(tenant, id) })
    }

    /// Where an upload lies, if it exists.
    pub fn upload_path(&self, tenant: TenantId, id: UploadId) -> PathBuf {
        self.inner.folder(tenant).join(id.0.to_string())
    }

    /// Removes what a crash left: half files, and whole ones no event knows. To be called at start,
    /// before uploads are taken in. Where other nodes take uploads into the same folder, `older_than`
    /// keeps away from what they are writing. Answers how many were removed.
    pub async fn sweep(&self, older_than: Duration) -> Result<u64, CommandError> {
        let root = &self.inner.options.folder;
        let mut removed = 0;
        for tenant_folder in entries(root).await? {
            let name = tenant_folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(tenant) = name.parse::<TenantId>() else { continue };
            let known = self.inner.commands.load::<Tenant>(tenant, tenant.0).await?.state;
            for path in entries(&tenant_folder).await? {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let stays = name.parse::<UploadId>().is_ok_and(|id| known.uploads.contains_key(&id));
                if !stays && is_older(&path, older_than).await {
                    remove_file(&path).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

impl Inner {
    fn folder(&self, tenant: TenantId) -> PathBuf {
        self.options.folder.join(tenant.0.to_string())
    }

    /// Writes the content to `path`, durably; answers its size and hash.
    async fn receive<S, E>(
        &self,
        tenant: TenantId,
        path: &Path,
        content: S,
    ) -> Result<(u64, String), CommandError>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
        E: Display,
    {
        let mut file = tokio::fs::File::create(path).await.map_err(|source| io(path, source))?;
        let mut arriving = Arriving { inner: self, tenant, bytes: 0 };
        let mut hasher = blake3::Hasher::new();
        let mut content = std::pin::pin!(content);
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|error| CommandError::UploadBroken { reason: error.to_string() })?;
            arriving.add(chunk.len() as u64).await?;
            hasher.update(&chunk);
            file.write_all(&chunk).await.map_err(|source| io(path, source))?;
        }
        file.sync_all().await.map_err(|source| io(path, source))?;
        Ok((arriving.bytes, hasher.finalize().to_hex().to_string()))
    }
}

/// Bytes of one upload on its way, counted against limit and quota; given back when it is over.
struct Arriving<'service> {
    inner: &'service Inner,
    tenant: TenantId,
    bytes: u64,
}

impl Arriving<'_> {
    async fn add(&mut self, more: u64) -> Result<(), CommandError> {
        let limit = self.inner.options.limit;
        if self.bytes + more > limit {
            return Err(CommandError::UploadTooLarge { limit });
        }
        let tenant = self.inner.commands.load::<Tenant>(self.tenant, self.tenant.0).await?.state;
        let mut arriving = self.inner.arriving.lock();
        let all = arriving.entry(self.tenant).or_default();
        let value = tenant.uploaded_bytes.saturating_add(*all).saturating_add(more);
        if value > tenant.upload_quota {
            return Err(DomainError::LimitExceeded {
                what: "bytes of all uploads",
                value,
                limit: tenant.upload_quota,
            }
            .into());
        }
        *all += more;
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        let mut arriving = self.inner.arriving.lock();
        if let Some(all) = arriving.get_mut(&self.tenant) {
            *all = all.saturating_sub(self.bytes);
            if *all == 0 {
                arriving.remove(&self.tenant);
            }
        }
    }
}

/// A half file; gone when dropped, unless it got its name.
struct Partial {
    path: PathBuf,
    renamed: bool,
}

impl Partial {
    const fn new(path: PathBuf) -> Self {
        Self { path, renamed: false }
    }

    async fn rename(&mut self, to: &Path) -> Result<(), CommandError> {
        tokio::fs::rename(&self.path, to).await.map_err(|source| io(to, source))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.renamed {
            // One unlink; what fails here is swept up at the next start.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn io(path: &Path, source: std::io::Error) -> CommandError {
    // The file's own name only: where the data folder lies is nobody's business outside.
    let path = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    CommandError::Io { path, source }
}

/// Whether a file was last written at least so long ago.
async fn is_older(path: &Path, age: Duration) -> bool {
    if age.is_zero() {
        return true;
    }
    let written = tokio::fs::metadata(path).await.and_then(|data| data.modified());
    // One that went away meanwhile is somebody's who is at work; so is one from the future.
    written.is_ok_and(|written| written.elapsed().is_ok_and(|passed| passed >= age))
}

async fn sync_folder(folder: &Path) -> Result<(), CommandError> {
    let opened = tokio::fs::File::open(folder).await.map_err(|source| io(folder, source))?;
    opened.sync_all().await.map_err(|source| io(folder, source))
}

async fn remove_file(path: &Path) -> Result<(), CommandError> {
    match tokio::fs::remove_file(path).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io(path, error)),
        _ => Ok(()),
    }
}

async fn entries(folder: &Path) -> Result<Vec<PathBuf>, CommandError> {
    let mut reader = match tokio::fs::read_dir(folder).await {
        Ok(reader) => reader,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(folder, error)),
    };
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry().await.map_err(|source| io(folder, source))? {
        found.push(entry.path());
    }
    Ok(found)
}
