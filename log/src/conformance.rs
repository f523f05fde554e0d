//! What every log adapter must do, written against the port alone: an adapter runs these checks
//! unchanged, by [`conformance_tests!`](crate::conformance_tests). A check panics when it fails.

#![expect(clippy::unwrap_used, reason = "a check fails by panicking, as a test does")]

pub use crate::memory_keys::MemoryKeys;
use crate::{
    codec,
    error::{AppendError, LogError},
    port::{Appended, Delivery, EventLog, Filter, NewCommit, ReadLimit, StoredCommit},
};
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{Actor, AggregateKey, AggregateType, CommitHeader, Hash, StoredBody, StoredEvent},
    ids::{CommandId, TenantId},
};
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::{StreamExt, stream::BoxStream};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Where a check gets its log from.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the fixture's log: empty the first time, the same again after all handles are dropped.
    async fn open(&self) -> Arc<dyn EventLog>;
}

/// Makes a test of each check: `conformance_tests!(expression that makes a Fixture)`.
#[macro_export]
macro_rules! conformance_tests {
    ($fixture:expr) => {
        $crate::conformance_tests!($fixture;
            appended_is_loaded, stale_is_refused, invalid_is_refused, conflicts_fail_alone,
            retry_finds_its_command, subscription_has_no_gap, slow_reader_misses_nothing,
            far_reader_misses_nothing, filters_apply, caught_up_passes_the_unsubscribed, reads_are_bounded,
            archive_is_transparent, ended_aggregates_leave, reservations_stay,
            time_finds_its_sequence, stopped_writers_refuse, beyond_the_end_is_damage
        );
    };
    ($fixture:expr; $($check:ident),+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            $crate::conformance::$check(&$fixture).await;
        }
    )+};
}

/// An aggregate that a check writes to.
#[derive(Debug, Clone)]
pub struct Chain {
    pub key: AggregateKey,
    pub version: u64,
    pub hash: Option<Hash>,
}

impl Chain {
    /// A new aggregate of a new tenant.
    pub fn new(aggregate_type: AggregateType) -> Self {
        Self::of(TenantId::random(), aggregate_type)
    }

    /// A new aggregate.
    pub fn of(tenant: TenantId, aggregate_type: AggregateType) -> Self {
        let key = AggregateKey { tenant, aggregate_type, aggregate_id: Uuid::now_v7() };
        Self { key, version: 0, hash: None }
    }

    /// The next commit: one event per payload, the last with a body.
    pub fn next(&self, payloads: &[&[u8]]) -> NewCommit {
        let last = payloads.len().saturating_sub(1);
        let events = payloads.iter().enumerate().map(|(index, payload)| StoredEvent {
            event_type: "Happened".to_owned(),
            schema_version: 1,
            payload: Bytes::copy_from_slice(payload),
            body: (index == last && index > 0)
                .then(|| StoredBody { key_id: 7, bytes: Bytes::from_static(b"a body") }),
        });
        NewCommit {
            events: events.collect(),
            header: CommitHeader {
                key: self.key,
                first_version: self.version + 1,
                command_id: CommandId::random(),
                request_hash: None,
                actor: Actor::System("conformance".to_owned()),
                correlation_id: Uuid::now_v7(),
                causation_id: None,
                recorded_at: Utc::now(),
                key_id: 0,
                prev_hash: self.hash.map(hex::encode),
                origin: None,
            },
        }
    }

    /// Appends what [`Chain::next`] gives and moves on.
    pub async fn append(&mut self, log: &dyn EventLog, payloads: &[&[u8]]) -> Appended {
        self.append_commit(log, self.next(payloads)).await
    }

    async fn append_commit(&mut self, log: &dyn EventLog, commit: NewCommit) -> Appended {
        let events = commit.events.len() as u64;
        let appended = log.append(commit).await.expect("the append succeeds");
        self.version += events;
        self.hash = Some(appended.hash);
        appended
    }
}

const ALL: ReadLimit = ReadLimit { commits: 1000, bytes: 1 << 20 };

/// Everything in cell 0, checked: sequences dense from 1, versions of each aggregate contiguous,
/// chains linked, hashes right.
pub async fn history(log: &dyn EventLog) -> Vec<Arc<StoredCommit>> {
    let mut all: Vec<Arc<StoredCommit>> = Vec::new();
    let head = log.head(0).await.expect("the head is known");
    let mut after = 0;
    while after < head.sequence {
        let page = log.read(0, after, &Filter::default(), ALL).await.expect("the page is read");
        assert!(page.scanned_to > after, "reading moves on");
        after = page.scanned_to;
        all.extend(page.commits);
    }
    let mut running = [0; 32];
    let mut ends: HashMap<AggregateKey, (u64, Hash)> = HashMap::new();
    for (index, commit) in all.iter().enumerate() {
        assert_eq!(commit.position.sequence, index as u64 + 1, "sequences are dense");
        assert_eq!(codec::content_hash(&commit.bytes), commit.hash, "the hash is of the stored bytes");
        running = codec::running_hash(&running, &commit.hash);
        assert_eq!(commit.running_hash, running, "the running hash follows");
        let end = ends.insert(commit.header.key, (commit.last_version(), commit.hash));
        let (version, prev_hash) =
            end.map_or((0, None), |(version, hash)| (version, Some(hex::encode(hash))));
        assert_eq!(commit.header.first_version, version + 1, "versions are contiguous");
        assert_eq!(commit.header.prev_hash, prev_hash, "the chain is linked");
    }
    assert_eq!(all.len() as u64, head.sequence);
    assert_eq!(running, head.running_hash);
    all
}

fn same(left: &StoredCommit, right: &StoredCommit) {
    assert_eq!(left.position, right.position);
    assert_eq!(left.bytes, right.bytes);
    assert_eq!(left.header, right.header);
    assert_eq!(left.events, right.events);
    assert_eq!(left.hash, right.hash);
    assert_eq!(left.running_hash, right.running_hash);
}

/// The commits of a subscription up to a sequence, and the last sequence it told of.
async fn drain_to(
    stream: &mut BoxStream<'static, Result<Delivery, LogError>>,
    sequence: u64,
) -> (Vec<Arc<StoredCommit>>, u64) {
    let mut commits = Vec::new();
    let mut told = 0;
    while told < sequence {
        let delivery = stream.next().await.expect("the subscription goes on").expect("it does not fail");
        let at = match delivery {
            Delivery::Commit(commit) => {
                let at = commit.position.sequence;
                assert!(at > told, "no repeat, in order");
                commits.push(commit);
                at
            }
            Delivery::CaughtUp(at) => at,
        };
        assert!(at >= told, "what was told is never taken back");
        told = at;
    }
    (commits, told)
}

pub async fn appended_is_loaded(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let log_id = log.log_id();
    let mut chain = Chain::new(AggregateType::Feed);
    let first = chain.next(&[b"1", b"2"]);
    let appended = chain.append_commit(&*log, first.clone()).await;
    assert_eq!(appended.position.sequence, 1);
    chain.append(&*log, &[b"3"]).await;
    let third = chain.append(&*log, &[b"4", b"5", b"6"]).await;
    drop(log);

    let log = fixture.open().await;
    assert_eq!(log.log_id(), log_id, "a log keeps its id");
    let loaded = log.load(&chain.key, 0).await.unwrap();
    assert_eq!(loaded.len(), 3);
    assert_eq!(loaded[0].header, first.header);
    assert_eq!(loaded[0].events, first.events);
    assert_eq!(loaded[0].bytes, codec::encode(&first.header, &first.events).unwrap());
    assert_eq!(loaded[2].position, third.position);
    let firsts = |commits: &[StoredCommit]| -> Vec<u64> {
        commits.iter().map(|commit| commit.header.first_version).collect()
    };
    for (after, expected) in
        [(0, vec![1, 3, 4]), (1, vec![1, 3, 4]), (2, vec![3, 4]), (3, vec![4]), (5, vec![4]), (6, vec![])]
    {
        assert_eq!(firsts(&log.load(&chain.key, after).await.unwrap()), expected, "after {after}");
    }
    same(&log.load_last(&chain.key).await.unwrap().unwrap(), &loaded[2]);
    let stranger = AggregateKey { tenant: TenantId::random(), ..chain.key };
    assert!(log.load(&stranger, 0).await.unwrap().is_empty(), "another tenant has nothing there");
    assert!(log.load_last(&stranger).await.unwrap().is_none());
    let head = log.head(0).await.unwrap();
    assert_eq!(log.running_hash(0, head.sequence).await.unwrap(), Some(head.running_hash));
    assert_eq!(log.running_hash(0, head.sequence + 1).await.unwrap(), None);
    assert!(log.head(log.cells()).await.is_err(), "there is no such cell");
    history(&*log).await;
}

pub async fn stale_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut chain = Chain::new(AggregateType::Task);
    chain.append(&*log, &[b"1"]).await;
    let at_one = chain.clone();
    chain.append(&*log, &[b"2"]).await;
    let ahead = Chain { version: 5, ..chain.clone() };
    let unborn = Chain { version: 1, hash: chain.hash, ..Chain::new(AggregateType::Task) };
    let other_past = Chain { hash: Some([9; 32]), ..chain.clone() };
    let again = Chain { version: 0, hash: None, ..chain.clone() };
    for (stale, actual) in [(&at_one, 2), (&ahead, 2), (&unborn, 0), (&other_past, 2), (&again, 2)] {
        match log.append(stale.next(&[b"x"])).await {
            Err(AppendError::Conflict { key, expected, actual: found }) => {
                assert_eq!((key, expected, found), (stale.key, stale.version, actual));
            }
            other => panic!("expected a conflict, not {other:?}"),
        }
    }
    drop(log);
    let log = fixture.open().await;
    assert!(
        matches!(log.append(at_one.next(&[b"x"])).await, Err(AppendError::Conflict { actual: 2, .. })),
        "also when nothing is cached"
    );
    assert!(matches!(log.append(again.next(&[b"x"])).await, Err(AppendError::Conflict { actual: 2, .. })));
    chain.append(&*log, &[b"3"]).await;
    assert_eq!(history(&*log).await.len(), 3, "what was refused took no sequence");
}

pub async fn invalid_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let chain = Chain::new(AggregateType::Task);
    let mut zero = chain.next(&[b"1"]);
    zero.header.first_version = 0;
    let mut with_past = chain.next(&[b"1"]);
    with_past.header.prev_hash = Some("00".repeat(32));
    let mut without_past = chain.next(&[b"1"]);
    without_past.header.first_version = 2;
    let mut odd_past = without_past.clone();
    odd_past.header.prev_hash = Some("not hex".to_owned());
    for commit in [chain.next(&[]), zero, with_past, without_past, odd_past] {
        let answer = log.append(commit).await;
        assert!(matches!(answer, Err(AppendError::Invalid(_))), "{answer:?}");
    }
    let huge = vec![0; 64 << 20];
    assert!(matches!(log.append(chain.next(&[&huge])).await, Err(AppendError::TooLarge { .. })));
    assert_eq!(log.head(0).await.unwrap().sequence, 0);
}

pub async fn conflicts_fail_alone(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let contended = Chain::new(AggregateType::Feed);
    let mut tasks = Vec::new();
    for writer in 0..32_u8 {
        let log = Arc::clone(&log);
        let mut shared = contended.clone();
        let mut own = Chain::new(AggregateType::Task);
        tasks.push(tokio::spawn(async move {
            let mut won = 0;
            while won < 4 {
                own.append(&*log, &[&[writer]]).await;
                match log.append(shared.next(&[&[writer]])).await {
                    Ok(appended) => {
                        won += 1;
                        shared.version += 1;
                        shared.hash = Some(appended.hash);
                    }
                    Err(AppendError::Conflict { .. }) => {
                        let last = log.load_last(&shared.key).await.unwrap().unwrap();
                        shared.version = last.last_version();
                        shared.hash = Some(last.hash);
                    }
                    Err(other) => panic!("{other}"),
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(log.load_last(&contended.key).await.unwrap().unwrap().last_version(), 128);
    history(&*log).await;
}

pub async fn retry_finds_its_command(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut chain = Chain::new(AggregateType::Connection);
    let commit = chain.next(&[b"created"]);
    let first = chain.append_commit(&*log, commit.clone()).await;
    chain.append(&*log, &[b"renamed"]).await;
    let retried = log.append(commit.clone()).await;
    assert!(matches!(retried, Err(AppendError::Conflict { .. })), "a retry is never stored twice");
    let loaded = log.load(&chain.key, 0).await.unwrap();
    let found = loaded.iter().find(|stored| stored.header.command_id == commit.header.command_id);
    assert_eq!(found.unwrap().position, first.position);
}

pub async fn subscription_has_no_gap(fixture: &dyn Fixture) {
    const WRITERS: u64 = 8;
    const EACH: u64 = 60;
    let log = fixture.open().await;
    let mut early = Chain::new(AggregateType::Task);
    for _ in 0..10 {
        early.append(&*log, &[b"early"]).await;
    }
    let total = 10 + WRITERS * EACH;
    let writers = (0..WRITERS).map(|_| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut chain = Chain::new(AggregateType::Task);
            for _ in 0..EACH {
                chain.append(&*log, &[b"live"]).await;
            }
        })
    });
    let readers = [0, 0, 5, 10].map(|after| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let mut seen = Vec::new();
            let mut at = after;
            // Comes back from where it was, again and again.
            while at < total {
                let mut stream = log.subscribe(0, at, Filter::default());
                let (commits, told) = drain_to(&mut stream, total.min(at + 97)).await;
                seen.extend(commits.iter().map(|commit| commit.position.sequence));
                at = told;
            }
            assert_eq!(seen, (after + 1..=total).collect::<Vec<_>>());
        })
    });
    for task in writers.collect::<Vec<_>>().into_iter().chain(readers) {
        task.await.unwrap();
    }
    history(&*log).await;
}

pub async fn slow_reader_misses_nothing(fixture: &dyn Fixture) {
    const WRITERS: u64 = 64;
    const EACH: u64 = 100;
    let log = fixture.open().await;
    let mut stream = log.subscribe(0, 0, Filter::default());
    let first = stream.next().await.unwrap().unwrap();
    assert!(matches!(first, Delivery::CaughtUp(0)), "an empty log is caught up with at once");
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut chain = Chain::new(AggregateType::Sync);
                for _ in 0..EACH {
                    chain.append(&*log, &[b"x"]).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let total = WRITERS * EACH;
    let (commits, _) = drain_to(&mut stream, total).await;
    let seen: Vec<u64> = commits.iter().map(|commit| commit.position.sequence).collect();
    assert_eq!(seen, (1..=total).collect::<Vec<_>>());
}

/// A reader that begins thousands of commits behind, some of them archived, while others write on.
pub async fn far_reader_misses_nothing(fixture: &dyn Fixture) {
    const WRITERS: u64 = 48;
    const EACH: u64 = 60;
    let log = fixture.open().await;
    let write = |count: u64| {
        let writers = (0..WRITERS).map(|writer| {
            let log = Arc::clone(&log);
            let kinds = [AggregateType::Task, AggregateType::Feed, AggregateType::Sync];
            tokio::spawn(async move {
                let mut chain = Chain::new(kinds[writer as usize % kinds.len()]);
                for _ in 0..count {
                    chain.append(&*log, &[&writer.to_le_bytes(), b"2"]).await;
                }
                chain.key
            })
        });
        futures::future::join_all(writers.collect::<Vec<_>>())
    };
    let keys = write(EACH).await;
    for key in keys.iter().take(5) {
        assert_eq!(log.archive(key.as_ref().unwrap(), true).await.unwrap(), EACH - 1);
    }
    let others = write(EACH / 2);
    let total = WRITERS * EACH + WRITERS * (EACH / 2);
    let (all, writing) =
        tokio::join!(async { drain_to(&mut log.subscribe(0, 0, Filter::default()), total).await.0 }, others);
    assert!(writing.iter().all(Result::is_ok));
    let seen: Vec<u64> = all.iter().map(|commit| commit.position.sequence).collect();
    assert_eq!(seen, (1..=total).collect::<Vec<_>>());
    let kinds = vec![AggregateType::Task, AggregateType::Sync];
    let said = |commit: &Arc<StoredCommit>| (commit.position, commit.hash, commit.running_hash);
    let wanted: Vec<_> =
        all.iter().filter(|commit| kinds.contains(&commit.header.key.aggregate_type)).map(said).collect();
    let (some, _) =
        drain_to(&mut log.subscribe(0, 0, Filter { aggregate_types: kinds, tenant: None }), total).await;
    assert_eq!(some.iter().map(said).collect::<Vec<_>>(), wanted, "in order, each once, unchanged");
}

pub async fn filters_apply(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let tenants = [TenantId::random(), TenantId::random()];
    let types = [AggregateType::Task, AggregateType::Feed, AggregateType::Sync];
    for _ in 0..20 {
        for tenant in tenants {
            for aggregate_type in types {
                Chain::of(tenant, aggregate_type).append(&*log, &[b"x"]).await;
            }
        }
    }
    let head = log.head(0).await.unwrap().sequence;
    let cases = [
        (Filter::default(), 120),
        (Filter { tenant: Some(tenants[0]), aggregate_types: vec![] }, 60),
        (Filter { tenant: None, aggregate_types: vec![types[0]] }, 40),
        (Filter { tenant: Some(tenants[1]), aggregate_types: vec![types[0], types[2]] }, 40),
        (Filter { tenant: Some(TenantId::random()), aggregate_types: vec![] }, 0),
    ];
    for (filter, expected) in cases {
        let matches = |commit: &StoredCommit| {
            filter.tenant.is_none_or(|tenant| tenant == commit.header.key.tenant)
                && (filter.aggregate_types.is_empty()
                    || filter.aggregate_types.contains(&commit.header.key.aggregate_type))
        };
        let page = log.read(0, 0, &filter, ALL).await.unwrap();
        assert_eq!((page.commits.len(), page.scanned_to), (expected, head), "{filter:?}");
        assert!(page.commits.iter().all(|commit| matches(commit)));
        let mut stream = log.subscribe(0, 0, filter.clone());
        let (commits, told) = drain_to(&mut stream, head).await;
        assert_eq!((commits.len(), told), (expected, head));
        assert!(commits.iter().all(|commit| matches(commit)));
    }
}

pub async fn caught_up_passes_the_unsubscribed(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut noise = Chain::new(AggregateType::Sync);
    let wanted = TenantId::random();
    let mut stream = log.subscribe(0, 0, Filter { tenant: Some(wanted), aggregate_types: vec![] });
    noise.append(&*log, &[b"x"]).await;
    let (commits, told) = drain_to(&mut stream, 1).await;
    assert!(commits.is_empty());
    assert_eq!(told, 1, "a checkpoint moves past what is not subscribed to");
    let mut chain = Chain::of(wanted, AggregateType::Task);
    chain.append(&*log, &[b"x"]).await;
    noise.append(&*log, &[b"x"]).await;
    let (commits, told) = drain_to(&mut stream, 3).await;
    assert_eq!((commits.len(), told), (1, 3));
}

pub async fn reads_are_bounded(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut chain = Chain::new(AggregateType::Feed);
    for _ in 0..10 {
        chain.append(&*log, &[&[0; 1000]]).await;
    }
    let read = async |after, commits, bytes| {
        let page = log.read(0, after, &Filter::default(), ReadLimit { commits, bytes }).await.unwrap();
        (page.commits.len(), page.scanned_to)
    };
    assert_eq!(read(0, 3, 1 << 20).await, (3, 3));
    assert_eq!(read(3, 100, 1 << 20).await, (7, 10));
    assert_eq!(read(0, 100, 1).await, (1, 1), "at least one");
    assert_eq!(read(0, 0, 0).await, (1, 1), "at least one");
    assert_eq!(read(10, 100, 1 << 20).await, (0, 10));
}

/// Load, read and subscribe yield the same before and after.
async fn archive_and_compare(log: &dyn EventLog, key: &AggregateKey, keep_last: bool) -> u64 {
    let before = history(log).await;
    let loaded = log.load(key, 0).await.unwrap();
    let archived = log.archive(key, keep_last).await.unwrap();
    let after = history(log).await;
    assert_eq!(before.len(), after.len());
    for (left, right) in before.iter().zip(&after) {
        same(left, right);
    }
    let again = log.load(key, 0).await.unwrap();
    assert_eq!(loaded.len(), again.len());
    for (left, right) in loaded.iter().zip(&again) {
        same(left, right);
    }
    let middle = before.len() as u64 / 2;
    let mut stream = log.subscribe(0, middle, Filter::default());
    let (commits, _) = drain_to(&mut stream, before.len() as u64).await;
    for (left, right) in before[middle as usize..].iter().zip(&commits) {
        same(left, right);
    }
    archived
}

pub async fn archive_is_transparent(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut chain = Chain::new(AggregateType::Feed);
    let mut other = Chain::new(AggregateType::Sync);
    for round in 0..20_u8 {
        chain.append(&*log, &[&[round; 900], b"2"]).await;
        other.append(&*log, &[&[round]]).await;
    }
    assert_eq!(archive_and_compare(&*log, &chain.key, true).await, 19);
    assert_eq!(log.archive(&chain.key, true).await.unwrap(), 0, "the last stays");
    let running = log.running_hash(0, 1).await.unwrap();
    assert!(running.is_some(), "an archived commit's place is still known");
    drop(log);

    let log = fixture.open().await;
    assert_eq!(log.stopped(0), None, "a receipt is no loss");
    let from_middle = log.load(&chain.key, 21).await.unwrap();
    assert_eq!(from_middle.first().unwrap().header.first_version, 21);
    let stale = Chain { version: 0, hash: None, ..chain.clone() };
    assert!(
        matches!(log.append(stale.next(&[b"x"])).await, Err(AppendError::Conflict { actual: 40, .. })),
        "an archived aggregate is not born again"
    );
    chain.append(&*log, &[b"x"]).await;
    other.append(&*log, &[b"x"]).await;
    archive_and_compare(&*log, &chain.key, true).await;
    let theirs = Filter { tenant: Some(chain.key.tenant), aggregate_types: vec![] };
    assert_eq!(log.read(0, 0, &theirs, ALL).await.unwrap().commits.len(), 21);
}

pub async fn ended_aggregates_leave(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut ended = Chain::new(AggregateType::Task);
    for _ in 0..5 {
        ended.append(&*log, &[b"x"]).await;
    }
    Chain::new(AggregateType::Task).append(&*log, &[b"x"]).await;
    assert_eq!(archive_and_compare(&*log, &ended.key, false).await, 5);
    drop(log);

    let log = fixture.open().await;
    assert_eq!(log.load_last(&ended.key).await.unwrap().unwrap().last_version(), 5);
    let reborn = Chain { version: 0, hash: None, ..ended.clone() };
    assert!(matches!(log.append(reborn.next(&[b"x"])).await, Err(AppendError::Conflict { actual: 5, .. })));
    ended.append(&*log, &[b"late"]).await;
    history(&*log).await;
}

pub async fn reservations_stay(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut reservation = Chain::new(AggregateType::Reservation);
    reservation.append(&*log, &[b"held"]).await;
    reservation.append(&*log, &[b"confirmed"]).await;
    for keep_last in [true, false] {
        let refused = log.archive(&reservation.key, keep_last).await;
        assert!(matches!(refused, Err(LogError::NotArchivable { .. })), "{refused:?}");
    }
}

pub async fn time_finds_its_sequence(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let start = DateTime::from_timestamp_secs(1_700_000_000).unwrap();
    let at = |seconds: i64| start + TimeDelta::seconds(seconds);
    let mut chain = Chain::new(AggregateType::Task);
    let mut other = Chain::new(AggregateType::Feed);
    // Clocks differ: what counts is the running maximum, here 10, 30, 30, 30, 50, 60.
    for (index, seconds) in [10, 30, 20, 25, 50, 60].into_iter().enumerate() {
        let chain = if index % 2 == 0 { &mut chain } else { &mut other };
        let mut commit = chain.next(&[b"x"]);
        commit.header.recorded_at = at(seconds);
        chain.append_commit(&*log, commit).await;
    }
    let expected = [(9, 0), (10, 1), (29, 1), (30, 4), (49, 4), (50, 5), (60, 6), (1000, 6)];
    for (seconds, sequence) in expected {
        assert_eq!(log.sequence_at(0, at(seconds)).await.unwrap(), sequence, "at {seconds}");
    }
    log.archive(&chain.key, false).await.unwrap();
    for (seconds, sequence) in expected {
        assert_eq!(log.sequence_at(0, at(seconds)).await.unwrap(), sequence, "archived, at {seconds}");
    }
}

pub async fn stopped_writers_refuse(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut chain = Chain::new(AggregateType::Task);
    chain.append(&*log, &[b"1"]).await;
    assert_eq!(log.stopped(0), None);
    log.stop_writers(0, "an operator looks".to_owned());
    assert_eq!(log.stopped(0).as_deref(), Some("an operator looks"));
    let refused = log.append(chain.next(&[b"2"])).await;
    assert!(matches!(refused, Err(AppendError::Stopped { .. })), "{refused:?}");
    assert_eq!(history(&*log).await.len(), 1, "reads go on");
}

pub async fn beyond_the_end_is_damage(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    Chain::new(AggregateType::Task).append(&*log, &[b"1"]).await;
    let mut stream = log.subscribe(0, 2, Filter::default());
    assert!(matches!(stream.next().await, Some(Err(LogError::Damaged { .. }))));
    assert!(stream.next().await.is_none());
}
