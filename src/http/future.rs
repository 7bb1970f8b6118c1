//! [`ResponseFuture`]: the inner future, or an answer that is there already.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use pin_project_lite::pin_project;

use super::body::ResponseBody;
use super::outcome::After;
use crate::decision::Denied;

pin_project! {
    /// The response of a [`RateLimit`](super::RateLimit).
    #[derive(Debug)]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = StateProjection]
    enum State<F> {
        Passed { #[pin] future: F, after: After },
        Answered { response: Option<Response<Bytes>> },
    }
}

impl<F> ResponseFuture<F> {
    /// The inner service's response, and what is to be done with it.
    pub(super) fn passed(future: F, after: After) -> Self {
        Self { state: State::Passed { future, after } }
    }

    /// An answer of the limiter's own.
    pub(super) fn answered(response: Response<Bytes>) -> Self {
        Self { state: State::Answered { response: Some(response) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Passed { future, after } => {
                let response = ready!(future.poll(cx))?;
                let (mut response, headers) = match std::mem::replace(after, After::Nothing) {
                    After::Nothing => return Poll::Ready(Ok(response.map(ResponseBody::inner))),
                    After::Headers(headers) => (response.map(ResponseBody::inner), Some(headers)),
                    After::Settle(settlement) => settlement.settle(response),
                };
                // A denial from further inside keeps its own headers: they say where the client stands with the limit
                // that it has reached.
                if let Some(headers) = headers.filter(|_| response.extensions().get::<Denied>().is_none()) {
                    response.headers_mut().extend(*headers);
                }
                Poll::Ready(Ok(response))
            }
            StateProjection::Answered { response } => {
                let response = response.take().expect("a future is not polled after it is ready");
                Poll::Ready(Ok(response.map(ResponseBody::answer)))
            }
        }
    }
}
