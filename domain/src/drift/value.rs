//! What one text value parses as. An identifier with leading zeros is text, never a number: it
//! would not come back as it was written.

use super::time;

/// The class of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Empty or nothing but spaces.
    Blank,
    Integer,
    Decimal,
    /// `1.234,50`, `0,5`.
    DecimalComma,
    /// `1,234.50`.
    DecimalGrouped,
    /// `1,234`: either of the two above.
    GroupedOrComma,
    Boolean,
    Time(TimeForm),
    Email,
    Url,
    Uuid,
    Phone,
    /// JSON object.
    Object,
    /// JSON array.
    Array,
    Text,
}

/// How a date or time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimeForm {
    pub date: DateForm,
    pub clock: Clock,
    /// `T` between date and time rather than a space.
    pub letter: bool,
    pub zone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DateForm {
    Iso,
    YearSlash,
    DaySlash,
    MonthSlash,
    /// `03/04/2024`: day or month first.
    EitherSlash,
    DayDot,
    DayDash,
    MonthDash,
    /// `03-04-2024`: day or month first.
    EitherDash,
    DayNameSpace,
    DayNameDash,
    NameDay,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Clock {
    None,
    Minutes,
    Seconds,
    Fraction,
}

impl DateForm {
    /// The formats it may be, most usual first.
    pub const fn formats(self) -> &'static [&'static str] {
        match self {
            Self::Iso => &["%Y-%m-%d"],
            Self::YearSlash => &["%Y/%m/%d"],
            Self::DaySlash => &["%d/%m/%Y"],
            Self::MonthSlash => &["%m/%d/%Y"],
            Self::EitherSlash => &["%d/%m/%Y", "%m/%d/%Y"],
            Self::DayDot => &["%d.%m.%Y"],
            Self::DayDash => &["%d-%m-%Y"],
            Self::MonthDash => &["%m-%d-%Y"],
            Self::EitherDash => &["%d-%m-%Y", "%m-%d-%Y"],
            Self::DayNameSpace => &["%d %b %Y"],
            Self::DayNameDash => &["%d-%b-%Y"],
            Self::NameDay => &["%b %d, %Y"],
        }
    }
}

impl TimeForm {
    /// The strptime formats it may be, most usual first.
    pub fn formats(self) -> Vec<String> {
        let clock = match self.clock {
            Clock::None => "",
            Clock::Minutes => "%H:%M",
            Clock::Seconds => "%H:%M:%S",
            Clock::Fraction => "%H:%M:%S.%f",
        };
        let between = match (self.clock, self.letter) {
            (Clock::None, _) => "",
            (_, true) => "T",
            (_, false) => " ",
        };
        let zone = if self.zone { "%z" } else { "" };
        self.date.formats().iter().map(|date| format!("{date}{between}{clock}{zone}")).collect()
    }
}

impl Class {
    /// The name it has in a profile's `shapes`: `integer`, `date:%Y-%m-%d`, … A form that may be
    /// read two ways has both, joined by `|`.
    pub fn name(self) -> String {
        let plain = match self {
            Self::Blank => "blank",
            Self::Integer => "integer",
            Self::Decimal => "decimal",
            Self::DecimalComma => "decimal_comma",
            Self::DecimalGrouped | Self::GroupedOrComma => "decimal_grouped",
            Self::Boolean => "boolean",
            Self::Time(form) => {
                let kind = if form.clock == Clock::None { "date" } else { "timestamp" };
                return format!("{kind}:{}", form.formats().join("|"));
            }
            Self::Email => "email",
            Self::Url => "url",
            Self::Uuid => "uuid",
            Self::Phone => "phone",
            Self::Object => "object",
            Self::Array => "array",
            Self::Text => "text",
        };
        plain.to_owned()
    }
}

/// Classifies one value.
pub fn classify(text: &str) -> Class {
    let text = text.trim();
    let bytes = text.as_bytes();
    let Some(&first) = bytes.first() else { return Class::Blank };
    let last = bytes[bytes.len() - 1];
    match (first, last) {
        (b'{', b'}') => return Class::Object,
        (b'[', b']') => return Class::Array,
        _ => {}
    }
    if bytes.len() <= 5 && is_boolean(text) {
        return Class::Boolean;
    }
    if first.is_ascii_digit() || matches!(first, b'-' | b'+' | b'.' | b'(') {
        if let Some(class) = classify_number(bytes) {
            return class;
        }
        if first.is_ascii_digit()
            && let Some(form) = classify_time(text)
        {
            return Class::Time(form);
        }
        if is_uuid(bytes) {
            return Class::Uuid;
        }
        if is_phone(bytes) {
            return Class::Phone;
        }
    } else if bytes.len() <= 40 && bytes.len() >= 11 && bytes[3] == b' ' && first.is_ascii_alphabetic() {
        if let Some(form) = classify_time(text) {
            return Class::Time(form);
        }
    } else if is_uuid(bytes) {
        return Class::Uuid;
    }
    if is_url(text) {
        return Class::Url;
    }
    if is_email(bytes) {
        return Class::Email;
    }
    Class::Text
}

/// `true`, `false`, `yes`, `no`, `y`, `n`, `t`, `f`, in any case.
pub fn is_boolean(text: &str) -> bool {
    ["true", "false", "yes", "no", "y", "n", "t", "f"].iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// What a boolean word means.
pub fn truth(text: &str) -> Option<bool> {
    let text = text.trim();
    let is = |words: &[&str]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(&["true", "yes", "y", "t", "1"]) {
        Some(true)
    } else if is(&["false", "no", "n", "f", "0"]) {
        Some(false)
    } else {
        None
    }
}

fn classify_number(bytes: &[u8]) -> Option<Class> {
    let body = match bytes[0] {
        b'-' | b'+' => &bytes[1..],
        _ => bytes,
    };
    let (mut points, mut commas, mut exponent) = (0_usize, 0_usize, false);
    let mut digit_count = 0_usize;
    for (index, byte) in body.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digit_count += 1,
            b'.' => points += 1,
            b',' => commas += 1,
            b'e' | b'E' if index > 0 && commas == 0 && !exponent => exponent = true,
            b'-' | b'+' if exponent && matches!(body[index - 1], b'e' | b'E') => {}
            _ => return None,
        }
    }
    if digit_count == 0 || digit_count > 38 {
        return None;
    }
    let whole_length =
        body.iter().position(|byte| matches!(byte, b'.' | b',' | b'e' | b'E')).unwrap_or(body.len());
    if whole_length > 1 && body[0] == b'0' {
        return None;
    }
    if exponent {
        let text = std::str::from_utf8(bytes).ok()?;
        return (points <= 1 && text.parse::<f64>().is_ok()).then_some(Class::Decimal);
    }
    match (points, commas) {
        (0, 0) => Some(Class::Integer),
        (1, 0) if whole_length + 1 < body.len() => Some(Class::Decimal),
        (_, 0) if grouped(body, b'.') => Some(Class::DecimalComma),
        (0, 1) if grouped(body, b',') => Some(Class::GroupedOrComma),
        (0, 1) if whole_length > 0 && whole_length + 1 < body.len() => Some(Class::DecimalComma),
        (0, _) if grouped(body, b',') => Some(Class::DecimalGrouped),
        (_, 1) => {
            let comma = body.iter().position(|byte| *byte == b',')?;
            if grouped(&body[..comma], b'.') { Some(Class::DecimalComma) } else { grouped_then_point(body) }
        }
        (1, _) => grouped_then_point(body),
        _ => None,
    }
}

fn grouped_then_point(body: &[u8]) -> Option<Class> {
    let point = body.iter().position(|byte| *byte == b'.')?;
    (grouped(&body[..point], b',') && !body[point + 1..].contains(&b',')).then_some(Class::DecimalGrouped)
}

/// One to three digits, then groups of exactly three behind `separator`, at least one.
fn grouped(body: &[u8], separator: u8) -> bool {
    let mut groups = body.split(|byte| *byte == separator);
    let first = groups.next().unwrap_or_default();
    let mut count = 0;
    let threes = groups.all(|group| {
        count += 1;
        group.len() == 3 && group.iter().all(u8::is_ascii_digit)
    });
    threes && count > 0 && (1..=3).contains(&first.len()) && first.iter().all(u8::is_ascii_digit)
}

fn classify_time(text: &str) -> Option<TimeForm> {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || bytes.len() > 40 {
        return None;
    }
    let date_length = date_length(bytes)?;
    let (date_text, rest) = (text.get(..date_length)?, text.get(date_length..)?);
    let date = date_form(date_text)?;
    let plain = TimeForm { date, clock: Clock::None, letter: false, zone: false };
    if rest.is_empty() {
        return Some(plain);
    }
    let letter = match rest.as_bytes()[0] {
        b'T' | b't' => true,
        b' ' => false,
        _ => return None,
    };
    let mut clock_length = 0;
    let after = &rest.as_bytes()[1..];
    while clock_length < after.len() && matches!(after[clock_length], b'0'..=b'9' | b':' | b'.') {
        clock_length += 1;
    }
    let clock_text = &after[..clock_length];
    let clock = match clock_text.split(|byte| *byte == b':').count() - 1 {
        1 => Clock::Minutes,
        2 if clock_text.contains(&b'.') => Clock::Fraction,
        2 => Clock::Seconds,
        _ => return None,
    };
    let form = TimeForm { date, clock, letter, zone: clock_length < after.len() };
    time::read(&form.formats()[0], text)
        .or_else(|| form.formats().get(1).and_then(|format| time::read(format, text)))
        .map(|_| form)
}

fn date_length(bytes: &[u8]) -> Option<usize> {
    // A date ends before `T` or before the space in front of `hh:`.
    let colon = bytes.iter().position(|byte| *byte == b':');
    let end = match colon {
        None => bytes.len(),
        Some(colon) => bytes[..colon].iter().rposition(|byte| matches!(byte, b'T' | b't' | b' '))?,
    };
    (8..=12).contains(&end).then_some(end)
}

fn date_form(text: &str) -> Option<DateForm> {
    let bytes = text.as_bytes();
    let reads = |form: DateForm| time::read(form.formats()[0], text).is_some();
    let form = if bytes[0].is_ascii_alphabetic() {
        DateForm::NameDay
    } else if bytes.len() >= 10 && bytes[4] == b'-' {
        DateForm::Iso
    } else if bytes.len() >= 8 && bytes[4] == b'/' {
        DateForm::YearSlash
    } else {
        let separator = *bytes.iter().find(|byte| !byte.is_ascii_digit())?;
        let alphabetic = bytes.iter().any(u8::is_ascii_alphabetic);
        match (separator, alphabetic) {
            (b'/', false) => {
                return match (reads(DateForm::DaySlash), reads(DateForm::MonthSlash)) {
                    (true, true) => Some(DateForm::EitherSlash),
                    (true, false) => Some(DateForm::DaySlash),
                    (false, true) => Some(DateForm::MonthSlash),
                    (false, false) => None,
                };
            }
            (b'-', false) => {
                return match (reads(DateForm::DayDash), reads(DateForm::MonthDash)) {
                    (true, true) => Some(DateForm::EitherDash),
                    (true, false) => Some(DateForm::DayDash),
                    (false, true) => Some(DateForm::MonthDash),
                    (false, false) => None,
                };
            }
            (b'.', false) => DateForm::DayDot,
            (b' ', true) => DateForm::DayNameSpace,
            (b'-', true) => DateForm::DayNameDash,
            _ => return None,
        }
    };
    reads(form).then_some(form)
}

fn is_uuid(bytes: &[u8]) -> bool {
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_phone(bytes: &[u8]) -> bool {
    if bytes.len() > 25 {
        return false;
    }
    let mut digits = 0;
    let mut separators = 0;
    for byte in bytes {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'+' | b'(' | b')' | b'-' | b' ' | b'.' | b'/' => separators += 1,
            b'x' => {}
            _ => return false,
        }
    }
    // Without a `+` or a bracket, eight digits are as likely a mistyped date.
    let least = if matches!(bytes[0], b'+' | b'(') { 7 } else { 9 };
    (least..=18).contains(&digits) && separators > 0
}

fn is_url(text: &str) -> bool {
    let rest = ["https://", "http://", "www."].iter().find_map(|prefix| {
        text.get(..prefix.len())
            .filter(|head| head.eq_ignore_ascii_case(prefix))
            .map(|_| &text[prefix.len()..])
    });
    rest.is_some_and(|rest| rest.len() > 2 && !rest.contains(' '))
}

fn is_email(bytes: &[u8]) -> bool {
    let Some(at) = bytes.iter().position(|byte| *byte == b'@') else { return false };
    let host = &bytes[at + 1..];
    at > 0
        && host.len() > 2
        && host.contains(&b'.')
        && !bytes.contains(&b' ')
        && !host.contains(&b'@')
        && host[0] != b'.'
        && host[host.len() - 1] != b'.'
}

/// The number a plain value (`integer` or `decimal`) stands for.
pub(crate) fn plain_number(text: &str) -> Option<f64> {
    let text = text.trim();
    match classify_number(text.as_bytes().get(..)?.first().map(|_| text.as_bytes())?) {
        Some(Class::Integer | Class::Decimal) => text.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (text, name) in [
            ("", "blank"),
            ("  ", "blank"),
            ("12", "integer"),
            ("-0", "integer"),
            ("0", "integer"),
            ("007", "text"),
            ("00.5", "text"),
            ("0.5", "decimal"),
            ("950000000.0", "decimal"),
            ("1e5", "decimal"),
            ("1.234,50", "decimal_comma"),
            ("0,5", "decimal_comma"),
            ("1.234.567", "decimal_comma"),
            ("1,234.50", "decimal_grouped"),
            ("1,234,567", "decimal_grouped"),
            ("true", "boolean"),
            ("N", "boolean"),
            ("2024-02-29", "date:%Y-%m-%d"),
            ("2024-02-30", "text"),
            ("13/02/2024", "date:%d/%m/%Y"),
            ("02/13/2024", "date:%m/%d/%Y"),
            ("02/03/2024", "date:%d/%m/%Y|%m/%d/%Y"),
            ("13.02.2024", "date:%d.%m.%Y"),
            ("13 Feb 2024", "date:%d %b %Y"),
            ("Feb 13, 2024", "date:%b %d, %Y"),
            ("2020-10-22T21:03:23.000+0000", "timestamp:%Y-%m-%dT%H:%M:%S.%f%z"),
            ("2020-10-22 21:03:23", "timestamp:%Y-%m-%d %H:%M:%S"),
            ("13/02/2024 10:00", "timestamp:%d/%m/%Y %H:%M"),
            ("ada@example.org", "email"),
            ("https://example.org/a", "url"),
            ("+49 30 1234567", "phone"),
            ("(555) 123-4567", "phone"),
            ("67e55044-10b1-426f-9247-bb680e5fe0c8", "uuid"),
            ("{\"a\":1}", "object"),
            ("[1]", "array"),
            ("1, 2", "text"),
            ("Ada & Co. Ltd", "text"),
            ("12 Main Street", "text"),
        ] {
            assert_eq!(classify(text).name(), name, "{text}");
        }
    }
}
