//! One connection to the server, guarded and set up so that every value is written the same way.
//!
//! Rows are asked for by the simple query protocol, whose answers are text: the very texts that the
//! output functions make, as in the messages of logical replication. So a value reads the same whether
//! a snapshot brought it or a change.

use super::{
    config::{PostgresConfig, SslMode},
    error,
};
use crate::{error::ConnectorError, network::NetworkScope, rows::Texts};
use futures::{Stream, StreamExt};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, ValueRef,
    postgres::{PgConnectOptions, PgRow},
};
use std::time::Duration;

/// A server that does not take a connection in this time counts as unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Dates as ISO 8601, times in UTC, bytes as hex, floats with every digit.
const SETTINGS: &str = "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; \
SET bytea_output = 'hex'; SET extra_float_digits = 1; SET standard_conforming_strings = on; \
SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

pub(super) struct Session(PgConnection);

impl Session {
    pub(super) async fn open(config: &PostgresConfig, network: NetworkScope) -> Result<Self, ConnectorError> {
        let (host, port) = (config.host.trim(), config.port);
        let addresses = network.resolve(host, port, "/host").await?;
        let mut options = PgConnectOptions::new_without_pgpass()
            .port(port)
            .database(config.database.trim())
            .username(config.user.trim())
            .password(&config.password)
            .ssl_mode(config.ssl_mode.mode())
            .application_name("autonomos")
            .disable_statement_logging();
        if let Some(certificate) = config.certificate() {
            options = options.ssl_root_cert_from_pem(certificate);
        }
        let mut last = None;
        for address in addresses {
            // Only the name tells whose certificate is expected; with it a host that means another
            // address by now has to prove who it is.
            let target = match config.ssl_mode {
                SslMode::VerifyFull => host.to_owned(),
                _ => address.ip().to_string(),
            };
            let options = options.clone().host(&target);
            match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)).await {
                Ok(Ok(connection)) => {
                    let mut session = Self(connection);
                    session.run(SETTINGS.to_owned()).await?;
                    return Ok(session);
                }
                Ok(Err(sqlx::Error::Io(cause))) => last = Some(error::unreachable(host, port, cause)),
                Ok(Err(cause)) => return Err(error::server(&cause)),
                Err(_) => {
                    let waited = format!("no answer in {} s", CONNECT_TIMEOUT.as_secs());
                    last = Some(error::unreachable(host, port, waited));
                }
            }
        }
        Err(last.unwrap_or_else(|| error::unreachable(host, port, "it has no address")))
    }

    /// Runs statements whose answers do not matter.
    pub(super) async fn run(&mut self, sql: String) -> Result<(), ConnectorError> {
        self.rows(sql).await.map(|_| ())
    }

    /// Every row of a short answer.
    pub(super) async fn rows(&mut self, sql: String) -> Result<Vec<Texts>, ConnectorError> {
        let mut rows = self.stream(sql);
        let mut all = Vec::new();
        while let Some(row) = rows.next().await {
            all.push(row?);
        }
        Ok(all)
    }

    /// The first value of the first row.
    pub(super) async fn value(&mut self, sql: String) -> Result<Option<String>, ConnectorError> {
        Ok(self.rows(sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten()))
    }

    /// The rows of a long answer, as they come: the server waits while nobody takes them.
    pub(super) fn stream(
        &mut self,
        sql: String,
    ) -> impl Stream<Item = Result<Texts, ConnectorError>> + Send + Unpin + '_ {
        sqlx::raw_sql(AssertSqlSafe(sql)).fetch(&mut self.0).map(|row| match row {
            Ok(row) => texts(&row),
            Err(cause) => Err(error::server(&cause)),
        })
    }

    /// Messages of a logical slot, which are bytes: up to a position, and whole transactions until
    /// there are `most` of them.
    pub(super) fn messages(
        &mut self,
        slot: &str,
        up_to: u64,
        most: i32,
        publication: &str,
    ) -> impl Stream<Item = Result<Vec<u8>, ConnectorError>> + Send + Unpin + '_ {
        const SQL: &str = "SELECT data FROM pg_catalog.pg_logical_slot_get_binary_changes($1::text::name, \
                           $2::text::pg_lsn, $3, 'proto_version', '1', 'publication_names', $4)";
        sqlx::query(SQL)
            .persistent(false)
            .bind(slot.to_owned())
            .bind(super::cursor::lsn_text(up_to))
            .bind(most)
            .bind(ident(publication))
            .fetch(&mut self.0)
            .map(|row| row.and_then(|row| row.try_get(0)).map_err(|cause| error::server(&cause)))
    }
}

fn texts(row: &PgRow) -> Result<Texts, ConnectorError> {
    let text = |index: usize| {
        let value = row.try_get_raw(index).map_err(|cause| error::server(&cause))?;
        if value.is_null() {
            return Ok(None);
        }
        let text = value.as_str().map_err(|cause| error::unreadable(format!("no text: {cause}")))?;
        Ok(Some(text.to_owned()))
    };
    (0..row.len()).map(text).collect()
}

/// An identifier, quoted.
pub(super) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, quoted; `standard_conforming_strings` is on.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
