//! [`Durations`]: a histogram of how long something took.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// The upper bounds of the histogram's buckets, in seconds: those that Prometheus' clients take.
pub(crate) const BUCKETS: [(f64, &str); 11] = [
    (0.005, "0.005"),
    (0.01, "0.01"),
    (0.025, "0.025"),
    (0.05, "0.05"),
    (0.1, "0.1"),
    (0.25, "0.25"),
    (0.5, "0.5"),
    (1.0, "1"),
    (2.5, "2.5"),
    (5.0, "5"),
    (10.0, "10"),
];

/// How long something took, by bucket and in all.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    pub(crate) within: [AtomicU64; BUCKETS.len() + 1],
    pub(crate) micros: AtomicU64,
}

impl Durations {
    pub(crate) fn count(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = BUCKETS.iter().position(|(bound, _)| seconds <= *bound).unwrap_or(BUCKETS.len());
        self.within[bucket].fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX), Relaxed);
    }
}
