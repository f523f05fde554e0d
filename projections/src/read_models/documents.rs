//! Tables of one shape: a row is found by tenant and id, listed by a few columns, and carries the rest
//! as one JSON document that only this crate reads. Batches are loaded, changed in memory and written
//! back with many rows a statement.

use crate::error::ProjectionError;
use autonomos_domain::ids::TenantId;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row, SqliteConnection, sqlite::SqliteRow};
use std::collections::{BTreeMap, BTreeSet};

/// What one table holds.
pub(crate) trait Model: Serialize + DeserializeOwned + Send + Sync + Unpin + 'static {
    const TABLE: &'static str;
    /// Columns that lists filter by, beside tenant, id and order.
    const COLUMNS: &'static [&'static str];
    /// Lists start with the newest.
    const NEWEST_FIRST: bool = false;

    /// Values of `COLUMNS`.
    fn columns(&self) -> Vec<Option<String>>;
}

/// Rows of one statement when writing many: few different texts, so that they stay prepared.
const CHUNKS: [usize; 3] = [64, 8, 1];

pub(crate) fn definition<M: Model>() -> Vec<String> {
    let columns = M::COLUMNS.iter().map(|column| format!("{column} TEXT, ")).collect::<Vec<_>>().concat();
    let table = M::TABLE;
    let mut statements = vec![
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (tenant TEXT NOT NULL, id TEXT NOT NULL, created BIGINT NOT NULL, \
             {columns}document TEXT NOT NULL, PRIMARY KEY (tenant, id))"
        ),
        format!("CREATE INDEX IF NOT EXISTS {table}_created ON {table} (tenant, created)"),
    ];
    statements.extend(M::COLUMNS.iter().map(|column| {
        format!("CREATE INDEX IF NOT EXISTS {table}_{column} ON {table} (tenant, {column}, created)")
    }));
    statements
}

pub(crate) fn decode<M: Model>(row: &SqliteRow, column: usize) -> Result<M, ProjectionError> {
    let text: &str = row.try_get(column)?;
    serde_json::from_str(text)
        .map_err(|error| ProjectionError::Store(format!("a row of `{}` is damaged: {error}", M::TABLE)))
}

struct Entry<M> {
    created: i64,
    model: M,
}

/// The rows of one table that a batch touches.
pub(crate) struct Set<M> {
    entries: BTreeMap<(TenantId, String), Option<Entry<M>>>,
    wanted: BTreeSet<(TenantId, String)>,
    changed: BTreeSet<(TenantId, String)>,
}

impl<M> Default for Set<M> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), wanted: BTreeSet::new(), changed: BTreeSet::new() }
    }
}

impl<M: Model> Set<M> {
    /// Says that a row will be looked at: [`Self::load`] brings it.
    pub(crate) fn want(&mut self, tenant: TenantId, id: impl ToString) {
        let key = (tenant, id.to_string());
        if !self.entries.contains_key(&key) {
            self.wanted.insert(key);
        }
    }

    pub(crate) async fn load(&mut self, connection: &mut SqliteConnection) -> Result<(), ProjectionError> {
        let wanted = std::mem::take(&mut self.wanted);
        let mut by_tenant: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for (tenant, id) in wanted {
            by_tenant.entry(tenant).or_default().push(id.clone());
            self.entries.insert((tenant, id), None);
        }
        for (tenant, ids) in by_tenant {
            let mut rest = ids.as_slice();
            for chunk in CHUNKS {
                while rest.len() >= chunk {
                    let (now, later) = rest.split_at(chunk);
                    self.load_chunk(connection, tenant, now).await?;
                    rest = later;
                }
            }
        }
        Ok(())
    }

    async fn load_chunk(
        &mut self,
        connection: &mut SqliteConnection,
        tenant: TenantId,
        ids: &[String],
    ) -> Result<(), ProjectionError> {
        let places: Vec<String> = (0..ids.len()).map(|index| format!("${}", index + 2)).collect();
        let sql = format!(
            "SELECT id, created, document FROM {} WHERE tenant = $1 AND id IN ({})",
            M::TABLE,
            places.join(", ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(tenant.to_string());
        for id in ids {
            query = query.bind(id);
        }
        for row in query.fetch_all(connection).await? {
            let entry = Entry { created: row.try_get(1)?, model: decode(&row, 2)? };
            self.entries.insert((tenant, row.try_get(0)?), Some(entry));
        }
        Ok(())
    }

    pub(crate) fn get(&self, tenant: TenantId, id: impl ToString) -> Option<&M> {
        self.entries.get(&(tenant, id.to_string()))?.as_ref().map(|entry| &entry.model)
    }

    /// The rows that are there.
    pub(crate) fn present(&self) -> impl Iterator<Item = (TenantId, &M)> {
        self.entries.iter().filter_map(|((tenant, _), entry)| Some((*tenant, &entry.as_ref()?.model)))
    }

    /// The row, to be changed.
    pub(crate) fn change(&mut self, tenant: TenantId, id: impl ToString) -> Option<&mut M> {
        let key = (tenant, id.to_string());
        let entry = self.entries.get_mut(&key)?.as_mut()?;
        self.changed.insert(key);
        Some(&mut entry.model)
    }

    /// Writes a row; one that exists keeps its place in lists.
    pub(crate) fn put(&mut self, tenant: TenantId, id: impl ToString, created: i64, model: M) {
        let key = (tenant, id.to_string());
        let created = match self.entries.get(&key) {
            Some(Some(entry)) => entry.created,
            _ => created,
        };
        self.changed.insert(key.clone());
        self.entries.insert(key, Some(Entry { created, model }));
    }

    pub(crate) fn remove(&mut self, tenant: TenantId, id: impl ToString) {
        let key = (tenant, id.to_string());
        self.changed.insert(key.clone());
        self.entries.insert(key, None);
    }

    /// Writes what changed.
    pub(crate) async fn flush(&mut self, connection: &mut SqliteConnection) -> Result<(), ProjectionError> {
        let changed: Vec<_> = std::mem::take(&mut self.changed).into_iter().collect();
        let (present, gone): (Vec<_>, Vec<_>) =
            changed.into_iter().partition(|key| matches!(self.entries.get(key), Some(Some(_))));
        for (tenant, id) in gone {
            let sql = format!("DELETE FROM {} WHERE tenant = $1 AND id = $2", M::TABLE);
            sqlx::query(sqlx::AssertSqlSafe(sql))
                .bind(tenant.to_string())
                .bind(id)
                .execute(&mut *connection)
                .await?;
        }
        let mut rest = present.as_slice();
        for chunk in CHUNKS {
            while rest.len() >= chunk {
                let (now, later) = rest.split_at(chunk);
                self.flush_chunk(connection, now).await?;
                rest = later;
            }
        }
        Ok(())
    }

    async fn flush_chunk(
        &self,
        connection: &mut SqliteConnection,
        keys: &[(TenantId, String)],
    ) -> Result<(), ProjectionError> {
        let mut columns = vec!["tenant", "id", "created"];
        columns.extend(M::COLUMNS);
        columns.push("document");
        let updates: Vec<String> =
            columns[3..].iter().map(|column| format!("{column} = excluded.{column}")).collect();
        let sql = format!(
            "INSERT INTO {} ({}) VALUES {} ON CONFLICT (tenant, id) DO UPDATE SET {}",
            M::TABLE,
            columns.join(", "),
            places(keys.len(), columns.len()),
            updates.join(", ")
        );
        let mut query = sqlx::query(sqlx::AssertSqlSafe(sql));
        for key in keys {
            let Some(Some(entry)) = self.entries.get(key) else { continue };
            query = query.bind(key.0.to_string()).bind(&key.1).bind(entry.created);
            for value in entry.model.columns() {
                query = query.bind(value);
            }
            let document = serde_json::to_string(&entry.model)
                .map_err(|error| ProjectionError::Store(error.to_string()))?;
            query = query.bind(document);
        }
        query.execute(connection).await?;
        Ok(())
    }
}

/// `($1, $2), ($3, $4), …`
pub(crate) fn places(rows: usize, columns: usize) -> String {
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

/// Splits into chunks of few different sizes.
pub(crate) fn chunks<T>(items: &[T]) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = CHUNKS.into_iter().find(|size| rest.len() >= *size)?;
        let (now, later) = rest.split_at(size);
        rest = later;
        Some(now)
    })
}
