//! Reading the live generation, whichever node made it so.

use crate::{
    error::ProjectionError,
    runtime::{
        location::PostgresOptions,
        sql::{Row, Session, Statement},
    },
};
use autonomos_domain::ids::TenantId;
use sqlx::{AssertSqlSafe, PgPool, postgres::PgPoolOptions};
use std::sync::Arc;

/// How often a query is asked again that met a dropped schema or a broken connection. Each of the
/// pool's connections may have broken when the server went.
const SPARE_ATTEMPTS: u32 = 4;
/// How long a query may take. A reader that never ends would keep the old generation from going.
const LONGEST_QUERY: &str = "30s";

/// The live generation of one projector version. Cheap to clone.
#[derive(Clone)]
pub struct LiveSchema {
    pool: PgPool,
    attempts: u32,
    version: u32,
    /// The role that readers take on.
    role: Arc<str>,
    /// How a reading transaction begins, but for its tenant.
    begin: Arc<str>,
}

impl LiveSchema {
    pub(super) fn new(options: &PostgresOptions, schema: &str, version: u32, reader: &str) -> Self {
        let pool = PgPoolOptions::new()
            .max_connections(options.readers)
            .acquire_timeout(options.patience)
            // It would cost every query a round trip; a broken one is found by using it.
            .test_before_acquire(false)
            .connect_lazy_with(options.address.connect_options());
        let spare = options.readers + SPARE_ATTEMPTS;
        Self { pool, attempts: spare, version, role: reader.into(), begin: "".into() }.at(schema)
    }

    /// The same connections, for another schema.
    pub(super) fn at(&self, schema: &str) -> Self {
        // One round trip. The pointer is read in the transaction that reads the rows.
        let begin = format!(
            "BEGIN READ ONLY; SET LOCAL statement_timeout = '{LONGEST_QUERY}'; SET LOCAL ROLE {}; \
             SELECT set_config('search_path', coalesce((SELECT '{schema}_' || generation \
             FROM {schema}.pointer WHERE version = {}), 'pg_catalog'), true)",
            self.role, self.version
        );
        Self { begin: begin.into(), ..self.clone() }
    }

    pub(crate) async fn fetch(
        &self,
        tenant: TenantId,
        query: Statement,
    ) -> Result<Vec<Row>, ProjectionError> {
        let mut attempt = 1;
        loop {
            match self.try_fetch(tenant, query.clone()).await {
                Ok(rows) => return Ok(rows),
                Err(error) if attempt < self.attempts && is_passing(&error) => attempt += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn try_fetch(&self, tenant: TenantId, query: Statement) -> Result<Vec<Row>, sqlx::Error> {
        // A tenant's id is digits, letters a to f and dashes.
        let begin = format!("{}, set_config('aos.tenant', '{tenant}', true)", self.begin);
        let mut transaction = self.pool.begin_with(AssertSqlSafe(begin)).await?;
        let rows = Session::Postgres(&mut transaction).fetch(query).await?;
        transaction.commit().await?;
        Ok(rows)
    }
}

/// Whether asking again helps: the generation went while it was read, or the connection broke.
fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // XX000: a table went between two steps of the server's own.
            matches!(&*code, "42P01" | "3F000" | "XX000") || code.starts_with("57P") || code.starts_with("08")
        }),
        _ => false,
    }
}
