//! Which header fields go on, and what is said about where a request comes from.

use crate::world::{Echo, Peer, proxy, upstream};
use tollgate_sidecar::config::Ranges;

/// What the upstream gets of a request with these fields.
fn sent(trusted: bool, request: &str) -> Vec<String> {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        if trusted {
            config.trusted_proxies = Ranges::new(["127.0.0.1"]).unwrap();
        }
    });
    let answer = Peer::connect(proxy.address()).ask(request);
    assert_eq!(answer.status(), 200, "{request:?}");
    let mut lines: Vec<_> = echo.take().pop().unwrap().lines().map(str::to_owned).collect();
    let via = lines.iter().position(|line| line.starts_with("via: 1.1 tollgate-")).expect("every request says by whom");
    lines.remove(via);
    lines
}

/// Only what the sender did not send.
fn get(lines: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n")
}

const FROM: [&str; 4] =
    ["x-forwarded-for: 127.0.0.1", "x-real-ip: 127.0.0.1", "x-forwarded-proto: http", "x-forwarded-host: shop.example"];

#[test]
fn a_plain_request_says_where_it_comes_from() {
    let expected = [&["GET / HTTP/1.1", "host: shop.example"], &FROM[..], &[""]].concat();
    assert_eq!(sent(false, &get("")), expected);
}

#[test]
fn what_is_for_this_hop_stays_here() {
    let lines = sent(
        false,
        &get(
            "Connection: x-mine, Keep-Alive, close\r\nX-Mine: a\r\nx-mine: b\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\n\
             TE: gzip\r\nUpgrade: websocket\r\nHTTP2-Settings: x\r\nProxy: evil\r\nExpect: 100-continue\r\nX-Yours: c\r\n",
        ),
    );
    let expected = [&["GET / HTTP/1.1", "host: shop.example", "x-yours: c"], &FROM[..], &[""]].concat();
    assert_eq!(lines, expected);
}

#[test]
fn a_client_cannot_forge_whom_it_asks_for() {
    let lines = sent(
        false,
        &get(
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
             X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\nX-Forwarded_For: 6.6.6.6\r\n\
             X_Real_IP: 6.6.6.6\r\nContent_Length: 5\r\nTransfer_Encoding: chunked\r\nfine_name: a\r\n\
             X-Forwarded-Prefix: /evil\r\n",
        ),
    );
    let expected = [&["GET / HTTP/1.1", "host: shop.example", "fine_name: a"], &FROM[..], &[""]].concat();
    assert_eq!(lines, expected);
}

/// Programs behind CGI and WSGI cannot tell the two spellings. A client must not be counted by one and be served by the other.
#[test]
fn a_client_is_served_by_no_other_key_than_it_is_counted_by() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        let mut limit = tollgate_sidecar::config::Limit::new("api", "1/day".parse().unwrap());
        let header = |name: &str| tollgate_sidecar::config::KeyPart::Header(name.parse().unwrap());
        limit.key = tollgate_sidecar::config::Key::new(vec![header("x-api-key"), header("x_own")]).unwrap();
        config.limits.push(limit);
    });
    let request =
        get("X-API-Key: made-up\r\nX_API_Key: genuine\r\nX-API_Key: genuine\r\nx_own: a\r\nx_api_keys: b\r\n");
    assert_eq!(Peer::connect(proxy.address()).ask(request).status(), 200);
    let seen = echo.take().pop().unwrap();
    assert!(!seen.contains("genuine"), "{seen}");
    assert!(seen.contains("\nx-api-key: made-up\nx_own: a\nx_api_keys: b\n"), "{seen}");
}

/// Naming a field in `Connection` takes it away. So nobody may take away what the proxy says.
#[test]
fn connection_takes_away_no_field_of_the_proxys_own() {
    let lines = sent(
        false,
        &get("Connection: x-forwarded-for, x-real-ip, via, x-forwarded-proto\r\nX-Forwarded-For: 6.6.6.6\r\n"),
    );
    let expected = [&["GET / HTTP/1.1", "host: shop.example"], &FROM[..], &[""]].concat();
    assert_eq!(lines, expected);
}

#[test]
fn a_trusted_proxy_is_believed_and_added_to() {
    let lines = sent(
        true,
        &get(
            "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 192.0.2.2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n\
             X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Forwarded-Port: 443\r\nX_Forwarded_For: 6.6.6.6\r\n",
        ),
    );
    assert_eq!(
        lines,
        [
            "GET / HTTP/1.1",
            "host: shop.example",
            "x-forwarded-proto: https",
            "x-forwarded-host: b",
            "forwarded: for=192.0.2.1",
            "forwarded: for=127.0.0.1;proto=http",
            "x-forwarded-port: 443",
            "x-forwarded-for: 192.0.2.1, 192.0.2.2, 127.0.0.1",
            // Whom the limits see, and not what a client may have told its proxy.
            "x-real-ip: 192.0.2.2",
            "",
        ]
    );
}

#[test]
fn the_target_says_the_host_if_it_has_one() {
    let first = |request: &str| sent(false, request)[..2].to_vec();
    let plain = "HTTP/1.1\r\nHost: A.example\r\n\r\n";
    assert_eq!(first(&format!("GET http://a.example/b?c {plain}")), ["GET /b?c HTTP/1.1", "host: a.example"]);
    assert_eq!(first(&format!("GET http://a.example {plain}")), ["GET / HTTP/1.1", "host: a.example"]);
    assert_eq!(first(&format!("GET http://a.example?c {plain}")), ["GET /?c HTTP/1.1", "host: a.example"]);
    // RFC 9112, 3.2.4.
    assert_eq!(first(&format!("OPTIONS http://a.example {plain}")), ["OPTIONS * HTTP/1.1", "host: a.example"]);
    assert_eq!(first(&format!("OPTIONS * {plain}")), ["OPTIONS * HTTP/1.1", "host: A.example"]);
}

#[test]
fn a_body_is_framed_as_it_came() {
    let framing = |lines: &str, body: &str| -> Vec<String> {
        let lines = sent(false, &format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n{body}"));
        lines.into_iter().filter(|line| line.starts_with("content-length") || line.starts_with("transfer")).collect()
    };
    assert_eq!(framing("Content-Length: 5\r\n", "hello"), ["content-length: 5"]);
    assert_eq!(framing("Content-Length: 0\r\n", ""), ["content-length: 0"]);
    assert_eq!(framing("", ""), ["content-length: 0"]);
    assert_eq!(framing("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"), ["transfer-encoding: chunked"]);
}

#[test]
fn trailers_go_through_both_ways() {
    let echo = Echo::start();
    let to_echo = proxy(echo.address, |_| {});
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: sum\r\n\r\n2\r\nhi\r\n0\r\nsum: 1\r\n\r\n";
    let answer = Peer::connect(to_echo.address()).ask(request);
    assert!(answer.body().ends_with("\nhi\nsum: 1"), "{answer:?}");

    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            assert_eq!(request.field("te"), Some("trailers"));
            assert_eq!(request.field("connection"), Some("te"));
            let _ = peer.send(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n2\r\nhi\r\n0\r\nsum: 1\r\nhost: evil\r\n\r\n",
            );
        }
    });
    let proxy = proxy(address, |_| {});
    let answer =
        Peer::connect(proxy.address()).ask("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\n\r\n");
    assert_eq!((answer.body(), answer.trailers), ("hi".into(), vec![("sum".into(), "1".into())]));
}

#[test]
fn a_response_loses_what_was_for_its_hop() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let _ = peer.read_request();
        let _ = peer.send(
            "HTTP/1.1 200 OK\r\nConnection: x-mine, close\r\nX-Mine: a\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n\
             Upgrade: h2c\r\nDate: now\r\nX-Yours: b\r\nSet-Cookie: c=1\r\nSet-Cookie: d=2\r\nContent-Length: 2\r\n\r\nhi",
        );
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    let answer = client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut names: Vec<_> = answer.fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    names.sort();
    assert_eq!(names, ["content-length: 2", "date: now", "set-cookie: c=1", "set-cookie: d=2", "x-yours: b"]);
    // The upstream closes, the client's connection stays.
    assert_eq!(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
}

const EXPECTS: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";

/// RFC 9110, 10.1.1: whether the body is wanted is for the upstream to say, and the client does not send it in vain.
#[test]
fn a_client_is_told_to_go_on_if_the_upstream_wants_its_body() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        for wanted in [true, true, false] {
            let head = peer.head();
            assert_eq!(head.field("expect"), Some("100-continue"));
            if wanted {
                peer.stream.set_nonblocking(true).unwrap();
                assert!(peer.take(1).is_err(), "nobody has sent it yet");
                peer.stream.set_nonblocking(false).unwrap();
                peer.send("HTTP/1.1 100 Continue\r\n\r\n").unwrap();
                assert_eq!(peer.take(2).unwrap(), b"hi");
            }
            let status = if wanted { "200 OK" } else { "403 Forbidden" };
            peer.send(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")).unwrap();
        }
        // It was promised more, and gets the end.
        peer.expect_end();
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    for _ in 0..2 {
        assert_eq!(client.ask(EXPECTS).status(), 100);
        assert_eq!(client.ask("hi").status(), 200);
    }
    assert_eq!(client.ask(EXPECTS).status(), 403);
    client.expect_end();
    // The body of a client that does not wait is not refused for that.
    let mut client = Peer::connect(proxy.address());
    client.send(format!("{EXPECTS}hi")).unwrap();
    let mut status = client.response().status();
    if status == 100 {
        status = client.response().status();
    }
    assert_eq!(status, 200);
}

#[test]
fn an_upstream_that_does_not_say_it_wants_a_body_gets_it_all_the_same() {
    let echo = Echo::start();
    let to_echo = proxy(echo.address, |_| {});
    let mut client = Peer::connect(to_echo.address());
    assert_eq!(client.ask(EXPECTS).status(), 100);
    assert_eq!(client.ask("hi").status(), 200);
    // One that speaks HTTP/1.0 is not asked.
    let old = upstream(|stream| {
        let mut peer = Peer::of(stream);
        let request = peer.read_request().unwrap().unwrap();
        let expects = request.field("expect").is_some();
        let _ = peer.send(format!("HTTP/1.0 200 OK\r\nx-expects: {expects}\r\n\r\n"));
    });
    let to_old = proxy(old, |_| {});
    let mut client = Peer::connect(to_old.address());
    for expects in ["true", "false"] {
        assert_eq!(client.ask(EXPECTS).status(), 100);
        assert_eq!(client.ask("hi").field("x-expects"), Some(expects));
    }

    let denying = proxy(echo.address, |config| config.limits.push(crate::world::global("0/second")));
    let mut client = Peer::connect(denying.address());
    assert_eq!(client.ask(EXPECTS).status(), 429);
    client.expect_end();
}

#[test]
fn head_and_204_and_304_have_no_body() {
    let address = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(request)) = peer.read_request() {
            let answer = match request.start.split(' ').nth(1) {
                Some("/204") => "HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
                Some("/304") => "HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\ncontent-length: 5\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n",
            };
            let _ = peer.send(answer);
        }
    });
    let proxy = proxy(address, |_| {});
    let mut client = Peer::connect(proxy.address());
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().field("content-length"), Some("5"));
    assert_eq!(client.ask("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n").field("content-length"), None);
    assert_eq!(client.ask("GET /304 HTTP/1.1\r\nHost: a\r\n\r\n").field("etag"), Some("\"a\""));
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.head().status(), 200);
}
