//! Who is told what a layer decides.

use std::sync::Arc;

use http::request::Parts;

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::decision::Denied;
use crate::http::counters::Counters;
use crate::http::observers::Observer;
use crate::policy::Policy;

/// # Watching
///
/// Nothing here names a key. So reports stay as small as the program's configuration, whatever clients send. The limiter's
/// [`stats`](crate::RateLimiter::stats) tell how full it is, and how many keys it had to evict.
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Counts into these counters what becomes of requests, under the limiter's
    /// [name](crate::RateLimiterBuilder::name). Can be called several times, with several counters.
    #[must_use]
    pub fn count_into(self, counters: &Counters) -> Self {
        self.counted(|name, policy| counters.observer(name, policy))
    }

    /// Calls this with each request that is denied, before it is answered. It runs on the request's own task, so keep it
    /// short. A panic in it is the task's; the limiter takes no harm. Do not log here: a client that is denied
    /// a thousand times a second would fill the log. The layer logs denials itself, a few lines a second at most.
    ///
    /// ```
    /// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    /// use tollgate::RateLimitLayer;
    ///
    /// static DENIED_WRITES: AtomicU64 = AtomicU64::new(0);
    ///
    /// let layer = RateLimitLayer::per_second(28).on_denied(|_denied, head| {
    ///     if !head.method.is_safe() {
    ///         DENIED_WRITES.fetch_add(1, Relaxed);
    ///     }
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn on_denied<F>(self, hook: F) -> Self
    where
        F: Fn(&Denied, &Parts) + Send + Sync + 'static,
    {
        self.setting(|settings| settings.observers.on_denied = Some(Arc::new(hook)))
    }

    /// Calls this with each request that would be denied, but that [shadow mode](Self::shadow) or the
    /// percentage of a [rollout](Self::rollout) lets pass.
    #[must_use]
    pub fn on_shadow_denied<F>(self, hook: F) -> Self
    where
        F: Fn(&Denied, &Parts) + Send + Sync + 'static,
    {
        self.setting(|settings| settings.observers.on_shadow_denied = Some(Arc::new(hook)))
    }

    /// Counts what becomes of requests by the [`metrics`](::metrics) facade, under the limiter's
    /// [name](crate::RateLimiterBuilder::name). (Needs the feature `metrics`.)
    ///
    /// | counter | labels | counts requests |
    /// |---|---|---|
    /// | `tollgate_allowed_total` | `limiter` | that passed within the limit |
    /// | `tollgate_denied_total` | `limiter`, `quota` | that this quota denied |
    /// | `tollgate_shadow_denied_total` | `limiter`, `quota` | that this quota would have denied, but for [shadow mode](Self::shadow) or a [rollout](Self::rollout) |
    /// | `tollgate_near_limit_total` | `limiter`, `quota` | allowed that left more than four fifths of this quota's limit spent |
    /// | `tollgate_errors_total` | `limiter` | that had no key |
    ///
    /// The requests looked at are the sum of allowed, denied, shadow-denied and errors. There are no other labels. So there
    /// are as many series as the configuration has limiters and quotas, whatever clients send.
    ///
    /// Install the recorder before you call this. Without a recorder nothing is counted.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28).metrics();
    /// # let _ = layer;
    /// ```
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metrics(self) -> Self {
        self.counted(crate::http::metrics::observer)
    }

    /// Enlists one who counts, for the limiter's name and policy.
    fn counted(self, enlist: impl FnOnce(&str, &Policy) -> Arc<dyn Observer>) -> Self {
        let limiter = self.limiter().limiter();
        let policy = limiter.policy();
        let observer = match limiter.name() {
            Some(name) => enlist(name, &policy),
            None => enlist(&policy.to_string(), &policy),
        };
        self.setting(|settings| settings.observers.counting.push(observer))
    }
}
