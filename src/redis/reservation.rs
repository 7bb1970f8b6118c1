//! [`RedisReservation`]: a charge by estimate, to be settled when the actual cost is known.

use std::fmt;

use super::asking::Asking;
use super::inquiry::{Inquiry, RedisGrant, WhereCharged};
use crate::decision::Permit;
#[cfg(feature = "tower")]
use crate::decision::Status;
use crate::reservation::SettleError;

/// A charge by estimate, from [`RedisLimiter::reserve`](super::RedisLimiter::reserve).
///
/// [Settle](Self::settle) it with the actual cost, and the rest is given back. Settling takes the reservation, so it cannot
/// happen twice; dropping it unsettled leaves it charged, so that a request that was cancelled cannot go uncounted.
///
/// It never gives back more than was charged, nor more than the key still owes, nor what time has already given back. (Of a key that was
/// reset, or that the server has forgotten, what was charged since may be given back instead.)
///
/// # When a program crashes
///
/// What it had reserved does not stay for ever. The charge is one like any other: its expiry is written with it on the server, and
/// it is over when the bucket has refilled or the window has passed. It has no earlier deadline of its own, because the server
/// could not tell a program that crashed from one that is slow, and would grant again what that is about to use.
#[must_use = "a reservation that is dropped stays charged; settle it with the actual cost"]
pub struct RedisReservation {
    inquiry: Inquiry,
    permit: Permit,
    charge: WhereCharged,
}

impl RedisReservation {
    pub(super) fn new(inquiry: Inquiry, granted: RedisGrant) -> Self {
        Self { inquiry, permit: granted.permit, charge: granted.charge }
    }

    /// What was charged.
    pub fn cost(&self) -> u64 {
        self.inquiry.cost
    }

    /// Where the key stood after the charge.
    pub fn permit(&self) -> &Permit {
        &self.permit
    }

    /// Says what the cost was in the end, and gives the rest back. 0 gives all of it back.
    ///
    /// If the server does not answer, or the key has come under [another policy](super::RedisLimiter#two-limiters-with-one-name)
    /// meanwhile, it stays charged, which the limiter's [stats](super::RedisStats::unsettled) count. It is not tried again, since it
    /// may have been done.
    ///
    /// # Errors
    ///
    /// When the actual cost is above what was reserved. The reservation stays charged, and nothing else changes.
    ///
    /// # Panics
    ///
    /// The answer panics when it is awaited outside a tokio runtime that has its timers enabled.
    pub fn settle(self, actual: u64) -> Asking<Result<(), SettleError>> {
        let Self { inquiry, charge, .. } = self;
        let unused = match inquiry.cost.checked_sub(actual) {
            Some(unused) => unused,
            None => return Asking::known(Err(SettleError::new(inquiry.cost, actual))),
        };
        match charge {
            WhereCharged::Here(reservation) => Asking::known(reservation.settle(actual)),
            WhereCharged::Leased(lot) => {
                inquiry.give_back(lot, unused);
                Asking::known(Ok(()))
            }
            WhereCharged::There(charge) if unused > 0 => {
                let settled = inquiry.settle(charge, unused);
                Asking::new(async move {
                    settled.await;
                    Ok(())
                })
            }
            _ => Asking::known(Ok(())),
        }
    }

    /// Settles, with no more than was reserved, without waiting. Says where the key stands then, as far as is known here.
    #[cfg(feature = "tower")]
    pub(super) fn settled(self, actual: u64) -> Status {
        let Self { inquiry, permit, charge } = self;
        let mut status = *permit.status();
        let actual = actual.min(inquiry.cost);
        let unused = inquiry.cost - actual;
        match charge {
            WhereCharged::Here(reservation) => {
                let settled = reservation.settled(actual);
                Status { remaining: settled.remaining, reset_after_nanos: settled.reset_after_nanos, ..status }
            }
            WhereCharged::Leased(lot) => {
                inquiry.give_back(lot, unused);
                status.remaining = status.remaining.saturating_add(unused).min(status.limit);
                status
            }
            WhereCharged::There(charge) if unused > 0 => {
                inquiry.settle_alone(charge, unused);
                status.remaining = status.remaining.saturating_add(unused).min(status.limit);
                status
            }
            _ => status,
        }
    }
}

impl fmt::Debug for RedisReservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisReservation")
            .field("cost", &self.cost())
            .field("permit", &self.permit)
            .finish_non_exhaustive()
    }
}
