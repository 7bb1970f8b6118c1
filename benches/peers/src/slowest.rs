//! The slowest single check while ten million new keys arrive: a growing map stops to rehash, a table does not.

use std::hint::black_box;
use std::time::{Duration, Instant};

use governor::clock::DefaultClock;
use tollgate::{Clock, RateLimiter};
use tollgate_benches::random::mix;

use crate::limiters::{Governor, Work};
use crate::measure::{at_most, fact, percent, quantile, title};

const COUNT: u64 = 10_000_000;
const ROUNDS: usize = 5;
const STEP_NANOS: u64 = 100_000;
/// Words of a cache line. A bucket of the table has a line of fingerprints and one of words.
const LINE: usize = 8;

pub fn run() {
    let count = percent(COUNT);
    title(&format!("the slowest step while {count} new keys arrive ({ROUNDS} rounds)"));
    let work = Work::denied();
    let mut bare = Steps::default();
    let mut ours = Steps::default();
    let mut governor = Steps::default();
    for _ in 0..ROUNDS {
        let limiter = RateLimiter::builder(work.ours).capacity(count as usize).build();
        let lasted = ours.add(count, Duration::ZERO, |key| limiter.check(&key).is_ok());
        let bytes = limiter.stats().capacity as usize * 16;
        drop(limiter);
        // The bare loop does what a check cannot avoid: it reads the clock, and writes to two lines of as much fresh
        // memory in as random an order. It goes on for as long, since what the machine itself does comes by the second.
        let clock = Clock::system();
        let mut memory = vec![[0_u64; 2 * LINE]; bytes / (2 * LINE * 8)];
        let buckets = memory.len() as u128;
        bare.add(count, lasted, |key| {
            let lines = &mut memory[((u128::from(key) * buckets) >> 64) as usize];
            lines[0] = key;
            lines[LINE] = clock.elapsed().as_nanos() as u64;
        });
        drop(memory);
        let limiter: Governor<u64> = work.governor(DefaultClock::default());
        governor.add(count, Duration::ZERO, |key| limiter.check_key(&key).is_ok());
    }
    bare.print("bare loop");
    ours.print("tollgate");
    governor.print("governor");
    // The machine itself stops now and then: what the bare loop shows, no limiter can avoid. Medians of the rounds.
    let above = ours.slow() - bare.slow();
    at_most("steps above 100 us beyond the bare loop's, tollgate", above.max(0.0), 0.0);
    fact("the same, governor", (governor.slow() - bare.slow()).max(0.0));
    for (name, steps) in [("the bare loop", &bare), ("tollgate", &ours), ("governor", &governor)] {
        fact(&format!("slowest step in us, median of the rounds, {name}"), quantile(&steps.max_nanos, 0.5) / 1000.0);
    }
}

/// For each round: its slowest step, and how many were above the limit.
#[derive(Default)]
struct Steps {
    max_nanos: Vec<f64>,
    slow: Vec<f64>,
}

impl Steps {
    /// Makes a round of steps, so many and for so long at least, and says how long it took.
    fn add<R>(&mut self, steps: u64, least: Duration, mut step: impl FnMut(u64) -> R) -> Duration {
        let (mut max, mut slow) = (0, 0);
        let begin = Instant::now();
        for n in 0.. {
            let start = Instant::now();
            if n >= steps && start - begin >= least {
                break;
            }
            black_box(step(mix(n)));
            let nanos = start.elapsed().as_nanos() as u64;
            max = max.max(nanos);
            slow += u64::from(nanos > STEP_NANOS);
        }
        self.max_nanos.push(max as f64);
        self.slow.push(slow as f64);
        begin.elapsed()
    }

    fn slow(&self) -> f64 {
        quantile(&self.slow, 0.5)
    }

    fn print(&self, name: &str) {
        let micros: Vec<u64> = self.max_nanos.iter().map(|nanos| *nanos as u64 / 1000).collect();
        println!("  {name:<10} slowest step of each round in us {micros:?}, steps above 100 us {:?}", self.slow);
    }
}
