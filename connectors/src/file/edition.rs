//! An edition of a stream: its files as they stand at one moment, their joined columns and shape.

use super::body::{self, Body};
use super::config::TableOptions;
use super::error;
use super::infer::Inferrer;
use super::keys;
use super::scope::{FileEntry, FileStream};
use super::table::{Row, Table, TableKind, rows_batch, text_schema};
use crate::error::ConnectorError;
use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow_schema::{DataType, SchemaRef};
use autonomos_domain::schema::{Field, StreamShape};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use tokio_util::sync::CancellationToken;

/// Rows of a preview.
const PREVIEW_ROWS: usize = 3_000;
/// Bytes at head and tail that the content's hash covers.
const HASHED: u64 = 1 << 16;

/// What tells one edition of a file from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileIdentity {
    pub(crate) path: String,
    pub(crate) size: u64,
    pub(crate) modified_ns: u64,
    /// BLAKE3 of head, tail and size; of an object, what its store calls this edition.
    pub(crate) etag: String,
}

pub(crate) fn stamp(entry: &FileEntry) -> Result<(u64, u64), ConnectorError> {
    entry.body.stamp().map_err(|cause| error::io(&entry.name, cause))
}

pub(crate) fn identity(entry: &FileEntry) -> Result<FileIdentity, ConnectorError> {
    let failed = |cause| error::io(&entry.name, cause);
    if let Body::Object(object) = &entry.body {
        let now = object.now().map_err(|cause| body::refused(&entry.name, &cause))?;
        let (size, modified_ns) = now.stamp();
        return Ok(FileIdentity { path: now.to_string(), size, modified_ns, etag: now.edition() });
    }
    let (size, modified_ns) = stamp(entry)?;
    let mut file = entry.body.open().map_err(failed)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&size.to_le_bytes());
    let mut part = Vec::new();
    (&mut file).take(HASHED).read_to_end(&mut part).map_err(failed)?;
    hasher.update(&part);
    if size > HASHED {
        part.clear();
        file.seek(SeekFrom::Start(size - HASHED)).map_err(failed)?;
        file.take(HASHED).read_to_end(&mut part).map_err(failed)?;
        hasher.update(&part);
    }
    let etag = hasher.finalize().to_hex()[..32].to_owned();
    Ok(FileIdentity { path: entry.body.path(), size, modified_ns, etag })
}

pub(crate) fn identities(stream: &FileStream) -> Result<Vec<FileIdentity>, ConnectorError> {
    stream.files.iter().map(identity).collect()
}

pub(crate) struct Edition {
    pub(crate) tables: Vec<Table>,
    /// Of all files together, in the order they first appear.
    pub(crate) columns: Vec<String>,
    pub(crate) schema: SchemaRef,
    pub(crate) shape: StreamShape,
    pub(crate) cursor_fields: Vec<String>,
    pub(crate) estimated_rows: Option<u64>,
    sample: Vec<Row>,
}

impl Edition {
    /// Looks at all files of a stream.
    pub(crate) fn open(
        stream: &FileStream,
        sheet: Option<&str>,
        options: &TableOptions,
        declared_key: Option<&[String]>,
        cancel: &CancellationToken,
    ) -> Result<Self, ConnectorError> {
        let mut tables = Vec::with_capacity(stream.files.len());
        let mut columns: Vec<String> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut inferrers: Vec<Inferrer> = Vec::new();
        let mut sample: Vec<Row> = Vec::new();
        let mut sampled = 0_u64;
        let mut estimated_rows = Some(0);
        let share = (PREVIEW_ROWS / stream.files.len().max(1)).max(1);
        for entry in &stream.files {
            let mut table = match Table::open(entry, sheet, options, cancel) {
                Ok(table) => table,
                // Of many files an empty one is none.
                Err(ConnectorError::Data { code: "AOS-0208", .. }) if stream.files.len() > 1 => continue,
                Err(cause) => return Err(cause),
            };
            for name in &table.columns {
                if !places.contains_key(name) {
                    places.insert(name.clone(), columns.len());
                    columns.push(name.clone());
                    inferrers.push(Inferrer::default());
                }
            }
            if columns.len() > error::MAX_COLUMNS {
                return Err(error::too_many_columns(&stream.name, columns.len()));
            }
            let own: Vec<usize> = table.columns.iter().map(|name| places[name]).collect();
            let rows = std::mem::take(&mut table.sample);
            sampled += rows.len() as u64;
            // All of the sample says what the columns are; an even part of it is shown.
            let step = rows.len().div_ceil(share).max(1);
            for (at, row) in rows.into_iter().enumerate() {
                for (cell, place) in row.iter().zip(&own) {
                    match cell {
                        Some(value) => inferrers[*place].push(value),
                        None => inferrers[*place].push_null(),
                    }
                }
                if at % step == 0 {
                    let mut joined: Row = vec![None; columns.len()];
                    row.into_iter().zip(&own).for_each(|(cell, place)| joined[*place] = cell);
                    sample.push(joined);
                }
            }
            estimated_rows = estimated_rows.zip(table.estimated_rows).map(|(sum, rows)| sum + rows);
            tables.push(table);
        }
        if let (true, Some(first)) = (tables.is_empty(), stream.files.first()) {
            return Err(error::empty(&first.name));
        }
        for row in &mut sample {
            row.resize(columns.len(), None);
        }
        let fields: Vec<Field> =
            columns.iter().zip(inferrers).map(|(name, inferrer)| finish(name, inferrer, sampled)).collect();
        let declared = declared_key.or(options.primary_key.as_deref());
        let primary_key = match declared {
            // A declared key that is gone is for drift to say, not for the guess to paper over.
            Some(key) if key.iter().all(|name| places.contains_key(name)) => key.to_vec(),
            Some(_) => Vec::new(),
            None => keys::primary_key(&stream.name, &fields, &sample),
        };
        let cursor_fields = keys::cursor_fields(&fields);
        let schema = text_schema(&columns);
        let shape = StreamShape { fields, primary_key };
        Ok(Self { tables, columns, schema, shape, cursor_fields, estimated_rows, sample })
    }

    pub(crate) fn preview(&self) -> Result<RecordBatch, ConnectorError> {
        rows_batch(&self.columns, &self.sample)
    }

    /// A file's batch with the columns of all files. Columns that the sample hadn't shown (JSON
    /// alone can bring them) are appended.
    pub(crate) fn conform(&self, records: RecordBatch) -> Result<RecordBatch, ConnectorError> {
        if records.schema().fields() == self.schema.fields() {
            return Ok(records);
        }
        let own = records.schema();
        let mut arrays: Vec<ArrayRef> = Vec::with_capacity(self.columns.len());
        for name in &self.columns {
            arrays.push(match own.index_of(name) {
                Ok(at) => records.column(at).clone(),
                Err(_) => new_null_array(&DataType::Utf8, records.num_rows()),
            });
        }
        let mut names = self.columns.clone();
        for (at, field) in own.fields().iter().enumerate() {
            if !self.columns.contains(field.name()) {
                names.push(field.name().clone());
                arrays.push(records.column(at).clone());
            }
        }
        super::table::record_batch(text_schema(&names), arrays, records.num_rows())
    }
}

/// Rows of files that don't have the column are nulls of it.
fn finish(name: &str, mut inferrer: Inferrer, sampled: u64) -> Field {
    if inferrer.values() + inferrer.nulls() < sampled {
        inferrer.push_null();
    }
    inferrer.finish(name)
}

/// Workbooks with several sheets are several streams: `file/sheet`.
pub(crate) fn expand_sheets(
    streams: Vec<FileStream>,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Vec<(FileStream, Option<String>)> {
    let mut expanded = Vec::with_capacity(streams.len());
    for stream in streams {
        let sheets = match stream.files.as_slice() {
            [entry] => super::excel::visible_sheets(entry, options, cancel).unwrap_or_default(),
            _ => Vec::new(),
        };
        if sheets.len() > 1 && options.sheet.is_none() {
            for sheet in sheets {
                let name = format!("{}/{sheet}", stream.name);
                expanded.push((FileStream { name, files: stream.files.clone() }, Some(sheet)));
            }
        } else {
            expanded.push((stream, None));
        }
    }
    expanded
}

impl TableKind {
    /// For people: what the file was found to be.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Delimited { layout, dialect, .. } => format!(
                "delimited text, delimiter {:?}, {}, {} header",
                dialect.delimiter as char,
                layout.encoding.name(),
                if dialect.header { "with a" } else { "without a" }
            ),
            Self::Json { .. } => "JSON".to_owned(),
            Self::Parquet { .. } => "Parquet".to_owned(),
            Self::Excel { sheet, .. } => format!("workbook, sheet `{sheet}`"),
        }
    }
}
