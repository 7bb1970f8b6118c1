//! Finding a key allocates nothing, whatever the headers are, but for two cases that are documented.

#![cfg(feature = "tower")]

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use tollgate::http::{
    AnyKey, BearerToken, ClientIp, CookieKey, ExtensionKey, GlobalKey, HeaderKey, HostKey, KeyExtractor,
};
use tollgate::http::{PeerAddr, first_of};
use tollgate::{Quota, RateLimiter};

fn head(lines: &[(&'static str, &str)]) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for (name, value) in lines {
        head.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    head.extensions.insert(PeerAddr("10.0.0.1:80".parse().unwrap()));
    head.extensions.insert(7_u64);
    head
}

/// Extracts and checks, counting what that allocates, from a key's second request on: no text is made here, so a new key
/// allocates nothing either, but the first warning of a process may.
#[track_caller]
fn check(key: impl KeyExtractor, lines: &[(&'static str, &str)]) {
    let head = head(lines);
    let limiter = RateLimiter::builder(Quota::per_hour(1)).capacity(1000).build();
    let ask = || drop(key.extract(&head).map(|key| limiter.check(&key)));
    ask();
    let measured = allocation_counter::measure(ask);
    assert_eq!(measured.count_total, 0, "{lines:?}");
}

#[test]
fn no_key_allocates() {
    let behind = || ClientIp::behind(["10.0.0.0/8"]).unwrap();
    let long = "x, ".repeat(10_000);
    for xff in ["203.0.113.9", "6.6.6.6, [2001:db8::1]:80, ::ffff:10.0.0.2", "\"unknown\"", "", &long] {
        let lines = [("x-forwarded-for", xff), ("x-forwarded-for", "10.0.0.3"), ("cf-connecting-ip", xff)];
        check(ClientIp::peer(), &lines);
        check(behind(), &lines);
        check(behind().header("cf-connecting-ip").unwrap(), &lines);
        check(ClientIp::behind_hops(3).unwrap(), &lines);
        check(HeaderKey::new("cf-connecting-ip").unwrap(), &lines);
    }
    for forwarded in ["for=203.0.113.9", "for=\"\\2\\03.0.113.9:80\";host=\"a,b\\\"\", for=10.0.0.2", "for=\"", &long] {
        check(behind().forwarded().unwrap(), &[("forwarded", forwarded)]);
    }
    for cookie in ["session=abc", "a=1; %73ession=\"%61%62%63\"", "session=1; session=2", &long] {
        check(CookieKey::new("session").unwrap(), &[("cookie", cookie)]);
    }
    let hosts = || HostKey::among(["a.example", "b.example"]).unwrap();
    for host in ["a.example", "A.Example.:8080", "made.up.example", "", &long] {
        check(hosts(), &[("host", host)]);
    }
    for token in ["Bearer abc", "bearer   abc", "Basic abc", "Bearer a b", "", &long] {
        check(BearerToken, &[("authorization", token)]);
        check(first_of(BearerToken, first_of(hosts(), ClientIp::peer())), &[("authorization", token)]);
    }
    check(Arc::new((GlobalKey, hosts())), &[("host", "a.example")]);
    check((GlobalKey, ExtensionKey::new(|id: &u64| *id)), &[]);
    // Nor does a key that is missing: such requests may be let pass.
    check(HeaderKey::new("x-api-key").unwrap(), &[]);
    check(CookieKey::new("session").unwrap(), &[]);
    check(ExtensionKey::<String>::new(|_: &String| 0), &[]);
    check(|_: &Parts| None::<u64>, &[]);
    #[cfg(feature = "axum")]
    check(tollgate::http::RouteKey, &[]);
}

/// A long value that is encoded has to be decoded somewhere.
#[test]
fn a_long_encoded_value_allocates_once() {
    for (value, expected) in [("x".repeat(5000), 0), ("%61".repeat(85), 0), ("%61".repeat(5000), 1)] {
        let head = head(&[("cookie", &format!("session={value}"))]);
        let limiter = RateLimiter::builder(Quota::per_hour(1)).capacity(1000).build();
        let key = CookieKey::new("session").unwrap();
        let ask = || drop(key.extract(&head).map(|key| limiter.check(&key)));
        ask();
        assert_eq!(allocation_counter::measure(ask).count_total, expected, "{} bytes", value.len());
    }
}

/// A key of any type has to be put somewhere: one allocation for each request, and none for the key of all.
#[test]
fn any_key_allocates_once() {
    let head = head(&[]);
    let limiter = RateLimiter::builder(Quota::per_hour(1)).capacity(1000).build();
    for (key, expected) in [(AnyKey::new(ClientIp::peer()), 1), (AnyKey::new(GlobalKey), 0)] {
        let ask = || drop(key.extract(&head).map(|key| limiter.check(&key)));
        ask();
        assert_eq!(allocation_counter::measure(ask).count_total, expected, "{key:?}");
    }
}

/// A service that answers at once, of nothing.
#[derive(Clone)]
struct Empty;

type Unsync = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, std::convert::Infallible>;

impl tower::Service<Request<()>> for Empty {
    type Response = http::Response<Unsync>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        use http_body_util::BodyExt as _;
        std::future::ready(Ok(http::Response::new(http_body_util::Empty::new().boxed_unsync())))
    }
}

/// The allocations of a request from its call to its response, and how it was answered.
fn of_a_request(layer: &tollgate::RateLimitLayer, header: Option<&'static str>) -> (u64, http::StatusCode) {
    use tower::{Layer as _, Service as _};

    let mut request = Request::new(());
    if let Some(name) = header {
        request.headers_mut().insert(name, HeaderValue::from_static("value"));
    }
    request.extensions_mut().insert(PeerAddr("10.0.0.1:80".parse().unwrap()));
    let mut service = layer.layer(Empty);
    let mut request = Some(request);
    let mut response = None;
    let measured = allocation_counter::measure(|| {
        let cx = &mut std::task::Context::from_waker(std::task::Waker::noop());
        let future = std::pin::pin!(service.call(request.take().unwrap()));
        response = Some(future.poll(cx));
    });
    let Some(std::task::Poll::Ready(Ok(response))) = response else { panic!("no answer") };
    (measured.count_total, response.status())
}

#[test]
fn a_request_that_passes_allocates_nothing_and_a_denial_what_it_hands_on() {
    use tollgate::RateLimitLayer;
    use tollgate::http::{Counters, Headers};

    let wide = || RateLimitLayer::per_second(1_000_000_000).capacity(64);
    let shut = || RateLimitLayer::new(Quota::per_hour(0)).capacity(64);
    for header in [None, Some("x-any")] {
        for (what, layer, expected) in [
            ("allowed", wide(), 0),
            ("allowed, looked at", wide().cost(|_| 1), 0),
            ("allowed, counted", wide().count_into(&Counters::new()), 0),
            // What is told while the service works, its text, and the two of the response's headers.
            ("allowed and told", wide().headers(Headers::Draft).headers_on_every_response(), 4),
            // Two of the headers, the body and the mark.
            ("denied", shut(), 4),
            // And the text of what is told.
            ("denied and told", shut().headers(Headers::Draft), 5),
        ] {
            of_a_request(&layer, header);
            let (allocations, status) = of_a_request(&layer, header);
            assert_eq!(status == http::StatusCode::OK, what.starts_with("allowed"), "{what}");
            assert_eq!(allocations, expected, "{what}");
        }
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}

/// What was cut off a long key stayed reserved.
#[test]
fn offenders_of_long_keys_take_little() {
    let limiter = RateLimiter::builder(Quota::per_hour(1)).capacity(10).offenders(1000).build();
    let mut key = "\u{7f}".repeat(10_000);
    let measured = allocation_counter::measure(|| {
        for n in 0..1000 {
            key.replace_range(..4, &format!("{n:04}"));
            limiter.tell_denied(&*key);
        }
    });
    assert_eq!(limiter.offenders().len(), 1000);
    assert!(measured.bytes_current <= 200_000, "{measured:?}");
    assert!(measured.bytes_total <= 1_000_000, "{measured:?}");
}
