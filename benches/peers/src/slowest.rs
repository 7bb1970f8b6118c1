//! The slowest single check while ten million new keys arrive: a growing map stops to rehash, a table does not.

use std::hint::black_box;
use std::time::Instant;

use governor::clock::DefaultClock;
use tollgate::{Clock, RateLimiter};

use crate::limiters::{Governor, Work};
use crate::measure::{at_most, quantile, title};
use crate::random::mix;

const COUNT: u64 = 10_000_000;
const ROUNDS: usize = 7;
const STEP_NANOS: u64 = 100_000;

pub fn run() {
    title(&format!("the slowest step while {COUNT} new keys arrive ({ROUNDS} rounds)"));
    let work = Work::denied();
    let mut bare = Steps::default();
    let mut ours = Steps::default();
    let mut governor = Steps::default();
    for _ in 0..ROUNDS {
        // The bare loop does what a check cannot avoid: it reads the clock.
        let clock = Clock::system();
        bare.add(|_| clock.elapsed());
        let limiter = RateLimiter::builder(work.ours).capacity(COUNT as usize).build();
        ours.add(|key| limiter.check(&key).is_ok());
        drop(limiter);
        let limiter: Governor<u64> = work.governor(DefaultClock::default());
        governor.add(|key| limiter.check_key(&key).is_ok());
    }
    bare.print("bare loop");
    ours.print("tollgate");
    governor.print("governor");
    // The machine itself stops now and then: what the bare loop shows, no limiter can avoid. Medians of the rounds.
    let above = ours.slow() - bare.slow();
    at_most("steps above 100 us beyond the bare loop's, tollgate", above.max(0.0), 0.0);
    println!("  the same, governor: {}", (governor.slow() - bare.slow()).max(0.0));
}

/// For each round: its slowest step, and how many were above the limit.
#[derive(Default)]
struct Steps {
    max_nanos: Vec<f64>,
    slow: Vec<f64>,
}

impl Steps {
    fn add<R>(&mut self, step: impl Fn(u64) -> R) {
        let (mut max, mut slow) = (0, 0);
        for n in 0..COUNT {
            let start = Instant::now();
            black_box(step(mix(n)));
            let nanos = start.elapsed().as_nanos() as u64;
            max = max.max(nanos);
            slow += u64::from(nanos > STEP_NANOS);
        }
        self.max_nanos.push(max as f64);
        self.slow.push(slow as f64);
    }

    fn slow(&self) -> f64 {
        quantile(&self.slow, 0.5)
    }

    fn print(&self, name: &str) {
        let micros: Vec<u64> = self.max_nanos.iter().map(|nanos| *nanos as u64 / 1000).collect();
        println!("  {name:<10} slowest step of each round in us {micros:?}, steps above 100 us {:?}", self.slow);
    }
}
