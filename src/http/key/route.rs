//! [`RouteKey`] and [`MethodRouteKey`]: the route that axum matched.

use axum::extract::{MatchedPath, OriginalUri};
use http::request::Parts;

use super::KeyExtractor;
use super::no_key::NoKey;

/// What to do where no router has seen the request.
pub(super) const NO_ROUTER: &str = "no axum router has matched the request yet: \
    add the layer to the router (`Router::layer`, `Router::route_layer`) or to a route, not around the router";

/// The key of all requests that no route matches. Routes begin with `/`.
const UNMATCHED: &str = "";

/// Counts by the route that axum matched, as it was written (`/users/{id}`): one limit for each route, whoever asks.
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
/// use tollgate::http::{ClientIp, RouteKey};
///
/// // Each client has 10 per second on each route.
/// let app: Router = Router::new()
///     .route("/users/{id}", get(|| async { "..." }))
///     .route("/search", get(|| async { "..." }))
///     .layer(RateLimitLayer::per_second(10).key((RouteKey, ClientIp::peer())));
/// # let _ = app;
/// ```
///
/// A client cannot get a new key by another spelling of a path. Doubled slashes, another case or a slash at the end lead to
/// the same route or to none. All requests that no route matches (the fallback) share one key, the empty string.
/// Two routes that differ by a slash at the end alone are one key, the one without it.
///
/// The layer must be on the router or on a route. Around the router, no route is known yet, and the extractor answers
/// [`NoKey::Misconfigured`]. A [nested service](axum::Router::nest_service) is matched inside. Seen from a layer outside of it,
/// its requests count as unmatched.
#[derive(Clone, Copy, Debug, Default)]
pub struct RouteKey;

impl KeyExtractor for RouteKey {
    type Key<'a> = &'a str;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<&'a str, NoKey> {
        match parts.extensions.get::<MatchedPath>() {
            Some(route) => {
                let route = route.as_str();
                match route.trim_end_matches('/') {
                    "" => Ok("/"),
                    trimmed => Ok(trimmed),
                }
            }
            // Every router leaves its mark, whether one of its routes matched or not.
            None if parts.extensions.get::<OriginalUri>().is_some() => Ok(UNMATCHED),
            None => Err(NoKey::Misconfigured(NO_ROUTER.into())),
        }
    }
}

/// Counts by method and route; see [`RouteKey`]. Its key is a pair, as `("GET", "/users/{id}")`.
///
/// `HEAD` counts as `GET`, which answers it. Methods other than those of RFC 9110 and `PATCH` share one key, so that a client
/// cannot invent new ones. Headers that would override the method, such as `X-HTTP-Method-Override`, have no influence.
#[derive(Clone, Copy, Debug, Default)]
pub struct MethodRouteKey;

impl KeyExtractor for MethodRouteKey {
    type Key<'a> = (&'static str, &'a str);

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Self::Key<'a>, NoKey> {
        let method = match parts.method.as_str() {
            "GET" | "HEAD" => "GET",
            "POST" => "POST",
            "PUT" => "PUT",
            "DELETE" => "DELETE",
            "PATCH" => "PATCH",
            "OPTIONS" => "OPTIONS",
            "TRACE" => "TRACE",
            "CONNECT" => "CONNECT",
            _ => "other",
        };
        Ok((method, RouteKey.extract(parts)?))
    }
}
