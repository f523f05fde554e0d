//! For operators: projections and metrics. The operators of an installation are the owners and
//! admins of its first organisation.

use super::{
    extract::{OptionalBody, Path},
    fan_out,
    identity::Caller,
    problem::ApiError,
    respond::{READ_MODELS, list},
    state::App,
};
use autonomos_domain::ids::TenantId;
use autonomos_projections::runtime::ProjectionState;
use axum::{
    Json,
    extract::{OriginalUri, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::OnceLock};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .routes(routes!(projection_list))
        .routes(routes!(projection_rebuild, projection_rebuild_abort))
        .routes(routes!(projection_rebuild_pause))
        .routes(routes!(projection_rebuild_resume))
        .routes(routes!(projection_pause))
        .routes(routes!(projection_resume))
        .routes(routes!(projection_skip))
}

/// The recorder of this process, installed on first use.
pub(super) fn recorder() -> PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // Where another recorder was installed, this one stays empty.
        let _ = metrics::set_global_recorder(recorder);
        handle
    };
    RECORDER.get_or_init(install).clone()
}

impl App {
    async fn is_operator(&self, caller: &Caller) -> Result<bool, ApiError> {
        let first = self.platform.auth.first_organization().await?;
        Ok(first == Some(caller.tenant()) && caller.may_administer().is_ok())
    }

    async fn must_be_operator(&self, caller: &Caller) -> Result<(), ApiError> {
        if self.is_operator(caller).await? {
            return Ok(());
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, "AOS-0503", "this is for the installation's operators"))
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct ProjectionView {
    #[serde(flatten)]
    state: ProjectionState,
    position: String,
    /// The process that keeps it in this cell; absent where there is one node, or none keeps it.
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<String>,
}

/// How every projector stands in every cell, as the node says that keeps it. Whose events could not be
/// applied is told to operators; others see their own.
#[utoipa::path(get, path = "/ops/projections", tag = "operators",
    responses((status = 200, body = ref("#/list/ProjectionView"))))]
async fn projection_list(
    State(app): State<App>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> Result<Response, ApiError> {
    let operator = app.is_operator(&caller).await?;
    let position = app.shown(&caller, READ_MODELS);
    let states = app.platform.projections.status().await?;
    let mut keepers = BTreeMap::new();
    let mut told = BTreeMap::new();
    if let Some(forwarder) = &app.forwarder {
        for state in &states {
            if !keepers.contains_key(&state.name) {
                // Who keeps what cannot be known right now: what is known here is told all the same.
                let of_name = forwarder.keepers(&state.name).await.unwrap_or_default();
                keepers.insert(state.name.clone(), of_name);
            }
        }
        if !forwarder.sent(request.headers()) {
            let (mut parts, _) = request.into_parts();
            // As it was asked: routes below a prefix see the rest of it alone.
            parts.uri = uri;
            told = fan_out::told(&app, forwarder, &parts, &keepers).await;
        }
    }
    let mut rows = Vec::new();
    for mut state in states {
        let node = keepers.get(&state.name).and_then(|of_name| Some(of_name.get(&state.cell)?.owner.clone()));
        if let Some(row) = told.remove(&(state.name.clone(), state.cell)) {
            rows.push(row);
            continue;
        }
        if !operator {
            state.poisoned.retain(|poisoned| poisoned.tenant == caller.tenant());
            state.message = None;
        }
        let view = ProjectionView { position: app.token(state.position), node, state };
        rows.push(serde_json::to_value(view).map_err(|error| ApiError::internal(&error))?);
    }
    Ok(list(rows, None, position))
}

#[derive(Debug, Serialize, ToSchema)]
struct ProjectionOrder {
    name: String,
    /// `rebuilding`, `paused`, `resumed`, `aborted` or `skipped`.
    status: &'static str,
}

fn accepted(name: String, status: &'static str) -> Response {
    (StatusCode::ACCEPTED, Json(ProjectionOrder { name, status })).into_response()
}

/// Builds a projection anew beside the live one and swaps it in.
#[utoipa::path(post, path = "/ops/projections/{name}/rebuild", tag = "operators", params(("name" = String, Path,)),
    responses((status = 202, description = "it has begun", body = ProjectionOrder), (status = 403), (status = 404), (status = 409)))]
async fn projection_rebuild(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    app.platform.projections.rebuild(&name)?;
    Ok(accepted(name, "rebuilding"))
}

/// Gives the rebuild of a projection up: what was filled is removed, the live one stays.
#[utoipa::path(delete, path = "/ops/projections/{name}/rebuild", tag = "operators", params(("name" = String, Path,)),
    responses((status = 202, description = "it is given up", body = ProjectionOrder), (status = 403), (status = 404), (status = 409)))]
async fn projection_rebuild_abort(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    app.platform.projections.rebuild_abort(&name)?;
    Ok(accepted(name, "aborted"))
}

/// Lets the rebuild of a projection stand still; the live one goes on.
#[utoipa::path(post, path = "/ops/projections/{name}/rebuild/pause", tag = "operators", params(("name" = String, Path,)),
    responses((status = 202, description = "it stands still", body = ProjectionOrder), (status = 403), (status = 404), (status = 409)))]
async fn projection_rebuild_pause(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    app.platform.projections.rebuild_pause(&name)?;
    Ok(accepted(name, "paused"))
}

/// Lets the rebuild of a projection go on.
#[utoipa::path(post, path = "/ops/projections/{name}/rebuild/resume", tag = "operators", params(("name" = String, Path,)),
    responses((status = 202, description = "it goes on", body = ProjectionOrder), (status = 403), (status = 404), (status = 409)))]
async fn projection_rebuild_resume(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    app.platform.projections.rebuild_resume(&name)?;
    Ok(accepted(name, "resumed"))
}

/// Lets a projection stand still.
#[utoipa::path(post, path = "/ops/projections/{name}/pause", tag = "operators", params(("name" = String, Path,)),
    responses((status = 202, description = "it stands still", body = ProjectionOrder), (status = 403), (status = 404)))]
async fn projection_pause(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    app.platform.projections.pause(&name).await?;
    Ok(accepted(name, "paused"))
}

/// Lets a projection go on.
#[utoipa::path(post, path = "/ops/projections/{name}/resume", tag = "operators", params(("name" = String, Path,)),
    responses((status = 202, description = "it goes on", body = ProjectionOrder), (status = 403), (status = 404)))]
async fn projection_resume(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    app.platform.projections.resume(&name).await?;
    Ok(accepted(name, "resumed"))
}

#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Skip {
    /// Whose; absent: the caller's own organisation's.
    #[serde(default)]
    tenant_id: Option<Uuid>,
}

/// Leaves out the event a projection could not apply for an organisation, and goes on behind it.
#[utoipa::path(post, path = "/ops/projections/{name}/skip", tag = "operators", params(("name" = String, Path,)),
    request_body = Option<Skip>,
    responses((status = 202, description = "it goes on behind it", body = ProjectionOrder), (status = 403), (status = 404), (status = 409)))]
async fn projection_skip(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    OptionalBody(body): OptionalBody<Skip>,
) -> Result<Response, ApiError> {
    app.must_be_operator(&caller).await?;
    let tenant = body.tenant_id.map_or(caller.tenant(), TenantId);
    app.platform.projections.skip(&name, tenant).await?;
    Ok(accepted(name, "skipped"))
}
