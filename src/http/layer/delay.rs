//! Waiting on the layer.

use std::sync::Arc;

use super::RateLimitLayer;
use crate::http::gate::Gate;
use crate::limiter::RateLimiter;
use crate::wait::{Delay, Delayed};

/// # Delay
impl<K> RateLimitLayer<K, RateLimiter> {
    /// Delays requests over the limit, first come first served, instead of denying them, as long as that takes no longer
    /// than allowed. (Needs the feature `tokio`.)
    ///
    /// ```
    /// use std::time::Duration;
    /// use axum::{Router, routing::get};
    /// use tollgate::wait::Delay;
    /// use tollgate::{Quota, RateLimitLayer};
    ///
    /// // 10 at once, and 10 per second from then on, in an even flow: at
    /// // most 5 wait for each client.
    /// let limit = RateLimitLayer::new(Quota::per_second(10));
    /// let app: Router = Router::new()
    ///     .route("/search", get(|| async { "results" }))
    ///     .layer(limit.delay(Delay::up_to(Duration::from_millis(500))));
    /// # let _ = app;
    /// ```
    ///
    /// A request takes its place in the queue of its key when the service is called. Who would have to wait too long, and
    /// so could not be served in time, gets the usual denial at once; its `Retry-After` counts those who wait.
    /// What the queue does and does not promise is said in [`wait`](crate::wait).
    ///
    /// Under [shadow mode](Self::shadow), and where a [rollout](Self::rollout) does not act, nothing is delayed: a request
    /// that would be delayed or denied passes, uncharged, and is reported as shadow-denied. Requests that
    /// [`when`](Self::when) has left to another layer before this is called are decided as that one says, without delay.
    ///
    /// # A request that waits holds a place
    ///
    /// It does so until it passes, until its time is over, or until the server drops it because its client has gone. A
    /// server does not always notice that: hyper reads no further while a request's body has not been read, so a `POST`
    /// whose client has gone keeps its place for as long as it may be delayed, and is charged when its turn comes. Keep
    /// the delay short, and the [places for each key](Delay::waiters_per_key) few, where strangers can send bodies.
    pub fn delay(self, delay: Delay) -> RateLimitLayer<K, Delayed> {
        let Gate { key, scope, settings } = &*self.gate;
        let settings = settings.over(Delayed::new(settings.limiter.clone(), delay));
        RateLimitLayer { gate: Arc::new(Gate { key: key.clone(), scope: scope.over(), settings: Arc::new(settings) }) }
    }
}

#[cfg(feature = "axum")]
impl axum::response::IntoResponse for crate::wait::NotReady {
    /// That of its [`denied`](Self::denied).
    fn into_response(self) -> axum::response::Response {
        self.denied.into_response()
    }
}
