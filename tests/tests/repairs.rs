//! Who decides about repairs, and what a decision would do: dry runs, autonomy modes, policies of
//! connections and fields, the end of proposals, and what a policy would have done in the past.

use autonomos_tests::{
    client::Client,
    server::{Server, Start},
};
use serde_json::{Value, json};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

struct World {
    _folder: tempfile::TempDir,
    inbox: PathBuf,
    server: Server,
}

fn world() -> World {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .run()
        .expect("starts");
    World { _folder: folder, inbox, server }
}

/// Companies with a revenue of their own each, under whatever name.
fn write(file: &Path, revenue: &str, rows: u32) {
    write_both(file, revenue, "employee_count", rows);
}

fn write_both(file: &Path, revenue: &str, employees: &str, rows: u32) {
    let mut text = format!("account_id,name,domain,{revenue},{employees}\n");
    for row in 0..rows {
        let _ = writeln!(
            text,
            "A{row:04},Company {row:03} Ltd,company{row}.example.com,{},{}",
            u64::from(row) * 7_919 + 10_000,
            row * 13 % 977 + 1
        );
    }
    std::fs::write(file.with_extension("part"), text).expect("writes");
    std::fs::rename(file.with_extension("part"), file).expect("renames");
}

/// A connection that was synced once, with its file.
async fn connected(world: &World, client: &Client, name: &str) -> (String, PathBuf) {
    let folder = world.inbox.join(name);
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("accounts.csv");
    write(&file, "annual_revenue", 200);
    let connection = client.file_connection(name, &file.display().to_string()).await;
    let chosen = json!({ "streams": [{ "name": "accounts", "entity": "account" }] });
    client.put(&format!("/aam/connections/{connection}/streams"), chosen).await.expect(200);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    (connection, file)
}

async fn repairs(client: &Client, connection: &str) -> Vec<Value> {
    let page = client.get(&format!("/aam/repairs?connection_id={connection}")).await.expect(200);
    page["data"].as_array().expect("a list").clone()
}

async fn statuses(client: &Client, connection: &str) -> Vec<String> {
    let text = |repair: &Value| repair["status"].as_str().unwrap_or_default().to_owned();
    repairs(client, connection).await.iter().map(text).collect()
}

/// Of the records of a connection: how many have a revenue, and how many wait for one.
async fn revenues(client: &Client) -> (usize, usize) {
    let rows = client.rows("accounts", "").await;
    let with = rows.iter().filter(|row| !row["annual_revenue"].is_null()).count();
    let waits = |row: &&Value| row["_held"].to_string().contains("annual_revenue");
    (with, rows.iter().filter(waits).count())
}

async fn decide(client: &Client, repair: &Value, decision: &str) -> Value {
    let id = repair["id"].as_str().expect("an id");
    let answer = client.post(&format!("/aam/repairs/{id}/{decision}"), json!({})).await;
    let position = answer.position().expect("a position");
    let body = answer.expect(200);
    client.shown(&position).await;
    client.get(&format!("/dcl/views/accounts?limit=1&min_position={position}")).await.expect(200);
    body
}

#[tokio::test]
async fn a_dry_run_says_what_a_decision_would_change() {
    let world = world();
    let client = Client::registered(&world.server.url, "Dry", "dry@example.com").await;
    client.put("/aoa/autonomy", json!({ "mode": "recommend" })).await.expect(200);
    let (connection, file) = connected(&world, &client, "crm").await;
    write(&file, "turnover", 205);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let [repair]: [Value; 1] = repairs(&client, &connection).await.try_into().expect("one proposal");
    assert_eq!(repair["status"], "pending_review", "{repair}");
    assert_eq!(revenues(&client).await, (200, 205), "the last good value stays, new ones wait");
    let id = repair["id"].as_str().expect("an id");
    let path = format!("/aam/repairs/{id}/dry-run");
    let shown = client.rows("accounts", "").await;

    let answer = client.post(&path, json!({})).await;
    let position = answer.position();
    let said = answer.expect(200);
    assert_eq!(said["position"].as_str(), position.as_deref(), "it says where the views were");
    assert_eq!((said["action"].as_str(), said["entity"].as_str()), (Some("approve"), Some("account")));
    assert_eq!((&said["rows"]["affected"], &said["rows"]["unified"]), (&json!(5), &json!(5)), "{said}");
    assert_eq!(said["cells"]["filled"], 5);
    assert_eq!(said["fields"][0]["field"], "annual_revenue");
    let examples = said["examples"].as_array().expect("examples");
    assert_eq!(examples.len(), 5);
    let first = examples.iter().find(|one| one["source_id"] == "A0200").expect("a new row");
    assert_eq!((&first["before"], &first["kind"]), (&Value::Null, &json!("filled")));
    assert_eq!(
        (first["after"].as_str(), first["reason"].as_str()),
        (Some("1593800"), Some("read from `turnover`"))
    );

    // Edited: another column, and another number of cells.
    let mut mapping = repair["proposal"]["mapping"].clone();
    for line in mapping["fields"].as_array_mut().expect("lines") {
        if line["target"] == "annual_revenue" {
            line["source"] = json!("employee_count");
        }
    }
    let said = client.post(&path, json!({ "mapping": mapping, "limit": 3 })).await.expect(200);
    assert_eq!((&said["cells"]["changed"], &said["cells"]["filled"]), (&json!(200), &json!(5)), "{said}");
    assert_eq!(said["examples"].as_array().map(Vec::len), Some(3));
    for body in [json!({ "limit": 0 }), json!({ "limit": 501 }), json!({ "rows": 1 })] {
        client.post(&path, body).await.expect(422);
    }
    client.post(&path, json!({ "field": "colour" })).await.expect(422);
    client.post(&format!("/aam/repairs/{connection}/dry-run"), json!({})).await.expect(404);
    assert_eq!(client.rows("accounts", "").await, shown, "nothing was written");
    assert_eq!(revenues(&client).await, (200, 205));

    // Approved, it comes as it was said; then the way back.
    decide(&client, &repair, "approve").await;
    assert_eq!(revenues(&client).await, (205, 0));
    let said = client.post(&path, json!({})).await.expect(200);
    assert_eq!((&said["action"], &said["cells"]["emptied"]), (&json!("rollback"), &json!(5)), "{said}");
    client.post(&path, json!({ "mapping": mapping })).await.expect(422);
    decide(&client, &repair, "rollback").await;
    assert_eq!(revenues(&client).await, (200, 205));
    client.post(&path, json!({})).await.expect(409);
}

#[tokio::test]
async fn each_change_of_a_proposal_is_decided_by_itself() {
    let world = world();
    let client = Client::registered(&world.server.url, "Parts", "parts@example.com").await;
    client.put("/aoa/autonomy", json!({ "mode": "recommend" })).await.expect(200);
    let (connection, file) = connected(&world, &client, "crm").await;
    write_both(&file, "turnover", "headcount", 205);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let [repair]: [Value; 1] = repairs(&client, &connection).await.try_into().expect("one proposal");
    let changes = repair["proposal"]["changes"].as_array().expect("changes");
    assert_eq!(changes.len(), 2, "{repair}");
    let drift = |column: &str| {
        let change = changes.iter().find(|change| change["old_source"] == column).expect("its change");
        change["drift_id"].clone()
    };
    let (revenue, employees) = (drift("annual_revenue"), drift("employee_count"));
    assert_eq!(repair["proposal"]["together"], json!([[revenue.clone()], [employees.clone()]]), "{repair}");
    let path = format!("/aam/repairs/{}", repair["id"].as_str().expect("an id"));

    // The dry run of a part tells of its cells alone.
    let said =
        client.post(&format!("{path}/dry-run"), json!({ "drift_ids": [revenue.clone()] })).await.expect(200);
    assert_eq!(said["fields"].as_array().map(Vec::len), Some(1), "{said}");
    assert_eq!(said["fields"][0]["field"], "annual_revenue");
    for (body, pointer) in [
        (json!({ "drift_ids": [] }), "/drift_ids"),
        (json!({ "drift_ids": [uuid::Uuid::nil()] }), "/drift_ids/0"),
        (json!({ "drift_ids": [revenue.clone()], "mapping": repair["proposal"]["mapping"] }), "/drift_ids"),
    ] {
        let refused = client.post(&format!("{path}/approve"), body).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }

    let answer = client.post(&format!("{path}/approve"), json!({ "drift_ids": [revenue.clone()] })).await;
    let position = answer.position().expect("a position");
    let approved = answer.expect(200);
    assert_eq!((&approved["status"], &approved["drift_ids"]), (&json!("approved"), &json!([revenue])));
    client.shown(&position).await;
    assert_eq!(revenues(&client).await, (205, 0));
    let rest = approved["rest_id"].as_str().expect("the rest");
    let rest = client.get(&format!("/aam/repairs/{rest}")).await.expect(200);
    assert_eq!((&rest["status"], &rest["drift_ids"]), (&json!("pending_review"), &json!([employees])));
    let employees = |rows: &[Value]| rows.iter().filter(|row| !row["employee_count"].is_null()).count();
    assert_eq!(employees(&client.rows("accounts", "").await), 200, "the other field waits still");
    // It is decided like any other, and the first one is taken back by itself.
    decide(&client, &rest, "approve").await;
    assert_eq!(employees(&client.rows("accounts", "").await), 205);
    client.post(&format!("{path}/rollback"), json!({})).await.expect(409);
    decide(&client, &rest, "rollback").await;
    decide(&client, &repair, "rollback").await;
    assert_eq!(revenues(&client).await, (200, 205));
}

#[tokio::test]
async fn every_mode_is_kept_by_the_server() {
    for (mode, proposed, shown) in [
        ("observe", &[][..], (200, 200)),
        ("recommend", &["pending_review"][..], (200, 200)),
        ("approve_to_act", &["pending_review"][..], (200, 200)),
        ("auto", &["auto_applied"][..], (200, 0)),
    ] {
        // Files are the first organisation's alone.
        let world = world();
        let client = Client::registered(&world.server.url, mode, "mode@example.com").await;
        client.put("/aoa/autonomy", json!({ "mode": mode })).await.expect(200);
        // No rule lets more happen than the mode does.
        let rules = json!({ "version": 0, "rules": [
            { "automatic_from": 0.85, "ask_from": 0.1, "protected": false, "on_drift": "repair" }
        ] });
        client.put("/aam/policies", rules).await.expect(200);
        let (connection, file) = connected(&world, &client, mode).await;
        write(&file, "turnover", 200);
        assert_eq!(client.sync(&connection).await["status"], "succeeded");
        assert_eq!(statuses(&client, &connection).await, proposed, "{mode}");
        assert_eq!(revenues(&client).await, shown, "{mode}");
    }
}

#[tokio::test]
async fn the_most_specific_policy_holds() {
    let world = world();
    let client = Client::registered(&world.server.url, "Policies", "policies@example.com").await;
    let mut connections = Vec::new();
    for name in ["alone", "protected", "held", "paused", "passing"] {
        connections.push(connected(&world, &client, name).await);
    }
    let id = |at: usize| connections[at].0.clone();
    let none = client.get("/aam/policies").await.expect(200);
    assert_eq!(none, json!({ "version": 0, "rules": [], "expire_after_days": null }));
    let rules = json!({ "version": 0, "expire_after_days": 30, "rules": [
        { "entity": "account", "field": "annual_revenue", "protected": true },
        { "connection_id": id(0), "entity": "account", "field": "annual_revenue", "protected": false },
        { "connection_id": id(2), "on_drift": "hold" },
        { "connection_id": id(3), "on_drift": "pause" },
        { "connection_id": id(4), "on_drift": "propagate" },
        { "connection_id": id(4), "entity": "account", "field": "annual_revenue", "protected": false },
    ] });
    assert_eq!(client.put("/aam/policies", rules.clone()).await.expect(200)["version"], 1);
    client.put("/aam/policies", rules.clone()).await.expect(409);
    for (rule, pointer) in [
        (json!({ "connection_id": uuid::Uuid::nil(), "protected": true }), "/rules/0/connection_id"),
        (json!({ "entity": "spaceship", "protected": true }), "/rules/0/entity"),
        (json!({ "entity": "account", "field": "colour", "protected": true }), "/rules/0/field"),
        (json!({ "automatic_from": 0.2 }), "/rules/0/automatic_from"),
        (json!({ "entity": "account", "on_drift": "hold" }), "/rules/0/on_drift"),
    ] {
        let refused = client.put("/aam/policies", json!({ "version": 1, "rules": [rule] })).await.expect(422);
        assert_eq!(refused["errors"][0]["pointer"], pointer, "{refused}");
    }
    let in_force = client
        .get(&format!("/aam/policies/in-force?connection_id={}&entity=account", id(1)))
        .await
        .expect(200);
    assert_eq!(in_force["fields"]["annual_revenue"]["protected"], true, "{in_force}");

    for (connection, file) in &connections {
        write(file, "turnover", 200);
        let ended = client.sync(connection).await;
        let paused = *connection == id(3);
        assert_eq!(ended["status"], if paused { "failed" } else { "succeeded" }, "{ended}");
        assert_eq!(ended.to_string().contains("AOS-0364"), paused, "{ended}");
    }
    for (at, expect) in [
        (0, &["auto_applied"][..]),
        (1, &["pending_review"][..]),
        (2, &["held"][..]),
        (3, &["pending_review"][..]),
        (4, &[][..]),
    ] {
        assert_eq!(statuses(&client, &id(at)).await, expect, "{at}");
    }
    // What waits is read on once it is decided.
    let [waiting]: [Value; 1] = repairs(&client, &id(3)).await.try_into().expect("one proposal");
    assert_eq!(client.sync(&id(3)).await["status"], "failed", "nobody decided yet");
    decide(&client, &waiting, "approve").await;
    assert_eq!(client.sync(&id(3)).await["status"], "succeeded");

    // Proposals that wait were given their end.
    let mut ends = Vec::new();
    client
        .events_until("", |event| {
            if event["type"] == "TaskQueued" && event["payload"]["action"] == "expire_repair" {
                ends.push(event["payload"]["run_at"].clone());
            }
            ends.len() == 3
        })
        .await;
    assert!(ends.iter().all(Value::is_string), "{ends:?}");
}

#[tokio::test]
async fn a_policy_is_tried_on_what_was_decided() {
    let world = world();
    let client = Client::registered(&world.server.url, "Backtest", "backtest@example.com").await;
    let path = "/aam/repairs/backtest";
    let policy =
        |automatic_from: f64| json!({ "policy": { "automatic_from": automatic_from, "ask_from": 0.6 } });
    let nothing = client.post(path, policy(0.99)).await.expect(200);
    assert_eq!((&nothing["proposals"], &nothing["precision"]), (&json!(0), &Value::Null));
    client.put("/aoa/autonomy", json!({ "mode": "approve_to_act" })).await.expect(200);
    // Names of their own, so that no decision is a precedent of the next.
    for (name, revenue, decisions) in [
        ("approved", "turnover", &["approve"][..]),
        ("rejected", "takings", &["reject"][..]),
        ("taken-back", "proceeds", &["approve", "rollback"][..]),
        ("waiting", "receipts", &[][..]),
    ] {
        let (connection, file) = connected(&world, &client, name).await;
        write(&file, revenue, 200);
        client.sync(&connection).await;
        let [repair]: [Value; 1] = repairs(&client, &connection).await.try_into().expect("one proposal");
        for decision in decisions {
            decide(&client, &repair, decision).await;
        }
    }
    // Each decision was taken to heart.
    let mut learned = Vec::new();
    client
        .events_until("", |event| {
            if event["type"] == "RepairJudged" {
                learned.push(event["payload"]["judged"]["changes"][0]["right"].clone());
            }
            learned.len() == 4
        })
        .await;
    assert_eq!(learned, [json!(true), json!(false), json!(true), json!(false)]);
    let report = client.post(path, policy(0.99)).await.expect(200);
    assert_eq!((&report["proposals"], &report["undecided"]), (&json!(3), &json!(1)), "{report}");
    assert_eq!((&report["automatic"], &report["automatic_right"]), (&json!(3), &json!(1)), "{report}");
    assert_eq!((&report["recall"], &report["coverage"]), (&json!(1.0), &json!(1.0)));
    assert_eq!(report["calibration"]["bins"].as_array().map(Vec::len), Some(10));
    // The same policy, with the field protected.
    let mut protected = policy(0.99);
    protected["rules"] = json!([{ "entity": "account", "field": "annual_revenue", "protected": true }]);
    let report = client.post(path, protected).await.expect(200);
    assert_eq!((&report["automatic"], &report["asked"]), (&json!(0), &json!(3)), "{report}");
    let refused = client.post(path, policy(0.5)).await.expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/policy/automatic_from", "{refused}");
}
