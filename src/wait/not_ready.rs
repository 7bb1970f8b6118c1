//! [`NotReady`]: why there was no waiting.

use std::fmt;

use crate::decision::Denied;

/// Waiting was refused, or took too long. Nothing was charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotReady {
    pub(crate) kind: NotReadyKind,
    pub(crate) denied: Denied,
}

/// Why waiting was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NotReadyKind {
    /// It can never pass: its cost is above what a quota can ever grant.
    Never,
    /// It would take longer than allowed. That was known from the start, or turned out later, because others asked directly.
    TooLong,
    /// As many wait already as the limiter lets wait, for this key or for all together.
    TooManyWaiters,
}

impl NotReady {
    /// Why it was refused.
    pub fn kind(&self) -> NotReadyKind {
        self.kind
    }

    /// The denial instead. Its [`retry_after`](Denied::retry_after) counts those who wait for the same key.
    pub fn denied(&self) -> &Denied {
        &self.denied
    }
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            NotReadyKind::Never => write!(f, "no use waiting: {}", self.denied),
            NotReadyKind::TooLong => write!(f, "the wait would be too long: {}", self.denied),
            NotReadyKind::TooManyWaiters => write!(f, "too many wait already: {}", self.denied),
        }
    }
}

impl std::error::Error for NotReady {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.denied)
    }
}
