//! What the operator's systems read.

use std::net::TcpListener;

use tollgate_sidecar::config::{Config, Upstreams};
use tollgate_sidecar::proxy::Proxy;

use crate::world::{Echo, Peer, eventually, global, proxy};

fn get(address: std::net::SocketAddr, path: &str) -> (u16, String) {
    let answer = Peer::connect(address).ask(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
    (answer.status(), answer.body())
}

#[test]
fn denials_are_apart_from_what_was_served() {
    let echo = Echo::start();
    let proxy = proxy(echo.address, |config| {
        config.metrics = Some("127.0.0.1:0".parse().unwrap());
        config.limits.push(global("2/hour"));
    });
    let mut client = Peer::connect(proxy.address());
    for _ in 0..5 {
        client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    let _ = Peer::connect(proxy.address()).ask("GET / HTTP/1.1\r\n\r\n");
    eventually("the last client is forgotten", || proxy.connections().0 == 1);
    let (status, text) = get(proxy.metrics_address().unwrap(), "/metrics");
    assert_eq!(status, 200);
    for line in [
        "tollgate_requests_total{outcome=\"forwarded\"} 2",
        "tollgate_requests_total{outcome=\"denied\"} 3",
        "tollgate_requests_total{outcome=\"rejected\"} 1",
        "tollgate_requests_total{outcome=\"failed\"} 0",
        "tollgate_allowed_total{limiter=\"all\"} 2",
        "tollgate_keys{limiter=\"all\"} 1",
        "tollgate_connections{side=\"client\"} 1",
        "tollgate_connections{side=\"upstream\"} 1",
        &format!("tollgate_upstream_request_duration_seconds_count{{upstream=\"http://{}\"}} 2", echo.address),
        &format!(
            "tollgate_upstream_request_duration_seconds_bucket{{upstream=\"http://{}\",le=\"+Inf\"}} 2",
            echo.address
        ),
    ] {
        assert!(text.lines().any(|other| other == line), "{line}\n{text}");
    }
    assert!(
        text.lines()
            .any(|line| line.starts_with("tollgate_denied_total{limiter=\"all\",quota=") && line.ends_with(" 3")),
        "{text}"
    );
    // Each family is announced once, before its values.
    let families: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    let names: std::collections::BTreeSet<_> = families.iter().map(|family| family.split(' ').next()).collect();
    assert_eq!(names.len(), families.len());
}

#[test]
fn it_is_ready_when_the_upstream_has_accepted_a_connection() {
    let free = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let proxy = proxy(free, |config| config.metrics = Some("127.0.0.1:0".parse().unwrap()));
    let metrics = proxy.metrics_address().unwrap();
    assert_eq!(get(metrics, "/healthz").0, 200);
    assert_eq!(get(metrics, "/readyz").0, 503);
    let listener = TcpListener::bind(free).unwrap();
    assert_eq!(get(metrics, "/readyz").0, 200);
    drop(listener);
    assert_eq!(get(metrics, "/readyz").0, 200);
    proxy.drain();
    assert_eq!(get(metrics, "/readyz"), (503, "draining\n".into()));
    assert_eq!(get(metrics, "/healthz").0, 200);
    assert_eq!(get(metrics, "/other").0, 404);
}

/// One of several is enough, and where none is required, it is ready as soon as it answers.
#[test]
fn it_is_ready_as_far_as_the_upstream_is_required() {
    let metrics = |config: &mut Config| config.metrics = Some("127.0.0.1:0".parse().unwrap());
    let free = { TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    let alone = proxy(free, |config| {
        metrics(config);
        config.requires_upstream = false;
    });
    assert_eq!(get(alone.metrics_address().unwrap(), "/readyz").0, 200);
    let echo = Echo::start();
    let hosts = [("down.example", free), ("up.example", echo.address)];
    let hosts = hosts.map(|(host, at)| (host.to_owned(), format!("http://{at}").parse().unwrap()));
    let several = proxy(free, |config| {
        metrics(config);
        config.upstreams = Upstreams::ByHost(hosts.into());
    });
    assert_eq!(get(several.metrics_address().unwrap(), "/readyz").0, 200);
}

/// A limit is its name: another policy goes on with its counts, in the same series.
#[test]
fn a_reload_makes_no_series_twice_and_no_counter_goes_back() {
    let with = |policy: &str| {
        let mut config = Config::new("127.0.0.1:0".parse().unwrap(), "http://127.0.0.1:1".parse().unwrap());
        config.admin = None;
        config.metrics = Some("127.0.0.1:0".parse().unwrap());
        config.limits.push(global(policy));
        config
    };
    let proxy = Proxy::start(with("2/hour")).unwrap();
    let mut client = Peer::connect(proxy.address());
    let mut ask = |times: usize| (0..times).for_each(|_| drop(client.ask("GET / HTTP/1.1\r\nHost: a\r\n\r\n")));
    ask(3);
    proxy.reload(&with("4/hour; 9/day")).unwrap();
    ask(3);
    let (_, text) = get(proxy.metrics_address().unwrap(), "/metrics");
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let names: std::collections::BTreeSet<_> = series.iter().map(|line| line.rsplit_once(' ').unwrap().0).collect();
    assert_eq!(names.len(), series.len(), "{text}");
    for line in [
        "tollgate_allowed_total{limiter=\"all\"} 4",
        "tollgate_denied_total{limiter=\"all\",quota=\"2/hour\"} 1",
        "tollgate_denied_total{limiter=\"all\",quota=\"4/hour\"} 1",
    ] {
        assert!(series.contains(&line), "{line}\n{text}");
    }
}

/// A probe that is not answered in time is the end of the pod. So nobody can keep it waiting.
#[test]
fn probes_do_not_wait_for_those_that_ask_nothing() {
    let proxy = proxy(Echo::start().address, |config| config.metrics = Some("127.0.0.1:0".parse().unwrap()));
    let address = proxy.metrics_address().unwrap();
    let mut slow: Vec<_> = (0..200).map(|_| Peer::connect(address)).collect();
    for client in &mut slow {
        let _ = client.send("GET /metr");
    }
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(get(address, path).0, 200, "{path}");
    }
}
