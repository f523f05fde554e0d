//! Given these events, when this command comes, then these events or this refusal.

use super::{
    StoredAggregate,
    connection::{Connection, ConnectionCommand, ConnectionEvent},
    feed::{BatchHeader, Feed, FeedEvent, IngestedBatch},
    identity::{Identity, IdentityCommand, IdentityEvent},
    ontology::{OntologyCommand, OntologyEvent, TenantOntology},
    reservation::{Holder, Reservation, ReservationCommand, ReservationEvent},
    stream_schema::{DriftStatus, StreamSchema, StreamSchemaCommand, StreamSchemaEvent},
    sync::{StreamProgress, Sync, SyncCommand, SyncEvent},
    task::{Task, TaskCommand, TaskEvent},
    tenant::{RepairPolicy, Tenant, TenantCommand, TenantEvent, Upload},
    unified_view::{FieldRule, UnifiedView, UnifiedViewCommand, UnifiedViewEvent, ViewRules},
    user::{Role, User, UserCommand, UserEvent},
};
use crate::{
    drift::{DriftFinding, DriftKind, Severity},
    ids::{
        ConnectionId, DriftId, RepairId, SessionId, SnapshotId, SyncId, TaskId, TenantId, UploadId, UserId,
    },
    ontology::default_ontology,
    policy::{RepairRule, RepairRules},
    repair::calibration::{self, JudgedChange, JudgedRepair},
    schema::{DiscoveredStream, Field, LogicalType, StreamSelection, StreamShape, SyncMode},
};
use chrono::{DateTime, TimeDelta, Utc};
use cqrs_es::{Aggregate, test::TestFramework};
use serde_json::json;
use uuid::Uuid;

/// `Err` holds the start of the message.
pub(crate) fn check<A>(given: &[A::Event], when: A::Command, expect: Result<Vec<A::Event>, &str>)
where
    A: StoredAggregate,
{
    let result = TestFramework::<A>::with(()).given(given.to_vec()).when(when).inspect_result();
    match (result, expect) {
        (Ok(events), Ok(expected)) => assert_eq!(events, expected),
        (Err(error), Err(expected)) => {
            let message = error.to_string();
            assert!(message.starts_with(expected), "expected `{expected}`, got `{message}`");
        }
        (result, expect) => panic!("expected {expect:?}, got {result:?}"),
    }
}

/// The state that the events leave.
pub(crate) fn state<A: Aggregate>(given: &[A::Event]) -> A {
    let mut aggregate = A::default();
    for event in given {
        aggregate.apply(event.clone());
    }
    aggregate
}

pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

fn hash(digit: char) -> String {
    digit.to_string().repeat(64)
}

#[test]
fn tenants_keep_to_quota_and_ranges() {
    let registered = TenantEvent::TenantRegistered { name: "Acme".into(), cell: 0, owner: UserId(id(1)) };
    let upload = |number: u128, bytes| Upload {
        id: UploadId(id(number)),
        file_name: "accounts.csv".into(),
        bytes,
        content_hash: hash('a'),
        uploaded_at: at(0),
    };
    let stored = |number, bytes| TenantEvent::UploadStored { upload: upload(number, bytes) };
    let store = |number, bytes| TenantCommand::StoreUpload { upload: upload(number, bytes) };
    let quota = TenantEvent::UploadQuotaSet { bytes: 100 };
    let given = [registered.clone(), quota, stored(1, 60)];
    check::<Tenant>(&given, store(2, 40), Ok(vec![stored(2, 40)]));
    check::<Tenant>(&given, store(2, 41), Err("bytes of all uploads would be `101`, the limit is 100"));
    check::<Tenant>(&given, store(1, 60), Ok(vec![]));
    check::<Tenant>(&given, store(1, 61), Err("upload exists already"));
    let removed = TenantEvent::UploadRemoved { upload_id: UploadId(id(1)) };
    check::<Tenant>(&[&given[..], &[removed]].concat(), store(2, 100), Ok(vec![stored(2, 100)]));
    let path = Upload { file_name: "../passwd".into(), ..upload(3, 1) };
    check::<Tenant>(&given, TenantCommand::StoreUpload { upload: path }, Err("`/file_name` is not valid"));
    assert_eq!(state::<Tenant>(&given[..1]).upload_quota, 20_000_000_000);

    let set = |automatic_from, ask_from| TenantCommand::SetRepairPolicy {
        policy: RepairPolicy { automatic_from, ask_from },
    };
    for (automatic_from, ask_from) in [(0.84, 0.6), (1.01, 0.6), (0.9, 0.91), (0.9, -0.1), (f64::NAN, 0.5)] {
        let result = state::<Tenant>(&given).decide(set(automatic_from, ask_from));
        assert_eq!(result.unwrap_err().code(), "AOS-0001", "{automatic_from} {ask_from}");
    }
    check::<Tenant>(&given, set(0.99, 0.60), Ok(vec![]));
    let rules = |protected| RepairRules {
        rules: vec![RepairRule { protected: Some(protected), ..RepairRule::default() }],
        expire_after_days: Some(30),
    };
    let revise = |based_on, rules| TenantCommand::ReviseRepairRules { based_on, rules };
    let revised = |version, rules| TenantEvent::RepairRulesRevised { version, rules };
    check::<Tenant>(&given, revise(0, RepairRules::default()), Ok(vec![]));
    check::<Tenant>(&given, revise(0, rules(true)), Ok(vec![revised(1, rules(true))]));
    let ruled = [&given[..], &[revised(1, rules(true))]].concat();
    check::<Tenant>(&ruled, revise(0, rules(false)), Err("conflict: edited from version `0`, but `1`"));
    check::<Tenant>(&ruled, revise(1, rules(false)), Ok(vec![revised(2, rules(false))]));
    let judged = |right| JudgedRepair {
        repair_id: RepairId(id(3)),
        changes: vec![JudgedChange { probability: 0.97, right }],
    };
    let record = |right| TenantCommand::RecordJudgement { judged: judged(right) };
    let event = |right| TenantEvent::RepairJudged {
        judged: judged(right),
        calibration: calibration::learn(&[judged(right)]),
    };
    check::<Tenant>(&given, record(true), Ok(vec![event(true)]));
    let once = [&given[..], &[event(true)]].concat();
    check::<Tenant>(&once, record(true), Ok(vec![]));
    // A roll-back takes the place of its approval.
    check::<Tenant>(&once, record(false), Ok(vec![event(false)]));
    let nothing = RepairRules { rules: vec![RepairRule::default()], expire_after_days: None };
    check::<Tenant>(&ruled, revise(1, nothing), Err("`/rules/0` is not valid"));
    let name = "x".repeat(121);
    check::<Tenant>(&given, TenantCommand::RenameTenant { name }, Err("`/name` is not valid: 1 to 120"));
    check::<Tenant>(&[], TenantCommand::RenameTenant { name: "B".into() }, Err("no such organisation"));
}

#[test]
fn emails_are_addresses() {
    let register = |email: &str| UserCommand::RegisterUser {
        email: email.into(),
        password_hash: "$argon2id$v=19$x".into(),
        role: Role::Owner,
    };
    let long = format!("{}@example.com", "a".repeat(250));
    for wrong in ["", "a", "@b.c", "a@b", "a@b..c", "a b@c.d", "a@-b.c", ".a@b.c", "a@b@c.d", &long] {
        assert!(User::default().decide(register(wrong)).is_err(), "{wrong}");
    }
    for right in ["a@b.co", "jane.o'neil+x@mail.example.com", "ж@почта.рф"] {
        assert!(User::default().decide(register(right)).is_ok(), "{right}");
    }
}

#[test]
fn sessions_end_when_an_old_refresh_token_comes_back() {
    let session_id = SessionId(id(7));
    let registered = UserEvent::UserRegistered {
        email: "a@b.co".into(),
        password_hash: "$argon2id$x".into(),
        role: Role::Viewer,
    };
    let started = UserEvent::SessionStarted { session_id, refresh_hash: hash('a'), expires_at: at(100) };
    let refreshed = UserEvent::SessionRefreshed { session_id, refresh_hash: hash('b'), expires_at: at(200) };
    let refresh = |presented, new, now| UserCommand::RefreshSession {
        session_id,
        presented_hash: hash(presented),
        new_hash: hash(new),
        expires_at: at(200),
        now: at(now),
    };
    let revoked = |reason: &str| UserEvent::SessionRevoked { session_id, reason: reason.into() };
    let given = [registered, started, refreshed.clone()];
    check::<User>(&given[..2], refresh('a', 'b', 50), Ok(vec![refreshed]));
    check::<User>(&given, refresh('a', 'c', 60), Ok(vec![revoked("refresh_token_reused")]));
    check::<User>(&given, refresh('e', 'c', 60), Err("not allowed: the session has ended"));
    check::<User>(&given, refresh('b', 'c', 201), Err("not allowed: the session has ended"));
    check::<User>(&given, refresh('b', 'a', 60), Err("`/new_hash` is not valid"));
    let ended = [&given[..], &[revoked("signed_out")]].concat();
    check::<User>(&ended, refresh('b', 'c', 60), Err("not allowed"));
    let revoke = UserCommand::RevokeSession { session_id, reason: "signed_out".into() };
    check::<User>(&ended, revoke, Ok(vec![]));
    assert!(state::<User>(&given).session_holds(session_id, &hash('b')));
    assert!(!state::<User>(&ended).session_holds(session_id, &hash('b')));
    // A session that expired is pruned when the next one starts.
    let start = UserCommand::StartSession {
        session_id: SessionId(id(8)),
        refresh_hash: hash('d'),
        expires_at: at(900),
        now: at(300),
    };
    let next = UserEvent::SessionStarted {
        session_id: SessionId(id(8)),
        refresh_hash: hash('d'),
        expires_at: at(900),
    };
    check::<User>(&given, start, Ok(vec![revoked("expired"), next]));
}

#[test]
fn reservations_free_themselves() {
    let holder = |number| Holder { tenant: TenantId(id(1)), id: id(number) };
    let held = |number, until| ReservationEvent::ReservationHeld {
        purpose: "email".into(),
        holder: holder(number),
        deadline: at(until),
    };
    let hold = |number, until, now| ReservationCommand::Hold {
        purpose: "email".into(),
        holder: holder(number),
        deadline: at(until),
        now: at(now),
    };
    let confirmed = ReservationEvent::ReservationConfirmed { holder: holder(1) };
    let released = ReservationEvent::ReservationReleased { holder: holder(1) };
    let given = [held(1, 60), confirmed.clone(), released.clone()];
    check::<Reservation>(&[], hold(1, 60, 0), Ok(vec![held(1, 60)]));
    check::<Reservation>(&given[..1], hold(1, 60, 10), Ok(vec![]));
    check::<Reservation>(&given[..1], hold(1, 70, 10), Ok(vec![held(1, 70)]));
    check::<Reservation>(&given[..1], hold(2, 90, 59), Err("the email is taken"));
    check::<Reservation>(&given[..1], hold(2, 90, 60), Ok(vec![held(2, 90)]));
    check::<Reservation>(&given[..2], hold(2, 900, 600), Err("the email is taken"));
    check::<Reservation>(&given, hold(2, 900, 600), Ok(vec![held(2, 900)]));
    let confirm = ReservationCommand::Confirm { holder: holder(1) };
    check::<Reservation>(&given[..1], confirm.clone(), Ok(vec![confirmed]));
    check::<Reservation>(&[held(1, 60), held(2, 90)], confirm.clone(), Err("conflict"));
    check::<Reservation>(&given, confirm, Err("conflict"));
    let release = ReservationCommand::Release { holder: holder(1) };
    check::<Reservation>(&given[..2], release.clone(), Ok(vec![released]));
    check::<Reservation>(&[held(2, 90)], release, Ok(vec![]));
}

#[test]
fn connections_select_what_was_discovered() {
    let config = json!({"root": "inbox"});
    let created = ConnectionEvent::ConnectionCreated { name: "CRM".into(), connector: "file".into(), config };
    let field = |name: &str| Field {
        name: name.into(),
        logical_type: LogicalType::Text,
        nullable: true,
        format: None,
    };
    let stream = DiscoveredStream {
        name: "accounts".into(),
        shape: StreamShape { fields: vec![field("id"), field("at")], primary_key: vec![] },
        cursor_fields: vec!["at".into()],
        sync_modes: vec![SyncMode::Full],
        estimated_rows: None,
        sampled: None,
    };
    let discovered = ConnectionEvent::StreamsDiscovered { streams: vec![stream] };
    let select = |name: &str, sync_mode, key: Option<&str>| StreamSelection {
        name: name.into(),
        sync_mode,
        cursor_field: None,
        primary_key: key.map(|key| vec![key.into()]),
        entity: None,
        priority: 0,
    };
    let command = |streams: Vec<StreamSelection>| ConnectionCommand::SelectStreams { streams };
    let given = [created, discovered];
    let good = select("accounts", Some(SyncMode::Full), Some("id"));
    let selected = ConnectionEvent::StreamsSelected { streams: vec![good.clone()] };
    check::<Connection>(&given, command(vec![good.clone()]), Ok(vec![selected]));
    check::<Connection>(&given[..1], command(vec![good.clone()]), Err("conflict: the connection's streams"));
    let twice = command(vec![good.clone(), good]);
    check::<Connection>(&given, twice, Err("`/streams/1/name` is not valid: `accounts` is there twice"));
    let cases = [
        (select("leads", None, None), "`/streams/0/name`"),
        (select("accounts", Some(SyncMode::Incremental), None), "`/streams/0/sync_mode`"),
        (select("accounts", None, Some("key")), "`/streams/0/primary_key/0`"),
    ];
    for (selection, refusal) in cases {
        check::<Connection>(&given, command(vec![selection]), Err(refusal));
    }
    let deleted = [&given[..], &[ConnectionEvent::ConnectionDeleted {}]].concat();
    check::<Connection>(&deleted, ConnectionCommand::DeleteConnection, Ok(vec![]));
    let test = ConnectionCommand::RecordTest { ok: true, message: String::new(), latency_ms: 1 };
    check::<Connection>(&deleted, test, Err("cannot change it: the connection is `deleted`"));
}

#[test]
fn feeds_carry_their_whole_state() {
    let connection_id = ConnectionId(id(1));
    let snapshot_id = SnapshotId(id(2));
    let sync_id = SyncId(id(3));
    let batch = |rows| IngestedBatch {
        header: BatchHeader {
            rows,
            schema_version: 1,
            checksum: hash('0'),
            key: vec![],
            sync_id,
            rejected: vec![],
            rejected_total: 0,
        },
        cursor: Some(json!(rows)),
        bytes: 10,
    };
    let feed = Feed::default();
    let started = feed.start_snapshot(connection_id, "a", snapshot_id, sync_id).unwrap();
    let feed = Feed::after(Some(&started));
    assert!(feed.start_snapshot(connection_id, "a", SnapshotId(id(9)), sync_id).is_err());
    assert!(feed.complete_snapshot(SnapshotId(id(9)), None).is_err());
    assert!(feed.ingest(connection_id, "b", batch(1)).is_err());
    let first = feed.ingest(connection_id, "a", batch(5)).unwrap();
    let second = Feed::after(Some(&first)).ingest(connection_id, "a", batch(7)).unwrap();
    let feed = Feed::after(Some(&second));
    let completed = feed.complete_snapshot(snapshot_id, None).unwrap();
    let FeedEvent::SnapshotCompleted { rows, state, .. } = &completed else { panic!("{completed:?}") };
    assert_eq!((*rows, state.rows, state.batches, state.bytes), (12, 12, 2, 20));
    assert_eq!((&state.cursor, &state.snapshot), (&Some(json!(7)), &None));
    assert_eq!(state.completed_rows, Some(12));
    // Held, it is open until the finding it waits for is accepted.
    let held = feed.hold_snapshot(snapshot_id, DriftId(id(8)), Some(json!(8)), "few").unwrap();
    let waiting = Feed::after(Some(&held));
    assert_eq!(waiting.release_snapshot(DriftId(id(9))).unwrap(), None);
    let released = waiting.release_snapshot(DriftId(id(8))).unwrap().unwrap();
    assert!(matches!(&released, FeedEvent::SnapshotCompleted { rows: 12, state, .. }
        if state.cursor == Some(json!(8)) && state.snapshot.is_none()));
    assert_eq!(Feed::after(Some(&released)).release_snapshot(DriftId(id(8))).unwrap(), None);
    let abandoned = feed.abandon(snapshot_id, "cut").unwrap();
    assert!(abandoned.state().snapshot.is_none());
    let feed = Feed::after(Some(&completed));
    assert!(feed.abandon(snapshot_id, "late").is_err());
    let closed = Feed::after(Some(&feed.close().unwrap()));
    assert!(closed.close().is_err());
    assert!(closed.ingest(connection_id, "a", batch(1)).is_err());
}

#[test]
fn syncs_end_once() {
    let connection_id = ConnectionId(id(1));
    let task_id = TaskId(id(2));
    let stream = || "accounts".to_owned();
    let progress = StreamProgress { rows_read: 3, ..StreamProgress::default() };
    let started = |attempt| SyncEvent::SyncStarted { attempt, streams: vec![stream()] };
    let start = |attempt| SyncCommand::StartSync { attempt, streams: vec![stream()] };
    let given = [
        SyncEvent::SyncRequested { connection_id, task_id },
        started(1),
        SyncEvent::StreamSyncStarted { stream: stream() },
        SyncEvent::StreamSyncCompleted { stream: stream(), progress: progress.clone() },
        SyncEvent::SyncSucceeded {},
    ];
    check::<Sync>(&given[..1], start(1), Ok(vec![started(1)]));
    check::<Sync>(&given[..2], start(1), Ok(vec![]));
    check::<Sync>(&given[..3], start(2), Ok(vec![started(2)]));
    check::<Sync>(&given[..3], SyncCommand::SucceedSync, Err("conflict: stream `accounts` is `running`"));
    check::<Sync>(&given[..4], SyncCommand::SucceedSync, Ok(vec![SyncEvent::SyncSucceeded {}]));
    check::<Sync>(&given, SyncCommand::SucceedSync, Ok(vec![]));
    check::<Sync>(&given, SyncCommand::CancelSync, Err("cannot cancel it: the sync is `succeeded`"));
    let unknown = SyncCommand::StartStream { stream: "leads".into() };
    check::<Sync>(&given[..2], unknown, Err("no such stream in this sync: `leads`"));
    let again = SyncCommand::CompleteStream { stream: stream(), progress };
    check::<Sync>(&given[..4], again, Ok(vec![]));
}

#[test]
fn tasks_retry_die_and_cancel() {
    let task_id = TaskId(id(5));
    let queued = TaskEvent::TaskQueued {
        task_id,
        action: "sync".into(),
        payload: json!({}),
        max_retries: 1,
        timeout_seconds: 60,
        run_at: None,
        priority: 0,
    };
    let started = |attempt| TaskEvent::TaskStarted { attempt, worker: "w".into(), term: 0 };
    let fail = |retryable| TaskCommand::FailTask {
        code: "AOS-0299".into(),
        message: "gone".into(),
        retryable,
        wait_seconds: None,
        now: at(0),
    };
    let (code, message) = ("AOS-0299".to_owned(), "gone".to_owned());
    let running = [queued.clone(), started(1)];
    let failed = TaskEvent::TaskFailed { code: code.clone(), message: message.clone() };
    check::<Task>(&running, fail(false), Ok(vec![failed]));
    let retried = state::<Task>(&running).decide(fail(true)).unwrap();
    assert_eq!(retried, state::<Task>(&running).decide(fail(true)).unwrap());
    let TaskEvent::TaskRetryScheduled { attempt: 2, at: next, .. } = &retried[0] else {
        panic!("{retried:?}")
    };
    assert!((TimeDelta::seconds(1)..=TimeDelta::seconds(2)).contains(&(*next - at(0))), "{next}");
    for (asked, waits) in [(90, 90), (1_000_000, 86_400)] {
        let mut command = fail(true);
        if let TaskCommand::FailTask { wait_seconds, .. } = &mut command {
            *wait_seconds = Some(asked);
        }
        let told = state::<Task>(&running).decide(command).unwrap();
        let TaskEvent::TaskRetryScheduled { at: next, .. } = &told[0] else { panic!("{told:?}") };
        assert_eq!(*next - at(0), TimeDelta::seconds(waits));
    }
    let second = [&running[..], &retried, &[started(2)]].concat();
    let died = TaskEvent::TaskDied { code, message };
    check::<Task>(&second, fail(true), Ok(vec![died.clone()]));
    let dead = [&second[..], &[died]].concat();
    check::<Task>(
        &dead,
        TaskCommand::StartTask { worker: "w".into() },
        Err("cannot start it: the task is `dead`"),
    );
    let by_person = state::<Task>(&dead).decide(TaskCommand::RetryTask { now: at(9) }).unwrap();
    let revived = [&dead[..], &by_person].concat();
    check::<Task>(&revived, TaskCommand::StartTask { worker: "w".into() }, Ok(vec![started(1)]));

    let cancelled = TaskEvent::TaskCancelled {};
    let requested = TaskEvent::TaskCancelRequested {};
    check::<Task>(&running[..1], TaskCommand::RequestCancel, Ok(vec![cancelled.clone()]));
    check::<Task>(&running, TaskCommand::RequestCancel, Ok(vec![requested.clone()]));
    check::<Task>(&running, TaskCommand::ConfirmCancel, Err("cannot confirm that it stopped"));
    let stopping = [&running[..], &[requested]].concat();
    check::<Task>(&stopping, TaskCommand::RequestCancel, Ok(vec![]));
    check::<Task>(&stopping, TaskCommand::ConfirmCancel, Ok(vec![cancelled.clone()]));
    check::<Task>(&stopping, fail(true), Ok(vec![cancelled]));
}

#[test]
fn a_worker_of_an_earlier_term_has_no_say() {
    let task_id = TaskId(id(5));
    let queued = TaskEvent::TaskQueued {
        task_id,
        action: "sync".into(),
        payload: json!({}),
        max_retries: 1,
        timeout_seconds: 60,
        run_at: None,
        priority: 0,
    };
    let in_term = |term, command| TaskCommand::InTerm { term, command: Box::new(command) };
    let start = TaskCommand::StartTask { worker: "w".into() };
    let succeed = TaskCommand::SucceedTask { result: json!(1) };
    let lose = TaskCommand::LoseWorker { now: at(0) };
    let started = |attempt, term| TaskEvent::TaskStarted { attempt, worker: "w".into(), term };
    check::<Task>(std::slice::from_ref(&queued), in_term(3, start.clone()), Ok(vec![started(1, 3)]));
    let by_third = [queued, started(1, 3)];
    let done = TaskEvent::TaskSucceeded { result: json!(1) };
    check::<Task>(&by_third, in_term(3, succeed.clone()), Ok(vec![done]));
    for command in [start.clone(), succeed.clone(), lose.clone()] {
        check::<Task>(&by_third, in_term(2, command), Err("cannot "));
    }
    check::<Task>(&by_third, in_term(4, succeed.clone()), Err("cannot "));
    let lost = state::<Task>(&by_third).decide(in_term(4, lose)).unwrap();
    assert!(matches!(lost[..], [TaskEvent::TaskRetryScheduled { attempt: 2, .. }]));
    let waiting = [&by_third[..], &lost].concat();
    check::<Task>(&waiting, in_term(2, start.clone()), Err("cannot "));
    check::<Task>(&waiting, in_term(4, start), Ok(vec![started(2, 4)]));
}

fn shape(columns: &[&str]) -> StreamShape {
    let field = |name: &&str| Field {
        name: (*name).into(),
        logical_type: LogicalType::Text,
        nullable: true,
        format: None,
    };
    StreamShape { fields: columns.iter().map(field).collect(), primary_key: vec![] }
}

fn finding(number: u128, kind: DriftKind, field: &str) -> DriftFinding {
    DriftFinding {
        id: DriftId(id(number)),
        kind,
        field: Some(field.into()),
        before: None,
        after: None,
        severity: Severity::Warning,
        confidence: 1.0,
        evidence: vec![],
        repair: None,
    }
}

#[test]
fn schemas_number_new_shapes_and_go_back_to_known_ones() {
    let connection_id = ConnectionId(id(1));
    let recorded = |version, digit, columns: &[&str]| StreamSchemaEvent::SchemaVersionRecorded {
        connection_id,
        stream: "s".into(),
        version,
        fingerprint: hash(digit),
        shape: shape(columns),
    };
    let record = |digit, columns: &[&str], findings| StreamSchemaCommand::RecordSchema {
        connection_id,
        stream: "s".into(),
        fingerprint: hash(digit),
        shape: shape(columns),
        findings,
    };
    let detected = |finding: &DriftFinding, from_version, to_version| StreamSchemaEvent::DriftDetected {
        finding: Box::new(finding.clone()),
        from_version,
        to_version,
    };
    let resolved =
        |number, status| StreamSchemaEvent::DriftResolved { drift_id: DriftId(id(number)), status };
    let renamed = finding(1, DriftKind::FieldRenamed, "a");
    let cents = finding(2, DriftKind::UnitChanged, "b");
    let first = [recorded(1, 'a', &["a", "b"])];
    check::<StreamSchema>(&[], record('a', &["a", "b"], vec![]), Ok(first.to_vec()));
    check::<StreamSchema>(&first, record('a', &["a", "b"], vec![]), Ok(vec![]));
    let second = vec![recorded(2, 'b', &["x", "b"]), detected(&renamed, 1, 2)];
    check::<StreamSchema>(&first, record('b', &["x", "b"], vec![renamed.clone()]), Ok(second.clone()));
    let given = [&first[..], &second].concat();
    // Open already, under another id: it only recurs.
    let again = finding(9, DriftKind::FieldRenamed, "a");
    let recurred = StreamSchemaEvent::DriftRecurred { drift_id: DriftId(id(1)), occurrences: 2 };
    check::<StreamSchema>(&given, record('b', &["x", "b"], vec![again]), Ok(vec![recurred]));
    // Back: no new number, the drift is undone.
    let back = vec![recorded(1, 'a', &["a", "b"]), resolved(1, DriftStatus::Reverted)];
    check::<StreamSchema>(&given, record('a', &["a", "b"], vec![]), Ok(back.clone()));
    // Another way on from there gets the next number, not a used one.
    let given_back = [&given[..], &back].concat();
    let third = vec![recorded(3, 'c', &["y", "b"]), detected(&renamed, 1, 3)];
    check::<StreamSchema>(&given_back, record('c', &["y", "b"], vec![renamed.clone()]), Ok(third));
    // Values that mean something else need a version of their own in the same shape.
    let valued = vec![recorded(2, 'a', &["a", "b"]), detected(&cents, 1, 2)];
    check::<StreamSchema>(&first, record('a', &["a", "b"], vec![cents]), Ok(valued));

    let resolve = |status| StreamSchemaCommand::ResolveDrift { drift_id: DriftId(id(1)), status };
    check::<StreamSchema>(
        &given,
        resolve(DriftStatus::Accepted),
        Ok(vec![resolved(1, DriftStatus::Accepted)]),
    );
    check::<StreamSchema>(&given_back, resolve(DriftStatus::Accepted), Err("no such open drift"));
    // Open already: nothing to do. Taken back after it was put right: open again.
    check::<StreamSchema>(&given, resolve(DriftStatus::Open), Ok(vec![]));
    let repaired = [given.clone(), vec![resolved(1, DriftStatus::Repaired)]].concat();
    check::<StreamSchema>(&repaired, resolve(DriftStatus::Open), Ok(vec![resolved(1, DriftStatus::Open)]));
    let wide: Vec<String> = (0..10_001).map(|index| format!("c{index}")).collect();
    let wide: Vec<&str> = wide.iter().map(String::as_str).collect();
    check::<StreamSchema>(&[], record('d', &wide, vec![]), Err("columns of a stream would be `10001`"));
}

#[test]
fn ontologies_only_grow() {
    let revise = |based_on, ontology| OntologyCommand::ReviseOntology { based_on, ontology };
    let known = default_ontology();
    check::<TenantOntology>(&[], revise(known.version, known.clone()), Ok(vec![]));
    let mut wider = known.clone();
    let mut extra = wider.entities[0].fields[0].clone();
    extra.name = "loyalty_tier".into();
    wider.entities[0].fields.push(extra);
    let mut stored = wider.clone();
    stored.version = known.version + 1;
    let revised = OntologyEvent::OntologyRevised { ontology: stored };
    check::<TenantOntology>(&[], revise(known.version, wider.clone()), Ok(vec![revised.clone()]));
    check::<TenantOntology>(&[revised], revise(known.version, wider.clone()), Err("conflict: edited from"));
    let mut narrower = known.clone();
    narrower.entities[0].fields.remove(0);
    check::<TenantOntology>(&[], revise(known.version, narrower), Err("`/entities/0/"));
    let mut dangling = wider;
    dangling.entities[0].match_rules[0].all_equal.push("nothing".into());
    check::<TenantOntology>(
        &[],
        revise(known.version, dangling),
        Err("`/entities/0/match_rules/0/all_equal/"),
    );
}

#[test]
fn a_view_is_revised_from_the_version_in_force() {
    let account = default_ontology().entity("account").unwrap().clone();
    let rules = |rank: &[u128], fields: &[(&str, FieldRule)]| ViewRules {
        source_rank: rank.iter().map(|&number| ConnectionId(id(number))).collect(),
        fields: fields.iter().map(|(name, rule)| ((*name).to_owned(), *rule)).collect(),
    };
    let revise = |based_on, rules| UnifiedViewCommand::ReviseUnifiedView {
        based_on,
        entity: Box::new(account.clone()),
        rules,
    };
    let revised =
        |version, rules| UnifiedViewEvent::UnifiedViewRevised { entity: "account".into(), version, rules };
    let first = revised(1, rules(&[7, 8], &[("name", FieldRule::SourceRank)]));
    // The default of a field needs no saying.
    let said = rules(&[7, 8], &[("name", FieldRule::SourceRank), ("phone", FieldRule::Latest)]);
    check::<UnifiedView>(&[], revise(0, said.clone()), Ok(vec![first.clone()]));
    let given = [first];
    check::<UnifiedView>(&given, revise(1, said), Ok(vec![]));
    check::<UnifiedView>(&given, revise(0, rules(&[], &[])), Err("conflict: edited from version `0`"));
    check::<UnifiedView>(&given, revise(1, rules(&[], &[])), Ok(vec![revised(2, rules(&[], &[]))]));
    check::<UnifiedView>(&given, revise(1, rules(&[7, 7], &[])), Err("`/source_rank/1` is not valid"));
    let unknown = rules(&[], &[("colour", FieldRule::SourceRank)]);
    check::<UnifiedView>(&given, revise(1, unknown), Err("`/fields` is not valid"));
}

#[test]
fn the_last_word_on_a_pair_wins() {
    let (left, right) = (id(1), id(2));
    let merge = |left, right| IdentityCommand::MergeRecords { entity: "account".into(), left, right };
    let merged = IdentityEvent::RecordsMerged { entity: "account".into(), left, right };
    let unmerged = IdentityEvent::RecordsUnmerged { entity: "account".into(), left: right, right: left };
    check::<Identity>(&[], merge(left, right), Ok(vec![merged.clone()]));
    check::<Identity>(std::slice::from_ref(&merged), merge(right, left), Ok(vec![]));
    check::<Identity>(&[merged.clone(), unmerged], merge(left, right), Ok(vec![merged]));
    check::<Identity>(&[], merge(left, left), Err("`/right` is not valid"));
    let json = serde_json::to_string(&state::<Identity>(&[])).unwrap();
    assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), Identity::default());
}
