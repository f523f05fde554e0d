//! The unified views of a cell as a projector. Each tenant's DuckDB file keeps its own checkpoint with
//! its rows; the cell's mark, the tenants apart from it and the live generation are kept in a small
//! SQLite file: beside them for the first cell, below `cell<number>` for another. A crash between the two delivers commits again, and the file leaves them out.

mod backup;
mod take_over;

use super::{
    checkpoint::{checkpoint_load, checkpoint_swap},
    generations::failed,
    opened::{Event, Opened, poison_or_store},
    projector::{ApplyError, CellCheckpoint, Projector, Store, Tables, TenantMark, Turn},
    sql::{Column, Kind, Session, Table},
    sqlite::SqliteProjector,
};
use crate::{
    dcl::{
        BatchBody, Dcl, FeedFact, Instance, OpenedCommit, OpenedEvents, TenantDcl, tables::PROJECTOR_VERSION,
    },
    error::ProjectionError,
    snapshots::Snapshots,
};
use async_trait::async_trait;
use autonomos_domain::{aggregates::feed::FeedEvent, envelope::AggregateType, ids::TenantId};
use autonomos_log::{
    events::{EventError, open_body},
    port::{EventLog, StoredCommit, cell_of},
    seal::KeyRing,
};
use backup::Backup;
use sqlx::{Connection, SqliteConnection};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::Mutex;

struct Control;

#[async_trait]
impl Tables for Control {
    fn name(&self) -> &'static str {
        super::DCL
    }

    fn version(&self) -> u32 {
        PROJECTOR_VERSION
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        vec![
            AggregateType::Connection,
            AggregateType::Feed,
            AggregateType::Mapping,
            AggregateType::Ontology,
            AggregateType::UnifiedView,
            AggregateType::Identity,
        ]
    }

    fn definitions(&self) -> Vec<Table> {
        let table = |name, columns| Table { name, columns, key: vec!["tenant"], indexes: vec![] };
        let tenant = || Column::new("tenant", Kind::Word);
        vec![
            table("files", vec![tenant(), Column::new("cell", Kind::Integer)]),
            // The last commit in each tenant's file. A generation made before it was kept has none.
            table("positions", vec![tenant(), Column::new("sequence", Kind::Integer)]),
        ]
    }

    async fn apply(&self, _: &mut Session<'_>, _: &[Opened]) -> Result<(), ApplyError> {
        Ok(())
    }
}

pub(crate) struct DclProjector {
    control: SqliteProjector,
    dcl: Arc<Dcl>,
    /// Where all cells' tenants have theirs.
    folder: PathBuf,
    cell: u16,
    /// How many there are.
    cells: u16,
    ring: Arc<dyn KeyRing>,
    live: Arc<AtomicU64>,
    snapshots: Option<Arc<Snapshots>>,
    /// What takes snapshots of the generation that was opened last.
    backup: parking_lot::Mutex<Weak<Backup>>,
}

impl DclProjector {
    pub(crate) fn new(
        folder: PathBuf,
        (cell, cells): (u16, u16),
        dcl: Arc<Dcl>,
        ring: Arc<dyn KeyRing>,
        snapshots: Option<Arc<Snapshots>>,
    ) -> Self {
        let place = super::cell_folder(&folder, cell);
        let control = SqliteProjector::new(place, "control", Arc::new(Control), Arc::clone(&ring));
        Self {
            control,
            dcl,
            folder,
            cell,
            cells,
            ring,
            live: Arc::default(),
            snapshots,
            backup: parking_lot::Mutex::default(),
        }
    }

    /// Tenants of the cell that have files, each with the generations of them.
    fn files(&self) -> Result<Vec<(TenantId, Vec<u64>)>, ProjectionError> {
        let mut found = Vec::new();
        if !self.folder.exists() {
            return Ok(found);
        }
        for entry in std::fs::read_dir(&self.folder).map_err(|error| failed(&self.folder, &error))?.flatten()
        {
            let Ok(tenant) = entry.file_name().to_string_lossy().parse::<TenantId>() else { continue };
            if cell_of(tenant, self.cells) != self.cell {
                continue;
            }
            let folder = entry.path();
            let names = std::fs::read_dir(&folder).map_err(|error| failed(&folder, &error))?.flatten();
            let generations = names.filter_map(|file| {
                file.file_name().to_string_lossy().strip_suffix(".duckdb").and_then(|text| text.parse().ok())
            });
            found.push((tenant, generations.collect()));
        }
        Ok(found)
    }
}

#[async_trait]
impl Projector for DclProjector {
    fn name(&self) -> &'static str {
        self.control.name()
    }

    fn version(&self) -> u32 {
        self.control.version()
    }

    fn aggregate_types(&self) -> Vec<AggregateType> {
        self.control.aggregate_types()
    }

    async fn live(&self) -> Result<Option<u64>, ProjectionError> {
        self.control.live().await
    }

    async fn next_generation(&self) -> Result<u64, ProjectionError> {
        let files = self.files()?;
        let newest = files.iter().flat_map(|(_, generations)| generations).max().copied().unwrap_or(0);
        Ok(self.control.next_generation().await?.max(newest + 1))
    }

    async fn open(&self, generation: u64) -> Result<Arc<dyn Store>, ProjectionError> {
        let control = Arc::new(Mutex::new(Some(self.control.connect(generation).await?)));
        let backup = self.snapshots.as_ref().map(|snapshots| {
            let (snapshots, dcl) = (Arc::clone(snapshots), Arc::clone(&self.dcl));
            Backup::new(snapshots, dcl, self.cell, generation, Arc::clone(&control))
        });
        *self.backup.lock() = backup.as_ref().map(Arc::downgrade).unwrap_or_default();
        if let Some(backup) = &backup
            && self.live.load(Ordering::SeqCst) == generation
        {
            backup.start();
        }
        Ok(Arc::new(DclStore {
            control,
            generation,
            backup,
            dcl: Arc::clone(&self.dcl),
            folder: self.folder.clone(),
            ring: Arc::clone(&self.ring),
            live: Arc::clone(&self.live),
        }))
    }

    async fn activate(&self, generation: u64) -> Result<(), ProjectionError> {
        self.live.store(generation, Ordering::SeqCst);
        self.control.activate(generation).await?;
        for (tenant, generations) in self.files()? {
            if generations.contains(&generation) && self.dcl.generation(tenant)? != Some(generation) {
                self.dcl.publish(tenant, generation)?;
            }
            // Also at a start: a copy may be behind.
            self.dcl.touched().mark(tenant);
        }
        let backup = self.backup.lock().upgrade();
        if let Some(backup) = backup
            && backup.generation() == generation
        {
            backup.start();
        }
        Ok(())
    }

    async fn keep_only(&self, generation: u64) -> Result<(), ProjectionError> {
        for (tenant, _) in self.files()? {
            self.dcl.sweep(tenant, generation)?;
        }
        self.control.keep_only(generation).await
    }

    async fn discard(&self, generation: u64) -> Result<(), ProjectionError> {
        for (tenant, _) in self.files()? {
            self.dcl.discard(tenant, generation)?;
        }
        self.control.discard(generation).await
    }
}

type Connected = Arc<Mutex<Option<SqliteConnection>>>;

struct DclStore {
    control: Connected,
    generation: u64,
    backup: Option<Arc<Backup>>,
    dcl: Arc<Dcl>,
    folder: PathBuf,
    ring: Arc<dyn KeyRing>,
    /// The generation that readers see.
    live: Arc<AtomicU64>,
}

#[async_trait]
impl Store for DclStore {
    async fn take_over(&self, log: &dyn EventLog, cell: u16) -> Result<(), ProjectionError> {
        let Some(backup) = &self.backup else { return Ok(()) };
        backup.taken_over();
        take_over::take_over(self, backup, log, cell).await
    }

    async fn checkpoint(&self, cell: u16) -> Result<CellCheckpoint, ProjectionError> {
        let mut guard = self.control.lock().await;
        let connection = guard.as_mut().ok_or(ProjectionError::Stopped)?;
        let mut checkpoint = checkpoint_load(&mut Session::Sqlite(connection), cell).await?;
        for tenant in files(connection, cell).await? {
            if !self.file(tenant).exists() {
                tracing::warn!(%tenant, "the tenant's views are gone: they are built again");
                checkpoint.tenants.insert(tenant, TenantMark::Behind { sequence: 0 });
            }
        }
        Ok(checkpoint)
    }

    async fn apply(
        &self,
        cell: u16,
        turns: &[Turn],
        from: &CellCheckpoint,
        to: &CellCheckpoint,
    ) -> Result<(), ApplyError> {
        let mut guard = self.control.lock().await;
        let connection = guard.as_mut().ok_or(ProjectionError::Stopped)?;
        for turn in turns {
            let (dcl, ring, turn) = (Arc::clone(&self.dcl), Arc::clone(&self.ring), turn.clone());
            let (generation, live) = (self.generation, Arc::clone(&self.live));
            tokio::task::spawn_blocking(move || apply_turn(&dcl, &*ring, &turn, generation, &live))
                .await
                .map_err(|error| ApplyError::Store(ProjectionError::Views(error.to_string())))??;
        }
        let mut transaction = connection.begin().await?;
        checkpoint_swap(&mut Session::Sqlite(&mut transaction), super::DCL, cell, from, to).await?;
        for turn in turns {
            file_add(&mut transaction, turn.tenant, cell).await?;
            if let Some(last) = turn.commits.last() {
                position_set(&mut transaction, turn.tenant, last.position.sequence).await?;
            }
        }
        transaction.commit().await?;
        if self.live.load(Ordering::SeqCst) == self.generation {
            for turn in turns {
                self.dcl.touched().mark(turn.tenant);
                if let Some(backup) = &self.backup {
                    backup.changed(turn.tenant, turn.commits.len() as u64);
                }
            }
        }
        Ok(())
    }

    async fn hand_over(&self) {
        if let Some(backup) = &self.backup {
            backup.take_changed().await;
        }
    }

    async fn close(&self) {
        if let Some(backup) = &self.backup {
            backup.stop(self.live.load(Ordering::SeqCst) == self.generation).await;
        }
        if let Some(connection) = self.control.lock().await.take()
            && let Err(error) = connection.close().await
        {
            tracing::warn!(%error, "closing the views' checkpoint failed");
        }
    }
}

impl DclStore {
    fn file(&self, tenant: TenantId) -> PathBuf {
        self.folder.join(tenant.to_string()).join(format!("{}.duckdb", self.generation))
    }

    /// Tenants of a cell that have files.
    async fn kept(&self, cell: u16) -> Result<BTreeSet<TenantId>, ProjectionError> {
        let mut guard = self.control.lock().await;
        files(guard.as_mut().ok_or(ProjectionError::Stopped)?, cell).await
    }
}

async fn files(control: &mut SqliteConnection, cell: u16) -> Result<BTreeSet<TenantId>, ProjectionError> {
    let rows = sqlx::query_scalar::<_, String>("SELECT tenant FROM files WHERE cell = $1")
        .bind(i64::from(cell))
        .fetch_all(control)
        .await?;
    Ok(rows.iter().filter_map(|tenant| tenant.parse().ok()).collect())
}

/// Says that a tenant has a file.
async fn file_add(control: &mut SqliteConnection, tenant: TenantId, cell: u16) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO files (tenant, cell) VALUES ($1, $2) ON CONFLICT (tenant) DO NOTHING")
        .bind(tenant.to_string())
        .bind(i64::from(cell))
        .execute(control)
        .await
        .map(drop)
}

/// Says what the last commit in a tenant's file is.
async fn position_set(
    control: &mut SqliteConnection,
    tenant: TenantId,
    sequence: u64,
) -> Result<(), sqlx::Error> {
    let set = "INSERT INTO positions (tenant, sequence) VALUES ($1, $2) \
               ON CONFLICT (tenant) DO UPDATE SET sequence = excluded.sequence";
    sqlx::query(set).bind(tenant.to_string()).bind(sequence as i64).execute(control).await.map(drop)
}

/// Blocking: applies what the tenant's file does not have yet.
fn apply_turn(
    dcl: &Dcl,
    ring: &dyn KeyRing,
    turn: &Turn,
    generation: u64,
    live: &AtomicU64,
) -> Result<(), ApplyError> {
    let opened =
        |commit: &Arc<StoredCommit>| open(ring, commit).map_err(|error| poison_or_store(commit, &error));
    let instance = dcl.instance(turn.tenant, generation)?;
    // One at a time, so that only one batch is there in the clear.
    let applied = in_file(&instance, turn, |writer, waiting| {
        let applied = writer.apply_each(waiting.iter().copied().map(opened));
        if let Err(ApplyError::Store(error)) = &applied {
            instance.note(error);
        }
        Ok((applied, writer.is_cramped()))
    })?;
    drop(instance);
    if let (Err(error), cramped) = applied {
        if !matches!(&error, ApplyError::Store(error) if !can_pass(error, cramped)) {
            return Err(error);
        }
        // One by one, to learn which it is; what goes well is kept, and left out the next time.
        let instance = dcl.instance(turn.tenant, generation)?;
        in_file(&instance, turn, |writer, waiting| {
            for commit in waiting {
                let Err(error) = instance.noted(writer.apply(&[opened(commit)?])) else { continue };
                if can_pass(&error, writer.is_cramped()) {
                    return Err(error.into());
                }
                return Err(ApplyError::Poison {
                    tenant: turn.tenant,
                    sequence: commit.position.sequence,
                    code: error.code().to_owned(),
                    message: error.to_string(),
                });
            }
            Ok(())
        })?;
    }
    if live.load(Ordering::SeqCst) == generation && dcl.generation(turn.tenant)? != Some(generation) {
        dcl.publish(turn.tenant, generation)?;
    }
    Ok(())
}

/// Lets the tenant's writer work on the commits that are not in its file.
fn in_file<T>(
    instance: &Instance,
    turn: &Turn,
    work: impl FnOnce(&mut TenantDcl, &[&Arc<StoredCommit>]) -> Result<T, ApplyError>,
) -> Result<T, ApplyError> {
    let mut writer = instance.writer();
    let (applied_to, _) = instance.noted(writer.checkpoint())?;
    let waiting: Vec<_> =
        turn.commits.iter().filter(|commit| commit.position.sequence > applied_to).collect();
    work(&mut writer, &waiting)
}

/// Whether to try again is worth it. One batch alone that memory does not hold in the smallest run
/// will not fit the next time.
fn can_pass(error: &ProjectionError, cramped: bool) -> bool {
    is_passing(error) && !(error.is_out_of_memory() && cramped)
}

/// Whether another try can help: the machine's trouble, not the commit's.
fn is_passing(error: &ProjectionError) -> bool {
    let text = error.to_string();
    error.is_out_of_memory()
        || ["IO Error", "No space left", "Could not set lock"].iter().any(|sign| text.contains(sign))
}

fn open(ring: &dyn KeyRing, commit: &Arc<StoredCommit>) -> Result<OpenedCommit, EventError> {
    let opened = Opened::open(ring, Arc::clone(commit))?;
    let mut events = OpenedEvents::Erased;
    for (index, event) in opened.events.into_iter().enumerate() {
        match event {
            Event::Feed(event) => {
                let body = match &event {
                    FeedEvent::RecordsIngested { .. } => match open_body(ring, commit, index) {
                        Ok(bytes) => BatchBody::Ipc(bytes),
                        Err(error) if error.is_shredded() => BatchBody::None,
                        Err(error) => return Err(error),
                    },
                    _ => BatchBody::None,
                };
                let fact = FeedFact { event, body };
                if let OpenedEvents::Feed(facts) = &mut events {
                    facts.push(fact);
                } else {
                    events = OpenedEvents::Feed(vec![fact]);
                }
            }
            Event::Mapping(event) => match &mut events {
                OpenedEvents::Mapping(known) => known.push(event),
                _ => events = OpenedEvents::Mapping(vec![event]),
            },
            Event::Connection(event) => match &mut events {
                OpenedEvents::Connection(known) => known.push(event),
                _ => events = OpenedEvents::Connection(vec![event]),
            },
            Event::Identity(event) => match &mut events {
                OpenedEvents::Identity(known) => known.push(event),
                _ => events = OpenedEvents::Identity(vec![event]),
            },
            Event::UnifiedView(event) => match &mut events {
                OpenedEvents::UnifiedView(known) => known.push(event),
                _ => events = OpenedEvents::UnifiedView(vec![event]),
            },
            Event::Ontology(event) => match &mut events {
                OpenedEvents::Ontology(known) => known.push(event),
                _ => events = OpenedEvents::Ontology(vec![event]),
            },
            _ => {}
        }
    }
    Ok(OpenedCommit {
        position: commit.position,
        recorded_at: commit.header.recorded_at,
        aggregate_id: commit.header.key.aggregate_id,
        running_hash: commit.running_hash,
        events,
    })
}
