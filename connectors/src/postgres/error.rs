//! The Postgres connector's errors: one constructor per code. Each code has a page in `docs/errors/`.

use crate::{error::ConnectorError, rows::Codes};
use std::fmt::Display;

/// The errors of rows on their way into a batch.
pub(super) const ROWS: Codes = Codes { too_long: "AOS-0280", unreadable };

pub(super) fn configuration(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0270", field: field.to_owned(), message: message.into() }
}

pub(super) fn unreachable(host: &str, port: u16, cause: impl Display) -> ConnectorError {
    ConnectorError::Transient {
        code: "AOS-0271",
        message: format!("`{host}:{port}` does not answer as a Postgres: {cause}"),
    }
}

pub(super) fn permission(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Permission { code: "AOS-0273", message: message.into() }
}

pub(super) fn schema(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0274", message: message.into() }
}

/// The server is not set up for change capture.
pub(super) fn not_ready(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0275",
        field: "/capture_changes".to_owned(),
        message: message.into(),
    }
}

pub(super) fn transient(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Transient { code: "AOS-0276", message: message.into() }
}

/// The server's change messages cannot be read.
pub(super) fn unreadable(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Data { code: "AOS-0277", message: message.into() }
}

/// The key by which changes come is not the one that records were told apart by.
pub(super) fn key(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0278", message: message.into() }
}

/// What the server or the connection said, by its SQLSTATE
/// (<https://www.postgresql.org/docs/current/errcodes-appendix.html>). Only the message is told: the
/// details quote rows.
pub(super) fn server(cause: &sqlx::Error) -> ConnectorError {
    let sqlx::Error::Database(said) = cause else {
        return match cause {
            sqlx::Error::Tls(_) | sqlx::Error::Configuration(_) => {
                configuration("/ssl_mode", format!("no encrypted connection: {cause}"))
            }
            sqlx::Error::Io(_) => transient(format!("the connection broke: {cause}")),
            _ => unreadable(format!("the server's answer: {cause}")),
        };
    };
    let state = said.code().unwrap_or_default();
    let message = format!("Postgres says: {} ({state})", said.message());
    match state.get(..2).unwrap_or_default() {
        "28" => ConnectorError::Authentication { code: "AOS-0272", message },
        "3D" => configuration("/database", message),
        "08" | "40" | "53" | "55" | "57" | "58" => transient(message),
        _ => match &*state {
            "42501" => permission(message),
            "42P01" | "42703" | "3F000" => schema(message),
            _ => ConnectorError::Data { code: "AOS-0279", message },
        },
    }
}
