//! Tables of one shape: a row is found by tenant and id, listed by a few columns, and carries the rest
//! as one JSON document that only this crate reads. Batches are loaded, changed in memory and written
//! back with many rows a statement.

use crate::{
    error::ProjectionError,
    runtime::sql::{Column, Existing, Index, Kind, Row, Session, Statement, Table, Value, chunks},
};
use autonomos_domain::ids::TenantId;
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, BTreeSet};

/// What one table holds.
pub(crate) trait Model: Serialize + DeserializeOwned + Send + Sync + Unpin + 'static {
    const TABLE: &'static str;
    /// Columns that lists filter by, beside tenant, id and order.
    const COLUMNS: &'static [(&'static str, Kind)];
    /// Lists start with the newest.
    const NEWEST_FIRST: bool = false;

    /// Values of `COLUMNS`.
    fn columns(&self) -> Vec<Option<String>>;
}

/// The columns every such table has, beside those it is listed by.
pub(crate) fn table<M: Model>() -> Table {
    let mut columns = vec![
        Column::new("tenant", Kind::Word),
        Column::new("id", Kind::Word),
        Column::new("created", Kind::Integer),
    ];
    columns.extend(M::COLUMNS.iter().map(|(name, kind)| Column::new(name, *kind).nullable()));
    columns.push(Column::new("document", Kind::Text));
    let mut indexes = vec![Index { name: "created", columns: vec!["tenant", "created"] }];
    indexes
        .extend(M::COLUMNS.iter().map(|(name, _)| Index { name, columns: vec!["tenant", name, "created"] }));
    Table { name: M::TABLE, columns, key: vec!["tenant", "id"], indexes }
}

pub(crate) fn decode<M: Model>(row: &Row, column: usize) -> Result<M, ProjectionError> {
    let text: &str = row.get(column)?;
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

    pub(crate) async fn load(&mut self, session: &mut Session<'_>) -> Result<(), ProjectionError> {
        let wanted = std::mem::take(&mut self.wanted);
        let mut by_tenant: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for (tenant, id) in wanted {
            by_tenant.entry(tenant).or_default().push(id.clone());
            self.entries.insert((tenant, id), None);
        }
        for (tenant, ids) in by_tenant {
            for chunk in chunks(&ids) {
                let sql = format!(
                    "SELECT id, created, document FROM {} WHERE tenant = $1 AND id IN ({})",
                    M::TABLE,
                    places(chunk.len())
                );
                let query = Statement::new(sql).bind(tenant.to_string()).bind_all(chunk.iter().cloned());
                for row in session.fetch(query).await? {
                    let entry = Entry { created: row.get(1)?, model: decode(&row, 2)? };
                    self.entries.insert((tenant, row.get(0)?), Some(entry));
                }
            }
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
    pub(crate) async fn flush(&mut self, session: &mut Session<'_>) -> Result<(), ProjectionError> {
        let mut rows = Vec::new();
        let mut gone: BTreeMap<TenantId, Vec<String>> = BTreeMap::new();
        for key in std::mem::take(&mut self.changed) {
            match self.entries.get(&key) {
                Some(Some(entry)) => rows.push(values(&key, entry)?),
                _ => gone.entry(key.0).or_default().push(key.1),
            }
        }
        for (tenant, ids) in gone {
            for chunk in chunks(&ids) {
                let sql =
                    format!("DELETE FROM {} WHERE tenant = $1 AND id IN ({})", M::TABLE, places(chunk.len()));
                let delete = Statement::new(sql).bind(tenant.to_string()).bind_all(chunk.iter().cloned());
                session.execute(delete).await?;
            }
        }
        Ok(session.insert(&table::<M>(), rows, Existing::Replace).await?)
    }
}

/// A value for each column.
fn values<M: Model>(key: &(TenantId, String), entry: &Entry<M>) -> Result<Vec<Value>, ProjectionError> {
    let mut values: Vec<Value> = vec![key.0.to_string().into(), key.1.as_str().into(), entry.created.into()];
    values.extend(entry.model.columns().into_iter().map(Value::from));
    let document =
        serde_json::to_string(&entry.model).map_err(|error| ProjectionError::Store(error.to_string()))?;
    values.push(document.into());
    Ok(values)
}

/// `$2, $3, …`: behind the tenant's.
fn places(count: usize) -> String {
    let places: Vec<String> = (0..count).map(|index| format!("${}", index + 2)).collect();
    places.join(", ")
}
