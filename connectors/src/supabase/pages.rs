//! Rows page by page, in the order of a key and never by their number: what is written meanwhile moves
//! numbers, and a server cuts a page where it likes (`db-max-rows`) without a word. So a short page proves
//! nothing, and only one without rows is the end.

use super::{
    describe::Column,
    error::{self, Reason, Refused},
    query,
    session::{Answer, Asked, Session},
    value,
};
use crate::{error::ConnectorError, rows::Texts};
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Rows of the first page; later ones are as long as makes about so many bytes.
const FIRST_ROWS: usize = 500;
const MOST_ROWS: usize = 10_000;
const PAGE_BYTES: usize = 4 * 1024 * 1024;
/// Rows that nothing tells apart are read at once, if there are no more than this.
const WHOLE_ROWS: usize = 20_000;

/// What is asked for.
#[derive(Clone, Copy)]
pub(super) struct Ask<'a> {
    pub(super) session: &'a Session,
    pub(super) table: &'a str,
    pub(super) columns: &'a [Column],
}

impl Ask<'_> {
    fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    async fn answer(&self, rest: Vec<(&str, String)>, prefer: &str) -> Asked<Answer> {
        let select = query::select(self.columns).unwrap_or_else(|| "*".to_owned());
        let query: Vec<(&str, String)> = [("select", select)].into_iter().chain(rest).collect();
        self.session.rows(self.table, &query, prefer).await
    }

    /// The rows of an answer, in the order of the columns.
    fn rows(&self, body: &[u8]) -> Asked<Vec<Texts>> {
        let records: Vec<HashMap<String, &RawValue>> = serde_json::from_slice(body).map_err(|cause| {
            // The text would quote a row.
            let place = format!("line {} column {}", cause.line(), cause.column());
            error::unreadable(format!("rows of `{}` cannot be read at {place}", self.table))
        })?;
        let whole = query::select(self.columns).is_none();
        let cell = |record: &HashMap<String, &RawValue>, column: &Column| {
            let Some(raw) = record.get(&column.name) else {
                let message = format!("the rows of `{}` have no `{}` now", self.table, column.name);
                return Err(Refused { reason: Reason::Gone, error: error::schema(message) });
            };
            // A document that was not asked for as text stands there as it is.
            let document = whole && value::is_document(&column.format) && raw.get() != "null";
            Ok(if document { Some(raw.get().to_owned()) } else { value::text(raw) })
        };
        records
            .iter()
            .map(|record| self.columns.iter().map(|column| cell(record, column)).collect())
            .collect()
    }

    /// So many rows from one end of an order, or fewer.
    pub(super) async fn few(
        &self,
        order: &[String],
        filter: Option<String>,
        down: bool,
        limit: usize,
    ) -> Asked<Vec<Texts>> {
        let mut limit = limit;
        loop {
            let mut rest = vec![("order", query::order(order, down)), ("limit", limit.to_string())];
            rest.extend(filter.iter().map(|filter| ("and", filter.clone())));
            match self.answer(rest, "").await {
                Err(Refused { reason: Reason::TooMuch, .. }) if limit > 1 => limit = (limit / 4).max(1),
                answered => return self.rows(&answered?.body),
            }
        }
    }

    /// The greatest value of a column.
    pub(super) async fn greatest(&self, field: &str) -> Asked<Option<String>> {
        let columns: Vec<Column> =
            self.columns.iter().filter(|column| column.name == field).cloned().collect();
        let ask = Ask { columns: &columns, ..*self };
        let rows = ask.few(&[field.to_owned()], Some(query::from(field, None)), true, 1).await?;
        Ok(rows.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// Refuses a key in which a row has no value: nothing comes before or after it.
    pub(super) async fn without_nulls(&self, key: &[String]) -> Asked<()> {
        let rest = vec![("or", query::lacking(key)), ("limit", "1".to_owned())];
        let found = self.rows(&self.answer(rest, "").await?.body)?;
        if found.is_empty() {
            return Ok(());
        }
        Err(error::key(format!(
            "rows of `{}` have no value in its key (`{}`): choose columns that always have one",
            self.table,
            key.join("`, `")
        ))
        .into())
    }

    /// All rows of what has no key, counted by the server at the same moment.
    pub(super) async fn whole(&self) -> Asked<Vec<Texts>> {
        let answer = self.answer(vec![("limit", WHOLE_ROWS.to_string())], "count=exact").await;
        let refused = |why: String| {
            error::without_key(format!(
                "`{}` has no key and cannot be read at once: {why}. Choose its key, or connect to the database itself",
                self.table
            ))
        };
        let answer = match answer {
            Err(Refused { reason: Reason::TooMuch, error }) => {
                return Err(refused(error.to_string()).into());
            }
            answer => answer?,
        };
        let rows = self.rows(&answer.body)?;
        match answer.total {
            Some(total) if total == rows.len() as u64 => Ok(rows),
            Some(total) => Err(refused(format!("the server gives {} of {total} rows", rows.len())).into()),
            None => Err(refused("the server does not say how many rows there are".to_owned()).into()),
        }
    }
}

/// What comes next.
pub(super) enum Next {
    Row(Texts),
    /// A row of this key that is too large to be fetched.
    TooLarge(Vec<String>, String),
}

/// Rows one page after the other, from a place on.
pub(super) struct Pages<'a> {
    ask: Ask<'a>,
    order: Vec<String>,
    places: Vec<usize>,
    /// No two rows have the same values in the order's columns.
    sure: bool,
    /// Where the first page begins.
    filter: Option<String>,
    after: Option<Vec<String>>,
    limit: usize,
}

impl<'a> Pages<'a> {
    /// All columns of the order must be among those asked for.
    pub(super) fn new(
        ask: Ask<'a>,
        order: Vec<String>,
        sure: bool,
        filter: Option<String>,
        after: Option<Vec<String>>,
    ) -> Self {
        let places = order.iter().filter_map(|name| ask.place(name)).collect();
        Self { ask, order, places, sure, filter, after, limit: FIRST_ROWS }
    }

    /// Where the rows that were read end.
    pub(super) fn place(&self) -> Option<&Vec<String>> {
        self.after.as_ref()
    }

    /// The next rows; none at the end.
    pub(super) async fn next(&mut self) -> Asked<Vec<Next>> {
        loop {
            match self.page(!self.sure).await {
                Err(Refused { reason: Reason::TooMuch, .. }) if self.limit > 1 => {
                    self.limit = (self.limit / 4).max(1);
                }
                Err(Refused { reason: Reason::TooMuch, error: error @ ConnectorError::Data { .. } }) => {
                    return self.pass(&error).await;
                }
                page => return page,
            }
        }
    }

    /// `again`: from the last row on, which shows whether another has the same key.
    async fn page(&mut self, again: bool) -> Asked<Vec<Next>> {
        let filter = match &self.after {
            Some(after) => Some(query::after(&self.order, after, again)),
            None => self.filter.clone(),
        };
        let mut rest = vec![("order", query::order(&self.order, false)), ("limit", self.limit.to_string())];
        rest.extend(filter.map(|filter| ("and", filter)));
        let answer = self.ask.answer(rest, "").await?;
        let rows = self.ask.rows(&answer.body)?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let each = (answer.body.len() / rows.len()).max(1);
        self.limit = (PAGE_BYTES / each).clamp(1, MOST_ROWS);
        let mut found = Vec::with_capacity(rows.len());
        let mut last = self.after.clone();
        let mut seen_again = false;
        for row in rows {
            let key = self.key(&row)?;
            if last.as_ref() == Some(&key) {
                if again && !seen_again && found.is_empty() {
                    seen_again = true;
                    continue;
                }
                return Err(self.twice(&key));
            }
            last = Some(key);
            found.push(Next::Row(row));
        }
        if found.is_empty() {
            // Nothing but the last row, which may be all that fits into a page.
            return Box::pin(self.page(false)).await;
        }
        self.after = last;
        Ok(found)
    }

    fn key(&self, row: &Texts) -> Asked<Vec<String>> {
        let values: Option<Vec<String>> = self.places.iter().map(|place| row[*place].clone()).collect();
        Ok(values.ok_or_else(|| {
            error::key(format!(
                "a row of `{}` has no value in `{}`, by which its rows are read in order",
                self.ask.table,
                self.order.join("`, `")
            ))
        })?)
    }

    fn twice(&self, key: &[String]) -> Refused {
        error::key(format!(
            "two rows of `{}` have the same key (`{}` is `{}`): choose columns that tell them apart",
            self.ask.table,
            self.order.join("`, `"),
            key.join("`, `")
        ))
        .into()
    }

    /// Goes past a row that is too large: its key alone is fetched.
    async fn pass(&mut self, cause: &ConnectorError) -> Asked<Vec<Next>> {
        let columns: Vec<Column> = self.places.iter().map(|place| self.ask.columns[*place].clone()).collect();
        let ask = Ask { columns: &columns, ..self.ask };
        let filter = match &self.after {
            Some(after) => Some(query::after(&self.order, after, false)),
            None => self.filter.clone(),
        };
        let rows = ask.few(&self.order, filter, false, 1).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(Vec::new()) };
        let key: Option<Vec<String>> = row.into_iter().collect();
        let key = key.ok_or_else(|| error::key(format!("a row of `{}` has no key", self.ask.table)))?;
        self.after = Some(key.clone());
        Ok(vec![Next::TooLarge(key, cause.to_string())])
    }
}
