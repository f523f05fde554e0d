//! The change feed, and which records were recognised as one, with the reasons.

use super::{
    Change, ChangeKind, ChangesPage, MatchLink, MatchMember, MatchRow, Result,
    rows::{decode, encode, fields_of, source_ref, uuid_of},
    view::{FeedInfo, Reader, View, id_list, text_of, texts_of},
};
use crate::dcl::tables::{self, ident, key_column, literal, value_column};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Versions of unified rows: `id, start, "end"` and the fields; `end` is null while it holds.
fn versions(view: &View) -> String {
    let fields: Vec<String> = view
        .entity
        .fields
        .iter()
        .map(|field| {
            let column = if view.has(&format!("f_{}", field.name)) {
                value_column(&field.name)
            } else {
                format!("CAST(NULL AS {})", tables::sql_type(field.canonical_type))
            };
            format!("{column} AS {}", ident(&field.name))
        })
        .collect();
    let fields = fields.join(", ");
    let entity = &view.entity.name;
    let part = |table: String, end: &str, condition: &str| {
        format!(
            "SELECT uid AS id, \"from\" AS \"start\", {end} AS \"end\", {fields} FROM {table} WHERE {condition}"
        )
    };
    [
        part(tables::records(entity), "CAST(NULL AS BIGINT)", "solo"),
        part(tables::records_history(entity), "\"to\"", "solo"),
        part(tables::unified(entity), "CAST(NULL AS BIGINT)", "true"),
        part(tables::unified_history(entity), "\"to\"", "true"),
    ]
    .join(" UNION ALL ")
}

/// What opened and closed after a place, in the log's order, within a commit by id.
pub(super) fn changes(reader: &Reader, entity: &str, after: (u64, u32), limit: usize) -> Result<ChangesPage> {
    let limit = if limit == 0 { 100 } else { limit.min(1000) };
    let view = reader.view(entity, None)?;
    if !view.exists() {
        return Ok(ChangesPage { data: Vec::new(), next: after, more: false });
    }
    let (sequence, index) = after;
    let sql = format!(
        "WITH v AS ({versions}), \
         e AS (SELECT \"start\" AS seq, id, true AS opened FROM v WHERE \"start\" >= {sequence} \
               UNION ALL SELECT \"end\", id, false FROM v WHERE \"end\" >= {sequence}), \
         g AS (SELECT seq, id, bool_or(opened) AS opened FROM e GROUP BY seq, id), \
         n AS (SELECT seq, id, opened, row_number() OVER (PARTITION BY seq ORDER BY id) - 1 AS idx FROM g), \
         p AS (SELECT * FROM n WHERE seq > {sequence} OR idx > {index} ORDER BY seq, idx LIMIT {more}) \
         SELECT p.seq, p.idx, CAST(p.id AS VARCHAR), p.opened, CASE WHEN p.opened THEN {texts} END \
         FROM p LEFT JOIN v ON v.id = p.id AND v.\"start\" = p.seq AND p.opened \
           AND (v.\"end\" IS NULL OR v.\"end\" > p.seq) \
         ORDER BY p.seq, p.idx",
        versions = versions(&view),
        texts = texts_of(&view.entity, "v."),
        more = limit + 1,
    );
    let rows = reader.select(&sql, |row| {
        Ok((
            row.get::<_, i64>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, String>(2)?,
            row.get::<_, bool>(3)?,
            row.get::<_, Option<String>>(4)?,
        ))
    })?;
    let more = rows.len() > limit;
    let mut data = Vec::new();
    for (sequence, index, id, opened, texts) in rows.into_iter().take(limit) {
        let id = uuid_of(&id)?;
        let row = texts.filter(|_| opened).map(|texts| fields_of(&view.entity, &texts)).transpose()?;
        let row = row.map(|mut fields: Map<String, Value>| {
            fields.insert("id".to_owned(), Value::String(id.to_string()));
            Value::Object(fields)
        });
        data.push(Change {
            sequence: sequence as u64,
            index: index as u32,
            kind: if opened { ChangeKind::Opened } else { ChangeKind::Closed },
            id,
            row,
        });
    }
    let next = data.last().map_or(after, |last| (last.sequence, last.index));
    Ok(ChangesPage { data, next, more })
}

#[derive(Serialize, Deserialize)]
struct Cursor {
    entity: String,
    id: Uuid,
}

/// Rows of two or more records, entity by entity, by id.
pub(super) fn matches(
    reader: &Reader,
    entity: Option<&str>,
    limit: usize,
    cursor: Option<&str>,
) -> Result<(Vec<MatchRow>, Option<String>)> {
    let limit = if limit == 0 { 100 } else { limit.min(1000) };
    let cursor: Option<Cursor> = cursor.map(decode).transpose()?;
    let names: Vec<String> = match entity {
        Some(name) => vec![super::view::entity_of(&reader.ontology, name)?.name.clone()],
        None => reader.ontology.entities.iter().map(|entity| entity.name.clone()).collect(),
    };
    let start = match &cursor {
        Some(cursor) => names.iter().position(|name| *name == cursor.entity).unwrap_or(names.len()),
        None => 0,
    };
    let mut found = Vec::new();
    for name in &names[start..] {
        let view = reader.view(name, None)?;
        if !view.exists() {
            continue;
        }
        let after = cursor.as_ref().filter(|cursor| cursor.entity == *name);
        let condition =
            after.map_or_else(|| "true".to_owned(), |cursor| format!("uid > {}", id_list([cursor.id])));
        let sql = format!(
            "SELECT CAST(uid AS VARCHAR) FROM {} WHERE {condition} ORDER BY uid LIMIT {}",
            tables::unified(name),
            limit + 1 - found.len()
        );
        let ids = reader.select(&sql, |row| row.get::<_, String>(0))?;
        let ids = ids.iter().map(|id| uuid_of(id)).collect::<Result<Vec<_>>>()?;
        found.extend(clusters(reader, &view, &ids)?);
        if found.len() > limit {
            break;
        }
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found
        .last()
        .filter(|_| more)
        .map(|last| encode(&Cursor { entity: last.entity.clone(), id: last.id }));
    Ok((found, next))
}

pub(super) fn match_get(reader: &Reader, id: Uuid) -> Result<Option<MatchRow>> {
    for entity in &reader.ontology.entities {
        let view = reader.view(&entity.name, None)?;
        if view.exists()
            && let Some(found) = clusters(reader, &view, &[id])?.into_iter().next()
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

struct Record {
    uid: Uuid,
    member: MatchMember,
    /// Normalised keys, by rule.
    keys: Vec<Option<String>>,
}

fn clusters(reader: &Reader, view: &View, ids: &[Uuid]) -> Result<Vec<MatchRow>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let feeds = reader.feeds()?;
    let records = records(reader, view, ids, &feeds)?;
    let human = human_links(reader, &view.entity.name, &records)?;
    let mut rows: BTreeMap<Uuid, Vec<Record>> = BTreeMap::new();
    for record in records {
        rows.entry(record.uid).or_default().push(record);
    }
    let rules: Vec<&String> = view.entity.match_rules.iter().map(|rule| &rule.name).collect();
    let mut found = Vec::new();
    for (id, records) in rows {
        if records.len() < 2 {
            continue;
        }
        let mut links = Vec::new();
        for (index, left) in records.iter().enumerate() {
            for right in &records[index + 1..] {
                let (left_id, right_id) = (left.member.record_id, right.member.record_id);
                let mut reasons: Vec<String> = rules
                    .iter()
                    .zip(left.keys.iter().zip(&right.keys))
                    .filter(|(_, (left, right))| left.is_some() && left == right)
                    .map(|(rule, _)| (*rule).clone())
                    .collect();
                if human.contains(&(left_id.min(right_id), left_id.max(right_id))) {
                    reasons.push("human".to_owned());
                }
                if !reasons.is_empty() {
                    links.push(MatchLink { left: left_id, right: right_id, reasons });
                }
            }
        }
        let members = records.into_iter().map(|record| record.member).collect();
        found.push(MatchRow { id, entity: view.entity.name.clone(), members, links });
    }
    Ok(found)
}

fn records(
    reader: &Reader,
    view: &View,
    ids: &[Uuid],
    feeds: &BTreeMap<i32, FeedInfo>,
) -> Result<Vec<Record>> {
    let entity = &view.entity;
    let values: Vec<String> = entity
        .fields
        .iter()
        .map(|field| {
            if view.has(&format!("f_{}", field.name)) {
                text_of(field.canonical_type, &value_column(&field.name))
            } else {
                "NULL".to_owned()
            }
        })
        .collect();
    let keys: Vec<String> = entity
        .match_rules
        .iter()
        .map(|rule| {
            if view.has(&format!("k_{}", rule.name)) {
                key_column(&rule.name)
            } else {
                "CAST(NULL AS VARCHAR)".to_owned()
            }
        })
        .collect();
    let sql = format!(
        "SELECT CAST(uid AS VARCHAR), CAST(sid AS VARCHAR), feed, source_id, CAST(to_json([{}]) AS VARCHAR), \
         CAST(to_json([{}]) AS VARCHAR) FROM {} WHERE uid IN ({}) AND NOT solo ORDER BY uid, \"first\", sid",
        values.join(", "),
        keys.join(", "),
        tables::records(&entity.name),
        id_list(ids.iter().copied())
    );
    let rows = reader.select(&sql, |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, String>(1)?,
            row.get::<_, i32>(2)?,
            row.get::<_, String>(3)?,
            row.get::<_, String>(4)?,
            row.get::<_, String>(5)?,
        ))
    })?;
    let mut records = Vec::new();
    for (uid, sid, feed, source_id, values, keys) in rows {
        let Some(feed) = feeds.get(&feed) else { continue };
        let mut fields = fields_of(entity, &values)?;
        fields.retain(|_, value| !value.is_null());
        records.push(Record {
            uid: uuid_of(&uid)?,
            member: MatchMember {
                record_id: uuid_of(&sid)?,
                source: source_ref(feed, &source_id),
                fields: Value::Object(fields),
            },
            keys: serde_json::from_str(&keys).unwrap_or_default(),
        });
    }
    Ok(records)
}

/// Pairs that a person merged, and did not take apart after.
fn human_links(reader: &Reader, entity: &str, records: &[Record]) -> Result<BTreeSet<(Uuid, Uuid)>> {
    let sids = id_list(records.iter().map(|record| record.member.record_id));
    if sids.is_empty() {
        return Ok(BTreeSet::new());
    }
    let sql = format!(
        "SELECT CAST(left_sid AS VARCHAR), CAST(right_sid AS VARCHAR), kind FROM links \
         WHERE entity = {} AND left_sid IN ({sids}) AND right_sid IN ({sids}) ORDER BY seq, event",
        literal(entity)
    );
    let rows = reader.select(&sql, |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
    })?;
    let mut linked = BTreeSet::new();
    for (left, right, kind) in rows {
        let (left, right) = (uuid_of(&left)?, uuid_of(&right)?);
        let pair = (left.min(right), left.max(right));
        if kind == "merge" {
            linked.insert(pair);
        } else {
            linked.remove(&pair);
        }
    }
    Ok(linked)
}
