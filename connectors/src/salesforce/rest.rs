//! Records by REST: page by page, and those too wide for one query in parts, joined by their ids.

use super::{
    cursor::Place,
    describe::{Column, KEY},
    error,
    rows::Row,
    session::{Asked, Session},
    soql::{self, Start, literal},
    value,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::HashMap;

/// Records of one query of a part, as many as a page holds at most.
const WIDE_ROWS: usize = 2_000;
/// What the server says when it no longer knows the page that it named as the next.
const LOST: &str = "INVALID_QUERY_LOCATOR";
/// How often a query is asked again for that.
const TRIES: usize = 3;
/// Ids that fit into one address.
const IDS: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    total_size: u64,
    done: bool,
    #[serde(default)]
    next_records_url: Option<String>,
    #[serde(default)]
    records: Vec<HashMap<String, Box<RawValue>>>,
}

/// What is asked for.
#[derive(Clone)]
pub(super) struct Ask<'a> {
    pub(super) session: &'a Session,
    pub(super) object: &'a str,
    pub(super) columns: &'a [Column],
    /// Deleted and archived records too.
    pub(super) all: bool,
}

impl Ask<'_> {
    async fn first(&self, soql: &str) -> Asked<Page> {
        self.session.get(&self.session.path(&soql::address(soql, self.all))).await
    }

    /// How many records there are.
    pub(super) async fn count(&self, filter: Option<&str>) -> Asked<u64> {
        Ok(self.first(&soql::select(&["COUNT()"], self.object, filter)).await?.total_size)
    }

    /// The values of a part of the columns, in the order of all of them.
    fn rows(&self, page: Page, part: &[usize]) -> Asked<Vec<Row>> {
        let row = |mut record: HashMap<String, Box<RawValue>>| {
            let mut row: Row = vec![None; self.columns.len()];
            for place in part {
                let name = &self.columns[*place].name;
                let Some(raw) = record.remove(name) else {
                    let error =
                        error::schema(format!("the records of `{}` have no `{name}` now", self.object));
                    return Err(error::Refused { code: "INVALID_FIELD".to_owned(), error });
                };
                row[*place] = value::text(&raw);
            }
            Ok(row)
        };
        page.records.into_iter().map(row).collect()
    }

    /// All records of a query that finds few.
    async fn whole(&self, soql: &str, part: &[usize]) -> Asked<Vec<Row>> {
        let mut tried = 0;
        loop {
            match self.pages(soql, part).await {
                // The server let go of where it was.
                Err(refused) if refused.code == LOST && tried < TRIES => tried += 1,
                found => return found,
            }
        }
    }

    async fn pages(&self, soql: &str, part: &[usize]) -> Asked<Vec<Row>> {
        let mut page = self.first(soql).await?;
        let mut rows = Vec::new();
        loop {
            let next = page.next_records_url.take().filter(|_| !page.done);
            rows.extend(self.rows(page, part)?);
            let Some(next) = next else { return Ok(rows) };
            page = self.session.get(&next).await?;
        }
    }

    fn names(&self, part: &[usize]) -> Vec<&str> {
        part.iter().map(|place| self.columns[*place].name.as_str()).collect()
    }

    /// So many records from one end, whole.
    pub(super) async fn few(&self, from: &Start, down: bool, limit: usize) -> Asked<Vec<Row>> {
        Ok(self.some(from, down, limit).await?.0)
    }

    /// The same, with how many there were before those were left out that went meanwhile.
    async fn some(&self, from: &Start, down: bool, limit: usize) -> Asked<(Vec<Row>, usize)> {
        let parts = soql::parts(self.columns, from);
        let filter = from.filter();
        let mut rows: Vec<Row> = Vec::new();
        let mut met = 0;
        for (number, part) in parts.iter().enumerate() {
            let select = soql::select(&self.names(part), self.object, filter.as_deref());
            let query = format!("{select} ORDER BY {} LIMIT {limit}", from.order(down));
            let found = self.whole(&query, part).await?;
            if number == 0 {
                met = found.len();
                rows = found;
            } else {
                rows = self.join(rows, found, part).await?;
            }
        }
        Ok((rows, met))
    }

    /// Adds a part's values to the records. One that moved meanwhile, so that the part's own query did not
    /// meet it, is looked up by its id; one that is gone is left out.
    async fn join(&self, rows: Vec<Row>, found: Vec<Row>, part: &[usize]) -> Asked<Vec<Row>> {
        let key = part.iter().copied().find(|place| self.columns[*place].name == KEY).unwrap_or_default();
        let id = |row: &Row| row[key].clone().unwrap_or_default();
        let mut values: HashMap<String, Row> = found.into_iter().map(|row| (id(&row), row)).collect();
        let missing: Vec<String> = rows.iter().map(&id).filter(|id| !values.contains_key(id)).collect();
        for ids in missing.chunks(IDS) {
            let list: Vec<String> = ids.iter().map(|id| literal(id)).collect();
            let filter = format!("{KEY} IN ({})", list.join(", "));
            // Both lists share the address.
            let query = soql::select(&self.names(part), self.object, Some(&filter));
            values.extend(self.whole(&query, part).await?.into_iter().map(|row| (id(&row), row)));
        }
        let joined = rows.into_iter().filter_map(|mut row| {
            let mut other = values.remove(&id(&row))?;
            for place in part.iter().filter(|place| **place != key) {
                row[*place] = other[*place].take();
            }
            Some(row)
        });
        Ok(joined.collect())
    }
}

/// Records one page after the other, from a place on.
pub(super) struct Pages<'a> {
    ask: Ask<'a>,
    from: Start,
    parts: Vec<Vec<usize>>,
    next: Option<String>,
    /// How many there are in all, once that is known.
    pub(super) total: Option<u64>,
    begun: bool,
    pub(super) done: bool,
}

impl<'a> Pages<'a> {
    pub(super) fn new(ask: Ask<'a>, from: Start) -> Self {
        let parts = soql::parts(ask.columns, &from);
        Self { ask, from, parts, next: None, total: None, begun: false, done: false }
    }

    /// Where the rows that were read end.
    pub(super) fn place(&self) -> &Start {
        &self.from
    }

    /// The next records; none at the end.
    pub(super) async fn next(&mut self) -> Asked<Option<Vec<Row>>> {
        if self.done {
            return Ok(None);
        }
        let rows = if self.parts.len() == 1 { self.narrow().await? } else { self.wide().await? };
        self.begun = true;
        if let Some(last) = rows.last() {
            let text = |name: &str| {
                let place = self.ask.columns.iter().position(|column| column.name == name)?;
                last[place].clone()
            };
            self.from = match &self.from {
                Start::Key(_) => Start::Key(text(KEY)),
                Start::Stamp(place) => {
                    let stamp = text(&place.field).and_then(|stamp| value::instant(&stamp));
                    Start::Stamp(Place { field: place.field.clone(), stamp, id: text(KEY) })
                }
            };
        }
        Ok(Some(rows))
    }

    async fn narrow(&mut self) -> Asked<Vec<Row>> {
        let page: Asked<Page> = match &self.next {
            Some(next) => self.ask.session.get(next).await,
            None => self.query().await,
        };
        let mut page = match page {
            // The server let go of where it was: the query is asked again from there on.
            Err(refused) if refused.code == LOST && self.next.is_some() => self.query().await?,
            page => page?,
        };
        if !self.begun {
            self.total = Some(page.total_size);
        }
        self.next = page.next_records_url.take().filter(|_| !page.done);
        self.done = self.next.is_none();
        self.ask.rows(page, &self.parts[0])
    }

    async fn query(&self) -> Asked<Page> {
        let filter = self.from.filter();
        let names = self.ask.names(&self.parts[0]);
        let select = soql::select(&names, self.ask.object, filter.as_deref());
        self.ask.first(&format!("{select} ORDER BY {}", self.from.order(false))).await
    }

    async fn wide(&mut self) -> Asked<Vec<Row>> {
        if !self.begun {
            self.total = Some(self.ask.count(self.from.filter().as_deref()).await?);
        }
        let (rows, met) = self.ask.some(&self.from, false, WIDE_ROWS).await?;
        self.done = met == 0;
        Ok(rows)
    }
}
