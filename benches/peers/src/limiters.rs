//! The limiters compared, with quotas that say the same.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as GovernorClock, DefaultClock};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::DashMapStateStore;
use tollgate::{Clock, Quota};

/// governor as it comes: a `DashMap` of keys, the standard library's hasher, and the clock given.
pub type Governor<K, C = DefaultClock> =
    governor::RateLimiter<K, DashMapStateStore<K>, C, NoOpMiddleware<<C as GovernorClock>::Instant>>;

/// tollgate's clock, for governor to read: the same clock to the instruction.
#[derive(Clone)]
pub struct SameClock(pub Clock);

impl GovernorClock for SameClock {
    type Instant = Nanos;

    #[inline]
    fn now(&self) -> Nanos {
        Nanos::new(self.0.elapsed().as_nanos() as u64)
    }
}

/// One quota in both spellings.
#[derive(Clone, Copy)]
pub struct Work {
    pub ours: Quota,
    pub theirs: governor::Quota,
}

impl Work {
    /// A bucket that no run can empty, and that is never full again once it has been charged.
    pub fn allowed() -> Self {
        Self::new(1_000_000, Duration::from_secs(1), 4_000_000_000)
    }

    /// The same for keys that are seldom checked: what they have spent outlives the run, so each keeps its place.
    pub fn allowed_slowly() -> Self {
        Self::new(100, Duration::from_secs(3600), 100_000)
    }

    /// One an hour: everything after a key's first check is denied.
    pub fn denied() -> Self {
        Self::new(1, Duration::from_secs(3600), 1)
    }

    /// `amount` per `period`, of which `burst` may pass at once.
    pub fn new(amount: u32, period: Duration, burst: u32) -> Self {
        let ours = Quota::new(u64::from(amount), period).expect("the quota is valid").burst(u64::from(burst));
        let theirs = governor::Quota::with_period(period / amount)
            .expect("the period is not zero")
            .allow_burst(NonZeroU32::new(burst).expect("the burst is not zero"));
        Self { ours, theirs }
    }

    pub fn governor<K: Hash + Eq + Clone, C: GovernorClock>(self, clock: C) -> Governor<K, C> {
        Governor::dashmap_with_clock(self.theirs, clock)
    }
}
