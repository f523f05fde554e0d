//! Parquet, as text columns like every other format: numbers and times in their plain form, nested
//! values as JSON.

use super::body::{Body, Object};
use super::config::TableOptions;
use super::error::{self, MAX_CELL_BYTES};
use super::scope::FileEntry;
use super::source::{self, Layout, Packing, read_up_to};
use super::table::{Position, RawBatch, Row, Table, TableKind, TableReader, record_batch, text_schema};
use crate::error::ConnectorError;
use crate::port::{MAX_BATCH_BYTES, RejectedRow};
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::{cast, filter_record_batch, nullif};
use arrow::json::writer::{LineDelimited, WriterBuilder};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use std::fs::File;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

const BATCH_ROWS: usize = 8_192;
const SAMPLE_ROWS: usize = 1_000;
/// Parquet needs to jump: one packed from outside is unpacked in memory, up to this size.
const MAX_UNPACKED_BYTES: u64 = 256 << 20;

/// The part of a file that is to be read.
struct Window {
    offset: u64,
    limit: Option<usize>,
}

enum Content {
    File(File),
    Object(Object),
    Memory(Bytes),
}

fn content(entry: &FileEntry, packing: Packing, options: &TableOptions) -> Result<Content, ConnectorError> {
    let failed = |cause| error::io(&entry.name, cause);
    if packing == Packing::Plain {
        return Ok(match &entry.body {
            Body::File(path) => Content::File(File::open(path).map_err(failed)?),
            Body::Object(object) => Content::Object(object.clone()),
        });
    }
    let mut unpacked = source::unpack(entry, packing, options, &CancellationToken::new())?;
    let bytes = read_up_to(&mut unpacked, MAX_UNPACKED_BYTES as usize + 1).map_err(failed)?;
    if bytes.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(error::bomb(
            &entry.name,
            format!("a packed Parquet file of more than {MAX_UNPACKED_BYTES} bytes"),
        ));
    }
    Ok(Content::Memory(bytes.into()))
}

fn reader(
    entry: &FileEntry,
    content: Content,
    window: &Window,
) -> Result<(u64, ParquetRecordBatchReader), ConnectorError> {
    let broken = |cause: &dyn std::fmt::Display| error::broken(&entry.name, "Parquet", cause);
    macro_rules! build {
        ($input:expr) => {{
            let mut builder =
                ParquetRecordBatchReaderBuilder::try_new($input).map_err(|cause| broken(&cause))?;
            let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
            builder = builder.with_batch_size(BATCH_ROWS).with_offset(window.offset as usize);
            if let Some(limit) = window.limit {
                builder = builder.with_limit(limit);
            }
            (rows, builder.build().map_err(|cause| broken(&cause))?)
        }};
    }
    Ok(match content {
        Content::File(file) => build!(file),
        Content::Object(object) => build!(object),
        Content::Memory(bytes) => build!(bytes),
    })
}

pub(crate) fn open(
    entry: &FileEntry,
    layout: Layout,
    options: &TableOptions,
) -> Result<Table, ConnectorError> {
    let take = |offset: u64| -> Result<(u64, Vec<String>, Vec<Row>), ConnectorError> {
        let window = Window { offset, limit: Some(SAMPLE_ROWS) };
        let (total, batches) = reader(entry, content(entry, layout.packing, options)?, &window)?;
        let columns = batches_columns(&batches);
        let mut rows = Vec::new();
        for batch in batches {
            let batch = batch.map_err(|cause| error::broken(&entry.name, "Parquet", cause))?;
            rows.extend(texts_of(&as_text(&entry.name, &batch)?));
        }
        Ok((total, columns, rows))
    };
    let (total, columns, mut sample) = take(0)?;
    let mut taken = sample.len() as u64;
    for offset in [total / 2, total.saturating_sub(SAMPLE_ROWS as u64)] {
        let offset = offset.max(taken);
        if offset < total {
            let (_, _, rows) = take(offset)?;
            taken = offset + rows.len() as u64;
            sample.extend(rows);
        }
    }
    Ok(Table::new(
        entry,
        options,
        columns,
        sample,
        Some(total),
        TableKind::Parquet { packing: layout.packing },
    ))
}

fn batches_columns(batches: &ParquetRecordBatchReader) -> Vec<String> {
    use arrow::array::RecordBatchReader;
    super::table::column_names(batches.schema().fields().iter().map(|field| field.name().clone()))
}

fn texts_of(batch: &RecordBatch) -> Vec<Row> {
    (0..batch.num_rows())
        .map(|row| {
            let cells = batch.columns().iter().map(|column| {
                let texts = column.as_string::<i32>();
                texts.is_valid(row).then(|| texts.value(row).to_owned())
            });
            cells.collect()
        })
        .collect()
}

pub(crate) fn read(
    entry: &FileEntry,
    packing: Packing,
    options: &TableOptions,
    from: Option<&Position>,
    cancel: &CancellationToken,
) -> Result<Box<dyn TableReader>, ConnectorError> {
    let position = from.cloned().unwrap_or_default();
    let window = Window { offset: position.line, limit: None };
    let (_, batches) = reader(entry, content(entry, packing, options)?, &window)?;
    Ok(Box::new(ParquetReader {
        name: entry.name.clone(),
        batches,
        position,
        waiting: None,
        cancel: cancel.clone(),
    }))
}

struct ParquetReader {
    name: String,
    batches: ParquetRecordBatchReader,
    /// `line` counts the file's rows, rejected ones too.
    position: Position,
    /// The rest of a batch that was too large for one.
    waiting: Option<RecordBatch>,
    cancel: CancellationToken,
}

impl TableReader for ParquetReader {
    fn next_batch(&mut self) -> Result<Option<RawBatch>, ConnectorError> {
        if self.cancel.is_cancelled() {
            return Err(ConnectorError::Cancelled);
        }
        let batch = match self.waiting.take() {
            Some(rest) => rest,
            None => match self.batches.next() {
                None => return Ok(None),
                Some(batch) => {
                    as_text(&self.name, &batch.map_err(|cause| error::broken(&self.name, "Parquet", cause))?)?
                }
            },
        };
        let rows = rows_that_fit(&batch);
        if rows < batch.num_rows() {
            self.waiting = Some(batch.slice(rows, batch.num_rows() - rows));
        }
        let (records, rejected) = self.without_huge(batch.slice(0, rows))?;
        self.position.line += rows as u64;
        self.position.rows += records.num_rows() as u64;
        Ok(Some(RawBatch { records, rejected, position: self.position.clone() }))
    }
}

/// Rows from the start that stay within a batch's bytes; at least one.
fn rows_that_fit(batch: &RecordBatch) -> usize {
    let columns: Vec<&StringArray> = batch.columns().iter().map(AsArray::as_string).collect();
    let bytes_to = |row: usize| -> i64 {
        columns
            .iter()
            .map(|column| i64::from(column.value_offsets()[row]) - i64::from(column.value_offsets()[0]))
            .sum()
    };
    if bytes_to(batch.num_rows()) <= MAX_BATCH_BYTES as i64 {
        return batch.num_rows();
    }
    let fitting = (1..=batch.num_rows())
        .collect::<Vec<_>>()
        .partition_point(|row| bytes_to(*row) <= MAX_BATCH_BYTES as i64);
    fitting.max(1)
}

impl ParquetReader {
    fn without_huge(&self, batch: RecordBatch) -> Result<(RecordBatch, Vec<RejectedRow>), ConnectorError> {
        let fits = |row: usize| {
            batch
                .columns()
                .iter()
                .all(|column| column.as_string::<i32>().value_length(row) as usize <= MAX_CELL_BYTES)
        };
        let kept: Vec<bool> = (0..batch.num_rows()).map(fits).collect();
        if kept.iter().all(|keep| *keep) {
            return Ok((batch, Vec::new()));
        }
        let rejected = kept
            .iter()
            .enumerate()
            .filter(|(_, keep)| !**keep)
            .map(|(row, _)| RejectedRow {
                place: format!("row {}", self.position.line + row as u64 + 1),
                code: error::ROW_TOO_LONG,
                reason: format!("a cell is longer than {MAX_CELL_BYTES} bytes"),
                raw: batch
                    .columns()
                    .iter()
                    .map(|column| column.as_string::<i32>().value(row).chars().take(200).collect::<String>())
                    .collect::<Vec<_>>()
                    .join(" | "),
            })
            .collect();
        let batch = filter_record_batch(&batch, &BooleanArray::from(kept))
            .map_err(|cause| error::broken(&self.name, "Parquet", cause))?;
        Ok((batch, rejected))
    }
}

fn as_text(name: &str, batch: &RecordBatch) -> Result<RecordBatch, ConnectorError> {
    let mut arrays: Vec<ArrayRef> = Vec::with_capacity(batch.num_columns());
    for column in batch.columns() {
        arrays.push(text_column(column).map_err(|cause| error::broken(name, "Parquet", cause))?);
    }
    let names = super::table::column_names(batch.schema().fields().iter().map(|field| field.name().clone()));
    record_batch(text_schema(&names), arrays, batch.num_rows())
}

fn text_column(column: &ArrayRef) -> Result<ArrayRef, arrow_schema::ArrowError> {
    match column.data_type() {
        DataType::Utf8 => Ok(column.clone()),
        DataType::Null => Ok(arrow::array::new_null_array(&DataType::Utf8, column.len())),
        DataType::Binary | DataType::LargeBinary | DataType::FixedSizeBinary(_) | DataType::BinaryView => {
            let binary = cast(column, &DataType::LargeBinary)?;
            let binary = binary.as_binary::<i64>();
            Ok(Arc::new(binary.iter().map(|value| value.map(hex)).collect::<StringArray>()))
        }
        DataType::Float16 | DataType::Float32 | DataType::Float64 => {
            // "Not a number" is how data frames write a missing number.
            let text = cast(column, &DataType::Utf8)?;
            let numbers = cast(column, &DataType::Float64)?;
            let numbers: &Float64Array = numbers.as_primitive();
            let missing: BooleanArray =
                numbers.iter().map(|number| Some(number.is_some_and(f64::is_nan))).collect();
            nullif(&text, &missing)
        }
        DataType::Timestamp(unit, Some(_)) => {
            // Instants are stored in UTC, whatever zone they are to be shown in.
            let instants = cast(&cast(column, &DataType::Int64)?, &DataType::Timestamp(*unit, None))?;
            let text = cast(&instants, &DataType::Utf8)?;
            let text = text.as_string::<i32>().iter().map(|value| value.map(|text| format!("{text}Z")));
            Ok(Arc::new(text.collect::<StringArray>()))
        }
        nested if nested.is_nested() => json_column(column),
        _ => cast(column, &DataType::Utf8),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Nested values as JSON, one line each.
fn json_column(column: &ArrayRef) -> Result<ArrayRef, arrow_schema::ArrowError> {
    let field = arrow_schema::Field::new("v", column.data_type().clone(), true);
    let alone = RecordBatch::try_new(Arc::new(arrow_schema::Schema::new(vec![field])), vec![column.clone()])?;
    let mut written = Vec::new();
    let mut writer = WriterBuilder::new().build::<_, LineDelimited>(&mut written);
    writer.write(&alone)?;
    writer.finish()?;
    drop(writer);
    let text = String::from_utf8_lossy(&written);
    let values =
        text.lines().map(|line| line.strip_prefix("{\"v\":").and_then(|rest| rest.strip_suffix('}')));
    Ok(Arc::new(values.collect::<StringArray>()))
}
