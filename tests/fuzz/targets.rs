//! What must hold for any bytes, by the public API alone. Run by the fuzzer (`fuzz/`) and by `tests/http/fuzz_corpus.rs`.

#![allow(dead_code)] // each fuzz target uses one of these

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use tollgate::http::{ClientIp, KeyExtractor, PeerAddr};
use tollgate::{ParseError, Policy, Quota};

const XFF: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED: HeaderName = http::header::FORWARDED;

const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "198.51.100.1";
const CLIENT: &str = "203.0.113.9";

/// `X-Forwarded-For`, a line of the header for each line.
pub(crate) fn x_forwarded_for(data: &[u8]) {
    let key = ClientIp::behind(["10.0.0.0/8"]).unwrap().ipv6_prefix(128).unwrap();
    forwarding(&XFF, &key, data, &[CLIENT, "203.0.113.9:80, 10.0.0.2", "\"::ffff:203.0.113.9\",10.0.0.3"]);
}

/// `Forwarded`, a line of the header for each line.
pub(crate) fn forwarded(data: &[u8]) {
    let key = ClientIp::behind(["10.0.0.0/8"]).unwrap().ipv6_prefix(128).unwrap().forwarded().unwrap();
    let honest = ["for=203.0.113.9", "for=\"203.0.113.9:80\";host=\"a\\\",b\", for=10.0.0.2", "by=_x; FOR=203.0.113.9"];
    forwarding(&FORWARDED, &key, data, &honest);
}

fn forwarding(name: &HeaderName, key: &ClientIp, data: &[u8], honest: &[&str]) {
    let mut lines: Vec<_> =
        data.split(|&byte| byte == b'\n').filter(|line| HeaderValue::from_bytes(line).is_ok()).collect();
    // More than a request has, and slower to send than worth it.
    lines.truncate(1000);
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

    // And proxies that append are believed, whatever came before.
    for honest in honest {
        let mut appended = lines.clone();
        appended.push(honest.as_bytes());
        assert_eq!(client(PROXY, &appended), address(CLIENT), "{honest}");
        if let Some(last) = lines.last() {
            let joined = [last, &b", "[..], honest.as_bytes()].concat();
            let mut appended = lines.clone();
            *appended.last_mut().unwrap() = &joined;
            assert_eq!(client(PROXY, &appended), address(CLIENT), "{honest}");
        }
    }
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
    for line in text.lines().take(100) {
        match ClientIp::behind([line]) {
            Ok(key) => {
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
