//! Exports of unified views, streamed. Equal views give equal bytes.

use super::{
    extract::{Path, Query},
    identity::Caller,
    problem::ApiError,
    respond::{VIEWS, with_position},
    state::App,
    views::sorts,
};
use autonomos_projections::dcl::read::ExportFormat;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(view_export))
}

#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
struct ExportQuery {
    /// `csv` (if absent), `ndjson`, `parquet` or `arrow`.
    format: Option<String>,
    /// Fields, separated by commas; `-` before one: descending. Absent: by id.
    sort: Option<String>,
    /// The rows as they were: a time (RFC 3339) or a position.
    as_of: Option<String>,
    min_position: Option<String>,
}

/// All rows of a view as a file.
#[utoipa::path(get, path = "/dcl/views/{entity}/export", tag = "views", params(("entity" = String, Path,), ExportQuery),
    responses((status = 200, description = "the file", content(
        (Vec<u8> = "text/csv"), (Vec<u8> = "application/x-ndjson"),
        (Vec<u8> = "application/vnd.apache.parquet"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
         (status = 404), (status = 422)))]
async fn view_export(
    State(app): State<App>,
    caller: Caller,
    Path(entity): Path<String>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, ApiError> {
    let name = query.format.as_deref().unwrap_or("csv");
    let format = ExportFormat::parse(name).ok_or_else(|| {
        let shown: String = name.chars().take(40).collect();
        ApiError::invalid("?format", format!("`{shown}` is not one of `csv`, `ndjson`, `parquet`, `arrow`"))
    })?;
    app.wait(&caller, query.min_position.as_deref(), VIEWS).await?;
    let as_of = app.as_of(&caller, query.as_of.as_deref()).await?;
    let position = app.shown(&caller, VIEWS);
    let sort = sorts(query.sort.as_deref().unwrap_or_default())?;
    let bytes = app.views().export(caller.tenant(), &entity, format, &sort, as_of).await?;
    let mut response = with_position(Body::from_stream(bytes).into_response(), &position);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    // The entity exists, so its name is one of the ontology's: letters, digits and `_`.
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{entity}.{name}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    Ok(response)
}
