//! The queues' proofs, explored by the model checker.

use super::*;
use crate::fingerprint::TagMask;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::thread;

/// Keys whose lines have different locks.
const KEY: Fingerprint = Fingerprint::new(7, TagMask::new(0));
const OTHER: Fingerprint = Fingerprint::new(7 | 1 << 61, TagMask::new(0));
const BOUNDS: Bounds = Bounds { all: 2, per_key: 1 };

fn check(run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(run);
}

/// Joins, as one who was denied; `None` if there are too many.
fn join(queues: &Queues, fingerprint: Fingerprint) -> Option<Ticket> {
    match queues.join(fingerprint, 1, BOUNDS, |_| ControlFlow::<(), ()>::Continue(())) {
        Joined::In(ticket, ()) => Some(ticket),
        Joined::Full(()) => None,
        Joined::Out(()) => unreachable!("it was denied"),
    }
}

/// Something is given back while a waiter joins: it finds that out by its first question, or is nudged.
///
/// Without the fence in `join`, and without that in `somebody_waits`, the waiter sleeps on.
#[test]
fn loom_nobody_sleeps_through_a_nudge() {
    check(|| {
        let queues = Arc::new(Queues::new(BOUNDS));
        // What a limiter does around the queues, in small: how many may pass. A refund is as relaxed as a charge.
        let tokens = Arc::new(AtomicU64::new(0));
        let refunder = {
            let (queues, tokens) = (queues.clone(), tokens.clone());
            thread::spawn(move || {
                tokens.fetch_add(1, Relaxed);
                queues.nudge(KEY);
            })
        };
        let ticket = join(&queues, KEY).expect("nobody else waits");
        let question = |_| if tokens.load(Relaxed) > 0 { Ok(()) } else { Err(()) };
        let passed = matches!(queues.turn(&ticket, Waker::noop(), question), Turn::Passed(()));
        refunder.join().unwrap();
        if !passed {
            let nudged = queues.turn(&ticket, Waker::noop(), |nudged| if nudged { Ok(()) } else { Err(()) });
            assert!(matches!(nudged, Turn::Passed(())), "there is a token, and the waiter sleeps");
        }
        assert_eq!(queues.waiters(), 0);
    });
}

/// Two want the only place of a key, and another key's waiter comes and goes. One gets it, and the count is right.
///
/// If the length of the line were looked at before its lock is taken, both would; if the count were read and then
/// written, a place would be lost for good.
#[test]
fn loom_a_bound_is_kept_and_a_place_comes_back() {
    check(|| {
        let queues = Arc::new(Queues::new(BOUNDS));
        let spawn = |fingerprint: Fingerprint| {
            let queues = queues.clone();
            thread::spawn(move || join(&queues, fingerprint))
        };
        let one = spawn(KEY);
        let other = spawn(KEY);
        let passer = join(&queues, OTHER);
        if let Some(ticket) = &passer {
            assert_eq!(queues.leave(ticket), 0);
        }
        let (one, other) = (one.join().unwrap(), other.join().unwrap());
        assert!(passer.is_some(), "a key's waiters leave a place for another");
        assert_eq!((one.is_some(), queues.waiters()), (other.is_none(), 1));
        let left = one.or(other).expect("one of them is in");
        queues.leave(&left);
        assert_eq!(queues.waiters(), 0);
        assert!(join(&queues, KEY).is_some());
    });
}

/// The first leaves while the second takes its first look: it is woken, or finds itself the first.
///
/// If `remove` did not take the waker of the new first, it would sleep on.
#[test]
fn loom_the_next_is_told_that_it_is_first() {
    use std::sync::Arc as StdArc;
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst as StdSeqCst};

    struct Flag(AtomicBool);

    impl std::task::Wake for Flag {
        fn wake(self: StdArc<Self>) {
            self.0.store(true, StdSeqCst);
        }
    }

    check(|| {
        let queues = Arc::new(Queues::new(BOUNDS));
        let bounds = Bounds { all: 2, per_key: 2 };
        let join = || match queues.join(KEY, 1, bounds, |_| ControlFlow::<(), ()>::Continue(())) {
            Joined::In(ticket, ()) => ticket,
            _ => unreachable!("there is room"),
        };
        let (first, second) = (join(), join());
        let leaver = {
            let queues = queues.clone();
            thread::spawn(move || queues.leave(&first))
        };
        let flag = StdArc::new(Flag(AtomicBool::new(false)));
        let turn = queues.turn(&second, &StdArc::clone(&flag).into(), |_| Ok::<(), ()>(()));
        leaver.join().unwrap();
        match turn {
            Turn::Behind => assert!(flag.0.load(StdSeqCst), "it is the first now, and sleeps"),
            Turn::Passed(()) | Turn::First(()) => assert!(!flag.0.load(StdSeqCst)),
        }
    });
}
