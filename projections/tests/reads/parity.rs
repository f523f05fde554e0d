//! Both stores: the same tables, and the same answer to every query.

use crate::{
    read_models::{dump, fill, ids},
    runtime::start_with,
    world::{World, epoch, tenant},
};
use autonomos_domain::{aggregates::task::TaskEvent, envelope::AggregateType, ids::TaskId};
use autonomos_projections::{
    read_models::{
        ReadModelTables,
        query::{ActivityFilter, ReadModels, TaskFilter},
        rows::PageRequest,
    },
    runtime::{Live, PostgresProjector, Projector, SqliteProjector},
};
use chrono::TimeDelta;
use serde_json::json;
use sqlx::{Connection, Row, SqliteConnection};
use std::{collections::BTreeSet, sync::Arc};
use uuid::Uuid;

pub(crate) const SCHEMA: &str = "aos_models";

/// Both stores of the read models over one log, each filled up to its end.
pub(crate) async fn both(world: &World) -> [ReadModels; 2] {
    let (tables, ring) = (Arc::new(ReadModelTables), Arc::clone(&world.ring));
    let sqlite = SqliteProjector::new(world.folder.path().join("read"), "models", tables, ring);
    let options = world.database.as_ref().unwrap().options();
    let (tables, ring) = (Arc::new(ReadModelTables), Arc::clone(&world.ring));
    let postgres = PostgresProjector::connect(options, SCHEMA, tables, ring).await.unwrap();
    let stores: [(Live, Arc<dyn Projector>); 2] =
        [(sqlite.reads(), Arc::new(sqlite)), (postgres.reads(), Arc::new(postgres))];
    let mut reads = Vec::new();
    for (live, projector) in stores {
        start_with(world, projector, live.clone()).await.unwrap().handle.shutdown().await;
        reads.push(ReadModels::new(live));
    }
    reads.try_into().ok().unwrap()
}

/// Every query over one log, on both stores.
#[tokio::test(flavor = "multi_thread")]
async fn every_query_answers_alike_on_both_stores() {
    let world = World::on_postgres();
    for number in [1, 2] {
        fill(&world, number).await;
    }
    let of = ids(1).tenant;
    // Enough for statements of every size; names that languages sort in other ways than bytes do.
    for number in 0..700_u128 {
        let name = ["a", "B", "ä", "Z", "_", "é", "z", "Ö"][number as usize % 8];
        let queued = TaskEvent::TaskQueued {
            task_id: TaskId(Uuid::from_u128(0xf000 + number)),
            action: format!("{name}{}", number % 3),
            payload: json!({ "number": number }),
            max_retries: 3,
            timeout_seconds: 60,
            run_at: None,
            priority: 0,
        };
        world.append(of, AggregateType::Task, Uuid::from_u128(0xf000 + number), &[queued]).await;
    }
    let [sqlite, postgres] = both(&world).await;
    let answers = async |reads: &ReadModels| {
        let mut all = Vec::new();
        for (asked, known) in [(1, 1), (2, 2), (1, 2), (3, 1)] {
            all.push(dump(reads, tenant(asked), &ids(known)).await);
        }
        for action in [None, Some("B1".to_owned()), Some("é0".to_owned())] {
            let filter = TaskFilter { status: None, action };
            let mut request = PageRequest { limit: 7, cursor: None };
            loop {
                let page = reads.task_list(of, &filter, &request).await.unwrap();
                all.push(serde_json::to_string(&page).unwrap());
                request.cursor = page.next_cursor;
                if request.cursor.is_none() {
                    break;
                }
            }
        }
        let filter = ActivityFilter {
            aggregate_type: Some("task".to_owned()),
            types: vec!["TaskQueued".to_owned(), "TaskStarted".to_owned()],
            from: Some(epoch()),
            to: Some(epoch() + TimeDelta::seconds(400)),
            actor: Some(Uuid::from_u128(77).to_string()),
            ascending: true,
            ..ActivityFilter::default()
        };
        let mut request = PageRequest { limit: 50, cursor: None };
        loop {
            let page = reads.activity_list(of, &filter, &request).await.unwrap();
            all.push(serde_json::to_string(&page).unwrap());
            request.cursor = page.next_cursor;
            if request.cursor.is_none() {
                break;
            }
        }
        all
    };
    let (left, right) = (answers(&sqlite).await, answers(&postgres).await);
    assert!(left.len() > 100);
    for (left, right) in left.into_iter().zip(right) {
        assert_eq!(left, right);
    }
}

/// A query that is added is compared too.
#[test]
fn no_query_is_left_out() {
    let queries = include_str!("../../src/read_models/query.rs");
    let asked = include_str!("read_models.rs");
    let names: Vec<&str> =
        queries.split("pub async fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next()).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        assert!(asked.contains(&format!("reads.{name}(")), "`{name}` is not compared");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_have_the_same_tables_and_columns() {
    let world = World::on_postgres();
    let [_, _] = both(&world).await;
    let database = world.database.as_ref().unwrap();
    let file = world.folder.path().join("read/models-1.sqlite");
    let mut sqlite = SqliteConnection::connect(file.to_str().unwrap()).await.unwrap();
    let select = "SELECT m.name, c.name, lower(c.type), c.\"notnull\" = 0, c.pk FROM sqlite_master AS m, \
         pragma_table_info(m.name) AS c WHERE m.type = 'table'";
    let rows = sqlx::query(select).fetch_all(&mut sqlite).await.unwrap();
    let of_sqlite: BTreeSet<(String, String, String, bool, i64)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
    let select = "SELECT c.table_name::text, c.column_name::text, c.data_type::text, c.is_nullable = 'YES', \
         coalesce((SELECT k.ordinal_position::bigint FROM information_schema.key_column_usage AS k \
         WHERE (k.table_schema, k.table_name, k.column_name) = (c.table_schema, c.table_name, c.column_name)), 0) \
         FROM information_schema.columns AS c WHERE c.table_schema = $1";
    let rows = sqlx::query(select).bind(format!("{SCHEMA}_1")).fetch_all(&mut database.owner().await).await;
    let of_postgres: BTreeSet<_> = rows
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4)))
        .collect();
    assert!(of_sqlite.len() > 80);
    assert_eq!(of_sqlite, of_postgres);
}
