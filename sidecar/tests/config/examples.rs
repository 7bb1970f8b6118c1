//! The files in `examples/`, each as short as it is, and what they mean.

use std::net::SocketAddr;

use http::Method;
use tollgate_sidecar::config::{
    Config, Cost, DeniedBody, Headers, Key, KeyPart, Limit, OnFailure, Overrides, Protocol, Upstreams, read,
};

/// An example, by its name.
pub(crate) fn example(name: &str) -> String {
    let path = format!("{}/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

pub(crate) const ALL: [&str; 8] =
    ["article", "behind-a-balancer", "plans", "rehearsal", "replicas", "grpc", "tls", "cost"];

#[track_caller]
fn config(name: &str, lines: usize) -> Config {
    let text = example(name);
    let said = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(said, lines, "{name} stays this short");
    read(name, text.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

fn limit(name: &str, policy: &str, line: usize) -> Limit {
    let mut limit = Limit::new(name, policy.parse().unwrap());
    limit.line = Some(line);
    limit
}

fn header(name: &'static str) -> KeyPart {
    KeyPart::Header(http::HeaderName::from_static(name))
}

fn expected(upstream: &str, limits: Vec<Limit>) -> Config {
    let mut config = Config::new("0.0.0.0:5002".parse().unwrap(), upstream.parse().unwrap());
    config.limits = limits;
    config
}

#[test]
fn a_the_article() {
    let mut all = limit("all", "29/second", 6);
    all.key = Key::global();
    let mut expected = expected("http://localhost:5000", vec![all]);
    expected.denied.headers.push(("x-local-rate-limit".parse().unwrap(), "true".parse().unwrap()));
    assert_eq!(config("article", 7), expected);
    assert_eq!(expected.denied.body, DeniedBody::Text("local_rate_limited".into()));
    assert_eq!(expected.admin.unwrap().to_string(), "127.0.0.1:5003");
}

#[test]
fn b_behind_a_balancer() {
    let config = config("behind-a-balancer", 11);
    assert_eq!(config.trusted_proxies.written(), ["10.0.0.0/8"]);
    assert_eq!(config.exempt[0].to_string(), "/healthz from 10.0.0.0/8");
    assert_eq!(config.exempt[0].line, Some(5));
    let mut login = limit("login", "5/minute", 8);
    login.scope.paths.push("/login".parse().unwrap());
    login.scope.methods.push(Method::POST);
    login.key = Key::new(vec![KeyPart::Address, header("x-username")]).unwrap();
    assert_eq!(config.limits, [limit("client", "28/second", 6), login]);
}

#[test]
fn c_plans() {
    let config = config("plans", 11);
    assert_eq!(config.rate_headers, Headers::Draft);
    assert_eq!(config.denied.body, DeniedBody::Problem);
    let api = &config.limits[0];
    assert_eq!(api.key, Key::new(vec![header("x-api-key")]).unwrap());
    let plans = api.plans.as_ref().unwrap();
    assert_eq!(plans.header, "x-plan");
    assert_eq!(plans.policies, [("pro".to_owned(), "6000/minute".parse().unwrap())]);
}

#[test]
fn d_a_rehearsal() {
    let config = config("rehearsal", 6);
    assert!(config.limits[0].is_shadow());
    // What its comment says comes later.
    let text = example("rehearsal").replace("shadow = true", "enforced = \"10%\"");
    let later = read("later", text.as_bytes(), &Overrides::default()).unwrap();
    assert_eq!(later.limits[0].enforced.get(), 10.0);
}

#[test]
fn e_two_replicas() {
    let config = config("replicas", 8);
    let store = config.store.unwrap();
    assert_eq!(store.redis, "redis://redis:6379");
    assert_eq!(store.on_failure, OnFailure::Local("50%".parse().unwrap()));
}

#[test]
fn f_grpc() {
    let config = config("grpc", 5);
    let Upstreams::One(upstream) = &config.upstreams else { panic!("there is one") };
    assert_eq!(upstream.protocol, Protocol::H2c);
    assert_eq!(config.limits[0].scope.to_string(), "/shop.Cart/*");
}

#[test]
fn g_tls_and_two_hosts() {
    let config = config("tls", 11);
    assert_eq!(config.listen, SocketAddr::from(([0, 0, 0, 0], 8443)));
    assert_eq!(config.tls.as_ref().unwrap().cert.to_str(), Some("/etc/tls/tls.crt"));
    assert_eq!(config.upstreams.of(Some("api.example")).unwrap().to_string(), "http://localhost:5001");
    assert!(config.upstreams.of(Some("other.example")).is_none(), "it gets 421");
    let api = config.limit("api").unwrap();
    assert_eq!(api.scope.hosts, ["api.example"]);
    assert_eq!(api.instead_of, ["client"]);
}

#[test]
fn h_cost_by_what_was_served() {
    let config = config("cost", 7);
    assert_eq!(config.limits[0].cost, Cost::ResponseHeader("x-tokens-used".parse().unwrap()));
    assert_eq!(config.limits[0].reserve, 500);
    let text = example("cost").replace("response-header:x-tokens-used", "response-bytes");
    let bytes = read("bytes", text.as_bytes(), &Overrides::default()).unwrap();
    assert_eq!(bytes.limits[0].cost, Cost::ResponseBytes);
}
