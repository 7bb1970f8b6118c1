//! [`View`]: what is shown, as numbers and words; the page and `/stats` are written from it.

use std::time::{Duration, Instant, SystemTime};

use tollgate::{Offender, RateLimiter, Standing};

use super::ConfigState;
use super::history::{History, LimitRate, LimitTotals, Rate, Span, Totals, TotalsByLimit};
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
    pub(super) rules: Vec<RuleView>,
    /// How many of the keys denied most are kept for each limit; 0 is none.
    pub(super) kept: usize,
    pub(super) offenders: Vec<DeniedKey>,
    pub(super) config: ConfigState,
    /// The store that limits are counted in, if they are not counted in this process.
    pub(super) store: Option<StoreState>,
    /// The last resets, the youngest first.
    pub(super) resets: Vec<Reset>,
    pub(super) now: SystemTime,
}

/// A limit that is in force.
#[derive(Debug)]
pub(super) struct RuleView {
    pub(super) name: String,
    pub(super) line: Option<usize>,
    pub(super) limit: String,
    pub(super) about: String,
    pub(super) key: String,
    pub(super) state: String,
    pub(super) is_shadow: bool,
    pub(super) totals: LimitTotals,
    pub(super) rate: LimitRate,
    /// How many keys it remembers, and can remember, if it is counted in this process.
    pub(super) keys: Option<(usize, usize)>,
}

/// One of the keys that are denied most.
#[derive(Debug)]
pub(super) struct DeniedKey {
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
    /// After this time, if not before.
    Within(Duration),
    /// On some plan never.
    ByPlan,
    /// The store has not said it.
    Unknown,
}

impl Free {
    /// When it passes on one plan or the other, where it is not known which one its sender is on.
    pub(super) fn or(self, other: Self) -> Self {
        match (self.at_most(), other.at_most()) {
            _ if self == other => self,
            (Some(one), Some(other)) => Self::Within(one.max(other)),
            _ => Self::ByPlan,
        }
    }

    fn at_most(self) -> Option<Duration> {
        match self {
            Self::Now => Some(Duration::ZERO),
            Self::In(wait) | Self::Within(wait) => Some(wait),
            Self::Never | Self::ByPlan | Self::Unknown => None,
        }
    }
}

/// A store that proxies share.
#[derive(Clone, Debug)]
pub(super) struct StoreState {
    /// Since when it is known not to answer.
    pub(super) down_since: Option<SystemTime>,
    /// What answers meanwhile, in words.
    pub(super) meanwhile: &'static str,
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
pub(super) fn rules(enforcer: &Enforcer, history: &History, counted: &TotalsByLimit, now: Instant) -> Vec<RuleView> {
    let rules = enforcer.config().limits.iter().enumerate().map(|(at, limit)| {
        let totals = counted.get(&limit.name).copied().unwrap_or_default();
        rule(limit, enforcer.limiter_here(at), totals, history.limit_rate(now, &limit.name, totals))
    });
    rules.collect()
}

/// The keys that are denied most, of all limits, the most first. At most 200.
pub(super) fn most_denied(enforcer: &Enforcer) -> Vec<DeniedKey> {
    let limits = enforcer.config().limits.iter().enumerate();
    let mut all: Vec<_> = limits.flat_map(|(at, limit)| offenders(enforcer, at, limit)).collect();
    all.sort_by(|one, other| other.per_second.total_cmp(&one.per_second));
    all.truncate(DENIED_MAX);
    all
}

/// How many there may be in an answer: each limit may keep a thousand.
const DENIED_MAX: usize = 200;

/// A limit, and what it is doing.
fn rule(limit: &Limit, limiter: Option<&RateLimiter>, totals: LimitTotals, rate: LimitRate) -> RuleView {
    let stats = limiter.map(RateLimiter::stats);
    RuleView {
        name: limit.name.clone(),
        line: limit.line,
        limit: limit.policy.to_string(),
        about: limit.scope.to_string(),
        key: limit.key.to_string(),
        state: state(limit),
        is_shadow: limit.is_shadow(),
        totals,
        rate,
        keys: stats.map(|stats| (stats.len, stats.capacity)),
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

fn offenders(enforcer: &Enforcer, at: usize, limit: &Limit) -> Vec<DeniedKey> {
    let offenders = enforcer.offenders(at).into_iter().map(|offender| DeniedKey {
        rule: limit.name.clone(),
        text: offender.key().to_owned(),
        shown: shown(limit, offender.key()),
        per_second: offender.denied_per_second(),
        overestimate: offender.overestimate(),
        free: match enforcer.limiter_here(at) {
            None => Free::Unknown,
            Some(limiter) => free_on_some_plan(limit, limiter, &offender),
        },
    });
    // Who has not been denied for some ten minutes is none of them any more.
    offenders.filter(|offender| offender.per_second >= 0.001).collect()
}

/// When a request of this key would pass, on whatever plan.
fn free_on_some_plan(limit: &Limit, limiter: &RateLimiter, offender: &Offender) -> Free {
    let plans = limit.plans.iter().flat_map(|plans| &plans.policies);
    let others = plans.filter_map(|(name, _)| limiter.on(limiter.plan(name)?).ok());
    others.fold(free(&limiter.account_of(offender)), |when, limiter| when.or(free(&limiter.account_of(offender))))
}

/// When a request of this key would pass.
pub(super) fn free(account: &tollgate::Account<'_>) -> Free {
    match account.look().map_err(|denied| denied.retry_after()) {
        Ok(()) => Free::Now,
        Err(Some(wait)) => Free::In(wait),
        Err(None) => Free::Never,
    }
}

/// The same, by what a store tells.
pub(super) fn free_there(standing: &Standing) -> Free {
    let spent = standing.iter().filter(|status| status.remaining() == 0).map(|status| status.reset_after());
    spent.max().map_or(Free::Now, Free::Within)
}
