//! The table of open tasks that all nodes share. It is written by the node alone that holds the
//! lease of the cell's tasks: the lease's token is looked at in the writing transaction.

use super::{Row, Stage, Table, TaskKey};
use crate::error::CommandError;
use autonomos_domain::ids::{LogId, TaskId, TenantId};
use autonomos_log::{database::Database, error::LogError, lease::Fence};
use chrono::DateTime;
use sqlx::{PgConnection, Row as _, postgres::PgRow};
use uuid::Uuid;

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS autonomos.task_checkpoints (
         log_id BYTEA NOT NULL, cell INTEGER NOT NULL, sequence BIGINT NOT NULL,
         PRIMARY KEY (log_id, cell))",
    "CREATE TABLE IF NOT EXISTS autonomos.open_tasks (
         log_id BYTEA NOT NULL, cell INTEGER NOT NULL, tenant BYTEA NOT NULL, task_id BYTEA NOT NULL,
         stage INTEGER NOT NULL, run_at BIGINT, priority INTEGER NOT NULL, sequence BIGINT NOT NULL,
         PRIMARY KEY (log_id, cell, tenant, task_id))",
];
const FENCED: &str = "another node has taken the cell's tasks over";

/// One cell's open tasks.
pub(in crate::tasks) struct PostgresTable {
    database: Database,
    log_id: Vec<u8>,
    cell: u16,
    fence: Fence,
}

impl PostgresTable {
    pub(in crate::tasks) async fn open(
        database: &Database,
        log_id: LogId,
        cell: u16,
        fence: Fence,
    ) -> Result<Self, CommandError> {
        database.define(TABLES).await?;
        Ok(Self { database: database.clone(), log_id: log_id.0.as_bytes().to_vec(), cell, fence })
    }
}

impl Table for PostgresTable {
    fn checkpoint(&self, cell: u16) -> Result<u64, CommandError> {
        let log_id = self.log_id.clone();
        let sequence: Option<i64> = self.database.wait(move |pool| async move {
            sqlx::query_scalar(
                "SELECT sequence FROM autonomos.task_checkpoints WHERE log_id = $1 AND cell = $2",
            )
            .bind(log_id)
            .bind(i32::from(cell))
            .fetch_optional(&pool)
            .await
        })?;
        Ok(sequence.unwrap_or(0) as u64)
    }

    fn rows(&self) -> Result<Vec<(TaskKey, Row)>, CommandError> {
        let (log_id, cell) = (self.log_id.clone(), self.cell);
        let rows = self.database.wait(move |pool| async move {
            sqlx::query(
                "SELECT tenant, task_id, stage, run_at, priority, sequence FROM autonomos.open_tasks
                 WHERE log_id = $1 AND cell = $2",
            )
            .bind(log_id)
            .bind(i32::from(cell))
            .fetch_all(&pool)
            .await
        })?;
        rows.iter().map(|row| open_task(row).map_err(|error| LogError::from(error).into())).collect()
    }

    fn write(
        &mut self,
        cell: u16,
        sequence: u64,
        changes: &[(TaskKey, Option<Row>)],
    ) -> Result<(), CommandError> {
        let (log_id, fence, changes) = (self.log_id.clone(), self.fence.clone(), changes.to_vec());
        let written = self.database.wait(move |pool| async move {
            let mut transaction = pool.begin().await?;
            if !fence.holds(&mut transaction).await? {
                return Ok(false);
            }
            for (key, row) in changes {
                match row {
                    Some(row) => put(&mut transaction, &log_id, cell, key, row).await?,
                    None => take(&mut transaction, &log_id, cell, key).await?,
                }
            }
            sqlx::query(
                "INSERT INTO autonomos.task_checkpoints AS kept (log_id, cell, sequence) VALUES ($1, $2, $3)
                 ON CONFLICT (log_id, cell)
                 DO UPDATE SET sequence = greatest(kept.sequence, excluded.sequence)",
            )
            .bind(&log_id)
            .bind(i32::from(cell))
            .bind(sequence as i64)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await?;
            Ok(true)
        })?;
        if written { Ok(()) } else { Err(CommandError::TaskTable(FENCED.to_owned())) }
    }

    fn remove(&mut self, key: TaskKey) -> Result<(), CommandError> {
        let (log_id, fence, cell) = (self.log_id.clone(), self.fence.clone(), self.cell);
        let removed = self.database.wait(move |pool| async move {
            let mut transaction = pool.begin().await?;
            if !fence.holds(&mut transaction).await? {
                return Ok(false);
            }
            take(&mut transaction, &log_id, cell, key).await?;
            transaction.commit().await?;
            Ok(true)
        })?;
        if removed { Ok(()) } else { Err(CommandError::TaskTable(FENCED.to_owned())) }
    }
}

async fn put(
    connection: &mut PgConnection,
    log_id: &[u8],
    cell: u16,
    key: TaskKey,
    row: Row,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO autonomos.open_tasks
             (log_id, cell, tenant, task_id, stage, run_at, priority, sequence)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (log_id, cell, tenant, task_id) DO UPDATE SET
             stage = excluded.stage, run_at = excluded.run_at, priority = excluded.priority,
             sequence = excluded.sequence",
    )
    .bind(log_id)
    .bind(i32::from(cell))
    .bind(key.tenant.0.as_bytes().to_vec())
    .bind(key.id.0.as_bytes().to_vec())
    .bind(row.stage.number() as i32)
    .bind(row.run_at.map(|at| at.timestamp_micros()))
    .bind(row.priority)
    .bind(row.sequence as i64)
    .execute(connection)
    .await
    .map(|_| ())
}

async fn take(
    connection: &mut PgConnection,
    log_id: &[u8],
    cell: u16,
    key: TaskKey,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "DELETE FROM autonomos.open_tasks
         WHERE log_id = $1 AND cell = $2 AND tenant = $3 AND task_id = $4",
    )
    .bind(log_id)
    .bind(i32::from(cell))
    .bind(key.tenant.0.as_bytes().to_vec())
    .bind(key.id.0.as_bytes().to_vec())
    .execute(connection)
    .await
    .map(|_| ())
}

fn open_task(row: &PgRow) -> Result<(TaskKey, Row), sqlx::Error> {
    let id = |column: usize| -> Result<Uuid, sqlx::Error> {
        let bytes: Vec<u8> = row.try_get(column)?;
        Uuid::from_slice(&bytes).map_err(|error| sqlx::Error::Decode(Box::new(error)))
    };
    let key = TaskKey { tenant: TenantId(id(0)?), id: TaskId(id(1)?) };
    let stage: i32 = row.try_get(2)?;
    let run_at: Option<i64> = row.try_get(3)?;
    let sequence: i64 = row.try_get(5)?;
    let open = Row {
        stage: Stage::from_number(i64::from(stage)),
        run_at: run_at.and_then(DateTime::from_timestamp_micros),
        priority: row.try_get(4)?,
        sequence: sequence as u64,
    };
    Ok((key, open))
}
