//! A read: a snapshot in the order of `_id`, then what follows it in the stream's mode.
//!
//! The snapshot needs no transaction that spans it, so that it goes on after a kill: the place in the
//! server's changes is taken before its first document, and the changes from there on are applied after
//! its last, each by its key, so that whatever a document was when it was read, it ends as it is.

use super::{
    catalog::{self, Collection},
    config::{LostHistory, MongoConfig},
    cursor::{Cursor, Exact, Next, Phase, Place, bound, is_at},
    error,
    layout::{KEY, Known, Layout, Refused, is_askable},
    rows::{Row, Rows, batch},
    sample::{self, Sample},
    session::Session,
};
use crate::{error::ConnectorError, network::NetworkScope, port::ReadEvent};
use autonomos_domain::schema::{StreamSelection, StreamShape, SyncMode};
use mongodb::{
    bson::{Document, RawBsonRef, RawDocument, doc},
    options::Hint,
};
use tokio::sync::mpsc;

/// Documents of one query of a snapshot.
const PAGE: i64 = 50_000;
/// Documents the server sends at a time.
const FETCH: u32 = 2_000;
/// How often a collection may be read anew within one read.
const MAX_ANEW: usize = 5;
/// Rows of a new shape that are shown with it, beside the sample.
const SHOWN: usize = 500;

pub(super) type Sender = mpsc::Sender<Result<ReadEvent, ConnectorError>>;

/// One read of one stream.
pub(super) struct Job {
    pub(super) config: MongoConfig,
    pub(super) network: NetworkScope,
    pub(super) selection: StreamSelection,
    pub(super) mode: SyncMode,
    pub(super) sender: Sender,
}

/// What follows a phase.
pub(super) enum Step {
    Go(Cursor),
    /// The collection is to be read anew.
    Anew(String),
    End,
}

impl Job {
    pub(super) async fn run(&self, cursor: Option<Cursor>) -> Result<(), ConnectorError> {
        let session = Session::open(&self.config, self.network).await?;
        if self.mode == SyncMode::Cdc && !session.keeps_changes() {
            return Err(error::no_changes(
                "the server is no member of a replica set, so that it keeps no changes: read the stream whole",
            ));
        }
        let chosen = self.selection.primary_key.as_ref();
        if self.mode == SyncMode::Cdc && chosen.is_some_and(|key| *key != [KEY]) {
            return Err(error::schema(format!(
                "changes of `{}` come by `{KEY}`: another key cannot be chosen",
                self.selection.name
            )));
        }
        let mut known = cursor.as_ref().map(|cursor| cursor.known.clone());
        let mut next = match cursor {
            Some(cursor) if cursor.phase == Phase::Done => None,
            Some(cursor) => match self.stale(&session, &cursor).await? {
                Some(reason) => {
                    self.tell(&reason);
                    None
                }
                None => Some(cursor),
            },
            None => None,
        };
        for _ in 0..MAX_ANEW {
            let mut sample = Sample::default();
            let mut cursor = match next.take() {
                Some(cursor) => cursor,
                None => {
                    let (cursor, taken) = self.begin(&session, known.take()).await?;
                    sample = taken;
                    cursor
                }
            };
            let mut fresh = false;
            loop {
                known = Some(cursor.known.clone());
                let step = match cursor.phase {
                    Phase::Done => Step::End,
                    Phase::Snapshot { ref after, .. } => {
                        fresh = after.is_none();
                        self.snapshot(&session, cursor, std::mem::take(&mut sample)).await?
                    }
                    Phase::Incremental { .. } => self.incremental(&session, cursor).await?,
                    Phase::Changes { .. } => self.changes(&session, cursor, fresh).await?,
                };
                match step {
                    Step::Go(next) => cursor = next,
                    Step::End => return Ok(()),
                    Step::Anew(reason) => {
                        self.tell(&reason);
                        break;
                    }
                }
            }
        }
        Err(error::transient(format!(
            "the collection `{}` is made anew again and again while it is read",
            self.selection.name
        )))
    }

    fn tell(&self, reason: &str) {
        tracing::warn!(stream = %self.selection.name, "the collection is read anew: {reason}");
    }

    pub(super) async fn send(&self, event: ReadEvent) -> Result<(), ConnectorError> {
        self.sender.send(Ok(event)).await.map_err(|_| ConnectorError::Cancelled)
    }

    pub(super) async fn collection(&self, session: &Session) -> Result<Collection, ConnectorError> {
        let collection = catalog::collection(session, &self.config, &self.selection.name).await?;
        if self.mode != SyncMode::Full && !collection.is_ordinary() {
            return Err(error::schema(format!(
                "`{}` is no ordinary collection: it can be read whole alone",
                collection.name
            )));
        }
        Ok(collection)
    }

    /// Why a cursor is of no use, if it is not.
    async fn stale(&self, session: &Session, cursor: &Cursor) -> Result<Option<String>, ConnectorError> {
        if cursor.known.levels != self.config.nested_levels {
            return Ok(Some("nested fields are to become other columns".to_owned()));
        }
        Ok(match &cursor.phase {
            Phase::Snapshot { after: None, .. } => Some("nothing of it was read yet".to_owned()),
            Phase::Snapshot { .. } => {
                let collection = self.collection(session).await?;
                let other = collection.uuid != cursor.collection || !collection.is_ordinary();
                other.then(|| "another collection has its name now".to_owned())
            }
            Phase::Incremental { field, .. } => {
                let chosen = self.selection.cursor_field.as_ref().is_some_and(|chosen| chosen != field);
                chosen.then(|| "another cursor field was chosen".to_owned())
            }
            // Whether the server still has them it says itself.
            Phase::Changes { .. } | Phase::Done => None,
        })
    }

    /// Where a read of the whole collection starts, and what comes after it.
    async fn begin(
        &self,
        session: &Session,
        known: Option<Known>,
    ) -> Result<(Cursor, Sample), ConnectorError> {
        let collection = self.collection(session).await?;
        let levels = self.config.nested_levels;
        let mut known = known.unwrap_or_default();
        if known.levels == levels {
            known.columns.retain(|column| !column.gone);
        } else {
            // Laid out otherwise, columns of before mean nothing; keys are written as ever.
            known = Known { key_class: known.key_class, levels, ..Known::default() };
        }
        let next = match self.mode {
            SyncMode::Full => Next::Done,
            SyncMode::Incremental => self.newest(session).await?,
            SyncMode::Cdc => {
                let time = session.settled(&collection.name).await?;
                let place = self.held(session, Place::from(time)).await?;
                Next::Changes { place, at: time.time }
            }
        };
        let sample = sample::take(session, &collection, self.config.sample_size).await?;
        let layout = sample::settled(session, &collection, &known, &sample).await?;
        let phase = Phase::Snapshot { after: None, next };
        let cursor = Cursor { mode: self.mode, collection: collection.uuid, known: layout.known, phase };
        Ok((cursor, sample))
    }

    /// The highest value of the cursor field: what comes after the snapshot begins there.
    async fn newest(&self, session: &Session) -> Result<Next, ConnectorError> {
        let Some(field) = self.selection.cursor_field.clone() else {
            return Err(error::schema(format!(
                "choose the cursor field of `{}`: the one that grows whenever a document changes",
                self.selection.name
            )));
        };
        if !is_askable(&field) {
            return Err(error::schema(format!("`{field}` cannot be asked for: choose another cursor field")));
        }
        let source = session.collection(&self.selection.name);
        let last = source.find(doc! { &field: { "$ne": null } }).sort(doc! { &field: -1 }).limit(1);
        let mut last = last.allow_disk_use(true).await.map_err(|cause| error::server(&cause))?;
        let there = last.advance().await.map_err(|cause| error::server(&cause))?;
        let from = if there { at_path(last.current(), &field).map(Exact::of) } else { None };
        Ok(Next::Incremental { field, from })
    }

    async fn snapshot(
        &self,
        session: &Session,
        cursor: Cursor,
        sample: Sample,
    ) -> Result<Step, ConnectorError> {
        let Phase::Snapshot { mut after, next } = cursor.phase.clone() else { return Ok(Step::End) };
        let collection = self.collection(session).await?;
        if collection.uuid != cursor.collection {
            return Ok(Step::Anew("another collection has its name now".to_owned()));
        }
        let resumed = after.is_some();
        let total_rows = sample.total;
        let mut out = Output::new(self, cursor, sample);
        let preview = out.preview()?;
        let shape = out.announced.clone();
        self.send(ReadEvent::Began { shape, snapshot: true, resumed, preview, total_rows }).await?;
        let source = session.collection(&collection.name);
        loop {
            let mut find = source.find(doc! {}).batch_size(FETCH);
            if collection.is_ordinary() {
                let key = doc! { "_id": 1 };
                find = find.sort(key.clone()).hint(Hint::Keys(key)).limit(PAGE);
                if let Some(after) = &after {
                    find = find.min(bound(after)?);
                }
            }
            let mut page = find.await.map_err(|cause| error::server(&cause))?;
            let mut count = 0;
            while page.advance().await.map_err(|cause| error::server(&cause))? {
                let document = page.current();
                count += 1;
                if count == 1 && after.as_ref().is_some_and(|after| is_at(document, after)) {
                    continue;
                }
                out.add(document).await?;
                if collection.is_ordinary() {
                    after = document.get("_id").ok().flatten().map(Exact::of);
                    out.cursor.phase = Phase::Snapshot { after: after.clone(), next: next.clone() };
                }
            }
            out.flush().await?;
            if count < PAGE || !collection.is_ordinary() {
                break;
            }
        }
        // Dropped while it was read: what was not read is no proof that it is gone.
        let again = self.collection(session).await?;
        if again.uuid != out.cursor.collection {
            return Ok(Step::Anew("another collection has its name now".to_owned()));
        }
        out.cursor.phase = next.phase();
        let cursor = out.cursor();
        self.send(ReadEvent::Completed { cursor: cursor.value() }).await?;
        Ok(if matches!(next, Next::Changes { .. }) { Step::Go(cursor) } else { Step::End })
    }

    async fn incremental(&self, session: &Session, cursor: Cursor) -> Result<Step, ConnectorError> {
        let Phase::Incremental { field, from } = cursor.phase.clone() else { return Ok(Step::End) };
        let collection = self.collection(session).await?;
        if collection.uuid != cursor.collection {
            return Ok(Step::Anew("another collection has its name now".to_owned()));
        }
        let mut out = self.resume(session, Some(&collection), cursor, false).await?;
        let since: Document = match &from {
            Some(from) => doc! { &field: { "$gte": from.value()? } },
            None => doc! { &field: { "$ne": null } },
        };
        let source = session.collection(&collection.name);
        let find = source.find(since).sort(doc! { &field: 1 }).allow_disk_use(true).batch_size(FETCH);
        let mut found = find.await.map_err(|cause| error::server(&cause))?;
        while found.advance().await.map_err(|cause| error::server(&cause))? {
            let document = found.current();
            out.add(document).await?;
            let reached = at_path(document, &field).map(Exact::of);
            out.cursor.phase = Phase::Incremental { field: field.clone(), from: reached };
        }
        out.flush().await?;
        self.send(ReadEvent::Completed { cursor: out.cursor().value() }).await?;
        Ok(Step::End)
    }

    /// Goes on after a snapshot: in the shape that was known, and in the one of now, if it is another.
    pub(super) async fn resume<'a>(
        &'a self,
        session: &Session,
        collection: Option<&Collection>,
        cursor: Cursor,
        fresh: bool,
    ) -> Result<Output<'a>, ConnectorError> {
        let mut out = Output::new(self, cursor, Sample::default());
        let shape = out.announced.clone();
        let began = |preview| ReadEvent::Began {
            shape: shape.clone(),
            snapshot: false,
            resumed: true,
            preview,
            total_rows: None,
        };
        let nothing = batch(&out.layout, &[])?;
        let Some(collection) = collection.filter(|_| !fresh) else {
            self.send(began(nothing)).await?;
            return Ok(out);
        };
        out.look(session, collection).await?;
        if out.layout.shape() == shape {
            let preview = out.preview()?;
            self.send(began(preview)).await?;
        } else {
            self.send(began(nothing)).await?;
            out.announce().await?;
        }
        Ok(out)
    }

    /// The server no longer has the changes that are needed. `fresh`: since a snapshot of just now.
    pub(super) fn lost(&self, fresh: bool) -> Result<Step, ConnectorError> {
        let name = &self.selection.name;
        if fresh {
            return Err(error::no_changes(format!(
                "a snapshot of `{name}` takes longer than the server keeps its changes: let it keep them longer (`replSetResizeOplog`)"
            )));
        }
        match self.config.on_lost_history {
            LostHistory::Snapshot => Ok(Step::Anew("the server no longer has its changes".to_owned())),
            LostHistory::Fail => Err(error::no_changes(format!(
                "the server no longer has the changes of `{name}` since the last sync: sync more often or let it keep them longer, and read the stream anew by setting `on_lost_history` to `snapshot`"
            ))),
        }
    }
}

/// What a read has gathered, on its way out.
pub(super) struct Output<'a> {
    job: &'a Job,
    pub(super) cursor: Cursor,
    pub(super) layout: Layout,
    pub(super) rows: Rows,
    /// The shape that was told last.
    announced: StreamShape,
    sample: Sample,
}

impl<'a> Output<'a> {
    fn new(job: &'a Job, cursor: Cursor, sample: Sample) -> Self {
        let layout = Layout::new(cursor.known.clone());
        let announced = layout.shape();
        Self { job, cursor, layout, rows: Rows::default(), announced, sample }
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { known: self.layout.known.clone(), ..self.cursor.clone() }
    }

    /// Rows of the collection as it is.
    fn preview(&mut self) -> Result<arrow_array::RecordBatch, ConnectorError> {
        let shown = self.rows.gathered.iter().filter(|row| !row.deleted).take(SHOWN).cloned().collect();
        let changed = self.layout.changed;
        let preview = sample::preview(&mut self.layout, &self.sample, shown);
        // What a sample shows twice is nothing new.
        self.layout.changed = changed;
        preview
    }

    /// Looks at the collection: what its columns are by now. Nothing may be gathered.
    pub(super) async fn look(
        &mut self,
        session: &Session,
        collection: &Collection,
    ) -> Result<(), ConnectorError> {
        self.sample = sample::take(session, collection, self.job.config.sample_size).await?;
        self.layout = sample::settled(session, collection, &self.layout.known, &self.sample).await?;
        Ok(())
    }

    /// Tells the shape, if it is another one than was told.
    pub(super) async fn announce(&mut self) -> Result<(), ConnectorError> {
        self.layout.changed = false;
        let shape = self.layout.shape();
        if shape == self.announced {
            return Ok(());
        }
        let preview = self.preview()?;
        self.announced = shape.clone();
        self.job.send(ReadEvent::Reshaped { shape, preview }).await
    }

    /// Whether the layout has columns or types that were not told.
    pub(super) const fn has_news(&self) -> bool {
        self.layout.changed
    }

    /// The cells of a document; none if it is rejected.
    pub(super) async fn cells(&mut self, document: &RawDocument) -> Result<Option<Row>, ConnectorError> {
        loop {
            match self.layout.cells(document) {
                Ok(cells) => return Ok(Some(Row { cells, deleted: false })),
                Err(Refused::Map(path)) => {
                    self.flush().await?;
                    self.layout.close(path);
                }
                Err(Refused::Broken(reason)) => {
                    let raw: String = document
                        .as_bytes()
                        .iter()
                        .take(2_000)
                        .flat_map(|byte| std::ascii::escape_default(*byte))
                        .map(char::from)
                        .collect();
                    self.rows.reject("of unreadable bytes", error::DOCUMENT_UNREADABLE, reason, raw);
                    return Ok(None);
                }
                Err(refused @ Refused::TooMany) => return Err(refused.error()),
            }
        }
    }

    /// Takes a row in; where there is no room for it, what was gathered goes out first.
    pub(super) async fn push(&mut self, row: Row) -> Result<(), ConnectorError> {
        if !self.rows.fits(&row, &self.layout) {
            self.flush().await?;
        }
        self.rows.push(row, &self.layout);
        Ok(())
    }

    async fn add(&mut self, document: &RawDocument) -> Result<(), ConnectorError> {
        match self.cells(document).await? {
            Some(row) => self.push(row).await,
            None => Ok(()),
        }
    }

    /// Sends what was gathered, if anything was, under a shape that has its columns.
    pub(super) async fn flush(&mut self) -> Result<(), ConnectorError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        if self.layout.changed {
            self.announce().await?;
        }
        self.send_rows().await
    }

    /// Sends what was gathered under the shape that was told: new columns are not among its values.
    pub(super) async fn flush_as_told(&mut self) -> Result<(), ConnectorError> {
        if self.rows.is_empty() { Ok(()) } else { self.send_rows().await }
    }

    async fn send_rows(&mut self) -> Result<(), ConnectorError> {
        let (records, rejected) = self.rows.take(&self.layout, &self.announced)?;
        let cursor = self.cursor().value();
        self.job.send(ReadEvent::Batch { records, rejected, cursor }).await
    }
}

/// The value at a path of a document, through objects alone.
pub(super) fn at_path<'a>(document: &'a RawDocument, path: &str) -> Option<RawBsonRef<'a>> {
    let (name, rest) = path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)));
    let value = document.get(name).ok().flatten()?;
    match (rest, value) {
        (None, value) => Some(value),
        (Some(rest), RawBsonRef::Document(inner)) => at_path(inner, rest),
        _ => None,
    }
}
