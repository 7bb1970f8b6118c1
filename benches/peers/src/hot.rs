//! One hot key, one thread.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use governor::clock::{DefaultClock, FakeRelativeClock, MonotonicClock};
use tollgate::{Clock, RateLimiter};

use crate::limiters::{Governor, SameClock, Work};
use crate::measure::{Samples, alternate, at_least, at_most, fact, time, title};

/// Short, so that most rounds fall between two interruptions.
const COUNT: usize = 20_000;
const ROUNDS: usize = 1001;
const KEY: u64 = 42;

pub fn run() {
    one("allowed", Work::allowed());
    one("denied", Work::denied());
}

/// The least that an allowed check can be: one reading, and one write that waits for it.
#[inline(always)]
fn count_up(quanta: &quanta::Clock, word: &AtomicU64) -> bool {
    let now = quanta.raw();
    let old = word.load(Relaxed);
    word.compare_exchange(old, old.max(now) + 1, Relaxed, Relaxed).is_ok()
}

fn one(what: &str, work: Work) {
    title(&format!("one hot key, one thread, {what} ({ROUNDS} rounds of {COUNT})"));
    let key = &KEY;
    let system = Clock::system();
    let ours = RateLimiter::builder(work.ours).clock(system.clone()).build();
    let ours_manual = RateLimiter::builder(work.ours).clock(Clock::manual()).build();
    let same: Governor<u64, _> = work.governor(SameClock(system.clone()));
    let default: Governor<u64> = work.governor(DefaultClock::default());
    let std: Governor<u64, _> = work.governor(MonotonicClock);
    let fake: Governor<u64, _> = work.governor(FakeRelativeClock::default());
    let quanta = quanta::Clock::new();
    let word = AtomicU64::new(0);

    let samples = alternate(
        ROUNDS,
        vec![
            ("an empty loop", Box::new(|| time(COUNT, || black_box(key)))),
            ("bare: the counter (quanta, raw)", Box::new(|| time(COUNT, || quanta.raw()))),
            ("bare: std::time::Instant::now()", Box::new(|| time(COUNT, Instant::now))),
            ("bare: the counter, then a compare-and-swap by it", Box::new(|| time(COUNT, || count_up(&quanta, &word)))),
            ("bare: Clock::system", Box::new(|| time(COUNT, || system.elapsed().as_nanos() as u64))),
            ("tollgate, verdict", Box::new(|| time(COUNT, || ours.check(black_box(key)).is_ok()))),
            ("tollgate, the whole answer", Box::new(|| time(COUNT, || ours.check(black_box(key))))),
            ("governor, tollgate's clock", Box::new(|| time(COUNT, || same.check_key(black_box(key)).is_ok()))),
            (
                "governor, its default clock (quanta)",
                Box::new(|| time(COUNT, || default.check_key(black_box(key)).is_ok())),
            ),
            (
                "governor, its default clock, the whole answer",
                Box::new(|| time(COUNT, || default.check_key(black_box(key)))),
            ),
            ("governor, std's clock", Box::new(|| time(COUNT, || std.check_key(black_box(key)).is_ok()))),
            ("tollgate, clock by hand", Box::new(|| time(COUNT, || ours_manual.check(black_box(key)).is_ok()))),
            ("governor, clock by hand", Box::new(|| time(COUNT, || fake.check_key(black_box(key)).is_ok()))),
        ],
    );
    let [_, _, _, _, bare, ours, whole, same, default, default_whole, std, ours_manual, fake] = &samples[..] else {
        unreachable!("as many samples as contenders");
    };
    let over = |samples: &Samples| samples.median() - bare.median();
    at_most(&format!("tollgate over the clock in ns, the whole answer, {what}"), over(whole), 7.0);
    at_most(&format!("the same, the verdict alone, {what}"), over(ours), 7.0);
    at_least(&format!("times faster than governor, same clock, {what}"), ours.faster_than(same), 2.2);
    at_least(&format!("times faster than governor, clock by hand, {what}"), ours_manual.faster_than(fake), 2.2);
    at_least(&format!("times faster than governor, all at defaults, {what}"), ours.faster_than(default), 2.0);
    at_least(&format!("the same, the whole answer, {what}"), whole.faster_than(default_whole), 2.0);
    fact(&format!("times faster than governor with std's clock, {what}"), ours.faster_than(std));
}
