//! The connector alone: what it discovers, values as the database itself writes them, what is new by a
//! cursor column, checks that say what is wrong, and nothing secret in what it says.

use crate::kit::{connect, project};
use autonomos_connectors::{Connector, NetworkScope, SupabaseConnector, port::CheckStep};
use autonomos_domain::schema::{DiscoveredStream, LogicalType, StreamSelection, SyncMode};
use autonomos_log::postgres_server::Postgres;
use autonomos_tests::{
    connectors::{Copy, keeps_secrets, selection},
    postgrest::{Gateway, Postgrest, SECRET_KEY, token},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const TYPED: &str = "CREATE TYPE mood AS ENUM ('good', 'bad'); CREATE DOMAIN amount AS numeric(30, 10); \
    CREATE TABLE t (id bigint PRIMARY KEY, b bool NOT NULL, n numeric, a amount, f float8, r real, d date, ts timestamp, \
    tz timestamptz, j jsonb, js json, bytes bytea, texts text[], numbers int[], times timestamptz[], m mood, u uuid, s text, \
    c char(5), v varchar(10), x xml, o oid, ip inet, period int4range, big bigint, g int GENERATED ALWAYS AS (7) STORED)";
const VALUES: &str = "true, 12345678901234567890.123456789, 0.1, 0.1, 0.3, '2026-02-28', '2026-02-28 01:02:03.5', \
    '2026-02-28 01:02:03.123456+02', '{\"k\": [1, null, 1.00]}', '{\"k\":  \"q\"}', '\\x00ff', '{\"a,b\",NULL,\"q\\\"\"}', \
    '{{1,NULL}}', '{\"2026-02-28 01:02:03+02\"}', 'good', '00000000-0000-0000-0000-000000000001', E'ümlaut \"q\" \\\\ \\n', \
    'ab', 'vv', '<a/>', 7, '10.0.0.1/8', '[1,5)', 9223372036854775807";

#[tokio::test(flavor = "multi_thread")]
async fn values_are_those_that_the_database_itself_writes() {
    let sql = format!(
        "{TYPED}; INSERT INTO t VALUES (1, {VALUES}); \
         INSERT INTO t (id, b, j, f, n, tz) VALUES (2, false, 'null', 'NaN', 'NaN', 'infinity'), \
         (3, false, '\"text\"', '-Infinity', -0.000, '0044-03-15 BC'); INSERT INTO t (id, b) VALUES (4, true)"
    );
    let project = project(&sql, 1_000);
    let (rest, direct) = (connect(&project.config()), connect(&project.direct()));
    let full = selection("t", SyncMode::Full);
    let (mut by_rest, mut by_database) = (Copy::default(), Copy::default());
    by_rest.read_all(&rest, &full).await.expect("reads");
    by_database.read_all(&direct, &full).await.expect("reads");
    assert_eq!(by_rest.rows, by_database.rows);
    assert_eq!(by_rest.rows.len(), 4);
    let row = &by_rest.rows["1"];
    let expect = [
        ("n", "12345678901234567890.123456789"),
        ("a", "0.1000000000"),
        ("tz", "2026-02-27T23:02:03.123456Z"),
        ("j", "{\"k\": [1, null, 1.00]}"),
        ("bytes", "00ff"),
        ("big", "9223372036854775807"),
        ("s", "ümlaut \"q\" \\ \n"),
    ];
    for (name, text) in expect {
        assert_eq!(row[name], text, "{name}");
    }
    // A document that is `null` is none that is missing.
    assert_eq!(by_rest.rows["2"]["j"], "null");
    assert!(!by_rest.rows["4"].contains_key("j"));

    let shape = |discovered: Vec<DiscoveredStream>| {
        let stream = discovered.into_iter().find(|stream| stream.name == "t").expect("the table");
        (stream.shape, stream.cursor_fields)
    };
    let by_rest = shape(rest.discover(CancellationToken::new()).await.expect("discovers"));
    let by_database = shape(direct.discover(CancellationToken::new()).await.expect("discovers"));
    assert_eq!(by_rest, by_database, "one table is one stream by either way");
    let field = |name: &str| {
        let field = by_rest.0.fields.iter().find(|field| field.name == name).expect("a field");
        (field.logical_type, field.nullable)
    };
    assert_eq!(field("b"), (LogicalType::Boolean, false));
    assert_eq!(field("tz"), (LogicalType::Timestamp, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_read_brings_what_is_new_or_changed() {
    let project = project(
        "CREATE TABLE t (id int PRIMARY KEY, name text, at timestamptz); \
         INSERT INTO t SELECT n, 'n', '2026-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 9) n; \
         INSERT INTO t VALUES (10, 'without', NULL)",
        3,
    );
    let connector = connect(&project.config());
    let full = selection("t", SyncMode::Full);
    let by = StreamSelection { cursor_field: Some("at".to_owned()), ..selection("t", SyncMode::Incremental) };
    let mut copy = Copy::default();
    copy.read_all(&connector, &by).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.snapshots), (10, 1));
    // As late as the last row that was read, and many at one moment: none is skipped.
    project.run(
        "INSERT INTO t SELECT n, 'same moment', at FROM t, generate_series(11, 20) n WHERE id = 9; \
         UPDATE t SET name = 'changed', at = '2026-03-01' WHERE id = 2",
    );
    copy.read_all(&connector, &by).await.expect("reads");
    assert_eq!((copy.taken, copy.snapshots), (10 + 12, 1), "the last one, the new ones, the changed one");
    let mut now = Copy::default();
    now.read_all(&connect(&project.direct()), &full).await.expect("reads");
    assert_eq!(copy.rows, now.rows);
    // Deletes are seen by a whole read.
    project.run("DELETE FROM t WHERE id > 5");
    copy.read_all(&connector, &full).await.expect("reads");
    assert_eq!(copy.rows.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_its_own_has_its_own_streams() {
    let postgres = Postgres::shared();
    let sql = "CREATE SCHEMA sales; GRANT USAGE ON SCHEMA sales TO service_role; \
               CREATE TABLE sales.orders (id int PRIMARY KEY, at timestamptz); INSERT INTO sales.orders VALUES (1, now())";
    let project = Postgrest::start(postgres, sql, 100);
    let mut config = project.config();
    config["access"]["schema"] = json!("sales");
    let connector = connect(&config);
    let streams = connector.discover(CancellationToken::new()).await.expect("discovers");
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["sales.orders"]);
    let mut copy = Copy::default();
    copy.read_all(&connector, &selection("sales.orders", SyncMode::Full)).await.expect("reads");
    assert_eq!(copy.rows.len(), 1);
    config["access"]["schema"] = json!("nowhere");
    let error = connect(&config).discover(CancellationToken::new()).await.expect_err("refused");
    assert_eq!(error.code(), "AOS-0235");
}

fn failed(steps: &[CheckStep]) -> Option<&CheckStep> {
    steps.iter().find(|step| !step.passed)
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_say_what_is_wrong_and_how_to_mend_it_and_nothing_secret() {
    let project = project(
        "CREATE TABLE t (id int PRIMARY KEY); CREATE TABLE hidden (id int PRIMARY KEY); \
         INSERT INTO hidden VALUES (1); ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
        100,
    );
    let steps = connect(&project.config()).check().await.expect("checks");
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    assert_eq!((names.as_slice(), failed(&steps).is_none()), (["reach", "sign_in", "read"].as_slice(), true));
    assert!(steps.iter().all(|step| !step.message.contains("warning")), "{steps:?}");

    // Rows that are hidden look as if they were not there.
    let anon = project.config_with(&project.url(), &token("anon", &json!({})));
    let steps = connect(&anon).check().await.expect("checks");
    assert!(failed(&steps).is_none());
    assert!(steps.iter().any(|step| step.message.contains("`anon`")), "{steps:?}");
    let mut copy = Copy::default();
    copy.read_all(&connect(&anon), &selection("hidden", SyncMode::Full)).await.expect("reads");
    assert!(copy.rows.is_empty());
    copy.read_all(&connect(&project.config()), &selection("hidden", SyncMode::Full)).await.expect("reads");
    assert_eq!(copy.rows.len(), 1);

    // What is refused is told at its step, and without the key.
    let mut said = Vec::new();
    let expired = token("service_role", &json!({ "exp": 1, "for": "hunter2" }));
    let nobody = token("nobody_at_all", &json!({}));
    for key in ["a.hunter2.b", expired.as_str(), nobody.as_str()] {
        let connector = connect(&project.config_with(&project.url(), key));
        let steps = connector.check().await.expect("checks");
        assert_eq!(failed(&steps).map(|step| step.name.as_str()), Some("sign_in"), "{steps:?}");
        let error = connector.discover(CancellationToken::new()).await.expect_err("refused");
        assert_eq!((error.code(), error.retryable()), ("AOS-0237", false), "{error}");
        said.extend(steps.into_iter().map(|step| step.message));
        said.extend([error.to_string(), format!("{error:?}")]);
    }
    keeps_secrets(said.iter().map(String::as_str), &["hunter2", &expired, &nobody]);

    let mut config = project.config();
    config["access"]["tables"] = json!(["t", "not_there"]);
    let steps = connect(&config).check().await.expect("checks");
    assert!(failed(&steps).is_some_and(|step| step.message.contains("not_there")), "{steps:?}");
    config["access"]["tables"] = json!(["t"]);
    let streams = connect(&config).discover(CancellationToken::new()).await.expect("discovers");
    assert_eq!(streams.len(), 1);

    let closed = SupabaseConnector::new(&project.config(), NetworkScope::default(), None).expect("parses");
    let steps = closed.check().await.expect("checks");
    assert!(steps[0].message.starts_with("AOS-0261"), "{steps:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_is_found_behind_its_gateway_by_a_key_that_is_no_token() {
    let project = project("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", 100);
    let gateway = Gateway::before(&project).await;
    for url in [gateway.url.clone(), format!("{}/rest/v1", gateway.url), format!("{}/rest/v1/", gateway.url)]
    {
        let connector = connect(&project.config_with(&url, SECRET_KEY));
        let steps = connector.check().await.expect("checks");
        assert!(failed(&steps).is_none(), "{steps:?}");
        assert!(steps.iter().all(|step| !step.message.contains("warning")), "{steps:?}");
        let mut copy = Copy::default();
        copy.read_all(&connector, &selection("t", SyncMode::Full)).await.expect("reads");
        assert_eq!(copy.rows.len(), 1);
    }
    let wrong = connect(&project.config_with(&gateway.url, "sb_secret_wrong-hunter2"));
    let error = wrong.discover(CancellationToken::new()).await.expect_err("refused");
    assert_eq!((error.code(), error.retryable()), ("AOS-0237", false), "{error}");
    keeps_secrets([error.to_string().as_str()], &["hunter2"]);
    // A page of another kind.
    let other = connect(&project.config_with(&format!("{}/elsewhere", project.url()), SECRET_KEY));
    let error = other.discover(CancellationToken::new()).await.expect_err("refused");
    assert!(!error.retryable(), "{error}");
}
