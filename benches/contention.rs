//! What each thread pays per check when several of them check at once.
//!
//! ```text
//! cargo bench -p tollgate-benches --bench contention
//! ```
//!
//! The time is the mean of the threads' own times, so a line that stays where one thread was means that the threads do
//! not hold each other up. It needs as many free cores as threads.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tollgate::{Quota, RateLimiter};

const THREADS: [u64; 3] = [1, 2, 4];
/// A power of two.
const KEYS: u64 = 1 << 17;

fn contention(c: &mut Criterion) {
    // One that no run can empty and that is never full again, and one that denies all but a key's first.
    let allowed = Quota::per_second(1_000_000).burst(1_000_000_000_000);
    let denied = Quota::per_hour(1);
    let one = |_, _| 42;
    // Each thread goes through all keys in an order of its own.
    let many = |thread: u64, turn: u64| (turn.wrapping_mul(0x9e37_79b1) + thread * 0x5_1ed5) % KEYS;
    some(c, "one key, denied", denied, one);
    some(c, "one key, allowed", allowed, one);
    some(c, "many keys, denied", denied, many);
    some(c, "many keys, allowed", allowed, many);
}

fn some(c: &mut Criterion, name: &str, quota: Quota, key: impl Fn(u64, u64) -> u64 + Copy + Send + Sync) {
    let limiter = RateLimiter::new(quota);
    let mut group = c.benchmark_group(name);
    for threads in THREADS {
        group.bench_function(BenchmarkId::new("threads", threads), |b| {
            b.iter_custom(|checks| {
                per_thread(threads, checks, |thread, turn| limiter.check(&key(thread, turn)).is_ok())
            });
        });
    }
    group.finish();
}

/// How long `checks` of them take a thread, on average, while all threads run.
fn per_thread(threads: u64, checks: u64, check: impl Fn(u64, u64) -> bool + Copy + Send + Sync) -> Duration {
    let barrier = &Barrier::new(threads as usize);
    let total: Duration = std::thread::scope(|scope| {
        let start = |thread| {
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                for turn in 0..checks {
                    black_box(check(thread, turn));
                }
                start.elapsed()
            })
        };
        let handles: Vec<_> = (0..threads).map(start).collect();
        handles.into_iter().map(|handle| handle.join().expect("no check panics")).sum()
    });
    total / threads as u32
}

criterion_group!(benches, contention);
criterion_main!(benches);
