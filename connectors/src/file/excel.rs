//! Workbooks. Cells are streamed twice: once to learn the header and which date columns carry a
//! time, once to write the rows; a sheet's declared dimensions are never believed. Dates kept as
//! serial numbers become ISO text. A merged area has its value in its first cell.

use super::config::TableOptions;
use super::csv::NullTexts;
use super::error::{self, MAX_CELL_BYTES, MAX_COLUMNS};
use super::scope::FileEntry;
use super::source::{self, Layout, Packing, read_up_to};
use super::table::{BatchBuilder, Position, RawBatch, Row, Table, TableKind, TableReader, column_names};
use super::{config::Format, sniff};
use crate::error::ConnectorError;
use crate::port::RejectedRow;
use calamine::{
    CellErrorType, Data, DataRef, ExcelDateTime, Reader, SheetType, SheetVisible, Sheets,
    open_workbook_auto_from_rs,
};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Cursor, Read};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// A workbook is parsed in memory: larger ones are refused.
const MAX_WORKBOOK_BYTES: u64 = 128 << 20;
const MAX_UNPACKED_WORKBOOK_BYTES: u64 = 1 << 30;
const SAMPLE_ROWS: usize = 1_000;

type Workbook = Sheets<Cursor<Arc<[u8]>>>;

fn load(
    entry: &FileEntry,
    packing: Packing,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Workbook, ConnectorError> {
    let mut unpacked = source::unpack(entry, packing, options, cancel)?;
    let bytes = read_up_to(&mut unpacked, MAX_WORKBOOK_BYTES as usize + 1)
        .map_err(|cause| error::io(&entry.name, cause))?;
    if bytes.len() as u64 > MAX_WORKBOOK_BYTES {
        return Err(error::bomb(&entry.name, format!("a workbook of more than {MAX_WORKBOOK_BYTES} bytes")));
    }
    if bytes.starts_with(b"PK") {
        check_archive(&entry.name, &bytes)?;
    }
    let bytes: Arc<[u8]> = bytes.into();
    open_workbook_auto_from_rs(Cursor::new(bytes))
        .map_err(|cause| error::broken(&entry.name, "workbook", cause))
}

/// Unpacks every member into nothing, counting: declared sizes may lie.
fn check_archive(name: &str, bytes: &[u8]) -> Result<(), ConnectorError> {
    let number = |at: usize, width: usize| -> usize {
        bytes
            .get(at..at + width)
            .map_or(0, |part| part.iter().rev().fold(0, |sum, byte| (sum << 8) | usize::from(*byte)))
    };
    let Some(end) = memchr::memmem::rfind(bytes, b"PK\x05\x06") else {
        return Err(error::broken(name, "workbook", "it is cut off"));
    };
    let (members, mut at) = (number(end + 10, 2), number(end + 16, 4));
    let mut unpacked = 0;
    for _ in 0..members {
        if bytes.get(at..at + 4) != Some(b"PK\x01\x02") {
            return Err(error::broken(name, "workbook", "its list of members is damaged"));
        }
        let (method, packed, local) = (number(at + 10, 2), number(at + 20, 4), number(at + 42, 4));
        let data = local + 30 + number(local + 26, 2) + number(local + 28, 2);
        let member = bytes.get(data..data.saturating_add(packed).min(bytes.len())).unwrap_or_default();
        unpacked += if method == 8 {
            let limit = MAX_UNPACKED_WORKBOOK_BYTES + 1;
            io::copy(&mut flate2::read::DeflateDecoder::new(member).take(limit), &mut io::sink())
                .map_err(|cause| error::broken(name, "workbook", cause))?
        } else {
            packed as u64
        };
        let ratio_free = unpacked <= 64 << 20;
        if unpacked > MAX_UNPACKED_WORKBOOK_BYTES || (!ratio_free && unpacked / bytes.len() as u64 > 200) {
            return Err(error::bomb(name, format!("{} bytes become more than {unpacked}", bytes.len())));
        }
        at += 46 + number(at + 28, 2) + number(at + 30, 2) + number(at + 32, 2);
    }
    Ok(())
}

/// Sheets that people see, in order; empty for what is no workbook.
pub(crate) fn visible_sheets(
    entry: &FileEntry,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Vec<String>, ConnectorError> {
    let layout = source::inspect(entry, options, cancel)?;
    if layout.format != Format::Excel {
        return Ok(Vec::new());
    }
    Ok(tables(&load(entry, layout.packing, options, cancel)?))
}

fn tables(workbook: &Workbook) -> Vec<String> {
    let sheets = workbook.sheets_metadata().iter();
    sheets
        .filter(|sheet| sheet.visible == SheetVisible::Visible && sheet.typ == SheetType::WorkSheet)
        .map(|sheet| sheet.name.clone())
        .collect()
}

/// A cell as text; a moment still undecided between date and time.
enum Value {
    Text(String),
    Moment(ExcelDateTime),
}

fn number_text(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        format!("{}", number as i64)
    } else {
        format!("{number}")
    }
}

fn error_value(kind: &CellErrorType) -> Option<Value> {
    // "Not available" is no value; any other error is for people to see.
    (!matches!(kind, CellErrorType::NA)).then(|| Value::Text(kind.to_string()))
}

fn value_of_ref(data: &DataRef<'_>) -> Option<Value> {
    Some(Value::Text(match data {
        DataRef::Int(number) => number.to_string(),
        DataRef::Float(number) => number_text(*number),
        DataRef::String(text) | DataRef::DateTimeIso(text) | DataRef::DurationIso(text) => text.clone(),
        DataRef::SharedString(text) => (*text).to_owned(),
        DataRef::Bool(truth) => truth.to_string(),
        DataRef::DateTime(moment) => return Some(Value::Moment(*moment)),
        DataRef::Error(kind) => return error_value(kind),
        DataRef::Empty => return None,
    }))
}

fn value_of(data: &Data) -> Option<Value> {
    Some(Value::Text(match data {
        Data::Int(number) => number.to_string(),
        Data::Float(number) => number_text(*number),
        Data::String(text) | Data::DateTimeIso(text) | Data::DurationIso(text) => text.clone(),
        Data::Bool(truth) => truth.to_string(),
        Data::DateTime(moment) => return Some(Value::Moment(*moment)),
        Data::Error(kind) => return error_value(kind),
        Data::Empty => return None,
    }))
}

/// Calls for every filled cell, row by row.
fn each_cell(
    workbook: &mut Workbook,
    name: &str,
    sheet: &str,
    mut each: impl FnMut(u32, u32, Value) -> Result<(), ConnectorError>,
) -> Result<(), ConnectorError> {
    let broken = |cause: &dyn std::fmt::Display| error::broken(name, "workbook", cause);
    macro_rules! stream {
        ($workbook:expr) => {{
            let mut cells = $workbook.worksheet_cells_reader(sheet).map_err(|cause| broken(&cause))?;
            while let Some(cell) = cells.next_cell().map_err(|cause| broken(&cause))? {
                if let Some(value) = value_of_ref(cell.get_value()) {
                    let (row, column) = cell.get_position();
                    each(row, column, value)?;
                }
            }
            return Ok(());
        }};
    }
    match workbook {
        Sheets::Xlsx(xlsx) => stream!(xlsx),
        Sheets::Xlsb(xlsb) => stream!(xlsb),
        Sheets::Xls(_) | Sheets::Ods(_) => {}
    }
    let range = workbook.worksheet_range(sheet).map_err(|cause| broken(&cause))?;
    let (top, left) = range.start().unwrap_or_default();
    for (row, column, data) in range.used_cells() {
        if let Some(value) = value_of(data) {
            each(top + row as u32, left + column as u32, value)?;
        }
    }
    Ok(())
}

fn moment_text(moment: ExcelDateTime, with_time: bool) -> String {
    let (year, month, day, hour, minute, second, milli) = moment.to_ymd_hms_milli();
    if moment.is_duration() || moment.as_f64() < 1.0 {
        let seconds = (moment.as_f64() * 86_400.0).round() as i64;
        return format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    }
    if !with_time {
        return format!("{year:04}-{month:02}-{day:02}");
    }
    // Serial numbers carry rounding noise below a second.
    let round_up = u64::from(milli >= 500);
    let clock = u64::from(hour) * 3_600 + u64::from(minute) * 60 + u64::from(second) + round_up;
    let clock = clock.min(86_399);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}", clock / 3_600, clock / 60 % 60, clock % 60)
}

/// What the first pass learns.
struct Plan {
    header_row: Option<u32>,
    first_row: u32,
    /// Sheet column → index among the columns.
    places: BTreeMap<u32, usize>,
    columns: Vec<String>,
    with_time: BTreeSet<u32>,
    rows: u64,
}

fn plan(
    workbook: &mut Workbook,
    name: &str,
    sheet: &str,
    options: &TableOptions,
) -> Result<Plan, ConnectorError> {
    const LOOKED_AT: usize = 100;
    let mut head: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
    let mut used = BTreeSet::new();
    let mut with_time = BTreeSet::new();
    let mut last_row = None;
    let mut rows = 0_u64;
    each_cell(workbook, name, sheet, |row, column, value| {
        used.insert(column);
        if used.len() > MAX_COLUMNS {
            return Err(error::too_many_columns(name, used.len()));
        }
        if last_row != Some(row) {
            rows += 1;
            last_row = Some(row);
        }
        if let Value::Moment(moment) = &value
            && !moment.is_duration()
            && moment.as_f64() >= 1.0
            && (moment.as_f64().fract() * 86_400.0).round() >= 1.0
        {
            with_time.insert(column);
        }
        if head.len() < LOOKED_AT || head.contains_key(&row) {
            let text = match value {
                Value::Text(text) => text,
                Value::Moment(moment) => moment_text(moment, false),
            };
            head.entry(row).or_default().insert(column, text);
        }
        Ok(())
    })?;
    // Titles above a table fill fewer cells than its header.
    let usual = head.values().map(BTreeMap::len).max().unwrap_or(0);
    let first_row = head.iter().find(|(_, cells)| cells.len() * 2 >= usual).map(|(row, _)| *row);
    let Some(first_row) = first_row else { return Err(error::empty(&format!("{name}, sheet {sheet}"))) };
    let as_row = |cells: &BTreeMap<u32, String>| -> Row {
        used.iter().map(|column| cells.get(column).cloned()).collect()
    };
    let first = as_row(&head[&first_row]);
    let body: Vec<Row> = head.range(first_row + 1..).map(|(_, cells)| as_row(cells)).collect();
    let has_header =
        options.header.unwrap_or_else(|| sniff::has_header(&first, &body.iter().collect::<Vec<_>>()));
    let columns = if has_header {
        column_names(first.into_iter().map(Option::unwrap_or_default))
    } else {
        column_names(used.iter().map(|_| String::new()))
    };
    let above = head.range(..first_row).count() as u64 + u64::from(has_header);
    Ok(Plan {
        header_row: has_header.then_some(first_row),
        first_row,
        places: used.into_iter().enumerate().map(|(at, column)| (column, at)).collect(),
        columns,
        with_time,
        rows: rows.saturating_sub(above),
    })
}

/// Writes rows from the first that isn't skipped on, calling with each full batch.
struct Writer<'a> {
    plan: &'a Plan,
    nulls: NullTexts,
    row: Row,
    current: Option<u32>,
    skip: u64,
    seen: u64,
    rows: u64,
    builder: BatchBuilder,
    rejected: Vec<RejectedRow>,
    ready: Vec<RawBatch>,
}

impl Writer<'_> {
    fn end_row(&mut self) -> Result<(), ConnectorError> {
        let Some(row) = self.current.take() else { return Ok(()) };
        let cells = std::mem::replace(&mut self.row, vec![None; self.plan.columns.len()]);
        self.seen += 1;
        if self.seen <= self.skip {
            return Ok(());
        }
        let reject = |code, reason: String| RejectedRow {
            place: format!("row {}", row + 1),
            code,
            reason,
            raw: cells
                .iter()
                .flatten()
                .map(|text| text.chars().take(200).collect::<String>())
                .collect::<Vec<_>>()
                .join(" | "),
        };
        if row < self.plan.first_row {
            self.rejected.push(reject(error::ROW_RAGGED, "above the table's header".to_owned()));
        } else if cells.iter().flatten().any(|text| text.len() > MAX_CELL_BYTES) {
            self.rejected
                .push(reject(error::ROW_TOO_LONG, format!("a cell is longer than {MAX_CELL_BYTES} bytes")));
        } else if self.plan.header_row != Some(row) {
            self.builder.push_row(&cells);
            self.rows += 1;
        }
        if self.builder.full() {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), ConnectorError> {
        if self.builder.is_empty() && self.rejected.is_empty() {
            return Ok(());
        }
        let builder = std::mem::replace(&mut self.builder, BatchBuilder::new(&self.plan.columns));
        let position = Position { offset: 0, line: self.seen, rows: self.rows };
        self.ready.push(RawBatch {
            records: builder.finish()?,
            rejected: std::mem::take(&mut self.rejected),
            position,
        });
        Ok(())
    }

    fn cell(&mut self, row: u32, column: u32, value: Value) -> Result<(), ConnectorError> {
        if self.current != Some(row) {
            self.end_row()?;
            self.current = Some(row);
        }
        let text = match value {
            Value::Text(text) => text,
            Value::Moment(moment) => moment_text(moment, self.plan.with_time.contains(&column)),
        };
        if let Some(place) = self.plan.places.get(&column)
            && !self.nulls.is_null(text.as_bytes())
        {
            self.row[*place] = Some(text);
        }
        Ok(())
    }
}

fn batches(
    workbook: &mut Workbook,
    plan: &Plan,
    name: &str,
    sheet: &str,
    options: &TableOptions,
    from: &Position,
) -> Result<Vec<RawBatch>, ConnectorError> {
    let mut writer = Writer {
        plan,
        nulls: NullTexts::new(&options.null_values),
        row: vec![None; plan.columns.len()],
        current: None,
        skip: from.line,
        seen: 0,
        rows: from.rows,
        builder: BatchBuilder::new(&plan.columns),
        rejected: Vec::new(),
        ready: Vec::new(),
    };
    each_cell(workbook, name, sheet, |row, column, value| writer.cell(row, column, value))?;
    writer.end_row()?;
    writer.flush()?;
    Ok(writer.ready)
}

pub(crate) fn open(
    entry: &FileEntry,
    layout: Layout,
    sheet: Option<&str>,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Table, ConnectorError> {
    let mut workbook = load(entry, layout.packing, options, cancel)?;
    let sheet = match sheet.or(options.sheet.as_deref()) {
        Some(wanted) if workbook.sheet_names().iter().any(|name| name == wanted) => wanted.to_owned(),
        Some(wanted) => return Err(error::no_sheet(&entry.name, wanted)),
        None => tables(&workbook).into_iter().next().ok_or_else(|| error::empty(&entry.name))?,
    };
    let plan = plan(&mut workbook, &entry.name, &sheet, options)?;
    let all = batches(&mut workbook, &plan, &entry.name, &sheet, options, &Position::default())?;
    let sample = sample_of(&all, plan.rows as usize);
    let kind = TableKind::Excel { sheet, packing: layout.packing };
    Ok(Table::new(entry, options, plan.columns, sample, Some(plan.rows), kind))
}

fn sample_of(all: &[RawBatch], rows: usize) -> Vec<Row> {
    use arrow::array::{Array, AsArray};
    let step = rows.div_ceil(3 * SAMPLE_ROWS).max(1);
    let mut sample = Vec::new();
    let mut at = 0;
    for batch in all {
        for row in 0..batch.records.num_rows() {
            if at % step == 0 || at + 1 == rows {
                let cells = batch.records.columns().iter().map(|column| {
                    let texts = column.as_string::<i32>();
                    texts.is_valid(row).then(|| texts.value(row).to_owned())
                });
                sample.push(cells.collect());
            }
            at += 1;
        }
    }
    sample
}

struct ReadyBatches(std::vec::IntoIter<RawBatch>);

impl TableReader for ReadyBatches {
    fn next_batch(&mut self) -> Result<Option<RawBatch>, ConnectorError> {
        Ok(self.0.next())
    }
}

pub(crate) fn read(
    entry: &FileEntry,
    packing: Packing,
    sheet: &str,
    options: &TableOptions,
    from: Option<&Position>,
    cancel: &CancellationToken,
) -> Result<Box<dyn TableReader>, ConnectorError> {
    let mut workbook = load(entry, packing, options, cancel)?;
    let plan = plan(&mut workbook, &entry.name, sheet, options)?;
    let ready =
        batches(&mut workbook, &plan, &entry.name, sheet, options, &from.cloned().unwrap_or_default())?;
    Ok(Box::new(ReadyBatches(ready.into_iter())))
}
