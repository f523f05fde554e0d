//! What the engine is fed with: the commits of one tenant, opened and decoded by the caller.

use arrow_array::RecordBatch;
use autonomos_domain::{
    aggregates::{
        connection::ConnectionEvent, feed::FeedEvent, identity::IdentityEvent, mapping::MappingEvent,
        ontology::OntologyEvent, unified_view::UnifiedViewEvent,
    },
    envelope::{Hash, Position},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// A commit of one tenant whose seals are open. The caller passes every commit of the aggregate
/// types named by [`OpenedEvents`], oldest first, none twice and none left out.
#[derive(Debug, Clone)]
pub struct OpenedCommit {
    pub position: Position,
    pub recorded_at: DateTime<Utc>,
    pub aggregate_id: Uuid,
    /// Running hash of the cell up to and with this commit: becomes the checkpoint's.
    pub running_hash: Hash,
    pub events: OpenedEvents,
}

/// The events of a commit, by aggregate.
#[derive(Debug, Clone)]
pub enum OpenedEvents {
    Feed(Vec<FeedFact>),
    /// The aggregate's id is the feed's.
    Mapping(Vec<MappingEvent>),
    Connection(Vec<ConnectionEvent>),
    Identity(Vec<IdentityEvent>),
    Ontology(Vec<OntologyEvent>),
    UnifiedView(Vec<UnifiedViewEvent>),
    /// Its key was destroyed: it counts as if it said nothing.
    Erased,
}

/// One event of a feed, with its rows if it has some.
#[derive(Debug, Clone)]
pub struct FeedFact {
    pub event: FeedEvent,
    pub body: BatchBody,
}

/// The rows of a `RecordsIngested`.
#[derive(Debug, Clone)]
pub enum BatchBody {
    /// The event has no rows, or their key was destroyed.
    None,
    /// An opened body: an Arrow IPC stream. Decoded by the engine, one at a time.
    Ipc(Bytes),
    /// Decoded rows, all columns Utf8.
    Rows(RecordBatch),
}
