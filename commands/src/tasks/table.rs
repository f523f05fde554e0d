//! The table of open tasks: ids and times alone, for what a task is about is sealed in the log.

use crate::error::CommandError;
use autonomos_domain::ids::{LogId, TaskId, TenantId};
use chrono::{DateTime, Utc};
use rusqlite::{Connection, params};
use std::{path::Path, time::Duration};
use uuid::Uuid;

/// Which task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct TaskKey {
    pub(super) tenant: TenantId,
    pub(super) id: TaskId,
}

/// What an open task is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its time, its turn.
    Waiting,
    /// Its worker.
    Running,
    /// It ended without success; its handler has yet to be told.
    Ending,
}

impl Stage {
    const fn number(self) -> i64 {
        match self {
            Self::Waiting => 0,
            Self::Running => 1,
            Self::Ending => 2,
        }
    }

    const fn from_number(number: i64) -> Self {
        match number {
            1 => Self::Running,
            2 => Self::Ending,
            _ => Self::Waiting,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) stage: Stage,
    pub(super) run_at: Option<DateTime<Utc>>,
    pub(super) priority: i32,
    /// Where it was queued: the order among equals.
    pub(super) sequence: u64,
}

pub(super) struct Table {
    connection: Connection,
}

impl Table {
    /// Opens or makes the table. One of another log is emptied: its checkpoint means nothing here.
    pub(super) fn open(path: &Path, log_id: LogId) -> Result<Self, CommandError> {
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

    pub(super) fn checkpoint(&self, cell: u16) -> Result<u64, CommandError> {
        let mut query = self.connection.prepare_cached("SELECT sequence FROM checkpoints WHERE cell = ?1")?;
        let mut rows = query.query([cell])?;
        Ok(match rows.next()? {
            Some(row) => row.get(0)?,
            None => 0,
        })
    }

    pub(super) fn rows(&self) -> Result<Vec<(TaskKey, Row)>, CommandError> {
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

    /// Writes what a commit changed, and that it was seen, in one transaction.
    pub(super) fn write(
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

    /// Removes a row whose end was dealt with.
    pub(super) fn remove(&self, key: TaskKey) -> Result<(), CommandError> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_and_checkpoint_survive_and_another_log_starts_afresh() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.sqlite");
        let log_id = LogId::random();
        let key = TaskKey { tenant: TenantId::random(), id: TaskId::random() };
        let row = Row {
            stage: Stage::Running,
            run_at: DateTime::from_timestamp(1_700_000_000, 5_000),
            priority: -3,
            sequence: 7,
        };
        {
            let mut table = Table::open(&path, log_id).unwrap();
            table.write(0, 9, &[(key, Some(row))]).unwrap();
            table.write(0, 8, &[]).unwrap();
        }
        let mut table = Table::open(&path, log_id).unwrap();
        assert_eq!(table.checkpoint(0).unwrap(), 9);
        assert_eq!(table.rows().unwrap(), [(key, row)]);
        table.write(0, 10, &[(key, None)]).unwrap();
        assert!(table.rows().unwrap().is_empty());
        drop(table);
        assert_eq!(Table::open(&path, LogId::random()).unwrap().checkpoint(0).unwrap(), 0);
    }
}
