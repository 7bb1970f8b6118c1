//! [`History`]: what was counted in the last 15 minutes, in memory of a fixed size.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tollgate::http::LimiterCounts;

use crate::rules::CountsByLimit;

/// How often it is sampled.
pub(super) const EVERY: Duration = Duration::from_secs(5);

/// How far back it goes.
pub(super) const REACH: Duration = Duration::from_secs(15 * 60);

/// The average of so long, or a little more, is told as a rate.
pub(super) const RATE_OVER: Duration = Duration::from_secs(10);

/// One sample more than spans there are between samples.
const SAMPLES: usize = (REACH.as_secs() / EVERY.as_secs()) as usize + 1;

/// As many as rates need.
const LIMIT_SAMPLES: usize = (RATE_OVER.as_secs() / EVERY.as_secs()) as usize + 1;

/// Requests since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Those that no limit denied.
    pub(crate) allowed: u64,
    /// Those that a limit denied.
    pub(crate) denied: u64,
}

/// Requests per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) allowed: f64,
    pub(super) denied: f64,
}

/// The time from one sample to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Span {
    /// How long ago.
    pub(super) began: Duration,
    pub(super) ended: Duration,
    pub(super) rate: Rate,
}

/// What one limit counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LimitTotals {
    pub(super) allowed: u64,
    pub(super) denied: u64,
    pub(super) shadow: u64,
    pub(super) near: u64,
}

/// The same per second, and which part of what it allowed was near the limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct LimitRate {
    pub(super) allowed: f64,
    pub(super) denied: f64,
    pub(super) shadow: f64,
    pub(super) near: f64,
}

pub(super) type TotalsByLimit = HashMap<String, LimitTotals>;

/// What was counted at some moments.
#[derive(Debug)]
pub(super) struct History {
    /// At most [`SAMPLES`], the oldest first.
    samples: VecDeque<(Instant, Totals)>,
    /// At most [`LIMIT_SAMPLES`].
    limits: VecDeque<(Instant, TotalsByLimit)>,
}

impl History {
    pub(super) fn new() -> Self {
        Self { samples: VecDeque::with_capacity(SAMPLES), limits: VecDeque::with_capacity(LIMIT_SAMPLES) }
    }

    /// Takes a sample. Of what no longer matters, it forgets as much.
    pub(super) fn sample(&mut self, now: Instant, totals: Totals, limits: TotalsByLimit) {
        while self.samples.len() >= SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back((now, totals));
        while self.limits.len() >= LIMIT_SAMPLES {
            self.limits.pop_front();
        }
        self.limits.push_back((now, limits));
    }

    /// How many requests there were in each second of late, given how many there have been by now.
    pub(super) fn rate(&self, now: Instant, totals: Totals) -> Rate {
        let before = since(&self.samples, now);
        before.map_or(Rate::default(), |(then, before)| between(*before, totals, now - then))
    }

    /// The same for each limit.
    pub(super) fn limit_rate(&self, now: Instant, name: &str, totals: LimitTotals) -> LimitRate {
        let Some((then, before)) = since(&self.limits, now) else { return LimitRate::default() };
        let (before, seconds) = (before.get(name).copied().unwrap_or_default(), seconds(now - then));
        let per_second = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        let allowed = per_second(before.allowed, totals.allowed);
        let near = per_second(before.near, totals.near);
        LimitRate {
            allowed,
            denied: per_second(before.denied, totals.denied),
            shadow: per_second(before.shadow, totals.shadow),
            near: if allowed > 0.0 { (near / allowed).min(1.0) } else { 0.0 },
        }
    }

    /// What was between samples, and since the last one if that is a second ago, the oldest first. At most 181 spans.
    pub(super) fn spans(&self, now: Instant, totals: Totals) -> Vec<Span> {
        let latest = (now, totals);
        let pairs = self.samples.iter().zip(self.samples.iter().skip(1).chain([&latest]));
        let spans = pairs.map(|((then, before), (at, totals))| Span {
            began: now.saturating_duration_since(*then),
            ended: now.saturating_duration_since(*at),
            rate: between(*before, *totals, at.saturating_duration_since(*then)),
        });
        spans.filter(|span| span.ended < REACH && span.began - span.ended >= Duration::from_secs(1)).collect()
    }
}

/// What all limits have counted by now, by their names.
pub(super) fn limits(counts: &CountsByLimit) -> TotalsByLimit {
    let mut limits = TotalsByLimit::new();
    for counts in counts.snapshot() {
        let limit = limits.entry(counts.name.clone()).or_default();
        add(limit, &counts);
    }
    limits
}

/// A limit has another row of counts after its quotas have changed.
fn add(limit: &mut LimitTotals, counts: &LimiterCounts) {
    limit.allowed += counts.allowed;
    limit.denied += counts.denied();
    limit.shadow += counts.shadow_denied();
    limit.near += counts.near_limit();
}

/// The youngest sample that is old enough for a rate, or else the oldest.
fn since<T>(samples: &VecDeque<(Instant, T)>, now: Instant) -> Option<(Instant, &T)> {
    let old = samples.iter().rev().find(|(at, _)| now.saturating_duration_since(*at) >= RATE_OVER);
    old.or(samples.front()).map(|(at, value)| ((*at).min(now), value))
}

fn between(before: Totals, totals: Totals, time: Duration) -> Rate {
    let per_second = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds(time);
    Rate { allowed: per_second(before.allowed, totals.allowed), denied: per_second(before.denied, totals.denied) }
}

/// Of a moment too short for a rate, one second is made.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(allowed: u64, denied: u64) -> Totals {
        Totals { allowed, denied }
    }

    #[test]
    fn a_rate_is_of_the_last_seconds_and_the_ring_does_not_grow() {
        let start = Instant::now();
        let mut history = History::new();
        assert_eq!(history.rate(start, totals(5, 5)), Rate::default());
        assert!(history.spans(start, totals(5, 5)).is_empty());
        for tick in 0..1000_u32 {
            // 2 a second are allowed, and 3 are denied from the 500th tick on.
            let denied = u64::from(tick.saturating_sub(500)) * 15;
            history.sample(start + EVERY * tick, totals(u64::from(tick) * 10, denied), TotalsByLimit::new());
        }
        let now = start + EVERY * 999;
        assert_eq!(history.rate(now, totals(9990, 499 * 15)), Rate { allowed: 2.0, denied: 3.0 });
        let later = now + Duration::from_secs(2);
        let spans = history.spans(later, totals(9992, 499 * 15 + 4));
        assert_eq!((spans.len(), history.samples.len(), history.limits.len()), (181, 181, 3));
        let span = |began, ended, allowed, denied| Span { began, ended, rate: Rate { allowed, denied } };
        assert_eq!(spans[180], span(later - now, Duration::ZERO, 1.0, 2.0));
        assert_eq!(spans[179], span(later - now + EVERY, later - now, 2.0, 3.0));
        assert_eq!(spans[0].began, REACH + (later - now));
        assert_eq!(history.spans(now + EVERY / 10, totals(9992, 499 * 15)).len(), 180, "too short a time has no rate");
        // A pause is one span, and not filled up with what was before it.
        let long = now + REACH * 2;
        assert_eq!(history.spans(long, totals(9990, 499 * 15)), [span(long - now, Duration::ZERO, 0.0, 0.0)]);
    }

    #[test]
    fn each_limit_has_its_rates() {
        let start = Instant::now();
        let mut history = History::new();
        let before = LimitTotals { allowed: 100, ..LimitTotals::default() };
        history.sample(start, Totals::default(), TotalsByLimit::from([("a".to_owned(), before)]));
        let totals = LimitTotals { allowed: 140, denied: 10, shadow: 5, near: 20 };
        let rate = history.limit_rate(start + RATE_OVER, "a", totals);
        assert_eq!(rate, LimitRate { allowed: 4.0, denied: 1.0, shadow: 0.5, near: 0.5 });
        // One that is new began with nothing; one whose counts began again has no negative rate.
        assert_eq!(history.limit_rate(start + RATE_OVER, "b", totals).allowed, 14.0);
        assert_eq!(history.limit_rate(start + RATE_OVER, "a", LimitTotals::default()), LimitRate::default());
    }
}
