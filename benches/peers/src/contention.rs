//! One key hammered from several threads: what each thread pays per check.

use std::hint::black_box;

use governor::clock::DefaultClock;
use tollgate::RateLimiter;
use tollgate_benches::threads::together;

use crate::limiters::{Governor, Work};
use crate::measure::{alternate, at_least, at_most, fact, title};

/// About 10 ms: long beside the start of a thread, and short enough that many rounds fall between two interruptions.
const COUNT: u64 = 500_000;
const ROUNDS: usize = 101;
const KEY: u64 = 42;

pub fn run() {
    one("denied", Work::denied());
    one("allowed", Work::allowed());
}

fn one(what: &str, work: Work) {
    title(&format!("one key from 1 and 2 threads, {what}, ns per check and thread ({ROUNDS} rounds of {COUNT})"));
    let ours = RateLimiter::new(work.ours);
    let governor: Governor<u64> = work.governor(DefaultClock::default());
    let tollgate = |threads| per_thread(threads, || ours.check(black_box(&KEY)).is_ok());
    let peer = |threads| per_thread(threads, || governor.check_key(black_box(&KEY)).is_ok());
    let samples = alternate(
        ROUNDS,
        vec![
            ("tollgate, 1 thread", Box::new(|| tollgate(1))),
            ("tollgate, 2 threads", Box::new(|| tollgate(2))),
            ("governor, 1 thread", Box::new(|| peer(1))),
            ("governor, 2 threads", Box::new(|| peer(2))),
        ],
    );
    let [one, two, governor_one, governor_two] = &samples[..] else { unreachable!("as many samples as contenders") };
    let growth = 1.0 / two.faster_than(one);
    if what == "denied" {
        at_most("tollgate, 2 threads over 1, denied", growth, 1.1);
        at_least("times faster than governor, 2 threads, denied", two.faster_than(governor_two), 4.0);
    } else {
        fact("tollgate, 2 threads over 1, allowed", growth);
        fact("times faster than governor, 2 threads, allowed", two.faster_than(governor_two));
    }
    fact(&format!("governor, 2 threads over 1, {what}"), 1.0 / governor_two.faster_than(governor_one));
}

/// Nanoseconds per operation of each of the threads while all run.
fn per_thread<R>(threads: usize, operation: impl Fn() -> R + Sync) -> f64 {
    together(threads, COUNT, |_, _| operation()).as_nanos() as f64 / COUNT as f64
}
