//! [`Serving`]: a client connection, with the time that each thing on it may take.

use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use super::line::Line;
use super::refusal::Refusal;
use super::thread::{EndNotice, Thread};

/// A connection of either kind.
pub(super) trait ClientConnection: Unpin {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;
    fn graceful_shutdown(&mut self);
}

/// A connection, with the time that each thing on it may take.
pub(super) struct Serving<C> {
    thread: Rc<Thread>,
    line: Rc<Line>,
    connection: Option<C>,
    sleep: Option<Pin<Box<Sleep>>>,
    /// Whom the timer wakes.
    waker: Option<Waker>,
    drained: EndNotice,
    /// It was told to end.
    ending: bool,
}

impl<C: ClientConnection> Serving<C> {
    pub(super) fn new(thread: Rc<Thread>, line: Rc<Line>, connection: C) -> Self {
        let drained = EndNotice::new(thread.clone());
        Self { thread, line, connection: Some(connection), sleep: None, waker: None, drained, ending: false }
    }

    pub(super) fn take(mut self) -> C {
        self.connection.take().expect("taken once")
    }

    /// What is to happen next if nothing else does, and when.
    fn next_deadline(&self) -> Option<(Instant, Late)> {
        let (line, deadlines) = (&self.line, self.thread.current().config().deadlines);
        let write = line.write_waits_since().map(|since| (since + deadlines.idle, Late::Write));
        let head = line.head_since().map(|since| (since + deadlines.header, Late::Head));
        let body = line.body_waits_since().map(|since| (since + deadlines.idle, Late::Body));
        let idle = match (line.is_under_way(), head.is_some(), self.ending) {
            (true, ..) | (_, true, _) => None,
            (_, _, false) => Some((line.idle_since() + deadlines.idle, Late::Idle)),
            // It does not go. (HTTP/2 waits for its client to agree.)
            (_, _, true) => Some((line.idle_since() + deadlines.idle + deadlines.header, Late::Gone)),
        };
        let body = if line.is_under_way() { body } else { None };
        [write, head, body, idle].into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

/// What took too long.
#[derive(Debug, Clone, Copy)]
enum Late {
    Write,
    Head,
    Body,
    Idle,
    Gone,
}

impl<C: ClientConnection> Future for Serving<C> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let connection = this.connection.as_mut().expect("polled while it is there");
            if let Poll::Ready(result) = connection.poll(cx) {
                return Poll::Ready(result);
            }
            // hyper would take the connection for idle.
            if !this.ending && !this.line.is_straight() && this.drained.poll(cx).is_ready() {
                this.ending = true;
                connection.graceful_shutdown();
                continue;
            }
            let Some((at, late)) = this.next_deadline() else { return Poll::Pending };
            // A timer that is too early is left: it costs more to move it with each request than to wake up in vain once. And while it
            // is set, nothing is late, and there is no need to know the time.
            let is_known = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if let Some(sleep) = &this.sleep
                && is_known
                && !sleep.is_elapsed()
                && sleep.deadline() <= at
            {
                return Poll::Pending;
            }
            if at <= Instant::now() {
                match late {
                    Late::Write | Late::Gone => return Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
                    Late::Head | Late::Body => this.line.give_up(Refusal::TOO_SLOW),
                    Late::Idle => {
                        this.ending = true;
                        this.connection.as_mut().expect("polled while it is there").graceful_shutdown();
                    }
                }
                continue;
            }
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if sleep.deadline() > at || sleep.is_elapsed() {
                sleep.as_mut().reset(at);
            }
            // Constrained, it would not be set where the task's turn is used up, and is not polled again.
            if pin!(unconstrained(sleep.as_mut())).poll(cx).is_pending() {
                this.waker = Some(cx.waker().clone());
                return Poll::Pending;
            }
        }
    }
}
