//! Canonical rows: raw rows read through the mapping of their segment. What comes out is a *delta*:
//! the temporary table `d` of new record versions (all columns of the record table but `uid` and
//! `solo`), and `x(sid, seq)` of records that end.

use super::{
    ingest::Fresh,
    normalise::rule_key,
    program::Program,
    quarantine::{self, Landed, Waiting},
    sql::{Db, Result},
    stage::Staged,
    state::{Feed, Segment},
    tables::{self, field_time, key_column, literal, sql_type, time_column, value_column},
    transform::{self, Compiled, Source},
};
use autonomos_domain::{
    mapping::{MappingContent, MappingField},
    ontology::{Entity, OntologyField, Semantic},
};

/// How one field of an entity comes out of a segment's rows.
pub(super) struct Cell<'a> {
    pub(super) field: &'a OntologyField,
    pub(super) held: bool,
    /// None: the mapping has no line for it.
    pub(super) compiled: Option<Compiled>,
    pub(super) sources: String,
}

/// All cells of a segment; `r` is the raw row, with what the program names.
pub(super) struct Cells<'a> {
    pub(super) all: Vec<Cell<'a>>,
    program: Program,
}

impl Cells<'_> {
    /// Raw rows with what the cells' expressions name; to be called `r`.
    pub(super) fn over(&self, relation: &str) -> String {
        self.program.over(relation)
    }
}

/// All cells of a segment, over the raw table or over what is `staged`: a batch that came without a
/// column (it was removed, and its cells wait) has nulls.
pub(super) fn cells<'a>(
    entity: &'a Entity,
    feed: &Feed,
    segment: &Segment,
    content: &MappingContent,
    staged: Option<&Staged>,
) -> Cells<'a> {
    let mut program = Program::new("r");
    let column = |name: &str| {
        let sql = format!("r.{}", feed.column(name)?);
        match staged {
            Some(staged) => {
                let index = staged.columns.iter().position(|column| column == name)?;
                Some(Source { sql, clean: staged.clean[index] })
            }
            None => Some(Source { sql, clean: false }),
        }
    };
    let all = entity
        .fields
        .iter()
        .map(|field| {
            let lines: Vec<&MappingField> =
                content.fields.iter().filter(|line| line.target == field.name).collect();
            let sources: Vec<&str> = lines.iter().flat_map(|line| line.sources()).collect();
            Cell {
                field,
                held: segment.binding.held.contains(&field.name),
                compiled: (!lines.is_empty())
                    .then(|| transform::compile(&mut program, field, &lines, &column)),
                sources: sources.join(", "),
            }
        })
        .collect();
    Cells { all, program }
}

impl Cell<'_> {
    /// The value as the raw row gives it; null while the field is held.
    pub(super) fn value(&self) -> String {
        match &self.compiled {
            Some(compiled) if !self.held => compiled.value.clone(),
            _ => format!("CAST(NULL AS {})", sql_type(self.field.canonical_type)),
        }
    }
}

/// The columns of `d`.
pub(super) fn delta_columns(entity: &Entity) -> Vec<(String, &'static str)> {
    tables::record_columns(entity).into_iter().filter(|(name, _)| name != "uid" && name != "solo").collect()
}

/// Makes the empty delta of an entity.
pub(super) fn delta_begin(db: Db<'_>, entity: &Entity) -> Result<()> {
    let columns: Vec<String> =
        delta_columns(entity).iter().map(|(name, kind)| format!("{name} {kind}")).collect();
    db.empty("d", &entity.name, &columns.join(", "))?;
    db.empty("x", "", "sid UUID, seq BIGINT")
}

/// The event time of a row: its mapped `updated_at`, never later than its commit.
pub(super) fn event_time(entity: &Entity, held: &[String], alias: &str) -> String {
    let updated = entity
        .fields
        .iter()
        .find(|field| field.semantic == Semantic::UpdatedAt && !held.contains(&field.name));
    match updated {
        Some(field) => {
            format!("least(TRY_CAST({alias}.{} AS TIMESTAMP), {alias}.pos_time)", value_column(&field.name))
        }
        None => format!("{alias}.pos_time"),
    }
}

/// Held targets that the entity has, in the order of its fields, as an SQL list.
pub(super) fn held_list(entity: &Entity, held: &[String]) -> String {
    let names: Vec<String> = entity
        .fields
        .iter()
        .filter(|field| held.contains(&field.name))
        .map(|field| literal(&field.name))
        .collect();
    format!("CAST([{}] AS VARCHAR[])", names.join(", "))
}

/// Rows of a segment among the fresh ones.
pub(super) fn in_segment(segment: &Segment, alias: &str) -> String {
    let mut condition = String::new();
    if segment.from > 0 {
        condition = format!(" AND {alias}._b >= {}", segment.from);
    }
    if segment.to < i64::MAX {
        condition = format!("{condition} AND {alias}._b < {}", segment.to);
    }
    condition
}

/// The query of canonical rows of one segment, all as if their records were new: columns of the
/// delta without keys and field times, plus `at`, `ev`.
pub(super) fn canonical(entity: &Entity, segment: &Segment, cells: &Cells<'_>, relation: &str) -> String {
    let values: Vec<String> = cells
        .all
        .iter()
        .map(|cell| format!("{} AS {}", cell.value(), value_column(&cell.field.name)))
        .collect();
    format!(
        "SELECT *, {event} AS ev FROM (SELECT r._sid AS sid, r._key AS source_id, r._first AS \"first\", r._seq AS seq, \
         r._row AS \"row\", ct.\"at\" AS pos_time, {values} FROM {rows} r JOIN commit_times ct ON ct.seq = r._seq \
         WHERE r._op = 0{segment_rows}) b",
        event = event_time(entity, &segment.binding.held, "b"),
        values = values.join(", "),
        rows = cells.over(relation),
        segment_rows = in_segment(segment, "r"),
    )
}

/// A delta row from `v` (fields and field times in place): fixed columns and keys.
pub(super) fn delta_select(entity: &Entity, fixed: &str, fields: &[String], from: &str) -> String {
    let mut program = Program::new("q");
    let keys: Vec<String> = entity
        .match_rules
        .iter()
        .map(|rule| format!(", {} AS {}", rule_key(&mut program, entity, rule, "q"), key_column(&rule.name)))
        .collect();
    let rows = program.over(&format!("(SELECT {fixed}, {} FROM {from})", fields.join(", ")));
    format!("SELECT q.*{} FROM {rows} q", keys.concat())
}

/// The delta of fresh rows whose records are all new to the entity. Every field changed with its
/// row, so all field times are the version's own.
pub(super) fn new_rows(
    entity: &Entity,
    feed: &Feed,
    segment: &Segment,
    cells: &Cells<'_>,
    relation: &str,
) -> String {
    let held = &segment.binding.held;
    let fixed = format!(
        "v.sid, v.source_id, CAST({} AS INTEGER) AS feed, v.\"first\", v.seq, v.\"row\", CAST({} AS INTEGER) AS sv, \
         CAST({} AS INTEGER) AS mv, v.seq AS \"from\", {} AS held, v.ev AS t",
        feed.number,
        segment.schema_version,
        segment.binding.mapping_version,
        held_list(entity, held),
    );
    let mut fields: Vec<String> =
        entity.fields.iter().map(|field| format!("v.{}", value_column(&field.name))).collect();
    fields.extend(
        entity.fields.iter().map(|field| format!("CAST(NULL AS TIMESTAMP) AS {}", time_column(&field.name))),
    );
    let source = canonical(entity, segment, cells, relation);
    delta_select(entity, &fixed, &fields, &format!("({source}) v"))
}

/// The delta of fresh rows whose records may be known: held fields keep their last good value, field
/// times move where the value does, and what did not change is left out.
fn changed_rows(
    entity: &Entity,
    feed: &Feed,
    segment: &Segment,
    cells: &Cells<'_>,
    relation: &str,
) -> String {
    let held = held_list(entity, &segment.binding.held);
    let fixed = format!(
        "v.sid, v.source_id, CAST({} AS INTEGER) AS feed, coalesce(o.\"first\", v.\"first\") AS \"first\", v.seq, v.\"row\", \
         CAST({} AS INTEGER) AS sv, CAST({} AS INTEGER) AS mv, v.seq AS \"from\", {held} AS held, v.ev AS t",
        feed.number, segment.schema_version, segment.binding.mapping_version,
    );
    let mut fields = Vec::new();
    let mut times = Vec::new();
    let mut differs = vec!["o.sid IS NULL".to_owned(), format!("o.held IS DISTINCT FROM {held}")];
    for cell in &cells.all {
        let (value, time) = (value_column(&cell.field.name), time_column(&cell.field.name));
        let old_time = field_time("o", &cell.field.name);
        if cell.held {
            fields.push(format!("o.{value} AS {value}"));
            times.push(format!("CASE WHEN o.sid IS NOT NULL THEN nullif({old_time}, v.ev) END AS {time}"));
        } else {
            fields.push(format!("v.{value}"));
            times.push(format!(
                "CASE WHEN o.sid IS NOT NULL AND v.{value} IS NOT DISTINCT FROM o.{value} THEN nullif({old_time}, v.ev) END AS {time}"
            ));
            differs.push(format!("v.{value} IS DISTINCT FROM o.{value}"));
        }
    }
    fields.extend(times);
    let source = canonical(entity, segment, cells, relation);
    let from = format!(
        "({source}) v LEFT JOIN {} o ON o.sid = v.sid WHERE {}",
        tables::records(&entity.name),
        differs.join(" OR ")
    );
    delta_select(entity, &fixed, &fields, &from)
}

/// Adds what the fresh rows of a feed mean for its entity to the delta; or, `direct`, to the records
/// themselves: they are all new, and nothing can be in a cluster with them. Answers whether a record
/// that the entity knows is concerned.
pub(super) fn project(
    db: Db<'_>,
    entity: &Entity,
    feed: &Feed,
    staged: &Staged,
    fresh: &Fresh,
    direct: bool,
) -> Result<bool> {
    let records = tables::records(&entity.name);
    let known = !fresh.all_new
        && db.any(&format!(
            "SELECT 1 FROM {records} r WHERE r.feed = {} AND r.sid IN (SELECT _sid FROM {})",
            feed.number, fresh.relation
        ))?;
    let segments = feed.segments(staged.schema_version);
    let one = segments.len() == 1;
    for segment in segments {
        let rows = in_segment(&segment, "r");
        if segment.binding.hold_rows && feed.entity.is_some() {
            quarantine::rows_held(
                db,
                &entity.name,
                feed,
                &segment,
                &format!("{} r WHERE true{rows}", fresh.relation),
            )?;
            continue;
        }
        let Some(content) = feed.counted(&segment) else { continue };
        let cells = cells(entity, feed, &segment, content, Some(staged));
        let columns: Vec<String> = delta_columns(entity).into_iter().map(|(name, _)| name).collect();
        let select = if known {
            changed_rows(entity, feed, &segment, &cells, &fresh.relation)
        } else {
            new_rows(entity, feed, &segment, &cells, &fresh.relation)
        };
        let ordered: Vec<String> = columns.iter().map(|name| format!("z.{name}")).collect();
        let (into, more, values) =
            if direct { (records.as_str(), ", uid, solo", ", z.sid, true") } else { ("d", "", "") };
        db.run(&format!(
            "INSERT INTO {into} ({}{more}) SELECT {}{values} FROM ({select}) z",
            columns.join(", "),
            ordered.join(", ")
        ))?;
        if known && staged.deletes {
            db.run(&format!(
                "INSERT INTO x SELECT r._sid, r._seq FROM {} r JOIN {records} o ON o.sid = r._sid WHERE r._op = 1{rows}",
                fresh.relation
            ))?;
        }
        // New records land whole, so what did not fit is the difference of two counts.
        let landed = (!known).then(|| Landed {
            table: if direct { records.clone() } else { "d".to_owned() },
            condition: format!(
                "l.feed = {} AND l.\"from\" BETWEEN {} AND {}",
                feed.number, staged.first, staged.last
            ),
        });
        quarantine::cells_waiting(
            db,
            &Waiting {
                entity: &entity.name,
                feed,
                segment: &segment,
                cells: &cells,
                relation: &fresh.relation,
                rows: &rows,
                landed: landed.filter(|_| one),
            },
            !fresh.all_new,
        )?;
    }
    Ok(known)
}
