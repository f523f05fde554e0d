//! One text for both databases: what the read models ask and write, whichever store they live in. A
//! statement is the subset that SQLite and Postgres read alike (`$1` placeholders, `ON CONFLICT …
//! excluded`, no function of one alone); what cannot be one text is spelled here, once for each:
//! making tables and writing many rows.

use sqlx::{
    Database, PgConnection, Postgres, Row as _, Sqlite, SqliteConnection, postgres::PgRow, query::Query,
    sqlite::SqliteRow,
};

/// Rows of one statement where each row takes places of its own: few different texts, so that they
/// stay prepared.
const CHUNKS: [usize; 3] = [64, 8, 1];
/// The same for items of one place.
const ITEM_CHUNKS: [usize; 4] = [512, 64, 8, 1];
/// Rows of one statement where a column is one array.
const ARRAY_ROWS: usize = 4096;

/// Which database a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Sqlite,
    Postgres,
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number of 64 bits.
    Integer,
    /// A short text this program makes: an id, a state, the word for a kind.
    Word,
    /// Text of any length, as sources and people write it.
    Text,
}

/// A column of a [`Table`].
#[derive(Debug, Clone, Copy)]
pub struct Column {
    pub name: &'static str,
    pub kind: Kind,
    pub nullable: bool,
}

impl Column {
    pub const fn new(name: &'static str, kind: Kind) -> Self {
        Self { name, kind, nullable: false }
    }

    #[must_use]
    pub const fn nullable(self) -> Self {
        Self { nullable: true, ..self }
    }
}

/// A table as both databases make it: from here come two baselines that cannot drift apart.
#[derive(Debug, Clone)]
pub struct Table {
    pub name: &'static str,
    pub columns: Vec<Column>,
    pub key: Vec<&'static str>,
    pub indexes: Vec<Index>,
}

/// An index of a [`Table`].
#[derive(Debug, Clone)]
pub struct Index {
    /// Follows the table's name.
    pub name: &'static str,
    pub columns: Vec<&'static str>,
}

impl Table {
    /// Statements that make it; each may be repeated.
    pub fn definition(&self, dialect: Dialect) -> Vec<String> {
        let name = self.name;
        let columns: Vec<String> = self
            .columns
            .iter()
            .map(|column| {
                let kind = match (column.kind, dialect) {
                    (Kind::Integer, _) => "BIGINT",
                    (_, Dialect::Sqlite) => "TEXT",
                    // SQLite orders and compares bytes: so does this, whatever the database's language.
                    (_, Dialect::Postgres) => "TEXT COLLATE \"C\"",
                };
                format!("{} {kind}{}", column.name, if column.nullable { "" } else { " NOT NULL" })
            })
            .collect();
        let mut statements = vec![format!(
            "CREATE TABLE IF NOT EXISTS {name} ({}, PRIMARY KEY ({}))",
            columns.join(", "),
            self.key.join(", ")
        )];
        let indexes = self.indexes.iter().filter(|index| self.is_indexed(index, dialect));
        statements.extend(indexes.map(|index| {
            let columns = index.columns.join(", ");
            format!("CREATE INDEX IF NOT EXISTS {name}_{} ON {name} ({columns})", index.name)
        }));
        statements
    }

    /// An index entry of Postgres holds 2.7 kB: a longer text would refuse its row for ever.
    fn is_indexed(&self, index: &Index, dialect: Dialect) -> bool {
        let long = |column: &Column| column.kind == Kind::Text && index.columns.contains(&column.name);
        dialect == Dialect::Sqlite || !self.columns.iter().any(long)
    }
}

/// A value of a placeholder or a cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Integer(i64),
    Text(String),
    /// No text.
    None,
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

/// A statement and the values of its places.
#[derive(Debug, Clone)]
pub struct Statement {
    sql: String,
    values: Vec<Value>,
}

impl Statement {
    /// `sql` is made of this program's own words: whatever comes from outside is bound.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), values: Vec::new() }
    }

    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    #[must_use]
    pub fn bind_all<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.values.extend(values.into_iter().map(Into::into));
        self
    }
}

/// A row of either database.
pub enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

/// What both databases can read out of a column.
pub trait Cell<'r>:
    sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}

impl<'r, T> Cell<'r> for T where
    T: sqlx::Decode<'r, Sqlite> + sqlx::Type<Sqlite> + sqlx::Decode<'r, Postgres> + sqlx::Type<Postgres>
{
}

impl Row {
    pub fn get<'r, T: Cell<'r>>(&'r self, column: usize) -> Result<T, sqlx::Error> {
        match self {
            Self::Sqlite(row) => row.try_get(column),
            Self::Postgres(row) => row.try_get(column),
        }
    }
}

/// What to do about a row that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// There is none.
    Never,
    /// The new one takes its place.
    Replace,
}

/// A connection of either database.
pub enum Session<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
}

impl Session<'_> {
    /// Runs a statement; how many rows it changed.
    pub async fn execute(&mut self, statement: Statement) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => {
                prepared_sqlite(statement).execute(&mut **connection).await?.rows_affected()
            }
            Self::Postgres(connection) => {
                prepared_postgres(statement).execute(&mut **connection).await?.rows_affected()
            }
        })
    }

    /// Runs a query; all its rows.
    pub async fn fetch(&mut self, statement: Statement) -> Result<Vec<Row>, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(connection) => {
                let rows = prepared_sqlite(statement).fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Self::Postgres(connection) => {
                let rows = prepared_postgres(statement).fetch_all(&mut **connection).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Writes rows, each with a value for every column of the table, many with one statement. No
    /// key may be there twice.
    pub async fn insert(
        &mut self,
        table: &Table,
        rows: Vec<Vec<Value>>,
        existing: Existing,
    ) -> Result<(), sqlx::Error> {
        let names: Vec<&str> = table.columns.iter().map(|column| column.name).collect();
        let mut tail = String::new();
        if existing == Existing::Replace {
            let updates: Vec<String> = names
                .iter()
                .filter(|name| !table.key.contains(name))
                .map(|name| format!("{name} = excluded.{name}"))
                .collect();
            tail = format!(" ON CONFLICT ({}) DO UPDATE SET {}", table.key.join(", "), updates.join(", "));
        }
        let head = format!("INSERT INTO {} ({})", table.name, names.join(", "));
        match self {
            Self::Sqlite(_) => {
                let mut rows = rows.into_iter();
                while let Some(size) = CHUNKS.into_iter().find(|size| rows.len() >= *size) {
                    let sql = format!("{head} VALUES {}{tail}", places(size, names.len()));
                    let values = rows.by_ref().take(size).flatten();
                    self.execute(Statement::new(sql).bind_all(values)).await?;
                }
            }
            Self::Postgres(connection) => {
                let arrays: Vec<String> = table
                    .columns
                    .iter()
                    .enumerate()
                    .map(|(index, column)| {
                        let kind = if column.kind == Kind::Integer { "bigint" } else { "text" };
                        format!("${}::{kind}[]", index + 1)
                    })
                    .collect();
                let sql = format!("{head} SELECT * FROM UNNEST({}){tail}", arrays.join(", "));
                let mut rows = rows.into_iter().peekable();
                while rows.peek().is_some() {
                    let columns = transposed(table, rows.by_ref().take(ARRAY_ROWS));
                    let mut query = sqlx::query::<Postgres>(sqlx::AssertSqlSafe(sql.clone()));
                    for column in columns {
                        query = match column {
                            Array::Integers(values) => query.bind(values),
                            Array::Texts(values) => query.bind(values),
                        };
                    }
                    query.execute(&mut **connection).await?;
                }
            }
        }
        Ok(())
    }
}

enum Array {
    Integers(Vec<Option<i64>>),
    Texts(Vec<Option<String>>),
}

/// Rows as one array a column.
fn transposed(table: &Table, rows: impl Iterator<Item = Vec<Value>>) -> Vec<Array> {
    let mut arrays: Vec<Array> = table
        .columns
        .iter()
        .map(|column| match column.kind {
            Kind::Integer => Array::Integers(Vec::new()),
            Kind::Word | Kind::Text => Array::Texts(Vec::new()),
        })
        .collect();
    for row in rows {
        for (array, value) in arrays.iter_mut().zip(row) {
            match (array, value) {
                (Array::Integers(values), Value::Integer(value)) => values.push(Some(value)),
                (Array::Integers(values), _) => values.push(None),
                (Array::Texts(values), Value::Text(text)) => values.push(Some(without_nul(text))),
                (Array::Texts(values), _) => values.push(None),
            }
        }
    }
    arrays
}

/// Postgres has no text with a zero byte in it. Documents have none (JSON escapes it); what is left
/// are names, which are looked for as they are written: changed alike.
fn without_nul(text: String) -> String {
    if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text }
}

fn prepared_sqlite(statement: Statement) -> Query<'static, Sqlite, <Sqlite as Database>::Arguments> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.sql));
    for value in statement.values {
        query = match value {
            Value::Integer(value) => query.bind(value),
            Value::Text(text) => query.bind(text),
            Value::None => query.bind(None::<String>),
        };
    }
    query
}

fn prepared_postgres(statement: Statement) -> Query<'static, Postgres, <Postgres as Database>::Arguments> {
    let mut query = sqlx::query(sqlx::AssertSqlSafe(statement.sql));
    for value in statement.values {
        query = match value {
            Value::Integer(value) => query.bind(value),
            Value::Text(text) => query.bind(without_nul(text)),
            Value::None => query.bind(None::<String>),
        };
    }
    query
}

/// `($1, $2), ($3, $4), …`
fn places(rows: usize, columns: usize) -> String {
    let mut text = String::with_capacity(rows * columns * 6);
    for row in 0..rows {
        text.push_str(if row == 0 { "(" } else { ", (" });
        for column in 0..columns {
            if column > 0 {
                text.push_str(", ");
            }
            text.push('$');
            text.push_str(&(row * columns + column + 1).to_string());
        }
        text.push(')');
    }
    text
}

/// Splits into chunks of few different sizes, as statements with a place an item want them.
pub(crate) fn chunks<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = ITEM_CHUNKS.into_iter().find(|size| rest.len() >= *size)?;
        let (now, later) = rest.split_at(size);
        rest = later;
        Some(now)
    })
}
