//! A running limiter's policy is replaced: what has been spent stays spent, and no check sees half a change.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Clock, ManualClock, Policy, RateLimiter, RateLimiterBuilder, Status, WhenFull};

const UNITS: [&str; 4] = ["", " fixed", " sliding", " strict"];

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A limiter and its clock.
struct Bench {
    clock: ManualClock,
    limiter: RateLimiter,
}

impl Bench {
    fn new(text: &str) -> Self {
        Self::with(text, |builder| builder.capacity(100))
    }

    fn with(text: &str, set: impl FnOnce(RateLimiterBuilder) -> RateLimiterBuilder) -> Self {
        let clock = Clock::manual();
        // A sliding window begins now, and so does a fixed one.
        clock.advance(Duration::from_secs(36_000));
        Self { limiter: set(RateLimiter::builder(policy(text)).clock(clock.clone())).build(), clock }
    }

    fn advance(&self, secs: u64) -> &Self {
        self.clock.advance(Duration::from_secs(secs));
        self
    }

    #[track_caller]
    fn change(&self, text: &str) -> &Self {
        self.limiter.replace_policy(policy(text)).expect("of the same shape");
        assert_eq!(self.limiter.policy(), policy(text));
        self
    }

    /// One line of a story: whether a cost passes, and what remains then.
    #[track_caller]
    fn check(&self, cost: u64, passes: bool, remaining: u64) -> &Self {
        let answer = self.limiter.check_n("key", cost);
        let status = answer.as_ref().map_or_else(|denied| denied.status(), |permit| permit.status());
        let of = self.limiter.policy();
        assert_eq!((answer.is_ok(), status.remaining()), (passes, remaining), "cost {cost} of {of:?}");
        let names: Vec<String> = of.quotas().map(|(name, _)| name.to_owned()).collect();
        assert_eq!(status.quota(), names[status.quota_index()]);
        self
    }

    /// How long until the key has all again, in seconds.
    #[track_caller]
    fn resets_in(&self, secs: u64) -> &Self {
        assert_eq!(self.limiter.peek("key").reset_after(), Duration::from_secs(secs), "of {:?}", self.limiter.policy());
        self
    }
}

#[test]
fn what_has_been_spent_stays_spent_whatever_changes() {
    for unit in UNITS {
        let start = || Bench::new(&format!("100/hour{unit}"));
        for other in UNITS {
            // Another amount, more, less, and less than was spent; another period; another name.
            for (text, remaining) in [
                ("200/hour", 170),
                ("40/hour", 10),
                ("30/hour", 0),
                ("20/hour", 0),
                ("0/hour", 0),
                ("100/2 hours", 70),
                ("100/minute", 70),
                ("100/hour", 70),
                ("1000000/day", 999_970),
                ("1099511627776/day", 1_099_511_627_746),
            ] {
                let bench = start();
                bench.check(30, true, 70).change(&format!("{text}{other}")).check(0, true, remaining);
                bench.check(remaining + 1, false, remaining).check(remaining, true, 0).check(1, false, 0);
            }
            start().change(&format!("other: 5/hour{other}")).check(5, true, 0).check(1, false, 0);
        }
        start().check(30, true, 70).change("10/hour burst 50").check(21, false, 20).check(20, true, 0);
    }
    Bench::new("10/hour burst 100").check(90, true, 10).change("10/hour").check(1, false, 0).resets_in(9 * 3600);
}

#[test]
fn a_debt_above_the_new_limit_is_remembered() {
    for unit in UNITS {
        let bench = Bench::new(&format!("100/hour{unit}"));
        bench.check(90, true, 10).change(&format!("10/hour{unit}")).check(1, false, 0);
        bench.change(&format!("100/hour{unit}")).check(0, true, 10);
    }
}

#[test]
fn between_windows_of_one_length_the_window_goes_on() {
    let bench = Bench::new("100/hour fixed");
    bench.check(30, true, 70).advance(1000).change("50/hour fixed").resets_in(2600).check(20, true, 0);
    bench.advance(2599).check(1, false, 0).advance(1).check(50, true, 0);
    // One of another length begins with the change.
    bench.advance(1000).change("50/2 hours fixed").check(1, false, 0).resets_in(7200);
    let bench = Bench::new("100/hour sliding");
    bench.check(80, true, 20).advance(4500).check(0, true, 40).change("200/hour sliding").check(0, true, 140);
    // Three quarters of an hour of the last one's 80 are covered yet.
    bench.check(140, true, 0).change("100/hour sliding").check(1, false, 0);
}

#[test]
fn a_bucket_goes_on_to_refill() {
    let bench = Bench::new("60/minute");
    bench.check(60, true, 0).advance(10).change("120/minute").check(0, true, 70).advance(5).check(0, true, 80);
    bench.change("60/minute").check(0, true, 20).resets_in(40);
}

#[test]
fn a_policy_with_more_quotas_than_there_is_room_for_changes_nothing() {
    let bench = Bench::new("5/hour; 10/day");
    bench.check(3, true, 2);
    let error = bench.limiter.replace_policy(policy("5/hour; 10/day; 20/week")).unwrap_err();
    let says = "the policy has 3 quotas where the limiter has room for 2; build the limiter with `.quotas(3)`";
    assert_eq!(error.to_string(), says);
    assert_eq!(bench.limiter.policy(), policy("5/hour; 10/day"));
    bench.check(3, false, 2).check(2, true, 0);
}

#[test]
fn several_quotas_change_at_once() {
    let bench = Bench::new("5/hour; 20/day");
    bench.check(5, true, 0).change("8/hour fixed; 6/day sliding").check(2, false, 1).check(1, true, 0);
    bench.check(1, false, 0).change("hourly: 7/hour; daily: 100/day").check(1, true, 0).check(1, false, 0);
    assert_eq!(bench.limiter.check("key").unwrap_err().status().quota(), "hourly");
}

#[test]
fn a_plan_is_replaced_alone() {
    let bench =
        Bench::with("10/hour", |builder| builder.capacity(100).plan("pro", policy("100/hour")).expect("one shape"));
    let pro = bench.limiter.on(bench.limiter.plan("pro").unwrap()).unwrap();
    let clone = pro.clone();
    bench.check(4, true, 6);
    pro.check_n("other", 40).unwrap();
    pro.replace_policy(policy("big: 50/hour fixed")).unwrap();
    assert_eq!((bench.limiter.policy(), clone.policy()), (policy("10/hour"), policy("big: 50/hour fixed")));
    assert_eq!((clone.peek("other").quota(), clone.peek("other").remaining()), ("big", 10));
    assert_eq!((clone.peek("key").remaining(), bench.limiter.peek("key").remaining()), (46, 6));
    bench.change("20/hour");
    assert_eq!((clone.peek("other").remaining(), bench.limiter.peek("key").remaining()), (10, 16));
}

#[test]
fn hundreds_of_changes_lose_nothing_and_mint_nothing() {
    let keys = 300;
    for width in 1..=3 {
        // All of them grant at least what is spent: at one instant nothing may be forgotten.
        let text = |turn: usize| {
            let quota =
                |n: usize| format!("q{n}: {}/{} hours{}", 1000 + turn * 37 % 5000, 1 + turn % 7, UNITS[(turn + n) % 4]);
            (0..width).map(quota).collect::<Vec<_>>().join("; ")
        };
        let bench = Bench::with(&text(0), |builder| builder.capacity(1000));
        let mut spent = vec![0_u64; keys];
        for turn in 1..400 {
            let key = turn * 7919 % keys;
            spent[key] += u64::from(bench.limiter.check_n(&key, 1 + turn as u64 % 9).is_ok()) * (1 + turn as u64 % 9);
            let len = bench.limiter.stats().len;
            bench.change(&text(turn));
            assert_eq!(bench.limiter.stats().len, len);
        }
        let limit = bench.limiter.policy().quotas().map(|(_, quota)| quota.limit()).min().unwrap();
        for (key, spent) in spent.iter().enumerate() {
            assert_eq!(bench.limiter.peek(&key).remaining(), limit - spent, "key {key} of {:?}", bench.limiter);
        }
        assert_eq!((bench.limiter.stats().len, bench.limiter.stats().evicted), (keys, 0));
    }
}

#[test]
fn what_newcomers_share_in_a_full_table_is_carried_over() {
    for unit in UNITS {
        let full = |builder: RateLimiterBuilder| builder.capacity(14).when_full(WhenFull::Share);
        let bench = Bench::with(&format!("10/hour{unit}"), full);
        for key in 0..16 {
            bench.limiter.check_n(&key, 10).unwrap();
        }
        let newcomers = 100..3000;
        let passed = newcomers.clone().filter(|key| bench.limiter.check_n(key, 10).is_ok()).count();
        assert_eq!(passed, 128, "one for each shared entry");
        for other in UNITS {
            bench.change(&format!("15/hour{other}"));
            assert_eq!(newcomers.clone().filter(|key| bench.limiter.check_n(key, 6).is_ok()).count(), 0);
            bench.change(&format!("10/hour{other}"));
            assert!((0..16).chain(newcomers.clone()).all(|key| bench.limiter.check(&key).is_err()));
        }
        let stats = bench.limiter.stats();
        assert_eq!((stats.len, stats.evicted), (16, 0));
    }
}

// Under traffic.

/// The parts of a status that tell which policy it is of: each quota's name, place and limit.
fn is_of(status: &Status, policy: &Policy) -> bool {
    policy.quotas().nth(status.quota_index()).is_some_and(|(name, quota)| {
        (status.quota(), status.limit()) == (name, quota.limit()) && status.remaining() <= quota.limit()
    })
}

/// Two threads check many keys until nothing passes any more, and a third replaces one policy by the other some hundred
/// times. Returns how much each key was granted on a clock that stands still.
fn traffic(
    one: &str,
    other: &str,
    changes: usize,
    set: impl FnOnce(RateLimiterBuilder) -> RateLimiterBuilder,
) -> Vec<u64> {
    let policies = [policy(one), policy(other)];
    let bench = Bench::with(one, set);
    let keys = 60;
    let passed: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(0)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..2_u64 {
            let (limiter, passed, over, policies) = (bench.limiter.clone(), &passed, &over, &policies);
            scope.spawn(move || {
                let mut turn = thread;
                while !over.load(Relaxed) {
                    turn += 1;
                    for (key, passed) in passed.iter().enumerate() {
                        let cost = 1 + (turn + key as u64) % 2;
                        let answer = limiter.check_n(&key, cost);
                        let status = *answer.as_ref().map_or_else(|denied| denied.status(), |permit| permit.status());
                        passed.fetch_add(if answer.is_ok() { cost } else { 0 }, Relaxed);
                        assert!(policies.iter().any(|policy| is_of(&status, policy)), "{status:?}");
                        let status = limiter.peek(&key);
                        assert!(policies.iter().any(|policy| is_of(&status, policy)), "{status:?}");
                    }
                }
            });
        }
        for turn in 1..=changes {
            bench.limiter.replace_policy(&policies[turn % 2]).unwrap();
        }
        over.store(true, Relaxed);
    });
    // After the last change all is judged by the last.
    let last = &policies[changes % 2];
    assert_eq!(&bench.limiter.policy(), last);
    for (key, passed) in passed.iter().enumerate() {
        // What the threads had no time for.
        loop {
            let answer = bench.limiter.check_n(&key, 1);
            let status = answer.as_ref().map_or_else(|denied| denied.status(), |permit| permit.status());
            assert!(is_of(status, last), "{status:?} of {last:?}");
            if answer.is_err() {
                break;
            }
            passed.fetch_add(1, Relaxed);
        }
    }
    let stats = bench.limiter.stats();
    assert!(stats.len <= keys && stats.evicted == 0, "{stats:?}");
    passed.into_iter().map(AtomicU64::into_inner).collect()
}

#[track_caller]
fn check_traffic(one: &str, other: &str, most: u64) {
    let passed = traffic(one, other, 151, |builder| builder.capacity(200));
    assert!(passed.iter().all(|&passed| passed == most), "{passed:?} of {one}, {other}");
}

#[test]
fn traffic_gets_the_limit_exactly_while_all_but_the_limit_changes() {
    check_traffic("a: 200/hour", "b: 200/hour", 200);
    check_traffic("a: 200/hour", "b: 7/hour burst 200", 200);
    check_traffic("a: 200/hour", "b: 200/minute fixed", 200);
    check_traffic("a: 200/hour sliding", "b: 200/day fixed", 200);
    check_traffic("a: 200/hour sliding", "b: 200/day", 200);
}

#[test]
fn traffic_sees_several_quotas_of_one_policy_only() {
    let (one, other) = ("a: 300/hour; b: 200/day; c: 400/week", "d: 400/day fixed; e: 200/week; f: 500/hour sliding");
    check_traffic(one, other, 200);
}

#[test]
fn traffic_in_a_full_table_that_is_shared_never_gets_more() {
    for (one, other) in [("a: 200/hour", "b: 200/day fixed"), ("a: 200/hour sliding", "b: 200/day")] {
        let passed = traffic(one, other, 151, |builder| builder.capacity(14).when_full(WhenFull::Share));
        assert!(passed.iter().all(|&passed| passed <= 200), "{passed:?} of {one}, {other}");
        assert!(passed.iter().filter(|&&passed| passed == 200).count() >= 8, "{passed:?} of {one}, {other}");
    }
}

#[test]
fn traffic_between_a_smaller_and_a_larger_limit_never_gets_more_than_the_larger() {
    for unit in UNITS {
        check_traffic(&format!("a: 10/hour{unit}"), &format!("b: 20/hour{unit}"), 20);
    }
}

/// A look at a key, or a reset, that met a change of policy was once answered as if the key had not been there.
#[test]
fn a_key_is_not_overlooked_while_it_is_carried_over() {
    for (one, other) in [("a: 50/hour", "b: 50/day fixed"), ("a: 50/hour; b: 60/day", "c: 50/day sliding; d: 60/week")]
    {
        let bench = Bench::new(one);
        let policies = [policy(one), policy(other)];
        let over = AtomicBool::new(false);
        bench.limiter.check_n("spent", 50).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 1..=1000 {
                    bench.limiter.replace_policy(&policies[turn % 2]).unwrap();
                }
                over.store(true, Relaxed);
            });
            // A newcomer looks at all that stand where it could: none of them may seem to be expired.
            scope.spawn(|| {
                for key in 0_u64.. {
                    assert!(bench.limiter.check(&key).is_ok());
                    bench.limiter.reset(&key);
                    if over.load(Relaxed) {
                        break;
                    }
                }
            });
            while !over.load(Relaxed) {
                assert!(bench.limiter.check("spent").is_err(), "what was spent is forgotten");
                let status = bench.limiter.peek("spent");
                assert_eq!(status.remaining(), 0, "{status:?}");
                let status = *bench.limiter.check_n("spent", 0).unwrap().status();
                assert_eq!(status.remaining(), 0, "{status:?}");
                assert!(bench.limiter.check_n("reset", 50).is_ok(), "a reset was lost");
                bench.limiter.reset("reset");
            }
        });
    }
}

proptest! {
    /// Nothing is forgotten at one instant, whatever the limit.
    #[test]
    fn any_order_of_changes_and_checks_is_exact(
        acts in prop::collection::vec((0..60_u64, 0..60_u64, 0..4_usize, 1..4_u64, 0..3_u8), 1..60),
    ) {
        let bench = Bench::new("50/hour");
        let (mut spent, mut limit) = (0_u64, 50);
        for (cost, amount, unit, hours, act) in acts {
            match act {
                0 => {
                    bench.change(&format!("{amount}/{hours} hours{}", UNITS[unit]));
                    limit = amount;
                }
                1 => {
                    bench.limiter.refund("key", cost / 4);
                    spent -= (cost / 4).min(spent);
                }
                _ => {
                    let passes = cost / 4 + spent <= limit || cost / 4 == 0;
                    prop_assert_eq!(bench.limiter.check_n("key", cost / 4).is_ok(), passes);
                    spent += if passes { cost / 4 } else { 0 };
                }
            }
            prop_assert_eq!(bench.limiter.peek("key").remaining(), limit.saturating_sub(spent));
        }
    }
}

/// What had expired was carried over as a window that ends now. A thread whose reading of the clock is a little older found
/// it open, charged it, and it closed at once: 14 passed in a microsecond where 10 may.
#[test]
fn what_has_expired_is_carried_over_as_new_by_older_readings_of_the_clock_too() {
    for unit in UNITS {
        let [old, new] = ["5/10 seconds", "10/10 seconds"].map(|quota| format!("{quota}{unit}"));
        let bench = Bench::new(&old);
        bench.check(1, true, 4).advance(30).change(&new);
        // Now the others come whose clock readings are older, by more and by less.
        bench.clock.rewind(Duration::from_micros(10));
        bench.check(4, true, 6);
        bench.clock.advance(Duration::from_micros(5));
        let passed = (0..20).filter(|_| bench.limiter.check("key").is_ok()).count();
        bench.clock.advance(Duration::from_micros(5));
        let passed = passed + (0..20).filter(|_| bench.limiter.check("key").is_ok()).count();
        assert!(passed <= 6, "{new}: {} passed in ten microseconds", 4 + passed);
    }
}

/// The same for what is forgotten on request.
#[test]
fn what_is_reset_is_new_by_older_readings_of_the_clock_too() {
    for unit in UNITS {
        let bench = Bench::new(&format!("10/10 seconds{unit}"));
        bench.check(10, true, 0).advance(1);
        bench.limiter.reset("key");
        for back in [Duration::from_micros(10), Duration::from_secs(20), Duration::from_secs(50_000)] {
            bench.clock.rewind(back);
            assert_eq!(bench.limiter.peek("key").remaining(), 10, "{unit}");
        }
        bench.check(10, true, 0).check(1, false, 0);
    }
}

/// A policy of nothing forgets what had expired, and what comes after it finds a key never seen.
#[test]
fn a_policy_of_nothing_comes_and_goes() {
    for unit in UNITS {
        let [some, none] = ["5/10 seconds", "0/10 seconds"].map(|quota| format!("{quota}{unit}"));
        let bench = Bench::new(&some);
        bench.check(2, true, 3).advance(40).change(&none).check(1, false, 0).change(&some).check(5, true, 0);
        bench.change(&none).change(&some).check(1, false, 0);
    }
}

/// A bucket that never refills told whole tokens: so half a token owed was a whole one after a limit of nothing had come and gone.
#[test]
fn a_policy_of_nothing_remembers_parts_of_a_token() {
    let bench = Bench::new("100/hour");
    bench.check(1, true, 99).advance(18).resets_in(18);
    bench.change("0/hour").advance(60).change("100/hour").resets_in(18);
}

/// A thread put aside in the middle of a check for as many changes as there are generations once read a key's word by rules
/// that were gone, and a check could leave the key with a debt of hours, or panic.
#[test]
fn rules_that_come_round_are_not_mistaken_for_those_before() {
    // Five, so that the same generation is of other rules each time.
    let rules = ["a: 1000/second", "b: 1000/year", "c: 2000/second", "d: 1000/second sliding", "e: 1000/second fixed"];
    let bench = Bench::new(rules[0]);
    bench.advance(10_000_000);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    for key in 0..3 {
                        let Err(denied) = bench.limiter.check(&key) else { continue };
                        let wait = denied.retry_after().expect("a cost of 1 is never too much");
                        // At most 2000 are owed: two windows, or two seconds or years of a bucket, of which one is over when 1000 are.
                        let most = if denied.status().quota() == "b" { 366 * 24 * 60 * 60 } else { 2 };
                        assert!(wait <= Duration::from_secs(most), "{denied:?}");
                    }
                }
            });
        }
        for turn in 1..=4_000 {
            bench.clock.advance(Duration::from_micros(100));
            bench.limiter.replace_policy(policy(rules[turn % rules.len()])).unwrap();
        }
        over.store(true, Relaxed);
    });
    bench.change(rules[0]);
    for key in 0..3 {
        assert!(bench.limiter.peek(&key).reset_after() <= Duration::from_secs(3), "{:?}", bench.limiter.peek(&key));
    }
}
