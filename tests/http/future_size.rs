//! What the layer's future takes: it lives in every connection's task while a request is under way.

use std::convert::Infallible;
use std::future::{Future, Ready};
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use tollgate::http::AnswerBody;
use tollgate::{ClientIp, RateLimit, RateLimitLayer, RateLimiter};
use tower::Service;

/// The future of the layer's service.
type ResponseFuture<S, B, L = RateLimiter> = <RateLimit<S, RateLimitLayer<ClientIp, L>> as Service<Request<B>>>::Future;

/// A service with this future, that takes so many bytes itself.
struct Inner<F, const BYTES: usize>(PhantomData<F>, [u8; BYTES]);

impl<F, const BYTES: usize> Clone for Inner<F, BYTES> {
    fn clone(&self) -> Self {
        unreachable!("it is only measured")
    }
}

impl<F, R, B, const BYTES: usize> Service<Request<R>> for Inner<F, BYTES>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    type Response = Response<B>;
    type Error = Infallible;
    type Future = F;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        unreachable!("it is only measured")
    }

    fn call(&mut self, _: Request<R>) -> F {
        unreachable!("it is only measured")
    }
}

type Output<B> = Result<Response<B>, Infallible>;
type Boxed<B> = Pin<Box<dyn Future<Output = Output<B>>>>;

/// The bytes of the layer's future around this one, with a small service and request, and with large ones.
fn sizes<F, B>() -> [usize; 2]
where
    F: Future<Output = Output<B>>,
    B: AnswerBody,
{
    [size_of::<ResponseFuture<Inner<F, 0>, ()>>(), size_of::<ResponseFuture<Inner<F, 4096>, [u8; 4096]>>()]
}

/// Before answers could come later, it was this large: as the response that it may hold, or as the inner future and what
/// is to be done after it. Nothing of what waits elsewhere (the service, the request, a timer) takes room in process.
#[test]
fn it_holds_an_answer_or_the_inner_future_and_nothing_that_waits() {
    assert_eq!(size_of::<Response<Bytes>>(), 144, "the sizes below are to be counted anew");
    #[cfg(feature = "axum")]
    {
        use axum::body::Body;
        use axum::routing::future::RouteFuture;

        assert_at_most::<Boxed<Body>, Body>(144);
        assert_at_most::<Ready<Output<Body>>, Body>(152);
        assert_at_most::<RouteFuture<Infallible>, Body>(size_of::<RouteFuture<Infallible>>() + 16);
    }
    type Unsync = UnsyncBoxBody<Bytes, Infallible>;
    assert_at_most::<Boxed<Unsync>, Unsync>(144);
    assert_at_most::<Ready<Output<Unsync>>, Unsync>(152);
}

#[track_caller]
fn assert_at_most<F, B>(most: usize)
where
    F: Future<Output = Output<B>>,
    B: AnswerBody,
{
    let [small, large] = sizes::<F, B>();
    assert!(small <= most, "{small} bytes, and no more than {most} before");
    assert_eq!(small, large, "what would wait takes no room where nothing waits");
}

#[cfg(feature = "tokio")]
#[test]
fn what_waits_takes_room_where_it_does() {
    use tollgate::wait::Delayed;

    type Waits<const BYTES: usize> =
        ResponseFuture<Inner<Boxed<UnsyncBoxBody<Bytes, Infallible>>, BYTES>, [u8; BYTES], Delayed>;
    assert!(size_of::<Waits<4096>>() >= size_of::<Waits<0>>() + 2 * 4096);
}
