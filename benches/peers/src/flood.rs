//! A flood of one-shot keys through a table of 64 MiB, while ordinary clients go on.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tollgate::RateLimiter;
use tollgate_benches::random::{Random, mix};

use crate::limiters::Work;
use crate::measure::{at_most, title};
use crate::memory::resident_bytes;

const FLOOD: u64 = 100_000_000;
const TABLE_BYTES: u64 = 64 << 20;
/// Slots of 16 bytes, of which an eighth is added to the capacity asked for.
const CAPACITY: usize = (TABLE_BYTES / 16 * 8 / 9) as usize;
const CLIENTS: u64 = 100_000;
const OFFENDER: u64 = u64::MAX;
const QUIET: Duration = Duration::from_secs(10);

pub fn run() {
    title(&format!("{FLOOD} distinct keys through a table of 64 MiB"));
    // 100 a day: what is spent stays spent while this runs.
    let limiter =
        RateLimiter::builder(Work::new(100, Duration::from_secs(86_400), 100).ours).capacity(CAPACITY).build();
    let before = resident_bytes();
    while limiter.check(&OFFENDER).is_ok() {}

    let mut quiet = Latencies::new();
    let until = Instant::now() + QUIET;
    let admitted = client(&limiter, &mut quiet, || Instant::now() < until);
    assert_eq!(admitted, 0, "the offender is at his limit");

    let over = AtomicBool::new(false);
    let mut flooded = Latencies::new();
    let (admitted, seconds) = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let start = Instant::now();
            for n in 0..FLOOD {
                let _ = limiter.check(&mix(n));
            }
            over.store(true, Relaxed);
            start.elapsed().as_secs_f64()
        });
        let admitted = client(&limiter, &mut flooded, || !over.load(Relaxed));
        (admitted, flood.join().expect("no check panics"))
    });
    let resident = resident_bytes() - before;

    println!("  {seconds:.1} s, {:.0} ns per new key; {:?}", seconds * 1e9 / FLOOD as f64, limiter.stats());
    quiet.print("a client's check, quiet");
    flooded.print("a client's check, in the flood");
    println!("  the offender was checked {} times in the flood", flooded.count / OFFENDER_EVERY);
    at_most("times the offender was admitted", admitted as f64, 0.0);
    at_most("p99 in the flood over the quiet p99", flooded.quantile(0.99) / quiet.quantile(0.99), 2.0);
    at_most("resident memory over the table's 64 MiB", resident as f64 / TABLE_BYTES as f64, 1.02);
}

const OFFENDER_EVERY: u64 = 100;

/// Ordinary clients' checks, each timed, and every so often the offender's. How often he was admitted.
fn client(limiter: &RateLimiter, latencies: &mut Latencies, go_on: impl Fn() -> bool) -> u64 {
    let mut random = Random(1);
    let mut admitted = 0;
    while go_on() {
        for _ in 0..OFFENDER_EVERY {
            let key = mix(FLOOD + random.below(CLIENTS));
            let start = Instant::now();
            let _ = limiter.check(&key);
            latencies.add(start.elapsed().as_nanos() as u64);
        }
        admitted += u64::from(limiter.check(&OFFENDER).is_ok());
    }
    admitted
}

/// Counts of nanoseconds, one by one up to a limit.
struct Latencies {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Latencies {
    fn new() -> Self {
        Self { counts: vec![0; 20_000], count: 0, max: 0 }
    }

    fn add(&mut self, nanos: u64) {
        let last = self.counts.len() - 1;
        self.counts[(nanos as usize).min(last)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    fn quantile(&self, q: f64) -> f64 {
        let mut left = (self.count as f64 * q) as u64;
        let bound = self.counts.iter().position(|&count| {
            let here = left < count;
            left = left.saturating_sub(count);
            here
        });
        bound.unwrap_or(self.counts.len()) as f64
    }

    fn print(&self, name: &str) {
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| self.quantile(q));
        println!(
            "  {name:<40} p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns, max {} us ({})",
            self.max / 1000,
            self.count
        );
    }
}
