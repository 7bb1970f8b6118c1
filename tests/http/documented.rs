//! The documented forms of settings, each with the requests that try to get round it.
//!
//! Each layer here is written as the documentation writes it, on a limiter whose clock stands still.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::request::Parts;
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use tollgate::http::{ExtensionKey, PeerAddr, RouteKey};
use tollgate::{ClientIp, Clock, Denied, Plan, Quota, RateLimitLayer, RateLimiter};
use tower::ServiceExt as _;

/// A limiter of this many, by the day. Its clock stands still, so nothing comes back.
fn limiter(amount: u64) -> RateLimiter {
    RateLimiter::builder(Quota::per_day(amount)).capacity(64).clock(Clock::manual()).build()
}

fn limit(amount: u64) -> RateLimitLayer {
    RateLimitLayer::sharing(&limiter(amount))
}

/// Makes requests of one client, each a method, a path and perhaps headers (`GET /a x-key:1`). Says which were denied (`x`),
/// which were answered with success (`.`), and which reached the app and were answered otherwise (`?`).
async fn ask(app: &Router, requests: &[&str]) -> String {
    let mut answers = String::new();
    for request in requests {
        let mut words = request.split(' ');
        let mut builder = Request::builder().method(words.next().expect("a method")).uri(words.next().expect("a path"));
        for header in words {
            let (name, value) = header.split_once(':').expect("a header");
            builder = builder.header(name, value);
        }
        let client = PeerAddr(SocketAddr::from(([192, 0, 2, 7], 50_000)));
        let request = builder.extension(client).body(Body::empty()).expect("a request");
        let (head, body) = app.clone().oneshot(request).await.unwrap().into_parts();
        body.collect().await.unwrap();
        answers.push(match head.status {
            _ if head.extensions.get::<Denied>().is_some() => 'x',
            status if status.is_success() => '.',
            _ => '?',
        });
    }
    answers
}

/// What the one client of [`ask`] has left.
fn left(limiter: &RateLimiter) -> u64 {
    limiter.peek(&std::net::IpAddr::from([192, 0, 2, 7])).remaining()
}

/// Who the program takes the client for, as its credentials say. These tests accept one password for each.
#[derive(Clone, Copy)]
struct User {
    id: u64,
    tier: Tier,
}

#[derive(Clone, Copy)]
enum Tier {
    Free,
    Pro,
    Staff,
}

#[derive(Clone)]
struct Partner {
    id: u64,
}

#[derive(Clone)]
struct OurOwn;

async fn authenticate(mut request: Request, next: Next) -> Response {
    let credentials = request.headers().get("authorization").cloned();
    let extensions = request.extensions_mut();
    let user = |tier| User { id: 1, tier };
    match credentials.as_ref().map(|credentials| credentials.as_bytes()) {
        Some(b"free-secret") => drop(extensions.insert(user(Tier::Free))),
        Some(b"pro-secret") => drop(extensions.insert(user(Tier::Pro))),
        Some(b"staff-secret") => drop(extensions.insert(user(Tier::Staff))),
        Some(b"partner-secret") => drop(extensions.insert(Partner { id: 1 })),
        Some(b"own-secret") => drop(extensions.insert(OurOwn)),
        _ => {}
    }
    next.run(request).await
}

/// `RateLimitLayer::cost`: by the route that matched.
#[tokio::test]
async fn a_price_by_route_is_paid_for_every_spelling_that_reaches_the_route() {
    fn cost(head: &Parts) -> u64 {
        let route = head.extensions.get::<MatchedPath>();
        match route.map(MatchedPath::as_str) {
            Some("/search/everything") => 10,
            _ => 1,
        }
    }

    const SPELLINGS: [&str; 9] = [
        "GET /search/everything",
        "HEAD /search/everything",
        "GET /search/everything?scope=one",
        "GET /search/everything/",
        "GET //search/everything",
        "GET /search//everything",
        "GET /search/%65verything",
        "GET /SEARCH/everything",
        "GET /search/./everything",
    ];
    for spelling in SPELLINGS {
        let limiter = limiter(100);
        let app = Router::new()
            .route("/search", get(|| async { "..." }))
            .route("/search/everything", get(|| async { "..." }))
            .layer(RateLimitLayer::sharing(&limiter).cost(cost));
        let reached = ask(&app, &[spelling]).await == ".";
        assert_eq!(left(&limiter), if reached { 90 } else { 99 }, "{spelling}");
    }
}

/// The same where the path does not spell the route: it has a parameter, or a part of it was taken off by `nest`.
#[tokio::test]
async fn a_price_by_route_is_the_routes_own_wherever_it_stands() {
    fn cost(head: &Parts) -> u64 {
        let route = head.extensions.get::<MatchedPath>();
        match route.map(MatchedPath::as_str) {
            Some("/api/export/{year}") => 10,
            _ => 1,
        }
    }

    type Places = fn(RateLimitLayer) -> Router;
    let places: [Places; 3] = [
        |limit| Router::new().route("/api/export/{year}", get(|| async { "..." })).layer(limit),
        |limit| Router::new().nest("/api", Router::new().route("/export/{year}", get(|| async { "..." })).layer(limit)),
        |limit| Router::new().nest("/api", Router::new().route("/export/{year}", get(|| async { "..." }))).layer(limit),
    ];
    for app in places {
        let limiter = limiter(100);
        let app = app(RateLimitLayer::sharing(&limiter).cost(cost));
        // Nobody has the exports of the year `{year}` for less, nor those of a year that looks like another route.
        let requests = ["GET /api/export/2026", "GET /api/export/%7Byear%7D", "GET /api/export/search?a"];
        assert_eq!(ask(&app, &requests).await, "...");
        assert_eq!(left(&limiter), 70);
    }
}

/// `RateLimitLayer::plan`: by an extension.
#[tokio::test]
async fn a_plan_by_extension_is_not_for_those_who_claim_it() {
    let limiter = RateLimiter::builder(Quota::per_day(1)).capacity(64).clock(Clock::manual());
    let limiter = limiter.plan("pro", Quota::per_day(3)).unwrap().build();
    let pro = limiter.plan("pro").expect("built with it");
    let layer = RateLimitLayer::sharing(&limiter).key(ExtensionKey::new(|user: &User| user.id)).plan(move |head| {
        match head.extensions.get::<User>() {
            Some(User { tier: Tier::Pro, .. }) => pro,
            Some(User { tier: Tier::Staff, .. }) => Plan::UNLIMITED,
            Some(User { tier: Tier::Free, .. }) | None => Plan::DEFAULT,
        }
    });
    let app = Router::new().route("/", get(|| async { "..." })).layer(layer).layer(from_fn(authenticate));
    let claims = [
        "GET / authorization:free-secret",
        "GET / authorization:free-secret x-plan:pro",
        "GET /?tier=pro authorization:free-secret",
        "GET / authorization:free-secret authorization:pro-secret",
    ];
    assert_eq!(ask(&app, &claims).await, ".xxx");
    assert_eq!(ask(&app, &["GET / authorization:pro-secret"; 4]).await, "..xx", "the account is one");
    assert_eq!(ask(&app, &["GET / authorization:staff-secret"; 4]).await, "....");
    assert_eq!(ask(&app, &["GET / authorization:stolen"]).await, "?", "refused: there is no user");
}

/// `RateLimitLayer::exempt`: by an extension.
#[tokio::test]
async fn an_exemption_by_extension_is_not_for_those_who_claim_it() {
    let layer = limit(1).exempt(|head| head.extensions.get::<OurOwn>().is_some());
    let app = Router::new().route("/", get(|| async { "..." })).layer(layer).layer(from_fn(authenticate));
    assert_eq!(ask(&app, &["GET / authorization:own-secret"; 3]).await, "...");
    assert_eq!(ask(&app, &["GET /", "GET / x-our-own:1", "GET / authorization:own", "GET /?own"]).await, ".xxx");
}

/// `RateLimitLayer::exempt_route`: by the route that matched.
#[tokio::test]
async fn an_exempt_route_is_that_route_alone() {
    let app = Router::new()
        .route("/health", get(|| async { "fine" }))
        .route("/search", get(|| async { "..." }))
        .layer(limit(3).exempt_route("/health"));
    assert_eq!(ask(&app, &["GET /health"; 5]).await, ".....");
    let others =
        ["GET /health/../search", "GET /search#/health", "GET /search?/health", "GET /health/", "GET //health"];
    assert_eq!(ask(&app, &others).await, "?..xx", "what leads elsewhere counts, whether there is a route or none");
}

/// `RateLimitLayer::for_route`: by the route that matched.
#[tokio::test]
async fn a_routes_own_limit_is_for_every_spelling_that_reaches_it() {
    let app = Router::new()
        .route("/login", post(|| async { "..." }))
        .route("/search", get(|| async { "..." }))
        .layer(limit(100).for_route("/login", limit(2)));
    let spellings = ["POST /login", "POST /login?a", "POST /login", "POST /login/", "POST //login", "POST /%6Cogin"];
    assert_eq!(ask(&app, &spellings).await, "..x???", "the rest leads nowhere");
}

/// `RateLimitLayer::when`: by an extension.
#[tokio::test]
async fn a_partners_limit_is_not_for_those_who_claim_to_be_one() {
    let partners = limit(5).key(ExtensionKey::new(|partner: &Partner| partner.id));
    let is_partner = |head: &Parts| head.extensions.get::<Partner>().is_some();
    let layer = limit(1).when(is_partner, partners);
    let app = Router::new().route("/", get(|| async { "..." })).layer(layer).layer(from_fn(authenticate));
    assert_eq!(ask(&app, &["GET / authorization:partner-secret"; 6]).await, ".....x");
    assert_eq!(ask(&app, &["GET /", "GET / x-partner:1", "GET / authorization:partner"]).await, ".xx");
}

/// `RateLimitLayer::methods`: those that write.
#[tokio::test]
async fn a_limit_for_writing_counts_every_method_that_reaches_a_handler_that_writes() {
    let writes = [Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let write = || async { "..." };
    let handlers = get(write).post(write).put(write).patch(write).delete(write);
    let app = Router::new().route("/", handlers).layer(limit(2).methods(writes));
    assert_eq!(ask(&app, &["GET /", "HEAD /", "GET /"]).await, "...");
    assert_eq!(ask(&app, &["PATCH /", "DELETE /", "POST /", "PUT /"]).await, "..xx");
    // Spelled otherwise, it is another method, which reaches nothing.
    assert_eq!(ask(&app, &["post /", "Post /", "POST / x-http-method-override:GET"]).await, "??x");
}

/// `RateLimitLayer::charge_when`: all but success.
#[tokio::test]
async fn a_failed_login_counts_in_whatever_way_it_fails() {
    async fn login(request: Request) -> Response {
        let status = match request.uri().query() {
            Some("right") => StatusCode::OK,
            Some("wrong") => StatusCode::UNAUTHORIZED,
            Some("form") => StatusCode::SEE_OTHER,
            _ => StatusCode::UNPROCESSABLE_ENTITY,
        };
        status.into_response()
    }

    let failed_logins = limit(5).charge_when(|response| !response.status.is_success());
    let app = Router::new().route("/login", post(login)).layer(failed_logins);
    let tries = ["POST /login?wrong", "POST /login?form", "POST /login", "GET /login", "POST /login?%77rong"];
    assert_eq!(ask(&app, &["POST /login?right"; 7]).await, ".......");
    assert_eq!(ask(&app, &tries).await, "?????");
    assert_eq!(ask(&app, &["POST /login?right", "POST /login?wrong"]).await, "xx");
}

#[derive(Clone, Copy)]
struct TokensUsed(u64);

/// `RateLimitLayer::settle`: by an extension of the response.
#[tokio::test]
async fn what_a_request_cost_is_told_by_the_handler_alone() {
    async fn answer(request: Request) -> Response {
        match request.uri().path() {
            "/used" => (Extension(TokensUsed(7)), "...").into_response(),
            "/none" => (Extension(TokensUsed(0)), "...").into_response(),
            _ => "...".into_response(),
        }
    }

    for (request, price) in [
        ("GET /used", 7),
        ("GET /none", 1),
        ("GET /silent", 40),
        ("GET /silent x-tokens-used:0", 40),
        ("GET /used x-tokens-used:0", 7),
    ] {
        let limiter = limiter(100);
        let tokens = RateLimitLayer::sharing(&limiter).cost(|_| 40).settle(|response| {
            let TokensUsed(used) = response.extensions.get()?;
            Some((*used).max(1))
        });
        let app = Router::new().fallback(answer).layer(tokens);
        assert_eq!(ask(&app, &[request]).await, ".");
        assert_eq!(left(&limiter), 100 - price, "{request}");
    }
}

/// `RateLimitLayer::settle_by_body`: with a floor.
#[tokio::test]
async fn a_download_without_a_body_is_not_free() {
    async fn file(request: Request) -> Response {
        if request.headers().contains_key("if-none-match") {
            return StatusCode::NOT_MODIFIED.into_response();
        }
        vec![b'.'; 2500].into_response()
    }

    for (request, price) in
        [("GET /file", 3), ("HEAD /file", 1), ("GET /file if-none-match:*", 1), ("GET /none", 1), ("OPTIONS /file", 1)]
    {
        let limiter = limiter(10_000);
        let downloads =
            RateLimitLayer::sharing(&limiter).cost(|_| 1000).settle_by_body(|bytes| bytes.div_ceil(1000).max(1));
        let app = Router::new().route("/file", get(file)).layer(downloads);
        ask(&app, &[request]).await;
        assert_eq!(left(&limiter), 10_000 - price, "{request}");
    }
}

/// `RateLimitLayer::key`: each client on each route.
#[tokio::test]
async fn a_limit_for_each_route_gives_no_new_one_for_a_path_made_up() {
    let app =
        Router::new().route("/users/{id}", get(|| async { "..." })).layer(limit(2).key((ClientIp::peer(), RouteKey)));
    assert_eq!(ask(&app, &["GET /users/1", "GET /users/2", "GET /users/3"]).await, "..x");
    assert_eq!(ask(&app, &["GET /made/up", "GET /made/up/2", "GET /made/up/3"]).await, "??x");
}
