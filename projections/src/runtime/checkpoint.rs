//! Where a projector's checkpoints are kept beside its rows, in either database.

use super::{
    projector::{CellCheckpoint, TenantMark},
    sql::{Column, Existing, Kind, Session, Statement, Table, Value},
};
use crate::error::ProjectionError;
use autonomos_domain::{envelope::Hash, ids::TenantId};

/// Tables every generation has.
pub(crate) fn tables() -> Vec<Table> {
    let meta = Table {
        name: "meta",
        columns: vec![Column::new("name", Kind::Word), Column::new("value", Kind::Word)],
        key: vec!["name"],
        indexes: vec![],
    };
    let checkpoints = Table {
        name: "checkpoints",
        columns: vec![
            Column::new("cell", Kind::Integer),
            Column::new("revision", Kind::Integer),
            Column::new("sequence", Kind::Integer),
            Column::new("hash_sequence", Kind::Integer),
            Column::new("hash", Kind::Word).nullable(),
        ],
        key: vec!["cell"],
        indexes: vec![],
    };
    vec![meta, checkpoints, tenant_checkpoints()]
}

fn tenant_checkpoints() -> Table {
    Table {
        name: "tenant_checkpoints",
        columns: vec![
            Column::new("cell", Kind::Integer),
            Column::new("tenant", Kind::Word),
            Column::new("mark", Kind::Word),
            Column::new("sequence", Kind::Integer),
            Column::new("code", Kind::Word).nullable(),
            Column::new("message", Kind::Text).nullable(),
        ],
        key: vec!["cell", "tenant"],
        indexes: vec![],
    }
}

/// Reads a cell's checkpoint; a cell never seen stands at 0.
pub(crate) async fn checkpoint_load(
    session: &mut Session<'_>,
    cell: u16,
) -> Result<CellCheckpoint, ProjectionError> {
    let cell = i64::from(cell);
    let mut checkpoint = CellCheckpoint::default();
    let select = "SELECT revision, sequence, hash_sequence, hash FROM checkpoints WHERE cell = $1";
    if let Some(row) = session.fetch(Statement::new(select).bind(cell)).await?.first() {
        checkpoint.revision = row.get::<i64>(0)? as u64;
        checkpoint.sequence = row.get::<i64>(1)? as u64;
        checkpoint.hash_sequence = row.get::<i64>(2)? as u64;
        checkpoint.hash = row.get::<Option<String>>(3)?.and_then(hash_parse);
    }
    let select = "SELECT tenant, mark, sequence, code, message FROM tenant_checkpoints WHERE cell = $1";
    for row in session.fetch(Statement::new(select).bind(cell)).await? {
        let tenant: TenantId = row
            .get::<String>(0)?
            .parse()
            .map_err(|_| ProjectionError::Store("a tenant's checkpoint has no tenant".to_owned()))?;
        let sequence = row.get::<i64>(2)? as u64;
        let mark = match row.get::<String>(1)?.as_str() {
            "ahead" => TenantMark::Ahead { sequence },
            "behind" => TenantMark::Behind { sequence },
            _ => TenantMark::Parked {
                sequence,
                code: row.get::<Option<String>>(3)?.unwrap_or_default(),
                message: row.get::<Option<String>>(4)?.unwrap_or_default(),
            },
        };
        checkpoint.tenants.insert(tenant, mark);
    }
    Ok(checkpoint)
}

/// Moves a cell's checkpoint inside the open transaction, if it still is what its owner believes.
pub(crate) async fn checkpoint_swap(
    session: &mut Session<'_>,
    projector: &str,
    cell: u16,
    from: &CellCheckpoint,
    to: &CellCheckpoint,
) -> Result<(), ProjectionError> {
    let cell = i64::from(cell);
    let swap = if from.revision == 0 {
        "INSERT INTO checkpoints (cell, revision, sequence, hash_sequence, hash) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT (cell) DO NOTHING"
    } else {
        "UPDATE checkpoints SET revision = $2, sequence = $3, hash_sequence = $4, hash = $5 \
         WHERE cell = $1 AND revision = $6"
    };
    let mut swap = Statement::new(swap)
        .bind(cell)
        .bind(to.revision as i64)
        .bind(to.sequence as i64)
        .bind(to.hash_sequence as i64)
        .bind(to.hash.map(hex::encode));
    if from.revision > 0 {
        swap = swap.bind(from.revision as i64);
    }
    if session.execute(swap).await? != 1 {
        return Err(ProjectionError::Fenced { projector: projector.to_owned() });
    }
    for tenant in from.tenants.keys().filter(|tenant| !to.tenants.contains_key(tenant)) {
        let delete = "DELETE FROM tenant_checkpoints WHERE cell = $1 AND tenant = $2";
        session.execute(Statement::new(delete).bind(cell).bind(tenant.to_string())).await?;
    }
    let changed = to.tenants.iter().filter(|(tenant, mark)| from.tenants.get(tenant) != Some(mark));
    let rows: Vec<Vec<Value>> = changed.map(|(tenant, mark)| mark_row(cell, *tenant, mark)).collect();
    session.insert(&tenant_checkpoints(), rows, Existing::Replace).await?;
    Ok(())
}

fn mark_row(cell: i64, tenant: TenantId, mark: &TenantMark) -> Vec<Value> {
    let (name, sequence, code, message) = match mark {
        TenantMark::Ahead { sequence } => ("ahead", sequence, None, None),
        TenantMark::Behind { sequence } => ("behind", sequence, None, None),
        TenantMark::Parked { sequence, code, message } => {
            ("parked", sequence, Some(code.as_str()), Some(message.as_str()))
        }
    };
    vec![
        cell.into(),
        tenant.to_string().into(),
        name.into(),
        (*sequence as i64).into(),
        code.into(),
        message.into(),
    ]
}

fn hash_parse(text: String) -> Option<Hash> {
    hex::decode(text).ok()?.try_into().ok()
}
