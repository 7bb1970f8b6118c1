//! `ClientIp`: who the client is, with and without proxies, and with clients that lie.

use std::net::{IpAddr, SocketAddr};

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;
use tollgate::http::{ClientIp, KeyExtractor, Networks, NoKey, PeerAddr};
use tollgate::{Clock, Quota, RateLimiter};

use crate::logged::Lines;

const XFF: &str = "x-forwarded-for";
const FORWARDED: &str = "forwarded";

/// The peer of these tests' proxies, and the ranges that are trusted.
const PROXY: &str = "10.0.0.1";
const TRUSTED: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

fn behind() -> ClientIp {
    ClientIp::behind(TRUSTED).unwrap()
}

fn hops(proxies: usize) -> ClientIp {
    ClientIp::behind_hops(proxies).unwrap()
}

fn head<V: AsRef<[u8]>>(peer: &str, lines: &[(&str, V)]) -> Parts {
    let (mut head, ()) = Request::new(()).into_parts();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        head.headers.append(name, HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    let peer: IpAddr = peer.parse().unwrap();
    head.extensions.insert(PeerAddr(SocketAddr::new(peer, 40_000)));
    head
}

fn client<V: AsRef<[u8]>>(key: ClientIp, peer: &str, lines: &[(&str, V)]) -> String {
    key.extract(&head(peer, lines)).unwrap().to_string()
}

/// The client of a request from this peer with these header lines.
#[track_caller]
fn check(key: ClientIp, peer: &str, lines: &[(&str, &str)], expected: &str) {
    assert_eq!(client(key.clone(), peer, lines), expected, "{key:?}, peer {peer}, {lines:?}");
}

/// The client by one line of `X-Forwarded-For` from a trusted proxy.
#[track_caller]
fn xff(line: &str, expected: &str) {
    check(behind(), PROXY, &[(XFF, line)], expected);
}

/// The client by one line of `Forwarded` from a trusted proxy.
#[track_caller]
fn forwarded(line: &str, expected: &str) {
    check(behind().forwarded().unwrap(), PROXY, &[(FORWARDED, line)], expected);
}

#[test]
fn by_default_it_is_the_peer_whatever_headers_say() {
    check(ClientIp::peer(), "203.0.113.9", &[], "203.0.113.9");
    check(ClientIp::default(), "203.0.113.9", &[(XFF, "6.6.6.6"), (FORWARDED, "for=6.6.6.6")], "203.0.113.9");
    check(ClientIp::peer(), "127.0.0.1", &[("x-real-ip", "6.6.6.6")], "127.0.0.1");
}

#[test]
fn each_extension_tells_the_peer() {
    fn peer_of(extensions: http::Extensions) -> String {
        let (mut head, ()) = Request::new(()).into_parts();
        head.extensions = extensions;
        ClientIp::peer().extract(&head).unwrap().to_string()
    }
    let [one, two]: [SocketAddr; 2] = ["192.0.2.1:1".parse().unwrap(), "192.0.2.2:2".parse().unwrap()];

    let mut extensions = http::Extensions::new();
    extensions.insert(one);
    assert_eq!(peer_of(extensions.clone()), "192.0.2.1");
    extensions.insert(PeerAddr(two));
    assert_eq!(peer_of(extensions), "192.0.2.2", "the program's own word counts first");

    #[cfg(feature = "axum")]
    {
        use axum::extract::connect_info::{ConnectInfo, MockConnectInfo};
        let mut extensions = http::Extensions::new();
        extensions.insert(MockConnectInfo(one));
        assert_eq!(peer_of(extensions.clone()), "192.0.2.1");
        extensions.insert(ConnectInfo(two));
        assert_eq!(peer_of(extensions.clone()), "192.0.2.2", "as axum has it");
        extensions.insert(one);
        assert_eq!(peer_of(extensions.clone()), "192.0.2.2", "the connection counts before a plain address");
        extensions.insert(PeerAddr(one));
        assert_eq!(peer_of(extensions), "192.0.2.1", "the program's own word counts first");
    }

    #[cfg(feature = "tonic")]
    {
        let mut extensions = http::Extensions::new();
        extensions.insert(tonic::transport::server::TcpConnectInfo { local_addr: Some(two), remote_addr: Some(one) });
        assert_eq!(peer_of(extensions), "192.0.2.1");
    }
}

#[test]
fn without_a_peer_address_it_says_what_to_add() {
    let mut head = head(PROXY, &[(XFF, "203.0.113.9")]);
    head.extensions.clear();
    for key in [ClientIp::peer(), behind(), behind().header("x-real-ip").unwrap()] {
        let Err(NoKey::Misconfigured(text)) = key.extract(&head) else { panic!("{key:?}") };
        for hint in ["into_make_service_with_connect_info::<SocketAddr>()", "PeerAddr", "`tonic`"] {
            assert!(text.contains(hint), "{text}");
        }
    }
    // Where proxies are counted, the peer is not needed: it may be a Unix socket.
    assert_eq!(hops(1).extract(&head).unwrap().to_string(), "203.0.113.9");
    head.headers.clear();
    assert!(matches!(hops(1).extract(&head), Err(NoKey::Misconfigured(_))));
}

#[test]
fn a_trusted_proxy_is_believed_and_nobody_else() {
    xff("203.0.113.9", "203.0.113.9");
    check(behind(), "203.0.113.7", &[(XFF, "6.6.6.6")], "203.0.113.7");
    check(behind(), "11.0.0.1", &[(XFF, "6.6.6.6, 10.0.0.2")], "11.0.0.1");
    check(behind(), "fd00::1", &[(XFF, "203.0.113.9")], "203.0.113.9");
    check(behind(), "fe00::1", &[(XFF, "203.0.113.9")], "fe00::");
    // Without the header, the proxy speaks for itself.
    check(behind(), PROXY, &[], PROXY);
}

#[test]
fn the_list_is_walked_from_the_right_past_trusted_addresses() {
    xff("6.6.6.6, 203.0.113.9, 10.0.0.2", "203.0.113.9");
    xff("6.6.6.6, 203.0.113.9, fd00::2,10.0.0.2", "203.0.113.9");
    xff("6.6.6.6, 10.0.0.3, 203.0.113.9, 10.0.0.2", "203.0.113.9");
    xff("10.0.0.4, 10.0.0.3, 10.0.0.2", "10.0.0.4");
}

#[test]
fn all_lines_count_as_one_in_order() {
    check(behind(), PROXY, &[(XFF, "6.6.6.6"), (XFF, "203.0.113.9"), (XFF, "10.0.0.2")], "203.0.113.9");
    check(behind(), PROXY, &[(XFF, "6.6.6.6, 203.0.113.9"), (XFF, "10.0.0.3, 10.0.0.2")], "203.0.113.9");
    let lines = [(FORWARDED, "for=6.6.6.6"), (FORWARDED, "for=203.0.113.9, for=10.0.0.2")];
    check(behind().forwarded().unwrap(), PROXY, &lines, "203.0.113.9");
}

#[test]
fn one_header_is_read_and_never_the_other() {
    let both = [(XFF, "1.1.1.1"), (FORWARDED, "for=2.2.2.2"), ("x-real-ip", "3.3.3.3")];
    check(behind(), PROXY, &both, "1.1.1.1");
    check(behind().forwarded().unwrap(), PROXY, &both, "2.2.2.2");
    check(behind().header("X-Real-IP").unwrap(), PROXY, &both, "3.3.3.3");
    check(behind(), PROXY, &both[1..], PROXY);
    check(behind().forwarded().unwrap(), PROXY, &both[..1], PROXY);
    check(behind().header("X-Real-IP").unwrap(), PROXY, &both[..2], PROXY);
    check(hops(1), PROXY, &both, "1.1.1.1");
    check(hops(1).forwarded().unwrap(), PROXY, &both, "2.2.2.2");
}

#[test]
fn entries_are_read_in_every_form() {
    for entry in [
        "203.0.113.9",
        "203.0.113.9:5678",
        "203.0.113.9:_http",
        "\"203.0.113.9\"",
        "\"203.0.113.9:80\"",
        "  203.0.113.9\t",
        "::ffff:203.0.113.9",
        "::FFFF:203.0.113.9",
        "0:0:0:0:0:ffff:cb00:7109",
        "[::ffff:203.0.113.9]:80",
    ] {
        xff(entry, "203.0.113.9");
        xff(&format!("6.6.6.6,{entry},10.0.0.2"), "203.0.113.9");
    }
    let key = behind().ipv6_prefix(128).unwrap();
    for entry in ["::1", "[::1]", "[::1]:80", "0:0::0:1", "::0001", "[0000:0::1]:65535", "::1%lo", "[::1%lo]:80"] {
        check(key.clone(), PROXY, &[(XFF, entry)], "::1");
    }
    check(key, PROXY, &[(XFF, "FE80::A%eth0")], "fe80::a");
}

#[test]
fn reading_stops_at_what_is_not_an_address() {
    for entry in [
        "unknown",
        "UNKNOWN",
        "_gazonk",
        "unix:",
        "",
        " ",
        "\"",
        "\"\"",
        "localhost",
        "6.6.6",
        "6.6.6.256",
        "06.6.6.6",
        "0x06.6.6.6",
        "6.6.6.6:",
        "6.6.6.6:port",
        "6.6.6.6:123456",
        "6.6.6.6 7.7.7.7",
        "[6.6.6.6]",
        "[::1",
        "::1]",
        "[::1]80",
        "[::1]:",
        "[]",
        ":",
        ":::",
        "::g",
        "1:2:3:4:5:6:7:8:9",
        "for=6.6.6.6",
        "6.6.6.6/32",
        "6.6.6.6;",
        "\u{fc}",
        "6.6.6.6\u{a0}",
    ] {
        xff(entry, PROXY);
        xff(&format!("6.6.6.6, {entry}"), PROXY);
        xff(&format!("6.6.6.6, {entry}, 10.0.0.2"), "10.0.0.2");
        xff(&format!("6.6.6.6, {entry}, 203.0.113.9"), "203.0.113.9");
        check(behind(), PROXY, &[(XFF, "6.6.6.6"), (XFF, entry)], PROXY);
        check(hops(3), PROXY, &[(XFF, &format!("6.6.6.6, {entry}, 10.0.0.2"))], "10.0.0.2");
    }
}

#[test]
fn forwarded_is_read_as_the_standard_says() {
    // The examples of RFC 7239, sections 4 and 7.1.
    forwarded(r#"for="[2001:db8:cafe::17]:4711""#, "2001:db8:cafe::");
    forwarded("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60");
    forwarded("for=192.0.2.43, for=198.51.100.17", "198.51.100.17");
    forwarded("For=192.0.2.43", "192.0.2.43");
    forwarded(r#"for=_gazonk"#, PROXY);
    forwarded(r#"for="_gazonk""#, PROXY);
    forwarded(r#"for=192.0.2.43,for="[2001:db8:cafe::17]",for=unknown"#, PROXY);
    forwarded(r#"for=192.0.2.43,for=unknown,for=10.0.0.2"#, "10.0.0.2");
    // Ports, white space, order, empty pairs, values that are not quoted though they should be.
    forwarded("proto=https;host=example.com;for=192.0.2.60:1234", "192.0.2.60");
    forwarded(" FOR = 192.0.2.60 ", PROXY);
    forwarded(" ;; proto=https ;\tfor=192.0.2.60 ; by=_x;", "192.0.2.60");
    forwarded("for=[2001:db8::1]:80", "2001:db8::");
    forwarded("for=2001:db8::1", "2001:db8::");
    forwarded(r#"for="::ffff:192.0.2.60""#, "192.0.2.60");
    // Quotes and escapes (RFC 9110, section 5.6.4): commas, semicolons and quotes inside are text.
    forwarded(r#"for="\1\9\2.0.2.60""#, "192.0.2.60");
    forwarded(r#"for=192.0.2.60;host="a,for=6.6.6.6""#, "192.0.2.60");
    forwarded(r#"for=192.0.2.60;host="a\",for=6.6.6.6;x=\"b""#, "192.0.2.60");
    forwarded(r#"host="\\\\";for=192.0.2.60;secret="\\\"\\""#, "192.0.2.60");
    forwarded(r#"host="a;for=6.6.6.6;";for=192.0.2.60"#, "192.0.2.60");
}

#[test]
fn an_element_that_is_not_well_formed_is_not_read() {
    for element in [
        "192.0.2.60",
        "proto=https",
        "for=",
        "=192.0.2.60",
        "for=192.0.2.60;for=6.6.6.6",
        "for=192.0.2.60;FOR=192.0.2.60",
        "for=192.0.2.60;host=a\"b",
        "for=192.0.2.60;host=\"a",
        "for=192.0.2.60;host=\"a\"b",
        "for=\"192.0.2.60",
        "for=192.0.2.60\"",
        "for=\"192.0.2.60\\",
        "for=\"192.0.2.60\\\"",
        "for=\"192.0.2.60\" \"\"",
        "for=192.0.2.60;x",
        "for=\"192.0.2.60\"x=y",
        "=x;for=192.0.2.60",
        "f or=192.0.2.60",
    ] {
        forwarded(element, PROXY);
        forwarded(&format!("for=6.6.6.6, {element}, for=10.0.0.2"), "10.0.0.2");
        // Whatever it is, it cannot reach into what the proxy wrote right of it.
        forwarded(&format!("{element}, for=203.0.113.9"), "203.0.113.9");
        forwarded(&format!("{element}, for=\"203.0.113.9:80\";proto=https;host=\"x\""), "203.0.113.9");
    }
}

#[test]
fn hops_are_counted_from_the_right() {
    check(hops(1), PROXY, &[(XFF, "6.6.6.6, 203.0.113.9")], "203.0.113.9");
    check(hops(2), PROXY, &[(XFF, "6.6.6.6, 203.0.113.9, 198.51.100.1")], "203.0.113.9");
    check(hops(2), PROXY, &[(XFF, "6.6.6.6"), (XFF, "203.0.113.9"), (XFF, "198.51.100.1")], "203.0.113.9");
    check(hops(3), PROXY, &[(XFF, "203.0.113.9, 198.51.100.1")], "203.0.113.9");
    check(hops(2), PROXY, &[], PROXY);
    check(
        hops(2).forwarded().unwrap(),
        PROXY,
        &[(FORWARDED, "for=203.0.113.9;by=_a, for=198.51.100.1")],
        "203.0.113.9",
    );
    check(hops(32), PROXY, &[(XFF, &["198.51.100.1"; 32].join(",").replacen("198", "203", 1))], "203.51.100.1");
}

#[test]
fn a_header_with_one_address_counts_from_trusted_peers_alone() {
    let cdn = behind().header("CF-Connecting-IP").unwrap();
    let name = "cf-connecting-ip";
    check(cdn.clone(), PROXY, &[(name, "203.0.113.9")], "203.0.113.9");
    check(cdn.clone(), PROXY, &[(name, "2001:db8:1:2:3::4")], "2001:db8:1:2::");
    check(cdn.clone(), "198.51.100.1", &[(name, "6.6.6.6")], "198.51.100.1");
    check(cdn.clone(), PROXY, &[(name, "unknown")], PROXY);
    // A list, or two lines: what the client sent was not replaced.
    check(cdn.clone(), PROXY, &[(name, "6.6.6.6, 203.0.113.9")], PROXY);
    check(cdn, PROXY, &[(name, "6.6.6.6"), (name, "203.0.113.9")], PROXY);
}

#[test]
fn ipv6_clients_count_by_their_prefix_and_ipv4_by_their_address() {
    let peer = ClientIp::peer;
    check(peer(), "2001:db8:1:2:3:4:5:6", &[], "2001:db8:1:2::");
    check(peer(), "2001:db8:1:2:ffff::1", &[], "2001:db8:1:2::");
    check(peer(), "2001:db8:1:3::1", &[], "2001:db8:1:3::");
    for (bits, network) in [
        (32, "2001:db8::"),
        (48, "2001:db8:ffff::"),
        (56, "2001:db8:ffff:ff00::"),
        (64, "2001:db8:ffff:ffff::"),
        (127, "2001:db8:ffff:ffff:ffff:ffff:ffff:fffe"),
        (128, "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"),
    ] {
        let address = "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff";
        check(peer().ipv6_prefix(bits).unwrap(), address, &[], network);
        check(behind().ipv6_prefix(bits).unwrap(), PROXY, &[(XFF, address)], network);
        check(hops(1).ipv6_prefix(bits).unwrap(), PROXY, &[(XFF, address)], network);
        check(peer().ipv6_prefix(bits).unwrap(), "203.0.113.9", &[], "203.0.113.9");
        check(peer().ipv6_prefix(bits).unwrap(), "::ffff:203.0.113.9", &[], "203.0.113.9");
    }
}

#[test]
fn ipv4_mapped_addresses_are_ipv4_before_they_are_compared() {
    check(behind(), "::ffff:10.0.0.1", &[(XFF, "203.0.113.9")], "203.0.113.9");
    check(behind(), PROXY, &[(XFF, "203.0.113.9, ::ffff:10.0.0.2")], "203.0.113.9");
    let mapped = ClientIp::behind(["::ffff:10.0.0.0/104"]).unwrap();
    check(mapped.clone(), PROXY, &[(XFF, "203.0.113.9")], "203.0.113.9");
    check(mapped, "11.0.0.1", &[(XFF, "6.6.6.6")], "11.0.0.1");
    check(ClientIp::behind(["::ffff:10.0.0.1"]).unwrap(), PROXY, &[(XFF, "203.0.113.9")], "203.0.113.9");
    // An IPv6 range, however wide, trusts no IPv4 address.
    check(ClientIp::behind(["::/1"]).unwrap(), PROXY, &[(XFF, "6.6.6.6")], PROXY);
}

/// A peer crate masks to the prefix first, which leaves the same `::` of all IPv4-mapped clients: 1 of 100 was admitted.
/// The same slip is CVE-2026-30827 in express-rate-limit.
#[test]
fn a_hundred_ipv4_mapped_clients_are_a_hundred_clients() {
    let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
    let key = ClientIp::peer();
    let ask = |peer: &str| limiter.check(&key.extract(&head::<&str>(peer, &[])).unwrap()).is_ok();
    let admitted = (0..100).filter(|n| ask(&format!("::ffff:203.0.113.{n}"))).count();
    assert_eq!(admitted, 100);
    let again = (0..100).filter(|n| ask(&format!("203.0.113.{n}"))).count();
    assert_eq!(again, 0, "in its own form, each is the client it was");
}

/// How many of a thousand requests pass where each client has one.
fn admitted(key: ClientIp, peer: &str, line: impl Fn(u32) -> (&'static str, String)) -> usize {
    let limiter = RateLimiter::builder(Quota::per_hour(1)).clock(Clock::manual()).build();
    let ask = |n| limiter.check(&key.extract(&head(peer, &[line(n)])).unwrap()).is_ok();
    (0..1000).filter(|&n| ask(n)).count()
}

#[test]
fn rotating_what_it_sends_gives_a_client_nothing() {
    let address = |n: u32| format!("6.6.{}.{}", n / 256, n % 256);
    let outside = "203.0.113.9";
    // Straight to the server.
    assert_eq!(admitted(ClientIp::peer(), outside, |n| (XFF, address(n))), 1);
    assert_eq!(admitted(behind(), outside, |n| (XFF, address(n))), 1);
    assert_eq!(admitted(behind(), outside, |n| (XFF, format!("{}, 10.0.0.1", address(n)))), 1);
    assert_eq!(admitted(behind().forwarded().unwrap(), outside, |n| (FORWARDED, format!("for={}", address(n)))), 1);
    assert_eq!(admitted(behind().header("true-client-ip").unwrap(), outside, |n| ("true-client-ip", address(n))), 1);
    // Through proxies that append.
    let seen = "203.0.113.9, 10.0.0.2";
    assert_eq!(admitted(behind(), PROXY, |n| (XFF, format!("{}, {seen}", address(n)))), 1);
    assert_eq!(admitted(behind(), PROXY, |n| (XFF, format!("10.0.0.2, {}, {seen}", address(n)))), 1);
    assert_eq!(admitted(hops(2), PROXY, |n| (XFF, format!("{}, {seen}", address(n)))), 1);
    for prefix in ["for=", "for=\"", "host=\"\\", "for=6.6.6.6;host=\"a\\\", for="] {
        let line = |n| (FORWARDED, format!("{prefix}{}, for=203.0.113.9;proto=https, for=10.0.0.2", address(n)));
        assert_eq!(admitted(behind().forwarded().unwrap(), PROXY, line), 1, "{prefix}");
    }
    // From everywhere in one's /64, in every spelling.
    assert_eq!(admitted(behind(), PROXY, |n| (XFF, format!("2001:db8:0:7:{n:x}::{n}"))), 1);
    assert_eq!(admitted(behind(), PROXY, |n| (XFF, format!("203.0.113.9:{n}"))), 1);
    // And distinct clients are distinct.
    assert_eq!(admitted(behind(), PROXY, |n| (XFF, address(n))), 1000);
    assert_eq!(admitted(behind(), PROXY, |n| (XFF, format!("2001:db8:0:{n}::1"))), 1000);
}

#[test]
fn the_walk_is_bounded() {
    // 32 entries are read.
    let chain = |trusted: usize| format!("203.0.113.9{}", ", 10.0.0.2".repeat(trusted));
    xff(&chain(31), "203.0.113.9");
    xff(&chain(32), "10.0.0.2");
    let lines: Vec<_> = [(XFF, "203.0.113.9")].into_iter().chain([(XFF, "10.0.0.2"); 32]).collect();
    check(behind(), PROXY, &lines[..32], "203.0.113.9");
    check(behind(), PROXY, &lines, "10.0.0.2");

    // 8 KiB are looked at.
    xff(&format!("203.0.113.9{}", " ".repeat(8000)), "203.0.113.9");
    xff(&format!("203.0.113.9{}", " ".repeat(9000)), PROXY);
    xff(&format!("203.0.113.9{}, 10.0.0.2", " ".repeat(9000)), "10.0.0.2");
    let padded = |trusted: usize| format!("203.0.113.9{}", format!(",{}10.0.0.2", " ".repeat(991)).repeat(trusted));
    xff(&padded(8), "203.0.113.9");
    xff(&padded(9), "10.0.0.2");
    // An address with a zone of 15 characters and a port is the longest there is.
    xff(&format!("[0000:0000:0000:0000:0000:ffff:203.0.113.9%{}]:12345", "x".repeat(15)), "203.0.113.9");
    xff(&format!("::ffff:203.0.113.9%{}", "x".repeat(200)), PROXY);
    // An address cut in two by the bound is not another address.
    xff(&format!("21.1.1.1{}", " ".repeat(8 * 1024 - 7)), PROXY);
    forwarded(&format!("for=203.0.113.9;host=\"{}\"", "x".repeat(9000)), PROXY);
    forwarded(&format!("host=\"{}\", for=203.0.113.9", "x,".repeat(9000)), "203.0.113.9");
    forwarded(&format!("for=6.6.6.6, {}\"", "\\\"".repeat(9000)), PROXY);
}

#[test]
fn enormous_headers_are_harmless() {
    let many = "6.6.6.6, ".repeat(10_000);
    let mega = "6".repeat(1 << 20);
    xff(&format!("{many}203.0.113.9"), "203.0.113.9");
    xff(&format!("{mega}, 203.0.113.9"), "203.0.113.9");
    xff(&mega, PROXY);
    xff(&",".repeat(1 << 20), PROXY);
    for left in [many, mega, "\"".repeat(1 << 20), "\\\"".repeat(1 << 19), ";=\",".repeat(1 << 18)] {
        forwarded(&format!("{left}, for=203.0.113.9"), "203.0.113.9");
        forwarded(&format!("{left}, for=203.0.113.9, for=10.0.0.2"), "203.0.113.9");
        forwarded(&format!("{left}, for=\"nobody\""), PROXY);
    }
    // A header map takes some 32,000 lines; each line of these has to be skipped or not be looked at.
    let mut lines = vec![(XFF, "6.6.6.6"); 10_000];
    lines.push((XFF, "203.0.113.9"));
    check(behind(), PROXY, &lines, "203.0.113.9");
    check(hops(1), PROXY, &lines, "203.0.113.9");
}

#[test]
fn what_cannot_be_meant_is_refused_when_built() {
    #[track_caller]
    fn refused<T: std::fmt::Debug>(built: Result<T, impl std::error::Error>, hints: &[&str]) {
        let text = built.unwrap_err().to_string();
        for hint in hints {
            assert!(text.contains(hint), "{hint}: {text}");
        }
    }
    for range in [
        "",
        "10.0.0.0/33",
        "10.0.0/8",
        "10.0.0.0/",
        "10.0.0.0/-1",
        "10.0.0.0/8/8",
        "::/129",
        "fe80::1%eth0",
        "localhost",
        "10.0.0.0-10.0.0.9",
        "010.0.0.1",
        "010.0.0.0/8",
        "10.0.0.00/8",
        "10.0.0.0/+8",
        "10.0.0.0 /8",
        "[::1]",
        "10.0.0.1:80",
        "10.0.0.0/8,::1",
        "\u{202e}",
    ] {
        refused(
            ClientIp::behind(["10.0.0.0/8", range]),
            &[&format!("{range:?}"), "not an address range", "10.0.0.0/8"],
        );
    }
    refused(ClientIp::behind(["x".repeat(10_000)]), &["xxx\"... is not"]);
    assert!(ClientIp::behind(["x".repeat(10_000)]).unwrap_err().to_string().len() < 300);
    refused(ClientIp::behind::<[&str; 0]>([]), &["no trusted proxy", "ClientIp::peer()"]);
    refused(ClientIp::behind_hops(0), &["0 is not", "ClientIp::peer()"]);
    refused(ClientIp::behind_hops(33), &["33", "32"]);
    for bits in [0, 31, 129, 255] {
        refused(ClientIp::peer().ipv6_prefix(bits), &[&bits.to_string(), "32 to 128"]);
        refused(behind().ipv6_prefix(bits), &[&bits.to_string(), "32 to 128"]);
        refused(hops(1).ipv6_prefix(bits), &[&bits.to_string(), "32 to 128"]);
    }
    refused(behind().header("not a name"), &["\"not a name\"", "not the name of a header"]);
    refused(behind().header("X-Forwarded-For"), &["X-Forwarded-For", "leave out"]);
    refused(behind().header("forwarded"), &["forwarded", ".forwarded()"]);
    // What anybody can send means nothing where nobody is trusted.
    refused(ClientIp::peer().forwarded(), &[".forwarded()", "ClientIp::behind([\"10.0.0.0/8\"])"]);
    refused(ClientIp::peer().header("x-real-ip"), &["x-real-ip", "ClientIp::behind([\"10.0.0.0/8\"])"]);
    refused(hops(1).header("x-real-ip"), &["x-real-ip", "no hops", "ClientIp::behind([\"10.0.0.0/8\"])"]);
    // One header is read.
    refused(behind().forwarded().unwrap().header("x-real-ip"), &["x-real-ip", "second header"]);
    refused(behind().header("x-real-ip").unwrap().forwarded(), &["x-real-ip", ".forwarded()", "leave out"]);
    refused(behind().header("x-real-ip").unwrap().header("cf-connecting-ip"), &["cf-connecting-ip", "second header"]);
    assert!(behind().header("x-real-ip").unwrap().header("X-Real-IP").is_ok());
    assert!(hops(1).forwarded().unwrap().forwarded().is_ok());
}

#[test]
fn ranges_are_taken_in_every_form() {
    let trusts = |range: &str, peer: &str| {
        let key = ClientIp::behind(vec![range.to_owned()]).unwrap();
        client(key, peer, &[(XFF, "203.0.113.9")]) == "203.0.113.9"
    };
    for (range, inside, outside) in [
        ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
        (" 10.0.0.0/8 ", "10.0.0.0", "9.255.255.255"),
        ("10.1.2.3/8", "10.200.0.0", "11.0.0.1"),
        ("192.0.2.7", "192.0.2.7", "192.0.2.6"),
        ("192.0.2.7/32", "192.0.2.7", "192.0.2.8"),
        ("2001:db8::/32", "2001:db8:ffff::1", "2001:db9::"),
        ("::1", "::1", "::2"),
        ("FD00::/8", "fdff::1", "fe00::"),
        ("0.0.0.0/1", "127.255.255.255", "128.0.0.0"),
    ] {
        assert!(trusts(range, inside), "{range} {inside}");
        assert!(!trusts(range, outside), "{range} {outside}");
    }
}

proptest! {
    /// However ranges overlap, an address is trusted if one of them holds it.
    #[test]
    fn many_ranges_are_as_good_as_each(
        nets in prop::collection::vec((any::<u32>(), 0u8..=32), 1..40),
        bases in prop::collection::vec(any::<u32>(), 1..40),
    ) {
        // Close to each other, so that they do overlap and touch.
        let nets: Vec<(u32, u8)> = nets.into_iter().map(|(at, bits)| (at & 0x0000_03ff | 0x0a00_0000, bits.max(20))).collect();
        let texts = nets.iter().map(|&(at, bits)| format!("{}/{bits}", std::net::Ipv4Addr::from(at)));
        let key = ClientIp::behind(texts).unwrap();
        for base in bases {
            let peer = base & 0x0000_07ff | 0x0a00_0000;
            let expected = nets.iter().any(|&(at, bits)| (at ^ peer) >> (32 - bits) == 0);
            let peer = std::net::Ipv4Addr::from(peer).to_string();
            prop_assert_eq!(client(key.clone(), &peer, &[(XFF, "203.0.113.9")]) == "203.0.113.9", expected);
        }
    }
}

fn header_byte() -> impl Strategy<Value = u8> {
    prop_oneof![Just(b'\t'), 32_u8..127, 128_u8..]
}

/// Bytes that a header may hold, mostly those that mean something here.
fn header_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "for=", ";", ",", ", ", "\"", "\\", "\\\"", "[", "]", ":", "%", "=", "::", ".", " ", "unknown", "_x", "proto=https",
            "10.0.0.2", "fd00::2", "6.6.6.6", "::ffff:10.0.0.2", "[2001:db8::1]:80", "for=10.0.0.2", "for=\"6.6.6.6:80\"",
        ]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(header_byte(), 0..4),
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

/// The slow, obvious twin: joins all lines, splits at every comma, and walks. (Commas inside of quotes are not addresses, in
/// `X-Forwarded-For`.)
fn twin(peer: &str, lines: &[Vec<u8>]) -> String {
    fn address(entry: &str) -> Option<IpAddr> {
        let entry = entry.trim_matches(|c: char| c.is_ascii_whitespace());
        let entry = match entry.strip_prefix('"').and_then(|entry| entry.strip_suffix('"')) {
            Some(inner) => inner,
            None => entry,
        };
        // No address is longer, but a zone may be.
        if entry.len() > 128 {
            return None;
        }
        let (host, port) = match entry.strip_prefix('[').and_then(|entry| entry.split_once(']')) {
            Some((host, port)) => (host, port),
            None if entry.matches(':').count() == 1 => entry.split_at(entry.find(':')?),
            None => (entry, ""),
        };
        let port_is_good = match port.strip_prefix(':') {
            None => port.is_empty(),
            Some(port) if port.starts_with('_') => port.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)),
            Some(port) => matches!(port.len(), 1..=5) && port.chars().all(|c| c.is_ascii_digit()),
        };
        let (host, zone) = host.split_once('%').map_or((host, false), |(host, _)| (host, true));
        let address: IpAddr = host.parse().ok()?;
        let brackets = entry.starts_with('[');
        (port_is_good && (address.is_ipv6() || !(zone || brackets))).then(|| address.to_canonical())
    }
    let trusted = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.octets()[0] == 0xfd,
    };
    let mut client: IpAddr = peer.parse().unwrap();
    let joined = lines.join(&b","[..]);
    let entries = joined.split(|&byte| byte == b',').rev().map(|entry| std::str::from_utf8(entry).ok());
    for entry in entries.take(if lines.is_empty() { 0 } else { 32 }) {
        if !trusted(client) {
            break;
        }
        match entry.and_then(address) {
            Some(address) => client = address,
            None => break,
        }
    }
    match client {
        IpAddr::V6(address) => IpAddr::from((address.to_bits() >> 64 << 64).to_be_bytes()).to_string(),
        address => address.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    /// `X-Forwarded-For` is read as its slow twin reads it.
    #[test]
    fn agrees_with_its_twin(lines in prop::collection::vec(header_bytes(), 0..4)) {
        let pairs: Vec<_> = lines.iter().map(|line| (XFF, line)).collect();
        prop_assert_eq!(client(behind(), PROXY, &pairs), twin(PROXY, &lines));
    }

    /// From a peer that is not trusted, no header makes another client.
    #[test]
    fn nothing_that_an_untrusted_peer_sends_counts(line in header_bytes(), second in header_bytes()) {
        for name in [XFF, FORWARDED, "x-real-ip"] {
            let lines = [(name, &line), (name, &second)];
            for key in [
                ClientIp::peer(),
                behind(),
                behind().forwarded().unwrap(),
                behind().header("x-real-ip").unwrap(),
            ] {
                prop_assert_eq!(client(key, "203.0.113.9", &lines), "203.0.113.9");
            }
        }
    }

    /// Behind proxies that append, nothing that the client sent counts: on the same line or on others.
    #[test]
    fn nothing_left_of_the_client_counts(sent in prop::collection::vec(header_bytes(), 0..3), inner in any::<bool>()) {
        for (name, key, seen) in [
            (XFF, behind(), "203.0.113.9"),
            (FORWARDED, behind().forwarded().unwrap(), "for=203.0.113.9;proto=http"),
            (FORWARDED, behind().forwarded().unwrap(), "by=_x;for=\"203.0.113.9:80\";host=\"a\\\"b,c\""),
        ] {
            let second = match (inner, name) {
                (false, _) => "",
                (true, XFF) => ", 10.0.0.2",
                (true, _) => ", for=\"10.0.0.2\"",
            };
            let mut lines: Vec<_> = sent.iter().map(|line| (name, line.clone())).collect();
            // On a line of its own.
            lines.push((name, format!("{seen}{second}").into_bytes()));
            prop_assert_eq!(client(key.clone(), PROXY, &lines), "203.0.113.9");
            // Appended to the client's last line.
            let (_, appended) = lines.pop().unwrap();
            let (_, last) = lines.pop().unwrap_or((name, b"x".to_vec()));
            lines.push((name, [&last[..], b", ", &appended].concat()));
            prop_assert_eq!(client(key, PROXY, &lines), "203.0.113.9");
        }
    }

    /// Any text is an address, a network, or an error that shows it.
    #[test]
    fn any_range_is_taken_or_refused(text in "\\PC*|[0-9a-f.:/ ]{0,24}") {
        if let Err(error) = ClientIp::behind([&text]) {
            prop_assert!(error.to_string().contains("is not an address range"));
        }
    }
}

#[test]
fn trusting_everyone_warns_once_and_names_the_fix() {
    for range in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
        let warnings = Lines::of(|| drop(ClientIp::behind([range, "10.0.0.0/8"]).unwrap()));
        assert_eq!(warnings.len(), 1, "{range}");
        assert!(warnings[0].contains("ClientIp::behind([\"10.0.0.0/8\"])"), "{}", warnings[0]);
    }
    // In halves, too.
    assert_eq!(Lines::of(|| drop(ClientIp::behind(["0.0.0.0/1", "128.0.0.0/1"]).unwrap())).len(), 1);
    assert_eq!(Lines::of(|| drop(ClientIp::behind(["0.0.0.0/0", "::/0"]).unwrap())).len(), 1);
    assert_eq!(Lines::of(|| drop(ClientIp::behind(["0.0.0.0/1", "::/1"]).unwrap())).len(), 0);
}

#[test]
fn a_proxy_that_is_not_declared_is_noticed_once() {
    let quiet = head::<&str>("10.1.2.3", &[]);
    let telling = [head("10.1.2.3", &[(XFF, "6.6.6.6")]), head("10.1.2.3", &[(FORWARDED, "for=6.6.6.6")])];
    for head in &telling {
        let key = ClientIp::peer();
        let warnings = Lines::of(|| {
            for _ in 0..10 {
                key.extract(&quiet).unwrap();
            }
            for _ in 0..10 {
                key.extract(head).unwrap();
                key.clone().extract(head).unwrap();
                key.clone().ipv6_prefix(56).unwrap().extract(head).unwrap();
            }
        });
        assert_eq!(warnings.len(), 1, "once for an extractor and its clones");
        assert!(warnings[0].contains("ClientIp::behind([\"10.1.2.3\"])"), "{}", warnings[0]);
    }

    // A client's address is not logged.
    let warnings = Lines::of(|| {
        ClientIp::peer().extract(&head("203.0.113.9", &[(XFF, "6.6.6.6")])).unwrap();
    });
    assert!(warnings[0].contains("ClientIp::behind([\"10.0.0.0/8\"])"), "{}", warnings[0]);
    assert!(!warnings[0].contains("203.0.113.9") && !warnings[0].contains("6.6.6.6"), "{}", warnings[0]);

    // Only the first thousand requests are looked at.
    let after = |requests: usize| {
        let key = ClientIp::peer();
        Lines::of(|| {
            (0..requests).for_each(|_| assert!(key.extract(&quiet).is_ok()));
            key.extract(&telling[0]).unwrap();
        })
    };
    assert_eq!(after(999).len(), 1);
    assert_eq!(after(1000).len(), 0);

    // And where proxies are declared, headers from elsewhere are no news.
    let warnings = Lines::of(|| {
        behind().extract(&head("203.0.113.9", &[(XFF, "6.6.6.6")])).unwrap();
        hops(1).extract(&telling[0]).unwrap();
    });
    assert_eq!(warnings.len(), 0);
}

/// One proxy where two were declared: what counts is what the client wrote. Its request looks as it should, but those of
/// honest clients have an address less.
#[test]
fn a_chain_that_is_shorter_than_declared_is_noticed_once() {
    let lying = head(PROXY, &[(XFF, "6.6.6.6, 203.0.113.9")]);
    let honest = head(PROXY, &[(XFF, "203.0.113.9")]);
    let none = head::<&str>(PROXY, &[]);
    let warnings = |proxies: usize, heads: &[&Parts]| {
        let key = hops(proxies);
        Lines::of(|| {
            for head in heads.iter().cycle().take(10 * heads.len()) {
                key.extract(head).unwrap();
                key.clone().ipv6_prefix(56).unwrap().extract(head).unwrap();
            }
        })
    };
    let short = warnings(2, &[&lying, &honest]);
    assert_eq!(short.len(), 1, "once for an extractor and its clones");
    for hint in
        ["X-Forwarded-For", "behind_hops(2)", "use ClientIp::behind_hops(1)", "ClientIp::behind([\"10.0.0.0/8\"])"]
    {
        assert!(short[0].contains(hint), "{hint}: {}", short[0]);
    }
    assert!(!short[0].contains("203.0.113.9"), "{}", short[0]);
    assert_eq!(warnings(2, &[&lying]).len(), 0, "as it should be");
    assert_eq!(warnings(1, &[&lying, &honest]).len(), 0);
    // A way past the proxies, or proxies that write nothing. A health check does not use up the other warning.
    let past = warnings(1, &[&none, &honest]);
    assert_eq!(past.len(), 1);
    assert!(past[0].contains("no address in X-Forwarded-For") && past[0].contains("health check"), "{}", past[0]);
    assert_eq!(warnings(2, &[&none, &honest]).len(), 2);
    let forwarded = hops(1).forwarded().unwrap();
    let past = Lines::of(|| drop(forwarded.extract(&honest)));
    assert!(past[0].contains("no address in Forwarded"), "{}", past[0]);
}

/// A direct call with a client's address found a full limit, since the layer had counted its network.
#[test]
fn a_direct_call_finds_what_was_counted() {
    let limiter = RateLimiter::builder(Quota::per_hour(9)).clock(Clock::manual()).build();
    let mut spent = 0;
    for key in [ClientIp::peer(), ClientIp::peer().ipv6_prefix(48).unwrap(), behind(), hops(1)] {
        for address in ["2001:db8:1:2:3:4:5:6", "::ffff:203.0.113.9", "203.0.113.9"] {
            let counted = key.extract(&head(address, &[(XFF, address)])).unwrap();
            limiter.check(&counted).unwrap();
            spent += 1;
            let found = key.key_of(address.parse().unwrap());
            assert_eq!(found, counted, "{key:?} {address}");
            assert!(limiter.peek(&found).remaining() < 9);
            limiter.reset(&found);
            assert_eq!(limiter.peek(&counted).remaining(), 9);
        }
    }
    assert_eq!(spent, 12);
}

/// The set that proxies are known by is there for a program's own questions too, in every spelling of an address.
#[test]
fn networks_hold_addresses_in_every_spelling() {
    let ours = Networks::new(["10.1.2.3/8", " 192.0.2.7 ", "2001:db8::/32", "::ffff:198.51.100.0/120"]).unwrap();
    for inside in ["10.255.0.1", "::ffff:10.0.0.1", "192.0.2.7", "2001:db8:ffff::1", "198.51.100.255"] {
        assert!(ours.contains(inside.parse().unwrap()), "{inside}");
    }
    for outside in ["11.0.0.1", "192.0.2.8", "2001:db9::1", "198.51.101.0", "::10.0.0.1"] {
        assert!(!ours.contains(outside.parse().unwrap()), "{outside}");
    }
    assert!(!ours.is_empty() && !ours.is_everyone());
    assert!(Networks::new(["::/0"]).unwrap().is_everyone());
    let nobody = Networks::new([""; 0]).unwrap();
    assert!(nobody.is_empty() && !nobody.contains("10.0.0.1".parse().unwrap()));
    let error = Networks::new(["10.0.0.0/8", "10.0.0.0/88"]).unwrap_err().to_string();
    assert!(error.starts_with("\"10.0.0.0/88\" is not an address range: write an address"), "{error}");
}
