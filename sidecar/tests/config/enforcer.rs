//! The eight files, enforced: what requests get, in process. And a reload, which forgets nothing that it need not.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{HeaderName, RETRY_AFTER};
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt as _, Full};
use tollgate::http::PeerAddr;
use tollgate_sidecar::config::{Carried, Config, Overrides, read};
use tollgate_sidecar::rules::{CountsByLimit, Enforcer, Limits, Ruling};
use tower_layer::Layer as _;
use tower_service::Service;

use crate::examples::example;

/// The application: it answers with the next of these headers, or with none.
#[derive(Clone, Default)]
struct App(Arc<Mutex<VecDeque<(&'static str, &'static str)>>>);

impl Service<Request<()>> for App {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut response = Response::new(Full::from("0123456789"));
        if let Some((name, value)) = self.0.lock().unwrap().pop_front() {
            response.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        ready(Ok(response))
    }
}

/// What a request got.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

/// The proxy, as far as limits go.
struct Proxy {
    enforcer: Enforcer,
    counts: CountsByLimit,
    app: App,
}

fn parsed(text: &str) -> Config {
    read("file.toml", text.as_bytes(), &Overrides::default()).unwrap_or_else(|error| panic!("{error}"))
}

impl Proxy {
    fn new(text: &str) -> Self {
        let counts = CountsByLimit::default();
        let enforcer = Enforcer::new(&parsed(text), &counts).unwrap();
        Self { enforcer, counts, app: App::default() }
    }

    fn reload(&mut self, text: &str) -> Vec<String> {
        let (enforcer, changes) = self.enforcer.reloaded(&parsed(text), &self.counts).unwrap();
        self.enforcer = enforcer;
        changes.told
    }

    /// `GET /login x-user=7`, from a peer.
    fn ask(&self, request: &str, peer: &str) -> Answer {
        let mut words = request.split(' ');
        let mut builder = Request::builder().method(words.next().unwrap()).uri(words.next().unwrap());
        for (name, value) in words.filter_map(|word| word.split_once('=')) {
            builder = builder.header(name, value);
        }
        let peer: SocketAddr = format!("{peer}:4000").parse().unwrap();
        let (mut head, ()) = builder.extension(PeerAddr(peer)).body(()).unwrap().into_parts();
        let ruling = self.enforcer.judge(&mut head).unwrap();
        let request = Request::from_parts(head, ());
        let app = self.app.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            macro_rules! answer {
                ($service:expr) => {{
                    let (head, body) = $service.call(request).await.unwrap().into_parts();
                    let body = body.collect().await.unwrap().to_bytes();
                    Answer {
                        status: head.status.as_u16(),
                        headers: head.headers,
                        body: String::from_utf8_lossy(&body).into_owned(),
                    }
                }};
            }
            match (ruling, self.enforcer.layer()) {
                (Ruling::Lacks(what), _) => Answer { status: 400, headers: HeaderMap::new(), body: what },
                (Ruling::Pass | Ruling::Exempt, _) | (_, Limits::None) => answer!({ app }),
                (Ruling::Count, Limits::One(layer)) => answer!({ layer.clone().any_body().layer(app) }),
                (Ruling::Count, Limits::Several(layer)) => answer!({ layer.clone().any_body().layer(app) }),
                (Ruling::Count, Limits::There(_)) => unreachable!("nothing here is counted elsewhere"),
            }
        })
    }

    /// How many of so many requests pass.
    fn passes(&self, number: usize, request: &str, peer: &str) -> usize {
        (0..number).filter(|_| self.ask(request, peer).status == 200).count()
    }
}

/// The rates of the examples would refill while a test runs.
fn slow(name: &str) -> String {
    example(name).replace("/second", "/day").replace("/minute", "/day").replace("/hour", "/day")
}

#[test]
fn a_the_article() {
    let proxy = Proxy::new(&slow("article"));
    let answers: Vec<Answer> = (0..40).map(|at| proxy.ask("GET /", &format!("192.0.2.{at}"))).collect();
    assert_eq!(
        answers.iter().filter(|answer| answer.status == 200).count(),
        29,
        "all clients together: {:?}",
        answers[0]
    );
    let denied = &answers[39];
    assert_eq!((denied.status, denied.body.as_str()), (429, "local_rate_limited"));
    assert_eq!(denied.headers["content-type"], "text/plain");
    assert_eq!(denied.headers["x-local-rate-limit"], "true");
    assert_eq!(denied.headers["cache-control"], "no-store");
    assert!(denied.headers.contains_key(RETRY_AFTER));
}

#[test]
fn b_behind_a_balancer() {
    let proxy = Proxy::new(&slow("behind-a-balancer"));
    let login = "POST /login x-username=alice x-forwarded-for=192.0.2.7";
    assert_eq!(proxy.passes(9, login, "10.0.0.1"), 5);
    // Five were charged to the client's own limit, and none of those that were denied.
    assert_eq!(proxy.passes(99, "GET / x-forwarded-for=192.0.2.7", "10.0.0.1"), 23);
    assert_eq!(proxy.passes(1, "GET / x-forwarded-for=192.0.2.8", "10.0.0.1"), 1, "another client");
    assert_eq!(proxy.passes(99, "GET /healthz", "10.0.0.1"), 99, "the kubelet");
    assert_eq!(proxy.passes(99, "GET /healthz", "192.0.2.9"), 28, "anybody");
    let refused = proxy.ask("POST /login", "192.0.2.10");
    assert_eq!((refused.status, refused.body.as_str()), (400, "the request lacks the header x-username"));
}

#[test]
fn c_plans() {
    let proxy = Proxy::new(&slow("plans"));
    assert_eq!(proxy.passes(99, "GET / x-api-key=a", "10.0.0.1"), 60);
    assert_eq!(proxy.passes(6100, "GET / x-api-key=b x-plan=pro", "10.0.0.1"), 6000);
    // Its own word is not believed.
    assert_eq!(proxy.passes(99, "GET / x-api-key=c x-plan=pro", "192.0.2.7"), 60);
    let denied = proxy.ask("GET / x-api-key=a", "10.0.0.1");
    assert_eq!(denied.headers["content-type"], "application/problem+json");
    assert!(denied.headers.contains_key("ratelimit"));
    assert!(proxy.ask("GET / x-api-key=d", "10.0.0.1").headers.contains_key("ratelimit"), "on every response");
}

#[test]
fn d_a_rehearsal() {
    let proxy = Proxy::new(&slow("rehearsal"));
    assert_eq!(proxy.passes(99, "GET /search", "192.0.2.7"), 99);
    assert_eq!(proxy.counts.snapshot()[0].shadow_denied(), 89);
    let proxy = Proxy::new(&slow("rehearsal").replace("shadow = true", "enforced = \"10%\""));
    let passed = proxy.passes(1010, "GET /search", "192.0.2.7");
    assert!(passed.abs_diff(910) < 10, "a tenth of those above the limit are denied: {passed} passed");
}

#[test]
fn f_grpc() {
    let proxy = Proxy::new(&slow("grpc"));
    let call = "POST /shop.Cart/Add content-type=application/grpc";
    assert_eq!(proxy.passes(28, call, "192.0.2.7"), 28);
    let denied = proxy.ask(call, "192.0.2.7");
    assert_eq!((denied.status, &denied.headers["grpc-status"]), (200, &"8".parse().unwrap()));
    assert_eq!(proxy.passes(99, "POST /shop.Other/Add", "192.0.2.7"), 99);
}

#[test]
fn g_two_hosts() {
    let proxy = Proxy::new(&slow("tls"));
    assert_eq!(proxy.passes(200, "GET / host=api.example", "192.0.2.7"), 100);
    assert_eq!(proxy.passes(200, "GET / host=shop.example", "192.0.2.7"), 28, "nothing was charged by the other host");
}

#[test]
fn h_cost_by_what_was_served() {
    let proxy = Proxy::new(&slow("cost").replace("100000", "1000"));
    *proxy.app.0.lock().unwrap() = [("x-tokens-used", "100"); 9].into();
    // Nine cost 100 each, and 500 had to be left for each to begin.
    assert_eq!(proxy.passes(20, "GET / x-api-key=a", "192.0.2.7"), 6);
    // What the response does not say costs what was reserved.
    *proxy.app.0.lock().unwrap() = [("x-tokens-used", "many"), ("x-other", "1")].into();
    assert_eq!(proxy.passes(20, "GET / x-api-key=b", "192.0.2.7"), 2);
    let bytes = slow("cost")
        .replace("100000", "100")
        .replace("response-header:x-tokens-used", "response-bytes")
        .replace("500", "50");
    let proxy = Proxy::new(&bytes);
    assert_eq!(proxy.passes(20, "GET / x-api-key=a", "192.0.2.7"), 6, "ten bytes each");
}

/// A denial charges none of the limits, whichever of them denies.
#[test]
fn a_request_is_charged_to_all_or_to_none() {
    let text = "listen = \"0.0.0.0:1\"\nupstream = \"http://localhost:2\"\n\
        [limits.a]\nlimit = \"10/day\"\n[limits.b]\nlimit = \"3/day\"\npath = \"/b\"\n[limits.c]\nlimit = \"4/day\"\npath = \"/*\"\nkey = \"global\"\n";
    let proxy = Proxy::new(text);
    assert_eq!(proxy.passes(9, "GET /b", "192.0.2.7"), 3);
    assert_eq!(proxy.passes(9, "GET /", "192.0.2.7"), 1, "three of c's four were charged");
    let a = proxy.enforcer.limiters().find(|(limit, _)| limit.name == "a").unwrap().1;
    let address: std::net::IpAddr = "192.0.2.7".parse().unwrap();
    assert_eq!(a.peek(&address).remaining(), 6, "an address finds its own key");
}

#[test]
fn a_reload_keeps_what_was_spent_under_the_same_name() {
    let article = slow("article");
    let mut proxy = Proxy::new(&article);
    assert_eq!(proxy.passes(20, "GET /", "192.0.2.7"), 20);
    assert_eq!(proxy.reload(&article.replace("29/day", "25/day")), ["all: 29/day is now 25/day; what was spent stays"]);
    assert_eq!(proxy.passes(99, "GET /", "192.0.2.7"), 5);
    // Another limit beside it, and what is spent of the first stays spent.
    let with_login =
        article.replace("[limits.all]", "[limits.login]\npath = \"/login\"\nlimit = \"1/day\"\n[limits.all]");
    proxy.reload(&with_login);
    assert_eq!(proxy.passes(99, "GET /", "192.0.2.7"), 4, "29 again");
    assert_eq!(proxy.passes(9, "GET /login", "192.0.2.8"), 0, "all of 29 are spent");
    let told = proxy.reload(&with_login.replace("[limits.all]", "[limits.everybody]"));
    assert!(told[0].starts_with("everybody: starts fresh: it is all under a new name"), "{told:?}");
    assert_eq!(proxy.passes(99, "GET /", "192.0.2.7"), 29);
}

#[test]
fn a_reload_keeps_what_was_spent_on_plans() {
    let plans = slow("plans");
    let mut proxy = Proxy::new(&plans);
    assert_eq!(proxy.passes(50, "GET / x-api-key=a x-plan=pro", "10.0.0.1"), 50);
    proxy.reload(&plans.replace("6000/day", "55/day").replace("60/day", "70/day"));
    assert_eq!(proxy.passes(99, "GET / x-api-key=a x-plan=pro", "10.0.0.1"), 5);
    assert_eq!(proxy.passes(99, "GET / x-api-key=a", "10.0.0.1"), 15, "one account, whatever the plan");
}

/// What is told of a reload is what becomes of the counts.
#[test]
fn what_is_said_to_start_fresh_does() {
    let text = "listen = \"0.0.0.0:1\"\nupstream = \"http://localhost:2\"\n[limits.a]\nlimit = \"10/day\"\n";
    for (change, is_kept) in [
        ("limit = \"10/day\"\npath = \"/*\"", true),
        ("limit = \"10/day fixed\"", true),
        ("limit = \"10/2 days\"", true),
        ("limit = \"10/day\"\nmethod = \"GET\"\nenforced = \"50%\"", true),
        ("limit = \"10/day\"\nkey = \"global\"", false),
        ("limit = \"10/day; 1000/week\"", true),
        ("limit = \"10/day; 1000/week; 2000/month\"", false),
        ("limit = \"10/day\"\ncapacity = 50", false),
    ] {
        let proxy = Proxy::new(text);
        assert_eq!(proxy.passes(9, "GET /", "192.0.2.7"), 9);
        let (enforcer, changes) =
            proxy.enforcer.reloaded(&parsed(&text.replace("limit = \"10/day\"", change)), &proxy.counts).unwrap();
        assert_eq!(changes.limits[0], if is_kept { Carried::Kept(0) } else { Carried::Fresh }, "{change}");
        assert_eq!(changes.told[0].contains("what was spent stays"), is_kept, "{:?}", changes.told);
        let (_, limiter) = enforcer.limiters().next().unwrap();
        let address: std::net::IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(limiter.peek(&address).remaining() < 3, is_kept, "{change}");
    }
}

/// A quota can go, and another can come in its place.
#[test]
fn a_reload_keeps_what_was_spent_of_each_quota() {
    let text = "listen = \"0.0.0.0:1\"\nupstream = \"http://localhost:2\"\n[limits.a]\nlimit = \"10/day; 50/week\"\n";
    let mut proxy = Proxy::new(text);
    assert_eq!(proxy.passes(8, "GET /", "192.0.2.7"), 8);
    let told = proxy.reload(&text.replace("50/week", "9/week"));
    assert_eq!(told, ["a: 10/day; 50/week is now 10/day; 9/week; what was spent stays"]);
    assert_eq!(proxy.passes(9, "GET /", "192.0.2.7"), 1);
    let told = proxy.reload(&text.replace("; 50/week", ""));
    assert_eq!(told, ["a: 10/day; 9/week is now 10/day; what was spent stays"]);
    assert_eq!(proxy.passes(9, "GET /", "192.0.2.7"), 1);
    let told = proxy.reload(text);
    assert_eq!(told, ["a: 10/day is now 10/day; 50/week; what was spent stays"]);
    assert_eq!(proxy.passes(99, "GET /", "192.0.2.7"), 0);
    // Room is what the limiter was built with, whatever came between.
    let three = text.replace("50/week", "50/week; 90/month");
    assert_eq!(proxy.reload(&three).len(), 1);
    assert_eq!(proxy.passes(99, "GET /", "192.0.2.7"), 0);
    let told = proxy.reload(&three.replace("90/month", "90/month; 99/year"));
    assert!(told[0].ends_with("starts fresh: there is room for 3 quotas and it has 4"), "{told:?}");
    assert_eq!(proxy.passes(99, "GET /", "192.0.2.7"), 10);
}

/// Where every limit counts every request, none is marked: the short way, for the article's configuration.
#[test]
fn what_needs_no_judging_is_not_judged() {
    for (name, marks) in [("article", 0), ("behind-a-balancer", 1), ("rehearsal", 1), ("plans", 1)] {
        let proxy = Proxy::new(&slow(name));
        let peer: SocketAddr = "192.0.2.7:4000".parse().unwrap();
        let request = Request::get("/search").header("x-api-key", "a").extension(PeerAddr(peer)).body(()).unwrap();
        let (mut head, ()) = request.into_parts();
        let before = head.extensions.len();
        assert_eq!(proxy.enforcer.judge(&mut head).unwrap(), Ruling::Count, "{name}");
        assert_eq!(head.extensions.len() - before, marks, "{name}");
    }
}

#[test]
fn no_limit_is_no_layer() {
    let proxy = Proxy::new("listen = \"0.0.0.0:1\"\nupstream = \"http://localhost:2\"\n");
    assert!(matches!(proxy.enforcer.layer(), Limits::None));
    assert_eq!(proxy.passes(9, "GET /", "192.0.2.7"), 9);
}
