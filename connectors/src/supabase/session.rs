//! One connection's requests to PostgREST: signed, tried again where that helps.

use super::{
    config::RestConfig,
    error::{self, Reason, Refused},
};
use crate::{error::ConnectorError, network::NetworkScope, requests::Requests, retry::retried};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Method, Response, Url,
    header::{ACCEPT, AUTHORIZATION, CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// What is held of one answer at most: a page is asked for again in parts if it has more.
const MAX_BYTES: usize = 32 * 1024 * 1024;
/// What is read of an answer that is not a success.
const ERROR_BYTES: usize = 64 * 1024;

const UTC: &str = "timezone=UTC";

/// What a request ended in.
pub(super) type Asked<T> = Result<T, Refused>;

/// An answer, and of how many rows it is a part, where that was asked for.
pub(super) struct Answer {
    pub(super) body: Bytes,
    pub(super) total: Option<u64>,
}

/// A connection's way to its project; cheap to clone.
#[derive(Clone)]
pub(super) struct Session(Arc<Inner>, Requests);

struct Inner {
    config: RestConfig,
    network: NetworkScope,
    http: Client,
    headers: HeaderMap,
    /// Where PostgREST is, once that was found out.
    root: OnceCell<Url>,
}

/// What a key opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// Rows are hidden from it by nothing.
    Service,
    /// Row-level security holds for it.
    Of(String),
    Unknown,
}

/// The role a key is for, as it says itself: the server alone can tell whether that is true.
pub(super) fn role(key: &str) -> Role {
    if key.starts_with("sb_secret_") {
        return Role::Service;
    }
    if key.starts_with("sb_publishable_") {
        return Role::Of("anon".to_owned());
    }
    let claims =
        key.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok());
    let claims: Option<Value> = claims.and_then(|claims| serde_json::from_slice(&claims).ok());
    match claims.as_ref().and_then(|claims| claims["role"].as_str()) {
        Some("service_role") => Role::Service,
        Some(role) => Role::Of(role.chars().take(63).collect()),
        None => Role::Unknown,
    }
}

/// A token in three parts. What is none is sent as a key alone: as a token it would be refused.
fn is_token(key: &str) -> bool {
    key.split('.').count() == 3
}

impl Session {
    pub(super) fn new(
        config: RestConfig,
        network: NetworkScope,
        silence: Duration,
    ) -> Result<Self, ConnectorError> {
        let http = network
            .http(silence)
            .build()
            .map_err(|cause| error::configuration("", format!("no HTTP client: {cause}")))?;
        let secret = |text: String| {
            let value = HeaderValue::try_from(text);
            let mut value =
                value.map_err(|_| error::configuration("/access/api_key", "`api_key` is no key"))?;
            value.set_sensitive(true);
            Ok::<_, ConnectorError>(value)
        };
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("apikey"), secret(config.api_key.clone())?);
        if is_token(&config.api_key) {
            headers.insert(AUTHORIZATION, secret(format!("Bearer {}", config.api_key))?);
        }
        let schema = HeaderValue::try_from(config.schema.as_str())
            .map_err(|_| error::configuration("/access/schema", "`schema` is no name"))?;
        headers.insert(HeaderName::from_static("accept-profile"), schema);
        Ok(Self(
            Arc::new(Inner { config, network, http, headers, root: OnceCell::new() }),
            Requests::default(),
        ))
    }

    /// The same, its requests taken from those.
    pub(super) fn counting(self, requests: Requests) -> Self {
        Self(self.0, requests)
    }

    pub(super) fn config(&self) -> &RestConfig {
        &self.0.config
    }

    pub(super) fn host(&self) -> &str {
        self.config().url.host_str().unwrap_or_default()
    }

    /// Where PostgREST is: under `/rest/v1` of a project, at the root of a server of its own.
    pub(super) async fn root(&self) -> Result<&Url, ConnectorError> {
        self.0.root.get_or_try_init(|| self.look()).await
    }

    async fn look(&self) -> Result<Url, ConnectorError> {
        let given = &self.config().url;
        self.0.network.reachable(given, "/access/url").await?;
        let project = self.host().ends_with(".supabase.co");
        let mut places = Vec::new();
        if given.path() != "/" || !project {
            places.push(given.clone());
        }
        if given.path() == "/" {
            let mut below = given.clone();
            below.set_path("/rest/v1/");
            places.push(below);
        }
        let mut last = None;
        for place in places {
            match retried(|| self.once(Method::GET, place.clone(), "")).await {
                Ok(answer) if is_description(&answer.body) => return Ok(place),
                Ok(_) => last = last.or_else(|| Some(self.not_here())),
                // What answers as PostgREST does is it, whatever it says.
                Err(refused) if refused.reason != Reason::Foreign => return Err(refused.error),
                Err(Refused { error: ConnectorError::Schema { .. }, .. }) => {
                    last = last.or_else(|| Some(self.not_here()));
                }
                // A gateway knows where its services are better than what stands at its root.
                Err(refused) => last = Some(refused.error),
            }
        }
        Err(last.unwrap_or_else(|| self.not_here()))
    }

    fn not_here(&self) -> ConnectorError {
        let message = format!("nothing describes tables there as PostgREST does: `{}`", self.config().url);
        error::configuration("/access/url", message)
    }

    /// The description of the tables, an OpenAPI document.
    pub(super) async fn description(&self) -> Asked<Bytes> {
        let root = self.root().await?.clone();
        Ok(retried(|| self.once(Method::GET, root.clone(), "")).await?.body)
    }

    /// Rows of a table. `prefer`: what is asked for beside them.
    pub(super) async fn rows(&self, table: &str, query: &[(&str, String)], prefer: &str) -> Asked<Answer> {
        let url = self.address(table, query).await?;
        retried(|| self.once(Method::GET, url.clone(), prefer)).await
    }

    /// How many rows a table has, as its server estimates.
    pub(super) async fn estimate(&self, table: &str) -> Asked<Option<u64>> {
        let url = self.address(table, &[("limit", "1".to_owned())]).await?;
        Ok(retried(|| self.once(Method::HEAD, url.clone(), "count=planned")).await?.total)
    }

    async fn address(&self, table: &str, query: &[(&str, String)]) -> Result<Url, ConnectorError> {
        let mut url = self.root().await?.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().push(table);
        }
        if !query.is_empty() {
            let pairs = query.iter().map(|(name, value)| (*name, value.as_str()));
            url.query_pairs_mut().extend_pairs(pairs);
            // A space as what it is everywhere, not only in forms.
            let text = url.query().unwrap_or_default().replace('+', "%20");
            url.set_query(Some(&text));
        }
        Ok(url)
    }

    async fn once(&self, method: Method, url: Url, prefer: &str) -> Asked<Answer> {
        self.1.take()?;
        let request = self
            .0
            .http
            .request(method, url)
            .headers(self.0.headers.clone())
            .header(ACCEPT, "application/json")
            // Times are written at Greenwich where the server knows this preference.
            .header("prefer", if prefer.is_empty() { UTC.to_owned() } else { format!("{UTC}, {prefer}") });
        let response = request.send().await.map_err(|cause| self.broken(&cause))?;
        let status = response.status();
        if status.is_redirection() {
            let message = format!("`{}` has moved: use its new address", self.host());
            let error = error::configuration("/access/url", message);
            return Err(Refused { reason: Reason::Foreign, error });
        }
        let header = |name| response.headers().get(name)?.to_str().ok();
        if status.is_success() {
            // `0-24/3573458`, `*/0`; `*` in place of a number that was not asked for.
            let total = header(CONTENT_RANGE).and_then(|range| range.rsplit('/').next()?.parse().ok());
            return Ok(Answer { body: self.body(response).await?, total });
        }
        let wait = header(RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
        let mut body = self.body(response).await?;
        body.truncate(ERROR_BYTES);
        Err(error::answered(status.as_u16(), wait.map(Duration::from_secs), &body))
    }

    async fn body(&self, mut response: Response) -> Asked<Bytes> {
        let mut body = BytesMut::new();
        while let Some(part) = response.chunk().await.map_err(|cause| self.broken(&cause))? {
            if body.len() + part.len() > MAX_BYTES {
                let message = format!("an answer has more than {} MiB", MAX_BYTES / (1 << 20));
                return Err(Refused { reason: Reason::TooMuch, error: error::unreadable(message) });
            }
            body.extend_from_slice(&part);
        }
        Ok(body.freeze())
    }

    /// A connection that did not come about, broke, or fell silent. Without the address: it holds keys of
    /// rows.
    fn broken(&self, cause: &reqwest::Error) -> ConnectorError {
        if cause.is_connect() {
            // What lies below says whether a name was not found or the encryption failed.
            let mut deepest: &dyn std::error::Error = cause;
            while let Some(below) = deepest.source() {
                deepest = below;
            }
            return error::unreachable(self.host(), deepest);
        }
        let what = if cause.is_timeout() { "fell silent" } else { "broke" };
        error::transient(format!("the connection to `{}` {what}", self.host()))
    }
}

fn is_description(body: &[u8]) -> bool {
    #[derive(serde::Deserialize)]
    struct Described {
        swagger: String,
    }
    serde_json::from_slice::<Described>(body).is_ok_and(|described| described.swagger.starts_with('2'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_whose_it_is() {
        let token = |claims: &str| format!("eyJhbGciOiJIUzI1NiJ9.{}.sig", URL_SAFE_NO_PAD.encode(claims));
        let of = |role: &str| Role::Of(role.to_owned());
        assert_eq!(role(&token(r#"{"role":"service_role","exp":1}"#)), Role::Service);
        assert_eq!(role(&token(r#"{"role":"anon"}"#)), of("anon"));
        assert_eq!(role(&token(r#"{"sub":"x"}"#)), Role::Unknown);
        assert_eq!(role("sb_secret_abc"), Role::Service);
        assert_eq!(role("sb_publishable_abc"), of("anon"));
        assert_eq!(role("whatever"), Role::Unknown);
        assert!(is_token(&token("{}")) && !is_token("sb_secret_abc"));
    }
}
