//! Takes a delta into the record tables, closing old versions and opening new ones, window by
//! window: a window is a stretch of commits none of which touches what another one touches, so that
//! applying it at once gives the versions that one commit after the other would have given.

use super::{
    canon::delta_columns,
    cluster,
    sql::{Db, Result},
    survive, tables,
};
use autonomos_domain::{aggregates::unified_view::ViewRules, ontology::Entity};

/// What an entity's clusters depend on.
pub(super) struct Scope<'a> {
    pub(super) entity: &'a Entity,
    pub(super) rules: Option<&'a ViewRules>,
    /// The last commit of the delta.
    pub(super) last: i64,
    /// The delta only holds records that are new to the entity.
    pub(super) all_new: bool,
}

/// Names of all columns of the record table, in order.
pub(super) fn record_names(entity: &Entity) -> Vec<String> {
    tables::record_columns(entity).into_iter().map(|(name, _)| name).collect()
}

/// Applies the delta in `d` and `x`.
pub(super) fn apply(db: Db<'_>, scope: &Scope<'_>) -> Result<()> {
    let entity = scope.entity;
    if !cluster::possible(db, entity, "SELECT feed FROM d")? {
        write(db, scope, i64::MIN, scope.last)?;
        return Ok(());
    }
    let commits: Vec<i64> = db.rows(
        "SELECT DISTINCT s FROM (SELECT \"from\" AS s FROM d UNION ALL SELECT seq FROM x) ORDER BY s",
        |row| row.get(0),
    )?;
    let mut next = 0;
    let mut width = commits.len();
    while next < commits.len() {
        let until = (next + width).min(commits.len());
        let low = commits[next];
        let mut high = commits[until - 1];
        old_versions(db, scope, low, high)?;
        let mut touched = cluster::touched(db, entity, low, high)?;
        if let Some(conflict) = cluster::first_conflict(db)? {
            // Everything before the first commit that touches what an earlier one touched.
            let cut = commits[next..until].iter().position(|&seq| seq >= conflict).unwrap_or(1).max(1);
            high = commits[next + cut - 1];
            width = cut * 2;
            old_versions(db, scope, low, high)?;
            touched = cluster::touched(db, entity, low, high)?;
            next += cut;
        } else {
            width = (until - next) * 2;
            next = until;
        }
        write_window(db, scope, low, high)?;
        if touched {
            cluster::solve(db, entity)?;
            survive::unify(db, entity, scope.rules)?;
        }
    }
    Ok(())
}

/// What clusters must know of the versions in force of the records that a window touches: table
/// `ow`, with the commit as `pos`.
fn old_versions(db: Db<'_>, scope: &Scope<'_>, low: i64, high: i64) -> Result<()> {
    let entity = scope.entity;
    let records = tables::records(&entity.name);
    let none = if scope.all_new { " WHERE false" } else { "" };
    let columns: Vec<String> = cluster::columns(entity).iter().map(|name| format!(", r.{name}")).collect();
    db.temp(
        "ow",
        &entity.name,
        &format!(
            "SELECT r.sid, r.uid, r.solo, r.feed, r.\"first\", r.\"from\", g.pos{} FROM {records} r JOIN \
             (SELECT sid, \"from\" AS pos FROM d WHERE \"from\" BETWEEN {low} AND {high} \
             UNION ALL SELECT sid, seq FROM x WHERE seq BETWEEN {low} AND {high}) g ON g.sid = r.sid{none}",
            columns.concat()
        ),
    )?;
    Ok(())
}

/// Applies a delta that no cluster can depend on.
fn write(db: Db<'_>, scope: &Scope<'_>, low: i64, high: i64) -> Result<()> {
    if scope.all_new {
        return insert(db, scope.entity, low, high, None);
    }
    old_versions(db, scope, low, high)?;
    write_window(db, scope, low, high)
}

/// Closes the versions in `ow` and opens those of the delta, clusters as they were.
fn write_window(db: Db<'_>, scope: &Scope<'_>, low: i64, high: i64) -> Result<()> {
    let entity = scope.entity;
    let records = tables::records(&entity.name);
    let old = !scope.all_new && db.any("SELECT 1 FROM ow")?;
    if old {
        let names = record_names(entity);
        let own: Vec<String> = names.iter().map(|name| format!("r.{name}")).collect();
        // A version that began with this very commit was never seen by anyone.
        db.run(&format!(
            "INSERT INTO {} ({}, \"to\") SELECT {}, ow.pos FROM {records} r JOIN ow ON ow.sid = r.sid WHERE r.\"from\" < ow.pos",
            tables::records_history(&entity.name),
            names.join(", "),
            own.join(", "),
        ))?;
        db.run(&format!("DELETE FROM {} WHERE sid IN (SELECT sid FROM ow)", tables::records(&entity.name)))?;
    }
    insert(db, entity, low, high, old.then_some("ow"))
}

fn insert(db: Db<'_>, entity: &Entity, low: i64, high: i64, old: Option<&str>) -> Result<()> {
    let names: Vec<String> = delta_columns(entity).into_iter().map(|(name, _)| name).collect();
    let (uid, solo, join) = match old {
        Some(old) => (
            "coalesce(o.uid, d.sid)",
            "coalesce(o.solo, true)",
            format!(" LEFT JOIN {old} o ON o.sid = d.sid"),
        ),
        None => ("d.sid", "true", String::new()),
    };
    let columns: Vec<String> = names.iter().map(|name| format!("d.{name}")).collect();
    db.run(&format!(
        "INSERT INTO {} ({}, uid, solo) SELECT {}, {uid}, {solo} FROM d{join} WHERE d.\"from\" BETWEEN {low} AND {high}",
        tables::records(&entity.name),
        names.join(", "),
        columns.join(", "),
    ))?;
    Ok(())
}
