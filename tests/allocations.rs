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

#[test]
fn the_counter_counts() {
    assert_eq!(allocation_counter::measure(|| drop(std::hint::black_box(Box::new(7)))).count_total, 1);
}
