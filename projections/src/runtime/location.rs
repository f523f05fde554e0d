//! Where read models live: in a folder, or in a Postgres that several nodes share.

use crate::error::ProjectionError;
use sqlx::{ConnectOptions, postgres::PgConnectOptions};
use std::{fmt, time::Duration};

/// Where the read models live.
#[derive(Debug, Clone, Default)]
pub enum Location {
    /// In SQLite files in the data folder.
    #[default]
    Folder,
    /// In a Postgres.
    Postgres(PostgresOptions),
}

/// How the read models use a Postgres.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub address: Address,
    /// Connections that read, at most.
    pub readers: u32,
    /// How long a query waits for a connection: a Postgres that is gone is waited for no longer.
    pub patience: Duration,
    /// How long a writer may stand still inside its transaction until Postgres ends it. A process
    /// that was paused there would otherwise keep the next owner waiting.
    pub writer_idle: Duration,
}

impl PostgresOptions {
    pub const fn new(address: Address) -> Self {
        Self { address, readers: 16, patience: Duration::from_secs(5), writer_idle: Duration::from_secs(5) }
    }
}

/// The address of a Postgres database, `postgres://user:password@host:port/database`. It never shows
/// its password, nor anything else that may be one.
#[derive(Clone)]
pub struct Address(Box<PgConnectOptions>);

impl Address {
    /// Fails with [`ProjectionError::Address`] if it is not one; the error does not repeat it.
    pub fn parse(url: &str) -> Result<Self, ProjectionError> {
        let scheme = url.starts_with("postgres://") || url.starts_with("postgresql://");
        match url.parse::<PgConnectOptions>() {
            Ok(options) if scheme => Ok(Self(Box::new(options))),
            _ => Err(ProjectionError::Address),
        }
    }

    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        // A statement that is logged would show tenants' ids, and their data with them.
        (*self.0)
            .clone()
            .application_name("autonomos")
            .statement_cache_capacity(256)
            .disable_statement_logging()
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.0.get_host(), self.0.get_port());
        let database = self.0.get_database().unwrap_or_default();
        write!(formatter, "postgres://{host}:{port}/{database}")
    }
}
