//! The writer of one tenant's file: takes commits apart, gathers runs of batches, and applies all in
//! one transaction with the checkpoint.

mod meaning;

use super::{
    canon, cluster,
    commit::{BatchBody, FeedFact, OpenedCommit, OpenedEvents},
    engine::Runs,
    files::Facts,
    ingest, quarantine,
    sql::{Db, Result, Scratch},
    stage::{self, Decoded, Run},
    state::State,
    tables::{self, literal},
    versions::{self, Scope},
};
use crate::error::ProjectionError;
use autonomos_domain::{
    aggregates::{
        feed::{BatchHeader, FeedEvent, FeedState, RejectedRecord},
        ontology::OntologyEvent,
    },
    envelope::Hash,
    ids::{ConnectionId, FeedId},
    ontology::Entity,
};
use duckdb::{Connection, Transaction};
use std::collections::BTreeSet;

/// Commits of a run at most.
const RUN_COMMITS: usize = 256;
/// So many calls in a row that memory held, and runs may be twice as large again.
const EASY_CALLS: u32 = 32;
/// Steps (a run, or a commit of its own) of a transaction.
const TRANSACTION_STEPS: usize = 8;

/// What an [`TenantDcl::apply`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    pub commits: u64,
    /// Rows read from batches.
    pub rows: u64,
}

/// The writer of one tenant's file. Blocking: call it off the async threads.
pub struct TenantDcl {
    connection: Connection,
    scratch: Scratch,
    /// A copy of what the tables say; none after a failure.
    state: Option<State>,
    runs: Runs,
    /// Rows of a run at most: half as many each time memory did not hold them.
    run_rows: usize,
    /// Calls since memory last failed.
    easy: u32,
}

impl TenantDcl {
    pub(super) fn new(connection: Connection, runs: Runs) -> Self {
        let scratch = Scratch::default();
        Self { connection, scratch, state: None, runs, run_rows: runs.rows, easy: 0 }
    }

    fn db(&self) -> Db<'_> {
        Db { connection: &self.connection, scratch: &self.scratch }
    }

    /// Brings the write-ahead log into the file: what the file says of itself then.
    pub(super) fn settle(&self) -> Result<Facts> {
        self.connection.execute_batch("CHECKPOINT")?;
        Facts::read(&self.connection)
    }

    /// Up to where the file is, and the running hash of the cell there; 0 before the first commit.
    pub fn checkpoint(&self) -> Result<(u64, Hash)> {
        checkpoint_get(self.db())
    }

    /// The version of the projector that made the file; none: it is new.
    pub fn projector_version(&self) -> Result<Option<u32>> {
        version_get(self.db())
    }

    /// A word the runtime keeps with the checkpoint, such as the log's id.
    pub fn note(&self, key: &str) -> Result<Option<String>> {
        meta(self.db(), &format!("note:{key}"))
    }

    pub fn note_set(&mut self, key: &str, value: &str) -> Result<()> {
        set_meta(self.db(), &format!("note:{key}"), value)
    }

    /// Moves the checkpoint past commits that do not concern the views.
    pub fn advance_checkpoint(&mut self, sequence: u64, running_hash: &Hash) -> Result<()> {
        let transaction = self.connection.unchecked_transaction()?;
        checkpoint_set(self.db(), sequence, running_hash)?;
        transaction.commit()?;
        Ok(())
    }

    /// Applies commits in order: the rows and the checkpoint of a commit in one transaction, several
    /// commits in each. What is at or below the checkpoint is left out. After a failure everything
    /// before the commit that failed may be applied: the checkpoint says so.
    ///
    /// A run that memory does not hold fails, and the next call takes runs of half its size.
    pub fn apply(&mut self, commits: &[OpenedCommit]) -> Result<Applied> {
        self.apply_each(commits.iter().cloned().map(Ok::<_, ProjectionError>))
    }

    /// The same, of commits that are opened one at a time.
    pub fn apply_each<E: From<ProjectionError>>(
        &mut self,
        commits: impl Iterator<Item = std::result::Result<OpenedCommit, E>>,
    ) -> std::result::Result<Applied, E> {
        let mut tight = false;
        let result = self.apply_all(commits, &mut tight);
        self.easy = if tight { 0 } else { self.easy + 1 };
        if tight && self.run_rows > self.runs.least_rows {
            self.run_rows = (self.run_rows / 2).max(self.runs.least_rows);
            tracing::warn!(
                rows = self.run_rows,
                "memory did not hold a run of the unified views: runs are halved"
            );
        } else if self.easy >= EASY_CALLS && self.run_rows < self.runs.rows {
            self.run_rows = (self.run_rows * 2).min(self.runs.rows);
            self.easy = 0;
        }
        result
    }

    /// Whether runs are as small as they get.
    pub fn is_cramped(&self) -> bool {
        self.run_rows <= self.runs.least_rows
    }

    fn apply_all<E: From<ProjectionError>>(
        &mut self,
        commits: impl Iterator<Item = std::result::Result<OpenedCommit, E>>,
        tight: &mut bool,
    ) -> std::result::Result<Applied, E> {
        let (checkpoint, _) = self.checkpoint()?;
        let state = self.state.take();
        // Rolled back, temporary tables are gone.
        self.scratch.take();
        let db = Db { connection: &self.connection, scratch: &self.scratch };
        let transaction = self.connection.unchecked_transaction().map_err(ProjectionError::from)?;
        let state = match state {
            Some(state) => state,
            None => State::load(db)?,
        };
        let mut work = Work {
            db,
            transaction,
            state,
            run: Run::default(),
            last: None,
            before: None,
            steps: 0,
            applied: Applied::default(),
            runs: self.runs,
            run_rows: self.run_rows,
        };
        for commit in commits {
            let commit = &commit?;
            if commit.position.sequence <= checkpoint {
                continue;
            }
            work.commit(commit).inspect_err(|error| *tight = error.is_out_of_memory())?;
            work.last = Some((commit.position.sequence, commit.running_hash));
            work.applied.commits += 1;
        }
        work.flush().inspect_err(|error| *tight = error.is_out_of_memory())?;
        work.save(work.last, work.state.clock)?;
        db.release()?;
        let Work { transaction, state, applied, .. } = work;
        let started = std::time::Instant::now();
        transaction.commit().map_err(ProjectionError::from)?;
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, "committed");
        self.state = Some(state);
        Ok(applied)
    }
}

impl Facts {
    pub(super) fn read(connection: &Connection) -> Result<Self> {
        let db = Db { connection, scratch: &Scratch::default() };
        let (sequence, running_hash) = checkpoint_get(db)?;
        Ok(Self { version: version_get(db)?, sequence, running_hash })
    }
}

fn meta(db: Db<'_>, key: &str) -> Result<Option<String>> {
    let sql = format!("SELECT value FROM meta WHERE key = {}", literal(key));
    Ok(db.rows(&sql, |row| row.get(0))?.into_iter().next())
}

fn set_meta(db: Db<'_>, key: &str, value: &str) -> Result<()> {
    db.run(&format!("DELETE FROM meta WHERE key = {}", literal(key)))?;
    db.run(&format!("INSERT INTO meta VALUES ({}, {})", literal(key), literal(value)))?;
    Ok(())
}

fn version_get(db: Db<'_>) -> Result<Option<u32>> {
    Ok(meta(db, "projector_version")?.and_then(|text| text.parse().ok()))
}

fn checkpoint_get(db: Db<'_>) -> Result<(u64, Hash)> {
    let sequence = meta(db, "checkpoint")?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut hash = Hash::default();
    if let Some(text) = meta(db, "running_hash")? {
        hex::decode_to_slice(text, &mut hash)
            .map_err(|error| ProjectionError::Views(format!("the checkpoint's hash is damaged: {error}")))?;
    }
    Ok((sequence, hash))
}

fn checkpoint_set(db: Db<'_>, sequence: u64, running_hash: &Hash) -> Result<()> {
    set_meta(db, "projector_version", &tables::PROJECTOR_VERSION.to_string())?;
    set_meta(db, "checkpoint", &sequence.to_string())?;
    set_meta(db, "running_hash", &hex::encode(running_hash))
}

/// Work under way: one transaction after the other.
struct Work<'a> {
    db: Db<'a>,
    transaction: Transaction<'a>,
    state: State,
    run: Run,
    /// The last commit that is done or in the run.
    last: Option<(u64, Hash)>,
    /// The last commit before the run, and the clock there.
    before: Option<((u64, Hash), i64)>,
    /// Steps since the transaction began.
    steps: usize,
    applied: Applied,
    runs: Runs,
    run_rows: usize,
}

impl Work<'_> {
    /// Writes the checkpoint: everything up to `last` is in.
    fn save(&self, last: Option<(u64, Hash)>, clock: i64) -> Result<()> {
        let Some((sequence, hash)) = last else { return Ok(()) };
        set_meta(self.db, "clock", &clock.to_string())?;
        checkpoint_set(self.db, sequence, &hash)
    }

    /// Ends the run; and the transaction, if enough has been done in it: temporary tables give their
    /// memory back at its end only.
    fn pause(&mut self) -> Result<()> {
        self.flush()?;
        if self.steps >= TRANSACTION_STEPS {
            self.save(self.last, self.state.clock)?;
            self.db.release()?;
            self.steps = 0;
            self.db.batch("COMMIT; BEGIN TRANSACTION")?;
        }
        Ok(())
    }

    /// The commit's time: the running maximum, so that a later commit is never earlier.
    fn tick(&mut self, commit: &OpenedCommit) -> (i64, i64) {
        self.state.clock = self.state.clock.max(commit.recorded_at.timestamp_micros());
        (commit.position.sequence as i64, self.state.clock)
    }

    fn times(&self, times: &[(i64, i64)]) -> Result<()> {
        if times.is_empty() {
            return Ok(());
        }
        let rows: Vec<String> =
            times.iter().map(|(sequence, clock)| format!("({sequence}, make_timestamp({clock}))")).collect();
        self.db.run(&format!("INSERT INTO commit_times VALUES {}", rows.join(", ")))?;
        Ok(())
    }

    fn commit(&mut self, commit: &OpenedCommit) -> Result<()> {
        let seq = commit.position.sequence as i64;
        if let OpenedEvents::Feed(facts) = &commit.events
            && let [FeedFact { event: FeedEvent::RecordsIngested { batch, state }, body }] = facts.as_slice()
        {
            return self.batch(commit, batch, state, body);
        }
        self.pause()?;
        let time = self.tick(commit);
        self.times(&[time])?;
        self.steps += 1;
        match &commit.events {
            OpenedEvents::Erased => Ok(()),
            OpenedEvents::Feed(facts) => self.feed(seq, FeedId(commit.aggregate_id), facts),
            OpenedEvents::Mapping(events) => self.mapping(seq, FeedId(commit.aggregate_id), events),
            OpenedEvents::Connection(events) => {
                self.connection(seq, ConnectionId(commit.aggregate_id), events)
            }
            OpenedEvents::Identity(events) => self.identity(seq, events),
            OpenedEvents::UnifiedView(events) => self.rules(seq, events),
            OpenedEvents::Ontology(events) => {
                for OntologyEvent::OntologyRevised { ontology } in events {
                    self.ontology(seq, ontology)?;
                }
                Ok(())
            }
        }
    }

    /// A commit of one batch, as nearly all are: it joins the run, or the next one.
    fn batch(
        &mut self,
        commit: &OpenedCommit,
        header: &BatchHeader,
        after: &FeedState,
        body: &BatchBody,
    ) -> Result<()> {
        let seq = commit.position.sequence as i64;
        let id = FeedId(commit.aggregate_id);
        let known = self.state.find(id);
        if known.is_none() {
            self.pause()?;
        }
        let started = std::time::Instant::now();
        let decoded = stage::decode(id, header, after.batches, body, 0)?;
        tracing::trace!(elapsed_us = started.elapsed().as_micros() as u64, "decoded a batch");
        if let (Some(feed), Some(decoded)) = (known, &decoded)
            && !self.joins(feed, decoded)
        {
            self.pause()?;
        }
        let feed = self.state.feed(self.db, id, after.connection_id.0, &after.stream)?;
        if self.run.times.is_empty() {
            self.before = self.last.map(|last| (last, self.state.clock));
        }
        let time = self.tick(commit);
        self.run.times.push(time);
        if !header.rejected.is_empty() {
            self.run.rejected.push((seq, feed, header.rejected.clone()));
        }
        if let Some(decoded) = decoded {
            self.stage(seq, feed, decoded);
            self.part()?;
        }
        Ok(())
    }

    fn rejected(&self, seq: i64, feed: usize, rejected: &[RejectedRecord]) -> Result<()> {
        let entity = self.state.entity_of(feed).map(|entity| entity.name.clone());
        quarantine::rejected(self.db, entity.as_deref(), &self.state.feeds[feed], seq, rejected)
    }

    /// A commit of several events, or of one that concerns the whole feed: one after the other.
    fn feed(&mut self, seq: i64, id: FeedId, facts: &[FeedFact]) -> Result<()> {
        let mut offset = 0;
        for fact in facts {
            let FeedState { connection_id, stream, batches, schema_version, .. } = fact.event.state();
            let feed = self.state.feed(self.db, id, connection_id.0, stream)?;
            match &fact.event {
                FeedEvent::RecordsIngested { batch, .. } => {
                    self.rejected(seq, feed, &batch.rejected)?;
                    if let Some(decoded) = stage::decode(id, batch, *batches, &fact.body, offset)? {
                        offset += decoded.source_rows;
                        self.stage(seq, feed, decoded);
                        self.flush()?;
                    }
                }
                FeedEvent::SnapshotStarted { .. } => {
                    ingest::snapshot_start(self.db, &mut self.state, feed, seq)?;
                }
                FeedEvent::SnapshotCompleted { .. } => {
                    self.snapshot_complete(seq, feed, *schema_version, *batches)?;
                    ingest::snapshot_end(self.db, &mut self.state, feed)?;
                }
                // Nothing closes yet; the snapshot stays open until it is released or given up.
                FeedEvent::SnapshotHeld { .. } => {}
                FeedEvent::SnapshotAbandoned { .. } => {
                    ingest::snapshot_end(self.db, &mut self.state, feed)?;
                }
                FeedEvent::FeedClosed { .. } => self.feed_close(seq, feed)?,
            }
        }
        Ok(())
    }

    /// Whether a batch can join the run.
    fn joins(&self, feed: usize, batch: &Decoded) -> bool {
        let counting = !batch.keyed && self.state.feeds[feed].snapshot_from.is_some();
        let room = self.run.rows + batch.rows() <= self.run_rows && self.run.commits.len() < RUN_COMMITS;
        self.run.rows == 0 || (room && self.run.accepts(feed, batch, counting))
    }

    fn stage(&mut self, seq: i64, feed: usize, batch: Decoded) {
        self.applied.rows += batch.rows() as u64;
        self.run.stage(&self.state.feeds[feed], seq, feed, batch);
    }

    /// Once the run is large, ends the transaction with what came before it; from then on batches go
    /// into the run's temporary tables as they come.
    fn part(&mut self) -> Result<()> {
        if !self.run.apart {
            if self.run.rows < self.runs.apart_rows {
                return Ok(());
            }
            if let Some((last, clock)) = self.before {
                self.save(Some(last), clock)?;
            }
            self.db.release()?;
            self.steps = 0;
            self.db.batch("COMMIT")?;
            self.run.apart = true;
        }
        self.run.load(self.db, &mut self.state)
    }

    /// Applies what the run has gathered.
    fn flush(&mut self) -> Result<()> {
        self.run.load(self.db, &mut self.state)?;
        if self.run.apart {
            self.db.batch("BEGIN TRANSACTION")?;
        }
        let run = std::mem::take(&mut self.run);
        self.times(&run.times)?;
        for (seq, feed, rejected) in &run.rejected {
            self.rejected(*seq, *feed, rejected)?;
        }
        let Some(&last) = run.commits.last() else { return Ok(()) };
        self.steps += 1 + TRANSACTION_STEPS * run.rows / self.runs.rows.max(1);
        let mut fresh = Vec::with_capacity(run.feeds.len());
        for staged in run.feeds.values() {
            fresh.push((staged, ingest::append_raw(self.db, &self.state, staged)?));
        }
        let entities: BTreeSet<String> = run
            .feeds
            .keys()
            .filter_map(|&feed| self.state.entity_of(feed).map(|entity| entity.name.clone()))
            .collect();
        for name in entities {
            let Some(entity) = self.entity(&name)? else { continue };
            let mine: Vec<_> = fresh
                .iter()
                .filter(|(staged, fresh)| {
                    self.state.feeds[staged.feed].entity.as_ref() == Some(&name) && fresh.rows > 0
                })
                .collect();
            if let [(staged, fresh)] = mine.as_slice()
                && fresh.all_new
            {
                let feed = &self.state.feeds[staged.feed];
                if !cluster::possible(self.db, &entity, &format!("SELECT {}", feed.number))? {
                    canon::project(self.db, &entity, feed, staged, fresh, true)?;
                    continue;
                }
            }
            canon::delta_begin(self.db, &entity)?;
            let mut known = false;
            for (staged, fresh) in mine {
                let feed = &self.state.feeds[staged.feed];
                known |= canon::project(self.db, &entity, feed, staged, fresh, false)?;
            }
            self.delta(&entity, last, !known)?;
        }
        for (_, fresh) in &fresh {
            let names: Vec<&str> = fresh.tables.iter().map(String::as_str).collect();
            self.db.drop(&names)?;
        }
        Ok(())
    }

    /// An entity of the ontology with its tables made.
    fn entity(&mut self, name: &str) -> Result<Option<Entity>> {
        let Some(entity) = self.state.ontology.entities.iter().find(|entity| entity.name == name).cloned()
        else {
            return Ok(None);
        };
        self.state.prepare_entity(self.db, &entity)?;
        Ok(Some(entity))
    }

    /// Applies the delta and drops it.
    fn delta(&self, entity: &Entity, last: i64, all_new: bool) -> Result<()> {
        if self.db.any("SELECT 1 FROM d UNION ALL SELECT 1 FROM x")? {
            versions::apply(
                self.db,
                &Scope { entity, rules: self.state.rules.get(&entity.name), last, all_new },
            )?;
        }
        Ok(())
    }

    fn snapshot_complete(&mut self, seq: i64, feed: usize, schema_version: u32, batch: u64) -> Result<()> {
        let Some(absent) = ingest::snapshot_absent(self.db, &self.state, feed, seq, schema_version, batch)?
        else {
            return Ok(());
        };
        let name = self.state.entity_of(feed).map(|entity| entity.name.clone());
        let row = &self.state.feeds[feed];
        // Under a key that drifted nobody can tell who is absent: it counts once the key is mended.
        let counts = row.segments(schema_version).iter().any(|segment| {
            segment.from <= batch as i64 && (batch as i64) < segment.to && row.counted(segment).is_some()
        });
        if let (Some(name), true) = (name, counts)
            && let Some(entity) = self.entity(&name)?
        {
            canon::delta_begin(self.db, &entity)?;
            let number = self.state.feeds[feed].number;
            self.db.run(&format!(
                "INSERT INTO x SELECT r.sid, {seq} FROM {} r WHERE r.feed = {number} AND r.sid IN (SELECT _sid FROM {absent})",
                tables::records(&entity.name)
            ))?;
            quarantine::records_gone(
                self.db,
                &self.state.feeds[feed],
                &format!("(SELECT _sid AS sid, {seq} AS seq FROM {absent})"),
            )?;
            self.delta(&entity, seq, false)?;
        }
        self.db.drop(&[&absent])
    }

    /// The feed is gone, and its records with it; its raw rows stay for its history.
    fn feed_close(&mut self, seq: i64, feed: usize) -> Result<()> {
        ingest::snapshot_end(self.db, &mut self.state, feed)?;
        self.records_close(seq, feed)?;
        let row = &mut self.state.feeds[feed];
        row.closed_at = seq;
        self.db.run(&format!("UPDATE feeds SET closed_at = {seq} WHERE feed = {}", row.number))?;
        quarantine::feed_gone(self.db, row, seq)
    }

    /// Closes all records that a feed has in its entity.
    fn records_close(&mut self, seq: i64, feed: usize) -> Result<()> {
        let Some(name) = self.state.feeds[feed].entity.clone() else { return Ok(()) };
        if !self.state.entities.contains(&name) {
            return Ok(());
        }
        let Some(entity) = self.entity(&name)? else { return Ok(()) };
        canon::delta_begin(self.db, &entity)?;
        self.db.run(&format!(
            "INSERT INTO x SELECT r.sid, {seq} FROM {} r WHERE r.feed = {}",
            tables::records(&name),
            self.state.feeds[feed].number
        ))?;
        self.delta(&entity, seq, false)
    }
}
