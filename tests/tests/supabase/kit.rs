//! A project with a table, and connections to it.

use autonomos_connectors::{NetworkScope, SupabaseConnector};
use autonomos_domain::ids::ConnectionId;
use autonomos_log::postgres_server::Postgres;
use autonomos_tests::postgrest::Postgrest;
use serde_json::Value;
use uuid::Uuid;

pub(crate) const ROWS: usize = 3_000;

/// Rows of about a kilobyte, so that a few thousand make several batches.
pub(crate) fn many() -> String {
    format!(
        "CREATE TABLE t (id int PRIMARY KEY, name text, pad text); \
         INSERT INTO t SELECT n, 'name ' || n, repeat(md5(n::text), 32) FROM generate_series(1, {ROWS}) n"
    )
}

/// A project over these tables, whose pages have so many rows at most.
pub(crate) fn project(sql: &str, most: u32) -> Postgrest {
    Postgrest::start(Postgres::shared(), sql, most)
}

pub(crate) fn connect(config: &Value) -> SupabaseConnector {
    let connection = Some(ConnectionId(Uuid::new_v4()));
    SupabaseConnector::new(config, NetworkScope { private: true }, connection).expect("a configuration")
}
