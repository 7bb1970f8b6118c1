//! Bytes per key at a million addresses, each limiter in a fresh process.

use std::net::IpAddr;
use std::process::Command;

use governor::clock::DefaultClock;
use tollgate::RateLimiter;
use tollgate_benches::random::{v4, v6};

use crate::limiters::{Governor, Work};
use crate::measure::{at_most, fact, quantile, title};

const COUNT: u64 = 1_000_000;

pub fn run() {
    again();
    title(&format!("resident bytes per key, {COUNT} addresses, a fresh process each"));
    for family in ["IPv4", "IPv6"] {
        // A table as large as the keys are many has to let some go; one a tenth larger keeps nearly all.
        let [exact, roomy, governor] = ["tollgate", "roomy", "governor"].map(|limiter| {
            let program = std::env::current_exe().expect("a program can find itself");
            let output = Command::new(program).args(["memory", limiter, family]).output().expect("it can run again");
            let text = String::from_utf8(output.stdout).expect("it answers in ASCII");
            print!("  {family}, {text}");
            text.split_whitespace().next().and_then(|bytes| bytes.parse::<f64>().ok()).expect("it begins with a number")
        });
        at_most(&format!("tollgate, bytes per {family} address, capacity {COUNT}"), exact, 20.0);
        at_most("the same, capacity a tenth larger", roomy, 20.0);
        fact(&format!("governor, bytes per {family} address"), governor);
    }
}

/// A limiter of the default size, made, asked and dropped a thousand times: each takes as little as the first.
fn again() {
    title("create a limiter of the default size, ask it, drop it, 1000 times");
    let mut micros = Vec::new();
    let (mut first, mut most) = (0, 0);
    let _ = RateLimiter::new(Work::denied().ours);
    for turn in 0..1000 {
        let start = std::time::Instant::now();
        let limiter = RateLimiter::new(Work::denied().ours);
        micros.push(start.elapsed().as_nanos() as f64 / 1000.0);
        // Enough keys to touch nearly every page.
        for n in 0..20_000 {
            let _ = limiter.check(&(turn, n));
        }
        let resident = resident_bytes();
        first = if turn == 0 { resident } else { first };
        most = most.max(resident);
    }
    at_most("us to create one, median", quantile(&micros, 0.5), 100.0);
    at_most("us to create one, of the slowest but one in a hundred", quantile(&micros, 0.99), 100.0);
    at_most("resident memory over that of the first", most as f64 / first as f64, 1.02);
}

pub fn child(limiter: &str, family: &str) {
    let key: fn(u64) -> IpAddr = if family == "IPv6" { v6 } else { v4 };
    let work = Work::denied();
    let before = resident_bytes();
    let per_key = |after| (after - before) as f64 / COUNT as f64;
    if limiter == "governor" {
        let limiter: Governor<IpAddr> = work.governor(DefaultClock::default());
        (0..COUNT).for_each(|n| assert!(limiter.check_key(&key(n)).is_ok()));
        println!("{:.1} bytes per key: governor", per_key(resident_bytes()));
    } else {
        let capacity = if limiter == "roomy" { COUNT + COUNT / 10 } else { COUNT };
        let limiter = RateLimiter::builder(work.ours).capacity(capacity as usize).build();
        (0..COUNT).for_each(|n| assert!(limiter.check(&key(n)).is_ok()));
        let bytes = per_key(resident_bytes());
        let evicted = limiter.stats().evicted;
        println!("{bytes:.1} bytes per key: tollgate, capacity {capacity}, {evicted} evicted");
    }
}

/// The process's resident memory.
pub fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells a process about itself");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("there is a VmRSS line");
    let kilobytes = line.trim().trim_end_matches(" kB").parse::<u64>().expect("it is in kB");
    kilobytes * 1024
}
