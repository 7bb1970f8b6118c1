//! [`AnyBody`]: wraps a service's response body, so that the limiter can put its answers in its place.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::ResponseBody;

/// Wraps response bodies in [`ResponseBody`]. Part of what [`RateLimitLayer::any_body`](super::RateLimitLayer::any_body)
/// gives.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct AnyBodyLayer;

impl<S> Layer<S> for AnyBodyLayer {
    type Service = AnyBody<S>;

    fn layer(&self, inner: S) -> AnyBody<S> {
        AnyBody { inner }
    }
}

/// A service whose response bodies are wrapped in [`ResponseBody`]. Made by [`AnyBodyLayer`].
#[derive(Clone, Copy, Debug)]
pub struct AnyBody<S> {
    inner: S,
}

impl<S> AnyBody<S> {
    /// The service behind this one.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service behind this one.
    pub fn into_inner(self) -> S {
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
