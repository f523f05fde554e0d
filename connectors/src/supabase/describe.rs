//! What there is to read: PostgREST's own description of its tables, a Swagger 2.0 document.

use super::{
    error,
    session::{Asked, Session},
    value,
};
use crate::postgres::value::Kind;
use autonomos_domain::schema::{DiscoveredStream, Field, StreamShape, SyncMode};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use std::{collections::HashMap, fmt, marker::PhantomData};

/// A column as the rows of a cursor had it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    /// The type, as the description names it.
    pub(super) format: String,
    pub(super) nullable: bool,
}

impl Column {
    pub(super) fn kind(&self) -> Kind {
        value::kind(&self.format)
    }
}

/// A table or a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// The name in its schema.
    pub(super) name: String,
    pub(super) columns: Vec<Column>,
    /// The primary key, in the order of the columns; of a view, the one of a table that it shows.
    pub(super) key: Vec<String>,
}

/// The members of an object in their order, which is that of a table's columns.
struct Members<T>(Vec<(String, T)>);

impl<T> Default for Members<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Members<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Members<T>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Collect(PhantomData))
    }
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    definitions: Members<Definition>,
    #[serde(default)]
    #[expect(clippy::zero_sized_map_values, reason = "an object of which the names count")]
    paths: HashMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct Definition {
    #[serde(default)]
    required: Vec<String>,
    #[serde(default)]
    properties: Members<Property>,
}

#[derive(Deserialize)]
struct Property {
    #[serde(default)]
    format: Option<String>,
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

/// All tables and views that the key may see.
pub(super) async fn all(session: &Session) -> Asked<Vec<Table>> {
    let body = session.description().await?;
    let document: Document = serde_json::from_slice(&body).map_err(|cause| {
        let place = format!("line {} column {}", cause.line(), cause.column());
        error::unreadable(format!("the description of the tables cannot be read at {place}"))
    })?;
    Ok(tables(document))
}

fn tables(document: Document) -> Vec<Table> {
    let Document { definitions, paths } = document;
    let shown = definitions.0.into_iter().filter(|(name, _)| paths.contains_key(&format!("/{name}")));
    shown.map(|(name, definition)| table(name, definition)).collect()
}

fn table(name: String, definition: Definition) -> Table {
    let Definition { required, properties } = definition;
    let mut key = Vec::new();
    let columns = properties.0.into_iter().map(|(name, property)| {
        if property.description.is_some_and(|text| text.contains("<pk/>")) {
            key.push(name.clone());
        }
        let format = property.format.or(property.kind).unwrap_or_default();
        Column { nullable: !required.contains(&name), name, format }
    });
    let columns = columns.collect();
    Table { name, columns, key }
}

/// The tables that are offered.
pub(super) async fn offered(session: &Session) -> Asked<Vec<Table>> {
    let chosen = &session.config().tables;
    let mut tables = all(session).await?;
    if !chosen.is_empty() {
        tables.retain(|table| chosen.contains(&table.name));
    }
    tables.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(tables)
}

/// The table of a stream.
pub(super) async fn of_stream(session: &Session, stream: &str) -> Asked<Table> {
    let schema = &session.config().schema;
    let found = all(session).await?.into_iter().find(|table| table.stream(schema) == stream);
    Ok(found.ok_or_else(|| {
        error::schema(format!("there is no table `{stream}` in `{schema}` that the key may read"))
    })?)
}

impl Table {
    /// The stream's name, the same as through the database itself: without its schema where that is `public`.
    pub(super) fn stream(&self, schema: &str) -> String {
        if schema == "public" && !self.name.contains('.') {
            self.name.clone()
        } else {
            format!("{schema}.{}", self.name)
        }
    }

    pub(super) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether no two rows can have the key: a view shows the key of a table, whose rows may be there more
    /// than once. The columns of a primary key are never null, and those of a view may all be.
    fn is_sure(&self) -> bool {
        let never_null = |name: &String| self.column(name).is_some_and(|column| !column.nullable);
        !self.key.is_empty() && self.key.iter().all(never_null)
    }

    /// By which columns rows are taken in order, and whether no two can have the same values in them: the
    /// primary key, else what a person chose, else what a view shows of a key. None if there is nothing.
    pub(super) fn order(&self, chosen: Option<&Vec<String>>) -> Option<(Vec<String>, bool)> {
        let ordered = |names: &Vec<String>| {
            !names.is_empty() && names.iter().all(|name| self.column(name).is_some_and(is_ordered))
        };
        if self.is_sure() && ordered(&self.key) {
            return Some((self.key.clone(), true));
        }
        let chosen = chosen.filter(|names| ordered(names)).or(Some(&self.key)).filter(|names| ordered(names));
        chosen.map(|names| (names.clone(), false))
    }

    /// Columns of which one may grow whenever a row changes.
    pub(super) fn cursor_fields(&self) -> Vec<String> {
        if self.order(None).is_none() {
            return Vec::new();
        }
        let grows = |column: &&Column| {
            matches!(column.kind(), Kind::Timestamp | Kind::Instant | Kind::Date | Kind::Integer)
        };
        self.columns.iter().filter(grows).map(|column| column.name.clone()).collect()
    }

    pub(super) fn discovered(&self, schema: &str) -> DiscoveredStream {
        let cursor_fields = self.cursor_fields();
        let mut sync_modes = vec![SyncMode::Full];
        if !cursor_fields.is_empty() {
            sync_modes.push(SyncMode::Incremental);
        }
        DiscoveredStream {
            name: self.stream(schema),
            shape: shape(&self.columns, &self.key),
            cursor_fields,
            sync_modes,
            estimated_rows: None,
            sampled: None,
        }
    }
}

/// Whether a column's values, as JSON tells them, can be compared with by the server.
fn is_ordered(column: &Column) -> bool {
    !matches!(column.kind(), Kind::Array(..)) && !value::is_document(&column.format)
}

pub(super) fn shape(columns: &[Column], key: &[String]) -> StreamShape {
    let field = |column: &Column| Field {
        name: column.name.clone(),
        logical_type: column.kind().logical(),
        nullable: column.nullable,
        format: None,
    };
    StreamShape { fields: columns.iter().map(field).collect(), primary_key: key.to_vec() }
}

/// Same names and types: whether a column may be null, or where it stands, is no other shape of its rows.
pub(super) fn alike(left: &[Column], right: &[Column]) -> bool {
    let same = |one: &Column, other: &Column| one.name == other.name && one.format == other.format;
    left.len() == right.len() && left.iter().all(|one| right.iter().any(|other| same(one, other)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_of_tables_are_sure_and_those_of_views_are_not() {
        let key = "Note:\nThis is a Primary Key.<pk/>";
        let properties = json!({
            "z": { "format": "integer", "type": "integer", "description": key },
            "a": { "format": "uuid", "type": "string", "description": key },
            "tags": { "format": "text[]", "type": "array", "items": { "type": "string" } },
        });
        let document = json!({
            "swagger": "2.0",
            "paths": { "/": {}, "/t": {}, "/v": {}, "/w": {}, "/rpc/f": {} },
            "definitions": {
                "t": { "required": ["z", "a"], "properties": properties.clone(), "type": "object" },
                "v": { "properties": properties, "type": "object" },
                "w": { "properties": { "n": { "format": "bigint" }, "tags": { "format": "text[]" } } },
                "hidden": { "properties": {} },
            },
        });
        let tables = tables(serde_json::from_str(&document.to_string()).expect("a document"));
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["t", "v", "w"]);
        let key = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let order = |table: &str, chosen: Option<&[&str]>| {
            let table = tables.iter().find(|one| one.name == table).expect("a table");
            let mut order = table.order(chosen.map(key).as_ref());
            if let Some((names, _)) = &mut order {
                names.sort();
            }
            order
        };
        assert_eq!(order("t", None), Some((key(&["a", "z"]), true)));
        assert_eq!(order("t", Some(&["z"])), Some((key(&["a", "z"]), true)));
        assert_eq!(order("v", None), Some((key(&["a", "z"]), false)));
        assert_eq!(order("v", Some(&["z"])), Some((key(&["z"]), false)));
        assert_eq!(order("w", None), None);
        assert_eq!(order("w", Some(&["n"])), Some((key(&["n"]), false)));
        assert_eq!(order("w", Some(&["tags"])), None);
        assert_eq!(tables[0].stream("public"), "t");
        assert_eq!(tables[0].stream("sales"), "sales.t");
    }
}
