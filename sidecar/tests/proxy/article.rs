//! The article's Envoy, in one line.

use crate::world::{Echo, Peer, global, proxy};

const GET: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

#[test]
fn a_denial_is_the_articles_with_what_rfcs_ask_besides() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        config.limits.push(global("29/hour"));
        config.denied.headers.push(("x-local-rate-limit".parse().unwrap(), "true".parse().unwrap()));
    });
    let mut client = Peer::connect(proxy.address());
    for _ in 0..29 {
        assert_eq!(client.ask(GET).status(), 200);
    }
    let denied = client.ask(GET);
    assert_eq!(denied.start, "HTTP/1.1 429 Too Many Requests");
    assert_eq!(denied.body(), "local_rate_limited");
    assert_eq!(denied.field("content-type"), Some("text/plain"));
    assert_eq!(denied.field("content-length"), Some("18"));
    assert_eq!(denied.field("x-local-rate-limit"), Some("true"));
    assert_eq!(denied.field("cache-control"), Some("no-store"));
    assert!(denied.field("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    assert_eq!(echo.take().len(), 29);
    assert_eq!((proxy.count("forwarded"), proxy.count("denied")), (29, 1));
}

#[test]
fn each_client_has_its_own_limit_if_no_key_is_set() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        config.limits.push(tollgate_sidecar::config::Limit::new("client", "1/hour".parse().unwrap()));
        config.trusted_proxies = tollgate_sidecar::config::Ranges::new(["127.0.0.0/8"]).unwrap();
    });
    let mut client = Peer::connect(proxy.address());
    let mut from =
        |address: &str| client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {address}\r\n\r\n")).status();
    assert_eq!((from("192.0.2.1"), from("192.0.2.1"), from("192.0.2.2"), from("192.0.2.1")), (200, 429, 200, 429));
}

#[test]
fn a_denied_body_is_not_read_and_the_answer_arrives_all_the_same() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| config.limits.push(global("0/hour")));
    let mut client = Peer::connect(proxy.address());
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n").unwrap();
    // More than fits on the way, so that closing at once would take the answer back.
    let _ = client.send(vec![b'x'; 600_000]);
    assert_eq!(client.response().status(), 429);
    client.expect_end();
}
