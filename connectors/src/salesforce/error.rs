//! The Salesforce connector's errors: one constructor per code. Each code has a page in `docs/errors/`.

use crate::error::ConnectorError;
use serde::Deserialize;
use std::{fmt::Display, time::Duration};

/// The code of a row that is longer than a batch can be.
pub(super) const ROW_TOO_LONG: &str = "AOS-0234";
/// The code of a request that was not made because the connection's share of the quota is used.
pub(super) const SHARE_USED: &str = "AOS-0286";
/// What an organisation's quota of a day takes to be less used: it counts the last 24 hours.
pub(super) const QUOTA_WAIT: Duration = Duration::from_hours(1);

pub(super) fn configuration(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0281", field: field.to_owned(), message: message.into() }
}

pub(super) fn unreachable(host: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Transient {
        code: "AOS-0282",
        message: format!("`{host}` does not answer as Salesforce does: {cause}"),
    }
}

pub(super) fn authentication(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Authentication { code: "AOS-0283", message: message.into() }
}

pub(super) fn permission(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Permission { code: "AOS-0284", message: message.into() }
}

/// Salesforce itself refuses more requests.
pub(super) fn rate_limited(message: impl Into<String>, retry_after: Duration) -> ConnectorError {
    ConnectorError::RateLimited { code: "AOS-0285", message: message.into(), retry_after }
}

/// The connection's share of the organisation's quota is used up.
pub(super) fn share_used(message: impl Into<String>) -> ConnectorError {
    ConnectorError::RateLimited { code: SHARE_USED, message: message.into(), retry_after: QUOTA_WAIT }
}

pub(super) fn schema(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0287", message: message.into() }
}

pub(super) fn transient(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Transient { code: "AOS-0288", message: message.into() }
}

/// An answer that cannot be read.
pub(super) fn unreadable(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Data { code: "AOS-0289", message: message.into() }
}

/// A bulk job that Salesforce gave up.
pub(super) fn job(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Data { code: "AOS-0233", message: message.into() }
}

/// One of the errors in a REST answer:
/// <https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm>.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(default)]
    message: String,
    #[serde(rename = "errorCode", default)]
    code: String,
}

/// What was refused: its code, and the error it is.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) error: ConnectorError,
}

/// A field that was asked for is not there.
pub(super) fn is_field_gone(code: &str) -> bool {
    matches!(code, "INVALID_FIELD" | "INVALID_FIELD_FOR_INSERT_UPDATE" | "INVALIDFIELD")
}

/// The error of an answer that is not a success. Messages are Salesforce's own and quote queries, which
/// hold names and no values of records.
pub(super) fn answered(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Refused {
    let said = serde_json::from_slice::<Vec<Said>>(body)
        .ok()
        .and_then(|said| said.into_iter().next())
        .or_else(|| serde_json::from_slice::<Said>(body).ok().filter(|said| !said.code.is_empty()))
        .unwrap_or_else(|| Said { message: String::new(), code: String::new() });
    let text: String = said.message.split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(400).collect();
    let message = match said.code.as_str() {
        "" => format!("Salesforce answers {status}"),
        code => format!("Salesforce says: {text} ({code})"),
    };
    let wait = retry_after.unwrap_or(Duration::from_mins(1));
    let error = match (said.code.as_str(), status) {
        ("INVALID_SESSION_ID" | "INVALID_AUTH_HEADER", _) => authentication(message),
        ("REQUEST_LIMIT_EXCEEDED", _) => rate_limited(message, retry_after.unwrap_or(QUOTA_WAIT)),
        (_, 429) => rate_limited(message, wait),
        ("TOTAL_REQUESTS_LIMIT_EXCEEDED" | "EXCEEDED_QUOTA" | "LIMIT_EXCEEDED", _) => {
            rate_limited(message, retry_after.unwrap_or(QUOTA_WAIT))
        }
        ("API_DISABLED_FOR_ORG" | "API_CURRENTLY_DISABLED" | "INSUFFICIENT_ACCESS", _) => permission(message),
        (code, _)
            if is_field_gone(code)
                || matches!(
                    code,
                    "INVALID_TYPE" | "INVALIDENTITY" | "NOT_FOUND" | "INVALID_QUERY_LOCATOR"
                ) =>
        {
            schema(message)
        }
        (
            "SERVER_UNAVAILABLE"
            | "UNABLE_TO_LOCK_ROW"
            | "QUERY_TIMEOUT"
            | "UNKNOWN_EXCEPTION"
            | "REQUEST_RUNNING_TOO_LONG"
            | "CONCURRENT_REQUESTS_LIMIT",
            _,
        ) => transient(message),
        (_, 401) => authentication(message),
        (_, 403) => permission(message),
        (_, 404 | 410) => schema(message),
        (_, 408 | 420 | 500..) => transient(message),
        _ => unreadable(message),
    };
    Refused { code: said.code, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, code: &str, retryable: bool) {
        let error = answered(status, None, body.as_bytes()).error;
        assert_eq!((error.code(), error.retryable()), (code, retryable), "{status} {body}");
    }

    #[test]
    fn what_salesforce_says_tells_what_can_be_done() {
        let body = |code: &str| format!(r#"[{{"message":"m","errorCode":"{code}"}}]"#);
        check(401, &body("INVALID_SESSION_ID"), "AOS-0283", false);
        check(403, &body("REQUEST_LIMIT_EXCEEDED"), "AOS-0285", true);
        check(403, &body("API_DISABLED_FOR_ORG"), "AOS-0284", false);
        check(400, &body("INVALID_FIELD"), "AOS-0287", false);
        check(400, &body("INVALID_TYPE"), "AOS-0287", false);
        check(404, &body("NOT_FOUND"), "AOS-0287", false);
        check(400, &body("MALFORMED_QUERY"), "AOS-0289", false);
        check(400, &body("QUERY_TIMEOUT"), "AOS-0288", true);
        check(503, "<html>down</html>", "AOS-0288", true);
        check(429, "", "AOS-0285", true);
        let refused = answered(400, None, body("INVALID_FIELD").as_bytes());
        assert!(is_field_gone(&refused.code));
    }
}
