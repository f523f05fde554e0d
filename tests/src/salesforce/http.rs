//! What is asked and answered over HTTP.

use super::{
    CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, USER,
    org::{Org, Refusal, millis},
    soql::Query,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

type Shared = Arc<Mutex<Org>>;

/// An address and its headers may have so many bytes.
const ADDRESS_BYTES: usize = 16_384;

pub(super) fn router(org: Shared) -> Router {
    Router::new().fallback(answer).with_state(org)
}

fn parameters(text: &str) -> BTreeMap<String, String> {
    let url = reqwest::Url::parse(&format!("http://x/?{text}")).expect("parameters");
    url.query_pairs().into_owned().collect()
}

async fn answer(
    State(org): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let path = uri.path().to_owned();
    let hangs = org.lock().knobs.hang.as_ref().is_some_and(|part| path.contains(part.as_str()));
    if hangs {
        std::future::pending::<()>().await;
    }
    let mut org = org.lock();
    if path == "/services/oauth2/token" {
        return token(&mut org, &parameters(&String::from_utf8_lossy(&body)));
    }
    let mut response = data(&mut org, &method, &uri, &headers, &body);
    let allowed = org.knobs.quota.unwrap_or(15_000);
    let info = format!("api-usage={}/{allowed}", org.used);
    response.headers_mut().insert("sforce-limit-info", HeaderValue::from_str(&info).expect("a header"));
    response
}

fn token(org: &mut Org, given: &BTreeMap<String, String>) -> Response {
    let refuse = |error: &str, description: &str| {
        let body = json!({ "error": error, "error_description": description });
        (StatusCode::BAD_REQUEST, axum::Json(body)).into_response()
    };
    let of = |name: &str| given.get(name).map(String::as_str).unwrap_or_default();
    let grant = of("grant_type").to_owned();
    org.grants.push(grant.clone());
    match grant.as_str() {
        "refresh_token" if of("client_id") != CLIENT_ID => {
            return refuse("invalid_client_id", "client identifier invalid");
        }
        "refresh_token" if of("refresh_token") != REFRESH_TOKEN => {
            return refuse("invalid_grant", "expired access/refresh token");
        }
        "client_credentials" if (of("client_id"), of("client_secret")) != (CLIENT_ID, CLIENT_SECRET) => {
            return refuse("invalid_client", "invalid client credentials");
        }
        "refresh_token" | "client_credentials" => {}
        "urn:ietf:params:oauth:grant-type:jwt-bearer" => {
            let key = org.public_key.as_deref().unwrap_or_default();
            let Ok(key) = DecodingKey::from_rsa_pem(key.as_bytes()) else {
                return refuse("invalid_grant", "no certificate");
            };
            let mut validation = Validation::new(Algorithm::RS256);
            validation.set_audience(&[&org.url]);
            validation.set_issuer(&[CLIENT_ID]);
            let claims = jsonwebtoken::decode::<Value>(of("assertion"), &key, &validation);
            if !claims.is_ok_and(|token| token.claims["sub"] == USER) {
                return refuse("invalid_grant", "invalid assertion");
            }
        }
        _ => return refuse("unsupported_grant_type", "grant type not supported"),
    }
    let access = format!("00Dx0000000BV7z!session-{}", org.serial());
    let requests = org.knobs.session_requests.unwrap_or(u64::MAX);
    org.sessions.insert(access.clone(), requests);
    let answer = json!({
        "id": "https://login.salesforce.com/id/00Dx0000000BV7z/005x00000012Q9P", "issued_at": "1278448832702",
        "instance_url": org.url, "signature": "0CmxinZir53Yex7nE0TD", "access_token": access
    });
    axum::Json(answer).into_response()
}

fn refuse(status: u16, code: &str, message: &str) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, axum::Json(json!([{ "message": message, "errorCode": code }]))).into_response()
}

fn data(org: &mut Org, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> Response {
    let path = uri.path();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if uri.to_string().len() + bytes > ADDRESS_BYTES {
        return refuse(431, "REQUEST_HEADER_FIELDS_TOO_LARGE", "the address and its headers are too long");
    }
    if path.trim_end_matches('/') == "/services/data" {
        return axum::Json(json!([
            { "version": "20.0", "url": "/services/data/v20.0", "label": "Winter '11" },
            { "version": "62.0", "url": "/services/data/v62.0", "label": "Winter '25" }
        ]))
        .into_response();
    }
    let access = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match org.sessions.get_mut(access.trim_start_matches("Bearer ")) {
        Some(left) if *left > 0 => *left -= 1,
        _ => return refuse(401, "INVALID_SESSION_ID", "Session expired or invalid"),
    }
    org.called(path);
    if let Some(every) = org.knobs.error_every
        && org.used.is_multiple_of(every)
    {
        return refuse(503, "SERVER_UNAVAILABLE", "Server unavailable");
    }
    let refusal = org.knobs.refusals.iter_mut().find(|one| one.times > 0 && path.contains(one.path));
    if let Some(Refusal { status, code, retry_after, times, .. }) = refusal {
        *times -= 1;
        let mut response = refuse(*status, code, "refused");
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
        }
        return response;
    }
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let given = parameters(uri.query().unwrap_or_default());
    let not_found = || refuse(404, "NOT_FOUND", "The requested resource does not exist");
    let told = |value: Option<Value>| value.map_or_else(not_found, |value| axum::Json(value).into_response());
    match (method, parts.get(3..).unwrap_or_default()) {
        (&Method::GET, ["sobjects"]) => told(Some(org.describe_all())),
        (&Method::GET, ["sobjects", name, "describe"]) => told(org.describe(name)),
        (&Method::GET, ["sobjects", name, "deleted"]) => told(listed(org, name, true, &given)),
        (&Method::GET, ["sobjects", name, "updated"]) => told(listed(org, name, false, &given)),
        (&Method::GET, ["limits"]) => {
            let allowed = org.knobs.quota.unwrap_or(15_000);
            let left = allowed.saturating_sub(org.used);
            told(Some(json!({ "DailyApiRequests": { "Max": allowed, "Remaining": left } })))
        }
        (&Method::GET, [kind @ ("query" | "queryAll"), rest @ ..]) => {
            let text = given.get("q").map(String::as_str).unwrap_or_default();
            match rest.first().filter(|locator| !locator.is_empty()) {
                Some(locator) => next(org, kind, locator),
                None => first(org, kind, text),
            }
        }
        (&Method::POST, ["jobs", "query"]) => {
            let body: Value = serde_json::from_slice(body).unwrap_or_default();
            match org.job_create(&body) {
                Ok(job) => axum::Json(job).into_response(),
                Err((code, message)) => refuse(400, code, &message),
            }
        }
        (&Method::GET, ["jobs", "query", id]) => told(org.job_look(id)),
        (&Method::GET, ["jobs", "query", id, "results"]) => {
            let most = given.get("maxRecords").and_then(|most| most.parse().ok()).unwrap_or(usize::MAX);
            match org.job_page(id, given.get("locator").map(String::as_str), most) {
                Some((text, locator, count)) => results(org, text, &locator, count),
                None => not_found(),
            }
        }
        _ => not_found(),
    }
}

fn listed(org: &Org, name: &str, deleted: bool, given: &BTreeMap<String, String>) -> Option<Value> {
    org.listed(name, deleted, millis(given.get("start")?)?, millis(given.get("end")?)?)
}

fn results(org: &mut Org, text: String, locator: &str, count: usize) -> Response {
    let body = if org.knobs.cut_results > 0 {
        org.knobs.cut_results -= 1;
        let half: String = text.chars().take(text.chars().count() / 2).collect();
        Body::from(half)
    } else {
        Body::from(text)
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv"));
    headers.insert("sforce-locator", HeaderValue::from_str(locator).expect("a header"));
    headers.insert("sforce-numberofrecords", count.into());
    response
}

/// The first page of a query.
fn first(org: &mut Org, kind: &str, text: &str) -> Response {
    let query = match Query::parse(text, org) {
        Ok(query) => query,
        Err((code, message)) => return refuse(400, code, &message),
    };
    let found = query.run(&org.objects[&query.object], kind == "queryAll");
    let total = found.len() as u64;
    if query.fields.is_empty() {
        return axum::Json(json!({ "totalSize": total, "done": true, "records": [] })).into_response();
    }
    let shown = |record: &&super::Record| {
        let id = record["Id"].as_str().unwrap_or_default();
        let url = format!("/services/data/v62.0/sobjects/{}/{id}", query.object);
        let mut told = json!({ "attributes": { "type": query.object, "url": url } });
        for field in &query.fields {
            told[field] = record[field].clone();
        }
        told
    };
    let records: Vec<Value> = found.iter().map(shown).collect();
    page(org, kind, total, records)
}

/// A page, and where the next one is.
fn page(org: &mut Org, kind: &str, total: u64, mut records: Vec<Value>) -> Response {
    let size = org.knobs.page.unwrap_or(2_000);
    let rest = if records.len() > size { records.split_off(size) } else { Vec::new() };
    let mut told = json!({ "totalSize": total, "done": rest.is_empty(), "records": records });
    if !rest.is_empty() {
        let locator = format!("01g{:015}-{size}", org.serial());
        told["nextRecordsUrl"] = json!(format!("/services/data/v62.0/{kind}/{locator}"));
        org.pages.insert(locator, (total, rest));
    }
    axum::Json(told).into_response()
}

fn next(org: &mut Org, kind: &str, locator: &str) -> Response {
    match org.pages.remove(locator) {
        Some((total, records)) => page(org, kind, total, records),
        None => refuse(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
    }
}
