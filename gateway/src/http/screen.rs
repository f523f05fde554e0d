//! The screen, built into the binary, and the pages that problem documents point to.

use super::problem::ApiError;
use axum::{
    body::Body,
    extract::Path,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::{EmbeddedFile, RustEmbed};

#[derive(RustEmbed)]
#[folder = "../frontend/dist"]
struct Screen;

#[derive(RustEmbed)]
#[folder = "../docs/errors"]
struct ErrorPages;

const INDEX: &str = "index.html";

/// A file of the screen; any other path is a page of it, which its own router knows.
pub(super) async fn serve(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let path = uri.path().trim_start_matches('/');
    if path == "api" || path.starts_with("api/") || path.starts_with(".well-known/") {
        let message = format!("there is no `{method} /{}`", path.chars().take(200).collect::<String>());
        return ApiError::new(StatusCode::NOT_FOUND, "AOS-0516", message).into_response();
    }
    if method != Method::GET && method != Method::HEAD {
        return method_not_allowed().await;
    }
    let hidden = path.split('/').any(|part| part.starts_with('.'));
    if !hidden && let Some(file) = Screen::get(path) {
        return answer(path, &file, &headers);
    }
    // A missing script must not be answered with a page: the browser would run it.
    if hidden || path.starts_with("assets/") {
        return StatusCode::NOT_FOUND.into_response();
    }
    match Screen::get(INDEX) {
        Some(file) => answer(INDEX, &file, &headers),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The page about an error code.
pub(super) async fn error_page(Path(code): Path<String>) -> Response {
    match ErrorPages::get(&format!("{code}.md")) {
        Some(file) => {
            let kind = [(header::CONTENT_TYPE, "text/markdown; charset=utf-8")];
            (kind, file.data.into_owned()).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// The path is there, for other methods.
pub(super) async fn method_not_allowed() -> Response {
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "AOS-0517", "the path does not take this method")
        .into_response()
}

fn answer(path: &str, file: &EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = format!("\"{}\"", hex::encode(&file.metadata.sha256_hash()[..16]));
    // Names in `assets/` carry a hash of their content.
    let caching =
        if path.starts_with("assets/") { "public, max-age=31536000, immutable" } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let unchanged =
        known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut response = if unchanged {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let mut response = Response::new(Body::from(file.data.clone().into_owned()));
        let kind = mime_guess::from_path(path).first_or_octet_stream();
        if let Ok(value) = HeaderValue::from_str(kind.as_ref()) {
            response.headers_mut().insert(header::CONTENT_TYPE, value);
        }
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}
