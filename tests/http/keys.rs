//! The other keys: headers, cookies, extensions, and what axum's router knows.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use tollgate::http::{
    AnyKey, BearerToken, ClientIp, CookieKey, Decoded, ExtensionKey, GlobalKey, HeaderKey, HostKey, KeyExtractor,
    NoKey, PeerAddr, first_of,
};
use tollgate::{Clock, KeyText, Quota, RateLimiter};

fn head<V: AsRef<[u8]>>(lines: &[(&str, V)]) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        head.headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    head
}

/// The text of a key, or why there is none.
fn text_of(key: &impl KeyExtractor, head: &Parts) -> String {
    match key.extract(head) {
        Ok(key) => KeyText::of(&key),
        Err(NoKey::Absent(what)) => format!("absent: {what}"),
        Err(NoKey::Misconfigured(what)) => format!("misconfigured: {what}"),
        Err(other) => panic!("{other:?}"),
    }
}

/// The key of a request with these header lines.
#[track_caller]
fn check(key: impl KeyExtractor, lines: &[(&str, &str)], expected: &str) {
    assert_eq!(text_of(&key, &head(lines)), expected, "{lines:?}");
}

/// How many of a thousand requests pass where each key has one.
fn admitted(key: impl KeyExtractor, name: &str, value: impl Fn(u32) -> Vec<String>) -> usize {
    let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
    let ask = |n| {
        let head = head(&value(n).iter().map(|value| (name, value)).collect::<Vec<_>>());
        limiter.check(&key.extract(&head).unwrap()).is_ok()
    };
    (0..1000).filter(|&n| ask(n)).count()
}

#[test]
fn a_header_counts_by_its_value() {
    let key = || HeaderKey::new("X-Api-Key").unwrap();
    check(key(), &[("x-api-key", "abc")], "abc");
    check(key(), &[("x-api-key", "ABC"), ("x-other", "abc")], "ABC");
    check(key(), &[("x-api-key", "")], "%");
    check(key(), &[], "absent: the header x-api-key");
    check(key(), &[("x-api", "abc")], "absent: the header x-api-key");
    check(HeaderKey::new(http::header::AUTHORIZATION).unwrap(), &[("authorization", "a b")], "a%20b");
    check(HeaderKey::new(String::from("host")).unwrap(), &[("host", "example")], "example");
    // Once more is no harm.
    check(key(), &[("x-api-key", "abc"), ("x-api-key", "abc")], "abc");
    // Two that differ are none of them: whichever the program takes, the other cannot be rotated.
    check(key(), &[("x-api-key", "abc"), ("x-api-key", "abd")], "%");
    check(key(), &[("x-api-key", "abc"), ("x-api-key", "abc"), ("x-api-key", "abd")], "%");
    assert_eq!(admitted(key(), "x-api-key", |n| vec!["real".into(), n.to_string()]), 1);
    assert_eq!(admitted(key(), "x-api-key", |n| vec![n.to_string(), "real".into()]), 1);
    assert_eq!(admitted(key(), "x-api-key", |n| vec!["a".into(), "a".into(), n.to_string()]), 1);
    assert_eq!(admitted(key(), "x-api-key", |n| vec![n.to_string()]), 1000);
    // To the last byte, at any length.
    assert_eq!(admitted(key(), "x-api-key", |n| vec![format!("{}{n}", "x".repeat(10_000))]), 1000);
}

#[test]
fn a_cookie_counts_by_its_value() {
    let key = || CookieKey::new("session").unwrap();
    check(key(), &[("cookie", "session=abc")], "abc");
    check(key(), &[("cookie", "a=1; session=abc; b=2")], "abc");
    check(key(), &[("cookie", "a=1;session=abc;b=2")], "abc");
    check(key(), &[("cookie", "a=1"), ("cookie", "session=abc")], "abc");
    check(key(), &[("cookie", "session=abc==; b=2")], "abc%3D%3D");
    check(key(), &[("cookie", "session=")], "%");
    check(key(), &[], "absent: the cookie session");
    check(key(), &[("cookie", "")], "absent: the cookie session");
    check(key(), &[("cookie", "session")], "absent: the cookie session");
    check(key(), &[("cookie", "Session=abc")], "absent: the cookie session");
    check(key(), &[("cookie", "xsession=abc; sessionx=abc; ses sion=abc; =session")], "absent: the cookie session");
    check(key(), &[("cookie", "a=session=abc")], "absent: the cookie session");
    check(key(), &[("set-cookie", "session=abc")], "absent: the cookie session");
    // One cookie in every spelling that programs take for it.
    for spelling in [
        "session=abc",
        " session = abc ",
        "session=\"abc\"",
        "session=%61%62%63",
        "%73ession=abc",
        "session=abc; session=abc",
    ] {
        check(key(), &[("cookie", spelling)], "abc");
    }
    check(CookieKey::new("a%b").unwrap(), &[("cookie", "a%b=1")], "1");
    // Several that differ are none of them.
    check(key(), &[("cookie", "session=abc; session=abd")], "%");
    check(key(), &[("cookie", "session=abc"), ("cookie", "%73ession=abd")], "%");
    assert_eq!(admitted(key(), "cookie", |n| vec![format!("session=real; session={n}")]), 1);
    assert_eq!(admitted(key(), "cookie", |n| vec![format!("session={n}"), "session=real".into()]), 1);
    assert_eq!(admitted(key(), "cookie", |n| vec![format!("session={n}")]), 1000);
}

#[test]
fn cookies_are_read_to_a_bound() {
    let key = || CookieKey::new("session").unwrap();
    let padding = |len: usize| "x".repeat(len);
    check(key(), &[("cookie", &format!("session=abc; a={}", padding(16_000)))], "abc");
    check(key(), &[("cookie", &format!("session=abc; a={}", padding(17_000)))], "%");
    check(key(), &[("cookie", &padding(1 << 20))], "%");
    check(key(), &[("cookie", &";".repeat(16_000))], "absent: the cookie session");
    check(key(), &[("cookie", "a=1"); 10_000], "%");
    check(key(), &[("cookie", ""); 17_000], "%");
    // Up to there, every byte counts.
    assert_eq!(admitted(key(), "cookie", |n| vec![format!("session={n:04}{}", "x".repeat(200))]), 1000);
    // What cannot be read to its end cannot be rotated there.
    let line = |n| format!("session={n}; a={}; session=real", padding(17_000));
    assert_eq!(admitted(key(), "cookie", |n| vec![line(n)]), 1);
}

/// A server bounds what it reads, but a key must not rely on it: a megabyte is a key like any other, and takes as little room.
#[test]
fn a_header_may_be_huge() {
    let huge = |last: char, before: &str| format!("{before}{}{last}", "x".repeat(1 << 20));
    fn check(key: impl KeyExtractor, name: &str, one: String, other: String, is_told_apart: bool) {
        let limiter = RateLimiter::builder(Quota::per_day(1)).capacity(64).clock(Clock::manual()).build();
        let heads = [one, other].map(|value| head(&[(name, value)]));
        for (n, head) in heads.iter().enumerate() {
            let passes = limiter.check(&key.extract(head).unwrap()).is_ok();
            assert_eq!(passes, n == 0 || is_told_apart, "{name}, {n}");
            assert!(limiter.check(&key.extract(head).unwrap()).is_err(), "{name}: the same again");
        }
        assert_eq!(limiter.stats().len, if is_told_apart { 2 } else { 1 }, "{name}");
    }
    check(HeaderKey::new("x-api-key").unwrap(), "x-api-key", huge('a', ""), huge('b', ""), true);
    check(BearerToken, "authorization", huge('a', "Bearer "), huge('b', "Bearer "), true);
    let any = AnyKey::new(HeaderKey::new("x-api-key").unwrap());
    check(any, "x-api-key", huge('a', ""), huge('b', ""), true);
    let closure = |head: &Parts| head.headers.get("x-api-key").map(|value| value.as_bytes().to_vec());
    check(closure, "x-api-key", huge('a', ""), huge('b', ""), true);
    // Of cookies so much is read and no more: whoever sends more has a limit with all who do.
    let cookie = || CookieKey::new("session").unwrap();
    check(cookie(), "cookie", huge('a', "session="), huge('b', "session="), false);
    check(cookie(), "cookie", huge('a', "session=a; y="), huge('b', "session=b; y="), false);

    // Those that take only what is known.
    assert!(HostKey::among(["a.example"]).unwrap().extract(&head(&[("host", huge('a', ""))])).is_err());
    let behind = ClientIp::behind(["10.0.0.0/8"]).unwrap();
    let mut told = head(&[("x-forwarded-for", huge('a', "1.2.3.4, "))]);
    told.extensions.insert(PeerAddr("10.0.0.1:80".parse().unwrap()));
    assert_eq!(behind.extract(&told).unwrap().to_string(), "10.0.0.1", "what cannot be read is not gone past");
}

#[test]
fn names_that_are_none_are_refused_when_built() {
    for name in ["", "not a name", "a:b", "a\r\nb", "\u{e9}", &"x".repeat(70_000)] {
        let error = HeaderKey::new(name).unwrap_err().to_string();
        assert!(error.starts_with('"') && error.contains("not the name of a header"), "{error}");
        assert!(error.len() < 200, "{error}");
    }
    for name in ["", "a b", "a=b", "a;b", "a,b", "\"a\"", "\u{e9}"] {
        let error = CookieKey::new(name).unwrap_err().to_string();
        assert!(error.contains(&format!("{name:?}")) && error.contains("not the name of a cookie"), "{error}");
    }
}

#[derive(Clone)]
struct User {
    id: u64,
    name: Arc<str>,
}

#[test]
fn an_extension_counts_by_what_the_closure_takes() {
    let mut head = head::<&str>(&[]);
    let by_id = ExtensionKey::<User>::new(|user: &User| user.id);
    let by_name = ExtensionKey::new(|user: &User| user.name.clone());
    let Err(NoKey::NotInserted(what)) = by_id.extract(&head) else { panic!("it is not there") };
    assert!(what.contains("keys::User") && what.contains("add it after the limit"), "{what}");
    head.extensions.insert(User { id: 7, name: "ann".into() });
    assert_eq!(text_of(&by_id, &head), "7");
    assert_eq!(text_of(&by_name.clone(), &head), "ann");
    assert_eq!(format!("{by_id:?}"), "ExtensionKey(\"http::keys::User\")");
}

fn user(id: u64, name: &str) -> User {
    User { id, name: name.into() }
}

#[test]
fn the_second_key_counts_where_a_request_lacks_the_first() {
    let by_name = || ExtensionKey::new(|user: &User| user.name.clone());
    let header = || HeaderKey::new("x-a").unwrap();
    let mut head = head(&[("x-a", "1.2.3.4")]);
    assert_eq!(text_of(&first_of(by_name(), header()), &head), "second:1.2.3.4");
    head.extensions.insert(user(7, "1.2.3.4"));
    assert_eq!(text_of(&first_of(by_name(), header()), &head), "first:1.2.3.4");
    // A user with that name is not that address, and a direct call finds each.
    let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
    let key = first_of(by_name(), header());
    assert!(limiter.check(&key.extract(&head).unwrap()).is_ok());
    assert!(limiter.check(&key.extract(&head).unwrap()).is_err());
    assert!(limiter.check(&("first", "1.2.3.4")).is_err());
    head.extensions.remove::<User>();
    assert!(limiter.check(&key.extract(&head).unwrap()).is_ok());
    assert!(limiter.check(&("second", "1.2.3.4")).is_err());
    assert!(limiter.check("1.2.3.4").is_ok());

    // Three, and why there is none of them.
    let three = || first_of(by_name(), first_of(header(), CookieKey::new("c").unwrap()));
    check(three(), &[("x-a", "a"), ("cookie", "c=c")], "second:first:a");
    check(three(), &[("cookie", "c=c")], "second:second:c");
    check(three(), &[], "absent: the cookie c");
    head.extensions.insert(user(7, "a"));
    assert_eq!(text_of(&three(), &head), "first:a");
    // Parts of a pair do not run into each other.
    check((first_of(header(), GlobalKey), header()), &[("x-a", "first:b")], "first:first%3Ab:first%3Ab");
}

/// The key of a dynamic extractor is the key of the one inside: the same calls of the hasher, the same text.
#[test]
fn any_key_counts_as_the_key_inside() {
    #[track_caller]
    fn same<E: KeyExtractor + Clone + Send + Sync + 'static>(key: E, head: &Parts) {
        let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
        let any = AnyKey::new(key.clone());
        let nested = AnyKey::new(any.clone());
        assert!(limiter.check(&key.extract(head).unwrap()).is_ok());
        assert!(limiter.check(&any.extract(head).unwrap()).is_err(), "{any:?}");
        assert!(limiter.check(&nested.extract(head).unwrap()).is_err(), "{any:?}");
        assert!(limiter.check(&Arc::new(key.clone()).extract(head).unwrap()).is_err());
        assert_eq!(text_of(&any, head), text_of(&key, head));
        assert_eq!(text_of(&nested, head), text_of(&key, head));
        // In a pair as well.
        let seven = |_: &Parts| Some(7);
        assert!(limiter.check(&(key, seven).extract(head).unwrap()).is_ok());
        assert!(limiter.check(&(any, seven).extract(head).unwrap()).is_err());
    }
    let mut head = head(&[
        ("x-a", &b"abc"[..]),
        ("x-b", b"\xff\xfe"),
        ("cookie", b"c=%61"),
        ("authorization", b"Bearer t"),
        ("host", b"a.example"),
    ]);
    head.extensions.insert(user(7, "ann"));
    head.extensions.insert(PeerAddr("[2001:db8::1]:80".parse().unwrap()));
    same(HeaderKey::new("x-a").unwrap(), &head);
    same(HeaderKey::new("x-b").unwrap(), &head);
    same(CookieKey::new("c").unwrap(), &head);
    same(BearerToken, &head);
    same(HostKey::among(["a.example"]).unwrap(), &head);
    same(ClientIp::peer(), &head);
    same(ExtensionKey::new(|user: &User| user.id), &head);
    same(ExtensionKey::new(|user: &User| user.name.clone()), &head);
    same(|head: &Parts| Some((head.method.as_str().to_owned(), 7_i8)), &head);
    same(|_: &Parts| Some((u128::MAX, 'x', true, vec![1_u8])).map(|(a, b, c, d)| ((a, b), c, d)), &head);
    same((ClientIp::peer(), BearerToken), &head);
    let missing = AnyKey::new(HeaderKey::new("x-c").unwrap());
    assert_eq!(text_of(&missing, &head), "absent: the header x-c");
    assert!(format!("{missing:?}").contains("HeaderKey"), "{missing:?}");
    assert_eq!(text_of(&AnyKey::new(first_of(missing, BearerToken)), &head), "second:t");
}

/// Each showed a full limit to a direct call with the string.
#[test]
fn a_direct_call_finds_a_value_by_its_string() {
    let limiter = RateLimiter::builder(Quota::per_hour(9)).clock(Clock::manual()).build();
    let count = |key: &dyn Fn(&Parts) -> Result<(), ()>, lines: &[(&str, &str)]| key(&head(lines)).unwrap();
    fn charge<'k>(limiter: &'k RateLimiter, key: impl KeyExtractor + 'k) -> impl Fn(&Parts) -> Result<(), ()> + 'k {
        move |head| limiter.check(&key.extract(head).map_err(|_| ())?).map(drop).map_err(|_| ())
    }
    let long = "x".repeat(5000);
    let encoded = format!("{long}%C3%BC");
    for (value, plain) in
        [("abc", "abc"), ("a%62%63", "abc"), ("", ""), ("%C3%BC", "\u{fc}"), (&encoded, &format!("{long}\u{fc}"))]
    {
        limiter.reset(plain);
        count(&charge(&limiter, CookieKey::new("s").unwrap()), &[("cookie", &format!("s={value}"))]);
        assert_eq!(limiter.peek(plain).remaining(), 8, "{value}");
        assert_eq!(limiter.peek(&Decoded::percent(value)).remaining(), 8, "{value}");
        assert_eq!(limiter.peek(&Decoded::plain(plain)).remaining(), 8, "{value}");
        if !value.contains('%') {
            count(&charge(&limiter, HeaderKey::new("x-a").unwrap()), &[("x-a", value)]);
            assert_eq!(limiter.peek(&plain.to_owned()).remaining(), 7, "{value}");
        }
    }
    count(&charge(&limiter, BearerToken), &[("authorization", "bearer token")]);
    assert_eq!(limiter.peek("token").remaining(), 8);
    count(&charge(&limiter, HostKey::among(["a.example"]).unwrap()), &[("host", "A.example:80")]);
    assert_eq!(limiter.peek("a.example").remaining(), 8);
    count(
        &charge(&limiter, (BearerToken, HeaderKey::new("x-a").unwrap())),
        &[("authorization", "bearer t"), ("x-a", "u")],
    );
    assert_eq!(limiter.peek(&("t", "u")).remaining(), 8);

    // What is no string is found by its bytes, and is nothing else.
    limiter.check(&Decoded::percent("%FF%FE")).unwrap();
    assert_eq!(limiter.peek(&Decoded::plain(b"\xff\xfe")).remaining(), 8);
    for other in ["\u{fffd}\u{fffd}", "%FF%FE", "\u{ff}\u{fe}"] {
        assert_eq!(limiter.peek(other).remaining(), 9, "{other}");
    }
    assert_eq!(format!("{:?}", Decoded::percent("a%22%2562")), r#""a\"%62""#);
}

#[test]
fn a_token_counts_however_it_is_spelled() {
    for spelling in
        ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR   abc", "Bearer\tabc", " Bearer abc ", "Bearer \t abc\t"]
    {
        check(BearerToken, &[("authorization", spelling)], "abc");
        check(BearerToken, &[("authorization", spelling), ("authorization", "Bearer abc")], "abc");
    }
    check(BearerToken, &[("authorization", "Bearer a.B-c_d~e+f/g==")], "a.B-c_d%7Ee%2Bf%2Fg%3D%3D");
    check(BearerToken, &[("authorization", "Bearer 1|abc:d")], "1%7Cabc%3Ad");
    check(BearerToken, &[("authorization", "Bearer bearer")], "bearer");
    for none in
        ["", "Bearer", "bearer ", "Basic abc", "Bearerabc", "abc", "Bearer=abc", "\"Bearer\" abc", "Basic a, Bearer b"]
    {
        check(BearerToken, &[("authorization", none)], "absent: a bearer token");
    }
    check(
        BearerToken,
        &[("proxy-authorization", "Bearer abc"), ("x-authorization", "Bearer abc")],
        "absent: a bearer token",
    );
    check(BearerToken, &[], "absent: a bearer token");
    // Whatever a program takes of these, the rest cannot be rotated.
    let rotated: [fn(u32) -> Vec<String>; 8] = [
        |n| vec!["Bearer real".into(), format!("Bearer {n}")],
        |n| vec![format!("Bearer {n}"), "Bearer real".into()],
        |n| vec!["Basic real".into(), format!("Bearer {n}")],
        |n| vec![format!("Bearer {n}"), "Basic real".into()],
        |n| vec![format!("Bearer real {n}")],
        |n| vec![format!("Bearer real,{n}")],
        |n| vec![format!("Bearer real; x={n}")],
        |n| vec![format!("Bearer \"real\"{n}")],
    ];
    for lines in rotated {
        assert_eq!(admitted(BearerToken, "authorization", lines), 1, "{:?}", lines(0));
    }
    let spaced = |n: u32| vec![format!("bearer{}real", " ".repeat(1 + n as usize % 500))];
    assert_eq!(admitted(BearerToken, "authorization", spaced), 1);
}

/// The head of a request with this target and these `Host` lines.
fn head_for(target: &str, hosts: &[&str]) -> Parts {
    let lines: Vec<_> = hosts.iter().map(|host| ("host", host)).collect();
    let mut head = head(&lines);
    head.uri = target.parse().unwrap();
    head
}

#[test]
fn a_host_counts_if_it_is_listed() {
    let key =
        HostKey::among(["Example.com", "api.example.com.", "xn--bcher-kva.example", "[2001:DB8::1]", "192.0.2.7"])
            .unwrap();
    let check = |target: &str, hosts: &[&str], expected: &str| {
        assert_eq!(text_of(&key, &head_for(target, hosts)), expected, "{target} {hosts:?}");
    };
    let none = "absent: one host that this server knows";
    for host in [
        "example.com",
        "EXAMPLE.com",
        "example.com:80",
        "example.com:",
        "example.com.",
        "Example.COM.:8443",
        "example.com:65535",
    ] {
        check("/", &[host], "example.com");
        check(&format!("http://{host}/"), &[], "example.com");
        check(&format!("https://{host}/"), &["example.com"], "example.com");
        check("/", &[host, "example.com"], "example.com");
    }
    check("/", &["api.example.com"], "api.example.com");
    check("/", &["xn--bcher-kva.example"], "xn--bcher-kva.example");
    check("/", &["[2001:db8::1]:80"], "%5B2001%3Adb8%3A%3A1%5D");
    check("/", &["192.0.2.7:80"], "192.0.2.7");
    // What a client makes up is no key.
    for host in [
        "",
        ".",
        ":80",
        "other.example",
        "sub.example.com",
        "example.co",
        "example.com.evil.example",
        "example.com..",
        "example.com:http",
        "example.com:80:80",
        "example.com:123456",
        "user@example.com",
        "example.com,other.example",
        "example.com other.example",
        "example.com/",
        "%65xample.com",
        "http://example.com",
        "[example.com]",
        "[2001:db8::1",
        "[2001:db8:0::1]",
        "[2001:db8::1]x",
        "b\u{fc}cher.example",
    ] {
        check("/", &[host], none);
        check("/", &["example.com", host], none);
        check("/", &[host, "example.com"], none);
        check("http://example.com/", &[host], none);
    }
    check("/", &[], none);
    check("http://user@example.com/", &[], none);
    // One site on the account of another.
    check("http://example.com/", &["api.example.com"], none);
    check("http://api.example.com/", &["example.com"], none);
    check("/", &["example.com", "api.example.com"], none);
    check("http://example.com/", &["example.com", "api.example.com"], none);
}

#[test]
fn hosts_that_are_none_are_refused_when_built() {
    for host in [
        "",
        ".",
        "a b",
        "example.com:80",
        "http://example.com",
        "example.com/",
        "*.example.com",
        "b\u{fc}cher.example",
        "a..",
        "::1",
        "u@a",
    ] {
        let error = HostKey::among(["example.com", host]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{host:?} is not a host")), "{error}");
    }
    assert!(HostKey::among::<[&str; 0]>([]).unwrap_err().to_string().contains("no host is given"));
}

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

/// Law 8, for each extractor: whatever a client varies, it has one key. (Those that need axum's router have theirs below.)
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

/// A mistake in the program must not change what is counted.
#[test]
fn the_second_key_does_not_hide_a_mistake() {
    struct Mistaken;
    impl KeyExtractor for Mistaken {
        type Key<'a> = ();
        fn extract<'a>(&'a self, _: &'a Parts) -> Result<(), NoKey> {
            Err(NoKey::Misconfigured("add it".into()))
        }
    }
    check(first_of(Mistaken, GlobalKey), &[], "misconfigured: add it");
    check(first_of(HeaderKey::new("x-a").unwrap(), Mistaken), &[], "misconfigured: add it");
    check(first_of(HeaderKey::new("x-a").unwrap(), first_of(Mistaken, GlobalKey)), &[], "misconfigured: add it");
}

/// The example of `KeyExtractor`: whatever method a client makes up, it has two limits.
#[test]
fn a_method_is_a_kind_of_two() {
    let kind = |head: &Parts| Some(if head.method.is_safe() { "read" } else { "write" });
    let key = (kind, ClientIp::peer());
    let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
    let ask = |method: &str| {
        let mut head = head::<&str>(&[]);
        head.method = method.parse().unwrap();
        head.extensions.insert(PeerAddr("203.0.113.9:80".parse().unwrap()));
        limiter.check(&key.extract(&head).unwrap()).is_ok()
    };
    let made_up: Vec<String> = (0..100).map(|n| format!("X{n}")).collect();
    let methods = ["GET", "HEAD", "POST", "get"].into_iter().chain(made_up.iter().map(String::as_str));
    assert_eq!(methods.filter(|method| ask(method)).collect::<Vec<_>>(), ["GET", "POST"]);
}

#[test]
fn keys_combine() {
    let header = || HeaderKey::new("x-a").unwrap();
    let cookie = || CookieKey::new("b").unwrap();
    let method = |head: &Parts| Some(head.method.as_str().to_owned());
    let lines = [("x-a", "a"), ("cookie", "b=b")];
    check(GlobalKey, &lines, "*");
    check(method, &lines, "GET");
    check(|_: &Parts| None::<u32>, &lines, "absent: what this route is counted by");
    check((header(), cookie()), &lines, "a:b");
    check((header(), method, cookie()), &lines, "a:GET:b");
    check((header(), cookie()), &lines[..1], "absent: the cookie b");
    check((header(), cookie(), GlobalKey), &lines[1..], "absent: the header x-a");
    // Parts do not run into each other.
    let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
    for (a, b) in [("", "abc"), ("a", "bc"), ("ab", "c"), ("abc", "")] {
        let pair = (CookieKey::new("a").unwrap(), cookie());
        let head = head(&[("cookie", format!("a={a}; b={b}"))]);
        assert!(limiter.check(&pair.extract(&head).unwrap()).is_ok(), "{a} {b}");
    }
}

/// The limiter's own hasher tells where one write ends and the next begins. A hasher need not.
#[test]
fn parts_are_apart_for_any_hasher() {
    #[derive(Default)]
    struct Bytes(Vec<u8>);
    impl Hasher for Bytes {
        fn write(&mut self, bytes: &[u8]) {
            self.0.extend(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let pair = (CookieKey::new("a").unwrap(), CookieKey::new("b").unwrap());
    let hashed = |a: &str, b: &str| {
        let head = head(&[("cookie", format!("a={a}; b={b}"))]);
        let mut hasher = Bytes::default();
        pair.extract(&head).unwrap().hash(&mut hasher);
        hasher.0
    };
    let all = [hashed("", "abc"), hashed("a", "bc"), hashed("ab", "c"), hashed("abc", "")];
    assert_eq!(BTreeSet::from(all.clone()).len(), all.len());
    assert_eq!(hashed("%61", "b%63"), all[1]);
}

#[test]
fn a_missing_key_reads_well() {
    let no_key = HeaderKey::new("x-api-key").unwrap().extract(&head::<&str>(&[])).unwrap_err();
    assert_eq!(no_key.to_string(), "the request lacks the header x-api-key");
    assert_eq!(no_key, NoKey::Absent("the header x-api-key".into()));
    assert_ne!(no_key, NoKey::Absent("the header x-api".into()));
}

/// Pieces of hosts, among any bytes that a header may hold.
fn host_bytes() -> impl Strategy<Value = Vec<u8>> {
    pieces(&["a.b", "A.B", "[::1]", ":", "80", ".", "@", "[", "]", "65535", " "], 1..4)
}

/// The same of credentials.
fn authorization_bytes() -> impl Strategy<Value = Vec<u8>> {
    pieces(&["Bearer ", "bearer\t", "Bearer", "Basic ", " ", "abc", "abc", ",", ";", "\"", "="], 1..5)
}

fn pieces(pieces: &'static [&str], count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    let any = prop::collection::vec(prop_oneof![Just(b'\t'), 32_u8..127, 128_u8..], 0..3);
    let piece = prop_oneof![6 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()), 1 => any];
    prop::collection::vec(piece, count).prop_map(|pieces| pieces.concat())
}

proptest! {
    /// Any spelling of a value is the value, for the limiter and in its text; and no bytes do harm.
    #[test]
    fn spellings_of_a_value_are_one_key(value in prop::collection::vec(any::<u8>(), 0..200), choices in any::<u64>()) {
        // Encoded are the bytes that must be, and some by choice.
        let spell = |choices: u64| -> String {
            let mut text = String::new();
            for (n, &byte) in value.iter().enumerate() {
                if byte.is_ascii_alphanumeric() && choices >> (n % 64) & 1 == 0 {
                    text.push(byte.into());
                } else if choices >> ((n + 7) % 64) & 1 == 0 {
                    text.push_str(&format!("%{byte:02x}"));
                } else {
                    text.push_str(&format!("%{byte:02X}"));
                }
            }
            text
        };
        let key = CookieKey::new("s").unwrap();
        let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
        let heads = [spell(0), spell(choices), spell(u64::MAX)].map(|spelling| head(&[("cookie", format!("s={spelling}"))]));
        let plain = KeyText::of(&value);
        for (n, head) in heads.iter().enumerate() {
            let found = key.extract(head).unwrap();
            prop_assert_eq!(KeyText::of(&found), plain.clone());
            prop_assert_eq!(limiter.check(&found).is_ok(), n == 0);
            // And its end matters.
            let longer = head.headers["cookie"].to_str().unwrap().to_owned() + "x";
            let longer = self::head(&[("cookie", longer)]);
            prop_assert_ne!(key.extract(&longer).unwrap(), found);
            prop_assert_eq!(limiter.check(&key.extract(&longer).unwrap()).is_ok(), n == 0);
        }
    }

    /// Any bytes in `Host` give a host that is listed or none, and two lines that agree.
    #[test]
    fn any_host_is_listed_or_none(lines in prop::collection::vec(host_bytes(), 0..3)) {
        let key = HostKey::among(["a.b", "[::1]"]).unwrap();
        let found = |lines: &[Vec<u8>]| {
            let lines: Vec<_> = lines.iter().map(|line| ("host", line)).collect();
            key.extract(&head(&lines)).ok().map(str::to_owned)
        };
        // The slow, obvious twin of one line.
        let twin = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).to_lowercase();
            let port = |rest: &str| {
                let digits = rest.strip_prefix(':').unwrap_or_default();
                rest.is_empty() || (rest.starts_with(':') && digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            };
            let is = |host: &str| line.strip_prefix(host).is_some_and(port);
            [("a.b", "a.b"), ("a.b.", "a.b"), ("[::1]", "[::1]")].iter().find(|(host, _)| is(host)).map(|(_, key)| *key)
        };
        let twins: BTreeSet<_> = lines.iter().map(|line| twin(line)).collect();
        let expected = if twins.len() == 1 { twins.first().copied().flatten() } else { None };
        prop_assert_eq!(found(&lines), expected.map(str::to_owned));
    }

    /// Any bytes in `Authorization` give a token without white space, the key of all that are unclear, or none.
    #[test]
    fn any_authorization_is_harmless(lines in prop::collection::vec(authorization_bytes(), 0..3)) {
        let pairs: Vec<_> = lines.iter().map(|line| ("authorization", line)).collect();
        let text = text_of(&BearerToken, &head(&pairs));
        let unclear = text == "%" || text == "absent: a bearer token";
        prop_assert!(unclear || !text.is_empty() && !text.contains("%20") && !text.contains("%2C"), "{text}");
        if !unclear {
            // Every line says the same.
            for line in &lines {
                prop_assert_eq!(&text_of(&BearerToken, &head(&[("authorization", line)])), &text);
            }
            // And another that does not takes it away.
            let more: Vec<_> = pairs.iter().copied().map(|(name, line)| (name, &line[..])).chain([("authorization", &b"Bearer zzz"[..])]).collect();
            prop_assert_eq!(text_of(&BearerToken, &head(&more)), if text == "zzz" { "zzz" } else { "%" });
        }
    }

    /// Any bytes in a cookie header give a key or none, and bytes after it cannot hide what is there.
    #[test]
    fn any_cookies_are_harmless(
        line in prop::collection::vec(prop_oneof![Just(b'\t'), 32_u8..127, 128_u8..], 0..60),
    ) {
        let key = CookieKey::new("s").unwrap();
        let with = [&line[..], b"; s=real"].concat();
        let found = text_of(&key, &head(&[("cookie", &with)]));
        let alone = text_of(&key, &head(&[("cookie", &line)]));
        let expected = if alone == "real" || alone.starts_with("absent") { "real" } else { "%" };
        prop_assert_eq!(found, expected);
    }
}

/// Requests through real axum routers, with a layer that answers with the key it sees.
#[cfg(feature = "axum")]
mod routes {
    use std::convert::Infallible;
    use std::future::{Ready, ready};
    use std::task::{Context, Poll};

    use axum::Router;
    use axum::body::Body;
    use axum::response::Response;
    use axum::routing::{any, get, post};
    use http::Request;
    use tollgate::http::{BearerToken, ClientIp, CookieKey, ExtensionKey, HeaderKey, HostKey, KeyExtractor};
    use tollgate::http::{MethodRouteKey, PathParam, PeerAddr, RouteKey, first_of};
    use tollgate::{Clock, Quota, RateLimitLayer, RateLimiter};
    use tower::{Layer, Service, ServiceExt};

    use super::text_of;
    use crate::logged::Lines;

    /// Where a limit would stand: answers with the key, in a header.
    #[derive(Clone)]
    struct Probe<K>(K);

    #[derive(Clone)]
    struct Probed<K>(K);

    impl<S, K: Clone> Layer<S> for Probe<K> {
        type Service = Probed<K>;

        fn layer(&self, _: S) -> Probed<K> {
            Probed(self.0.clone())
        }
    }

    impl<K: KeyExtractor> Service<Request<Body>> for Probed<K> {
        type Response = Response;
        type Error = Infallible;
        type Future = Ready<Result<Response, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Body>) -> Self::Future {
            let key = text_of(&self.0, &request.into_parts().0);
            ready(Ok(Response::builder().header("key", key).body(Body::empty()).unwrap()))
        }
    }

    /// The key of a request (`GET /path`, or another method in front).
    #[track_caller]
    fn ask<S>(app: &S, request: &str) -> String
    where
        S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone,
    {
        let (method, uri) = request.split_once(' ').unwrap();
        answer(app, Request::builder().method(method).uri(uri))
    }

    fn answer<S>(app: &S, request: http::request::Builder) -> String
    where
        S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone,
    {
        let request = request.body(Body::empty()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
        match response.headers().get("key") {
            Some(key) => key.to_str().unwrap().to_owned(),
            None => response.status().to_string(),
        }
    }

    #[track_caller]
    fn check(app: &Router, request: &str, expected: &str) {
        assert_eq!(ask(app, request), expected, "{request}");
    }

    async fn ok() {}

    fn routes() -> Router {
        Router::new()
            .route("/", get(ok))
            .route("/users/{id}", get(ok).post(ok))
            .route("/search", get(ok))
            .route("/slash/", get(ok))
            .route("/slash", get(ok))
            .route("/files/{*path}", get(ok))
    }

    #[test]
    fn a_route_is_one_key() {
        let app = routes().layer(Probe(RouteKey));
        check(&app, "GET /users/1", "%2Fusers%2F%7Bid%7D");
        check(&app, "GET /users/2?x=y", "%2Fusers%2F%7Bid%7D");
        check(&app, "POST /users/2", "%2Fusers%2F%7Bid%7D");
        check(&app, "GET /search", "%2Fsearch");
        check(&app, "GET /files/a/b/c", "%2Ffiles%2F%7B%2Apath%7D");
        check(&app, "GET /", "%2F");
        // With and without a slash at the end.
        check(&app, "GET /slash", "%2Fslash");
        check(&app, "GET /slash/", "%2Fslash");
    }

    #[test]
    fn what_matches_no_route_is_one_key_too() {
        const UNMATCHED: &str = "%";
        for app in [
            routes().layer(Probe(RouteKey)),
            routes().fallback(ok).layer(Probe(RouteKey)),
            Router::new().nest("/api", routes()).fallback(ok).layer(Probe(RouteKey)),
            Router::new().nest("/api", routes().fallback(ok)).layer(Probe(RouteKey)),
        ] {
            for path in
                ["/nothing", "/a/b/c", "/search/", "//search", "/SEARCH", "/%73earch", "/users", "/users/1/", "/api/x"]
            {
                check(&app, &format!("GET {path}"), UNMATCHED);
            }
        }
    }

    #[test]
    fn a_nested_route_is_its_whole_path() {
        let inside = Router::new().nest("/{tenant}", Router::new().nest("/api", routes().layer(Probe(RouteKey))));
        let outside = Router::new().nest("/{tenant}", Router::new().nest("/api", routes())).layer(Probe(RouteKey));
        for app in [inside, outside] {
            check(&app, "GET /acme/api/users/1", "%2F%7Btenant%7D%2Fapi%2Fusers%2F%7Bid%7D");
            check(&app, "GET /other/api/search", "%2F%7Btenant%7D%2Fapi%2Fsearch");
        }
        // A nested service is not matched yet, seen from outside.
        let app = Router::new().nest_service("/api", routes()).layer(Probe(RouteKey));
        check(&app, "GET /api/search", "%");
        let app = Router::new().nest_service("/api", routes().layer(Probe(RouteKey)));
        check(&app, "GET /api/search", "%2Fapi%2Fsearch");
    }

    #[test]
    fn around_the_router_no_route_is_known() {
        for answer in [
            ask(&Probe(RouteKey).layer(routes()), "GET /search"),
            ask(&Probe(MethodRouteKey).layer(routes()), "GET /search"),
            ask(&Probe(PathParam::new("id")).layer(routes()), "GET /users/1"),
        ] {
            assert!(answer.starts_with("misconfigured: ") && answer.contains("Router::layer"), "{answer}");
        }
    }

    #[test]
    fn methods_count_as_what_answers_them() {
        let app = Router::new().route("/a", any(ok).layer(Probe(MethodRouteKey)));
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
            check(&app, &format!("{method} /a"), &format!("{method}:%2Fa"));
        }
        check(&app, "HEAD /a", "GET:%2Fa");
        for method in ["BREW", "get", "PROPFIND", "X1", "X2"] {
            check(&app, &format!("{method} /a"), "other:%2Fa");
        }
        let app = routes().layer(Probe(MethodRouteKey));
        check(&app, "HEAD /search", "GET:%2Fsearch");
        check(&app, "POST /users/1", "POST:%2Fusers%2F%7Bid%7D");
        check(&app, "POST /nothing", "POST:%");

        let app = Router::new().route("/a", post(ok)).layer(Probe(MethodRouteKey));
        for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
            let request = Request::post("/a").header(name, "DELETE");
            assert_eq!(answer(&app, request), "POST:%2Fa");
        }
    }

    #[test]
    fn a_path_parameter_counts_by_its_value() {
        let layered = routes().layer(Probe(PathParam::new("id")));
        let on_route = Router::new().route("/users/{id}", get(ok).layer(Probe(PathParam::new("id"))));
        for app in [layered.clone(), on_route] {
            for spelling in ["/users/abc", "/users/%61bc", "/users/%61%62%63", "/users/ab%63?id=x"] {
                check(&app, &format!("GET {spelling}"), "abc");
            }
            check(&app, "GET /users/ABC", "ABC");
            check(&app, "GET /users/a%2Fb", "a%2Fb");
            check(&app, "GET /users/%2561", "%2561");
            check(&app, "GET /users/100%", "100%25");
            check(&app, "GET /users/%ff", "%FF");
        }
        // A server's mistake on routes that lack it, and nobody's on paths that are none.
        let answer = ask(&layered, "GET /search");
        assert!(answer.starts_with("misconfigured: ") && answer.contains("{id}"), "{answer}");
        check(&layered, "GET /nothing", "absent: the path parameter id");
        check(&layered, "GET /users/1/", "absent: the path parameter id");
    }

    #[test]
    fn wildcards_are_parameters() {
        let app = routes().layer(Probe(PathParam::new("path")));
        check(&app, "GET /files/a", "a");
        check(&app, "GET /files/a/b//c/", "a%2Fb%2F%2Fc%2F");
        check(&app, "GET /files//", "%2F");
        let app = routes().layer(Probe(PathParam::new("id")));
        assert!(ask(&app, "GET /files/a").starts_with("misconfigured: "));
    }

    #[test]
    fn text_may_stand_before_a_parameter() {
        let routes = Router::new().route("/v{version}/{{x}}{id}", get(ok));
        check(&routes.clone().layer(Probe(PathParam::new("version"))), "GET /v2/{x}7", "2");
        check(&routes.layer(Probe(PathParam::new("id"))), "GET /v2/{x}7", "7");
    }

    /// Where something between two routers rewrites the path, the first path and the matched route do not fit each other.
    #[test]
    fn no_value_is_better_than_a_wrong_one() {
        let inner = Router::new().route("/users/{id}", get(ok)).layer(Probe(PathParam::new("id")));
        let rewriting = tower::util::MapRequest::new(inner, |mut request: Request<Body>| {
            *request.uri_mut() = http::Uri::from_static("/users/7");
            request
        });
        let app = Router::new().fallback_service(rewriting);
        assert!(ask(&app, "GET /old/users/7").starts_with("misconfigured: "));
        assert!(ask(&app, "GET /old").starts_with("misconfigured: "));
        assert!(ask(&app, "GET /users/8").starts_with("misconfigured: "), "the handler sees 7");
        check(&app, "GET /users/7", "7");
        // All of the path taken by the prefix.
        let app = Router::new().nest("/{id}", Router::new().route("/", get(ok)).layer(Probe(PathParam::new("id"))));
        check(&app, "GET /7", "7");
        let service = Router::new().route("/", get(ok)).layer(Probe(PathParam::new("id")));
        check(&Router::new().nest_service("/{id}", service.clone()), "GET /7", "7");
        check(&Router::new().nest_service("/{id}", service), "GET /7/", "7");
    }

    #[test]
    fn parameters_are_found_inside_of_nest() {
        let probe = |name: &str| Probe(PathParam::new(name));
        for name in ["tenant", "version", "id"] {
            let routes = || Router::new().route("/users/{id}", get(ok)).route("/{{id}}/{id}", get(ok));
            let expected = match name {
                "tenant" => "acme",
                "version" => "v1",
                _ => "7",
            };
            let innermost =
                Router::new().nest("/{tenant}", Router::new().nest("/api/{version}", routes().layer(probe(name))));
            let between =
                Router::new().nest("/{tenant}", Router::new().nest("/api/{version}", routes()).layer(probe(name)));
            let outermost =
                Router::new().nest("/{tenant}", Router::new().nest("/api/{version}", routes())).layer(probe(name));
            let service = Router::new()
                .nest_service("/{tenant}/api/{version}", Router::new().fallback_service(routes().layer(probe(name))));
            for app in [innermost, between, outermost] {
                check(&app, "GET /acme/api/v1/users/7", expected);
                check(&app, "GET /%61cme/api/%761/users/%37", expected);
                check(&app, "GET /acme/api/v1/{id}/7", expected);
            }
            check(&service, "GET /acme/api/v1/users/7", expected);
        }
    }

    #[derive(Clone)]
    struct User(u64);

    async fn authenticate(mut request: axum::extract::Request, next: axum::middleware::Next) -> Response {
        if let Some(id) = request.headers().get("x-user").and_then(|id| id.to_str().ok()?.parse().ok()) {
            request.extensions_mut().insert(User(id));
        }
        next.run(request).await
    }

    /// Every request was refused, and nothing said why; the body named a type of the program.
    #[test]
    fn layers_in_the_wrong_order_are_logged_and_not_told() {
        let clock = Clock::manual();
        let limiter = RateLimiter::builder(Quota::per_hour(100)).clock(clock.clone()).build();
        let limit = RateLimitLayer::sharing(&limiter).key(ExtensionKey::new(|user: &User| user.0));
        let authenticated = axum::middleware::from_fn(authenticate);
        let wrong = routes().layer(authenticated.clone()).layer(limit.clone());
        let right = routes().layer(limit).layer(authenticated);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let send = |app: &Router, user: Option<&str>| {
            let mut request = Request::builder().uri("/search");
            if let Some(user) = user {
                request = request.header("x-user", user);
            }
            runtime.block_on(async {
                let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
                let status = response.status().as_u16();
                let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
                (status, String::from_utf8(body.to_vec()).unwrap())
            })
        };
        let mut answers = Vec::new();
        let lines = Lines::of(|| answers = (0..9).map(|_| send(&wrong, Some("7"))).collect());
        for (status, body) in answers {
            assert_eq!(status, 403);
            assert!(body.contains("lacks what it would be counted by"), "{body}");
            for internal in ["User", "keys", "::", "extension", "layer"] {
                assert!(!body.contains(internal), "{body}");
            }
        }
        assert_eq!(lines.len(), 1, "for 9 of a burst");
        for hint in ["WARN", "routes::User", "add it after the limit", "first_of"] {
            assert!(lines[0].contains(hint), "{hint}: {}", lines[0]);
        }
        clock.advance(std::time::Duration::from_secs(1));
        assert_eq!(Lines::of(|| drop(send(&wrong, Some("7")))).len(), 1);

        assert_eq!(send(&right, Some("7")).0, 200);
        assert_eq!(send(&right, None).0, 403);
    }

    /// The example of `first_of`, with the requests that try to get round it.
    #[test]
    fn users_count_by_their_number_and_others_by_their_address() {
        let limiter = RateLimiter::builder(Quota::per_hour(2)).clock(Clock::manual()).build();
        let user = ExtensionKey::new(|user: &User| user.0);
        let limit = RateLimitLayer::sharing(&limiter).key(first_of(user, ClientIp::peer()));
        let app = routes().layer(limit).layer(axum::middleware::from_fn(authenticate));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let send = |peer: [u8; 4], user: Option<&str>| {
            let mut request = Request::builder().uri("/search");
            if let Some(user) = user {
                request = request.header("x-user", user);
            }
            let mut request = request.body(Body::empty()).unwrap();
            request.extensions_mut().insert(PeerAddr((peer, 80).into()));
            runtime.block_on(app.clone().oneshot(request)).unwrap().status().as_u16()
        };
        let (here, there) = ([192, 0, 2, 7], [192, 0, 2, 8]);
        assert_eq!([send(here, Some("7")), send(there, Some("7")), send(here, Some("7"))], [200, 200, 429]);
        // Who leaves out its number, or makes one up that is none, is its address, whatever it makes up next.
        let made_up = ["x", "", "-1", "7 ", "0x7", "99999999999999999999999"];
        let answers: Vec<u16> = made_up.iter().map(|user| send(here, Some(user))).collect();
        assert_eq!(answers, [200, 200, 429, 429, 429, 429]);
        assert_eq!(send(here, None), 429);
        assert_eq!(send(there, None), 200);
        // Each limit is found by a direct call.
        assert_eq!(limiter.peek(&("first", 7_u64)).remaining(), 0);
        assert_eq!(limiter.peek(&("second", std::net::IpAddr::from(there))).remaining(), 1);
    }

    /// The examples of keys that a client chooses: one that makes up a new one for each request is held by its address.
    #[test]
    fn made_up_keys_are_held_by_the_address() {
        let clock = Clock::manual();
        let per_hour = |amount| {
            RateLimitLayer::sharing(&RateLimiter::builder(Quota::per_hour(amount)).clock(clock.clone()).build())
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let passed = |app: Router, request: &dyn Fn(u32) -> http::request::Builder| {
            let send = |n| {
                let mut request = request(n).body(Body::empty()).unwrap();
                request.extensions_mut().insert(PeerAddr("192.0.2.7:80".parse().unwrap()));
                runtime.block_on(app.clone().oneshot(request)).unwrap().status() == 200
            };
            (0..100).filter(|&n| send(n)).count()
        };
        let header = || routes().layer(per_hour(5).key(HeaderKey::new("x-api-key").unwrap())).layer(per_hour(10));
        assert_eq!(passed(header(), &|_| Request::get("/").header("x-api-key", "one")), 5);
        assert_eq!(passed(header(), &|n| Request::get("/").header("x-api-key", n)), 10);
        let cookie = || routes().layer(per_hour(5).key(CookieKey::new("session").unwrap())).layer(per_hour(10));
        assert_eq!(passed(cookie(), &|_| Request::get("/").header("cookie", "session=one")), 5);
        assert_eq!(passed(cookie(), &|n| Request::get("/").header("cookie", format!("session={n}"))), 10);
        let token = || routes().layer(per_hour(5).key(BearerToken)).layer(per_hour(10));
        assert_eq!(passed(token(), &|_| Request::get("/").header("authorization", "bearer one")), 5);
        assert_eq!(passed(token(), &|n| Request::get("/").header("authorization", format!("Bearer {n}"))), 10);
        let page = || {
            let app = Router::new().route("/users/{id}", get(ok));
            app.layer(per_hour(5).key(PathParam::new("id"))).layer(per_hour(10))
        };
        assert_eq!(passed(page(), &|n| Request::get(["/users/7", "/users/%37"][n as usize % 2])), 5);
        assert_eq!(passed(page(), &|n| Request::get(format!("/users/{n}"))), 10);
        // A host that is not listed is no key at all.
        let sites = HostKey::among(["example.com", "api.example.com"]).unwrap();
        let site = || routes().layer(per_hour(5).key((sites.clone(), ClientIp::peer())));
        assert_eq!(passed(site(), &|_| Request::get("/").header("host", "example.com")), 5);
        assert_eq!(passed(site(), &|n| Request::get("/").header("host", format!("{n}.example.com"))), 0);
        assert_eq!(passed(site(), &|n| Request::get("/").header("host", format!("Example.COM:{n}"))), 5);
    }

    /// What the documentation says of the keys that axum's router knows.
    #[test]
    fn a_direct_call_finds_what_a_route_counted() {
        let limiter = RateLimiter::builder(Quota::per_hour(9)).clock(Clock::manual()).build();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let send = |app: Router, path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            runtime.block_on(app.oneshot(request)).unwrap().status().as_u16()
        };
        let sharing = || RateLimitLayer::sharing(&limiter);
        assert_eq!(send(routes().layer(sharing().key(RouteKey)), "/users/7"), 200);
        assert_eq!(send(routes().layer(sharing().key(MethodRouteKey)), "/users/7"), 200);
        assert_eq!(send(routes().layer(sharing().key(PathParam::new("id"))), "/users/%37"), 200);
        assert_eq!(send(routes().layer(sharing().key(RouteKey)), "/nothing"), 404);
        assert_eq!(limiter.peek("/users/{id}").remaining(), 8);
        assert_eq!(limiter.peek(&("GET", "/users/{id}")).remaining(), 8);
        assert_eq!(limiter.peek("7").remaining(), 8);
        assert_eq!(limiter.peek("").remaining(), 8);
    }

    /// The key, the layer and the router together: a client that varies all it can has one limit for each route.
    #[test]
    fn a_route_cannot_be_dodged() {
        let layer = RateLimitLayer::new(Quota::per_hour(1)).key((MethodRouteKey, ClientIp::peer()));
        let app = routes().layer(layer);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let send = |method: &str, path: &str| {
            let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
            request.extensions_mut().insert(PeerAddr("203.0.113.9:80".parse().unwrap()));
            runtime.block_on(app.clone().oneshot(request)).unwrap().status().as_u16()
        };
        assert_eq!(send("GET", "/users/1"), 200);
        assert_eq!(send("GET", "/users/2"), 429);
        assert_eq!(send("HEAD", "/users/3"), 429);
        assert_eq!(send("POST", "/users/1"), 200);
        assert_eq!(send("GET", "/nothing"), 404);
        assert_eq!(send("GET", "//users/1"), 429);
        assert_eq!(send("BREW", "/search"), 405);
        assert_eq!(send("BREW2", "/search"), 429);
    }
}
