//! How many requests a connection may make of its source on a day. Every request that a connector makes by
//! HTTP is taken from it before it is sent, sign-in included.

use crate::error::ConnectorError;
use parking_lot::Mutex;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

const DAY: Duration = Duration::from_hours(24);

/// A connection's requests; clones count together. By default there is no ceiling.
#[derive(Debug, Clone, Default)]
pub struct Requests(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    made: AtomicU64,
    ceiling: Option<Mutex<Ceiling>>,
}

#[derive(Debug)]
struct Ceiling {
    a_day: u64,
    left: u64,
    /// When a new day begins.
    renewed_at: Instant,
}

impl Requests {
    /// At most `a_day` a day, of which `used` were made today; a new day begins after `renewed_in`.
    pub fn limited(a_day: u64, used: u64, renewed_in: Duration) -> Self {
        let renewed_at = Instant::now() + renewed_in;
        let ceiling = Ceiling { a_day, left: a_day.saturating_sub(used), renewed_at };
        Self(Arc::new(Inner { made: AtomicU64::default(), ceiling: Some(Mutex::new(ceiling)) }))
    }

    /// Takes one; refused once the day's are used up.
    pub(crate) fn take(&self) -> Result<(), ConnectorError> {
        if let Some(ceiling) = &self.0.ceiling {
            let mut ceiling = ceiling.lock();
            let now = Instant::now();
            if now >= ceiling.renewed_at {
                ceiling.left = ceiling.a_day;
                ceiling.renewed_at = now + DAY;
            }
            let Some(left) = ceiling.left.checked_sub(1) else {
                return Err(ConnectorError::RateLimited {
                    code: "AOS-0391",
                    message: format!(
                        "the connection made its {} requests of today, which its limit `requests_per_day` says: it goes on tomorrow (UTC), or once the limit is raised",
                        ceiling.a_day
                    ),
                    retry_after: ceiling.renewed_at - now,
                });
            };
            ceiling.left = left;
        }
        self.0.made.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// How many were made since it was set up.
    pub fn made(&self) -> u64 {
        self.0.made.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_days_requests_are_used_up_and_come_again() {
        let open = Requests::default();
        open.clone().take().expect("no ceiling");
        assert_eq!(open.made(), 1);

        let two_left = Requests::limited(5, 3, Duration::from_hours(2));
        two_left.take().expect("the fourth");
        two_left.clone().take().expect("the fifth");
        let refused = two_left.take().expect_err("used up");
        assert_eq!((refused.code(), refused.retryable(), two_left.made()), ("AOS-0391", true, 2));
        assert!(refused.to_string().contains("its 5 requests of today"), "{refused}");
        let wait = refused.wait().expect("until tomorrow");
        assert!(wait <= Duration::from_hours(2) && wait > Duration::from_hours(1), "{wait:?}");

        let tomorrow = Requests::limited(5, 5, Duration::ZERO);
        tomorrow.take().expect("a new day");
    }
}
