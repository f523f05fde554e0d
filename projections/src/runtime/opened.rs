//! Commits with their events opened: unsealed and typed.

use super::projector::{ApplyError, Turn};
use autonomos_domain::{
    aggregates::{
        api_key::ApiKeyEvent, connection::ConnectionEvent, feed::FeedEvent, identity::IdentityEvent,
        llm_account::LlmAccountEvent, mapping::MappingEvent, ontology::OntologyEvent,
        schedule::ScheduleEvent, stream_schema::StreamSchemaEvent, sync::SyncEvent, task::TaskEvent,
        tenant::TenantEvent, unified_view::UnifiedViewEvent, user::UserEvent,
    },
    envelope::AggregateType,
    ids::TenantId,
};
use autonomos_log::{
    events::{EventError, open_event},
    port::StoredCommit,
    seal::{KeyRing, SealError},
};
use std::sync::Arc;

/// An event of any aggregate.
#[derive(Debug, Clone)]
pub enum Event {
    Tenant(TenantEvent),
    User(UserEvent),
    ApiKey(ApiKeyEvent),
    Connection(ConnectionEvent),
    Feed(FeedEvent),
    Sync(SyncEvent),
    StreamSchema(StreamSchemaEvent),
    Mapping(MappingEvent),
    Ontology(OntologyEvent),
    UnifiedView(UnifiedViewEvent),
    Identity(IdentityEvent),
    Task(TaskEvent),
    Schedule(ScheduleEvent),
    LlmAccount(LlmAccountEvent),
    /// Its key was destroyed: what it said is erased.
    Erased,
    /// Of an aggregate without events yet.
    Unknown,
}

/// A commit and its events.
#[derive(Debug, Clone)]
pub struct Opened {
    pub commit: Arc<StoredCommit>,
    pub events: Vec<Event>,
}

impl Opened {
    pub fn tenant(&self) -> TenantId {
        self.commit.header.key.tenant
    }

    /// Opens all events of a commit. Blocking: a key may have to be fetched.
    pub fn open(ring: &dyn KeyRing, commit: Arc<StoredCommit>) -> Result<Self, EventError> {
        let events = (0..commit.events.len())
            .map(|index| match open_typed(ring, &commit, index) {
                Err(error) if error.is_shredded() => Ok(Event::Erased),
                other => other,
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { commit, events })
    }
}

fn open_typed(ring: &dyn KeyRing, commit: &StoredCommit, index: usize) -> Result<Event, EventError> {
    Ok(match commit.header.key.aggregate_type {
        AggregateType::Tenant => Event::Tenant(open_event(ring, commit, index)?),
        AggregateType::User => Event::User(open_event(ring, commit, index)?),
        AggregateType::ApiKey => Event::ApiKey(open_event(ring, commit, index)?),
        AggregateType::Connection => Event::Connection(open_event(ring, commit, index)?),
        AggregateType::Feed => Event::Feed(open_event(ring, commit, index)?),
        AggregateType::Sync => Event::Sync(open_event(ring, commit, index)?),
        AggregateType::StreamSchema => Event::StreamSchema(open_event(ring, commit, index)?),
        AggregateType::Mapping => Event::Mapping(open_event(ring, commit, index)?),
        AggregateType::Ontology => Event::Ontology(open_event(ring, commit, index)?),
        AggregateType::UnifiedView => Event::UnifiedView(open_event(ring, commit, index)?),
        AggregateType::Identity => Event::Identity(open_event(ring, commit, index)?),
        AggregateType::Task => Event::Task(open_event(ring, commit, index)?),
        AggregateType::Schedule => Event::Schedule(open_event(ring, commit, index)?),
        AggregateType::LlmAccount => Event::LlmAccount(open_event(ring, commit, index)?),
        AggregateType::Reservation | AggregateType::Agent => Event::Unknown,
    })
}

/// Opens the commits of turns, off the async threads. A commit that cannot be opened is poison; a
/// failing key store is not.
pub(crate) async fn open_turns(ring: Arc<dyn KeyRing>, turns: &[Turn]) -> Result<Vec<Opened>, ApplyError> {
    let commits: Vec<_> = turns.iter().flat_map(|turn| turn.commits.iter().cloned()).collect();
    let open = move || {
        commits
            .into_iter()
            .map(|commit| {
                Opened::open(&*ring, commit.clone()).map_err(|error| poison_or_store(&commit, &error))
            })
            .collect::<Result<Vec<_>, _>>()
    };
    tokio::task::spawn_blocking(open)
        .await
        .map_err(|error| ApplyError::Store(crate::ProjectionError::Store(error.to_string())))?
}

/// Whether an event that cannot be opened parks its tenant, or is worth another try.
pub(crate) fn poison_or_store(commit: &StoredCommit, error: &EventError) -> ApplyError {
    match error {
        EventError::Seal(SealError::Store(message) | SealError::Unreachable(message)) => {
            ApplyError::Store(crate::ProjectionError::Store(message.clone()))
        }
        _ => ApplyError::Poison {
            tenant: commit.header.key.tenant,
            sequence: commit.position.sequence,
            code: error.code().to_owned(),
            message: error.to_string(),
        },
    }
}
