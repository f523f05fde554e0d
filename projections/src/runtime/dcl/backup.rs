//! Takes snapshots of the live generation's files in the background, one at a time, and of what
//! changed since at a graceful stop.

use super::{Connected, checkpoint_load};
use crate::{
    dcl::Dcl,
    error::ProjectionError,
    runtime::{projector::TenantMark, sql::Session},
    snapshots::{Manifest, Snapshots, Subject, blocking},
};
use autonomos_domain::ids::TenantId;
use parking_lot::Mutex;
use sqlx::{Row, SqliteConnection};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

/// How long a stop waits for uploads that were given up to be tidied up.
const SETTLE_IN: Duration = Duration::from_secs(5);

pub(super) struct Backup {
    snapshots: Arc<Snapshots>,
    dcl: Arc<Dcl>,
    cell: u16,
    generation: u64,
    control: Connected,
    /// Tenants that changed since their last snapshot.
    changed: Mutex<BTreeMap<TenantId, Changed>>,
    due: Notify,
    /// Snapshots are of what this generation began with; else it replaces what they are of.
    taken_over: AtomicBool,
    /// It is known which snapshots lack what the generation began with.
    looked: AtomicBool,
    /// One snapshot is taken at a time.
    taking: tokio::sync::Mutex<()>,
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone, Copy)]
struct Changed {
    commits: u64,
    since: Instant,
}

impl Backup {
    pub(super) fn new(
        snapshots: Arc<Snapshots>,
        dcl: Arc<Dcl>,
        cell: u16,
        generation: u64,
        control: Connected,
    ) -> Arc<Self> {
        Arc::new(Self {
            snapshots,
            dcl,
            cell,
            generation,
            control,
            changed: Mutex::default(),
            due: Notify::new(),
            taken_over: AtomicBool::new(false),
            looked: AtomicBool::new(false),
            taking: tokio::sync::Mutex::default(),
            stop: CancellationToken::new(),
            task: Mutex::default(),
        })
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn snapshots(&self) -> &Arc<Snapshots> {
        &self.snapshots
    }

    pub(super) fn taken_over(&self) {
        self.taken_over.store(true, Ordering::SeqCst);
    }

    pub(super) fn changed(&self, tenant: TenantId, commits: u64) {
        let mut changed = self.changed.lock();
        let entry = changed.entry(tenant).or_insert_with(|| Changed { commits: 0, since: Instant::now() });
        entry.commits += commits;
        if entry.commits >= self.snapshots.options().commits {
            self.due.notify_one();
        }
    }

    /// From now on the generation is live. Starting twice is the same.
    pub(super) fn start(self: &Arc<Self>) {
        let mut task = self.task.lock();
        if task.is_none() {
            let backup = Arc::clone(self);
            *task = Some(tokio::spawn(async move {
                backup.stop.run_until_cancelled(backup.run()).await;
            }));
        }
    }

    /// Ends what runs; then, if the generation `is_live`, takes snapshots of what changed.
    pub(super) async fn stop(&self, is_live: bool) {
        self.stop.cancel();
        let task = self.task.lock().take();
        let Some(task) = task else { return };
        if let Err(error) = task.await {
            tracing::error!(%error, "taking snapshots of the unified views ended badly");
        }
        if is_live {
            self.take_changed().await;
        }
        if tokio::time::timeout(SETTLE_IN, self.snapshots.settle()).await.is_err() {
            tracing::info!("uploads of snapshots are still on their way");
        }
    }

    /// Takes snapshots of what changed, as many as the time allows.
    pub(super) async fn take_changed(&self) {
        let time = self.snapshots.options().stop_time;
        let last = async {
            // It may have ended before the task came to it.
            self.look_once().await;
            let changed: Vec<TenantId> = self.changed.lock().keys().copied().collect();
            for tenant in &changed {
                self.take(*tenant).await;
            }
            if !changed.is_empty() {
                self.manifest().await;
            }
        };
        if tokio::time::timeout(time, last).await.is_err() {
            let left = self.changed.lock().len();
            tracing::warn!(left, "not all snapshots of the unified views were taken in time");
        }
    }

    async fn run(&self) {
        self.look_once().await;
        let mut taken = false;
        loop {
            let (tenant, next) = self.next();
            if let Some(tenant) = tenant {
                taken |= self.take(tenant).await;
                continue;
            }
            if std::mem::take(&mut taken) {
                self.manifest().await;
            }
            tokio::select! {
                () = self.due.notified() => {}
                () = tokio::time::sleep_until(next) => {}
            }
        }
    }

    async fn look_once(&self) {
        if self.looked.load(Ordering::SeqCst) {
            return;
        }
        match self.look().await {
            Ok(()) => self.looked.store(true, Ordering::SeqCst),
            Err(error) => {
                tracing::warn!(%error, "it is not known which snapshots of the unified views there are");
            }
        }
    }

    /// Notes the tenants whose files are newer than their snapshots, or other.
    async fn look(&self) -> Result<(), ProjectionError> {
        let found = self.snapshots.tenants().await?;
        let files = {
            let mut guard = self.control.lock().await;
            files(guard.as_mut().ok_or(ProjectionError::Stopped)?, self.cell).await?
        };
        for (tenant, sequence) in files {
            let newest = found.get(&tenant).and_then(|keys| keys.first()).map(|key| key.sequence);
            let is_newer = newest.is_none_or(|newest| sequence.is_some_and(|sequence| sequence > newest));
            if is_newer || !self.taken_over.load(Ordering::SeqCst) {
                self.changed(tenant, 0);
            }
        }
        Ok(())
    }

    /// A tenant whose snapshot is due, and when to look again.
    fn next(&self) -> (Option<TenantId>, Instant) {
        let options = self.snapshots.options();
        let now = Instant::now();
        let changed = self.changed.lock();
        let is_due = |entry: &Changed| entry.commits >= options.commits || entry.since + options.age <= now;
        let due = changed.iter().find(|(_, entry)| is_due(entry)).map(|(tenant, _)| *tenant);
        let next = changed.values().map(|entry| entry.since).min().unwrap_or(now) + options.age;
        (due, next)
    }

    /// Takes a tenant's snapshot; one that fails is tried again when as much has changed again.
    async fn take(&self, tenant: TenantId) -> bool {
        let _one = self.taking.lock().await;
        let before = self.changed.lock().get(&tenant).map_or(0, |entry| entry.commits);
        let taken = self.copy(tenant).await;
        let mut changed = self.changed.lock();
        if let Err(error) = &taken {
            tracing::warn!(%tenant, %error, "a snapshot of the unified views could not be taken");
            metrics::counter!("aos_snapshot_failures_total").increment(1);
        }
        if let Some(entry) = changed.get_mut(&tenant) {
            entry.commits -= before.min(entry.commits);
            entry.since = Instant::now();
            if taken.is_ok() && entry.commits == 0 {
                changed.remove(&tenant);
            }
        }
        taken.is_ok()
    }

    async fn copy(&self, tenant: TenantId) -> Result<(), ProjectionError> {
        let (dcl, generation) = (Arc::clone(&self.dcl), self.generation);
        let file = self.snapshots.temporary();
        let (file, facts) = blocking(move || {
            let facts = dcl.copy(tenant, generation, file.path())?;
            Ok((file, facts))
        })
        .await?;
        if facts.sequence > 0 {
            self.snapshots.put(Subject::Tenant(tenant), facts.sequence, file.path()).await?;
            metrics::counter!("aos_snapshots_taken_total").increment(1);
        }
        Ok(())
    }

    async fn manifest(&self) {
        if let Err(error) = self.manifest_put().await {
            tracing::warn!(%error, "the manifest of snapshots could not be written");
        }
    }

    async fn manifest_put(&self) -> Result<(), ProjectionError> {
        match self.manifest_read().await? {
            Some(manifest) => self.snapshots.manifest_put(self.cell, &manifest).await,
            None => Ok(()),
        }
    }

    /// The cell as the generation has it at this moment.
    async fn manifest_read(&self) -> Result<Option<Manifest>, ProjectionError> {
        let mut guard = self.control.lock().await;
        let connection = guard.as_mut().ok_or(ProjectionError::Stopped)?;
        let checkpoint = checkpoint_load(&mut Session::Sqlite(connection), self.cell).await?;
        let Some(hash) = checkpoint.hash else { return Ok(None) };
        let mut tenants = files(connection, self.cell).await?;
        for (tenant, mark) in &checkpoint.tenants {
            if !matches!(mark, TenantMark::Ahead { .. }) {
                tenants.insert(*tenant, None);
            }
        }
        Ok(Some(Manifest { sequence: checkpoint.hash_sequence, hash, tenants }))
    }
}

/// Tenants of a cell that have files, with the last commit in each.
async fn files(
    control: &mut SqliteConnection,
    cell: u16,
) -> Result<BTreeMap<TenantId, Option<u64>>, ProjectionError> {
    let select = "SELECT f.tenant, p.sequence FROM files f LEFT JOIN positions p ON p.tenant = f.tenant \
                  WHERE f.cell = $1";
    let mut files = BTreeMap::new();
    for row in sqlx::query(select).bind(i64::from(cell)).fetch_all(control).await? {
        let Ok(tenant) = row.try_get::<String, _>(0)?.parse::<TenantId>() else { continue };
        files.insert(tenant, row.try_get::<Option<i64>, _>(1)?.map(|sequence| sequence as u64));
    }
    Ok(files)
}
