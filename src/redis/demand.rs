//! [`RedisDemand`]: what is asked of one limit on a server for one key, so that several are judged as one.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::asking::Asking;
use super::call::Call;
use super::error::Unanswered;
use super::inquiry::{Extras, Inquiry, RedisGrant};
use super::limiter::RedisLimiter;
use super::outage::WhenUnreachable;
use super::remembered::Check;
use super::reservation::RedisReservation;
use super::script::Op;
use super::wire::Wire;
use crate::decision::Permit;
use crate::demand::{self, DeniedDemand};
use crate::key::Key;

/// What is asked of one limit on a server for one key, from [`RedisLimiter::demand`].
///
/// Several of them, of several limiters, are judged as one by [`check_all`].
#[must_use = "a demand asks nothing until it is checked"]
pub struct RedisDemand {
    inquiry: Inquiry,
}

impl RedisLimiter {
    /// Asks for one for this key, by this handle's plan, together with what is asked of other limiters: see
    /// [`check_all`](super::check_all).
    pub fn demand<K: Key + ?Sized>(&self, key: &K) -> RedisDemand {
        RedisDemand { inquiry: self.inquiry(self.current_plan(), key, 1).without_leases() }
    }
}

impl RedisDemand {
    /// Asks for so many instead of one. A cost of 0 always passes and charges nothing.
    pub fn cost(mut self, cost: u64) -> Self {
        self.inquiry.cost = cost;
        self
    }
}

/// Checks several limits over several keys on a server as one: all of them are charged, or none is. As
/// [`check_all`](crate::check_all) in process.
///
/// They may be of one limiter or of several. What several ask of one key adds up. The permit says where the key stands that has
/// least left. Without demands, it passes. It is meant for a handful: the server answers nobody else while its script looks at all.
///
/// ```no_run
/// use tollgate::Quota;
/// use tollgate::redis::{RedisLimiter, RedisStore, check_all};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// let per_address = RedisLimiter::new(&store, "address", Quota::per_second(28))?;
/// let per_account = RedisLimiter::new(&store, "account", Quota::per_minute(5))?;
///
/// let demands = [per_address.demand("192.0.2.7"), per_account.demand("alice")];
/// check_all(demands).await?;
/// # Ok(())
/// # }
/// ```
///
/// # Where it is one
///
/// On a single server, whatever the keys, and in a cluster where all keys have one hash tag: one script decides about all in one
/// round trip, and no other call comes between. A key's hash tag is the key itself. So limiters of different names have the same one for
/// equal keys, as where a client has a limit for logins and one for all requests.
///
/// # Where it is not
///
/// In a cluster that has the keys in different places, and over several stores, no script can decide about all. Then they are
/// asked in turn, in their order, and where one denies, what was charged before is given back. So:
///
/// - No limit ever admits too much, and what is denied is charged nowhere in the end.
/// - Until it is given back, a charge can deny somebody else who would have passed. It takes a round trip more.
/// - If a server does not answer meanwhile, or the future is dropped, it stays charged until time gives it back. It is
///   [counted](super::RedisStats::unsettled). So it does, uncounted, if its limiter's policy is replaced meanwhile.
/// - The wait is that of the first that denies. Another one may then deny for longer.
///
/// # When the server does not answer
///
/// Each is answered as its limiter is [set](super::RedisLimiterBuilder::when_unreachable), and what is counted here is charged for all or
/// for none. A denial that is [remembered](super::RedisLimiterBuilder::remember_denied) denies all without a
/// round trip. Nothing is [leased](super::RedisLimiterBuilder::leases) here, and no lease is spent.
///
/// # Errors
///
/// [`DeniedDemand`] when a limit is reached. It has the longest wait of all that deny: after it, the same demands pass, if nobody
/// else charges the keys in the meantime. (Of one that is remembered, the longest wait that is known.) Nothing was charged.
///
/// # Panics
///
/// As [`RedisLimiter::check`].
pub fn check_all(demands: impl IntoIterator<Item = RedisDemand>) -> Asking<Result<Permit, DeniedDemand>> {
    let demands = inquiries(demands);
    Asking::new(async move {
        let charged = charge_all(demands, Extras::default()).await?;
        let permits = charged.iter().map(|reservation| *reservation.permit());
        Ok(permits.min_by_key(|permit| permit.status().remaining()).unwrap_or(Permit::UNLIMITED))
    })
}

/// The same, with a [`RedisReservation`] for each demand, in their order, to be settled when the actual costs are known.
///
/// # Errors
///
/// As [`check_all`].
///
/// # Panics
///
/// As [`check_all`].
pub fn reserve_all(
    demands: impl IntoIterator<Item = RedisDemand>,
) -> Asking<Result<Vec<RedisReservation>, DeniedDemand>> {
    let demands = inquiries(demands);
    Asking::new(async move { charge_all(demands, Extras { to_settle: true, ..Extras::default() }).await })
}

fn inquiries(demands: impl IntoIterator<Item = RedisDemand>) -> Vec<Inquiry> {
    demands.into_iter().map(|demand| demand.inquiry).collect()
}

/// Charges all or none.
async fn charge_all(inquiries: Vec<Inquiry>, wanted: Extras) -> Result<Vec<RedisReservation>, DeniedDemand> {
    match ask_together(&inquiries, wanted).await {
        Some(granted) => {
            let both = inquiries.into_iter().zip(granted?);
            Ok(both.map(|(inquiry, granted)| RedisReservation::new(inquiry, granted)).collect())
        }
        None => in_turn(inquiries).await,
    }
}

/// What is asked of one key by one policy, all demands together.
struct Sum<'a> {
    /// The first of them.
    inquiry: &'a Inquiry,
    wire: &'a Wire,
    cost: u64,
    /// The last of them: without it, it is less.
    index: usize,
}

impl Sum<'_> {
    fn check(&self) -> Check {
        Check { cost: self.cost, ..self.inquiry.check(self.wire) }
    }
}

/// What is asked in all, and to which sum each demand belongs: none, if it is not limited.
fn sums(inquiries: &[Inquiry]) -> (Vec<Sum<'_>>, Vec<Option<usize>>) {
    let mut sums: Vec<Sum<'_>> = Vec::with_capacity(inquiries.len());
    let sum_of = inquiries.iter().enumerate().map(|(index, inquiry)| {
        let wire = inquiry.wire.as_deref()?;
        let same = |sum: &Sum<'_>| std::ptr::eq(sum.wire, wire) && sum.inquiry.subject == inquiry.subject;
        if let Some(at) = sums.iter().position(same) {
            (sums[at].cost, sums[at].index) = (sums[at].cost.saturating_add(inquiry.cost), index);
            return Some(at);
        }
        sums.push(Sum { inquiry, wire, cost: inquiry.cost, index });
        Some(sums.len() - 1)
    });
    let sum_of = sum_of.collect();
    (sums, sum_of)
}

/// What is asked of one key by all policies.
fn asked_of(subject: &str, sums: &[Sum<'_>]) -> u64 {
    let of_it = sums.iter().filter(|sum| sum.inquiry.subject == subject);
    of_it.fold(0, |total, sum| total.saturating_add(sum.cost))
}

/// Asks the server about all at once. `None` if no server can say, since they are in different places.
async fn ask_together(inquiries: &[Inquiry], wanted: Extras) -> Option<Result<Vec<RedisGrant>, DeniedDemand>> {
    let (sums, sum_of) = sums(inquiries);
    let Some(first) = sums.first() else {
        return Some(Ok(inquiries.iter().map(|_| RedisGrant::unlimited()).collect()));
    };
    // What is asked of a key by several policies is not summed up: the next finds spent what the one before asks.
    let asked_before = |at: usize| asked_of(&sums[at].inquiry.subject, &sums[..at]);
    let can_pass = |(at, sum): (usize, &Sum<'_>)| sum.wire.can_pass(sum.cost.saturating_add(asked_before(at)));
    if sums.iter().enumerate().all(can_pass) {
        let known = sums.iter().filter_map(|sum| {
            let denied = sum.inquiry.remembered(&sum.check())?;
            Some(DeniedDemand::new(sum.index, denied))
        });
        if let Some(denied) = DeniedDemand::longest(known) {
            return Some(Err(denied));
        }
    }
    let (store, clock) = (&first.inquiry.shared.store, first.inquiry.shared.rules.clock());
    let are_of_one_store = sums.iter().all(|sum| sum.inquiry.shared.store.is(store));
    if !are_of_one_store || !store.are_together(sums.iter().map(|sum| sum.inquiry.subject.as_str())) {
        return None;
    }
    let op = if wanted.to_settle { Op::Reserve } else { Op::Check };
    let calls: Vec<Call<'_>> = sums.iter().map(|sum| sum.inquiry.call(sum.wire, op, sum.cost, &[])).collect();
    let asked = clock.now();
    let replies = match store.call_all(&calls).await {
        Ok(replies) => replies,
        Err(unanswered) if unanswered.is_apart() => return None,
        Err(unanswered) => return Some(decide_all_here(inquiries, &sums, &unanswered)),
    };
    sums.iter().for_each(|sum| _ = sum.inquiry.shared.counts.round_trips.fetch_add(1, Relaxed));
    let denied = sums.iter().zip(&replies).enumerate().filter(|(_, (_, reply))| !reply.passed);
    let denied = denied.map(|(at, (sum, reply))| {
        let before = asked_before(at);
        let is_alone = sums.iter().filter(|other| other.inquiry.subject == sum.inquiry.subject).count() == 1;
        let denied = sum.wire.denied_for_ever(reply, sum.cost.saturating_add(before));
        let denied = denied.unwrap_or_else(|| sum.wire.denied(reply));
        if is_alone {
            sum.inquiry.shared.remembered.keep(sum.check(), denied, asked, clock.now());
        }
        DeniedDemand::new(sum.index, denied)
    });
    if let Some(denied) = DeniedDemand::longest(denied) {
        return Some(Err(denied));
    }
    let granted = inquiries.iter().zip(sum_of).map(|(inquiry, sum)| match sum {
        Some(at) => inquiry.granted(sums[at].wire, replies[at].clone(), wanted),
        None => RedisGrant::unlimited(),
    });
    Some(Ok(granted.collect()))
}

/// The answers when the server gives none. What is counted here is judged as one, too.
fn decide_all_here(inquiries: &[Inquiry], sums: &[Sum<'_>], why: &Unanswered) -> Result<Vec<RedisGrant>, DeniedDemand> {
    let mut local = Vec::new();
    for (index, inquiry) in inquiries.iter().enumerate().filter(|(_, inquiry)| !inquiry.is_unlimited()) {
        inquiry.unanswered(why);
        match inquiry.shared.when_unreachable {
            WhenUnreachable::Local { .. } => local.push((index, inquiry)),
            WhenUnreachable::Closed if inquiry.cost > 0 => {
                return Err(DeniedDemand::new(index, inquiry.denied_blindly()));
            }
            WhenUnreachable::Open | WhenUnreachable::Closed => {}
        }
    }
    let demands = local.iter().map(|&(_, Inquiry { shared, plan, subject, cost, .. })| {
        shared.local.demand_on(shared.local.terms(*plan, subject.as_str(), *cost))
    });
    let demands: Vec<_> = demands.collect();
    let reservations = demand::reserve_all(&demands).map_err(|denied| {
        let (index, inquiry) = local[denied.index()];
        let wire = inquiry.wire.as_deref().expect("it is limited");
        DeniedDemand::new(index, wire.denied_by_a_share(*denied.denied(), asked_of(&inquiry.subject, sums)))
    })?;
    let mut here = local.iter().map(|&(index, _)| index).zip(reservations).peekable();
    let granted = inquiries.iter().enumerate().map(|(index, inquiry)| {
        match (here.next_if(|here| here.0 == index), &inquiry.wire) {
            (Some((_, reservation)), _) => RedisGrant::here(reservation),
            (None, Some(wire)) => RedisGrant::open(wire),
            (None, None) => RedisGrant::unlimited(),
        }
    });
    Ok(granted.collect())
}

/// Asks one after the other, and gives back what was charged before one denied. The last first: a reservation does not know what has
/// become of an older one.
async fn in_turn(inquiries: Vec<Inquiry>) -> Result<Vec<RedisReservation>, DeniedDemand> {
    let mut charged = Vec::with_capacity(inquiries.len());
    for (index, inquiry) in inquiries.into_iter().enumerate() {
        match inquiry.answer(Extras { to_settle: true, ..Extras::default() }).await {
            Ok(granted) => charged.push(RedisReservation::new(inquiry, granted)),
            Err(denied) => {
                for reservation in charged.into_iter().rev() {
                    reservation.settle(0).await.expect("0 is not above what was reserved");
                }
                return Err(DeniedDemand::new(index, denied));
            }
        }
    }
    Ok(charged)
}

impl fmt::Debug for RedisDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDemand").field("cost", &self.inquiry.cost).finish_non_exhaustive()
    }
}
