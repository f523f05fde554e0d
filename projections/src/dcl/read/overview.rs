//! What there is at a glance: entities with counts, the graph of sources, streams and entities, and
//! what waits in quarantine.

use super::{
    BatchCounts, BatchRange, EntitySummary, Graph, GraphEdge, GraphNode, QuarantineFilter, QuarantinePage,
    QuarantineRow, Result,
    rows::{decode, encode, mapping},
    view::Reader,
};
use crate::dcl::tables::{self, codes, literal};
use chrono::DateTime;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use uuid::Uuid;

pub(super) fn entities(reader: &Reader) -> Result<Vec<EntitySummary>> {
    let waiting: BTreeMap<String, i64> = reader
        .select(
            "SELECT coalesce(entity, ''), count(DISTINCT (feed, seq, \"row\")) FROM quarantine \
             WHERE \"to\" IS NULL GROUP BY entity",
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .into_iter()
        .collect();
    let mut summaries = Vec::new();
    for entity in &reader.ontology.entities {
        let view = reader.view(&entity.name, None)?;
        let mut summary = EntitySummary {
            entity: entity.name.clone(),
            plural: entity.plural.clone(),
            rows: 0,
            records: 0,
            merged: 0,
            held: 0,
            quarantined: waiting.get(&entity.name).copied().unwrap_or(0) as u64,
            updated_at: None,
        };
        if view.exists() {
            let sql = format!(
                "SELECT count(*), count(*) FILTER (solo), count(*) FILTER (len(held) > 0), max(\"from\") FROM {}",
                tables::records(&entity.name)
            );
            let counts = reader.select_one(&sql, |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, i64>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Option<i64>>(3)?,
                ))
            })?;
            let sql = format!("SELECT count(*), max(\"from\") FROM {}", tables::unified(&entity.name));
            let merged = reader
                .select_one(&sql, |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?)))?
                .unwrap_or_default();
            if let Some((records, solo, held, latest)) = counts {
                summary.records = records as u64;
                summary.merged = merged.0 as u64;
                summary.rows = (solo + merged.0) as u64;
                summary.held = held as u64;
                let latest = latest.max(merged.1);
                let times = reader.times(&latest.into_iter().collect())?;
                summary.updated_at = latest.and_then(|sequence| times.get(&sequence).copied());
            }
        }
        summaries.push(summary);
    }
    Ok(summaries)
}

/// Sources, their streams, the entities they feed, and how entities refer to each other. Labels of
/// sources are their ids: their names are elsewhere.
pub(super) fn graph(reader: &Reader) -> Result<Graph> {
    let mut graph = Graph::default();
    let mut connections = BTreeSet::new();
    let counts: BTreeMap<String, u64> =
        entities(reader)?.into_iter().map(|summary| (summary.entity, summary.rows)).collect();
    let mut used = BTreeSet::new();
    for (number, feed) in reader.feeds()?.into_iter().filter(|(_, feed)| !feed.closed) {
        let source = format!("source:{}", feed.connection_id);
        let stream = format!("stream:{}", feed.feed_id);
        if connections.insert(feed.connection_id) {
            graph.nodes.push(GraphNode {
                id: source.clone(),
                kind: "source",
                label: feed.connection_id.to_string(),
                rows: None,
            });
        }
        graph.nodes.push(GraphNode {
            id: stream.clone(),
            kind: "stream",
            label: feed.stream.clone(),
            rows: None,
        });
        graph.edges.push(GraphEdge {
            from: source,
            to: stream.clone(),
            kind: "has",
            fields: Vec::new(),
            confidence: None,
        });
        let Some(entity) = feed.entity else { continue };
        let sql =
            format!("SELECT mv FROM bindings WHERE feed = {number} ORDER BY seq DESC, event DESC LIMIT 1");
        let version = reader.select_one(&sql, |row| row.get::<_, i64>(0))?;
        let content = version.map(|version| mapping(reader, number, version)).transpose()?.flatten();
        let lines = content.map(|content| content.fields).unwrap_or_default();
        let confidence = lines.iter().map(|line| line.confidence).reduce(f64::min);
        graph.edges.push(GraphEdge {
            from: stream,
            to: format!("entity:{entity}"),
            kind: "feeds",
            fields: lines.into_iter().map(|line| line.target).collect(),
            confidence,
        });
        used.insert(entity);
    }
    for entity in reader.ontology.entities.iter().filter(|entity| used.contains(&entity.name)) {
        graph.nodes.push(GraphNode {
            id: format!("entity:{}", entity.name),
            kind: "entity",
            label: entity.name.clone(),
            rows: counts.get(&entity.name).copied(),
        });
        for field in &entity.fields {
            if let Some(other) = field.references.as_ref().filter(|other| used.contains(*other)) {
                graph.edges.push(GraphEdge {
                    from: format!("entity:{}", entity.name),
                    to: format!("entity:{other}"),
                    kind: "references",
                    fields: vec![field.name.clone()],
                    confidence: None,
                });
            }
        }
    }
    Ok(graph)
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    offset: u64,
}

/// What waits, oldest first.
pub(super) fn quarantine(reader: &Reader, filter: &QuarantineFilter) -> Result<QuarantinePage> {
    let limit = if filter.limit == 0 { 100 } else { filter.limit.min(1000) };
    let offset =
        filter.cursor.as_deref().map(decode::<Cursor>).transpose()?.map_or(0, |cursor| cursor.offset);
    let mut conditions = vec!["q.\"to\" IS NULL".to_owned()];
    if let Some(entity) = &filter.entity {
        let entity = &super::view::entity_of(&reader.ontology, entity)?.name;
        conditions.push(format!("q.entity = {}", literal(entity)));
    }
    if let Some(connection) = filter.connection_id {
        conditions.push(format!("f.connection_id = CAST('{connection}' AS UUID)"));
    }
    if let Some(stream) = &filter.stream {
        conditions.push(format!("f.stream = {}", literal(stream)));
    }
    if let Some(code) = &filter.code {
        conditions.push(format!("q.code = {}", literal(code)));
    }
    let from = format!("quarantine q JOIN feeds f ON f.feed = q.feed WHERE {}", conditions.join(" AND "));
    let total = reader.select_one(&format!("SELECT count(*) FROM {from}"), |row| row.get::<_, i64>(0))?;
    let sql = format!(
        "SELECT q.entity, CAST(f.connection_id AS VARCHAR), f.stream, CAST(q.sid AS VARCHAR), q.seq, \
         CAST(coalesce(q.\"row\", 0) AS BIGINT), q.target, q.column_name, q.value, q.code, q.reason, \
         CAST(q.mv AS BIGINT), epoch_us(t.\"at\") FROM {from} \
         ORDER BY q.seq, q.\"row\", q.feed, q.target, q.code, q.value, q.sid LIMIT {} OFFSET {offset}",
        limit + 1
    )
    .replace("FROM quarantine q", "FROM quarantine q LEFT JOIN commit_times t ON t.seq = q.seq");
    let rows = reader.select(&sql, |row| {
        Ok(QuarantineRow {
            entity: row.get::<_, Option<String>>(0)?.filter(|entity| !entity.is_empty()),
            connection_id: Uuid::parse_str(&row.get::<_, String>(1)?).unwrap_or_default(),
            stream: row.get(2)?,
            record_id: row.get::<_, Option<String>>(3)?.and_then(|text| Uuid::parse_str(&text).ok()),
            sequence: row.get::<_, i64>(4)? as u64,
            row: row.get::<_, i64>(5)? as u32,
            field: row.get(6)?,
            source_column: row.get(7)?,
            value: row.get(8)?,
            code: row.get::<_, Option<String>>(9)?.unwrap_or_default(),
            reason: row.get::<_, Option<String>>(10)?.unwrap_or_default(),
            mapping_version: row.get::<_, Option<i64>>(11)?.map(|version| version as u32),
            since: row.get::<_, Option<i64>>(12)?.and_then(DateTime::from_timestamp_micros),
        })
    })?;
    let more = rows.len() > limit;
    Ok(QuarantinePage {
        data: rows.into_iter().take(limit).collect(),
        next_cursor: more.then(|| encode(&Cursor { offset: offset + limit as u64 })),
        total: total.unwrap_or(0) as u64,
    })
}

/// How many rows of the batches of a range met trouble, in the order of the ranges; none: the views do
/// not know the feed.
pub(super) fn batch_counts(reader: &Reader, ranges: &[BatchRange]) -> Result<Vec<Option<BatchCounts>>> {
    /// Ranges asked for in one statement.
    const TOGETHER: usize = 1_000;
    let feeds: HashMap<Uuid, (i32, bool)> = reader
        .feeds()?
        .into_iter()
        .map(|(number, feed)| (feed.feed_id, (number, feed.entity.is_some())))
        .collect();
    let mut counts: Vec<Option<BatchCounts>> = ranges
        .iter()
        .map(|range| {
            let (_, mapped) = feeds.get(&range.feed_id)?;
            Some(BatchCounts { mapped: *mapped, rows_quarantined: 0, rows_held: 0 })
        })
        .collect();
    let asked: Vec<String> = ranges
        .iter()
        .enumerate()
        .filter_map(|(index, BatchRange { feed_id, first, last })| {
            feeds.get(feed_id).map(|(number, _)| format!("({index}, {number}, {first}, {last})"))
        })
        .collect();
    for some in asked.chunks(TOGETHER) {
        let sql = format!(
            "SELECT a.i, count(DISTINCT (q.seq, q.\"row\")), count(DISTINCT CASE WHEN q.code = {} THEN (q.seq, q.\"row\") END) \
             FROM (VALUES {}) a(i, feed, first, last) JOIN quarantine q \
             ON q.feed = a.feed AND q.seq BETWEEN a.first AND a.last GROUP BY a.i",
            literal(codes::ROW_HELD),
            some.join(", ")
        );
        let found = reader.select(&sql, |row| {
            Ok((row.get::<_, i64>(0)? as usize, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        })?;
        for (index, quarantined, held) in found {
            if let Some(Some(count)) = counts.get_mut(index) {
                count.rows_quarantined = quarantined as u64;
                count.rows_held = held as u64;
            }
        }
    }
    Ok(counts)
}
