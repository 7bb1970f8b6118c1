//! Numbers in few bits, rounded up: a float of so many digits after its highest.

/// The code of the smallest number that has a code and is not below this one. Codes are in the order of their numbers, and up to
/// `2^(digits + 1)` they are the numbers.
pub(super) fn code(number: u64, digits: u32) -> u64 {
    let shift = (u64::BITS - number.leading_zeros()).saturating_sub(digits + 1);
    let rounded = number.div_ceil(1 << shift);
    // A carry out of the digits goes on into the power.
    (u64::from(shift) << digits) + rounded
}

/// The number that a code says.
pub(super) fn value(code: u64, digits: u32) -> u64 {
    let shift = (code >> digits).saturating_sub(1);
    let number = u128::from(code - (shift << digits)) << shift.min(64);
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To within their precision, and never down.
    #[test]
    fn floats_round_up_a_little() {
        for digits in 0..64 {
            let mut last = 0;
            for number in (1..63).flat_map(|power| [1_u64 << power, (1 << power) + 1, (2 << power) - 1]) {
                let said = value(code(number, digits), digits);
                assert!(
                    said >= number && said - number <= number >> digits,
                    "{number} became {said} by {digits} digits"
                );
                assert_eq!(code(said, digits), code(number, digits), "{said} by {digits} digits");
                assert!(code(number, digits) >= last, "{number} by {digits} digits");
                last = code(number, digits);
            }
        }
    }
}
