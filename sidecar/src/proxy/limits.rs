//! The limits of a configuration, as a layer.

use std::io;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use tollgate::http::{AnyKey, ClientIp, Counters, GlobalKey};
use tollgate::{RateLimitLayer, RateLimiter};

use crate::config::{Config, DeniedBody, Key};

/// The layer that enforces them. None without a limit.
///
/// # Errors
///
/// If they are of a kind that is not enforced. To run without them would be worse.
pub(super) fn layer(config: &Config, counters: &Counters) -> io::Result<Option<RateLimitLayer<AnyKey>>> {
    let unsupported = |what: &str| Err(io::Error::new(io::ErrorKind::Unsupported, what.to_owned()));
    let limit = match &config.limits[..] {
        [] => return Ok(None),
        [limit] => limit,
        _ => return unsupported("several limits are not enforced yet"),
    };
    let key = if limit.key == Key::global() {
        AnyKey::new(GlobalKey)
    } else if limit.key == Key::address() && config.trusted_proxies.is_empty() {
        AnyKey::new(ClientIp::peer())
    } else if limit.key == Key::address() {
        AnyKey::new(ClientIp::behind(config.trusted_proxies.written()).map_err(io::Error::other)?)
    } else {
        return unsupported("this key is not enforced yet");
    };
    if !limit.scope.is_everything() || !limit.is_always() || limit.plans.is_some() || !config.exempt.is_empty() {
        return unsupported("this limit is not enforced yet");
    }
    let limiter = RateLimiter::builder(limit.policy.clone()).name(&limit.name).capacity(limit.capacity).build();
    let mut layer = RateLimitLayer::sharing(&limiter).key(key).headers(config.rate_headers).count_into(counters);
    layer = match &config.denied.body {
        // As Envoy says it, which names no character set.
        DeniedBody::Text(text) => {
            let text = Bytes::from(text.clone());
            layer.denial_response(move |_, _| {
                let mut response = Response::new(text.clone());
                response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
                response
            })
        }
        DeniedBody::Problem => layer.denial_problem(),
    };
    for (name, value) in &config.denied.headers {
        layer = layer.denial_header(name.clone(), value.clone());
    }
    Ok(Some(layer))
}
