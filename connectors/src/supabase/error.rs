//! The Supabase connector's errors: one constructor per code. Each code has a page in `docs/errors/`.

use crate::{error::ConnectorError, retry::Failed, rows::Codes};
use serde::Deserialize;
use std::{fmt::Display, time::Duration};

/// The errors of rows on their way into a batch.
pub(super) const ROWS: Codes = Codes { too_long: "AOS-0244", unreadable };

pub(super) fn configuration(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0235", field: field.to_owned(), message: message.into() }
}

pub(super) fn unreachable(host: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Transient {
        code: "AOS-0236",
        message: format!("`{host}` does not answer as PostgREST does: {cause}"),
    }
}

pub(super) fn authentication(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Authentication { code: "AOS-0237", message: message.into() }
}

pub(super) fn permission(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Permission { code: "AOS-0238", message: message.into() }
}

fn rate_limited(message: impl Into<String>, retry_after: Duration) -> ConnectorError {
    ConnectorError::RateLimited { code: "AOS-0239", message: message.into(), retry_after }
}

pub(super) fn schema(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0240", message: message.into() }
}

pub(super) fn transient(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Transient { code: "AOS-0241", message: message.into() }
}

/// An answer that cannot be read.
pub(super) fn unreadable(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Data { code: "AOS-0242", message: message.into() }
}

/// Rows that nothing tells apart can only be read at once, and these cannot.
pub(super) fn without_key(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0245", message: message.into() }
}

/// The rows of a view cannot be told apart by what should tell them apart.
pub(super) fn key(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0246", message: message.into() }
}

/// A pooler where the server itself is needed.
pub(super) fn pooler(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0247", field: field.to_owned(), message: message.into() }
}

/// What a request was refused for, as far as that decides what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// A column or a table that was asked for is not there.
    Gone,
    /// The answer takes the server too long, or is more than is held in memory: less is asked for.
    TooMuch,
    /// What answers does not speak as PostgREST does.
    Foreign,
    Other,
}

/// A request that was not answered with success.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) error: ConnectorError,
}

impl Failed for Refused {
    fn error(&self) -> &ConnectorError {
        &self.error
    }

    fn is_final(&self) -> bool {
        self.reason == Reason::TooMuch
    }
}

impl From<ConnectorError> for Refused {
    fn from(error: ConnectorError) -> Self {
        Self { reason: Reason::Other, error }
    }
}

impl From<Refused> for ConnectorError {
    fn from(refused: Refused) -> Self {
        refused.error
    }
}

/// What PostgREST says, or the gateway before it, which knows no codes.
#[derive(Debug, Default, Deserialize)]
struct Said {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// The error of an answer that is not a success: by PostgREST's own code
/// (<https://postgrest.org/en/stable/references/errors.html>), else by the SQLSTATE, else by the status.
/// Codes differ between versions, so that classes are told apart rather than single ones. Only the message
/// is told: details and hints quote rows.
pub(super) fn answered(status: u16, retry_after: Option<Duration>, body: &[u8]) -> Refused {
    let said: Option<Said> = serde_json::from_slice(body).ok();
    let foreign = said.as_ref().is_none_or(|said| said.code.is_none());
    let Said { code, message } = said.unwrap_or_default();
    let code = code.unwrap_or_default();
    let text: String = message.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let text: String = text.chars().take(400).collect();
    let message = match (code.as_str(), text.as_str()) {
        ("", "") => format!("the server answers {status}"),
        ("", _) => format!("the server says: {text} ({status})"),
        _ => format!("PostgREST says: {text} ({code})"),
    };
    let reason = match code.as_str() {
        "42703" | "42P01" | "PGRST204" | "PGRST205" => Reason::Gone,
        // A statement that took too long.
        "57014" => Reason::TooMuch,
        _ if foreign => Reason::Foreign,
        _ => Reason::Other,
    };
    let error = match (retry_after, status) {
        (Some(wait), 429 | 503) => rate_limited(message, wait),
        (None, 429) => rate_limited(message, Duration::from_mins(1)),
        _ => by_code(&code, &text, status, message),
    };
    Refused { reason, error }
}

fn by_code(code: &str, text: &str, status: u16, message: String) -> ConnectorError {
    match code {
        "PGRST106" => configuration("/access/schema", message),
        "PGRST126" => permission(format!(
            "{message}: the description of the tables is switched off (`openapi-mode`), or not for this key"
        )),
        "PGRST204" | "PGRST205" | "42703" | "42P01" | "3F000" => schema(message),
        // Of the token.
        _ if code.starts_with("PGRST30") => authentication(message),
        // Of the connection to the database.
        _ if code.starts_with("PGRST00") => transient(message),
        _ if code.starts_with("28") => authentication(message),
        // The role that the token names is not there.
        "22023" if text.starts_with("role ") => authentication(message),
        "42501" => permission(message),
        _ if code.len() == 5 && matches!(code.get(..2), Some("08" | "40" | "53" | "55" | "57" | "58")) => {
            transient(message)
        }
        _ => match status {
            401 => authentication(message),
            // Supabase pauses projects that nobody uses.
            540 => permission(format!("{message}: the project is paused")),
            403 => permission(message),
            404 | 410 => schema(message),
            408 | 420 | 500.. => transient(message),
            _ => ConnectorError::Data { code: "AOS-0243", message },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, code: &str, expect: (&str, bool, Reason)) {
        let body = format!(r#"{{"code":"{code}","details":"secret","hint":null,"message":"m"}}"#);
        let refused = answered(status, None, body.as_bytes());
        let error = &refused.error;
        assert_eq!((error.code(), error.retryable(), refused.reason), expect, "{status} {code}");
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn what_is_said_tells_what_can_be_done() {
        check(400, "42703", ("AOS-0240", false, Reason::Gone));
        check(404, "42P01", ("AOS-0240", false, Reason::Gone));
        check(404, "PGRST205", ("AOS-0240", false, Reason::Gone));
        check(500, "57014", ("AOS-0241", true, Reason::TooMuch));
        check(401, "42501", ("AOS-0238", false, Reason::Other));
        check(401, "PGRST301", ("AOS-0237", false, Reason::Other));
        check(401, "PGRST303", ("AOS-0237", false, Reason::Other));
        check(406, "PGRST106", ("AOS-0235", false, Reason::Other));
        check(503, "PGRST002", ("AOS-0241", true, Reason::Other));
        check(500, "53300", ("AOS-0241", true, Reason::Other));
        check(400, "22P02", ("AOS-0243", false, Reason::Other));
        let gateway = |status: u16, body: &str| answered(status, None, body.as_bytes());
        let refused = gateway(401, r#"{"message":"Invalid API key"}"#);
        assert_eq!((refused.error.code(), refused.reason), ("AOS-0237", Reason::Foreign));
        assert!(gateway(502, "<html>down</html>").error.retryable());
        assert_eq!(gateway(540, "").error.code(), "AOS-0238");
        let wait = Some(Duration::from_secs(7));
        assert_eq!(answered(429, wait, b"").error.wait(), wait);
        assert_eq!(answered(503, wait, b"").error.wait(), wait);
    }
}
