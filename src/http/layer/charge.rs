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
/// A request is charged before it reaches the service, so the limit blocks as soon as it is spent. The response can say what
/// the request cost in the end. The rest of the charge is given back then. Until then all of it stands: requests that run at
/// the same time are counted by what each was charged, and may be denied for it.
///
/// The charge stays whole if the client goes away before the response, if the inner service fails with an error instead of a
/// response, or if a closure panics. No more than the charge is ever given back. What a token bucket has refilled in
/// the meantime is not given back a second time, see [`Reservation`](crate::Reservation).
///
/// A client must not be able to choose its price. So take the cost from what the server knows: the route that matched, or
/// an extension that a layer outside has set. A path, a query or a header has many spellings, and a test for one of them
/// is easy to get round (`scope=all` is `scope=%61ll` too).
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Charges each request this cost, found from its head, instead of 1. All of it is charged or none. A request that
    /// costs 0 passes as if it were [exempt](Self::exempt). One that costs more than the limit can ever grant is denied
    /// for good, and its answer has no `Retry-After`.
    ///
    /// ```
    /// use axum::{Router, extract::MatchedPath, routing::get};
    /// use http::request::Parts;
    /// use tollgate::RateLimitLayer;
    ///
    /// // A search through everything costs as much as ten others. axum says
    /// // which route matched, so no spelling of the path changes the price.
    /// fn cost(head: &Parts) -> u64 {
    ///     let route = head.extensions.get::<MatchedPath>();
    ///     match route.map(MatchedPath::as_str) {
    ///         Some("/search/everything") => 10,
    ///         _ => 1,
    ///     }
    /// }
    ///
    /// let app: Router = Router::new()
    ///     .route("/search", get(|| async { "..." }))
    ///     .route("/search/everything", get(|| async { "..." }))
    ///     .layer(RateLimitLayer::per_minute(100).cost(cost));
    /// # let _ = app;
    /// ```
    #[must_use]
    pub fn cost<F>(self, cost: F) -> Self
    where
        F: Fn(&Parts) -> u64 + Send + Sync + 'static,
    {
        self.setting(|settings| settings.cost = Some(Arc::new(cost)))
    }

    /// Judges each request by this plan, found from its head: one of the [limiter's](crate::RateLimiter::on),
    /// or [none](Plan::UNLIMITED). Without this, the plan is the one that the layer's limiter is on.
    ///
    /// The [key](Self::key) still says whose account is charged. So a client has one account, whatever its plan.
    ///
    /// ```
    /// use tollgate::http::ExtensionKey;
    /// use tollgate::{Plan, Quota, RateLimitLayer, RateLimiter};
    ///
    /// // Inserted by the layer that checks credentials. It stands outside
    /// // of the limit: in axum it is added after it.
    /// #[derive(Clone)]
    /// struct User {
    ///     id: u64,
    ///     tier: Tier,
    /// }
    /// #[derive(Clone, Copy)]
    /// enum Tier {
    ///     Free,
    ///     Pro,
    ///     Staff,
    /// }
    ///
    /// let limiter = RateLimiter::builder(Quota::per_minute(10))
    ///     .plan("pro", Quota::per_minute(1000))?
    ///     .build();
    /// let pro = limiter.plan("pro").expect("built with it");
    /// let layer = RateLimitLayer::sharing(&limiter)
    ///     .key(ExtensionKey::new(|user: &User| user.id))
    ///     .plan(move |head| match head.extensions.get::<User>() {
    ///         Some(User { tier: Tier::Pro, .. }) => pro,
    ///         Some(User { tier: Tier::Staff, .. }) => Plan::UNLIMITED,
    ///         Some(User { tier: Tier::Free, .. }) | None => Plan::DEFAULT,
    ///     });
    /// # let _ = layer;
    /// # Ok::<(), tollgate::SettingError>(())
    /// ```
    ///
    /// Another limiter's plan counts as the default one, and a line in the log says so once a second.
    #[must_use]
    pub fn plan<F>(self, plan: F) -> Self
    where
        F: Fn(&Parts) -> Plan + Send + Sync + 'static,
    {
        self.setting(|settings| settings.plan = Some(Arc::new(plan)))
    }

    /// Counts only the requests whose response this holds for. The others get their charge back. The limit still blocks
    /// before the handler, once it is spent by those that count.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // Five failed logins a minute. Those that succeed are free.
    /// let failed_logins = RateLimitLayer::per_minute(5)
    ///     .charge_when(|response| !response.status.is_success());
    /// # let _ = failed_logins;
    /// ```
    ///
    /// Name what is free rather than what counts, as here: a status that nobody thought of then counts. If a login
    /// that succeeds is answered by a redirect, let that be free, and make sure that a failed one is not.
    ///
    /// This is Flask-Limiter's `deduct_when`. It is a [`settle`](Self::settle) with 0 or `None`, and replaces an earlier one.
    #[must_use]
    pub fn charge_when<F>(self, counts: F) -> Self
    where
        F: Fn(&response::Parts) -> bool + Send + Sync + 'static,
    {
        self.settle(move |response| if counts(response) { None } else { Some(0) })
    }

    /// Settles each charge with the cost that the response's head tells. The rest of the charge, which was 1 or the
    /// request's [`cost`](Self::cost), is given back. `None` leaves the charge as it is, or leaves it to
    /// [`settle_by_body`](Self::settle_by_body).
    ///
    /// Let [`cost`](Self::cost) be the most that a request can cost. If the response tells more than was charged, the charge
    /// stays as it is.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // Inserted by the handler, into the response's extensions.
    /// #[derive(Clone, Copy)]
    /// struct TokensUsed(u64);
    ///
    /// // At most 4000 tokens a request. Whatever says nothing costs all.
    /// let tokens = RateLimitLayer::per_minute(100_000)
    ///     .cost(|_| 4000)
    ///     .settle(|response| {
    ///         let TokensUsed(used) = response.extensions.get()?;
    ///         Some((*used).max(1))
    ///     });
    /// # let _ = tokens;
    /// ```
    #[must_use]
    pub fn settle<F>(self, actual: F) -> Self
    where
        F: Fn(&response::Parts) -> Option<u64> + Send + Sync + 'static,
    {
        self.outcome(|outcome| outcome.by_head = Some(Arc::new(actual)))
    }

    /// Settles each charge by the length of the response's body in bytes. The rest of the charge, which was 1 or the request's
    /// [`cost`](Self::cost), is given back when the body has been sent, or when the client has gone. The length is what the
    /// server took from the body by then, in data frames. Compression further outside makes it less on the wire.
    ///
    /// Let [`cost`](Self::cost) be the most that a request can cost. Give the closure a floor, as `.max(1)` here: a `HEAD`
    /// and a `304 Not Modified` have no body, and would otherwise be free. Where [`settle`](Self::settle) is set too and has
    /// an answer, that counts instead.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // 10 MB a minute, in units of a kilobyte. Nothing that can be
    /// // downloaded is larger than 1 MB. What has no body costs one unit.
    /// let downloads = RateLimitLayer::per_minute(10_000)
    ///     .cost(|_| 1000)
    ///     .settle_by_body(|bytes| bytes.div_ceil(1000).max(1));
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
