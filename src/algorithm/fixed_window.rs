//! The fixed window: when the window ends, and how much of it is used, in one word.
//!
//! The low bits count, the high bits hold the window's end in ticks. A tick is a power of two of nanoseconds, just
//! fine enough for the time to last 36 years in the bits that the count leaves; the end is rounded up to it, so a
//! window is never shorter than its period and at most one tick longer. Where that would lose more of the rate than
//! law 6 allows (windows of more than about 10^6 per second), the tick is finer and the time lasts fewer years: at
//! 10^9 per second, four. When it has run out, time stands still and the window denies.

use super::cells::{Cells, byte, first_cell};
use super::horizon::{HORIZON_NANOS, loss_nanos_max};
use super::verdict::Verdict;

/// The tick in which the clock stands at 0: so many ends of windows lie before time.
const ORIGIN: u64 = 1 << 8;

#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow {
    amount: u64,
    period_nanos: u64,
    count_bits: u32,
    tick_shift: u32,
    /// The last time that can be told.
    horizon: u64,
    /// The wall clock at the limiter's zero, modulo the period, if windows are aligned to it.
    aligned: Option<u64>,
}

impl FixedWindow {
    /// `amount` per `period_nanos`; windows are aligned to the Unix epoch if it is said where the limiter's zero is in it.
    /// The word can say counts up to `largest`, which is at least the amount: what was spent under a larger quota stays spent.
    /// Its precision is then that of the larger quota.
    pub(crate) fn new(amount: u64, period_nanos: u64, largest: u64, unix_nanos_at_zero: Option<u64>) -> Self {
        let count_bits = (u64::BITS - largest.leading_zeros()).max(1);
        let time_bits = u64::BITS - count_bits;
        let lasting = (u64::BITS - (HORIZON_NANOS + period_nanos).leading_zeros()).saturating_sub(time_bits);
        let tick_shift = lasting.min(loss_nanos_max(largest, period_nanos).max(1).ilog2());
        let span = u128::from(u64::MAX >> count_bits) << tick_shift;
        let beyond = 2 * u128::from(period_nanos) + (u128::from(ORIGIN + 2) << tick_shift);
        let horizon = span.saturating_sub(beyond).min(u128::from(HORIZON_NANOS));
        Self {
            amount,
            period_nanos,
            count_bits,
            tick_shift,
            horizon: horizon as u64, // at most HORIZON_NANOS
            aligned: unix_nanos_at_zero.map(|nanos| nanos % period_nanos),
        }
    }

    /// The open window's end in ticks and what it has used; a window opened now, if none is.
    #[inline]
    fn window(&self, word: u64, now: u64) -> (u64, u64) {
        let now = now.min(self.horizon);
        let end = word >> self.count_bits;
        if end > self.tick(now) {
            return (end, word & ((1 << self.count_bits) - 1));
        }
        let end = match self.aligned {
            None => now + self.period_nanos,
            Some(offset) => now + self.period_nanos - (now % self.period_nanos + offset) % self.period_nanos,
        };
        (self.tick_after(end), 0)
    }

    /// The tick of a time.
    #[inline]
    fn tick(&self, nanos: u64) -> u64 {
        (nanos >> self.tick_shift) + ORIGIN
    }

    /// The first tick that does not begin before a time.
    #[inline]
    fn tick_after(&self, nanos: u64) -> u64 {
        nanos.div_ceil(1 << self.tick_shift) + ORIGIN
    }

    /// When a tick begins; one that does not lie before time.
    #[inline]
    fn nanos(&self, tick: u64) -> u64 {
        (tick - ORIGIN) << self.tick_shift
    }

    #[inline]
    pub(crate) fn decide(&self, word: u64, now: u64, cost: u64) -> Verdict {
        if cost > self.amount {
            return Verdict::Never;
        }
        let (end, used) = self.window(word, now);
        if used + cost <= self.amount {
            Verdict::Allow(end << self.count_bits | (used + cost))
        } else {
            Verdict::Wait(self.nanos(end))
        }
    }

    #[inline]
    pub(crate) fn remaining(&self, word: u64, now: u64) -> u64 {
        self.amount.saturating_sub(self.debt(word, now))
    }

    #[inline]
    pub(crate) fn reset_after(&self, word: u64, now: u64) -> u64 {
        if self.debt(word, now) == 0 {
            return 0;
        }
        self.nanos(word >> self.count_bits).saturating_sub(now)
    }

    #[inline]
    pub(crate) fn is_fresh(&self, word: u64, now: u64) -> bool {
        word >> self.count_bits <= self.tick(now.min(self.horizon))
    }

    #[inline]
    pub(crate) fn debt(&self, word: u64, now: u64) -> u64 {
        self.window(word, now).1
    }

    pub(crate) fn passed(&self, word: u64, now: u64, total: u64) -> u64 {
        let (end, used) = self.window(word, now);
        match total.saturating_sub(self.amount.saturating_sub(used)) {
            0 => now,
            left => {
                let windows_between = (left - 1) / self.amount;
                self.nanos(end).saturating_add(windows_between.saturating_mul(self.period_nanos))
            }
        }
    }

    pub(crate) fn refund(&self, word: u64, now: u64, cost: u64, charged: u64) -> u64 {
        if word >> self.count_bits != charged >> self.count_bits {
            return word; // the window that was charged is over
        }
        word - self.debt(word, now).min(cost)
    }

    /// The word of a key that owes `spent`.
    pub(crate) fn owing(&self, spent: u64, now: u64) -> u64 {
        let (end, _) = self.window(0, now);
        end << self.count_bits | spent.min(self.count_max())
    }

    /// The highest word that is as good as 0 at any time: that of a window that ended when the clock stood at 0.
    pub(crate) fn last_before_time(&self) -> u64 {
        ORIGIN << self.count_bits | self.count_max()
    }

    /// The highest count that the word can say.
    fn count_max(&self) -> u64 {
        (1 << self.count_bits) - 1
    }

    /// What an open window of another counter becomes.
    pub(crate) fn carry(&self, old: &FixedWindow, word: u64, now: u64) -> u64 {
        let (end, used) = old.window(word, now);
        if self.period_nanos != old.period_nanos || self.aligned != old.aligned {
            return self.owing(used, now);
        }
        self.tick_after(old.nanos(end)) << self.count_bits | used.min(self.count_max())
    }

    pub(crate) fn to_cells(self, algorithm: u64) -> Cells {
        let first = first_cell(algorithm, [self.count_bits, self.tick_shift, 0]);
        [first, self.amount, self.period_nanos, self.horizon, self.aligned.unwrap_or(u64::MAX)]
    }

    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        let [_, amount, period_nanos, horizon, aligned] = *cells;
        let aligned = (aligned != u64::MAX).then_some(aligned);
        Self { amount, period_nanos, count_bits: byte(cells, 0), tick_shift: byte(cells, 1), horizon, aligned }
    }
}
