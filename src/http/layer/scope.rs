//! Which requests a layer counts, and which it leaves to another.

use std::sync::Arc;

use http::Method;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::request::Parts;

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::http::decide::Decide;
use crate::http::key::KeyExtractor;

/// # Scope
///
/// A layer counts every request that reaches it, unless told otherwise here. What is exempt passes without a key, a charge,
/// a count or a header, as if the layer were not there.
///
/// | a limit for | is said by |
/// |---|---|
/// | the whole application, or the routes of one router | `router.layer(limit)`, after the routes it shall cover |
/// | one route | `get(fib).layer(limit)` |
/// | several routes together | clones of one layer: `get(a).layer(limit.clone())`, `get(b).layer(limit)` |
/// | each route by itself | one layer on the router, with [`RouteKey`](crate::http::RouteKey) in its key |
/// | all routes but some | [`exempt_route`](Self::exempt_route), [`exempt`](Self::exempt), or add those routes after `.layer(limit)` |
/// | all routes, and another for some | [`for_route`](Self::for_route), [`when`](Self::when), or add those routes after `.layer(limit)` |
/// | some methods | `post(create).layer(limit)` inside a `MethodRouter`, or [`methods`](Self::methods) |
///
/// (Those that name routes need the feature `axum`.) A layer on a route and one on its router both count: the outer one
/// decides first, and cannot know what it will find inside. So a route that shall have its own limit *instead* of the
/// application's must not stand under it. Either its limit is said where the application's is, by
/// [`for_route`](Self::for_route), or it is added to the router after the layer, as `axum` has it that a layer covers what
/// was there before it:
///
/// ```
/// use axum::Router;
/// use axum::routing::{get, post};
/// use tollgate::RateLimitLayer;
///
/// let app: Router = Router::new()
///     .route("/search", get(|| async { "..." }))
///     .route("/about", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_second(28)) // both of these
///     .route("/login", post(|| async { "..." }).layer(RateLimitLayer::per_minute(5))) // its own instead
///     .route("/health", get(|| async { "fine" })); // none
/// # let _ = app;
/// ```
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Exempts the requests for which this holds, also from what [`when`](Self::when) would apply to them. May be called
    /// several times: a request is exempt if any of the closures says so.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::per_second(28).exempt(|head| head.uri.path().starts_with("/static/"));
    /// # let _ = layer;
    /// ```
    #[must_use]
    pub fn exempt<F>(self, is_exempt: F) -> Self
    where
        F: Fn(&Parts) -> bool + Send + Sync + 'static,
    {
        self.scoping(|scope| scope.exempt.push(Arc::new(is_exempt)))
    }

    /// Exempts CORS preflights: `OPTIONS` with `Origin` and `Access-Control-Request-Method`, which browsers send on their
    /// own account before a request, and will not send that request if they are denied.
    ///
    /// Whoever can set headers can make a request look like one, so exempt them only where something cheap answers them,
    /// such as tower-http's `CorsLayer`. Where that stands outside the limit it answers them before they are counted,
    /// and this is not needed.
    #[must_use]
    pub fn exempt_preflight(self) -> Self {
        self.exempt(|head| {
            head.method == Method::OPTIONS
                && head.headers.contains_key(ORIGIN)
                && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        })
    }

    /// Counts requests by these methods alone; all others are exempt. `GET` stands for `HEAD` too, since one handler
    /// answers both. Replaces what an earlier call said. No method at all exempts everything.
    ///
    /// ```
    /// use http::Method;
    /// use tollgate::RateLimitLayer;
    ///
    /// let writes = RateLimitLayer::per_minute(10).methods([Method::POST, Method::PUT, Method::DELETE]);
    /// # let _ = writes;
    /// ```
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        let methods = methods.into_iter().collect();
        self.scoping(|scope| scope.methods = Some(methods))
    }

    /// Leaves the requests for which this holds to another layer *instead*: its limit, key, answers, and all else that
    /// is set on it. May be called several times: the first closure that holds decides.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    /// use tollgate::http::ExtensionKey;
    ///
    /// // Inserted by the layer that checks the partners' credentials.
    /// #[derive(Clone)]
    /// struct Partner {
    ///     id: u64,
    /// }
    ///
    /// let partners = RateLimitLayer::per_second(500)
    ///     .key(ExtensionKey::<Partner>::new(|partner: &Partner| partner.id));
    /// let is_partner =
    ///     |head: &http::request::Parts| head.extensions.get::<Partner>().is_some();
    /// let layer = RateLimitLayer::per_second(28).when(is_partner, partners);
    /// # let _ = layer;
    /// ```
    ///
    /// The other layer must ask the same kind of limiter as this one; where this one delays, so must the other, or be
    /// given before [`delay`](Self::delay) is called. A closure that a client can make true at will (by a header that
    /// nobody checked) lets it choose its limit.
    #[must_use]
    pub fn when<F, K2>(self, is_theirs: F, other: RateLimitLayer<K2, L>) -> Self
    where
        F: Fn(&Parts) -> bool + Send + Sync + 'static,
        K2: KeyExtractor + Send + Sync + 'static,
    {
        let other: Arc<dyn Decide<L>> = other.gate;
        self.scoping(|scope| scope.instead.push((Arc::new(is_theirs), other)))
    }
}
