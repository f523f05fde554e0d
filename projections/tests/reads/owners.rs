//! Owners of a projection on a store that several nodes share: fenced, replaced, paused, cut off.

use crate::{
    runtime::{LONG, NAMES, Names, names_projector, names_shown, rename, start_with},
    world::{Database, World, on_both_stores, tenant},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::connection::ConnectionEvent,
    envelope::{AggregateType, Position},
};
use autonomos_log::{
    port::{Filter, ReadLimit},
    postgres_server::{Durability, Postgres},
};
use autonomos_projections::{
    ProjectionError,
    runtime::{
        ApplyError, CellCheckpoint, Opened, PostgresOptions, PostgresProjector, Projector, ProjectorStatus,
        READ_MODELS, Store, Tables, Turn,
        sql::{Index, Kind, Session, Table},
    },
};
use serde_json::json;
use sqlx::Executor;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

on_both_stores!(a_lost_answer_is_found_out);

/// All commits of the log, a turn each.
async fn turns(world: &World) -> Vec<Turn> {
    let limit = ReadLimit { commits: 1000, bytes: 8 << 20 };
    let page = world.log.read(0, 0, &Filter::default(), limit).await.unwrap();
    page.commits
        .into_iter()
        .map(|commit| Turn { tenant: commit.header.key.tenant, commits: vec![commit] })
        .collect()
}

fn after(from: &CellCheckpoint, sequence: u64) -> CellCheckpoint {
    CellCheckpoint { revision: from.revision + 1, sequence, ..from.clone() }
}

fn is_fenced<T>(result: &Result<T, ApplyError>) -> bool {
    matches!(result, Err(ApplyError::Store(ProjectionError::Fenced { .. })))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_another_one_replaced_changes_nothing() {
    let world = World::on_postgres();
    for name in ["one", "two", "three"] {
        rename(&world, tenant(1), name).await;
    }
    let turns = turns(&world).await;
    let (projector, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let generation = projector.next_generation().await.unwrap();
    let (old, new) = (projector.open(generation).await.unwrap(), projector.open(generation).await.unwrap());
    projector.activate(generation).await.unwrap();
    let start = CellCheckpoint::default();
    let first = after(&start, 1);
    old.apply(0, &turns[..1], &start, &first).await.unwrap();
    assert_eq!(new.checkpoint(0).await.unwrap(), first);
    let second = after(&first, 2);
    new.apply(0, &turns[1..2], &first, &second).await.unwrap();
    // The old one wakes up with what it knew, and with what it never knew.
    assert!(is_fenced(&old.apply(0, &turns[1..2], &first, &second).await));
    assert!(is_fenced(&old.apply(0, &turns[1..], &first, &after(&first, 3)).await));
    assert!(is_fenced(&old.apply(0, &turns[..1], &start, &first).await));
    assert_eq!(names_shown(&reads, tenant(1)).await.unwrap(), ["one", "two"]);
    assert_eq!(new.checkpoint(0).await.unwrap(), second);
}

/// The names, whose owner stands still in the middle of a transaction when told to.
#[derive(Default)]
struct Paused {
    names: Names,
    pause: AtomicBool,
    inside: Notify,
    go_on: Notify,
}

#[async_trait]
impl Tables for Paused {
    fn name(&self) -> &'static str {
        NAMES
    }

    fn version(&self) -> u32 {
        0
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        self.names.aggregate_types()
    }

    fn definitions(&self) -> Vec<Table> {
        self.names.definitions()
    }

    async fn apply(&self, session: &mut Session<'_>, commits: &[Opened]) -> Result<(), ApplyError> {
        if self.pause.load(Ordering::SeqCst) {
            self.inside.notify_one();
            self.go_on.notified().await;
        }
        self.names.apply(session, commits).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_paused_in_its_transaction_holds_nobody_up() {
    let world = World::on_postgres();
    rename(&world, tenant(1), "one").await;
    let turns = turns(&world).await;
    let database = world.database.as_ref().unwrap();
    let options = PostgresOptions { writer_idle: Duration::from_millis(300), ..database.options() };
    let paused = Arc::new(Paused::default());
    paused.pause.store(true, Ordering::SeqCst);
    let connect = async |tables: Arc<dyn Tables>| {
        PostgresProjector::connect(options.clone(), "names", tables, Arc::clone(&world.ring)).await.unwrap()
    };
    let old_node = connect(paused.clone()).await;
    let new_node = connect(Arc::new(Names::default())).await;
    let generation = old_node.next_generation().await.unwrap();
    let old = old_node.open(generation).await.unwrap();
    let new = new_node.open(generation).await.unwrap();
    let start = CellCheckpoint::default();
    let to = after(&start, 1);
    let (turn, expected) = (turns.clone(), to.clone());
    let stuck = tokio::spawn(async move { old.apply(0, &turn, &CellCheckpoint::default(), &expected).await });
    paused.inside.notified().await;
    // It holds the checkpoint's row; Postgres ends its transaction for it.
    new.apply(0, &turns, &start, &to).await.unwrap();
    new_node.activate(generation).await.unwrap();
    paused.go_on.notify_one();
    assert!(stuck.await.unwrap().is_err());
    assert_eq!(names_shown(&new_node.reads(), tenant(1)).await.unwrap(), ["one"]);
    assert_eq!(new.checkpoint(0).await.unwrap(), to);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_wakes_up_stops_and_the_other_goes_on() {
    let world = World::on_postgres();
    let (projector, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let first = start_with(&world, projector, reads).await.unwrap();
    let position = rename(&world, tenant(1), "one").await;
    first.wait(tenant(1), position).await;
    first.handle.pause(NAMES).await.unwrap();
    first.wait_for_status(ProjectorStatus::Paused).await;
    let (projector, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let second = start_with(&world, projector, reads).await.unwrap();
    let position = rename(&world, tenant(1), "two").await;
    second.wait(tenant(1), position).await;
    first.handle.resume(NAMES).await.unwrap();
    let position = rename(&world, tenant(1), "three").await;
    second.wait(tenant(1), position).await;
    // The first one had the commits too, and could write none of them.
    assert_eq!(first.names(tenant(1)).await, ["one", "two", "three"]);
    assert_eq!(second.names(tenant(1)).await, ["one", "two", "three"]);
    first.wait_for_status(ProjectorStatus::Failing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_by_another_node_is_seen_by_the_next_query() {
    let world = World::on_postgres();
    let position = rename(&world, tenant(1), "one").await;
    let (projector, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let reader = reads.clone();
    let started = start_with(&world, projector.clone(), reads).await.unwrap();
    let generation = projector.live().await.unwrap().unwrap();
    let old = projector.open(generation).await.unwrap();
    started.handle.shutdown().await;

    let (elsewhere, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let other = start_with(&world, elsewhere.clone(), reads).await.unwrap();
    let later = rename(&world, tenant(1), "two").await;
    other.wait(tenant(1), later).await;
    // A reader asks all the while: it sees all names at every moment, whichever generation they are of.
    let stop = Arc::new(AtomicBool::new(false));
    let (asked, mut answers) = watch::channel(0);
    let reading = tokio::spawn({
        let (reader, stop) = (reader.clone(), Arc::clone(&stop));
        async move {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(names_shown(&reader, tenant(1)).await.unwrap(), ["one", "two"]);
                asked.send_modify(|asked| *asked += 1);
            }
        }
    });
    for _ in 0..5 {
        other.handle.rebuild_and_wait(NAMES).await.unwrap();
        // At least once between two swaps, however slow the machine is.
        answers.changed().await.expect("the reader goes on");
    }
    stop.store(true, Ordering::SeqCst);
    reading.await.unwrap();
    let live = elsewhere.live().await.unwrap().unwrap();
    assert_eq!(live, generation + 5);
    assert_eq!(projector.live().await.unwrap(), Some(live));
    assert_eq!(world.database.as_ref().unwrap().generations(NAMES).await, [live]);
    // Who still writes the old generation is fenced, and no pointer goes back to it.
    let checkpoint = CellCheckpoint { revision: 1, sequence: position.sequence, ..CellCheckpoint::default() };
    assert!(is_fenced(&old.apply(0, &[], &checkpoint, &after(&checkpoint, 2)).await));
    assert_eq!(projector.activate(generation).await.unwrap_err().code(), "AOS-0407");
    assert_eq!(projector.open(generation).await.err().unwrap().code(), "AOS-0407");
}

/// A generation that is being built is fenced off from nothing, and nothing drops it.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_leaves_what_another_node_builds() {
    let world = World::on_postgres();
    rename(&world, tenant(1), "one").await;
    let (builder, _) = names_projector(&world, Arc::default()).await.unwrap();
    let (other, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let started = start_with(&world, other, reads).await.unwrap();
    let building = builder.next_generation().await.unwrap();
    let store = builder.open(building).await.unwrap();
    started.handle.shutdown().await;
    let (again, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let started = start_with(&world, again, reads).await.unwrap();
    let start = CellCheckpoint::default();
    store.apply(0, &turns(&world).await, &start, &after(&start, 1)).await.unwrap();
    builder.activate(building).await.unwrap();
    assert_eq!(started.names(tenant(1)).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_reads_on_until_it_was_given_time() {
    let world = World::on_postgres();
    rename(&world, tenant(1), "one").await;
    let (old, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let of_old = start_with(&world, old, reads).await.unwrap();
    let newer = || Arc::new(Names { version: 1, ..Names::default() });
    let (new, reads) = names_projector(&world, newer()).await.unwrap();
    let of_new = start_with(&world, new.clone(), reads).await.unwrap();
    let position = rename(&world, tenant(1), "two").await;
    for started in [&of_old, &of_new] {
        started.wait(tenant(1), position).await;
        assert_eq!(started.names(tenant(1)).await, ["one", "two"]);
    }
    let database = world.database.as_ref().unwrap();
    let generation = new.live().await.unwrap().unwrap();
    new.keep_only(generation).await.unwrap();
    assert_eq!(database.generations(NAMES).await.len(), 2);
    let mut owner = database.owner().await;
    owner
        .execute("UPDATE names.pointer SET activated_at = now() - INTERVAL '61 minutes' WHERE version = 1")
        .await
        .unwrap();
    new.keep_only(generation).await.unwrap();
    assert_eq!(database.generations(NAMES).await, [generation]);
    assert_eq!(names_shown(&of_old.reads, tenant(1)).await.unwrap_err().code(), "AOS-0420");
    assert_eq!(of_new.names(tenant(1)).await, ["one", "two"]);
}

/// Answers that a commit failed, after it was made: what a connection that breaks looks like.
struct AnswersLost {
    inner: Arc<dyn Projector>,
    applied: Arc<AtomicU64>,
}

struct StoreOfLostAnswers {
    inner: Arc<dyn Store>,
    applied: Arc<AtomicU64>,
}

#[async_trait]
impl Projector for AnswersLost {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn version(&self) -> u32 {
        self.inner.version()
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        self.inner.aggregate_types()
    }

    async fn live(&self) -> Result<Option<u64>, ProjectionError> {
        self.inner.live().await
    }

    async fn next_generation(&self) -> Result<u64, ProjectionError> {
        self.inner.next_generation().await
    }

    async fn open(&self, generation: u64) -> Result<Arc<dyn Store>, ProjectionError> {
        let inner = self.inner.open(generation).await?;
        Ok(Arc::new(StoreOfLostAnswers { inner, applied: Arc::clone(&self.applied) }))
    }

    async fn activate(&self, generation: u64) -> Result<(), ProjectionError> {
        self.inner.activate(generation).await
    }

    async fn keep_only(&self, generation: u64) -> Result<(), ProjectionError> {
        self.inner.keep_only(generation).await
    }

    async fn discard(&self, generation: u64) -> Result<(), ProjectionError> {
        self.inner.discard(generation).await
    }
}

#[async_trait]
impl Store for StoreOfLostAnswers {
    async fn checkpoint(&self, cell: u16) -> Result<CellCheckpoint, ProjectionError> {
        self.inner.checkpoint(cell).await
    }

    async fn apply(
        &self,
        cell: u16,
        turns: &[Turn],
        from: &CellCheckpoint,
        to: &CellCheckpoint,
    ) -> Result<(), ApplyError> {
        let lost = || ApplyError::Store(ProjectionError::Store("the answer was lost".to_owned()));
        // In turn: applied and answered, applied and the answer lost, not applied.
        match self.applied.fetch_add(1, Ordering::SeqCst) % 3 {
            0 => self.inner.apply(cell, turns, from, to).await,
            1 => {
                self.inner.apply(cell, turns, from, to).await?;
                Err(lost())
            }
            _ => Err(lost()),
        }
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

async fn a_lost_answer_is_found_out(world: World) {
    let tables = Arc::new(Names::default());
    *tables.strict.lock() = true;
    let (inner, reads) = names_projector(&world, tables).await.unwrap();
    let applied = Arc::new(AtomicU64::new(0));
    let projector = Arc::new(AnswersLost { inner, applied: Arc::clone(&applied) });
    let started = start_with(&world, projector, reads).await.unwrap();
    let mut expected = Vec::new();
    for number in 0..4 {
        let name = number.to_string();
        let position = rename(&world, tenant(1), &name).await;
        expected.push(name);
        started.wait(tenant(1), position).await;
        assert_eq!(started.names(tenant(1)).await, expected);
    }
    // Parking is a write like any other.
    for of in [2, 3, 4] {
        let bad = rename(&world, tenant(of), "bad").await;
        rename(&world, tenant(of), "after").await;
        let waited = started.handle.wait_for(tenant(of), bad, &[NAMES], LONG).await;
        assert_eq!(waited.unwrap_err().code(), "AOS-0404");
        assert!(started.names(tenant(of)).await.is_empty());
    }
    assert!(applied.load(Ordering::SeqCst) > 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_comes_back_is_gone_on_with() {
    let world = World::on(Database::on(Postgres::start(Durability::Synced)));
    let server = Arc::clone(&world.database.as_ref().unwrap().server);
    let (projector, reads) = names_projector(&world, Arc::default()).await.unwrap();
    let started = start_with(&world, projector, reads).await.unwrap();
    let mut expected = Vec::new();
    let mut last = Position { cell: 0, sequence: 0 };
    for round in 0..3 {
        for number in 0..60 {
            let name = format!("{round}/{number}");
            last = rename(&world, tenant(1), &name).await;
            expected.push(name);
            if number == 30 {
                server.kill();
            }
        }
        server.start_again();
        started.wait(tenant(1), last).await;
        // Connections that broke are found out by the first who uses them.
        assert_eq!(started.names(tenant(1)).await, expected);
    }
    assert_eq!(started.handle.position(tenant(1), 0, &[NAMES]), last);
    started.handle.rebuild_and_wait(NAMES).await.unwrap();
    assert_eq!(started.names(tenant(1)).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_postgres_does_not_like_stops_nobody() {
    let world = World::on_postgres();
    let handle = world.start().await;
    let long = "long ".repeat(4000);
    let of = tenant(1);
    let connection = Uuid::from_u128(5);
    let created = ConnectionEvent::ConnectionCreated {
        name: format!("nul \0 and {long}"),
        connector: "file".to_owned(),
        config: json!({}),
    };
    let position = world.append(of, AggregateType::Connection, connection, &[created]).await;
    handle.wait_for(of, position, &[READ_MODELS], LONG).await.unwrap();
    let row = handle.read_models().connection_get(of, connection).await.unwrap().unwrap();
    assert_eq!(row.name, format!("nul \0 and {long}"));
    assert!(handle.status().await.unwrap().iter().all(|state| state.poisoned.is_empty()));
}

/// The names in a table whose index holds short ones alone.
#[derive(Default)]
struct Short(Names);

#[async_trait]
impl Tables for Short {
    fn name(&self) -> &'static str {
        NAMES
    }

    fn version(&self) -> u32 {
        0
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        self.0.aggregate_types()
    }

    fn definitions(&self) -> Vec<Table> {
        let mut tables = self.0.definitions();
        tables[0].columns[2].kind = Kind::Word;
        tables[0].indexes = vec![Index { name: "name", columns: vec!["name"] }];
        tables
    }

    async fn apply(&self, session: &mut Session<'_>, commits: &[Opened]) -> Result<(), ApplyError> {
        self.0.apply(session, commits).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_cannot_be_held_parks_its_tenant_alone() {
    let world = World::on_postgres();
    // Nothing that repeats: what is compressed may still fit.
    let noise: String = (0..600)
        .map(|number: u128| Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes()).to_string())
        .collect();
    rename(&world, tenant(2), "before").await;
    rename(&world, tenant(1), "fine").await;
    let bad = rename(&world, tenant(1), &noise).await;
    let last = rename(&world, tenant(2), "behind").await;
    let options = world.database.as_ref().unwrap().options();
    let projector =
        PostgresProjector::connect(options, "names", Arc::<Short>::default(), Arc::clone(&world.ring))
            .await
            .unwrap();
    let reads = projector.reads();
    let started = start_with(&world, Arc::new(projector), reads).await.unwrap();
    started.wait(tenant(2), last).await;
    assert_eq!(started.names(tenant(2)).await, ["before", "behind"]);
    let state = started.handle.status().await.unwrap().remove(0);
    assert_eq!((state.poisoned[0].position, state.poisoned[0].code.as_str()), (bad, "AOS-0440"));
    assert_eq!(started.names(tenant(1)).await, ["fine"]);
}
