//! Survivorship: which record each field of a unified row is taken from. Non-null, then when the field
//! last changed, then the source's rank, then the earlier record; a total order. A view's rules may let
//! the source's rank decide first. The least
//! `created_at` and the greatest `updated_at` are taken whatever record has them.

use super::{
    sql::{Db, Result},
    tables::{self, field_time, time_column, value_column, winner_column},
};
use autonomos_domain::{
    aggregates::unified_view::{FieldRule, ViewRules},
    ontology::{Entity, Semantic},
};

/// Makes the unified rows named by `su(uid, pos)` again, closing what changed at `at`.
pub(super) fn unify(db: Db<'_>, entity: &Entity, rules: Option<&ViewRules>) -> Result<()> {
    let records = tables::records(&entity.name);
    let unified = tables::unified(&entity.name);
    let mut picked = Vec::new();
    let mut fields = Vec::new();
    for field in &entity.fields {
        let value = value_column(&field.name);
        let order = match field.semantic {
            // Same value in two records: the lower rank.
            Semantic::CreatedAt => format!("({{'v': m.{value}, 'r': m.rank}})"),
            Semantic::UpdatedAt => format!("({{'v': m.{value}, 'r': -m.rank}})"),
            _ if by_rank(rules, &field.name) => "-m.rank".to_owned(),
            _ => format!("CAST(epoch_us({}) AS HUGEINT) * 1000000000 - m.rank", field_time("m", &field.name)),
        };
        let pick = if field.semantic == Semantic::CreatedAt { "arg_min" } else { "arg_max" };
        let cell = tables::ident(&format!("p_{}", field.name));
        picked.push(format!(
            ", {pick}({{'v': m.{value}, 't': {}, 's': m.sid}}, {order}) FILTER (m.{value} IS NOT NULL) AS {cell}",
            field_time("m", &field.name)
        ));
        fields.push((format!("{cell}.v"), value));
        fields.push((format!("{cell}.t"), time_column(&field.name)));
        fields.push((format!("{cell}.s"), winner_column(&field.name)));
    }
    let selected: Vec<String> = fields.iter().map(|(sql, name)| format!(", {sql} AS {name}")).collect();
    db.temp(
        "nu",
        &entity.name,
        &format!(
            "SELECT uid, pos AS \"from\", members{selected} FROM (SELECT m.uid, m.pos, CAST(count(*) AS INTEGER) AS members{picked} FROM (\
             SELECT r.*, s.pos, row_number() OVER (PARTITION BY r.uid ORDER BY {ranked}f.priority DESC, r.\"first\") AS rank \
             FROM {records} r JOIN su s ON s.uid = r.uid JOIN feeds f ON f.feed = r.feed WHERE NOT r.solo) m GROUP BY m.uid, m.pos)",
            ranked = ranked(rules),
            selected = selected.concat(),
            picked = picked.concat(),
        ),
    )?;
    let same: Vec<String> =
        fields.iter().map(|(_, name)| format!(" AND n.{name} IS NOT DISTINCT FROM u.{name}")).collect();
    let same = format!("n.uid = u.uid AND n.members = u.members{}", same.concat());
    // Old unified rows that end here.
    db.temp(
        "eu",
        "",
        &format!(
            "SELECT u.uid, s.pos FROM {unified} u JOIN su s ON s.uid = u.uid WHERE NOT EXISTS (SELECT 1 FROM nu n WHERE {same})"
        ),
    )?;
    let names: Vec<String> = tables::unified_columns(entity).into_iter().map(|(name, _)| name).collect();
    let own: Vec<String> = names.iter().map(|name| format!("u.{name}")).collect();
    let names = names.join(", ");
    db.run(&format!(
        "INSERT INTO {} ({names}, \"to\") SELECT {}, eu.pos FROM {unified} u JOIN eu ON eu.uid = u.uid WHERE u.\"from\" < eu.pos",
        tables::unified_history(&entity.name),
        own.join(", ")
    ))?;
    db.run(&format!("DELETE FROM {unified} WHERE uid IN (SELECT uid FROM eu)"))?;
    db.run(&format!(
        "INSERT INTO {unified} ({names}) SELECT {names} FROM nu WHERE uid NOT IN (SELECT uid FROM {unified} WHERE uid IN (SELECT uid FROM nu))"
    ))?;
    Ok(())
}

fn by_rank(rules: Option<&ViewRules>, field: &str) -> bool {
    rules.and_then(|rules| rules.fields.get(field)) == Some(&FieldRule::SourceRank)
}

/// The order of the connections that the rules name, before all others.
fn ranked(rules: Option<&ViewRules>) -> String {
    let Some(rules) = rules.filter(|rules| !rules.source_rank.is_empty()) else { return String::new() };
    let cases: Vec<String> = rules
        .source_rank
        .iter()
        .enumerate()
        .map(|(rank, connection)| format!("WHEN '{connection}' THEN {rank}"))
        .collect();
    format!(
        "CASE CAST(f.connection_id AS VARCHAR) {} ELSE {} END, ",
        cases.join(" "),
        rules.source_rank.len()
    )
}
