//! [`Breaker`]: whether a server is asked at all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// So many failures in a row open it. One or two can be a hiccup of the network.
const FAILURES: u32 = 3;

/// How often one call tries the server while the breaker is open, so that it closes well within a second.
pub(super) const PROBE_EVERY_NANOS: u64 = 200_000_000;

/// After so long without a call, it is not known whether anybody needs the server.
const FORGOTTEN_NANOS: u64 = 10_000_000_000;

/// Closed, every call goes to the server. After some failures in a row it opens, and then only one call in a while goes: a
/// probe. The first success closes it.
// Relaxed: the words count and say when; a call that reads an old one goes to a server that does not answer, or does not.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// In a row.
    failures: AtomicU32,
    /// When the next probe may go, in nanoseconds; 0 while it is closed.
    probe_at: AtomicU64,
    /// How often it has opened.
    opened: AtomicU64,
}

/// How a call goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// As any other.
    Go,
    /// To find out whether the server is back.
    Probe,
}

impl Breaker {
    /// Whether a call may go to the server.
    pub(super) fn ask(&self, now: u64) -> Option<Leave> {
        let probe_at = self.probe_at.load(Relaxed);
        if probe_at == 0 {
            return Some(Leave::Go);
        }
        if now < probe_at {
            return None;
        }
        let next = now + PROBE_EVERY_NANOS;
        self.probe_at.compare_exchange(probe_at, next, Relaxed, Relaxed).ok().map(|_| Leave::Probe)
    }

    /// Says whether this closed it.
    pub(super) fn succeeded(&self) -> bool {
        // Both are read first: writing would take the cache line from all others at each success.
        if self.failures.load(Relaxed) != 0 {
            self.failures.store(0, Relaxed);
        }
        self.probe_at.load(Relaxed) != 0 && self.probe_at.swap(0, Relaxed) != 0
    }

    /// Says whether this opened it.
    pub(super) fn failed(&self, now: u64) -> bool {
        if self.failures.fetch_add(1, Relaxed).saturating_add(1) < FAILURES {
            return false;
        }
        let opens = self.probe_at.compare_exchange(0, now + PROBE_EVERY_NANOS, Relaxed, Relaxed).is_ok();
        if opens {
            self.opened.fetch_add(1, Relaxed);
        }
        opens
    }

    pub(super) fn is_open(&self) -> bool {
        self.probe_at.load(Relaxed) != 0
    }

    /// Whether it is open and somebody has asked lately.
    pub(super) fn is_missed(&self, now: u64) -> bool {
        let probe_at = self.probe_at.load(Relaxed);
        probe_at != 0 && now < probe_at.saturating_add(FORGOTTEN_NANOS)
    }

    /// How often it has opened.
    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_failures_in_a_row_open_it_and_one_success_closes_it() {
        let breaker = Breaker::default();
        for _ in 0..10 {
            assert!(!breaker.failed(1) && !breaker.failed(2));
            assert!(!breaker.succeeded(), "it was not open");
        }
        assert!(!breaker.failed(1) && !breaker.failed(2) && breaker.failed(3));
        assert!(!breaker.failed(4), "it is open already");
        assert_eq!(breaker.ask(PROBE_EVERY_NANOS), None);
        assert_eq!(breaker.ask(3 + PROBE_EVERY_NANOS), Some(Leave::Probe));
        assert_eq!(breaker.ask(4 + PROBE_EVERY_NANOS), None, "one probe at a time");
        assert!(!breaker.failed(4 + PROBE_EVERY_NANOS));
        assert_eq!(breaker.ask(3 + 2 * PROBE_EVERY_NANOS), Some(Leave::Probe));
        let forgotten = 3 + 3 * PROBE_EVERY_NANOS + FORGOTTEN_NANOS;
        assert!(breaker.is_missed(forgotten - 1) && !breaker.is_missed(forgotten) && breaker.is_open());
        assert!(breaker.succeeded());
        assert!(!breaker.is_missed(4 + 2 * PROBE_EVERY_NANOS));
        assert_eq!(breaker.ask(4 + 2 * PROBE_EVERY_NANOS), Some(Leave::Go));
        assert!(!breaker.is_open() && breaker.opened() == 1);
    }
}
