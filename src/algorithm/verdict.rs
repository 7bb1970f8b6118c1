//! [`Verdict`]: what an algorithm says.

/// What an algorithm says to a cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It passes, and this is the word then.
    Allow(u64),
    /// It would pass at this time, in nanoseconds of the limiter's clock, and not one earlier.
    Wait(u64),
    /// It can never pass: the cost is above the limit.
    Never,
}
