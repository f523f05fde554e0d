//! JSON: lines of objects, an array of objects, or an object that holds one. Elements are cut out of
//! the stream one by one, so that a large array needs no more memory than a small one. Values keep
//! the text they were written with; nested ones are JSON text.

use super::config::{Format, TableOptions};
use super::csv::MAX_SHOWN;
use super::error::{self, MAX_CELL_BYTES, MAX_COLUMNS, MAX_ROW_BYTES};
use super::scope::FileEntry;
use super::source::{self, Layout};
use super::table::{BatchBuilder, Position, RawBatch, Row, Table, TableKind, TableReader};
use super::text;
use crate::error::ConnectorError;
use crate::port::{OPERATION, RejectedRow};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::{HashMap, VecDeque};
use std::io::Read;
use tokio_util::sync::CancellationToken;

const CHUNK: usize = 1 << 18;
const SAMPLE_ROWS: usize = 1_000;
/// Sampling an array ends here.
const MAX_SAMPLED: u64 = 256 << 20;
const MAX_REJECTED: usize = 2_000;

/// How elements follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Elements {
    Lines,
    /// The position of the first element is behind the bracket.
    Array,
    /// The whole text is one object.
    Single,
}

/// Members of an object in their order.
struct Members(Vec<(String, Option<String>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members;
            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    // As in a header: no word on what became of the row.
                    let name = if name == OPERATION { format!("{name}_2") } else { name };
                    let raw: &RawValue = map.next_value()?;
                    members.push((name, text_of(raw.get()).map_err(serde::de::Error::custom)?));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

fn text_of(raw: &str) -> Result<Option<String>, serde_json::Error> {
    Ok(match raw.as_bytes().first() {
        Some(b'"') => Some(serde_json::from_str(raw)?),
        Some(b'n') => None,
        _ => Some(raw.to_owned()),
    })
}

/// Why an element is no row: its code and a message.
type Refusal = (&'static str, String);

fn members_of(element: &[u8]) -> Result<Vec<(String, Option<String>)>, Refusal> {
    let text =
        std::str::from_utf8(element).map_err(|_| (error::ROW_NOT_UTF8, "not valid UTF-8".to_owned()))?;
    let members: Members = serde_json::from_str(text)
        .map_err(|cause| (error::ROW_NOT_AN_OBJECT, format!("no JSON object: {cause}")))?;
    if members.0.iter().any(|(_, value)| value.as_ref().is_some_and(|text| text.len() > MAX_CELL_BYTES)) {
        return Err((error::ROW_TOO_LONG, format!("a value is longer than {MAX_CELL_BYTES} bytes")));
    }
    Ok(members.0)
}

/// Cuts elements out of a stream.
struct Splitter {
    source: Box<dyn Read + Send>,
    name: String,
    elements: Elements,
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
    finished: bool,
    /// Offset of `start` in the text, and the number of the element there, from 1.
    position: Position,
}

/// An element: a range of the buffer; `None` stands for one too long to be kept.
enum Element {
    Range(usize, usize),
    TooLong(Vec<u8>),
}

impl Splitter {
    fn new(source: Box<dyn Read + Send>, name: &str, elements: Elements, position: Position) -> Self {
        Self {
            source,
            name: name.to_owned(),
            elements,
            buffer: Vec::new(),
            start: 0,
            ended: false,
            finished: false,
            position,
        }
    }

    fn fill(&mut self) -> Result<(), ConnectorError> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let from = self.buffer.len();
        self.buffer.resize(from + CHUNK, 0);
        let mut to = from;
        while to < self.buffer.len() {
            let length =
                self.source.read(&mut self.buffer[to..]).map_err(|cause| error::io(&self.name, cause))?;
            if length == 0 {
                self.ended = true;
                break;
            }
            to += length;
        }
        self.buffer.truncate(to);
        Ok(())
    }

    fn advance(&mut self, length: usize) {
        self.start += length;
        self.position.offset += length as u64;
    }

    fn next(&mut self) -> Result<Option<Element>, ConnectorError> {
        if self.finished {
            return Ok(None);
        }
        match self.elements {
            Elements::Lines => self.next_line(),
            Elements::Array => self.next_in_array(),
            Elements::Single => self.whole(),
        }
    }

    fn whole(&mut self) -> Result<Option<Element>, ConnectorError> {
        while !self.ended && self.buffer.len() <= MAX_ROW_BYTES {
            self.fill()?;
        }
        self.finished = true;
        self.position = Position {
            offset: self.buffer.len() as u64,
            line: self.position.line + 1,
            rows: self.position.rows,
        };
        if self.buffer.len() > MAX_ROW_BYTES {
            return Ok(Some(Element::TooLong(self.buffer[..MAX_SHOWN].to_vec())));
        }
        Ok((!self.buffer.is_empty()).then_some(Element::Range(0, self.buffer.len())))
    }

    fn next_line(&mut self) -> Result<Option<Element>, ConnectorError> {
        let mut too_long: Option<Vec<u8>> = None;
        let mut scanned = 0;
        loop {
            match memchr::memchr(b'\n', &self.buffer[self.start + scanned..]) {
                Some(found) => {
                    let (from, to) = (self.start, self.start + scanned + found);
                    self.advance(to + 1 - from);
                    self.position.line += 1;
                    if let Some(shown) = too_long {
                        return Ok(Some(Element::TooLong(shown)));
                    }
                    return Ok(Some(Element::Range(from, to)));
                }
                None if self.ended => {
                    let (from, to) = (self.start, self.buffer.len());
                    self.advance(to - from);
                    self.finished = true;
                    self.position.line += u64::from(to > from);
                    if let Some(shown) = too_long {
                        return Ok(Some(Element::TooLong(shown)));
                    }
                    return Ok((to > from).then_some(Element::Range(from, to)));
                }
                None => {
                    scanned = self.buffer.len() - self.start;
                    if scanned > MAX_ROW_BYTES {
                        too_long
                            .get_or_insert_with(|| self.buffer[self.start..self.start + MAX_SHOWN].to_vec());
                        self.advance(scanned);
                        scanned = 0;
                    }
                    self.fill()?;
                }
            }
        }
    }

    /// The byte at `start + at`, more being read if need be.
    fn peek(&mut self, at: usize) -> Result<Option<u8>, ConnectorError> {
        while self.start + at >= self.buffer.len() && !self.ended {
            self.fill()?;
        }
        Ok(self.buffer.get(self.start + at).copied())
    }

    fn cut_off(&self) -> ConnectorError {
        error::broken(&self.name, "JSON", "it ends in the middle: was the upload complete?")
    }

    fn next_in_array(&mut self) -> Result<Option<Element>, ConnectorError> {
        loop {
            match self.peek(0)? {
                None => return Err(self.cut_off()),
                Some(b']') => {
                    self.finished = true;
                    return Ok(None);
                }
                Some(b' ' | b'\t' | b'\r' | b'\n' | b',') => self.advance(1),
                Some(_) => break,
            }
        }
        let mut too_long: Option<Vec<u8>> = None;
        let (mut at, mut depth, mut in_string, mut escaped) = (0_usize, 0_usize, false, false);
        loop {
            let Some(byte) = self.peek(at)? else { return Err(self.cut_off()) };
            let mut ends = false;
            if in_string {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    b'"' => in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' if depth > 0 => {
                        depth -= 1;
                        ends = depth == 0;
                    }
                    // A plain value ends before the comma or the bracket.
                    b',' | b']' if depth == 0 => {
                        return Ok(Some(self.take(at, too_long)));
                    }
                    _ => {}
                }
            }
            at += 1;
            if ends {
                return Ok(Some(self.take(at, too_long)));
            }
            if at > MAX_ROW_BYTES {
                too_long.get_or_insert_with(|| self.buffer[self.start..self.start + MAX_SHOWN].to_vec());
                self.advance(at);
                at = 0;
            }
        }
    }

    fn take(&mut self, length: usize, too_long: Option<Vec<u8>>) -> Element {
        let from = self.start;
        self.advance(length);
        self.position.line += 1;
        too_long.map_or(Element::Range(from, from + length), Element::TooLong)
    }
}

/// Where the elements are: the first array at the top, or the first array of objects inside the top object.
fn locate(
    entry: &FileEntry,
    layout: Layout,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<(Elements, Position), ConnectorError> {
    let start = Position { offset: 0, line: 1, rows: 0 };
    if layout.format == Format::Ndjson {
        return Ok((Elements::Lines, start));
    }
    let source = source::open_text(entry, &layout, options, 0, cancel)?;
    let mut bytes = Splitter::new(source, &entry.name, Elements::Array, Position::default());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let mut empty_array = None;
    let mut begun = false;
    while let Some(byte) = bytes.peek(0)? {
        bytes.advance(1);
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'[' if depth == 0 => {
                return Ok((Elements::Array, Position { offset: bytes.position.offset, ..start }));
            }
            b'[' => {
                depth += 1;
                let behind = bytes.position.offset;
                while depth == 2 && bytes.peek(0)?.is_some_and(|byte| byte.is_ascii_whitespace()) {
                    bytes.advance(1);
                }
                match bytes.peek(0)? {
                    Some(b'{') if depth == 2 => {
                        return Ok((Elements::Array, Position { offset: behind, ..start }));
                    }
                    Some(b']') if depth == 2 => empty_array = empty_array.or(Some(behind)),
                    _ => {}
                }
            }
            b'{' => depth += 1,
            b'}' | b']' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    break;
                }
            }
            b'"' => in_string = true,
            byte if depth == 0 && !byte.is_ascii_whitespace() => {
                return Err(error::broken(&entry.name, "JSON", "it is neither an array nor an object"));
            }
            _ => {}
        }
        begun = true;
    }
    if depth > 0 {
        return Err(bytes.cut_off());
    }
    if !begun {
        return Err(error::empty(&entry.name));
    }
    Ok(empty_array
        .map_or((Elements::Single, start.clone()), |offset| (Elements::Array, Position { offset, ..start })))
}

pub(crate) fn open(
    entry: &FileEntry,
    layout: Layout,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Table, ConnectorError> {
    let (elements, start) = locate(entry, layout, options, cancel)?;
    let (objects, estimated) = if elements == Elements::Lines {
        sample_lines(entry, layout, options, cancel)?
    } else {
        sample_elements(entry, layout, elements, &start, options, cancel)?
    };
    let mut columns: Vec<String> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for (name, _) in objects.iter().flatten() {
        if !places.contains_key(name) {
            places.insert(name.clone(), columns.len());
            columns.push(name.clone());
        }
        if columns.len() > MAX_COLUMNS {
            return Err(error::too_many_columns(&entry.name, columns.len()));
        }
    }
    if columns.is_empty() && elements != Elements::Array {
        return Err(error::broken(&entry.name, "JSON", "none of its first lines is an object"));
    }
    let row_of = |members: Vec<(String, Option<String>)>| {
        let mut row: Row = vec![None; columns.len()];
        for (name, value) in members {
            row[places[&name]] = value;
        }
        row
    };
    let sample = objects.into_iter().map(row_of).collect();
    Ok(Table::new(
        entry,
        options,
        columns.clone(),
        sample,
        estimated,
        TableKind::Json { layout, elements, start },
    ))
}

type Objects = Vec<Vec<(String, Option<String>)>>;

fn sample_lines(
    entry: &FileEntry,
    layout: Layout,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<(Objects, Option<u64>), ConnectorError> {
    let blocks = text::blocks(entry, &layout, options, cancel)?;
    let mut objects = Vec::new();
    let (mut read, mut lines) = (0, 0_u64);
    let most = if blocks.whole { usize::MAX } else { SAMPLE_ROWS };
    for line in blocks.head.split_inclusive(|byte| *byte == b'\n').take(most) {
        read += line.len();
        lines += u64::from(!line.trim_ascii().is_empty());
        objects.extend(members_of(line.trim_ascii()));
    }
    let whole_read = blocks.whole && read == blocks.head.len();
    for block in &blocks.later {
        let all: Vec<&[u8]> = block
            .split(|byte| *byte == b'\n')
            .skip(1)
            .map(<[u8]>::trim_ascii)
            .filter(|line| !line.is_empty())
            .collect();
        let end = all.len().saturating_sub(SAMPLE_ROWS / 2).max(SAMPLE_ROWS / 2).min(all.len());
        for line in all.iter().take(SAMPLE_ROWS / 2).chain(&all[end..]) {
            objects.extend(members_of(line));
        }
    }
    let mean = read as f64 / lines.max(1) as f64;
    let estimated = if whole_read {
        Some(lines)
    } else {
        blocks.total.map(|total| (total as f64 / mean.max(1.0)) as u64)
    };
    Ok((objects, estimated))
}

/// One pass over the elements: the first, evenly chosen ones, the last.
fn sample_elements(
    entry: &FileEntry,
    layout: Layout,
    elements: Elements,
    start: &Position,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<(Objects, Option<u64>), ConnectorError> {
    let source = source::open_text(entry, &layout, options, start.offset, cancel)?;
    let mut splitter = Splitter::new(source, &entry.name, elements, start.clone());
    let mut head = Vec::new();
    let mut middle: Vec<(u64, Vec<u8>)> = Vec::new();
    let mut tail: VecDeque<(u64, Vec<u8>)> = VecDeque::new();
    let (mut seen, mut step) = (0_u64, 1_u64);
    let mut held = 0;
    let mut complete = false;
    while splitter.position.offset < start.offset + MAX_SAMPLED {
        let Some(element) = splitter.next()? else {
            complete = true;
            break;
        };
        seen += 1;
        let Element::Range(from, to) = element else { continue };
        let bytes = &splitter.buffer[from..to];
        if head.len() < SAMPLE_ROWS && held < (8 << 20) {
            held += bytes.len();
            head.push(bytes.to_vec());
            continue;
        }
        if seen % step == 0 && bytes.len() < (1 << 14) {
            middle.push((seen, bytes.to_vec()));
            if middle.len() >= SAMPLE_ROWS {
                middle = middle.into_iter().step_by(2).collect();
                step *= 2;
            }
        }
        if bytes.len() < (1 << 14) {
            tail.push_back((seen, bytes.to_vec()));
            if tail.len() > SAMPLE_ROWS / 2 {
                tail.pop_front();
            }
        }
    }
    // No element is sampled twice.
    let tail_from = tail.front().map_or(u64::MAX, |(number, _)| *number);
    let middle = middle.iter().filter(|(number, _)| *number < tail_from);
    let later = middle.chain(&tail).map(|(_, element)| element);
    let objects = head.iter().chain(later).filter_map(|element| members_of(element).ok()).collect();
    Ok((objects, complete.then_some(seen)))
}

pub(crate) fn read(
    entry: &FileEntry,
    layout: Layout,
    elements: Elements,
    options: &TableOptions,
    columns: &[String],
    position: Position,
    cancel: &CancellationToken,
) -> Result<Box<dyn TableReader>, ConnectorError> {
    let source = source::open_text(entry, &layout, options, position.offset, cancel)?;
    let mut splitter = Splitter::new(source, &entry.name, elements, position.clone());
    // One object that was read leaves nothing.
    splitter.finished = elements == Elements::Single && position.line > 1;
    let places = columns.iter().cloned().enumerate().map(|(at, name)| (name, at)).collect();
    Ok(Box::new(JsonReader { splitter, columns: columns.to_vec(), places }))
}

struct JsonReader {
    splitter: Splitter,
    columns: Vec<String>,
    places: HashMap<String, usize>,
}

impl JsonReader {
    fn append(
        &mut self,
        members: Vec<(String, Option<String>)>,
        builder: &mut BatchBuilder,
    ) -> Result<(), ConnectorError> {
        let mut row: Row = vec![None; self.columns.len()];
        for (name, value) in members {
            let place = match self.places.get(&name) {
                Some(place) => *place,
                None => {
                    let place = self.columns.len();
                    if place >= MAX_COLUMNS {
                        return Err(error::too_many_columns(&self.splitter.name, place + 1));
                    }
                    self.places.insert(name.clone(), place);
                    builder.add_column(&name);
                    self.columns.push(name);
                    row.push(None);
                    place
                }
            };
            row[place] = value;
        }
        builder.push_row(&row);
        Ok(())
    }
}

impl TableReader for JsonReader {
    fn next_batch(&mut self) -> Result<Option<RawBatch>, ConnectorError> {
        let mut builder = BatchBuilder::new(&self.columns);
        let mut rejected = Vec::new();
        let word = if self.splitter.elements == Elements::Lines { "line" } else { "element" };
        while !builder.full() && rejected.len() < MAX_REJECTED {
            let place = self.splitter.position.line;
            let Some(element) = self.splitter.next()? else { break };
            let (outcome, shown) = match element {
                Element::TooLong(shown) => {
                    (Err((error::ROW_TOO_LONG, format!("longer than {MAX_ROW_BYTES} bytes"))), shown)
                }
                Element::Range(from, to) => {
                    let bytes = self.splitter.buffer[from..to].trim_ascii();
                    if bytes.is_empty() {
                        continue;
                    }
                    let outcome = members_of(bytes);
                    let shown = if outcome.is_err() {
                        bytes[..bytes.len().min(MAX_SHOWN)].to_vec()
                    } else {
                        Vec::new()
                    };
                    (outcome, shown)
                }
            };
            match outcome {
                Ok(members) => {
                    self.append(members, &mut builder)?;
                    self.splitter.position.rows += 1;
                }
                Err((code, reason)) => rejected.push(RejectedRow {
                    place: format!("{word} {place}"),
                    code,
                    reason,
                    raw: String::from_utf8_lossy(&shown).into_owned(),
                }),
            }
        }
        if builder.is_empty() && rejected.is_empty() {
            return Ok(None);
        }
        Ok(Some(RawBatch { records: builder.finish()?, rejected, position: self.splitter.position.clone() }))
    }
}
