//! [`Pace`]: how fast a client may go on under several limits together.

use std::time::Duration;

use tollgate::{Algorithm, Clock, Policy, Quota, RateLimiter};

/// How fast a client may go on, and what it is told when it is faster.
#[derive(Debug)]
pub(super) struct Pace {
    /// `28 at once, then one each 35.7 ms`.
    pub(super) text: String,
    /// `Retry-After` of the first denial; none if no wait helps.
    pub(super) retry_after: Option<u64>,
}

/// A limit that acts on a request.
#[derive(Debug)]
pub(super) struct Acting<'a> {
    pub(super) name: &'a str,
    pub(super) policy: &'a Policy,
    pub(super) cost: u64,
}

impl Pace {
    /// The pace under these limits together. None if there is none.
    pub(super) fn of(limits: &[Acting<'_>]) -> Option<Self> {
        let quotas: Vec<(String, &Quota, u64)> = limits.iter().flat_map(quotas).collect();
        let at_once = |(_, quota, cost): &&(String, &Quota, u64)| quota.limit() / (*cost).max(1);
        let smallest = quotas.iter().min_by_key(at_once)?;
        let each = |(_, quota, cost): &&(String, &Quota, u64)| each(quota, *cost).unwrap_or(Duration::MAX);
        let slowest = quotas.iter().max_by_key(each)?;
        let number = at_once(&smallest);
        let text = match (number, &quotas[..]) {
            (0, _) if smallest.1.limit() == 0 => "none passes".to_owned(),
            (0, _) => format!(
                "none passes, since it costs {} and {} grants {} at most",
                smallest.2,
                smallest.0,
                smallest.1.limit()
            ),
            (_, [(_, quota, cost)]) => format!("{number} at once, {}", afterwards(quota, *cost)),
            _ => format!(
                "{number} at once ({}), in the long run one each {} ({})",
                smallest.0,
                human(each(&slowest)),
                slowest.0
            ),
        };
        Some(Self { text, retry_after: retry_after(limits, number) })
    }
}

fn quotas<'a>(limit: &Acting<'a>) -> Vec<(String, &'a Quota, u64)> {
    let one = limit.policy.quotas().len() == 1;
    let name = |quota: &str| if one { limit.name.to_owned() } else { format!("{} {quota}", limit.name) };
    limit.policy.quotas().map(|(quota_name, quota)| (name(quota_name), quota, limit.cost)).collect()
}

/// How long one request takes to be earned.
fn each(quota: &Quota, cost: u64) -> Option<Duration> {
    let nanos = quota.period().as_nanos().checked_mul(u128::from(cost))?.checked_div(u128::from(quota.amount()))?;
    Some(Duration::from_nanos(u64::try_from(nanos).ok()?))
}

fn afterwards(quota: &Quota, cost: u64) -> String {
    let period = human(quota.period());
    match quota.algorithm() {
        Algorithm::TokenBucket => format!("then one each {}", human(each(quota, cost).unwrap_or(Duration::MAX))),
        Algorithm::FixedWindow => format!("then none until {period} after the first"),
        Algorithm::AlignedWindow => format!("then none until the next {period} of the clock begins"),
        _ => format!("then none until they have left the last {period}"),
    }
}

/// What the limiter says to a client that has asked for all that passes at once, and asks once more.
fn retry_after(limits: &[Acting<'_>], at_once: u64) -> Option<u64> {
    let clock = Clock::manual();
    let mut longest = Some(0);
    for limit in limits {
        let limiter = RateLimiter::builder(limit.policy).clock(clock.clone()).capacity(1).build();
        if at_once > 0 {
            let _ = limiter.check_n("client", at_once.saturating_mul(limit.cost));
        }
        if let Err(denied) = limiter.check_n("client", limit.cost) {
            longest = longest.zip(denied.retry_after_secs()).map(|(longest, wait)| longest.max(wait));
        }
    }
    longest
}

/// A time as a person says it: three digits and one unit, or two units.
pub(super) fn human(time: Duration) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let seconds = time.as_secs_f64();
    let digits = |number: f64| {
        let decimals = if number >= 100.0 {
            0
        } else if number >= 10.0 {
            1
        } else {
            2
        };
        let text = format!("{number:.decimals$}");
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
    };
    let two = |big: u64, big_name: &str, small: u64, small_name: &str| {
        let whole = (seconds / small as f64).round() as u64; // centuries at most
        let (first, rest) = (whole / (big / small), whole % (big / small));
        if rest == 0 { format!("{first} {big_name}") } else { format!("{first} {big_name} {rest} {small_name}") }
    };
    match time.as_secs() {
        0 if seconds < 0.000_999_5 => format!("{} µs", digits(seconds * 1e6)),
        0 if seconds < 0.999_5 => format!("{} ms", digits(seconds * 1e3)),
        0..MINUTE => format!("{} s", digits(seconds)),
        MINUTE..HOUR => two(MINUTE, "min", 1, "s"),
        HOUR..DAY => two(HOUR, "h", MINUTE, "min"),
        DAY.. => two(DAY, "d", HOUR, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_said_in_three_digits_or_two_units() {
        for (nanos, expected) in [
            (35_714_285, "35.7 ms"),
            (100_000_000, "100 ms"),
            (1_000, "1 µs"),
            (1_500_000_000, "1.5 s"),
            (12_000_000_000, "12 s"),
            (864_000_000_000, "14 min 24 s"),
            (3_600_000_000_000, "1 h"),
            (5_400_000_000_000, "1 h 30 min"),
            (86_400_000_000_000, "1 d"),
            (999_900_000, "1 s"),
        ] {
            assert_eq!(human(Duration::from_nanos(nanos)), expected);
        }
    }

    #[track_caller]
    fn check(limits: &[(&str, &str, u64)], expected: &str, retry_after: Option<u64>) {
        let policies: Vec<Policy> = limits.iter().map(|(_, policy, _)| policy.parse().unwrap()).collect();
        let acting = limits.iter().zip(&policies).map(|((name, _, cost), policy)| Acting { name, policy, cost: *cost });
        let pace = Pace::of(&acting.collect::<Vec<_>>()).unwrap();
        assert_eq!(pace.text, expected);
        assert_eq!(pace.retry_after, retry_after, "{expected}");
    }

    #[test]
    fn a_pace_is_that_of_the_limits_together() {
        check(&[("client", "28/second", 1)], "28 at once, then one each 35.7 ms", Some(1));
        check(&[("all", "29/second", 1)], "29 at once, then one each 34.5 ms", Some(1));
        check(&[("login", "5/minute fixed", 1)], "5 at once, then none until 1 min after the first", Some(60));
        check(&[("login", "5/minute strict", 1)], "5 at once, then none until they have left the last 1 min", Some(63));
        check(
            &[("client", "28/second", 1), ("login", "5/minute; 100/day", 1)],
            "5 at once (login 5/minute), in the long run one each 14 min 24 s (login 100/day)",
            Some(12),
        );
        check(&[("tokens", "100000/hour", 500)], "200 at once, then one each 18 s", Some(18));
        check(&[("none", "0/second", 1)], "none passes", None);
        check(&[("big", "5/second", 7)], "none passes, since it costs 7 and big grants 5 at most", None);
    }
}
