//! What hyper needs of the runtime: tasks on this thread, and time.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::Poll;
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

/// Spawns the streams of a client's HTTP/2 connection on this thread. One that nothing moves for so long is ended: a client that opens
/// no window for a response would hold the upstream for ever. (What waits for the upstream has deadlines of its own, which move it.)
#[derive(Clone, Copy, Debug)]
pub(super) struct Streams {
    pub(super) patience: Duration,
}

impl<F: Future + 'static> Executor<F> for Streams {
    fn execute(&self, future: F) {
        let patience = self.patience;
        tokio::task::spawn_local(async move {
            let (mut future, mut sleep) = (pin!(future), pin!(tokio::time::sleep(patience)));
            poll_fn(|cx| {
                let is_late = sleep.is_elapsed();
                if future.as_mut().poll(cx).is_ready() || is_late {
                    return Poll::Ready(());
                }
                sleep.as_mut().reset(tokio::time::Instant::now() + patience);
                sleep.as_mut().poll(cx)
            })
            .await;
        });
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
