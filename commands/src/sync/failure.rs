//! Why a run ended early, and what kind of failure that is.

use crate::error::{CommandError, Kind};
use autonomos_connectors::error::ConnectorError;
use autonomos_domain::{health::FailureKind, ids::TaskId};
use chrono::{DateTime, Utc};
use std::time::Duration;

pub(super) const BUSY: &str = "AOS-0362";
const DRIFT_WAITS: &str = "AOS-0364";

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SyncError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    #[error(transparent)]
    Domain(#[from] autonomos_domain::error::Error),
    #[error("another sync of this connection is under way: task `{0}`")]
    Busy(TaskId),
    #[error("the batch could not be encoded: {0}")]
    Encode(String),
    #[error("the cursor `{cursor}` cannot be read, so where to go on is not known: {reason}")]
    Cursor { cursor: String, reason: String },
    #[error(
        "stream `{stream}` drifted and its connection's policy is to pause: it goes on once nothing of it waits"
    )]
    Paused { stream: String },
    #[error("the source failed several times in a row and is left alone until {}", until.format("%Y-%m-%d %H:%M:%S UTC"))]
    CircuitOpen { until: DateTime<Utc>, wait: Duration },
    #[error("the connection does not read the stream `{stream}`: choose it first")]
    NotRead { stream: String },
}

impl SyncError {
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Command(error) => error.code(),
            Self::Connector(error) => error.code(),
            Self::Domain(error) => error.code(),
            Self::Busy(_) => BUSY,
            Self::Encode(_) => "AOS-0360",
            Self::Cursor { .. } => "AOS-0363",
            Self::Paused { .. } => DRIFT_WAITS,
            Self::CircuitOpen { .. } => "AOS-0392",
            Self::NotRead { .. } => "AOS-0393",
        }
    }

    pub(super) const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Command(error) => error.wait(),
            Self::Connector(error) => error.wait(),
            Self::CircuitOpen { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    pub(super) fn retryable(&self) -> bool {
        match self {
            // A feed taken over by another reader is that reader's now.
            Self::Command(error) => error.retryable(),
            Self::Connector(error) => error.retryable(),
            Self::Busy(_) | Self::CircuitOpen { .. } => true,
            Self::Domain(_)
            | Self::Encode(_)
            | Self::Cursor { .. }
            | Self::Paused { .. }
            | Self::NotRead { .. } => false,
        }
    }

    pub(super) const fn cancelled(&self) -> bool {
        matches!(self, Self::Connector(ConnectorError::Cancelled))
    }

    /// What it says about the connection; none: nothing.
    pub(super) fn kind(&self) -> Option<FailureKind> {
        match self {
            Self::Connector(error) | Self::Command(CommandError::Connector(error)) => kind_of(error),
            Self::Paused { .. } => Some(FailureKind::Drift),
            Self::Busy(_) | Self::CircuitOpen { .. } | Self::NotRead { .. } => None,
            // The connection is gone, or another reader has taken over, or this side is on its way down.
            Self::Command(error) => {
                let passing = matches!(error.kind(), Kind::Unavailable | Kind::NotFound | Kind::Conflict);
                (!passing).then_some(FailureKind::Internal)
            }
            Self::Domain(_) | Self::Encode(_) | Self::Cursor { .. } => Some(FailureKind::Internal),
        }
    }
}

/// The kind of a failure that only its code is known of, and that no attempt was counted for.
pub(super) fn kind_of_code(code: &str) -> FailureKind {
    if code == DRIFT_WAITS { FailureKind::Drift } else { FailureKind::Internal }
}

const fn kind_of(error: &ConnectorError) -> Option<FailureKind> {
    Some(match error {
        ConnectorError::Configuration { .. } => FailureKind::Configuration,
        ConnectorError::Authentication { .. } => FailureKind::Authentication,
        ConnectorError::Permission { .. } => FailureKind::Permission,
        ConnectorError::RateLimited { .. } => FailureKind::RateLimited,
        ConnectorError::Transient { .. } => FailureKind::Transient,
        ConnectorError::Schema { .. } => FailureKind::Schema,
        ConnectorError::Data { .. } => FailureKind::Data,
        ConnectorError::Cancelled => return None,
    })
}
