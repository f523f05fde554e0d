//! What a reader of a connector has, batch by batch.

use arrow::array::{Array, RecordBatch, StringArray};
use autonomos_connectors::{Connector, ConnectorError, ReadEvent, port::OPERATION};
use autonomos_domain::schema::{StreamSelection, StreamShape, SyncMode};
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use tokio_util::sync::CancellationToken;

/// Rows by their key; of each the values that are there.
pub type Rows = BTreeMap<String, BTreeMap<String, String>>;

/// What a reader has durably: rows by their key, and the cursor of the last batch.
#[derive(Debug, Default, Clone)]
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
    /// The shape that was told last.
    pub shape: StreamShape,
    /// The fields of each shape that was told, at the beginning of a read or in its middle.
    pub shapes: Vec<Vec<String>>,
    pub reshaped: usize,
    /// Shapes told in the middle of a read without a row to look at.
    pub unshown: usize,
    /// How often all rows were gone.
    pub cleared: usize,
    /// Batches that moved the cursor alone.
    pub beats: usize,
    pub rejected: usize,
    /// Of each rejected row its code and place.
    pub refusals: Vec<String>,
}

impl Copy {
    /// Nothing but a cursor.
    pub fn at(cursor: Value) -> Self {
        Self { cursor: Some(cursor), ..Self::default() }
    }

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
        let mut ended = false;
        while let Some(event) = events.next().await {
            let event = event?;
            if matches!(event, ReadEvent::Batch { .. }) && self.batches - before == most {
                return Ok(false);
            }
            ended = matches!(event, ReadEvent::Completed { .. } | ReadEvent::Unchanged);
            self.apply(event);
        }
        assert!(ended, "a read that comes to its end says so");
        Ok(true)
    }

    /// The same, cancelled right after so many batches.
    pub async fn read_and_cancel(
        &mut self,
        connector: &dyn Connector,
        selection: &StreamSelection,
        most: usize,
    ) -> Result<bool, ConnectorError> {
        let mode = selection.sync_mode.unwrap_or(SyncMode::Full);
        let cancel = CancellationToken::new();
        let mut events = connector.read(selection, mode, self.cursor.clone(), cancel.clone());
        let before = self.batches;
        while self.batches - before < most {
            let Some(event) = events.next().await else { return Ok(true) };
            self.apply(event?);
        }
        cancel.cancel();
        assert!(matches!(events.next().await, Some(Err(ConnectorError::Cancelled))), "it says so");
        assert!(events.next().await.is_none(), "and ends");
        Ok(false)
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

    /// Takes an event in.
    pub fn apply(&mut self, event: ReadEvent) {
        match event {
            ReadEvent::Began { shape, snapshot, resumed, .. } => {
                self.take_shape(shape);
                self.in_snapshot = snapshot;
                if snapshot && !resumed {
                    self.snapshots += 1;
                    self.seen = Some(BTreeSet::new());
                }
            }
            ReadEvent::Reshaped { shape, preview } => {
                self.reshaped += 1;
                self.unshown += usize::from(preview.num_rows() == 0);
                self.take_shape(shape);
            }
            ReadEvent::Batch { records, rejected, cursor } => {
                self.batches += 1;
                self.beats += usize::from(records.num_rows() == 0 && rejected.is_empty());
                self.rejected += rejected.len();
                self.refusals.extend(rejected.iter().map(|row| format!("{} {}", row.code, row.place)));
                self.batch(&records);
                self.cursor = Some(cursor);
            }
            ReadEvent::Cleared { cursor } => {
                self.cleared += 1;
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

    fn take_shape(&mut self, shape: StreamShape) {
        self.shapes.push(shape.fields.iter().map(|field| field.name.clone()).collect());
        self.key.clone_from(&shape.primary_key);
        self.shape = shape;
    }

    /// The fields of the last shape and their types.
    pub fn fields(&self) -> Vec<(&str, &str)> {
        self.shape.fields.iter().map(|field| (field.name.as_str(), field.logical_type.as_str())).collect()
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
