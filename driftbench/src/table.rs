//! Tables and documents as the generator holds them, and what their columns are.

use crate::random::Random;
use serde_json::Value;
use std::{collections::BTreeSet, fmt::Write as _, io, path::Path};

pub(crate) type Cell = Option<String>;

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) cells: Vec<Cell>,
}

/// One edition of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    /// Where it comes from: `crm/accounts`, `febrl/dataset1`.
    pub(crate) base: String,
    pub(crate) key: String,
    /// Written as a JSON object a line rather than as CSV.
    pub(crate) documents: bool,
    pub(crate) columns: Vec<Column>,
}

/// What the values of a column are, as far as mutations ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nature {
    Integer,
    Decimal,
    /// `2024-02-29`
    Date,
    /// `29/02/2024`
    SlashDate,
    /// `2024-02-29T10:00:00Z`
    Time,
    Flag,
    /// A few values that come again and again.
    Code,
    Text,
    Object,
    /// One element each.
    Array,
    /// One value, or none.
    Nothing,
}

impl Column {
    pub(crate) fn filled(&self) -> impl Iterator<Item = &str> {
        self.cells.iter().flatten().map(String::as_str)
    }

    pub(crate) fn distinct(&self) -> usize {
        self.filled().collect::<BTreeSet<_>>().len()
    }

    pub(crate) fn map(&mut self, change: impl Fn(&str) -> String) {
        for cell in &mut self.cells {
            if let Some(text) = cell.take() {
                *cell = Some(change(&text));
            }
        }
    }

    pub(crate) fn nature(&self) -> Nature {
        let filled = self.filled().count();
        let distinct = self.distinct();
        if distinct < 2 {
            return Nature::Nothing;
        }
        let all = |test: fn(&str) -> bool| self.filled().all(test);
        if all(|text| matches!(text, "true" | "false")) {
            return Nature::Flag;
        }
        if all(is_integer) {
            return if distinct <= 6 && filled >= 12 * distinct { Nature::Code } else { Nature::Integer };
        }
        if all(|text| is_integer(text) || is_decimal(text)) {
            return Nature::Decimal;
        }
        if all(|text| digits(text, "0000-00-00")) {
            return Nature::Date;
        }
        if all(|text| digits(text, "00/00/0000")) {
            return Nature::SlashDate;
        }
        if all(|text| digits(text, "0000-00-00T00:00:00Z")) {
            return Nature::Time;
        }
        let json = |test: fn(&Value) -> bool| {
            self.filled().all(|text| {
                text.starts_with(['{', '[']) && serde_json::from_str(text).is_ok_and(|value| test(&value))
            })
        };
        if json(Value::is_object) {
            return Nature::Object;
        }
        if json(|value| value.as_array().is_some_and(|list| list.len() == 1)) {
            return Nature::Array;
        }
        if distinct <= 14 && filled >= 8 * distinct && all(|text| text.len() <= 40) {
            return Nature::Code;
        }
        Nature::Text
    }
}

pub(crate) fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty()
        && digits.len() <= 15
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'))
}

fn is_decimal(text: &str) -> bool {
    let Some((whole, fraction)) = text.split_once('.') else { return false };
    is_integer(whole)
        && (1..=6).contains(&fraction.len())
        && fraction.bytes().all(|byte| byte.is_ascii_digit())
}

/// Is the text digits where the pattern has `0`, and the same elsewhere?
fn digits(text: &str, pattern: &str) -> bool {
    text.len() == pattern.len()
        && text
            .bytes()
            .zip(pattern.bytes())
            .all(|(byte, wanted)| if wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted })
}

impl Table {
    pub(crate) fn rows(&self) -> usize {
        self.columns.first().map_or(0, |column| column.cells.len())
    }

    pub(crate) fn at(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(crate) fn column_mut(&mut self, name: &str) -> Option<&mut Column> {
        self.columns.iter_mut().find(|column| column.name == name)
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Column> {
        Some(self.columns.remove(self.at(name)?))
    }

    /// The table of the given rows, in that order.
    pub(crate) fn select(&self, rows: &[usize]) -> Self {
        let columns = self
            .columns
            .iter()
            .map(|column| Column {
                name: column.name.clone(),
                cells: rows.iter().map(|row| column.cells[*row].clone()).collect(),
            })
            .collect();
        Self { columns, ..self.clone() }
    }

    /// What happens to every source: a few values are edited, times of change go on.
    pub(crate) fn edit(&mut self, share: f64, random: &mut Random) {
        let key = self.key.clone();
        for column in self.columns.iter_mut().filter(|column| column.name != key) {
            let rows = column.cells.len();
            if column.name == "updated_at" {
                for cell in &mut column.cells {
                    if random.chance(0.5) {
                        let (month, day) = (random.between(7, 12), random.between(1, 28));
                        *cell = Some(format!("2025-{month:02}-{day:02}T08:{:02}:00Z", random.below(60)));
                    }
                }
                continue;
            }
            for row in 0..rows {
                if random.chance(share) {
                    let value = column.cells[random.below(rows)].clone();
                    column.cells[row] = value;
                }
            }
        }
    }

    pub(crate) fn file_name(&self) -> String {
        let stem = self.base.rsplit('/').next().unwrap_or("table");
        format!("{stem}.{}", if self.documents { "ndjson" } else { "csv" })
    }

    /// Writes the edition as its source would.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = String::new();
        if self.documents {
            for row in 0..self.rows() {
                let members: Vec<String> = self
                    .columns
                    .iter()
                    .map(|column| {
                        let value = column.cells[row].as_deref().map_or("null".to_owned(), json_value);
                        format!("{}:{value}", Value::from(column.name.as_str()))
                    })
                    .collect();
                let _ = writeln!(text, "{{{}}}", members.join(","));
            }
        } else {
            let line = |cells: Vec<String>| cells.join(",");
            text = line(self.columns.iter().map(|column| quoted(&column.name)).collect());
            text.push('\n');
            for row in 0..self.rows() {
                let cells = self
                    .columns
                    .iter()
                    .map(|column| column.cells[row].as_deref().map_or(String::new(), quoted));
                text.push_str(&line(cells.collect()));
                text.push('\n');
            }
        }
        std::fs::write(path, text)
    }
}

fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r', ';', '\t']) || text.trim() != text {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

/// Numbers, flags, objects and arrays as JSON has them; all else as a string.
fn json_value(text: &str) -> String {
    let bare = matches!(text, "true" | "false") || is_integer(text) || is_decimal(text);
    let nested = text.starts_with(['{', '[']) && serde_json::from_str::<Value>(text).is_ok();
    if bare || nested { text.to_owned() } else { Value::from(text).to_string() }
}
