//! One connection's requests: signed, within the quota, tried again where that helps.

use super::{
    auth::{self, Token},
    config::SalesforceConfig,
    describe::Object,
    error::{self, Refused},
};
use crate::{error::ConnectorError, network::NetworkScope, requests::Requests};
use chrono::{DateTime, Utc};
use moka::sync::Cache;
use parking_lot::Mutex;
use rand::Rng;
use reqwest::{
    Client, Method, Response,
    header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// How often one thing is tried at most.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(150);
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Descriptions that a discovery leaves for the reads which follow it, and for how long: what changes
/// meanwhile is noticed by the read after.
const DESCRIBED: u64 = 1_000;
const DESCRIBED_FOR: Duration = Duration::from_mins(1);
/// What is read of an answer that is not a success.
const ERROR_BYTES: usize = 64 * 1024;

/// Requests of the organisation in the last 24 hours, by whomever, and how many it may make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) used: u64,
    pub(super) allowed: u64,
}

/// What a request ended in.
pub(super) type Asked<T> = Result<T, Refused>;

impl From<ConnectorError> for Refused {
    fn from(error: ConnectorError) -> Self {
        Self { code: String::new(), error }
    }
}

impl From<Refused> for ConnectorError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// A connection's way to its organisation; cheap to clone.
#[derive(Clone)]
pub(super) struct Session(Arc<Inner>, Requests);

struct Inner {
    config: SalesforceConfig,
    network: NetworkScope,
    http: Client,
    /// The token in use, or the one attempt to get one that all wait for who need it.
    token: Mutex<Arc<OnceCell<Arc<Token>>>>,
    described: Cache<String, Object>,
    usage: Mutex<Option<Usage>>,
    /// Salesforce's clock, as of its last answer.
    clock: Mutex<Option<DateTime<Utc>>>,
}

impl Session {
    pub(super) fn new(
        config: SalesforceConfig,
        network: NetworkScope,
        silence: Duration,
    ) -> Result<Self, ConnectorError> {
        let http = network
            .http(silence)
            .build()
            .map_err(|cause| error::configuration("", format!("no HTTP client: {cause}")))?;
        let inner = Inner {
            config,
            network,
            http,
            token: Mutex::default(),
            described: Cache::builder().max_capacity(DESCRIBED).time_to_live(DESCRIBED_FOR).build(),
            usage: Mutex::default(),
            clock: Mutex::default(),
        };
        Ok(Self(Arc::new(inner), Requests::default()))
    }

    /// The same, its requests taken from those.
    pub(super) fn counting(self, requests: Requests) -> Self {
        Self(self.0, requests)
    }

    pub(super) fn config(&self) -> &SalesforceConfig {
        &self.0.config
    }

    pub(super) fn usage(&self) -> Option<Usage> {
        *self.0.usage.lock()
    }

    pub(super) fn clock(&self) -> Option<DateTime<Utc>> {
        *self.0.clock.lock()
    }

    /// `/services/data/v62.0/…`
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/services/data/v{}/{rest}", self.config().api_version)
    }

    /// What a discovery by this connection said of its objects a moment ago.
    pub(super) fn described(&self) -> &Cache<String, Object> {
        &self.0.described
    }

    /// The token in use; made if there is none, or if it is still the one that `refused` is.
    pub(super) async fn token(&self, refused: Option<&Arc<Token>>) -> Result<Arc<Token>, ConnectorError> {
        let cell = {
            let mut held = self.0.token.lock();
            let used = held.get().zip(refused);
            if used.is_some_and(|(token, refused)| Arc::ptr_eq(token, refused)) {
                *held = Arc::default();
            }
            Arc::clone(&held)
        };
        cell.get_or_try_init(|| self.mint()).await.cloned()
    }

    async fn mint(&self) -> Result<Arc<Token>, ConnectorError> {
        let login = &self.config().login_url;
        self.0.network.reachable(login, "/login_url").await?;
        let mut tries = Tries::default();
        let token = loop {
            self.1.take()?;
            match auth::mint(&self.0.http, login, &self.config().auth).await {
                Ok(token) => break token,
                Err(cause) => tries.again(cause).await?,
            }
        };
        // The answer names the host that all else is asked of.
        self.0.network.reachable(&token.instance, "/login_url").await?;
        Ok(Arc::new(token))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Asked<T> {
        let response = self.send(Method::GET, path, None, "application/json").await?;
        self.read(response).await
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Asked<T> {
        let response = self.send(Method::POST, path, Some(body), "application/json").await?;
        self.read(response).await
    }

    async fn read<T: DeserializeOwned>(&self, response: Response) -> Asked<T> {
        let host = response.url().host_str().unwrap_or_default().to_owned();
        let bytes = response.bytes().await.map_err(|cause| broken(&host, &cause))?;
        serde_json::from_slice(&bytes).map_err(|cause| {
            // The text may quote a record.
            let place = format!("line {} column {}", cause.line(), cause.column());
            error::unreadable(format!("an answer of Salesforce cannot be read at {place}")).into()
        })
    }

    /// Sends a request until it is answered with success, or in a way that no repetition changes.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: &str,
    ) -> Asked<Response> {
        let mut token = self.token(None).await?;
        let mut signed_again = false;
        let mut tries = Tries::default();
        loop {
            self.within_share()?;
            self.1.take()?;
            match self.once(&token, method.clone(), path, body, accept).await {
                Ok(response) => return Ok(response),
                Err(refused) if refused.code == "INVALID_SESSION_ID" && !signed_again => {
                    signed_again = true;
                    token = self.token(Some(&token)).await?;
                }
                Err(Refused { code, error }) => {
                    tries.again(error).await.map_err(|error| Refused { code, error })?;
                }
            }
        }
    }

    async fn once(
        &self,
        token: &Token,
        method: Method,
        path: &str,
        body: Option<&Value>,
        accept: &str,
    ) -> Asked<Response> {
        let host = token.instance.host_str().unwrap_or_default();
        // A path alone: what an answer names as the next page never leads to another host.
        let url = token
            .instance
            .join(path)
            .ok()
            .filter(|url| path.starts_with('/') && url.origin() == token.instance.origin())
            .ok_or_else(|| error::unreadable("Salesforce names a page that is not its own"))?;
        let mut request = self.0.http.request(method, url).bearer_auth(&token.access).header(ACCEPT, accept);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
        }
        let response = request.send().await.map_err(|cause| broken(host, &cause))?;
        self.note(&response);
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            return Err(error::configuration(
                "/login_url",
                format!("`{host}` has moved: use the organisation's My Domain"),
            )
            .into());
        }
        let retry_after = retry_after(&response);
        let mut bytes = response.bytes().await.map_err(|cause| broken(host, &cause))?;
        bytes.truncate(ERROR_BYTES);
        Err(error::answered(status.as_u16(), retry_after, &bytes))
    }

    /// Keeps what an answer says of the quota and of the time.
    fn note(&self, response: &Response) {
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        if let Some(usage) = header("sforce-limit-info").and_then(usage_of) {
            *self.0.usage.lock() = Some(usage);
        }
        let said = header(DATE.as_str()).and_then(|date| DateTime::parse_from_rfc2822(date).ok());
        if let Some(said) = said {
            *self.0.clock.lock() = Some(said.to_utc());
        }
    }

    /// Nothing is asked once the connection's share of the quota is used.
    fn within_share(&self) -> Result<(), ConnectorError> {
        let Some(usage) = self.usage() else { return Ok(()) };
        let most = usage.allowed as f64 * self.config().api_share;
        if usage.allowed == 0 || (usage.used as f64) < most {
            return Ok(());
        }
        Err(error::share_used(format!(
            "{} of the organisation's {} requests of a day are used: this connection stops at {most:.0}, which `api_share` says",
            usage.used, usage.allowed
        )))
    }
}

/// `api-usage=18/15000; per-app-api-usage=…`
fn usage_of(header: &str) -> Option<Usage> {
    let own = header.split([';', ',']).map(str::trim).find_map(|part| part.strip_prefix("api-usage="))?;
    let (used, allowed) = own.split_once('/')?;
    Some(Usage { used: used.trim().parse().ok()?, allowed: allowed.trim().parse().ok()? })
}

pub(super) fn retry_after(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// A connection that did not come about, broke, or fell silent. Without the address: it holds the query.
pub(super) fn broken(host: &str, cause: &reqwest::Error) -> ConnectorError {
    if cause.is_connect() {
        // What lies below says whether a name was not found or the encryption failed.
        let mut deepest: &dyn std::error::Error = cause;
        while let Some(below) = deepest.source() {
            deepest = below;
        }
        return error::unreachable(host, deepest);
    }
    let what = if cause.is_timeout() { "fell silent" } else { "broke" };
    error::transient(format!("the connection to `{host}` {what}"))
}

/// The tries of one thing.
#[derive(Default)]
pub(super) struct Tries(u32);

impl Tries {
    /// Waits before the next try; the cause, if it does not pass by itself or there were enough of them.
    pub(super) async fn again(&mut self, cause: ConnectorError) -> Result<(), ConnectorError> {
        if !matches!(cause, ConnectorError::Transient { .. }) || self.0 + 1 >= TRIES {
            return Err(cause);
        }
        self.0 += 1;
        tokio::time::sleep(wait(self.0)).await;
        Ok(())
    }
}

/// Before something is tried again: longer each time, and never the same for two.
fn wait(tried: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << tried.min(10)).min(LONGEST_WAIT);
    longest.mul_f64(rand::rng().random_range(0.5..1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quota_is_read_beside_other_usage() {
        let usage = |used, allowed| Some(Usage { used, allowed });
        assert_eq!(usage_of("api-usage=18/15000"), usage(18, 15_000));
        assert_eq!(usage_of("per-app-api-usage=17/250(appName=x); api-usage=25/5000"), usage(25, 5_000));
        assert_eq!(usage_of("api-usage=many"), None);
        assert!(wait(1) < wait(9));
    }
}
