//! What each thread pays per check when several of them check at once.
//!
//! ```text
//! cargo bench -p tollgate-benches --bench contention
//! ```
//!
//! The time is what a check costs one thread while all of them check, so a line that stays where one thread was means that
//! they do not hold each other up. Numbers of threads for which there are no processors are left out.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use tollgate::{Quota, RateLimiter};
use tollgate_benches::threads::together;

const THREADS: [usize; 3] = [1, 2, 4];
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
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in THREADS.into_iter().filter(|&threads| threads <= processors) {
        group.bench_function(BenchmarkId::new("threads", threads), |b| {
            b.iter_custom(|checks| {
                together(threads, checks, |thread, turn| limiter.check(black_box(&key(thread, turn))).is_ok())
            });
        });
    }
    group.finish();
}

criterion_group!(benches, contention);
criterion_main!(benches);
