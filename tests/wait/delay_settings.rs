//! A layer that delays is the same layer in all else: in whatever order it is set up, and whoever waits.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full};
use tokio::task::yield_now;
use tollgate::http::{Counters, GlobalKey, HeaderKey, Headers, KeyExtractor, Rollout, WhenNoKey};
use tollgate::wait::Delayed;
use tollgate::{Clock, Denied, Plan, Policy, RateLimitLayer, RateLimiter, Standing};
use tower::{Layer, ServiceExt as _, service_fn};

type Body = BoxBody<bytes::Bytes, Infallible>;

fn body(text: impl Into<bytes::Bytes>) -> Body {
    Full::new(text.into()).boxed()
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn limiter(policy: &str) -> RateLimiter {
    RateLimiter::builder(policy.parse::<Policy>().unwrap()).capacity(64).clock(Clock::tokio()).build()
}

/// Makes requests at once, and says what came of each: its status, when it came, what it was told and what the handler
/// was.
async fn transcript<K: KeyExtractor + Send + Sync + 'static>(layer: RateLimitLayer<K, Delayed>) -> Vec<String> {
    let clock = layer.limiter().limiter().clock().clone();
    let start = clock.elapsed();
    let mut answers = tokio::task::JoinSet::new();
    for n in 0..9_usize {
        let inner = service_fn(async |request: Request<usize>| {
            let standing = request.extensions().get::<Standing>().map(|standing| standing.tightest().remaining());
            let status = if request.body() % 2 == 0 { StatusCode::OK } else { StatusCode::NOT_FOUND };
            let body = self::body(format!("{standing:?}"));
            Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
        });
        let method = if n == 7 { Method::PUT } else { Method::GET };
        let mut request = Request::builder().method(method).uri(format!("/{n}"));
        if n != 8 {
            request = request.header("x-key", "a");
        }
        let answer = layer.layer(inner).oneshot(request.body(n).unwrap());
        let clock = clock.clone();
        answers.spawn(async move {
            let (head, body) = answer.await.unwrap().into_parts();
            let mut headers: Vec<_> = head.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
            headers.sort();
            let body = body.collect().await.unwrap().to_bytes();
            let denied = head.extensions.get::<Denied>().map(|denied| denied.retry_after());
            format!("{n} {} at {:?}: {headers:?} {denied:?} {body:?}", head.status, clock.elapsed() - start)
        });
        yield_now().await;
    }
    let mut lines = answers.join_all().await;
    lines.sort();
    lines
}

const DELAY: Duration = ms(2500);

/// What is set before `delay` does the same as after it. Says how many of the answers came later.
macro_rules! in_any_order {
    ($($name:literal: |$layer:ident| $set:expr;)*) => {
        $({
            let key = || HeaderKey::new("x-key").unwrap();
            let before = {
                let $layer = RateLimitLayer::sharing(&limiter("a: 1/second; b: 100/day")).key(key());
                $set.delay(DELAY)
            };
            let after = {
                let $layer = RateLimitLayer::sharing(&limiter("a: 1/second; b: 100/day")).key(key());
                let $layer = $layer.delay(DELAY);
                $set
            };
            let (before, after) = (transcript(before).await, transcript(after).await);
            assert_eq!(before, after, $name);
            assert!(before.iter().any(|line| line.contains("at 1s")) || $name.starts_with('-'), "{}: {before:#?}", $name);
        })*
    };
}

#[tokio::test(start_paused = true)]
async fn in_whatever_order_it_is_set_up() {
    let counters = Counters::new();
    let none = Rollout::new();
    none.set_enforced_percent(0).unwrap();
    in_any_order! {
        "nothing": |layer| layer;
        "headers": |layer| layer.headers(Headers::Draft).headers_on_every_response();
        "cost": |layer| layer.cost(|head| u64::from(head.uri.path() != "/3"));
        "charge_when": |layer| layer.charge_when(|response| response.status == StatusCode::OK);
        "settle": |layer| layer.settle(|_| Some(1)).settle_by_body(|bytes| bytes);
        "plan": |layer| layer.plan(|head| if head.uri.path() == "/2" { Plan::UNLIMITED } else { Plan::DEFAULT });
        "exempt": |layer| layer.exempt(|head| head.uri.path() == "/4");
        "methods": |layer| layer.methods([Method::GET]);
        "when_no_key": |layer| layer.when_no_key(WhenNoKey::Share);
        "denial_problem": |layer| layer.denial_problem();
        "denial_response": |layer| layer.denial_response(|_, head| Response::new(head.uri.path().to_owned().into()));
        "denial_header": |layer| {
            layer.denial_header(HeaderName::from_static("x-limited"), HeaderValue::from_static("true"))
        };
        "tell_handler": |layer| layer.tell_handler();
        "count_into": |layer| layer.count_into(&counters);
        "key": |layer| layer.key(GlobalKey);
        "- shadow": |layer| layer.shadow();
        "- rollout": |layer| layer.rollout(&none);
    }
    let counts = &counters.snapshot()[0];
    assert_eq!((counts.looked_at(), counts.allowed, counts.errors, counts.denied()), (18, 6, 2, 10));
}

/// What is left to another layer before `delay` is decided as that one says, at once; after it, it waits in its own line.
#[tokio::test(start_paused = true)]
async fn what_is_left_to_another_layer_is_that_ones() {
    let is_theirs = |head: &http::request::Parts| head.uri.path() != "/0";
    let (own, other) = (limiter("9/second"), limiter("1/second"));
    let by = |limiter| RateLimitLayer::sharing(limiter).key(GlobalKey);
    let before = by(&own).when(is_theirs, by(&other).shadow().shadow()).delay(DELAY);
    let lines = transcript(before).await;
    assert!(lines.iter().all(|line| line.contains("at 0ns") && !line.contains(" 429 ")), "{lines:#?}");
    other.reset(&());
    let before = by(&own).when(is_theirs, by(&other)).delay(DELAY);
    let lines = transcript(before).await;
    assert_eq!(lines.iter().filter(|line| line.contains(" 429 ")).count(), 7, "{lines:#?}");
    assert!(lines.iter().all(|line| line.contains("at 0ns")), "{lines:#?}");
    other.reset(&());
    let after = by(&own).delay(DELAY).when(is_theirs, by(&other).delay(ms(1000)));
    let lines = transcript(after).await;
    assert_eq!(lines.iter().filter(|line| line.contains(" 429 ")).count(), 6, "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("at 1s")).count(), 1, "{lines:#?}");
}

/// The handler is told where its client stands when it has waited, and not when it came.
#[tokio::test(start_paused = true)]
async fn the_handler_is_told_after_waiting() {
    let layer = RateLimitLayer::sharing(&limiter("1/second; 3/day fixed")).key(GlobalKey).tell_handler();
    let layer = layer.delay(DELAY);
    let told = Arc::new(Mutex::new(Vec::new()));
    let calls = (0..3).map(|_| {
        let told = told.clone();
        let inner = service_fn(move |request: Request<()>| {
            let standing = request.extensions().get::<Standing>().expect("it was counted").clone();
            told.lock().unwrap().push(standing.iter().map(tollgate::Status::remaining).collect::<Vec<_>>());
            async { Ok::<_, Infallible>(Response::new(body(""))) }
        });
        tokio::spawn(layer.layer(inner).oneshot(Request::new(())))
    });
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    assert_eq!(*told.lock().unwrap(), [[0, 2], [0, 1], [0, 0]]);
}

/// Half of those over the limit are acted on: they wait. The others pass at once and are not charged.
#[tokio::test(start_paused = true)]
async fn a_rollout_delays_its_share() {
    let limiter = limiter("1/second");
    let counters = Counters::new();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).count_into(&counters);
    let half = Rollout::new();
    half.set_enforced_percent(50).unwrap();
    let layer = layer.rollout(&half).delay(ms(60_000));
    let mut calls = tokio::task::JoinSet::new();
    let clock = limiter.clock().clone();
    for _ in 0..21 {
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(body(""))));
        let (call, clock) = (layer.layer(inner).oneshot(Request::new(())), clock.clone());
        calls.spawn(async move {
            assert_eq!(call.await.unwrap().status(), StatusCode::OK);
            clock.elapsed().as_secs()
        });
        yield_now().await;
    }
    let mut came = calls.join_all().await;
    came.sort_unstable();
    let waited = came.iter().filter(|&&seconds| seconds > 0).count();
    assert!(waited.abs_diff(10) <= 1, "{came:?}");
    assert_eq!(came[21 - waited..], (1..=waited as u64).collect::<Vec<_>>(), "one a second: who passed paid nothing");
    let counts = &counters.snapshot()[0];
    assert_eq!(
        (counts.allowed, counts.shadow_denied(), counts.looked_at()),
        (1 + waited as u64, 20 - waited as u64, 21)
    );
    assert_eq!(limiter.stats().waiters, 0);
}

/// The layer finds the client that it counted, or delayed, and forgets what it spent.
#[tokio::test(start_paused = true)]
async fn a_layer_that_delays_can_be_looked_into_too() {
    let limiter = limiter("2/second; 9/day");
    let layer = RateLimitLayer::sharing(&limiter).key(HeaderKey::new("x-key").unwrap()).delay(ms(60_000));
    let request = || Request::builder().header("x-key", "a").body(()).unwrap();
    let (head, ()) = request().into_parts();
    let call = || {
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(body(""))));
        layer.layer(inner).oneshot(request())
    };
    let left = || layer.peek(&head).unwrap().iter().map(tollgate::Status::remaining).collect::<Vec<_>>();
    assert_eq!(left(), [2, 9]);
    for _ in 0..2 {
        call().await.unwrap();
    }
    assert_eq!(left(), [0, 7]);
    let waits = waiting(call()).expect("the limit is spent");
    assert_eq!(left(), [0, 7], "who waits has paid nothing");
    layer.reset(&head).unwrap();
    assert_eq!(left(), [2, 9]);
    assert_eq!(waits.await.unwrap().status(), StatusCode::OK);
    assert_eq!(layer.peek(&head).unwrap().get(1).map(tollgate::Status::remaining), Some(8));

    // Without a key, as without delay.
    let (nobody, ()) = Request::new(()).into_parts();
    assert!(layer.peek(&nobody).is_err() && layer.reset(&nobody).is_err());
    let shared = layer.when_no_key(WhenNoKey::Share);
    assert_eq!(shared.peek(&nobody).unwrap().tightest().remaining(), 2);
}

/// Who floods one key takes the places of that key, and leaves the others theirs.
#[tokio::test(start_paused = true)]
async fn ten_thousand_on_one_key_leave_places_for_the_others() {
    let limiter = limiter("1/second");
    let layer = RateLimitLayer::sharing(&limiter).key(HeaderKey::new("x-key").unwrap());
    let layer = layer.delay(Duration::from_secs(100_000));
    let call = |key: String| {
        let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(body(""))));
        layer.layer(inner).oneshot(Request::builder().header("x-key", key).body(()).unwrap())
    };
    let mut flood: Vec<_> = (0..10_000).map(|_| waiting(call("flood".into()))).collect();
    assert_eq!(flood.iter().filter(|call| call.is_none()).count(), 10_000 - 1024, "one passed, and 1024 wait");
    assert_eq!(limiter.stats().waiters, 1024);
    // Each of a hundred others passes at once, and its next request finds a place.
    let others: Vec<_> = (0..100).map(|n| (call(n.to_string()), call(n.to_string()))).collect();
    for (first, second) in others {
        assert_eq!(first.await.unwrap().status(), StatusCode::OK);
        flood.push(waiting(second));
        assert!(flood.last().unwrap().is_some());
    }
    assert_eq!(limiter.stats().waiters, 1124);
    drop(flood);
    assert_eq!(limiter.stats().waiters, 0);
}

/// A call that was polled once, if it has to wait.
fn waiting<F: Future>(call: F) -> Option<std::pin::Pin<Box<F>>> {
    let mut call = Box::pin(call);
    let waits = call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())).is_pending();
    waits.then_some(call)
}
