//! Plans, and policies that are replaced, through the layer.

use std::net::SocketAddr;

use axum::body::Body;
use http::{Request, Response, StatusCode};
use tollgate::http::{Headers, PeerAddr};
use tollgate::{Clock, Plan, Quota, RateLimitLayer, RateLimiter};
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
