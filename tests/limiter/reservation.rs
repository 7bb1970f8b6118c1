//! Reservations: an estimate is charged, what was not used is given back, and never more than that.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Clock, ManualClock, Plan, Policy, Quota, RateLimiter, Reservation};

const UNITS: [&str; 4] = ["", " fixed", " sliding", " strict"];

fn limiter(text: &str) -> (RateLimiter, ManualClock) {
    let clock = Clock::manual();
    clock.advance(Duration::from_secs(36_000));
    let policy: Policy = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
    let builder = RateLimiter::builder(policy).capacity(100).clock(clock.clone());
    (builder.build(), clock)
}

/// Reserves, lets time pass, and settles; says what then remains.
#[track_caller]
fn check(text: &str, reserved: u64, secs: u64, actual: u64, remaining: u64) {
    let (limiter, clock) = limiter(text);
    let reservation = limiter.reserve("key", reserved).expect("below the limit");
    clock.advance(Duration::from_secs(secs));
    reservation.settle(actual).expect("not above what was reserved");
    assert_eq!(limiter.peek("key").remaining(), remaining, "{text}: {actual} of {reserved} after {secs} s");
}

#[test]
fn settled_at_once_it_is_as_if_the_actual_cost_had_been_charged() {
    for policy in
        ["100/minute", "100/minute fixed", "100/minute sliding", "100/minute; 200/hour fixed; 300/day sliding"]
    {
        for (before, reserved, actual) in [(0, 100, 0), (0, 100, 100), (0, 50, 20), (30, 70, 1), (99, 1, 0), (5, 0, 0)]
        {
            let ((one, clock), (twin, twins_clock)) = (limiter(policy), limiter(policy));
            one.check_n("key", before).unwrap();
            twin.check_n("key", before).unwrap();
            let reservation = one.reserve("key", reserved).unwrap();
            assert_eq!((reservation.cost(), reservation.permit().status()), (reserved, &one.peek("key")));
            reservation.settle(actual).unwrap();
            twin.check_n("key", actual).unwrap();
            for _ in 0..150 {
                assert_eq!(
                    one.peek("key").remaining(),
                    twin.peek("key").remaining(),
                    "{policy}: {actual} of {reserved}"
                );
                clock.advance(Duration::from_secs(1));
                twins_clock.advance(Duration::from_secs(1));
            }
        }
    }
}

#[test]
fn what_is_forgotten_meanwhile_is_not_given_back_again() {
    // A bucket has refilled 10 of the 60, 50, or all.
    check("60/minute", 60, 10, 0, 60);
    check("60/minute", 60, 10, 30, 40);
    check("60/minute", 60, 50, 30, 60);
    check("60/minute", 60, 100, 0, 60);
    // A window is over.
    check("60/minute fixed", 60, 59, 20, 40);
    check("60/minute fixed", 60, 60, 20, 60);
    // Of a window before, a share still counts.
    check("60/minute sliding", 60, 90, 20, 50);
    check("60/minute sliding", 60, 200, 0, 60);
    for (unit, remaining) in UNITS.into_iter().zip([0, 0, 0, 0]) {
        let (limiter, clock) = limiter(&format!("60/minute{unit}"));
        let reservation = limiter.reserve("key", 60).unwrap();
        clock.advance(Duration::from_secs(120));
        limiter.check_n("key", 60).unwrap();
        reservation.settle(0).unwrap();
        assert_eq!(limiter.peek("key").remaining(), remaining, "it was another's charge{unit}");
    }
}

#[test]
fn dropped_it_stays_charged() {
    for unit in UNITS {
        let (limiter, _) = limiter(&format!("100/hour{unit}"));
        drop(limiter.reserve("key", 40).unwrap());
        assert_eq!(limiter.peek("key").remaining(), 60);
        assert!(limiter.reserve("key", 61).is_err());
        assert!(limiter.reserve("key", 101).unwrap_err().is_permanent());
        assert_eq!(limiter.peek("key").remaining(), 60);
    }
}

#[test]
fn an_estimate_that_was_too_small_stays_charged_and_says_by_how_much() {
    let (limiter, _) = limiter("100/hour; 200/day");
    let error = limiter.reserve("key", 40).unwrap().settle(55).unwrap_err();
    assert_eq!((error.excess(), limiter.peek("key").remaining()), (15, 60));
    assert!(error.to_string().contains("55 is above the 40 reserved"), "{error}");
    assert_eq!(limiter.reserve("key", 0).unwrap().settle(u64::MAX).unwrap_err().excess(), u64::MAX);
}

#[test]
fn on_the_unlimited_plan_nothing_is_charged_and_nothing_given_back() {
    let (limiter, _) = limiter("100/hour");
    limiter.check_n("key", 10).unwrap();
    let unlimited = limiter.on(Plan::UNLIMITED).unwrap();
    unlimited.reserve("key", u64::MAX).unwrap().settle(0).unwrap();
    assert!(unlimited.reserve("key", 1).unwrap().settle(2).is_err());
    drop(unlimited.reserve("key", 1000));
    assert_eq!(limiter.peek("key").remaining(), 90);
}

#[test]
fn a_refund_never_gives_more_than_the_whole_limit() {
    for unit in UNITS {
        let (limiter, _) = limiter(&format!("100/hour{unit}"));
        limiter.refund("never seen", 5);
        assert_eq!(limiter.stats().len, 0);
        for back in [5, 31, u64::MAX] {
            limiter.check_n("key", 30).unwrap();
            limiter.refund("key", back);
            limiter.refund("key", u64::MAX);
            assert_eq!(limiter.peek("key").remaining(), 100, "{back}{unit}");
            limiter.check_n("key", 100).unwrap();
            assert!(limiter.check("key").is_err());
            limiter.refund("key", u64::MAX);
        }
    }
}

#[test]
fn of_what_was_charged_under_a_policy_that_was_replaced_nothing_is_given_back() {
    for unit in UNITS {
        for other in UNITS {
            let (limiter, _) = limiter(&format!("100/hour{unit}"));
            let reservation = limiter.reserve("key", 40).unwrap();
            limiter.replace_policy(format!("80/hour{other}").parse::<Policy>().unwrap()).unwrap();
            reservation.settle(0).unwrap();
            assert_eq!(limiter.peek("key").remaining(), 40);
        }
    }
}

#[test]
fn a_reservation_that_outlives_a_reset_gives_back_no_more_than_is_owed() {
    for unit in UNITS {
        let (limiter, _) = limiter(&format!("100/hour{unit}"));
        let reservation = limiter.reserve("key", 40).unwrap();
        limiter.reset("key");
        reservation.settle(0).unwrap();
        assert_eq!(limiter.peek("key").remaining(), 100, "{unit}");
        limiter.check_n("key", 100).unwrap();
        assert!(limiter.check("key").is_err());
    }
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Check(u64),
    Reserve(u64),
    /// The nth open reservation, with a percentage of what it reserved.
    Settle(usize, u64),
    Drop(usize),
    Refund(u64),
    Advance(u64),
}

fn any_history() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..6_u64).prop_map(Act::Check),
        4 => (1..8_u64).prop_map(Act::Reserve),
        5 => (0..8_usize, 0..120_u64).prop_map(|(which, percent)| Act::Settle(which, percent)),
        1 => (0..8_usize).prop_map(Act::Drop),
        1 => (1..4_u64).prop_map(Act::Refund),
        5 => prop_oneof![0..50_u64, 0..400_u64, 0..2500_u64].prop_map(Act::Advance),
    ];
    prop::collection::vec(act, 1..120)
}

/// Sums are in thousandths: what a token bucket gives back need not be whole tokens.
const TOKEN: i128 = 1000;

/// What is left, in thousandths.
fn left(limiter: &RateLimiter, quota: &Quota) -> i128 {
    let status = limiter.peek("key");
    match quota.algorithm() {
        Algorithm::TokenBucket => {
            quota.limit() as i128 * TOKEN - status.reset_after().as_nanos() as i128 * quota.amount() as i128
        }
        _ => i128::from(status.remaining()) * TOKEN,
    }
}

/// The most that may pass in an interval, in thousandths.
fn bound(quota: &Quota, t: u64) -> i128 {
    let (amount, period, limit) = (quota.amount() as i128, quota.period().as_nanos() as i128, quota.limit() as i128);
    let windows = i128::from(t) / period + 1;
    match quota.algorithm() {
        Algorithm::TokenBucket => limit * TOKEN + amount * (i128::from(t) + 1) * TOKEN / period,
        Algorithm::SlidingWindow => windows * (2 * amount - 1).max(0) * TOKEN,
        Algorithm::StrictWindow => windows * amount * TOKEN,
        _ => (windows + 1) * amount * TOKEN,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Law 1 with what is given back: charges minus what came back, in any interval.
    #[test]
    fn law_1_charges_less_what_is_given_back_never_exceed_the_bound(
        amount in 1..15_u64,
        algorithm in prop::sample::select(&[
            Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::AlignedWindow, Algorithm::SlidingWindow,
            Algorithm::StrictWindow,
        ][..]),
        history in any_history(),
    ) {
        let quota = Quota::new(amount, Duration::from_nanos(1000)).unwrap().try_algorithm(algorithm).unwrap();
        let clock = Clock::manual();
        let limiter = RateLimiter::builder(quota).capacity(100).clock(clock.clone()).build();
        // How far `left` may be from what is left: two nanoseconds' worth.
        let rounding = 2 * i128::from(amount);
        let mut now = 0;
        let mut open: Vec<Reservation> = Vec::new();
        // When, and how much: above 0 a charge, below 0 what was given back.
        let mut events: Vec<(u64, i128)> = Vec::new();
        for act in history {
            let before = left(&limiter, &quota);
            match act {
                Act::Check(cost) => {
                    if limiter.check_n("key", cost).is_ok() {
                        events.push((now, i128::from(cost) * TOKEN));
                    }
                }
                Act::Reserve(cost) => {
                    if let Ok(reservation) = limiter.reserve("key", cost) {
                        events.push((now, i128::from(cost) * TOKEN));
                        open.push(reservation);
                    }
                }
                Act::Settle(which, percent) if !open.is_empty() => {
                    let which = which % open.len();
                    let reservation = open.swap_remove(which);
                    let cost = reservation.cost();
                    let actual = cost * percent / 100;
                    let settled = reservation.settle(actual);
                    prop_assert_eq!(settled.is_ok(), actual <= cost);
                    let back = left(&limiter, &quota) - before;
                    let most = i128::from(cost.saturating_sub(actual)) * TOKEN + rounding;
                    prop_assert!((0..=most).contains(&back), "{} of {} came back, used {}", back, cost, actual);
                    events.push((now, -back - if back > 0 { rounding } else { 0 }));
                }
                Act::Drop(which) if !open.is_empty() => {
                    let which = which % open.len();
                    drop(open.swap_remove(which));
                    prop_assert_eq!(left(&limiter, &quota), before);
                }
                Act::Refund(cost) => {
                    limiter.refund("key", cost);
                    let back = left(&limiter, &quota) - before;
                    prop_assert!((0..=i128::from(cost) * TOKEN + rounding).contains(&back), "{} of {} came back", back, cost);
                    events.push((now, -back - if back > 0 { rounding } else { 0 }));
                }
                Act::Settle(..) | Act::Drop(_) => {}
                Act::Advance(by) => {
                    clock.advance(Duration::from_nanos(by));
                    now += by;
                }
            }
        }
        for first in 0..events.len() {
            let mut sum = 0;
            for &(at, cost) in &events[first..] {
                sum += cost;
                let most = bound(&quota, at - events[first].0);
                prop_assert!(sum <= most, "{}: {} net from {} to {}, and {} may", quota, sum, events[first].0, at, most);
            }
        }
    }

    /// Settled before the next one is made, no reservation lets more pass than if its estimate had been right. (A strict window
    /// counts in batches, and may round either of the two more; its bound is above.)
    #[test]
    fn a_reservation_settled_late_never_leaves_more_than_the_actual_cost_would_have(
        amount in 1..15_u64,
        algorithm in prop::sample::select(&[
            Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::AlignedWindow, Algorithm::SlidingWindow,
        ][..]),
        history in prop::collection::vec((1..10_u64, 0..100_u64, 0..1500_u64, 0..3_u64, 0..1500_u64), 1..40),
    ) {
        let quota = Quota::new(amount, Duration::from_nanos(1000)).unwrap().try_algorithm(algorithm).unwrap();
        let clock = Clock::manual();
        let new = || RateLimiter::builder(quota).capacity(100).clock(clock.clone()).build();
        let (limiter, right) = (new(), new());
        for (estimate, percent, late, meanwhile, pause) in history {
            // A window that opens with a charge is open, also when all of it is given back.
            let least = u64::from(algorithm == Algorithm::FixedWindow);
            let actual = (estimate * percent / 100).max(least);
            if let Ok(reservation) = limiter.reserve("key", estimate) {
                prop_assert!(right.check_n("key", actual).is_ok());
                clock.advance(Duration::from_nanos(late));
                if limiter.check_n("key", meanwhile).is_ok() {
                    prop_assert!(right.check_n("key", meanwhile).is_ok());
                }
                reservation.settle(actual).unwrap();
            }
            let (left, right) = (limiter.peek("key").remaining(), right.peek("key").remaining());
            prop_assert!(left <= right, "{} remain, and {} would", left, right);
            clock.advance(Duration::from_nanos(pause));
        }
    }
}
