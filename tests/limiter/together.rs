//! Several limits over several keys, judged as one: all are charged or none, and a denial says when all would pass.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Clock, ManualClock, Plan, Quota, RateLimiter, WhenFull, check_all, reserve_all};

use crate::random::Random;

/// Limiters of these policies, on one clock.
fn limiters(policies: &[&str]) -> (ManualClock, Vec<RateLimiter>) {
    let clock = Clock::manual();
    let build = |policy: &&str| {
        let policy: tollgate::Policy = policy.parse().expect("a policy");
        RateLimiter::builder(policy).capacity(100).clock(clock.clone()).build()
    };
    let limiters = policies.iter().map(build).collect();
    (clock, limiters)
}

#[test]
fn a_denial_charges_none() {
    for policy in ["3/minute", "3/minute fixed", "3/minute sliding", "3/minute strict", "3/minute; 9/day"] {
        for last in ["1/hour", "0/hour", "1/hour fixed"] {
            let (_, all) = limiters(&[policy, last]);
            let ask = || check_all(&[all[0].demand("address"), all[1].demand("account")]);
            let before = u64::from(last != "0/hour");
            assert_eq!(ask().is_ok(), before == 1, "{policy}, {last}");
            let denied = ask().unwrap_err();
            assert_eq!(
                (denied.index(), denied.denied().status().quota()),
                (1, last.strip_suffix(" fixed").unwrap_or(last))
            );
            assert_eq!(all[0].peek("address").remaining(), 3 - before, "{policy}, {last}");
        }
    }
}

/// A denial writes nothing: the limits before the one that denies do not even remember the key.
#[test]
fn a_denial_takes_no_place() {
    let (_, all) = limiters(&["3/minute", "0/minute"]);
    assert!(check_all(&[all[0].demand("address"), all[1].demand("account")]).is_err());
    assert_eq!(all[0].stats().len, 0);
}

/// Fast sliding windows may for a moment have less room than before, as a new window begins. Who waits for one of two must not
/// come back in such a moment of the other.
#[test]
fn fast_sliding_windows_wait_for_each_other() {
    // The moments are rare, and so always the same.
    let mut chance = Random(0x2545_f491_4f6c_dd1d);
    let mut random = |below| chance.below(below);
    for round in 0..20_000 {
        let clock = Clock::manual();
        let all = [(); 2].map(|()| {
            let amount = 5_000_000 + random(495_000_000);
            let (times, more) = (1 + random(10), random(1000));
            let period = Duration::from_nanos(amount * times + more);
            let quota = Quota::new(amount, period).and_then(|quota| quota.try_algorithm(Algorithm::SlidingWindow));
            RateLimiter::builder(quota.expect("in range")).capacity(1).clock(clock.clone()).build()
        });
        let limits = all.each_ref().map(|limiter| limiter.peek("key").limit());
        for _ in 0..20 {
            clock.advance(Duration::from_nanos(random(1_000_000_000)));
            let part = 1 + random(8);
            let cost = 1 + random(limits[0].min(limits[1]) / part);
            let ask = || check_all(&all.each_ref().map(|limiter| limiter.demand("key").cost(cost)));
            let Err(denied) = ask() else { continue };
            let wait = denied.denied().retry_after().expect("below both limits");
            clock.advance(wait - Duration::from_nanos(1));
            assert!(ask().is_err(), "{limits:?}, round {round}: a nanosecond early");
            clock.advance(Duration::from_nanos(1));
            assert!(ask().is_ok(), "{limits:?}, round {round}: {wait:?} were not enough");
        }
    }
}

#[test]
fn the_longest_wait_is_told_wherever_it_stands() {
    for (policies, index, wait) in [
        (["1/second", "1/minute", "1/hour"], 2, Some(3600)),
        (["1/hour", "1/second", "1/minute"], 0, Some(3600)),
        (["1/second", "1/hour fixed", "1/minute"], 1, Some(3600)),
        (["1/second", "0/hour", "1/year"], 1, None),
    ] {
        let (_, all) = limiters(&policies);
        let ask = || check_all(&[all[0].demand(&1), all[1].demand(&2), all[2].demand(&3)]);
        let _ = ask();
        let denied = ask().unwrap_err();
        assert_eq!((denied.index(), denied.denied().retry_after()), (index, wait.map(Duration::from_secs)));
    }
}

#[test]
fn two_demands_of_one_key_add_up() {
    let (_, all) = limiters(&["5/minute"]);
    let twice = |one, other| check_all(&[all[0].demand("key").cost(one), all[0].demand("key").cost(other)]);
    assert_eq!(twice(2, 4).unwrap_err().index(), 1);
    assert_eq!(all[0].peek("key").remaining(), 5);
    assert_eq!(twice(2, 3).unwrap().status().remaining(), 0);
}

/// Each was looked at as if the others were not there: the wait for one was told where both had to pass, and a wait where they
/// never could.
#[test]
fn what_two_demands_of_one_key_wait_for_adds_up() {
    for unit in ["", " fixed", " sliding", " strict"] {
        let (clock, all) = limiters(&[&format!("4/minute{unit}")]);
        let twice = |one, other| check_all(&[all[0].demand("key").cost(one), all[0].demand("key").cost(other)]);
        let never = twice(3, 3).unwrap_err();
        assert!(never.denied().is_permanent() && never.index() == 1, "{never:?}");
        assert!(twice(u64::MAX, u64::MAX).unwrap_err().denied().is_permanent());
        twice(2, 2).unwrap();
        let wait = twice(2, 1).unwrap_err().denied().retry_after().unwrap();
        clock.advance(wait - Duration::from_nanos(1));
        assert!(twice(2, 1).is_err(), "{unit}");
        clock.advance(Duration::from_nanos(1));
        assert!(twice(2, 1).is_ok(), "{unit}: {wait:?} were not enough");
    }
    // One account, whatever its plan; and the unlimited plan charges none.
    let builder = RateLimiter::builder(Quota::per_minute(4)).clock(Clock::manual()).capacity(10);
    let limiter = builder.plan("pro", Quota::per_minute(10)).unwrap().build();
    let on = |plan| limiter.on(plan).unwrap();
    let (pro, unlimited) = (on(limiter.plan("pro").unwrap()), on(Plan::UNLIMITED));
    let never = check_all(&[pro.demand("key").cost(4), limiter.demand("key")]).unwrap_err();
    assert!(never.denied().is_permanent(), "{never:?}");
    check_all(&[unlimited.demand("key").cost(9), pro.demand("other").cost(9), limiter.demand("key").cost(4)]).unwrap();
}

/// Each demand once took its part of the stack: some thousands ended the process.
#[test]
fn thousands_of_demands_take_no_stack() {
    let (_, all) = limiters(&["2/minute"]);
    let keys: Vec<_> = (0..4_000).collect();
    let big = RateLimiter::builder(Quota::per_minute(1)).clock(Clock::manual()).capacity(10_000).build();
    let mut demands: Vec<_> = keys.iter().map(|key| big.demand(key)).collect();
    demands.push(all[0].demand("key"));
    assert_eq!(check_all(&demands).unwrap().status().remaining(), 0);
    assert_eq!((check_all(&demands).unwrap_err().index(), all[0].peek("key").remaining()), (0, 1));
    keys.iter().for_each(|key| big.reset(key));
    let reservations = reserve_all(&demands).unwrap();
    assert_eq!((reservations.len(), all[0].peek("key").remaining()), (4_001, 0));
}

#[test]
fn nothing_asked_passes_and_so_does_the_unlimited_plan() {
    assert!(check_all(&[]).is_ok());
    let (_, all) = limiters(&["1/minute", "0/minute"]);
    let unlimited = all[1].on(Plan::UNLIMITED).unwrap();
    let permit = check_all(&[all[0].demand("key"), unlimited.demand("key"), all[1].demand("key").cost(0)]).unwrap();
    assert_eq!((permit.status().quota(), permit.status().remaining()), ("1/minute", 0));
    assert_eq!(all[0].peek("key").remaining(), 0);
}

#[test]
fn the_permit_tells_of_the_key_that_has_least_left() {
    let (_, all) = limiters(&["9/minute", "3/minute", "7/minute"]);
    let permit = check_all(&[all[0].demand("a"), all[1].demand("b"), all[2].demand("c")]).unwrap();
    assert_eq!((permit.status().quota(), permit.status().remaining()), ("3/minute", 2));
}

#[test]
fn reservations_come_in_the_order_of_the_demands() {
    let (_, all) = limiters(&["100/minute", "1000/minute"]);
    let ask = || reserve_all(&[all[0].demand("key").cost(10), all[1].demand("key").cost(500)]);
    let costs: Vec<u64> = ask().unwrap().iter().map(|reservation| reservation.cost()).collect();
    assert_eq!(costs, [10, 500]);
    for reservation in ask().unwrap() {
        reservation.settle(1).unwrap();
    }
    assert_eq!([all[0].peek("key").remaining(), all[1].peek("key").remaining()], [89, 499]);
    assert_eq!(ask().unwrap_err().index(), 1);
}

/// Newcomers that share an entry look as if they had their whole limit, and are denied when they are charged.
#[test]
fn what_only_the_charge_finds_out_is_given_back_to_the_others() {
    let clock = Clock::manual();
    let build = |policy: Quota| RateLimiter::builder(policy).clock(clock.clone());
    let address = build(Quota::per_minute(5_000)).build();
    let full = build(Quota::per_hour(1)).capacity(1).when_full(WhenFull::Share).build();
    let admitted = (0..1_000).filter(|key| check_all(&[address.demand("address"), full.demand(key)]).is_ok()).count();
    assert!(admitted < 1_000);
    assert_eq!(address.peek("address").remaining(), 5_000 - admitted as u64);
}

/// Threads that take from the same limits in other orders: never too many, and nothing is lost.
#[test]
fn threads_take_no_more_than_there_is_and_lose_nothing() {
    const THREADS: u64 = 4;
    for round in 0..200 {
        let (_, all) = limiters(&["60/hour", "50/hour fixed", "40/day; 70/hour"]);
        let admitted = AtomicU64::new(0);
        let start = Barrier::new(THREADS as usize);
        std::thread::scope(|scope| {
            for thread in 0..THREADS as usize {
                let (all, admitted, start) = (&all, &admitted, &start);
                scope.spawn(move || {
                    start.wait();
                    for _ in 0..15 {
                        let demand = |n: usize| all[(thread + n) % 3].demand("key");
                        if check_all(&[demand(0), demand(1), demand(2)]).is_ok() {
                            admitted.fetch_add(1, Relaxed);
                        }
                    }
                });
            }
        });
        let admitted = admitted.into_inner();
        assert!(admitted <= 40, "round {round}");
        let left: Vec<u64> = all.iter().map(|limiter| limiter.peek("key").remaining()).collect();
        assert_eq!(left, [60 - admitted, 50 - admitted, 40 - admitted], "round {round}");
    }
}

const POLICIES: [&str; 8] = [
    "3/second",
    "5/2 seconds burst 2",
    "4/second fixed",
    "6/3 seconds sliding",
    "5/second strict",
    "2/second; 9/5 seconds sliding",
    "7/2 seconds sliding; 8/3 seconds sliding",
    "0/second",
];

/// What one check asks: which limiters, for which keys, at what costs.
type Asked = Vec<(usize, u8, u64)>;

/// Limiters that have seen only what was admitted, each check by itself; at some moment.
fn replayed(policies: &[&str], admitted: &[(u64, Asked)], at: u64) -> Vec<RateLimiter> {
    let (clock, all) = limiters(policies);
    let mut now = 0;
    for (then, asked) in admitted {
        clock.advance(Duration::from_nanos(then - now));
        now = *then;
        for &(limiter, key, cost) in asked {
            all[limiter].check_n(&key, cost).expect("it was admitted");
        }
    }
    clock.advance(Duration::from_nanos(at - now));
    all
}

/// Whether each passes by itself, one after the other.
fn each_passes(all: &[RateLimiter], asked: &Asked) -> bool {
    asked.iter().all(|&(limiter, key, cost)| all[limiter].check_n(&key, cost).is_ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// All pass exactly when each would pass by itself; and after the wait that a denial tells, not a nanosecond before.
    #[test]
    fn they_pass_together_exactly_when_each_passes(
        policies in prop::collection::vec(prop::sample::select(&POLICIES[..]), 1..4),
        history in prop::collection::vec(
            (0_u64..900_000_000, prop::collection::vec((0_usize..3, 0_u8..2, 0_u64..4), 1..4)), 1..25),
    ) {
        let (clock, all) = limiters(&policies);
        let mut admitted: Vec<(u64, Asked)> = Vec::new();
        let mut now = 0;
        for (pause, mut asked) in history {
            clock.advance(Duration::from_nanos(pause));
            now += pause;
            for (limiter, _, _) in &mut asked {
                *limiter %= policies.len();
            }
            let demands: Vec<_> =
                asked.iter().map(|&(limiter, key, cost)| all[limiter].demand(&key).cost(cost)).collect();
            let expected = each_passes(&replayed(&policies, &admitted, now), &asked);
            match check_all(&demands) {
                Ok(_) => {
                    prop_assert!(expected);
                    admitted.push((now, asked));
                }
                Err(denied) => {
                    prop_assert!(!expected);
                    if let Some(wait) = denied.denied().retry_after() {
                        let then = now + wait.as_nanos() as u64;
                        prop_assert!(each_passes(&replayed(&policies, &admitted, then), &asked), "too short: {denied:?}");
                        prop_assert!(!each_passes(&replayed(&policies, &admitted, then - 1), &asked), "too long: {denied:?}");
                    }
                }
            }
        }
    }
}
