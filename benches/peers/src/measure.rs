//! Rounds, medians and verdicts.

use std::cell::RefCell;
use std::hint::black_box;
use std::time::Instant;

thread_local! {
    static TITLE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A line for `benches/record`, which reads what it is to write down: what is measured, of whom, and the numbers.
fn record(kind: &str, name: &str, numbers: &[f64]) {
    if std::env::var_os("TOLLGATE_RECORD").is_some() {
        let numbers: Vec<String> = numbers.iter().map(f64::to_string).collect();
        TITLE.with_borrow(|title| println!("@{kind}\t{title}\t{name}\t{}", numbers.join("\t")));
    }
}

/// What to do of what a record does: `TOLLGATE_PERCENT` of it.
pub fn percent(whole: u64) -> u64 {
    let percent = std::env::var("TOLLGATE_PERCENT").map_or(100, |percent| percent.parse().expect("a number"));
    whole * percent / 100
}

/// What one contender took per operation in each round, in nanoseconds.
pub struct Samples {
    pub name: &'static str,
    nanos: Vec<f64>,
}

impl Samples {
    pub fn new(name: &'static str, nanos: Vec<f64>) -> Self {
        Self { name, nanos }
    }

    pub fn median(&self) -> f64 {
        quantile(&self.nanos, 0.5)
    }

    /// How often this one is faster than the other: the median of the ratios round by round, so that a slow
    /// moment of the machine falls on both.
    pub fn faster_than(&self, other: &Self) -> f64 {
        let ratios: Vec<f64> = self.nanos.iter().zip(&other.nanos).map(|(mine, others)| others / mine).collect();
        quantile(&ratios, 0.5)
    }

    pub fn print(&self) {
        let [low, median, high] = [0.25, 0.5, 0.75].map(|q| quantile(&self.nanos, q));
        record("sample", self.name, &[low, median, high]);
        println!("  {:<52} {median:>10.1} ns   (quartiles {low:.1} to {high:.1})", self.name);
    }
}

pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// A named way of doing the work; each call is one round, and answers nanoseconds per operation.
pub type Contender<'a> = (&'static str, Box<dyn FnMut() -> f64 + 'a>);

/// Runs all contenders in turn, A B C A B C, after one round each to warm up.
pub fn alternate(whole: usize, mut contenders: Vec<Contender<'_>>) -> Vec<Samples> {
    let rounds = percent(whole as u64).max(3) as usize;
    for (_, run) in &mut contenders {
        run();
    }
    let mut samples: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::with_capacity(rounds)).collect();
    for _ in 0..rounds {
        for ((_, run), nanos) in contenders.iter_mut().zip(&mut samples) {
            nanos.push(run());
        }
    }
    let samples: Vec<Samples> =
        contenders.iter().zip(samples).map(|((name, _), nanos)| Samples::new(name, nanos)).collect();
    samples.iter().for_each(Samples::print);
    samples
}

/// Nanoseconds per operation of `count` operations. What they answer is looked at where it is, not moved.
#[inline(always)]
pub fn time<R>(count: usize, mut operation: impl FnMut() -> R) -> f64 {
    let start = Instant::now();
    for _ in 0..count {
        black_box(&operation());
    }
    start.elapsed().as_nanos() as f64 / count as f64
}

/// Nanoseconds per key of an operation on each key in turn.
#[inline(always)]
pub fn time_each<K, R>(keys: &[K], mut operation: impl FnMut(&K) -> R) -> f64 {
    let start = Instant::now();
    for key in keys {
        black_box(&operation(black_box(key)));
    }
    start.elapsed().as_nanos() as f64 / keys.len() as f64
}

pub fn title(text: &str) {
    TITLE.with_borrow_mut(|title| *title = text.to_owned());
    println!("\n{text}");
}

/// A number that belongs to no contender and has no target.
pub fn fact(what: &str, value: f64) {
    record("fact", what, &[value]);
    println!("  {what}: {value:.2}");
}

/// A point in time of something that is drawn.
pub fn series(name: &str, numbers: &[f64]) {
    record("series", name, numbers);
}

/// A number of DESIGN's table, and whether it is reached: `value` at least, or at most, `target`.
pub fn at_least(what: &str, value: f64, target: f64) {
    verdict(what, value, "at least", target, value >= target);
}

pub fn at_most(what: &str, value: f64, target: f64) {
    verdict(what, value, "at most", target, value <= target);
}

fn verdict(what: &str, value: f64, direction: &str, target: f64, reached: bool) {
    record(if reached { "reached" } else { "missed" }, &format!("{what}, {direction}"), &[value, target]);
    let reached = if reached { "reached" } else { "NOT reached" };
    println!("  => {what}: {value:.2}, {direction} {target:.2}: {reached}");
}
