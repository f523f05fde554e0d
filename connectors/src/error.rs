//! Errors of connectors, by what can be done about them.

#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// The configuration is wrong; `field` is a JSON pointer into it.
    #[error("{message}")]
    Configuration { code: &'static str, field: String, message: String },
    #[error("{message}")]
    Authentication { code: &'static str, message: String },
    #[error("{message}")]
    Permission { code: &'static str, message: String },
    #[error("{message}")]
    RateLimited { code: &'static str, message: String, retry_after: std::time::Duration },
    /// Worth another try.
    #[error("{message}")]
    Transient { code: &'static str, message: String },
    /// The stream, or a column that was asked for, is not there.
    #[error("{message}")]
    Schema { code: &'static str, message: String },
    /// The data cannot be read at all (not one bad row: those are rejected alone).
    #[error("{message}")]
    Data { code: &'static str, message: String },
    #[error("cancelled")]
    Cancelled,
}

impl ConnectorError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Configuration { code, .. }
            | Self::Authentication { code, .. }
            | Self::Permission { code, .. }
            | Self::RateLimited { code, .. }
            | Self::Transient { code, .. }
            | Self::Schema { code, .. }
            | Self::Data { code, .. } => code,
            Self::Cancelled => "AOS-0299",
        }
    }

    /// How long the source asked to be left alone.
    pub const fn wait(&self) -> Option<std::time::Duration> {
        match self {
            Self::RateLimited { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    pub const fn retryable(&self) -> bool {
        matches!(self, Self::RateLimited { .. } | Self::Transient { .. })
    }
}

/// A configuration is taken, or complained about at this field and without its secret, `hunter2`.
#[cfg(test)]
#[track_caller]
pub(crate) fn complains<T>(parsed: Result<T, ConnectorError>, expect: Option<&str>) {
    match (parsed, expect) {
        (Ok(_), None) => {}
        (Err(ConnectorError::Configuration { field, message, .. }), Some(expect)) => {
            assert_eq!(field, expect, "{message}");
            assert!(!message.contains("hunter2"), "{message}");
        }
        (Ok(_), Some(expect)) => panic!("nothing is said about `{expect}`"),
        (Err(cause), _) => panic!("{cause:?}"),
    }
}
