//! Columns that come, go, move, and change their places.

use super::{Operation, Work, names};
use crate::table::{Cell, Column, Nature};
use autonomos_domain::drift::DriftKind as Kind;
use serde_json::{Map, Value};

/// Natures a person would tell apart by their values.
const TELLING: [Nature; 8] = [
    Nature::Integer,
    Nature::Decimal,
    Nature::Date,
    Nature::SlashDate,
    Nature::Time,
    Nature::Code,
    Nature::Text,
    Nature::Flag,
];
const SCALARS: [Nature; 7] = [
    Nature::Integer,
    Nature::Decimal,
    Nature::Date,
    Nature::SlashDate,
    Nature::Time,
    Nature::Code,
    Nature::Text,
];

pub(super) fn add(work: &mut Work<'_>) -> Option<Operation> {
    let name = {
        let number = work.random.below(1000);
        work.unused(format!("extra_{number}"))
    };
    let rows = work.after.rows();
    let cells: Vec<Cell> = match work.severity {
        // New values; parts of a column that stays; nearly a copy of one.
        1 => (0..rows).map(|_| Some(format!("{:x}", work.random.below(0xffff_ffff)))).collect(),
        2 => {
            let source = work.choose(&TELLING)?;
            let cells = work.after.column(&source)?.cells.clone();
            cells.into_iter().map(|cell| cell.map(|text| text.chars().take(3).collect())).collect()
        }
        _ => {
            let source = work.choose(&TELLING)?;
            work.after.column(&source)?.cells.clone()
        }
    };
    cells.iter().flatten().next()?;
    work.after.columns.push(Column { name: name.clone(), cells });
    Some(work.operation(Kind::FieldAdded, &[], &[], &[&name]).lost())
}

pub(super) fn remove(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&TELLING)?;
    work.after.take(&name)?;
    Some(work.operation(Kind::FieldRemoved, &[], &[&name], &[]).lost())
}

pub(super) fn rename(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&TELLING)?;
    let new = names::renamed(&name, work.severity, work.random);
    if new == name {
        return None;
    }
    let new = work.unused(new);
    work.column(&name)?.name.clone_from(&new);
    Some(work.operation(Kind::FieldRenamed, &[], &[&name], &[&new]))
}

/// Two columns exchange their names.
pub(super) fn swap(work: &mut Work<'_>) -> Option<Operation> {
    let first = work.choose(&TELLING)?;
    let nature = work.after.column(&first)?.nature();
    let others: Vec<String> = work
        .free
        .iter()
        .filter(|name| **name != first)
        .filter(|name| {
            work.after.column(name).is_some_and(|column| {
                let same = work.after.column(&first).is_some_and(|one| {
                    let equal =
                        one.cells.iter().zip(&column.cells).filter(|(left, right)| left == right).count();
                    equal * 2 > one.cells.len()
                });
                !same
                    && (work.severity == 1 || column.nature() == nature)
                    && TELLING.contains(&column.nature())
            })
        })
        .cloned()
        .collect();
    if others.is_empty() {
        return None;
    }
    let second = work.random.pick(&others).clone();
    let (left, right) = (work.after.at(&first)?, work.after.at(&second)?);
    work.after.columns[left].name.clone_from(&second);
    work.after.columns[right].name.clone_from(&first);
    Some(
        work.operation(
            Kind::FieldsSwapped,
            &[Kind::MeaningChanged, Kind::TypeChanged],
            &[&first, &second],
            &[],
        )
        .of_values(),
    )
}

/// One column becomes two.
pub(super) fn split(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Text, Nature::Time])?;
    let column = work.after.column(&name)?;
    let separator = [" ", "T", "-", "@", "."].into_iter().find(|separator| {
        column.filled().all(|text| {
            text.split(separator).filter(|part| !part.is_empty()).count() == 2
                && text.matches(separator).count() == 1
        })
    })?;
    // Letters are no separators a join could write back for sure, but a time's T is.
    let halves: Vec<(Cell, Cell)> = column
        .cells
        .iter()
        .map(|cell| {
            let parts = cell.as_deref().and_then(|text| text.split_once(separator));
            (parts.map(|(left, _)| left.to_owned()), parts.map(|(_, right)| right.to_owned()))
        })
        .collect();
    let stem = if work.severity == 3 { "part".to_owned() } else { name.clone() };
    let (left, right) = (work.unused(format!("{stem}_1")), work.unused(format!("{stem}_2")));
    work.after.take(&name)?;
    let (lefts, rights) = halves.into_iter().unzip();
    work.after.columns.push(Column { name: left.clone(), cells: lefts });
    work.after.columns.push(Column { name: right.clone(), cells: rights });
    Some(work.operation(
        Kind::FieldSplit,
        &[Kind::FieldRemoved, Kind::FieldAdded],
        &[&name],
        &[&left, &right],
    ))
}

/// Two columns become one.
pub(super) fn merge(work: &mut Work<'_>) -> Option<Operation> {
    let parts = [Nature::Text, Nature::Code, Nature::Integer];
    let first = work.choose(&parts)?;
    work.free.retain(|name| *name != first);
    let second = work.choose(&parts);
    work.free.push(first.clone());
    let second = second?;
    let separator = match work.severity {
        1 => "|",
        2 => ", ",
        _ => " ",
    };
    let full = |name: &str| {
        work.after.column(name).is_some_and(|column| {
            // At severity 3 some values hold the separator themselves.
            let clear = column.filled().filter(|text| text.contains(separator)).count();
            column.cells.iter().all(Option::is_some)
                && (clear == 0 || (work.severity == 3 && clear * 4 < column.cells.len()))
        })
    };
    if !full(&first) || !full(&second) {
        return None;
    }
    let (left, right) = (work.after.take(&first)?, work.after.take(&second)?);
    let joined = left
        .cells
        .iter()
        .zip(&right.cells)
        .map(|(left, right)| Some(format!("{}{separator}{}", left.as_deref()?, right.as_deref()?)))
        .collect();
    let name = work.unused(format!("{first}_and_{second}"));
    work.after.columns.push(Column { name: name.clone(), cells: joined });
    let also = [Kind::FieldRemoved, Kind::FieldAdded, Kind::FieldRenamed];
    Some(work.operation(Kind::FieldsMerged, &also, &[&first, &second], &[&name]))
}

/// Columns become members of a new one.
pub(super) fn nest(work: &mut Work<'_>) -> Option<Operation> {
    let count = usize::from(work.severity).min(3);
    let mut chosen: Vec<String> = Vec::new();
    let mut all = work.free.clone();
    work.random.shuffle(&mut all);
    for name in all {
        if chosen.len() < count
            && work.after.column(&name).is_some_and(|column| SCALARS.contains(&column.nature()))
        {
            chosen.push(name);
        }
    }
    if chosen.len() < count {
        return None;
    }
    let columns: Vec<Column> = chosen.iter().filter_map(|name| work.after.take(name)).collect();
    let cells = (0..work.after.rows())
        .map(|row| {
            let members: Map<String, Value> = columns
                .iter()
                .map(|column| {
                    (column.name.clone(), column.cells[row].clone().map_or(Value::Null, Value::from))
                })
                .collect();
            let object = Value::Object(members);
            // Deeper at severity 3.
            let whole = if work.severity == 3 { serde_json::json!({ "data": object }) } else { object };
            Some(whole.to_string())
        })
        .collect();
    let wanted = *work.random.pick(&["details", "attributes", "properties"]);
    let name = work.unused(wanted.to_owned());
    work.after.columns.push(Column { name: name.clone(), cells });
    let fields: Vec<&str> = chosen.iter().map(String::as_str).collect();
    Some(work.operation(Kind::FieldNested, &[Kind::FieldRemoved, Kind::FieldAdded], &fields, &[&name]))
}

/// The members of a column become columns.
pub(super) fn flatten(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Object])?;
    let column = work.after.take(&name)?;
    let documents: Vec<Option<Map<String, Value>>> = column
        .cells
        .iter()
        .map(|cell| cell.as_deref().and_then(|text| serde_json::from_str(text).ok()))
        .collect();
    let mut keys: Vec<String> =
        documents.iter().flatten().flat_map(|document| document.keys().cloned()).collect();
    keys.sort();
    keys.dedup();
    let mut news = Vec::new();
    for key in keys {
        let cells = documents
            .iter()
            .map(|document| match document.as_ref()?.get(&key)? {
                Value::Null => None,
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            })
            .collect();
        let wanted = if work.severity == 3 { key } else { format!("{name}_{key}") };
        let new = work.unused(wanted);
        work.after.columns.push(Column { name: new.clone(), cells });
        news.push(new);
    }
    let news: Vec<&str> = news.iter().map(String::as_str).collect();
    Some(work.operation(Kind::FieldFlattened, &[Kind::FieldRemoved, Kind::FieldAdded], &[&name], &news))
}

/// A scalar becomes an array of one, or the other way round.
pub(super) fn array(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Text, Nature::Code, Nature::Integer, Nature::Array])?;
    let two = work.severity == 3;
    let column = work.column(&name)?;
    if column.nature() == Nature::Array {
        column.map(|text| {
            let list: Vec<Value> = serde_json::from_str(text).unwrap_or_default();
            list.first().and_then(Value::as_str).unwrap_or_default().to_owned()
        });
        // An array of one text cannot be known to have been one; a value is all there is.
        return Some(
            work.operation(Kind::TypeChanged, &[Kind::FormatChanged, Kind::TypeWidened], &[&name], &[])
                .lost(),
        );
    }
    column.map(|text| {
        let mut list = vec![Value::from(text)];
        // A few have a second element now; the first is the one that was.
        if two && text.len() % 7 == 0 {
            list.push(Value::from("other"));
        }
        Value::Array(list).to_string()
    });
    Some(work.operation(Kind::TypeChanged, &[Kind::FormatChanged, Kind::TypeNarrowed], &[&name], &[]))
}

/// A column goes, and one comes that looks like it and holds something else.
pub(super) fn decoy(work: &mut Work<'_>) -> Option<Operation> {
    let name = work.choose(&[Nature::Integer, Nature::Decimal, Nature::Code, Nature::Text, Nature::Date])?;
    let wanted = names::decoy(&name, work.random);
    let new = work.unused(wanted);
    let mut column = work.after.take(&name)?;
    let decimal = column.nature() == Nature::Decimal;
    match work.severity {
        // The same values on other records; a share of them wrong; or less by a tax.
        1 => work.random.shuffle(&mut column.cells),
        3 if decimal => {
            let rate = [0.81, 0.9, 1.19, 1.0837][work.random.below(4)];
            column.map(|text| format!("{:.2}", text.parse::<f64>().unwrap_or_default() * rate));
        }
        _ => {
            let rows = column.cells.len();
            for row in 0..rows {
                if work.random.chance(0.3) {
                    let value = column.cells[work.random.below(rows)].clone();
                    column.cells[row] = value;
                }
            }
        }
    }
    column.name.clone_from(&new);
    work.after.columns.push(column);
    Some(work.operation(Kind::FieldRemoved, &[Kind::FieldAdded], &[&name], &[&new]).lost())
}

pub(super) fn key_renamed(work: &mut Work<'_>) -> Option<Operation> {
    let key = work.after.key.clone();
    if work.truth.key != key || work.after.column(&key)? != work.truth.column(&key)? {
        return None;
    }
    let new = names::renamed(&key, work.severity, work.random);
    if new == key {
        return None;
    }
    let new = work.unused(new);
    work.column(&key)?.name.clone_from(&new);
    work.after.key.clone_from(&new);
    Some(work.operation(Kind::FieldRenamed, &[Kind::KeyChanged], &[&key], &[&new]))
}
