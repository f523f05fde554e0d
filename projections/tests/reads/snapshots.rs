//! Snapshots of the unified views: the next node applies the tail alone and shows the same bytes; a
//! snapshot that is not what it should be is never used. Each test is run on a folder and on a bucket.

use crate::{
    runtime::LONG,
    views_from_log::{Source, check, everything, fill, wait},
    world::{TestRing, World, tenant},
};
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{
    control::ControlStore,
    port::EventLog,
    seal::{KeyRing, SealError},
    sqlite::{Options as LogOptions, SqliteLog},
};
use autonomos_objects::{Place, moto::Moto};
use autonomos_projections::{
    SnapshotOptions,
    runtime::{DCL, Handle, Options, Service, rebuild_offline},
};
use bytes::Bytes;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, path::Path as Name};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Runs a test once on each kind of store.
macro_rules! on_both_kinds {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread")]
            async fn in_a_folder() {
                super::$name(super::Kept::in_a_folder()).await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn in_a_bucket() {
                super::$name(super::Kept::in_a_bucket()).await;
            }
        }
    )+};
}

on_both_kinds!(
    the_next_node_applies_the_tail_alone_and_shows_the_same_bytes,
    a_node_that_comes_back_fetches_what_another_one_added,
    a_tenant_that_went_on_behind_its_snapshot_is_read_from_there,
    snapshots_are_taken_while_the_owner_runs_and_old_ones_go,
    a_snapshot_that_is_not_what_it_should_be_is_left_out,
    a_snapshot_ahead_of_a_log_that_was_rolled_back_is_not_used,
    an_upload_that_was_cut_off_is_not_seen,
    a_store_that_is_gone_holds_nobody_up,
    an_offline_rebuild_leaves_nothing_of_what_it_replaces,
);

/// Counts the batches that are opened: each that is applied is, and no other.
#[derive(Default)]
struct Counting(AtomicU64);

impl KeyRing for Counting {
    fn payload_key(&self, of: TenantId) -> Result<u64, SealError> {
        TestRing.payload_key(of)
    }

    fn batch_keys(&self, of: TenantId, count: usize) -> Result<Vec<u64>, SealError> {
        TestRing.batch_keys(of, count)
    }

    fn seal(&self, of: TenantId, key: u64, context: &[u8], clear: &[u8]) -> Result<Bytes, SealError> {
        TestRing.seal(of, key, context, clear)
    }

    fn open(&self, of: TenantId, key: u64, context: &[u8], sealed: &[u8]) -> Result<Bytes, SealError> {
        // Bodies have a key of their own.
        self.0.fetch_add(u64::from(key == 2), Ordering::SeqCst);
        TestRing.open(of, key, context, sealed)
    }

    fn destroy(&self, of: TenantId, key: Option<u64>) -> Result<(), SealError> {
        TestRing.destroy(of, key)
    }
}

/// A world with a store of its own for snapshots.
struct Kept {
    world: World,
    place: Place,
    /// The server and the bucket, where it is one.
    bucket: Option<(Arc<Moto>, String)>,
}

impl Kept {
    fn in_a_folder() -> Self {
        let world = World::new();
        let place = Place::Folder(world.folder.path().join("snapshots"));
        Self { world, place, bucket: None }
    }

    fn in_a_bucket() -> Self {
        Self::in_a_bucket_of(Moto::shared())
    }

    fn in_a_bucket_of(moto: Arc<Moto>) -> Self {
        let bucket = moto.bucket();
        let place = Place::parse(&format!("s3://{bucket}/a/prefix"), &moto.settings()).unwrap();
        Self { world: World::new(), place, bucket: Some((moto, bucket)) }
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        self.place.open().unwrap()
    }

    /// Names of all that is stored, sorted.
    async fn all(&self) -> Vec<Name> {
        let listed: Vec<_> = self.store().list(None).try_collect().await.unwrap();
        let mut names: Vec<Name> = listed.into_iter().map(|object| object.location).collect();
        names.sort_unstable();
        names
    }

    async fn of_tenants(&self) -> Vec<Name> {
        self.all().await.into_iter().filter(|name| name.as_ref().ends_with(".duckdb.zst")).collect()
    }

    async fn get(&self, name: &Name) -> Vec<u8> {
        self.store().get(name).await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn put(&self, name: &Name, bytes: &[u8]) {
        self.store().put(name, PutPayload::from(bytes.to_vec())).await.unwrap();
    }

    async fn remove(&self, name: &Name) {
        self.store().delete(name).await.unwrap();
    }

    async fn rename(&self, from: &Name, to: &Name) {
        let bytes = self.get(from).await;
        self.remove(from).await;
        self.put(to, &bytes).await;
    }

    /// Uploads of which there are parts and no object.
    fn unfinished(&self) -> usize {
        match (&self.bucket, &self.place) {
            (Some((moto, bucket)), _) => moto.unfinished(bucket),
            (None, Place::Folder(path)) => {
                files(path).iter().filter(|path| path.to_string_lossy().contains('#')).count()
            }
            (None, Place::S3(_)) => unreachable!("a bucket has its server"),
        }
    }

    /// The same world, whose store answers no more.
    fn gone(self) -> Self {
        let store = match &self.place {
            Place::Folder(path) => {
                fs::remove_dir_all(path).unwrap();
                fs::write(path, "no folder").unwrap();
                return self;
            }
            Place::S3(_) => Self::in_a_bucket_of(Moto::start()),
        };
        if let Some((moto, _)) = &store.bucket {
            moto.kill();
        }
        Self { world: self.world, ..store }
    }
}

/// A name with another last part.
fn beside(name: &Name, last: &str) -> Name {
    let folder = name.as_ref().rsplit_once('/').unwrap().0;
    Name::from(format!("{folder}/{last}"))
}

/// A node with a folder of its own, and how many batches it has applied.
struct Node {
    handle: Handle,
    ring: Arc<Counting>,
}

impl Node {
    async fn with(world: &World, name: &str, snapshots: Option<SnapshotOptions>) -> Self {
        let ring = Arc::<Counting>::default();
        let options = Options { data_dir: world.folder.path().join(name), snapshots, ..world.options() };
        let handle = Service::start(options, world.log(), ring.clone()).await.unwrap();
        Self { handle, ring }
    }

    /// One that takes snapshots when it stops, and takes over from those there are.
    async fn start(kept: &Kept, name: &str) -> Self {
        // As long as it takes on a machine that does much else.
        let options = SnapshotOptions { stop_time: LONG, ..SnapshotOptions::new(kept.store()) };
        Self::with(&kept.world, name, Some(options)).await
    }

    fn applied(&self) -> u64 {
        self.ring.0.load(Ordering::SeqCst)
    }

    async fn stop(self) {
        self.handle.shutdown().await;
    }
}

/// What the views are by the log alone.
async fn by_the_log(world: &World, positions: &[Position]) -> Vec<Vec<u8>> {
    let node = Node::with(world, "by-the-log", None).await;
    let all = everything(&node.handle, positions).await;
    node.stop().await;
    fs::remove_dir_all(world.folder.path().join("by-the-log")).unwrap();
    all
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

async fn more(world: &World, of: u128, name: &str) -> Position {
    let mut source = Source::new(world, of, of * 10 + 3, "more").await;
    source.ingest(world, &[["m1", name, "more.dev", "3"]]).await
}

/// Takes none when it stops.
fn no_time(kept: &Kept) -> SnapshotOptions {
    SnapshotOptions { stop_time: Duration::ZERO, ..SnapshotOptions::new(kept.store()) }
}

/// Six batches, whose first node took snapshots when it stopped.
async fn filled(kept: &Kept) -> Vec<Position> {
    let world = &kept.world;
    // What a backup of the log would be that was made now.
    let past = world.folder.path().join("log-at-its-start");
    fs::create_dir_all(&past).unwrap();
    for file in files(&world.folder.path().join("log")) {
        fs::copy(&file, past.join(file.file_name().unwrap())).unwrap();
    }
    let first = Node::start(kept, "first").await;
    let positions = fill(world).await;
    wait(&first.handle, *positions.last().unwrap()).await;
    assert_eq!(first.applied(), 6);
    first.stop().await;
    assert_eq!(kept.of_tenants().await.len(), 2, "each tenant has its snapshot");
    positions
}

/// A node with nothing of its own starts: so many batches are applied, and the views are as they were.
async fn takes_over(kept: &Kept, positions: &[Position], applied: u64, what: &str) {
    let world = &kept.world;
    let node = Node::start(kept, "next").await;
    wait(&node.handle, *positions.last().unwrap()).await;
    assert_eq!(node.applied(), applied, "{what}");
    check(&by_the_log(world, positions).await, &everything(&node.handle, positions).await, what);
    node.stop().await;
    fs::remove_dir_all(world.folder.path().join("next")).unwrap();
}

async fn the_next_node_applies_the_tail_alone_and_shows_the_same_bytes(kept: Kept) {
    let mut positions = filled(&kept).await;
    takes_over(&kept, &positions, 0, "all of it is in snapshots").await;
    positions.push(more(&kept.world, 2, "Elm").await);
    positions.push(more(&kept.world, 3, "not in any snapshot").await);
    takes_over(&kept, &positions, 2, "a tail of two batches").await;
    // Without the manifest the log is read from its start, and as little of it is applied.
    for name in kept.all().await.iter().filter(|name| name.as_ref().ends_with(".json.zst")) {
        kept.remove(name).await;
    }
    takes_over(&kept, &positions, 0, "the last node's snapshots, without a manifest").await;
    assert_eq!(kept.of_tenants().await.len(), 4, "of the second tenant two are kept");
    assert_eq!(kept.unfinished(), 0);
}

async fn a_node_that_comes_back_fetches_what_another_one_added(kept: Kept) {
    let mut positions = filled(&kept).await;
    let world = &kept.world;
    positions.push(more(world, 1, "Elm").await);
    let second = Node::start(&kept, "second").await;
    wait(&second.handle, *positions.last().unwrap()).await;
    second.stop().await;
    positions.push(more(world, 2, "Fir").await);
    let first = Node::start(&kept, "first").await;
    wait(&first.handle, *positions.last().unwrap()).await;
    assert_eq!(first.applied(), 1, "what the second node added came with its snapshot");
    check(&by_the_log(world, &positions).await, &everything(&first.handle, &positions).await, "came back");
    // A rebuild is from the log, whatever snapshots there are.
    first.handle.rebuild_and_wait(DCL).await.unwrap();
    assert_eq!(first.applied(), 1 + 8);
    first.stop().await;
    // One that needs none keeps its own.
    let first = Node::start(&kept, "first").await;
    wait(&first.handle, *positions.last().unwrap()).await;
    assert_eq!(first.applied(), 0);
    first.stop().await;
}

/// Waits for what is stored of that position.
async fn taken(kept: &Kept, at: Position, suffix: &str) {
    let position = format!("/{:020}-", at.sequence);
    let is_it = |name: &Name| name.as_ref().contains(&position) && name.as_ref().ends_with(suffix);
    let there = async {
        while !kept.all().await.iter().any(is_it) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, there).await.expect("it is taken");
}

async fn a_tenant_that_went_on_behind_its_snapshot_is_read_from_there(kept: Kept) {
    let world = &kept.world;
    let owner = Node::with(world, "owner", Some(SnapshotOptions { commits: 3, ..no_time(&kept) })).await;
    let mut one = Source::new(world, 1, 11, "accounts").await;
    one.ingest(world, &[["1", "Acme", "acme.com", "1"]]).await;
    let first = one.ingest(world, &[["2", "Birch", "birch.io", "2"]]).await;
    taken(&kept, first, ".duckdb.zst").await;
    let went_on = one.ingest(world, &[["3", "Cedar", "cedar.net", "3"]]).await;
    owner.handle.wait_for(tenant(1), went_on, &[DCL], LONG).await.unwrap();
    let mut two = Source::new(world, 2, 21, "accounts").await;
    two.ingest(world, &[["1", "Dune", "dune.org", "4"]]).await;
    let last = two.ingest(world, &[["2", "Elm", "elm.dev", "5"]]).await;
    taken(&kept, last, ".duckdb.zst").await;
    taken(&kept, last, ".json.zst").await;
    owner.stop().await;
    assert_eq!(kept.of_tenants().await.len(), 2);
    takes_over(&kept, &[first, went_on, last], 1, "the manifest is ahead of one of its tenants").await;
}

async fn snapshots_are_taken_while_the_owner_runs_and_old_ones_go(kept: Kept) {
    let world = &kept.world;
    let options = SnapshotOptions { commits: 1, ..SnapshotOptions::new(kept.store()) };
    let owner = Node::with(world, "owner", Some(options)).await;
    let mut source = Source::new(world, 1, 11, "accounts").await;
    let mut last = Position { cell: 0, sequence: 0 };
    for number in 0..5 {
        last = source.ingest(world, &[[&number.to_string(), "Acme", "acme.com", "1"]]).await;
        taken(&kept, last, ".duckdb.zst").await;
    }
    owner.stop().await;
    assert_eq!(kept.of_tenants().await.len(), 2);
    // No time at all is left at a stop: what was taken before is enough to begin with.
    let next = Node::with(world, "next", Some(no_time(&kept))).await;
    let after = source.ingest(world, &[["9", "Birch", "birch.io", "2"]]).await;
    next.handle.wait_for(tenant(1), after, &[DCL], LONG).await.unwrap();
    assert_eq!(next.applied(), 1);
    next.stop().await;
    taken(&kept, last, ".duckdb.zst").await;
}

async fn a_snapshot_that_is_not_what_it_should_be_is_left_out(kept: Kept) {
    let positions = filled(&kept).await;
    let snapshots = kept.of_tenants().await;
    let good = [kept.get(&snapshots[0]).await, kept.get(&snapshots[1]).await];
    let restore = async || {
        for name in kept.all().await {
            kept.remove(&name).await;
        }
        for (name, bytes) in snapshots.iter().zip(&good) {
            kept.put(name, bytes).await;
        }
    };

    restore().await;
    let mut damaged = good[0].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    kept.put(&snapshots[0], &damaged).await;
    takes_over(&kept, &positions, 3, "a flipped bit").await;

    restore().await;
    kept.put(&snapshots[0], &good[0][..middle]).await;
    takes_over(&kept, &positions, 3, "a cut file").await;

    restore().await;
    kept.put(&snapshots[0], &good[1]).await;
    takes_over(&kept, &positions, 3, "another tenant's bytes under this tenant's name").await;

    restore().await;
    let moved = beside(&snapshots[0], snapshots[1].filename().unwrap());
    kept.rename(&snapshots[1], &moved).await;
    kept.remove(&snapshots[0]).await;
    takes_over(&kept, &positions, 6, "another tenant's snapshot").await;

    restore().await;
    let name = snapshots[0].filename().unwrap();
    let ahead = format!("{:020}{}", positions.last().unwrap().sequence + 1, &name[20..]);
    kept.rename(&snapshots[0], &beside(&snapshots[0], &ahead)).await;
    takes_over(&kept, &positions, 3, "a snapshot ahead of the log").await;

    restore().await;
    for name in &snapshots {
        let mut parts: Vec<_> = name.parts().collect();
        parts[2] = "v0".into();
        kept.rename(name, &parts.into_iter().collect()).await;
    }
    takes_over(&kept, &positions, 6, "snapshots of another version").await;

    restore().await;
    takes_over(&kept, &positions, 0, "the snapshots as they were").await;

    // With the manifest that the last node wrote: the tenant is read from its start all the same.
    kept.put(&kept.of_tenants().await[0], &damaged).await;
    takes_over(&kept, &positions, 3, "a damaged one that a manifest names").await;
    takes_over(&kept, &positions, 0, "it was replaced").await;
}

async fn a_snapshot_ahead_of_a_log_that_was_rolled_back_is_not_used(kept: Kept) {
    filled(&kept).await;
    let past = kept.world.folder.path().join("log-at-its-start");
    let control = Arc::new(ControlStore::open(&past.join("control.sqlite")).unwrap());
    let log = SqliteLog::open(LogOptions::new(past), control).unwrap();
    assert_eq!(log.log_id(), kept.world.log.log_id());
    let world = World { versions: parking_lot::Mutex::default(), ..kept.world.with_log(log) };
    let kept = Kept { world, ..kept };
    let world = &kept.world;
    let first = more(world, 1, "Elm").await;
    let before = kept.of_tenants().await;
    let node = Node::with(world, "shorter", Some(no_time(&kept))).await;
    wait(&node.handle, first).await;
    assert_eq!(node.applied(), 1, "the log is shorter");
    node.stop().await;
    assert_eq!(kept.of_tenants().await, before, "they are left where they are");
    let mut last = first;
    for number in 0..8 {
        let mut source = Source::new(world, 1, 100 + number, "others").await;
        last = source.ingest(world, &[["o1", "Oak", "oak.dev", "3"]]).await;
    }
    takes_over(&kept, &[first, last], 9, "the log went on with other commits").await;
}

async fn an_upload_that_was_cut_off_is_not_seen(kept: Kept) {
    let positions = filled(&kept).await;
    let snapshot = kept.of_tenants().await.remove(0);
    let whole = kept.get(&snapshot).await;
    kept.remove(&snapshot).await;
    let mut upload = kept.store().put_multipart(&snapshot).await.unwrap();
    upload.put_part(PutPayload::from(whole[..whole.len() / 2].to_vec())).await.unwrap();
    // Nothing of a process that was killed tidies up.
    std::mem::forget(upload);
    assert_eq!(kept.unfinished(), 1, "the half is there");
    assert!(!kept.all().await.contains(&snapshot));
    takes_over(&kept, &positions, 3, "half a snapshot").await;
    assert!(kept.of_tenants().await.len() == 2, "the next node took its own");
    takes_over(&kept, &positions, 0, "the next node's snapshots").await;
}

async fn a_store_that_is_gone_holds_nobody_up(kept: Kept) {
    let positions = filled(&kept).await;
    let store = kept.store();
    let gone = kept.gone();
    let store = if gone.bucket.is_some() { gone.store() } else { store };
    let node = Node::with(&gone.world, "next", Some(SnapshotOptions::new(store))).await;
    wait(&node.handle, *positions.last().unwrap()).await;
    assert_eq!(node.applied(), 6);
    let by_the_log = by_the_log(&gone.world, &positions).await;
    check(&by_the_log, &everything(&node.handle, &positions).await, "no store");
    node.stop().await;
}

async fn an_offline_rebuild_leaves_nothing_of_what_it_replaces(kept: Kept) {
    let positions = filled(&kept).await;
    let world = &kept.world;
    // Older than what a rebuild takes: it would be kept as the one before.
    let before = kept.all().await;
    let one = before.iter().find(|name| name.as_ref().ends_with(".duckdb.zst")).unwrap();
    let hash = &one.filename().unwrap()[20..];
    kept.put(&beside(one, &format!("{:020}{hash}", 1)), b"of views that were wrong").await;
    let snapshots = SnapshotOptions { stop_time: LONG, ..SnapshotOptions::new(kept.store()) };
    let data_dir = world.folder.path().join("first");
    let options = Options { data_dir, snapshots: Some(snapshots), ..world.options() };
    rebuild_offline(options, world.log(), Arc::<Counting>::default(), DCL, &|_, _| {}).await.unwrap();
    let after = kept.of_tenants().await;
    assert_eq!(after.len(), 2, "each tenant has one, of the rebuilt views");
    takes_over(&kept, &positions, 0, "the snapshots of the rebuilt views").await;
}
