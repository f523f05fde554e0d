//! Tables and views of a Postgres database: whole, by a cursor column, or by their changes.
//!
//! | part | what it does |
//! |---|---|
//! | `config` | the configuration and its schema |
//! | `session` | one guarded connection; values as text |
//! | `catalog`, `value` | tables, keys, types; how values are written |
//! | `read`, `cursor` | snapshots and incremental reads |
//! | `changes`, `pgoutput`, `slot` | change capture |

mod catalog;
mod changes;
mod config;
mod cursor;
mod error;
mod pgoutput;
mod read;
mod session;
mod slot;
pub(crate) mod value;

pub use config::config_schema;

use crate::{
    error::ConnectorError,
    network::NetworkScope,
    port::{CheckStep, Connector, ReadEvent, read_ahead},
};
use async_trait::async_trait;
use autonomos_domain::{
    ids::ConnectionId,
    schema::{DiscoveredStream, StreamSelection, SyncMode},
};
use catalog::Types;
use config::PostgresConfig;
use cursor::{Cursor, Phase};
use futures::stream::BoxStream;
use read::Job;
use serde_json::Value;
use session::Session;
use tokio_util::sync::CancellationToken;

/// The connector's id in the catalogue.
pub const CONNECTOR_ID: &str = "postgres";

/// The server keeps this much of its log for us before the check warns.
const KEPT_WARNING: u64 = 1 << 30;

/// A database of one tenant's connection.
#[derive(Clone)]
pub struct PostgresConnector {
    config: PostgresConfig,
    network: NetworkScope,
    connection: Option<ConnectionId>,
}

impl PostgresConnector {
    /// Checks the configuration's form; opens nothing.
    pub fn new(
        config: &Value,
        network: NetworkScope,
        connection: Option<ConnectionId>,
    ) -> Result<Self, ConnectorError> {
        let config = PostgresConfig::parse(config)?;
        if config.capture_changes {
            config.slot(connection)?;
        }
        Ok(Self { config, network, connection })
    }

    async fn steps(&self) -> Vec<CheckStep> {
        let mut steps = Vec::new();
        let mut session = match Session::open(&self.config, self.network).await {
            Ok(session) => session,
            Err(cause) => {
                let reached = matches!(
                    cause,
                    ConnectorError::Authentication { .. } | ConnectorError::Permission { .. }
                ) || matches!(&cause, ConnectorError::Configuration { field, .. } if field == "/database");
                if reached {
                    steps.push(CheckStep::passed("reach", "the server answers"));
                }
                steps.push(CheckStep::failed(if reached { "sign_in" } else { "reach" }, &cause));
                return steps;
            }
        };
        steps.push(CheckStep::passed("reach", "the server answers"));
        steps.push(CheckStep::passed("sign_in", format!("signed in as `{}`", self.config.user)));
        if let Err(cause) = self.look(&mut session, &mut steps).await {
            steps.push(CheckStep::failed("look", &cause));
        }
        steps
    }

    async fn look(&self, session: &mut Session, steps: &mut Vec<CheckStep>) -> Result<(), ConnectorError> {
        let tables = catalog::tables(session, &self.config.schemas, None).await?;
        let schemas = self.config.schemas.join("`, `");
        if tables.is_empty() {
            let cause = error::permission(format!(
                "there is nothing to read in `{schemas}`: `GRANT USAGE ON SCHEMA …` and `GRANT SELECT ON ALL TABLES IN SCHEMA …` to the role"
            ));
            steps.push(CheckStep::failed("read", &cause));
            return Ok(());
        }
        steps.push(CheckStep::passed("read", format!("{} tables and views in `{schemas}`", tables.len())));
        if !self.config.capture_changes {
            return Ok(());
        }
        if let Some(missing) = slot::missing(session).await? {
            steps.push(CheckStep::failed("changes", &error::not_ready(missing)));
            return Ok(());
        }
        let followed = tables.iter().filter(|table| table.unfollowable().is_none()).count();
        steps.push(CheckStep::passed("changes", format!("the changes of {followed} tables can be followed")));
        let name = self.config.slot(self.connection)?;
        steps.push(match slot::find(session, &name).await? {
            None => CheckStep::passed("slot", format!("the replication slot `{name}` is made by the first sync")),
            Some(slot) if matches!(slot.status.as_str(), "lost" | "unreserved") => CheckStep::failed(
                "slot",
                &error::not_ready(format!(
                    "the replication slot `{name}` is `{}`: sync more often, or raise `max_slot_wal_keep_size`; its tables are read anew",
                    slot.status
                )),
            ),
            Some(slot) => {
                let warning = if slot.kept > KEPT_WARNING {
                    ": sync more often, or the server's disk fills"
                } else {
                    ""
                };
                let kept = slot.kept / (1 << 20);
                CheckStep::passed("slot", format!("the server keeps {kept} MiB of its log for `{name}`{warning}"))
            }
        });
        Ok(())
    }

    async fn streams(&self) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        let mut session = Session::open(&self.config, self.network).await?;
        let tables = catalog::tables(&mut session, &self.config.schemas, None).await?;
        let columns: Vec<cursor::Column> =
            tables.iter().flat_map(|table| table.columns(SyncMode::Full)).collect();
        let mut types = Types::default();
        types.learn(&mut session, &columns).await?;
        let follow = self.config.capture_changes && slot::missing(&mut session).await?.is_none();
        Ok(tables.iter().map(|table| types.stream(table, follow)).collect())
    }
}

#[async_trait]
impl Connector for PostgresConnector {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        Ok(self.steps().await)
    }

    async fn discover(&self, cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(ConnectorError::Cancelled),
            streams = self.streams() => streams,
        }
    }

    fn read(
        &self,
        stream: &StreamSelection,
        mode: SyncMode,
        cursor: Option<Value>,
        cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>> {
        let (this, stream) = (self.clone(), stream.clone());
        let cursor = Cursor::of(cursor, mode);
        let broken = |cause| error::unreadable(format!("the read ended early: {cause}"));
        read_ahead(cancel, broken, move |sender| async move {
            let job = Job {
                config: this.config.clone(),
                network: this.network,
                connection: this.connection,
                selection: stream,
                mode,
                sender,
            };
            job.run(cursor).await
        })
    }

    /// By its changes, where a person wanted that; else whole, which sees deletes too.
    fn default_mode(&self, stream: &DiscoveredStream) -> SyncMode {
        if stream.sync_modes.contains(&SyncMode::Cdc) { SyncMode::Cdc } else { SyncMode::Full }
    }

    async fn confirm(&self, streams: &[(String, Value)]) -> Result<(), ConnectorError> {
        let place =
            |(_, cursor): &(String, Value)| match Cursor::of(Some(cursor.clone()), SyncMode::Cdc)?.phase {
                Phase::Changes { place } => Some(place.lsn),
                _ => None,
            };
        // A stream that still takes its snapshot needs all there is.
        let places: Option<Vec<u64>> = streams.iter().map(place).collect();
        let Some(up_to) = places.and_then(|places| places.into_iter().min()) else { return Ok(()) };
        let mut session = Session::open(&self.config, self.network).await?;
        slot::confirm(&mut session, &self.config.slot(self.connection)?, up_to).await
    }

    async fn release(&self) -> Result<(), ConnectorError> {
        if !self.config.capture_changes {
            return Ok(());
        }
        let name = self.config.slot(self.connection)?;
        let (publication, own) = self.config.publication(&name);
        let mut session = Session::open(&self.config, self.network).await?;
        slot::release(&mut session, &name, own.then_some(publication.as_str())).await
    }
}
