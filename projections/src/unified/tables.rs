//! The tables in Postgres: making them, and writing many rows at once.

use super::table_of;
use crate::{dcl::read::copy::Columns, error::ProjectionError, runtime::access};
use autonomos_domain::{
    ids::TenantId,
    ontology::{CanonicalType, Entity, Ontology},
};
use sqlx::{AssertSqlSafe, Executor, PgConnection, PgPool, Row};

/// Held while the schema is made, so that nodes do not do it at once.
const SETUP_LOCK: i64 = 0x616f_735f_756e_6966;
/// Raised when the same views would give other rows.
const VERSION: u32 = 1;

const fn sql_type(kind: CanonicalType) -> &'static str {
    match kind {
        CanonicalType::Text => "text",
        CanonicalType::Integer => "bigint",
        CanonicalType::Decimal => "numeric(38, 6)",
        CanonicalType::Boolean => "boolean",
        CanonicalType::Date => "date",
        CanonicalType::Timestamp => "timestamptz",
    }
}

/// Columns behind the tenant's, with their types: as [`Columns`] has them.
fn columns(entity: &Entity) -> Vec<(String, &'static str)> {
    let mut columns = vec![
        ("id".to_owned(), "uuid"),
        ("_version".to_owned(), "bigint"),
        ("_members".to_owned(), "integer"),
    ];
    let fields =
        entity.fields.iter().map(|field| (format!("\"{}\"", field.name), sql_type(field.canonical_type)));
    columns.extend(fields);
    columns.push(("extra".to_owned(), "jsonb"));
    columns
}

/// Makes the schema of this version; one of another version is made anew, for it can be.
pub(super) async fn make(pool: &PgPool, ontology: &Ontology) -> Result<(), ProjectionError> {
    let begin =
        format!("BEGIN; SET LOCAL client_min_messages = warning; SELECT pg_advisory_xact_lock({SETUP_LOCK})");
    let mut setup = pool.begin_with(AssertSqlSafe(begin)).await?;
    access::server_check(&mut setup).await?;
    let reader = access::reader_role(&mut setup).await?;
    let reports = access::reports_role(&mut setup).await?;
    let mut statements = vec![
        "CREATE SCHEMA aos_unified".to_owned(),
        format!("GRANT USAGE ON SCHEMA aos_unified TO {reader}, {reports}"),
        "CREATE TABLE aos_unified.checkpoints (tenant text PRIMARY KEY, generation bigint NOT NULL, \
         position bigint NOT NULL, meaning text NOT NULL)"
            .to_owned(),
        // A role sees which tenant it stands for itself, and nobody else's.
        "CREATE TABLE aos_unified.report_roles (role name PRIMARY KEY, tenant text NOT NULL)".to_owned(),
        "ALTER TABLE aos_unified.report_roles ENABLE ROW LEVEL SECURITY".to_owned(),
        format!(
            "CREATE POLICY own ON aos_unified.report_roles FOR SELECT TO {reports} USING (role = current_user)"
        ),
        format!("GRANT SELECT ON aos_unified.report_roles TO {reports}"),
    ];
    for entity in &ontology.entities {
        let table = table_of(entity);
        let typed: Vec<String> = columns(entity)
            .iter()
            .map(|(name, kind)| {
                let needed = matches!(name.as_str(), "id" | "_version" | "_members");
                format!("{name} {kind}{}", if needed { " NOT NULL" } else { "" })
            })
            .collect();
        statements.push(format!(
            "CREATE TABLE {table} (tenant text COLLATE \"C\" NOT NULL, {}, PRIMARY KEY (tenant, id))",
            typed.join(", ")
        ));
        statements.extend(access::tenant_policies(&table, &reader));
        statements.push(format!(
            "CREATE POLICY reported ON {table} FOR SELECT TO {reports} USING \
             (tenant = (SELECT r.tenant FROM aos_unified.report_roles AS r WHERE r.role = current_user))"
        ));
        statements.push(format!("GRANT SELECT ON {table} TO {reports}"));
    }
    let print = blake3::hash(format!("{VERSION} {}", statements.join(";")).as_bytes()).to_hex();
    let made = sqlx::query(
        "SELECT obj_description(oid, 'pg_namespace') FROM pg_namespace WHERE nspname = 'aos_unified'",
    )
    .fetch_optional(&mut *setup)
    .await?;
    if let Some(row) = made {
        if row.try_get::<Option<String>, _>(0)?.as_deref() == Some(print.as_str()) {
            return Ok(());
        }
        setup.execute("DROP SCHEMA aos_unified CASCADE").await?;
    }
    statements.push(format!("COMMENT ON SCHEMA aos_unified IS '{print}'"));
    setup.execute(AssertSqlSafe(statements.join(";\n"))).await?;
    setup.commit().await?;
    Ok(())
}

pub(super) async fn report_role(pool: &PgPool, tenant: TenantId) -> Result<String, ProjectionError> {
    let begin = format!("BEGIN; SELECT pg_advisory_xact_lock({SETUP_LOCK})");
    let mut setup = pool.begin_with(AssertSqlSafe(begin)).await?;
    let role = access::report_role(&mut setup, tenant).await?;
    sqlx::query(
        "INSERT INTO aos_unified.report_roles (role, tenant) VALUES ($1::name, $2) ON CONFLICT (role) DO NOTHING",
    )
    .bind(&role)
    .bind(tenant.to_string())
    .execute(&mut *setup)
    .await?;
    setup.commit().await?;
    Ok(role)
}

/// Writes one tenant's rows inside the open transaction.
pub(super) struct Writer<'c> {
    connection: &'c mut PgConnection,
    tenant: String,
    /// Everything is compared: what is not among the rows is gone.
    whole: bool,
}

impl<'c> Writer<'c> {
    pub(super) fn new(connection: &'c mut PgConnection, tenant: TenantId) -> Self {
        Self { connection, tenant: tenant.to_string(), whole: false }
    }

    pub(super) async fn start(&mut self, whole: bool) -> Result<(), ProjectionError> {
        self.whole = whole;
        if whole {
            self.connection
                .execute(
                    "CREATE TEMPORARY TABLE kept (entity text NOT NULL, id uuid NOT NULL) ON COMMIT DROP",
                )
                .await?;
        }
        Ok(())
    }

    /// Rows that are new or changed; those that are as they were are not written.
    pub(super) async fn rows(&mut self, entity: &Entity, rows: Columns) -> Result<(), ProjectionError> {
        if self.whole {
            sqlx::query("INSERT INTO kept (entity, id) SELECT $1, id::uuid FROM UNNEST($2::text[]) AS u(id)")
                .bind(&entity.name)
                .bind(&rows[0])
                .execute(&mut *self.connection)
                .await?;
        }
        let columns = columns(entity);
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let arrays: Vec<String> = (0..columns.len()).map(|index| format!("${}::text[]", index + 2)).collect();
        let labels: Vec<String> = (0..columns.len()).map(|index| format!("c{index}")).collect();
        let typed: Vec<String> =
            columns.iter().enumerate().map(|(index, (_, kind))| format!("u.c{index}::{kind}")).collect();
        let set: Vec<String> = names[1..].iter().map(|name| format!("{name} = excluded.{name}")).collect();
        let of = |alias: &str| -> String {
            names[1..].iter().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ")
        };
        let upsert = format!(
            "INSERT INTO {} AS t (tenant, {}) SELECT $1, {} FROM UNNEST({}) AS u({}) \
             ON CONFLICT (tenant, id) DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})",
            table_of(entity),
            names.join(", "),
            typed.join(", "),
            arrays.join(", "),
            labels.join(", "),
            set.join(", "),
            of("t"),
            of("excluded"),
        );
        let mut query = sqlx::query(AssertSqlSafe(upsert)).bind(&self.tenant);
        for column in rows {
            query = query.bind(column.into_iter().map(|text| text.map(storable)).collect::<Vec<_>>());
        }
        query.execute(&mut *self.connection).await?;
        Ok(())
    }

    pub(super) async fn gone(&mut self, entity: &Entity, ids: Columns) -> Result<(), ProjectionError> {
        let delete = format!(
            "DELETE FROM {} WHERE tenant = $1 AND id IN (SELECT id::uuid FROM UNNEST($2::text[]) AS u(id))",
            table_of(entity)
        );
        sqlx::query(AssertSqlSafe(delete))
            .bind(&self.tenant)
            .bind(&ids[0])
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// After everything was compared: removes what is not there any more.
    pub(super) async fn finish(self, entities: &[Entity]) -> Result<(), ProjectionError> {
        if !self.whole {
            return Ok(());
        }
        for entity in entities {
            let delete = format!(
                "DELETE FROM {} AS t WHERE t.tenant = $1 AND NOT EXISTS \
                 (SELECT 1 FROM kept AS k WHERE k.entity = $2 AND k.id = t.id)",
                table_of(entity)
            );
            sqlx::query(AssertSqlSafe(delete))
                .bind(&self.tenant)
                .bind(&entity.name)
                .execute(&mut *self.connection)
                .await?;
        }
        Ok(())
    }
}

/// Postgres has no text with a zero byte in it, as such or as JSON writes it.
fn storable(text: String) -> String {
    if text.contains('\0') {
        return text.replace('\0', "\u{fffd}");
    }
    if !text.contains("\\u0000") {
        return text;
    }
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(mut fields)) => {
            for value in fields.values_mut() {
                if let serde_json::Value::String(inner) = value {
                    *inner = inner.replace('\0', "\u{fffd}");
                }
            }
            serde_json::Value::Object(fields).to_string()
        }
        // No JSON: the six characters are what the source wrote.
        _ => text,
    }
}
