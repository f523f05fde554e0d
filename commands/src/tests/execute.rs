use super::{World, context};
use crate::{
    clock::Clock,
    error::{CommandError, Kind},
    execute::{CommandOptions, Commands},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        feed::{Feed, IngestedBatch},
        tenant::{AutonomyMode, Tenant, TenantCommand},
    },
    envelope::{AggregateKey, AggregateType, Hash},
    ids::{ConnectionId, FeedId, LogId, SnapshotId, SyncId, TenantId},
};
use autonomos_log::{
    error::{AppendError, LogError},
    integrity::Broken,
    port::{Appended, Delivery, EventLog, Filter, Head, NewCommit, Page, ReadLimit, StoredCommit},
};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

fn rename(name: &str) -> TenantCommand {
    TenantCommand::RenameTenant { name: name.to_owned() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_on_one_aggregate_all_succeed_with_contiguous_versions() {
    let world = World::new();
    let tenant = world.tenant().await;
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..64 {
        let commands = world.commands.clone();
        callers.spawn(async move {
            let command = rename(&format!("name {number}"));
            commands.execute::<Tenant>(&context(tenant), tenant.0, command).await.unwrap().version
        });
    }
    let mut versions = callers.join_all().await;
    versions.sort_unstable();
    assert_eq!(versions, (2..=65).collect::<Vec<u64>>());

    let key = AggregateKey { tenant, aggregate_type: AggregateType::Tenant, aggregate_id: tenant.0 };
    let commits = world.log.load(&key, 0).await.unwrap();
    assert_eq!(commits.len(), 65);
    assert!(commits.iter().all(|commit| commit.header.key_id != 0));
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_also_after_a_restart_and_another_body_is_refused() {
    let mut world = World::new();
    let tenant = world.tenant().await;
    let mut asked = context(tenant);
    asked.request_hash = Some("body".to_owned());
    let first = world.commands.execute::<Tenant>(&asked, tenant.0, rename("A")).await.unwrap();
    assert!(!first.replayed);
    world.commands.execute::<Tenant>(&context(tenant), tenant.0, rename("B")).await.unwrap();

    for _ in 0..2 {
        let again = world.commands.execute::<Tenant>(&asked, tenant.0, rename("A")).await.unwrap();
        assert!(again.replayed);
        assert_eq!((again.position, again.version), (first.position, first.version));
        let other =
            crate::execute::CommandContext { request_hash: Some("other body".to_owned()), ..asked.clone() };
        let refused = world.commands.execute::<Tenant>(&other, tenant.0, rename("C")).await.unwrap_err();
        assert!(matches!(refused, CommandError::IdempotencyMismatch));
        assert_eq!(refused.kind(), Kind::Invalid);
        world = world.restart().await;
    }
    assert_eq!(world.commands.load::<Tenant>(tenant, tenant.0).await.unwrap().state.name, "B");
}

#[tokio::test]
async fn many_commands_later_a_command_id_of_today_is_still_recognised() {
    let world = World::new();
    let tenant = world.tenant().await;
    let asked = context(tenant);
    let first = world.commands.execute::<Tenant>(&asked, tenant.0, rename("first")).await.unwrap();
    for number in 0..600 {
        let command = rename(&format!("name {number}"));
        world.commands.execute::<Tenant>(&context(tenant), tenant.0, command).await.unwrap();
    }
    let again = world.commands.execute::<Tenant>(&asked, tenant.0, rename("first")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.position, first.position);
}

#[tokio::test]
async fn what_changes_nothing_appends_nothing_and_a_refusal_says_why() {
    let world = World::new();
    let tenant = world.tenant().await;
    let same = TenantCommand::SetAutonomyMode { mode: AutonomyMode::Auto };
    let outcome = world.commands.execute::<Tenant>(&context(tenant), tenant.0, same).await.unwrap();
    assert_eq!((outcome.position, outcome.version), (None, 1));

    let stranger = TenantId::random();
    let refused =
        world.commands.execute::<Tenant>(&context(stranger), stranger.0, rename("x")).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::NotFound, "{refused}");
    assert_eq!(world.commands.load::<Tenant>(stranger, stranger.0).await.unwrap().version, 0);
    // The same id in another tenant is another aggregate.
    assert_eq!(world.commands.load::<Tenant>(stranger, tenant.0).await.unwrap().version, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_one_log_conflict_reload_and_both_succeed() {
    let world = World::new();
    let tenant = world.tenant().await;
    let other = world.other_node();
    for round in 0..10 {
        for (node, commands) in [&world.commands, &other].into_iter().enumerate() {
            let command = rename(&format!("{round} of {node}"));
            commands.execute::<Tenant>(&context(tenant), tenant.0, command).await.unwrap();
        }
    }
    let mut asked = context(tenant);
    asked.request_hash = Some("body".to_owned());
    let first = world.commands.execute::<Tenant>(&asked, tenant.0, rename("last")).await.unwrap();
    let replayed = other.execute::<Tenant>(&asked, tenant.0, rename("last")).await.unwrap();
    assert!(replayed.replayed);
    assert_eq!(replayed.position, first.position);
    assert_eq!(first.version, 22);
}

#[tokio::test]
async fn creating_twice_makes_one() {
    let world = World::new();
    let tenant = TenantId::random();
    let asked = context(tenant);
    let register = TenantCommand::RegisterTenant {
        name: "A".to_owned(),
        cell: 0,
        owner: autonomos_domain::ids::UserId::random(),
    };
    let first = world.commands.create::<Tenant>(&asked, tenant.0, register.clone()).await.unwrap();
    let again = world.other_node().create::<Tenant>(&asked, tenant.0, register.clone()).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.position, first.position);
    let other = world.other_node().create::<Tenant>(&context(tenant), tenant.0, register).await.unwrap_err();
    assert_eq!(other.kind(), Kind::Conflict);
}

/// A log that can be told to fail, before or after it appended.
struct FlakyLog {
    inner: Arc<dyn EventLog>,
    fail_before: AtomicBool,
    fail_after: AtomicBool,
    loads: AtomicUsize,
}

#[async_trait]
impl EventLog for FlakyLog {
    fn log_id(&self) -> LogId {
        self.inner.log_id()
    }
    fn cells(&self) -> u16 {
        self.inner.cells()
    }
    async fn append(&self, commit: NewCommit) -> Result<Appended, AppendError> {
        let failure = || AppendError::Log(LogError::Store("told to fail".to_owned()));
        if self.fail_before.swap(false, Ordering::SeqCst) {
            return Err(failure());
        }
        let appended = self.inner.append(commit).await?;
        if self.fail_after.swap(false, Ordering::SeqCst) {
            return Err(failure());
        }
        Ok(appended)
    }
    async fn load(&self, key: &AggregateKey, after_version: u64) -> Result<Vec<StoredCommit>, LogError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.inner.load(key, after_version).await
    }
    async fn load_last(&self, key: &AggregateKey) -> Result<Option<StoredCommit>, LogError> {
        self.inner.load_last(key).await
    }
    async fn read(&self, cell: u16, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError> {
        self.inner.read(cell, after, filter, limit).await
    }
    async fn head(&self, cell: u16) -> Result<Head, LogError> {
        self.inner.head(cell).await
    }
    async fn running_hash(&self, cell: u16, sequence: u64) -> Result<Option<Hash>, LogError> {
        self.inner.running_hash(cell, sequence).await
    }
    async fn sequence_at(&self, cell: u16, time: chrono::DateTime<chrono::Utc>) -> Result<u64, LogError> {
        self.inner.sequence_at(cell, time).await
    }
    fn subscribe(
        &self,
        cell: u16,
        after: u64,
        filter: Filter,
    ) -> BoxStream<'static, Result<Delivery, LogError>> {
        self.inner.subscribe(cell, after, filter)
    }
    async fn archive(&self, key: &AggregateKey, keep_last: bool) -> Result<u64, LogError> {
        self.inner.archive(key, keep_last).await
    }
    fn damage(&self) -> Vec<Broken> {
        self.inner.damage()
    }
    fn stopped(&self, cell: u16) -> Option<String> {
        self.inner.stopped(cell)
    }
    fn stop_writers(&self, cell: u16, reason: String) {
        self.inner.stop_writers(cell, reason);
    }
}

#[tokio::test]
async fn a_failed_append_poisons_nothing_and_a_hot_aggregate_is_not_read() {
    let world = World::new();
    let tenant = world.tenant().await;
    let log = Arc::new(FlakyLog {
        inner: Arc::clone(&world.log) as _,
        fail_before: AtomicBool::new(false),
        fail_after: AtomicBool::new(false),
        loads: AtomicUsize::new(0),
    });
    let commands = Commands::new(
        Arc::clone(&log) as _,
        Arc::clone(&world.keys) as _,
        Clock::System,
        CommandOptions::default(),
    );
    for name in ["one", "two", "three"] {
        commands.execute::<Tenant>(&context(tenant), tenant.0, rename(name)).await.unwrap();
    }
    assert_eq!(log.loads.load(Ordering::SeqCst), 1);

    log.fail_before.store(true, Ordering::SeqCst);
    let lost = commands.execute::<Tenant>(&context(tenant), tenant.0, rename("lost")).await;
    assert_eq!(lost.unwrap_err().code(), "AOS-0101");
    let loaded = commands.load::<Tenant>(tenant, tenant.0).await.unwrap();
    assert_eq!((loaded.state.name.as_str(), loaded.version), ("three", 4));

    // Appended, but the answer was lost: the retry is recognised.
    log.fail_after.store(true, Ordering::SeqCst);
    let asked = context(tenant);
    commands.execute::<Tenant>(&asked, tenant.0, rename("four")).await.unwrap_err();
    let again = commands.execute::<Tenant>(&asked, tenant.0, rename("four")).await.unwrap();
    assert!(again.replayed);
    assert_eq!(again.version, 5);
}

#[tokio::test]
async fn a_command_whose_caller_went_away_is_seen_through() {
    let world = World::new();
    let tenant = world.tenant().await;
    for round in 0..20 {
        let asked = context(tenant);
        let name = format!("round {round}");
        {
            let command = world.commands.execute::<Tenant>(&asked, tenant.0, rename(&name));
            let mut command = std::pin::pin!(command);
            // Polled until it is handed to the log, then dropped, whether it was answered by then or not.
            let _ = futures::poll!(&mut command);
        }
        let loaded = world.commands.load::<Tenant>(tenant, tenant.0).await.unwrap();
        assert_eq!(loaded.state.name, name);
        let again = world.commands.execute::<Tenant>(&asked, tenant.0, rename(&name)).await.unwrap();
        assert!(again.replayed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_saw_a_commit_finds_its_state() {
    let world = World::new();
    let tenant = world.tenant().await;
    let filter = Filter { tenant: Some(tenant), aggregate_types: Vec::new() };
    let mut deliveries = world.log.subscribe(0, 1, filter);
    let commands = world.commands.clone();
    let writer = tokio::spawn(async move {
        for number in 0..200 {
            let command = rename(&format!("name {number}"));
            commands.execute::<Tenant>(&context(tenant), tenant.0, command).await.unwrap();
        }
    });
    let mut seen = 1;
    while seen < 201 {
        if let Delivery::Commit(commit) = deliveries.next().await.unwrap().unwrap() {
            seen = commit.last_version();
            assert!(world.commands.load::<Tenant>(tenant, tenant.0).await.unwrap().version >= seen);
        }
    }
    writer.await.unwrap();
}

#[tokio::test]
async fn a_feed_has_one_reader_at_a_time() {
    let world = World::new();
    let tenant = world.tenant().await;
    let connection = ConnectionId::random();
    let feed_id = FeedId::of(connection, "accounts");
    let commands = &world.commands;
    let opened = commands.feed_open(tenant, feed_id).await.unwrap();
    assert_eq!((opened.version, opened.state.is_none()), (0, true));

    let start = Feed::default()
        .start_snapshot(connection, "accounts", SnapshotId::random(), SyncId::random())
        .unwrap();
    let mine = commands.feed_append(&context(tenant), feed_id, &opened, start.clone(), None).await.unwrap();
    let fenced = commands.feed_append(&context(tenant), feed_id, &opened, start.clone(), None).await;
    assert!(matches!(fenced, Err(CommandError::Fenced { .. })));

    let rows = Bytes::from(vec![7_u8; 200_000]);
    let batch_key = world.keys_for_batches(tenant);
    let header = autonomos_domain::aggregates::feed::BatchHeader {
        rows: 10,
        schema_version: 1,
        checksum: blake3::hash(&rows).to_hex().to_string(),
        key: Vec::new(),
        sync_id: SyncId::random(),
        rejected: Vec::new(),
        rejected_total: 0,
    };
    let batch = IngestedBatch { header, bytes: rows.len() as u64, cursor: None };
    let ingest = Feed::after(Some(&start)).ingest(connection, "accounts", batch).unwrap();
    let mine = commands
        .feed_append(&context(tenant), feed_id, &mine, ingest.clone(), Some((batch_key, rows.clone())))
        .await
        .unwrap();
    assert_eq!(mine.state.as_ref().unwrap().rows, 10);

    let reopened = commands.feed_open(tenant, feed_id).await.unwrap();
    assert_eq!((reopened.version, reopened.last_hash), (mine.version, mine.last_hash));
    assert_eq!(reopened.state, mine.state);
    let commit = world.log.load_last(&reopened.key()).await.unwrap().unwrap();
    let body = autonomos_log::events::open_body(&*world.keys, &commit, 0).unwrap();
    assert_eq!(body, rows);
    assert!(!commit.bytes.windows(64).any(|window| window == [7_u8; 64]));

    let close = Feed::after(Some(&ingest)).close().unwrap();
    let closed = commands.feed_append(&context(tenant), feed_id, &reopened, close, None).await.unwrap();
    let refused = commands.feed_append(&context(tenant), feed_id, &closed, start, None).await;
    assert!(matches!(refused, Err(CommandError::FeedClosed { .. })));
    assert!(commands.feed_open(tenant, feed_id).await.unwrap().closed);
}

impl World {
    fn keys_for_batches(&self, tenant: TenantId) -> u64 {
        use autonomos_log::seal::KeyRing;
        self.keys.batch_keys(tenant, 1).unwrap()[0]
    }
}

/// What another node appended is not answered from memory any more once it was seen in the log.
#[tokio::test]
async fn what_another_node_changed_is_noticed() {
    let world = World::new();
    let tenant = world.tenant().await;
    let other = world.other_node();
    let _watch = other.watch().await.unwrap();
    let name = async |commands: &Commands| {
        commands.load::<Tenant>(tenant, tenant.0).await.unwrap().state.name.clone()
    };
    assert_eq!(name(&other).await, "Meyer AG");
    world.commands.execute::<Tenant>(&context(tenant), tenant.0, rename("Schulz AG")).await.unwrap();
    let noticed = async {
        while name(&other).await != "Schulz AG" {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), noticed).await.expect("it is noticed");
}
