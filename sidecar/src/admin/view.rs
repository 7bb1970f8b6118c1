//! [`View`]: what is shown, as numbers and words; the page and `/stats` are written from it.

use std::time::{Duration, Instant, SystemTime};

use tollgate::RateLimiter;

use super::ConfigState;
use super::history::{History, LimitRate, LimitTotals, Limits, Rate, Span, Totals};
use super::keys::shown;
use crate::config::{Limit, Percent};
use crate::rules::Enforcer;

/// What is shown at one moment.
#[derive(Debug)]
pub(super) struct View {
    /// The name of this machine or pod.
    pub(super) host: Option<String>,
    pub(super) up_for: Duration,
    pub(super) totals: Totals,
    pub(super) rate: Rate,
    pub(super) history: Vec<Span>,
    pub(super) rules: Vec<Rule>,
    /// How many of the keys denied most are kept for each limit; 0 is none.
    pub(super) kept: usize,
    pub(super) offenders: Vec<Denied>,
    pub(super) config: ConfigState,
    /// The last resets, the youngest first.
    pub(super) resets: Vec<Reset>,
    pub(super) now: SystemTime,
}

/// A limit that is in force.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) name: String,
    pub(super) line: Option<usize>,
    pub(super) limit: String,
    pub(super) about: String,
    pub(super) key: String,
    pub(super) state: String,
    pub(super) is_shadow: bool,
    pub(super) totals: LimitTotals,
    pub(super) rate: LimitRate,
    pub(super) keys: usize,
    pub(super) keys_max: usize,
}

/// One of the keys that are denied most.
#[derive(Debug)]
pub(super) struct Denied {
    pub(super) rule: String,
    /// Its text, by which it is found again.
    pub(super) text: String,
    pub(super) shown: String,
    pub(super) per_second: f64,
    pub(super) overestimate: f64,
    pub(super) free: Free,
}

/// When a key passes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Free {
    Now,
    In(Duration),
    Never,
    /// That depends on the plan of who asks.
    ByPlan,
}

/// A key was reset.
#[derive(Clone, Debug)]
pub(super) struct Reset {
    pub(super) at: SystemTime,
    pub(super) rule: String,
    pub(super) shown: String,
}

impl View {
    /// Whether a limit denies something now.
    pub(super) fn is_denying(&self) -> bool {
        self.rate.denied > 0.0
    }
}

/// The limits in force, and what they are doing.
pub(super) fn rules(enforcer: &Enforcer, history: &History, counted: &Limits, now: Instant) -> Vec<Rule> {
    let rules = enforcer.limiters().map(|(limit, limiter)| {
        let totals = counted.get(&limit.name).copied().unwrap_or_default();
        rule(limit, limiter, totals, history.limit_rate(now, &limit.name, totals))
    });
    rules.collect()
}

/// The keys that are denied most, of all limits, the most first. At most 200.
pub(super) fn most_denied(enforcer: &Enforcer) -> Vec<Denied> {
    let mut all: Vec<_> = enforcer.limiters().flat_map(|(limit, limiter)| offenders(limit, limiter)).collect();
    all.sort_by(|one, other| other.per_second.total_cmp(&one.per_second));
    all.truncate(DENIED_MAX);
    all
}

/// How many there may be in an answer: each limit may keep a thousand.
const DENIED_MAX: usize = 200;

/// A limit, and what it is doing.
fn rule(limit: &Limit, limiter: &RateLimiter, totals: LimitTotals, rate: LimitRate) -> Rule {
    let stats = limiter.stats();
    Rule {
        name: limit.name.clone(),
        line: limit.line,
        limit: limit.policy.to_string(),
        about: limit.scope.to_string(),
        key: limit.key.to_string(),
        state: state(limit),
        is_shadow: limit.is_shadow(),
        totals,
        rate,
        keys: stats.len,
        keys_max: stats.capacity,
    }
}

/// Whether and on which requests a limit acts, in words.
fn state(limit: &Limit) -> String {
    match (limit.enabled, limit.enforced) {
        (Percent::NONE, _) => "off".to_owned(),
        (Percent::ALL, Percent::ALL) => "enforced".to_owned(),
        (Percent::ALL, Percent::NONE) => "shadow: denies nothing".to_owned(),
        (enabled, Percent::NONE) => format!("shadow: denies nothing, looks at {enabled}"),
        (Percent::ALL, enforced) => format!("enforced on {enforced}"),
        (enabled, enforced) => format!("enforced on {enforced} of {enabled}"),
    }
}

fn offenders(limit: &Limit, limiter: &RateLimiter) -> Vec<Denied> {
    let offenders = limiter.offenders().into_iter();
    let offenders = offenders.map(|offender| Denied {
        rule: limit.name.clone(),
        text: offender.key().to_owned(),
        shown: shown(limit, offender.key()),
        per_second: offender.denied_per_second(),
        overestimate: offender.overestimate(),
        free: if limit.plans.is_some() { Free::ByPlan } else { free(&limiter.account_of(&offender)) },
    });
    // Who has not been denied for some ten minutes is none of them any more.
    offenders.filter(|offender| offender.per_second >= 0.001).collect()
}

/// When a request of this key would pass.
pub(super) fn free(account: &tollgate::Account<'_>) -> Free {
    match account.look().map_err(|denied| denied.retry_after()) {
        Ok(()) => Free::Now,
        Err(Some(wait)) => Free::In(wait),
        Err(None) => Free::Never,
    }
}
