//! A read through PostgREST: a snapshot in the order of the key, or what changed by a cursor column.
//!
//! PostgREST describes tables from a cache of its own. A column that was asked for and is not there says
//! that the table is another one by now: it is described again, and the read goes on in its new shape, once
//! the cache knows it.

use super::{
    cursor::{Cursor, Next as Then, Phase},
    describe::{self, Column, Table, alike, shape},
    error::{self, Reason, Refused},
    pages::{Ask, Next, Pages},
    query,
    session::{Asked, Session},
    value,
};
use crate::{
    error::ConnectorError,
    port::{Events, ReadEvent},
    retry,
    rows::{Row, Rows, Texts, Write},
};
use arrow_array::RecordBatch;
use autonomos_domain::schema::{StreamSelection, SyncMode};
use std::collections::HashSet;

/// Rows of each part (head, tail, middle) of a preview.
const PREVIEW_ROWS: usize = 700;
/// Pages asked for to fill a part of it, where the server cuts them.
const PREVIEW_PAGES: usize = 4;
/// How often a table may be altered during one read before it is left for a calmer time.
const MAX_ANEW: usize = 5;
/// How often a table is described again until the description is of what is there.
const LOOKS: u32 = 6;

/// One read of one stream.
pub(super) struct Job {
    pub(super) session: Session,
    pub(super) selection: StreamSelection,
    pub(super) mode: SyncMode,
    pub(super) sender: Events,
}

enum Step {
    /// The table is to be read anew.
    Anew(String),
    End,
}

/// The columns by which rows are taken in order, and whether no two rows can have the same values in them.
type Order = (Vec<String>, bool);

impl Job {
    pub(super) async fn run(&self, cursor: Option<Cursor>) -> Result<(), ConnectorError> {
        if self.mode == SyncMode::Cdc {
            return Err(error::schema(
                "the REST API tells no changes: connect to the database itself to follow them",
            ));
        }
        let mut next = cursor.filter(|cursor| cursor.phase != Phase::Done);
        for _ in 0..MAX_ANEW {
            let step = match next.take() {
                Some(cursor) => self.resume(cursor).await?,
                None => self.begin().await?,
            };
            match step {
                Step::Anew(reason) => {
                    tracing::warn!(stream = %self.selection.name, "the table is read anew: {reason}");
                }
                Step::End => return Ok(()),
            }
        }
        Err(error::transient(format!("the table `{}` is altered while it is read", self.selection.name)))
    }

    async fn send(&self, event: ReadEvent) -> Result<(), ConnectorError> {
        self.sender.send(Ok(event)).await.map_err(|_| ConnectorError::Cancelled)
    }

    async fn table(&self) -> Asked<Table> {
        describe::of_stream(&self.session, &self.selection.name).await
    }

    fn order(&self, table: &Table) -> Option<Order> {
        table.order(self.selection.primary_key.as_ref())
    }

    fn ask<'a>(&'a self, table: &'a str, columns: &'a [Column]) -> Ask<'a> {
        Ask { session: &self.session, table, columns }
    }

    /// The table as it is, after these columns were not all there any more.
    async fn moved(&self, asked: &[Column], refused: Refused) -> Result<Table, ConnectorError> {
        if refused.reason != Reason::Gone {
            return Err(refused.error);
        }
        for look in 1..=LOOKS {
            let table = self.table().await?;
            if !alike(&table.columns, asked) {
                return Ok(table);
            }
            tokio::time::sleep(retry::wait(look)).await;
        }
        Err(error::transient(format!(
            "PostgREST describes `{}` as it was before it was altered: `NOTIFY pgrst, 'reload schema'` ({})",
            self.selection.name, refused.error
        )))
    }

    /// Reads the whole table.
    async fn begin(&self) -> Result<Step, ConnectorError> {
        let table = self.table().await?;
        let begun = match self.order(&table) {
            Some(order) => self.open(&table, order).await.map(Some),
            None if self.mode == SyncMode::Full => self.whole(&table).await.map(|()| None),
            None => Err(error::without_key(format!(
                "`{}` has no key by which what changed can be read page by page: choose one, or read it whole",
                self.selection.name
            ))
            .into()),
        };
        match begun {
            Ok(Some((cursor, sure))) => self.pages(&table.name, cursor, sure).await,
            Ok(None) => Ok(Step::End),
            Err(refused) => {
                let message = refused.error.to_string();
                self.moved(&table.columns, refused).await?;
                Ok(Step::Anew(message))
            }
        }
    }

    /// Says what comes; where the pages begin.
    async fn open(&self, table: &Table, (key, sure): Order) -> Asked<(Cursor, bool)> {
        let ask = self.ask(&table.name, &table.columns);
        if !sure {
            ask.without_nulls(&key).await?;
        }
        let next = match self.mode {
            SyncMode::Full => Then::Done,
            _ => {
                let field = self.cursor_field(table)?;
                Then::Incremental { from: ask.greatest(&field).await?, field }
            }
        };
        let (preview, total_rows) = self.preview(ask, &key).await?;
        let shape = shape(&table.columns, &key);
        self.send(ReadEvent::Began { shape, snapshot: true, resumed: false, preview, total_rows }).await?;
        let phase = Phase::Snapshot { after: None, next };
        Ok((self.cursor(table.columns.clone(), key, phase), sure))
    }

    fn cursor(&self, columns: Vec<Column>, key: Vec<String>, phase: Phase) -> Cursor {
        Cursor { mode: self.mode, stream: self.selection.name.clone(), columns, key, phase }
    }

    fn cursor_field(&self, table: &Table) -> Result<String, ConnectorError> {
        let missing = |message: String| Err(error::schema(message));
        if let Some(chosen) = &self.selection.cursor_field {
            return match table.column(chosen) {
                Some(_) => Ok(chosen.clone()),
                None => missing(format!("`{}` has no column `{chosen}`", self.selection.name)),
            };
        }
        match table.cursor_fields().as_slice() {
            [only] => Ok(only.clone()),
            _ => missing(format!(
                "choose the cursor column of `{}`: the one that grows whenever a row changes",
                self.selection.name
            )),
        }
    }

    /// What has no key, at once.
    async fn whole(&self, table: &Table) -> Asked<()> {
        let all = self.ask(&table.name, &table.columns).whole().await?;
        let mut rows = gather(&table.columns, &[]);
        let cursor =
            self.cursor(table.columns.clone(), Vec::new(), Phase::Snapshot { after: None, next: Then::Done });
        let total = all.len();
        let part = |from: usize| all.iter().skip(from).take(PREVIEW_ROWS).cloned();
        let sample: Vec<Texts> = if total <= 3 * PREVIEW_ROWS {
            all.clone()
        } else {
            part(0).chain(part(total / 2 - PREVIEW_ROWS / 2)).chain(part(total - PREVIEW_ROWS)).collect()
        };
        let preview = batch(&rows, sample)?;
        let shape = shape(&table.columns, &[]);
        let total_rows = Some(total as u64);
        self.send(ReadEvent::Began { shape, snapshot: true, resumed: false, preview, total_rows }).await?;
        for row in all {
            if !rows.fits(&row) {
                self.flush(&mut rows, &cursor).await?;
            }
            rows.push(Row::of(row));
        }
        self.flush(&mut rows, &cursor).await?;
        self.send(ReadEvent::Completed { cursor: cursor.at(Phase::Done).value() }).await?;
        Ok(())
    }

    /// Goes on from a cursor.
    async fn resume(&self, cursor: Cursor) -> Result<Step, ConnectorError> {
        let table = self.table().await?;
        let Some((key, sure)) = self.order(&table) else {
            return Ok(Step::Anew("it has no key".to_owned()));
        };
        let snapshot = match &cursor.phase {
            Phase::Done => return Ok(Step::End),
            Phase::Snapshot { after: None, .. } => {
                return Ok(Step::Anew("nothing of it was read yet".to_owned()));
            }
            Phase::Snapshot { .. } if key != cursor.key => {
                return Ok(Step::Anew("it has another key".to_owned()));
            }
            Phase::Snapshot { .. } => true,
            Phase::Incremental { field, .. } => {
                let chosen = self.selection.cursor_field.as_ref();
                if chosen.is_some_and(|chosen| chosen != field) {
                    return Ok(Step::Anew("another cursor column was chosen".to_owned()));
                }
                if table.column(field).is_none() {
                    return Ok(Step::Anew(format!("the cursor column `{field}` is gone")));
                }
                false
            }
        };
        let preview = batch(&gather(&cursor.columns, &cursor.key), Vec::new())?;
        let shape = shape(&cursor.columns, &cursor.key);
        self.send(ReadEvent::Began { shape, snapshot, resumed: true, preview, total_rows: None }).await?;
        let mut cursor = cursor;
        if !alike(&table.columns, &cursor.columns) || key != cursor.key {
            self.reshape(&table, &key, &mut cursor).await?;
        }
        self.pages(&table.name, cursor, sure).await
    }

    /// Says that rows are of this shape from here on.
    async fn reshape(
        &self,
        table: &Table,
        key: &[String],
        cursor: &mut Cursor,
    ) -> Result<(), ConnectorError> {
        let preview = match self.preview(self.ask(&table.name, &table.columns), key).await {
            Ok((preview, _)) => preview,
            // Altered again at this moment: the rows will tell.
            Err(Refused { reason: Reason::Gone, .. }) => batch(&gather(&table.columns, key), Vec::new())?,
            Err(refused) => return Err(refused.error),
        };
        self.send(ReadEvent::Reshaped { shape: shape(&table.columns, key), preview }).await?;
        cursor.columns.clone_from(&table.columns);
        key.clone_into(&mut cursor.key);
        Ok(())
    }

    /// Reads pages to their end, in whatever shapes the table takes meanwhile.
    async fn pages(&self, table: &str, mut cursor: Cursor, mut sure: bool) -> Result<Step, ConnectorError> {
        let mut after = match &cursor.phase {
            Phase::Snapshot { after, .. } => after.clone(),
            _ => None,
        };
        loop {
            let columns = cursor.columns.clone();
            let ask = self.ask(table, &columns);
            let (order, filter) = match &cursor.phase {
                Phase::Incremental { field, from } => {
                    let rest = cursor.key.iter().filter(|name| *name != field).cloned();
                    let order = [field.clone()].into_iter().chain(rest).collect();
                    (order, Some(query::from(field, from.as_deref())))
                }
                _ => (cursor.key.clone(), None),
            };
            let mut pages = Pages::new(ask, order, sure, filter, after.clone());
            let read = self.drain(&mut pages, &mut cursor).await;
            after = pages.place().cloned();
            let Err(refused) = read else { break };
            let table = self.moved(&columns, refused).await?;
            let order = self.order(&table).filter(|(key, _)| *key == cursor.key);
            let Some((key, still)) = order else { return Ok(Step::Anew("it has another key".to_owned())) };
            if let Phase::Incremental { field, .. } = &cursor.phase
                && table.column(field).is_none()
            {
                return Ok(Step::Anew(format!("the cursor column `{field}` is gone")));
            }
            sure = still;
            self.reshape(&table, &key, &mut cursor).await?;
        }
        let end = match &cursor.phase {
            Phase::Snapshot { next, .. } => cursor.at(next.phase()),
            _ => cursor,
        };
        self.send(ReadEvent::Completed { cursor: end.value() }).await?;
        Ok(Step::End)
    }

    /// Reads pages until there are no more; what was read is sent in any case.
    async fn drain(&self, pages: &mut Pages<'_>, cursor: &mut Cursor) -> Asked<()> {
        let mut rows = gather(&cursor.columns, &cursor.key);
        let stamp = match &cursor.phase {
            Phase::Incremental { field, .. } => {
                cursor.columns.iter().position(|column| column.name == *field)
            }
            _ => None,
        };
        loop {
            let page = match pages.next().await {
                Ok(page) if !page.is_empty() => page,
                ended => {
                    self.flush(&mut rows, cursor).await?;
                    return ended.map(|_| ());
                }
            };
            for next in page {
                let reached = match next {
                    Next::Row(row) => {
                        if !rows.fits(&row) {
                            self.flush(&mut rows, cursor).await?;
                        }
                        let key = rows.key(&row);
                        let reached = stamp.and_then(|place| row[place].clone());
                        rows.push(Row::of(row));
                        (key, reached)
                    }
                    Next::TooLarge(key, reason) => {
                        rows.leave_out(&key, reason);
                        let reached = stamp.and_then(|_| key.first().cloned());
                        (key, reached)
                    }
                };
                advance(&mut cursor.phase, reached);
            }
        }
    }

    /// Sends what was gathered, if anything was: it fits into one batch, for that was looked at before each
    /// row.
    async fn flush(&self, rows: &mut Rows, cursor: &Cursor) -> Result<(), ConnectorError> {
        if rows.is_empty() {
            return Ok(());
        }
        for (records, rejected) in rows.take()? {
            self.send(ReadEvent::Batch { records, rejected, cursor: cursor.value() }).await?;
        }
        Ok(())
    }

    /// Rows from head, tail and middle, and how many there are in all, as far as that is known.
    async fn preview(&self, ask: Ask<'_>, key: &[String]) -> Asked<(RecordBatch, Option<u64>)> {
        let layout = gather(ask.columns, key);
        let mut found: Vec<Texts> = Vec::new();
        for _ in 0..PREVIEW_PAGES {
            let filter = found.last().map(|row| query::after(key, &layout.key(row), false));
            let missing = PREVIEW_ROWS - found.len().min(PREVIEW_ROWS);
            let Some(rows) = fetched(ask.few(key, filter, false, missing).await)? else { break };
            let end = rows.is_empty();
            found.extend(rows);
            if end {
                let total = found.len() as u64;
                return Ok((batch(&layout, found)?, Some(total)));
            }
            if found.len() >= PREVIEW_ROWS {
                break;
            }
        }
        let mut rest = fetched(ask.few(key, None, true, PREVIEW_ROWS).await)?.unwrap_or_default();
        rest.extend(self.middle(ask, key, &layout, &found, &rest).await?);
        let mut seen: HashSet<Vec<String>> = found.iter().map(|row| layout.key(row)).collect();
        found.extend(rest.into_iter().filter(|row| seen.insert(layout.key(row))));
        // An estimate that is not above what was seen is none.
        let total = self.session.estimate(ask.table).await?.filter(|total| *total > found.len() as u64);
        Ok((batch(&layout, found)?, total))
    }

    /// Rows from the middle of the numbers that a key has.
    async fn middle(
        &self,
        ask: Ask<'_>,
        key: &[String],
        layout: &Rows,
        head: &[Texts],
        tail: &[Texts],
    ) -> Asked<Vec<Texts>> {
        let number = |row: Option<&Texts>| -> Option<i64> { layout.key(row?).first()?.parse().ok() };
        let ([_], Some(low), Some(high)) = (key, number(head.last()), number(tail.first())) else {
            return Ok(Vec::new());
        };
        let middle = i64::midpoint(low, high).to_string();
        let from = Some(query::after(key, &[middle], true));
        Ok(fetched(ask.few(key, from, false, PREVIEW_ROWS).await)?.unwrap_or_default())
    }
}

/// A preview does without rows that are too large to be fetched.
fn fetched(rows: Asked<Vec<Texts>>) -> Asked<Option<Vec<Texts>>> {
    match rows {
        Err(Refused { reason: Reason::TooMuch, error: ConnectorError::Data { .. } }) => Ok(None),
        rows => rows.map(Some),
    }
}

fn advance(phase: &mut Phase, (key, reached): (Vec<String>, Option<String>)) {
    match phase {
        Phase::Snapshot { after, .. } => *after = Some(key),
        Phase::Incremental { from, .. } => *from = reached,
        Phase::Done => {}
    }
}

fn gather(columns: &[Column], key: &[String]) -> Rows {
    let write = |column: &Column| -> (String, Write) {
        let kind = column.kind();
        (column.name.clone(), Box::new(move |text| value::write(&kind, text)))
    };
    Rows::new(columns.iter().map(write), key, error::ROWS)
}

fn batch(layout: &Rows, rows: Vec<Texts>) -> Result<RecordBatch, ConnectorError> {
    layout.batch(rows.into_iter().map(Row::of).collect())
}
