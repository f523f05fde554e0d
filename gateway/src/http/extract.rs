//! What handlers take from a request. Each refuses what is wrong with a problem document that says
//! which part of the request it is about.

use super::{idempotency::Keyed, identity::Caller, problem::ApiError, problem::FieldProblem, state::App};
use autonomos_commands::execute::CommandContext;
use autonomos_domain::ids::CommandId;
use axum::{
    RequestPartsExt,
    body::{BodyDataStream, Bytes},
    extract::{FromRequest, FromRequestParts, Request},
    http::{HeaderMap, StatusCode, header, request::Parts},
};
use futures::StreamExt;
use serde::de::{DeserializeOwned, IgnoredAny};
use std::{convert::Infallible, time::Duration};

/// Longest query string, bytes.
const QUERY_BYTES: usize = 16 * 1024;

/// What is read of a refused body, at most, so that its sender gets to read the answer: a
/// connection closed on unread bytes takes the answer with it.
const DRAINED_BYTES: usize = 64 * 1024 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(5);

/// Reads the rest of a body that was refused, within bounds.
pub(super) async fn drain(body: &mut BodyDataStream) {
    let rest = async {
        let mut read = 0;
        while let Some(Ok(chunk)) = body.next().await {
            read += chunk.len();
            if read > DRAINED_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DRAINED_FOR, rest).await;
}

/// Reads a request's body up to a limit; the same error for a length that was announced and for one
/// that was only found out.
pub(super) async fn buffered(
    headers: &HeaderMap,
    body: axum::body::Body,
    limit: usize,
) -> Result<Bytes, ApiError> {
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "AOS-0508",
            format!("the body has more than {limit} bytes; files go to `POST /api/v1/uploads`"),
        )
    };
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut content = body.into_data_stream();
    if announced.is_some_and(|length| length > limit as u64) {
        drain(&mut content).await;
        return Err(too_large());
    }
    let mut bytes = Vec::with_capacity(announced.map_or(0, |length| length as usize));
    while let Some(chunk) = content.next().await {
        let Ok(chunk) = chunk else {
            return Err(ApiError::new(
                StatusCode::BAD_REQUEST,
                "AOS-0509",
                "the body broke off before its end",
            ));
        };
        if bytes.len() + chunk.len() > limit {
            drain(&mut content).await;
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.into())
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// A JSON body that may be left out.
pub(super) struct OptionalBody<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        is_json(&parts.headers)?;
        let bytes = buffered(&parts.headers, body, app.config.body_max_bytes).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, Self::Rejection> {
        let (parts, body) = request.into_parts();
        let bytes = buffered(&parts.headers, body, app.config.body_max_bytes).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json(&parts.headers)?;
        parse(&bytes).map(Self)
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json")) {
        return Ok(());
    }
    let said: String = value.chars().take(80).collect();
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "AOS-0507",
        format!("the content type is `{said}`, and `application/json` is expected"),
    ))
}

/// Reads JSON; an error names the place as a JSON pointer.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    // Whether it is JSON at all comes first: what is wrong further behind would hide what is wrong here.
    serde_json::from_slice::<IgnoredAny>(bytes).map_err(|error| not_json(&error))?;
    // A list would be read as an object's fields in their order.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ApiError::invalid("", "a JSON object is expected"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        ApiError::invalid(pointer, without_place(&error.into_inner()))
    })
}

fn not_json(error: &serde_json::Error) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "AOS-0506", format!("the body is not JSON: {error}"))
}

/// serde_json adds line and column, which the pointer says better.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                pointer.push('/');
                pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => {}
        }
    }
    pointer
}

/// Query parameters.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> FromRequestParts<App> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        if parts.uri.query().is_some_and(|query| query.len() > QUERY_BYTES) {
            let message = format!("the query string has more than {QUERY_BYTES} bytes");
            return Err(ApiError::new(StatusCode::URI_TOO_LONG, "AOS-0514", message));
        }
        let query = parts.extract::<axum::extract::Query<T>>().await;
        query.map(|query| Self(query.0)).map_err(|rejection| {
            let text = rejection.body_text();
            let message =
                text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text).to_owned();
            let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
            let named = || message.split(':').next().filter(|name| !name.contains(' '));
            let name = missing.or_else(named).unwrap_or_default();
            ApiError::invalid(format!("?{name}"), message.clone())
        })
    }
}

/// Parts of the path. What is no id is the id of nothing: 404.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send + 'static> FromRequestParts<App> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        let path = parts.extract::<axum::extract::Path<T>>().await;
        path.map(|path| Self(path.0)).map_err(|_| {
            ApiError::new(StatusCode::NOT_FOUND, "AOS-0504", "the path names nothing: an id in it is not one")
        })
    }
}

/// The command a request asks for: with an `Idempotency-Key`, its id follows from the key, so that
/// a repetition is recognised in the log itself, whichever node or process gets it.
#[derive(Debug, Clone, Default)]
pub(super) struct Command {
    keyed: Option<Keyed>,
}

impl Command {
    pub(super) fn context(&self, caller: &Caller) -> CommandContext {
        match &self.keyed {
            Some(keyed) => caller.0.context(keyed.command_id, Some(keyed.request_hash.clone())),
            None => caller.0.context(CommandId::random(), None),
        }
    }
}

impl FromRequestParts<App> for Command {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Self::Rejection> {
        Ok(Self { keyed: parts.extensions.get::<Keyed>().cloned() })
    }
}

/// A change asked for by someone who may edit: who asks, and what its command is known by.
#[derive(Debug)]
pub(super) struct Edit {
    pub(super) caller: Caller,
    pub(super) context: CommandContext,
    /// It may be a repetition.
    pub(super) is_keyed: bool,
}

impl FromRequestParts<App> for Edit {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let caller = <Caller as FromRequestParts<App>>::from_request_parts(parts, app).await?;
        caller.may_edit()?;
        let Ok(command) = Command::from_request_parts(parts, app).await;
        Ok(Self { context: command.context(&caller), is_keyed: command.keyed.is_some(), caller })
    }
}

/// Refuses a text that is too long or empty.
pub(super) fn bounded(pointer: &str, text: &str, most: usize) -> Result<(), ApiError> {
    if text.trim().is_empty() {
        return Err(ApiError::invalid(pointer, "a text is expected"));
    }
    if text.len() > most {
        return Err(ApiError::invalid(pointer, format!("it has more than {most} bytes")));
    }
    Ok(())
}

/// 422 about several fields at once.
pub(super) fn invalid_fields(errors: Vec<FieldProblem>) -> Result<(), ApiError> {
    let Some(first) = errors.first() else {
        return Ok(());
    };
    let mut problem = ApiError::invalid(first.pointer.clone(), first.message.clone());
    problem.errors = errors;
    Err(problem)
}

#[cfg(test)]
mod tests {
    use super::parse;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Line {
        #[expect(dead_code, reason = "only its type matters")]
        source: String,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lines {
        #[expect(dead_code, reason = "only its type matters")]
        lines: Vec<Line>,
    }

    /// Status, code, and pointer of the refusal.
    fn check(body: &str, expect: (u16, &str, &str)) {
        let error = parse::<Lines>(body.as_bytes()).expect_err(body);
        let pointer = error.errors.first().map(|field| field.pointer.clone()).unwrap_or_default();
        assert_eq!((error.status.as_u16(), error.code, pointer.as_str()), expect, "{body}: {}", error.detail);
    }

    #[test]
    fn a_refused_body_says_where_and_how() {
        check("{", (400, "AOS-0506", ""));
        check("", (400, "AOS-0506", ""));
        check(r#"{"lines": []} x"#, (400, "AOS-0506", ""));
        check("[[]]", (422, "AOS-0501", ""));
        check(r#"{"lines": 1} x"#, (400, "AOS-0506", ""));
        check(r#"{"lines": 1}"#, (422, "AOS-0501", "/lines"));
        check(r#"{"lines": [{"source": "a"}, {"source": 5}]}"#, (422, "AOS-0501", "/lines/1/source"));
        check(r#"{"lines": [{"source": "a", "b/c": 1}]}"#, (422, "AOS-0501", "/lines/0/b~1c"));
        check("{}", (422, "AOS-0501", ""));
    }
}
