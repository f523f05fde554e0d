//! HTTP: the routes, the layers around them, and the OpenAPI document made from both.

mod auth;
pub mod events;
mod identity;
mod layers;
mod problem;
mod respond;
mod screen;
pub mod state;

use axum::{Json, Router, extract::State, http::StatusCode, middleware, response::IntoResponse, routing::get};
use serde_json::json;
use state::App;
use tower_http::{
    catch_panic::CatchPanicLayer, compression::CompressionLayer, limit::RequestBodyLimitLayer,
    trace::TraceLayer,
};
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
    OpenApiRouter::new().merge(auth::routes()).merge(events::routes())
}

fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(Document::openapi()).nest("/api/v1", api())
}

/// The OpenAPI document of this build.
pub fn document() -> utoipa::openapi::OpenApi {
    documented().split_for_parts().1
}

/// The whole service.
pub fn router(app: App) -> Router {
    let (routes, document) = documented().split_for_parts();
    let limited = routes
        .layer(middleware::from_fn_with_state(app.clone(), layers::idempotency))
        .layer(middleware::from_fn_with_state(app.clone(), layers::authenticate))
        .layer(RequestBodyLimitLayer::new(app.config.body_max_bytes));
    Router::new()
        .merge(limited)
        .merge(SwaggerUi::new("/api/docs").url("/api/openapi.json", document))
        .route("/healthz", get(health))
        .route("/readyz", get(ready))
        .route("/.well-known/jwks.json", get(jwks))
        .fallback(screen::serve)
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

/// It can do its work: the log takes writes and the projections follow it.
async fn ready(State(app): State<App>) -> impl IntoResponse {
    use autonomos_log::port::EventLog as _;
    let stopped = app.platform.log.stopped(0);
    let status = if stopped.is_some() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(json!({ "ready": stopped.is_none(), "writers_stopped": stopped })))
}

async fn jwks(State(app): State<App>) -> impl IntoResponse {
    Json(app.platform.auth.jwks())
}
