//! [`Clock::tokio`]: tokio's time, which tests can pause.

use tokio::time::Instant;

use crate::clock::Clock;

impl Clock {
    /// A clock that follows tokio's time from now on, so that a test which pauses that also pauses the limiter; see
    /// [`wait`](crate::wait#time). Its Unix time starts as that of [`manual`](Self::manual) does.
    ///
    /// While tokio's time is not paused it is the system's, read more slowly than [`Clock::system`] does.
    /// Outside a tokio runtime it is never paused.
    pub fn tokio() -> Self {
        let start = Instant::now();
        Self::following(move || start.elapsed())
    }
}
