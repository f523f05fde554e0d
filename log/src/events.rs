//! Domain events in and out of their stored form: the payload is the JSON of the event enum as serde
//! tags it externally, sealed to its aggregate and version.

use crate::{
    port::StoredCommit,
    seal::{KeyRing, SealError, seal_context},
};
use autonomos_domain::{
    envelope::{StoredBody, StoredEvent},
    ids::TenantId,
};
use bytes::Bytes;
use cqrs_es::DomainEvent;
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error(transparent)]
    Seal(#[from] SealError),
    #[error("event `{event_type}` has a payload that is not one: {reason}")]
    Payload { event_type: String, reason: String },
    #[error("the commit has no event {index}")]
    NoEvent { index: usize },
    #[error("event `{event_type}` has no body")]
    NoBody { event_type: String },
}

impl EventError {
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Seal(inner) => inner.code(),
            Self::Payload { .. } => "AOS-0124",
            Self::NoEvent { .. } => "AOS-0125",
            Self::NoBody { .. } => "AOS-0126",
        }
    }

    /// Whether what was sealed is erased on purpose: readers go on without it.
    pub const fn is_shredded(&self) -> bool {
        matches!(self, Self::Seal(SealError::Shredded { .. }))
    }
}

/// An event ready for a commit whose header names `key_id` (0: in clear). `version` is the event's own.
pub fn seal_event<E: Serialize + DomainEvent>(
    ring: &dyn KeyRing,
    tenant: TenantId,
    aggregate_id: Uuid,
    key_id: u64,
    version: u64,
    event: &E,
) -> Result<StoredEvent, EventError> {
    let event_type = event.event_type();
    let clear = serde_json::to_vec(event)
        .map_err(|error| EventError::Payload { event_type: event_type.clone(), reason: error.to_string() })?;
    let schema_version = event.event_version().parse().map_err(|_| EventError::Payload {
        event_type: event_type.clone(),
        reason: format!("its schema version is `{}`, not a number", event.event_version()),
    })?;
    let payload = if key_id == 0 {
        Bytes::from(clear)
    } else {
        ring.seal(tenant, key_id, &seal_context(aggregate_id, version, 0), &clear)?
    };
    Ok(StoredEvent { event_type, schema_version, payload, body: None })
}

/// The body of an event of this version, sealed with a batch key of its own.
pub fn seal_body(
    ring: &dyn KeyRing,
    tenant: TenantId,
    aggregate_id: Uuid,
    batch_key: u64,
    version: u64,
    clear: &[u8],
) -> Result<StoredBody, EventError> {
    let bytes = ring.seal(tenant, batch_key, &seal_context(aggregate_id, version, 1), clear)?;
    Ok(StoredBody { key_id: batch_key, bytes })
}

/// The event at `index` of a commit.
pub fn open_event<E: DomainEvent>(
    ring: &dyn KeyRing,
    commit: &StoredCommit,
    index: usize,
) -> Result<E, EventError> {
    open_as(ring, commit, index)
}

/// The event at `index` of a commit, whatever its type: for streams to clients.
pub fn open_json(
    ring: &dyn KeyRing,
    commit: &StoredCommit,
    index: usize,
) -> Result<serde_json::Value, EventError> {
    open_as(ring, commit, index)
}

/// The clear body of the event at `index` of a commit.
pub fn open_body(ring: &dyn KeyRing, commit: &StoredCommit, index: usize) -> Result<Bytes, EventError> {
    let event = commit.events.get(index).ok_or(EventError::NoEvent { index })?;
    let body =
        event.body.as_ref().ok_or_else(|| EventError::NoBody { event_type: event.event_type.clone() })?;
    let context = context(commit, index, 1);
    Ok(ring.open(commit.header.key.tenant, body.key_id, &context, &body.bytes)?)
}

fn open_as<T: serde::de::DeserializeOwned>(
    ring: &dyn KeyRing,
    commit: &StoredCommit,
    index: usize,
) -> Result<T, EventError> {
    let event = commit.events.get(index).ok_or(EventError::NoEvent { index })?;
    let header = &commit.header;
    let clear = if header.key_id == 0 {
        event.payload.clone()
    } else {
        ring.open(header.key.tenant, header.key_id, &context(commit, index, 0), &event.payload)?
    };
    serde_json::from_slice(&clear).map_err(|error| EventError::Payload {
        event_type: event.event_type.clone(),
        reason: error.to_string(),
    })
}

fn context(commit: &StoredCommit, index: usize, part: u8) -> [u8; 25] {
    let version = commit.header.first_version + index as u64;
    seal_context(commit.header.key.aggregate_id, version, part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{codec, conformance::MemoryKeys};
    use autonomos_domain::{
        aggregates::task::TaskEvent,
        envelope::{Actor, AggregateKey, AggregateType, CommitHeader, Position},
        ids::CommandId,
    };

    fn commit(key_id: u64, tenant: TenantId, events: Vec<StoredEvent>) -> StoredCommit {
        let header = CommitHeader {
            key: AggregateKey {
                tenant,
                aggregate_type: AggregateType::Task,
                aggregate_id: Uuid::from_u128(1),
            },
            first_version: 4,
            command_id: CommandId(Uuid::from_u128(2)),
            request_hash: None,
            actor: Actor::System("test".to_owned()),
            correlation_id: Uuid::from_u128(3),
            causation_id: None,
            recorded_at: chrono::DateTime::UNIX_EPOCH,
            key_id,
            prev_hash: Some("00".repeat(32)),
            origin: None,
        };
        let bytes = codec::encode(&header, &events).unwrap();
        let (header, events) = codec::decode(&bytes).unwrap();
        let position = Position { cell: 0, sequence: 1 };
        let hash = codec::content_hash(&bytes);
        StoredCommit { position, header, events, hash, running_hash: hash, bytes }
    }

    #[test]
    fn events_open_as_they_were_sealed_and_nowhere_else() {
        let ring = MemoryKeys::default();
        let tenant = TenantId(Uuid::from_u128(9));
        let event = TaskEvent::TaskStarted { attempt: 1, worker: "w".to_owned(), term: 0 };
        let aggregate_id = Uuid::from_u128(1);
        for key_id in [0, ring.payload_key(tenant).unwrap()] {
            let mut stored = seal_event(&ring, tenant, aggregate_id, key_id, 4, &event).unwrap();
            let batch_key = ring.batch_keys(tenant, 1).unwrap()[0];
            stored.body = Some(seal_body(&ring, tenant, aggregate_id, batch_key, 4, b"rows").unwrap());
            let stored = commit(key_id, tenant, vec![stored.clone(), stored]);
            assert_eq!(open_event::<TaskEvent>(&ring, &stored, 0).unwrap(), event);
            assert_eq!(open_json(&ring, &stored, 0).unwrap(), serde_json::to_value(&event).unwrap());
            assert_eq!(open_body(&ring, &stored, 0).unwrap(), b"rows"[..]);
            assert!(matches!(open_body(&ring, &stored, 1), Err(EventError::Seal(SealError::Altered { .. }))));
            assert!(matches!(open_json(&ring, &stored, 2), Err(EventError::NoEvent { index: 2 })));
            ring.destroy(tenant, Some(batch_key)).unwrap();
            assert!(open_body(&ring, &stored, 0).unwrap_err().is_shredded());
        }
    }
}
