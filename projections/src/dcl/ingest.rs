//! Appends staged rows to the raw tables, leaving out what says nothing new, and keeps track of the
//! open snapshot.

use super::{
    sql::{Db, Result},
    stage::{ROW_BITS, Staged, record_id_sql},
    state::{Feed, State},
    tables,
};
use std::fmt::Write as _;

/// Order of appearance of a raw row, total over all feeds.
pub(super) fn appearance(alias: &str) -> String {
    format!("(({alias}._seq << {ROW_BITS}) | {alias}._row)")
}

/// The rows of a feed that changed something, as a relation with `_first` (where the record first
/// appeared) and `_h`.
pub(super) struct Fresh {
    pub(super) relation: String,
    /// Temporary tables to drop when done.
    pub(super) tables: Vec<String>,
    /// No record of it was ever seen before.
    pub(super) all_new: bool,
    pub(super) rows: usize,
}

/// Appends the staged rows of one feed that differ from what their records last were.
pub(super) fn append_raw(db: Db<'_>, state: &State, staged: &Staged) -> Result<Fresh> {
    let feed = &state.feeds[staged.feed];
    let number = feed.number;
    let raw = tables::raw_table(number);
    if !staged.keyed {
        count_repeats(db, feed, staged)?;
    }
    let source: Vec<String> =
        staged.columns.iter().map(|name| feed.column(name).unwrap_or_default()).collect();
    let mut hashed: Vec<&str> = source.iter().map(String::as_str).collect();
    hashed.sort_unstable();
    let staging = &staged.table;
    let content = format!("hash({}, s._op, s.{})", staged.schema_version, hashed.join(", s."));

    let prior = format!("p_{number}");
    let known = db.make(
        &prior,
        &format!(
            "SELECT r._sid, arg_max(r._h, {at}) AS h, arg_max(r._op, {at}) AS op, max(r._seq) AS seq, min({at}) AS f \
             FROM {raw} r WHERE r._sid IN (SELECT _sid FROM {staging}) GROUP BY r._sid",
            at = appearance("r")
        ),
    )?;
    let fresh = if known == 0 && !staged.deletes {
        Fresh {
            relation: format!(
                "(SELECT s.*, {} AS _first, {content} AS _h FROM {staging} s)",
                appearance("s")
            ),
            tables: vec![staging.clone(), prior.clone()],
            all_new: true,
            rows: staged.rows,
        }
    } else {
        let table = format!("fr_{number}");
        // A record that is gone already is not told again; one that comes back is always news.
        let rows = db.make(
            &table,
            &format!(
                "SELECT s.*, coalesce(p.f, {at}) AS _first, {content} AS _h \
                 FROM {staging} s LEFT JOIN {prior} p ON p._sid = s._sid \
                 WHERE CASE WHEN p._sid IS NULL OR p.seq <= {closed} THEN s._op = 0 \
                       WHEN s._op = 1 THEN p.op = 0 ELSE p.op = 1 OR p.h <> {content} END",
                at = appearance("s"),
                closed = feed.closed_at,
            ),
        )?;
        Fresh {
            relation: table.clone(),
            tables: vec![staging.clone(), prior.clone(), table],
            all_new: known == 0,
            rows,
        }
    };
    let mut columns = String::from("_seq, _row, _sid, _key, _b, _op, _h, _sv");
    for name in &source {
        let _ = write!(columns, ", {name}");
    }
    db.run(&format!(
        "INSERT INTO {raw} ({columns}) SELECT {} FROM {} f",
        columns.replace("_sv", &format!("{} AS _sv", staged.schema_version)),
        fresh.relation
    ))?;
    if feed.snapshot_from.is_some() && fresh.rows < staged.rows {
        // What did change is told from its raw row.
        db.run(&format!(
            "INSERT INTO {} SELECT s._sid, s._key FROM {staging} s \
             WHERE s._op = 0 AND s._sid NOT IN (SELECT f._sid FROM {} f)",
            tables::seen_table(number),
            fresh.relation
        ))?;
    }
    Ok(fresh)
}

/// Gives the repeats of a row without a key numbers of their own: the n-th of a snapshot (n ≥ 2) has
/// `#n` at the end of its key. Without a snapshot repeats are counted within their commit.
fn count_repeats(db: Db<'_>, feed: &Feed, staged: &Staged) -> Result<()> {
    let table = &staged.table;
    let number = feed.number;
    let window = if feed.snapshot_from.is_some() { "_key" } else { "_key, _seq" };
    let before = format!("kr_{number}");
    let earlier = match feed.snapshot_from {
        Some(from) => db.make(
            &before,
            &format!(
                "SELECT split_part(k, '#', 1) AS k, count(*) AS n FROM (\
                 SELECT _key AS k FROM {raw} WHERE _seq >= {from} AND _op = 0 UNION SELECT key FROM {seen}) \
                 WHERE split_part(k, '#', 1) IN (SELECT _key FROM {table}) GROUP BY 1",
                raw = tables::raw_table(number),
                seen = tables::seen_table(number),
            ),
        )?,
        None => db.make(&before, "SELECT CAST(NULL AS VARCHAR) AS k, 0 AS n WHERE false")?,
    };
    if earlier > 0 || db.any(&format!("SELECT 1 FROM {table} GROUP BY {window} HAVING count(*) > 1"))? {
        let numbered = format!("kn_{number}");
        db.make(
            &numbered,
            &format!(
                "SELECT _seq AS q, _row AS w, _key || '#' || CAST(n AS VARCHAR) AS k FROM (\
                 SELECT s._seq, s._row, s._key, coalesce(b.n, 0) + row_number() OVER (PARTITION BY {window} ORDER BY _seq, _row) AS n \
                 FROM {table} s LEFT JOIN {before} b ON b.k = s._key) WHERE n > 1"
            ),
        )?;
        db.run(&format!(
            "UPDATE {table} SET _key = n.k, _sid = n.i FROM (SELECT q, w, k, {} AS i FROM {numbered}) n \
             WHERE _seq = n.q AND _row = n.w",
            record_id_sql(feed.id, "k")
        ))?;
        db.drop(&[&numbered])?;
    }
    db.drop(&[&before])
}

/// A full read begins.
pub(super) fn snapshot_start(db: Db<'_>, state: &mut State, feed: usize, seq: i64) -> Result<()> {
    let feed = &mut state.feeds[feed];
    feed.snapshot_from = Some(seq);
    let number = feed.number;
    db.run(&format!("UPDATE feeds SET snapshot_from = {seq} WHERE feed = {number}"))?;
    db.batch(&format!("CREATE OR REPLACE TABLE {}(sid UUID, key VARCHAR)", tables::seen_table(number)))?;
    // What the connector refused in an earlier edition says nothing about this one.
    db.run(&format!(
        "UPDATE quarantine SET \"to\" = {seq} WHERE feed = {number} AND sid IS NULL AND \"to\" IS NULL"
    ))?;
    Ok(())
}

/// The open snapshot, if there is one, is given up: nothing closes.
pub(super) fn snapshot_end(db: Db<'_>, state: &mut State, feed: usize) -> Result<()> {
    let feed = &mut state.feeds[feed];
    if feed.snapshot_from.take().is_some() {
        db.run(&format!("UPDATE feeds SET snapshot_from = NULL WHERE feed = {}", feed.number))?;
        db.batch(&format!("DROP TABLE IF EXISTS {}", tables::seen_table(feed.number)))?;
    }
    Ok(())
}

/// All rows are in: records absent from the snapshot are noted as gone in the raw table. Answers
/// the temporary table `(_sid)` of them, if there are any.
pub(super) fn snapshot_absent(
    db: Db<'_>,
    state: &State,
    feed: usize,
    seq: i64,
    schema_version: u32,
    batch: u64,
) -> Result<Option<String>> {
    let feed = &state.feeds[feed];
    let Some(from) = feed.snapshot_from else { return Ok(None) };
    if feed.columns.is_empty() {
        return Ok(None);
    }
    let raw = tables::raw_table(feed.number);
    let earlier = format!("_seq < {from} AND _seq > {}", feed.closed_at);
    if !db.any(&format!("SELECT 1 FROM {raw} WHERE {earlier}"))? {
        return Ok(None);
    }
    let table = format!("ab_{}", feed.number);
    let absent = db.make(
        &table,
        &format!(
            "SELECT r._sid, arg_max(r._key, {at}) AS _key FROM {raw} r WHERE {earlier} \
             AND NOT EXISTS (SELECT 1 FROM {raw} n WHERE n._sid = r._sid AND n._seq >= {from}) \
             AND NOT EXISTS (SELECT 1 FROM {seen} n WHERE n.sid = r._sid) \
             GROUP BY r._sid HAVING arg_max(r._op, {at}) = 0",
            at = appearance("r"),
            seen = tables::seen_table(feed.number),
        ),
    )?;
    if absent == 0 {
        db.drop(&[&table])?;
        return Ok(None);
    }
    db.run(&format!(
        "INSERT INTO {raw} (_seq, _row, _sid, _key, _sv, _b, _op, _h) \
         SELECT {seq}, 0, _sid, _key, {schema_version}, {batch}, 1, 0 FROM {table}"
    ))?;
    Ok(Some(table))
}
