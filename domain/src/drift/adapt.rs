//! The adapting transforms of a repair, run on text: the reference that a repair is proved with
//! before it is proposed. The DCL engine runs the same on whole columns.

use super::time;
use crate::mapping::Transform;
use serde_json::Value;

/// A value that the transform does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfit;

/// Applies `transform` to the raw values of its columns; null gives null.
///
/// # Errors
/// [`Misfit`] when the value cannot be read as the transform wants, or the transform does not give
/// text (`ExtractDomain` needs the list of public suffixes and is not for adapting).
pub fn adapt(transform: &Transform, inputs: &[Option<&str>]) -> Result<Option<String>, Misfit> {
    match transform {
        Transform::Join { separator } => {
            let present: Vec<&str> =
                inputs.iter().flatten().copied().filter(|text| !text.is_empty()).collect();
            return Ok((!present.is_empty()).then(|| present.join(separator)));
        }
        Transform::JsonObject { keys } => {
            let object: serde_json::Map<String, Value> = keys
                .iter()
                .zip(inputs)
                .filter_map(|(key, value)| value.map(|value| (key.clone(), Value::String(value.to_owned()))))
                .collect();
            return Ok((!object.is_empty()).then(|| Value::Object(object).to_string()));
        }
        Transform::Chain { steps } => {
            let Some((first, rest)) = steps.split_first() else {
                return Ok(inputs.first().copied().flatten().map(str::to_owned));
            };
            let mut value = adapt(first, inputs)?;
            for step in rest {
                value = adapt(step, &[value.as_deref()])?;
            }
            return Ok(value);
        }
        _ => {}
    }
    let Some(text) = inputs.first().copied().flatten() else { return Ok(None) };
    let some = |text: Option<String>| text.map(Some).ok_or(Misfit);
    match transform {
        Transform::Copy => Ok(Some(text.to_owned())),
        Transform::FormatTime { from, to } => {
            some(time::read(from, text).and_then(|micros| time::write(to, micros)))
        }
        Transform::ParseTime { format } => some(iso(time::read(format, text), time::has_clock(format))),
        Transform::ParseEpoch { unit } => {
            let format = if unit == "milliseconds" { time::EPOCH_MILLISECONDS } else { time::EPOCH_SECONDS };
            some(iso(time::read(format, text), true))
        }
        Transform::ParseExcelSerial => some(iso(time::read(time::EXCEL_SERIAL, text), text.contains('.'))),
        Transform::ParseDecimalComma => {
            let plain = text.trim().replace('.', "").replace(',', ".");
            some(Decimal::read(&plain).map(|_| plain))
        }
        Transform::FormatDecimalComma => {
            some(Decimal::read(text).map(|number| number.write().replace('.', ",")))
        }
        Transform::Scale { factor } => {
            let factor = Decimal::read(factor).ok_or(Misfit)?;
            some(Decimal::read(text).and_then(|number| number.times(factor)).map(Decimal::write))
        }
        Transform::MapValues { values, keep_others } => match values.get(text) {
            Some(value) => Ok(Some(value.clone())),
            None if *keep_others => Ok(Some(text.to_owned())),
            None => Err(Misfit),
        },
        Transform::ParseBoolean { truthy, falsy } => {
            if truthy.iter().any(|word| word == text) {
                Ok(Some("true".to_owned()))
            } else if falsy.iter().any(|word| word == text) {
                Ok(Some("false".to_owned()))
            } else {
                Err(Misfit)
            }
        }
        Transform::SplitPart { separator, index } => {
            Ok(text.split(separator.as_str()).nth(*index as usize).map(str::to_owned))
        }
        Transform::JsonPath { path } => {
            let value: Value = serde_json::from_str(text).map_err(|_| Misfit)?;
            Ok(json_at(&value, path).and_then(json_text))
        }
        _ => Err(Misfit),
    }
}

fn iso(micros: Option<i64>, clock: bool) -> Option<String> {
    time::write(if clock { "%Y-%m-%dT%H:%M:%S.%f" } else { "%Y-%m-%d" }, micros?)
}

/// The value at a path of the form `$.a.b[0]`.
pub(crate) fn json_at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    let mut rest = path.strip_prefix('$')?;
    let mut at = value;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('[') {
            let (index, after) = after.split_once(']')?;
            at = at.get(index.parse::<usize>().ok()?)?;
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let end = after.find(['.', '[']).unwrap_or(after.len());
            at = at.get(&after[..end])?;
            rest = &after[end..];
        }
    }
    Some(at)
}

/// Scalars bare, objects and arrays as JSON, null as none.
pub(crate) fn json_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// An exact decimal number: `mantissa / 10^scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        let (number, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.len() + fraction.len() == 0 || whole.len() + fraction.len() > 36 {
            return None;
        }
        let mut mantissa = 0_i128;
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            mantissa = mantissa * 10 + i128::from(byte - b'0');
        }
        let mut scale = i32::try_from(fraction.len()).ok()? - exponent;
        while scale < 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        let number =
            Self { mantissa: if negative { -mantissa } else { mantissa }, scale: u32::try_from(scale).ok()? };
        (number.scale <= 60).then_some(number.normal())
    }

    fn normal(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }

    pub(crate) fn times(self, other: Self) -> Option<Self> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Self { mantissa, scale: self.scale + other.scale }.normal())
    }

    /// Digits after the point.
    pub(crate) fn scale(self) -> u32 {
        self.scale
    }

    pub(crate) fn write(self) -> String {
        let digits = self.mantissa.unsigned_abs().to_string();
        let sign = if self.mantissa < 0 { "-" } else { "" };
        if self.scale == 0 {
            return format!("{sign}{digits}");
        }
        let scale = self.scale as usize;
        let padded = format!("{digits:0>width$}", width = scale + 1);
        let (whole, fraction) = padded.split_at(padded.len() - scale);
        format!("{sign}{whole}.{fraction}")
    }

    pub(crate) fn equals(self, other: Self) -> bool {
        let (left, right) = (self.normal(), other.normal());
        left.mantissa == right.mantissa && (left.scale == right.scale || left.mantissa == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn transforms_give_text_as_it_was() {
        let map = BTreeMap::from([("1".to_owned(), "open".to_owned())]);
        let format = |from: &str, to: &str| Transform::FormatTime { from: from.into(), to: to.into() };
        for (transform, input, output) in [
            (format("%Y-%m-%d", "%d/%m/%Y"), "2024-02-29", Ok(Some("29/02/2024"))),
            (format("iso8601", "%Y-%m-%d"), "2024-02-29T10:00:00Z", Ok(Some("2024-02-29"))),
            (format("epoch_seconds", "%Y-%m-%dT%H:%M:%S"), "0", Ok(Some("1970-01-01T00:00:00"))),
            (format("%Y-%m-%d", "%d/%m/%Y"), "29/02/2024", Err(Misfit)),
            (Transform::ParseDecimalComma, "1.234,50", Ok(Some("1234.50"))),
            (Transform::FormatDecimalComma, "1234.50", Ok(Some("1234,5"))),
            (Transform::Scale { factor: "0.01".into() }, "123456", Ok(Some("1234.56"))),
            (Transform::Scale { factor: "0.01".into() }, "-5", Ok(Some("-0.05"))),
            (Transform::Scale { factor: "1000".into() }, "1.5e2", Ok(Some("150000"))),
            (Transform::Scale { factor: "1".into() }, "12.0", Ok(Some("12"))),
            (Transform::Scale { factor: "1".into() }, "n/a", Err(Misfit)),
            (Transform::MapValues { values: map.clone(), keep_others: false }, "1", Ok(Some("open"))),
            (Transform::MapValues { values: map.clone(), keep_others: false }, "2", Err(Misfit)),
            (Transform::MapValues { values: map, keep_others: true }, "2", Ok(Some("2"))),
            (Transform::SplitPart { separator: " ".into(), index: 1 }, "Ada Lovelace", Ok(Some("Lovelace"))),
            (Transform::SplitPart { separator: " ".into(), index: 1 }, "Ada", Ok(None)),
            (Transform::JsonPath { path: "$.a.b[1]".into() }, r#"{"a":{"b":[1,"x"]}}"#, Ok(Some("x"))),
            (Transform::JsonPath { path: "$.a".into() }, "no json", Err(Misfit)),
        ] {
            let expected = output.map(|text| text.map(str::to_owned));
            assert_eq!(adapt(&transform, &[Some(input)]), expected, "{transform:?} {input}");
            assert_eq!(adapt(&transform, &[None]), Ok(None));
        }
    }

    #[test]
    fn several_columns_become_one_value() {
        let join = Transform::Join { separator: " ".into() };
        assert_eq!(adapt(&join, &[Some("Ada"), None, Some("Lovelace")]), Ok(Some("Ada Lovelace".into())));
        let object = Transform::JsonObject { keys: vec!["city".into(), "zip".into()] };
        let back = Transform::JsonPath { path: "$.zip".into() };
        let chain = Transform::Chain { steps: vec![object, back] };
        assert_eq!(adapt(&chain, &[Some("Paris"), Some("75001")]), Ok(Some("75001".into())));
    }
}
