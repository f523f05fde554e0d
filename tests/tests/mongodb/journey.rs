//! The whole way over HTTP: connect, snapshot, live changes, a nested field renamed in the middle of
//! them, deletes, and the server killed during the snapshot and during the changes.

use super::kit::{collection, insert, set};
use autonomos_tests::{
    follow::{Follower, Records},
    mongo::Source,
};
use futures::TryStreamExt;
use mongodb::bson::{Document, doc};
use serde_json::json;

const DOCUMENTS: i32 = 12_000;
const FIELDS: [&str; 4] = ["name", "domain", "employee_count", "billing_city"];
const CITIES: [&str; 5] = ["Leeds", "Oslo", "Lyon", "Porto", "Graz"];

fn accounts(range: std::ops::Range<i32>) -> impl Iterator<Item = Document> {
    range.map(|number| {
        let city = CITIES[number as usize % CITIES.len()];
        doc! {
            "_id": format!("A{number}"),
            "name": format!("Company {number} Ltd"),
            "domain": format!("company{number}.example.com"),
            "employee_count": number * 13 % 977 + 1,
            "billing": { "city": city },
            "remarks": format!("{number:024x}").repeat(16),
        }
    })
}

/// The source's documents; `city` is the nested field that was renamed.
async fn documents(source: &Source, city: &str) -> Records {
    let found = collection(source).find(doc! {}).await.expect("finds");
    let found: Vec<Document> = found.try_collect().await.expect("documents");
    let record = |one: Document| {
        let text = |name: &str| json!(one.get_str(name).ok());
        let fields = [
            ("name", text("name")),
            ("domain", text("domain")),
            ("employee_count", json!(one.get_i32("employee_count").ok())),
            ("billing_city", json!(one.get_document("billing").ok().and_then(|at| at.get_str(city).ok()))),
        ];
        (one.get_str("_id").expect("a key").to_owned(), fields.into())
    };
    found.into_iter().map(record).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_follows_documents_through_new_shapes_deletes_and_kills() {
    let source = Source::any().await;
    insert(&source, accounts(1..DOCUMENTS + 1)).await;
    let mut follower = Follower::connect("mongodb", &source.config, &FIELDS).await;
    let found = &follower.discovered;
    let sampled = &found["streams"][0]["sampled"];
    assert!(sampled["documents"].as_u64() >= Some(1_000), "{found}");
    assert_eq!(sampled["paths"]["billing.city"]["string"], sampled["documents"], "{found}");
    follower.choose("t", "cdc", None).await;

    // Killed in the middle of the snapshot.
    follower.sync_killed(1).await;
    follower.shows(&documents(&source, "city").await).await;

    // Live changes: deletes close rows, their history stays.
    let before = follower.position().await;
    let accounts_of = collection(&source);
    accounts_of.delete_many(doc! { "_id": { "$in": ["A7", "A8"] } }).await.expect("deletes");
    set(&source, doc! { "_id": "A9" }, doc! { "billing.city": "Turin" }).await;
    follower.sync().await;
    let shown = follower.shows(&documents(&source, "city").await).await;
    assert!(!shown.contains_key("A7"));
    let past = follower.client.rows("accounts", &format!("&as_of={before}")).await;
    assert_eq!(past.len(), DOCUMENTS as usize, "deleted records are still there in the past");

    // Killed in the middle of the changes.
    let grown = doc! { "$inc": { "employee_count": 1 }, "$set": { "remarks": "r".repeat(400) } };
    accounts_of.update_many(doc! {}, grown).await.expect("updates");
    accounts_of.delete_many(doc! { "_id": { "$regex": "3$" } }).await.expect("deletes");
    insert(&source, accounts(DOCUMENTS + 1..DOCUMENTS + 3_001)).await;
    follower.sync_killed(1).await;
    follower.shows(&documents(&source, "city").await).await;

    // A nested field renamed between two changes is found, and repaired or asked about.
    set(&source, doc! { "_id": "A20" }, doc! { "billing.city": "Bath" }).await;
    let rename = doc! { "$rename": { "billing.city": "billing.town" } };
    accounts_of.update_many(doc! {}, rename).await.expect("renames");
    accounts_of
        .update_many(doc! { "_id": { "$regex": "^A2" } }, doc! { "$inc": { "employee_count": 1 } })
        .await
        .expect("updates");
    follower.sync().await;
    follower.accept_renamed("billing.city").await;
    follower.shows(&documents(&source, "town").await).await;
    let password = source.config["password"].as_str().unwrap_or("no password");
    follower.end(&[password]).await;
    source.end().await;
}
