//! Waiting on the layer.

use std::sync::Arc;
use std::time::Duration;

use super::RateLimitLayer;
use crate::backend::{Backend, Delay};
use crate::http::gate::Gate;

/// # Delay
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Delays requests over the limit instead of denying them, first come first served, where the wait is no longer than
    /// this allows. (Needs the feature `tokio`.)
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use tollgate::{Quota, RateLimitLayer};
    ///
    /// // 10 at once, and then 10 per second in an even flow. Within half a
    /// // second 5 pass, so no more than 5 of a client wait.
    /// let limit = RateLimitLayer::new(Quota::per_second(10));
    /// let app: Router = Router::new()
    ///     .route("/search", get(|| async { "results" }))
    ///     .layer(limit.delay(Duration::from_millis(500)));
    /// # let _ = app;
    /// ```
    ///
    /// A request takes its place in the queue of its key when the service is called. A request that would have to wait too
    /// long gets the usual denial at once. Its `Retry-After` counts those who wait.
    /// The module [`wait`](crate::wait) says what the queue promises.
    ///
    /// Under [shadow mode](Self::shadow), and where a [rollout](Self::rollout) does not act, nothing is delayed. A request
    /// that would be delayed or denied passes, uncharged, and is reported as shadow-denied. Where [`when`](Self::when) was
    /// called before this, its layer decides its requests without delay.
    ///
    /// # A request that waits holds a place
    ///
    /// It holds its place until it passes, until its time is over, or until the server drops it because its client has
    /// gone. A server does not always notice that. hyper notices it over HTTP/2, and over HTTP/1.1 where the request has no
    /// body or all of it was read. While a body waits to be read, hyper does not look at the connection. So a `POST` of
    /// HTTP/1.1 whose client has gone keeps its place for as long as it may be delayed, and is charged when its turn comes.
    /// The layer cannot look either: what it read of the body to find its end would be lost to the service.
    ///
    /// Where strangers can send bodies, keep the delay short, half a second or so, and the
    /// [places for each key](crate::RateLimiterBuilder::waiters_per_key) few. Then the dead take nothing from other keys, and
    /// an honest request with the same key is served or told within that time. Or put a layer outside of this one that
    /// reads the whole body first, with a bound on its length and on the time.
    // `D` is written apart, so that the compiler says by `Delay`'s own words what cannot delay.
    pub fn delay<D>(self, up_to: Duration) -> RateLimitLayer<K, D>
    where
        L: Delay<Delayed = D>,
        D: Backend,
    {
        let Gate { key, scope, settings, .. } = &*self.gate;
        let settings = settings.over(settings.limiter.delayed(up_to));
        RateLimitLayer { gate: Arc::new(Gate::new(key.clone(), scope.over(), Arc::new(settings))) }
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for crate::wait::NotReady {
    /// That of its [`denied`](Self::denied).
    fn into_response(self) -> axum::response::Response {
        self.denied().into_response()
    }
}
