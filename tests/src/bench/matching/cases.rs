//! Pairs of tables whose true matches are known, as `shared/data/README.md` describes them.

use arrow::array::{Array, AsArray};
use autonomos_connectors::file::{TableOptions, read_table};
use autonomos_domain::{
    drift::profile::{FieldProfiler, StreamProfile},
    schema::StreamShape,
};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

/// A table: its shape and the profile of its values.
pub struct Table {
    pub shape: StreamShape,
    pub profile: StreamProfile,
}

/// Two tables and which of their columns are the same.
pub struct Case {
    pub family: String,
    pub id: String,
    pub source: Table,
    pub target: Table,
    /// Indices of source and target columns.
    pub truth: BTreeSet<(usize, usize)>,
}

/// Where the data is: `AOS_DATA`, or `../shared/data` from the project's root.
pub fn folder() -> Option<PathBuf> {
    let named = std::env::var_os("AOS_DATA").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = named.unwrap_or_else(beside).join("schema-matching");
    folder.is_dir().then_some(folder)
}

/// All cases of all families, in a fixed order.
pub fn load(folder: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    for family in ["chembl", "magellan", "tpch"] {
        for path in sorted(&folder.join("valentine-82-sampled").join(family)) {
            let expected = json(&path.join("expected.json"));
            let pairs = named_pairs(&expected["mappings"], "source", "target");
            cases.extend(case(family, &path.join("source.csv"), &path.join("target.csv"), &pairs));
        }
    }
    for path in sorted(&folder.join("valentine-wikidata")) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let expected = json(&path.join(format!("{name}_mapping.json")));
        let pairs = named_pairs(&expected["matches"], "source_column", "target_column");
        let file = |side: &str| path.join(format!("{name}_{side}.csv"));
        cases.extend(case("wikidata", &file("source"), &file("target"), &pairs));
    }
    let generated = json(&folder.join("infermap-synthetic-80/generated.json"));
    for entry in generated["cases"].as_array().into_iter().flatten() {
        let pairs = named_pairs(&entry["expected"]["mappings"], "source", "target");
        let (source, target) = (fields(&entry["source_fields"]), fields(&entry["target_fields"]));
        let id = entry["id"].as_str().unwrap_or_default().to_owned();
        cases.push(Case {
            truth: indices(&source, &target, &pairs),
            family: "synthetic".to_owned(),
            id,
            source,
            target,
        });
    }
    cases
}

fn sorted(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    paths.sort();
    paths
}

fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn named_pairs(list: &Value, source: &str, target: &str) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    list.as_array().into_iter().flatten().map(|pair| (text(&pair[source]), text(&pair[target]))).collect()
}

fn case(family: &str, source: &Path, target: &Path, pairs: &[(String, String)]) -> Option<Case> {
    let (source_table, target_table) = (table(source)?, table(target)?);
    let id = source.parent().and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned());
    Some(Case {
        truth: indices(&source_table, &target_table, pairs),
        family: family.to_owned(),
        id: id.unwrap_or_default(),
        source: source_table,
        target: target_table,
    })
}

/// True pairs whose columns exist; a few of the published ones name an absent column.
fn indices(source: &Table, target: &Table, pairs: &[(String, String)]) -> BTreeSet<(usize, usize)> {
    let at = |table: &Table, name: &String| table.shape.fields.iter().position(|field| field.name == *name);
    pairs.iter().filter_map(|(one, other)| Some((at(source, one)?, at(target, other)?))).collect()
}

fn table(path: &Path) -> Option<Table> {
    let (shape, batches) = read_table(path, &TableOptions::default(), Some(20_000)).ok()?;
    let mut profile = StreamProfile::default();
    for (index, field) in shape.fields.iter().enumerate() {
        let mut profiler = FieldProfiler::new();
        for column in batches.iter().filter_map(|batch| batch.column(index).as_string_opt::<i32>()) {
            for row in 0..column.len() {
                profiler.push((!column.is_null(row)).then(|| column.value(row)));
            }
        }
        profile.fields.insert(field.name.clone(), profiler.finish());
    }
    profile.rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    Some(Table { shape, profile })
}

/// A table of which a few values a column are all there is.
fn fields(list: &Value) -> Table {
    let mut table = Table { shape: StreamShape::default(), profile: StreamProfile::default() };
    for field in list.as_array().into_iter().flatten() {
        let name = field["name"].as_str().unwrap_or_default().to_owned();
        let mut profiler = FieldProfiler::new();
        for value in field["samples"].as_array().into_iter().flatten() {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            profiler.push((!value.is_null()).then_some(text.as_str()));
        }
        let values = profiler.finish();
        table.profile.rows = table.profile.rows.max(values.rows);
        table.shape.fields.push(values.field(&name));
        table.profile.fields.insert(name, values);
    }
    table
}
