//! Every row once: whatever the server cuts, whatever keys hold, wherever a read is cut.

use crate::kit::{ROWS, connect, many, project};
use autonomos_connectors::{Connector, ConnectorError, ReadEvent};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use autonomos_tests::connectors::{Copy, ends_when_cancelled, selection};
use futures::StreamExt;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_is_cut_after_any_batch_has_every_row_once() {
    let project = project(&many(), 400);
    let connector = connect(&project.config());
    for mode in [SyncMode::Full, SyncMode::Incremental] {
        let selection = StreamSelection { cursor_field: Some("id".to_owned()), ..selection("t", mode) };
        let mut copy = Copy::default();
        let cuts = copy.read_in_pieces(&connector, &selection).await.expect("reads");
        assert!(cuts > 3, "{cuts} batches");
        assert_eq!((copy.rows.len(), copy.taken, copy.snapshots), (ROWS, ROWS, 1), "{mode:?}");
        let mut direct = Copy::default();
        direct.read_all(&connect(&project.direct()), &selection).await.expect("reads");
        assert_eq!(copy.rows, direct.rows, "one row is one row by either way");
    }
    ends_when_cancelled(&connector, &selection("t", SyncMode::Full)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_the_server_cuts_are_not_the_end() {
    let sql = "CREATE TABLE t (id bigint PRIMARY KEY, name text); \
               INSERT INTO t SELECT n, 'n' FROM generate_series(-20, 30) n";
    for most in [1, 7, 50, 51, 52] {
        let project = project(sql, most);
        let mut copy = Copy::default();
        copy.read_all(&connect(&project.config()), &selection("t", SyncMode::Full)).await.expect("reads");
        assert_eq!((copy.rows.len(), copy.taken), (51, 51), "{most} at most");
    }
}

const KEYS: &str = r#"CREATE TABLE "odd, ""name" ("k,1" text, "n.2" numeric, "at(3)" timestamptz, "v:a" text, "ü\""" jsonb,
    PRIMARY KEY ("k,1", "n.2", "at(3)"));
    INSERT INTO "odd, ""name" SELECT k, n, '2026-01-01 00:00:00.000001+02'::timestamptz + a * interval '1 microsecond', 'v', '{"a": [1.0]}'
    FROM unnest(array['', ' ', 'a"b', 'a\b', 'a,b', '(a)', 'a.b', 'null', '*', 'é✓', 'A', 'a', '%', '&=+#/?', E'line\nfeed']) k,
    unnest(array[-1.50, 0, 12345678901234567890.123456789]) n, generate_series(0, 2) a"#;

#[tokio::test(flavor = "multi_thread")]
async fn composite_keys_of_any_letters_are_read_in_order() {
    let project = project(KEYS, 10);
    let connector = connect(&project.config());
    let selection = selection("odd, \"name", SyncMode::Full);
    let mut copy = Copy::default();
    copy.read_all(&connector, &selection).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.taken), (15 * 3 * 3, 15 * 3 * 3));
    let mut direct = Copy::default();
    direct.read_all(&connect(&project.direct()), &selection).await.expect("reads");
    assert_eq!(copy.rows, direct.rows);
}

const VIEWS: &str = "CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE u (t int REFERENCES t, n int); \
    INSERT INTO t SELECT n, 'n' FROM generate_series(1, 25) n; INSERT INTO u SELECT n, 1 FROM generate_series(1, 25) n; \
    INSERT INTO u VALUES (13, 2); \
    CREATE VIEW plain AS SELECT id, upper(name) AS name FROM t; \
    CREATE VIEW joined AS SELECT t.id, u.n FROM t JOIN u ON u.t = t.id; \
    CREATE TABLE keyless (a int, b text); INSERT INTO keyless SELECT n, 'x' FROM generate_series(1, 25) n; \
    CREATE TABLE some_null (a int, b text); INSERT INTO some_null VALUES (1, 'x'), (NULL, 'y'); \
    CREATE TABLE small (a int); INSERT INTO small VALUES (1), (1), (NULL)";

#[tokio::test(flavor = "multi_thread")]
async fn what_has_no_key_of_its_own_is_read_whole_or_refused() {
    let project = project(VIEWS, 10);
    let connector = connect(&project.config());
    let by = |table: &str, key: &[&str]| StreamSelection {
        primary_key: (!key.is_empty()).then(|| key.iter().map(|name| (*name).to_owned()).collect()),
        ..selection(table, SyncMode::Full)
    };
    let read = async |selection: StreamSelection| {
        let mut copy = Copy::default();
        copy.read_all(&connector, &selection).await.map(|()| copy)
    };
    // A view shows the key of its table; whether each is there once is looked at.
    assert_eq!(read(by("plain", &[])).await.expect("reads").rows.len(), 25);
    let code = |read: Result<Copy, ConnectorError>| read.expect_err("refused").code();
    assert_eq!(code(read(by("joined", &[])).await), "AOS-0246");
    assert_eq!(read(by("joined", &["id", "n"])).await.expect("reads").rows.len(), 26);
    // A table without a key: a person says what its rows are told apart by, if it is longer than a page.
    assert_eq!(code(read(by("keyless", &[])).await), "AOS-0245");
    assert_eq!(read(by("keyless", &["a"])).await.expect("reads").rows.len(), 25);
    assert_eq!(code(read(by("keyless", &["b"])).await), "AOS-0246");
    assert_eq!(code(read(by("some_null", &["a"])).await), "AOS-0246");
    let discovered = connector.discover(CancellationToken::new()).await.expect("discovers");
    let modes = |name: &str| {
        let stream = discovered.iter().find(|stream| stream.name == name).expect("a stream");
        stream.sync_modes.clone()
    };
    assert_eq!(modes("keyless"), [SyncMode::Full]);
    assert_eq!(modes("plain"), [SyncMode::Full, SyncMode::Incremental]);

    // Three rows that nothing tells apart stay three rows.
    let mut events = connector.read(&by("small", &[]), SyncMode::Full, None, CancellationToken::new());
    let mut rows = 0;
    while let Some(event) = events.next().await {
        if let ReadEvent::Batch { records, .. } = event.expect("reads") {
            rows += records.num_rows();
        }
    }
    assert_eq!(rows, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn wide_tables_and_rows_that_are_too_long_do_not_stop_a_read() {
    let columns: Vec<String> =
        (0..150).map(|n| format!("a_column_with_a_rather_long_name_{n} int DEFAULT {n}")).collect();
    let sql = format!(
        "CREATE TABLE wide (id int PRIMARY KEY, doc jsonb, {}); \
         INSERT INTO wide SELECT n, '{{\"a\": 1.0}}' FROM generate_series(1, 30) n; \
         CREATE TABLE long (id int PRIMARY KEY, pad text); \
         INSERT INTO long SELECT n, repeat('x', CASE WHEN n = 3 THEN 700000 WHEN n = 5 THEN 34000000 ELSE 10 END) \
         FROM generate_series(1, 9) n",
        columns.join(", ")
    );
    let project = project(&sql, 1_000);
    let connector = connect(&project.config());
    let wide = selection("wide", SyncMode::Full);
    let (mut copy, mut direct) = (Copy::default(), Copy::default());
    copy.read_all(&connector, &wide).await.expect("reads");
    direct.read_all(&connect(&project.direct()), &wide).await.expect("reads");
    assert_eq!((copy.rows.len(), &copy.rows), (30, &direct.rows));
    let mut copy = Copy::default();
    copy.read_all(&connector, &selection("long", SyncMode::Full)).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.rejected), (7, 2));
}
