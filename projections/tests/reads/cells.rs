//! Several nodes on a log of several cells: each keeps some, all answer for all, and what one leaves
//! the others take.

use crate::{
    nodes::renamed,
    runtime::{LONG, NAMES, Names, names_shown},
    views_from_log::{Source, export},
    world::World,
};
use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::{database::Database, lease::Leases};
use autonomos_objects::Place;
use autonomos_projections::{
    ProjectionError, SnapshotOptions,
    dcl::{
        Dcl, DclOptions,
        read::{DclReads, ExportFormat},
    },
    read_models::query::ReadModels,
    runtime::{
        ApplyError, CellCheckpoint, DCL, Handle, Live, Options, Part, PostgresProjector, Projector,
        READ_MODELS, Service, Tables,
    },
};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::watch;

const CELLS: u16 = 4;

struct Node {
    handle: Handle,
    /// False: it can't do what leases are for, and renews none.
    able: Arc<AtomicBool>,
}

async fn part(world: &World, name: &str, able: &Arc<AtomicBool>) -> Part {
    let url = &world.database.as_ref().unwrap().url;
    let database = Database::connect(url, Duration::from_secs(10)).await.unwrap();
    let leases = Leases::open(&database, name, "").await.unwrap();
    let leases = leases.with_times(Duration::from_secs(1), Duration::from_millis(50));
    let able = Arc::clone(able);
    Part::Shared { leases: leases.while_able(move || able.load(Ordering::Acquire)), keeps: true }
}

async fn options(world: &World, name: &str, able: &Arc<AtomicBool>) -> Options {
    let store = Place::Folder(world.folder.path().join("snapshots")).open().unwrap();
    let snapshots = Some(SnapshotOptions::new(store));
    let data_dir = world.folder.path().join(name);
    Options { part: part(world, name, able).await, data_dir, snapshots, ..world.options() }
}

impl Node {
    async fn start(world: &World, name: &str) -> Self {
        let able = Arc::new(AtomicBool::new(true));
        let options = options(world, name, &able).await;
        let handle = Service::start(options, world.log(), Arc::clone(&world.ring)).await.unwrap();
        Self { handle, able }
    }

    fn kept(&self, projection: &str) -> BTreeSet<u16> {
        (0..CELLS).filter(|cell| !self.handle.is_elsewhere(projection, *cell)).collect()
    }
}

/// Waits until the nodes keep so many cells of each projection, no cell twice.
async fn spread(nodes: &[(&Node, usize)]) {
    let is_spread = |projection: &str| {
        let kept: Vec<BTreeSet<u16>> = nodes.iter().map(|(node, _)| node.kept(projection)).collect();
        let all: BTreeSet<u16> = kept.iter().flatten().copied().collect();
        all.len() == usize::from(CELLS)
            && kept.iter().zip(nodes).all(|(kept, (_, count))| kept.len() == *count)
    };
    let spread = async {
        while !(is_spread(READ_MODELS) && is_spread(DCL)) {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(LONG, spread).await.is_err() {
        let kept: Vec<_> = nodes.iter().map(|(node, _)| (node.kept(READ_MODELS), node.kept(DCL))).collect();
        panic!("the cells do not spread: {kept:?}");
    }
}

/// Waits until the read models of every node, and the views where they are kept, show a position.
async fn shown(nodes: &[&Node], of: TenantId, position: Position) {
    for node in nodes {
        node.handle.wait_for(of, position, &[READ_MODELS], LONG).await.unwrap();
    }
    let in_views = async {
        loop {
            for node in nodes {
                match node.handle.wait_for(of, position, &[DCL], LONG).await {
                    Ok(()) => return,
                    // It moves while it is asked for.
                    Err(ProjectionError::Elsewhere { .. } | ProjectionError::Stopped) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, in_views).await.expect("a node keeps the views");
}

/// The views of a tenant, from the node that keeps them.
async fn views(nodes: &[&Node], world: &World, of: TenantId, at: Option<Position>) -> String {
    let cell = world.log.cell_of(of);
    let owner = nodes.iter().find(|node| !node.handle.is_elsewhere(DCL, cell)).expect("a node keeps them");
    let exported = export(&owner.handle, of, ExportFormat::Csv, at).await;
    String::from_utf8(exported).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn cells_spread_over_nodes_which_take_over_what_another_leaves() {
    let world = World::of_cells(CELLS).await;
    let tenants = world.tenants();
    let mut sources = Vec::new();
    for (number, of) in (10..).zip(&tenants) {
        sources.push(Source::of(&world, *of, number, "accounts").await);
    }
    let mut deliver = async |name: &str| {
        let mut positions = Vec::new();
        for source in &mut sources {
            renamed(&world, source.of, name).await;
            positions.push(
                source
                    .ingest(&world, &[["1", name, "acme.com", "10"], [name, "Dune", "dune.org", "7"]])
                    .await,
            );
        }
        positions
    };
    let first = deliver("first").await;
    let one = Node::start(&world, "one").await;
    spread(&[(&one, 4)]).await;
    for (of, position) in tenants.iter().zip(&first) {
        shown(&[&one], *of, *position).await;
    }
    let before: Vec<String> = {
        let mut all = Vec::new();
        for (of, position) in tenants.iter().zip(&first) {
            all.push(views(&[&one], &world, *of, Some(*position)).await);
        }
        all
    };

    // Who comes later gets its share.
    let two = Node::start(&world, "two").await;
    spread(&[(&one, 2), (&two, 2)]).await;
    let second = deliver("second").await;
    let check = async |nodes: &[&Node], positions: &[Position], name: &str| {
        for ((of, position), (then, before)) in tenants.iter().zip(positions).zip(first.iter().zip(&before)) {
            shown(nodes, *of, *position).await;
            assert!(views(nodes, &world, *of, None).await.contains(name), "`{name}` is shown");
            assert_eq!(&views(nodes, &world, *of, Some(*then)).await, before, "the past is what it was");
        }
    };
    check(&[&one, &two], &second, "second").await;
    let states = one.handle.status().await.unwrap();
    assert_eq!(states.len(), 2 * usize::from(CELLS));
    for (of, position) in tenants.iter().zip(&second) {
        let state =
            states.iter().find(|state| state.name == READ_MODELS && state.cell == position.cell).unwrap();
        assert!(state.position.sequence >= position.sequence, "{of}: known on a node that does not keep it");
    }
    // Orders are carried out in the cells that are kept here.
    two.handle.pause(DCL).await.unwrap();
    two.handle.resume(DCL).await.unwrap();
    for node in [&one, &two] {
        node.handle.rebuild_and_wait(READ_MODELS).await.unwrap();
        node.handle.rebuild_and_wait(DCL).await.unwrap();
    }
    check(&[&one, &two], &second, "second").await;

    // One is cut off: the other takes all, more than its share; and it comes back.
    one.able.store(false, Ordering::Release);
    spread(&[(&one, 0), (&two, 4)]).await;
    let third = deliver("third").await;
    check(&[&two], &third, "third").await;
    one.able.store(true, Ordering::Release);
    spread(&[(&one, 2), (&two, 2)]).await;
    let fourth = deliver("fourth").await;
    check(&[&one, &two], &fourth, "fourth").await;

    // One ends as it should.
    two.handle.shutdown().await;
    spread(&[(&one, 4)]).await;
    let fifth = deliver("fifth").await;
    check(&[&one], &fifth, "fifth").await;
    one.handle.shutdown().await;
}

async fn names_cells(world: &World) -> (Vec<Arc<dyn Projector>>, Live) {
    let options = world.database.as_ref().unwrap().options();
    let tables: Arc<dyn Tables> = Arc::<Names>::default();
    let cells =
        PostgresProjector::connect_cells(&options, "names", &tables, &world.ring, CELLS).await.unwrap();
    let reads: Vec<Live> = cells.iter().map(PostgresProjector::reads).collect();
    (cells.into_iter().map(|cell| Arc::new(cell) as Arc<dyn Projector>).collect(), Live::Cells(reads.into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_is_fenced_in_the_cell_it_lost_and_in_no_other() {
    let world = World::of_cells(CELLS).await;
    let (old, _) = names_cells(&world).await;
    let (new, reads) = names_cells(&world).await;
    let mut stores = Vec::new();
    for (old, new) in old.iter().zip(&new) {
        let generation = old.next_generation().await.unwrap();
        old.open(generation).await.unwrap();
        old.activate(generation).await.unwrap();
        stores.push((generation, old.open(generation).await.unwrap(), new.open(generation).await.unwrap()));
    }
    let start = CellCheckpoint::default();
    let to = |revision| CellCheckpoint { revision, sequence: revision, ..CellCheckpoint::default() };
    for (cell, (_, old, _)) in (0..).zip(&stores) {
        old.apply(cell, &[], &start, &to(1)).await.unwrap();
    }
    let is_fenced = |result: &Result<(), ApplyError>| {
        matches!(result, Err(ApplyError::Store(ProjectionError::Fenced { .. })))
    };
    // Another takes the second cell over, and builds the third anew.
    stores[1].2.apply(1, &[], &to(1), &to(2)).await.unwrap();
    let next = new[2].next_generation().await.unwrap();
    new[2].open(next).await.unwrap();
    new[2].activate(next).await.unwrap();
    for (cell, (generation, old, _)) in (0..).zip(&stores) {
        let result = old.apply(cell, &[], &to(1), &to(2)).await;
        assert_eq!(is_fenced(&result), [1, 2].contains(&cell), "cell {cell}: {result:?}");
        let live = new[usize::from(cell)].live().await.unwrap();
        assert_eq!(live == Some(*generation), cell != 2, "cell {cell}");
    }
    for of in world.tenants() {
        assert_eq!(names_shown(&reads, of).await.unwrap(), Vec::<String>::new());
    }
}

/// The names, on a node.
async fn names_node(world: &World, name: &str) -> (Handle, Live) {
    let (projectors, reads) = names_cells(world).await;
    let able = Arc::new(AtomicBool::new(true));
    let options = options(world, name, &able).await;
    let dcl = Arc::new(Dcl::open(options.data_dir.join("none"), DclOptions::default()).unwrap());
    let models = ReadModels::new(reads.clone());
    let started = Service::start_with(options, world.log(), vec![projectors], models, DclReads::new(dcl));
    (started.await.unwrap(), reads)
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_rebuild_their_cells_under_load_and_no_reader_sees_less_than_before() {
    let world = Arc::new(World::of_cells(CELLS).await);
    let tenants = world.tenants();
    let (one, reads_one) = names_node(&world, "one").await;
    let (two, reads_two) = names_node(&world, "two").await;
    let kept = |node: &Handle| usize::from(CELLS) - node.elsewhere(NAMES).len();
    let spread = async {
        while (kept(&one), kept(&two)) != (2, 2) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, spread).await.expect("each keeps two");

    let stop = Arc::new(AtomicBool::new(false));
    let (sent, mut written) = watch::channel(0_usize);
    let writing = tokio::spawn({
        let (world, tenants, stop) = (Arc::clone(&world), tenants.clone(), Arc::clone(&stop));
        async move {
            let mut expected = Vec::new();
            let mut last = Vec::new();
            while !stop.load(Ordering::Acquire) {
                let name = expected.len().to_string();
                last.clear();
                for of in &tenants {
                    last.push(renamed(&world, *of, &name).await);
                }
                expected.push(name);
                sent.send_replace(expected.len());
            }
            (expected, last)
        }
    });
    let mut reading = Vec::new();
    for reads in [reads_one.clone(), reads_two.clone()] {
        let (tenants, stop) = (tenants.clone(), Arc::clone(&stop));
        reading.push(tokio::spawn(async move {
            let mut seen = vec![0; tenants.len()];
            while !stop.load(Ordering::Acquire) {
                for (of, seen) in tenants.iter().zip(&mut seen) {
                    let shown = names_shown(&reads, *of).await.unwrap();
                    let whole: Vec<String> = (0..shown.len()).map(|number| number.to_string()).collect();
                    assert_eq!(shown, whole, "no name is missing and none is there twice");
                    assert!(shown.len() >= *seen, "{} after {seen}", shown.len());
                    *seen = shown.len();
                }
            }
        }));
    }
    for _ in 0..3 {
        let (first, second) = tokio::join!(one.rebuild_and_wait(NAMES), two.rebuild_and_wait(NAMES));
        first.unwrap();
        second.unwrap();
        let so_far = *written.borrow_and_update();
        written.wait_for(|now| *now > so_far).await.unwrap();
    }
    stop.store(true, Ordering::Release);
    let (expected, last) = writing.await.unwrap();
    for reader in reading {
        reader.await.unwrap();
    }
    for (node, reads) in [(&one, &reads_one), (&two, &reads_two)] {
        for (of, position) in tenants.iter().zip(&last) {
            node.wait_for(*of, *position, &[NAMES], LONG).await.unwrap();
            assert_eq!(names_shown(reads, *of).await.unwrap(), expected);
        }
    }
    one.shutdown().await;
    two.shutdown().await;
}
