//! Snapshots, discovery, checks: what a collection holds, and nothing secret in what is said.

use super::kit::{collection, connector, connector_with, delete, insert, keys, many, now, selection, set};
use autonomos_connectors::{Connector, ConnectorError, MongoConnector, NetworkScope, port::CheckStep};
use autonomos_domain::schema::{LogicalType, SyncMode};
use autonomos_tests::connectors::Copy;
use autonomos_tests::mongo::{Mongo, Source};
use mongodb::bson::{Bson, doc};
use serde_json::json;
use tokio_util::sync::CancellationToken;

const COUNT: i32 = 3_000;

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_every_type_are_read_once_whatever_key_a_read_is_cut_at() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    // So large that each is a batch of its own.
    let pad = "p".repeat(400_000);
    let mut documents = Vec::new();
    for key in keys() {
        documents.push(doc! { "_id": key, "pad": &pad });
    }
    let count = documents.len();
    for document in documents {
        insert(&source, [document]).await;
    }
    let mut copy = Copy::default();
    let mut cuts = 0;
    while !copy.read(&reader, &selection(SyncMode::Cdc), 1).await.expect("reads") {
        cuts += 1;
    }
    assert_eq!((cuts + 1, copy.taken, copy.rows.len(), copy.snapshots), (count, count, count, 1));
    // A key is the same key when its document changes, and when it goes. (SecantusDB does not look up
    // documents whose key is null.)
    delete(&source, doc! { "_id": Bson::Null }).await;
    set(&source, doc! {}, doc! { "pad": "small" }).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.rows, now(&source).await);
    delete(&source, doc! {}).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert!(copy.rows.is_empty(), "{:?}", copy.rows.keys());
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_too_long_is_rejected_alone() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, many(0..3)).await;
    insert(&source, [doc! { "_id": 3, "large": "l".repeat(15 * 1024 * 1024) }]).await;
    insert(&source, many(4..6)).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.refusals.as_slice()), (5, &["AOS-0298 document 3".to_owned()][..]));
    set(&source, doc! { "_id": 3 }, doc! { "small": 1 }).await;
    set(&source, doc! { "_id": 4 }, doc! { "name": "changed" }).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.rows["4"]["name"].as_str(), copy.rejected), ("changed", 2));
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_a_sample_lacks_are_no_drift() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, many(0..COUNT)).await;
    set(&source, doc! { "_id": 1_234 }, doc! { "rare": 1, "name": 7, "address": { "city": "Lyon" } }).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Full)).await.expect("reads");
    // Noticed when it comes, and known from then on.
    assert_eq!(copy.reshaped, 1);
    let expect = [
        ("_id", "integer"),
        ("name", "text"),
        ("pad", "text"),
        ("rare", "integer"),
        ("address.city", "text"),
    ];
    assert_eq!(copy.fields(), expect);
    for _ in 0..3 {
        copy.read_all(&reader, &selection(SyncMode::Full)).await.expect("reads");
        assert_eq!((copy.reshaped, copy.fields()), (1, expect.to_vec()));
    }
    assert_eq!(copy.rows["1234"]["name"], "7");
    // No document has it any more: that is.
    collection(&source).update_many(doc! {}, doc! { "$unset": { "rare": "" } }).await.expect("updates");
    copy.read_all(&reader, &selection(SyncMode::Full)).await.expect("reads");
    assert!(copy.shape.field("rare").is_none());
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incremental_read_brings_what_is_new_or_changed() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    let at = |day: i64| mongodb::bson::DateTime::from_millis(1_790_000_000_000 + day * 86_400_000);
    insert(&source, (1..10).map(|day| doc! { "_id": day, "name": "n", "at": at(day) })).await;
    insert(&source, [doc! { "_id": 10_i64, "name": "without" }]).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Incremental)).await.expect("reads");
    assert_eq!((copy.rows.len(), copy.snapshots), (10, 1));
    // As late as the last one that was read: it is not skipped.
    insert(&source, [doc! { "_id": 11_i64, "name": "same moment", "at": at(9) }]).await;
    set(&source, doc! { "_id": 2 }, doc! { "name": "changed", "at": at(20) }).await;
    copy.read_all(&reader, &selection(SyncMode::Incremental)).await.expect("reads");
    assert_eq!((copy.taken, copy.snapshots), (10 + 3, 1), "the last one, the new one, the changed one");
    assert_eq!(copy.rows, now(&source).await);
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn discovery_shows_nested_paths_their_types_and_what_validators_declare() {
    let source = Source::any().await;
    let schema = doc! { "bsonType": "object", "properties": {
        "declared": { "bsonType": ["int", "long"] },
        "inner": { "bsonType": "object", "properties": { "when": { "bsonType": "date" } } },
    } };
    let make = doc! { "create": "t", "validator": { "$jsonSchema": schema } };
    source.database.run_command(make).await.expect("creates");
    insert(
        &source,
        [
            doc! { "_id": 1, "address": { "city": "Oslo", "geo": { "lat": 1.5 } }, "mixed": 1 },
            doc! { "_id": 2, "address": { "city": "Lyon" }, "mixed": "one", "list": [1] },
            doc! { "_id": 3, "address": Bson::Null, "mixed": { "a": 1 } },
        ],
    )
    .await;
    let view = doc! { "create": "v", "viewOn": "t", "pipeline": [{ "$match": { "_id": 1 } }] };
    source.database.run_command(view).await.expect("creates");
    let streams = connector(&source.config).discover(CancellationToken::new()).await.expect("discovers");
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["t", "v"]);
    assert_eq!(streams[1].sync_modes, [SyncMode::Full]);
    let stream = &streams[0];
    assert_eq!(stream.sync_modes, [SyncMode::Full, SyncMode::Incremental, SyncMode::Cdc]);
    assert_eq!(
        (stream.estimated_rows, stream.shape.primary_key.as_slice()),
        (Some(3), &["_id".to_owned()][..])
    );
    let of = |name: &str| stream.shape.field(name).map(|field| field.logical_type);
    for (name, expect) in [
        ("_id", LogicalType::Integer),
        ("address.city", LogicalType::Text),
        ("address.geo.lat", LogicalType::Decimal),
        ("mixed", LogicalType::Text),
        ("mixed.a", LogicalType::Integer),
        ("list", LogicalType::Array),
        ("declared", LogicalType::Integer),
        ("inner.when", LogicalType::Timestamp),
    ] {
        assert_eq!(of(name), Some(expect), "{name}");
    }
    let sampled = stream.sampled.as_ref().expect("a sample");
    assert_eq!(sampled.documents, 3);
    let types =
        |path: &str| sampled.paths[path].iter().map(|(name, n)| format!("{name} {n}")).collect::<Vec<_>>();
    assert_eq!(types("mixed"), ["int 1", "object 1", "string 1"]);
    assert_eq!(types("address"), ["null 1", "object 2"]);
    assert_eq!(types("address.geo.lat"), ["double 1"]);

    let flat = connector_with(&source, "nested_levels", json!(0));
    let streams = flat.discover(CancellationToken::new()).await.expect("discovers");
    assert_eq!(streams[0].shape.field("address").map(|field| field.logical_type), Some(LogicalType::Object));
    let cancel = CancellationToken::new();
    cancel.cancel();
    assert!(matches!(flat.discover(cancel).await, Err(ConnectorError::Cancelled)));
    source.end().await;
}

fn names(steps: &[CheckStep]) -> Vec<(&str, bool)> {
    steps.iter().map(|step| (step.name.as_str(), step.passed)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_say_what_is_wrong_and_how_to_mend_it_and_nothing_secret() {
    let server = Mongo::start_with(&["--sync-on-commit"]);
    let source = server.database().await;
    insert(&source, many(0..2)).await;
    let name = source.database.name().to_owned();
    let user = |user: &str, role: &str| {
        doc! { "createUser": user, "pwd": "s3cret", "roles": [{ "role": role, "db": &name }] }
    };
    let admin = source.database.client().database("admin");
    admin.run_command(user("reader", "read")).await.expect("makes a user");
    server.kill();
    server.start_again_with(&["--auth"]);
    let with = |user: &str, password: &str| {
        let mut config = source.config.clone();
        config["user"] = json!(user);
        config["password"] = json!(password);
        config
    };
    let steps = connector(&with("reader", "s3cret")).check().await.expect("checks");
    let expect = ["reach", "sign_in", "read", "changes", "history"].map(|name| (name, true));
    assert_eq!(names(&steps), expect, "{steps:?}");
    let mut copy = Copy::default();
    copy.read_all(&connector(&with("reader", "s3cret")), &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.rows.len(), 2);

    let mut said: Vec<String> = Vec::new();
    for (config, step, code) in [
        (with("reader", "hunter2"), "sign_in", "AOS-0292"),
        (with("nobody", "hunter2"), "sign_in", "AOS-0292"),
        (source.config.clone(), "read", "AOS-0293"),
    ] {
        let reader = connector(&config);
        let steps = reader.check().await.expect("checks");
        assert_eq!(names(&steps).last(), Some(&(step, false)), "{steps:?}");
        let error = reader.discover(CancellationToken::new()).await.expect_err("refused");
        assert_eq!((error.code(), error.retryable()), (code, false), "{error}");
        said.extend(steps.iter().map(|step| step.message.clone()));
        said.extend([error.to_string(), format!("{error:?}")]);
        let cursor = Copy::default().read(&reader, &selection(SyncMode::Full), 1).await.expect_err("refused");
        said.push(cursor.to_string());
    }
    assert!(said.iter().all(|said| !said.contains("hunter2") && !said.contains("s3cret")), "{said:?}");
    let cursor = copy.cursor.expect("a cursor").to_string();
    assert!(!cursor.contains("s3cret") && !cursor.contains("reader"));

    // Private addresses need the operator; the servers that a server names do too.
    let closed = MongoConnector::new(&source.config, NetworkScope::default()).expect("a configuration");
    let steps = closed.check().await.expect("checks");
    assert!(steps[0].message.starts_with("AOS-0261"), "{steps:?}");

    server.kill();
    let error = connector(&source.config).discover(CancellationToken::new()).await.expect_err("gone");
    assert!(error.retryable(), "{error:?}");
    assert_eq!(error.code(), "AOS-0291");
}
