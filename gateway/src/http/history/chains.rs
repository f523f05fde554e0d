//! Following a tenant's hash chains in memory that does not grow with its history: where there are
//! more aggregates than are followed at a time, the rest waits for a pass of its own.

use autonomos_domain::envelope::{AggregateKey, Hash};
use autonomos_log::{codec, port::StoredCommit};
use std::collections::HashMap;

/// Aggregates followed at a time: about 20 MB.
const FOLLOWED: usize = 100_000;

/// The aggregates whose ids end in these bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Share {
    bits: u64,
    length: u32,
}

impl Share {
    const ALL: Self = Self { bits: 0, length: 0 };

    const fn has(self, key: &AggregateKey) -> bool {
        let mask = if self.length >= u64::BITS { u64::MAX } else { (1 << self.length) - 1 };
        (key.aggregate_id.as_u128() as u64) & mask == self.bits
    }

    const fn halves(self) -> (Self, Self) {
        let length = self.length + 1;
        (Self { length, ..self }, Self { bits: self.bits | 1 << self.length, length })
    }
}

/// What a commit says of its place in its aggregate.
struct Link<'a> {
    sequence: u64,
    key: AggregateKey,
    first_version: u64,
    last_version: u64,
    previous: Option<&'a str>,
    hash: Hash,
}

/// A check of everything one tenant has in the log: each commit's content, and each aggregate's
/// versions. It takes as many passes over the history as [`Self::next_pass`] says.
pub(super) struct Chains {
    last: HashMap<AggregateKey, (u64, Hash)>,
    share: Share,
    /// What earlier passes found up to this sequence, they have said.
    said_to: u64,
    /// Shares left for later passes, each with how far this one has followed it.
    waiting: Vec<(Share, u64)>,
    followed: usize,
    is_first_pass: bool,
    /// Commits seen, each once.
    pub(super) checked: u64,
}

impl Default for Chains {
    fn default() -> Self {
        Self::following(FOLLOWED)
    }
}

impl Chains {
    fn following(followed: usize) -> Self {
        Self {
            last: HashMap::new(),
            share: Share::ALL,
            said_to: 0,
            waiting: Vec::new(),
            followed,
            is_first_pass: true,
            checked: 0,
        }
    }

    /// Begins another pass, if there are aggregates left to follow.
    pub(super) fn next_pass(&mut self) -> bool {
        self.is_first_pass = false;
        self.last.clear();
        let Some((share, said_to)) = self.waiting.pop() else {
            return false;
        };
        (self.share, self.said_to) = (share, said_to);
        true
    }

    /// What is wrong with the next commit: a kind, and a reason.
    pub(super) fn follow(&mut self, commit: &StoredCommit) -> Option<(&'static str, String)> {
        let header = &commit.header;
        let link = Link {
            sequence: commit.position.sequence,
            key: header.key,
            first_version: header.first_version,
            last_version: commit.last_version(),
            previous: header.prev_hash.as_deref(),
            hash: commit.hash,
        };
        let chain = self.link(&link).map(|reason| ("chain", reason));
        if !self.is_first_pass {
            return chain;
        }
        self.checked += 1;
        let is_altered = codec::content_hash(&commit.bytes) != commit.hash;
        let altered = || ("content", "the stored bytes are not those that were written".to_owned());
        is_altered.then(altered).or(chain)
    }

    fn link(&mut self, link: &Link<'_>) -> Option<String> {
        if !self.share.has(&link.key) {
            return None;
        }
        let said_to = self.said_to;
        let found = match self.last.get(&link.key) {
            Some((version, _)) if version + 1 != link.first_version => {
                Some(format!("version `{}` follows version `{version}`", link.first_version))
            }
            Some((_, hash)) if link.previous != Some(hex::encode(hash).as_str()) => {
                Some("the commit before it is not the one it was made after".to_owned())
            }
            None if link.first_version != 1 => {
                Some(format!("the first commit begins at version `{}`", link.first_version))
            }
            _ => None,
        };
        self.last.insert(link.key, (link.last_version, link.hash));
        while self.last.len() > self.followed && self.share.length < u64::BITS {
            let (here, later) = self.share.halves();
            self.share = here;
            self.waiting.push((later, self.said_to.max(link.sequence)));
            self.last.retain(|key, _| here.has(key));
        }
        found.filter(|_| link.sequence > said_to)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chains, Link};
    use autonomos_domain::{
        envelope::{AggregateKey, AggregateType, Hash},
        ids::TenantId,
    };
    use uuid::Uuid;

    fn hash(aggregate: u128, version: u64) -> Hash {
        *blake3::hash(format!("{aggregate}/{version}").as_bytes()).as_bytes()
    }

    /// Three commits of each of 50 aggregates, in turns; the findings, however few are followed at a
    /// time. `bend` changes a commit's first version, or its link to the one before.
    fn check(bend: impl Fn(u128, u64) -> (u64, bool), expect: &[(u128, &str)]) {
        for followed in [1_000, 7, 1] {
            let mut chains = Chains::following(followed);
            let mut found = Vec::new();
            let mut passes = 0;
            loop {
                passes += 1;
                for version in 1..=3 {
                    for aggregate in 0..50_u128 {
                        let (first_version, is_linked) = bend(aggregate, version);
                        let before = hex::encode(hash(aggregate, version - 1));
                        let link = Link {
                            sequence: (version - 1) * 50 + aggregate as u64 + 1,
                            key: AggregateKey {
                                tenant: TenantId(Uuid::nil()),
                                aggregate_type: AggregateType::Task,
                                aggregate_id: Uuid::from_u128(aggregate),
                            },
                            first_version,
                            last_version: version,
                            previous: (is_linked && version > 1).then_some(before.as_str()),
                            hash: hash(aggregate, version),
                        };
                        found.extend(chains.link(&link).map(|reason| (aggregate, reason)));
                        assert!(chains.last.len() <= followed);
                    }
                }
                if !chains.next_pass() {
                    break;
                }
            }
            found.sort();
            let found: Vec<_> =
                found.iter().map(|(aggregate, reason)| (*aggregate, reason.as_str())).collect();
            assert_eq!(found, expect, "{followed} at a time");
            assert_eq!(passes == 1, followed == 1_000, "{passes} passes with {followed} at a time");
        }
    }

    #[test]
    fn a_few_chains_at_a_time_show_what_all_at_once_show() {
        check(|_, version| (version, true), &[]);
        check(
            |aggregate, version| match (aggregate, version) {
                (3, 1) => (2, true),
                (48, 3) => (5, true),
                (17, 2) => (2, false),
                _ => (version, true),
            },
            &[
                (3, "the first commit begins at version `2`"),
                (17, "the commit before it is not the one it was made after"),
                (48, "version `5` follows version `2`"),
            ],
        );
    }
}
