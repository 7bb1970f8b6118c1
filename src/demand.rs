//! [`Demand`]: what is asked of one limit for one key, so that several can be judged as one.

use std::fmt;
use std::hash::Hash;

use crate::decision::{Denied, Permit, is_longer};
use crate::fingerprint::Fingerprint;
use crate::limiter::RateLimiter;
use crate::plan::Plan;
use crate::reservation::Reservation;

/// What is asked of one limit for one key, from [`RateLimiter::demand`].
///
/// Several of them, of several limiters, are judged as one by [`check_all`].
#[derive(Clone, Copy)]
#[must_use = "a demand asks nothing until it is checked"]
pub struct Demand<'a> {
    limiter: &'a RateLimiter,
    terms: Terms,
}

/// What is demanded, whoever is asked.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(feature = "tower"), allow(unreachable_pub, reason = "only the seam shows it"))]
pub struct Terms {
    /// One of the limiter's own.
    plan: Plan,
    key: Fingerprint,
    cost: u64,
}

impl RateLimiter {
    /// Asks for one for this key, by this handle's plan, together with what is asked of other limiters: see [`check_all`].
    pub fn demand<K: Hash + ?Sized>(&self, key: &K) -> Demand<'_> {
        self.demand_on(self.terms(self.current_plan(), key, 1))
    }

    /// Terms that this limiter understands, on a plan that it has.
    pub(crate) fn terms<K: Hash + ?Sized>(&self, plan: Plan, key: &K, cost: u64) -> Terms {
        Terms { plan, key: self.fingerprint(key), cost }
    }

    /// A demand on these terms, which are this limiter's.
    pub(crate) fn demand_on(&self, terms: Terms) -> Demand<'_> {
        Demand { limiter: self, terms }
    }
}

impl Demand<'_> {
    /// Asks for so many instead of one. A cost of 0 always passes and charges nothing.
    pub fn cost(self, cost: u64) -> Self {
        Self { terms: Terms { cost, ..self.terms }, ..self }
    }

    pub(crate) fn reserve(&self) -> Result<Reservation, Denied> {
        let Terms { plan, key, cost } = self.terms;
        self.limiter.reserve_on(plan, key, cost)
    }

    /// What a check would say after a wait, if only these charged the key before.
    fn look(&self, before: &[Self], wait_nanos: u64) -> Result<(), Denied> {
        let Terms { plan, key, cost } = self.terms;
        if cost == 0 {
            return Ok(());
        }
        let charged = before.iter().filter(|other| other.charges_account_of(self)).map(|other| other.terms.cost);
        self.limiter.look_on(plan, key, charged.fold(cost, u64::saturating_add), wait_nanos)
    }

    fn charges_account_of(&self, other: &Self) -> bool {
        self.terms.key == other.terms.key
            && self.terms.plan != Plan::UNLIMITED
            && self.limiter.shares_accounts(other.limiter)
    }
}

/// Checks several limits over several keys as one: all of them are charged, or none is.
///
/// They may be of one limiter or of several. What several ask of one key adds up. The permit says where the key stands that has
/// least left. Without demands, it passes.
///
/// It is meant for a handful. Up to 8, nothing is allocated. Each is compared with each, so bound their number where a
/// client can choose it.
///
/// ```
/// use tollgate::{Quota, RateLimiter, check_all};
///
/// let per_address = RateLimiter::new(Quota::per_second(28));
/// let per_account = RateLimiter::new(Quota::per_minute(5));
///
/// let log_in = |address: &str, name: &str| {
///     check_all(&[per_address.demand(address), per_account.demand(name)])
/// };
/// for _ in 0..5 {
///     log_in("192.0.2.7", "alice")?;
/// }
/// let denied = log_in("192.0.2.7", "alice").unwrap_err();
/// assert_eq!(denied.index(), 1);
/// // The address was not charged for what the account refused.
/// assert_eq!(per_address.peek("192.0.2.7").remaining(), 23);
/// # Ok::<(), tollgate::DeniedDemand>(())
/// ```
///
/// All limits are looked at before any is charged. If another thread then takes what was left of one, what was charged to
/// those before it is given back. So no limit ever admits too much. But until it is given back, that charge can deny somebody
/// else who would have passed.
///
/// # Errors
///
/// [`DeniedDemand`] when a limit is reached. It has the longest wait of all that deny: after it, the same demands pass, if nobody
/// else charges the keys in the meantime. If they can never pass together, it is [permanent](Denied::is_permanent). Nothing was
/// charged.
pub fn check_all(demands: &[Demand<'_>]) -> Result<Permit, DeniedDemand> {
    match demands {
        [only] => {
            let Terms { plan, key, cost } = only.terms;
            only.limiter.check_on(plan, key, cost).map_err(|denied| DeniedDemand { index: 0, denied })
        }
        _ => Ok(charge_all(demands)?.least_left()),
    }
}

/// The same, with a [`Reservation`] for each demand, in their order, to be settled when the actual costs are known.
///
/// # Errors
///
/// As [`check_all`].
pub fn reserve_all(demands: &[Demand<'_>]) -> Result<Vec<Reservation>, DeniedDemand> {
    Ok(charge_all(demands)?.into_iter().collect())
}

/// Charges all or none.
fn charge_all(demands: &[Demand<'_>]) -> Result<Reservations, DeniedDemand> {
    look_at_all(demands)?;
    let mut charged = Reservations::default();
    for (index, demand) in demands.iter().enumerate() {
        match demand.reserve() {
            Ok(reservation) => charged.push(reservation),
            Err(denied) => {
                charged.give_back();
                let lost = DeniedDemand { index, denied };
                // What was looked at has changed since. All are looked at once more, because another may deny for longer by
                // now.
                return Err(look_at_all(demands).err().filter(|denied| denied.longer_than(&lost)).unwrap_or(lost));
            }
        }
    }
    Ok(charged)
}

/// How many are charged without an allocation.
const FEW: usize = 8;

/// What was charged, in order.
#[derive(Default)]
struct Reservations {
    few: [Option<Reservation>; FEW],
    /// Those that did not fit.
    more: Vec<Reservation>,
}

impl Reservations {
    fn push(&mut self, reservation: Reservation) {
        match self.few.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(reservation),
            None => self.more.push(reservation),
        }
    }

    fn into_iter(self) -> impl DoubleEndedIterator<Item = Reservation> {
        self.few.into_iter().flatten().chain(self.more)
    }

    /// The last one first: a reservation does not know what has become of an older one.
    fn give_back(self) {
        for reservation in self.into_iter().rev() {
            reservation.settle(0).expect("0 is not above what was reserved");
        }
    }

    /// The permit of the key that has least left.
    fn least_left(&self) -> Permit {
        let permits = self.few.iter().flatten().chain(&self.more).map(|reservation| *reservation.permit());
        permits.min_by_key(|permit| permit.status().remaining()).unwrap_or(Permit::UNLIMITED)
    }
}

/// The denial with the longest wait, which is made so long that after it all pass at one time.
pub(crate) fn look_at_all(demands: &[Demand<'_>]) -> Result<(), DeniedDemand> {
    let longest = |wait: u64| {
        let each = demands.iter().enumerate();
        let denied = each.filter_map(|(index, demand)| {
            let mut denied = demand.look(&demands[..index], wait).err()?;
            denied.retry_after_nanos = denied.retry_after_nanos.map(|more| wait.saturating_add(more));
            Some(DeniedDemand { index, denied })
        });
        DeniedDemand::longest(denied)
    };
    let Some(mut denied) = longest(0) else { return Ok(()) };
    // After the wait for one, another may have less room than now, where it is a sliding window: then it says how long that
    // takes. Each has at most two such times, in this window and the next.
    for _ in 0..2 * demands.len() {
        let later = denied.denied.retry_after_nanos.and_then(longest);
        let Some(later) = later.filter(|later| later.longer_than(&denied)) else { break };
        denied.denied.retry_after_nanos = later.denied.retry_after_nanos;
    }
    Err(denied)
}

/// One of several demands was denied, and so all were: nothing was charged. From [`check_all`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeniedDemand {
    index: usize,
    denied: Denied,
}

impl DeniedDemand {
    #[cfg(feature = "redis")]
    pub(crate) fn new(index: usize, denied: Denied) -> Self {
        Self { index, denied }
    }

    /// Which demand was denied, from 0. If several would have been, that with the longest wait.
    pub fn index(&self) -> usize {
        self.index
    }

    /// How it was denied. Its [`retry_after`](Denied::retry_after) is when all demands would pass.
    pub fn denied(&self) -> &Denied {
        &self.denied
    }

    /// The one with the longest wait, of equals the first.
    pub(crate) fn longest(denied: impl Iterator<Item = Self>) -> Option<Self> {
        denied.reduce(|one, other| if other.longer_than(&one) { other } else { one })
    }

    fn longer_than(&self, other: &Self) -> bool {
        is_longer(self.denied.retry_after_nanos, other.denied.retry_after_nanos)
    }
}

impl From<DeniedDemand> for Denied {
    fn from(DeniedDemand { denied, .. }: DeniedDemand) -> Self {
        denied
    }
}

impl fmt::Display for DeniedDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.denied.fmt(f)
    }
}

impl std::error::Error for DeniedDemand {}

impl fmt::Debug for Demand<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Demand").field("limiter", self.limiter).field("cost", &self.terms.cost).finish_non_exhaustive()
    }
}
