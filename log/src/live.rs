//! Subscriptions. The last commits stay in memory while anyone subscribes; who is slower than they
//! fall out reads from the store again, so nobody's slowness costs memory or the writer's time.

use crate::{
    error::LogError,
    port::{Delivery, Filter, Head, Page, ReadLimit, StoredCommit},
};
use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
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
const TAIL_BYTES: usize = 12 << 20;
/// One read of a subscription that catches up.
const CATCH_UP: ReadLimit = ReadLimit { commits: 512, bytes: 4 << 20 };

/// So far behind, a subscription has its pages read ahead.
const FAR: u64 = 4 * CATCH_UP.commits as u64;

/// What a subscription reads from: one cell of an adapter.
#[async_trait]
pub(crate) trait Source: Send + Sync + 'static {
    fn tail(&self) -> &Tail;

    async fn read(&self, after: u64, filter: &Filter, limit: ReadLimit) -> Result<Page, LogError>;

    /// Pages of everything after `after` up to `to`, read ahead of their reader, where that is faster
    /// than asking for each. They may end early, or with an error that [`Source::read`] has not.
    fn ahead(
        &self,
        _after: u64,
        _to: u64,
        _filter: &Filter,
    ) -> Option<BoxStream<'static, Result<Page, LogError>>> {
        None
    }

    /// An error if the cell does not reach a sequence that lies after the head known here.
    async fn reaches(&self, sequence: u64, head: u64) -> Result<(), LogError>;
}

/// What a reader that was further than the log is told.
pub(crate) fn beyond(sequence: u64, head: u64) -> LogError {
    LogError::Damaged {
        place: format!("sequence {sequence}"),
        reason: format!("a reader was there before, but the log ends at {head}"),
    }
}

/// The last commits, contiguous.
#[derive(Default)]
pub(crate) struct Tail {
    /// They are kept while there are any.
    subscribers: AtomicUsize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    commits: VecDeque<Arc<StoredCommit>>,
    bytes: usize,
}

impl Tail {
    /// Keeps the last commits from now on, until the subscriber is removed.
    pub(crate) fn subscriber_add(&self) {
        self.subscribers.fetch_add(1, Ordering::AcqRel);
    }

    /// Forgets all: what comes next does not follow what is here.
    pub(crate) fn clear(&self) {
        *self.kept.lock() = Kept::default();
    }

    /// A commit, if it is among the last.
    pub(crate) fn get(&self, sequence: u64) -> Option<Arc<StoredCommit>> {
        let kept = self.kept.lock();
        let first = kept.commits.front()?.position.sequence;
        let index = sequence.checked_sub(first)? as usize;
        kept.commits.get(index).map(Arc::clone)
    }

    /// Adds commits that just became durable.
    pub(crate) fn extend<'a>(&self, commits: impl Iterator<Item = &'a Arc<StoredCommit>>) {
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

struct Subscription<S: Source> {
    source: S,
    heads: watch::Receiver<Head>,
    filter: Filter,
    /// Everything up to here was looked at; what matched is in `pending`.
    at: u64,
    /// The last sequence the reader was told of.
    told: u64,
    /// Whether the reader was told that it reached the end.
    caught_up: bool,
    pending: VecDeque<Arc<StoredCommit>>,
    /// What is read ahead while it is far behind, and up to where.
    ahead: Option<(u64, BoxStream<'static, Result<Page, LogError>>)>,
    /// Whether reading ahead is worth a try.
    can_be_ahead: bool,
    /// Whether the log is known to reach as far as the reader was.
    confirmed: bool,
    failed: bool,
}

impl<S: Source> Drop for Subscription<S> {
    fn drop(&mut self) {
        self.source.tail().subscribers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S: Source> Subscription<S> {
    async fn next(&mut self) -> Option<Result<Delivery, LogError>> {
        if self.failed {
            return None;
        }
        if !self.confirmed {
            let head = self.heads.borrow().sequence;
            if let Err(error) = self.source.reaches(self.at, head).await {
                self.failed = true;
                return Some(Err(error));
            }
            self.confirmed = true;
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
                if let Err(error) = self.fetch(head).await {
                    self.failed = true;
                    return Some(Err(error));
                }
            } else if self.heads.changed().await.is_err() {
                return None;
            }
        }
    }

    async fn fetch(&mut self, head: u64) -> Result<(), LogError> {
        if let Some((matching, last)) = self.source.tail().after(self.at, &self.filter) {
            self.pending = matching;
            self.at = last;
            self.ahead = None;
            return Ok(());
        }
        let page = match self.read_ahead(head).await {
            Some(page) => page,
            None => self.source.read(self.at, &self.filter, CATCH_UP).await?,
        };
        self.pending = page.commits.into();
        self.at = page.scanned_to;
        Ok(())
    }

    async fn read_ahead(&mut self, head: u64) -> Option<Page> {
        if self.ahead.is_none() && self.can_be_ahead && head - self.at >= FAR {
            self.ahead = self.source.ahead(self.at, head, &self.filter).map(|pages| (head, pages));
        }
        let (to, pages) = self.ahead.as_mut()?;
        match pages.next().await {
            Some(Ok(page)) => return Some(page),
            // Whether something is wrong with the log itself, the read of the next page says.
            Some(Err(error)) => tracing::warn!(%error, "reading ahead failed: pages are asked for"),
            None => {}
        }
        // One that ended before its time is not tried again.
        self.can_be_ahead = self.at >= *to;
        self.ahead = None;
        None
    }
}

/// A stream of everything after `after`, then live. It ends after an error and when the log closes.
pub(crate) fn subscribe<S: Source>(
    source: S,
    heads: watch::Receiver<Head>,
    after: u64,
    filter: Filter,
) -> BoxStream<'static, Result<Delivery, LogError>> {
    source.tail().subscriber_add();
    let confirmed = after <= heads.borrow().sequence;
    let subscription = Subscription {
        source,
        confirmed,
        heads,
        filter,
        at: after,
        told: after,
        caught_up: false,
        pending: VecDeque::new(),
        ahead: None,
        can_be_ahead: true,
        failed: false,
    };
    Box::pin(futures::stream::unfold(subscription, |mut subscription| async {
        let delivery = subscription.next().await?;
        Some((delivery, subscription))
    }))
}
