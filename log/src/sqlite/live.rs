//! Subscriptions. The last commits stay in memory while anyone subscribes; who is slower than they
//! fall out reads from the store again, so nobody's slowness costs memory or the writer's time.

use super::Shared;
use crate::{
    error::LogError,
    port::{Delivery, Filter, Head, ReadLimit, StoredCommit},
};
use futures::stream::BoxStream;
use parking_lot::Mutex;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::watch;

/// Bounds of what stays in memory.
const TAIL_COMMITS: usize = 4096;
const TAIL_BYTES: usize = 32 << 20;
/// One read of a subscription that catches up.
const CATCH_UP: ReadLimit = ReadLimit { commits: 512, bytes: 4 << 20 };

/// The last commits, contiguous.
#[derive(Default)]
pub(super) struct Tail {
    subscribers: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    commits: VecDeque<Arc<StoredCommit>>,
    bytes: usize,
}

impl Tail {
    /// Adds commits that just became durable.
    pub(super) fn extend<'a>(&self, commits: impl Iterator<Item = &'a Arc<StoredCommit>>) {
        let mut kept = self.kept.lock();
        if self.subscribers.load(Ordering::Acquire) == 0 {
            *kept = Kept::default();
            return;
        }
        for commit in commits {
            kept.bytes += commit.bytes.len();
            kept.commits.push_back(Arc::clone(commit));
        }
        while kept.commits.len() > TAIL_COMMITS || kept.bytes > TAIL_BYTES {
            let Some(dropped) = kept.commits.pop_front() else {
                break;
            };
            kept.bytes -= dropped.bytes.len();
        }
    }

    /// All that matches after a sequence, and how far that reaches; `None` if it is not all here.
    fn after(&self, sequence: u64, filter: &Filter) -> Option<(VecDeque<Arc<StoredCommit>>, u64)> {
        let kept = self.kept.lock();
        let first = kept.commits.front()?.position.sequence;
        let last = kept.commits.back()?.position.sequence;
        if sequence + 1 < first || sequence >= last {
            return None;
        }
        let skipped = (sequence + 1 - first) as usize;
        let matching = kept
            .commits
            .iter()
            .skip(skipped)
            .filter(|commit| matches(filter, commit))
            .map(Arc::clone)
            .collect();
        Some((matching, last))
    }
}

fn matches(filter: &Filter, commit: &StoredCommit) -> bool {
    let key = &commit.header.key;
    filter.tenant.is_none_or(|tenant| tenant == key.tenant)
        && (filter.aggregate_types.is_empty() || filter.aggregate_types.contains(&key.aggregate_type))
}

struct Subscription {
    shared: Arc<Shared>,
    heads: watch::Receiver<Head>,
    filter: Filter,
    /// Everything up to here was looked at; what matched is in `pending`.
    at: u64,
    /// The last sequence the reader was told of.
    told: u64,
    /// Whether the reader was told that it reached the end.
    caught_up: bool,
    pending: VecDeque<Arc<StoredCommit>>,
    failed: bool,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.tail.subscribers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Subscription {
    async fn next(&mut self) -> Option<Result<Delivery, LogError>> {
        if self.failed {
            return None;
        }
        loop {
            if let Some(commit) = self.pending.pop_front() {
                self.told = commit.position.sequence;
                return Some(Ok(Delivery::Commit(commit)));
            }
            let head = self.heads.borrow_and_update().sequence;
            let arrives = !self.caught_up && self.at >= head;
            if self.at > self.told || arrives {
                self.told = self.at;
                self.caught_up |= arrives;
                return Some(Ok(Delivery::CaughtUp(self.at)));
            }
            if self.at < head {
                if let Err(error) = self.fetch().await {
                    self.failed = true;
                    return Some(Err(error));
                }
            } else if self.heads.changed().await.is_err() {
                return None;
            }
        }
    }

    async fn fetch(&mut self) -> Result<(), LogError> {
        if let Some((matching, last)) = self.shared.tail.after(self.at, &self.filter) {
            self.pending = matching;
            self.at = last;
            return Ok(());
        }
        let page = self.shared.read(self.at, self.filter.clone(), CATCH_UP).await?;
        self.pending = page.commits.into();
        self.at = page.scanned_to;
        Ok(())
    }
}

/// A stream of everything after `after`, then live. It ends after an error and when the log closes.
pub(super) fn subscribe(
    shared: Arc<Shared>,
    after: u64,
    filter: Filter,
) -> BoxStream<'static, Result<Delivery, LogError>> {
    let heads = shared.head.clone();
    let head = heads.borrow().sequence;
    if after > head {
        let error = LogError::Damaged {
            place: format!("sequence {after}"),
            reason: format!("a reader was there before, but the log ends at {head}"),
        };
        return Box::pin(futures::stream::once(async { Err(error) }));
    }
    shared.tail.subscribers.fetch_add(1, Ordering::AcqRel);
    let subscription = Subscription {
        shared,
        heads,
        filter,
        at: after,
        told: after,
        caught_up: false,
        pending: VecDeque::new(),
        failed: false,
    };
    Box::pin(futures::stream::unfold(subscription, |mut subscription| async {
        let delivery = subscription.next().await?;
        Some((delivery, subscription))
    }))
}
