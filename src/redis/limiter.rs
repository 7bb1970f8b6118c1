//! [`RedisLimiter`]: a policy that programs enforce together.

use std::fmt;
use std::sync::Arc;

use super::asking::Asking;
use super::error::{SetupError, Unanswered};
use super::inquiry::{Extras, Inquiry, Shared};
use super::reservation::RedisReservation;
use super::stats::RedisStats;
use super::store::RedisStore;
use super::turn::RedisTurn;
use super::wire::{Wire, share};
use crate::decision::{Denied, Permit, Standing, Status};
use crate::key::Key;
#[cfg(feature = "tower")]
use crate::limiter::RateLimiter;
use crate::plan::Plan;
use crate::policy::{IntoPolicy, Policy};
use crate::setting_error::SettingError;

/// Limits how often each key may pass, in all programs together that use the same name on the same server.
///
/// It is cheap to clone, and clones share everything. Its methods are those of a [`RateLimiter`], to be awaited. A key is any
/// [`Key`], since its text is what it goes by on the server. (So `7_u64` and `"7"` are one account here, and two in process.)
///
/// ```no_run
/// use tollgate::Quota;
/// use tollgate::redis::{RedisLimiter, RedisStore};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let store = RedisStore::new("redis://127.0.0.1:6379")?;
/// let limiter = RedisLimiter::new(&store, "api", Quota::per_minute(100))?;
/// limiter.check("alice").await?;
/// limiter.check_n("alice", 5).await?;
/// assert_eq!(limiter.peek("alice").await?.remaining(), 94);
/// # Ok(())
/// # }
/// ```
///
/// A [`RateLimitLayer`](crate::RateLimitLayer) takes it by [`sharing`](crate::RateLimitLayer::sharing), where it would take a
/// [`RateLimiter`]. (Needs the feature `tower`.)
///
/// # What it promises
///
/// As long as the server answers and keeps its data, a `RedisLimiter` promises what a [`RateLimiter`] does, by the server's
/// clock and to its microsecond, for any number of programs: never more than `burst + rate·t` in any interval `t`, a denial that
/// changes nothing, and a `retry_after` after which a client that is alone passes. The clocks of the programs do not matter.
///
/// A check waits for the server no longer than the store's [deadline](super::RedisStoreBuilder::deadline). What it is answered
/// then is [set](super::RedisLimiterBuilder::when_unreachable); it is never an error. A call that was not answered in time may have
/// been charged, and is not sent again: so a limit may be reached a little early, and never late.
///
/// A server can forget: when it is restarted empty, when it evicts keys (`maxmemory-policy` other than `noeviction`), or when it fails
/// over to a replica that has not heard of the latest charges. What it has forgotten it grants once more.
///
/// # Two limiters with one name
///
/// They share their accounts, and should have the same policy. Where they differ, as while a new version is rolled out, each
/// judges by its own policy what both have spent, quota by quota. What belongs together is found as when a [policy is
/// replaced](crate::RateLimiter::replace_policy) in process: a quota goes on with what was spent under the one of its name; or else of
/// its period; or else with what is left, in order. (A quota that was given no name is called by its rate, as in `5/minute`.) So
/// it does not matter in which order they stand, or how many there are:
///
/// - What was spent in a quota of the same kind stays what it is: a bucket's debt to a part of a request, a window with its end.
/// - What was spent in another kind of quota, or in windows of another length, counts as if it had been spent just now. So nothing
///   is granted twice, and somebody may have to wait for longer.
/// - What was spent in a quota that the other policy has not is kept for the one that has it, until time has given it back.
///   The other neither looks at it nor adds to it, nor does it give any of it back by a [refund](Self::refund).
/// - A [reservation](Self::reserve) that was made before another policy charged the key stays charged, since it is not known how much of it
///   time has given back by the other's rate. It is [counted](super::RedisStats::unsettled).
///
/// The same holds for plans, and for a policy that is [replaced](Self::replace_policy).
#[derive(Clone)]
pub struct RedisLimiter {
    shared: Arc<Shared>,
    plan: Plan,
}

impl RedisLimiter {
    pub(super) fn sharing(shared: Shared) -> Self {
        Self { shared: Arc::new(shared), plan: Plan::DEFAULT }
    }

    /// Asks for one, and charges it if it passes.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the limit is reached. Nothing was charged then.
    ///
    /// # Panics
    ///
    /// The answer panics when it is awaited outside a tokio runtime that has its timers and its input and output enabled.
    pub fn check<K: Key + ?Sized>(&self, key: &K) -> Asking<Result<Permit, Denied>> {
        self.check_n(key, 1)
    }

    /// Asks for `cost` at once, and charges all of it or none. A cost of 0 always passes and charges nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the limit is reached, or, [permanently](Denied::is_permanent), when the cost is above what a quota can
    /// ever grant. Nothing was charged then.
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    pub fn check_n<K: Key + ?Sized>(&self, key: &K, cost: u64) -> Asking<Result<Permit, Denied>> {
        let inquiry = self.inquiry(self.plan, key, cost);
        match inquiry.known(Extras::default()) {
            Some(known) => Asking::known(known.map(|granted| granted.permit)),
            None => Asking::new(async move { inquiry.ask(Extras::default()).await.map(|granted| granted.permit) }),
        }
    }

    /// Asks for an estimated `cost`, and charges it if it passes. The [`RedisReservation`] can be settled later, when the
    /// actual cost is known; dropped unsettled, it stays charged.
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    pub fn reserve<K: Key + ?Sized>(&self, key: &K, cost: u64) -> Asking<Result<RedisReservation, Denied>> {
        let inquiry = self.inquiry(self.plan, key, cost);
        let wanted = Extras { to_settle: true, ..Extras::default() };
        match inquiry.known(wanted) {
            Some(known) => Asking::known(known.map(|granted| RedisReservation::new(inquiry, granted))),
            None => Asking::new(async move {
                let granted = inquiry.ask(wanted).await?;
                Ok(RedisReservation::new(inquiry, granted))
            }),
        }
    }

    /// Gives back up to `cost` of what a key has spent, in every quota of this handle's policy. The key never gets more than its whole limit. But this
    /// may give back what somebody else had charged. To undo one charge exactly, [`reserve`](Self::reserve) it.
    ///
    /// # Errors
    ///
    /// When the server did not answer in time. It may have been done all the same, and is not tried again.
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    pub fn refund<K: Key + ?Sized>(&self, key: &K, cost: u64) -> Asking<Result<(), Unanswered>> {
        let inquiry = self.inquiry(self.plan, key, cost);
        if self.plan.index().is_none() || cost == 0 {
            return Asking::known(Ok(()));
        }
        Asking::new(async move { inquiry.refund().await })
    }

    /// Where a key stands with the quota that has least left, without charging it. [`standing`](Self::standing) has all quotas.
    /// Of what is [leased](super::RedisLimiterBuilder::leases), what this program holds is left, and what others hold is spent.
    ///
    /// # Errors
    ///
    /// When the server did not answer in time.
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    pub fn peek<K: Key + ?Sized>(&self, key: &K) -> Asking<Result<Status, Unanswered>> {
        let standing = self.standing(key);
        Asking::new(async move { standing.await.map(|standing| *standing.tightest()) })
    }

    /// Where a key stands with every quota of the policy, without charging it.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    pub fn standing<K: Key + ?Sized>(&self, key: &K) -> Asking<Result<Standing, Unanswered>> {
        if self.plan.index().is_none() {
            return Asking::known(Ok(Standing::UNLIMITED));
        }
        let inquiry = self.inquiry(self.plan, key, 0);
        Asking::new(async move { inquiry.standing().await })
    }

    /// Forgets what a key has spent, in every quota and on every plan. A check at the same moment may be forgotten or not.
    ///
    /// Programs that [remember](super::RedisLimiterBuilder::remember_denied) that the key was denied go on to deny it for up to a second;
    /// this one does not.
    ///
    /// # Errors
    ///
    /// When the server did not answer in time. What a key has spent here, while the server was away, is forgotten in any case.
    ///
    /// # Panics
    ///
    /// As [`check`](Self::check).
    pub fn reset<K: Key + ?Sized>(&self, key: &K) -> Asking<Result<(), Unanswered>> {
        let inquiry = self.inquiry(Plan::DEFAULT, key, 0);
        Asking::new(async move { inquiry.reset().await })
    }

    /// Waits until one passes, and charges it then. Those who wait for a key in this program pass in the order in which they
    /// came, and only the first of them asks the server: so at most one of a key passes in each round trip. Between programs there
    /// is no order.
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use tollgate::Quota;
    /// use tollgate::redis::{RedisLimiter, RedisStore};
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = RedisStore::new("redis://127.0.0.1:6379")?;
    /// let limiter = RedisLimiter::new(&store, "outgoing", Quota::per_second(20))?;
    /// let turn = limiter.until_ready("api.example.com");
    /// turn.within(Duration::from_secs(2)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn until_ready<K: Key + ?Sized>(&self, key: &K) -> RedisTurn {
        self.until_ready_n(key, 1)
    }

    /// Waits until `cost` passes at once, and charges all of it then. A cost of 0 passes at once, even if others wait.
    pub fn until_ready_n<K: Key + ?Sized>(&self, key: &K, cost: u64) -> RedisTurn {
        RedisTurn::new(self.inquiry(self.plan, key, cost))
    }

    /// What a key is called on the server, to look at it with `redis-cli`: see [`redis`](crate::redis#looking-at-keys).
    pub fn redis_key<K: Key + ?Sized>(&self, key: &K) -> String {
        self.shared.subjects.name(key)
    }

    /// The name that the limiter has on the server.
    pub fn name(&self) -> &str {
        self.shared.rules.name().expect("it was built with one")
    }

    /// The server.
    pub fn store(&self) -> &RedisStore {
        &self.shared.store
    }

    /// The plan of that name, if the limiter was [built](super::RedisLimiterBuilder::plan) with it.
    pub fn plan(&self, name: &str) -> Option<Plan> {
        self.shared.rules.plan(name)
    }

    /// The same limiter, on a plan: it judges by that plan's policy. A key has one account, whatever its plan.
    ///
    /// # Errors
    ///
    /// If the plan is another limiter's.
    pub fn on(&self, plan: Plan) -> Result<Self, SettingError> {
        self.shared.rules.on(plan)?;
        Ok(self.on_own(plan))
    }

    /// The same limiter, on a plan that it has.
    pub(super) fn on_own(&self, plan: Plan) -> Self {
        Self { shared: self.shared.clone(), plan }
    }

    /// Replaces the policy that this handle enforces (the default plan's, unless the handle is [on](Self::on) another), for all
    /// handles and doors of the limiter in this program. What every key has spent stays spent.
    ///
    /// Other programs keep their policies until they are told, too: see [Two limiters with one
    /// name](Self#two-limiters-with-one-name).
    ///
    /// # Errors
    ///
    /// When there is no [room](super::RedisLimiterBuilder::quotas) for as many quotas as the new policy has, when one of them cannot be
    /// counted exactly on the server, or when this handle is on [`Plan::UNLIMITED`]. Nothing has changed then.
    pub fn replace_policy(&self, policy: impl IntoPolicy) -> Result<(), SetupError> {
        let policy = policy.into();
        let shared = &self.shared;
        let _one_at_a_time = shared.replacing.lock();
        let version = shared.wires.read().iter().map(|wire| wire.version).max().unwrap_or_default() + 1;
        let leases = shared.leases.as_ref().map(|(_, programs)| *programs);
        let wire = Arc::new(Wire::new(&policy, version, leases)?);
        let rules = shared.rules.on_own(self.plan);
        rules.replace_policy(&policy)?;
        shared.local.on_own(self.plan).replace_policy(share(&policy, shared.programs()))?;
        let index = self.plan.index().expect("the rules would have refused");
        shared.wires.write()[index] = wire;
        Ok(())
    }

    /// What this handle enforces now.
    pub fn policy(&self) -> Policy {
        self.shared.rules.on_own(self.plan).policy()
    }

    /// How many checks the server answered, and how many were answered here.
    pub fn stats(&self) -> RedisStats {
        self.shared.counts.stats()
    }

    /// What knows the policies, the name and the clock.
    #[cfg(feature = "tower")]
    pub(super) fn rules(&self) -> &RateLimiter {
        &self.shared.rules
    }

    /// The plan that this handle is on.
    pub(super) fn current_plan(&self) -> Plan {
        self.plan
    }

    pub(super) fn inquiry<K: Key + ?Sized>(&self, plan: Plan, key: &K, cost: u64) -> Inquiry {
        Inquiry::new(&self.shared, plan, key, cost)
    }
}

impl fmt::Debug for RedisLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLimiter")
            .field("name", &self.name())
            .field("policy", &self.policy())
            .field("store", &self.shared.store)
            .field("when_unreachable", &self.shared.when_unreachable)
            .field("stats", &self.stats())
            .finish()
    }
}
