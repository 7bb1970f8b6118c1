//! [`Policy`]: one or several named quotas judged together.

use std::fmt;

use crate::error::PolicyError;
use crate::name::Name;
use crate::quota::Quota;

/// The most quotas one policy may have. Each costs 8 bytes per key and one cache line per check.
pub(crate) const QUOTAS_MAX: usize = 8;

/// One or several named quotas, judged together: either all of them are charged or none is.
///
/// A denial names the quota that denied, and its `retry_after` is when *all* of them would pass.
///
/// ```
/// use tollgate::{Policy, Quota};
///
/// let logins: Policy = "5/minute; 100/day".parse()?;
/// let api = Policy::new([
///     ("burst", Quota::per_second(10)),
///     ("daily", Quota::per_day(1000)),
/// ])?;
/// assert_eq!(api.to_string(), "burst: 10/second; daily: 1000/day");
/// # let _ = logins;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What clients will see
///
/// Somebody who asks all the time under `5/minute; 100/day` is let pass 5 times at once and then once
/// each 12 s. After some 20 minutes the day's 100 are spent as well, and from then on
/// a request passes each 14 minutes and 24 seconds: the slowest quota sets the pace. A denied request
/// costs nothing, so asking again does not make the wait longer.
///
/// # Names
///
/// Denials, headers and logs name the quota that they are about. A name is 1 to 31 letters, digits,
/// `-`, `_` or `.`, all of them ASCII, and starts with a letter. Names are told apart as written, `api`
/// from `API`, and no two quotas of a policy have the same. A quota without a given name goes by
/// its amount and period, as in `5/minute`.
///
/// # String form
///
/// Quotas (see [`Quota`]) joined by one of `;` `,` `|`, each with an optional `name:` in front:
/// `login: 5/minute; 100/day`. At most 1024 bytes. [`Display`](fmt::Display) writes the canonical
/// form, which parses back to the same policy. The feature `serde` reads and writes policies in
/// configuration files, also as tables.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Policy {
    quotas: Vec<(Name, Quota)>,
}

impl Policy {
    /// A policy of named quotas, in the order given.
    ///
    /// # Errors
    ///
    /// When there is no quota or more than 8, when two have the same name, or when a name is not
    /// [one](Self#names).
    pub fn new<N: AsRef<str>>(quotas: impl IntoIterator<Item = (N, Quota)>) -> Result<Self, PolicyError> {
        let mut policy = Self { quotas: Vec::new() };
        for (name, quota) in quotas {
            policy.push(Some(name.as_ref()), quota)?;
        }
        if policy.quotas.is_empty() {
            return Err(PolicyError::NoQuota);
        }
        Ok(policy)
    }

    /// An empty policy is never public: the string form and `new` fill it through `push`.
    pub(crate) fn empty() -> Self {
        Self { quotas: Vec::new() }
    }

    pub(crate) fn push(&mut self, name: Option<&str>, quota: Quota) -> Result<(), PolicyError> {
        let name = match name {
            Some(name) => Name::given(name).ok_or_else(|| PolicyError::bad_name(name))?,
            None => default_name(&quota),
        };
        self.push_named(name, quota)
    }

    /// Adds the quotas of another policy, by the names that they have there.
    #[cfg(feature = "serde")]
    pub(crate) fn append(&mut self, other: &Self) -> Result<(), PolicyError> {
        other.quotas.iter().try_for_each(|&(name, quota)| self.push_named(name, quota))
    }

    fn push_named(&mut self, name: Name, quota: Quota) -> Result<(), PolicyError> {
        if self.quotas.len() == QUOTAS_MAX {
            return Err(PolicyError::TooManyQuotas);
        }
        if self.quotas.iter().any(|(other, _)| *other == name) {
            return Err(PolicyError::duplicate_name(name.as_str()));
        }
        self.quotas.push((name, quota));
        Ok(())
    }

    /// The quotas and their names, in order. A quota without a given name goes by its amount and period,
    /// as in `5/minute`.
    pub fn quotas(&self) -> impl ExactSizeIterator<Item = (&str, &Quota)> {
        self.quotas.iter().map(|(name, quota)| (name.as_str(), quota))
    }

    /// The same, each quota made another, by the names that they have here.
    #[cfg(feature = "redis")]
    pub(crate) fn map(&self, mut other: impl FnMut(&Quota) -> Quota) -> Self {
        Self { quotas: self.quotas.iter().map(|(name, quota)| (*name, other(quota))).collect() }
    }

    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = Name> {
        self.quotas.iter().map(|(name, _)| *name)
    }
}

impl From<Quota> for Policy {
    fn from(quota: Quota) -> Self {
        Self { quotas: vec![(default_name(&quota), quota)] }
    }
}

impl From<&Policy> for Policy {
    fn from(policy: &Policy) -> Self {
        policy.clone()
    }
}

/// What a limiter can be made with: a [`Policy`], or a [`Quota`] alone.
///
/// Text is parsed first, because it can be wrong: `"5/minute".parse::<Policy>()?`. Without that it does not compile:
///
/// ```compile_fail,E0277
/// let limiter = tollgate::RateLimiter::new("5/minute");
/// ```
///
/// This trait is sealed: it cannot be implemented for other types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither a `Policy` nor a `Quota`",
    label = "expected a `Policy` or a `Quota`",
    note = "text is parsed first: `\"5/minute; 100/day\".parse::<Policy>()?`",
    note = "and a number alone needs a period: `Quota::per_second(28)`"
)]
pub trait IntoPolicy: Into<Policy> + sealed::Sealed {}

impl IntoPolicy for Policy {}
impl IntoPolicy for &Policy {}
impl IntoPolicy for Quota {}

mod sealed {
    use super::{Policy, Quota};

    pub trait Sealed {}

    impl Sealed for Policy {}
    impl Sealed for &Policy {}
    impl Sealed for Quota {}
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, quota)) in self.quotas.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            if *name != default_name(quota) {
                write!(f, "{}: ", name.as_str())?;
            }
            quota.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Policy({self})")
    }
}

/// The name of a quota that was not given one: its amount and period, or, where those are too long to be a name,
/// the amount alone.
fn default_name(quota: &Quota) -> Name {
    Name::inline(&quota.amount_and_period())
        .or_else(|| Name::inline(&quota.amount().to_string()))
        .expect("a u64 has at most 20 digits")
}
