//! [`HORIZON_NANOS`]: how far time can be told, and at what loss.

/// How far ahead of the limiter's start any algorithm can tell time: about 36 years. Later, time stands still
/// for it, which denies (law 5). Windows of more than a million per second reach less far; see each.
pub(crate) const HORIZON_NANOS: u64 = 1 << 60;

/// By how much the long-run rate of a window may stay below the configured one (law 6): `10^-6` up to `10^4` per
/// second, `10^-4` up to `10^6`, 2 % at `10^9`. Given as the nanoseconds of a period that may be lost.
pub(super) fn loss_nanos_max(amount: u64, period_nanos: u64) -> u64 {
    let per_second = u128::from(amount) * 1_000_000_000 / u128::from(period_nanos);
    match per_second {
        0..=10_000 => period_nanos / 1_000_000,
        10_001..=1_000_000 => period_nanos / 10_000,
        _ => period_nanos / 50,
    }
}
