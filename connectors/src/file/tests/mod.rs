//! What users of other tools reported, each a test: files are made here, read through the port.

mod bucket;
mod editions;
mod formats;
mod hostile;
mod text;

use super::{FileConnector, FileScope, config_schema};
use crate::error::ConnectorError;
use crate::port::{Connector, ReadEvent, RejectedRow};
use arrow::array::{Array, AsArray, RecordBatch};
use autonomos_domain::schema::{
    DiscoveredStream, Field, LogicalType, StreamSelection, StreamShape, SyncMode,
};
use futures::StreamExt;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// A root folder with files.
struct Folder(TempDir);

/// What a read gave.
#[derive(Default)]
struct Outcome {
    shape: StreamShape,
    columns: Vec<String>,
    rows: Vec<Vec<Option<String>>>,
    rejected: Vec<RejectedRow>,
    /// Rows delivered up to and with each batch, and the cursor behind it.
    cursors: Vec<(usize, Value)>,
    resumed: bool,
    preview: usize,
    total_rows: Option<u64>,
    completed: Option<Value>,
    unchanged: bool,
    error: Option<ConnectorError>,
}

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, content) in files {
            folder.write(name, content);
        }
        folder
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn scope(&self) -> FileScope {
        FileScope { roots: vec![self.0.path().to_owned()], uploads: None }
    }
}

impl Files for Folder {
    fn write(&self, name: &str, content: &[u8]) {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn connect(&self, config: Value) -> Result<FileConnector, ConnectorError> {
        FileConnector::new(&config, self.scope())
    }
}

/// Files somewhere, and how they are read.
trait Files {
    fn write(&self, name: &str, content: &[u8]);

    fn connect(&self, config: Value) -> Result<FileConnector, ConnectorError>;

    fn discover(&self, config: Value) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        let connector = self.connect(config)?;
        run(connector.discover(CancellationToken::new()))
    }

    fn read(&self, config: Value, stream: &str) -> Outcome {
        self.read_from(config, stream, SyncMode::Incremental, None)
    }

    fn read_from(&self, config: Value, stream: &str, mode: SyncMode, cursor: Option<Value>) -> Outcome {
        let connector = self.connect(config).unwrap();
        run(collect(&connector, stream, mode, cursor))
    }
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap().block_on(work)
}

fn selection(name: &str) -> StreamSelection {
    StreamSelection {
        name: name.to_owned(),
        sync_mode: None,
        cursor_field: None,
        primary_key: None,
        entity: None,
        priority: 0,
    }
}

async fn collect(connector: &FileConnector, stream: &str, mode: SyncMode, cursor: Option<Value>) -> Outcome {
    let mut outcome = Outcome::default();
    let mut events = connector.read(&selection(stream), mode, cursor, CancellationToken::new());
    while let Some(event) = events.next().await {
        match event {
            Ok(ReadEvent::Began { shape, snapshot, resumed, preview, total_rows }) => {
                assert!(snapshot);
                outcome.columns = names(&preview);
                (outcome.shape, outcome.resumed, outcome.preview, outcome.total_rows) =
                    (shape, resumed, preview.num_rows(), total_rows);
            }
            Ok(ReadEvent::Batch { records, rejected, cursor }) => {
                outcome.columns = names(&records);
                outcome.rows.extend(rows(&records));
                outcome.rejected.extend(rejected);
                outcome.cursors.push((outcome.rows.len(), cursor));
            }
            Ok(ReadEvent::Completed { cursor }) => outcome.completed = Some(cursor),
            Ok(ReadEvent::Unchanged) => outcome.unchanged = true,
            Ok(other @ (ReadEvent::Reshaped { .. } | ReadEvent::Cleared { .. })) => {
                panic!("files have no changes of their own: {other:?}")
            }
            Err(cause) => outcome.error = Some(cause),
        }
    }
    outcome
}

fn names(records: &RecordBatch) -> Vec<String> {
    records.schema().fields().iter().map(|field| field.name().clone()).collect()
}

fn rows(records: &RecordBatch) -> Vec<Vec<Option<String>>> {
    (0..records.num_rows())
        .map(|row| {
            let cells = records.columns().iter().map(|column| {
                let texts = column.as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            });
            cells.collect()
        })
        .collect()
}

impl Outcome {
    #[track_caller]
    fn ok(self) -> Self {
        assert!(self.error.is_none(), "{:?}", self.error);
        assert!(self.completed.is_some(), "not completed");
        self
    }

    #[track_caller]
    fn field(&self, name: &str) -> &Field {
        self.shape.field(name).unwrap_or_else(|| panic!("no field `{name}` in {:?}", self.shape))
    }

    #[track_caller]
    fn check_field(&self, name: &str, logical_type: LogicalType, format: Option<&str>) {
        let field = self.field(name);
        assert_eq!((field.logical_type, field.format.as_deref()), (logical_type, format), "`{name}`");
    }

    fn cell(&self, row: usize, column: &str) -> Option<&str> {
        let at = self.columns.iter().position(|name| name == column)?;
        self.rows[row][at].as_deref()
    }

    #[track_caller]
    fn check_error(&self, code: &str, mentions: &str) {
        let Some(cause) = &self.error else { panic!("no error: {} rows", self.rows.len()) };
        assert_eq!(cause.code(), code, "{cause}");
        assert!(cause.to_string().contains(mentions), "{cause}");
    }
}

#[test]
fn every_option_of_the_schema_is_ordered_and_described() {
    let schema = config_schema();
    let properties = schema["properties"].as_object().unwrap();
    let ordered: Vec<&str> = schema["x-order"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(ordered.len(), properties.len());
    for name in ordered {
        assert!(
            properties[name]["title"].is_string() && properties[name]["description"].is_string(),
            "{name}"
        );
    }
}

#[test]
fn a_wrong_option_is_named() {
    let folder = Folder::with(&[("a.csv", b"a\n1\n")]);
    let check = |config: Value, code: &str, field: &str| {
        let Err(ConnectorError::Configuration { code: found, field: pointer, message }) =
            folder.connect(config)
        else {
            panic!("accepted")
        };
        assert_eq!((found, pointer.as_str()), (code, field), "{message}");
    };
    check(json!([]), "AOS-0202", "");
    check(json!({}), "AOS-0202", "/path");
    check(json!({"path": 7}), "AOS-0202", "/path");
    check(json!({"path": "a.csv", "colour": "red"}), "AOS-0202", "/colour");
    check(json!({"path": "a.csv", "delimiter": "ab"}), "AOS-0202", "/delimiter");
    check(json!({"path": "a.csv", "format": "fax"}), "AOS-0202", "/format");
    check(json!({"path": "a.csv", "encoding": "klingon"}), "AOS-0213", "/encoding");
}
