//! What a request is charged.

use std::sync::Arc;

use http::request::Parts;
use http::response;

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::http::outcome::Outcome;
use crate::plan::Plan;

/// # Charge
///
/// A request is charged before it is passed on, so that the limit blocks as soon as it is spent. What it cost in the end
/// can be told by its response; the rest of the charge is given back then. Until then the charge stands: requests that are
/// under way together are counted as if each will cost what it was charged, and may be denied for it.
///
/// The charge stays whole when nobody comes to tell: when the client goes away before the response, when the inner
/// service fails with an error instead of a response, or when a closure panics. Nothing more than what was charged can be
/// given back, and what a token bucket refilled meanwhile is not given again, see [`Reservation`](crate::Reservation).
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Charges each request what this says, from its head, instead of 1. All of it is charged or none. A request that
    /// costs 0 passes as if it were [exempt](Self::exempt); one that costs more than the limit can ever grant is denied
    /// for good, and its answer has no `Retry-After`.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // A search through everything costs as much as ten others.
    /// let layer = RateLimitLayer::per_minute(100).cost(|head| match head.uri.query() {
    ///     Some(query) if query.contains("scope=all") => 10,
    ///     _ => 1,
    /// });
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn cost<F>(self, cost: F) -> Self
    where
        F: Fn(&Parts) -> u64 + Send + Sync + 'static,
    {
        self.setting(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// Judges each request by the plan that this says, from its head: one of the [limiter's](crate::RateLimiter::on),
    /// or [none](Plan::UNLIMITED). Without this, the plan is the one that the layer's limiter is on.
    ///
    /// What a request is counted by is the [key](Self::key) as ever, so a client has one account whatever its plan.
    ///
    /// ```
    /// use tollgate::{Plan, Quota, RateLimitLayer, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_minute(10)).plan("pro", Quota::per_minute(1000))?.build();
    /// let pro = limiter.plan("pro").expect("built with it");
    /// // A layer before this one has authenticated the user, and left the plan in the request's extensions.
    /// let layer = RateLimitLayer::sharing(&limiter).plan(move |head| match head.extensions.get::<&str>() {
    ///     Some(&"pro") => pro,
    ///     Some(&"staff") => Plan::UNLIMITED,
    ///     _ => Plan::DEFAULT,
    /// });
    /// # let _ = layer;
    /// # Ok::<(), tollgate::PlanError>(())
    /// ```
    #[must_use]
    pub fn plan<F>(self, plan: F) -> Self
    where
        F: Fn(&Parts) -> Plan + Send + Sync + 'static,
    {
        self.setting(|settings| settings.plan = Some(Arc::new(plan)))
    }

    /// Counts only the requests whose response says so; the charge of others is given back. The limit still blocks before
    /// the handler, once it is spent by those that count.
    ///
    /// ```
    /// use http::StatusCode;
    /// use tollgate::RateLimitLayer;
    ///
    /// // Five wrong passwords a minute. Right ones are free.
    /// let failed_logins = RateLimitLayer::per_minute(5).charge_when(|response| response.status == StatusCode::UNAUTHORIZED);
    /// // A thousand results a day. Errors are free.
    /// let results = RateLimitLayer::per_day(1000).charge_when(|response| response.status.is_success());
    /// # let _ = (failed_logins, results);
    /// ```
    ///
    /// This is Flask-Limiter's `deduct_when`. It is [`settle`](Self::settle) with 0 or nothing, and replaces it.
    #[must_use]
    pub fn charge_when<F>(self, counts: F) -> Self
    where
        F: Fn(&response::Parts) -> bool + Send + Sync + 'static,
    {
        self.settle(move |response| if counts(response) { None } else { Some(0) })
    }

    /// Settles each charge with what the request cost as its response says, from its head: the rest of what was charged,
    /// 1 or its [`cost`](Self::cost), is given back. `None` leaves the charge as it is, or leaves it to
    /// [`settle_by_body`](Self::settle_by_body).
    ///
    /// Let [`cost`](Self::cost) be the most that it can be. A cost above what was charged cannot be charged any more, and
    /// leaves the charge as it is.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // At most 4000 tokens a request; the response says how many there were.
    /// let tokens = RateLimitLayer::per_minute(100_000)
    ///     .cost(|_| 4000)
    ///     .settle(|response| response.headers.get("x-tokens-used")?.to_str().ok()?.parse().ok());
    /// # let _ = tokens;
    /// ```
    #[must_use]
    pub fn settle<F>(self, actual: F) -> Self
    where
        F: Fn(&response::Parts) -> Option<u64> + Send + Sync + 'static,
    {
        self.outcome(|outcome| outcome.by_head = Some(Arc::new(actual)))
    }

    /// Settles each charge with what the response's body cost, by its length in bytes: the rest of what was charged,
    /// 1 or its [`cost`](Self::cost), is given back when the body has been sent, or when the client has gone. What counts is
    /// what the server took from the body by then, in data frames; compression further outside makes it less on the wire.
    ///
    /// As with [`settle`](Self::settle), which goes first if it has an answer, let [`cost`](Self::cost) be the most that it
    /// can be.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // 10 MB a minute, in units of a kilobyte; there is nothing to download that is larger than 1 MB.
    /// let downloads = RateLimitLayer::per_minute(10_000).cost(|_| 1000).settle_by_body(|bytes| bytes.div_ceil(1000));
    /// # let _ = downloads;
    /// ```
    #[must_use]
    pub fn settle_by_body<F>(self, actual: F) -> Self
    where
        F: Fn(u64) -> u64 + Send + Sync + 'static,
    {
        self.outcome(|outcome| outcome.by_body = Some(Arc::new(actual)))
    }

    fn outcome(self, change: impl FnOnce(&mut Outcome)) -> Self {
        self.setting(|settings| change(Arc::make_mut(settings.outcome.get_or_insert_default())))
    }
}
