//! For how long a limiter can tell time: decades, whatever stands beside a quota, and then it says so.

use std::time::Duration;

use tollgate::{Clock, ManualClock, Policy, RateLimiter};

const YEAR: u64 = 365 * 86_400;

/// For how many years each of these tells time at least. Only fixed and sliding windows of extreme rates reach less than 28.
const QUOTAS: [(&str, u64); 24] = [
    ("100/second", 36),
    ("1000000000/second", 36),
    ("1/day", 36),
    ("100/second fixed", 35),
    ("5/minute fixed", 35),
    ("8191/second fixed", 35),
    ("8192/second fixed", 35),
    ("10000/second fixed", 35),
    ("600000/minute fixed", 33),
    ("1000000/second fixed", 35),
    ("100000000/second fixed", 35),
    ("1000000000/second fixed", 10),
    ("100/second fixed aligned", 36),
    ("8192/second fixed aligned", 36),
    ("1000000000/second fixed aligned", 36),
    ("100/second sliding", 36),
    ("8192/second sliding", 36),
    ("1000000/second sliding", 34),
    ("100000000/second sliding", 36),
    ("1000000000/second sliding", 8),
    ("100/second strict", 36),
    ("8192/second strict", 36),
    ("100000000/second strict", 36),
    ("1000000000/second strict", 36),
];

fn policy(text: &str) -> Policy {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn build(text: &str, beside: &[&str]) -> (ManualClock, RateLimiter) {
    let clock = Clock::manual();
    let mut builder = RateLimiter::builder(policy(text)).capacity(14).clock(clock.clone());
    for (index, text) in beside.iter().enumerate() {
        builder = builder.plan(format!("{index}"), policy(text)).expect("a new name");
    }
    (clock, builder.build())
}

/// All that a quota grants passes at once, then nothing, and after the wait it does again.
#[track_caller]
fn works(clock: &ManualClock, limiter: &RateLimiter, years: u64) {
    let (limit, what) = (limiter.peek("key").limit(), format!("{:?} after {years} years", limiter.policy()));
    limiter.check_n("key", limit).unwrap_or_else(|denied| panic!("{what}: {denied}"));
    let denied = limiter.check("key").expect_err(&what);
    let wait = denied.retry_after().unwrap_or_else(|| panic!("{what}: {denied}"));
    clock.advance(wait - Duration::from_nanos(1));
    assert!(limiter.check("key").is_err(), "{what}");
    clock.advance(Duration::from_nanos(1));
    limiter.check("key").unwrap_or_else(|denied| panic!("{what}: {denied}"));
}

fn works_for(text: &str, years: u64, beside: &[&str], before: &[&str]) {
    let (clock, limiter) = build(text, beside);
    for policy_before in before {
        limiter.replace_policy(policy(policy_before)).unwrap();
        limiter.replace_policy(policy(text)).unwrap();
    }
    let (mut passed, step) = (0, years.div_ceil(4));
    while passed < years {
        works(&clock, &limiter, passed);
        clock.advance(Duration::from_secs(step.min(years - passed) * YEAR - 172_900));
        passed += step;
    }
    works(&clock, &limiter, years);
}

#[test]
fn a_limiter_tells_time_for_decades() {
    for (text, years) in QUOTAS {
        works_for(text, years, &[], &[]);
    }
}

/// The fields of a word were once as large as the largest limit in the same place needs, token buckets included, and left no room for
/// time: `100/second fixed` beside `1000000000000/month` stood still for good after three days.
#[test]
fn it_does_so_whatever_stands_beside_it_or_stood_there_before() {
    let huge = ["1000000000000/month", "1099511627776/hour fixed"];
    for (text, years) in QUOTAS {
        works_for(text, years, &huge, &[]);
        works_for(text, years, &[], &huge);
    }
}

/// What is owed to a quota far above a window's limit is kept by the window, exactly where there is room, and else to a percent.
#[test]
fn a_window_remembers_what_is_owed_far_above_its_limit() {
    for (text, precision) in [
        ("100/second fixed", 100),
        ("100/minute fixed aligned", u64::MAX),
        ("100/minute sliding", 100),
        ("100/second strict", 3),
    ] {
        let (_, limiter) = build("1000000000000/month", &[text]);
        let small = limiter.on(limiter.plan("0").unwrap()).unwrap();
        for spent in [1, 99, 100, 101, 200, 5000, 77_777, 123_456_789, 987_654_321_012] {
            limiter.reset("key");
            limiter.check_n("key", spent).unwrap();
            assert_eq!(small.peek("key").remaining(), 100_u64.saturating_sub(spent), "{text}");
            assert_eq!(small.check("key").is_ok(), spent < 100, "{text}");
            let owed = 1_000_000_000_000 - limiter.peek("key").remaining();
            let exact = spent + u64::from(spent < 100);
            assert!(owed >= exact && owed - exact <= spent / precision + 1, "{text}: {exact} became {owed}");
        }
    }
}

/// The end of time was told as a cost above the limit.
#[test]
fn at_the_end_of_time_a_denial_says_that_it_is() {
    for text in ["1/second", "1/second fixed", "1/second fixed aligned", "1/second sliding", "5/second strict"] {
        let (clock, limiter) = build(text, &[]);
        clock.advance(Duration::from_secs(40 * YEAR));
        limiter.check_n("key", limiter.peek("key").limit()).unwrap();
        let denied = limiter.check("key").unwrap_err();
        assert_eq!(
            (denied.retry_after(), denied.retry_after_secs(), denied.is_permanent()),
            (None, None, true),
            "{text}"
        );
        let says = format!("rate limit {} can tell time no further; make a new limiter", denied.status().quota());
        assert_eq!(denied.to_string(), says);
        let denied = limiter.check_n("key", 9).unwrap_err();
        assert!(denied.to_string().starts_with("the cost is above the "), "{text}: {denied}");
    }
}

/// A random history came upon this: after 18 years it was denied for good. Windows up to 10^4 a second had no more room, where the
/// amount needs 14 bits; and windows aligned to the clock were kept as any others.
#[test]
fn eight_thousand_a_second_last_longer_than_18_years() {
    let (clock, limiter) = build("a: 8192/3660 days fixed aligned; b: 8192/second fixed aligned", &[]);
    clock.advance(Duration::from_secs(19 * YEAR));
    limiter.check_n("key", 4096).unwrap();
    let denied = limiter.check_n("key", 4097).unwrap_err();
    assert!(!denied.is_permanent(), "{denied}");
}
