//! What people decide about a view: whether a shrunken read counts, and which source is trusted.

use autonomos_tests::{client::Client, server::Start};
use serde_json::json;
use std::{fmt::Write as _, path::Path};

/// Companies whose names end with the edition. What comes before is each one's own, so that another
/// edition's name is told as an edit of it, not as a stranger's.
fn write(folder: &Path, edition: &str, rows: u32) {
    let mut text = String::from("account_id,name,domain,billing_city\n");
    for row in 0..rows {
        let (one, two) = (row.wrapping_mul(0x9e37_79b9), row.wrapping_mul(0x85eb_ca6b));
        let _ = writeln!(text, "A{row},{one:x} {two:x} {edition},company{row}.example.com,Oslo");
    }
    std::fs::write(folder.join("accounts.csv"), text).expect("writes");
}

/// Names in the view; as of the last write that was waited for, or of `position`.
async fn names(client: &Client, position: &str) -> Vec<String> {
    let wait = if position.is_empty() { String::new() } else { format!("&min_position={position}") };
    let rows = client.rows("accounts", &wait).await;
    rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test]
async fn a_cut_file_deletes_nothing_until_a_person_accepts_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    write(&inbox, "First", 200);
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .run()
        .expect("starts");
    let client = Client::registered(&server.url, "Volume", "volume@example.com").await;
    let connection = client.file_connection("files", &inbox.join("accounts.csv").display().to_string()).await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");

    // A cut edition: what it says counts, what it lacks stays.
    write(&inbox, "Second", 20);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let shown = names(&client, "").await;
    assert_eq!(shown.len(), 200);
    assert_eq!(shown.iter().filter(|name| name.ends_with("Second")).count(), 20);
    let drift = client.get("/aam/drift?kind=volume_anomaly&status=open").await.expect(200);
    let [found] = drift["data"].as_array().expect("findings").as_slice() else {
        panic!("one finding, not {drift}")
    };

    // An unchanged source leaves it waiting.
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    assert_eq!(names(&client, "").await.len(), 200);

    let id = found["id"].as_str().expect("an id");
    let from = client.post(&format!("/aam/drift/{id}/accept"), json!({})).await;
    let from = from.position().expect("a position");
    let completed = client.events_until(&from, |event| event["type"] == "SnapshotCompleted").await;
    let position = completed["position"].as_str().expect("a position").to_owned();
    client.shown(&position).await;
    assert_eq!(names(&client, &position).await.len(), 20);

    // The next edition is measured by the accepted one.
    write(&inbox, "Third", 19);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let shown = names(&client, "").await;
    assert_eq!((shown.len(), shown.iter().all(|name| name.ends_with("Third"))), (19, true));
    let open = client.get("/aam/drift?status=open").await.expect(200);
    assert_eq!(open["data"], json!([]));
}

#[tokio::test]
async fn a_views_rules_say_which_source_is_trusted() {
    let folder = tempfile::tempdir().expect("a folder");
    let inbox = folder.path().join("inbox");
    std::fs::create_dir_all(&inbox).expect("a folder");
    let server = Start::serve(&folder.path().join("data"))
        .with("AOS_FILE_ROOTS", inbox.display().to_string())
        .run()
        .expect("starts");
    let client = Client::registered(&server.url, "Rules", "rules@example.com").await;
    let mut connections = Vec::new();
    for source in ["Crm", "Erp"] {
        let folder = inbox.join(source);
        std::fs::create_dir_all(&folder).expect("a folder");
        write(&folder, source, 30);
        let path = folder.join("accounts.csv");
        let connection = client.file_connection(source, &path.display().to_string()).await;
        assert_eq!(client.sync(&connection).await["status"], "succeeded");
        connections.push(connection);
    }
    // The same companies by their domains; the last to say a name is believed.
    let shown = names(&client, "").await;
    assert_eq!((shown.len(), shown.iter().all(|name| name.ends_with("Erp"))), (30, true));

    let rules = json!({ "version": 0, "source_rank": connections, "fields": { "name": "source_rank" } });
    let answer = client.put("/dcl/views/accounts/rules", rules.clone()).await;
    let position = answer.position().expect("a position");
    assert_eq!(answer.expect(200)["version"], 1);
    assert!(names(&client, &position).await.iter().all(|name| name.ends_with("Crm")));
    assert_eq!(client.put("/dcl/views/accounts/rules", rules).await.expect(409)["status"], 409);
    let unknown = json!({ "version": 1, "source_rank": [uuid::Uuid::nil()] });
    assert_eq!(
        client.put("/dcl/views/accounts/rules", unknown).await.expect(422)["errors"][0]["pointer"],
        "/source_rank/0"
    );
    let field = json!({ "version": 1, "fields": { "colour": "source_rank" } });
    client.put("/dcl/views/accounts/rules", field).await.expect(422);
    client.get("/dcl/views/spaceships/rules").await.expect(404);
}
