//! [`RedisTurn`]: waiting instead of being denied.

use std::fmt;
use std::future::{IntoFuture, poll_fn};
use std::ops::ControlFlow;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::asking::Asking;
use super::inquiry::{Extras, Inquiry, RedisGrant};
use crate::decision::Permit;
use crate::limiter::RateLimiter;
use crate::queue::{Joined, Ticket, Turn};
use crate::wait::NotReady;

/// The shortest sleep: that of tokio's timers.
const SLEEP_MIN: Duration = Duration::from_millis(1);

/// A wait for a key's turn: await it. Made by [`RedisLimiter::until_ready`](super::RedisLimiter::until_ready).
///
/// It takes its place in the queue when it is first polled, and gives it back when it is dropped. Awaiting it fails with
/// [`NotReady`] when it could never pass, when too many wait already, or when its time is over.
#[must_use = "a wait does nothing unless it is awaited"]
pub struct RedisTurn {
    inquiry: Inquiry,
    bound: Option<Duration>,
}

impl RedisTurn {
    pub(super) fn new(inquiry: Inquiry) -> Self {
        Self { inquiry, bound: None }
    }

    /// Waits no longer than this. It fails as soon as it is known that the wait would be longer.
    pub fn within(mut self, longest: Duration) -> Self {
        self.bound = Some(longest);
        self
    }
}

impl IntoFuture for RedisTurn {
    type Output = Result<Permit, NotReady>;
    type IntoFuture = Asking<Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Asking::new(async move {
            wait_for_turn(&self.inquiry, self.bound, Extras::default()).await.map(|granted| granted.permit)
        })
    }
}

/// Waits for a key's turn, in the order of arrival, no longer than this.
pub(super) async fn wait_for_turn(
    inquiry: &Inquiry,
    bound: Option<Duration>,
    wanted: Extras,
) -> Result<RedisGrant, NotReady> {
    if inquiry.is_unlimited() || inquiry.cost == 0 {
        return inquiry.ask(wanted).await.map_err(NotReady::Never);
    }
    wait_in_line(inquiry, bound, wanted).await
}

/// The same, but while nobody waits for the key, whoever comes asks at once. So those who ask at the same time need not wait for
/// each other's answers, and are in line in the order in which they were denied.
#[cfg(feature = "tower")]
pub(super) async fn wait_for_turn_unless_free(
    inquiry: &Inquiry,
    bound: Duration,
    wanted: Extras,
) -> Result<RedisGrant, NotReady> {
    let queues = inquiry.waiting().queues();
    let somebody_waits = queues.waiters() > 0 && {
        let looks = |ahead| if ahead == 0 { ControlFlow::Break(false) } else { ControlFlow::Break::<_, ()>(true) };
        matches!(queues.join(inquiry.key, inquiry.cost, queues.bounds(), looks), Joined::Out(true))
    };
    if !somebody_waits || inquiry.is_unlimited() || inquiry.cost == 0 {
        let denied = match inquiry.answer(wanted).await {
            Ok(granted) => return Ok(granted),
            Err(denied) => denied,
        };
        match denied.retry_after() {
            None => return Err(NotReady::Never(denied)),
            Some(wait) if wait > bound => return Err(NotReady::TooLong(denied)),
            Some(_) => {}
        }
    }
    wait_in_line(inquiry, Some(bound), wanted).await
}

async fn wait_in_line(inquiry: &Inquiry, bound: Option<Duration>, wanted: Extras) -> Result<RedisGrant, NotReady> {
    let queues = inquiry.waiting().queues();
    // All join, since those who ask are on their way for a while: otherwise those who come meanwhile would overtake them.
    let joined = queues.join(inquiry.key, inquiry.cost, queues.bounds(), |_| ControlFlow::<(), ()>::Continue(()));
    let place = match joined {
        Joined::In(ticket, ()) => QueuePlace { limiter: inquiry.waiting(), ticket },
        Joined::Full(()) | Joined::Out(()) => {
            return Err(NotReady::TooManyWaiters(inquiry.denied_blindly()));
        }
    };
    let Some(bound) = bound else { return place.pass(inquiry, None, wanted).await };
    // Its end, for waits that turn out longer while others come first.
    let end = sleep(bound).deadline();
    match timeout(bound.saturating_add(SLEEP_MIN), place.pass(inquiry, Some(end), wanted)).await {
        Ok(passed) => passed,
        Err(_) => {
            let denied = inquiry.foresee().await.unwrap_or_else(|| inquiry.denied_blindly());
            Err(NotReady::TooLong(denied))
        }
    }
}

/// A place in the queue. Dropped, it is given back.
struct QueuePlace<'a> {
    limiter: &'a RateLimiter,
    ticket: Ticket,
}

impl QueuePlace<'_> {
    /// Waits to be the first, and then until the server lets it pass.
    async fn pass(
        &self,
        inquiry: &Inquiry,
        end: Option<tokio::time::Instant>,
        wanted: Extras,
    ) -> Result<RedisGrant, NotReady> {
        poll_fn(|cx| if self.look(cx).is_first { Poll::Ready(()) } else { Poll::Pending }).await;
        loop {
            let denied = match inquiry.answer(wanted).await {
                Ok(granted) => return Ok(granted),
                Err(denied) => denied,
            };
            let Some(wait) = denied.retry_after() else { return Err(NotReady::Never(denied)) };
            let timer = sleep(wait.max(SLEEP_MIN));
            if end.is_some_and(|end| timer.deadline() > end.max(sleep(SLEEP_MIN).deadline())) {
                return Err(NotReady::TooLong(denied));
            }
            let mut timer = std::pin::pin!(timer);
            // Somebody may give something back meanwhile.
            poll_fn(|cx| {
                if self.look(cx).is_nudged {
                    return Poll::Ready(());
                }
                timer.as_mut().poll(cx)
            })
            .await;
        }
    }

    fn look(&self, cx: &mut Context<'_>) -> Look {
        let turn = self.limiter.queues().turn(&self.ticket, cx.waker(), Err::<(), bool>);
        match turn {
            Turn::Behind => Look { is_first: false, is_nudged: false },
            Turn::First(is_nudged) => Look { is_first: true, is_nudged },
            Turn::Passed(()) => unreachable!("the judge lets nobody pass"),
        }
    }
}

struct Look {
    is_first: bool,
    is_nudged: bool,
}

impl Drop for QueuePlace<'_> {
    fn drop(&mut self) {
        self.limiter.queues().leave(&self.ticket);
    }
}

impl fmt::Debug for RedisTurn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTurn").field("bound", &self.bound).finish_non_exhaustive()
    }
}
