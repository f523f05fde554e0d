//! Reads over the unified views, on tables filled by hand: what they answer does not depend on how
//! the write side got there.

use crate::world::tenant;
use autonomos_domain::ontology::{Entity, default_ontology};
use autonomos_projections::dcl::{
    Dcl, DclOptions,
    read::{
        AsOf, BatchRange, ChangeKind, Compare, DclReads, ExportFormat, QuarantineFilter, QueryLimits,
        RowFilter, RowsQuery, Sort,
    },
    tables,
};
use futures::StreamExt;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use uuid::Uuid;

const SALES: &str = "00000000-0000-0000-0000-0000000000c1";
const CRM: &str = "00000000-0000-0000-0000-0000000000c2";

fn account() -> Entity {
    default_ontology().entity("account").unwrap().clone()
}

fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

struct Record {
    sid: u128,
    feed: i32,
    key: &'static str,
    seq: i64,
    uid: u128,
    solo: bool,
    name: &'static str,
    revenue: &'static str,
    at: &'static str,
    held: &'static str,
    /// Closed at.
    to: Option<i64>,
}

fn record(number: u128, feed: i32, key: &'static str, seq: i64, name: &'static str) -> Record {
    Record {
        sid: number,
        feed,
        key,
        seq,
        uid: number,
        solo: true,
        name,
        revenue: "1.5",
        at: "2025-06-15 12:00:00",
        held: "[]",
        to: None,
    }
}

impl Record {
    fn sql(&self) -> String {
        let Self { sid, feed, key, seq, uid, solo, name, revenue, at, held, to } = self;
        let (table, end) = match to {
            None => ("rec_account", String::new()),
            Some(to) => ("rec_account_h", format!(", \"to\" = {to}")),
        };
        let domain = name.to_lowercase();
        let columns = "sid, source_id, feed, \"first\", seq, \"row\", sv, mv, \"from\", uid, solo, held, t, f_name, \
                       f_annual_revenue, f_domain, k_domain";
        let (more, value) = match to {
            None => ("", String::new()),
            Some(to) => (", \"to\"", format!(", {to}")),
        };
        let _ = end;
        format!(
            "INSERT INTO {table} ({columns}{more}) VALUES ('{}', '{key}', {feed}, {seq}::BIGINT << 20, {seq}, {sid}, 1, 1, \
             {seq}, '{}', {solo}, {held}, '{at}', '{name}', {revenue}, '{domain}', '{domain}'{value});",
            id(*sid),
            id(*uid)
        )
    }
}

struct Views {
    _folder: tempfile::TempDir,
    reads: DclReads,
}

/// Two sources: three accounts of the one, one of the other that is the same as the first.
fn filled(folder_of: u128) -> Views {
    let folder = tempfile::tempdir().unwrap();
    let dcl = Arc::new(Dcl::open(folder.path(), DclOptions::default()).unwrap());
    let instance = dcl.live(tenant(folder_of)).unwrap();
    let connection = instance.reader().unwrap();
    let mut sql = tables::entity_tables(&account());
    sql += &tables::feed_tables(1);
    sql += &tables::feed_tables(2);
    let mut closed = record(11, 1, "a1", 1, "Acme old");
    closed.to = Some(2);
    let mut first = record(11, 1, "a1", 2, "Acme");
    (first.solo, first.revenue) = (false, "12.500000");
    let mut same = record(21, 2, "x1", 2, "Acme");
    (same.uid, same.solo, same.revenue, same.at) = (11, false, "13", "2025-06-16 12:00:00");
    let mut held = record(13, 1, "a3", 1, "Citrus, \"Best\"");
    held.held = "['name']";
    let mut gone = record(14, 1, "a4", 1, "Gone");
    gone.to = Some(3);
    for record in [closed, first, same, record(12, 1, "a2", 1, "Birch"), held, gone] {
        sql += &record.sql();
    }
    sql += &format!(
        "ALTER TABLE raw_1 ADD COLUMN \"Name\" VARCHAR; ALTER TABLE raw_1 ADD COLUMN \"shoe size\" VARCHAR;
         INSERT INTO raw_1 (_seq, _row, _sid, \"Name\", \"shoe size\") VALUES (1, 12, '{}', 'Birch', '43');
         INSERT INTO raw_columns VALUES (1, 0, 'Name', 'Name'), (1, 1, 'shoe size', 'shoe size');
         INSERT INTO feeds (feed, feed_id, connection_id, stream, entity, priority) VALUES
           (1, '{}', '{SALES}', 'accounts', 'account', 0), (2, '{}', '{CRM}', 'companies', 'account', 0);
         INSERT INTO mappings VALUES (1, 1, 1, '{}'), (2, 1, 1, '{}');
         INSERT INTO bindings VALUES (1, 1, 1, [], false, NULL, 1, 0), (2, 1, 1, [], false, NULL, 1, 0);
         INSERT INTO commit_times VALUES (1, '2025-07-01'), (2, '2025-07-02'), (3, '2025-07-03');
         INSERT INTO meta VALUES ('checkpoint', '3');
         INSERT INTO uni_account (uid, \"from\", members, f_name, f_annual_revenue, f_domain, w_name, w_annual_revenue, w_domain)
           VALUES ('{acme}', 2, 2, 'Acme', 13, 'acme', '{acme}', '{same}', '{acme}');
         INSERT INTO quarantine VALUES ('account', 1, 1, 12, '{}', 'annual_revenue', 'Revenue', 'much', 'AOS-0421',
           'the value does not read as a number', 1, 1, NULL);",
        id(12),
        id(101),
        id(102),
        mapping("Name"),
        mapping("Title"),
        id(12),
        acme = id(11),
        same = id(21),
    );
    connection.execute_batch(&sql).unwrap();
    Views { reads: DclReads::new(dcl), _folder: folder }
}

fn mapping(source: &str) -> String {
    format!(
        r#"{{"entity":"account","key":[],"fields":[{{"source":"{source}","target":"name","transform":{{"op":"copy"}},"confidence":0.9,"origin":"matcher","evidence":[]}}]}}"#
    )
}

fn names(rows: &[Value]) -> Vec<&str> {
    rows.iter().map(|row| row["name"].as_str().unwrap()).collect()
}

fn filter(field: &str, compare: Compare, value: &str) -> RowsQuery {
    RowsQuery {
        filters: vec![RowFilter { field: field.to_owned(), compare, value: value.to_owned() }],
        ..RowsQuery::default()
    }
}

#[tokio::test]
async fn rows_have_fields_sources_and_extras() {
    let views = filled(1);
    let page =
        views.reads.rows(tenant(1), "accounts", &RowsQuery { count: true, ..RowsQuery::default() }).await;
    let page = page.unwrap();
    assert_eq!(names(&page.data), ["Acme", "Birch", "Citrus, \"Best\""]);
    assert_eq!(page.total, Some(3));
    let acme = &page.data[0];
    assert_eq!(acme["id"], id(11).to_string());
    assert_eq!(acme["annual_revenue"], 13);
    assert_eq!(acme["_sources"].as_array().unwrap().len(), 2);
    assert_eq!(acme["_sources"][1]["stream"], "companies");
    assert_eq!(acme["_updated_at"], "2025-07-02T00:00:00.000000Z");
    assert_eq!(page.data[1]["annual_revenue"], 1.5);
    assert_eq!(page.data[1]["_extra"], serde_json::json!({ "shoe size": "43" }));
    assert_eq!(page.data[2]["_held"], serde_json::json!(["name"]));
    let one = views.reads.row(tenant(1), "account", id(12), None).await.unwrap().unwrap();
    assert_eq!(one, page.data[1]);
    assert!(views.reads.row(tenant(1), "account", id(99), None).await.unwrap().is_none());
}

#[tokio::test]
async fn filters_sorts_and_search_are_typed_and_checked() {
    let views = filled(1);
    let ask = async |query: RowsQuery| views.reads.rows(tenant(1), "account", &query).await;
    let found = async |query: RowsQuery| {
        let page = ask(query).await.unwrap();
        names(&page.data).into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(found(filter("annual_revenue", Compare::More, "2")).await, ["Acme"]);
    assert_eq!(found(filter("name", Compare::Equal, "Birch")).await, ["Birch"]);
    assert_eq!(found(filter("name", Compare::Contains, "CIT")).await, ["Citrus, \"Best\""]);
    assert_eq!(found(filter("industry", Compare::IsNull, "false")).await, [""; 0]);
    assert_eq!(found(filter("id", Compare::Equal, &id(12).to_string())).await, ["Birch"]);
    assert_eq!(found(RowsQuery { q: Some("bIr".to_owned()), ..RowsQuery::default() }).await, ["Birch"]);
    let sort = vec![Sort { field: "name".to_owned(), descending: true }];
    assert_eq!(
        found(RowsQuery { sort, ..RowsQuery::default() }).await,
        ["Citrus, \"Best\"", "Birch", "Acme"]
    );
    let quoted = filter("name", Compare::Equal, "'; DROP TABLE rec_account; --");
    assert_eq!(found(quoted).await, [""; 0]);
    assert_eq!(ask(filter("annual_revenue", Compare::More, "much")).await.unwrap_err().code(), "AOS-0411");
    let unknown = ask(filter("shoe", Compare::Equal, "x")).await.unwrap_err();
    assert_eq!(unknown.code(), "AOS-0410");
    assert!(unknown.to_string().contains("`annual_revenue`"));
    let sort = vec![Sort { field: "f_name\" --".to_owned(), descending: true }];
    assert_eq!(ask(RowsQuery { sort, ..RowsQuery::default() }).await.unwrap_err().code(), "AOS-0410");
    let error = views.reads.rows(tenant(1), "wizards", &RowsQuery::default()).await.unwrap_err();
    assert_eq!(error.code(), "AOS-0409");
}

#[tokio::test]
async fn pages_cover_the_view_once() {
    let views = filled(1);
    let mut query = RowsQuery { limit: 1, ..RowsQuery::default() };
    let mut all = Vec::new();
    loop {
        let page = views.reads.rows(tenant(1), "account", &query).await.unwrap();
        all.extend(page.data);
        match page.next_cursor {
            None => break,
            cursor => query.cursor = cursor,
        }
    }
    assert_eq!(names(&all), ["Acme", "Birch", "Citrus, \"Best\""]);
    let other = RowsQuery { cursor: query.cursor, q: Some("x".to_owned()), ..RowsQuery::default() };
    let error = views.reads.rows(tenant(1), "account", &other).await.unwrap_err();
    assert_eq!(error.code(), "AOS-0412");
}

#[tokio::test]
async fn the_past_is_a_filter() {
    let views = filled(1);
    let at = |as_of| RowsQuery { as_of: Some(as_of), ..RowsQuery::default() };
    let then = views.reads.rows(tenant(1), "account", &at(AsOf::Sequence(1))).await.unwrap();
    assert_eq!(names(&then.data), ["Acme old", "Birch", "Citrus, \"Best\"", "Gone"]);
    let time = "2025-07-02T12:00:00Z".parse().unwrap();
    let then = views.reads.rows(tenant(1), "account", &at(AsOf::Time(time))).await.unwrap();
    assert_eq!(names(&then.data), ["Acme", "Birch", "Citrus, \"Best\"", "Gone"]);
    assert_eq!(then.data[0]["_sources"].as_array().unwrap().len(), 2);
    let before = views.reads.rows(tenant(1), "account", &at(AsOf::Sequence(0))).await.unwrap();
    assert!(before.data.is_empty());
    let one = views.reads.row(tenant(1), "account", id(14), Some(AsOf::Sequence(2))).await.unwrap();
    assert_eq!(one.unwrap()["name"], "Gone");
}

#[tokio::test]
async fn lineage_tells_the_rule() {
    let views = filled(1);
    let lineage = views.reads.lineage(tenant(1), "account", id(11)).await.unwrap().unwrap();
    let field = |name: &str| lineage.fields.iter().find(|field| field.field == name).unwrap();
    let revenue = field("annual_revenue");
    assert_eq!(
        (revenue.stream.as_str(), revenue.source_id.as_str(), revenue.rule),
        ("companies", "x1", "latest")
    );
    assert_eq!(revenue.value, 13);
    assert_eq!(revenue.others[0].value, 12.5);
    assert_eq!(field("name").source_columns, ["Name"]);
    let birch = views.reads.lineage(tenant(1), "account", id(12)).await.unwrap().unwrap();
    let name = birch.fields.iter().find(|field| field.field == "name").unwrap();
    assert_eq!((name.rule, name.row, name.sequence), ("only_source", 12, 1));
    assert!(views.reads.lineage(tenant(1), "account", id(99)).await.unwrap().is_none());
}

async fn export(views: &Views, of: u128, format: ExportFormat, sort: &[Sort]) -> Vec<u8> {
    let mut stream = views.reads.export(tenant(of), "account", format, sort, None).await.unwrap();
    let mut all = Vec::new();
    while let Some(piece) = stream.next().await {
        all.extend_from_slice(&piece.unwrap());
    }
    all
}

#[tokio::test]
async fn equal_views_export_equal_bytes() {
    let (one, two) = (filled(1), filled(2));
    for format in [ExportFormat::Csv, ExportFormat::Ndjson, ExportFormat::Parquet, ExportFormat::Arrow] {
        let bytes = export(&one, 1, format, &[]).await;
        assert!(!bytes.is_empty());
        assert_eq!(bytes, export(&two, 2, format, &[]).await, "{format:?}");
    }
    let csv = String::from_utf8(export(&one, 1, ExportFormat::Csv, &[]).await).unwrap();
    let lines: Vec<_> = csv.split("\r\n").collect();
    assert!(lines[0].starts_with("id,name,"));
    assert!(lines[3].contains("\"Citrus, \"\"Best\"\"\"") && lines[3].contains(",1.5,"));
    let sort = [Sort { field: "name".to_owned(), descending: true }];
    let ndjson = String::from_utf8(export(&one, 1, ExportFormat::Ndjson, &sort).await).unwrap();
    let rows: Vec<Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(names(&rows), ["Citrus, \"Best\"", "Birch", "Acme"]);
    assert_eq!(rows[2]["_sources"].as_array().unwrap().len(), 2);
    assert_eq!(rows[0]["_held"], serde_json::json!(["name"]));
    assert_eq!(&export(&one, 1, ExportFormat::Parquet, &[]).await[..4], b"PAR1");
}

#[tokio::test]
async fn changes_come_in_order_and_resume() {
    let views = filled(1);
    let all = views.reads.changes(tenant(1), "account", (0, 0), 100).await.unwrap();
    let seen: Vec<_> = all.data.iter().map(|change| (change.sequence, change.kind, change.id)).collect();
    assert_eq!(
        seen,
        [
            (1, ChangeKind::Opened, id(11)),
            (1, ChangeKind::Opened, id(12)),
            (1, ChangeKind::Opened, id(13)),
            (1, ChangeKind::Opened, id(14)),
            (2, ChangeKind::Opened, id(11)),
            (3, ChangeKind::Closed, id(14)),
        ]
    );
    assert_eq!(all.data[4].row.as_ref().unwrap()["name"], "Acme");
    let mut after = (0, 0);
    let mut resumed = Vec::new();
    loop {
        let page = views.reads.changes(tenant(1), "account", after, 1).await.unwrap();
        resumed.extend(page.data.iter().map(|change| (change.sequence, change.kind, change.id)));
        after = page.next;
        if !page.more {
            break;
        }
    }
    assert_eq!(resumed, seen);
}

#[tokio::test]
async fn matches_give_reasons_and_the_graph_its_edges() {
    let views = filled(1);
    let (matches, next) = views.reads.matches(tenant(1), None, 10, None).await.unwrap();
    assert!(next.is_none());
    assert_eq!((matches.len(), matches[0].id, matches[0].members.len()), (1, id(11), 2));
    assert_eq!(matches[0].links[0].reasons, ["domain"]);
    assert!(views.reads.match_get(tenant(1), id(11)).await.unwrap().is_some());
    assert!(views.reads.match_get(tenant(1), id(12)).await.unwrap().is_none());
    let graph = views.reads.graph(tenant(1)).await.unwrap();
    assert_eq!(graph.nodes.iter().filter(|node| node.kind == "source").count(), 2);
    let feeds: Vec<_> = graph.edges.iter().filter(|edge| edge.kind == "feeds").collect();
    assert_eq!(
        (feeds.len(), feeds[0].fields.as_slice(), feeds[0].confidence),
        (2, &["name".to_owned()][..], Some(0.9))
    );
    let entities = views.reads.entities(tenant(1)).await.unwrap();
    let account = entities.iter().find(|entity| entity.entity == "account").unwrap();
    assert_eq!((account.rows, account.records, account.merged, account.held), (3, 4, 1, 1));
    let quarantine = views.reads.quarantine(tenant(1), &QuarantineFilter::default()).await.unwrap();
    assert_eq!((quarantine.total, quarantine.data[0].field.as_deref()), (1, Some("annual_revenue")));
    let range = |feed, first, last| BatchRange { feed_id: id(feed), first, last };
    // Two runs of one feed are told apart, and a feed that the views never saw has no counts.
    let ranges = vec![range(101, 1, 2), range(999, 1, 2), range(101, 2, 1)];
    let counts = views.reads.batch_counts(tenant(1), ranges).await.unwrap();
    let told: Vec<_> = counts
        .iter()
        .map(|count| count.map(|count| (count.rows_quarantined, count.rows_canonical(10))))
        .collect();
    assert_eq!(told, [Some((1, 10)), None, Some((0, 10))]);
}

#[tokio::test]
async fn own_sql_sees_the_views_alone() {
    let views = filled(1);
    let limits = QueryLimits::default();
    let ask = async |sql: &str| views.reads.query(tenant(1), sql, limits).await;
    let answer =
        ask("SELECT name, annual_revenue FROM accounts ORDER BY annual_revenue DESC, name").await.unwrap();
    let rows = answer.to_json().unwrap();
    assert_eq!(names(&rows), ["Acme", "Birch", "Citrus, \"Best\""]);
    assert!(!answer.to_arrow().unwrap().is_empty());
    let with = "WITH rich AS (SELECT * FROM account WHERE annual_revenue > 2) SELECT count(*) AS n FROM rich";
    assert_eq!(ask(with).await.unwrap().to_json().unwrap()[0]["n"], 1);
    assert_eq!(ask("SELECT count(*) AS n FROM contacts").await.unwrap().to_json().unwrap()[0]["n"], 0);
    for refused in [
        "DROP TABLE rec_account",
        "SELECT 1; SELECT 2",
        "SELECT * FROM rec_account",
        "SELECT * FROM main.rec_account",
        "SELECT * FROM meta",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM duckdb_tables()",
        "SELECT current_setting('temp_directory')",
        "SELECT * FROM (SHOW TABLES)",
        "SELECT (SELECT max(key) FROM meta)",
        "CHECKPOINT",
        "SET threads = 1",
        "COPY accounts TO 'x.csv'",
        "ATTACH 'x.db'",
        "PRAGMA database_list",
        "INSERT INTO accounts VALUES (1)",
        "not sql at all",
        "",
    ] {
        assert_eq!(ask(refused).await.err().map(|error| error.code()), Some("AOS-0413"), "{refused}");
    }
    assert_eq!(ask("SELECT shoe FROM accounts").await.err().unwrap().code(), "AOS-0414");
    let few = QueryLimits { rows: 2, ..limits };
    let answer = views.reads.query(tenant(1), "SELECT * FROM accounts", few).await.unwrap();
    assert!(answer.truncated);
    assert_eq!(answer.to_json().unwrap().len(), 2);
    let slow = QueryLimits { timeout: Duration::from_millis(20), ..limits };
    let sql = "SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b";
    assert_eq!(views.reads.query(tenant(1), sql, slow).await.err().unwrap().code(), "AOS-0415");
    // The views are as they were.
    assert_eq!(ask("SELECT * FROM accounts").await.unwrap().to_json().unwrap().len(), 3);
}

#[tokio::test]
async fn a_tenant_without_views_sees_empty_ones() {
    let views = filled(1);
    let of = tenant(2);
    let reads = &views.reads;
    assert!(reads.rows(of, "accounts", &RowsQuery::default()).await.unwrap().data.is_empty());
    assert!(reads.row(of, "account", id(11), None).await.unwrap().is_none());
    assert!(reads.lineage(of, "account", id(11)).await.unwrap().is_none());
    assert!(reads.matches(of, None, 10, None).await.unwrap().0.is_empty());
    assert!(reads.graph(of).await.unwrap().nodes.is_empty());
    assert_eq!(reads.quarantine(of, &QuarantineFilter::default()).await.unwrap().total, 0);
    assert!(reads.entities(of).await.unwrap().iter().all(|entity| entity.rows == 0));
    assert!(reads.changes(of, "account", (0, 0), 10).await.unwrap().data.is_empty());
    assert_eq!(reads.rows(of, "wizard", &RowsQuery::default()).await.unwrap_err().code(), "AOS-0409");
    assert!(reads.query(of, "SELECT * FROM accounts", QueryLimits::default()).await.is_err());
}
