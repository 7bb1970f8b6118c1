//! The layer's view of a [`RedisLimiter`]: a backend whose answers come later.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::asking::Asking;
use super::demand::{RedisDemand, pieces};
use super::error::Unanswered;
use super::inquiry::{Extras, RedisGrant};
use super::limiter::RedisLimiter;
use super::reservation::RedisReservation;
use super::together::{foresee, judge, pass_over_remembered};
use crate::backend::{AllSaid, Answer, Backend, Grant, Joint, Later, Party, Question, Receipt, Wanted, seal};
use crate::decision::{Denied, Standing, Status};
use crate::demand::DeniedDemand;
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::plan::Plan;

/// What waits for the server's answer.
#[derive(Debug)]
pub struct RedisWaiting<A, H> {
    asking: Asking<A>,
    held: Option<H>,
}

impl seal::Sealed for RedisLimiter {}

impl Backend for RedisLimiter {
    type Receipt = RedisReservation;
    type Wait = Asking<Result<Grant<RedisReservation>, Denied>>;
    type WaitForAll<P: Send + 'static> = Asking<AllSaid<P, RedisReservation>>;
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
        let wanted = extras(asked.wanted);
        match inquiry.known(wanted) {
            Some(Ok(granted)) => Answer::Granted(grant(inquiry, granted, wanted)),
            Some(Err(denied)) => Answer::Denied(denied),
            None => Answer::Later(Asking::new(async move {
                let granted = inquiry.ask(wanted).await?;
                Ok(grant(inquiry, granted, wanted))
            })),
        }
    }
}

impl Joint for RedisLimiter {
    type Terms = RedisDemand;

    fn terms<K: Key + ?Sized>(&self, plan: Plan, key: &K, cost: u64) -> RedisDemand {
        self.demand_on(plan, key).cost(cost)
    }

    fn ask_all<P: Party<Self>>(
        asked: Vec<(RedisDemand, P)>,
    ) -> Result<AllSaid<P, RedisReservation>, Asking<AllSaid<P, RedisReservation>>> {
        let (demands, mut parties): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
        let mut pieces = pieces(demands);
        if let Err(denied) = pass_over_remembered(&mut pieces, &mut |at| parties[at].acts()) {
            return Ok(Err(denier(&mut parties, denied)));
        }
        let wanted = parties.iter().map(|party| extras(party.wanted()));
        let wanted = wanted.fold(Extras::default(), |all, one| Extras {
            to_settle: all.to_settle || one.to_settle,
            standing: all.standing || one.standing,
        });
        Err(Asking::new(async move {
            let said = match judge(pieces, wanted, |at| parties[at].acts()).await {
                Ok(said) => said,
                Err(denied) => return Err(denier(&mut parties, denied)),
            };
            let each = parties.into_iter().zip(said).map(|(party, (inquiry, said))| {
                let wanted = extras(party.wanted());
                (party, said.map(|granted| grant(inquiry, granted, wanted)))
            });
            Ok(each.collect())
        }))
    }

    fn foresee<P: Party<Self>>(asked: Vec<(RedisDemand, P)>) -> Option<(P, Denied)> {
        let acting = asked.into_iter().filter(|(_, party)| !party.only_watches());
        let (demands, mut parties): (Vec<_>, Vec<_>) = acting.unzip();
        let denied = foresee(&pieces(demands))?;
        Some(denier(&mut parties, denied))
    }
}

/// The one that denies.
fn denier<P>(parties: &mut Vec<P>, denied: DeniedDemand) -> (P, Denied) {
    (parties.swap_remove(denied.index()), denied.into())
}

impl<A> Later<A> for Asking<A> {
    type Waiting<H> = RedisWaiting<A, H>;

    fn hold<H>(self, held: H) -> RedisWaiting<A, H> {
        RedisWaiting { asking: self, held: Some(held) }
    }
}

/// What is wanted beside the permit.
pub(super) fn extras(Wanted { receipt, standing }: Wanted) -> Extras {
    Extras { to_settle: receipt, standing }
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

impl<A, H> Future for RedisWaiting<A, H> {
    type Output = (A, H);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Nothing in it is pinned but what is boxed.
        let this = self.get_mut();
        let answer = ready!(Pin::new(&mut this.asking).poll(cx));
        let held = this.held.take().expect("a future is not polled after it is ready");
        Poll::Ready((answer, held))
    }
}

impl<A, H> Unpin for RedisWaiting<A, H> {}
