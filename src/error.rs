//! [`PolicyError`]: a quota or a policy that cannot be.

use std::fmt;

use crate::name::{NAME_MAX, Name};

/// Why a [`Quota`](crate::Quota) or a [`Policy`](crate::Policy) cannot be kept. It is given when they are built, never by a
/// check. Its text says what would do.
///
/// ```
/// use std::time::Duration;
/// use tollgate::{PolicyError, Quota};
///
/// let error = Quota::new(5, Duration::ZERO).unwrap_err();
/// assert_eq!(error, PolicyError::ZeroPeriod);
/// assert_eq!(error.to_string(), "a period must be longer than zero");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// The period is zero.
    ZeroPeriod,
    /// The period is longer than 3660 days.
    PeriodTooLong,
    /// More than 10⁹ per second.
    RateTooHigh,
    /// A burst of zero with an amount above zero, or the other way round.
    ZeroBurst,
    /// An empty bucket would take more than 100 years to fill.
    BurstTooLarge,
    /// A window with a burst other than its amount.
    WindowBurst,
    /// A window with an amount above 2⁴⁰.
    WindowTooLarge,
    /// A policy without a quota.
    NoQuota,
    /// A policy of more than 8 quotas.
    TooManyQuotas,
    /// Two quotas of a policy with one name. The text shows it.
    #[non_exhaustive]
    DuplicateName {
        #[doc(hidden)]
        name: ShownName,
    },
    /// A name that is not 1 to 31 letters, digits, `-`, `_` or `.`, starting with a letter (all of them ASCII). The text
    /// shows it.
    #[non_exhaustive]
    BadName {
        #[doc(hidden)]
        name: ShownName,
    },
}

/// The name that an error is about, cut where it gets long. Inline, because quotas are built in constants too, and a constant
/// cannot drop a `String`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ShownName {
    name: Name,
    is_cut: bool,
}

impl ShownName {
    fn new(name: &str) -> Self {
        let end = (0..=name.len().min(NAME_MAX)).rev().find(|&end| name.is_char_boundary(end)).unwrap_or_default();
        Self { name: Name::inline(&name[..end]).expect("cut to fit"), is_cut: end < name.len() }
    }
}

impl PolicyError {
    pub(crate) fn duplicate_name(name: &str) -> Self {
        Self::DuplicateName { name: ShownName::new(name) }
    }

    pub(crate) fn bad_name(name: &str) -> Self {
        Self::BadName { name: ShownName::new(name) }
    }

    /// What is wrong and what would be right, but for the name that this may be about.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::ZeroPeriod => "a period must be longer than zero",
            Self::PeriodTooLong => "a period is at most 3660 days (ten years)",
            Self::RateTooHigh => "a rate is at most 1000000000 per second",
            Self::ZeroBurst => {
                "burst and amount must both be above zero; to deny everything, write an amount of 0 and no burst"
            }
            Self::BurstTooLarge => "a burst must refill within 100 years at the quota's rate",
            Self::WindowBurst => {
                "a window admits its amount and has no burst; leave out the burst, or use a token bucket"
            }
            Self::WindowTooLarge => "a window's amount is at most 2^40 (1099511627776); use a token bucket",
            Self::NoQuota => "a policy needs at least one quota",
            Self::TooManyQuotas => "a policy has at most 8 quotas",
            Self::DuplicateName { .. } => "give each a name of its own, as in \"burst: 5/second; daily: 100/day\"",
            Self::BadName { .. } => {
                "a name is 1 to 31 letters, digits, '-', '_' or '.' (ASCII), and starts with a letter"
            }
        }
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // No given name starts with a digit.
            Self::DuplicateName { name } if name.name.as_str().starts_with(|c: char| c.is_ascii_digit()) => {
                write!(f, "two quotas without a name go by {name:?}; ")?;
            }
            Self::DuplicateName { name } => write!(f, "two quotas are called {name:?}; ")?,
            Self::BadName { name } => write!(f, "{name:?} is not a name; ")?,
            _ => {}
        }
        f.write_str(self.text())
    }
}

impl std::error::Error for PolicyError {}

impl fmt::Debug for ShownName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}{}", self.name, if self.is_cut { "..." } else { "" })
    }
}
