//! What becomes of several questions to a server that are judged as one: [`judge`].

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::call::Call;
use super::error::Unanswered;
use super::inquiry::{Extras, Inquiry, RedisGrant, alone};
use super::outage::WhenUnreachable;
use super::remembered::Check;
use super::reservation::RedisReservation;
use super::script::Op;
use super::wire::Wire;
use crate::decision::Denied;
use crate::demand::{DeniedDemand, look_at_all, reserve_all};

/// One of several that are judged as one.
pub(super) struct Piece {
    inquiry: Inquiry,
    /// It was denied, and did not act on it: the others are judged without it.
    passed_over: Option<Denied>,
}

impl Piece {
    pub(super) fn new(inquiry: Inquiry) -> Self {
        Self { inquiry, passed_over: None }
    }

    /// The policy that it is to pass, if there is one.
    fn wire(&self) -> Option<&Wire> {
        self.inquiry.wire.as_deref().filter(|_| self.passed_over.is_none())
    }
}

/// What was said to each, if none denied that acts on it.
type EachSaid = Vec<(Inquiry, Result<RedisGrant, Denied>)>;

/// Passes over those that are known to be denied.
pub(super) fn pass_over_remembered(
    pieces: &mut [Piece],
    acts: &mut impl FnMut(usize) -> bool,
) -> Result<(), DeniedDemand> {
    // If it is one's turn to ask, the server is asked about all: each would take the turn from the others otherwise.
    let asking = sums(pieces).0.iter().filter(|sum| sum.inquiry.is_to_ask(&sum.check())).count();
    let denied = if asking > 0 { Vec::new() } else { remembered(pieces, |sum| sum.inquiry.remembered(&sum.check())) };
    pass_over(pieces, denied, acts)
}

/// The one that is known to be denied for longest, if nobody asks the server about it now.
#[cfg(feature = "tower")]
pub(super) fn foresee(pieces: &[Piece]) -> Option<DeniedDemand> {
    let denied = remembered(pieces, |sum| sum.inquiry.remembered_ahead(&sum.check()));
    DeniedDemand::longest(denied.into_iter())
}

/// Judges all as one. Who denies is asked whether it acts on that; otherwise the rest is judged without it.
pub(super) async fn judge(
    mut pieces: Vec<Piece>,
    wanted: Extras,
    mut acts: impl FnMut(usize) -> bool,
) -> Result<EachSaid, DeniedDemand> {
    let Some(first) = pieces.first() else { return Ok(Vec::new()) };
    let store = first.inquiry.shared.store.clone();
    let begun = store.clock().now();
    let granted = loop {
        let passed = Duration::from_nanos(store.clock().now().saturating_sub(begun));
        match ask_together(&pieces, wanted, store.deadline().saturating_sub(passed)).await {
            Together::Granted(granted) => break granted,
            // Nothing was charged: the others can be asked again.
            Together::Denied(denied) => pass_over(&mut pieces, denied, &mut acts)?,
            Together::Apart => return in_turn(pieces, wanted, acts).await,
            // Something may have been charged, so nobody is asked again.
            Together::Unanswered(why) => break decide_here(&mut pieces, wanted, &why, acts)?,
        }
    };
    let each = pieces.into_iter().zip(granted);
    Ok(each.map(|(Piece { inquiry, passed_over }, granted)| (inquiry, passed_over.map_or(Ok(granted), Err))).collect())
}

/// Goes through denials, those with the longest wait first, until one acts.
fn pass_over(
    pieces: &mut [Piece],
    mut denied: Vec<DeniedDemand>,
    acts: &mut impl FnMut(usize) -> bool,
) -> Result<(), DeniedDemand> {
    while let Some(longest) = DeniedDemand::longest(denied.iter().copied()) {
        if acts(longest.index()) {
            return Err(longest);
        }
        pieces[longest.index()].passed_over = Some(*longest.denied());
        denied.retain(|other| other.index() != longest.index());
    }
    Ok(())
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
fn sums(pieces: &[Piece]) -> (Vec<Sum<'_>>, Vec<Option<usize>>) {
    let mut sums: Vec<Sum<'_>> = Vec::with_capacity(pieces.len());
    let sum_of = pieces.iter().enumerate().map(|(index, piece)| {
        let (wire, inquiry) = (piece.wire()?, &piece.inquiry);
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
fn remembered(pieces: &[Piece], denial: impl Fn(&Sum<'_>) -> Option<Denied>) -> Vec<DeniedDemand> {
    let (sums, _) = sums(pieces);
    let can_pass = |(at, sum): (usize, &Sum<'_>)| sum.wire.can_pass(sum.cost.saturating_add(asked_before(at, &sums)));
    if !sums.iter().enumerate().all(can_pass) {
        return Vec::new();
    }
    sums.iter().filter_map(|sum| Some(DeniedDemand::new(sum.index, denial(sum)?))).collect()
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
async fn ask_together(pieces: &[Piece], wanted: Extras, rest: Duration) -> Together {
    let (sums, sum_of) = sums(pieces);
    let Some(first) = sums.first() else {
        return Together::Granted(pieces.iter().map(|_| RedisGrant::unlimited()).collect());
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
    for (sum, _) in sums.iter().zip(&replies).filter(|(_, reply)| reply.passed) {
        sum.inquiry.shared.remembered.forget_since(&sum.check(), asked);
    }
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
    let granted = pieces.iter().zip(sum_of).map(|(piece, sum)| match sum {
        Some(at) => piece.inquiry.granted(sums[at].wire, replies[at].clone(), wanted),
        None => RedisGrant::unlimited(),
    });
    Together::Granted(granted.collect())
}

/// The answers when the server gives none.
fn decide_here(
    pieces: &mut [Piece],
    wanted: Extras,
    why: &Unanswered,
    mut acts: impl FnMut(usize) -> bool,
) -> Result<Vec<RedisGrant>, DeniedDemand> {
    pieces.iter().filter(|piece| piece.wire().is_some()).for_each(|piece| piece.inquiry.unanswered(why));
    loop {
        match decide_all_here(pieces, wanted) {
            Ok(granted) => return Ok(granted),
            Err(denied) => pass_over(pieces, vec![denied], &mut acts)?,
        }
    }
}

/// What is counted here is judged as one, too.
fn decide_all_here(pieces: &[Piece], wanted: Extras) -> Result<Vec<RedisGrant>, DeniedDemand> {
    let (mut local, mut closed) = (Vec::new(), None);
    for (index, piece) in pieces.iter().enumerate().filter(|(_, piece)| piece.wire().is_some()) {
        match piece.inquiry.shared.when_unreachable {
            WhenUnreachable::Local { .. } => local.push((index, &piece.inquiry)),
            WhenUnreachable::Closed if piece.inquiry.cost > 0 => {
                closed = closed.or_else(|| Some(DeniedDemand::new(index, piece.inquiry.denied_blindly())));
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
        let (sums, _) = sums(pieces);
        DeniedDemand::new(index, wire.denied_by_a_share(*denied.denied(), asked_of(&inquiry.subject, &sums)))
    };
    if closed.is_some() {
        let local = look_at_all(&demands).err().map(denied_here);
        return Err(DeniedDemand::longest(closed.into_iter().chain(local)).expect("there is one"));
    }
    let reservations = reserve_all(&demands).map_err(denied_here)?;
    let mut here = local.iter().map(|&(index, _)| index).zip(reservations).peekable();
    let granted =
        pieces.iter().enumerate().map(|(index, piece)| match (here.next_if(|here| here.0 == index), piece.wire()) {
            (Some((_, reservation)), _) => {
                let standing = wanted.standing.then(|| reservation.standing());
                RedisGrant { standing, ..RedisGrant::here(reservation) }
            }
            (None, Some(wire)) => RedisGrant::open(wire),
            (None, None) => RedisGrant::unlimited(),
        });
    Ok(granted.collect())
}

/// Asks one after the other, and gives back what was charged before one denied, or before nobody waits any more.
async fn in_turn(
    pieces: Vec<Piece>,
    wanted: Extras,
    mut acts: impl FnMut(usize) -> bool,
) -> Result<EachSaid, DeniedDemand> {
    let mut so_far = SoFar(Vec::with_capacity(pieces.len()));
    for (index, Piece { inquiry, passed_over }) in pieces.into_iter().enumerate() {
        if let Some(denied) = passed_over {
            so_far.0.push((inquiry, Err(denied)));
            continue;
        }
        // What is remembered has been looked at: one whose turn it was to ask asks.
        match inquiry.ask(Extras { to_settle: true, ..wanted }).await {
            Err(denied) if acts(index) => {
                if let Some(given_back) = so_far.give_back() {
                    // It goes on if nobody waits here any more. It does not panic.
                    let _ = given_back.await;
                }
                return Err(DeniedDemand::new(index, denied));
            }
            answer => so_far.0.push((inquiry, answer)),
        }
    }
    Ok(std::mem::take(&mut so_far.0))
}

/// What was said so far to those who are asked in turn. Dropped, what was charged is given back.
struct SoFar(EachSaid);

impl SoFar {
    /// In a task of its own. The last first: a reservation does not know what has become of an older one.
    fn give_back(&mut self) -> Option<JoinHandle<()>> {
        let store = self.0.first()?.0.shared.store.clone();
        let charged = self.0.drain(..).rev().filter_map(|(inquiry, said)| Some((inquiry, said.ok()?)));
        // Those that are dropped are counted.
        let settled = charged.map(|(inquiry, granted)| RedisReservation::new(inquiry, granted).settle(0));
        let settled: Vec<_> = settled.collect();
        alone(&store, async move {
            for one in settled {
                one.await.expect("0 is not above what was reserved");
            }
        })
    }
}

impl Drop for SoFar {
    fn drop(&mut self) {
        self.give_back();
    }
}
