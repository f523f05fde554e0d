//! How far the platform may go alone: autonomy and repair policy, and the ontology. All are read
//! from their aggregates, so that what was set is what is answered.

use super::{
    extract::{Body, Command},
    identity::Caller,
    problem::ApiError,
    respond::{READ_MODELS, read, written},
    state::App,
};
use autonomos_domain::{
    aggregates::{
        ontology::{OntologyCommand, TenantOntology},
        tenant::{AutonomyMode, RepairPolicy, Tenant, TenantCommand},
    },
    ontology::Ontology,
};
use axum::{extract::State, http::StatusCode, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(autonomy_get, autonomy_set))
        .routes(routes!(policy_get, policy_set))
        .routes(routes!(ontology_get, ontology_revise))
}

/// `observe`, `recommend`, `approve_to_act` or `auto`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Autonomy {
    #[schema(value_type = String, example = "auto")]
    mode: AutonomyMode,
}

/// How far the platform may go without a person.
#[utoipa::path(get, path = "/aoa/autonomy", tag = "settings", responses((status = 200, body = Autonomy)))]
async fn autonomy_get(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let tenant = app.platform.commands.load::<Tenant>(caller.tenant(), caller.tenant().0).await?.state;
    Ok(read(&Autonomy { mode: tenant.mode }, &app.shown(&caller, READ_MODELS)))
}

/// Sets how far the platform may go without a person.
#[utoipa::path(put, path = "/aoa/autonomy", tag = "settings", request_body = Autonomy,
    responses((status = 200, body = Autonomy), (status = 403)))]
async fn autonomy_set(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(body): Body<Autonomy>,
) -> Result<Response, ApiError> {
    caller.may_administer()?;
    let set = TenantCommand::SetAutonomyMode { mode: body.mode };
    let context = command.context(&caller);
    let outcome = app.platform.commands.execute::<Tenant>(&context, caller.tenant().0, set).await?;
    Ok(written(&app, StatusCode::OK, &body, &outcome))
}

/// When a repair applies alone, and when it is asked.
#[utoipa::path(get, path = "/aam/policy", tag = "settings",
    responses((status = 200, body = ref("#/components/schemas/RepairPolicy"))))]
async fn policy_get(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let tenant = app.platform.commands.load::<Tenant>(caller.tenant(), caller.tenant().0).await?.state;
    Ok(read(&tenant.policy, &app.shown(&caller, READ_MODELS)))
}

/// Sets when a repair applies alone (never below 0.85) and when it is asked.
#[utoipa::path(put, path = "/aam/policy", tag = "settings", request_body = ref("#/components/schemas/RepairPolicy"),
    responses((status = 200, body = ref("#/components/schemas/RepairPolicy")), (status = 403), (status = 422)))]
async fn policy_set(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(policy): Body<RepairPolicy>,
) -> Result<Response, ApiError> {
    caller.may_administer()?;
    let set = TenantCommand::SetRepairPolicy { policy };
    let context = command.context(&caller);
    let outcome = app.platform.commands.execute::<Tenant>(&context, caller.tenant().0, set).await?;
    Ok(written(&app, StatusCode::OK, &policy, &outcome))
}

/// Entities and their fields, as in force.
#[utoipa::path(get, path = "/dcl/ontology", tag = "views",
    responses((status = 200, body = ref("#/components/schemas/Ontology"))))]
async fn ontology_get(State(app): State<App>, caller: Caller) -> Result<Response, ApiError> {
    let tenant = caller.tenant();
    let ontology = app.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    Ok(read(&ontology, &app.shown(&caller, READ_MODELS)))
}

/// Revises the ontology. `version` is the one it was edited from; entities and fields can be added,
/// not removed, for views of the past stay readable.
#[utoipa::path(put, path = "/dcl/ontology", tag = "views", request_body = ref("#/components/schemas/Ontology"),
    responses((status = 200, body = ref("#/components/schemas/Ontology")), (status = 403),
              (status = 409, description = "there is a newer version"), (status = 422)))]
async fn ontology_revise(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Body(ontology): Body<Ontology>,
) -> Result<Response, ApiError> {
    caller.may_administer()?;
    let tenant = caller.tenant();
    let revise = OntologyCommand::ReviseOntology { based_on: ontology.version, ontology };
    let context = command.context(&caller);
    let outcome = app.platform.commands.execute::<TenantOntology>(&context, tenant.0, revise).await?;
    let ontology = app.platform.commands.load::<TenantOntology>(tenant, tenant.0).await?.state.in_force();
    Ok(written(&app, StatusCode::OK, &ontology, &outcome))
}
