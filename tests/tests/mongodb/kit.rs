//! A collection and connections to it.

use autonomos_connectors::{Connector, MongoConnector, NetworkScope};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use autonomos_tests::{
    connectors::{self, Copy, Fixture, Meter, Record, Rows},
    mongo::{Mongo, Source},
    proxy::Proxy,
};
use mongodb::{
    Collection,
    bson::{Bson, DateTime, Document, doc},
};
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

pub(crate) fn connector(config: &Value) -> MongoConnector {
    MongoConnector::new(config, NetworkScope { private: true }).expect("a configuration")
}

/// The connector of a source, with an option of the configuration changed.
pub(crate) fn connector_with(source: &Source, option: &str, value: Value) -> MongoConnector {
    let mut config = source.config.clone();
    config[option] = value;
    connector(&config)
}

/// By the cursor field that the tests use.
pub(crate) fn selection(mode: SyncMode) -> StreamSelection {
    let cursor_field = (mode == SyncMode::Incremental).then(|| "at".to_owned());
    StreamSelection { cursor_field, ..connectors::selection("t", mode) }
}

/// The collection that the tests read.
pub(crate) fn collection(source: &Source) -> Collection<Document> {
    source.database.collection("t")
}

pub(crate) async fn insert(source: &Source, documents: impl IntoIterator<Item = Document>) {
    collection(source).insert_many(documents).await.expect("inserts");
}

pub(crate) async fn set(source: &Source, which: Document, fields: Document) {
    collection(source).update_many(which, doc! { "$set": fields }).await.expect("updates");
}

pub(crate) async fn delete(source: &Source, which: Document) {
    collection(source).delete_many(which).await.expect("deletes");
}

/// Documents of about a kilobyte, so that a few thousand make several batches.
pub(crate) fn many(range: std::ops::Range<i32>) -> impl Iterator<Item = Document> {
    range.map(|number| {
        let pad = format!("{:024x}", i64::from(number) * 77).repeat(40);
        doc! { "_id": number, "name": format!("name {number}"), "pad": pad }
    })
}

/// The collection as it is, by a read of its own.
pub(crate) async fn now(source: &Source) -> Rows {
    let mut copy = Copy::default();
    copy.read_all(&connector(&source.config), &selection(SyncMode::Full)).await.expect("reads");
    copy.rows
}

/// Keys of every type that a key can have.
pub(crate) fn keys() -> Vec<Bson> {
    use mongodb::bson::{Binary, DateTime, Decimal128, Timestamp, oid::ObjectId, spec::BinarySubtype};
    vec![
        Bson::Int32(1),
        Bson::Double(2.5),
        Bson::Int64(7),
        Bson::Decimal128("3.10".parse::<Decimal128>().expect("a number")),
        Bson::from("a"),
        Bson::from("1"),
        Bson::from("number:1"),
        Bson::ObjectId(ObjectId::parse_str("6b04b87d8f339abd7700ef96").expect("an id")),
        Bson::Boolean(true),
        Bson::Boolean(false),
        Bson::DateTime(DateTime::from_millis(5)),
        Bson::from(doc! { "a": 1, "b": "x" }),
        Bson::Null,
        Bson::Binary(Binary { subtype: BinarySubtype::Generic, bytes: vec![1, 2] }),
        Bson::Binary(Binary { subtype: BinarySubtype::Uuid, bytes: vec![3; 16] }),
        Bson::Timestamp(Timestamp { time: 9, increment: 1 }),
        Bson::MinKey,
        Bson::MaxKey,
    ]
}

/// The collection that the checks of every connector read.
struct Checked {
    /// Of this machine, so that a proxy can stand before it.
    server: Arc<Mongo>,
    source: Source,
    /// Later than all before, for each document that is written.
    clock: AtomicI64,
}

async fn checked() -> Checked {
    let server = Mongo::shared();
    let source = server.database().await;
    Checked { server, source, clock: AtomicI64::new(1_790_000_000_000) }
}

/// Statements of one command.
const AT_ONCE: usize = 1_000;

impl Checked {
    fn now(&self) -> DateTime {
        DateTime::from_millis(self.clock.fetch_add(1, Ordering::Relaxed))
    }

    fn at(&self, port: u16) -> Value {
        let mut config = self.source.config.clone();
        config["uri"] = json!(format!("mongodb://127.0.0.1:{port}"));
        config
    }
}

impl Fixture for Checked {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::new(connector(&self.source.config))
    }

    async fn metered(&self) -> (Arc<dyn Connector>, Meter) {
        let proxy = Proxy::of(self.server.port).await;
        (Arc::new(connector(&self.at(proxy.port))), Box::new(move || proxy.answered()))
    }

    fn selection(&self, mode: SyncMode) -> StreamSelection {
        selection(mode)
    }

    fn modes(&self) -> Vec<SyncMode> {
        vec![SyncMode::Full, SyncMode::Incremental, SyncMode::Cdc]
    }

    fn columns(&self) -> [&'static str; 2] {
        ["_id", "name"]
    }

    /// Each read of so many takes SecantusDB a second.
    fn several(&self) -> u32 {
        2_000
    }

    fn tells_deletes(&self, mode: SyncMode) -> bool {
        mode != SyncMode::Incremental
    }

    async fn insert(&self, records: &[Record]) {
        for records in records.chunks(AT_ONCE) {
            let document = |record: &Record| {
                let pad = format!("{:032x}", i64::from(record.number) * 77).repeat(record.pad / 32 + 1);
                doc! { "_id": record.number, "name": &record.name, "pad": pad, "at": self.now() }
            };
            insert(&self.source, records.iter().map(document)).await;
        }
    }

    async fn rename(&self, numbers: &[u32], name: &str) {
        for numbers in numbers.chunks(AT_ONCE) {
            let update = |number: &u32| {
                let to = doc! { "$set": { "name": name, "at": self.now() } };
                doc! { "q": { "_id": *number }, "u": to }
            };
            let updates: Vec<Document> = numbers.iter().map(update).collect();
            let answer = self.source.database.run_command(doc! { "update": "t", "updates": updates }).await;
            let answer = answer.expect("updates");
            assert_eq!(answer.get_i32("n").ok(), i32::try_from(numbers.len()).ok(), "{answer}");
        }
    }

    async fn delete(&self, numbers: &[u32]) {
        let numbers: Vec<Bson> = numbers.iter().map(|number| Bson::from(*number)).collect();
        delete(&self.source, doc! { "_id": { "$in": numbers } }).await;
    }

    async fn renumber(&self, _from: u32, _to: u32) -> bool {
        false
    }

    fn refused(&self) -> Vec<Arc<dyn Connector>> {
        let mut wrong = self.source.config.clone();
        wrong["user"] = json!("nobody");
        wrong["password"] = json!("hunter2");
        vec![Arc::new(connector(&wrong))]
    }

    fn secrets(&self) -> Vec<String> {
        vec!["hunter2".to_owned()]
    }
}

autonomos_tests::connector_tests!(checked());
