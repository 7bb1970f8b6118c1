//! The configuration changes while requests are under way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tollgate_sidecar::config::{Config, Limit, Ranges, Tls, Upstreams};
use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, Peer, eventually, from, global, nobody, upstream};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// In front of this upstream, as `change` sets it.
fn config(upstream: SocketAddr, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::new("127.0.0.1:0".parse().unwrap(), format!("http://{upstream}").parse().unwrap());
    config.threads = 2;
    config.admin = None;
    change(&mut config);
    config
}

fn with(upstream: SocketAddr, policy: &str) -> Config {
    config(upstream, |config| config.limits.push(global(policy)))
}

/// One connection, before and after: the next request meets what is new.
#[test]
fn all_that_can_change_is_in_force_for_the_next_request() {
    let (echo, other) = (Echo::start(), Echo::start());
    let proxy = Proxy::start(with(echo.address, "2/day")).unwrap();
    let mut client = Peer::connect(proxy.address());
    assert_eq!([0; 3].map(|_| client.ask(GET).status()), [200, 200, 429]);

    let mut now = with(echo.address, "4/day");
    now.denied.headers.push(("x-denied".parse().unwrap(), "yes".parse().unwrap()));
    now.rate_headers = tollgate_sidecar::config::Headers::Draft;
    assert_eq!(proxy.reload(&now).unwrap().told.len(), 3);
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 200]);
    let denied = client.ask(GET);
    assert_eq!((denied.status(), denied.field("x-denied")), (429, Some("yes")));
    assert!(denied.field("ratelimit").is_some(), "{denied:?}");

    now.exempt.push(tollgate_sidecar::config::Exemption::new(Default::default(), Ranges::new(["127.0.0.1"]).unwrap()));
    proxy.reload(&now).unwrap();
    assert_eq!(client.ask(GET).status(), 200);

    now.exempt.clear();
    now.limits.clear();
    now.upstreams = Upstreams::One(format!("http://{}", other.address).parse().unwrap());
    proxy.reload(&now).unwrap();
    echo.take();
    assert_eq!(client.ask(GET).status(), 200);
    assert_eq!((echo.take().len(), other.take().len()), (0, 1));

    // Who is believed about the client.
    let told = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n";
    assert!(!client.ask(told).body().contains("192.0.2.7"));
    now.trusted_proxies = Ranges::new(["127.0.0.0/8"]).unwrap();
    proxy.reload(&now).unwrap();
    assert!(client.ask(told).body().contains("192.0.2.7"));
}

#[test]
fn deadlines_change_for_connections_that_are_there() {
    let silent = upstream(|stream| {
        let mut peer = Peer::of(stream);
        while let Ok(Some(_)) = peer.read_request() {}
    });
    let mut now = config(silent, |_| {});
    let proxy = Proxy::start(now.clone()).unwrap();
    let mut client = Peer::connect(proxy.address());
    client.send(GET).unwrap();
    eventually("it is under way", || proxy.connections() == (1, 1));
    now.deadlines.response = Duration::from_millis(50);
    now.deadlines.idle = Duration::from_millis(50);
    proxy.reload(&now).unwrap();
    // What is under way ends as it began. The next does not.
    let mut other = Peer::connect(proxy.address());
    assert_eq!(other.ask(GET).status(), 504);
    other.expect_end();
}

/// Every request of keep-alive connections is answered, over many reloads, and the limits never give out what was spent.
#[test]
fn a_reload_under_load_loses_no_request_and_no_debt() {
    const CLIENTS: usize = 8;
    let echo = Echo::start();
    let proxy = Arc::new(Proxy::start(with(echo.address, "300/day")).unwrap());
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let (stop, asked, address) = (stop.clone(), asked.clone(), proxy.address());
            thread::spawn(move || {
                let mut client = Peer::of(from([127, 0, 0, number as u8 + 1], address));
                let (mut passed, mut denied) = (0, 0);
                while !stop.load(Relaxed) {
                    // One connection from the first request to the last: whatever is lost ends it.
                    match client.ask(GET).status() {
                        200 => passed += 1,
                        429 => denied += 1,
                        status => panic!("{status}"),
                    }
                    asked.fetch_add(1, Relaxed);
                }
                (passed, denied)
            })
        })
        .collect();
    // Policies of other amounts, algorithms and numbers of quotas; scopes that mark requests, and a limit beside it.
    let mut beside = Limit::new("beside", "1000000/day".parse().unwrap());
    beside.scope.paths.push("/*".parse().unwrap());
    let mut before = 0;
    for round in 0..30 {
        let policy = ["299/day", "300/day; 100000/week", "300/day fixed", "300/day"][round % 4];
        let mut now = with(echo.address, policy);
        if round % 3 == 0 {
            now.limits.push(beside.clone());
        }
        let changes = proxy.reload(&now).unwrap();
        assert!(
            changes.told.iter().all(|line| line.contains("what was spent stays") || line.starts_with("beside: ")),
            "{changes}"
        );
        eventually("requests go on", || asked.load(Relaxed) > before + 20);
        before = asked.load(Relaxed);
    }
    stop.store(true, Relaxed);
    let (mut passed, mut denied) = (0, 0);
    for client in clients {
        let (its_passed, its_denied) = client.join().expect("no request of it was lost");
        (passed, denied) = (passed + its_passed, denied + its_denied);
    }
    assert_eq!(passed, 300, "of a day, and nothing was forgotten");
    assert_eq!(passed + denied, asked.load(Relaxed));
    assert_eq!((proxy.count("forwarded"), proxy.count("denied")), (passed as u64, denied as u64));
}

#[test]
fn a_renamed_limit_starts_fresh() {
    let echo = Echo::start();
    let proxy = Proxy::start(with(echo.address, "1/day")).unwrap();
    let mut client = Peer::connect(proxy.address());
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
    let mut now = with(echo.address, "1/day");
    now.limits[0].name = "everybody".into();
    let changes = proxy.reload(&now).unwrap();
    assert!(changes.told[0].starts_with("everybody: starts fresh"), "{changes}");
    assert_eq!([0; 2].map(|_| client.ask(GET).status()), [200, 429]);
}

#[test]
fn what_waits_for_a_restart_stays_and_is_said() {
    let echo = Echo::start();
    let proxy = Proxy::start(with(echo.address, "1/day")).unwrap();
    let (_held, free) = nobody();
    let mut now = with(echo.address, "5/day");
    now.listen = free;
    now.metrics = Some(free);
    let changes = proxy.reload(&now).unwrap();
    assert_eq!(
        changes.until_restart,
        ["listen: refused until restart, the old value stays", "metrics: refused until restart, the old value stays"]
    );
    assert_eq!(Peer::connect(proxy.address()).ask(GET).status(), 200);
    assert!(std::net::TcpStream::connect(free).is_err());
    assert_eq!(proxy.metrics_address(), None);
}

/// Connections to an upstream that stays are kept; a new one must be reached before the proxy is ready.
#[test]
fn an_upstream_that_stays_keeps_its_connections() {
    let echo = Echo::start();
    let mut now = with(echo.address, "100/day");
    now.metrics = Some("127.0.0.1:0".parse().unwrap());
    now.threads = 1;
    let proxy = Proxy::start(now.clone()).unwrap();
    let mut client = Peer::connect(proxy.address());
    client.ask(GET);
    now.limits[0].policy = "200/day".parse().unwrap();
    proxy.reload(&now).unwrap();
    client.ask(GET);
    assert_eq!(proxy.connections(), (1, 1));
    let ready =
        || Peer::connect(proxy.metrics_address().unwrap()).ask("GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").status();
    assert_eq!(ready(), 200);
    let (_held, free) = nobody();
    now.upstreams = Upstreams::One(format!("http://{free}").parse().unwrap());
    proxy.reload(&now).unwrap();
    assert_eq!(ready(), 503);
    assert_eq!(client.ask(GET).status(), 503);
    let text = Peer::connect(proxy.metrics_address().unwrap()).ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body();
    for (upstream, count) in [(echo.address, 2), (free, 1)] {
        let line =
            format!("tollgate_upstream_request_duration_seconds_count{{upstream=\"http://{upstream}\"}} {count}");
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    eventually("what nobody uses is closed", || proxy.connections().1 == 0);
}

#[test]
fn a_certificate_that_cannot_be_read_changes_nothing() {
    let echo = Echo::start();
    let path = |name: &str| format!("{}/tests/proxy/certificate/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut now = with(echo.address, "5/day");
    now.tls = Some(Tls::new(path("cert.pem"), path("key.pem")));
    now.metrics = Some("127.0.0.1:0".parse().unwrap());
    let proxy = Proxy::start(now.clone()).unwrap();
    let metric = |name: &str| -> f64 {
        let text =
            Peer::connect(proxy.metrics_address().unwrap()).ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n").body();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}\n{text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let (hash, since) =
        (metric("tollgate_config_hash "), metric("tollgate_config_last_reload_success_timestamp_seconds "));
    assert_eq!(metric("tollgate_config_last_reload_successful "), 1.0);
    let mut bad = now.clone();
    bad.limits[0].policy = "6/day".parse().unwrap();
    bad.tls = Some(Tls::new(path("absent.pem"), path("key.pem")));
    let error = proxy.reload(&bad).unwrap_err();
    assert!(error.to_string().contains("absent.pem"), "{error}");
    assert_eq!(metric("tollgate_config_last_reload_successful "), 0.0);
    assert_eq!(metric("tollgate_config_hash "), hash);
    assert_eq!(metric("tollgate_config_last_reload_success_timestamp_seconds "), since);
    now.limits[0].policy = "7/day".parse().unwrap();
    proxy.reload(&now).unwrap();
    assert_eq!(metric("tollgate_config_last_reload_successful "), 1.0);
    assert_ne!(metric("tollgate_config_hash "), hash);
    assert!(metric("tollgate_config_last_reload_success_timestamp_seconds ") > since);
}
