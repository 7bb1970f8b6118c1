//! Counts by the `metrics` facade.

use std::sync::Arc;

use ::metrics::{Counter, counter, describe_counter};

use super::layer::RateLimitLayer;
use super::watch::{Seen, Watcher};
use crate::policy::Policy;

const ALLOWED: &str = "tollgate_allowed_total";
const DENIED: &str = "tollgate_denied_total";
const SHADOW_DENIED: &str = "tollgate_shadow_denied_total";
const NEAR_LIMIT: &str = "tollgate_near_limit_total";
const ERRORS: &str = "tollgate_errors_total";

/// One limiter's counters at the program's recorder.
struct Facade {
    allowed: Counter,
    errors: Counter,
    quotas: Box<[Quota]>,
}

struct Quota {
    denied: Counter,
    shadow_denied: Counter,
    near_limit: Counter,
}

impl Facade {
    fn new(name: &str, policy: &Policy) -> Self {
        describe_counter!(ALLOWED, "Requests that passed within the limit.");
        describe_counter!(DENIED, "Requests denied, by the quota that denied.");
        describe_counter!(SHADOW_DENIED, "Requests that would have been denied, but were let pass.");
        describe_counter!(NEAR_LIMIT, "Requests allowed that left more than four fifths of the limit spent.");
        describe_counter!(ERRORS, "Requests that could not be counted because they had no key.");
        let limiter = |metric: &'static str| counter!(metric, "limiter" => name.to_owned());
        let quota = |metric: &'static str, quota: &str| counter!(metric, "limiter" => name.to_owned(), "quota" => quota.to_owned());
        let quotas = policy.quotas().map(|(name, _)| Quota {
            denied: quota(DENIED, name),
            shadow_denied: quota(SHADOW_DENIED, name),
            near_limit: quota(NEAR_LIMIT, name),
        });
        Self { allowed: limiter(ALLOWED), errors: limiter(ERRORS), quotas: quotas.collect() }
    }
}

impl Watcher for Facade {
    fn saw(&self, seen: Seen) {
        let quota = |at: usize| self.quotas.get(at);
        let counter = match seen {
            Seen::Allowed { quota: at, near_limit } => {
                if let (true, Some(quota)) = (near_limit, quota(at)) {
                    quota.near_limit.increment(1);
                }
                Some(&self.allowed)
            }
            Seen::Denied { quota: at } => quota(at).map(|quota| &quota.denied),
            Seen::ShadowDenied { quota: at } => quota(at).map(|quota| &quota.shadow_denied),
            Seen::NoKey => Some(&self.errors),
        };
        if let Some(counter) = counter {
            counter.increment(1);
        }
    }
}

/// # Metrics
impl<K> RateLimitLayer<K> {
    /// Counts what becomes of requests by the [`metrics`](::metrics) facade, under the layer's [name](Self::named):
    ///
    /// | counter | labels | counts requests |
    /// |---|---|---|
    /// | `tollgate_allowed_total` | `limiter` | that passed within the limit |
    /// | `tollgate_denied_total` | `limiter`, `quota` | that this quota denied |
    /// | `tollgate_shadow_denied_total` | `limiter`, `quota` | that this quota would have denied, but for [shadow mode](Self::shadow) or a [rollout](Self::rollout) |
    /// | `tollgate_near_limit_total` | `limiter`, `quota` | allowed that left more than four fifths of this quota's limit spent |
    /// | `tollgate_errors_total` | `limiter` | that had no key |
    ///
    /// What was looked at is the sum of allowed, denied, shadow-denied and errors. There are no other labels, so there
    /// are as many series as the configuration has limiters and quotas, whatever clients send.
    ///
    /// The counters are found when the layer is applied to a service: install the recorder before that. Without a recorder
    /// nothing is counted.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28).named("api").metrics();
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn metrics(self) -> Self {
        self.setting(|settings| settings.audience.enlist(|name, policy| Arc::new(Facade::new(name, policy))))
    }
}
