//! Shadow mode, and percentages looked at and acted on.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderMap, Request, Response, StatusCode};
use tollgate::http::{Counters, GlobalKey, HeaderKey, Headers, Rollout, WhenNoKey};
use tollgate::{Clock, Denied, Quota, RateLimitLayer, RateLimiter};
use tower::{Layer, ServiceExt, service_fn};

/// A layer that lets `amount` requests pass, whoever asks. Its clock stands still.
fn limit(amount: u64) -> RateLimitLayer<GlobalKey> {
    let limiter = RateLimiter::builder(Quota::per_day(amount)).capacity(64).clock(Clock::manual()).build();
    RateLimitLayer::sharing(&limiter).key(GlobalKey)
}

fn rollout(enabled: f64, enforced: f64) -> Rollout {
    let rollout = Rollout::new();
    rollout.set_enabled_percent(enabled).unwrap();
    rollout.set_enforced_percent(enforced).unwrap();
    rollout
}

/// What became of some requests.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    answered: u64,
    denied: u64,
    spent: u64,
}

/// Makes so many requests.
async fn ask(layer: &RateLimitLayer<GlobalKey>, requests: u64) -> Outcome {
    let before = layer.limiter().peek(&()).remaining();
    let service = layer
        .clone()
        .any_body()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    let mut denied = 0;
    for _ in 0..requests {
        let response = service.clone().oneshot(Request::new(())).await.unwrap();
        denied += u64::from(response.status() == StatusCode::TOO_MANY_REQUESTS);
    }
    Outcome { answered: requests - denied, denied, spent: before - layer.limiter().peek(&()).remaining() }
}

/// Makes one request, and shows what a client is told.
async fn told<K: tollgate::http::KeyExtractor>(layer: &RateLimitLayer<K>) -> (StatusCode, HeaderMap, bool) {
    let service = layer
        .clone()
        .any_body()
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    let response = service.oneshot(Request::new(())).await.unwrap();
    let marked = response.extensions().get::<Denied>().is_some();
    (response.status(), response.headers().clone(), marked)
}

#[tokio::test]
async fn shadow_mode_decides_and_charges_and_lets_pass() {
    let counters = Counters::new();
    let layer = limit(3).shadow().count_into(&counters);
    assert_eq!(ask(&layer, 10).await, Outcome { answered: 10, denied: 0, spent: 3 });
    let counted = counters.limiter("3/day").unwrap();
    assert_eq!((counted.allowed, counted.denied(), counted.shadow_denied()), (3, 0, 7));
}

#[tokio::test]
async fn shadow_mode_is_not_for_clients_to_see() {
    let layer = limit(0).shadow();
    assert_eq!(told(&layer).await, (StatusCode::OK, HeaderMap::new(), false));
    // Unless headers were asked for, which say how things stand; but nobody is told to retry what was answered.
    let (status, headers, marked) = told(&layer.headers(Headers::Draft).headers_on_every_response()).await;
    assert_eq!((status, marked), (StatusCode::OK, false));
    assert_eq!(headers["ratelimit"], r#""0/day";r=0;t=0"#);
    assert!(!headers.contains_key("retry-after"));
}

#[tokio::test]
async fn shadow_mode_lets_pass_what_has_no_key() {
    let counters = Counters::new();
    let layer = limit(5).key(HeaderKey::new("x-key").unwrap()).count_into(&counters);
    assert_eq!(told(&layer).await.0, StatusCode::FORBIDDEN);
    assert_eq!(told(&layer.clone().shadow()).await.0, StatusCode::OK);
    assert_eq!(told(&layer.clone().rollout(&rollout(100.0, 0.0))).await.0, StatusCode::OK);
    assert_eq!(counters.limiter("5/day").unwrap().errors, 3, "and counts them as what they are");
    // Sharing a key is a way of counting like any other.
    let share = limit(0).key(HeaderKey::new("x-key").unwrap()).when_no_key(WhenNoKey::Share);
    assert_eq!(told(&share).await.0, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(told(&share.shadow()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn shadow_mode_stands_above_a_rollout() {
    let layer = limit(0).rollout(&rollout(100.0, 100.0)).shadow();
    assert_eq!(ask(&layer, 10).await.denied, 0);
}

#[tokio::test]
async fn everything_unless_told_otherwise() {
    let layer = limit(3).rollout(&Rollout::default());
    assert_eq!(ask(&layer, 10).await, Outcome { answered: 3, denied: 7, spent: 3 });
    assert_eq!((Rollout::new().enabled_percent(), Rollout::new().enforced_percent()), (100.0, 100.0));
}

#[tokio::test]
async fn nothing_at_all() {
    let layer = limit(3).rollout(&rollout(0.0, 100.0));
    assert_eq!(ask(&layer, 10).await, Outcome { answered: 10, denied: 0, spent: 0 });
    let layer = limit(3).rollout(&rollout(100.0, 0.0));
    assert_eq!(ask(&layer, 10).await, Outcome { answered: 10, denied: 0, spent: 3 });
}

#[tokio::test]
async fn a_percentage_is_kept_to_the_request() {
    const REQUESTS: u64 = 10_000;
    // Looked at, and so charged; a few off at most.
    for percent in [0.1, 1.0, 12.5, 33.3, 50.0, 90.0, 99.9] {
        let share = (REQUESTS as f64 * percent / 100.0).round() as u64;
        let near = |counted: u64| counted.abs_diff(share) <= 3;

        let looked_at = ask(&limit(REQUESTS).rollout(&rollout(percent, 100.0)), REQUESTS).await;
        assert_eq!(looked_at.denied, 0);
        assert!(near(looked_at.spent), "{percent} % looked at: {looked_at:?}");

        let denied = ask(&limit(0).rollout(&rollout(100.0, percent)), REQUESTS).await;
        assert!(near(denied.denied), "{percent} % acted on: {denied:?}");
    }
}

#[tokio::test]
async fn what_is_acted_on_is_a_share_of_what_is_looked_at() {
    // Envoy's way: of the half that is looked at, half is acted on; the one must not settle the other.
    let outcome = ask(&limit(0).rollout(&rollout(50.0, 50.0)), 10_000).await;
    assert!(outcome.denied.abs_diff(2500) <= 10, "{outcome:?}");
}

#[tokio::test]
async fn spread_evenly() {
    // Of any ten in a row, one or two are denied, or none; never three.
    let layer = limit(0).rollout(&rollout(100.0, 10.0));
    for _ in 0..500 {
        let denied = ask(&layer, 10).await.denied;
        assert!(denied <= 2, "{denied} of 10");
    }
    // A small share does not begin with the first request of every process.
    assert_eq!(ask(&limit(0).rollout(&rollout(100.0, 1.0)), 10).await.denied, 0);
    // Two kinds of requests that take turns meet the limit alike.
    let counts = [0, 1].map(|_| AtomicU64::new(0));
    for turn in 0..10_000 {
        counts[turn % 2].fetch_add(ask(&layer, 1).await.denied, Relaxed);
    }
    let [a, b] = counts.map(AtomicU64::into_inner);
    assert!(a.abs_diff(500) <= 5 && b.abs_diff(500) <= 5, "{a} and {b}");
}

#[tokio::test]
async fn a_trace_and_nearly_all() {
    // The smallest share is not none, the largest below the whole is not all.
    let least = rollout(f64::MIN_POSITIVE, 100.0);
    assert!(least.enabled_percent() > 0.0);
    least.set_enabled_percent(99.999_999_999_999).unwrap();
    assert!(least.enabled_percent() < 100.0);
}

#[tokio::test]
async fn changed_while_running_for_all_who_share_it() {
    let rollout = rollout(0.0, 100.0);
    let (a, b) = (limit(0).rollout(&rollout), limit(0).rollout(&rollout.clone()));
    assert_eq!((ask(&a, 10).await.denied, ask(&b, 10).await.denied), (0, 0));
    rollout.set_enabled_percent(100).unwrap();
    assert_eq!((ask(&a, 10).await.denied, ask(&b, 10).await.denied), (10, 10));
    rollout.clone().set_enforced_percent(0).unwrap();
    assert_eq!((ask(&a, 10).await.denied, ask(&b, 10).await.denied), (0, 0));
}

#[test]
fn what_is_no_percentage() {
    let rollout = rollout(25.0, 75.0);
    for percent in [-0.1, 100.1, 101.0, -1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
        let errors = [rollout.set_enabled_percent(percent), rollout.set_enforced_percent(percent)];
        for error in errors.into_iter().map(Result::unwrap_err) {
            assert_eq!(error.to_string(), format!("{percent} is not a percentage from 0 to 100"));
        }
    }
    assert_eq!((rollout.enabled_percent(), rollout.enforced_percent()), (25.0, 75.0), "an error changes nothing");
    for percent in [0.0, -0.0, 100.0] {
        rollout.set_enabled_percent(percent).unwrap();
        assert_eq!(rollout.enabled_percent(), percent);
    }
}

#[tokio::test]
async fn what_is_not_looked_at_needs_no_key_and_runs_no_closure() {
    let calls = Arc::new(AtomicU64::new(0));
    let count = calls.clone();
    let layer = limit(0).key(HeaderKey::new("x-key").unwrap()).rollout(&rollout(0.0, 100.0)).cost(move |_| {
        count.fetch_add(1, Relaxed);
        1
    });
    assert_eq!(told(&layer).await.0, StatusCode::OK);
    assert_eq!(calls.load(Relaxed), 0);
}
