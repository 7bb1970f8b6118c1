//! What an administrator and a handler are told: the client that the layer counted, by whatever key, on whatever plan.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};

use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tollgate::http::{AnyKey, BearerToken, ClientIp, CookieKey, ExtensionKey, GlobalKey, HeaderKey, HostKey};
use tollgate::http::{Counters, KeyExtractor, PeerAddr, WhenNoKey, first_of};
use tollgate::{Clock, Plan, Policy, RateLimitLayer, RateLimiter, Standing};
use tower::{Layer, ServiceExt as _, service_fn};

use crate::logged::Lines;

fn limiter(policy: &str) -> RateLimiter {
    RateLimiter::builder(policy.parse::<Policy>().unwrap()).capacity(64).clock(Clock::manual()).build()
}

fn head() -> Parts {
    let peer: SocketAddr = "[2001:db8:1:2:3:4:5:6]:80".parse().unwrap();
    let request = Request::builder()
        .uri("/users/a%62c?x=1")
        .header("x-forwarded-for", "1.2.3.4, 203.0.113.9")
        .header("x-api-key", "k\u{e9}y")
        .header("cookie", "a=1; %73ession=\"%61%62%63\"")
        .header("authorization", "bearer   abc")
        .header("host", "A.Example.:8080")
        .extension(PeerAddr(peer))
        .extension(7_u64);
    request.body(()).unwrap().into_parts().0
}

fn left(standing: &Standing) -> Vec<u64> {
    standing.iter().map(tollgate::Status::remaining).collect()
}

/// One request by this key; then the layer finds what it counted, and forgets it.
#[track_caller]
fn check(key: impl KeyExtractor) {
    let layer = RateLimitLayer::sharing(&limiter("5/hour; 9/day")).key(key).tell_handler();
    let handler = service_fn(async |request: Request<()>| {
        let standing = request.extensions().get::<Standing>().expect("the handler is told").clone();
        Ok::<_, Infallible>(Response::builder().extension(standing).body(Full::<bytes::Bytes>::default()).unwrap())
    });
    let service = layer.clone().any_body().layer(handler);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(left(&layer.peek(&head()).unwrap()), [5, 9]);
    let answer = runtime.block_on(service.oneshot(Request::from_parts(head(), ()))).unwrap();
    let told = answer.extensions().get::<Standing>().expect("it was let pass");
    assert_eq!(left(told), [4, 8]);
    assert_eq!(*told, layer.peek(&head()).unwrap());
    assert_eq!(told.tightest().remaining(), 4);
    layer.reset(&head()).unwrap();
    assert_eq!(left(&layer.peek(&head()).unwrap()), [5, 9]);
}

#[test]
fn by_every_key() {
    check(ClientIp::peer());
    check(ClientIp::behind(["2001:db8::/32", "203.0.113.0/24"]).unwrap());
    check(ClientIp::behind_hops(1).unwrap());
    check(GlobalKey);
    check(HeaderKey::new("x-api-key").unwrap());
    check(CookieKey::new("session").unwrap());
    check(BearerToken);
    check(HostKey::among(["a.example"]).unwrap());
    check(ExtensionKey::new(|id: &u64| *id));
    check(|head: &Parts| head.headers.get("x-api-key").map(|key| key.as_bytes().to_vec()));
    check(first_of(CookieKey::new("missing").unwrap(), ClientIp::peer()));
    check((ClientIp::peer(), HostKey::among(["a.example"]).unwrap(), GlobalKey));
    check(Arc::new(BearerToken));
    check(AnyKey::new(ClientIp::peer()));
}

/// Keys by axum's route, from requests as a router passes them on.
#[cfg(feature = "axum")]
#[tokio::test]
async fn by_the_routes_of_axum() {
    use axum::Router;
    use axum::body::Body;
    use axum::routing::get;
    use tollgate::http::{MethodRouteKey, PathParam, RouteKey};

    async fn check(key: impl KeyExtractor + Send + Sync + 'static) {
        let layer = RateLimitLayer::sharing(&limiter("5/hour; 9/day")).key(key);
        let seen = Arc::new(Mutex::new(None));
        let keep = seen.clone();
        let handler = get(async move |request: Request<Body>| {
            *keep.lock().unwrap() = Some(request.into_parts().0);
        });
        let app: Router = Router::new().route("/users/{id}", handler).layer(layer.clone());
        app.oneshot(Request::from_parts(head(), Body::empty())).await.unwrap();
        let head = seen.lock().unwrap().take().expect("it was let pass");
        assert_eq!(left(&layer.peek(&head).unwrap()), [4, 8]);
        layer.reset(&head).unwrap();
        assert_eq!(left(&layer.peek(&head).unwrap()), [5, 9]);
    }
    check(RouteKey).await;
    check(MethodRouteKey).await;
    check(PathParam::new("id")).await;
    check((PathParam::new("id"), MethodRouteKey)).await;
}

#[tokio::test]
async fn a_request_without_a_key_is_found_where_such_are_counted_together() {
    let layer = RateLimitLayer::sharing(&limiter("5/hour")).key(HeaderKey::new("x-missing").unwrap());
    assert!(layer.peek(&head()).is_err() && layer.reset(&head()).is_err());
    let layer = layer.when_no_key(WhenNoKey::Share);
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    layer.clone().any_body().layer(handler).oneshot(Request::from_parts(head(), ())).await.unwrap();
    assert_eq!(left(&layer.peek(&head()).unwrap()), [4]);
    layer.reset(&head()).unwrap();
    assert_eq!(left(&layer.peek(&head()).unwrap()), [5]);
}

#[tokio::test]
async fn on_the_plan_that_the_layer_judges_it_by() {
    let limiter = RateLimiter::builder("5/hour".parse::<Policy>().unwrap()).capacity(64).clock(Clock::manual());
    let limiter = limiter.plan("pro", "50/hour".parse::<Policy>().unwrap()).unwrap().build();
    let pro = limiter.plan("pro").unwrap();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).plan(move |head| match head.uri.query() {
        Some("x=1") => pro,
        Some("staff") => Plan::UNLIMITED,
        _ => Plan::DEFAULT,
    });
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    layer.clone().any_body().layer(handler).oneshot(Request::from_parts(head(), ())).await.unwrap();
    assert_eq!(left(&layer.peek(&head()).unwrap()), [49]);
    let of = |uri: &str| Request::builder().uri(uri).body(()).unwrap().into_parts().0;
    assert_eq!(left(&layer.peek(&of("/")).unwrap()), [4]);
    assert_eq!(left(&layer.peek(&of("/?staff")).unwrap()), [u64::MAX]);
    layer.reset(&of("/?staff")).unwrap();
    layer.reset(&of("/")).unwrap();
    assert_eq!(left(&layer.peek(&head()).unwrap()), [50]);
}

#[tokio::test]
async fn a_plan_of_another_limiter_is_an_error_in_calls_and_the_default_plan_on_a_layer() {
    let other = RateLimiter::builder("9/hour".parse::<Policy>().unwrap()).capacity(64);
    let other = other.plan("pro", "90/hour".parse::<Policy>().unwrap()).unwrap().build();
    let foreign = other.plan("pro").unwrap();
    let (limiter, clock) = {
        let clock = Clock::manual();
        let builder = RateLimiter::builder("2/hour".parse::<Policy>().unwrap()).name("api").capacity(64);
        (builder.clock(clock.clone()).build(), clock)
    };
    assert!(limiter.on(foreign).unwrap_err().to_string().contains("another limiter"));

    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).plan(move |_| foreign);
    let lines = Lines::listen();
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let ask = async || {
        let service = layer.clone().any_body().layer(handler);
        service.oneshot(Request::from_parts(head(), ())).await.unwrap().status()
    };
    assert_eq!([ask().await, ask().await], [StatusCode::OK; 2]);
    let logged = lines.take();
    assert_eq!(logged.len(), 1, "{logged:?}");
    assert!(logged[0].starts_with("ERROR") && logged[0].contains("limiter=\"api\""), "{logged:?}");
    clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(ask().await, StatusCode::TOO_MANY_REQUESTS);
    let logged = lines.take();
    assert!(logged.iter().any(|line| line.starts_with("ERROR") && line.contains("count=2")), "{logged:?}");
    assert_eq!(left(&layer.peek(&head()).unwrap()), [0]);
}

#[test]
fn the_capacity_of_a_shared_limiter_is_not_the_layers() {
    let panic = catch_unwind(|| RateLimitLayer::sharing(&limiter("1/day")).capacity(100)).unwrap_err();
    let message = panic.downcast_ref::<String>().expect("a message");
    assert!(message.contains("RateLimiter::builder(..).capacity(100)"), "{message}");
}

#[tokio::test]
async fn counters_follow_a_policy_whose_quotas_have_other_names() {
    let counters = Counters::new();
    let limiter = limiter("old: 0/day");
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).count_into(&counters);
    let handler = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let ask = async || layer.clone().any_body().layer(handler).oneshot(Request::new(())).await.unwrap().status();
    ask().await;
    limiter.replace_policy("new: 0/day".parse::<Policy>().unwrap()).unwrap();
    ask().await;
    ask().await;
    let counts = &counters.snapshot()[0];
    assert_eq!((counts.denied_by["old"], counts.denied_by["new"]), (1, 2));
    assert_eq!(counts.looked_at(), 3);
}
