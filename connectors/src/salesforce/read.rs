//! A read: a snapshot, by a bulk job or page by page, and what changed since.
//!
//! A snapshot is no moment: records change while it is read. The place in the order of changes is taken
//! before it, and what changed from there on is applied after it, by its key, deletes included. A job's
//! results stay at Salesforce for a week, so that a read which was cut off goes on with the same job, at
//! the record where it was.

use super::{
    bulk,
    cursor::{Cursor, Phase, Place, Then},
    describe::{self, Column, KEY, Object, alike, shape},
    error::{self, Refused, is_field_gone},
    rest::{Ask, Pages},
    rows::{Row, Rows},
    session::{Asked, Session},
    soql::{self, Start},
};
use crate::{error::ConnectorError, port::ReadEvent};
use arrow_array::RecordBatch;
use autonomos_domain::schema::{StreamSelection, SyncMode};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::mpsc;

/// Records of each part (head, tail, changed last) of a preview.
const PREVIEW_ROWS: usize = 700;
/// How often an object may change under a read before it is left for a calmer time.
const MAX_AGAIN: usize = 5;

pub(super) type Sender = mpsc::Sender<Result<ReadEvent, ConnectorError>>;

/// One read of one stream.
pub(super) struct Job {
    pub(super) session: Session,
    pub(super) selection: StreamSelection,
    pub(super) mode: SyncMode,
    pub(super) sender: Sender,
}

/// What follows a phase.
pub(super) enum Step {
    /// The next phase; whether its beginning was told already.
    Go(Cursor, bool),
    /// Begun again, from this cursor or from nothing.
    Again(Option<Cursor>, String),
    End,
}

impl Job {
    pub(super) async fn run(&self, cursor: Option<Cursor>) -> Result<(), ConnectorError> {
        if self.mode == SyncMode::Cdc {
            return Err(error::schema("this connector does not follow change events: read by what changed"));
        }
        let mut next = cursor;
        for _ in 0..MAX_AGAIN {
            let mut step = match next.take() {
                Some(cursor) => Step::Go(cursor, false),
                None => self.begin().await?,
            };
            loop {
                step = match step {
                    Step::Go(cursor, told) => match cursor.phase {
                        Phase::Done => return Ok(()),
                        Phase::Pages { .. } => self.pages(cursor, told).await?,
                        Phase::Job { .. } => self.job(cursor, told).await?,
                        Phase::Since { .. } => self.since(cursor).await?,
                    },
                    Step::Again(cursor, reason) => {
                        tracing::warn!(stream = %self.selection.name, "read again: {reason}");
                        next = cursor;
                        break;
                    }
                    Step::End => return Ok(()),
                }
            }
        }
        Err(error::transient(format!("`{}` changes while it is read", self.selection.name)))
    }

    pub(super) async fn send(&self, event: ReadEvent) -> Result<(), ConnectorError> {
        self.sender.send(Ok(event)).await.map_err(|_| ConnectorError::Cancelled)
    }

    pub(super) async fn object(&self) -> Result<Object, ConnectorError> {
        describe::object(&self.session, &self.selection.name).await
    }

    /// The object at the beginning of a read.
    async fn object_found(&self) -> Result<Object, ConnectorError> {
        describe::object_found(&self.session, &self.selection.name).await
    }

    pub(super) fn ask<'a>(&'a self, columns: &'a [Column], all: bool) -> Ask<'a> {
        Ask { session: &self.session, object: &self.selection.name, columns, all }
    }

    fn overlap(&self) -> TimeDelta {
        TimeDelta::minutes(i64::from(self.session.config().overlap_minutes))
    }

    /// Begins a snapshot.
    async fn begin(&self) -> Result<Step, ConnectorError> {
        let object = self.object_found().await?;
        match self.open(&object).await {
            Ok(cursor) => Ok(Step::Go(cursor, true)),
            Err(refused) => self.moved(&object.columns, refused, None).await,
        }
    }

    /// What follows when a field that was asked for is not there: if the object is another one by now, it
    /// is read again.
    async fn moved(
        &self,
        asked: &[Column],
        refused: Refused,
        from: Option<Cursor>,
    ) -> Result<Step, ConnectorError> {
        if is_field_gone(&refused.code) && !alike(&self.object().await?.columns, asked) {
            return Ok(Step::Again(from, refused.error.to_string()));
        }
        Err(refused.error)
    }

    async fn open(&self, object: &Object) -> Asked<Cursor> {
        let taken = self.session.clock();
        let then = match self.mode {
            SyncMode::Full => Then::Done,
            _ => {
                let field = object.stamp(self.selection.cursor_field.as_deref())?;
                Then::Since { place: self.last(object, &field).await? }
            }
        };
        // Counting all of a very large object may take longer than Salesforce lets it.
        let total_rows = match self.ask(&object.columns, false).count(None).await {
            Err(Refused { error: ConnectorError::Transient { .. }, .. }) => None,
            counted => Some(counted?),
        };
        let cursor = Cursor {
            mode: self.mode,
            object: self.selection.name.clone(),
            columns: object.columns.clone(),
            taken,
            phase: Phase::Pages { after: None, then: then.clone() },
        };
        let preview = self.preview(&object.columns, total_rows).await?;
        let began = ReadEvent::Began {
            shape: shape(&object.columns),
            snapshot: true,
            resumed: false,
            preview,
            total_rows,
        };
        self.send(began).await?;
        if total_rows.is_some_and(|rows| rows < self.session.config().bulk_rows || rows == 0) {
            return Ok(cursor);
        }
        match self.submit(&cursor, false, None, then).await {
            Err(refused) if bulk::unsupported(&refused) => {
                tracing::info!(stream = %self.selection.name, "not for jobs, read page by page: {}", refused.error);
                Ok(cursor)
            }
            submitted => submitted,
        }
    }

    /// Makes a job, and writes its id down: a read that is cut off while it is waited for goes on with it.
    pub(super) async fn submit(
        &self,
        cursor: &Cursor,
        all: bool,
        from: Option<Place>,
        then: Then,
    ) -> Asked<Cursor> {
        let names: Vec<&str> = cursor.columns.iter().map(|column| column.name.as_str()).collect();
        let filter = from.clone().and_then(|place| Start::Stamp(place).filter());
        let soql = soql::select(&names, &self.selection.name, filter.as_deref());
        let job = bulk::create(&self.session, &soql, all).await?;
        let cursor = cursor.at(Phase::Job { job, locator: None, skip: 0, from, then });
        self.mark(&cursor).await?;
        Ok(cursor)
    }

    /// Moves the cursor alone.
    pub(super) async fn mark(&self, cursor: &Cursor) -> Result<(), ConnectorError> {
        let records = Rows::new(&cursor.columns)?.batch(Vec::new())?;
        self.send(ReadEvent::Batch { records, rejected: Vec::new(), cursor: cursor.value() }).await
    }

    /// Where an incremental read begins that is made after now.
    pub(super) async fn last(&self, object: &Object, field: &str) -> Asked<Place> {
        let now = self.session.clock();
        let part: Vec<Column> = object
            .columns
            .iter()
            .filter(|column| column.name == KEY || column.name == field)
            .cloned()
            .collect();
        let from = Start::Stamp(Place { field: field.to_owned(), stamp: None, id: None });
        let rows = self.ask(&part, true).few(&from, true, 1).await?;
        let text = |name: &str| {
            let place = part.iter().position(|column| column.name == name)?;
            rows.first()?[place].clone()
        };
        let (stamp, id) = (text(field), text(KEY));
        let last = stamp.as_deref().zip(id.as_deref());
        Ok(Place::after(field, last, now, self.overlap()))
    }

    /// Records from head and tail, and those that changed last.
    pub(super) async fn preview(&self, columns: &[Column], total: Option<u64>) -> Asked<RecordBatch> {
        let ask = self.ask(columns, false);
        let all = 3 * PREVIEW_ROWS;
        let by_key = Start::Key(None);
        let mut rows: Vec<Row>;
        if total.is_some_and(|total| total <= all as u64) {
            rows = ask.few(&by_key, false, all).await?;
        } else {
            rows = ask.few(&by_key, false, PREVIEW_ROWS).await?;
            if let Some(stamp) = columns.iter().find(|column| column.name == "SystemModstamp") {
                let from = Start::Stamp(Place { field: stamp.name.clone(), stamp: None, id: None });
                rows.extend(ask.few(&from, true, PREVIEW_ROWS).await?);
            }
            rows.extend(ask.few(&by_key, true, PREVIEW_ROWS).await?);
        }
        Ok(Rows::new(columns)?.batch(rows)?)
    }

    /// Says that rows have these columns from here on.
    pub(super) async fn reshape(&self, columns: &[Column]) -> Result<(), ConnectorError> {
        let preview = match self.preview(columns, None).await {
            // Altered again at this moment: the rows will tell.
            Err(refused) if is_field_gone(&refused.code) => Rows::new(columns)?.batch(Vec::new())?,
            preview => preview?,
        };
        self.send(ReadEvent::Reshaped { shape: shape(columns), preview }).await
    }

    pub(super) async fn resume(&self, cursor: &Cursor, snapshot: bool) -> Result<(), ConnectorError> {
        let preview = Rows::new(&cursor.columns)?.batch(Vec::new())?;
        let shape = shape(&cursor.columns);
        self.send(ReadEvent::Began { shape, snapshot, resumed: true, preview, total_rows: None }).await
    }

    /// Sends what was gathered, if anything was.
    pub(super) async fn flush(&self, rows: &mut Rows, cursor: &Cursor) -> Result<(), ConnectorError> {
        if rows.is_empty() {
            return Ok(());
        }
        let (records, rejected) = rows.take()?;
        self.send(ReadEvent::Batch { records, rejected, cursor: cursor.value() }).await
    }

    /// The rest of a snapshot, page by page.
    async fn pages(&self, cursor: Cursor, told: bool) -> Result<Step, ConnectorError> {
        let Phase::Pages { after, then } = cursor.phase.clone() else { return Ok(Step::End) };
        let mut cursor = cursor;
        if !told {
            let object = self.object_found().await?;
            self.resume(&cursor, true).await?;
            if !alike(&object.columns, &cursor.columns) {
                self.reshape(&object.columns).await?;
                cursor.columns = object.columns;
            }
        }
        let mut from = Start::Key(after);
        loop {
            let columns = cursor.columns.clone();
            let mut pages = Pages::new(self.ask(&columns, false), from.clone());
            let mut rows = Rows::new(&columns)?;
            let read = self.drain(&mut pages, &mut rows, &mut cursor).await;
            from = pages.place().clone();
            match read {
                Ok(()) => break,
                Err(refused) => {
                    let object = self.object().await?;
                    if !is_field_gone(&refused.code) || alike(&object.columns, &columns) {
                        return Err(refused.error);
                    }
                    self.reshape(&object.columns).await?;
                    cursor.columns = object.columns;
                }
            }
        }
        self.send(ReadEvent::Completed { cursor: cursor.at(then.phase()).value() }).await?;
        Ok(Step::End)
    }

    /// Reads pages to their end; what was read is sent even if there is no more.
    async fn drain(&self, pages: &mut Pages<'_>, rows: &mut Rows, cursor: &mut Cursor) -> Asked<()> {
        loop {
            let page = pages.next().await;
            let Ok(Some(page)) = page else {
                self.flush(rows, cursor).await?;
                return page.map(|_| ());
            };
            for row in page {
                if !rows.fits(&row) {
                    self.flush(rows, cursor).await?;
                }
                if let Phase::Pages { after, .. } = &mut cursor.phase {
                    *after = Some(rows.key(&row));
                }
                rows.push(row);
            }
        }
    }

    /// After a snapshot: on to what changed meanwhile, or a look whether the object is still what it was.
    pub(super) async fn follow(&self, cursor: Cursor, then: &Then) -> Result<Step, ConnectorError> {
        let next = cursor.at(then.phase());
        self.send(ReadEvent::Completed { cursor: next.value() }).await?;
        if matches!(then, Then::Since { .. }) {
            return Ok(Step::Go(next, false));
        }
        let object = self.object().await?;
        if alike(&object.columns, &cursor.columns) {
            return Ok(Step::End);
        }
        let preview = match self.preview(&object.columns, None).await {
            Err(refused) if is_field_gone(&refused.code) => return Ok(Step::End),
            preview => preview?,
        };
        let shape = shape(&object.columns);
        let began = ReadEvent::Began { shape, snapshot: false, resumed: false, preview, total_rows: None };
        self.send(began).await?;
        self.send(ReadEvent::Completed { cursor: next.value() }).await?;
        Ok(Step::End)
    }

    /// What changed since a place, deletes included.
    async fn since(&self, cursor: Cursor) -> Result<Step, ConnectorError> {
        let Phase::Since { place, begun } = cursor.phase.clone() else { return Ok(Step::End) };
        let object = self.object_found().await?;
        // A read that goes on after a kill is as old as its beginning: the overlap counts from there.
        let begun_at = begun.or_else(|| self.session.clock());
        if let Some(reason) = self.stale(&cursor, &object, &place) {
            return Ok(Step::Again(None, reason));
        }
        self.resume(&cursor, false).await?;
        let mut cursor = cursor;
        if !alike(&object.columns, &cursor.columns) {
            self.reshape(&object.columns).await?;
            cursor.columns = object.columns.clone();
        }
        let mut from = Start::Stamp(place.clone());
        loop {
            let columns = cursor.columns.clone();
            let mut pages = Pages::new(self.ask(&columns, true), from.clone());
            let read = self.changes(&mut pages, &mut cursor, begun_at).await;
            from = pages.place().clone();
            match read {
                Ok(None) => break,
                Ok(Some(submitted)) => return Ok(Step::Go(submitted, true)),
                Err(refused) => {
                    let object = self.object().await?;
                    if !is_field_gone(&refused.code) || alike(&object.columns, &columns) {
                        return Err(refused.error);
                    }
                    if !object.has(&place.field) {
                        return Ok(Step::Again(None, format!("`{}` is gone", place.field)));
                    }
                    self.reshape(&object.columns).await?;
                    cursor.columns = object.columns;
                }
            }
        }
        let Start::Stamp(reached) = from else { return Ok(Step::End) };
        let last = reached.stamp.as_deref().zip(reached.id.as_deref());
        let next = match last {
            Some(_) => Place::after(&place.field, last, begun_at, self.overlap()),
            None => reached,
        };
        let moved = cursor.at(Phase::Since { place: next, begun: None });
        if moved.phase != cursor.phase {
            self.mark(&moved).await?;
        }
        self.send(ReadEvent::Completed { cursor: moved.value() }).await?;
        Ok(Step::End)
    }

    /// Why an incremental read does not go on from its place, if it does not.
    fn stale(&self, cursor: &Cursor, object: &Object, place: &Place) -> Option<String> {
        let chosen = self.selection.cursor_field.as_ref();
        if chosen.is_some_and(|chosen| *chosen != place.field) {
            return Some("another cursor field was chosen".to_owned());
        }
        if !object.has(&place.field) {
            return Some(format!("`{}` is gone", place.field));
        }
        let days = i64::from(self.session.config().snapshot_days);
        let age = self.session.clock()? - cursor.taken?;
        (object.formulas && days > 0 && age > TimeDelta::days(days))
            .then(|| "formulas change without a trace: it is time for a whole read".to_owned())
    }

    /// Reads what changed, page by page; or the job, where it is much.
    async fn changes(
        &self,
        pages: &mut Pages<'_>,
        cursor: &mut Cursor,
        begun: Option<DateTime<Utc>>,
    ) -> Asked<Option<Cursor>> {
        let mut rows = Rows::new(&cursor.columns)?;
        let Start::Stamp(place) = pages.place().clone() else { return Ok(None) };
        let Some(stamp) = rows.place(&place.field) else { return Ok(None) };
        let mut first = true;
        loop {
            let page = pages.next().await;
            let Ok(Some(page)) = page else {
                self.flush(&mut rows, cursor).await?;
                return page.map(|_| None);
            };
            if std::mem::take(&mut first)
                && pages.total.is_some_and(|total| total > 0 && total >= self.session.config().bulk_rows)
            {
                match self.by_job(cursor, &place).await {
                    Err(refused) if bulk::unsupported(&refused) => {}
                    submitted => return submitted.map(Some),
                }
            }
            for row in page {
                if !rows.fits(&row) {
                    self.flush(&mut rows, cursor).await?;
                }
                let id = Some(rows.key(&row));
                let stamp = row[stamp].as_deref().and_then(super::value::instant);
                let reached = Place { field: place.field.clone(), stamp, id };
                cursor.phase = Phase::Since { place: reached, begun };
                rows.push(row);
            }
        }
    }

    async fn by_job(&self, cursor: &Cursor, place: &Place) -> Asked<Cursor> {
        let object = Object { name: cursor.object.clone(), columns: cursor.columns.clone(), formulas: false };
        let then = Then::Since { place: self.last(&object, &place.field).await? };
        self.submit(cursor, true, Some(place.clone()), then).await
    }
}
