//! What Salesforce's texts mean, and how they are written in a batch: the same whether a row came as
//! JSON or as CSV.

use autonomos_domain::schema::LogicalType;
use chrono::{DateTime, SecondsFormat};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What a field's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Boolean,
    Integer,
    Decimal,
    Date,
    Instant,
    /// A record's id, or a reference to one.
    Id,
    Text,
}

impl Kind {
    /// By the type in a describe; none for what cannot be read as one value: its parts are fields too, or
    /// it is a file.
    pub(super) fn of(described: &str) -> Option<Self> {
        Some(match described {
            "address" | "location" | "base64" | "complexvalue" => return None,
            "boolean" => Self::Boolean,
            "int" | "long" => Self::Integer,
            "double" | "currency" | "percent" => Self::Decimal,
            "date" => Self::Date,
            "datetime" => Self::Instant,
            "id" | "reference" => Self::Id,
            _ => Self::Text,
        })
    }

    pub(super) const fn logical(self) -> LogicalType {
        match self {
            Self::Boolean => LogicalType::Boolean,
            Self::Integer => LogicalType::Integer,
            Self::Decimal => LogicalType::Decimal,
            Self::Date => LogicalType::Date,
            Self::Instant => LogicalType::Timestamp,
            Self::Id | Self::Text => LogicalType::Text,
        }
    }

    /// The value as a batch holds it; nothing where nothing is. `NA` is a text.
    pub(super) fn write(self, text: String) -> Option<String> {
        if text.is_empty() {
            return None;
        }
        Some(match self {
            Self::Decimal | Self::Integer => plain(&text).unwrap_or(text),
            Self::Instant => instant(&text).unwrap_or(text),
            Self::Id => long_id(&text).unwrap_or(text),
            Self::Boolean | Self::Date | Self::Text => text,
        })
    }
}

/// A JSON value's text: numbers as they stand, for a number read as binary is not the number.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "null" => None,
        quoted if quoted.starts_with('"') => serde_json::from_str(quoted).ok(),
        other => Some(other.to_owned()),
    }
}

/// `2020-10-22T21:03:23.000+0000` and `2020-10-22T21:03:23.000Z` are one moment, and one text.
pub(super) fn instant(text: &str) -> Option<String> {
    if text.ends_with('Z') && text.len() == 24 {
        return Some(text.to_owned());
    }
    let parsed = DateTime::parse_from_rfc3339(text)
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
        .ok()?;
    Some(parsed.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// `950000000.0`, `9.5E8` and `950000000` are one number, and one text.
fn plain(text: &str) -> Option<String> {
    let (number, exponent) = match text.split_once(['E', 'e']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |number| ("-", number));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) || exponent.abs() > 400 {
        return None;
    }
    let mut all = format!("{whole}{fraction}");
    let mut point = whole.len() as i32 + exponent;
    if point < 1 {
        all.insert_str(0, &"0".repeat((1 - point) as usize));
        point = 1;
    }
    while (all.len() as i32) < point {
        all.push('0');
    }
    let (whole, fraction) = all.split_at(point as usize);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let sign = if whole == "0" && fraction.is_empty() { "" } else { sign };
    Some(if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") })
}

/// An id of 15 letters with the three that say which of them are capitals.
fn long_id(id: &str) -> Option<String> {
    if id.len() != 15 || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let suffix = id.as_bytes().chunks(5).map(|part| {
        let capitals = part.iter().enumerate().filter(|(_, byte)| byte.is_ascii_uppercase());
        let place: usize = capitals.map(|(bit, _)| 1 << bit).sum();
        char::from(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[place])
    });
    Some(id.chars().chain(suffix).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_is_one_text_however_it_came() {
        let check = |kind: Kind, text: &str, expect: &str| {
            assert_eq!(kind.write(text.to_owned()).as_deref(), Some(expect), "{text}");
        };
        for (text, expect) in [
            ("39000", "39000"),
            ("950000000.0", "950000000"),
            ("9.5E8", "950000000"),
            ("-0.50", "-0.5"),
            ("1.25E-3", "0.00125"),
            ("0.0", "0"),
            ("-0.0", "0"),
            ("12345678901234567.89", "12345678901234567.89"),
            ("007", "7"),
            ("n/a", "n/a"),
        ] {
            check(Kind::Decimal, text, expect);
        }
        check(Kind::Instant, "2020-10-22T21:03:23.000+0000", "2020-10-22T21:03:23.000Z");
        check(Kind::Instant, "2020-10-22T23:03:23.5+02:00", "2020-10-22T21:03:23.500Z");
        check(Kind::Id, "a00D0000008pQRA", "a00D0000008pQRAIA2");
        check(Kind::Id, "a00D0000008pQRAIA2", "a00D0000008pQRAIA2");
        check(Kind::Text, "NA", "NA");
        assert_eq!(Kind::Text.write(String::new()), None);
        let raw = |json: &str| text(&RawValue::from_string(json.to_owned()).expect("JSON"));
        assert_eq!(raw("null"), None);
        assert_eq!(raw("\"a\\nb\"").as_deref(), Some("a\nb"));
        assert_eq!(raw("950000000.0").as_deref(), Some("950000000.0"));
    }
}
