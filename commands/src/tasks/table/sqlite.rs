//! The table of open tasks of an installation of one node: a SQLite file.

use super::{Row, Stage, Table, TaskKey};
use crate::error::CommandError;
use autonomos_domain::ids::{LogId, TaskId, TenantId};
use chrono::DateTime;
use rusqlite::{Connection, params};
use std::{path::Path, time::Duration};
use uuid::Uuid;

pub(in crate::tasks) struct SqliteTable {
    connection: Connection,
}

impl SqliteTable {
    /// Opens or makes the table. One of another log is emptied: its checkpoint means nothing here.
    pub(in crate::tasks) fn open(path: &Path, log_id: LogId) -> Result<Self, CommandError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|error| CommandError::TaskTable(error.to_string()))?;
        }
        let connection = Connection::open(path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        // A transaction lost in a power cut only makes the log be read again from further back.
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = NORMAL;
             CREATE TABLE IF NOT EXISTS meta (log_id BLOB NOT NULL);
             CREATE TABLE IF NOT EXISTS checkpoints (
                 cell INTEGER PRIMARY KEY, sequence INTEGER NOT NULL);
             CREATE TABLE IF NOT EXISTS open_tasks (
                 tenant BLOB NOT NULL, task_id BLOB NOT NULL,
                 stage INTEGER NOT NULL, run_at INTEGER, priority INTEGER NOT NULL,
                 sequence INTEGER NOT NULL,
                 PRIMARY KEY (tenant, task_id)) WITHOUT ROWID;",
        )?;
        let same_log: bool = connection.query_row(
            "SELECT EXISTS (SELECT 1 FROM meta WHERE log_id = ?1)",
            [log_id.0.as_bytes()],
            |row| row.get(0),
        )?;
        if !same_log {
            connection.execute_batch(&format!(
                "BEGIN; DELETE FROM open_tasks; DELETE FROM checkpoints; DELETE FROM meta;
                 INSERT INTO meta VALUES (x'{}'); COMMIT;",
                hex::encode(log_id.0.as_bytes())
            ))?;
        }
        Ok(Self { connection })
    }
}

impl Table for SqliteTable {
    fn checkpoint(&self, cell: u16) -> Result<u64, CommandError> {
        let mut query = self.connection.prepare_cached("SELECT sequence FROM checkpoints WHERE cell = ?1")?;
        let mut rows = query.query([cell])?;
        Ok(match rows.next()? {
            Some(row) => row.get(0)?,
            None => 0,
        })
    }

    fn rows(&self) -> Result<Vec<(TaskKey, Row)>, CommandError> {
        let mut query = self
            .connection
            .prepare("SELECT tenant, task_id, stage, run_at, priority, sequence FROM open_tasks")?;
        let rows = query.query_map([], |row| {
            let key = TaskKey {
                tenant: TenantId(Uuid::from_bytes(row.get(0)?)),
                id: TaskId(Uuid::from_bytes(row.get(1)?)),
            };
            let run_at: Option<i64> = row.get(3)?;
            Ok((
                key,
                Row {
                    stage: Stage::from_number(row.get(2)?),
                    run_at: run_at.and_then(DateTime::from_timestamp_micros),
                    priority: row.get(4)?,
                    sequence: row.get(5)?,
                },
            ))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn write(
        &mut self,
        cell: u16,
        sequence: u64,
        changes: &[(TaskKey, Option<Row>)],
    ) -> Result<(), CommandError> {
        let transaction = self.connection.transaction()?;
        for (key, row) in changes {
            match row {
                Some(row) => transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO open_tasks
                         (tenant, task_id, stage, run_at, priority, sequence) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                    )?
                    .execute(params![
                        key.tenant.0.as_bytes(),
                        key.id.0.as_bytes(),
                        row.stage.number(),
                        row.run_at.map(|at| at.timestamp_micros()),
                        row.priority,
                        row.sequence,
                    ])?,
                None => transaction
                    .prepare_cached("DELETE FROM open_tasks WHERE tenant = ?1 AND task_id = ?2")?
                    .execute(params![key.tenant.0.as_bytes(), key.id.0.as_bytes()])?,
            };
        }
        transaction
            .prepare_cached(
                "INSERT INTO checkpoints (cell, sequence) VALUES (?1, ?2)
                 ON CONFLICT (cell) DO UPDATE SET sequence = max(sequence, excluded.sequence)",
            )?
            .execute(params![cell, sequence])?;
        transaction.commit()?;
        Ok(())
    }

    fn remove(&mut self, key: TaskKey) -> Result<(), CommandError> {
        self.connection
            .prepare_cached("DELETE FROM open_tasks WHERE tenant = ?1 AND task_id = ?2")?
            .execute(params![key.tenant.0.as_bytes(), key.id.0.as_bytes()])?;
        Ok(())
    }
}

impl From<rusqlite::Error> for CommandError {
    fn from(error: rusqlite::Error) -> Self {
        Self::TaskTable(error.to_string())
    }
}
