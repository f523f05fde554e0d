//! The main job, over the HTTP contract alone: connect, sync, see the view; deliver a drifted edition,
//! see drift and repair, approve, roll back, and see the view follow. The same steps for one node and
//! for several.

use crate::client::Client;
use serde_json::{Value, json};
use std::{fmt::Write as _, path::Path};

/// 200 accounts with every field a repair could go wrong on.
fn accounts(drifted: bool) -> String {
    let mut text = String::from(if drifted {
        "account_id,name,web_domain,revenue,staff,is_partner,billing_city,created_at\n"
    } else {
        "account_id,name,domain,annual_revenue,employee_count,partner,billing_city,created_at\n"
    });
    for number in 0..200_u32 {
        let revenue = u64::from(number) * 7_919 + 10_000;
        let _ = writeln!(
            text,
            "A{number:04},Company {number:03} Ltd,company{number}.example.com,{revenue},{},{},{},2024-{:02}-{:02}T08:00:00Z",
            number * 13 % 977 + 1,
            number % 3 == 0,
            ["Leeds", "Oslo", "Lyon", "Porto", "Graz"][number as usize % 5],
            number % 12 + 1,
            number % 27 + 1,
        );
    }
    text
}

fn deliver(folder: &Path, text: &str) {
    std::fs::write(folder.join("accounts.part"), text).expect("writes");
    std::fs::rename(folder.join("accounts.part"), folder.join("accounts.csv")).expect("renames");
}

fn account<'a>(rows: &'a [Value], name: &str) -> &'a Value {
    rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no `{name}` in the view"))
}

/// Does the main job as a signed-in owner. `inbox` is a folder the server may read; `midway` happens
/// while the drifted edition is being synced.
pub async fn main_job(client: &Client, inbox: &Path, midway: impl AsyncFnOnce()) {
    deliver(inbox, &accounts(false));
    let catalogue = client.get("/aam/connectors").await.expect(200);
    assert_eq!(catalogue["data"][0]["id"], "file");
    let connection = client.file_connection("inbox", &inbox.join("accounts.csv").display().to_string()).await;

    let tested = client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    let found = client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    assert_eq!(found["streams"][0]["name"], "accounts");
    assert_eq!(found["streams"][0]["primary_key"], json!(["account_id"]));
    let chosen =
        json!({ "streams": [{ "name": "accounts", "sync_mode": "incremental", "entity": "account" }] });
    client.put(&format!("/aam/connections/{connection}/streams"), chosen).await.expect(200);

    let sync = client.sync(&connection).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");
    assert_eq!(sync["streams"][0]["rows_read"], 200);
    assert_eq!(sync["streams"][0]["rows_canonical"], 200);
    assert_eq!(sync["streams"][0]["rows_quarantined"], 0);
    let rows = client.rows("accounts", "").await;
    assert_eq!(rows.len(), 200);
    let before = account(&rows, "Company 007 Ltd").clone();
    assert_eq!(before["domain"], "company7.example.com");
    assert_eq!(before["employee_count"], 92);
    assert_eq!(before["_sources"][0]["source_id"], "A0007");
    let first_position =
        client.get("/dcl/views/accounts?limit=1").await.position().expect("reads say what they show");

    deliver(inbox, &accounts(true));
    let started = client.post(&format!("/aam/connections/{connection}/syncs"), json!({})).await;
    let position = started.position();
    let started = started.expect(202);
    midway().await;
    let sync = client.sync_ended(started["sync_id"].as_str().expect("a sync has an id"), position).await;
    assert_eq!(sync["status"], "succeeded", "{sync}");

    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let found: Vec<(String, String)> = drift["data"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|item| {
            let text = |key: &str| item[key].as_str().unwrap_or_default().to_owned();
            (text("kind"), text("field"))
        })
        .collect();
    for field in ["domain", "annual_revenue", "employee_count", "partner"] {
        assert!(found.contains(&("field_renamed".to_owned(), field.to_owned())), "{field}: {found:?}");
    }
    // The renames that values prove were repaired alone: the view is as it was.
    let rows = client.rows("accounts", "").await;
    assert_eq!(rows.len(), 200);
    let after = account(&rows, "Company 007 Ltd");
    for field in ["domain", "annual_revenue", "employee_count", "billing_city", "id"] {
        assert_eq!(after[field], before[field], "{field}");
    }

    // An edited mapping can be rolled back like a repair: take the automatic one back.
    let repairs = client.get(&format!("/aam/repairs?connection_id={connection}")).await.expect(200);
    let repairs = repairs["data"].as_array().expect("a list").clone();
    let applied = repairs
        .iter()
        .find(|repair| repair["status"] == "auto_applied")
        .unwrap_or_else(|| panic!("a repair applied alone: {repairs:?}"));
    assert!(applied["confidence"].as_f64().expect("a number") >= 0.99);
    let id = applied["id"].as_str().expect("an id");
    let dry = client.post(&format!("/aam/repairs/{id}/dry-run"), json!({})).await.expect(200);
    assert_eq!((&dry["action"], &dry["entity"]), (&json!("rollback"), &json!("account")), "{dry}");
    assert_eq!(dry["rows"]["affected"], 0, "held cells would keep their last good value: {dry}");
    let answer = client.post(&format!("/aam/repairs/{id}/rollback"), json!({})).await;
    let position = answer.position().expect("a write says where it stands");
    answer.expect(200);
    let held = client.get(&format!("/dcl/views/accounts?limit=1&min_position={position}")).await.expect(200);
    let waiting: Vec<&str> =
        held["data"][0]["_held"].as_array().expect("held fields").iter().filter_map(Value::as_str).collect();
    assert!(waiting.contains(&"employee_count"), "{waiting:?}");
    let rows = client.rows("accounts", "").await;
    assert_eq!(
        account(&rows, "Company 007 Ltd")["employee_count"],
        92,
        "held cells keep their last good value"
    );

    // The past is still there.
    let past =
        client.get(&format!("/dcl/views/accounts?limit=1000&as_of={first_position}")).await.expect(200);
    assert_eq!(past["data"].as_array().map(Vec::len), Some(200));
    assert!(past["data"][0]["_held"].as_array().is_some_and(Vec::is_empty));

    // Lineage of a cell leads to its batch and row.
    let row = account(&rows, "Company 007 Ltd");
    let path = format!("/dcl/views/accounts/{}/lineage", row["id"].as_str().expect("an id"));
    let lineage = client.get(&path).await.expect(200);
    assert!(lineage.to_string().contains(&connection), "{lineage}");

    every_step_was_an_event(client).await;
}

/// The stream from its beginning has every step, in order, and resumes without a gap or a repeat.
async fn every_step_was_an_event(client: &Client) {
    let mut all: Vec<Value> = Vec::new();
    client
        .events_until("", |event| {
            all.push(event.clone());
            event["type"] == "RepairRolledBack"
        })
        .await;
    let types: Vec<&str> = all.iter().filter_map(|event| event["type"].as_str()).collect();
    let mut at = 0;
    for step in [
        "TenantRegistered",
        "ConnectionCreated",
        "ConnectionTested",
        "StreamsDiscovered",
        "StreamsSelected",
        "SyncRequested",
        "SchemaVersionRecorded",
        "MappingCreated",
        "RecordsIngested",
        "SnapshotCompleted",
        "SyncSucceeded",
        "DriftDetected",
        "RepairProposed",
        "RepairRolledBack",
    ] {
        at += types[at..]
            .iter()
            .position(|kind| *kind == step)
            .unwrap_or_else(|| panic!("`{step}` is missing after {:?}", &types[..at]));
    }
    let middle = all.len() / 2;
    let from = all[middle]["position"].as_str().expect("an id").to_owned();
    let mut rest = Vec::new();
    client
        .events_until(&from, |event| {
            rest.push(event.clone());
            rest.len() == all.len() - middle - 1
        })
        .await;
    assert_eq!(rest[..], all[middle + 1..], "a resumed stream goes on where it was left");
}
