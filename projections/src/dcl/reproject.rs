//! Projects a feed's history again under its bindings as they are now: the state its records should
//! have is computed from the raw rows, compared with the state they have, and the difference takes
//! effect at the commit that changed the bindings.
//!
//! A field's value is that of the latest counting raw row whose binding does not hold it; its time
//! that of the row since which it has been so.

use super::{
    canon::{self, canonical, cells, delta_columns, delta_select, held_list, in_segment},
    ingest::appearance,
    quarantine::{self, Waiting},
    sql::{Db, Result},
    state::{Feed, Segment},
    tables::{self, literal, time_column, value_column},
};
use autonomos_domain::ontology::Entity;
use std::collections::BTreeSet;

/// Schema versions whose batches are read otherwise than before; all, when the feed moved to another
/// entity.
pub(super) fn concerned(before: &[Segment], after: &[Segment], moved: bool) -> BTreeSet<u32> {
    before
        .iter()
        .chain(after)
        .filter(|segment| moved || !(before.contains(segment) && after.contains(segment)))
        .map(|segment| segment.schema_version)
        .collect()
}

/// Whether the feed has raw rows of a schema version.
pub(super) fn has_rows(db: Db<'_>, feed: &Feed, schema_versions: &BTreeSet<u32>) -> Result<bool> {
    if feed.columns.is_empty() || schema_versions.is_empty() {
        return Ok(false);
    }
    let versions: Vec<String> = schema_versions.iter().map(u32::to_string).collect();
    db.any(&format!(
        "SELECT 1 FROM {} WHERE _sv IN ({}) AND _seq > {}",
        tables::raw_table(feed.number),
        versions.join(", "),
        feed.closed_at
    ))
}

fn within(segment: &Segment, alias: &str) -> String {
    format!("({alias}._sv = {}{})", segment.schema_version, in_segment(segment, alias))
}

fn any_of(segments: &[&Segment], alias: &str) -> String {
    if segments.is_empty() {
        return "false".to_owned();
    }
    segments.iter().map(|segment| within(segment, alias)).collect::<Vec<_>>().join(" OR ")
}

/// Fills the delta (`d`, `x`) of an entity with what has to change for a feed's records to be as its
/// bindings say, and `q` with what is to wait in quarantine. Only temporary tables are written.
pub(super) fn fill_delta(db: Db<'_>, entity: &Entity, feed: &Feed, seq: i64) -> Result<()> {
    let raw = tables::raw_table(feed.number);
    let at = appearance("r");
    let segments = feed.all_segments();
    let counted: Vec<&Segment> = segments.iter().filter(|segment| feed.counted(segment).is_some()).collect();
    let counts = format!("(({}) AND r._seq > {})", any_of(&counted, "r"), feed.closed_at);
    db.temp(
        "rc",
        "",
        &format!(
            "SELECT *, coalesce(last > coalesce(dead, -1), false) AS live FROM (\
             SELECT r._sid AS sid, min({at}) AS f, count(*) FILTER ({counts} AND r._op = 0) AS n, \
             max({at}) FILTER ({counts} AND r._op = 1) AS dead, max({at}) FILTER ({counts} AND r._op = 0) AS last \
             FROM {raw} r GROUP BY r._sid)"
        ),
    )?;
    let columns: Vec<String> = delta_columns(entity).into_iter().map(|(name, _)| name).collect();
    let names = columns.join(", ");
    let kinds: Vec<String> =
        delta_columns(entity).iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    db.empty("df", &entity.name, &kinds.join(", "))?;
    db.temp("q", "", &format!("SELECT {} FROM quarantine WHERE false", quarantine::COLUMNS))?;
    // Records with one row that counts, by far the most.
    let single = format!(
        "(SELECT r.*, c.f AS _first FROM {raw} r JOIN rc c ON c.sid = r._sid WHERE c.live AND c.n = 1 AND {at} = c.last)"
    );
    let latest = format!(
        "(SELECT r.*, c.f AS _first FROM {raw} r JOIN rc c ON c.sid = r._sid WHERE c.live AND {at} = c.last)"
    );
    for segment in &counted {
        let Some(content) = feed.counted(segment) else { continue };
        let cells = cells(entity, feed, segment, content, None);
        let relation = format!("(SELECT * FROM {single} r WHERE r._sv = {})", segment.schema_version);
        let select = canon::new_rows(entity, feed, segment, &cells, &relation);
        let ordered: Vec<String> = columns.iter().map(|name| format!("z.{name}")).collect();
        db.run(&format!("INSERT INTO df ({names}) SELECT {} FROM ({select}) z", ordered.join(", ")))?;
        let here = format!("{} AND r._sv = {}", in_segment(segment, "r"), segment.schema_version);
        let waiting = Waiting {
            entity: &entity.name,
            feed,
            segment,
            cells: &cells,
            relation: &latest,
            rows: &here,
            landed: None,
        };
        for query in quarantine::waiting_rows(db, &waiting)? {
            db.run(&format!("INSERT INTO q {query}"))?;
        }
    }
    if db.any("SELECT 1 FROM rc WHERE live AND n > 1")? {
        many_rows(db, entity, feed, &counted, &raw)?;
    }
    rows_held(db, entity, feed, &segments, &raw)?;
    difference(db, entity, feed, seq, &columns)
}

/// Adds records with several rows that count to `df`.
fn many_rows(db: Db<'_>, entity: &Entity, feed: &Feed, counted: &[&Segment], raw: &str) -> Result<()> {
    let at = appearance("r");
    let values: Vec<String> = entity
        .fields
        .iter()
        .map(|field| format!("{} {}", value_column(&field.name), tables::sql_type(field.canonical_type)))
        .collect();
    db.empty(
        "m",
        &entity.name,
        &format!(
            "sid UUID, source_id VARCHAR, \"first\" BIGINT, seq BIGINT, \"row\" INTEGER, ord BIGINT, \
         sv INTEGER, mv INTEGER, held VARCHAR[], ev TIMESTAMP, {}",
            values.join(", ")
        ),
    )?;
    let fields: Vec<String> = entity.fields.iter().map(|field| value_column(&field.name)).collect();
    for segment in counted {
        let Some(content) = feed.counted(segment) else { continue };
        let cells = cells(entity, feed, segment, content, None);
        let relation = format!(
            "(SELECT r.*, c.f AS _first FROM {raw} r JOIN rc c ON c.sid = r._sid WHERE c.live AND c.n > 1 \
             AND r._sv = {} AND r._seq > {} AND {at} > coalesce(c.dead, -1))",
            segment.schema_version, feed.closed_at
        );
        let select = canonical(entity, segment, &cells, &relation);
        db.run(&format!(
            "INSERT INTO m SELECT v.sid, v.source_id, v.\"first\", v.seq, v.\"row\", (v.seq << {bits}) | v.\"row\", {}, {}, {}, v.ev, {} \
             FROM ({select}) v",
            segment.schema_version,
            segment.binding.mapping_version,
            held_list(entity, &segment.binding.held),
            fields.iter().map(|name| format!("v.{name}")).collect::<Vec<_>>().join(", "),
            bits = super::stage::ROW_BITS,
        ))?;
    }
    let ever_held: BTreeSet<&str> =
        counted.iter().flat_map(|segment| segment.binding.held.iter().map(String::as_str)).collect();
    let mut moved = Vec::new();
    let mut since = Vec::new();
    let mut joins = String::new();
    let mut chosen = Vec::new();
    let mut times = Vec::new();
    for (index, field) in entity.fields.iter().enumerate() {
        let (value, time) = (value_column(&field.name), time_column(&field.name));
        if ever_held.contains(field.name.as_str()) {
            // Only rows that do not hold it say anything about it.
            db.temp(
                &format!("h{index}"),
                &entity.name,
                &format!(
                    "SELECT sid, arg_max_null(x, ord) AS v, arg_max(ev, ord) FILTER (c) AS t FROM (\
                     SELECT sid, ord, ev, {value} AS x, lag(ord) OVER w IS NULL OR {value} IS DISTINCT FROM lag({value}) OVER w AS c \
                     FROM m WHERE NOT list_contains(held, {name}) WINDOW w AS (PARTITION BY sid ORDER BY ord)) GROUP BY sid",
                    name = literal(&field.name)
                ),
            )?;
            joins.push_str(&format!(" LEFT JOIN h{index} ON h{index}.sid = l.sid"));
            chosen.push(format!("h{index}.v AS {value}"));
            times.push(format!("nullif(h{index}.t, l.ev) AS {time}"));
        } else {
            moved.push(format!(
                ", lag(ord) OVER w IS NULL OR {value} IS DISTINCT FROM lag({value}) OVER w AS c{index}"
            ));
            since.push(format!(", arg_max(ev, ord) FILTER (c{index}) AS t{index}"));
            chosen.push(format!("l.{value}"));
            times.push(format!("nullif(s.t{index}, l.ev) AS {time}"));
        }
    }
    db.temp(
        "ms",
        // Which fields were ever held differs from feed to feed.
        &format!("{} {ever_held:?}", entity.name),
        &format!(
            "SELECT sid{} FROM (SELECT sid, ord, ev{} FROM m WINDOW w AS (PARTITION BY sid ORDER BY ord)) GROUP BY sid",
            since.concat(),
            moved.concat()
        ),
    )?;
    let fixed = format!(
        "l.sid, l.source_id, CAST({} AS INTEGER) AS feed, l.\"first\", l.seq, l.\"row\", l.sv, l.mv, l.seq AS \"from\", l.held, l.ev AS t",
        feed.number
    );
    chosen.extend(times);
    let from = format!(
        "(SELECT m.* FROM m JOIN rc c ON c.sid = m.sid AND c.last = m.ord) l JOIN ms s ON s.sid = l.sid{joins}"
    );
    let select = delta_select(entity, &fixed, &chosen, &from);
    let columns: Vec<String> = delta_columns(entity).into_iter().map(|(name, _)| name).collect();
    let ordered: Vec<String> = columns.iter().map(|name| format!("z.{name}")).collect();
    db.run(&format!(
        "INSERT INTO df ({}) SELECT {} FROM ({select}) z",
        columns.join(", "),
        ordered.join(", ")
    ))?;
    Ok(())
}

/// Adds the rows that wait as a whole to `q`: of each record the latest, unless a counting row of it
/// is later.
fn rows_held(db: Db<'_>, entity: &Entity, feed: &Feed, segments: &[Segment], raw: &str) -> Result<()> {
    let holding: Vec<&Segment> = segments.iter().filter(|segment| segment.binding.hold_rows).collect();
    if holding.is_empty() {
        return Ok(());
    }
    let at = appearance("r");
    db.temp(
        "hr",
        "",
        &format!(
            "SELECT r._sid AS sid, max({at}) AS ord FROM {raw} r JOIN rc c ON c.sid = r._sid WHERE ({}) AND r._op = 0 AND r._seq > {} \
             AND {at} > greatest(coalesce(c.last, -1), coalesce(c.dead, -1)) GROUP BY r._sid",
            any_of(&holding, "r"),
            feed.closed_at
        ),
    )?;
    for segment in holding {
        let from =
            format!("{raw} r JOIN hr ON hr.sid = r._sid AND hr.ord = {at} WHERE {}", within(segment, "r"));
        db.run(&format!("INSERT INTO q {}", quarantine::held_rows(&entity.name, feed, segment, &from)))?;
    }
    Ok(())
}

/// The delta between the records of the feed as they are and as `df` wants them, at `seq`.
fn difference(db: Db<'_>, entity: &Entity, feed: &Feed, seq: i64, columns: &[String]) -> Result<()> {
    let records = tables::records(&entity.name);
    let mut differs = vec!["o.sid IS NULL".to_owned(), "o.held IS DISTINCT FROM z.held".to_owned()];
    differs.extend(entity.fields.iter().map(|field| {
        let value = value_column(&field.name);
        format!("o.{value} IS DISTINCT FROM z.{value}")
    }));
    let ordered: Vec<String> = columns
        .iter()
        .map(|name| if name == "\"from\"" { seq.to_string() } else { format!("z.{name}") })
        .collect();
    db.run(&format!(
        "INSERT INTO d ({}) SELECT {} FROM df z LEFT JOIN {records} o ON o.sid = z.sid WHERE {}",
        columns.join(", "),
        ordered.join(", "),
        differs.join(" OR ")
    ))?;
    db.run(&format!(
        "INSERT INTO x SELECT o.sid, {seq} FROM {records} o WHERE o.feed = {} AND o.sid NOT IN (SELECT sid FROM df)",
        feed.number
    ))?;
    Ok(())
}
