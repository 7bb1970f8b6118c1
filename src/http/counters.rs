//! [`Counters`]: how many requests were allowed, denied, and so on, by limiter and quota.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::layer::RateLimitLayer;
use super::watch::{Seen, Watcher};
use crate::policy::Policy;

/// Counts what became of requests, for each limiter that [counts into](RateLimitLayer::count_into) it.
///
/// ```
/// use tollgate::RateLimitLayer;
/// use tollgate::http::Counters;
///
/// let counters = Counters::new();
/// let api = RateLimitLayer::per_second(28).named("api").count_into(&counters);
/// let logins = RateLimitLayer::per_minute(5).named("logins").count_into(&counters);
/// // ... `.layer(api)`, `.layer(logins)`, and some time later:
/// for limiter in counters.snapshot() {
///     println!("{}: {} of {} denied", limiter.name, limiter.denied(), limiter.looked_at());
/// }
/// # let _ = (api, logins);
/// ```
///
/// Cheap to clone; clones share everything. A request costs one addition, to a number that all threads share. Layers of
/// the same name and with the same quotas are counted as one; a layer is listed from when it is first applied to a service.
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
    quotas: Box<[QuotaRow]>,
}

#[derive(Debug)]
struct QuotaRow {
    name: String,
    denied: AtomicU64,
    shadow_denied: AtomicU64,
    near_limit: AtomicU64,
}

/// What one limiter counted since its counters were made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimiterCounts {
    /// The layer's [name](RateLimitLayer::named), or its policy.
    pub name: String,
    /// Requests that passed within the limit.
    pub allowed: u64,
    /// Requests that could not be counted because they had no key, whether they were refused or let pass. (Not those
    /// that [share one](super::WhenNoKey::Share).)
    pub errors: u64,
    /// By quota, in the policy's order.
    pub quotas: Vec<QuotaCounts>,
}

/// What one quota of a limiter counted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct QuotaCounts {
    /// The quota's name in the policy, when the layer was applied.
    pub name: String,
    /// Requests that it denied.
    pub denied: u64,
    /// Requests that it would have denied, but for [shadow mode](RateLimitLayer::shadow) or a
    /// [rollout](RateLimitLayer::rollout).
    pub shadow_denied: u64,
    /// Requests allowed that left their key with more than four fifths of the quota's limit spent, as
    /// envoyproxy/ratelimit's `near_limit`. Of several quotas, the one that has least left is looked at.
    pub near_limit: u64,
}

impl LimiterCounts {
    /// Requests looked at: allowed, denied, shadow-denied and errors. What is exempt or outside the percentage
    /// [looked at](super::Rollout) is not among them.
    pub fn looked_at(&self) -> u64 {
        self.allowed + self.errors + self.denied() + self.shadow_denied()
    }

    /// Requests denied, by any quota.
    pub fn denied(&self) -> u64 {
        self.quotas.iter().map(|quota| quota.denied).sum()
    }

    /// Requests that would have been denied, by any quota.
    pub fn shadow_denied(&self) -> u64 {
        self.quotas.iter().map(|quota| quota.shadow_denied).sum()
    }

    /// Requests allowed near a limit, of any quota.
    pub fn near_limit(&self) -> u64 {
        self.quotas.iter().map(|quota| quota.near_limit).sum()
    }
}

impl Counters {
    /// No counts yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has been counted, by limiter, in the order in which their layers were first applied. Requests being counted
    /// at the same moment may be in it or not.
    pub fn snapshot(&self) -> Vec<LimiterCounts> {
        self.rows.lock().iter().map(|row| row.counts()).collect()
    }

    /// What has been counted for the first limiter of this name, if there is one.
    pub fn limiter(&self, name: &str) -> Option<LimiterCounts> {
        self.rows.lock().iter().find(|row| row.name == name).map(|row| row.counts())
    }

    /// The row of this name and these quotas.
    fn row(&self, name: &str, policy: &Policy) -> Arc<Row> {
        let mut rows = self.rows.lock();
        let same_quotas =
            |row: &Row| row.quotas.iter().map(|quota| &*quota.name).eq(policy.quotas().map(|(name, _)| name));
        if let Some(row) = rows.iter().find(|row| row.name == name && same_quotas(row)) {
            return row.clone();
        }
        let row = Arc::new(Row::new(name, policy));
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
    fn new(name: &str, policy: &Policy) -> Self {
        let quotas = policy.quotas().map(|(name, _)| QuotaRow {
            name: name.to_owned(),
            denied: AtomicU64::new(0),
            shadow_denied: AtomicU64::new(0),
            near_limit: AtomicU64::new(0),
        });
        Self { name: name.to_owned(), allowed: AtomicU64::new(0), errors: AtomicU64::new(0), quotas: quotas.collect() }
    }

    fn counts(&self) -> LimiterCounts {
        let quotas = self.quotas.iter().map(|quota| QuotaCounts {
            name: quota.name.clone(),
            denied: quota.denied.load(Relaxed),
            shadow_denied: quota.shadow_denied.load(Relaxed),
            near_limit: quota.near_limit.load(Relaxed),
        });
        LimiterCounts {
            name: self.name.clone(),
            allowed: self.allowed.load(Relaxed),
            errors: self.errors.load(Relaxed),
            quotas: quotas.collect(),
        }
    }
}

impl Watcher for Row {
    fn saw(&self, seen: Seen) {
        let quota = |at: usize| self.quotas.get(at);
        let count = match seen {
            Seen::Allowed { quota: at, near_limit } => {
                if let (true, Some(quota)) = (near_limit, quota(at)) {
                    quota.near_limit.fetch_add(1, Relaxed);
                }
                Some(&self.allowed)
            }
            Seen::Denied { quota: at } => quota(at).map(|quota| &quota.denied),
            Seen::ShadowDenied { quota: at } => quota(at).map(|quota| &quota.shadow_denied),
            Seen::NoKey => Some(&self.errors),
        };
        if let Some(count) = count {
            count.fetch_add(1, Relaxed);
        }
    }
}

impl<K> RateLimitLayer<K> {
    /// Counts what becomes of requests into these counters, under the layer's [name](Self::named). May be called several
    /// times, with several counters.
    #[must_use]
    pub fn count_into(self, counters: &Counters) -> Self {
        let counters = counters.clone();
        self.setting(|settings| settings.audience.enlist(move |name, policy| counters.row(name, policy)))
    }
}
