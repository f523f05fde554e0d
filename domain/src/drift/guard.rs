//! A cheap check, on every value, that a column still is what it was: full profiles look at a
//! sample of a long stream only, and a number that turns into text late must not be missed.

use super::{profile::TextColumn, time, value};
use crate::schema::{Field, LogicalType};

/// Checks values against the known type and format of one column.
#[derive(Debug, Clone)]
pub struct TypeGuard {
    field: Field,
    test: Test,
    report: GuardReport,
}

/// What a guard has seen so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GuardReport {
    /// Values looked at, nulls and blanks left out.
    pub checked: u64,
    pub nulls: u64,
    /// Values that do not fit.
    pub misfits: u64,
    /// The first few of them: row (from 0, over all batches) and text.
    pub first: Vec<(u64, String)>,
}

#[derive(Debug, Clone)]
enum Test {
    Anything,
    Integer,
    Decimal,
    DecimalComma,
    Boolean,
    /// Digits where the pattern has `0`, the same byte elsewhere.
    Digits(Vec<u8>),
    /// The same, with the places of the month's and the day's two digits, before the slower test.
    Dates {
        mask: Vec<u8>,
        month: Option<usize>,
        day: Option<usize>,
        format: String,
    },
    Format(String),
    IsoTime,
    Braces(u8, u8),
}

const FIRST: usize = 5;

impl TypeGuard {
    /// A guard for `field`; one of type text or unknown lets everything pass.
    pub fn new(field: &Field) -> Self {
        let test = match (field.logical_type, field.format.as_deref()) {
            (LogicalType::Boolean, _) => Test::Boolean,
            (LogicalType::Integer, _) => Test::Integer,
            (LogicalType::Decimal, Some("decimal_comma")) => Test::DecimalComma,
            (LogicalType::Decimal, None) => Test::Decimal,
            (LogicalType::Date, None) => Test::Digits(b"0000-00-00".to_vec()),
            (LogicalType::Timestamp, None) => Test::IsoTime,
            (
                LogicalType::Date | LogicalType::Timestamp,
                Some(time::EPOCH_SECONDS | time::EPOCH_MILLISECONDS | time::EXCEL_SERIAL),
            ) => Test::Decimal,
            (LogicalType::Date | LogicalType::Timestamp, Some(time::ISO_8601)) => Test::IsoTime,
            (LogicalType::Date | LogicalType::Timestamp, Some(format)) => dates(format),
            (LogicalType::Object, _) => Test::Braces(b'{', b'}'),
            (LogicalType::Array, _) => Test::Braces(b'[', b']'),
            _ => Test::Anything,
        };
        Self { field: field.clone(), test, report: GuardReport::default() }
    }

    /// Checks one batch of the column.
    pub fn check<C: TextColumn + ?Sized>(&mut self, column: &C) {
        let before = self.report.checked + self.report.nulls;
        for row in 0..column.len() {
            let Some(text) = column.get(row).filter(|text| !text.is_empty()) else {
                self.report.nulls += 1;
                continue;
            };
            self.report.checked += 1;
            if !self.test.fits(text) {
                self.report.misfits += 1;
                if self.report.first.len() < FIRST {
                    self.report.first.push((before + row as u64, text.chars().take(200).collect()));
                }
            }
        }
    }

    pub fn field(&self) -> &Field {
        &self.field
    }

    pub fn report(&self) -> &GuardReport {
        &self.report
    }
}

impl Test {
    fn fits(&self, text: &str) -> bool {
        let bytes = text.as_bytes();
        match self {
            Self::Anything => true,
            Self::Integer => {
                let digits = unsigned(bytes);
                !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
            }
            Self::Decimal => {
                let mut points = 0;
                let plain = unsigned(bytes).iter().all(|byte| {
                    points += u8::from(*byte == b'.');
                    byte.is_ascii_digit() || *byte == b'.'
                });
                (plain && points <= 1 && bytes.iter().any(u8::is_ascii_digit))
                    || value::plain_number(text).is_some()
            }
            Self::DecimalComma => {
                matches!(
                    value::classify(text),
                    value::Class::Integer | value::Class::DecimalComma | value::Class::GroupedOrComma
                )
            }
            Self::Boolean => value::truth(text).is_some(),
            Self::Digits(pattern) => alike(bytes, pattern),
            Self::Dates { mask, month, day, format } => {
                let below = |place: &Option<usize>, most: u8| {
                    place.is_none_or(|at| {
                        let number = (bytes[at] - b'0') * 10 + (bytes[at + 1] - b'0');
                        (1..=most).contains(&number)
                    })
                };
                // No month has fewer than 28 days: the rest needs the calendar.
                (alike(bytes, mask) && below(month, 12) && below(day, 28))
                    || time::read(format, text).is_some()
            }
            Self::Format(format) => format.split('|').any(|format| time::read(format, text).is_some()),
            Self::IsoTime => time::read(time::ISO_8601, text).is_some(),
            Self::Braces(open, close) => {
                let trimmed = text.trim().as_bytes();
                trimmed.first() == Some(open) && trimmed.last() == Some(close)
            }
        }
    }
}

fn alike(bytes: &[u8], mask: &[u8]) -> bool {
    bytes.len() == mask.len()
        && bytes.iter().zip(mask).all(
            |(byte, wanted)| {
                if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted }
            },
        )
}

/// The quickest test of a strptime format: a mask for dates all of whose parts are numbers of one
/// width.
fn dates(format: &str) -> Test {
    let (mut mask, mut month, mut day) = (Vec::new(), None, None);
    let mut letters = format.bytes();
    while let Some(letter) = letters.next() {
        let directive = if letter == b'%' { letters.next() } else { None };
        match (letter, directive) {
            (b'%', Some(b'Y')) => mask.extend(b"0000"),
            (b'%', Some(b'm')) => {
                month = Some(mask.len());
                mask.extend(b"00");
            }
            (b'%', Some(b'd')) => {
                day = Some(mask.len());
                mask.extend(b"00");
            }
            (b'%' | b'|' | b'0', _) => return Test::Format(format.to_owned()),
            _ => mask.push(letter),
        }
    }
    Test::Dates { mask, month, day, format: format.to_owned() }
}

fn unsigned(bytes: &[u8]) -> &[u8] {
    match bytes.first() {
        Some(b'-' | b'+') => &bytes[1..],
        _ => bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_counted_and_quoted() {
        let guard = |logical_type, format: Option<&str>, values: &[Option<&str>]| {
            let field =
                Field { name: "f".into(), logical_type, nullable: true, format: format.map(str::to_owned) };
            let mut guard = TypeGuard::new(&field);
            guard.check(values);
            guard.report().clone()
        };
        let report =
            guard(LogicalType::Integer, None, &[Some("1"), None, Some("x"), Some("-3"), Some("1.5")]);
        assert_eq!((report.checked, report.nulls, report.misfits), (4, 1, 2));
        assert_eq!(report.first, [(2, "x".to_owned()), (4, "1.5".to_owned())]);
        for (logical_type, format, fits, misfit) in [
            (LogicalType::Decimal, None, "1.5", "1,5"),
            (LogicalType::Decimal, Some("decimal_comma"), "1.234,5", "1.5.5"),
            (LogicalType::Boolean, None, "TRUE", "maybe"),
            (LogicalType::Date, None, "2024-01-01", "01/01/2024"),
            (LogicalType::Date, Some("%d/%m/%Y"), "31/01/2024", "01/31/2024"),
            (LogicalType::Date, Some("%Y-%m-%d"), "2024-02-29", "2023-02-29"),
            (LogicalType::Timestamp, Some("%d/%m/%Y %H:%M"), "31/01/2024 10:00", "31/01/2024"),
            (LogicalType::Timestamp, None, "2024-01-01T00:00:00Z", "yesterday"),
            (LogicalType::Timestamp, Some("epoch_seconds"), "1700000000", "2024-01-01"),
            (LogicalType::Object, None, "{}", "[]"),
        ] {
            let report = guard(logical_type, format, &[Some(fits), Some(misfit)]);
            assert_eq!(report.first, [(1, misfit.to_owned())], "{logical_type:?} {format:?}");
        }
        assert_eq!(guard(LogicalType::Text, None, &[Some("x")]).misfits, 0);
    }
}
