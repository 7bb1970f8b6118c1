//! [`Parked`]: a counter that is not in force, and keeps what is owed until it is again.
//!
//! Where there are several plans, its words are shorter, so that there is room beside them to say whose they are. A key that comes back
//! to the counter owes what it would have owed, to the precision of the shorter word, and never less.

use super::cells::Cells;
use super::horizon::WORD_BITS;
use super::{Counter, FixedWindow, SlidingWindow, StrictWindow, TokenBucket};

/// A counter that is not in force.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    counter: Counter,
    /// How many bits its words have.
    bits: u32,
}

impl Parked {
    /// Of a token bucket. Its words lose their lowest bits, which are a nanosecond or two, or, where it never refills, less than a token.
    pub(crate) fn token_bucket(bucket: TokenBucket, bits: u32) -> Self {
        Self { counter: Counter::TokenBucket(bucket), bits }
    }

    pub(crate) fn fixed_window(amount: u64, period_nanos: u64, largest: u64, bits: u32) -> Self {
        Self { counter: Counter::FixedWindow(FixedWindow::new(amount, period_nanos, largest, bits)), bits }
    }

    pub(crate) fn aligned_window(
        amount: u64,
        period_nanos: u64,
        largest: u64,
        unix_nanos_at_zero: u64,
        bits: u32,
    ) -> Self {
        match FixedWindow::aligned(amount, period_nanos, largest, unix_nanos_at_zero, bits) {
            Some(window) => Self { counter: Counter::FixedWindow(window), bits },
            None => Self::lump(amount, period_nanos, largest, bits),
        }
    }

    pub(crate) fn sliding_window(amount: u64, period_nanos: u64, largest: u64, bits: u32) -> Self {
        match SlidingWindow::new(amount, period_nanos, largest, bits) {
            Some(window) => Self { counter: Counter::SlidingWindow(window), bits },
            None => Self::lump(amount, period_nanos, largest, bits),
        }
    }

    pub(crate) fn strict_window(amount: u64, period_nanos: u64, largest: u64, bits: u32) -> Self {
        match StrictWindow::new(amount, period_nanos, bits) {
            Some(window) => Self { counter: Counter::StrictWindow(window), bits },
            None => Self::lump(amount, period_nanos, largest, bits),
        }
    }

    /// Where a shorter word has no room for the counter's own: all that is owed, for as long as any of it could be.
    fn lump(amount: u64, period_nanos: u64, largest: u64, bits: u32) -> Self {
        Self::fixed_window(amount, 2 * period_nanos, largest, bits)
    }

    /// What a word of a counter becomes, parked.
    pub(crate) fn park(&self, old: &Counter, word: u64, now: u64) -> u64 {
        if old.is_fresh(word, now) { 0 } else { self.shorter(self.counter.carry(old, word, now)) }
    }

    /// The counter by which a parked word is to be read, and the word as it reads it.
    pub(crate) fn unpark(&self, parked: u64) -> (Counter, u64) {
        let bucket = matches!(self.counter, Counter::TokenBucket(_));
        (self.counter, if bucket { parked << (WORD_BITS - self.bits) } else { parked })
    }

    /// The parked word after `cost` is given back.
    pub(crate) fn refund(&self, parked: u64, now: u64, cost: u64) -> u64 {
        let (counter, word) = self.unpark(parked);
        self.shorter(counter.refund(word, now, cost, word))
    }

    fn shorter(&self, word: u64) -> u64 {
        match self.counter {
            Counter::TokenBucket(_) => {
                word.div_ceil(1 << (WORD_BITS - self.bits)).min(u64::MAX >> (WORD_BITS - self.bits))
            }
            _ => word,
        }
    }

    pub(crate) fn to_cells(self) -> Cells {
        self.counter.to_cells()
    }

    /// The counter that [`Parked::to_cells`] wrote down, with words of so many bits.
    pub(crate) fn from_cells(cells: &Cells, bits: u32) -> Self {
        Self { counter: Counter::from_cells(cells), bits }
    }
}
