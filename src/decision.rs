//! What a check answers: [`Permit`] or [`Denied`], each with a [`Status`].

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use crate::name::Name;

/// Where a key stands with one quota: the one that has least left or, in a denial, the one that denied. (If several denied,
/// the one with the longest wait.)
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    pub(crate) quota: Name,
    pub(crate) index: usize,
    pub(crate) limit: u64,
    pub(crate) remaining: u64,
    pub(crate) reset_after_nanos: u64,
}

impl Status {
    /// The name of this quota. A quota without a given name is called by its amount and period, as in `5/minute`.
    pub fn quota(&self) -> &str {
        self.quota.as_str()
    }

    /// The place of that quota in its [`Policy`](crate::Policy), from 0.
    #[inline]
    pub fn quota_index(&self) -> usize {
        self.index
    }

    /// The most that can pass at once: the burst of a token bucket, the amount of a window.
    #[inline]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// How many more would pass now.
    #[inline]
    pub fn remaining(&self) -> u64 {
        self.remaining
    }

    /// How long until the key has its whole limit again, if it is left alone. Rounded up by a few nanoseconds at most.
    #[inline]
    pub fn reset_after(&self) -> Duration {
        Duration::from_nanos(self.reset_after_nanos)
    }
}

/// Where a key stands with every quota of the policy, in the policy's order. Never empty.
///
/// From [`RateLimiter::standing`](crate::RateLimiter::standing), or, in an HTTP handler, from the request's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    each: Cow<'static, [Status]>,
}

impl Standing {
    /// What there is to say on the unlimited plan.
    pub(crate) const UNLIMITED: Self = Self { each: Cow::Borrowed(&[Permit::UNLIMITED.status]) };

    /// Of at least one quota.
    pub(crate) fn of(each: impl IntoIterator<Item = Status>) -> Self {
        Self { each: each.into_iter().collect() }
    }

    /// The quota that has least left.
    pub fn tightest(&self) -> &Status {
        self.each.iter().min_by_key(|status| status.remaining()).expect("a policy has at least one quota")
    }
}

impl Deref for Standing {
    type Target = [Status];

    fn deref(&self) -> &[Status] {
        &self.each
    }
}

/// Leave to go on: the check passed and was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    pub(crate) status: Status,
}

impl Permit {
    /// What a check on the unlimited plan answers.
    pub(crate) const UNLIMITED: Self = Self {
        status: Status { quota: Name::UNLIMITED, index: 0, limit: u64::MAX, remaining: u64::MAX, reset_after_nanos: 0 },
    };

    /// Where the key stands after this charge.
    #[inline]
    pub fn status(&self) -> &Status {
        &self.status
    }
}

/// The limit was reached: nothing was charged, to any quota.
///
/// This is an ordinary answer, not a fault. It is an error, so that it cannot be overlooked and `?` works. With the
/// feature `axum` it is a 429 response when a handler returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    pub(crate) status: Status,
    pub(crate) retry_after_nanos: Option<u64>,
}

impl Denied {
    /// Longer than any wait: time has come to its end for the quota.
    pub(crate) const TIME_HAS_ENDED: u64 = u64::MAX;

    /// Where the key stands.
    #[inline]
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How long to wait until the same request passes every quota, if nobody else charges the key
    /// in the meantime. Exact to the nanosecond: one earlier, it would be denied.
    ///
    /// `None` when it can never pass, because its cost is above what the quota grants at most. (Or because the limiter has
    /// run for decades, and can tell time no further. Fast windows reach less far: see
    /// [`Algorithm`](crate::Algorithm#for-how-long). The text of the denial says which it is.)
    #[inline]
    pub fn retry_after(&self) -> Option<Duration> {
        self.wait_nanos().map(Duration::from_nanos)
    }

    /// Whether no wait helps: [`retry_after`](Self::retry_after) is `None`.
    #[inline]
    pub fn is_permanent(&self) -> bool {
        self.wait_nanos().is_none()
    }

    #[inline]
    fn wait_nanos(&self) -> Option<u64> {
        self.retry_after_nanos.filter(|&nanos| nanos != Self::TIME_HAS_ENDED)
    }

    /// [`retry_after`](Self::retry_after) as HTTP's `Retry-After` has it (RFC 9110, section 10.2.3): whole
    /// seconds, rounded up, never below 1.
    pub fn retry_after_secs(&self) -> Option<u64> {
        self.wait_nanos().map(|nanos| nanos.div_ceil(1_000_000_000).max(1))
    }
}

/// Whether one wait in nanoseconds is longer than another. `None`, where no wait helps, is longer than any.
pub(crate) fn is_longer(this: Option<u64>, other: Option<u64>) -> bool {
    match (this, other) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(this), Some(other)) => this > other,
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Status { quota, limit, .. } = &self.status;
        match self.retry_after() {
            None if self.retry_after_nanos.is_some() => {
                write!(f, "rate limit {} can tell time no further; make a new limiter", quota.as_str())
            }
            Some(wait) => write!(f, "rate limit {} reached; retry after {wait:?}", quota.as_str()),
            None => write!(f, "the cost is above the {limit} that rate limit {} ever grants", quota.as_str()),
        }
    }
}

impl std::error::Error for Denied {}
