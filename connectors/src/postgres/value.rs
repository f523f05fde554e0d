//! What Postgres' texts mean, and how they are written in a batch: numbers exactly as they stand, times
//! as ISO 8601, booleans as words, arrays as JSON, everything else as its own text.

use autonomos_domain::schema::LogicalType;
use serde_json::Value;

/// What a type's values are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Boolean,
    Integer,
    Decimal,
    Date,
    Timestamp,
    /// With a time zone; the session's is UTC.
    Instant,
    Binary,
    Text,
    /// Elements, and what stands between them.
    Array(Box<Kind>, char),
}

/// The built-in types, by their number in `pg_type`.
pub(super) fn builtin(oid: u32) -> Kind {
    match oid {
        16 => Kind::Boolean,
        20 | 21 | 23 | 26 => Kind::Integer,
        700 | 701 | 1700 => Kind::Decimal,
        1082 => Kind::Date,
        1114 => Kind::Timestamp,
        1184 => Kind::Instant,
        17 => Kind::Binary,
        _ => Kind::Text,
    }
}

impl Kind {
    pub(crate) const fn logical(&self) -> LogicalType {
        match self {
            Self::Boolean => LogicalType::Boolean,
            Self::Integer => LogicalType::Integer,
            Self::Decimal => LogicalType::Decimal,
            Self::Date => LogicalType::Date,
            Self::Timestamp | Self::Instant => LogicalType::Timestamp,
            Self::Binary => LogicalType::Binary,
            Self::Array(..) => LogicalType::Array,
            // JSON too: its documents need not all be objects.
            Self::Text => LogicalType::Text,
        }
    }

    /// The value as a batch holds it.
    pub(super) fn write(&self, text: String) -> String {
        match self {
            Self::Boolean => match text.as_str() {
                "t" => "true".to_owned(),
                "f" => "false".to_owned(),
                _ => text,
            },
            // `2026-11-23 19:05:00.5+00`; `infinity` and years before Christ stay as they are.
            Self::Timestamp => text.replacen(' ', "T", 1),
            Self::Instant => match text.strip_suffix("+00") {
                Some(time) => format!("{}Z", time.replacen(' ', "T", 1)),
                None => text,
            },
            // `\x0aff`
            Self::Binary => text.strip_prefix("\\x").map(str::to_owned).unwrap_or(text),
            Self::Array(element, delimiter) => match array(&text, element, *delimiter) {
                Some(json) => json,
                None => text,
            },
            Self::Integer | Self::Decimal | Self::Date | Self::Text => text,
        }
    }

    /// An element as JSON.
    fn json(&self, text: String) -> String {
        let number = matches!(self, Self::Integer | Self::Decimal)
            && serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok()
            && text.starts_with(|first: char| first == '-' || first.is_ascii_digit());
        match self {
            Self::Boolean => self.write(text),
            _ if number => text,
            _ => Value::String(self.write(text)).to_string(),
        }
    }
}

/// An array's literal (<https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>) as JSON text.
fn array(text: &str, element: &Kind, delimiter: char) -> Option<String> {
    // `[0:2]={1,2,3}` says where the numbering begins.
    let body = if text.starts_with('[') { text.split_once('=')?.1 } else { text };
    if !body.starts_with('{') {
        return None;
    }
    let mut rest = body.chars().peekable();
    let mut json = String::with_capacity(body.len() + 8);
    let mut depth = 0_usize;
    while let Some(letter) = rest.next() {
        match letter {
            '{' => {
                depth += 1;
                json.push('[');
            }
            '}' => {
                depth = depth.checked_sub(1)?;
                json.push(']');
            }
            '"' => {
                let mut value = String::new();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => value.push(rest.next()?),
                        other => value.push(other),
                    }
                }
                json.push_str(&element.json(value));
            }
            _ if letter == delimiter => json.push(','),
            first => {
                let mut value = String::from(first);
                while let Some(next) = rest.next_if(|next| *next != delimiter && *next != '}') {
                    if next == '\\' {
                        value.push(rest.next()?);
                    } else {
                        value.push(next);
                    }
                }
                if value == "NULL" { json.push_str("null") } else { json.push_str(&element.json(value)) }
            }
        }
    }
    (depth == 0).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &Kind, text: &str, expect: &str) {
        assert_eq!(kind.write(text.to_owned()), expect);
    }

    #[test]
    fn values_keep_their_meaning() {
        check(&Kind::Decimal, "12345678901234567890.10", "12345678901234567890.10");
        check(&Kind::Boolean, "t", "true");
        check(&Kind::Instant, "2026-11-23 19:05:00.5+00", "2026-11-23T19:05:00.5Z");
        check(&Kind::Instant, "infinity", "infinity");
        check(&Kind::Timestamp, "2026-11-23 19:05:00", "2026-11-23T19:05:00");
        check(&Kind::Binary, "\\x00ff", "00ff");
        check(&Kind::Text, "{\"a\": 1}", "{\"a\": 1}");
    }

    #[test]
    fn arrays_are_json() {
        let of = |element: Kind| Kind::Array(Box::new(element), ',');
        check(&of(Kind::Integer), "{1,NULL,3}", "[1,null,3]");
        check(&of(Kind::Decimal), "{1.50,NaN}", "[1.50,\"NaN\"]");
        check(
            &of(Kind::Text),
            r#"{a,"b,c","d\"e\\f","NULL",NULL,""}"#,
            r#"["a","b,c","d\"e\\f","NULL",null,""]"#,
        );
        check(&of(Kind::Boolean), "{{t,f},{f,t}}", "[[true,false],[false,true]]");
        check(&of(Kind::Integer), "[0:1]={7,8}", "[7,8]");
        check(&of(Kind::Text), "{}", "[]");
        check(&of(Kind::Instant), "{\"2026-01-01 00:00:00+00\"}", "[\"2026-01-01T00:00:00Z\"]");
        check(&of(Kind::Text), "{unfinished", "{unfinished");
    }
}
