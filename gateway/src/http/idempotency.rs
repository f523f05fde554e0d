//! Repeated writes. A write with an `Idempotency-Key` is answered once; its repetition gets the
//! first answer again. Two layers: whole answers are kept in memory (this file), and the command id
//! follows from the key (see `extract::Command`), so that after a restart, or on another node, the
//! log itself recognises the repetition. It runs after authentication: a key belongs to its caller.

use super::{extract::buffered, identity::Caller, problem::ApiError, respond::REPLAYED, state::App};
use autonomos_commands::error::CommandError;
use autonomos_domain::{envelope::Actor, ids::CommandId};
use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{sync::Arc, time::Duration};

const KEY: HeaderName = HeaderName::from_static("idempotency-key");
const KEY_BYTES: usize = 255;
const KEPT_FOR: Duration = Duration::from_hours(24);
/// All answers kept, together.
const KEPT_BYTES: u64 = 32 * 1024 * 1024;
/// A larger answer is not kept; the log still recognises the repetition.
const ANSWER_BYTES: usize = 256 * 1024;
/// Requests under way that a repetition could run into.
const UNDER_WAY: u64 = 100_000;

/// A key means nothing to these: they sign in or out, or they change nothing.
pub(super) const EXEMPT: &[&str] = &[
    "/api/v1/auth/register",
    "/api/v1/auth/login",
    "/api/v1/auth/refresh",
    "/api/v1/auth/logout",
    "/api/v1/auth/password",
    "/api/v1/events/ticket",
    "/api/v1/dcl/query",
    "/api/v1/aam/repairs/{id}/dry-run",
    "/api/v1/aam/repairs/backtest",
];
/// Their answers carry secrets and are not kept. The key still counts: a repetition does nothing and
/// is told so.
pub(super) const UNREPEATED: &[&str] = &["/api/v1/api-keys"];
/// Read as a stream by its handler: it has its own limit.
const STREAMED: &str = "/api/v1/uploads";

/// What a keyed request's command is known by.
#[derive(Debug, Clone)]
pub(super) struct Keyed {
    pub(super) command_id: CommandId,
    pub(super) request_hash: String,
}

#[derive(Clone)]
struct Answer {
    request_hash: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

/// The answers kept.
#[derive(Clone)]
pub(super) struct Answers {
    kept: moka::sync::Cache<CommandId, Arc<Answer>>,
    under_way: moka::sync::Cache<CommandId, Arc<tokio::sync::Mutex<()>>>,
}

impl Default for Answers {
    fn default() -> Self {
        let weight = |_: &CommandId, answer: &Arc<Answer>| (answer.body.len() + 512) as u32;
        Self {
            kept: moka::sync::Cache::builder()
                .max_capacity(KEPT_BYTES)
                .weigher(weight)
                .time_to_live(KEPT_FOR)
                .build(),
            under_way: moka::sync::Cache::builder()
                .max_capacity(UNDER_WAY)
                .time_to_idle(Duration::from_mins(10))
                .build(),
        }
    }
}

/// The layer.
pub(super) async fn idempotency(State(app): State<App>, request: Request, next: Next) -> Response {
    match answer(&app, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn answer(app: &App, request: Request, next: Next) -> Result<Response, ApiError> {
    let writes = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH | Method::DELETE);
    let key = request.headers().get(&KEY).cloned();
    let caller = request.extensions().get::<Caller>().cloned();
    let (Some(key), Some(caller), true) = (key, caller, writes) else {
        return Ok(next.run(request).await);
    };
    let path = request.uri().path().to_owned();
    if EXEMPT.contains(&path.as_str()) {
        return Ok(next.run(request).await);
    }
    let (mut parts, body) = request.into_parts();
    let command_id = command_id(&caller, &parts.method, &path, &key)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(parts.uri.query().unwrap_or_default().as_bytes());
    hasher.update(&[0]);
    if path == STREAMED {
        // Its content is known only when it was read: the store tells a repetition from another file.
        let request_hash = hasher.finalize().to_hex().to_string();
        parts.extensions.insert(Keyed { command_id, request_hash });
        return Ok(next.run(Request::from_parts(parts, body)).await);
    }
    let bytes = buffered(&parts.headers, body, app.config.body_max_bytes).await?;
    hasher.update(&bytes);
    let request_hash = hasher.finalize().to_hex().to_string();
    if UNREPEATED.contains(&path.as_str()) {
        parts.extensions.insert(Keyed { command_id, request_hash });
        return Ok(next.run(Request::from_parts(parts, Body::from(bytes))).await);
    }

    // A repetition that comes while the first is under way waits for its answer.
    let turn = app.answers.under_way.get_with(command_id, Arc::default);
    let _turn = turn.lock().await;
    if let Some(kept) = app.answers.kept.get(&command_id) {
        if kept.request_hash != request_hash {
            return Err(CommandError::IdempotencyMismatch.into());
        }
        return Ok(again(&kept));
    }
    parts.extensions.insert(Keyed { command_id, request_hash: request_hash.clone() });
    let response = next.run(Request::from_parts(parts, Body::from(bytes))).await;
    // What was refused changed nothing: it is decided again.
    if !response.status().is_success() {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, usize::MAX).await.map_err(ApiError::internal)?;
    if bytes.len() <= ANSWER_BYTES {
        let kept =
            Answer { request_hash, status: head.status, headers: head.headers.clone(), body: bytes.clone() };
        app.answers.kept.insert(command_id, Arc::new(kept));
    }
    Ok(Response::from_parts(head, Body::from(bytes)))
}

fn again(kept: &Answer) -> Response {
    let mut response = Response::new(Body::from(kept.body.clone()));
    *response.status_mut() = kept.status;
    *response.headers_mut() = kept.headers.clone();
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

/// The same for the same caller, call and key; another caller's key is another key.
fn command_id(
    caller: &Caller,
    method: &Method,
    path: &str,
    key: &HeaderValue,
) -> Result<CommandId, ApiError> {
    let key = key.to_str().ok().map(str::trim).filter(|key| (1..=KEY_BYTES).contains(&key.len()));
    let Some(key) = key else {
        let message = format!("an idempotency key has 1 to {KEY_BYTES} visible ASCII characters");
        return Err(ApiError::invalid("Idempotency-Key", message));
    };
    let actor = match &caller.0.actor {
        Actor::User(id) | Actor::ApiKey(id) => id.to_string(),
        Actor::System(name) => name.clone(),
    };
    Ok(CommandId::derive(&["http", &caller.tenant().to_string(), &actor, method.as_str(), path, key]))
}
