//! Change capture: streams that break, collections that go, changes that the server has lost.

use super::kit::{collection, connector, connector_with, delete, insert, many, now, selection, set};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::connectors::Copy;
use autonomos_tests::mongo::{Mongo, Source};
use mongodb::bson::{Document, doc};
use serde_json::json;

#[tokio::test(flavor = "multi_thread")]
async fn changes_end_as_the_collection_is() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, many(0..20)).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    insert(&source, many(20..25)).await;
    set(&source, doc! { "_id": 21 }, doc! { "name": "set" }).await;
    let replacement = doc! { "name": "replaced" };
    collection(&source).replace_one(doc! { "_id": 22 }, replacement).await.expect("replaces");
    delete(&source, doc! { "_id": { "$in": [3, 23] } }).await;
    // Deleted, and there again.
    delete(&source, doc! { "_id": 4 }).await;
    insert(&source, [doc! { "_id": 4, "name": "again" }]).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.snapshots, copy.rows.contains_key("23")), (1, false));
    assert_eq!(copy.rows, now(&source).await);
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_is_dropped_or_renamed_is_told() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, many(0..20)).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");

    // Dropped, and made anew: what follows the drop is followed too.
    set(&source, doc! { "_id": 1 }, doc! { "name": "late" }).await;
    collection(&source).drop().await.expect("drops");
    insert(&source, many(100..103)).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.cleared, copy.rows.len(), copy.snapshots), (1, 3, 1));
    assert_eq!(copy.rows, now(&source).await);

    // Dropped for good: its rows go, and the sync says why nothing comes any more.
    collection(&source).drop().await.expect("drops");
    let error = copy.read(&reader, &selection(SyncMode::Cdc), usize::MAX).await.expect_err("gone");
    assert_eq!((error.code(), copy.rows.len(), copy.cleared), ("AOS-0294", 0, 2));
    let error = copy.read(&reader, &selection(SyncMode::Cdc), usize::MAX).await.expect_err("gone");
    assert_eq!((error.code(), copy.cleared), ("AOS-0294", 2), "{error}");
    insert(&source, many(200..202)).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.snapshots), (2, 1));

    // Renamed: the stream is told by its new name.
    let name = source.database.name();
    let rename = |from: &str, to: &str| {
        doc! { "renameCollection": format!("{name}.{from}"), "to": format!("{name}.{to}") }
    };
    let admin = source.database.client().database("admin");
    admin.run_command(rename("t", "moved")).await.expect("renames");
    let error = copy.read(&reader, &selection(SyncMode::Cdc), usize::MAX).await.expect_err("renamed");
    assert_eq!(error.code(), "AOS-0294");
    assert!(error.to_string().contains("`moved`"), "{error}");

    // Another collection took its name: that is read anew.
    source.database.collection::<Document>("other").insert_one(doc! { "_id": 9 }).await.expect("inserts");
    admin.run_command(rename("other", "t")).await.expect("renames");
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.rows.keys().map(String::as_str).collect::<Vec<_>>(), copy.snapshots), (vec!["9"], 2));
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_a_collection_that_is_made_anew_begins_anew() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, many(0..3_000)).await;
    let mut copy = Copy::default();
    assert!(!copy.read(&reader, &selection(SyncMode::Cdc), 2).await.expect("reads"));
    collection(&source).drop().await.expect("drops");
    insert(&source, many(2_990..3_010)).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.snapshots), (20, 2));
    assert_eq!(copy.rows, now(&source).await);
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quiet_collection_does_not_fall_behind() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, many(0..3)).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    let start = copy.cursor.clone().expect("a cursor");
    source.database.collection::<Document>("busy").insert_many(many(0..500)).await.expect("inserts");
    // Not each time: a commit for every sync of every quiet stream would be many.
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.beats, copy.cursor.as_ref()), (0, Some(&start)));
    let mut old = start.clone();
    old["at"] = json!(old["at"].as_u64().expect("a time") - 3_600);
    copy.cursor = Some(old);
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.beats, copy.taken), (1, 3));
    assert_ne!(copy.cursor.as_ref(), Some(&start));
    set(&source, doc! { "_id": 1 }, doc! { "name": "awake" }).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.taken, copy.snapshots), (4, 1));
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_go_on_after_the_server_was_killed() {
    let server = Mongo::start();
    let source = server.database().await;
    let reader = connector(&source.config);
    insert(&source, many(0..3_000)).await;
    let mut copy = Copy::default();
    assert!(!copy.read(&reader, &selection(SyncMode::Cdc), 2).await.expect("reads"));
    // In the middle of the snapshot, then of the changes.
    for round in 1..3 {
        let name = format!("round {round}");
        set(&source, doc! {}, doc! { "name": name }).await;
        delete(&source, doc! { "_id": { "$mod": [500, round] } }).await;
        server.kill();
        let error = copy.read(&reader, &selection(SyncMode::Cdc), usize::MAX).await.expect_err("gone");
        assert!(error.retryable(), "{error:?}");
        server.start_again();
        assert!(!copy.read(&reader, &selection(SyncMode::Cdc), 1).await.expect("reads"));
    }
    while !copy.read(&reader, &selection(SyncMode::Cdc), 1).await.expect("reads") {}
    assert_eq!(copy.snapshots, 1);
    assert_eq!(copy.rows, now(&source).await);
}

/// So many operations that a server with a small log of them has none of those before: it looks at its
/// size every thousand.
async fn lose(source: &Source) {
    source.database.collection::<Document>("busy").insert_many(many(0..2_200)).await.expect("inserts");
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_history_is_what_the_connection_says() {
    let server = Mongo::start_with(&["--oplog-max-entries", "60"]);
    let source = server.database().await;
    let reader = connector(&source.config);
    insert(&source, many(0..30)).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    delete(&source, doc! { "_id": 1 }).await;
    lose(&source).await;
    let strict = connector_with(&source, "on_lost_history", json!("fail"));
    let error = copy.read(&strict, &selection(SyncMode::Cdc), usize::MAX).await.expect_err("lost");
    assert_eq!((error.code(), error.retryable()), ("AOS-0295", false), "{error}");
    assert_eq!(copy.snapshots, 1);
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.snapshots, 2);
    assert_eq!(copy.rows, now(&source).await);

    // Lost while a snapshot was interrupted: its end would not fit its beginning.
    let server = Mongo::start_with(&["--oplog-max-entries", "60"]);
    let source = server.database().await;
    insert(&source, many(0..1_500)).await;
    let reader = connector(&source.config);
    let mut copy = Copy::default();
    assert!(!copy.read(&reader, &selection(SyncMode::Cdc), 1).await.expect("reads"));
    delete(&source, doc! { "_id": { "$lt": 5 } }).await;
    set(&source, doc! {}, doc! { "name": "all" }).await;
    lose(&source).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.snapshots, 2);
    assert_eq!(copy.rows, now(&source).await);
}
