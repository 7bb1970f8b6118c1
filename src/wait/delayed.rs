//! [`Delayed`]: a limiter that lets requests over the limit wait, within bounds, before it denies them.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::line::{Arrival, Ask, InLine};
use crate::backend::{Answer, Backend, Delay, Grant, Later, Question, Wanted, seal};
use crate::decision::{Denied, Standing};
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::plan::Plan;
use crate::reservation::Reservation;

/// A [`RateLimiter`] that delays before it denies: what a [`RateLimitLayer`](crate::RateLimitLayer) has after
/// `.delay(..)`.
#[derive(Clone, Debug)]
pub struct Delayed {
    limiter: RateLimiter,
    /// How long a request may be delayed.
    bound: Duration,
}

impl Delay for RateLimiter {
    type Delayed = Delayed;

    fn delayed(&self, up_to: Duration) -> Delayed {
        Delayed { limiter: self.clone(), bound: up_to }
    }

    fn later(never: Infallible) -> Queued {
        match never {}
    }
}

impl Delayed {
    /// The limiter that is charged.
    pub fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }
}

#[cfg(feature = "tower")]
impl crate::backend::Resize for Delayed {
    fn over(&self, limiter: RateLimiter) -> Self {
        Self { limiter, bound: self.bound }
    }
}

impl seal::Sealed for Delayed {}

/// A place in the queue, and what was wanted beside the permit.
#[derive(Debug)]
pub struct Queued {
    line: InLine,
    wanted: Wanted,
    /// The key's text, if the limiter wants to know who waits in vain.
    text: Option<String>,
}

pin_project! {
    /// What waits for its turn.
    #[derive(Debug)]
    pub struct Waiting<H> {
        #[pin]
        line: InLine,
        wanted: Wanted,
        text: Option<String>,
        held: Option<H>,
    }
}

impl Backend for Delayed {
    type Receipt = Reservation;
    type Wait = Queued;
    type WaitForAll<P: Send + 'static> = Infallible;
    type Told<T: Send + 'static> = T;

    fn limiter(&self) -> &RateLimiter {
        &self.limiter
    }

    fn standing_on<K: Key + ?Sized>(&self, plan: Plan, key: &K) -> Standing {
        self.limiter.standing_on(plan, key)
    }

    fn forget<K: Key + ?Sized>(&self, key: &K) {
        self.limiter.forget(key);
    }

    fn ask<K: Key + ?Sized>(
        &self,
        question: &Question<'_, K>,
        may_wait: impl FnOnce() -> bool,
    ) -> Answer<Reservation, Queued> {
        let Question { key, plan, cost, wanted } = *question;
        let limiter = self.limiter.on_own(plan);
        let text = || self.limiter.offender_text(key);
        let (fingerprint, bounds) = (limiter.fingerprint(key), limiter.queues().bounds());
        match (Ask { limiter, fingerprint, cost }).arrive(Some(self.bound), bounds) {
            Ok(Arrival::Passed(reservation)) => Answer::Granted(Grant::new(reservation, wanted)),
            Ok(Arrival::Waits(line, _)) if may_wait() => Answer::Later(Queued { line, wanted, text: text() }),
            // It gives its place back.
            Ok(Arrival::Waits(_, denied)) => Answer::NotDelayed(denied),
            Err(not_ready) => Answer::Denied(*not_ready.denied()),
        }
    }
}

impl Later<Result<Grant<Reservation>, Denied>> for Queued {
    type Waiting<H> = Waiting<H>;

    fn hold<H>(self, held: H) -> Waiting<H> {
        let Self { line, wanted, text } = self;
        Waiting { line, wanted, text, held: Some(held) }
    }
}

impl<H> Future for Waiting<H> {
    type Output = (Result<Grant<Reservation>, Denied>, H);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let answer = ready!(this.line.as_mut().poll(cx));
        if let (Err(_), Some(text)) = (&answer, this.text.take()) {
            this.line.tell_denied(text);
        }
        let held = this.held.take().expect("a future is not polled after it is ready");
        let answer = answer.map(|reservation| Grant::new(reservation, *this.wanted));
        Poll::Ready((answer.map_err(|not_ready| *not_ready.denied()), held))
    }
}
