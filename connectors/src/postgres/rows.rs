//! Rows on their way into a batch.

use super::{catalog::Types, cursor::Column, error, session::Texts, value::Kind};
use crate::{
    error::ConnectorError,
    port::{MAX_BATCH_ROWS, OPERATION, RejectedRow},
};
use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

/// A batch stays below what is stored in one piece, even if nothing of it can be compressed: rows of a
/// live table cannot be counted again, as those of a file can.
const MAX_BYTES: usize = 640 * 1024;
/// A row beyond this is rejected alone.
const MAX_ROW_BYTES: usize = 600 * 1024;
/// What a value takes besides its text.
const CELL_BYTES: usize = 5;
/// Kept of a row that is rejected.
const RAW_BYTES: usize = 4 * 1024;

/// A row as the server wrote it.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) values: Texts,
    pub(super) deleted: bool,
    /// Columns whose values were not told.
    pub(super) missing: Vec<usize>,
}

/// Rows gathered for a batch.
pub(super) struct Rows {
    columns: Vec<Column>,
    kinds: Vec<Kind>,
    /// Where the key's columns are.
    key: Vec<usize>,
    pub(super) gathered: Vec<Row>,
    bytes: usize,
    rejected: Vec<RejectedRow>,
}

impl Rows {
    pub(super) fn new(types: &Types, columns: &[Column], key: &[String]) -> Self {
        let position = |name: &String| columns.iter().position(|column| column.name == *name);
        Self {
            kinds: columns.iter().map(|column| types.kind(column.oid)).collect(),
            key: key.iter().filter_map(position).collect(),
            columns: columns.to_vec(),
            gathered: Vec::new(),
            bytes: 0,
            rejected: Vec::new(),
        }
    }

    /// The key's values of a row, as the server wrote them.
    pub(super) fn key(&self, values: &Texts) -> Vec<String> {
        self.key.iter().map(|place| values.get(*place).cloned().flatten().unwrap_or_default()).collect()
    }

    pub(super) fn key_places(&self) -> &[usize] {
        &self.key
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    pub(super) fn push(&mut self, row: Row) {
        let bytes = size(&row.values);
        if bytes > MAX_ROW_BYTES {
            self.reject(&row, bytes);
            return;
        }
        self.bytes += bytes;
        self.gathered.push(row);
    }

    fn reject(&mut self, row: &Row, bytes: usize) {
        let mut raw = String::new();
        for (column, value) in self.columns.iter().zip(&row.values) {
            let start: String = value.iter().flat_map(|value| value.chars()).take(200).collect();
            raw.push_str(&format!("{}={start} ", column.name));
            if raw.len() > RAW_BYTES {
                break;
            }
        }
        let mut end = raw.len().min(RAW_BYTES);
        while !raw.is_char_boundary(end) {
            end -= 1;
        }
        raw.truncate(end);
        self.rejected.push(RejectedRow {
            place: format!("key {}", self.key(&row.values).join(", ")),
            code: error::ROW_TOO_LONG,
            reason: format!("the row has {bytes} bytes, {MAX_ROW_BYTES} at most are taken in"),
            raw,
        });
    }

    /// Whether there is room for one more row of these values.
    pub(super) fn fits(&self, values: &Texts) -> bool {
        let bytes = size(values);
        self.gathered.len() < MAX_BATCH_ROWS && (bytes > MAX_ROW_BYTES || self.bytes + bytes <= MAX_BYTES)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.rejected.is_empty()
    }

    /// The rows gathered so far, one batch after the other: values that came later may have made
    /// more than one of them.
    pub(super) fn take(&mut self) -> Result<Vec<(RecordBatch, Vec<RejectedRow>)>, ConnectorError> {
        self.bytes = 0;
        let mut batches = Vec::new();
        let mut part = Vec::new();
        let mut bytes = 0;
        for row in std::mem::take(&mut self.gathered) {
            let more = size(&row.values);
            if more > MAX_ROW_BYTES {
                self.reject(&row, more);
                continue;
            }
            if bytes + more > MAX_BYTES && !part.is_empty() {
                batches.push((self.batch(std::mem::take(&mut part))?, Vec::new()));
                bytes = 0;
            }
            bytes += more;
            part.push(row);
        }
        batches.push((self.batch(part)?, std::mem::take(&mut self.rejected)));
        Ok(batches)
    }

    /// A batch of these rows.
    pub(super) fn batch(&self, rows: Vec<Row>) -> Result<RecordBatch, ConnectorError> {
        let mut fields: Vec<Field> =
            self.columns.iter().map(|column| Field::new(&column.name, DataType::Utf8, true)).collect();
        let deleted: Vec<bool> = rows.iter().map(|row| row.deleted).collect();
        let mut columns: Vec<Vec<Option<String>>> =
            self.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            let mut values = row.values.into_iter();
            for (column, kind) in columns.iter_mut().zip(&self.kinds) {
                column.push(values.next().flatten().map(|text| kind.write(text)));
            }
        }
        let mut arrays: Vec<ArrayRef> =
            columns.into_iter().map(|column| Arc::new(StringArray::from(column)) as ArrayRef).collect();
        if deleted.contains(&true) {
            fields.push(Field::new(OPERATION, DataType::Utf8, true));
            let said = deleted.iter().map(|deleted| deleted.then_some("delete"));
            arrays.push(Arc::new(said.collect::<StringArray>()));
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(deleted.len()));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
            .map_err(|cause| error::unreadable(format!("the rows make no batch: {cause}")))
    }
}

fn size(values: &Texts) -> usize {
    values.iter().map(|value| value.as_ref().map_or(0, String::len) + CELL_BYTES).sum()
}
