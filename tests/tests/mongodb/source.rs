//! Values and shapes: the same from a snapshot as from a change, and told where they change.

use super::kit::{collection, connector, insert, now, selection, set};
use autonomos_domain::schema::SyncMode;
use autonomos_tests::connectors::Copy;
use autonomos_tests::mongo::Source;
use mongodb::bson::{
    Binary, Bson, DateTime, Decimal128, Document, JavaScriptCodeWithScope, Regex, Timestamp, doc,
    oid::ObjectId, spec::BinarySubtype,
};

fn typed(id: i32) -> Document {
    let decimal = "12345678901234567890.10".parse::<Decimal128>().expect("a number");
    let regex = Regex { pattern: "^a/b".try_into().expect("text"), options: "i".try_into().expect("text") };
    doc! {
        "_id": id, "bool": true, "int": 7, "long": i64::MAX, "double": 0.1, "whole": 5.0, "decimal": decimal,
        "text": "ümlaut \"quoted\" ", "date": DateTime::from_millis(1_795_471_485_541),
        "object_id": ObjectId::parse_str("6b04b87d8f339abd7700ef96").expect("an id"),
        "bytes": Binary { subtype: BinarySubtype::Generic, bytes: vec![0, 255] },
        "md5": Binary { subtype: BinarySubtype::Md5, bytes: vec![1] },
        "uuid": Binary { subtype: BinarySubtype::Uuid, bytes: vec![1; 16] },
        "stamp": Timestamp { time: 3, increment: 4 }, "regex": regex,
        "code": Bson::JavaScriptCode("f()".to_owned()),
        "scoped": JavaScriptCodeWithScope { code: "f".to_owned(), scope: doc! { "x": 1 } },
        "min": Bson::MinKey, "max": Bson::MaxKey, "null": Bson::Null,
        "list": [1, Bson::Null, { "d": DateTime::from_millis(0) }],
        "deep": { "a": { "b": { "c": { "d": 1 } } }, "e": false, "hollow": {} },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_read_the_same_from_a_snapshot_and_from_a_change() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    insert(&source, [typed(1)]).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    insert(&source, [typed(2)]).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.reshaped, 0);
    let (mut snapshot, mut change) = (copy.rows["1"].clone(), copy.rows["2"].clone());
    snapshot.remove("_id");
    change.remove("_id");
    assert_eq!(snapshot, change);
    let expect = [
        ("bool", "true", "boolean"),
        ("int", "7", "integer"),
        ("long", "9223372036854775807", "integer"),
        ("double", "0.1", "decimal"),
        ("whole", "5", "decimal"),
        ("decimal", "12345678901234567890.10", "decimal"),
        ("text", "ümlaut \"quoted\" ", "text"),
        ("date", "2026-11-23T22:04:45.541Z", "timestamp"),
        ("object_id", "6b04b87d8f339abd7700ef96", "text"),
        ("bytes", "AP8=", "binary"),
        ("md5", "05:AQ==", "binary"),
        ("uuid", "01010101-0101-0101-0101-010101010101", "text"),
        ("stamp", "3:4", "text"),
        ("regex", "/^a/b/i", "text"),
        ("code", "f()", "text"),
        ("scoped", "{\"code\":\"f\",\"scope\":{\"x\":1}}", "text"),
        ("min", "MinKey", "text"),
        ("max", "MaxKey", "text"),
        ("list", "[1,null,{\"d\":\"1970-01-01T00:00:00.000Z\"}]", "array"),
        ("deep.a.b.c", "{\"d\":1}", "object"),
        ("deep.e", "false", "boolean"),
        ("deep.hollow", "{}", "object"),
    ];
    for (name, text, kind) in expect {
        assert_eq!(snapshot[name], text, "{name}");
        assert_eq!(copy.shape.field(name).map(|field| field.logical_type.as_str()), Some(kind), "{name}");
    }
    assert_eq!(snapshot.len(), expect.len(), "{snapshot:?}");
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_of_mixed_types_is_no_failure() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    let values = [
        Bson::from(1),
        Bson::from("one"),
        Bson::from(true),
        Bson::from(doc! { "n": 1 }),
        Bson::from(vec![Bson::from(1)]),
        Bson::Null,
    ];
    let documents = values.into_iter().zip(1..).map(|(value, id)| doc! { "_id": id, "v": value });
    insert(&source, documents).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.fields(), [("_id", "integer"), ("v", "text"), ("v.n", "integer")]);
    let shown = |id: &str, name: &str| copy.rows[id].get(name).cloned();
    let all: Vec<Option<String>> = ["1", "2", "3", "4", "5", "6"].iter().map(|id| shown(id, "v")).collect();
    let expect = [Some("1"), Some("one"), Some("true"), None, Some("[1]"), None];
    assert_eq!(all, expect.map(|text| text.map(str::to_owned)));
    assert_eq!(shown("4", "v.n").as_deref(), Some("1"));
    source.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_change_their_shape_are_noticed_between_their_changes() {
    let source = Source::any().await;
    let reader = connector(&source.config);
    let documents = |range: std::ops::Range<i32>| {
        range.map(|id| doc! { "_id": id, "staff": id * 3, "address": { "city": format!("City {id}") } })
    };
    insert(&source, documents(0..50)).await;
    let mut copy = Copy::default();
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    let before = [("_id", "integer"), ("staff", "integer"), ("address.city", "text")];
    assert_eq!(copy.fields(), before);

    // A nested field is renamed in every document, between two changes.
    set(&source, doc! { "_id": 1 }, doc! { "staff": 9 }).await;
    let rename = doc! { "$rename": { "address.city": "address.town" } };
    collection(&source).update_many(doc! {}, rename).await.expect("updates");
    set(&source, doc! { "_id": 2 }, doc! { "staff": 10 }).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    let renamed = [("_id", "integer"), ("staff", "integer"), ("address.town", "text")];
    assert_eq!((copy.reshaped, copy.fields()), (1, renamed.to_vec()));
    assert_eq!(copy.rows, now(&source).await);

    // One that still comes with the old name is not lost.
    insert(&source, documents(50..51)).await;
    collection(&source)
        .update_many(doc! { "_id": 50 }, doc! { "$unset": { "address": "" } })
        .await
        .expect("ok");
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!((copy.rows["50"].get("address.city"), copy.fields()), (None, renamed.to_vec()));
    insert(&source, documents(51..52)).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.rows["51"]["address.city"], "City 51");
    assert_eq!(copy.rows, now(&source).await);

    // Another type, and a field that no document had.
    let told = copy.reshaped;
    set(&source, doc! { "_id": 3 }, doc! { "staff": "many", "note": 1.5 }).await;
    copy.read_all(&reader, &selection(SyncMode::Cdc)).await.expect("reads");
    assert_eq!(copy.reshaped, told + 1);
    let of = |name: &str| copy.shape.field(name).map(|field| field.logical_type.as_str());
    assert_eq!((of("staff"), of("note")), (Some("text"), Some("decimal")));
    assert_eq!(copy.unshown, 0, "each comes with rows");
    assert_eq!((copy.rows, copy.snapshots), (now(&source).await, 1));
    source.end().await;
}
