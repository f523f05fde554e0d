//! Drift: what changed in the sources' schemas.

use super::{
    extract::{Command, Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{READ_MODELS, ReadQuery, limit, page, read, written},
    state::App,
};
use autonomos_domain::{
    aggregates::stream_schema::{DriftStatus, StreamSchema, StreamSchemaCommand},
    drift::{DriftKind, Severity},
    ids::{ConnectionId, DriftId, FeedId},
};
use autonomos_projections::read_models::{
    query::DriftFilter,
    rows::{DriftRow, PageRequest},
};
use axum::{extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(drift_list)).routes(routes!(drift_get)).routes(routes!(drift_accept))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct DriftsQuery {
    connection_id: Option<Uuid>,
    stream: Option<String>,
    #[param(value_type = Option<String>, example = "field_renamed")]
    kind: Option<DriftKind>,
    /// `info`, `warning` or `critical`.
    #[param(value_type = Option<String>)]
    severity: Option<Severity>,
    /// `open`, `repaired`, `accepted` or `reverted`.
    #[param(value_type = Option<String>)]
    status: Option<DriftStatus>,
    limit: Option<usize>,
    cursor: Option<String>,
    min_position: Option<String>,
}

/// Findings, newest first.
#[utoipa::path(get, path = "/aam/drift", tag = "drift", params(DriftsQuery),
    responses((status = 200, body = ref("#/list/DriftRow"))))]
async fn drift_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DriftsQuery>,
) -> Result<Response, ApiError> {
    app.wait(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let position = app.shown(&caller, READ_MODELS);
    let filter = DriftFilter {
        connection_id: query.connection_id,
        stream: query.stream,
        kind: query.kind,
        severity: query.severity,
        status: query.status,
    };
    let request = PageRequest { limit: limit(query.limit)?, cursor: query.cursor };
    let rows = app.platform.projections.read_models().drift_list(caller.tenant(), &filter, &request).await?;
    Ok(page(rows, position, |row| row))
}

impl App {
    async fn drift_find(&self, caller: &Caller, id: Uuid) -> Result<DriftRow, ApiError> {
        let models = self.platform.projections.read_models();
        if let Some(row) = models.drift_get(caller.tenant(), id).await? {
            return Ok(row);
        }
        self.catch_up(caller).await;
        models.drift_get(caller.tenant(), id).await?.ok_or_else(|| ApiError::not_found("drift", id))
    }
}

/// One finding.
#[utoipa::path(get, path = "/aam/drift/{id}", tag = "drift", params(("id" = Uuid, Path,), ReadQuery),
    responses((status = 200, body = ref("#/components/schemas/DriftRow")), (status = 404)))]
async fn drift_get(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<Uuid>,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    app.wait(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    let position = app.shown(&caller, READ_MODELS);
    Ok(read(&app.drift_find(&caller, id).await?, &position))
}

/// Says that a finding may stay as it is. What waits for a repair goes on waiting.
#[utoipa::path(post, path = "/aam/drift/{id}/accept", tag = "drift", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/DriftRow")), (status = 404), (status = 409)))]
async fn drift_accept(
    State(app): State<App>,
    caller: Caller,
    command: Command,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    caller.may_edit()?;
    let row = app.drift_find(&caller, id).await?;
    let feed = FeedId::of(ConnectionId(row.connection_id), &row.stream);
    let resolve = StreamSchemaCommand::ResolveDrift { drift_id: DriftId(id), status: DriftStatus::Accepted };
    let context = command.context(&caller);
    let outcome = app.platform.commands.execute::<StreamSchema>(&context, feed.0, resolve).await?;
    app.settle(&caller, &outcome, READ_MODELS).await;
    let row = app.drift_find(&caller, id).await?;
    Ok(written(&app, StatusCode::OK, &row, &outcome))
}
