//! [`RateLimitLayer`]: what is set on the door, and the limiter that all its services share.
//!
//! Here are the setters and what they promise. How it is done is in the files beside this folder.

use std::fmt;
use std::sync::Arc;

use tower_layer::{Layer, Stack};

use super::any_body::AnyBodyLayer;
use super::gate::Gate;
use super::key::{ClientIp, KeyExtractor};
use super::observers::log_last_words;
use super::scope::Scope;
use super::service::RateLimit;
use super::settings::Settings;
use crate::backend::Backend;
use crate::limiter::RateLimiter;
use crate::policy::IntoPolicy;
use crate::quota::Quota;

/// Limits requests before they reach a service, and answers those over the limit itself.
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
///
/// let app: Router = Router::new()
///     .route("/api/fib/{n}", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_second(28));
/// # let _ = app;
/// ```
///
/// Each client has 28 per second here, over all routes together. Without more said, a client is the address at the other
/// end of the connection ([`ClientIp`]). In axum, serve with `app.into_make_service_with_connect_info::<SocketAddr>()`, so
/// that this address is known. A request over the limit is answered `429 Too Many Requests` with `Retry-After` and a line of
/// text. gRPC requests get [gRPC's form](crate::http#grpc) of that answer.
///
/// A layer has one limiter. Clones of the layer share it, and so do all services and routes that are layered with one layer.
/// Two layers that were built separately share nothing. [`RateLimitLayer::sharing`] shares a limiter with other layers and
/// with direct calls.
pub struct RateLimitLayer<K = ClientIp, L = RateLimiter> {
    gate: Arc<Gate<K, L>>,
}

impl RateLimitLayer {
    /// `amount` per second for each client address.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28);
    /// # let _ = layer;
    /// ```
    ///
    /// # Panics
    ///
    /// If `amount` is above 10⁹, as [`Quota::per_second`].
    #[track_caller]
    pub fn per_second(amount: u64) -> Self {
        Self::new(Quota::per_second(amount))
    }

    /// `amount` per minute for each client address.
    ///
    /// # Panics
    ///
    /// As [`Quota::per_minute`].
    #[track_caller]
    pub fn per_minute(amount: u64) -> Self {
        Self::new(Quota::per_minute(amount))
    }

    /// `amount` per hour for each client address.
    ///
    /// # Panics
    ///
    /// As [`Quota::per_hour`].
    #[track_caller]
    pub fn per_hour(amount: u64) -> Self {
        Self::new(Quota::per_hour(amount))
    }

    /// `amount` per day for each client address.
    ///
    /// # Panics
    ///
    /// As [`Quota::per_day`].
    #[track_caller]
    pub fn per_day(amount: u64) -> Self {
        Self::new(Quota::per_day(amount))
    }

    /// A quota or policy for each client address, with a limiter of its own.
    ///
    /// ```
    /// use tollgate::{Policy, Quota, RateLimitLayer};
    ///
    /// let search = RateLimitLayer::new(Quota::per_second(10).burst(30));
    /// // Text can be wrong, so it is parsed first.
    /// let logins = RateLimitLayer::new("5/minute; 100/day".parse::<Policy>()?);
    /// # let _ = (search, logins);
    /// # Ok::<(), tollgate::ParseError>(())
    /// ```
    ///
    /// The limiter remembers 2^20 clients, and reserves 18 MiB of address space for them; see [`capacity`](Self::capacity).
    pub fn new(policy: impl IntoPolicy) -> Self {
        Self::over(RateLimiter::new(policy), true)
    }

    /// How many keys the layer's limiter remembers, from 1 to 2^32, instead of 2^20. Each layer that is not
    /// [sharing](Self::sharing) reserves room for them: 18 bytes of address space a key with one quota, and 9 more with each
    /// further one. They become memory as they are used.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_minute(5).capacity(10_000);
    /// assert!(layer.limiter().stats().capacity < 12_000);
    /// ```
    ///
    /// # Panics
    ///
    /// If the layer is [sharing](Self::sharing) a limiter, whose capacity is set where it is
    /// [built](crate::RateLimiterBuilder::capacity); and if the capacity is 0 or above 2^32.
    #[must_use]
    #[track_caller]
    pub fn capacity(self, keys: usize) -> Self {
        assert!(
            self.gate.settings.owns_limiter,
            "the capacity of a limiter that is shared is set where it is built: RateLimiter::builder(..).capacity({keys})"
        );
        let limiter = RateLimiter::builder(self.limiter().policy()).capacity(keys).build();
        leave_last_words(&limiter);
        self.setting(|settings| settings.limiter = limiter)
    }
}

impl<L: Backend> RateLimitLayer<ClientIp, L> {
    /// A layer that charges this limiter, which other layers and direct calls may charge too.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimitLayer, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(28))
    ///     .name("api")
    ///     .capacity(10_000)
    ///     .build();
    /// let layer = RateLimitLayer::sharing(&limiter);
    /// # let _ = layer;
    /// ```
    pub fn sharing(limiter: &L) -> Self {
        Self::over(limiter.clone(), false)
    }

    fn over(limiter: L, owns_limiter: bool) -> Self {
        leave_last_words(limiter.limiter());
        let settings = Arc::new(Settings::new(limiter, owns_limiter));
        Self { gate: Arc::new(Gate { key: Arc::new(ClientIp::default()), scope: Scope::default(), settings }) }
    }
}

/// Who logs what is left to say of a limiter when it is dropped.
fn leave_last_words(limiter: &RateLimiter) {
    limiter.reports().last_words(|| {
        let name = limiter.name().map(str::to_owned);
        move |unreported| log_last_words(name.as_deref(), unreported)
    });
}

impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Counts by this key instead of the peer's address: an extractor of [`http`](crate::http), a pair or triple of
    /// them, or a closure.
    ///
    /// ```
    /// use tollgate::http::{ClientIp, RouteKey};
    /// use tollgate::RateLimitLayer;
    ///
    /// // Each client has a limit of its own for each route.
    /// let layer = RateLimitLayer::per_minute(600)
    ///     .key((ClientIp::peer(), RouteKey));
    /// # let _ = layer;
    /// ```
    ///
    /// A client that can choose its key can escape the limit. Each extractor says what its client can choose. A closure
    /// must not return what the client wrote, such as the host or a header, unless something checked it before.
    #[must_use]
    pub fn key<K2: KeyExtractor>(self, key: K2) -> RateLimitLayer<K2, L> {
        let Gate { scope, settings, .. } = (*self.gate).clone();
        RateLimitLayer { gate: Arc::new(Gate { key: Arc::new(key), scope, settings }) }
    }

    /// The limiter that this layer charges.
    pub fn limiter(&self) -> &L {
        &self.gate.settings.limiter
    }

    /// Lets the layer stand around services with any response body. It wraps the body in a
    /// [`ResponseBody`](super::ResponseBody). Call this last: all else is set before it.
    ///
    /// Without this, the response keeps its type. Then its body must be able to hold the limiter's answers
    /// ([`AnswerBody`](super::AnswerBody)), as axum's, tonic's, `BoxBody` and `UnsyncBoxBody` can.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::{Request, Response};
    /// use http_body_util::Full;
    /// use tollgate::RateLimitLayer;
    /// use tower::{ServiceBuilder, service_fn};
    ///
    /// async fn hello(
    ///     _: Request<()>,
    /// ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
    ///     Ok(Response::new("hello".into()))
    /// }
    ///
    /// let service = ServiceBuilder::new()
    ///     .layer(RateLimitLayer::per_second(28).any_body())
    ///     .service(service_fn(hello));
    /// # let _ = service;
    /// ```
    pub fn any_body(self) -> Stack<AnyBodyLayer, Self> {
        Stack::new(AnyBodyLayer, self)
    }

    /// Changes what is set beside scope and key.
    fn setting(mut self, change: impl FnOnce(&mut Settings<L>)) -> Self {
        let gate = Arc::make_mut(&mut self.gate);
        change(Arc::make_mut(&mut gate.settings));
        self
    }

    /// Changes which requests are counted.
    fn scoping(mut self, change: impl FnOnce(&mut Scope<L>)) -> Self {
        change(&mut Arc::make_mut(&mut self.gate).scope);
        self
    }
}

impl<K, L> Clone for RateLimitLayer<K, L> {
    fn clone(&self) -> Self {
        Self { gate: self.gate.clone() }
    }
}

impl<K: fmt::Debug, L: fmt::Debug> fmt::Debug for RateLimitLayer<K, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Gate { key, scope, settings } = &*self.gate;
        f.debug_struct("RateLimitLayer").field("key", key).field("scope", scope).field("settings", settings).finish()
    }
}

impl<S, K, L> Layer<S> for RateLimitLayer<K, L> {
    type Service = RateLimit<S, K, L>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.gate.clone())
    }
}

// From common to rare, which is the order in which the documentation shows them. (An empty line keeps one from being sorted
// with the next.)
mod answers;

mod scope;

#[cfg(feature = "axum")]
mod routes;

mod watching;

mod charge;

mod rollout;

#[cfg(feature = "tokio")]
mod delay;

mod admin;
