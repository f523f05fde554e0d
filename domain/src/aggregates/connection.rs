//! A connection to a source: connector, configuration, and which streams it reads.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    limits::{self, quoted},
    schema::{DiscoveredStream, StreamSelection, SyncMode},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;

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
    pub fn decide(&self, command: ConnectionCommand) -> Result<Vec<ConnectionEvent>, Error> {
        use ConnectionCommand as Command;
        use ConnectionEvent as Event;
        if let Command::CreateConnection { name, connector, config } = command {
            if !self.name.is_empty() {
                return Err(Error::AlreadyExists { what: "connection", id: self.name.clone() });
            }
            limits::name("/name", &name)?;
            limits::identifier("/connector", &connector)?;
            check_config(&config)?;
            return Ok(vec![Event::ConnectionCreated { name, connector, config }]);
        }
        if self.name.is_empty() {
            return Err(Error::Missing { what: "connection" });
        }
        if self.status == ConnectionStatus::Deleted {
            return match command {
                Command::DeleteConnection => Ok(Vec::new()),
                _ => Err(Error::WrongState {
                    what: "connection",
                    status: "deleted".to_owned(),
                    action: "change it",
                }),
            };
        }
        match command {
            Command::CreateConnection { .. } => unreachable!("answered above"),
            Command::UpdateConnection { name, config } => {
                let name = name.unwrap_or_else(|| self.name.clone());
                let config = config.unwrap_or_else(|| self.config.clone());
                if name == self.name && config == self.config {
                    return Ok(Vec::new());
                }
                limits::name("/name", &name)?;
                check_config(&config)?;
                Ok(vec![Event::ConnectionUpdated { name, config }])
            }
            Command::RecordTest { ok, message, latency_ms } => {
                Ok(vec![Event::ConnectionTested { ok, message: limits::cut(message), latency_ms }])
            }
            Command::RecordDiscovery { streams } => {
                if self.discovered.as_ref() == Some(&streams) {
                    return Ok(Vec::new());
                }
                check_discovery(&streams)?;
                Ok(vec![Event::StreamsDiscovered { streams }])
            }
            Command::SelectStreams { streams } => {
                if self.selected == streams {
                    return Ok(Vec::new());
                }
                self.check_selection(&streams)?;
                Ok(vec![Event::StreamsSelected { streams }])
            }
            Command::DeleteConnection => Ok(vec![Event::ConnectionDeleted {}]),
        }
    }

    fn check_selection(&self, streams: &[StreamSelection]) -> Result<(), Error> {
        limits::count("streams selected", streams.len(), limits::STREAMS_PER_CONNECTION)?;
        limits::unique("/streams", streams.iter().map(|stream| stream.name.as_str()), "/name")?;
        let Some(discovered) = &self.discovered else {
            return Err(Error::conflict("the connection's streams were not discovered yet"));
        };
        let by_name: HashMap<&str, &DiscoveredStream> =
            discovered.iter().map(|stream| (stream.name.as_str(), stream)).collect();
        for (index, selection) in streams.iter().enumerate() {
            let at = format!("/streams/{index}");
            let Some(stream) = by_name.get(selection.name.as_str()) else {
                let message = format!("the source offers no stream {}", quoted(&selection.name));
                return Err(Error::invalid(format!("{at}/name"), message));
            };
            check_selected(&at, selection, stream)?;
        }
        Ok(())
    }

    fn evolve(&mut self, event: ConnectionEvent) {
        match event {
            ConnectionEvent::ConnectionCreated { name, connector, config } => {
                *self = Self { name, connector, config, ..Self::default() };
            }
            ConnectionEvent::ConnectionUpdated { name, config } => {
                self.name = name;
                self.config = config;
            }
            ConnectionEvent::ConnectionTested { ok, .. } => {
                self.status = if ok { ConnectionStatus::Healthy } else { ConnectionStatus::Failing };
            }
            ConnectionEvent::StreamsDiscovered { streams } => self.discovered = Some(streams),
            ConnectionEvent::StreamsSelected { streams } => self.selected = streams,
            ConnectionEvent::ConnectionDeleted {} => self.status = ConnectionStatus::Deleted,
        }
    }
}

fn check_config(config: &Value) -> Result<(), Error> {
    if !config.is_object() {
        return Err(Error::invalid("/config", "a JSON object is expected"));
    }
    limits::json("bytes of configuration", config)
}

fn check_discovery(streams: &[DiscoveredStream]) -> Result<(), Error> {
    limits::count("streams discovered", streams.len(), limits::STREAMS_DISCOVERED)?;
    limits::unique("/streams", streams.iter().map(|stream| stream.name.as_str()), "/name")?;
    for (index, stream) in streams.iter().enumerate() {
        limits::source_name(&format!("/streams/{index}/name"), &stream.name)?;
        limits::count("columns of a stream", stream.shape.fields.len(), limits::COLUMNS_PER_SHAPE)?;
    }
    Ok(())
}

fn check_selected(at: &str, selection: &StreamSelection, stream: &DiscoveredStream) -> Result<(), Error> {
    if let Some(mode) = selection.sync_mode {
        if !stream.sync_modes.contains(&mode) {
            let message = format!("stream {} cannot be read that way", quoted(&stream.name));
            return Err(Error::invalid(format!("{at}/sync_mode"), message));
        }
        let cursor_known = selection.cursor_field.is_some() || stream.cursor_fields.len() <= 1;
        if mode == SyncMode::Incremental && !cursor_known {
            let message = format!("stream {} has several cursor fields: name one", quoted(&stream.name));
            return Err(Error::invalid(format!("{at}/cursor_field"), message));
        }
    }
    if let Some(cursor) = &selection.cursor_field
        && !stream.cursor_fields.contains(cursor)
    {
        let message = format!("{} is no cursor field of stream {}", quoted(cursor), quoted(&stream.name));
        return Err(Error::invalid(format!("{at}/cursor_field"), message));
    }
    if let Some(key) = &selection.primary_key {
        let at = format!("{at}/primary_key");
        limits::unique(&at, key.iter().map(String::as_str), "")?;
        for (index, column) in key.iter().enumerate() {
            if stream.shape.field(column).is_none() {
                let message = format!("stream {} has no column {}", quoted(&stream.name), quoted(column));
                return Err(Error::invalid(format!("{at}/{index}"), message));
            }
        }
    }
    if let Some(entity) = &selection.entity {
        limits::identifier(&format!("{at}/entity"), entity)?;
    }
    Ok(())
}
