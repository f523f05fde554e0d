//! The unified views' tables in Postgres: they show what the views show, and no more is written than
//! what changed.

use crate::{
    runtime::LONG,
    views_from_log::Source,
    world::{Database, World, tenant},
};
use autonomos_domain::{
    aggregates::connection::ConnectionEvent,
    envelope::{AggregateType, Position},
    ids::TenantId,
};
use autonomos_projections::{
    dcl::read::RowsQuery,
    runtime::{DCL, Handle, Service},
    unified::{Unified, report_role},
};
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::{collections::BTreeMap, sync::Arc};

async fn start(world: &World) -> Handle {
    let mut options = world.options();
    options.unified_tables = Some(world.database.as_ref().unwrap().options());
    Service::start(options, world.log(), Arc::clone(&world.ring)).await.unwrap()
}

/// A tenant's accounts as the tables have them, by id: the fields, and which transaction wrote them.
async fn kept(database: &Database, of: TenantId) -> BTreeMap<String, (Value, String)> {
    let select = "SELECT id::text, json_build_object('name', name, 'domain', domain, 'annual_revenue', \
         trim_scale(annual_revenue))::text, xmin::text FROM aos_unified.accounts WHERE tenant = $1";
    let rows = sqlx::query(select).bind(of.to_string()).fetch_all(&mut database.owner().await).await.unwrap();
    rows.iter().map(|row| (row.get(0), (serde_json::from_str(row.get(1)).unwrap(), row.get(2)))).collect()
}

/// The same as the views have them.
async fn shown(handle: &Handle, of: TenantId) -> BTreeMap<String, Value> {
    let page = handle.dcl().rows(of, "account", &RowsQuery::default()).await.unwrap();
    page.data
        .iter()
        .map(|row| {
            let fields =
                ["name", "domain", "annual_revenue"].map(|name| (name.to_owned(), row[name].clone()));
            (row["id"].as_str().unwrap().to_owned(), fields.into_iter().collect())
        })
        .collect()
}

async fn compared(handle: &Handle, database: &Database, of: TenantId) -> BTreeMap<String, (Value, String)> {
    let kept = kept(database, of).await;
    let fields: BTreeMap<_, _> = kept.iter().map(|(id, (fields, _))| (id.clone(), fields.clone())).collect();
    assert_eq!(fields, shown(handle, of).await);
    kept
}

async fn wait(handle: &Handle, unified: &Unified, of: TenantId, position: Position) {
    handle.wait_for(of, position, &[DCL], LONG).await.unwrap();
    tokio::time::timeout(LONG, unified.reach(of, position.sequence)).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_follow_the_views_and_write_what_changed() {
    let world = World::on_postgres();
    let database = world.database.as_ref().unwrap();
    let handle = start(&world).await;
    let unified = handle.unified().unwrap();
    let of = tenant(1);
    let mut sales = Source::new(&world, 1, 11, "accounts").await;
    let mut crm = Source::new(&world, 1, 12, "companies").await;
    let rows = [
        ["1", "Acme \0 Inc", "acme.com", "10"],
        ["2", "Birch", "birch.io", "20.5"],
        ["3", "Cedar", "cedar.net", "not a number"],
        ["4", "Fir", "fir.org", "-0.125"],
    ];
    let position = sales.ingest(&world, &rows).await;
    wait(&handle, &unified, of, position).await;
    let first = kept(database, of).await;
    assert_eq!(first.len(), 4);
    // A row that changes, one that is new, one that joins another.
    sales.ingest(&world, &[["2", "Birch & Sons", "birch.io", "21"]]).await;
    let second = [["x1", "ACME", "www.acme.com", "11"], ["x2", "Dune", "dune.org", "7"]];
    let position = crm.ingest(&world, &second).await;
    wait(&handle, &unified, of, position).await;
    let now = compared(&handle, database, of).await;
    assert_eq!(now.len(), 5);
    let written: Vec<_> = now.iter().filter(|(id, row)| first.get(*id) != Some(row)).collect();
    assert_eq!(written.len(), 3, "{written:?}");
    let members: i64 = sqlx::query_scalar("SELECT sum(_members) FROM aos_unified.accounts")
        .fetch_one(&mut database.owner().await)
        .await
        .unwrap();
    assert_eq!(members, 6);
    // A new generation of the views says the same: nothing is written.
    handle.rebuild_and_wait(DCL).await.unwrap();
    handle.shutdown().await;
    let handle = start(&world).await;
    let unified = handle.unified().unwrap();
    tokio::time::timeout(LONG, unified.reach(of, position.sequence)).await.unwrap().unwrap();
    assert_eq!(compared(&handle, database, of).await, now);
    // What is gone from the views is gone from the tables.
    let deleted = [ConnectionEvent::ConnectionDeleted {}];
    let position = world.append(of, AggregateType::Connection, sales.connection.0, &deleted).await;
    wait(&handle, &unified, of, position).await;
    let left = compared(&handle, database, of).await;
    assert_eq!(left.len(), 2);
    // Lost tables are made again.
    handle.shutdown().await;
    database.server.execute(database.name(), "DROP SCHEMA aos_unified CASCADE").unwrap();
    let handle = start(&world).await;
    tokio::time::timeout(LONG, handle.unified().unwrap().reach(of, position.sequence))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(compared(&handle, database, of).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenants_own_role_sees_its_own_rows_whatever_it_sets() {
    let world = World::on_postgres();
    let database = world.database.as_ref().unwrap();
    let handle = start(&world).await;
    let unified = handle.unified().unwrap();
    for of in [1, 2] {
        let mut source = Source::new(&world, of, of * 10, "accounts").await;
        let name = format!("Company {of}");
        let position = source.ingest(&world, &[["1", &name, "example.com", "1"]]).await;
        wait(&handle, &unified, tenant(of), position).await;
    }
    let role = report_role(&database.options(), tenant(1)).await.unwrap();
    assert_eq!(report_role(&database.options(), tenant(1)).await.unwrap(), role);
    database.server.execute("postgres", &format!("ALTER ROLE {role} LOGIN PASSWORD 'p'")).unwrap();
    let url = database.url.replacen(&format!("{0}:p-{0}@", database.name()), &format!("{role}:p@"), 1);
    let mut session = PgConnection::connect(&url).await.unwrap();
    for set in ["SELECT 1".to_owned(), format!("SET aos.tenant = '{}'", tenant(2))] {
        session.execute(AssertSqlSafe(set)).await.unwrap();
        let rows = session.fetch_all("SELECT name FROM aos_unified.accounts").await.unwrap();
        let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        assert_eq!(names, ["Company 1"]);
    }
    assert!(session.fetch_all("SELECT 1 FROM aos_unified.checkpoints").await.is_err());
    assert!(session.execute("DELETE FROM aos_unified.accounts").await.is_err());
    let roles = session.fetch_all("SELECT 1 FROM aos_unified.report_roles").await.unwrap();
    assert_eq!(roles.len(), 1);
}
