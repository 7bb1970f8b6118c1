//! [`RedisLimiterBuilder`]: what is set of a [`RedisLimiter`].

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::error::SetupError;
use super::inquiry::Shared;
use super::limiter::RedisLimiter;
use super::lots::Lots;
use super::outage::WhenUnreachable;
use super::remembered::Remembered;
use super::stats::RedisCounts;
use super::store::RedisStore;
use super::subject::{NAME_MAX, Subjects};
use super::wire::{Wire, share};
use crate::clock::Clock;
use crate::limiter::{RateLimiter, RateLimiterBuilder};
use crate::policy::{IntoPolicy, Policy};
use crate::throttle::Throttle;

/// Builds a [`RedisLimiter`] with settings of your own.
///
/// ```no_run
/// use tollgate::Quota;
/// use tollgate::redis::{RedisLimiter, RedisStore, WhenUnreachable};
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// // Four programs share the limit: without the server each has a quarter.
/// let limiter = RedisLimiter::builder(&store, "api", Quota::per_second(100))
///     .when_unreachable(WhenUnreachable::local(4))
///     .try_build()?;
/// # let _ = limiter;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RedisLimiterBuilder {
    store: RedisStore,
    name: String,
    policy: Policy,
    plans: Vec<(String, Policy)>,
    when_unreachable: WhenUnreachable,
    remember_denied: Duration,
    leases: Option<NonZeroU32>,
    quotas: Option<usize>,
    capacity: Option<usize>,
    clock: Option<Clock>,
    waiters: Option<usize>,
    waiters_per_key: Option<usize>,
}

impl RedisLimiter {
    /// A limiter of this name on that server.
    ///
    /// # Errors
    ///
    /// When the name is empty or longer than 100 bytes, or when a quota cannot be counted exactly on the server.
    pub fn new(store: &RedisStore, name: impl Into<String>, policy: impl IntoPolicy) -> Result<Self, SetupError> {
        Self::builder(store, name, policy).try_build()
    }

    /// Starts building a limiter with plans or settings of its own.
    pub fn builder(store: &RedisStore, name: impl Into<String>, policy: impl IntoPolicy) -> RedisLimiterBuilder {
        RedisLimiterBuilder {
            store: store.clone(),
            name: name.into(),
            policy: policy.into(),
            plans: Vec::new(),
            when_unreachable: WhenUnreachable::default(),
            remember_denied: Duration::from_secs(1),
            leases: None,
            quotas: None,
            capacity: None,
            clock: None,
            waiters: None,
            waiters_per_key: None,
        }
    }
}

impl RedisLimiterBuilder {
    /// What a check is answered while the server does not answer. By default each program enforces the whole limit by itself.
    pub fn when_unreachable(mut self, when: WhenUnreachable) -> Self {
        self.when_unreachable = when;
        self
    }

    /// Adds a plan: another policy, by which some keys or requests are judged ([`RedisLimiter::on`]).
    ///
    /// # Errors
    ///
    /// When the limiter is built: as [`RateLimiterBuilder::plan`](crate::RateLimiterBuilder::plan).
    pub fn plan(mut self, name: impl Into<String>, policy: impl IntoPolicy) -> Self {
        self.plans.push((name.into(), policy.into()));
        self
    }

    /// For how many quotas there is room here, while the server does not answer, from 1 to 8. The default is as many as the policy or
    /// the plan with the most quotas has. If policies are to be [replaced](RedisLimiter::replace_policy) by ones with more quotas, make
    /// room for them now: see [`RateLimiterBuilder::quotas`](crate::RateLimiterBuilder::quotas). (On the server there always is.)
    pub fn quotas(mut self, quotas: usize) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// How many keys to remember while the server does not answer, from 1 to 2^32: see
    /// [`RateLimiterBuilder::capacity`](crate::RateLimiterBuilder::capacity). The default is 2^20.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = Some(keys);
        self
    }

    /// For how long a key that is over its limit is denied without asking the server, at most. The default is a second. With 0,
    /// the server is always asked.
    ///
    /// A denial says how long to wait, and until then nothing passes, unless somebody gives something back or raises the limit. So
    /// a key that is hammered costs one round trip in so long, from each program and for each cost. What this program itself gives back it
    /// notices at once. Up to 4096 denials are remembered, in half a megabyte.
    pub fn remember_denied(mut self, longest: Duration) -> Self {
        self.remember_denied = longest;
        self
    }

    /// How many may wait at once in this program, for all keys together: see
    /// [`RateLimiterBuilder::waiters`](crate::RateLimiterBuilder::waiters).
    pub fn waiters(mut self, waiters: usize) -> Self {
        self.waiters = Some(waiters);
        self
    }

    /// How many may wait at once in this program for one key: see
    /// [`RateLimiterBuilder::waiters_per_key`](crate::RateLimiterBuilder::waiters_per_key).
    pub fn waiters_per_key(mut self, waiters: usize) -> Self {
        self.waiters_per_key = Some(waiters);
        self
    }

    /// Where to take the time from for what is decided without the server, and for how long a denial is remembered. The default is
    /// [`Clock::system`]. The server's clock is its own.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = Some(clock.into());
        self
    }

    /// Lets a program lease what it will need next of a key that is asked for often, and spend it without asking the server. So many
    /// programs do so. Off unless asked for.
    ///
    /// All programs together still admit no more than `burst + rate·t` in any interval `t` by the server's clock, and windows no more
    /// than their amount: what is leased is charged to every quota beforehand, and a lease is over, for the program, before the
    /// server counts it as over. A key that is asked for seldom is not leased.
    ///
    /// ```no_run
    /// use tollgate::Quota;
    /// use tollgate::redis::{RedisLimiter, RedisStore};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = RedisStore::new("redis://127.0.0.1:6379")?;
    /// // Four programs, so 500 of the burst for each.
    /// let limiter = RedisLimiter::builder(&store, "tenant", Quota::per_second(2000))
    ///     .leases(4)
    ///     .try_build()?;
    /// limiter.check("acme").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # What it costs
    ///
    /// - What is leased cannot be had elsewhere, and what a program does not spend of it is lost. So of a busy key about a tenth of
    ///   the burst is missing, at most times. Twenty checks a round trip need about 500 of burst for each program; with 100, which is
    ///   the least, there is little to save.
    /// - A key that was quiet and is suddenly asked for by all may see a part of its burst only up to 20 s later. Where more is asked
    ///   for than passes, a program gets about what it asks for or as much as others, but sometimes only half of that.
    /// - A denial may ask to wait for about 6 % of the time in which the bucket fills, so that there is something to lease again.
    /// - What is given back ([`refund`](RedisLimiter::refund), a [reservation](super::RedisReservation) that is settled) goes where it was
    ///   leased, or is lost if that lease is over. Do not lease where it must be exact.
    /// - [`peek`](RedisLimiter::peek) counts what other programs hold as spent.
    /// - A lease goes on when a policy is replaced or a key is reset: it was charged. Nothing new of the key is leased until all
    ///   leases under the other policy are over, 20 s at most. Windows of the new policy count them while they open.
    /// - A server that is restarted empty has forgotten who leased what. So for the first 20 s at most a key that it does not know
    ///   starts with the half of its burst. Of windows, those keep their amount that began after the restart; of sliding and strict
    ///   ones, those that began when all earlier leases were over, 20 s later at most.
    /// - Where keys are deleted by hand, evicted or lost in a fail-over, what was leased of them may be spent once more.
    ///
    /// All programs that use the limiter's name should lease, or none: one that does not starts a key that a restarted server does not
    /// know with its whole burst, though others may still spend what they had leased of it. And plans that take turns on one key mostly
    /// stop its leases, as a policy that is replaced does for a while.
    ///
    /// The server must allow `INFO`, by `+info` if its users have [rights of their own](crate::redis#what-the-server-must-allow).
    ///
    /// # Errors
    ///
    /// When the limiter is built, or its policy replaced: when leases [cannot pay](super::Unleasable) under one of the policies.
    ///
    /// # Panics
    ///
    /// If `programs` is 0.
    #[track_caller]
    pub fn leases(mut self, programs: u32) -> Self {
        self.leases = Some(NonZeroU32::new(programs).expect("a key is leased by at least one program"));
        self
    }

    /// The limiter. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// When the name is empty or longer than 100 bytes, when a quota cannot be counted exactly on the server, or when the plans, the
    /// [room](Self::quotas) for quotas or the capacity do not fit.
    ///
    /// # Panics
    ///
    /// If memory for the keys cannot be reserved.
    pub fn try_build(self) -> Result<RedisLimiter, SetupError> {
        if !(1..=NAME_MAX).contains(&self.name.len()) {
            return Err(SetupError::Name);
        }
        let programs = match self.when_unreachable {
            WhenUnreachable::Local { programs } => programs,
            _ => NonZeroU32::MIN,
        };
        let clock = self.clock.unwrap_or_else(|| self.store.clock().clone());
        let policies = || std::iter::once(&self.policy).chain(self.plans.iter().map(|(_, policy)| policy));
        let wires =
            policies().map(|policy| Wire::new(policy, 0, self.leases).map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        let limiter = |policy: Policy, capacity: Option<usize>, part: &dyn Fn(&Policy) -> Policy| {
            let mut builder = RateLimiter::builder(policy).name(self.name.clone()).clock(clock.clone());
            for (name, policy) in &self.plans {
                builder = builder.plan(name.clone(), part(policy))?;
            }
            for (waiters, set) in [
                (self.waiters, RateLimiterBuilder::waiters as fn(_, _) -> _),
                (self.waiters_per_key, RateLimiterBuilder::waiters_per_key),
            ] {
                builder = waiters.into_iter().fold(builder, set);
            }
            builder = self.quotas.into_iter().fold(builder, RateLimiterBuilder::quotas);
            capacity.into_iter().fold(builder, RateLimiterBuilder::capacity).try_build()
        };
        // It counts nothing: the server does.
        let rules = limiter(self.policy.clone(), Some(1), &Policy::clone)?;
        let local = limiter(share(&self.policy, programs), self.capacity, &|policy| share(policy, programs))?;
        let remember_nanos = u64::try_from(self.remember_denied.as_nanos()).unwrap_or(u64::MAX);
        let shared = Shared {
            subjects: Subjects::of(self.store.prefix(), &self.name),
            store: self.store,
            rules,
            local,
            wires: RwLock::new(wires),
            replacing: Mutex::new(()),
            when_unreachable: self.when_unreachable,
            remembered: Remembered::new(remember_nanos),
            leases: self.leases.map(|programs| (Lots::new(Clock::through_suspends()), programs)),
            counts: RedisCounts::default(),
            reports: Throttle::default(),
        };
        Ok(RedisLimiter::sharing(shared))
    }
}
