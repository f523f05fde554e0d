//! The connector alone: values as they are, changes in their order, and nothing secret in what it says.

use super::kit::{Source, connector};
use autonomos_connectors::{Connector, NetworkScope, PostgresConnector, port::CheckStep};
use autonomos_domain::schema::SyncMode;
use autonomos_log::postgres_server::Postgres;
use autonomos_tests::connectors::{Copy, keeps_secrets};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const TYPED: &str = "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN amount AS numeric(30, 10); \
    CREATE TABLE t (id bigint PRIMARY KEY, b bool, n numeric, a amount, f float8, d date, ts timestamp, tz timestamptz, \
    j jsonb, bytes bytea, texts text[], numbers int[], m mood, u uuid, s text)";
const VALUES: &str = "(true, 12345678901234567890.123456789, 0.1000000000, 0.1, '2026-02-28', '2026-02-28 01:02:03.5', \
    '2026-02-28 01:02:03+02', '{\"k\": [1, null]}', '\\x00ff', '{\"a,b\",NULL,\"q\\\"\"}', '{1,NULL}', 'good', \
    '00000000-0000-0000-0000-000000000001', 'ümlaut ''quoted'' ')";

#[tokio::test(flavor = "multi_thread")]
async fn values_read_the_same_from_a_snapshot_and_from_a_change() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    let insert = |id: u32| {
        format!(
            "INSERT INTO t SELECT {id}, * FROM (VALUES {VALUES}) v(b, n, a, f, d, ts, tz, j, bytes, texts, numbers, m, u, s)"
        )
    };
    let cast = "b, n, a::amount, f::float8, d::date, ts::timestamp, tz::timestamptz, j::jsonb, bytes::bytea, texts::text[], numbers::int[], m::mood, u::uuid, s";
    source.run(TYPED);
    source.run(&insert(1).replace('*', cast));
    let mut copy = Copy::default();
    source.read_all(SyncMode::Cdc, &mut copy).await;
    source.run(&insert(2).replace('*', cast));
    source.read_all(SyncMode::Cdc, &mut copy).await;
    let (mut snapshot, mut change) = (copy.rows["1"].clone(), copy.rows["2"].clone());
    snapshot.remove("id");
    change.remove("id");
    assert_eq!(snapshot, change);
    let expect = [
        ("b", "true"),
        ("n", "12345678901234567890.123456789"),
        ("a", "0.1000000000"),
        ("f", "0.1"),
        ("d", "2026-02-28"),
        ("ts", "2026-02-28T01:02:03.5"),
        ("tz", "2026-02-27T23:02:03Z"),
        ("j", "{\"k\": [1, null]}"),
        ("bytes", "00ff"),
        ("texts", "[\"a,b\",null,\"q\\\"\"]"),
        ("numbers", "[1,null]"),
        ("m", "good"),
        ("u", "00000000-0000-0000-0000-000000000001"),
        ("s", "ümlaut 'quoted' "),
    ];
    for (name, text) in expect {
        assert_eq!(snapshot[name], text, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_of_changes_leaves_out_is_not_lost() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    // Large values that do not compress are kept apart, and not told when an update leaves them as they are.
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, large text); \
         INSERT INTO t SELECT n, 'n', (SELECT string_agg(md5((n * 1000 + k)::text), '') FROM generate_series(1, 400) k) \
         FROM generate_series(1, 20) n",
    );
    let mut copy = Copy::default();
    source.read_all(SyncMode::Cdc, &mut copy).await;
    source.run(
        "UPDATE t SET name = 'again'; UPDATE t SET id = id + 100 WHERE id > 15; DELETE FROM t WHERE id = 3",
    );
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.rows, source.now().await);
    assert!(copy.rows.values().all(|row| row["large"].len() == 12_800));
    assert_eq!(copy.snapshots, 1);

    source
        .run("ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET name = 'whole'; DELETE FROM t WHERE id = 4");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.rows, source.now().await);

    source.run("TRUNCATE t; INSERT INTO t VALUES (1, 'after', 'x')");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!((copy.rows.len(), copy.cleared), (1, 1));
    assert_eq!(copy.rows, source.now().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_waits_for_its_standby_for_longer_than_a_reader_does_is_not_lost() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    source.run("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'seen')");
    source.read_all(SyncMode::Cdc, &mut Copy::default()).await;
    let order = |sql: &str| server.execute("postgres", sql);
    order("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").expect("set");
    order("SELECT pg_reload_conf()").expect("taken over");
    std::thread::scope(|scope| {
        let insert = "SET synchronous_commit = on; INSERT INTO t VALUES (2, 'unseen')";
        let waiting = scope.spawn(|| source.run(insert));
        let waits =
            "DO $$ BEGIN ASSERT EXISTS (SELECT 1 FROM pg_stat_activity WHERE wait_event = 'SyncRep'); END $$";
        while order(waits).is_err() {
            assert!(!waiting.is_finished(), "the commit does not wait");
            std::thread::yield_now();
        }
        let mut copy = Copy::default();
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(source.read_all(SyncMode::Cdc, &mut copy)));
        let end = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        order(end).expect("no longer waits");
        waiting.join().expect("committed here");
        let names: Vec<&str> = copy.rows.values().map(|row| row["name"].as_str()).collect();
        assert_eq!(names, ["seen", "unseen"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_altered_is_noticed_between_its_changes() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    source.run("CREATE TABLE t (id int PRIMARY KEY, name text, staff int); INSERT INTO t VALUES (1, 'a', 7)");
    let mut copy = Copy::default();
    source.read_all(SyncMode::Cdc, &mut copy).await;
    source.run("UPDATE t SET staff = 8; ALTER TABLE t RENAME staff TO people; UPDATE t SET people = 9");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.shapes.last().expect("a shape"), &["id", "name", "people"]);
    // The key too: its column's name is no part of it.
    source.run(
        "ALTER TABLE t RENAME id TO number; INSERT INTO t VALUES (2, 'b', 1); DELETE FROM t WHERE number = 1",
    );
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.shapes.last().expect("a shape"), &["number", "name", "people"]);
    assert_eq!((copy.reshaped, copy.snapshots, copy.unshown), (2, 1, 0));
    assert_eq!(copy.rows, source.now().await);

    // Altered again before the first change was read: the table is read anew, under its names of now.
    source.run(
        "ALTER TABLE t RENAME name TO title; UPDATE t SET title = 'x'; ALTER TABLE t RENAME title TO name",
    );
    source.run("ALTER TABLE t RENAME people TO staff; UPDATE t SET staff = 3");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.snapshots, 2);
    assert_eq!(copy.rows, source.now().await);

    // A column without values changes no row; one with a default does, though no change tells it.
    let snapshots = copy.snapshots;
    source.run("ALTER TABLE t ADD note text; INSERT INTO t VALUES (3, 'c', 1, 'noted')");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.snapshots, snapshots);
    assert_eq!(copy.rows, source.now().await);
    source.run("ALTER TABLE t ADD level int DEFAULT 5; INSERT INTO t VALUES (4, 'd', 1)");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.snapshots, snapshots + 1);
    assert_eq!(copy.rows, source.now().await);
    source.run(
        "ALTER TABLE t ALTER staff TYPE text USING 'p' || staff; UPDATE t SET name = 'x' WHERE number = 4",
    );
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.rows, source.now().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slot_moves_only_as_far_as_everything_is_durable_and_goes_with_the_connection() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    source.run("CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'a')");
    let mut copy = Copy::default();
    source.read_all(SyncMode::Cdc, &mut copy).await;
    let early = copy.cursor.clone().expect("a cursor");
    source.run("INSERT INTO t VALUES (2, 'b')");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    let late = copy.cursor.clone().expect("a cursor");

    // Another stream is behind: nothing it needs is let go.
    let both = [("t".to_owned(), early.clone()), ("u".to_owned(), late.clone())];
    source.connector.confirm(&both).await.expect("confirms");
    let mut again = Copy::at(early.clone());
    source.read_all(SyncMode::Cdc, &mut again).await;
    assert_eq!((again.snapshots, again.taken), (0, 1));

    // What was let go cannot be read again: the table is.
    source.connector.confirm(&[("t".to_owned(), late)]).await.expect("confirms");
    let mut again = Copy::at(early);
    source.read_all(SyncMode::Cdc, &mut again).await;
    assert_eq!(again.snapshots, 1);
    assert_eq!(again.rows, source.now().await);

    let none = "SELECT 1 / (CASE WHEN EXISTS (SELECT 1 FROM pg_replication_slots) \
                OR EXISTS (SELECT 1 FROM pg_publication) THEN 0 ELSE 1 END)";
    assert!(server.execute(&source.database, none).is_err(), "a slot and a publication are there");
    source.connector.release().await.expect("releases");
    server.execute(&source.database, none).expect("both are gone");
    source.connector.release().await.expect("may be repeated");

    // A slot that somebody dropped is made anew, and so is what it was for.
    source.run("DELETE FROM t WHERE id = 1");
    source.read_all(SyncMode::Cdc, &mut copy).await;
    assert_eq!(copy.snapshots, 2);
    assert_eq!(copy.rows, source.now().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_read_brings_what_is_new_or_changed() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz); \
         INSERT INTO t SELECT n, 'n', '2026-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 9) n; \
         INSERT INTO t VALUES (10, 'without', NULL)",
    );
    let mut copy = Copy::default();
    source.read_all(SyncMode::Incremental, &mut copy).await;
    assert_eq!((copy.rows.len(), copy.snapshots), (10, 1));
    // As late as the last row that was read: it is not skipped.
    source.run(
        "INSERT INTO t SELECT 11, 'same moment', at FROM t WHERE id = 9; \
         UPDATE t SET name = 'changed', at = '2026-03-01' WHERE id = 2",
    );
    source.read_all(SyncMode::Incremental, &mut copy).await;
    assert_eq!((copy.taken, copy.snapshots), (10 + 3, 1), "the last one, the new one, the changed one");
    assert_eq!(copy.rows, source.now().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_say_what_is_wrong_and_how_to_mend_it_and_nothing_secret() {
    let server = Postgres::logical();
    let source = Source::new(&server);
    source.run("CREATE TABLE t (id int PRIMARY KEY)");
    let names =
        |steps: &[CheckStep]| steps.iter().map(|step| (step.name.clone(), step.passed)).collect::<Vec<_>>();
    let steps = source.connector.check().await.expect("checks");
    let expect: Vec<(String, bool)> =
        ["reach", "sign_in", "read", "changes", "slot"].map(|name| (name.to_owned(), true)).to_vec();
    assert_eq!(names(&steps), expect, "{steps:?}");

    let wrong = connector(server.port, &source.database, "hunter2").expect("a configuration");
    let steps = wrong.check().await.expect("checks");
    assert_eq!(names(&steps).last(), Some(&("sign_in".to_owned(), false)), "{steps:?}");
    let error = wrong.discover(CancellationToken::new()).await.expect_err("refused");
    assert_eq!(error.code(), "AOS-0272");
    assert!(!error.retryable());
    let said = [error.to_string(), format!("{error:?}"), format!("{steps:?}")];
    keeps_secrets(said.iter().map(String::as_str), &["hunter2"]);

    server.execute("postgres", &format!("ALTER ROLE {} NOREPLICATION", source.database)).expect("altered");
    let steps = source.connector.check().await.expect("checks");
    let last = steps.last().expect("a step");
    assert!(!last.passed && last.message.contains("ALTER ROLE"), "{last:?}");

    let closed = json!({
        "host": "127.0.0.1", "port": server.port, "database": "d", "user": "u", "password": "hunter2",
    });
    let closed = PostgresConnector::new(&closed, NetworkScope::default(), None).expect("a configuration");
    let steps = closed.check().await.expect("checks");
    assert!(steps[0].message.starts_with("AOS-0261"), "{steps:?}");
}
