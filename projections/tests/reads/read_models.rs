//! The read models: what they show, that a rebuild shows the same, and that tenants never meet.

use crate::world::{World, on_both_stores, tenant};
use autonomos_domain::{
    aggregates::{
        api_key::ApiKeyEvent,
        connection::{ConnectionEvent, ConnectionStatus},
        feed::{BatchHeader, FeedEvent, FeedState},
        llm_account::{LlmAccountEvent, LlmOutcome, LlmPurpose, LlmUse},
        mapping::{Binding, MappingEvent, RepairStatus},
        ontology::OntologyEvent,
        schedule::{RunOutcome, ScheduleAction, ScheduleEvent, Timing},
        stream_schema::{DriftStatus, StreamSchemaEvent},
        sync::{StreamProgress, SyncEvent},
        task::{TaskEvent, TaskStatus},
        tenant::{TenantEvent, Upload},
        user::{Role, UserEvent},
    },
    drift::{DriftFinding, DriftKind, OverlapCheck, RepairChange, Severity},
    envelope::{AggregateType, Position},
    health::{ConnectionLimits, Failure, FailureKind},
    ids::{
        ConnectionId, DriftId, FeedId, RepairId, ScheduleId, SessionId, SyncId, TaskId, TenantId, UploadId,
        UserId,
    },
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
    ontology::default_ontology,
    schema::{DiscoveredStream, Field, LogicalType, StreamSelection, StreamShape, SyncMode},
};
use autonomos_projections::{
    read_models::{
        query::{
            ActivityFilter, DriftFilter, MappingFilter, ReadModels, RepairFilter, SyncFilter, TaskFilter,
        },
        rows::{PageRequest, SyncStatus},
    },
    runtime::{Handle, READ_MODELS},
};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const LONG: Duration = Duration::from_mins(1);

on_both_stores!(
    they_show_what_happened,
    a_mapping_is_shown_as_it_is_in_force,
    filters_and_pages_cover_a_list_once,
    a_rebuild_shows_the_same,
    no_query_crosses_tenants_and_none_tells_secrets,
);

/// The ids of one tenant's things: all different between tenants.
pub(crate) struct Ids {
    pub(crate) tenant: TenantId,
    pub(crate) user: Uuid,
    pub(crate) api_key: Uuid,
    pub(crate) connection: ConnectionId,
    pub(crate) feed: FeedId,
    pub(crate) sync: SyncId,
    pub(crate) task: TaskId,
    pub(crate) upload: UploadId,
    pub(crate) drift: DriftId,
    pub(crate) repair: RepairId,
    pub(crate) schedule: ScheduleId,
}

pub(crate) fn ids(number: u128) -> Ids {
    let id = |kind: u128| Uuid::from_u128(number * 1000 + kind);
    let connection = ConnectionId(id(3));
    Ids {
        tenant: tenant(number),
        user: id(1),
        api_key: id(2),
        connection,
        feed: FeedId::of(connection, "accounts"),
        sync: SyncId(id(5)),
        task: TaskId(id(6)),
        upload: UploadId(id(7)),
        drift: DriftId(id(8)),
        repair: RepairId(id(9)),
        schedule: ScheduleId(id(10)),
    }
}

fn shape(fields: &[&str]) -> StreamShape {
    StreamShape {
        fields: fields
            .iter()
            .map(|name| Field {
                name: (*name).to_owned(),
                logical_type: LogicalType::Text,
                nullable: true,
                format: None,
            })
            .collect(),
        primary_key: vec!["id".to_owned()],
    }
}

fn content(source: &str) -> MappingContent {
    MappingContent {
        entity: Some("account".to_owned()),
        key: vec!["id".to_owned()],
        fields: vec![MappingField {
            source: source.to_owned(),
            also: vec![],
            target: "name".to_owned(),
            transform: Transform::Copy,
            confidence: 0.97,
            origin: MappingOrigin::Matcher,
            evidence: vec![],
        }],
    }
}

fn state(ids: &Ids, batches: u64, rows: u64) -> FeedState {
    FeedState {
        connection_id: ids.connection,
        stream: "accounts".to_owned(),
        cursor: Some(json!({ "offset": rows })),
        schema_version: 1,
        snapshot: None,
        batches,
        rows,
        bytes: rows * 10,
        completed_rows: None,
    }
}

/// One tenant's history with an event of nearly every type.
pub(crate) async fn fill(world: &World, number: u128) -> Position {
    let ids = ids(number);
    let mark = format!("t{number}");
    let at = crate::world::epoch();
    let of = ids.tenant;
    let upload = Upload {
        id: ids.upload,
        file_name: format!("{mark}.csv"),
        bytes: 100,
        content_hash: "00".to_owned(),
        uploaded_at: at,
    };
    world
        .append(
            of,
            AggregateType::Tenant,
            of.0,
            &[
                TenantEvent::TenantRegistered { name: mark.clone(), cell: 0, owner: UserId(ids.user) },
                TenantEvent::UploadStored { upload },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::User,
            ids.user,
            &[
                UserEvent::UserRegistered {
                    email: format!("{mark}@example.com"),
                    password_hash: "$argon2id$secret".to_owned(),
                    role: Role::Owner,
                },
                UserEvent::SessionStarted {
                    session_id: SessionId(Uuid::from_u128(1)),
                    refresh_hash: "refresh-secret".to_owned(),
                    expires_at: at,
                },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::ApiKey,
            ids.api_key,
            &[ApiKeyEvent::ApiKeyCreated {
                name: mark.clone(),
                prefix: "aos_1".to_owned(),
                secret_hash: "key-secret".to_owned(),
                role: Role::Editor,
                created_by: UserId(ids.user),
                expires_at: None,
            }],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Connection,
            ids.connection.0,
            &[ConnectionEvent::ConnectionCreated {
                name: mark.clone(),
                connector: "file".to_owned(),
                config: json!({ "path": format!("/{mark}"), "password": "config-secret" }),
            }],
        )
        .await;
    let stream = DiscoveredStream {
        name: "accounts".to_owned(),
        shape: shape(&["id", "name"]),
        cursor_fields: vec![],
        sync_modes: vec![SyncMode::Full],
        estimated_rows: Some(5),
        sampled: None,
    };
    let selection = StreamSelection {
        name: "accounts".to_owned(),
        sync_mode: None,
        cursor_field: None,
        primary_key: None,
        entity: None,
        priority: 1,
    };
    world
        .append(
            of,
            AggregateType::Connection,
            ids.connection.0,
            &[
                ConnectionEvent::ConnectionTested { ok: true, message: "fine".to_owned(), latency_ms: 3 },
                ConnectionEvent::StreamsDiscovered { streams: vec![stream] },
                ConnectionEvent::StreamsSelected { streams: vec![selection] },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Task,
            ids.task.0,
            &[
                TaskEvent::TaskQueued {
                    task_id: ids.task,
                    action: "sync".to_owned(),
                    payload: json!({ "of": mark }),
                    max_retries: 3,
                    timeout_seconds: 60,
                    run_at: None,
                    priority: 0,
                },
                TaskEvent::TaskStarted { attempt: 1, worker: "w".to_owned(), term: 0 },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Sync,
            ids.sync.0,
            &[
                SyncEvent::SyncRequested { connection_id: ids.connection, task_id: ids.task },
                SyncEvent::SyncStarted { attempt: 1, streams: vec!["accounts".to_owned()] },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::StreamSchema,
            ids.feed.0,
            &[StreamSchemaEvent::SchemaVersionRecorded {
                connection_id: ids.connection,
                stream: "accounts".to_owned(),
                version: 1,
                fingerprint: mark.clone(),
                shape: shape(&["id", "name"]),
            }],
        )
        .await;
    let binding = |schema_version, mapping_version| MappingEvent::MappingBound {
        binding: Binding {
            schema_version,
            mapping_version,
            held: vec![],
            hold_rows: false,
            suspect_from: None,
        },
    };
    world
        .append(
            of,
            AggregateType::Mapping,
            ids.feed.0,
            &[
                MappingEvent::MappingCreated {
                    connection_id: ids.connection,
                    stream: "accounts".to_owned(),
                    version: 1,
                    content: content("name"),
                    origin: MappingOrigin::Matcher,
                },
                binding(1, 1),
            ],
        )
        .await;
    for batch in 1..=2 {
        let header = BatchHeader {
            rows: 10,
            schema_version: 1,
            checksum: String::new(),
            key: vec!["id".to_owned()],
            sync_id: ids.sync,
            rejected: vec![],
            rejected_total: 0,
        };
        world
            .append(
                of,
                AggregateType::Feed,
                ids.feed.0,
                &[FeedEvent::RecordsIngested { batch: header, state: state(&ids, batch, batch * 10) }],
            )
            .await;
    }
    let progress = StreamProgress { rows_read: 20, batches: 2, bytes: 200, rows_rejected: 1 };
    world
        .append(
            of,
            AggregateType::Sync,
            ids.sync.0,
            &[
                SyncEvent::StreamSyncCompleted { stream: "accounts".to_owned(), progress },
                SyncEvent::SyncSucceeded {},
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Task,
            ids.task.0,
            &[TaskEvent::TaskSucceeded { result: json!({ "rows": 20 }) }],
        )
        .await;
    let change = RepairChange {
        drift_id: ids.drift,
        old_source: "name".to_owned(),
        new_sources: vec!["title".to_owned()],
        adapt: None,
        probability: 0.8,
        evidence: vec![],
        overlap: OverlapCheck::Unknown { compared: 0 },
        origin: MappingOrigin::Matcher,
    };
    let finding = DriftFinding {
        id: ids.drift,
        kind: DriftKind::FieldRenamed,
        field: Some("name".to_owned()),
        before: None,
        after: None,
        severity: Severity::Critical,
        confidence: 0.9,
        evidence: vec![],
        repair: Some(change.clone()),
    };
    world
        .append(
            of,
            AggregateType::StreamSchema,
            ids.feed.0,
            &[
                StreamSchemaEvent::SchemaVersionRecorded {
                    connection_id: ids.connection,
                    stream: "accounts".to_owned(),
                    version: 2,
                    fingerprint: format!("{mark}-2"),
                    shape: shape(&["id", "title"]),
                },
                StreamSchemaEvent::DriftDetected {
                    finding: Box::new(finding),
                    from_version: 1,
                    to_version: 2,
                },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Mapping,
            ids.feed.0,
            &[MappingEvent::RepairProposed {
                repair_id: ids.repair,
                schema_version: 2,
                changes: vec![change],
                proposed: content("title"),
                confidence: 0.8,
                targets: vec!["name".to_owned()],
                key: false,
                status: RepairStatus::PendingReview,
            }],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Mapping,
            ids.feed.0,
            &[
                MappingEvent::RepairApproved { repair_id: ids.repair, by: UserId(ids.user), edited: false },
                MappingEvent::MappingRevised {
                    version: 2,
                    content: content("title"),
                    origin: MappingOrigin::Human,
                    based_on: 1,
                    repair_id: Some(ids.repair),
                },
                binding(2, 2),
            ],
        )
        .await;
    let (call_id, model) = (ids.upload.0, mark.clone());
    let purpose = LlmPurpose::Repair;
    let used = LlmUse {
        outcome: LlmOutcome::Answered,
        requests: 1,
        input_tokens: 100,
        output_tokens: 10,
        cost_micros: 250,
        latency_ms: 40,
    };
    let settled = LlmAccountEvent::LlmCallSettled { call_id, model, purpose, prompt_version: 1, used };
    world.append(of, AggregateType::LlmAccount, of.0, &[settled]).await;
    world
        .append(
            of,
            AggregateType::Schedule,
            ids.schedule.0,
            &[
                ScheduleEvent::ScheduleCreated {
                    name: mark.clone(),
                    timing: Timing { cron: "0 6 * * *".to_owned(), time_zone: "UTC".to_owned() },
                    action: ScheduleAction::Sync,
                    connection_id: ids.connection,
                    enabled: true,
                    next_run_at: Some(at),
                },
                ScheduleEvent::ScheduleRan {
                    slot: at,
                    outcome: RunOutcome::Started { task_id: ids.task, sync_id: ids.sync },
                    next_run_at: Some(at + chrono::TimeDelta::days(1)),
                },
            ],
        )
        .await;
    let failure = Failure {
        kind: FailureKind::Transient,
        code: "AOS-0262".to_owned(),
        message: format!("{mark} is down"),
    };
    let limits = ConnectionLimits { warn_after: Some(1), ..ConnectionLimits::default() };
    world
        .append(
            of,
            AggregateType::Connection,
            ids.connection.0,
            &[
                ConnectionEvent::LimitsSet { limits },
                ConnectionEvent::SyncWentWrong { sync_id: ids.sync, at, failure, consecutive_failures: 1 },
                ConnectionEvent::ConnectionWarned { consecutive_failures: 1 },
                ConnectionEvent::SyncWentWell { sync_id: ids.sync, at },
            ],
        )
        .await;
    world
        .append(
            of,
            AggregateType::Ontology,
            of.0,
            &[OntologyEvent::OntologyRevised { ontology: default_ontology() }],
        )
        .await;
    world
        .append(
            of,
            AggregateType::StreamSchema,
            ids.feed.0,
            &[StreamSchemaEvent::DriftResolved { drift_id: ids.drift, status: DriftStatus::Repaired }],
        )
        .await
}

/// Everything every query answers, as text.
pub(crate) async fn dump(reads: &ReadModels, of: TenantId, ids: &Ids) -> String {
    let page = PageRequest::default();
    let text = |value: Result<Value, serde_json::Error>| value.unwrap().to_string();
    let mut all = Vec::new();
    macro_rules! add {
        ($($call:expr),+ $(,)?) => {$(
            all.push(text(serde_json::to_value($call.await.unwrap())));
        )+};
    }
    add!(
        reads.tenant_get(of),
        reads.overview(of),
        reads.user_list(of, &page),
        reads.user_get(of, ids.user),
        reads.api_key_list(of, &page),
        reads.api_key_get(of, ids.api_key),
        reads.ontology_get(of),
        reads.llm_usage_list(of, crate::world::epoch().date_naive()),
        reads.connection_list(of, &page),
        reads.connection_get(of, ids.connection.0),
        reads.stream_list(of, None),
        reads.stream_list(of, Some(ids.connection.0)),
        reads.sync_list(of, &SyncFilter::default(), &page),
        reads.sync_get(of, ids.sync.0),
        reads.schema_list(of, ids.connection.0, None),
        reads.drift_list(of, &DriftFilter::default(), &page),
        reads.drift_get(of, ids.drift.0),
        reads.drifts_by_id(of, &[ids.drift.0, of.0]),
        reads.mapping_list(of, &MappingFilter::default()),
        reads.mapping_get(of, ids.feed.0),
        reads.mapping_version_list(of, ids.feed.0),
        reads.repair_list(of, &RepairFilter::default(), &page),
        reads.repair_get(of, ids.repair.0),
        reads.task_list(of, &TaskFilter::default(), &page),
        reads.task_get(of, ids.task.0),
        reads.task_log(of, ids.task.0),
        reads.schedule_list(of, None, &page),
        reads.schedule_list(of, Some(ids.connection.0), &page),
        reads.schedule_get(of, ids.schedule.0),
        reads.upload_list(of, &page),
        reads.upload_get(of, ids.upload.0),
        reads.activity_list(of, &ActivityFilter::default(), &page),
    );
    all.join("\n")
}

async fn filled(world: &World) -> Handle {
    let handle = world.start().await;
    fill(world, 1).await;
    let position = fill(world, 2).await;
    for number in [1, 2] {
        handle.wait_for(tenant(number), position, &[READ_MODELS], LONG).await.unwrap();
    }
    handle
}

async fn they_show_what_happened(world: World) {
    let handle = filled(&world).await;
    let (reads, ids) = (handle.read_models(), ids(1));
    let of = ids.tenant;
    let tenant_row = reads.tenant_get(of).await.unwrap().unwrap();
    assert_eq!((tenant_row.name.as_str(), tenant_row.uploaded_bytes), ("t1", 100));
    let connection = reads.connection_get(of, ids.connection.0).await.unwrap().unwrap();
    assert_eq!(connection.status, ConnectionStatus::Healthy);
    let config = connection.config.open(&*world.ring, of, ids.connection.0).unwrap();
    assert_eq!(config["password"], "config-secret");
    assert!(!serde_json::to_string(&connection).unwrap().contains("config"));
    let health = &connection.health;
    assert_eq!(
        (health.consecutive_failures, health.warned, connection.limits.warn_after),
        (0, false, Some(1))
    );
    assert_eq!(health.last_failure.as_ref().map(|failure| failure.message.as_str()), Some("t1 is down"));
    assert!(health.last_success_at.is_some());
    let schedule = reads.schedule_get(of, ids.schedule.0).await.unwrap().unwrap();
    assert_eq!((schedule.last_task_id, schedule.connection_id), (Some(ids.task.0), ids.connection.0));
    assert_eq!(schedule.next_run_at, schedule.last_slot.map(|slot| slot + chrono::TimeDelta::days(1)));
    let streams = reads.stream_list(of, Some(ids.connection.0)).await.unwrap();
    assert_eq!(streams.len(), 1);
    assert_eq!((streams[0].rows, streams[0].batches, streams[0].schema_version), (20, 2, Some(2)));
    assert_eq!((streams[0].entity.as_deref(), streams[0].mapping_version), (Some("account"), Some(2)));
    assert!(streams[0].discovered.is_some() && streams[0].selection.is_some());
    let sync = reads.sync_get(of, ids.sync.0).await.unwrap().unwrap();
    assert_eq!((sync.status, sync.streams[0].rows_read), (SyncStatus::Succeeded, 20));
    let (first, last) = sync.streams[0].sequences.unwrap();
    assert_eq!(last, first + 1);
    let drift = reads.drift_get(of, ids.drift.0).await.unwrap().unwrap();
    assert_eq!((drift.status, drift.kind), (DriftStatus::Repaired, DriftKind::FieldRenamed));
    let repair = reads.repair_get(of, ids.repair.0).await.unwrap().unwrap();
    assert_eq!((repair.status, repair.drift_id), (RepairStatus::Approved, Some(ids.drift.0)));
    assert_eq!((repair.before, repair.after), (Some(content("name")), content("title")));
    assert_eq!(repair.decided_by, Some(ids.user));
    let mapping = reads.mapping_get(of, ids.feed.0).await.unwrap().unwrap();
    assert_eq!((mapping.version, mapping.bindings.len()), (2, 2));
    assert_eq!(reads.mapping_version_list(of, ids.feed.0).await.unwrap().len(), 2);
    assert_eq!(reads.schema_list(of, ids.connection.0, Some("accounts")).await.unwrap().len(), 2);
    let task = reads.task_get(of, ids.task.0).await.unwrap().unwrap();
    assert_eq!(task.status, TaskStatus::Succeeded);
    let log: Vec<_> =
        reads.task_log(of, ids.task.0).await.unwrap().into_iter().map(|line| line.event).collect();
    assert_eq!(log, ["TaskQueued", "TaskStarted", "TaskSucceeded"]);
    let overview = reads.overview(of).await.unwrap();
    assert_eq!((overview.connections, overview.rows, overview.repairs_approved), (1, 20, 1));
}

async fn a_mapping_is_shown_as_it_is_in_force(world: World) {
    let handle = filled(&world).await;
    let ids = ids(1);
    let by = UserId(ids.user);
    let bound = |schema_version, mapping_version| MappingEvent::MappingBound {
        binding: Binding {
            schema_version,
            mapping_version,
            held: vec![],
            hold_rows: false,
            suspect_from: None,
        },
    };
    let revised = |version, source, based_on| MappingEvent::MappingRevised {
        version,
        content: content(source),
        origin: MappingOrigin::Human,
        based_on,
        repair_id: None,
    };
    let roll_back = MappingEvent::RepairRolledBack { repair_id: ids.repair, by };
    // What happens, and the version, column and origin that are then in force.
    let cases = [
        ("as it was repaired", vec![], (2, "title", MappingOrigin::Human)),
        ("rolled back", vec![bound(2, 1), roll_back], (1, "name", MappingOrigin::Matcher)),
        ("edited", vec![revised(3, "label", 1), bound(2, 3)], (3, "label", MappingOrigin::Human)),
        (
            "mended for an earlier schema alone",
            vec![revised(4, "old", 1), bound(1, 4)],
            (3, "label", MappingOrigin::Human),
        ),
        ("followed to a new schema", vec![bound(3, 2)], (2, "title", MappingOrigin::Human)),
    ];
    for (case, events, (version, column, origin)) in cases {
        if !events.is_empty() {
            let position = world.append(ids.tenant, AggregateType::Mapping, ids.feed.0, &events).await;
            handle.wait_for(ids.tenant, position, &[READ_MODELS], LONG).await.unwrap();
        }
        let reads = handle.read_models();
        let row = reads.mapping_get(ids.tenant, ids.feed.0).await.unwrap().unwrap();
        assert_eq!(
            (row.version, row.fields[0].source.as_str(), row.origin),
            (version, column, origin),
            "{case}"
        );
        let stream = &reads.stream_list(ids.tenant, Some(ids.connection.0)).await.unwrap()[0];
        assert_eq!(stream.mapping_version, Some(version), "{case}");
    }
    let before = dump(&handle.read_models(), ids.tenant, &ids).await;
    handle.rebuild_and_wait(READ_MODELS).await.unwrap();
    assert_eq!(dump(&handle.read_models(), ids.tenant, &ids).await, before);
}

async fn filters_and_pages_cover_a_list_once(world: World) {
    let handle = filled(&world).await;
    let (reads, ids) = (handle.read_models(), ids(1));
    let of = ids.tenant;
    let filter = ActivityFilter::default();
    let all = reads.activity_list(of, &filter, &PageRequest { limit: 1000, cursor: None }).await.unwrap();
    let whole: Vec<_> = all.data.iter().map(|row| (row.position, row.event_index)).collect();
    let mut paged = Vec::new();
    let mut request = PageRequest { limit: 4, cursor: None };
    loop {
        let page = reads.activity_list(of, &filter, &request).await.unwrap();
        paged.extend(page.data.iter().map(|row| (row.position, row.event_index)));
        match page.next_cursor {
            None => break,
            cursor => request.cursor = cursor,
        }
    }
    assert_eq!(paged, whole);
    assert!(whole.windows(2).all(|pair| pair[0] > pair[1]));
    let types = ActivityFilter { types: vec!["DriftDetected".to_owned()], ..ActivityFilter::default() };
    let drifts = reads.activity_list(of, &types, &PageRequest::default()).await.unwrap();
    assert_eq!(drifts.data.len(), 1);
    assert_eq!(drifts.data[0].summary, "Drift detected: field_renamed name");
    let nobody = ActivityFilter { actor: Some("nobody".to_owned()), ..ActivityFilter::default() };
    assert!(reads.activity_list(of, &nobody, &PageRequest::default()).await.unwrap().data.is_empty());
    let pending = RepairFilter { status: Some(RepairStatus::PendingReview), ..RepairFilter::default() };
    assert!(reads.repair_list(of, &pending, &PageRequest::default()).await.unwrap().data.is_empty());
    let bad = PageRequest { limit: 1, cursor: Some("zz".to_owned()) };
    assert_eq!(reads.user_list(of, &bad).await.unwrap_err().code(), "AOS-0412");
}

async fn a_rebuild_shows_the_same(world: World) {
    let handle = filled(&world).await;
    let mut before = Vec::new();
    for number in [1, 2] {
        before.push(dump(&handle.read_models(), tenant(number), &ids(number)).await);
    }
    handle.rebuild_and_wait(READ_MODELS).await.unwrap();
    for number in [1, 2] {
        let after = dump(&handle.read_models(), tenant(number), &ids(number)).await;
        assert_eq!(after, before[number as usize - 1]);
    }
    handle.shutdown().await;
    // All of it gone: the start builds it again before it ends.
    world.lose_read_models().await;
    let handle = world.start().await;
    for number in [1, 2] {
        let after = dump(&handle.read_models(), tenant(number), &ids(number)).await;
        assert_eq!(after, before[number as usize - 1]);
    }
    handle.shutdown().await;
    autonomos_projections::runtime::rebuild_offline(
        world.options(),
        world.log(),
        world.ring.clone(),
        READ_MODELS,
        &|_, _| {},
    )
    .await
    .unwrap();
    let handle = world.start().await;
    assert_eq!(dump(&handle.read_models(), tenant(1), &ids(1)).await, before[0]);
}

async fn no_query_crosses_tenants_and_none_tells_secrets(world: World) {
    let handle = filled(&world).await;
    let reads = handle.read_models();
    let own = dump(&reads, tenant(1), &ids(1)).await;
    assert!(own.contains("t1@example.com") && !own.contains("t2"));
    // With the other's ids: nothing of the other's.
    let crossed = dump(&reads, tenant(1), &ids(2)).await;
    assert!(!crossed.contains("t2"));
    for id in [ids(2).user, ids(2).connection.0, ids(2).feed.0, ids(2).sync.0, ids(2).repair.0] {
        assert!(!crossed.contains(&id.to_string()));
    }
    let stranger = dump(&reads, tenant(3), &ids(1)).await;
    assert!(!stranger.contains("t1") && !stranger.contains("t2"));
    handle.shutdown().await;
    let kept = world.kept_read_models().await;
    assert!(kept.windows(2).any(|window| window == b"t1"));
    for secret in ["$argon2id", "refresh-secret", "key-secret", "config-secret"] {
        assert!(!own.contains(secret));
        assert!(!kept.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret}");
    }
}
