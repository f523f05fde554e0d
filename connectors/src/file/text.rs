//! Delimited text before its first row is taken in: where the samples lie, the dialect, the header.

use super::config::{Format, TableOptions};
use super::csv::{Dialect, NullTexts, Parsed, Span, is_blank, parse_record, record_texts};
use super::error::{self, MAX_COLUMNS, MAX_ROW_BYTES};
use super::scope::FileEntry;
use super::sniff;
use super::source::{self, Layout, read_up_to};
use super::table::{Position, Row, Table, TableKind, column_names};
use crate::error::ConnectorError;
use tokio_util::sync::CancellationToken;

/// Bytes of each sample.
const BLOCK: usize = 1 << 18;
/// Sampling a packed file ends here; the last block seen stands for the tail.
const MAX_SAMPLED: u64 = 1 << 30;
/// Rows taken from each sample.
const ROWS_PER_BLOCK: usize = 1_000;

/// Pieces of a file's decoded text.
pub(crate) struct Blocks {
    pub(crate) head: Vec<u8>,
    /// The head is the whole file.
    pub(crate) whole: bool,
    /// From further on, starting anywhere: middle first, then tail (which ends with the file).
    pub(crate) later: Vec<Vec<u8>>,
    /// Bytes of the decoded text, where it is known.
    pub(crate) total: Option<u64>,
}

/// Takes head, middle and tail: by seeking where that is possible, else in one pass.
pub(crate) fn blocks(
    entry: &FileEntry,
    layout: &Layout,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Blocks, ConnectorError> {
    let failed = |cause| error::io(&entry.name, cause);
    let mut stream = source::open_text(entry, layout, options, 0, cancel)?;
    let mut head = read_up_to(&mut stream, BLOCK).map_err(failed)?;
    // A first row may be longer than a block.
    if head.len() == BLOCK && memchr::memchr2(b'\n', b'\r', &head).is_none() {
        head.extend(read_up_to(&mut stream, MAX_ROW_BYTES).map_err(failed)?);
    }
    if layout.seekable() {
        let (size, _) = entry.body.stamp().map_err(failed)?;
        let size = size.saturating_sub(layout.mark);
        // No row is sampled twice: keys are guessed from values that don't repeat.
        let mut taken = head.len() as u64;
        let mut later = Vec::new();
        for at in [size / 2, size.saturating_sub(BLOCK as u64)] {
            let at = at.max(taken);
            if at < size {
                let mut stream = source::open_text(entry, layout, options, at, cancel)?;
                later.push(read_up_to(&mut stream, BLOCK).map_err(failed)?);
                taken = at + BLOCK as u64;
            }
        }
        return Ok(Blocks { whole: head.len() as u64 >= size, head, later, total: Some(size) });
    }
    let (mut middle, mut last, mut tail) = (Vec::new(), Vec::new(), Vec::new());
    let mut seen = head.len() as u64;
    let mut take_middle_at = seen * 2;
    let mut middle_ends = 0;
    let mut ended = false;
    while seen < MAX_SAMPLED {
        let block = read_up_to(&mut stream, BLOCK).map_err(failed)?;
        if block.is_empty() {
            ended = true;
            break;
        }
        seen += block.len() as u64;
        (last, tail) = (tail, block);
        if seen >= take_middle_at {
            middle.clone_from(&tail);
            middle_ends = seen;
            take_middle_at = seen * 2;
        }
    }
    let tail = if tail.len() < BLOCK { [last, tail].concat() } else { tail };
    if middle_ends + tail.len() as u64 > seen {
        middle.clear();
    }
    let later: Vec<Vec<u8>> = [middle, tail].into_iter().filter(|block| !block.is_empty()).collect();
    Ok(Blocks { whole: ended && later.is_empty(), head, later, total: ended.then_some(seen) })
}

/// The records of a block, the cut-off last one left out unless `last`. Blank lines are skipped.
pub(crate) fn records<'a>(
    block: &'a [u8],
    last: bool,
    dialect: Dialect,
    most: usize,
    mut each: impl FnMut(&'a [u8], &[Span]),
) -> usize {
    let mut spans = Vec::new();
    let mut at = 0;
    let mut taken = 0;
    while at < block.len() && taken < most {
        let Parsed::Record { length, .. } = parse_record(&block[at..], last, dialect, &mut spans) else {
            break;
        };
        let record = &block[at..at + length];
        at += length;
        if !is_blank(record) {
            each(record, &spans);
            taken += 1;
        }
    }
    at
}

/// Rows of a block that starts anywhere. It may start inside quotes: of both readings the one that
/// gives more rows of the right width is taken, and neither if most rows don't fit.
fn later_rows(block: &[u8], last: bool, dialect: Dialect, columns: usize, nulls: &NullTexts) -> Vec<Row> {
    let line = |bytes: &[u8]| memchr::memchr(dialect.newline, bytes).map_or(bytes.len(), |at| at + 1);
    let outside = &block[line(block)..];
    let inside = memchr::memchr(dialect.quote, block).map(|at| {
        let rest = &block[at + 1..];
        &rest[line(rest)..]
    });
    let mut best: (usize, Vec<Row>) = (0, Vec::new());
    for start in [Some(outside), inside].into_iter().flatten() {
        let mut rows = Vec::new();
        let mut misfits = 0;
        records(start, last, dialect, usize::MAX, |record, spans| {
            if spans.len() == columns && std::str::from_utf8(record).is_ok() {
                rows.push(record_texts(record, spans, dialect, nulls));
            } else {
                misfits += 1;
            }
        });
        if rows.len() > best.1.len() && rows.len() >= misfits * 4 {
            best = (misfits, rows);
        }
    }
    best.1
}

/// Looks at a file of delimited text.
pub(crate) fn open(
    entry: &FileEntry,
    layout: Layout,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Table, ConnectorError> {
    let blocks = blocks(entry, &layout, options, cancel)?;
    let nulls = NullTexts::new(&options.null_values);
    let mut dialect = sniff::dialect(&blocks.head, blocks.whole, options, layout.format == Format::Tsv);
    let mut head_rows: Vec<(usize, Row)> = Vec::new();
    let mut first = 0;
    // A small file is its own sample.
    let most = if blocks.whole { usize::MAX } else { ROWS_PER_BLOCK + 1 };
    let sampled = records(&blocks.head, blocks.whole, dialect, most, |record, spans| {
        if head_rows.is_empty() {
            first = record.len();
        }
        // One record beyond the limit is enough to refuse the file.
        if spans.len() <= MAX_COLUMNS * 4 {
            head_rows.push((record.len(), record_texts(record, spans, dialect, &nulls)));
        } else {
            head_rows.push((record.len(), vec![None; spans.len()]));
        }
    });
    let Some((_, header)) = head_rows.first() else {
        return Err(match blocks.head.len() {
            length if length > MAX_ROW_BYTES => {
                error::broken(&entry.name, "text", "its first row has no end")
            }
            _ if blocks.head.iter().all(u8::is_ascii_whitespace) => error::empty(&entry.name),
            _ => error::broken(&entry.name, "text", "a quote in its first row is never closed"),
        });
    };
    if header.len() > MAX_COLUMNS {
        return Err(error::too_many_columns(&entry.name, header.len()));
    }
    dialect.header = options.header.unwrap_or_else(|| {
        let body: Vec<&Row> = head_rows[1..].iter().map(|(_, row)| row).take(200).collect();
        sniff::has_header(header, &body)
    });
    // Without a header the width is what most rows have.
    let width = if dialect.header { header.len() } else { usual_width(&head_rows) };
    let columns = if dialect.header {
        column_names(header.iter().map(|name| name.clone().unwrap_or_default()))
    } else {
        column_names((0..width).map(|_| String::new()))
    };
    let start = if dialect.header {
        position_behind_first(&blocks.head, first, dialect)
    } else {
        Position { offset: 0, line: 1, rows: 0 }
    };
    let count = head_rows.len();
    let mean = (sampled as f64 / count.max(1) as f64).max(1.0);
    let estimated = blocks.total.map(|total| {
        if blocks.whole && sampled >= blocks.head.len() { count as u64 } else { (total as f64 / mean) as u64 }
    });
    let estimated = estimated.map(|rows| rows.saturating_sub(u64::from(dialect.header)));
    let from = usize::from(dialect.header);
    let mut sample: Vec<Row> =
        head_rows.drain(from..).map(|(_, row)| row).filter(|row| row.len() == width).collect();
    let last = blocks.later.len().saturating_sub(1);
    for (at, block) in blocks.later.iter().enumerate() {
        sample.extend(some_rows(block, at == last, dialect, width, &nulls));
    }
    let kind = TableKind::Delimited { layout, dialect, start };
    Ok(Table::new(entry, options, columns, sample, estimated, kind))
}

/// Of a middle its first rows, of the tail its first and its last: those are where a file ends.
fn some_rows(block: &[u8], last: bool, dialect: Dialect, width: usize, nulls: &NullTexts) -> Vec<Row> {
    let mut rows = later_rows(block, last, dialect, width, nulls);
    if last && rows.len() > 2 * ROWS_PER_BLOCK {
        rows.drain(ROWS_PER_BLOCK / 2..rows.len() - ROWS_PER_BLOCK);
    } else if !last {
        rows.truncate(ROWS_PER_BLOCK);
    }
    rows
}

fn usual_width(rows: &[(usize, Row)]) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    for (_, row) in rows {
        *counts.entry(row.len()).or_insert(0_usize) += 1;
    }
    counts.into_iter().max_by_key(|(width, count)| (*count, *width)).map_or(1, |(width, _)| width)
}

/// Blank lines before the header count as lines.
fn position_behind_first(head: &[u8], first: usize, dialect: Dialect) -> Position {
    let mut spans = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < head.len() {
        let Parsed::Record { length, lines } = parse_record(&head[at..], true, dialect, &mut spans) else {
            break;
        };
        let record = &head[at..at + length];
        at += length;
        line += lines;
        if !is_blank(record) {
            break;
        }
    }
    debug_assert!(at >= first);
    Position { offset: at as u64, line, rows: 0 }
}
