//! The strict window beside a log of every admission, through the public face: plans and policies, costs, reservations and
//! refunds. In no window of a period may the log show more than the amount. (Clocks that step back are in the unit tests.)

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Clock, Policy, Quota, RateLimiter};

const SECOND: u64 = 1_000_000_000;

fn strict(amount: u64, period: u64) -> Policy {
    Quota::new(amount, Duration::from_nanos(period)).unwrap().strict().into()
}

#[derive(Clone, Copy, Debug)]
enum Act {
    /// On one of two plans, a part of its amount in percent; 0 is 1.
    Check(usize, u64),
    /// The same, of which so much is given back, by the next act or a later one.
    Reserve(usize, u64, u64),
    Settle(usize),
    /// What was admitted last.
    Refund,
    /// One of the amounts, for the first plan.
    Change(usize),
    /// A part of a period in permille.
    Advance(u64),
    Wait(i64),
}

fn any_history() -> impl Strategy<Value = Vec<Act>> {
    let percent = || prop_oneof![2 => Just(0), 1 => 0..=100_u64];
    let act = prop_oneof![
        8 => (0..2_usize, percent()).prop_map(|(plan, percent)| Act::Check(plan, percent)),
        2 => (0..2_usize, percent(), 0..=100_u64).prop_map(|(plan, percent, back)| Act::Reserve(plan, percent, back)),
        3 => (0..4_usize).prop_map(Act::Settle),
        1 => Just(Act::Refund),
        1 => (0..3_usize).prop_map(Act::Change),
        4 => (0..400_u64).prop_map(Act::Advance),
        4 => (-1..=0_i64).prop_map(Act::Wait),
    ];
    prop::collection::vec(act, 1..100)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn never_more_than_the_amount_in_any_window(
        amounts in prop::collection::vec(prop_oneof![1..=10_u64, 1..=100_u64, 1..=5000_u64], 4),
        period in prop::sample::select(vec![SECOND / 1000, SECOND, 60 * SECOND, 86_400 * SECOND]),
        history in any_history(),
    ) {
        // A bucket counts one in a period, and forgets one in a period of what was more than that.
        let mut amounts: Vec<u64> = amounts.into_iter().map(|amount| amount.max(2)).collect();
        let clock = Clock::manual();
        let builder = RateLimiter::builder(strict(amounts[0], period)).capacity(64).clock(clock.clone());
        let limiter = builder.plan("other", strict(amounts[1], period)).unwrap().build();
        let on = [limiter.clone(), limiter.on(limiter.plan("other").unwrap()).unwrap()];
        // Each admission's time and what is left of it.
        let mut log: Vec<(u64, u64)> = Vec::new();
        let (mut wait, mut version) = (Duration::ZERO, 0);
        let mut open = Vec::new();
        let cost = |amount: u64, percent: u64| (amount * percent / 100).max(1);
        for act in history {
            let admitted = match act {
                Act::Check(plan, percent) => {
                    let cost = cost(amounts[plan], percent);
                    match on[plan].check_n("key", cost) {
                        Ok(_) => Some((plan, cost)),
                        Err(denied) => {
                            wait = denied.retry_after().expect("not above the amount");
                            // Law 2: not a moment earlier, but then.
                            clock.advance(wait - Duration::from_nanos(1));
                            prop_assert!(on[plan].check_n("key", cost).is_err());
                            clock.rewind(wait - Duration::from_nanos(1));
                            None
                        }
                    }
                }
                Act::Reserve(plan, percent, back) => {
                    let cost = cost(amounts[plan], percent);
                    let reservation = on[plan].reserve("key", cost).ok();
                    let admitted = reservation.as_ref().map(|_| (plan, cost));
                    open.extend(reservation.map(|reservation| (reservation, log.len(), back, version)));
                    admitted
                }
                Act::Settle(which) if !open.is_empty() => {
                    let (reservation, index, back, charged_in) = open.swap_remove(which % open.len());
                    // A refund may have taken of it before.
                    let back = (reservation.cost() * back / 100).min(log[index].1);
                    let actual = reservation.cost() - back;
                    reservation.settle(actual).unwrap();
                    if charged_in == version {
                        log[index].1 -= back;
                    }
                    None
                }
                Act::Settle(_) => None,
                Act::Refund => {
                    limiter.refund("key", 1);
                    if let Some(last) = log.iter_mut().rev().find(|(_, left)| *left > 0) {
                        last.1 -= 1;
                    }
                    None
                }
                Act::Change(which) => {
                    amounts[0] = amounts[[0, 2, 3][which]];
                    limiter.replace_policy(strict(amounts[0], period)).unwrap();
                    version += 1;
                    None
                }
                Act::Advance(part) => {
                    clock.advance(Duration::from_nanos(period / 1000 * part));
                    None
                }
                Act::Wait(more) => {
                    clock.advance(Duration::from_nanos((wait.as_nanos() as u64).saturating_add_signed(more)));
                    None
                }
            };
            if let Some((plan, cost)) = admitted {
                let time = clock.elapsed().as_nanos() as u64;
                log.push((time, cost));
                let in_period: u64 = log.iter().filter(|(at, _)| at + period > time).map(|(_, left)| left).sum();
                prop_assert!(in_period <= amounts[plan], "{} of {} at {}: {:?}", in_period, amounts[plan], time, log);
            }
        }
    }
}

/// An amount of 1 is one and then none for a period: to the nanosecond, or one more where the period is years.
#[test]
fn one_in_a_period_is_exact() {
    for (period, more) in [(1, 0), (2, 0), (999, 0), (SECOND, 0), (86_400 * SECOND, 0), (3660 * 86_400 * SECOND, 1)] {
        let clock = Clock::manual();
        let limiter = RateLimiter::builder(strict(1, period)).capacity(64).clock(clock.clone()).build();
        for pause in [0, 1, period / 3 % SECOND, 5] {
            clock.advance(Duration::from_nanos(pause));
            assert!(limiter.check("key").is_ok(), "{period} ns");
            let wait = limiter.check("key").unwrap_err().retry_after().unwrap().as_nanos() as u64;
            assert!((period..=period + more).contains(&wait), "{wait} of {period} ns");
            clock.advance(Duration::from_nanos(wait - 1));
            assert!(wait == 1 || limiter.check("key").is_err(), "{period} ns");
            clock.advance(Duration::from_nanos(1));
        }
    }
}

/// The history in which the weighted counter lets nearly twice the amount pass.
#[test]
fn what_fools_the_sliding_window_does_not_fool_a_strict_one() {
    let passed = |quota: Quota| {
        let clock = Clock::manual();
        let limiter = RateLimiter::builder(quota).capacity(64).clock(clock.clone()).build();
        clock.advance(Duration::from_millis(999));
        let mut passed = 0;
        for _ in 0..999 {
            while limiter.check("key").is_ok() {
                passed += 1;
            }
            clock.advance(Duration::from_millis(1));
        }
        passed
    };
    assert!(passed(Quota::per_second(100).sliding_window()) > 190);
    assert_eq!(passed(Quota::per_second(100).strict()), 100);
}

/// For decades, and whatever stands beside it: its words do not depend on other plans.
#[test]
fn a_strict_window_tells_time_for_decades_beside_any_plan() {
    let clock = Clock::manual();
    let builder = RateLimiter::builder(strict(100, SECOND)).capacity(64).clock(clock.clone());
    let limiter = builder.plan("huge", "1000000000000/month".parse::<Policy>().unwrap()).unwrap().build();
    let huge = limiter.on(limiter.plan("huge").unwrap()).unwrap();
    for _ in 0..35 {
        clock.advance(Duration::from_secs(365 * 86_400));
        limiter.check_n("key", 100).unwrap();
        huge.check_n("another", 500_000_000_000).unwrap();
        assert!(limiter.check("key").is_err());
        clock.advance(Duration::from_secs(2));
        limiter.check_n("key", 100).unwrap();
    }
}
