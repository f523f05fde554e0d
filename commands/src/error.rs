//! Errors of commands. Codes are stable; each has a page in `docs/errors/`.

use autonomos_connectors::error::ConnectorError;
use autonomos_domain::{envelope::AggregateKey, error as domain};
use autonomos_log::{
    error::{AppendError, LogError},
    events::EventError,
    seal::SealError,
};
use std::time::Duration;

/// The kinds of failure that callers tell apart; the gateway maps them to HTTP once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The input itself is wrong: 422.
    Invalid,
    /// 401.
    Unauthenticated,
    /// 403.
    Forbidden,
    /// 404.
    NotFound,
    /// Right in itself, wrong in this state: 409.
    Conflict,
    /// A size or a quota would be passed: 413.
    LimitExceeded,
    /// 429.
    TooManyRequests,
    /// The source that was asked failed: 502.
    Upstream,
    /// Try again later: 503.
    Unavailable,
    /// 500.
    Internal,
}

impl From<domain::ErrorKind> for Kind {
    fn from(kind: domain::ErrorKind) -> Self {
        match kind {
            domain::ErrorKind::Invalid => Self::Invalid,
            domain::ErrorKind::NotFound => Self::NotFound,
            domain::ErrorKind::Conflict => Self::Conflict,
            domain::ErrorKind::Forbidden => Self::Forbidden,
            domain::ErrorKind::LimitExceeded => Self::LimitExceeded,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The aggregate refused.
    #[error(transparent)]
    Refused(#[from] domain::Error),
    #[error("the idempotency key was used before with another request")]
    IdempotencyMismatch,
    /// A repetition whose first answer carried a secret.
    #[error("{what} `{id}` was made by this request before: its secret was shown then and is not kept")]
    ShownOnce { what: &'static str, id: String },
    #[error("aggregate `{key}` changed {tries} times while this command was decided")]
    Contended { key: AggregateKey, tries: u32 },
    #[error("too many commands wait for aggregate `{key}`")]
    Busy { key: AggregateKey },
    /// Another reader took the feed over; this one must stop.
    #[error("feed `{key}` was written by someone else: this reader is fenced off")]
    Fenced { key: AggregateKey },
    #[error("feed `{key}` is closed: its connection was deleted")]
    FeedClosed { key: AggregateKey },
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error(transparent)]
    Append(AppendError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Event(EventError),

    /// One message for a wrong e-mail and for a wrong password.
    #[error("the e-mail or the password is wrong")]
    WrongCredentials,
    #[error("too many failed sign-ins; try again in {} seconds", .retry_after.as_secs())]
    TooManyAttempts { retry_after: Duration },
    #[error("the token is not valid: {reason}")]
    InvalidToken { reason: &'static str },
    #[error("the e-mail is registered already")]
    EmailTaken,
    #[error("the password is too weak: {reason}")]
    WeakPassword { reason: &'static str },
    #[error("an organisation keeps at least one owner")]
    LastOwner,
    #[error("not allowed: {reason}")]
    Forbidden { reason: &'static str },
    /// `field` is a JSON pointer into the request.
    #[error("`{field}` is not valid: {message}")]
    Invalid { field: &'static str, message: String },
    #[error("no such {what}: `{id}`")]
    NotFound { what: &'static str, id: String },

    #[error("the upload has more than {limit} bytes")]
    UploadTooLarge { limit: u64 },
    #[error("the upload broke off: {reason}")]
    UploadBroken { reason: String },
    #[error("cannot read or write `{path}`: {source}")]
    Io { path: String, source: std::io::Error },

    #[error("the name `{name}` is taken by another connection")]
    NameTaken { name: String },
    #[error("no such connector: `{connector}`")]
    UnknownConnector { connector: String },
    #[error(transparent)]
    Connector(ConnectorError),

    #[error("no handler is registered for tasks of action `{action}`")]
    UnknownAction { action: String },
    #[error("the task table failed: {0}")]
    TaskTable(String),
    #[error("shutting down")]
    ShuttingDown,
}

impl CommandError {
    /// Stable code, `AOS-…`.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(inner) => inner.code(),
            Self::IdempotencyMismatch => "AOS-0301",
            Self::ShownOnce { .. } => "AOS-0306",
            Self::Contended { .. } => "AOS-0302",
            Self::Busy { .. } => "AOS-0303",
            Self::Fenced { .. } => "AOS-0304",
            Self::FeedClosed { .. } => "AOS-0305",
            Self::Seal(inner) => inner.code(),
            Self::Event(inner) => inner.code(),
            Self::Append(inner) => inner.code(),
            Self::Log(inner) => inner.code(),
            Self::WrongCredentials => "AOS-0310",
            Self::TooManyAttempts { .. } => "AOS-0311",
            Self::InvalidToken { .. } => "AOS-0312",
            Self::EmailTaken => "AOS-0313",
            Self::WeakPassword { .. } => "AOS-0314",
            Self::LastOwner => "AOS-0315",
            Self::Forbidden { .. } => "AOS-0316",
            Self::Invalid { .. } => "AOS-0317",
            Self::NotFound { .. } => "AOS-0318",
            Self::UploadTooLarge { .. } => "AOS-0330",
            Self::UploadBroken { .. } => "AOS-0331",
            Self::Io { .. } => "AOS-0332",
            Self::NameTaken { .. } => "AOS-0340",
            Self::UnknownConnector { .. } => "AOS-0341",
            Self::Connector(inner) => inner.code(),
            Self::UnknownAction { .. } => "AOS-0350",
            Self::TaskTable(_) => "AOS-0351",
            Self::ShuttingDown => "AOS-0352",
        }
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Refused(inner) => inner.kind().into(),
            Self::IdempotencyMismatch
            | Self::WeakPassword { .. }
            | Self::Invalid { .. }
            | Self::UnknownConnector { .. }
            | Self::UnknownAction { .. }
            | Self::UploadBroken { .. } => Kind::Invalid,
            Self::Contended { .. } | Self::Busy { .. } | Self::ShuttingDown => Kind::Unavailable,
            Self::Fenced { .. }
            | Self::FeedClosed { .. }
            | Self::EmailTaken
            | Self::ShownOnce { .. }
            | Self::LastOwner
            | Self::NameTaken { .. } => Kind::Conflict,
            Self::Append(AppendError::Conflict { .. }) => Kind::Conflict,
            Self::Append(
                AppendError::Stopped { .. } | AppendError::Log(LogError::Closed | LogError::Unreachable(_)),
            )
            | Self::Log(LogError::Unreachable(_))
            | Self::Seal(SealError::Unreachable(_)) => Kind::Unavailable,
            Self::Append(AppendError::TooLarge { .. }) | Self::UploadTooLarge { .. } => Kind::LimitExceeded,
            Self::WrongCredentials | Self::InvalidToken { .. } => Kind::Unauthenticated,
            Self::TooManyAttempts { .. } => Kind::TooManyRequests,
            Self::Forbidden { .. } => Kind::Forbidden,
            Self::NotFound { .. } | Self::Seal(SealError::Shredded { .. }) => Kind::NotFound,
            Self::Connector(inner) => match inner {
                ConnectorError::Configuration { .. } | ConnectorError::Schema { .. } => Kind::Invalid,
                ConnectorError::RateLimited { .. } => Kind::TooManyRequests,
                ConnectorError::Cancelled => Kind::Unavailable,
                ConnectorError::Authentication { .. }
                | ConnectorError::Permission { .. }
                | ConnectorError::Transient { .. }
                | ConnectorError::Data { .. } => Kind::Upstream,
            },
            Self::Seal(_)
            | Self::Append(_)
            | Self::Log(_)
            | Self::Event(_)
            | Self::Io { .. }
            | Self::TaskTable(_) => Kind::Internal,
        }
    }

    /// Worth another try as it stands.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Connector(inner) => inner.retryable(),
            other => matches!(other.kind(), Kind::Unavailable | Kind::TooManyRequests),
        }
    }

    /// How long a source asked to be left alone.
    pub const fn wait(&self) -> Option<std::time::Duration> {
        match self {
            Self::Connector(error) => error.wait(),
            _ => None,
        }
    }

    /// True if the commit was refused because someone appended first.
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::Append(AppendError::Conflict { .. }) | Self::Fenced { .. })
    }
}

impl From<AppendError> for CommandError {
    fn from(error: AppendError) -> Self {
        Self::Append(error)
    }
}

impl From<EventError> for CommandError {
    fn from(error: EventError) -> Self {
        match error {
            EventError::Seal(inner) => Self::Seal(inner),
            other => Self::Event(other),
        }
    }
}

impl From<ConnectorError> for CommandError {
    fn from(error: ConnectorError) -> Self {
        Self::Connector(error)
    }
}
