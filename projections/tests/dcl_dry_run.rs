//! A dry run says what applying then does, and writes nothing.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails where it stands")]

mod support;

use autonomos_domain::{
    aggregates::mapping::{Binding, MappingEvent},
    mapping::{MappingContent, MappingOrigin, Transform},
};
use autonomos_projections::{
    ProjectionError,
    dcl::read::{DryRun, DryRunKind, DryRunQuery},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use support::{Log, Stream, TENANT, Views, bound, content, held, line, line_with};

const FIELDS: &[&str] = &["name", "employee_count", "annual_revenue", "domain"];

fn query() -> DryRunQuery {
    DryRunQuery { field: None, examples: 1_000, timeout: Duration::from_mins(1) }
}

fn mapped(name: &str, staff: &str, revenue: Transform) -> MappingContent {
    let lines = vec![
        line(name, "name"),
        line(staff, "employee_count"),
        line_with("revenue", "annual_revenue", revenue),
    ];
    content(Some("account"), lines)
}

fn revised(version: u32, content: MappingContent, bindings: Vec<Binding>) -> Vec<MappingEvent> {
    let revised = MappingEvent::MappingRevised {
        version,
        content,
        origin: MappingOrigin::Human,
        based_on: version - 1,
        repair_id: None,
    };
    let bound = bindings.into_iter().map(|binding| MappingEvent::MappingBound { binding });
    std::iter::once(revised).chain(bound).collect()
}

/// The cells of all records of an entity, by record and field; a record without one is there too.
fn cells(views: &Views, entity: &str) -> BTreeMap<String, Vec<String>> {
    let tables = views.query("SELECT table_name FROM duckdb_tables() WHERE NOT temporary");
    if !tables.contains(&format!("rec_{entity}")) {
        return BTreeMap::new();
    }
    let columns = if entity == "account" { FIELDS } else { &["first_name", "last_name"] };
    let columns: Vec<String> =
        columns.iter().map(|name| format!("coalesce(CAST(\"f_{name}\" AS VARCHAR), '')")).collect();
    let sql = format!(
        "SELECT CAST(sid AS VARCHAR) || '|' || {} FROM \"rec_{entity}\" ORDER BY sid",
        columns.join(" || '|' || ")
    );
    views
        .query(&sql)
        .into_iter()
        .map(|text| {
            let mut parts = text.split('|').map(str::to_owned);
            (parts.next().unwrap(), parts.collect())
        })
        .collect()
}

fn quarantine(views: &Views) -> BTreeSet<String> {
    let sql = "SELECT CAST(sid AS VARCHAR) || '|' || coalesce(target, '') || '|' || code FROM quarantine WHERE \"to\" IS NULL ORDER BY 1";
    views.query(sql).into_iter().collect()
}

/// Every row of every table, as text.
fn everything(views: &Views) -> Vec<String> {
    let tables = views.query("SELECT table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1");
    tables
        .iter()
        .flat_map(|table| {
            views.query(&format!("SELECT CAST(t AS VARCHAR) AS row FROM \"{table}\" t ORDER BY row"))
        })
        .collect()
}

/// Runs dry, then applies, and compares what was said with what came.
async fn tried(log: &mut Log, views: &mut Views, stream: &Stream, events: Vec<MappingEvent>) -> DryRun {
    views.follow(log);
    let untouched = everything(views);
    let said = views.reads().dry_run(TENANT, stream.id(), events.clone(), query()).await.unwrap();
    assert_eq!(everything(views), untouched, "a dry run writes nothing");
    assert_eq!(said.sequence, views.applied() as u64);
    let (accounts, contacts, waiting) = (cells(views, "account"), cells(views, "contact"), quarantine(views));
    log.mapping(stream, events);
    views.follow(log);
    let now_waiting = quarantine(views);
    let (mut affected, mut added, mut removed, mut changed, mut filled, mut emptied) = (0, 0, 0, 0, 0, 0);
    let pairs = [(accounts, cells(views, "account")), (contacts, cells(views, "contact"))];
    for (before, after) in &pairs {
        let ids: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for id in ids {
            let (old, new) = (before.get(id), after.get(id));
            added += u64::from(old.is_none());
            removed += u64::from(new.is_none());
            affected += u64::from(old != new);
            let none = vec![String::new(); 4];
            for (old, new) in old.unwrap_or(&none).iter().zip(new.unwrap_or(&none)) {
                changed += u64::from(old != new && !old.is_empty() && !new.is_empty());
                filled += u64::from(old.is_empty() && !new.is_empty());
                emptied += u64::from(!old.is_empty() && new.is_empty());
            }
        }
    }
    assert_eq!(
        (said.rows.affected, said.rows.added, said.rows.removed),
        (affected, added, removed),
        "{said:?}"
    );
    assert_eq!(
        (said.cells.changed, said.cells.filled, said.cells.emptied),
        (changed, filled, emptied),
        "{said:?}"
    );
    let cell = |text: &String| text.rsplit_once('|').map(|(cell, _)| cell.to_owned());
    let of = |all: &BTreeSet<String>| all.iter().filter_map(cell).collect::<BTreeSet<_>>();
    let anew = now_waiting.difference(&waiting).count() as u64;
    let gone = of(&waiting).difference(&of(&now_waiting)).count() as u64;
    assert_eq!(said.cells.quarantined + said.rows.quarantined, anew, "{said:?}");
    assert_eq!(said.cells.released + said.rows.released, gone, "{said:?}");
    assert_eq!(said.examples.len() as u64, changed + filled + emptied + said.cells.quarantined, "{said:?}");
    said
}

#[tokio::test]
async fn what_a_dry_run_says_is_what_applying_does() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    let mut views = Views::new(dir.path());
    log.map(&stream, mapped("name", "staff", Transform::Copy));
    log.snapshot(
        &mut stream,
        1,
        "id,name,staff,revenue",
        &["1,Acme,10,100", "2,Bolt,20,200", "3,Core,30,300"],
    );
    // `staff` came as `crew`: its cells wait, and one of them will not fit.
    log.bind(&stream, held(2, 1, &["employee_count"]));
    log.batch(&mut stream, 2, "id,name,crew,revenue", &["1,Acme,11,100", "2,Bolt,many,200", "4,Dyna,40,400"]);
    let approve = revised(2, mapped("name", "crew", Transform::Copy), vec![bound(2, 2)]);
    let said = tried(&mut log, &mut views, &stream, approve).await;
    let staff = &said.fields[0];
    assert_eq!((staff.entity.as_str(), staff.field.as_str()), ("account", "employee_count"));
    assert_eq!((staff.cells.changed, staff.cells.filled, staff.cells.emptied), (1, 1, 1), "{said:?}");
    // The column that was read is gone: there was nothing to wait in quarantine.
    assert_eq!((staff.cells.quarantined, staff.cells.released), (1, 0));
    let first = said.examples.iter().find(|example| example.source_id == "1").unwrap();
    assert_eq!((first.before.as_deref(), first.after.as_deref()), (Some("10"), Some("11")));
    assert_eq!((first.kind, first.reason.as_str()), (DryRunKind::Changed, "read from `crew`"));
    let misfit = said.examples.iter().find(|example| example.kind == DryRunKind::Quarantined).unwrap();
    assert_eq!((misfit.source_id.as_str(), misfit.before.as_deref()), ("2", Some("many")));

    // Rolled back, the cells wait again with what they showed before.
    let back = vec![MappingEvent::MappingBound { binding: held(2, 1, &["employee_count"]) }];
    let said = tried(&mut log, &mut views, &stream, back).await;
    assert_eq!(said.rows.affected, 3, "{said:?}");

    // An edit: revenue in cents, no staff at all.
    let cents = Transform::Scale { factor: "0.01".to_owned() };
    let mut edited = mapped("name", "crew", cents);
    edited.fields.remove(1);
    let said = tried(&mut log, &mut views, &stream, revised(3, edited, vec![bound(2, 3)])).await;
    let fields: Vec<&str> = said.fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["annual_revenue", "employee_count"]);

    // The rows wait whole, and come back.
    let waits = Binding { hold_rows: true, ..bound(3, 3) };
    log.bind(&stream, waits);
    log.batch(&mut stream, 3, "id,name,revenue", &["5,Echo,500"]);
    let said = tried(
        &mut log,
        &mut views,
        &stream,
        revised(4, mapped("name", "crew", Transform::Copy), vec![bound(3, 4)]),
    )
    .await;
    assert_eq!((said.rows.added, said.rows.released), (1, 1), "{said:?}");

    // To another entity, and to none.
    let people = content(Some("contact"), vec![line("name", "first_name"), line("crew", "last_name")]);
    let bindings = vec![bound(1, 5), bound(2, 5), bound(3, 5)];
    let said = tried(&mut log, &mut views, &stream, revised(5, people, bindings)).await;
    assert_eq!(said.entity.as_deref(), Some("contact"));
    assert_eq!((said.rows.added, said.rows.removed, said.rows.affected), (5, 5, 10));
    let raw = content(None, vec![]);
    let said = tried(&mut log, &mut views, &stream, revised(6, raw, vec![bound(3, 6)])).await;
    assert_eq!((said.entity, said.rows.removed), (None, 5));
}

#[tokio::test]
async fn a_dry_run_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::default();
    let mut stream = log.stream(1, "accounts");
    let mut views = Views::new(dir.path());
    log.map(&stream, mapped("name", "staff", Transform::Copy));
    let rows: Vec<String> = (0..100).map(|row| format!("{row},N{row},{row},{row}")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    log.batch(&mut stream, 1, "id,name,staff,revenue", &rows);
    views.follow(&log);
    let reads = views.reads();
    let swapped = revised(
        2,
        mapped("staff", "revenue", Transform::Scale { factor: "2".to_owned() }),
        vec![bound(1, 2)],
    );
    let few = DryRunQuery { examples: 7, ..query() };
    let said = reads.dry_run(TENANT, stream.id(), swapped.clone(), few).await.unwrap();
    assert_eq!((said.examples.len(), said.rows.affected), (7, 100));
    let one = DryRunQuery { field: Some("annual_revenue".to_owned()), examples: 5, ..query() };
    let said = reads.dry_run(TENANT, stream.id(), swapped.clone(), one).await.unwrap();
    assert!(said.examples.iter().all(|example| example.field == "annual_revenue"), "{said:?}");
    assert_eq!((said.examples.len(), said.fields.len()), (5, 2), "counts are of all fields: {said:?}");
    let unknown = DryRunQuery { field: Some("colour".to_owned()), ..query() };
    let refused = reads.dry_run(TENANT, stream.id(), swapped.clone(), unknown).await;
    assert!(matches!(refused, Err(ProjectionError::UnknownField { .. })));
    let at_once = DryRunQuery { timeout: Duration::ZERO, ..query() };
    let stopped = reads.dry_run(TENANT, stream.id(), swapped, at_once).await;
    assert!(matches!(stopped, Ok(_) | Err(ProjectionError::DryRunTimeout { .. })), "{stopped:?}");
    // Nothing bound otherwise, and a stream that nobody knows.
    let nothing = vec![MappingEvent::MappingBound { binding: bound(1, 1) }];
    let said = reads.dry_run(TENANT, stream.id(), nothing.clone(), query()).await.unwrap();
    assert!(said.rows.is_none() && said.fields.is_empty(), "{said:?}");
    let other = log.stream(2, "others");
    let said = reads.dry_run(TENANT, other.id(), nothing, query()).await.unwrap();
    assert!(said.rows.is_none(), "{said:?}");
}
