//! Everything but the log can be thrown away: projections rebuilt from it show the same bytes, now
//! and at every past position. And a log that was damaged is found out, at start and by `verify`.

use autonomos_tests::{
    client::Client,
    server::{Start, run},
};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::{fmt::Write as _, fs, path::Path};

fn edition(number: u32) -> (String, String) {
    let mut left = String::from(if number < 2 {
        "account_id,name,domain,annual_revenue,billing_city,updated_at\n"
    } else {
        "account_id,name,web_domain,annual_revenue,billing_city,updated_at\n"
    });
    let mut right = String::from("id;company_name;website;employees;city\n");
    for row in 0..400_u32 {
        if !(row + number).is_multiple_of(37) {
            let revenue = row * 1_000 + if row % 5 == number { 77 } else { 0 };
            let _ = writeln!(
                left,
                "L{row},Company {row} Inc,c{row}.example.com,{revenue},Oslo,2025-0{}-11T10:00:00Z",
                number + 1
            );
        }
        if row % 2 == 0 && !(row + number).is_multiple_of(41) {
            let _ = writeln!(
                right,
                "R{row};COMPANY {row};https://www.c{row}.example.com/;{};Oslo",
                row + number + 1
            );
        }
    }
    (left, right)
}

fn deliver(inbox: &Path, number: u32) {
    let (left, right) = edition(number);
    for (name, text) in [("accounts", left), ("companies", right)] {
        fs::write(inbox.join(format!("{name}.part")), text).expect("writes");
        fs::rename(inbox.join(format!("{name}.part")), inbox.join(format!("{name}.csv"))).expect("renames");
    }
}

/// The exports of every view in every format, now and at the given positions.
async fn exports(client: &Client, positions: &[String]) -> Vec<(String, Vec<u8>)> {
    let views = client.get("/dcl/views").await.expect(200);
    let mut all = Vec::new();
    for view in views["data"].as_array().expect("a list") {
        let entity = view["entity"].as_str().or_else(|| view["name"].as_str()).expect("a name");
        for format in ["csv", "ndjson", "parquet", "arrow"] {
            let path = format!("/dcl/views/{entity}/export?format={format}");
            let answer = client.get(&path).await;
            assert_eq!(answer.status, 200, "{path}");
            all.push((path, answer.bytes));
        }
        for position in positions {
            let path = format!("/dcl/views/{entity}/export?format=csv&as_of={position}");
            let answer = client.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {}", answer.body);
            all.push((path, answer.bytes));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn rebuilt_projections_show_the_same_bytes_and_damage_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (inbox, data) = (folder.path().join("inbox"), folder.path().join("data"));
    fs::create_dir_all(&inbox).expect("a folder");
    deliver(&inbox, 0);
    let start = || Start::serve(&data).with("AOS_FILE_ROOTS", inbox.display().to_string()).run();
    let server = start().expect("starts");
    let mut client = Client::registered(&server.url, "Rebuilders", "re@example.com").await;
    let connection = client.file_connection("all", &inbox.display().to_string()).await;
    let mut positions = Vec::new();
    for number in 0..4 {
        deliver(&inbox, number);
        let sync = client.sync(&connection).await;
        assert_eq!(sync["status"], "succeeded", "{sync}");
        let mut seen: Vec<String> = Vec::new();
        let last = client.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
        client
            .events_until(positions.last().map_or("", String::as_str), |event| {
                let position = event["position"].as_str().unwrap_or_default().to_owned();
                if ["RecordsIngested", "SnapshotCompleted", "MappingBound"]
                    .contains(&event["type"].as_str().unwrap_or_default())
                {
                    seen.push(position.clone());
                }
                event["type"] == "SyncSucceeded"
            })
            .await;
        positions.extend(seen.into_iter().rev().take(3).rev());
        positions.push(last);
    }
    // A repair rolled back and approved again makes re-projections part of the history.
    let repairs = client.get("/aam/repairs").await.expect(200);
    let applied =
        repairs["data"].as_array().expect("a list").iter().find(|repair| repair["status"] == "auto_applied");
    if let Some(id) = applied.and_then(|repair| repair["id"].as_str()) {
        let answer = client.post(&format!("/aam/repairs/{id}/rollback"), json!({})).await;
        let position = answer.position().expect("a position");
        answer.expect(200);
        client.shown(&position).await;
        positions.push(position);
    }
    let step = positions.len().div_ceil(10).max(1);
    let ten: Vec<String> = positions.iter().step_by(step).cloned().collect();
    assert!(ten.len() >= 6, "{}", ten.len());
    let before = exports(&client, &ten).await;
    let head = client.get("/dcl/views/accounts?limit=1").await.position().expect("a position");
    let token = client.token.clone();
    server.stop();

    for part in ["dcl", "read"] {
        fs::remove_dir_all(data.join(part)).expect("projections are files");
    }
    let server = start().expect("starts without projections");
    client = Client { token: token.clone(), ..Client::new(&server.url) };
    client.shown(&head).await;
    let after = exports(&client, &ten).await;
    assert_eq!(before.len(), after.len());
    for ((path, old), (_, new)) in before.iter().zip(&after) {
        assert!(old == new, "`{path}` differs after the rebuild");
    }
    server.stop();

    let (code, said, complained) = run(&["verify", "--json", "--data-dir", &data.display().to_string()]);
    assert_eq!(code, 0, "{said}{complained}");
    for damage in [flip_a_bit, remove_a_commit, cut_the_tail] {
        let broken = folder.path().join("broken");
        copy(&data, &broken);
        let names = damage(&broken.join("log/events.sqlite"));
        let (code, said, _) = run(&["verify", "--json", "--data-dir", &broken.display().to_string()]);
        assert_eq!(code, 1, "{names}: {said}");
        let report: Value = serde_json::from_str(said.lines().last().expect("a report")).expect("JSON");
        assert_eq!(report["ok"], false);
        assert!(report["broken"].to_string().contains(&names), "{names}: {report}");

        // At start it is found too: writers stop, readers go on.
        let server =
            Start::serve(&broken).with("AOS_FILE_ROOTS", inbox.display().to_string()).run().expect("starts");
        let client = Client { token: token.clone(), ..Client::new(&server.url) };
        assert_eq!(client.get("/dcl/views/accounts?limit=1").await.status, 200);
        let path = inbox.join("accounts.csv").display().to_string();
        let body = json!({ "name": "after", "connector": "file", "config": { "path": path } });
        let refused = client.post("/aam/connections", body).await;
        assert_eq!(refused.status, 503, "{}", refused.body);
        server.stop();
        fs::remove_dir_all(&broken).expect("a folder");
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("copies");
        }
    }
}

/// One bit in the stored bytes of a commit in the middle; the file's page stays well-formed.
fn flip_a_bit(log: &Path) -> String {
    let bytes: Vec<u8> = {
        let connection = Connection::open(log).expect("opens");
        let stored = connection
            .query_row(
                "SELECT bytes FROM commits WHERE length(bytes) BETWEEN 200 AND 1500 ORDER BY sequence LIMIT 1 OFFSET 5",
                [],
                |row| row.get(0),
            )
            .expect("a commit");
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("checkpoints");
        stored
    };
    let mut file = fs::read(log).expect("reads");
    // The end is sealed: no two commits have it in common.
    let needle = &bytes[bytes.len() - 40..bytes.len() - 8];
    let at =
        file.windows(needle.len()).position(|window| window == needle).expect("the commit is in the file");
    file[at + 5] ^= 0b0000_0100;
    fs::write(log, file).expect("writes");
    "sequence".to_owned()
}

fn remove_a_commit(log: &Path) -> String {
    let connection = Connection::open(log).expect("opens");
    let middle: i64 = connection
        .query_row("SELECT max(sequence) / 2 FROM commits", [], |row| row.get(0))
        .expect("a commit");
    connection.execute("DELETE FROM commits WHERE sequence = ?1", [middle]).expect("deletes");
    middle.to_string()
}

fn cut_the_tail(log: &Path) -> String {
    let connection = Connection::open(log).expect("opens");
    let last: i64 =
        connection.query_row("SELECT max(sequence) FROM commits", [], |row| row.get(0)).expect("a commit");
    connection.execute("DELETE FROM commits WHERE sequence > ?1", [last - 3]).expect("deletes");
    (last - 2).to_string()
}
