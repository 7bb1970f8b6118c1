//! [`AnyBody`]: wraps a service's response body, so that the limiter can put its answers in its place.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::ResponseBody;

/// A layer or a service that takes any response body, which it wraps in a [`ResponseBody`].
///
/// [`RateLimitLayer::any_body`](super::RateLimitLayer::any_body) makes one of the layer, which puts one around each service.
#[derive(Clone, Copy, Debug)]
pub struct AnyBody<T> {
    inner: T,
}

impl<T> AnyBody<T> {
    pub(super) fn new(inner: T) -> Self {
        Self { inner }
    }

    /// The layer, or the service, that this was made of.
    pub fn get_ref(&self) -> &T {
        &self.inner
    }

    /// The layer, or the service, that this was made of.
    pub fn into_inner(self) -> T {
        self.inner
    }
}

impl<S, B, B2> Service<Request<B>> for AnyBody<S>
where
    S: Service<Request<B>, Response = Response<B2>>,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = AnyBodyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        AnyBodyFuture { future: self.inner.call(request) }
    }
}

pin_project! {
    /// The response of an [`AnyBody`].
    #[derive(Debug)]
    pub struct AnyBodyFuture<F> {
        #[pin]
        future: F,
    }
}

impl<F, B, E> Future for AnyBodyFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().future.poll(cx))?;
        Poll::Ready(Ok(response.map(ResponseBody::new)))
    }
}
