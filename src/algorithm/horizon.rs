//! [`HORIZON_NANOS`]: how far time can be told, and at what loss.

/// How far ahead of the limiter's start time can be told: about 36 years. Later, time stands still, which denies (law 5), and
/// the denial says so. Where a window's word has not as much room, it reaches less far; see each.
pub(crate) const HORIZON_NANOS: u64 = 1 << 60;

/// By how much the long-run rate of a window may stay below the configured one (law 6): `10^-6` up to `10^4` per
/// second, `10^-4` up to `10^6`, 2 % at `10^9`. One part in so many.
pub(super) fn loss_one_in(amount: u64, period_nanos: u64) -> u64 {
    let per_second = u128::from(amount) * 1_000_000_000 / u128::from(period_nanos);
    match per_second {
        0..=10_000 => 1_000_000,
        10_001..=1_000_000 => 10_000,
        _ => 50,
    }
}

/// The bits of a word.
pub(crate) const WORD_BITS: u32 = u64::BITS;
