//! Plans, and policies that are replaced, through the layer.

use std::net::SocketAddr;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tollgate::http::{Counters, Headers, PeerAddr};
use tollgate::{Clock, Plan, Policy, Quota, RateLimitLayer, RateLimiter};
use tower::{Layer, ServiceExt, service_fn};

/// What a plan is chosen by in these tests.
#[derive(Clone, Copy)]
struct Tier(&'static str);

fn limiter() -> RateLimiter {
    let limiter = RateLimiter::builder(Quota::per_minute(1)).clock(Clock::manual()).capacity(64);
    limiter.plan("pro", Quota::per_minute(3)).expect("one quota each").build()
}

fn layer(limiter: &RateLimiter) -> RateLimitLayer {
    let pro = limiter.plan("pro").expect("built with it");
    RateLimitLayer::sharing(limiter).headers(Headers::Draft).headers_on_every_response().plan(move |head| {
        match head.extensions.get() {
            Some(Tier("pro")) => pro,
            Some(Tier("staff")) => Plan::UNLIMITED,
            _ => Plan::DEFAULT,
        }
    })
}

/// One request of a tier from an address; its status, and what the headers say of the policy.
async fn check(layer: &RateLimitLayer, tier: &'static str, last_byte: u8, expected: u16, policy: Option<&str>) {
    let mut request = Request::new(Body::empty());
    request.extensions_mut().insert(PeerAddr(SocketAddr::from(([192, 0, 2, last_byte], 1))));
    request.extensions_mut().insert(Tier(tier));
    let inner = service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
    let response = layer.clone().any_body().layer(inner).oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::from_u16(expected).unwrap(), "{tier} from .{last_byte}");
    let told = response.headers().get("ratelimit-policy").map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(told.as_deref(), policy, "{tier} from .{last_byte}");
}

const FREE: Option<&str> = Some("\"1/minute\";q=1;w=60");
const PRO: Option<&str> = Some("\"3/minute\";q=3;w=60");

#[tokio::test]
async fn each_request_is_judged_and_told_by_its_plan() {
    let layer = layer(&limiter());
    check(&layer, "free", 1, 200, FREE).await;
    check(&layer, "free", 1, 429, FREE).await;
    for status in [200, 200, 200, 429] {
        check(&layer, "pro", 2, status, PRO).await;
    }
    for _ in 0..10 {
        check(&layer, "staff", 3, 200, None).await;
    }
}

#[tokio::test]
async fn a_client_has_one_account_whatever_its_plan() {
    let layer = layer(&limiter());
    check(&layer, "free", 1, 200, FREE).await;
    check(&layer, "pro", 1, 200, PRO).await;
    check(&layer, "pro", 1, 200, PRO).await;
    check(&layer, "pro", 1, 429, PRO).await;
    check(&layer, "free", 1, 429, FREE).await;
}

#[tokio::test]
async fn headers_follow_a_policy_that_is_replaced() {
    let limiter = limiter();
    let layer = layer(&limiter);
    check(&layer, "free", 1, 200, FREE).await;
    limiter.replace_policy(Quota::per_minute(2)).unwrap();
    let replaced = Some("\"2/minute\";q=2;w=60");
    check(&layer, "free", 1, 200, replaced).await;
    check(&layer, "free", 1, 429, replaced).await;
    check(&layer, "pro", 2, 200, PRO).await;
}

/// Quotas come, go, change places and names while the layer runs, and a client is always told of those that judged it.
#[tokio::test]
async fn what_is_told_and_counted_follows_quotas_that_come_go_and_move() {
    let policy = |text: &str| text.parse::<Policy>().unwrap();
    let first = "a: 2/minute; b: 9/hour";
    let limiter = RateLimiter::builder(policy(first)).quotas(3).clock(Clock::manual()).capacity(64).build();
    let counters = Counters::new();
    let layer = RateLimitLayer::sharing(&limiter).headers_on_every_response().count_into(&counters);
    let [draft, delta] =
        [Headers::Draft, Headers::XRateLimitDelta].map(|headers| (headers, layer.clone().headers(headers)));
    let ask = async |(headers, layer): &(Headers, RateLimitLayer)| {
        let mut request = Request::new(Body::empty());
        request.extensions_mut().insert(PeerAddr(SocketAddr::from(([192, 0, 2, 1], 1))));
        let inner =
            service_fn(async |_: Request<Body>| Ok::<_, std::convert::Infallible>(Response::new(Body::empty())));
        let response = layer.clone().any_body().layer(inner).oneshot(request).await.unwrap();
        let told =
            headers.names().into_iter().skip(1).map(|name| response.headers()[name].to_str().unwrap().to_owned());
        (response.status().as_u16(), told.collect::<Vec<_>>().join(" / "))
    };
    let says = |status: u16, told: &str| (status, told.to_owned());
    let (a, b, c) = ("\"a\";q=2;w=60", "\"b\";q=9;w=3600", "\"c\";q=4;w=86400");

    assert_eq!(ask(&draft).await, says(200, &format!("{a}, {b} / \"a\";r=1;t=30")));
    // One comes, and another is the first.
    limiter.replace_policy(policy("c: 4/day; b: 9/hour; a: 2/minute")).unwrap();
    assert_eq!(ask(&draft).await, says(200, &format!("{c}, {b}, {a} / \"a\";r=0;t=60")));
    assert_eq!(ask(&draft).await, says(429, &format!("{c}, {b}, {a} / \"a\";r=0;t=30")));
    assert_eq!(ask(&delta).await, says(429, "2 / 0 / 60"));
    // Two go.
    limiter.replace_policy(policy("b: 9/hour")).unwrap();
    assert_eq!(ask(&draft).await, says(200, &format!("{b} / \"b\";r=6;t=1200")));
    assert_eq!(ask(&delta).await, says(200, "9 / 5 / 1600"));
    // One has another name and amount, and is known by its period.
    limiter.replace_policy(policy("hourly: 6/hour")).unwrap();
    assert_eq!(ask(&draft).await, says(200, "\"hourly\";q=6;w=3600 / \"hourly\";r=1;t=3000"));
    // The first comes back, and still denies.
    limiter.replace_policy(policy("hourly: 6/hour; a: 2/minute")).unwrap();
    assert_eq!(ask(&draft).await, says(429, &format!("\"hourly\";q=6;w=3600, {a} / \"a\";r=0;t=30")));

    let counts = &counters.snapshot()[0];
    assert_eq!((counts.allowed, counts.denied_by["a"], counts.denied()), (5, 3, 3));
    assert_eq!(counts.near_limit_by.get("hourly"), Some(&1), "5 of 6 are spent");
}
