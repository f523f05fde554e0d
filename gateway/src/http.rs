//! HTTP: the routes, the layers around them, and the OpenAPI document made from both.

mod auth;
mod backtests;
mod connections;
mod document;
mod drift;
mod dry_runs;
pub(crate) mod events;
mod exports;
mod extract;
mod fan_out;
mod forward;
mod graph;
mod history;
mod idempotency;
mod identity;
mod layers;
mod limits;
mod llm;
mod mappings;
mod matches;
mod ops;
mod policies;
mod problem;
mod quarantine;
mod query;
mod repairs;
mod respond;
mod rules;
mod schedules;
mod screen;
mod settings;
pub(crate) mod state;
mod syncs;
mod tasks;
mod uploads;
mod views;

use axum::{
    Json, Router, extract::State, http::StatusCode, middleware, response::IntoResponse, routing::get,
};
use serde_json::{Value, json};
use state::App;
use tower_http::{catch_panic::CatchPanicLayer, compression::CompressionLayer, trace::TraceLayer};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_swagger_ui::SwaggerUi;

/// The frame of the OpenAPI document; the paths come from the routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "AutonomOS",
        description = "Connects data sources, repairs mappings when their schemas drift, and keeps one unified view of every business entity.",
        license(name = "Apache-2.0")
    ),
    modifiers(&Bearer),
    security(("bearer" = []))
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_with(Default::default);
        components.add_security_scheme("bearer", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// All routes of version 1, with their documentation.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(auth::routes())
        .merge(connections::routes())
        .merge(syncs::routes())
        .merge(drift::routes())
        .merge(mappings::routes())
        .merge(repairs::routes())
        .merge(dry_runs::routes())
        .merge(backtests::routes())
        .merge(quarantine::routes())
        .merge(uploads::routes())
        .merge(rules::routes())
        .merge(settings::routes())
        .merge(policies::routes())
        .merge(llm::routes())
        .merge(views::routes())
        .merge(exports::routes())
        .merge(matches::routes())
        .merge(graph::routes())
        .merge(query::routes())
        .merge(tasks::routes())
        .merge(schedules::routes())
        .merge(events::routes())
        .merge(history::routes())
        .merge(ops::routes())
}

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", api())
}

/// The OpenAPI document of this build.
pub fn document() -> Value {
    document::complete(&documented().split_for_parts().1)
}

/// The whole service.
pub(crate) fn router(app: App) -> Router {
    let (routes, _) = documented().split_for_parts();
    let limited = routes
        .method_not_allowed_fallback(screen::method_not_allowed)
        .layer(middleware::from_fn_with_state(app.clone(), layers::idempotency))
        .layer(middleware::from_fn_with_state(app.clone(), forward::forward))
        .layer(middleware::from_fn_with_state(app.clone(), layers::authenticate))
        // Handlers read bodies through `extract`, which has limits of its own.
        .layer(axum::extract::DefaultBodyLimit::disable());
    let metrics = ops::recorder();
    let mut service = Router::new()
        .merge(limited)
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/metrics", get(move || async move { metrics.render() }));
    if app.platform.roles.gateway {
        service = service
            .route("/.well-known/jwks.json", get(jwks))
            .route("/docs/errors/{code}", get(screen::error_page));
    }
    service = service.layer(middleware::from_fn(layers::measured));
    if app.platform.roles.gateway {
        service = service
            .merge(SwaggerUi::new("/api/docs").external_url_unchecked("/api/openapi.json", document()))
            .fallback(screen::serve);
    }
    service
        .layer(middleware::from_fn(layers::security_headers))
        .layer(CompressionLayer::new())
        .layer(CatchPanicLayer::custom(layers::panicked))
        .layer(TraceLayer::new_for_http())
        .with_state(app)
}

/// The process runs.
async fn health() -> impl IntoResponse {
    Json(json!({ "status": "ok" }))
}

/// It can do its work: the log takes writes, and every projection follows it. Why it cannot is for
/// the operator, on the command line: this page is open to all.
async fn ready(State(app): State<App>) -> impl IntoResponse {
    use autonomos_projections::runtime::ProjectorStatus;
    let log = &app.platform.log;
    let stopped = (0..log.cells()).any(|cell| log.stopped(cell).is_some());
    let following = match app.platform.projections.status().await {
        Ok(states) => states
            .iter()
            .all(|state| !matches!(state.status, ProjectorStatus::RolledBack | ProjectorStatus::Failing)),
        Err(_) => false,
    };
    let ready = !stopped && following;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({ "ready": ready, "writers_stopped": stopped, "projections_follow": following })))
}

async fn jwks(State(app): State<App>) -> impl IntoResponse {
    Json(app.platform.auth.jwks())
}
