//! [`NotReady`]: why there was no waiting.

use std::fmt;

use crate::decision::Denied;

/// Waiting was refused, or took too long. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReady {
    /// It can never pass: its cost is above what a quota can ever grant.
    Never(Denied),
    /// It would take longer than allowed. That was known from the start, or turned out later, because others asked directly.
    TooLong(Denied),
    /// As many wait already as the limiter lets wait, for this key or for all together.
    TooManyWaiters(Denied),
}

impl NotReady {
    /// The denial instead. Its [`retry_after`](Denied::retry_after) counts those who wait for the same key.
    pub fn denied(&self) -> &Denied {
        match self {
            Self::Never(denied) | Self::TooLong(denied) | Self::TooManyWaiters(denied) => denied,
        }
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never(denied) => write!(f, "no use waiting: {denied}"),
            Self::TooLong(denied) => write!(f, "the wait would be too long: {denied}"),
            Self::TooManyWaiters(denied) => write!(f, "too many wait already: {denied}"),
        }
    }
}

impl std::error::Error for NotReady {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(self.denied())
    }
}
