//! Errors as clients see them: RFC 9457 problem documents with a stable code.

use autonomos_commands::error::{CommandError, Kind};
use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// One bad field of a request.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct FieldProblem {
    /// JSON pointer into the request's body, or `?name` for a query parameter.
    pub pointer: String,
    pub message: String,
}

/// The body of every error answer, `application/problem+json`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Problem {
    /// A page about this error.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// Stable: `AOS-0007`.
    pub code: String,
    pub trace_id: Uuid,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// The task that is in the way, where one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task_id: Option<Uuid>,
}

/// An error on its way out.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub status: StatusCode,
    pub code: &'static str,
    pub detail: String,
    pub errors: Vec<FieldProblem>,
    /// Seconds; sent as `Retry-After`.
    pub retry_after: Option<u64>,
    pub task_id: Option<Uuid>,
    /// For the log alone.
    pub context: Option<String>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
            task_id: None,
            context: None,
        }
    }

    /// 404: the thing is not there, or is another tenant's: which of the two is not told.
    pub(crate) fn not_found(what: &str, id: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "AOS-0504", format!("no such {what}: `{id}`"))
    }

    /// 422 about one field.
    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let message = message.into();
        let mut error = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "AOS-0501", message.clone());
        error.errors.push(FieldProblem { pointer: pointer.into(), message });
        error
    }

    /// 500: what went wrong is in the log under the trace id, not in the answer.
    pub(crate) fn internal(context: impl std::fmt::Display) -> Self {
        let mut error = Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "AOS-0500",
            "something went wrong on our side; the trace id finds it in the server's log",
        );
        error.context = Some(context.to_string());
        error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let trace_id = Uuid::now_v7();
        if self.status.is_server_error() {
            let context = self.context.as_deref().unwrap_or(&self.detail);
            tracing::error!(%trace_id, code = self.code, context, "request failed");
        } else {
            tracing::debug!(%trace_id, code = self.code, detail = self.detail, "request refused");
        }
        let problem = Problem {
            kind: format!("/docs/errors/{}", self.code),
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            code: self.code.to_owned(),
            trace_id,
            errors: self.errors,
            task_id: self.task_id,
        };
        let mut response = (self.status, Json(problem)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        let status = match error.kind() {
            Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::LimitExceeded => StatusCode::PAYLOAD_TOO_LARGE,
            Kind::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Kind::Upstream => StatusCode::BAD_GATEWAY,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Kind::Internal => {
                let mut internal = Self::internal(&error);
                internal.code = error.code();
                return internal;
            }
        };
        let mut api = Self::new(status, error.code(), error.to_string());
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            api.retry_after = Some(match &error {
                CommandError::TooManyAttempts { retry_after } => retry_after.as_secs().max(1),
                _ => 1,
            });
        }
        if let CommandError::Invalid { field, message } = &error {
            api.errors.push(FieldProblem { pointer: (*field).to_owned(), message: message.clone() });
        }
        if let CommandError::Refused(autonomos_domain::error::Error::Invalid { field, message }) = &error {
            api.errors.push(FieldProblem { pointer: field.clone(), message: message.clone() });
        }
        api
    }
}

#[cfg(test)]
mod tests {
    use super::{ApiError, StatusCode};
    use autonomos_commands::error::CommandError;
    use axum::response::IntoResponse as _;
    use serde_json::{Value, json};
    use std::time::Duration;

    /// The document, its trace id left out, and the headers that go with it.
    async fn check(error: ApiError, headers: &[(&str, &str)], expect: Value) {
        let response = error.into_response();
        let mut all = vec![("content-type", "application/problem+json")];
        all.extend_from_slice(headers);
        for (name, value) in all {
            assert_eq!(response.headers()[name], value, "{name}");
        }
        let bytes = axum::body::to_bytes(response.into_body(), 10_000).await.expect("a body");
        let mut document: Value = serde_json::from_slice(&bytes).expect("JSON");
        let trace = document.as_object_mut().and_then(|fields| fields.remove("trace_id"));
        assert!(trace.is_some_and(|trace| trace.is_string()));
        assert_eq!(document, expect);
    }

    #[tokio::test]
    async fn problem_documents() {
        check(
            ApiError::invalid("/name", "a text is expected"),
            &[],
            json!({
                "type": "/docs/errors/AOS-0501", "title": "Unprocessable Entity", "status": 422,
                "detail": "a text is expected", "code": "AOS-0501",
                "errors": [{ "pointer": "/name", "message": "a text is expected" }],
            }),
        )
        .await;
        check(
            ApiError::not_found("sync", "x"),
            &[],
            json!({
                "type": "/docs/errors/AOS-0504", "title": "Not Found", "status": 404,
                "detail": "no such sync: `x`", "code": "AOS-0504",
            }),
        )
        .await;
        check(
            CommandError::TooManyAttempts { retry_after: Duration::from_secs(7) }.into(),
            &[("retry-after", "7")],
            json!({
                "type": "/docs/errors/AOS-0311", "title": "Too Many Requests", "status": 429,
                "detail": "too many failed sign-ins; try again in 7 seconds", "code": "AOS-0311",
            }),
        )
        .await;
        check(
            CommandError::InvalidToken { reason: "it has expired" }.into(),
            &[("www-authenticate", "Bearer")],
            json!({
                "type": "/docs/errors/AOS-0312", "title": "Unauthorized", "status": 401,
                "detail": "the token is not valid: it has expired", "code": "AOS-0312",
            }),
        )
        .await;
        // What went wrong inside stays inside.
        let internal = ApiError::internal("table users is locked");
        assert_eq!(internal.status, StatusCode::INTERNAL_SERVER_ERROR);
        check(
            internal,
            &[],
            json!({
                "type": "/docs/errors/AOS-0500", "title": "Internal Server Error", "status": 500,
                "detail": "something went wrong on our side; the trace id finds it in the server's log",
                "code": "AOS-0500",
            }),
        )
        .await;
    }
}
