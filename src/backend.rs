//! [`Backend`]: what a door asks. Its answer is there at once, or comes later.
//!
//! A [`RateLimiter`] answers at once. One that delays, or that asks another machine, may answer later; then it gives a
//! [`Wait`](Backend::Wait), and the door says with [`Backend::hold`] what is to wait with it.

use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::decision::{Denied, Permit, Standing, Status};
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
    type Wait;

    /// The same, and what waits with it. It is one type, because an uninhabited one takes no room in a future, and an
    /// uninhabited one *beside* what waits would.
    #[doc(hidden)]
    type Waiting<H>: Future<Output = (Result<Grant<Self::Receipt>, Denied>, H)>;

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

    /// Lets this wait for the answer.
    #[doc(hidden)]
    fn hold<H>(wait: Self::Wait, held: H) -> Self::Waiting<H>;
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
pub(crate) struct Wanted {
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
pub struct Never<H> {
    never: Infallible,
    held: PhantomData<fn() -> H>,
}

impl Backend for RateLimiter {
    type Receipt = Reservation;
    type Wait = Infallible;
    type Waiting<H> = Never<H>;
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

    fn hold<H>(wait: Infallible, _: H) -> Never<H> {
        match wait {}
    }
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

impl<H> Future for Never<H> {
    type Output = (Result<Grant<Reservation>, Denied>, H);

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        match self.never {}
    }
}

pub(crate) mod seal {
    /// Keeps [`Backend`](super::Backend) to this crate, so that it can change.
    pub trait Sealed {}

    impl Sealed for crate::limiter::RateLimiter {}
}
