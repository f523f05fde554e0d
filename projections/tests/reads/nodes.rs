//! Several nodes on one log: one keeps a projection, all wait for it, the next one takes it over.

use crate::{
    runtime::LONG,
    world::{World, tenant},
};
use autonomos_domain::{
    aggregates::{reservation::ReservationEvent, tenant::TenantEvent},
    envelope::{AggregateType, Position},
    ids::TenantId,
};
use autonomos_log::{database::Database, lease::Leases};
use autonomos_projections::runtime::{DCL, Handle, Options, Part, READ_MODELS, Service};
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

async fn node(world: &World, name: &str, keeps: bool) -> Handle {
    let url = &world.database.as_ref().unwrap().url;
    let database = Database::connect(url, Duration::from_secs(10)).await.unwrap();
    let leases = Leases::open(&database, name, "").await.unwrap();
    let leases = leases.with_times(Duration::from_secs(1), Duration::from_millis(50));
    let part = Part::Shared { leases, keeps };
    let options = Options { part, data_dir: world.folder.path().join(name), ..world.options() };
    Service::start(options, world.log(), Arc::clone(&world.ring)).await.unwrap()
}

pub(crate) async fn renamed(world: &World, of: TenantId, name: &str) -> Position {
    let event = TenantEvent::TenantRenamed { name: name.to_owned() };
    world.append(of, AggregateType::Tenant, of.0, &[event]).await
}

async fn kept_here(node: &Handle) {
    let kept = async {
        while node.is_elsewhere(READ_MODELS, 0) || node.is_elsewhere(DCL, 0) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, kept).await.expect("the node takes over");
}

async fn shown(node: &Handle, of: TenantId, position: Position) {
    node.wait_for(of, position, &[READ_MODELS], LONG).await.unwrap();
    assert!(node.position(of, position.cell, &[READ_MODELS]).sequence >= position.sequence);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_node_keeps_a_projection_all_wait_for_it_and_the_next_takes_over() {
    let world = World::on_postgres();
    let of = tenant(1);
    let first = renamed(&world, of, "first").await;
    let one = node(&world, "one", true).await;
    kept_here(&one).await;
    let two = node(&world, "two", true).await;
    let reader = node(&world, "reader", false).await;
    for node in [&one, &two, &reader] {
        shown(node, of, first).await;
    }
    assert!(
        two.is_elsewhere(READ_MODELS, 0) && reader.is_elsewhere(DCL, 0) && !reader.is_elsewhere("none", 0)
    );
    let asked = two.wait_for(of, first, &[DCL], LONG).await.unwrap_err();
    assert_eq!(asked.code(), "AOS-0442", "the views are files of their keeper's");
    assert_eq!(two.rebuild(READ_MODELS).unwrap_err().code(), "AOS-0442");
    assert_eq!(reader.status().await.unwrap()[0].name, READ_MODELS);

    // What no projector listens to is waited for too, on every node.
    let released = ReservationEvent::ReservationReleased {
        holder: autonomos_domain::aggregates::reservation::Holder { tenant: of, id: of.0 },
    };
    let passed = world.append(of, AggregateType::Reservation, Uuid::from_u128(5), &[released]).await;
    for node in [&one, &two, &reader] {
        shown(node, of, passed).await;
    }

    one.shutdown().await;
    kept_here(&two).await;
    let second = renamed(&world, of, "second").await;
    for node in [&two, &reader] {
        shown(node, of, second).await;
    }
    // A rebuild by one node is followed by the others.
    two.rebuild_and_wait(READ_MODELS).await.unwrap();
    let third = renamed(&world, of, "third").await;
    for node in [&two, &reader] {
        shown(node, of, third).await;
    }
    two.shutdown().await;
    reader.shutdown().await;
}
