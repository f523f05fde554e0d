//! The exact bytes of a commit. Hashes, archives and exports all work on these bytes as they were
//! first written; decoding slices them and nothing ever writes them a second time, so that a later
//! version of this program can't change a hash by serialising differently.
//!
//! Layout, version 1, integers little-endian:
//! `version u8 = 1 | header length u32 | header JSON | event count u32 | events`, and each event is
//! `type length u16 | type | schema version u16 | payload length u32 | payload | has body u8` with,
//! if it has one, `key id u64 | body length u32 | body`.

use autonomos_domain::{
    envelope::{Actor, AggregateKey, AggregateType, CommitHeader, Hash, Origin, StoredBody, StoredEvent},
    ids::{CommandId, TenantId},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use uuid::Uuid;

/// The framing this program writes.
const VERSION: u8 = 1;

/// Why bytes are not a commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("commit format `{0}` is not known to this version of the program")]
    Version(u8),
    #[error("the commit ends within its {0}")]
    Short(&'static str),
    #[error("the commit's {0} is not readable")]
    Unreadable(&'static str),
    #[error("{0} bytes follow the commit's last event")]
    Trailing(usize),
    #[error("an event of a commit has a {0} that is too long")]
    TooLong(&'static str),
}

/// BLAKE3 of stored bytes.
pub fn content_hash(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

/// The cell's running hash after a commit: BLAKE3(previous running hash ‖ content hash). The first
/// commit's previous one is all zeros.
pub fn running_hash(previous: &Hash, content: &Hash) -> Hash {
    let mut both = [0_u8; 64];
    both[..32].copy_from_slice(previous);
    both[32..].copy_from_slice(content);
    *blake3::hash(&both).as_bytes()
}

/// A hash out of its hex form, as headers carry it.
pub fn hash_from_hex(text: &str) -> Option<Hash> {
    let mut hash = [0_u8; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

/// The header as written: the fields of [`CommitHeader`] in this order, borrowed.
#[derive(Serialize)]
struct HeaderRef<'a> {
    tenant: TenantId,
    aggregate_type: AggregateType,
    aggregate_id: Uuid,
    first_version: u64,
    command_id: CommandId,
    request_hash: Option<&'a str>,
    actor: &'a Actor,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    recorded_at: DateTime<Utc>,
    key_id: u64,
    prev_hash: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<Origin>,
}

/// The header as read. A struct of its own, because serde's `flatten` reads through a map.
#[derive(Deserialize)]
struct HeaderOwned {
    tenant: TenantId,
    aggregate_type: AggregateType,
    aggregate_id: Uuid,
    first_version: u64,
    command_id: CommandId,
    request_hash: Option<String>,
    actor: Actor,
    correlation_id: Uuid,
    causation_id: Option<Uuid>,
    recorded_at: DateTime<Utc>,
    key_id: u64,
    prev_hash: Option<String>,
    #[serde(default)]
    origin: Option<Origin>,
}

impl From<HeaderOwned> for CommitHeader {
    fn from(header: HeaderOwned) -> Self {
        Self {
            key: AggregateKey {
                tenant: header.tenant,
                aggregate_type: header.aggregate_type,
                aggregate_id: header.aggregate_id,
            },
            first_version: header.first_version,
            command_id: header.command_id,
            request_hash: header.request_hash,
            actor: header.actor,
            correlation_id: header.correlation_id,
            causation_id: header.causation_id,
            recorded_at: header.recorded_at,
            key_id: header.key_id,
            prev_hash: header.prev_hash,
            origin: header.origin,
        }
    }
}

/// The bytes to store for a commit.
pub fn encode(header: &CommitHeader, events: &[StoredEvent]) -> Result<Bytes, CodecError> {
    let events_size: usize = events
        .iter()
        .map(|event| {
            let body = event.body.as_ref().map_or(0, |body| body.bytes.len() + 12);
            event.event_type.len() + event.payload.len() + body + 9
        })
        .sum();
    let mut bytes = Vec::with_capacity(events_size + 640);
    bytes.push(VERSION);
    bytes.extend_from_slice(&[0; 4]);
    let written = HeaderRef {
        tenant: header.key.tenant,
        aggregate_type: header.key.aggregate_type,
        aggregate_id: header.key.aggregate_id,
        first_version: header.first_version,
        command_id: header.command_id,
        request_hash: header.request_hash.as_deref(),
        actor: &header.actor,
        correlation_id: header.correlation_id,
        causation_id: header.causation_id,
        recorded_at: header.recorded_at,
        key_id: header.key_id,
        prev_hash: header.prev_hash.as_deref(),
        origin: header.origin,
    };
    serde_json::to_writer(&mut bytes, &written).map_err(|_| CodecError::Unreadable("header"))?;
    let header_length = u32::try_from(bytes.len() - 5).map_err(|_| CodecError::TooLong("header"))?;
    bytes[1..5].copy_from_slice(&header_length.to_le_bytes());
    let count = u32::try_from(events.len()).map_err(|_| CodecError::TooLong("list of events"))?;
    bytes.extend_from_slice(&count.to_le_bytes());
    for event in events {
        let type_length = u16::try_from(event.event_type.len()).map_err(|_| CodecError::TooLong("type"))?;
        bytes.extend_from_slice(&type_length.to_le_bytes());
        bytes.extend_from_slice(event.event_type.as_bytes());
        bytes.extend_from_slice(&event.schema_version.to_le_bytes());
        put_block(&mut bytes, &event.payload, "payload")?;
        match &event.body {
            None => bytes.push(0),
            Some(body) => {
                bytes.push(1);
                bytes.extend_from_slice(&body.key_id.to_le_bytes());
                put_block(&mut bytes, &body.bytes, "body")?;
            }
        }
    }
    Ok(Bytes::from(bytes))
}

fn put_block(bytes: &mut Vec<u8>, block: &[u8], name: &'static str) -> Result<(), CodecError> {
    let length = u32::try_from(block.len()).map_err(|_| CodecError::TooLong(name))?;
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(block);
    Ok(())
}

/// Header and events of stored bytes; payloads and bodies are slices of them, not copies.
pub fn decode(bytes: &Bytes) -> Result<(CommitHeader, Vec<StoredEvent>), CodecError> {
    let mut reader = Reader { bytes, at: 0 };
    let header = reader.header()?;
    Ok((header, reader.events()?))
}

/// The events alone, as [`decode`] gives them.
pub(crate) fn decode_events(bytes: &Bytes) -> Result<Vec<StoredEvent>, CodecError> {
    let mut reader = Reader { bytes, at: 0 };
    reader.header_bytes()?;
    reader.events()
}

/// The header alone.
pub fn decode_header(bytes: &Bytes) -> Result<CommitHeader, CodecError> {
    Reader { bytes, at: 0 }.header()
}

struct Reader<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    fn header_bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let version = self.take(1, "version")?[0];
        if version != VERSION {
            return Err(CodecError::Version(version));
        }
        let length = self.u32("header")? as usize;
        self.take(length, "header")
    }

    fn header(&mut self) -> Result<CommitHeader, CodecError> {
        let json = self.header_bytes()?;
        let header: HeaderOwned =
            serde_json::from_slice(json).map_err(|_| CodecError::Unreadable("header"))?;
        Ok(header.into())
    }

    /// Everything after the header.
    fn events(&mut self) -> Result<Vec<StoredEvent>, CodecError> {
        let count = self.u32("event count")? as usize;
        // An event takes at least 9 bytes: a damaged count can't ask for more memory than there is data.
        let mut events = Vec::with_capacity(count.min(self.bytes.len() / 9));
        for _ in 0..count {
            let type_length = self.u16("event type")? as usize;
            let event_type = std::str::from_utf8(self.take(type_length, "event type")?)
                .map_err(|_| CodecError::Unreadable("event type"))?
                .to_owned();
            let schema_version = self.u16("schema version")?;
            let payload = self.block("payload")?;
            let body = match self.take(1, "body")?[0] {
                0 => None,
                1 => Some(StoredBody { key_id: self.u64("body key")?, bytes: self.block("body")? }),
                _ => return Err(CodecError::Unreadable("body")),
            };
            events.push(StoredEvent { event_type, schema_version, payload, body });
        }
        match self.bytes.len() - self.at {
            0 => Ok(events),
            trailing => Err(CodecError::Trailing(trailing)),
        }
    }

    fn take(&mut self, length: usize, part: &'static str) -> Result<&'a [u8], CodecError> {
        let end = self.at.checked_add(length).ok_or(CodecError::Short(part))?;
        let taken = self.bytes.get(self.at..end).ok_or(CodecError::Short(part))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, part: &'static str) -> Result<[u8; N], CodecError> {
        self.take(N, part)?.try_into().map_err(|_| CodecError::Short(part))
    }

    fn u16(&mut self, part: &'static str) -> Result<u16, CodecError> {
        self.array(part).map(u16::from_le_bytes)
    }

    fn u32(&mut self, part: &'static str) -> Result<u32, CodecError> {
        self.array(part).map(u32::from_le_bytes)
    }

    fn u64(&mut self, part: &'static str) -> Result<u64, CodecError> {
        self.array(part).map(u64::from_le_bytes)
    }

    fn block(&mut self, part: &'static str) -> Result<Bytes, CodecError> {
        let length = self.u32(part)? as usize;
        let start = self.at;
        self.take(length, part)?;
        Ok(self.bytes.slice(start..self.at))
    }
}

/// Whether stored bytes are a commit of this aggregate with these versions: a comparison of the
/// header's first fields as text, cheap enough for every commit at every start.
pub fn is_commit_of(bytes: &[u8], key: &AggregateKey, first_version: u64, last_version: u64) -> bool {
    let Some((&[VERSION, a, b, c, d], rest)) = bytes.split_first_chunk::<5>() else {
        return false;
    };
    let header_length = u32::from_le_bytes([a, b, c, d]) as usize;
    let events = rest.get(header_length..).and_then(|rest| rest.first_chunk::<4>());
    let last = events.map(|count| first_version.wrapping_add(u64::from(u32::from_le_bytes(*count))));
    if last != last_version.checked_add(1) {
        return false;
    }
    let mut uuid = [0; uuid::fmt::Hyphenated::LENGTH];
    let mut digits = String::with_capacity(20);
    let written = write!(digits, "{first_version}");
    let mut at = rest;
    let mut next = |expected: &[u8]| match at.strip_prefix(expected) {
        Some(rest) => {
            at = rest;
            true
        }
        None => false,
    };
    written.is_ok()
        && next(br#"{"tenant":""#)
        && next(key.tenant.0.hyphenated().encode_lower(&mut uuid).as_bytes())
        && next(br#"","aggregate_type":""#)
        && next(key.aggregate_type.as_str().as_bytes())
        && next(br#"","aggregate_id":""#)
        && next(key.aggregate_id.hyphenated().encode_lower(&mut uuid).as_bytes())
        && next(br#"","first_version":"#)
        && next(digits.as_bytes())
        && next(b",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> CommitHeader {
        CommitHeader {
            key: AggregateKey {
                tenant: TenantId::SYSTEM,
                aggregate_type: AggregateType::StreamSchema,
                aggregate_id: Uuid::from_u128(7),
            },
            first_version: 3,
            command_id: CommandId(Uuid::from_u128(8)),
            request_hash: None,
            actor: Actor::System("test \"quoted\"".to_owned()),
            correlation_id: Uuid::from_u128(9),
            causation_id: None,
            recorded_at: DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap(),
            key_id: 4,
            prev_hash: Some("ab".repeat(32)),
            origin: None,
        }
    }

    fn events() -> Vec<StoredEvent> {
        vec![
            StoredEvent {
                event_type: "A".to_owned(),
                schema_version: 1,
                payload: Bytes::from_static(b"{}"),
                body: None,
            },
            StoredEvent {
                event_type: "B".to_owned(),
                schema_version: 2,
                payload: Bytes::new(),
                body: Some(StoredBody { key_id: 11, bytes: Bytes::from_static(b"rows") }),
            },
        ]
    }

    #[test]
    fn reads_back_what_it_wrote() {
        let bytes = encode(&header(), &events()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), (header(), events()));
        assert_eq!(decode_header(&bytes).unwrap(), header());
    }

    #[test]
    fn header_is_the_json_of_the_envelope() {
        let bytes = encode(&header(), &[]).unwrap();
        let length = u32::from_le_bytes(bytes[1..5].try_into().unwrap()) as usize;
        assert_eq!(bytes[5..5 + length], *serde_json::to_vec(&header()).unwrap());
    }

    #[test]
    fn first_fields_tell_whose_commit_it_is() {
        let bytes = encode(&header(), &events()).unwrap();
        assert!(is_commit_of(&bytes, &header().key, 3, 4));
        assert!(!is_commit_of(&bytes, &header().key, 3, 5));
        assert!(!is_commit_of(&bytes, &header().key, 30, 31));
        assert!(!is_commit_of(&bytes, &header().key, 4, 5));
        let mut other = header().key;
        other.aggregate_type = AggregateType::Feed;
        assert!(!is_commit_of(&bytes, &other, 3, 4));
    }

    #[test]
    fn every_cut_and_every_flip_is_an_answer_not_a_panic() {
        let bytes = encode(&header(), &events()).unwrap();
        for end in 0..bytes.len() {
            assert!(decode(&bytes.slice(..end)).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = decode(&Bytes::from(flipped));
        }
    }
}
