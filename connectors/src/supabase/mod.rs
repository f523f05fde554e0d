//! The tables and views of a Supabase project: through its REST API, which is PostgREST, or through its
//! database, which is what [`crate::postgres`] reads.
//!
//! | part | what it does |
//! |---|---|
//! | `config` | the configuration and its schema; the two ways |
//! | `session`, `error` | signed requests, tried again where that helps; what refusals mean |
//! | `describe`, `value` | tables, keys and types as PostgREST describes them; how values are written |
//! | `query`, `pages` | requests for rows; pages in the order of a key |
//! | `read`, `cursor` | snapshots and incremental reads |

mod config;
mod cursor;
mod describe;
mod error;
mod pages;
mod query;
mod read;
mod session;
mod value;

pub use config::config_schema;

use crate::{
    error::ConnectorError,
    network::NetworkScope,
    port::{CheckStep, Connector, ReadEvent, read_ahead},
    postgres::PostgresConnector,
    requests::Requests,
};
use async_trait::async_trait;
use autonomos_domain::{
    ids::ConnectionId,
    schema::{DiscoveredStream, StreamSelection, SyncMode},
};
use config::{Access, within};
use cursor::Cursor;
use futures::{StreamExt, stream::BoxStream};
use read::Job;
use serde_json::Value;
use session::{Role, Session};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The connector's id in the catalogue.
pub const CONNECTOR_ID: &str = "supabase";

/// An answer may be silent for so long: a statement may take as long as the server lets it.
const SILENCE: Duration = Duration::from_mins(2);

/// Tables of which a check wants to read one: some may be shown though the key may not select from them.
const PROBED: usize = 5;

/// A project of one tenant's connection.
#[derive(Clone)]
pub struct SupabaseConnector(Way);

#[derive(Clone)]
enum Way {
    Rest(Session),
    Database(Box<PostgresConnector>),
}

impl SupabaseConnector {
    /// Checks the configuration's form; asks nobody.
    pub fn new(
        config: &Value,
        network: NetworkScope,
        connection: Option<ConnectionId>,
    ) -> Result<Self, ConnectorError> {
        Ok(Self(match config::parse(config)? {
            Access::Rest(config) => Way::Rest(Session::new(config, network, SILENCE)?),
            Access::Database(config) => {
                let database = PostgresConnector::new(&config, network, connection).map_err(within)?;
                Way::Database(Box::new(database))
            }
        }))
    }
}

impl SupabaseConnector {
    /// The same, its requests over HTTP taken from those.
    #[must_use]
    pub fn counting(self, requests: Requests) -> Self {
        match self.0 {
            Way::Rest(session) => Self(Way::Rest(session.counting(requests))),
            Way::Database(_) => self,
        }
    }
}

/// What a check finds, up to the first step that fails.
async fn steps(session: &Session) -> Vec<CheckStep> {
    let mut steps = Vec::new();
    let found = match session.root().await {
        Ok(_) => describe::offered(session).await.map_err(ConnectorError::from),
        Err(cause) => Err(cause),
    };
    let tables = match found {
        Ok(tables) => tables,
        Err(cause) => {
            let answers = matches!(
                cause,
                ConnectorError::Authentication { .. } | ConnectorError::Permission { .. }
            ) || matches!(&cause, ConnectorError::Configuration { field, .. } if field == "/access/schema");
            if answers {
                steps.push(CheckStep::passed("reach", "the server answers"));
            }
            steps.push(CheckStep::failed(if answers { "sign_in" } else { "reach" }, &cause));
            return steps;
        }
    };
    steps.push(CheckStep::passed("reach", "PostgREST answers"));
    steps.push(match session::role(&session.config().api_key) {
        Role::Service => CheckStep::passed("sign_in", "the key is the service role's"),
        Role::Of(role) => CheckStep::passed(
            "sign_in",
            format!(
                "warning: the key's role is `{role}`, from which row-level security hides rows as if they were not there: use a secret key, or the `service_role` key"
            ),
        ),
        Role::Unknown => CheckStep::passed(
            "sign_in",
            "warning: the key does not say whose it is: row-level security may hide rows from it",
        ),
    });
    steps.push(match readable(session, &tables).await {
        Ok(message) => CheckStep::passed("read", message),
        Err(cause) => CheckStep::failed("read", &cause),
    });
    steps
}

async fn readable(session: &Session, tables: &[describe::Table]) -> Result<String, ConnectorError> {
    let config = session.config();
    let chosen = config.tables.iter();
    let missing: Vec<&str> =
        chosen.filter(|name| !tables.iter().any(|table| table.name == **name)).map(String::as_str).collect();
    if !missing.is_empty() {
        return Err(error::permission(format!(
            "`{}` cannot be read: check the names, and that the key's role may select from them",
            missing.join("`, `")
        )));
    }
    let mut cause = error::permission(format!(
        "there is nothing to read in `{}`: expose the schema in the API's settings, and `GRANT SELECT` on its tables to the key's role",
        config.schema
    ));
    for table in tables.iter().take(PROBED) {
        match session.rows(&table.name, &[("limit", "1".to_owned())], "").await {
            Ok(_) => return Ok(format!("{} tables and views in `{}`", tables.len(), config.schema)),
            Err(refused) => cause = refused.error,
        }
    }
    Err(cause)
}

async fn streams(session: &Session) -> Result<Vec<DiscoveredStream>, ConnectorError> {
    let tables = describe::offered(session).await?;
    Ok(tables.iter().map(|table| table.discovered(&session.config().schema)).collect())
}

#[async_trait]
impl Connector for SupabaseConnector {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        match &self.0 {
            Way::Rest(session) => Ok(steps(session).await),
            Way::Database(database) => database.check().await,
        }
    }

    async fn discover(&self, cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        match &self.0 {
            Way::Rest(session) => tokio::select! {
                biased;
                () = cancel.cancelled() => Err(ConnectorError::Cancelled),
                streams = streams(session) => streams,
            },
            Way::Database(database) => database.discover(cancel).await.map_err(within),
        }
    }

    fn read(
        &self,
        stream: &StreamSelection,
        mode: SyncMode,
        cursor: Option<Value>,
        cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>> {
        let session = match &self.0 {
            Way::Rest(session) => session.clone(),
            Way::Database(database) => {
                let events = database.read(stream, mode, cursor, cancel);
                return events.map(|event| event.map_err(within)).boxed();
            }
        };
        let selection = stream.clone();
        let cursor = Cursor::of(cursor, mode, &selection.name);
        let broken = |cause| error::unreadable(format!("the read ended early: {cause}"));
        read_ahead(cancel, broken, move |sender| async move {
            Job { session, selection, mode, sender }.run(cursor).await
        })
    }

    /// By its changes, where a person wanted that; else whole, which sees deletes too.
    fn default_mode(&self, stream: &DiscoveredStream) -> SyncMode {
        if stream.sync_modes.contains(&SyncMode::Cdc) { SyncMode::Cdc } else { SyncMode::Full }
    }

    async fn confirm(&self, streams: &[(String, Value)]) -> Result<(), ConnectorError> {
        match &self.0 {
            Way::Rest(_) => Ok(()),
            Way::Database(database) => database.confirm(streams).await.map_err(within),
        }
    }

    async fn release(&self) -> Result<(), ConnectorError> {
        match &self.0 {
            Way::Rest(_) => Ok(()),
            Way::Database(database) => database.release().await.map_err(within),
        }
    }
}
