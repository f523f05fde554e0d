//! Quarantine: cells that did not fit their field, cells and rows that wait for a repair, rows the
//! connector could not read. A cell waits as long as its row is the record's latest.

use super::{
    canon::{Cell, Cells},
    sql::{Db, Result},
    state::{Feed, Segment},
    tables::{codes, literal, value_column},
};
use crate::error::ProjectionError;
use autonomos_domain::{
    aggregates::feed::RejectedRecord,
    ontology::{CanonicalType, OntologyField},
};

/// All columns, in order.
pub(super) const COLUMNS: &str =
    "entity, feed, seq, \"row\", sid, target, column_name, value, code, reason, mv, \"from\", \"to\"";

fn kind(field: &OntologyField) -> &'static str {
    match field.canonical_type {
        CanonicalType::Text => "text",
        CanonicalType::Integer => "whole number",
        CanonicalType::Decimal => "number",
        CanonicalType::Boolean => "yes or no",
        CanonicalType::Date => "date",
        CanonicalType::Timestamp => "time",
    }
}

/// Why a cell of a segment waits: code, reason, and the condition on the raw row `r`.
fn waiting(cell: &Cell<'_>) -> Option<(&'static str, String, String)> {
    let compiled = cell.compiled.as_ref()?;
    if cell.held {
        let reason = format!("`{}` waits for a repair of its mapping", cell.field.name);
        return Some((codes::HELD, reason, format!("{} IS NOT NULL", compiled.probe)));
    }
    if !compiled.fallible {
        return None;
    }
    let reason = format!("the value does not read as a {} for `{}`", kind(cell.field), cell.field.name);
    let condition = format!("{} IS NULL AND {} IS NOT NULL", compiled.value, compiled.probe);
    Some((codes::DOES_NOT_FIT, reason, condition))
}

/// The quarantined cells of one field among the rows `r` of a relation, in the table's columns.
fn cell_rows(
    entity: &str,
    feed: &Feed,
    segment: &Segment,
    cell: &Cell<'_>,
    from: &str,
    rows: &str,
) -> Option<String> {
    let (code, reason, condition) = waiting(cell)?;
    let probe = &cell.compiled.as_ref()?.probe;
    Some(format!(
        "SELECT {entity} AS entity, {number} AS feed, r._seq AS seq, r._row AS \"row\", r._sid AS sid, {target} AS target, \
         {sources} AS column_name, left({probe}, 1000) AS value, {code} AS code, {reason} AS reason, \
         CAST({mv} AS INTEGER) AS mv, r._seq AS \"from\", CAST(NULL AS BIGINT) AS \"to\" \
         FROM {from} r WHERE r._op = 0{rows} AND ({condition})",
        entity = literal(entity),
        number = feed.number,
        target = literal(&cell.field.name),
        sources = literal(&cell.sources),
        code = literal(code),
        reason = literal(&reason),
        mv = segment.binding.mapping_version,
    ))
}

/// Whether anything of the feed waits.
fn open(db: Db<'_>, feed: &Feed) -> Result<bool> {
    db.any(&format!(
        "SELECT 1 FROM quarantine WHERE feed = {} AND sid IS NOT NULL AND \"to\" IS NULL",
        feed.number
    ))
}

/// Rows of a segment whose cells may wait.
pub(super) struct Waiting<'a> {
    pub(super) entity: &'a str,
    pub(super) feed: &'a Feed,
    pub(super) segment: &'a Segment,
    pub(super) cells: &'a Cells<'a>,
    pub(super) relation: &'a str,
    /// More conditions on the rows `r` of the relation.
    pub(super) rows: &'a str,
    /// Where exactly these rows are in canonical form already, if they are.
    pub(super) landed: Option<Landed>,
}

/// The canonical rows `l` of a table that meet a condition.
pub(super) struct Landed {
    pub(super) table: String,
    pub(super) condition: String,
}

/// Newer rows take the place of those whose cells waited; then cells of the newer ones wait.
pub(super) fn cells_waiting(db: Db<'_>, waiting: &Waiting<'_>, replaces: bool) -> Result<()> {
    let Waiting { feed, relation, rows, .. } = waiting;
    if replaces && open(db, feed)? {
        db.run(&format!(
            "UPDATE quarantine SET \"to\" = r._seq FROM (SELECT * FROM {relation} r WHERE true{rows}) r \
             WHERE quarantine.feed = {} AND quarantine.\"to\" IS NULL AND quarantine.sid = r._sid AND quarantine.seq < r._seq",
            feed.number
        ))?;
    }
    for query in waiting_rows(db, waiting)? {
        db.run(&format!("INSERT INTO quarantine ({COLUMNS}) {query}"))?;
    }
    Ok(())
}

/// Queries of the cells that wait among the rows `r` of a relation. One pass over the rows says
/// which fields have any: nearly always none.
pub(super) fn waiting_rows(db: Db<'_>, rows_waiting: &Waiting<'_>) -> Result<Vec<String>> {
    let Waiting { entity, feed, segment, cells, relation, rows, landed } = rows_waiting;
    let watched: Vec<(&Cell<'_>, String)> = cells
        .all
        .iter()
        .filter_map(|cell| waiting(cell).map(|(_, _, condition)| (cell, condition)))
        .collect();
    if watched.is_empty() {
        return Ok(Vec::new());
    }
    let from = cells.over(relation);
    let found: Vec<Option<bool>> = match landed {
        Some(landed) => misfits(db, &watched, &from, rows, landed)?,
        None => {
            let flags: Vec<String> =
                watched.iter().map(|(_, condition)| format!("bool_or({condition})")).collect();
            list(db, &format!("[{}] AS o FROM {from} r WHERE r._op = 0{rows}", flags.join(", ")))?
        }
    };
    Ok(watched
        .iter()
        .zip(found)
        .filter(|(_, found)| *found == Some(true))
        .filter_map(|((cell, _), _)| cell_rows(entity, feed, segment, cell, &from, rows))
        .collect())
}

/// Which of the fields have cells that wait, told by counting: a value is only ever made of something
/// to read, so where there are as many values as there was something to read, all did fit. Reading the
/// values that landed costs far less than making them again.
fn misfits(
    db: Db<'_>,
    watched: &[(&Cell<'_>, String)],
    from: &str,
    rows: &str,
    landed: &Landed,
) -> Result<Vec<Option<bool>>> {
    let probes: Vec<String> = watched
        .iter()
        .map(|(cell, _)| cell.compiled.as_ref().map_or("0".to_owned(), |one| format!("count({})", one.probe)))
        .collect();
    let values: Vec<String> =
        watched.iter().map(|(cell, _)| format!("count(l.{})", value_column(&cell.field.name))).collect();
    let read: Vec<i64> =
        list(db, &format!("[{}] AS o FROM {from} r WHERE r._op = 0{rows}", probes.join(", ")))?;
    let landed = format!("[{}] AS o FROM {} l WHERE {}", values.join(", "), landed.table, landed.condition);
    let made: Vec<i64> = list(db, &landed)?;
    let differ = |((cell, _), (read, made)): (&(&Cell<'_>, String), (i64, i64))| {
        Some(if cell.held { read > 0 } else { made < read })
    };
    Ok(watched.iter().zip(read.into_iter().zip(made)).map(differ).collect())
}

/// The one list that a query (without its `SELECT`) answers.
fn list<T: serde::de::DeserializeOwned>(db: Db<'_>, query: &str) -> Result<Vec<T>> {
    let found = db.rows(&format!("SELECT CAST(to_json(o) AS VARCHAR) FROM (SELECT {query})"), |row| {
        row.get::<_, String>(0)
    })?;
    let text = found.into_iter().next().unwrap_or_default();
    serde_json::from_str(&text).map_err(|error| ProjectionError::Views(format!("a list of counts: {error}")))
}

/// Whole rows that wait because their key drifted, in the table's columns.
pub(super) fn held_rows(entity: &str, feed: &Feed, segment: &Segment, from: &str) -> String {
    format!(
        "SELECT {entity} AS entity, {number} AS feed, r._seq AS seq, r._row AS \"row\", r._sid AS sid, CAST(NULL AS VARCHAR) AS target, \
         CAST(NULL AS VARCHAR) AS column_name, left(r._key, 1000) AS value, {code} AS code, {reason} AS reason, \
         CAST({mv} AS INTEGER) AS mv, r._seq AS \"from\", CAST(NULL AS BIGINT) AS \"to\" FROM {from}",
        entity = literal(entity),
        number = feed.number,
        code = literal(codes::ROW_HELD),
        reason = literal("the row waits: what tells its records apart has drifted"),
        mv = segment.binding.mapping_version,
    )
}

pub(super) fn rows_held(db: Db<'_>, entity: &str, feed: &Feed, segment: &Segment, from: &str) -> Result<()> {
    if open(db, feed)? {
        db.run(&format!(
            "UPDATE quarantine SET \"to\" = n._seq FROM (SELECT r._sid, r._seq FROM {from}) n WHERE quarantine.feed = {} \
             AND quarantine.\"to\" IS NULL AND quarantine.sid = n._sid AND quarantine.seq < n._seq AND quarantine.code = {}",
            feed.number,
            literal(codes::ROW_HELD)
        ))?;
    }
    db.run(&format!(
        "INSERT INTO quarantine ({COLUMNS}) {} AND r._op = 0",
        held_rows(entity, feed, segment, from)
    ))?;
    Ok(())
}

/// Nothing of a feed that is closed waits any more.
pub(super) fn feed_gone(db: Db<'_>, feed: &Feed, seq: i64) -> Result<()> {
    db.run(&format!("UPDATE quarantine SET \"to\" = {seq} WHERE feed = {} AND \"to\" IS NULL", feed.number))?;
    Ok(())
}

/// Records that ended wait for nothing; `gone` is a relation `(sid, seq)`.
pub(super) fn records_gone(db: Db<'_>, feed: &Feed, gone: &str) -> Result<()> {
    if open(db, feed)? {
        db.run(&format!(
            "UPDATE quarantine SET \"to\" = g.seq FROM {gone} g WHERE quarantine.feed = {} AND quarantine.\"to\" IS NULL \
             AND quarantine.sid = g.sid AND quarantine.seq < g.seq",
            feed.number
        ))?;
    }
    Ok(())
}

/// The rows a batch's connector could not make records of.
pub(super) fn rejected(
    db: Db<'_>,
    entity: Option<&str>,
    feed: &Feed,
    seq: i64,
    rejected: &[RejectedRecord],
) -> Result<()> {
    if rejected.is_empty() {
        return Ok(());
    }
    let entity = entity.map_or("NULL".to_owned(), literal);
    let rows: Vec<String> = rejected
        .iter()
        .enumerate()
        .map(|(index, row)| {
            format!(
                "({entity}, {}, {seq}, {index}, NULL, NULL, NULL, {}, {}, {}, NULL, {seq}, NULL)",
                feed.number,
                literal(&row.raw),
                literal(&row.code),
                literal(&format!("{}: {}", row.place, row.reason)),
            )
        })
        .collect();
    db.batch(&format!("INSERT INTO quarantine ({COLUMNS}) VALUES {}", rows.join(", ")))
}

/// Makes what waits of a feed's records equal to the table `q` (in the table's columns) as of `seq`.
pub(super) fn settle(db: Db<'_>, feed: &Feed, seq: i64, wanted: Option<&str>) -> Result<()> {
    let same = "w.sid = quarantine.sid AND w.target IS NOT DISTINCT FROM quarantine.target AND w.code = quarantine.code \
                AND w.seq = quarantine.seq AND w.\"row\" = quarantine.\"row\" AND w.column_name IS NOT DISTINCT FROM quarantine.column_name \
                AND w.value IS NOT DISTINCT FROM quarantine.value AND w.reason = quarantine.reason AND w.entity = quarantine.entity";
    let mine = format!(
        "quarantine.feed = {} AND quarantine.sid IS NOT NULL AND quarantine.\"to\" IS NULL",
        feed.number
    );
    let Some(wanted) = wanted else {
        db.run(&format!("UPDATE quarantine SET \"to\" = {seq} WHERE {mine}"))?;
        db.run("DELETE FROM quarantine WHERE \"from\" = \"to\"")?;
        return Ok(());
    };
    db.run(&format!("UPDATE quarantine SET \"to\" = {seq} WHERE {mine} AND NOT EXISTS (SELECT 1 FROM {wanted} w WHERE {same})"))?;
    db.run(&format!(
        "INSERT INTO quarantine ({COLUMNS}) SELECT entity, feed, seq, \"row\", sid, target, column_name, value, code, reason, mv, \
         {seq} AS \"from\", CAST(NULL AS BIGINT) FROM {wanted} w WHERE NOT EXISTS (SELECT 1 FROM quarantine WHERE {mine} AND {same})"
    ))?;
    db.run("DELETE FROM quarantine WHERE \"from\" = \"to\"")?;
    Ok(())
}
