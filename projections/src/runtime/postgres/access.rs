//! Who may see what: the role that readers take on, and the policies that keep tenants apart.

use crate::error::ProjectionError;
use autonomos_domain::ids::TenantId;
use sqlx::{AssertSqlSafe, PgConnection, Row};

/// The first version that tells apart being in a role and being able to take it on.
const OLDEST_SERVER: i32 = 160_000;

/// Refuses a server that is too old.
pub(crate) async fn server_check(connection: &mut PgConnection) -> Result<(), ProjectionError> {
    let row = sqlx::query("SELECT current_setting('server_version_num')::int").fetch_one(connection).await?;
    let version: i32 = row.try_get(0)?;
    if version < OLDEST_SERVER {
        let (is, needed) = (version / 10_000, OLDEST_SERVER / 10_000);
        return Err(ProjectionError::Store(format!("Postgres {is} is too old: {needed} or newer is needed")));
    }
    Ok(())
}

/// The role readers take on; makes it, and lets this login take it on, where that is not so yet.
/// Roles belong to the whole server, so each database has one of its own, by its number.
pub(crate) async fn reader_role(connection: &mut PgConnection) -> Result<String, ProjectionError> {
    let role = format!("aos_reader_{}", database_number(connection).await?);
    role_make(connection, &role, true, None).await?;
    Ok(role)
}

/// The role that every tenant's reporting role is in; nobody takes it on.
pub(crate) async fn reports_role(connection: &mut PgConnection) -> Result<String, ProjectionError> {
    let role = format!("aos_reports_{}", database_number(connection).await?);
    role_make(connection, &role, false, None).await?;
    Ok(role)
}

/// The role that stands for one tenant.
pub(crate) async fn report_role(
    connection: &mut PgConnection,
    tenant: TenantId,
) -> Result<String, ProjectionError> {
    let (reports, number) = (reports_role(connection).await?, database_number(connection).await?);
    let role = format!("aos_report_{number}_{}", tenant.0.simple());
    role_make(connection, &role, false, Some(&reports)).await?;
    Ok(role)
}

async fn database_number(connection: &mut PgConnection) -> Result<i64, ProjectionError> {
    let row = sqlx::query("SELECT oid::bigint FROM pg_database WHERE datname = current_database()")
        .fetch_one(connection)
        .await?;
    Ok(row.try_get(0)?)
}

/// Makes a role that logs in nowhere and is in `group`, and lets this login take it on if it is to
/// be `taken_on`; what is so already stays.
async fn role_make(
    connection: &mut PgConnection,
    role: &str,
    taken_on: bool,
    group: Option<&str>,
) -> Result<(), ProjectionError> {
    let is = sqlx::query(
        "SELECT count(*) > 0, coalesce(bool_or(pg_has_role(oid, 'SET')), false), \
         coalesce(bool_or(rolsuper OR rolbypassrls), false), current_user::text \
         FROM pg_roles WHERE rolname = $1",
    )
    .bind(role)
    .fetch_one(&mut *connection)
    .await?;
    let (exists, taken, unbound): (bool, bool, bool) = (is.try_get(0)?, is.try_get(1)?, is.try_get(2)?);
    let login: String = is.try_get(3)?;
    if unbound {
        return Err(ProjectionError::Store(format!(
            "the role `{role}` sees every tenant's rows: run `ALTER ROLE {role} NOSUPERUSER NOBYPASSRLS`"
        )));
    }
    let mut statements = Vec::new();
    if !exists {
        let group = group.map(|group| format!(" IN ROLE {group}")).unwrap_or_default();
        statements.push(format!("CREATE ROLE {role} NOLOGIN{group}"));
    }
    if taken_on && !taken {
        statements.push(format!("GRANT {role} TO CURRENT_USER"));
    }
    for statement in &statements {
        let done = sqlx::query(AssertSqlSafe(statement.clone())).execute(&mut *connection).await;
        done.map_err(|error| {
            let owed = statements.join("; ").replace("CURRENT_USER", &format!("\"{login}\""));
            ProjectionError::Store(format!("a role of the database cannot be made ({error}): run `{owed}`"))
        })?;
    }
    Ok(())
}

/// Statements that let the owner write all rows of a table, and readers see those of the tenant that
/// their transaction names.
pub(crate) fn tenant_policies(table: &str, reader: &str) -> Vec<String> {
    vec![
        format!("ALTER TABLE {table} ENABLE ROW LEVEL SECURITY"),
        // The owner too goes by policies: a table without one shows nothing.
        format!("ALTER TABLE {table} FORCE ROW LEVEL SECURITY"),
        format!("CREATE POLICY written ON {table} TO CURRENT_USER USING (true) WITH CHECK (true)"),
        format!(
            "CREATE POLICY read ON {table} FOR SELECT TO {reader} \
             USING (tenant = current_setting('aos.tenant', true))"
        ),
        format!("GRANT SELECT ON {table} TO {reader}"),
    ]
}
