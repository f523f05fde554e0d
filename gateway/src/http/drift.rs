//! Drift: what changed in the sources' schemas.

use super::{
    extract::{Edit, Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, ReadQuery, page, read},
    state::App,
};
use autonomos_domain::{
    aggregates::stream_schema::{DriftStatus, StreamSchema, StreamSchemaCommand},
    drift::{DriftKind, Severity},
    ids::{ConnectionId, DriftId, FeedId},
};
use autonomos_projections::read_models::{query::DriftFilter, rows::DriftRow};
use axum::{extract::State, response::Response};
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
}

/// Findings, newest first.
#[utoipa::path(get, path = "/aam/drift", tag = "drift", params(DriftsQuery, ListQuery),
    responses((status = 200, body = ref("#/list/DriftRow"))))]
async fn drift_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<DriftsQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let filter = DriftFilter {
        connection_id: query.connection_id,
        stream: query.stream,
        kind: query.kind,
        severity: query.severity,
        status: query.status,
    };
    let rows = app.models().drift_list(caller.tenant(), &filter, &request).await?;
    Ok(page(rows, position, |row| row))
}

impl App {
    async fn drift_find(&self, caller: &Caller, id: Uuid) -> Result<DriftRow, ApiError> {
        let models = self.models();
        self.find(caller, "drift", id, || models.drift_get(caller.tenant(), id)).await
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
    let position = app.reading(&caller, query.min_position.as_deref(), READ_MODELS).await?;
    Ok(read(&app.drift_find(&caller, id).await?, &position))
}

/// Says that a finding may stay as it is. What waits for a repair goes on waiting.
#[utoipa::path(post, path = "/aam/drift/{id}/accept", tag = "drift", params(("id" = Uuid, Path,)),
    responses((status = 200, body = ref("#/components/schemas/DriftRow")), (status = 404), (status = 409)))]
async fn drift_accept(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let row = app.drift_find(&edit.caller, id).await?;
    let feed = FeedId::of(ConnectionId(row.connection_id), &row.stream);
    let resolve = StreamSchemaCommand::ResolveDrift { drift_id: DriftId(id), status: DriftStatus::Accepted };
    let outcome = app.platform.commands.execute::<StreamSchema>(&edit.context, feed.0, resolve).await?;
    app.changed(&edit.caller, &outcome, app.drift_find(&edit.caller, id)).await
}
