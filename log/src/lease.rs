//! Leases: which node does what only one should do at a time. A lease is a row with an owner, a
//! token and an end by the database's own clock; its owner renews it, and who waits takes it over
//! when it ran out. Nothing rests on it that must not be done twice: a process may be paused for as
//! long as it likes between looking at its lease and acting. What is written is fenced where it is
//! written, by expected versions, by a checkpoint's compare-and-swap, or by the lease's token inside
//! the writing transaction ([`Fence`]).

use crate::{database::Database, error::LogError};
use sqlx::{PgConnection, Row};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{sync::watch, task::JoinHandle, time::Instant};

const TABLES: &[&str] = &["CREATE TABLE IF NOT EXISTS autonomos.leases (
     name TEXT PRIMARY KEY, owner TEXT NOT NULL, address TEXT NOT NULL,
     token BIGINT NOT NULL, expires_at TIMESTAMPTZ NOT NULL)"];

/// How long a lease holds without being renewed. A dead owner's work goes on elsewhere after this
/// and one look of who waits.
const TERM: Duration = Duration::from_secs(5);
/// How often an owner renews, and who waits looks.
const EVERY: Duration = Duration::from_millis(700);

/// One node's way to the leases. Cheap to clone.
#[derive(Clone)]
pub struct Leases {
    database: Database,
    owner: Arc<str>,
    address: Arc<str>,
    term: Duration,
    every: Duration,
    able: Arc<dyn Fn() -> bool + Send + Sync>,
}

/// Who holds a lease right now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The process, not the node alone: a node that was started again is another one.
    pub owner: String,
    /// Where other nodes reach it.
    pub address: String,
}

impl Leases {
    /// `node` names this node, `address` is where the others reach it.
    pub async fn open(database: &Database, node: &str, address: &str) -> Result<Self, LogError> {
        database.define(TABLES).await?;
        let process = uuid::Uuid::new_v4().simple().to_string();
        Ok(Self {
            database: database.clone(),
            owner: format!("{node}-{}", &process[..8]).into(),
            address: address.into(),
            term: TERM,
            every: EVERY,
            able: Arc::new(|| true),
        })
    }

    /// Holds leases for work that needs more than the database, such as the log. While `able` says that
    /// this node can't do it, it asks for no lease and renews none: who can do it takes over. As long as
    /// nobody has, the lease stays this node's, which goes on with what it can.
    #[must_use]
    pub fn while_able(mut self, able: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.able = Arc::new(able);
        self
    }

    /// With other times, for tests of what happens at their end.
    #[must_use]
    pub fn with_times(mut self, term: Duration, every: Duration) -> Self {
        self.term = term;
        self.every = every;
        self
    }

    /// This process, as leases name it.
    pub fn owner(&self) -> &str {
        &self.owner
    }

    /// How often who waits looks.
    pub fn every(&self) -> Duration {
        self.every
    }

    /// Whether this node can do, right now, what is done under leases.
    pub fn is_able(&self) -> bool {
        (self.able)()
    }

    /// Waits until this process holds the lease. A database that can't be reached is waited for.
    pub async fn acquire(&self, name: &str) -> Lease {
        loop {
            if self.is_able() {
                match self.try_acquire(name).await {
                    Ok(Some(lease)) => return lease,
                    Ok(None) => {}
                    Err(error) => tracing::warn!(lease = name, %error, "a lease cannot be asked for"),
                }
            }
            tokio::time::sleep(self.every).await;
        }
    }

    /// The lease, unless another process holds it. One that ends later than any owner can have asked
    /// for is from before the database's clock was set back: a living owner renews it in a moment, a
    /// dead one would keep it for as long as the jump was.
    pub async fn try_acquire(&self, name: &str) -> Result<Option<Lease>, LogError> {
        // Counted from before the question: the row's end is later than this node takes it to be.
        let until = Instant::now() + self.term;
        let (lease, owner, address) = (name.to_owned(), self.owner.to_string(), self.address.to_string());
        let term = self.term.as_secs_f64();
        let taken: Option<i64> = self
            .database
            .run(move |pool| async move {
                sqlx::query_scalar(
                    "INSERT INTO autonomos.leases AS held (name, owner, address, token, expires_at)
                     VALUES ($1, $2, $3, 1, clock_timestamp() + make_interval(secs => $4))
                     ON CONFLICT (name) DO UPDATE SET
                         owner = excluded.owner, address = excluded.address, token = held.token + 1,
                         expires_at = clock_timestamp() + make_interval(secs => $4)
                     WHERE held.expires_at <= clock_timestamp()
                         OR held.expires_at > clock_timestamp() + 2 * make_interval(secs => $4)
                     RETURNING token",
                )
                .bind(lease)
                .bind(owner)
                .bind(address)
                .bind(term)
                .fetch_optional(&pool)
                .await
            })
            .await?;
        let Some(token) = taken else { return Ok(None) };
        tracing::info!(lease = name, token, "this node holds the lease");
        let fence = Fence { name: name.into(), token };
        let (held, lost) = watch::channel(false);
        let renewing = tokio::spawn(renew(self.clone(), fence.clone(), until, held));
        Ok(Some(Lease { fence, lost, leases: self.clone(), renewing }))
    }

    /// All leases below `prefix` that nobody else could take right now, by the rest of their names.
    pub async fn held(&self, prefix: &str) -> Result<BTreeMap<String, Holder>, LogError> {
        let (prefix, term) = (prefix.to_owned(), self.term.as_secs_f64());
        let rows = self
            .database
            .run(move |pool| async move {
                sqlx::query(
                    "SELECT substr(name, length($1) + 1), owner, address FROM autonomos.leases
                     WHERE starts_with(name, $1) AND expires_at > clock_timestamp()
                         AND expires_at <= clock_timestamp() + 2 * make_interval(secs => $2)",
                )
                .bind(prefix)
                .bind(term)
                .fetch_all(&pool)
                .await
            })
            .await?;
        let mut held = BTreeMap::new();
        for row in rows {
            held.insert(row.try_get(0)?, Holder { owner: row.try_get(1)?, address: row.try_get(2)? });
        }
        Ok(held)
    }

    /// Removes what is left of leases below `prefix` that nobody has asked for in a long time: such as
    /// are named by a process, which never comes back.
    pub async fn sweep(&self, prefix: &str) -> Result<(), LogError> {
        let prefix = prefix.to_owned();
        let swept = self.database.run(move |pool| async move {
            sqlx::query(
                "DELETE FROM autonomos.leases
                 WHERE starts_with(name, $1) AND expires_at < clock_timestamp() - interval '1 hour'",
            )
            .bind(prefix)
            .execute(&pool)
            .await
        });
        swept.await.map(drop)
    }

    /// Who holds a lease; none while it is free.
    pub async fn holder(&self, name: &str) -> Result<Option<Holder>, LogError> {
        let name = name.to_owned();
        let row = self
            .database
            .run(move |pool| async move {
                sqlx::query(
                    "SELECT owner, address FROM autonomos.leases
                     WHERE name = $1 AND expires_at > clock_timestamp()",
                )
                .bind(name)
                .fetch_optional(&pool)
                .await
            })
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Holder { owner: row.try_get(0)?, address: row.try_get(1)? }))
    }
}

/// A lease this process holds. Dropped, it runs out by itself; [`Lease::release`] gives it up at once.
pub struct Lease {
    fence: Fence,
    lost: watch::Receiver<bool>,
    leases: Leases,
    renewing: JoinHandle<()>,
}

impl Lease {
    /// What a writing transaction is fenced with.
    pub fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Counts the holders of this lease, this one included: of two, the later has the higher one.
    pub fn term(&self) -> u64 {
        self.fence.token as u64
    }

    /// Becomes true once the lease is not this process's any more, or can't be known to be.
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Waits until it is lost.
    pub async fn lost(&self) {
        // The sender goes with the renewing task, which ends when the lease is lost.
        let _ = self.lost.clone().wait_for(|lost| *lost).await;
    }

    /// Gives it up, so that another node need not wait for its end.
    pub async fn release(self) {
        self.renewing.abort();
        let Fence { name, token } = self.fence.clone();
        let released = self.leases.database.run(move |pool| async move {
            sqlx::query("UPDATE autonomos.leases SET expires_at = '-infinity' WHERE name = $1 AND token = $2")
                .bind(&*name)
                .bind(token)
                .execute(&pool)
                .await
        });
        if let Err(error) = released.await {
            tracing::warn!(lease = &*self.fence.name, %error, "a lease could not be given up; it runs out");
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// Renews until it can't be done in time. The node's own clock only ever ends a lease early.
async fn renew(leases: Leases, fence: Fence, mut until: Instant, held: watch::Sender<bool>) {
    loop {
        tokio::time::sleep(leases.every.min(until.saturating_duration_since(Instant::now()))).await;
        let asked = Instant::now();
        if asked >= until {
            break;
        }
        match tokio::time::timeout_at(until, extend(&leases, &fence)).await {
            Ok(Ok(true)) => until = asked + leases.term,
            Ok(Ok(false)) | Err(_) => break,
            Ok(Err(error)) => {
                tracing::warn!(lease = &*fence.name, %error, "a lease could not be renewed, trying again");
            }
        }
    }
    tracing::warn!(lease = &*fence.name, token = fence.token, "this node lost the lease");
    held.send_replace(true);
}

/// Whether it is still this process's; where it is able to do the work, for another term.
async fn extend(leases: &Leases, fence: &Fence) -> Result<bool, LogError> {
    let (name, token, term) = (Arc::clone(&fence.name), fence.token, leases.term.as_secs_f64());
    let able = leases.is_able();
    let renewed = leases.database.run(move |pool| async move {
        sqlx::query(
            "UPDATE autonomos.leases SET expires_at =
                 CASE WHEN $4 THEN clock_timestamp() + make_interval(secs => $3) ELSE expires_at END
             WHERE name = $1 AND token = $2",
        )
        .bind(&*name)
        .bind(token)
        .bind(term)
        .bind(able)
        .execute(&pool)
        .await
    });
    Ok(renewed.await?.rows_affected() == 1)
}

/// A lease's name and token, for transactions that only its holder may commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    name: Arc<str>,
    token: i64,
}

impl Fence {
    /// Whether nobody has taken the lease since. Until the transaction's end nobody can: the row is
    /// locked against it.
    pub async fn holds(&self, transaction: &mut PgConnection) -> Result<bool, sqlx::Error> {
        let row = sqlx::query("SELECT 1 FROM autonomos.leases WHERE name = $1 AND token = $2 FOR SHARE")
            .bind(&*self.name)
            .bind(self.token)
            .fetch_optional(transaction)
            .await?;
        Ok(row.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres_server::Postgres;

    const SHORT: Duration = Duration::from_millis(400);
    const OFTEN: Duration = Duration::from_millis(50);

    async fn node(url: &str, name: &str) -> Leases {
        let database = Database::connect(url, Duration::from_secs(10)).await.unwrap();
        let leases = Leases::open(&database, name, &format!("http://{name}")).await.unwrap();
        leases.with_times(SHORT, OFTEN)
    }

    async fn holds(leases: &Leases, fence: Fence) -> bool {
        let held = leases.database.run(move |pool| async move {
            let mut transaction = pool.begin().await?;
            fence.holds(&mut transaction).await
        });
        held.await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn one_node_holds_a_lease_and_another_takes_it_over_when_it_dies() {
        let server = Postgres::shared();
        let url = server.database();
        let (first, second) = (node(&url, "a").await, node(&url, "b").await);
        assert_eq!(first.holder("work").await.unwrap(), None);
        let lease = first.acquire("work").await;
        assert!(second.try_acquire("work").await.unwrap().is_none());
        assert!(first.try_acquire("work").await.unwrap().is_none(), "not even twice by its owner");
        assert!(second.try_acquire("other").await.unwrap().is_some());
        let holder = second.holder("work").await.unwrap().unwrap();
        assert_eq!((holder.owner.as_str(), holder.address.as_str()), (first.owner(), "http://a"));

        // Dead: it renews no more, and says nothing.
        let dead = lease.fence();
        drop(lease);
        let taken = second.acquire("work").await;
        assert_eq!(second.holder("work").await.unwrap().unwrap().owner, second.owner());
        assert!(!holds(&first, dead).await, "what the dead one still wanted to write is fenced off");
        assert!(holds(&second, taken.fence()).await);

        taken.release().await;
        assert!(first.try_acquire("work").await.unwrap().is_some(), "a lease given up is free at once");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn leases_below_a_name_are_listed_while_they_are_held() {
        let server = Postgres::shared();
        let url = server.database();
        let (first, second) = (node(&url, "a").await, node(&url, "b").await);
        let held = async || {
            let held = second.held("work/x/").await.unwrap();
            held.into_iter().map(|(name, holder)| (name, holder.address)).collect::<Vec<_>>()
        };
        assert_eq!(held().await, []);
        let one = first.acquire("work/x/1").await;
        let two = second.acquire("work/x/2").await;
        let _others = (first.acquire("work/y/1").await, first.acquire("work/x").await);
        let both = [("1", "http://a"), ("2", "http://b")].map(|(name, at)| (name.to_owned(), at.to_owned()));
        assert_eq!(held().await, both);
        one.release().await;
        assert_eq!(held().await, both[1..]);
        // As free as for who asks for it.
        let jump = "UPDATE autonomos.leases SET expires_at = expires_at + interval '1 hour'";
        drop(two);
        server.execute(url.rsplit('/').next().unwrap(), jump).unwrap();
        assert_eq!(held().await, []);
        let back = "UPDATE autonomos.leases SET expires_at = expires_at - interval '3 hours'";
        server.execute(url.rsplit('/').next().unwrap(), back).unwrap();
        second.sweep("work/x/").await.unwrap();
        assert_eq!(second.acquire("work/x/1").await.term(), 1, "nothing was left of it");
    }

    /// What a process that was paused finds when it wakes up.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_owner_whose_lease_was_taken_learns_that_it_lost() {
        let server = Postgres::shared();
        let url = server.database();
        let (first, second) = (node(&url, "a").await, node(&url, "b").await);
        let lease = first.acquire("work").await;
        assert!(!*lease.watch().borrow());
        let name = url.rsplit('/').next().unwrap();
        server.execute(name, "UPDATE autonomos.leases SET expires_at = '-infinity'").unwrap();
        // It may have renewed in between: then the pause was not long enough, and it holds on.
        let taken = loop {
            if let Some(taken) = second.try_acquire("work").await.unwrap() {
                break taken;
            }
            server.execute(name, "UPDATE autonomos.leases SET expires_at = '-infinity'").unwrap();
        };
        lease.lost().await;
        assert!(!holds(&first, lease.fence()).await);
        assert!(holds(&second, taken.fence()).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_owner_that_cannot_do_the_work_holds_on_until_another_can() {
        let server = Postgres::shared();
        let url = server.database();
        let able = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let seen = Arc::clone(&able);
        let first = node(&url, "a").await.while_able(move || seen.load(std::sync::atomic::Ordering::Acquire));
        let second = node(&url, "b").await;
        let lease = first.acquire("work").await;
        able.store(false, std::sync::atomic::Ordering::Release);
        // It renews no more: the lease runs out.
        while second.holder("work").await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        assert!(holds(&first, lease.fence()).await && !*lease.watch().borrow(), "nobody else came");
        let taken = second.acquire("work").await;
        lease.lost().await;
        assert!(holds(&second, taken.fence()).await);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_from_before_the_clock_was_set_back_is_not_waited_for() {
        let server = Postgres::shared();
        let url = server.database();
        let (first, second) = (node(&url, "a").await, node(&url, "b").await);
        drop(first.acquire("work").await);
        let jump = "UPDATE autonomos.leases SET expires_at = expires_at + interval '1 hour'";
        server.execute(url.rsplit('/').next().unwrap(), jump).unwrap();
        assert!(second.try_acquire("work").await.unwrap().is_some());
        assert!(first.try_acquire("work").await.unwrap().is_none(), "it is a lease like any other");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_lease_outlives_its_term_while_it_is_renewed_and_is_lost_with_the_database() {
        let server = Postgres::start(crate::postgres_server::Durability::Unsynced);
        let url = server.database();
        let first = node(&url, "a").await;
        let lease = first.acquire("work").await;
        let token = lease.fence();
        // A term by the database's clock: nobody could take it meanwhile.
        let waited = first
            .database
            .run(|pool| async move { sqlx::query("SELECT pg_sleep(0.6)").execute(&pool).await });
        waited.await.unwrap();
        assert!(holds(&first, token).await && !*lease.watch().borrow());
        server.kill();
        lease.lost().await;
    }
}
