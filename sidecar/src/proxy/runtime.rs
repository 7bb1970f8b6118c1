//! What hyper needs of the runtime: tasks on this thread, and time.

use std::pin::Pin;
use std::time::{Duration, Instant};

use hyper::rt::{Executor, Sleep};
use hyper_util::rt::TokioTimer;

/// Spawns on this thread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here;

impl<F: Future + 'static> Executor<F> for Here
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// tokio's time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timer;

impl hyper::rt::Timer for Timer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep(duration)
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        TokioTimer::new().sleep_until(deadline)
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn Sleep>>, deadline: Instant) {
        TokioTimer::new().reset(sleep, deadline);
    }
}
