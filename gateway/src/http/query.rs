//! The tenant's own SQL over its own views: one statement, read-only, within limits.

use super::{
    extract::{Body, bounded},
    identity::Caller,
    problem::ApiError,
    respond::{VIEWS, read, with_position},
    state::App,
};
use arrow::{
    ipc::writer::StreamWriter,
    json::writer::{JsonArray, WriterBuilder},
};
use autonomos_projections::dcl::read::{QueryAnswer, QueryLimits};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

const ARROW: &str = "application/vnd.apache.arrow.stream";
const SQL_BYTES: usize = 64 * 1024;
const TRUNCATED: HeaderName = HeaderName::from_static("x-truncated");

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(query_run))
}

#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct QueryRequest {
    /// One `SELECT` over the views, by their names: `accounts`, `contacts`, …
    sql: String,
    /// Waits up to five seconds until this position is shown.
    #[serde(default)]
    min_position: Option<String>,
}

/// At most so many rows; `truncated` says that there were more.
#[derive(Debug, Serialize, ToSchema)]
struct QueryAnswerView {
    columns: Vec<QueryColumn>,
    /// Objects, by the columns' names.
    #[schema(value_type = Vec<Object>)]
    rows: Value,
    truncated: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct QueryColumn {
    name: String,
    /// In Arrow's words.
    #[serde(rename = "type")]
    kind: String,
}

/// Runs one `SELECT`. Answers JSON, or an Arrow stream where `Accept` asks for it. At most 10,000
/// rows and 5 seconds.
#[utoipa::path(post, path = "/dcl/query", tag = "views", request_body = QueryRequest,
    responses((status = 200, content((QueryAnswerView = "application/json"), (Vec<u8> = "application/vnd.apache.arrow.stream"))),
              (status = 422, description = "refused, failed, or took too long")))]
async fn query_run(
    State(app): State<App>,
    caller: Caller,
    headers: HeaderMap,
    Body(body): Body<QueryRequest>,
) -> Result<Response, ApiError> {
    bounded("/sql", &body.sql, SQL_BYTES)?;
    let position = app.reading(&caller, body.min_position.as_deref(), VIEWS).await?;
    let dcl = app.views();
    let answer = dcl.query(caller.tenant(), &body.sql, QueryLimits::default()).await?;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains(ARROW) {
        let mut response = with_position(as_arrow(&answer)?.into_response(), &position);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(ARROW));
        if answer.truncated {
            response.headers_mut().insert(TRUNCATED, HeaderValue::from_static("true"));
        }
        return Ok(response);
    }
    Ok(read(&as_json(&answer)?, &position))
}

fn as_arrow(answer: &QueryAnswer) -> Result<Vec<u8>, ApiError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &answer.schema).map_err(ApiError::internal)?;
    for batch in &answer.batches {
        writer.write(batch).map_err(ApiError::internal)?;
    }
    writer.into_inner().map_err(ApiError::internal)
}

fn as_json(answer: &QueryAnswer) -> Result<QueryAnswerView, ApiError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, JsonArray>(Vec::new());
    let batches: Vec<_> = answer.batches.iter().collect();
    writer.write_batches(&batches).map_err(ApiError::internal)?;
    writer.finish().map_err(ApiError::internal)?;
    let bytes = writer.into_inner();
    let rows: Value = if bytes.is_empty() {
        json!([])
    } else {
        serde_json::from_slice(&bytes).map_err(ApiError::internal)?
    };
    let columns = answer
        .schema
        .fields()
        .iter()
        .map(|field| QueryColumn { name: field.name().clone(), kind: field.data_type().to_string() })
        .collect();
    Ok(QueryAnswerView { columns, rows, truncated: answer.truncated })
}
