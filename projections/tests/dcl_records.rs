//! Source records: versions, deletes, held cells, quarantine, projecting again.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use autonomos_domain::{aggregates::mapping::Binding, mapping::Transform};
use support::{Log, Views, bound, content, held, line, line_with};

const COLUMNS: &str = "id,name,staff,changed";

fn account() -> autonomos_domain::mapping::MappingContent {
    content(
        Some("account"),
        vec![line("name", "name"), line("staff", "employee_count"), line("changed", "updated_at")],
    )
}

const FIELDS: &[&str] = &["name", "employee_count"];

fn dir() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn changes_open_versions_and_repeats_do_not() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.snapshot(&mut stream, 1, COLUMNS, &["1,Acme,10,-", "2,Bolt,20,-"]); // 2 3 4
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|10", "Bolt|20"]);
    log.snapshot(&mut stream, 1, COLUMNS, &["1,Acme,11,-", "2,Bolt,20,-"]); // 5 6 7
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|11", "Bolt|20"]);
    assert_eq!(views.versions("account"), ["1|3|6", "1|6|", "2|3|"]);
    assert_eq!(views.rows_at("account", FIELDS, 5), ["Acme|10", "Bolt|20"]);
    // 2 is gone.
    log.snapshot(&mut stream, 1, COLUMNS, &["1,Acme,11,-"]); // 8 9 10
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|11"]);
    assert_eq!(views.rows_at("account", FIELDS, 9), ["Acme|11", "Bolt|20"]);
    // It comes back as it was, then is deleted by name.
    log.batch(&mut stream, 1, COLUMNS, &["2,Bolt,20,-"]); // 11
    log.batch(&mut stream, 1, "id,name,staff,changed,_aos_op", &["2,-,-,-,delete", "9,-,-,-,delete"]); // 12
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|11"]);
    assert_eq!(views.rows_at("account", FIELDS, 11), ["Acme|11", "Bolt|20"]);
    assert_eq!(views.versions("account"), ["1|3|6", "1|6|", "2|3|10", "2|11|12"]);
}

#[test]
fn the_last_row_of_a_key_in_a_batch_counts_and_an_abandoned_snapshot_closes_nothing() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.batch(&mut stream, 1, COLUMNS, &["1,Old,1,-", "2,Bolt,2,-", "1,New,3,-"]);
    log.snapshot_start(&mut stream);
    log.batch(&mut stream, 1, COLUMNS, &["2,Bolt,2,-"]);
    log.snapshot_abandon(&mut stream);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Bolt|2", "New|3"]);
}

#[test]
fn rows_without_a_key_are_counted() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "usage");
    log.map(&stream, content(Some("account"), vec![line("name", "name"), line("staff", "employee_count")]));
    log.snapshot_start(&mut stream);
    log.keyless(&mut stream, "name,staff", &["Acme,1", "Acme,1", "Bolt,2"]);
    log.keyless(&mut stream, "name,staff", &["Acme,1", "Bolt,3"]);
    log.snapshot_complete(&mut stream);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|1", "Acme|1", "Acme|1", "Bolt|2", "Bolt|3"]);
    let ids = views.query("SELECT source_id FROM rec_account WHERE f_name = 'Acme' ORDER BY 1");
    assert_eq!((&ids[1][64..], &ids[2][64..]), ("#2", "#3"));
    let mut sids = views.query("SELECT CAST(sid AS VARCHAR) FROM rec_account WHERE f_name = 'Acme'");
    sids.sort();
    let mut expected: Vec<String> = ids.iter().map(|key| stream.sid(key).to_string()).collect();
    expected.sort();
    assert_eq!(sids, expected, "ids follow from keys wherever they are made");
    // One of the three is gone in the next edition; the others go on.
    log.snapshot_start(&mut stream);
    log.keyless(&mut stream, "name,staff", &["Acme,1", "Bolt,2"]);
    log.keyless(&mut stream, "name,staff", &["Acme,1", "Bolt,3"]);
    log.snapshot_complete(&mut stream);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|1", "Acme|1", "Bolt|2", "Bolt|3"]);
}

#[test]
fn batches_wait_raw_for_their_binding() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,10,-"]);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert!(views.rows("account", FIELDS).is_empty());
    log.map(&stream, account());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|10"]);
    assert_eq!(views.versions("account"), ["1|2|"]);
}

#[test]
fn a_cell_that_does_not_fit_waits_alone_and_comes_back() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,1.234,-", "2,Bolt,20,-", "3,Core,n/a,-"]);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|", "Bolt|20", "Core|"]);
    assert_eq!(views.waiting(), ["employee_count|1.234|AOS-0421", "employee_count|n/a|AOS-0421"]);
    let comma = content(
        Some("account"),
        vec![
            line("name", "name"),
            line_with("staff", "employee_count", Transform::ParseDecimalComma),
            line("changed", "updated_at"),
        ],
    );
    log.revise(&stream, 2, comma, vec![bound(1, 2)]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|1234", "Bolt|20", "Core|"]);
    assert_eq!(views.waiting(), ["employee_count|n/a|AOS-0421"]);
    // A newer row takes the waiting cell's place.
    log.batch(&mut stream, 1, COLUMNS, &["3,Core,30,-"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|1234", "Bolt|20", "Core|30"]);
    assert!(views.waiting().is_empty());
    assert_eq!(views.rows_at("account", FIELDS, 2), ["Acme|", "Bolt|20", "Core|"]);
}

#[test]
fn held_cells_keep_their_last_good_value() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,10,-", "2,Bolt,20,-"]);
    log.bind(&stream, held(2, 1, &["employee_count"]));
    log.batch(&mut stream, 2, COLUMNS, &["1,Acme Inc,99000,-", "3,Core,5000,-"]); // 4
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme Inc|10", "Bolt|20", "Core|"]);
    assert_eq!(
        views.query("SELECT source_id FROM rec_account WHERE held = ['employee_count'] ORDER BY 1"),
        ["1", "3"]
    );
    assert_eq!(views.waiting(), ["employee_count|5000|AOS-0422", "employee_count|99000|AOS-0422"]);
    // Approved: the new column is in thousandths.
    let scaled = content(
        Some("account"),
        vec![
            line("name", "name"),
            line_with("staff", "employee_count", Transform::Scale { factor: "0.001".to_owned() }),
            line("changed", "updated_at"),
        ],
    );
    let approved = log.revise(&stream, 2, scaled, vec![bound(2, 2)]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme Inc|99", "Bolt|20", "Core|5"]);
    assert!(views.waiting().is_empty());
    assert_eq!(views.query("SELECT source_id FROM rec_account WHERE len(held) > 0"), Vec::<String>::new());
    // Rolled back: held again.
    log.bind(&stream, held(2, 1, &["employee_count"]));
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme Inc|10", "Bolt|20", "Core|"]);
    assert_eq!(views.rows_at("account", FIELDS, approved), ["Acme Inc|99", "Bolt|20", "Core|5"]);
    assert_eq!(views.waiting().len(), 2);
}

#[test]
fn a_drifted_key_holds_whole_rows() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.snapshot(&mut stream, 1, COLUMNS, &["1,Acme,10,-", "2,Bolt,20,-"]);
    log.bind(&stream, Binding { hold_rows: true, ..bound(2, 1) });
    log.snapshot(&mut stream, 2, COLUMNS, &["A1,Acme,11,-"]);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|10", "Bolt|20"], "nobody knows who is absent");
    assert_eq!(views.waiting(), ["|A1|AOS-0423"]);
    log.bind(&stream, bound(2, 1));
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|11"]);
    assert!(views.waiting().is_empty());
}

#[test]
fn drift_proven_late_concerns_the_suspect_batches_only() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,10,-", "2,Bolt,20,-"]);
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,11000,-", "3,Core,3000,-"]);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|11000", "Bolt|20", "Core|3000"]);
    log.bind(&stream, Binding { suspect_from: Some(2), ..held(1, 1, &["employee_count"]) });
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|10", "Bolt|20", "Core|"]);
    log.batch(&mut stream, 1, COLUMNS, &["2,Bolt,21000,-"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|10", "Bolt|20", "Core|"]);
}

#[test]
fn a_closed_feed_takes_its_records_along() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,10,-", "2,Bolt,x,-"]);
    let closed = log.close(&mut stream);
    log.delete_connection(&stream);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert!(views.rows("account", FIELDS).is_empty());
    assert!(views.waiting().is_empty());
    assert_eq!(views.rows_at("account", FIELDS, closed - 1), ["Acme|10", "Bolt|"]);
    // A new binding brings nothing back.
    log.bind(&stream, bound(1, 1));
    views.follow(&log);
    assert!(views.rows("account", FIELDS).is_empty());
}

#[test]
fn another_entity_moves_the_records() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "things");
    log.map(&stream, account());
    log.batch(&mut stream, 1, COLUMNS, &["1,Acme,10,-"]);
    log.revise(&stream, 2, content(Some("product"), vec![line("name", "name")]), vec![bound(1, 2)]);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert!(views.rows("account", FIELDS).is_empty());
    assert_eq!(views.rows("product", &["name"]), ["Acme"]);
    log.revise(&stream, 3, content(None, vec![]), vec![bound(1, 3)]);
    views.follow(&log);
    assert!(views.rows("product", &["name"]).is_empty());
    assert_eq!(views.rows_at("account", FIELDS, 2), ["Acme|10"]);
    assert_eq!(views.rows_at("product", &["name"], 3), ["Acme"]);
}

#[test]
fn new_columns_and_new_fields_join_in() {
    let dir = dir();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    log.map(&stream, account());
    log.batch(&mut stream, 1, "id,name", &["1,Acme"]);
    log.bind(&stream, bound(2, 1));
    log.batch(&mut stream, 2, "id,name,staff,_odd,NAME", &["1,Acme,7,x,y", "2,Bolt,8,x,y"]);
    let mut views = Views::new(dir.path());
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|7", "Bolt|8"]);
    let mut ontology = autonomos_domain::ontology::default_ontology();
    ontology.version = 2;
    let entity = ontology.entities.iter_mut().find(|entity| entity.name == "account").unwrap();
    let mut field = entity.field("name").unwrap().clone();
    field.name = "nick".to_owned();
    entity.fields.insert(1, field);
    log.ontology(ontology);
    let both = content(
        Some("account"),
        vec![line("name", "name"), line("NAME", "nick"), line("staff", "employee_count")],
    );
    log.revise(&stream, 2, both, vec![bound(2, 2)]);
    views.follow(&log);
    assert_eq!(views.rows("account", &["name", "nick"]), ["Acme|y", "Bolt|y"]);
}
