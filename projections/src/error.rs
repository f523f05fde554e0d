//! Errors of the projections. Codes are stable; each has a page in `docs/errors/`. Codes from 0421
//! to 0439 are the reasons a cell is in quarantine, not errors of a call.

use autonomos_domain::{envelope::Position, ids::TenantId};
use autonomos_log::error::LogError;
use sqlx::postgres::PgDatabaseError;

#[derive(Debug, Clone, thiserror::Error)]
pub enum ProjectionError {
    #[error("the read models' store failed: {0}")]
    Store(String),
    #[error("the unified views' store failed: {0}")]
    Views(String),
    #[error("cell {cell} of the log was rolled back: {reason}")]
    RolledBack { cell: u16, reason: String },
    /// The tenant's projection stands still at a commit that could not be applied.
    #[error("projector `{projector}` is parked for this tenant at a commit it could not apply: {message}")]
    Parked { projector: String, tenant: TenantId, position: Position, message: String },
    #[error("projector `{projector}` did not reach the asked position in time")]
    WaitTimeout { projector: String },
    #[error("there is no projector `{name}`; there are {known}")]
    UnknownProjector { name: String, known: String },
    #[error("the checkpoint of `{projector}` was moved by another owner")]
    Fenced { projector: String },
    #[error("an event of the log cannot be read: {0}")]
    Payload(String),
    #[error("the log failed: {message}")]
    Log { code: &'static str, message: String },
    #[error("there is no entity `{name}`; there are {known}")]
    UnknownEntity { name: String, known: String },
    #[error("entity `{entity}` has no field `{name}`; it has {known}")]
    UnknownField { entity: String, name: String, known: String },
    #[error("`{value}` is not a value of `{field}`: {expected} is expected")]
    BadValue { field: String, value: String, expected: String },
    #[error("the cursor is not one that this list gave, or the list changed its order")]
    BadCursor,
    #[error("the query is refused: {0}")]
    QueryRefused(String),
    #[error("the query failed: {0}")]
    QueryFailed(String),
    #[error("the query took longer than {seconds} s and was stopped")]
    QueryTimeout { seconds: u64 },
    #[error("the dry run took longer than {seconds} s and was stopped")]
    DryRunTimeout { seconds: u64 },
    #[error("the dry run needs more memory than a file of the unified views may take")]
    DryRunTooLarge,
    #[error("the export failed: {0}")]
    Export(String),
    #[error("projector `{projector}` is not parked for this tenant: there is nothing to skip")]
    NotParked { projector: String },
    #[error("projector `{projector}` is being rebuilt already")]
    AlreadyRebuilding { projector: String },
    #[error("projector `{projector}` is not being rebuilt, or the new generation is taking its place now")]
    NotRebuilding { projector: String },
    #[error("the rebuild of projector `{projector}` was aborted")]
    RebuildAborted { projector: String },
    #[error("the projections are stopped")]
    Stopped,
    #[error("projector `{projector}` is kept by another node")]
    Elsewhere { projector: String },
    #[error("the generation that is read or written was replaced by another node")]
    GenerationGone,
    #[error("the read models' database cannot hold a value: {0}")]
    Unstorable(String),
    /// What was given may hold a password, so it is not repeated.
    #[error("the database's address cannot be read; expected `postgres://user:password@host:port/database`")]
    Address,
    #[error("the snapshots of the unified views failed: {0}")]
    Snapshot(String),
}

impl ProjectionError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Store(_) => "AOS-0401",
            Self::Views(_) => "AOS-0402",
            Self::RolledBack { .. } => "AOS-0403",
            Self::Parked { .. } => "AOS-0404",
            Self::WaitTimeout { .. } => "AOS-0405",
            Self::UnknownProjector { .. } => "AOS-0406",
            Self::Fenced { .. } => "AOS-0407",
            Self::Payload(_) => "AOS-0408",
            Self::Log { code, .. } => code,
            Self::UnknownEntity { .. } => "AOS-0409",
            Self::UnknownField { .. } => "AOS-0410",
            Self::BadValue { .. } => "AOS-0411",
            Self::BadCursor => "AOS-0412",
            Self::QueryRefused(_) => "AOS-0413",
            Self::QueryFailed(_) => "AOS-0414",
            Self::QueryTimeout { .. } => "AOS-0415",
            Self::DryRunTimeout { .. } => "AOS-0446",
            Self::DryRunTooLarge => "AOS-0447",
            Self::Export(_) => "AOS-0416",
            Self::NotParked { .. } => "AOS-0417",
            Self::AlreadyRebuilding { .. } => "AOS-0418",
            Self::NotRebuilding { .. } => "AOS-0444",
            Self::RebuildAborted { .. } => "AOS-0445",
            Self::Stopped => "AOS-0419",
            Self::Elsewhere { .. } => "AOS-0442",
            Self::GenerationGone => "AOS-0420",
            Self::Unstorable(_) => "AOS-0440",
            Self::Address => "AOS-0441",
            Self::Snapshot(_) => "AOS-0443",
        }
    }
}

impl ProjectionError {
    /// Whether DuckDB's memory limit was reached; its bindings tell it by the text alone.
    pub fn is_out_of_memory(&self) -> bool {
        matches!(self, Self::Views(message) if message.contains("Out of Memory"))
    }

    /// Whether DuckDB gave up an open file, as after a checkpoint that did not fit on the disk: all of
    /// it fails from then on, until the file is closed and opened again.
    pub(crate) fn is_file_lost(&self) -> bool {
        matches!(self, Self::Views(message) if message.contains("FATAL Error"))
    }
}

impl From<LogError> for ProjectionError {
    fn from(error: LogError) -> Self {
        Self::Log { code: error.code(), message: error.to_string() }
    }
}

impl From<sqlx::Error> for ProjectionError {
    fn from(error: sqlx::Error) -> Self {
        let of_postgres = error.as_database_error().and_then(|error| error.try_downcast_ref());
        match of_postgres.map(PgDatabaseError::code) {
            // No such table, no such schema.
            Some("42P01" | "3F000") => Self::GenerationGone,
            // Bytes that are no text there, an index entry or a row that is too long.
            Some("22021" | "22P05" | "54000") => Self::Unstorable(error.to_string()),
            _ => Self::Store(error.to_string()),
        }
    }
}

impl From<duckdb::Error> for ProjectionError {
    fn from(error: duckdb::Error) -> Self {
        Self::Views(error.to_string())
    }
}
