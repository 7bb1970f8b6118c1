//! Under which terms a policy is leased, or why it is not.

use std::num::NonZeroU32;

use super::error::Unleasable;
use super::lease::LeaseTerms;
use crate::policy::Policy;
use crate::quota::{Algorithm, Quota};

/// The width of a slot, in thousandths of the time in which a bucket fills. In the simulation, what is stranded is about one and a half
/// times that part of the burst: the more, the fewer round trips. This is what `tests/leases/price.rs` found best for 500 of burst a program.
const SLOT_PER_MILLE: u128 = 65;

/// A longer slot would save hardly anything more.
const SLOT_NANOS_MAX: u128 = 10_000_000_000;

/// In a shorter one the margin and the round trips would be too much of it.
const SLOT_NANOS_MIN: u128 = 20_000_000;

/// So much of the burst each program needs.
const BURST_MIN: u64 = 100;

/// So many must pass in a slot that it is worth to lease some.
const PASS_MIN: u64 = 6;

/// How many slots a window must have, so that few lots are cut short by its end.
const SLOTS_PER_WINDOW: u64 = 4;

/// A strict window's parts, each of which is a window to a lot.
const PARTS: u64 = 32;

/// The terms of a policy whose keys so many programs ask for.
pub(super) fn terms(policy: &Policy, programs: NonZeroU32) -> Result<LeaseTerms, Unleasable> {
    let least = BURST_MIN.saturating_mul(u64::from(programs.get()));
    let (mut slot, mut most) = (SLOT_NANOS_MAX, u64::MAX);
    for (name, quota) in policy.quotas() {
        if quota.limit() < least {
            return Err(Unleasable::TooSmall { name: name.to_owned(), least });
        }
        most = most.min(quota.limit() / 2);
        if is_bucket(quota) {
            let full = u128::from(quota.limit()) * u128::from(quota.period_nanos()) / u128::from(quota.amount().max(1));
            slot = slot.min(full * SLOT_PER_MILLE / 1000);
        }
    }
    let slot_nanos = u64::try_from(slot / 1000 * 1000).expect("at most ten seconds");
    let (mut pass, mut buckets) = (u64::MAX, 0);
    for (name, quota) in policy.quotas() {
        if is_bucket(quota) {
            let passes = u128::from(slot_nanos) * u128::from(quota.amount()) / u128::from(quota.period_nanos());
            pass = pass.min(u64::try_from(passes).unwrap_or(u64::MAX));
            buckets += 1;
            if slot < SLOT_NANOS_MIN {
                return Err(Unleasable::TooFast { name: name.to_owned() });
            }
            if pass < PASS_MIN {
                return Err(Unleasable::TooSlow { name: name.to_owned() });
            }
        } else {
            let parts = if quota.algorithm() == Algorithm::StrictWindow { PARTS } else { 1 };
            if quota.period_nanos() / parts < slot_nanos * SLOTS_PER_WINDOW {
                return Err(Unleasable::ShortWindow { name: name.to_owned() });
            }
        }
    }
    if buckets == 0 { Err(Unleasable::NoBucket) } else { Ok(LeaseTerms { slot_nanos, most, pass }) }
}

/// Whether the server keeps it as a bucket.
pub(super) fn is_bucket(quota: &Quota) -> bool {
    match quota.algorithm() {
        Algorithm::TokenBucket => true,
        Algorithm::StrictWindow => quota.amount() == 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, programs: u32) -> Result<LeaseTerms, String> {
        let policy = text.parse().expect("a policy");
        terms(&policy, NonZeroU32::new(programs).expect("one or more")).map_err(|why| why.to_string())
    }

    #[test]
    fn a_slot_is_a_part_of_the_time_in_which_the_bucket_fills() {
        let terms = |slot_ms: u64, most, pass| Ok(LeaseTerms { slot_nanos: slot_ms * 1_000_000, most, pass });
        assert_eq!(of("2000/second", 4), terms(65, 1000, 130));
        assert_eq!(of("100/second burst 1000; 2000/second", 4), terms(65, 500, 6));
        assert_eq!(of("2000/second; 10000/minute sliding", 4), terms(65, 1000, 130));
        assert_eq!(of("1000000/day burst 1000000", 4), terms(10_000, 500_000, 115));
    }

    #[test]
    fn what_cannot_pay_is_refused_with_a_reason() {
        for (text, programs, why) in [
            ("10000/minute fixed", 1, "no token bucket"),
            ("2000/second", 21, "below 2100"),
            ("2000/second; 300/hour fixed", 4, "below 400"),
            ("0/second", 1, "below 100"),
            ("1000/second burst 100", 1, "full again too soon"),
            ("1000/day", 1, "too slow"),
            ("2000/second; 5000/200 ms fixed", 1, "too short"),
            ("2000/second; 5000/2 seconds strict", 1, "too short"),
        ] {
            let error = of(text, programs).expect_err(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
