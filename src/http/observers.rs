//! [`Observers`]: those who are told what a layer decides.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::key::NoKey;
use crate::decision::{Denied, Status};
use crate::limiter::RateLimiter;
use crate::throttle::Unreported;

/// What became of a request that was looked at, and by which quota.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen<'a> {
    Allowed,
    /// It was allowed, too.
    NearLimit(&'a str),
    Denied(&'a str),
    ShadowDenied(&'a str),
    NoKey,
}

impl<'a> Seen<'a> {
    pub(super) fn allowed(status: &'a Status) -> Self {
        if is_near_limit(status) { Self::NearLimit(status.quota()) } else { Self::Allowed }
    }
}

/// Counts what became of requests, in one way or another.
pub(super) trait Observer: Send + Sync {
    fn saw(&self, seen: Seen<'_>);
}

type Hook = dyn Fn(&Denied, &Parts) + Send + Sync;

/// Those who are told what a layer decides.
#[derive(Clone, Default)]
pub(super) struct Observers {
    pub(super) counting: Vec<Arc<dyn Observer>>,
    pub(super) on_denied: Option<Arc<Hook>>,
    pub(super) on_shadow_denied: Option<Arc<Hook>>,
}

impl Observers {
    pub(super) fn allowed(&self, status: &Status) {
        if !self.counting.is_empty() {
            self.saw(Seen::allowed(status));
        }
    }

    #[inline]
    pub(super) fn denied(&self, denied: &Denied, head: &Parts, limiter: &RateLimiter) {
        log_denied(denied, limiter);
        if !self.counting.is_empty() {
            self.saw(Seen::Denied(denied.status.quota()));
        }
        if let Some(hook) = &self.on_denied {
            hook(denied, head);
        }
    }

    pub(super) fn shadow_denied(&self, denied: &Denied, head: &Parts, limiter: &RateLimiter) {
        log_shadow_denied(denied, limiter);
        self.saw(Seen::ShadowDenied(denied.status.quota()));
        if let Some(hook) = &self.on_shadow_denied {
            hook(denied, head);
        }
    }

    /// A request could not be counted.
    pub(super) fn no_key(&self) {
        self.saw(Seen::NoKey);
    }

    fn saw(&self, seen: Seen<'_>) {
        for observer in &self.counting {
            observer.saw(seen);
        }
    }
}

// No keys, and of each kind at most one line per limiter, second and power of ten: a flood of denials must not become a
// flood of logging.

#[inline]
fn log_denied(denied: &Denied, limiter: &RateLimiter) {
    if tracing::enabled!(target: "tollgate", tracing::Level::INFO) {
        log_denial(denied, limiter);
    }
}

#[inline(never)]
fn log_denial(denied: &Denied, limiter: &RateLimiter) {
    if let Some(count) = limiter.reports().denials.count(limiter.clock().now()) {
        let (limiter, latest_quota) = (limiter.name(), denied.status().quota());
        tracing::info!(target: "tollgate", limiter, latest_quota, count, "requests over the limit since the last such line");
    }
}

fn log_shadow_denied(denied: &Denied, limiter: &RateLimiter) {
    if tracing::enabled!(target: "tollgate", tracing::Level::INFO) {
        if let Some(count) = limiter.reports().shadow_denials.count(limiter.clock().now()) {
            let (limiter, latest_quota) = (limiter.name(), denied.status().quota());
            tracing::info!(
                target: "tollgate",
                limiter,
                latest_quota,
                count,
                "requests over the limit, let pass, since the last such line"
            );
        }
    }
}

/// Only what the program may have to be changed for is worth a line.
pub(super) fn log_no_key(no_key: &NoKey, limiter: &RateLimiter) {
    let Some(what) = no_key.advice() else { return };
    if let Some(count) = limiter.reports().misconfigured.count(limiter.clock().now()) {
        let limiter = limiter.name();
        const CANNOT: &str = "requests since the last such line cannot be counted";
        match no_key {
            // It may be that these clients have no key and shall have none.
            NoKey::NotInserted(_) => tracing::warn!(target: "tollgate", limiter, count, "{CANNOT}: {what}"),
            _ => tracing::error!(target: "tollgate", limiter, count, "{CANNOT}: {what}"),
        }
    }
}

pub(super) fn log_foreign_plan(limiter: &RateLimiter) {
    if let Some(count) = limiter.reports().foreign_plans.count(limiter.clock().now()) {
        let limiter = limiter.name();
        tracing::error!(
            target: "tollgate",
            limiter,
            count,
            "requests since the last such line were given a plan of another limiter, and judged by the default plan: \
             take plans from the limiter of the layer, by `layer.limiter().plan(name)`"
        );
    }
}

/// What is left to say when a limiter is dropped.
pub(super) fn log_last_words(limiter: Option<&str>, unreported: Unreported) {
    let Unreported { denials, shadow_denials, misconfigured, foreign_plans } = unreported;
    if denials > 0 {
        tracing::info!(
            target: "tollgate",
            limiter,
            count = denials,
            "requests over the limit since the last such line, until the limiter was dropped"
        );
    }
    if shadow_denials > 0 {
        tracing::info!(
            target: "tollgate",
            limiter,
            count = shadow_denials,
            "requests over the limit, let pass, since the last such line, until the limiter was dropped"
        );
    }
    if misconfigured > 0 {
        tracing::error!(
            target: "tollgate",
            limiter,
            count = misconfigured,
            "requests since the last such line could not be counted, until the limiter was dropped"
        );
    }
    if foreign_plans > 0 {
        tracing::error!(
            target: "tollgate",
            limiter,
            count = foreign_plans,
            "requests since the last such line were given a plan of another limiter, until the limiter was dropped"
        );
    }
}

/// Whether more than four fifths of a limit are spent: envoyproxy/ratelimit's `near_limit_ratio` of 0.8.
fn is_near_limit(status: &Status) -> bool {
    let limit = status.limit();
    let spent = limit.saturating_sub(status.remaining());
    spent > (u128::from(limit) * 4 / 5) as u64 // at most the limit
}

impl fmt::Debug for Observers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observers").field("counting", &self.counting.len()).finish_non_exhaustive()
    }
}
