//! [`InLine`]: a place in the queue of a key, and the timer that its holder sleeps by.

use std::ops::ControlFlow;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::not_ready::NotReady;
use crate::decision::Denied;
use crate::fingerprint::Fingerprint;
use crate::limiter::RateLimiter;
use crate::queue::{Bounds, Joined, Ticket, Turn};
use crate::reservation::Reservation;

/// The shortest sleep: that of tokio's timers. It keeps a limiter whose clock stands still from a busy loop.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// Who asks whom for how much.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) limiter: RateLimiter,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) cost: u64,
}

/// What comes of arriving.
#[derive(Debug)]
pub(crate) enum Arrival {
    Passed(Reservation),
    /// And what the denial would have been.
    Waits(
        InLine,
        #[cfg_attr(not(feature = "tower"), allow(dead_code, reason = "only the layer reports what it did not deny"))]
        Denied,
    ),
}

pin_project! {
    /// A place in the queue. Dropped, it is given back.
    #[derive(Debug)]
    pub(crate) struct InLine {
        place: Place,
        deadline: Option<Instant>,
        // Of the first in the queue, for its next try; of the others, for just after the deadline.
        #[pin]
        timer: Option<Sleep>,
        // Whether the timer is for the next try.
        tried: bool,
    }
}

#[derive(Debug)]
struct Place {
    ask: Ask,
    /// None once it has been given back.
    ticket: Option<Ticket>,
}

impl Ask {
    /// Passes at once, or takes its place in the queue, unless that is in vain.
    ///
    /// `bound` is the longest wait, and `bounds` how many may wait.
    pub(crate) fn arrive(self, bound: Option<Duration>, bounds: Bounds) -> Result<Arrival, NotReady> {
        let Self { limiter, fingerprint, cost } = &self;
        let queues = limiter.queues();
        // Nobody waits, for any key: no lock is needed. An arrival that does not have to wait overtakes nobody then.
        if *cost == 0 || limiter.is_unlimited() || queues.waiters() == 0 {
            let settled = self.judge(limiter.reserve_fingerprint(*fingerprint, *cost), bound);
            if let ControlFlow::Break(settled) = settled {
                return settled.map(Arrival::Passed);
            }
        }
        let joined = queues.join(*fingerprint, *cost, bounds, |ahead| {
            let answer = match ahead {
                0 => limiter.reserve_fingerprint(*fingerprint, *cost),
                _ => Err(limiter.foresee(*fingerprint, ahead, *cost)),
            };
            self.judge(answer, bound)
        });
        match joined {
            Joined::Out(settled) => settled.map(Arrival::Passed),
            Joined::Full(denied) => Err(NotReady::TooManyWaiters(denied)),
            Joined::In(ticket, denied) => {
                let deadline = bound.map(|bound| sleep(bound).deadline());
                // Where several pass at one time, as when a window opens, the last gets to it a little later.
                let timer = bound.map(|bound| sleep(bound.saturating_add(SLEEP_MIN)));
                let place = Place { ask: self, ticket: Some(ticket) };
                Ok(Arrival::Waits(InLine { place, deadline, timer, tried: false }, denied))
            }
        }
    }

    /// Whether an answer settles the matter (`Break`), or leaves it worth waiting.
    fn judge(
        &self,
        answer: Result<Reservation, Denied>,
        bound: Option<Duration>,
    ) -> ControlFlow<Result<Reservation, NotReady>, Denied> {
        match answer {
            Ok(reservation) => ControlFlow::Break(Ok(reservation)),
            Err(denied) => match denied.retry_after() {
                None => ControlFlow::Break(Err(NotReady::Never(denied))),
                Some(wait) if bound.is_some_and(|bound| wait > bound) => {
                    ControlFlow::Break(Err(NotReady::TooLong(denied)))
                }
                Some(_) => ControlFlow::Continue(denied),
            },
        }
    }
}

impl InLine {
    /// Polls for the reservation, which is charged as it is given.
    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<Reservation, NotReady>> {
        let mut this = self.project();
        let place = this.place;
        loop {
            let elapsed = this.timer.as_mut().as_pin_mut().is_some_and(|timer| timer.poll(cx).is_ready());
            let sleeps = *this.tried && !elapsed;
            match place.turn(cx, sleeps) {
                Turn::Passed(reservation) => return Poll::Ready(Ok(reservation)),
                Turn::Behind if elapsed => return Poll::Ready(Err(place.give_up(NotReady::TooLong))),
                Turn::Behind | Turn::First(None) => return Poll::Pending,
                Turn::First(Some(denied)) => {
                    let Some(wait) = denied.retry_after() else {
                        return Poll::Ready(Err(place.give_up(NotReady::Never)));
                    };
                    // A timer that is only asked when it would end.
                    let end = sleep(wait).deadline();
                    if this.deadline.is_some_and(|deadline| end > deadline) {
                        return Poll::Ready(Err(place.give_up(NotReady::TooLong)));
                    }
                    this.timer.set(Some(sleep(wait.max(SLEEP_MIN))));
                    *this.tried = true;
                }
            }
        }
    }
}

#[cfg(feature = "tower")]
impl InLine {
    /// Tells the limiter that it denied a place to the key of this text.
    pub(crate) fn tell_denied(&self, text: String) {
        let Ask { limiter, fingerprint, .. } = &self.place.ask;
        if let Some(sketch) = limiter.sketch() {
            sketch.count(*fingerprint, limiter.clock().now(), || text);
        }
    }
}

impl Place {
    /// A look at the queue. The first tries, unless it sleeps; who has passed has no place any more.
    fn turn(&mut self, cx: &mut Context<'_>, sleeps: bool) -> Turn<Reservation, Option<Denied>> {
        let Ask { limiter, fingerprint, cost } = &self.ask;
        let ticket = self.ticket.as_ref().expect("a future is not polled after it is ready");
        let turn = limiter.queues().turn(ticket, cx.waker(), |nudged| {
            if sleeps && !nudged {
                return Err(None);
            }
            limiter.reserve_fingerprint(*fingerprint, *cost).map_err(Some)
        });
        if let Turn::Passed(_) = turn {
            self.ticket = None;
        }
        turn
    }

    /// Leaves without having passed. The denial is what a new try would be told.
    fn give_up(&mut self, why: fn(Denied) -> NotReady) -> NotReady {
        let left = self.leave();
        let denied = self.ask.limiter.foresee(self.ask.fingerprint, left, self.ask.cost);
        why(denied)
    }

    fn leave(&mut self) -> u64 {
        self.ticket.take().map_or(0, |ticket| self.ask.limiter.queues().leave(&ticket))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}
