//! Feeds are appended to straight through the log, with the version their reader believes in: there
//! is one reader at a time, and one that was paused and wakes up later can append nothing.

use crate::{
    error::CommandError,
    execute::{CommandContext, Commands},
};
use autonomos_domain::{
    aggregates::feed::{FeedEvent, FeedState},
    envelope::{AggregateKey, AggregateType, Hash},
    ids::{FeedId, TenantId},
};
use autonomos_log::{
    error::AppendError,
    events::{open_event, seal_body},
};
use bytes::Bytes;
use std::sync::Arc;

/// Bodies above this are sealed off the async threads.
const SEAL_INLINE: usize = 64 * 1024;

/// Where a reader believes the feed stands.
#[derive(Debug, Clone)]
pub struct FeedHandle {
    pub tenant: TenantId,
    pub feed_id: FeedId,
    /// None before the first event.
    pub state: Option<FeedState>,
    /// 0 before the first event.
    pub version: u64,
    pub last_hash: Option<Hash>,
    /// Its connection was deleted; nothing may be appended.
    pub closed: bool,
}

impl FeedHandle {
    /// The feed's key on the log.
    pub const fn key(&self) -> AggregateKey {
        feed_key(self.tenant, self.feed_id)
    }
}

const fn feed_key(tenant: TenantId, feed_id: FeedId) -> AggregateKey {
    AggregateKey { tenant, aggregate_type: AggregateType::Feed, aggregate_id: feed_id.0 }
}

impl Commands {
    /// Reads where a feed stands: its last commit, nothing else.
    pub async fn feed_open(&self, tenant: TenantId, feed_id: FeedId) -> Result<FeedHandle, CommandError> {
        let Some(commit) = self.log().load_last(&feed_key(tenant, feed_id)).await? else {
            return Ok(FeedHandle {
                tenant,
                feed_id,
                state: None,
                version: 0,
                last_hash: None,
                closed: false,
            });
        };
        let event: FeedEvent = open_event(&**self.ring(), &commit, commit.events.len() - 1)?;
        Ok(FeedHandle {
            tenant,
            feed_id,
            state: Some(event.state().clone()),
            version: commit.last_version(),
            last_hash: Some(commit.hash),
            closed: matches!(event, FeedEvent::FeedClosed { .. }),
        })
    }

    /// Appends one event to a feed that stands where `expected` says, and answers where it stands
    /// then. `body` is a batch key and the clear bytes of the rows. A feed that stands elsewhere
    /// has another reader: [`CommandError::Fenced`], never tried again.
    pub async fn feed_append(
        &self,
        context: &CommandContext,
        feed_id: FeedId,
        expected: &FeedHandle,
        event: FeedEvent,
        body: Option<(u64, Bytes)>,
    ) -> Result<FeedHandle, CommandError> {
        let key = expected.key();
        if expected.closed {
            return Err(CommandError::FeedClosed { key });
        }
        if context.tenant != expected.tenant || feed_id != expected.feed_id {
            return Err(CommandError::NotFound { what: "feed", id: feed_id.to_string() });
        }
        let mut commit = self.inner().seal_commit(
            context,
            key,
            expected.version,
            expected.last_hash,
            std::slice::from_ref(&event),
        )?;
        if let Some((batch_key, clear)) = body {
            commit.events[0].body = Some(self.seal_rows(key, batch_key, expected.version + 1, clear).await?);
        }
        match self.log().append(commit).await {
            Ok(appended) => Ok(FeedHandle {
                version: expected.version + 1,
                last_hash: Some(appended.hash),
                closed: matches!(event, FeedEvent::FeedClosed { .. }),
                state: Some(event.state().clone()),
                ..expected.clone()
            }),
            Err(AppendError::Conflict { .. }) => Err(CommandError::Fenced { key }),
            Err(error) => Err(error.into()),
        }
    }

    async fn seal_rows(
        &self,
        key: AggregateKey,
        batch_key: u64,
        version: u64,
        clear: Bytes,
    ) -> Result<autonomos_domain::envelope::StoredBody, CommandError> {
        let ring = Arc::clone(self.ring());
        let small = clear.len() <= SEAL_INLINE;
        let seal = move || seal_body(&*ring, key.tenant, key.aggregate_id, batch_key, version, &clear);
        if small {
            return Ok(seal()?);
        }
        Ok(tokio::task::spawn_blocking(seal).await.map_err(|_| CommandError::ShuttingDown)??)
    }
}
