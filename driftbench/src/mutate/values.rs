//! Columns that keep their names, and whose values change their type, form, unit or meaning.

use super::{Operation, Work};
use crate::table::Nature;
use autonomos_domain::drift::DriftKind as Kind;
use std::collections::BTreeMap;

const TYPES: [Kind; 5] =
    [Kind::TypeWidened, Kind::TypeNarrowed, Kind::TypeChanged, Kind::FormatChanged, Kind::EnumChanged];

pub(super) fn type_widened(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Integer, Nature::Date])?;
    let severity = work.severity;
    let column = work.column(&name)?;
    let date = column.nature() == Nature::Date;
    column.map(|text| match (date, severity) {
        (true, _) => format!("{text}T00:00:00Z"),
        (false, 1) => format!("{text}.0"),
        (false, 2) => format!("{text}.00"),
        (false, _) => format!("{text}.000"),
    });
    Some(work.operation(Kind::TypeWidened, &TYPES, &[&name], &[]))
}

/// What does not come back: cents, the time of day.
pub(super) fn type_narrowed(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Decimal, Nature::Time])?;
    let column = work.column(&name)?;
    let time = column.nature() == Nature::Time;
    if !time && column.filled().any(|text| text.parse::<f64>().is_ok_and(|number| number.abs() < 1.0)) {
        return None;
    }
    column.map(|text| {
        if time { text[..10].to_owned() } else { format!("{:.0}", text.parse::<f64>().unwrap_or_default()) }
    });
    Some(work.operation(Kind::TypeNarrowed, &TYPES, &[&name], &[]).lost())
}

/// Another type that says the same.
pub(super) fn type_changed(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Flag, Nature::Date, Nature::Time])?;
    let severity = work.severity;
    let column = work.column(&name)?;
    match column.nature() {
        Nature::Flag => {
            let words = [("Y", "N"), ("1", "0"), ("on", "off")][usize::from(severity - 1)];
            column.map(|text| (if text == "true" { words.0 } else { words.1 }).to_owned());
        }
        Nature::Date => column.map(|text| (days(text) * 86_400).to_string()),
        _ => column.map(|text| seconds(text).to_string()),
    }
    Some(work.operation(Kind::TypeChanged, &TYPES, &[&name], &[]))
}

/// Days since 1970 of `2024-02-29`, by the civil calendar.
fn days(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap_or(1);
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year - era * 400;
    let of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn seconds(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().unwrap_or_default();
    days(text) * 86_400 + number(11..13) * 3600 + number(14..16) * 60 + number(17..19)
}

/// Days since 1970 as a date.
fn date(days: i64) -> String {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted - era * 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

pub(super) fn nullability(work: &mut Work<'_>) -> Option<Operation> {
    empty(work, 0.02, 0.06, Kind::NullabilityChanged, true)
}

pub(super) fn null_rate(work: &mut Work<'_>) -> Option<Operation> {
    empty(work, 0.5, 0.8, Kind::NullRateAnomaly, false)
}

/// Values go missing at the source: there is nothing else to understand.
fn empty(work: &mut Work<'_>, least: f64, most: f64, kind: Kind, full: bool) -> Option<Operation> {
    let name = work.choose(&[Nature::Integer, Nature::Decimal, Nature::Text, Nature::Code, Nature::Date])?;
    let column = work.after.column(&name)?;
    let filled = column.filled().count();
    if (full && filled < column.cells.len()) || filled * 10 < column.cells.len() * 8 {
        return None;
    }
    let share = least + (most - least) * f64::from(work.severity - 1) / 2.0;
    let rows: Vec<usize> = (0..work.after.rows()).filter(|_| work.random.chance(share)).collect();
    // Too few to be told from chance.
    if rows.len() < 5 {
        return None;
    }
    for table in [&mut work.after, &mut work.truth] {
        let column = table.column_mut(&name)?;
        for row in &rows {
            column.cells[*row] = None;
        }
    }
    let also = [Kind::NullRateAnomaly, Kind::NullabilityChanged];
    Some(work.operation(kind, &also, &[&name], &[]).of_values().lost())
}

/// Most of the rows did not come.
pub(super) fn volume(work: &mut Work<'_>) -> Option<Operation> {
    let keep = work.after.rows() * [40, 25, 12][usize::from(work.severity - 1)] / 100;
    if keep < 20 {
        return None;
    }
    let rows: Vec<usize> = (0..keep).collect();
    work.after = work.after.select(&rows);
    work.truth = work.truth.select(&rows);
    Some(work.operation(Kind::VolumeAnomaly, &[], &[], &[]).of_values().lost())
}

/// Keys that name other records, or no record of the ones that are known.
pub(super) fn key_changed(work: &mut Work<'_>) -> Option<Operation> {
    let key = work.after.key.clone();
    if work.truth.key != key || work.after.column(&key)? != work.truth.column(&key)? {
        return None;
    }
    let severity = work.severity;
    let rows = work.after.rows();
    let start = 7_000_000 + work.random.below(1000);
    let shift = work.random.between(1, rows - 1);
    let column = work.column(&key)?;
    match severity {
        1 => column.map(|text| format!("EU:{text}")),
        2 => column.cells = (0..rows).map(|row| Some((start + row).to_string())).collect(),
        // The same keys, given to other records.
        _ => column.cells.rotate_left(shift),
    }
    let also = [
        Kind::TypeChanged,
        Kind::TypeWidened,
        Kind::TypeNarrowed,
        Kind::FormatChanged,
        Kind::MeaningChanged,
        Kind::FieldRenamed,
    ];
    Some(work.operation(Kind::KeyChanged, &also, &[&key], &[]).of_values().lost())
}

pub(super) fn enum_renamed(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Code])?;
    let mut codes = counts(work, &name);
    // Rare ones cannot be told from chance.
    codes.retain(|_, count| *count >= 10);
    let list: Vec<String> = codes.into_keys().collect();
    if list.len() < 2 {
        return None;
    }
    let old = work.random.pick(&list).clone();
    let new = match work.severity {
        1 => format!("{old} (new)"),
        2 => format!("{}_{}", old.to_lowercase().chars().rev().collect::<String>(), 2),
        _ => format!("Z{:03}", work.random.below(1000)),
    };
    work.column(&name)?.map(|text| if text == old { new.clone() } else { text.to_owned() });
    Some(work.operation(Kind::EnumChanged, &TYPES, &[&name], &[]).of_values())
}

/// A value that was not there before, on records that change to it.
pub(super) fn enum_added(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Code])?;
    let new = if counts(work, &name).keys().all(|code| crate::table::is_integer(code)) {
        "97".to_owned()
    } else {
        format!("special {}", work.random.below(100))
    };
    let share = [0.3, 0.2, 0.12][usize::from(work.severity - 1)];
    let rows: Vec<usize> = (0..work.after.rows()).filter(|_| work.random.chance(share)).collect();
    if rows.len() < 12 {
        return None;
    }
    for table in [&mut work.after, &mut work.truth] {
        let column = table.column_mut(&name)?;
        for row in &rows {
            column.cells[*row] = Some(new.clone());
        }
    }
    Some(work.operation(Kind::EnumChanged, &TYPES, &[&name], &[]).of_values().lost())
}

pub(super) fn enum_recoded(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Code])?;
    let mut list: Vec<String> = counts(work, &name).into_keys().collect();
    work.random.shuffle(&mut list);
    let severity = work.severity;
    let numbers = list.iter().all(|code| crate::table::is_integer(code));
    let codes: BTreeMap<String, String> = list
        .iter()
        .enumerate()
        .map(|(place, old)| {
            let new = match severity {
                1 if !numbers => old.to_uppercase(),
                1 => format!("{old}0"),
                2 => format!("K{}", place + 1),
                // Old words for other things, where they are words; else numbers.
                _ if numbers => format!("c{}", (b'a' + (place % 26) as u8) as char),
                _ => (place + 1).to_string(),
            };
            (old.clone(), new)
        })
        .collect();
    if codes.iter().all(|(old, new)| old == new) {
        return None;
    }
    work.column(&name)?.map(|text| codes.get(text).cloned().unwrap_or_default());
    let mut also = TYPES.to_vec();
    also.push(Kind::UnitChanged);
    Some(work.operation(Kind::EnumChanged, &also, &[&name], &[]).of_values())
}

fn counts(work: &Work<'_>, name: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for text in work.after.column(name).into_iter().flat_map(crate::table::Column::filled) {
        *counts.entry(text.to_owned()).or_default() += 1;
    }
    counts
}

/// Another unit: cents, thousands, percent, minutes.
pub(super) fn unit(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Decimal, Nature::Integer])?;
    let severity = work.severity;
    let column = work.column(&name)?;
    let decimal = column.nature() == Nature::Decimal;
    if column.filled().any(|text| text.len() > 9) || column.distinct() < 12 {
        return None;
    }
    column.map(|text| match (decimal, severity) {
        (true, 1) => shifted(text, 2),
        (true, 2) => shifted(text, -3),
        (true, _) => shifted(text, 3),
        (false, 1) => (text.parse::<i64>().unwrap_or_default() * 60).to_string(),
        (false, 2) => shifted(text, -2),
        (false, _) => (text.parse::<i64>().unwrap_or_default() * 1000).to_string(),
    });
    let also = [Kind::TypeChanged, Kind::TypeNarrowed, Kind::TypeWidened, Kind::FormatChanged];
    Some(work.operation(Kind::UnitChanged, &also, &[&name], &[]).of_values())
}

/// A decimal number with its point moved, exactly.
fn shifted(text: &str, places: i32) -> String {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut all: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    let mut point = whole.len() as i32 + places;
    while point < 1 {
        all.insert(0, b'0');
        point += 1;
    }
    while all.len() < point as usize {
        all.push(b'0');
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let (whole, fraction) = text.split_at(point as usize);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    let fraction = fraction.trim_end_matches('0');
    let sign = if negative { "-" } else { "" };
    if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

pub(super) fn time_zone(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Time])?;
    let hours = [2, -5, 9][usize::from(work.severity - 1)];
    work.column(&name)?.map(|text| {
        let moved = seconds(text) + hours * 3600;
        let (day, rest) = (moved.div_euclid(86_400), moved.rem_euclid(86_400));
        format!("{}T{:02}:{:02}:{:02}Z", date(day), rest / 3600, rest / 60 % 60, rest % 60)
    });
    Some(work.operation(Kind::UnitChanged, &[Kind::MeaningChanged], &[&name], &[]).of_values())
}

/// The same dates or numbers, written otherwise.
pub(super) fn format(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Date, Nature::SlashDate, Nature::Decimal])?;
    let severity = work.severity;
    let column = work.column(&name)?;
    let parts = |text: &str| (text[..4].to_owned(), text[5..7].to_owned(), text[8..10].to_owned());
    match column.nature() {
        Nature::Date => column.map(|text| {
            let (year, month, day) = parts(text);
            match severity {
                1 => format!("{day}.{month}.{year}"),
                2 => format!("{month}/{day}/{year}"),
                _ => format!("{year}/{month}/{day}"),
            }
        }),
        Nature::SlashDate => column.map(|text| {
            let (day, month, year) = (&text[..2], &text[3..5], &text[6..]);
            match severity {
                1 => format!("{year}-{month}-{day}"),
                2 => format!("{day}.{month}.{year}"),
                // The trap: the same look, the other way round.
                _ => format!("{month}/{day}/{year}"),
            }
        }),
        _ => column.map(|text| text.replace('.', ",")),
    }
    let also = [Kind::TypeChanged, Kind::TypeNarrowed, Kind::TypeWidened];
    Some(work.operation(Kind::FormatChanged, &also, &[&name], &[]).of_values())
}

/// Capitals: how it was written cannot be known any more.
pub(super) fn case(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Text])?;
    let column = work.column(&name)?;
    let changed = column.filled().filter(|text| text.to_uppercase() != **text).count();
    if changed * 10 < column.filled().count() * 8 {
        return None;
    }
    column.map(str::to_uppercase);
    let also = [Kind::MeaningChanged, Kind::TypeChanged];
    Some(work.operation(Kind::FormatChanged, &also, &[&name], &[]).of_values().lost())
}

/// The name stays, and means something else.
pub(super) fn meaning(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Integer, Nature::Decimal, Nature::Text, Nature::Date])?;
    if work.after.column(&name)?.distinct() < 12 {
        return None;
    }
    let severity = work.severity;
    if severity == 1 {
        // Something of another kind altogether.
        for row in 0..work.after.rows() {
            let text = format!("ref {:05}", work.random.below(99_999));
            work.column(&name)?.cells[row] = Some(text);
        }
    } else {
        // Values of its own kind, of other records.
        let mut cells = work.after.column(&name)?.cells.clone();
        work.random.shuffle(&mut cells);
        work.column(&name)?.cells = cells;
    }
    let also = [
        Kind::TypeChanged,
        Kind::TypeWidened,
        Kind::TypeNarrowed,
        Kind::FormatChanged,
        Kind::UnitChanged,
        Kind::EnumChanged,
    ];
    Some(work.operation(Kind::MeaningChanged, &also, &[&name], &[]).of_values().lost())
}
