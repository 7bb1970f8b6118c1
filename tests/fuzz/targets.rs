//! What must hold for any bytes, by the public API alone. Run by the fuzzer (`fuzz/`) and by `tests/http/fuzz_corpus.rs`.

#![allow(dead_code)] // each fuzz target uses one of these

use std::collections::BTreeSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::net::{IpAddr, SocketAddr};
use std::sync::LazyLock;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};
use tollgate::http::{
    BearerToken, ClientIp, CookieKey, Decoded, HeaderKey, HostKey, KeyExtractor, Networks, NoKey, PeerAddr,
};
use tollgate::{Key, KeyText, ParseError, Policy, Quota};

const XFF: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = http::header::FORWARDED;

const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "198.51.100.1";
const CLIENT: &str = "203.0.113.9";

/// Built once: what is fuzzed is the reading.
static BEHIND: LazyLock<ClientIp> =
    LazyLock::new(|| ClientIp::behind(["10.0.0.0/8"]).unwrap().ipv6_prefix(128).unwrap());

/// `X-Forwarded-For`, a line of the header for each line.
pub(crate) fn x_forwarded_for(data: &[u8]) {
    forwarding(&XFF, &BEHIND, data, &[CLIENT, "203.0.113.9:80, 10.0.0.2", "\"::ffff:203.0.113.9\",10.0.0.3"]);
}

/// `Forwarded`, a line of the header for each line.
pub(crate) fn forwarded(data: &[u8]) {
    static KEY: LazyLock<ClientIp> = LazyLock::new(|| BEHIND.clone().forwarded().unwrap());
    let honest = ["for=203.0.113.9", "for=\"203.0.113.9:80\";host=\"a\\\",b\", for=10.0.0.2", "by=_x; FOR=203.0.113.9"];
    forwarding(&FORWARDED, &KEY, data, &honest);
}

fn forwarding(name: &HeaderName, key: &ClientIp, data: &[u8], honest: &[&str]) {
    let lines = values(data);
    let client = |peer: &str, lines: &[&[u8]]| key.extract(&head(peer, name, lines)).unwrap();

    // Nobody but a trusted peer is believed.
    assert_eq!(client(STRANGER, &lines), address(STRANGER));
    let unproxied = ClientIp::peer().extract(&head(STRANGER, name, &lines)).unwrap();
    assert_eq!(unproxied, address(STRANGER));

    // What a client that is not a proxy is taken for does not depend on what stands left of it.
    let found = client(PROXY, &lines);
    if !matches!(found, IpAddr::V4(found) if found.octets()[0] == 10) {
        let longer: Vec<_> = [&b"6.6.6.6"[..], b"for=\"6.6.6.6"].into_iter().chain(lines.iter().copied()).collect();
        assert_eq!(client(PROXY, &longer), found);
        let first = [&b"\",for=6.6.6.6;x=\", "[..], lines.first().unwrap_or(&&b""[..])].concat();
        let longer: Vec<_> = [&first[..]].into_iter().chain(lines.iter().skip(1).copied()).collect();
        assert_eq!(client(PROXY, &longer), found);
    }

    // And proxies that append are believed, whatever came before: on a line of their own, or on the last one.
    let honest = honest[data.len() % honest.len()];
    let joined;
    let mut appended = lines.clone();
    match appended.last_mut() {
        Some(last) if data.len() % 2 == 0 => {
            joined = [last, &b", "[..], honest.as_bytes()].concat();
            *last = &joined;
        }
        _ => appended.push(honest.as_bytes()),
    }
    assert_eq!(client(PROXY, &appended), address(CLIENT), "{honest}");
}

/// The lines that can be values of a header.
fn values(data: &[u8]) -> Vec<&[u8]> {
    let lines = data.split(|&byte| byte == b'\n').filter(|line| HeaderValue::from_bytes(line).is_ok());
    // More than a request has, and slower to send than worth it.
    lines.take(1000).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn head(peer: &str, name: &HeaderName, lines: &[&[u8]]) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for line in lines {
        head.headers.append(name, HeaderValue::from_bytes(line).unwrap());
    }
    head.extensions.insert(PeerAddr(SocketAddr::new(address(peer), 40_000)));
    head
}

/// Address ranges, one a line.
pub(crate) fn cidr(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().take(4) {
        assert_eq!(Networks::new([line]).is_ok(), ClientIp::behind([line]).is_ok(), "one reader of ranges");
        match ClientIp::behind([line]) {
            Ok(key) => {
                let networks = Networks::new([line]).unwrap();
                assert_eq!(networks.contains(address("::ffff:10.0.0.1")), networks.contains(address(PROXY)), "{line}");
                assert!(ClientIp::behind([format!("\t {line}  ")]).is_ok(), "white space is left out");
                let client = key.extract(&head(PROXY, &XFF, &[CLIENT.as_bytes()])).unwrap();
                assert!([address(CLIENT), address(PROXY)].contains(&client));
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
    let lines = values(data);
    let client = |peer: &str, lines: &[&[u8]]| KEY.extract(&head(peer, &REAL_IP, lines)).unwrap();
    assert_eq!(client(STRANGER, &lines), address(STRANGER));
    let found = client(PROXY, &lines);
    if lines.len() != 1 {
        assert_eq!(found, address(PROXY), "no line, or several: none counts");
    } else if let Ok(plain) = String::from_utf8_lossy(lines[0].trim_ascii()).parse::<IpAddr>() {
        assert_eq!(found, plain.to_canonical(), "an address is read as std reads it");
    }
    // The number of hops, over the same bytes as a list.
    static HOPS: LazyLock<ClientIp> = LazyLock::new(|| ClientIp::behind_hops(1).unwrap());
    let mut appended = lines.clone();
    appended.push(CLIENT.as_bytes());
    assert_eq!(HOPS.extract(&head(STRANGER, &XFF, &appended)).unwrap(), address(CLIENT));
}

/// A key's text and hash, or why there is none. What is equal has the same of both.
fn key_of<E: KeyExtractor>(extractor: &E, head: &Parts) -> Result<(String, u64), String>
where
    for<'a> E::Key<'a>: Key + Hash,
{
    match extractor.extract(head) {
        Ok(key) => Ok((KeyText::of(&key), BuildHasherDefault::<DefaultHasher>::default().hash_one(&key))),
        Err(NoKey::Absent(what)) => Err(what.to_string()),
        Err(other) => panic!("a client cannot cause {other:?}"),
    }
}

/// `Cookie`, a line of the header for each line: bytes before or after an honest cookie cannot hide it, but make it one of those
/// that are unclear.
pub(crate) fn cookie(data: &[u8]) {
    static KEY: LazyLock<CookieKey> = LazyLock::new(|| CookieKey::new("s").unwrap());
    let key = |lines: &[&[u8]]| key_of(&*KEY, &head(STRANGER, &http::header::COOKIE, lines));
    let lines = values(data);
    let (unclear, real) = (key(&[b"s=a; s=b"]), key(&[b"s=real"]));
    let alone = key(&lines);
    let expected = match &alone {
        Err(_) => &real,
        found if *found == real => &real,
        _ => &unclear,
    };
    let size = |lines: &[&[u8]]| lines.iter().map(|line| line.len() + 1).sum::<usize>();
    // Above the bound all are unclear; near it, that is for the extractor's own tests.
    if size(&lines) < 16_000 {
        let mut after = lines.clone();
        after.push(b"s=real");
        assert_eq!(key(&after), *expected);
        let mut before = lines.clone();
        before.insert(0, b"\ts = \"r%65al\" ");
        assert_eq!(key(&before), *expected);
        // HTTP/1 has them on one line.
        assert_eq!(key(&[&lines.join(&b"; "[..])]), alone);
    }
}

/// `Authorization`, a line of the header for each line: a token is what every line says, however spelled, or unclear.
pub(crate) fn authorization(data: &[u8]) {
    let key = |lines: &[&[u8]]| key_of(&BearerToken, &head(STRANGER, &http::header::AUTHORIZATION, lines));
    let lines = values(data);
    let (unclear, found) = (key(&[b"Bearer a,b"]), key(&lines));
    if let Ok((text, _)) = &found {
        for apart in ["%20", "%09", "%2C", "%22", "%3B"] {
            assert!(!text.contains(apart), "{text}");
        }
        if found != unclear {
            assert!(!text.is_empty());
            for line in &lines {
                assert_eq!(key(&[line]), found, "every line says the same");
            }
            let lower = lines[0].to_ascii_lowercase();
            let lower = key(&[&lower[..]]).expect("a scheme has no case").0;
            assert!(lower.eq_ignore_ascii_case(text), "a scheme has no case");
        }
    }
    let mut more = lines.clone();
    more.push(b"Bearer zzz");
    let zzz = key(&[b"Bearer zzz"]);
    assert_eq!(key(&more), if lines.is_empty() || found == zzz { zzz } else { unclear });
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
    let agreed = |names: BTreeSet<Option<&'static str>>| if names.len() == 1 { *names.first().unwrap() } else { None };
    let names = || lines.iter().map(|line| listed(line));
    let mut head = head(STRANGER, &http::header::HOST, &lines);
    assert_eq!(KEY.extract(&head).ok(), agreed(names().collect()));
    let target = lines.first().and_then(|line| Uri::try_from([b"http://", *line, b"/"].concat()).ok());
    if let Some((target, authority)) = target.and_then(|uri| uri.authority().cloned().map(|authority| (uri, authority)))
    {
        head.uri = target;
        let names = names().chain([listed(authority.as_str().as_bytes())]);
        assert_eq!(KEY.extract(&head).ok(), agreed(names.collect()));
    }
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
        let head = head(STRANGER, &HeaderName::from_static("x-key"), &[line.as_bytes()]);
        assert!(key_of(&*KEY, &head).is_ok());
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
    match text.parse::<Policy>() {
        Ok(policy) => {
            let canonical = policy.to_string();
            let again: Policy = canonical.parse().expect("the canonical form is read");
            assert_eq!(again, policy, "{canonical}");
            assert_eq!(again.to_string(), canonical);
        }
        Err(error) => points_into(&text, &error),
    }
    match text.parse::<Quota>() {
        Ok(quota) => {
            let canonical = quota.to_string();
            let again: Quota = canonical.parse().expect("the canonical form is read");
            assert_eq!(again, quota, "{canonical}");
            assert!(text.parse::<Policy>().is_ok(), "a quota is a policy");
        }
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
