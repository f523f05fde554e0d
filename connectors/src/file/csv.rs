//! A reader of delimited text that neither loses nor invents: a row that doesn't fit the header is
//! rejected alone, with its line and bytes. Written for speed: the unquoted path is one `memchr2`
//! per field over a large buffer, values go into the columns without an allocation of their own.

use super::error::{self, MAX_CELL_BYTES, MAX_ROW_BYTES};
use super::table::{BatchBuilder, Position, RawBatch, TableReader};
use crate::error::ConnectorError;
use crate::port::RejectedRow;
use std::io::Read;

const CHUNK: usize = 1 << 19;
/// At most this much of a rejected row is shown.
pub(crate) const MAX_SHOWN: usize = 4_096;
/// A batch ends at so many rejected rows, so that a broken file needs no memory either.
const MAX_REJECTED: usize = 2_000;

/// How the text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: u8,
    /// Before a quote inside quotes, where quotes aren't doubled.
    pub(crate) escape: Option<u8>,
    /// `\n`, or `\r` for files of old systems.
    pub(crate) newline: u8,
    pub(crate) header: bool,
}

/// A field inside a record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    start: u32,
    end: u32,
    kind: SpanKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SpanKind {
    Plain,
    /// Between quotes, with nothing inside that needs work.
    Quoted,
    /// Quotes inside: to be written anew.
    Escaped,
    /// Something stands behind the closing quote: taken as it is, but a sign of a stray quote.
    Loose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    Record {
        length: usize,
        lines: u64,
    },
    /// The record goes on beyond the bytes.
    More {
        in_quotes: bool,
    },
}

/// Splits one record. `bytes` must not be empty.
pub(crate) fn parse_record(bytes: &[u8], last: bool, dialect: Dialect, spans: &mut Vec<Span>) -> Parsed {
    spans.clear();
    let Dialect { delimiter, quote, newline, .. } = dialect;
    let mut at = 0;
    let mut lines = 1;
    loop {
        let start = at;
        let mut kind = SpanKind::Plain;
        if bytes.get(at) == Some(&quote) {
            kind = SpanKind::Quoted;
            at += 1;
            loop {
                let found = match dialect.escape {
                    None => memchr::memchr2(quote, newline, &bytes[at..]),
                    Some(escape) => memchr::memchr3(quote, newline, escape, &bytes[at..]),
                };
                let Some(found) = found else { return Parsed::More { in_quotes: true } };
                at += found + 1;
                let byte = bytes[at - 1];
                if byte == newline {
                    lines += 1;
                } else if byte == quote {
                    if bytes.get(at) == Some(&quote) {
                        kind = SpanKind::Escaped;
                        at += 1;
                    } else if at == bytes.len() && !last {
                        return Parsed::More { in_quotes: true };
                    } else {
                        break;
                    }
                } else {
                    kind = SpanKind::Escaped;
                    at += usize::from(at < bytes.len());
                }
            }
            // Mostly the field ends here; what stands behind the quote belongs to the value.
            match bytes.get(at) {
                Some(byte) if *byte == delimiter || *byte == newline => {}
                None => {}
                Some(b'\r') if matches!(bytes.get(at + 1), None | Some(b'\n')) => {}
                Some(_) => kind = SpanKind::Loose,
            }
        }
        match memchr::memchr2(delimiter, newline, &bytes[at..]) {
            Some(found) => {
                at += found;
                let is_delimiter = bytes[at] == delimiter;
                let mut end = at;
                if !is_delimiter && newline == b'\n' && end > start && bytes[end - 1] == b'\r' {
                    end -= 1;
                }
                push_span(spans, start, end, kind);
                at += 1;
                if !is_delimiter {
                    return Parsed::Record { length: at, lines };
                }
            }
            None if last => {
                let mut end = bytes.len();
                if newline == b'\n' && end > start && bytes[end - 1] == b'\r' {
                    end -= 1;
                }
                push_span(spans, start, end, kind);
                return Parsed::Record { length: bytes.len(), lines };
            }
            None => return Parsed::More { in_quotes: false },
        }
    }
}

fn push_span(spans: &mut Vec<Span>, start: usize, end: usize, kind: SpanKind) {
    let (start, end) = if kind == SpanKind::Quoted { (start + 1, end - 1) } else { (start, end) };
    spans.push(Span { start: start as u32, end: end as u32, kind });
}

/// Writes a field that has quotes in it.
fn unescape(field: &[u8], dialect: Dialect, into: &mut Vec<u8>) {
    into.clear();
    let mut at = 1;
    let mut inside = true;
    while at < field.len() {
        let byte = field[at];
        if !inside {
            into.extend_from_slice(&field[at..]);
            break;
        }
        if dialect.escape == Some(byte) && at + 1 < field.len() {
            into.push(field[at + 1]);
            at += 2;
        } else if byte == dialect.quote {
            if field.get(at + 1) == Some(&dialect.quote) {
                into.push(byte);
                at += 2;
            } else {
                inside = false;
                at += 1;
            }
        } else {
            into.push(byte);
            at += 1;
        }
    }
}

/// The texts of a record, for samples and headers. `None`: a null.
pub(crate) fn record_texts(
    bytes: &[u8],
    spans: &[Span],
    dialect: Dialect,
    nulls: &NullTexts,
) -> Vec<Option<String>> {
    let mut scratch = Vec::new();
    spans
        .iter()
        .map(|span| {
            let field = &bytes[span.start as usize..span.end as usize];
            match span.kind {
                SpanKind::Plain if nulls.is_null(field) => None,
                SpanKind::Escaped | SpanKind::Loose => {
                    unescape(field, dialect, &mut scratch);
                    Some(String::from_utf8_lossy(&scratch).into_owned())
                }
                _ => Some(String::from_utf8_lossy(field).into_owned()),
            }
        })
        .collect()
}

/// Texts that mean no value.
#[derive(Debug, Clone)]
pub(crate) struct NullTexts {
    texts: Vec<Vec<u8>>,
    longest: usize,
    empty: bool,
}

impl NullTexts {
    pub(crate) fn new(texts: &[String]) -> Self {
        let longest = texts.iter().map(String::len).max().unwrap_or(0);
        let empty = texts.iter().any(String::is_empty);
        let texts =
            texts.iter().filter(|text| !text.is_empty()).map(|text| text.as_bytes().to_vec()).collect();
        Self { texts, longest, empty }
    }

    pub(crate) fn is_null(&self, value: &[u8]) -> bool {
        if value.is_empty() {
            return self.empty;
        }
        value.len() <= self.longest && self.texts.iter().any(|text| text == value)
    }
}

/// A blank line: not a record.
pub(crate) fn is_blank(record: &[u8]) -> bool {
    record.iter().all(|byte| matches!(byte, b'\n' | b'\r'))
}

pub(crate) struct CsvReader {
    source: Box<dyn Read + Send>,
    name: String,
    dialect: Dialect,
    nulls: NullTexts,
    columns: Vec<String>,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    /// Everything in the buffer is UTF-8 (but for a character cut off at its end).
    all_utf8: bool,
    /// Of the first byte at `start`.
    position: Position,
    spans: Vec<Span>,
    scratch: Vec<u8>,
    rejected: Vec<RejectedRow>,
}

impl CsvReader {
    /// `source` must stand at `position`; a header has been passed already.
    pub(crate) fn new(
        source: Box<dyn Read + Send>,
        name: &str,
        dialect: Dialect,
        nulls: NullTexts,
        columns: Vec<String>,
        position: Position,
    ) -> Self {
        Self {
            source,
            name: name.to_owned(),
            dialect,
            nulls,
            columns,
            buffer: vec![0; CHUNK],
            start: 0,
            end: 0,
            ended: false,
            all_utf8: true,
            position,
            spans: Vec::new(),
            scratch: Vec::new(),
            rejected: Vec::new(),
        }
    }

    fn fill(&mut self) -> Result<(), ConnectorError> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.buffer.len() < self.end + CHUNK / 2 {
            self.buffer.resize(self.end + CHUNK, 0);
        }
        while self.end < self.buffer.len() {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(length) => self.end += length,
                Err(cause) if cause.kind() == std::io::ErrorKind::Interrupted => {}
                Err(cause) => return Err(error::io(&self.name, cause)),
            }
        }
        self.all_utf8 = match std::str::from_utf8(&self.buffer[..self.end]) {
            Ok(_) => true,
            Err(invalid) => invalid.error_len().is_none() && !self.ended,
        };
        Ok(())
    }

    fn advance(&mut self, length: usize, lines: u64) {
        self.start += length;
        self.position.offset += length as u64;
        self.position.line += lines;
    }

    fn reject(&mut self, raw: &[u8], code: &'static str, reason: String) {
        self.rejected.push(RejectedRow {
            place: format!("line {}", self.position.line),
            code,
            reason,
            raw: String::from_utf8_lossy(&raw[..raw.len().min(MAX_SHOWN)])
                .trim_end_matches(['\n', '\r'])
                .to_owned(),
        });
    }

    /// Rejects the first line of what is in the buffer and goes on behind it.
    fn reject_line(&mut self, code: &'static str, reason: &str) -> Result<(), ConnectorError> {
        let shown = self.buffer[self.start..self.end.min(self.start + MAX_SHOWN)].to_vec();
        let shown_line = memchr::memchr(self.dialect.newline, &shown).map_or(shown.len(), |at| at);
        self.reject(&shown[..shown_line], code, reason.to_owned());
        loop {
            match memchr::memchr(self.dialect.newline, &self.buffer[self.start..self.end]) {
                Some(found) => {
                    self.advance(found + 1, 1);
                    return Ok(());
                }
                None => {
                    self.advance(self.end - self.start, 0);
                    if self.ended {
                        return Ok(());
                    }
                    self.fill()?;
                }
            }
        }
    }

    fn looks_swallowed(&self) -> bool {
        self.spans.len() != self.columns.len() || self.spans.iter().any(|span| span.kind == SpanKind::Loose)
    }

    fn take_record(&mut self, length: usize, lines: u64, builder: &mut BatchBuilder) {
        let (from, to) = (self.start, self.start + length);
        let record = std::mem::take(&mut self.buffer);
        self.append(&record[from..to], builder);
        self.buffer = record;
        self.advance(length, lines);
    }

    fn append(&mut self, record: &[u8], builder: &mut BatchBuilder) {
        if is_blank(record) {
            return;
        }
        let mut count = self.spans.len();
        let expected = self.columns.len();
        let closes_with_delimiter = count == expected + 1
            && self.spans.last().is_some_and(|span| span.start == span.end && span.kind == SpanKind::Plain);
        if closes_with_delimiter {
            count = expected;
        }
        if count != expected {
            let reason = format!("{count} fields where the header has {expected}");
            return self.reject(record, error::ROW_RAGGED, reason);
        }
        if !self.all_utf8 && std::str::from_utf8(record).is_err() {
            let reason = "not valid UTF-8: declare the file's `encoding` if it has another";
            return self.reject(record, error::ROW_NOT_UTF8, reason.to_owned());
        }
        if record.len() > MAX_CELL_BYTES
            && self.spans.iter().any(|span| (span.end - span.start) as usize > MAX_CELL_BYTES)
        {
            return self.reject(
                record,
                error::ROW_TOO_LONG,
                format!("a cell is longer than {MAX_CELL_BYTES} bytes"),
            );
        }
        for (column, span) in self.spans[..count].iter().enumerate() {
            let field = &record[span.start as usize..span.end as usize];
            match span.kind {
                SpanKind::Plain if self.nulls.is_null(field) => builder.push_null(column),
                SpanKind::Plain | SpanKind::Quoted => builder.push(column, field),
                SpanKind::Escaped | SpanKind::Loose => {
                    unescape(field, self.dialect, &mut self.scratch);
                    builder.push(column, &self.scratch);
                }
            }
        }
        builder.end_row();
        self.position.rows += 1;
    }
}

impl TableReader for CsvReader {
    fn next_batch(&mut self) -> Result<Option<RawBatch>, ConnectorError> {
        let mut builder = BatchBuilder::new(&self.columns);
        while !builder.full() && self.rejected.len() < MAX_REJECTED {
            if self.start == self.end {
                if self.ended {
                    break;
                }
                self.fill()?;
                continue;
            }
            let parsed =
                parse_record(&self.buffer[self.start..self.end], self.ended, self.dialect, &mut self.spans);
            match parsed {
                // A stray quote swallows the lines up to the next one: only the first is at fault.
                Parsed::Record { lines, .. } if lines > 1 && self.looks_swallowed() => {
                    self.reject_line(
                        error::ROW_QUOTE_OPEN,
                        "a quote is opened and not closed where the field ends",
                    )?;
                }
                Parsed::Record { length, lines } => self.take_record(length, lines, &mut builder),
                Parsed::More { in_quotes } if self.ended || self.end - self.start > MAX_ROW_BYTES => {
                    let first_line = memchr::memchr(self.dialect.newline, &self.buffer[self.start..self.end]);
                    if in_quotes && first_line.is_some() {
                        self.reject_line(
                            error::ROW_QUOTE_OPEN,
                            "a quote is opened and not closed; reading goes on at the next line",
                        )?;
                    } else if in_quotes && self.ended && self.end - self.start <= MAX_ROW_BYTES {
                        self.reject_line(error::ROW_QUOTE_OPEN, "a quote is opened and not closed")?;
                    } else {
                        self.reject_line(error::ROW_TOO_LONG, &format!("longer than {MAX_ROW_BYTES} bytes"))?;
                    }
                }
                Parsed::More { .. } => self.fill()?,
            }
        }
        let rejected = std::mem::take(&mut self.rejected);
        if builder.is_empty() && rejected.is_empty() {
            return Ok(None);
        }
        Ok(Some(RawBatch { records: builder.finish()?, rejected, position: self.position.clone() }))
    }
}
