//! Files on S3 over HTTP: a bucket is connected, its secret is shown to nobody, a new edition drifts, the
//! key is rotated, and the view stays right.

use autonomos_objects::{Place, moto::Moto};
use autonomos_tests::{client::Client, server::Start};
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::json;
use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

const ROWS: u32 = 2_000;
const SECRET: &str = "s3cret-of-nobody";

async fn write(store: &Arc<dyn ObjectStore>, name: &str, text: String) {
    store.put(&name.into(), text.into()).await.expect("the bucket takes it");
}

/// So many companies, with the number of their employees under `staff`.
fn edition(staff: &str, rows: u32) -> String {
    let mut text = format!("account_id,name,domain,{staff},billing_city\n");
    for row in 1..=rows {
        let city = ["Leeds", "Oslo", "Lyon", "Porto", "Graz"][row as usize % 5];
        let count = row * 13 % 977 + 1;
        let _ = writeln!(text, "A{row},Company {row} Ltd,company{row}.example.com,{count},{city}");
    }
    text
}

/// The number of employees by the key in the file.
async fn shown(client: &Client) -> BTreeMap<String, u64> {
    let rows = client.rows("accounts", "").await;
    let one = |row: &serde_json::Value| {
        let key = row["_sources"][0]["source_id"].as_str().expect("a key").to_owned();
        (key, row["employee_count"].as_u64().expect("a number"))
    };
    rows.iter().map(one).collect()
}

fn expected(rows: u32) -> BTreeMap<String, u64> {
    (1..=rows).map(|row| (format!("A{row}"), u64::from(row * 13 % 977 + 1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_files_in_a_bucket() {
    let moto = Moto::shared();
    let bucket = moto.bucket();
    let place = Place::parse(&format!("s3://{bucket}"), &moto.settings()).expect("a place");
    let store = place.open().expect("opens");
    write(&store, "crm/accounts.csv", edition("employee_count", ROWS)).await;

    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let config = json!({
        "bucket": bucket, "endpoint": moto.endpoint(), "access_key_id": "reader", "secret_access_key": SECRET,
        "path": "crm/*.csv"
    });
    let body = json!({ "name": "crm", "connector": "s3", "config": config });

    // Where the operator does not allow it, this machine is not reached.
    {
        let server = Start::serve(&data).run().expect("the server starts");
        let client = Client::registered(&server.url, "Readers", "read@example.com").await;
        let made = client.post("/aam/connections", body.clone()).await.expect(201);
        let id = made["id"].as_str().expect("an id").to_owned();
        let tested = client.post(&format!("/aam/connections/{id}/test"), json!({})).await.expect(200);
        assert_eq!(tested["ok"], false, "{tested}");
        assert!(tested.to_string().contains("AOS-0261"), "{tested}");
        assert!(client.delete(&format!("/aam/connections/{id}")).await.status.is_success());
        server.kill();
    }

    let data = folder.path().join("other");
    let server = Start::serve(&data).with("AOS_ALLOW_PRIVATE_SOURCES", "true").run().expect("starts");
    let client = Client::registered(&server.url, "Readers", "read@example.com").await;
    let made = client.post("/aam/connections", body).await.expect(201);
    assert_eq!(made["config"]["secret_access_key"], "***");
    let connection = made["id"].as_str().expect("an id").to_owned();
    let tested = client.post(&format!("/aam/connections/{connection}/test"), json!({})).await.expect(200);
    assert_eq!(tested["ok"], true, "{tested}");
    client.post(&format!("/aam/connections/{connection}/discover"), json!({})).await.expect(200);
    let chosen = json!({ "streams": [{ "name": "accounts", "entity": "account" }] });
    client.put(&format!("/aam/connections/{connection}/streams"), chosen).await.expect(200);
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    assert_eq!(shown(&client).await, expected(ROWS));

    // The key is rotated without a stop; what is not said again stays.
    let rotated = json!({ "config": {
        "bucket": bucket, "endpoint": moto.endpoint(), "access_key_id": "reader-2",
        "secret_access_key": format!("{SECRET}-2"), "path": "crm/*.csv"
    }});
    client.patch(&format!("/aam/connections/{connection}"), rotated).await.expect(200);

    // A new edition with a renamed column.
    write(&store, "crm/accounts.csv", edition("number_of_employees", ROWS + 100)).await;
    assert_eq!(client.sync(&connection).await["status"], "succeeded");
    let drift = client.get(&format!("/aam/drift?connection_id={connection}")).await.expect(200);
    let found = drift["data"].as_array().expect("a list");
    assert!(
        found.iter().any(|item| item["kind"] == "field_renamed" && item["field"] == "employee_count"),
        "{drift}"
    );
    client.approve_all(&connection).await;
    assert_eq!(shown(&client).await, expected(ROWS + 100));

    for path in ["/history?limit=200", "/aam/connections", &format!("/aam/connections/{connection}")] {
        let told = client.get(path).await.expect(200).to_string();
        assert!(!told.contains(SECRET), "`{path}` tells the secret");
    }
}
