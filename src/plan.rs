//! [`Plan`]: which of a limiter's policies a check is judged by.

use std::fmt;

use crate::policy::Policy;

/// Which of a limiter's policies a check is judged by: the default one, one added when it was built
/// ([`RateLimiterBuilder::plan`](crate::RateLimiterBuilder::plan)), or none at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Plan(u8);

impl Plan {
    /// The policy that the limiter was made with.
    pub const DEFAULT: Self = Self(0);

    /// No limit: every check passes, and nothing is counted.
    pub const UNLIMITED: Self = Self(u8::MAX);

    /// How many plans a limiter can have beside the default one. Every doubling costs a bit of each fingerprint.
    pub(crate) const NAMED_MAX: usize = 15;

    pub(crate) fn numbered(index: usize) -> Self {
        Self(index as u8) // at most NAMED_MAX
    }

    /// The number of the policy; `None` if there is none.
    #[inline]
    pub(crate) fn index(self) -> Option<usize> {
        (self != Self::UNLIMITED).then_some(usize::from(self.0))
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
    /// A key's account has a place for each quota, so all policies of a limiter have equally many.
    Shape {
        /// How many quotas the limiter has.
        expected: usize,
        /// How many quotas this policy has.
        given: usize,
    },
    /// There is a plan of this name.
    Duplicate(String),
    /// A limiter has at most 15 plans beside the default one.
    TooMany,
}

impl PlanErrorKind {
    /// Whether a policy fits accounts of `expected` quotas.
    pub(crate) fn check_shape(expected: usize, policy: &Policy) -> Result<(), PlanError> {
        let given = policy.quotas().len();
        if given == expected { Ok(()) } else { Err(Self::Shape { expected, given }.into()) }
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
            PlanErrorKind::Shape { expected, given } => write!(
                f,
                "the policy has {given} quotas where the limiter has {expected}; all policies of a limiter have equally many"
            ),
            PlanErrorKind::Duplicate(name) => write!(f, "there are two plans called {name:?}"),
            PlanErrorKind::TooMany => {
                write!(f, "a limiter has at most {} plans beside the default one", Plan::NAMED_MAX)
            }
        }
    }
}

impl std::error::Error for PlanError {}
