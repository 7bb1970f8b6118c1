//! [`Watchers`]: those who are told what a layer decides.

use std::fmt;
use std::sync::Arc;

use http::request::Parts;

use super::key::NoKey;
use super::layer::RateLimitLayer;
use crate::decision::{Denied, Status};
use crate::limiter::RateLimiter;
use crate::policy::Policy;
use crate::throttle::Unreported;

/// What became of a request that was looked at. Quotas by their place in the policy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Seen {
    Allowed { quota: usize, near_limit: bool },
    Denied { quota: usize },
    ShadowDenied { quota: usize },
    NoKey,
}

impl Seen {
    pub(super) fn allowed(status: &Status) -> Self {
        Self::Allowed { quota: status.quota_index(), near_limit: is_near_limit(status) }
    }
}

/// Counts what became of requests, in one way or another.
pub(super) trait Watcher: Send + Sync {
    fn saw(&self, seen: Seen);
}

/// Makes the watcher of a layer, when its name and policy are known.
type Enlist = dyn Fn(&str, &Policy) -> Arc<dyn Watcher> + Send + Sync;

type Hook = dyn Fn(&Denied, &Parts) + Send + Sync;

/// Who shall be told.
#[derive(Clone, Default)]
pub(super) struct Audience {
    pub(super) name: Option<Arc<str>>,
    enlist: Vec<Arc<Enlist>>,
    on_denied: Option<Arc<Hook>>,
    on_shadow_denied: Option<Arc<Hook>>,
}

impl Audience {
    pub(super) fn enlist<F>(&mut self, enlist: F)
    where
        F: Fn(&str, &Policy) -> Arc<dyn Watcher> + Send + Sync + 'static,
    {
        self.enlist.push(Arc::new(enlist));
    }

    pub(super) fn watchers(&self, policy: &Policy) -> Watchers {
        let counting = match &*self.enlist {
            [] => Box::default(),
            enlist => {
                let name = self.name.as_deref().map_or_else(|| policy.to_string(), str::to_owned);
                enlist.iter().map(|enlist| enlist(&name, policy)).collect()
            }
        };
        let Self { name, on_denied, on_shadow_denied, .. } = self.clone();
        Watchers { name, counting, on_denied, on_shadow_denied }
    }
}

/// Those who are told what a layer decides.
pub(super) struct Watchers {
    name: Option<Arc<str>>,
    counting: Box<[Arc<dyn Watcher>]>,
    on_denied: Option<Arc<Hook>>,
    on_shadow_denied: Option<Arc<Hook>>,
}

impl Watchers {
    pub(super) fn allowed(&self, status: &Status) {
        if !self.counting.is_empty() {
            self.saw(Seen::allowed(status));
        }
    }

    pub(super) fn denied(&self, denied: &Denied, head: &Parts, limiter: &RateLimiter) {
        self.log_denied(denied, limiter);
        self.saw(Seen::Denied { quota: denied.status.quota_index() });
        if let Some(hook) = &self.on_denied {
            hook(denied, head);
        }
    }

    pub(super) fn shadow_denied(&self, denied: &Denied, head: &Parts, limiter: &RateLimiter) {
        self.log_shadow_denied(denied, limiter);
        self.saw(Seen::ShadowDenied { quota: denied.status.quota_index() });
        if let Some(hook) = &self.on_shadow_denied {
            hook(denied, head);
        }
    }

    /// A request could not be counted.
    pub(super) fn no_key(&self) {
        self.saw(Seen::NoKey);
    }

    fn saw(&self, seen: Seen) {
        for watcher in &self.counting {
            watcher.saw(seen);
        }
    }

    // No keys, and of each kind at most one line per limiter, second and power of ten: a flood of denials must not become a
    // flood of logging.

    fn log_denied(&self, denied: &Denied, limiter: &RateLimiter) {
        if tracing::enabled!(target: "tollgate", tracing::Level::INFO) {
            if let Some(count) = limiter.reports().denials.count(limiter.clock().now()) {
                let (limiter, latest_quota) = (self.name.as_deref(), denied.status().quota());
                tracing::info!(target: "tollgate", limiter, latest_quota, count, "requests over the limit since the last such line");
            }
        }
    }

    fn log_shadow_denied(&self, denied: &Denied, limiter: &RateLimiter) {
        if tracing::enabled!(target: "tollgate", tracing::Level::INFO) {
            if let Some(count) = limiter.reports().shadow_denials.count(limiter.clock().now()) {
                let (limiter, latest_quota) = (self.name.as_deref(), denied.status().quota());
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
    pub(super) fn log_no_key(&self, no_key: &NoKey, limiter: &RateLimiter) {
        let Some(what) = no_key.advice() else { return };
        if let Some(count) = limiter.reports().misconfigured.count(limiter.clock().now()) {
            let limiter = self.name.as_deref();
            const CANNOT: &str = "requests since the last such line cannot be counted";
            match no_key {
                // It may be that these clients have no key and shall have none.
                NoKey::NotInserted(_) => tracing::warn!(target: "tollgate", limiter, count, "{CANNOT}: {what}"),
                _ => tracing::error!(target: "tollgate", limiter, count, "{CANNOT}: {what}"),
            }
        }
    }
}

/// What is left to say when a limiter is dropped.
pub(super) fn log_last_words(limiter: Option<&str>, unreported: Unreported) {
    let Unreported { denials, shadow_denials, misconfigured } = unreported;
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
}

/// Whether more than four fifths of a limit are spent: envoyproxy/ratelimit's `near_limit_ratio` of 0.8.
fn is_near_limit(status: &Status) -> bool {
    let limit = status.limit();
    let spent = limit.saturating_sub(status.remaining());
    spent > (u128::from(limit) * 4 / 5) as u64 // at most the limit
}

impl fmt::Debug for Audience {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Audience")
            .field("name", &self.name)
            .field("watchers", &self.enlist.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Watchers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchers").field("counting", &self.counting.len()).finish_non_exhaustive()
    }
}

/// # Watching
///
/// Nothing here ever names a key, so what is reported stays as small as the program's configuration, whatever
/// clients send. How full the limiter is, and how many keys it had to evict, its [`stats`](crate::RateLimiter::stats) tell.
///
/// Denials are also logged (by `tracing`, target `tollgate`, level `INFO`): in each second the 1st, the 10th, the 100th and so
/// on. The `count` of a line covers all since the last such line of this limiter, and `latest_quota` is what the latest of
/// them exceeded. What no line has covered yet is told when the limiter is dropped.
impl<K> RateLimitLayer<K> {
    /// Names the limit, for counters, metrics and log lines. Without this, counters and metrics go by the policy, as in
    /// `28/second`.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        let name: Arc<str> = name.into().into();
        self.setting(|settings| settings.audience.name = Some(name))
    }

    /// Calls this with each request that is denied, before it is answered. It runs on the request's own task: keep it
    /// short. If it panics, the request's task does; the limiter takes no harm.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28).on_denied(|denied, head| {
    ///     println!("{} denies {} {}", denied.status().quota(), head.method, head.uri.path());
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn on_denied<F>(self, hook: F) -> Self
    where
        F: Fn(&Denied, &Parts) + Send + Sync + 'static,
    {
        self.setting(|settings| settings.audience.on_denied = Some(Arc::new(hook)))
    }

    /// The same for each request that would be denied, but is let pass by [shadow mode](Self::shadow) or by the
    /// percentage of a [rollout](Self::rollout).
    #[must_use]
    pub fn on_shadow_denied<F>(self, hook: F) -> Self
    where
        F: Fn(&Denied, &Parts) + Send + Sync + 'static,
    {
        self.setting(|settings| settings.audience.on_shadow_denied = Some(Arc::new(hook)))
    }
}
