//! A table and connections to it.

use autonomos_connectors::{Connector, ConnectorError, NetworkScope, PostgresConnector};
use autonomos_domain::{
    ids::ConnectionId,
    schema::{StreamSelection, SyncMode},
};
use autonomos_log::postgres_server::Postgres;
use autonomos_tests::{
    connectors::{self, Copy, Fixture, Meter, Record, Rows},
    proxy::Proxy,
};
use serde_json::json;
use std::sync::Arc;
use uuid::Uuid;

/// A database of its own, and a connection to it.
pub(crate) struct Source {
    pub(crate) server: Arc<Postgres>,
    pub(crate) database: String,
    pub(crate) connector: Arc<PostgresConnector>,
}

/// By the cursor column that the tests use.
pub(crate) fn selection(mode: SyncMode) -> StreamSelection {
    let cursor_field = (mode == SyncMode::Incremental).then(|| "at".to_owned());
    StreamSelection { cursor_field, ..connectors::selection("t", mode) }
}

pub(crate) fn connector(
    port: u16,
    database: &str,
    password: &str,
) -> Result<PostgresConnector, ConnectorError> {
    let config = json!({
        "host": "127.0.0.1", "port": port, "database": database, "user": database,
        "password": password, "ssl_mode": "disable", "capture_changes": true,
    });
    PostgresConnector::new(&config, NetworkScope { private: true }, Some(ConnectionId(Uuid::new_v4())))
}

impl Source {
    pub(crate) fn new(server: &Arc<Postgres>) -> Self {
        let address = server.database();
        let database = address.rsplit('/').next().expect("a database").to_owned();
        server.execute("postgres", &format!("ALTER ROLE {database} REPLICATION")).expect("the right");
        let connector = connector(server.port, &database, &format!("p-{database}")).expect("a configuration");
        Self { server: Arc::clone(server), database, connector: Arc::new(connector) }
    }

    /// Runs statements as the tables' owner.
    #[track_caller]
    pub(crate) fn run(&self, sql: &str) {
        self.server.execute(&self.database, &format!("SET ROLE {}; {sql}", self.database)).expect("runs");
    }

    /// Reads to the end.
    pub(crate) async fn read_all(&self, mode: SyncMode, copy: &mut Copy) {
        copy.read_all(&*self.connector, &selection(mode)).await.expect("reads");
    }

    /// The table as it is, by a read of its own.
    pub(crate) async fn now(&self) -> Rows {
        let mut copy = Copy::default();
        self.read_all(SyncMode::Full, &mut copy).await;
        copy.rows
    }
}

/// The table that the checks of every connector read.
fn table() -> Source {
    let source = Source::new(&Postgres::logical());
    source.run(
        "CREATE TABLE t (id int PRIMARY KEY, name text, pad text, at timestamptz DEFAULT clock_timestamp())",
    );
    source
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
}

impl Fixture for Source {
    fn connector(&self) -> Arc<dyn Connector> {
        Arc::clone(&self.connector) as _
    }

    async fn metered(&self) -> (Arc<dyn Connector>, Meter) {
        let proxy = Proxy::of(self.server.port).await;
        let password = format!("p-{}", self.database);
        let connector = connector(proxy.port, &self.database, &password).expect("a configuration");
        (Arc::new(connector), Box::new(move || proxy.answered()))
    }

    fn selection(&self, mode: SyncMode) -> StreamSelection {
        selection(mode)
    }

    fn modes(&self) -> Vec<SyncMode> {
        vec![SyncMode::Full, SyncMode::Incremental, SyncMode::Cdc]
    }

    fn columns(&self) -> [&'static str; 2] {
        ["id", "name"]
    }

    fn tells_deletes(&self, mode: SyncMode) -> bool {
        mode != SyncMode::Incremental
    }

    async fn insert(&self, records: &[Record]) {
        let row = |record: &Record| {
            let Record { number, name, pad } = record;
            format!("({number}, '{name}', left(repeat(md5('{number}'), {}), {pad}))", pad / 32 + 1)
        };
        let rows: Vec<String> = records.iter().map(row).collect();
        self.run(&format!("INSERT INTO t (id, name, pad) VALUES {}", rows.join(", ")));
    }

    async fn rename(&self, numbers: &[u32], name: &str) {
        let numbers = list(numbers);
        self.run(&format!("UPDATE t SET name = '{name}', at = clock_timestamp() WHERE id IN ({numbers})"));
    }

    async fn delete(&self, numbers: &[u32]) {
        self.run(&format!("DELETE FROM t WHERE id IN ({})", list(numbers)));
    }

    async fn renumber(&self, from: u32, to: u32) -> bool {
        self.run(&format!("UPDATE t SET id = {to} WHERE id = {from}"));
        true
    }

    fn refused(&self) -> Vec<Arc<dyn Connector>> {
        // No port is asked below the first.
        let wrong = [(self.server.port, "hunter2".to_owned()), (1, format!("p-{}", self.database))];
        let refused = |(port, password): (u16, String)| -> Arc<dyn Connector> {
            Arc::new(connector(port, &self.database, &password).expect("a configuration"))
        };
        wrong.map(refused).into()
    }

    fn secrets(&self) -> Vec<String> {
        vec![format!("p-{}", self.database), "hunter2".to_owned()]
    }
}

autonomos_tests::connector_tests!(async { table() });
