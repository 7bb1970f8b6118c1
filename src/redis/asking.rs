//! [`Asking`]: an answer that is on its way.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// An answer that is on its way: await it. Made by the methods of a [`RedisLimiter`](super::RedisLimiter).
///
/// Nothing is sent before it is first polled. It owns all that it needs, so it can be moved to another task. If it is dropped
/// before its answer has come, what was asked may have been charged.
#[must_use = "a future does nothing unless it is polled"]
pub struct Asking<T> {
    state: Answering<T>,
}

enum Answering<T> {
    Known(Option<T>),
    Asked(Pin<Box<dyn Future<Output = T> + Send>>),
}

impl<T> Asking<T> {
    /// An answer that is known already.
    pub(super) fn known(answer: T) -> Self {
        Self { state: Answering::Known(Some(answer)) }
    }

    pub(super) fn new(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self { state: Answering::Asked(Box::pin(answer)) }
    }
}

impl<T> Future for Asking<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.get_mut().state {
            Answering::Known(answer) => Poll::Ready(answer.take().expect("a future is not polled after it is ready")),
            Answering::Asked(asked) => asked.as_mut().poll(cx),
        }
    }
}

/// Nothing in it is pinned but what is boxed.
impl<T> Unpin for Asking<T> {}

impl<T> fmt::Debug for Asking<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asking").field("is_known", &matches!(self.state, Answering::Known(_))).finish_non_exhaustive()
    }
}
