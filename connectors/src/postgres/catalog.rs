//! What there is to read: tables and views with their columns, keys and types.

use super::{
    cursor::Column,
    error,
    session::{Session, ident, literal},
    value::{self, Kind},
};
use crate::{
    error::ConnectorError,
    rows::{Rows, Write},
};
use autonomos_domain::schema::{DiscoveredStream, Field, StreamShape, SyncMode};
use std::collections::{BTreeSet, HashMap};

/// Numbers below this are of types that come with the server: what compares them is always found.
const FIRST_OWN_TYPE: u32 = 16_384;

/// A table, a view, or what else rows are selected from.
#[derive(Debug, Clone)]
pub(super) struct Table {
    pub(super) oid: u32,
    schema: String,
    name: String,
    /// `r`: an ordinary table.
    kind: String,
    logged: bool,
    /// What the log of changes tells rows apart by; `d`: the primary key, `f`: whole rows.
    identity: String,
    readable: bool,
    /// As the server estimates; none before it was ever analysed.
    pub(super) rows: Option<u64>,
    pub(super) columns: Vec<TableColumn>,
    /// The primary key, in its order.
    pub(super) key: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) struct TableColumn {
    pub(super) column: Column,
    generated: bool,
    /// Rows that were there before the column may have a value in it.
    pub(super) filled: bool,
}

impl Table {
    /// The stream's name: without its schema where that is `public`.
    pub(super) fn stream(&self) -> String {
        if self.schema == "public" && !self.name.contains('.') {
            self.name.clone()
        } else {
            format!("{}.{}", self.schema, self.name)
        }
    }

    /// Schema and name, quoted.
    pub(super) fn quoted(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.name))
    }

    /// Whether it is in a publication.
    pub(super) fn published_sql(&self, publication: &str) -> String {
        format!(
            "SELECT 1 FROM pg_catalog.pg_publication_tables WHERE pubname = {} AND schemaname = {} AND tablename = {}",
            literal(publication),
            literal(&self.schema),
            literal(&self.name)
        )
    }

    /// Its columns, as they are read in a mode: changes do not tell what the server computes.
    pub(super) fn columns(&self, mode: SyncMode) -> Vec<Column> {
        let told = |column: &&TableColumn| mode != SyncMode::Cdc || !column.generated;
        self.columns.iter().filter(told).map(|column| column.column.clone()).collect()
    }

    pub(super) fn is_ordinary(&self) -> bool {
        self.kind == "r"
    }

    /// Why its changes cannot be followed, if they cannot.
    pub(super) fn unfollowable(&self) -> Option<&'static str> {
        if !self.is_ordinary() {
            Some("only ordinary tables have changes of their own")
        } else if !self.logged {
            Some("the table is not logged")
        } else if self.key.is_empty() {
            Some("it has no primary key")
        } else if !matches!(self.identity.as_str(), "d" | "f") {
            Some("its replica identity is neither the primary key nor the whole row")
        } else {
            None
        }
    }

    /// Whether rows can be taken in the order of the key, part by part.
    pub(super) fn is_pageable(&self) -> bool {
        let own = |name: &String| {
            self.columns.iter().any(|one| one.column.name == *name && one.column.oid < FIRST_OWN_TYPE)
        };
        !self.key.is_empty() && self.key.iter().all(own)
    }
}

/// The tables of these schemas that the role may read; of one name, if one is given.
pub(super) async fn tables(
    session: &mut Session,
    schemas: &[String],
    stream: Option<&str>,
) -> Result<Vec<Table>, ConnectorError> {
    let schemas: Vec<String> = schemas.iter().map(|schema| literal(schema)).collect();
    let rows = session
        .rows(format!(
            "SELECT c.oid::text, n.nspname, c.relname, c.relkind::text, (c.relpersistence = 'p')::text, \
             c.relreplident::text, c.reltuples::bigint::text, \
             (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))::text \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND n.nspname IN ({}) \
             ORDER BY n.nspname, c.relname",
            schemas.join(", ")
        ))
        .await?;
    let mut tables = Vec::new();
    for row in rows {
        let mut values = row.into_iter().map(Option::unwrap_or_default);
        let mut next = || values.next().unwrap_or_default();
        let table = Table {
            oid: number(&next())?,
            schema: next(),
            name: next(),
            kind: next(),
            logged: next() == "true",
            identity: next(),
            rows: next().parse().ok(),
            readable: next() == "true",
            columns: Vec::new(),
            key: Vec::new(),
        };
        if table.readable && stream.is_none_or(|stream| table.stream() == stream) {
            tables.push(table);
        }
    }
    columns(session, &mut tables).await?;
    Ok(tables)
}

/// The table of a stream.
pub(super) async fn table(
    session: &mut Session,
    schemas: &[String],
    stream: &str,
) -> Result<Table, ConnectorError> {
    tables(session, schemas, Some(stream))
        .await?
        .into_iter()
        .next()
        .ok_or_else(|| error::schema(format!("there is no table `{stream}` that the role may read")))
}

async fn columns(session: &mut Session, tables: &mut [Table]) -> Result<(), ConnectorError> {
    if tables.is_empty() {
        return Ok(());
    }
    let oids: Vec<String> = tables.iter().map(|table| table.oid.to_string()).collect();
    let rows = session
        .rows(format!(
            "SELECT a.attrelid::text, a.attname, a.atttypid::text, a.attnotnull::text, (a.attgenerated <> '')::text, \
             (a.atthasmissing OR a.atthasdef OR a.attidentity <> '')::text, \
             (SELECT array_position(i.indkey::int2[], a.attnum) FROM pg_catalog.pg_index i \
              WHERE i.indrelid = a.attrelid AND i.indisprimary \
              AND array_position(i.indkey::int2[], a.attnum) < i.indnkeyatts)::text \
             FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid IN ({}) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum",
            oids.join(", ")
        ))
        .await?;
    let mut keys: HashMap<u32, Vec<(u32, String)>> = HashMap::new();
    let places: HashMap<u32, usize> =
        tables.iter().enumerate().map(|(place, table)| (table.oid, place)).collect();
    for row in rows {
        let mut values = row.into_iter();
        let mut next = || values.next().flatten();
        let mut text = || next().unwrap_or_default();
        let table = number(&text())?;
        let (name, oid) = (text(), number(&text())?);
        let (nullable, generated, filled) = (text() == "false", text() == "true", text() == "true");
        if let Some(place) = next() {
            keys.entry(table).or_default().push((number(&place)?, name.clone()));
        }
        let column = Column { name, oid, nullable };
        if let Some(place) = places.get(&table) {
            tables[*place].columns.push(TableColumn { column, generated, filled });
        }
    }
    for table in tables {
        let mut key = keys.remove(&table.oid).unwrap_or_default();
        key.sort_unstable();
        table.key = key.into_iter().map(|(_, name)| name).collect();
    }
    Ok(())
}

fn number(text: &str) -> Result<u32, ConnectorError> {
    text.parse().map_err(|_| error::unreadable(format!("`{text}` where the server tells a number")))
}

/// What the values of types are: domains are what they are made of, arrays have elements.
#[derive(Debug, Default)]
pub(super) struct Types(HashMap<u32, Entry>);

#[derive(Debug, Clone)]
struct Entry {
    base: u32,
    element: u32,
    delimiter: char,
}

impl Types {
    /// Looks up what is not known yet.
    pub(super) async fn learn(
        &mut self,
        session: &mut Session,
        columns: &[Column],
    ) -> Result<(), ConnectorError> {
        let mut wanted: BTreeSet<u32> = columns.iter().map(|column| column.oid).collect();
        loop {
            let unknown: Vec<String> =
                wanted.iter().filter(|oid| !self.0.contains_key(oid)).map(u32::to_string).collect();
            if unknown.is_empty() {
                return Ok(());
            }
            let rows = session
                .rows(format!(
                    "SELECT t.oid::text, t.typbasetype::text, \
                     CASE WHEN t.typcategory = 'A' AND t.typlen = -1 THEN t.typelem ELSE 0 END::text, \
                     coalesce((SELECT e.typdelim FROM pg_catalog.pg_type e WHERE e.oid = t.typelem), ',')::text \
                     FROM pg_catalog.pg_type t WHERE t.oid IN ({})",
                    unknown.join(", ")
                ))
                .await?;
            // A type that was dropped since is text.
            for oid in &unknown {
                self.0.insert(number(oid)?, Entry { base: 0, element: 0, delimiter: ',' });
            }
            for row in rows {
                let mut values = row.into_iter().map(Option::unwrap_or_default);
                let mut next = || values.next().unwrap_or_default();
                let (oid, base, element) = (number(&next())?, number(&next())?, number(&next())?);
                let delimiter = next().chars().next().unwrap_or(',');
                wanted.extend([base, element].into_iter().filter(|oid| *oid != 0));
                self.0.insert(oid, Entry { base, element, delimiter });
            }
        }
    }

    pub(super) fn kind(&self, oid: u32) -> Kind {
        match self.0.get(&oid) {
            Some(entry) if entry.base != 0 => self.kind(entry.base),
            Some(entry) if entry.element != 0 => {
                Kind::Array(Box::new(self.kind(entry.element)), entry.delimiter)
            }
            _ => value::builtin(oid),
        }
    }

    /// Gathers rows of these columns.
    pub(super) fn rows(&self, columns: &[Column], key: &[String]) -> Rows {
        let write = |column: &Column| -> (String, Write) {
            let kind = self.kind(column.oid);
            (column.name.clone(), Box::new(move |text| kind.write(text)))
        };
        Rows::new(columns.iter().map(write), key, error::ROWS)
    }

    pub(super) fn shape(&self, columns: &[Column], key: &[String]) -> StreamShape {
        let field = |column: &Column| Field {
            name: column.name.clone(),
            logical_type: self.kind(column.oid).logical(),
            nullable: column.nullable,
            format: None,
        };
        StreamShape { fields: columns.iter().map(field).collect(), primary_key: key.to_vec() }
    }

    /// A table as discovery shows it.
    pub(super) fn stream(&self, table: &Table, follow: bool) -> DiscoveredStream {
        let follow = follow && table.unfollowable().is_none();
        let columns = table.columns(if follow { SyncMode::Cdc } else { SyncMode::Full });
        let grows = |column: &&Column| {
            matches!(self.kind(column.oid), Kind::Timestamp | Kind::Instant | Kind::Date | Kind::Integer)
        };
        let cursor_fields: Vec<String> = if table.is_pageable() {
            columns.iter().filter(grows).map(|column| column.name.clone()).collect()
        } else {
            Vec::new()
        };
        let mut sync_modes = vec![SyncMode::Full];
        if !cursor_fields.is_empty() {
            sync_modes.push(SyncMode::Incremental);
        }
        if follow {
            sync_modes.push(SyncMode::Cdc);
        }
        DiscoveredStream {
            name: table.stream(),
            shape: self.shape(&columns, &table.key),
            cursor_fields,
            sync_modes,
            estimated_rows: table.rows,
            sampled: None,
        }
    }
}
