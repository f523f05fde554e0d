//! Compiles mapping lines to SQL over the raw text columns. A value is trimmed first, and empty text
//! is null. The value is null while there was something to read: it does not fit, and is quarantined
//! alone. Nothing is rounded, guessed or cut in silence.

use super::{program::Program, tables::literal};
use autonomos_domain::{
    mapping::{MappingField, Transform},
    ontology::{CanonicalType, OntologyField, Semantic},
};

/// One mapping line (or several of one target) in SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Compiled {
    /// The canonical value.
    pub(super) value: String,
    /// Text that should have become a value: where it is not null and the value is, it did not fit.
    pub(super) probe: String,
    /// Whether that can happen at all.
    pub(super) fallible: bool,
}

/// A source column in SQL.
pub(super) struct Source {
    pub(super) sql: String,
    /// No value of it is empty or has white space around it.
    pub(super) clean: bool,
}

/// A value on its way through the steps.
enum Step {
    Text(String),
    Number(String),
    Time(String),
    Boolean(String),
}

/// Text without the white space around it; null when nothing is left.
fn clean(program: &mut Program, column: &str) -> String {
    let trimmed = program.bind(format!("trim({column}, ' ' || chr(9) || chr(10) || chr(13))"));
    program.bind(format!("nullif({trimmed}, '')"))
}

/// Compiles the lines that give one field, the first that has a value winning. `column` gives the
/// SQL of a source column; a column that the raw rows never had is null.
pub(super) fn compile(
    program: &mut Program,
    field: &OntologyField,
    lines: &[&MappingField],
    column: &dyn Fn(&str) -> Option<Source>,
) -> Compiled {
    let mut compiled: Vec<Compiled> =
        lines.iter().map(|line| compile_line(program, field, line, column)).collect();
    if compiled.len() == 1 {
        return compiled.remove(0);
    }
    let join = |part: fn(&Compiled) -> &str| compiled.iter().map(part).collect::<Vec<_>>().join(", ");
    Compiled {
        value: program.bind(format!("coalesce({})", join(|one| &one.value))),
        probe: program.bind(format!("coalesce({})", join(|one| &one.probe))),
        fallible: compiled.iter().any(|one| one.fallible),
    }
}

fn compile_line(
    program: &mut Program,
    field: &OntologyField,
    line: &MappingField,
    column: &dyn Fn(&str) -> Option<Source>,
) -> Compiled {
    let inputs: Vec<String> = line
        .sources()
        .map(|source| match column(source) {
            Some(source) if source.clean => source.sql,
            Some(source) => clean(program, &source.sql),
            None => "CAST(NULL AS VARCHAR)".to_owned(),
        })
        .collect();
    let probe = inputs[0].clone();
    let mut compiler = Compiler { program, field, inputs, probe, fallible: false };
    let step = compiler.apply(&line.transform, Step::Text(compiler.inputs[0].clone()));
    let plain_text = matches!(step, Step::Text(_)) && field.canonical_type == CanonicalType::Text;
    let value = compiler.coerce(step);
    let value = compiler.program.bind(value);
    Compiled { value, probe: compiler.probe, fallible: compiler.fallible || !plain_text }
}

/// One line on its way to SQL.
struct Compiler<'a> {
    program: &'a mut Program,
    field: &'a OntologyField,
    /// The line's columns, cleaned.
    inputs: Vec<String>,
    /// What should have become a value.
    probe: String,
    fallible: bool,
}

impl Compiler<'_> {
    fn apply(&mut self, transform: &Transform, step: Step) -> Step {
        match transform {
            Transform::Copy => step,
            Transform::ParseTime { format } => self.time(step, format),
            Transform::ParseEpoch { unit } if unit == "milliseconds" => self.time(step, "epoch_milliseconds"),
            Transform::ParseEpoch { .. } => self.time(step, "epoch_seconds"),
            Transform::ParseExcelSerial => self.time(step, "excel_serial"),
            Transform::ParseDecimalComma => {
                self.fallible = true;
                let raw = self.text(step);
                Step::Number(format!(
                    "CASE WHEN regexp_matches({raw}, '^[-+]?([0-9]{{1,3}}(\\.[0-9]{{3}})+|[0-9]+)?(,[0-9]+)?$') \
                     THEN {} END",
                    decimal(&format!("replace(replace({raw}, '.', ''), ',', '.')"))
                ))
            }
            Transform::Scale { factor } => {
                self.fallible = true;
                Step::Number(scaled(&self.number(step), factor))
            }
            Transform::MapValues { values, keep_others } => {
                self.fallible |= !keep_others;
                let raw = self.text(step);
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
                self.fallible = true;
                let list = |words: &[String]| {
                    let words: Vec<String> =
                        words.iter().map(|word| literal(&word.trim().to_lowercase())).collect();
                    if words.is_empty() { "NULL".to_owned() } else { words.join(", ") }
                };
                let raw = self.text(step);
                let word = self.program.bind(format!("lower({raw})"));
                Step::Boolean(format!(
                    "CASE WHEN {word} IN ({}) THEN true WHEN {word} IN ({}) THEN false END",
                    list(truthy),
                    list(falsy)
                ))
            }
            Transform::ExtractDomain => {
                self.fallible = true;
                let raw = self.text(step);
                Step::Text(host(self.program, &raw))
            }
            Transform::SplitPart { separator, index } => {
                let raw = self.text(step);
                let part = format!("split_part({raw}, {}, {})", literal(separator), u64::from(*index) + 1);
                let part = clean(self.program, &part);
                part.clone_into(&mut self.probe);
                Step::Text(part)
            }
            Transform::Join { separator } => {
                let joined = format!("concat_ws({}, {})", literal(separator), self.inputs.join(", "));
                let joined = clean(self.program, &joined);
                joined.clone_into(&mut self.probe);
                Step::Text(joined)
            }
            Transform::JsonPath { path } => {
                // Not JSON at all does not fit; a path that leads nowhere is null.
                self.fallible = true;
                let raw = self.text(step);
                let path = if path.starts_with('$') { path.clone() } else { format!("$.{path}") };
                let part = format!("TRY(json_extract_string({raw}, {}))", literal(&path));
                let part = clean(self.program, &part);
                self.probe =
                    self.program.bind(format!("CASE WHEN TRY(json_valid({raw})) THEN {part} ELSE {raw} END"));
                Step::Text(part)
            }
            Transform::FormatTime { from, to } => {
                self.fallible = true;
                let raw = self.text(step);
                let time = self.program.bind(read_time(&raw, from));
                Step::Text(write_time(&time, to))
            }
            Transform::FormatDecimalComma => {
                self.fallible = true;
                let number = self.number(step);
                Step::Text(format!("replace({}, '.', ',')", plain(&number)))
            }
            Transform::JsonObject { keys } => {
                let members: Vec<String> = self
                    .inputs
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
                    let members = clean(self.program, &format!("concat_ws(',', {})", members.join(", ")));
                    self.program.bind(format!("'{{' || {members} || '}}'"))
                };
                object.clone_into(&mut self.probe);
                Step::Text(object)
            }
            Transform::Chain { steps } => {
                steps.iter().fold(step, |step, transform| self.apply(transform, step))
            }
        }
    }

    fn time(&mut self, step: Step, format: &str) -> Step {
        self.fallible = true;
        let raw = self.text(step);
        Step::Time(read_time(&raw, format))
    }

    /// The text form that the next step reads, as a column.
    fn text(&mut self, step: Step) -> String {
        let sql = match step {
            Step::Text(sql) => sql,
            Step::Number(sql) => plain(&sql),
            Step::Time(sql) => format!("strftime({sql}, '%Y-%m-%dT%H:%M:%S.%fZ')"),
            Step::Boolean(sql) => format!("CAST({sql} AS VARCHAR)"),
        };
        self.program.bind(sql)
    }

    fn number(&mut self, step: Step) -> String {
        match step {
            Step::Number(sql) => sql,
            Step::Text(sql) => {
                let raw = self.program.bind(sql);
                read_number(&raw, self.field.semantic)
            }
            Step::Time(_) | Step::Boolean(_) => "CAST(NULL AS DECIMAL(38,6))".to_owned(),
        }
    }

    /// The last step: into the type of the field.
    fn coerce(&mut self, step: Step) -> String {
        let kind = self.field.canonical_type;
        match (step, kind) {
            (Step::Text(sql), CanonicalType::Text) => sql,
            (step, CanonicalType::Text) => self.text(step),
            (step @ (Step::Number(_) | Step::Text(_)), CanonicalType::Decimal) => self.number(step),
            (Step::Text(sql), CanonicalType::Integer) => {
                // Digits alone, as nearly always; else a number that happens to be whole.
                let raw = self.program.bind(sql);
                let number = whole(&read_number(&raw, self.field.semantic));
                format!(
                    "coalesce(CASE WHEN regexp_full_match({raw}, '[-+]?[0-9]+') THEN TRY_CAST({raw} AS BIGINT) END, {number})"
                )
            }
            (Step::Number(sql), CanonicalType::Integer) => whole(&self.program.bind(sql)),
            (Step::Time(sql), CanonicalType::Timestamp) => sql,
            (Step::Text(sql), CanonicalType::Timestamp) => iso_time(&self.program.bind(sql)),
            (Step::Time(sql), CanonicalType::Date) => format!("CAST({sql} AS DATE)"),
            (Step::Text(sql), CanonicalType::Date) => {
                format!("CAST({} AS DATE)", iso_time(&self.program.bind(sql)))
            }
            (Step::Boolean(sql), CanonicalType::Boolean) => sql,
            (Step::Text(sql), CanonicalType::Boolean) => {
                let word = self.program.bind(format!("lower({sql})"));
                format!(
                    "CASE WHEN {word} IN ('true', 't', 'yes', 'y', '1') THEN true \
                     WHEN {word} IN ('false', 'f', 'no', 'n', '0') THEN false END"
                )
            }
            (_, CanonicalType::Integer) => "CAST(NULL AS BIGINT)".to_owned(),
            (_, CanonicalType::Decimal) => "CAST(NULL AS DECIMAL(38,6))".to_owned(),
            (_, CanonicalType::Boolean) => "CAST(NULL AS BOOLEAN)".to_owned(),
            (_, CanonicalType::Date) => "CAST(NULL AS DATE)".to_owned(),
            (_, CanonicalType::Timestamp) => "CAST(NULL AS TIMESTAMP)".to_owned(),
        }
    }
}

/// A number as text, without trailing zeros.
fn plain(number: &str) -> String {
    format!("regexp_replace(CAST({number} AS VARCHAR), '\\.?0+$', '')")
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
    format!("coalesce({}, {grouped}{percent})", decimal(raw))
}

/// A plain decimal number. Reading 38 digits costs a hundred times what 18 do, so those come first.
fn decimal(raw: &str) -> String {
    format!(
        "coalesce(CAST(TRY_CAST({raw} AS DECIMAL(18,6)) AS DECIMAL(38,6)), TRY_CAST({raw} AS DECIMAL(38,6)))"
    )
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
    let short = format!("CAST({} AS DECIMAL(24,6))", decimal(raw).replace("DECIMAL(38,6)", "DECIMAL(24,6)"));
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

/// Host of a URL or an e-mail address, without `www.`; null where there is no dotted one.
pub(super) fn host(program: &mut Program, raw: &str) -> String {
    // A bare host, as most are, goes around the pattern that costs ten times as much.
    let host = program.bind(format!(
        "CASE WHEN regexp_full_match({raw}, '[a-z0-9-]+(\\.[a-z0-9-]+)+') AND NOT starts_with({raw}, 'www') THEN {raw} \
         ELSE regexp_extract(lower({raw}), '^(?:[a-z][a-z0-9+.-]*://)?(?:[^/?#@]*@)?(?:www[0-9]?\\.)?([^/:?#@\\s]+\\.[^/:?#@\\s.]+)', 1) END"
    ));
    program.bind(format!("nullif({host}, '')"))
}

/// A decimal number as an integer, if it is one.
fn whole(number: &str) -> String {
    format!("TRY_CAST(regexp_extract(CAST({number} AS VARCHAR), '^(-?[0-9]+)\\.0+$', 1) AS BIGINT)")
}

#[cfg(test)]
mod tests;
