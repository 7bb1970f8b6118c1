//! Law 4, in bytes: however many keys arrive, a limiter keeps to the memory it was given. Alone in its file, and so in
//! its process, because it reads what the whole process has resident.
#![cfg(target_os = "linux")]

use tollgate::{Clock, Quota, RateLimiter};

/// The process's resident memory.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of kB");
    kib * 1024
}

#[test]
fn millions_of_keys_fit_a_table_of_one_million() {
    // Unoptimized, fewer take long enough. Either way the table is full several times over.
    const KEYS: u64 = if cfg!(debug_assertions) { 4_000_000 } else { 10_000_000 };
    /// Stacks, and what the allocator and the harness touch meanwhile.
    const SLACK: u64 = 512 * 1024;
    let before = resident_bytes();
    let limiter = RateLimiter::builder(Quota::per_hour(100)).capacity(1_000_000).clock(Clock::manual()).build();
    let table = limiter.stats().capacity as u64 * 16;
    let untouched = resident_bytes() - before;
    assert!(untouched < SLACK, "{untouched} bytes are resident before the first key");

    std::thread::scope(|scope| {
        for thread in 0..2 {
            let limiter = &limiter;
            scope.spawn(move || (thread..KEYS).step_by(2).for_each(|key| assert!(limiter.check(&key).is_ok())));
        }
    });
    let grown = resident_bytes() - before;
    assert!(grown <= table + SLACK, "{grown} bytes are resident, and the table has {table}");
    assert!(table <= 1_000_000 * 18 + 4096);
    // All of it is in use, so this has measured what it says.
    let stats = limiter.stats();
    assert!(grown >= table / 100 * 98, "{grown} bytes are resident, and the table has {table}");
    assert_eq!(stats.len as u64 + stats.evicted, KEYS, "every key was given a place");
}
