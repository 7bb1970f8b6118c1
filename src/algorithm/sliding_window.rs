//! The sliding window counter: this window's count, the last one's, and which window this is, in one word.
//!
//! The estimate of the last period's requests is the current count plus the previous one, weighted by the part of the
//! previous window that the last period still covers, rounded up. It is what Cloudflare and Python's `limits` use.
//! The weight assumes that the previous window's requests were spread evenly. If they came bunched at its end, they
//! are forgotten too early, so the bound in any period-long interval is below `2·amount`: a burst of `amount` just
//! before the boundary, and `amount·f` after it by the time the fraction `f` of the new window has passed.
//!
//! Both counts are exact wherever they and 36 years of window numbers fit the word, which is up to about 10^5 per
//! second. Beyond, the previous count is kept in as many levels as law 6 asks for, rounded up: at least 10^6 up to 10^4 per second,
//! 10^4 up to 10^6, and 50 at 10^9. The amount has a level of its own, so a client that asks all the time loses nothing, and so has
//! one less, so that who waits for one is let in whenever it comes. (A larger cost whose wait ends just before a window does may be
//! told to wait again, if it comes after.)
//!
//! Where the windows cannot be numbered for 36 years, it is 18 years and more up to 10^6 per second, 36 up to 10^8, and
//! between 4 and 9 at 10^9. After them time stands still and the window denies. None of this depends on what else stands beside
//! the quota (see [`Tally`]).

use super::cells::{Cells, byte, first_cell};
use super::horizon::{HORIZON_NANOS, WORD_BITS, loss_one_in};
use super::tally::Tally;
use super::verdict::Verdict;

/// The number of the window in which the clock stands at 0. Those before the one before it lie before time.
const FIRST: u64 = 3;

#[derive(Clone, Copy, Debug)]
pub(crate) struct SlidingWindow {
    amount: u64,
    period_nanos: u64,
    count_bits: u32,
    previous_bits: u32,
    /// The last time that can be told.
    horizon: u64,
    tally: Tally,
    word_bits: u32,
}

/// A word, unpacked and brought to a time.
#[derive(Clone, Copy)]
struct Window {
    /// The number of the window, from `FIRST`.
    number: u64,
    previous: u64,
    /// The previous count, as it is kept.
    kept: u64,
    current: u64,
    /// How much of the previous window the last period still covers.
    overlap_nanos: u64,
}

impl SlidingWindow {
    /// `amount` per `period_nanos`. A key can owe up to `largest`: what was spent under a larger quota stays spent. The word has so
    /// many bits. `None` if it would not reach as far as one of 64 bits.
    pub(crate) fn new(amount: u64, period_nanos: u64, largest: u64, word_bits: u32) -> Option<Self> {
        let number_bits = bits(HORIZON_NANOS / period_nanos + FIRST + 3);
        let room = word_bits.saturating_sub(number_bits);
        // Where more can be owed than the amount, there is at least one number that says so.
        let (own, all) = (bits(amount + u64::from(largest > amount)).max(1), bits(largest.max(amount)).max(1));
        let (count_bits, previous_bits) = if 2 * all <= room {
            (all, all)
        } else if 2 * own <= room {
            (room / 2, room / 2)
        } else {
            // Some of the levels are above the amount.
            let levels = loss_one_in(amount, period_nanos) * 33 / 32 + 2;
            (own, room.saturating_sub(own).max(bits(levels)).min(own))
        };
        if count_bits + previous_bits + 3 > word_bits {
            return None;
        }
        let tally = Tally::new(amount, largest, count_bits);
        let this = Self::of(period_nanos, word_bits, count_bits, previous_bits, tally);
        (word_bits == WORD_BITS || this.horizon == HORIZON_NANOS).then_some(this)
    }

    #[inline]
    fn of(period_nanos: u64, word_bits: u32, count_bits: u32, previous_bits: u32, tally: Tally) -> Self {
        let numbers = u64::MAX >> (u64::BITS - word_bits + count_bits + previous_bits);
        let lasting = u128::from(numbers.saturating_sub(FIRST + 2));
        let horizon = (lasting * u128::from(period_nanos)).min(u128::from(HORIZON_NANOS)) as u64;
        Self { amount: tally.amount(), period_nanos, count_bits, previous_bits, horizon, tally, word_bits }
    }

    /// Whether the previous count is kept whole.
    #[inline]
    pub(crate) fn is_exact(&self) -> bool {
        self.count_bits == self.previous_bits
    }

    /// A count as it is kept once its window is over.
    #[inline]
    fn kept(&self, count: u64) -> u64 {
        let code = self.tally.code(count);
        if self.is_exact() { code } else { self.level(code) }
    }

    /// What is kept of a previous count.
    #[inline]
    fn remembered(&self, kept: u64) -> u64 {
        self.tally.count(if self.is_exact() { kept } else { self.code_of_level(kept) })
    }

    /// How many levels a previous count below the amount has, without 0, and how many there are above the amount.
    #[inline]
    fn levels(&self) -> (u64, u64) {
        let all = (1 << self.previous_bits) - 1;
        let above = if self.tally.largest() > self.amount { (all / 32).max(1) } else { 0 };
        (all - above - 1, above)
    }

    /// The lowest level that is not below a code. The highest codes have a level each: the amount, and one less.
    #[inline(never)]
    fn level(&self, code: u64) -> u64 {
        let (below, above) = self.levels();
        let scaled = |code: u64, levels: u64, codes: u64| {
            (u128::from(code) * u128::from(levels)).div_ceil(u128::from(codes)) as u64 // at most `levels`
        };
        match code.checked_sub(self.amount) {
            None => scaled(code, below, self.amount - 1),
            Some(more) => below + 1 + scaled(more, above, self.tally.above().max(1)),
        }
    }

    /// The highest code that has a level.
    #[inline(never)]
    fn code_of_level(&self, level: u64) -> u64 {
        let (below, above) = self.levels();
        let scaled = |level: u64, codes: u64, levels: u64| {
            (u128::from(level) * u128::from(codes) / u128::from(levels)) as u64 // at most `codes`
        };
        match level.checked_sub(below + 1) {
            None => scaled(level, self.amount - 1, below),
            Some(more) => self.amount + scaled(more, self.tally.above(), above.max(1)),
        }
    }

    #[inline]
    fn unpack(&self, word: u64, now: u64) -> Window {
        let now = now.min(self.horizon);
        let number = now / self.period_nanos + FIRST;
        let overlap_nanos = self.period_nanos - now % self.period_nanos;
        let stored = word >> (self.count_bits + self.previous_bits);
        let current = self.tally.count(word & ((1 << self.count_bits) - 1));
        if stored >= number {
            let kept = word >> self.count_bits & ((1 << self.previous_bits) - 1);
            // A window from the future: time has stepped back, and stands at that window's start.
            let overlap_nanos = if stored > number { self.period_nanos } else { overlap_nanos };
            Window { number: stored, previous: self.remembered(kept), kept, current, overlap_nanos }
        } else if stored + 1 == number {
            let kept = self.kept(current);
            Window { number, previous: self.remembered(kept), kept, current: 0, overlap_nanos }
        } else {
            Window { number, previous: 0, kept: 0, current: 0, overlap_nanos }
        }
    }

    #[inline]
    fn pack(&self, window: Window) -> u64 {
        (window.number << self.previous_bits | window.kept) << self.count_bits | self.tally.code(window.current)
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
        start + self.period_nanos + self.room_after(self.remembered(self.kept(window.current)), self.amount - cost)
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
            self.pack(Window { kept: self.kept(window.previous.saturating_sub(cost)), ..window })
        } else {
            word
        }
    }

    /// The word of a key that owes `spent`.
    pub(crate) fn owing(&self, spent: u64, now: u64) -> u64 {
        self.pack(Window { current: spent, ..self.unpack(0, now) })
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
        self.pack(Window { kept: self.kept(window.previous), ..window })
    }

    pub(crate) fn to_cells(self, algorithm: u64) -> Cells {
        let first = first_cell(algorithm, [self.count_bits, self.previous_bits, self.tally.digits()]);
        [first, self.amount, self.period_nanos, self.tally.largest(), u64::from(self.word_bits)]
    }

    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        let [_, amount, period_nanos, largest, word_bits] = *cells;
        let [count_bits, previous_bits, digits] = [0, 1, 2].map(|index| byte(cells, index));
        let tally = Tally::with_digits(amount, largest, count_bits, digits);
        Self::of(period_nanos, word_bits as u32, count_bits, previous_bits, tally) // at most 64
    }
}

/// How many bits a number needs.
fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}
