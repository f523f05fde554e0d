//! Errors of the MongoDB connector, by their codes.

use crate::error::ConnectorError;
use mongodb::error::{Error, ErrorKind};
use std::fmt::Display;

/// A document that is too long to be taken in.
pub(super) const DOCUMENT_TOO_LONG: &str = "AOS-0298";
/// A document whose bytes are no BSON.
pub(super) const DOCUMENT_UNREADABLE: &str = "AOS-0297";

pub(super) fn configuration(field: &str, message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration { code: "AOS-0290", field: field.to_owned(), message: message.into() }
}

pub(super) fn unreachable(host: &str, cause: impl Display) -> ConnectorError {
    ConnectorError::Transient {
        code: "AOS-0291",
        message: format!("`{host}` does not answer as a MongoDB: {cause}"),
    }
}

fn authentication(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Authentication { code: "AOS-0292", message: message.into() }
}

pub(super) fn permission(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Permission { code: "AOS-0293", message: message.into() }
}

/// The collection, or what was asked for in it, is not there.
pub(super) fn schema(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Schema { code: "AOS-0294", message: message.into() }
}

/// The server keeps no changes, or no longer those that are needed.
pub(super) fn no_changes(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Configuration {
        code: "AOS-0295",
        field: "/on_lost_history".to_owned(),
        message: message.into(),
    }
}

pub(super) fn transient(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Transient { code: "AOS-0296", message: message.into() }
}

pub(super) fn unreadable(message: impl Into<String>) -> ConnectorError {
    ConnectorError::Data { code: DOCUMENT_UNREADABLE, message: message.into() }
}

/// Whether the server says that it no longer has the changes since a place.
pub(super) fn is_history_lost(cause: &Error) -> bool {
    // ChangeStreamHistoryLost; InvalidResumeToken: of another server, after a restore.
    matches!(&*cause.kind, ErrorKind::Command(said) if matches!(said.code, 286 | 260))
}

/// Whether the server gave up because it took too long.
pub(super) fn is_timeout(cause: &Error) -> bool {
    matches!(&*cause.kind, ErrorKind::Command(said) if said.code == 50)
}

/// What the server or the connection said, by its code
/// (<https://www.mongodb.com/docs/manual/reference/error-codes/>).
pub(super) fn server(cause: &Error) -> ConnectorError {
    match &*cause.kind {
        // Which mechanism, and why; never the credential.
        ErrorKind::Authentication { message, .. } => authentication(format!("MongoDB says: {message}")),
        ErrorKind::Command(said) => {
            let message = format!("MongoDB says: {} ({})", said.message, said.code);
            match said.code {
                // UserNotFound, AuthenticationFailed
                11 | 18 => authentication(message),
                // Unauthorized, and what Atlas answers instead
                13 | 8000 => permission(message),
                // NamespaceNotFound, ViewNotFound
                26 => schema(message),
                // No replica set, or a storage engine without a log.
                40_573 | 40_324 => no_changes(message),
                // What passes by itself: elections, shutdowns, time-outs, cursors that were let go.
                6 | 7 | 43 | 50 | 89 | 91 | 134 | 136 | 189 | 202 | 234 | 237 | 262 | 9001 | 10_107
                | 11_600 | 11_602 | 13_388 | 13_435 | 13_436 => transient(message),
                _ => unreadable(message),
            }
        }
        ErrorKind::InvalidTlsConfig { message, .. } => configuration("/ca_certificate", message.clone()),
        ErrorKind::IncompatibleServer { message, .. } => {
            configuration("/uri", format!("the server cannot be read: {message}"))
        }
        ErrorKind::InvalidArgument { message, .. } => configuration("/uri", message.clone()),
        ErrorKind::Io(_)
        | ErrorKind::ConnectionPoolCleared { .. }
        | ErrorKind::ServerSelection { .. }
        | ErrorKind::DnsResolve { .. }
        | ErrorKind::Shutdown => transient(format!("the connection broke: {cause}")),
        _ => unreadable(format!("the server's answer: {cause}")),
    }
}
