//! [`UntilReady`]: the future of [`RateLimiter::until_ready`](crate::RateLimiter::until_ready).

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;

use super::line::{Arrival, Ask, InLine};
use crate::decision::Permit;
use crate::wait::NotReady;

pin_project! {
    /// Waits until a key may pass. Made by [`RateLimiter::until_ready`](crate::RateLimiter::until_ready).
    ///
    /// It takes its place in the queue at the first poll, and gives it back when it is dropped.
    #[derive(Debug)]
    #[must_use = "a future does nothing unless it is polled"]
    pub struct UntilReady {
        #[pin]
        state: Progress,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = ProgressProjection]
    enum Progress {
        // The ask is taken when the wait begins.
        Arriving { ask: Option<Ask>, bound: Option<Duration> },
        Waiting { #[pin] line: InLine },
    }
}

impl UntilReady {
    pub(super) fn new(ask: Ask) -> Self {
        Self { state: Progress::Arriving { ask: Some(ask), bound: None } }
    }

    /// Waits no longer than this, counted from the first poll. tokio's timers can add a millisecond or two.
    ///
    /// A wait that would take longer is refused at once, as far as that [can be known](crate::wait#what-this-does-not-do). The
    /// denial says how long it would take. At the end of the time the wait is refused in any case. A bound of zero is a
    /// check that does not overtake those who wait.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tollgate::{NotReady, Quota, RateLimiter};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let limiter = RateLimiter::new(Quota::per_minute(2));
    /// limiter.until_ready_n("key", 2).await.unwrap();
    /// let turn = limiter.until_ready("key").within(Duration::from_secs(10));
    /// let refused = turn.await.unwrap_err();
    /// assert!(matches!(refused, NotReady::TooLong(_)));
    /// assert!(refused.denied().retry_after().unwrap() > Duration::from_secs(29));
    /// # }
    /// ```
    pub fn within(mut self, longest: Duration) -> Self {
        if let Progress::Arriving { bound, .. } = &mut self.state {
            *bound = Some(longest);
        }
        self
    }
}

impl Future for UntilReady {
    type Output = Result<Permit, NotReady>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match self.as_mut().project().state.project() {
                ProgressProjection::Arriving { ask, bound } => {
                    let ask = ask.take().expect("a future is not polled after it is ready");
                    let bounds = ask.limiter.queues().bounds();
                    match ask.arrive(*bound, bounds)? {
                        Arrival::Passed(reservation) => return Poll::Ready(Ok(*reservation.permit())),
                        Arrival::Waits(line, _) => self.as_mut().project().state.set(Progress::Waiting { line }),
                    }
                }
                ProgressProjection::Waiting { line } => {
                    return Poll::Ready(ready!(line.poll(cx)).map(|reservation| *reservation.permit()));
                }
            }
        }
    }
}
