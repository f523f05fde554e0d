//! Uploads: files that a file connection reads instead of one in a folder.

use super::{
    extract::{Edit, Path, Query, bounded, drain},
    identity::Caller,
    problem::ApiError,
    respond::{ListQuery, READ_MODELS, no_content, page, written},
    state::App,
};
use autonomos_domain::ids::UploadId;
use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::Response,
};
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

const FILE_NAME_BYTES: usize = 1_020;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(upload_list, upload_create)).routes(routes!(upload_remove))
}

/// Files uploaded, newest first.
#[utoipa::path(get, path = "/uploads", tag = "uploads", params(ListQuery),
    responses((status = 200, body = ref("#/list/UploadRow"))))]
async fn upload_list(
    State(app): State<App>,
    caller: Caller,
    Query(paging): Query<ListQuery>,
) -> Result<Response, ApiError> {
    let (request, position) = app.listing(&caller, paging, READ_MODELS).await?;
    let rows = app.models().upload_list(caller.tenant(), &request).await?;
    Ok(page(rows, position, |row| row))
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct UploadQuery {
    /// What the file is called; its ending says the format. Never a path.
    filename: String,
}

/// Stores a file: the body is its content, as it is. Its id is a file connection's `path`.
#[utoipa::path(post, path = "/uploads", tag = "uploads", params(UploadQuery),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 201, body = ref("#/components/schemas/UploadRow")),
              (status = 413, description = "larger than an upload, or all uploads, may be"), (status = 422)))]
async fn upload_create(
    State(app): State<App>,
    edit: Edit,
    Query(query): Query<UploadQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    bounded("?filename", &query.filename, FILE_NAME_BYTES)?;
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limit = app.config.upload_max_bytes;
    let mut content = body.into_data_stream();
    if announced.is_some_and(|bytes| bytes > limit) {
        drain(&mut content).await;
        return Err(autonomos_commands::error::CommandError::UploadTooLarge { limit }.into());
    }
    let chunks = content.by_ref().map_err(|error| error.to_string());
    let stored = app.platform.uploads.upload_store(&edit.context, &query.filename, chunks).await;
    if stored.is_err() {
        drain(&mut content).await;
    }
    let (upload, outcome) = stored.map_err(|error| {
        let mut problem = ApiError::from(error);
        // The aggregate's name for what is a parameter here.
        problem.errors.iter_mut().for_each(|field| "?filename".clone_into(&mut field.pointer));
        problem
    })?;
    Ok(written(&app, StatusCode::CREATED, &upload, &outcome))
}

/// Removes a file. Connections that read it fail from now on; what they read stays.
#[utoipa::path(delete, path = "/uploads/{id}", tag = "uploads", params(("id" = Uuid, Path,)),
    responses((status = 204), (status = 404)))]
async fn upload_remove(
    State(app): State<App>,
    edit: Edit,
    Path(id): Path<Uuid>,
) -> Result<Response, ApiError> {
    let outcome = app.platform.uploads.upload_remove(&edit.context, UploadId(id)).await?;
    Ok(no_content(&app, &outcome))
}
