//! Limits as text: what is understood, how it is written back, and what an error says.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Policy, PolicyErrorKind, Quota};

const SECOND: u64 = 1_000_000_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

fn quota(amount: u64, period: u64) -> Quota {
    Quota::new(amount, Duration::from_nanos(period)).expect("a quota that can be kept")
}

/// What a quota's text means, and how it is written.
#[track_caller]
fn check(text: &str, expected: Quota, canonical: &str) {
    assert_eq!(text.parse(), Ok(expected), "{text:?}");
    assert_eq!(expected.to_string(), canonical);
    assert_eq!(canonical.parse(), Ok(expected));
    // A quota alone is a policy too.
    assert_eq!(text.parse(), Ok(Policy::from(expected)));
    assert_eq!(Policy::from(expected).to_string(), canonical);
}

/// How a policy's text is written.
#[track_caller]
fn check_policy(text: &str, canonical: &str) {
    let parsed: Policy = text.parse().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(parsed.to_string(), canonical);
    assert_eq!(canonical.parse(), Ok(parsed));
}

/// Where the error of a policy's text is, and what was expected there.
#[track_caller]
fn check_error(text: &str, position: usize, expected: &str) {
    let error = text.parse::<Policy>().expect_err(text);
    let message = error.to_string();
    assert_eq!(error.position(), position, "{message}");
    let (place, said) = message.split_once("expected ").expect("a message says what was expected");
    assert!(said.contains(expected), "{message}, and should expect {expected}");
    assert!(place.contains(&format!("at byte {position}")), "{message}");
    assert!(place.contains(&format!("{:?}", text)), "{message}, and should show the text");
}

#[test]
fn amount_and_period_in_any_case_and_spacing() {
    check("28/second", quota(28, SECOND), "28/second");
    check("28 per second", quota(28, SECOND), "28/second");
    check("28 / second", quota(28, SECOND), "28/second");
    check("  28\tper\nSeconds  ", quota(28, SECOND), "28/second");
    check("2PER1HOUR", quota(2, HOUR), "2/hour");
    check("2 per 1 hour", quota(2, HOUR), "2/hour");
    check("100 per 7 days", quota(100, 7 * DAY), "100/week");
    check("5 / 10 minutes", quota(5, 10 * MINUTE), "5/10 minutes");
    check("5/10minutes", quota(5, 10 * MINUTE), "5/10 minutes");
    check("0/second", quota(0, SECOND), "0/second");
    check("00028/second", quota(28, SECOND), "28/second");
    check("1/3660 days", quota(1, 3660 * DAY), "1/3660 days");
}

#[test]
fn every_unit_has_its_spellings() {
    let units = [
        (1, "ns nanosecond nanoseconds"),
        (1_000, "us microsecond microseconds"),
        (1_000_000, "ms milli millis millisecond milliseconds"),
        (SECOND, "s sec secs second seconds"),
        (MINUTE, "m min mins minute minutes"),
        (HOUR, "h hr hour hours"),
        (DAY, "d day days"),
        (7 * DAY, "w week weeks"),
        (30 * DAY, "month months"),
        (365 * DAY, "year years"),
    ];
    for (period, spellings) in units {
        for spelling in spellings.split(' ') {
            let expected = quota(1, period);
            let canonical = expected.to_string();
            check(&format!("1/{spelling}"), expected, &canonical);
            check(&format!("1 per {}", spelling.to_uppercase()), expected, &canonical);
            let three = quota(3, 3 * period);
            check(&format!("3/3{spelling}"), three, &three.to_string());
        }
    }
}

#[test]
fn display_takes_the_longest_unit_that_divides_the_period() {
    check("1/60 seconds", quota(1, MINUTE), "1/minute");
    check("1/90 seconds", quota(1, 90 * SECOND), "1/90 seconds");
    check("1/1500 ms", quota(1, 1_500_000_000), "1/1500 ms");
    check("1/48 hours", quota(1, 2 * DAY), "1/2 days");
    check("1/14 days", quota(1, 14 * DAY), "1/14 days");
    check("1/2 months", quota(1, 60 * DAY), "1/60 days");
    check("1/12 months", quota(1, 360 * DAY), "1/360 days");
    check("1/365 days", quota(1, 365 * DAY), "1/year");
    check("1/1000001 ns", quota(1, 1_000_001), "1/1000001 ns");
    check("1/2 us", quota(1, 2000), "1/2 us");
}

#[test]
fn burst_and_algorithm_follow_the_period() {
    check("10/second burst 30", quota(10, SECOND).burst(30), "10/second burst 30");
    check("10/second BURST30", quota(10, SECOND).burst(30), "10/second burst 30");
    check("10/second burst 10", quota(10, SECOND), "10/second");
    check("0/second burst 0", quota(0, SECOND), "0/second");
    check("5/minute fixed", quota(5, MINUTE).fixed_window(), "5/minute fixed");
    check("5/minute Fixed Aligned", quota(5, MINUTE).aligned_window(), "5/minute fixed aligned");
    check("5/minute sliding", quota(5, MINUTE).sliding_window(), "5/minute sliding");
    check("5/minute burst 5 sliding", quota(5, MINUTE).sliding_window(), "5/minute sliding");
}

#[test]
fn several_quotas_make_a_policy() {
    check_policy("28/second; 1000/hour", "28/second; 1000/hour");
    check_policy("28/second,1000/hour", "28/second; 1000/hour");
    check_policy("28/second|1000/hour", "28/second; 1000/hour");
    check_policy("28 per second ; 1000 per hour , 5 per day", "28/second; 1000/hour; 5/day");
    check_policy("login: 5/minute", "login: 5/minute");
    check_policy("login :5/minute;100/day sliding", "login: 5/minute; 100/day sliding");
    check_policy("per:5 per 1 s", "per: 5/second");
    check_policy("second: 5/s; burst: 9/s burst 10", "second: 5/second; burst: 9/second burst 10");
    check_policy("a-b_c.9: 5/s", "a-b_c.9: 5/second");
    check_policy(
        "1/s;2/s;3/s;4/s;5/s;6/s;7/s;8/s",
        "1/second; 2/second; 3/second; 4/second; 5/second; 6/second; 7/second; 8/second",
    );
    // A default name and the same name given are one.
    let policy: Policy = "5/minute; second: 5/s".parse().unwrap();
    assert_eq!(policy.quotas().map(|(name, _)| name).collect::<Vec<_>>(), ["5/minute", "second"]);
}

#[test]
fn what_is_not_a_number_is_pointed_at() {
    check_error("", 0, "an amount");
    check_error("   ", 3, "an amount");
    check_error("-5/second", 0, "an amount");
    check_error("/second", 0, "an amount");
    check_error("1.5/second", 1, "'/' or 'per'");
    check_error("5.0/second", 1, "'/' or 'per'");
    check_error("1,000/second", 1, "'/' or 'per'");
    check_error("1_000/second", 1, "'/' or 'per'");
    check_error("5", 1, "'/' or 'per'");
    check_error("5 minutes", 2, "'/' or 'per'");
    check_error("18446744073709551616/second", 0, "at most 18446744073709551615");
    check_error("5/18446744073709551616 seconds", 2, "at most 18446744073709551615");
    check_error("5/s burst", 9, "a burst");
    check_error("5/s burst -1", 10, "a burst");
    check_error("5/s burst 99999999999999999999", 10, "at most 18446744073709551615");
    check_error("٥/second", 0, "an amount");
}

#[test]
fn what_is_not_a_unit_is_pointed_at() {
    check_error("5/", 2, "a unit");
    check_error("5/fortnight", 2, "a unit");
    check_error("5/10", 4, "a unit");
    check_error("5/10/s", 4, "a unit");
    check_error("5/-1 second", 2, "a unit");
    check_error("5/1.5 seconds", 3, "a unit");
    check_error("5 per per second", 6, "a unit");
    check_error("5/ss", 2, "a unit");
    check_error("5/secondss", 2, "a unit");
    check_error("5/msec", 2, "a unit");
    check_error("5/сек", 2, "a unit");
}

#[test]
fn what_follows_a_quota_is_pointed_at() {
    check_error("5/s 6/s", 4, "';' and another quota");
    check_error("5/s aligned", 4, "';' and another quota");
    check_error("5/s sliding burst 5", 12, "';' and another quota");
    check_error("5/s!", 3, "';' and another quota");
    assert_eq!("5/s; 6/s".parse::<Quota>().unwrap_err().position(), 3);
    assert!("5/s; 6/s".parse::<Quota>().unwrap_err().to_string().contains("several quotas make a policy"));
}

#[test]
fn a_separator_stands_between_two_quotas() {
    for mark in [';', ',', '|'] {
        check_error(&format!("5/s{mark}"), 4, "an amount");
        check_error(&format!("{mark}5/s"), 0, "an amount");
        check_error(&format!("5/s{mark}{mark}6/s"), 4, "an amount");
        check_error(&format!("5/s{mark} {mark} 6/s"), 5, "an amount");
        check_error(&mark.to_string(), 0, "an amount");
    }
}

#[test]
fn what_cannot_be_kept_is_refused() {
    check_error("5/0 seconds", 0, "longer than zero");
    check_error("0/0s", 0, "longer than zero");
    check_error("1/3661 days", 0, "at most 3660 days");
    check_error("1/11 years", 0, "at most 3660 days");
    check_error("1/18446744073709551615 years", 2, "at most 10 years");
    check_error("18446744073709551615/second", 0, "at most 1000000000 per second");
    check_error("5/s burst 0", 0, "above zero");
    check_error("0/s burst 5", 0, "above zero");
    check_error("1/year burst 1000", 0, "within 100 years");
    check_error("5/s burst 6 fixed", 0, "has no burst");
    check_error("5/s burst 4 sliding", 0, "has no burst");
    check_error("9999999999999/day fixed", 0, "2^40");
    // In a policy, the quota that cannot be kept is pointed at.
    check_error("5/s; 6/0s", 5, "longer than zero");
    check_error("a: 5/s; b: 6/0s", 11, "longer than zero");
}

#[test]
fn names_are_plain_and_different() {
    check_error(": 5/s", 0, "an amount");
    check_error("9lives: 5/s", 1, "'/' or 'per'");
    check_error("two words: 5/s", 0, "is not a name");
    check_error("naïve: 5/s", 0, "is not a name");
    check_error("a/b: 5/s", 0, "an amount");
    check_error("a: b: 5/s", 3, "an amount");
    check_error("5/s; 5/s", 5, "\"5/second\" is the name of two quotas");
    check_error("5/s; 5/s burst 9", 5, "\"5/second\" is the name of two quotas");
    check_error("x: 5/s; x: 6/s", 8, "\"x\" is the name of two quotas");
    check_error("abcdefghijklmnopqrstuvwxyzabcdef: 5/s", 0, "is not a name");
    check_policy("abcdefghijklmnopqrstuvwxyzabcde: 5/s", "abcdefghijklmnopqrstuvwxyzabcde: 5/second");
    // Names are compared as written.
    check_policy("x: 5/s; X: 5/s", "x: 5/second; X: 5/second");
    check_error("1/s;2/s;3/s;4/s;5/s;6/s;7/s;8/s;9/s", 32, "at most 8 quotas");
}

#[test]
fn a_policy_built_by_hand_keeps_the_same_rules() {
    let check = |names: &[&str], expected: PolicyErrorKind| {
        let policy = Policy::new(names.iter().map(|name| (name, quota(5, SECOND))));
        assert_eq!(policy.map_err(|error| error.kind()), Err(expected));
    };
    check(&[], PolicyErrorKind::NoQuota);
    check(&["a", "b", "a"], PolicyErrorKind::DuplicateName);
    check(&["a", "b", "c", "d", "e", "f", "g", "h", "i"], PolicyErrorKind::TooManyQuotas);
    for name in ["", "9", "-a", "a b", "a:", "5/second", "é", "a\n", "abcdefghijklmnopqrstuvwxyzabcdef"] {
        check(&[name], PolicyErrorKind::BadName);
    }
}

/// Quotas of any period can be constants: neither they nor their error has anything to drop.
#[test]
fn a_quota_can_be_a_constant() {
    const WEEKLY: Quota = match Quota::new(100, Duration::from_secs(7 * 24 * 60 * 60)) {
        Ok(quota) => quota.fixed_window(),
        Err(_) => panic!("cannot be kept"),
    };
    assert_eq!(WEEKLY.to_string(), "100/week fixed");
}

#[test]
fn an_error_shows_a_long_name_cut() {
    let says = |name: &str| Policy::new([(name, quota(5, SECOND))]).unwrap_err().to_string();
    assert!(says("").starts_with("\"\" is not a name"), "{}", says(""));
    assert!(says("two words").starts_with("\"two words\" is not a name"), "{}", says("two words"));
    let long = "x".repeat(32);
    assert!(says(&long).starts_with(&format!("{:?}... is not a name", &long[..31])), "{}", says(&long));
    // Not in the middle of a letter.
    let long = "é".repeat(16);
    assert!(says(&long).starts_with(&format!("{:?}... is not a name", &long[..30])), "{}", says(&long));
}

#[test]
fn an_overlong_text_is_refused_unread() {
    let long = |len: usize| format!("5/s{}", " ".repeat(len - 3));
    assert!(long(1024).parse::<Policy>().is_ok());
    let error = long(1025).parse::<Policy>().unwrap_err();
    assert!(error.to_string().contains("at most 1024 bytes"), "{error}");
    // And an error does not repeat it all, nor split a character.
    for text in ["é".repeat(100_000), "x".repeat(900), "9".repeat(900), "€".repeat(300)] {
        assert!(text.parse::<Policy>().unwrap_err().to_string().len() < 700);
        assert!(text.parse::<Quota>().unwrap_err().to_string().len() < 700);
    }
}

fn any_quota() -> impl Strategy<Value = Quota> {
    let period = prop_oneof![
        prop::sample::select(vec![1, 1000, 1_000_000, SECOND, MINUTE, HOUR, DAY, 7 * DAY, 30 * DAY, 365 * DAY]),
        1..=3660 * DAY,
        (1..=3660_u64).prop_map(|days| days * DAY),
        (1..=1000_u64).prop_map(|seconds| seconds * SECOND),
    ];
    let algorithms =
        vec![Algorithm::TokenBucket, Algorithm::FixedWindow, Algorithm::AlignedWindow, Algorithm::SlidingWindow];
    let amount = prop_oneof![0..100_u64, any::<u64>().prop_map(|number| number >> (number % 64))];
    (amount, period, prop::option::of(1..10_000_u64), prop::sample::select(algorithms)).prop_filter_map(
        "cannot be kept",
        |(amount, period, burst, algorithm)| {
            let quota = Quota::new(amount, Duration::from_nanos(period)).ok()?;
            let quota = burst.map_or(Ok(quota), |burst| quota.try_burst(burst)).unwrap_or(quota);
            quota.try_algorithm(algorithm).ok()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_quota_survives_the_round_trip(quota in any_quota()) {
        let text = quota.to_string();
        prop_assert_eq!(text.parse(), Ok(quota), "{}", text);
        prop_assert_eq!(text.to_uppercase().replace('/', " per ").parse(), Ok(quota));
        prop_assert_eq!(format!("{quota:?}"), format!("Quota({text})"));
    }

    #[test]
    fn every_policy_survives_the_round_trip(
        quotas in prop::collection::btree_map("[a-zA-Z][a-zA-Z0-9._-]{0,30}", any_quota(), 1..=8),
    ) {
        let policy = Policy::new(quotas).expect("good names, all different");
        let text = policy.to_string();
        prop_assert_eq!(text.parse::<Policy>(), Ok(policy), "{}", text);
    }

    /// A quota without a name goes by its amount and period, however long they are.
    #[test]
    fn every_quota_alone_survives_the_round_trip_as_a_policy(quota in any_quota()) {
        let policy = Policy::from(quota);
        prop_assert_eq!(policy.to_string(), quota.to_string());
        prop_assert_eq!(policy.to_string().parse(), Ok(policy));
    }

    #[test]
    fn no_text_panics(text in any::<String>()) {
        let _ = (text.parse::<Quota>(), text.parse::<Policy>());
    }

    #[test]
    fn no_text_that_is_nearly_a_policy_panics(
        text in "(([a-zé]{0,3} ?: ?)?[0-9]{0,21} ?(/|per|-|€) ?[0-9]{0,20} ?(s|ms|day|years|ß|)( burst [0-9]{0,20})?( fixed| sliding)?[;,| ]{0,2}){0,4}",
    ) {
        for parsed in [text.parse::<Policy>(), text.parse::<Quota>().map(Policy::from)] {
            match parsed {
                Ok(policy) => prop_assert_eq!(policy.to_string().parse(), Ok(policy)),
                Err(error) => {
                    prop_assert!(error.position() <= text.len(), "{}", error);
                    prop_assert!(text.is_char_boundary(error.position()), "{}", error);
                }
            }
        }
    }
}
