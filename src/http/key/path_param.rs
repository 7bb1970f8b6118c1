//! [`PathParam`]: a parameter of the path.

use axum::extract::{MatchedPath, OriginalUri};
use http::request::Parts;

use super::KeyExtractor;
use super::decoded::Decoded;
use super::no_key::{NoKey, Reason};
use super::route::NO_ROUTER;

/// Counts by a parameter of the path: with the route `/users/{id}`, `PathParam::new("id")` counts `/users/7` by `7`.
///
/// ```
/// use axum::{Router, routing::get};
/// use tollgate::RateLimitLayer;
/// use tollgate::http::PathParam;
///
/// // Each page is shown so often, whoever asks.
/// let pages = RateLimitLayer::per_minute(60).key(PathParam::new("id"));
/// let app: Router = Router::new()
///     .route("/users/{id}", get(|| async { "..." }))
///     .layer(pages)
///     // And whatever pages it asks for, an address has this much.
///     .layer(RateLimitLayer::per_minute(120));
/// # let _ = app;
/// ```
///
/// The client chooses the value. So this bounds how often one thing is asked for. It does not bound a client.
///
/// Takes the name without braces, also of a wildcard (`{*rest}`). Works inside of [`nest`](axum::Router::nest), for the
/// parameters of the outer path as well. Values count percent-decoded, as axum gives them to handlers: `/users/%37` is `7`.
/// A direct call finds this value by its string, `limiter.peek("7")`; see [`Decoded`].
///
/// A request that no route matches (the fallback) has no parameters, which is [`NoKey::Absent`]. Three things are
/// [`NoKey::Misconfigured`]: a route without a parameter of this name, a layer around the router, where no route is known yet,
/// and a path that something between two routers has rewritten.
#[derive(Clone, Debug)]
pub struct PathParam {
    name: Box<str>,
    absent: Reason,
    unknown: Reason,
}

impl PathParam {
    /// Counts by the parameter of this name.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            absent: format!("the path parameter {name}").into(),
            unknown: format!(
                "the matched route has no path parameter {{{name}}}, or something between two routers rewrites the path: \
                 add the layer only to routes that have the parameter, and where the path is the client's"
            )
            .into(),
            name: name.into(),
        }
    }
}

impl KeyExtractor for PathParam {
    type Key<'a> = Decoded<'a>;

    fn extract<'a>(&'a self, parts: &'a Parts) -> Result<Decoded<'a>, NoKey> {
        // The matched path is the whole one inside of nested routers, while the URI has lost its beginning there.
        let Some(OriginalUri(original)) = parts.extensions.get() else {
            return Err(NoKey::Misconfigured(NO_ROUTER.into()));
        };
        let Some(route) = parts.extensions.get::<MatchedPath>() else {
            return Err(NoKey::Absent(self.absent.clone()));
        };
        // Nesting takes the beginning away and nothing else, or all of it, which leaves `/`.
        let nested = original.path().ends_with(parts.uri.path()) || parts.uri.path() == "/";
        let value = if nested { find(route.as_str(), original.path(), &self.name) } else { None };
        match value {
            Some(value) => Ok(Decoded::percent(value)),
            None => Err(NoKey::Misconfigured(self.unknown.clone())),
        }
    }
}

/// The value of a parameter, given a route and a path that matches it: segment by segment, up to the parameter.
///
/// A segment is text, a parameter, or text and then a parameter. Where text differs, something has rewritten the path
/// between two routers, and no value is better than a wrong one.
fn find<'p>(route: &str, path: &'p str, name: &str) -> Option<&'p str> {
    let mut rest = Some(path);
    for segment in route.split('/') {
        let path = rest?;
        let (value, after) = match path.split_once('/') {
            Some((value, after)) => (value, Some(after)),
            None => (path, None),
        };
        let Some((before, param)) = split_param(segment) else {
            if !strip_text(segment, value)?.is_empty() {
                return None;
            }
            rest = after;
            continue;
        };
        if let Some(wildcard) = param.strip_prefix('*') {
            // It takes all that is left, so nothing follows.
            return if wildcard == name { strip_text(before, path) } else { None };
        }
        let value = strip_text(before, value)?;
        if param == name {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// The text and the parameter of a segment that has one. Braces in text are doubled.
fn split_param(segment: &str) -> Option<(&str, &str)> {
    let mut from = 0;
    loop {
        let open = from + segment[from..].find('{')?;
        if segment[open + 1..].starts_with('{') {
            from = open + 2;
            continue;
        }
        return Some((&segment[..open], segment[open + 1..].strip_suffix('}')?));
    }
}

/// What is left of a value behind this text.
fn strip_text<'v>(text: &str, mut value: &'v str) -> Option<&'v str> {
    let mut text = text.chars();
    while let Some(c) = text.next() {
        value = value.strip_prefix(c)?;
        if matches!(c, '{' | '}') {
            text.next();
        }
    }
    Some(value)
}
