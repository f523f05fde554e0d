//! What every request passes through. The order matters: who asks is verified before anything is
//! counted, remembered or answered on their behalf.

use super::{
    identity::{Caller, bearer},
    limits::{Exceeded, Standing},
    problem::ApiError,
    state::App,
};
use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use std::{
    any::Any,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

pub(super) use super::idempotency::idempotency;

/// Calls that make a session; a token that came along says nothing about them.
const SIGNING_IN: &[&str] = &["/api/v1/auth/register", "/api/v1/auth/login", "/api/v1/auth/refresh"];

/// Verifies the bearer token, once, and then counts the request: for its tenant, or for its address
/// where nobody is signed in.
pub(super) async fn authenticate(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let signing_in = SIGNING_IN.contains(&request.uri().path());
    let (mut parts, body) = request.into_parts();
    let token = bearer(&parts).filter(|_| !signing_in).map(str::to_owned);
    let verified = match &token {
        Some(token) => Some(app.platform.auth.verify(token).await),
        None => None,
    };
    // The node that passed it on has counted it.
    let counted = app.forwarder.as_ref().is_some_and(|forwarder| forwarder.sent(&parts.headers));
    if counted {
        match verified {
            Some(Ok(identity)) => {
                parts.extensions.insert(Caller(identity));
            }
            Some(Err(error)) => return ApiError::from(error).into_response(),
            None => {}
        }
        return next.run(Request::from_parts(parts, body)).await;
    }
    let standing = match &verified {
        Some(Ok(identity)) => app.limits.tenant(identity.tenant),
        // A wrong token is counted too: it may be a guess.
        Some(Err(_)) | None => app.limits.address(address(&parts)),
    };
    let standing = match standing {
        Ok(standing) => standing,
        Err(exceeded) => return too_many(exceeded),
    };
    match verified {
        Some(Ok(identity)) => {
            parts.extensions.insert(Caller(identity));
        }
        Some(Err(error)) => return with_standing(ApiError::from(error).into_response(), standing),
        None => {}
    }
    request = Request::from_parts(parts, body);
    with_standing(next.run(request).await, standing)
}

fn address(parts: &axum::http::request::Parts) -> IpAddr {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
    peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip())
}

fn too_many(exceeded: Exceeded) -> Response {
    let mut error = ApiError::new(
        StatusCode::TOO_MANY_REQUESTS,
        "AOS-0515",
        format!("more than {} requests in a minute", exceeded.limit),
    );
    error.retry_after = Some(exceeded.retry_after);
    let standing = Standing { limit: exceeded.limit, remaining: 0, reset: exceeded.retry_after };
    with_standing(error.into_response(), standing)
}

fn with_standing(mut response: Response, standing: Standing) -> Response {
    let headers = response.headers_mut();
    headers.insert(HeaderName::from_static("ratelimit-limit"), HeaderValue::from(standing.limit));
    headers.insert(HeaderName::from_static("ratelimit-remaining"), HeaderValue::from(standing.remaining));
    headers.insert(HeaderName::from_static("ratelimit-reset"), HeaderValue::from(standing.reset));
    response
}

/// What browsers may do with our pages: run our own scripts, and nothing else's.
pub(super) async fn security_headers(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/v1/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                  font-src 'self'; connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
                  frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A tenant's data stays out of caches that others share.
    if is_api {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

/// Counts requests and their times by route, never by what their paths name.
pub(super) async fn measured(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().to_string();
    let began = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("aos_http_requests_total", "route" => route.clone(), "method" => method.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("aos_http_request_seconds", "route" => route, "method" => method)
        .record(began.elapsed().as_secs_f64());
    response
}

/// A handler that panicked; the server goes on.
pub(super) fn panicked(panic: Box<dyn Any + Send>) -> Response<Body> {
    let said = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message");
    ApiError::internal(format!("a handler panicked: {said}")).into_response()
}
