//! The unified views as tables in Postgres, for BI tools and for nodes that hold no views of their own.
//!
//! One table an entity of the default ontology, `aos_unified.<plural>`: `tenant`, `id`, a typed column
//! a field, `extra` (JSON: fields the tenant added), `_members` and `_version` (the log sequence since
//! which the row is as it is). DuckDB and Postgres share no transaction, so this is a projector of its
//! own: a tenant's rows and its checkpoint (generation of the views, position) move in one transaction,
//! read from one consistent look at the views. What was touched since the checkpoint is written, and
//! no more; a new generation is compared row by row.
//!
//! Row-level security is enabled and forced. Besides the role that this program's readers take on,
//! [`report_role`] makes a role for one tenant's tools: its rows are those of the tenant that
//! the role stands for, whatever a session sets.

mod tables;

use crate::{
    dcl::{Dcl, read::copy::Columns},
    error::ProjectionError,
    runtime::PostgresOptions,
};
use autonomos_domain::{
    ids::TenantId,
    ontology::{Entity, Ontology, default_ontology},
};
use parking_lot::Mutex;
use sqlx::{AssertSqlSafe, PgPool, Postgres, Row, Transaction, postgres::PgPoolOptions};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};

/// How long a writer may stand still: the views may take their time to answer.
const WRITER_IDLE: &str = "2min";
/// What is tried again after a failure waits this long first, and ever longer.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The tables, and the task that keeps them. Cheap to clone.
#[derive(Clone)]
pub struct Unified {
    inner: Arc<Inner>,
}

struct Inner {
    dcl: Arc<Dcl>,
    pool: PgPool,
    ontology: Ontology,
    /// Up to where each tenant is copied, as far as this process did it.
    positions: watch::Sender<HashMap<TenantId, u64>>,
    stopped: watch::Sender<bool>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the look at the views hands to the writer.
enum Piece {
    Start { generation: i64, sequence: i64, meaning: String, since: Option<u64> },
    Rows(usize, Columns),
    Gone(usize, Columns),
}

/// How far a tenant's rows are.
struct Checkpoint {
    generation: i64,
    position: i64,
    meaning: String,
}

/// Makes the role by which a tenant's own tools may read its rows, if it is not there; its name. It
/// cannot log in until an operator lets it: `ALTER ROLE <name> LOGIN PASSWORD '…'`.
pub async fn report_role(options: &PostgresOptions, tenant: TenantId) -> Result<String, ProjectionError> {
    let pool = pool(options);
    tables::make(&pool, &default_ontology()).await?;
    let role = tables::report_role(&pool, tenant).await;
    pool.close().await;
    role
}

fn pool(options: &PostgresOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(2)
        .acquire_timeout(options.patience)
        .connect_lazy_with(options.address.connect_options())
}

impl Unified {
    /// Makes the tables if they are not there, and starts to keep them.
    pub(crate) async fn start(options: &PostgresOptions, dcl: Arc<Dcl>) -> Result<Self, ProjectionError> {
        let pool = pool(options);
        let ontology = default_ontology();
        tables::make(&pool, &ontology).await?;
        dcl.touched().want();
        let inner = Arc::new(Inner {
            dcl,
            pool,
            ontology,
            positions: watch::channel(HashMap::new()).0,
            stopped: watch::channel(false).0,
            task: Mutex::default(),
        });
        let task = tokio::spawn(keep(Arc::clone(&inner)));
        *inner.task.lock() = Some(task);
        Ok(Self { inner })
    }

    /// Up to where this process copied a tenant's views.
    pub fn position(&self, tenant: TenantId) -> u64 {
        self.inner.positions.borrow().get(&tenant).copied().unwrap_or(0)
    }

    /// Waits, without a bound, until the tables show a tenant up to a log sequence.
    pub async fn reach(&self, tenant: TenantId, sequence: u64) -> Result<(), ProjectionError> {
        let mut positions = self.inner.positions.subscribe();
        let reached = |positions: &HashMap<TenantId, u64>| {
            positions.get(&tenant).is_some_and(|position| *position >= sequence)
        };
        positions.wait_for(reached).await.map(drop).map_err(|_| ProjectionError::Stopped)
    }

    /// Stops at the end of the transaction that is under way.
    pub(crate) async fn stop(&self) {
        self.inner.stopped.send_replace(true);
        let task = self.inner.task.lock().take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the unified tables' task failed");
        }
        self.inner.pool.close().await;
    }
}

/// Waits until told to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // Nobody is left to tell: the same.
    drop(stopped.wait_for(|stopped| *stopped).await);
}

/// Copies whatever tenant's views changed, until stopped.
async fn keep(inner: Arc<Inner>) {
    let mut stopped = inner.stopped.subscribe();
    let mut pause = FIRST_PAUSE;
    loop {
        let tenant = tokio::select! {
            biased;
            () = told(&mut stopped) => return,
            tenant = inner.dcl.touched().next() => tenant,
        };
        match inner.copy(tenant).await {
            Ok(position) => {
                pause = FIRST_PAUSE;
                inner.positions.send_modify(|positions| {
                    positions.insert(tenant, position);
                });
            }
            Err(error) => {
                tracing::warn!(%tenant, %error, "the unified tables could not be written, it is tried again");
                inner.dcl.touched().mark(tenant);
                tokio::select! {
                    biased;
                    () = told(&mut stopped) => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

impl Inner {
    /// Brings a tenant's rows up to its views; the position they are then at.
    async fn copy(&self, tenant: TenantId) -> Result<u64, ProjectionError> {
        let begin = format!("BEGIN; SET LOCAL idle_in_transaction_session_timeout = '{WRITER_IDLE}'");
        let mut transaction = self.pool.begin_with(AssertSqlSafe(begin)).await?;
        let known = checkpoint_lock(&mut transaction, tenant).await?;
        let position = known.position as u64;
        let (sender, mut pieces) = mpsc::channel(2);
        let (dcl, ontology) = (Arc::clone(&self.dcl), self.ontology.clone());
        let looking = tokio::task::spawn_blocking(move || look(&dcl, &ontology, tenant, &known, &sender));
        let mut writer = tables::Writer::new(&mut transaction, tenant);
        let mut reached = None;
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Start { generation, sequence, meaning, since } => {
                    writer.start(since.is_none()).await?;
                    reached = Some(Checkpoint { generation, position: sequence, meaning });
                }
                Piece::Rows(entity, columns) => writer.rows(&self.ontology.entities[entity], columns).await?,
                Piece::Gone(entity, columns) => writer.gone(&self.ontology.entities[entity], columns).await?,
            }
        }
        looking.await.map_err(|error| ProjectionError::Views(error.to_string()))??;
        // Without views, or with older ones than another node copied, there is nothing to do.
        let Some(reached) = reached else { return Ok(position) };
        writer.finish(&self.ontology.entities).await?;
        checkpoint_move(&mut transaction, tenant, &reached).await?;
        transaction.commit().await?;
        Ok(reached.position as u64)
    }
}

/// Blocking: what the tables lack, piece by piece.
fn look(
    dcl: &Dcl,
    ontology: &Ontology,
    tenant: TenantId,
    known: &Checkpoint,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), ProjectionError> {
    let Some(look) = dcl.look(tenant)? else { return Ok(()) };
    let (generation, sequence) = (look.generation as i64, look.sequence as i64);
    let same = known.generation == generation && known.meaning == look.meaning;
    if sequence < known.position || (same && sequence == known.position) {
        return Ok(());
    }
    let since = same.then_some(known.position as u64);
    let send = |piece| sender.blocking_send(piece).map_err(|_| ProjectionError::Stopped);
    send(Piece::Start { generation, sequence, meaning: look.meaning.clone(), since })?;
    for (index, entity) in ontology.entities.iter().enumerate() {
        look.rows(entity, since, |columns| send(Piece::Rows(index, columns)))?;
        if let Some(since) = since {
            look.gone(entity, since, |columns| send(Piece::Gone(index, columns)))?;
        }
    }
    Ok(())
}

/// Reads a tenant's checkpoint and keeps others from moving it until the transaction ends.
async fn checkpoint_lock(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
) -> Result<Checkpoint, ProjectionError> {
    sqlx::query(
        "INSERT INTO aos_unified.checkpoints (tenant, generation, position, meaning) VALUES ($1, 0, 0, '') \
         ON CONFLICT (tenant) DO NOTHING",
    )
    .bind(tenant.to_string())
    .execute(&mut **transaction)
    .await?;
    let row = sqlx::query(
        "SELECT generation, position, meaning FROM aos_unified.checkpoints WHERE tenant = $1 FOR UPDATE",
    )
    .bind(tenant.to_string())
    .fetch_one(&mut **transaction)
    .await?;
    Ok(Checkpoint { generation: row.try_get(0)?, position: row.try_get(1)?, meaning: row.try_get(2)? })
}

async fn checkpoint_move(
    transaction: &mut Transaction<'_, Postgres>,
    tenant: TenantId,
    to: &Checkpoint,
) -> Result<(), ProjectionError> {
    sqlx::query(
        "UPDATE aos_unified.checkpoints SET generation = $2, position = $3, meaning = $4 WHERE tenant = $1",
    )
    .bind(tenant.to_string())
    .bind(to.generation)
    .bind(to.position)
    .bind(&to.meaning)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}

/// The table of an entity, with its schema.
fn table_of(entity: &Entity) -> String {
    format!("aos_unified.{}", entity.plural)
}
