//! [`RateLimit`]: the service.

use std::mem;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use tower_service::Service;

use super::body::AnswerBody;
use super::decide::Decision;
use super::future::{HeldRequest, ResponseFuture};
use super::gate::{Gate, Glimpse};
use super::key::{ClientIp, KeyExtractor};
use super::outcome::After;
use crate::backend::Backend;
use crate::limiter::RateLimiter;

/// Limits the requests to a service. Made by [`RateLimitLayer`](super::RateLimitLayer).
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
/// # Panics
///
/// Where the layer delays, [`call`](Service::call) panics if a request has to wait outside a tokio runtime whose timers are
/// enabled.
#[derive(Debug)]
pub struct RateLimit<S, K = ClientIp, L = RateLimiter> {
    inner: S,
    gate: Arc<Gate<K, L>>,
}

impl<S: Clone, K, L> Clone for RateLimit<S, K, L> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), gate: self.gate.clone() }
    }
}

impl<S, K, L> RateLimit<S, K, L> {
    pub(super) fn new(inner: S, gate: Arc<Gate<K, L>>) -> Self {
        Self { inner, gate }
    }

    /// The service behind this one.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service behind this one.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, K, L, B, B2> Service<Request<B>> for RateLimit<S, K, L>
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
        match self.gate.glance(&request) {
            Glimpse::Passes => ResponseFuture::passed(self.inner.call(request), After::Nothing),
            seen => self.conclude(request, seen),
        }
    }
}

impl<S, K, L> RateLimit<S, K, L> {
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
        let decision = self.gate.conclude(seen, &mut head);
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
        Decision::Wait(wait, pending) => {
            let clone = inner.clone();
            let ready = mem::replace(inner, clone);
            ResponseFuture::waits(wait, HeldRequest { ready, head, body, pending })
        }
    }
}
