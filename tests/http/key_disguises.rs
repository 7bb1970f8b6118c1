//! Law 8, for each extractor: whatever a client varies, it has one key. (Those that need axum's router have theirs in `route_keys`.)

use std::sync::Arc;

use http::request::Parts;
use tollgate::http::{
    AnyKey, BearerToken, ClientIp, CookieKey, ExtensionKey, GlobalKey, HeaderKey, HostKey, KeyExtractor, PeerAddr,
    first_of,
};
use tollgate::{Clock, Quota, RateLimiter};

use crate::keys::{User, head, text_of, user};

/// What a hostile client can vary of its request while it stays the same client: spelling, doubles, encodings, and headers
/// that the extractor was not told of.
fn disguises() -> Vec<Parts> {
    /// Adds a line to the request of a client that is user 7 with token `real`, session `real`, key `real` and site
    /// `a.example`.
    fn with(lines: &[(&str, &str)]) -> Parts {
        let own = [
            ("authorization", "Bearer real"),
            ("cookie", "session=real"),
            ("x-api-key", "real"),
            ("host", "a.example"),
            ("x-forwarded-for", "203.0.113.9, 10.0.0.2"),
            ("forwarded", "for=203.0.113.9, for=10.0.0.2"),
            ("cf-connecting-ip", "203.0.113.9"),
        ];
        let replaced = |name: &str| lines.iter().any(|(other, _)| *other == name);
        let all: Vec<_> = own.iter().filter(|(name, _)| !replaced(name)).chain(lines).copied().collect();
        let mut head = head(&all);
        head.extensions.insert(PeerAddr("10.0.0.1:80".parse().unwrap()));
        head.extensions.insert(user(7, "ann"));
        head
    }
    let mut all = vec![with(&[])];
    // Another spelling of the same.
    for (name, values) in [
        ("authorization", &["bearer real", "BEARER   real", "Bearer\treal", " Bearer real "][..]),
        (
            "cookie",
            &["session=\"real\"", "session=%72eal", "%73ession=r%65al", "a=1; session=real; b=2", " session = real "],
        ),
        ("host", &["A.EXAMPLE", "a.example:80", "a.example.", "A.example.:443"]),
        (
            "x-forwarded-for",
            &[
                "6.6.6.6, 203.0.113.9, 10.0.0.2",
                "6.6.6.7,10.0.0.2, 203.0.113.9:1234,10.0.0.2",
                "\"6.6.6.6, 203.0.113.9, 10.0.0.2",
                "::ffff:203.0.113.9, 10.0.0.2",
                "unknown, [::ffff:cb00:7109]:80, ::ffff:10.0.0.2",
            ],
        ),
        (
            "forwarded",
            &[
                "for=6.6.6.6, for=203.0.113.9, for=10.0.0.2",
                "for=\"6.6.6.6, for=203.0.113.9;proto=x, FOR=\"10.0.0.2:80\"",
                "host=\"\\\\\\\", for=\"[::ffff:203.0.113.9]:80\", for=10.0.0.2",
            ],
        ),
    ] {
        all.extend(values.iter().map(|value| with(&[(name, value)])));
    }
    // The same on several lines.
    for (name, value, other) in [
        ("authorization", "Bearer real", "bearer real"),
        ("cookie", "session=real", "session=%72eal"),
        ("x-api-key", "real", "real"),
        ("host", "a.example", "A.example:80"),
        ("x-forwarded-for", "6.6.6.6", "203.0.113.9, 10.0.0.2"),
        ("forwarded", "for=6.6.6.6", "for=203.0.113.9, for=10.0.0.2"),
    ] {
        all.push(with(&[(name, value), (name, other)]));
    }
    // What nobody asked for.
    for n in 0..20 {
        let made_up = format!("198.51.100.{n}");
        for name in [
            "x-real-ip",
            "true-client-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-forwarded-host",
            "x-original-forwarded-for",
            "x-http-method-override",
            "x-forwarded-user",
            "via",
        ] {
            all.push(with(&[(name, &made_up)]));
        }
    }
    for (method, target) in
        [("GET", "/?a=b"), ("HEAD", "/"), ("GET", "http://a.example/"), ("GET", "HTTPS://A.example:8443/x")]
    {
        let mut head = with(&[]);
        head.method = method.parse().unwrap();
        head.uri = target.parse().unwrap();
        all.push(head);
    }
    all
}

#[test]
fn a_client_has_one_key_however_it_is_dressed() {
    #[track_caller]
    fn one(key: impl KeyExtractor, expected: &str) {
        let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
        let (mut passed, all) = (0, disguises());
        for head in &all {
            assert_eq!(text_of(&key, head), expected, "{head:?}");
            passed += usize::from(limiter.check(&key.extract(head).unwrap()).is_ok());
        }
        assert_eq!(passed, 1, "of {}", all.len());
    }
    let behind = || ClientIp::behind(["10.0.0.0/8"]).unwrap();
    let host = || HostKey::among(["a.example", "b.example"]).unwrap();
    one(GlobalKey, "*");
    one(ClientIp::peer(), "10.0.0.1");
    one(behind(), "203.0.113.9");
    one(behind().forwarded().unwrap(), "203.0.113.9");
    one(behind().header("cf-connecting-ip").unwrap(), "203.0.113.9");
    one(ClientIp::behind_hops(2).unwrap(), "203.0.113.9");
    one(ClientIp::behind_hops(2).unwrap().forwarded().unwrap(), "203.0.113.9");
    one(HeaderKey::new("x-api-key").unwrap(), "real");
    one(CookieKey::new("session").unwrap(), "real");
    one(BearerToken, "real");
    one(host(), "a.example");
    one(ExtensionKey::new(|user: &User| user.id), "7");
    one(|head: &Parts| head.extensions.get::<User>().map(|user| user.name.clone()), "ann");
    one(first_of(ExtensionKey::new(|user: &User| user.id), behind()), "first:7");
    one(
        first_of(HeaderKey::new("x-no").unwrap(), first_of(CookieKey::new("no").unwrap(), BearerToken)),
        "second:second:real",
    );
    one((host(), behind(), BearerToken), "a.example:203.0.113.9:real");
    one(AnyKey::new((host(), behind())), "a.example:203.0.113.9");
    one(Arc::new(BearerToken), "real");
}
