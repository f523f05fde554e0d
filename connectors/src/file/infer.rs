//! What the values of a text column are. Pure: values in, a [`Field`] out.
//!
//! Every non-null value must fit the type that is found, else it widens: integer → decimal → text.
//! Whatever would lose something by a cast (leading zeros, a plus sign, more digits than a number
//! holds) is text. Days and months that no value tells apart stay text, marked `ambiguous_date`.

use autonomos_domain::schema::{Field, LogicalType};

/// Date layouts, in the order they are preferred. The index is the bit in a [`Temporal::dates`] mask.
const DATE_FORMATS: [&str; 11] = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d-%m-%Y",
    "%m-%d-%Y",
    "%d.%m.%Y",
    "%d/%m/%y",
    "%m/%d/%y",
    "%d %b %Y",
    "%b %d, %Y",
];

const YEAR_FIRST_DASH: u16 = 1;
const YEAR_FIRST_SLASH: u16 = 1 << 1;
const DAY_SLASH: u16 = 1 << 2;
const MONTH_SLASH: u16 = 1 << 3;
const DAY_DASH: u16 = 1 << 4;
const MONTH_DASH: u16 = 1 << 5;
const DAY_DOT: u16 = 1 << 6;
const DAY_SLASH_SHORT: u16 = 1 << 7;
const MONTH_SLASH_SHORT: u16 = 1 << 8;
const DAY_NAME: u16 = 1 << 9;
const NAME_DAY: u16 = 1 << 10;

/// How a time is written behind a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TimeLayout {
    separator: u8,
    seconds: bool,
    fraction: bool,
    twelve_hours: bool,
    zone: bool,
}

/// A date or time: the layouts that fit it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Temporal {
    dates: u16,
    time: Option<TimeLayout>,
}

/// What one value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueShape {
    Boolean,
    YesNo,
    Integer,
    Decimal,
    /// A comma before the decimals; `decisive` unless it could be a thousands separator as well.
    DecimalComma {
        decisive: bool,
    },
    /// `1,234.56`
    Thousands,
    Temporal(Temporal),
    Object,
    Array,
    Text,
}

/// Says what a value is. Spaces around it make it text: nothing here trims.
pub fn classify(value: &str) -> ValueShape {
    let bytes = value.as_bytes();
    let Some(&first) = bytes.first() else { return ValueShape::Text };
    match first {
        b'0'..=b'9' | b'-' | b'.' => {
            if let Some(shape) = classify_number(bytes) {
                return shape;
            }
            if first.is_ascii_digit() {
                return parse_temporal(value).map_or(ValueShape::Text, ValueShape::Temporal);
            }
            ValueShape::Text
        }
        b'{' if is_json(value) => ValueShape::Object,
        b'[' if is_json(value) => ValueShape::Array,
        b't' | b'T' | b'f' | b'F'
            if value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false") =>
        {
            ValueShape::Boolean
        }
        b'y' | b'Y' | b'n' | b'N'
            if value.eq_ignore_ascii_case("yes") || value.eq_ignore_ascii_case("no") =>
        {
            ValueShape::YesNo
        }
        b'A'..=b'Z' | b'a'..=b'z' if bytes.len() >= 10 && bytes.len() <= 18 => {
            parse_temporal(value).map_or(ValueShape::Text, ValueShape::Temporal)
        }
        _ => ValueShape::Text,
    }
}

fn is_json(value: &str) -> bool {
    serde_json::from_str::<serde::de::IgnoredAny>(value).is_ok()
}

/// Most digits that are a number and no identifier, and that a 64-bit integer holds.
const MAX_DIGITS: usize = 18;

fn classify_number(bytes: &[u8]) -> Option<ValueShape> {
    let unsigned = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let digits = unsigned.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &unsigned[digits..];
    let leading_zero = digits > 1 && unsigned[0] == b'0';
    if digits > MAX_DIGITS || leading_zero {
        return None;
    }
    if rest.is_empty() {
        return (digits > 0 && bytes != b"-0").then_some(ValueShape::Integer);
    }
    if rest[0] == b'.' {
        let decimals = rest[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        let tail = &rest[1 + decimals..];
        if decimals == 0 {
            return None;
        }
        if tail.is_empty() || is_exponent(tail) {
            return Some(ValueShape::Decimal);
        }
        // 1.234,56
        return (1..=3)
            .contains(&digits)
            .then(|| grouped(unsigned, b'.', b','))
            .flatten()
            .map(|()| ValueShape::DecimalComma { decisive: true });
    }
    if digits == 0 {
        return None;
    }
    if matches!(rest[0], b'e' | b'E') {
        return (rest.len() > 1 && matches!(rest[1], b'+' | b'-') && is_exponent(rest))
            .then_some(ValueShape::Decimal);
    }
    if rest[0] == b',' {
        let decimals = &rest[1..];
        if !decimals.is_empty() && decimals.iter().all(u8::is_ascii_digit) {
            return Some(ValueShape::DecimalComma {
                decisive: decimals.len() != 3 || digits > 3 || unsigned[0] == b'0',
            });
        }
        return (digits <= 3)
            .then(|| grouped(unsigned, b',', b'.'))
            .flatten()
            .map(|()| ValueShape::Thousands);
    }
    None
}

fn is_exponent(tail: &[u8]) -> bool {
    let [b'e' | b'E', rest @ ..] = tail else { return false };
    let digits = rest.strip_prefix(b"+").or_else(|| rest.strip_prefix(b"-")).unwrap_or(rest);
    !digits.is_empty() && digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit)
}

/// `1.234.567,89` with the given separators: groups of three, then decimals.
fn grouped(unsigned: &[u8], group: u8, decimal: u8) -> Option<()> {
    let (whole, decimals) = match unsigned.iter().position(|byte| *byte == decimal) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let mut groups = whole.split(|byte| *byte == group);
    let head = groups.next()?;
    let head_fits = (1..=3).contains(&head.len()) && head.iter().all(u8::is_ascii_digit);
    let tails_fit = groups.all(|part| part.len() == 3 && part.iter().all(u8::is_ascii_digit));
    let decimals_fit = decimals.is_none_or(|part| !part.is_empty() && part.iter().all(u8::is_ascii_digit));
    (head_fits && tails_fit && decimals_fit).then_some(())
}

/// Reads up to `most` digits, at least one.
fn take_number(bytes: &[u8], most: usize) -> Option<(u32, usize)> {
    let digits = bytes.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let value = bytes[..digits].iter().fold(0_u32, |sum, byte| sum * 10 + u32::from(byte - b'0'));
    Some((value, digits))
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];

fn month_named(bytes: &[u8]) -> Option<u32> {
    let name = bytes.get(..3)?;
    MONTHS.iter().position(|month| name.eq_ignore_ascii_case(month.as_bytes())).map(|at| at as u32 + 1)
}

fn valid(year: u32, month: u32, day: u32) -> bool {
    (1000..=9999).contains(&year) && chrono::NaiveDate::from_ymd_opt(year as i32, month, day).is_some()
}

/// The date at the start of a text: the layouts that fit, and its length.
fn parse_date(bytes: &[u8]) -> Option<(u16, usize)> {
    if let Some(month) = month_named(bytes) {
        if bytes.get(3) != Some(&b' ') {
            return None;
        }
        let (day, length) = take_number(&bytes[4..], 2)?;
        let at = 4 + length;
        if bytes.get(at..at + 2) != Some(b", ") {
            return None;
        }
        let (year, 4) = take_number(&bytes[at + 2..], 4)? else { return None };
        return valid(year, month, day).then_some((NAME_DAY, at + 6));
    }
    let (first, first_length) = take_number(bytes, 4)?;
    let separator = *bytes.get(first_length)?;
    let mut at = first_length + 1;
    if separator == b' ' && first_length <= 2 {
        let month = month_named(&bytes[at..])?;
        if bytes.get(at + 3) != Some(&b' ') {
            return None;
        }
        let (year, 4) = take_number(&bytes[at + 4..], 4)? else { return None };
        return valid(year, month, first).then_some((DAY_NAME, at + 8));
    }
    let (second, second_length) = take_number(bytes.get(at..)?, 2)?;
    at += second_length;
    if bytes.get(at) != Some(&separator) {
        return None;
    }
    let (third, third_length) = take_number(bytes.get(at + 1..)?, 4)?;
    at += 1 + third_length;
    let mut mask = 0;
    match (separator, first_length, third_length) {
        // Only the padded form: `2024-1-5` is as likely a version or a code.
        (b'-', 4, 2) if second_length == 2 && valid(first, second, third) => mask |= YEAR_FIRST_DASH,
        (b'/', 4, 1 | 2) if valid(first, second, third) => mask |= YEAR_FIRST_SLASH,
        (b'.', 1 | 2, 4) if valid(third, second, first) => mask |= DAY_DOT,
        (b'/' | b'-', 1 | 2, 4) => {
            let (day_first, month_first) =
                if separator == b'/' { (DAY_SLASH, MONTH_SLASH) } else { (DAY_DASH, MONTH_DASH) };
            mask |= if valid(third, second, first) { day_first } else { 0 };
            mask |= if valid(third, first, second) { month_first } else { 0 };
        }
        (b'/', 1 | 2, 2) => {
            mask |= if valid(2000 + third, second, first) { DAY_SLASH_SHORT } else { 0 };
            mask |= if valid(2000 + third, first, second) { MONTH_SLASH_SHORT } else { 0 };
        }
        _ => {}
    }
    (mask != 0).then_some((mask, at))
}

fn parse_time(bytes: &[u8], separator: u8) -> Option<TimeLayout> {
    let (hour, hour_length) = take_number(bytes, 2)?;
    let mut at = hour_length;
    if bytes.get(at) != Some(&b':') {
        return None;
    }
    let (minute, 2) = take_number(bytes.get(at + 1..)?, 2)? else { return None };
    at += 3;
    let mut layout =
        TimeLayout { separator, seconds: false, fraction: false, twelve_hours: false, zone: false };
    let mut second = 0;
    if bytes.get(at) == Some(&b':') {
        let (value, 2) = take_number(bytes.get(at + 1..)?, 2)? else { return None };
        (second, layout.seconds, at) = (value, true, at + 3);
        if bytes.get(at) == Some(&b'.') {
            let (_, length) = take_number(bytes.get(at + 1..)?, 9)?;
            (layout.fraction, at) = (true, at + 1 + length);
        }
    }
    if let Some(half @ (b" AM" | b" PM" | b" am" | b" pm")) = bytes.get(at..at + 3) {
        (layout.twelve_hours, at) = (true, at + half.len());
    }
    let hour_fits = if layout.twelve_hours { (1..=12).contains(&hour) } else { hour < 24 };
    if !hour_fits || minute > 59 || second > 60 {
        return None;
    }
    layout.zone = match bytes.get(at..)? {
        [] => false,
        b"Z" | b"z" => true,
        [b'+' | b'-', digits @ ..] => {
            let plain: Vec<u8> = digits.iter().copied().filter(|byte| *byte != b':').collect();
            if !matches!(plain.len(), 2 | 4) || !plain.iter().all(u8::is_ascii_digit) {
                return None;
            }
            true
        }
        _ => return None,
    };
    Some(layout)
}

fn parse_temporal(value: &str) -> Option<Temporal> {
    let bytes = value.as_bytes();
    if !(6..=40).contains(&bytes.len()) {
        return None;
    }
    let (dates, length) = parse_date(bytes)?;
    match bytes.get(length) {
        None => Some(Temporal { dates, time: None }),
        Some(separator @ (b'T' | b' ')) => {
            let time = parse_time(&bytes[length + 1..], *separator)?;
            Some(Temporal { dates, time: Some(time) })
        }
        Some(_) => None,
    }
}

fn first_format(dates: u16) -> &'static str {
    DATE_FORMATS.get(dates.trailing_zeros() as usize).copied().unwrap_or("%Y-%m-%d")
}

fn timestamp_format(dates: u16, layout: TimeLayout) -> String {
    let mut format = first_format(dates).to_owned();
    format.push(layout.separator as char);
    format.push_str(if layout.twelve_hours { "%I:%M" } else { "%H:%M" });
    if layout.seconds {
        format.push_str(":%S");
    }
    if layout.fraction {
        format.push_str(".%f");
    }
    if layout.twelve_hours {
        format.push_str(" %p");
    }
    if layout.zone {
        format.push_str("%z");
    }
    format
}

/// Infers one column from a sample of its values.
#[derive(Debug, Clone, Default)]
pub struct Inferrer {
    values: u64,
    nulls: u64,
    booleans: u64,
    yes_no: u64,
    integers: u64,
    decimals: u64,
    commas: u64,
    decisive_commas: u64,
    thousands: u64,
    dates: u64,
    timestamps: u64,
    date_mask: Option<u16>,
    layout: Option<TimeLayout>,
    mixed_layout: bool,
    objects: u64,
    arrays: u64,
}

impl Inferrer {
    pub fn push_null(&mut self) {
        self.nulls += 1;
    }

    pub fn push(&mut self, value: &str) {
        self.values += 1;
        match classify(value) {
            ValueShape::Boolean => self.booleans += 1,
            ValueShape::YesNo => self.yes_no += 1,
            ValueShape::Integer => self.integers += 1,
            ValueShape::Decimal => self.decimals += 1,
            ValueShape::DecimalComma { decisive } => {
                self.commas += 1;
                self.decisive_commas += u64::from(decisive);
            }
            ValueShape::Thousands => self.thousands += 1,
            ValueShape::Object => self.objects += 1,
            ValueShape::Array => self.arrays += 1,
            ValueShape::Temporal(temporal) => self.push_temporal(temporal),
            ValueShape::Text => {}
        }
    }

    fn push_temporal(&mut self, temporal: Temporal) {
        self.date_mask = Some(self.date_mask.unwrap_or(u16::MAX) & temporal.dates);
        let Some(layout) = temporal.time else {
            self.dates += 1;
            return;
        };
        self.timestamps += 1;
        self.mixed_layout |= *self.layout.get_or_insert(layout) != layout;
    }

    pub const fn values(&self) -> u64 {
        self.values
    }

    pub const fn nulls(&self) -> u64 {
        self.nulls
    }

    /// The logical type and how it is written.
    pub fn kind(&self) -> (LogicalType, Option<String>) {
        let all = |count: u64| self.values > 0 && count == self.values;
        let written = |format: &str| Some(format.to_owned());
        if self.values == 0 {
            return (LogicalType::Unknown, None);
        }
        if all(self.booleans) {
            return (LogicalType::Boolean, None);
        }
        if all(self.yes_no) {
            return (LogicalType::Boolean, written("yes_no"));
        }
        if all(self.integers) {
            return (LogicalType::Integer, None);
        }
        if all(self.integers + self.decimals) {
            return (LogicalType::Decimal, None);
        }
        if self.commas > 0 && all(self.integers + self.commas) {
            return if self.decisive_commas > 0 {
                (LogicalType::Decimal, written("decimal_comma"))
            } else {
                (LogicalType::Text, written("ambiguous_number"))
            };
        }
        let undecided = self.commas - self.decisive_commas;
        if self.thousands > 0 && all(self.integers + self.decimals + self.thousands + undecided) {
            return (LogicalType::Decimal, written("decimal_grouped"));
        }
        if all(self.objects) {
            return (LogicalType::Object, None);
        }
        if all(self.arrays) {
            return (LogicalType::Array, None);
        }
        if all(self.dates) || all(self.timestamps) {
            return self.temporal_kind();
        }
        (LogicalType::Text, None)
    }

    fn temporal_kind(&self) -> (LogicalType, Option<String>) {
        let mask = self.date_mask.unwrap_or(0);
        let ambiguous = [DAY_SLASH | MONTH_SLASH, DAY_DASH | MONTH_DASH, DAY_SLASH_SHORT | MONTH_SLASH_SHORT]
            .iter()
            .any(|pair| mask & pair == *pair);
        if ambiguous {
            return (LogicalType::Text, Some("ambiguous_date".to_owned()));
        }
        if mask == 0 {
            return (LogicalType::Text, Some("mixed_dates".to_owned()));
        }
        // The standard's own form needs no format, whatever fraction or zone it has.
        let standard = mask == YEAR_FIRST_DASH && self.layout.is_none_or(|layout| !layout.twelve_hours);
        match self.layout {
            None if standard => (LogicalType::Date, None),
            None => (LogicalType::Date, Some(first_format(mask).to_owned())),
            Some(_) if standard => (LogicalType::Timestamp, None),
            Some(_) if self.mixed_layout => (LogicalType::Text, Some("mixed_dates".to_owned())),
            Some(layout) => (LogicalType::Timestamp, Some(timestamp_format(mask, layout))),
        }
    }

    pub fn finish(&self, name: &str) -> Field {
        let (logical_type, format) = self.kind();
        Field { name: name.to_owned(), logical_type, nullable: self.nulls > 0 || self.values == 0, format }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(values: &[&str], expected: LogicalType, format: Option<&str>) {
        let mut inferrer = Inferrer::default();
        for value in values {
            inferrer.push(value);
        }
        assert_eq!(inferrer.kind(), (expected, format.map(str::to_owned)), "{values:?}");
    }

    #[test]
    fn types_widen_and_never_lose_a_digit() {
        check(&["1", "-20", "0"], LogicalType::Integer, None);
        check(&["1", "2.50", "-.5"], LogicalType::Decimal, None);
        check(&["1", "x"], LogicalType::Text, None);
        check(&["007", "12"], LogicalType::Text, None);
        check(&["+4915112345"], LogicalType::Text, None);
        check(&["1234567890123456789"], LogicalType::Text, None);
        check(&["1e5"], LogicalType::Text, None);
        check(&["1.5e-7"], LogicalType::Decimal, None);
        check(&["true", "FALSE"], LogicalType::Boolean, None);
        check(&["1", "true"], LogicalType::Text, None);
        check(&[" 1"], LogicalType::Text, None);
        check(&[], LogicalType::Unknown, None);
    }

    #[test]
    fn decimal_comma() {
        check(&["1,5", "2", "1.234,56"], LogicalType::Decimal, Some("decimal_comma"));
        check(&["1,234", "2,500"], LogicalType::Text, Some("ambiguous_number"));
        check(&["1,234.50", "1,234", "12"], LogicalType::Decimal, Some("decimal_grouped"));
        check(&["1,234.50", "1,5"], LogicalType::Text, None);
    }

    #[test]
    fn day_and_month_ambiguous() {
        check(&["01/02/2024", "03/04/2024"], LogicalType::Text, Some("ambiguous_date"));
        check(&["01/02/2024", "13/04/2024"], LogicalType::Date, Some("%d/%m/%Y"));
        check(&["01/02/2024", "4/25/2024"], LogicalType::Date, Some("%m/%d/%Y"));
        check(&["13/04/2024", "4/25/2024"], LogicalType::Text, Some("mixed_dates"));
        check(&["01.02.2024"], LogicalType::Date, Some("%d.%m.%Y"));
        check(&["2024-02-29"], LogicalType::Date, None);
        check(&["2023-02-29"], LogicalType::Text, None);
        check(&["20240105"], LogicalType::Integer, None);
    }

    #[test]
    fn timestamps() {
        check(&["2020-10-22T21:03:23.000+0000", "2024-01-05T10:00:00Z"], LogicalType::Timestamp, None);
        check(&["2024-01-05 10:00:00", "2024-01-06 11:30"], LogicalType::Timestamp, None);
        check(&["25.01.2024 10:00"], LogicalType::Timestamp, Some("%d.%m.%Y %H:%M"));
        check(&["25.01.2024 10:00", "25.01.2024 10:00:01"], LogicalType::Text, Some("mixed_dates"));
        check(&["1/25/2024 3:15 PM"], LogicalType::Timestamp, Some("%m/%d/%Y %I:%M %p"));
        check(&["2024-01-05", "2024-01-05T10:00:00Z"], LogicalType::Text, None);
    }

    #[test]
    fn words_and_codes_are_not_dates() {
        for text in ["March", "May 2024", "1-2-3", "10.0.0.1", "2024-Q1", "A-2024-01-05", "24/7", "12/2024"] {
            check(&[text], LogicalType::Text, None);
        }
    }
}
