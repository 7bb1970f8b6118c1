//! Counts by the `metrics` facade.

use std::sync::Arc;

use ::metrics::{Counter, counter, describe_counter};

use super::by_quota::ByQuota;
use super::observers::{Observer, Seen};
use crate::policy::Policy;

const ALLOWED: &str = "tollgate_allowed_total";
const DENIED: &str = "tollgate_denied_total";
const SHADOW_DENIED: &str = "tollgate_shadow_denied_total";
const NEAR_LIMIT: &str = "tollgate_near_limit_total";
const ERRORS: &str = "tollgate_errors_total";

/// One limiter's counters at the program's recorder.
struct Facade {
    limiter: String,
    allowed: Counter,
    errors: Counter,
    quotas: ByQuota<QuotaFacade>,
}

/// One quota's.
struct QuotaFacade {
    denied: Counter,
    shadow_denied: Counter,
    near_limit: Counter,
}

/// Who counts for a limiter.
pub(super) fn observer(limiter: &str, policy: &Policy) -> Arc<dyn Observer> {
    describe_counter!(ALLOWED, "Requests that passed within the limit.");
    describe_counter!(DENIED, "Requests denied, by the quota that denied.");
    describe_counter!(SHADOW_DENIED, "Requests that would have been denied, but were let pass.");
    describe_counter!(NEAR_LIMIT, "Requests allowed that left more than four fifths of the limit spent.");
    describe_counter!(ERRORS, "Requests that could not be counted because they had no key.");
    let counter = |metric: &'static str| counter!(metric, "limiter" => limiter.to_owned());
    let quotas = ByQuota::new(policy.quotas().map(|(name, _)| name), |quota| QuotaFacade::new(limiter, quota));
    Arc::new(Facade { limiter: limiter.to_owned(), allowed: counter(ALLOWED), errors: counter(ERRORS), quotas })
}

impl QuotaFacade {
    fn new(limiter: &str, quota: &str) -> Self {
        let counter =
            |metric: &'static str| counter!(metric, "limiter" => limiter.to_owned(), "quota" => quota.to_owned());
        Self { denied: counter(DENIED), shadow_denied: counter(SHADOW_DENIED), near_limit: counter(NEAR_LIMIT) }
    }
}

impl Facade {
    fn quota(&self, name: &str, count: impl FnOnce(&QuotaFacade) -> &Counter) {
        self.quotas.with(name, |name| QuotaFacade::new(&self.limiter, name), |quota| count(quota).increment(1));
    }
}

impl Observer for Facade {
    fn saw(&self, seen: Seen<'_>) {
        match seen {
            Seen::Allowed => self.allowed.increment(1),
            Seen::NearLimit(quota) => {
                self.allowed.increment(1);
                self.quota(quota, |quota| &quota.near_limit);
            }
            Seen::Denied(quota) => self.quota(quota, |quota| &quota.denied),
            Seen::ShadowDenied(quota) => self.quota(quota, |quota| &quota.shadow_denied),
            Seen::NoKey => self.errors.increment(1),
        }
    }
}
