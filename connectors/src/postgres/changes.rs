//! What changed since a place in the server's log, row by row, each once.
//!
//! A relation message before the rows tells the table's shape as it was when they were written: a
//! table that was altered is noticed where it was altered. What an `ALTER TABLE` does to rows without
//! writing them again as changes (a default in a new column, another type) makes the table be read anew.

use super::{
    catalog::{Table, Types},
    cursor::{Column, Cursor, Phase, Place, lsn, lsn_text},
    error,
    pgoutput::{self, Cell, Message, Relation, Tuple},
    read::{Job, Step, alike, preview},
    session::{Session, ident, literal},
    slot,
};
use crate::{
    error::ConnectorError,
    port::{MAX_BATCH_ROWS, ReadEvent},
    rows::{Row, Rows, Texts},
};
use futures::StreamExt;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

/// Changes asked for at a time; a transaction is never cut.
const CHUNK: i32 = 50_000;
/// A place is written down without rows when it is so much further than the last one: the server
/// frees its log in pieces of this size.
const STEP_BYTES: u64 = 16 * 1024 * 1024;

/// What is known while changes are applied.
struct Follow<'a> {
    job: &'a Job,
    /// For what has to be looked up meanwhile.
    session: &'a mut Session,
    types: &'a mut Types,
    cursor: Cursor,
    place: Place,
    rows: Rows,
    /// The shape of the next rows, until the first of them is applied.
    relation: Option<Relation>,
    /// Where the transaction that is read commits, and how many of its changes were seen.
    transaction: (u64, u64),
    /// Of the transaction that commits at `.0`, so many changes were applied by an earlier read.
    applied: Option<(u64, u64)>,
    /// The cursor that went out last.
    sent: Value,
}

impl Job {
    /// `fresh`: the snapshot before was read just now.
    pub(super) async fn changes(
        &self,
        session: &mut Session,
        types: &mut Types,
        cursor: Cursor,
        fresh: bool,
    ) -> Result<Step, ConnectorError> {
        let Phase::Changes { place } = cursor.phase.clone() else { return Ok(Step::End) };
        types.learn(session, &cursor.columns).await?;
        let rows = types.rows(&cursor.columns, &cursor.key);
        let table = self.table(session).await?;
        let preview = if !fresh && alike(&table.columns(self.mode), &cursor.columns) {
            match preview(session, &table, &rows).await {
                Ok((preview, _)) => preview,
                // Altered at this moment: the changes will tell.
                Err(ConnectorError::Schema { .. }) => rows.batch(Vec::new())?,
                Err(other) => return Err(other),
            }
        } else {
            rows.batch(Vec::new())?
        };
        let began = ReadEvent::Began {
            shape: types.shape(&cursor.columns, &cursor.key),
            snapshot: false,
            resumed: true,
            preview,
            total_rows: None,
        };
        self.send(began).await?;
        let end = session.value("SELECT pg_current_wal_flush_lsn()::text".to_owned()).await?;
        let end = lsn(&end.unwrap_or_default())?;
        let name = self.config.slot(self.connection)?;
        let (publication, _) = self.config.publication(&name);
        let mut source = Session::open(&self.config, self.network).await?;
        let copy = slot::copy(&mut source, &name, place.lsn).await?;
        let mut follow = Follow {
            job: self,
            session,
            types,
            place,
            rows,
            relation: None,
            transaction: (0, 0),
            applied: place.within,
            sent: cursor.value(),
            cursor,
        };
        loop {
            let mut count = 0;
            let mut messages = source.messages(&copy, end, CHUNK, &publication);
            while let Some(message) = messages.next().await {
                count += 1;
                if let Some(reason) = follow.take(pgoutput::decode(&message?)?).await? {
                    return Ok(Step::Anew(reason));
                }
            }
            drop(messages);
            if let Some(reason) = follow.flush().await? {
                return Ok(Step::Anew(reason));
            }
            if count < CHUNK {
                break;
            }
        }
        // Where the copy stands is the start of a record, which the end asked for need not be.
        let reached = slot::find(&mut source, &copy).await?.map_or(follow.place.lsn, |slot| slot.confirmed);
        follow.end(reached, place).await?;
        Ok(Step::End)
    }
}

impl Follow<'_> {
    /// Applies a message; why the table must be read anew, if it must.
    async fn take(&mut self, message: Message) -> Result<Option<String>, ConnectorError> {
        let table = self.cursor.table;
        match message {
            Message::Begin { commit } => self.transaction = (commit, 0),
            Message::Commit { end } if end > self.place.lsn => {
                self.place = Place { lsn: end, within: None };
            }
            Message::Relation(relation) if relation.table == table => self.relation = Some(relation),
            Message::Insert { table: of, row } if of == table => {
                if let Some(reason) = self.counted().await? {
                    return Ok(reason.reason());
                }
                return self.upsert(None, row).await;
            }
            Message::Update { table: of, old, row } if of == table => {
                if let Some(reason) = self.counted().await? {
                    return Ok(reason.reason());
                }
                return self.upsert(old, row).await;
            }
            Message::Delete { table: of, old } if of == table => {
                if let Some(reason) = self.counted().await? {
                    return Ok(reason.reason());
                }
                let key = self.rows.key_places().to_vec();
                let gone = deleted(&texts(old).0, &key);
                if let Some(reason) = self.room(&gone.values).await? {
                    return Ok(Some(reason));
                }
                self.rows.push(gone);
                self.place.within = Some(self.transaction);
            }
            Message::Truncate { tables } if tables.contains(&table) => {
                if let Some(reason) = self.counted().await? {
                    return Ok(reason.reason());
                }
                if let Some(reason) = self.flush().await? {
                    return Ok(Some(reason));
                }
                self.place.within = Some(self.transaction);
                self.sent = self.at_place().value();
                self.job.send(ReadEvent::Cleared { cursor: self.sent.clone() }).await?;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Counts a change of the table. Answers what keeps it from being applied, if anything does.
    async fn counted(&mut self) -> Result<Option<Kept>, ConnectorError> {
        self.transaction.1 += 1;
        let (commit, number) = self.transaction;
        if commit < self.place.lsn || self.applied.is_some_and(|(at, count)| at == commit && number <= count)
        {
            return Ok(Some(Kept::Applied));
        }
        match self.relation.take() {
            Some(relation) => Ok(self.reshape(relation).await?.map(Kept::Anew)),
            None => Ok(None),
        }
    }

    /// Makes room for a change; why the table must be read anew, if it must.
    async fn room(&mut self, values: &Texts) -> Result<Option<String>, ConnectorError> {
        // An update of the key is two rows, and the first is of the key alone.
        if self.rows.fits(values) && self.rows.gathered.len() + 1 < MAX_BATCH_ROWS {
            Ok(None)
        } else {
            self.flush().await
        }
    }

    async fn upsert(&mut self, old: Option<Tuple>, row: Tuple) -> Result<Option<String>, ConnectorError> {
        let (mut values, mut missing) = texts(row);
        if values.len() != self.cursor.columns.len() {
            return Err(error::unreadable(format!(
                "a row has {} values where the table has {} columns",
                values.len(),
                self.cursor.columns.len()
            )));
        }
        let key = self.rows.key_places().to_vec();
        let mut gone = None;
        if let Some((before, untold)) = old.map(texts) {
            missing.retain(|place| {
                let told = !untold.contains(place) && before.get(*place).is_some_and(Option::is_some);
                if told {
                    values[*place].clone_from(&before[*place]);
                }
                !told
            });
            if key.iter().any(|place| before.get(*place) != values.get(*place)) {
                gone = Some(deleted(&before, &key));
            }
        }
        if key.iter().any(|place| missing.contains(place)) {
            return Err(error::unreadable("an update does not tell the key of its row"));
        }
        if let Some(reason) = self.room(&values).await? {
            return Ok(Some(reason));
        }
        if let Some(gone) = gone {
            self.rows.push(gone);
        }
        self.rows.push(Row { values, deleted: false, missing });
        self.place.within = Some(self.transaction);
        Ok(None)
    }

    fn at_place(&self) -> Cursor {
        self.cursor.at(Phase::Changes { place: self.place })
    }

    /// Sends what was gathered; why the table must be read anew, if it must.
    async fn flush(&mut self) -> Result<Option<String>, ConnectorError> {
        match self.fill().await {
            Ok(()) => {}
            Err(ConnectorError::Schema { message, .. }) => return Ok(Some(message)),
            Err(other) => return Err(other),
        }
        let cursor = self.at_place().value();
        self.job.flush(&mut self.rows, &cursor, Some(&self.sent)).await?;
        self.sent = cursor;
        Ok(None)
    }

    /// Looks up large values that an update did not touch: the log of changes does not have them. A
    /// row is read as it is by now, which a later change would make it anyway; one that is gone, or
    /// has another key by now, closes here rather than a little later.
    async fn fill(&mut self) -> Result<(), ConnectorError> {
        let wanted: BTreeSet<usize> =
            self.rows.gathered.iter().flat_map(|row| row.missing.iter().copied()).collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let table = self.job.table(self.session).await?;
        let key = self.rows.key_places().to_vec();
        let name = |place: &usize| ident(&self.cursor.columns[*place].name);
        let asked: Vec<String> = key.iter().chain(&wanted).map(name).collect();
        let keys: Vec<String> = key.iter().map(name).collect();
        let rows = self.rows.gathered.iter().filter(|row| !row.missing.is_empty());
        let rows: BTreeSet<Vec<String>> = rows.map(|row| self.rows.key(&row.values)).collect();
        let mut found: HashMap<Vec<String>, Texts> = HashMap::new();
        for some in rows.into_iter().collect::<Vec<_>>().chunks(500) {
            let values = some.iter().map(|key| {
                let texts: Vec<String> = key.iter().map(|text| literal(text)).collect();
                format!("({})", texts.join(", "))
            });
            let sql = format!(
                "SELECT {} FROM {} WHERE ({}) IN ({})",
                asked.join(", "),
                table.quoted(),
                keys.join(", "),
                values.collect::<Vec<_>>().join(", ")
            );
            for mut row in self.session.rows(sql).await? {
                let rest = row.split_off(key.len());
                found.insert(row.into_iter().map(Option::unwrap_or_default).collect(), rest);
            }
        }
        let mut filled = std::mem::take(&mut self.rows.gathered);
        for row in filled.iter_mut().filter(|row| !row.missing.is_empty()) {
            match found.get(&self.rows.key(&row.values)) {
                Some(values) => {
                    for (place, value) in wanted.iter().zip(values) {
                        if row.missing.contains(place) {
                            row.values[*place].clone_from(value);
                        }
                    }
                }
                None => *row = deleted(&row.values, &key),
            }
        }
        self.rows.gathered = filled;
        Ok(())
    }

    /// The rows that follow are of this shape; why the table must be read anew, if it must.
    async fn reshape(&mut self, relation: Relation) -> Result<Option<String>, ConnectorError> {
        let before = &self.cursor.columns;
        let same = before.len() == relation.columns.len()
            && before
                .iter()
                .zip(&relation.columns)
                .all(|(old, new)| old.name == new.name && old.oid == new.oid);
        if same {
            return Ok(None);
        }
        if let Some(reason) = self.flush().await? {
            return Ok(Some(reason));
        }
        let table = self.job.table(self.session).await?;
        let before = self.cursor.columns.clone();
        let (columns, renamed) = match compared(&before, &relation, &table) {
            Ok(compared) => compared,
            Err(reason) => return Ok(Some(reason)),
        };
        let now = |name: &String| renamed.get(name).unwrap_or(name).clone();
        let key: Vec<String> = self.cursor.key.iter().map(now).collect();
        // Under `REPLICA IDENTITY FULL` every column is marked.
        let marked = |name: &String| relation.columns.iter().any(|column| column.key && column.name == *name);
        let others = relation.columns.iter().filter(|column| column.key && !key.contains(&column.name));
        let full = relation.columns.iter().all(|column| column.key);
        if !key.iter().all(marked) || (others.count() > 0 && !full) {
            return Err(error::key(format!(
                "`{}` has another primary key than `{}`, by which its records are told apart: choose the stream's key",
                table.stream(),
                self.cursor.key.join("`, `")
            )));
        }
        self.types.learn(self.session, &columns).await?;
        let rows = self.types.rows(&columns, &key);
        let (preview, _) = match preview(self.session, &table, &rows).await {
            Ok(preview) => preview,
            // Altered once more since: its rows under the names of now have all of that.
            Err(ConnectorError::Schema { message, .. }) => return Ok(Some(message)),
            Err(other) => return Err(other),
        };
        let shape = self.types.shape(&columns, &key);
        self.job.send(ReadEvent::Reshaped { shape, preview }).await?;
        self.cursor.columns = columns;
        self.cursor.key = key;
        self.rows = rows;
        Ok(None)
    }

    /// All is read: the last place is written down if it is far from the last that was.
    async fn end(mut self, reached: u64, began: Place) -> Result<(), ConnectorError> {
        let written = self.place.lsn;
        let moved = written != began.lsn;
        if reached > written {
            self.place = Place { lsn: reached, within: None };
        }
        let far = self.place.lsn.saturating_sub(if moved { written } else { began.lsn }) >= STEP_BYTES;
        if far {
            tracing::debug!(place = %lsn_text(self.place.lsn), "nothing of the stream for a long stretch");
            let records = self.rows.batch(Vec::new())?;
            let cursor = self.at_place().value();
            self.job.send(ReadEvent::Batch { records, rejected: Vec::new(), cursor }).await?;
        }
        self.job.send(ReadEvent::Completed { cursor: self.at_place().value() }).await
    }
}

/// Why a change is not applied.
enum Kept {
    /// It was, by an earlier read.
    Applied,
    Anew(String),
}

impl Kept {
    fn reason(self) -> Option<String> {
        match self {
            Self::Applied => None,
            Self::Anew(reason) => Some(reason),
        }
    }
}

/// The columns of a relation, and which of them had another name before. Refused, with the reason, if
/// rows that were there before may hold what no change told.
fn compared(
    before: &[Column],
    relation: &Relation,
    table: &Table,
) -> Result<(Vec<Column>, HashMap<String, String>), String> {
    let after: BTreeSet<&str> = relation.columns.iter().map(|column| column.name.as_str()).collect();
    let gone = before.iter().filter(|column| !after.contains(column.name.as_str()));
    let mut gone: Vec<&Column> = gone.collect();
    let mut renamed = HashMap::new();
    let mut columns = Vec::new();
    for (place, new) in relation.columns.iter().enumerate() {
        let now = table.columns.iter().find(|one| one.column.name == new.name);
        let known = before.iter().find(|old| old.name == new.name);
        let nullable = now.map(|one| one.column.nullable).or(known.map(|old| old.nullable)).unwrap_or(true);
        match known {
            Some(old) if old.oid != new.oid => return Err(format!("`{}` has another type", new.name)),
            Some(_) => {}
            None => {
                // Columns keep their order: one that stands where another of its type went is it.
                let dropped = before.len().saturating_sub(relation.columns.len());
                let same = gone.iter().position(|old| {
                    let at = before.iter().position(|column| column.name == old.name).unwrap_or_default();
                    old.oid == new.oid && (place..=place + dropped).contains(&at)
                });
                // Where the last one went, another may have been added.
                let last = place + 1 == relation.columns.len();
                let same = same.filter(|_| !(last && now.is_some_and(|one| one.filled)));
                match same {
                    Some(at) => {
                        renamed.insert(gone.remove(at).name.clone(), new.name.clone());
                    }
                    None if now.is_some_and(|one| one.filled) => {
                        return Err(format!("`{}` is new and rows may have a value in it", new.name));
                    }
                    None => {}
                }
            }
        }
        columns.push(Column { name: new.name.clone(), oid: new.oid, nullable });
    }
    Ok((columns, renamed))
}

/// The values of a row, and where one was not told.
fn texts(row: Tuple) -> (Texts, Vec<usize>) {
    let missing = row.iter().enumerate().filter(|(_, cell)| **cell == Cell::Unchanged);
    let missing = missing.map(|(place, _)| place).collect();
    let text = |cell| match cell {
        Cell::Text(text) => Some(text),
        Cell::Null | Cell::Unchanged => None,
    };
    (row.into_iter().map(text).collect(), missing)
}

/// A row that says its record is gone: its key alone.
fn deleted(values: &Texts, key: &[usize]) -> Row {
    let of_key = |(place, value): (usize, &Option<String>)| value.clone().filter(|_| key.contains(&place));
    Row { values: values.iter().enumerate().map(of_key).collect(), deleted: true, missing: Vec::new() }
}
