//! What a request is charged.

use std::sync::Arc;

use http::request::Parts;

use super::layer::RateLimitLayer;
use crate::plan::Plan;

/// # Charge
impl<K> RateLimitLayer<K> {
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
}
