//! [`RedisDemand`]: what is asked of one limit on a server for one key, so that several are judged as one.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

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
use crate::decision::{Denied, Permit};
use crate::demand::{DeniedDemand, look_at_all, reserve_all as reserve_all_here};
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
    let demands = parts(demands);
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
    let demands = parts(demands);
    Asking::new(async move { charge_all(demands, Extras { to_settle: true, ..Extras::default() }).await })
}

/// Those that are judged as one.
pub(super) fn parts(demands: impl IntoIterator<Item = RedisDemand>) -> Vec<Part> {
    demands.into_iter().map(|RedisDemand { inquiry }| Part { inquiry, passed_over: None }).collect()
}

/// Direct calls act on each denial.
async fn charge_all(demands: Vec<Part>, wanted: Extras) -> Result<Vec<RedisReservation>, DeniedDemand> {
    let judged = judge(demands, wanted, |_| true).await?;
    let granted = judged.into_iter().filter_map(|(inquiry, said)| Some(RedisReservation::new(inquiry, said.ok()?)));
    Ok(granted.collect())
}

/// One of several that are judged as one.
pub(super) struct Part {
    inquiry: Inquiry,
    /// It was denied, and did not act on it: the others are judged without it.
    passed_over: Option<Denied>,
}

impl Part {
    /// The policy that it is to pass, if there is one.
    fn wire(&self) -> Option<&Wire> {
        self.inquiry.wire.as_deref().filter(|_| self.passed_over.is_none())
    }
}

/// What was said to each, if none denied that acts on it.
type Said = Vec<(Inquiry, Result<RedisGrant, Denied>)>;

/// Judges all as one. Who denies is asked whether it acts on that; otherwise the rest is judged without it.
pub(super) async fn judge(
    mut parts: Vec<Part>,
    wanted: Extras,
    mut acts: impl FnMut(usize) -> bool,
) -> Result<Said, DeniedDemand> {
    pass_over_remembered(&mut parts, &mut acts)?;
    let Some(first) = parts.first() else { return Ok(Vec::new()) };
    let store = first.inquiry.shared.store.clone();
    let begun = store.clock().now();
    let granted = loop {
        let passed = Duration::from_nanos(store.clock().now().saturating_sub(begun));
        match ask_together(&parts, wanted, store.deadline().saturating_sub(passed)).await {
            Together::Granted(granted) => break granted,
            // Nothing was charged: the others can be asked again.
            Together::Denied(denied) => pass_over(&mut parts, denied, &mut acts)?,
            Together::Apart => return in_turn(parts, wanted, acts).await,
            // Something may have been charged, so nobody is asked again.
            Together::Unanswered(why) => break decide_here(&mut parts, wanted, &why, acts)?,
        }
    };
    let each = parts.into_iter().zip(granted);
    Ok(each.map(|(Part { inquiry, passed_over }, granted)| (inquiry, passed_over.map_or(Ok(granted), Err))).collect())
}

/// Goes through denials, those with the longest wait first, until one acts.
fn pass_over(
    parts: &mut [Part],
    mut denied: Vec<DeniedDemand>,
    acts: &mut impl FnMut(usize) -> bool,
) -> Result<(), DeniedDemand> {
    while let Some(longest) = DeniedDemand::longest(denied.iter().copied()) {
        if acts(longest.index()) {
            return Err(longest);
        }
        parts[longest.index()].passed_over = Some(*longest.denied());
        denied.retain(|other| other.index() != longest.index());
    }
    Ok(())
}

/// The same with those that are known already.
pub(super) fn pass_over_remembered(parts: &mut [Part], acts: &mut impl FnMut(usize) -> bool) -> Result<(), DeniedDemand> {
    loop {
        let denied = remembered(parts);
        if denied.is_empty() {
            return Ok(());
        }
        pass_over(parts, denied, acts)?;
    }
}

/// What is asked of one key by one policy, all demands together.
struct Sum<'a> {
    /// The first of them.
    inquiry: &'a Inquiry,
    wire: &'a Wire,
    cost: u64,
    /// The last of them that asks for something: without it, it is less.
    index: usize,
}

impl Sum<'_> {
    fn check(&self) -> Check {
        Check { cost: self.cost, ..self.inquiry.check(self.wire) }
    }
}

/// What is asked in all, and to which sum each demand belongs: none, if it is not limited.
fn sums(parts: &[Part]) -> (Vec<Sum<'_>>, Vec<Option<usize>>) {
    let mut sums: Vec<Sum<'_>> = Vec::with_capacity(parts.len());
    let sum_of = parts.iter().enumerate().map(|(index, part)| {
        let (wire, inquiry) = (part.wire()?, &part.inquiry);
        let same = |sum: &Sum<'_>| std::ptr::eq(sum.wire, wire) && sum.inquiry.subject == inquiry.subject;
        let Some(at) = sums.iter().position(same) else {
            sums.push(Sum { inquiry, wire, cost: inquiry.cost, index });
            return Some(sums.len() - 1);
        };
        if inquiry.cost > 0 {
            (sums[at].cost, sums[at].index) = (sums[at].cost.saturating_add(inquiry.cost), index);
        }
        Some(at)
    });
    let sum_of = sum_of.collect();
    (sums, sum_of)
}

/// What is asked of one key by all policies.
fn asked_of(subject: &str, sums: &[Sum<'_>]) -> u64 {
    let of_it = sums.iter().filter(|sum| sum.inquiry.subject == subject);
    of_it.fold(0, |total, sum| total.saturating_add(sum.cost))
}

/// What is asked of a key by several policies is not summed up: the next finds spent what the ones before ask.
fn asked_before(at: usize, sums: &[Sum<'_>]) -> u64 {
    asked_of(&sums[at].inquiry.subject, &sums[..at])
}

/// Those that are known to be denied. (None, if some can never pass: of those the server is asked how they stand.)
pub(super) fn remembered(parts: &[Part]) -> Vec<DeniedDemand> {
    let (sums, _) = sums(parts);
    let can_pass = |(at, sum): (usize, &Sum<'_>)| sum.wire.can_pass(sum.cost.saturating_add(asked_before(at, &sums)));
    if !sums.iter().enumerate().all(can_pass) {
        return Vec::new();
    }
    let known = sums.iter().filter_map(|sum| {
        let denied = sum.inquiry.remembered(&sum.check())?;
        Some(DeniedDemand::new(sum.index, denied))
    });
    known.collect()
}

/// What one call about all brings.
enum Together {
    /// All are charged.
    Granted(Vec<RedisGrant>),
    /// None is: these deny.
    Denied(Vec<DeniedDemand>),
    /// No server can say, since they are in different places.
    Apart,
    Unanswered(Unanswered),
}

/// Asks the server about all at once.
async fn ask_together(parts: &[Part], wanted: Extras, rest: Duration) -> Together {
    let (sums, sum_of) = sums(parts);
    let Some(first) = sums.first() else {
        return Together::Granted(parts.iter().map(|_| RedisGrant::unlimited()).collect());
    };
    let (store, clock) = (&first.inquiry.shared.store, first.inquiry.shared.rules.clock());
    let are_of_one_store = sums.iter().all(|sum| sum.inquiry.shared.store.is(store));
    if !are_of_one_store || !store.are_together(sums.iter().map(|sum| sum.inquiry.subject.as_str())) {
        return Together::Apart;
    }
    let op = if wanted.to_settle { Op::Reserve } else { Op::Check };
    let calls: Vec<Call<'_>> = sums.iter().map(|sum| sum.inquiry.call(sum.wire, op, sum.cost, &[])).collect();
    let asked = clock.now();
    let replies = match store.call_all(&calls, rest).await {
        Ok(replies) => replies,
        Err(unanswered) if unanswered.is_apart() => return Together::Apart,
        Err(unanswered) => return Together::Unanswered(unanswered),
    };
    sums.iter().for_each(|sum| _ = sum.inquiry.shared.counts.round_trips.fetch_add(1, Relaxed));
    let denied = sums.iter().zip(&replies).enumerate().filter(|(_, (_, reply))| !reply.passed);
    let denied = denied.map(|(at, (sum, reply))| {
        let before = asked_before(at, &sums);
        let is_alone = sums.iter().filter(|other| other.inquiry.subject == sum.inquiry.subject).count() == 1;
        let denied = sum.wire.denied_for_ever(reply, sum.cost.saturating_add(before));
        let denied = denied.unwrap_or_else(|| sum.wire.denied(reply));
        if is_alone {
            sum.inquiry.shared.remembered.keep(sum.check(), denied, asked, clock.now());
        }
        DeniedDemand::new(sum.index, denied)
    });
    let denied: Vec<_> = denied.collect();
    if !denied.is_empty() {
        return Together::Denied(denied);
    }
    let granted = parts.iter().zip(sum_of).map(|(part, sum)| match sum {
        Some(at) => part.inquiry.granted(sums[at].wire, replies[at].clone(), wanted),
        None => RedisGrant::unlimited(),
    });
    Together::Granted(granted.collect())
}

/// The answers when the server gives none.
fn decide_here(
    parts: &mut [Part],
    wanted: Extras,
    why: &Unanswered,
    mut acts: impl FnMut(usize) -> bool,
) -> Result<Vec<RedisGrant>, DeniedDemand> {
    parts.iter().filter(|part| part.wire().is_some()).for_each(|part| part.inquiry.unanswered(why));
    loop {
        match decide_all_here(parts, wanted) {
            Ok(granted) => return Ok(granted),
            Err(denied) => pass_over(parts, vec![denied], &mut acts)?,
        }
    }
}

/// What is counted here is judged as one, too.
fn decide_all_here(parts: &[Part], wanted: Extras) -> Result<Vec<RedisGrant>, DeniedDemand> {
    let (mut local, mut closed) = (Vec::new(), None);
    for (index, part) in parts.iter().enumerate().filter(|(_, part)| part.wire().is_some()) {
        match part.inquiry.shared.when_unreachable {
            WhenUnreachable::Local { .. } => local.push((index, &part.inquiry)),
            WhenUnreachable::Closed if part.inquiry.cost > 0 => {
                closed = closed.or_else(|| Some(DeniedDemand::new(index, part.inquiry.denied_blindly())));
            }
            WhenUnreachable::Open | WhenUnreachable::Closed => {}
        }
    }
    let demands = local.iter().map(|&(_, Inquiry { shared, plan, subject, cost, .. })| {
        shared.local.demand_on(shared.local.terms(*plan, subject.as_str(), *cost))
    });
    let demands: Vec<_> = demands.collect();
    let denied_here = |denied: DeniedDemand| {
        let (index, inquiry) = local[denied.index()];
        let wire = inquiry.wire.as_deref().expect("it is limited");
        let (sums, _) = sums(parts);
        DeniedDemand::new(index, wire.denied_by_a_share(*denied.denied(), asked_of(&inquiry.subject, &sums)))
    };
    if closed.is_some() {
        let local = look_at_all(&demands).err().map(denied_here);
        return Err(DeniedDemand::longest(closed.into_iter().chain(local)).expect("there is one"));
    }
    let reservations = reserve_all_here(&demands).map_err(denied_here)?;
    let mut here = local.iter().map(|&(index, _)| index).zip(reservations).peekable();
    let granted = parts.iter().enumerate().map(|(index, part)| match (here.next_if(|here| here.0 == index), part.wire()) {
        (Some((_, reservation)), _) => {
            let standing = wanted.standing.then(|| reservation.standing());
            RedisGrant { standing, ..RedisGrant::here(reservation) }
        }
        (None, Some(wire)) => RedisGrant::open(wire),
        (None, None) => RedisGrant::unlimited(),
    });
    Ok(granted.collect())
}

/// Asks one after the other, and gives back what was charged before one denied. The last first: a reservation does not know what has
/// become of an older one.
async fn in_turn(
    parts: Vec<Part>,
    wanted: Extras,
    mut acts: impl FnMut(usize) -> bool,
) -> Result<Said, DeniedDemand> {
    let mut said: Said = Vec::with_capacity(parts.len());
    for (index, Part { inquiry, passed_over }) in parts.into_iter().enumerate() {
        if let Some(denied) = passed_over {
            said.push((inquiry, Err(denied)));
            continue;
        }
        match inquiry.answer(Extras { to_settle: true, ..wanted }).await {
            Err(denied) if acts(index) => {
                for (inquiry, said) in said.into_iter().rev() {
                    if let Ok(granted) = said {
                        let given_back = RedisReservation::new(inquiry, granted).settle(0).await;
                        given_back.expect("0 is not above what was reserved");
                    }
                }
                return Err(DeniedDemand::new(index, denied));
            }
            answer => said.push((inquiry, answer)),
        }
    }
    Ok(said)
}

impl fmt::Debug for RedisDemand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisDemand").field("cost", &self.inquiry.cost).finish_non_exhaustive()
    }
}
