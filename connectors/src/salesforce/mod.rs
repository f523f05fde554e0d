//! The objects of a Salesforce organisation: whole by the Bulk API or page by page, then by what changed.
//!
//! | part | what it does |
//! |---|---|
//! | `config`, `auth` | the configuration and its schema; three ways to a token |
//! | `session`, `error` | signed requests within the quota, tried again where that helps; what refusals mean |
//! | `describe`, `value`, `rows` | objects, fields and types; how values are written |
//! | `soql`, `rest` | queries, pages, records too wide for one query |
//! | `bulk`, `csv`, `results` | jobs and their results |
//! | `read`, `cursor` | snapshots and incremental reads |
//!
//! Change events (the Pub/Sub API) would be a phase of their own after the snapshot, with the replay id
//! in the cursor, as [`crate::postgres`] has one; until there is one, `cdc` is not offered.

mod auth;
mod bulk;
mod config;
mod csv;
mod cursor;
mod describe;
mod error;
mod read;
mod rest;
mod results;
mod rows;
mod session;
mod soql;
mod value;

pub use config::config_schema;

use crate::{
    error::ConnectorError,
    network::NetworkScope,
    port::{CheckStep, Connector, ReadEvent, read_ahead},
    requests::Requests,
};
use async_trait::async_trait;
use autonomos_domain::schema::{DiscoveredStream, StreamSelection, SyncMode};
use config::SalesforceConfig;
use cursor::Cursor;
use futures::stream::BoxStream;
use read::Job;
use serde::Deserialize;
use serde_json::Value;
use session::{Session, Usage};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The connector's id in the catalogue.
pub const CONNECTOR_ID: &str = "salesforce";

/// An answer may be silent for so long: a query may take two minutes.
const SILENCE: Duration = Duration::from_mins(2);

/// An organisation of one tenant's connection.
#[derive(Clone)]
pub struct SalesforceConnector {
    session: Session,
}

impl SalesforceConnector {
    /// Checks the configuration's form; asks nobody.
    pub fn new(config: &Value, network: NetworkScope) -> Result<Self, ConnectorError> {
        Self::patient(config, network, SILENCE)
    }

    /// The same, with another time for which an answer may be silent.
    pub fn patient(config: &Value, network: NetworkScope, silence: Duration) -> Result<Self, ConnectorError> {
        let config = SalesforceConfig::parse(config)?;
        Ok(Self { session: Session::new(config, network, silence)? })
    }

    /// The same, its requests taken from those.
    #[must_use]
    pub fn counting(self, requests: Requests) -> Self {
        Self { session: self.session.counting(requests) }
    }

    /// What a check finds, up to the first step that fails.
    async fn steps(&self) -> Vec<CheckStep> {
        let mut steps = Vec::new();
        match self.session.token(None).await {
            Ok(token) => {
                let host = token.instance.host_str().unwrap_or_default().to_owned();
                steps.push(CheckStep::passed("sign_in", format!("signed in at `{host}`")));
            }
            Err(cause) => {
                steps.push(CheckStep::failed("sign_in", &cause));
                return steps;
            }
        }
        for name in ["api_version", "quota", "read"] {
            let found = match name {
                "api_version" => self.version().await,
                "quota" => self.quota().await,
                _ => self.readable().await,
            };
            match found {
                Ok(message) => steps.push(CheckStep::passed(name, message)),
                Err(cause) => {
                    // Whatever was asked: nothing is, once the share is used.
                    let name = if cause.code() == error::SHARE_USED { "quota" } else { name };
                    steps.push(CheckStep::failed(name, &cause));
                    break;
                }
            }
        }
        steps
    }

    async fn version(&self) -> Result<String, ConnectorError> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let offered: Vec<Version> = self.session.get("/services/data/").await?;
        let wanted = &self.session.config().api_version;
        if offered.iter().any(|offered| offered.version == *wanted) {
            return Ok(format!("the organisation speaks version {wanted}"));
        }
        let newest = offered.last().map_or("none", |version| version.version.as_str());
        Err(error::configuration(
            "/api_version",
            format!("the organisation does not speak version {wanted}: its newest is {newest}"),
        ))
    }

    async fn quota(&self) -> Result<String, ConnectorError> {
        // An answer's header says it more surely than the document, which not every user may read.
        let asked: Result<Value, _> = self.session.get(&self.session.path("limits")).await;
        let limits = match asked.map_err(ConnectorError::from) {
            Err(ConnectorError::Permission { .. }) => Value::Null,
            asked => asked?,
        };
        let daily = &limits["DailyApiRequests"];
        let told = daily["Max"].as_u64().zip(daily["Remaining"].as_u64());
        let told = told.map(|(allowed, left)| Usage { used: allowed.saturating_sub(left), allowed });
        let Some(Usage { used, allowed }) = self.session.usage().or(told) else {
            return Ok("the organisation does not say how many requests it may make".to_owned());
        };
        let share = self.session.config().api_share * 100.0;
        if used as f64 * 100.0 >= allowed as f64 * share {
            return Err(error::share_used(format!(
                "{used} of {allowed} requests of a day are used, and syncs stop at {share:.0} %: wait, or raise `api_share`"
            )));
        }
        Ok(format!("{used} of {allowed} requests of a day are used; syncs stop at {share:.0} %"))
    }

    async fn readable(&self) -> Result<String, ConnectorError> {
        let names = describe::names(&self.session).await?;
        let chosen = &self.session.config().objects;
        let missing: Vec<&str> =
            chosen.iter().filter(|object| !names.contains(object)).map(String::as_str).collect();
        if !missing.is_empty() {
            return Err(error::permission(format!(
                "`{}` cannot be read: check the API names, and that the user's profile lets them read the objects",
                missing.join("`, `")
            )));
        }
        let Some(first) = names.first() else {
            return Err(error::permission(
                "the user may read no object: give their profile the right to read",
            ));
        };
        describe::object(&self.session, first).await?;
        Ok(format!("{} objects can be read", names.len()))
    }
}

#[async_trait]
impl Connector for SalesforceConnector {
    async fn check(&self) -> Result<Vec<CheckStep>, ConnectorError> {
        Ok(self.steps().await)
    }

    async fn discover(&self, cancel: CancellationToken) -> Result<Vec<DiscoveredStream>, ConnectorError> {
        describe::streams(&self.session, &cancel).await
    }

    fn read(
        &self,
        stream: &StreamSelection,
        mode: SyncMode,
        cursor: Option<Value>,
        cancel: CancellationToken,
    ) -> BoxStream<'static, Result<ReadEvent, ConnectorError>> {
        let (this, stream) = (self.clone(), stream.clone());
        let cursor = Cursor::of(cursor, mode, &stream.name);
        let broken = |cause| error::unreadable(format!("the read ended early: {cause}"));
        read_ahead(cancel, broken, move |sender| async move {
            let job = Job { session: this.session.clone(), selection: stream, mode, sender };
            job.run(cursor).await
        })
    }
}
