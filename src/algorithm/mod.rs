//! The algorithms: each a pure function from a state word, a time and a cost to a verdict.
//!
//! No clock, no lock, no map. A *word* is one key's whole state under one quota, and 0 is the word of a key that
//! was never seen. Time is in nanoseconds since the limiter's clock began. Each algorithm also tells when a word
//! has become as good as 0 (`is_fresh`), so that the table can take its place without a sweeper.
//!
//! # Words before time
//!
//! Each algorithm counts time from a little above 0, so there are words that lie before its first moment. They are as good as
//! 0 by every reading of the clock, however old, and yet different numbers. What is forgotten (`fresh`) becomes one of them,
//! and always another than it was: so a thread that decided on the word before, or on 0, finds out by its
//! compare-and-swap that the word has moved. A word as of *now* would not do. A thread that was put aside may hold an older reading
//! of the clock, by which a window that ends now is open, and closes at once.

mod cells;
mod fixed_window;
mod float;
mod horizon;
mod parked;
mod sliding_window;
mod strict_window;
mod tally;
mod token_bucket;
mod verdict;

pub(crate) use cells::Cells;
pub(crate) use fixed_window::FixedWindow;
pub(crate) use horizon::{HORIZON_NANOS, WORD_BITS};
pub(crate) use parked::Parked;
pub(crate) use sliding_window::SlidingWindow;
pub(crate) use strict_window::StrictWindow;
pub(crate) use token_bucket::TokenBucket;
pub(crate) use verdict::Verdict;

/// A quota, prepared for deciding: the numbers that a check multiplies and shifts by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    TokenBucket(TokenBucket),
    FixedWindow(FixedWindow),
    SlidingWindow(SlidingWindow),
    StrictWindow(StrictWindow),
}

macro_rules! each {
    ($counter:expr, $name:ident => $call:expr) => {
        match $counter {
            Counter::TokenBucket($name) => $call,
            Counter::FixedWindow($name) => $call,
            Counter::SlidingWindow($name) => $call,
            Counter::StrictWindow($name) => $call,
        }
    };
}

impl Counter {
    /// Decides a cost. A verdict other than `Allow` leaves the word as it is.
    #[inline]
    pub(crate) fn decide(&self, word: u64, now: u64, cost: u64) -> Verdict {
        each!(self, counter => counter.decide(word, now, cost))
    }

    /// Whether what passes at one time passes at all later times too, as long as the word stays. It does not where a sliding
    /// window keeps its previous count rounded up: as the next window begins, the account may grow by the rounding.
    pub(crate) fn only_gains_room(&self) -> bool {
        match self {
            Self::TokenBucket(_) | Self::FixedWindow(_) | Self::StrictWindow(_) => true,
            Self::SlidingWindow(window) => window.is_exact(),
        }
    }

    /// How much would pass at `now`.
    #[inline]
    pub(crate) fn remaining(&self, word: u64, now: u64) -> u64 {
        each!(self, counter => counter.remaining(word, now))
    }

    /// How long after `now` the word will be as good as 0; at most a few nanoseconds too long.
    #[inline]
    pub(crate) fn reset_after(&self, word: u64, now: u64) -> u64 {
        each!(self, counter => counter.reset_after(word, now))
    }

    /// Whether the word is as good as 0: no question could tell it from a key never seen.
    #[inline]
    pub(crate) fn is_fresh(&self, word: u64, now: u64) -> bool {
        each!(self, counter => counter.is_fresh(word, now))
    }

    /// The [`debt`](Self::debt) of a word that is not [as good as 0](Self::is_fresh).
    #[inline]
    pub(crate) fn owed(&self, word: u64, now: u64) -> Option<u64> {
        match self {
            Self::TokenBucket(bucket) => bucket.owed(word, now),
            other => (!other.is_fresh(word, now)).then(|| other.debt(word, now)),
        }
    }

    /// How much would be forgiven if the word became 0 at `now`, rounded up.
    #[inline]
    pub(crate) fn debt(&self, word: u64, now: u64) -> u64 {
        each!(self, counter => counter.debt(word, now))
    }

    /// The earliest time at which `total`, asked for one by one, can all have passed; `now`, if it passes now. For a
    /// sliding or strict window it may take longer yet. `total` may be above the limit, which is not 0.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "only doors with timers wait"))]
    pub(crate) fn passed(&self, word: u64, now: u64, total: u64) -> u64 {
        each!(self, counter => counter.passed(word, now, total))
    }

    /// The word after `cost` is given back of a charge that had left the key at the word `charged`.
    ///
    /// What of that charge has been forgotten meanwhile (refilled, or gone with its window) is not given back
    /// again, so a refund never lets more pass than if the charge had been smaller from the start.
    pub(crate) fn refund(&self, word: u64, now: u64, cost: u64, charged: u64) -> u64 {
        each!(self, counter => counter.refund(word, now, cost, charged))
    }

    /// What a word becomes when all that was spent is forgotten: as good as 0 by every reading of the clock that anyone may still
    /// hold, and neither 0 nor the word that it was.
    pub(crate) fn fresh(&self, word: u64) -> u64 {
        let last = each!(self, counter => counter.last_before_time());
        1 + word % last
    }

    /// What a word of another counter becomes under this one: what had been spent stays spent, also above this
    /// counter's limit. It is never 0.
    pub(crate) fn carry(&self, old: &Counter, word: u64, now: u64) -> u64 {
        match (self, old) {
            _ if old.is_fresh(word, now) => self.fresh(word),
            (Self::TokenBucket(new), Self::TokenBucket(old)) => new.carry(old, word, now),
            // Between windows of one length, the window goes on as well.
            (Self::FixedWindow(new), Self::FixedWindow(old)) => new.carry(old, word, now),
            (Self::SlidingWindow(new), Self::SlidingWindow(old)) => new.carry(old, word, now),
            (Self::StrictWindow(new), Self::StrictWindow(old)) => new.carry(old, word, now),
            _ => each!(self, counter => counter.owing(old.debt(word, now), now)),
        }
    }

    /// The counter as plain numbers, from which [`Counter::from_cells`] makes it again.
    pub(crate) fn to_cells(self) -> Cells {
        match self {
            Self::TokenBucket(counter) => counter.to_cells(0),
            Self::FixedWindow(counter) => counter.to_cells(1),
            Self::SlidingWindow(counter) => counter.to_cells(2),
            Self::StrictWindow(counter) => counter.to_cells(3),
        }
    }

    /// The counter that [`Counter::to_cells`] wrote down.
    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        match cells[0] & 0xff {
            0 => Self::TokenBucket(TokenBucket::from_cells(cells)),
            1 => Self::FixedWindow(FixedWindow::from_cells(cells)),
            2 => Self::SlidingWindow(SlidingWindow::from_cells(cells)),
            _ => Self::StrictWindow(StrictWindow::from_cells(cells)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn counters() -> Vec<Counter> {
        let mut counters = Vec::new();
        for (amount, period) in [(1, SECOND), (1, 1), (10, SECOND), (1_000_000, 3600 * SECOND), (1, 1 << 58)] {
            for largest in [amount, amount * 1000] {
                counters.push(Counter::TokenBucket(TokenBucket::new(amount, period, largest)));
                counters.push(Counter::FixedWindow(FixedWindow::new(amount, period, largest, WORD_BITS)));
                counters.push(Counter::FixedWindow(
                    FixedWindow::aligned(amount, period, largest, 12345, WORD_BITS).unwrap(),
                ));
                counters.push(Counter::SlidingWindow(SlidingWindow::new(amount, period, largest, WORD_BITS).unwrap()));
                counters.push(Counter::StrictWindow(StrictWindow::new(amount, period, WORD_BITS).unwrap()));
            }
        }
        counters.push(Counter::TokenBucket(TokenBucket::new(0, SECOND, 0)));
        counters.push(Counter::FixedWindow(FixedWindow::new(0, SECOND, 0, WORD_BITS)));
        counters.push(Counter::SlidingWindow(SlidingWindow::new(0, SECOND, 0, WORD_BITS).unwrap()));
        counters.push(Counter::StrictWindow(StrictWindow::new(0, SECOND, WORD_BITS).unwrap()));
        counters
    }

    /// What was forgotten is as good as a key never seen by every reading of the clock, and another number than before, so that
    /// whoever decided on that finds out. Under a bucket of amount 0 it used to be 0 itself.
    #[test]
    fn a_forgotten_word_is_new_and_as_good_as_0_at_any_time() {
        for counter in counters() {
            let mut words = vec![0, 1, 2, 1 << 16, 1 << 40, u64::MAX - 1];
            for now in [0, 1, SECOND, HORIZON_NANOS] {
                if let Verdict::Allow(next) = counter.decide(0, now, 1) {
                    words.push(next);
                }
            }
            for word in words {
                let mut forgotten = word;
                for _ in 0..5 {
                    let before = forgotten;
                    forgotten = counter.fresh(before);
                    assert!(forgotten != 0 && forgotten != before && forgotten != u64::MAX, "{counter:?}: {word}");
                    for now in [0, 1, 1000, SECOND, HORIZON_NANOS] {
                        assert!(counter.is_fresh(forgotten, now), "{counter:?}: {forgotten} at {now}");
                        assert_eq!(counter.decide(forgotten, now, 1), counter.decide(0, now, 1), "{counter:?}");
                        assert_eq!(counter.debt(forgotten, now), 0);
                        assert_eq!(counter.reset_after(forgotten, now), 0);
                        assert_eq!(counter.refund(forgotten, now, 1, forgotten), forgotten);
                    }
                }
            }
        }
    }

    /// Who asks for one after the other, each as soon as it was told, has had them all when that was foreseen; where windows weigh or
    /// count in batches, perhaps later, as a lower bound allows.
    #[test]
    fn what_is_asked_one_by_one_passes_no_earlier_than_foreseen() {
        let mut latest = 0;
        for amount in [1, 3, 10] {
            for counter in [
                Counter::TokenBucket(TokenBucket::new(amount, SECOND, amount)),
                Counter::FixedWindow(FixedWindow::new(amount, SECOND, amount, WORD_BITS)),
                Counter::FixedWindow(FixedWindow::aligned(amount, SECOND, amount, 12345, WORD_BITS).unwrap()),
                Counter::SlidingWindow(SlidingWindow::new(amount, SECOND, amount, WORD_BITS).unwrap()),
                Counter::StrictWindow(StrictWindow::new(amount, SECOND, WORD_BITS).unwrap()),
            ] {
                for (charged_at, now) in [(0, 0), (SECOND / 3, SECOND / 2), (SECOND / 2, SECOND * 5 / 4)] {
                    for spent in 0..=amount {
                        let Verdict::Allow(word) = counter.decide(0, charged_at, spent) else {
                            unreachable!("it is new")
                        };
                        let (mut after, mut at) = (word, now);
                        for total in 1..=3 * amount {
                            after = loop {
                                match counter.decide(after, at, 1) {
                                    Verdict::Allow(after) => break after,
                                    Verdict::Wait(until) => at = until,
                                    Verdict::Never => unreachable!("one is not above the limit"),
                                }
                            };
                            let foreseen = counter.passed(word, now, total);
                            let is_exact = matches!(counter, Counter::TokenBucket(_) | Counter::FixedWindow(_));
                            assert!(now <= foreseen && foreseen <= at, "{counter:?}: {spent}, then {total} by {now}");
                            assert!(foreseen == at || !is_exact, "{counter:?}: {spent}, then {total} by {now}");
                            latest = latest.max((at - now) / (foreseen - now + SECOND / 2));
                        }
                    }
                }
            }
        }
        assert!(latest <= 2, "{latest} times as long as foreseen");
    }

    /// Whatever is carried over from whichever counter, the word is none that means something else.
    #[test]
    fn a_carried_word_is_never_0_nor_the_highest() {
        for (old, new) in counters().iter().flat_map(|old| counters().into_iter().map(move |new| (*old, new))) {
            for charged_at in [0, SECOND, HORIZON_NANOS] {
                let Verdict::Allow(word) = old.decide(0, charged_at, 1) else { continue };
                for now in [0, charged_at, charged_at + 10, charged_at + 10 * SECOND, HORIZON_NANOS] {
                    let carried = new.carry(&old, word, now);
                    assert!(carried != 0 && carried != u64::MAX, "{old:?} to {new:?} at {now}");
                    if old.is_fresh(word, now) {
                        assert!(new.is_fresh(carried, 0), "{old:?} to {new:?} at {now}");
                    }
                }
            }
        }
    }
}
