//! Charges that wait for their response: which outcomes count, and what they cost in the end.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tollgate::http::{Counters, GlobalKey, Headers, ResponseBody};
use tollgate::{Clock, Denied, ManualClock, Plan, Policy, RateLimitLayer, RateLimiter};
use tower::{Layer, Service, ServiceExt, service_fn};

/// A layer of this policy, whoever asks, and the clock that it reads.
fn limit(policy: &str) -> (RateLimitLayer<GlobalKey>, ManualClock) {
    let (policy, clock) = (policy.parse::<Policy>().unwrap(), Clock::manual());
    let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build();
    (RateLimitLayer::sharing(&limiter).key(GlobalKey), clock)
}

fn remaining(layer: &RateLimitLayer<GlobalKey>) -> u64 {
    layer.limiter().peek(&()).remaining()
}

/// Answers with the status that is the request's path, and with its query as a header.
async fn app(request: Request<()>) -> Result<Response<String>, Infallible> {
    let response = Response::builder().status(&request.uri().path()[1..]);
    Ok(response.header("x-used", request.uri().query().unwrap_or_default()).body("body".to_owned()).unwrap())
}

/// Makes one request after the other, and says of each whether it was denied before the handler (`x`) or not (`.`).
async fn ask(layer: &RateLimitLayer<GlobalKey>, requests: &str) -> String {
    let mut answers = String::new();
    for request in requests.split(' ') {
        let request = Request::builder().uri(format!("/{request}")).body(()).unwrap();
        let response = layer.clone().any_body().layer(service_fn(app)).oneshot(request).await.unwrap();
        answers.push(if response.extensions().get::<Denied>().is_some() { 'x' } else { '.' });
    }
    answers
}

fn used(response: &http::response::Parts) -> Option<u64> {
    response.headers.get("x-used")?.to_str().ok()?.parse().ok()
}

#[tokio::test]
async fn only_failed_logins() {
    let (layer, clock) = limit("3/day");
    let layer = layer.charge_when(|response| response.status == StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&layer, "200 401 200 200 500 401 200").await, ".......");
    assert_eq!(remaining(&layer), 1);
    // Once the budget is gone, the handler is not reached, with the right password either.
    assert_eq!(ask(&layer, "401 200 401").await, ".xx");
    clock.advance(Duration::from_secs(86_400 / 3));
    assert_eq!(ask(&layer, "200 200 401 200").await, "...x");
}

#[tokio::test]
async fn only_successes() {
    let (layer, _) = limit("2/day");
    let layer = layer.charge_when(|response| response.status.is_success());
    assert_eq!(ask(&layer, "404 500 200 429 404 201 404").await, "......x");
}

#[tokio::test]
async fn every_quota_gets_it_back_or_none() {
    let (layer, _) = limit("2/hour; 3/day sliding; 4/week fixed");
    let layer = layer.charge_when(|response| response.status.is_success());
    assert_eq!(ask(&layer, "404 404 404 404 404 200 404 200 404").await, "........x");
}

#[tokio::test]
async fn settled_by_what_the_response_says() {
    let (layer, _) = limit("100/day");
    let layer = layer.cost(|_| 40).settle(used);
    for (request, left) in [
        ("200?10", 90),
        ("200?0", 90),
        ("500?40", 50),
        ("200", 10), // says nothing, so all of it
    ] {
        assert_eq!(ask(&layer, request).await, ".");
        assert_eq!(remaining(&layer), left, "{request}");
    }
    assert_eq!(ask(&layer, "200?0").await, "x", "what it may cost does not fit, whatever it will cost");
}

#[tokio::test]
async fn no_more_than_was_charged() {
    let (layer, _) = limit("100/day");
    let layer = layer.cost(|_| 40).settle(used);
    assert_eq!(ask(&layer, "200?41 200?18446744073709551615").await, "..");
    assert_eq!(remaining(&layer), 20, "as it was charged");
}

#[tokio::test]
async fn a_refund_mints_nothing() {
    // What a bucket has refilled meanwhile is not given back again.
    let (layer, clock) = limit("10/second");
    let layer = layer.cost(|_| 10).settle(|_| Some(0));
    let tick = clock.clone();
    let slow = service_fn(move |_: Request<()>| {
        let tick = tick.clone();
        async move {
            tick.advance(Duration::from_millis(500));
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    layer.clone().any_body().layer(slow).oneshot(Request::new(())).await.unwrap();
    assert_eq!(remaining(&layer), 10);
    layer.limiter().check_n(&(), 10).unwrap();
    assert_eq!(remaining(&layer), 0, "no more than the limit");

    // A window that is over has nothing to give back to the next.
    let (layer, clock) = limit("10/second fixed");
    let layer = layer.cost(|_| 10).settle(|_| Some(0));
    let limiter = layer.limiter().clone();
    let slow = service_fn(move |_: Request<()>| {
        let (clock, limiter) = (clock.clone(), limiter.clone());
        async move {
            clock.advance(Duration::from_secs(1));
            limiter.check_n(&(), 7).unwrap();
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    layer.clone().any_body().layer(slow).oneshot(Request::new(())).await.unwrap();
    assert_eq!(remaining(&layer), 3);
}

#[tokio::test]
async fn the_last_word_on_the_outcome_counts() {
    let (layer, _) = limit("9/day");
    let layer = layer.settle(|_| Some(0)).charge_when(|response| response.status.is_success());
    assert_eq!(ask(&layer, "200 404").await, "..");
    assert_eq!(remaining(&layer), 8);
}

#[tokio::test]
async fn headers_tell_where_the_client_stands_after_all() {
    let (layer, _) = limit("5/day");
    let layer = layer.charge_when(|response| response.status.is_success());
    let layer = layer.headers(Headers::Draft).headers_on_every_response();
    let told = async |request: &str| {
        let request = Request::builder().uri(request).body(()).unwrap();
        let response = layer.clone().any_body().layer(service_fn(app)).oneshot(request).await.unwrap();
        assert_eq!(response.headers()["ratelimit-policy"], r#""5/day";q=5;w=86400"#);
        response.headers()["ratelimit"].to_str().unwrap().to_owned()
    };
    assert_eq!(told("/404").await, r#""5/day";r=5;t=0"#);
    assert_eq!(told("/200").await, r#""5/day";r=4;t=17280"#);
    assert_eq!(told("/404").await, r#""5/day";r=4;t=17280"#);
}

#[tokio::test]
async fn counters_count_decisions() {
    let counters = Counters::new();
    let (layer, _) = limit("x: 1/day");
    let layer = layer.charge_when(|response| response.status.is_success()).count_into(&counters);
    ask(&layer, "404 404 200 404").await;
    let counted = counters.limiter("x: 1/day").unwrap();
    assert_eq!((counted.allowed, counted.denied()), (3, 1));
}

#[tokio::test]
async fn what_was_not_charged_is_not_given_back() {
    let (layer, _) = limit("2/day");
    let layer = layer.charge_when(|response| response.status.is_success());
    assert_eq!(ask(&layer, "200 200").await, "..");
    // Let pass in spite of the limit, exempt, or free.
    assert_eq!(ask(&layer.clone().shadow(), "404 404").await, "..");
    assert_eq!(ask(&layer.clone().exempt(|_| true), "404").await, ".");
    assert_eq!(ask(&layer.clone().cost(|_| 0), "404").await, ".");
    assert_eq!(remaining(&layer), 0);
}

#[tokio::test]
async fn an_unlimited_plan_has_nothing_to_settle() {
    let (layer, _) = limit("0/day");
    let unlimited = RateLimitLayer::sharing(&layer.limiter().on(Plan::UNLIMITED).unwrap()).key(GlobalKey);
    let unlimited = unlimited.charge_when(|_| false).headers(Headers::Draft).headers_on_every_response();
    assert_eq!(ask(&unlimited, "200 404").await, "..");
    assert_eq!(ask(&layer, "200").await, "x");
}

#[tokio::test]
async fn an_override_settles_its_own() {
    let (layer, _) = limit("9/day");
    let (other, _) = limit("9/day");
    let both = layer
        .clone()
        .when(|head| head.uri.path() == "/404", other.clone().charge_when(|_| false))
        .charge_when(|_| true);
    assert_eq!(ask(&both, "404 200 404").await, "...");
    assert_eq!((remaining(&layer), remaining(&other)), (8, 9));
}

/// Fails, panics, or never answers.
async fn broken(request: Request<()>) -> Result<Response<String>, &'static str> {
    match request.uri().path() {
        "/fail" => Err("failed"),
        "/panic" => panic!("the handler panics"),
        _ => std::future::pending().await,
    }
}

#[tokio::test]
async fn unsettled_it_stays_charged() {
    let (layer, _) = limit("10/day");
    let layer = layer.cost(|_| 3).settle(|_| Some(0));
    let call = |path: &str| {
        let request = Request::builder().uri(path).body(()).unwrap();
        layer.clone().any_body().layer(service_fn(broken)).oneshot(request)
    };
    let mut cx = Context::from_waker(Waker::noop());

    assert_eq!(call("/fail").await.unwrap_err(), "failed");
    assert_eq!(remaining(&layer), 7);
    let _ = catch_unwind(AssertUnwindSafe(|| pin!(call("/panic")).poll(&mut cx).is_ready())).unwrap_err();
    assert_eq!(remaining(&layer), 4);
    {
        let mut abandoned = pin!(call("/pending"));
        assert!(abandoned.as_mut().poll(&mut cx).is_pending());
    }
    assert_eq!(remaining(&layer), 1);
}

#[tokio::test]
async fn a_panic_of_the_closure_leaves_it_charged_and_the_limiter_usable() {
    let panics = Arc::new(AtomicBool::new(true));
    let (layer, _) = limit("3/day");
    let layer = layer.charge_when({
        let panics = panics.clone();
        move |_| if panics.load(Relaxed) { panic!("in the closure") } else { false }
    });
    let mut cx = Context::from_waker(Waker::noop());
    let call =
        || layer.clone().any_body().layer(service_fn(app)).oneshot(Request::builder().uri("/200").body(()).unwrap());
    let _ = catch_unwind(AssertUnwindSafe(|| pin!(call()).poll(&mut cx).is_ready())).unwrap_err();
    assert_eq!(remaining(&layer), 2);
    panics.store(false, Relaxed);
    assert_eq!(ask(&layer, "200 200 200").await, "...");
    assert_eq!(remaining(&layer), 2);
}

/// A body of frames, and of trailers.
struct Frames(Vec<&'static str>);

impl Body for Frames {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if self.0.is_empty() {
            return Poll::Ready(None);
        }
        Poll::Ready(Some(match self.0.remove(0) {
            "error" => Err("a body breaks off"),
            "trailers" => Ok(Frame::trailers(http::HeaderMap::new())),
            data => Ok(Frame::data(Bytes::from_static(data.as_bytes()))),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(5)
    }
}

/// The body of a response with these frames, which are bytes at a unit each.
async fn body(layer: &RateLimitLayer<GlobalKey>, frames: &[&'static str]) -> ResponseBody<Frames> {
    let frames = frames.to_vec();
    let service = service_fn(move |_: Request<()>| {
        let body = Frames(frames.clone());
        async move { Ok::<_, Infallible>(Response::new(body)) }
    });
    layer.clone().any_body().layer(service).oneshot(Request::new(())).await.unwrap().into_body()
}

#[tokio::test]
async fn settled_by_the_bytes_of_the_body() {
    let (layer, _) = limit("100/day");
    let layer = layer.cost(|_| 50).settle_by_body(|bytes| bytes);

    let whole = body(&layer, &["he", "llo", "trailers"]).await;
    assert_eq!(remaining(&layer), 50, "until it is sent, all of it");
    assert_eq!(whole.size_hint().exact(), Some(5));
    assert!(!whole.is_end_stream());
    assert_eq!(whole.collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(remaining(&layer), 95);

    // The client goes away after the first frame, before it, or the body breaks.
    let mut part = body(&layer, &["he", "llo"]).await;
    part.frame().await.unwrap().unwrap();
    drop(part);
    assert_eq!(remaining(&layer), 93);
    drop(body(&layer, &["hello"]).await);
    assert_eq!(remaining(&layer), 93);
    assert_eq!(body(&layer, &["he", "error"]).await.collect().await.unwrap_err(), "a body breaks off");
    assert_eq!(remaining(&layer), 91);

    // More than was charged is not charged.
    let more = layer.clone().cost(|_| 1);
    assert_eq!(body(&more, &["hello"]).await.collect().await.unwrap().to_bytes(), "hello");
    assert_eq!(remaining(&layer), 90);
}

#[tokio::test]
async fn the_head_goes_before_the_body() {
    let (layer, _) = limit("100/day");
    let layer = layer.cost(|_| 50).settle_by_body(|bytes| bytes);
    body(&layer.clone().settle(|_| Some(7)), &["hello"]).await.collect().await.unwrap();
    assert_eq!(remaining(&layer), 93);
    body(&layer.clone().settle(|_| None), &["hello"]).await.collect().await.unwrap();
    assert_eq!(remaining(&layer), 88);
}

#[tokio::test]
async fn a_body_dropped_while_a_panic_unwinds_stays_charged() {
    let (layer, _) = limit("10/day");
    let layer = layer.cost(|_| 3).settle_by_body(|_| panic!("would end the process"));
    let body = body(&layer, &["hello"]).await;
    let unwound = catch_unwind(AssertUnwindSafe(move || {
        let _body = body;
        panic!("the first");
    }));
    assert_eq!(unwound.unwrap_err().downcast_ref(), Some(&"the first"));
    assert_eq!(remaining(&layer), 7);
}

/// Answers after so many polls.
struct After(u32, Option<Response<String>>);

impl Future for After {
    type Output = Result<Response<String>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.0 == 0 {
            return Poll::Ready(Ok(self.1.take().expect("polled after it was ready")));
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[test]
fn whatever_is_dropped_where_nothing_is_lost_and_nothing_minted() {
    const REQUESTS: u64 = 100_000;
    let (layer, _) = limit("1000000/day");
    let layer = layer.cost(|_| 5).settle(used).settle_by_body(|bytes| bytes);
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut draw = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut cx = Context::from_waker(Waker::noop());
    let mut spent = 0;
    for _ in 0..REQUESTS {
        let (polls, by_head, length) = (draw(3), draw(2) == 0, draw(5));
        let mut response = Response::new("x".repeat(length as usize));
        if by_head {
            response.headers_mut().insert("x-used", length.into());
        }
        let mut service = layer
            .clone()
            .any_body()
            .layer(service_fn(move |_: Request<()>| After(polls as u32, Some(response.clone()))));
        let mut future = Box::pin(service.call(Request::new(())));
        // Some are dropped before their response, some with their body unread; some come to their end.
        let mut cost = 5;
        for _ in 0..draw(5) {
            if let Poll::Ready(response) = future.as_mut().poll(&mut cx) {
                let mut body = pin!(response.unwrap().into_body());
                cost = if by_head { length } else { 0 };
                if draw(2) == 0 {
                    while let Poll::Ready(Some(_)) = body.as_mut().poll_frame(&mut cx) {}
                    cost = length;
                }
                break;
            }
        }
        drop(future);
        spent += cost;
    }
    assert_eq!(1_000_000 - remaining(&layer), spent);
}

#[test]
fn threads_give_back_what_they_took() {
    let (layer, _) = limit("1000000/day; 2000000/week");
    let layer = layer.charge_when(|response| response.status.is_success());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..2_000 {
                        assert_eq!(ask(&layer, "200 404 404").await, "...");
                    }
                });
            });
        }
    });
    assert_eq!(remaining(&layer), 1_000_000 - 8_000);
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn a_layer_that_delays_settles_too() {
    let clock = Clock::tokio();
    let limiter = RateLimiter::builder("2/second".parse::<Policy>().unwrap()).capacity(64).clock(clock.clone()).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).charge_when(|response| response.status.is_success());
    let layer = layer.headers(Headers::Draft).headers_on_every_response().delay(Duration::from_secs(1));
    let ask = async |request: &str| {
        let request = Request::builder().uri(request).body(()).unwrap();
        let response = layer.clone().any_body().layer(service_fn(app)).oneshot(request).await.unwrap();
        response.headers()["ratelimit"].to_str().unwrap().to_owned()
    };
    // Those that pass at once, and those that have waited.
    assert_eq!(ask("/404").await, r#""2/second";r=2;t=0"#);
    assert_eq!(ask("/200").await, r#""2/second";r=1;t=1"#);
    assert_eq!(ask("/200").await, r#""2/second";r=0;t=1"#);
    assert_eq!(clock.elapsed(), Duration::ZERO);
    assert_eq!(ask("/404").await, r#""2/second";r=1;t=1"#);
    let waited = clock.elapsed();
    assert!(waited >= Duration::from_millis(500), "{waited:?}");
    assert_eq!(ask("/404").await, r#""2/second";r=1;t=1"#);
    assert_eq!(clock.elapsed(), waited, "what did not count is there for the next");
}

#[cfg(feature = "tokio")]
#[tokio::test(start_paused = true)]
async fn what_is_given_back_wakes_who_waits_for_it() {
    let clock = Clock::tokio();
    let limiter = RateLimiter::builder("1/hour".parse::<Policy>().unwrap()).capacity(64).clock(clock.clone()).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).charge_when(|_| false);
    let layer = layer.delay(Duration::from_secs(7200));
    let slow = service_fn(async |_: Request<()>| {
        tokio::time::sleep(Duration::from_secs(10)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let call = || layer.clone().any_body().layer(slow).oneshot(Request::new(()));
    let (first, second, third) = tokio::join!(call(), call(), call());
    assert!([first, second, third].iter().all(|answer| answer.as_ref().unwrap().status().is_success()));
    assert!(clock.elapsed() < Duration::from_secs(31), "one after the other: {:?}", clock.elapsed());
}
