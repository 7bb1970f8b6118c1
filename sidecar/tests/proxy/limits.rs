//! What a configuration says, done: from the file to the wire.

use tollgate_sidecar::config::{Config, Overrides, Upstream, Upstreams, read};
use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, Peer};

/// A proxy as this file has it, which names no address.
fn proxy(file: &str) -> (Proxy, Echo) {
    let echo = Echo::start();
    let upstream = format!("http://{}", echo.address);
    let file = format!("listen = \"127.0.0.1:1\"\n{}", file.replace("UPSTREAM", &upstream));
    let mut config = read("test.toml", file.as_bytes(), &Overrides::default()).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.threads = 1;
    config.admin = None;
    (Proxy::start(config).unwrap(), echo)
}

fn ask(proxy: &Proxy, start: &str, fields: &str) -> u16 {
    Peer::connect(proxy.address()).ask(format!("{start} HTTP/1.1\r\nHost: shop.example\r\n{fields}\r\n")).status()
}

#[test]
fn a_denial_charges_none_of_the_limits() {
    let (proxy, echo) = proxy(
        r#"
        upstream = "UPSTREAM"
        [limits.client]
        limit = "3/hour"
        [limits.login]
        path = "/login"
        method = "POST"
        limit = "1/hour"
        "#,
    );
    let asked = ["POST /login", "POST /login", "POST /%6cogin", "GET /login", "HEAD /", "GET /"].map(|start| {
        let mut client = Peer::connect(proxy.address());
        client.send(format!("{start} HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        client.head().status()
    });
    // The second login is denied, and so is another spelling of it; client is not charged for either.
    assert_eq!(asked, [200, 429, 429, 200, 200, 429]);
    assert_eq!(echo.take().len(), 3);
}

#[test]
fn what_is_exempt_meets_no_limit() {
    let (proxy, _) = proxy(
        r#"
        upstream = "UPSTREAM"
        exempt = [{ path = "/healthz", from = "127.0.0.0/8" }]
        [limits.client]
        limit = "1/hour"
        "#,
    );
    let asked = ["GET /healthz", "GET /healthz", "GET /", "GET /", "GET /healthz"].map(|start| ask(&proxy, start, ""));
    assert_eq!(asked, [200, 200, 200, 429, 200]);
    assert_eq!((proxy.count("exempt"), proxy.count("forwarded"), proxy.count("denied")), (3, 1, 1));
}

#[test]
fn a_request_without_what_it_is_counted_by_is_400() {
    let (proxy, _) = proxy(
        r#"
        upstream = "UPSTREAM"
        [limits.api]
        limit = "1/hour"
        key = "header:x-api-key"
        "#,
    );
    let asked =
        ["", "x-api-key: a\r\n", "x-api-key: a\r\n", "x-api-key: b\r\n"].map(|fields| ask(&proxy, "GET /", fields));
    assert_eq!(asked, [400, 200, 429, 200]);
}

#[test]
fn plans_count_only_as_trusted_proxies_tell_them() {
    let file = r#"
        upstream = "UPSTREAM"
        trusted_proxies = ["NETWORK"]
        rate_headers = "draft"
        [limits.api]
        key = "header:x-api-key"
        plan = "header:x-plan"
        limit = "1/hour"
        plans = { pro = "3/hour" }
    "#;
    let pro = "x-api-key: a\r\nx-plan: pro\r\n";
    let (trusting, _) = proxy(&file.replace("NETWORK", "127.0.0.0/8"));
    assert_eq!([0; 4].map(|_| ask(&trusting, "GET /", pro)), [200, 200, 200, 429]);
    let (other, _) = proxy(&file.replace("NETWORK", "10.0.0.0/8"));
    assert_eq!([0; 2].map(|_| ask(&other, "GET /", pro)), [200, 429]);
    let answer = Peer::connect(other.address()).ask("GET / HTTP/1.1\r\nHost: a\r\nx-api-key: b\r\n\r\n");
    assert!(answer.field("ratelimit").is_some() && answer.field("ratelimit-policy").is_some(), "{answer:?}");
}

#[test]
fn a_rehearsal_denies_nothing() {
    let (proxy, _) = proxy(
        r#"
        upstream = "UPSTREAM"
        metrics = "127.0.0.1:0"
        [limits.search]
        path = "/search"
        limit = "1/hour"
        shadow = true
        [limits.client]
        limit = "3/hour"
        "#,
    );
    assert_eq!([0; 4].map(|_| ask(&proxy, "GET /search", "")), [200, 200, 200, 429]);
}

#[test]
fn a_cost_is_settled_by_what_was_served() {
    let (proxy, _) = proxy(
        r#"
        upstream = "UPSTREAM"
        [limits.bytes]
        limit = "1500/hour"
        cost = "response-bytes"
        reserve = 1000
        "#,
    );
    let mut client = Peer::connect(proxy.address());
    // Some 200 bytes each. Without settling, the second would not fit.
    let asked = [0; 3].map(|_| client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n").status());
    assert_eq!(asked, [200, 200, 200]);
}

#[test]
fn each_host_has_its_upstream_and_others_get_421() {
    let (shop, api) = (Echo::start(), Echo::start());
    let to = |echo: &Echo| -> Upstream { format!("http://{}", echo.address).parse().unwrap() };
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), to(&shop));
    config.upstreams = Upstreams::ByHost(vec![("shop.example".into(), to(&shop)), ("api.example".into(), to(&api))]);
    config.threads = 1;
    config.admin = None;
    let proxy = Proxy::start(config).unwrap();
    let mut client = Peer::connect(proxy.address());
    let mut ask = |host: &str| client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).status();
    assert_eq!(
        [ask("shop.example"), ask("API.example:8080"), ask("evil.example"), ask("shop.example")],
        [200, 200, 421, 200]
    );
    assert_eq!((shop.take().len(), api.take().len()), (2, 1));
}
