//! A tenant's own SQL over its views: one parsed SELECT that names nothing but the views, on a
//! connection of its own, stopped on time.

use super::{QueryAnswer, QueryLimits, Result, view::Reader};
use crate::{
    dcl::tables::{ident, literal},
    error::ProjectionError,
};
use arrow::record_batch::RecordBatch;
use serde_json::Value;
use std::collections::BTreeSet;

/// Table functions that read nothing.
const TABLE_FUNCTIONS: &[&str] = &["unnest", "range", "generate_series"];
/// Functions that tell of the server, or run other text.
const REFUSED_FUNCTIONS: &[&str] = &[
    "current_setting",
    "getenv",
    "getvariable",
    "query",
    "query_table",
    "read_text",
    "read_blob",
    "nextval",
    "currval",
    "pg_typeof_setting",
    "txid_current",
    "write_log",
    "in_search_path",
];

/// Runs the query on the reader's connection; the caller interrupts it on time-out.
pub(super) fn run(reader: &Reader, sql: &str, limits: QueryLimits) -> Result<QueryAnswer> {
    let mut views = BTreeSet::new();
    for entity in &reader.ontology.entities {
        views.insert(entity.plural.to_lowercase());
        views.insert(entity.name.to_lowercase());
    }
    let tree = parse(reader, sql)?;
    let named = check(&tree, &views)?;
    for entity in &reader.ontology.entities {
        for name in [&entity.plural, &entity.name] {
            if !named.contains(&name.to_lowercase()) {
                continue;
            }
            let view = reader.view(&entity.name, None)?;
            reader.connection.execute_batch(&format!(
                "CREATE OR REPLACE TEMP VIEW {} AS SELECT * EXCLUDE (ver, members), members AS _members FROM ({})",
                ident(name),
                view.rows()
            ))?;
        }
    }
    let failed = |error: duckdb::Error| ProjectionError::QueryFailed(plain(&error.to_string()));
    let mut statement = reader.connection.prepare(sql).map_err(failed)?;
    drop(statement.stream_arrow([]).map_err(failed)?);
    let schema = statement.schema();
    let mut batches = Vec::new();
    let mut rows = 0;
    let mut truncated = false;
    while let Some(array) = statement.step().map_err(failed)? {
        let batch = RecordBatch::from(&array);
        let left = limits.rows - rows;
        if batch.num_rows() > left {
            truncated = true;
            batches.push(batch.slice(0, left));
            break;
        }
        rows += batch.num_rows();
        batches.push(batch);
    }
    Ok(QueryAnswer { schema, batches, truncated })
}

/// DuckDB's own parser, as a tree; it serialises nothing but SELECT.
fn parse(reader: &Reader, sql: &str) -> Result<Value> {
    let text = reader
        .select_one(&format!("SELECT CAST(json_serialize_sql({}) AS VARCHAR)", literal(sql)), |row| {
            row.get::<_, String>(0)
        })?
        .unwrap_or_default();
    let tree: Value =
        serde_json::from_str(&text).map_err(|error| ProjectionError::QueryRefused(error.to_string()))?;
    if tree.get("error").and_then(Value::as_bool) == Some(true) {
        let message = tree.get("error_message").and_then(Value::as_str).unwrap_or("it cannot be parsed");
        return Err(ProjectionError::QueryRefused(plain(message)));
    }
    match tree.get("statements").and_then(Value::as_array).map(Vec::len) {
        Some(1) => Ok(tree),
        _ => Err(ProjectionError::QueryRefused("one SELECT statement is allowed".to_owned())),
    }
}

/// The views a query names; refused if it names anything else.
fn check(tree: &Value, views: &BTreeSet<String>) -> Result<BTreeSet<String>> {
    let mut common = BTreeSet::new();
    collect_common(tree, &mut common);
    let mut named = BTreeSet::new();
    walk(tree, &mut |node| {
        let text = |name: &str| node.get(name).and_then(Value::as_str).unwrap_or_default();
        let refuse = |message: String| Err(ProjectionError::QueryRefused(message));
        match text("type") {
            "BASE_TABLE" => {
                let table = text("table_name").to_lowercase();
                if !text("schema_name").is_empty() || !text("catalog_name").is_empty() {
                    return refuse(format!("`{table}` is named with a schema; name the views alone"));
                }
                if views.contains(&table) {
                    named.insert(table);
                } else if !common.contains(&table) {
                    let known: Vec<_> = views.iter().map(|view| format!("`{view}`")).collect();
                    return refuse(format!("there is no view `{table}`; there are {}", known.join(", ")));
                }
            }
            "TABLE_FUNCTION" => {
                let function = node
                    .get("function")
                    .and_then(|function| function.get("function_name"))
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_lowercase();
                if !TABLE_FUNCTIONS.contains(&function.as_str()) {
                    return refuse(format!("the table function `{function}` is not allowed"));
                }
            }
            "SHOW_REF" => return refuse("SHOW, DESCRIBE and SUMMARIZE are not allowed".to_owned()),
            "FUNCTION" => {
                let function = text("function_name").to_lowercase();
                if REFUSED_FUNCTIONS.contains(&function.as_str()) || function.starts_with("duckdb_") {
                    return refuse(format!("the function `{function}` is not allowed"));
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(named)
}

/// Names of common table expressions: `cte_map: {map: [{key, value}]}`.
fn collect_common(tree: &Value, names: &mut BTreeSet<String>) {
    let _ = walk(tree, &mut |node| {
        let map = node.get("cte_map").and_then(|map| map.get("map")).and_then(Value::as_array);
        for entry in map.into_iter().flatten() {
            names.extend(entry.get("key").and_then(Value::as_str).map(str::to_lowercase));
        }
        names.extend(node.get("cte_name").and_then(Value::as_str).map(str::to_lowercase));
        names.extend(node.get("ctename").and_then(Value::as_str).map(str::to_lowercase));
        Ok(())
    });
}

fn walk(node: &Value, visit: &mut impl FnMut(&Value) -> Result<()>) -> Result<()> {
    match node {
        Value::Object(content) => {
            visit(node)?;
            content.values().try_for_each(|value| walk(value, visit))
        }
        Value::Array(items) => items.iter().try_for_each(|value| walk(value, visit)),
        _ => Ok(()),
    }
}

/// The first line: the rest quotes the text with a caret.
fn plain(message: &str) -> String {
    message.lines().next().unwrap_or_default().to_owned()
}

impl QueryAnswer {
    /// The rows as JSON objects.
    pub fn to_json(&self) -> Result<Vec<Value>> {
        let failed = |error: arrow_schema::ArrowError| ProjectionError::QueryFailed(error.to_string());
        let mut writer = arrow::json::WriterBuilder::new()
            .with_explicit_nulls(true)
            .build::<_, arrow::json::writer::JsonArray>(Vec::new());
        for batch in &self.batches {
            writer.write(batch).map_err(failed)?;
        }
        writer.finish().map_err(failed)?;
        let bytes = writer.into_inner();
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        serde_json::from_slice(&bytes).map_err(|error| ProjectionError::QueryFailed(error.to_string()))
    }

    /// The rows as an Arrow IPC stream.
    pub fn to_arrow(&self) -> Result<bytes::Bytes> {
        let failed = |error: arrow_schema::ArrowError| ProjectionError::QueryFailed(error.to_string());
        let mut writer =
            arrow::ipc::writer::StreamWriter::try_new(Vec::new(), &self.schema).map_err(failed)?;
        for batch in &self.batches {
            writer.write(batch).map_err(failed)?;
        }
        Ok(writer.into_inner().map_err(failed)?.into())
    }
}
