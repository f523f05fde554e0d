//! The replication slot and the publication: what makes the server keep its changes for us, and how
//! it stands with them.
//!
//! Changes are read from a temporary copy of the slot (`pg_copy_logical_replication_slot`), which the
//! server drops with the session: the slot itself only moves when [`confirm`] is told that everything up
//! to a place is durable, so that each stream of a connection reads at its own pace, and a reader that
//! is killed leaves nothing behind. This needs no connection of the replication protocol.

use super::{
    catalog::Table,
    cursor::{lsn, lsn_text},
    error,
    session::{Session, ident, literal},
};
use crate::error::ConnectorError;

/// How a slot stands.
#[derive(Debug)]
pub(super) struct Slot {
    /// The server no longer keeps what comes before.
    pub(super) confirmed: u64,
    /// `reserved`, `extended`, `unreserved`, `lost`.
    pub(super) status: String,
    /// Bytes of log the server keeps for it.
    pub(super) kept: u64,
}

impl Slot {
    pub(super) fn is_lost(&self) -> bool {
        self.status == "lost"
    }
}

pub(super) async fn find(session: &mut Session, name: &str) -> Result<Option<Slot>, ConnectorError> {
    let rows = session
        .rows(format!(
            "SELECT coalesce(plugin, ''), (database = current_database())::text, coalesce(wal_status, ''), \
             coalesce(confirmed_flush_lsn, '0/0')::text, \
             coalesce(pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn), 0)::bigint::text \
             FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            literal(name)
        ))
        .await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut values = row.into_iter().map(Option::unwrap_or_default);
    let mut next = || values.next().unwrap_or_default();
    let (plugin, own, status, confirmed, kept) = (next(), next(), next(), next(), next());
    if plugin != "pgoutput" || own != "true" {
        return Err(error::not_ready(format!(
            "the replication slot `{name}` is another program's: name one that is free"
        )));
    }
    Ok(Some(Slot { confirmed: lsn(&confirmed)?, status, kept: kept.parse().unwrap_or(0) }))
}

/// What is missing on the server for its changes to be read, if something is.
pub(super) async fn missing(session: &mut Session) -> Result<Option<String>, ConnectorError> {
    // Amazon's servers give the right by membership.
    let rows = session
        .rows(
            "SELECT current_setting('server_version_num'), current_setting('wal_level'), \
             (SELECT rolreplication OR rolsuper OR EXISTS (SELECT 1 FROM pg_catalog.pg_roles r \
              WHERE r.rolname = 'rds_replication' AND pg_has_role(current_user, r.oid, 'MEMBER')) \
              FROM pg_catalog.pg_roles WHERE rolname = current_user)::text, \
             current_user"
                .to_owned(),
        )
        .await?;
    let mut values = rows.into_iter().next().unwrap_or_default().into_iter().map(Option::unwrap_or_default);
    let mut next = || values.next().unwrap_or_default();
    let (version, level, may, role) = (next(), next(), next(), next());
    Ok(if version.parse().unwrap_or(0) < 130_000 {
        Some("changes need Postgres 13 or newer".to_owned())
    } else if level != "logical" {
        Some(format!(
            "`wal_level` is `{level}`: set it to `logical` in the server's configuration and restart the server"
        ))
    } else if may != "true" {
        Some(format!("the role may not replicate: `ALTER ROLE {} REPLICATION`", ident(&role)))
    } else {
        None
    })
}

/// Makes the slot unless it is there. Answers whether what came before is not to be had from it.
pub(super) async fn ensure(session: &mut Session, name: &str) -> Result<bool, ConnectorError> {
    if let Some(missing) = missing(session).await? {
        return Err(error::not_ready(missing));
    }
    if let Some(slot) = find(session, name).await? {
        if !slot.is_lost() {
            return Ok(false);
        }
        tracing::warn!(slot = name, "the server gave the replication slot up: its tables are read anew");
        drop_slot(session, name).await?;
    }
    session.run(format!("SELECT pg_create_logical_replication_slot({}, 'pgoutput')", literal(name))).await?;
    Ok(true)
}

async fn drop_slot(session: &mut Session, name: &str) -> Result<(), ConnectorError> {
    session
        .run(format!(
            "SELECT pg_drop_replication_slot(slot_name) FROM pg_catalog.pg_replication_slots WHERE slot_name = {}",
            literal(name)
        ))
        .await
}

/// Sees to it that a table's changes are published. Answers whether they were not until now.
pub(super) async fn publish(
    session: &mut Session,
    publication: &str,
    own: bool,
    table: &Table,
) -> Result<bool, ConnectorError> {
    if session.value(table.published_sql(publication)).await?.is_some() {
        return Ok(false);
    }
    let name = ident(publication);
    let known = session
        .value(format!("SELECT 1 FROM pg_catalog.pg_publication WHERE pubname = {}", literal(publication)))
        .await?;
    let add = match known {
        Some(_) => format!("ALTER PUBLICATION {name} ADD TABLE {}", table.quoted()),
        None => format!("CREATE PUBLICATION {name} FOR TABLE {}", table.quoted()),
    };
    if !own {
        return Err(error::not_ready(format!("the publication does not hold the table: `{add}`")));
    }
    match session.run(add.clone()).await {
        Ok(()) => Ok(true),
        Err(ConnectorError::Permission { .. }) => Err(error::permission(format!(
            "the role may not publish the table: let its owner run `{add}`, and name the publication in the connection"
        ))),
        Err(other) => Err(other),
    }
}

/// Makes the session's own copy of the slot, moved to a place; its name.
pub(super) async fn copy(session: &mut Session, name: &str, from: u64) -> Result<String, ConnectorError> {
    let process = session.value("SELECT pg_backend_pid()::text".to_owned()).await?.unwrap_or_default();
    let copy = format!("{name}_{process}");
    let (source, target) = (literal(name), literal(&copy));
    session.run(format!("SELECT pg_copy_logical_replication_slot({source}, {target}, true)")).await?;
    session
        .run(format!("SELECT pg_replication_slot_advance({target}, {})", literal(&lsn_text(from))))
        .await?;
    Ok(copy)
}

/// The server may forget what comes before this place.
pub(super) async fn confirm(session: &mut Session, name: &str, up_to: u64) -> Result<(), ConnectorError> {
    match find(session, name).await? {
        Some(slot) if !slot.is_lost() && slot.confirmed < up_to => {
            let up_to = literal(&lsn_text(up_to));
            session.run(format!("SELECT pg_replication_slot_advance({}, {up_to})", literal(name))).await
        }
        _ => Ok(()),
    }
}

/// Drops the slot, and the publication if it is the connection's own.
pub(super) async fn release(
    session: &mut Session,
    name: &str,
    publication: Option<&str>,
) -> Result<(), ConnectorError> {
    drop_slot(session, name).await?;
    match publication {
        Some(publication) => session.run(format!("DROP PUBLICATION IF EXISTS {}", ident(publication))).await,
        None => Ok(()),
    }
}
