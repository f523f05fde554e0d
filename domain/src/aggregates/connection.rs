//! A connection to a source: connector, configuration, and which streams it reads.

use super::{domain_event, stored_aggregate};
use crate::error::Error;
use crate::{
    health::{Circuit, ConnectionLimits, Failure, Health, Pause, PauseReason, RequestCount},
    ids::{ScheduleId, SyncId},
    limits::{self, quoted},
    schema::{DiscoveredStream, StreamSelection, SyncMode},
};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};

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
    /// Nothing is synced by itself until a sync by hand goes well or a person resumes it.
    Paused,
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
    LimitsSet {
        limits: ConnectionLimits,
    },
    /// One try of a sync failed; more may follow.
    AttemptFailed {
        sync_id: SyncId,
        attempt: u32,
        at: DateTime<Utc>,
        failure: Failure,
        circuit: Option<Circuit>,
    },
    SyncWentWell {
        sync_id: SyncId,
        at: DateTime<Utc>,
    },
    SyncWentWrong {
        sync_id: SyncId,
        at: DateTime<Utc>,
        failure: Failure,
        consecutive_failures: u32,
    },
    /// It failed as often in a row as there is a warning after.
    ConnectionWarned {
        consecutive_failures: u32,
    },
    ConnectionPaused {
        pause: Pause,
    },
    ConnectionResumed {},
    /// In all, on that day.
    RequestsCounted {
        count: RequestCount,
    },
    ScheduleAttached {
        schedule_id: ScheduleId,
    },
    ScheduleDetached {
        schedule_id: ScheduleId,
    },
    ConnectionDeleted {},
}
domain_event!(ConnectionEvent {
    ConnectionCreated,
    ConnectionUpdated,
    ConnectionTested,
    StreamsDiscovered,
    StreamsSelected,
    LimitsSet,
    AttemptFailed,
    SyncWentWell,
    SyncWentWrong,
    ConnectionWarned,
    ConnectionPaused,
    ConnectionResumed,
    RequestsCounted,
    ScheduleAttached,
    ScheduleDetached,
    ConnectionDeleted,
});

#[derive(Debug, Clone)]
pub enum ConnectionCommand {
    CreateConnection {
        name: String,
        connector: String,
        config: Value,
    },
    UpdateConnection {
        name: Option<String>,
        config: Option<Value>,
    },
    RecordTest {
        ok: bool,
        message: String,
        latency_ms: u64,
    },
    RecordDiscovery {
        streams: Vec<DiscoveredStream>,
    },
    SelectStreams {
        streams: Vec<StreamSelection>,
    },
    SetLimits {
        limits: ConnectionLimits,
    },
    /// `wait_seconds`: how long the source asked to be left alone.
    RecordAttempt {
        sync_id: SyncId,
        attempt: u32,
        failure: Failure,
        wait_seconds: Option<u64>,
        now: DateTime<Utc>,
    },
    /// A sync is over: it failed with that, or went well.
    RecordSync {
        sync_id: SyncId,
        failure: Option<Failure>,
        now: DateTime<Utc>,
    },
    Pause {
        now: DateTime<Utc>,
    },
    Resume,
    CountRequests {
        count: RequestCount,
    },
    AttachSchedule {
        schedule_id: ScheduleId,
    },
    DetachSchedule {
        schedule_id: ScheduleId,
    },
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
    pub limits: ConnectionLimits,
    pub health: Health,
    pub schedules: BTreeSet<ScheduleId>,
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
                // What a sync that was under way still tells.
                Command::RecordAttempt { .. }
                | Command::RecordSync { .. }
                | Command::CountRequests { .. }
                | Command::DetachSchedule { .. } => Ok(Vec::new()),
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
            Command::SetLimits { limits } if limits == self.limits => Ok(Vec::new()),
            Command::SetLimits { limits } => {
                limits.check()?;
                Ok(vec![Event::LimitsSet { limits }])
            }
            Command::RecordAttempt { sync_id, attempt, failure, wait_seconds, now } => {
                if !failure.kind.counts() || self.health.last_attempt == Some((sync_id, attempt)) {
                    return Ok(Vec::new());
                }
                let failure = Failure { message: limits::cut(failure.message), ..failure };
                let circuit = self.health.circuit_after(failure.kind, wait_seconds, now);
                Ok(vec![Event::AttemptFailed { sync_id, attempt, at: now, failure, circuit }])
            }
            Command::RecordSync { sync_id, .. } if self.health.last_sync == Some(sync_id) => Ok(Vec::new()),
            Command::RecordSync { sync_id, failure: None, now } => {
                let mut events = vec![Event::SyncWentWell { sync_id, at: now }];
                if self.health.paused.is_some() {
                    events.push(Event::ConnectionResumed {});
                }
                Ok(events)
            }
            Command::RecordSync { sync_id, failure: Some(failure), now } => {
                Ok(self.failed(sync_id, failure, now))
            }
            Command::Pause { .. } if self.health.paused.is_some() => Ok(Vec::new()),
            Command::Pause { now } => {
                let pause = Pause { at: now, reason: PauseReason::Asked, failure: None };
                Ok(vec![Event::ConnectionPaused { pause }])
            }
            Command::Resume if self.health.paused.is_none() => Ok(Vec::new()),
            Command::Resume => Ok(vec![Event::ConnectionResumed {}]),
            Command::CountRequests { count } if count.requests == 0 => Ok(Vec::new()),
            Command::CountRequests { count } => {
                let before = self.health.requests.filter(|known| known.day == count.day);
                let requests = before.map_or(0, |known| known.requests) + count.requests;
                // Told of an earlier day, after midnight: that day is over.
                if self.health.requests.is_some_and(|known| known.day > count.day) {
                    return Ok(Vec::new());
                }
                Ok(vec![Event::RequestsCounted { count: RequestCount { requests, ..count } }])
            }
            Command::AttachSchedule { schedule_id } if self.schedules.contains(&schedule_id) => {
                Ok(Vec::new())
            }
            Command::AttachSchedule { schedule_id } => {
                let limit = limits::SCHEDULES_PER_CONNECTION;
                limits::count("schedules of a connection", self.schedules.len() + 1, limit)?;
                Ok(vec![Event::ScheduleAttached { schedule_id }])
            }
            Command::DetachSchedule { schedule_id } if !self.schedules.contains(&schedule_id) => {
                Ok(Vec::new())
            }
            Command::DetachSchedule { schedule_id } => Ok(vec![Event::ScheduleDetached { schedule_id }]),
            Command::DeleteConnection => Ok(vec![Event::ConnectionDeleted {}]),
        }
    }

    /// A sync that failed, and what follows from there being so many.
    fn failed(&self, sync_id: SyncId, failure: Failure, now: DateTime<Utc>) -> Vec<ConnectionEvent> {
        let failure = Failure { message: limits::cut(failure.message), ..failure };
        let (health, limits) = (&self.health, &self.limits);
        let counted = u32::from(failure.kind.counts());
        let failures = health.consecutive_failures.saturating_add(counted);
        let mut events = vec![ConnectionEvent::SyncWentWrong {
            sync_id,
            at: now,
            failure: failure.clone(),
            consecutive_failures: failures,
        }];
        if counted == 0 {
            return events;
        }
        if !health.warned && failures >= limits.warn_after() {
            events.push(ConnectionEvent::ConnectionWarned { consecutive_failures: failures });
        }
        let refused = failure.kind.needs_a_person() && failures >= limits.pause_after_refused();
        if health.paused.is_none() && (refused || failures >= limits.pause_after()) {
            let reason = if refused { PauseReason::Refused } else { PauseReason::RepeatedFailure };
            let pause = Pause { at: now, reason, failure: Some(failure) };
            events.push(ConnectionEvent::ConnectionPaused { pause });
        }
        events
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
        stand_after(&mut self.status, &mut self.health, &event);
        match event {
            ConnectionEvent::ConnectionCreated { name, connector, config } => {
                *self = Self { name, connector, config, ..Self::default() };
            }
            ConnectionEvent::ConnectionUpdated { name, config } => {
                self.name = name;
                self.config = config;
            }
            ConnectionEvent::StreamsDiscovered { streams } => self.discovered = Some(streams),
            ConnectionEvent::StreamsSelected { streams } => self.selected = streams,
            ConnectionEvent::LimitsSet { limits } => self.limits = limits,
            ConnectionEvent::ScheduleAttached { schedule_id } => {
                self.schedules.insert(schedule_id);
            }
            ConnectionEvent::ScheduleDetached { schedule_id } => {
                self.schedules.remove(&schedule_id);
            }
            ConnectionEvent::ConnectionDeleted {} => self.status = ConnectionStatus::Deleted,
            // How it stands by them is settled above.
            ConnectionEvent::ConnectionTested { .. }
            | ConnectionEvent::AttemptFailed { .. }
            | ConnectionEvent::SyncWentWell { .. }
            | ConnectionEvent::SyncWentWrong { .. }
            | ConnectionEvent::ConnectionWarned { .. }
            | ConnectionEvent::ConnectionPaused { .. }
            | ConnectionEvent::ConnectionResumed {}
            | ConnectionEvent::RequestsCounted { .. } => {}
        }
    }
}

/// How a connection stands after an event; the read models keep it the same way.
pub fn stand_after(status: &mut ConnectionStatus, health: &mut Health, event: &ConnectionEvent) {
    // A paused one stays paused, however its tests and syncs end.
    let mut become_unless_paused = |next| {
        if *status != ConnectionStatus::Paused {
            *status = next;
        }
    };
    match event {
        ConnectionEvent::ConnectionTested { ok, .. } => {
            if *ok {
                // It answers: nothing is gained by waiting.
                (health.circuit, health.failed_attempts) = (None, 0);
            }
            become_unless_paused(if *ok { ConnectionStatus::Healthy } else { ConnectionStatus::Failing });
        }
        ConnectionEvent::AttemptFailed { sync_id, attempt, at, failure, circuit } => {
            health.failed_attempts =
                if failure.kind.opens_circuit() { health.failed_attempts + 1 } else { 0 };
            health.circuit = circuit.or(health.circuit);
            health.last_attempt = Some((*sync_id, *attempt));
            health.last_failure_at = Some(*at);
            health.last_failure = Some(failure.clone());
            become_unless_paused(ConnectionStatus::Failing);
        }
        ConnectionEvent::SyncWentWell { sync_id, at } => {
            *health = Health {
                last_success_at: Some(*at),
                last_sync: Some(*sync_id),
                paused: health.paused.take(),
                requests: health.requests,
                last_failure: health.last_failure.take(),
                last_failure_at: health.last_failure_at,
                ..Health::default()
            };
            become_unless_paused(ConnectionStatus::Healthy);
        }
        ConnectionEvent::SyncWentWrong { sync_id, at, failure, consecutive_failures } => {
            health.consecutive_failures = *consecutive_failures;
            health.last_sync = Some(*sync_id);
            health.last_failure_at = Some(*at);
            health.last_failure = Some(failure.clone());
            become_unless_paused(ConnectionStatus::Failing);
        }
        ConnectionEvent::ConnectionWarned { .. } => health.warned = true,
        ConnectionEvent::ConnectionPaused { pause } => {
            health.paused = Some(pause.clone());
            *status = ConnectionStatus::Paused;
        }
        ConnectionEvent::ConnectionResumed {} => {
            // It is counted anew from here.
            (health.paused, health.warned, health.consecutive_failures) = (None, false, 0);
            (health.circuit, health.failed_attempts) = (None, 0);
            *status = match (health.last_success_at, health.last_failure_at) {
                (None, None) => ConnectionStatus::Draft,
                (success, failure) if success >= failure => ConnectionStatus::Healthy,
                _ => ConnectionStatus::Failing,
            };
        }
        ConnectionEvent::RequestsCounted { count } => health.requests = Some(*count),
        _ => {}
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
