//! What every format is read as: a table of text columns, in batches, with a place to go on from.

use super::config::{Format, TableOptions};
use super::csv::{CsvReader, Dialect, NullTexts};
use super::error::{self, MAX_COLUMNS};
use super::json::Elements;
use super::scope::FileEntry;
use super::source::{self, Layout, Packing};
use super::{excel, json, parquet, text};
use crate::error::ConnectorError;
use crate::port::{MAX_BATCH_BYTES, MAX_BATCH_ROWS, OPERATION, RejectedRow};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{DataType, Field as ArrowField, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A place in a file. Each format uses of it what it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// Bytes of decoded text before it.
    pub(crate) offset: u64,
    /// Line (text) or row number (workbook) it stands at, from 1.
    pub(crate) line: u64,
    /// Rows read so far, rejected ones not counted.
    pub(crate) rows: u64,
}

pub(crate) struct RawBatch {
    pub(crate) records: RecordBatch,
    pub(crate) rejected: Vec<RejectedRow>,
    /// Behind the batch.
    pub(crate) position: Position,
}

pub(crate) trait TableReader: Send {
    fn next_batch(&mut self) -> Result<Option<RawBatch>, ConnectorError>;
}

pub(crate) type Row = Vec<Option<String>>;

/// What was learnt of a file before its first row is taken in.
pub(crate) struct Table {
    pub(crate) columns: Vec<String>,
    /// Rows from head, middle and tail.
    pub(crate) sample: Vec<Row>,
    pub(crate) estimated_rows: Option<u64>,
    pub(crate) kind: TableKind,
    entry: FileEntry,
    options: TableOptions,
}

pub(crate) enum TableKind {
    Delimited { layout: Layout, dialect: Dialect, start: Position },
    Json { layout: Layout, elements: Elements, start: Position },
    Parquet { packing: Packing },
    Excel { sheet: String, packing: Packing },
}

impl Table {
    /// Looks at a file: its format, columns and a sample of rows.
    pub(crate) fn open(
        entry: &FileEntry,
        sheet: Option<&str>,
        options: &TableOptions,
        cancel: &CancellationToken,
    ) -> Result<Self, ConnectorError> {
        let layout = source::inspect(entry, options, cancel)?;
        let table = match layout.format {
            Format::Csv | Format::Tsv => text::open(entry, layout, options, cancel)?,
            Format::Ndjson | Format::Json => json::open(entry, layout, options, cancel)?,
            Format::Parquet => parquet::open(entry, layout, options)?,
            Format::Excel => excel::open(entry, layout, sheet, options, cancel)?,
        };
        if table.columns.len() > MAX_COLUMNS {
            return Err(error::too_many_columns(&entry.name, table.columns.len()));
        }
        Ok(table)
    }

    pub(crate) fn new(
        entry: &FileEntry,
        options: &TableOptions,
        columns: Vec<String>,
        sample: Vec<Row>,
        estimated_rows: Option<u64>,
        kind: TableKind,
    ) -> Self {
        Self { columns, sample, estimated_rows, kind, entry: entry.clone(), options: options.clone() }
    }

    /// Reads from a position, or from the start.
    pub(crate) fn read(
        &self,
        from: Option<&Position>,
        cancel: &CancellationToken,
    ) -> Result<Box<dyn TableReader>, ConnectorError> {
        let nulls = NullTexts::new(&self.options.null_values);
        match &self.kind {
            TableKind::Delimited { layout, dialect, start } => {
                let position = from.unwrap_or(start).clone();
                let source = source::open_text(&self.entry, layout, &self.options, position.offset, cancel)?;
                Ok(Box::new(CsvReader::new(
                    source,
                    &self.entry.name,
                    *dialect,
                    nulls,
                    self.columns.clone(),
                    position,
                )))
            }
            TableKind::Json { layout, elements, start } => {
                let position = from.unwrap_or(start).clone();
                json::read(&self.entry, *layout, *elements, &self.options, &self.columns, position, cancel)
            }
            TableKind::Parquet { packing } => {
                parquet::read(&self.entry, *packing, &self.options, from, cancel)
            }
            TableKind::Excel { sheet, packing } => {
                excel::read(&self.entry, *packing, sheet, &self.options, from, cancel)
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.entry.name
    }
}

/// A column of text under construction.
#[derive(Default)]
struct TextColumn {
    values: Vec<u8>,
    offsets: Vec<i32>,
    /// Filled from the first null on.
    valid: Vec<bool>,
}

/// Builds a batch of text columns; values are UTF-8 already checked by the caller.
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    columns: Vec<TextColumn>,
    rows: usize,
    bytes: usize,
}

pub(crate) fn text_schema(columns: &[String]) -> SchemaRef {
    Arc::new(Schema::new(
        columns.iter().map(|name| ArrowField::new(name, DataType::Utf8, true)).collect::<Vec<_>>(),
    ))
}

impl BatchBuilder {
    pub(crate) fn new(columns: &[String]) -> Self {
        let mut built = Self { schema: text_schema(columns), columns: Vec::new(), rows: 0, bytes: 0 };
        built.columns.resize_with(columns.len(), || TextColumn { offsets: vec![0], ..TextColumn::default() });
        built
    }

    /// A column that the rows so far don't have.
    pub(crate) fn add_column(&mut self, name: &str) {
        let mut names: Vec<String> = self.schema.fields().iter().map(|field| field.name().clone()).collect();
        names.push(name.to_owned());
        self.schema = text_schema(&names);
        self.columns.push(TextColumn {
            values: Vec::new(),
            offsets: vec![0; self.rows + 1],
            valid: vec![false; self.rows],
        });
    }

    pub(crate) fn push(&mut self, column: usize, value: &[u8]) {
        let column = &mut self.columns[column];
        column.values.extend_from_slice(value);
        column.offsets.push(column.values.len() as i32);
        if !column.valid.is_empty() {
            column.valid.push(true);
        }
        self.bytes += value.len();
    }

    pub(crate) fn push_null(&mut self, column: usize) {
        let column = &mut self.columns[column];
        if column.valid.is_empty() {
            column.valid = vec![true; column.offsets.len() - 1];
        }
        column.offsets.push(column.values.len() as i32);
        column.valid.push(false);
    }

    /// Every column must have got its value.
    pub(crate) const fn end_row(&mut self) {
        self.rows += 1;
        self.bytes += 8;
    }

    pub(crate) fn push_row(&mut self, row: &Row) {
        for (column, value) in row.iter().enumerate() {
            match value {
                Some(text) => self.push(column, text.as_bytes()),
                None => self.push_null(column),
            }
        }
        self.end_row();
    }

    pub(crate) const fn full(&self) -> bool {
        self.rows >= MAX_BATCH_ROWS || self.bytes >= MAX_BATCH_BYTES
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(crate) fn finish(self) -> Result<RecordBatch, ConnectorError> {
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for column in self.columns {
            let nulls = (!column.valid.is_empty()).then(|| NullBuffer::from(column.valid));
            let offsets = OffsetBuffer::new(ScalarBuffer::from(column.offsets));
            let array =
                StringArray::try_new(offsets, Buffer::from_vec(column.values), nulls).map_err(internal)?;
            arrays.push(Arc::new(array));
        }
        record_batch(self.schema, arrays, self.rows)
    }
}

pub(crate) fn record_batch(
    schema: SchemaRef,
    arrays: Vec<ArrayRef>,
    rows: usize,
) -> Result<RecordBatch, ConnectorError> {
    RecordBatch::try_new_with_options(schema, arrays, &RecordBatchOptions::new().with_row_count(Some(rows)))
        .map_err(internal)
}

fn internal(cause: impl std::fmt::Display) -> ConnectorError {
    error::broken("the file", "text", cause)
}

/// Rows as a batch.
pub(crate) fn rows_batch(columns: &[String], rows: &[Row]) -> Result<RecordBatch, ConnectorError> {
    let mut builder = BatchBuilder::new(columns);
    for row in rows {
        builder.push_row(row);
    }
    builder.finish()
}

/// Names for columns as they stand in a header: trimmed, never empty, never twice, and none that is
/// [`OPERATION`]: a file's column of that name is no word on what became of its rows.
pub(crate) fn column_names(header: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut taken = std::collections::HashSet::from([OPERATION.to_owned()]);
    let header: Vec<String> =
        header.into_iter().map(|name| name.trim().trim_start_matches('\u{feff}').to_owned()).collect();
    let given: std::collections::HashSet<String> = header.iter().cloned().collect();
    let mut names = Vec::with_capacity(header.len());
    for (at, name) in header.into_iter().enumerate() {
        let wanted = if name.is_empty() { format!("column_{}", at + 1) } else { name };
        let mut name = wanted.clone();
        let mut number = 2;
        while taken.contains(&name) || (name != wanted && given.contains(&name)) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        taken.insert(name.clone());
        names.push(name);
    }
    names
}
