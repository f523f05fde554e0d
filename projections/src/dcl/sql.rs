//! Running SQL on the writer's connection.

use crate::error::ProjectionError;
use duckdb::Connection;
use std::{cell::RefCell, collections::BTreeMap};

pub(super) type Result<T> = std::result::Result<T, ProjectionError>;

/// Temporary tables of the transaction, by what they were made for: their memory comes back at its
/// end only, so they are used again rather than made again.
pub(super) type Scratch = RefCell<BTreeMap<String, String>>;

/// The writer's connection, inside its transaction.
#[derive(Clone, Copy)]
pub(super) struct Db<'a> {
    pub(super) connection: &'a Connection,
    pub(super) scratch: &'a Scratch,
}

impl Db<'_> {
    /// Runs one statement and answers the number of rows it changed.
    pub(super) fn run(self, sql: &str) -> Result<usize> {
        let started = std::time::Instant::now();
        let changed = self.connection.execute(sql, []).map_err(|error| failed(sql, &error))?;
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, changed, sql, "ran");
        Ok(changed)
    }

    /// Fills a temporary table from a query and answers its rows. Its columns are the same whenever
    /// `shape` (the entity, or nothing) is.
    pub(super) fn temp(self, name: &str, shape: &str, query: &str) -> Result<usize> {
        if self.scratch.borrow().get(name).is_some_and(|made| made == shape) {
            self.batch(&format!("TRUNCATE temp.{name}"))?;
            return self.run(&format!("INSERT INTO temp.{name} {query}"));
        }
        let rows = self.make(name, query)?;
        self.scratch.borrow_mut().insert(name.to_owned(), shape.to_owned());
        Ok(rows)
    }

    /// An empty temporary table.
    pub(super) fn empty(self, name: &str, shape: &str, columns: &str) -> Result<()> {
        if self.scratch.borrow().get(name).is_some_and(|made| made == shape) {
            return self.batch(&format!("TRUNCATE temp.{name}"));
        }
        self.batch(&format!("CREATE OR REPLACE TEMP TABLE {name}({columns})"))?;
        self.scratch.borrow_mut().insert(name.to_owned(), shape.to_owned());
        Ok(())
    }

    /// Makes a temporary table of a run, whose columns may be others each time.
    pub(super) fn make(self, name: &str, query: &str) -> Result<usize> {
        self.run(&format!("CREATE OR REPLACE TEMP TABLE {name} AS {query}"))?;
        // The statement itself does not say how many rows it made.
        Ok(self.integer(&format!("SELECT count(*) FROM temp.{name}"))?.unwrap_or(0) as usize)
    }

    /// Drops what is used again, at the end of a transaction.
    pub(super) fn release(self) -> Result<()> {
        let names: Vec<String> = std::mem::take(&mut *self.scratch.borrow_mut()).into_keys().collect();
        names.iter().try_for_each(|name| self.drop(&[name]))
    }

    /// Runs several statements.
    pub(super) fn batch(self, sql: &str) -> Result<()> {
        let started = std::time::Instant::now();
        self.connection.execute_batch(sql).map_err(|error| failed(sql, &error))?;
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, sql, "ran");
        Ok(())
    }

    pub(super) fn drop(self, names: &[&str]) -> Result<()> {
        for name in names {
            self.batch(&format!("DROP TABLE IF EXISTS temp.{name}"))?;
        }
        Ok(())
    }

    /// The first column of the first row; null counts as none.
    pub(super) fn integer(self, sql: &str) -> Result<Option<i64>> {
        let started = std::time::Instant::now();
        let found =
            self.connection.query_row(sql, [], |row| row.get(0)).map_err(|error| failed(sql, &error))?;
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, sql, "asked");
        Ok(found)
    }

    /// Whether the query has a row.
    pub(super) fn any(self, query: &str) -> Result<bool> {
        Ok(self.integer(&format!("SELECT count(*) FROM (SELECT 1 FROM ({query}) LIMIT 1)"))? == Some(1))
    }

    /// All rows, read by `read`.
    pub(super) fn rows<T>(
        self,
        sql: &str,
        mut read: impl FnMut(&duckdb::Row<'_>) -> duckdb::Result<T>,
    ) -> Result<Vec<T>> {
        let started = std::time::Instant::now();
        let mut statement = self.connection.prepare(sql).map_err(|error| failed(sql, &error))?;
        let mut rows = statement.query([]).map_err(|error| failed(sql, &error))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(|error| failed(sql, &error))? {
            all.push(read(row).map_err(|error| failed(sql, &error))?);
        }
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, rows = all.len(), sql, "asked");
        Ok(all)
    }
}

fn failed(sql: &str, error: &duckdb::Error) -> ProjectionError {
    tracing::debug!(sql, %error, "a statement on the unified views failed");
    ProjectionError::Views(error.to_string())
}
