//! What the log stores: commits of one aggregate, each with one or more events.

use crate::ids::{CommandId, TenantId};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

/// BLAKE3 of stored bytes.
pub type Hash = [u8; 32];

/// The kinds of aggregate; the text form is a token of a log subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AggregateType {
    Tenant,
    User,
    ApiKey,
    Reservation,
    Connection,
    Feed,
    Sync,
    StreamSchema,
    Mapping,
    Ontology,
    UnifiedView,
    Identity,
    Task,
    Schedule,
    Agent,
    LlmAccount,
}

impl AggregateType {
    pub const ALL: [Self; 16] = [
        Self::Tenant,
        Self::User,
        Self::ApiKey,
        Self::Reservation,
        Self::Connection,
        Self::Feed,
        Self::Sync,
        Self::StreamSchema,
        Self::Mapping,
        Self::Ontology,
        Self::UnifiedView,
        Self::Identity,
        Self::Task,
        Self::Schedule,
        Self::Agent,
        Self::LlmAccount,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tenant => "tenant",
            Self::User => "user",
            Self::ApiKey => "api-key",
            Self::Reservation => "reservation",
            Self::Connection => "connection",
            Self::Feed => "feed",
            Self::Sync => "sync",
            Self::StreamSchema => "stream-schema",
            Self::Mapping => "mapping",
            Self::Ontology => "ontology",
            Self::UnifiedView => "unified-view",
            Self::Identity => "identity",
            Self::Task => "task",
            Self::Schedule => "schedule",
            Self::Agent => "agent",
            Self::LlmAccount => "llm-account",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for AggregateType {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// Which aggregate: the tenant is part of the key everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AggregateKey {
    pub tenant: TenantId,
    pub aggregate_type: AggregateType,
    pub aggregate_id: Uuid,
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}/{}", self.tenant, self.aggregate_type, self.aggregate_id)
    }
}

/// Who caused a commit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Actor {
    User(Uuid),
    ApiKey(Uuid),
    /// A process manager or the task runner, by its name.
    System(String),
}

/// The header of a commit. `hash` is not in it: it covers the stored bytes, header included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitHeader {
    #[serde(flatten)]
    pub key: AggregateKey,
    /// Version of the first event; the rest follow without a gap. The first event ever is 1.
    pub first_version: u64,
    pub command_id: CommandId,
    /// BLAKE3 of the request that caused it, so that a retry with another body is told apart.
    pub request_hash: Option<String>,
    pub actor: Actor,
    pub correlation_id: Uuid,
    pub causation_id: Option<Uuid>,
    pub recorded_at: DateTime<Utc>,
    /// The tenant key the payloads are sealed with; 0: in clear (ids, counts and positions only).
    pub key_id: u64,
    /// Hash of the aggregate's previous commit, hex; absent on its first.
    pub prev_hash: Option<String>,
    /// Where the commit stood in the log it was imported from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
}

/// A commit's place in an earlier log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    pub log_id: Uuid,
    pub cell: u16,
    pub sequence: u64,
}

/// A place in the log. Ordered within one cell only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub cell: u16,
    /// 1 for the cell's first commit; dense.
    pub sequence: u64,
}

/// One event as stored: the payload is JSON, sealed with the header's key (`key_id` 0: in clear).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub event_type: String,
    pub schema_version: u16,
    pub payload: bytes::Bytes,
    /// A binary part beside the payload (a record batch), sealed with a key of its own.
    pub body: Option<StoredBody>,
}

/// A sealed binary part of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBody {
    /// The batch key, from the tenant's key store; never 0.
    pub key_id: u64,
    pub bytes: bytes::Bytes,
}
