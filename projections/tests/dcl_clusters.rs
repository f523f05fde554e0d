//! Clusters: merging by rules and by people, ids that outlive their founders, survivorship.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use support::{Log, Stream, Views, bound, content, held, line};

const COLUMNS: &str = "id,name,domain,city,staff,changed";
const FIELDS: &[&str] = &["name", "domain", "employee_count"];

fn account() -> autonomos_domain::mapping::MappingContent {
    content(
        Some("account"),
        vec![
            line("name", "name"),
            line("domain", "domain"),
            line("city", "billing_city"),
            line("staff", "employee_count"),
            line("changed", "updated_at"),
        ],
    )
}

fn streams(log: &mut Log, count: u128) -> Vec<Stream> {
    (1..=count)
        .map(|number| {
            let stream = log.stream(number, "accounts");
            log.map(&stream, account());
            stream
        })
        .collect()
}

fn views(dir: &tempfile::TempDir) -> Views {
    Views::new(dir.path())
}

#[test]
fn two_sources_meet_by_domain() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Acme,acme.com,-,10,-", "2,Bolt,bolt.com,-,20,-"]); // 3
    log.batch(&mut s[1], 1, COLUMNS, &["a,ACME Inc,https://www.acme.com/,-,-,-", "b,Core,core.com,-,30,-"]); // 4
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(
        views.rows("account", FIELDS),
        ["ACME Inc|https://www.acme.com/|10", "Bolt|bolt.com|20", "Core|core.com|30"]
    );
    assert_eq!(views.rows_at("account", FIELDS, 3), ["Acme|acme.com|10", "Bolt|bolt.com|20"]);
    let unified = views.query(
        "SELECT CAST(uid AS VARCHAR) || '|' || CAST(w_name AS VARCHAR) || '|' || members FROM uni_account",
    );
    assert_eq!(unified, [format!("{}|{}|2", s[0].sid("1"), s[1].sid("a"))]);
    // The second source lets go of it: both stand alone again, each under its own id.
    log.batch(&mut s[1], 1, COLUMNS, &["a,ACME Inc,acme.org,-,-,-"]); // 5
    views.follow(&log);
    assert_eq!(
        views.rows("account", FIELDS),
        ["ACME Inc|acme.org|", "Acme|acme.com|10", "Bolt|bolt.com|20", "Core|core.com|30"]
    );
    let ids = views.query("SELECT CAST(uid AS VARCHAR) FROM rec_account WHERE source_id = 'a'");
    assert_eq!(ids, [s[1].sid("a").to_string()]);
    assert!(views.query("SELECT CAST(uid AS VARCHAR) FROM uni_account").is_empty());
    assert_eq!(views.rows_at("account", FIELDS, 4).len(), 3);
}

#[test]
fn names_meet_within_a_city_unless_their_domains_differ() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(
        &mut s[0],
        1,
        COLUMNS,
        &["1,Acme Inc,-,Ulm,1,-", "2,Bolt,bolt.com,Ulm,2,-", "3,Core,-,Ulm,3,-"],
    );
    log.batch(
        &mut s[1],
        1,
        COLUMNS,
        &["a,ACME,acme.com,ulm,10,-", "b,Bolt,bolt.org,Ulm,20,-", "c,Core,-,Bonn,30,-"],
    );
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(
        views.rows("account", FIELDS),
        ["ACME|acme.com|10", "Bolt|bolt.com|2", "Bolt|bolt.org|20", "Core||3", "Core||30"]
    );
}

#[test]
fn an_ambiguous_key_links_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Acme,acme.com,-,1,-"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme EU,acme.com,-,10,-"]); // 4
    log.batch(&mut s[1], 1, COLUMNS, &["b,Acme US,acme.com,-,20,-"]); // 5
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(
        views.rows("account", FIELDS),
        ["Acme EU|acme.com|10", "Acme US|acme.com|20", "Acme|acme.com|1"]
    );
    assert_eq!(views.rows_at("account", FIELDS, 4), ["Acme EU|acme.com|10"]);
    // One of the two goes: the other one is sure again.
    log.snapshot(&mut s[1], 1, COLUMNS, &["b,Acme US,acme.com,-,20,-"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme US|acme.com|20"]);
}

#[test]
fn a_refused_link_holds_when_its_reason_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    // 1 and a meet by domain; a and 2 would meet by name, but 1 and 2 are of one feed.
    log.batch(&mut s[0], 1, COLUMNS, &["1,Old,acme.com,Bonn,1,-", "2,Acme,-,Ulm,2,-"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme,acme.com,Ulm,10,-"]);
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|acme.com|10", "Acme||2"]);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Old,old.com,Bonn,1,-"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|acme.com|10", "Old|old.com|1"]);
}

#[test]
fn an_id_outlives_its_founder() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 3);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Acme,acme.com,-,1,-"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme,acme.com,-,2,-"]);
    log.close(&mut s[0]);
    let mut views = views(&dir);
    views.follow(&log);
    let founder = s[0].sid("1").to_string();
    assert_eq!(views.ids("account"), std::slice::from_ref(&founder), "the row stays the same one");
    assert_eq!(views.query("SELECT CAST(solo AS VARCHAR) FROM rec_account"), ["true"]);
    log.batch(&mut s[2], 1, COLUMNS, &["x,Acme,acme.com,-,3,-"]);
    views.follow(&log);
    assert_eq!(views.ids("account"), std::slice::from_ref(&founder));
    // Taken apart: the part with the founder's heir keeps the id, the other gets its own.
    log.unmerge("account", s[1].sid("a"), s[2].sid("x"));
    views.follow(&log);
    let mut expected = vec![founder.clone(), s[2].sid("x").to_string()];
    expected.sort();
    assert_eq!(views.ids("account"), expected);
    log.merge("account", s[1].sid("a"), s[2].sid("x"));
    views.follow(&log);
    assert_eq!(views.ids("account"), [founder]);
}

#[test]
fn a_founder_that_comes_back_has_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.snapshot(&mut s[0], 1, COLUMNS, &["1,Acme,acme.com,-,1,-", "2,Bolt,bolt.com,-,1,-"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme,acme.com,-,2,-"]);
    log.snapshot(&mut s[0], 1, COLUMNS, &["2,Bolt,bolt.com,-,1,-"]);
    let mut views = views(&dir);
    views.follow(&log);
    let founder = s[0].sid("1").to_string();
    assert!(views.ids("account").contains(&founder));
    // It is something else now.
    log.batch(&mut s[0], 1, COLUMNS, &["1,Other,other.com,-,1,-"]);
    views.follow(&log);
    let of = |key: &str| {
        views.query(&format!("SELECT CAST(uid AS VARCHAR) FROM rec_account WHERE source_id = '{key}'"))
    };
    assert_eq!(of("1"), [founder]);
    assert_eq!(of("a"), [s[1].sid("a").to_string()]);
    assert!(views.query("SELECT CAST(sid AS VARCHAR) FROM founders").is_empty());
}

#[test]
fn people_have_the_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Acme,acme.com,-,1,-", "2,Acme Labs,labs.com,-,2,-"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme,acme.com,-,-,-"]);
    log.merge("account", s[0].sid("1"), s[0].sid("2"));
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme|acme.com|1"]);
    log.unmerge("account", s[0].sid("1"), s[0].sid("2"));
    log.unmerge("account", s[0].sid("1"), s[1].sid("a"));
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme Labs|labs.com|2", "Acme|acme.com|", "Acme|acme.com|1"]);
    // It holds for what comes later, too.
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme,acme.com,Ulm,7,-"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS).len(), 3);
}

#[test]
fn the_latest_change_of_a_field_wins_whatever_order_it_came_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Newest,acme.com,-,1,2023-06-01T00:00:00Z"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Oldest,acme.com,-,2,2020-01-01T00:00:00Z"]);
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(
        views.rows("account", &["name", "employee_count", "updated_at"]),
        ["Newest|1|2023-06-01 00:00:00"]
    );
    // A row that only says something new about its staff changes the staff alone.
    log.batch(&mut s[1], 1, COLUMNS, &["a,Oldest,acme.com,-,3,2023-07-01T00:00:00Z"]);
    views.follow(&log);
    assert_eq!(
        views.rows("account", &["name", "employee_count", "updated_at"]),
        ["Newest|3|2023-07-01 00:00:00"]
    );
    // A time in the future counts as now.
    log.batch(&mut s[0], 1, COLUMNS, &["1,Newest,acme.com,-,4,2999-01-01T00:00:00Z"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Oldest,acme.com,-,5,-"]);
    views.follow(&log);
    assert_eq!(views.rows("account", &["name", "employee_count"]), ["Newest|5"]);
}

#[test]
fn priority_breaks_ties() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,One,acme.com,-,1,2020-01-01"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Two,acme.com,-,2,2020-01-01"]); // 4
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["One|acme.com|1"]);
    log.prioritise(&s[1], 5);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Two|acme.com|2"]);
    assert_eq!(views.rows_at("account", FIELDS, 4), ["One|acme.com|1"]);
}

#[test]
fn a_views_rules_rank_its_sources() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,One,acme.com,-,1,2020-01-01"]);
    let before = log.batch(&mut s[1], 1, COLUMNS, &["a,Two,acme.com,-,2,2024-01-01"]);
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Two|acme.com|2"]);
    // The older source is trusted for the name, the newer value wins everywhere else.
    log.rules("account", &[&s[0], &s[1]], &["name"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["One|acme.com|2"]);
    assert_eq!(views.rows_at("account", FIELDS, before), ["Two|acme.com|2"]);
    // Rules stay in force for what comes later.
    log.batch(&mut s[1], 1, COLUMNS, &["a,Three,acme.com,-,3,2025-01-01"]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["One|acme.com|3"]);
    log.rules("account", &[], &[]);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Three|acme.com|3"]);
}

#[test]
fn a_held_cell_survives_with_its_old_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut s = streams(&mut log, 2);
    log.batch(&mut s[0], 1, COLUMNS, &["1,Acme,acme.com,-,1,-"]);
    log.batch(&mut s[1], 1, COLUMNS, &["a,Acme,acme.com,-,2,-"]);
    log.bind(&s[0], held(2, 1, &["employee_count"]));
    log.batch(&mut s[0], 2, COLUMNS, &["1,Acme Inc,acme.com,-,9999,-"]);
    let mut views = views(&dir);
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme Inc|acme.com|2"]);
    log.bind(&s[0], bound(2, 1));
    views.follow(&log);
    assert_eq!(views.rows("account", FIELDS), ["Acme Inc|acme.com|9999"]);
}
