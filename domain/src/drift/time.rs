//! Dates and times as text: the small part of strptime that sources use, read and written the same
//! everywhere. The formats are those DuckDB understands, which runs them on the data.

use chrono::{Datelike, NaiveDate};

const DAY: i64 = 86_400_000_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Seconds since 1970.
pub(crate) const EPOCH_SECONDS: &str = "epoch_seconds";
/// Milliseconds since 1970.
pub(crate) const EPOCH_MILLISECONDS: &str = "epoch_milliseconds";
/// Days since 1899-12-30.
pub(crate) const EXCEL_SERIAL: &str = "excel_serial";
/// Any ISO 8601 date with or without time, fraction and zone; for reading only.
pub(crate) const ISO_8601: &str = "iso8601";

/// Microseconds since 1970 of `text` written as `format`; none if it does not fit to the end.
pub(crate) fn read(format: &str, text: &str) -> Option<i64> {
    let text = text.trim();
    match format {
        EPOCH_SECONDS => number(text).map(|value| (value * 1e6).round() as i64),
        EPOCH_MILLISECONDS => number(text).map(|value| (value * 1e3).round() as i64),
        EXCEL_SERIAL => number(text).map(|value| ((value - 25_569.0) * DAY as f64).round() as i64),
        ISO_8601 => read_iso(text),
        _ => read_pattern(format, text),
    }
}

/// `micros` since 1970 written as `format`; none if the format cannot be written.
pub(crate) fn write(format: &str, micros: i64) -> Option<String> {
    let date = NaiveDate::from_num_days_from_ce_opt(i32::try_from(micros.div_euclid(DAY) + 719_163).ok()?)?;
    let clock = micros.rem_euclid(DAY);
    match format {
        EPOCH_SECONDS => return Some(micros.div_euclid(1_000_000).to_string()),
        EPOCH_MILLISECONDS => return Some(micros.div_euclid(1_000).to_string()),
        EXCEL_SERIAL => return Some(((micros as f64 / DAY as f64) + 25_569.0).to_string()),
        _ => {}
    }
    let mut text = String::with_capacity(format.len() + 8);
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next()? {
            'Y' => text.push_str(&format!("{:04}", date.year())),
            'y' => text.push_str(&format!("{:02}", date.year().rem_euclid(100))),
            'm' => text.push_str(&format!("{:02}", date.month())),
            'd' => text.push_str(&format!("{:02}", date.day())),
            'b' => text.push_str(MONTHS[date.month0() as usize]),
            'H' => text.push_str(&format!("{:02}", clock / 3_600_000_000)),
            'M' => text.push_str(&format!("{:02}", clock / 60_000_000 % 60)),
            'S' => text.push_str(&format!("{:02}", clock / 1_000_000 % 60)),
            'f' => text.push_str(&format!("{:06}", clock % 1_000_000)),
            'z' => text.push_str("+00"),
            '%' => text.push('%'),
            _ => return None,
        }
    }
    Some(text)
}

/// Does the format say the time of day?
pub(crate) fn has_clock(format: &str) -> bool {
    matches!(format, EPOCH_SECONDS | EPOCH_MILLISECONDS | ISO_8601)
        || format.contains("%H")
        || format.contains("%I")
}

fn number(text: &str) -> Option<f64> {
    text.parse::<f64>().ok().filter(|value| value.is_finite() && value.abs() < 1e15)
}

fn digits(bytes: &[u8], least: usize, most: usize) -> Option<(i64, usize)> {
    let mut length = 0;
    let mut value = 0_i64;
    while length < most && length < bytes.len() && bytes[length].is_ascii_digit() {
        value = value * 10 + i64::from(bytes[length] - b'0');
        length += 1;
    }
    (length >= least).then_some((value, length))
}

/// Offset from UTC in minutes, and the bytes it took: `Z`, `+01`, `+0100`, `+01:00`.
fn zone(bytes: &[u8]) -> Option<(i64, usize)> {
    match bytes.first()? {
        b'Z' | b'z' => Some((0, 1)),
        sign @ (b'+' | b'-') => {
            let (hours, mut length) = digits(&bytes[1..], 2, 2)?;
            length += 1;
            let mut minutes = 0;
            let colon = usize::from(bytes.get(length) == Some(&b':'));
            if let Some((value, more)) = bytes.get(length + colon..).and_then(|rest| digits(rest, 2, 2)) {
                minutes = value;
                length += colon + more;
            }
            let offset = hours * 60 + minutes;
            Some((if *sign == b'-' { -offset } else { offset }, length))
        }
        _ => None,
    }
}

fn fraction(bytes: &[u8]) -> Option<(i64, usize)> {
    let (_, length) = digits(bytes, 1, 9)?;
    let mut value = 0;
    for place in 0..6 {
        value =
            value * 10 + bytes.get(place).filter(|_| place < length).map_or(0, |byte| i64::from(byte - b'0'));
    }
    Some((value, length))
}

fn micros(year: i64, month: i64, day: i64, clock: i64, offset: i64) -> Option<i64> {
    let date = NaiveDate::from_ymd_opt(
        i32::try_from(year).ok()?,
        u32::try_from(month).ok()?,
        u32::try_from(day).ok()?,
    )?;
    Some((i64::from(date.num_days_from_ce()) - 719_163) * DAY + clock - offset * 60_000_000)
}

fn read_pattern(format: &str, text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let mut at = 0;
    let (mut year, mut month, mut day, mut clock, mut offset) = (None, None, None, 0_i64, 0);
    let mut pattern = format.bytes();
    while let Some(letter) = pattern.next() {
        let rest = bytes.get(at..)?;
        if letter != b'%' {
            if rest.first() != Some(&letter) {
                return None;
            }
            at += 1;
            continue;
        }
        let directive = pattern.next()?;
        let (value, length) = match directive {
            b'Y' => digits(rest, 4, 4)?,
            b'y' => digits(rest, 2, 2)?,
            b'f' => fraction(rest)?,
            b'z' => zone(rest)?,
            b'b' => {
                let name = rest.get(..3)?;
                let index = MONTHS.iter().position(|month| month.as_bytes().eq_ignore_ascii_case(name))?;
                (index as i64 + 1, 3)
            }
            b'm' | b'd' | b'H' | b'I' | b'M' | b'S' => digits(rest, 1, 2)?,
            b'p' => match rest.get(..2)? {
                half if half.eq_ignore_ascii_case(b"AM") => (0, 2),
                half if half.eq_ignore_ascii_case(b"PM") => (12, 2),
                _ => return None,
            },
            _ => return None,
        };
        at += length;
        match directive {
            b'Y' => year = Some(value),
            b'y' => year = Some(if value < 69 { 2000 + value } else { 1900 + value }),
            b'm' | b'b' => month = Some(value),
            b'd' => day = Some(value),
            b'H' if value < 24 => clock += value * 3_600_000_000,
            b'I' if (1..=12).contains(&value) => clock += value % 12 * 3_600_000_000,
            b'p' => clock += value * 3_600_000_000,
            b'M' if value < 60 => clock += value * 60_000_000,
            b'S' if value < 61 => clock += value * 1_000_000,
            b'f' => clock += value,
            b'z' => offset = value,
            _ => return None,
        }
    }
    if at != bytes.len() {
        return None;
    }
    micros(year?, month?, day?, clock, offset)
}

fn read_iso(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 10 || bytes[4] != b'-' || bytes[7] != b'-' {
        return None;
    }
    let year = digits(bytes, 4, 4)?.0;
    let month = digits(&bytes[5..], 2, 2)?.0;
    let day = digits(&bytes[8..], 2, 2)?.0;
    let (mut clock, mut offset) = (0, 0);
    let mut rest = &bytes[10..];
    if let Some((b'T' | b't' | b' ', after)) = rest.split_first() {
        let (hour, length) = digits(after, 2, 2)?;
        clock = hour * 3_600_000_000;
        rest = &after[length..];
        if let Some((b':', after)) = rest.split_first() {
            let (minute, length) = digits(after, 2, 2)?;
            clock += minute * 60_000_000;
            rest = &after[length..];
        }
        if let Some((b':', after)) = rest.split_first() {
            let (second, length) = digits(after, 2, 2)?;
            clock += second * 1_000_000;
            rest = &after[length..];
            if let Some((b'.' | b',', after)) = rest.split_first() {
                let (value, length) = fraction(after)?;
                clock += value;
                rest = &after[length..];
            }
        }
        if !rest.is_empty() {
            let (value, length) = zone(rest)?;
            offset = value;
            rest = &rest[length..];
        }
    }
    if !rest.is_empty() || clock > DAY {
        return None;
    }
    micros(year, month, day, clock, offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_back() {
        for (format, text) in [
            ("%Y-%m-%d", "2024-02-29"),
            ("%d/%m/%Y", "29/02/2024"),
            ("%m/%d/%Y", "02/29/2024"),
            ("%d.%m.%Y", "29.02.2024"),
            ("%d %b %Y", "29 Feb 2024"),
            ("%Y-%m-%dT%H:%M:%S", "1969-12-31T23:59:58"),
            ("%Y-%m-%d %H:%M:%S.%f", "2024-02-29 01:02:03.000400"),
            (EPOCH_SECONDS, "1709168523"),
            (EPOCH_MILLISECONDS, "-1"),
            (EXCEL_SERIAL, "45351"),
        ] {
            let micros = read(format, text).unwrap_or_else(|| panic!("{format} does not read {text}"));
            assert_eq!(write(format, micros).as_deref(), Some(text), "{format}");
        }
        for text in
            ["2024-02-29", "2024-02-29T00:00:00Z", "2024-02-29 01:00:00.000+0100", "2024-02-29T00:00Z"]
        {
            assert_eq!(read(ISO_8601, text), read("%Y-%m-%d", "2024-02-29"), "{text}");
        }
    }

    #[test]
    fn reads_twelve_hour_clocks() {
        for (text, same) in [
            ("1/25/2024 3:15 PM", "2024-01-25T15:15"),
            ("1/25/2024 12:00 am", "2024-01-25T00:00"),
            ("1/25/2024 12:30 PM", "2024-01-25T12:30"),
        ] {
            assert_eq!(read("%m/%d/%Y %I:%M %p", text), read(ISO_8601, same), "{text}");
        }
        assert_eq!(read("%m/%d/%Y %I:%M %p", "1/25/2024 13:00 PM"), None);
    }

    #[test]
    fn refuses_what_is_no_date() {
        for (format, text) in [
            ("%d/%m/%Y", "02/29/2024"),
            ("%Y-%m-%d", "2023-02-29"),
            ("%Y-%m-%d", "2023-02-28x"),
            (ISO_8601, "2023-02-28T25:00:00"),
            (ISO_8601, "20230228"),
        ] {
            assert_eq!(read(format, text), None, "{format} {text}");
        }
    }
}
