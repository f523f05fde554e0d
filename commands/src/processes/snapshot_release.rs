//! A snapshot held for its volume is completed once a person accepts the finding: what is absent from
//! it closes then. Undo: none; the next full read brings back what is there.

use super::{ProcessManager, events, follow_up};
use crate::{error::CommandError, execute::Commands};
use async_trait::async_trait;
use autonomos_domain::{
    aggregates::{
        feed::Feed,
        stream_schema::{DriftStatus, StreamSchemaEvent},
    },
    envelope::AggregateType,
    ids::{DriftId, FeedId},
};
use autonomos_log::port::StoredCommit;

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
        for (_, event) in events::<StreamSchemaEvent>(commands, commit)? {
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
    let context = follow_up(commit, "snapshot-release", &[&feed_id.to_string(), &drift_id.to_string()]);
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
