//! Many keys, in random order: what a lookup costs when the table is not in the cache.

use std::hash::Hash;
use std::net::IpAddr;

use governor::clock::DefaultClock;
use tollgate::{Clock, RateLimiter};
use tollgate_benches::random::{Random, Zipf, mix, v4};

use crate::limiters::{Governor, SameClock, Work};
use crate::measure::{alternate, at_least, percent, time_each, title};

/// Short, so that most rounds fall between two interruptions.
const LOOKUPS: usize = 20_000;
const ROUNDS: usize = 201;

pub fn run() {
    let zipf = Zipf::new(10_000);
    for (what, work) in [("allowed", Work::allowed_slowly()), ("denied", Work::denied())] {
        some::<u64>(&format!("10k keys of u64, Zipf, {what}"), work, 10_000, 1.5, mix, |random| zipf.draw(random));
    }
    for (name, count, target) in [("1M", 1_000_000, 2.2), ("10M", 10_000_000, 2.8)] {
        let count = percent(count).max(10_000);
        for (what, work) in [("allowed", Work::allowed_slowly()), ("denied", Work::denied())] {
            let draw = |random: &mut Random| random.below(count);
            some::<u64>(&format!("{name} keys of u64, {what}"), work, count, target, mix, draw);
            some::<IpAddr>(&format!("{name} keys of IpAddr (IPv4), {what}"), work, count, target, v4, draw);
        }
    }
}

fn some<K: Hash + Eq + Clone>(
    what: &str,
    work: Work,
    count: u64,
    target: f64,
    key: fn(u64) -> K,
    draw: impl Fn(&mut Random) -> u64,
) {
    title(&format!("{what}, one thread, random order ({ROUNDS} rounds of {LOOKUPS})"));
    let clock = Clock::system();
    // A tenth more than the keys, so that (nearly) none has to go and all contenders find what they look for; 20 bytes a key.
    let ours = RateLimiter::builder(work.ours).capacity((count + count / 10) as usize).clock(clock.clone()).build();
    let same: Governor<K, _> = work.governor(SameClock(clock));
    let default: Governor<K> = work.governor(DefaultClock::default());
    for n in 0..count {
        let key = key(n);
        let _ = (ours.check(&key), same.check_key(&key), default.check_key(&key));
    }
    // Other keys in each round, so that no round warms the cache for the next; the same for all contenders.
    let order = |round: &mut u64| -> Vec<K> {
        *round += 1;
        let mut random = Random(*round);
        (0..LOOKUPS).map(|_| key(draw(&mut random))).collect()
    };
    let [mut a, mut b, mut c] = [0; 3];
    let samples = alternate(
        ROUNDS,
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
    at_least(&format!("times faster than governor, same clock, {what}"), ours_samples.faster_than(same), target);
    at_least(&format!("times faster than governor, defaults, {what}"), ours_samples.faster_than(default), target);
}
