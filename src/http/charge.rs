//! What a request is charged.

use std::sync::Arc;

use http::request::Parts;

use super::layer::RateLimitLayer;

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
}
