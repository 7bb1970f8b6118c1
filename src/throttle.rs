//! [`Throttle`]: at most one report a second, which counts the rest.

#![cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only doors report"))]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What the doors that share one limiter have to report of it.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Requests over the limit.
    pub(crate) denials: Throttle,
    /// Requests over the limit that were let pass.
    pub(crate) shadow_denials: Throttle,
    /// Requests that could not be counted.
    pub(crate) misconfigured: Throttle,
}

/// Keeps something that happens often from being reported more than once a second.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// The second of the last report, from 1.
    reported: AtomicU64,
    unreported: AtomicU64,
}

impl Throttle {
    /// Counts one, and says how many there are to report, if it is time.
    // Relaxed: both words only count; a report that two threads race for goes to the one that moves `reported`. It only
    // moves on, so that threads whose readings lie on either side of a second do not report by turns.
    pub(crate) fn count(&self, now_nanos: u64) -> Option<u64> {
        self.unreported.fetch_add(1, Relaxed);
        let second = now_nanos / NANOS_PER_SECOND + 1;
        let reported = self.reported.load(Relaxed);
        let due = second > reported && self.reported.compare_exchange(reported, second, Relaxed, Relaxed).is_ok();
        due.then(|| self.unreported.swap(0, Relaxed))
    }
}
