//! Snapshots of the unified views: the next node applies the tail alone and shows the same bytes; a
//! snapshot that is not what it should be is never used.

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
use autonomos_projections::{
    SnapshotOptions,
    runtime::{DCL, Handle, Options, Service},
};
use bytes::Bytes;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload, local::LocalFileSystem, path::Path as Name};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

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

fn folder(world: &World) -> PathBuf {
    let folder = world.folder.path().join("snapshots");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn local(world: &World) -> Arc<dyn ObjectStore> {
    Arc::new(LocalFileSystem::new_with_prefix(folder(world)).unwrap())
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
    async fn start(world: &World, name: &str) -> Self {
        // As long as it takes on a machine that does much else.
        let options = SnapshotOptions { stop_time: LONG, ..SnapshotOptions::new(local(world)) };
        Self::with(world, name, Some(options)).await
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

fn of_tenants(world: &World) -> Vec<PathBuf> {
    let is_views = |path: &PathBuf| path.to_string_lossy().ends_with(".duckdb.zst");
    files(&folder(world)).into_iter().filter(is_views).collect()
}

async fn more(world: &World, of: u128, name: &str) -> Position {
    let mut source = Source::new(world, of, of * 10 + 3, "more").await;
    source.ingest(world, &[["m1", name, "more.dev", "3"]]).await
}

/// Takes none when it stops.
fn no_time(world: &World) -> SnapshotOptions {
    SnapshotOptions { stop_time: Duration::ZERO, ..SnapshotOptions::new(local(world)) }
}

/// A world of six batches, whose first node took snapshots when it stopped.
async fn kept() -> (World, Vec<Position>) {
    let world = World::new();
    // What a backup of the log would be that was made now.
    let past = world.folder.path().join("log-at-its-start");
    fs::create_dir_all(&past).unwrap();
    for file in files(&world.folder.path().join("log")) {
        fs::copy(&file, past.join(file.file_name().unwrap())).unwrap();
    }
    let first = Node::start(&world, "first").await;
    let positions = fill(&world).await;
    wait(&first.handle, *positions.last().unwrap()).await;
    assert_eq!(first.applied(), 6);
    first.stop().await;
    assert_eq!(of_tenants(&world).len(), 2, "each tenant has its snapshot");
    (world, positions)
}

/// A node with nothing of its own starts: so many batches are applied, and the views are as they were.
async fn takes_over(world: &World, positions: &[Position], applied: u64, what: &str) {
    let node = Node::start(world, "next").await;
    wait(&node.handle, *positions.last().unwrap()).await;
    assert_eq!(node.applied(), applied, "{what}");
    check(&by_the_log(world, positions).await, &everything(&node.handle, positions).await, what);
    node.stop().await;
    fs::remove_dir_all(world.folder.path().join("next")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_node_applies_the_tail_alone_and_shows_the_same_bytes() {
    let (world, mut positions) = kept().await;
    takes_over(&world, &positions, 0, "all of it is in snapshots").await;
    positions.push(more(&world, 2, "Elm").await);
    positions.push(more(&world, 3, "not in any snapshot").await);
    takes_over(&world, &positions, 2, "a tail of two batches").await;
    // Without the manifest the log is read from its start, and as little of it is applied.
    for file in files(&folder(&world)).iter().filter(|file| file.to_string_lossy().ends_with(".json.zst")) {
        fs::remove_file(file).unwrap();
    }
    takes_over(&world, &positions, 0, "the last node's snapshots, without a manifest").await;
    assert_eq!(of_tenants(&world).len(), 4, "of the second tenant two are kept");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_fetches_what_another_one_added() {
    let (world, mut positions) = kept().await;
    positions.push(more(&world, 1, "Elm").await);
    let second = Node::start(&world, "second").await;
    wait(&second.handle, *positions.last().unwrap()).await;
    second.stop().await;
    positions.push(more(&world, 2, "Fir").await);
    let first = Node::start(&world, "first").await;
    wait(&first.handle, *positions.last().unwrap()).await;
    assert_eq!(first.applied(), 1, "what the second node added came with its snapshot");
    check(&by_the_log(&world, &positions).await, &everything(&first.handle, &positions).await, "came back");
    // A rebuild is from the log, whatever snapshots there are.
    first.handle.rebuild_and_wait(DCL).await.unwrap();
    assert_eq!(first.applied(), 1 + 8);
    first.stop().await;
    // One that needs none keeps its own.
    let first = Node::start(&world, "first").await;
    wait(&first.handle, *positions.last().unwrap()).await;
    assert_eq!(first.applied(), 0);
    first.stop().await;
}

/// Waits for what is stored of that position.
async fn taken(world: &World, at: Position, suffix: &str) {
    let position = format!("{:020}-", at.sequence);
    let is_it = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(&position) && name.ends_with(suffix)
    };
    let there = async {
        while !files(&folder(world)).iter().any(is_it) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, there).await.expect("it is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_that_went_on_behind_its_snapshot_is_read_from_there() {
    let world = World::new();
    let owner = Node::with(&world, "owner", Some(SnapshotOptions { commits: 3, ..no_time(&world) })).await;
    let mut one = Source::new(&world, 1, 11, "accounts").await;
    one.ingest(&world, &[["1", "Acme", "acme.com", "1"]]).await;
    let first = one.ingest(&world, &[["2", "Birch", "birch.io", "2"]]).await;
    taken(&world, first, ".duckdb.zst").await;
    let went_on = one.ingest(&world, &[["3", "Cedar", "cedar.net", "3"]]).await;
    owner.handle.wait_for(tenant(1), went_on, &[DCL], LONG).await.unwrap();
    let mut two = Source::new(&world, 2, 21, "accounts").await;
    two.ingest(&world, &[["1", "Dune", "dune.org", "4"]]).await;
    let last = two.ingest(&world, &[["2", "Elm", "elm.dev", "5"]]).await;
    taken(&world, last, ".duckdb.zst").await;
    taken(&world, last, ".json.zst").await;
    owner.stop().await;
    assert_eq!(of_tenants(&world).len(), 2);
    takes_over(&world, &[first, went_on, last], 1, "the manifest is ahead of one of its tenants").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_are_taken_while_the_owner_runs_and_old_ones_go() {
    let world = World::new();
    let options = SnapshotOptions { commits: 1, ..SnapshotOptions::new(local(&world)) };
    let owner = Node::with(&world, "owner", Some(options)).await;
    let mut source = Source::new(&world, 1, 11, "accounts").await;
    let mut last = Position { cell: 0, sequence: 0 };
    for number in 0..5 {
        last = source.ingest(&world, &[[&number.to_string(), "Acme", "acme.com", "1"]]).await;
        taken(&world, last, ".duckdb.zst").await;
    }
    owner.stop().await;
    assert_eq!(of_tenants(&world).len(), 2);
    // No time at all is left at a stop: what was taken before is enough to begin with.
    let next = Node::with(&world, "next", Some(no_time(&world))).await;
    let after = source.ingest(&world, &[["9", "Birch", "birch.io", "2"]]).await;
    next.handle.wait_for(tenant(1), after, &[DCL], LONG).await.unwrap();
    assert_eq!(next.applied(), 1);
    next.stop().await;
    taken(&world, last, ".duckdb.zst").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_not_what_it_should_be_is_left_out() {
    let (world, positions) = kept().await;
    let snapshots = of_tenants(&world);
    let good: Vec<Vec<u8>> = snapshots.iter().map(|path| fs::read(path).unwrap()).collect();
    let restore = || {
        let _ = fs::remove_dir_all(folder(&world).join("views"));
        for (path, bytes) in snapshots.iter().zip(&good) {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    };

    restore();
    let mut damaged = good[0].clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&snapshots[0], &damaged).unwrap();
    takes_over(&world, &positions, 3, "a flipped bit").await;

    restore();
    fs::write(&snapshots[0], &good[0][..middle]).unwrap();
    takes_over(&world, &positions, 3, "a cut file").await;

    restore();
    fs::write(&snapshots[0], &good[1]).unwrap();
    takes_over(&world, &positions, 3, "another tenant's bytes under this tenant's name").await;

    restore();
    let moved = snapshots[0].with_file_name(snapshots[1].file_name().unwrap());
    fs::rename(&snapshots[1], moved).unwrap();
    fs::remove_file(&snapshots[0]).unwrap();
    takes_over(&world, &positions, 6, "another tenant's snapshot").await;

    restore();
    let name = snapshots[0].file_name().unwrap().to_str().unwrap();
    let ahead = format!("{:020}{}", positions.last().unwrap().sequence + 1, &name[20..]);
    fs::rename(&snapshots[0], snapshots[0].with_file_name(ahead)).unwrap();
    takes_over(&world, &positions, 3, "a snapshot ahead of the log").await;

    restore();
    let version = snapshots[0].parent().unwrap().parent().unwrap();
    fs::rename(version, version.with_file_name("v0")).unwrap();
    takes_over(&world, &positions, 6, "snapshots of another version").await;

    restore();
    takes_over(&world, &positions, 0, "the snapshots as they were").await;

    // With the manifest that the last node wrote: the tenant is read from its start all the same.
    fs::write(&of_tenants(&world)[0], &damaged).unwrap();
    takes_over(&world, &positions, 3, "a damaged one that a manifest names").await;
    takes_over(&world, &positions, 0, "it was replaced").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_ahead_of_a_log_that_was_rolled_back_is_not_used() {
    let (world, _) = kept().await;
    let past = world.folder.path().join("log-at-its-start");
    let control = Arc::new(ControlStore::open(&past.join("control.sqlite")).unwrap());
    let log = SqliteLog::open(LogOptions::new(past), control).unwrap();
    assert_eq!(log.log_id(), world.log.log_id());
    let world = World { versions: parking_lot::Mutex::default(), ..world.with_log(log) };
    let first = more(&world, 1, "Elm").await;
    let before = of_tenants(&world);
    let node = Node::with(&world, "shorter", Some(no_time(&world))).await;
    wait(&node.handle, first).await;
    assert_eq!(node.applied(), 1, "the log is shorter");
    node.stop().await;
    assert_eq!(of_tenants(&world), before, "they are left where they are");
    let mut last = first;
    for number in 0..8 {
        let mut source = Source::new(&world, 1, 100 + number, "others").await;
        last = source.ingest(&world, &[["o1", "Oak", "oak.dev", "3"]]).await;
    }
    takes_over(&world, &[first, last], 9, "the log went on with other commits").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_was_cut_off_is_not_seen() {
    let (world, positions) = kept().await;
    let snapshot = of_tenants(&world).remove(0);
    let whole = fs::read(&snapshot).unwrap();
    fs::remove_file(&snapshot).unwrap();
    let name = snapshot.strip_prefix(folder(&world)).unwrap().to_str().unwrap();
    let mut upload = local(&world).put_multipart(&Name::from(name)).await.unwrap();
    upload.put_part(PutPayload::from(whole[..whole.len() / 2].to_vec())).await.unwrap();
    // Nothing of a process that was killed tidies up.
    std::mem::forget(upload);
    let left = files(snapshot.parent().unwrap());
    assert_eq!(left.len(), 1, "the half is there");
    assert!(!snapshot.exists());
    takes_over(&world, &positions, 3, "half a snapshot").await;
    assert!(of_tenants(&world).len() == 2, "the next node took its own");
    takes_over(&world, &positions, 0, "the next node's snapshots").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_gone_holds_nobody_up() {
    let (world, positions) = kept().await;
    let store = local(&world);
    fs::remove_dir_all(folder(&world)).unwrap();
    fs::write(world.folder.path().join("snapshots"), "no folder").unwrap();
    let node = Node::with(&world, "next", Some(SnapshotOptions::new(store))).await;
    wait(&node.handle, *positions.last().unwrap()).await;
    assert_eq!(node.applied(), 6);
    check(&by_the_log(&world, &positions).await, &everything(&node.handle, &positions).await, "no store");
    node.stop().await;
}
