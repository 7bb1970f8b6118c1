//! The limiter's laws: what every one of its answers keeps, whatever the history. Each test states one.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use proptest::prelude::*;
use tollgate::{
    Algorithm, Clock, Denied, IntoPolicy, ManualClock, Permit, Policy, PolicyError, Quota, RateLimiter, WhenFull,
};

use crate::random::Random;

const SECOND: u64 = 1_000_000_000;
const DAY: u64 = 86_400 * SECOND;
const TEN_YEARS: u64 = 3660 * DAY;
/// For how long histories go on: a limiter can tell time for 36 years.
const LONG: u64 = 25 * 365 * DAY;
/// And windows of 10^9 a second for 4.
const LONG_IN_FAST_WINDOWS: u64 = 3 * 365 * DAY;
const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::TokenBucket,
    Algorithm::FixedWindow,
    Algorithm::AlignedWindow,
    Algorithm::SlidingWindow,
    Algorithm::StrictWindow,
];

fn ns(nanos: u64) -> Duration {
    Duration::from_nanos(nanos)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("less than 584 years")
}

fn quota(amount: u64, period: u64, algorithm: Algorithm) -> Quota {
    Quota::new(amount, ns(period)).and_then(|quota| quota.try_algorithm(algorithm)).expect("a quota that can be kept")
}

/// A limiter and its clock.
struct Bench {
    clock: ManualClock,
    limiter: RateLimiter,
}

impl Bench {
    fn new(policy: impl IntoPolicy) -> Self {
        let clock = Clock::manual();
        let limiter = RateLimiter::builder(policy).capacity(100).clock(clock.clone()).build();
        Self { clock, limiter }
    }

    fn parse(policy: &str) -> Self {
        Self::new(policy.parse::<Policy>().expect("a policy"))
    }

    fn advance(&self, nanos: u64) -> &Self {
        self.clock.advance(ns(nanos));
        self
    }

    fn ask(&self, cost: u64) -> Result<Permit, Denied> {
        self.limiter.check_n("key", cost)
    }

    /// One line of a story: what a cost is answered. `Ok(remaining)`, or the wait in nanoseconds.
    #[track_caller]
    fn check(&self, cost: u64, expected: Result<u64, u64>) -> &Self {
        let answer = self.ask(cost).map(|permit| permit.status().remaining());
        let answer = answer.map_err(|denied| wait(&denied).expect("a wait that ends"));
        assert_eq!(answer, expected, "cost {cost} of {:?}", self.limiter.policy());
        self
    }
}

fn wait(denied: &Denied) -> Option<u64> {
    assert_eq!(denied.is_permanent(), denied.retry_after().is_none());
    denied.retry_after().map(nanos)
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(&ALGORITHMS[..])
}

/// Quotas of every speed, from one in ten years to one a nanosecond.
fn any_quota() -> impl Strategy<Value = Quota> {
    let amount = prop_oneof![1..=5_u64, 1..=1000_u64, (0..=30_u32).prop_map(|bits| 1 << bits)];
    let period = prop_oneof![
        Just(SECOND),
        Just(60 * SECOND),
        Just(DAY),
        Just(TEN_YEARS),
        1..=1000_u64,
        (0..=58_u32, 0..1000_u64).prop_map(|(bits, more)| (1 << bits) + more),
    ];
    let burst = prop_oneof![3 => Just(0), 1 => 1..=100_u64, 1 => Just(1)];
    (amount, period, burst, any_algorithm()).prop_filter_map("cannot be kept", |(amount, period, burst, algorithm)| {
        let quota = Quota::new(amount, ns(period)).ok()?;
        let quota = match algorithm {
            Algorithm::TokenBucket if burst > 0 => quota.try_burst(burst).ok()?,
            _ => quota,
        };
        quota.try_algorithm(algorithm).ok()
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    prop::collection::vec(any_quota(), 1..=3)
        .prop_map(|quotas| Policy::new(["a", "b", "c"].into_iter().zip(quotas)).expect("different names"))
}

/// What a client does next. Cost and pause are parts of what one of the policy's quotas grants, and of its period.
#[derive(Clone, Copy, Debug)]
struct Act {
    cost: u64,
    pause: u64,
    quota: usize,
}

fn any_history(len: usize) -> impl Strategy<Value = Vec<Act>> {
    let act = (0..8_u64, 0..12_u64, 0..6_usize).prop_map(|(cost, pause, quota)| Act { cost, pause, quota });
    prop::collection::vec(act, 1..len)
}

impl Act {
    /// The cost, and the pause before it.
    fn of(self, policy: &Policy) -> (u64, u64) {
        let mut quotas = policy.quotas();
        let index = self.quota % quotas.len();
        let (_, quota) = quotas.nth(index).expect("below the length");
        let cost = match self.cost {
            0 | 1 => 1,
            2 => quota.limit(),
            3 => quota.limit() + 1,
            4 => 0,
            part => quota.limit().div_ceil(part),
        };
        let period = nanos(quota.period());
        let pause = match self.pause {
            0..=4 => 0,
            5 => period,
            6 => period - 1,
            7 => period / quota.amount(),
            part => period / (part * part),
        };
        (cost, pause)
    }
}

/// For how long a policy's limiter can tell time, with room for some waits.
fn long(policy: &Policy) -> u64 {
    let fast = |quota: &Quota| u128::from(quota.amount()) * 1000 > quota.period().as_nanos();
    let fast_window = |quota: &Quota| fast(quota) && quota.algorithm() != Algorithm::TokenBucket;
    if policy.quotas().any(|(_, quota)| fast_window(quota)) { LONG_IN_FAST_WINDOWS } else { LONG }
}

// Law 1: never more than `burst + rate·t` in any interval t, for any number of threads.

/// An admission, and between which two readings of the clock it happened.
#[derive(Clone, Copy, Debug)]
struct Admission {
    from: u64,
    to: u64,
    cost: u64,
}

/// The most a quota may admit in an interval of `t` nanoseconds, both ends included.
fn bound(quota: &Quota, t: u64) -> u128 {
    let (amount, period, limit) = (u128::from(quota.amount()), quota.period().as_nanos(), u128::from(quota.limit()));
    let windows = u128::from(t) / period + 1;
    match quota.algorithm() {
        // The clock's rounding is less than a nanosecond.
        Algorithm::TokenBucket => limit + amount * (u128::from(t) + 1) / period,
        Algorithm::SlidingWindow => windows * (2 * amount - 1),
        Algorithm::StrictWindow => windows * amount,
        _ => (windows + 1) * amount,
    }
}

/// Looks at every interval that begins and ends with an admission.
#[track_caller]
fn check_every_interval(quota: &Quota, admissions: &mut [Admission]) {
    admissions.sort_by_key(|admission| admission.to);
    let mut starts: Vec<u64> = admissions.iter().map(|admission| admission.from).collect();
    starts.sort_unstable();
    starts.dedup();
    for start in starts {
        let mut sum = 0;
        for admission in admissions.iter().filter(|admission| admission.from >= start) {
            sum += u128::from(admission.cost);
            let most = bound(quota, admission.to - start);
            assert!(sum <= most, "{quota}: {sum} from {start} to {}, and {most} may pass", admission.to);
        }
    }
}

/// Threads hammer one key while another moves the clock, each time after a denial, so that every step is raced for and
/// none finds a full bucket. Returns the admissions and the limiter.
fn hammer(policy: &Policy, step: u64) -> (Vec<Admission>, Bench) {
    let bench = Bench::new(policy);
    let (denials, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let client = |thread: u64| {
        let mut admissions = Vec::new();
        let mut asked = thread;
        // A limiter that always admits would never let the clock move on.
        while !over.load(Relaxed) && admissions.len() < 20_000 {
            asked += 1;
            let cost = if asked % 7 == 0 { 2 } else { 1 };
            let from = nanos(bench.clock.elapsed());
            let answer = bench.ask(cost);
            let to = nanos(bench.clock.elapsed());
            match answer {
                Ok(_) => admissions.push(Admission { from, to, cost }),
                Err(_) if cost == 1 => {
                    denials.fetch_add(1, Relaxed);
                    std::thread::yield_now();
                }
                Err(_) => {}
            }
        }
        admissions
    };
    let admissions = std::thread::scope(|scope| {
        let client = &client;
        let clients: Vec<_> = (0..3).map(|thread| scope.spawn(move || client(thread))).collect();
        for turn in 0..800 {
            let seen = denials.load(Relaxed);
            while denials.load(Relaxed) == seen && !clients.iter().any(|client| client.is_finished()) {
                std::thread::yield_now();
            }
            // Steps of many lengths, some of nothing.
            bench.advance(turn * turn * 7919 % (step + 1));
        }
        over.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
    });
    (admissions, bench)
}

/// How often threads race: what goes wrong once in a thousand steps should not go unseen.
const ROUNDS: usize = 8;

#[test]
fn law_1_threads_get_what_is_due_and_never_more() {
    for (amount, burst, period, step) in
        [(1000, 50, SECOND, 3_000_000), (28, 28, SECOND, 40_000_000), (2, 3, 60, 40), (7, 5, 3000, 400)].repeat(ROUNDS)
    {
        let quota = Quota::new(amount, ns(period)).unwrap().burst(burst);
        let (mut admissions, bench) = hammer(&quota.into(), step);
        let time = nanos(bench.clock.elapsed());
        // What is due, and nobody has asked for yet.
        while bench.ask(1).is_ok() && admissions.len() < 100_000 {
            admissions.push(Admission { from: time, to: time, cost: 1 });
        }
        check_every_interval(&quota, &mut admissions);
        let sum: u64 = admissions.iter().map(|admission| admission.cost).sum();
        let due = |time: u64| u128::from(burst) + u128::from(time) * u128::from(amount) / u128::from(period);
        let due = due(time - 1)..=due(time + 1);
        assert!(due.contains(&u128::from(sum)), "{quota}: {sum} passed, and {due:?} were due");
    }
}

#[test]
fn law_1_windows_under_threads_keep_their_bounds() {
    for algorithm in ALGORITHMS[1..].repeat(ROUNDS) {
        let quota = quota(20, SECOND, algorithm);
        let (mut admissions, bench) = hammer(&quota.into(), SECOND / 20);
        check_every_interval(&quota, &mut admissions);
        let sum: u64 = admissions.iter().map(|admission| admission.cost).sum();
        let seconds = bench.clock.elapsed().as_secs();
        assert!(sum >= seconds * 15, "{quota}: {sum} passed in {seconds} s");
    }
}

#[test]
fn law_1_threads_never_get_more_than_any_quota_of_a_policy() {
    let policies = [
        "10/second burst 10; 20/second burst 2",
        "20/second burst 2; 10/second burst 10",
        "2/10 ms; 1000/10 s burst 100",
        "5/second fixed; 20/10 seconds sliding; 8/second burst 4",
    ];
    for policy in policies.repeat(ROUNDS) {
        let policy: Policy = policy.parse().unwrap();
        let (mut admissions, _) = hammer(&policy, 100_000_000);
        for (_, quota) in policy.quotas() {
            check_every_interval(quota, &mut admissions);
        }
        assert!(admissions.len() > 50, "{policy}: only {} passed", admissions.len());
    }
}

// Law 2: who waits `retry_after` is admitted; a nanosecond earlier, he is not.

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn law_2_retry_after_is_exact_to_the_nanosecond(policy in any_policy(), history in any_history(30)) {
        let bench = Bench::new(&policy);
        let mut time = 0;
        for act in history {
            let (cost, pause) = act.of(&policy);
            time += pause;
            if time > long(&policy) {
                break;
            }
            bench.advance(pause);
            let Err(denied) = bench.ask(cost) else { continue };
            let Some(wait) = wait(&denied) else { continue };
            prop_assert!(wait > 0);
            prop_assert_eq!(denied.retry_after_secs(), Some(wait.div_ceil(SECOND)));
            time += wait;
            if time > long(&policy) {
                break;
            }
            bench.advance(wait - 1);
            let early = bench.ask(cost).expect_err("a nanosecond early");
            prop_assert_eq!(early.retry_after(), Some(ns(1)));
            bench.advance(1);
            let passed = bench.ask(cost);
            prop_assert!(passed.is_ok(), "{} was denied {:?} after its wait", cost, passed);
        }
    }
}

/// Fast sliding windows keep the last count in few bits, rounded up, so with a new window there may for a moment be less room than
/// at the end of the old one. The wait was the longest that any quota asked for by itself. If that led another quota into such a
/// moment, the client came back too early, by up to 289 µs.
#[test]
fn law_2_fast_sliding_windows_wait_for_each_other() {
    // The moments are rare, and so always the same.
    let mut chance = Random(0x2545_f491_4f6c_dd1d);
    let mut random = |below| chance.below(below);
    for round in 0..20_000 {
        let mut quota = |amounts: std::ops::Range<u64>| {
            let amount = amounts.start + random(amounts.end - amounts.start);
            // Up to 10^9 per second, in periods of some milliseconds to some seconds.
            let period = amount * (1 + random(10)) + random(1000);
            quota(amount, period, Algorithm::SlidingWindow)
        };
        let quotas = [quota(5_000_000..500_000_000), quota(5_000_000..500_000_000)];
        let policy = Policy::new(["a", "b"].into_iter().zip(quotas)).unwrap();
        let bench = Bench::new(&policy);
        for _ in 0..20 {
            let (which, part) = (random(2) as usize, 1 + random(8));
            bench.advance(random(nanos(quotas[which].period())));
            let cost = 1 + random(quotas[0].limit().min(quotas[1].limit()) / part);
            let Err(denied) = bench.ask(cost) else { continue };
            let wait = wait(&denied).expect("below both limits");
            bench.advance(wait - 1);
            assert!(bench.ask(cost).is_err(), "{policy}, round {round}: a nanosecond early");
            bench.advance(1);
            let again = bench.ask(cost);
            assert!(again.is_ok(), "{policy}, round {round}: {wait} ns were not enough: {again:?}");
        }
    }
}

#[test]
fn law_2_retry_after_is_when_all_quotas_of_a_policy_pass() {
    let bench = Bench::parse("slow: 1/minute burst 3; fast: 1/second");
    bench.check(1, Ok(0)).check(1, Err(SECOND)).advance(SECOND).check(1, Ok(0)).advance(SECOND).check(1, Ok(0));
    // Both deny now: `fast` for a second, `slow` until its first token is back.
    let denied = bench.ask(1).unwrap_err();
    assert_eq!((denied.status().quota(), denied.status().quota_index()), ("slow", 0));
    bench.check(1, Err(58 * SECOND)).advance(58 * SECOND).check(1, Ok(0));
}

#[test]
fn law_2_in_headers_the_wait_is_whole_seconds_and_never_zero() {
    let secs = |quota: Quota| {
        let bench = Bench::new(quota);
        bench.ask(quota.limit()).unwrap();
        bench.ask(1).unwrap_err().retry_after_secs()
    };
    assert_eq!(secs(Quota::per_second(1000)), Some(1));
    assert_eq!(secs(Quota::per_second(1)), Some(1));
    assert_eq!(secs(Quota::per_minute(59)), Some(2));
    assert_eq!(secs(Quota::per_minute(1)), Some(60));
    assert_eq!(secs(Quota::per_minute(0)), None);
}

/// Units per nanosecond are rounded, and once a whole second came a nanosecond late: at one per second, a client that
/// came back after exactly one second was denied, and `Retry-After` told him to wait two.
#[test]
fn law_2_a_whole_token_is_due_at_its_whole_nanosecond() {
    for (amount, period) in [(1, SECOND), (1000, SECOND), (5, 60 * SECOND), (1, DAY), (1, TEN_YEARS), (4, 100)] {
        let bench = Bench::new(Quota::new(amount, ns(period)).unwrap());
        let token = period / amount;
        bench.check(amount, Ok(0)).check(1, Err(token)).advance(token).check(1, Ok(0)).check(1, Err(token));
        assert_eq!(bench.limiter.peek("key").reset_after(), ns(period));
        bench.advance(period).check(amount, Ok(0));
    }
}

// Law 3: a denial changes nothing.

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Of two limiters, one sees the whole history and the other only what the first admitted. Nobody can tell them
    /// apart.
    #[test]
    fn law_3_a_denial_changes_nothing_in_any_quota(policy in any_policy(), history in any_history(40)) {
        let (all, admitted) = (Bench::new(&policy), Bench::new(&policy));
        for act in history {
            let (cost, pause) = act.of(&policy);
            all.advance(pause);
            admitted.advance(pause);
            let before = all.limiter.peek("key");
            prop_assert_eq!(before, admitted.limiter.peek("key"));
            match all.ask(cost) {
                Ok(permit) => prop_assert_eq!(Ok(permit), admitted.ask(cost)),
                Err(_) => prop_assert_eq!(all.limiter.peek("key"), before),
            }
        }
    }

    #[test]
    fn law_3_a_cost_above_the_limit_is_denied_for_good(
        policy in any_policy(),
        history in any_history(10),
        more in prop::sample::select(vec![1, 1000, u64::MAX / 2]),
    ) {
        let bench = Bench::new(&policy);
        let most = policy.quotas().map(|(_, quota)| quota.limit()).min().unwrap();
        let mut time = 0;
        for act in history {
            let (cost, pause) = act.of(&policy);
            time += pause;
            if time > long(&policy) {
                break; // where time stands still every denial is for good
            }
            bench.advance(pause);
            let answer = bench.ask(cost);
            prop_assert_eq!(cost > most, answer.is_err_and(|denied| denied.is_permanent()));
            let denied = bench.ask(most + more).expect_err("more than there ever is");
            prop_assert!(denied.is_permanent());
            prop_assert_eq!((denied.retry_after(), denied.retry_after_secs()), (None, None));
            prop_assert!(denied.status().limit() < most + more);
        }
        prop_assert!(bench.limiter.stats().len <= 1);
    }
}

#[test]
fn law_3_a_denial_by_one_quota_leaves_the_others_uncharged() {
    for policy in ["2/hour; 5/100 days", "2/hour fixed; 5/100 days fixed", "2/hour sliding; 5/100 days fixed"] {
        let bench = Bench::parse(policy);
        for spent in [2, 4] {
            bench.ask(2).unwrap();
            for _ in 0..100 {
                assert_eq!(bench.ask(2).unwrap_err().status().quota_index(), if spent == 2 { 0 } else { 1 });
                assert_eq!(bench.ask(1).unwrap_err().status().quota(), "2/hour");
            }
            bench.advance(2 * 3600 * SECOND);
        }
        // Had any denial charged the slow quota, it would deny now.
        bench.check(1, Ok(0));
        assert_eq!(bench.ask(1).unwrap_err().status().quota_index(), 1, "{policy}");
    }
}

#[test]
fn law_3_zero_denies_everything_for_good() {
    for algorithm in ALGORITHMS {
        let bench = Bench::new(quota(0, SECOND, algorithm));
        for cost in [1, 2, u64::MAX] {
            assert!(bench.ask(cost).unwrap_err().is_permanent(), "{algorithm:?}");
            bench.advance(DAY);
        }
        bench.check(0, Ok(0));
        assert_eq!(bench.limiter.peek("key").reset_after(), Duration::ZERO);
    }
    let bench = Bench::parse("5/second; closed: 0/day");
    let denied = bench.ask(1).unwrap_err();
    assert_eq!((denied.status().quota(), denied.is_permanent()), ("closed", true));
}

/// A cost of 0 once opened a window, and took a place in the table from a key that was in debt.
#[test]
fn law_3_a_cost_of_zero_always_passes_and_leaves_no_trace() {
    for algorithm in ALGORITHMS {
        let bench = Bench::new(quota(2, 100, algorithm));
        bench.advance(60).check(0, Ok(2));
        assert_eq!(bench.limiter.stats().len, 0, "{algorithm:?}");
        bench.advance(1000).check(2, Ok(0)).check(0, Ok(0));
        bench.clock.rewind(ns(1000));
        bench.check(0, Ok(0));
    }
    // A window lasts from the first charge, not from the first time it was asked about.
    let bench = Bench::new(quota(1, 100, Algorithm::FixedWindow));
    bench.check(0, Ok(1)).advance(99).check(1, Ok(0)).check(1, Err(100));
}

// Law 4: memory never exceeds the capacity, whatever keys arrive. `tests/memory.rs` has the bytes.

#[test]
fn law_4_keys_never_exceed_the_capacity() {
    for when_full in [WhenFull::EvictLeastIndebted, WhenFull::Share] {
        for policy in ["10/hour", "10/hour; 50/day fixed"] {
            let policy: Policy = policy.parse().unwrap();
            let builder = RateLimiter::builder(policy).capacity(1000).clock(Clock::manual());
            let limiter = builder.when_full(when_full).build();
            let capacity = limiter.stats().capacity;
            assert!((1000..=1200).contains(&capacity), "{capacity} places for 1000 keys");
            for key in 0..200_000_u32 {
                let _ = limiter.check(&key);
                if key % 1000 == 0 {
                    assert!(limiter.stats().len <= capacity);
                }
            }
            let stats = limiter.stats();
            assert_eq!((stats.capacity, stats.len), (capacity, capacity), "{when_full:?}");
        }
    }
}

#[test]
fn law_4_a_client_at_its_limit_stays_denied_through_a_flood() {
    for policy in ["5/hour", "5/hour fixed", "5/hour sliding", "5/hour strict", "5/hour; 20/day"] {
        let limiter =
            RateLimiter::builder(policy.parse::<Policy>().unwrap()).capacity(500).clock(Clock::manual()).build();
        for offender in 0..20 {
            limiter.check_n(&("offender", offender), 5).unwrap();
        }
        for key in 0..50_000 {
            limiter.check(&("flood", key)).unwrap();
        }
        assert!(limiter.stats().evicted > 40_000);
        for offender in 0..20 {
            assert!(limiter.check(&("offender", offender)).is_err(), "{policy}: a flood washed {offender} out");
        }
    }
}

#[test]
fn law_4_shared_entries_forgive_nothing() {
    for algorithm in ALGORITHMS {
        let quota = quota(5, 1000, algorithm);
        let clock = Clock::manual();
        let builder = RateLimiter::builder(quota).capacity(50).clock(clock.clone());
        let limiter = builder.when_full(WhenFull::Share).build();
        let mut admissions = vec![Vec::new(); 10];
        for time in 0..3000 {
            for key in 0..4_u64 {
                let _ = limiter.check(&(time * 4 + key + 10));
            }
            for (key, admissions) in admissions.iter_mut().enumerate() {
                // Not always the same keys, or they would keep their places.
                if time / 7 % (key as u64 + 2) == 0 && limiter.check(&(key as u64)).is_ok() {
                    admissions.push(Admission { from: time, to: time, cost: 1 });
                }
            }
            clock.advance(ns(1));
        }
        let stats = limiter.stats();
        assert!(stats.shared > 0 && stats.evicted == 0, "{stats:?}");
        for admissions in &mut admissions {
            check_every_interval(&quota, admissions);
        }
    }
}

// Law 5: time that stands still or steps back by d delays admissions by at most d.

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Of two limiters with one history, one clock steps back at the end.
    #[test]
    fn law_5_a_step_back_delays_by_at_most_as_much(
        policy in any_policy(),
        history in any_history(30),
        last in 0..4_u64,
        back in any::<u64>(),
    ) {
        let (steady, stepped) = (Bench::new(&policy), Bench::new(&policy));
        let (mut time, mut longest) = (0, 1);
        for act in history {
            let (cost, pause) = act.of(&policy);
            time += pause;
            if time > long(&policy) {
                return Ok(());
            }
            longest = longest.max(pause);
            steady.advance(pause);
            stepped.advance(pause);
            prop_assert_eq!(steady.ask(cost), stepped.ask(cost));
        }
        let back = (back % (2 * longest)).min(time);
        stepped.clock.rewind(ns(back));
        let cost = (Act { cost: last, pause: 0, quota: 0 }).of(&policy).0;
        let wait_for = |bench: &Bench| bench.ask(cost).map_or_else(|denied| wait(&denied), |_| Some(0));
        match (wait_for(&steady), wait_for(&stepped)) {
            (Some(steady), Some(later)) => {
                prop_assert!(later <= steady + back, "a step back by {} delays from {} to {}", back, steady, later);
                prop_assert!(later > 0 || steady == 0, "a step back admits what was denied");
            }
            (steady, later) => prop_assert_eq!(steady, later),
        }
    }

    /// Whatever the clock does, admissions in a row are bounded by how far it went on between the first and the last.
    #[test]
    fn law_5_a_clock_that_goes_to_and_fro_admits_nothing_extra(
        amount in 1..20_u64,
        algorithm in any_algorithm(),
        moves in prop::collection::vec((-200..250_i64, 1..4_u64), 1..200),
    ) {
        let quota = quota(amount, 1000, algorithm);
        let bench = Bench::new(quota);
        let mut now = 0_u64;
        let mut admissions: Vec<Admission> = Vec::new();
        for (by, cost) in moves {
            match u64::try_from(by) {
                Ok(by) => bench.clock.advance(ns(by)),
                Err(_) => bench.clock.rewind(ns(by.unsigned_abs())),
            }
            now = now.saturating_add_signed(by);
            if bench.ask(cost).is_ok() {
                admissions.push(Admission { from: now, to: now, cost });
            }
        }
        for first in 0..admissions.len() {
            let (mut sum, mut latest) = (0, admissions[first].from);
            for admission in &admissions[first..] {
                sum += u128::from(admission.cost);
                latest = latest.max(admission.to);
                prop_assert!(sum <= bound(&quota, latest - admissions[first].from));
            }
        }
    }
}

/// Its weight of the last window falls with time within this one. Back at the end of the last window, that would be next
/// to nothing.
#[test]
fn law_5_a_sliding_window_that_steps_back_forgets_nothing() {
    let bench = Bench::new(quota(10, 1000, Algorithm::SlidingWindow));
    bench.advance(500).check(10, Ok(0)).advance(700).check(2, Ok(0)).check(1, Err(100));
    bench.clock.rewind(ns(201));
    bench.check(1, Err(301)).advance(300).check(1, Err(1)).advance(1).check(1, Ok(0));
}

#[test]
fn law_5_no_time_is_too_late_or_too_early() {
    let quotas =
        ["1/second", "1000000000/second", "1/3660 days", "3/7 ns", "1/second burst 3000000000", "1/ns", "0/day"];
    for text in quotas {
        for algorithm in ALGORITHMS {
            let Ok(quota) = text.parse::<Quota>().unwrap().try_algorithm(algorithm) else { continue };
            let bench = Bench::new(quota);
            for leap in [Duration::MAX, ns(1), ns(u64::MAX), ns(1 << 60), Duration::MAX] {
                bench.clock.advance(leap);
                let mut passed = 0;
                for cost in [quota.limit(), 1, 0, quota.limit() + 1, u64::MAX] {
                    passed += bench.ask(cost).map_or(0, |_| cost);
                    let _ = (bench.limiter.peek("key"), bench.limiter.stats());
                }
                // At the end of time, time stands still: what has been spent does not come back.
                assert!(passed == 0 || leap == Duration::MAX && passed == quota.limit(), "{quota}: {passed} at once");
            }
            bench.clock.rewind(Duration::MAX);
            assert!(bench.ask(1).is_err(), "{quota}");
            bench.limiter.reset("key");
            assert!(bench.ask(quota.limit()).is_ok(), "{quota}");
        }
    }
}

/// A manual clock once went round past its end, to its start.
#[test]
fn law_5_a_clock_at_its_end_stays_there() {
    let clock = Clock::manual();
    clock.advance(ns(1));
    clock.advance(Duration::MAX);
    let end = format!("{clock:?}");
    clock.advance(ns(SECOND));
    assert_eq!(format!("{clock:?}"), end);
}

// Law 6: rates from 1 in 10 years to 10^9 per second.

/// By how much the long-run rate may stay below the configured one: one part in so many.
fn one_in(quota: &Quota) -> u128 {
    match u128::from(quota.amount()) * u128::from(SECOND) / quota.period().as_nanos() {
        0..=10_000 => 1_000_000,
        10_001..=1_000_000 => 10_000,
        _ => 50,
    }
}

/// A client that takes all it can get, `cost` at a time, and otherwise waits as told.
#[track_caller]
fn check_long_run(quota: Quota, cost: u64) {
    let bench = Bench::new(quota);
    let (amount, period) = (u128::from(quota.amount()), quota.period().as_nanos());
    let (mut time, mut sum, mut waits) = (0, 0, 0);
    while waits < 1000 && time < LONG - TEN_YEARS {
        match bench.ask(cost) {
            Ok(_) => {
                sum += u128::from(cost);
                let most = bound(&quota, time);
                assert!(sum <= most, "{quota}: {sum} passed by {cost}, and {most} may pass in {time} ns");
            }
            Err(denied) => {
                let wait = wait(&denied).expect("a cost that can pass");
                bench.advance(wait);
                (time, waits) = (time + wait, waits + 1);
            }
        }
    }
    let due = match quota.algorithm() {
        Algorithm::TokenBucket => u128::from(time) * amount / period,
        // What is left of a window and is less than the cost is lost.
        _ => u128::from(time) / period * (amount - amount % u128::from(cost)),
    };
    let least = due - due.div_ceil(one_in(&quota));
    assert!(sum >= least, "{quota}: {sum} passed by {cost}, and {least} should in {time} ns");
}

#[test]
fn law_6_the_long_run_rate_is_the_configured_one() {
    let rates = [
        (1, TEN_YEARS),
        (3, TEN_YEARS),
        (1, DAY),
        (5, 60 * SECOND),
        (1, SECOND),
        (28, SECOND),
        (1000, SECOND),
        (10_000, SECOND),
        (1_000_000, SECOND),
        (999_999_999, SECOND),
        (1_000_000_000, SECOND),
        (1, 1),
        (3, 7),
        (1_000_000, 1_000_003),
        (1 << 30, 1 << 30),
    ];
    for (amount, period) in rates {
        for algorithm in [Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::AlignedWindow] {
            let quota = quota(amount, period, algorithm);
            for cost in [amount, amount.div_ceil(3), amount.div_ceil(100)] {
                check_long_run(quota, cost);
            }
        }
        // Where a token comes after a broken nanosecond, a bucket of one overflows while its client waits for a whole one.
        if period % amount == 0 {
            check_long_run(quota(amount, period, Algorithm::TokenBucket).burst(1), 1);
        }
    }
}

/// The counter's price for never admitting twice its amount: while anything of the last window weighs, it weighs one.
#[test]
fn law_6_a_sliding_window_gives_all_but_one_of_its_amount_in_the_long_run() {
    for (amount, least) in [(1, 500), (2, 1000), (10, 9000), (100, 99_000)] {
        let bench = Bench::new(quota(amount, SECOND, Algorithm::SlidingWindow));
        let (mut time, mut sum) = (0, 0);
        while time < 1000 * SECOND && sum <= 1001 * amount {
            match bench.ask(1) {
                Ok(_) => sum += 1,
                Err(denied) => {
                    let wait = wait(&denied).expect("a wait that ends");
                    bench.advance(wait);
                    time += wait;
                }
            }
        }
        assert!((least..=1001 * amount).contains(&sum), "{sum} of {amount} a second in 1000 s");
    }
}

#[test]
fn law_6_a_window_is_never_shorter_than_its_period() {
    // Fast windows keep their end in coarse ticks, rounded up.
    for (amount, period) in [(1_000_000_000, SECOND), (1000, 1000), (10_000_000, SECOND), (1 << 40, DAY), (7, 7)] {
        for algorithm in [Algorithm::FixedWindow, Algorithm::AlignedWindow] {
            let bench = Bench::new(quota(amount, period, algorithm));
            bench.advance(10 * DAY + 12_345).check(amount, Ok(0));
            let wait = wait(&bench.ask(1).unwrap_err()).unwrap();
            if algorithm == Algorithm::FixedWindow {
                assert!(wait >= period && wait <= period + period / 50, "{wait} of {period}");
            }
            bench.advance(wait - 1).check(1, Err(1)).advance(1).check(amount, Ok(0));
        }
    }
}

proptest! {
    #[test]
    fn law_6_a_charge_of_n_is_as_exact_as_n_charges_of_one(
        quota in any_quota(),
        moments in prop::collection::vec((0..60_u64, 0..5_u64), 1..20),
    ) {
        let (bulk, single) = (Bench::new(quota), Bench::new(quota));
        for (cost, pause) in moments {
            let pause = nanos(quota.period()).min(TEN_YEARS / 20) * pause / 7;
            bulk.advance(pause);
            single.advance(pause);
            let cost = cost.min(quota.limit());
            if bulk.ask(cost).is_ok() {
                for _ in 0..cost {
                    prop_assert!(single.ask(1).is_ok());
                }
            }
            prop_assert_eq!(bulk.limiter.peek("key"), single.limiter.peek("key"));
            prop_assert_eq!(bulk.ask(quota.limit()), single.ask(quota.limit()));
        }
    }
}

#[test]
fn law_6_what_cannot_be_kept_is_refused_when_built() {
    use Algorithm::{FixedWindow, SlidingWindow, TokenBucket};
    use PolicyError as Error;
    let build = |amount, period, burst: Option<u64>, algorithm| {
        let quota = Quota::new(amount, period)?;
        let quota = burst.map_or(Ok(quota), |burst| quota.try_burst(burst))?;
        quota.try_algorithm(algorithm)
    };
    let check = |amount, period, burst, algorithm, expected: Result<(), Error>| {
        let built = build(amount, period, burst, algorithm).map(|_| ());
        assert_eq!(built, expected, "{amount} per {period:?}, burst {burst:?}, {algorithm:?}");
    };
    let second = ns(SECOND);
    let year = ns(366 * DAY);

    check(1, Duration::ZERO, None, TokenBucket, Err(Error::ZeroPeriod));
    check(0, Duration::ZERO, None, TokenBucket, Err(Error::ZeroPeriod));
    check(1, ns(TEN_YEARS), None, TokenBucket, Ok(()));
    check(1, ns(TEN_YEARS + 1), None, TokenBucket, Err(Error::PeriodTooLong));
    check(1, Duration::MAX, None, TokenBucket, Err(Error::PeriodTooLong));
    check(1_000_000_000, second, None, TokenBucket, Ok(()));
    check(1_000_000_001, second, None, TokenBucket, Err(Error::RateTooHigh));
    check(u64::MAX, ns(TEN_YEARS), None, TokenBucket, Err(Error::RateTooHigh));
    check(1, ns(1), None, TokenBucket, Ok(()));
    check(2, ns(1), None, TokenBucket, Err(Error::RateTooHigh));
    check(1, second, Some(0), TokenBucket, Err(Error::ZeroBurst));
    check(0, second, Some(1), TokenBucket, Err(Error::ZeroBurst));
    check(0, second, Some(0), TokenBucket, Ok(()));
    check(1, year, Some(100), TokenBucket, Ok(()));
    check(1, year, Some(101), TokenBucket, Err(Error::BurstTooLarge));
    check(1_000_000_000, second, Some(u64::MAX), TokenBucket, Err(Error::BurstTooLarge));
    check(5, second, Some(6), FixedWindow, Err(Error::WindowBurst));
    check(5, second, Some(4), SlidingWindow, Err(Error::WindowBurst));
    check(5, second, Some(5), FixedWindow, Ok(()));
    check(1 << 40, ns(DAY), None, FixedWindow, Ok(()));
    check((1 << 40) + 1, ns(DAY), None, FixedWindow, Err(Error::WindowTooLarge));
    check((1 << 40) + 1, ns(DAY), None, TokenBucket, Ok(()));
}

#[test]
fn law_6_the_short_forms_panic_where_the_long_ones_fail() {
    let panics = |build: fn() -> Quota| std::panic::catch_unwind(build).is_err();
    assert!(panics(|| Quota::per_second(1_000_000_001)));
    assert!(panics(|| Quota::per_second(1).burst(0)));
    assert!(panics(|| Quota::per_second(1).burst(2).fixed_window()));
    assert!(panics(|| Quota::per_day(1 << 41).sliding_window()));
    assert!(!panics(|| Quota::per_second(1_000_000_000)));
}

// The windows' documented bounds.

#[test]
fn a_fixed_window_admits_twice_its_amount_around_an_end_and_not_more() {
    let bench = Bench::new(quota(100, SECOND, Algorithm::AlignedWindow));
    bench.advance(SECOND - 1).check(100, Ok(0)).advance(1).check(100, Ok(0)).check(1, Err(SECOND));
    let bench = Bench::new(quota(100, SECOND, Algorithm::FixedWindow));
    bench.check(1, Ok(99)).advance(SECOND - 1).check(99, Ok(0)).advance(1).check(100, Ok(0)).check(1, Err(SECOND));
}

#[test]
fn an_aligned_window_ends_on_the_full_minute_hour_and_day() {
    // A manual clock starts at 01:46:40.
    for (period, first) in [(60, 20), (3600, 13 * 60 + 20), (86_400, 22 * 3600 + 13 * 60 + 20)] {
        let bench = Bench::new(quota(2, period * SECOND, Algorithm::AlignedWindow));
        bench.check(2, Ok(0)).check(1, Err(first * SECOND)).advance(first * SECOND);
        bench.advance(5 * SECOND).check(2, Ok(0)).check(1, Err((period - 5) * SECOND));
    }
}

/// All of one window at its very end, and the next window's as fast as the first is forgotten.
#[test]
fn a_sliding_window_comes_within_one_of_twice_its_amount() {
    let bench = Bench::new(quota(100, SECOND, Algorithm::SlidingWindow));
    bench.advance(SECOND - 1).check(100, Ok(0)).advance(1);
    let mut sum = 100;
    for _ in 0..99 {
        bench.advance(SECOND / 100);
        sum += u64::from(bench.ask(1).is_ok());
    }
    // 99 % of a second has passed since the burst.
    assert_eq!(sum, 2 * 100 - 1);
}

proptest! {
    #[test]
    fn a_sliding_window_never_admits_twice_its_amount_in_one_period(
        amount in 1..12_u64,
        moves in prop::collection::vec((0..400_u64, 1..6_u64), 1..150),
    ) {
        let quota = quota(amount, 1000, Algorithm::SlidingWindow);
        let bench = Bench::new(quota);
        let (mut now, mut admissions) = (0, Vec::new());
        for (pause, cost) in moves {
            // Many at one instant.
            let pause = if pause > 200 { 0 } else { pause };
            bench.advance(pause);
            now += pause;
            if bench.ask(cost).is_ok() {
                admissions.push(Admission { from: now, to: now, cost });
            }
        }
        check_every_interval(&quota, &mut admissions);
    }
}
