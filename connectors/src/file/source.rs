//! Bytes of a file, whatever it is packed and encoded in: unpacked with limits, decoded to UTF-8,
//! cancellable. What a file is, its first bytes say; its name only breaks ties.

use super::body::Content;
use super::config::{Format, TableOptions};
use super::error;
use super::scope::{FileEntry, format_of_name};
use crate::error::ConnectorError;
use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use std::io::{self, Read, Seek, SeekFrom};
use tokio_util::sync::CancellationToken;

/// Up to here any ratio is allowed: small files of one repeated line pack very well.
const RATIO_FREE_BYTES: u64 = 64 << 20;
/// Unpacked to packed bytes beyond [`RATIO_FREE_BYTES`].
const MAX_RATIO: u64 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// What the head of a file says about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) packing: Packing,
    pub(crate) format: Format,
    pub(crate) encoding: &'static Encoding,
    /// Bytes of the byte order mark in the unpacked file.
    pub(crate) mark: u64,
}

impl Layout {
    /// Offsets of decoded text are offsets of the file.
    pub(crate) fn seekable(&self) -> bool {
        self.packing == Packing::Plain && self.encoding == UTF_8
    }
}

fn packing_of(head: &[u8]) -> Packing {
    match head {
        [0x1f, 0x8b, ..] => Packing::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
        _ => Packing::Plain,
    }
}

pub(crate) fn read_up_to(mut source: &mut (impl Read + ?Sized), most: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    (&mut source).take(most as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Looks at the head (and, for the encoding, at two more places) of a file.
pub(crate) fn inspect(
    entry: &FileEntry,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Layout, ConnectorError> {
    let name = &entry.name;
    let mut file = entry.body.open().map_err(|cause| error::io(name, cause))?;
    let raw = read_up_to(&mut file, 8).map_err(|cause| error::io(name, cause))?;
    if raw.is_empty() {
        return Err(error::empty(name));
    }
    let packing = packing_of(&raw);
    let mut unpacked = unpack(entry, packing, options, cancel)?;
    let head = read_up_to(&mut unpacked, 1 << 18).map_err(|cause| error::io(name, cause))?;
    if head.is_empty() {
        return Err(error::empty(name));
    }
    let by_name = format_of_name(name);
    let binary = |format| Layout { packing, format, encoding: UTF_8, mark: 0 };
    if head.starts_with(b"PAR1") {
        return Ok(binary(Format::Parquet));
    }
    let workbook = head.starts_with(b"PK\x03\x04")
        || head.starts_with(&[0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1]);
    if workbook
        && (by_name == Some(Format::Excel)
            || options.format == Some(Format::Excel)
            || mentions_workbook(&head))
    {
        return Ok(binary(Format::Excel));
    }
    if let Some(found) = foreign(&head) {
        return Err(error::wrong_type(name, found));
    }
    if matches!(options.format.or(by_name), Some(Format::Parquet | Format::Excel)) {
        let promised = if options.format.or(by_name) == Some(Format::Parquet) {
            "no Parquet file, though it is named or declared so"
        } else {
            "no workbook, though it is named or declared so"
        };
        // An export that calls a CSV `.xls` is common enough to be read for what it is.
        let lenient = options.format.is_none() && !head.contains(&0) && std::str::from_utf8(&head).is_ok();
        if !lenient {
            return Err(error::wrong_type(name, promised));
        }
    }
    let mut evidence = whole_characters(&head).to_vec();
    if packing == Packing::Plain {
        append_far_samples(&mut *file, head.len() as u64, &mut evidence)
            .map_err(|cause| error::io(name, cause))?;
    }
    let (encoding, mark) = encoding_of(&head, &evidence, options);
    if (encoding == UTF_8 || encoding == WINDOWS_1252) && head.contains(&0) {
        return Err(error::wrong_type(name, "binary data"));
    }
    let (text, _) = encoding.decode_without_bom_handling(&head[mark.min(head.len())..]);
    if text.trim().is_empty() && head.len() < 1 << 18 {
        return Err(error::empty(name));
    }
    let declared = options.format.filter(|format| !matches!(format, Format::Parquet | Format::Excel));
    let format = declared.unwrap_or_else(|| text_format(&text, by_name));
    Ok(Layout { packing, format, encoding, mark: mark as u64 })
}

fn mentions_workbook(head: &[u8]) -> bool {
    let mentions = |text: &[u8]| memchr::memmem::find(head, text).is_some();
    mentions(b"[Content_Types].xml") || mentions(b"xl/") || mentions(b"opendocument.spreadsheet")
}

/// Kinds of files that people deliver by mistake.
fn foreign(head: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 13] = [
        (b"\x89PNG", "a PNG picture"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"%PDF", "a PDF document"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"PK\x05\x06", "an empty ZIP archive"),
        (b"\x7fELF", "a program"),
        (b"SQLite format 3", "an SQLite database"),
        (b"Rar!", "a RAR archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"BZh9", "packed with bzip2"),
        (b"\xfd7zXZ", "packed with xz"),
        (b"\xd0\xcf\x11\xe0", "an old Office document"),
    ];
    kinds.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, kind)| *kind)
}

fn append_far_samples(file: &mut dyn Content, head: u64, evidence: &mut Vec<u8>) -> io::Result<()> {
    const FAR: u64 = 1 << 16;
    let size = file.seek(SeekFrom::End(0))?;
    for at in [size / 4, size / 2, size / 4 * 3, size.saturating_sub(FAR)] {
        if at > head {
            file.seek(SeekFrom::Start(at))?;
            evidence.push(b'\n');
            evidence.extend(whole_characters(&read_up_to(file, FAR as usize)?));
        }
    }
    Ok(())
}

/// Without the parts of UTF-8 characters that a sample cuts at its ends.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let begins = bytes.iter().take(3).take_while(|byte| (0x80..0xc0).contains(*byte)).count();
    let bytes = &bytes[begins..];
    match std::str::from_utf8(bytes) {
        Err(cut) if cut.error_len().is_none() => &bytes[..cut.valid_up_to()],
        _ => {
            let ends = bytes.iter().rev().take(4).position(|byte| *byte >= 0xc0);
            ends.map_or(bytes, |back| &bytes[..bytes.len() - back - 1])
        }
    }
}

/// The encoding and the length of its mark.
fn encoding_of(head: &[u8], evidence: &[u8], options: &TableOptions) -> (&'static Encoding, usize) {
    let marked = Encoding::for_bom(head);
    if let Some(declared) =
        options.encoding.as_deref().and_then(|label| Encoding::for_label(label.as_bytes()))
    {
        let mark = marked.filter(|(encoding, _)| *encoding == declared).map_or(0, |(_, length)| length);
        return (declared, mark);
    }
    if let Some(found) = marked {
        return found;
    }
    // UTF-16 without a mark: every other byte of Latin text is zero.
    let zeros = |odd: usize| head.iter().skip(odd).step_by(2).take(2_000).filter(|byte| **byte == 0).count();
    let looked_at = (head.len() / 2).min(2_000);
    if looked_at > 1 {
        if zeros(1) * 10 > looked_at * 6 && zeros(0) * 10 < looked_at {
            return (UTF_16LE, 0);
        }
        if zeros(0) * 10 > looked_at * 6 && zeros(1) * 10 < looked_at {
            return (UTF_16BE, 0);
        }
    }
    (if looks_windows_1252(evidence) { WINDOWS_1252 } else { UTF_8 }, 0)
}

/// High bytes that make sense as Western letters or typographic marks, and hardly any valid UTF-8 beside them.
fn looks_windows_1252(bytes: &[u8]) -> bool {
    let (mut valid, mut plausible, mut odd) = (0_usize, 0_usize, 0_usize);
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().chars().filter(|character| !character.is_ascii()).count();
        // Cut sequences where two samples meet are told apart by their neighbours below.
        let at = chunk.valid().as_bytes();
        let before_is_word = at.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b' ');
        for byte in chunk.invalid() {
            match byte {
                0x81 | 0x8d | 0x8f | 0x90 | 0x9d | 0xff => odd += 1,
                0x80 | 0x85 | 0x91..=0x97 | 0x99 | 0xa3 | 0xa7 | 0xa9 | 0xae | 0xb0 | 0xb4 | 0xbf => {
                    plausible += 1;
                }
                0xc0..=0xfe if before_is_word || at.is_empty() || !at.ends_with(b"\n") => plausible += 1,
                0xc0..=0xdf => plausible += 1,
                _ => odd += 1,
            }
        }
    }
    plausible > 0 && odd == 0 && plausible > valid
}

fn text_format(text: &str, by_name: Option<Format>) -> Format {
    let start = text.trim_start();
    let object_lines = || {
        let mut lines = start.lines().filter(|line| !line.trim().is_empty());
        let first = lines.next().unwrap_or_default();
        let whole = serde_json::from_str::<serde::de::IgnoredAny>(first).is_ok();
        whole && lines.next().is_some_and(|second| second.trim_start().starts_with('{'))
    };
    match start.as_bytes().first() {
        Some(b'{') if by_name == Some(Format::Ndjson) => Format::Ndjson,
        Some(b'{') if object_lines() => Format::Ndjson,
        Some(b'{') if by_name == Some(Format::Json) || start[1..].trim_start().starts_with(['"', '}']) => {
            Format::Json
        }
        Some(b'[') if by_name == Some(Format::Json) || start[1..].trim_start().starts_with(['{', ']']) => {
            Format::Json
        }
        _ => match by_name {
            Some(format @ (Format::Tsv | Format::Ndjson | Format::Json)) => format,
            _ => Format::Csv,
        },
    }
}

/// The unpacked bytes, limited and cancellable.
pub(crate) fn unpack(
    entry: &FileEntry,
    packing: Packing,
    options: &TableOptions,
    cancel: &CancellationToken,
) -> Result<Box<dyn Read + Send>, ConnectorError> {
    let file = entry.body.open().map_err(|cause| error::io(&entry.name, cause))?;
    let (packed, _) = entry.body.stamp().map_err(|cause| error::io(&entry.name, cause))?;
    let guard = |inner: Box<dyn Read + Send>, limited: bool| -> Box<dyn Read + Send> {
        Box::new(Guarded {
            inner,
            name: entry.name.clone(),
            packed,
            unpacked: 0,
            most: options.max_unpacked_bytes,
            limited,
            cancel: cancel.clone(),
        })
    };
    Ok(match packing {
        Packing::Plain => guard(Box::new(file), false),
        Packing::Gzip => guard(
            Box::new(flate2::bufread::MultiGzDecoder::new(io::BufReader::with_capacity(1 << 17, file))),
            true,
        ),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::new(file).map_err(|cause| error::io(&entry.name, cause))?;
            // 128 MB of window at most: what the format's own tool allows unasked.
            decoder.window_log_max(27).map_err(|cause| error::io(&entry.name, cause))?;
            guard(Box::new(decoder), true)
        }
    })
}

struct Guarded {
    inner: Box<dyn Read + Send>,
    name: String,
    packed: u64,
    unpacked: u64,
    most: u64,
    limited: bool,
    cancel: CancellationToken,
}

impl Read for Guarded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other(ConnectorError::Cancelled));
        }
        let length = self.inner.read(into)?;
        self.unpacked += length as u64;
        if self.limited {
            if self.unpacked > self.most {
                return Err(io::Error::other(error::bomb(
                    &self.name,
                    format!("more than {} bytes", self.most),
                )));
            }
            if self.unpacked > RATIO_FREE_BYTES && self.unpacked / self.packed.max(1) > MAX_RATIO {
                return Err(io::Error::other(error::bomb(
                    &self.name,
                    format!("more than {MAX_RATIO} times its size"),
                )));
            }
        }
        Ok(length)
    }
}

/// Text as UTF-8 (UTF-8 itself is passed on as it is, invalid bytes and all) from an offset of it.
/// The byte order mark does not count: offset 0 is the first character.
pub(crate) fn open_text(
    entry: &FileEntry,
    layout: &Layout,
    options: &TableOptions,
    offset: u64,
    cancel: &CancellationToken,
) -> Result<Box<dyn Read + Send>, ConnectorError> {
    let failed = |cause| error::io(&entry.name, cause);
    if layout.seekable() {
        let mut file = entry.body.open().map_err(failed)?;
        file.seek(SeekFrom::Start(layout.mark + offset)).map_err(failed)?;
        return Ok(Box::new(Guarded {
            inner: Box::new(file),
            name: entry.name.clone(),
            packed: 0,
            unpacked: 0,
            most: 0,
            limited: false,
            cancel: cancel.clone(),
        }));
    }
    let mut unpacked = unpack(entry, layout.packing, options, cancel)?;
    io::copy(&mut (&mut unpacked).take(layout.mark), &mut io::sink()).map_err(failed)?;
    let mut decoded: Box<dyn Read + Send> = if layout.encoding == UTF_8 {
        unpacked
    } else {
        Box::new(Transcoded::new(unpacked, layout.encoding.new_decoder_without_bom_handling()))
    };
    io::copy(&mut (&mut decoded).take(offset), &mut io::sink()).map_err(failed)?;
    Ok(decoded)
}

/// Another encoding as UTF-8.
struct Transcoded {
    inner: Box<dyn Read + Send>,
    decoder: Decoder,
    input: Vec<u8>,
    /// What of `input` is still to be decoded.
    from: usize,
    to: usize,
    output: Vec<u8>,
    taken: usize,
    ended: bool,
}

impl Transcoded {
    fn new(inner: Box<dyn Read + Send>, decoder: Decoder) -> Self {
        Self {
            inner,
            decoder,
            input: vec![0; 1 << 16],
            from: 0,
            to: 0,
            output: Vec::new(),
            taken: 0,
            ended: false,
        }
    }

    fn refill(&mut self) -> io::Result<()> {
        self.taken = 0;
        self.output.clear();
        while self.output.is_empty() && !self.ended {
            if self.from == self.to {
                self.to = self.inner.read(&mut self.input)?;
                self.from = 0;
            }
            let last = self.to == 0;
            self.output.resize(1 << 18, 0);
            let (result, read, written, _) =
                self.decoder.decode_to_utf8(&self.input[self.from..self.to], &mut self.output, last);
            self.output.truncate(written);
            self.from += read;
            self.ended = last && result == CoderResult::InputEmpty;
        }
        Ok(())
    }
}

impl Read for Transcoded {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.taken == self.output.len() {
            self.refill()?;
        }
        let length = into.len().min(self.output.len() - self.taken);
        into[..length].copy_from_slice(&self.output[self.taken..self.taken + length]);
        self.taken += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_1252_is_told_from_utf8_with_bad_bytes() {
        assert!(looks_windows_1252(b"name,city\nM\xfcller,K\xf6ln\n"));
        assert!(looks_windows_1252(b"price\n5 \x80\n"));
        assert!(!looks_windows_1252("name\nMüller\nKöln\n".as_bytes()));
        assert!(!looks_windows_1252(b"a,b\n1,\xff\xfe\n"));
        let mixed = ["Müller,Köln,Zürich\n".as_bytes(), b"x\xc3(\n"].concat();
        assert!(!looks_windows_1252(&mixed));
        assert!(!looks_windows_1252(b"plain"));
    }
}
