//! The control store of an installation of several nodes: tables in the database they share.

use super::{Anchor, Store};
use crate::{database::Database, error::LogError, port::Head};
use autonomos_domain::{envelope::Hash, ids::LogId};
use sqlx::{PgConnection, Row, postgres::PgRow};
use uuid::Uuid;

const TABLES: &[&str] = &[
    "CREATE TABLE IF NOT EXISTS autonomos.heads (
         cell INTEGER PRIMARY KEY, log_id BYTEA NOT NULL,
         sequence BIGINT NOT NULL, running_hash BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS autonomos.anchors (
         cell INTEGER NOT NULL, sequence BIGINT NOT NULL,
         merkle_root BYTEA NOT NULL, running_hash BYTEA NOT NULL,
         PRIMARY KEY (cell, sequence))",
    "CREATE TABLE IF NOT EXISTS autonomos.process_checkpoints (
         name TEXT NOT NULL, cell INTEGER NOT NULL, sequence BIGINT NOT NULL,
         PRIMARY KEY (name, cell))",
];

pub(super) struct PostgresControl {
    database: Database,
}

impl PostgresControl {
    pub(super) async fn open(database: &Database) -> Result<Self, LogError> {
        database.define(TABLES).await?;
        Ok(Self { database: database.clone() })
    }
}

impl Store for PostgresControl {
    fn head(&self, cell: u16) -> Result<Option<(LogId, Head)>, LogError> {
        let row = self.database.wait(move |pool| async move {
            sqlx::query("SELECT log_id, sequence, running_hash FROM autonomos.heads WHERE cell = $1")
                .bind(i32::from(cell))
                .fetch_optional(&pool)
                .await
        })?;
        let Some(row) = row else { return Ok(None) };
        let log_id: Vec<u8> = row.try_get(0)?;
        let log_id = Uuid::from_slice(&log_id).map_err(|_| damaged("heads", "a log id is none"))?;
        let sequence: i64 = row.try_get(1)?;
        let head = Head { sequence: sequence as u64, running_hash: hash_at(&row, 2, "heads")? };
        Ok(Some((LogId(log_id), head)))
    }

    fn progress_put(&self, log_id: LogId, cell: u16, head: Head, anchors: &[Anchor]) -> Result<(), LogError> {
        let anchors = anchors.to_vec();
        self.database.wait(move |pool| async move {
            let mut transaction = pool.begin().await?;
            anchors_insert(&mut transaction, &anchors).await?;
            sqlx::query(
                "INSERT INTO autonomos.heads (cell, log_id, sequence, running_hash) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (cell) DO UPDATE SET
                     log_id = excluded.log_id, sequence = excluded.sequence,
                     running_hash = excluded.running_hash
                 WHERE heads.log_id <> excluded.log_id OR heads.sequence <= excluded.sequence",
            )
            .bind(i32::from(cell))
            .bind(log_id.0.as_bytes().to_vec())
            .bind(head.sequence as i64)
            .bind(head.running_hash.to_vec())
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        })
    }

    fn anchors(&self, cell: u16) -> Result<Vec<Anchor>, LogError> {
        let rows = self.database.wait(move |pool| async move {
            sqlx::query(
                "SELECT sequence, merkle_root, running_hash FROM autonomos.anchors
                 WHERE cell = $1 ORDER BY sequence",
            )
            .bind(i32::from(cell))
            .fetch_all(&pool)
            .await
        })?;
        let anchor = |row: &PgRow| {
            let sequence: i64 = row.try_get(0)?;
            Ok(Anchor {
                cell,
                sequence: sequence as u64,
                merkle_root: hash_at(row, 1, "anchors")?,
                running_hash: hash_at(row, 2, "anchors")?,
            })
        };
        rows.iter().map(anchor).collect()
    }

    fn anchors_put(&self, anchors: &[Anchor]) -> Result<(), LogError> {
        let anchors = anchors.to_vec();
        self.database.wait(move |pool| async move {
            let mut transaction = pool.begin().await?;
            anchors_insert(&mut transaction, &anchors).await?;
            transaction.commit().await
        })
    }

    fn process_checkpoint(&self, name: &str, cell: u16) -> Result<u64, LogError> {
        let name = name.to_owned();
        let sequence: Option<i64> = self.database.wait(move |pool| async move {
            sqlx::query_scalar(
                "SELECT sequence FROM autonomos.process_checkpoints WHERE name = $1 AND cell = $2",
            )
            .bind(name)
            .bind(i32::from(cell))
            .fetch_optional(&pool)
            .await
        })?;
        Ok(sequence.unwrap_or(0) as u64)
    }

    fn process_checkpoint_put(&self, name: &str, cell: u16, sequence: u64) -> Result<(), LogError> {
        let name = name.to_owned();
        self.database.wait(move |pool| async move {
            let mut transaction = pool.begin().await?;
            // One that a power cut takes only makes a process manager look again.
            sqlx::query("SET LOCAL synchronous_commit TO OFF").execute(&mut *transaction).await?;
            sqlx::query(
                "INSERT INTO autonomos.process_checkpoints AS kept (name, cell, sequence) VALUES ($1, $2, $3)
                 ON CONFLICT (name, cell) DO UPDATE SET sequence = greatest(kept.sequence, excluded.sequence)",
            )
            .bind(name)
            .bind(i32::from(cell))
            .bind(sequence as i64)
            .execute(&mut *transaction)
            .await?;
            transaction.commit().await
        })
    }
}

fn damaged(table: &str, reason: &str) -> LogError {
    LogError::Damaged { place: format!("table `autonomos.{table}`"), reason: reason.to_owned() }
}

fn hash_at(row: &PgRow, column: usize, table: &str) -> Result<Hash, LogError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| damaged(table, "a hash has not 32 bytes"))
}

async fn anchors_insert(connection: &mut PgConnection, anchors: &[Anchor]) -> Result<(), sqlx::Error> {
    for anchor in anchors {
        sqlx::query(
            "INSERT INTO autonomos.anchors (cell, sequence, merkle_root, running_hash) VALUES ($1, $2, $3, $4)
             ON CONFLICT (cell, sequence) DO UPDATE SET
                 merkle_root = excluded.merkle_root, running_hash = excluded.running_hash",
        )
        .bind(i32::from(anchor.cell))
        .bind(anchor.sequence as i64)
        .bind(anchor.merkle_root.to_vec())
        .bind(anchor.running_hash.to_vec())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}
