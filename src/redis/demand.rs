//! [`RedisDemand`]: what is asked of one limit on a server for one key, so that several are judged as one.

use std::fmt;

use super::asking::Asking;
use super::inquiry::{Extras, Inquiry};
use super::limiter::RedisLimiter;
use super::reservation::RedisReservation;
use super::together::{Piece, judge, pass_over_remembered};
use crate::decision::Permit;
use crate::demand::DeniedDemand;
use crate::key::Key;
use crate::plan::Plan;

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
        self.demand_on(self.current_plan(), key)
    }

    /// The same, by one of the limiter's own plans.
    pub(super) fn demand_on<K: Key + ?Sized>(&self, plan: Plan, key: &K) -> RedisDemand {
        RedisDemand { inquiry: self.inquiry(plan, key, 1).without_leases() }
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
/// - Each is waited for until the deadline, one after the other, and so is each that is given back.
/// - If a server does not answer meanwhile, or a policy is replaced, it stays charged until time gives it back. It is
///   [counted](super::RedisStats::unsettled). If the future is dropped, it is given back all the same, by a task.
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
    let demands = pieces(demands);
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
    let demands = pieces(demands);
    Asking::new(async move { charge_all(demands, Extras { to_settle: true, ..Extras::default() }).await })
}

/// Those that are judged as one.
pub(super) fn pieces(demands: impl IntoIterator<Item = RedisDemand>) -> Vec<Piece> {
    demands.into_iter().map(|RedisDemand { inquiry }| Piece::new(inquiry)).collect()
}

/// Direct calls act on each denial.
async fn charge_all(mut pieces: Vec<Piece>, wanted: Extras) -> Result<Vec<RedisReservation>, DeniedDemand> {
    pass_over_remembered(&mut pieces, &mut |_| true)?;
    let judged = judge(pieces, wanted, |_| true).await?;
    let granted = judged.into_iter().filter_map(|(inquiry, said)| Some(RedisReservation::new(inquiry, said.ok()?)));
    Ok(granted.collect())
}

impl fmt::Debug for RedisDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDemand").field("cost", &self.inquiry.cost).finish_non_exhaustive()
    }
}
