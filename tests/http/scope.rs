//! Which requests a layer counts: by predicate, method and route, under routers as axum builds them.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use axum::Router;
use axum::body::Body;
use axum::routing::{get, post};
use http::{Method, Request, StatusCode};
use tollgate::http::{GlobalKey, HeaderKey, Headers, RouteKey};
use tollgate::{Clock, Quota, RateLimitLayer, RateLimiter};
use tower::ServiceExt;

/// A layer that lets `amount` requests pass, whoever asks. Its clock stands still.
fn limit(amount: u64) -> RateLimitLayer<GlobalKey> {
    let limiter = RateLimiter::builder(Quota::per_day(amount)).capacity(64).clock(Clock::manual()).build();
    RateLimitLayer::sharing(&limiter).key(GlobalKey)
}

/// Makes requests, each a method, a path and perhaps headers (`GET /a x-key:1`), and says which were answered
/// (`.`), denied (`x`) or got something else (`?`).
async fn ask(app: &Router, requests: &[&str]) -> String {
    let mut answers = String::new();
    for request in requests {
        let mut words = request.split(' ');
        let mut builder = Request::builder().method(words.next().expect("a method")).uri(words.next().expect("a path"));
        for header in words {
            let (name, value) = header.split_once(':').expect("a header");
            builder = builder.header(name, value);
        }
        let response = app.clone().oneshot(builder.body(Body::empty()).unwrap()).await.unwrap();
        answers.push(match response.status() {
            StatusCode::OK => '.',
            StatusCode::TOO_MANY_REQUESTS => 'x',
            _ => '?',
        });
    }
    answers
}

/// An app with a few routes, some nested, under whatever is done to it.
fn app() -> Router {
    let ok = || async { "ok" };
    let users = Router::new().route("/users/{id}", get(ok)).route("/users", get(ok).post(ok));
    let api = Router::new().nest("/v1", users).route("/status", get(ok));
    Router::new()
        .nest("/api", api)
        .route("/a", get(ok).post(ok).options(ok))
        .route("/b", get(ok))
        .route("/health", get(ok))
}

#[tokio::test]
async fn an_application_wide_limit_covers_every_route() {
    let app = app().layer(limit(3));
    assert_eq!(ask(&app, &["GET /a", "GET /api/v1/users/7", "GET /b", "GET /a", "GET /api/status"]).await, "...xx");
}

#[tokio::test]
async fn each_route_by_itself() {
    let app = app().layer(limit(1).key(RouteKey));
    let requests = ["GET /a", "GET /api/v1/users/7", "GET /b", "GET /a", "GET /api/v1/users/8", "GET /api/status"];
    assert_eq!(ask(&app, &requests).await, "...xx.");
}

#[tokio::test]
async fn one_limit_shared_by_routes() {
    let shared = limit(2);
    let ok = || async { "ok" };
    let nested = Router::new().route("/c", get(ok).layer(shared.clone()));
    let app = Router::new()
        .route("/a", get(ok).layer(shared.clone()))
        .route("/b", get(ok).layer(shared))
        .route("/free", get(ok))
        .nest("/nested", nested);
    assert_eq!(ask(&app, &["GET /a", "GET /free", "GET /b", "GET /a", "GET /nested/c", "GET /free"]).await, "...xx.");
}

#[tokio::test]
async fn exempt_by_predicate() {
    let app = app().layer(
        limit(1)
            .headers(Headers::Draft)
            .headers_on_every_response()
            .exempt(|head| head.headers.contains_key("x-staff"))
            .exempt(|head| head.uri.path() == "/b"),
    );
    let requests = ["GET /b", "GET /a x-staff:1", "GET /a", "GET /b", "GET /a x-staff:1", "GET /a"];
    assert_eq!(ask(&app, &requests).await, ".....x");

    let request = |uri: &str| Request::get(uri).body(Body::empty()).unwrap();
    let exempt = app.clone().oneshot(request("/b")).await.unwrap();
    assert!(!exempt.headers().contains_key("ratelimit"), "as if the layer were not there");
    let denied = app.oneshot(request("/a")).await.unwrap();
    assert!(denied.headers().contains_key("ratelimit"));
}

#[tokio::test]
async fn what_is_exempt_needs_no_key() {
    let app = app().layer(limit(1).key(HeaderKey::new("x-key").unwrap()).exempt_route("/health"));
    assert_eq!(ask(&app, &["GET /health", "GET /a", "GET /a x-key:1"]).await, ".?.");
}

#[tokio::test]
async fn preflights() {
    const PREFLIGHT: &str = "OPTIONS /a origin:https://a.example access-control-request-method:PUT";
    let plain = app().layer(limit(1));
    assert_eq!(ask(&plain, &[PREFLIGHT, PREFLIGHT]).await, ".x");

    let app = app().layer(limit(1).exempt_preflight());
    let nearly = [
        PREFLIGHT,
        "OPTIONS /a access-control-request-method:PUT",
        PREFLIGHT,
        "OPTIONS /a",
        "OPTIONS /a origin:https://a.example",
        "OPTIONS /a access-control-request-method:PUT",
        "GET /a origin:https://a.example access-control-request-method:PUT",
        PREFLIGHT,
    ];
    assert_eq!(ask(&app, &nearly).await, "...xxxx.");
}

#[tokio::test]
async fn by_method() {
    let posts = app().layer(limit(1).methods([Method::POST]));
    assert_eq!(
        ask(&posts, &["GET /a", "POST /a", "GET /a", "POST /a", "POST /api/v1/users", "HEAD /a"]).await,
        "...xx."
    );

    let gets = app().layer(limit(1).methods([Method::GET]));
    // One handler serves both: HEAD was free once, and cost the server as much as GET.
    assert_eq!(ask(&gets, &["HEAD /a", "GET /a", "HEAD /a", "POST /a"]).await, ".xx.", "GET means HEAD, too");
    let heads = app().layer(limit(1).methods([Method::HEAD]));
    assert_eq!(ask(&heads, &["GET /a", "GET /a", "HEAD /a", "HEAD /a"]).await, "...x", "but HEAD is HEAD alone");

    let last_call_counts = app().layer(limit(1).methods([Method::GET]).methods([Method::POST]));
    assert_eq!(ask(&last_call_counts, &["GET /a", "GET /a", "POST /a", "POST /a"]).await, "...x");

    let none = app().layer(limit(0).methods([]));
    assert_eq!(ask(&none, &["GET /a", "POST /a"]).await, "..");

    // Inside a method router, axum has its own way.
    let ok = || async { "ok" };
    let app = Router::new().route("/a", post(ok).layer(limit(1)).get(ok));
    assert_eq!(ask(&app, &["POST /a", "GET /a", "POST /a", "GET /a"]).await, "..x.");
}

#[tokio::test]
async fn exempt_by_route() {
    let app = app().layer(limit(1).exempt_route("/health").exempt_route("/api/v1/users/{id}"));
    let requests =
        ["GET /health", "GET /api/v1/users/7", "GET /a", "GET /health", "GET /api/v1/users/8", "GET /api/v1/users"];
    assert_eq!(ask(&app, &requests).await, ".....x");
}

#[tokio::test]
async fn a_route_is_told_in_full() {
    // The pattern, not the path; the whole of it; with the prefixes.
    for wrong in ["/users/{id}", "/api/v1/users/7", "/api/v1/users/{user}", "/api/v1/users", "/api", ""] {
        let app = app().layer(limit(0).exempt_route(wrong));
        assert_eq!(ask(&app, &["GET /api/v1/users/7"]).await, "x", "{wrong:?}");
    }
    // A layer on the nested router knows the prefix as well.
    let ok = || async { "ok" };
    let nested = Router::new().route("/users/{id}", get(ok)).layer(limit(0).exempt_route("/api/users/{id}"));
    assert_eq!(ask(&Router::new().nest("/api", nested), &["GET /api/users/7"]).await, ".");
    // Around the router, there is no route yet.
    let around = tower::Layer::layer(&limit(0).exempt_route("/health"), app());
    let response = around.oneshot(Request::get("/health").body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_route_overrides_the_default() {
    let default = limit(2).for_route("/b", limit(4)).for_route("/api/v1/users/{id}", limit(1));
    let app = app().layer(default);
    // Laxer than the default: what the others spent is nothing to it.
    assert_eq!(ask(&app, &["GET /a", "GET /a", "GET /a", "GET /b", "GET /b", "GET /b", "GET /b"]).await, "..x....");
    assert_eq!(ask(&app, &["GET /b", "GET /api/status"]).await, "xx");
    // Stricter, and nested.
    assert_eq!(ask(&app, &["GET /api/v1/users/7", "GET /api/v1/users/8", "GET /api/v1/users"]).await, ".xx");
}

#[tokio::test]
async fn an_override_does_not_charge_the_default() {
    let app = app().layer(limit(2).for_route("/b", limit(1)));
    assert_eq!(ask(&app, &["GET /b", "GET /b", "GET /b", "GET /a", "GET /a", "GET /a"]).await, ".xx..x");
}

#[tokio::test]
async fn an_override_is_a_layer_of_its_own() {
    // Its key, its exemptions, its answers; and where two would do, the first.
    let other = limit(1).key(HeaderKey::new("x-key").unwrap()).exempt(|head| head.headers.contains_key("x-staff"));
    let app = app().layer(limit(0).for_route("/b", other).for_route("/b", limit(0)));
    let requests = ["GET /b x-key:1", "GET /b x-key:1", "GET /b x-key:2", "GET /b", "GET /b x-staff:1", "GET /a"];
    assert_eq!(ask(&app, &requests).await, ".x.?.x");
}

#[tokio::test]
async fn exemptions_cover_overrides_and_methods_do_not() {
    let default =
        limit(0).for_route("/b", limit(0)).methods([Method::POST]).exempt(|head| head.headers.contains_key("x-staff"));
    let app = app().layer(default);
    assert_eq!(ask(&app, &["GET /b", "GET /a", "GET /b x-staff:1", "POST /a"]).await, "x..x");
}

#[tokio::test]
async fn an_override_by_predicate() {
    let partners = limit(3);
    let app = app().layer(limit(1).when(|head| head.headers.contains_key("x-partner"), partners.clone()));
    let (us, them) = ("GET /a", "GET /a x-partner:1");
    assert_eq!(ask(&app, &[us, us, them, them, them, them]).await, ".x...x");
    assert_eq!(partners.limiter().peek(&()).remaining(), 0, "the other layer's limiter is still its own");
}

#[tokio::test]
async fn routes_added_after_the_default_are_not_under_it() {
    let ok = || async { "ok" };
    let app = app().layer(limit(1)).route("/login", post(ok).layer(limit(2))).route("/free", get(ok));
    let requests = ["GET /a", "GET /a", "POST /login", "POST /login", "POST /login", "GET /free", "GET /free"];
    assert_eq!(ask(&app, &requests).await, ".x..x..");
    // While one that is under it obeys both.
    let app = Router::new().route("/login", post(ok).layer(limit(2))).layer(limit(1));
    assert_eq!(ask(&app, &["POST /login", "POST /login"]).await, ".x");
}

#[tokio::test]
async fn cost_by_head() {
    let by_header = |head: &http::request::Parts| head.headers.get("x-cost")?.to_str().ok()?.parse().ok();
    let app = app().layer(limit(10).cost(move |head| by_header(head).unwrap_or(1)));
    // All of it or none, 0 passes even when nothing is left, and above the limit never does.
    let requests = ["x-cost:7", "x-cost:4", "x-cost:3", "x-a:b", "x-cost:0", "x-cost:11"];
    let requests = requests.map(|header| format!("GET /a {header}"));
    assert_eq!(ask(&app, &requests.each_ref().map(String::as_str)).await, ".x.x.x");
}

#[tokio::test]
async fn what_costs_nothing_needs_no_key() {
    let app = app().layer(limit(0).key(HeaderKey::new("x-key").unwrap()).cost(|head| u64::from(head.method != "GET")));
    assert_eq!(ask(&app, &["GET /a", "POST /a", "POST /a x-key:1"]).await, ".?x");
}

#[tokio::test]
async fn a_panic_in_a_closure_harms_one_request() {
    let panics = Arc::new(AtomicBool::new(false));
    let panic = |what| {
        let panics = panics.clone();
        move || {
            if panics.load(Relaxed) {
                panic!("{what}")
            }
        }
    };
    let (exempt, when, cost, hook) = (panic("exempt"), panic("when"), panic("cost"), panic("hook"));
    let layers = [
        limit(2).exempt(move |_| {
            exempt();
            false
        }),
        limit(2).when(
            move |_| {
                when();
                false
            },
            limit(0),
        ),
        limit(2).cost(move |_| {
            cost();
            1
        }),
    ];
    for layer in layers {
        let app = app().layer(layer);
        assert_eq!(ask(&app, &["GET /a"]).await, ".");
        panics.store(true, Relaxed);
        assert!(panicked(ask(&app, &["GET /a"])).await);
        panics.store(false, Relaxed);
        assert_eq!(ask(&app, &["GET /a", "GET /a"]).await, ".x", "nothing was charged, and nothing is stuck");
    }

    let app = app().layer(limit(1).on_denied(move |_, _| hook()));
    panics.store(true, Relaxed);
    assert_eq!(ask(&app, &["GET /a"]).await, ".");
    assert!(panicked(ask(&app, &["GET /a"])).await);
    panics.store(false, Relaxed);
    assert_eq!(ask(&app, &["GET /a"]).await, "x");
}

async fn panicked<T>(future: impl Future<Output = T>) -> bool {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| match std::panic::catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(|_| false),
        Err(_) => std::task::Poll::Ready(true),
    })
    .await
}
