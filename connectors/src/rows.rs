//! Rows on their way into a batch: as texts of the source, written as a batch holds them when it is made.

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

/// A row's values, as the source wrote them.
pub(crate) type Texts = Vec<Option<String>>;

/// How a column's values are written in a batch.
pub(crate) type Write = Box<dyn Fn(String) -> String + Send + Sync>;

/// A row as the source wrote it.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) values: Texts,
    pub(crate) deleted: bool,
    /// Columns whose values were not told.
    pub(crate) missing: Vec<usize>,
}

impl Row {
    /// A row that is there, whole.
    pub(crate) const fn of(values: Texts) -> Self {
        Self { values, deleted: false, missing: Vec::new() }
    }
}

/// What a connector's own errors are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Codes {
    /// Of a row that is longer than a batch can be.
    pub(crate) too_long: &'static str,
    pub(crate) unreadable: fn(String) -> ConnectorError,
}

/// Rows gathered for a batch.
pub(crate) struct Rows {
    names: Vec<String>,
    write: Vec<Write>,
    /// Where the key's columns are.
    key: Vec<usize>,
    codes: Codes,
    pub(crate) gathered: Vec<Row>,
    bytes: usize,
    rejected: Vec<RejectedRow>,
}

impl Rows {
    pub(crate) fn new(columns: impl Iterator<Item = (String, Write)>, key: &[String], codes: Codes) -> Self {
        let (names, write): (Vec<String>, Vec<Write>) = columns.unzip();
        let position = |name: &String| names.iter().position(|column| column == name);
        Self {
            key: key.iter().filter_map(position).collect(),
            names,
            write,
            codes,
            gathered: Vec::new(),
            bytes: 0,
            rejected: Vec::new(),
        }
    }

    /// The key's values of a row, as the server wrote them.
    pub(crate) fn key(&self, values: &Texts) -> Vec<String> {
        self.key.iter().map(|place| values.get(*place).cloned().flatten().unwrap_or_default()).collect()
    }

    pub(crate) fn key_places(&self) -> &[usize] {
        &self.key
    }

    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    pub(crate) fn push(&mut self, row: Row) {
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
        for (name, value) in self.names.iter().zip(&row.values) {
            let start: String = value.iter().flat_map(|value| value.chars()).take(200).collect();
            raw.push_str(&format!("{name}={start} "));
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
            code: self.codes.too_long,
            reason: format!("the row has {bytes} bytes, {MAX_ROW_BYTES} at most are taken in"),
            raw,
        });
    }

    /// Leaves a row out whose values were not even fetched.
    pub(crate) fn leave_out(&mut self, key: &[String], reason: String) {
        self.rejected.push(RejectedRow {
            place: format!("key {}", key.join(", ")),
            code: self.codes.too_long,
            reason,
            raw: String::new(),
        });
    }

    /// Whether there is room for one more row of these values.
    pub(crate) fn fits(&self, values: &Texts) -> bool {
        let bytes = size(values);
        self.gathered.len() < MAX_BATCH_ROWS && (bytes > MAX_ROW_BYTES || self.bytes + bytes <= MAX_BYTES)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.rejected.is_empty()
    }

    /// The rows gathered so far, one batch after the other: values that came later may have made
    /// more than one of them.
    pub(crate) fn take(&mut self) -> Result<Vec<(RecordBatch, Vec<RejectedRow>)>, ConnectorError> {
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
    pub(crate) fn batch(&self, rows: Vec<Row>) -> Result<RecordBatch, ConnectorError> {
        let mut fields: Vec<Field> =
            self.names.iter().map(|name| Field::new(name, DataType::Utf8, true)).collect();
        let deleted: Vec<bool> = rows.iter().map(|row| row.deleted).collect();
        let mut columns: Vec<Vec<Option<String>>> =
            self.names.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            let mut values = row.values.into_iter();
            for (column, write) in columns.iter_mut().zip(&self.write) {
                column.push(values.next().flatten().map(write));
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
            .map_err(|cause| (self.codes.unreadable)(format!("the rows make no batch: {cause}")))
    }
}

fn size(values: &Texts) -> usize {
    values.iter().map(|value| value.as_ref().map_or(0, String::len) + CELL_BYTES).sum()
}
