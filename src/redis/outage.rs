//! [`WhenUnreachable`]: what a check is answered while the server does not answer.

use std::num::NonZeroU32;

/// What a check is answered while the server does not answer.
///
/// | | a client gets | for |
/// |---|---|---|
/// | [`Local`](Self::Local) | its limit, or its share of it, from each program | nearly everything |
/// | [`Open`](Self::Open) | everything | limits that are a courtesy |
/// | [`Closed`](Self::Closed) | nothing | limits that must hold, whatever that costs |
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenUnreachable {
    /// Each program limits by itself, to the share of the limit that it has if so many programs share it.
    ///
    /// Every program starts with its share of the burst. So while the server is away, all of them together admit at most the
    /// limit once more, if there are no more programs than said. With 1, which is the default, each enforces the whole limit
    /// alone, and so together they may admit as many times more as there are programs: say how many there are.
    ///
    /// A share is one part in so many. (For two fifths say 3, so that no more passes than should.) It is rounded down. But a burst, and
    /// the amount of a window, is at least 1.
    Local {
        /// How many programs share the limit.
        programs: NonZeroU32,
    },
    /// Every check passes.
    Open,
    /// Every check is denied, for a second at a time. (One that costs nothing passes.)
    Closed,
}

impl WhenUnreachable {
    /// Each program limits by itself, to its share if so many programs share the limit.
    ///
    /// # Panics
    ///
    /// If `programs` is 0.
    #[track_caller]
    pub const fn local(programs: u32) -> Self {
        match NonZeroU32::new(programs) {
            Some(programs) => Self::Local { programs },
            None => panic!("a limit is shared by at least one program"),
        }
    }
}

impl Default for WhenUnreachable {
    /// Local, by one program.
    fn default() -> Self {
        Self::local(1)
    }
}
