//! The table of open tasks: ids and times alone, for what a task is about is sealed in the log.

mod postgres;
mod sqlite;

pub(super) use postgres::PostgresTable;
pub(super) use sqlite::SqliteTable;

use crate::error::CommandError;
use autonomos_domain::ids::{TaskId, TenantId};
use chrono::{DateTime, Utc};

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

/// Where open tasks are kept. Blocking.
pub(super) trait Table: Send {
    /// As far as the cell's tasks were seen.
    fn checkpoint(&self, cell: u16) -> Result<u64, CommandError>;

    fn rows(&self) -> Result<Vec<(TaskKey, Row)>, CommandError>;

    /// Writes what a commit changed, and that it was seen, in one transaction.
    fn write(
        &mut self,
        cell: u16,
        sequence: u64,
        changes: &[(TaskKey, Option<Row>)],
    ) -> Result<(), CommandError>;

    /// Removes a row whose end was dealt with.
    fn remove(&mut self, key: TaskKey) -> Result<(), CommandError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use autonomos_domain::ids::LogId;
    use autonomos_log::{database::Database, lease::Leases, postgres_server::Postgres};
    use std::time::Duration;

    /// What every table does, whatever it is kept in; `open` opens the same one again.
    async fn conformance(open: impl AsyncFn(LogId) -> Box<dyn Table>) {
        let log_id = LogId::random();
        let key = TaskKey { tenant: TenantId::random(), id: TaskId::random() };
        let row = Row {
            stage: Stage::Running,
            run_at: DateTime::from_timestamp(1_700_000_000, 5_000),
            priority: -3,
            sequence: 7,
        };
        let mut table = open(log_id).await;
        assert_eq!(table.checkpoint(0).unwrap(), 0);
        table.write(0, 9, &[(key, Some(row))]).unwrap();
        table.write(0, 8, &[]).unwrap();
        drop(table);

        let mut table = open(log_id).await;
        assert_eq!(table.checkpoint(0).unwrap(), 9);
        assert_eq!(table.rows().unwrap(), [(key, row)]);
        let ending = Row { stage: Stage::Ending, run_at: None, ..row };
        table.write(0, 10, &[(key, Some(ending))]).unwrap();
        assert_eq!(table.rows().unwrap(), [(key, ending)]);
        table.remove(key).unwrap();
        assert!(table.rows().unwrap().is_empty());
        table.write(0, 11, &[(key, Some(row))]).unwrap();
        table.write(0, 12, &[(key, None)]).unwrap();
        assert!(table.rows().unwrap().is_empty());
        table.write(0, 13, &[(key, Some(row))]).unwrap();
        drop(table);

        let other = open(LogId::random()).await;
        assert_eq!(other.checkpoint(0).unwrap(), 0, "another log starts afresh");
        assert!(other.rows().unwrap().is_empty());
    }

    #[tokio::test]
    async fn open_tasks_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.sqlite");
        conformance(async |log_id| Box::new(SqliteTable::open(&path, log_id).unwrap()) as _).await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn open_tasks_in_postgres() {
        let server = Postgres::shared();
        let database = Database::connect(&server.database(), Duration::from_secs(10)).await.unwrap();
        let leases = Leases::open(&database, "node", "").await.unwrap();
        let lease = leases.acquire("tasks/0").await;
        let open = async |log_id| {
            Box::new(PostgresTable::open(&database, log_id, 0, lease.fence()).await.unwrap())
                as Box<dyn Table>
        };
        conformance(open).await;
    }

    /// The one that was paused while another took over writes nothing when it wakes up.
    #[tokio::test(flavor = "multi_thread")]
    async fn who_lost_the_lease_writes_nothing() {
        let server = Postgres::shared();
        let database = Database::connect(&server.database(), Duration::from_secs(10)).await.unwrap();
        let leases = Leases::open(&database, "node", "").await.unwrap();
        let log_id = LogId::random();
        let lease = leases.acquire("tasks/0").await;
        let mut paused = PostgresTable::open(&database, log_id, 0, lease.fence()).await.unwrap();
        paused.write(0, 5, &[]).unwrap();
        lease.release().await;
        let taken = leases.acquire("tasks/0").await;
        let mut table = PostgresTable::open(&database, log_id, 0, taken.fence()).await.unwrap();
        let key = TaskKey { tenant: TenantId::random(), id: TaskId::random() };
        let row = Row { stage: Stage::Waiting, run_at: None, priority: 0, sequence: 6 };
        assert!(paused.write(0, 9, &[(key, Some(row))]).is_err());
        assert_eq!(table.checkpoint(0).unwrap(), 5);
        table.write(0, 6, &[(key, Some(row))]).unwrap();
        assert!(paused.remove(key).is_err());
        assert_eq!(table.rows().unwrap(), [(key, row)]);
    }
}
