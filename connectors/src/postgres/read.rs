//! A read: a snapshot in the order of the key, then what follows it in the stream's mode.
//!
//! The snapshot needs no transaction that spans it, so that it goes on after a kill: the place in the
//! log of changes is taken before its first row, and the changes from there on are applied after its
//! last, each by its key, so that whatever a row was when it was read, it ends as it is. A table that is
//! altered meanwhile in a way the log of changes does not tell is read anew.

use super::{
    catalog::{self, Table, Types},
    config::PostgresConfig,
    cursor::{Column, Cursor, Next, Phase, lsn},
    error,
    session::{Session, ident, literal},
    slot,
};
use crate::{
    error::ConnectorError,
    network::NetworkScope,
    port::ReadEvent,
    rows::{Row, Rows},
};
use arrow_array::RecordBatch;
use autonomos_domain::{
    ids::ConnectionId,
    schema::{StreamSelection, SyncMode},
};
use futures::StreamExt;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};
use tokio::sync::mpsc;

/// Rows of one statement of a snapshot: it holds back the server's clean-up while it runs.
const PAGE_ROWS: usize = 50_000;
/// Rows of each part (head, tail, middle) of a preview.
const PREVIEW_ROWS: usize = 700;
const PREVIEW_BYTES: usize = 8 * 1024 * 1024;
/// How often a table may be altered during one read before it is left for a calmer time.
const MAX_ANEW: usize = 5;
/// How long commits that are written, but not yet seen by everybody, are waited for.
const SETTLE: Duration = Duration::from_secs(10);
const SETTLE_STEP: Duration = Duration::from_millis(20);

pub(super) type Sender = mpsc::Sender<Result<ReadEvent, ConnectorError>>;

/// One read of one stream.
pub(super) struct Job {
    pub(super) config: PostgresConfig,
    pub(super) network: NetworkScope,
    pub(super) connection: Option<ConnectionId>,
    pub(super) selection: StreamSelection,
    pub(super) mode: SyncMode,
    pub(super) sender: Sender,
}

/// What follows a phase.
pub(super) enum Step {
    Go(Cursor),
    /// The table is to be read anew.
    Anew(String),
    End,
}

impl Job {
    pub(super) async fn run(&self, cursor: Option<Cursor>) -> Result<(), ConnectorError> {
        let mut session = Session::open(&self.config, self.network).await?;
        let mut types = Types::default();
        let table = self.table(&mut session).await?;
        let mut next = match cursor {
            Some(cursor) if cursor.phase == Phase::Done => None,
            Some(cursor) => match self.stale(&mut session, &table, &cursor).await? {
                Some(reason) => {
                    self.tell(&reason);
                    None
                }
                None => Some(cursor),
            },
            None => None,
        };
        for _ in 0..MAX_ANEW {
            let mut cursor = match next.take() {
                Some(cursor) => cursor,
                None => self.begin(&mut session).await?,
            };
            let mut fresh = false;
            loop {
                let step = match cursor.phase {
                    Phase::Done => Step::End,
                    Phase::Snapshot { .. } => {
                        fresh = true;
                        self.snapshot(&mut session, &mut types, cursor).await?
                    }
                    Phase::Incremental { .. } => self.incremental(&mut session, &mut types, cursor).await?,
                    Phase::Changes { .. } => self.changes(&mut session, &mut types, cursor, fresh).await?,
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
        Err(error::transient(format!("the table `{}` is altered while it is read", self.selection.name)))
    }

    fn tell(&self, reason: &str) {
        tracing::warn!(stream = %self.selection.name, "the table is read anew: {reason}");
    }

    pub(super) async fn send(&self, event: ReadEvent) -> Result<(), ConnectorError> {
        self.sender.send(Ok(event)).await.map_err(|_| ConnectorError::Cancelled)
    }

    pub(super) async fn table(&self, session: &mut Session) -> Result<Table, ConnectorError> {
        let table = catalog::table(session, &self.config.schemas, &self.selection.name).await?;
        let chosen = self.selection.primary_key.as_ref();
        match (self.mode, table.unfollowable()) {
            (SyncMode::Cdc, Some(reason)) => Err(error::not_ready(format!(
                "the changes of `{}` cannot be followed: {reason}",
                table.stream()
            ))),
            (SyncMode::Cdc, None) if chosen.is_some_and(|key| *key != table.key) => Err(error::key(format!(
                "changes of `{}` come by its primary key (`{}`): another one cannot be chosen",
                table.stream(),
                table.key.join("`, `")
            ))),
            _ => Ok(table),
        }
    }

    /// Why a cursor is of no use, if it is not.
    async fn stale(
        &self,
        session: &mut Session,
        table: &Table,
        cursor: &Cursor,
    ) -> Result<Option<String>, ConnectorError> {
        if cursor.table != table.oid {
            return Ok(Some("another table has its name now".to_owned()));
        }
        let from = match &cursor.phase {
            Phase::Snapshot { after: None, .. } => return Ok(Some("nothing of it was read yet".to_owned())),
            Phase::Snapshot { .. } if !alike(&cursor.columns, &table.columns(self.mode)) => {
                return Ok(Some("it was altered during its snapshot".to_owned()));
            }
            Phase::Snapshot { next: Next::Changes { lsn }, .. } => *lsn,
            Phase::Changes { place } => place.lsn,
            Phase::Incremental { field, .. } => {
                let chosen = self.selection.cursor_field.as_ref().is_some_and(|chosen| chosen != field);
                return Ok(chosen.then(|| "another cursor column was chosen".to_owned()));
            }
            Phase::Snapshot { .. } | Phase::Done => return Ok(None),
        };
        let name = self.config.slot(self.connection)?;
        let (publication, own) = self.config.publication(&name);
        let unpublished = slot::publish(session, &publication, own, table).await?;
        Ok(match slot::find(session, &name).await? {
            _ if unpublished => Some("its changes were not published".to_owned()),
            None => Some(format!("the replication slot `{name}` is gone")),
            Some(slot) if slot.is_lost() => Some(format!("the server gave up the replication slot `{name}`")),
            Some(slot) if slot.confirmed > from => {
                Some(format!("the replication slot `{name}` was moved past what was read"))
            }
            Some(_) => None,
        })
    }

    /// Where a read of the whole table starts, and what comes after it.
    async fn begin(&self, session: &mut Session) -> Result<Cursor, ConnectorError> {
        if self.mode == SyncMode::Cdc {
            let name = self.config.slot(self.connection)?;
            let (publication, own) = self.config.publication(&name);
            // Before the slot: a publication is looked up as it was when a change was made.
            let table = self.table(session).await?;
            slot::publish(session, &publication, own, &table).await?;
            slot::ensure(session, &name).await?;
        }
        for _ in 0..MAX_ANEW {
            let table = self.table(session).await?;
            let columns = table.columns(self.mode);
            let next = match self.mode {
                SyncMode::Full => Next::Done,
                SyncMode::Incremental => {
                    let field = self.cursor_field(session, &table).await?;
                    let sql = format!("SELECT max({})::text FROM {}", ident(&field), table.quoted());
                    Next::Incremental { from: session.value(sql).await?, field }
                }
                SyncMode::Cdc => {
                    Next::Changes { lsn: settled(session, &self.config.slot(self.connection)?).await? }
                }
            };
            // The place is one at which the table had this shape.
            let again = self.table(session).await?;
            if again.oid == table.oid && alike(&again.columns(self.mode), &columns) && again.key == table.key
            {
                let phase = Phase::Snapshot { after: None, next };
                return Ok(Cursor { mode: self.mode, table: table.oid, columns, key: table.key, phase });
            }
        }
        Err(error::transient(format!("the table `{}` is altered at this moment", self.selection.name)))
    }

    async fn cursor_field(&self, session: &mut Session, table: &Table) -> Result<String, ConnectorError> {
        if let Some(chosen) = &self.selection.cursor_field {
            return Ok(chosen.clone());
        }
        let mut types = Types::default();
        types.learn(session, &table.columns(self.mode)).await?;
        let mut found = types.stream(table, false).cursor_fields.into_iter();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            _ => Err(error::schema(format!(
                "choose the cursor column of `{}`: the one that grows whenever a row changes",
                table.stream()
            ))),
        }
    }

    async fn snapshot(
        &self,
        session: &mut Session,
        types: &mut Types,
        cursor: Cursor,
    ) -> Result<Step, ConnectorError> {
        let Phase::Snapshot { mut after, next } = cursor.phase.clone() else { return Ok(Step::End) };
        let table = self.table(session).await?;
        if table.oid != cursor.table {
            return Ok(Step::Anew("another table has its name now".to_owned()));
        }
        types.learn(session, &cursor.columns).await?;
        let mut rows = types.rows(&cursor.columns, &cursor.key);
        let resumed = after.is_some();
        let (preview, total_rows) = if resumed {
            (rows.batch(Vec::new())?, table.rows)
        } else {
            match preview(session, &table, &rows).await {
                Ok(found) => found,
                Err(ConnectorError::Schema { message, .. }) => return Ok(Step::Anew(message)),
                Err(other) => return Err(other),
            }
        };
        let shape = types.shape(&cursor.columns, &cursor.key);
        self.send(ReadEvent::Began { shape, snapshot: true, resumed, preview, total_rows }).await?;
        loop {
            let page = page_sql(&table, &cursor, after.as_deref());
            match self.page(session, page, &cursor, &next, &mut rows, &mut after).await {
                Ok(count) if count < PAGE_ROWS || !table.is_pageable() => break,
                Ok(_) => {}
                Err(ConnectorError::Schema { message, .. }) => {
                    // Gone for good, or altered: the first look says which.
                    self.table(session).await?;
                    return Ok(Step::Anew(message));
                }
                Err(other) => return Err(other),
            }
        }
        let cursor = cursor.at(next.phase());
        self.send(ReadEvent::Completed { cursor: cursor.value() }).await?;
        Ok(if matches!(next, Next::Changes { .. }) { Step::Go(cursor) } else { Step::End })
    }

    /// Reads a page; how many rows it had.
    async fn page(
        &self,
        session: &mut Session,
        sql: String,
        cursor: &Cursor,
        next: &Next,
        rows: &mut Rows,
        after: &mut Option<Vec<String>>,
    ) -> Result<usize, ConnectorError> {
        let mut count = 0;
        let pageable = sql.contains(" ORDER BY ");
        let mut stream = session.stream(sql);
        while let Some(values) = stream.next().await {
            let values = values?;
            count += 1;
            if !rows.fits(&values) {
                let phase = Phase::Snapshot { after: after.clone(), next: next.clone() };
                self.flush(rows, &cursor.at(phase).value(), None).await?;
            }
            if pageable {
                *after = Some(rows.key(&values));
            }
            rows.push(Row::of(values));
        }
        drop(stream);
        let phase = Phase::Snapshot { after: after.clone(), next: next.clone() };
        self.flush(rows, &cursor.at(phase).value(), None).await?;
        Ok(count)
    }

    /// Sends what was gathered, if anything was. Where it became more than one batch, only the last
    /// of them moves the cursor: the others come again (from `before`) after a kill between them.
    pub(super) async fn flush(
        &self,
        rows: &mut Rows,
        cursor: &Value,
        before: Option<&Value>,
    ) -> Result<(), ConnectorError> {
        if rows.is_empty() {
            return Ok(());
        }
        let batches = rows.take()?;
        let last = batches.len() - 1;
        for (index, (records, rejected)) in batches.into_iter().enumerate() {
            let cursor = if index == last { cursor } else { before.unwrap_or(cursor) };
            self.send(ReadEvent::Batch { records, rejected, cursor: cursor.clone() }).await?;
        }
        Ok(())
    }

    async fn incremental(
        &self,
        session: &mut Session,
        types: &mut Types,
        cursor: Cursor,
    ) -> Result<Step, ConnectorError> {
        let Phase::Incremental { field, from } = cursor.phase.clone() else { return Ok(Step::End) };
        let table = self.table(session).await?;
        let columns = table.columns(self.mode);
        types.learn(session, &cursor.columns).await?;
        types.learn(session, &columns).await?;
        let Some(place) = columns.iter().position(|column| column.name == field) else {
            return Ok(Step::Anew(format!("the cursor column `{field}` is gone")));
        };
        let mut rows = types.rows(&columns, &table.key);
        let shape = types.shape(&cursor.columns, &cursor.key);
        let nothing = rows.batch(Vec::new())?;
        let began =
            ReadEvent::Began { shape, snapshot: false, resumed: true, preview: nothing, total_rows: None };
        self.send(began).await?;
        if !alike(&columns, &cursor.columns) {
            let (preview, _) = preview(session, &table, &rows).await?;
            let shape = types.shape(&columns, &table.key);
            self.send(ReadEvent::Reshaped { shape, preview }).await?;
        }
        let mut cursor = Cursor { columns, key: table.key.clone(), ..cursor };
        let since = from.as_ref().map_or_else(
            || format!("{} IS NOT NULL", ident(&field)),
            |from| format!("{} >= {}", ident(&field), literal(from)),
        );
        let sql = format!(
            "SELECT {} FROM {} WHERE {since} ORDER BY {}",
            list(names(&cursor.columns)),
            table.quoted(),
            ident(&field)
        );
        let mut stream = session.stream(sql);
        while let Some(values) = stream.next().await {
            let values = values?;
            if !rows.fits(&values) {
                self.flush(&mut rows, &cursor.value(), None).await?;
            }
            let reached = values.get(place).cloned().flatten();
            rows.push(Row::of(values));
            cursor.phase = Phase::Incremental { field: field.clone(), from: reached };
        }
        drop(stream);
        self.flush(&mut rows, &cursor.value(), None).await?;
        self.send(ReadEvent::Completed { cursor: cursor.value() }).await?;
        Ok(Step::End)
    }
}

/// The server's place in its log, once every commit before it is seen by everybody: what was committed
/// up to there is in the snapshot, what was committed after comes as a change. A commit is in the log a
/// moment before it is seen, or longer, where it waits for a standby: if that is how the server commits,
/// and something stays open for long, all that the slot kept comes again, in its order.
async fn settled(session: &mut Session, slot: &str) -> Result<u64, ConnectorError> {
    let place = session.value("SELECT pg_current_wal_flush_lsn()::text".to_owned()).await?;
    let place = lsn(&place.unwrap_or_default())?;
    // A transaction holds its own number until it is seen; a snapshot does not tell the newest ones.
    let running = "SELECT coalesce(string_agg(transactionid::text, ','), '') FROM pg_catalog.pg_locks \
                   WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND granted";
    let running = async |session: &mut Session| -> Result<BTreeSet<String>, ConnectorError> {
        let list = session.value(running.to_owned()).await?.unwrap_or_default();
        Ok(list.split(',').filter(|number| !number.is_empty()).map(str::to_owned).collect())
    };
    let begun = running(session).await?;
    let since = Instant::now();
    // One that runs long has not committed yet, and comes as a change.
    while !begun.is_disjoint(&running(session).await?) {
        if since.elapsed() >= SETTLE {
            let standbys = "SELECT current_setting('synchronous_standby_names')";
            let waits =
                session.value(standbys.to_owned()).await?.is_some_and(|names| !names.trim().is_empty());
            let kept = slot::find(session, slot).await?.map_or(place, |slot| slot.confirmed);
            return Ok(if waits { place.min(kept) } else { place });
        }
        tokio::time::sleep(SETTLE_STEP).await;
    }
    Ok(place)
}

/// Same names and types: whether a column may be null is no other shape of its rows.
pub(super) fn alike(left: &[Column], right: &[Column]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).all(|(left, right)| left.name == right.name && left.oid == right.oid)
}

fn names(columns: &[Column]) -> impl Iterator<Item = &String> {
    columns.iter().map(|column| &column.name)
}

fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| ident(name)).collect();
    names.join(", ")
}

fn page_sql(table: &Table, cursor: &Cursor, after: Option<&[String]>) -> String {
    let select = format!("SELECT {} FROM {}", list(names(&cursor.columns)), table.quoted());
    if !table.is_pageable() {
        return select;
    }
    let key: Vec<String> = cursor.key.iter().map(|name| ident(name)).collect();
    let key = key.join(", ");
    let since = after.map_or_else(String::new, |after| {
        let values: Vec<String> = after.iter().map(|value| literal(value)).collect();
        format!(" WHERE ({key}) > ({})", values.join(", "))
    });
    format!("{select}{since} ORDER BY {key} LIMIT {PAGE_ROWS}")
}

/// Rows from head, tail and middle, and how many there are in all, as far as that is known.
pub(super) async fn preview(
    session: &mut Session,
    table: &Table,
    layout: &Rows,
) -> Result<(RecordBatch, Option<u64>), ConnectorError> {
    let select = format!("SELECT {} FROM {}", list(layout.names()), table.quoted());
    let all = 3 * PREVIEW_ROWS;
    let small = table.rows.is_none_or(|rows| rows < all as u64) || !table.is_pageable();
    let (mut found, cut) = taken(session, format!("{select} LIMIT {}", all + 1)).await?;
    if small || (!cut && found.len() <= all) {
        let total = if !cut && found.len() <= all { Some(found.len() as u64) } else { table.rows };
        return Ok((layout.batch(found)?, total));
    }
    let key: Vec<String> = layout.key_places().iter().map(|place| ident(&layout.names()[*place])).collect();
    let (up, down) = (key.join(", "), format!("{} DESC", key.join(" DESC, ")));
    found = taken(session, format!("{select} ORDER BY {up} LIMIT {PREVIEW_ROWS}")).await?.0;
    if table.is_ordinary() {
        let share =
            (100.0 * 2.0 * PREVIEW_ROWS as f64 / table.rows.unwrap_or(1).max(1) as f64).clamp(0.001, 100.0);
        let middle = format!("{select} TABLESAMPLE SYSTEM ({share}) REPEATABLE (1) LIMIT {PREVIEW_ROWS}");
        found.extend(taken(session, middle).await?.0);
    }
    found.extend(taken(session, format!("{select} ORDER BY {down} LIMIT {PREVIEW_ROWS}")).await?.0);
    Ok((layout.batch(found)?, table.rows))
}

/// The rows of a short answer, as far as memory should hold them, and whether that was not all.
async fn taken(session: &mut Session, sql: String) -> Result<(Vec<Row>, bool), ConnectorError> {
    let mut stream = session.stream(sql);
    let (mut rows, mut bytes) = (Vec::new(), 0);
    while let Some(values) = stream.next().await {
        let values = values?;
        bytes += values.iter().flatten().map(String::len).sum::<usize>();
        rows.push(Row::of(values));
        if bytes > PREVIEW_BYTES {
            return Ok((rows, true));
        }
    }
    Ok((rows, false))
}
