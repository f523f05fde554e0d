//! Published tables and payloads, read from a folder that is never part of the project.

use crate::{
    BenchError,
    table::{Column, Table},
};
use arrow::array::{Array, AsArray};
use autonomos_connectors::file::{TableOptions, read_table};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// Rows of a published table that are used.
const ROWS: usize = 1500;

/// FEBRL, pyJedAI and Valentine tables, and Stripe's payloads.
pub(crate) fn load(folder: &Path) -> Result<Vec<Table>, BenchError> {
    if !folder.is_dir() {
        return Err(BenchError::Data(folder.to_owned()));
    }
    let mut paths: Vec<PathBuf> = Vec::new();
    for part in ["entity-resolution/febrl", "entity-resolution/pyjedai-ccer", "schema-matching"] {
        tables_below(&folder.join(part), &mut paths)?;
    }
    paths.sort();
    let mut tables = Vec::new();
    for path in paths {
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        // Truths and the other halves of pairs are no sources.
        if matches!(name.as_str(), "gt" | "target") || name.ends_with("_target") {
            continue;
        }
        let relative = path.strip_prefix(folder).unwrap_or(&path).with_extension("");
        if let Some(table) = table(&path, &relative.to_string_lossy())? {
            tables.push(table);
        }
    }
    if tables.is_empty() {
        return Err(BenchError::Data(folder.to_owned()));
    }
    Ok(tables)
}

fn tables_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), BenchError> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    for entry in entries {
        let path = entry.map_err(BenchError::Files)?.path();
        if path.is_dir() {
            tables_below(&path, found)?;
        } else if path.extension().is_some_and(|ending| ending == "csv") {
            found.push(path);
        }
    }
    Ok(())
}

/// A table with a key of its own: the one that it has, or a column of numbers.
fn table(path: &Path, base: &str) -> Result<Option<Table>, BenchError> {
    let (shape, batches) = read_table(path, &TableOptions::default(), Some(ROWS))?;
    let mut columns: Vec<Column> = shape
        .fields
        .iter()
        .map(|field| Column { name: field.name.trim().to_owned(), cells: Vec::new() })
        .collect();
    for batch in &batches {
        for (place, column) in columns.iter_mut().enumerate() {
            let Some(array) = batch.columns().get(place).and_then(|array| array.as_string_opt::<i32>())
            else {
                continue;
            };
            column.cells.extend((0..array.len()).map(|row| {
                let text = (!array.is_null(row)).then(|| array.value(row).trim());
                text.filter(|text| !text.is_empty()).map(|text| text.chars().take(300).collect())
            }));
        }
    }
    columns.retain(|column| column.distinct() > 0);
    let rows = columns.first().map_or(0, |column| column.cells.len());
    if rows < 60 || columns.len() < 3 {
        return Ok(None);
    }
    let own = match shape.primary_key.as_slice() {
        [only] => columns
            .iter()
            .find(|column| column.name == only.trim() && column.distinct() == rows)
            .map(|column| column.name.clone()),
        _ => None,
    };
    let key = own.unwrap_or_else(|| {
        let cells = (0..rows).map(|row| Some(format!("R{:06}", row * 7 + 1000))).collect();
        columns.insert(0, Column { name: "record_id".to_owned(), cells });
        "record_id".to_owned()
    });
    Ok(Some(Table { base: base.to_owned(), key, documents: false, columns }))
}

/// The name of a release, and its resources.
pub(crate) type Release = (String, serde_json::Map<String, Value>);

/// Stripe's example payloads, a release each, oldest first: resource to its fields.
pub(crate) fn stripe(folder: &Path) -> Result<Vec<Release>, BenchError> {
    let mut releases = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder.join("drift/stripe/fixtures")) else { return Ok(releases) };
    for entry in entries {
        let path = entry.map_err(BenchError::Files)?.path();
        let text = std::fs::read_to_string(&path).map_err(BenchError::Files)?;
        let release = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        if let Ok(Value::Object(mut whole)) = serde_json::from_str(&text)
            && let Some(Value::Object(resources)) = whole.remove("resources")
        {
            releases.push((release, resources));
        }
    }
    releases.sort_by(|left, right| left.0.cmp(&right.0));
    Ok(releases)
}
