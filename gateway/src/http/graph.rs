//! The graph of what flows where: sources, streams, entities.

use super::{
    extract::Query,
    identity::Caller,
    problem::ApiError,
    respond::{ReadQuery, VIEWS, read},
    state::App,
};
use axum::{extract::State, response::Response};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(graph_get))
}

/// Sources, streams and entities, and how they are connected.
#[utoipa::path(get, path = "/dcl/graph", tag = "views", params(ReadQuery),
    responses((status = 200, description = "`{nodes: [{id, kind, label}], edges: [{from, to, kind, fields, confidence}]}`")))]
async fn graph_get(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<ReadQuery>,
) -> Result<Response, ApiError> {
    let position = app.reading(&caller, query.min_position.as_deref(), VIEWS).await?;
    let graph = app.views().graph(caller.tenant()).await?;
    Ok(read(&graph, &position))
}
