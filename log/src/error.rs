//! Errors of the log. Codes are stable; each has a page in `docs/errors/`.

use autonomos_domain::envelope::AggregateKey;
use rusqlite::ErrorCode;

#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    #[error("the log store failed: {0}")]
    Store(String),
    #[error("the log is damaged at `{place}`: {reason}")]
    Damaged { place: String, reason: String },
    #[error(
        "the log has {found} cells, the configuration asks for {asked}; the number is fixed when a log is made"
    )]
    WrongCells { found: u16, asked: u16 },
    #[error("aggregate `{key}` cannot be archived: {reason}")]
    NotArchivable { key: AggregateKey, reason: String },
    #[error("the log is closed")]
    Closed,
    #[error("another process has the log in `{folder}` open")]
    InUse { folder: String },
    /// No answer, or none that can be used: whether something was done is not known.
    #[error("the log's servers can't be reached: {0}")]
    Unreachable(String),
    #[error("{what} has `{setting}` set to `{found}`; the log needs `{wanted}`: change it and start again")]
    Misconfigured { what: String, setting: String, found: String, wanted: String },
}

impl From<rusqlite::Error> for LogError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
                Self::Damaged { place: "the pages of the file".to_owned(), reason: error.to_string() }
            }
            _ => Self::Store(error.to_string()),
        }
    }
}

impl LogError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "AOS-0101",
            Self::Damaged { .. } => "AOS-0102",
            Self::WrongCells { .. } => "AOS-0103",
            Self::NotArchivable { .. } => "AOS-0104",
            Self::Closed => "AOS-0105",
            Self::InUse { .. } => "AOS-0106",
            Self::Unreachable(_) => "AOS-0107",
            Self::Misconfigured { .. } => "AOS-0108",
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Someone else appended first: load and decide again.
    #[error("aggregate `{key}` is at version {actual}, not {expected}")]
    Conflict { key: AggregateKey, expected: u64, actual: u64 },
    /// The log was found damaged or rolled back: nothing is written until an operator looks.
    #[error("writing is stopped: {reason}")]
    Stopped { reason: String },
    #[error("the commit has {bytes} bytes; at most {limit} are allowed")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the commit is not valid: {0}")]
    Invalid(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl AppendError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "AOS-0110",
            Self::Stopped { .. } => "AOS-0111",
            Self::TooLarge { .. } => "AOS-0112",
            Self::Invalid(_) => "AOS-0113",
            Self::Log(inner) => inner.code(),
        }
    }
}
