//! The layer's view of a [`RedisLimiter`]: a backend whose answers come later.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::asking::Asking;
use super::error::Unanswered;
use super::inquiry::{Extras, RedisGrant};
use super::limiter::RedisLimiter;
use super::reservation::RedisReservation;
use crate::backend::{Answer, Backend, Grant, Question, Receipt, seal};
use crate::decision::{Denied, Standing, Status};
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::plan::Plan;

/// What waits for the server's answer.
#[derive(Debug)]
pub struct RedisWaiting<H> {
    asking: Asking<Result<Grant<RedisReservation>, Denied>>,
    held: Option<H>,
}

impl seal::Sealed for RedisLimiter {}

impl Backend for RedisLimiter {
    type Receipt = RedisReservation;
    type Wait = Asking<Result<Grant<RedisReservation>, Denied>>;
    type Waiting<H> = RedisWaiting<H>;
    type Told<T: Send + 'static> = Asking<Result<T, Unanswered>>;

    fn limiter(&self) -> &RateLimiter {
        self.rules()
    }

    fn standing_on<K: Key + ?Sized>(&self, plan: Plan, key: &K) -> Self::Told<Standing> {
        self.on_own(plan).standing(key)
    }

    fn forget<K: Key + ?Sized>(&self, key: &K) -> Self::Told<()> {
        self.reset(key)
    }

    fn ask<K: Key + ?Sized>(
        &self,
        asked: &Question<'_, K>,
        _: impl FnOnce() -> bool,
    ) -> Answer<RedisReservation, Self::Wait> {
        let inquiry = self.inquiry(asked.plan, asked.key, asked.cost);
        let wanted = Extras { to_settle: asked.wanted.receipt, standing: asked.wanted.standing };
        match inquiry.known(wanted) {
            Some(Ok(granted)) => Answer::Granted(grant(inquiry, granted, wanted)),
            Some(Err(denied)) => Answer::Denied(denied),
            None => Answer::Later(Asking::new(async move {
                let granted = inquiry.ask(wanted).await?;
                Ok(grant(inquiry, granted, wanted))
            })),
        }
    }

    fn hold<H>(asking: Self::Wait, held: H) -> RedisWaiting<H> {
        RedisWaiting { asking, held: Some(held) }
    }
}

pub(super) fn grant(inquiry: super::inquiry::Inquiry, granted: RedisGrant, wanted: Extras) -> Grant<RedisReservation> {
    let RedisGrant { permit, standing, charge } = granted;
    let receipt = || Box::new(RedisReservation::new(inquiry, RedisGrant { permit, standing: None, charge }));
    Grant { permit, receipt: wanted.to_settle.then(receipt), standing: standing.filter(|_| wanted.standing) }
}

impl Receipt for RedisReservation {
    fn status(&self) -> &Status {
        self.permit().status()
    }

    fn settle(self, actual: u64) -> Status {
        self.settled(actual)
    }
}

impl<H> Future for RedisWaiting<H> {
    type Output = (Result<Grant<RedisReservation>, Denied>, H);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Nothing in it is pinned but what is boxed.
        let this = self.get_mut();
        let answer = ready!(Pin::new(&mut this.asking).poll(cx));
        let held = this.held.take().expect("a future is not polled after it is ready");
        Poll::Ready((answer, held))
    }
}

impl<H> Unpin for RedisWaiting<H> {}
