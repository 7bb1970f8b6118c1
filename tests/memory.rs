//! Law 4, in bytes: however many keys arrive, a limiter keeps to the memory it was given. Alone in its file, and so in
//! its process, because it reads what the whole process has resident; and one test at a time.
#![cfg(target_os = "linux")]

use std::sync::{Mutex, MutexGuard, PoisonError};

use tollgate::{Clock, Quota, RateLimiter, RateLimiterBuilder};

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel says of the process under this name.
fn bytes_of(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has /proc");
    let line = status.lines().find(|line| line.starts_with(what)).expect("a line of that name");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of kB");
    kib * 1024
}

fn resident_bytes() -> u64 {
    bytes_of("VmRSS:")
}

fn builder() -> RateLimiterBuilder {
    RateLimiter::builder(Quota::per_hour(100)).clock(Clock::manual())
}

#[test]
fn millions_of_keys_fit_a_table_of_one_million() {
    // Unoptimized, fewer take long enough. Either way the table is full several times over.
    const KEYS: u64 = if cfg!(debug_assertions) { 4_000_000 } else { 10_000_000 };
    /// Stacks, and what the allocator and the harness touch meanwhile.
    const SLACK: u64 = 512 * 1024;
    let _alone = alone();
    let before = resident_bytes();
    let limiter = builder().capacity(1_000_000).build();
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

/// Freeing one table used to make the allocator take the next from its heap, and clear them by hand: the second was wholly
/// resident before its first key, and took a hundred times as long to make.
#[test]
fn a_table_takes_as_little_the_thousandth_time_as_the_first() {
    let _alone = alone();
    // A harness's own doings, and the kernel's counters, which each processor keeps for itself for a while.
    let most = |first: u64| first / 100 * 102 + 128 * 1024;
    // Between those small enough for the heap and those that the allocator maps in any case.
    for capacity in [1 << 14, 1 << 17, 1 << 20, 1_800_000] {
        let resident_with_one_key = || {
            let limiter = builder().capacity(capacity).build();
            limiter.check("key").unwrap();
            resident_bytes()
        };
        let first = resident_with_one_key();
        for time in 1..1000 {
            let resident = resident_with_one_key();
            assert!(resident <= most(first), "{resident} bytes resident at time {time}, and {first} at first");
        }
    }
    // Many at once, after as many at once were dropped.
    let hundred = || {
        let before = bytes_of("VmSize:");
        let limiters: Vec<_> = (0..100).map(|_| builder().build()).collect();
        assert!(limiters.iter().all(|limiter| limiter.check("key").is_ok()));
        let reserved = limiters.iter().map(|limiter| limiter.stats().capacity as u64 * 16 + 64 * 1024).sum::<u64>();
        let grown = bytes_of("VmSize:") - before;
        assert!(grown <= reserved, "{grown} bytes of addresses for tables of {reserved}");
        resident_bytes()
    };
    let (first, second) = (hundred(), hundred());
    assert!(second <= most(first), "{second} bytes resident the second time, and {first} the first");
}

/// What the layer's constructors and `capacity` say.
#[test]
#[cfg(feature = "tower")]
fn a_layer_reserves_what_its_constructors_say() {
    use tollgate::{Policy, RateLimitLayer};

    const MIB: u64 = 1 << 20;
    /// A page at either end, and small things.
    const SLACK: u64 = 64 * 1024;
    let _alone = alone();
    // Of each, as many as an application may have. The harness may begin another test's thread meanwhile, for which glibc reserves
    // 64 MiB; so the least of three counts.
    let check = |make: &dyn Fn() -> RateLimitLayer, said: u64| {
        let reserved = || {
            let before = bytes_of("VmSize:");
            let layers: Vec<_> = (0..50).map(|_| make()).collect();
            let reserved = (bytes_of("VmSize:") - before) / 50;
            drop(layers);
            reserved
        };
        let each = (0..3).map(|_| reserved()).min().expect("there are three");
        assert!((said..=said + SLACK).contains(&each), "{each} bytes each, and {said} as it says: {:?}", make());
    };
    check(&|| RateLimitLayer::per_second(28), 18 * MIB);
    check(&|| RateLimitLayer::per_day(28), 18 * MIB);
    let two: Policy = "5/minute; 100/day".parse().unwrap();
    check(&|| RateLimitLayer::new(&two), (18 + 9) * MIB);
    check(&|| RateLimitLayer::per_second(28).capacity(100_000), 18 * 100_000);
    check(&|| RateLimitLayer::new(&two).capacity(100_000), (18 + 9) * 100_000);
}
