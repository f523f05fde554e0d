//! Collections of a MongoDB database: whole, by a cursor field, or by their changes.
//!
//! | part | what it does |
//! |---|---|
//! | `config` | the configuration and its schema |
//! | `session` | one guarded connection |
//! | `catalog`, `sample` | collections, validators, what their documents look like |
//! | `layout`, `value` | how documents become columns; how values are written |
//! | `read`, `rows`, `cursor` | snapshots and incremental reads |
//! | `changes` | change capture |

mod catalog;
mod changes;
mod config;
mod cursor;
mod error;
mod layout;
mod read;
mod rows;
mod sample;
mod session;
mod value;

pub use config::config_schema;

use crate::{
    error::ConnectorError,
    network::NetworkScope,
    port::{CheckStep, Connector, ReadEvent, read_ahead},
};
use async_trait::async_trait;
use autonomos_domain::schema::{DiscoveredStream, StreamSelection, SyncMode};
use catalog::Collection;
use config::MongoConfig;
use cursor::Cursor;
use futures::{FutureExt, StreamExt, TryStreamExt, stream::BoxStream};
use layout::Known;
use mongodb::bson::{Document, doc};
use read::Job;
use serde_json::Value;
use session::Session;
use tokio_util::sync::CancellationToken;

/// The connector's id in the catalogue.
pub const CONNECTOR_ID: &str = "mongodb";

/// Collections that are looked at at the same time.
const LOOKS: usize = 4;
/// Paths whose types are told, of all collections together: they are stored in one event.
const MAX_PATHS: usize = 5_000;
/// A server that keeps less than this of its changes makes the check warn: a day.
const WINDOW: u32 = 24 * 60 * 60;

/// A database of one tenant's connection.
#[derive(Clone)]
pub struct MongoConnector {
    config: MongoConfig,
    network: NetworkScope,
}

impl MongoConnector {
    /// Checks the configuration's form; opens nothing.
    pub fn new(config: &Value, network: NetworkScope) -> Result<Self, ConnectorError> {
        Ok(Self { config: MongoConfig::parse(config)?, network })
    }

    async fn steps(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        let mut steps = Vec::new();
        let session = match Session::open(&self.config, self.network).await {
            Ok(session) => session,
            Err(cause) => {
                let reached = matches!(
                    cause,
                    ConnectorError::Authentication { .. } | ConnectorError::Permission { .. }
                );
                if reached {
                    steps.push(CheckStep::passed("reach", "the server answers"));
                }
                steps.push(CheckStep::failed(if reached { "sign_in" } else { "reach" }, &cause));
                return Ok(steps);
            }
        };
        steps.push(CheckStep::passed("reach", "the server answers"));
        let user = self.config.credential()?.map(|(user, _)| user);
        steps.push(CheckStep::passed(
            "sign_in",
            user.map_or_else(|| "nobody signs in".to_owned(), |user| format!("signed in as `{user}`")),
        ));
        let database = self.config.database.trim();
        let found = match catalog::collections(&session, &self.config, None).await {
            Ok(found) => found,
            Err(cause) => {
                steps.push(CheckStep::failed("read", &cause));
                return Ok(steps);
            }
        };
        let Some(first) = found.first() else {
            let cause = error::permission(format!(
                "there is no collection to read in `{database}`: check its name, and give the user the role `read` on it"
            ));
            steps.push(CheckStep::failed("read", &cause));
            return Ok(steps);
        };
        let look = doc! { "find": &first.name, "limit": 1, "singleBatch": true };
        if let Err(cause) = session.run(look).await {
            steps.push(CheckStep::failed("read", &cause));
            return Ok(steps);
        }
        steps.push(CheckStep::passed("read", format!("{} collections in `{database}`", found.len())));
        if !session.keeps_changes() {
            let message = "the server is alone, and no member of a replica set: its collections can be read whole, their changes cannot be followed";
            steps.push(CheckStep::passed("changes", message.to_owned()));
            return Ok(steps);
        }
        steps.push(match self.followed(&session, &found).await {
            Ok(message) => CheckStep::passed("changes", message),
            Err(cause) => CheckStep::failed("changes", &cause),
        });
        steps.push(CheckStep::passed("history", history(&session).await));
        Ok(steps)
    }

    /// Whether changes can be followed, tried on one collection.
    async fn followed(&self, session: &Session, found: &[Collection]) -> Result<String, ConnectorError> {
        let ordinary: Vec<&Collection> = found.iter().filter(|one| one.is_ordinary()).collect();
        if let Some(one) = ordinary.first() {
            let source = session.collection(&one.name);
            source.watch().await.map_err(|cause| error::server(&cause))?;
        }
        let place = match &session.set {
            Some(set) => format!("replica set `{set}`"),
            None => "sharded cluster".to_owned(),
        };
        Ok(format!("{place}: the changes of {} collections can be followed", ordinary.len()))
    }

    async fn stream(
        &self,
        session: &Session,
        collection: &Collection,
    ) -> Result<DiscoveredStream, ConnectorError> {
        let sample = sample::take(session, collection, self.config.sample_size).await?;
        let known = Known { levels: self.config.nested_levels, ..Known::default() };
        let layout = sample::learnt(&known, &sample.documents)?;
        Ok(catalog::stream(collection, &layout, &sample, session.keeps_changes()))
    }

    async fn streams(&self) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        let session = &Session::open(&self.config, self.network).await?;
        let found = catalog::collections(session, &self.config, None).await?;
        let looks: Vec<_> = found.iter().map(|collection| self.stream(session, collection).boxed()).collect();
        let mut streams: Vec<DiscoveredStream> =
            futures::stream::iter(looks).buffered(LOOKS).try_collect().await?;
        let mut left = MAX_PATHS;
        for sampled in streams.iter_mut().filter_map(|stream| stream.sampled.as_mut()) {
            while sampled.paths.len() > left {
                sampled.paths.pop_last();
            }
            left -= sampled.paths.len();
        }
        Ok(streams)
    }
}

/// For how long the server keeps its changes, as far as it lets the user see.
async fn history(session: &Session) -> String {
    let log = session.database.client().database("local").collection::<Document>("oplog.rs");
    let at = |order: i32| {
        let found = log.find_one(doc! {}).sort(doc! { "$natural": order }).projection(doc! { "ts": 1 });
        async move { found.await.ok().flatten().and_then(|entry| entry.get_timestamp("ts").ok()) }
    };
    match (at(1).await, at(-1).await) {
        (Some(first), Some(last)) => {
            let seconds = last.time.saturating_sub(first.time);
            let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
            let warning = if seconds < WINDOW { ": sync more often than that" } else { "" };
            format!("the server has its changes of the last {hours} h {minutes} min{warning}")
        }
        _ => "for how long the server keeps its changes it does not tell this user".to_owned(),
    }
}

#[async_trait]
impl Connector for MongoConnector {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        self.steps().await
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
            let job =
                Job { config: this.config.clone(), network: this.network, selection: stream, mode, sender };
            job.run(cursor).await
        })
    }

    /// By its changes, where the server keeps them; else whole, which sees deletes too.
    fn default_mode(&self, stream: &DiscoveredStream) -> SyncMode {
        if stream.sync_modes.contains(&SyncMode::Cdc) { SyncMode::Cdc } else { SyncMode::Full }
    }
}
