//! [`ResponseFuture`]: the inner service's response, or an answer of the limiter's own.

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::AnswerBody;
use super::decide::{Decision, Pending};
use super::member::Member;
use super::outcome::After;
use crate::backend::{AllSaid, Backend, Grant, Later};
use crate::decision::Denied;
use crate::limiter::RateLimiter;

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit). Programs name it as the future of that service.
    pub struct ResponseFuture<S, B, L = RateLimiter>
    where
        S: Service<Request<B>>,
        L: Backend,
    {
        #[pin]
        stage: Stage<S::Future, S::Response, WaitingForOne<S, B, L>, WaitingForAll<S, B, L>, L::Receipt>,
    }
}

/// What waits for the answer to one question.
type WaitingForOne<S, B, L> = <<L as Backend>::Wait as Later<Result<Grant<<L as Backend>::Receipt>, Denied>>>::Waiting<
    (HeldRequest<S, B>, Pending<L>),
>;

/// What waits for the answer to several.
type WaitingForAll<S, B, L> = <<L as Backend>::WaitForAll<Member<L>> as Later<
    AllSaid<Member<L>, <L as Backend>::Receipt>,
>>::Waiting<HeldRequest<S, B>>;

pin_project! {
    #[project = StageProjection]
    enum Stage<F, A, W, V, R> {
        Passed { #[pin] future: F, after: After<R> },
        Answered { response: Option<A> },
        Waits { #[pin] waiting: W },
        WaitsForAll { #[pin] waiting: V },
    }
}

/// A request that waits, and the service that was ready for it.
pub(super) struct HeldRequest<S, B> {
    ready: S,
    head: Parts,
    body: B,
}

impl<S: Clone, B> HeldRequest<S, B> {
    /// A clone takes the place of the service that was ready.
    pub(super) fn new(ready: &mut S, head: Parts, body: B) -> Self {
        let clone = ready.clone();
        Self { ready: mem::replace(ready, clone), head, body }
    }
}

impl<S, B, B2, L> ResponseFuture<S, B, L>
where
    S: Service<Request<B>, Response = Response<B2>>,
    B2: AnswerBody,
    L: Backend,
{
    /// The inner service's response, and what is to be done with it.
    pub(super) fn passed(future: S::Future, after: After<L::Receipt>) -> Self {
        Self { stage: Stage::Passed { future, after } }
    }

    /// An answer of the limiter's own.
    #[inline]
    pub(super) fn answered(response: Response<Bytes>) -> Self {
        Self { stage: Stage::Answered { response: Some(response.map(B2::answer)) } }
    }

    /// One or the other, later.
    pub(super) fn waits(wait: L::Wait, pending: Pending<L>, held: HeldRequest<S, B>) -> Self {
        Self { stage: Stage::Waits { waiting: wait.hold((held, pending)) } }
    }

    /// The same, by the answer to several.
    pub(super) fn waits_for_all(wait: L::WaitForAll<Member<L>>, held: HeldRequest<S, B>) -> Self {
        Self { stage: Stage::WaitsForAll { waiting: wait.hold(held) } }
    }

    /// What was decided about a request that has waited.
    fn after_wait(decision: Decision<L>, held: HeldRequest<S, B>) -> Self {
        let HeldRequest { mut ready, head, body } = held;
        match decision {
            Decision::Pass(after) => Self::passed(ready.call(Request::from_parts(head, body)), after),
            Decision::Answer(response) => Self::answered(response),
            Decision::Wait(wait, pending) => Self::waits(wait, pending, HeldRequest { ready, head, body }),
        }
    }
}

impl<S, B, B2, L> Future for ResponseFuture<S, B, L>
where
    S: Service<Request<B>, Response = Response<B2>>,
    B2: AnswerBody,
    L: Backend,
{
    type Output = Result<Response<B2>, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Most are so; all else is out of their way.
        if let StageProjection::Passed { future, after: After::Nothing } = self.as_mut().project().stage.project() {
            return future.poll(cx);
        }
        self.poll_any(cx)
    }
}

impl<S, B, B2, L> ResponseFuture<S, B, L>
where
    S: Service<Request<B>, Response = Response<B2>>,
    B2: AnswerBody,
    L: Backend,
{
    #[inline(never)]
    fn poll_any(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Response<B2>, S::Error>> {
        loop {
            match self.as_mut().project().stage.project() {
                StageProjection::Passed { future, after } => {
                    let response = ready!(future.poll(cx))?;
                    return Poll::Ready(Ok(mem::replace(after, After::Nothing).finish(response)));
                }
                StageProjection::Answered { response } => {
                    let response = response.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(Ok(response));
                }
                StageProjection::Waits { waiting } => {
                    let (answer, (mut held, pending)) = ready!(waiting.poll(cx));
                    let decision = pending.conclude(answer, &mut held.head);
                    self.set(Self::after_wait(decision, held));
                }
                StageProjection::WaitsForAll { waiting } => {
                    let (judged, mut held) = ready!(waiting.poll(cx));
                    let decision = Decision::of_all(judged, &mut held.head);
                    self.set(Self::after_wait(decision, held));
                }
            }
        }
    }
}

impl<S, B, L> fmt::Debug for ResponseFuture<S, B, L>
where
    S: Service<Request<B>>,
    L: Backend,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match &self.stage {
            Stage::Passed { .. } => "passed",
            Stage::Answered { .. } => "answered",
            Stage::Waits { .. } | Stage::WaitsForAll { .. } => "waits",
        };
        f.debug_tuple("ResponseFuture").field(&stage).finish()
    }
}
