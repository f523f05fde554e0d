//! Clusters: what a window touches, and solving it again.
//!
//! A rule links records with equal keys. Within a key, records are told apart by the fields that must
//! not differ: where a field has two or more values among them, each value makes a group of its own
//! and records without a value belong to none. A group in which a feed has two records is ambiguous
//! and links nothing.
//!
//! Temporary tables: `t(sid, pos)` records whose links may change; `tu(uid, pos)` clusters to be solved
//! again; `su(uid, pos)` unified rows to be made again.

use super::{
    normalise::rule_guards,
    program::Program,
    solve::{Node, Problem, Said, solve as solve_problem},
    sql::{Db, Result},
    tables::{self, key_column, literal, value_column},
    versions::record_names,
};
use crate::error::ProjectionError;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use autonomos_domain::ontology::Entity;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Columns of a record that decide its links: keys, and the fields that guards read.
pub(super) fn columns(entity: &Entity) -> Vec<String> {
    let mut columns: Vec<String> = entity.match_rules.iter().map(|rule| key_column(&rule.name)).collect();
    let mut fields: BTreeSet<&str> =
        entity.match_rules.iter().flat_map(|rule| rule.unless_different.iter().map(String::as_str)).collect();
    // A domain may be read from the website.
    if fields.contains("domain") {
        fields.insert("website");
    }
    columns.extend(fields.into_iter().filter(|name| entity.field(name).is_some()).map(value_column));
    columns
}

/// Whether a record of the entity can be in a cluster with another, `more` being a query of feeds
/// that come to it: with one feed and nothing said by people, it can not.
pub(super) fn possible(db: Db<'_>, entity: &Entity, more: &str) -> Result<bool> {
    let name = literal(&entity.name);
    if db.any(&format!(
        "SELECT 1 FROM links WHERE entity = {name} UNION ALL SELECT 1 FROM founders WHERE entity = {name}"
    ))? {
        return Ok(true);
    }
    if entity.match_rules.is_empty() {
        return Ok(false);
    }
    db.any(&format!(
        "SELECT 1 FROM (SELECT min(feed) AS a, max(feed) AS b FROM (SELECT feed FROM {} UNION ALL {more})) WHERE a <> b",
        tables::records(&entity.name)
    ))
}

/// Fills `t`, `tu` and `su` for a window: the delta's rows with their old versions in `ow`. Answers
/// whether any cluster is touched.
pub(super) fn touched(db: Db<'_>, entity: &Entity, low: i64, high: i64) -> Result<bool> {
    let records = tables::records(&entity.name);
    let name = literal(&entity.name);
    let window = format!("d.\"from\" BETWEEN {low} AND {high}");
    let mut moved = vec!["o.sid IS NULL".to_owned()];
    moved.extend(columns(entity).iter().map(|name| format!("d.{name} IS DISTINCT FROM o.{name}")));
    db.temp(
        "t",
        "",
        &format!(
            "SELECT d.sid, d.\"from\" AS pos FROM d LEFT JOIN ow o ON o.sid = d.sid WHERE {window} AND ({}) \
             UNION ALL SELECT x.sid, x.seq FROM x WHERE x.seq BETWEEN {low} AND {high}",
            moved.join(" OR ")
        ),
    )?;
    db.empty("tu0", "", "uid UUID, pos BIGINT")?;
    db.empty("tk", "", "k VARCHAR, pos BIGINT")?;
    for (index, rule) in entity.match_rules.iter().enumerate() {
        let key = key_column(&rule.name);
        // The keys that records come with or leave, and who has them now.
        let keys = db.temp(
        "kt",
        "",
            &format!(
                "SELECT d.{key} AS k, t.pos, d.sid, d.feed FROM d JOIN t ON t.sid = d.sid WHERE {window} AND d.{key} IS NOT NULL \
                 UNION SELECT o.{key}, t.pos, o.sid, o.feed FROM ow o JOIN t ON t.sid = o.sid WHERE o.{key} IS NOT NULL"
            ),
        )?;
        if keys == 0 {
            continue;
        }
        db.temp(
        "nb",
        "",
            &format!("SELECT r.{key} AS k, r.sid, r.feed, r.uid FROM {records} r WHERE r.{key} IN (SELECT k FROM kt)"),
        )?;
        // A key of one feed links nothing, nor does one that was ambiguous before and after.
        let ambiguous = if rule.unless_different.is_empty() {
            " AND k NOT IN (SELECT k FROM nb WHERE sid NOT IN (SELECT sid FROM t) GROUP BY k, feed HAVING count(*) > 1)"
        } else {
            ""
        };
        let linking = db.temp(
        "lk",
        "",
            &format!(
                "SELECT k FROM (SELECT k, feed FROM kt UNION ALL SELECT k, feed FROM nb) WHERE true{ambiguous} \
                 GROUP BY k HAVING min(feed) <> max(feed)"
            ),
        )?;
        if linking > 0 {
            db.run(
                "INSERT INTO tu0 SELECT nb.uid, kt.pos FROM nb JOIN lk ON lk.k = nb.k JOIN kt ON kt.k = nb.k \
                 UNION SELECT kt.sid, kt.pos FROM kt JOIN lk ON lk.k = kt.k",
            )?;
            db.run(&format!(
                "INSERT INTO tk SELECT DISTINCT '{index}:' || kt.k, kt.pos FROM kt JOIN lk ON lk.k = kt.k"
            ))?;
        }
    }
    // Clusters that lose or change a member; records that people linked; founders that come back.
    db.run("INSERT INTO tu0 SELECT o.uid, t.pos FROM ow o JOIN t ON t.sid = o.sid WHERE NOT o.solo OR o.uid <> o.sid")?;
    if db.any(&format!("SELECT 1 FROM links WHERE entity = {name}"))? {
        let pairs = format!(
            "(SELECT left_sid AS a, right_sid AS b FROM links WHERE entity = {name} \
             UNION ALL SELECT right_sid, left_sid FROM links WHERE entity = {name})"
        );
        db.run(&format!(
            "INSERT INTO tu0 SELECT r.uid, t.pos FROM t JOIN {pairs} l ON l.a = t.sid JOIN {records} r ON r.sid = l.b \
             UNION SELECT l.b, t.pos FROM t JOIN {pairs} l ON l.a = t.sid UNION SELECT t.sid, t.pos FROM t JOIN {pairs} l ON l.a = t.sid"
        ))?;
    }
    db.run(&format!(
        "INSERT INTO tu0 SELECT r.uid, d.\"from\" FROM founders f JOIN d ON d.sid = f.ghost JOIN {records} r ON r.sid = f.sid \
         WHERE f.entity = {name} AND {window} \
         UNION SELECT d.sid, d.\"from\" FROM founders f JOIN d ON d.sid = f.ghost WHERE f.entity = {name} AND {window}"
    ))?;
    if rejected_before(db, entity)? {
        widen(db, entity)?;
    }
    db.temp("tu", "", "SELECT DISTINCT uid, pos FROM tu0")?;
    db.temp("su", "", "SELECT DISTINCT uid, pos FROM ow WHERE NOT solo UNION SELECT uid, pos FROM tu")?;
    db.any("SELECT 1 FROM su")
}

/// Whether a link of the entity was ever refused: only then can solving one cluster concern another
/// that it shares no changed key with.
fn rejected_before(db: Db<'_>, entity: &Entity) -> Result<bool> {
    db.any(&format!("SELECT 1 FROM meta WHERE key = {}", literal(&format!("refused:{}", entity.name))))
}

/// Adds the clusters that those in `tu0` have links to, though the links did not hold.
fn widen(db: Db<'_>, entity: &Entity) -> Result<()> {
    let records = tables::records(&entity.name);
    loop {
        let mut grown = 0;
        db.temp(
        "wa",
        "", &format!("SELECT DISTINCT r.sid, r.\"first\", r.feed, r.uid, u.pos FROM {records} r JOIN tu0 u ON u.uid = r.uid"))?;
        for rule in &entity.match_rules {
            groups(db, entity, rule, "wa")?;
            grown += db.run(&format!(
                "INSERT INTO tu0 SELECT DISTINCT r.uid, a.pos FROM ge me JOIN wa a ON a.\"first\" = me.\"first\" \
                 JOIN ge other ON other.g = me.g JOIN {records} r ON r.\"first\" = other.\"first\" \
                 WHERE NOT EXISTS (SELECT 1 FROM tu0 u WHERE u.uid = r.uid AND u.pos = a.pos)"
            ))?;
        }
        if grown == 0 {
            return Ok(());
        }
    }
}

/// The groups of a rule that have a member in `among` (a table with `sid`): table `ge(g, first, feed)`.
fn groups(
    db: Db<'_>,
    entity: &Entity,
    rule: &autonomos_domain::ontology::MatchRule,
    among: &str,
) -> Result<usize> {
    let records = tables::records(&entity.name);
    let key = key_column(&rule.name);
    let mut program = Program::new("r");
    let guards = rule_guards(&mut program, entity, rule, "r");
    let named: Vec<String> =
        guards.iter().enumerate().map(|(index, sql)| format!(", {sql} AS u{index}")).collect();
    let members = format!("gm{}", guards.len());
    db.temp(
        &members,
        "",
        &format!(
            "SELECT r.{key} AS k, r.\"first\", r.feed{} FROM {} r WHERE r.{key} IN \
             (SELECT n.{key} FROM {records} n JOIN {among} a ON a.sid = n.sid WHERE n.{key} IS NOT NULL)",
            named.concat(),
            program.over(&records)
        ),
    )?;
    let counts: Vec<String> =
        (0..guards.len()).map(|index| format!(", count(DISTINCT u{index}) AS n{index}")).collect();
    let parts: Vec<String> = (0..guards.len())
        .map(|index| format!(", CASE WHEN w.n{index} > 1 THEN m.u{index} END AS s{index}"))
        .collect();
    let inside: Vec<String> =
        (0..guards.len()).map(|index| format!(" AND (w.n{index} <= 1 OR m.u{index} IS NOT NULL)")).collect();
    let split: Vec<String> = (0..guards.len()).map(|index| format!(", s{index}")).collect();
    let split = split.concat();
    let same: Vec<String> =
        (0..guards.len()).map(|index| format!(" AND p.s{index} IS NOT DISTINCT FROM v.s{index}")).collect();
    let edges = db.temp(
        "ge",
        "",
        &format!(
            "WITH w AS (SELECT k{} FROM {members} GROUP BY k HAVING min(feed) <> max(feed)), \
             p AS (SELECT m.k, m.\"first\", m.feed{} FROM {members} m JOIN w ON w.k = m.k WHERE true{}), \
             v AS (SELECT k{split}, min(\"first\") AS g FROM p GROUP BY k{split} \
                   HAVING count(*) > 1 AND count(*) = count(DISTINCT feed)) \
             SELECT v.g, p.\"first\", p.feed FROM p JOIN v ON v.k = p.k{}",
            counts.concat(),
            parts.concat(),
            inside.concat(),
            same.concat(),
        ),
    )?;
    Ok(edges)
}

/// The first commit of the window that touches what an earlier one touches.
pub(super) fn first_conflict(db: Db<'_>) -> Result<Option<i64>> {
    db.integer(
        "SELECT min(pos) FROM (SELECT pos, min(pos) OVER (PARTITION BY token) AS earliest FROM (\
         SELECT CAST(uid AS VARCHAR) AS token, pos FROM su UNION SELECT k, pos FROM tk)) WHERE pos > earliest",
    )
}

/// Solves clusters again though no record changed: those of the query `(uid, pos)`.
pub(super) fn solve_again(db: Db<'_>, entity: &Entity, clusters: &str) -> Result<()> {
    let records = tables::records(&entity.name);
    db.temp("tu", "", &format!("SELECT DISTINCT uid, pos FROM ({clusters})"))?;
    db.temp("su", "", "SELECT uid, pos FROM tu")?;
    db.temp(
        "ow",
        &entity.name, &format!(
            "SELECT r.sid, r.uid, r.solo, r.feed, r.\"first\", r.\"from\", CAST(0 AS BIGINT) AS pos{} FROM {records} r WHERE false",
            columns(entity).iter().fold(String::new(), |list, name| list + ", r." + name)
        ))?;
    db.temp("t", "", "SELECT sid, pos FROM ow")?;
    solve(db, entity)
}

/// Solves the clusters in `tu` again, the window's rows being in the record table.
pub(super) fn solve(db: Db<'_>, entity: &Entity) -> Result<()> {
    let records = tables::records(&entity.name);
    let name = literal(&entity.name);
    pass_on_ids(db, entity)?;
    db.temp(
        "a",
        "",
        &format!("SELECT r.sid, r.\"first\", r.feed, r.uid, r.solo, u.pos FROM {records} r JOIN tu u ON u.uid = r.uid"),
    )?;
    // Whatever has a link into what is solved is solved with it.
    loop {
        let mut grown = 0;
        for (index, rule) in entity.match_rules.iter().enumerate() {
            groups(db, entity, rule, "a")?;
            db.temp(&format!("ge_{index}"), "", "SELECT g, \"first\" FROM ge")?;
            grown += db.run(&format!(
                "INSERT INTO tu SELECT r.uid, min(a.pos) FROM ge me JOIN a ON a.\"first\" = me.\"first\" JOIN ge other ON other.g = me.g \
                 JOIN {records} r ON r.\"first\" = other.\"first\" WHERE r.uid NOT IN (SELECT uid FROM tu) GROUP BY r.uid"
            ))?;
        }
        grown += db.run(&format!(
            "INSERT INTO tu SELECT r.uid, min(a.pos) FROM a JOIN (SELECT left_sid AS l, right_sid AS o FROM links WHERE entity = {name} \
             UNION ALL SELECT right_sid, left_sid FROM links WHERE entity = {name}) p ON p.l = a.sid \
             JOIN {records} r ON r.sid = p.o WHERE r.uid NOT IN (SELECT uid FROM tu) GROUP BY r.uid"
        ))?;
        if grown == 0 {
            break;
        }
        db.temp(
        "a",
        "",
            &format!("SELECT r.sid, r.\"first\", r.feed, r.uid, r.solo, u.pos FROM {records} r JOIN tu u ON u.uid = r.uid"),
        )?;
    }
    let problem = problem(db, entity)?;
    let clusters = solve_problem(&problem);
    let refused =
        problem.rules.iter().flatten().any(|group| {
            group.windows(2).any(|pair| clusters[pair[0] as usize] != clusters[pair[1] as usize])
        });
    if refused && !rejected_before(db, entity)? {
        db.run(&format!(
            "INSERT INTO meta VALUES ({}, 'true')",
            literal(&format!("refused:{}", entity.name))
        ))?;
    }
    store(db, &problem, &clusters)?;
    // The founder is the earliest key ever in the cluster, deleted ones included.
    db.temp(
        "nc",
        "",
        &format!(
            "SELECT c.root, count(*) AS n, arg_min(coalesce(f.ghost, a.sid), coalesce(f.ghost_first, a.\"first\")) AS uid \
             FROM a JOIN cl c ON c.\"first\" = a.\"first\" LEFT JOIN founders f ON f.entity = {name} AND f.sid = a.sid GROUP BY c.root"
        ),
    )?;
    db.temp(
        "ch",
        "",
        "SELECT a.sid, a.pos, n.uid, n.n = 1 AS solo FROM a JOIN cl c ON c.\"first\" = a.\"first\" JOIN nc n ON n.root = c.root \
         WHERE a.uid <> n.uid OR a.solo <> (n.n = 1)",
    )?;
    let names = record_names(entity).join(", ");
    let own: Vec<String> = record_names(entity).iter().map(|name| format!("r.{name}")).collect();
    db.run(&format!(
        "INSERT INTO {} ({names}, \"to\") SELECT {}, ch.pos FROM {records} r JOIN ch ON ch.sid = r.sid WHERE r.\"from\" < ch.pos",
        tables::records_history(&entity.name),
        own.join(", ")
    ))?;
    db.run(&format!(
        "UPDATE {records} SET uid = ch.uid, solo = ch.solo, \"from\" = ch.pos FROM ch WHERE ch.sid = {records}.sid"
    ))?;
    db.run(
        "INSERT INTO su SELECT z.uid, min(z.pos) FROM (SELECT uid, pos FROM tu UNION ALL SELECT uid, pos FROM ch) z \
         WHERE z.uid NOT IN (SELECT uid FROM su) GROUP BY z.uid",
    )?;
    Ok(())
}

/// The id of a cluster outlives its founder: the earliest record left carries it on. A founder that
/// comes back carries its own again.
fn pass_on_ids(db: Db<'_>, entity: &Entity) -> Result<()> {
    let records = tables::records(&entity.name);
    let name = literal(&entity.name);
    // Records of the window that are no longer there.
    db.temp(
        "gn",
        "",
        &format!(
            "SELECT o.sid, o.uid, o.solo, coalesce(f.ghost, o.sid) AS ghost, coalesce(f.ghost_first, o.\"first\") AS gf \
             FROM ow o JOIN t ON t.sid = o.sid LEFT JOIN founders f ON f.entity = {name} AND f.sid = o.sid \
             WHERE o.sid NOT IN (SELECT sid FROM {records} WHERE sid IN (SELECT sid FROM ow))"
        ),
    )?;
    db.run(&format!("DELETE FROM founders WHERE entity = {name} AND sid IN (SELECT sid FROM gn)"))?;
    db.run(&format!(
        "DELETE FROM founders WHERE entity = {name} AND ghost IN (SELECT sid FROM t) AND ghost NOT IN (SELECT sid FROM gn)"
    ))?;
    db.temp(
        "gh",
        "",
        &format!(
            "SELECT s.sid, s.\"first\", g.ghost, g.gf FROM (SELECT uid, arg_min(ghost, gf) AS ghost, min(gf) AS gf FROM gn WHERE NOT solo GROUP BY uid) g \
             JOIN (SELECT uid, arg_min(sid, \"first\") AS sid, min(\"first\") AS \"first\" FROM {records} \
                   WHERE uid IN (SELECT uid FROM gn WHERE NOT solo) GROUP BY uid) s ON s.uid = g.uid \
             LEFT JOIN founders f ON f.entity = {name} AND f.sid = s.sid WHERE g.gf < coalesce(f.ghost_first, s.\"first\")"
        ),
    )?;
    db.run(&format!("DELETE FROM founders WHERE entity = {name} AND sid IN (SELECT sid FROM gh)"))?;
    db.run(&format!("INSERT INTO founders SELECT {name}, sid, ghost, gf FROM gh"))?;
    Ok(())
}

/// Reads what is to be solved: table `a`, groups of each rule in `ge_<n>`, what people said.
fn problem(db: Db<'_>, entity: &Entity) -> Result<Problem> {
    let nodes = db.rows("SELECT DISTINCT \"first\", feed FROM a ORDER BY \"first\"", |row| {
        Ok(Node { first: row.get(0)?, feed: row.get(1)? })
    })?;
    let index =
        |first: i64| nodes.binary_search_by_key(&first, |node| node.first).ok().map(|index| index as u32);
    let mut rules = Vec::with_capacity(entity.match_rules.len());
    for rule in 0..entity.match_rules.len() {
        let edges: Vec<(i64, i64)> = db
            .rows(&format!("SELECT g, \"first\" FROM ge_{rule} ORDER BY g, \"first\""), |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let mut groups: Vec<Vec<u32>> = Vec::new();
        let mut current = None;
        for (group, first) in edges {
            let Some(node) = index(first) else { continue };
            if current != Some(group) {
                current = Some(group);
                groups.push(Vec::new());
            }
            if let Some(members) = groups.last_mut() {
                members.push(node);
            }
        }
        rules.push(groups);
    }
    let said: Vec<(i64, i64, bool)> = db.rows(
        &format!(
            "SELECT l.\"first\", r.\"first\", k.kind = 'merge' FROM links k JOIN a l ON l.sid = k.left_sid JOIN a r ON r.sid = k.right_sid \
             WHERE k.entity = {} ORDER BY k.seq, k.event",
            literal(&entity.name)
        ),
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    // The last word on each pair, in the order of the words.
    let mut last: BTreeMap<(u32, u32), usize> = BTreeMap::new();
    let mut words = Vec::new();
    for (order, (left, right, merged)) in said.into_iter().enumerate() {
        let (Some(left), Some(right)) = (index(left), index(right)) else { continue };
        last.insert((left.min(right), left.max(right)), order);
        words.push((order, Said { left, right, merged }));
    }
    let said = words
        .into_iter()
        .filter(|(order, said)| {
            last.get(&(said.left.min(said.right), said.left.max(said.right))) == Some(order)
        })
        .map(|(_, said)| said)
        .collect();
    Ok(Problem { nodes, rules, said })
}

/// The solved clusters as table `cl(first, root)`.
fn store(db: Db<'_>, problem: &Problem, clusters: &[u32]) -> Result<()> {
    db.empty("cl", "", "\"first\" BIGINT, root BIGINT")?;
    let firsts = Int64Array::from_iter_values(problem.nodes.iter().map(|node| node.first));
    let roots = Int64Array::from_iter_values(clusters.iter().map(|&root| problem.nodes[root as usize].first));
    let schema = Schema::new(vec![
        Field::new("first", DataType::Int64, false),
        Field::new("root", DataType::Int64, false),
    ]);
    let columns: Vec<ArrayRef> = vec![Arc::new(firsts), Arc::new(roots)];
    let rows = RecordBatch::try_new(Arc::new(schema), columns)
        .map_err(|error| ProjectionError::Views(error.to_string()))?;
    let mut appender = db.connection.appender_to_catalog_and_db("cl", "temp", "main")?;
    appender.append_record_batch(rows)?;
    appender.flush()?;
    Ok(())
}
