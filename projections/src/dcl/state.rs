//! What the engine must know between commits: feeds, mappings, bindings, the ontology. All of it is
//! in tables, written in the transaction of the commit that brought it; in memory is a copy.

use super::{
    sql::{Db, Result},
    tables::{self, literal},
};
use crate::error::ProjectionError;
use autonomos_domain::{
    aggregates::{
        mapping::{Binding, MappingEvent},
        unified_view::ViewRules,
    },
    ids::FeedId,
    mapping::MappingContent,
    ontology::{Entity, Ontology, default_ontology},
};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use uuid::Uuid;

/// A feed as the tables have it.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub(super) number: i32,
    pub(super) id: FeedId,
    /// Entity of the latest binding.
    pub(super) entity: Option<String>,
    pub(super) priority: i32,
    /// Rows up to this sequence no longer count; 0: all do.
    pub(super) closed_at: i64,
    pub(super) snapshot_from: Option<i64>,
    /// The source's columns; the n-th is column `c<n>` of the raw table.
    pub(super) columns: Vec<String>,
    pub(super) mappings: BTreeMap<u32, MappingContent>,
    /// All bindings, in order.
    pub(super) bindings: Vec<Binding>,
}

/// Batches of one schema version that are read in one way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Segment {
    pub(super) schema_version: u32,
    /// Batch numbers, from and to (exclusive).
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) binding: Binding,
}

impl Feed {
    /// Physical name of a source column.
    pub(super) fn column(&self, name: &str) -> Option<String> {
        self.columns.iter().position(|column| column == name).map(|ordinal| format!("c{ordinal}"))
    }

    /// How the batches of a schema version are read, by their numbers; batches in no segment wait
    /// for their first binding.
    pub(super) fn segments(&self, schema_version: u32) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for binding in self.bindings.iter().filter(|binding| binding.schema_version == schema_version) {
            let from = binding.suspect_from.map_or(0, |number| number as i64);
            segments.retain(|segment| segment.from < from);
            if let Some(last) = segments.last_mut() {
                last.to = last.to.min(from);
            }
            segments.push(Segment { schema_version, from, to: i64::MAX, binding: binding.clone() });
        }
        segments
    }

    /// All segments of all schema versions.
    pub(super) fn all_segments(&self) -> Vec<Segment> {
        let versions: BTreeSet<u32> = self.bindings.iter().map(|binding| binding.schema_version).collect();
        versions.into_iter().flat_map(|version| self.segments(version)).collect()
    }

    /// Takes in what an event of the feed's mapping says.
    pub(super) fn learn(&mut self, event: &MappingEvent) {
        match event {
            MappingEvent::MappingCreated { version, content, .. }
            | MappingEvent::MappingRevised { version, content, .. } => {
                self.mappings.insert(*version, content.clone());
            }
            MappingEvent::MappingBound { binding } => {
                self.entity =
                    self.mappings.get(&binding.mapping_version).and_then(|content| content.entity.clone());
                self.bindings.push(binding.clone());
            }
            _ => {}
        }
    }

    /// The mapping of a segment whose rows count for the feed's entity.
    pub(super) fn counted(&self, segment: &Segment) -> Option<&MappingContent> {
        let content = self.mappings.get(&segment.binding.mapping_version)?;
        (!segment.binding.hold_rows && self.entity.is_some() && content.entity == self.entity)
            .then_some(content)
    }
}

#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) ontology: Ontology,
    /// Rules of unified views that differ from the default, by entity.
    pub(super) rules: BTreeMap<String, ViewRules>,
    /// Index is the feed's number.
    pub(super) feeds: Vec<Feed>,
    /// Running maximum of `recorded_at`, microseconds.
    pub(super) clock: i64,
    /// Entities that have their tables.
    pub(super) entities: BTreeSet<String>,
}

fn damaged(what: &str, error: impl std::fmt::Display) -> ProjectionError {
    ProjectionError::Views(format!("the {what} in the file cannot be read: {error}"))
}

impl State {
    pub(super) fn load(db: Db<'_>) -> Result<Self> {
        let mut feeds = db.rows(
            "SELECT feed, CAST(feed_id AS VARCHAR), entity, priority, closed_at, snapshot_from FROM feeds ORDER BY feed",
            |row| {
                let id: String = row.get(1)?;
                Ok(Feed {
                    number: row.get(0)?,
                    id: FeedId(Uuid::parse_str(&id).unwrap_or_default()),
                    entity: row.get(2)?,
                    priority: row.get(3)?,
                    closed_at: row.get(4)?,
                    snapshot_from: row.get(5)?,
                    columns: Vec::new(),
                    mappings: BTreeMap::new(),
                    bindings: Vec::new(),
                })
            },
        )?;
        for (feed, name) in db.rows("SELECT feed, name FROM raw_columns ORDER BY feed, ordinal", |row| {
            Ok((row.get::<_, i32>(0)?, row.get::<_, String>(1)?))
        })? {
            feeds[feed as usize].columns.push(name);
        }
        for (feed, version, content) in db.rows("SELECT feed, mv, content FROM mappings", |row| {
            Ok((row.get::<_, i32>(0)?, row.get::<_, u32>(1)?, row.get::<_, String>(2)?))
        })? {
            let content = serde_json::from_str(&content).map_err(|error| damaged("mapping", error))?;
            feeds[feed as usize].mappings.insert(version, content);
        }
        for (feed, binding) in db.rows(
            "SELECT feed, sv, mv, CAST(to_json(held) AS VARCHAR), hold_rows, suspect_from FROM bindings ORDER BY feed, seq, event",
            |row| {
                let held: String = row.get(3)?;
                let suspect_from: Option<i64> = row.get(5)?;
                let binding = Binding {
                    schema_version: row.get(1)?,
                    mapping_version: row.get(2)?,
                    held: serde_json::from_str(&held).unwrap_or_default(),
                    hold_rows: row.get(4)?,
                    suspect_from: suspect_from.map(|number| number as u64),
                };
                Ok((row.get::<_, i32>(0)?, binding))
            },
        )? {
            feeds[feed as usize].bindings.push(binding);
        }
        let meta: BTreeMap<String, String> = db
            .rows("SELECT key, value FROM meta", |row| Ok((row.get(0)?, row.get(1)?)))?
            .into_iter()
            .collect();
        let ontology = match meta.get("ontology") {
            Some(text) => serde_json::from_str(text).map_err(|error| damaged("ontology", error))?,
            None => default_ontology(),
        };
        let rules = match meta.get("view_rules") {
            Some(text) => serde_json::from_str(text).map_err(|error| damaged("view rules", error))?,
            None => BTreeMap::new(),
        };
        let clock = meta.get("clock").and_then(|text| text.parse().ok()).unwrap_or(i64::MIN);
        let entities = db
            .rows(
                "SELECT table_name FROM duckdb_tables() WHERE NOT temporary AND starts_with(table_name, 'uni_') \
                 AND NOT ends_with(table_name, '_h')",
                |row| row.get::<_, String>(0),
            )?
            .into_iter()
            .filter_map(|table| table.strip_prefix("uni_").map(str::to_owned))
            .collect();
        Ok(Self { ontology, rules, feeds, clock, entities })
    }

    /// The feed's index, made known if it is new.
    pub(super) fn feed(&mut self, db: Db<'_>, id: FeedId, connection: Uuid, stream: &str) -> Result<usize> {
        if let Some(index) = self.find(id) {
            return Ok(index);
        }
        let number = self.feeds.len() as i32;
        db.run(&format!(
            "INSERT INTO feeds VALUES ({number}, '{id}', '{connection}', {}, NULL, 0, 0, NULL)",
            literal(stream)
        ))?;
        self.feeds.push(Feed {
            number,
            id,
            entity: None,
            priority: 0,
            closed_at: 0,
            snapshot_from: None,
            columns: Vec::new(),
            mappings: BTreeMap::new(),
            bindings: Vec::new(),
        });
        Ok(self.feeds.len() - 1)
    }

    pub(super) fn find(&self, id: FeedId) -> Option<usize> {
        self.feeds.iter().position(|feed| feed.id == id)
    }

    /// The entity a feed's records belong to, as the ontology in force defines it.
    pub(super) fn entity_of(&self, feed: usize) -> Option<&Entity> {
        let name = self.feeds[feed].entity.as_deref()?;
        self.ontology.entities.iter().find(|entity| entity.name == name)
    }

    /// Makes the entity's tables if they are not there.
    pub(super) fn prepare_entity(&mut self, db: Db<'_>, entity: &Entity) -> Result<()> {
        if self.entities.insert(entity.name.clone()) {
            db.batch(&tables::entity_tables(entity))?;
        }
        Ok(())
    }

    /// Makes columns of the raw table for source columns not seen before.
    pub(super) fn prepare_columns(&mut self, db: Db<'_>, feed: usize, names: &[String]) -> Result<()> {
        let feed = &mut self.feeds[feed];
        let first = feed.columns.len();
        let mut known: HashSet<String> = feed.columns.iter().cloned().collect();
        feed.columns.extend(names.iter().filter(|name| known.insert((*name).clone())).cloned());
        let added = feed.columns.len() - first;
        if added == 0 {
            return Ok(());
        }
        let table = tables::raw_table(feed.number);
        if first == 0 {
            let fixed =
                tables::RAW_COLUMNS.iter().map(|(name, kind)| format!("{name} {}", tables::stored(kind)));
            let text = tables::stored("VARCHAR");
            let own = (0..added).map(|ordinal| format!("c{ordinal} {text}"));
            let columns: Vec<String> = fixed.chain(own).collect();
            db.batch(&format!("CREATE TABLE {table}({})", columns.join(", ")))?;
        } else {
            for ordinal in first..feed.columns.len() {
                db.batch(&format!(
                    "ALTER TABLE {table} ADD COLUMN c{ordinal} {}",
                    tables::stored("VARCHAR")
                ))?;
            }
        }
        let rows: Vec<String> = feed.columns[first..]
            .iter()
            .enumerate()
            .map(|(offset, name)| {
                let ordinal = first + offset;
                format!("({}, {ordinal}, {}, 'c{ordinal}')", feed.number, literal(name))
            })
            .collect();
        db.batch(&format!("INSERT INTO raw_columns VALUES {}", rows.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(mapping_version: u32, suspect_from: Option<u64>) -> Binding {
        Binding { schema_version: 1, mapping_version, held: vec![], hold_rows: false, suspect_from }
    }

    fn ranges(bindings: Vec<Binding>) -> Vec<(i64, i64, u32)> {
        let feed = Feed {
            number: 0,
            id: FeedId(Uuid::nil()),
            entity: None,
            priority: 0,
            closed_at: 0,
            snapshot_from: None,
            columns: vec![],
            mappings: BTreeMap::new(),
            bindings,
        };
        feed.segments(1).iter().map(|one| (one.from, one.to, one.binding.mapping_version)).collect()
    }

    #[test]
    fn later_bindings_take_over_from_their_first_suspect_batch() {
        let end = i64::MAX;
        assert_eq!(ranges(vec![binding(1, None)]), [(0, end, 1)]);
        assert_eq!(ranges(vec![binding(1, None), binding(2, Some(5))]), [(0, 5, 1), (5, end, 2)]);
        assert_eq!(
            ranges(vec![binding(1, None), binding(2, Some(5)), binding(3, Some(3))]),
            [(0, 3, 1), (3, end, 3)]
        );
        assert_eq!(ranges(vec![binding(1, None), binding(2, Some(5)), binding(3, None)]), [(0, end, 3)]);
        assert_eq!(ranges(vec![binding(2, Some(5))]), [(5, end, 2)]);
    }
}
