//! What PostgREST's JSON values mean, and how they are written in a batch: as the direct connection writes
//! them ([`crate::postgres`]), as far as the JSON tells. Numbers keep every digit: their text is taken as
//! it stands, for a number read as binary is not the number.

use crate::postgres::value::Kind;
use chrono::DateTime;
use serde_json::{Value, value::RawValue};

/// What a type's values are, by the name that the description gives it: Postgres' own, or one of its
/// aliases.
pub(super) fn kind(format: &str) -> Kind {
    if let Some(element) = format.strip_suffix("[]") {
        return Kind::Array(Box::new(kind(element)), ',');
    }
    match format {
        "boolean" | "bool" => Kind::Boolean,
        "bigint" | "integer" | "smallint" | "oid" | "int8" | "int4" | "int2" => Kind::Integer,
        "numeric" | "double precision" | "real" | "float8" | "float4" => Kind::Decimal,
        "date" => Kind::Date,
        "timestamp without time zone" | "timestamp" => Kind::Timestamp,
        "timestamp with time zone" | "timestamptz" => Kind::Instant,
        "bytea" => Kind::Binary,
        _ => Kind::Text,
    }
}

/// Whether values are documents, which are asked for as text: within JSON nothing would tell the document
/// `null` from no document.
pub(super) fn is_document(format: &str) -> bool {
    matches!(format, "json" | "jsonb")
}

/// A value as it can be told to the server again.
pub(super) fn text(raw: &RawValue) -> Option<String> {
    match raw.get() {
        "null" => None,
        quoted if quoted.starts_with('"') => serde_json::from_str(quoted).ok(),
        other => Some(other.to_owned()),
    }
}

/// The value as a batch holds it.
pub(super) fn write(kind: &Kind, text: String) -> String {
    match kind {
        Kind::Instant => utc(&text).unwrap_or(text),
        Kind::Binary => text.strip_prefix("\\x").map(str::to_owned).unwrap_or(text),
        Kind::Array(element, _) => array(element, &text).unwrap_or(text),
        _ => text,
    }
}

/// `2026-11-23T20:05:00.5+01:00` at Greenwich; `infinity` stays as it is, and years before Christ as the
/// database writes them.
fn utc(text: &str) -> Option<String> {
    if let Some(time) = text.strip_suffix("+00:00 BC") {
        return Some(format!("{}+00 BC", time.replacen('T', " ", 1)));
    }
    if let Some(time) = text.strip_suffix("+00:00") {
        return Some(format!("{time}Z"));
    }
    let moment = DateTime::parse_from_rfc3339(text).ok()?.to_utc();
    let fraction = text.split_once('.').map_or("", |(_, rest)| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        &rest[..digits]
    });
    let point = if fraction.is_empty() { "" } else { "." };
    Some(format!("{}{point}{fraction}Z", moment.format("%Y-%m-%dT%H:%M:%S")))
}

/// An array with its elements written as values are.
fn array(element: &Kind, text: &str) -> Option<String> {
    let elements: Vec<Box<RawValue>> = serde_json::from_str(text).ok()?;
    let written: Vec<String> = elements
        .iter()
        .map(|raw| match raw.get() {
            inner if inner.starts_with('[') => array(element, inner).unwrap_or_else(|| inner.to_owned()),
            quoted if quoted.starts_with('"') => {
                let text = serde_json::from_str(quoted).unwrap_or_default();
                Value::String(write(element, text)).to_string()
            }
            other => other.to_owned(),
        })
        .collect();
    Some(format!("[{}]", written.join(",")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(format: &str, json: &str, expect: &str) {
        let raw = RawValue::from_string(json.to_owned()).expect("JSON");
        let text = text(&raw).expect("a value");
        assert_eq!(write(&kind(format), text), expect, "{format} {json}");
    }

    #[test]
    fn values_are_written_as_the_direct_connection_writes_them() {
        check("numeric", "12345678901234567890.10", "12345678901234567890.10");
        check("numeric", "\"NaN\"", "NaN");
        check("bigint", "9223372036854775807", "9223372036854775807");
        check("boolean", "true", "true");
        check("timestamp with time zone", "\"2026-11-23T19:05:00.5+00:00\"", "2026-11-23T19:05:00.5Z");
        check("timestamptz", "\"2026-11-23T20:05:00.123456+01:00\"", "2026-11-23T19:05:00.123456Z");
        check("timestamptz", "\"2026-02-28T01:02:03-05:00\"", "2026-02-28T06:02:03Z");
        check("timestamptz", "\"0044-03-15T00:00:00+00:00 BC\"", "0044-03-15 00:00:00+00 BC");
        check("timestamptz", "\"infinity\"", "infinity");
        check("timestamp without time zone", "\"2026-11-23T19:05:00\"", "2026-11-23T19:05:00");
        check("bytea", "\"\\\\x00ff\"", "00ff");
        check("character", "\"ab   \"", "ab   ");
        check("jsonb", "\"{\\\"a\\\": 1.0}\"", "{\"a\": 1.0}");
        check("text[]", "[\"a,b\", null, \"q\\\"\"]", "[\"a,b\",null,\"q\\\"\"]");
        check("integer[]", "[[1,2],[3,null]]", "[[1,2],[3,null]]");
        check("numeric[]", "[1.50,\"NaN\"]", "[1.50,\"NaN\"]");
        check("bytea[]", "[\"\\\\x00ff\"]", "[\"00ff\"]");
        check("timestamptz[]", "[\"2026-01-01T00:00:00+00:00\"]", "[\"2026-01-01T00:00:00Z\"]");
        let null = RawValue::from_string("null".to_owned()).expect("JSON");
        assert_eq!(super::text(&null), None);
    }
}
