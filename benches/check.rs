//! What a check costs: beside the bare clock read, on one hot key, and on keys too many for the cache.
//!
//! ```text
//! cargo bench -p tollgate-benches --bench check
//! ```
//!
//! `benches/peers` compares it with other limiters.

#![allow(missing_docs, reason = "criterion's macro makes a public function")]

use std::hash::Hash;
use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tollgate::{Clock, Quota, RateLimiter};
use tollgate_benches::random::{Random, Zipf, mix, v4};

/// Keys are drawn ahead of the time that is measured, and used in turn.
const DRAWN: usize = 1 << 20;

fn clock(c: &mut Criterion) {
    let mut group = c.benchmark_group("clock");
    let clock = Clock::system();
    group.bench_function("system", |b| b.iter(|| clock.elapsed().as_nanos() as u64));
    group.bench_function("std", |b| b.iter(Instant::now));
    group.finish();
}

fn hot(c: &mut Criterion) {
    let mut group = c.benchmark_group("hot");
    for (what, quota) in quotas() {
        for (clock_name, clock) in [("system", Clock::system()), ("manual", Clock::manual().into())] {
            let limiter = RateLimiter::builder(quota).clock(clock).build();
            group.bench_function(format!("{what}/{clock_name}"), |b| {
                b.iter(|| limiter.check(black_box(&42_u64)).is_ok());
            });
        }
    }
    let windows = [("fixed", Quota::per_hour(1).fixed_window()), ("sliding", Quota::per_hour(1).sliding_window())];
    for (what, quota) in windows {
        let limiter = RateLimiter::new(quota);
        group.bench_function(format!("denied/{what} window"), |b| {
            b.iter(|| limiter.check(black_box(&42_u64)).is_ok());
        });
    }
    group.finish();
}

fn keys(c: &mut Criterion) {
    let uniform = |count| move |random: &mut Random| random.below(count);
    let zipf = Zipf::new(10_000);
    some(c, "zipf, u64", 10_000, |random| zipf.draw(random), mix);
    for count in [1_000_000, 10_000_000] {
        some(c, "uniform, u64", count, uniform(count), mix);
        some(c, "uniform, IpAddr", count, uniform(count), v4);
    }
}

/// `count` keys that are all in the table, checked in the order that `draw` says.
fn some<K: Hash>(
    c: &mut Criterion,
    name: &str,
    count: u64,
    mut draw: impl FnMut(&mut Random) -> u64,
    key: impl Fn(u64) -> K,
) {
    let mut random = Random(1);
    let drawn: Vec<K> = (0..DRAWN).map(|_| key(draw(&mut random))).collect();
    let mut group = c.benchmark_group(format!("keys/{name}"));
    group.throughput(Throughput::Elements(1));
    for (what, quota) in quotas() {
        let limiter = RateLimiter::builder(quota).capacity(count as usize + count as usize / 10).build();
        for n in 0..count {
            let _ = limiter.check(&key(n));
        }
        let mut turn = 0;
        group.bench_function(BenchmarkId::new(what, count), |b| {
            b.iter(|| {
                turn = (turn + 1) % DRAWN;
                limiter.check(&drawn[turn]).is_ok()
            });
        });
    }
    group.finish();
}

/// One that no run can empty and that is never full again, and one that denies all but a key's first.
fn quotas() -> [(&'static str, Quota); 2] {
    [("allowed", Quota::per_second(1_000_000).burst(1_000_000_000_000)), ("denied", Quota::per_hour(1))]
}

criterion_group!(benches, clock, hot, keys);
criterion_main!(benches);
