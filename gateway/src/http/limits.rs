//! Rate limits: by tenant for who is signed in, by address for who is not.

use crate::config::Config;
use autonomos_domain::ids::TenantId;
use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    middleware::StateInformationMiddleware,
    state::keyed::DefaultKeyedStateStore,
};
use std::{
    hash::Hash,
    net::IpAddr,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering},
};

/// Keys are looked through for forgotten ones after this many requests.
const SWEEP_EVERY: u32 = 10_000;
const SECONDS: u64 = 60;

type Limiter<K> = RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// What is left, for the `RateLimit-*` headers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    pub(super) limit: u32,
    pub(super) remaining: u32,
    /// Seconds until all of the limit is there again.
    pub(super) reset: u64,
}

/// The limit is used up; there is room again after so many seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exceeded {
    pub(super) limit: u32,
    pub(super) retry_after: u64,
}

struct Keyed<K: Hash + Eq + Clone> {
    limiter: Limiter<K>,
    limit: u32,
    seen: AtomicU32,
}

impl<K: Hash + Eq + Clone> Keyed<K> {
    fn per_minute(limit: u32) -> Self {
        let burst = NonZeroU32::new(limit).unwrap_or(NonZeroU32::MIN);
        let limiter = RateLimiter::keyed(Quota::per_minute(burst)).with_middleware();
        Self { limiter, limit: burst.get(), seen: AtomicU32::new(0) }
    }

    fn take(&self, key: &K) -> Result<Standing, Exceeded> {
        if self.seen.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1 {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        match self.limiter.check_key(key) {
            Ok(state) => {
                let remaining = state.remaining_burst_capacity().min(self.limit);
                let used = u64::from(self.limit - remaining);
                let reset = (used * SECONDS).div_ceil(u64::from(self.limit));
                Ok(Standing { limit: self.limit, remaining, reset })
            }
            Err(refused) => {
                let wait = refused.wait_time_from(DefaultClock::default().now());
                Err(Exceeded { limit: self.limit, retry_after: wait.as_secs() + 1 })
            }
        }
    }
}

/// All limits of this server.
pub(super) struct RateLimits {
    tenants: Keyed<TenantId>,
    addresses: Keyed<IpAddr>,
}

impl RateLimits {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            tenants: Keyed::per_minute(config.rate_limit_per_minute),
            addresses: Keyed::per_minute(config.anonymous_rate_limit_per_minute),
        }
    }

    pub(super) fn tenant(&self, tenant: TenantId) -> Result<Standing, Exceeded> {
        self.tenants.take(&tenant)
    }

    pub(super) fn address(&self, address: IpAddr) -> Result<Standing, Exceeded> {
        self.addresses.take(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::Keyed;

    #[test]
    fn one_key_used_up_leaves_the_others_alone() {
        let keyed = Keyed::<u8>::per_minute(3);
        let left: Vec<_> = (0..3).map(|_| keyed.take(&1).expect("within the limit").remaining).collect();
        assert_eq!(left, [2, 1, 0]);
        let refused = keyed.take(&1).expect_err("used up");
        assert!((1..=60).contains(&refused.retry_after), "{refused:?}");
        assert!(keyed.take(&2).is_ok());
    }
}
