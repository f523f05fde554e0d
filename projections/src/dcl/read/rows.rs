//! Lists of unified rows, single rows, and where each of their values comes from.

use super::{
    AsOf, FieldLineage, Lineage, OtherValue, Result, RowsPage, RowsQuery, SourceRef,
    view::{FeedInfo, Reader, View, id_list, json_of, text_of, texts_of},
};
use crate::{
    dcl::tables::{field_time, ident, raw_table, value_column, winner_column},
    error::ProjectionError,
};
use autonomos_domain::{
    mapping::MappingContent,
    ontology::{Entity, Semantic},
};
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::btree_map;
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Where a list goes on: the moment its first page was read at keeps later pages consistent.
#[derive(Serialize, Deserialize)]
struct Cursor {
    offset: u64,
    at: u64,
    /// Hash of what was asked.
    of: String,
}

fn print_of(entity: &str, query: &RowsQuery) -> String {
    let asked = format!(
        "{entity}\u{1f}{:?}\u{1f}{:?}\u{1f}{:?}\u{1f}{:?}",
        query.filters, query.sort, query.q, query.as_of
    );
    blake3::hash(asked.as_bytes()).to_hex()[..16].to_owned()
}

pub(super) fn encode<T: Serialize>(cursor: &T) -> String {
    hex::encode(serde_json::to_vec(cursor).unwrap_or_default())
}

pub(super) fn decode<T: for<'a> Deserialize<'a>>(text: &str) -> Result<T> {
    let bytes = hex::decode(text).map_err(|_| ProjectionError::BadCursor)?;
    serde_json::from_slice(&bytes).map_err(|_| ProjectionError::BadCursor)
}

/// A unified row as read, before its sources are looked up.
struct Base {
    id: Uuid,
    version: i64,
    fields: Map<String, Value>,
}

/// One source record of a unified row.
struct Member {
    uid: Uuid,
    feed: i32,
    source_id: String,
    sequence: i64,
    row: i64,
    mapping_version: i64,
    held: Vec<String>,
    version: i64,
}

pub(super) fn list(reader: &Reader, entity: &str, query: &RowsQuery) -> Result<RowsPage> {
    let limit = if query.limit == 0 { 100 } else { query.limit.min(1000) };
    let print = print_of(entity, query);
    let cursor: Option<Cursor> = query.cursor.as_deref().map(decode).transpose()?;
    if cursor.as_ref().is_some_and(|cursor| cursor.of != print) {
        return Err(ProjectionError::BadCursor);
    }
    let (offset, at) = match &cursor {
        Some(cursor) => (cursor.offset, Some(cursor.at)),
        None => (0, reader.resolve(query.as_of)?),
    };
    let view = reader.view(entity, at)?;
    let condition = view.condition(reader, &query.filters, query.q.as_deref())?;
    let order = view.order(&query.sort)?;
    let mut rows = base_rows(reader, &view, &condition, &order, limit + 1, offset)?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let total = if query.count {
        let sql = format!("SELECT count(*) FROM ({}) v WHERE {condition}", view.rows());
        reader.select_one(&sql, |row| row.get::<_, i64>(0))?.map(|count| count as u64)
    } else {
        None
    };
    let next_cursor = more.then(|| {
        encode(&Cursor { offset: offset + limit as u64, at: at.unwrap_or(reader.sequence), of: print })
    });
    Ok(RowsPage { data: finish(reader, &view, rows)?, next_cursor, total })
}

pub(super) fn one(reader: &Reader, entity: &str, id: Uuid, as_of: Option<AsOf>) -> Result<Option<Value>> {
    let view = reader.view(entity, reader.resolve(as_of)?)?;
    let condition = format!("id = {}", id_list([id]));
    let rows = base_rows(reader, &view, &condition, "id", 1, 0)?;
    Ok(finish(reader, &view, rows)?.into_iter().next())
}

fn base_rows(
    reader: &Reader,
    view: &View,
    condition: &str,
    order: &str,
    limit: usize,
    offset: u64,
) -> Result<Vec<Base>> {
    let sql = format!(
        "SELECT CAST(id AS VARCHAR), ver, {} FROM \
         (SELECT * FROM ({}) v WHERE {condition} ORDER BY {order} LIMIT {limit} OFFSET {offset}) p ORDER BY {order}",
        texts_of(&view.entity, ""),
        view.rows()
    );
    let rows = reader.select(&sql, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
    })?;
    rows.into_iter()
        .map(|(id, version, texts)| {
            Ok(Base { id: uuid_of(&id)?, version, fields: fields_of(&view.entity, &texts)? })
        })
        .collect()
}

pub(super) fn uuid_of(text: &str) -> Result<Uuid> {
    Uuid::parse_str(text).map_err(|_| ProjectionError::Views(format!("`{text}` is not an id")))
}

/// Fields from a JSON array of texts in the entity's order.
pub(super) fn fields_of(entity: &Entity, texts: &str) -> Result<Map<String, Value>> {
    let texts: Vec<Option<String>> =
        serde_json::from_str(texts).map_err(|error| ProjectionError::Views(error.to_string()))?;
    Ok(entity
        .fields
        .iter()
        .zip(texts)
        .map(|(field, text)| (field.name.clone(), json_of(field.canonical_type, text)))
        .collect())
}

fn members(reader: &Reader, view: &View, ids: impl IntoIterator<Item = Uuid>) -> Result<Vec<Member>> {
    let list = id_list(ids);
    if list.is_empty() || !view.exists() {
        return Ok(Vec::new());
    }
    let columns = "uid, sid, \"first\", feed, source_id, seq, \"row\", mv, held, \"from\"";
    let sql = format!(
        "SELECT CAST(uid AS VARCHAR), feed, source_id, seq, \"row\", mv, CAST(to_json(held) AS VARCHAR), \"from\" \
         FROM ({}) r ORDER BY uid, \"first\", sid",
        view.records(columns, &format!("uid IN ({list})"))
    );
    let rows = reader.select(&sql, |row| {
        let held = row.get::<_, Option<String>>(6)?;
        Ok((
            row.get::<_, String>(0)?,
            Member {
                uid: Uuid::nil(),
                feed: row.get(1)?,
                source_id: row.get(2)?,
                sequence: row.get(3)?,
                row: row.get(4)?,
                mapping_version: row.get::<_, Option<i64>>(5)?.unwrap_or(0),
                held: held
                    .and_then(|text| serde_json::from_str::<Option<Vec<String>>>(&text).ok().flatten())
                    .unwrap_or_default(),
                version: row.get(7)?,
            },
        ))
    })?;
    rows.into_iter().map(|(uid, member)| Ok(Member { uid: uuid_of(&uid)?, ..member })).collect()
}

/// Adds sources, update time, held fields and unmapped columns.
fn finish(reader: &Reader, view: &View, rows: Vec<Base>) -> Result<Vec<Value>> {
    let feeds = reader.feeds()?;
    let members = members(reader, view, rows.iter().map(|row| row.id))?;
    let extras = extras(reader, &members)?;
    let mut by_row: BTreeMap<Uuid, Vec<&Member>> = BTreeMap::new();
    for member in &members {
        by_row.entry(member.uid).or_default().push(member);
    }
    let updated = |base: &Base| {
        let of_members = by_row.get(&base.id).into_iter().flatten().map(|member| member.version);
        of_members.fold(base.version, i64::max)
    };
    let times = reader.times(&rows.iter().map(updated).collect())?;
    Ok(rows
        .into_iter()
        .map(|base| {
            let at = times.get(&updated(&base)).map(|time| rfc3339(*time));
            let empty = Vec::new();
            let of_row = by_row.get(&base.id).unwrap_or(&empty);
            let sources: Vec<_> = of_row
                .iter()
                .filter_map(|member| Some(source_ref(feeds.get(&member.feed)?, &member.source_id)))
                .collect();
            let held: BTreeSet<&String> = of_row.iter().flat_map(|member| &member.held).collect();
            let mut extra = Map::new();
            for member in of_row {
                for (name, value) in
                    extras.get(&(member.feed, member.sequence, member.row)).into_iter().flatten()
                {
                    extra.entry(name.clone()).or_insert_with(|| Value::String(value.clone()));
                }
            }
            let mut row = base.fields;
            row.insert("id".to_owned(), Value::String(base.id.to_string()));
            row.insert("_sources".to_owned(), serde_json::to_value(sources).unwrap_or_default());
            row.insert("_updated_at".to_owned(), at.map_or(Value::Null, Value::String));
            row.insert("_held".to_owned(), serde_json::to_value(held).unwrap_or_default());
            row.insert("_extra".to_owned(), Value::Object(extra));
            Value::Object(row)
        })
        .collect())
}

pub(super) fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

pub(super) fn source_ref(feed: &FeedInfo, source_id: &str) -> SourceRef {
    SourceRef {
        connection_id: feed.connection_id,
        stream: feed.stream.clone(),
        source_id: source_id.to_owned(),
    }
}

type RawPlace = (i32, i64, i64);

/// Values of the columns that no line of the record's mapping reads.
fn extras(reader: &Reader, members: &[Member]) -> Result<BTreeMap<RawPlace, Vec<(String, String)>>> {
    let mut places: BTreeMap<(i32, i64), Vec<(i64, i64)>> = BTreeMap::new();
    for member in members {
        places.entry((member.feed, member.mapping_version)).or_default().push((member.sequence, member.row));
    }
    let mut found = BTreeMap::new();
    for ((feed, mapping_version), rows) in places {
        let mapped: BTreeSet<String> = mapping(reader, feed, mapping_version)?
            .map(|content| {
                let fields = content.fields.iter().flat_map(|field| field.sources().map(ToOwned::to_owned));
                fields.chain(content.key.iter().cloned()).collect()
            })
            .unwrap_or_default();
        let sql = format!("SELECT name, physical FROM raw_columns WHERE feed = {feed} ORDER BY ordinal");
        let columns: Vec<(String, String)> = reader
            .select(&sql, |row| Ok((row.get(0)?, row.get(1)?)))?
            .into_iter()
            .filter(|(name, _): &(String, String)| !mapped.contains(name))
            .collect();
        if columns.is_empty() {
            continue;
        }
        let values: Vec<String> = rows.iter().map(|(sequence, row)| format!("({sequence}, {row})")).collect();
        let physical: Vec<String> =
            columns.iter().map(|(_, physical)| format!("r.{}", ident(physical))).collect();
        let sql = format!(
            "SELECT r._seq, CAST(r._row AS BIGINT), CAST(to_json([{}]) AS VARCHAR) FROM {} r \
             JOIN (VALUES {}) p(seq, n) ON r._seq = p.seq AND r._row = p.n",
            physical.join(", "),
            raw_table(feed),
            values.join(", ")
        );
        let rows = reader.select(&sql, |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        for (sequence, row, texts) in rows {
            let texts: Vec<Option<String>> =
                serde_json::from_str(&texts).map_err(|error| ProjectionError::Views(error.to_string()))?;
            let values =
                columns.iter().zip(texts).filter_map(|((name, _), text)| Some((name.clone(), text?)));
            found.insert((feed, sequence, row), values.collect());
        }
    }
    Ok(found)
}

pub(super) fn mapping(reader: &Reader, feed: i32, version: i64) -> Result<Option<MappingContent>> {
    let sql = format!(
        "SELECT content FROM mappings WHERE feed = {feed} AND mv = {version} ORDER BY seq DESC LIMIT 1"
    );
    let text = reader.select_one(&sql, |row| row.get::<_, String>(0))?;
    text.map(|text| {
        serde_json::from_str(&text)
            .map_err(|error| ProjectionError::Views(format!("a mapping is damaged: {error}")))
    })
    .transpose()
}

/// A record of a unified row with its values and their times.
struct Candidate {
    record_id: Uuid,
    feed: i32,
    source_id: String,
    sequence: i64,
    row: i64,
    schema_version: i64,
    mapping_version: i64,
    held: Vec<String>,
    values: Map<String, Value>,
    times: Vec<Option<String>>,
}

pub(super) fn lineage(reader: &Reader, entity: &str, id: Uuid) -> Result<Option<Lineage>> {
    let view = reader.view(entity, None)?;
    if !view.exists() {
        return Ok(None);
    }
    let candidates = candidates(reader, &view, id)?;
    if candidates.is_empty() {
        return Ok(None);
    }
    let feeds = reader.feeds()?;
    let winners = winners(reader, &view, id)?;
    let mut mappings = BTreeMap::new();
    let mut fields = Vec::new();
    for (index, field) in view.entity.fields.iter().enumerate() {
        let winner = match &winners {
            None => candidates.first(),
            Some(winners) => winners[index].and_then(|sid| candidates.iter().find(|c| c.record_id == sid)),
        };
        let Some(winner) = winner else { continue };
        let value = winner.values.get(&field.name).cloned().unwrap_or_default();
        let held = winner.held.contains(&field.name);
        if value.is_null() && !held {
            continue;
        }
        let Some(feed) = feeds.get(&winner.feed) else { continue };
        let key = (winner.feed, winner.mapping_version);
        let mapping = match mappings.entry(key) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(unknown) => unknown.insert(mapping(reader, key.0, key.1)?),
        };
        let line =
            mapping.as_ref().and_then(|content| content.fields.iter().find(|line| line.target == field.name));
        let others: Vec<&Candidate> = candidates
            .iter()
            .filter(|other| other.record_id != winner.record_id)
            .filter(|other| other.values.get(&field.name).is_some_and(|value| !value.is_null()))
            .collect();
        fields.push(FieldLineage {
            field: field.name.clone(),
            value,
            connection_id: feed.connection_id,
            stream: feed.stream.clone(),
            source_id: winner.source_id.clone(),
            record_id: winner.record_id,
            sequence: winner.sequence as u64,
            row: winner.row as u32,
            schema_version: winner.schema_version as u32,
            mapping_version: winner.mapping_version as u32,
            source_columns: line
                .map(|line| line.sources().map(ToOwned::to_owned).collect())
                .unwrap_or_default(),
            transform: line.and_then(|line| serde_json::to_value(&line.transform).ok()),
            rule: rule(field.semantic, index, winner, &others, &feeds),
            changed_at: time_of(winner.times[index].as_deref()),
            held,
            others: others
                .into_iter()
                .filter_map(|other| {
                    let feed = feeds.get(&other.feed)?;
                    Some(OtherValue {
                        connection_id: feed.connection_id,
                        stream: feed.stream.clone(),
                        source_id: other.source_id.clone(),
                        value: other.values.get(&field.name).cloned().unwrap_or_default(),
                        changed_at: time_of(other.times[index].as_deref()),
                    })
                })
                .collect(),
        });
    }
    Ok(Some(Lineage { id, entity: view.entity.name.clone(), fields }))
}

fn time_of(text: Option<&str>) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text?).ok().map(|time| time.with_timezone(&Utc))
}

/// Which of the survivorship rules chose the winner.
fn rule(
    semantic: Semantic,
    index: usize,
    winner: &Candidate,
    others: &[&Candidate],
    feeds: &BTreeMap<i32, FeedInfo>,
) -> &'static str {
    if others.is_empty() {
        return "only_source";
    }
    match semantic {
        Semantic::CreatedAt => return "earliest",
        Semantic::UpdatedAt => return "latest",
        _ => {}
    }
    let tied: Vec<_> = others.iter().filter(|other| other.times[index] == winner.times[index]).collect();
    if tied.is_empty() {
        return "latest";
    }
    let priority = |candidate: &Candidate| feeds.get(&candidate.feed).map_or(0, |feed| feed.priority);
    if tied.iter().all(|other| priority(other) < priority(winner)) { "priority" } else { "tie_break" }
}

fn candidates(reader: &Reader, view: &View, id: Uuid) -> Result<Vec<Candidate>> {
    let entity = &view.entity;
    let known: Vec<_> = entity.fields.iter().map(|field| view.has(&format!("f_{}", field.name))).collect();
    let values: Vec<String> = entity
        .fields
        .iter()
        .zip(&known)
        .map(|(field, known)| match known {
            true => text_of(field.canonical_type, &format!("r.{}", value_column(&field.name))),
            false => "NULL".to_owned(),
        })
        .collect();
    let times: Vec<String> = entity
        .fields
        .iter()
        .zip(&known)
        .map(|(field, known)| match known {
            true => format!("strftime({}, '%Y-%m-%dT%H:%M:%S.%fZ')", field_time("r", &field.name)),
            false => "NULL".to_owned(),
        })
        .collect();
    let sql = format!(
        "SELECT CAST(r.sid AS VARCHAR), r.feed, r.source_id, r.seq, CAST(r.\"row\" AS BIGINT), CAST(r.sv AS BIGINT), \
         CAST(r.mv AS BIGINT), CAST(to_json(r.held) AS VARCHAR), CAST(to_json([{}]) AS VARCHAR), \
         CAST(to_json([{}]) AS VARCHAR) FROM {} r WHERE r.uid = {} ORDER BY r.\"first\", r.sid",
        values.join(", "),
        times.join(", "),
        crate::dcl::tables::records(&entity.name),
        id_list([id])
    );
    let rows = reader.select(&sql, |row| {
        let held: Option<String> = row.get(7)?;
        let times: String = row.get(9)?;
        let candidate = Candidate {
            record_id: Uuid::nil(),
            feed: row.get(1)?,
            source_id: row.get(2)?,
            sequence: row.get(3)?,
            row: row.get(4)?,
            schema_version: row.get::<_, Option<i64>>(5)?.unwrap_or(0),
            mapping_version: row.get::<_, Option<i64>>(6)?.unwrap_or(0),
            held: held
                .and_then(|text| serde_json::from_str::<Option<Vec<String>>>(&text).ok().flatten())
                .unwrap_or_default(),
            values: Map::new(),
            times: serde_json::from_str(&times).unwrap_or_default(),
        };
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(8)?, candidate))
    })?;
    rows.into_iter()
        .map(|(sid, texts, candidate)| {
            let mut times = candidate.times;
            times.resize(entity.fields.len(), None);
            Ok(Candidate {
                record_id: uuid_of(&sid)?,
                values: fields_of(entity, &texts)?,
                times,
                ..candidate
            })
        })
        .collect()
}

/// The records that each field of a merged row was taken from; none: the row has one record.
fn winners(reader: &Reader, view: &View, id: Uuid) -> Result<Option<Vec<Option<Uuid>>>> {
    let columns: Vec<String> = view
        .entity
        .fields
        .iter()
        .map(|field| {
            if view.has(&format!("f_{}", field.name)) {
                format!("CAST({} AS VARCHAR)", winner_column(&field.name))
            } else {
                "NULL".to_owned()
            }
        })
        .collect();
    let sql = format!(
        "SELECT CAST(to_json([{}]) AS VARCHAR) FROM {} WHERE uid = {}",
        columns.join(", "),
        crate::dcl::tables::unified(&view.entity.name),
        id_list([id])
    );
    let Some(text) = reader.select_one(&sql, |row| row.get::<_, String>(0))? else { return Ok(None) };
    let texts: Vec<Option<String>> =
        serde_json::from_str(&text).map_err(|error| ProjectionError::Views(error.to_string()))?;
    Ok(Some(texts.into_iter().map(|text| Uuid::parse_str(&text?).ok()).collect()))
}
