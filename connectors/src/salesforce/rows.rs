//! Rows on their way into a batch.

use super::{
    describe::{Column, DELETED, KEY},
    error,
};
use crate::{
    error::ConnectorError,
    port::{MAX_BATCH_ROWS, OPERATION, RejectedRow},
};
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

/// A batch stays below what is stored in one piece, even if nothing of it can be compressed.
const MAX_BYTES: usize = 640 * 1024;
/// A row beyond this is rejected alone.
const MAX_ROW_BYTES: usize = 600 * 1024;
/// What a value takes besides its text.
const CELL_BYTES: usize = 5;
/// Kept of a row that is rejected.
const RAW_CHARS: usize = 1_000;

/// A row's values, as Salesforce wrote them, in the order of its columns.
pub(super) type Row = Vec<Option<String>>;

/// Rows gathered for a batch.
pub(super) struct Rows {
    columns: Vec<Column>,
    key: usize,
    deleted: Option<usize>,
    gathered: Vec<Row>,
    bytes: usize,
    rejected: Vec<RejectedRow>,
}

impl Rows {
    pub(super) fn new(columns: &[Column]) -> Result<Self, ConnectorError> {
        let place = |name: &str| columns.iter().position(|column| column.name == name);
        let key = place(KEY).ok_or_else(|| error::schema("the object's rows have no `Id`"))?;
        Ok(Self {
            key,
            deleted: place(DELETED),
            columns: columns.to_vec(),
            gathered: Vec::new(),
            bytes: 0,
            rejected: Vec::new(),
        })
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub(super) fn key(&self, row: &Row) -> String {
        row.get(self.key).cloned().flatten().unwrap_or_default()
    }

    /// Whether there is room for one more row.
    pub(super) fn fits(&self, row: &Row) -> bool {
        let bytes = size(row);
        self.gathered.len() < MAX_BATCH_ROWS && (bytes > MAX_ROW_BYTES || self.bytes + bytes <= MAX_BYTES)
    }

    pub(super) fn push(&mut self, row: Row) {
        let bytes = size(&row);
        if bytes > MAX_ROW_BYTES {
            let key = self.key(&row);
            let told = self.columns.iter().zip(&row).filter_map(|(column, value)| {
                let start: String = value.as_ref()?.chars().take(100).collect();
                Some(format!("{}={start} ", column.name))
            });
            self.rejected.push(RejectedRow {
                place: format!("{KEY} {key}"),
                code: error::ROW_TOO_LONG,
                reason: format!("the record has {bytes} bytes, {MAX_ROW_BYTES} at most are taken in"),
                raw: told.collect::<String>().chars().take(RAW_CHARS).collect(),
            });
            return;
        }
        self.bytes += bytes;
        self.gathered.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.rejected.is_empty()
    }

    /// The rows gathered so far, as one batch.
    pub(super) fn take(&mut self) -> Result<(RecordBatch, Vec<RejectedRow>), ConnectorError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.gathered);
        Ok((self.batch(rows)?, std::mem::take(&mut self.rejected)))
    }

    /// A batch of these rows.
    pub(super) fn batch(&self, rows: Vec<Row>) -> Result<RecordBatch, ConnectorError> {
        let mut fields: Vec<Field> =
            self.columns.iter().map(|column| Field::new(&column.name, DataType::Utf8, true)).collect();
        let gone = |row: &Row| {
            self.deleted
                .is_some_and(|place| row.get(place).is_some_and(|said| said.as_deref() == Some("true")))
        };
        let deleted: Vec<bool> = rows.iter().map(gone).collect();
        let mut columns: Vec<Vec<Option<String>>> =
            self.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            let mut values = row.into_iter();
            for (values_of, column) in columns.iter_mut().zip(&self.columns) {
                values_of.push(values.next().flatten().and_then(|text| column.kind.write(text)));
            }
        }
        let mut arrays: Vec<ArrayRef> =
            columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
        if deleted.contains(&true) {
            fields.push(Field::new(OPERATION, DataType::Utf8, true));
            let said = deleted.iter().map(|deleted| deleted.then_some("delete"));
            arrays.push(Arc::new(said.collect::<StringArray>()));
        }
        let options = RecordBatchOptions::new().with_row_count(Some(deleted.len()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|cause| error::unreadable(format!("the records make no batch: {cause}")))
    }
}

pub(super) fn size(row: &Row) -> usize {
    row.iter().map(|value| value.as_ref().map_or(0, String::len) + CELL_BYTES).sum()
}
