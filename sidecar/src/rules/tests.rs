//! Which limits count a request, told by the configuration's model.

use std::net::SocketAddr;

use http::Request;
use http::request::Parts;
use tollgate::http::PeerAddr;

use super::*;
use crate::config::{KeyPart, Pattern, Percent, Plans, Upstreams};

fn config() -> Config {
    Config::new("127.0.0.1:5002".parse().unwrap(), "http://localhost:5000".parse().unwrap())
}

fn limit(name: &str) -> Limit {
    Limit::new(name, "28/second".parse().unwrap())
}

fn path(pattern: &str) -> Scope {
    let pattern: Pattern = pattern.parse().unwrap();
    Scope { paths: vec![pattern], ..Scope::default() }
}

fn header(name: &'static str) -> Key {
    Key::new(vec![KeyPart::Header(http::HeaderName::from_static(name))]).unwrap()
}

/// `GET /login x-user=7 x-user=8`, from a peer.
fn head(request: &str, peer: &str) -> Parts {
    let mut words = request.split(' ');
    let mut request = Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        request = request.header(name, value);
    }
    let peer: SocketAddr = format!("{peer}:4000").parse().unwrap();
    request.extension(PeerAddr(peer)).body(()).unwrap().into_parts().0
}

/// What is said of a request: `client=192.0.2.7 login=#2c8a` and so on, a rehearsal in brackets.
fn said(config: &Config, request: &str, peer: &str) -> String {
    let shares: Vec<_> = config.limits.iter().map(Shares::new).collect();
    let matcher = Matcher::new(config).unwrap();
    let head = head(request, peer);
    match matcher.judge(&head, |limit| shares[limit].draw()) {
        Judged::Exempt(at) => format!("exempt {at}"),
        Judged::Lacks { limit, what } => format!("400 {}: {what}", config.limits[limit].name),
        Judged::NoPeer(_) => "no peer".to_owned(),
        Judged::Counted(counting) => {
            let one = |counted: Counted<'_>| {
                let plan = counted.plan.map_or(String::new(), |plan| format!(" on {plan}"));
                let cost = if counted.cost == 1 { String::new() } else { format!(" x{}", counted.cost) };
                let text = format!("{}={}{plan}{cost}", config.limits[counted.limit].name, counted.key);
                if counted.shadow { format!("({text})") } else { text }
            };
            counting.map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn every_limit_that_is_about_a_request_counts_it() {
    let mut config = config();
    config.limits.push(limit("client"));
    config.limits.push(Limit {
        scope: Scope { methods: vec![Method::POST], ..path("/login") },
        key: Key::new(vec![KeyPart::Address, header("x-username").parts()[0].clone()]).unwrap(),
        ..limit("login")
    });
    config.limits.push(Limit { scope: path("/shop.Cart/*"), key: Key::global(), ..limit("cart") });
    let alice = "2bd806c9"; // sha256 of "alice"
    for (request, expected) in [
        ("GET /", "client=192.0.2.7".to_owned()),
        ("GET /login", "client=192.0.2.7".to_owned()),
        ("POST /login x-username=alice", format!("client=192.0.2.7, login=192.0.2.7 + #{alice}")),
        ("POST /x/../%6Cogin/ x-username=alice", format!("client=192.0.2.7, login=192.0.2.7 + #{alice}")),
        ("POST /login", "400 login: the request lacks the header x-username".to_owned()),
        ("GET /shop.Cart/Add", "client=192.0.2.7, cart=everybody".to_owned()),
    ] {
        assert_eq!(said(&config, request, "192.0.2.7"), expected, "{request}");
    }
}

#[test]
fn get_includes_head() {
    let mut config = config();
    config.limits.push(Limit { scope: Scope { methods: vec![Method::GET], ..Scope::default() }, ..limit("reads") });
    assert_eq!(said(&config, "HEAD /", "192.0.2.7"), "reads=192.0.2.7");
    assert_eq!(said(&config, "POST /", "192.0.2.7"), "");
}

#[test]
fn an_exemption_beats_every_limit_for_whom_it_is() {
    let mut config = config();
    config.trusted_proxies = Ranges::new(["10.0.0.0/8"]).unwrap();
    config.exempt.push(Exemption::new(path("/healthz"), Ranges::new(["10.0.0.0/8"]).unwrap()));
    config.limits.push(limit("client"));
    // The kubelet itself, and a client behind the balancer.
    assert_eq!(said(&config, "GET /healthz", "10.1.2.3"), "exempt 0");
    assert_eq!(said(&config, "GET /healthz x-forwarded-for=192.0.2.7", "10.1.2.3"), "client=192.0.2.7");
    assert_eq!(said(&config, "GET /healthz", "192.0.2.7"), "client=192.0.2.7");
    // A client's own word is not believed.
    assert_eq!(said(&config, "GET /healthz x-forwarded-for=10.1.2.3", "192.0.2.7"), "client=192.0.2.7");
    // Other spellings are limited, since the application may read them otherwise.
    for odd in ["/healthz;/../login", "/login/%2e%2e/healthz", "//healthz", "/%68ealthz"] {
        assert_eq!(said(&config, &format!("GET {odd}"), "10.1.2.3"), "client=10.1.2.3", "{odd}");
    }
}

/// A single IPv6 address is meant whole, while clients count by their /64.
#[test]
fn an_exemption_sees_the_whole_address() {
    let mut config = config();
    config.exempt.push(Exemption::new(Scope::default(), Ranges::new(["2001:db8::7"]).unwrap()));
    config.limits.push(limit("client"));
    assert_eq!(said(&config, "GET /", "[2001:db8::7]"), "exempt 0");
    assert_eq!(said(&config, "GET /", "[2001:db8::8]"), "client=2001:db8::");
}

#[test]
fn instead_of_holds_where_the_new_limit_acts() {
    let mut config = config();
    config.upstreams = Upstreams::ByHost(
        ["shop.example", "api.example"].map(|host| (host.into(), "http://localhost".parse().unwrap())).into(),
    );
    config.limits.push(limit("client"));
    config.limits.push(Limit {
        scope: Scope { hosts: vec!["api.example".into()], ..Scope::default() },
        instead_of: vec!["client".into()],
        ..limit("api")
    });
    assert_eq!(said(&config, "GET / host=API.example:8443", "192.0.2.7"), "api=192.0.2.7");
    assert_eq!(said(&config, "GET / host=shop.example", "192.0.2.7"), "client=192.0.2.7");
    // A rehearsal takes nothing away.
    config.limits[1].enforced = "0%".parse().unwrap();
    assert_eq!(said(&config, "GET / host=api.example", "192.0.2.7"), "client=192.0.2.7, (api=192.0.2.7)");
    config.limits[1].enabled = "0%".parse().unwrap();
    assert_eq!(said(&config, "GET / host=api.example", "192.0.2.7"), "client=192.0.2.7");
}

/// Or a client would choose the more generous of two limits by its spelling of the path.
#[test]
fn an_odd_spelling_meets_both_limits() {
    let mut config = config();
    config.limits.push(limit("client"));
    config.limits.push(Limit { scope: path("/static/*"), instead_of: vec!["client".into()], ..limit("static") });
    assert_eq!(said(&config, "GET /static/logo", "192.0.2.7"), "static=192.0.2.7");
    assert_eq!(said(&config, "GET /login/%2e%2e/static/logo", "192.0.2.7"), "client=192.0.2.7, static=192.0.2.7");
}

#[test]
fn who_leaves_out_the_key_does_not_choose_its_limit() {
    let mut config = config();
    config.limits.push(limit("client"));
    config.limits.push(Limit {
        key: header("x-api-key"),
        missing: Missing::Skip,
        instead_of: vec!["client".into()],
        ..limit("api")
    });
    assert_eq!(said(&config, "GET /", "192.0.2.7"), "client=192.0.2.7");
    config.limits[1].missing = Missing::Address;
    assert_eq!(said(&config, "GET /", "192.0.2.7"), "api=192.0.2.7");
    config.limits[1].missing = Missing::Refuse;
    assert_eq!(said(&config, "GET /", "192.0.2.7"), "400 api: the request lacks the header x-api-key");
    config.limits[1].enforced = Percent::NONE;
    assert_eq!(said(&config, "GET /", "192.0.2.7"), "client=192.0.2.7");
}

/// What counts nothing refuses nothing.
#[test]
fn a_limit_that_is_replaced_misses_no_key() {
    let mut config = config();
    config.limits.push(Limit { key: header("x-api-key"), ..limit("api") });
    config.limits.push(Limit { scope: path("/public/*"), instead_of: vec!["api".into()], ..limit("public") });
    assert_eq!(said(&config, "GET /public/logo", "192.0.2.7"), "public=192.0.2.7");
    assert_eq!(said(&config, "GET /", "192.0.2.7"), "400 api: the request lacks the header x-api-key");
}

/// Of a chain, the last one stays, in whatever order they are written.
#[test]
fn one_of_a_chain_always_counts() {
    let mut config = config();
    for (name, instead_of) in [("third", "second"), ("second", "first"), ("first", "")] {
        let instead_of = if instead_of.is_empty() { Vec::new() } else { vec![instead_of.to_owned()] };
        config.limits.push(Limit { instead_of, ..limit(name) });
    }
    assert_eq!(said(&config, "GET /", "192.0.2.7"), "third=192.0.2.7");
}

#[test]
fn plans_and_costs_count_from_trusted_proxies_alone() {
    let mut config = config();
    config.trusted_proxies = Ranges::new(["10.0.0.0/8"]).unwrap();
    config.limits.push(Limit {
        plans: Some(Plans {
            header: http::HeaderName::from_static("x-plan"),
            policies: vec![("free".into(), "1/second".parse().unwrap()), ("pro".into(), "9/second".parse().unwrap())],
        }),
        cost: Cost::RequestHeader(http::HeaderName::from_static("x-cost")),
        ..limit("api")
    });
    let by_proxy = |request: &str| said(&config, request, "10.0.0.1");
    assert_eq!(by_proxy("GET / x-plan=pro x-cost=7"), "api=10.0.0.1 on 1 x7");
    assert_eq!(by_proxy("GET / x-plan=gold x-cost=seven"), "api=10.0.0.1");
    // Which line the proxy wrote, nobody knows.
    assert_eq!(by_proxy("GET / x-plan=pro x-plan=free x-cost=1 x-cost=7"), "api=10.0.0.1");
    assert_eq!(said(&config, "GET / x-plan=pro x-cost=0", "192.0.2.7"), "api=192.0.2.7");
}

#[test]
fn values_of_headers_are_told_as_fingerprints() {
    let mut config = config();
    config.limits.push(Limit { key: header("x-api-key"), ..limit("api") });
    let matcher = Matcher::new(&config).unwrap();
    let head = head("GET / x-api-key=secret", "192.0.2.7");
    let Judged::Counted(mut counting) = matcher.judge(&head, |_| Draw::Act) else { panic!("it has a key") };
    let key = counting.next().unwrap().key;
    assert_eq!(key.to_string(), "#2bb80d53");
    assert_eq!(tollgate::KeyText::of(&key), "2bb80d537b1da3e38bd30361aa855686");
}

/// A value that looks like an address is not that address.
#[test]
fn a_value_is_never_an_address() {
    let mut config = config();
    config.limits.push(Limit { key: header("x-user"), missing: Missing::Address, ..limit("user") });
    let matcher = Matcher::new(&config).unwrap();
    let limiter = tollgate::RateLimiter::new(tollgate::Quota::per_minute(1));
    for request in ["GET / x-user=192.0.2.7", "GET /"] {
        let head = head(request, "192.0.2.7");
        let Judged::Counted(mut counting) = matcher.judge(&head, |_| Draw::Act) else { panic!("it has a key") };
        assert!(limiter.check(&counting.next().unwrap().key).is_ok(), "{request}");
    }
    let address: IpAddr = "192.0.2.7".parse().unwrap();
    assert!(limiter.check(&address).is_err(), "an address finds its own key");
}

#[test]
fn without_a_peer_nothing_is_judged() {
    let matcher = Matcher::new(&config()).unwrap();
    let (head, ()) = Request::get("/").body(()).unwrap().into_parts();
    assert!(matches!(matcher.judge(&head, |_| Draw::Act), Judged::NoPeer(_)));
}
