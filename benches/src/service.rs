//! A service to put a limit around, and one request to it.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use http::{Request, Response};
use tower_service::Service;

/// Answers at once, with an empty body.
#[derive(Clone, Copy, Debug)]
pub struct Hello;

impl<B: Default> Service<Request<B>> for Hello {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        black_box(request);
        ready(Ok(Response::new(B::default())))
    }
}

/// Makes a request of a service that is always ready and answers at once.
///
/// # Panics
///
/// If it is not, or does not.
#[inline(always)]
pub fn answer<S, Q, R>(service: &mut S, request: Request<Q>) -> Response<R>
where
    S: Service<Request<Q>, Response = Response<R>, Error = Infallible>,
{
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut context) else { panic!("the service is always ready") };
    match pin!(service.call(request)).poll(&mut context) {
        Poll::Ready(Ok(response)) => response,
        Poll::Pending => panic!("the service answers at once"),
    }
}
