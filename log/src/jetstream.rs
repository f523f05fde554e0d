//! The log on NATS JetStream: for installations of more than one node. A cell is a stream, a commit
//! is one message on its aggregate's own subject, and the server refuses a message that does not
//! expect the subject's last one. Each node follows each cell into an index of its own, which knows
//! the running hash and sees loss; the bytes stay in the stream.

mod archive;
mod check;
mod follower;
mod index;
mod reader;
mod replay;
mod setup;
mod wire;
mod writer;

use crate::{
    control::ControlStore,
    error::{AppendError, LogError},
    integrity::{self, Broken, VerifyReport},
    live,
    port::{Appended, Delivery, EventLog, Filter, Head, NewCommit, Page, ReadLimit, StoredCommit, cell_of},
    prepare::prepare,
};
use async_nats::{ConnectOptions, Event, connection::State};
use async_trait::async_trait;
use autonomos_domain::{
    envelope::{AggregateKey, AggregateType, Hash},
    ids::{LogId, TenantId},
};
use chrono::{DateTime, Utc};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Largest commit, in stored bytes, whatever the server allows.
const COMMIT_LIMIT: usize = 8 << 20;
/// How long a reader waits for this node to have indexed what was acknowledged.
const INDEX_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the server is asked whether it is there. One that vanished without a word counts as gone
/// after three times as long, and another one is tried.
const PING: Duration = Duration::from_secs(2);

/// Who this is, to the server.
#[derive(Debug, Clone, Default)]
pub enum Credentials {
    #[default]
    None,
    User {
        user: String,
        password: String,
    },
    Token(String),
}

/// How to open the log.
#[derive(Debug, Clone)]
pub struct Options {
    /// `nats://host:port`, one or more separated by commas.
    pub servers: String,
    pub credentials: Credentials,
    /// Begins the names of the log's streams.
    pub name: String,
    /// Must be what the log was made with.
    pub cells: u16,
    /// Copies of each stream: 1 on one server, 3 on three.
    pub replicas: usize,
    /// This node's indexes, and a lock that keeps a second process out; made if it is missing.
    pub folder: PathBuf,
    /// Archived commits. Every node must see the same folder.
    pub archive: PathBuf,
    /// Monitoring addresses (`http://host:8222`) of the servers: each is checked for
    /// `sync_interval: always`. Empty: nothing is checked.
    pub monitoring: Vec<String>,
    /// Connections to a cell's index that read at the same time, at most.
    pub readers: usize,
    /// Appends that may wait for the writer of a cell; more wait in their callers.
    pub queue: usize,
    /// How long to wait for servers that can't be reached yet.
    pub start_timeout: Duration,
    /// How long an append without an answer is tried again.
    pub append_timeout: Duration,
    /// A larger cell is checked in part before the first append, and the older part beside it.
    pub start_check_bytes: u64,
}

impl Options {
    pub fn new(servers: impl Into<String>, folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            servers: servers.into(),
            credentials: Credentials::None,
            name: "aos".to_owned(),
            cells: 1,
            replicas: 1,
            archive: folder.join("archive"),
            folder,
            monitoring: Vec::new(),
            readers: 4,
            queue: 4096,
            start_timeout: Duration::from_secs(30),
            append_timeout: Duration::from_secs(30),
            start_check_bytes: 512 << 20,
        }
    }
}

/// One cell, as writer, follower and readers share it.
struct Cell {
    number: u16,
    stream: String,
    index: Arc<index::Index>,
    /// As far as this node has indexed it.
    head: watch::Receiver<Head>,
    /// The last commits; kept always, loads are served from it too.
    tail: live::Tail,
    stopped: watch::Sender<Option<String>>,
    damage: Mutex<Vec<Broken>>,
    /// Set when nothing more is indexed before an operator has looked.
    halted: watch::Sender<bool>,
    /// The last sequence this node knows of, indexed or not.
    seen: AtomicU64,
    /// Following broke off, and has not caught up since.
    failing: AtomicBool,
}

impl Cell {
    fn subject(&self, key: &AggregateKey) -> String {
        format!("ev.{}.{}.{}.{}", self.number, key.tenant, key.aggregate_type, key.aggregate_id)
    }

    fn stop(&self, reason: String) {
        self.stopped.send_if_modified(|stopped| {
            if stopped.is_some() {
                return false;
            }
            tracing::error!(cell = self.number, %reason, "writing to the log is stopped");
            *stopped = Some(reason);
            true
        });
    }

    fn is_stopped(&self) -> bool {
        self.stopped.borrow().is_some()
    }

    /// Takes what a check found: writers stop, readers go on.
    fn damage_add(&self, broken: Vec<Broken>) {
        if broken.is_empty() {
            return;
        }
        let mut damage = self.damage.lock();
        let new: Vec<Broken> = broken.into_iter().filter(|finding| !damage.contains(finding)).collect();
        for finding in &new {
            tracing::error!(kind = ?finding.kind, %finding, "the log is damaged");
        }
        self.stop(integrity::summary(&new));
        damage.extend(new);
    }

    fn is_halted(&self) -> bool {
        *self.halted.borrow()
    }

    fn seen(&self, sequence: u64) {
        self.seen.fetch_max(sequence, Ordering::AcqRel);
    }

    /// Waits until this node has indexed a sequence. A cell that is not followed any more may never
    /// have it: what is indexed must do.
    async fn indexed(&self, sequence: u64) -> Result<Head, LogError> {
        self.seen(sequence);
        let mut heads = self.head.clone();
        let mut halted = self.halted.subscribe();
        let head = tokio::time::timeout(INDEX_TIMEOUT, async {
            tokio::select! {
                head = heads.wait_for(|head| head.sequence >= sequence) => match head {
                    Ok(head) => Ok(*head),
                    Err(_) => Err(LogError::Closed),
                },
                _ = halted.wait_for(|halted| *halted) => Ok(*self.head.borrow()),
            }
        });
        head.await.map_err(|_| {
            LogError::Unreachable(format!(
                "cell {} reaches {sequence}, but this node has read up to {}",
                self.number,
                self.head.borrow().sequence
            ))
        })?
    }
}

/// What all parts share.
struct Shared {
    log_id: LogId,
    options: Options,
    wire: wire::Wire,
    cells: Vec<Arc<Cell>>,
    commit_limit: usize,
    archiving: tokio::sync::Mutex<()>,
    /// Begins the names of this process's segments: two nodes never append to one file.
    segment_prefix: String,
    /// Counts connections to the servers.
    connected: watch::Receiver<u64>,
    closing: CancellationToken,
}

impl Shared {
    fn cell(&self, cell: u16) -> Result<&Arc<Cell>, LogError> {
        self.cells.get(cell as usize).ok_or_else(|| LogError::Store(format!("there is no cell `{cell}`")))
    }

    fn cell_of(&self, tenant: TenantId) -> &Arc<Cell> {
        &self.cells[cell_of(tenant, self.options.cells) as usize]
    }
}

#[async_trait]
impl live::Source for (Arc<Shared>, Arc<Cell>) {
    fn tail(&self) -> &live::Tail {
        &self.1.tail
    }

    async fn read(&self, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError> {
        self.0.read(&self.1, after, filter, limit).await
    }

    fn ahead(
        &self,
        after: u64,
        to: u64,
        filter: &Filter,
    ) -> Option<BoxStream<'static, Result<Page, LogError>>> {
        // Of one tenant there is little: the index knows where.
        let worthwhile = filter.tenant.is_none() && !self.1.is_halted();
        let pages = || replay::pages(Arc::clone(&self.0), Arc::clone(&self.1), after, to, filter.clone());
        worthwhile.then(pages)
    }

    async fn reaches(&self, sequence: u64, _head: u64) -> Result<(), LogError> {
        // Another node may be ahead of this one: only the leader knows where the cell ends.
        let last = self.0.wire.last_sequence(&self.1.stream, sequence).await?;
        if sequence > last {
            return Err(live::beyond(sequence, last));
        }
        self.1.indexed(sequence).await.map(|_| ())
    }
}

/// The JetStream adapter of [`EventLog`]. Dropping it lets what was handed in be written, then closes
/// the connection.
pub struct JetStreamLog {
    shared: Arc<Shared>,
    /// One for each cell.
    writers: Vec<mpsc::Sender<writer::Append>>,
    control: Arc<ControlStore>,
}

impl JetStreamLog {
    /// Opens or makes the log: connects, checks servers and streams, reads what this node has not
    /// seen yet and checks what it has.
    pub async fn open(options: Options, control: Arc<ControlStore>) -> Result<Arc<Self>, LogError> {
        let lock = Arc::new(folder_lock(&options).await?);
        let (connects, connected) = watch::channel(0);
        let client = connect(&options, connects).await?;
        for url in &options.monitoring {
            setup::monitoring_check(url).await?;
        }
        // A single server has applied what it has stored.
        let patience = if options.replicas > 1 { 30 } else { 0 };
        let wire = wire::Wire { client, patience };
        let log_id = setup::streams_ensure(&wire, &options).await?;
        let mut heads = Vec::new();
        let mut cells = Vec::new();
        for number in 0..options.cells {
            // The log's id is in the name: the index of another log is never taken for this one's.
            let path = options.folder.join(format!("index-{number}-{log_id}.sqlite"));
            let index = index::Index::open(&path, options.readers)?;
            let (sender, head) = watch::channel(Head { sequence: 0, running_hash: [0; 32] });
            let tail = live::Tail::default();
            tail.subscriber_add();
            heads.push(sender);
            cells.push(Arc::new(Cell {
                number,
                stream: setup::cell_stream(&options.name, number),
                index,
                head,
                tail,
                stopped: watch::Sender::new(None),
                damage: Mutex::new(Vec::new()),
                halted: watch::Sender::new(false),
                seen: AtomicU64::new(0),
                failing: AtomicBool::new(false),
            }));
        }
        // Headers and the subject count too.
        let commit_limit = (wire.client.max_payload() * 9 / 10).min(COMMIT_LIMIT);
        let queue = options.queue;
        let shared = Arc::new(Shared {
            log_id,
            options,
            wire,
            cells,
            commit_limit,
            archiving: tokio::sync::Mutex::new(()),
            segment_prefix: format!("segment-{}-", Uuid::now_v7().simple()),
            connected: connected.clone(),
            closing: CancellationToken::new(),
        });
        let mut writers = Vec::new();
        for (cell, heads) in shared.cells.iter().zip(heads) {
            let mut follower = follower::Follower::new(
                Arc::clone(&shared),
                Arc::clone(cell),
                heads,
                Arc::clone(&control),
                connected.clone(),
                Arc::clone(&lock),
            )
            .await?;
            follower.start().await?;
            let (sender, receiver) = mpsc::channel(queue);
            writers.push(sender);
            tokio::spawn(writer::Writer::new(Arc::clone(&shared), Arc::clone(cell)).run(receiver));
            tokio::spawn(follower.run());
        }
        Ok(Arc::new(Self { shared, writers, control }))
    }

    /// Checks everything: every commit, chain, anchor and archived frame of every cell. Writers of a
    /// cell are stopped if something is found in it.
    pub async fn verify(&self) -> Result<VerifyReport, LogError> {
        let mut report = VerifyReport { ok: true, ..VerifyReport::default() };
        for cell in &self.shared.cells {
            let found = check::full_check(&self.shared, cell, &self.control).await?;
            cell.damage_add(found.broken.clone());
            report.commits_checked += found.commits_checked;
            report.broken.extend(found.broken);
        }
        report.ok = report.broken.is_empty();
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
        let cell = self.shared.cell(cell)?;
        let mut head = cell.head.borrow().sequence;
        if sequence > head {
            let last = self.shared.wire.last_sequence(&cell.stream, sequence).await?;
            head = cell.indexed(last).await?.sequence;
        }
        let found = cell
            .index
            .read(move |connection| index::at(connection, sequence))
            .await?
            .map(|entry| entry.running_hash);
        let seen = Head { sequence, running_hash };
        let Some(broken) = integrity::witness_check(cell.number, head, found, seen, who) else {
            return Ok(());
        };
        let error = LogError::Damaged {
            place: format!("sequences {} to {}", broken.first_sequence, broken.last_sequence),
            reason: broken.reason.clone(),
        };
        cell.damage_add(vec![broken]);
        Err(error)
    }

    /// Removes all commits of a tenant for good, but for its reservations, and leaves a receipt with
    /// their hashes. What is in the archive of them is not given out any more.
    pub async fn tenant_purge(&self, tenant: TenantId) -> Result<u64, LogError> {
        archive::tenant_purge(&self.shared, tenant).await
    }
}

impl Drop for JetStreamLog {
    fn drop(&mut self) {
        self.shared.closing.cancel();
    }
}

async fn folder_lock(options: &Options) -> Result<std::fs::File, LogError> {
    let store =
        |path: &Path, error: std::io::Error| LogError::Store(format!("`{}`: {error}", path.display()));
    for folder in [&options.folder, &options.archive] {
        std::fs::create_dir_all(folder).map_err(|error| store(folder, error))?;
    }
    let path = options.folder.join("lock");
    let lock = std::fs::File::create(&path).map_err(|error| store(&path, error))?;
    // The tasks of a log that was just dropped may still be ending.
    let deadline = Instant::now() + Duration::from_secs(10);
    while lock.try_lock().is_err() {
        if Instant::now() >= deadline {
            return Err(LogError::InUse { folder: options.folder.display().to_string() });
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(lock)
}

async fn connect(options: &Options, connects: watch::Sender<u64>) -> Result<async_nats::Client, LogError> {
    let servers: Vec<async_nats::ServerAddr> = options
        .servers
        .split(',')
        .map(|server| {
            server.trim().parse().map_err(|error| {
                LogError::Unreachable(format!("`{server}` is no address of a server: {error}"))
            })
        })
        .collect::<Result<_, _>>()?;
    let connect = ConnectOptions::new()
        .name("autonomos-log")
        .request_timeout(Some(Duration::from_secs(5)))
        .connection_timeout(Duration::from_secs(5))
        .ping_interval(PING)
        .reconnect_delay_callback(|attempts| Duration::from_millis((50 * attempts as u64).min(1000)))
        .event_callback(move |event| {
            match &event {
                Event::Connected => {
                    connects.send_modify(|count| *count += 1);
                    tracing::info!("connected to the log's servers");
                }
                Event::SlowConsumer(_) => tracing::warn!(%event, "the log reads slower than it is sent"),
                _ => tracing::warn!(%event, "the connection to the log's servers changed"),
            }
            async {}
        });
    let connect = match &options.credentials {
        Credentials::None => connect,
        Credentials::User { user, password } => connect.user_and_password(user.clone(), password.clone()),
        Credentials::Token(token) => connect.token(token.clone()),
    };
    let deadline = Instant::now() + options.start_timeout;
    loop {
        match connect.clone().connect(&servers[..]).await {
            Ok(client) => return Ok(client),
            Err(error) if Instant::now() >= deadline => {
                return Err(LogError::Unreachable(format!("`{}`: {error}", options.servers)));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

#[async_trait]
impl EventLog for JetStreamLog {
    fn log_id(&self) -> LogId {
        self.shared.log_id
    }

    fn cells(&self) -> u16 {
        self.shared.options.cells
    }

    fn has_other_writers(&self) -> bool {
        true
    }

    fn is_following(&self) -> bool {
        let connected = self.shared.wire.client.connection_state() == State::Connected;
        connected && self.shared.cells.iter().all(|cell| !cell.failing.load(Ordering::Acquire))
    }

    async fn append(&self, commit: NewCommit) -> Result<Appended, AppendError> {
        let cell = cell_of(commit.header.key.tenant, self.shared.options.cells);
        let (commit, prev_hash) = prepare(commit, cell, self.shared.commit_limit)?;
        let (reply, answer) = oneshot::channel();
        let sender = self.writers.get(cell as usize).ok_or(LogError::Closed)?;
        let append = writer::Append::new(commit, prev_hash, reply);
        sender.send(append).await.map_err(|_| LogError::Closed)?;
        answer.await.map_err(|_| LogError::Closed)?
    }

    async fn load(&self, key: &AggregateKey, after_version: u64) -> Result<Vec<StoredCommit>, LogError> {
        self.shared.load(key, after_version).await
    }

    async fn load_last(&self, key: &AggregateKey) -> Result<Option<StoredCommit>, LogError> {
        self.shared.load_last(key).await
    }

    async fn read(&self, cell: u16, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError> {
        self.shared.read(self.shared.cell(cell)?, after, filter, limit).await
    }

    async fn head(&self, cell: u16) -> Result<Head, LogError> {
        let cell = self.shared.cell(cell)?;
        cell.indexed(cell.seen.load(Ordering::Acquire)).await
    }

    async fn running_hash(&self, cell: u16, sequence: u64) -> Result<Option<Hash>, LogError> {
        let cell = self.shared.cell(cell)?;
        if sequence == 0 {
            return Ok(Some([0; 32]));
        }
        if sequence <= cell.seen.load(Ordering::Acquire) {
            cell.indexed(sequence).await?;
        }
        let entry = cell.index.read(move |connection| index::at(connection, sequence)).await?;
        Ok(entry.map(|entry| entry.running_hash))
    }

    async fn sequence_at(&self, cell: u16, time: DateTime<Utc>) -> Result<u64, LogError> {
        let cell = self.shared.cell(cell)?;
        let head = cell.indexed(cell.seen.load(Ordering::Acquire)).await?.sequence;
        cell.index.read(move |connection| index::sequence_at(connection, head, time)).await
    }

    fn subscribe(
        &self,
        cell: u16,
        after: u64,
        filter: Filter,
    ) -> BoxStream<'static, Result<Delivery, LogError>> {
        match self.shared.cell(cell) {
            Ok(cell) => {
                let heads = cell.head.clone();
                live::subscribe((Arc::clone(&self.shared), Arc::clone(cell)), heads, after, filter)
            }
            Err(error) => Box::pin(futures::stream::once(async { Err(error) })),
        }
    }

    async fn archive(&self, key: &AggregateKey, keep_last: bool) -> Result<u64, LogError> {
        let refused = |reason: String| LogError::NotArchivable { key: *key, reason };
        if key.aggregate_type == AggregateType::Reservation {
            let reason = "a reservation must stay, or what it holds could be taken again";
            return Err(refused(reason.to_owned()));
        }
        if let Some(reason) = &*self.shared.cell_of(key.tenant).stopped.borrow() {
            return Err(refused(format!("writing is stopped: {reason}")));
        }
        archive::archive(&self.shared, key, keep_last).await
    }

    fn damage(&self) -> Vec<Broken> {
        self.shared.cells.iter().flat_map(|cell| cell.damage.lock().clone()).collect()
    }

    fn stopped(&self, cell: u16) -> Option<String> {
        self.shared.cells.get(cell as usize).and_then(|cell| cell.stopped.borrow().clone())
    }

    fn stop_writers(&self, cell: u16, reason: String) {
        if let Some(cell) = self.shared.cells.get(cell as usize) {
            cell.stop(reason);
        }
    }
}
