//! Inner services that are never ready, that fail or panic when they are asked, or that are ready only once. Whatever is set,
//! readiness is told as it is, and no call comes without it.

use std::future::{Future, Ready, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use http_body_util::combinators::UnsyncBoxBody;
use tollgate::http::GlobalKey;
use tollgate::{Clock, Policy, RateLimitLayer, RateLimiter};
use tower::util::BoxCloneService;
use tower::{Layer, Service};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;
type Door = BoxCloneService<Request<()>, Response<Body>, &'static str>;

/// What an instance answers when it is asked whether it is ready.
#[derive(Clone, Copy)]
enum Step {
    Ready,
    NotYet,
    Fails,
    Panics,
}

/// Answers so, one after the other, and then that it is not ready. A clone begins anew.
struct Moody {
    steps: &'static [Step],
    asked: usize,
    ready: bool,
    calls: Arc<AtomicUsize>,
    waker: Arc<Mutex<Option<Waker>>>,
}

impl Clone for Moody {
    fn clone(&self) -> Self {
        Self { steps: self.steps, asked: 0, ready: false, calls: self.calls.clone(), waker: self.waker.clone() }
    }
}

impl Service<Request<()>> for Moody {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Ready<Result<Response<Body>, &'static str>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let step = self.steps.get(self.asked).copied().unwrap_or(Step::NotYet);
        self.asked += 1;
        match step {
            Step::Ready => {
                self.ready = true;
                Poll::Ready(Ok(()))
            }
            Step::NotYet => {
                *self.waker.lock().unwrap() = Some(cx.waker().clone());
                Poll::Pending
            }
            Step::Fails => Poll::Ready(Err("it fails")),
            Step::Panics => std::panic::resume_unwind(Box::new("on purpose")),
        }
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        self.calls.fetch_add(1, Relaxed);
        ready(Ok(Response::new(UnsyncBoxBody::new(Full::new(Bytes::new())))))
    }
}

/// A service behind a limit, and what it and the limit know.
struct Bench {
    limiter: RateLimiter,
    inner: Moody,
}

impl Bench {
    fn left(&self) -> u64 {
        self.limiter.peek(&()).remaining()
    }

    fn calls(&self) -> usize {
        self.inner.calls.load(Relaxed)
    }
}

/// The same behind a plain layer, two that are joined, and one that delays.
fn each_door(policy: &str, steps: &'static [Step], check: impl Fn(&str, &Bench, Door)) {
    for door in ["plain", "joint", "delays"] {
        let policy: Policy = policy.parse().expect("a policy");
        let limiter = RateLimiter::builder(policy).capacity(64).clock(Clock::manual()).build();
        let inner = Moody { steps, asked: 0, ready: false, calls: Arc::default(), waker: Arc::default() };
        let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey);
        let service = match door {
            "plain" => Door::new(layer.layer(inner.clone())),
            "joint" => Door::new(layer.clone().and(layer.cost(|_| 0)).layer(inner.clone())),
            _ => Door::new(layer.delay(Duration::ZERO).layer(inner.clone())),
        };
        check(door, &Bench { limiter, inner }, service);
    }
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn call<S>(service: &mut S) -> StatusCode
where
    S: Service<Request<()>, Response = Response<Body>, Error = &'static str>,
{
    match pin!(service.call(Request::new(()))).poll(&mut cx()) {
        Poll::Ready(answer) => answer.expect("it does not fail").status(),
        Poll::Pending => panic!("nothing waits here"),
    }
}

#[test]
fn readiness_comes_through_as_it_is_and_is_charged_nothing() {
    each_door("2/hour", &[Step::NotYet, Step::NotYet, Step::Fails], |door, bench, mut service| {
        assert_eq!(service.poll_ready(&mut cx()), Poll::Pending, "{door}");
        assert_eq!(service.clone().poll_ready(&mut cx()), Poll::Pending, "{door}");
        assert_eq!(service.poll_ready(&mut cx()), Poll::Pending, "{door}");
        assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Err("it fails")), "{door}");
        assert_eq!((bench.left(), bench.calls()), (2, 0), "{door}");
    });
    // One that took its word back.
    each_door("2/hour", &[Step::Ready, Step::Fails], |door, bench, mut service| {
        assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Ok(())), "{door}");
        assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Err("it fails")), "{door}");
        assert_eq!((bench.left(), bench.calls()), (2, 0), "{door}");
    });
    each_door("2/hour", &[Step::Panics, Step::Ready], |door, bench, mut service| {
        assert!(catch_unwind(AssertUnwindSafe(|| service.poll_ready(&mut cx()))).is_err(), "{door}");
        assert_eq!((bench.left(), bench.calls()), (2, 0), "{door}");
        assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Ok(())), "{door}");
        assert_eq!((call(&mut service), bench.left(), bench.calls()), (StatusCode::OK, 1, 1), "{door}");
    });
}

#[test]
fn who_waits_for_readiness_is_woken_by_the_inner_service() {
    struct Flag(AtomicUsize);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    each_door("2/hour", &[], |door, bench, mut service| {
        let flag = Arc::new(Flag(AtomicUsize::new(0)));
        let waker = Waker::from(flag.clone());
        assert_eq!(service.poll_ready(&mut Context::from_waker(&waker)), Poll::Pending, "{door}");
        bench.inner.waker.lock().unwrap().take().expect("it was asked").wake();
        assert_eq!(flag.0.load(Relaxed), 1, "{door}");
    });
}

/// A denial gives the readiness back, so that the same service can be asked again and again. A request that passes uses it up.
#[test]
fn a_service_that_is_ready_once_is_not_used_up_by_denials() {
    each_door("1/hour", &[Step::Ready], |door, bench, mut service| {
        let mut others = [service.clone(), service.clone()];
        assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Ok(())), "{door}");
        assert_eq!(call(&mut service), StatusCode::OK, "{door}");
        assert_eq!(service.poll_ready(&mut cx()), Poll::Pending, "{door}");
        for service in &mut others {
            for _ in 0..3 {
                assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Ok(())), "{door}");
                assert_eq!(call(service), StatusCode::TOO_MANY_REQUESTS, "{door}");
            }
        }
        assert_eq!((bench.left(), bench.calls()), (0, 1), "{door}");
    });
}

/// The instance that was ready waits with its request, and is not asked again when the turn comes: it would say no.
#[tokio::test(start_paused = true)]
async fn requests_that_wait_keep_the_instance_that_was_ready_once() {
    let policy: Policy = "1/second".parse().expect("a policy");
    let limiter = RateLimiter::builder(policy).capacity(64).clock(Clock::tokio()).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).delay(Duration::from_secs(10));
    let calls = Arc::new(AtomicUsize::new(0));
    let inner = Moody { steps: &[Step::Ready], asked: 0, ready: false, calls: calls.clone(), waker: Arc::default() };
    let mut service = layer.layer(inner);
    assert_eq!(limiter.check(&()).expect("the first").status().remaining(), 0);
    let mut waiting = Vec::new();
    for _ in 0..4 {
        assert_eq!(service.poll_ready(&mut cx()), Poll::Ready(Ok(())));
        waiting.push(tokio::spawn(service.call(Request::new(()))));
    }
    // Nobody is called before the turn, and who goes away takes an instance along and nothing else.
    assert_eq!(calls.load(Relaxed), 0);
    waiting.remove(1).abort();
    for task in waiting {
        assert_eq!(task.await.expect("no panic").expect("no error").status(), StatusCode::OK);
    }
    assert_eq!((calls.load(Relaxed), limiter.clock().elapsed().as_secs()), (3, 3));
    assert_eq!(limiter.stats().waiters, 0);
}
