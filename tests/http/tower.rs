//! The Tower contract, with inner services that insist on it.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::marker::PhantomPinned;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tollgate::http::{AnyBody, GlobalKey, HeaderKey, Headers, ResponseBody};
use tollgate::{Clock, Denied, ManualClock, Quota, RateLimit, RateLimitLayer, RateLimiter};
use tower::buffer::Buffer;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::load_shed::error::Overloaded;
use tower::{BoxError, Layer, Service, ServiceExt};

/// The future of the layer's service.
type ResponseFuture<S, B> = <RateLimit<S> as Service<Request<B>>>::Future;

/// A layer that lets `amount` requests a minute pass, whoever asks, and the clock that it reads.
fn limit(amount: u64) -> (RateLimitLayer<GlobalKey>, ManualClock) {
    let clock = Clock::manual();
    let limiter = RateLimiter::builder(Quota::per_minute(amount)).capacity(64).clock(clock.clone()).build();
    (RateLimitLayer::sharing(&limiter).key(GlobalKey), clock)
}

fn request() -> Request<()> {
    Request::new(())
}

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Polls once. Nothing here waits for anything but the service, so pending means stuck.
fn now<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut cx()) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn is_ready<S: Service<Request<()>>>(service: &mut S) -> bool {
    service.poll_ready(&mut cx()).is_ready()
}

fn denied<B>(response: &Response<B>) -> bool {
    let marked = response.extensions().get::<Denied>().is_some();
    assert_eq!(response.status() == StatusCode::TOO_MANY_REQUESTS, marked);
    marked
}

/// Makes one request by the book, and says whether it was denied.
fn ask<S, B>(service: &mut S) -> bool
where
    S: Service<Request<()>, Response = Response<B>>,
{
    assert!(is_ready(service), "the service is never ready");
    let Some(Ok(response)) = now(service.call(request())) else { panic!("no answer") };
    denied(&response)
}

/// Panics when it is called without having said that it is ready; a clone has not. Counts its calls.
#[derive(Debug, Default)]
struct Strict {
    ready: bool,
    calls: Arc<AtomicUsize>,
}

impl Strict {
    fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self { ready: false, calls: self.calls.clone() }
    }
}

impl<B> Service<Request<B>> for Strict {
    type Response = Response<String>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "called without having been ready");
        self.calls.fetch_add(1, Relaxed);
        ready(Ok(Response::new("hello".to_owned())))
    }
}

#[test]
fn the_inner_service_is_called_when_ready_and_never_for_a_denied_request() {
    let inner = Strict::default();
    let mut service = limit(3).0.any_body().layer(inner.clone());
    let answers = [(); 8].map(|()| ask(&mut service));
    assert_eq!(answers, [false, false, false, true, true, true, true, true]);
    assert_eq!(inner.calls(), 3);

    // The same when each request has a clone of its own, as axum and hyper make them.
    let (layer, clock) = limit(3);
    let inner = Strict::default();
    let service = layer.clone().any_body().layer(inner.clone());
    assert_eq!((0..8).filter(|_| ask(&mut service.clone())).count(), 5);
    assert_eq!(inner.calls(), 3);
    clock.advance(Duration::from_secs(20));
    assert_eq!((0..8).filter(|_| ask(&mut service.clone())).count(), 7);
    assert_eq!(inner.calls(), 4);
}

/// Ready after so many tries, then broken in the given way.
#[derive(Clone)]
struct Broken {
    pending: usize,
    when: BrokenWhen,
}

#[derive(Clone, Copy, PartialEq)]
enum BrokenWhen {
    Polled,
    Called,
}

/// Not `Error`, not `Debug`, not `Clone`, not `Send`: the layer has no business with an error.
struct Odd(Rc<Cell<u8>>);

impl<B> Service<Request<B>> for Broken {
    type Response = Response<()>;
    type Error = Odd;
    type Future = Ready<Result<Self::Response, Odd>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Odd>> {
        if self.pending > 0 {
            self.pending -= 1;
            return Poll::Pending;
        }
        match self.when {
            BrokenWhen::Polled => Poll::Ready(Err(Odd(Rc::new(Cell::new(1))))),
            BrokenWhen::Called => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        ready(Err(Odd(Rc::new(Cell::new(2)))))
    }
}

#[test]
fn errors_and_pending_are_the_inner_services() {
    let (layer, _) = limit(2);
    let mut service = layer.clone().any_body().layer(Broken { pending: 2, when: BrokenWhen::Polled });
    assert!(!is_ready(&mut service));
    assert!(!is_ready(&mut service));
    let Poll::Ready(Err(Odd(code))) = Service::<Request<()>>::poll_ready(&mut service, &mut cx()) else {
        panic!("the error of poll_ready was lost")
    };
    assert_eq!(code.get(), 1);

    // A request that fails was a request: it counts. One that is denied never gets to fail.
    let mut service = layer.clone().any_body().layer(Broken { pending: 0, when: BrokenWhen::Called });
    for _ in 0..2 {
        assert!(is_ready(&mut service));
        let Some(Err(Odd(code))) = now(service.call(request())) else { panic!("the error of call was lost") };
        assert_eq!(code.get(), 2);
    }
    assert!(ask(&mut service));
}

/// Denied requests on many clones, all of which live on, must hold nothing of what the inner service reserved for them.
fn releases<S>(service: RateLimit<AnyBody<S>, RateLimitLayer<GlobalKey>>)
where
    S: Service<Request<()>, Response = Response<String>> + Clone,
{
    let mut clones: Vec<_> = (0..20).map(|_| service.clone()).collect();
    let mut answers = Vec::new();
    for clone in &mut clones {
        assert!(is_ready(clone), "a denied request kept its reservation");
        answers.push(clone.call(request())); // not even polled, and not dropped
    }
    for answer in answers {
        let Some(Ok(response)) = now(answer) else { panic!("a denial needs no waiting") };
        assert!(denied(&response));
    }
    // The same clone again, which must be made ready again.
    assert!(ask(&mut clones[0]));
    assert!(is_ready(&mut clones[0]));
    drop(clones);
}

#[test]
fn a_denied_request_gives_back_its_concurrency_permit() {
    let (layer, clock) = limit(1);
    let strict = Strict::default();
    let mut service = layer.clone().any_body().layer(ConcurrencyLimit::new(strict.clone(), 1));
    assert!(!ask(&mut service));
    releases(service.clone());
    assert_eq!(strict.calls(), 1);
    // And when there is something to admit, it is not starved, though a denied clone stays around.
    let mut idle = service.clone();
    assert!(ask(&mut idle));
    clock.advance(Duration::from_secs(60));
    assert!(!ask(&mut service));
    assert_eq!(strict.calls(), 2);
}

#[tokio::test]
async fn a_denied_request_gives_back_its_slot_in_a_buffer() {
    let (layer, clock) = limit(1);
    let strict = Strict::default();
    let mut service = layer.clone().any_body().layer(Buffer::new(strict.clone(), 1));
    assert!(!denied(&service.ready().await.unwrap().call(request()).await.unwrap()));
    // The worker has taken the one message out of the buffer, so the slot is free when the answer is there.
    releases(service.clone());
    clock.advance(Duration::from_secs(60));
    assert!(!denied(&service.ready().await.unwrap().call(request()).await.unwrap()));
    assert_eq!(strict.calls(), 2);
}

#[tokio::test]
async fn inside_a_buffer_and_a_concurrency_limit() {
    let strict = Strict::default();
    let buffer = Buffer::new(limit(3).0.any_body().layer(strict.clone()), 4);
    let mut denials = 0;
    for _ in 0..10 {
        denials += u32::from(denied(&buffer.clone().oneshot(request()).await.unwrap()));
    }
    assert_eq!((denials, strict.calls()), (7, 3));

    let strict = Strict::default();
    let limited = ConcurrencyLimit::new(limit(3).0.any_body().layer(strict.clone()), 1);
    assert_eq!((0..10).filter(|_| ask(&mut limited.clone())).count(), 7);
    assert_eq!(strict.calls(), 3);
}

#[test]
fn load_that_is_shed_outside_costs_nothing_and_inside_counts() {
    // The one permit is taken, so the service is overloaded.
    let (layer, _) = limit(2);
    let strict = Strict::default();
    let busy = ConcurrencyLimit::new(strict.clone(), 1);
    let mut holder = busy.clone();
    assert!(is_ready(&mut holder));

    let overloaded = |result: Option<Result<_, BoxError>>| match result {
        Some(Err(error)) => error.is::<Overloaded>(),
        _ => false,
    };
    let mut outside = LoadShed::new(layer.clone().any_body().layer(busy.clone()));
    for _ in 0..5 {
        assert!(is_ready(&mut outside));
        assert!(overloaded(now(outside.call(request()))));
    }
    assert_eq!(layer.limiter().peek(&()).remaining(), 2);

    let mut inside = layer.clone().any_body().layer(LoadShed::new(busy));
    for _ in 0..2 {
        assert!(is_ready(&mut inside));
        assert!(overloaded(now(inside.call(request()))));
    }
    assert!(ask(&mut inside));
    drop(holder);
    assert!(is_ready(&mut outside));
    assert!(denied(&now(outside.call(request())).unwrap().unwrap()));
    assert_eq!(strict.calls(), 0);
}

/// Answers after some polls.
#[derive(Clone)]
struct Slow {
    polls: usize,
}

impl Service<Request<()>> for Slow {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let mut polls = self.polls;
        Box::pin(std::future::poll_fn(move |_| {
            if polls == 0 {
                return Poll::Ready(Ok(Response::new(())));
            }
            polls -= 1;
            Poll::Pending
        }))
    }
}

#[test]
fn a_response_dropped_at_any_point_loses_nothing() {
    const POLLS: usize = 3;
    for dropped_after in 0..=POLLS + 1 {
        let (layer, clock) = limit(5);
        let service = layer.clone().any_body().layer(ConcurrencyLimit::new(Slow { polls: POLLS }, 1));
        for round in 0..2 {
            for left in (0..5).rev() {
                let mut service = service.clone();
                assert!(is_ready(&mut service), "a dropped response kept its permit");
                let mut future = Box::pin(service.call(request()));
                for poll in 0..dropped_after {
                    assert_eq!(future.as_mut().poll(&mut cx()).is_ready(), poll == POLLS);
                }
                drop(future);
                // It was let pass, so it counts: once, whatever became of it.
                assert_eq!(layer.limiter().peek(&()).remaining(), left, "round {round}");
            }
            for polled in [false, true] {
                let mut service = service.clone();
                assert!(is_ready(&mut service));
                let future = service.call(request());
                if polled {
                    assert!(denied(&now(future).unwrap().unwrap()));
                }
            }
            clock.advance(Duration::from_secs(60));
        }
    }
}

#[test]
fn a_service_dropped_between_ready_and_call_costs_nothing() {
    let (layer, _) = limit(1);
    let service = layer.clone().any_body().layer(ConcurrencyLimit::new(Strict::default(), 1));
    for _ in 0..5 {
        assert!(is_ready(&mut service.clone()));
    }
    assert_eq!(layer.limiter().peek(&()).remaining(), 1);
}

/// A body of the test's own: not `Default`, `Clone`, `Unpin`, `Send` or `Debug`. Its first frame is what it was made
/// for.
struct Strange {
    kind: usize,
    _not_send: Rc<()>,
    _pinned: PhantomPinned,
}

impl Strange {
    fn new(kind: usize) -> Self {
        Self { kind, _not_send: Rc::new(()), _pinned: PhantomPinned }
    }
}

/// Data of the test's own, too: all it needs is that the limiter's own bytes can become it.
#[derive(Debug, PartialEq)]
struct Chunk(Bytes);

impl From<Bytes> for Chunk {
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl bytes::Buf for Chunk {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }
}

impl Body for Strange {
    type Data = Chunk;
    type Error = Odd;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, Odd>>> {
        Poll::Ready(match self.kind {
            0 => None,
            1 => Some(Err(Odd(Rc::new(Cell::new(3))))),
            2 => {
                let trailers = HeaderMap::from_iter([(http::header::ETAG, HeaderValue::from_static("last"))]);
                Some(Ok(Frame::trailers(trailers)))
            }
            _ => Some(Ok(Frame::data(Chunk(Bytes::from_static(b"data"))))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.kind == 0
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = SizeHint::new();
        hint.set_lower(self.kind as u64);
        hint.set_upper(77);
        hint
    }
}

/// Sends the request's body back.
#[derive(Clone)]
struct Echo;

impl Service<Request<Strange>> for Echo {
    type Response = Response<Strange>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Strange>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Strange>) -> Self::Future {
        ready(Ok(Response::new(request.into_body())))
    }
}

fn frame<B: Body>(body: Pin<&mut B>) -> Option<Result<Frame<B::Data>, B::Error>> {
    match body.poll_frame(&mut cx()) {
        Poll::Ready(frame) => frame,
        Poll::Pending => panic!("this body never waits"),
    }
}

#[test]
fn bodies_pass_through_whatever_they_are() {
    let (layer, _) = limit(4);
    let mut service = layer.clone().any_body().layer(Echo);
    let mut echo = |kind| now(service.call(Request::new(Strange::new(kind)))).unwrap().unwrap();

    let body = pin!(echo(3).into_body());
    let hint = body.size_hint();
    assert_eq!((hint.lower(), hint.upper(), body.is_end_stream()), (3, Some(77), false));
    assert_eq!(frame(body).unwrap().ok().unwrap().into_data().unwrap(), Chunk(Bytes::from_static(b"data")));

    let trailers = frame(pin!(echo(2).into_body())).unwrap().ok().unwrap().into_trailers().unwrap();
    assert_eq!(trailers[http::header::ETAG], "last");

    assert_eq!(frame(pin!(echo(1).into_body())).unwrap().err().unwrap().0.get(), 3);

    let body = pin!(echo(0).into_body());
    assert!(body.is_end_stream());
    assert!(frame(body).is_none());

    // The limiter's own answer is a body of the same type, and says exactly how long it is.
    let response = echo(9);
    assert!(denied(&response));
    let mut body = pin!(response.into_body());
    let length = body.size_hint().exact().unwrap();
    assert!(length > 0 && !body.is_end_stream());
    let data = frame(body.as_mut()).unwrap().ok().unwrap().into_data().unwrap();
    assert_eq!(data.0.len() as u64, length);
    assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(0), true));
    assert!(frame(body.as_mut()).is_none());
}

#[test]
fn an_empty_answer_is_at_its_end_from_the_start() {
    let (layer, _) = limit(0);
    let mut service = layer.denial_text("").any_body().layer(Echo);
    let mut body = pin!(now(service.call(Request::new(Strange::new(1)))).unwrap().unwrap().into_body());
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
    assert!(frame(body.as_mut()).is_none());
}

#[test]
fn what_shares_a_limit_and_what_does_not() {
    let spend = |layers: &[RateLimitLayer<GlobalKey>]| {
        let mut services: Vec<_> =
            layers.iter().map(|layer| layer.clone().any_body().layer(Strict::default())).collect();
        (0..12).map(|n| !ask(&mut services[n % layers.len()])).filter(|passed| *passed).count()
    };
    // One layer around several services, its clones, and layers with other settings made from it.
    let (layer, _) = limit(4);
    assert_eq!(spend(&[layer.clone(), layer.clone().headers(Headers::Draft), layer.key(GlobalKey)]), 4);
    // Layers built separately, though from the same quota.
    assert_eq!(spend(&[limit(4).0, limit(4).0, limit(4).0]), 12);
    // Layers around one limiter, and direct calls to it.
    let limiter = RateLimiter::builder(Quota::per_minute(4)).capacity(64).clock(Clock::manual()).build();
    limiter.check(&()).unwrap();
    let sharing = || RateLimitLayer::sharing(&limiter).key(GlobalKey);
    assert_eq!(spend(&[sharing(), sharing()]), 3);
    assert!(sharing().limiter().check(&()).is_err());
    // A clone of the service; a service cloned before and after it was used.
    let mut service = limit(2).0.any_body().layer(Strict::default());
    let mut before = service.clone();
    assert!(!ask(&mut service));
    let mut after = service.clone();
    assert!(!ask(&mut before));
    assert!(ask(&mut after) && ask(&mut service) && ask(&mut before));
}

#[test]
fn the_inner_service_can_be_had_back() {
    let service = limit(1).0.any_body().layer(Strict::default());
    assert_eq!(service.get_ref().get_ref().calls(), 0);
    assert_eq!(service.into_inner().into_inner().calls(), 0);
}

/// Each line compiles or does not.
#[test]
fn types_promise_what_servers_need() {
    fn shared<T: Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>() {}
    fn cloned<T: Clone + std::fmt::Debug>() {}
    fn unpin<T: Unpin>() {}
    /// Its future is `Send` and no more, as those of servers are.
    #[derive(Clone)]
    struct SentOnly;
    impl Service<Request<Cell<u8>>> for SentOnly {
        type Response = Response<ResponseBody<Cell<u8>>>;
        type Error = Infallible;
        type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;
        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }
        fn call(&mut self, _: Request<Cell<u8>>) -> Self::Future {
            Box::pin(async { Ok(Response::new(ResponseBody::default())) })
        }
    }
    shared::<RateLimitLayer>();
    shared::<RateLimitLayer<(HeaderKey, GlobalKey)>>();
    shared::<RateLimit<Strict>>();
    shared::<ResponseFuture<AnyBody<Strict>, ()>>();
    shared::<ResponseBody<String>>();
    // What is only `Send` inside stays so: a server's futures and bodies seldom are `Sync`.
    sent::<RateLimit<Cell<u8>>>();
    sent::<ResponseFuture<SentOnly, Cell<u8>>>();
    sent::<ResponseBody<Cell<u8>>>();
    cloned::<RateLimitLayer>();
    cloned::<RateLimit<Strict>>();
    unpin::<ResponseFuture<AnyBody<Strict>, ()>>();
    unpin::<ResponseBody<String>>();
    // The layer is cloned by servers, whatever its key is.
    struct NotClone;
    impl tollgate::http::KeyExtractor for NotClone {
        type Key<'a> = ();
        fn extract<'a>(&'a self, _: &'a http::request::Parts) -> Result<(), tollgate::http::NoKey> {
            Ok(())
        }
    }
    let layer = limit(1).0.key(NotClone);
    let service = layer.clone().any_body().layer(Strict::default());
    drop((service.clone(), service, layer));
}

#[test]
fn a_panic_in_the_users_closure_leaves_the_limiter_as_it_was() {
    let panics = |mut request: Request<()>| {
        request.headers_mut().insert("panic", HeaderValue::from_static("now"));
        request
    };
    let strict = Strict::default();
    let inner = ConcurrencyLimit::new(strict.clone(), 1);
    let by_closure = |head: &http::request::Parts| {
        assert!(!head.headers.contains_key("panic"), "a bug in the key");
        Some(7)
    };
    let limiter = limit(2).0.limiter().clone();
    let mut service = RateLimitLayer::sharing(&limiter).key(by_closure).any_body().layer(inner.clone());
    assert!(!ask(&mut service));
    for _ in 0..3 {
        // The same service is used on: it panicked before it called the inner one, which is ready still.
        assert!(is_ready(&mut service));
        assert!(catch_unwind(AssertUnwindSafe(|| service.call(panics(request())))).is_err());
    }
    assert_eq!(limiter.peek(&7).remaining(), 1);
    assert!(!ask(&mut service));
    assert!(ask(&mut service));

    let build = |_: &Denied, head: &http::request::Parts| {
        assert!(!head.headers.contains_key("panic"), "a bug in the answer");
        Response::new(Bytes::from_static(b"slow down"))
    };
    let layer = RateLimitLayer::sharing(&limiter).key(|_: &http::request::Parts| Some(7)).denial_response(build);
    let mut service = layer.clone().any_body().layer(inner);
    for _ in 0..3 {
        let mut clone = service.clone();
        assert!(is_ready(&mut clone));
        assert!(catch_unwind(AssertUnwindSafe(|| clone.call(panics(request())))).is_err());
    }
    assert!(ask(&mut service));
    assert_eq!(strict.calls(), 2);
}
