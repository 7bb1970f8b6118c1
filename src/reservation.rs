//! [`Reservation`]: a charge by estimate, to be settled when the actual cost is known.

use std::fmt;
use std::sync::Arc;

#[cfg(any(feature = "tower", feature = "redis"))]
use crate::decision::Standing;
#[cfg(feature = "tower")]
use crate::decision::Status;
use crate::decision::{Denied, Permit};
use crate::engine::{Charge, Engine};
use crate::fingerprint::Fingerprint;
use crate::plan::Plan;

/// A charge by estimate, from [`RateLimiter::reserve`](crate::RateLimiter::reserve).
///
/// [Settle](Self::settle) it with the actual cost, and the rest is given back. Settling takes the reservation, so it
/// cannot happen twice; dropping it unsettled leaves it charged, so that a request that was cancelled cannot go uncounted.
///
/// It never gives back more than was charged, nor more than the key still owes. What time has already given back is not given
/// back again: the part of the charge that a token bucket has refilled (it refills the oldest charge
/// first), or that was counted in a window which is over. A charge under a policy that has been
/// [replaced](crate::RateLimiter::replace_policy) since is not given back either.
///
/// A reservation does not know whether an *older* one was given back before it, or whether the key was
/// [reset](crate::RateLimiter::reset). In these cases it can give back a later charge.
#[must_use = "a reservation that is dropped stays charged; settle it with the actual cost"]
pub struct Reservation {
    engine: Arc<Engine>,
    plan: Plan,
    key: Fingerprint,
    cost: u64,
    permit: Permit,
    /// `None` on the unlimited plan, where nothing is charged.
    charge: Option<Charge>,
}

impl Reservation {
    pub(crate) fn new(engine: &Arc<Engine>, plan: Plan, key: Fingerprint, cost: u64) -> Result<Self, Denied> {
        let charge = match plan.index() {
            Some(plan) => Some(engine.charge(key, plan, cost)?),
            None => None,
        };
        let permit = charge.map_or(Permit::UNLIMITED, |charge| charge.permit);
        Ok(Self { engine: engine.clone(), plan, key, cost, permit, charge })
    }

    /// What was charged.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Where the key stood after the charge.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Says what the cost was in the end, and gives the rest back. 0 gives all of it back.
    ///
    /// # Errors
    ///
    /// When the actual cost is above what was reserved. The reservation stays charged, and nothing else changes; the error
    /// says by how much it was too small, which a caller may charge with [`check_n`](crate::RateLimiter::check_n).
    pub fn settle(self, actual: u64) -> Result<(), SettleError> {
        let Some(unused) = self.cost.checked_sub(actual) else {
            return Err(SettleError { reserved: self.cost, actual });
        };
        if let (Some(plan), Some(charge), 1..) = (self.plan.index(), &self.charge, unused) {
            self.engine.give_back(self.key, plan, charge, unused);
            self.engine.queues().nudge(self.key);
        }
        Ok(())
    }

    /// Settles, with no more than was reserved, and says where the key stands then.
    #[cfg(feature = "tower")]
    pub(crate) fn settled(self, actual: u64) -> Status {
        let (engine, plan, key, actual) = (self.engine.clone(), self.plan, self.key, actual.min(self.cost));
        self.settle(actual).expect("not above what was reserved");
        match plan.index() {
            Some(plan) => engine.peek(key, plan),
            None => Permit::UNLIMITED.status,
        }
    }

    /// Where the key stands now.
    #[cfg(any(feature = "tower", feature = "redis"))]
    pub(crate) fn standing(&self) -> Standing {
        match self.plan.index() {
            Some(plan) => self.engine.standing(self.key, plan),
            None => Standing::UNLIMITED,
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("cost", &self.cost).field("permit", &self.permit).finish_non_exhaustive()
    }
}

/// The error of a reservation that was smaller than the actual cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettleError {
    reserved: u64,
    actual: u64,
}

impl SettleError {
    #[cfg(feature = "redis")]
    pub(crate) fn new(reserved: u64, actual: u64) -> Self {
        Self { reserved, actual }
    }

    /// By how much the actual cost is above what was reserved.
    pub fn excess(&self) -> u64 {
        self.actual - self.reserved
    }
}

impl fmt::Display for SettleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { reserved, actual } = self;
        write!(f, "the actual cost of {actual} is above the {reserved} reserved; reserve the most that it can be")
    }
}

impl std::error::Error for SettleError {}
