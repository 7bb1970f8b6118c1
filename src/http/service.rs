//! [`RateLimit`]: the service.

use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use tower_layer::Layer;
use tower_service::Service;

use super::any_body::AnyBody;
use super::body::AnswerBody;
use super::decide::Decision;
use super::future::{HeldRequest, ResponseFuture};
use super::gate::Glimpse;
use super::key::KeyExtractor;
use super::layer::RateLimitLayer;
use super::outcome::After;
use crate::backend::Backend;

/// Limits the requests to a service. Made by a [`RateLimitLayer`], or by a [`JointLayer`](super::JointLayer).
///
/// # Tower's contract
///
/// Readiness is the inner service's. A request over the limit is answered without calling the inner service. A clone takes
/// the place of the instance that was ready, which is dropped. So what it had reserved is released, such as a concurrency
/// permit or a slot in a buffer. This is why the inner service must be [`Clone`]. Its errors pass through untouched.
///
/// Where the layer delays, the instance that was ready when a request came waits with the request, and is called in the end.
/// So a request that waits holds what that instance has reserved, such as a slot of a concurrency limit inside this layer.
/// Where slots are scarce, put the concurrency limit outside.
///
/// Its future has no name of its own. A service of yours that holds it names it by this one:
///
/// ```
/// use http::Request;
/// use tollgate::RateLimit;
/// use tower::Service;
///
/// type Limited<S, B> = <RateLimit<S> as Service<Request<B>>>::Future;
/// ```
///
/// If the response's future is dropped while its request waits, the request's place and the service's readiness are given back,
/// and nothing was charged. (A server that was asked already may have charged it.)
///
/// # Panics
///
/// Where the layer delays, [`call`](Service::call) panics if a request has to wait outside a tokio runtime whose timers are
/// enabled.
#[derive(Clone, Debug)]
pub struct RateLimit<S, D = RateLimitLayer> {
    pub(super) inner: S,
    /// What decides.
    pub(super) layer: D,
}

impl<S, D> RateLimit<S, D> {
    /// The service behind this one.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service behind this one.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, L> Layer<S> for RateLimitLayer<K, L> {
    type Service = RateLimit<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit { inner, layer: self.clone() }
    }
}

/// So one of a tonic server's services can be limited by itself: it keeps its name.
#[cfg(feature = "tonic")]
impl<S: tonic::server::NamedService, D> tonic::server::NamedService for RateLimit<S, D> {
    const NAME: &'static str = S::NAME;
}

impl<S, D: Layer<AnyBody<S>>> Layer<S> for AnyBody<D> {
    type Service = D::Service;

    fn layer(&self, inner: S) -> Self::Service {
        self.get_ref().layer(AnyBody::new(inner))
    }
}

impl<S, K, L, B, B2> Service<Request<B>> for RateLimit<S, RateLimitLayer<K, L>>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B2: AnswerBody,
    K: KeyExtractor,
    L: Backend,
{
    type Response = Response<B2>;
    type Error = S::Error;
    type Future = ResponseFuture<S, B, L>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.layer.gate.glance(&request) {
            Glimpse::Passes => ResponseFuture::passed(self.inner.call(request), After::Nothing),
            seen => self.conclude(request, seen),
        }
    }
}

impl<S, K, L> RateLimit<S, RateLimitLayer<K, L>> {
    /// What becomes of a request, if it did not pass at a glance.
    #[inline(never)]
    fn conclude<B, B2>(&mut self, request: Request<B>, seen: Glimpse<L>) -> ResponseFuture<S, B, L>
    where
        S: Service<Request<B>, Response = Response<B2>> + Clone,
        B2: AnswerBody,
        K: KeyExtractor,
        L: Backend,
    {
        if let Glimpse::PassesFor(after) = seen {
            return ResponseFuture::passed(self.inner.call(request), after);
        }
        let (mut head, body) = request.into_parts();
        let decision = self.layer.gate.conclude(seen, &mut head);
        follow(decision, &mut self.inner, head, body)
    }
}

/// Does with a request what was decided about it.
#[inline]
pub(super) fn follow<S, B, B2, L>(decision: Decision<L>, inner: &mut S, head: Parts, body: B) -> ResponseFuture<S, B, L>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    B2: AnswerBody,
    L: Backend,
{
    match decision {
        Decision::Pass(after) => ResponseFuture::passed(inner.call(Request::from_parts(head, body)), after),
        Decision::Answer(response) => {
            // Dropping the service that had become ready releases all that it reserved for the call that will not be.
            *inner = inner.clone();
            ResponseFuture::answered(response)
        }
        Decision::Wait(wait, pending) => ResponseFuture::waits(wait, pending, HeldRequest::new(inner, head, body)),
    }
}
