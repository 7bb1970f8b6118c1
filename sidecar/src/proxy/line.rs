//! [`Line`]: what the parts of one client connection tell each other. Everything on a connection runs on one thread.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::task::{Context, Waker};

use tokio::time::Instant;

use super::refusal::Refusal;
use super::tunnel::Tunnel;

/// The state of a client connection.
///
/// Heads and requests are counted on both sides of hyper, so a remark about "the request with this number" cannot be taken
/// for one about another, however many stand in one packet.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) peer: SocketAddr,
    /// Heads that the guard has handed on.
    handed_on: Cell<u64>,
    /// Requests that hyper has passed to the service.
    served: Cell<u64>,
    /// A request that is to be refused.
    refusal: Cell<Option<(u64, Refusal)>>,
    /// What was wrong with the body of a request.
    body_refusal: Cell<Option<(u64, Refusal)>>,
    /// What the guard is not to wait for any longer.
    given_up: Cell<Option<Refusal>>,
    /// A request that asks for another protocol: nothing behind it is read before it is answered.
    asks_upgrade: Cell<Option<u64>>,
    reader: RefCell<Option<Waker>>,
    tunnel: RefCell<Option<Tunnel>>,
    /// What goes to the client before whatever hyper writes next.
    said: RefCell<Vec<u8>>,

    /// Requests whose response is not written yet.
    under_way: Cell<usize>,
    idle_since: Cell<Instant>,
    head_since: Cell<Option<Instant>>,
    body_waits_since: Cell<Option<Instant>>,
    write_waits_since: Cell<Option<Instant>>,
    saw_end: Cell<bool>,
    /// A request is under way that hyper knows nothing of.
    straight: Cell<bool>,
}

/// How much can be said before a response.
const SAID_MAX: usize = 64 * 1024;

/// How much is gathered to be written at once, and how much memory a connection keeps for it that waits.
const SAID_AT_ONCE: usize = 16 * 1024;
const SAID_KEPT: usize = 1024;

impl Line {
    pub(super) fn new(peer: SocketAddr) -> Self {
        Self {
            peer,
            handed_on: Cell::new(0),
            served: Cell::new(0),
            refusal: Cell::new(None),
            body_refusal: Cell::new(None),
            given_up: Cell::new(None),
            asks_upgrade: Cell::new(None),
            reader: RefCell::new(None),
            tunnel: RefCell::new(None),
            said: RefCell::default(),
            under_way: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            head_since: Cell::new(None),
            body_waits_since: Cell::new(None),
            write_waits_since: Cell::new(None),
            saw_end: Cell::new(false),
            straight: Cell::new(false),
        }
    }
}

/// What the guard says.
impl Line {
    /// A good head is handed on.
    pub(super) fn hand_on(&self, asks_upgrade: bool) {
        let number = self.handed_on.get() + 1;
        self.handed_on.set(number);
        self.head_since.set(None);
        if asks_upgrade {
            self.asks_upgrade.set(Some(number));
        }
    }

    /// A head is refused. What is handed on in its place is a request of our own.
    pub(super) fn refuse(&self, refusal: Refusal) {
        self.hand_on(false);
        self.refusal.set(Some((self.handed_on.get(), refusal)));
    }

    pub(super) fn refuse_body(&self, refusal: Refusal) {
        self.body_refusal.set(Some((self.handed_on.get(), refusal)));
    }

    /// Whether the guard may not read on.
    pub(super) fn is_held(&self, cx: &mut Context<'_>) -> bool {
        let held = self.asks_upgrade.get().is_some();
        if held {
            *self.reader.borrow_mut() = Some(cx.waker().clone());
        }
        held
    }

    pub(super) fn given_up(&self) -> Option<Refusal> {
        self.given_up.take()
    }

    pub(super) fn head_begins(&self) {
        if self.head_since.get().is_none() {
            self.head_since.set(Some(Instant::now()));
        }
    }

    /// Nothing can be read, in the middle of a body or not.
    pub(super) fn read_waits(&self, in_body: bool) {
        if !in_body {
            self.body_waits_since.set(None);
        } else if self.body_waits_since.get().is_none() {
            self.body_waits_since.set(Some(Instant::now()));
        }
    }

    pub(super) fn has_read(&self) {
        self.body_waits_since.set(None);
    }

    pub(super) fn write_waits(&self) {
        if self.write_waits_since.get().is_none() {
            self.write_waits_since.set(Some(Instant::now()));
        }
    }

    pub(super) fn has_written(&self) {
        self.write_waits_since.set(None);
    }

    /// Whether nothing of hyper's is under way: it has taken all heads, and the client all answers.
    pub(super) fn is_quiet(&self) -> bool {
        self.handed_on.get() == self.served.get()
            && self.under_way.get() == 0
            && self.write_waits_since.get().is_none()
            && self.said.borrow().is_empty()
    }

    /// A request is answered at once, without hyper.
    pub(super) fn answer_early(&self, now: Instant, write: impl FnOnce(&mut Vec<u8>)) {
        self.answer(write);
        self.head_since.set(None);
        self.idle_since.set(now);
    }

    /// A request begins without hyper.
    pub(super) fn begin_straight(&self) {
        self.straight.set(true);
        self.head_since.set(None);
        self.under_way.set(self.under_way.get() + 1);
    }

    /// It is over.
    pub(super) fn end_straight(&self) {
        self.straight.set(false);
        self.finish();
    }

    /// Appends to what is to be written before anything of hyper's.
    pub(super) fn answer<T>(&self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        write(&mut self.said.borrow_mut())
    }

    /// Whether so much was said that it is to be written before there is more.
    pub(super) fn has_much_to_say(&self) -> bool {
        self.said.borrow().len() > SAID_AT_ONCE
    }

    /// Takes what is to be written before anything of hyper's; `None`, if that is nothing.
    pub(super) fn take_said(&self) -> Option<Vec<u8>> {
        let mut said = self.said.borrow_mut();
        (!said.is_empty()).then(|| std::mem::take(&mut *said))
    }

    /// What could not be written yet of it; empty, it is kept for its memory.
    pub(super) fn give_back_said(&self, rest: Vec<u8>) {
        let keeps = !rest.is_empty() || rest.capacity() <= SAID_KEPT;
        *self.said.borrow_mut() = if keeps { rest } else { Vec::new() };
    }

    pub(super) fn ends(&self) {
        self.saw_end.set(true);
    }
}

/// What the service says, once for each request.
impl Line {
    /// A request has come through hyper. `Some`: it is to be refused.
    pub(super) fn begin(&self) -> (u64, Option<Refusal>) {
        let number = self.served.get() + 1;
        self.served.set(number);
        self.under_way.set(self.under_way.get() + 1);
        let refusal = self.refusal.get().and_then(|(at, refusal)| (at == number).then_some(refusal));
        (number, refusal)
    }

    /// The number of the last request.
    pub(super) fn served(&self) -> u64 {
        self.served.get()
    }

    /// Its response has been given to hyper, whole.
    pub(super) fn finish(&self) {
        self.under_way.set(self.under_way.get() - 1);
        self.idle_since.set(Instant::now());
        self.body_waits_since.set(None);
    }

    /// The body of a request is not taken to its end.
    pub(super) fn refuse_body_of(&self, number: u64, refusal: Refusal) {
        self.body_refusal.set(Some((number, refusal)));
    }

    pub(super) fn body_refusal(&self, number: u64) -> Option<Refusal> {
        self.body_refusal.get().and_then(|(at, refusal)| (at == number).then_some(refusal))
    }

    /// Whether the request with this number may become a tunnel.
    pub(super) fn asks_upgrade(&self, number: u64) -> bool {
        self.asks_upgrade.get() == Some(number)
    }

    /// It stays HTTP.
    pub(super) fn stays(&self, number: u64) {
        if self.asks_upgrade(number) {
            self.asks_upgrade.set(None);
            if let Some(reader) = self.reader.borrow_mut().take() {
                reader.wake();
            }
        }
    }

    /// Says something to the client before the response of the request under way. hyper has written all that it had before it let the
    /// request begin, unless the client does not take it: then this would stand in the middle of that, and is not said.
    pub(super) fn say(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut said = self.said.borrow_mut();
        if self.write_waits_since.get().is_none() {
            let before = said.len();
            write(&mut said);
            if said.len() > SAID_MAX {
                said.truncate(before);
            }
        }
    }

    /// It becomes a tunnel, as soon as hyper has written that.
    pub(super) fn becomes(&self, tunnel: Tunnel) {
        *self.tunnel.borrow_mut() = Some(tunnel);
    }
}

/// What the connection asks.
impl Line {
    pub(super) fn tunnel(&self) -> Option<Tunnel> {
        self.tunnel.borrow_mut().take()
    }

    /// What is being read has taken too long. The connection is to be polled after this.
    pub(super) fn give_up(&self, refusal: Refusal) {
        self.head_since.set(None);
        self.body_waits_since.set(None);
        self.given_up.set(Some(refusal));
    }

    pub(super) fn saw_end(&self) -> bool {
        self.saw_end.get()
    }

    /// Whether hyper has nothing to do: it has passed on each head that it was given, and the client has all its answers.
    pub(super) fn leaves_hyper_idle(&self) -> bool {
        let is_straight = self.straight.get();
        self.handed_on.get() == self.served.get()
            && self.under_way.get() == usize::from(is_straight)
            && (is_straight || self.write_waits_since.get().is_none())
    }

    /// Whether a request is under way that hyper knows nothing of.
    pub(super) fn is_straight(&self) -> bool {
        self.straight.get()
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.under_way.get() > 0
    }

    pub(super) fn head_since(&self) -> Option<Instant> {
        self.head_since.get()
    }

    pub(super) fn body_waits_since(&self) -> Option<Instant> {
        self.body_waits_since.get()
    }

    pub(super) fn write_waits_since(&self) -> Option<Instant> {
        self.write_waits_since.get()
    }

    pub(super) fn idle_since(&self) -> Instant {
        self.idle_since.get()
    }
}
