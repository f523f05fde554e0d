//! Compiles mapping lines to SQL over the raw text columns. A value is trimmed first, and empty text
//! is null. The value is null while there was something to read: it does not fit, and is quarantined
//! alone. Nothing is rounded, guessed or cut in silence.

use super::tables::literal;
use autonomos_domain::{
    mapping::{MappingField, Transform},
    ontology::{CanonicalType, OntologyField, Semantic},
};

/// One mapping line (or several of one target) in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// The canonical value.
    pub value: String,
    /// Text that should have become a value: where it is not null and the value is, it did not fit.
    pub probe: String,
    /// Whether that can happen at all.
    pub fallible: bool,
}

/// A value on its way through the steps.
enum Step {
    Text(String),
    Number(String),
    Time(String),
    Boolean(String),
}

/// Text without the white space around it; null when nothing is left.
fn clean(column: &str) -> String {
    format!("nullif(trim({column}, ' ' || chr(9) || chr(10) || chr(13)), '')")
}

/// Compiles the lines that give one field, the first that has a value winning. `column` gives the
/// SQL of a source column; a column that the raw rows never had is null.
pub fn compile(
    field: &OntologyField,
    lines: &[&MappingField],
    column: &dyn Fn(&str) -> Option<String>,
) -> Compiled {
    let mut compiled: Vec<Compiled> = lines.iter().map(|line| compile_line(field, line, column)).collect();
    if compiled.len() == 1 {
        return compiled.remove(0);
    }
    let join = |part: fn(&Compiled) -> &str| compiled.iter().map(part).collect::<Vec<_>>().join(", ");
    Compiled {
        value: format!("coalesce({})", join(|one| &one.value)),
        probe: format!("coalesce({})", join(|one| &one.probe)),
        fallible: compiled.iter().any(|one| one.fallible),
    }
}

fn compile_line(
    field: &OntologyField,
    line: &MappingField,
    column: &dyn Fn(&str) -> Option<String>,
) -> Compiled {
    let inputs: Vec<String> = line
        .sources()
        .map(|source| column(source).map_or_else(|| "CAST(NULL AS VARCHAR)".to_owned(), |sql| clean(&sql)))
        .collect();
    let mut probe = inputs[0].clone();
    let mut fallible = false;
    let mut step = Step::Text(inputs[0].clone());
    let steps = match &line.transform {
        Transform::Chain { steps } => steps.as_slice(),
        one => std::slice::from_ref(one),
    };
    for transform in steps {
        step = apply(transform, step, &inputs, field, &mut probe, &mut fallible);
    }
    let plain_text = matches!(step, Step::Text(_)) && field.canonical_type == CanonicalType::Text;
    Compiled { value: coerce(step, field), probe, fallible: fallible || !plain_text }
}

fn apply(
    transform: &Transform,
    step: Step,
    inputs: &[String],
    field: &OntologyField,
    probe: &mut String,
    fallible: &mut bool,
) -> Step {
    match transform {
        Transform::Copy => step,
        Transform::ParseTime { format } => {
            *fallible = true;
            Step::Time(read_time(&text(step), format))
        }
        Transform::ParseEpoch { unit } => {
            *fallible = true;
            let form = if unit == "milliseconds" { "epoch_milliseconds" } else { "epoch_seconds" };
            Step::Time(read_time(&text(step), form))
        }
        Transform::ParseExcelSerial => {
            *fallible = true;
            Step::Time(read_time(&text(step), "excel_serial"))
        }
        Transform::ParseDecimalComma => {
            *fallible = true;
            let raw = text(step);
            Step::Number(format!(
                "CASE WHEN regexp_matches({raw}, '^[-+]?([0-9]{{1,3}}(\\.[0-9]{{3}})+|[0-9]+)?(,[0-9]+)?$') \
                 THEN TRY_CAST(replace(replace({raw}, '.', ''), ',', '.') AS DECIMAL(38,6)) END"
            ))
        }
        Transform::Scale { factor } => {
            *fallible = true;
            Step::Number(scaled(&number(step, field), factor))
        }
        Transform::MapValues { values, keep_others } => {
            *fallible |= !keep_others;
            let raw = text(step);
            if values.is_empty() {
                return Step::Text(if *keep_others { raw } else { "CAST(NULL AS VARCHAR)".to_owned() });
            }
            let cases: Vec<String> = values
                .iter()
                .map(|(from, to)| format!("WHEN {} THEN {}", literal(from.trim()), literal(to)))
                .collect();
            let others = if *keep_others { raw.as_str() } else { "NULL" };
            Step::Text(format!("CASE {raw} {} ELSE {others} END", cases.join(" ")))
        }
        Transform::ParseBoolean { truthy, falsy } => {
            *fallible = true;
            let list = |words: &[String]| {
                let words: Vec<String> =
                    words.iter().map(|word| literal(&word.trim().to_lowercase())).collect();
                if words.is_empty() { "NULL".to_owned() } else { words.join(", ") }
            };
            let raw = text(step);
            Step::Boolean(format!(
                "CASE WHEN lower({raw}) IN ({}) THEN true WHEN lower({raw}) IN ({}) THEN false END",
                list(truthy),
                list(falsy)
            ))
        }
        Transform::ExtractDomain => {
            *fallible = true;
            Step::Text(host(&text(step)))
        }
        Transform::SplitPart { separator, index } => {
            let raw = text(step);
            let part = format!(
                "nullif(trim(split_part({raw}, {}, {})), '')",
                literal(separator),
                u64::from(*index) + 1
            );
            part.clone_into(probe);
            Step::Text(part)
        }
        Transform::Join { separator } => {
            let joined = format!("nullif(concat_ws({}, {}), '')", literal(separator), inputs.join(", "));
            joined.clone_into(probe);
            Step::Text(joined)
        }
        Transform::JsonPath { path } => {
            // Not JSON at all does not fit; a path that leads nowhere is null.
            *fallible = true;
            let raw = text(step);
            let path = if path.starts_with('$') { path.clone() } else { format!("$.{path}") };
            let part = format!("nullif(TRY(json_extract_string({raw}, {})), '')", literal(&path));
            *probe = format!("CASE WHEN TRY(json_valid({raw})) THEN {part} ELSE {raw} END");
            Step::Text(part)
        }
        Transform::FormatTime { from, to } => {
            *fallible = true;
            Step::Text(write_time(&read_time(&text(step), from), to))
        }
        Transform::FormatDecimalComma => {
            *fallible = true;
            Step::Text(format!("replace({}, '.', ',')", plain(&number(step, field))))
        }
        Transform::JsonObject { keys } => {
            let members: Vec<String> = inputs
                .iter()
                .zip(keys)
                .map(|(input, key)| {
                    let key = serde_json::Value::from(key.as_str()).to_string();
                    format!("{} || CAST(to_json({input}) AS VARCHAR)", literal(&format!("{key}:")))
                })
                .collect();
            let object = if members.is_empty() {
                "CAST(NULL AS VARCHAR)".to_owned()
            } else {
                format!("'{{' || nullif(concat_ws(',', {}), '') || '}}'", members.join(", "))
            };
            object.clone_into(probe);
            Step::Text(object)
        }
        Transform::Chain { steps } => {
            steps.iter().fold(step, |step, transform| apply(transform, step, inputs, field, probe, fallible))
        }
    }
}

/// The text form that the next step reads.
fn text(step: Step) -> String {
    match step {
        Step::Text(sql) => sql,
        Step::Number(sql) => plain(&sql),
        Step::Time(sql) => format!("strftime({sql}, '%Y-%m-%dT%H:%M:%S.%fZ')"),
        Step::Boolean(sql) => format!("CAST({sql} AS VARCHAR)"),
    }
}

/// A number as text, without trailing zeros.
fn plain(number: &str) -> String {
    format!("regexp_replace(CAST({number} AS VARCHAR), '\\.?0+$', '')")
}

fn number(step: Step, field: &OntologyField) -> String {
    match step {
        Step::Number(sql) => sql,
        Step::Text(sql) => read_number(&sql, field.semantic),
        Step::Time(_) | Step::Boolean(_) => "CAST(NULL AS DECIMAL(38,6))".to_owned(),
    }
}

/// A number with a decimal point. Signs of money and grouping commas are read where they can mean
/// nothing else: `1,234` alone could be a decimal comma, `1,234.50` and `1,234,567` can not.
fn read_number(raw: &str, semantic: Semantic) -> String {
    let bare = format!("regexp_replace({raw}, '^([-+]?)\\s*[$€£¥]\\s*', '\\1')");
    let grouped = format!(
        "CASE WHEN regexp_matches({bare}, '^[-+]?[0-9]{{1,3}}(,[0-9]{{3}})+\\.[0-9]+$|^[-+]?[0-9]{{1,3}}(,[0-9]{{3}}){{2,}}$|^[-+]?[0-9]+(\\.[0-9]+)?$') \
         THEN TRY_CAST(replace({bare}, ',', '') AS DECIMAL(38,6)) END"
    );
    let percent = if semantic == Semantic::Fraction {
        format!(
            ", CASE WHEN {raw} LIKE '%\\%' ESCAPE '\\' THEN {} END",
            scaled(&format!("TRY_CAST(trim(rtrim({raw}, '%')) AS DECIMAL(38,6))"), "0.01")
        )
    } else {
        String::new()
    };
    format!("coalesce(TRY_CAST({raw} AS DECIMAL(38,6)), {grouped}{percent})")
}

/// Multiplied by a decimal factor; null where 38 digits do not hold it, or the factor is no number.
fn scaled(number: &str, factor: &str) -> String {
    let digits = factor.trim();
    let shape = digits.strip_prefix(['-', '+']).unwrap_or(digits);
    let (whole, fraction) = shape.split_once('.').unwrap_or((shape, ""));
    let sound = whole.len() + fraction.len() > 0
        && whole.len() <= 7
        && fraction.len() <= 12
        && whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit());
    if !sound {
        return "CAST(NULL AS DECIMAL(38,6))".to_owned();
    }
    let (width, scale) = (whole.len().max(1) + fraction.len(), fraction.len());
    format!(
        "TRY(CAST(TRY_CAST({number} AS DECIMAL({},6)) * CAST({} AS DECIMAL({width},{scale})) AS DECIMAL(38,6)))",
        38 - width,
        literal(digits)
    )
}

/// A strptime format whose every directive DuckDB knows.
fn sound_format(format: &str) -> bool {
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' {
            let directive = match chars.next() {
                Some('-') => chars.next().filter(|c| "dmyHIMSj".contains(*c)),
                other => other,
            };
            if !directive.is_some_and(|c| "aAbBcdfgHIjmMnpSUwWxXyYzZ%".contains(c)) {
                return false;
            }
        }
    }
    !format.is_empty()
}

/// Microseconds since 1970 as a time; null when out of range.
fn from_micros(number: &str, unit_micros: &str) -> String {
    format!("TRY(make_timestamp(TRY_CAST({number} * {unit_micros} AS BIGINT)))")
}

/// A time read by a strptime format or one of `epoch_seconds`, `epoch_milliseconds`, `excel_serial`.
fn read_time(raw: &str, format: &str) -> String {
    let short = format!("TRY_CAST({raw} AS DECIMAL(24,6))");
    match format {
        "epoch_seconds" => from_micros(&short, "1000000"),
        "epoch_milliseconds" => from_micros(&short, "1000"),
        // To the second: a serial's fraction carries no more.
        "excel_serial" => format!(
            "TRY(make_timestamp(CAST(round((TRY_CAST({raw} AS DOUBLE) - 25569) * 86400) AS BIGINT) * 1000000))"
        ),
        _ if sound_format(format) => {
            // DuckDB's `%z` reads offsets as numbers alone, and ISO writes UTC as `Z`.
            let raw = if format.contains("%z") {
                format!("regexp_replace({raw}, '[Zz]$', '+00:00')")
            } else {
                raw.to_owned()
            };
            format!("make_timestamp(epoch_us(try_strptime({raw}, {})))", literal(format))
        }
        _ => "CAST(NULL AS TIMESTAMP)".to_owned(),
    }
}

fn write_time(time: &str, format: &str) -> String {
    match format {
        "epoch_seconds" => format!("CAST(epoch_us({time}) // 1000000 AS VARCHAR)"),
        "epoch_milliseconds" => format!("CAST(epoch_us({time}) // 1000 AS VARCHAR)"),
        "excel_serial" => format!(
            "regexp_replace(CAST(CAST(epoch_us({time}) / 86400000000 + 25569 AS DECIMAL(18,6)) AS VARCHAR), '\\.?0+$', '')"
        ),
        _ if sound_format(format) => format!("strftime({time}, {})", literal(format)),
        _ => "CAST(NULL AS VARCHAR)".to_owned(),
    }
}

/// ISO 8601. The year has four digits; a time without an offset is UTC.
fn iso_time(raw: &str) -> String {
    // A plain cast ignores an offset, so what may have one goes through the zoned type.
    format!(
        "CASE WHEN substr({raw}, 5, 1) IN ('-', '/') THEN \
         CASE WHEN length({raw}) <= 19 OR suffix({raw}, 'Z') THEN TRY_CAST({raw} AS TIMESTAMP) \
         ELSE make_timestamp(epoch_us(TRY_CAST({raw} AS TIMESTAMPTZ))) END END"
    )
}

/// Host of a URL or an e-mail address, without `www.`.
pub(super) fn host(raw: &str) -> String {
    format!(
        "CASE WHEN contains({raw}, '.') THEN nullif(regexp_extract(lower({raw}), \
         '^(?:[a-z][a-z0-9+.-]*://)?(?:[^/@]*@)?(?:www[0-9]?\\.)?([^/:?#@\\s]+\\.[^/:?#@\\s.]+)', 1), '') END"
    )
}

/// The last step: into the type of the field.
fn coerce(step: Step, field: &OntologyField) -> String {
    let kind = field.canonical_type;
    match (step, kind) {
        (Step::Text(sql), CanonicalType::Text) => sql,
        (step, CanonicalType::Text) => text(step),
        (Step::Number(sql), CanonicalType::Decimal) => sql,
        (Step::Text(sql), CanonicalType::Decimal) => read_number(&sql, field.semantic),
        (step @ (Step::Text(_) | Step::Number(_)), CanonicalType::Integer) => {
            let sql = number(step, field);
            format!("CASE WHEN TRY_CAST({sql} AS BIGINT) = {sql} THEN TRY_CAST({sql} AS BIGINT) END")
        }
        (Step::Time(sql), CanonicalType::Timestamp) => sql,
        (Step::Text(sql), CanonicalType::Timestamp) => iso_time(&sql),
        (Step::Time(sql), CanonicalType::Date) => format!("CAST({sql} AS DATE)"),
        (Step::Text(sql), CanonicalType::Date) => format!("CAST({} AS DATE)", iso_time(&sql)),
        (Step::Boolean(sql), CanonicalType::Boolean) => sql,
        (Step::Text(sql), CanonicalType::Boolean) => format!(
            "CASE WHEN lower({sql}) IN ('true', 't', 'yes', 'y', '1') THEN true \
             WHEN lower({sql}) IN ('false', 'f', 'no', 'n', '0') THEN false END"
        ),
        (_, CanonicalType::Integer) => "CAST(NULL AS BIGINT)".to_owned(),
        (_, CanonicalType::Decimal) => "CAST(NULL AS DECIMAL(38,6))".to_owned(),
        (_, CanonicalType::Boolean) => "CAST(NULL AS BOOLEAN)".to_owned(),
        (_, CanonicalType::Date) => "CAST(NULL AS DATE)".to_owned(),
        (_, CanonicalType::Timestamp) => "CAST(NULL AS TIMESTAMP)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_domain::mapping::MappingOrigin;
    use duckdb::Connection;
    use std::collections::BTreeMap;

    fn field(canonical_type: CanonicalType, semantic: Semantic) -> OntologyField {
        OntologyField {
            name: "x".to_owned(),
            canonical_type,
            semantic,
            description: String::new(),
            synonyms: vec![],
            unit: None,
            references: None,
            protected: false,
        }
    }

    /// What `input` becomes; `!` when it does not fit, `-` when it is null.
    fn run(
        kind: CanonicalType,
        semantic: Semantic,
        transform: &Transform,
        inputs: &[Option<&str>],
    ) -> String {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("SET TimeZone = 'UTC'").unwrap();
        let line = MappingField {
            source: "0".to_owned(),
            also: (1..inputs.len()).map(|index| index.to_string()).collect(),
            target: "x".to_owned(),
            transform: transform.clone(),
            confidence: 1.0,
            origin: MappingOrigin::Human,
            evidence: vec![],
        };
        let column = |name: &str| {
            let index: usize = name.parse().unwrap();
            Some(inputs[index].map_or("CAST(NULL AS VARCHAR)".to_owned(), literal))
        };
        let compiled = compile(&field(kind, semantic), &[&line], &column);
        let sql = format!(
            "SELECT CASE WHEN ({value}) IS NULL THEN CASE WHEN ({probe}) IS NULL THEN '-' ELSE '!' END \
             ELSE CAST(({value}) AS VARCHAR) END",
            value = compiled.value,
            probe = compiled.probe
        );
        let answer: String =
            connection.query_row(&sql, [], |row| row.get(0)).unwrap_or_else(|error| panic!("{error}: {sql}"));
        assert!(compiled.fallible || answer != "!", "{sql}");
        answer
    }

    fn check(kind: CanonicalType, transform: Transform, cases: &[(&str, &str)]) {
        for (input, expected) in cases {
            assert_eq!(
                run(kind, Semantic::Plain, &transform, &[Some(input)]),
                *expected,
                "{transform:?} of `{input}`"
            );
        }
    }

    #[test]
    fn copies_read_what_can_mean_one_thing_only() {
        check(
            CanonicalType::Text,
            Transform::Copy,
            &[("  a b\t", "a b"), ("   ", "-"), ("O'Neil", "O'Neil")],
        );
        check(
            CanonicalType::Integer,
            Transform::Copy,
            &[
                ("12", "12"),
                (" 12.0 ", "12"),
                ("12.7", "!"),
                ("1,234", "!"),
                ("1,234,567", "1234567"),
                ("x", "!"),
                ("", "-"),
                ("99999999999999999999", "!"),
                ("-3", "-3"),
                ("1e3", "1000"),
            ],
        );
        check(
            CanonicalType::Decimal,
            Transform::Copy,
            &[
                ("1.5", "1.500000"),
                ("$1,234.50", "1234.500000"),
                ("-$3", "-3.000000"),
                ("1,5", "!"),
                ("45%", "!"),
                ("NaN", "!"),
            ],
        );
        check(
            CanonicalType::Timestamp,
            Transform::Copy,
            &[
                ("2024-01-05", "2024-01-05 00:00:00"),
                ("2024-01-05T10:00:00Z", "2024-01-05 10:00:00"),
                ("2024-01-05T10:00:00+02:00", "2024-01-05 08:00:00"),
                ("2024-01-05 10:00:00.25", "2024-01-05 10:00:00.25"),
                ("24-01-05", "!"),
                ("infinity", "!"),
                ("05/01/2024", "!"),
                ("epoch", "!"),
            ],
        );
        check(
            CanonicalType::Date,
            Transform::Copy,
            &[("2024-01-05", "2024-01-05"), ("2024-01-05T23:00:00-05:00", "2024-01-06"), ("2024-13-05", "!")],
        );
        check(CanonicalType::Boolean, Transform::Copy, &[("Yes", "true"), ("0", "false"), ("maybe", "!")]);
        assert_eq!(
            run(CanonicalType::Decimal, Semantic::Fraction, &Transform::Copy, &[Some("45 %")]),
            "0.450000"
        );
    }

    #[test]
    fn times_are_read_by_their_format() {
        let parse = |format: &str| Transform::ParseTime { format: format.to_owned() };
        check(
            CanonicalType::Date,
            parse("%d/%m/%Y"),
            &[("05/03/2024", "2024-03-05"), ("5/3/2024", "2024-03-05"), ("05/13/2024", "!")],
        );
        check(
            CanonicalType::Timestamp,
            parse("%Y-%m-%dT%H:%M:%S%z"),
            &[
                ("2024-01-05T10:00:00+02:00", "2024-01-05 08:00:00"),
                ("2024-01-05T10:00:00Z", "2024-01-05 10:00:00"),
            ],
        );
        check(CanonicalType::Timestamp, parse("%Q"), &[("2024-01-05", "!")]);
        check(
            CanonicalType::Timestamp,
            Transform::ParseEpoch { unit: "seconds".to_owned() },
            &[("1700000000", "2023-11-14 22:13:20"), ("x", "!"), ("999999999999999999", "!")],
        );
        check(
            CanonicalType::Timestamp,
            Transform::ParseEpoch { unit: "milliseconds".to_owned() },
            &[("1700000000500", "2023-11-14 22:13:20.5")],
        );
        check(
            CanonicalType::Timestamp,
            Transform::ParseExcelSerial,
            &[("45296.5", "2024-01-05 12:00:00"), ("45296", "2024-01-05 00:00:00"), ("x", "!")],
        );
        let chain = Transform::Chain {
            steps: vec![
                Transform::FormatTime { from: "epoch_seconds".to_owned(), to: "%d.%m.%Y".to_owned() },
                parse("%d.%m.%Y"),
            ],
        };
        check(CanonicalType::Date, chain, &[("1700000000", "2023-11-14"), ("x", "!"), ("", "-")]);
    }

    #[test]
    fn numbers_are_scaled_exactly() {
        let scale = |factor: &str| Transform::Scale { factor: factor.to_owned() };
        check(
            CanonicalType::Decimal,
            scale("0.01"),
            &[("123456", "1234.560000"), ("0.1", "0.001000"), ("x", "!")],
        );
        check(CanonicalType::Decimal, scale("1000"), &[("1.5", "1500.000000")]);
        check(CanonicalType::Decimal, scale("nope"), &[("1", "!")]);
        check(
            CanonicalType::Decimal,
            Transform::ParseDecimalComma,
            &[
                ("1.234,50", "1234.500000"),
                ("1234,5", "1234.500000"),
                ("12", "12.000000"),
                ("1.5", "!"),
                ("1,2,3", "!"),
            ],
        );
        let cents_in_comma = Transform::Chain {
            steps: vec![scale("0.01"), Transform::FormatDecimalComma, Transform::ParseDecimalComma],
        };
        check(CanonicalType::Decimal, cents_in_comma, &[("123450", "1234.500000"), ("100", "1.000000")]);
    }

    #[test]
    fn text_is_taken_apart_and_put_together() {
        check(
            CanonicalType::Text,
            Transform::ExtractDomain,
            &[
                ("https://www.Acme.co.uk/x?y=1", "acme.co.uk"),
                ("Bob@Acme.com", "acme.com"),
                ("acme", "!"),
                ("http://a.b:80", "a.b"),
            ],
        );
        check(
            CanonicalType::Text,
            Transform::SplitPart { separator: ", ".to_owned(), index: 1 },
            &[("Doe, Jane", "Jane"), ("Jane", "-")],
        );
        let values = BTreeMap::from([("O".to_owned(), "open".to_owned())]);
        check(
            CanonicalType::Text,
            Transform::MapValues { values: values.clone(), keep_others: false },
            &[("O", "open"), ("C", "!")],
        );
        check(
            CanonicalType::Text,
            Transform::MapValues { values, keep_others: true },
            &[("O", "open"), ("C", "C")],
        );
        let truth = Transform::ParseBoolean { truthy: vec!["Ja".to_owned()], falsy: vec![] };
        check(CanonicalType::Boolean, truth, &[("ja", "true"), ("nein", "!")]);
        check(
            CanonicalType::Text,
            Transform::JsonPath { path: "$.a.b".to_owned() },
            &[("{\"a\":{\"b\":\"1.50\"}}", "1.50"), ("{\"a\":1}", "-"), ("no json", "!")],
        );
        let join = Transform::Join { separator: " ".to_owned() };
        assert_eq!(
            run(CanonicalType::Text, Semantic::Plain, &join, &[Some("Jane"), None, Some("Doe")]),
            "Jane Doe"
        );
        assert_eq!(run(CanonicalType::Text, Semantic::Plain, &join, &[None, Some(" ")]), "-");
        let object = Transform::Chain {
            steps: vec![
                Transform::JsonObject { keys: vec!["city".to_owned(), "zip".to_owned()] },
                Transform::JsonPath { path: "$.city".to_owned() },
            ],
        };
        assert_eq!(
            run(CanonicalType::Text, Semantic::Plain, &object, &[Some("Ulm \"x\""), None]),
            "Ulm \"x\""
        );
    }
}
