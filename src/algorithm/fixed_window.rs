//! The fixed window: when the window ends, and how much of it is used, in one word.
//!
//! The low bits count, the high bits hold the window's end in ticks. A tick is a power of two of nanoseconds, just
//! fine enough for the time to last 36 years in the bits that the count leaves; the end is rounded up to it, so a
//! window is never shorter than its period and at most one tick longer. A tick is never so long that more of the rate would be lost
//! than law 6 allows. Where such ticks do not last 36 years, the longest that may be is taken: it lasts 29 years
//! and more up to 10^6 per second, 36 up to 10^8, and between 5 and 11 at 10^9. When they have run out, time stands still and the
//! window denies.
//!
//! The ticks of a window that is aligned to the clock are its periods, so it is exact.
//!
//! None of this depends on what else stands beside the quota, but for one thing: where another quota in its place is larger, and
//! there is room for it, the count takes as many bits as that one's, and the ticks are coarser. Where there is no room, what is owed
//! above the amount is kept less precisely (see [`Tally`]).

use super::cells::{Cells, byte, first_cell};
use super::horizon::{HORIZON_NANOS, WORD_BITS, loss_one_in};
use super::tally::Tally;
use super::verdict::Verdict;

/// The tick in which the clock stands at 0: so many ends of windows lie before time.
const ORIGIN: u64 = 32;

#[derive(Clone, Copy, Debug)]
pub(crate) struct FixedWindow {
    amount: u64,
    period_nanos: u64,
    count_bits: u32,
    tick_nanos: u64,
    /// The end of a window that opens now is this time, and now, in ticks.
    opening_nanos: u64,
    /// A window is open if its end, in ticks, is later than this time, and now.
    zero_nanos: u64,
    /// The last time that can be told.
    horizon: u64,
    tally: Tally,
    /// The wall clock at the limiter's zero, modulo the period, if windows are aligned to it.
    aligned: Option<u64>,
    word_bits: u32,
}

impl FixedWindow {
    /// `amount` per `period_nanos`, in windows that open when they are needed.
    /// A key can owe up to `largest`: what was spent under a larger quota stays spent. The word has so many bits.
    pub(crate) fn new(amount: u64, period_nanos: u64, largest: u64, word_bits: u32) -> Self {
        let (count_bits, tick_nanos) = layout(amount, period_nanos, largest, word_bits);
        Self::of(period_nanos, tick_nanos, None, word_bits, count_bits, Tally::new(amount, largest, count_bits))
    }

    /// The same in windows aligned to the Unix epoch, in which the limiter's zero is at this time. `None` if they do not fit the
    /// word; they do fit 64 bits.
    pub(crate) fn aligned(
        amount: u64,
        period_nanos: u64,
        largest: u64,
        unix_nanos_at_zero: u64,
        word_bits: u32,
    ) -> Option<Self> {
        let aligned = Some(unix_nanos_at_zero % period_nanos);
        let count_bits = word_bits.saturating_sub(bits(HORIZON_NANOS / period_nanos + ORIGIN + 4));
        let tally = Tally::new(amount, largest, count_bits);
        let fits = count_bits >= bits(amount).max(1) && (largest <= amount || tally.above() > 0);
        (fits || word_bits == WORD_BITS)
            .then(|| Self::of(period_nanos, period_nanos, aligned, word_bits, count_bits, tally))
    }

    #[inline]
    fn of(
        period_nanos: u64,
        tick_nanos: u64,
        aligned: Option<u64>,
        word_bits: u32,
        count_bits: u32,
        tally: Tally,
    ) -> Self {
        let before = ORIGIN * tick_nanos;
        let (zero_nanos, opening_nanos) = match aligned {
            None => (before, before + period_nanos + tick_nanos - 1),
            Some(offset) => (before + offset, before + offset + period_nanos),
        };
        Self {
            amount: tally.amount(),
            period_nanos,
            count_bits,
            tick_nanos,
            opening_nanos,
            zero_nanos,
            horizon: reach(period_nanos, tick_nanos, word_bits - count_bits),
            tally,
            aligned,
            word_bits,
        }
    }

    /// The open window's end in ticks and what it has used, as a code; a window opened now, if none is.
    #[inline]
    fn window(&self, word: u64, now: u64) -> (u64, u64) {
        let now = now.min(self.horizon);
        let end = word >> self.count_bits;
        if self.is_open(end, now) { (end, word & self.count_mask()) } else { (self.opened(now), 0) }
    }

    #[inline]
    fn is_open(&self, end: u64, now: u64) -> bool {
        end * self.tick_nanos > now + self.zero_nanos
    }

    /// The end of a window that opens now.
    #[inline]
    fn opened(&self, now: u64) -> u64 {
        (now + self.opening_nanos) / self.tick_nanos
    }

    /// When an open window ends.
    #[inline]
    fn nanos(&self, end: u64) -> u64 {
        end * self.tick_nanos - self.zero_nanos
    }

    fn count_mask(&self) -> u64 {
        (1 << self.count_bits) - 1
    }

    #[inline]
    pub(crate) fn decide(&self, word: u64, now: u64, cost: u64) -> Verdict {
        if cost > self.amount {
            return Verdict::Never;
        }
        // Codes above the amount are counts above the amount.
        let (end, used) = self.window(word, now);
        if used + cost <= self.amount {
            Verdict::Allow(end << self.count_bits | (used + cost))
        } else {
            Verdict::Wait(self.nanos(end))
        }
    }

    #[inline]
    pub(crate) fn remaining(&self, word: u64, now: u64) -> u64 {
        self.amount.saturating_sub(self.window(word, now).1)
    }

    #[inline]
    pub(crate) fn reset_after(&self, word: u64, now: u64) -> u64 {
        let (end, used) = self.window(word, now);
        if used == 0 {
            return 0;
        }
        self.nanos(end).saturating_sub(now)
    }

    #[inline]
    pub(crate) fn is_fresh(&self, word: u64, now: u64) -> bool {
        !self.is_open(word >> self.count_bits, now.min(self.horizon))
    }

    #[inline]
    pub(crate) fn debt(&self, word: u64, now: u64) -> u64 {
        self.tally.count(self.window(word, now).1)
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
        let end = word >> self.count_bits;
        if end != charged >> self.count_bits || self.is_fresh(word, now) {
            return word; // the window that was charged is over
        }
        end << self.count_bits | self.tally.code(self.debt(word, now).saturating_sub(cost))
    }

    /// The word of a key that owes `spent`.
    pub(crate) fn owing(&self, spent: u64, now: u64) -> u64 {
        self.opened(now.min(self.horizon)) << self.count_bits | self.tally.code(spent)
    }

    /// The highest word that is as good as 0 at any time: that of a window that ended when the clock stood at 0.
    pub(crate) fn last_before_time(&self) -> u64 {
        ORIGIN << self.count_bits | self.count_mask()
    }

    /// What an open window of another counter becomes.
    pub(crate) fn carry(&self, old: &FixedWindow, word: u64, now: u64) -> u64 {
        if self.period_nanos != old.period_nanos || self.aligned != old.aligned {
            return self.owing(old.debt(word, now), now);
        }
        let (end, used) = old.window(word, now);
        let end = (old.nanos(end) + self.zero_nanos).div_ceil(self.tick_nanos);
        end << self.count_bits | self.tally.code(old.tally.count(used))
    }

    pub(crate) fn to_cells(self, algorithm: u64) -> Cells {
        // The word's bits are at most 64, so there is room for a bit more.
        let kind = self.word_bits << 1 | u32::from(self.aligned.is_some());
        let first = first_cell(algorithm, [self.count_bits, self.tally.digits(), kind]);
        [first, self.amount, self.period_nanos, self.aligned.unwrap_or(self.tick_nanos), self.tally.largest()]
    }

    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        let [_, amount, period_nanos, tick_or_offset, largest] = *cells;
        let [count_bits, digits, kind] = [0, 1, 2].map(|index| byte(cells, index));
        let (tick_nanos, aligned) = match kind % 2 {
            0 => (tick_or_offset, None),
            _ => (period_nanos, Some(tick_or_offset)),
        };
        let tally = Tally::with_digits(amount, largest, count_bits, digits);
        Self::of(period_nanos, tick_nanos, aligned, kind / 2, count_bits, tally)
    }
}

/// How many bits count, and how long a tick is.
fn layout(amount: u64, period_nanos: u64, largest: u64, word_bits: u32) -> (u32, u64) {
    // A word that waits for its quota admits nothing meanwhile, and may lose a little more.
    let spare = 1 << (WORD_BITS - word_bits);
    let tick_max = (period_nanos / loss_one_in(amount, period_nanos) * spare).max(1);
    // Where more can be owed than the amount, there is at least one number that says so.
    let own = if largest > amount { bits(amount + 1) } else { bits(amount).max(1) };
    let finest = |count_bits: u32| {
        let time_bits = word_bits - count_bits;
        let lasting = bits(HORIZON_NANOS + period_nanos).saturating_sub(time_bits);
        let tick_nanos = 1_u64.checked_shl(lasting).filter(|&tick| tick <= tick_max)?;
        (reach(period_nanos, tick_nanos, time_bits) == HORIZON_NANOS).then_some((count_bits, tick_nanos))
    };
    (own..=bits(largest).clamp(own, 48)).rev().find_map(finest).unwrap_or((own, tick_max))
}

/// How far ticks reach that are counted in so many bits.
#[inline]
fn reach(period_nanos: u64, tick_nanos: u64, time_bits: u32) -> u64 {
    // The last numbers are not used: a word of ones only is the table's.
    let ticks = (u64::MAX >> (u64::BITS - time_bits)).saturating_sub(ORIGIN + 2);
    let span = u128::from(ticks) * u128::from(tick_nanos);
    span.saturating_sub(2 * u128::from(period_nanos)).min(u128::from(HORIZON_NANOS)) as u64 // at most HORIZON_NANOS
}

/// How many bits a number needs.
fn bits(number: u64) -> u32 {
    u64::BITS - number.leading_zeros()
}
