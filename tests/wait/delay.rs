//! The layer that delays: order, bounds, denials beyond them, and Tower's contract.
//!
//! Time is tokio's, paused, and the limiter follows it.

use std::cell::Cell;
use std::future::{Ready, poll_fn, ready};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::{Request, Response, StatusCode};
use tokio::task::yield_now;
use tokio::time::sleep;
use tollgate::http::{AnyBody, Counters, GlobalKey, HeaderKey, Headers, Rollout};
use tollgate::wait::Delayed;
use tollgate::{Clock, Denied, Policy, RateLimit, RateLimitLayer, RateLimiter};
use tower::limit::ConcurrencyLimit;
use tower::{Layer, Service};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A limiter in tokio's time, and a layer for it that counts all requests together.
fn limit(limit: &str) -> (RateLimiter, RateLimitLayer<GlobalKey>) {
    let policy: Policy = limit.parse().expect("a limit");
    let limiter = RateLimiter::builder(policy).capacity(1024).clock(Clock::tokio()).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey);
    (limiter, layer)
}

fn request(id: usize) -> Request<usize> {
    Request::new(id)
}

/// Insists on the contract: each instance has a number of its own, is called only when it was made ready, and notes which
/// requests came when.
#[derive(Debug)]
struct Strict {
    ready: bool,
    number: usize,
    instances: Arc<AtomicUsize>,
    log: Arc<Mutex<Vec<(usize, Duration)>>>,
    calls: Arc<Mutex<Vec<usize>>>,
    clock: Clock,
}

impl Strict {
    fn new(limiter: &RateLimiter) -> Self {
        Self {
            ready: false,
            number: 0,
            instances: Arc::default(),
            log: Arc::default(),
            calls: Arc::default(),
            clock: limiter.clock().clone(),
        }
    }

    fn log(&self) -> Vec<(usize, Duration)> {
        self.log.lock().unwrap().clone()
    }

    /// The instances in the order in which they were called.
    fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        let number = self.instances.fetch_add(1, Relaxed) + 1;
        let Self { instances, log, calls, clock, .. } = self;
        Self {
            ready: false,
            number,
            instances: instances.clone(),
            log: log.clone(),
            calls: calls.clone(),
            clock: clock.clone(),
        }
    }
}

impl Service<Request<usize>> for Strict {
    type Response = Response<usize>;
    type Error = usize;
    type Future = Ready<Result<Self::Response, usize>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), usize>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<usize>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        self.calls.lock().unwrap().push(self.number);
        let id = request.into_body();
        self.log.lock().unwrap().push((id, self.clock.elapsed()));
        ready(if id == 666 { Err(id) } else { Ok(Response::new(id)) })
    }
}

/// Makes a request by the book.
fn send<S: Service<Request<usize>>>(service: &mut S, id: usize) -> S::Future {
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready(), "the service is never ready");
    service.call(request(id))
}

fn is_ready<S: Service<Request<usize>>>(service: &mut S) -> bool {
    service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready()
}

async fn is_pending<F: Future + Unpin>(future: &mut F) -> bool {
    poll_fn(|cx| Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending())).await
}

fn denied<B>(response: &Response<B>) -> bool {
    let marked = response.extensions().get::<Denied>().is_some();
    assert_eq!(response.status() == StatusCode::TOO_MANY_REQUESTS, marked);
    marked
}

type Delaying = RateLimit<AnyBody<Strict>, RateLimitLayer<GlobalKey, Delayed>>;

fn delayed(layer: RateLimitLayer<GlobalKey>, bound: Duration, inner: &Strict) -> Delaying {
    layer.delay(bound).any_body().layer(inner.clone())
}

#[tokio::test(start_paused = true)]
async fn requests_wait_their_turn_up_to_the_bound_and_are_denied_beyond_it() {
    let (limiter, layer) = limit("10/second burst 1");
    let inner = Strict::new(&limiter);
    let mut service = delayed(layer, ms(400), &inner);
    let mut answers: Vec<_> = (0..8).map(|id| Box::pin(send(&mut service, id))).collect();
    // The first passed and the last three were denied as they came.
    let pending = async |answers: &mut Vec<_>| {
        let mut pending = Vec::new();
        for (id, answer) in answers.iter_mut().enumerate() {
            if id != 0 && id < 5 && is_pending(answer).await {
                pending.push(id);
            }
        }
        pending
    };
    assert_eq!(pending(&mut answers).await, [1, 2, 3, 4]);
    assert_eq!(limiter.stats().waiters, 4);
    let tasks: Vec<_> = answers.into_iter().map(tokio::spawn).collect();
    let mut seen = Vec::new();
    for (id, task) in tasks.into_iter().enumerate() {
        let response = task.await.unwrap().unwrap();
        assert_eq!(denied(&response), id >= 5, "{id}");
        if id >= 5 {
            // All that wait are counted: half a second, and the next whole one.
            assert_eq!(response.headers()[RETRY_AFTER], "1");
            let denied = response.extensions().get::<Denied>().unwrap();
            assert_eq!(denied.retry_after(), Some(ms(500)));
        }
        seen.push(denied(&response));
    }
    let expected: Vec<_> = (0..5).map(|id| (id, ms(100 * id as u64))).collect();
    assert_eq!(inner.log(), expected);
    assert_eq!(limiter.stats().waiters, 0);
}

#[tokio::test(start_paused = true)]
async fn a_place_is_taken_by_the_call() {
    let (limiter, layer) = limit("10/second burst 1");
    let inner = Strict::new(&limiter);
    let mut service = delayed(layer, ms(10_000), &inner);
    let mut answers: Vec<_> = (0..6).map(|id| send(&mut service, id)).collect();
    assert_eq!(limiter.stats().waiters, 5);
    // One that was never polled goes away, and the rest are polled the wrong way round.
    drop(answers.remove(3));
    let tasks: Vec<_> = answers.into_iter().rev().map(tokio::spawn).collect();
    for task in tasks {
        assert!(!denied(&task.await.unwrap().unwrap()));
    }
    assert_eq!(inner.log(), [(0, ms(0)), (1, ms(100)), (2, ms(200)), (4, ms(300)), (5, ms(400))]);
}

#[tokio::test(start_paused = true)]
async fn keys_wait_for_themselves_alone_and_share_their_queue_with_other_doors() {
    let (limiter, _) = limit("1/second");
    let layer = RateLimitLayer::sharing(&limiter).key(HeaderKey::new("user").unwrap());
    let inner = Strict::new(&limiter);
    let mut service = layer.delay(ms(10_000)).any_body().layer(inner.clone());
    let mut by = |user: &'static str, id: usize| {
        assert!(is_ready(&mut service));
        service.call(Request::builder().header("user", user).body(id).unwrap())
    };
    let waiting: Vec<_> = (0..3).map(|id| tokio::spawn(by("busy", id))).collect();
    for (id, user) in ["ann", "bob", "cat"].into_iter().enumerate() {
        by(user, 10 + id).await.unwrap();
    }
    assert_eq!(limiter.clock().elapsed(), Duration::ZERO);
    for task in waiting {
        task.await.unwrap().unwrap();
    }
    assert_eq!(inner.log(), [(0, ms(0)), (10, ms(0)), (11, ms(0)), (12, ms(0)), (1, ms(1000)), (2, ms(2000))]);

    // A direct wait, and a request: one queue.
    let (limiter, layer) = limit("1/second");
    let inner = Strict::new(&limiter);
    let mut service =
        layer.key(|_: &http::request::Parts| Some(7_u64)).delay(ms(10_000)).any_body().layer(inner.clone());
    limiter.check(&7_u64).unwrap();
    let first = tokio::spawn(limiter.until_ready(&7_u64));
    yield_now().await;
    let second = tokio::spawn(send(&mut service, 2));
    let third = tokio::spawn(limiter.until_ready(&7_u64));
    first.await.unwrap().unwrap();
    assert_eq!(limiter.clock().elapsed(), ms(1000));
    second.await.unwrap().unwrap();
    assert_eq!(inner.log(), [(2, ms(2000))]);
    third.await.unwrap().unwrap();
    assert_eq!(limiter.clock().elapsed(), ms(3000));
}

#[tokio::test(start_paused = true)]
async fn the_number_of_waiters_is_bounded() {
    let policy: Policy = "1/second".parse().unwrap();
    let limiter = RateLimiter::builder(policy).capacity(64).clock(Clock::tokio()).waiters(2).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey);
    let inner = Strict::new(&limiter);
    let mut service = layer.delay(ms(60_000)).any_body().layer(inner.clone());
    let mut answers: Vec<_> = (0..5).map(|id| Some(Box::pin(send(&mut service, id)))).collect();
    assert_eq!(limiter.stats().waiters, 2);
    for id in [3, 4] {
        assert!(denied(&answers[id].take().unwrap().await.unwrap()));
    }
    answers[1] = None;
    answers.push(Some(Box::pin(send(&mut service, 5))));
    assert_eq!(limiter.stats().waiters, 2);
    for answer in answers.into_iter().flatten() {
        assert!(!denied(&answer.await.unwrap()));
    }
    assert_eq!(inner.log(), [(0, ms(0)), (2, ms(1000)), (5, ms(2000))]);
}

#[tokio::test(start_paused = true)]
async fn the_instance_that_was_ready_is_the_one_that_is_called() {
    let (limiter, layer) = limit("10/second burst 1; 3/hour fixed");
    let inner = Strict::new(&limiter);
    let mut service = delayed(layer, ms(1000), &inner);
    let first = service.get_ref().get_ref().number;
    // Passes, waits, waits, and is denied: each that does not pass leaves a clone in its place.
    let answers: Vec<_> = (0..4).map(|id| tokio::spawn(send(&mut service, id))).collect();
    assert_eq!(service.get_ref().get_ref().number, first + 3);
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
    assert_eq!(inner.calls(), [first, first, first + 1]);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_kept_while_waiting_and_released_by_who_gives_up_or_is_denied() {
    let (limiter, layer) = limit("1/second");
    let inner = Strict::new(&limiter);
    let mut service = layer.delay(ms(2000)).any_body().layer(ConcurrencyLimit::new(inner.clone(), 2));
    drop(send(&mut service, 0).await);
    let (first, second) = (Box::pin(send(&mut service, 1)), Box::pin(send(&mut service, 2)));
    // Both slots are held by requests that wait.
    assert!(!is_ready(&mut service));
    drop(first);
    assert!(is_ready(&mut service));
    // This one would be the third to wait: denied, and its slot is free again.
    let third = Box::pin(send(&mut service, 3));
    assert!(!is_ready(&mut service));
    drop(third);
    limiter.check(&()).ok();
    let answer = second.await.unwrap();
    assert!(!denied(&answer));
    assert_eq!(inner.log(), [(0, ms(0)), (2, ms(1000))]);
    for _ in 0..10 {
        let answers: Vec<_> = (0..2).map(|id| Box::pin(send(&mut service, id))).collect();
        assert!(!is_ready(&mut service));
        drop(answers);
    }
    assert!(is_ready(&mut service));
    assert_eq!(limiter.stats().waiters, 0);

    let (_, layer) = limit("1/hour");
    let mut service = layer.delay(ms(2000)).any_body().layer(ConcurrencyLimit::new(inner.clone(), 1));
    drop(send(&mut service, 0).await);
    for id in 1..5 {
        // The answer is kept, and the slot is free all the same.
        let answer = Box::pin(send(&mut service, id));
        assert!(is_ready(&mut service));
        assert!(denied(&answer.await.unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_overtaken_by_direct_checks_is_denied_when_the_time_is_over() {
    let (limiter, _) = limit("1/second");
    let counters = Counters::new();
    let layer = RateLimitLayer::sharing(&limiter).key(|_: &http::request::Parts| Some(7_u64)).count_into(&counters);
    let inner = Strict::new(&limiter);
    let mut service = layer
        .headers(Headers::XRateLimitDelta)
        .delay(ms(1500))
        .any_body()
        .layer(ConcurrencyLimit::new(inner.clone(), 1));
    limiter.check(&7_u64).unwrap();
    let answer = tokio::spawn(send(&mut service, 1));
    yield_now().await;
    sleep(ms(999)).await;
    limiter.reset(&7_u64);
    limiter.check(&7_u64).unwrap();
    let answer = answer.await.unwrap().unwrap();
    assert!(denied(&answer));
    assert_eq!(inner.log(), []);
    assert!(is_ready(&mut service));
    let counts = &counters.snapshot()[0];
    assert_eq!((counts.looked_at(), counts.allowed, counts.denied()), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_delayed_that_would_not_be_denied_either() {
    let rollout = Rollout::new();
    rollout.set_enforced_percent(0).unwrap();
    for shadow in [true, false] {
        let (limiter, layer) = limit("1/hour");
        let inner = Strict::new(&limiter);
        let layer = if shadow { layer.shadow() } else { layer.rollout(&rollout) };
        let mut service = delayed(layer, ms(7_200_000), &inner);
        for id in 0..5 {
            assert!(!denied(&send(&mut service, id).await.unwrap()));
            assert_eq!(limiter.stats().waiters, 0);
        }
        assert_eq!(limiter.clock().elapsed(), Duration::ZERO);
        assert_eq!(inner.calls().len(), 5);
    }
}

#[tokio::test(start_paused = true)]
async fn costs_exemptions_headers_and_errors_are_as_without_delay() {
    let (limiter, layer) = limit("10/second burst 5");
    let inner = Strict::new(&limiter);
    let layer = layer
        .cost(|head| head.headers.get("cost").map_or(1, |cost| cost.to_str().unwrap().parse().unwrap()))
        .exempt(|head| head.uri.path() == "/health")
        .headers(Headers::XRateLimitDelta)
        .headers_on_every_response();
    let mut service = delayed(layer, ms(1000), &inner);
    let mut ask = |cost: &str, path: &str, id: usize| {
        assert!(is_ready(&mut service));
        service.call(Request::builder().uri(path).header("cost", cost).body(id).unwrap())
    };
    let remaining = |response: &Response<_>| response.headers()["x-ratelimit-remaining"].to_str().unwrap().to_owned();
    assert_eq!(remaining(&ask("3", "/", 0).await.unwrap()), "2");
    let waits = tokio::spawn(ask("5", "/", 1));
    yield_now().await;
    // Who is exempt does not wait, nor what costs nothing; what can never pass is denied at once, for good.
    assert!(!ask("1", "/health", 2).await.unwrap().headers().contains_key("x-ratelimit-remaining"));
    ask("0", "/", 3).await.unwrap();
    let answer = ask("6", "/", 4).await.unwrap();
    assert!(denied(&answer));
    assert!(!answer.headers().contains_key(RETRY_AFTER));
    assert_eq!(ask("1", "/health", 666).await.unwrap_err(), 666);
    assert_eq!(limiter.clock().elapsed(), Duration::ZERO);
    assert_eq!(remaining(&waits.await.unwrap().unwrap()), "0");
    assert_eq!(limiter.clock().elapsed(), ms(300));
    assert_eq!(ask("1", "/", 666).await.unwrap_err(), 666);
    assert_eq!(limiter.clock().elapsed(), ms(400));
}

/// The delay may be set first or last, and all else is the same.
#[test]
fn it_is_set_in_any_order_with_the_other_settings() {
    let quota = || "5/minute; 100/day".parse::<Policy>().unwrap();
    let counters = Counters::new();
    let last = RateLimitLayer::new(quota())
        .capacity(1000)
        .key(GlobalKey)
        .shadow()
        .tell_handler()
        .headers(Headers::Draft)
        .count_into(&counters)
        .exempt_preflight()
        .delay(ms(500));
    let first = RateLimitLayer::new(quota())
        .delay(ms(500))
        .exempt_preflight()
        .count_into(&counters)
        .headers(Headers::Draft)
        .tell_handler()
        .shadow()
        .key(GlobalKey)
        .capacity(1000);
    // They say everything but what differs between two limiters in any case: the time that they were made.
    let said = |layer: &RateLimitLayer<GlobalKey, Delayed>| {
        let text = format!("{layer:?}");
        let (before, after) = text.split_once("clock: ").expect("it has a clock");
        format!("{before}{}", after.split_once(')').expect("a clock ends").1)
    };
    assert_eq!(said(&first), said(&last));
    assert_eq!(first.limiter().limiter().stats(), last.limiter().limiter().stats());
    assert!(first.limiter().limiter().stats().capacity < 1200);
}

#[test]
fn what_it_takes_need_not_be_send_and_the_future_is_if_it_may_be() {
    fn is_send<T: Send>(_: &T) {}
    let layer: RateLimitLayer<GlobalKey, Delayed> = RateLimitLayer::per_second(2).key(GlobalKey).delay(ms(1));
    let mut service = layer.clone().any_body().layer(Strict::new(layer.limiter().limiter()));
    is_send(&send(&mut service, 1));

    #[derive(Clone)]
    struct Local(Rc<Cell<u8>>);

    impl Service<Request<Rc<u8>>> for Local {
        type Response = Response<Rc<u8>>;
        type Error = Rc<u8>;
        type Future = Ready<Result<Self::Response, Rc<u8>>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Rc<u8>>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: Request<Rc<u8>>) -> Self::Future {
            self.0.set(self.0.get() + 1);
            ready(Ok(Response::new(request.into_body())))
        }
    }

    let inner = Local(Rc::default());
    let answer = pin!(layer.clone().any_body().layer(inner.clone()).call(Request::new(Rc::new(1))))
        .poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(answer, Poll::Ready(Ok(_))));
    assert_eq!(inner.0.get(), 1);
}
