//! What a decision can refuse. One enum, so that the gateway maps kinds to HTTP once; each code has
//! a page in `docs/errors/`.

use thiserror::Error;

/// The few kinds of refusal that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The input itself is wrong: 422.
    Invalid,
    /// 404.
    NotFound,
    /// Right in itself, wrong in this state: 409.
    Conflict,
    /// 403.
    Forbidden,
    /// A limit would be passed: 413 or 429.
    LimitExceeded,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// `field` is a JSON pointer into the request.
    #[error("`{field}` is not valid: {message}")]
    Invalid { field: String, message: String },
    #[error("no such {what}: `{id}`")]
    NotFound { what: &'static str, id: String },
    /// The aggregate itself was never created.
    #[error("no such {what}")]
    Missing { what: &'static str },
    #[error("{what} exists already: `{id}`")]
    AlreadyExists { what: &'static str, id: String },
    /// The aggregate's life is in a state that this does not follow.
    #[error("cannot {action}: the {what} is `{status}`")]
    WrongState { what: &'static str, status: String, action: &'static str },
    /// Decided on something that is no longer so.
    #[error("conflict: {message}")]
    Conflict { message: String },
    #[error("not allowed: {message}")]
    Forbidden { message: String },
    #[error("{what} would be `{value}`, the limit is {limit}")]
    LimitExceeded { what: &'static str, value: u64, limit: u64 },
    /// Another holder has the text that should be unique.
    #[error("the {purpose} is taken by another holder")]
    Reserved { purpose: String },
}

impl Error {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "AOS-0001",
            Self::NotFound { .. } => "AOS-0002",
            Self::AlreadyExists { .. } => "AOS-0003",
            Self::WrongState { .. } => "AOS-0004",
            Self::Conflict { .. } => "AOS-0005",
            Self::Forbidden { .. } => "AOS-0006",
            Self::LimitExceeded { .. } => "AOS-0007",
            Self::Reserved { .. } => "AOS-0008",
            Self::Missing { .. } => "AOS-0009",
        }
    }

    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Invalid { .. } => ErrorKind::Invalid,
            Self::NotFound { .. } | Self::Missing { .. } => ErrorKind::NotFound,
            Self::AlreadyExists { .. }
            | Self::WrongState { .. }
            | Self::Conflict { .. }
            | Self::Reserved { .. } => ErrorKind::Conflict,
            Self::Forbidden { .. } => ErrorKind::Forbidden,
            Self::LimitExceeded { .. } => ErrorKind::LimitExceeded,
        }
    }

    pub(crate) fn invalid(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Invalid { field: field.into(), message: message.into() }
    }

    pub(crate) fn not_found(what: &'static str, id: impl ToString) -> Self {
        Self::NotFound { what, id: id.to_string() }
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::Conflict { message: message.into() }
    }
}
