//! [`Counters`]: how many requests were allowed, denied, and so on, by limiter and quota.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::by_quota::ByQuota;
use super::observers::{Observer, Seen};
use crate::policy::Policy;

/// Counts what became of requests, for each limiter that [counts into](super::RateLimitLayer::count_into) it.
///
/// ```
/// use tollgate::{Quota, RateLimitLayer, RateLimiter};
/// use tollgate::http::Counters;
///
/// let counters = Counters::new();
/// let api = RateLimiter::builder(Quota::per_second(28)).name("api").build();
/// let api = RateLimitLayer::sharing(&api).count_into(&counters);
/// let logins = RateLimitLayer::per_minute(5).count_into(&counters);
/// // ... `.layer(api)`, `.layer(logins)`, and some time later:
/// for limiter in counters.snapshot() {
///     let (denied, all) = (limiter.denied(), limiter.looked_at());
///     println!("{}: {denied} of {all} denied", limiter.name);
/// }
/// # let _ = (api, logins);
/// ```
///
/// They are cheap to clone, and clones share everything. A request costs one addition, to a number that all threads share.
/// Limiters of the same name and with the same quotas are counted as one. A quota that a new policy brings is added.
#[derive(Clone, Default)]
pub struct Counters {
    rows: Arc<Mutex<Vec<Arc<Row>>>>,
}

/// The counts of one limiter.
#[derive(Debug)]
struct Row {
    name: String,
    allowed: AtomicU64,
    errors: AtomicU64,
    quotas: ByQuota<QuotaRow>,
}

#[derive(Debug, Default)]
struct QuotaRow {
    denied: AtomicU64,
    shadow_denied: AtomicU64,
    near_limit: AtomicU64,
}

/// What one limiter counted since its counters were made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterCounts {
    /// The limiter's [name](crate::RateLimiterBuilder::name), or its policy as it was when the layer was told to count.
    pub name: String,
    /// Requests that passed within the limit.
    pub allowed: u64,
    /// Requests that could not be counted because they had no key, whether they were refused or let pass. (Not those
    /// that [share one](super::WhenNoKey::Share).)
    pub errors: u64,
    /// Requests denied, by the name of the quota that denied them. Every quota of the policy is in it.
    pub denied_by: BTreeMap<String, u64>,
    /// Requests that this quota would have denied, but for [shadow mode](super::RateLimitLayer::shadow) or a
    /// [rollout](super::RateLimitLayer::rollout).
    pub shadow_denied_by: BTreeMap<String, u64>,
    /// Requests that were allowed and left more than four fifths of this quota's limit spent, as envoyproxy/ratelimit's
    /// `near_limit` counts them. If there are several quotas, the one that has least left is looked at.
    pub near_limit_by: BTreeMap<String, u64>,
}

impl LimiterCounts {
    /// Requests looked at: allowed, denied, shadow-denied and errors. What is exempt or outside the percentage
    /// [looked at](super::Rollout) is not among them.
    pub fn looked_at(&self) -> u64 {
        self.allowed + self.errors + self.denied() + self.shadow_denied()
    }

    /// Requests denied, by any quota.
    pub fn denied(&self) -> u64 {
        self.denied_by.values().sum()
    }

    /// Requests that would have been denied, by any quota.
    pub fn shadow_denied(&self) -> u64 {
        self.shadow_denied_by.values().sum()
    }

    /// Requests allowed near a limit, of any quota.
    pub fn near_limit(&self) -> u64 {
        self.near_limit_by.values().sum()
    }
}

impl Counters {
    /// No counts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been counted, by limiter, in the order in which their layers were told to count. Requests being counted
    /// at the same moment may be in it or not.
    pub fn snapshot(&self) -> Vec<LimiterCounts> {
        self.rows.lock().iter().map(|row| row.counts()).collect()
    }

    /// What has been counted for the first limiter of this name, if there is one.
    pub fn limiter(&self, name: &str) -> Option<LimiterCounts> {
        self.rows.lock().iter().find(|row| row.name == name).map(|row| row.counts())
    }

    /// Who counts for this limiter.
    pub(super) fn observer(&self, name: &str, policy: &Policy) -> Arc<dyn Observer> {
        let quotas = || policy.quotas().map(|(name, _)| name);
        let mut rows = self.rows.lock();
        if let Some(row) = rows.iter().find(|row| row.name == name && row.quotas.are(quotas())) {
            return row.clone();
        }
        let row = Arc::new(Row {
            name: name.to_owned(),
            allowed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            quotas: ByQuota::new(quotas(), |_| QuotaRow::default()),
        });
        rows.push(row.clone());
        row
    }
}

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.snapshot()).finish()
    }
}

// Relaxed: each number is by itself; a reader sees each at some moment of its own.
impl Row {
    fn counts(&self) -> LimiterCounts {
        let by_quota = |count: fn(&QuotaRow) -> &AtomicU64| {
            self.quotas.map(|name, quota| (name.to_owned(), count(quota).load(Relaxed))).into_iter().collect()
        };
        LimiterCounts {
            name: self.name.clone(),
            allowed: self.allowed.load(Relaxed),
            errors: self.errors.load(Relaxed),
            denied_by: by_quota(|quota| &quota.denied),
            shadow_denied_by: by_quota(|quota| &quota.shadow_denied),
            near_limit_by: by_quota(|quota| &quota.near_limit),
        }
    }

    fn quota(&self, name: &str, count: impl FnOnce(&QuotaRow) -> &AtomicU64) {
        self.quotas.with(
            name,
            |_| QuotaRow::default(),
            |quota| {
                count(quota).fetch_add(1, Relaxed);
            },
        );
    }
}

impl Observer for Row {
    fn saw(&self, seen: Seen<'_>) {
        match seen {
            Seen::Allowed => {
                self.allowed.fetch_add(1, Relaxed);
            }
            Seen::NearLimit(quota) => {
                self.allowed.fetch_add(1, Relaxed);
                self.quota(quota, |quota| &quota.near_limit);
            }
            Seen::Denied(quota) => self.quota(quota, |quota| &quota.denied),
            Seen::ShadowDenied(quota) => self.quota(quota, |quota| &quota.shadow_denied),
            Seen::NoKey => {
                self.errors.fetch_add(1, Relaxed);
            }
        }
    }
}
