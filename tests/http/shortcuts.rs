//! Where the layer goes a shorter way, it comes to the same.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use http::header::{AUTHORIZATION, COOKIE, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use tollgate::http::{ClientIp, GlobalKey, Headers, KeyExtractor, PeerAddr};
use tollgate::{Clock, Denied, Policy, Quota, RateLimitLayer, RateLimiter};
use tower::{Layer, Service};

#[derive(Clone)]
struct App;

impl Service<Request<()>> for App {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        ready(Ok(Response::new(Body::empty())))
    }
}

fn answer(mut service: impl Service<Request<()>, Response = Response<Body>>, request: Request<()>) -> Response<Body> {
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(service.poll_ready(cx).is_ready());
    let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(cx) else { panic!("no answer") };
    response
}

fn request(peer: &str, forwarded_for: &str) -> Request<()> {
    let mut request = Request::new(());
    if !forwarded_for.is_empty() {
        request.headers_mut().insert("x-forwarded-for", forwarded_for.parse().unwrap());
    }
    request.extensions_mut().insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 80)));
    request
}

/// A request's head is taken apart only where something is set that looks at it. The key must not depend on that.
#[track_caller]
fn one_key(key: impl KeyExtractor + Clone, peer: &str, forwarded_for: &str) {
    let limiter = RateLimiter::builder(Quota::per_hour(2)).capacity(64).clock(Clock::manual()).build();
    let layer = RateLimitLayer::sharing(&limiter).key(key);
    let ask = |layer: &RateLimitLayer<_>| answer(layer.layer(App), request(peer, forwarded_for)).status();
    let looked_at = layer.clone().cost(|_| 1);
    assert_eq!(ask(&layer), StatusCode::OK, "{peer}, {forwarded_for}");
    assert_eq!(ask(&looked_at), StatusCode::OK, "{peer}, {forwarded_for}");
    assert_eq!(ask(&layer), StatusCode::TOO_MANY_REQUESTS, "{peer}, {forwarded_for}");
    assert_eq!(ask(&looked_at), StatusCode::TOO_MANY_REQUESTS, "{peer}, {forwarded_for}");
    assert_eq!(limiter.stats().len, 1, "{peer}, {forwarded_for}");
}

#[test]
fn a_key_found_at_a_glance_is_the_one_found_in_the_head() {
    for peer in ["192.0.2.7", "::ffff:192.0.2.7", "2001:db8::1", "10.0.0.1", "::1"] {
        for forwarded_for in ["", "203.0.113.9", "6.6.6.6, 2001:db8::2, 10.0.0.2", "unknown"] {
            one_key(ClientIp::peer(), peer, forwarded_for);
            one_key(ClientIp::behind(["10.0.0.0/8"]).unwrap(), peer, forwarded_for);
            one_key(ClientIp::behind_hops(2).unwrap(), peer, forwarded_for);
            one_key((GlobalKey, ClientIp::peer()), peer, forwarded_for);
            one_key((ClientIp::peer(), |_: &http::request::Parts| Some(7)), peer, forwarded_for);
        }
    }
    one_key(GlobalKey, "192.0.2.7", "");
}

/// Of every spelling of an address there is one key, and of an IPv6 network, also for the direct call.
#[test]
fn a_glance_sees_the_network() {
    let limiter = RateLimiter::builder(Quota::per_hour(9)).capacity(64).clock(Clock::manual()).build();
    let layer = RateLimitLayer::sharing(&limiter);
    for (peer, left) in [("192.0.2.7", 8), ("::ffff:192.0.2.7", 7), ("2001:db8::1", 8), ("2001:db8::2", 7)] {
        answer(layer.layer(App), request(peer, ""));
        let key = ClientIp::peer().key_of(peer.parse().unwrap());
        assert_eq!(limiter.peek(&key).remaining(), left, "{peer}");
    }
}

/// What a client must not read of its own request, and a cache or a layer outside not at all.
#[derive(Clone)]
struct Secret;

/// An answer is made in the request's extensions, which are emptied first.
#[test]
fn nothing_of_the_request_is_in_the_answer() {
    let shut = || RateLimitLayer::new(Quota::per_day(0)).capacity(64);
    let layers = [
        shut(),
        shut().headers(Headers::Draft),
        shut().denial_problem(),
        shut().denial_header(HeaderName::from_static("x-fixed"), HeaderValue::from_static("true")),
        shut().denial_response(|_, _| Response::new("no".into())),
        shut().cost(|_| 1),
        shut().on_denied(|_, head| assert!(head.extensions.get::<Secret>().is_some(), "the hook sees all of it")),
    ];
    for (n, layer) in layers.into_iter().enumerate() {
        for method in ["GET", "HEAD", "POST"] {
            let mut request = request("192.0.2.7", "203.0.113.9");
            *request.method_mut() = method.parse().unwrap();
            let headers = request.headers_mut();
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer secret"));
            headers.insert(COOKIE, HeaderValue::from_static("session=secret"));
            headers.append(COOKIE, HeaderValue::from_static("theme=secret"));
            headers.insert("x-secret", HeaderValue::from_static("secret"));
            request.extensions_mut().insert(Secret);
            let response = answer(layer.layer(App), request);
            assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
            for (name, value) in response.headers() {
                const OURS: [&str; 7] = [
                    "cache-control",
                    "content-type",
                    "content-length",
                    "ratelimit",
                    "ratelimit-policy",
                    "retry-after",
                    "x-fixed",
                ];
                assert!(OURS.contains(&name.as_str()), "layer {n}, {method}: {name}");
                assert!(!value.is_empty() && value != "secret", "layer {n}, {method}: {name}");
            }
            assert!(response.extensions().get::<Secret>().is_none(), "layer {n}, {method}");
            assert!(response.extensions().get::<PeerAddr>().is_none(), "layer {n}, {method}");
            assert!(response.extensions().get::<Denied>().is_some());
            assert_eq!(response.extensions().len(), 1);
        }
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> &'r str {
    response.headers()[name].to_str().unwrap()
}

/// The headers of a denial are prepared, whatever was set first; and a fixed one of the name of one that differs stays last.
#[test]
fn what_is_prepared_is_what_was_set() {
    let shut = || RateLimitLayer::new(Quota::per_minute(1).burst(1)).capacity(64);
    let fixed = |layer: RateLimitLayer, name| {
        layer.denial_header(HeaderName::from_static(name), HeaderValue::from_static("fixed"))
    };
    let denial = |layer: RateLimitLayer| {
        answer(layer.layer(App), request("192.0.2.7", ""));
        answer(layer.layer(App), request("192.0.2.7", ""))
    };
    for layer in [
        fixed(shut().headers(Headers::Draft), "ratelimit").denial_text("wait"),
        fixed(shut().denial_text("wait"), "ratelimit").headers(Headers::Draft),
    ] {
        let denial = denial(layer);
        assert_eq!(header(&denial, "ratelimit"), "fixed");
        assert_eq!(header(&denial, "ratelimit-policy"), "\"1/minute\";q=1;w=60");
        assert_eq!(header(&denial, "retry-after"), "60");
        assert_eq!(header(&denial, "content-type"), "text/plain; charset=utf-8");
    }
    let denial = denial(fixed(shut().denial_problem(), "retry-after"));
    assert_eq!(header(&denial, "retry-after"), "fixed");
    assert_eq!(header(&denial, "content-type"), "application/problem+json");

    // A denial that no wait helps leaves nothing in the places that were held.
    for headers in [Headers::None, Headers::Draft, Headers::XRateLimitDelta, Headers::XRateLimitEpoch] {
        let layer = RateLimitLayer::new(Quota::per_minute(1)).capacity(64).headers(headers).cost(|_| 2);
        let denial = answer(layer.layer(App), request("192.0.2.7", ""));
        assert_eq!(denial.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(!denial.headers().contains_key(RETRY_AFTER) && !denial.headers().contains_key("x-ratelimit-reset"));
        assert!(denial.headers().values().all(|value| !value.is_empty()), "{headers:?}: {:?}", denial.headers());
    }
}

/// It is prepared for the policy that there was, and must not outlive it.
#[test]
fn the_policy_that_is_told_is_the_one_enforced() {
    let limiter = RateLimiter::builder(Quota::per_minute(5)).capacity(64).clock(Clock::manual()).build();
    let layer = RateLimitLayer::sharing(&limiter).headers(Headers::Draft).headers_on_every_response();
    let told = || header(&answer(layer.layer(App), request("192.0.2.7", "")), "ratelimit-policy").to_owned();
    assert_eq!(told(), "\"5/minute\";q=5;w=60");
    for (policy, expected) in [("7/hour", "\"7/hour\";q=7;w=3600"), ("5/minute", "\"5/minute\";q=5;w=60")] {
        limiter.replace_policy(policy.parse::<Policy>().unwrap()).unwrap();
        assert_eq!(told(), expected);
        assert_eq!(told(), expected);
    }
    // One made of a layer whose policy was replaced before.
    let later = layer.denial_text("wait");
    limiter.replace_policy("9/day".parse::<Policy>().unwrap()).unwrap();
    let response = answer(later.layer(App), request("192.0.2.7", ""));
    assert_eq!(header(&response, "ratelimit-policy"), "\"9/day\";q=9;w=86400");
}
