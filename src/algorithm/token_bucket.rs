//! The token bucket, as GCRA keeps it: one number, the theoretical arrival time.
//!
//! GCRA (ITU-T I.371, "virtual scheduling") stores the time at which the bucket will be full again, the theoretical
//! arrival time (TAT), and admits when the TAT is at most `burst` tokens ahead of now. Most implementations keep it
//! in nanoseconds and so must round every charge. Here the TAT is kept in *fractions of a token*: a token is
//! `2^shift` units, a charge of n is exactly `n << shift`, the burst is exactly `burst << shift`, and only the clock
//! is converted, once per reading. Nothing accumulates: neither a thousand charges of one nor one charge of a thousand
//! differs from the exact bucket, and the long-run rate is the configured one to 1 part in 2^60, never above it.
//!
//! The clock is rounded up to whole units, because units per nanosecond are rounded down: so a nanosecond at which a
//! whole number of units is due has exactly that number, and one token per second comes after exactly one second. The
//! rounding is below one unit, and `shift` is the finest for which 36 years of uptime and a full
//! bucket fit the word: for a bucket that fills within a year a unit lasts between 1/16 and 1/8 ns, and it is never
//! longer than the clock's own nanosecond.

use super::cells::{Cells, byte, first_cell};
use super::horizon::HORIZON_NANOS;
use super::verdict::Verdict;

/// The clock in units when it stands at 0: as many words lie before time. At most so many nanoseconds of the horizon.
const ORIGIN: u64 = 1 << 16;

/// The shift of a bucket that never refills. What was spent before it came waits in it, up to 2^60 tokens; and where its words lose
/// bits, four at most since there are at most 16 plans, no token is rounded up to more.
const NEVER_REFILLS_SHIFT: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenBucket {
    burst: u64,
    /// A token is `1 << shift` units.
    shift: u32,
    /// The same number.
    token: u64,
    /// The burst in units.
    size: u64,
    /// Units per nanosecond, times 2^60, rounded down.
    rate: u64,
    /// Nanoseconds per unit, times 2^64, rounded up.
    inverse: u64,
}

impl TokenBucket {
    /// `amount` per `period_nanos`, at most `burst` at once.
    pub(crate) fn new(amount: u64, period_nanos: u64, burst: u64) -> Self {
        let (amount, period) = (u128::from(amount), u128::from(period_nanos));
        if amount == 0 {
            return Self::of(0, NEVER_REFILLS_SHIFT, 0, 0);
        }
        let fill_nanos = (u128::from(burst) * period).div_ceil(amount);
        // The finest unit with `amount·2^shift / period` units per ns times the whole span below 2^64. `Quota` keeps
        // the span below 2^62 ns, the period below 2^59 and the rate at most 1 token per ns, so no product reaches 2^128.
        // The 2 ns are more than 2 units: for the rounding, and so that no word is the highest number.
        let span_nanos = fill_nanos + u128::from(HORIZON_NANOS + ORIGIN) + 2;
        let fits = |shift: u32| (amount << shift) * span_nanos < period << 64;
        let shift = (0..63).take_while(|&shift| fits(shift + 1)).count() as u32;
        let rate = ((amount << (shift + 60)) / period) as u64; // below 2^64, as units/ns < 2^64/2^60
        let inverse = (1_u128 << 124).div_ceil(u128::from(rate)) as u64; // units/ns >= 1, so at most 2^64 / 1
        Self::of(burst, shift, rate, inverse)
    }

    #[inline]
    fn of(burst: u64, shift: u32, rate: u64, inverse: u64) -> Self {
        Self { burst, shift, token: 1 << shift, size: burst << shift, rate, inverse }
    }

    /// The clock in units, rounded up, from `ORIGIN`; the error of `rate` stays below one unit up to the horizon.
    #[inline]
    fn units(&self, now: u64) -> u64 {
        let zero = (u128::from(ORIGIN) << 60) + ((1 << 60) - 1);
        ((u128::from(now.min(HORIZON_NANOS)) * u128::from(self.rate) + zero) >> 60) as u64
    }

    /// The first nanosecond whose `units` are at least these, which are above `ORIGIN`.
    #[inline(always)]
    fn nanos_until(&self, units: u64) -> u64 {
        let before = units - ORIGIN - 1;
        // `inverse` is rounded up by less than one, so the product is too large by less than `before`, and its upper word is
        // the quotient, or, if the lower is less than that, perhaps one more. So one division in as many is looked at again as
        // the uptime is short of the horizon.
        let product = u128::from(before) * u128::from(self.inverse);
        let nanos = (product >> 64) as u64; // the span fits 2^62 ns
        let above = (product as u64) < before && u128::from(nanos) * u128::from(self.rate) > u128::from(before) << 60;
        nanos + 1 - u64::from(above)
    }

    #[inline]
    pub(crate) fn decide(&self, word: u64, now: u64, cost: u64) -> Verdict {
        if cost > self.burst {
            return Verdict::Never;
        }
        let now = self.units(now);
        let arrival = word.max(now);
        let tolerance = self.size - (cost << self.shift); // cost <= burst
        if arrival - now <= tolerance {
            Verdict::Allow(arrival + (cost << self.shift))
        } else {
            Verdict::Wait(self.nanos_until(arrival - tolerance))
        }
    }

    /// The bucket as it is asked most often, in as few steps as there can be. `None` where it takes more: at the horizon, for a
    /// cost above the burst, and for none.
    #[inline(always)]
    pub(crate) fn asked(&self, now: u64, cost: u64) -> Option<OneCheck<'_>> {
        if now >= HORIZON_NANOS || cost > self.burst || cost == 0 {
            return None;
        }
        // As `units`, but in sixteenths of a nanosecond: so the whole units are the upper word of the product, and what must be
        // rounded up is the lower.
        let product = u128::from(now << 4) * u128::from(self.rate);
        let units = (product >> 64) as u64 + u64::from(product as u64 != 0) + ORIGIN;
        let charge = cost * self.token; // cost <= burst
        let tolerance = self.size - charge;
        Some(OneCheck { bucket: self, now, units, charge, tolerance, latest: units + tolerance, least: units + charge })
    }

    #[inline]
    pub(crate) fn remaining(&self, word: u64, now: u64) -> u64 {
        self.size.saturating_sub(word.saturating_sub(self.units(now))) >> self.shift
    }

    #[inline]
    pub(crate) fn reset_after(&self, word: u64, now: u64) -> u64 {
        if self.is_fresh(word, now) {
            return 0;
        }
        self.nanos_until(word).saturating_sub(now.min(HORIZON_NANOS)) // 0 at a rate of 0, where it never is
    }

    #[inline]
    pub(crate) fn is_fresh(&self, word: u64, now: u64) -> bool {
        word <= self.units(now)
    }

    #[inline]
    pub(crate) fn debt(&self, word: u64, now: u64) -> u64 {
        self.owed(word, now).unwrap_or(0)
    }

    /// The [`debt`](Self::debt) of a word that is not [as good as 0](Self::is_fresh).
    #[inline]
    pub(crate) fn owed(&self, word: u64, now: u64) -> Option<u64> {
        let owed = word.checked_sub(self.units(now)).filter(|&owed| owed > 0)?;
        Some(owed.div_ceil(1 << self.shift))
    }

    pub(crate) fn passed(&self, word: u64, now: u64, total: u64) -> u64 {
        let arrival = word.max(self.units(now));
        // Beyond the word's range is beyond the horizon.
        let full = arrival.saturating_add(total.saturating_mul(1 << self.shift));
        match full.saturating_sub(self.size) {
            ..=ORIGIN => now,
            units => self.nanos_until(units).max(now),
        }
    }

    pub(crate) fn refund(&self, word: u64, now: u64, cost: u64, charged: u64) -> u64 {
        let now = self.units(now);
        // The bucket refills the oldest charge first, so of this one all that lies beyond now is still outstanding.
        let outstanding = charged.saturating_sub(now).min(word.saturating_sub(now));
        let back = u128::from(cost) << self.shift; // shift is below 64
        word - u64::try_from(back).unwrap_or(u64::MAX).min(outstanding)
    }

    /// The highest word that is as good as 0 at any time.
    pub(crate) fn last_before_time(&self) -> u64 {
        ORIGIN
    }

    /// The word of a key that owes `spent`, which may be above the burst.
    pub(crate) fn owing(&self, spent: u64, now: u64) -> u64 {
        self.owing_units(u128::from(spent) << self.shift, now)
    }

    /// What the word of another bucket becomes: the same tokens, and fractions of them, are outstanding.
    pub(crate) fn carry(&self, old: &TokenBucket, word: u64, now: u64) -> u64 {
        let outstanding = u128::from(word.saturating_sub(old.units(now))) << self.shift; // shift is below 64
        self.owing_units(outstanding.div_ceil(1 << old.shift), now)
    }

    /// As much as the word can say, which is decades of refilling; and never the highest number.
    fn owing_units(&self, units: u128, now: u64) -> u64 {
        let now = self.units(now);
        now + u64::try_from(units).unwrap_or(u64::MAX).min(u64::MAX - 1 - now)
    }

    pub(crate) fn to_cells(self, algorithm: u64) -> Cells {
        [first_cell(algorithm, [self.shift, 0, 0]), self.burst, self.rate, self.inverse, 0]
    }

    #[inline]
    pub(crate) fn from_cells(cells: &Cells) -> Self {
        let [_, burst, rate, inverse, _] = *cells;
        let shift = byte(cells, 0);
        Self::of(burst, shift, rate, inverse)
    }
}

/// A token bucket, asked for one cost at one moment. It says what the bucket itself would say.
#[derive(Clone, Copy)]
pub(crate) struct OneCheck<'a> {
    bucket: &'a TokenBucket,
    now: u64,
    /// The same in units.
    units: u64,
    /// The cost in units.
    charge: u64,
    /// How much may be owed before.
    tolerance: u64,
    /// The highest word that lets it pass.
    latest: u64,
    /// The word afterwards, if the bucket is full before.
    least: u64,
}

impl OneCheck<'_> {
    /// The word after the charge; `None` if it does not pass.
    #[inline(always)]
    pub(crate) fn charged(&self, word: u64) -> Option<u64> {
        (word <= self.latest).then(|| (word + self.charge).max(self.least))
    }

    /// How much would pass after a charge that left this word.
    #[inline(always)]
    pub(crate) fn remaining(&self, word: u64) -> u64 {
        self.bucket.size.saturating_sub(word - self.units) >> self.bucket.shift
    }

    /// How long until the bucket is full again, after a charge that left this word, or a denial by it.
    #[inline(always)]
    pub(crate) fn reset_after(&self, word: u64) -> u64 {
        self.bucket.nanos_until(word) - self.now
    }

    /// How long until the cost passes that this word does not let pass.
    #[inline(always)]
    pub(crate) fn wait(&self, word: u64) -> u64 {
        self.bucket.nanos_until(word - self.tolerance) - self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    /// Rates from one in 18 years to one a nanosecond, evenly divided or not.
    fn buckets() -> Vec<TokenBucket> {
        let rates = [(1, SECOND), (1, 1), (7, 3), (28, SECOND), (1_000_000, SECOND), (5, 60 * SECOND), (1, 1 << 59)];
        let each = rates.iter().flat_map(|&(amount, period)| [1, 2, 1000].map(|burst| (amount, period, burst)));
        // What a quota can be.
        each.filter(|(amount, period, burst)| u128::from(*burst) * u128::from(*period) < u128::from(*amount) << 62)
            .map(|(amount, period, burst)| TokenBucket::new(amount, period, burst))
            .collect()
    }

    /// Times and words that stand close to each other, where roundings show, and far apart.
    fn each_case(mut look: impl FnMut(&TokenBucket, u64, u64)) {
        let mut random = 1_u64;
        let mut draw = || {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            random >> 32
        };
        for bucket in buckets() {
            for _ in 0..2000 {
                let now = (draw() << 28) >> (draw() % 60);
                let near = bucket.units(now) + (bucket.size >> (draw() % 20)) + draw() % 3;
                for word in [0, near, near.saturating_sub(2), near + (draw() >> (draw() % 32))] {
                    look(&bucket, word, now);
                }
            }
        }
    }

    #[test]
    fn it_says_the_same_however_it_is_asked() {
        let (mut passed, mut denied) = (0, 0);
        each_case(|bucket, word, now| {
            for cost in [1, 2, bucket.burst] {
                let Some(asked) = bucket.asked(now, cost) else {
                    assert_eq!(bucket.decide(word, now, cost), Verdict::Never);
                    continue;
                };
                let after = match asked.charged(word) {
                    Some(next) => {
                        passed += 1;
                        assert_eq!(bucket.decide(word, now, cost), Verdict::Allow(next), "{bucket:?}: {word} at {now}");
                        next
                    }
                    None => {
                        denied += 1;
                        let until = Verdict::Wait(now + asked.wait(word));
                        assert_eq!(bucket.decide(word, now, cost), until, "{bucket:?}: {word} at {now}");
                        word
                    }
                };
                assert_eq!(asked.remaining(after), bucket.remaining(after, now), "{bucket:?}: {word} at {now}");
                assert_eq!(asked.reset_after(after), bucket.reset_after(after, now), "{bucket:?}: {word} at {now}");
            }
        });
        assert!(passed > 10_000 && denied > 10_000, "{passed}, {denied}");
    }

    #[test]
    fn it_is_asked_otherwise_where_time_stands_still_or_nothing_is_to_be_decided() {
        let bucket = TokenBucket::new(1, SECOND, 5);
        assert!(bucket.asked(HORIZON_NANOS - 1, 5).is_some());
        assert!(bucket.asked(HORIZON_NANOS, 5).is_none());
        assert!(bucket.asked(0, 6).is_none());
        assert!(bucket.asked(0, 0).is_none());
        assert!(TokenBucket::new(0, SECOND, 0).asked(0, 1).is_none());
    }

    #[test]
    fn the_end_of_a_wait_is_the_first_nanosecond_at_which_it_is_over() {
        each_case(|bucket, word, now| {
            if word > bucket.units(now) && word - ORIGIN < 1 << 60 {
                let end = bucket.nanos_until(word);
                assert!(bucket.units(end) >= word, "{bucket:?}: {word}");
                assert!(end == 0 || bucket.units(end - 1) < word, "{bucket:?}: {word}");
            }
        });
    }
}
