//! Postgres, for what stands beside the log and is shared by all nodes: witnesses, leases, keys, the
//! table of open tasks. Queries run on a small runtime of their own, whoever waits for them, so that
//! a caller that cannot await (a key ring is asked in the middle of a decision) may wait without
//! taking away the thread that would bring the answer.

use crate::error::LogError;
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};
use std::{
    future::Future,
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

/// Connections at most. What is kept beside the log is small and asked for rarely.
const CONNECTIONS: u32 = 12;
/// How long a query waits for a connection before the database counts as gone.
const PATIENCE: Duration = Duration::from_secs(5);
/// A node that is paused in the middle of a transaction must not keep its locks from the others.
const LONGEST_IDLE: &str = "3s";
/// Makers of tables take turns, or two nodes that start at once would both make them.
const MAKERS_LOCK: i64 = 0x616f_735f_6d61_6b65;

/// A handle on the shared database. Cheap to clone; the last one closes the connections.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

/// A handle that does not keep the connections open.
#[derive(Clone)]
pub struct WeakDatabase {
    inner: Weak<Inner>,
}

impl WeakDatabase {
    /// The handle, while another one is in use.
    pub fn upgrade(&self) -> Option<Database> {
        self.inner.upgrade().map(|inner| Database { inner })
    }
}

struct Inner {
    pool: PgPool,
    /// Taken when the last handle goes.
    runtime: Option<Runtime>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waiting for its threads is not allowed where tasks run.
            runtime.shutdown_background();
        }
    }
}

impl Database {
    /// Connects; tries again until `patience` is over, for nodes and servers start in any order.
    /// `url` is a `postgres://` address; no error repeats it, for it holds a password.
    pub async fn connect(url: &str, patience: Duration) -> Result<Self, LogError> {
        let options: PgConnectOptions = url
            .parse()
            .map_err(|_| LogError::Unreachable("the address of the database is not valid".to_owned()))?;
        let options = options
            .application_name("autonomos")
            .options([("idle_in_transaction_session_timeout", LONGEST_IDLE)]);
        let place = format!("{}:{}", options.get_host(), options.get_port());
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("aos-database")
            .enable_all()
            .build()
            .map_err(|error| LogError::Store(error.to_string()))?;
        let pool = {
            // The pool starts tasks of its own: they belong to this runtime too.
            let _entered = runtime.enter();
            PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(PATIENCE)
                .connect_lazy_with(options)
        };
        let database = Self { inner: Arc::new(Inner { pool, runtime: Some(runtime) }) };
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let looked =
                database.run(|pool| async move { sqlx::query("SELECT 1").execute(&pool).await }).await;
            match looked {
                Ok(_) => return Ok(database),
                Err(error) if tokio::time::Instant::now() >= deadline => {
                    return Err(LogError::Unreachable(format!("Postgres at `{place}`: {error}")));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    /// For tasks that go on only while others use the database.
    pub fn downgrade(&self) -> WeakDatabase {
        WeakDatabase { inner: Arc::downgrade(&self.inner) }
    }

    fn handle(&self) -> Result<&Handle, LogError> {
        self.inner.runtime.as_ref().map(Runtime::handle).ok_or(LogError::Closed)
    }

    /// Runs queries and awaits them. What has begun is seen through, also if the caller goes away.
    pub async fn run<T, F, W>(&self, work: W) -> Result<T, LogError>
    where
        W: FnOnce(PgPool) -> F,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
        T: Send + 'static,
    {
        let running = self.handle()?.spawn(work(self.inner.pool.clone()));
        running.await.map_err(|_| LogError::Closed)?.map_err(LogError::from)
    }

    /// The same for callers that cannot await. Of a runtime with several threads, the others take
    /// over what this one had to do meanwhile.
    pub fn wait<T, F, W>(&self, work: W) -> Result<T, LogError>
    where
        W: FnOnce(PgPool) -> F,
        F: Future<Output = Result<T, sqlx::Error>> + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let queries = work(self.inner.pool.clone());
        self.handle()?.spawn(async move {
            // Nobody waits any more: nothing to tell.
            let _ = sender.send(queries.await);
        });
        let answer = match Handle::try_current() {
            Ok(current) if current.runtime_flavor() == RuntimeFlavor::MultiThread => {
                tokio::task::block_in_place(|| receiver.recv())
            }
            _ => receiver.recv(),
        };
        answer.map_err(|_| LogError::Closed)?.map_err(LogError::from)
    }

    /// Runs statements that make tables, one maker at a time.
    pub async fn define(&self, statements: &'static [&'static str]) -> Result<(), LogError> {
        self.run(move |pool| async move {
            let mut transaction = pool.begin().await?;
            sqlx::query("SELECT pg_advisory_xact_lock($1)")
                .bind(MAKERS_LOCK)
                .execute(&mut *transaction)
                .await?;
            sqlx::query("CREATE SCHEMA IF NOT EXISTS autonomos").execute(&mut *transaction).await?;
            for statement in statements {
                sqlx::query(*statement).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        })
        .await
    }

    /// Starts a task beside the queries. It must hold no [`Database`], or that is never closed.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> Result<(), LogError> {
        drop(self.handle()?.spawn(task));
        Ok(())
    }
}

impl From<sqlx::Error> for LogError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Io(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed
            | sqlx::Error::Tls(_) => Self::Unreachable(format!("Postgres: {error}")),
            // 57P01 to 57P03: the server is going down, or not up yet; 08…: the connection broke.
            sqlx::Error::Database(inner)
                if inner.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08")) =>
            {
                Self::Unreachable(format!("Postgres: {error}"))
            }
            _ => Self::Store(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_server::Postgres;

    async fn number(pool: PgPool) -> Result<i32, sqlx::Error> {
        sqlx::query_scalar("SELECT 7").fetch_one(&pool).await
    }

    /// Where a thread is all there is, waiting on it must not keep the answer away.
    #[tokio::test(flavor = "current_thread")]
    async fn a_caller_that_cannot_await_gets_its_answer_on_one_thread() {
        let server = Postgres::shared();
        let database = Database::connect(&server.database(), Duration::from_secs(10)).await.unwrap();
        assert_eq!(database.wait(number).unwrap(), 7);
        assert_eq!(database.run(number).await.unwrap(), 7);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn and_on_a_runtime_whose_only_worker_waits() {
        let server = Postgres::shared();
        let database = Database::connect(&server.database(), Duration::from_secs(10)).await.unwrap();
        let waiting = database.clone();
        let waited = tokio::spawn(async move { waiting.wait(number).unwrap() }).await.unwrap();
        assert_eq!(waited, 7);
        let off_runtime = database.clone();
        assert_eq!(std::thread::spawn(move || off_runtime.wait(number).unwrap()).join().unwrap(), 7);
    }

    #[tokio::test]
    async fn a_database_that_is_not_there_is_named_without_its_password() {
        let error =
            Database::connect("postgres://me:secret@127.0.0.1:1/x", Duration::ZERO).await.err().unwrap();
        assert_eq!(error.code(), "AOS-0107");
        assert!(
            error.to_string().contains("127.0.0.1:1") && !error.to_string().contains("secret"),
            "{error}"
        );
    }
}
