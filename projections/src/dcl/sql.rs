//! Running SQL on the writer's connection.

use crate::error::ProjectionError;
use duckdb::Connection;

pub(super) type Result<T> = std::result::Result<T, ProjectionError>;

/// The writer's connection, inside its transaction.
#[derive(Clone, Copy)]
pub(super) struct Db<'a>(pub(super) &'a Connection);

impl Db<'_> {
    /// Runs one statement and answers the number of rows it changed.
    pub(super) fn run(self, sql: &str) -> Result<usize> {
        let started = std::time::Instant::now();
        let changed = self.0.execute(sql, []).map_err(|error| failed(sql, &error))?;
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, changed, sql, "ran");
        Ok(changed)
    }

    /// Runs several statements.
    pub(super) fn batch(self, sql: &str) -> Result<()> {
        self.0.execute_batch(sql).map_err(|error| failed(sql, &error))
    }

    /// Makes a temporary table from a query, in place of an older one, and answers its rows.
    pub(super) fn temp(self, name: &str, query: &str) -> Result<usize> {
        self.run(&format!("CREATE OR REPLACE TEMP TABLE {name} AS {query}"))?;
        // The statement itself does not say how many rows it made.
        Ok(self.integer(&format!("SELECT count(*) FROM {name}"))?.unwrap_or(0) as usize)
    }

    pub(super) fn drop(self, names: &[&str]) -> Result<()> {
        for name in names {
            self.batch(&format!("DROP TABLE IF EXISTS temp.{name}"))?;
        }
        Ok(())
    }

    /// The first column of the first row; null counts as none.
    pub(super) fn integer(self, sql: &str) -> Result<Option<i64>> {
        self.0.query_row(sql, [], |row| row.get(0)).map_err(|error| failed(sql, &error))
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
        let mut statement = self.0.prepare(sql).map_err(|error| failed(sql, &error))?;
        let mut rows = statement.query([]).map_err(|error| failed(sql, &error))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next().map_err(|error| failed(sql, &error))? {
            all.push(read(row).map_err(|error| failed(sql, &error))?);
        }
        Ok(all)
    }
}

fn failed(sql: &str, error: &duckdb::Error) -> ProjectionError {
    tracing::debug!(sql, %error, "a statement on the unified views failed");
    ProjectionError::Views(error.to_string())
}
