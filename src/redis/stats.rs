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
    /// Reservations that could not be settled because the server did not answer. They stayed charged.
    pub unsettled: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) round_trips: AtomicU64,
    pub(super) remembered: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) unsettled: AtomicU64,
}

impl Counts {
    pub(super) fn stats(&self) -> RedisStats {
        RedisStats {
            round_trips: self.round_trips.load(Relaxed),
            remembered: self.remembered.load(Relaxed),
            unanswered: self.unanswered.load(Relaxed),
            unsettled: self.unsettled.load(Relaxed),
        }
    }
}
