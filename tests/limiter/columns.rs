//! Quotas are added and removed while a limiter runs, and plans have different ones. What was spent under one is remembered while it
//! is not there, and owed when it comes back. Random histories of all that are in `exact`.

use std::time::Duration;

use tollgate::{Clock, ManualClock, Plan, Policy, RateLimiter, WhenFull};

const UNITS: [&str; 5] = ["", " fixed", " fixed aligned", " sliding", " strict"];

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// A limiter and its clock.
struct Bench {
    clock: ManualClock,
    limiter: RateLimiter,
}

impl Bench {
    /// Of plans by name, the first of which is the default, with so many columns.
    fn new(quotas: Option<usize>, plans: &[&str]) -> Self {
        let clock = Clock::manual();
        // A sliding window begins now, and so do fixed ones of an hour.
        clock.advance(Duration::from_secs(36_000));
        let mut builder = RateLimiter::builder(policy(plans[0])).capacity(100).clock(clock.clone());
        for (index, text) in plans.iter().enumerate().skip(1) {
            builder = builder.plan(format!("plan {index}"), policy(text)).expect("a new name");
        }
        if let Some(quotas) = quotas {
            builder = builder.quotas(quotas);
        }
        Self { clock, limiter: builder.build() }
    }

    fn on(&self, plan: usize) -> RateLimiter {
        let plan = match plan {
            0 => Plan::DEFAULT,
            _ => self.limiter.plan(&format!("plan {plan}")).expect("one of that number"),
        };
        self.limiter.on(plan).expect("its own")
    }

    #[track_caller]
    fn change(&self, text: &str) -> &Self {
        self.limiter.replace_policy(policy(text)).expect("there is room");
        assert_eq!(self.limiter.policy(), policy(text));
        self
    }

    #[track_caller]
    fn spend(&self, plan: usize, cost: u64) -> &Self {
        self.on(plan).check_n("key", cost).expect("it passes");
        self
    }

    /// What is left in each quota of a plan. All views agree.
    #[track_caller]
    fn left(&self, plan: usize, left: &[u64]) -> &Self {
        let limiter = self.on(plan);
        let standing = limiter.standing("key");
        let remaining: Vec<u64> = standing.iter().map(|status| status.remaining()).collect();
        assert_eq!(remaining, left, "of {:?}", limiter.policy());
        for (index, (status, (name, quota))) in standing.iter().zip(limiter.policy().quotas()).enumerate() {
            assert_eq!((status.quota(), status.quota_index(), status.limit()), (name, index, quota.limit()));
        }
        let least = *left.iter().min().unwrap();
        assert_eq!(limiter.peek("key").remaining(), least);
        assert!(limiter.check_n("key", least + 1).is_err());
        self
    }

    fn advance(&self, secs: u64) -> &Self {
        self.clock.advance(Duration::from_secs(secs));
        self
    }
}

#[test]
fn a_quota_is_added_and_begins_whole() {
    for unit in UNITS {
        let bench = Bench::new(Some(3), &[&format!("10/hour{unit}")]);
        bench.spend(0, 4).change(&format!("100/day{unit}; 10/hour{unit}; 7/minute{unit}")).left(0, &[100, 6, 7]);
        bench.spend(0, 5).left(0, &[95, 1, 2]);
    }
}

#[test]
fn a_quota_is_removed_and_no_longer_denies() {
    for unit in UNITS {
        let bench = Bench::new(None, &[&format!("a: 5/minute{unit}; b: 100/day{unit}")]);
        // The first as well as the last, and whichever moves.
        bench.spend(0, 5).left(0, &[0, 95]).change(&format!("b: 100/day{unit}")).left(0, &[95]).spend(0, 10);
        bench.left(0, &[85]).change(&format!("a: 5/minute{unit}; b: 100/day{unit}")).left(0, &[0, 85]);
        bench.change(&format!("b: 100/day{unit}; a: 5/minute{unit}")).left(0, &[85, 0]);
        bench.change(&format!("a: 9/minute{unit}")).left(0, &[4]).spend(0, 4);
        bench.change(&format!("b: 100/day{unit}; a: 9/minute{unit}")).left(0, &[85, 0]);
    }
}

/// What was spent under a quota that is not there goes on to decay as it would have.
#[test]
fn what_is_owed_to_a_quota_that_is_gone_decays() {
    let of = |unit: &str| {
        let bench = Bench::new(None, &[&format!("a: 6/hour{unit}; b: 100/day")]);
        bench.spend(0, 6).change("b: 100/day").advance(600);
        bench.change(&format!("a: 6/hour{unit}; b: 100/day"));
        let early = bench.limiter.standing("key")[0].remaining();
        bench.change("b: 100/day").advance(3000).change(&format!("a: 6/hour{unit}; b: 100/day"));
        (early, bench.limiter.standing("key")[0].remaining())
    };
    assert_eq!(of(""), (1, 6));
    assert_eq!(of(" fixed"), (0, 6));
    assert_eq!(of(" fixed aligned"), (0, if 1_000_000_000 % 3600 == 0 { 6 } else { of(" fixed aligned").1 }));
    // The whole hour weighs on the next.
    assert_eq!(of(" sliding"), (0, 0));
    assert_eq!(of(" strict").0, 0);
}

/// To take a quota away and bring it back gives nobody anything, however often.
#[test]
fn toggling_forgives_nothing_and_charges_nothing() {
    for unit in UNITS {
        let (both, one) = (format!("a: 50/hour{unit}; b: 90/day{unit}"), format!("b: 90/day{unit}"));
        let bench = Bench::new(None, &[&both, &one]);
        bench.spend(0, 20);
        for _ in 0..50 {
            bench.change(&one).left(0, &[70]).change(&both).left(0, &[30, 70]).left(1, &[70]).left(0, &[30, 70]);
        }
    }
}

/// A random history came upon this: `b` takes the column of `c`, whose period another column had known, and `c` came back to that one.
#[test]
fn a_policy_that_comes_back_finds_what_it_was_owed() {
    for unit in UNITS {
        let old = format!("c: 20/day{unit}");
        let bench = Bench::new(Some(2), &[&old]);
        bench.change(&format!("d: 8/day{unit}; c: 241/hour{unit}")).change(&old);
        bench
            .spend(0, 2)
            .left(0, &[18])
            .change(&format!("b: 174/hour{unit}"))
            .left(0, &[172])
            .change(&old)
            .left(0, &[18]);
    }
}

/// What is owed where nothing ever passes waits in words that lose a bit for each doubling of the number of plans. Those were bits of
/// whole tokens: of four plans it was fours that were owed, of sixteen sixteens.
#[test]
fn what_waits_under_a_limit_of_nothing_does_not_grow() {
    for plans in [4, 16] {
        let others = (2..plans).map(|_| "b: 7/day");
        let policies: Vec<&str> = ["a: 100/hour", "a: 0/hour"].into_iter().chain(others).collect();
        let bench = Bench::new(Some(2), &policies);
        bench.spend(0, 5).left(1, &[0]).left(2, &[7]).left(1, &[0]).left(0, &[95]);
    }
}

#[test]
fn plans_may_have_different_quotas() {
    for unit in UNITS {
        let plans = [
            format!("a: 10/minute{unit}; b: 100/day{unit}"),
            format!("b: 1000/day{unit}"),
            "c: 7/week; a: 99/minute; b: 5/year".into(),
        ];
        let bench = Bench::new(None, &plans.each_ref().map(|plan| plan.as_str()));
        bench.spend(0, 8).left(0, &[2, 92]).left(1, &[992]).spend(1, 50).left(0, &[2, 42]);
        bench.left(2, &[7, 91, 0]).left(1, &[942]).left(0, &[2, 42]);
        bench.on(1).refund("key", 3);
        bench.left(0, &[2, 45]);
        bench.on(1).reset("key");
        bench.left(0, &[10, 100]);
    }
}

/// A debt that waits counts when places are short: it would be forgiven as well.
#[test]
fn what_waits_for_its_quota_is_not_evicted_for_less() {
    let clock = Clock::manual();
    let builder =
        RateLimiter::builder(policy("a: 100/day; b: 1000/second")).plan("b", policy("b: 1000/second")).unwrap();
    let limiter = builder.capacity(14).clock(clock.clone()).when_full(WhenFull::EvictLeastIndebted).build();
    let plan_b = limiter.on(limiter.plan("b").unwrap()).unwrap();
    limiter.check_n("heavy", 90).unwrap();
    // It stands under the other plan now, by which it soon owes nothing.
    plan_b.check("heavy").unwrap();
    clock.advance(Duration::from_secs(10));
    for key in 0..10_000 {
        limiter.check_n(&key, 10).unwrap();
    }
    assert_eq!(limiter.standing("heavy")[0].remaining(), 10);
}

#[test]
fn how_many_quotas_there_may_be_is_said_when_the_limiter_is_built() {
    let build = |quotas: usize, text: &str| RateLimiter::builder(policy(text)).capacity(14).quotas(quotas).try_build();
    for quotas in [0, 9, usize::MAX] {
        let error = build(quotas, "1/second").unwrap_err();
        assert_eq!(error.to_string(), format!("a limiter has room for 1 to 8 quotas, not {quotas}"));
    }
    let error = build(1, "1/second; 2/minute").unwrap_err();
    let says = "the policy has 2 quotas where the limiter has room for 1; build the limiter with `.quotas(2)`";
    assert_eq!(error.to_string(), says);
    let builder = RateLimiter::builder(policy("1/second")).plan("b", policy("1/second; 2/minute")).unwrap();
    assert_eq!(builder.clone().quotas(1).try_build().unwrap_err(), error);
    // Without it there is room for what is there.
    let limiter = builder.capacity(14).build();
    limiter.replace_policy(policy("1/second; 2/minute")).unwrap();
    let refused = limiter.replace_policy(policy("1/second; 2/minute; 3/hour")).unwrap_err();
    assert!(refused.to_string().starts_with("the policy has 3 quotas where the limiter has room for 2"), "{refused}");
    let limiter = build(8, "1/second").unwrap();
    let eight: Vec<String> = (1..=8).map(|n| format!("{n}0/{n} hours")).collect();
    limiter.replace_policy(policy(&eight.join("; "))).unwrap();
    assert_eq!(limiter.check("key").unwrap().status().remaining(), 9);
}

/// A charge that was reserved under other quotas is not given back under these, and nothing else is.
#[test]
fn a_reservation_knows_its_quotas() {
    let bench = Bench::new(Some(2), &["a: 10/hour; b: 50/day"]);
    let reservation = bench.limiter.reserve("key", 5).unwrap();
    bench.change("b: 50/day");
    reservation.settle(0).unwrap();
    bench.left(0, &[45]).change("a: 10/hour; b: 50/day").left(0, &[5, 45]);
}
