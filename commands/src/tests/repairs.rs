use super::{World, context, next};
use crate::{
    clock::Clock,
    processes,
    repairs::{EXPIRE_REPAIR_ACTION, RepairExpiry},
    tasks::{TaskOptions, TaskService},
};
use autonomos_domain::{
    aggregates::{
        mapping::{DriftImpact, Mapping, MappingCommand, RepairStatus},
        task::{Task, TaskStatus},
        tenant::{AutonomyMode, RepairPolicy, Tenant, TenantCommand},
    },
    drift::{OverlapCheck, RepairChange},
    ids::{ConnectionId, DriftId, FeedId, RepairId, TenantId},
    mapping::{MappingContent, MappingField, MappingOrigin, Transform},
    policy::{PolicyInForce, RepairRules},
};
use autonomos_log::{
    control::ControlStore,
    port::{EventLog, Filter},
};
use chrono::{DateTime, TimeDelta};
use std::sync::Arc;
use uuid::Uuid;

/// A mapping of one line, and a proposal for it that waits.
async fn proposed(world: &World, tenant: TenantId, stream: &str) -> (Uuid, RepairId) {
    let connection_id = ConnectionId(Uuid::nil());
    let mapping = FeedId::of(connection_id, stream).0;
    let line = MappingField {
        source: "old".to_owned(),
        also: vec![],
        target: "name".to_owned(),
        transform: Transform::Copy,
        confidence: 1.0,
        origin: MappingOrigin::Matcher,
        evidence: vec![],
    };
    let content =
        MappingContent { entity: Some("account".to_owned()), key: vec!["id".to_owned()], fields: vec![line] };
    let create = MappingCommand::CreateMapping {
        connection_id,
        stream: stream.to_owned(),
        schema_version: 1,
        content,
        origin: MappingOrigin::Matcher,
    };
    world.commands.execute::<Mapping>(&context(tenant), mapping, create).await.unwrap();
    let drift_id = DriftId::random();
    let change = RepairChange {
        drift_id,
        old_source: "old".to_owned(),
        new_sources: vec!["new".to_owned()],
        adapt: None,
        probability: 0.8,
        evidence: vec![],
        overlap: OverlapCheck::Unknown { compared: 0 },
        origin: MappingOrigin::Matcher,
    };
    let waiting_id = RepairId::random();
    let follow = MappingCommand::FollowSchema {
        schema_version: 2,
        from_version: 1,
        impacts: vec![DriftImpact {
            drift_id,
            columns: vec!["old".to_owned()],
            change: Some(change),
            key: false,
        }],
        policies: PolicyInForce::of(RepairPolicy::default()),
        mode: AutonomyMode::Auto,
        automatic_id: RepairId::random(),
        waiting_id,
    };
    world.commands.execute::<Mapping>(&context(tenant), mapping, follow).await.unwrap();
    (mapping, waiting_id)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_that_nobody_decides_about_expires_at_its_time() {
    let clock = Clock::fixed(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
    let world = World::with_clock(clock.clone());
    let tenant = world.tenant().await;
    let (_, endless) = proposed(&world, tenant, "before").await;
    let rules = RepairRules { expire_after_days: Some(30), ..RepairRules::default() };
    let revise = TenantCommand::ReviseRepairRules { based_on: 0, rules };
    let control = Arc::new(ControlStore::open(&world.path().join("processes.sqlite")).unwrap());
    let tasks = TaskService::new(TaskOptions::new(world.path().join("tasks.sqlite")), world.commands.clone())
        .register(EXPIRE_REPAIR_ACTION, Arc::new(RepairExpiry::new(world.commands.clone())))
        .start()
        .unwrap();
    world.commands.execute::<Tenant>(&context(tenant), tenant.0, revise).await.unwrap();
    let (decided_mapping, decided) = proposed(&world, tenant, "decided").await;
    let (mapping, waiting) = proposed(&world, tenant, "waiting").await;
    let managers = processes::Service::start(&world.commands, &control, None);
    let mut deliveries = world.log.subscribe(0, 0, Filter { tenant: Some(tenant), aggregate_types: vec![] });
    let mut ends = Vec::new();
    // All three were made by the time that the managers look: each is given the days in force then.
    for _ in 0..3 {
        let queued = next(&mut deliveries, "TaskQueued").await;
        let id = queued.header.key.aggregate_id;
        ends.push(world.commands.load::<Task>(tenant, id).await.unwrap().state.run_at.unwrap());
    }
    assert!(ends.iter().all(|end| *end == clock.now() + TimeDelta::days(30)), "{ends:?}");
    let reject = MappingCommand::RejectRepair {
        repair_id: decided,
        part: None,
        by: autonomos_domain::ids::UserId(Uuid::nil()),
    };
    world.commands.execute::<Mapping>(&context(tenant), decided_mapping, reject).await.unwrap();

    clock.advance(TimeDelta::days(30));
    tasks.wake();
    let mut ended = 0;
    while ended < 3 {
        let commit = next(&mut deliveries, "TaskSucceeded").await;
        let task = world.commands.load::<Task>(tenant, commit.header.key.aggregate_id).await.unwrap().state;
        assert_eq!(task.status, TaskStatus::Succeeded);
        ended += 1;
    }
    let status = async |mapping: Uuid, repair: RepairId| {
        world.commands.load::<Mapping>(tenant, mapping).await.unwrap().state.repairs[&repair].status
    };
    assert_eq!(status(mapping, waiting).await, RepairStatus::Expired);
    assert_eq!(status(decided_mapping, decided).await, RepairStatus::Rejected, "what is decided stays so");
    let first = FeedId::of(ConnectionId(Uuid::nil()), "before").0;
    assert_eq!(status(first, endless).await, RepairStatus::Expired);
    // Its cells wait still.
    let held = world.commands.load::<Mapping>(tenant, mapping).await.unwrap().state;
    assert_eq!(held.bindings[&2].held, ["name"]);
    managers.shutdown().await;
    tasks.shutdown().await;
}
