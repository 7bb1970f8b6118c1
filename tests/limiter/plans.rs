//! Plans: which policy judges a check is chosen check by check, and a key has one account whatever its plan.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Clock, ManualClock, Plan, Policy, Quota, RateLimiter, RateLimiterBuilder, WhenFull};

const UNITS: [&str; 5] = ["", " fixed", " aligned", " sliding", " strict"];

/// A policy of a text, which can also say that the windows of its only quota are aligned.
fn policy(text: &str) -> Policy {
    if let Some(text) = text.strip_suffix(" aligned") {
        let quota: Quota = text.parse().expect("a quota");
        return quota.try_algorithm(Algorithm::AlignedWindow).expect("a window").into();
    }
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A limiter with plans, and its clock.
struct Bench {
    clock: ManualClock,
    limiter: RateLimiter,
}

impl Bench {
    /// Of plans by name; the first is the default.
    fn new(plans: &[(&str, &str)]) -> Self {
        Self::with(plans, |builder| builder.capacity(100))
    }

    fn with(plans: &[(&str, &str)], set: impl FnOnce(RateLimiterBuilder) -> RateLimiterBuilder) -> Self {
        let clock = Clock::manual();
        let mut builder = set(RateLimiter::builder(policy(plans[0].1)).clock(clock.clone()));
        for (name, text) in &plans[1..] {
            builder = builder.plan(*name, policy(text)).expect("plans of one shape");
        }
        // Not at the very beginning of time, and in the middle of aligned windows.
        clock.advance(Duration::from_secs(100));
        Self { clock, limiter: builder.build() }
    }

    /// The limiter on a plan. `-` is the default one, `*` no limit.
    fn on(&self, plan: &str) -> RateLimiter {
        let plan = match plan {
            "-" => Plan::DEFAULT,
            "*" => Plan::UNLIMITED,
            name => self.limiter.plan(name).expect("a plan of that name"),
        };
        self.limiter.on(plan).expect("its own")
    }

    /// One line of a story: whether a cost passes on a plan, and what remains then.
    #[track_caller]
    fn check(&self, plan: &str, cost: u64, passes: bool, remaining: u64) -> &Self {
        let answer = self.on(plan).check_n("key", cost);
        let status = answer.as_ref().map_or_else(|denied| denied.status(), |permit| permit.status());
        let of = self.on(plan).policy();
        assert_eq!((answer.is_ok(), status.remaining()), (passes, remaining), "cost {cost} on {plan}, which is {of:?}");
        self
    }

    #[track_caller]
    fn peek(&self, plan: &str, remaining: u64) -> &Self {
        assert_eq!(self.on(plan).peek("key").remaining(), remaining, "on {plan}");
        self
    }

    fn advance(&self, secs: u64) -> &Self {
        self.clock.advance(Duration::from_secs(secs));
        self
    }
}

#[test]
fn a_check_is_judged_by_its_plan() {
    for unit in UNITS {
        let (free, pro) = (format!("10/minute{unit}"), format!("1000/minute{unit}"));
        let bench = Bench::new(&[("-", &free), ("pro", &pro)]);
        bench.check("-", 11, false, 10).check("pro", 11, true, 989).check("pro", 990, false, 989);
        assert_eq!(bench.on("pro").peek("key").limit(), 1000);
        assert_eq!(bench.on("pro").peek("key").quota(), "1000/minute");
        assert_eq!(bench.limiter.peek("another").limit(), 10);
        assert_eq!((bench.limiter.policy(), bench.on("pro").policy()), (policy(&free), policy(&pro)));
    }
}

#[test]
fn handles_of_one_limiter_share_everything_but_the_plan() {
    let bench = Bench::new(&[("-", "10/minute"), ("pro", "100/minute")]);
    let pro = bench.on("pro");
    assert_eq!(pro.plan("pro"), bench.limiter.plan("pro"));
    assert_eq!(pro.plan("max"), None);
    pro.check_n("key", 5).unwrap();
    assert_eq!(pro.stats(), bench.limiter.stats());
    // A clone keeps the plan, and the default is one word away.
    assert_eq!(pro.clone().peek("key").limit(), 100);
    assert_eq!(pro.on(Plan::DEFAULT).unwrap().peek("key").remaining(), 5);
    assert_eq!(Plan::default(), Plan::DEFAULT);
}

#[test]
fn the_unlimited_plan_lets_all_pass_and_counts_nothing() {
    let bench = Bench::new(&[("-", "10/minute"), ("pro", "100/minute")]);
    for cost in [0, 1, u64::MAX] {
        bench.check("*", cost, true, u64::MAX).peek("*", u64::MAX);
    }
    assert_eq!(bench.limiter.stats().len, 0);
    bench.check("-", 4, true, 6);
    let unlimited = bench.on("*");
    unlimited.refund("key", 3);
    unlimited.reset("key");
    unlimited.reserve("key", 1000).unwrap().settle(0).unwrap();
    bench.check("*", 1000, true, u64::MAX).peek("-", 6).peek("*", u64::MAX);
    assert_eq!((unlimited.peek("key").limit(), unlimited.peek("key").reset_after()), (u64::MAX, Duration::ZERO));
    // It has no policy of its own, and says the default one.
    assert_eq!(unlimited.policy(), policy("10/minute"));
}

#[test]
fn a_plan_of_zero_lets_nothing_pass() {
    for unit in UNITS {
        let bench = Bench::new(&[("-", &format!("10/minute{unit}")), ("banned", &format!("0/minute{unit}"))]);
        bench.check("banned", 1, false, 0).check("banned", 0, true, 0).check("-", 4, true, 6);
        assert!(bench.on("banned").check("key").unwrap_err().is_permanent());
    }
}

#[test]
fn what_was_spent_on_one_plan_counts_on_another() {
    for unit in UNITS {
        let bench = Bench::new(&[("-", &format!("10/minute{unit}")), ("pro", &format!("100/minute{unit}"))]);
        bench.check("-", 4, true, 6).check("pro", 1, true, 95).check("-", 1, true, 4);
        bench.check("-", 4, true, 0).check("-", 1, false, 0).check("pro", 20, true, 70);
        // More than the smaller one ever grants: nothing passes there, as if it were all of its limit.
        bench.peek("-", 0).check("-", 1, false, 0).check("-", 0, true, 0).advance(180);
        bench.peek("-", 10).peek("pro", 100);
    }
}

/// To be judged by a smaller plan, or a plan of zero, once left the key with no more than that plan's limit spent.
#[test]
fn a_larger_plan_remembers_what_a_smaller_one_could_not_grant() {
    for unit in UNITS {
        for large in UNITS {
            let (free, pro, zero) = (format!("10/minute{unit}"), format!("100/minute{large}"), format!("0/day{unit}"));
            let bench = || Bench::new(&[("-", &free), ("pro", &pro), ("banned", &zero)]);
            bench().check("pro", 30, true, 70).peek("-", 0).peek("pro", 70);
            bench().check("pro", 30, true, 70).check("-", 0, true, 0).peek("pro", 70);
            bench().check("pro", 30, true, 70).check("-", 1, false, 0).check("pro", 71, false, 70);
            bench().check("-", 4, true, 6).check("banned", 1, false, 0).peek("banned", 0).check("-", 7, false, 6);
        }
    }
}

#[test]
fn plans_may_be_of_different_algorithms_and_periods() {
    for small in UNITS {
        for large in UNITS {
            let bench = Bench::new(&[("-", &format!("10/minute{small}")), ("pro", &format!("1000/hour{large}"))]);
            bench.check("-", 4, true, 6).check("pro", 3, true, 993).check("-", 2, true, 1).check("pro", 500, true, 491);
            bench.check("pro", 492, false, 491).check("pro", 491, true, 0).check("-", 1, false, 0).peek("-", 0);
        }
    }
}

#[test]
fn several_quotas_are_carried_one_by_one() {
    let bench = Bench::new(&[("-", "5/second; 20/minute"), ("pro", "50/second; 100/minute")]);
    bench.check("-", 5, true, 0).check("-", 1, false, 0).check("pro", 10, true, 35);
    let answer = bench.on("pro").check_n("key", 45).unwrap_err();
    assert_eq!((answer.status().quota(), answer.status().quota_index()), ("50/second", 0));
    // The minute remembers what the second has forgotten, and the smaller plan has no more.
    bench.advance(2).check("pro", 50, true, 0).advance(2).check("-", 1, false, 0);
    assert_eq!(bench.limiter.check("key").unwrap_err().status().quota(), "20/minute");
}

#[test]
fn reset_and_refund_on_a_plan_are_of_the_one_account() {
    for unit in UNITS {
        let bench = Bench::new(&[("-", &format!("10/minute{unit}")), ("pro", &format!("100/minute{unit}"))]);
        bench.check("-", 8, true, 2);
        bench.on("pro").refund("key", 5);
        bench.peek("-", 7).check("pro", 90, true, 7);
        bench.on("-").reset("key");
        bench.peek("pro", 100).peek("-", 10);
    }
}

#[track_caller]
fn check_error(default: &str, plans: &[(&str, &str)], says: &str) {
    let mut builder = RateLimiter::builder(policy(default));
    for (name, text) in &plans[..plans.len() - 1] {
        builder = builder.plan(*name, policy(text)).expect("not yet");
    }
    let (name, text) = plans[plans.len() - 1];
    let error = builder.plan(name, policy(text)).expect_err("too much");
    assert_eq!(error.to_string(), says);
}

#[test]
fn plans_that_do_not_fit_are_refused() {
    let twice = [("pro", "2/second"), ("max", "3/second"), ("pro", "2/second")];
    check_error("1/second", &twice, "there are two plans called \"pro\"");
    let names: Vec<String> = (0..16).map(|n| format!("p{n}")).collect();
    let plans: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1/second")).collect();
    check_error("1/second", &plans, "a limiter has at most 15 plans beside the default one");
}

#[test]
fn fifteen_plans_are_told_apart() {
    let texts: Vec<(String, String)> = (0..16).map(|n| (format!("p{n}"), format!("{}/minute", 100 + n))).collect();
    let plans: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let bench = Bench::new(&plans);
    for round in 1..=3 {
        for n in 1..16 {
            let spent = (round - 1) * 15 + n;
            bench.check(plans[n as usize].0, 1, true, 100 + n - spent);
        }
    }
}

/// Once a plan of another limiter was taken for the plan at its place, or was a panic.
#[test]
fn a_plan_of_another_limiter_is_refused() {
    let one = Bench::new(&[("-", "1/second"), ("a", "2/second")]);
    let twin = Bench::new(&[("-", "1/second"), ("a", "2/second")]);
    let foreign = twin.limiter.plan("a").unwrap();
    let refused = one.limiter.on(foreign).unwrap_err();
    assert_eq!(refused.to_string(), "the plan is another limiter's; take it from this one, by its name");
    assert!(twin.limiter.clone().on(foreign).is_ok(), "a clone is the same limiter");
    let refused = one.on("*").replace_policy(policy("1/second")).unwrap_err();
    assert_eq!(refused.to_string(), "the unlimited plan has no policy to replace");
}

// A full table.

#[test]
fn who_owes_least_is_evicted_whatever_the_plan() {
    // Two buckets of eight. On the larger plan, keys owe ten times as much as on the smaller one, and one second of it is
    // forgotten a thousand times as fast.
    let plans = [("-", "10/day"), ("pro", "1000/second fixed")];
    let bench = Bench::with(&plans, |builder| builder.capacity(14));
    for key in 0..16 {
        match key % 2 {
            0 => bench.limiter.check_n(&key, 10).unwrap(),
            _ => bench.on("pro").check_n(&key, 100).unwrap(),
        };
    }
    assert_eq!((bench.limiter.stats().len, bench.limiter.stats().evicted), (16, 0));
    // Eight newcomers drive out each other or the small debts, and never a large one.
    for key in 100..108 {
        bench.limiter.check_n(&key, 9).unwrap();
    }
    assert_eq!(bench.limiter.stats().evicted, 8);
    for key in (1..16).step_by(2) {
        assert_eq!(bench.on("pro").peek(&key).remaining(), 900, "{key}");
    }
    // The window of the large ones is over: their places are free, the others' are not.
    bench.advance(2);
    for key in 200..208 {
        bench.on("pro").check_n(&key, 1).unwrap();
    }
    assert_eq!((bench.limiter.stats().len, bench.limiter.stats().evicted), (16, 8));
}

/// Fills a table with keys of both plans, and then asks for newcomers; no key may get more than `most`.
fn check_shared(plan: impl Fn(u64, u64) -> &'static str, most: impl Fn(u64) -> u64) {
    for unit in UNITS {
        let (free, pro) = (format!("10/day{unit}"), format!("100/day{unit}"));
        let full = |builder: RateLimiterBuilder| builder.capacity(14).when_full(WhenFull::Share);
        let bench = Bench::with(&[("-", &free), ("pro", &pro)], full);
        for key in 0..16 {
            bench.on(if key % 2 == 0 { "-" } else { "pro" }).check_n(&key, 1).unwrap();
        }
        for key in 100..400 {
            let passed = (0..150).filter(|turn| bench.on(plan(key, *turn)).check(&key).is_ok()).count() as u64;
            assert!(passed <= most(key), "{passed} of {key} passed{unit}");
        }
        let stats = bench.limiter.stats();
        assert!(stats.shared > 0 && stats.evicted == 0 && stats.len == 16, "{stats:?}");
    }
}

#[test]
fn a_full_table_that_is_shared_never_admits_more_than_the_plan() {
    check_shared(|key, _| if key % 3 == 0 { "-" } else { "pro" }, |key| if key % 3 == 0 { 10 } else { 100 });
}

/// The plans of a full stripe each have a shared entry of their own.
#[test]
fn a_full_table_that_is_shared_never_admits_more_than_the_largest_plan() {
    check_shared(|_, turn| if turn % 3 == 0 { "-" } else { "pro" }, |_| 100);
}

// Many at once.

/// A thread for each plan, with an amount and an algorithm of its own. Where nothing is forgotten, each of many keys gets
/// the largest amount, which is 100, to the last one.
fn check_threads(amounts: [u64; 4]) {
    let keys = 40;
    for unit in 0..4 {
        let texts: Vec<String> = (0..4).map(|n| format!("{}/day{}", amounts[n], UNITS[(n + unit) % 5])).collect();
        let names = ["-", "b", "c", "d"];
        let plans: Vec<(&str, &str)> = names.into_iter().zip(texts.iter().map(String::as_str)).collect();
        let bench = Bench::new(&plans);
        let passed: Vec<AtomicU64> = (0..keys).map(|_| AtomicU64::new(0)).collect();
        std::thread::scope(|scope| {
            for name in names {
                let (limiter, passed) = (bench.on(name), &passed);
                scope.spawn(move || {
                    for turn in 0..120 {
                        for (key, passed) in passed.iter().enumerate() {
                            let cost = 1 + (turn + key as u64) % 2;
                            if limiter.check_n(&key, cost).is_ok() {
                                passed.fetch_add(cost, Relaxed);
                            }
                            limiter.peek(&key);
                        }
                    }
                });
            }
        });
        for (key, passed) in passed.iter().enumerate() {
            let passed = passed.load(Relaxed);
            let remaining = bench.on("b").peek(&key).remaining();
            assert_eq!((passed + remaining, passed >= 99), (100, true), "{texts:?}");
        }
        assert_eq!(bench.limiter.stats().len, keys);
    }
}

#[test]
fn threads_on_plans_of_one_limit_never_get_more_than_that() {
    check_threads([100, 100, 100, 100]);
}

#[test]
fn threads_on_different_plans_never_get_more_for_a_key_than_the_largest_grants() {
    check_threads([20, 100, 50, 3]);
}

/// Nothing is forgotten at one instant, so any order of plans is exact: a key has what it has spent, on each. The plans
/// are given as amount, algorithm and hours; the asks as plan, cost and act.
fn toggle(plans: &[(u64, usize, u64)], asks: &[(usize, u64, u8)]) -> Result<(), TestCaseError> {
    let text = |&(amount, unit, hours): &(u64, usize, u64)| format!("{amount}/{hours} hours{}", UNITS[unit]);
    let texts: Vec<String> = plans.iter().map(text).collect();
    let names = ["-", "b", "c", "d", "e", "f"];
    let bench = Bench::new(&names.into_iter().zip(texts.iter().map(String::as_str)).collect::<Vec<_>>());
    let mut spent = 0_u64;
    for &(plan, cost, act) in asks {
        let plan = plan % plans.len();
        let limit = plans[plan].0;
        let limiter = bench.on(names[plan]);
        if act == 0 {
            limiter.refund("key", cost);
            spent -= cost.min(spent);
        } else {
            let passes = cost == 0 || spent + cost <= limit;
            prop_assert_eq!(limiter.check_n("key", cost).is_ok(), passes, "{} on {}", cost, &texts[plan]);
            spent += if passes { cost } else { 0 };
        }
        prop_assert_eq!(limiter.peek("key").remaining(), limit.saturating_sub(spent));
    }
    Ok(())
}

fn any_asks() -> impl Strategy<Value = Vec<(usize, u64, u8)>> {
    prop::collection::vec((0..6_usize, 0..20_u64, 0..4_u8), 1..80)
}

proptest! {
    #[test]
    fn toggling_plans_of_one_limit_mints_nothing(
        limit in 0..60_u64,
        plans in prop::collection::vec((0..5_usize, 1..3_u64), 2..6),
        asks in any_asks(),
    ) {
        let plans: Vec<(u64, usize, u64)> = plans.into_iter().map(|(unit, hours)| (limit, unit, hours)).collect();
        toggle(&plans, &asks)?;
    }

    #[test]
    fn toggling_plans_mints_nothing(
        plans in prop::collection::vec((0..60_u64, 0..5_usize, 1..3_u64), 2..6),
        asks in any_asks(),
    ) {
        toggle(&plans, &asks)?;
    }
}
