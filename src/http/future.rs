//! [`ResponseFuture`]: the inner service's response, or an answer of the limiter's own.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::body::AnswerBody;
use super::decide::{Decision, Pending};
use super::outcome::After;
use crate::backend::Backend;
use crate::limiter::RateLimiter;

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit). Programs name it as the future of that service.
    pub struct ResponseFuture<S, B, L = RateLimiter>
    where
        S: Service<Request<B>>,
        L: Backend,
    {
        #[pin]
        stage: Stage<S::Future, S::Response, L::Waiting<HeldRequest<S, B, L>>, L::Receipt>,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F, A, W, R> {
        Passed { #[pin] future: F, after: After<R> },
        Answered { response: Option<A> },
        Waits { #[pin] waiting: W },
    }
}

/// What waits with a request.
pub(super) struct HeldRequest<S, B, L> {
    /// The service that was ready for it.
    pub(super) ready: S,
    pub(super) head: Parts,
    pub(super) body: B,
    pub(super) pending: Pending<L>,
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
    pub(super) fn waits(wait: L::Wait, held: HeldRequest<S, B, L>) -> Self {
        Self { stage: Stage::Waits { waiting: L::hold(wait, held) } }
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
                    return Poll::Ready(Ok(std::mem::replace(after, After::Nothing).finish(response)));
                }
                StageProjection::Answered { response } => {
                    let response = response.take().expect("a future is not polled after it is ready");
                    return Poll::Ready(Ok(response));
                }
                StageProjection::Waits { waiting } => {
                    let (answer, held) = ready!(waiting.poll(cx));
                    let HeldRequest { mut ready, mut head, body, pending } = held;
                    let next = match pending.conclude(answer, &mut head) {
                        Decision::Pass(after) => Self::passed(ready.call(Request::from_parts(head, body)), after),
                        Decision::Answer(response) => Self::answered(response),
                        Decision::Wait(wait, pending) => Self::waits(wait, HeldRequest { ready, head, body, pending }),
                    };
                    self.set(next);
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
            Stage::Waits { .. } => "waits",
        };
        f.debug_tuple("ResponseFuture").field(&stage).finish()
    }
}
