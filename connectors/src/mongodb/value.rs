//! What BSON values are, and how they are written in a batch: numbers exactly as they stand, times as
//! RFC 3339 with milliseconds, identifiers as hex, bytes as base64, what is nested as JSON.

use autonomos_domain::schema::LogicalType;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use mongodb::bson::{DateTime, RawArray, RawBsonRef, RawDocument, spec::BinarySubtype};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// Beyond this a double does not tell whole numbers apart.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A type of BSON, named as the query language names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Kind {
    Bool,
    Int,
    Long,
    Double,
    Decimal,
    Date,
    BinData,
    /// A UUID, which is a `binData` of its own subtype.
    Uuid,
    Object,
    Array,
    String,
    ObjectId,
    Timestamp,
    Regex,
    Javascript,
    Symbol,
    DbPointer,
    MinKey,
    MaxKey,
}

impl Kind {
    /// What a value is; none for one that is not there.
    pub(super) fn of(value: RawBsonRef<'_>) -> Option<Self> {
        Some(match value {
            RawBsonRef::Null | RawBsonRef::Undefined => return None,
            RawBsonRef::Boolean(_) => Self::Bool,
            RawBsonRef::Int32(_) => Self::Int,
            RawBsonRef::Int64(_) => Self::Long,
            RawBsonRef::Double(_) => Self::Double,
            RawBsonRef::Decimal128(_) => Self::Decimal,
            RawBsonRef::DateTime(_) => Self::Date,
            RawBsonRef::Binary(binary) if uuid(binary.subtype, binary.bytes).is_some() => Self::Uuid,
            RawBsonRef::Binary(_) => Self::BinData,
            RawBsonRef::Document(_) => Self::Object,
            RawBsonRef::Array(_) => Self::Array,
            RawBsonRef::String(_) => Self::String,
            RawBsonRef::ObjectId(_) => Self::ObjectId,
            RawBsonRef::Timestamp(_) => Self::Timestamp,
            RawBsonRef::RegularExpression(_) => Self::Regex,
            RawBsonRef::JavaScriptCode(_) | RawBsonRef::JavaScriptCodeWithScope(_) => Self::Javascript,
            RawBsonRef::Symbol(_) => Self::Symbol,
            RawBsonRef::DbPointer(_) => Self::DbPointer,
            RawBsonRef::MinKey => Self::MinKey,
            RawBsonRef::MaxKey => Self::MaxKey,
        })
    }

    /// A `bsonType` of a `$jsonSchema`.
    pub(super) fn named(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }

    /// The name that the query language has for it.
    pub(super) const fn alias(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::Decimal => "decimal",
            Self::Date => "date",
            Self::BinData | Self::Uuid => "binData",
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::ObjectId => "objectId",
            Self::Timestamp => "timestamp",
            Self::Regex => "regex",
            Self::Javascript => "javascript",
            Self::Symbol => "symbol",
            Self::DbPointer => "dbPointer",
            Self::MinKey => "minKey",
            Self::MaxKey => "maxKey",
        }
    }

    /// Kinds whose values may be equal to one another.
    pub(super) const fn class(self) -> &'static str {
        match self {
            Self::Int | Self::Long | Self::Double | Self::Decimal => "number",
            Self::Uuid => "uuid",
            other => other.alias(),
        }
    }

    const fn logical(self) -> LogicalType {
        match self {
            Self::Bool => LogicalType::Boolean,
            Self::Int | Self::Long => LogicalType::Integer,
            Self::Double | Self::Decimal => LogicalType::Decimal,
            Self::Date => LogicalType::Timestamp,
            Self::BinData => LogicalType::Binary,
            Self::Object => LogicalType::Object,
            Self::Array => LogicalType::Array,
            _ => LogicalType::Text,
        }
    }
}

/// What a field is whose values are of these kinds: one of mixed types is text.
pub(super) fn logical(kinds: &BTreeSet<Kind>) -> LogicalType {
    let types: BTreeSet<LogicalType> = kinds.iter().map(|kind| kind.logical()).collect();
    let number = |logical: &LogicalType| matches!(logical, LogicalType::Integer | LogicalType::Decimal);
    match types.len() {
        0 => LogicalType::Unknown,
        1 => types.first().copied().unwrap_or(LogicalType::Text),
        _ if types.iter().all(number) => LogicalType::Decimal,
        _ => LogicalType::Text,
    }
}

/// A value as a batch holds it; none for one that is not there. Fails where a document's bytes are no BSON.
pub(super) fn text(value: RawBsonRef<'_>) -> Result<Option<String>, mongodb::bson::error::Error> {
    Ok(Some(match value {
        RawBsonRef::Null | RawBsonRef::Undefined => return Ok(None),
        RawBsonRef::Document(_) | RawBsonRef::Array(_) | RawBsonRef::JavaScriptCodeWithScope(_) => {
            let mut json = String::new();
            write_json(value, &mut json)?;
            json
        }
        RawBsonRef::Boolean(value) => value.to_string(),
        RawBsonRef::Int32(value) => value.to_string(),
        RawBsonRef::Int64(value) => value.to_string(),
        RawBsonRef::Double(value) => double(value),
        RawBsonRef::Decimal128(value) => value.to_string(),
        RawBsonRef::DateTime(value) => date(value),
        RawBsonRef::Binary(binary) => bytes(binary.subtype, binary.bytes),
        RawBsonRef::String(value) | RawBsonRef::JavaScriptCode(value) | RawBsonRef::Symbol(value) => {
            value.to_owned()
        }
        RawBsonRef::ObjectId(value) => value.to_hex(),
        // Seconds, and the number of the operation within the second.
        RawBsonRef::Timestamp(value) => format!("{}:{}", value.time, value.increment),
        RawBsonRef::RegularExpression(value) => {
            format!("/{}/{}", value.pattern.as_str(), value.options.as_str())
        }
        RawBsonRef::DbPointer(_) => format!("{value:?}"),
        RawBsonRef::MinKey => "MinKey".to_owned(),
        RawBsonRef::MaxKey => "MaxKey".to_owned(),
    }))
}

fn write_json(value: RawBsonRef<'_>, json: &mut String) -> Result<(), mongodb::bson::error::Error> {
    match value {
        RawBsonRef::Null | RawBsonRef::Undefined => json.push_str("null"),
        RawBsonRef::Document(inner) => write_object(inner, json)?,
        RawBsonRef::Array(inner) => write_array(inner, json)?,
        RawBsonRef::JavaScriptCodeWithScope(inner) => {
            json.push_str("{\"code\":");
            quote(inner.code, json);
            json.push_str(",\"scope\":");
            write_object(inner.scope, json)?;
            json.push('}');
        }
        _ => {
            let text = text(value)?.unwrap_or_default();
            let bare = match value {
                RawBsonRef::Boolean(_) | RawBsonRef::Int32(_) | RawBsonRef::Int64(_) => true,
                // Not a number, and what is infinite, JSON has no number for.
                RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => {
                    serde_json::from_str::<serde_json::Number>(&text).is_ok()
                }
                _ => false,
            };
            if bare { json.push_str(&text) } else { quote(&text, json) }
        }
    }
    Ok(())
}

fn write_object(document: &RawDocument, json: &mut String) -> Result<(), mongodb::bson::error::Error> {
    json.push('{');
    for (place, element) in document.iter().enumerate() {
        let (name, value) = element?;
        if place > 0 {
            json.push(',');
        }
        quote(name.as_str(), json);
        json.push(':');
        write_json(value, json)?;
    }
    json.push('}');
    Ok(())
}

fn write_array(array: &RawArray, json: &mut String) -> Result<(), mongodb::bson::error::Error> {
    json.push('[');
    for (place, value) in array.into_iter().enumerate() {
        if place > 0 {
            json.push(',');
        }
        write_json(value?, json)?;
    }
    json.push(']');
    Ok(())
}

fn quote(text: &str, json: &mut String) {
    json.push_str(&serde_json::Value::String(text.to_owned()).to_string());
}

/// Whole numbers as such: to the server `5` and `5.0` are the same, also as keys.
fn double(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < MAX_EXACT {
        return (value as i64).to_string();
    }
    serde_json::Number::from_f64(value).map_or_else(
        || {
            let name = if value.is_nan() { "NaN" } else { "Infinity" };
            if value < 0.0 { format!("-{name}") } else { name.to_owned() }
        },
        |number| number.to_string(),
    )
}

fn date(value: DateTime) -> String {
    let millis = value.timestamp_millis();
    chrono::DateTime::from_timestamp_millis(millis)
        .map_or_else(|| millis.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
}

fn uuid(subtype: BinarySubtype, bytes: &[u8]) -> Option<uuid::Uuid> {
    (subtype == BinarySubtype::Uuid).then(|| uuid::Uuid::from_slice(bytes).ok()).flatten()
}

/// Base64, after the subtype in hex unless it is the ordinary one.
fn bytes(subtype: BinarySubtype, bytes: &[u8]) -> String {
    match (uuid(subtype, bytes), u8::from(subtype)) {
        (Some(uuid), _) => uuid.to_string(),
        (None, 0) => BASE64.encode(bytes),
        (None, other) => format!("{other:02x}:{}", BASE64.encode(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mongodb::bson::{
        Binary, Bson, Decimal128, JavaScriptCodeWithScope, RawDocumentBuf, Regex, Timestamp, doc,
        oid::ObjectId,
    };

    #[track_caller]
    fn check(value: impl Into<Bson>, expect: Option<&str>) {
        let document = RawDocumentBuf::try_from(&doc! { "v": value.into() }).expect("a document");
        let value = document.get("v").expect("reads").expect("a value");
        assert_eq!(text(value).expect("reads").as_deref(), expect);
    }

    #[test]
    fn values_keep_their_meaning() {
        let binary = |subtype, bytes: &[u8]| Binary { subtype, bytes: bytes.to_vec() };
        check(Bson::Null, None);
        check(Bson::Undefined, None);
        check(true, Some("true"));
        check(7_i32, Some("7"));
        check(i64::MIN, Some("-9223372036854775808"));
        check(5.0, Some("5"));
        check(0.1, Some("0.1"));
        check(f64::NEG_INFINITY, Some("-Infinity"));
        check(f64::NAN, Some("NaN"));
        check(
            "12345678901234567890.10".parse::<Decimal128>().expect("a number"),
            Some("12345678901234567890.10"),
        );
        check(DateTime::from_millis(1_795_471_485_541), Some("2026-11-23T22:04:45.541Z"));
        check(DateTime::from_millis(-1), Some("1969-12-31T23:59:59.999Z"));
        check(
            ObjectId::parse_str("6b04b87d8f339abd7700ef96").expect("an id"),
            Some("6b04b87d8f339abd7700ef96"),
        );
        check(binary(BinarySubtype::Generic, &[0, 255]), Some("AP8="));
        check(binary(BinarySubtype::Md5, &[0, 255]), Some("05:AP8="));
        check(binary(BinarySubtype::Uuid, &[1; 16]), Some("01010101-0101-0101-0101-010101010101"));
        check(Timestamp { time: 3, increment: 4 }, Some("3:4"));
        let regex =
            Regex { pattern: "a/b".try_into().expect("text"), options: "i".try_into().expect("text") };
        check(regex, Some("/a/b/i"));
        check(Bson::JavaScriptCode("f()".to_owned()), Some("f()"));
        let scoped = JavaScriptCodeWithScope { code: "f".to_owned(), scope: doc! { "x": 1 } };
        check(scoped, Some("{\"code\":\"f\",\"scope\":{\"x\":1}}"));
        check(Bson::Symbol("s".to_owned()), Some("s"));
        check(Bson::MaxKey, Some("MaxKey"));
        let nested = doc! {
            "a": [1, Bson::Null, "q\"", { "d": DateTime::from_millis(0) }],
            "n": "1.50".parse::<Decimal128>().expect("a number"),
            "i": f64::INFINITY,
        };
        check(
            nested,
            Some(r#"{"a":[1,null,"q\"",{"d":"1970-01-01T00:00:00.000Z"}],"n":1.50,"i":"Infinity"}"#),
        );
    }

    #[test]
    fn a_field_of_mixed_types_is_text_and_one_of_numbers_a_number() {
        let of = |kinds: &[Kind]| logical(&kinds.iter().copied().collect());
        assert_eq!(of(&[]), LogicalType::Unknown);
        assert_eq!(of(&[Kind::Int, Kind::Long]), LogicalType::Integer);
        assert_eq!(of(&[Kind::Int, Kind::Double, Kind::Decimal]), LogicalType::Decimal);
        assert_eq!(of(&[Kind::Int, Kind::String]), LogicalType::Text);
        assert_eq!(of(&[Kind::ObjectId, Kind::String]), LogicalType::Text);
        assert_eq!(of(&[Kind::Object, Kind::Array]), LogicalType::Text);
        for kind in
            [Kind::Bool, Kind::BinData, Kind::ObjectId, Kind::MinKey, Kind::DbPointer, Kind::Javascript]
        {
            assert_eq!(Kind::named(kind.alias()), Some(kind));
        }
    }
}
