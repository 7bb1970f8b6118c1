//! [`Plan`]: which of a limiter's policies a check is judged by.

use std::fmt;

use crate::policy::{Policy, QUOTAS_MAX};

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

/// The error of a plan that does not fit its limiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanError {
    kind: PlanErrorKind,
}

/// Why a plan does not fit its limiter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlanErrorKind {
    /// The policy has more quotas than the limiter has room for. A key's account has a place for each quota, and how many there are
    /// is [said when the limiter is built](crate::RateLimiterBuilder::quotas).
    TooManyQuotas {
        /// How many quotas the limiter has room for.
        most: usize,
        /// How many quotas this policy has.
        given: usize,
    },
    /// Room for no quota, or for more than the 8 that a policy can have.
    Quotas(usize),
    /// There is a plan of this name.
    Duplicate(String),
    /// A limiter has at most 15 plans beside the default one.
    TooMany,
    /// The plan belongs to another limiter.
    Foreign,
    /// The unlimited plan has no policy that could be replaced.
    Unlimited,
    /// A capacity of 0, or above 2^32 keys.
    Capacity(usize),
    /// More than 1024 offenders to keep.
    Offenders(usize),
}

impl PlanErrorKind {
    /// Whether a policy fits accounts of at most `most` quotas.
    pub(crate) fn check_quotas(most: usize, policy: &Policy) -> Result<(), PlanError> {
        let given = policy.quotas().len();
        if given <= most { Ok(()) } else { Err(Self::TooManyQuotas { most, given }.into()) }
    }
}

impl PlanError {
    /// What does not fit.
    pub fn kind(&self) -> &PlanErrorKind {
        &self.kind
    }
}

impl From<PlanErrorKind> for PlanError {
    fn from(kind: PlanErrorKind) -> Self {
        Self { kind }
    }
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            PlanErrorKind::TooManyQuotas { most, given } => write!(
                f,
                "the policy has {given} quotas where the limiter has room for {most}; \
                 build the limiter with `.quotas({given})`"
            ),
            PlanErrorKind::Quotas(quotas) => write!(f, "a limiter has room for 1 to {QUOTAS_MAX} quotas, not {quotas}"),
            PlanErrorKind::Duplicate(name) => write!(f, "there are two plans called {name:?}"),
            PlanErrorKind::TooMany => {
                write!(f, "a limiter has at most {} plans beside the default one", Plan::NAMED_MAX)
            }
            PlanErrorKind::Foreign => f.write_str("the plan is another limiter's; take it from this one, by its name"),
            PlanErrorKind::Unlimited => f.write_str("the unlimited plan has no policy to replace"),
            PlanErrorKind::Capacity(keys) => write!(f, "a capacity is between 1 and 2^32 keys, not {keys}"),
            PlanErrorKind::Offenders(keys) => write!(f, "at most 1024 offenders are kept, not {keys}"),
        }
    }
}

impl std::error::Error for PlanError {}
