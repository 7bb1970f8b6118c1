//! [`RedisDelayed`]: a limiter on a server that lets requests over the limit wait before it denies them.

use std::convert::Infallible;
use std::time::Duration;

use super::asking::Asking;
use super::backend::{extras, grant};
use super::limiter::RedisLimiter;
use super::reservation::RedisReservation;
use super::turn::wait_for_turn_unless_free;
use crate::backend::{Answer, Backend, Delay, Question, seal};
use crate::decision::Standing;
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::plan::Plan;

/// A [`RedisLimiter`] that delays before it denies: what a [`RateLimitLayer`](crate::RateLimitLayer) has after `.delay(..)`.
///
/// Those who wait for a key in this program pass in the order in which they were told to wait, and only the first of them asks
/// the server. Between programs there is no order.
#[derive(Clone, Debug)]
pub struct RedisDelayed {
    limiter: RedisLimiter,
    /// How long a request may be delayed.
    bound: Duration,
}

impl RedisDelayed {
    /// The limiter that is charged.
    pub fn limiter(&self) -> &RedisLimiter {
        &self.limiter
    }
}

impl Delay for RedisLimiter {
    type Delayed = RedisDelayed;

    fn delayed(&self, up_to: Duration) -> RedisDelayed {
        RedisDelayed { limiter: self.clone(), bound: up_to }
    }

    fn later(asking: Self::Wait) -> Self::Wait {
        asking
    }
}

impl seal::Sealed for RedisDelayed {}

impl Backend for RedisDelayed {
    type Receipt = RedisReservation;
    type Wait = <RedisLimiter as Backend>::Wait;
    type WaitForAll<P: Send + 'static> = Infallible;
    type Told<T: Send + 'static> = <RedisLimiter as Backend>::Told<T>;

    fn limiter(&self) -> &RateLimiter {
        self.limiter.rules()
    }

    fn standing_on<K: Key + ?Sized>(&self, plan: Plan, key: &K) -> Self::Told<Standing> {
        self.limiter.standing_on(plan, key)
    }

    fn forget<K: Key + ?Sized>(&self, key: &K) -> Self::Told<()> {
        self.limiter.forget(key)
    }

    fn ask<K: Key + ?Sized>(
        &self,
        asked: &Question<'_, K>,
        may_wait: impl FnOnce() -> bool,
    ) -> Answer<RedisReservation, Self::Wait> {
        // Whether it would have to wait is not known before the server says so.
        if !may_wait() {
            return self.limiter.ask(asked, || false);
        }
        let inquiry = self.limiter.inquiry(asked.plan, asked.key, asked.cost);
        let wanted = extras(asked.wanted);
        let bound = self.bound;
        Answer::Later(Asking::new(async move {
            match wait_for_turn_unless_free(&inquiry, bound, wanted).await {
                Ok(granted) => Ok(grant(inquiry, granted, wanted)),
                Err(not_ready) => Err(*not_ready.denied()),
            }
        }))
    }
}
