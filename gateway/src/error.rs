//! Errors of the gateway outside of requests: opening, serving, operating.

use autonomos_commands::{error::CommandError, intelligence::llm::ModelError, keys::KeyStoreError};
use autonomos_connectors::error::ConnectorError;
use autonomos_domain::ids::SyncId;
use autonomos_driftbench::BenchError;
use autonomos_log::error::LogError;
use autonomos_objects::ObjectError;
use autonomos_projections::ProjectionError;
use std::{net::SocketAddr, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error("the folder `{path}` cannot be used: {source}", path = path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("cannot listen on `{address}`: {source}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
    #[error(transparent)]
    Connector(#[from] ConnectorError),
    #[error(transparent)]
    Objects(#[from] ObjectError),
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// The language model that the command line asked.
    #[error(transparent)]
    Model(ModelError),
    /// Settings contradict each other, or one is missing.
    #[error("the configuration is not valid: {0}")]
    Configuration(String),
    /// A command on a data folder, asked of an installation that is not one.
    #[error("`{command}` is for an installation of one node: {instead}")]
    EmbeddedOnly { command: &'static str, instead: &'static str },
    #[error("projection `{name}` is kept by a running node")]
    KeptElsewhere { name: String },
    /// The input of a command-line command is wrong.
    #[error("{0}")]
    Input(String),
    /// `code` and `message` are those of the event that ended it.
    #[error("the demo's sync `{sync_id}` did not succeed: {message} ({code})")]
    DemoSync { sync_id: SyncId, code: String, message: String },
}

impl GatewayError {
    /// Stable code, `AOS-…`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Folder { .. } => "AOS-0510",
            Self::Listen { .. } => "AOS-0511",
            Self::Log(error) => error.code(),
            Self::Keys(_) => "AOS-0512",
            Self::Command(error) => error.code(),
            Self::Projection(error) => error.code(),
            Self::Connector(error) => error.code(),
            Self::Objects(error) => error.code(),
            Self::Bench(error) => error.code(),
            Self::Model(error) => error.code(),
            Self::Configuration(_) => "AOS-0520",
            Self::EmbeddedOnly { .. } => "AOS-0524",
            Self::KeptElsewhere { .. } => "AOS-0525",
            Self::Input(_) => "AOS-0513",
            Self::DemoSync { .. } => "AOS-0530",
        }
    }
}
