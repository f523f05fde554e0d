//! Failed sign-ins are slowed down by account and by address. Kept in memory alone and bounded: an
//! attacker with many names only pushes out the oldest.

use crate::{clock::Clock, error::CommandError};
use chrono::{DateTime, TimeDelta, Utc};
use std::time::Duration;

/// Failures that cost nothing.
const FREE: u32 = 5;
/// The same for an address, behind which many people may sit.
const FREE_PER_ADDRESS: u32 = 30;
const LONGEST_SECONDS: i64 = 15 * 60;
const REMEMBERED: Duration = Duration::from_hours(1);
const MOST_KEYS: u64 = 100_000;

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    blocked_until: DateTime<Utc>,
}

pub(super) struct Throttle {
    clock: Clock,
    failures: moka::sync::Cache<[u8; 32], Failures>,
}

/// What an attempt is counted under.
#[derive(Debug, Clone, Copy)]
pub(super) enum Subject<'a> {
    Account(&'a str),
    Address(&'a str),
}

impl Subject<'_> {
    fn key(self) -> [u8; 32] {
        let (kind, text) = match self {
            Self::Account(text) => ("account", text),
            Self::Address(text) => ("address", text),
        };
        *blake3::Hasher::new()
            .update(kind.as_bytes())
            .update(&[0])
            .update(text.as_bytes())
            .finalize()
            .as_bytes()
    }

    const fn free(self) -> u32 {
        match self {
            Self::Account(_) => FREE,
            Self::Address(_) => FREE_PER_ADDRESS,
        }
    }
}

impl Throttle {
    pub(super) fn new(clock: Clock) -> Self {
        let failures = moka::sync::Cache::builder().max_capacity(MOST_KEYS).time_to_idle(REMEMBERED).build();
        Self { clock, failures }
    }

    /// Refuses while the subject is blocked.
    pub(super) fn check(&self, subject: Subject<'_>) -> Result<(), CommandError> {
        let now = self.clock.now();
        match self.failures.get(&subject.key()) {
            Some(failures) if failures.blocked_until > now => Err(CommandError::TooManyAttempts {
                retry_after: (failures.blocked_until - now).to_std().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// Doubles the wait with every failure past the free ones.
    pub(super) fn failed(&self, subject: Subject<'_>) {
        let now = self.clock.now();
        self.failures.entry(subject.key()).and_upsert_with(|entry| {
            let count = entry.map_or(0, |entry| entry.into_value().count).saturating_add(1);
            let wait = match count.checked_sub(subject.free()) {
                None | Some(0) => 0,
                Some(over) => (1_i64 << over.min(20)).min(LONGEST_SECONDS),
            };
            Failures { count, blocked_until: now + TimeDelta::seconds(wait) }
        });
    }

    pub(super) fn succeeded(&self, subject: Subject<'_>) {
        self.failures.invalidate(&subject.key());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_past_the_free_ones_wait_longer_each() {
        let clock = Clock::fixed(DateTime::from_timestamp(1_700_000_000, 0).unwrap());
        let throttle = Throttle::new(clock.clone());
        let subject = Subject::Account("a@b.c");
        for _ in 0..FREE {
            throttle.check(subject).unwrap();
            throttle.failed(subject);
        }
        throttle.check(subject).unwrap();
        throttle.failed(subject);
        let Err(CommandError::TooManyAttempts { retry_after }) = throttle.check(subject) else {
            panic!("not blocked")
        };
        assert_eq!(retry_after, Duration::from_secs(2));
        throttle.check(Subject::Address("a@b.c")).unwrap();
        clock.advance(TimeDelta::seconds(2));
        throttle.check(subject).unwrap();
        throttle.failed(subject);
        clock.advance(TimeDelta::seconds(3));
        assert!(throttle.check(subject).is_err());
        throttle.succeeded(subject);
        throttle.check(subject).unwrap();
    }
}
