//! A flood of one-shot keys through a table of 64 MiB, while ordinary clients go on: does memory stay, do their checks stay quick,
//! does one who is at the limit stay denied, and is one who keeps to the limit let through?

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use governor::clock::DefaultClock;
use tollgate::{Quota, RateLimiter, WhenFull};
use tollgate_benches::random::{Random, mix};

use crate::limiters::{Governor, Work};
use crate::measure::{at_most, fact, percent, series, title};
use crate::memory::resident_bytes;

const FLOOD: u64 = 100_000_000;
/// A map that grows is given less: 66 bytes for each, and the machine is to live on.
const FLOOD_OF_A_MAP: u64 = 20_000_000;
const TABLE_BYTES: u64 = 64 << 20;
/// Slots of 16 bytes, of which an eighth is added to the capacity asked for.
const CAPACITY: usize = (TABLE_BYTES / 16 * 8 / 9) as usize;
const CLIENTS: u64 = 100_000;
const OFFENDER: u64 = u64::MAX;
const HONEST: u64 = u64::MAX - 1;
const QUIET: Duration = Duration::from_secs(5);
/// How often memory and latencies are looked at.
const LOOK: Duration = Duration::from_millis(250);

pub fn run() {
    for amount in [1, 10] {
        for when_full in [WhenFull::EvictLeastIndebted, WhenFull::Share] {
            table(amount, when_full, CAPACITY);
        }
    }
    chosen_keys();
    one_bucket();
    map();
}

/// What a flood is sent at.
trait Limiter: Sync {
    fn check(&self, key: u64) -> bool;
}

impl Limiter for RateLimiter {
    fn check(&self, key: u64) -> bool {
        RateLimiter::check(self, &key).is_ok()
    }
}

impl Limiter for Governor<u64> {
    fn check(&self, key: u64) -> bool {
        self.check_key(&key).is_ok()
    }
}

fn limiter(amount: u64, when_full: WhenFull, capacity: usize) -> RateLimiter {
    // So many a day: what is spent stays spent while this runs.
    RateLimiter::builder(Quota::per_day(amount)).capacity(capacity).when_full(when_full).build()
}

fn table(amount: u64, when_full: WhenFull, capacity: usize) {
    let flood = percent(FLOOD);
    let name = format!("{when_full:?}, a limit of {amount}");
    title(&format!("{flood} distinct keys through a table of 64 MiB; {name}"));
    let limiter = limiter(amount, when_full, capacity);
    let outcome = flooded(&limiter, &name, flood);
    println!("  {:?}", limiter.stats());
    at_most("times one at the limit was admitted", outcome.offender_admitted as f64, 0.0);
    if when_full == WhenFull::EvictLeastIndebted {
        at_most("times one who asks for the first time was denied", outcome.honest_denied as f64, 0.0);
    } else {
        // A full table's newcomers share what is left: whoever comes then may be denied what another has spent.
        fact("of a thousand who ask for the first time were denied", outcome.honest_per_mille());
    }
    at_most("p99 in the flood over the quiet p99", outcome.p99, 1.2);
    at_most("resident memory over the table's 64 MiB", outcome.resident as f64 / TABLE_BYTES as f64, 1.02);
}

/// governor, beside it. It knows no bound, so nobody is forgotten and memory grows.
fn map() {
    let flood = percent(FLOOD_OF_A_MAP);
    title(&format!("{flood} distinct keys into governor's map"));
    let limiter: Governor<u64> = Work::new(10, Duration::from_secs(86_400), 10).governor(DefaultClock::default());
    let outcome = flooded(&limiter, "governor", flood);
    fact("times one at the limit was admitted", outcome.offender_admitted as f64);
    fact("p99 in the flood over the quiet p99", outcome.p99);
    fact("bytes of resident memory per key", outcome.resident as f64 / (flood + CLIENTS) as f64);
}

struct Outcome {
    offender_admitted: u64,
    honest_denied: u64,
    honest: u64,
    p99: f64,
    resident: u64,
}

impl Outcome {
    fn honest_per_mille(&self) -> f64 {
        self.honest_denied as f64 * 1000.0 / self.honest.max(1) as f64
    }
}

fn flooded(limiter: &impl Limiter, name: &str, keys: u64) -> Outcome {
    let [mut quiet, mut all, mut now] = [(); 3].map(|()| Latencies::new());
    let before = resident_bytes();
    while limiter.check(OFFENDER) {}
    for n in 0..CLIENTS {
        limiter.check(mix(FLOOD + n));
    }
    let mut client = Client { honest: 0, honest_denied: 0, offender_admitted: 0, random: Random(1) };
    let until = Instant::now() + QUIET.mul_f64(percent(100) as f64 / 100.0);
    while Instant::now() < until {
        client.turn(limiter, &mut quiet);
    }
    assert_eq!(client.offender_admitted, 0, "the offender is at its limit");
    assert_eq!(client.honest_denied, 0, "there is room for all");
    let honest_before = client.honest;

    let (over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let seconds = std::thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let start = Instant::now();
            for n in 0..keys {
                limiter.check(mix(n));
                if n % 4096 == 0 {
                    sent.store(n, Relaxed);
                }
            }
            over.store(true, Relaxed);
            start.elapsed().as_secs_f64()
        });
        let start = Instant::now();
        let mut looked = start;
        while !over.load(Relaxed) {
            client.turn(limiter, &mut now);
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let resident = resident_bytes() - before;
                let millions = sent.load(Relaxed) as f64 / 1e6;
                let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|q| now.quantile(q));
                let seconds = start.elapsed().as_secs_f64();
                series(name, &[seconds, millions, resident as f64 / 1024.0 / 1024.0, p50, p99, p999]);
                all.merge(&now);
                now.clear();
            }
        }
        all.merge(&now);
        flood.join().expect("no check panics")
    });
    println!("  {seconds:.1} s, {:.0} ns per new key", seconds * 1e9 / keys as f64);
    quiet.print("a client's check, quiet");
    all.print("a client's check, in the flood");
    Outcome {
        offender_admitted: client.offender_admitted,
        honest_denied: client.honest_denied,
        honest: client.honest - honest_before,
        p99: all.quantile(0.99) / quiet.quantile(0.99),
        resident: resident_bytes() - before,
    }
}

/// Ordinary clients, of whom one is at the limit, and ever new ones who ask for the first time.
struct Client {
    honest: u64,
    honest_denied: u64,
    offender_admitted: u64,
    random: Random,
}

impl Client {
    /// Some ordinary clients' checks, each timed, one by the offender, and one by one who was never there.
    fn turn(&mut self, limiter: &impl Limiter, latencies: &mut Latencies) {
        for _ in 0..100 {
            let key = mix(FLOOD + self.random.below(CLIENTS));
            let start = Instant::now();
            limiter.check(key);
            latencies.add(start.elapsed().as_nanos() as u64);
        }
        self.offender_admitted += u64::from(limiter.check(OFFENDER));
        self.honest += 1;
        self.honest_denied += u64::from(!limiter.check(mix(HONEST - self.honest)));
    }
}

/// Keys that an attacker chooses so that they would collide if the hash were known, or only looked at some bits: the table
/// loses no more of them than of random ones.
fn chosen_keys() {
    let keys = percent(3_000_000);
    title(&format!("{keys} chosen keys into a table for as many"));
    let patterns: [(&str, fn(u64) -> u64); 5] = [
        ("random", mix),
        ("in a row", |n| n),
        ("that differ in high bits only", |n| n << 40),
        ("multiples of the table's size", |n| n * (1 << 22)),
        ("that differ in every other bit only", |n| {
            (0..32).fold(0, |spread, bit| spread | ((n >> bit & 1) << (2 * bit)))
        }),
    ];
    for (name, key) in patterns {
        let limiter = limiter(10, WhenFull::EvictLeastIndebted, keys as usize);
        for n in 0..keys {
            limiter.check(&key(n)).expect("its first");
        }
        at_most(
            &format!("evicted of a thousand keys {name}"),
            limiter.stats().evicted as f64 * 1000.0 / keys as f64,
            10.0,
        );
    }
}

/// As if an attacker knew the secret, and all keys fell into the bucket of one who is at the limit.
fn one_bucket() {
    let flood = percent(10_000_000);
    for amount in [1, 10] {
        for when_full in [WhenFull::EvictLeastIndebted, WhenFull::Share] {
            title(&format!("{flood} keys into the one bucket of a tiny table; {when_full:?}, a limit of {amount}"));
            let limiter = limiter(amount, when_full, 4);
            while limiter.check(&OFFENDER).is_ok() {}
            let mut admitted = 0;
            for n in 0..flood {
                let _ = limiter.check(&mix(n));
                admitted += u64::from(limiter.check(&OFFENDER).is_ok());
            }
            at_most("times one at the limit was admitted", admitted as f64, 0.0);
        }
    }
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

    fn clear(&mut self) {
        self.counts.fill(0);
        self.count = 0;
        self.max = 0;
    }

    fn merge(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, other)| *mine += other);
        self.count += other.count;
        self.max = self.max.max(other.max);
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
