//! [`Plan`]: which of a limiter's policies a check is judged by.

/// Which of a limiter's policies a check is judged by: the default one, one that was
/// [added](crate::RateLimiterBuilder::plan) when the limiter was built, or none at all.
///
/// A plan that was added belongs to its limiter, and [`RateLimiter::on`](crate::RateLimiter::on) refuses it from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    index: u8,
    /// The limiter that it belongs to; 0 for those of every limiter.
    limiter: u64,
}

impl Plan {
    /// The policy that the limiter was made with.
    pub const DEFAULT: Self = Self { index: 0, limiter: 0 };

    /// No limit: every check passes, and nothing is counted.
    pub const UNLIMITED: Self = Self { index: u8::MAX, limiter: 0 };

    /// How many plans a limiter can have beside the default one. Every doubling costs a bit of each fingerprint.
    pub(crate) const NAMED_MAX: usize = 15;

    /// A plan of the limiter with this number.
    pub(crate) fn of_limiter(limiter: u64, index: usize) -> Self {
        Self { index: index as u8, limiter } // at most NAMED_MAX
    }

    /// The number of the limiter that it belongs to; `None` if every limiter has it.
    pub(crate) fn limiter(self) -> Option<u64> {
        (self.limiter != 0).then_some(self.limiter)
    }

    /// The number of the policy; `None` if there is none.
    #[inline]
    pub(crate) fn index(self) -> Option<usize> {
        (self.index != u8::MAX).then_some(usize::from(self.index))
    }
}

impl Default for Plan {
    fn default() -> Self {
        Self::DEFAULT
    }
}
