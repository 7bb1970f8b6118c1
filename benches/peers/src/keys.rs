//! Many keys, in random order: what a lookup costs when the table is not in the cache.

use std::hash::Hash;
use std::net::IpAddr;

use governor::clock::DefaultClock;
use tollgate::{Clock, RateLimiter};
use tollgate_benches::random::{Random, mix, v4};

use crate::limiters::{Governor, SameClock, Work};
use crate::measure::{alternate, at_least, time_each, title};

/// Short, so that most rounds fall between two interruptions.
const LOOKUPS: usize = 20_000;

pub fn run() {
    for (count, rounds, target) in [(10_000, 301, None), (1_000_000, 301, Some(1.8)), (10_000_000, 301, Some(3.0))] {
        for (what, work) in [("allowed", Work::allowed_slowly()), ("denied", Work::denied())] {
            some::<u64>(&format!("{count} keys of u64, {what}"), work, count, rounds, target, mix);
            some::<IpAddr>(&format!("{count} keys of IpAddr (IPv4), {what}"), work, count, rounds, target, v4);
        }
    }
}

fn some<K: Hash + Eq + Clone>(
    what: &str,
    work: Work,
    count: usize,
    rounds: usize,
    target: Option<f64>,
    key: fn(u64) -> K,
) {
    title(&format!("{what}, one thread, random order ({rounds} rounds of {LOOKUPS})"));
    let clock = Clock::system();
    // A tenth more than the keys, so that (nearly) none has to go and all contenders find what they look for; 20 bytes a key.
    let ours = RateLimiter::builder(work.ours).capacity(count + count / 10).clock(clock.clone()).build();
    let same: Governor<K, _> = work.governor(SameClock(clock));
    let default: Governor<K> = work.governor(DefaultClock::default());
    for n in 0..count as u64 {
        let key = key(n);
        let _ = (ours.check(&key), same.check_key(&key), default.check_key(&key));
    }
    // Other keys in each round, so that no round warms the cache for the next; the same for all contenders.
    let order = |round: &mut u64| -> Vec<K> {
        *round += 1;
        let mut random = Random(*round);
        (0..LOOKUPS).map(|_| key(random.below(count as u64))).collect()
    };
    let [mut a, mut b, mut c] = [0; 3];
    let samples = alternate(
        rounds,
        vec![
            ("tollgate", Box::new(|| time_each(&order(&mut a), |key| ours.check(key).is_ok()))),
            ("governor, tollgate's clock", Box::new(|| time_each(&order(&mut b), |key| same.check_key(key).is_ok()))),
            (
                "governor, its default clock",
                Box::new(|| time_each(&order(&mut c), |key| default.check_key(key).is_ok())),
            ),
        ],
    );
    let [ours_samples, same, default] = &samples[..] else { unreachable!("as many samples as contenders") };
    println!("  tollgate evicted {}", ours.stats().evicted);
    let (same, default) = (ours_samples.faster_than(same), ours_samples.faster_than(default));
    match target {
        Some(target) => {
            at_least(&format!("times faster than governor, same clock, {what}"), same, target);
            at_least(&format!("times faster than governor, defaults, {what}"), default, target);
        }
        None => println!("  times faster than governor: same clock {same:.2}, defaults {default:.2}"),
    }
}
