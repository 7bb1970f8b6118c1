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
/// A layer counts every request that reaches it, unless it is told otherwise here. An exempt request passes without a key, a
/// charge, a count or a header, as if the layer were not there.
///
/// | a limit for | is written |
/// |---|---|
/// | the whole application, or the routes of one router | `router.layer(limit)`, after the routes that it covers |
/// | one route | `get(fib).layer(limit)` |
/// | several routes together | clones of one layer: `get(a).layer(limit.clone())`, `get(b).layer(limit)` |
/// | each route by itself | one layer on the router, with `RouteKey` in its key |
/// | all routes but some | [`exempt_route`](#method.exempt_route), [`exempt`](Self::exempt), or add those routes after `.layer(limit)` |
/// | all routes, and another for some | [`for_route`](#method.for_route), [`when`](Self::when), or add those routes after `.layer(limit)` |
/// | some methods | `post(create).layer(limit)` inside a `MethodRouter`, or [`methods`](Self::methods) |
///
/// (Those that name routes need the feature `axum`.) A layer on a route and a layer on its router both count. The outer one
/// decides first, and cannot know what it will find inside. So a route with a limit of its own *instead* of the
/// application's must not stand under the application's. Give its limit to the application's layer by
/// [`for_route`](#method.for_route), or add the route to the router after the layer. In axum, a layer covers the routes that
/// were added before it:
///
/// ```
/// use axum::Router;
/// use axum::routing::{get, post};
/// use tollgate::RateLimitLayer;
///
/// let login = post(|| async { "..." });
/// let app: Router = Router::new()
///     .route("/search", get(|| async { "..." }))
///     .route("/about", get(|| async { "..." }))
///     // A limit for the two above.
///     .layer(RateLimitLayer::per_second(28))
///     // Its own limit instead.
///     .route("/login", login.layer(RateLimitLayer::per_minute(5)))
///     // No limit.
///     .route("/health", get(|| async { "fine" }));
/// # let _ = app;
/// ```
///
/// # CORS
///
/// Put `CorsLayer` outside of the limit: in axum, add it *after* the limit. It then answers preflights before they are
/// counted, and puts its headers on denials too. With the limit outside, a browser shows a denial to the page as a failed
/// connection, and the page cannot read `Retry-After`.
///
/// A page of another origin can only read the headers that `CorsLayer::expose_headers` names. Give it those that
/// [`Headers::names`](crate::http::Headers::names) lists:
///
/// ```
/// use axum::http::HeaderValue;
/// use axum::{Router, routing::get};
/// use tollgate::{RateLimitLayer, http::Headers};
/// use tower_http::cors::CorsLayer;
///
/// let cors = CorsLayer::new()
///     .allow_origin(HeaderValue::from_static("https://shop.example"))
///     .expose_headers(Headers::Draft.names());
/// let app: Router = Router::new()
///     .route("/", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_second(28).headers(Headers::Draft))
///     .layer(cors);
/// # let _ = app;
/// ```
///
/// In a `ServiceBuilder` the first layer is the outermost, so there the `CorsLayer` comes first.
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Exempts the requests for which this holds, also from what [`when`](Self::when) would apply to them. Can be called
    /// several times: a request is exempt if any of the closures says so.
    ///
    /// ```
    /// use tollgate::RateLimitLayer;
    ///
    /// // Inserted by the layer that checks the credentials of our own
    /// // services. It stands outside of the limit.
    /// #[derive(Clone)]
    /// struct OurOwn;
    ///
    /// let layer = RateLimitLayer::per_second(28)
    ///     .exempt(|head| head.extensions.get::<OurOwn>().is_some());
    /// # let _ = layer;
    /// ```
    ///
    /// A closure that a client can make true at will, as by a header that nobody checks, lets it escape the limit. To exempt
    /// a route, use [`exempt_route`](#method.exempt_route), which asks the router: a path can be spelled in many ways.
    #[must_use]
    pub fn exempt<F>(self, is_exempt: F) -> Self
    where
        F: Fn(&Parts) -> bool + Send + Sync + 'static,
    {
        self.scoping(|scope| scope.exempt.push(Arc::new(is_exempt)))
    }

    /// Exempts CORS preflights: `OPTIONS` with `Origin` and `Access-Control-Request-Method`. Browsers send one by themselves
    /// before some requests, and do not send the request if the preflight is denied.
    ///
    /// Anybody can make a request look like a preflight. So exempt them only where something cheap answers them,
    /// such as tower-http's `CorsLayer`. Where that stands [outside of the limit](#cors), it answers them before they are
    /// counted, and this is not needed.
    #[must_use]
    pub fn exempt_preflight(self) -> Self {
        self.exempt(|head| {
            head.method == Method::OPTIONS
                && head.headers.contains_key(ORIGIN)
                && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
        })
    }

    /// Counts only requests of these methods; all others are exempt. `GET` stands for `HEAD` too, since one handler
    /// answers both. Replaces an earlier call. A list without methods exempts everything.
    ///
    /// ```
    /// use http::Method;
    /// use tollgate::RateLimitLayer;
    ///
    /// let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    /// let layer = RateLimitLayer::per_minute(10).methods(writes);
    /// # let _ = layer;
    /// ```
    ///
    /// A program that takes the method from somewhere else, such as `X-HTTP-Method-Override`, lets a client escape this.
    #[must_use]
    pub fn methods(self, methods: impl IntoIterator<Item = Method>) -> Self {
        let methods = methods.into_iter().collect();
        self.scoping(|scope| scope.methods = Some(methods))
    }

    /// Leaves the requests for which this holds to another layer *instead*: its limit, key, answers, and all else that
    /// is set on it. Can be called several times: the first closure that holds decides.
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
    /// A closure that a client can make true at will, as by a header that nobody checks, lets it choose its limit.
    ///
    /// Both layers must be of one kind: where this one delays, the other must delay too, or be given before `delay` is
    /// called. Anything else does not compile:
    ///
    #[cfg_attr(
        feature = "tokio",
        doc = "```compile_fail,E0308
use std::time::Duration;
use tollgate::RateLimitLayer;

let slow = RateLimitLayer::per_second(28).delay(Duration::from_millis(500));
let layer = RateLimitLayer::per_second(28).when(|_| true, slow);
```"
    )]
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
