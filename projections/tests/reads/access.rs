//! Postgres keeps tenants apart by itself, and what is secret out of messages.

use crate::{
    parity::{SCHEMA, both},
    read_models::fill,
    runtime::Names,
    world::{Database, World, tenant},
};
use autonomos_domain::ids::TenantId;
use autonomos_log::postgres_server::Postgres;
use autonomos_projections::{
    read_models::{ReadModelTables, rows::PageRequest},
    runtime::{Address, PostgresOptions, PostgresProjector, Projector, Tables, sql::Statement},
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use std::{sync::Arc, time::Duration};

/// A reader's session: the role that readers take on, with a tenant set or none.
async fn as_reader(database: &Database, tenant: Option<TenantId>) -> PgConnection {
    let mut session = database.owner().await;
    let role: String =
        sqlx::query_scalar("SELECT 'aos_reader_' || oid FROM pg_database WHERE datname = current_database()")
            .fetch_one(&mut session)
            .await
            .unwrap();
    let set = format!("BEGIN; SET LOCAL ROLE {role}; SET LOCAL search_path = {SCHEMA}_1");
    session.execute(AssertSqlSafe(set)).await.unwrap();
    if let Some(tenant) = tenant {
        let set = format!("SET LOCAL aos.tenant = '{tenant}'");
        session.execute(AssertSqlSafe(set)).await.unwrap();
    }
    session
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_keeps_tenants_apart() {
    let world = World::on_postgres();
    for number in [1, 2] {
        fill(&world, number).await;
    }
    let [_, reads] = both(&world).await;
    let database = world.database.as_ref().unwrap();
    let tables: Vec<String> =
        ReadModelTables.definitions().iter().map(|table| table.name.to_owned()).collect();
    for table in &tables {
        let count = format!("SELECT count(*), count(DISTINCT tenant) FROM {table}");
        let counted = async |mut session: PgConnection| -> (i64, i64) {
            let row = sqlx::query(AssertSqlSafe(count.clone())).fetch_one(&mut session).await.unwrap();
            (row.get(0), row.get(1))
        };
        // No tenant, one that is none, and one that is somebody else's.
        assert_eq!(counted(as_reader(database, None).await).await, (0, 0), "{table}");
        assert_eq!(counted(as_reader(database, Some(tenant(9))).await).await, (0, 0), "{table}");
        let (own, tenants) = counted(as_reader(database, Some(tenant(1))).await).await;
        assert!(own > 0 && tenants == 1, "{table}");
        let mut session = as_reader(database, Some(tenant(1))).await;
        let others = format!("SELECT 1 FROM {table} WHERE tenant = '{}'", tenant(2));
        assert!(session.fetch_all(AssertSqlSafe(others)).await.unwrap().is_empty(), "{table}");
        for change in
            [format!("DELETE FROM {table}"), format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY")]
        {
            let mut session = as_reader(database, Some(tenant(1))).await;
            let error = session.execute(AssertSqlSafe(change)).await.unwrap_err();
            let code = error.as_database_error().unwrap().code().unwrap().into_owned();
            assert_eq!(code, "42501", "{table}: {error}");
        }
    }
    // Where nobody says who may see a table, nobody does: not its owner either.
    let mut owner = database.owner().await;
    for statement in ["BEGIN", "DROP POLICY written ON aos_models_1.users"] {
        owner.execute(statement).await.unwrap();
    }
    assert!(owner.fetch_all("SELECT 1 FROM aos_models_1.users").await.unwrap().is_empty());
    owner.execute("ROLLBACK").await.unwrap();
    // Checkpoints are no tenant's.
    let mut reader = as_reader(database, Some(tenant(1))).await;
    assert!(reader.fetch_all("SELECT 1 FROM checkpoints").await.is_err());
    // A query that forgets to name the tenant shows its own alone.
    assert_eq!(reads.user_list(tenant(1), &PageRequest::default()).await.unwrap().data.len(), 1);
    let login = format!("stranger_{}", database.name());
    database.server.execute("postgres", &format!("CREATE ROLE {login} LOGIN PASSWORD 'p'")).unwrap();
    let url = database.url.replacen(&format!("{0}:p-{0}@", database.name()), &format!("{login}:p@"), 1);
    let mut stranger = PgConnection::connect(&url).await.unwrap();
    assert!(stranger.fetch_all("SELECT 1 FROM aos_models_1.users").await.is_err());
    assert!(stranger.fetch_all("SELECT 1 FROM aos_models.pointer").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_tells_the_password() {
    let database = Database::on(Postgres::shared());
    let secret = format!("p-{}", database.name());
    assert!(database.url.contains(&secret));
    assert!(!format!("{:?}", database.options()).contains(&secret));
    let wrong = database.url.replace(&secret, "guess-4711");
    for url in [wrong.as_str(), "postgres://me:guess-4711@127.0.0.1:1/none"] {
        let options = PostgresOptions {
            patience: Duration::from_millis(500),
            ..PostgresOptions::new(Address::parse(url).unwrap())
        };
        let world = World::new();
        let tables: Arc<dyn Tables> = Arc::new(Names::default());
        let error = PostgresProjector::connect(options, "names", tables, world.ring).await.err().unwrap();
        assert_eq!(error.code(), "AOS-0401");
        assert!(!error.to_string().contains("guess-4711"), "{error}");
    }
    for text in ["guess-4711", "mysql://me:guess-4711@host/db", "postgres://me:guess-4711@host:port/db"] {
        let error = Address::parse(text).unwrap_err();
        assert_eq!(error.code(), "AOS-0441");
        assert!(!error.to_string().contains("guess-4711"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_make_no_roles_is_told_what_to_run() {
    let database = Database::on(Postgres::shared());
    let name = database.name();
    database.server.execute("postgres", &format!("ALTER ROLE {name} NOCREATEROLE")).unwrap();
    let connect = async || {
        let tables: Arc<dyn Tables> = Arc::new(Names::default());
        PostgresProjector::connect(database.options(), "names", tables, World::new().ring).await
    };
    let error = connect().await.err().unwrap().to_string();
    let statements = error.split('`').nth(1).unwrap();
    assert!(statements.starts_with("CREATE ROLE aos_reader_"), "{error}");
    database.server.execute(name, statements).unwrap();
    let projector = connect().await.unwrap();
    // It works as it should, and does not run twice what was run.
    assert_eq!(projector.live().await.unwrap(), None);
    drop(connect().await.unwrap());
    let select = Statement::new("SELECT 1");
    assert_eq!(projector.reads().fetch(tenant(1), select).await.unwrap().len(), 1);
}
