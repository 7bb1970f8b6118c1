//! [`Backend`]: what a door asks. Its answer is there at once, or comes later.
//!
//! A [`RateLimiter`] answers at once. One that delays, or that asks another machine, may answer later; then it gives a
//! [`Wait`](Backend::Wait), and the door says with [`Later::hold`] what is to wait with it. Several questions are one for a [`Joint`].

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::decision::{Denied, Permit, Standing, Status};
use crate::demand::{Demand, Terms, look_at_all, reserve_all};
use crate::key::Key;
use crate::limiter::RateLimiter;
use crate::plan::Plan;
use crate::reservation::Reservation;

/// A limiter that a layer can ask: a [`RateLimiter`], or one that answers in another way.
///
/// This trait is sealed: it cannot be implemented for other types.
///
/// | limiter | answers |
/// |---|---|
/// | [`RateLimiter`] | at once, in process |
#[cfg_attr(feature = "redis", doc = "| `tollgate::redis::RedisLimiter` | when a server has |")]
#[cfg_attr(feature = "tokio", doc = "| `wait::Delayed` | when the request's turn has come |")]
pub trait Backend: seal::Sealed + Clone + fmt::Debug + Send + Sync + 'static {
    /// By what a charge is settled.
    #[doc(hidden)]
    type Receipt: Receipt;

    /// An answer that is not there yet. Uninhabited where every answer is there at once.
    #[doc(hidden)]
    type Wait: Later<Result<Grant<Self::Receipt>, Denied>>;

    /// The answer to several who ask as one, where that is not there yet. Uninhabited where nobody can.
    #[doc(hidden)]
    type WaitForAll<P: Send + 'static>: Later<AllSaid<P, Self::Receipt>>;

    /// What is said to one who looks after a key: `T` itself where that is known at once, and what is to be awaited for it otherwise.
    type Told<T: Send + 'static>;

    /// The limiter that knows the policies, the name and the clock.
    #[doc(hidden)]
    fn limiter(&self) -> &RateLimiter;

    /// Where a key stands, by one of the limiter's own plans.
    #[doc(hidden)]
    fn standing_on<K: Key + ?Sized>(&self, plan: Plan, key: &K) -> Self::Told<Standing>;

    /// Forgets what a key has spent, on whatever plan.
    #[doc(hidden)]
    fn forget<K: Key + ?Sized>(&self, key: &K) -> Self::Told<()>;

    /// Asks. Before it puts off a request that it would deny otherwise, it asks whether that may be.
    #[doc(hidden)]
    fn ask<K: Key + ?Sized>(
        &self,
        question: &Question<'_, K>,
        may_wait: impl FnOnce() -> bool,
    ) -> Answer<Self::Receipt, Self::Wait>;

    /// Asks for one, on the limiter's own plan, by one who does not want to know where the key stands if it is granted.
    #[doc(hidden)]
    #[inline]
    fn ask_for_one<K: Key + ?Sized>(
        &self,
        key: &K,
        may_wait: impl FnOnce() -> bool,
    ) -> Result<(), Answer<Self::Receipt, Self::Wait>> {
        let plan = self.limiter().current_plan();
        match self.ask(&Question { key, plan, cost: 1, wanted: Wanted::default() }, may_wait) {
            Answer::Granted(_) => Ok(()),
            answer => Err(answer),
        }
    }
}

/// A limiter of which several can be asked as one.
#[doc(hidden)]
pub trait Joint: Backend {
    /// What is asked about one key, until it is asked together with others.
    type Terms;

    /// Terms on a plan that it has.
    fn terms<K: Key + ?Sized>(&self, plan: Plan, key: &K, cost: u64) -> Self::Terms;

    /// Asks for all: each is charged, or none is. Those that only watch come last.
    fn ask_all<P: Party<Self>>(asked: Vec<(Self::Terms, P)>) -> Result<AllSaid<P, Self::Receipt>, Self::WaitForAll<P>>;

    /// Who denies already, as far as that is known without a wait. Nothing is charged, and those that only watch are not among them.
    fn foresee<P: Party<Self>>(asked: Vec<(Self::Terms, P)>) -> Option<(P, Denied)>;
}

/// One of several who ask as one.
pub trait Party<L>: Send + Sync + 'static {
    /// Whom it asks.
    fn limiter(&self) -> &L;

    /// What it wants beside the permit.
    fn wanted(&self) -> Wanted;

    /// Whether it acts on no denial. Then it is asked after the others, and charges what they let pass.
    fn only_watches(&self) -> bool;

    /// Whether it acts on a denial: otherwise the others are asked without it. Asked once for each.
    fn acts(&self) -> bool;
}

/// What is said to several who ask as one: to each, or by the one that denies for longest. Only who does not act on it is denied while the
/// others pass.
pub(crate) type AllSaid<P, R> = Result<Vec<(P, Result<Grant<R>, Denied>)>, (P, Denied)>;

/// An answer that is there later.
pub trait Later<A>: Sized {
    /// The same, and what waits with it. It is one type, because an uninhabited one takes no room in a future, and an
    /// uninhabited one *beside* what waits would.
    type Waiting<H>: Future<Output = (A, H)>;

    /// Lets this wait for the answer.
    fn hold<H>(self, held: H) -> Self::Waiting<H>;
}

/// A limiter that can delay requests over the limit instead of denying them, by `RateLimitLayer::delay`.
///
/// This trait is sealed: it cannot be implemented for other types.
#[cfg(feature = "tokio")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot delay",
    label = "it delays already, or it cannot",
    note = "call `.delay(..)` once, on a layer over a `RateLimiter` or a `tollgate::redis::RedisLimiter`"
)]
pub trait Delay: Backend {
    /// The limiter that delays.
    #[doc(hidden)]
    type Delayed: Backend<Receipt = Self::Receipt>;

    /// It delays no request for longer than this.
    #[doc(hidden)]
    fn delayed(&self, up_to: std::time::Duration) -> Self::Delayed;

    /// A wait for an answer, as one who delays would have it.
    #[doc(hidden)]
    fn later(wait: Self::Wait) -> <Self::Delayed as Backend>::Wait;
}

/// A limiter that counts in this program, for so many keys as `RateLimitLayer::capacity` says.
///
/// This trait is sealed: it cannot be implemented for other types.
#[cfg(feature = "tower")]
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no capacity for a layer to set",
    label = "its keys are on a server, which keeps each until nothing is left to remember",
    note = "how many keys are remembered while the server is away is set by `RedisLimiterBuilder::capacity`"
)]
pub trait Resize: Backend {
    /// The same over another limiter.
    #[doc(hidden)]
    fn over(&self, limiter: RateLimiter) -> Self;
}

#[cfg(feature = "tower")]
impl Resize for RateLimiter {
    fn over(&self, limiter: Self) -> Self {
        limiter
    }
}

/// What is asked about a request.
#[derive(Debug)]
pub struct Question<'a, K: ?Sized> {
    /// Whole, since some backends need its hash, and some its text.
    pub(crate) key: &'a K,
    /// One of the limiter's own.
    pub(crate) plan: Plan,
    pub(crate) cost: u64,
    pub(crate) wanted: Wanted,
}

/// What is wanted beside the permit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// Something to settle the charge by.
    pub(crate) receipt: bool,
    /// Where the key stands with every quota.
    pub(crate) standing: bool,
}

/// What a backend says.
#[derive(Debug)]
pub enum Answer<R, W> {
    /// It was charged.
    Granted(Grant<R>),
    /// It was not.
    Denied(Denied),
    /// It would have had to wait, and was not to. It was not charged.
    NotDelayed(Denied),
    /// The answer will be there later.
    Later(W),
}

/// Leave to go on, with what was wanted beside it.
#[derive(Debug)]
pub struct Grant<R> {
    pub(crate) permit: Permit,
    pub(crate) receipt: Option<Box<R>>,
    pub(crate) standing: Option<Standing>,
}

/// By what a charge is settled. Dropped, the charge stays.
pub trait Receipt: fmt::Debug + Send + Sync + 'static {
    /// Where the key stood after the charge.
    fn status(&self) -> &Status;

    /// Says what the cost was in the end, where that is no more than was charged. Says where the key stands then.
    fn settle(self, actual: u64) -> Status;
}

/// What never happens.
#[derive(Debug)]
pub struct Never<T> {
    never: Infallible,
    value: PhantomData<fn() -> T>,
}

impl<A> Later<A> for Infallible {
    type Waiting<H> = Never<(A, H)>;

    fn hold<H>(self, _: H) -> Never<(A, H)> {
        match self {}
    }
}

impl Backend for RateLimiter {
    type Receipt = Reservation;
    type Wait = Infallible;
    type WaitForAll<P: Send + 'static> = Infallible;
    type Told<T: Send + 'static> = T;

    fn limiter(&self) -> &RateLimiter {
        self
    }

    fn standing_on<K: Key + ?Sized>(&self, plan: Plan, key: &K) -> Standing {
        self.on_own(plan).standing(key)
    }

    fn forget<K: Key + ?Sized>(&self, key: &K) {
        self.on_own(Plan::DEFAULT).reset(key);
    }

    #[inline]
    fn ask<K: Key + ?Sized>(
        &self,
        question: &Question<'_, K>,
        _: impl FnOnce() -> bool,
    ) -> Answer<Reservation, Infallible> {
        let Question { key, plan, cost, wanted } = *question;
        let key = self.fingerprint(key);
        if !wanted.receipt && !wanted.standing {
            return match self.check_on(plan, key, cost) {
                Ok(permit) => Answer::Granted(Grant { permit, receipt: None, standing: None }),
                Err(denied) => Answer::Denied(denied),
            };
        }
        match self.reserve_on(plan, key, cost) {
            Ok(reservation) => Answer::Granted(Grant::new(reservation, wanted)),
            Err(denied) => Answer::Denied(denied),
        }
    }

    #[inline]
    fn ask_for_one<K: Key + ?Sized>(
        &self,
        key: &K,
        _: impl FnOnce() -> bool,
    ) -> Result<(), Answer<Reservation, Infallible>> {
        // A permit that nobody looks at is not made.
        self.check_on(self.current_plan(), self.fingerprint(key), 1).map(drop).map_err(Answer::Denied)
    }
}

impl Joint for RateLimiter {
    type Terms = Terms;

    fn terms<K: Key + ?Sized>(&self, plan: Plan, key: &K, cost: u64) -> Terms {
        self.terms(plan, key, cost)
    }

    fn ask_all<P: Party<Self>>(mut asked: Vec<(Terms, P)>) -> Result<AllSaid<P, Reservation>, Infallible> {
        let acting = acting(&asked);
        let (mut demands, mut passed_over) = (demands(&asked[..acting]), Vec::new());
        let charged = loop {
            match reserve_all(&demands) {
                Err(denied) if !asked[denied.index()].1.acts() => {
                    demands[denied.index()] = demands[denied.index()].cost(0);
                    passed_over.push(denied);
                }
                judged => break judged,
            }
        };
        let charged = match charged {
            Ok(charged) => charged,
            Err(denied) => return Ok(Err((asked.swap_remove(denied.index()).1, denied.into()))),
        };
        let mut judged = Vec::with_capacity(asked.len());
        let mut asked = asked.into_iter();
        for (reservation, (_, party)) in charged.into_iter().zip(asked.by_ref().take(acting)) {
            let granted = Grant::new(reservation, party.wanted());
            judged.push((party, Ok(granted)));
        }
        for (terms, party) in asked {
            let reserved = party.limiter().demand_on(terms).reserve();
            let said = reserved.map(|reservation| Grant::new(reservation, party.wanted()));
            judged.push((party, said));
        }
        for denied in passed_over {
            judged[denied.index()].1 = Err(denied.into());
        }
        Ok(Ok(judged))
    }

    fn foresee<P: Party<Self>>(mut asked: Vec<(Terms, P)>) -> Option<(P, Denied)> {
        let denied = look_at_all(&demands(&asked[..acting(&asked)])).err()?;
        Some((asked.swap_remove(denied.index()).1, denied.into()))
    }
}

/// What all of these ask.
fn demands<P: Party<RateLimiter>>(asked: &[(Terms, P)]) -> Vec<Demand<'_>> {
    asked.iter().map(|(terms, party)| party.limiter().demand_on(*terms)).collect()
}

/// How many of them act, if only on some denials.
fn acting<P: Party<RateLimiter>>(asked: &[(Terms, P)]) -> usize {
    asked.iter().position(|(_, party)| party.only_watches()).unwrap_or(asked.len())
}

impl Grant<Reservation> {
    /// What a reservation is worth to one who wanted this.
    pub(crate) fn new(reservation: Reservation, wanted: Wanted) -> Self {
        let standing = wanted.standing.then(|| reservation.standing());
        let permit = *reservation.permit();
        Self { permit, receipt: wanted.receipt.then(|| Box::new(reservation)), standing }
    }
}

impl Receipt for Reservation {
    fn status(&self) -> &Status {
        self.permit().status()
    }

    fn settle(self, actual: u64) -> Status {
        self.settled(actual)
    }
}

impl<T> Future for Never<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<T> {
        match self.never {}
    }
}

pub(crate) mod seal {
    /// Keeps [`Backend`](super::Backend) to this crate, so that it can change.
    pub trait Sealed {}

    impl Sealed for crate::limiter::RateLimiter {}
}
