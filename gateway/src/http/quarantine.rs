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
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
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

/// A cell or a row that did not fit, and why.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct QuarantineView {
    entity: Option<String>,
    connection_id: Uuid,
    stream: String,
    record_id: Option<Uuid>,
    /// Row within the batch, from 0.
    row: u32,
    field: Option<String>,
    source_column: Option<String>,
    value: Option<String>,
    code: String,
    reason: String,
    mapping_version: Option<u32>,
    since: Option<DateTime<Utc>>,
    /// Where the batch stands in the log.
    position: String,
}

impl QuarantineView {
    fn of(app: &App, cell: u16, row: QuarantineRow) -> Self {
        Self {
            position: app.token(Position { cell, sequence: row.sequence }),
            entity: row.entity,
            connection_id: row.connection_id,
            stream: row.stream,
            record_id: row.record_id,
            row: row.row,
            field: row.field,
            source_column: row.source_column,
            value: row.value,
            code: row.code,
            reason: row.reason,
            mapping_version: row.mapping_version,
            since: row.since,
        }
    }
}

/// What did not fit, and why.
#[utoipa::path(get, path = "/aam/quarantine", tag = "drift", params(QuarantineQuery, ListQuery),
    responses((status = 200, body = ref("#/list/QuarantineView"))))]
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
    let cell = app.cell(&caller);
    let rows = page.data.into_iter().map(|row| QuarantineView::of(&app, cell, row));
    Ok(listed(rows.collect(), page.next_cursor, position, Some(page.total)))
}
