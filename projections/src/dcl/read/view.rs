//! A reader of one tenant's file, and the SQL of its views: the current one, and the one of any past
//! moment, which is a filter over versions, not a replay.

use super::{AsOf, Compare, Result, RowFilter, Sort};
use crate::{
    dcl::tables::{self, ident, literal, sql_type, value_column},
    error::ProjectionError,
};
use autonomos_domain::ontology::{CanonicalType, Entity, Ontology, OntologyField, default_ontology};
use chrono::{DateTime, Utc};
use duckdb::{Connection, Row};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// What is known of a feed.
#[derive(Debug, Clone)]
pub(super) struct FeedInfo {
    pub(super) feed_id: Uuid,
    pub(super) connection_id: Uuid,
    pub(super) stream: String,
    pub(super) entity: Option<String>,
    pub(super) priority: i32,
    pub(super) closed: bool,
}

/// One consistent look at a tenant's file.
pub(super) struct Reader {
    pub(super) connection: Connection,
    pub(super) ontology: Ontology,
    /// Up to which log sequence the file is.
    pub(super) sequence: u64,
}

impl Reader {
    /// Starts a transaction of its own: all its queries see the same state.
    pub(super) fn begin(connection: Connection) -> Result<Self> {
        connection.execute_batch("SET TimeZone = 'UTC'; BEGIN TRANSACTION")?;
        let mut reader =
            Self { connection, ontology: Ontology { version: 0, entities: Vec::new() }, sequence: 0 };
        let meta: BTreeMap<String, String> = reader
            .select("SELECT key, value FROM meta WHERE key IN ('ontology', 'checkpoint')", |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .into_iter()
            .collect();
        reader.ontology = match meta.get("ontology") {
            Some(text) => serde_json::from_str(text).map_err(|error| {
                ProjectionError::Views(format!("the ontology in force is damaged: {error}"))
            })?,
            None => default_ontology(),
        };
        reader.sequence = meta.get("checkpoint").and_then(|text| text.parse().ok()).unwrap_or(0);
        Ok(reader)
    }

    pub(super) fn select<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>> {
        let mut statement = self.connection.prepare(sql)?;
        let rows = statement.query_map([], read)?;
        Ok(rows.collect::<duckdb::Result<_>>()?)
    }

    pub(super) fn select_one<T>(
        &self,
        sql: &str,
        read: impl FnMut(&Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Option<T>> {
        Ok(self.select(sql, read)?.into_iter().next())
    }

    /// The log sequence that shows the view as it was then; none: as it is now.
    pub(super) fn resolve(&self, as_of: Option<AsOf>) -> Result<Option<u64>> {
        match as_of {
            None => Ok(None),
            Some(AsOf::Sequence(sequence)) => Ok(Some(sequence)),
            Some(AsOf::Time(time)) => {
                let sql = format!(
                    "SELECT max(seq) FROM commit_times WHERE \"at\" <= CAST({} AS TIMESTAMP)",
                    literal(&time.naive_utc().format("%Y-%m-%d %H:%M:%S%.6f").to_string())
                );
                let found = self.select_one(&sql, |row| row.get::<_, Option<i64>>(0))?.flatten();
                Ok(Some(found.unwrap_or(0) as u64))
            }
        }
    }

    fn columns(&self, table: &str) -> Result<BTreeSet<String>> {
        let sql = format!(
            "SELECT column_name FROM duckdb_columns() WHERE NOT internal AND database_name = current_database() \
             AND table_name = {}",
            literal(table)
        );
        Ok(self.select(&sql, |row| row.get(0))?.into_iter().collect())
    }

    pub(super) fn view(&self, entity: &str, as_of: Option<u64>) -> Result<View> {
        let entity = entity_of(&self.ontology, entity)?.clone();
        let columns = self.columns(&format!("rec_{}", entity.name))?;
        Ok(View { entity, columns, as_of })
    }

    pub(super) fn feeds(&self) -> Result<BTreeMap<i32, FeedInfo>> {
        let sql = "SELECT feed, CAST(feed_id AS VARCHAR), CAST(connection_id AS VARCHAR), stream, entity, priority, \
                   coalesce(closed_at, 0) > 0 FROM feeds ORDER BY feed";
        let rows = self.select(sql, |row| {
            let id = |text: String| Uuid::parse_str(&text).unwrap_or_default();
            let info = FeedInfo {
                feed_id: id(row.get(1)?),
                connection_id: id(row.get(2)?),
                stream: row.get(3)?,
                entity: row.get(4)?,
                priority: row.get::<_, Option<i32>>(5)?.unwrap_or(0),
                closed: row.get(6)?,
            };
            Ok((row.get(0)?, info))
        })?;
        Ok(rows.into_iter().collect())
    }

    /// When the commits at these sequences were recorded, by the running maximum.
    pub(super) fn times(&self, sequences: &BTreeSet<i64>) -> Result<BTreeMap<i64, DateTime<Utc>>> {
        if sequences.is_empty() {
            return Ok(BTreeMap::new());
        }
        let list: Vec<String> = sequences.iter().map(ToString::to_string).collect();
        let sql =
            format!("SELECT seq, epoch_us(\"at\") FROM commit_times WHERE seq IN ({})", list.join(", "));
        let rows = self.select(&sql, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        Ok(rows
            .into_iter()
            .filter_map(|(sequence, micros)| Some((sequence, DateTime::from_timestamp_micros(micros)?)))
            .collect())
    }
}

/// Finds an entity by its singular or plural name.
pub(super) fn entity_of<'a>(ontology: &'a Ontology, name: &str) -> Result<&'a Entity> {
    ontology.entity(name).ok_or_else(|| ProjectionError::UnknownEntity {
        name: name.to_owned(),
        known: ontology
            .entities
            .iter()
            .map(|entity| format!("`{}`", entity.name))
            .collect::<Vec<_>>()
            .join(", "),
    })
}

/// An entity's unified view at a moment.
pub(super) struct View {
    pub(super) entity: Entity,
    /// Columns its record table has; empty before the first record.
    columns: BTreeSet<String>,
    pub(super) as_of: Option<u64>,
}

impl View {
    pub(super) fn exists(&self) -> bool {
        !self.columns.is_empty()
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.contains(column)
    }

    /// The field's column; null for a field that no file has yet.
    fn column(&self, field: &OntologyField) -> String {
        if self.has(&format!("f_{}", field.name)) {
            value_column(&field.name)
        } else {
            format!("CAST(NULL AS {})", sql_type(field.canonical_type))
        }
    }

    /// Versions of a pair of tables that hold at the moment.
    fn versions(&self, current: &str, history: &str, columns: &str, condition: &str) -> String {
        match self.as_of {
            None => format!("SELECT {columns} FROM {current} WHERE {condition}"),
            Some(at) => format!(
                "SELECT {columns} FROM {current} WHERE {condition} AND \"from\" <= {at} UNION ALL \
                 SELECT {columns} FROM {history} WHERE {condition} AND \"from\" <= {at} AND \"to\" > {at}"
            ),
        }
    }

    /// The unified rows: `id, ver, members` and one column per field, under the field's own name.
    pub(super) fn rows(&self) -> String {
        let fields: Vec<String> = self
            .entity
            .fields
            .iter()
            .map(|field| format!("{} AS {}", self.column(field), ident(&field.name)))
            .collect();
        let fields = fields.join(", ");
        let entity = &self.entity.name;
        if !self.exists() {
            return format!(
                "SELECT CAST(NULL AS UUID) AS id, CAST(0 AS BIGINT) AS ver, 0 AS members, {fields} WHERE false"
            );
        }
        let alone = format!("uid AS id, \"from\" AS ver, 1 AS members, {fields}");
        let merged = format!("uid AS id, \"from\" AS ver, members, {fields}");
        format!(
            "{} UNION ALL {}",
            self.versions(&tables::records(entity), &tables::records_history(entity), &alone, "solo"),
            self.versions(&tables::unified(entity), &tables::unified_history(entity), &merged, "true"),
        )
    }

    /// Source records at the moment: `columns` of those that meet `condition`.
    pub(super) fn records(&self, columns: &str, condition: &str) -> String {
        let entity = &self.entity.name;
        self.versions(&tables::records(entity), &tables::records_history(entity), columns, condition)
    }

    /// Merged rows at the moment.
    pub(super) fn merged(&self, columns: &str, condition: &str) -> String {
        let entity = &self.entity.name;
        self.versions(&tables::unified(entity), &tables::unified_history(entity), columns, condition)
    }

    pub(super) fn field(&self, name: &str) -> Result<&OntologyField> {
        self.entity.field(name).ok_or_else(|| ProjectionError::UnknownField {
            entity: self.entity.name.clone(),
            name: name.to_owned(),
            known: self
                .entity
                .fields
                .iter()
                .map(|field| format!("`{}`", field.name))
                .collect::<Vec<_>>()
                .join(", "),
        })
    }

    /// `ORDER BY` of a list: by what is asked, then by id.
    pub(super) fn order(&self, sort: &[Sort]) -> Result<String> {
        self.order_of(sort, "")
    }

    /// The same with a prefix before each column.
    pub(super) fn order_of(&self, sort: &[Sort], prefix: &str) -> Result<String> {
        let mut keys = Vec::new();
        let mut by_id = format!("{prefix}id ASC");
        for Sort { field, descending } in sort {
            let direction = if *descending { "DESC" } else { "ASC" };
            if field == "id" {
                by_id = format!("{prefix}id {direction}");
            } else {
                keys.push(format!("{prefix}{} {direction} NULLS LAST", ident(&self.field(field)?.name)));
            }
        }
        keys.push(by_id);
        Ok(keys.join(", "))
    }

    /// `WHERE` of a list over [`Self::rows`].
    pub(super) fn condition(
        &self,
        reader: &Reader,
        filters: &[RowFilter],
        q: Option<&str>,
    ) -> Result<String> {
        let mut conditions = Vec::new();
        for filter in filters {
            conditions.push(self.filter(reader, filter)?);
        }
        if let Some(text) = q.filter(|text| !text.is_empty()) {
            let needle = literal(&text.to_lowercase());
            let texts: Vec<String> = self
                .entity
                .fields
                .iter()
                .filter(|field| field.canonical_type == CanonicalType::Text)
                .map(|field| format!("contains(lower({}), {needle})", ident(&field.name)))
                .collect();
            conditions.push(if texts.is_empty() {
                "false".to_owned()
            } else {
                format!("({})", texts.join(" OR "))
            });
        }
        Ok(if conditions.is_empty() { "true".to_owned() } else { conditions.join(" AND ") })
    }

    fn filter(&self, reader: &Reader, filter: &RowFilter) -> Result<String> {
        let RowFilter { field: name, compare, value } = filter;
        let bad = |expected: &str| ProjectionError::BadValue {
            field: name.clone(),
            value: value.chars().take(80).collect(),
            expected: expected.to_owned(),
        };
        let (column, kind) = if name == "id" {
            ("id".to_owned(), "UUID")
        } else {
            let field = self.field(name)?;
            (ident(&field.name), sql_type(field.canonical_type))
        };
        if *compare == Compare::IsNull {
            return match value.as_str() {
                "true" => Ok(format!("{column} IS NULL")),
                "false" => Ok(format!("{column} IS NOT NULL")),
                _ => Err(bad("`true` or `false`")),
            };
        }
        if *compare == Compare::Contains {
            return if kind == "VARCHAR" {
                Ok(format!("contains(lower({column}), {})", literal(&value.to_lowercase())))
            } else {
                Err(bad("a text field"))
            };
        }
        let typed = format!("CAST({} AS {kind})", literal(value));
        let check = format!("SELECT TRY_CAST({} AS {kind}) IS NOT NULL", literal(value));
        if reader.select_one(&check, |row| row.get::<_, bool>(0))? != Some(true) {
            return Err(bad(expected(kind)));
        }
        Ok(match compare {
            Compare::Equal => format!("{column} = {typed}"),
            Compare::NotEqual => format!("{column} IS DISTINCT FROM {typed}"),
            Compare::Less => format!("{column} < {typed}"),
            Compare::AtMost => format!("{column} <= {typed}"),
            Compare::More => format!("{column} > {typed}"),
            Compare::AtLeast | Compare::Contains | Compare::IsNull => format!("{column} >= {typed}"),
        })
    }
}

fn expected(kind: &str) -> &'static str {
    match kind {
        "BIGINT" => "a whole number",
        "DECIMAL(38,6)" => "a number",
        "BOOLEAN" => "`true` or `false`",
        "DATE" => "a date such as `2024-01-31`",
        "TIMESTAMP" => "a time such as `2024-01-31T12:00:00`",
        "UUID" => "an id",
        _ => "a text",
    }
}

/// A field's value as text in the one fixed format, null when it is null: decimals without trailing
/// zeros, times as RFC 3339 in UTC with microseconds.
pub(super) fn text_of(kind: CanonicalType, column: &str) -> String {
    match kind {
        CanonicalType::Text => column.to_owned(),
        CanonicalType::Integer | CanonicalType::Boolean | CanonicalType::Date => {
            format!("CAST({column} AS VARCHAR)")
        }
        CanonicalType::Decimal => format!("rtrim(rtrim(CAST({column} AS VARCHAR), '0'), '.')"),
        CanonicalType::Timestamp => format!("strftime({column}, '%Y-%m-%dT%H:%M:%S.%fZ')"),
    }
}

/// All fields of a row of [`View::rows`] as one JSON array of texts.
pub(super) fn texts_of(entity: &Entity, prefix: &str) -> String {
    let texts: Vec<String> = entity
        .fields
        .iter()
        .map(|field| text_of(field.canonical_type, &format!("{prefix}{}", ident(&field.name))))
        .collect();
    format!("CAST(to_json([{}]) AS VARCHAR)", texts.join(", "))
}

/// A value in its fixed text form as JSON: numbers and booleans as such, the rest as text.
pub(super) fn json_of(kind: CanonicalType, text: Option<String>) -> serde_json::Value {
    use serde_json::Value;
    let Some(text) = text else { return Value::Null };
    match kind {
        CanonicalType::Integer | CanonicalType::Decimal => match text.parse::<i64>() {
            Ok(number) => Value::from(number),
            Err(_) => text.parse::<f64>().map_or(Value::String(text), Value::from),
        },
        CanonicalType::Boolean => Value::Bool(text == "true"),
        CanonicalType::Text | CanonicalType::Date | CanonicalType::Timestamp => Value::String(text),
    }
}

/// `'…', '…'` of ids.
pub(super) fn id_list(ids: impl IntoIterator<Item = Uuid>) -> String {
    ids.into_iter().map(|id| format!("CAST('{id}' AS UUID)")).collect::<Vec<_>>().join(", ")
}
