//! The dialect of delimited text, from its head. A few ragged rows don't upset it: the share of rows
//! that agree counts, not whether all do.

use super::config::TableOptions;
use super::csv::Dialect;
use super::infer::{ValueShape, classify};
use super::table::Row;
use super::text::records;

const DELIMITERS: [u8; 5] = [b',', b';', b'\t', b'|', b'^'];
const RECORDS: usize = 300;

pub(crate) fn dialect(head: &[u8], whole: bool, options: &TableOptions, tab_named: bool) -> Dialect {
    let newline = if memchr::memchr(b'\n', head).is_none() && memchr::memchr(b'\r', head).is_some() {
        b'\r'
    } else {
        b'\n'
    };
    let quotes: Vec<u8> = match options.quote_byte() {
        Some(quote) => vec![quote],
        None if single_quoted(head) => vec![b'\'', b'"'],
        None => vec![b'"'],
    };
    let escapes: Vec<Option<u8>> = match options.escape_byte() {
        Some(escape) => vec![Some(escape)],
        None if memchr::memmem::find(head, b"\\\"").is_some() => vec![None, Some(b'\\')],
        None => vec![None],
    };
    let delimiters: Vec<u8> =
        options.delimiter_byte().map_or_else(|| DELIMITERS.to_vec(), |delimiter| vec![delimiter]);
    let default =
        Dialect { delimiter: delimiters[0], quote: quotes[0], escape: escapes[0], newline, header: true };
    let mut best = (0.0, default);
    for &quote in &quotes {
        for &escape in &escapes {
            for &delimiter in &delimiters {
                let candidate = Dialect { delimiter, quote, escape, newline, header: true };
                let named = if tab_named && delimiter == b'\t' { 1.5 } else { 1.0 };
                let score = score(head, whole, candidate) * named;
                if score > best.0 + 1e-9 {
                    best = (score, candidate);
                }
            }
        }
    }
    best.1
}

/// How well the rows agree on a width above one.
fn score(head: &[u8], whole: bool, dialect: Dialect) -> f64 {
    let mut widths = Vec::new();
    let read = records(head, whole, dialect, RECORDS, |_, spans| widths.push(spans.len()));
    let (Some(first), false) = (widths.first().copied(), widths.is_empty()) else { return 0.0 };
    let mut counts = std::collections::BTreeMap::new();
    for width in &widths {
        *counts.entry(*width).or_insert(0_usize) += 1;
    }
    let (usual, agreeing) =
        counts.into_iter().max_by_key(|(width, count)| (*count, *width)).unwrap_or((1, 0));
    if usual < 2 {
        return 0.0;
    }
    let agreement = agreeing as f64 / widths.len() as f64;
    let header_agrees = if first == usual { 1.0 } else { 0.4 };
    let width = 1.0 - 1.0 / (usual as f64 + 1.0);
    // A reading that gets stuck in an open quote early explains little of the text.
    let explained = if widths.len() >= RECORDS || whole || head.len() < 4_096 {
        1.0
    } else {
        (read as f64 / head.len() as f64).max(0.1)
    };
    agreement * agreement * header_agrees * width * explained
}

/// Single quotes at both ends of fields, and no double ones.
fn single_quoted(head: &[u8]) -> bool {
    let boundary = |byte: Option<&u8>| {
        byte.is_none_or(|byte| matches!(byte, b'\n' | b'\r') || DELIMITERS.contains(byte))
    };
    let mut ends = [0_usize; 2];
    for at in memchr::memchr_iter(b'\'', head).take(1_000) {
        let before = at.checked_sub(1).and_then(|at| head.get(at));
        ends[0] += usize::from(boundary(before));
        ends[1] += usize::from(boundary(head.get(at + 1)));
    }
    let double_opens = memchr::memchr_iter(b'"', head)
        .take(100)
        .any(|at| boundary(at.checked_sub(1).and_then(|at| head.get(at))));
    ends[0] >= 2 && ends[1] >= 2 && !double_opens
}

/// Whether the first row names the columns. Values of the body's own kind in it speak against,
/// words above values of another kind speak for; with nothing to tell, files have headers.
pub(crate) fn has_header(first: &Row, body: &[&Row]) -> bool {
    if first.iter().all(Option::is_none) {
        return false;
    }
    let (mut names, mut values) = (0_usize, 0_usize);
    for (column, cell) in first.iter().enumerate() {
        let Some(cell) = cell.as_deref() else { continue };
        let below: Vec<&str> = body.iter().filter_map(|row| row.get(column)?.as_deref()).collect();
        let repeated = below.contains(&cell);
        let kind = kind_of(cell);
        if below.is_empty() {
            values += usize::from(kind != Kind::Word && body.is_empty());
            continue;
        }
        let same = below.iter().filter(|value| kind_of(value) == kind).count() * 10 >= below.len() * 8;
        match kind {
            Kind::Word if !same && !repeated => names += 1,
            Kind::Word if repeated => values += 1,
            Kind::Word => {}
            Kind::Number if is_year(cell) && !below.iter().any(|value| is_year(value)) => names += 1,
            _ if same => values += 1,
            // A year or a code above values of another kind.
            _ => names += usize::from(!repeated && kind == Kind::Number),
        }
    }
    let distinct: std::collections::HashSet<&Option<String>> = first.iter().collect();
    if values == 0 { names > 0 || distinct.len() * 2 > first.len() } else { names > values * 2 }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Moment,
    Truth,
    Address,
    /// Letters and digits in one pattern: `C-0042`.
    Code(u64),
    Word,
}

fn kind_of(text: &str) -> Kind {
    match classify(text) {
        ValueShape::Boolean | ValueShape::YesNo => Kind::Truth,
        ValueShape::Integer
        | ValueShape::Decimal
        | ValueShape::DecimalComma { .. }
        | ValueShape::Thousands => Kind::Number,
        ValueShape::Temporal(_) => Kind::Moment,
        _ if looks_like_value(text) => Kind::Address,
        _ => pattern(text),
    }
}

/// Years head the columns of many reports.
fn is_year(text: &str) -> bool {
    text.len() == 4 && text.parse().is_ok_and(|year: u16| (1_900..2_100).contains(&year))
}

/// An e-mail or web address.
fn looks_like_value(text: &str) -> bool {
    !text.contains(' ')
        && ((text.contains('@') && text.contains('.')) || text.contains("://") || text.starts_with("www."))
}

/// Short texts with a digit: their pattern of letters (any number), digits and marks.
fn pattern(text: &str) -> Kind {
    let digits = text.bytes().filter(u8::is_ascii_digit).count();
    if digits == 0 || text.len() > 40 || text.contains(' ') || digits * 4 < text.len() {
        return Kind::Word;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut last = 0;
    for byte in text.bytes() {
        let class = if byte.is_ascii_digit() {
            b'9'
        } else if byte.is_ascii_alphabetic() {
            b'a'
        } else {
            byte
        };
        if class != last {
            hash = (hash ^ u64::from(class)).wrapping_mul(0x0100_0000_01b3);
        }
        last = class;
    }
    Kind::Code(hash)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delimiter(text: &str) -> char {
        dialect(text.as_bytes(), true, &TableOptions::default(), false).delimiter as char
    }

    #[test]
    fn a_ragged_row_does_not_upset_the_delimiter() {
        assert_eq!(delimiter("a,b,c\n1,2,3\n1;2;3;4;5\n1,2\n4,5,6\n7,8,9\n"), ',');
        assert_eq!(delimiter("a;b;c\n1,5;2,5;3,5\n1,5;2,5;3,5\n"), ';');
        assert_eq!(delimiter("a\tb\n1,2,3\tx\n4,5\ty\n"), '\t');
        assert_eq!(delimiter("a|b\n1|2\n"), '|');
        assert_eq!(delimiter("only\none\ncolumn, sometimes\n"), ',');
        assert_eq!(delimiter("name;note\n\"x;y\";\"a, b, c\"\nz;\"d, e, f\"\n"), ';');
    }

    fn row(cells: &[&str]) -> Row {
        cells.iter().map(|cell| Some((*cell).to_owned())).collect()
    }

    #[test]
    fn first_data_row_is_not_eaten_as_header() {
        let check = |first: &[&str], second: &[&str], expected: bool| {
            assert_eq!(has_header(&row(first), &[&row(second), &row(second)]), expected, "{first:?}");
        };
        check(&["1", "Alice", "30"], &["2", "Bob", "25"], false);
        check(&["id", "name", "age"], &["2", "Bob", "25"], true);
        check(&["name", "city"], &["Bob", "Berlin"], true);
        check(&["Alice", "alice@x.org"], &["Bob", "bob@x.org"], false);
        check(&["C-001", "Acme"], &["C-002", "Apex"], false);
        check(&["region", "2020", "2021"], &["north", "1.5", "2.5"], true);
        check(&["2024-01-05", "x"], &["2024-01-06", "y"], false);
        assert!(has_header(&row(&["id", "name"]), &[]));
        assert!(!has_header(&row(&["1", "x"]), &[]));
    }
}
