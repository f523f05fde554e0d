//! Commits read from the log and not applied yet, by tenant, so that tenants can take turns.

use super::projector::Turn;
use autonomos_domain::ids::TenantId;
use autonomos_log::port::StoredCommit;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

/// How much one batch may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TurnLimits {
    /// Commits of one tenant while others wait.
    pub(crate) fair_commits: usize,
    /// Commits of all tenants together.
    pub(crate) commits: usize,
    pub(crate) bytes: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Window {
    waiting: BTreeMap<TenantId, VecDeque<Arc<StoredCommit>>>,
    commits: usize,
    bytes: usize,
    /// The tenant that had the last turn: the next one comes first.
    last_served: Option<TenantId>,
}

impl Window {
    pub(crate) fn is_empty(&self) -> bool {
        self.commits == 0
    }

    pub(crate) fn commits(&self) -> usize {
        self.commits
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn holds(&self, tenant: TenantId) -> bool {
        self.waiting.contains_key(&tenant)
    }

    pub(crate) fn push(&mut self, commit: Arc<StoredCommit>) {
        self.commits += 1;
        self.bytes += commit.bytes.len();
        self.waiting.entry(commit.header.key.tenant).or_default().push_back(commit);
    }

    /// The first waiting sequence of every tenant.
    pub(crate) fn firsts(&self) -> impl Iterator<Item = (TenantId, u64)> + '_ {
        self.waiting
            .iter()
            .filter_map(|(tenant, queue)| queue.front().map(|commit| (*tenant, commit.position.sequence)))
    }

    /// The first waiting sequences that would be left once so many commits of each tenant are gone.
    pub(crate) fn firsts_after(
        &self,
        taken: &HashMap<TenantId, usize>,
    ) -> impl Iterator<Item = (TenantId, u64)> {
        self.waiting.iter().filter_map(|(tenant, queue)| {
            let gone = taken.get(tenant).copied().unwrap_or(0);
            queue.get(gone).map(|commit| (*tenant, commit.position.sequence))
        })
    }

    /// What is next, without taking it: each tenant in turn, starting behind the one served last.
    pub(crate) fn turns(&self, limits: TurnLimits) -> Vec<Turn> {
        let (mut commits_left, mut bytes_left) = (limits.commits, limits.bytes);
        let each = if self.waiting.len() > 1 { limits.fair_commits } else { limits.commits };
        let first = self.last_served.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let from_first = self.waiting.range((first, std::ops::Bound::Unbounded));
        let wrapped = self
            .waiting
            .range(..)
            .take_while(|(tenant, _)| self.last_served.is_some_and(|last| **tenant <= last));
        let mut turns = Vec::new();
        for (tenant, queue) in from_first.chain(wrapped) {
            let mut commits = Vec::new();
            for commit in queue.iter().take(each.min(commits_left)) {
                let size = commit.bytes.len();
                let nothing_yet = turns.is_empty() && commits.is_empty();
                if size > bytes_left && !nothing_yet {
                    break;
                }
                bytes_left = bytes_left.saturating_sub(size);
                commits.push(Arc::clone(commit));
            }
            commits_left -= commits.len();
            if !commits.is_empty() {
                turns.push(Turn { tenant: *tenant, commits });
            }
            if commits_left == 0 || bytes_left == 0 {
                break;
            }
        }
        turns
    }

    /// Takes out what was applied.
    pub(crate) fn remove(&mut self, turns: &[Turn]) {
        for turn in turns {
            for _ in &turn.commits {
                self.pop(turn.tenant);
            }
            self.last_served = Some(turn.tenant);
        }
    }

    /// Forgets a tenant's commits.
    pub(crate) fn forget(&mut self, tenant: TenantId) {
        while self.waiting.contains_key(&tenant) {
            self.pop(tenant);
        }
    }

    fn pop(&mut self, tenant: TenantId) {
        let Some(queue) = self.waiting.get_mut(&tenant) else { return };
        if let Some(commit) = queue.pop_front() {
            self.commits -= 1;
            self.bytes -= commit.bytes.len();
        }
        if queue.is_empty() {
            self.waiting.remove(&tenant);
        }
    }
}
