//! Scope by the route that axum matched.

use axum::extract::MatchedPath;
use http::request::Parts;

use super::RateLimitLayer;
use crate::backend::Backend;
use crate::http::key::KeyExtractor;

/// # Scope by route
///
/// A route is the path as it was given to the router, with its parameters (`/users/{id}`) and with the prefixes of the
/// routers it is nested in (`/api/users/{id}`). It must match in full and byte by byte; one that no router has, never
/// does.
///
/// The layer must be on the router or on a router inside it (`Router::layer`, `Router::route_layer`). Around the router,
/// no route is known yet, and none matches.
impl<K, L: Backend> RateLimitLayer<K, L> {
    /// Exempts a route. See [`exempt`](Self::exempt). (Needs the feature `axum`.)
    ///
    /// ```
    /// use axum::{Router, routing::get};
    /// use tollgate::RateLimitLayer;
    ///
    /// let app: Router = Router::new()
    ///     .route("/health", get(|| async { "fine" }))
    ///     .route("/search", get(|| async { "..." }))
    ///     .layer(RateLimitLayer::per_second(28).exempt_route("/health"));
    /// # let _ = app;
    /// ```
    #[must_use]
    pub fn exempt_route(self, route: impl Into<String>) -> Self {
        self.exempt(is_route(route.into()))
    }

    /// Gives a route another limit *instead* of this layer's. See [`when`](Self::when). (Needs the feature `axum`.)
    ///
    /// ```
    /// use axum::{Router, routing::{get, post}};
    /// use tollgate::{Policy, RateLimitLayer};
    ///
    /// let logins = RateLimitLayer::new("5/minute; 100/day".parse::<Policy>()?);
    /// let app: Router = Router::new()
    ///     .route("/login", post(|| async { "..." }))
    ///     .route("/search", get(|| async { "..." }))
    ///     .layer(RateLimitLayer::per_second(28).for_route("/login", logins));
    /// # let _ = app;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn for_route<K2>(self, route: impl Into<String>, other: RateLimitLayer<K2, L>) -> Self
    where
        K2: KeyExtractor + Send + Sync + 'static,
    {
        self.when(is_route(route.into()), other)
    }
}

fn is_route(route: String) -> impl Fn(&Parts) -> bool {
    move |head| head.extensions.get::<MatchedPath>().is_some_and(|matched| matched.as_str() == route)
}
