//! A program's closures that panic, services that fail, panic or are never ready, and bodies that lie: a request that was
//! charged stays charged, one that was not is not, and the next one finds the limit in order.

use std::future::{Future, pending, ready};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Body as _;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use tollgate::http::GlobalKey;
use tollgate::{Clock, Plan, Policy, RateLimitLayer, RateLimiter};
use tower::util::BoxCloneService;
use tower::{Layer, Service};

type Body = UnsyncBoxBody<Bytes, &'static str>;
type Door = BoxCloneService<Request<()>, Response<Body>, &'static str>;

/// What a test's own code panics with. The usual hook would print it.
struct OnPurpose;

fn panics<T>() -> T {
    std::panic::resume_unwind(Box::new(OnPurpose))
}

/// Does what the request's path says.
#[derive(Debug)]
struct Inner {
    calls: Arc<AtomicUsize>,
}

impl Clone for Inner {
    fn clone(&self) -> Self {
        Self { calls: self.calls.clone() }
    }
}

impl Service<Request<()>> for Inner {
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, &'static str>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        self.calls.fetch_add(1, Relaxed);
        let answer = |body: Liar| Ok(Response::new(body.boxed_unsync()));
        match request.uri().path() {
            "/panics" => panics(),
            "/panics-later" => Box::pin(async { panics() }),
            "/fails" => Box::pin(ready(Err("it fails"))),
            "/hangs" => Box::pin(pending()),
            body => Box::pin(ready(answer(Liar { story: body.to_owned(), frames: 3 }))),
        }
    }
}

/// Three frames of 10 bytes, and other things besides.
struct Liar {
    story: String,
    frames: usize,
}

impl http_body::Body for Liar {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        if self.frames > 0 {
            self.frames -= 1;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b'x'; 10])))));
        }
        match &*self.story {
            "/body-panics" => panics(),
            "/body-fails" => Poll::Ready(Some(Err("it broke"))),
            "/body-hangs" => Poll::Pending,
            "/body-goes-on" => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
            "/trailers" => {
                self.story.clear();
                Poll::Ready(Some(Ok(Frame::trailers(HeaderMap::new()))))
            }
            _ => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.story == "/body-says-it-is-over"
    }

    fn size_hint(&self) -> SizeHint {
        match &*self.story {
            "/body-says-it-is-empty" => SizeHint::with_exact(0),
            "/body-says-it-is-huge" => SizeHint::with_exact(u64::MAX),
            _ => SizeHint::default(),
        }
    }
}

/// A limit of five, on a clock that stands still.
struct Bench {
    limiter: RateLimiter,
    layer: RateLimitLayer<GlobalKey>,
    calls: Arc<AtomicUsize>,
}

type Set = fn(RateLimitLayer<GlobalKey>) -> RateLimitLayer<GlobalKey>;

impl Bench {
    fn new(policy: &str, set: Set) -> Self {
        let policy: Policy = policy.parse().expect("a policy");
        let limiter = RateLimiter::builder(policy).capacity(64).clock(Clock::manual()).build();
        let layer = set(RateLimitLayer::sharing(&limiter).key(GlobalKey));
        Self { limiter, layer, calls: Arc::default() }
    }

    fn left(&self) -> u64 {
        self.limiter.peek(&()).remaining()
    }

    fn inner(&self) -> Inner {
        Inner { calls: self.calls.clone() }
    }
}

/// The same limit behind each door, with what is left of it.
fn each_door(policy: &str, set: Set, check: impl Fn(&str, Bench, Door)) {
    let bench = || Bench::new(policy, set);
    let one = bench();
    let door = BoxCloneService::new(one.layer.layer(one.inner()));
    check("alone", one, door);
    for first in [true, false] {
        let one = bench();
        let (this, other) = (one.layer.clone(), RateLimitLayer::per_hour(1000).capacity(10).key(GlobalKey));
        let joint = if first { this.and(other) } else { other.and(this) };
        let door = BoxCloneService::new(joint.layer(one.inner()));
        check(if first { "joint, first" } else { "joint, last" }, one, door);
    }
    let one = bench();
    let door = BoxCloneService::new(one.layer.clone().delay(Duration::ZERO).layer(one.inner()));
    check("delayed", one, door);
    let one = bench();
    let door = BoxCloneService::new(Boxed(one.layer.clone().any_body().layer(one.inner())));
    check("any body", one, door);
}

/// Boxes what `any_body` makes.
#[derive(Clone)]
struct Boxed<S>(S);

impl<S> Service<Request<()>> for Boxed<S>
where
    S: Service<Request<()>, Response = Response<tollgate::http::ResponseBody<Body>>, Error = &'static str>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = &'static str;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, &'static str>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<()>) -> Self::Future {
        let future = self.0.call(request);
        Box::pin(async move { Ok(future.await?.map(|body| body.boxed_unsync())) })
    }
}

fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

#[derive(Debug, PartialEq)]
enum Came {
    Status(StatusCode),
    Error,
    Nothing,
    Panic,
}

/// Asks, and reads the body to its end, or as far as it goes.
fn ask(door: &mut Door, request: Request<()>) -> Came {
    let asked = catch_unwind(AssertUnwindSafe(|| {
        assert!(door.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        let mut future = Box::pin(door.call(request));
        match poll(future.as_mut()) {
            None => Came::Nothing,
            Some(Err(_)) => Came::Error,
            Some(Ok(response)) => {
                let (head, mut body) = response.into_parts();
                let mut frame = || Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
                let _ = (0..10).find(|_| !matches!(frame(), Poll::Ready(Some(Ok(_)))));
                Came::Status(head.status)
            }
        }
    }));
    asked.unwrap_or_else(|panic| if panic.is::<OnPurpose>() { Came::Panic } else { std::panic::resume_unwind(panic) })
}

fn to(path: &str) -> Request<()> {
    Request::builder().uri(path).body(()).expect("a request")
}

fn trap() -> Request<()> {
    Request::builder().header("x-panic", "1").body(()).expect("a request")
}

fn springs(head: &Parts) -> bool {
    head.headers.contains_key("x-panic") && panics()
}

const FINE: Came = Came::Status(StatusCode::OK);
const DENIED: Came = Came::Status(StatusCode::TOO_MANY_REQUESTS);

#[test]
fn a_closure_that_panics_before_the_charge_charges_nothing() {
    let settings: [(&str, Set); 4] = [
        ("cost", |layer| layer.cost(|head| 1 + u64::from(springs(head)))),
        ("plan", |layer| layer.plan(|head| if springs(head) { Plan::UNLIMITED } else { Plan::DEFAULT })),
        ("exempt", |layer| layer.exempt(springs)),
        ("when", |layer| {
            let other = layer.clone();
            layer.when(springs, other)
        }),
    ];
    for (name, set) in settings {
        each_door("5/hour", set, |door, bench, mut service| {
            assert_eq!(ask(&mut service, trap()), Came::Panic, "{name}, {door}");
            assert_eq!((bench.left(), bench.calls.load(Relaxed)), (5, 0), "{name}, {door}");
            assert_eq!((ask(&mut service, to("/")), bench.left()), (FINE, 4), "{name}, {door}");
        });
    }
}

#[test]
fn a_closure_that_panics_over_a_response_leaves_the_charge() {
    let settings: [(&str, Set); 3] = [
        ("charge_when", |layer| layer.charge_when(|_| panics())),
        ("settle", |layer| layer.settle(|_| panics())),
        ("settle_by_body", |layer| layer.settle_by_body(|_| panics())),
    ];
    for (name, set) in settings {
        each_door("2/hour", set, |door, bench, mut service| {
            for left in [1, 0] {
                assert_eq!((ask(&mut service, to("/")), bench.left()), (Came::Panic, left), "{name}, {door}");
            }
            assert_eq!(ask(&mut service, to("/")), DENIED, "{name}, {door}");
            assert_eq!(bench.calls.load(Relaxed), 2);
        });
    }
}

#[test]
fn a_closure_that_panics_over_a_denial_lets_nobody_pass() {
    let settings: [(&str, Set); 2] = [
        ("on_denied", |layer| {
            layer.on_denied(|_, head| {
                springs(head);
            })
        }),
        ("denial_response", |layer| {
            layer.denial_response(|_, head| {
                springs(head);
                Response::new(Bytes::new())
            })
        }),
    ];
    for (name, set) in settings {
        each_door("1/hour", set, |door, bench, mut service| {
            assert_eq!(ask(&mut service, to("/")), FINE);
            for _ in 0..3 {
                assert_eq!(ask(&mut service, trap()), Came::Panic, "{name}, {door}");
                assert_eq!(ask(&mut service, to("/")), DENIED, "{name}, {door}");
            }
            assert_eq!((bench.left(), bench.calls.load(Relaxed)), (0, 1), "{name}, {door}");
        });
    }
}

#[test]
fn a_service_that_fails_or_panics_or_hangs_leaves_the_charge() {
    let settings: [Set; 3] = [|layer| layer, |layer| layer.charge_when(|_| false), |layer| layer.settle_by_body(|_| 0)];
    for set in settings {
        each_door("5/hour", set, |door, bench, mut service| {
            for (path, came, left) in [
                ("/panics", Came::Panic, 4),
                ("/panics-later", Came::Panic, 3),
                ("/fails", Came::Error, 2),
                ("/hangs", Came::Nothing, 1),
            ] {
                assert_eq!((ask(&mut service, to(path)), bench.left()), (came, left), "{path}, {door}");
            }
            assert_eq!(ask(&mut service, to("/")), FINE, "{door}");
        });
    }
}

/// The charge goes by the bytes that came, whatever the body says of itself.
#[test]
fn bodies_are_settled_by_what_came_of_them() {
    let set: Set = |layer| layer.cost(|_| 50).settle_by_body(|bytes| bytes);
    each_door("50/hour", set, |door, bench, mut service| {
        for (path, left) in [
            ("/", 20),
            ("/trailers", 20),
            ("/body-says-it-is-over", 20),
            ("/body-says-it-is-empty", 20),
            ("/body-says-it-is-huge", 20),
            ("/body-fails", 20),
            ("/body-hangs", 20),
            // Three of ten, and seven of one before nobody reads on.
            ("/body-goes-on", 13),
        ] {
            assert_eq!((ask(&mut service, to(path)), bench.left()), (FINE, left), "{path}, {door}");
            bench.limiter.reset(&());
        }
        // Nobody knows what it would have cost.
        assert_eq!((ask(&mut service, to("/body-panics")), bench.left()), (Came::Panic, 0), "{door}");
        assert_eq!(ask(&mut service, to("/")), DENIED, "{door}");
    });
}

/// It holds the turn of nobody else: who waits behind one whose service panics passes in time.
#[tokio::test(start_paused = true)]
async fn a_service_that_panics_when_its_turn_comes_holds_up_nobody() {
    let policy: Policy = "1/second".parse().expect("a policy");
    let clock = Clock::tokio();
    let limiter = RateLimiter::builder(policy).capacity(64).clock(clock.clone()).build();
    let layer = RateLimitLayer::sharing(&limiter).key(GlobalKey).delay(Duration::from_secs(10));
    let inner = Inner { calls: Arc::default() };
    let service = layer.layer(inner);
    let asks = ["/", "/panics", "/fails", "/panics-later", "/"].map(|path| {
        let mut service = service.clone();
        let clock = clock.clone();
        let future = service.call(to(path));
        tokio::spawn(async move {
            struct When(Clock);
            let when = When(clock);
            let answer = future.await.map(|response| response.status());
            (answer, when.0.elapsed())
        })
    });
    let mut came = Vec::new();
    for ask in asks {
        came.push(match ask.await {
            Ok((Ok(status), at)) => (Came::Status(status), at.as_secs()),
            Ok((Err(_), at)) => (Came::Error, at.as_secs()),
            Err(_) => (Came::Panic, 0),
        });
    }
    assert_eq!(came, [(FINE, 0), (Came::Panic, 0), (Came::Error, 2), (Came::Panic, 0), (FINE, 4)]);
    assert_eq!(limiter.stats().waiters, 0);
}

/// A denial takes a clone of the service: one that cannot be cloned just now is still there afterwards.
#[test]
fn a_service_that_panics_when_it_is_cloned_stays_behind_its_limit() {
    struct Shy(Inner, Arc<AtomicUsize>);
    impl Clone for Shy {
        fn clone(&self) -> Self {
            if self.1.fetch_add(1, Relaxed) == 0 { panics() } else { Self(self.0.clone(), self.1.clone()) }
        }
    }
    impl Service<Request<()>> for Shy {
        type Response = Response<Body>;
        type Error = &'static str;
        type Future = <Inner as Service<Request<()>>>::Future;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            self.0.call(request)
        }
    }
    let bench = Bench::new("1/hour", |layer| layer);
    let mut service = bench.layer.layer(Shy(bench.inner(), Arc::default()));
    let mut came = Vec::new();
    for _ in 0..3 {
        let asked = catch_unwind(AssertUnwindSafe(|| poll(Box::pin(service.call(to("/"))).as_mut())));
        came.push(asked.map(|answer| answer.expect("at once").expect("it does not fail").status()).ok());
    }
    assert_eq!(came, [Some(StatusCode::OK), None, Some(StatusCode::TOO_MANY_REQUESTS)]);
    assert_eq!(bench.calls.load(Relaxed), 1);
}

/// A request that waited in vain was denied, and the list of those who are denied most did not know it.
#[tokio::test(start_paused = true)]
async fn who_waits_in_vain_is_among_those_denied_most() {
    let policy: Policy = "1/minute".parse().expect("a policy");
    let limiter = RateLimiter::builder(policy).capacity(64).offenders(5).clock(Clock::tokio()).build();
    let key = |head: &Parts| Some(head.uri.path().to_owned());
    let layer = RateLimitLayer::sharing(&limiter).key(key).delay(Duration::from_secs(60));
    let mut service = layer.layer(Inner { calls: Arc::default() });
    assert!(service.call(to("/a")).await.is_ok());
    let waits = tokio::spawn(service.call(to("/a")));
    tokio::time::sleep(Duration::from_secs(59)).await;
    assert!(limiter.offenders().is_empty());
    // Somebody takes directly what it waits for.
    limiter.replace_policy("2/minute".parse::<Policy>().expect("a policy")).expect("one quota");
    let _ = limiter.check("/a");
    limiter.replace_policy("1/minute".parse::<Policy>().expect("a policy")).expect("one quota");
    let answer = waits.await.expect("no panic").expect("no error");
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limiter.offenders()[0].key(), "%2Fa");
}
