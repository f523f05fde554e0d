//! The same in a bucket of a real server that speaks S3's protocol.

use super::editions::{
    a_changed_edition_is_not_completed, dropped_at_every_batch, editions_are_told_apart, numbered,
};
use super::{formats, hostile, *};
use crate::network::NetworkScope;
use autonomos_objects::{Place, moto::Moto};
use object_store::ObjectStoreExt;
use std::sync::Arc;

const SHEET: &str = "<sheetData><row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>id</t></is></c><c r=\"B1\" t=\"inlineStr\"><is><t>v</t></is></c></row>\
    <row r=\"2\"><c r=\"A2\"><v>7</v></c><c r=\"B2\" t=\"inlineStr\"><is><t>x</t></is></c></row></sheetData>";

/// A bucket with files.
struct Bucket {
    moto: Arc<Moto>,
    name: String,
}

impl Bucket {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let moto = Moto::shared();
        let bucket = Self { name: moto.bucket(), moto };
        for (name, content) in files {
            bucket.write(name, content);
        }
        bucket
    }

    fn config(&self, config: &Value) -> Value {
        let mut whole = json!({
            "bucket": self.name, "endpoint": self.moto.endpoint(),
            "access_key_id": "autonomos", "secret_access_key": "s3cret"
        });
        let members = config.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(members);
        whole
    }
}

impl Files for Bucket {
    fn write(&self, name: &str, content: &[u8]) {
        let place = Place::parse(&format!("s3://{}", self.name), &self.moto.settings()).unwrap();
        let (store, content) = (place.open().unwrap(), content.to_vec());
        // On a thread of its own: who writes may stand in a runtime.
        std::thread::scope(|scope| {
            let put = scope.spawn(|| run(async { store.put(&name.into(), content.into()).await }));
            put.join().unwrap().unwrap();
        });
    }

    fn connect(&self, config: Value) -> Result<FileConnector, ConnectorError> {
        FileConnector::in_bucket(&self.config(&config), NetworkScope { private: true })
    }
}

#[test]
fn the_same_rows_come_from_a_bucket_as_from_a_folder() {
    let sheet = formats::workbook(&[("Accounts", "", SHEET)]);
    let (short, long) = (numbered(100), numbered(30_000));
    let (packed, columns) = (hostile::packed(long.as_bytes()), formats::parquet_file(20_000));
    let files: &[(&str, &[u8])] = &[
        ("a/plain.csv", short.as_bytes()),
        ("a/packed.csv.gz", &packed),
        ("a/columns.parquet", &columns),
        ("a/book.xlsx", &sheet),
        ("a/deeper/other.csv", b"x\n1\n"),
        ("a/notes.md", b"no table"),
    ];
    let (folder, bucket) = (Folder::with(files), Bucket::with(files));
    let names = |files: &dyn Fn(Value) -> Result<Vec<DiscoveredStream>, ConnectorError>, path: &str| {
        let mut names: Vec<_> =
            files(json!({"path": path})).unwrap().into_iter().map(|stream| stream.name).collect();
        names.sort();
        names
    };
    for path in ["a", "a/*.csv", "a/**/*.csv", "a/plain.csv"] {
        let there = names(&|config| bucket.discover(config), path);
        assert_eq!(there, names(&|config| folder.discover(config), path), "{path}");
        assert!(!there.is_empty(), "{path}");
    }
    for stream in ["plain", "packed", "columns", "book"] {
        let from = |files: &dyn Fn() -> Outcome| files().ok();
        let here = from(&|| folder.read(json!({"path": "a"}), stream));
        let there = from(&|| bucket.read(json!({"path": "/a/"}), stream));
        assert_eq!((&there.columns, &there.shape), (&here.columns, &here.shape), "{stream}");
        assert!(there.rows == here.rows && !there.rows.is_empty(), "{stream}: {} rows", there.rows.len());
    }
    let combined = json!({"path": "a/*.csv", "combine": true});
    assert_eq!(
        bucket.discover(combined.clone()).unwrap()[0].name,
        folder.discover(combined).unwrap()[0].name
    );
}

#[test]
fn a_read_of_a_bucket_goes_on_at_any_batch() {
    let bucket = Bucket::with(&[
        ("plain.csv", numbered(40_000).as_bytes()),
        ("columns.parquet", &formats::parquet_file(30_000)),
    ]);
    dropped_at_every_batch(&bucket, json!({"path": "plain.csv"}), "plain");
    dropped_at_every_batch(&bucket, json!({"path": "columns.parquet"}), "columns");
}

#[test]
fn editions_in_a_bucket_are_told_apart() {
    editions_are_told_apart(&Bucket::with(&[]));
    a_changed_edition_is_not_completed(&Bucket::with(&[]));
}

#[test]
fn a_check_of_a_bucket_names_what_is_wrong() {
    let bucket = Bucket::with(&[("t.csv", b"id,v\n1,a\n")]);
    let failed = |connector: FileConnector| {
        let steps = run(connector.check()).unwrap();
        steps.into_iter().find(|step| !step.passed).map(|step| (step.name, step.message))
    };
    assert_eq!(failed(bucket.connect(json!({"path": "t.csv"})).unwrap()), None);
    for (config, step, code) in [
        (json!({"path": "nothing.csv"}), "path", "AOS-0204"),
        (json!({"path": "t.csv", "bucket": "nobody-has-this"}), "path", "AOS-0228"),
        (json!({"path": "../t.csv"}), "path", "AOS-0202"),
    ] {
        let (name, message) = failed(bucket.connect(config).unwrap()).expect("a step fails");
        assert_eq!(name, step, "{message}");
        assert!(message.starts_with(code) && !message.contains("s3cret"), "{message}");
    }
    // Where the operator does not let connections reach this machine, none does.
    let config = bucket.config(&json!({"path": "t.csv"}));
    let closed = || FileConnector::in_bucket(&config, NetworkScope::default()).unwrap();
    let (name, message) = failed(closed()).expect("a step fails");
    assert!(name == "address" && message.starts_with("AOS-0261"), "{name}: {message}");
    let refused = run(closed().discover(CancellationToken::new())).expect_err("not reached");
    assert_eq!(refused.code(), "AOS-0261");
    run(collect(&closed(), "t", SyncMode::Full, None)).check_error("AOS-0261", "127.0.0.1");
    // A name is looked up by the client itself, each time it connects.
    let mut named = config;
    named["endpoint"] = json!(bucket.moto.endpoint().replace("127.0.0.1", "localhost"));
    let named = FileConnector::in_bucket(&named, NetworkScope::default()).unwrap();
    let refused =
        run(super::super::blocking(move || named.origin.resolve(&named.config))).expect_err("not reached");
    assert!(refused.retryable(), "{refused}");
}
