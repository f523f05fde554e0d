//! Policies about repairs: rules for a connection, an entity or a field, and what is in force by them.

use super::{
    extract::{Body, Command, Query, invalid_fields},
    identity::Caller,
    problem::{ApiError, FieldProblem},
    respond::{READ_MODELS, read, written},
    state::App,
};
use autonomos_domain::{
    aggregates::{
        connection::{Connection, ConnectionStatus},
        ontology::TenantOntology,
        tenant::{Tenant, TenantCommand},
    },
    ids::ConnectionId,
    policy::{RepairRule, RepairRules},
};
use axum::{extract::State, http::StatusCode, response::Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(policies_get, policies_revise)).routes(routes!(policy_in_force))
}

/// The rules of an organisation, all of them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PoliciesView {
    /// The version in force; an edit names the one it began from. 0: there never were any.
    version: u32,
    /// At most 1,000, of which no two are for the same. A field goes before an entity, an entity before
    /// a connection, a connection before everything, each setting by itself.
    #[serde(default)]
    rules: Vec<RepairRule>,
    /// Proposals made from now on expire when nobody decided about them for so many days, 1 to 365.
    #[serde(default)]
    expire_after_days: Option<u32>,
}

impl From<&Tenant> for PoliciesView {
    fn from(tenant: &Tenant) -> Self {
        let RepairRules { rules, expire_after_days } = tenant.rules.clone();
        Self { version: tenant.rules_version, rules, expire_after_days }
    }
}

/// The rules about repairs. Where they say nothing, `GET /aam/policy` holds.
#[utoipa::path(get, path = "/aam/policies", tag = "settings",
    responses((status = 200, body = ref("#/components/schemas/PoliciesView"))))]
async fn policies_get(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let tenant = app.platform.commands.load::<Tenant>(caller.tenant(), caller.tenant().0).await?.state;
    Ok(read(&PoliciesView::from(&*tenant), &app.shown(&caller, READ_MODELS)))
}

/// Sets the rules about repairs. They hold for drift that is found from then on.
#[utoipa::path(put, path = "/aam/policies", tag = "settings", request_body = ref("#/components/schemas/PoliciesView"),
    responses((status = 200, body = ref("#/components/schemas/PoliciesView")), (status = 403),
              (status = 409, description = "there is a newer version"), (status = 422)))]
async fn policies_revise(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(body): Body<PoliciesView>,
) -> Result<Response, ApiError> {
    caller.may_administer()?;
    let tenant = caller.tenant();
    let rules = RepairRules { rules: body.rules, expire_after_days: body.expire_after_days };
    rules.check().map_err(autonomos_commands::error::CommandError::from)?;
    app.rules_known(&caller, &rules.rules).await?;
    let revise = TenantCommand::ReviseRepairRules { based_on: body.version, rules };
    let outcome =
        app.platform.commands.execute::<Tenant>(&command.context(&caller), tenant.0, revise).await?;
    let tenant = app.platform.commands.load::<Tenant>(tenant, tenant.0).await?.state;
    Ok(written(&app, StatusCode::OK, &PoliciesView::from(&*tenant), &outcome))
}

impl App {
    /// Refuses rules about what the organisation does not have.
    async fn rules_known(&self, caller: &Caller, rules: &[RepairRule]) -> Result<(), ApiError> {
        let (commands, tenant) = (&self.platform.commands, caller.tenant());
        let ontology = commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
        let mut problems = Vec::new();
        let mut connections: BTreeMap<ConnectionId, bool> = BTreeMap::new();
        for (index, rule) in rules.iter().enumerate() {
            let mut problem = |field: &str, message: String| {
                problems.push(FieldProblem { pointer: format!("/rules/{index}/{field}"), message });
            };
            if let Some(connection) = rule.connection_id {
                let is_known = match connections.get(&connection) {
                    Some(known) => *known,
                    None => {
                        let state = commands.load::<Connection>(tenant, connection.0).await?;
                        state.version > 0 && state.state.status != ConnectionStatus::Deleted
                    }
                };
                connections.insert(connection, is_known);
                if !is_known {
                    problem("connection_id", format!("there is no connection `{connection}`"));
                }
            }
            let Some(name) = &rule.entity else { continue };
            // Rules are by the singular name, which records of a mapping go by.
            let Some(entity) = ontology.entity(name).filter(|entity| entity.name == *name) else {
                problem("entity", format!("there is no entity `{name}`"));
                continue;
            };
            if let Some(field) = rule.field.as_ref().filter(|field| entity.field(field).is_none()) {
                problem("field", format!("entity `{name}` has no field `{field}`"));
            }
        }
        problems.truncate(100);
        invalid_fields(problems)
    }
}

#[derive(Debug, Clone, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct InForceQuery {
    /// None: connections without a rule of their own.
    connection_id: Option<Uuid>,
    /// The entity that the connection's stream is read into.
    entity: Option<String>,
}

/// What is in force for a connection and an entity, field by field, by the rules and the policy.
#[utoipa::path(get, path = "/aam/policies/in-force", tag = "settings", params(InForceQuery),
    responses((status = 200, body = ref("#/components/schemas/PolicyInForce")), (status = 404)))]
async fn policy_in_force(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<InForceQuery>,
) -> Result<Response, ApiError> {
    let (commands, tenant) = (&app.platform.commands, caller.tenant());
    if let Some(connection) = query.connection_id
        && commands.load::<Connection>(tenant, connection).await?.version == 0
    {
        return Err(ApiError::not_found("connection", connection));
    }
    let ontology = commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    let entity = match &query.entity {
        Some(name) => Some(ontology.entity(name).ok_or_else(|| ApiError::not_found("entity", name))?),
        None => None,
    };
    let tenant = commands.load::<Tenant>(tenant, tenant.0).await?.state;
    let policy = tenant.rules.in_force(tenant.policy, query.connection_id.map(ConnectionId), entity);
    Ok(read(&policy, &app.shown(&caller, READ_MODELS)))
}
