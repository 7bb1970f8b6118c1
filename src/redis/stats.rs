//! [`RedisStats`]: what a limiter's checks were answered by.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a limiter's checks were answered by, from [`RedisLimiter::stats`](super::RedisLimiter::stats).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RedisStats {
    /// Checks that the server answered, each in one round trip.
    pub round_trips: u64,
    /// Checks that were denied here, because the key was known to be over its limit.
    pub remembered: u64,
    /// Checks that were answered here because the server did not answer.
    pub unanswered: u64,
    /// Reservations that were not settled, because the server did not answer in time, the key had come under another policy, or nobody
    /// waited for it. They stayed charged, as far as is known.
    pub unsettled: u64,
    /// Checks that passed here, by what had been [leased](super::RedisLimiterBuilder::leases).
    pub leased: u64,
    /// Round trips that brought a lease.
    pub leases: u64,
    /// What all leases brought together.
    pub leased_drawn: u64,
    /// What was spent of it.
    pub leased_spent: u64,
    /// What of it can not be spent any more. It is counted when the key is asked for again.
    pub leased_stranded: u64,
}

#[derive(Debug, Default)]
pub(super) struct RedisCounts {
    pub(super) round_trips: AtomicU64,
    pub(super) remembered: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) unsettled: AtomicU64,
    pub(super) leased: AtomicU64,
    pub(super) leases: AtomicU64,
    pub(super) leased_drawn: AtomicU64,
    pub(super) leased_spent: AtomicU64,
    pub(super) leased_stranded: AtomicU64,
}

impl RedisCounts {
    pub(super) fn stats(&self) -> RedisStats {
        RedisStats {
            round_trips: self.round_trips.load(Relaxed),
            remembered: self.remembered.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            unsettled: self.unsettled.load(Relaxed),
            leased: self.leased.load(Relaxed),
            leases: self.leases.load(Relaxed),
            leased_drawn: self.leased_drawn.load(Relaxed),
            leased_spent: self.leased_spent.load(Relaxed),
            leased_stranded: self.leased_stranded.load(Relaxed),
        }
    }
}
