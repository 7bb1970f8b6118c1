//! What must hold for any bytes, by the public API alone. Run by the fuzzer (`fuzz/`) and by `tests/http/fuzz_corpus.rs`.

#![allow(dead_code)] // each fuzz target uses one of these

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::LazyLock;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};
use tollgate::http::{
    BearerToken, ClientIp, CookieKey, Decoded, HeaderKey, HostKey, KeyExtractor, Networks, NoKey, PeerAddr,
};
use tollgate::{Key, KeyText, ParseError, Policy, Quota};

const XFF: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = http::header::FORWARDED;

const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));

/// Built once: what is fuzzed is the reading.
static BEHIND: LazyLock<ClientIp> =
    LazyLock::new(|| ClientIp::behind(["10.0.0.0/8"]).unwrap().ipv6_prefix(128).unwrap());

/// `X-Forwarded-For`, a line of the header for each line.
pub(crate) fn x_forwarded_for(data: &[u8]) {
    forwarding(&XFF, &BEHIND, data, &["203.0.113.9", "203.0.113.9:80, 10.0.0.2", "\"::ffff:203.0.113.9\",10.0.0.3"]);
}

/// `Forwarded`, a line of the header for each line.
pub(crate) fn forwarded(data: &[u8]) {
    static KEY: LazyLock<ClientIp> = LazyLock::new(|| BEHIND.clone().forwarded().unwrap());
    let honest = ["for=203.0.113.9", "for=\"203.0.113.9:80\";host=\"a\\\",b\", for=10.0.0.2", "by=_x; FOR=203.0.113.9"];
    forwarding(&FORWARDED, &KEY, data, &honest);
}

fn forwarding(name: &HeaderName, key: &ClientIp, data: &[u8], honest: &[&'static str]) {
    let mut lines = values(data);

    // Nobody but a trusted peer is believed.
    with_head(STRANGER, name, &lines, |head| {
        assert_eq!(key.extract(head).unwrap(), STRANGER);
        assert_eq!(ClientIp::peer().extract(head).unwrap(), STRANGER);
    });

    // What a client that is not a proxy is taken for does not depend on what stands left of it.
    let client = |lines: &[HeaderValue]| with_head(PROXY, name, lines, |head| key.extract(head).unwrap());
    let found = client(&lines);
    if !matches!(found, IpAddr::V4(found) if found.octets()[0] == 10) {
        let before = ["6.6.6.6", "for=\"6.6.6.6"].map(HeaderValue::from_static);
        assert_eq!(client(&[&before[..], &lines].concat()), found);
        let mut longer = lines.clone();
        match longer.first_mut() {
            Some(first) => *first = value(&[b"\",for=6.6.6.6;x=\", ", first.as_bytes()].concat()),
            None => longer.push(HeaderValue::from_static("\",for=6.6.6.6;x=\", ")),
        }
        assert_eq!(client(&longer), found);
    }

    // And proxies that append are believed, whatever came before: on a line of their own, or on the last one.
    let honest = honest[data.len() % honest.len()];
    match lines.last_mut() {
        Some(last) if data.len() % 2 == 0 => *last = value(&[last.as_bytes(), b", ", honest.as_bytes()].concat()),
        _ => lines.push(HeaderValue::from_static(honest)),
    }
    assert_eq!(client(&lines), CLIENT, "{honest}");
}

/// The lines that can be values of a header.
fn values(data: &[u8]) -> Vec<HeaderValue> {
    let lines = data.split(|&byte| byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok());
    // More than a request has, and slower to send than worth it.
    lines.take(1000).collect()
}

fn value(line: &[u8]) -> HeaderValue {
    HeaderValue::from_bytes(line).unwrap()
}

/// Asks about the head of a request. There is one, which is filled anew: what is fuzzed is the reading, not the making.
fn with_head<R>(peer: IpAddr, name: &HeaderName, lines: &[HeaderValue], ask: impl FnOnce(&mut Parts) -> R) -> R {
    thread_local!(static HEAD: RefCell<Parts> = RefCell::new(Request::new(()).into_parts().0));
    HEAD.with_borrow_mut(|head| {
        head.headers.clear();
        for line in lines {
            head.headers.append(name, line.clone());
        }
        let peer = PeerAddr(SocketAddr::new(peer, 40_000));
        match head.extensions.get_mut() {
            Some(this) => *this = peer,
            None => drop(head.extensions.insert(peer)),
        }
        ask(head)
    })
}

/// Address ranges, one a line.
pub(crate) fn cidr(data: &[u8]) {
    const MAPPED: IpAddr = IpAddr::V6(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0x0a00, 1));
    static CHAIN: [HeaderValue; 1] = [HeaderValue::from_static("203.0.113.9")];
    let text = String::from_utf8_lossy(data);
    for (index, line) in text.lines().take(4).enumerate() {
        let networks = Networks::new([line]);
        if index == 0 {
            assert_eq!(ClientIp::behind([line]).err().as_ref(), networks.as_ref().err(), "one reader of ranges");
        }
        match networks {
            Ok(networks) => {
                let key = ClientIp::behind([line]).unwrap();
                assert_eq!(networks.contains(MAPPED), networks.contains(PROXY), "{line}");
                assert!(Networks::new([format!("\t {line}  ")]) == Ok(networks), "white space is left out");
                let client = with_head(PROXY, &XFF, &CHAIN, |head| key.extract(head).unwrap());
                assert!([CLIENT, PROXY].contains(&client));
                // A range that is taken is made of an address, and perhaps of its number of bits.
                let (network, bits) = line.trim().split_once('/').unwrap_or((line.trim(), "0"));
                assert!(network.parse::<IpAddr>().is_ok() && bits.parse::<u8>().is_ok());
            }
            Err(error) => {
                let error = error.to_string();
                assert!(error.contains("is not an address range") && error.len() < 1200, "{error}");
                assert!(line.trim().parse::<IpAddr>().is_err(), "an address is a range");
            }
        }
    }
}

/// A header that holds one address: a line of it for each line.
pub(crate) fn address_header(data: &[u8]) {
    const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
    static KEY: LazyLock<ClientIp> = LazyLock::new(|| BEHIND.clone().header("x-real-ip").unwrap());
    let mut lines = values(data);
    let client = |peer: IpAddr| with_head(peer, &REAL_IP, &lines, |head| KEY.extract(head).unwrap());
    assert_eq!(client(STRANGER), STRANGER);
    let found = client(PROXY);
    if lines.len() != 1 {
        assert_eq!(found, PROXY, "no line, or several: none counts");
    } else if let Ok(plain) = String::from_utf8_lossy(lines[0].as_bytes().trim_ascii()).parse::<IpAddr>() {
        assert_eq!(found, plain.to_canonical(), "an address is read as std reads it");
    }
    // The number of hops, over the same bytes as a list.
    static HOPS: LazyLock<ClientIp> = LazyLock::new(|| ClientIp::behind_hops(1).unwrap());
    lines.push(HeaderValue::from_static("203.0.113.9"));
    assert_eq!(with_head(STRANGER, &XFF, &lines, |head| HOPS.extract(head).unwrap()), CLIENT);
}

/// A key's text and hash, or why there is none. What is equal has the same of both.
type Found = Result<(String, u64), String>;

fn key_of<E: KeyExtractor>(extractor: &E, name: &HeaderName, lines: &[HeaderValue]) -> Found
where
    for<'a> E::Key<'a>: Key + Hash,
{
    with_head(STRANGER, name, lines, |head| match extractor.extract(head) {
        Ok(key) => Ok((KeyText::of(&key), BuildHasherDefault::<DefaultHasher>::default().hash_one(&key))),
        Err(NoKey::Absent(what)) => Err(what.to_string()),
        Err(other) => panic!("a client cannot cause {other:?}"),
    })
}

fn key_of_one<E: KeyExtractor>(extractor: &E, name: &HeaderName, line: &'static str) -> Found
where
    for<'a> E::Key<'a>: Key + Hash,
{
    key_of(extractor, name, &[HeaderValue::from_static(line)])
}

/// `Cookie`, a line of the header for each line: bytes before or after an honest cookie cannot hide it, but make it one of those
/// that are unclear.
pub(crate) fn cookie(data: &[u8]) {
    const COOKIE: HeaderName = http::header::COOKIE;
    static KEY: LazyLock<CookieKey> = LazyLock::new(|| CookieKey::new("s").unwrap());
    static UNCLEAR: LazyLock<Found> = LazyLock::new(|| key_of_one(&*KEY, &COOKIE, "s=a; s=b"));
    static REAL: LazyLock<Found> = LazyLock::new(|| key_of_one(&*KEY, &COOKIE, "s=real"));
    let key = |lines: &[HeaderValue]| key_of(&*KEY, &COOKIE, lines);
    let mut lines = values(data);
    let alone = key(&lines);
    let expected = match &alone {
        Err(_) => &*REAL,
        found if *found == *REAL => &*REAL,
        _ => &*UNCLEAR,
    };
    // Above the bound all are unclear; near it, that is for the extractor's own tests.
    if lines.iter().map(|line| line.len() + 1).sum::<usize>() < 16_000 {
        // HTTP/1 has them on one line.
        let joined = lines.iter().map(HeaderValue::as_bytes).collect::<Vec<_>>().join(&b"; "[..]);
        assert_eq!(key(&[value(&joined)]), alone);
        lines.push(HeaderValue::from_static("s=real"));
        assert_eq!(key(&lines), *expected);
        *lines.last_mut().unwrap() = HeaderValue::from_static("\ts = \"r%65al\" ");
        lines.rotate_right(1);
        assert_eq!(key(&lines), *expected);
    }
}

/// `Authorization`, a line of the header for each line: a token is what every line says, however spelled, or unclear.
pub(crate) fn authorization(data: &[u8]) {
    const AUTHORIZATION: HeaderName = http::header::AUTHORIZATION;
    static UNCLEAR: LazyLock<Found> = LazyLock::new(|| key_of_one(&BearerToken, &AUTHORIZATION, "Bearer a,b"));
    static ZZZ: LazyLock<Found> = LazyLock::new(|| key_of_one(&BearerToken, &AUTHORIZATION, "Bearer zzz"));
    let key = |lines: &[HeaderValue]| key_of(&BearerToken, &AUTHORIZATION, lines);
    let mut lines = values(data);
    let found = key(&lines);
    if let Ok((text, _)) = &found {
        for apart in ["%20", "%09", "%2C", "%22", "%3B"] {
            assert!(!text.contains(apart), "{text}");
        }
        if found != *UNCLEAR {
            assert!(!text.is_empty());
            for line in &lines {
                assert_eq!(key(std::slice::from_ref(line)), found, "every line says the same");
            }
            let lower = value(&lines[0].as_bytes().to_ascii_lowercase());
            let lower = key(&[lower]).expect("a scheme has no case").0;
            assert!(lower.eq_ignore_ascii_case(text), "a scheme has no case");
        }
    }
    let expected = if lines.is_empty() || found == *ZZZ { &*ZZZ } else { &*UNCLEAR };
    lines.push(HeaderValue::from_static("Bearer zzz"));
    assert_eq!(key(&lines), *expected);
}

/// `Host`, a line of the header for each line, beside a target with the first of them: a listed host that all of them name, or none.
pub(crate) fn host(data: &[u8]) {
    static KEY: LazyLock<HostKey> = LazyLock::new(|| HostKey::among(["a.b", "[::1]"]).unwrap());
    /// The slow, obvious twin of one line.
    fn listed(line: &[u8]) -> Option<&'static str> {
        let line = String::from_utf8_lossy(line).to_ascii_lowercase();
        let is_port = |rest: &str| match rest.strip_prefix(':') {
            Some(digits) => digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()),
            None => rest.is_empty(),
        };
        let hosts = [("a.b", "a.b"), ("a.b.", "a.b"), ("[::1]", "[::1]")];
        hosts.iter().find(|(host, _)| line.strip_prefix(host).is_some_and(is_port)).map(|(_, key)| *key)
    }
    let lines = values(data);
    let agreed = |names: &BTreeSet<Option<&'static str>>| if names.len() == 1 { *names.first().unwrap() } else { None };
    let mut names: BTreeSet<_> = lines.iter().map(|line| listed(line.as_bytes())).collect();
    with_head(STRANGER, &http::header::HOST, &lines, |head| {
        assert_eq!(KEY.extract(head).ok(), agreed(&names));
        let target = lines.first().and_then(|line| Uri::try_from([b"http://", line.as_bytes(), b"/"].concat()).ok());
        if let Some((target, authority)) =
            target.and_then(|uri| uri.authority().cloned().map(|authority| (uri, authority)))
        {
            let usual = std::mem::replace(&mut head.uri, target);
            names.insert(listed(authority.as_str().as_bytes()));
            assert_eq!(KEY.extract(head).ok(), agreed(&names));
            head.uri = usual;
        }
    });
}

/// The value of a header, a cookie or a parameter, as it is once decoded: as if the decoded bytes had been sent, and as the string that
/// they are.
pub(crate) fn decoded(data: &[u8]) {
    let hash = |key: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        key(&mut hasher);
        std::hash::Hasher::finish(&hasher)
    };
    let value = Decoded::percent(data);
    let bytes: Vec<u8> = value.bytes().collect();
    let plain = Decoded::plain(&bytes);
    assert!(bytes.len() <= data.len());
    assert_eq!(value, plain);
    assert_eq!(hash(&|hasher| value.hash(hasher)), hash(&|hasher| plain.hash(hasher)));
    assert_eq!(KeyText::of(&value), KeyText::of(&plain));
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            assert_eq!(hash(&|hasher| value.hash(hasher)), hash(&|hasher| text.hash(hasher)));
            assert_eq!(KeyText::of(&value), KeyText::of(text));
        }
        Err(_) => assert_ne!(hash(&|hasher| value.hash(hasher)), hash(&|hasher| bytes.hash(hasher))),
    }
    // A key's text can be read back: what is not plain is percent-encoded, once.
    let text = KeyText::of(&value);
    assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.%".contains(&byte)), "{text}");
    assert!(bytes.is_empty() && text == "%" || Decoded::percent(&text).bytes().eq(bytes.iter().copied()), "{text}");
    if let Ok(line) = HeaderValue::from_bytes(data) {
        static KEY: LazyLock<HeaderKey> = LazyLock::new(|| HeaderKey::new("x-key").unwrap());
        assert!(key_of(&*KEY, &HeaderName::from_static("x-key"), &[line]).is_ok());
    }
}

/// An error points into the text that it is about, and does not repeat the whole of a long one.
fn points_into(text: &str, error: &ParseError) {
    assert!(text.is_char_boundary(error.position()), "{error}");
    assert!((20..1500).contains(&error.to_string().len()), "{error}");
}

/// Quotas and policies in their string form.
pub(crate) fn limit_string(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let policy = text.parse::<Policy>();
    match &policy {
        Ok(policy) => {
            let canonical = policy.to_string();
            let again: Policy = canonical.parse().expect("the canonical form is read");
            assert_eq!(again, *policy, "{canonical}");
            assert_eq!(again.to_string(), canonical);
        }
        Err(error) => points_into(&text, error),
    }
    match text.parse::<Quota>() {
        Ok(quota) => {
            let canonical = quota.to_string();
            let again: Quota = canonical.parse().expect("the canonical form is read");
            assert_eq!(again, quota, "{canonical}");
            assert!(policy.is_ok(), "a quota is a policy");
        }
        // To write it out takes most of the time.
        Err(error) if policy.as_ref() == Err(&error) => {}
        Err(error) => points_into(&text, &error),
    }
}

/// Policies in configuration files, as JSON.
#[cfg(feature = "serde")]
pub(crate) fn limit_table(data: &[u8]) {
    match serde_json::from_slice::<Policy>(data) {
        Ok(policy) => {
            let text = serde_json::to_string(&policy).expect("a policy can be written");
            let again: Policy = serde_json::from_str(&text).expect("what is written is read");
            assert_eq!(again, policy, "{text}");
        }
        Err(error) => assert!(error.to_string().len() < 1500, "{error}"),
    }
    if let Ok(quota) = serde_json::from_slice::<Quota>(data) {
        assert_eq!(serde_json::from_slice::<Policy>(data).expect("a quota is a policy"), quota.into());
    }
}
