//! [`RateLimit`]: the service.

use std::borrow::Cow;
use std::hash::Hash;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use tower_service::Service;

use super::body::ResponseBody;
use super::future::ResponseFuture;
use super::key::{ClientIp, KeyExtractor, NoKey};
use super::outcome::{After, Settlement};
use super::reject::{Answers, WhenNoKey};
use super::scope::Place;
use super::settings::Settings;
use super::watch::Watchers;
use crate::decision::{Denied, Permit, Status};
use crate::fingerprint::Fingerprint;
use crate::key::SharedKey;
use crate::limiter::RateLimiter;
use crate::reservation::Reservation;

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
    pub(super) settings: Settings,
    pub(super) watchers: Watchers,
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
            ControlFlow::Continue(after) => {
                ResponseFuture::passed(self.inner.call(Request::from_parts(head, body)), after)
            }
            ControlFlow::Break(response) => {
                // Dropping the service that had become ready releases all that it reserved for the call that will not be.
                self.inner = self.inner.clone();
                ResponseFuture::answered(response)
            }
        }
    }
}

/// A request's answer, or leave to go on and what is to be done after that.
pub(super) type Decision = ControlFlow<Response<Bytes>, After>;

/// Decides about a request, whatever it is counted by: what [`Scope`](super::scope::Scope) needs to leave one to another
/// layer.
pub(super) trait Decide: Send + Sync {
    fn decide(&self, head: &Parts) -> Decision;
}

impl<K: KeyExtractor + Send + Sync> Decide for Shared<K> {
    fn decide(&self, head: &Parts) -> Decision {
        self.decide(head)
    }
}

/// What is to be asked about a request, and of whom: the layer's limiter, or that limiter on the request's plan.
#[derive(Clone, Debug)]
pub(super) struct Question<'a> {
    pub(super) limiter: Cow<'a, RateLimiter>,
    pub(super) fingerprint: Fingerprint,
    pub(super) cost: u64,
}

impl<K: KeyExtractor> Shared<K> {
    fn decide(&self, head: &Parts) -> Decision {
        match self.ask(head) {
            ControlFlow::Continue(question) => self.answer(&question, head),
            ControlFlow::Break(decision) => decision,
        }
    }

    /// What to ask the limiter about a request, or what is decided without it.
    pub(super) fn ask(&self, head: &Parts) -> ControlFlow<Decision, Question<'_>> {
        match self.settings.scope.place(head) {
            Place::Here => {}
            Place::Nowhere => return ControlFlow::Break(Decision::Continue(After::Nothing)),
            Place::There(other) => return ControlFlow::Break(other.decide(head)),
        }
        let cost = self.settings.cost(head);
        if cost == 0 {
            return ControlFlow::Break(Decision::Continue(After::Nothing));
        }
        match self.key.extract(head) {
            Ok(key) => ControlFlow::Continue(self.question(&key, cost, head)),
            Err(no_key) => self.no_key(&no_key, cost, head),
        }
    }

    fn question<Q: Hash>(&self, key: &Q, cost: u64, head: &Parts) -> Question<'_> {
        let limiter = match &self.settings.plan {
            None => Cow::Borrowed(&self.limiter),
            Some(plan) => Cow::Owned(self.limiter.on(plan(head))),
        };
        Question { limiter, fingerprint: self.limiter.fingerprint(key), cost }
    }

    fn answer(&self, question: &Question<'_>, head: &Parts) -> Decision {
        let Question { limiter, fingerprint, cost } = question;
        let decision = match &self.settings.outcome {
            None => limiter.check_fingerprint(*fingerprint, *cost).map(|permit| self.allowed(&permit, limiter)),
            Some(_) => limiter.reserve_fingerprint(*fingerprint, *cost).map(|reservation| self.reserved(reservation)),
        };
        decision.unwrap_or_else(|denied| self.denied(denied, head, limiter))
    }

    fn allowed(&self, permit: &Permit, limiter: &RateLimiter) -> Decision {
        self.watchers.allowed(permit.status());
        self.passed(permit.status(), limiter)
    }

    /// Lets a request pass that was charged so that some of it can be given back, if its response is to be asked.
    pub(super) fn reserved(&self, reservation: Reservation) -> Decision {
        match &self.settings.outcome {
            None => self.allowed(reservation.permit(), reservation.limiter()),
            Some(outcome) => {
                self.watchers.allowed(reservation.permit().status());
                let settlement = Settlement::new(reservation, outcome, &self.answers);
                Decision::Continue(After::Settle(Box::new(settlement)))
            }
        }
    }

    fn passed(&self, status: &Status, limiter: &RateLimiter) -> Decision {
        let headers = self.answers.when_passed(status, limiter);
        Decision::Continue(headers.map_or(After::Nothing, After::Headers))
    }

    pub(super) fn denied(&self, denied: Denied, head: &Parts, limiter: &RateLimiter) -> Decision {
        if self.settings.acts() { self.refuse(denied, head, limiter) } else { self.let_pass(&denied, head, limiter) }
    }

    /// Answers a request that shall not pass.
    pub(super) fn refuse(&self, denied: Denied, head: &Parts, limiter: &RateLimiter) -> Decision {
        self.watchers.denied(&denied, head, limiter);
        Decision::Break(self.answers.denial(denied, head, limiter))
    }

    /// Lets a request pass that should not.
    pub(super) fn let_pass(&self, denied: &Denied, head: &Parts, limiter: &RateLimiter) -> Decision {
        self.watchers.shadow_denied(denied, head, limiter);
        self.passed(denied.status(), limiter)
    }

    #[cold]
    fn no_key(&self, no_key: &NoKey, cost: u64, head: &Parts) -> ControlFlow<Decision, Question<'_>> {
        match self.answers.when_no_key {
            WhenNoKey::Share => return ControlFlow::Continue(self.question(&SharedKey, cost, head)),
            WhenNoKey::Allow => self.watchers.no_key(),
            WhenNoKey::Refuse => {
                self.watchers.log_no_key(no_key, &self.limiter);
                self.watchers.no_key();
                if self.settings.acts() {
                    return ControlFlow::Break(Decision::Break(self.answers.no_key(no_key, head)));
                }
            }
        }
        ControlFlow::Break(Decision::Continue(After::Nothing))
    }
}
