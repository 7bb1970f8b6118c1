//! [`RateLimiterBuilder`]: what a limiter is made with.

use std::sync::Arc;

use super::{RateLimiter, check_room};
use crate::clock::Clock;
use crate::engine::{Engine, Names, Plans};
use crate::offenders::{PLACES_MAX, Sketch};
use crate::plan::Plan;
use crate::policy::{IntoPolicy, Policy, QUOTAS_MAX};
use crate::queue::Bounds;
use crate::setting_error::SettingError;
use crate::table::{CAPACITY_MAX, WhenFull};

/// How many keys a limiter remembers unless told otherwise: 2^20, which takes at most 18 MiB for one quota.
const CAPACITY_DEFAULT: usize = 1 << 20;

impl RateLimiter {
    /// A limiter with the default capacity of 2^20 keys, on the system's clock. It reserves 18 MiB of address space with one quota,
    /// and 9 MiB more with each further one.
    ///
    /// To give a limit as text, parse it first: `RateLimiter::new("5/minute; 100/day".parse::<Policy>()?)`.
    pub fn new(policy: impl IntoPolicy) -> Self {
        Self::builder(policy).build()
    }

    /// Starts building a limiter with a name, plans, a capacity or a clock of its own.
    pub fn builder(policy: impl IntoPolicy) -> RateLimiterBuilder {
        RateLimiterBuilder {
            policy: policy.into(),
            plans: Vec::new(),
            quotas: None,
            capacity: CAPACITY_DEFAULT,
            when_full: WhenFull::default(),
            clock: None,
            waiters: Bounds::default(),
            name: None,
            offenders: 0,
        }
    }
}

/// Builds a [`RateLimiter`] with settings of your own.
///
/// ```
/// use tollgate::{Quota, RateLimiter, WhenFull};
///
/// let limiter = RateLimiter::builder(Quota::per_second(28))
///     .capacity(50_000)
///     .when_full(WhenFull::Share)
///     .build();
/// assert!(limiter.stats().capacity >= 50_000);
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct RateLimiterBuilder {
    policy: Policy,
    plans: Vec<(String, Policy)>,
    quotas: Option<usize>,
    capacity: usize,
    when_full: WhenFull,
    clock: Option<Clock>,
    waiters: Bounds,
    name: Option<String>,
    offenders: usize,
}

impl RateLimiterBuilder {
    /// Names the limiter: log lines, counters and metrics then go by this name. Without one, counters and metrics go by its
    /// policy, as in `28/second`.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let logins = RateLimiter::builder(Quota::per_minute(5)).name("login").build();
    /// assert_eq!(logins.name(), Some("login"));
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Keeps the texts of so many keys, those that were denied most: see [`RateLimiter::offenders`]. Without this, it keeps none.
    ///
    /// At most 1024. Each takes up to 200 bytes. Every denial then takes a lock and looks through them, which takes some tens of
    /// nanoseconds where there are 50. So threads that deny at the same time wait for each other, which they do not without
    /// this.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_minute(1)).offenders(50).build();
    /// for _ in 0..3 {
    ///     if limiter.check("203.0.113.9").is_err() {
    ///         limiter.tell_denied("203.0.113.9");
    ///     }
    /// }
    /// assert_eq!(limiter.offenders()[0].key(), "203.0.113.9");
    /// ```
    pub fn offenders(mut self, keys: usize) -> Self {
        self.offenders = keys;
        self
    }

    /// Adds a plan: another policy, by which some keys or requests are judged ([`RateLimiter::on`]).
    ///
    /// # Errors
    ///
    /// When the name is taken, or at the sixteenth plan.
    pub fn plan(mut self, name: impl Into<String>, policy: impl IntoPolicy) -> Result<Self, SettingError> {
        let (name, policy) = (name.into(), policy.into());
        if self.plans.iter().any(|(taken, _)| *taken == name) {
            return Err(SettingError::new(format!("there are two plans called {name:?}")));
        }
        if self.plans.len() == Plan::NAMED_MAX {
            return Err(SettingError::new(format!(
                "a limiter has at most {} plans beside the default one",
                Plan::NAMED_MAX
            )));
        }
        self.plans.push((name, policy));
        Ok(self)
    }

    /// For how many quotas each key's account has room, from 1 to 8. The default is as many as the policy or the plan with the most
    /// quotas has. If policies are to be [replaced](RateLimiter::replace_policy) by ones with more quotas, as when a
    /// configuration is read again, make room for them now: each costs 9 bytes a key.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(28)).quotas(4).build();
    /// # let _ = limiter;
    /// ```
    pub fn quotas(mut self, quotas: usize) -> Self {
        self.quotas = Some(quotas);
        self
    }

    /// How many keys to remember at once, from 1 to 2^32. The default is 2^20.
    ///
    /// The memory for them is reserved when the limiter is built: 8 bytes a key and 8 for each quota, and an eighth more. So a
    /// key takes 18 bytes with one quota and 27 with two.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys;
        self
    }

    /// What to do with a new key when there is no place for it.
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }

    /// Where to take the time from; the default is [`Clock::system`]. In tests, a
    /// [`ManualClock`](crate::ManualClock).
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = Some(clock.into());
        self
    }

    /// How many may wait at once, for all keys together. The default is 16,384. One more is told
    /// [`TooManyWaiters`](crate::NotReady::TooManyWaiters). With 0, nobody waits. (Needs the feature `tokio`.)
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_second(28)).waiters(100).build();
    /// # let _ = limiter;
    /// ```
    #[cfg(feature = "tokio")]
    pub fn waiters(mut self, waiters: usize) -> Self {
        self.waiters.all = waiters;
        self
    }

    /// How many may wait at once for one key, so that one key does not take all places. The default is 1024. One more is
    /// told [`TooManyWaiters`](crate::NotReady::TooManyWaiters). (Needs the feature `tokio`.)
    #[cfg(feature = "tokio")]
    pub fn waiters_per_key(mut self, waiters: usize) -> Self {
        self.waiters.per_key = waiters;
        self
    }

    /// The limiter. Its memory is reserved now.
    ///
    /// # Panics
    ///
    /// Where [`try_build`](Self::try_build) gives an error.
    #[track_caller]
    pub fn build(self) -> RateLimiter {
        match self.try_build() {
            Ok(limiter) => limiter,
            Err(error) => panic!("{error}"),
        }
    }

    /// The limiter. Its memory is reserved now.
    ///
    /// # Errors
    ///
    /// If the capacity is 0 or above 2^32, if more than 1024 [offenders](Self::offenders) are to be kept, or if there is
    /// [room](Self::quotas) for no quota, for more than 8, or for fewer than the policy or a plan has.
    ///
    /// # Panics
    ///
    /// If the memory cannot be reserved.
    pub fn try_build(self) -> Result<RateLimiter, SettingError> {
        if !(1..=CAPACITY_MAX).contains(&self.capacity) {
            let keys = self.capacity;
            return Err(SettingError::new(format!("a capacity is between 1 and 2^32 keys, not {keys}")));
        }
        if self.offenders > PLACES_MAX {
            let keys = self.offenders;
            return Err(SettingError::new(format!("at most {PLACES_MAX} offenders are kept, not {keys}")));
        }
        let (plans, mut policies): (Vec<_>, Vec<_>) = self.plans.into_iter().unzip();
        policies.insert(0, self.policy);
        let widest = policies.iter().map(|policy| policy.quotas().len()).max().expect("there is one");
        let quotas = self.quotas.unwrap_or(widest);
        if !(1..=QUOTAS_MAX).contains(&quotas) {
            return Err(SettingError::new(format!("a limiter has room for 1 to {QUOTAS_MAX} quotas, not {quotas}")));
        }
        policies.iter().try_for_each(|policy| check_room(quotas, policy))?;
        let names = Names::new(self.name, plans);
        let clock = self.clock.unwrap_or_default();
        let mut engine = Engine::new(
            Plans { policies, quotas_max: quotas },
            self.capacity,
            self.when_full,
            clock,
            self.waiters,
            names,
        );
        if self.offenders > 0 {
            engine.keep_offenders(Sketch::new(self.offenders));
        }
        Ok(RateLimiter { engine: Arc::new(engine), plan: Plan::DEFAULT })
    }
}
