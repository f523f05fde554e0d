//! Snapshots of tenants' views in an object store: who takes the views over fetches them and applies
//! the tail of the log alone. None is ever needed: one that does not verify is left where it is, and
//! the views are built from the log.

mod key;
mod manifest;
mod transfer;

pub(crate) use key::{Key, Subject};
pub(crate) use manifest::Manifest;
pub(crate) use transfer::Temporary;

use crate::error::ProjectionError;
use autonomos_domain::ids::{LogId, TenantId};
use futures::TryStreamExt;
use key::Home;
use object_store::{ObjectStore, ObjectStoreExt};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Where snapshots go, and when they are taken.
#[derive(Debug, Clone)]
pub struct SnapshotOptions {
    /// An upload to it is seen whole or not at all.
    pub store: Arc<dyn ObjectStore>,
    /// Commits of a tenant since its last snapshot after which the next is taken.
    pub commits: u64,
    /// How long a change may wait for a snapshot when fewer commits follow it.
    pub age: Duration,
    /// How long a stop may take for snapshots of what changed.
    pub stop_time: Duration,
}

impl SnapshotOptions {
    /// A snapshot copies and compresses a tenant's whole file: as rare as a takeover can bear.
    pub fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, commits: 2_000, age: Duration::from_mins(5), stop_time: Duration::from_secs(10) }
    }
}

/// Snapshots of one subject that are kept.
const KEPT: usize = 2;

/// The snapshots of one log, by one version of the projector.
pub(crate) struct Snapshots {
    options: SnapshotOptions,
    home: Home,
    /// Where files lie on their way.
    transfer: PathBuf,
    /// Uploads on their way, those included that nobody waits for any more.
    uploads: TaskTracker,
}

impl Snapshots {
    /// `transfer` is this process's alone, on the file system of the views: what is in it is removed.
    pub(crate) fn open(
        options: SnapshotOptions,
        log: LogId,
        version: u32,
        transfer: PathBuf,
    ) -> Result<Self, ProjectionError> {
        let made = match std::fs::remove_dir_all(&transfer) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => std::fs::create_dir_all(&transfer),
        };
        made.map_err(|error| failed(&transfer, &error))?;
        Ok(Self { options, home: Home { log, version }, transfer, uploads: TaskTracker::new() })
    }

    pub(crate) const fn options(&self) -> &SnapshotOptions {
        &self.options
    }

    /// A name for a file on its way; the file goes with it.
    pub(crate) fn temporary(&self) -> Temporary {
        Temporary::new(&self.transfer)
    }

    /// All snapshots of tenants, each tenant's newest first.
    pub(crate) async fn tenants(&self) -> Result<BTreeMap<TenantId, Vec<Key>>, ProjectionError> {
        let mut found: BTreeMap<TenantId, Vec<Key>> = BTreeMap::new();
        for key in self.list(&self.home.path()).await? {
            if let Subject::Tenant(tenant) = key.subject {
                found.entry(tenant).or_default().push(key);
            }
        }
        Ok(found)
    }

    /// The snapshots of one subject, newest first.
    pub(crate) async fn of(&self, subject: Subject) -> Result<Vec<Key>, ProjectionError> {
        self.list(&self.home.folder(subject)).await
    }

    async fn list(&self, folder: &object_store::path::Path) -> Result<Vec<Key>, ProjectionError> {
        let listed: Vec<_> = self.options.store.list(Some(folder)).try_collect().await?;
        let mut keys: Vec<Key> =
            listed.iter().filter_map(|object| self.home.parse(&object.location)).collect();
        keys.sort_unstable_by_key(|key| std::cmp::Reverse(key.sequence));
        Ok(keys)
    }

    /// Compresses a file and uploads it; older ones of its subject are removed.
    pub(crate) async fn put(
        &self,
        subject: Subject,
        sequence: u64,
        file: &Path,
    ) -> Result<Key, ProjectionError> {
        let compressed = self.temporary();
        let (from, to) = (file.to_owned(), compressed.path().to_owned());
        let hasher = self.home.hasher(subject, sequence);
        let hash =
            blocking(move || transfer::compress(&from, &to, hasher).map_err(|error| failed(&from, &error)))
                .await?;
        let key = Key { subject, sequence, hash };
        self.upload(&key, compressed).await?;
        self.prune(&key).await?;
        Ok(key)
    }

    /// An upload that nobody waits for any more tidies up behind itself: see [`Self::settle`].
    async fn upload(&self, key: &Key, file: Temporary) -> Result<(), ProjectionError> {
        let (store, object) = (Arc::clone(&self.options.store), self.home.object(key));
        let give_up = CancellationToken::new();
        let _dropped = give_up.clone().drop_guard();
        let sending = self
            .uploads
            .spawn(async move { transfer::upload(&*store, &object, file.path(), &give_up).await });
        sending.await.map_err(|error| ProjectionError::Snapshot(error.to_string()))?
    }

    /// Waits for the uploads that were given up.
    pub(crate) async fn settle(&self) {
        self.uploads.close();
        self.uploads.wait().await;
        self.uploads.reopen();
    }

    /// Removes all snapshots of this log and version: what they are of is replaced.
    pub(crate) async fn clear(&self) -> Result<(), ProjectionError> {
        for key in self.list(&self.home.path()).await? {
            self.remove(&key).await?;
        }
        Ok(())
    }

    /// Removes what a new snapshot replaces. Newer ones are another owner's: they stay.
    async fn prune(&self, newest: &Key) -> Result<(), ProjectionError> {
        let mut older = 0;
        for key in self.of(newest.subject).await? {
            if key == *newest || key.sequence > newest.sequence {
                continue;
            }
            older += usize::from(key.sequence < newest.sequence);
            if key.sequence == newest.sequence || older >= KEPT {
                self.remove(&key).await?;
            }
        }
        Ok(())
    }

    pub(crate) async fn remove(&self, key: &Key) -> Result<(), ProjectionError> {
        match self.options.store.delete(&self.home.object(key)).await {
            // Another owner was faster.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Downloads a snapshot and unpacks it, if it is what was put there: of this log, this version,
    /// this subject and this position, byte for byte.
    pub(crate) async fn fetch(&self, key: &Key) -> Result<Temporary, ProjectionError> {
        let (compressed, file) = (self.temporary(), self.temporary());
        let hasher = self.home.hasher(key.subject, key.sequence);
        let object = self.home.object(key);
        let hash = transfer::download(&*self.options.store, &object, compressed.path(), hasher).await?;
        if hash != key.hash {
            return Err(ProjectionError::Snapshot(format!("`{object}` is not what was put there")));
        }
        let (from, to) = (compressed.path().to_owned(), file.path().to_owned());
        blocking(move || transfer::expand(&from, &to).map_err(|error| failed(&from, &error))).await?;
        Ok(file)
    }
}

impl From<object_store::Error> for ProjectionError {
    fn from(error: object_store::Error) -> Self {
        Self::Snapshot(error.to_string())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> ProjectionError {
    ProjectionError::Snapshot(format!("`{}`: {error}", path.display()))
}

/// Runs what reads and writes whole files off the async threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ProjectionError> + Send + 'static,
) -> Result<T, ProjectionError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| ProjectionError::Snapshot(error.to_string()))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_objects::{Place, moto::Moto};
    use futures::StreamExt;
    use object_store::PutPayload;
    use uuid::Uuid;

    /// One more than a bucket lists at once.
    const MANY: u128 = 1_001;

    #[tokio::test]
    async fn snapshots_are_found_and_cleared_on_every_page_of_a_list() {
        let (moto, folder) = (Moto::shared(), tempfile::tempdir().unwrap());
        let place = Place::parse(&format!("s3://{}/below", moto.bucket()), &moto.settings()).unwrap();
        let options = SnapshotOptions::new(place.open().unwrap());
        let open = |version| {
            let log = LogId(Uuid::from_u128(1));
            Snapshots::open(options.clone(), log, version, folder.path().join("transfer")).unwrap()
        };
        let (snapshots, other) = (open(1), open(2));
        let put = async |snapshots: &Snapshots, tenant: u128| {
            let subject = Subject::Tenant(TenantId(Uuid::from_u128(tenant)));
            let object = snapshots.home.object(&Key { subject, sequence: 1, hash: [0; 32] });
            options.store.put(&object, PutPayload::from_static(b"x")).await.unwrap();
        };
        futures::stream::iter(0..MANY).for_each_concurrent(8, |tenant| put(&snapshots, tenant)).await;
        put(&other, 0).await;
        assert_eq!(snapshots.tenants().await.unwrap().len(), MANY as usize);
        snapshots.clear().await.unwrap();
        assert_eq!(snapshots.tenants().await.unwrap().len(), 0);
        assert_eq!(other.tenants().await.unwrap().len(), 1, "another version's stay");
    }
}
