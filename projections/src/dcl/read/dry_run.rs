//! What a change of a mapping would do, without doing it: the events it would append are taken in by a
//! copy of what is known of the feed, and the projection itself says what its records would become.
//! Everything is computed in temporary tables of a reader's transaction that is given up.

use super::{
    DclReads, Result,
    view::{Reader, text_of},
};
use crate::{
    dcl::{
        canon, quarantine, reproject,
        sql::{Db, Scratch},
        state::{Feed, State},
        tables::{self, literal, value_column},
    },
    error::ProjectionError,
};
use autonomos_domain::{
    aggregates::mapping::MappingEvent,
    ids::{FeedId, TenantId},
    mapping::MappingField,
    ontology::Entity,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// Characters of a value that an example shows.
const SHOWN: usize = 1_000;

/// What a dry run is to show.
#[derive(Debug, Clone)]
pub struct DryRunQuery {
    /// Examples of this field alone.
    pub field: Option<String>,
    /// Examples at most.
    pub examples: usize,
    pub timeout: Duration,
}

/// What a change of a mapping would do to the records of its stream.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
pub struct DryRun {
    /// Up to which log sequence the views were that it was computed on.
    #[serde(skip)]
    pub sequence: u64,
    /// The entity that the stream's records would belong to.
    pub entity: Option<String>,
    pub rows: DryRunRows,
    /// All fields together.
    pub cells: DryRunCells,
    /// The fields of which a cell would change.
    pub fields: Vec<DryRunField>,
    /// The first cells that would be otherwise, by their records.
    pub examples: Vec<DryRunExample>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DryRunRows {
    /// Records with a cell that would change, that would appear or that would go.
    pub affected: u64,
    pub added: u64,
    pub removed: u64,
    /// Rows of the unified view that these records make up now, or would.
    pub unified: u64,
    /// Rows that would wait as a whole and do not now.
    pub quarantined: u64,
    /// Rows that wait as a whole and would no longer.
    pub released: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DryRunCells {
    /// One value for another.
    pub changed: u64,
    /// A value where there is none.
    pub filled: u64,
    /// None where there is a value.
    pub emptied: u64,
    /// Would wait in quarantine, and do not for that reason now.
    pub quarantined: u64,
    /// Wait in quarantine, and would no longer.
    pub released: u64,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DryRunField {
    pub entity: String,
    pub field: String,
    #[serde(flatten)]
    pub cells: DryRunCells,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DryRunKind {
    Changed,
    Filled,
    Emptied,
    Quarantined,
}

/// A cell as it is and as it would be.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct DryRunExample {
    pub entity: String,
    pub record_id: Uuid,
    /// The record's key as its source writes it.
    pub source_id: String,
    pub field: String,
    pub kind: DryRunKind,
    /// The value shown now; of a cell that would wait, what the source says.
    pub before: Option<String>,
    pub after: Option<String>,
    pub reason: String,
}

impl DclReads {
    /// What events of a feed's mapping would do, if they were appended now. One at a time: each may need
    /// as much memory as a projection of the feed does.
    pub async fn dry_run(
        &self,
        tenant: TenantId,
        feed: FeedId,
        events: Vec<MappingEvent>,
        query: DryRunQuery,
    ) -> Result<DryRun> {
        let seconds = query.timeout.as_secs();
        let began = tokio::time::Instant::now();
        let turn = tokio::time::timeout(query.timeout, self.dcl.dry_runs().acquire()).await;
        let _turn = turn
            .map_err(|_| ProjectionError::DryRunTimeout { seconds })?
            .map_err(|_| ProjectionError::Stopped)?;
        let left = query.timeout.saturating_sub(began.elapsed());
        let work = move |reader: Reader| run(&reader, feed, &events, &query);
        let found = self.read_within(tenant, left, work).await.map_err(|error| {
            if error.is_out_of_memory() { ProjectionError::DryRunTooLarge } else { error }
        })?;
        Ok(found.ok_or(ProjectionError::DryRunTimeout { seconds })?.unwrap_or_default())
    }
}

pub(super) fn run(
    reader: &Reader,
    feed: FeedId,
    events: &[MappingEvent],
    query: &DryRunQuery,
) -> Result<DryRun> {
    let scratch = Scratch::default();
    let db = Db { connection: &reader.connection, scratch: &scratch };
    let state = State::load(db)?;
    let mut answer = DryRun { sequence: reader.sequence, ..DryRun::default() };
    let Some(before) = state.find(feed).map(|index| &state.feeds[index]) else { return Ok(answer) };
    let mut after = before.clone();
    for event in events {
        after.learn(event);
    }
    answer.entity.clone_from(&after.entity);
    let entity = |name: &Option<String>| {
        name.as_ref().and_then(|name| reader.ontology.entities.iter().find(|entity| entity.name == *name))
    };
    let (left, entered) = (entity(&before.entity), entity(&after.entity));
    if let (Some(field), Some(entity)) = (&query.field, entered.or(left))
        && entity.field(field).is_none()
    {
        let known: Vec<_> = entity.fields.iter().map(|field| format!("`{}`", field.name)).collect();
        return Err(ProjectionError::UnknownField {
            entity: entity.name.clone(),
            name: field.clone(),
            known: known.join(", "),
        });
    }
    let moved = before.entity != after.entity;
    let concerned = reproject::concerned(&before.all_segments(), &after.all_segments(), moved);
    if !reproject::has_rows(db, &after, &concerned)? {
        return Ok(answer);
    }
    let mut counting = Counting { db, feed: &after, query, answer, fields: BTreeMap::new() };
    if let Some(left) = left.filter(|left| moved && state.entities.contains(&left.name)) {
        counting.leaving(left)?;
    }
    match entered {
        Some(entered) => {
            if !state.entities.contains(&entered.name) {
                counting.empty(entered)?;
            }
            canon::delta_begin(db, entered)?;
            // Nothing is at the next place yet: what is there would take effect there.
            reproject::fill_delta(db, entered, &after, reader.sequence as i64 + 1)?;
            counting.changing(entered)?;
        }
        None => db
            .temp("q", "", &format!("SELECT {} FROM quarantine WHERE false", quarantine::COLUMNS))
            .map(drop)?,
    }
    counting.waiting()?;
    Ok(counting.done())
}

struct Counting<'a> {
    db: Db<'a>,
    feed: &'a Feed,
    query: &'a DryRunQuery,
    answer: DryRun,
    /// By entity and field.
    fields: BTreeMap<(String, String), DryRunCells>,
}

/// A row with any difference: `b` holds what it shows, `a` what it would show.
struct Differing {
    record_id: Uuid,
    source_id: String,
    mapping_version: Option<u32>,
    before: Option<Vec<Option<String>>>,
    after: Option<Vec<Option<String>>>,
}

impl Counting<'_> {
    /// An entity without a table of its records has none.
    fn empty(&self, entity: &Entity) -> Result<()> {
        let columns: Vec<String> =
            tables::record_columns(entity).iter().map(|(name, kind)| format!("{name} {kind}")).collect();
        self.db.batch(&format!("CREATE TEMP TABLE {}({})", tables::records(&entity.name), columns.join(", ")))
    }

    /// All records that the feed has in an entity would leave it.
    fn leaving(&mut self, entity: &Entity) -> Result<()> {
        let nothing: Vec<String> = entity
            .fields
            .iter()
            .map(|field| {
                let kind = tables::sql_type(field.canonical_type);
                format!("CAST(NULL AS {kind}) AS {}", value_column(&field.name))
            })
            .collect();
        let from = format!(
            "(SELECT * FROM {} WHERE feed = {}) b LEFT JOIN (SELECT CAST(NULL AS UUID) AS sid, \
             CAST(NULL AS VARCHAR) AS source_id, CAST(NULL AS INTEGER) AS mv, {} WHERE false) a ON a.sid = b.sid",
            tables::records(&entity.name),
            self.feed.number,
            nothing.join(", "),
        );
        self.count(entity, &from)
    }

    /// The delta of an entity.
    fn changing(&mut self, entity: &Entity) -> Result<()> {
        let records = tables::records(&entity.name);
        let number = self.feed.number;
        let from = format!(
            "(SELECT * FROM {records} o WHERE o.feed = {number} AND (o.sid IN (SELECT sid FROM d) OR o.sid IN (SELECT sid FROM x))) b \
             FULL JOIN d a ON a.sid = b.sid"
        );
        self.count(entity, &from)
    }

    /// Counts the differences between rows `b` and `a`, and shows some.
    fn count(&mut self, entity: &Entity, from: &str) -> Result<()> {
        let differs = |name: &str| {
            let value = value_column(name);
            format!("a.{value} IS DISTINCT FROM b.{value}")
        };
        let any: Vec<String> = ["a.sid IS NULL".to_owned(), "b.sid IS NULL".to_owned()]
            .into_iter()
            .chain(entity.fields.iter().map(|field| differs(&field.name)))
            .collect();
        let any = any.join(" OR ");
        let mut counts = vec![
            format!("count(*) FILTER ({any})"),
            "count(*) FILTER (b.sid IS NULL)".to_owned(),
            "count(*) FILTER (a.sid IS NULL)".to_owned(),
            format!("count(DISTINCT coalesce(b.uid, a.sid)) FILTER ({any})"),
        ];
        for field in &entity.fields {
            let value = value_column(&field.name);
            counts.push(format!(
                "count(*) FILTER (b.{value} IS NOT NULL AND a.{value} IS NOT NULL AND b.{value} <> a.{value})"
            ));
            counts.push(format!("count(*) FILTER (b.{value} IS NULL AND a.{value} IS NOT NULL)"));
            counts.push(format!("count(*) FILTER (b.{value} IS NOT NULL AND a.{value} IS NULL)"));
        }
        let text = self
            .db
            .rows(&format!("SELECT CAST(to_json([{}]) AS VARCHAR) FROM {from}", counts.join(", ")), |row| {
                row.get::<_, String>(0)
            })?
            .pop()
            .unwrap_or_default();
        let counted: Vec<u64> = read(&text)?;
        let (rows, cells) = counted.split_at(4.min(counted.len()));
        if let [affected, added, removed, unified] = rows {
            self.answer.rows.affected += affected;
            self.answer.rows.added += added;
            self.answer.rows.removed += removed;
            self.answer.rows.unified += unified;
        }
        for (field, cells) in entity.fields.iter().zip(cells.chunks_exact(3)) {
            let known = self.fields.entry((entity.name.clone(), field.name.clone())).or_default();
            known.changed += cells[0];
            known.filled += cells[1];
            known.emptied += cells[2];
        }
        let shown = match &self.query.field {
            Some(name) if entity.field(name).is_some() => differs(name),
            Some(_) => return Ok(()),
            None => any,
        };
        self.examples(entity, from, &shown)
    }

    /// The first rows that differ, by their records' ids.
    fn examples(&mut self, entity: &Entity, from: &str, shown: &str) -> Result<()> {
        let left = self.query.examples.saturating_sub(self.answer.examples.len());
        if left == 0 {
            return Ok(());
        }
        let texts = |alias: &str| -> String {
            let texts: Vec<String> = entity
                .fields
                .iter()
                .map(|field| {
                    let value = format!("{alias}.{}", value_column(&field.name));
                    format!("left({}, {SHOWN})", text_of(field.canonical_type, &value))
                })
                .collect();
            format!(
                "CASE WHEN {alias}.sid IS NOT NULL THEN CAST(to_json([{}]) AS VARCHAR) END",
                texts.join(", ")
            )
        };
        let sql = format!(
            "SELECT CAST(coalesce(a.sid, b.sid) AS VARCHAR), coalesce(a.source_id, b.source_id), a.mv, {}, {} \
             FROM {from} WHERE {shown} ORDER BY coalesce(a.sid, b.sid) LIMIT {left}",
            texts("b"),
            texts("a"),
        );
        let rows = self.db.rows(&sql, |row| {
            Ok((
                row.get::<_, String>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Option<u32>>(2)?,
                row.get::<_, Option<String>>(3)?,
                row.get::<_, Option<String>>(4)?,
            ))
        })?;
        for (id, source_id, mapping_version, before, after) in rows {
            let row = Differing {
                record_id: Uuid::parse_str(&id).unwrap_or_default(),
                source_id,
                mapping_version,
                before: before.as_deref().map(read).transpose()?,
                after: after.as_deref().map(read).transpose()?,
            };
            self.show(entity, &row);
        }
        Ok(())
    }

    fn show(&mut self, entity: &Entity, row: &Differing) {
        for (index, field) in entity.fields.iter().enumerate() {
            if self.answer.examples.len() >= self.query.examples {
                return;
            }
            if self.query.field.as_ref().is_some_and(|wanted| *wanted != field.name) {
                continue;
            }
            let side =
                |side: &Option<Vec<Option<String>>>| side.as_ref().and_then(|row| row.get(index).cloned()?);
            let (before, after) = (side(&row.before), side(&row.after));
            let kind = match (&before, &after) {
                (None, Some(_)) => DryRunKind::Filled,
                (Some(_), None) => DryRunKind::Emptied,
                (Some(old), Some(new)) if old != new => DryRunKind::Changed,
                _ => continue,
            };
            let reason = if row.after.is_none() {
                format!("the record would leave `{}`", entity.name)
            } else if row.before.is_none() {
                format!("the record would enter `{}`, {}", entity.name, self.read_from(row, &field.name))
            } else {
                self.read_from(row, &field.name)
            };
            self.answer.examples.push(DryRunExample {
                entity: entity.name.clone(),
                record_id: row.record_id,
                source_id: row.source_id.clone(),
                field: field.name.clone(),
                kind,
                before,
                after,
                reason,
            });
        }
    }

    /// Which columns the mapping of a row reads for a field.
    fn read_from(&self, row: &Differing, field: &str) -> String {
        let content = row.mapping_version.and_then(|version| self.feed.mappings.get(&version));
        let lines = content.into_iter().flat_map(|content| &content.fields);
        let sources: Vec<String> = lines
            .filter(|line| line.target == field)
            .flat_map(MappingField::sources)
            .map(|source| format!("`{source}`"))
            .collect();
        if sources.is_empty() {
            "no column is read for it".to_owned()
        } else {
            format!("read from {}", sources.join(", "))
        }
    }

    /// What would wait in quarantine that does not, and what would no longer.
    fn waiting(&mut self) -> Result<()> {
        let number = self.feed.number;
        let now = format!(
            "(SELECT * FROM quarantine WHERE feed = {number} AND sid IS NOT NULL AND \"to\" IS NULL)"
        );
        let same = "n.sid = w.sid AND n.target IS NOT DISTINCT FROM w.target";
        let anew =
            format!("FROM q w WHERE NOT EXISTS (SELECT 1 FROM {now} n WHERE {same} AND n.code = w.code)");
        let gone = format!("FROM {now} w WHERE NOT EXISTS (SELECT 1 FROM q n WHERE {same})");
        for (from, is_anew) in [(&anew, true), (&gone, false)] {
            let counted =
                self.db.rows(&format!("SELECT w.entity, w.target, count(*) {from} GROUP BY ALL"), |row| {
                    Ok((
                        row.get::<_, Option<String>>(0)?,
                        row.get::<_, Option<String>>(1)?,
                        row.get::<_, u64>(2)?,
                    ))
                })?;
            for (entity, target, count) in counted {
                let Some(target) = target else {
                    let rows = &mut self.answer.rows;
                    *(if is_anew { &mut rows.quarantined } else { &mut rows.released }) += count;
                    continue;
                };
                let cells = self.fields.entry((entity.unwrap_or_default(), target)).or_default();
                *(if is_anew { &mut cells.quarantined } else { &mut cells.released }) += count;
            }
        }
        let left = self.query.examples.saturating_sub(self.answer.examples.len());
        let field = self
            .query
            .field
            .as_ref()
            .map_or_else(String::new, |field| format!(" AND w.target = {}", literal(field)));
        let sql = format!(
            "SELECT w.entity, CAST(w.sid AS VARCHAR), coalesce((SELECT max(r._key) FROM {} r WHERE r._sid = w.sid), ''), w.target, w.value, w.reason \
             {anew} AND w.target IS NOT NULL{field} ORDER BY w.sid, w.target LIMIT {left}",
            tables::raw_table(number)
        );
        let shown = self.db.rows(&sql, |row| {
            let id: String = row.get(1)?;
            Ok(DryRunExample {
                entity: row.get::<_, Option<String>>(0)?.unwrap_or_default(),
                record_id: Uuid::parse_str(&id).unwrap_or_default(),
                source_id: row.get(2)?,
                field: row.get(3)?,
                kind: DryRunKind::Quarantined,
                before: row.get(4)?,
                after: None,
                reason: row.get(5)?,
            })
        })?;
        self.answer.examples.extend(shown);
        Ok(())
    }

    fn done(self) -> DryRun {
        let Self { mut answer, fields, .. } = self;
        for ((entity, field), cells) in fields {
            if cells != DryRunCells::default() {
                answer.cells.add(&cells);
                answer.fields.push(DryRunField { entity, field, cells });
            }
        }
        answer
    }
}

impl DryRunCells {
    fn add(&mut self, other: &Self) {
        self.changed += other.changed;
        self.filled += other.filled;
        self.emptied += other.emptied;
        self.quarantined += other.quarantined;
        self.released += other.released;
    }
}

impl DryRunRows {
    /// Whether nothing of a row would be otherwise.
    pub const fn is_none(&self) -> bool {
        self.affected == 0 && self.quarantined == 0 && self.released == 0
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|error| ProjectionError::Views(format!("a list of values: {error}")))
}
