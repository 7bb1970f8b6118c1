//! [`RateLimiter`]: a policy, a table and a clock.

mod builder;

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use crate::clock::Clock;
use crate::decision::{Denied, Permit, Standing, Status};
use crate::engine::Engine;
use crate::fingerprint::Fingerprint;
use crate::key::{Key, KeyText};
use crate::offenders::{Offender, Sketch, TEXT_MAX};
use crate::plan::Plan;
use crate::policy::{IntoPolicy, Policy};
#[cfg(feature = "tokio")]
use crate::queue::Queues;
use crate::reservation::Reservation;
use crate::setting_error::SettingError;
#[cfg(feature = "tower")]
use crate::throttle::Reports;

pub use self::builder::RateLimiterBuilder;

/// Limits how often each key may pass.
///
/// It is cheap to clone, and clones share everything. A key is anything that is [`Hash`], borrowed or owned. Keys of different
/// types can be used side by side. Equal hashes share a limit, as `"a"` and `String::from("a")` do. No check and no key
/// allocates.
///
/// ```
/// use tollgate::{Quota, RateLimiter};
///
/// let limiter = RateLimiter::new(Quota::per_minute(100));
/// limiter.check("alice")?;
/// limiter.check_n("alice", 5)?;
/// assert_eq!(limiter.peek("alice").remaining(), 94);
/// # Ok::<(), tollgate::Denied>(())
/// ```
///
/// # Memory
///
/// The table of keys has a fixed capacity, set when the limiter is built. Each key takes 8 bytes, 8 more for each
/// quota, and an eighth of slack: 18 bytes with one quota, 27 with two. The memory is reserved at once and never grows. It becomes
/// resident page by page, as it is used. Keys are scattered over it, so each of the first keys touches a page (4 kB) of its own:
/// a thousand keys in a table of the default size make 4 MB resident, of 18 at most. If you expect few keys, set a smaller
/// capacity: for a thousand keys the whole table is 18 kB.
///
/// A key's place is free for others as soon as the key has its whole limit again. So there is nothing to sweep. Choose a capacity
/// above the number of keys that are active within the longest period. [`stats`](Self::stats) tells if it was too small, and
/// [`WhenFull`](crate::WhenFull) says what happens then.
///
/// # Two keys, one fingerprint
///
/// Keys are remembered by a 62-bit fingerprint that nobody outside the limiter can predict. Two keys with the same
/// fingerprint share one limit. With n live keys, the odds that there are two such keys are n²/2^63: one in 8 million at a
/// million keys. Each doubling of the number of plans doubles the odds.
#[derive(Clone)]
pub struct RateLimiter {
    engine: Arc<Engine>,
    plan: Plan,
}

impl RateLimiter {
    /// Asks for one, and charges it if it passes.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the limit is reached. Nothing was charged then.
    // Written into the caller, as `State::check_known` wants it.
    #[inline(always)]
    pub fn check<K: Hash + ?Sized>(&self, key: &K) -> Result<Permit, Denied> {
        self.check_n(key, 1)
    }

    /// Asks for `cost` at once, and charges all of it or none. A cost of 0 always passes and charges nothing.
    ///
    /// # Errors
    ///
    /// [`Denied`] when the limit is reached, or, [permanently](Denied::is_permanent), when the cost is above what a quota
    /// can ever grant. Nothing was charged then.
    #[inline(always)]
    pub fn check_n<K: Hash + ?Sized>(&self, key: &K, cost: u64) -> Result<Permit, Denied> {
        self.check_on(self.plan, self.engine.fingerprint(key), cost)
    }

    /// Asks for an estimated `cost`, and charges it if it passes. The [`Reservation`] can be settled later, when the actual
    /// cost is known; dropped unsettled, it stays charged.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let tokens = RateLimiter::new(Quota::per_minute(10_000));
    /// let reservation = tokens.reserve("alice", 4_000)?;
    /// // ... the answer took fewer ...
    /// reservation.settle(1_200)?;
    /// assert_eq!(tokens.peek("alice").remaining(), 8_800);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`check_n`](Self::check_n).
    pub fn reserve<K: Hash + ?Sized>(&self, key: &K, cost: u64) -> Result<Reservation, Denied> {
        self.reserve_on(self.plan, self.engine.fingerprint(key), cost)
    }

    /// Gives back up to `cost` of what a key has spent, in every quota. The key never gets more than its whole limit. But this
    /// may give back what somebody else had charged. To undo one charge exactly, [`reserve`](Self::reserve) it.
    pub fn refund<K: Hash + ?Sized>(&self, key: &K, cost: u64) {
        if let Some(plan) = self.plan.index() {
            let key = self.engine.fingerprint(key);
            self.engine.refund(key, plan, cost);
            self.engine.queues().nudge(key);
        }
    }

    /// Where a key stands with the quota that has least left, without charging it. [`standing`](Self::standing) has all quotas.
    pub fn peek<K: Hash + ?Sized>(&self, key: &K) -> Status {
        match self.plan.index() {
            Some(plan) => self.engine.peek(self.engine.fingerprint(key), plan),
            None => Permit::UNLIMITED.status,
        }
    }

    /// Where a key stands with every quota of the policy, without charging it.
    ///
    /// ```
    /// use tollgate::{Policy, RateLimiter};
    ///
    /// let limiter = RateLimiter::new("5/minute; 100/day".parse::<Policy>()?);
    /// limiter.check("alice")?;
    /// let left: Vec<u64> =
    ///     limiter.standing("alice").iter().map(|status| status.remaining()).collect();
    /// assert_eq!(left, [4, 99]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn standing<K: Hash + ?Sized>(&self, key: &K) -> Standing {
        self.standing_of(self.fingerprint(key))
    }

    /// Forgets what a key has spent, in every quota. A check at the same moment may be forgotten or not.
    ///
    /// Under [`WhenFull::Share`](crate::WhenFull::Share), a key can have spent from an entry that others share. That stays.
    pub fn reset<K: Hash + ?Sized>(&self, key: &K) {
        self.reset_of(self.fingerprint(key));
    }

    /// The name that the limiter was [given](RateLimiterBuilder::name).
    pub fn name(&self) -> Option<&str> {
        self.engine.names().limiter.as_deref()
    }

    /// The plan of that name, if the limiter was [built](RateLimiterBuilder::plan) with it.
    pub fn plan(&self, name: &str) -> Option<Plan> {
        let names = self.engine.names();
        let index = names.plans.iter().position(|plan| plan == name)?;
        Some(Plan::of_limiter(names.id, index + 1))
    }

    /// The same limiter, on a plan: it judges by that plan's policy.
    ///
    /// A key has one account, whatever its plan: what it spent on one counts on the next. Keep the handle, or make one
    /// per request; it is as cheap as a clone.
    ///
    /// ```
    /// use tollgate::{Plan, Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::builder(Quota::per_minute(10))
    ///     .plan("pro", Quota::per_minute(1000))?
    ///     .build();
    /// let pro = limiter.plan("pro").expect("built with it");
    /// limiter.check("alice")?;
    /// limiter.on(pro)?.check_n("bob", 500)?;
    /// limiter.on(Plan::UNLIMITED)?.check_n("root", 1_000_000)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the plan is another limiter's.
    pub fn on(&self, plan: Plan) -> Result<Self, SettingError> {
        if self.has(plan) {
            Ok(self.on_own(plan))
        } else {
            Err(SettingError::new("the plan is another limiter's; take it from this one, by its name"))
        }
    }

    /// Whether a plan is this limiter's own, or one that every limiter has.
    pub(crate) fn has(&self, plan: Plan) -> bool {
        plan.limiter().is_none_or(|id| id == self.engine.names().id)
    }

    /// The same limiter, on a plan that it [has](Self::has).
    pub(crate) fn on_own(&self, plan: Plan) -> Self {
        Self { engine: self.engine.clone(), plan }
    }

    /// Replaces the policy that this handle enforces (the default plan's, unless the handle is [on](Self::on) another), for
    /// all handles and doors of the limiter, while it runs.
    ///
    /// What every key has spent stays spent, also above the new limit: it is carried over quota by quota, and between
    /// windows of one length the window goes on. A check is judged wholly by the old policy or wholly by the new one, and none that
    /// begins after this returns by the old. The call walks the whole table, which takes some milliseconds for a million
    /// keys; checks are not held up.
    ///
    /// ```
    /// use tollgate::{Policy, RateLimiter};
    ///
    /// let policy: Policy = "burst: 5/minute; daily: 100/day".parse()?;
    /// let limiter = RateLimiter::builder(policy).quotas(3).build();
    /// limiter.check_n("alice", 4)?;
    /// // The configuration was edited.
    /// let edited = "daily: 200/day; weekly: 500/week; burst: 5/minute";
    /// limiter.replace_policy(edited.parse::<Policy>()?)?;
    /// let left: Vec<u64> =
    ///     limiter.standing("alice").iter().map(|status| status.remaining()).collect();
    /// assert_eq!(left, [196, 500, 1]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Which quota goes on as which
    ///
    /// The new policy can have more quotas or fewer, up to as many as the limiter has [room](RateLimiterBuilder::quotas) for.
    /// Each quota of the new policy goes on with what was spent under a quota of the old one. That is the first of these that there is:
    ///
    /// 1. the one of the same name (a quota without a given name is called by its amount and period), or else the one that has the
    ///    room in which a quota of that name was last, of up to 64 names,
    /// 2. one of the same period,
    /// 3. one that the new policy no longer has, in order.
    ///
    /// If there is none, the quota begins whole, in room that no quota has used. If all room has been used, it takes over what is
    /// owed under a quota that went before.
    ///
    /// What was spent under a quota that is gone is not forgotten. It goes on to decay, and is still owed when a policy has that quota
    /// again. So nobody gains by a change that is undone.
    ///
    /// Plans with different quotas go by the same rules: the quotas of a [plan](Self::on) belong to those of the plans before it by
    /// name, then by period, then in order.
    ///
    /// # Errors
    ///
    /// When the new policy has more quotas than the limiter has room for, or when this handle is on [`Plan::UNLIMITED`], which
    /// has no policy. Nothing has changed then.
    pub fn replace_policy(&self, policy: impl IntoPolicy) -> Result<(), SettingError> {
        let unlimited = || SettingError::new("the unlimited plan has no policy to replace");
        let plan = self.plan.index().ok_or_else(unlimited)?;
        let policy = policy.into();
        check_room(self.engine.rules().width(), &policy)?;
        self.engine.replace_policy(plan, policy);
        self.engine.queues().nudge_all();
        Ok(())
    }

    /// The keys that were denied most in the last minutes, the most first: as many as the limiter was
    /// [built](RateLimiterBuilder::offenders) to keep, or none.
    ///
    /// The texts are what clients have sent, or can be. Escape them where they are shown, and do not make them names of metrics.
    pub fn offenders(&self) -> Vec<Offender> {
        self.sketch().map(|sketch| sketch.most(self.clock().now())).unwrap_or_default()
    }

    /// Counts a denial for [`offenders`](Self::offenders). A layer does so by itself. A direct check knows no text of its key,
    /// so its caller tells it.
    pub fn tell_denied<K: Key + ?Sized>(&self, key: &K) {
        if let Some(sketch) = self.sketch() {
            sketch.count(self.fingerprint(key), self.clock().now(), || kept_text(key));
        }
    }

    /// How full the limiter is.
    pub fn stats(&self) -> Stats {
        let table = self.engine.table();
        let counts = table.counts();
        Stats {
            len: counts.occupied as usize, // never above the table's slots
            capacity: table.slots(),
            evicted: counts.evicted,
            shared: counts.shared,
            waiters: self.engine.queues().waiters(),
        }
    }

    /// What this handle enforces now; on [`Plan::UNLIMITED`], which enforces nothing, the default plan's policy.
    pub fn policy(&self) -> Policy {
        self.engine.rules().policy(self.plan.index().unwrap_or_default())
    }

    /// How often the policies of this limiter have been replaced.
    #[cfg(feature = "tower")]
    pub(crate) fn policy_version(&self) -> u64 {
        self.engine.rules().version()
    }

    /// The policy of a plan that it [has](Self::has).
    #[cfg(feature = "tower")]
    pub(crate) fn policy_of(&self, plan: Plan) -> Policy {
        self.engine.rules().policy(plan.index().unwrap_or_default())
    }

    /// Checks on a plan that it [has](Self::has).
    #[inline(always)]
    pub(crate) fn check_on(&self, plan: Plan, key: Fingerprint, cost: u64) -> Result<Permit, Denied> {
        match plan.index() {
            Some(plan) => self.engine.check(key, plan, cost),
            None => Ok(Permit::UNLIMITED),
        }
    }

    /// Reserves on a plan that it [has](Self::has).
    pub(crate) fn reserve_on(&self, plan: Plan, key: Fingerprint, cost: u64) -> Result<Reservation, Denied> {
        Reservation::new(&self.engine, plan, key, cost)
    }

    pub(crate) fn current_plan(&self) -> Plan {
        self.plan
    }

    /// The sketch of those that were denied most, if there is one.
    pub(crate) fn sketch(&self) -> Option<&Sketch> {
        self.engine.reports().offenders.as_ref()
    }

    /// What the sketch keeps of a key's text, if there is a sketch.
    #[cfg(feature = "tower")]
    pub(crate) fn offender_text<K: Key + ?Sized>(&self, key: &K) -> Option<String> {
        self.sketch().map(|_| kept_text(key))
    }

    /// A key that may be denied later, if there is a sketch.
    #[cfg(feature = "tower")]
    pub(crate) fn suspect<K: Key + ?Sized>(&self, key: &K) -> Option<Suspect> {
        self.offender_text(key).map(|text| Suspect { key: self.fingerprint(key), text })
    }

    /// Tells the sketch that this limiter denied one.
    #[cfg(feature = "tower")]
    pub(crate) fn tell_suspect_denied(&self, Suspect { key, text }: &Suspect) {
        if let Some(sketch) = self.sketch() {
            sketch.count(*key, self.clock().now(), || text.clone());
        }
    }

    #[cfg(feature = "tower")]
    pub(crate) fn reports(&self) -> &Reports {
        self.engine.reports()
    }

    /// The clock that this limiter reads.
    pub fn clock(&self) -> &Clock {
        self.engine.clock()
    }
}

/// What is asked of a fingerprint instead of a key.
impl RateLimiter {
    #[inline]
    pub(crate) fn fingerprint<K: Hash + ?Sized>(&self, key: &K) -> Fingerprint {
        self.engine.fingerprint(key)
    }

    pub(crate) fn standing_of(&self, key: Fingerprint) -> Standing {
        match self.plan.index() {
            Some(plan) => self.engine.standing(key, plan),
            None => Standing::UNLIMITED,
        }
    }

    pub(crate) fn reset_of(&self, key: Fingerprint) {
        if let Some(plan) = self.plan.index() {
            self.engine.reset(key, plan);
            self.engine.queues().nudge(key);
        }
    }

    /// Whether a key has one account in both.
    pub(crate) fn shares_accounts(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.engine, &other.engine)
    }

    /// What a check on a plan that it [has](Self::has) would say after a wait, if nobody else charged the key before. Charges
    /// nothing.
    pub(crate) fn look_on(&self, plan: Plan, key: Fingerprint, cost: u64, wait_nanos: u64) -> Result<(), Denied> {
        match plan.index() {
            Some(plan) => self.engine.look(key, plan, cost, wait_nanos),
            None => Ok(()),
        }
    }
}

/// What waiting needs beside that.
#[cfg(feature = "tokio")]
impl RateLimiter {
    pub(crate) fn reserve_fingerprint(&self, key: Fingerprint, cost: u64) -> Result<Reservation, Denied> {
        self.reserve_on(self.plan, key, cost)
    }

    pub(crate) fn queues(&self) -> &Queues {
        self.engine.queues()
    }

    /// What a denial would say if `ahead` had to pass first, one by one; it may say that there is no time to wait.
    /// Where several quotas, or costs that do not fill a window, hold each other up, it may be longer.
    pub(crate) fn foresee(&self, fingerprint: Fingerprint, ahead: u64, cost: u64) -> Denied {
        let plan = self.plan.index().unwrap_or_default(); // who is unlimited never asks
        self.engine.foresee(fingerprint, plan, ahead, cost)
    }

    pub(crate) fn is_unlimited(&self) -> bool {
        self.plan.index().is_none()
    }
}

/// A key that may be denied later.
#[cfg(feature = "tower")]
pub(crate) struct Suspect {
    key: Fingerprint,
    text: String,
}

/// Whether a policy fits accounts with room for so many quotas.
fn check_room(quotas_max: usize, policy: &Policy) -> Result<(), SettingError> {
    let quotas = policy.quotas().len();
    if quotas <= quotas_max {
        return Ok(());
    }
    Err(SettingError::new(format!(
        "the policy has {quotas} quotas where the limiter has room for {quotas_max}; \
         build the limiter with `.quotas({quotas})`"
    )))
}

/// A text to keep, and a byte more, which says that it is cut.
fn kept_text<K: Key + ?Sized>(key: &K) -> String {
    KeyText::beginning_of(key, TEXT_MAX + 1)
}

impl fmt::Debug for RateLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimiter")
            .field("name", &self.name())
            .field("policy", &self.policy())
            .field("stats", &self.stats())
            .field("clock", self.clock())
            .finish()
    }
}

/// How full a limiter is, from [`RateLimiter::stats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Places taken. They include those of keys that have expired, until another key needs the place.
    pub len: usize,
    /// All places: what was asked for and at least an eighth more, because keys do not spread evenly.
    pub capacity: usize,
    /// How many live keys lost their place to another, and with it the memory of what they had spent
    /// ([`WhenFull::EvictLeastIndebted`](crate::WhenFull::EvictLeastIndebted)).
    pub evicted: u64,
    /// Checks that passed by charging a shared entry ([`WhenFull::Share`](crate::WhenFull::Share)).
    pub shared: u64,
    /// How many wait for their turn, for all keys together. Always 0 without the feature `tokio`.
    pub waiters: usize,
}
