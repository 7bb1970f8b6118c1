//! [`Tally`]: a window's count in the bits that its time leaves.
//!
//! Up to the amount every count is its own code. A key can owe more, from a larger quota in the same place; if that does not fit
//! as well, it is kept as a float, rounded up. So how long a window can tell time does not depend on what stands beside it, and
//! what was spent stays spent.

use super::float;

#[derive(Clone, Copy, Debug)]
pub(super) struct Tally {
    amount: u64,
    /// The most that a key can owe, from any quota in this place.
    largest: u64,
    /// How many bits a code has.
    bits: u32,
    /// How precise the codes above the amount are.
    digits: u32,
}

impl Tally {
    /// For counts up to `largest`, with so many bits for a code. `largest` may be below the amount.
    pub(super) fn new(amount: u64, largest: u64, bits: u32) -> Self {
        let beyond = largest.saturating_sub(amount);
        let most = ones(bits).saturating_sub(amount);
        let digits = (0..u64::BITS).rev().find(|&digits| float::code(beyond, digits) <= most).unwrap_or_default();
        Self { amount, largest, bits, digits }
    }

    /// The tally that was made with these, and has these [digits](Self::digits).
    #[inline]
    pub(super) fn with_digits(amount: u64, largest: u64, bits: u32, digits: u32) -> Self {
        Self { amount, largest, bits, digits }
    }

    #[inline]
    pub(super) fn amount(&self) -> u64 {
        self.amount
    }

    #[inline]
    pub(super) fn digits(&self) -> u32 {
        self.digits
    }

    #[inline]
    pub(super) fn largest(&self) -> u64 {
        self.largest
    }

    /// How many codes there are above the amount.
    pub(super) fn above(&self) -> u64 {
        let beyond = self.largest.saturating_sub(self.amount);
        ones(self.bits).saturating_sub(self.amount).min(float::code(beyond, self.digits))
    }

    /// The code of a count, or of the next that has one.
    #[inline]
    pub(super) fn code(&self, count: u64) -> u64 {
        if count <= self.amount { count } else { self.code_above(count) }
    }

    #[cold]
    fn code_above(&self, count: u64) -> u64 {
        self.amount + float::code(count - self.amount, self.digits).min(self.above())
    }

    /// The count that a code says.
    #[inline]
    pub(super) fn count(&self, code: u64) -> u64 {
        if code <= self.amount { code } else { self.count_above(code) }
    }

    #[cold]
    fn count_above(&self, code: u64) -> u64 {
        let above = (code - self.amount).min(self.above());
        let count = self.amount.saturating_add(float::value(above, self.digits));
        // The last says all that there can be, also where the codes end before.
        if above == self.above() { count.max(self.largest) } else { count }
    }
}

/// The lowest `count` bits.
fn ones(count: u32) -> u64 {
    u64::MAX.checked_shr(u64::BITS - count).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_kept_up_to_the_amount_and_none_is_made_smaller() {
        for bits in 1..30 {
            for amount in [0, 1, 2, 3, 5, 7, 100, 8191, 8192, 1 << 20] {
                if amount > ones(bits) {
                    continue;
                }
                for largest in [0, amount, amount + 1, 2 * amount + 7, 1000 * amount + 99, 1 << 40, u64::MAX] {
                    // Where all codes are the amount's there is none to say that more is owed.
                    let tally = Tally::new(amount, largest, bits);
                    let most = if tally.above() > 0 { largest } else { largest.min(amount) };
                    let mut last = 0;
                    for count in (0..64).flat_map(|power| [1 << power, (1_u64 << power).wrapping_mul(3) >> 1]) {
                        let count = count.min(most);
                        let code = tally.code(count);
                        let said = tally.count(code);
                        assert!(code <= ones(bits) && said >= count, "{count} became {said}: {tally:?}");
                        assert!(
                            said == count || count > amount && tally.above() < largest - amount,
                            "{count} became {said}: {tally:?}"
                        );
                        assert_eq!(tally.code(said), code, "{count} became {said}: {tally:?}");
                        if count >= last {
                            assert!(tally.code(last) <= code);
                        }
                        last = count;
                    }
                }
            }
        }
    }
}
