//! A snapshot held for its volume is completed once a person accepts the finding: what is absent from
//! it closes then. Undo: none; the next full read brings back what is there.

use super::ProcessManager;
use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        feed::Feed,
        stream_schema::{DriftStatus, StreamSchemaEvent},
    },
    envelope::{Actor, AggregateType},
    ids::{CommandId, DriftId, FeedId},
};
use autonomos_log::{events::open_event, port::StoredCommit};

/// A running sync may append between the read and the append; each try reads anew.
const TRIES: usize = 8;

pub(super) struct SnapshotReleaseManager;

#[async_trait]
impl ProcessManager for SnapshotReleaseManager {
    fn name(&self) -> &'static str {
        "snapshot-release"
    }

    fn follows(&self) -> Vec<AggregateType> {
        vec![AggregateType::StreamSchema]
    }

    async fn handle(&self, commands: &Commands, commit: &StoredCommit) -> Result<(), CommandError> {
        for index in 0..commit.events.len() {
            let event: StreamSchemaEvent = match open_event(&**commands.ring(), commit, index) {
                Ok(event) => event,
                Err(error) if error.is_shredded() => continue,
                Err(error) => return Err(error.into()),
            };
            if let StreamSchemaEvent::DriftResolved { drift_id, status: DriftStatus::Accepted } = event {
                release(commands, commit, drift_id).await?;
            }
        }
        Ok(())
    }
}

async fn release(commands: &Commands, commit: &StoredCommit, drift_id: DriftId) -> Result<(), CommandError> {
    let key = commit.header.key;
    // The schema's aggregate has the feed's id.
    let feed_id = FeedId(key.aggregate_id);
    let context = CommandContext {
        correlation_id: commit.header.correlation_id,
        causation_id: Some(commit.header.command_id.0),
        ..CommandContext::new(
            key.tenant,
            Actor::System("snapshot-release".to_owned()),
            CommandId::derive(&["snapshot-release", &feed_id.to_string(), &drift_id.to_string()]),
        )
    };
    let mut tries = 0;
    loop {
        let handle = commands.feed_open(key.tenant, feed_id).await?;
        let feed = Feed { state: handle.state.clone(), closed: handle.closed };
        let Some(event) = feed.release_snapshot(drift_id)? else { return Ok(()) };
        tries += 1;
        match commands.feed_append(&context, feed_id, &handle, event, None).await {
            Err(CommandError::Fenced { .. }) if tries < TRIES => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
}
