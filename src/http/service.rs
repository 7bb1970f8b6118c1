//! [`RateLimit`]: the service.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use tower_service::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::key::{ClientIp, KeyExtractor};
use super::reject::{Answers, NO_KEY, WhenNoKey};
use crate::limiter::RateLimiter;

/// Limits the requests to a service. Made by [`RateLimitLayer`](super::RateLimitLayer).
///
/// # Tower's contract
///
/// Readiness is the inner service's. A request over the limit is answered without calling it, and a clone of it
/// takes its place, so that whatever readiness it had reserved (a concurrency permit, a slot in a buffer) is released
/// with the original; this is why the inner service must be [`Clone`]. Its errors pass through untouched.
#[derive(Debug)]
pub struct RateLimit<S, K = ClientIp> {
    inner: S,
    shared: Arc<Shared<K>>,
}

/// What all services of one layer share.
#[derive(Debug)]
pub(super) struct Shared<K> {
    pub(super) limiter: RateLimiter,
    pub(super) key: Arc<K>,
    pub(super) answers: Arc<Answers>,
}

impl<S: Clone, K> Clone for RateLimit<S, K> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: self.shared.clone() }
    }
}

impl<S, K> RateLimit<S, K> {
    pub(super) fn new(inner: S, shared: Shared<K>) -> Self {
        Self { inner, shared: Arc::new(shared) }
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

impl<S, K, B, B2> Service<Request<B>> for RateLimit<S, K>
where
    S: Service<Request<B>, Response = Response<B2>> + Clone,
    K: KeyExtractor,
{
    type Response = Response<ResponseBody<B2>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (head, body) = request.into_parts();
        match self.shared.decide(&head) {
            ControlFlow::Continue(headers) => {
                ResponseFuture::passed(self.inner.call(Request::from_parts(head, body)), headers)
            }
            ControlFlow::Break(response) => {
                // Dropping the service that had become ready releases all that it reserved for the call that will not be.
                self.inner = self.inner.clone();
                ResponseFuture::answered(response)
            }
        }
    }
}

impl<K: KeyExtractor> Shared<K> {
    /// Lets a request pass, with the headers its response shall have, or answers it.
    fn decide(&self, head: &Parts) -> ControlFlow<Response<Bytes>, Option<Box<HeaderMap>>> {
        let Self { limiter, key, answers } = self;
        let decision = match key.extract(head) {
            Ok(key) => limiter.check(&key),
            Err(no_key) => match answers.when_no_key {
                WhenNoKey::Refuse => return ControlFlow::Break(answers.no_key(no_key, head, limiter)),
                WhenNoKey::Allow => return ControlFlow::Continue(None),
                WhenNoKey::Share => limiter.check(&NO_KEY),
            },
        };
        match decision {
            Ok(permit) => ControlFlow::Continue(answers.when_allowed(&permit, limiter)),
            Err(denied) => ControlFlow::Break(answers.denial(denied, head, limiter)),
        }
    }
}
