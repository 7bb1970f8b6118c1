//! Limits as text: what is understood, how it is written back, and what an error says.

use std::time::Duration;

use proptest::prelude::*;
use tollgate::{Algorithm, Clock, Policy, PolicyError, Quota, RateLimiter};

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

/// Where the error of a policy's text is, and what it says.
#[track_caller]
fn check_error(text: &str, position: usize, expected: &str) {
    let error = text.parse::<Policy>().expect_err(text);
    let message = error.to_string();
    assert_eq!(error.position(), position, "{message}");
    assert!(message.contains(expected), "{message}, and should say {expected}");
    assert!(message.contains(&format!("byte {position}")), "{message}");
    assert!(message.contains(&format!("{:?}", text)), "{message}, and should show the text");
    assert!(message.ends_with(error.problem()), "{message}, and the problem is {}", error.problem());
    assert!(text[position..].starts_with(error.near()), "{message}, and near is {:?}", error.near());
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
    check("5/minute strict", quota(5, MINUTE).strict(), "5/minute strict");
    check("5 PER Minute STRICT", quota(5, MINUTE).strict(), "5/minute strict");
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
fn a_separator_stands_between_two_quotas() {
    for mark in [';', ',', '|'] {
        check_error(&format!("5/s{mark}"), 3, &format!("a quota after '{mark}'"));
        check_error(&format!("{mark}5/s"), 0, &format!("a quota before '{mark}'"));
        check_error(&format!("5/s{mark}{mark}6/s"), 4, &format!("a quota between '{mark}' and '{mark}'"));
        check_error(&format!("5/s{mark} {mark} 6/s"), 5, &format!("a quota between '{mark}' and '{mark}'"));
        check_error(&mark.to_string(), 0, &format!("a quota before '{mark}'"));
    }
}

#[test]
fn names_are_plain_and_different() {
    check_error(&format!("a{}: 5/s", "b".repeat(31)), 0, "is not a name");
    check_policy("abcdefghijklmnopqrstuvwxyzabcde: 5/s", "abcdefghijklmnopqrstuvwxyzabcde: 5/second");
    // Names are compared as written.
    check_policy("x: 5/s; X: 5/s", "x: 5/second; X: 5/second");
    // Words of the grammar are names where a colon says so.
    check_policy("then: 5/s; burst: 6/s burst 7; per: 7/s", "then: 5/second; burst: 6/second burst 7; per: 7/second");
}

#[test]
fn a_policy_built_by_hand_keeps_the_same_rules() {
    let built = |names: &[&str]| Policy::new(names.iter().map(|name| (name, quota(5, SECOND))));
    assert_eq!(built(&[]), Err(PolicyError::NoQuota));
    assert!(matches!(built(&["a", "b", "a"]), Err(PolicyError::DuplicateName { .. })));
    assert_eq!(built(&["a", "b", "c", "d", "e", "f", "g", "h", "i"]), Err(PolicyError::TooManyQuotas));
    for name in ["", "9", "-a", "a b", "a:", "5/second", "é", "a\n", "abcdefghijklmnopqrstuvwxyzabcdef"] {
        assert!(matches!(built(&[name]), Err(PolicyError::BadName { .. })), "{name}");
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
    let algorithms = vec![
        Algorithm::TokenBucket,
        Algorithm::FixedWindow,
        Algorithm::AlignedWindow,
        Algorithm::SlidingWindow,
        Algorithm::StrictWindow,
    ];
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
        text in "(([a-zé]{0,3} ?: ?)?[0-9]{0,21} ?(/|per|-|€) ?[0-9]{0,20} ?(s|ms|day|years|ß|)( burst [0-9]{0,20})?( fixed| sliding| strict)?[;,| ]{0,2}){0,4}",
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

/// Every message whole, as it stands in front of somebody who edits a file.
#[test]
fn what_an_error_says() {
    #[rustfmt::skip]
    let messages = [
        (
            "",
            r#"at the end (byte 0): expected a limit, as in "28/second""#,
        ),
        (
            "-5/second",
            r#"at byte 0, near "-5/second": expected an amount, a whole number, as in "28/second""#,
        ),
        (
            "/second",
            r#"at byte 0, near "/second": expected an amount, a whole number, as in "28/second""#,
        ),
        (
            "0.5/second",
            r#"at byte 0, near "0.5": an amount is a whole number; write "1/2 seconds""#,
        ),
        (
            ".5/second",
            r#"at byte 0, near ".5/second": an amount is a whole number; write "1/2 seconds""#,
        ),
        (
            "1.5/minute",
            r#"at byte 0, near "1.5": an amount is a whole number; write "3/2 minutes""#,
        ),
        (
            "5.0/second",
            r#"at byte 0, near "5.0": an amount is a whole number; write "5/second""#,
        ),
        (
            "0,5/second",
            r#"at byte 0, near "0,5": an amount is a whole number; write "1/2 seconds""#,
        ),
        (
            "1,000/hour",
            r#"at byte 0, near "1,000": an amount is written without ','; write "1000/hour""#,
        ),
        (
            "1_000/hour",
            r#"at byte 0, near "1_000": an amount is written without '_'; write "1000/hour""#,
        ),
        (
            "1'000/hour",
            r#"at byte 0, near "1'000": an amount is written without '''; write "1000/hour""#,
        ),
        (
            "1.000/hour",
            r#"at byte 0, near "1.000": an amount is a whole number; write "1/hour", or "1000/hour" if the '.' separates thousands"#,
        ),
        (
            "1.500/hour",
            r#"at byte 0, near "1.500": an amount is a whole number; write "3/2 hours", or "1500/hour" if the '.' separates thousands"#,
        ),
        (
            "1,000,000 per day",
            r#"at byte 0, near "1,000,000": an amount is written without ','; write "1000000/day""#,
        ),
        (
            "1.000.000 per day",
            r#"at byte 0, near "1.000.000": an amount is written without '.'; write "1000000/day""#,
        ),
        (
            "1,00/hour",
            r#"at byte 0, near "1,00": an amount is a whole number; write "1/hour""#,
        ),
        (
            "1_000",
            r#"at byte 0, near "1_000": an amount is written without '_'; write "1000""#,
        ),
        (
            "1.5",
            r#"at byte 0, near "1.5": an amount is a whole number; half a request per second is "1/2 seconds""#,
        ),
        (
            "1.5/fortnight",
            r#"at byte 0, near "1.5": an amount is a whole number; half a request per second is "1/2 seconds""#,
        ),
        (
            "0.5 per 10 minutes",
            r#"at byte 0, near "0.5": an amount is a whole number; write "1/20 minutes""#,
        ),
        (
            "0.0000000000000000000001/s",
            r#"at byte 0, near "0.0000000000000000000001": an amount is a whole number; half a request per second is "1/2 seconds""#,
        ),
        (
            "99999999999999.5/s",
            r#"at byte 0, near "99999999999999.5": an amount is a whole number; half a request per second is "1/2 seconds""#,
        ),
        (
            "1 000/hour",
            r#"at byte 2, near "000": an amount is written without spaces, as in "1000/hour""#,
        ),
        (
            "5",
            r#"at the end (byte 1): expected '/' or 'per' and then a period, as in "28/second""#,
        ),
        (
            "5 minutes",
            r#"at byte 2, near "minutes": expected '/' or 'per' and then a period, as in "28/second""#,
        ),
        (
            "5 requests per second",
            r#"at byte 2, near "requests": leave out "requests"; expected '/' or 'per' and then a period, as in "28/second""#,
        ),
        (
            "5 req/s",
            r#"at byte 2, near "req": leave out "req"; expected '/' or 'per' and then a period, as in "28/second""#,
        ),
        (
            "10k/s",
            r#"at byte 2, near "k": an amount is written out, as in "10000/second""#,
        ),
        (
            "5/",
            "at the end (byte 2): expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)",
        ),
        (
            "5/fortnight",
            r#"at byte 2, near "fortnight": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "5/minuts",
            r#"at byte 2, near "minuts": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "minute""#,
        ),
        (
            "5/secnd",
            r#"at byte 2, near "secnd": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "second""#,
        ),
        (
            "5/10",
            "at the end (byte 4): expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)",
        ),
        (
            "5/1.5 seconds",
            r#"at byte 2, near "1.5": a period is a whole number of units; write "1500 ms""#,
        ),
        (
            "5/0.5 minutes",
            r#"at byte 2, near "0.5": a period is a whole number of units; write "30 seconds""#,
        ),
        (
            "5/.1 days",
            r#"at byte 2, near ".1": a period is a whole number of units; write "144 minutes""#,
        ),
        (
            "5/1,5 s",
            r#"at byte 2, near "1,5": a period is a whole number of units; write "1500 ms""#,
        ),
        (
            "5/1_000 ms",
            r#"at byte 2, near "1_000": a multiple of a unit is written without '_'; write "1000""#,
        ),
        (
            "5/1,000 ms",
            r#"at byte 2, near "1,000": a multiple of a unit is written without ','; write "1000""#,
        ),
        (
            "5/0.3 ns",
            r#"at byte 2, near "0.3": a multiple of a unit is a whole number"#,
        ),
        (
            "5/-1 second",
            r#"at byte 2, near "-1": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "5 per per second",
            r#"at byte 6, near "per": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "5/s burst",
            r#"at the end (byte 9): expected a burst, a whole number, as in "28/second burst 50""#,
        ),
        (
            "5/s burst -1",
            r#"at byte 10, near "-1": expected a burst, a whole number, as in "28/second burst 50""#,
        ),
        (
            "5/s burst 1_000",
            r#"at byte 10, near "1_000": a burst is written without '_'; write "1000""#,
        ),
        (
            "5/s burst 1.5",
            r#"at byte 10, near "1.5": a burst is a whole number"#,
        ),
        (
            "5/s burst 1,000",
            r#"at byte 12, near "000": a number is written without ',' between its digits"#,
        ),
        (
            "5/s burst 1,000/hour",
            r#"at byte 12, near "000": a number is written without ',' between its digits"#,
        ),
        (
            "5/s burst 5 burst 6",
            r#"at byte 12, near "burst": a quota has one burst"#,
        ),
        (
            "5/s brust 6",
            r#"at byte 4, near "brust": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end; perhaps "burst""#,
        ),
        (
            "5/s sliding burst 5",
            r#"at byte 12, near "burst": a window admits its amount and has no burst; leave out the burst, or use a token bucket"#,
        ),
        (
            "5/s fixed burst 5",
            r#"at byte 10, near "burst": a window admits its amount and has no burst; leave out the burst, or use a token bucket"#,
        ),
        (
            "5/s burst 6 sliding",
            r#"at byte 10, near "6": a window admits its amount and has no burst; leave out the burst, or use a token bucket"#,
        ),
        (
            "5/s sliding fixed",
            r#"at byte 12, near "fixed": a quota has one algorithm"#,
        ),
        (
            "5/s fixed sliding",
            r#"at byte 10, near "sliding": a quota has one algorithm"#,
        ),
        (
            "5/s sliding aligned",
            r#"at byte 12, near "aligned": only a fixed window is aligned, as in "100/day fixed aligned""#,
        ),
        (
            "5/s aligned",
            r#"at byte 4, near "aligned": only a fixed window is aligned, as in "100/day fixed aligned""#,
        ),
        (
            "5/s slidng",
            r#"at byte 4, near "slidng": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end; perhaps "sliding""#,
        ),
        (
            "5/s then block 2m",
            r#"at byte 4, near "then": 'then' is not supported yet"#,
        ),
        (
            "concurrency 5",
            r#"at byte 0, near "concurrency": 'concurrency' is not supported yet"#,
        ),
        (
            "5/s; concurrency 5",
            r#"at byte 5, near "concurrency": 'concurrency' is not supported yet"#,
        ),
        (
            "uploads: concurrency 5",
            r#"at byte 9, near "concurrency": 'concurrency' is not supported yet"#,
        ),
        (
            "unlimited",
            r#"at byte 0, near "unlimited": expected an amount, a whole number, as in "28/second""#,
        ),
        (
            "login 5/minute",
            r#"at byte 0, near "login": a name ends with ':', as in "login: 5/minute""#,
        ),
        (
            ": 5/s",
            r#"at byte 0, near ":": expected a name before ':', as in "login: 5/minute""#,
        ),
        (
            "5/s; : 6/s",
            r#"at byte 5, near ":": expected a name before ':', as in "login: 5/minute""#,
        ),
        (
            "login:: 5/s",
            r#"at byte 6, near ":": a quota has one name and one ':', as in "login: 5/minute""#,
        ),
        (
            "login: signup: 5/s",
            r#"at byte 7, near "signup": a quota has one name and one ':', as in "login: 5/minute""#,
        ),
        (
            "a:b:c: 5/s",
            r#"at byte 2, near "b": a quota has one name and one ':', as in "login: 5/minute""#,
        ),
        (
            "9lives: 5/s",
            r#"at byte 0, near "9lives": "9lives" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "-a: 5/s",
            r#"at byte 0, near "-a": "-a" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "two words: 5/s",
            r#"at byte 0, near "two words": "two words" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "naïve: 5/s",
            r#"at byte 0, near "naïve": "naïve" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "api/v1: 5/s",
            r#"at byte 0, near "api/v1": "api/v1" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            r#""login": 5/s"#,
            r#"at byte 0, near "\"login\"": "\"login\"" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "5/s: 6/s",
            r#"at byte 3, near ":": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end"#,
        ),
        (
            "5/s name: 6/s",
            r#"at byte 4, near "name": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end"#,
        ),
        (
            "5/s;",
            r#"at byte 3, near ";": expected a quota after ';', or no ';'"#,
        ),
        (
            ";5/s",
            r#"at byte 0, near ";5/s": expected a quota before ';', as in "28/second""#,
        ),
        (
            "5/s;;6/s",
            r#"at byte 4, near ";6/s": expected a quota between ';' and ';'"#,
        ),
        (
            "5/s; ,6/s",
            r#"at byte 5, near ",6/s": expected a quota between ';' and ','"#,
        ),
        (
            "|",
            r#"at byte 0, near "|": expected a quota before '|', as in "28/second""#,
        ),
        (
            "5/s 6/s",
            r#"at byte 4, near "6": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end"#,
        ),
        (
            "5/s!",
            r#"at byte 3, near "!": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end"#,
        ),
        (
            "5/s; 5/s",
            r#"at byte 5, near "5": two quotas without a name go by "5/second"; give each a name of its own, as in "burst: 5/second; daily: 100/day""#,
        ),
        (
            "5/s; 5/s burst 9",
            r#"at byte 5, near "5": two quotas without a name go by "5/second"; give each a name of its own, as in "burst: 5/second; daily: 100/day""#,
        ),
        (
            "x: 5/s; x: 6/s",
            r#"at byte 8, near "x": two quotas are called "x"; give each a name of its own, as in "burst: 5/second; daily: 100/day""#,
        ),
        (
            "5/0 seconds",
            r#"at byte 2, near "0": a period must be longer than zero"#,
        ),
        (
            "5/0s",
            r#"at byte 2, near "0": a period must be longer than zero"#,
        ),
        (
            "1/3661 days",
            r#"at byte 2, near "3661": a period is at most 3660 days (ten years)"#,
        ),
        (
            "1/18446744073709551615 years",
            r#"at byte 2, near "18446744073709551615": a period is at most 3660 days (ten years)"#,
        ),
        (
            "18446744073709551616/s",
            r#"at byte 0, near "18446744073709551616": a number is at most 18446744073709551615"#,
        ),
        (
            "18446744073709551615/s",
            r#"at byte 0, near "18446744073709551615": a rate is at most 1000000000 per second"#,
        ),
        (
            "5/s burst 0",
            r#"at byte 10, near "0": burst and amount must both be above zero; to deny everything, write an amount of 0 and no burst"#,
        ),
        (
            "0/s burst 5",
            r#"at byte 10, near "5": burst and amount must both be above zero; to deny everything, write an amount of 0 and no burst"#,
        ),
        (
            "1/year burst 1000",
            r#"at byte 13, near "1000": a burst must refill within 100 years at the quota's rate"#,
        ),
        (
            "9999999999999/day fixed",
            r#"at byte 0, near "9999999999999": a window's amount is at most 2^40 (1099511627776); use a token bucket"#,
        ),
        (
            "1/s;2/s;3/s;4/s;5/s;6/s;7/s;8/s;9/s",
            r#"at byte 32, near "9": a policy has at most 8 quotas"#,
        ),
        (
            "5/µs",
            r#"at byte 2, near "µs": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "5/msec",
            r#"at byte 2, near "msec": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "sec""#,
        ),
        (
            "5/sec.",
            r#"at byte 5, near ".": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end"#,
        ),
        (
            "login:",
            r#"at the end (byte 6): expected an amount, a whole number, as in "28/second""#,
        ),
        (
            "login",
            r#"at byte 0, near "login": expected an amount, a whole number, as in "28/second""#,
        ),
        (
            "5/second # comment",
            r##"at byte 9, near "#": expected ';' and another quota, 'burst', 'fixed', 'sliding', 'strict' or the end"##,
        ),
        (
            "   ",
            r#"at the end (byte 3): expected a limit, as in "28/second""#,
        ),
        (
            "1.5/second",
            r#"at byte 0, near "1.5": an amount is a whole number; write "3/2 seconds""#,
        ),
        (
            "1,000/second",
            r#"at byte 0, near "1,000": an amount is written without ','; write "1000/second""#,
        ),
        (
            "1_000/second",
            r#"at byte 0, near "1_000": an amount is written without '_'; write "1000/second""#,
        ),
        (
            "18446744073709551616/second",
            r#"at byte 0, near "18446744073709551616": a number is at most 18446744073709551615"#,
        ),
        (
            "5/18446744073709551616 seconds",
            r#"at byte 2, near "18446744073709551616": a number is at most 18446744073709551615"#,
        ),
        (
            "5/s burst 99999999999999999999",
            r#"at byte 10, near "99999999999999999999": a number is at most 18446744073709551615"#,
        ),
        (
            "٥/second",
            r#"at byte 0, near "٥/second": expected an amount, a whole number, as in "28/second""#,
        ),
        (
            "5/10/s",
            r#"at byte 4, near "/s": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "5/ss",
            r#"at byte 2, near "ss": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "5/secondss",
            r#"at byte 2, near "secondss": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us); perhaps "second""#,
        ),
        (
            "5/сек",
            r#"at byte 2, near "сек": expected a unit: ms, second, minute, hour, day, week, month or year (or ns, us)"#,
        ),
        (
            "0/0s",
            r#"at byte 2, near "0": a period must be longer than zero"#,
        ),
        (
            "1/11 years",
            r#"at byte 2, near "11": a period is at most 3660 days (ten years)"#,
        ),
        (
            "18446744073709551615/second",
            r#"at byte 0, near "18446744073709551615": a rate is at most 1000000000 per second"#,
        ),
        (
            "5/s burst 6 fixed",
            r#"at byte 10, near "6": a window admits its amount and has no burst; leave out the burst, or use a token bucket"#,
        ),
        (
            "5/s burst 4 sliding",
            r#"at byte 10, near "4": a window admits its amount and has no burst; leave out the burst, or use a token bucket"#,
        ),
        (
            "5/s; 6/0s",
            r#"at byte 7, near "0": a period must be longer than zero"#,
        ),
        (
            "a: 5/s; b: 6/0s",
            r#"at byte 13, near "0": a period must be longer than zero"#,
        ),
        (
            "a/b: 5/s",
            r#"at byte 0, near "a/b": "a/b" is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "a: b: 5/s",
            r#"at byte 3, near "b": a quota has one name and one ':', as in "login: 5/minute""#,
        ),
        (
            "abcdefghijklmnopqrstuvwxyzabcdef: 5/s",
            r#"at byte 0, near "abcdefghijklmnopqrstuvwxyzabcdef": "abcdefghijklmnopqrstuvwxyzabcde"... is not a name; a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"#,
        ),
        (
            "5/s|",
            r#"at byte 3, near "|": expected a quota after '|', or no '|'"#,
        ),
        (
            "|5/s",
            r#"at byte 0, near "|5/s": expected a quota before '|', as in "28/second""#,
        ),
        (
            "5/s||6/s",
            r#"at byte 4, near "|6/s": expected a quota between '|' and '|'"#,
        ),
        (
            "5/s,",
            r#"at byte 3, near ",": expected a quota after ',', or no ','"#,
        ),
        (
            "5/s| | 6/s",
            r#"at byte 5, near "|": expected a quota between '|' and '|'"#,
        ),
        (
            "login: 0.5/second",
            r#"at byte 7, near "0.5": an amount is a whole number; write "1/2 seconds""#,
        ),
    ];
    for (text, says) in messages {
        let error = text.parse::<Policy>().expect_err(text);
        assert_eq!(error.to_string(), format!("invalid limit {text:?}: {says}"));
    }
}

#[test]
fn what_an_error_says_of_one_quota() {
    let check = |text: &str, says: &str| {
        let error = text.parse::<Quota>().expect_err(text);
        assert_eq!(error.to_string(), format!("invalid limit {text:?}: {says}"));
    };
    check("", r#"at the end (byte 0): expected a limit, as in "28/second""#);
    check("login: 5/s", r#"at byte 0, near "login": one quota alone has no name; a policy's quotas have"#);
    check("5/s; 6/s", r#"at byte 3, near ";": expected the end: this is one quota; several make a policy"#);
    check("5/s foo", r#"at byte 4, near "foo": expected 'burst', 'fixed', 'sliding', 'strict' or the end"#);
}

/// What an error says to write instead of a number is a limit, and means what was meant.
#[test]
fn what_an_error_says_to_write_can_be_written() {
    let check = |text: &str, expected: Quota| {
        let message = text.parse::<Policy>().unwrap_err().to_string();
        let (_, rest) = message.split_once("write \"").expect(&message);
        let (instead, _) = rest.split_once('"').expect(&message);
        assert_eq!(instead.parse(), Ok(expected), "{message}");
    };
    check("0.5/second", quota(1, 2 * SECOND));
    check("0.25 per 10 minutes", quota(1, 40 * MINUTE));
    check("2.50/hour", quota(5, 2 * HOUR));
    check("0.001/s", quota(1, 1000 * SECOND));
    check("0.0/s", quota(0, SECOND));
    check("1_000/hour", quota(1000, HOUR));
    check("1_0/hour", quota(10, HOUR));
    check("12,345,678 / 2 days", quota(12_345_678, 2 * DAY));
}

/// The table in the documentation of `Quota`, and the times in that of `Policy`.
#[test]
fn what_clients_are_said_to_see_is_what_they_see() {
    let asked = |policy: &str, seconds: u64| {
        let clock = Clock::manual();
        let policy: Policy = policy.parse().unwrap();
        let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build();
        let (mut passed, mut first_wait) = (Vec::new(), None);
        for second in 0..seconds {
            match limiter.check("somebody") {
                Ok(_) => passed.push(second),
                Err(denied) => {
                    first_wait.get_or_insert(denied.retry_after_secs());
                }
            }
            clock.advance(Duration::from_secs(1));
        }
        (passed, first_wait.flatten())
    };
    let check =
        |quota: &str, passed: &[u64], wait| assert_eq!(asked(quota, 121), (passed.to_vec(), Some(wait)), "{quota}");
    check("3/minute", &[0, 1, 2, 20, 40, 60, 80, 100, 120], 17);
    check("3/minute burst 1", &[0, 20, 40, 60, 80, 100, 120], 19);
    check("3/minute burst 6", &[0, 1, 2, 3, 4, 5, 20, 40, 60, 80, 100, 120], 14);
    check("3/minute fixed", &[0, 1, 2, 60, 61, 62, 120], 57);
    check("3/minute sliding", &[0, 1, 2, 80, 100, 120], 77);
    check("3/minute strict", &[0, 1, 2, 63, 64, 65], 60);

    let (passed, wait) = asked("5/minute; 100/day", 6 * 3600);
    assert_eq!((&passed[..7], wait), (&[0, 1, 2, 3, 4, 12, 24][..], Some(7)));
    // The day's amount has refilled by one meanwhile.
    assert_eq!((passed[100], passed[100] / 60), (1152, 19));
    let paces: Vec<u64> = passed[102..].windows(2).map(|two| two[1] - two[0]).collect();
    assert!(paces.iter().all(|pace| *pace == 864), "{paces:?}");
}
