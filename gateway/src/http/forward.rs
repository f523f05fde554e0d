//! Requests for what another node holds. Each cell of a projection is kept by one node at a time; the
//! unified views are files of that node's. Any gateway answers any tenant all the same: it passes the
//! request on to the owner of the tenant's cell, whose address stands in the lease, with the caller's
//! own token; what is about all cells goes to all owners (`fan_out`). A request that was passed on
//! once is never passed on again.

use super::{extract::buffered, fan_out, identity::Caller, problem::ApiError, state::App};
use crate::platform::Nodes;
use autonomos_log::lease::{Holder, Leases};
use autonomos_projections::runtime;
use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath, RawPathParams, Request, State},
    http::{HeaderMap, HeaderName, StatusCode, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use std::{collections::BTreeMap, time::Duration};

/// Says that a node passed the request on, and proves that it was one.
const FORWARDED: HeaderName = HeaderName::from_static("aos-forwarded");
/// How long the owner has until it begins to answer: longer than its own longest wait.
const ANSWER_IN: Duration = Duration::from_secs(20);
const CONNECT_IN: Duration = Duration::from_secs(2);
/// How long an answer that has begun may pause.
const PAUSE: Duration = Duration::from_secs(30);
/// How often it is looked whether the owner still is one, while its answer is waited for.
const LOOK: Duration = Duration::from_secs(1);
/// Routes that are answered from the unified views.
const VIEWS: &[&str] = &[
    "/api/v1/dcl/views",
    "/api/v1/dcl/views/{entity}",
    "/api/v1/dcl/views/{entity}/{id}",
    "/api/v1/dcl/views/{entity}/{id}/lineage",
    "/api/v1/dcl/views/{entity}/export",
    "/api/v1/dcl/views/{entity}/changes",
    "/api/v1/dcl/graph",
    "/api/v1/dcl/query",
    "/api/v1/dcl/matches",
    "/api/v1/dcl/matches/{id}/merge",
    "/api/v1/dcl/matches/{id}/unmerge",
    "/api/v1/dcl/views/{entity}/rules",
    "/api/v1/aam/quarantine",
    "/api/v1/aam/repairs/{id}/dry-run",
    "/api/v1/aam/syncs",
    "/api/v1/aam/syncs/{id}",
];
/// Routes about a projection that the path names.
const PROJECTIONS: &[&str] = &[
    "/api/v1/ops/projections/{name}/rebuild",
    "/api/v1/ops/projections/{name}/rebuild/pause",
    "/api/v1/ops/projections/{name}/rebuild/resume",
    "/api/v1/ops/projections/{name}/pause",
    "/api/v1/ops/projections/{name}/resume",
    "/api/v1/ops/projections/{name}/skip",
];

/// The way to the other nodes.
pub(crate) struct Forwarder {
    leases: Leases,
    secret: String,
    client: Option<reqwest::Client>,
}

impl Forwarder {
    pub(super) fn new(nodes: &Nodes) -> Self {
        autonomos_objects::provider_install();
        let client = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_IN)
            .read_timeout(PAUSE)
            .build()
            .inspect_err(|error| tracing::error!(%error, "requests cannot be passed on to other nodes"));
        Self { leases: nodes.leases.clone(), secret: nodes.secret.clone(), client: client.ok() }
    }

    /// Whether another node of this installation passed the request on.
    pub(super) fn sent(&self, headers: &HeaderMap) -> bool {
        // Compared as hashes: in the same time, whatever was guessed.
        headers
            .get(&FORWARDED)
            .is_some_and(|said| blake3::hash(said.as_bytes()) == blake3::hash(self.secret.as_bytes()))
    }

    /// Who keeps each cell of a projection right now.
    pub(super) async fn keepers(&self, projection: &str) -> Result<BTreeMap<u16, Holder>, ApiError> {
        let held = self.leases.held(&runtime::lease_prefix(projection)).await.map_err(|error| {
            let mut problem = nobody(projection);
            problem.context = Some(error.to_string());
            problem
        })?;
        let cell = |(name, holder): (String, Holder)| Some((name.parse().ok()?, holder));
        Ok(held.into_iter().filter_map(cell).collect())
    }

    /// Waits until a lease is another one's than its holder's.
    async fn replaced(&self, projection: &str, cell: u16, holder: &Holder) {
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.leases.holder(&runtime::lease_name(projection, cell)).await;
            if now.is_ok_and(|now| now.as_ref() != Some(holder)) {
                return;
            }
        }
    }

    async fn pass_on(
        &self,
        projection: &str,
        cell: u16,
        request: Request,
        limit: usize,
    ) -> Result<Response, ApiError> {
        let holder = self.leases.holder(&runtime::lease_name(projection, cell)).await.map_err(|error| {
            let mut problem = nobody(projection);
            problem.context = Some(error.to_string());
            problem
        })?;
        // It may be this node, which is not ready yet: it would answer itself for ever.
        let Some(holder) = holder.filter(|holder| holder.owner != self.leases.owner()) else {
            return Err(nobody(projection));
        };
        let (parts, body) = request.into_parts();
        let body = buffered(&parts.headers, body, limit).await?;
        self.send(projection, cell, &holder, &parts, body).await
    }

    /// Sends a request to the keeper of a cell, as its caller would, and answers what that one does.
    pub(super) async fn send(
        &self,
        projection: &str,
        cell: u16,
        holder: &Holder,
        parts: &Parts,
        body: Bytes,
    ) -> Result<Response, ApiError> {
        let client = self.client.as_ref().ok_or_else(|| nobody(projection))?;
        let place = parts.uri.path_and_query().map_or("/", |place| place.as_str());
        let url = format!("{}{place}", holder.address.trim_end_matches('/'));
        let mut sent = client.request(parts.method.clone(), url);
        for (name, value) in &parts.headers {
            if !is_of_one_hop(name) && name != FORWARDED {
                sent = sent.header(name, value);
            }
        }
        let sent = sent.header(&FORWARDED, &self.secret).body(body).send();
        let answer = tokio::select! {
            answer = sent => answer.map_err(|error| silent(projection, &error.without_url()))?,
            () = tokio::time::sleep(ANSWER_IN) => return Err(silent(projection, &"no answer in time")),
            // One that stands still keeps its connections: its lease tells.
            () = self.replaced(projection, cell, holder) => {
                return Err(silent(projection, &"it was replaced"));
            }
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = answer.status();
        for (name, value) in answer.headers() {
            if !is_of_one_hop(name) {
                response.headers_mut().append(name, value.clone());
            }
        }
        *response.body_mut() = Body::from_stream(answer.bytes_stream());
        Ok(response)
    }

    /// This process, as leases name it.
    pub(super) fn me(&self) -> &str {
        self.leases.owner()
    }
}

/// The layer. It runs once the caller is known and before anything is remembered on their behalf.
pub(super) async fn forward(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(forwarder) = &app.forwarder else {
        return next.run(request).await;
    };
    let sent = forwarder.sent(request.headers());
    if !app.platform.roles.gateway && !sent {
        let message = "this node answers no clients: ask one with the role `gateway`";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "AOS-0523", message).into_response();
    }
    let (mut parts, body) = request.into_parts();
    let path = parts.extensions.get::<MatchedPath>().map(MatchedPath::as_str).unwrap_or_default();
    if PROJECTIONS.contains(&path) {
        let parameters = RawPathParams::from_request_parts(&mut parts, &()).await.ok();
        let named = |parameters: RawPathParams| {
            parameters.iter().find(|(name, _)| *name == "name").map(|(_, name)| name.to_owned())
        };
        let request = Request::from_parts(parts, body);
        return match parameters.and_then(named) {
            Some(projection) => fan_out::order(&app, forwarder, &projection, request, next, sent).await,
            None => next.run(request).await,
        };
    }
    // Without a caller there is nothing to be read, here or elsewhere.
    let caller = parts.extensions.get::<Caller>().filter(|_| VIEWS.contains(&path));
    let cell = caller.map(|caller| app.cell(caller));
    let request = Request::from_parts(parts, body);
    let elsewhere = cell.filter(|cell| app.platform.projections.is_elsewhere(runtime::DCL, *cell));
    let Some(cell) = elsewhere else {
        return next.run(request).await;
    };
    if sent {
        return nobody(runtime::DCL).into_response();
    }
    let limit = app.config.body_max_bytes;
    let passed = forwarder.pass_on(runtime::DCL, cell, request, limit).await;
    passed.unwrap_or_else(IntoResponse::into_response)
}

/// Not passed on: about this connection alone, or said anew by the next one.
fn is_of_one_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "host"
            | "connection"
            | "keep-alive"
            | "upgrade"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "content-length"
            | "accept-encoding"
    )
}

pub(super) fn nobody(projection: &str) -> ApiError {
    let message = format!("no node keeps `{projection}` right now: the next one is catching up");
    let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "AOS-0521", message);
    error.retry_after = Some(1);
    error
}

fn silent(projection: &str, reason: &dyn std::fmt::Display) -> ApiError {
    let message = format!("the node that keeps `{projection}` does not answer");
    let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "AOS-0522", message);
    error.retry_after = Some(1);
    error.context = Some(reason.to_string());
    error
}

#[cfg(test)]
mod tests {
    use super::{PROJECTIONS, VIEWS};

    #[test]
    fn every_route_that_is_passed_on_exists() {
        let document = crate::http::document();
        for path in VIEWS.iter().chain(PROJECTIONS) {
            assert!(document["paths"].get(path).is_some(), "`{path}` is not a route");
        }
    }

    /// A route that reads the unified views and is not passed on answers on their owner alone.
    #[test]
    fn every_route_of_the_views_is_passed_on() {
        // Answered from the log and the read models, which every node has.
        const HERE: &[&str] = &["/api/v1/dcl/ontology"];
        let document = crate::http::document();
        let paths = document["paths"].as_object().expect("paths");
        for path in paths.keys().filter(|path| path.starts_with("/api/v1/dcl/")) {
            let is_known = VIEWS.contains(&path.as_str()) || HERE.contains(&path.as_str());
            assert!(is_known, "say of `{path}` whether it is answered from the unified views");
        }
    }
}
