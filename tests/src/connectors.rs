//! What every connector must do, whatever its source: a reader that is cut off after any batch ends with
//! the same rows, each once, and one that is cancelled ends at once.

use arrow::array::{Array, RecordBatch, StringArray};
use autonomos_connectors::{Connector, ConnectorError, ReadEvent, port::OPERATION};
use autonomos_domain::schema::{StreamSelection, SyncMode};
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::sync::CancellationToken;

/// Rows by their key; of each the values that are there.
pub type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// A stream, read in a mode, as a person would choose it.
pub fn selection(name: &str, mode: SyncMode) -> StreamSelection {
    StreamSelection {
        name: name.to_owned(),
        sync_mode: Some(mode),
        cursor_field: None,
        primary_key: None,
        entity: None,
        priority: 0,
    }
}

/// What a reader has durably: rows by their key, and the cursor of the last batch.
#[derive(Debug, Default)]
pub struct Copy {
    pub cursor: Option<Value>,
    pub rows: Rows,
    key: Vec<String>,
    /// Keys that the open snapshot has; whether one is being read now.
    seen: Option<BTreeSet<String>>,
    in_snapshot: bool,
    /// Rows taken in, in all, deletes included.
    pub taken: usize,
    pub batches: usize,
    pub snapshots: usize,
    /// The fields of each shape that was told, at the beginning of a read or in its middle.
    pub shapes: Vec<Vec<String>>,
    pub reshaped: usize,
    pub rejected: usize,
}

impl Copy {
    /// Reads on from where the copy is, and is cut off before the batch after so many; whether it came to
    /// the end.
    pub async fn read(
        &mut self,
        connector: &dyn Connector,
        selection: &StreamSelection,
        most: usize,
    ) -> Result<bool, ConnectorError> {
        let mode = selection.sync_mode.unwrap_or(SyncMode::Full);
        let mut events = connector.read(selection, mode, self.cursor.clone(), CancellationToken::new());
        let before = self.batches;
        while let Some(event) = events.next().await {
            let event = event?;
            if matches!(event, ReadEvent::Batch { .. }) && self.batches - before == most {
                return Ok(false);
            }
            self.apply(event);
        }
        Ok(true)
    }

    /// Reads to the end.
    pub async fn read_all(
        &mut self,
        connector: &dyn Connector,
        selection: &StreamSelection,
    ) -> Result<(), ConnectorError> {
        self.read(connector, selection, usize::MAX).await.map(|_| ())
    }

    /// Reads to the end, cut off after each batch in turn by dropping the stream; how often it was cut.
    pub async fn read_in_pieces(
        &mut self,
        connector: &dyn Connector,
        selection: &StreamSelection,
    ) -> Result<usize, ConnectorError> {
        let mut cuts = 0;
        while !self.read(connector, selection, 1).await? {
            cuts += 1;
        }
        Ok(cuts)
    }

    fn apply(&mut self, event: ReadEvent) {
        match event {
            ReadEvent::Began { shape, snapshot, resumed, .. } => {
                self.shapes.push(shape.fields.iter().map(|field| field.name.clone()).collect());
                self.key = shape.primary_key;
                self.in_snapshot = snapshot;
                if snapshot && !resumed {
                    self.snapshots += 1;
                    self.seen = Some(BTreeSet::new());
                }
            }
            ReadEvent::Reshaped { shape, .. } => {
                self.reshaped += 1;
                self.shapes.push(shape.fields.iter().map(|field| field.name.clone()).collect());
                self.key = shape.primary_key;
            }
            ReadEvent::Batch { records, rejected, cursor } => {
                self.batches += 1;
                self.rejected += rejected.len();
                self.batch(&records);
                self.cursor = Some(cursor);
            }
            ReadEvent::Cleared { cursor } => {
                self.rows.clear();
                self.cursor = Some(cursor);
            }
            ReadEvent::Completed { cursor } if self.in_snapshot => {
                if let Some(seen) = self.seen.take() {
                    self.rows.retain(|key, _| seen.contains(key));
                    self.cursor = Some(cursor);
                }
            }
            // After a read of what changed, the last batch has said where to go on.
            ReadEvent::Completed { .. } | ReadEvent::Unchanged => {}
        }
    }

    fn batch(&mut self, records: &RecordBatch) {
        let schema = records.schema();
        let columns: BTreeMap<&str, &StringArray> = schema
            .fields()
            .iter()
            .zip(records.columns())
            .map(|(field, column)| {
                (field.name().as_str(), column.as_any().downcast_ref().expect("all columns are text"))
            })
            .collect();
        for row in 0..records.num_rows() {
            self.taken += 1;
            let value = |name: &str| {
                let column = columns.get(name).filter(|column| column.is_valid(row))?;
                Some(column.value(row).to_owned())
            };
            let key: Vec<String> = self.key.iter().map(|name| value(name).expect("a key")).collect();
            let key = key.join("/");
            if value(OPERATION).is_some() {
                self.rows.remove(&key);
                continue;
            }
            if let Some(seen) = self.seen.as_mut().filter(|_| self.in_snapshot) {
                assert!(seen.insert(key.clone()), "`{key}` is twice in one snapshot");
            }
            let values = columns.keys().filter_map(|name| Some(((*name).to_owned(), value(name)?)));
            self.rows.insert(key, values.collect());
        }
    }
}

/// A read that is cancelled after its first event says so, and ends.
pub async fn ends_when_cancelled(connector: &dyn Connector, selection: &StreamSelection) {
    let mode = selection.sync_mode.unwrap_or(SyncMode::Full);
    let cancel = CancellationToken::new();
    let mut events = connector.read(selection, mode, None, cancel.clone());
    assert!(events.next().await.expect("an event").is_ok());
    cancel.cancel();
    assert!(matches!(events.next().await, Some(Err(ConnectorError::Cancelled))));
    assert!(events.next().await.is_none());
    let cancelled = CancellationToken::new();
    cancelled.cancel();
    assert!(matches!(connector.discover(cancelled).await, Err(ConnectorError::Cancelled)));
}

/// Nothing that is said holds a secret.
pub fn keeps_secrets<'a>(said: impl IntoIterator<Item = &'a str>, secrets: &[&str]) {
    for text in said {
        for secret in secrets {
            assert!(!text.contains(secret), "a secret is told: {text}");
        }
    }
}
