//! Rows on their way into a batch.

use super::{
    error,
    layout::{Cells, Layout},
};
use crate::{
    error::ConnectorError,
    port::{MAX_BATCH_ROWS, OPERATION, RejectedRow},
};
use arrow::array::StringBuilder;
use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow_schema::{DataType, Field, Schema};
use autonomos_domain::schema::StreamShape;
use std::{collections::HashSet, sync::Arc};

/// A batch stays below what is stored in one piece, even if nothing of it can be compressed: documents
/// of a live collection cannot be counted again, as rows of a file can.
const MAX_BYTES: usize = 640 * 1024;
/// A document beyond this is rejected alone.
const MAX_ROW_BYTES: usize = 600 * 1024;
/// What a value takes besides its text.
const CELL_BYTES: usize = 5;
/// Kept of a document that is rejected.
const RAW_BYTES: usize = 4 * 1024;

/// A document, or that it is gone.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) cells: Cells,
    pub(super) deleted: bool,
}

impl Row {
    fn size(&self, columns: usize) -> usize {
        self.cells.iter().map(|(_, text)| text.len()).sum::<usize>() + columns * CELL_BYTES
    }
}

/// Rows gathered for a batch.
#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) gathered: Vec<Row>,
    bytes: usize,
    rejected: Vec<RejectedRow>,
}

impl Rows {
    /// Whether there is room for one more.
    pub(super) fn fits(&self, row: &Row, layout: &Layout) -> bool {
        let bytes = row.size(layout.columns().len());
        self.gathered.len() < MAX_BATCH_ROWS && (bytes > MAX_ROW_BYTES || self.bytes + bytes <= MAX_BYTES)
    }

    pub(super) fn push(&mut self, row: Row, layout: &Layout) {
        let bytes = row.size(layout.columns().len());
        if bytes > MAX_ROW_BYTES {
            let key = row.cells.first().map_or("", |(_, key)| key.as_str());
            let reason = format!("the document has {bytes} bytes, {MAX_ROW_BYTES} at most are taken in");
            let mut raw = String::new();
            for (place, text) in &row.cells {
                let start: String = text.chars().take(200).collect();
                raw.push_str(&format!("{}={start} ", layout.columns()[*place].name));
                if raw.len() > RAW_BYTES {
                    break;
                }
            }
            self.reject(key, error::DOCUMENT_TOO_LONG, reason, raw);
            return;
        }
        self.bytes += bytes;
        self.gathered.push(row);
    }

    pub(super) fn reject(&mut self, key: &str, code: &'static str, reason: String, mut raw: String) {
        let mut end = raw.len().min(RAW_BYTES);
        while !raw.is_char_boundary(end) {
            end -= 1;
        }
        raw.truncate(end);
        self.rejected.push(RejectedRow { place: format!("document {key}"), code, reason, raw });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.gathered.is_empty() && self.rejected.is_empty()
    }

    /// What was gathered so far.
    pub(super) fn take(
        &mut self,
        layout: &Layout,
        told: &StreamShape,
    ) -> Result<(RecordBatch, Vec<RejectedRow>), ConnectorError> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.gathered);
        let names: HashSet<&str> = told.fields.iter().map(|field| field.name.as_str()).collect();
        let records = records(layout, &rows, |name| names.contains(name))?;
        Ok((records, std::mem::take(&mut self.rejected)))
    }
}

/// A batch of these rows, in all columns that are there.
pub(super) fn batch(layout: &Layout, rows: &[Row]) -> Result<RecordBatch, ConnectorError> {
    let gone: HashSet<&str> =
        layout.columns().iter().filter(|column| column.gone).map(|column| column.name.as_str()).collect();
    records(layout, rows, |name| !gone.contains(name))
}

/// A batch of these rows: the columns that are wanted, and others of which a row has a value.
fn records(
    layout: &Layout,
    rows: &[Row],
    wanted: impl Fn(&str) -> bool,
) -> Result<RecordBatch, ConnectorError> {
    let mut builders: Vec<StringBuilder> = layout.columns().iter().map(|_| StringBuilder::new()).collect();
    let mut lengths = vec![0_usize; builders.len()];
    for (number, row) in rows.iter().enumerate() {
        for (place, text) in &row.cells {
            // Of a name that a document has twice the first counts.
            if lengths[*place] > number {
                continue;
            }
            let builder = &mut builders[*place];
            builder.append_nulls(number - lengths[*place]);
            builder.append_value(text);
            lengths[*place] = number + 1;
        }
    }
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for ((column, mut builder), length) in layout.columns().iter().zip(builders).zip(lengths) {
        if length == 0 && !wanted(&column.name) {
            continue;
        }
        builder.append_nulls(rows.len() - length);
        fields.push(Field::new(&column.name, DataType::Utf8, true));
        arrays.push(Arc::new(builder.finish()));
    }
    if rows.iter().any(|row| row.deleted) {
        fields.push(Field::new(OPERATION, DataType::Utf8, true));
        let said = rows.iter().map(|row| row.deleted.then_some("delete"));
        arrays.push(Arc::new(said.collect::<StringArray>()));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
        .map_err(|cause| error::unreadable(format!("the documents make no batch: {cause}")))
}
