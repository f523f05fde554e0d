//! What a reader of the connector has, batch by batch.

use arrow::array::{Array, RecordBatch, StringArray};
use autonomos_connectors::{
    Connector, ConnectorError, MongoConnector, NetworkScope, ReadEvent, port::OPERATION,
};
use autonomos_domain::schema::{StreamSelection, StreamShape, SyncMode};
use autonomos_tests::mongo::Source;
use futures::StreamExt;
use mongodb::{
    Collection,
    bson::{Bson, Document, doc},
};
use serde_json::Value;
use std::collections::BTreeMap;
use tokio_util::sync::CancellationToken;

pub(crate) fn connector(config: &Value) -> MongoConnector {
    MongoConnector::new(config, NetworkScope { private: true }).expect("a configuration")
}

/// The connector of a source, with an option of the configuration changed.
pub(crate) fn connector_with(source: &Source, option: &str, value: Value) -> MongoConnector {
    let mut config = source.config.clone();
    config[option] = value;
    connector(&config)
}

pub(crate) fn selection(mode: SyncMode) -> StreamSelection {
    let cursor_field = (mode == SyncMode::Incremental).then(|| "at".to_owned());
    StreamSelection {
        name: "t".to_owned(),
        sync_mode: Some(mode),
        cursor_field,
        primary_key: None,
        entity: None,
        priority: 0,
    }
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

pub(crate) type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// What a reader has durably: rows by their key, and the cursor of the last batch.
#[derive(Default)]
pub(crate) struct Copy {
    pub(crate) cursor: Option<Value>,
    pub(crate) rows: Rows,
    key: Vec<String>,
    /// Keys that the open snapshot has.
    seen: Option<Vec<String>>,
    /// Rows taken in, in all.
    pub(crate) taken: usize,
    pub(crate) snapshots: usize,
    pub(crate) shape: StreamShape,
    pub(crate) reshaped: usize,
    pub(crate) cleared: usize,
    pub(crate) rejected: Vec<String>,
    /// Batches that moved the cursor alone.
    pub(crate) beats: usize,
}

impl Copy {
    /// Reads on from where it is, at most so many batches; whether it came to the end.
    pub(crate) async fn read(
        &mut self,
        connector: &MongoConnector,
        mode: SyncMode,
        most: usize,
    ) -> Result<bool, ConnectorError> {
        let mut events =
            connector.read(&selection(mode), mode, self.cursor.clone(), CancellationToken::new());
        let mut batches = 0;
        let mut done = false;
        while let Some(event) = events.next().await {
            let event = event?;
            done = matches!(event, ReadEvent::Completed { .. } | ReadEvent::Unchanged);
            batches += usize::from(matches!(event, ReadEvent::Batch { .. }));
            self.apply(event);
            if batches == most {
                return Ok(false);
            }
        }
        Ok(done)
    }

    /// Reads to the end.
    pub(crate) async fn read_all(&mut self, connector: &MongoConnector, mode: SyncMode) {
        let done = self.read(connector, mode, usize::MAX).await.expect("reads");
        assert!(done, "the read comes to its end");
    }

    fn apply(&mut self, event: ReadEvent) {
        match event {
            ReadEvent::Began { shape, snapshot, resumed, .. } => {
                self.key.clone_from(&shape.primary_key);
                self.shape = shape;
                if snapshot && !resumed {
                    self.snapshots += 1;
                    self.seen = Some(Vec::new());
                }
            }
            ReadEvent::Reshaped { shape, preview } => {
                assert!(preview.num_rows() > 0, "a preview of the new shape");
                self.reshaped += 1;
                self.shape = shape;
            }
            ReadEvent::Batch { records, rejected, cursor } => {
                self.beats += usize::from(records.num_rows() == 0 && rejected.is_empty());
                self.rejected.extend(rejected.iter().map(|row| format!("{} {}", row.code, row.place)));
                self.batch(&records);
                self.cursor = Some(cursor);
            }
            ReadEvent::Cleared { cursor } => {
                self.cleared += 1;
                self.rows.clear();
                self.cursor = Some(cursor);
            }
            ReadEvent::Completed { cursor } => {
                if let Some(seen) = self.seen.take() {
                    self.rows.retain(|key, _| seen.contains(key));
                    self.cursor = Some(cursor);
                }
            }
            ReadEvent::Unchanged => {}
        }
    }

    fn batch(&mut self, records: &RecordBatch) {
        let texts = |name: &str| {
            let column = records.column_by_name(name)?;
            Some(column.as_any().downcast_ref::<StringArray>().expect("text").clone())
        };
        let operation = texts(OPERATION);
        for row in 0..records.num_rows() {
            self.taken += 1;
            let value = |name: &str| {
                texts(name).filter(|column| column.is_valid(row)).map(|column| column.value(row).to_owned())
            };
            let key: Vec<String> = self.key.iter().map(|name| value(name).expect("a key")).collect();
            let key = key.join("/");
            if operation.as_ref().is_some_and(|column| column.is_valid(row)) {
                self.rows.remove(&key);
                continue;
            }
            if let Some(seen) = &mut self.seen {
                seen.push(key.clone());
            }
            let schema = records.schema();
            let names = schema.fields().iter().map(|field| field.name().clone());
            let values = names.filter_map(|name| value(&name).map(|value| (name, value)));
            self.rows.insert(key, values.collect());
        }
    }

    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        let field = |field: &'_ autonomos_domain::schema::Field| field.logical_type.as_str();
        self.shape.fields.iter().map(|one| (one.name.as_str(), field(one))).collect()
    }
}

/// The collection as it is, by a read of its own.
pub(crate) async fn now(source: &Source) -> Rows {
    let mut copy = Copy::default();
    copy.read_all(&connector(&source.config), SyncMode::Full).await;
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
