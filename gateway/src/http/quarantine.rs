//! Quarantine: cells and rows that did not fit, with the reason. They come back by themselves when
//! the mapping or the source is put right.

use super::{
    extract::Query,
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, VIEWS, listed},
    state::App,
};
use autonomos_domain::envelope::Position;
use autonomos_projections::dcl::read::{QuarantineFilter, QuarantineRow};
use axum::{extract::State, response::Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(quarantine_list))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct QuarantineQuery {
    entity: Option<String>,
    connection_id: Option<Uuid>,
    stream: Option<String>,
    /// The reason's code.
    code: Option<String>,
}

#[derive(Debug, Serialize)]
struct QuarantineView {
    #[serde(flatten)]
    row: QuarantineRow,
    /// Where the batch stands in the log.
    position: String,
}

/// What did not fit, and why.
#[utoipa::path(get, path = "/aam/quarantine", tag = "drift", params(QuarantineQuery, ListQuery),
    responses((status = 200, description = "cells and rows with their reasons")))]
async fn quarantine_list(
    State(app): State<App>,
    caller: Caller,
    Query(query): Query<QuarantineQuery>,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, VIEWS).await?;
    let filter = QuarantineFilter {
        entity: query.entity,
        connection_id: query.connection_id,
        stream: query.stream,
        code: query.code,
        limit: request.limit,
        cursor: request.cursor,
    };
    let page = app.views().quarantine(caller.tenant(), &filter).await?;
    let rows = page
        .data
        .into_iter()
        .map(|row| QuarantineView { position: app.token(Position { cell: 0, sequence: row.sequence }), row });
    Ok(listed(rows.collect(), page.next_cursor, position, Some(page.total)))
}
