//! Keys by what axum's router knows: requests through real routers, with a layer that answers with the key it sees.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{any, get, post};
use http::Request;
use tollgate::http::{BearerToken, ClientIp, CookieKey, ExtensionKey, HeaderKey, HostKey, KeyExtractor};
use tollgate::http::{MethodRouteKey, PathParam, PeerAddr, RouteKey, first_of};
use tollgate::{Clock, Quota, RateLimitLayer, RateLimiter};
use tower::{Layer, Service, ServiceExt};

use crate::keys::text_of;
use crate::logged::Lines;

/// Where a limit would stand: answers with the key, in a header.
#[derive(Clone)]
struct Probe<K>(K);

#[derive(Clone)]
struct Probed<K>(K);

impl<S, K: Clone> Layer<S> for Probe<K> {
    type Service = Probed<K>;

    fn layer(&self, _: S) -> Probed<K> {
        Probed(self.0.clone())
    }
}

impl<K: KeyExtractor> Service<Request<Body>> for Probed<K> {
    type Response = Response;
    type Error = Infallible;
    type Future = Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let key = text_of(&self.0, &request.into_parts().0);
        ready(Ok(Response::builder().header("key", key).body(Body::empty()).unwrap()))
    }
}

/// The key of a request (`GET /path`, or another method in front).
#[track_caller]
fn ask<S>(app: &S, request: &str) -> String
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone,
{
    let (method, uri) = request.split_once(' ').unwrap();
    answer(app, Request::builder().method(method).uri(uri))
}

fn answer<S>(app: &S, request: http::request::Builder) -> String
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone,
{
    let request = request.body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let response = runtime.block_on(app.clone().oneshot(request)).unwrap();
    match response.headers().get("key") {
        Some(key) => key.to_str().unwrap().to_owned(),
        None => response.status().to_string(),
    }
}

#[track_caller]
fn check(app: &Router, request: &str, expected: &str) {
    assert_eq!(ask(app, request), expected, "{request}");
}

async fn ok() {}

fn routes() -> Router {
    Router::new()
        .route("/", get(ok))
        .route("/users/{id}", get(ok).post(ok))
        .route("/search", get(ok))
        .route("/slash/", get(ok))
        .route("/slash", get(ok))
        .route("/files/{*path}", get(ok))
}

#[test]
fn a_route_is_one_key() {
    let app = routes().layer(Probe(RouteKey));
    check(&app, "GET /users/1", "%2Fusers%2F%7Bid%7D");
    check(&app, "GET /users/2?x=y", "%2Fusers%2F%7Bid%7D");
    check(&app, "POST /users/2", "%2Fusers%2F%7Bid%7D");
    check(&app, "GET /search", "%2Fsearch");
    check(&app, "GET /files/a/b/c", "%2Ffiles%2F%7B%2Apath%7D");
    check(&app, "GET /", "%2F");
    // With and without a slash at the end.
    check(&app, "GET /slash", "%2Fslash");
    check(&app, "GET /slash/", "%2Fslash");
}

#[test]
fn what_matches_no_route_is_one_key_too() {
    const UNMATCHED: &str = "%";
    for app in [
        routes().layer(Probe(RouteKey)),
        routes().fallback(ok).layer(Probe(RouteKey)),
        Router::new().nest("/api", routes()).fallback(ok).layer(Probe(RouteKey)),
        Router::new().nest("/api", routes().fallback(ok)).layer(Probe(RouteKey)),
    ] {
        for path in
            ["/nothing", "/a/b/c", "/search/", "//search", "/SEARCH", "/%73earch", "/users", "/users/1/", "/api/x"]
        {
            check(&app, &format!("GET {path}"), UNMATCHED);
        }
    }
}

#[test]
fn a_nested_route_is_its_whole_path() {
    let inside = Router::new().nest("/{tenant}", Router::new().nest("/api", routes().layer(Probe(RouteKey))));
    let outside = Router::new().nest("/{tenant}", Router::new().nest("/api", routes())).layer(Probe(RouteKey));
    for app in [inside, outside] {
        check(&app, "GET /acme/api/users/1", "%2F%7Btenant%7D%2Fapi%2Fusers%2F%7Bid%7D");
        check(&app, "GET /other/api/search", "%2F%7Btenant%7D%2Fapi%2Fsearch");
    }
    // A nested service is not matched yet, seen from outside.
    let app = Router::new().nest_service("/api", routes()).layer(Probe(RouteKey));
    check(&app, "GET /api/search", "%");
    let app = Router::new().nest_service("/api", routes().layer(Probe(RouteKey)));
    check(&app, "GET /api/search", "%2Fapi%2Fsearch");
}

#[test]
fn around_the_router_no_route_is_known() {
    for answer in [
        ask(&Probe(RouteKey).layer(routes()), "GET /search"),
        ask(&Probe(MethodRouteKey).layer(routes()), "GET /search"),
        ask(&Probe(PathParam::new("id")).layer(routes()), "GET /users/1"),
    ] {
        assert!(answer.starts_with("misconfigured: ") && answer.contains("Router::layer"), "{answer}");
    }
}

#[test]
fn methods_count_as_what_answers_them() {
    let app = Router::new().route("/a", any(ok).layer(Probe(MethodRouteKey)));
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        check(&app, &format!("{method} /a"), &format!("{method}:%2Fa"));
    }
    check(&app, "HEAD /a", "GET:%2Fa");
    for method in ["BREW", "get", "PROPFIND", "X1", "X2"] {
        check(&app, &format!("{method} /a"), "other:%2Fa");
    }
    let app = routes().layer(Probe(MethodRouteKey));
    check(&app, "HEAD /search", "GET:%2Fsearch");
    check(&app, "POST /users/1", "POST:%2Fusers%2F%7Bid%7D");
    check(&app, "POST /nothing", "POST:%");

    let app = Router::new().route("/a", post(ok)).layer(Probe(MethodRouteKey));
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let request = Request::post("/a").header(name, "DELETE");
        assert_eq!(answer(&app, request), "POST:%2Fa");
    }
}

#[test]
fn a_path_parameter_counts_by_its_value() {
    let layered = routes().layer(Probe(PathParam::new("id")));
    let on_route = Router::new().route("/users/{id}", get(ok).layer(Probe(PathParam::new("id"))));
    for app in [layered.clone(), on_route] {
        for spelling in ["/users/abc", "/users/%61bc", "/users/%61%62%63", "/users/ab%63?id=x"] {
            check(&app, &format!("GET {spelling}"), "abc");
        }
        check(&app, "GET /users/ABC", "ABC");
        check(&app, "GET /users/a%2Fb", "a%2Fb");
        check(&app, "GET /users/%2561", "%2561");
        check(&app, "GET /users/100%", "100%25");
        check(&app, "GET /users/%ff", "%FF");
    }
    // A server's mistake on routes that lack it, and nobody's on paths that are none.
    let answer = ask(&layered, "GET /search");
    assert!(answer.starts_with("misconfigured: ") && answer.contains("{id}"), "{answer}");
    check(&layered, "GET /nothing", "absent: the path parameter id");
    check(&layered, "GET /users/1/", "absent: the path parameter id");
}

#[test]
fn wildcards_are_parameters() {
    let app = routes().layer(Probe(PathParam::new("path")));
    check(&app, "GET /files/a", "a");
    check(&app, "GET /files/a/b//c/", "a%2Fb%2F%2Fc%2F");
    check(&app, "GET /files//", "%2F");
    let app = routes().layer(Probe(PathParam::new("id")));
    assert!(ask(&app, "GET /files/a").starts_with("misconfigured: "));
}

#[test]
fn text_may_stand_before_a_parameter() {
    let routes = Router::new().route("/v{version}/{{x}}{id}", get(ok));
    check(&routes.clone().layer(Probe(PathParam::new("version"))), "GET /v2/{x}7", "2");
    check(&routes.layer(Probe(PathParam::new("id"))), "GET /v2/{x}7", "7");
}

/// Where something between two routers rewrites the path, the first path and the matched route do not fit each other.
#[test]
fn no_value_is_better_than_a_wrong_one() {
    let inner = Router::new().route("/users/{id}", get(ok)).layer(Probe(PathParam::new("id")));
    let rewriting = tower::util::MapRequest::new(inner, |mut request: Request<Body>| {
        *request.uri_mut() = http::Uri::from_static("/users/7");
        request
    });
    let app = Router::new().fallback_service(rewriting);
    assert!(ask(&app, "GET /old/users/7").starts_with("misconfigured: "));
    assert!(ask(&app, "GET /old").starts_with("misconfigured: "));
    assert!(ask(&app, "GET /users/8").starts_with("misconfigured: "), "the handler sees 7");
    check(&app, "GET /users/7", "7");
    // All of the path taken by the prefix.
    let app = Router::new().nest("/{id}", Router::new().route("/", get(ok)).layer(Probe(PathParam::new("id"))));
    check(&app, "GET /7", "7");
    let service = Router::new().route("/", get(ok)).layer(Probe(PathParam::new("id")));
    check(&Router::new().nest_service("/{id}", service.clone()), "GET /7", "7");
    check(&Router::new().nest_service("/{id}", service), "GET /7/", "7");
}

#[test]
fn parameters_are_found_inside_of_nest() {
    let probe = |name: &str| Probe(PathParam::new(name));
    for name in ["tenant", "version", "id"] {
        let routes = || Router::new().route("/users/{id}", get(ok)).route("/{{id}}/{id}", get(ok));
        let expected = match name {
            "tenant" => "acme",
            "version" => "v1",
            _ => "7",
        };
        let innermost =
            Router::new().nest("/{tenant}", Router::new().nest("/api/{version}", routes().layer(probe(name))));
        let between =
            Router::new().nest("/{tenant}", Router::new().nest("/api/{version}", routes()).layer(probe(name)));
        let outermost =
            Router::new().nest("/{tenant}", Router::new().nest("/api/{version}", routes())).layer(probe(name));
        let service = Router::new()
            .nest_service("/{tenant}/api/{version}", Router::new().fallback_service(routes().layer(probe(name))));
        for app in [innermost, between, outermost] {
            check(&app, "GET /acme/api/v1/users/7", expected);
            check(&app, "GET /%61cme/api/%761/users/%37", expected);
            check(&app, "GET /acme/api/v1/{id}/7", expected);
        }
        check(&service, "GET /acme/api/v1/users/7", expected);
    }
}

#[derive(Clone)]
struct User(u64);

async fn authenticate(mut request: axum::extract::Request, next: axum::middleware::Next) -> Response {
    if let Some(id) = request.headers().get("x-user").and_then(|id| id.to_str().ok()?.parse().ok()) {
        request.extensions_mut().insert(User(id));
    }
    next.run(request).await
}

/// Every request was refused, and nothing said why; the body named a type of the program.
#[test]
fn layers_in_the_wrong_order_are_logged_and_not_told() {
    let clock = Clock::manual();
    let limiter = RateLimiter::builder(Quota::per_hour(100)).clock(clock.clone()).build();
    let limit = RateLimitLayer::sharing(&limiter).key(ExtensionKey::new(|user: &User| user.0));
    let authenticated = axum::middleware::from_fn(authenticate);
    let wrong = routes().layer(authenticated.clone()).layer(limit.clone());
    let right = routes().layer(limit).layer(authenticated);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let send = |app: &Router, user: Option<&str>| {
        let mut request = Request::builder().uri("/search");
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        runtime.block_on(async {
            let response = app.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            let status = response.status().as_u16();
            let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
            (status, String::from_utf8(body.to_vec()).unwrap())
        })
    };
    let mut answers = Vec::new();
    let lines = Lines::of(|| answers = (0..9).map(|_| send(&wrong, Some("7"))).collect());
    for (status, body) in answers {
        assert_eq!(status, 403);
        assert!(body.contains("lacks what it would be counted by"), "{body}");
        for internal in ["User", "keys", "::", "extension", "layer"] {
            assert!(!body.contains(internal), "{body}");
        }
    }
    assert_eq!(lines.len(), 1, "for 9 of a burst");
    for hint in ["WARN", "route_keys::User", "add it after the limit", "first_of"] {
        assert!(lines[0].contains(hint), "{hint}: {}", lines[0]);
    }
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(Lines::of(|| drop(send(&wrong, Some("7")))).len(), 1);

    assert_eq!(send(&right, Some("7")).0, 200);
    assert_eq!(send(&right, None).0, 403);
}

/// The example of `first_of`, with the requests that try to get round it.
#[test]
fn users_count_by_their_number_and_others_by_their_address() {
    let limiter = RateLimiter::builder(Quota::per_hour(2)).clock(Clock::manual()).build();
    let user = ExtensionKey::new(|user: &User| user.0);
    let limit = RateLimitLayer::sharing(&limiter).key(first_of(user, ClientIp::peer()));
    let app = routes().layer(limit).layer(axum::middleware::from_fn(authenticate));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let send = |peer: [u8; 4], user: Option<&str>| {
        let mut request = Request::builder().uri("/search");
        if let Some(user) = user {
            request = request.header("x-user", user);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(PeerAddr((peer, 80).into()));
        runtime.block_on(app.clone().oneshot(request)).unwrap().status().as_u16()
    };
    let (here, there) = ([192, 0, 2, 7], [192, 0, 2, 8]);
    assert_eq!([send(here, Some("7")), send(there, Some("7")), send(here, Some("7"))], [200, 200, 429]);
    // Who leaves out its number, or makes one up that is none, is its address, whatever it makes up next.
    let made_up = ["x", "", "-1", "7 ", "0x7", "99999999999999999999999"];
    let answers: Vec<u16> = made_up.iter().map(|user| send(here, Some(user))).collect();
    assert_eq!(answers, [200, 200, 429, 429, 429, 429]);
    assert_eq!(send(here, None), 429);
    assert_eq!(send(there, None), 200);
    // Each limit is found by a direct call.
    assert_eq!(limiter.peek(&("first", 7_u64)).remaining(), 0);
    assert_eq!(limiter.peek(&("second", std::net::IpAddr::from(there))).remaining(), 1);
}

/// The examples of keys that a client chooses: one that makes up a new one for each request is held by its address.
#[test]
fn made_up_keys_are_held_by_the_address() {
    let clock = Clock::manual();
    let per_hour =
        |amount| RateLimitLayer::sharing(&RateLimiter::builder(Quota::per_hour(amount)).clock(clock.clone()).build());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let passed = |app: Router, request: &dyn Fn(u32) -> http::request::Builder| {
        let send = |n| {
            let mut request = request(n).body(Body::empty()).unwrap();
            request.extensions_mut().insert(PeerAddr("192.0.2.7:80".parse().unwrap()));
            runtime.block_on(app.clone().oneshot(request)).unwrap().status() == 200
        };
        (0..100).filter(|&n| send(n)).count()
    };
    let header = || routes().layer(per_hour(5).key(HeaderKey::new("x-api-key").unwrap())).layer(per_hour(10));
    assert_eq!(passed(header(), &|_| Request::get("/").header("x-api-key", "one")), 5);
    assert_eq!(passed(header(), &|n| Request::get("/").header("x-api-key", n)), 10);
    let cookie = || routes().layer(per_hour(5).key(CookieKey::new("session").unwrap())).layer(per_hour(10));
    assert_eq!(passed(cookie(), &|_| Request::get("/").header("cookie", "session=one")), 5);
    assert_eq!(passed(cookie(), &|n| Request::get("/").header("cookie", format!("session={n}"))), 10);
    let token = || routes().layer(per_hour(5).key(BearerToken)).layer(per_hour(10));
    assert_eq!(passed(token(), &|_| Request::get("/").header("authorization", "bearer one")), 5);
    assert_eq!(passed(token(), &|n| Request::get("/").header("authorization", format!("Bearer {n}"))), 10);
    let page = || {
        let app = Router::new().route("/users/{id}", get(ok));
        app.layer(per_hour(5).key(PathParam::new("id"))).layer(per_hour(10))
    };
    assert_eq!(passed(page(), &|n| Request::get(["/users/7", "/users/%37"][n as usize % 2])), 5);
    assert_eq!(passed(page(), &|n| Request::get(format!("/users/{n}"))), 10);
    // A host that is not listed is no key at all.
    let sites = HostKey::among(["example.com", "api.example.com"]).unwrap();
    let site = || routes().layer(per_hour(5).key((sites.clone(), ClientIp::peer())));
    assert_eq!(passed(site(), &|_| Request::get("/").header("host", "example.com")), 5);
    assert_eq!(passed(site(), &|n| Request::get("/").header("host", format!("{n}.example.com"))), 0);
    assert_eq!(passed(site(), &|n| Request::get("/").header("host", format!("Example.COM:{n}"))), 5);
}

/// What the documentation says of the keys that axum's router knows.
#[test]
fn a_direct_call_finds_what_a_route_counted() {
    let limiter = RateLimiter::builder(Quota::per_hour(9)).clock(Clock::manual()).build();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let send = |app: Router, path: &str| {
        let request = Request::get(path).body(Body::empty()).unwrap();
        runtime.block_on(app.oneshot(request)).unwrap().status().as_u16()
    };
    let sharing = || RateLimitLayer::sharing(&limiter);
    assert_eq!(send(routes().layer(sharing().key(RouteKey)), "/users/7"), 200);
    assert_eq!(send(routes().layer(sharing().key(MethodRouteKey)), "/users/7"), 200);
    assert_eq!(send(routes().layer(sharing().key(PathParam::new("id"))), "/users/%37"), 200);
    assert_eq!(send(routes().layer(sharing().key(RouteKey)), "/nothing"), 404);
    assert_eq!(limiter.peek("/users/{id}").remaining(), 8);
    assert_eq!(limiter.peek(&("GET", "/users/{id}")).remaining(), 8);
    assert_eq!(limiter.peek("7").remaining(), 8);
    assert_eq!(limiter.peek("").remaining(), 8);
}

/// The key, the layer and the router together: a client that varies all it can has one limit for each route.
#[test]
fn a_route_cannot_be_dodged() {
    let layer = RateLimitLayer::new(Quota::per_hour(1)).key((MethodRouteKey, ClientIp::peer()));
    let app = routes().layer(layer);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let send = |method: &str, path: &str| {
        let mut request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert(PeerAddr("203.0.113.9:80".parse().unwrap()));
        runtime.block_on(app.clone().oneshot(request)).unwrap().status().as_u16()
    };
    assert_eq!(send("GET", "/users/1"), 200);
    assert_eq!(send("GET", "/users/2"), 429);
    assert_eq!(send("HEAD", "/users/3"), 429);
    assert_eq!(send("POST", "/users/1"), 200);
    assert_eq!(send("GET", "/nothing"), 404);
    assert_eq!(send("GET", "//users/1"), 429);
    assert_eq!(send("BREW", "/search"), 405);
    assert_eq!(send("BREW2", "/search"), 429);
}
