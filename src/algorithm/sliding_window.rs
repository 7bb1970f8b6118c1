//! The sliding window counter: this window's count, the last one's, and which window this is, in one word.
//!
//! The estimate of the last period's requests is the current count plus the previous one, weighted by the part of the
//! previous window that the last period still covers, rounded up. It is what Cloudflare and Python's `limits` use.
//! The weight assumes that the previous window's requests were spread evenly. If they came bunched at its end, they
//! are forgotten too early, so the bound in any period-long interval is below `2·amount`: a burst of `amount` just
//! before the boundary, and `amount·f` after it by the time the fraction `f` of the new window has passed.
//!
//! Both counts are exact wherever they and 36 years of window numbers fit the word, which is up to about 10^5 per
//! second. Beyond, the previous count is kept with fewer bits, rounded up, and beyond 10^6 per second the windows
//! are numbered for fewer years: at 10^9 per second, four. After them time stands still and the window denies.

use super::cells::{Cells, byte, first_cell};
use super::horizon::{HORIZON_NANOS, loss_nanos_max};
use super::verdict::Verdict;

/// The number of the window in which the clock stands at 0. Those before the one before it lie before time.
const FIRST: u64 = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingWindow {
    amount: u64,
    /// The highest count that the word need say.
    largest: u64,
    period_nanos: u64,
    count_bits: u32,
    previous_bits: u32,
    /// The low bits of a previous count that are not kept.
    dropped_bits: u32,
    /// The last time that can be told.
    horizon: u64,
}

/// A word, unpacked and brought to a time.
#[derive(Clone, Copy)]
struct Window {
    /// The number of the window, from `FIRST`.
    number: u64,
    previous: u64,
    current: u64,
    /// How much of the previous window the last period still covers.
    overlap_nanos: u64,
}

impl SlidingWindow {
    /// `amount` per `period_nanos`.
    /// The word can say counts up to `largest`, which is at least the amount: what was spent under a larger quota stays spent.
    /// Its precision is then that of the larger quota.
    pub(crate) fn new(amount: u64, period_nanos: u64, largest: u64) -> Self {
        let count_bits = (u64::BITS - largest.leading_zeros()).max(1);
        let number_bits = u64::BITS - (HORIZON_NANOS / period_nanos + FIRST + 3).leading_zeros();
        // The previous count, rounded up to `previous_bits`, is above the exact one by at most 2^(1 - previous_bits).
        let precision = (period_nanos / loss_nanos_max(largest, period_nanos).max(1)).next_power_of_two().ilog2() + 1;
        let room = (u64::BITS - count_bits).saturating_sub(number_bits);
        let previous_bits = room.max(precision).min(count_bits).min(u64::BITS - count_bits - 2);
        let says = |dropped: &u32| largest.div_ceil(1 << dropped) >> previous_bits == 0;
        let dropped_bits = (0..count_bits).find(says).unwrap_or(count_bits);
        let numbers = u128::from(u64::MAX >> (count_bits + previous_bits));
        let lasting = numbers.saturating_sub(u128::from(FIRST) + 2);
        let horizon = (lasting * u128::from(period_nanos)).min(u128::from(HORIZON_NANOS));
        Self { amount, largest, period_nanos, count_bits, previous_bits, dropped_bits, horizon: horizon as u64 }
    }

    /// Whether the previous count is kept whole.
    pub(crate) fn is_exact(&self) -> bool {
        self.dropped_bits == 0
    }

    /// A count as it is remembered once its window is over: rounded up to what `previous_bits` can say.
    #[inline]
    fn remembered(&self, count: u64) -> u64 {
        count.div_ceil(1 << self.dropped_bits) << self.dropped_bits
    }

    #[inline]
    fn unpack(&self, word: u64, now: u64) -> Window {
        let now = now.min(self.horizon);
        let number = now / self.period_nanos + FIRST;
        let overlap_nanos = self.period_nanos - now % self.period_nanos;
        let stored = word >> (self.count_bits + self.previous_bits);
        let current = word & ((1 << self.count_bits) - 1);
        if stored >= number {
            let previous = (word >> self.count_bits & ((1 << self.previous_bits) - 1)) << self.dropped_bits;
            // A window from the future: time has stepped back, and stands at that window's start.
            let overlap_nanos = if stored > number { self.period_nanos } else { overlap_nanos };
            Window { number: stored, previous, current, overlap_nanos }
        } else if stored + 1 == number {
            Window { number, previous: self.remembered(current), current: 0, overlap_nanos }
        } else {
            Window { number, previous: 0, current: 0, overlap_nanos }
        }
    }

    #[inline]
    fn pack(&self, window: Window) -> u64 {
        let previous = window.previous >> self.dropped_bits;
        (window.number << self.previous_bits | previous) << self.count_bits | window.current
    }

    /// The previous count's share, rounded up.
    #[inline]
    fn weighted(&self, window: &Window) -> u64 {
        if window.previous == 0 {
            return 0;
        }
        let share = u128::from(window.previous) * u128::from(window.overlap_nanos);
        share.div_ceil(u128::from(self.period_nanos)) as u64 // at most `previous`
    }

    #[inline]
    pub(crate) fn decide(&self, word: u64, now: u64, cost: u64) -> Verdict {
        if cost > self.amount {
            return Verdict::Never;
        }
        let window = self.unpack(word, now);
        if self.weighted(&window) + window.current + cost <= self.amount {
            Verdict::Allow(self.pack(Window { current: window.current + cost, ..window }))
        } else {
            Verdict::Wait(self.wait(&window, cost))
        }
    }

    /// When `cost` would fit: later in this window, or in the next, where this one is the previous.
    fn wait(&self, window: &Window, cost: u64) -> u64 {
        let start = (window.number - FIRST) * self.period_nanos;
        if let Some(room) = self.amount.checked_sub(window.current + cost) {
            let offset = self.room_after(window.previous, room);
            if offset < self.period_nanos {
                return start + offset;
            }
        }
        start + self.period_nanos + self.room_after(self.remembered(window.current), self.amount - cost)
    }

    /// How far into a window the previous count's share has fallen to `room`.
    fn room_after(&self, previous: u64, room: u64) -> u64 {
        if previous <= room {
            return 0;
        }
        let share_nanos = u128::from(room) * u128::from(self.period_nanos) / u128::from(previous);
        self.period_nanos - share_nanos as u64 // room < previous
    }

    #[inline]
    pub(crate) fn remaining(&self, word: u64, now: u64) -> u64 {
        self.amount.saturating_sub(self.debt(word, now))
    }

    #[inline]
    pub(crate) fn reset_after(&self, word: u64, now: u64) -> u64 {
        let window = self.unpack(word, now);
        let windows = match window {
            Window { current: 0, previous: 0, .. } => return 0,
            Window { current: 0, .. } => window.number + 1 - FIRST,
            _ => window.number + 2 - FIRST,
        };
        (windows * self.period_nanos).saturating_sub(now)
    }

    #[inline]
    pub(crate) fn is_fresh(&self, word: u64, now: u64) -> bool {
        let window = self.unpack(word, now);
        window.current == 0 && window.previous == 0
    }

    #[inline]
    pub(crate) fn debt(&self, word: u64, now: u64) -> u64 {
        let window = self.unpack(word, now);
        self.weighted(&window) + window.current
    }

    pub(crate) fn passed(&self, word: u64, now: u64, total: u64) -> u64 {
        let window = self.unpack(word, now);
        if self.weighted(&window).saturating_add(window.current).saturating_add(total) <= self.amount {
            return now;
        }
        let start = (window.number - FIRST) * self.period_nanos;
        if let Some(room) = self.amount.checked_sub(window.current.saturating_add(total)) {
            let offset = self.room_after(window.previous, room);
            if offset < self.period_nanos {
                return start + offset;
            }
        }
        // The rest passes as this window's share falls, at the full rate at most.
        let left = u128::from(total.saturating_sub(self.amount.saturating_sub(window.current)));
        let nanos = left * u128::from(self.period_nanos) / u128::from(self.amount);
        (start + self.period_nanos).saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    pub(crate) fn refund(&self, word: u64, now: u64, cost: u64, charged: u64) -> u64 {
        let window = self.unpack(word, now);
        let charged_number = charged >> (self.count_bits + self.previous_bits);
        if window.number == charged_number {
            self.pack(Window { current: window.current.saturating_sub(cost), ..window })
        } else if window.number == charged_number + 1 {
            // What is kept of a previous count is rounded up, and so is what remains of it.
            self.pack(Window { previous: self.remembered(window.previous.saturating_sub(cost)), ..window })
        } else {
            word
        }
    }

    /// The word of a key that owes `spent`.
    pub(crate) fn owing(&self, spent: u64, now: u64) -> u64 {
        self.pack(Window { current: spent.min(self.largest), ..self.unpack(0, now) })
    }

    /// The highest word that is as good as 0 at any time: counts of a window that the first does not remember.
    pub(crate) fn last_before_time(&self) -> u64 {
        ((FIRST - 1) << (self.count_bits + self.previous_bits)) - 1
    }

    /// What the windows of another counter become.
    pub(crate) fn carry(&self, old: &SlidingWindow, word: u64, now: u64) -> u64 {
        if self.period_nanos != old.period_nanos {
            return self.owing(old.debt(word, now), now);
        }
        let window = old.unpack(word, now);
        let previous = self.remembered(window.previous.min(self.largest));
        self.pack(Window { previous, current: window.current.min(self.largest), ..window })
    }

    pub(crate) fn to_cells(self, algorithm: u64) -> Cells {
        let first = first_cell(algorithm, [self.count_bits, self.previous_bits, self.dropped_bits]);
        [first, self.amount, self.period_nanos, self.horizon, self.largest]
    }

    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        let [_, amount, period_nanos, horizon, largest] = *cells;
        let [count_bits, previous_bits, dropped_bits] = [0, 1, 2].map(|index| byte(cells, index));
        Self { amount, largest, period_nanos, count_bits, previous_bits, dropped_bits, horizon }
    }
}
