//! A connection to a source: connector, configuration, and which streams it reads.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::schema::{DiscoveredStream, StreamSelection};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionStatus {
    /// Never tried.
    #[default]
    Draft,
    /// The last test or sync went well.
    Healthy,
    /// The last test or sync failed.
    Failing,
    Deleted,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum ConnectionEvent {
    /// Secrets in `config` are sealed with the payload; reads mask them by the connector's schema.
    ConnectionCreated {
        name: String,
        connector: String,
        config: Value,
    },
    ConnectionUpdated {
        name: String,
        config: Value,
    },
    ConnectionTested {
        ok: bool,
        message: String,
        latency_ms: u64,
    },
    StreamsDiscovered {
        streams: Vec<DiscoveredStream>,
    },
    StreamsSelected {
        streams: Vec<StreamSelection>,
    },
    ConnectionDeleted {},
}
domain_event!(ConnectionEvent {
    ConnectionCreated,
    ConnectionUpdated,
    ConnectionTested,
    StreamsDiscovered,
    StreamsSelected,
    ConnectionDeleted,
});

#[derive(Debug, Clone)]
pub enum ConnectionCommand {
    CreateConnection { name: String, connector: String, config: Value },
    UpdateConnection { name: Option<String>, config: Option<Value> },
    RecordTest { ok: bool, message: String, latency_ms: u64 },
    RecordDiscovery { streams: Vec<DiscoveredStream> },
    SelectStreams { streams: Vec<StreamSelection> },
    DeleteConnection,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    /// Empty until created.
    pub name: String,
    pub connector: String,
    pub config: Value,
    pub status: ConnectionStatus,
    /// What the last discovery found; none before the first.
    pub discovered: Option<Vec<DiscoveredStream>>,
    pub selected: Vec<StreamSelection>,
}
stored_aggregate!(Connection, Connection, ConnectionCommand, ConnectionEvent);

impl Connection {
    /// What the command would change; nothing is changed by asking.
    pub fn decide(&self, _command: ConnectionCommand) -> Result<Vec<ConnectionEvent>, Error> {
        Ok(Vec::new())
    }

    fn evolve(&mut self, _event: ConnectionEvent) {}
}
