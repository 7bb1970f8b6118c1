//! [`Account`]: what a limiter keeps for one key, looked after without charging it.

use std::fmt;
use std::hash::Hash;

use crate::decision::{Denied, Standing};
use crate::fingerprint::Fingerprint;
use crate::limiter::RateLimiter;
use crate::offenders::Offender;

/// What a limiter keeps for one key, from [`RateLimiter::account`], or from [`RateLimiter::account_of`] where the key itself is not at
/// hand. It is for those who look after clients: nothing here charges.
#[derive(Clone, Copy)]
pub struct Account<'a> {
    limiter: &'a RateLimiter,
    key: Fingerprint,
}

impl RateLimiter {
    /// The account of a key, by this handle's plan.
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// let limiter = RateLimiter::new(Quota::per_minute(1));
    /// limiter.check("alice")?;
    /// let account = limiter.account("alice");
    /// assert!(account.look().is_err());
    /// account.reset();
    /// assert!(account.look().is_ok());
    /// # Ok::<(), tollgate::Denied>(())
    /// ```
    pub fn account<K: Hash + ?Sized>(&self, key: &K) -> Account<'_> {
        Account { limiter: self, key: self.fingerprint(key) }
    }

    /// The account of one of this limiter's [offenders](Self::offenders), by this handle's plan. It is found without the key, which
    /// may be known by its text alone, and that may be cut.
    ///
    /// An offender of another limiter leads to nobody's account, or to some other key's.
    pub fn account_of(&self, offender: &Offender) -> Account<'_> {
        Account { limiter: self, key: offender.fingerprint() }
    }
}

impl Account<'_> {
    /// What a [check](RateLimiter::check) would say now, with the wait until it passes.
    ///
    /// # Errors
    ///
    /// [`Denied`] when it would be denied.
    pub fn look(&self) -> Result<(), Denied> {
        self.limiter.look_on(self.limiter.current_plan(), self.key, 1, 0)
    }

    /// Where the key stands with every quota of the policy, as [`RateLimiter::standing`] tells.
    pub fn standing(&self) -> Standing {
        self.limiter.standing_of(self.key)
    }

    /// Forgets what the key has spent, as [`RateLimiter::reset`] does.
    pub fn reset(&self) {
        self.limiter.reset_of(self.key);
    }
}

impl fmt::Debug for Account<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key: its hash is the limiter's secret.
        f.debug_struct("Account").field("standing", &self.standing()).finish_non_exhaustive()
    }
}
