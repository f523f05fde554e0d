use super::{World, context};
use crate::{
    connections::{CLOSE_CONNECTION_ACTION, ConnectionService, ConnectorFactory},
    error::{CommandError, Kind},
    execute::Commands,
    tasks::{TaskHandle, TaskOptions, TaskService},
};
use async_trait::async_trait;
use autonomos_connectors::{
    error::ConnectorError,
    port::{Capabilities, CheckStep, Connector, ConnectorInfo, ReadEvent},
    requests::Requests,
};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionCommand, ConnectionStatus},
        feed::Feed,
    },
    ids::{ConnectionId, FeedId, SnapshotId, SyncId, TenantId},
    schema::{DiscoveredStream, StreamSelection, StreamShape, SyncMode},
};
use autonomos_log::port::{Delivery, EventLog, Filter};
use futures::{StreamExt, stream::BoxStream};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

struct Fake;

impl ConnectorFactory for Fake {
    fn connect(
        &self,
        _tenant: TenantId,
        _connection: ConnectionId,
        _connector: &str,
        config: &Value,
        _requests: &Requests,
    ) -> Result<Arc<dyn Connector>, ConnectorError> {
        let Some(url) = config["url"].as_str() else {
            return Err(ConnectorError::Configuration {
                code: "AOS-0201",
                field: "/url".to_owned(),
                message: "`url` is missing".to_owned(),
            });
        };
        Ok(Arc::new(FakeSource { down: url == "down" }))
    }

    fn catalogue(&self) -> Vec<ConnectorInfo> {
        vec![ConnectorInfo {
            id: "fake",
            name: "Fake",
            config_schema: json!({"properties": {
                "url": {"type": "string"},
                "token": {"type": "string", "writeOnly": true},
            }}),
            capabilities: Capabilities { full: true, ..Capabilities::default() },
        }]
    }
}

struct FakeSource {
    down: bool,
}

#[async_trait]
impl Connector for FakeSource {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        if self.down {
            return Err(ConnectorError::Transient { code: "AOS-0299", message: "it is down".to_owned() });
        }
        Ok(vec![CheckStep { name: "open".to_owned(), passed: true, message: "it answers".to_owned() }])
    }

    async fn discover(&self, _cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        Ok(vec![DiscoveredStream {
            name: "accounts".to_owned(),
            shape: StreamShape::default(),
            cursor_fields: Vec::new(),
            sync_modes: vec![SyncMode::Full],
            estimated_rows: None,
            sampled: None,
        }])
    }

    fn read(
        &self,
        _stream: &StreamSelection,
        _mode: SyncMode,
        _cursor: Option<Value>,
        _cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>> {
        futures::stream::empty().boxed()
    }
}

fn service_of(world: &World, commands: Commands) -> ConnectionService {
    ConnectionService::new(commands, world.keys.clone(), Arc::new(Fake))
}

fn service(world: &World) -> (ConnectionService, TaskHandle) {
    let connections = service_of(world, world.commands.clone());
    let tasks = TaskService::new(TaskOptions::new(world.path().join("tasks.sqlite")), world.commands.clone())
        .register(CLOSE_CONNECTION_ACTION, Arc::new(connections.clone()))
        .start()
        .unwrap();
    (connections, tasks)
}

fn config() -> Value {
    json!({ "url": "up", "token": "hunter2" })
}

#[tokio::test]
async fn a_connection_is_made_once_tested_discovered_and_selected() {
    let world = World::new();
    let (connections, _tasks) = service(&world);
    let tenant = world.tenant().await;
    let asked = context(tenant);
    let (id, first) = connections.connection_create(&asked, "CRM", "fake", config()).await.unwrap();
    let (again, replayed) = connections.connection_create(&asked, "CRM", "fake", config()).await.unwrap();
    assert_eq!((again, replayed.position, replayed.replayed), (id, first.position, true));

    let taken = connections.connection_create(&context(tenant), " crm ", "fake", config()).await.unwrap_err();
    assert!(matches!(taken, CommandError::NameTaken { .. }), "{taken}");
    let stranger = world.tenant().await;
    connections.connection_create(&context(stranger), "CRM", "fake", config()).await.unwrap();
    let unknown = connections.connection_create(&context(tenant), "x", "oracle", config()).await.unwrap_err();
    assert_eq!(unknown.code(), "AOS-0341");
    let invalid = connections.connection_create(&context(tenant), "x", "fake", json!({})).await.unwrap_err();
    assert_eq!((invalid.code(), invalid.kind()), ("AOS-0201", Kind::Invalid));

    let (report, _) = connections.connection_test(&context(tenant), id).await.unwrap();
    assert!(report.ok);
    let missing = connections.connection_test(&context(stranger), id).await.unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    let select = vec![StreamSelection {
        name: "accounts".to_owned(),
        sync_mode: None,
        cursor_field: None,
        primary_key: None,
        entity: Some("account".to_owned()),
        priority: 0,
    }];
    connections.connection_select(&context(tenant), id, select).await.unwrap();
    let state = world.commands.load::<Connection>(tenant, id.0).await.unwrap().state;
    assert_eq!(state.status, ConnectionStatus::Healthy);
    assert_eq!(connections.config_shown("fake", &state.config), json!({ "url": "up", "token": "***" }));
}

#[tokio::test]
async fn an_update_keeps_masked_secrets_and_frees_the_old_name() {
    let world = World::new();
    let (connections, _tasks) = service(&world);
    let tenant = world.tenant().await;
    let (id, _) = connections.connection_create(&context(tenant), "CRM", "fake", config()).await.unwrap();
    let (other, _) = connections.connection_create(&context(tenant), "ERP", "fake", config()).await.unwrap();
    let down = Some(json!({ "url": "down", "token": "***" }));
    connections.connection_update(&context(tenant), id, Some("Sales"), down).await.unwrap();
    let state = world.commands.load::<Connection>(tenant, id.0).await.unwrap().state;
    assert_eq!((state.name.as_str(), &state.config["token"]), ("Sales", &json!("hunter2")));
    let (report, _) = connections.connection_test(&context(tenant), id).await.unwrap();
    assert_eq!((report.ok, report.message.as_str()), (false, "it is down"));

    let taken =
        connections.connection_update(&context(tenant), other, Some("sales"), None).await.unwrap_err();
    assert!(matches!(taken, CommandError::NameTaken { .. }));
    connections.connection_update(&context(tenant), other, Some("CRM"), None).await.unwrap();
    // Only its case: still the same name.
    connections.connection_update(&context(tenant), other, Some("crm"), None).await.unwrap();
    connections.connection_create(&context(tenant), "ERP", "fake", config()).await.unwrap();
}

/// What a client does whose answer was lost: it asks again, of a node that knows nothing of the first.
#[tokio::test]
async fn a_repeated_change_of_a_name_changes_nothing_again() {
    let world = World::new();
    let (connections, _tasks) = service(&world);
    let elsewhere = service_of(&world, world.other_node());
    let tenant = world.tenant().await;
    let made = context(tenant);
    let (id, _) = connections.connection_create(&made, "CRM", "fake", config()).await.unwrap();
    let renamed = context(tenant);
    connections.connection_update(&renamed, id, Some("Sales"), None).await.unwrap();
    connections.connection_update(&context(tenant), id, Some("Leads"), None).await.unwrap();

    for (asked, outcome) in [
        (&made, elsewhere.connection_create(&made, "CRM", "fake", config()).await.map(|made| made.1)),
        (&renamed, elsewhere.connection_update(&renamed, id, Some("Sales"), None).await),
    ] {
        assert!(outcome.unwrap().replayed, "{asked:?}");
    }
    // The name it has is still its own, those it had are free.
    let taken = connections.connection_create(&context(tenant), "leads", "fake", config()).await;
    assert!(matches!(taken, Err(CommandError::NameTaken { .. })), "{taken:?}");
    for name in ["CRM", "Sales"] {
        connections.connection_create(&context(tenant), name, "fake", config()).await.unwrap();
        // It is another one's by now: the answer to the repetition is the same.
        let again = elsewhere.connection_update(&renamed, id, Some("Sales"), None).await.unwrap();
        assert!(again.replayed);
    }
}

/// A process that ended between a change and what follows it.
#[tokio::test]
async fn a_name_left_half_changed_is_settled_by_the_repetition() {
    let world = World::new();
    let (connections, _tasks) = service(&world);
    let tenant = world.tenant().await;
    let (id, _) = connections.connection_create(&context(tenant), "CRM", "fake", config()).await.unwrap();
    let renamed = context(tenant);
    let update = ConnectionCommand::UpdateConnection { name: Some("Sales".to_owned()), config: None };
    world.commands.execute::<Connection>(&renamed, id.0, update).await.unwrap();

    assert!(connections.connection_update(&renamed, id, Some("Sales"), None).await.unwrap().replayed);
    let taken = connections.connection_create(&context(tenant), "Sales", "fake", config()).await;
    assert!(matches!(taken, Err(CommandError::NameTaken { .. })), "{taken:?}");
    connections.connection_create(&context(tenant), "CRM", "fake", config()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_connection_closes_its_feeds_and_frees_its_name() {
    let world = World::new();
    let (connections, tasks) = service(&world);
    let tenant = world.tenant().await;
    let (id, _) = connections.connection_create(&context(tenant), "CRM", "fake", config()).await.unwrap();
    connections.connection_discover(&context(tenant), id).await.unwrap();
    let feed_id = FeedId::of(id, "accounts");
    let handle = world.commands.feed_open(tenant, feed_id).await.unwrap();
    let begin =
        Feed::default().start_snapshot(id, "accounts", SnapshotId::random(), SyncId::random()).unwrap();
    let reader =
        world.commands.feed_append(&context(tenant), feed_id, &handle, begin.clone(), None).await.unwrap();

    let asked = context(tenant);
    connections.connection_delete(&asked, id, &tasks).await.unwrap();
    connections.connection_delete(&asked, id, &tasks).await.unwrap();
    let mut deliveries = world.log.subscribe(0, 0, Filter { tenant: Some(tenant), aggregate_types: vec![] });
    let mut closed = false;
    let mut released = false;
    while !(closed && released) {
        let Delivery::Commit(commit) = deliveries.next().await.unwrap().unwrap() else { continue };
        closed |= commit.events.iter().any(|event| event.event_type == "FeedClosed");
        released |= commit.events.iter().any(|event| event.event_type == "ReservationReleased");
    }
    // The reader of before is fenced off.
    let late = world.commands.feed_append(&context(tenant), feed_id, &reader, begin, None).await.unwrap_err();
    assert_eq!(late.kind(), Kind::Conflict);
    assert!(world.commands.feed_open(tenant, feed_id).await.unwrap().closed);
    connections.connection_create(&context(tenant), "CRM", "fake", config()).await.unwrap();
    let gone = connections.connection_test(&context(tenant), id).await.unwrap_err();
    assert_eq!(gone.kind(), Kind::NotFound);
    tasks.shutdown().await;
}
