//! Checkpoints, parking, waiting, rebuilding, and a log that was rolled back.

use crate::world::{World, tenant};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{identity::IdentityEvent, reservation::ReservationEvent, tenant::TenantEvent},
    envelope::{AggregateType, Position},
    ids::TenantId,
};
use autonomos_log::port::EventLog;
use autonomos_projections::{
    ProjectionError,
    dcl::{Dcl, DclOptions, read::DclReads},
    read_models::query::ReadModels,
    runtime::{
        ApplyError, Event, Handle, LivePool, Opened, Projector, ProjectorStatus, Service, SqliteProjector,
        Tables,
    },
};
use parking_lot::Mutex;
use proptest::prelude::*;
use sqlx::{Row, SqliteConnection};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use uuid::Uuid;

const NAMES: &str = "names";
const LONG: Duration = Duration::from_mins(1);

/// Keeps the names of tenants in order of appearance; cannot take the name `bad` while told so.
#[derive(Default)]
struct Names {
    version: u32,
    strict: Mutex<bool>,
}

#[async_trait]
impl Tables for Names {
    fn name(&self) -> &'static str {
        NAMES
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        vec![AggregateType::Tenant]
    }

    fn definitions(&self) -> Vec<String> {
        vec![
            "CREATE TABLE IF NOT EXISTS names (tenant TEXT NOT NULL, sequence BIGINT NOT NULL, name TEXT NOT NULL, \
             PRIMARY KEY (tenant, sequence))"
                .to_owned(),
        ]
    }

    async fn apply(&self, connection: &mut SqliteConnection, commits: &[Opened]) -> Result<(), ApplyError> {
        for opened in commits {
            for event in &opened.events {
                let Event::Tenant(TenantEvent::TenantRenamed { name }) = event else { continue };
                if name == "bad" && *self.strict.lock() {
                    return Err(ApplyError::Poison {
                        tenant: opened.tenant(),
                        sequence: opened.commit.position.sequence,
                        code: "AOS-0408".to_owned(),
                        message: "the name is bad".to_owned(),
                    });
                }
                sqlx::query("INSERT INTO names (tenant, sequence, name) VALUES ($1, $2, $3)")
                    .bind(opened.tenant().to_string())
                    .bind(opened.commit.position.sequence as i64)
                    .bind(name)
                    .execute(&mut *connection)
                    .await?;
            }
        }
        Ok(())
    }
}

struct Started {
    handle: Handle,
    pool: LivePool,
}

async fn start(world: &World, tables: Arc<Names>) -> Result<Started, ProjectionError> {
    let projector = Arc::new(SqliteProjector::new(
        world.folder.path().join("names"),
        "names",
        tables,
        Arc::clone(&world.ring),
    ));
    let pool = projector.live_pool();
    let dcl = Arc::new(Dcl::open(world.folder.path().join("dcl"), DclOptions::default())?);
    let projectors: Vec<Arc<dyn Projector>> = vec![projector];
    let reads = ReadModels::new(pool.clone());
    let handle =
        Service::start_with(world.options(), world.log(), projectors, reads, DclReads::new(dcl)).await?;
    Ok(Started { handle, pool })
}

impl Started {
    async fn names(&self, of: TenantId) -> Vec<String> {
        let rows = sqlx::query("SELECT name FROM names WHERE tenant = $1 ORDER BY sequence")
            .bind(of.to_string())
            .fetch_all(&self.pool.get().unwrap())
            .await
            .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn wait(&self, of: TenantId, position: Position) {
        self.handle.wait_for(of, position, &[NAMES], LONG).await.unwrap();
    }

    async fn wait_for_status(&self, status: ProjectorStatus) {
        loop {
            if self.handle.status().await.unwrap()[0].status == status {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn rename(world: &World, of: TenantId, name: &str) -> Position {
    let event = TenantEvent::TenantRenamed { name: name.to_owned() };
    world.append(of, AggregateType::Tenant, of.0, &[event]).await
}

/// Something the projector does not listen to.
async fn other(world: &World, of: TenantId) -> Position {
    let (left, right) = (Uuid::from_u128(1), Uuid::from_u128(2));
    let event = IdentityEvent::RecordsMerged { entity: "account".to_owned(), left, right };
    world.append(of, AggregateType::Identity, of.0, &[event]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_what_was_written() {
    let world = World::new();
    let started = start(&world, Arc::default()).await.unwrap();
    let position = rename(&world, tenant(1), "one").await;
    started.wait(tenant(1), position).await;
    assert_eq!(started.names(tenant(1)).await, ["one"]);
    // Waiting for a commit that the projector does not listen to ends too.
    let position = other(&world, tenant(1)).await;
    started.wait(tenant(1), position).await;
    assert_eq!(started.handle.position(tenant(1), 0, &[NAMES]), position);
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_future_is_bounded() {
    let world = World::new();
    let started = start(&world, Arc::default()).await.unwrap();
    let future = Position { cell: 0, sequence: 100 };
    let error =
        started.handle.wait_for(tenant(1), future, &[NAMES], Duration::from_millis(1)).await.unwrap_err();
    assert_eq!(error.code(), "AOS-0405");
    let error = started.handle.wait_for(tenant(1), future, &["nobody"], LONG).await.unwrap_err();
    assert_eq!(error.code(), "AOS-0406");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_commit_parks_its_tenant_alone() {
    let world = World::new();
    let tables = Arc::new(Names::default());
    *tables.strict.lock() = true;
    rename(&world, tenant(1), "fine").await;
    let bad = rename(&world, tenant(1), "bad").await;
    let after = rename(&world, tenant(1), "after").await;
    let of_other = rename(&world, tenant(2), "other").await;
    let started = start(&world, Arc::clone(&tables)).await.unwrap();
    started.wait(tenant(2), of_other).await;
    assert_eq!(started.names(tenant(1)).await, ["fine"]);
    assert_eq!(started.names(tenant(2)).await, ["other"]);
    let error = started.handle.wait_for(tenant(1), after, &[NAMES], LONG).await.unwrap_err();
    assert_eq!(error.code(), "AOS-0404");
    let state = started.handle.status().await.unwrap().remove(0);
    assert_eq!(state.status, ProjectorStatus::Poisoned);
    assert_eq!(state.poisoned[0].tenant, tenant(1));
    assert_eq!(state.poisoned[0].position, bad);
    assert_eq!(state.poisoned[0].message, "the name is bad");

    // What comes after stays out, until an operator decides.
    let last = rename(&world, tenant(1), "last").await;
    let of_other = rename(&world, tenant(2), "more").await;
    started.wait(tenant(2), of_other).await;
    assert_eq!(started.names(tenant(1)).await, ["fine"]);
    started.handle.skip(NAMES, tenant(1)).await.unwrap();
    started.wait(tenant(1), last).await;
    assert_eq!(started.names(tenant(1)).await, ["fine", "after", "last"]);
    assert!(started.handle.status().await.unwrap()[0].poisoned.is_empty());
    assert_eq!(started.handle.skip(NAMES, tenant(1)).await.unwrap_err().code(), "AOS-0417");
    let live = rename(&world, tenant(1), "live again").await;
    started.wait(tenant(1), live).await;
    assert_eq!(started.names(tenant(1)).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_tenant_stays_parked_over_a_restart_and_can_be_tried_again() {
    let world = World::new();
    let tables = Arc::new(Names::default());
    *tables.strict.lock() = true;
    let bad = rename(&world, tenant(1), "bad").await;
    let started = start(&world, Arc::clone(&tables)).await.unwrap();
    started.handle.shutdown().await;
    let started = start(&world, Arc::clone(&tables)).await.unwrap();
    assert_eq!(started.handle.status().await.unwrap()[0].poisoned[0].position, bad);
    // Still bad: parked again.
    started.handle.retry(NAMES, tenant(1)).await.unwrap();
    started.wait_for_status(ProjectorStatus::Poisoned).await;
    *tables.strict.lock() = false;
    started.handle.retry(NAMES, tenant(1)).await.unwrap();
    started.wait(tenant(1), bad).await;
    assert_eq!(started.names(tenant(1)).await, ["bad"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_and_a_rebuild_swaps() {
    let world = World::new();
    let started = start(&world, Arc::default()).await.unwrap();
    let first = rename(&world, tenant(1), "one").await;
    started.wait(tenant(1), first).await;
    started.handle.pause(NAMES).await.unwrap();
    started.wait_for_status(ProjectorStatus::Paused).await;
    let second = rename(&world, tenant(1), "two").await;
    assert_eq!(started.names(tenant(1)).await, ["one"]);
    started.handle.resume(NAMES).await.unwrap();
    started.wait(tenant(1), second).await;
    let before = started.handle.status().await.unwrap()[0].generation;
    started.handle.rebuild_and_wait(NAMES).await.unwrap();
    let state = started.handle.status().await.unwrap().remove(0);
    assert_eq!(state.generation, before + 1);
    assert_eq!(started.names(tenant(1)).await, ["one", "two"]);
    let third = rename(&world, tenant(1), "three").await;
    started.wait(tenant(1), third).await;
    assert_eq!(started.names(tenant(1)).await, ["one", "two", "three"]);
    let files: Vec<_> = std::fs::read_dir(world.folder.path().join("names"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".sqlite"))
        .collect();
    assert_eq!(files, [format!("names-{}.sqlite", before + 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_reader_survives_the_swap() {
    let world = World::new();
    let started = start(&world, Arc::default()).await.unwrap();
    let first = rename(&world, tenant(1), "one").await;
    started.wait(tenant(1), first).await;
    started.handle.pause(NAMES).await.unwrap();
    started.wait_for_status(ProjectorStatus::Paused).await;
    let second = rename(&world, tenant(1), "two").await;
    let handle = started.handle.clone();
    let waiting = tokio::spawn(async move { handle.wait_for(tenant(1), second, &[NAMES], LONG).await });
    started.handle.rebuild_and_wait(NAMES).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(started.names(tenant(1)).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_built_before_the_start_ends() {
    let world = World::new();
    let position = rename(&world, tenant(1), "one").await;
    let started = start(&world, Arc::default()).await.unwrap();
    assert_eq!(started.names(tenant(1)).await, ["one"]);
    assert_eq!(started.handle.position(tenant(1), 0, &[NAMES]), position);
    let before = started.handle.status().await.unwrap()[0].generation;
    started.handle.shutdown().await;
    let newer = Arc::new(Names { version: 1, ..Names::default() });
    let started = start(&world, newer).await.unwrap();
    let state = started.handle.status().await.unwrap().remove(0);
    assert_eq!((state.version, state.generation), (1, before + 1));
    assert_eq!(started.names(tenant(1)).await, ["one"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_below_the_checkpoint_stops_its_writers() {
    let world = World::new();
    let shorter = World::new();
    for name in ["one", "two", "three"] {
        rename(&world, tenant(1), name).await;
    }
    rename(&shorter, tenant(1), "one").await;
    let started = start(&world, Arc::default()).await.unwrap();
    started.handle.shutdown().await;
    let old = world.with_log(shorter.log.clone());
    let started = start(&old, Arc::default()).await.unwrap();
    let state = started.handle.status().await.unwrap().remove(0);
    assert_eq!(state.status, ProjectorStatus::RolledBack);
    assert!(state.message.unwrap().contains("commits 2 to 3 are lost"));
    assert!(old.log.stopped(0).is_some());
    // Readers go on.
    assert_eq!(started.names(tenant(1)).await.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_log_of_the_same_length_is_told_by_its_hash() {
    let world = World::new();
    let other = World::new();
    rename(&world, tenant(1), "one").await;
    rename(&other, tenant(1), "two").await;
    rename(&other, tenant(1), "three").await;
    let started = start(&world, Arc::default()).await.unwrap();
    started.handle.shutdown().await;
    let swapped = world.with_log(other.log.clone());
    let started = start(&swapped, Arc::default()).await.unwrap();
    assert_eq!(started.handle.status().await.unwrap()[0].status, ProjectorStatus::RolledBack);
    assert!(swapped.log.stopped(0).unwrap().contains("hash"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_checkpoint_goes_on_from_where_it_was() {
    let world = World::new();
    let started = start(&world, Arc::default()).await.unwrap();
    let mut expected: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
    for round in 0..3 {
        for number in 0..40 {
            let of = tenant(number % 5);
            let name = format!("{round}/{number}");
            let position = rename(&world, of, &name).await;
            expected.entry(of).or_default().push(name);
            if number % 7 == 0 {
                started.wait(of, position).await;
            }
        }
    }
    started.handle.shutdown().await;
    let started = start(&world, Arc::default()).await.unwrap();
    let last = world.log.head(0).await.unwrap().sequence;
    for (of, names) in expected {
        started.wait(of, Position { cell: 0, sequence: last }).await;
        assert_eq!(started.names(of).await, names);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Whatever comes in whatever order with restarts between: positions never go back, every
    /// tenant has exactly its own commits up to where it is parked, and a rebuild gives the same.
    #[test]
    fn positions_never_go_back(steps in prop::collection::vec((0_u8..4, 0_u8..12), 1..40)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::new();
            let tables = Arc::new(Names::default());
            *tables.strict.lock() = true;
            let mut started = start(&world, Arc::clone(&tables)).await.unwrap();
            let mut expected: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
            let mut parked: BTreeMap<TenantId, u64> = BTreeMap::new();
            let mut seen: BTreeMap<TenantId, u64> = BTreeMap::new();
            let mut last = 0;
            for (number, (of, step)) in steps.into_iter().enumerate() {
                let of = tenant(u128::from(of));
                match step {
                    0 => {
                        started.handle.shutdown().await;
                        started = start(&world, Arc::clone(&tables)).await.unwrap();
                    }
                    1 => last = other(&world, of).await.sequence,
                    2 => {
                        last = rename(&world, of, "bad").await.sequence;
                        parked.entry(of).or_insert(last);
                    }
                    _ => {
                        let name = number.to_string();
                        last = rename(&world, of, &name).await.sequence;
                        if !parked.contains_key(&of) {
                            expected.entry(of).or_default().push(name);
                        }
                    }
                }
                for number in 0..4 {
                    let of = tenant(number);
                    let now = started.handle.position(of, 0, &[NAMES]).sequence;
                    let before = seen.insert(of, now).unwrap_or(0);
                    let bound = parked.get(&of).map_or(last, |sequence| sequence - 1);
                    // A restart may show less for a moment, as its checkpoint trails what it only passed.
                    if step != 0 {
                        assert!(now >= before, "{of} went from {before} to {now}");
                    }
                    assert!(now <= bound.max(before));
                }
            }
            for _ in 0..2 {
                for number in 0..4 {
                    let of = tenant(number);
                    let target = Position { cell: 0, sequence: last };
                    let waited = started.handle.wait_for(of, target, &[NAMES], LONG).await;
                    assert_eq!(waited.is_err(), parked.contains_key(&of));
                    assert_eq!(started.names(of).await, expected.get(&of).cloned().unwrap_or_default());
                }
                started.handle.rebuild_and_wait(NAMES).await.unwrap();
            }
        });
    }
}

/// Reservations belong to the installation: they are nobody's activity.
#[tokio::test(flavor = "multi_thread")]
async fn reservations_are_not_listened_to() {
    let world = World::new();
    let handle = world.start().await;
    let holder =
        autonomos_domain::aggregates::reservation::Holder { tenant: tenant(1), id: Uuid::from_u128(9) };
    let position = world
        .append(
            TenantId::SYSTEM,
            AggregateType::Reservation,
            Uuid::from_u128(5),
            &[ReservationEvent::ReservationConfirmed { holder }],
        )
        .await;
    let both = [autonomos_projections::runtime::READ_MODELS, autonomos_projections::runtime::DCL];
    handle.wait_for(TenantId::SYSTEM, position, &both, LONG).await.unwrap();
    let page = handle
        .read_models()
        .activity_list(
            TenantId::SYSTEM,
            &autonomos_projections::read_models::query::ActivityFilter::default(),
            &autonomos_projections::read_models::rows::PageRequest::default(),
        )
        .await
        .unwrap();
    assert!(page.data.is_empty());
}
