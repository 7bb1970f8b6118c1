//! [`SetupError`] and [`Unanswered`]: what cannot be set up, and what the server did not do.

use std::fmt;
use std::sync::Arc;

use super::script::Unkept;
use crate::setting_error::SettingError;

/// Why a store or a limiter cannot be set up. No text of it shows a URL, since that may have a password.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SetupError {
    /// The URL is not one of a Redis server.
    Url,
    /// The URL asks for TLS, and this program was built without it. Or root certificates are given that are none, or that the
    /// URL does not need.
    Tls,
    /// The name of a limiter is empty or longer than 100 bytes.
    Name,
    /// A quota cannot be counted exactly on the server, where time is whole microseconds and numbers are below 2^53.
    Quota {
        /// What the quota is called.
        name: String,
        /// Whether its period is too short; otherwise its burst or amount is too large.
        too_short: bool,
    },
    /// The prefix of a store's keys is longer than 64 bytes, or has something else in it than ASCII letters, digits and `-_.:/`.
    Prefix,
    /// Leases were asked for, and they cannot pay under this policy.
    Leases(Unleasable),
    /// The plans, the room for quotas or the capacity do not fit.
    Plan(SettingError),
}

/// Why leases cannot pay.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unleasable {
    /// There is no token bucket among the quotas. What is lent is over with the window, which lets all pass at once anyway.
    NoBucket,
    /// The burst of a bucket, or the amount of a window, is too small for so many programs.
    TooSmall {
        /// What the quota is called.
        name: String,
        /// How large it must be: 100 for each program.
        least: u64,
    },
    /// A bucket is full again so soon that a lease would be over at once.
    TooFast {
        /// What the quota is called.
        name: String,
    },
    /// A bucket's rate is so low that there is nothing to save.
    TooSlow {
        /// What the quota is called.
        name: String,
    },
    /// A window, or the part in which a strict window counts, is hardly longer than a lease.
    ShortWindow {
        /// What the quota is called.
        name: String,
    },
}

impl fmt::Display for Unleasable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoBucket => f.write_str("there is no token bucket"),
            Self::TooSmall { name, least } => {
                write!(f, "the limit of quota {name} is below {least}, which is 100 for each program")
            }
            Self::TooFast { name } => {
                write!(f, "the burst of quota {name} is full again too soon, in less than 0.31 s")
            }
            Self::TooSlow { name } => write!(f, "the rate of quota {name} is too slow, so there is nothing to save"),
            Self::ShortWindow { name } => write!(f, "the window of quota {name} is too short"),
        }
    }
}

impl SetupError {
    pub(super) fn quota(name: &str, why: Unkept) -> Self {
        Self::Quota { name: name.to_owned(), too_short: why == Unkept::TooShort }
    }
}

impl From<Unleasable> for SetupError {
    fn from(why: Unleasable) -> Self {
        Self::Leases(why)
    }
}

impl From<SettingError> for SetupError {
    fn from(error: SettingError) -> Self {
        Self::Plan(error)
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url => f.write_str(
                "this is not the URL of a Redis server: write redis://host:port, or redis://user:password@host:port/database \
                 with what is special in a password percent-encoded",
            ),
            Self::Tls => f.write_str(
                "TLS needs a URL that begins with rediss, the feature `redis-tls`, and root certificates in PEM, if any are given",
            ),
            Self::Name => f.write_str("a limiter on a server needs a name of 1 to 100 bytes"),
            Self::Quota { name, too_short: true } => {
                write!(f, "quota {name} is too short for the server, which counts whole microseconds")
            }
            Self::Quota { name, too_short: false } => {
                write!(f, "quota {name} is too large for the server, which counts exactly up to 2^52 parts of a request")
            }
            Self::Prefix => {
                f.write_str("a prefix of keys has at most 64 bytes, each a letter, a digit, or one of -_.:/")
            }
            Self::Leases(why) => write!(f, "leases cannot pay here: {why}"),
            Self::Plan(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SetupError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Plan(error) => Some(error),
            _ => None,
        }
    }
}

/// The error of what only the server can do, when it does not answer. It may have been done all the same, unless
/// [`was_not_sent`](Self::was_not_sent).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub(super) kind: UnansweredKind,
    pub(super) text: Arc<str>,
}

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum UnansweredKind {
    /// The server has not answered for a while, so it was not asked.
    Open,
    /// There is no connection to the server.
    NotConnected,
    /// The connection was lost.
    Lost,
    /// The server did not answer in time.
    Deadline,
    /// The server refused: it is full, read-only, loading, or does not let this program do it.
    Refused,
    /// The key holds something else than a limit.
    ForeignValue,
}

impl Unanswered {
    pub(super) fn new(kind: UnansweredKind, text: impl Into<Arc<str>>) -> Self {
        Self { kind, text: text.into() }
    }

    /// Why there was no answer.
    pub fn kind(&self) -> UnansweredKind {
        self.kind
    }

    /// Whether several subjects were asked about in one call that a cluster has in different places, or is about to. Nothing was done.
    pub(super) fn is_apart(&self) -> bool {
        self.kind == UnansweredKind::Refused && ["CROSSSLOT", "TRYAGAIN"].iter().any(|code| self.text.starts_with(code))
    }

    /// Whether it was a replica that was asked.
    pub(super) fn is_read_only(&self) -> bool {
        self.kind == UnansweredKind::Refused && self.text.starts_with("READONLY")
    }

    /// Whether it is known that nothing was done.
    pub fn was_not_sent(&self) -> bool {
        !matches!(self.kind, UnansweredKind::Lost | UnansweredKind::Deadline)
    }
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            UnansweredKind::Open => "the Redis server has not answered for a while, and was not asked",
            UnansweredKind::NotConnected => "there is no connection to the Redis server",
            UnansweredKind::Lost => "the connection to the Redis server was lost",
            UnansweredKind::Deadline => "the Redis server did not answer in time",
            UnansweredKind::Refused => "the Redis server refused",
            UnansweredKind::ForeignValue => "the Redis key holds something else than a limit",
        })?;
        if self.text.is_empty() { Ok(()) } else { write!(f, ": {}", self.text) }
    }
}

impl std::error::Error for Unanswered {}
