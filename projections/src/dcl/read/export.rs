//! Exports of a whole view. Equal views give equal bytes: a total order, one text form for each value,
//! batches of a fixed size, and nothing in them that depends on where a commit stood in the log.

use super::{
    ByteStream, ExportFormat, Result, Sort,
    view::{Reader, View, text_of},
};
use crate::{
    dcl::{
        Instance,
        tables::{self, ident, value_column},
    },
    error::ProjectionError,
};
use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Int64Array, RecordBatch,
        StringArray, TimestampMicrosecondArray,
    },
    compute::BatchCoalescer,
    datatypes::{Date32Type, Decimal128Type, Int64Type, TimestampMicrosecondType},
    ipc::writer::StreamWriter,
};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use autonomos_domain::ontology::CanonicalType;
use bytes::Bytes;
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::{EnabledStatistics, WriterProperties},
};
use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};
use tokio::sync::mpsc;

/// Rows written at a time.
const BATCH_ROWS: usize = 8192;
/// Rows of one Parquet row group.
const GROUP_ROWS: usize = 131_072;
/// Bytes gathered before they are handed on.
const PIECE: usize = 1 << 18;

/// What may be exported of a view, decided before the first byte is sent.
pub(super) struct Plan {
    sql: String,
    format: ExportFormat,
    kinds: Vec<Option<CanonicalType>>,
    names: Vec<String>,
}

impl Plan {
    pub(super) fn new(view: &View, format: ExportFormat, sort: &[Sort]) -> Result<Self> {
        let as_text = matches!(format, ExportFormat::Csv | ExportFormat::Ndjson);
        let mut names = vec!["id".to_owned()];
        let mut columns = vec!["CAST(u.id AS VARCHAR) AS id".to_owned()];
        let mut kinds = vec![None];
        for field in &view.entity.fields {
            let column = format!("u.{}", ident(&field.name));
            let shown = if as_text { text_of(field.canonical_type, &column) } else { column };
            columns.push(format!("{shown} AS {}", ident(&field.name)));
            names.push(field.name.clone());
            kinds.push(Some(field.canonical_type));
        }
        columns.push("u._sources".to_owned());
        columns.push(format!("{} AS _updated_at", text_of(CanonicalType::Timestamp, "c.\"at\"")));
        columns.push("u._held".to_owned());
        for name in ["_sources", "_updated_at", "_held"] {
            names.push(name.to_owned());
            kinds.push(None);
        }
        let sql = format!(
            "SELECT {} FROM ({}) u LEFT JOIN commit_times c ON c.seq = u.ver ORDER BY {}",
            columns.join(", "),
            rows_with_sources(view),
            view.order_of(sort, "u.")?
        );
        Ok(Self { sql, format, kinds, names })
    }
}

/// The view's rows with their sources and held fields. Only rows of several records are grouped.
fn rows_with_sources(view: &View) -> String {
    if !view.exists() {
        return format!(
            "SELECT *, CAST('[]' AS VARCHAR) AS _sources, CAST('[]' AS VARCHAR) AS _held FROM ({})",
            view.rows()
        );
    }
    let fields = |alias: &str| -> String {
        view.entity
            .fields
            .iter()
            .map(|field| {
                let column = if view.has(&format!("f_{}", field.name)) {
                    format!("{alias}.{}", value_column(&field.name))
                } else {
                    format!("CAST(NULL AS {})", tables::sql_type(field.canonical_type))
                };
                format!("{column} AS {}", ident(&field.name))
            })
            .collect::<Vec<_>>()
            .join(", ")
    };
    // Named one by one: the tables of the past have a column more.
    let mut known = String::new();
    for field in view.entity.fields.iter().filter(|field| view.has(&format!("f_{}", field.name))) {
        known += &format!(", {}", value_column(&field.name));
    }
    let source =
        "{'connection_id': CAST(f.connection_id AS VARCHAR), 'stream': f.stream, 'source_id': r.source_id}";
    let held = "coalesce(r.held, CAST([] AS VARCHAR[]))";
    format!(
        "SELECT r.uid AS id, r.\"from\" AS ver, {}, CAST(to_json([{source}]) AS VARCHAR) AS _sources, \
         CAST(to_json(list_sort({held})) AS VARCHAR) AS _held \
         FROM ({}) r JOIN feeds f ON f.feed = r.feed \
         UNION ALL \
         SELECT m.uid, greatest(m.\"from\", g.ver), {}, g._sources, g._held FROM ({}) m JOIN ( \
           SELECT r.uid, max(r.\"from\") AS ver, \
             CAST(to_json(list({source} ORDER BY r.\"first\", r.sid)) AS VARCHAR) AS _sources, \
             CAST(to_json(list_sort(list_distinct(flatten(list({held}))))) AS VARCHAR) AS _held \
           FROM ({}) r JOIN feeds f ON f.feed = r.feed GROUP BY r.uid) g ON g.uid = m.uid",
        fields("r"),
        view.records(&format!("uid, feed, source_id, held, \"from\"{known}"), "solo"),
        fields("m"),
        view.merged(&format!("uid, \"from\"{known}"), "true"),
        view.records("uid, sid, \"first\", feed, source_id, held, \"from\"", "NOT solo"),
    )
}

/// Runs the plan on a thread of its own; the stream ends with an error if it fails half way.
pub(super) fn stream(instance: Arc<Instance>, reader: Reader, plan: Plan) -> ByteStream {
    let (sender, mut receiver) = mpsc::channel::<Result<Bytes>>(4);
    let failure = sender.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = write(&reader, &plan, &sender) {
            // Nobody listens any more when this fails.
            let _ = failure.blocking_send(Err(error));
        }
        // The file stays open as long as it is read.
        drop(reader);
        drop(instance);
    });
    // Asked again after its end it ends again: the compression of bodies does that.
    Box::pin(futures::stream::poll_fn(move |context| receiver.poll_recv(context)))
}

/// Gathers what is written and hands it on in pieces.
#[derive(Clone)]
struct Pieces {
    gathered: Arc<Mutex<Vec<u8>>>,
    sender: mpsc::Sender<Result<Bytes>>,
}

impl Pieces {
    fn send(&self, at_least: usize) -> io::Result<()> {
        let mut gathered = self.gathered.lock().map_err(|_| io::Error::other("a writer failed"))?;
        if gathered.len() < at_least.max(1) {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut *gathered));
        drop(gathered);
        self.sender.blocking_send(Ok(piece)).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.lock().map_err(|_| io::Error::other("a writer failed"))?.extend_from_slice(bytes);
        self.send(PIECE)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn failed(error: impl std::fmt::Display) -> ProjectionError {
    ProjectionError::Export(error.to_string())
}

fn write(reader: &Reader, plan: &Plan, sender: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let mut statement = reader.connection.prepare(&plan.sql)?;
    drop(statement.stream_arrow([])?);
    let pieces = Pieces { gathered: Arc::default(), sender: sender.clone() };
    let found = statement.schema();
    let schema = schema_of(plan, &found);
    let mut rows = BatchCoalescer::new(Arc::clone(&schema), BATCH_ROWS);
    let mut sink = Sink::new(plan, &schema, pieces.clone())?;
    while let Some(array) = statement.step()? {
        let batch = RecordBatch::try_new(Arc::clone(&schema), array.columns().to_vec()).map_err(failed)?;
        rows.push_batch(batch).map_err(failed)?;
        while let Some(batch) = rows.next_completed_batch() {
            sink.write(&batch)?;
        }
    }
    rows.finish_buffered_batch().map_err(failed)?;
    while let Some(batch) = rows.next_completed_batch() {
        sink.write(&batch)?;
    }
    sink.finish()?;
    pieces.send(0).map_err(failed)
}

/// Column names as planned, types as found, all nullable: the same whatever the query's plan was.
fn schema_of(plan: &Plan, found: &Schema) -> SchemaRef {
    let fields: Vec<Field> = plan
        .names
        .iter()
        .zip(found.fields())
        .map(|(name, field)| Field::new(name, field.data_type().clone(), true))
        .collect();
    Arc::new(Schema::new(fields))
}

enum Sink {
    Csv(Pieces),
    Ndjson(Pieces, Vec<(String, Option<CanonicalType>)>),
    Arrow(StreamWriter<Pieces>),
    Parquet(Box<ArrowWriter<Pieces>>),
}

impl Sink {
    fn new(plan: &Plan, schema: &SchemaRef, mut pieces: Pieces) -> Result<Self> {
        Ok(match plan.format {
            ExportFormat::Csv => {
                let names: Vec<String> = plan.names.iter().map(|name| csv_cell(name)).collect();
                writeln!(pieces, "{}\r", names.join(",")).map_err(failed)?;
                Self::Csv(pieces)
            }
            ExportFormat::Ndjson => {
                let columns = plan.names.iter().cloned().zip(plan.kinds.iter().copied());
                Self::Ndjson(pieces, columns.collect())
            }
            ExportFormat::Arrow => Self::Arrow(StreamWriter::try_new(pieces, schema).map_err(failed)?),
            ExportFormat::Parquet => {
                let properties = WriterProperties::builder()
                    .set_created_by("autonomos".to_owned())
                    .set_compression(Compression::ZSTD(ZstdLevel::try_new(3).map_err(failed)?))
                    .set_statistics_enabled(EnabledStatistics::Chunk)
                    .set_max_row_group_row_count(Some(GROUP_ROWS))
                    .build();
                let writer =
                    ArrowWriter::try_new(pieces, Arc::clone(schema), Some(properties)).map_err(failed)?;
                Self::Parquet(Box::new(writer))
            }
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        match self {
            Self::Csv(pieces) => {
                let mut text = String::new();
                for row in 0..batch.num_rows() {
                    for (index, column) in batch.columns().iter().enumerate() {
                        if index > 0 {
                            text.push(',');
                        }
                        if let Some(value) = cell(column, row) {
                            text.push_str(&csv_cell(value));
                        }
                    }
                    text.push_str("\r\n");
                }
                pieces.write_all(text.as_bytes()).map_err(failed)
            }
            Self::Ndjson(pieces, columns) => {
                let mut text = String::new();
                for row in 0..batch.num_rows() {
                    for (index, (column, (name, kind))) in batch.columns().iter().zip(&*columns).enumerate() {
                        text.push(if index == 0 { '{' } else { ',' });
                        text.push_str(&serde_json::Value::from(name.as_str()).to_string());
                        text.push(':');
                        json_cell(&mut text, name, *kind, cell(column, row));
                    }
                    text.push_str("}\n");
                }
                pieces.write_all(text.as_bytes()).map_err(failed)
            }
            Self::Arrow(writer) => writer.write(&same_bytes(batch)?).map_err(failed),
            Self::Parquet(writer) => writer.write(batch).map_err(failed),
        }
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::Csv(_) | Self::Ndjson(..) => Ok(()),
            Self::Arrow(mut writer) => writer.finish().map_err(failed),
            Self::Parquet(writer) => writer.close().map(drop).map_err(failed),
        }
    }
}

/// The batch with its arrays made anew from their values: what lies under a null is whatever the
/// engine's memory held, and would be written too.
fn same_bytes(batch: &RecordBatch) -> Result<RecordBatch> {
    let columns = batch.columns().iter().map(anew).collect::<Result<_>>()?;
    RecordBatch::try_new(batch.schema(), columns).map_err(failed)
}

fn anew(column: &ArrayRef) -> Result<ArrayRef> {
    let kind = column.data_type();
    Ok(match kind {
        DataType::Utf8 => Arc::new(column.as_string::<i32>().iter().collect::<StringArray>()),
        DataType::Boolean => Arc::new(column.as_boolean().iter().collect::<BooleanArray>()),
        DataType::Int64 => Arc::new(column.as_primitive::<Int64Type>().iter().collect::<Int64Array>()),
        DataType::Date32 => Arc::new(column.as_primitive::<Date32Type>().iter().collect::<Date32Array>()),
        DataType::Decimal128(..) => Arc::new(
            column
                .as_primitive::<Decimal128Type>()
                .iter()
                .collect::<Decimal128Array>()
                .with_data_type(kind.clone()),
        ),
        DataType::Timestamp(TimeUnit::Microsecond, _) => Arc::new(
            column
                .as_primitive::<TimestampMicrosecondType>()
                .iter()
                .collect::<TimestampMicrosecondArray>()
                .with_data_type(kind.clone()),
        ),
        other => return Err(ProjectionError::Export(format!("a column has the unexpected type {other}"))),
    })
}

/// A text column's value.
fn cell(column: &Arc<dyn Array>, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    match column.data_type() {
        DataType::Utf8 => Some(column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => Some(column.as_string::<i64>().value(row)),
        DataType::Utf8View => Some(column.as_string_view().value(row)),
        _ => None,
    }
}

/// Quoted where RFC 4180 asks for it; the empty text is quoted, so that it is not null.
fn csv_cell(text: &str) -> String {
    if text.is_empty() || text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

fn json_cell(text: &mut String, name: &str, kind: Option<CanonicalType>, value: Option<&str>) {
    let Some(value) = value else {
        text.push_str("null");
        return;
    };
    let bare = matches!(kind, Some(CanonicalType::Integer | CanonicalType::Decimal | CanonicalType::Boolean))
        || name == "_sources"
        || name == "_held";
    if bare {
        text.push_str(value);
    } else {
        text.push_str(&serde_json::Value::from(value).to_string());
    }
}
