//! [`Inquiry`]: what is asked about a key, and how it comes to be answered: by the server, or here.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::call::Call;
use super::error::{Unanswered, UnansweredKind};
use super::lease::{LeaseTerms, LotId};
use super::lots::{Lots, Next, Spent};
use super::outage::WhenUnreachable;
use super::remembered::{Check, Remembered};
use super::script::{Op, Reply};
use super::stats::RedisCounts;
use super::store::RedisStore;
use super::subject::Subjects;
use super::wire::{WAIT_UNKNOWN_NANOS, Wire};
use crate::decision::{Denied, Permit, Standing, Status};
use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::plan::Plan;
use crate::reservation::Reservation;
use crate::throttle::Throttle;

/// For how many calls of others a check waits, before it goes by itself.
const WAITS_MAX: u32 = 3;

/// What the handles of a limiter share.
pub(super) struct Shared {
    pub(super) store: RedisStore,
    pub(super) subjects: Subjects,
    /// Knows the policies, the name, the clock and who waits. It counts nothing.
    pub(super) rules: RateLimiter,
    /// RedisCounts while the server does not answer.
    pub(super) local: RateLimiter,
    /// The policies as the server is told of them, by plan.
    pub(super) wires: RwLock<Vec<Arc<Wire>>>,
    /// Held while a policy is replaced.
    pub(super) replacing: Mutex<()>,
    pub(super) when_unreachable: WhenUnreachable,
    pub(super) remembered: Remembered,
    /// If keys are leased: what is held of them, and how many programs do so.
    pub(super) leases: Option<(Lots, NonZeroU32)>,
    pub(super) counts: RedisCounts,
    /// Of checks that the server did not answer.
    pub(super) reports: Throttle,
}

impl Shared {
    /// How many programs share the limit while the server does not answer.
    pub(super) fn programs(&self) -> NonZeroU32 {
        match self.when_unreachable {
            WhenUnreachable::Local { programs } => programs,
            _ => NonZeroU32::MIN,
        }
    }
}

/// What is asked about a key, whole: it owns all that it needs.
pub(super) struct Inquiry {
    pub(super) shared: Arc<Shared>,
    pub(super) plan: Plan,
    pub(super) cost: u64,
    /// What the key is called on the server.
    pub(super) subject: String,
    /// What it is among those who wait, and those who were denied.
    pub(super) key: Fingerprint,
    /// What it is for the limiter that counts here.
    local_key: Fingerprint,
    /// None on the unlimited plan.
    pub(super) wire: Option<Arc<Wire>>,
    /// Whether what is leased may be spent for it.
    may_lease: bool,
}

/// What is wanted beside the permit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Extras {
    /// By what to settle.
    pub(super) to_settle: bool,
    /// Where the key stands with every quota.
    pub(super) standing: bool,
}

/// Leave to go on.
pub(super) struct RedisGrant {
    pub(super) permit: Permit,
    /// If it was wanted.
    #[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only the layer wants it"))]
    pub(super) standing: Option<Standing>,
    pub(super) charge: WhereCharged,
}

/// What was charged, and where.
#[derive(Debug)]
pub(super) enum WhereCharged {
    Nowhere,
    Here(Box<Reservation>),
    /// From what was leased.
    Leased(LotId),
    /// On the server; its time then, and the marks of the quotas.
    There(Vec<u64>),
}

impl Inquiry {
    pub(super) fn new<K: Key + ?Sized>(shared: &Arc<Shared>, plan: Plan, key: &K, cost: u64) -> Self {
        let wire = plan.index().map(|plan| shared.wires.read()[plan].clone());
        // What is one key on the server is one here, whatever its type.
        let subject = shared.subjects.name(key);
        Self {
            key: shared.rules.fingerprint(subject.as_str()),
            local_key: shared.local.fingerprint(subject.as_str()),
            subject,
            shared: shared.clone(),
            plan,
            cost,
            wire,
            may_lease: true,
        }
    }

    /// The same, but nothing is leased for it, nor spent of what is.
    pub(super) fn without_leases(self) -> Self {
        Self { may_lease: false, ..self }
    }

    /// Who waits for which key in this program.
    pub(super) fn waiting(&self) -> &RateLimiter {
        &self.shared.rules
    }

    pub(super) fn is_unlimited(&self) -> bool {
        self.wire.is_none()
    }

    /// The answer, if nobody has to be asked for it.
    pub(super) fn known(&self, wanted: Extras) -> Option<Result<RedisGrant, Denied>> {
        let Some(wire) = &self.wire else { return Some(Ok(RedisGrant::unlimited())) };
        if let Some((lots, terms)) = self.leased(wire) {
            if let Some(spent) = lots.spend(&self.check(wire), terms, wanted.standing, &self.shared.counts) {
                return Some(Ok(RedisGrant::leased(spent)));
            }
        }
        self.remembered(&self.check(wire)).map(Err)
    }

    /// The answer, for which the server is asked if it is not known.
    pub(super) async fn answer(&self, wanted: Extras) -> Result<RedisGrant, Denied> {
        match self.known(wanted) {
            Some(known) => known,
            None => self.ask(wanted).await,
        }
    }

    /// The denial of a check that is known already.
    pub(super) fn remembered(&self, check: &Check) -> Option<Denied> {
        let now = self.shared.rules.clock().now();
        let denied = self.shared.remembered.denial(check, now)?;
        self.shared.counts.remembered.fetch_add(1, Relaxed);
        Some(denied)
    }

    /// Whether it is this check's turn to ask about a denial that is known.
    pub(super) fn is_to_ask(&self, check: &Check) -> bool {
        self.shared.remembered.is_to_ask(check, self.shared.rules.clock().now())
    }

    /// The denial of a check that is known already, for one who will not ask the server if it is not.
    #[cfg(feature = "tower")]
    pub(super) fn remembered_ahead(&self, check: &Check) -> Option<Denied> {
        self.shared.remembered.denial_ahead(check, self.shared.rules.clock().now())
    }

    /// What is held of keys, and under which terms, if it may be spent.
    fn leased<'a>(&'a self, wire: &'a Wire) -> Option<(&'a Lots, &'a LeaseTerms)> {
        let (lots, _) = self.shared.leases.as_ref()?;
        wire.terms().filter(|_| self.may_lease && self.cost > 0).map(|terms| (lots, terms))
    }

    /// Asks the server, or decides here if it does not answer.
    pub(super) async fn ask(&self, wanted: Extras) -> Result<RedisGrant, Denied> {
        let Some(wire) = &self.wire else { return Ok(RedisGrant::unlimited()) };
        if let Some((lots, terms)) = self.leased(wire) {
            return self.lease(wire, lots, terms, wanted).await;
        }
        let clock = self.shared.rules.clock();
        let asked = clock.now();
        let op = if wanted.to_settle { Op::Reserve } else { Op::Check };
        let reply = match self.shared.store.call(self.call(wire, op, self.cost, &[])).await {
            Ok(reply) => reply,
            Err(unanswered) => return self.decide_here(wire, wanted, &unanswered),
        };
        self.shared.counts.round_trips.fetch_add(1, Relaxed);
        if reply.passed {
            self.shared.remembered.forget_since(&self.check(wire), asked);
            return Ok(self.granted(wire, reply, wanted));
        }
        let denied = wire.denied(&reply);
        self.shared.remembered.keep(self.check(wire), denied, asked, clock.now());
        Err(denied)
    }

    /// Asks the server for the cost and, if the key is asked for often, for more that is spent here then. One such call is under way for a
    /// key, and others wait for what it brings.
    async fn lease(&self, wire: &Wire, lots: &Lots, terms: &LeaseTerms, wanted: Extras) -> Result<RedisGrant, Denied> {
        let (check, counts, clock) = (self.check(wire), &self.shared.counts, self.shared.rules.clock());
        let deadline_nanos = u64::try_from(self.shared.store.deadline().as_nanos()).unwrap_or(u64::MAX);
        let asked = clock.now();
        let rest = || Duration::from_nanos(deadline_nanos.saturating_sub(clock.now().saturating_sub(asked)));
        let mut waited = 0;
        let draw = loop {
            match lots.next(&check, terms, wanted.standing, waited < WAITS_MAX, counts) {
                Next::Spent(spent) => return Ok(RedisGrant::leased(spent)),
                // The call that was waited for may have found out that there is nothing.
                Next::Call(draw) => match (waited > 0).then(|| self.remembered(&check)).flatten() {
                    Some(denied) => return Err(denied),
                    None => break draw,
                },
                Next::Wait(mut call) => {
                    // It changes when that call has come back, whatever it has brought.
                    if timeout(rest(), call.changed()).await.is_err() {
                        let late = Unanswered::new(UnansweredKind::Deadline, "");
                        return self.decide_here(wire, wanted, &late);
                    }
                    waited += 1;
                }
            }
        };
        let more = [terms.slot_nanos / 1000, terms.most, draw.want];
        let asked = clock.now();
        let reply = match self.shared.store.call_within(self.call(wire, Op::Lease, self.cost, &more), rest()).await {
            Ok(reply) => reply,
            Err(unanswered) => return self.decide_here(wire, wanted, &unanswered),
        };
        counts.round_trips.fetch_add(1, Relaxed);
        let pause = terms.pause_nanos(self.key.bits() ^ asked).min(self.shared.remembered.longest_nanos());
        if reply.passed {
            self.shared.remembered.forget_since(&check, asked);
            if let Some(dry) = wire.dry(&reply, draw.want) {
                let denied = Denied { status: dry, retry_after_nanos: Some(pause) };
                self.shared.remembered.keep(check, denied, asked, clock.now());
            }
            if reply.lent.0 > 0 {
                draw.receive(reply.lent, wire.standing(&reply), counts);
            }
            return Ok(self.granted(wire, reply, wanted));
        }
        let mut denied = wire.denied(&reply);
        if draw.want > 0 && wire.ran_dry(&denied) {
            denied.retry_after_nanos = denied.retry_after_nanos.map(|nanos| nanos.max(pause));
        }
        self.shared.remembered.keep(check, denied, asked, clock.now());
        Err(denied)
    }

    /// What would be denied now, if anything would.
    pub(super) async fn foresee(&self) -> Option<Denied> {
        let wire = self.wire.as_ref()?;
        let reply = self.shared.store.call(self.call(wire, Op::Peek, self.cost, &[])).await.ok()?;
        let denied = wire.denied(&reply);
        (denied.retry_after_nanos != Some(0)).then_some(denied)
    }

    /// A denial about which nothing is known but that it is one.
    pub(super) fn denied_blindly(&self) -> Denied {
        let status = self.wire.as_ref().map_or(Permit::UNLIMITED.status, |wire| wire.spent());
        Denied { status, retry_after_nanos: Some(WAIT_UNKNOWN_NANOS) }
    }

    pub(super) async fn standing(&self) -> Result<Standing, Unanswered> {
        let Some(wire) = &self.wire else { return Ok(Standing::UNLIMITED) };
        let reply = self.shared.store.call(self.call(wire, Op::Peek, 0, &[])).await?;
        // What this program holds passes here, too. It was charged to all quotas.
        let held = self.shared.leases.as_ref().map_or(0, |(lots, _)| lots.held(&self.check(wire)));
        let with_held = |status: &Status| Status { remaining: (status.remaining + held).min(status.limit), ..*status };
        Ok(Standing::of(wire.standing(&reply).iter().map(with_held)))
    }

    pub(super) async fn refund(&self) -> Result<(), Unanswered> {
        let Some(wire) = &self.wire else { return Ok(()) };
        if let Some((lots, _)) = self.leased(wire) {
            lots.give_back(&self.check(wire), None, &self.shared.counts);
            self.given_back();
            return Ok(());
        }
        let refunded = self.shared.store.call(self.call(wire, Op::Refund, self.cost, &[])).await;
        self.given_back();
        refunded.map(|_| ())
    }

    pub(super) async fn reset(&self) -> Result<(), Unanswered> {
        self.shared.local.reset(self.subject.as_str());
        let Some(wire) = &self.wire else { return Ok(()) };
        let mut done = self.shared.store.call(self.call(wire, Op::Reset, 0, &[])).await.map(|_| ());
        if done.as_ref().is_err_and(|unanswered| unanswered.kind() == UnansweredKind::ForeignValue) {
            done = self.shared.store.delete(&self.subject).await;
        }
        self.given_back();
        done
    }

    /// Gives back to the lot that it was spent from what was not used.
    pub(super) fn give_back(&self, lot: LotId, unused: u64) {
        let Some(wire) = self.wire.as_ref().filter(|_| unused > 0) else { return };
        if let Some((lots, _)) = &self.shared.leases {
            lots.give_back(&Check { cost: unused, ..self.check(wire) }, Some(lot), &self.shared.counts);
            self.given_back();
        }
    }

    /// Gives back what was not used of a charge. What was charged under a policy that has been replaced stays, since then nothing
    /// can be told apart.
    pub(super) fn settle(self, charge: Vec<u64>, unused: u64) -> impl Future<Output = ()> + Send + 'static {
        let unsettled = Unsettled(Some(self.shared.clone()));
        async move {
            let (Some(wire), Some(plan)) = (&self.wire, self.plan.index()) else { return };
            let is_replaced = self.shared.wires.read()[plan].version != wire.version;
            let settle = self.call(wire, Op::Settle, unused, &charge);
            if !is_replaced && self.shared.store.call(settle).await.is_ok_and(|reply| reply.passed) {
                unsettled.done();
            }
            self.given_back();
        }
    }

    /// The same in a task, for which nobody waits.
    #[cfg(feature = "tower")]
    pub(super) fn settle_alone(self, charge: Vec<u64>, unused: u64) {
        let store = self.shared.store.clone();
        alone(&store, self.settle(charge, unused));
    }

    /// What the server has let pass.
    pub(super) fn granted(&self, wire: &Wire, reply: Reply, wanted: Extras) -> RedisGrant {
        let (permit, standing) = (wire.permit(&reply), wanted.standing.then(|| wire.standing(&reply)));
        let charge = if wanted.to_settle && self.cost > 0 { there(reply) } else { WhereCharged::Nowhere };
        RedisGrant { permit, standing, charge }
    }

    /// The key may pass earlier than it was told.
    fn given_back(&self) {
        self.shared.remembered.forget(self.key);
        self.shared.rules.queues().nudge(self.key);
    }

    pub(super) fn check(&self, wire: &Wire) -> Check {
        Check { key: self.key, plan: self.plan.index().unwrap_or_default(), version: wire.version, cost: self.cost }
    }

    pub(super) fn call<'a>(&'a self, wire: &'a Wire, op: Op, cost: u64, more: &'a [u64]) -> Call<'a> {
        Call { op, subject: &self.subject, cost, quotas: &wire.words, more }
    }

    /// The answer when the server gives none.
    pub(super) fn decide_here(&self, wire: &Wire, wanted: Extras, why: &Unanswered) -> Result<RedisGrant, Denied> {
        self.unanswered(why);
        match self.shared.when_unreachable {
            WhenUnreachable::Open => Ok(RedisGrant::open(wire)),
            WhenUnreachable::Closed if self.cost == 0 => Ok(RedisGrant::open(wire)),
            WhenUnreachable::Closed => Err(self.denied_blindly()),
            WhenUnreachable::Local { .. } => match self.shared.local.reserve_on(self.plan, self.local_key, self.cost) {
                Ok(reservation) => {
                    let standing = wanted.standing.then(|| reservation.standing());
                    Ok(RedisGrant { standing, ..RedisGrant::here(reservation) })
                }
                Err(denied) => Err(wire.denied_by_a_share(denied, self.cost)),
            },
        }
    }

    /// RedisCounts what is answered here, and reports it: at most one line for each power of ten in a second.
    pub(super) fn unanswered(&self, why: &Unanswered) {
        self.shared.counts.unanswered.fetch_add(1, Relaxed);
        let rules = &self.shared.rules;
        if let Some(count) = self.shared.reports.count(rules.clock().now()) {
            let limiter = rules.name();
            tracing::warn!(
                target: "tollgate",
                limiter,
                count,
                latest = %why,
                "checks since the last such line were answered without the Redis server"
            );
        }
    }
}

/// Does this in a task, for which nobody has to wait. Where there is no runtime, it is dropped.
pub(super) fn alone(store: &RedisStore, work: impl Future<Output = ()> + Send + 'static) -> Option<JoinHandle<()>> {
    Some(store.runtime()?.spawn(work))
}

/// A settlement that is to be done. Dropped before that, also because nobody waits for it any more, it is counted as one that was not.
struct Unsettled(Option<Arc<Shared>>);

impl Unsettled {
    fn done(mut self) {
        self.0 = None;
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.counts.unsettled.fetch_add(1, Relaxed);
        }
    }
}

impl RedisGrant {
    pub(super) fn unlimited() -> Self {
        Self { permit: Permit::UNLIMITED, standing: Some(Standing::UNLIMITED), charge: WhereCharged::Nowhere }
    }

    /// As if nothing had ever been spent.
    pub(super) fn open(wire: &Wire) -> Self {
        let full = wire.full();
        Self { permit: Permit { status: *full.tightest() }, standing: Some(full), charge: WhereCharged::Nowhere }
    }

    /// Charged here.
    pub(super) fn here(reservation: Reservation) -> Self {
        Self { permit: *reservation.permit(), standing: None, charge: WhereCharged::Here(Box::new(reservation)) }
    }

    fn leased(spent: Spent) -> Self {
        let Spent { status, standing, lot } = spent;
        Self { permit: Permit { status }, standing, charge: WhereCharged::Leased(lot) }
    }
}

/// A charge on the server: its time, and the marks of the quotas.
fn there(reply: Reply) -> WhereCharged {
    WhereCharged::There(std::iter::once(reply.time).chain(reply.marks).collect())
}
