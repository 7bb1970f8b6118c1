//! Waiting instead of being denied, first come first served, with tokio's timers.
//!
//! ```
//! use std::time::Duration;
//! use tollgate::{Quota, RateLimiter};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tollgate::NotReady> {
//! let limiter = RateLimiter::new(Quota::per_second(100).burst(1));
//! for _ in 0..3 {
//!     limiter.until_ready("api.example.com").await?; // 10 ms apart
//! }
//!
//! // No longer than this: denied at once if it would take longer.
//! let limiter = RateLimiter::new(Quota::per_hour(1));
//! limiter.check("api.example.com").unwrap();
//! let turn = limiter.until_ready("api.example.com");
//! let answer = turn.within(Duration::from_secs(1)).await;
//! assert!(answer.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! # Order
//!
//! Each key has a queue of its own, in the order of arrival. [`until_ready`](RateLimiter::until_ready) arrives when it is first
//! polled, and a layer's request when the layer is called. All who wait for one key of one limiter share its queue, from
//! `until_ready` and from layers, on any [plan](crate::Plan). Only the unlimited plan waits for nobody. Nobody overtakes:
//! while somebody waits, a newcomer waits too, even if its own smaller cost would pass. Different keys do not wait for each
//! other.
//!
//! Only the first of a queue asks the limiter, sleeps as long as it is told, and asks again. When it has passed or is
//! dropped, the next one is the first. So nothing is charged in advance. A waiter that is dropped has charged
//! nothing, and gives its place back.
//!
//! Poll a future that has its place, or drop it. One that is kept without being polled holds up those behind it, as with any
//! fair lock.
//!
//! # What this does not do
//!
//! - [`check`](RateLimiter::check) does not queue. Direct checks, and layers that do not delay, can take what the waiters of a
//!   key wait for. Where that matters, ask for everything by `until_ready`.
//! - It does not keep the order between machines, or between limiters.
//! - It does not reserve. The wait that a newcomer is told counts those who wait. It does not count who will ask directly, nor
//!   who will give up. Costs above 1 can leave a part of a window unused, and the windows of several quotas can hold each
//!   other up. Then the wait is longer than foreseen. So a timer keeps the bound of [`within`](UntilReady::within) too, for each
//!   waiter.
//!
//! # Time
//!
//! The limiter's [`Clock`](crate::Clock) decides. tokio's timers only wake: after each sleep the limiter is asked
//! again. Timers are exact to a millisecond, and no sleep is shorter. So above 1000 per second, waiters pass in small
//! bunches. They pass at the full rate as long as the burst holds what comes in a few milliseconds. If the limiter's clock stands
//! still, the first waiter of each key asks again after each `retry_after`, and never in a busy loop. The bound of a wait is
//! measured by tokio's time alone.
//!
//! To test code that waits, without waiting, let the limiter follow tokio's time, and pause that (tokio's feature
//! `test-util`). tokio then moves its time from timer to timer, as soon as all tasks wait.
//!
//! ```
//! use std::time::Duration;
//! use tollgate::{Clock, Quota, RateLimiter};
//!
//! // In a test: #[tokio::test(start_paused = true)]
//! #[tokio::main(flavor = "current_thread", start_paused = true)]
//! async fn main() {
//!     let clock = Clock::tokio();
//!     let limiter = RateLimiter::builder(Quota::per_hour(1))
//!         .clock(clock.clone())
//!         .build();
//!     limiter.until_ready("key").await.unwrap();
//!     limiter.until_ready("key").await.unwrap(); // an hour later
//!     assert_eq!(clock.elapsed(), Duration::from_secs(3600));
//! }
//! ```
//!
//! A limiter on [`Clock::manual`](crate::Clock::manual) works as well. But a waiter that sleeps notices that its clock was
//! moved only when tokio's time has passed too. With tokio's time paused and a manual clock that nobody moves, a wait
//! without a bound never ends.

mod clock;
#[cfg(feature = "tower")]
mod delayed;
mod line;
mod not_ready;
mod until_ready;

use std::hash::Hash;

use crate::limiter::RateLimiter;

use line::Ask;

#[cfg(feature = "tower")]
pub use delayed::Delayed;

pub use not_ready::NotReady;
pub use until_ready::UntilReady;

impl RateLimiter {
    /// Waits until one passes, and charges it then. Those who wait for a key pass in the order in which they came: see
    /// [`wait`](crate::wait). (Needs the feature `tokio`.)
    ///
    /// ```
    /// use tollgate::{Quota, RateLimiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tollgate::NotReady> {
    /// let limiter = RateLimiter::new(Quota::per_second(20));
    /// limiter.until_ready("api.example.com").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// The key is hashed now. The place in the queue is taken at the first poll. Dropping the future gives the place back, and
    /// nothing was charged. The future owns all that it needs, so it can be sent to another task.
    ///
    /// # Errors
    ///
    /// At once: [`NotReady`] when it could never pass, or when too many wait already. For a bound on the time see
    /// [`UntilReady::within`].
    ///
    /// # Panics
    ///
    /// The future panics if it has to wait outside a tokio runtime that has its timers enabled.
    pub fn until_ready<K: Hash + ?Sized>(&self, key: &K) -> UntilReady {
        self.until_ready_n(key, 1)
    }

    /// Waits until `cost` passes at once, and charges all of it then. A cost of 0 passes at once, even if others wait. (Needs
    /// the feature `tokio`.)
    ///
    /// # Errors
    ///
    /// As [`until_ready`](Self::until_ready). A cost above what a quota can ever grant is refused at once.
    ///
    /// # Panics
    ///
    /// As [`until_ready`](Self::until_ready).
    pub fn until_ready_n<K: Hash + ?Sized>(&self, key: &K, cost: u64) -> UntilReady {
        UntilReady::new(Ask { limiter: self.clone(), fingerprint: self.fingerprint(key), cost })
    }
}
