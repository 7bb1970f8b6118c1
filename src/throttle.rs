//! [`Throttle`]: keeps a flood of something from becoming a flood of reports about it.

#![cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only doors report"))]

use std::fmt;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::offenders::Sketch;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// What the doors that share one limiter have to report of it.
///
/// It has cache lines of its own: while denials are counted by many threads, others read what stands beside it.
#[derive(Default)]
#[repr(align(128))]
pub(crate) struct Reports {
    /// Requests over the limit.
    pub(crate) denials: Throttle,
    /// Requests over the limit that were let pass.
    pub(crate) shadow_denials: Throttle,
    /// Requests that could not be counted.
    pub(crate) misconfigured: Throttle,
    /// Requests that were given a plan of another limiter.
    pub(crate) foreign_plans: Throttle,
    /// The keys that are denied most, if they are wanted.
    pub(crate) offenders: Option<Sketch>,
    last_words: Mutex<Option<Box<LastWords>>>,
}

type LastWords = dyn Fn(Unreported) + Send + Sync;

/// How many of each there are that no report has covered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreported {
    pub(crate) denials: u64,
    pub(crate) shadow_denials: u64,
    pub(crate) misconfigured: u64,
    pub(crate) foreign_plans: u64,
}

impl Reports {
    /// Who reports what is left when the limiter is dropped, if there is something. The first one stays: doors that share a
    /// limiter would say the same.
    pub(crate) fn last_words<F>(&self, report: impl FnOnce() -> F)
    where
        F: Fn(Unreported) + Send + Sync + 'static,
    {
        self.last_words.lock().get_or_insert_with(|| Box::new(report()));
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        let Self { denials, shadow_denials, misconfigured, foreign_plans, last_words, .. } = self;
        let [denials, shadow_denials, misconfigured, foreign_plans] =
            [denials, shadow_denials, misconfigured, foreign_plans].map(|throttle| *throttle.unreported.get_mut());
        if denials + shadow_denials + misconfigured + foreign_plans > 0 {
            if let Some(report) = last_words.get_mut() {
                report(Unreported { denials, shadow_denials, misconfigured, foreign_plans });
            }
        }
    }
}

impl fmt::Debug for Reports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { denials, shadow_denials, misconfigured, .. } = self;
        f.debug_struct("Reports")
            .field("denials", denials)
            .field("shadow_denials", shadow_denials)
            .field("misconfigured", misconfigured)
            .finish_non_exhaustive()
    }
}

/// Something that happens often. In each second its 1st, 10th, 100th, ... is reported, and each report covers all since the
/// report before. So a burst is seen while it lasts, and a flood of a million a second makes seven reports a second.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    unreported: AtomicU64,
    /// The second of the last report, counted from 1, and in the low [`POWER_BITS`] how many reports that second has had.
    reported: AtomicU64,
}

/// Enough for the 20 powers of ten in 64 bits. The seconds of 584 years, which nanoseconds can count, need 35.
const POWER_BITS: u32 = 5;

impl Throttle {
    /// Counts one and, if a report is due, says how many it covers.
    // Relaxed: both words only count. Of threads that find the same report due, the one that moves `reported` makes it.
    // `reported` only moves on, so threads that read the time on either side of a second do not report by turns.
    pub(crate) fn count(&self, now_nanos: u64) -> Option<NonZeroU64> {
        let unreported = self.unreported.fetch_add(1, Relaxed) + 1;
        let reported = self.reported.load(Relaxed);
        let next = next_report(reported, now_nanos / NANOS_PER_SECOND + 1, unreported)?;
        self.reported.compare_exchange(reported, next, Relaxed, Relaxed).ok()?;
        // None are left when a later report has overtaken this one and covered them.
        NonZeroU64::new(self.unreported.swap(0, Relaxed))
    }
}

/// What `reported` becomes, if a report is due in this second with so many unreported.
fn next_report(reported: u64, second: u64, unreported: u64) -> Option<u64> {
    let (last_second, powers) = (reported >> POWER_BITS, (reported & ((1 << POWER_BITS) - 1)) as u32);
    if second > last_second {
        return Some(second << POWER_BITS | 1);
    }
    // After the report of the 10th, nine tenths of the way to the 100th are left.
    (unreported >= 10_u64.saturating_pow(powers - 1).saturating_mul(9)).then_some(reported + 1)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    const MS: u64 = 1_000_000;

    const NOTHING: [u64; 0] = [];

    /// What is reported of so many at one moment.
    fn burst(throttle: &Throttle, now_nanos: u64, count: u64) -> Vec<u64> {
        (0..count).filter_map(|_| throttle.count(now_nanos)).map(NonZeroU64::get).collect()
    }

    #[test]
    fn a_burst_is_reported_while_it_lasts() {
        let throttle = Throttle::default();
        assert_eq!(burst(&throttle, 0, 200), [1, 9, 90]);
        assert_eq!(burst(&throttle, 999 * MS, 799), NOTHING, "999 in this second");
        assert_eq!(burst(&throttle, 999 * MS, 1), [900]);
        assert_eq!(burst(&throttle, 999 * MS, 7), NOTHING);
        assert_eq!(burst(&throttle, 1000 * MS, 1), [8], "another second, and what was left of the one before");
        assert_eq!(burst(&throttle, 1000 * MS, 10), [9]);
        assert_eq!(burst(&throttle, 86_400_000 * MS, 2), [2]);
    }

    #[test]
    fn time_that_steps_back_makes_no_more_reports() {
        let throttle = Throttle::default();
        assert_eq!(burst(&throttle, 5000 * MS, 1), [1]);
        assert_eq!(burst(&throttle, 4999 * MS, 8), NOTHING);
        assert_eq!(burst(&throttle, 5000 * MS, 8), [9], "the tenth, by either reading");
        assert_eq!(burst(&throttle, 0, 8), NOTHING);
        assert_eq!(burst(&throttle, 6000 * MS, 1), [16]);
    }

    #[test]
    fn no_count_and_no_time_is_too_large() {
        let throttle = Throttle::default();
        throttle.unreported.store(u64::MAX - 100, Relaxed);
        assert_eq!(burst(&throttle, u64::MAX, 2), [u64::MAX - 99]);
        throttle.reported.fetch_add(19, Relaxed); // the largest power of ten has been reported
        throttle.unreported.store(u64::MAX - 100, Relaxed);
        assert_eq!(burst(&throttle, u64::MAX, 2), NOTHING);
    }

    #[test]
    fn threads_report_each_power_once_and_cover_everything() {
        const EACH: u64 = 100_000;
        let throttle = Throttle::default();
        let (seen, reports) = (AtomicU64::new(0), AtomicU64::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for n in 0..EACH {
                        // Ten seconds; each thread gets there at a time of its own.
                        if let Some(count) = throttle.count(n / (EACH / 10) * NANOS_PER_SECOND) {
                            seen.fetch_add(count.get(), Relaxed);
                            reports.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!(seen.into_inner() + throttle.unreported.into_inner(), 4 * EACH);
        let reports = reports.into_inner();
        // At most 400,000 fall into one second: its 1st, 10th, 100th, 1000th, 10,000th and 100,000th.
        assert!((10..=60).contains(&reports), "{reports}");
    }

    #[test]
    fn what_is_left_is_told_in_the_end_once() {
        let (told, tells) = mpsc::channel();
        let reports = Arc::new(Reports::default());
        for door in ["first", "second"] {
            let told = told.clone();
            reports.last_words(|| move |unreported| told.send((door, unreported)).unwrap());
        }
        let shared = reports.clone();
        assert_eq!(burst(&reports.denials, 0, 200), [1, 9, 90]);
        assert_eq!(burst(&reports.misconfigured, 0, 3), [1]);
        assert_eq!(burst(&reports.shadow_denials, 0, 1), [1]);
        drop(reports);
        assert!(tells.try_recv().is_err(), "it is still shared");
        drop(shared);
        let left = Unreported { denials: 100, shadow_denials: 0, misconfigured: 2, foreign_plans: 0 };
        assert_eq!(tells.try_iter().collect::<Vec<_>>(), [("first", left)]);

        // Nothing left, nothing said.
        let reports = Reports::default();
        reports.last_words(|| move |unreported| told.send(("quiet", unreported)).unwrap());
        assert_eq!(burst(&reports.denials, 0, 1), [1]);
        drop(reports);
        assert_eq!(tells.try_iter().count(), 0);
    }
}
