//! The other keys: headers, cookies, extensions, and what axum's router knows.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use tollgate::http::{
    AnyKey, BearerToken, ClientIp, CookieKey, Decoded, ExtensionKey, GlobalKey, HeaderKey, HostKey, KeyExtractor,
    NoKey, PeerAddr, first_of,
};
use tollgate::{Clock, KeyText, Quota, RateLimiter};

pub(crate) fn head<V: AsRef<[u8]>>(lines: &[(&str, V)]) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        head.headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    head
}

/// The text of a key, or why there is none.
pub(crate) fn text_of(key: &impl KeyExtractor, head: &Parts) -> String {
    match key.extract(head) {
        Ok(key) => KeyText::of(&key),
        Err(NoKey::Absent(what)) => format!("absent: {what}"),
        Err(NoKey::Misconfigured(what)) => format!("misconfigured: {what}"),
        Err(other) => panic!("{other:?}"),
    }
}

/// The key of a request with these header lines.
#[track_caller]
pub(crate) fn check(key: impl KeyExtractor, lines: &[(&str, &str)], expected: &str) {
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
pub(crate) struct User {
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
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

pub(crate) fn user(id: u64, name: &str) -> User {
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
