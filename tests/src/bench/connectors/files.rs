//! A CSV file on a disk and in a bucket.

use super::{super::ingest::write_file, Measured, Source, rate};
use arrow::{
    csv::ReaderBuilder,
    datatypes::{DataType, Field, Schema},
};
use autonomos_objects::{Place, moto::Moto};
use object_store::ObjectStoreExt;
use serde_json::json;
use std::{fs::File, io::Read, sync::Arc, time::Instant};

const NAME: &str = "accounts.csv";

/// The rows of a CSV of text with a header, read into Arrow.
pub(super) fn read_csv(source: impl Read, columns: usize) -> u64 {
    let fields: Vec<Field> =
        (0..columns).map(|number| Field::new(format!("c{number}"), DataType::Utf8, true)).collect();
    let reader = ReaderBuilder::new(Arc::new(Schema::new(fields))).with_header(true).with_batch_size(8_192);
    let batches = reader.build(source).expect("a reader");
    batches.map(|batch| batch.expect("reads").num_rows() as u64).sum()
}

pub(super) async fn on_disk(rows: u64) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(NAME);
    write_file(&path, rows);
    let started = Instant::now();
    let read = read_csv(File::open(&path).expect("opens"), 10);
    let bare = vec![("arrow's CSV reader", rate(started, read, rows))];
    let source = Source {
        connector: "file",
        config: json!({ "path": path }),
        stream: "accounts",
        mode: "incremental",
        settings: vec![("AOS_FILE_ROOTS", folder.path().display().to_string())],
    };
    source.measure(rows, bare).await
}

pub(super) async fn in_bucket(rows: u64) -> Measured {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(NAME);
    write_file(&path, rows);
    let moto = Moto::start();
    let bucket = moto.bucket();
    let place = Place::parse(&format!("s3://{bucket}"), &moto.settings()).expect("a place");
    let store = place.open().expect("opens");
    let content = std::fs::read(&path).expect("reads");
    store.put(&NAME.into(), content.into()).await.expect("the bucket takes it");

    let started = Instant::now();
    let object = store.get(&NAME.into()).await.expect("gets").bytes().await.expect("reads");
    let read = read_csv(&object[..], 10);
    let bare = vec![("object_store's get and arrow's CSV reader", rate(started, read, rows))];
    let source = Source {
        connector: "s3",
        config: json!({
            "bucket": bucket, "endpoint": moto.endpoint(), "access_key_id": "bench",
            "secret_access_key": "bench", "path": NAME
        }),
        stream: "accounts",
        mode: "incremental",
        settings: Vec::new(),
    };
    source.measure(rows, bare).await
}
