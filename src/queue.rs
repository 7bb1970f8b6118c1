//! [`Queues`]: who waits for which key, first come first served. Knows no quota, no clock and no timer.
//!
//! A place in a queue is no reservation: nothing is charged for those who wait. Only the first of a queue asks the
//! limiter, and is charged when it leaves by passing. So a waiter that goes away has nothing to give back, and leaves
//! nothing behind but the place, which [`Queues::leave`] takes from it.
//!
//! # Proof
//!
//! *Nobody sleeps through a nudge.* Someone gives back and then asks whether anybody waits ([`Queues::nudge`]), without a lock. A
//! waiter is counted when it joins, and asks the limiter once more after that. Between the two steps each has a fence (SeqCst), and
//! one of the fences is the first: if the nudger's, the waiter's question comes after what was given back, and sees it; if the
//! waiter's, the nudger sees it counted, and it stays counted for as long as it waits. The nudger then takes the queue's lock. The
//! waiter had been counted under that lock, so its place is there, and the first of the queue is told. Without the fences each
//! could miss what the other wrote, on any processor where a read-modify-write does not order what follows it.
//!
//! *No place is counted twice, or too many.* The count is moved only under the lock of a line, together with the line, by a
//! read-modify-write that looks at the bound.
//!
//! The model checker explores this: `RUSTFLAGS="--cfg tollgate_loom" cargo test --release --lib loom`.

#![cfg_attr(not(feature = "tokio"), allow(dead_code, reason = "only doors with timers wait"))]

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::task::Waker;

use sync::{AtomicUsize, Mutex, MutexGuard, Ordering::Relaxed, Ordering::SeqCst, fence};

use crate::fingerprint::Fingerprint;

/// So that keys that wait do not hold each other up. Two cores are served by few; the lock is held for some 100 ns.
const STRIPES: usize = if cfg!(tollgate_loom) { 2 } else { 8 };

/// How many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// For all keys together.
    pub(crate) all: usize,
    /// For one key, so that those who wait for it leave places to others.
    pub(crate) per_key: usize,
}

impl Default for Bounds {
    /// 16,384 in all: each takes about 100 bytes here, and what its task holds. 1024 for one key: a burst of a thousand can still
    /// be put in line, and it takes sixteen keys, not one, to leave no place for the others.
    fn default() -> Self {
        Self { all: 1 << 14, per_key: 1 << 10 }
    }
}

/// A queue for each key that has waiters.
#[derive(Debug)]
pub(crate) struct Queues {
    /// Lines by key. A line is never empty.
    stripes: [Mutex<HashMap<Fingerprint, Line>>; STRIPES],
    /// In all lines together.
    waiters: AtomicUsize,
    bounds: Bounds,
}

#[derive(Debug, Default)]
struct Line {
    /// What all its waiters ask for together.
    cost: u128,
    /// The number of the next to join.
    next: u64,
    /// By number, so that the first is the one that came first.
    waiters: BTreeMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    cost: u64,
    /// None before its first look, and after it was woken until the next.
    waker: Option<Waker>,
    /// Whether it should ask again, because more may pass than it was told.
    nudged: bool,
}

/// A place in a queue, until [`Queues::leave`].
#[derive(Debug)]
pub(crate) struct Ticket {
    fingerprint: Fingerprint,
    number: u64,
}

/// What comes of wishing to join.
#[derive(Debug)]
pub(crate) enum Joined<D, T> {
    /// There is a place now; with what the judge had said.
    In(Ticket, D),
    /// There are too many waiters already, for the key or in all; with the same.
    Full(D),
    /// The judge's answer settles it.
    Out(T),
}

/// What comes of a waiter's look at its queue.
#[derive(Debug)]
pub(crate) enum Turn<P, D> {
    /// Others come first.
    Behind,
    /// It was first and has passed; its place is gone.
    Passed(P),
    /// It is first, and stays.
    First(D),
}

impl Queues {
    pub(crate) fn new(bounds: Bounds) -> Self {
        let stripes = std::array::from_fn(|_| Mutex::new(HashMap::new()));
        Self { stripes, waiters: AtomicUsize::new(0), bounds }
    }

    /// How many there may be.
    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// How many there are.
    // Relaxed: who was told of a waiter sees it counted, by whatever told them; for others it comes at the same time.
    pub(crate) fn waiters(&self) -> usize {
        self.waiters.load(Relaxed)
    }

    /// Joins the queue of a key, unless the judge settles the matter (`Break`) or there are as many already as the bounds say, which
    /// may be tighter than the queues' own.
    ///
    /// The judge is told what those ahead ask for together: 0 means that nobody waits. The queue stands still until it
    /// has spoken, so nobody overtakes.
    pub(crate) fn join<D, T>(
        &self,
        fingerprint: Fingerprint,
        cost: u64,
        bounds: Bounds,
        judge: impl FnOnce(u64) -> ControlFlow<T, D>,
    ) -> Joined<D, T> {
        let mut lines = self.stripe(fingerprint);
        let (ahead, before) = lines.get(&fingerprint).map_or((0, 0), |line| (line.cost(), line.waiters.len()));
        let told = match judge(ahead) {
            ControlFlow::Continue(told) => told,
            ControlFlow::Break(settled) => return Joined::Out(settled),
        };
        let one_more = |waiters: usize| (waiters < bounds.all).then_some(waiters + 1);
        if before >= bounds.per_key || self.waiters.fetch_update(Relaxed, Relaxed, one_more).is_err() {
            return Joined::Full(told);
        }
        // Pairs with the fence in `somebody_waits`; see "Nobody sleeps through a nudge".
        fence(SeqCst);
        let line = lines.entry(fingerprint).or_default();
        let number = line.next;
        line.next += 1;
        line.cost += u128::from(cost);
        line.waiters.insert(number, Waiter { cost, waker: None, nudged: false });
        Joined::In(Ticket { fingerprint, number }, told)
    }

    /// A waiter's look at its queue, after which it is woken when it becomes the first, or is nudged.
    ///
    /// If it is the first, the judge lets it pass (`Ok`) or stay (`Err`), and is told whether it was nudged since it last
    /// looked. The queue stands still until the judge has spoken.
    pub(crate) fn turn<P, D>(
        &self,
        ticket: &Ticket,
        waker: &Waker,
        judge: impl FnOnce(bool) -> Result<P, D>,
    ) -> Turn<P, D> {
        // Cloned before the lock and dropped after it: a waker's code is somebody else's.
        let mut waker = Some(waker.clone());
        let mut gone = Gone::default();
        let turn = {
            let mut lines = self.stripe(ticket.fingerprint);
            let line = lines.get_mut(&ticket.fingerprint).expect("a ticket's line has its waiter");
            let mut first = line.waiters.first_entry().expect("a line is never empty");
            if *first.key() != ticket.number {
                let waiter = line.waiters.get_mut(&ticket.number).expect("a ticket's line has its waiter");
                std::mem::swap(&mut waiter.waker, &mut waker);
                Turn::Behind
            } else {
                let waiter = first.get_mut();
                std::mem::swap(&mut waiter.waker, &mut waker);
                match judge(std::mem::take(&mut waiter.nudged)) {
                    Err(stays) => Turn::First(stays),
                    Ok(passes) => {
                        gone = self.remove(&mut lines, ticket);
                        Turn::Passed(passes)
                    }
                }
            }
        };
        wake(gone.next);
        turn
    }

    /// Gives a place back. Says what those who are left in the line ask for together.
    pub(crate) fn leave(&self, ticket: &Ticket) -> u64 {
        let mut lines = self.stripe(ticket.fingerprint);
        let gone = self.remove(&mut lines, ticket);
        let left = lines.get(&ticket.fingerprint).map_or(0, Line::cost);
        drop(lines);
        wake(gone.next);
        left
    }

    /// Has the first in the queue of a key ask again: more may pass than it was told.
    pub(crate) fn nudge(&self, fingerprint: Fingerprint) {
        if !self.somebody_waits() {
            return;
        }
        let waker = self.stripe(fingerprint).get_mut(&fingerprint).and_then(Line::nudge);
        wake(waker);
    }

    /// Has the first in every queue ask again.
    pub(crate) fn nudge_all(&self) {
        if !self.somebody_waits() {
            return;
        }
        for stripe in &self.stripes {
            let wakers: Vec<_> = stripe.lock().values_mut().map(Line::nudge).collect();
            wakers.into_iter().for_each(wake);
        }
    }

    /// Whether anybody waits who may not have seen what this thread has just written.
    fn somebody_waits(&self) -> bool {
        // Pairs with the fence in `join`; see "Nobody sleeps through a nudge".
        fence(SeqCst);
        self.waiters() > 0
    }

    fn stripe(&self, fingerprint: Fingerprint) -> MutexGuard<'_, HashMap<Fingerprint, Line>> {
        // The top bits; the table's buckets and the map's use others.
        self.stripes[(fingerprint.bits() >> 61) as usize % STRIPES].lock()
    }

    /// Removes a waiter, and its line if it was the last.
    fn remove(&self, lines: &mut HashMap<Fingerprint, Line>, ticket: &Ticket) -> Gone {
        let line = lines.get_mut(&ticket.fingerprint).expect("a ticket's line has its waiter");
        let was_first = line.waiters.first_key_value().is_some_and(|(number, _)| *number == ticket.number);
        let waiter = line.waiters.remove(&ticket.number).expect("a ticket's line has its waiter");
        line.cost -= u128::from(waiter.cost);
        self.waiters.fetch_sub(1, Relaxed);
        let next = match line.waiters.first_entry() {
            None => {
                lines.remove(&ticket.fingerprint);
                None
            }
            Some(mut first) if was_first => first.get_mut().waker.take(),
            Some(_) => None,
        };
        Gone { next, _own: waiter.waker }
    }
}

/// Wakers out of a line, to be woken and dropped once its lock is released.
#[derive(Default)]
struct Gone {
    /// Of the one who is first now, if that is new.
    next: Option<Waker>,
    _own: Option<Waker>,
}

impl Line {
    /// As a cost can be asked of a limiter.
    fn cost(&self) -> u64 {
        u64::try_from(self.cost).unwrap_or(u64::MAX)
    }

    fn nudge(&mut self) -> Option<Waker> {
        let mut first = self.waiters.first_entry().expect("a line is never empty");
        first.get_mut().nudged = true;
        first.get_mut().waker.take()
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(not(tollgate_loom))]
mod sync {
    pub(super) use parking_lot::{Mutex, MutexGuard};
    pub(super) use std::sync::atomic::{AtomicUsize, Ordering, fence};
}

/// The same, seen through the model checker.
#[cfg(tollgate_loom)]
mod sync {
    pub(super) use loom::sync::MutexGuard;
    pub(super) use loom::sync::atomic::{AtomicUsize, Ordering, fence};

    #[derive(Debug)]
    pub(super) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(super) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(super) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().expect("no test panics under a lock")
        }
    }
}

#[cfg(all(test, tollgate_loom))]
mod loom_tests;
