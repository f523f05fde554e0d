//! One request to a language model's server: bounded in size, no redirect followed, and no text of the
//! server's kept of a failure.

use super::ModelError;
use bytes::{Bytes, BytesMut};
use reqwest::{
    Client, Request, Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use serde_json::Value;
use std::time::Duration;

/// Answers are short: more than this is none.
const MOST_BYTES: usize = 1024 * 1024;
/// A server is not waited for longer, whatever it asks.
const MOST_WAIT: Duration = Duration::from_hours(1);

#[derive(Clone)]
pub(super) struct Transport {
    http: Client,
}

impl Transport {
    /// The operator's own choice of an address is trusted; where it leads to by redirects is not.
    pub(super) fn new(silence: Duration) -> Result<Self, ModelError> {
        let http = autonomos_connectors::network::operator_http(silence).build();
        let http = http.map_err(|_| unavailable("no client could be made"))?;
        Ok(Self { http })
    }

    pub(super) const fn http(&self) -> &Client {
        &self.http
    }

    /// The body of an answer, which is JSON.
    pub(super) async fn send(&self, request: Request) -> Result<Bytes, ModelError> {
        let mut response = self.http.execute(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let wait = retry_after(response.headers());
        let body = read(&mut response).await;
        if status.is_success() {
            let body = body?;
            return match serde_json::from_slice::<Value>(&body) {
                Ok(_) => Ok(body),
                Err(_) => Err(unavailable("its answer is not JSON")),
            };
        }
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => ModelError::RateLimited { wait },
            StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => ModelError::TimedOut,
            StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => ModelError::RateLimited { wait },
            status if status.is_server_error() => unavailable(&format!("it answered {}", status.as_u16())),
            status => ModelError::Refused {
                status: status.as_u16(),
                kind: body.map(|body| kind_of(&body)).unwrap_or_default(),
            },
        })
    }
}

pub(super) fn unavailable(reason: &str) -> ModelError {
    ModelError::Unavailable { reason: reason.to_owned() }
}

fn failed(error: &reqwest::Error) -> ModelError {
    if error.is_timeout() {
        return ModelError::TimedOut;
    }
    unavailable(if error.is_connect() { "no connection" } else { "the connection broke off" })
}

async fn read(response: &mut Response) -> Result<Bytes, ModelError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failed(&error))? {
        if body.len() + chunk.len() > MOST_BYTES {
            return Err(unavailable("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Seconds, as servers of language models write it, with parts of them.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: f64 = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0)
        .then(|| Duration::from_secs_f64(seconds.min(MOST_WAIT.as_secs_f64())))
}

/// The word by which a server names a refusal; letters alone, for a key has others too.
fn kind_of(body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = if body.is_array() { &body[0]["error"] } else { &body["error"] };
    ["code", "type", "status"]
        .iter()
        .filter_map(|name| error[*name].as_str())
        .find(|word| {
            (1..=40).contains(&word.len())
                && word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        })
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_refusals_name_is_kept() {
        for (body, kind) in [
            (r#"{"error":{"code":"invalid_api_key","message":"Incorrect key sk-12ab"}}"#, "invalid_api_key"),
            (r#"{"error":{"code":400,"status":"INVALID_ARGUMENT"}}"#, "INVALID_ARGUMENT"),
            (r#"[{"error":{"code":"sk-12ab"}}]"#, ""),
            ("no json", ""),
        ] {
            assert_eq!(kind_of(body.as_bytes()), kind, "{body}");
        }
    }

    #[test]
    fn what_a_server_asks_to_wait_is_bounded() {
        for (text, expect) in [
            ("2", Some(Duration::from_secs(2))),
            ("0.5", Some(Duration::from_millis(500))),
            ("1e9", Some(MOST_WAIT)),
            ("-1", None),
            ("soon", None),
        ] {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a header"))]);
            assert_eq!(retry_after(&headers), expect, "{text}");
        }
    }
}
