//! The demo, started as `make run` starts it, against the truth file that it writes beside its exports.

use autonomos_tests::{client::Client, server::Start};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

#[derive(Deserialize)]
struct Truth {
    /// Records of one company: system and stream, id there.
    accounts: Vec<Vec<(String, String)>>,
    /// Of each, by field, every right spelling.
    values: Vec<BTreeMap<String, BTreeSet<String>>>,
    drift: BTreeSet<Drift>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Drift {
    stream: String,
    kind: String,
    field: String,
}

/// The records that went into a unified row.
fn sources(row: &Value) -> Vec<&str> {
    let list = row["_sources"].as_array().expect("a row has sources");
    list.iter().filter_map(|source| source["source_id"].as_str()).collect()
}

fn pairs(records: usize) -> usize {
    records * records.saturating_sub(1) / 2
}

/// A cell as the truth file spells it; none if it is empty.
fn spelled(cell: &Value) -> Option<String> {
    match cell {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_unifies_what_is_one_and_finds_every_drift() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    fs::create_dir(&home).expect("writes");
    let server = Start::demo(&home).run().expect("`autonomos demo` gets ready");
    let ready = &server.ready;
    let text = fs::read(ready["truth"].as_str().expect("a truth file is named")).expect("it is there");
    let truth: Truth = serde_json::from_slice(&text).expect("it can be read");
    let mut client = Client::new(&server.url);
    let sign_in = json!({ "email": ready["email"], "password": ready["password"] });
    let signed = client.post("/auth/login", sign_in).await.expect(200);
    client.token = signed["access_token"].as_str().map(str::to_owned);

    let company_of: HashMap<&str, usize> = truth
        .accounts
        .iter()
        .enumerate()
        .flat_map(|(company, records)| records.iter().map(move |(_, id)| (id.as_str(), company)))
        .collect();
    let rows = client.rows("account", "").await;
    let (mut merged, mut cells, mut seen) = (0, 0, 0);
    for row in &rows {
        let records = sources(row);
        let companies: BTreeSet<usize> = records.iter().map(|id| company_of[id]).collect();
        assert_eq!(companies.len(), 1, "wrongly merged: {row}");
        merged += pairs(records.len());
        seen += records.len();
        let right = &truth.values[*companies.first().expect("a row has a record")];
        for (field, right) in right {
            let Some(cell) = spelled(&row[field.as_str()]) else { continue };
            assert!(right.contains(&cell), "`{field}` is `{cell}`, right is {right:?}: {row}");
            cells += 1;
        }
    }
    assert_eq!(seen, company_of.len(), "every record is in one row");
    assert!(cells > 10 * rows.len(), "{cells} cells in {} rows", rows.len());
    let real: usize = truth.accounts.iter().map(|records| pairs(records.len())).sum();
    println!("{merged} of {real} pairs merged, {cells} cells right");
    assert!(merged * 100 >= real * 98, "{merged} of {real} pairs");

    let found = client.get("/aam/drift?limit=100").await.expect(200);
    let found = found["data"].as_array().expect("a list").iter().map(|drift| {
        let text = |name: &str| drift[name].as_str().unwrap_or_default().to_owned();
        Drift { stream: text("stream"), kind: text("kind"), field: text("field") }
    });
    assert_eq!(found.collect::<BTreeSet<_>>(), truth.drift);
}
