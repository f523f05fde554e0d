//! The log in one SQLite file: the embedded default. One thread writes and commits in groups, so
//! that one fsync serves everyone who waits; readers have connections of their own.

mod archive;
mod backup;
mod check;
mod reader;
mod schema;
mod writer;

pub use backup::{backup, restore};

use crate::{
    control::ControlStore,
    error::{AppendError, LogError},
    integrity::{self, Broken, VerifyReport},
    live,
    port::{Appended, Delivery, EventLog, Filter, Head, NewCommit, Page, ReadLimit, StoredCommit},
    prepare::prepare,
};
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{AggregateKey, Hash},
    ids::LogId,
};
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use parking_lot::{Mutex, RwLock};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{mpsc, oneshot, watch};

/// The only cell of an embedded log.
const CELL: u16 = 0;
/// Largest commit, in stored bytes.
const COMMIT_LIMIT: usize = 8 << 20;
/// File name of the log within its folder.
const FILE: &str = "events.sqlite";

/// How to open the log.
#[derive(Debug, Clone)]
pub struct Options {
    /// Folder of `events.sqlite` and `archive/`; made if it is missing.
    pub folder: PathBuf,
    /// Must be what the log was made with; SQLite supports 1.
    pub cells: u16,
    /// Connections that read at the same time, at most.
    pub readers: usize,
    /// Appends that may wait for the writer; more wait in their callers.
    pub queue: usize,
    /// Upper bound of the file in pages, for tests of a full disk.
    pub max_page_count: Option<u32>,
    /// A larger file is checked in part before the first append, and the older part beside it.
    pub start_check_bytes: u64,
}

impl Options {
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            cells: 1,
            readers: 4,
            queue: 4096,
            max_page_count: None,
            start_check_bytes: 512 << 20,
        }
    }
}

/// What writer, readers and subscriptions share.
struct Shared {
    log_id: LogId,
    cells: u16,
    readers: reader::Readers,
    /// The durable head.
    head: watch::Receiver<Head>,
    tail: live::Tail,
    stopped: RwLock<Option<String>>,
    is_stopped: AtomicBool,
    has_archived: AtomicBool,
    archiving: tokio::sync::Mutex<()>,
    damage: Mutex<Vec<Broken>>,
    closing: AtomicBool,
}

impl Shared {
    fn stop(&self, reason: String) {
        let mut stopped = self.stopped.write();
        if stopped.is_none() {
            tracing::error!(%reason, "writing to the log is stopped");
            *stopped = Some(reason);
        }
        self.is_stopped.store(true, Ordering::Release);
    }

    fn stopped(&self) -> Option<String> {
        self.stopped.read().clone()
    }

    /// Takes what a check found: writers stop, readers go on.
    fn damage_add(&self, broken: Vec<Broken>) {
        if broken.is_empty() {
            return;
        }
        for finding in &broken {
            tracing::error!(kind = ?finding.kind, %finding, "the log is damaged");
        }
        self.stop(integrity::summary(&broken));
        self.damage.lock().extend(broken);
    }

    fn check_cell(&self, cell: u16) -> Result<(), LogError> {
        if cell < self.cells {
            return Ok(());
        }
        Err(LogError::Store(format!("there is no cell `{cell}`")))
    }
}

#[async_trait]
impl live::Source for Arc<Shared> {
    fn tail(&self) -> &live::Tail {
        &self.tail
    }

    async fn read(&self, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError> {
        Shared::read(self, after, filter.clone(), limit).await
    }

    async fn reaches(&self, sequence: u64, head: u64) -> Result<(), LogError> {
        // Nobody else writes the file.
        Err(live::beyond(sequence, head))
    }
}

/// The SQLite adapter of [`EventLog`]. Dropping it writes what was handed in and closes the file.
pub struct SqliteLog {
    shared: Arc<Shared>,
    /// `None` only while being dropped.
    sender: Option<mpsc::Sender<writer::Request>>,
    writer: Option<std::thread::JoinHandle<()>>,
    /// Checks the older part of a large log.
    checker: Option<std::thread::JoinHandle<()>>,
    control: Arc<ControlStore>,
    folder: PathBuf,
    /// Keeps a second process out.
    _lock: std::fs::File,
}

impl SqliteLog {
    /// Opens or makes the log. Blocking.
    pub fn open(options: Options, control: Arc<ControlStore>) -> Result<Arc<Self>, LogError> {
        let Options { folder, cells, readers, queue, max_page_count, start_check_bytes } = options;
        let store = |error: std::io::Error| LogError::Store(error.to_string());
        std::fs::create_dir_all(folder.join("archive")).map_err(store)?;
        let lock = std::fs::File::create(folder.join("lock")).map_err(store)?;
        if lock.try_lock().is_err() {
            return Err(LogError::InUse { folder: folder.display().to_string() });
        }
        let path = folder.join(FILE);
        let witness = check::Witness::of(&control)?;
        let (connection, log_id) = schema::open_writer(&path, cells, max_page_count)?;
        let (head_sender, head_receiver) = watch::channel(Head { sequence: 0, running_hash: [0; 32] });
        let shared = Arc::new(Shared {
            log_id,
            cells,
            readers: reader::Readers::new(&path, &folder.join("archive"), readers),
            head: head_receiver,
            tail: live::Tail::default(),
            stopped: RwLock::new(None),
            is_stopped: AtomicBool::new(false),
            has_archived: AtomicBool::new(false),
            archiving: tokio::sync::Mutex::new(()),
            damage: Mutex::new(Vec::new()),
            closing: AtomicBool::new(false),
        });
        let (sender, receiver) = mpsc::channel(queue);
        let writer =
            writer::Writer::start(connection, Arc::clone(&shared), head_sender, Arc::clone(&control))?;
        let head = shared.head.borrow().sequence;
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        // Of a large file the newest half of what may be looked at: loss is most likely there.
        let share =
            if bytes > start_check_bytes { start_check_bytes as f64 / 2.0 / bytes as f64 } else { 1.0 };
        let from = head - ((head as f64 * share) as u64).min(head);
        let report = check::start_check(&folder, log_id, from, head, &witness)?;
        if report.ok && witness.is_new() && head > 0 {
            tracing::warn!(
                head,
                "the control store has not seen this log: loss before this start can't be told"
            );
            if let Err(error) = check::anchors_backfill(&folder, head, &control) {
                tracing::warn!(%error, "the log's past could not be anchored");
            }
        }
        shared.damage_add(report.broken);
        let checker = (from > 0).then(|| {
            let (shared, folder) = (Arc::clone(&shared), folder.clone());
            std::thread::Builder::new()
                .name("log-check".to_owned())
                .spawn(move || check::older_check(&shared, &folder, from, &witness))
                .map_err(store)
        });
        let checker = checker.transpose()?;
        let writer = std::thread::Builder::new()
            .name("log-writer".to_owned())
            .spawn(move || writer.run(receiver))
            .map_err(store)?;
        Ok(Arc::new(Self {
            shared,
            sender: Some(sender),
            writer: Some(writer),
            checker,
            control,
            folder,
            _lock: lock,
        }))
    }

    /// The folder the log lives in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Checks everything: pages, indexes, every commit, chain, anchor and archived frame. Writers are
    /// stopped if something is found.
    pub async fn verify(&self) -> Result<VerifyReport, LogError> {
        let (folder, control) = (self.folder.clone(), Arc::clone(&self.control));
        let check = tokio::task::spawn_blocking(move || check::full_check(&folder, &control));
        let report = check.await.map_err(|_| LogError::Closed)?;
        self.shared.damage_add(report.broken.clone());
        Ok(report)
    }

    /// Compares the log with what someone else keeps of it, such as a projector's checkpoint: at
    /// `sequence` the running hash must be `running_hash`. Writers are stopped if it is not.
    pub async fn check_against(
        &self,
        cell: u16,
        sequence: u64,
        running_hash: Hash,
        who: &str,
    ) -> Result<(), LogError> {
        self.shared.check_cell(cell)?;
        let head = self.shared.head.borrow().sequence;
        let found = self.shared.running_hash(sequence).await?;
        let seen = Head { sequence, running_hash };
        let Some(broken) = integrity::witness_check(cell, head, found, seen, who) else {
            return Ok(());
        };
        let error = LogError::Damaged {
            place: format!("sequences {} to {}", broken.first_sequence, broken.last_sequence),
            reason: broken.reason.clone(),
        };
        self.shared.damage_add(vec![broken]);
        Err(error)
    }

    async fn send(&self, request: writer::Request) -> Result<(), LogError> {
        let sender = self.sender.as_ref().ok_or(LogError::Closed)?;
        sender.send(request).await.map_err(|_| LogError::Closed)
    }
}

/// Checks a log folder without opening it for writing, also while another process has it open.
/// Blocking.
pub fn verify_folder(folder: &Path, control: &ControlStore) -> VerifyReport {
    check::full_check(folder, control)
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has answered nobody; there is nobody left to tell.
            let _ = writer.join();
        }
        self.shared.closing.store(true, Ordering::Release);
        if let Some(checker) = self.checker.take() {
            let _ = checker.join();
        }
    }
}

#[async_trait]
impl EventLog for SqliteLog {
    fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    fn cells(&self) -> u16 {
        self.shared.cells
    }

    async fn append(&self, commit: NewCommit) -> Result<Appended, AppendError> {
        let (stored, prev_hash) = prepare(commit, CELL, COMMIT_LIMIT)?;
        let (reply, answer) = oneshot::channel();
        self.send(writer::Request::Append(writer::Append {
            commit: Arc::new(stored),
            prev_hash,
            conflict: None,
            reply,
        }))
        .await?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    async fn load(&self, key: &AggregateKey, after_version: u64) -> Result<Vec<StoredCommit>, LogError> {
        self.shared.load(*key, after_version).await
    }

    async fn load_last(&self, key: &AggregateKey) -> Result<Option<StoredCommit>, LogError> {
        self.shared.load_last(*key).await
    }

    async fn read(&self, cell: u16, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError> {
        self.shared.check_cell(cell)?;
        self.shared.read(after, filter.clone(), limit).await
    }

    async fn head(&self, cell: u16) -> Result<Head, LogError> {
        self.shared.check_cell(cell)?;
        Ok(*self.shared.head.borrow())
    }

    async fn running_hash(&self, cell: u16, sequence: u64) -> Result<Option<Hash>, LogError> {
        self.shared.check_cell(cell)?;
        self.shared.running_hash(sequence).await
    }

    async fn sequence_at(&self, cell: u16, time: DateTime<Utc>) -> Result<u64, LogError> {
        self.shared.check_cell(cell)?;
        self.shared.sequence_at(time).await
    }

    fn subscribe(
        &self,
        cell: u16,
        after: u64,
        filter: Filter,
    ) -> BoxStream<'static, Result<Delivery, LogError>> {
        if let Err(error) = self.shared.check_cell(cell) {
            return Box::pin(futures::stream::once(async { Err(error) }));
        }
        live::subscribe(Arc::clone(&self.shared), self.shared.head.clone(), after, filter)
    }

    async fn archive(&self, key: &AggregateKey, keep_last: bool) -> Result<u64, LogError> {
        let sender = self.sender.as_ref().ok_or(LogError::Closed)?;
        archive::archive(&self.shared, sender, *key, keep_last).await
    }

    fn damage(&self) -> Vec<Broken> {
        self.shared.damage.lock().clone()
    }

    fn stopped(&self, _cell: u16) -> Option<String> {
        self.shared.stopped()
    }

    fn stop_writers(&self, _cell: u16, reason: String) {
        self.shared.stop(reason);
    }
}
